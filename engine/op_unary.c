/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_unary.c: functions of one input, element by element: activations, rounding, elementary
 * functions, tests, Clip, Cast. One loop runs them all; an operator is a row with its formula in
 * double, in int64 where it takes integers, and in float32 where networks spend time in it.
 */
#include "engine/elem.h"
#include "engine/op.h"
#include "engine/par.h"

#include <math.h>

/* What the attributes (or, for Clip, the inputs) give a formula. */
struct params {
    double a, b;
    int64_t lo, hi; /* Clip on integers */
};
typedef void f64_fn(size_t n, const double *x, double *y, const struct params *p);
typedef void f32_fn(size_t n, const float *restrict x, float *restrict y, const struct params *p);
typedef void s64_fn(size_t n, const int64_t *x, int64_t *y, const struct params *p);

#define UNARY(name, type, expr)                                                                    \
    static void name(size_t n, const type *in, type *y, const struct params *p)                    \
    {                                                                                              \
        (void)p;                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            const type x = in[i];                                                                  \
            y[i] = (expr);                                                                         \
        }                                                                                          \
    }
/* float32: a and b are the parameters, rounded to float as ONNX stores them. */
#define UNARY_F32(name, expr)                                                                      \
    VECTOR_CLONES static void name(size_t n, const float *restrict in, float *restrict y,          \
                                   const struct params *p)                                         \
    {                                                                                              \
        const float a = (float)p->a, b = (float)p->b;                                              \
        (void)a, (void)b;                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            const float x = in[i];                                                                 \
            y[i] = (expr);                                                                         \
        }                                                                                          \
    }

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
/* ln(1 + e^x) without overflow. */
static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}
static double clamp(double x, double lo, double hi)
{
    x = x < lo ? lo : x; /* in this order: a NaN stays, and hi wins over lo */
    return x > hi ? hi : x;
}
static float clamp_f32(float x, float lo, float hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}
static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
}
static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

UNARY(relu_f64, double, x > 0 || isnan(x) ? x : 0)
UNARY(relu_s64, int64_t, MAX(x, 0))
UNARY_F32(relu_f32, x < 0.0F ? 0.0F : x)
UNARY(leaky_f64, double, x < 0 ? p->a * x : x)
/* The same sum for every x: a product on a condition would not vectorize. One term is always 0. */
UNARY_F32(leaky_f32, (x > 0.0F ? x : 0.0F) + a * (x >= 0.0F ? 0.0F : x))
UNARY(thresholded_f64, double, x > p->a ? x : 0)
UNARY(sigmoid_f64, double, sigmoid(x))
UNARY(hard_sigmoid_f64, double, clamp(p->a *x + p->b, 0, 1))
UNARY_F32(hard_sigmoid_f32, clamp_f32(a *x + b, 0.0F, 1.0F))
UNARY(hard_swish_f64, double, x *clamp(x / 6 + 0.5, 0, 1))
/* As the composition by which the specification defines it, HardSigmoid and a product. */
UNARY_F32(hard_swish_f32, x *clamp_f32((1.0F / 6.0F) * x + 0.5F, 0.0F, 1.0F))
UNARY(swish_f64, double, x *sigmoid(p->a *x))
UNARY(mish_f64, double, x *tanh(softplus(x)))
UNARY(elu_f64, double, x < 0 ? p->a * expm1(x) : x)
UNARY(celu_f64, double, fmax(x, 0) + fmin(0, p->a *expm1(x / p->a)))
UNARY(selu_f64, double, p->b *(x < 0 ? p->a * expm1(x) : x))
UNARY(softplus_f64, double, softplus(x))
UNARY(softsign_f64, double, x / (1 + fabs(x)))
UNARY(gelu_f64, double, gelu(x))
UNARY(gelu_tanh_f64, double, gelu_tanh(x))
UNARY(shrink_f64, double, x<-p->b ? x + p->a : x> p->b ? x - p->a : 0)
UNARY(clip_f64, double, clamp(x, p->a, p->b))
UNARY(clip_s64, int64_t, MIN(MAX(x, p->lo), p->hi))
UNARY(clip_u64, int64_t, (int64_t)MIN(MAX((uint64_t)x, (uint64_t)p->lo), (uint64_t)p->hi))
UNARY_F32(clip_f32, clamp_f32(x, a, b))

