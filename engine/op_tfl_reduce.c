/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_reduce.c: what makes fewer numbers of many in TensorFlow Lite models: pools, MEAN, SUM,
 * SOFTMAX, ARG_MAX and ARG_MIN.
 */
#include "engine/tfl.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Pools ---------------------------------------------------------------------------------- */

struct pool {
    struct tfl_window w;
    bool average, floats;
    float lo, hi;
    struct tfl_quant y;
};

/* One output element from channel c of a window; `n` elements lie inside of the input. */
static float pool_float(const struct pool *p, const float *x, const int64_t k[4], int64_t y0,
                        int64_t x0)
{
    float v = p->average ? 0.0F : -INFINITY;
    for (int64_t ky = k[0]; ky < k[1]; ky++) {
        for (int64_t kx = k[2]; kx < k[3]; kx++) {
            float e = x[((y0 + ky) * p->w.w + x0 + kx) * p->w.c];
            v = p->average ? v + e : e > v ? e : v;
        }
    }
    v = p->average ? v / (float)((k[1] - k[0]) * (k[3] - k[2])) : v;
    return v < p->lo ? p->lo : v > p->hi ? p->hi : v;
}

/* Codes are averaged as they are: input and output have the same parameters. Halves away from 0. */
static int32_t pool_code(const struct pool *p, const int32_t *x, const int64_t k[4], int64_t y0,
                         int64_t x0)
{
    int64_t v = p->average ? 0 : INT32_MIN, n = MAX((k[1] - k[0]) * (k[3] - k[2]), 1);
    for (int64_t ky = k[0]; ky < k[1]; ky++) {
        for (int64_t kx = k[2]; kx < k[3]; kx++) {
            int32_t e = x[((y0 + ky) * p->w.w + x0 + kx) * p->w.c];
            v = p->average ? v + e : MAX(v, e);
        }
    }
    if (p->average) {
        v = (v > 0 ? v + n / 2 : v - n / 2) / n;
    }
    return tfl_clamp(v, &p->y);
}

static void pool_image(const struct pool *p, const void *x, void *y)
{
    const struct tfl_window *w = &p->w;
    for (int64_t i = 0; i < w->oh * w->ow; i++) {
        int64_t y0 = i / w->ow * w->sh - w->pt, x0 = i % w->ow * w->sw - w->pl, k[4];
        tfl_window_clip(y0, w->h, w->kh, 1, &k[0], &k[1]);
        tfl_window_clip(x0, w->w, w->kw, 1, &k[2], &k[3]);
        for (int64_t c = 0; c < w->c; c++) {
            if (p->floats) {
                ((float *)y)[i * w->c + c] = pool_float(p, (const float *)x + c, k, y0, x0);
            } else {
                ((int32_t *)y)[i * w->c + c] = pool_code(p, (const int32_t *)x + c, k, y0, x0);
            }
        }
    }
}

static int run_pool(struct op_call *c, bool average, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct pool p = {.average = average, .floats = x->dtype == DT_F32};
    struct tensor *codes = NULL, *made = NULL;
    p.w.kh = attr_int(c->node, "filter_height", 1);
    p.w.kw = attr_int(c->node, "filter_width", 1);
    int rc = tfl_window_read(c, x, &p.w, err);
    rc = rc || !p.floats ? rc : tfl_activation_float(c, &p.lo, &p.hi, err);
    rc = rc || p.floats ? rc : tfl_output(c, 0, x->dtype, &p.y, err);
    rc = rc || p.floats ? rc : tfl_activation(c, &p.y, err);
    int64_t dims[] = {p.w.n, p.w.oh, p.w.ow, p.w.c};
    rc = rc ? rc : op_out(c, 0, x->dtype, 4, dims, err);
    rc = rc || p.floats ? rc : tfl_codes(c, 0, &codes, err);
    rc = rc || p.floats ? rc : tensor_new(DT_S32, 4, dims, c->budget, &made, err);
    int64_t in = p.w.h * p.w.w * p.w.c, out = p.w.oh * p.w.ow * p.w.c;
    for (int64_t i = 0; i < p.w.n && !rc; i++) {
        const int32_t *src = p.floats ? x->data : codes->data;
        int32_t *dst = p.floats ? c->out[0]->data : made->data;
        pool_image(&p, src + i * in, dst + i * out); /* floats are as wide */
    }
    if (!rc && !p.floats) {
        codes_put(c->out[0], 0, made->n, made->data);
    }
    tensor_free(codes);
    tensor_free(made);
    return rc;
}

