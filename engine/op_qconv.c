/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qconv.c: QLinearConv and ConvInteger in one and two spatial dimensions: what the inputs mean,
 * and the plain kernel. The fast one is conv8.h.
 */
#include "engine/conv8.h"
#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- One call: tensors, parameters, what differs between the two operators ------------------ */

enum { MAX_IN = 9 };

struct conv {
    struct conv_shape g;
    const struct tensor *x, *w, *bias;
    const struct tensor *sw, *zw; /* per tensor or output channel; sw NULL for ConvInteger */
    struct q1 qx, qy;             /* qx.s and qy are unset for ConvInteger */
    enum dtype dtype;             /* of the output */
    struct tensor *y;
};

/* Zero point of the whole input tensor of ConvInteger. */
static int read_zero(const struct tensor *z, const struct tensor *t, int32_t *out, struct err *err)
{
    if (z && (z->n != 1 || z->dtype != t->dtype)) {
        return err_set(err, E_SHAPE, "zero point has %zu values of %s, expected one %s", z->n,
                       dtype_name(z->dtype), dtype_name(t->dtype));
    }
    *out = zero_at(z, 0);
    return OK;
}

static int conv_check(const struct conv *v, struct err *err)
{
    size_t o = (size_t)v->g.o;
    int rc = per_channel_check(v->sw, o, "weight scale", err);
    rc = rc ? rc : per_channel_check(v->zw, o, "weight zero point", err);
    if (!rc && v->zw && v->zw->dtype != v->w->dtype) {
        rc = err_set(err, E_SHAPE, "weights are %s, their zero point is %s",
                     dtype_name(v->w->dtype), dtype_name(v->zw->dtype));
    }
    if (!rc && v->bias && (v->bias->dtype != DT_S32 || v->bias->n != o)) {
        rc = err_set(err, E_SHAPE, "bias has %zu values of %s, expected %zu int32", v->bias->n,
                     dtype_name(v->bias->dtype), o);
    }
    return rc;
}

/* Fills v from the inputs and allocates the output. integer: ConvInteger. */
static int conv_open(struct op_call *c, bool integer, struct conv *v, struct err *err)
{
    const struct tensor *const *in = c->in;
    *v = (struct conv){.x = in[0], .w = in[integer ? 1 : 3]};
    if (!is_code(v->x) || !is_code(v->w)) {
        return err_set(err, E_SHAPE, "input and weights should be uint8 or int8");
    }
    int rc;
    if (integer) {
        v->zw = c->n_in > 3 ? in[3] : NULL;
        v->dtype = DT_S32;
        v->qx.dtype = v->x->dtype;
        rc = read_zero(c->n_in > 2 ? in[2] : NULL, v->x, &v->qx.z, err);
    } else {
        v->sw = in[4];
        v->zw = in[5];
        v->bias = c->n_in > 8 ? in[8] : NULL;
        rc = q1_read_for(c, 0, 1, 2, &v->qx, err);
        rc = rc ? rc : q1_read(c, 6, 7, v->x->dtype, &v->qy, err);
        v->dtype = c->sums ? DT_S32 : v->qy.dtype;
        if (!rc && (!v->sw || v->sw->dtype != DT_F32)) {
            rc = err_set(err, E_SHAPE, "input 4 should be float32 weight scales");
        }
    }
    rc = rc ? rc : conv_shape_read(c, v->x, v->w, &v->g, err);
    rc = rc ? rc : conv_check(v, err);
    rc = rc ? rc : op_out(c, 0, v->dtype, v->g.rank, v->g.out, err);
    v->y = c->out[0];
    return rc;
}

/* Scale of output channel o: a float product, then a float division. */
static float conv_scale(const struct q1 *qx, const struct tensor *sw, const struct q1 *qy, size_t o)
{
    return sw ? qx->s * scale_at(sw, o) / qy->s : 1.0F;
}

