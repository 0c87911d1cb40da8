/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_binary.c: operators of two inputs that broadcast, and BATCH_MATMUL, of TensorFlow Lite:
 * float, plain integer and quantized.
 */
#include "engine/accel.h"
#include "engine/tfl.h"

#include <inttypes.h>
#include <stdlib.h>

enum binary_op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_SQUARED, OP_MAX, OP_MIN, OP_FLOOR_DIV };

struct binary {
    enum binary_op op;
    float lo, hi; /* of floats */
    struct tfl_quant a, b, y;
    struct tfl_scale sa, sb, sy;
    int left;     /* bits that operands of a sum are shifted up */
    bool xnnpack; /* sums: ma * a + mb * b, one shift */
    int32_t ma, mb;
    int shift;
};

/* ---- Preparing ------------------------------------------------------------------------------ */

static int code_bits(const struct op_call *c)
{
    return c->in[0]->dtype == DT_S16 ? 15 : 20;
}

/* XNNPACK takes sums whose scales are not too far apart: [2^-10, 2^8). */
static bool sum_fits_xnnpack(const struct binary *p, const struct op_call *c)
{
    float ra = p->a.s / p->y.s, rb = p->b.s / p->y.s;
    return tfl_xnnpack(c) && c->in[0]->dtype != DT_S16 && ra >= 0x1p-10F && ra < 0x1p8F &&
           rb >= 0x1p-10F && rb < 0x1p8F;
}

static void prepare_sum(struct binary *p, const struct op_call *c)
{
    p->xnnpack = sum_fits_xnnpack(p, c);
    if (p->xnnpack) {
        float ra = p->a.s / p->y.s, rb = p->b.s / p->y.s;
        int exponent = ilogbf(ra > rb ? ra : rb);
        p->shift = 20 - exponent;
        p->ma = (int32_t)lrintf(ldexpf(ra, p->shift));
        p->mb = (int32_t)lrintf(ldexpf(rb, p->shift)) * (p->op == OP_SUB ? -1 : 1);
        return;
    }
    double twice = 2.0 * (double)(p->a.s > p->b.s ? p->a.s : p->b.s);
    p->left = code_bits(c);
    tfl_scale_init(&p->sa, TFL_TWICE, (double)p->a.s / twice);
    tfl_scale_init(&p->sb, TFL_TWICE, (double)p->b.s / twice);
    tfl_scale_init(&p->sy, TFL_TWICE, twice / ((double)(1 << p->left) * (double)p->y.s));
}

static void prepare_squared(struct binary *p, const struct op_call *c)
{
    double twice = 2.0 * (double)(p->a.s > p->b.s ? p->a.s : p->b.s);
    p->left = c->in[0]->dtype == DT_S16 ? 0 : 7;
    tfl_scale_init(&p->sa, TFL_TWICE, (double)p->a.s / twice);
    tfl_scale_init(&p->sb, TFL_TWICE, (double)p->b.s / twice);
    tfl_scale_init(&p->sy, TFL_TWICE,
                   twice * twice / ((double)(1 << (2 * p->left)) * (double)p->y.s));
}

static int prepare_codes(struct binary *p, const struct op_call *c, struct err *err)
{
    int rc = tfl_input(c, 0, &p->a, err);
    rc = rc ? rc : tfl_input(c, 1, &p->b, err);
    rc = rc ? rc : tfl_output(c, 0, c->in[0]->dtype, &p->y, err);
    rc = rc ? rc : tfl_activation(c, &p->y, err);
    if (rc || !p->y.codes) {
        return rc;
    }
    if (p->op == OP_ADD || p->op == OP_SUB) {
        prepare_sum(p, c);
    } else if (p->op == OP_SQUARED) {
        prepare_squared(p, c);
    } else if (p->op == OP_MUL) {
        bool xnnpack = tfl_xnnpack(c) && c->in[0]->dtype != DT_S16;
        tfl_scale_init(&p->sy, xnnpack ? TFL_FLOAT : TFL_TWICE, (double)(p->a.s * p->b.s / p->y.s));
    } else if (p->op == OP_FLOOR_DIV) {
        p->y.codes = false; /* the kernel divides codes as they are */
    } else if (p->op == OP_DIV) {
        return err_set(err, E_UNSUPPORTED, "division of codes is not supported");
    }
    return OK;
}

/* ---- One element ---------------------------------------------------------------------------- */

static int32_t sum_codes(const struct binary *p, int32_t a, int32_t b)
{
    int32_t up = 1 << p->left;
    int32_t ra = tfl_apply((int64_t)(a - p->a.z) * up, &p->sa);
    int32_t rb = tfl_apply((int64_t)(b - p->b.z) * up, &p->sb);
    if (p->op == OP_SQUARED) {
        int64_t d = (int64_t)ra - rb;
        return tfl_apply((int32_t)(uint32_t)(uint64_t)(d * d), &p->sy);
    }
    return tfl_apply(p->op == OP_SUB ? (int64_t)ra - rb : (int64_t)ra + rb, &p->sy);
}

