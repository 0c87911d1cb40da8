/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl.c: fixed-point arithmetic and parameters of TensorFlow Lite operators: see tfl.h.
 */
#include "engine/tfl.h"

#include <inttypes.h>

/* ---- Fixed point ---------------------------------------------------------------------------- */

void tfl_multiplier(double real, int32_t *multiplier, int *shift)
{
    *shift = 0;
    *multiplier = 0;
    if (!(real > 0) || !isfinite(real)) {
        return;
    }
    double part = frexp(real, shift);
    double q = floor(part * 0x1p31 + 0.5);
    if (q >= 0x1p31) {
        q /= 2;
        ++*shift;
    }
    if (*shift < -31) {
        *shift = 0;
        q = 0;
    }
    *shift = MIN(*shift, 30);
    *multiplier = (int32_t)q;
}

void tfl_scale_init(struct tfl_scale *s, enum tfl_rounding how, double real)
{
    *s = (struct tfl_scale){.how = how, .factor = (float)real};
    tfl_multiplier(real, &s->multiplier, &s->shift);
}

static int32_t apply_up(int32_t x, const struct tfl_scale *s)
{
    int32_t up = (int32_t)((uint32_t)x << (s->shift > 0 ? s->shift : 0));
    int64_t high = tfl_high(up, s->multiplier);
    int n = s->shift > 0 ? 0 : -s->shift;
    return (int32_t)(n ? (high + (INT64_C(1) << (n - 1))) >> n : high);
}

static int32_t apply_wide(int64_t x, const struct tfl_scale *s)
{
    int32_t m = s->multiplier < 0x7FFF0000 ? (s->multiplier + (1 << 15)) >> 16 : 0x7FFF;
    int n = 15 - MIN(s->shift, 14);
    uint64_t product = (uint64_t)x * (uint64_t)m + (UINT64_C(1) << (n - 1)); /* may wrap */
    return (int32_t)((int64_t)product >> n);
}

/* Sums of int16 activations have more than 32 bits: what does not fit 64 with the multiplier wraps,
 * as it does there. */
static int32_t apply_once(int64_t x, const struct tfl_scale *s)
{
    int n = 31 - s->shift;
    int64_t product = (int64_t)((uint64_t)x * (uint64_t)s->multiplier);
    return (int32_t)((int64_t)((uint64_t)product + (UINT64_C(1) << (n - 1)) - (product < 0)) >> n);
}

int32_t tfl_apply(int64_t acc, const struct tfl_scale *s)
{
    switch (s->how) {
    case TFL_TWICE:
        return tfl_twice((int32_t)acc, s->multiplier, s->shift);
    case TFL_UP:
        return apply_up((int32_t)acc, s);
    case TFL_WIDE:
        return apply_wide(acc, s);
    case TFL_ONCE:
        return apply_once(acc, s);
    default:
        /* Far outside of every code, and still exact to round. */
        return (int32_t)rne_small(clamp_x86((float)(int32_t)acc * s->factor, -0x1p21F, 0x1p21F));
    }
}

/* ---- Parameters ----------------------------------------------------------------------------- */

static int read_quant(const struct quant *p, enum dtype d, struct tfl_quant *q, struct err *err)
{
    int64_t lo = INT32_MIN, hi = INT32_MAX;
    *q = (struct tfl_quant){.codes = p != NULL, .s = 1.0F};
    if (!dtype_is_float(d) && !dtype_range(d, &lo, &hi) && p) {
        return err_set(err, E_UNSUPPORTED, "codes of type %s are not supported", dtype_name(d));
    }
    q->lo = (int32_t)lo;
    q->hi = (int32_t)hi;
    if (!p) {
        return OK;
    }
    if (p->n != 1) {
        return err_set(err, E_UNSUPPORTED, "%zu scales, expected one", p->n);
    }
    if (!(p->scale[0] > 0)) {
        return err_set(err, E_FORMAT, "scale is %g, expected more than 0", (double)p->scale[0]);
    }
    q->s = p->scale[0];
    q->z = p->zero[0];
    return OK;
}

int tfl_input(const struct op_call *c, int i, struct tfl_quant *q, struct err *err)
{
    if (!tfl_has(c, i)) {
        return err_set(err, E_FORMAT, "input %d is missing", i);
    }
    int rc =
        read_quant(dtype_is_float(c->in[i]->dtype) ? NULL : c->in_q[i], c->in[i]->dtype, q, err);
    return rc ? err_in(err, "input %d", i) : OK;
}

int tfl_output(const struct op_call *c, int i, enum dtype d, struct tfl_quant *q, struct err *err)
{
    int rc = read_quant(dtype_is_float(d) ? NULL : c->out_q[i], d, q, err);
    return rc ? err_in(err, "output %d", i) : OK;
}

enum dtype tfl_out_dtype(const struct op_call *c, enum dtype like)
{
    return c->out_q[0] ? c->out_q[0]->dtype : like;
}

/* ActivationFunctionType of the schema. */
enum { ACT_NONE, ACT_RELU, ACT_RELU_N1_TO_1, ACT_RELU6 };

