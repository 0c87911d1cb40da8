/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_run.h: private to tui/: starts sweeps, raises, bisections and searches.
 */
#ifndef TUI_SWEEP_RUN_H
#define TUI_SWEEP_RUN_H

#include "tui/tui.h"

enum search_method {
    SEARCH_AUTO,   /* by size, then delta debugging */
    SEARCH_PARETO, /* likewise, and the best set of every size is measured on all images */
    SEARCH_GREEDY, /* the best layer, the best one beside it, and so on */
    SEARCH_BISECT, /* delta debugging alone */
};
enum ways { WAY_LOO = 1, WAY_ONLY = 2 }; /* of a sweep: a layer alone in FP32, alone in INT8 */

/* The word of --as for that. */
#define CHEAPEST "cheapest"

/* What the user asked for. */
struct sweep_choice {
    enum sweep_kind kind;
    struct goal goal; /* outcome: of all kinds; limit: of raises, bisect and search */
    bool has_limit;
    size_t n_images;  /* the first of the data set */
    const bool *rows; /* per layer: which get a trial; NULL: all that can be pinned */
    int ways;
    bool race; /* progressive: exact for the `top` first places only */
    size_t top;
    double within;   /* of a race: it may end when those are right within that; 0: exact */
    bool brute;      /* nothing is reused */
    size_t max_pins; /* of a search; 0 = no limit */
    double seconds;  /* likewise */
    enum search_method method;
    const struct cost_model *cost; /* of a search; NULL: any set will do */
    int jobs;
    enum precision as; /* of the layers that it pins */
    bool cheapest;     /* of a search: then each in the cheapest that meets the goal */
};
/* Options that all of them have: --metric, --images, --jobs, --top, --brute where they are given;
 * E_UNSUPPORTED when outputs cannot be compared. */
int sweep_read_choice(struct call *c, enum sweep_kind kind, struct sweep_choice *x,
                      struct err *err);
/* The layers that LAYER words from `first` on stand for, per layer; NULL when there are none. */
int sweep_read_rows(struct call *c, size_t first, bool **rows, struct err *err);

/* Start the job, as job_start() does; called with the lock held. One that asks the same as the last
 * one goes on where that was cancelled. E_STATE when there is no layer to try. */
int sweep_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err);
int raise_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                struct err *err);
int search_start(struct session *s, const struct sweep_choice *c, bool background, FILE *note,
                 struct err *err);
struct lab;
/* Of the search under way, if that is asked for and its answer meets the goal: gives each of its
 * pins, those first that multiply most, the cheapest precision with which the goal is still met on
 * all images. lab: the search's; began: its start. (search_cheapest.c) */
int search_cheapest(struct session *s, struct lab *lab, const struct sweep_choice *c,
                    const struct timespec *began, struct err *err);
/* Per layer: whether it can be pinned at all; free() it. */
bool *sweep_pinnable(struct session *s, size_t *n);
bool *sweep_pinnable_as(struct session *s, enum precision as, size_t *n);
/* A new sweep pins the layers in force in their precisions, others in `as`. */
void sweep_pins_in_force(const struct session *s, struct sweep *w, enum precision as);

/* What a prefix, a suffix or a bisection has found. */
struct raised {
    struct goal goal;
    bool has_goal;
    size_t n_layers, *layers; /* that can be raised, in that order */
    size_t reached; /* layers to raise until the goal is met; SIZE_MAX: none, or unknown */
    bool monotone;  /* of a bisection: no other prefix that was tried says otherwise */
};
/* How many layers a trial raises. */
size_t raised_by(const struct raised *r, const struct trial *t);

/* "loo", "only", "prefix", "suffix", "bisect", "search" by sweep_kind. */
extern const char *const sweep_kind_names[];
/* Prints what the last sweep, raise, bisection or search has found, also while it is under way; the
 * rows of a ranking become what @1, @2 stand for. E_STATE when there is none. */
int sweep_report(struct call *c, struct err *err);
/* Its parts: for raises and bisections (raise_report.c), searches (search_report.c), and what all
 * use (sweep_report.c). */
void raise_report(struct call *c);
void search_report(struct call *c);
/* A value in a column: "12.34", "exact", "n/a". */
const char *sweep_value_text(char dst[32], const struct outcome *o, double v, bool sign);
/* The outcomes that it has values of, NULL behind the last. */
const struct outcome *sweep_outcome(const struct sweep *w, size_t i);
/* The precision in which layers are tried. */
const struct precision_row *sweep_tries(const struct sweep *w);
/* Whether the outcome has a column: the chosen one, and those that say something here. */
bool sweep_shows(const struct sweep *w, const struct outcome *o);
void sweep_print_model(FILE *out, const struct sweep *w, const char *name, const struct trial *t);
/* Those columns of a trial; their heads where t is NULL. */
void sweep_print_values(FILE *out, const struct sweep *w, const struct trial *t);
json_t *sweep_head_json(const struct session *s);
json_t *sweep_trial_json(const struct session *s, const struct sweep *w, const struct trial *t);
/* Position, mark of a pin, name and operator of a layer, in 50 columns. */
void sweep_print_layer(const struct session *s, FILE *out, size_t row, size_t layer);
/* Prints the models tried last that no other beats with as few pins. */
int sweep_report_pareto(struct call *c, struct err *err);

/* Adds to the sweep what it has taken: runs of the lab, and the time since *from. */
void sweep_account(struct session *s, struct sweep *w, const struct lab *lab,
                   const struct timespec *from);

#endif
