/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv8.c: see conv8.h: how rows of a product are gathered from an image, and which pixels a
 * depthwise filter reads. It packs no weights (conv8_filter.c) and multiplies nothing.
 */
#include "engine/conv8.h"

#include "engine/elem.h"
#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- Gathering ------------------------------------------------------------------------------ */

enum { COPY_STEP = 32 };

static size_t image_bytes(const struct conv_shape *s)
{
    return (size_t)(s->n * s->h * s->w * s->c);
}

static inline void copy_step(uint8_t *restrict dst, const uint8_t *restrict src, uint8_t flip)
{
    for (size_t k = 0; k < COPY_STEP; k++) {
        dst[k] = src[k] ^ flip;
    }
}

/* dst[i] = src[i] ^ flip. In whole steps where that reads nothing behind `end`: what is written too
 * much is written again by what comes next, or stands where it does not matter. */
static inline void copy_codes(uint8_t *restrict dst, const uint8_t *restrict src, size_t n,
                              const uint8_t *end, uint8_t flip)
{
    const size_t whole = (n + COPY_STEP - 1) / COPY_STEP * COPY_STEP;
    if (whole > (size_t)(end - src)) {
        for (size_t i = 0; i < n; i++) {
            dst[i] = src[i] ^ flip;
        }
        return;
    }
    for (size_t i = 0; i < whole; i += COPY_STEP) {
        copy_step(dst + i, src + i, flip);
    }
}

/* What all pixels of a convolution have in common. */
struct patch {
    const struct conv8 *v;
    const uint8_t *end; /* of the images */
    size_t row, line;   /* bytes of a row of the image, of the filter */
    size_t step;        /* bytes from pixel to pixel of the result */
    size_t depth;       /* bytes of a row of the product */
    bool together;      /* whether a line of the filter is one piece of the image */
};

/* Any pixel, wherever its filter lies. */
static void gather_pixel(const struct patch *p, const uint8_t *image, int64_t y0, int64_t x0,
                         uint8_t *dst)
{
    const struct conv8 *v = p->v;
    const struct conv_shape *s = &v->s;
    const size_t cg = (size_t)s->cg;
    for (int64_t ky = 0; ky < s->kh; ky++, dst += p->line) {
        const int64_t y = y0 + ky * s->dh;
        if (y < 0 || y >= s->h) {
            memset(dst, v->zero, p->line);
            continue;
        }
        const uint8_t *from = image + (size_t)y * p->row;
        if (p->together && x0 >= 0 && x0 + s->kw <= s->w) {
            copy_codes(dst, from + (size_t)(x0 * s->c), p->line, p->end, v->flip);
            continue;
        }
        for (int64_t kx = 0; kx < s->kw; kx++) {
            const int64_t x = x0 + kx * s->dw;
            if (x >= 0 && x < s->w) {
                copy_codes(dst + (size_t)kx * cg, from + (size_t)(x * s->c), cg, p->end, v->flip);
            } else {
                memset(dst + (size_t)kx * cg, v->zero, cg);
            }
        }
    }
}

/* Pixels [0, n) of a row of results whose filters lie inside the image; src: the first one's
 * corner. Only copies whole steps. */
static void gather_inner(const struct patch *p, const uint8_t *src, size_t n, uint8_t *dst)
{
    const size_t kh = (size_t)p->v->s.kh, down = (size_t)p->v->s.dh * p->row, line = p->line;
    const uint8_t flip = p->v->flip;
    for (size_t i = 0; i < n; i++, src += p->step, dst += p->depth) {
        const uint8_t *from = src;
        uint8_t *to = dst;
        for (size_t ky = 0; ky < kh; ky++, from += down, to += line) {
            for (size_t k = 0; k < line; k += COPY_STEP) {
                copy_step(to + k, from + k, flip);
            }
        }
    }
}

