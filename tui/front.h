/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * front.h: private to the fronts (main, script, prompt, screen): signals, the terminal, decoding
 * of keys, editing of a line, places for files. Nothing here knows models or commands.
 */
#ifndef TUI_FRONT_H
#define TUI_FRONT_H

#include "tui/tui.h"

struct termios;

/* ---- Signals (signals.c) ---------------------------------------------------------------------
 *
 * Handlers only set flags, stop the job and wake whoever polls signals_fd(). In batch SIGINT asks
 * the program to end; in an interactive front it is ^C, which the front takes. SIGTERM, SIGHUP and
 * SIGQUIT always ask the program to end: a second one ends it at once.
 */
void signals_install(struct cancel *job, bool batch);
void signals_forget_job(void); /* it is about to be freed */
bool signals_take(int sig);    /* true once for each time it came */
int signals_ended(void);       /* the signal that asks the program to end, 0 = none */
int signals_fd(void);          /* readable when a signal came */
void signals_drain(void);      /* makes it unreadable again */
/* While busy, ^C stops the job although no front is reading keys. */
void signals_busy(bool busy);
/* What to do to the terminal when the program dies: these modes and these bytes. NULL: nothing. */
void signals_tty(const struct termios *modes, const char *leave);
/* SIGTSTP as if it had not been caught; returns when the program goes on. */
void signals_stop(void);

/* ---- Scripts named on the command line (script.c) ----------------------------------------------
 */
/* As script_run with the output on stdout, and prints every error itself. "-": standard input. */
int script_top(struct session *s, const char *path, bool keep_going, size_t *failed,
               struct err *err);
/* Reads and checks only; prints errors. */
int script_check(struct session *s, const char *path, struct err *err);
/* One line, as if it stood in a script; `where` stands in front of its error. dry: checks only. */
int script_line(struct session *s, const char *where, const char *line, bool dry, bool keep_going,
                size_t *failed, struct err *err);
/* At the end of a batch: waits for what is in the background, as the line `wait` does. */
int script_jobs(struct session *s, bool keep_going, size_t *failed, struct err *err);

/* ---- Answers in the log (tee.c) --------------------------------------------------------------
 */
struct tee;
/* A stream that writes to `to` and keeps the text for the log of the session. */
struct tee *tee_open(struct session *s, FILE *to);
FILE *tee_stream(const struct tee *t);
void tee_close(struct tee *t); /* now it is in the log */

/* ---- Terminal (term.c): the only file that knows curses ---------------------------------------
 */
struct terminal;
/* E_UNSUPPORTED when the terminal cannot place the cursor or is unknown. */
int term_open(bool color, struct terminal **out, struct err *err);
void term_close(struct terminal *t);
bool term_heat(const struct terminal *t); /* has colours for heat maps */
/* Whether clicks and the wheel come as keys, where the terminal has a mouse. */
void term_mouse(struct terminal *t, bool on);
/* Fits the screen to the terminal; returns its size. */
void term_size(struct terminal *t, int *rows, int *cols);
/* Shows the grid; the cursor is hidden when row < 0. again: paints every cell. */
void term_paint(struct terminal *t, const struct grid *g, int row, int col, bool again);
/* Shows a picture of pixels, as graphics_encode() makes them, over the cells from row and col. */
void term_picture(struct terminal *t, int row, int col, const char *bytes, size_t size);
/* Takes kitty's pictures away; others go with the next paint of all cells. */
void term_picture_forget(struct terminal *t);
/* Pixels of a cell; 8x16 where the terminal does not say. */
void term_cell(int *w, int *h);
/* Puts a text, which text_safe() has passed, into the clipboard of the terminal (cmd_copy.c). */
void copy_send(const char *text);
/* Gives the terminal back and stops the program; goes on when the program does. */
void term_suspend(struct terminal *t);
/* Takes the terminal again after the program was stopped by somebody else. */
void term_resume(struct terminal *t);
/* What is known of the terminal without opening it, or while it is `open`. */
struct term_facts {
    bool known, places; /* the cursor */
    int colors;         /* < 1: none */
    int rows, cols;     /* 0: unknown */
};
void term_look(struct term_facts *out, bool open);
const char *term_library(void); /* "ncurses 6.4.20221231" */
/* Whether ^C and ^Z are signals (while a command runs) or keys. */
void term_signals(const struct terminal *t, bool on);

/* ---- Keys (term_key.c) ----------------------------------------------------------------------- */
enum { KEY_NAME_MAX = 16 };
/* Decodes the first key of n bytes into its name ("j", "Down", "^R", "Enter"); "" for a sequence
 * that names no key. Returns the bytes used, 0 when more are needed; `last`: no more will come. */
size_t term_key(const char *bytes, size_t n, bool last, char name[KEY_NAME_MAX]);
bool term_key_known(const char *name); /* whether some bytes have this name */

/* ---- The line being edited in the screen (prompt.c): readline without its display --------------
 */
enum edit_state { EDIT_OPEN, EDIT_DONE, EDIT_CANCELLED };
void edit_open(struct session *s, const char *prompt, const char *text);
/* Feeds bytes until the line is finished or they are used up; *used counts them. */
enum edit_state edit_feed(const char *bytes, size_t n, size_t *used);
const char *edit_prompt(void);
const char *edit_line(void);
size_t edit_point(void);   /* cursor, bytes into the line */
char **edit_choices(void); /* completions to show, NULL-terminated, or NULL; borrowed */
char *edit_close(void);    /* the finished line, or NULL; free() it */
/* Keeps the line in the history file, unless it begins with a blank. */
void history_keep(const char *line);
const char *edit_library(void); /* version of readline */

#endif