static int run_average_pool(struct op_call *c, struct err *err)
{
    return run_pool(c, true, err);
}

static int run_max_pool(struct op_call *c, struct err *err)
{
    return run_pool(c, false, err);
}

/* ---- MEAN and SUM --------------------------------------------------------------------------- */

/* Which axes go, the output's shape, and for each input element its output element. */
struct reduction {
    bool gone[MAX_RANK];
    int64_t count; /* inputs per output */
    int rank;
    int64_t dims[MAX_RANK];
    struct walk w; /* operand 0: input in order, operand 1: output */
};

static int reduction_read(const struct op_call *c, struct reduction *r, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t axes[MAX_RANK], step[MAX_RANK];
    size_t n = 0;
    bool keep = attr_int(c->node, "keep_dims", 0);
    int rc = op_int_list(c->in[1], MAX_RANK, axes, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        int axis = 0;
        rc = op_axis(axes[i], x->rank, &axis, err);
        r->gone[rc ? 0 : axis] = true;
    }
    r->count = 1;
    r->w = (struct walk){.rank = x->rank, .n = 2};
    for (int d = 0; d < x->rank && !rc; d++) {
        r->count *= r->gone[d] ? x->dims[d] : 1;
        if (keep || !r->gone[d]) {
            r->dims[r->rank++] = r->gone[d] ? 1 : x->dims[d];
        }
        r->w.dims[d] = x->dims[d];
    }
    walk_strides(x->rank, x->dims, r->w.stride[0]);
    int64_t stride = 1;
    for (int d = x->rank - 1; d >= 0 && !rc; d--) {
        step[d] = r->gone[d] ? 0 : stride;
        stride *= r->gone[d] ? 1 : x->dims[d];
        r->w.stride[1][d] = step[d];
    }
    return rc;
}

static void sum_codes(struct reduction *r, const int32_t *x, int64_t *sums)
{
    if (!walk_start(&r->w)) {
        return;
    }
    int in = r->w.rank - 1;
    do {
        for (int64_t i = 0; i < r->w.dims[in]; i++) {
            sums[r->w.at[1] + i * r->w.stride[1][in]] += x[r->w.at[0] + i * r->w.stride[0][in]];
        }
    } while (walk_next(&r->w));
}

static void sum_floats(struct reduction *r, const float *x, float *sums)
{
    if (!walk_start(&r->w)) {
        return;
    }
    int in = r->w.rank - 1;
    do {
        for (int64_t i = 0; i < r->w.dims[in]; i++) {
            sums[r->w.at[1] + i * r->w.stride[1][in]] += x[r->w.at[0] + i * r->w.stride[0][in]];
        }
    } while (walk_next(&r->w));
}

/* The division by the count goes into the multiplier, which gets as many bits more as it has. */
static void mean_scale(struct tfl_scale *s, int64_t count)
{
    int shift = 63 - __builtin_clzll((unsigned long long)count);
    shift = MIN(shift, 32);
    shift = MIN(shift, 31 + s->shift);
    s->multiplier = (int32_t)(((int64_t)s->multiplier << shift) / count);
    s->shift -= shift;
}

/* The optimised kernel for [n,h,w,c] over rows and columns: sums of raw codes, the zero points in a
 * bias that is rounded by itself. */
static bool mean_of_pixels(const struct op_call *c, const struct reduction *r)
{
    return c->numerics == NUM_TFLITE_BUILTIN && c->in[0]->rank == 4 && r->rank == 4 &&
           !r->gone[0] && r->gone[1] && r->gone[2] && !r->gone[3] && c->in[0]->dtype != DT_S16;
}

static int32_t mean_code(int64_t sum, int64_t count, const struct tfl_quant *x,
                         const struct tfl_quant *y)
{
    struct tfl_scale s;
    float zero = (float)x->z * x->s / y->s;
    tfl_scale_init(&s, TFL_TWICE, (double)(x->s / ((float)count * y->s)));
    int32_t bias =
        y->z - (int32_t)clamp_x86(zero > 0.0F ? zero + 0.5F : zero - 0.5F, -0x1p30F, 0x1p30F);
    return tfl_clamp((int64_t)tfl_apply((int32_t)sum, &s) + bias, y);
}

/* XNNPACK, of 8-bit codes: the zero point is added before rounding, halves to even. */
static bool mean_in_xnnpack(const struct op_call *c)
{
    return tfl_xnnpack(c) && c->in[0]->dtype != DT_S16;
}

