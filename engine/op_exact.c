/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_exact.c: QLinearConv, QLinearMatMul and QGemm as their descriptions say, without the float
 * roundings of any runtime: y = saturate(rne(sum * sx * sw / sy) + zy), where the real number that
 * is rounded is exact. The sums come from the ordinary kernels.
 */
#include "engine/fuse.h"
#include "engine/op_quant.h"

#include <math.h>

/* Where the operator keeps what follows its sums. */
struct exact {
    const char *op, *domain; /* whose sums */
    int scale, w_scale, y_scale;
};

static const struct exact exact_conv = {"QLinearConv", "", 1, 4, 6};
static const struct exact exact_matmul = {"QLinearMatMul", "", 1, 4, 6};
static const struct exact exact_gemm = {"QGemm", "com.microsoft", 1, 4, 7};

/* rne(sum * m / s), cut to [lo, hi]. m has 48 bits: sum * m is p + low exactly, and so is the rest
 * p - q * s of a quotient q near the true one. */
static int32_t round_quotient(int32_t sum, double m, double s, int32_t lo, int32_t hi)
{
    const double p = (double)sum * m, low = fma((double)sum, m, -p);
    double q = rint(p / s);
    if (!(q > lo - 1)) {
        return lo;
    }
    if (q > hi + 1) {
        return hi;
    }
    const double rest = fma(-q, s, p), half = s / 2;
    const bool odd = fmod(q, 2) != 0;
    if (rest > half || (rest == half && (low > 0 || (low == 0 && odd)))) {
        q += 1;
    } else if (rest < -half || (rest == -half && (low < 0 || (low == 0 && odd)))) {
        q -= 1;
    }
    return MIN(MAX((int32_t)q, lo), hi);
}

/* Codes, or reals when there is no scale of the result. */
static int finish(struct op_call *c, const struct exact *e, const struct tensor *acc,
                  struct err *err)
{
    struct q1 y = {.dtype = DT_F32};
    const struct tensor *sw = c->in[e->w_scale];
    bool codes = e->y_scale < c->n_in && c->in[e->y_scale];
    int rc = codes ? q1_read(c, e->y_scale, e->y_scale + 1, c->in[0]->dtype, &y, err) : OK;
    rc = rc ? rc : op_out(c, 0, y.dtype, acc->rank, acc->dims, err);
    /* Channels of a convolution are planes, those of a product columns. */
    size_t plane = 1;
    for (int i = 2; i < acc->rank && e == &exact_conv; i++) {
        plane *= (size_t)acc->dims[i];
    }
    const double alpha = (double)attr_float(c->node, "alpha", 1.0F);
    const double sx = rc ? 0 : alpha * tensor_f64(c->in[e->scale], 0);
    for (size_t i = 0; !rc && i < acc->n; i++) {
        int32_t sum = ((const int32_t *)acc->data)[i];
        double m = sx * tensor_f64(sw, i / plane % sw->n);
        if (codes) {
            int32_t q = round_quotient(sum, m, (double)y.s, y.qmin - y.z, y.qmax - y.z);
            ((uint8_t *)c->out[0]->data)[i] = (uint8_t)(q + y.z);
        } else {
            ((float *)c->out[0]->data)[i] = (float)((double)sum * m);
        }
    }
    return rc;
}

static int run(struct op_call *c, const struct exact *e, bool fast, struct err *err)
{
    const struct op *o = op_find(e->domain, e->op, INT16_MAX);
    struct tensor *acc = NULL, **out = c->out;
    struct op_call sums = *c;
    sums.out = &acc;
    sums.n_out = 1;
    sums.sums = true;
    int rc = fast ? o->fast(&sums, err) : o->ref(&sums, err);
    c->out = out;
    rc = rc ? rc : finish(c, e, acc, err);
    tensor_free(acc);
    return rc;
}

static int prepare(const struct op_prep *p, const struct exact *e, void **state, struct err *err)
{
    return op_find(e->domain, e->op, INT16_MAX)->prepare(p, state, err);
}

#define OPERATOR(name, e)                                                                          \
    static int name(struct op_call *c, struct err *err)                                            \
    {                                                                                              \
        return run(c, &(e), false, err);                                                           \
    }                                                                                              \
    static int name##_fast(struct op_call *c, struct err *err)                                     \
    {                                                                                              \
        return run(c, &(e), true, err);                                                            \
    }                                                                                              \
    static int name##_prepare(const struct op_prep *p, void **state, struct err *err)              \
    {                                                                                              \
        return prepare(p, &(e), state, err);                                                       \
    }                                                                                              \
    static void name##_release(void *state)                                                        \
    {                                                                                              \
        op_find((e).domain, (e).op, INT16_MAX)->release(state);                                    \
    }

OPERATOR(op_exact_conv, exact_conv)
OPERATOR(op_exact_matmul, exact_matmul)
OPERATOR(op_exact_gemm, exact_gemm)

// clang-format off
const struct op op_exact[] = {
    {.name = "QLinearConv", .domain = fuse_exact_domain, .since = 1, .min_in = 8, .max_in = 9, .ref = op_exact_conv, .fast = op_exact_conv_fast, .prepare = op_exact_conv_prepare, .release = op_exact_conv_release, .spec = "ONNX QLinearConv-10, exact"},
    {.name = "QLinearMatMul", .domain = fuse_exact_domain, .since = 1, .min_in = 8, .max_in = 8, .ref = op_exact_matmul, .fast = op_exact_matmul_fast, .prepare = op_exact_matmul_prepare, .release = op_exact_matmul_release, .spec = "ONNX QLinearMatMul-10, exact"},
    {.name = "QGemm", .domain = fuse_exact_domain, .since = 1, .min_in = 6, .max_in = 9, .ref = op_exact_gemm, .fast = op_exact_gemm_fast, .prepare = op_exact_gemm_prepare, .release = op_exact_gemm_release, .spec = "ORT QGemm-1, exact"},
    {0},
};
// clang-format on
