/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * layout.h: private to engine/: in which order the elements of activations lie. Models say
 * [n,c,spatial...]; convolutions and pools are fastest with channels last, n, spatial..., c. A
 * tensor says which one it has (tensor.channels_last, dims stay those of the model), an operator
 * which ones it takes (op.layout), and plan.c converts where the two do not meet.
 */
#ifndef ENGINE_LAYOUT_H
#define ENGINE_LAYOUT_H

#include "engine/op.h"

/* Gives every input of the call the order that the operator asks for and sets c->channels_last.
 * as(ctx, i, channels_last, &t): input i in that order, a reference that lives as long as ctx. */
typedef int layout_as(void *ctx, int i, bool channels_last, const struct tensor **t,
                      struct err *err);
int layout_inputs(struct op_call *c, const struct op *op, layout_as *as, void *ctx,
                  struct err *err);

/* dst [cols][rows] = src [rows][cols], elements of 1, 2, 4 or 8 bytes. */
void layout_transpose(const void *src, void *dst, size_t size, size_t rows, size_t cols);

#endif