static int32_t code_of(const struct binary *p, int32_t a, int32_t b)
{
    int64_t v;
    switch (p->op) {
    case OP_MAX:
        return MAX(a, b);
    case OP_MIN:
        return MIN(a, b);
    case OP_MUL:
        v = tfl_apply((int64_t)(a - p->a.z) * (b - p->b.z), &p->sy);
        break;
    default:
        v = p->xnnpack ? ((int64_t)(a - p->a.z) * p->ma + (int64_t)(b - p->b.z) * p->mb +
                          (INT64_C(1) << (p->shift - 1))) >>
                             p->shift
                       : sum_codes(p, a, b);
        break;
    }
    return tfl_clamp(v + p->y.z, &p->y);
}

/* Integers without parameters wrap; a quotient is rounded down. */
static int64_t integer_of(const struct binary *p, int64_t a, int64_t b)
{
    switch (p->op) {
    case OP_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case OP_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case OP_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case OP_SQUARED:
        return (int64_t)(((uint64_t)a - (uint64_t)b) * ((uint64_t)a - (uint64_t)b));
    case OP_MAX:
        return MAX(a, b);
    case OP_MIN:
        return MIN(a, b);
    default:
        if (b == 0 || (b == -1 && p->op == OP_DIV)) {
            return b ? (int64_t)(0 - (uint64_t)a) : 0;
        }
        if (b == -1) {
            return (int64_t)(0 - (uint64_t)a);
        }
        return a / b - (p->op == OP_FLOOR_DIV && a % b && (a % b < 0) != (b < 0));
    }
}

static float float_of(const struct binary *p, float a, float b)
{
    float v;
    switch (p->op) {
    case OP_ADD:
        v = a + b;
        break;
    case OP_SUB:
        v = a - b;
        break;
    case OP_MUL:
        v = a * b;
        break;
    case OP_DIV:
        v = a / b;
        break;
    case OP_FLOOR_DIV:
        v = floorf(a / b);
        break;
    case OP_SQUARED:
        v = (a - b) * (a - b);
        break;
    case OP_MAX:
        v = a > b ? a : b;
        break;
    default:
        v = a < b ? a : b;
        break;
    }
    return v < p->lo ? p->lo : v > p->hi ? p->hi : v;
}

/* ---- Loops ---------------------------------------------------------------------------------- */

static void run_floats(const struct binary *p, struct walk *w, const float *a, const float *b,
                       float *y)
{
    int in = w->rank - 1;
    do {
        for (int64_t i = 0; i < w->dims[in]; i++) {
            y[w->at[0] + i * w->stride[0][in]] =
                float_of(p, a[w->at[1] + i * w->stride[1][in]], b[w->at[2] + i * w->stride[2][in]]);
        }
    } while (walk_next(w));
}

static void run_codes(const struct binary *p, struct walk *w, const int32_t *a, const int32_t *b,
                      int32_t *y)
{
    int in = w->rank - 1;
    do {
        for (int64_t i = 0; i < w->dims[in]; i++) {
            y[w->at[0] + i * w->stride[0][in]] =
                code_of(p, a[w->at[1] + i * w->stride[1][in]], b[w->at[2] + i * w->stride[2][in]]);
        }
    } while (walk_next(w));
}

static void run_integers(const struct binary *p, struct walk *w, const int64_t *a, const int64_t *b,
                         int64_t *y)
{
    int in = w->rank - 1;
    do {
        for (int64_t i = 0; i < w->dims[in]; i++) {
            y[w->at[0] + i * w->stride[0][in]] = integer_of(p, a[w->at[1] + i * w->stride[1][in]],
                                                            b[w->at[2] + i * w->stride[2][in]]);
        }
    } while (walk_next(w));
}

/* Operands as floats, codes in int32, or integers in int64; what run_*() made goes to out. */
static int run_as(const struct binary *p, struct op_call *c, struct walk *w, struct err *err)
{
    struct tensor *t[3] = {NULL, NULL, NULL}, *out = c->out[0];
    bool floats = out->dtype == DT_F32;
    int rc = OK;
    for (int i = 0; i < 2 && !rc; i++) {
        rc = floats       ? tensor_to_f32(c->in[i], c->budget, &t[i], err)
             : p->y.codes ? tfl_codes(c, i, &t[i], err)
                          : elem_to_s64(c->in[i], c->budget, &t[i], err);
    }
    if (!rc && !floats) {
        rc = tensor_new(p->y.codes ? DT_S32 : DT_S64, out->rank, out->dims, c->budget, &t[2], err);
    }
    if (!rc && walk_start(w)) {
        if (floats) {
            run_floats(p, w, t[0]->data, t[1]->data, out->data);
        } else if (p->y.codes) {
            run_codes(p, w, t[0]->data, t[1]->data, t[2]->data);
        } else {
            run_integers(p, w, t[0]->data, t[1]->data, t[2]->data);
        }
    }
    if (!rc && !floats && p->y.codes) {
        codes_put(out, 0, out->n, t[2]->data);
    } else if (!rc && !floats) {
        elem_put_s64(out, 0, out->n, t[2]->data);
    }
    for (int i = 0; i < 3; i++) {
        tensor_free(t[i]);
    }
    return rc;
}