UNARY(abs_f64, double, fabs(x))
UNARY(abs_s64, int64_t, x < 0 ? (int64_t)(0 - (uint64_t)x) : x)
UNARY(neg_f64, double, -x)
UNARY(neg_s64, int64_t, (int64_t)(0 - (uint64_t)x))
UNARY(sign_f64, double, sign(x))
UNARY(sign_s64, int64_t, (x > 0) - (x < 0))
UNARY(sign_u64, int64_t, x != 0)
UNARY(keep_s64, int64_t, x)
UNARY(ceil_f64, double, ceil(x))
UNARY(floor_f64, double, floor(x))
UNARY(round_f64, double, nearbyint(x)) /* half to even: the rounding mode is never changed */
UNARY(sqrt_f64, double, sqrt(x))
UNARY_F32(sqrt_f32, sqrtf(x))
UNARY(reciprocal_f64, double, 1 / x)
UNARY(exp_f64, double, exp(x))
UNARY_F32(exp_f32, expf(x))
UNARY(log_f64, double, log(x))
UNARY(erf_f64, double, erf(x))
UNARY(sin_f64, double, sin(x))
UNARY(cos_f64, double, cos(x))
UNARY(tan_f64, double, tan(x))
UNARY(asin_f64, double, asin(x))
UNARY(acos_f64, double, acos(x))
UNARY(atan_f64, double, atan(x))
UNARY(sinh_f64, double, sinh(x))
UNARY(cosh_f64, double, cosh(x))
UNARY(tanh_f64, double, tanh(x))
UNARY(asinh_f64, double, asinh(x))
UNARY(acosh_f64, double, acosh(x))
UNARY(atanh_f64, double, atanh(x))
UNARY(is_nan_f64, double, isnan(x))
UNARY(is_inf_f64, double, (isinf(x) && x < 0 && p->a != 0) || (isinf(x) && x > 0 && p->b != 0))
UNARY(not_s64, int64_t, x == 0)
UNARY(bitwise_not_s64, int64_t, ~x)

/* ---- Sigmoid, Tanh and Erf as ONNX Runtime computes them ------------------------------------ */

/* Its CPU kernels (MLAS, after Eigen) are rational approximations in fused multiply-adds. They are
 * within 3e-7 of the functions, but relative to a small sigmoid that is much: at x = -12 the error
 * is 1 %. Reproduced to the bit, because the error of interest is that of the integers. */
IN_BOTH void sigmoid_mlas(size_t n, const float *restrict in, float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        const float x = clamp_f32(in[i], -18.0F, 18.0F), s = x * x;
        float p = fmaf(s, 4.37031012579801e-11F, 1.15627324459942e-07F);
        p = fmaf(p, s, 6.08574864600143e-05F);
        p = fmaf(p, s, 8.51377133304701e-03F);
        p = fmaf(p, s, 2.48287947061529e-01F) * x;
        float q = fmaf(s, 6.10247389755681e-13F, 5.76102136993427e-09F);
        q = fmaf(q, s, 6.29106785017040e-06F);
        q = fmaf(q, s, 1.70198817374094e-03F);
        q = fmaf(q, s, 1.16817656904453e-01F);
        q = fmaf(q, s, 9.93151921023180e-01F);
        y[i] = clamp_f32(p / q + 0.5F, 0.0F, 1.0F);
    }
}

IN_BOTH void tanh_mlas(size_t n, const float *restrict in, float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        const float x = clamp_f32(in[i], -9.0F, 9.0F), s = x * x;
        float p = fmaf(s, -2.76076847742355e-16F, 2.00018790482477e-13F);
        p = fmaf(p, s, -8.60467152213735e-11F);
        p = fmaf(p, s, 5.12229709037114e-08F);
        p = fmaf(p, s, 1.48572235717979e-05F);
        p = fmaf(p, s, 6.37261928875436e-04F);
        p = fmaf(p, s, 4.89352455891786e-03F) * x;
        float q = fmaf(s, 1.19825839466702e-06F, 1.18534705686654e-04F);
        q = fmaf(q, s, 2.26843463243900e-03F);
        q = fmaf(q, s, 4.89352518554385e-03F);
        y[i] = p / q;
    }
}

union f32_bits {
    float real;
    uint32_t bits;
};

/* As exact as that of the C library: within one unit of the last place. Small ones are a polynomial
 * in x^2 times x, large ones 1 - e^q(x), with e^q = 2^m e^r for whole m and |r| <= ln(2) / 2. The
 * choice between them is made of bits: compilers then compute both for many elements at a time. */
