/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * language.h: part of tui.h, which includes it: commands, how their lines are read, what their
 * words stand for, and the forms of what they say.
 */
#ifndef TUI_LANGUAGE_H
#define TUI_LANGUAGE_H

#include "tui/tui.h"

/* ---- Commands (cmd.c) ----------------------------------------------------------------------- */
enum arg_kind {
    ARG_NONE,
    ARG_WORD,   /* any word */
    ARG_CHOICE, /* one of `choices` */
    ARG_INT,
    ARG_COUNT,   /* whole number of at least 0 */
    ARG_REAL,    /* neither infinite nor NaN */
    ARG_FILE,    /* path */
    ARG_LAYER,   /* LAYER of the language: may stand for several layers */
    ARG_IMAGE,   /* image name, glob, index #N or @marked */
    ARG_METRIC,  /* name[:asc|:desc] */
    ARG_SCORE,   /* the same of an image score */
    ARG_OUTCOME, /* name of an outcome */
    ARG_COMMAND,
    ARG_SETTING,
    ARG_VALUE, /* of the setting named by the word before */
    ARG_VIEW,
    ARG_ITEM, /* layer or image */
    ARG_KEY,  /* name of a key */
    ARG_ALIAS,
    ARG_LINE, /* the rest of the line, unsplit */
    ARG_FLAG, /* options only: no value */
};
struct arg_spec {
    const char *name; /* "FILE"; NULL ends the list */
    enum arg_kind kind;
    const char *choices; /* "a|b|c" for ARG_CHOICE */
    bool optional, repeat;
};
struct opt_spec {
    const char *name; /* "--sort"; NULL ends the list */
    enum arg_kind kind;
    const char *value; /* "METRIC[:asc|desc]" for usage */
    const char *help;
    const char *choices;
};
enum {
    NEED_MODEL = 1,
    NEED_PAIR = 2,
    NEED_DATA = 4,
    NEED_RUN = 8,
    NEED_SCREEN = 16,
    NEED_ONE_FORMAT = 32, /* of a pair: layers go back to FP32 */
};

struct call {
    struct session *s;
    const struct cmd *cmd;
    size_t n_args;
    char **args; /* words after options were taken out */
    size_t n_opts;
    struct {
        const struct opt_spec *spec;
        char *value;
    } opts[24];
    bool background; /* the line ended in '&' */
    bool dry;        /* it is only checked */
    enum form form;  /* asked for in this call; FORM_NONE: the session's */
    FILE *out;       /* data */
    FILE *note;      /* notes for people; never data */
};
struct cmd {
    const char *name, *alias, *group;
    const char *help;    /* one line */
    const char *detail;  /* paragraphs for `help CMD` and the man page */
    const char *example; /* a line that works on the sample pair */
    unsigned needs;
    bool unrecorded; /* means nothing to a replay: the terminal, the recording itself */
    bool own_judge;  /* has judgements made by itself, where it needs any */
    struct arg_spec args[6];
    const struct opt_spec *opts; /* NULL = none */
    int (*exec)(struct call *c, struct err *err);
};
/* Families, each ending with name NULL; gathered in cmd.c. */
extern const struct cmd cmd_model[], cmd_data[], cmd_run[], cmd_rank[], cmd_layer[], cmd_fused[],
    cmd_sums[], cmd_judge[], cmd_image[], cmd_graph[], cmd_pin[], cmd_sensitivity[], cmd_sweep[],
    cmd_metric[], cmd_culprit[], cmd_whatif[], cmd_quantize[], cmd_file[], cmd_setting[],
    cmd_copy[], cmd_shell[], cmd_record[], cmd_custom[], cmd_report[], cmd_session[], cmd_doctor[],
    cmd_help[], cmd_ui[], cmd_choice[], cmd_jump[], cmd_plot[], cmd_screen[], cmd_cost[],
    cmd_cache[];

/* Runs one line (several commands separated by ' ; '). The caller holds session.lock, which is
 * given up while a job runs that the line waits for. Errors come back; nothing is printed for them
 * here. */
int cmd_line(struct session *s, const char *line, FILE *out, FILE *note, struct err *err);
/* Checks a line without running it: known command, options, argument count and types. */
int cmd_check(struct session *s, const char *line, struct err *err);
/* Exact, alias, or (not in batch) unique prefix; E_USAGE with did-you-mean. */
int cmd_find(const struct session *s, const char *word, const struct cmd **out, struct err *err);
void cmd_each(void (*fn)(void *ctx, const struct cmd *c), void *ctx);
char *cmd_usage(const struct cmd *c); /* "pin LAYER... [--precision fp32]"; free() it */
const char *call_opt(const struct call *c,
                     const char *name); /* value, "" for a flag, NULL absent */
char *call_words(const struct call *c); /* its arguments with a space between; free() it */
/* "u8", "s16" ... of an option; none when NULL. */
enum dtype type_word(const char *word, enum dtype none);
int call_int(const struct call *c, const char *name, int64_t dflt, int64_t *out, struct err *err);
/* E_USAGE when the command is not to write there: over a model that is loaded or, where it has the
 * option --force, over any file, unless that is given. */
