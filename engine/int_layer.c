/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * int_layer.c: finds the vectors of the dot products that integer operators are made of. Shapes are
 * not checked again: a kernel has accepted them.
 */
#include "engine/int_layer.h"

#include "engine/fuse.h"

/* Inputs of each operator; -1 = it has none such. */
struct slots {
    const char *op;
    const char *domain; /* NULL = any but channels last */
    bool is_conv;
    int x, sx, zx, w, sw, zw, sy, bias;
};

static const struct slots slots[] = {
    {"QLinearConv", NULL, true, 0, 1, 2, 3, 4, 5, 6, 8},
    {"ConvInteger", NULL, true, 0, -1, 2, 1, -1, 3, -1, -1},
    {"QLinearMatMul", NULL, false, 0, 1, 2, 3, 4, 5, 6, -1},
    {"QGemm", NULL, false, 0, 1, 2, 3, 4, 5, 7, 6},
    {"MatMulInteger", NULL, false, 0, -1, 2, 1, -1, 3, -1, -1},
    {"MatMulIntegerToFloat", NULL, false, 0, 2, 4, 1, 3, 5, -1, -1},
    {"Conv", fuse_tensorrt_domain, true, 0, 1, 2, 3, 4, 5, -1, -1},
    {"MatMul", fuse_tensorrt_domain, false, 0, 1, 2, 3, 4, 5, -1, -1},
    {"Gemm", fuse_tensorrt_domain, false, 0, 1, 2, 3, 4, 5, -1, -1},
};

static const struct slots *slots_find(const struct node *n)
{
    for (size_t i = 0; i < COUNT(slots); i++) {
        const struct slots *s = &slots[i];
        bool fits = s->domain ? strcmp(n->domain, s->domain) == 0
                              : strcmp(n->domain, fuse_nhwc_domain) != 0;
        if (fits && strcmp(s->op, n->op) == 0) {
            return s;
        }
    }
    return NULL;
}

bool int_layer_is(const struct node *n)
{
    return slots_find(n) != NULL;
}

static const struct tensor *input(const struct op_call *c, int i)
{
    return i >= 0 && i < c->n_in ? c->in[i] : NULL;
}

static void open_conv(struct int_layer *l)
{
    const struct conv_shape *g = &l->g;
    l->is_conv = true;
    l->sets = (size_t)(g->n * g->g);
    l->vecs = (size_t)(g->oh * g->ow);
    l->outs = (size_t)(g->o / g->g);
    l->k = (size_t)(g->cg * g->kh * g->kw);
    l->channels = (size_t)g->o;
}

/* Vectors count as one row (x) or one column (w). */
static void open_product(const struct op_call *c, const struct tensor *y, struct int_layer *l)
{
    const struct tensor *a = l->x, *b = l->w;
    l->ta = attr_int(c->node, "transA", 0) != 0;
    l->tb = attr_int(c->node, "transB", 0) != 0;
    int64_t rows = a->rank > 1 ? a->dims[a->rank - 2] : 1, cols = a->dims[a->rank - 1];
    int64_t n = b->rank > 1 ? b->dims[b->rank - (l->tb ? 2 : 1)] : 1;
    l->vecs = (size_t)(l->ta ? cols : rows);
    l->k = (size_t)(l->ta ? rows : cols);
    l->outs = l->channels = (size_t)n;
    size_t each = l->vecs * l->outs;
    l->sets = each ? y->n / each : 0;
    l->batch_rank = MAX(MAX(a->rank, b->rank) - 2, 0);
    size_t sa = l->vecs * l->k, sb = l->k * l->outs;
    for (int i = l->batch_rank - 1, da = a->rank - 3, db = b->rank - 3; i >= 0; i--, da--, db--) {
        int64_t na = da >= 0 ? a->dims[da] : 1, nb = db >= 0 ? b->dims[db] : 1;
        l->batch[i] = MAX(na, nb);
        l->step_x[i] = na == 1 ? 0 : sa;
        l->step_w[i] = nb == 1 ? 0 : sb;
        sa *= (size_t)na;
        sb *= (size_t)nb;
    }
}

int int_layer_open(const struct op_call *c, const struct tensor *y, struct int_layer *l,
                   struct err *err)
{
    const struct slots *s = slots_find(c->node);
    if (!s) {
        return err_set(err, E_UNSUPPORTED, "'%s' is no integer convolution or product",
                       c->node->op);
    }
    *l = (struct int_layer){.x = input(c, s->x),
                            .w = input(c, s->w),
                            .bias = input(c, s->bias),
                            .sw = input(c, s->sw),
                            .zw = input(c, s->zw)};
    if (!is_code(l->x) || !is_code(l->w)) {
        return err_set(err, E_SHAPE, "input and weights should be uint8 or int8");
    }
    const struct tensor *sx = input(c, s->sx);
    l->flip = l->x->dtype == DT_S8 ? 0x80 : 0;
    l->zx = zero_at(input(c, s->zx), 0) + l->flip;
    l->has_scales = sx && l->sw;
    l->sx = sx ? attr_float(c->node, "alpha", 1.0F) * scale_at(sx, 0) : 1.0F;
    l->requantizes = input(c, s->sy) != NULL;
    int rc = l->requantizes ? q1_read(c, s->sy, s->sy + 1, l->x->dtype, &l->y, err) : OK;
    if (!rc && s->is_conv) {
        rc = conv_shape_read(c, l->x, l->w, &l->g, err);
        open_conv(l);
    } else if (!rc) {
        open_product(c, y, l);
    }
    return rc;
}

