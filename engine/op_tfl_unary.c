/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_unary.c: elementwise operators of TensorFlow Lite. Of 8-bit codes there are 256: every
 * operator on them is a table, filled by the formula that its back end uses.
 */
#include "engine/tfl.h"

#include <math.h>
#include <stdlib.h>

/* ---- Functions on floats -------------------------------------------------------------------- */

typedef float unary_fn(float x, const struct node *n);

static float f_logistic(float x, const struct node *n)
{
    (void)n;
    return 1.0F / (1.0F + expf(-x));
}

static float f_tanh(float x, const struct node *n)
{
    (void)n;
    return tanhf(x);
}

static float f_gelu(float x, const struct node *n)
{
    if (attr_int(n, "approximate", 0)) {
        const float k = 0.79788456080286536F; /* sqrt(2 / pi) */
        return 0.5F * x * (1.0F + tanhf(k * (x + 0.044715F * (x * x * x))));
    }
    /* erfc keeps the tail that 1 + erf would cancel away. */
    return x < 0.0F ? 0.5F * x * erfcf(x * -0.70710678118654752F)
                    : 0.5F * x * (1.0F + erff(x * 0.70710678118654752F));
}

static float f_hard_swish(float x, const struct node *n)
{
    (void)n;
    float r = x + 3.0F;
    r = r < 0.0F ? 0.0F : r > 6.0F ? 6.0F : r;
    return x * r / 6.0F;
}

static float f_leaky_relu(float x, const struct node *n)
{
    return x > 0.0F ? x : x * attr_float(n, "alpha", 0.0F);
}

static float f_relu(float x, const struct node *n)
{
    (void)n;
    return x > 0.0F ? x : 0.0F;
}

static float f_relu6(float x, const struct node *n)
{
    (void)n;
    return x < 0.0F ? 0.0F : x > 6.0F ? 6.0F : x;
}

static float f_relu_n1_to_1(float x, const struct node *n)
{
    (void)n;
    return x < -1.0F ? -1.0F : x > 1.0F ? 1.0F : x;
}

static float f_sqrt(float x, const struct node *n)
{
    (void)n;
    return sqrtf(x);
}

static float f_rsqrt(float x, const struct node *n)
{
    (void)n;
    return 1.0F / sqrtf(x);
}

static float f_exp(float x, const struct node *n)
{
    (void)n;
    return expf(x);
}

static float f_log(float x, const struct node *n)
{
    (void)n;
    return logf(x);
}

static float f_abs(float x, const struct node *n)
{
    (void)n;
    return fabsf(x);
}

static float f_neg(float x, const struct node *n)
{
    (void)n;
    return -x;
}

static float f_square(float x, const struct node *n)
{
    (void)n;
    return x * x;
}

/* ---- Functions on codes --------------------------------------------------------------------- */

/* Everything a table entry depends on. */
struct table {
    const struct op_call *c;
    struct tfl_quant x, y;
    unary_fn *fn;
};
typedef int32_t code_fn(const struct table *t, int32_t code);

/* Dequantize, compute, quantize; halves away from 0, which XNNPACK counts from code 0 and the
 * built-in tables from the zero point. */
static int32_t code_float(const struct table *t, int32_t code)
{
    float v = t->fn(t->x.s * (float)(code - t->x.z), t->c->node) * (1.0F / t->y.s);
    if (!isfinite(v)) {
        return v > 0.0F ? t->y.hi : t->y.lo;
    }
    int32_t z = tfl_xnnpack(t->c) ? t->y.z : 0;
    float q = clamp_x86(roundf(v + (float)z), -0x1p20F, 0x1p20F);
    return tfl_clamp((int64_t)q + t->y.z - z, &t->y);
}

/* The quotient is cut off, not rounded. */
static int32_t code_sqrt(const struct table *t, int32_t code)
{
    float v = sqrtf(t->x.s * (float)(code - t->x.z)) / t->y.s;
    return tfl_clamp((int64_t)clamp_x86(v, 0.0F, 0x1p20F) + t->y.z, &t->y);
}

/* The kernel negates codes as they are, whatever their parameters; the lowest one wraps. */
static int32_t code_neg(const struct table *t, int32_t code)
{
    return code == t->y.lo ? code : -code;
}

static int32_t code_relu(const struct table *t, int32_t code)
{
    struct tfl_scale s;
    tfl_scale_init(&s, TFL_TWICE, (double)(t->x.s / t->y.s));
    float lo = t->fn(-INFINITY, t->c->node), hi = t->fn(INFINITY, t->c->node);
    int64_t q = (int64_t)tfl_apply(code - t->x.z, &s) + t->y.z;
    int64_t least = (int64_t)t->y.z + tfl_round((double)(lo / t->y.s));
    q = MAX(q, least);
    if (isfinite(hi)) {
        int64_t most = (int64_t)t->y.z + tfl_round((double)(hi / t->y.s));
        q = MIN(q, most);
    }
    return tfl_clamp(q, &t->y);
}

