/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_conv.h: private to engine/: our own float32 convolution, for depthwise filters and for
 * builds without oneDNN, and the description of a convolution it shares with op_conv.c.
 */
#ifndef ENGINE_KERNEL_CONV_H
#define ENGINE_KERNEL_CONV_H

#include "engine/window.h"

/* A checked call. Channels: group g reads ic inputs and writes oc outputs. */
struct conv {
    struct window w;
    int64_t groups, ic, oc;
    const struct tensor *x, *wt, *bias; /* bias may be NULL */
};

/* Whether the kernel takes this geometry: a filter plane of moderate size, and rows that are not
 * much longer for their padding than they are. */
bool kernel_conv_fits(const struct window *w);
/* y [n, groups*oc, out...] = conv(x, wt) + bias, all float32 and contiguous, y not empty. Takes
 * room for the planes of one group from the budget. */
int kernel_conv_run(const struct conv *v, struct budget *b, float *y, struct err *err);

#endif
