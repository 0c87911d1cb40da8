/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_job.h: private to search_*.c: a search for pins under way.
 */
#ifndef TUI_SEARCH_JOB_H
#define TUI_SEARCH_JOB_H

#include "tui/lab.h"
#include "tui/sweep_run.h"

/* Chance below which a set sees no more images. */
#define OUT_OF_QUESTION 1e-3

enum {
    SETS_LOOK = 4,      /* images that every set sees */
    SETS_CROWD = 16,    /* sets that may see all in one race, of single layers */
    SETS_FINALISTS = 2, /* likewise, of others: the rest waits until these have failed */
};

struct search_job {
    struct sweep *w;  /* the session's */
    struct search *s; /* likewise */
    struct lab *lab;
    struct sweep_choice c;
    bool *before; /* pins that were in force; the search keeps them */
    size_t n_candidates;
    size_t *harm; /* candidates, those first that do most harm as the only ones in INT8; NULL: not
                     asked yet */
    const struct cost_model *cost; /* NULL: any set will do */
    struct timing *timing;         /* times are to be measured first */
    struct timespec began;
};

/* The time that the user allows is over. */
bool search_late(struct search_job *j);

/* ---- Sets (search_race.c) ------------------------------------------------------------------- */
/* The set as a trial, the one there is if it was tried before. */
size_t sets_try(struct session *s, struct search_job *j, const bool *pinned);
/* A trial's set with one layer more, or less. */
size_t sets_with(struct session *s, struct search_job *j, size_t parent, size_t layer, bool pin);
/* Best first. A list of sets is short or sorted nearly. */
void sets_sort(const struct search_job *j, size_t n, size_t *list);
/* Measures sets, which may have seen some images, as far as it takes to decide: those whose chance
 * to meet the goal is not above `doubt` see no more. */
int sets_race(struct session *s, struct search_job *j, size_t n, const size_t *sets, double doubt,
              struct err *err);

/* ---- Sizes (search_size.c) ------------------------------------------------------------------ */
/* The best set of that size that meets the goal; SIZE_MAX: none. */
size_t sets_met(const struct search_job *j, size_t size);
/* How many sets of one size may be tried: more of a small model. */
size_t sets_most(const struct session *s);
/* Measures the set of that size that looks best on all images: a point of the way. */
int sets_complete(struct session *s, struct search_job *j, size_t size, struct err *err);
/* Sets of one size more; *more false: what was wanted is found, or nothing is left. */
int sets_try_size(struct session *s, struct search_job *j, size_t size, bool *more,
                  struct err *err);
/* Ranks the candidates by what they do as the only ones in INT8: errors that hide behind larger
 * ones in the INT8 model stand out there. */
int sets_rank_harm(struct session *s, struct search_job *j, struct err *err);

/* ---- Fewer pins (search_drop.c) ------------------------------------------------------------- */
/* The most harmful layers, then all of them taken back that are not needed. */
int sets_delta_debug(struct session *s, struct search_job *j, struct err *err);
/* Takes single pins back until each one is needed; what is measured here is certain. */
int sets_drop_one(struct session *s, struct search_job *j, struct err *err);
/* A cheaper set of as many pins that meets the goal, if one is found; *better says so. */
int sets_cheapen(struct session *s, struct search_job *j, bool *better, struct err *err);

#endif