static int32_t code_abs(const struct table *t, int32_t code)
{
    struct tfl_scale s;
    tfl_scale_init(&s, TFL_TWICE, (double)(t->x.s / t->y.s));
    int32_t v = abs(code - t->x.z);
    return tfl_clamp((int64_t)(t->x.s == t->y.s ? v : tfl_apply(v, &s)) + t->y.z, &t->y);
}

static int32_t code_leaky_relu(const struct table *t, int32_t code)
{
    float alpha = attr_float(t->c->node, "alpha", 0.0F);
    int32_t d = code - t->x.z;
    if (tfl_xnnpack(t->c) && t->c->in[0]->dtype != DT_S16) {
        float ratio = t->x.s / t->y.s * (d < 0 ? alpha : 1.0F);
        int64_t m = (int64_t)lrintf(clamp_x86(ratio * 256.0F, -0x1p20F, 0x1p20F));
        return tfl_clamp(((d * m + 128) >> 8) + t->y.z, &t->y);
    }
    struct tfl_scale s;
    double ratio = d < 0 ? (double)(t->x.s * alpha / t->y.s) : (double)(t->x.s / t->y.s);
    tfl_scale_init(&s, TFL_TWICE, fabs(ratio));
    int32_t v = tfl_apply(ratio < 0 ? -d : d, &s);
    return tfl_clamp((int64_t)v + t->y.z, &t->y);
}

/* ---- HARD_SWISH on codes: 16-bit fixed point ------------------------------------------------ */

static int16_t saturate_s16(int64_t v)
{
    return (int16_t)(v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v);
}

static int16_t high_s16(int16_t a, int16_t b)
{
    int32_t p = (int32_t)a * b, nudge = p >= 0 ? 1 << 14 : 1 - (1 << 14);
    return saturate_s16((p + nudge) / (1 << 15));
}

/* A multiplier of 15 bits and its exponent. */
static int16_t multiplier_s16(float real, int *exponent)
{
    int32_t m;
    tfl_multiplier((double)real, &m, exponent);
    return (int16_t)(m >= 0x7FFF0000 ? 0x7FFF : (m + (1 << 15)) >> 16);
}

static int32_t code_hard_swish(const struct table *t, int32_t code)
{
    int out_exp, relu_exp;
    float hires = (1.0F / 128.0F) * t->x.s;
    int16_t out_mul = multiplier_s16(hires / t->y.s, &out_exp);
    int16_t relu_mul = multiplier_s16(hires / (3.0F / 32768.0F), &relu_exp);
    int16_t x = (int16_t)((code - t->x.z) * 128);
    int16_t y = high_s16(x, out_mul), r = x;
    if (relu_exp > 0) {
        r = saturate_s16((int64_t)r * (INT64_C(1) << (relu_exp - 1)));
    }
    r = high_s16(r, relu_mul);
    if (relu_exp > 0) {
        r = saturate_s16((int64_t)r * 2);
    } else if (relu_exp < 0) {
        r = (int16_t)tfl_divide(r, -relu_exp);
    }
    r = (int16_t)((r + (1 << 15)) >> 1);
    int32_t v = saturate_s16((int32_t)r * y / (1 << 15));
    v = out_exp < 0 ? tfl_divide(v, -out_exp) : (int32_t)((uint32_t)v << out_exp);
    return tfl_clamp((int64_t)v + t->y.z, &t->y);
}

/* ---- RSQRT on codes: Newton's iteration in fixed point -------------------------------------- */

static int32_t shift_up(int32_t v, int n)
{
    int64_t r = (int64_t)v * (INT64_C(1) << n);
    return (int32_t)(r < INT32_MIN ? INT32_MIN : r > INT32_MAX ? INT32_MAX : r);
}

/* 1 / sqrt(v) as multiplier and left shift; 5 steps from 1 in numbers of 3 integer bits. */
static void inverse_sqrt(int32_t v, int32_t *multiplier, int *shift)
{
    if (v <= 1) {
        *multiplier = INT32_MAX;
        *shift = 0;
        return;
    }
    int right = 11;
    for (; v >= 1 << 29; v /= 4) {
        right++;
    }
    int pairs = (__builtin_clz((unsigned)v) - 1) / 2 - 1;
    right -= pairs;
    v = (int32_t)((uint32_t)v << (2 * pairs));
    int32_t half = tfl_divide(v >> 1, 1), three_halves = (1 << 28) + (1 << 27), x = 1 << 28;
    for (int i = 0; i < 5; i++) {
        int32_t cube = shift_up(tfl_high(tfl_high(x, x), x), 6);
        x = shift_up(tfl_high(three_halves, x) - tfl_high(half, cube), 3);
    }
    x = tfl_high(x, 1518500250); /* sqrt(2) / 2 */
    *multiplier = right < 0 ? (int32_t)((uint32_t)x << -right) : x;
    *shift = right < 0 ? 0 : -right;
}