int tfl_activation_float(const struct op_call *c, float *lo, float *hi, struct err *err)
{
    int64_t act = attr_int(c->node, "fused_activation_function", ACT_NONE);
    if (act < ACT_NONE || act > ACT_RELU6) {
        return err_set(err, E_UNSUPPORTED, "fused activation %" PRId64 " is not supported", act);
    }
    *lo = act == ACT_NONE ? -INFINITY : act == ACT_RELU_N1_TO_1 ? -1.0F : 0.0F;
    *hi = act == ACT_RELU6 ? 6.0F : act == ACT_RELU_N1_TO_1 ? 1.0F : INFINITY;
    return OK;
}

/* The code of a bound. XNNPACK, which takes 8-bit codes, adds the zero point before it rounds,
 * halves to even. */
static int32_t bound_code(const struct op_call *c, float v, const struct tfl_quant *q)
{
    if (tfl_xnnpack(c) && q->hi - q->lo <= UINT8_MAX) {
        return (int32_t)rintf(clamp_x86(v / q->s + (float)q->z, (float)q->lo, (float)q->hi));
    }
    return tfl_clamp((int64_t)q->z + tfl_round((double)(v / q->s)), q);
}

int tfl_activation(const struct op_call *c, struct tfl_quant *q, struct err *err)
{
    float lo, hi;
    int rc = tfl_activation_float(c, &lo, &hi, err);
    if (rc) {
        return rc;
    }
    int32_t least = isfinite(lo) ? bound_code(c, lo, q) : q->lo;
    q->hi = isfinite(hi) ? bound_code(c, hi, q) : q->hi;
    q->lo = least;
    return OK;
}

int tfl_codes(const struct op_call *c, int i, struct tensor **out, struct err *err)
{
    const struct tensor *t = c->in[i];
    int64_t lo, hi;
    if (!dtype_range(t->dtype, &lo, &hi)) {
        return err_set(err, E_UNSUPPORTED, "input %d is %s, expected integers", i,
                       dtype_name(t->dtype));
    }
    int rc = tensor_new(DT_S32, t->rank, t->dims, c->budget, out, err);
    if (!rc) {
        codes_get(t, 0, t->n, (*out)->data);
    }
    return rc;
}

/* ---- Windows -------------------------------------------------------------------------------- */

enum { PAD_SAME, PAD_VALID };

/* Output size and padding in front along one axis. */
static int window_axis(int64_t in, int64_t k, int64_t s, int64_t d, bool same, int64_t *out,
                       int64_t *before, struct err *err)
{
    if (s < 1 || d < 1 || k < 1 || s > INT32_MAX || d > INT32_MAX || k > INT32_MAX) {
        return err_set(err, E_FORMAT,
                       "filter %" PRId64 ", stride %" PRId64 " and dilation %" PRId64
                       ", expected at least 1",
                       k, s, d);
    }
    int64_t reach = (k - 1) * d + 1;
    *out = same ? (in + s - 1) / s : (in - reach + s) / s;
    if (*out < 0 || (!same && in < reach)) {
        *out = 0;
    }
    int64_t pad = *out > 0 ? (*out - 1) * s + reach - in : 0;
    *before = same && pad > 0 ? pad / 2 : 0;
    return OK;
}

int tfl_window_read(const struct op_call *c, const struct tensor *x, struct tfl_window *w,
                    struct err *err)
{
    const struct node *n = c->node;
    int64_t padding = attr_int(n, "padding", PAD_SAME);
    if (x->rank != 4) {
        return err_set(err, E_SHAPE, "input 0 has rank %d, expected 4", x->rank);
    }
    if (padding != PAD_SAME && padding != PAD_VALID) {
        return err_set(err, E_FORMAT, "padding is %" PRId64 ", expected 0 or 1", padding);
    }
    w->n = x->dims[0];
    w->h = x->dims[1];
    w->w = x->dims[2];
    w->c = x->dims[3];
    w->sh = attr_int(n, "stride_h", 1);
    w->sw = attr_int(n, "stride_w", 1);
    w->dh = attr_int(n, "dilation_h_factor", 1);
    w->dw = attr_int(n, "dilation_w_factor", 1);
    bool same = padding == PAD_SAME;
    int rc = window_axis(w->h, w->kh, w->sh, w->dh, same, &w->oh, &w->pt, err);
    return rc ? rc : window_axis(w->w, w->kw, w->sw, w->dw, same, &w->ow, &w->pl, err);
}

void tfl_gather(const struct tfl_window *w, const uint8_t *x, int64_t oy, int64_t ox, size_t size,
                uint8_t fill, uint8_t *dst)
{
    int64_t y0 = oy * w->sh - w->pt, x0 = ox * w->sw - w->pl, a0, a1, b0, b1;
    size_t pixel = (size_t)w->c * size, line = (size_t)w->kw * pixel;
    tfl_window_clip(y0, w->h, w->kh, w->dh, &a0, &a1);
    tfl_window_clip(x0, w->w, w->kw, w->dw, &b0, &b1);
    memset(dst, fill, (size_t)w->kh * line);
    for (int64_t ky = a0; ky < a1; ky++) {
        const uint8_t *row = x + (size_t)((y0 + ky * w->dh) * w->w) * pixel;
        uint8_t *to = dst + (size_t)ky * line;
        if (w->dw == 1 && b1 > b0) {
            memcpy(to + (size_t)b0 * pixel, row + (size_t)(x0 + b0) * pixel,
                   (size_t)(b1 - b0) * pixel);
            continue;
        }
        for (int64_t kx = b0; kx < b1; kx++) {
            memcpy(to + (size_t)kx * pixel, row + (size_t)(x0 + kx * w->dw) * pixel, pixel);
        }
    }
}
