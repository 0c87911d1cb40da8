/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_quant.c: QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. The arithmetic itself is
 * in quant.c; here are attributes, defaults of each opset and output types.
 */
#include "engine/op_quant.h"

#include "engine/elem.h"
#include "engine/fuse.h"
#include "engine/par.h"
#include "engine/pool.h"

/* ---- Shared with the other quantized operators ---------------------------------------------- */

int q1_read(const struct op_call *c, int scale, int zero, enum dtype dflt, struct q1 *out,
            struct err *err)
{
    const struct tensor *s = scale < c->n_in ? c->in[scale] : NULL;
    const struct tensor *z = zero < c->n_in ? c->in[zero] : NULL;
    if (!s || !is_scale(s) || s->n != 1) {
        return err_set(err, E_SHAPE, "input %d should be one scale of 16 or 32 bits", scale);
    }
    enum dtype d = z ? z->dtype : dflt;
    if (d != DT_U8 && d != DT_S8) {
        return err_set(err, E_UNSUPPORTED, "codes of type %s are not supported here, only 8 bits",
                       dtype_name(d));
    }
    if (z && z->n != 1) {
        return err_set(err, E_SHAPE, "input %d should be one zero point, found %zu", zero, z->n);
    }
    *out = (struct q1){.dtype = d,
                       .s = scale_at(s, 0),
                       .z = zero_at(z, 0),
                       .qmin = d == DT_S8 ? INT8_MIN : 0,
                       .qmax = d == DT_S8 ? INT8_MAX : UINT8_MAX};
    return OK;
}

int q1_read_for(const struct op_call *c, int data, int scale, int zero, struct q1 *out,
                struct err *err)
{
    const struct tensor *t = data < c->n_in ? c->in[data] : NULL;
    if (!t) {
        return err_set(err, E_SHAPE, "input %d is missing", data);
    }
    int rc = q1_read(c, scale, zero, t->dtype, out, err);
    if (!rc && out->dtype != t->dtype) {
        rc = err_set(err, E_SHAPE, "input %d is %s, its zero point is %s", data,
                     dtype_name(t->dtype), dtype_name(out->dtype));
    }
    return rc;
}

int q1_read_unary(const struct op_call *c, struct q1 *qx, struct q1 *qy, struct err *err)
{
    int rc = q1_read_for(c, 0, 1, 2, qx, err);
    rc = rc ? rc : q1_read(c, 3, 4, qx->dtype, qy, err);
    if (!rc && qx->dtype != qy->dtype) {
        rc = err_set(err, E_SHAPE, "input is %s, the result %s, expected equal types",
                     dtype_name(qx->dtype), dtype_name(qy->dtype));
    }
    if (!rc && attr_int(c->node, "channels_last", 0)) {
        rc = err_set(err, E_UNSUPPORTED, "channels_last is not supported");
    }
    return rc;
}

void q1_shift(const struct op_call *c, struct q1 *q)
{
    if (q->dtype == DT_S8 && attr_int(c->node, q1_as_u8, 0)) {
        q->shift = -INT8_MIN;
        q->z += q->shift;
        q->qmin += q->shift;
        q->qmax += q->shift;
    }
}

int per_channel_check(const struct tensor *t, size_t n, const char *what, struct err *err)
{
    if (t && t->n != 1 && t->n != n) {
        return err_set(err, E_SHAPE, "%zu %ss for %zu channels", t->n, what, n);
    }
    return OK;
}

float logistic_mlas(float v)
{
    v = v < -18.0F ? -18.0F : v;
    v = v > 18.0F ? 18.0F : v;
    const float v2 = v * v;
    float p = fmaf(v2, 4.37031012579801e-11F, 1.15627324459942e-07F);
    p = fmaf(p, v2, 6.08574864600143e-05F);
    p = fmaf(p, v2, 8.51377133304701e-03F);
    p = fmaf(p, v2, 2.48287947061529e-01F);
    p = p * v;
    float q = fmaf(v2, 6.10247389755681e-13F, 5.76102136993427e-09F);
    q = fmaf(q, v2, 6.29106785017040e-06F);
    q = fmaf(q, v2, 1.70198817374094e-03F);
    q = fmaf(q, v2, 1.16817656904453e-01F);
    q = fmaf(q, v2, 9.93151921023180e-01F);
    const float y = p / q + 0.5F;
    return y < 0 ? 0 : y;
}

enum { SCRATCH_SLACK = 256 };

int scratch_new(size_t n, size_t size, void **out, struct err *err)
{
    size_t bytes = 0;
    bool ok = mul_ok(n, size, &bytes) && add_ok(bytes, SCRATCH_SLACK, &bytes);
    void *p = ok ? pool_take(bytes) : NULL;
    if (!p) {
        return err_set(err, E_LIMIT, "out of memory for %zu times %zu bytes of scratch", n, size);
    }
    *out = p;
    return OK;
}

