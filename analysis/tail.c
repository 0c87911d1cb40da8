/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tail.c: the greatest magnitudes of a stream of values. A buffer takes what is above all that is
 * known not to be one of them; when it is full, the
 * lower half goes.
 */
#include "analysis/stats.h"

#include <float.h>
#include <stdlib.h>

struct tail *tail_new(void)
{
    struct tail *t = mem_alloc(sizeof *t);
    t->least = INFINITY;
    t->cut = -1;
    return t;
}

void tail_spare(struct tail *t, const struct tail *into)
{
    t->cut = into->cut;
}

/* Brings the k greatest of n values to the front, the least of these last (Hoare, 1961). */
static void select_greatest(float *x, int n, int k)
{
    int from = 0, to = n - 1, at = k - 1;
    while (from < to) {
        float pivot = x[at];
        int i = from, j = to;
        while (i <= j) {
            while (x[i] > pivot) {
                i++;
            }
            while (x[j] < pivot) {
                j--;
            }
            if (i <= j) {
                float swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        from = j < at ? i : from;
        to = at < i ? j : to;
    }
}

/* Adds a magnitude that is above the cut. */
static void put(struct tail *t, float x)
{
    t->x[t->n++] = x;
    if (t->n == COUNT(t->x)) {
        select_greatest(t->x, (int)t->n, TAIL_KEPT);
        t->n = TAIL_KEPT;
        t->cut = t->x[TAIL_KEPT - 1];
    }
}

/* Greatest and least magnitude of whole lanes of values, as far as they are numbers. */
AVX2_CLONE static float magnitudes(const float *x, size_t n, float *least)
{
    float lo[LANES], hi[LANES], most = 0;
    for (int k = 0; k < LANES; k++) {
        lo[k] = INFINITY;
        hi[k] = 0;
    }
    for (; n; n -= LANES, x += LANES) {
        for (int k = 0; k < LANES; k++) {
            float a = fabsf(x[k]);
            lo[k] = a < lo[k] ? a : lo[k];
            hi[k] = a > hi[k] ? a : hi[k];
        }
    }
    for (int k = 0; k < LANES; k++) {
        *least = lo[k] < *least ? lo[k] : *least;
        most = hi[k] > most ? hi[k] : most;
    }
    return most;
}

/* Nearly all values are none of the greatest: they are passed over by the block. */
void tail_add(struct tail *t, size_t n, const float *x)
{
    enum { BLOCK = 16 * LANES };
    for (size_t m; n; n -= m, x += m) {
        m = n >= BLOCK ? BLOCK : 1;
        if (m == BLOCK && magnitudes(x, m, &t->least) <= t->cut) {
            continue;
        }
        for (size_t i = 0; i < m; i++) {
            float a = fabsf(x[i]);
            t->least = a < t->least ? a : t->least;
            if (a > t->cut && a <= FLT_MAX) {
                put(t, a);
            }
        }
    }
}

void tail_merge(struct tail *t, const struct tail *from)
{
    t->least = fminf(t->least, from->least);
    for (size_t i = 0; i < from->n; i++) {
        if (from->x[i] > t->cut) {
            put(t, from->x[i]);
        }
    }
}

double tail_rank(const struct tail *t, uint64_t rank)
{
    float x[COUNT(t->x)];
    if (rank < 1 || rank > MIN(t->n, (size_t)TAIL_KEPT)) {
        return NAN;
    }
    memcpy(x, t->x, t->n * sizeof *x);
    select_greatest(x, (int)t->n, (int)rank);
    return (double)x[rank - 1];
}