IN_BOTH void erf_mlas(size_t n, const float *restrict in, float *restrict y)
{
    const float shift = 12582912.0F; /* 1.5 * 2^23: what it is added to becomes whole */
    for (size_t i = 0; i < n; i++) {
        const float x = fabsf(in[i]), a = x > 3.925F ? 3.925F : x, s = a * a;
        float p = fmaf(-5.99104969e-4F, s, 4.99339588e-3F);
        p = fmaf(p, s, -2.67667342e-2F);
        p = fmaf(p, s, 1.12818025e-1F);
        p = fmaf(p, s, -3.76124859e-1F);
        p = fmaf(p, s, 1.28379151e-1F);
        float q = fmaf(1.72948930e-5F, a, -3.83208680e-4F);
        q = fmaf(q, a, 3.88393435e-3F);
        q = fmaf(q, a, -2.42545605e-2F);
        q = fmaf(q, a, 1.06777847e-1F);
        q = fmaf(q, a, 6.34846687e-1F);
        q = fmaf(q, a, 1.28717512e-1F);
        q = -fmaf(q, a, a);
        const union f32_bits t = {fmaf(q, 1.44269504088896341F, shift)};
        const union f32_bits scale = {.bits = (t.bits << 23) + 0x3f800000U};
        const float m = t.real - shift;
        const float r = fmaf(m, -1.42860677e-6F, fmaf(m, -6.93145752e-1F, q));
        float e = fmaf(1.38319808e-3F, r, 8.37550033e-3F);
        e = fmaf(e, r, 4.16689515e-2F);
        e = fmaf(e, r, 1.66664466e-1F);
        e = fmaf(e, r, 4.99999851e-1F);
        e = fmaf(e, r, 1.0F);
        e = fmaf(e, r, 1.0F);
        const union f32_bits size = {x}, border = {0.921875F};
        const union f32_bits near = {fmaf(p, a, a)}, far = {1.0F - e * scale.real};
        const uint32_t small = size.bits <= border.bits ? UINT32_MAX : 0;
        const union f32_bits v = {.bits = (near.bits & small) | (far.bits & ~small)};
        y[i] = copysignf(v.real, in[i]);
    }
}

FMA_CLONE static void sigmoid_fma(size_t n, const float *in, float *y)
{
    sigmoid_mlas(n, in, y);
}

FMA_CLONE static void tanh_fma(size_t n, const float *in, float *y)
{
    tanh_mlas(n, in, y);
}

FMA_CLONE static void erf_fma(size_t n, const float *in, float *y)
{
    erf_mlas(n, in, y);
}

static void sigmoid_f32(size_t n, const float *restrict in, float *restrict y,
                        const struct params *p)
{
    (void)p;
    if (have_fma()) {
        sigmoid_fma(n, in, y);
    } else {
        sigmoid_mlas(n, in, y);
    }
}

static void tanh_f32(size_t n, const float *restrict in, float *restrict y, const struct params *p)
{
    (void)p;
    if (have_fma()) {
        tanh_fma(n, in, y);
    } else {
        tanh_mlas(n, in, y);
    }
}

static void erf_f32(size_t n, const float *restrict in, float *restrict y, const struct params *p)
{
    (void)p;
    if (have_fma()) {
        erf_fma(n, in, y);
    } else {
        erf_mlas(n, in, y);
    }
}

/* x / 2 times 1 + erf, each rounded, as the runtime has it. */
static void gelu_f32(size_t n, const float *restrict in, float *restrict y, const struct params *p)
{
    float part[ELEM_BLOCK], erfs[ELEM_BLOCK];
    for (size_t at = 0, some; at < n; at += some) {
        some = MIN(n - at, (size_t)ELEM_BLOCK);
        for (size_t i = 0; i < some; i++) {
            part[i] = in[at + i] * 0.70710678118654752440F;
        }
        erf_f32(some, part, erfs, p);
        for (size_t i = 0; i < some; i++) {
            y[at + i] = 0.5F * in[at + i] * (erfs[i] + 1.0F);
        }
    }
}

/* ---- The table of formulas ------------------------------------------------------------------ */

struct unary {
    const char *name;
    bool to_bool;
    f64_fn *f64;      /* NULL: no float types */
    s64_fn *s64;      /* NULL: no integer types */
    s64_fn *u64;      /* uint64; NULL: as s64 */
    f32_fn *f32;      /* NULL: through f64 */
    bool approximate; /* f32 is the runtime's approximation: not for the reference side */
    const char *attr_a, *attr_b;
    double a, b; /* defaults of the attributes */
};

