/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_layout.c: lays out input planes for convolutions, see conv_layout.h. It multiplies nothing.
 */
#include "engine/conv_layout.h"
#include "engine/op_quant.h"
#include "engine/window.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Shape ---------------------------------------------------------------------------------- */

int conv_shape_read(const struct op_call *c, const struct tensor *x, const struct tensor *w,
                    struct conv_shape *s, struct err *err)
{
    char xs[128], ws[128];
    shape_text(xs, sizeof xs, x->rank, x->dims);
    shape_text(ws, sizeof ws, w->rank, w->dims);
    if (x->rank != w->rank || x->rank < 3) {
        return err_set(err, E_SHAPE, "input of shape %s does not fit a filter of shape %s", xs, ws);
    }
    if (x->rank > 4) {
        return err_set(err, E_UNSUPPORTED, "%d spatial dimensions are not supported", x->rank - 2);
    }
    struct window win;
    int rc = window_read(c, x, w->dims + 2, &win, err);
    if (rc) {
        return rc;
    }
    enum { H = WINDOW_RANK - 2, W };
    *s = (struct conv_shape){.n = win.n, .c = win.c, .o = w->dims[0], .cg = w->dims[1]};
    s->g = attr_int(c->node, "group", 1);
    s->h = win.in[H], s->kh = win.k[H], s->sh = win.s[H], s->dh = win.d[H];
    s->w = win.in[W], s->kw = win.k[W], s->sw = win.s[W], s->dw = win.d[W];
    s->pt = win.lo[H], s->pb = win.hi[H], s->oh = win.out[H];
    s->pl = win.lo[W], s->pr = win.hi[W], s->ow = win.out[W];
    if (s->g < 1 || s->c % s->g || s->o % s->g || s->c / s->g != s->cg) {
        return err_set(err, E_SHAPE,
                       "input of shape %s in %" PRId64 " groups does not fit a filter of shape %s",
                       xs, s->g, ws);
    }
    s->rank = window_dims(&win, s->o, s->out);
    return OK;
}

bool conv_is_pointwise(const struct conv_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1 && !s->pt && !s->pl && !s->pb &&
           !s->pr;
}

/* ---- Life ----------------------------------------------------------------------------------- */

enum { READ_BEHIND = 256 }; /* the widest tile reads this much past the last virtual pixel */

static int fill_offsets(struct conv_layout *l, size_t n, struct err *err)
{
    const struct conv_shape *s = &l->s;
    size_t i = 0, sh = (size_t)s->sh, sw = (size_t)s->sw;
    int rc = scratch_new(n, sizeof *l->off, (void **)&l->off, err);
    if (rc) {
        return rc;
    }
    for (size_t b = 0; b < l->blocks; b++) {
        for (int64_t ky = 0; ky < s->kh; ky++) {
            for (int64_t kx = 0; kx < s->kw; kx++) {
                size_t y = (size_t)(ky * s->dh), x = (size_t)(kx * s->dw);
                size_t plane = y % sh * l->px + x % sw;
                size_t at = (plane * l->rows + y / sh) * l->pitch + x / sw;
                l->off[i++] = b * l->block + at * l->lanes * l->size;
            }
        }
    }
    memset(l->off + i, 0, (n - i) * sizeof *l->off);
    return OK;
}

int conv_layout_init(struct conv_layout *l, const struct conv_shape *shape, size_t size,
                     size_t lanes, size_t n_off, struct err *err)
{
    struct conv_shape *s = &l->s;
    *l = (struct conv_layout){.s = *shape, .size = size, .lanes = lanes};
    if (conv_is_pointwise(s)) {
        s->w = s->ow = s->h * s->w; /* one long row; each is at most 2^30 */
        s->h = s->oh = 1;
    }
    int64_t span_y = (s->kh - 1) * s->dh, span_x = (s->kw - 1) * s->dw;
    l->blocks = ((size_t)s->cg + lanes - 1) / lanes;
    l->py = (size_t)MIN(s->sh, span_y + 1);
    l->px = (size_t)MIN(s->sw, span_x + 1);
    l->rows = (size_t)(s->oh + span_y / s->sh);
    l->pitch = (size_t)(s->ow + span_x / s->sw);
    l->pixels = (size_t)(s->oh - 1) * l->pitch + (size_t)s->ow;
    size_t total = 0, line = 0;
    bool ok = mul_ok(l->rows, l->pitch, &l->block) && mul_ok(l->block, l->py * l->px, &l->block) &&
              mul_ok(l->block, lanes * size, &l->block) && mul_ok(l->block, l->blocks, &total) &&
              mul_ok(l->pitch, lanes * size, &line) && add_ok(total, READ_BEHIND, &total);
    if (!ok) {
        return err_set(err, E_LIMIT, "padded input is too large");
    }
    int rc = scratch_new(total, 1, (void **)&l->data, err);
    rc = rc ? rc : scratch_new(line, 1, (void **)&l->line, err);
    return rc ? rc : fill_offsets(l, n_off, err);
}

void conv_layout_fini(struct conv_layout *l)
{
    free(l->data);
    free(l->line);
    free(l->off);
}