static struct finish conv_finish(const struct conv *v, const float *scale)
{
    return (struct finish){
        .dtype = v->dtype,
        .scale = scale,
        .lo = (float)(v->qy.qmin - v->qy.z),
        .hi = (float)(v->qy.qmax - v->qy.z),
        .z = v->qy.z,
    };
}

/* ---- Reference ------------------------------------------------------------------------------ */

/* acc = sum over ic, ky, kx of (x[iy, ix] - zx) * (w - zw); pixels outside the input are zx. */
static int32_t conv_sum(const struct conv *v, int64_t n, int64_t o, int64_t oy, int64_t ox)
{
    const struct conv_shape *g = &v->g;
    int64_t c0 = o / (g->o / g->g) * g->cg;
    int32_t zw = zero_at(v->zw, (size_t)o);
    uint32_t sum = 0; /* wraps like the 32-bit sums of the fast kernels */
    for (int64_t ic = 0; ic < g->cg; ic++) {
        for (int64_t ky = 0; ky < g->kh; ky++) {
            int64_t iy = oy * g->sh - g->pt + ky * g->dh;
            for (int64_t kx = 0; iy >= 0 && iy < g->h && kx < g->kw; kx++) {
                int64_t ix = ox * g->sw - g->pl + kx * g->dw;
                if (ix < 0 || ix >= g->w) {
                    continue;
                }
                size_t xi = (size_t)(((n * g->c + c0 + ic) * g->h + iy) * g->w + ix);
                size_t wi = (size_t)(((o * g->cg + ic) * g->kh + ky) * g->kw + kx);
                sum += (uint32_t)((code_at(v->x, xi) - v->qx.z) * (code_at(v->w, wi) - zw));
            }
        }
    }
    return (int32_t)sum;
}

static int conv_ref(struct op_call *c, bool integer, struct err *err)
{
    struct conv v;
    int rc = conv_open(c, integer, &v, err);
    if (rc) {
        return rc;
    }
    size_t i = 0, size = dtype_size(v.dtype);
    for (int64_t n = 0; n < v.g.n && v.y->n; n++) {
        for (int64_t o = 0; o < v.g.o; o++) {
            const float scale = conv_scale(&v.qx, v.sw, &v.qy, (size_t)o);
            const struct finish f = conv_finish(&v, &scale);
            const uint32_t bias = v.bias ? ((const uint32_t *)v.bias->data)[o] : 0;
            for (int64_t oy = 0; oy < v.g.oh; oy++) {
                for (int64_t ox = 0; ox < v.g.ow; ox++, i++) {
                    const uint32_t sum = (uint32_t)conv_sum(&v, n, o, oy, ox) + bias;
                    finish_one(&f, 0, (int32_t)sum, 0, (char *)v.y->data + i * size);
                }
            }
        }
    }
    return OK;
}

/* ---- Fast path ------------------------------------------------------------------------------ */

/* What is known of a node before it runs. */
struct state {
    struct conv8_filter *filter;
    struct conv8_params params;
    bool has_params;
};

static void state_free(void *state)
{
    struct state *s = state;
    if (s) {
        conv8_filter_free(s->filter);
        conv8_params_fini(&s->params);
        free(s);
    }
}

/* Filter w of rank 3 or 4 in `groups` groups. */
static int filter_new(const struct tensor *w, const struct tensor *zw, int64_t groups,
                      struct conv8_filter **out, struct err *err)
{
    const bool flat = w->rank == 3;
    struct conv8_weights p = {
        .data = w->data,
        .dtype = w->dtype,
        .g = (size_t)groups,
        .o = (size_t)w->dims[0],
        .cg = (size_t)w->dims[1],
        .kh = flat ? 1 : (size_t)w->dims[2],
        .kw = (size_t)w->dims[flat ? 2 : 3],
        .by_t = 1,
    };
    p.by_c = p.kh * p.kw;
    p.by_o = p.by_c * p.cg;
    int32_t *zero = NULL;
    int rc = scratch_new(p.o, sizeof *zero, (void **)&zero, err);
    for (size_t o = 0; o < p.o && !rc; o++) {
        zero[o] = zero_at(zw, o);
    }
    p.zero = zero;
    rc = rc ? rc : conv8_filter_new(&p, out, err);
    scratch_free(zero);
    return rc;
}

