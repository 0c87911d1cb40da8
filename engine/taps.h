/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * taps.h: private to engine/: maxima and means of the elements of a window where channels are last:
 * these are runs of channels.
 */
#ifndef ENGINE_TAPS_H
#define ENGINE_TAPS_H

#include <stddef.h>
#include <stdint.h>

enum { TAPS_MOST = 512, TAPS_LANES = 32 }; /* largest window; channels folded at a time */

/* Where the n > 0 elements of a window begin: listed, or `step` bytes apart. */
struct taps {
    size_t n;
    const uint8_t *const *list; /* NULL: first, first + step, ... */
    const uint8_t *first;
    size_t step;
    double count; /* what a mean divides by */
};

/* y[j] = fold of the taps' elements j < c. */
typedef void taps_fn(const struct taps *x, size_t c, void *y);
taps_fn taps_max_u8, taps_max_s8, taps_max_f32; /* a NaN wins */
taps_fn taps_mean_f32;                          /* in double and rounded once */

#endif