static int32_t code_rsqrt(const struct table *t, int32_t code)
{
    int32_t v = code - t->x.z, inverse, m;
    int inverse_shift, shift;
    if (v <= 0) {
        return t->y.hi;
    }
    inverse_sqrt(v, &inverse, &inverse_shift);
    tfl_multiplier(1.0 / (double)(sqrtf(t->x.s) * t->y.s), &m, &shift);
    int32_t data = tfl_twice(1, inverse, inverse_shift + 20);
    return tfl_clamp((int64_t)tfl_twice(data, m, shift - 20) + t->y.z, &t->y);
}

/* ---- Loops ---------------------------------------------------------------------------------- */

/* Formulas that the kernels for int16 share; the others interpolate in tables there. */
static bool is_wide(code_fn *code)
{
    return code == code_relu || code == code_abs || code == code_leaky_relu || code == code_sqrt ||
           code == code_neg;
}

static int run_table(struct op_call *c, unary_fn *fn, code_fn *code, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct table t = {.c = c, .fn = fn};
    int rc = tfl_input(c, 0, &t.x, err);
    rc = rc ? rc : tfl_output(c, 0, x->dtype, &t.y, err);
    bool wide = x->dtype == DT_S16 && is_wide(code);
    if (!rc && (!(dtype_size(x->dtype) == 1 || wide) || !t.x.codes || !t.y.codes)) {
        rc = err_set(err, E_UNSUPPORTED, "input is %s without parameters of 8-bit codes",
                     dtype_name(x->dtype));
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    if (rc || wide) {
        for (size_t i = 0; i < x->n && !rc; i++) {
            ((int16_t *)c->out[0]->data)[i] = (int16_t)code(&t, ((const int16_t *)x->data)[i]);
        }
        return rc;
    }
    uint8_t table[256];
    for (int i = 0; i < 256; i++) {
        table[i] = (uint8_t)code(&t, x->dtype == DT_U8 ? i : (int8_t)(uint8_t)i);
    }
    for (size_t i = 0; i < x->n; i++) {
        ((uint8_t *)c->out[0]->data)[i] = table[((const uint8_t *)x->data)[i]];
    }
    return OK;
}

static int run_unary(struct op_call *c, unary_fn *fn, code_fn *code, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (x->dtype != DT_F32) {
        return run_table(c, fn, code, err);
    }
    int rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    for (size_t i = 0; i < x->n && !rc; i++) {
        ((float *)c->out[0]->data)[i] = fn(((const float *)x->data)[i], c->node);
    }
    return rc;
}

#define UNARY(name, code)                                                                          \
    static int run_##name(struct op_call *c, struct err *err)                                      \
    {                                                                                              \
        return run_unary(c, f_##name, code, err);                                                  \
    }

UNARY(logistic, code_float)
UNARY(tanh, code_float)
UNARY(gelu, code_float)
UNARY(hard_swish, code_hard_swish)
UNARY(leaky_relu, code_leaky_relu)
UNARY(relu, code_relu)
UNARY(relu6, code_relu)
UNARY(relu_n1_to_1, code_relu)
UNARY(sqrt, code_sqrt)
UNARY(rsqrt, code_rsqrt)
UNARY(exp, code_float)
UNARY(log, code_float)
UNARY(abs, code_abs)
UNARY(neg, code_neg)
UNARY(square, code_float)

#define ROW(title, fn, source)                                                                     \
    {                                                                                              \
        .name = title, .domain = "tflite", .since = 1, .min_in = 1, .max_in = 1, .ref = fn,        \
        .spec = source                                                                             \
    }

const struct op op_tfl_unary[] = {
    ROW("LOGISTIC", run_logistic, "LiteRT activations.cc, XNNPACK unary elementwise"),
    ROW("TANH", run_tanh, "LiteRT activations.cc, XNNPACK unary elementwise"),
    ROW("GELU", run_gelu, "LiteRT gelu.h"),
    ROW("HARD_SWISH", run_hard_swish, "LiteRT hard_swish.h"),
    ROW("LEAKY_RELU", run_leaky_relu, "LiteRT leaky_relu.h, XNNPACK qs8-vlrelu"),
    ROW("RELU", run_relu, "LiteRT activations.cc"),
    ROW("RELU6", run_relu6, "LiteRT activations.cc"),
    ROW("RELU_N1_TO_1", run_relu_n1_to_1, "LiteRT activations.cc"),
    ROW("SQRT", run_sqrt, "LiteRT elementwise.cc"),
    ROW("RSQRT", run_rsqrt, "LiteRT elementwise.cc"),
    ROW("EXP", run_exp, "LiteRT exp.cc"),
    ROW("LOG", run_log, "LiteRT elementwise.cc"),
    ROW("ABS", run_abs, "LiteRT elementwise.cc"),
    ROW("NEG", run_neg, "LiteRT neg.cc"),
    ROW("SQUARE", run_square, "LiteRT elementwise.cc"),
    {0},
};