static int run_binary(struct op_call *c, enum binary_op op, struct err *err)
{
    struct binary p = {.op = op};
    struct walk w = {0};
    int rank;
    int64_t dims[MAX_RANK];
    if (c->in[0]->dtype != c->in[1]->dtype) {
        return err_set(err, E_SHAPE, "inputs are %s and %s", dtype_name(c->in[0]->dtype),
                       dtype_name(c->in[1]->dtype));
    }
    bool floats = c->in[0]->dtype == DT_F32;
    int rc = floats ? tfl_activation_float(c, &p.lo, &p.hi, err) : prepare_codes(&p, c, err);
    if (!rc && !floats && !elem_is_int(c->in[0]->dtype)) {
        rc = err_set(err, E_UNSUPPORTED, "inputs are %s", dtype_name(c->in[0]->dtype));
    }
    rc = rc ? rc : walk_broadcast(&w, 2, c->in, &rank, dims, err);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, rank, dims, err);
    return rc ? rc : run_as(&p, c, &w, err);
}

static int run_add(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_ADD, err);
}

static int run_sub(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_SUB, err);
}

static int run_mul(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_MUL, err);
}

static int run_div(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_DIV, err);
}

static int run_squared_difference(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_SQUARED, err);
}

static int run_maximum(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_MAX, err);
}

static int run_minimum(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_MIN, err);
}

static int run_floor_div(struct op_call *c, struct err *err)
{
    return run_binary(c, OP_FLOOR_DIV, err);
}

/* ---- BATCH_MATMUL --------------------------------------------------------------------------- */

struct matmul {
    bool ta, tb;
    int64_t m, n, k;
    struct tfl_quant a, b, y;
    struct tfl_scale s;
};

static int matmul_shape(struct matmul *p, const struct op_call *c, int64_t *dims, int *rank,
                        struct walk *w, struct err *err)
{
    const struct tensor *a = c->in[0], *b = c->in[1];
    p->ta = attr_int(c->node, "adj_x", 0);
    p->tb = attr_int(c->node, "adj_y", 0);
    if (a->rank < 2 || b->rank < 2) {
        return err_set(err, E_SHAPE, "inputs of rank %d and %d, expected at least 2", a->rank,
                       b->rank);
    }
    const int64_t *da = a->dims + a->rank - 2, *db = b->dims + b->rank - 2;
    p->m = da[p->ta];
    p->k = da[!p->ta];
    p->n = db[!p->tb];
    if (db[p->tb] != p->k) {
        return err_set(err, E_SHAPE, "rows of %" PRId64 " and columns of %" PRId64, p->k,
                       db[p->tb]);
    }
    /* The leading dimensions broadcast; offsets count matrices. */
    struct tensor la = op_alias(a), lb = op_alias(b);
    la.rank -= 2;
    lb.rank -= 2;
    const struct tensor *lead[] = {&la, &lb};
    int rc = walk_broadcast(w, 2, lead, rank, dims, err);
    if (!rc && *rank + 2 > MAX_RANK) {
        rc = err_set(err, E_UNSUPPORTED, "rank %d", *rank + 2);
    }
    if (!rc) {
        dims[(*rank)++] = p->m;
        dims[(*rank)++] = p->n;
    }
    return rc;
}

static void matmul_float(const struct matmul *p, const float *a, const float *b, float *y)
{
    const struct accel_gemm g = {.ta = p->ta,
                                 .tb = p->tb,
                                 .m = p->m,
                                 .n = p->n,
                                 .k = p->k,
                                 .a = a,
                                 .b = b,
                                 .c = y,
                                 .lda = p->ta ? p->m : p->k,
                                 .ldb = p->tb ? p->k : p->n,
                                 .ldc = p->n,
                                 .alpha = 1.0F};
    if (p->m && p->n && p->k && accel_gemm_run(&g)) {
        return;
    }
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            float sum = 0.0F;
            for (int64_t t = 0; t < p->k; t++) {
                sum +=
                    a[p->ta ? t * p->m + i : i * p->k + t] * b[p->tb ? j * p->k + t : t * p->n + j];
            }
            y[i * p->n + j] = sum;
        }
    }
}