void scratch_free(void *p)
{
    pool_give(p);
}

/* ---- Operators ------------------------------------------------------------------------------ */

/* Scale and zero point of a Q or DQ node. dflt: type of the codes without a zero point. */
static int read_params(const struct op_call *c, enum dtype dflt, struct arena *a, struct quant *out,
                       struct err *err)
{
    const struct tensor *zero = c->n_in > 2 ? c->in[2] : NULL;
    if (!c->in[0] || !c->in[1]) {
        return err_set(err, E_SHAPE, "input %d is missing", c->in[0] ? 1 : 0);
    }
    if (attr_int(c->node, "block_size", 0) != 0) {
        return err_set(err, E_UNSUPPORTED, "blocked quantization is not supported");
    }
    int axis = -1;
    if (c->in[1]->n > 1) {
        int rc = op_axis(attr_int(c->node, "axis", 1), c->in[0]->rank, &axis, err);
        if (rc) {
            return rc;
        }
    }
    return quant_read(c->in[1], zero, axis, dflt, a, out, err);
}

static int op_quantize(struct op_call *c, struct err *err)
{
    struct arena a = {0};
    struct quant p;
    int64_t dflt = attr_int(c->node, "output_dtype", DT_NONE);
    int rc = read_params(c, dflt ? (enum dtype)dflt : DT_U8, &a, &p, err);
    if (!rc) {
        rc = quant_quantize(c->in[0], &p, c->budget, &c->out[0], err);
    }
    arena_fini(&a);
    return rc;
}

enum { PIECE = 1 << 15 }; /* elements that a thread takes at a time */

/* Codes and reals with one scale and zero point. */
struct conversion {
    const struct tensor *x;
    struct tensor *y;
    float s;
    int32_t z;
};

static void quantize_piece(void *ctx, size_t from, size_t to)
{
    const struct conversion *v = ctx;
    codes_quantize((const float *)v->x->data + from, to - from, v->s, v->z, v->y, from);
}

static void dequantize_piece(void *ctx, size_t from, size_t to)
{
    const struct conversion *v = ctx;
    codes_dequantize(v->x, from, to - from, v->s, v->z, (float *)v->y->data + from);
}

/* One scale, so that the order of elements does not matter. */
static enum op_layout one_scale(const struct op_call *c)
{
    const struct tensor *x = c->n_in > 1 ? c->in[0] : NULL, *s = x ? c->in[1] : NULL;
    const bool zero_fits = c->n_in < 3 || !c->in[2] || c->in[2]->n == 1;
    const bool from_real = x && x->dtype == DT_F32, from_codes = is_code(x);
    return s && s->n == 1 && s->dtype == DT_F32 && zero_fits && (from_real || from_codes) &&
                   attr_int(c->node, "block_size", 0) == 0
               ? LAYOUT_ANY
               : LAYOUT_ROWS;
}

static int op_quantize_fast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *z = c->n_in > 2 ? c->in[2] : NULL;
    int64_t dflt = attr_int(c->node, "output_dtype", DT_NONE);
    const enum dtype d = z ? z->dtype : dflt ? (enum dtype)dflt : DT_U8;
    int64_t lo, hi;
    if (one_scale(c) != LAYOUT_ANY || x->dtype != DT_F32 || d == DT_S32 ||
        !dtype_range(d, &lo, &hi)) {
        return op_quantize(c, err);
    }
    int rc = op_out(c, 0, d, x->rank, x->dims, err);
    if (!rc) {
        struct conversion v = {x, c->out[0], scale_at(c->in[1], 0), zero_at(z, 0)};
        par_pieces(c->par, x->n, PIECE, quantize_piece, &v);
    }
    return rc;
}

/* Rounds y to the scale's own type: since opset 19 that is the type of the result. */
static int narrow_float(struct op_call *c, enum dtype d, struct err *err)
{
    struct tensor *y = c->out[0];
    c->out[0] = NULL;
    int rc = op_out(c, 0, d, y->rank, y->dims, err);
    for (size_t i = 0; !rc && i < y->n; i++) {
        float v = ((const float *)y->data)[i];
        ((uint16_t *)c->out[0]->data)[i] = d == DT_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    }
    tensor_free(y);
    return rc;
}

static int op_dequantize(struct op_call *c, struct err *err)
{
    struct arena a = {0};
    struct quant p;
    int rc = read_params(c, c->in[0] ? c->in[0]->dtype : DT_U8, &a, &p, err);
    if (!rc) {
        rc = quant_dequantize(c->in[0], &p, c->budget, &c->out[0], err);
    }
    arena_fini(&a);
    if (rc) {
        return rc;
    }
    enum dtype d = c->in[1]->dtype;
    return d == DT_F16 || d == DT_BF16 ? narrow_float(c, d, err) : OK;
}

