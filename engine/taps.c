/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * taps.c: see taps.h.
 */
#include "engine/taps.h"
#include "engine/kernel_f32.h"

enum { FEW = 8 }; /* doubles at a time */

static inline const void *tap(const struct taps *x, size_t t)
{
    return x->list ? x->list[t] : x->first + t * x->step;
}

/* The larger one; a NaN wins. Two choices and no condition of two parts, which would not vectorize.
 */
#define LARGER(v, y) ((v) == (v) ? ((v) > (y) ? (v) : (y)) : (v))
#define MAX_LAST(name, type)                                                                       \
    VECTOR_CLONES void name(const struct taps *x, size_t c, void *out)                             \
    {                                                                                              \
        type *y = out;                                                                             \
        size_t j = 0;                                                                              \
        for (; j + TAPS_LANES <= c; j += TAPS_LANES) {                                             \
            type best[TAPS_LANES];                                                                 \
            memcpy(best, (const type *)tap(x, 0) + j, sizeof best);                                \
            for (size_t t = 1; t < x->n; t++) {                                                    \
                const type *v = (const type *)tap(x, t) + j;                                       \
                for (size_t i = 0; i < TAPS_LANES; i++) {                                          \
                    best[i] = LARGER(v[i], best[i]);                                               \
                }                                                                                  \
            }                                                                                      \
            memcpy(y + j, best, sizeof best);                                                      \
        }                                                                                          \
        for (; j < c; j++) {                                                                       \
            type best = ((const type *)tap(x, 0))[j];                                              \
            for (size_t t = 1; t < x->n; t++) {                                                    \
                const type v = ((const type *)tap(x, t))[j];                                       \
                best = LARGER(v, best);                                                            \
            }                                                                                      \
            y[j] = best;                                                                           \
        }                                                                                          \
    }
MAX_LAST(taps_max_u8, uint8_t)
MAX_LAST(taps_max_s8, int8_t)

void taps_max_f32(const struct taps *x, size_t c, void *y)
{
    const float *list[TAPS_MOST];
    float best[TAPS_LANES];
    if (x->list) {
        kernel_f32()->largest((const float *const *)x->list, x->n, c, 0, 1, y);
        return;
    }
    for (size_t t = 0; t < x->n;) { /* of a whole image, part by part; c <= TAPS_LANES then */
        size_t n = 0;
        list[n++] = t ? best : tap(x, t++);
        for (; n < TAPS_MOST && t < x->n; t++) {
            list[n++] = tap(x, t);
        }
        kernel_f32()->largest(list, n, c, 0, 1, best);
    }
    memcpy(y, best, c * sizeof *best);
}

typedef double doubles __attribute__((vector_size(FEW * sizeof(double))));
typedef float floats __attribute__((vector_size(FEW * sizeof(float))));

/* Of `lanes` channels from j on, in vectors by hand: compilers add up lane after lane. */
static inline __attribute__((always_inline)) void mean_lanes(const struct taps *x, size_t j,
                                                             const size_t lanes, float *y)
{
    doubles sum[TAPS_LANES / FEW] = {0};
    for (size_t t = 0; t < x->n; t++) {
        const float *v = (const float *)tap(x, t) + j;
        for (size_t i = 0; i < lanes / FEW; i++) {
            floats few;
            memcpy(&few, v + i * FEW, sizeof few);
            sum[i] += __builtin_convertvector(few, doubles);
        }
    }
    for (size_t i = 0; i < lanes / FEW; i++) {
        const floats few = __builtin_convertvector(sum[i] / x->count, floats);
        memcpy(y + j + i * FEW, &few, sizeof few);
    }
}

/* In double and rounded once, as the plain form. */
VECTOR_CLONES void taps_mean_f32(const struct taps *x, size_t c, void *out)
{
    float *y = out;
    size_t j = 0;
    for (; j + TAPS_LANES <= c; j += TAPS_LANES) {
        mean_lanes(x, j, TAPS_LANES, y);
    }
    for (; j + FEW <= c; j += FEW) {
        mean_lanes(x, j, FEW, y);
    }
    for (; j < c; j++) {
        double sum = 0;
        for (size_t t = 0; t < x->n; t++) {
            sum += (double)((const float *)tap(x, t))[j];
        }
        y[j] = (float)(sum / x->count);
    }
}
