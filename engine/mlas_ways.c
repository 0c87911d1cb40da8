/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * mlas_ways.c: ways of op_mlas_conv.c to reach the order of a sum with channels last where the
 * float kernels alone do not.
 */
#include "engine/elem.h"
#include "engine/layout.h"
#include "engine/op_mlas.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <stdlib.h>

/* The pixel that tap t of an output sees, channels last; NULL in the padding. */
static const float *pixel_at(const struct mlas_conv *j, size_t image, int64_t oy, int64_t ox,
                             size_t t)
{
    const struct conv_shape *s = &j->s;
    const int64_t y = oy * s->sh - s->pt + (int64_t)t / s->kw * s->dh;
    const int64_t x = ox * s->sw - s->pl + (int64_t)t % s->kw * s->dw;
    if (y < 0 || y >= s->h || x < 0 || x >= s->w) {
        return NULL;
    }
    const size_t row = image * (size_t)s->h + (size_t)y;
    return (const float *)j->x->data + (row * (size_t)s->w + (size_t)x) * (size_t)s->c;
}

/* One output whose products are summed in fours: pixel x[k] meets w [k][channels]. */
VECTOR_CLONES static void sum_fours(const float *const *x, const float *restrict w, size_t products,
                                    size_t run, size_t channels, float *restrict y)
{
    enum { LANES_WIDE = 64 };
    for (size_t c0 = 0; c0 < channels; c0 += LANES_WIDE) {
        const size_t n = MIN(channels - c0, (size_t)LANES_WIDE);
        float sum[LANES_WIDE] = {0};
        for (size_t k0 = 0; k0 < products; k0 += run) {
            const size_t end = MIN(products, k0 + run);
            size_t k = k0;
            for (; k + 4 <= end; k += 4) {
                const float *a = x[k] + c0, *b = x[k + 1] + c0, *d = x[k + 2] + c0;
                const float *e = x[k + 3] + c0, *v = w + k * channels + c0;
                for (size_t c = 0; c < n; c++) {
                    float s = a[c] * v[c];
                    s += b[c] * v[channels + c];
                    s += d[c] * v[2 * channels + c];
                    s += e[c] * v[3 * channels + c];
                    sum[c] += s;
                }
            }
            for (; k + 2 <= end; k += 2) {
                const float *a = x[k] + c0, *b = x[k + 1] + c0, *v = w + k * channels + c0;
                for (size_t c = 0; c < n; c++) {
                    float s = a[c] * v[c];
                    s += b[c] * v[channels + c];
                    sum[c] += s;
                }
            }
            for (size_t c = 0; c < n && k < end; c++) {
                sum[c] += x[k][c0 + c] * w[k * channels + c0 + c];
            }
        }
        memcpy(y + c0, sum, n * sizeof *y);
    }
}

/* Rows of such outputs. */
struct fours {
    const struct mlas_conv *j;
    const float *w, *zeros;
    float *y;
};

static void run_fours(void *ctx, size_t row)
{
    const struct fours *f = ctx;
    const struct conv_shape *s = &f->j->s;
    const size_t c = (size_t)s->c, oh = (size_t)s->oh;
    for (int64_t ox = 0; ox < s->ow; ox++) {
        const float *x[MLAS_FOURS];
        for (size_t t = 0; t < f->j->k; t++) {
            x[t] = pixel_at(f->j, row / oh, (int64_t)(row % oh), ox, t);
            x[t] = x[t] ? x[t] : f->zeros;
        }
        sum_fours(x, f->w, f->j->k, f->j->order.run, c,
                  f->y + (row * (size_t)s->ow + (size_t)ox) * c);
    }
}

int mlas_run_fours(const struct mlas_conv *j, const float *w, struct par *par, struct err *err)
{
    struct fours f = {.j = j, .w = w, .y = j->y->data};
    float *zeros = NULL;
    int rc = scratch_new((size_t)j->s.c, sizeof *zeros, (void **)&zeros, err);
    if (!rc) {
        memset(zeros, 0, (size_t)j->s.c * sizeof *zeros);
        f.zeros = zeros;
        par_for(par, (size_t)(j->s.n * j->s.oh), run_fours, &f);
    }
    scratch_free(zeros);
    return rc;
}