/* ---- Filling -------------------------------------------------------------------------------- */

/* dst[i] = src[x0 + i * step] ^ flip for i in [lo, hi); the two common steps by themselves, since
 * compilers vectorize those. */
static void copy_bytes(uint8_t *dst, const uint8_t *src, int64_t x0, int64_t step, int64_t lo,
                       int64_t hi, uint8_t flip)
{
    if (step == 1) {
        for (int64_t i = lo; i < hi; i++) {
            dst[i] = src[x0 + i] ^ flip;
        }
    } else if (step == 2) {
        for (int64_t i = lo; i < hi; i++) {
            dst[i] = src[x0 + 2 * i] ^ flip;
        }
    } else {
        for (int64_t i = lo; i < hi; i++) {
            dst[i] = src[x0 + step * i] ^ flip;
        }
    }
}

static void copy_floats(float *dst, const float *src, int64_t x0, int64_t step, int64_t lo,
                        int64_t hi)
{
    if (step == 1 && hi > lo) {
        memcpy(dst + lo, src + x0 + lo, (size_t)(hi - lo) * sizeof *dst);
        return;
    }
    for (int64_t i = lo; i < hi; i++) {
        dst[i] = src[x0 + step * i];
    }
}

/* One row of one phase: pixels x0, x0 + sw, ... of src and padding around them. src NULL: only
 * padding. */
static void fill_row(const struct conv_layout *l, const void *src, int64_t x0, uint8_t *dst)
{
    int64_t n = (int64_t)l->pitch, sw = l->s.sw, w = l->s.w;
    int64_t lo = x0 < 0 ? MIN((-x0 + sw - 1) / sw, n) : 0;
    int64_t hi = src && w > x0 ? MIN((w - x0 + sw - 1) / sw, n) : lo;
    hi = MAX(hi, lo);
    memset(dst, l->zero, (size_t)lo * l->size);
    memset(dst + (size_t)hi * l->size, l->zero, (size_t)(n - hi) * l->size);
    if (l->size == 1) {
        copy_bytes(dst, src, x0, sw, lo, hi, l->flip);
    } else {
        copy_floats((float *)dst, src, x0, sw, lo, hi);
    }
}

static void interleave(const uint8_t *restrict r0, const uint8_t *restrict r1,
                       const uint8_t *restrict r2, const uint8_t *restrict r3, size_t n,
                       uint8_t *restrict dst)
{
    for (size_t i = 0; i < n; i++) {
        dst[4 * i] = r0[i];
        dst[4 * i + 1] = r1[i];
        dst[4 * i + 2] = r2[i];
        dst[4 * i + 3] = r3[i];
    }
}

/* Row r of phase (py, px) of the channels of one block; x: first channel plane of the block. */
static void fill_block_row(const struct conv_layout *l, const uint8_t *x, size_t channels, size_t r,
                           size_t py, size_t px, uint8_t *dst)
{
    const struct conv_shape *s = &l->s;
    int64_t iy = (int64_t)r * s->sh + (int64_t)py - s->pt, x0 = (int64_t)px - s->pl;
    size_t plane = (size_t)(s->h * s->w) * l->size, n = l->pitch;
    const uint8_t *row = iy >= 0 && iy < s->h ? x + (size_t)(iy * s->w) * l->size : NULL;
    if (l->lanes == 1) {
        fill_row(l, row, x0, dst);
        return;
    }
    for (size_t q = 0; q < l->lanes; q++) {
        if (q < channels) {
            fill_row(l, row ? row + q * plane : NULL, x0, l->line + q * n);
        } else {
            memset(l->line + q * n, 0, n); /* no channel: neither products nor sums see it */
        }
    }
    interleave(l->line, l->line + n, l->line + 2 * n, l->line + 3 * n, n, dst);
}

void conv_layout_fill(const struct conv_layout *l, const void *x)
{
    size_t plane = (size_t)(l->s.h * l->s.w) * l->size, cg = (size_t)l->s.cg;
    uint8_t *dst = l->data;
    for (size_t b = 0; b < l->blocks; b++) {
        const uint8_t *src = (const uint8_t *)x + b * l->lanes * plane;
        for (size_t py = 0; py < l->py; py++) {
            for (size_t px = 0; px < l->px; px++) {
                for (size_t r = 0; r < l->rows; r++, dst += l->pitch * l->lanes * l->size) {
                    fill_block_row(l, src, cg - b * l->lanes, r, py, px, dst);
                }
            }
        }
    }
}

/* ---- Results -------------------------------------------------------------------------------- */

size_t conv_pieces(const struct conv_layout *l, size_t p0, size_t cols, struct conv_piece *out)
{
    size_t ow = (size_t)l->s.ow, n = 0;
    if (l->pitch == ow) {
        out[0] = (struct conv_piece){0, cols, p0};
        return 1;
    }
    for (size_t p = p0; p < p0 + cols;) {
        size_t y = p / l->pitch, x = p % l->pitch, end = MIN((y + 1) * l->pitch, p0 + cols);
        if (x < ow) {
            out[n++] = (struct conv_piece){p - p0, MIN(end - p, ow - x), y * ow + x};
        }
        p = end;
    }
    return n;
}