static const struct unary unaries[] = {
    {.name = "Relu", .f64 = relu_f64, .s64 = relu_s64, .f32 = relu_f32},
    {.name = "LeakyRelu", .f64 = leaky_f64, .f32 = leaky_f32, .attr_a = "alpha", .a = 0.01},
    {.name = "ThresholdedRelu", .f64 = thresholded_f64, .attr_a = "alpha", .a = 1},
    {.name = "Sigmoid", .f64 = sigmoid_f64, .f32 = sigmoid_f32, .approximate = true},
    {.name = "HardSigmoid",
     .f64 = hard_sigmoid_f64,
     .f32 = hard_sigmoid_f32,
     .attr_a = "alpha",
     .attr_b = "beta",
     .a = 0.2,
     .b = 0.5},
    {.name = "HardSwish", .f64 = hard_swish_f64, .f32 = hard_swish_f32},
    {.name = "Swish", .f64 = swish_f64, .attr_a = "alpha", .a = 1},
    {.name = "Mish", .f64 = mish_f64},
    {.name = "Elu", .f64 = elu_f64, .attr_a = "alpha", .a = 1},
    {.name = "Celu", .f64 = celu_f64, .attr_a = "alpha", .a = 1},
    {.name = "Selu",
     .f64 = selu_f64,
     .attr_a = "alpha",
     .attr_b = "gamma",
     .a = 1.67326319217681884765625,
     .b = 1.05070102214813232421875},
    {.name = "Softplus", .f64 = softplus_f64},
    {.name = "Softsign", .f64 = softsign_f64},
    {.name = "Gelu", .f64 = gelu_f64, .f32 = gelu_f32},
    {.name = "Gelu/tanh", .f64 = gelu_tanh_f64},
    {.name = "Shrink", .f64 = shrink_f64, .attr_a = "bias", .attr_b = "lambd", .b = 0.5},
    {.name = "Clip", .f64 = clip_f64, .s64 = clip_s64, .u64 = clip_u64, .f32 = clip_f32},
    {.name = "Abs", .f64 = abs_f64, .s64 = abs_s64, .u64 = keep_s64},
    {.name = "Neg", .f64 = neg_f64, .s64 = neg_s64},
    {.name = "Sign", .f64 = sign_f64, .s64 = sign_s64, .u64 = sign_u64},
    {.name = "Ceil", .f64 = ceil_f64},
    {.name = "Floor", .f64 = floor_f64},
    {.name = "Round", .f64 = round_f64},
    {.name = "Sqrt", .f64 = sqrt_f64, .f32 = sqrt_f32},
    {.name = "Reciprocal", .f64 = reciprocal_f64},
    {.name = "Exp", .f64 = exp_f64, .f32 = exp_f32},
    {.name = "Log", .f64 = log_f64},
    {.name = "Erf", .f64 = erf_f64, .f32 = erf_f32},
    {.name = "Sin", .f64 = sin_f64},
    {.name = "Cos", .f64 = cos_f64},
    {.name = "Tan", .f64 = tan_f64},
    {.name = "Asin", .f64 = asin_f64},
    {.name = "Acos", .f64 = acos_f64},
    {.name = "Atan", .f64 = atan_f64},
    {.name = "Sinh", .f64 = sinh_f64},
    {.name = "Cosh", .f64 = cosh_f64},
    {.name = "Tanh", .f64 = tanh_f64, .f32 = tanh_f32, .approximate = true},
    {.name = "Asinh", .f64 = asinh_f64},
    {.name = "Acosh", .f64 = acosh_f64},
    {.name = "Atanh", .f64 = atanh_f64},
    {.name = "IsNaN", .to_bool = true, .f64 = is_nan_f64},
    {.name = "IsInf", .to_bool = true, .f64 = is_inf_f64},
    {.name = "Not", .to_bool = true, .s64 = not_s64},
    {.name = "BitwiseNot", .s64 = bitwise_not_s64},
};

static const struct unary *unary_find(const struct node *n)
{
    const char *name = n->op;
    if (strcmp(name, "Gelu") == 0 && strcmp(attr_string(n, "approximate", "none"), "tanh") == 0) {
        name = "Gelu/tanh";
    }
    for (size_t i = 0; i < COUNT(unaries); i++) {
        if (strcmp(unaries[i].name, name) == 0) {
            return &unaries[i];
        }
    }
    return NULL;
}

