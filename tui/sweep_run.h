/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_run.h: private to tui/: starts sweeps, bisections and searches.
 */
#ifndef TUI_SWEEP_RUN_H
#define TUI_SWEEP_RUN_H

#include "tui/tui.h"

enum search_method {
    SEARCH_AUTO,   /* by size, then delta debugging */
    SEARCH_GREEDY, /* the best layer, the best one beside it, and so on */
    SEARCH_BISECT, /* delta debugging alone */
};

/* What the user asked for. */
struct sweep_choice {
    enum sweep_kind kind;
    struct goal goal; /* outcome: of all kinds; limit: of bisect and search */
    bool has_limit;
    size_t n_images;  /* the first of the data set */
    const bool *rows; /* per layer: which get a trial; NULL: all that can be pinned */
    bool race;        /* progressive: exact for the `top` first places only */
    size_t top;
    bool brute;      /* nothing is reused */
    size_t max_pins; /* of a search; 0 = no limit */
    double seconds;  /* likewise */
    enum search_method method;
    int jobs;
};
/* Replaces the session's sweep and starts the job, as job_start() does. Called with the lock held.
 * E_STATE when there is no layer to try. */
int sweep_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err);
int search_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                 struct err *err);
/* Per layer: whether it can be pinned at all; free() it. */
bool *sweep_pinnable(struct session *s, size_t *n);

/* "loo", "only", "prefix", "bisect", "search" by sweep_kind. */
extern const char *const sweep_kind_names[];
/* Prints what the last sweep, bisection or search has found, also while it is under way; the rows
 * of a sweep become what @1, @2 stand for. E_STATE when there is none. */
int sweep_report(struct call *c, struct err *err);
/* Parts of such reports. A value in a column: "12.34", "exact", "n/a". */
const char *sweep_value_text(char dst[32], const struct outcome *o, double v, bool sign);
/* Whether the outcome has a column: the chosen one, and those that say something here. */
bool sweep_shows(const struct sweep *w, const struct outcome *o);
/* Those columns of a trial; of their heads where t is NULL. */
void sweep_print_values(FILE *out, const struct sweep *w, const struct trial *t);
/* What all reports begin with, and a model that was tried: what it achieves and costs. */
json_t *sweep_head_json(const struct session *s);
json_t *sweep_trial_json(const struct session *s, const struct sweep *w, const struct trial *t);
/* Prints the last search (search_report.c). */
void search_report(struct call *c);
/* Prints the models tried last that no other beats with as few pins. */
int sweep_report_pareto(struct call *c, struct err *err);

struct lab;
/* Measures all trials of w in a race. */
int sweep_run_race(struct lab *lab, struct sweep *w, struct err *err);

#endif
