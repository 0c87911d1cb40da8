/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * shell.h: private to tui/: what the language keeps for itself: lines recorded, where data goes,
 * aliases, keys bound by the user.
 */
#ifndef TUI_SHELL_H
#define TUI_SHELL_H

#include "tui/words.h"

struct recorder;
struct shell {
    int depth; /* of lines that run one another; 1 while a line of the user's runs */
    int alias_depth;
    bool own_script; /* the start-up file runs, or a script of the command line */
    bool keyed;      /* a key made the line */
    struct recorder *recorder;
    const char *where; /* the script line, option or variable that is running; NULL: typed */
    json_t *origins;   /* setting or variable -> where its value comes from; none: the default */
    json_t *aliases;   /* name -> line */
    json_t *named;     /* aliases that scripts being checked will make: names */
    size_t n_bound, cap_bound;
    struct key *bound; /* owned strings; they come before the keymap's rows */

    FILE *sink; /* data written by `output FILE`; opened once */
    bool sinking;
    char *sink_text;
    size_t sink_size, sink_written;
    char *sink_path;
    FILE *front; /* where data goes without `output` */

    struct err unheard; /* in batch: of a job that failed before another took its place */
};
struct shell *shell_new(void);
void shell_free(struct shell *sh);
/* Remembers where the value of a setting or variable comes from; NULL: what is running
 * (cmd_setting.c). */
void origin_note(struct session *s, const char *name, const char *from);
/* Writes what `record` and `output` still hold. */
int shell_finish(struct session *s, struct err *err);

/* ---- Recording (record.c) -------------------------------------------------------------------
 *
 * Every command of a line that a front runs is kept from the start, so that what was just done can
 * still be recorded. Commands that scripts or other commands run are not: the outer one is.
 */
struct recorder *recorder_new(void);
void recorder_free(struct recorder *r);
struct record_before {
    bool help, running;
};
/* Called before and after each command. What the screen did besides, a replay in batch is told by
 * more lines: its height, what the cursor was on when a run ended, how many images ran. */
struct record_before record_before(struct session *s);
void record_after(struct session *s, const struct cmd *c, const char *line,
                  const struct record_before *before, int rc);
/* The lines so far go to path, and those to come; `now`: only those. */
int record_start(struct session *s, const char *path, bool now, struct err *err);
/* *lines: in the file. E_STATE when nothing is being recorded. */
int record_stop(struct session *s, char **path, size_t *lines, struct err *err);
const char *record_path(const struct session *s); /* NULL: off */
size_t record_lines(struct session *s, char *const **lines);

/* ---- Where data goes (shell.c) ---------------------------------------------------------------*/
/* The stream for the data of a command that was given `out`. */
FILE *sink_stream(struct session *s, FILE *out);
int sink_open(struct session *s, const char *path, struct err *err);
/* Ends it; the file is complete on return. */
int sink_close(struct session *s, struct err *err);
/* Writes what came since, unless that is little against what a large file has already. */
int sink_flush(struct session *s, struct err *err);

#endif