static int check_type(const struct unary *f, enum dtype d, struct err *err)
{
    if (dtype_is_float(d) ? f->f64 != NULL : f->s64 != NULL && elem_is_int(d)) {
        return OK;
    }
    return err_set(err, E_UNSUPPORTED, "input is %s, expected %s", dtype_name(d),
                   f->s64 ? "numbers" : "a float type");
}

enum { CHUNK = 1 << 14 }; /* elements that a thread takes at a time */

struct f32_job {
    const struct unary *f;
    const struct params *p;
    const struct tensor *x;
    struct tensor *y;
};

static void f32_chunk(void *ctx, size_t i)
{
    const struct f32_job *j = ctx;
    const size_t at = i * CHUNK;
    j->f->f32(MIN(j->x->n - at, (size_t)CHUNK), (const float *)j->x->data + at,
              (float *)j->y->data + at, j->p);
}

/* y = f(x) over a whole tensor, in the order of its elements. */
static void unary_run(const struct op_call *c, const struct unary *f, const struct params *p,
                      const struct tensor *x, struct tensor *y)
{
    const bool fast = c->kernels == KERNELS_FAST && !(f->approximate && c->reference);
    if (fast && f->f32 && x->dtype == DT_F32) {
        struct f32_job j = {f, p, x, y};
        par_for(c->par, (x->n + CHUNK - 1) / CHUNK, f32_chunk, &j);
        return;
    }
    s64_fn *ints = x->dtype == DT_U64 && f->u64 ? f->u64 : f->s64;
    for (size_t at = 0, n; at < x->n; at += n) {
        n = MIN(x->n - at, (size_t)ELEM_BLOCK);
        if (dtype_is_float(x->dtype)) {
            double block[ELEM_BLOCK];
            elem_get_f64(x, at, n, block);
            f->f64(n, block, block, p);
            elem_put_f64(y, at, n, block);
        } else {
            int64_t block[ELEM_BLOCK];
            elem_get_s64(x, at, n, block);
            ints(n, block, block, p);
            elem_put_s64(y, at, n, block);
        }
    }
}

static int unary(struct op_call *c, const struct params *given, struct err *err)
{
    const struct unary *f = unary_find(c->node);
    const struct tensor *x = c->in[0];
    struct params p = {.a = f->a, .b = f->b};
    if (f->f64 == is_inf_f64) {
        p.a = (double)attr_int(c->node, "detect_negative", 1);
        p.b = (double)attr_int(c->node, "detect_positive", 1);
    }
    if (f->attr_a) {
        p.a = (double)attr_float(c->node, f->attr_a, (float)f->a);
    }
    if (f->attr_b) {
        p.b = (double)attr_float(c->node, f->attr_b, (float)f->b);
    }
    int rc = check_type(f, x->dtype, err);
    rc = rc ? rc : op_out(c, 0, f->to_bool ? DT_BOOL : x->dtype, x->rank, x->dims, err);
    if (!rc) {
        unary_run(c, f, given ? given : &p, x, c->out[0]);
    }
    return rc;
}

static int unary_any(struct op_call *c, struct err *err)
{
    return unary(c, NULL, err);
}

/* Clip-11 on: bounds are inputs of the same type, each a scalar or omitted. */
static int clip_bound(const struct op_call *c, int i, double *real, int64_t *integer,
                      struct err *err)
{
    const struct tensor *t = i < c->n_in ? c->in[i] : NULL;
    if (!t) {
        return OK;
    }
    int rc = op_want(c, i, c->in[0]->dtype, -1, err);
    if (!rc && t->n != 1) {
        rc = err_set(err, E_SHAPE, "input %d has %zu values, expected a scalar", i, t->n);
    }
    if (!rc) {
        *real = tensor_f64(t, 0);
        elem_get_s64(t, 0, 1, integer);
    }
    return rc;
}

static int clip(struct op_call *c, struct err *err)
{
    const bool u64 = c->in[0]->dtype == DT_U64;
    struct params p = {
        .a = -HUGE_VAL, .b = HUGE_VAL, .lo = u64 ? 0 : INT64_MIN, .hi = u64 ? -1 : INT64_MAX};
    int rc = clip_bound(c, 1, &p.a, &p.lo, err);
    rc = rc ? rc : clip_bound(c, 2, &p.b, &p.hi, err);
    return rc ? rc : unary(c, &p, err);
}