static int32_t mean_float(int64_t sum, int64_t count, const struct tfl_quant *x,
                          const struct tfl_quant *y)
{
    float scale = x->s / y->s / (float)count;
    float v = (float)(int32_t)(sum - x->z * count) * scale + (float)y->z;
    return (int32_t)rintf(clamp_x86(v, (float)y->lo, (float)y->hi));
}

static int32_t mean_fixed(int64_t sum, int64_t count, const struct tfl_quant *x,
                          const struct tfl_quant *y)
{
    struct tfl_scale s;
    tfl_scale_init(&s, TFL_TWICE, (double)x->s / (double)y->s);
    if (count) {
        mean_scale(&s, count);
    }
    return tfl_clamp((int64_t)tfl_apply((int32_t)(sum - x->z * count), &s) + y->z, y);
}

static int mean_codes(struct op_call *c, struct reduction *r, struct err *err)
{
    struct tfl_quant x, y;
    struct tensor *codes = NULL, *sums = NULL;
    int rc = tfl_input(c, 0, &x, err);
    rc = rc ? rc : tfl_output(c, 0, c->in[0]->dtype, &y, err);
    if (!rc && (!x.codes || !y.codes)) {
        rc = err_set(err, E_UNSUPPORTED, "input is %s without parameters",
                     dtype_name(c->in[0]->dtype));
    }
    rc = rc ? rc : tfl_codes(c, 0, &codes, err);
    rc = rc ? rc : tensor_new(DT_S64, r->rank, r->dims, c->budget, &sums, err);
    if (!rc) {
        int64_t *v = sums->data;
        memset(v, 0, sums->size);
        sum_codes(r, codes->data, v);
        for (size_t i = 0; i < sums->n; i++) {
            int32_t code = mean_in_xnnpack(c)     ? mean_float(v[i], r->count, &x, &y)
                           : mean_of_pixels(c, r) ? mean_code(v[i], r->count, &x, &y)
                                                  : mean_fixed(v[i], r->count, &x, &y);
            codes_put(c->out[0], i, 1, &code);
        }
    }
    tensor_free(codes);
    tensor_free(sums);
    return rc;
}

static int run_reduction(struct op_call *c, bool mean, struct err *err)
{
    struct reduction r = {0};
    int rc = reduction_read(c, &r, err);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, r.rank, r.dims, err);
    if (!rc && c->in[0]->dtype != DT_F32 && !mean) {
        rc = err_set(err, E_UNSUPPORTED, "sums of %s are not supported",
                     dtype_name(c->in[0]->dtype));
    }
    if (rc || c->in[0]->dtype != DT_F32) {
        return rc ? rc : mean_codes(c, &r, err);
    }
    float *y = c->out[0]->data;
    memset(y, 0, c->out[0]->size);
    sum_floats(&r, c->in[0]->data, y);
    for (size_t i = 0; i < c->out[0]->n && mean; i++) {
        y[i] /= (float)r.count;
    }
    return OK;
}

static int run_mean(struct op_call *c, struct err *err)
{
    return run_reduction(c, true, err);
}

static int run_sum(struct op_call *c, struct err *err)
{
    return run_reduction(c, false, err);
}

/* ---- SOFTMAX -------------------------------------------------------------------------------- */

static void softmax_float(const float *x, int64_t n, float beta, float *y)
{
    float top = -INFINITY, sum = 0.0F;
    for (int64_t i = 0; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = expf((x[i] - top) * beta);
        sum += y[i];
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] /= sum;
    }
}

