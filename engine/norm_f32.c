/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * norm_f32.c: see norm_f32.h. Sums and maxima are those of LANES interleaved parts, whatever the
 * instruction set, so that all give the same bits.
 */
#include "engine/norm_f32.h"
#include "engine/elem.h"

#include <float.h>
#include <math.h>

enum { LANES = 8 };

static double fold(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* ---- Softmax -------------------------------------------------------------------------------- */

/* v = x - max x. A NaN is no maximum and stays. A row of -inf alone stays as it is: the sum is 0
 * then and the results are NaN. */
VECTOR_CLONES static void subtract_max(const float *restrict x, size_t n, double *restrict v)
{
    float lane[LANES], m = -INFINITY;
    size_t i = 0;
    for (int k = 0; k < LANES; k++) {
        lane[k] = m;
    }
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] = x[i + (size_t)k] > lane[k] ? x[i + (size_t)k] : lane[k];
        }
    }
    for (; i < n; i++) {
        m = x[i] > m ? x[i] : m;
    }
    for (int k = 0; k < LANES; k++) {
        m = lane[k] > m ? lane[k] : m;
    }
    const double top = m < -FLT_MAX ? 0 : (double)m;
    for (i = 0; i < n; i++) {
        v[i] = (double)x[i] - top;
    }
}

/* v = e^v for v <= 0, within 3e-16 of it; 0 below 1e-306. e^v = 2^k e^r with whole k and |r| <=
 * ln(2) / 2, of which e^r is a Taylor polynomial. Written so that compilers compute it for many
 * elements at a time: the choice is made of bits. */
VECTOR_CLONES static void exp_all(size_t n, double *v)
{
    union f64_bits {
        double real;
        uint64_t bits;
    };
    const double shift = 0x1.8p52; /* what it is added to becomes whole */
    for (size_t i = 0; i < n; i++) {
        const union f64_bits whole = {v[i] * 0x1.71547652b82fep0 + shift};
        const union f64_bits scale = {.bits = (whole.bits << 52) + UINT64_C(0x3ff0000000000000)};
        const double k = whole.real - shift;
        const double r = (v[i] - k * 0x1.62e42fefap-1) - k * 0x1.cf79abc9e3b39p-40;
        double e = 1.0 / 6227020800;
        e = e * r + 1.0 / 479001600;
        e = e * r + 1.0 / 39916800;
        e = e * r + 1.0 / 3628800;
        e = e * r + 1.0 / 362880;
        e = e * r + 1.0 / 40320;
        e = e * r + 1.0 / 5040;
        e = e * r + 1.0 / 720;
        e = e * r + 1.0 / 120;
        e = e * r + 1.0 / 24;
        e = e * r + 1.0 / 6;
        e = e * r + 0.5;
        e = e * r + 1.0;
        union f64_bits y = {(e * r + 1.0) * scale.real};
        y.bits &= v[i] < -705.0 ? 0 : UINT64_MAX;
        v[i] = y.real;
    }
}

VECTOR_CLONES static void divide_by_sum(const double *restrict v, size_t n, float *restrict y)
{
    double lane[LANES] = {0}, rest = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] += v[i + (size_t)k];
        }
    }
    for (; i < n; i++) {
        rest += v[i];
    }
    const double sum = fold(lane) + rest;
    for (i = 0; i < n; i++) {
        y[i] = (float)(v[i] / sum);
    }
}

void softmax_f32(const float *x, float *y, size_t rows, size_t n, double *room, size_t has)
{
    const size_t most = MAX(has / MAX(n, (size_t)1), (size_t)1);
    for (size_t r = 0; r < rows; r += most) {
        const size_t some = MIN(rows - r, most);
        for (size_t k = 0; k < some; k++) {
            subtract_max(x + (r + k) * n, n, room + k * n);
        }
        exp_all(some * n, room);
        for (size_t k = 0; k < some; k++) {
            divide_by_sum(room + k * n, n, y + (r + k) * n);
        }
    }
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