int call_may_write(const struct call *c, const char *path, struct err *err);
/* Quotes a word so that cmd_line reads it back as one word and no option; free() it. */
char *cmd_quote(const char *word);
/* "HEAD 'word' ...": the line that cmd_line reads back as head and these words; free() it. */
char *cmd_join(const char *head, size_t n, char *const *words);
/* The line that has been split into these words, options among them; free() it. */
char *cmd_retype(size_t n, char *const *words);
/* Resolves a LAYER word; *list is malloc'd, in network order for patterns. E_USAGE with
 * did-you-mean when nothing fits. */
int layer_list(struct session *s, const char *word, size_t *n, size_t **list, struct err *err);
/* All words together, duplicates dropped. */
int layer_lists(struct session *s, size_t n_words, char **words, size_t *n, size_t **list,
                struct err *err);
int image_lists(struct session *s, size_t n_words, char **words, size_t *n, size_t **list,
                struct err *err);
/* The one image that a word stands for; E_USAGE when there are several. */
int image_one(struct session *s, const char *word, size_t *image, struct err *err);
/* Value of a metric for one layer in the last run: NAN when it was not measured. */
double layer_metric(const struct session *s, size_t layer, const struct metric *m);
/* Whether the layer fulfils an expression over its metrics, op, name, pinned, marked. A word behind
 * == that is none of these stands for itself: op == Conv. */
int layer_where(const struct session *s, size_t layer, const char *expr, bool *yes,
                struct err *err);
/* Whether the image (an index of the data set) fulfils an expression over the scores of the last
 * run, which are NAN before, and name, label, fp32, int8 (classes), flip (lost, gained, none),
 * marked. Names of classes and of flips stand for themselves. */
int image_where(const struct session *s, size_t image, const char *expr, bool *yes,
                struct err *err);
/* Parses NAME[:asc|:desc]. */
int parse_sort(const char *word, char *name, size_t size, enum sort_dir *dir, struct err *err);
#define FORM_OPTIONS "--json|--jsonl|--csv" /* of every command, for its data alone */
/* "table", "json", "jsonl" or "csv". */
bool form_find(const char *name, enum form *out);
const char *form_name(enum form f);
void session_form(struct session *s, enum form f);
/* Line that an alias stands for, or NULL. */
const char *alias_text(const struct session *s, const char *name);
/* Names that a checked line will make known, if it is one that does. */
void alias_expect(const struct call *c);
/* Prints an object in the form in force and takes the reference. As JSON it is one line:
 * {"command":NAME,"schema":1,...}; JSON lines and CSV have the rows of its first list of objects,
 * or itself as the one row. */
void emit_json(struct call *c, json_t *object);
/* The same of an answer that is one thing, whatever lists it has: it is the one row. */
void emit_one(struct call *c, json_t *object);
/* A list of objects as RFC 4180 CSV with a line of names; null and what a row lacks are empty. */
void csv_rows(json_t *rows, FILE *out);
/* Reads a JSON file of ours: an object with this "kind" and "schema" 1; the caller releases it. */
int json_load_kind(const char *path, const char *kind, json_t **out, struct err *err);
/* Puts "numerics" and "verified" into an object. */
void json_numerics(json_t *o, const struct session *s);
/* Finite numbers as they are, anything else null. Exactly representable doubles round-trip. */
json_t *json_num(double v);
/* The time now, UTC: "2026-01-31T12:00:00Z"; SOURCE_DATE_EPOCH fixes it, for files that are to be
 * made again byte for byte. */
json_t *json_time(void);
/* A text from a file: as it is when it is UTF-8, else sanitized; NULL -> null. */
json_t *json_text(const char *text);
/* Settings (cmd_setting.c): name and help of row i, NULL behind the last; "a|b|c" or "N"; value. */
const char *setting_name(size_t i);
const char *setting_help(size_t i);
const char *setting_choices(const char *name);
void setting_show(const struct session *s, size_t i, char *dst, size_t size);
bool setting_kept(size_t i); /* belongs to a saved session, not to the machine or terminal */
/* Candidates for completing `text` at `pos` of line; malloc'd NULL-terminated list of malloc'd
 * words, or NULL. Walks the tables: commands, options, choices, layers, metrics, images, files. */
char **cmd_complete(const struct session *s, const char *line, size_t pos, size_t *word_start);

/* The command of the line being typed, NULL when it is none yet. */
const struct cmd *cmd_typed(const struct session *s, const char *line, size_t pos);
/* What one of these candidates means, in a line; NULL when no table says so. */
const char *cmd_choice_help(const struct session *s, const char *line, size_t pos,
                            const char *choice);

/* What `jump TEXT` would go to, best first: "layer /block4/dw/Conv"; list as of cmd_complete. */
char **jump_choices(const struct session *s, const char *text);

#define REPL_PROMPT "qscope> "

#endif