/* All products of pixels [p0, p0 + n) of the output in the order channel, ky, kx. */
struct patches {
    const struct mlas_conv *j;
    size_t p0;
    float *dst;
};

enum { ROOM = 1 << 12 }; /* floats that are transposed at a time */

/* Channels [c0, c0 + n) of what an output pixel sees, as [taps][n]. */
static void take_taps(const struct mlas_conv *j, size_t image, int64_t oy, int64_t ox, size_t c0,
                      size_t n, float *dst)
{
    const struct conv_shape *s = &j->s;
    const float *x = (const float *)j->x->data + image * (size_t)(s->h * s->w * s->c) + c0;
    for (int64_t ky = 0; ky < s->kh; ky++) {
        const int64_t y = oy * s->sh - s->pt + ky * s->dh;
        for (int64_t kx = 0; kx < s->kw; kx++, dst += n) {
            const int64_t at = ox * s->sw - s->pl + kx * s->dw;
            if (y >= 0 && y < s->h && at >= 0 && at < s->w) {
                memcpy(dst, x + (size_t)((y * s->w + at) * s->c), n * sizeof *dst);
            } else {
                memset(dst, 0, n * sizeof *dst);
            }
        }
    }
}

static void fill_patches(void *ctx, size_t from, size_t to)
{
    const struct patches *p = ctx;
    const struct conv_shape *s = &p->j->s;
    const size_t taps = p->j->taps, c = (size_t)s->c, plane = (size_t)(s->oh * s->ow);
    float room[ROOM];
    for (size_t i = p->p0 + from; i < p->p0 + to; i++) {
        const int64_t pixel = (int64_t)(i % plane), oy = pixel / s->ow, ox = pixel % s->ow;
        for (size_t c0 = 0, n; c0 < c; c0 += n) {
            n = MIN(c - c0, ROOM / taps);
            take_taps(p->j, i / plane, oy, ox, c0, n, room);
            layout_transpose(room, p->dst + ((i - p->p0) * c + c0) * taps, sizeof *room, taps, n);
        }
    }
}

/* Some pixels at a time become the pixels of an image that a filter of one pixel passes over. */
int mlas_run_patches(const struct op_call *c, const struct mlas_conv *j, const struct conv *v,
                     const void *form, struct f32_dest y, struct err *err)
{
    enum { FLOATS = 1 << 17, PIECE = 16 };
    const size_t pixels = (size_t)(j->s.n * j->s.oh * j->s.ow), each = (size_t)j->s.c * j->taps;
    const size_t most = MIN(MAX(FLOATS / each, (size_t)PIECE), pixels);
    struct conv flat = *v;
    struct tensor *x = NULL;
    flat.w = (struct window){.rank = 1, .n = 1, .c = (int64_t)each, .in_n = 1, .k_n = 1};
    for (int a = 0; a < WINDOW_RANK; a++) {
        flat.w.in[a] = flat.w.out[a] = flat.w.k[a] = flat.w.s[a] = flat.w.d[a] = 1;
    }
    flat.ic = (int64_t)j->k;
    flat.block = j->order.run;
    int rc = tensor_new(DT_F32, 2, (int64_t[]){(int64_t)most, (int64_t)each}, c->budget, &x, err);
    flat.x = x;
    for (size_t p0 = 0, n; p0 < pixels && !rc; p0 += n) {
        n = MIN(pixels - p0, most);
        struct patches p = {j, p0, x->data};
        par_pieces(c->par, n, PIECE, fill_patches, &p);
        flat.w.in[WINDOW_RANK - 1] = flat.w.out[WINDOW_RANK - 1] = (int64_t)n;
        flat.w.in_n = flat.w.out_n = (int64_t)n;
        const size_t at = p0 * (size_t)j->s.o;
        const struct f32_dest part = {.raw = y.raw ? y.raw + at : NULL,
                                      .act = y.act ? y.act + at : NULL,
                                      .lo = y.lo,
                                      .hi = y.hi};
        rc = conv_dense_run(&flat, form, part, c->par, c->budget, err);
    }
    tensor_free(x);
    return rc;
}