/* qx: of the input; sx and sy are not used without sw. */
static int params_new(struct conv8_params *p, const struct conv8_filter *f, const struct q1 *qx,
                      const struct tensor *sw, const struct q1 *qy, const struct tensor *bias,
                      struct err *err)
{
    const int32_t zx = qx->z + (qx->dtype == DT_S8 ? -INT8_MIN : 0);
    int rc = conv8_params_init(p, f, zx, bias ? bias->data : NULL, err);
    for (size_t o = 0; o < f->o && !rc; o++) {
        conv8_params_scale(p, f, o, conv_scale(qx, sw, qy, o));
    }
    return rc;
}

/* Input and output have channels last. */
static int conv_last(struct op_call *c, bool integer, struct err *err)
{
    struct conv v;
    struct state own = {0};
    const struct state *s = c->state;
    int rc = conv_open(c, integer, &v, err);
    if (rc || v.y->n == 0) {
        return rc;
    }
    const struct conv8_filter *f = s ? s->filter : NULL;
    if (!f) {
        rc = filter_new(v.w, v.zw, v.g.g, &own.filter, err);
        f = own.filter;
    }
    const struct conv8_params *params = s && s->has_params ? &s->params : &own.params;
    if (!rc && params == &own.params) {
        rc = params_new(&own.params, f, &v.qx, v.sw, &v.qy, v.bias, err);
    }
    if (!rc) {
        const uint8_t flip = v.x->dtype == DT_S8 ? 0x80 : 0;
        const struct conv8 job = {
            .kernels = kernel_int8(),
            .s = v.g,
            .filter = f,
            .params = params,
            .x = v.x->data,
            .flip = flip,
            .zero = (uint8_t)v.qx.z ^ flip,
            .finish = conv_finish(&v, NULL),
            .y = v.y->data,
        };
        rc = conv8_run(&job, c->par, err);
    }
    conv8_filter_free(own.filter);
    conv8_params_fini(&own.params);
    return rc;
}

/* Row-major input and output, for those who call the kernel themselves. */
static int conv_rows(struct op_call *c, bool integer, struct err *err)
{
    const struct tensor *in[MAX_IN] = {0};
    struct tensor *x = NULL, *y = NULL;
    struct op_call last = *c;
    memcpy(in, c->in, (size_t)MIN(c->n_in, (int)MAX_IN) * sizeof *in);
    int rc = tensor_as(c->in[0], true, c->budget, &x, err);
    in[0] = x;
    last.in = in;
    last.out = &y;
    last.n_out = 1;
    last.channels_last = true;
    rc = rc ? rc : conv_last(&last, integer, err);
    rc = rc ? rc : tensor_as(y, false, c->budget, &c->out[0], err);
    tensor_free(x);
    tensor_free(y);
    return rc;
}

static int conv_fast(struct op_call *c, bool integer, struct err *err)
{
    const bool rows = c->in[0] && c->in[0]->rank >= 3 && !c->in[0]->channels_last;
    return rows ? conv_rows(c, integer, err) : conv_last(c, integer, err);
}

static enum op_layout conv_order(const struct op_call *c)
{
    const struct tensor *x = c->n_in ? c->in[0] : NULL;
    return is_code(x) && (x->rank == 3 || x->rank == 4) ? LAYOUT_LAST : LAYOUT_ROWS;
}

/* Sums are exact, and each becomes a result by itself. */
static bool conv_by_sample(const struct op_call *c)
{
    return c->state && conv_order(c) == LAYOUT_LAST;
}

/* ---- Preparation ---------------------------------------------------------------------------- */

static const struct tensor *constant(const struct op_prep *p, int i)
{
    return i < p->n_in ? p->constants[i] : NULL;
}

