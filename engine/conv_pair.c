/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_pair.c: a convolution of single pixels and the depthwise one behind it. The second is bound
 * by memory: computed row by row, it finds what it reads in the cache of the core.
 */
#include "engine/conv_f32.h"
#include "engine/par.h"

enum {
    STRIPS = 4,        /* parts of an image per thread, when there are several */
    WORTH = 256 << 10, /* floats between the two; fewer stay in the cache anyway */
};

/* Rows [in, in_end) of the first and [out, out_end) of the second that read no others; the second's
 * [out_end, next) read rows of the next strip, too. */
struct strip {
    int64_t in, in_end, out, out_end, next;
};

struct pair {
    struct dense_job dense;
    struct depth_job depth;
    int64_t strips; /* of an image */
};

/* The first row of outputs that reads row h or a later one first. */
static int64_t first_from(const struct window *w, int64_t h)
{
    const int64_t first = h <= 0 ? 0 : (h + w->lo[1] + w->s[1] - 1) / w->s[1];
    return h >= w->in[1] ? w->out[1] : MIN(first, w->out[1]);
}

/* Rows of outputs [0, n) need no rows of the input from h on. */
static int64_t done_at(const struct window *w, int64_t h)
{
    const int64_t room = h + w->lo[1] - (w->k[1] - 1) * w->d[1] - 1; /* last start of a window */
    return h >= w->in[1] ? w->out[1] : room < 0 ? 0 : MIN(room / w->s[1] + 1, w->out[1]);
}

static struct strip strip_of(const struct pair *p, int64_t i)
{
    const struct window *w = &p->depth.v->w;
    struct strip s = {.in = i * w->in[1] / p->strips, .in_end = (i + 1) * w->in[1] / p->strips};
    s.out = first_from(w, s.in);
    s.next = first_from(w, s.in_end);
    s.out_end = MIN(MAX(done_at(w, s.in_end), s.out), s.next);
    return s;
}

/* Rows [from, end) of the second's outputs. */
static void depth_rows(const struct pair *p, int64_t image, int64_t from, int64_t end)
{
    const size_t first = (size_t)(image * p->depth.v->w.out[1]);
    conv_depth_rows(&p->depth, first + (size_t)from, first + (size_t)end);
}

/* Where rows [from, end) of the second's outputs will go. */
static struct f32_later places(const struct pair *p, int64_t image, int64_t from, int64_t end)
{
    const struct window *w = &p->depth.v->w;
    const float *all[] = {p->depth.y.raw, p->depth.y.act};
    const int64_t row = w->out[2] * w->c, first = image * w->out[1];
    struct f32_later l = {0};
    for (size_t i = 0; i < COUNT(all); i++) {
        if (all[i]) {
            l.at[i] = all[i] + (first + from) * row;
            l.end[i] = all[i] + (first + end) * row;
        }
    }
    return l;
}

/* Item i: a strip of an image. */
static void run_strip(void *ctx, size_t i)
{
    const struct pair *p = ctx;
    const struct window *w = &p->depth.v->w;
    const int64_t image = (int64_t)i / p->strips, width = w->in[2];
    const struct strip s = strip_of(p, (int64_t)i % p->strips);
    const int64_t each = MAX((int64_t)p->dense.most / width, 1);
    int64_t done = s.out;
    for (int64_t h = s.in; h < s.in_end; h += each) {
        const int64_t end = MIN(h + each, s.in_end);
        const size_t p0 = (size_t)((image * w->in[1] + h) * width);
        const size_t n = (size_t)((end - h) * width), blocks = (n - 1) / p->dense.most + 1;
        const int64_t ready = MAX(MIN(done_at(w, end), s.out_end), done);
        struct f32_later later = places(p, image, done, ready);
        for (size_t k = 0; k < blocks; k++) {
            conv_dense_pixels(&p->dense, 0, p0 + k * n / blocks, p0 + (k + 1) * n / blocks, 0,
                              p->dense.panels->count, &later);
        }
        depth_rows(p, image, done, ready);
        done = ready;
    }
}

/* Item i: what strips left, since it reads rows of two of them. */
static void run_seam(void *ctx, size_t i)
{
    const struct pair *p = ctx;
    const struct strip s = strip_of(p, (int64_t)i % p->strips);
    depth_rows(p, (int64_t)i / p->strips, s.out_end, s.next);
}

bool conv_pair_fits(const struct conv *dense, const struct conv *depth)
{
    const struct window *w = &dense->w;
    bool fits = dense->groups == 1 && !dense->block && w->k_n == 1 && depth->w.in[0] == 1 &&
                depth->w.out[0] == 1 && depth->w.out_n > 0 && depth->w.in_n * depth->w.c >= WORTH;
    for (int a = 0; a < WINDOW_RANK; a++) {
        fits = fits && w->s[a] == 1 && !w->lo[a] && !w->hi[a];
    }
    return fits;
}

int conv_pair_run(const struct conv *dense, const void *dense_form, struct f32_dest y,
                  const struct conv *depth, const void *depth_form, struct f32_dest z,
                  struct par *par, struct budget *b, struct err *err)
{
    struct pair p;
    const size_t threads = par_threads(par);
    int rc = conv_dense_begin(dense, dense_form, y, b, &p.dense, err);
    if (rc) {
        return rc;
    }
    rc = conv_depth_begin(depth, depth_form, z, b, &p.depth, err);
    if (!rc) {
        const int64_t strips = threads > 1 ? STRIPS * (int64_t)threads : 1;
        p.strips = MIN(strips, depth->w.in[1]);
        par_for(par, (size_t)(depth->w.n * p.strips), run_strip, &p);
        par_for(par, (size_t)(depth->w.n * p.strips), run_seam, &p);
        conv_depth_end(&p.depth);
    }
    conv_dense_end(&p.dense);
    return rc;
}