/* Results [x0, x1) that gather_inner() can do, of those whose filters start in row y0. */
static void inner_range(const struct patch *p, const uint8_t *image, int64_t y0, int64_t *x0,
                        int64_t *x1)
{
    const struct conv_shape *s = &p->v->s;
    const int64_t last = s->w - s->kw + s->pl, y1 = y0 + (s->kh - 1) * s->dh;
    *x0 = *x1 = 0;
    if (!p->together || y0 < 0 || y1 >= s->h || last < 0) {
        return;
    }
    *x0 = (s->pl + s->sw - 1) / s->sw;
    *x1 = MIN(s->ow, last / s->sw + 1);
    const uint8_t *row = image + (size_t)y1 * p->row;
    while (*x1 > *x0 &&
           (size_t)(p->end - row) <
               (size_t)((*x1 - 1) * s->sw - s->pl) * (size_t)s->c + p->line + COPY_STEP) {
        --*x1;
    }
}

/* Results [ox, end) of row oy of an image. */
static void gather_row(const struct patch *p, const uint8_t *image, int64_t oy, int64_t ox,
                       int64_t end, uint8_t *dst)
{
    const struct conv_shape *s = &p->v->s;
    const int64_t y0 = oy * s->sh - s->pt;
    int64_t in0, in1;
    inner_range(p, image, y0, &in0, &in1);
    while (ox < end) {
        const int64_t x0 = ox * s->sw - s->pl;
        if (ox >= in0 && ox < in1) {
            const int64_t n = MIN(in1, end) - ox;
            gather_inner(p, image + (size_t)y0 * p->row + (size_t)(x0 * s->c), (size_t)n, dst);
            ox += n;
            dst += (size_t)n * p->depth;
        } else {
            gather_pixel(p, image, y0, x0, dst);
            ox++;
            dst += p->depth;
        }
    }
}

/* Rows of the product are output pixels, their elements ky, kx, channel of the group. */
static void gather(const void *ctx, size_t set, size_t r0, size_t n, uint8_t *dst)
{
    const struct conv8 *v = ctx;
    const struct conv_shape *s = &v->s;
    const size_t ow = (size_t)s->ow, pixels = (size_t)s->oh * ow;
    const struct patch p = {
        .v = v,
        .end = v->x + image_bytes(s),
        .row = (size_t)(s->w * s->c),
        .line = (size_t)(s->kw * s->cg),
        .step = (size_t)(s->sw * s->c),
        .depth = v->filter->right.depth,
        .together = s->kw == 1 || (s->dw == 1 && s->g == 1),
    };
    for (size_t r = r0, m; r < r0 + n; r += m, dst += m * p.depth) {
        const size_t image = r / pixels, ox = r % ow;
        m = MIN(ow - ox, r0 + n - r);
        gather_row(&p, v->x + set * (size_t)s->cg + image * (size_t)s->h * p.row,
                   (int64_t)(r % pixels / ow), (int64_t)ox, (int64_t)(ox + m), dst);
    }
}

static struct finish finish_of(const struct conv8 *v)
{
    struct finish f = v->finish;
    f.scale = v->params->scale;
    f.mul = v->params->mul;
    return f;
}

static int run_dense(const struct conv8 *v, struct par *par, struct err *err)
{
    const struct conv_shape *s = &v->s;
    const struct conv8_filter *f = v->filter;
    const size_t size = dtype_size(v->finish.dtype), og = f->o / f->g;
    const bool as_is = conv_is_pointwise(s) && !v->flip;
    const struct gemm8 g = {
        .kernels = v->kernels,
        .right = &f->right,
        .rows = (size_t)(s->n * s->oh * s->ow),
        .x = as_is ? v->x : NULL,
        .ldx = (size_t)s->c,
        .x_set = (size_t)s->cg,
        .readable = image_bytes(s),
        .fill = gather,
        .ctx = v,
        .add = v->params->add,
        .finish = finish_of(v),
        .y = v->y,
        .y_set = og * size,
        .ldy = f->o * size,
    };
    return gemm8_run(&g, par, err);
}

/* ---- Depthwise ------------------------------------------------------------------------------ */