/* Whether input i is there but not constant. */
static bool varies(const struct op_prep *p, int i)
{
    return i < p->n_in && p->node->in[i] >= 0 && !p->constants[i];
}

/* The parameters of QLinearConv where all are constant and make sense. */
static int prepare_params(const struct op_prep *p, struct state *s, struct err *err)
{
    enum { SX = 1, ZX, W, SW, ZW, SY, ZY, BIAS };
    struct q1 qx, qy;
    const struct op_call c = {.node = p->node, .n_in = p->n_in, .in = p->constants};
    const struct tensor *zx = constant(p, ZX), *zy = constant(p, ZY), *sw = constant(p, SW);
    const struct tensor *bias = constant(p, BIAS);
    const size_t o = s->filter->o;
    bool good = zx && zy && zx->dtype == zy->dtype && !varies(p, BIAS) && sw &&
                sw->dtype == DT_F32 && (sw->n == 1 || sw->n == o) &&
                (!bias || (bias->dtype == DT_S32 && bias->n == o));
    if (!good || q1_read(&c, SX, ZX, zx->dtype, &qx, NULL) ||
        q1_read(&c, SY, ZY, zy->dtype, &qy, NULL)) {
        return OK;
    }
    s->has_params = true;
    return params_new(&s->params, s->filter, &qx, sw, &qy, bias, err);
}

/* Packs constant weights whose shape makes sense; anything else is left to the call, which tells
 * what is wrong with it. */
static int conv_prepare(const struct op_prep *p, bool integer, void **state, struct err *err)
{
    const int weight = integer ? 1 : 3, zero = integer ? 3 : 5;
    const struct tensor *w = constant(p, weight), *zw = constant(p, zero);
    const int64_t groups = attr_int(p->node, "group", 1);
    if (!is_code(w) || varies(p, zero) || w->rank < 3 || w->rank > 4 || w->n == 0 || groups < 1 ||
        w->dims[0] % groups || (zw && zw->n != 1 && zw->n != (size_t)w->dims[0])) {
        return OK;
    }
    struct state *s = mem_alloc(sizeof *s);
    int rc = filter_new(w, zw, groups, &s->filter, err);
    if (!rc && !integer) {
        rc = prepare_params(p, s, err);
    }
    if (rc) {
        state_free(s);
        return rc;
    }
    *state = s;
    return OK;
}

/* ---- Operators ------------------------------------------------------------------------------ */

static int op_qlinear_conv(struct op_call *c, struct err *err)
{
    return conv_ref(c, false, err);
}

static int op_qlinear_conv_fast(struct op_call *c, struct err *err)
{
    return conv_fast(c, false, err);
}

static int op_qlinear_conv_prepare(const struct op_prep *p, void **state, struct err *err)
{
    return conv_prepare(p, false, state, err);
}

static int op_conv_integer(struct op_call *c, struct err *err)
{
    return conv_ref(c, true, err);
}

static int op_conv_integer_fast(struct op_call *c, struct err *err)
{
    return conv_fast(c, true, err);
}

static int op_conv_integer_prepare(const struct op_prep *p, void **state, struct err *err)
{
    return conv_prepare(p, true, state, err);
}

// clang-format off
const struct op op_qconv[] = {
    {.name = "QLinearConv", .since = 10, .min_in = 8, .max_in = 9, .ref = op_qlinear_conv, .fast = op_qlinear_conv_fast, .prepare = op_qlinear_conv_prepare, .release = state_free, .layout = conv_order, .by_sample = conv_by_sample, .spec = "ONNX QLinearConv-10"},
    {.name = "ConvInteger", .since = 10, .min_in = 2, .max_in = 4, .ref = op_conv_integer, .fast = op_conv_integer_fast, .prepare = op_conv_integer_prepare, .release = state_free, .layout = conv_order, .by_sample = conv_by_sample, .spec = "ONNX ConvInteger-10"},
    {0},
};
// clang-format on