/* ---- Vectors -------------------------------------------------------------------------------- */

static void conv_left(const struct int_layer *l, size_t set, size_t vec, uint8_t *dst)
{
    const struct conv_shape *g = &l->g;
    const uint8_t *x = l->x->data;
    int64_t n = (int64_t)set / g->g, c0 = (int64_t)set % g->g * g->cg;
    int64_t oy = (int64_t)vec / g->ow, ox = (int64_t)vec % g->ow;
    for (int64_t ky = 0; ky < g->kh; ky++) {
        int64_t iy = oy * g->sh - g->pt + ky * g->dh;
        for (int64_t kx = 0; kx < g->kw; kx++) {
            int64_t ix = ox * g->sw - g->pl + kx * g->dw;
            bool inside = iy >= 0 && iy < g->h && ix >= 0 && ix < g->w;
            for (int64_t ic = 0; ic < g->cg; ic++) {
                size_t at = (size_t)(((n * g->c + c0 + ic) * g->h + iy) * g->w + ix);
                *dst++ = inside ? x[at] ^ l->flip : (uint8_t)l->zx;
            }
        }
    }
}

static void conv_right(const struct int_layer *l, size_t channel, uint8_t *dst)
{
    const struct conv_shape *g = &l->g;
    const uint8_t *w = (const uint8_t *)l->w->data + channel * l->k;
    size_t taps = (size_t)(g->kh * g->kw);
    for (size_t t = 0; t < taps; t++) {
        for (size_t ic = 0; ic < (size_t)g->cg; ic++) {
            *dst++ = w[ic * taps + t];
        }
    }
}

/* Offset of a set's matrix. */
static size_t set_at(const struct int_layer *l, size_t set, const size_t *step)
{
    size_t at = 0;
    for (int d = l->batch_rank - 1; d >= 0; d--) {
        at += set % (size_t)l->batch[d] * step[d];
        set /= (size_t)l->batch[d];
    }
    return at;
}

void int_layer_left(const struct int_layer *l, size_t set, size_t vec, uint8_t *dst)
{
    if (l->is_conv) {
        conv_left(l, set, vec, dst);
        return;
    }
    const uint8_t *x = (const uint8_t *)l->x->data + set_at(l, set, l->step_x);
    for (size_t k = 0; k < l->k; k++) {
        dst[k] = x[l->ta ? k * l->vecs + vec : vec * l->k + k] ^ l->flip;
    }
}

void int_layer_right(const struct int_layer *l, size_t set, size_t out, uint8_t *dst)
{
    if (l->is_conv) {
        conv_right(l, int_layer_channel(l, set, out), dst);
        return;
    }
    const uint8_t *w = (const uint8_t *)l->w->data + set_at(l, set, l->step_w);
    for (size_t k = 0; k < l->k; k++) {
        dst[k] = w[l->tb ? out * l->k + k : k * l->outs + out];
    }
}

/* ---- Outputs -------------------------------------------------------------------------------- */

size_t int_layer_channel(const struct int_layer *l, size_t set, size_t out)
{
    return l->is_conv ? set % (size_t)l->g.g * l->outs + out : out;
}

size_t int_layer_at(const struct int_layer *l, size_t set, size_t vec, size_t out)
{
    if (l->is_conv) {
        size_t image = set / (size_t)l->g.g;
        return (image * l->channels + int_layer_channel(l, set, out)) * l->vecs + vec;
    }
    return (set * l->vecs + vec) * l->outs + out;
}

int32_t int_layer_bias(const struct int_layer *l, size_t set, size_t vec, size_t out)
{
    if (!l->bias || !l->bias->n) {
        return 0;
    }
    size_t rows = 1, cols = l->bias->n;
    if (l->is_conv) {
        return ((const int32_t *)l->bias->data)[int_layer_channel(l, set, out)];
    }
    if (l->bias->rank > 1) {
        rows = (size_t)l->bias->dims[l->bias->rank - 2];
        cols /= rows;
    }
    return ((const int32_t *)l->bias->data)[(rows > 1 ? vec : 0) * cols + (cols > 1 ? out : 0)];
}

float int_layer_scale(const struct int_layer *l, size_t channel)
{
    float m = l->has_scales ? l->sx * scale_at(l->sw, channel) : 1.0F;
    return l->requantizes ? m / l->y.s : m;
}
