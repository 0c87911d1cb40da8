/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tensorrt.c: the weighted INT8 kernels that fuse_tensorrt.c makes: int32 sums of codes, then a
 * float epilogue of scale, bias, residual, Relu and quantizer, one rounding each. TensorRT
 * documents these steps but not their last bits, and nothing here was compared with it.
 */
#include "engine/fuse.h"
#include "engine/op_quant.h"

/* Inputs: (x, sx, zx, w, sw, zw, sy?, zy?, bias?, residual?). */
enum { IN_SX = 1, IN_W = 3, IN_SW = 4, IN_SY = 6, IN_ZY = 7, IN_BIAS = 8, IN_RESIDUAL = 9, N_IN };

/* Whose sums are taken. Gemm has its own slot for the scale of the result. */
struct weighted {
    const char *op, *domain;
    int n_in; /* as it wants them */
    bool is_conv;
};

static const struct weighted weighted_conv = {"QLinearConv", "", 8, true};
static const struct weighted weighted_matmul = {"QLinearMatMul", "", 8, false};
static const struct weighted weighted_gemm = {"QGemm", "com.microsoft", 6, false};

/* The ordinary kernel wants a scale of the result even for sums; it takes no part in them. */
static int sums_of(const struct op_call *c, const struct weighted *w, bool fast,
                   struct tensor **acc, struct err *err)
{
    const struct op *o = op_find(w->domain, w->op, INT16_MAX);
    const struct tensor *in[8];
    memcpy(in, c->in, sizeof in);
    in[IN_SY] = c->in[IN_SX];
    in[IN_ZY] = NULL;
    struct op_call sums = *c;
    sums.in = in;
    sums.n_in = w->n_in;
    sums.out = acc;
    sums.sums = true;
    return fast ? o->fast(&sums, err) : o->ref(&sums, err);
}

struct epilogue {
    const struct tensor *acc, *sw, *bias, *residual;
    float sx;
    size_t plane; /* elements between channels */
    bool relu;
};

/* v = relu(sum * (sx * sw) + bias + residual) */
static float finish_real(const struct epilogue *e, size_t i)
{
    float v = (float)((const int32_t *)e->acc->data)[i];
    v *= e->sx * scale_at(e->sw, i / e->plane % e->sw->n);
    if (e->bias) {
        v += ((const float *)e->bias->data)[i / e->plane % e->bias->n];
    }
    if (e->residual) {
        v += ((const float *)e->residual->data)[i];
    }
    return e->relu && !(v > 0) ? 0 : v;
}

static int check_epilogue(const struct epilogue *e, size_t channels, struct err *err)
{
    if (e->bias && (e->bias->dtype != DT_F32 || (e->bias->n != 1 && e->bias->n != channels))) {
        return err_set(err, E_SHAPE, "bias has %zu values of %s, expected %zu float32", e->bias->n,
                       dtype_name(e->bias->dtype), channels);
    }
    if (e->residual && (e->residual->dtype != DT_F32 || e->residual->n != e->acc->n)) {
        return err_set(err, E_UNSUPPORTED, "a residual of %zu values beside %zu sums",
                       e->residual->n, e->acc->n);
    }
    return OK;
}

static int finish(struct op_call *c, const struct weighted *w, const struct tensor *acc,
                  struct err *err)
{
    struct q1 y = {.dtype = DT_F32};
    bool codes = c->in[IN_SY] != NULL;
    struct epilogue e = {
        .acc = acc,
        .sw = c->in[IN_SW],
        .bias = c->in[IN_BIAS],
        .residual = c->in[IN_RESIDUAL],
        .sx = scale_at(c->in[IN_SX], 0),
        .plane = 1,
        .relu = attr_int(c->node, "relu", 0) != 0,
    };
    for (int i = 2; i < acc->rank && w->is_conv; i++) {
        e.plane *= (size_t)acc->dims[i];
    }
    int axis = w->is_conv ? 1 : acc->rank - 1;
    int rc = check_epilogue(&e, axis >= 0 ? (size_t)acc->dims[axis] : 1, err);
    rc = rc || !codes ? rc : q1_read(c, IN_SY, IN_ZY, DT_S8, &y, err);
    rc = rc ? rc : op_out(c, 0, y.dtype, acc->rank, acc->dims, err);
    for (size_t i = 0; !rc && i < acc->n; i++) {
        float v = finish_real(&e, i);
        if (codes) {
            v = rne_small(clamp_x86(v / y.s, (float)y.qmin, (float)y.qmax));
            ((int8_t *)c->out[0]->data)[i] = (int8_t)v;
        } else {
            ((float *)c->out[0]->data)[i] = v;
        }
    }
    return rc;
}

static int run(struct op_call *c, const struct weighted *w, bool fast, struct err *err)
{
    struct tensor *acc = NULL;
    if (!c->in[IN_SW] || c->in[IN_SW]->dtype != DT_F32 || !c->in[IN_SX]) {
        return err_set(err, E_SHAPE, "scales should be float32");
    }
    int rc = sums_of(c, w, fast, &acc, err);
    rc = rc ? rc : finish(c, w, acc, err);
    tensor_free(acc);
    return rc;
}

#define OPERATOR(name, w)                                                                          \
    static int name(struct op_call *c, struct err *err)                                            \
    {                                                                                              \
        return run(c, &(w), false, err);                                                           \
    }                                                                                              \
    static int name##_fast(struct op_call *c, struct err *err)                                     \
    {                                                                                              \
        return run(c, &(w), true, err);                                                            \
    }                                                                                              \
    static int name##_prepare(const struct op_prep *p, void **state, struct err *err)              \
    {                                                                                              \
        return op_find((w).domain, (w).op, INT16_MAX)->prepare(p, state, err);                     \
    }                                                                                              \
    static void name##_release(void *state)                                                        \
    {                                                                                              \
        op_find((w).domain, (w).op, INT16_MAX)->release(state);                                    \
    }

OPERATOR(op_tensorrt_conv, weighted_conv)
OPERATOR(op_tensorrt_matmul, weighted_matmul)
OPERATOR(op_tensorrt_gemm, weighted_gemm)

// clang-format off
const struct op op_tensorrt[] = {
    {.name = "Conv", .domain = fuse_tensorrt_domain, .since = 1, .min_in = N_IN, .max_in = N_IN, .ref = op_tensorrt_conv, .fast = op_tensorrt_conv_fast, .prepare = op_tensorrt_conv_prepare, .release = op_tensorrt_conv_release, .spec = "TensorRT explicit quantization"},
    {.name = "MatMul", .domain = fuse_tensorrt_domain, .since = 1, .min_in = N_IN, .max_in = N_IN, .ref = op_tensorrt_matmul, .fast = op_tensorrt_matmul_fast, .prepare = op_tensorrt_matmul_prepare, .release = op_tensorrt_matmul_release, .spec = "TensorRT explicit quantization"},
    {.name = "Gemm", .domain = fuse_tensorrt_domain, .since = 1, .min_in = N_IN, .max_in = N_IN, .ref = op_tensorrt_gemm, .fast = op_tensorrt_gemm_fast, .prepare = op_tensorrt_gemm_prepare, .release = op_tensorrt_gemm_release, .spec = "TensorRT explicit quantization"},
    {0},
};
// clang-format on
