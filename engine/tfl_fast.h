/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_fast.h: private to engine/: the fast twins of TensorFlow Lite's layers. Those of 8-bit codes
 * are the convolutions of conv8.h; float ones keep the order of each runtime's sums. Codes and
 * floats are those of the plain loops to the bit.
 */
#ifndef ENGINE_TFL_FAST_H
#define ENGINE_TFL_FAST_H

#include "engine/conv8.h"
#include "engine/tfl_product.h"

/* Codes of weights [filters, kh, kw, channels] (or [filters, depth]), of a depthwise layer [1, kh,
 * kw, filters], with one zero point. *out stays NULL where there are none, or their shape has no
 * fast form. */
int tfl_filter_new(const struct tensor *w, bool depthwise, int32_t zero, struct conv8_filter **out,
                   struct err *err);
/* Float weights [filters, depth] as chain() of kernel_int8.h reads them, with one bias per filter,
 * which may be NULL. E_LIMIT when out of memory. */
int tfl_panels_new(const struct tensor *w, const float *bias, struct tfl_panels **out,
                   struct err *err);
void tfl_panels_free(struct tfl_panels *p);
/* The same for float weights [1, kh, kw, channels] of a depthwise layer. */
int tfl_taps_new(const struct tensor *w, const float *bias, struct tfl_taps **out, struct err *err);
void tfl_taps_free(struct tfl_taps *t);

/* Whether the products of p have a fast twin: 8-bit codes in and out, or floats; weights packed. */
bool tfl_fast_fits(const struct tfl_product *p);

/* CONV_2D of all images into output 0. */
int tfl_fast_conv(const struct tfl_product *p, const struct tfl_window *w, struct err *err);
/* FULLY_CONNECTED: `rows` rows of input 0. */
int tfl_fast_rows(const struct tfl_product *p, int64_t rows, struct err *err);
/* DEPTHWISE_CONV_2D; of floats only with one filter per channel. */
bool tfl_fast_depthwise_fits(const struct tfl_product *p, const struct tfl_window *w);
int tfl_fast_depthwise(const struct tfl_product *p, const struct tfl_window *w, struct err *err);

int tfl_depthwise_floats(const struct tfl_product *p, const struct tfl_window *w);

/* Taps of a float depthwise layer that lie in the image for output pixel oy, ox, in the order of
 * its sum: at[i] the element of the image that channel 0 sees, tap[i] the number of the tap.
 * Returns how many; there is room for TFL_SUM_BLOCK. */
size_t tfl_float_taps(const struct tfl_product *p, const struct tfl_window *w, int64_t oy,
                      int64_t ox, size_t *at, size_t *tap);

#endif
