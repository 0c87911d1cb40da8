/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rows.h: private to engine/: nodes that stand behind each other and are computed row by row, each
 * row of one as soon as there are the rows in front that it reads: it finds them in the cache of
 * the core. Every node makes all of its results, with the bits that it would have alone.
 */
#ifndef ENGINE_ROWS_H
#define ENGINE_ROWS_H

#include "engine/kernel_f32.h"
#include "engine/product_f32.h"
#include "engine/window.h"

enum {
    ROWS_MOST = 3,          /* nodes in a line */
    ROWS_WORTH = 256 << 10, /* floats between two; fewer stay in the cache anyway */
};

/* A call that is ready to be computed so. Its outputs are float32 with channels last. */
struct rows {
    struct window w; /* what rows, dimension 1, of input 0 each row of output 0 reads */
    struct f32_dest y;
    size_t row; /* elements of a row of outputs */
    /* Rows [from, end) of the outputs of all images, on any thread. What is in `later` it may fetch
     * into the cache. */
    void (*run)(const void *job, size_t from, size_t end, struct f32_later *later);
    void (*free)(void *job);
    void *job;
};

/* Whether rows of these windows can be computed so: an image is one plane that is not empty. */
static inline bool rows_fit(const struct window *w)
{
    return w->in[0] == 1 && w->out[0] == 1 && w->out_n > 0 && w->n > 0;
}

/* Whether a result is so large that its reader should follow row by row. */
static inline bool rows_worth(const struct window *w, int64_t channels)
{
    return w->out_n * channels >= ROWS_WORTH;
}

/* Runs as many of the calls as can be, from the first on, each of which reads as input 0 what the
 * one in front makes, its activation where it has a tail. Returns how many: those have their
 * outputs, the others have none; 0, or 2 and more. */
int rows_run(struct op_call *const *calls, int n);

#endif
