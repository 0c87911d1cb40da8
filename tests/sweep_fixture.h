/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_fixture.h: random numbers, made-up scores, and sweeps that are fed with them.
 */
#ifndef TESTS_SWEEP_FIXTURE_H
#define TESTS_SWEEP_FIXTURE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "analysis/analysis.h"

/* ---- Material ------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static inline double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

static inline double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

static inline struct image_score score(double signal, double noise)
{
    struct image_score s;
    image_score_init(&s);
    s.ok = true;
    s.signal = signal;
    s.noise = noise;
    s.sqnr = sqnr_db(signal, noise);
    s.cosine = 1 - noise / signal;
    s.mse = noise / 10;
    return s;
}

static inline struct image_score classed(int label, int fp32, int int8)
{
    struct image_score s = score(1, 1);
    s.label = label;
    s.fp32_top1 = fp32;
    s.int8_top1 = int8;
    return s;
}

static inline struct sweep *sweep_of(enum sweep_kind kind, const char *outcome, size_t rows,
                                     size_t images)
{
    size_t *list = mem_alloc((rows + 1) * sizeof *list);
    bool *all = mem_alloc(rows + 1);
    for (size_t i = 0; i < rows; i++) {
        list[i] = i;
        all[i] = true;
    }
    struct sweep *w = sweep_new(kind, outcome_find(outcome), rows, rows, list, all,
                                kind == SWEEP_ONLY ? all : NULL, images,
                                mem_alloc((images + 1) * sizeof(size_t)));
    free(list);
    free(all);
    return w;
}

static inline void add(struct sweep *w, size_t trial, double noise)
{
    struct image_score s = score(100, noise);
    trial_add(&w->trials[trial], w->outcome, &s);
}

static inline void add_base(struct sweep *w, double noise)
{
    struct image_score s = score(100, noise);
    sweep_add_base(w, &s);
}

static inline bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(1, fmax(fabs(a), fabs(b)));
}

#endif