/* A thread's own memory: where the pixels of one output row are. */
struct pointers {
    const uint8_t **ptr; /* [padded columns][kh], or [pixels][kw][kh] */
};

struct rows {
    const struct conv8 *v;
    const uint8_t *x; /* the image, one channel for each of the result */
    uint8_t *padding; /* a pixel of it */
    size_t *at;       /* see struct depthwise_row */
    size_t cols;      /* padded columns that a row of results uses */
    bool by_pixel;    /* far apart taps: their pointers stand per pixel, not per column */
    size_t step;      /* pointers from pixel to pixel */
    size_t each;      /* output rows of an item */
    size_t items;
    struct pointers *own; /* per thread */
    struct finish finish;
};

/* Pointers to columns x0, x0 + dx, ... of row y, `apart` entries apart. */
static void point_at(const struct rows *w, const uint8_t **ptr, size_t apart, size_t image,
                     int64_t y, int64_t x0, int64_t dx, size_t n)
{
    const struct conv_shape *s = &w->v->s;
    const size_t pixel = w->v->filter->dw.channels;
    if (y < 0 || y >= s->h) {
        for (size_t i = 0; i < n; i++) {
            ptr[i * apart] = w->padding;
        }
        return;
    }
    const uint8_t *row = w->x + (image * (size_t)s->h + (size_t)y) * (size_t)s->w * pixel;
    for (size_t i = 0; i < n; i++, x0 += dx) {
        ptr[i * apart] = x0 >= 0 && x0 < s->w ? row + (size_t)x0 * pixel : w->padding;
    }
}

static void point_at_row(const struct rows *w, const uint8_t **ptr, size_t image, int64_t oy)
{
    const struct conv_shape *s = &w->v->s;
    const size_t kh = (size_t)s->kh, kw = (size_t)s->kw;
    for (size_t ky = 0; ky < kh; ky++) {
        const int64_t y = oy * s->sh - s->pt + (int64_t)ky * s->dh;
        if (!w->by_pixel) {
            point_at(w, ptr + ky, kh, image, y, -s->pl, 1, w->cols);
            continue;
        }
        for (size_t kx = 0; kx < kw; kx++) {
            point_at(w, ptr + kx * kh + ky, w->step, image, y, (int64_t)kx * s->dw - s->pl, s->sw,
                     (size_t)s->ow);
        }
    }
}

static void run_rows(void *ctx, size_t item, size_t thread)
{
    const struct rows *w = ctx;
    const struct conv8 *v = w->v;
    const struct conv_shape *s = &v->s;
    const size_t oh = (size_t)s->oh, all = (size_t)s->n * oh;
    const size_t ldy = v->filter->o * dtype_size(v->finish.dtype);
    struct depthwise_row d = {
        .w = &v->filter->dw,
        .ptr = w->own[thread].ptr,
        .step = w->step,
        .at = w->at,
        .pixels = (size_t)s->ow,
        .stride_3x3 = s->kh == 3 && s->kw == 3 && s->dw == 1 && s->sw <= 2 ? (int)s->sw : 0,
        .add = v->params->add,
        .f = &w->finish,
        .ldy = ldy,
    };
    for (size_t r = item * w->each; r < MIN(all, (item + 1) * w->each); r++) {
        point_at_row(w, w->own[thread].ptr, r / oh, (int64_t)(r % oh));
        d.y = (uint8_t *)v->y + r * d.pixels * ldy;
        v->kernels->depthwise(&d);
    }
}

static int tap_places(struct rows *w, struct err *err)
{
    const struct conv_shape *s = &w->v->s;
    const struct depthwise_filter *d = &w->v->filter->dw;
    const size_t kh = (size_t)s->kh, kw = (size_t)s->kw;
    int rc = scratch_new(d->quad_slots, sizeof *w->at, (void **)&w->at, err);
    if (rc) {
        return rc;
    }
    memset(w->at, 0, d->quad_slots * sizeof *w->at);
    for (size_t kx = 0; kx < kw; kx++) {
        for (size_t ky = 0; ky < kh; ky++) {
            w->at[conv8_slot(kh, kw, ky, kx)] = (w->by_pixel ? kx : kx * (size_t)s->dw) * kh + ky;
        }
    }
    if (d->quad_slots > d->slots) {
        memcpy(w->at + d->slots, w->at, d->slots * sizeof *w->at);
    }
    return OK;
}

