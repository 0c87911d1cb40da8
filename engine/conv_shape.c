/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_shape.c: see conv_shape.h.
 */
#include "engine/conv_shape.h"

#include "engine/window.h"

#include <inttypes.h>

int conv_shape_read(const struct op_call *c, const struct tensor *x, const struct tensor *w,
                    struct conv_shape *s, struct err *err)
{
    char xs[128], ws[128];
    if (x->rank != w->rank || x->rank < 3) {
        return err_set(err, E_SHAPE, "input of shape %s does not fit a filter of shape %s",
                       shape_text(xs, sizeof xs, x->rank, x->dims),
                       shape_text(ws, sizeof ws, w->rank, w->dims));
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
                       shape_text(xs, sizeof xs, x->rank, x->dims), s->g,
                       shape_text(ws, sizeof ws, w->rank, w->dims));
    }
    s->rank = window_dims(&win, s->o, s->out);
    return OK;
}

bool conv_is_pointwise(const struct conv_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1 && !s->pt && !s->pl && !s->pb &&
           !s->pr;
}
