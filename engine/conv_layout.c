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

enum { READ_BEHIND = 64 }; /* pixels that the widest kernel reads past the last one */

static int fill_offsets(struct conv_layout *l, struct err *err)
{
    const struct conv_shape *s = &l->s;
    size_t i = 0, sh = (size_t)s->sh, sw = (size_t)s->sw, n = 0;
    bool ok = mul_ok((size_t)s->cg, (size_t)(s->kh * s->kw), &n);
    int rc = ok ? scratch_new(n, sizeof *l->off, (void **)&l->off, err)
                : err_set(err, E_LIMIT, "filter is too large");
    if (rc) {
        return rc;
    }
    for (size_t c = 0; c < (size_t)s->cg; c++) {
        for (int64_t ky = 0; ky < s->kh; ky++) {
            for (int64_t kx = 0; kx < s->kw; kx++) {
                size_t y = (size_t)(ky * s->dh), x = (size_t)(kx * s->dw);
                size_t phase = y % sh * l->px + x % sw;
                size_t at = (phase * l->rows + y / sh) * l->pitch + x / sw;
                l->off[i++] = (c * l->plane + at) * sizeof(float);
            }
        }
    }
    return OK;
}

int conv_layout_init(struct conv_layout *l, const struct conv_shape *shape, struct err *err)
{
    struct conv_shape *s = &l->s;
    *l = (struct conv_layout){.s = *shape};
    if (conv_is_pointwise(s)) {
        s->w = s->ow = s->h * s->w; /* one long row; each is at most 2^30 */
        s->h = s->oh = 1;
    }
    int64_t span_y = (s->kh - 1) * s->dh, span_x = (s->kw - 1) * s->dw;
    l->py = (size_t)MIN(s->sh, span_y + 1);
    l->px = (size_t)MIN(s->sw, span_x + 1);
    l->rows = (size_t)(s->oh + span_y / s->sh);
    l->pitch = (size_t)(s->ow + span_x / s->sw);
    l->pixels = (size_t)(s->oh - 1) * l->pitch + (size_t)s->ow;
    size_t total = 0;
    bool ok = mul_ok(l->rows, l->pitch, &l->plane) && mul_ok(l->plane, l->py * l->px, &l->plane) &&
              mul_ok(l->plane, (size_t)s->cg, &total) && add_ok(total, READ_BEHIND, &total);
    if (!ok) {
        return err_set(err, E_LIMIT, "padded input is too large");
    }
    int rc = scratch_new(total, sizeof *l->data, (void **)&l->data, err);
    return rc ? rc : fill_offsets(l, err);
}

void conv_layout_fini(struct conv_layout *l)
{
    free(l->data);
    free(l->off);
}

/* ---- Filling -------------------------------------------------------------------------------- */

/* One row of one phase: pixels x0, x0 + sw, ... of src and zeros around them. src NULL: only
 * zeros. */
static void fill_row(const struct conv_layout *l, const float *src, int64_t x0, float *dst)
{
    int64_t n = (int64_t)l->pitch, sw = l->s.sw, w = l->s.w;
    int64_t lo = x0 < 0 ? MIN((-x0 + sw - 1) / sw, n) : 0;
    int64_t hi = src && w > x0 ? MIN((w - x0 + sw - 1) / sw, n) : lo;
    hi = MAX(hi, lo);
    memset(dst, 0, (size_t)lo * sizeof *dst);
    memset(dst + hi, 0, (size_t)(n - hi) * sizeof *dst);
    if (sw == 1 && hi > lo) {
        memcpy(dst + lo, src + x0 + lo, (size_t)(hi - lo) * sizeof *dst);
        return;
    }
    for (int64_t i = lo; i < hi; i++) {
        dst[i] = src[x0 + sw * i];
    }
}

void conv_layout_fill(const struct conv_layout *l, const float *x)
{
    const struct conv_shape *s = &l->s;
    float *dst = l->data;
    for (int64_t c = 0; c < s->cg; c++, x += s->h * s->w) {
        for (size_t py = 0; py < l->py; py++) {
            for (size_t px = 0; px < l->px; px++) {
                for (size_t r = 0; r < l->rows; r++, dst += l->pitch) {
                    int64_t y = (int64_t)r * s->sh + (int64_t)py - s->pt;
                    const float *row = y >= 0 && y < s->h ? x + y * s->w : NULL;
                    fill_row(l, row, (int64_t)px - s->pl, dst);
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
