/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * norm_f32.h: private to engine/: softmax and layer normalization of float32 rows, for many
 * elements at a time. Computed in double and rounded once, as the plain kernels do; sums are taken
 * in another order, which float32 results rarely show.
 */
#ifndef ENGINE_NORM_F32_H
#define ENGINE_NORM_F32_H

#include <stdbool.h>
#include <stddef.h>

/* y [n] = (x - mean) / sqrt(variance + epsilon) * scale + bias; bias may be NULL. *mean and *inv:
 * the mean, and the factor before scale. */
void layer_norm_f32(const float *x, const float *scale, const float *bias, float *y, size_t n,
                    double epsilon, double *mean, double *inv);

/* y [n] = e^(x - max x) over the sum of these, or with `log` the logarithm of that, to the bit as
 * onnxruntime has it (mlas_norm.c) with vectors of so many lanes, 8 or 16, whatever this CPU has; y
 * is not x. Within three units of the last place; a NaN in the row, or nothing but -inf, makes all
 * NaN. */
void mlas_softmax(const float *x, size_t n, size_t lanes, bool log, float *y);

#endif
