/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * norm_f32.h: private to engine/: softmax and layer normalization of float32 rows, for many
 * elements at a time. Computed in double and rounded once, as the plain kernels do; sums are taken
 * in another order, which float32 results rarely show.
 */
#ifndef ENGINE_NORM_F32_H
#define ENGINE_NORM_F32_H

#include <stddef.h>

enum { SOFTMAX_ROOM = 4096 }; /* doubles, of which softmax_f32() can use more than a row's */

/* y [rows, n] = e^x / sum of e^x over each row. room: `has` doubles, at least n. */
void softmax_f32(const float *x, float *y, size_t rows, size_t n, double *room, size_t has);

/* y [n] = (x - mean) / sqrt(variance + epsilon) * scale + bias; bias may be NULL. *mean and *inv:
 * the mean, and the factor before scale. */
void layer_norm_f32(const float *x, const float *scale, const float *bias, float *y, size_t n,
                    double epsilon, double *mean, double *inv);

#endif