VECTOR_CLONES static void flip_codes(const uint8_t *restrict x, size_t n, uint8_t flip,
                                     uint8_t *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] ^ flip;
    }
}

/* The image with u8 codes and every channel as often as results come from it. */
static int widen_image(const struct conv8 *v, uint8_t **out, struct err *err)
{
    const size_t n = image_bytes(&v->s), times = (size_t)(v->s.o / v->s.c);
    int rc = scratch_new(n, times, (void **)out, err);
    if (rc) {
        return rc;
    }
    if (times == 1) {
        flip_codes(v->x, n, v->flip, *out);
        return OK;
    }
    uint8_t *to = *out;
    for (size_t i = 0; i < n; i++, to += times) {
        memset(to, v->x[i] ^ v->flip, times);
    }
    return OK;
}

enum {
    ITEMS_PER_THREAD = 4,
    WORTH_SHARING = 1 << 17, /* products and results that take longer than to wake a thread */
};

static int rows_init(struct rows *w, size_t threads, uint8_t **image, struct err *err)
{
    const struct conv8 *v = w->v;
    const struct conv_shape *s = &v->s;
    const size_t all = (size_t)(s->n * s->oh), pixel = v->filter->dw.channels;
    w->cols = (size_t)((s->ow - 1) * s->sw + (s->kw - 1) * s->dw + 1);
    w->each = MAX(all / (threads * ITEMS_PER_THREAD), (size_t)1);
    w->each = threads > 1 ? w->each : all;
    w->items = (all + w->each - 1) / w->each;
    w->own = mem_alloc(threads * sizeof *w->own);
    w->by_pixel = w->cols > (size_t)(s->ow * s->kw);
    w->step = (size_t)((w->by_pixel ? s->kw : s->sw) * s->kh);
    size_t n = 0;
    bool ok = mul_ok(w->by_pixel ? (size_t)(s->ow * s->kw) : w->cols, (size_t)s->kh, &n);
    int rc = ok ? OK : err_set(err, E_LIMIT, "window too large");
    for (size_t i = 0; i < threads && !rc; i++) {
        rc = scratch_new(n, sizeof *w->own[i].ptr, (void **)&w->own[i].ptr, err);
    }
    rc = rc ? rc : scratch_new(pixel, 1, (void **)&w->padding, err);
    rc = rc ? rc : tap_places(w, err);
    if (!rc) {
        memset(w->padding, v->zero, pixel);
        w->x = v->x;
    }
    if (!rc && (v->flip || s->o != s->c)) {
        rc = widen_image(v, image, err);
        w->x = *image;
    }
    return rc;
}

static int run_depthwise(const struct conv8 *v, struct par *par, struct err *err)
{
    const struct conv_shape *s = &v->s;
    struct rows w = {
        .v = v,
        .finish = finish_of(v),
    };
    const size_t results = (size_t)(s->n * s->oh * s->ow * s->o);
    size_t threads = results * v->filter->dw.slots < WORTH_SHARING ? 1 : par_threads(par);
    uint8_t *image = NULL;
    int rc = rows_init(&w, threads, &image, err);
    if (!rc) {
        par_for_on(threads > 1 ? par : NULL, w.items, run_rows, &w);
    }
    for (size_t i = 0; i < threads; i++) {
        scratch_free(w.own[i].ptr);
    }
    free(w.own);
    scratch_free(w.at);
    scratch_free(w.padding);
    scratch_free(image);
    return rc;
}

int conv8_run(const struct conv8 *c, struct par *par, struct err *err)
{
    if (c->s.n * c->s.oh * c->s.ow * c->s.o == 0) {
        return OK;
    }
    return c->filter->depthwise ? run_depthwise(c, par, err) : run_dense(c, par, err);
}
