/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * norm_f32.c: see norm_f32.h. Sums and maxima are those of LANES interleaved parts, whatever the
 * instruction set, so that all give the same bits.
 */
#include "engine/norm_f32.h"
#include "engine/elem.h"

#include <math.h>

enum { LANES = 8 };

static double fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* ---- Layer normalization -------------------------------------------------------------------- */

VECTOR_CLONES static double sum_of(const float *x, size_t n)
{
    double lane[LANES] = {0}, rest = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] += (double)x[i + (size_t)k];
        }
    }
    for (; i < n; i++) {
        rest += (double)x[i];
    }
    return fold(lane) + rest;
}

VECTOR_CLONES static double squares_of(const float *x, size_t n, double mean)
{
    double lane[LANES] = {0}, rest = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            const double d = (double)x[i + (size_t)k] - mean;
            lane[k] += d * d;
        }
    }
    for (; i < n; i++) {
        rest += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    return fold(lane) + rest;
}

VECTOR_CLONES static void scale_and_shift(const float *restrict x, const float *restrict scale,
                                          const float *restrict bias, float *restrict y, size_t n,
                                          double mean, double inv)
{
    if (!bias) {
        for (size_t i = 0; i < n; i++) {
            y[i] = (float)(((double)x[i] - mean) * inv * (double)scale[i]);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)(((double)x[i] - mean) * inv * (double)scale[i] + (double)bias[i]);
    }
}

void layer_norm_f32(const float *x, const float *scale, const float *bias, float *y, size_t n,
                    double epsilon, double *mean, double *inv)
{
    *mean = sum_of(x, n) / (double)n;
    *inv = 1 / sqrt(squares_of(x, n, *mean) / (double)n + epsilon);
    scale_and_shift(x, scale, bias, y, n, *mean, *inv);
}