static void matmul_codes(const struct matmul *p, const int32_t *a, const int32_t *b, int32_t *y)
{
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            int64_t sum = 0;
            for (int64_t t = 0; t < p->k; t++) {
                int64_t x = a[p->ta ? t * p->m + i : i * p->k + t] - p->a.z;
                sum += x * (b[p->tb ? j * p->k + t : t * p->n + j] - p->b.z);
            }
            y[i * p->n + j] = tfl_clamp((int64_t)tfl_apply(sum, &p->s) + p->y.z, &p->y);
        }
    }
}

static int matmul_prepare(struct matmul *p, const struct op_call *c, struct err *err)
{
    bool wide = c->in[0]->dtype == DT_S16;
    int rc = tfl_input(c, 0, &p->a, err);
    rc = rc ? rc : tfl_input(c, 1, &p->b, err);
    rc = rc ? rc : tfl_output(c, 0, c->in[0]->dtype, &p->y, err);
    if (!rc && (!p->a.codes || !p->b.codes || !p->y.codes)) {
        rc = err_set(err, E_UNSUPPORTED, "%s times %s is not supported",
                     dtype_name(c->in[0]->dtype), dtype_name(c->in[1]->dtype));
    }
    if (!rc) {
        /* XNNPACK takes right sides without zero point, the built-in kernel the others. */
        bool xnnpack = tfl_xnnpack(c) && p->b.z == 0;
        tfl_scale_init(&p->s,
                       wide      ? TFL_WIDE
                       : xnnpack ? TFL_FLOAT
                                 : TFL_TWICE,
                       (double)(p->a.s * p->b.s) / (double)p->y.s);
    }
    return rc;
}

static int run_batch_matmul(struct op_call *c, struct err *err)
{
    struct matmul p = {0};
    struct walk w = {0};
    struct tensor *t[3] = {NULL, NULL, NULL};
    int64_t dims[MAX_RANK];
    int rank = 0;
    bool floats = c->in[0]->dtype == DT_F32 && c->in[1]->dtype == DT_F32;
    int rc = matmul_shape(&p, c, dims, &rank, &w, err);
    rc = rc || floats ? rc : matmul_prepare(&p, c, err);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, rank, dims, err);
    for (int i = 0; i < 2 && !rc && !floats; i++) {
        rc = tfl_codes(c, i, &t[i], err);
    }
    rc = rc || floats ? rc : tensor_new(DT_S32, rank, dims, c->budget, &t[2], err);
    if (!rc && walk_start(&w)) {
        int in = w.rank - 1;
        do {
            for (int64_t i = 0; i < w.dims[in]; i++) {
                int64_t y = (w.at[0] + i * w.stride[0][in]) * p.m * p.n;
                int64_t a = (w.at[1] + i * w.stride[1][in]) * p.m * p.k;
                int64_t b = (w.at[2] + i * w.stride[2][in]) * p.k * p.n;
                if (floats) {
                    matmul_float(&p, (const float *)c->in[0]->data + a,
                                 (const float *)c->in[1]->data + b, (float *)c->out[0]->data + y);
                } else {
                    matmul_codes(&p, (const int32_t *)t[0]->data + a,
                                 (const int32_t *)t[1]->data + b, (int32_t *)t[2]->data + y);
                }
            }
        } while (walk_next(&w));
        if (!floats) {
            codes_put(c->out[0], 0, c->out[0]->n, t[2]->data);
        }
    }
    for (int i = 0; i < 3; i++) {
        tensor_free(t[i]);
    }
    return rc;
}

#define ROW(title, fn, source)                                                                     \
    {                                                                                              \
        .name = title, .domain = "tflite", .since = 1, .min_in = 2, .max_in = 2, .ref = fn,        \
        .spec = source                                                                             \
    }

const struct op op_tfl_binary[] = {
    ROW("ADD", run_add, "LiteRT add.cc, XNNPACK qs8-vadd"),
    ROW("SUB", run_sub, "LiteRT sub.cc, XNNPACK qs8-vadd"),
    ROW("MUL", run_mul, "LiteRT mul.cc, XNNPACK qs8-vmul"),
    ROW("DIV", run_div, "LiteRT div.cc"),
    ROW("SQUARED_DIFFERENCE", run_squared_difference, "LiteRT squared_difference.cc"),
    ROW("MAXIMUM", run_maximum, "LiteRT maximum_minimum.cc"),
    ROW("MINIMUM", run_minimum, "LiteRT maximum_minimum.cc"),
    ROW("FLOOR_DIV", run_floor_div, "LiteRT floor_div.cc"),
    ROW("BATCH_MATMUL", run_batch_matmul, "LiteRT batch_matmul.cc"),
    {0},
};
