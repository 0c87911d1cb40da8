/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * options.h: private to the fronts: the words that the program is started with.
 */
#ifndef TUI_OPTIONS_H
#define TUI_OPTIONS_H

#include "tui/own_metric.h"

/* -x and -e in the order given. */
struct item {
    bool file;
    const char *text;
};
struct options {
    bool batch, keep_going, json, ascii, no_config, no_cache;
    enum consent commands;
    const char *color;
    const char *jobs;
    size_t n_items;
    struct item *items;
    size_t n_defines;
    const char **defines;
    int n_words;
    char **words; /* FP32 INT8 IMAGES... */
};
/* -1: go on; otherwise the program has said what there is to say and ends with this code. */
int options_read(int argc, char **argv, struct options *out);
void options_fini(struct options *o);

/* The table of options. */
struct option_row {
    const char *name; /* "execute"; NULL ends the table */
    char letter;      /* 'x', 0 = none */
    const char *value, *choices;
    enum arg_kind kind; /* of the value */
    const char *help;
    bool (*take)(struct options *o, const char *value); /* NULL: answers and ends */
};
extern const struct option_row option_rows[];
struct exit_row {
    const char *code, *meaning;
};
extern const struct exit_row exit_rows[]; /* ends with code NULL */

/* What is generated from the tables (manual.c): "qscope.1", "qscope-commands.7", "bash", "zsh",
 * "fish". false: there is no such page. */
bool manual_print(const char *what, FILE *out);

#endif