/* Until opset 10 the bounds were attributes. */
static int clip_attrs(struct op_call *c, struct err *err)
{
    const struct params p = {.a = (double)attr_float(c->node, "min", -INFINITY),
                             .b = (double)attr_float(c->node, "max", INFINITY),
                             .lo = elem_trunc((double)attr_float(c->node, "min", -INFINITY)),
                             .hi = elem_trunc((double)attr_float(c->node, "max", INFINITY))};
    return unary(c, &p, err);
}

/* Rows of the table, one line each. */
#define ROW(op_name, first, spec_text)                                                             \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 1, .max_in = 1, .ref = unary_any,           \
        .spec = (spec_text), .layout = layout_any                                                  \
    }
#define ROW_FAST(op_name, first, spec_text)                                                        \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 1, .max_in = 1, .ref = unary_any,           \
        .fast = unary_any, .spec = (spec_text), .layout = layout_any                               \
    }

const struct op op_unary[] = {
    ROW_FAST("Relu", 6, "ONNX Relu-14"),
    ROW_FAST("LeakyRelu", 6, "ONNX LeakyRelu-16"),
    ROW_FAST("Sigmoid", 6, "ONNX Sigmoid-13"),
    ROW_FAST("HardSigmoid", 6, "ONNX HardSigmoid-22"),
    ROW_FAST("Tanh", 6, "ONNX Tanh-13"),
    ROW_FAST("Exp", 6, "ONNX Exp-13"),
    ROW_FAST("Sqrt", 6, "ONNX Sqrt-13"),
    ROW_FAST("Erf", 9, "ONNX Erf-13"),
    ROW("ThresholdedRelu", 10, "ONNX ThresholdedRelu-22"),
    ROW("HardSwish", 14, "ONNX HardSwish-22"),
    ROW("Swish", 24, "ONNX Swish-24"),
    ROW("Mish", 18, "ONNX Mish-22"),
    ROW("Elu", 6, "ONNX Elu-22"),
    ROW("Celu", 12, "ONNX Celu-28"),
    ROW("Selu", 6, "ONNX Selu-22"),
    ROW("Softplus", 1, "ONNX Softplus-22"),
    ROW("Softsign", 1, "ONNX Softsign-22"),
    ROW("Gelu", 20, "ONNX Gelu-20"),
    {.name = "Gelu",
     .domain = "com.microsoft",
     .since = 1,
     .min_in = 1,
     .max_in = 1,
     .ref = unary_any,
     .spec = "com.microsoft Gelu",
     .layout = layout_any},
    ROW("Shrink", 9, "ONNX Shrink-9"),
    ROW("Abs", 6, "ONNX Abs-13"),
    ROW("Neg", 6, "ONNX Neg-13"),
    ROW("Sign", 9, "ONNX Sign-13"),
    ROW("Ceil", 6, "ONNX Ceil-13"),
    ROW("Floor", 6, "ONNX Floor-13"),
    ROW("Round", 11, "ONNX Round-22"),
    ROW("Reciprocal", 6, "ONNX Reciprocal-13"),
    ROW("Log", 6, "ONNX Log-13"),
    ROW("Sin", 7, "ONNX Sin-22"),
    ROW("Cos", 7, "ONNX Cos-22"),
    ROW("Tan", 7, "ONNX Tan-22"),
    ROW("Asin", 7, "ONNX Asin-22"),
    ROW("Acos", 7, "ONNX Acos-22"),
    ROW("Atan", 7, "ONNX Atan-22"),
    ROW("Sinh", 9, "ONNX Sinh-22"),
    ROW("Cosh", 9, "ONNX Cosh-22"),
    ROW("Asinh", 9, "ONNX Asinh-22"),
    ROW("Acosh", 9, "ONNX Acosh-22"),
    ROW("Atanh", 9, "ONNX Atanh-22"),
    ROW("IsNaN", 9, "ONNX IsNaN-20"),
    ROW("IsInf", 10, "ONNX IsInf-20"),
    ROW("Not", 1, "ONNX Not-1"),
    ROW("BitwiseNot", 18, "ONNX BitwiseNot-18"),
    {.name = "Clip",
     .since = 6,
     .min_in = 1,
     .max_in = 1,
     .ref = clip_attrs,
     .fast = clip_attrs,
     .spec = "ONNX Clip-6",
     .layout = layout_any},
    {.name = "Clip",
     .since = 11,
     .min_in = 1,
     .max_in = 3,
     .ref = clip,
     .fast = clip,
     .spec = "ONNX Clip-13",
     .layout = layout_any},
    {0},
};