/* table[255 - d] = exp(-d * scale * beta); sums in float, in order. */
static void softmax_codes(const float *table, const int32_t *x, int64_t n,
                          const struct tfl_quant *y, bool round_up, int32_t *out)
{
    int32_t top = INT32_MIN;
    float sum = 0.0F;
    for (int64_t i = 0; i < n; i++) {
        top = MAX(top, x[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        sum += table[255 - (top - x[i])];
    }
    float inverse = 1.0F / (sum * y->s);
    for (int64_t i = 0; i < n; i++) {
        float p = clamp_x86(table[255 - (top - x[i])] * inverse, 0.0F, 65536.0F);
        int32_t q = round_up ? (int32_t)(p + 0.5F) : (int32_t)roundf(p);
        out[i] = tfl_clamp((int64_t)q + y->z, y);
    }
}

static int run_softmax(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    float beta = attr_float(c->node, "beta", 1.0F), table[256];
    struct tfl_quant q, y;
    struct tensor *codes = NULL;
    if (x->rank < 1) {
        return err_set(err, E_SHAPE, "input is a scalar");
    }
    int64_t n = x->dims[x->rank - 1];
    enum dtype d = tfl_out_dtype(c, x->dtype);
    int rc = op_out(c, 0, d, x->rank, x->dims, err);
    if (!rc && x->dtype == DT_F32) {
        for (size_t at = 0; at < x->n; at += (size_t)n) {
            softmax_float((const float *)x->data + at, n, beta, (float *)c->out[0]->data + at);
        }
        return OK;
    }
    rc = rc ? rc : tfl_input(c, 0, &q, err);
    rc = rc ? rc : tfl_output(c, 0, d, &y, err);
    if (!rc && (dtype_size(x->dtype) != 1 || dtype_size(d) != 1 || !q.codes || !y.codes)) {
        rc = err_set(err, E_UNSUPPORTED, "%s to %s is not supported", dtype_name(x->dtype),
                     dtype_name(d));
    }
    rc = rc ? rc : tfl_codes(c, 0, &codes, err);
    for (int v = 0; v < 256 && !rc; v++) {
        table[255 - v] = expf(-q.s * beta * (float)v);
    }
    for (size_t at = 0; !rc && at < x->n; at += (size_t)n) {
        int32_t *line = (int32_t *)codes->data + at;
        softmax_codes(table, line, n, &y, d == DT_U8, line);
    }
    if (!rc) {
        codes_put(c->out[0], 0, x->n, codes->data);
    }
    tensor_free(codes);
    return rc;
}

/* ---- ARG_MAX, ARG_MIN ----------------------------------------------------------------------- */

/* Index of the first extreme of n elements `step` apart. */
static int64_t extreme(const double *x, int64_t n, int64_t step, bool least)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        double v = x[i * step], b = x[best * step];
        best = (least ? v < b : v > b) ? i : best;
    }
    return best;
}

static int run_arg(struct op_call *c, bool least, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *f = NULL;
    int64_t list[1], dims[MAX_RANK], outer = 1, inner = 1;
    size_t n = 0;
    int axis = 0, rank = 0;
    /* TensorType: INT64 is 4, INT32 is 2. */
    enum dtype d = attr_int(c->node, "output_type", 2) == 4 ? DT_S64 : DT_S32;
    int rc = op_int_list(c->in[1], 1, list, &n, err);
    rc = rc       ? rc
         : n == 1 ? op_axis(list[0], x->rank, &axis, err)
                  : err_set(err, E_SHAPE, "no axis");
    if (!rc && x->dims[axis] < 1) {
        rc = err_set(err, E_SHAPE, "axis %d has no elements", axis);
    }
    for (int k = 0; k < x->rank && !rc; k++) {
        outer *= k < axis ? x->dims[k] : 1;
        inner *= k > axis ? x->dims[k] : 1;
        if (k != axis) {
            dims[rank++] = x->dims[k];
        }
    }
    rc = rc ? rc : op_out(c, 0, d, rank, dims, err);
    rc = rc ? rc : elem_to_f64(x, c->budget, &f, err);
    for (int64_t o = 0; !rc && o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            const double *from = (const double *)f->data + o * x->dims[axis] * inner + i;
            int64_t v = extreme(from, x->dims[axis], inner, least);
            elem_put_s64(c->out[0], (size_t)(o * inner + i), 1, &v);
        }
    }
    tensor_free(f);
    return rc;
}

static int run_arg_max(struct op_call *c, struct err *err)
{
    return run_arg(c, false, err);
}

static int run_arg_min(struct op_call *c, struct err *err)
{
    return run_arg(c, true, err);
}

#define ROW(title, fn, inputs, source)                                                             \
    {                                                                                              \
        .name = title, .domain = "tflite", .since = 1, .min_in = inputs, .max_in = inputs,         \
        .ref = fn, .spec = source                                                                  \
    }

const struct op op_tfl_reduce[] = {
    ROW("AVERAGE_POOL_2D", run_average_pool, 1, "LiteRT pooling.cc"),
    ROW("MAX_POOL_2D", run_max_pool, 1, "LiteRT pooling.cc"),
    ROW("MEAN", run_mean, 2, "LiteRT reduce.cc, XNNPACK mean"),
    ROW("SUM", run_sum, 2, "LiteRT reduce.cc"),
    ROW("SOFTMAX", run_softmax, 1, "LiteRT activations.cc"),
    ROW("ARG_MAX", run_arg_max, 2, "LiteRT arg_min_max.cc"),
    ROW("ARG_MIN", run_arg_min, 2, "LiteRT arg_min_max.cc"),
    {0},
};