static int op_dequantize_fast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *z = c->n_in > 2 ? c->in[2] : NULL;
    if (one_scale(c) != LAYOUT_ANY || !is_code(x) || (z && z->dtype != x->dtype)) {
        return op_dequantize(c, err);
    }
    int rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    if (!rc) {
        struct conversion v = {x, c->out[0], scale_at(c->in[1], 0), zero_at(z, 0)};
        par_pieces(c->par, x->n, PIECE, dequantize_piece, &v);
    }
    return rc;
}

/* The least and the greatest of n numbers and 0, as far as they are numbers; in lanes, so that
 * compilers take several at a time. */
VECTOR_CLONES static void find_range(const float *x, size_t n, float *least, float *most)
{
    enum { LANES = 16 };
    float lo[LANES] = {0}, hi[LANES] = {0};
    for (size_t i = 0; i < n; i += LANES) {
        const size_t m = MIN(n - i, (size_t)LANES);
        for (size_t k = 0; k < m; k++) {
            const float v = x[i + k];
            lo[k] = v < lo[k] ? v : lo[k];
            hi[k] = v > hi[k] ? v : hi[k];
        }
    }
    for (size_t k = 0; k < LANES; k++) {
        *least = lo[k] < *least ? lo[k] : *least;
        *most = hi[k] > *most ? hi[k] : *most;
    }
}

/* s = (max(x, 0) - min(x, 0)) / 255, z = rne(clamp(0 - min / s)), both in float. */
static int op_dynamic_quantize(struct op_call *c, struct err *err)
{
    int rc = op_want(c, 0, DT_F32, -1, err);
    if (rc) {
        return rc;
    }
    const float *x = c->in[0]->data;
    float lo = 0, hi = 0;
    find_range(x, c->in[0]->n, &lo, &hi);
    float s = lo == hi ? 1.0F : (hi - lo) / 255.0F;
    int32_t z = (int32_t)rne_small(clamp_x86(0.0F - lo / s, 0.0F, 255.0F));
    rc = op_out(c, 0, DT_U8, c->in[0]->rank, c->in[0]->dims, err);
    rc = rc ? rc : op_out(c, 1, DT_F32, 0, NULL, err);
    rc = rc ? rc : op_out(c, 2, DT_U8, 0, NULL, err);
    if (!rc) {
        struct conversion v = {c->in[0], c->out[0], s, z};
        par_pieces(c->par, c->in[0]->n, PIECE, quantize_piece, &v);
        *(float *)c->out[1]->data = s;
        *(uint8_t *)c->out[2]->data = (uint8_t)z;
    }
    return rc;
}

VECTOR_CLONES static void flip_codes(const uint8_t *restrict x, size_t n, uint8_t *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] ^ 0x80;
    }
}

/* The same numbers with the other sign: s8 as u8, all codes 128 higher, or back. */
static int op_flip_sign(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (!is_code(x)) {
        return err_set(err, E_SHAPE, "codes should be uint8 or int8");
    }
    int rc = op_out(c, 0, x->dtype == DT_S8 ? DT_U8 : DT_S8, x->rank, x->dims, err);
    if (!rc) {
        flip_codes(x->data, x->n, c->out[0]->data);
    }
    return rc;
}

static const char ms[] = "com.microsoft";

// clang-format off
const struct op op_quant[] = {
    {.name = "QuantizeLinear", .since = 10, .min_in = 2, .max_in = 3, .ref = op_quantize, .fast = op_quantize_fast, .layout = one_scale, .spec = "ONNX QuantizeLinear-10"},
    {.name = "QuantizeLinear", .domain = ms, .since = 1, .min_in = 2, .max_in = 3, .ref = op_quantize, .fast = op_quantize_fast, .layout = one_scale, .spec = "ORT QuantizeLinear-1"},
    {.name = "DequantizeLinear", .since = 10, .min_in = 2, .max_in = 3, .ref = op_dequantize, .fast = op_dequantize_fast, .layout = one_scale, .spec = "ONNX DequantizeLinear-10"},
    {.name = "DequantizeLinear", .domain = ms, .since = 1, .min_in = 2, .max_in = 3, .ref = op_dequantize, .fast = op_dequantize_fast, .layout = one_scale, .spec = "ORT DequantizeLinear-1"},
    {.name = "DynamicQuantizeLinear", .since = 11, .min_in = 1, .max_in = 1, .ref = op_dynamic_quantize, .layout = layout_any, .spec = "ONNX DynamicQuantizeLinear-11"},
    {.name = "FlipSign", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_flip_sign, .layout = layout_any, .spec = "ORT QDQS8ToU8"},
    {0},
};
// clang-format on
