/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * elem_f32.c: arithmetic of float32 vectors, element by element.
 */
#include "engine/elem.h"

#define PAIR(name, expr)                                                                           \
    VECTOR_CLONES void name(size_t n, const float *restrict a, const float *restrict b,            \
                            float *restrict y)                                                     \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            const float p = a[i], q = b[i];                                                        \
            y[i] = (expr);                                                                         \
        }                                                                                          \
    }
PAIR(elem_add_f32, p + q)
PAIR(elem_sub_f32, p - q)
PAIR(elem_mul_f32, p *q)
PAIR(elem_div_f32, p / q)

VECTOR_CLONES void elem_finish_f32(size_t n, float *v, const float *bias, float lo, float hi,
                                   float *act)
{
    for (size_t i = 0; bias && i < n; i++) {
        v[i] += bias[i];
    }
    if (act && act != v) {
        elem_clamp_f32(n, v, lo, hi, act);
        return;
    }
    for (size_t i = 0; act && i < n; i++) {
        const float x = v[i] < lo ? lo : v[i];
        v[i] = x > hi ? hi : x;
    }
}

VECTOR_CLONES void elem_clamp_f32(size_t n, const float *restrict x, float lo, float hi,
                                  float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        const float v = x[i] < lo ? lo : x[i];
        y[i] = v > hi ? hi : v;
    }
}
