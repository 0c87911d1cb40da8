/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_matmul.c: MatMul and Gemm on float types, MatMul also on 32 and 64-bit integers. Integer
 * products of quantized codes (MatMulInteger, QLinearMatMul) live in op_qlinear.c.
 */
#include "engine/accel.h"
#include "engine/matmul.h"

#include <stdlib.h>

/* y += a * b on row-major blocks, row by row so that the inner loop is contiguous in y. */
#define PRODUCT(type, p, y, a, b)                                                                  \
    for (int64_t i = 0; i < (p)->m; i++) {                                                         \
        for (int64_t q = 0; q < (p)->k; q++) {                                                     \
            const type f = (a)[(p)->ta ? q * (p)->m + i : i * (p)->k + q];                         \
            for (int64_t j = 0; j < (p)->n; j++) {                                                 \
                (y)[i * (p)->n + j] += f * (b)[(p)->tb ? j * (p)->k + q : q * (p)->n + j];         \
            }                                                                                      \
        }                                                                                          \
    }

/* The product in double, or modulo 2^64 for integers (each operand wraps to its own type in the
 * end), added to the f64 or s64 tensor acc. */
static int product_plain(struct op_call *c, const struct product *p, struct tensor *acc,
                         struct err *err)
{
    struct tensor *a = NULL, *b = NULL;
    const bool real = acc->dtype == DT_F64;
    int rc = (real ? elem_to_f64 : elem_to_s64)(c->in[0], c->budget, &a, err);
    rc = rc ? rc : (real ? elem_to_f64 : elem_to_s64)(c->in[1], c->budget, &b, err);
    struct walk w = p->batch;
    if (!rc && acc->n > 0 && walk_start(&w)) {
        do {
            for (int64_t e = 0; e < w.dims[w.rank - 1]; e++) {
                const int64_t at = w.at[0] + e * w.stride[0][w.rank - 1];
                const int64_t from_a = w.at[1] + e * w.stride[1][w.rank - 1];
                const int64_t from_b = w.at[2] + e * w.stride[2][w.rank - 1];
                if (real) {
                    PRODUCT(double, p, (double *)acc->data + at, (const double *)a->data + from_a,
                            (const double *)b->data + from_b)
                } else {
                    PRODUCT(uint64_t, p, (uint64_t *)acc->data + at,
                            (const uint64_t *)a->data + from_a, (const uint64_t *)b->data + from_b)
                }
            }
        } while (walk_next(&w));
    }
    tensor_free(a);
    tensor_free(b);
    return rc;
}

/* Float32 on oneDNN: y = alpha * a * b + beta * y; false when not available. */
static bool product_fast(const struct op_call *c, const struct product *p, float alpha, float beta,
                         float *y)
{
    struct walk w = p->batch;
    if (!walk_start(&w)) {
        return true;
    }
    do {
        for (int64_t e = 0; e < w.dims[w.rank - 1]; e++) {
            const struct accel_gemm g = {
                .ta = p->ta,
                .tb = p->tb,
                .m = p->m,
                .n = p->n,
                .k = p->k,
                .a = (const float *)c->in[0]->data + w.at[1] + e * w.stride[1][w.rank - 1],
                .b = (const float *)c->in[1]->data + w.at[2] + e * w.stride[2][w.rank - 1],
                .c = y + w.at[0] + e * w.stride[0][w.rank - 1],
                .lda = p->ta ? p->m : p->k,
                .ldb = p->tb ? p->k : p->n,
                .ldc = p->n,
                .alpha = alpha,
                .beta = beta,
            };
            if (!accel_gemm_run(&g)) {
                return false;
            }
        }
    } while (walk_next(&w));
    return true;
}

/* The same for B at any address. */
static bool product_any(const struct op_call *c, const struct product *p, float alpha, float beta,
                        float *y)
{
    struct tensor *b = tensor_aligned(c->in[1]);
    const struct tensor *in[] = {c->in[0], b};
    struct op_call aligned = *c;
    aligned.in = in;
    const bool done = b && product_fast(&aligned, p, alpha, beta, y);
    tensor_free(b);
    return done;
}

/* ---- A constant matrix B, packed once ------------------------------------------------------- */

void matmul_pack_free(void *state)
{
    struct f32_panels *p = state;
    if (p) {
        f32_panels_fini(p);
        free(p);
    }
}

int matmul_pack(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *b = p->n_in > 1 ? p->constants[1] : NULL;
    if (!b || b->dtype != DT_F32 || b->rank != 2 || b->n == 0) {
        return OK;
    }
    const bool tb = attr_int(p->node, "transB", 0) != 0;
    const struct f32_weights w = {
        .w = b->data,
        .n = (size_t)b->dims[!tb],
        .segments = 1,
        .len = (size_t)b->dims[tb],
        .column = tb ? (size_t)b->dims[1] : 1,
        .factor = tb ? 1 : (size_t)b->dims[1],
    };
    struct f32_panels *panels = mem_alloc(sizeof *panels);
    int rc = f32_panels_init(panels, &w, err);
    if (rc) {
        matmul_pack_free(panels);
        return rc;
    }
    *state = panels;
    return OK;
}

/* y = A B + bias, A being rows of k factors. */
static void product_packed(const struct op_call *c, const float *bias, float *y)
{
    const struct f32_panels *w = c->state;
    const struct f32_dest to = {.raw = y};
    f32_product_matrix(w, c->in[0]->data, c->in[0]->n / w->k, 0, bias, to, c->par);
}

static int check_inner(int64_t ka, int64_t kb, struct err *err)
{
    if (ka != kb) {
        return err_set(err, E_SHAPE, "inner dimensions are %lld and %lld, expected equal ones",
                       (long long)ka, (long long)kb);
    }
    return OK;
}

/* ---- MatMul --------------------------------------------------------------------------------- */

/* A 1-D operand's dimension disappears again from the result. */
int matmul_read(const struct op_call *c, struct product *p, struct err *err)
{
    const struct tensor *a = c->in[0], *b = c->in[1];
    int rc = op_want(c, 1, a->dtype, -1, err);
    if (rc) {
        return rc;
    }
    if (a->rank < 1 || b->rank < 1) {
        return err_set(err, E_SHAPE, "inputs have ranks %d and %d, expected at least 1", a->rank,
                       b->rank);
    }
    *p = (struct product){.m = a->rank > 1 ? a->dims[a->rank - 2] : 1,
                          .k = a->dims[a->rank - 1],
                          .n = b->rank > 1 ? b->dims[b->rank - 1] : 1};
    rc = check_inner(p->k, b->dims[b->rank > 1 ? b->rank - 2 : 0], err);
    if (rc) {
        return rc;
    }
    /* Batch dimensions broadcast as two tensors without their matrix dimensions would. */
    struct tensor heads[2] = {{.rank = MAX(a->rank - 2, 0)}, {.rank = MAX(b->rank - 2, 0)}};
    memcpy(heads[0].dims, a->dims, (size_t)heads[0].rank * sizeof *a->dims);
    memcpy(heads[1].dims, b->dims, (size_t)heads[1].rank * sizeof *b->dims);
    const struct tensor *both[] = {&heads[0], &heads[1]};
    rc = walk_broadcast(&p->batch, 2, both, &p->rank, p->dims, err);
    if (rc) {
        return rc;
    }
    if (p->rank + (a->rank > 1) + (b->rank > 1) > MAX_RANK) {
        return err_set(err, E_SHAPE, "output would have more than %d dimensions", MAX_RANK);
    }
    if (a->rank > 1) {
        p->dims[p->rank++] = p->m;
    }
    if (b->rank > 1) {
        p->dims[p->rank++] = p->n;
    }
    return OK;
}

void matmul_scale(const struct op_call *c, struct product *p)
{
    for (int d = 0; d < p->batch.rank; d++) {
        p->batch.stride[0][d] *= p->m * p->n;
        p->batch.stride[1][d] *= p->m * p->k;
        p->batch.stride[2][d] *= p->k * p->n;
    }
    if (c->in[1]->rank <= 2 && c->in[0]->rank > 2) {
        for (int d = 0; d < p->batch.rank; d++) {
            p->m *= p->batch.dims[d];
        }
        p->batch.rank = 0;
    }
}

static int matmul_ref(struct op_call *c, struct err *err)
{
    struct product p;
    struct tensor *acc = NULL;
    const enum dtype d = c->in[0]->dtype;
    const bool real = dtype_is_float(d);
    if (!real && dtype_size(d) < 4) {
        return err_set(err, E_UNSUPPORTED,
                       "inputs are %s, expected floats or 32 or 64-bit integers", dtype_name(d));
    }
    int rc = matmul_read(c, &p, err);
    rc = rc ? rc : op_out(c, 0, d, p.rank, p.dims, err);
    rc = rc ? rc : tensor_new(real ? DT_F64 : DT_S64, p.rank, p.dims, c->budget, &acc, err);
    if (!rc && acc->n > 0) {
        matmul_scale(c, &p);
        memset(acc->data, 0, acc->size); /* all bits 0 is 0 in both types */
        rc = product_plain(c, &p, acc, err);
    }
    if (!rc && real) {
        elem_put_f64(c->out[0], 0, acc->n, acc->data);
    } else if (!rc) {
        elem_put_s64(c->out[0], 0, acc->n, acc->data);
    }
    tensor_free(acc);
    return rc;
}

static int matmul_fast(struct op_call *c, struct err *err)
{
    struct product p;
    if (c->in[0]->dtype != DT_F32) {
        return matmul_ref(c, err);
    }
    int rc = matmul_read(c, &p, err);
    if (rc) {
        return rc;
    }
    rc = op_out(c, 0, DT_F32, p.rank, p.dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    if (c->state && p.k > 0) {
        product_packed(c, NULL, c->out[0]->data);
        return OK;
    }
    matmul_scale(c, &p);
    if (p.k > 0 && product_any(c, &p, 1, 0, c->out[0]->data)) {
        return OK;
    }
    tensor_free(c->out[0]);
    c->out[0] = NULL;
    return matmul_ref(c, err);
}

/* ---- Gemm: Y = alpha * A' * B' + beta * C --------------------------------------------------- */

int gemm_read(const struct op_call *c, struct product *p, struct err *err)
{
    const struct tensor *a = c->in[0], *b = c->in[1];
    int rc = op_want(c, 0, DT_NONE, 2, err);
    rc = rc ? rc : op_want(c, 1, a->dtype, 2, err);
    if (rc) {
        return rc;
    }
    if (!dtype_is_float(a->dtype)) {
        return err_set(err, E_UNSUPPORTED, "inputs are %s, expected a float type",
                       dtype_name(a->dtype));
    }
    const bool ta = attr_int(c->node, "transA", 0) != 0, tb = attr_int(c->node, "transB", 0) != 0;
    *p = (struct product){.m = a->dims[ta],
                          .k = a->dims[!ta],
                          .n = b->dims[!tb],
                          .ta = ta,
                          .tb = tb,
                          .rank = 2,
                          .batch = {.n = 3}};
    p->dims[0] = p->m;
    p->dims[1] = p->n;
    return check_inner(p->k, b->dims[tb], err);
}

/* y [m,n] = beta * C broadcast to it; 0 without C. */
static int gemm_bias(const struct op_call *c, const struct product *p, struct tensor *y,
                     struct err *err)
{
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    if (!bias || y->n == 0) {
        memset(y->data, 0, y->size);
        return OK;
    }
    const double beta = (double)attr_float(c->node, "beta", 1);
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    const struct tensor *both[] = {y, bias};
    int rc = op_want(c, 2, c->in[0]->dtype, -1, err);
    rc = rc ? rc : walk_broadcast(&w, 2, both, &rank, dims, err);
    if (rc) {
        return rc;
    }
    if (rank != 2 || dims[0] != p->m || dims[1] != p->n) {
        return err_set(err, E_SHAPE, "C does not broadcast to %lldx%lld", (long long)p->m,
                       (long long)p->n);
    }
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            double v;
            elem_get_f64(bias, (size_t)(i * w.stride[2][0] + j * w.stride[2][1]), 1, &v);
            v *= beta;
            elem_put_f64(y, (size_t)(i * p->n + j), 1, &v);
        }
    }
    return OK;
}

static int gemm_ref(struct op_call *c, struct err *err)
{
    struct product p;
    struct tensor *acc = NULL, *bias = NULL;
    int rc = gemm_read(c, &p, err);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, 2, p.dims, err);
    rc = rc ? rc : tensor_new(DT_F64, 2, p.dims, c->budget, &acc, err);
    rc = rc ? rc : tensor_new(DT_F64, 2, p.dims, c->budget, &bias, err);
    rc = rc ? rc : gemm_bias(c, &p, bias, err);
    if (!rc) {
        memset(acc->data, 0, acc->size);
        rc = product_plain(c, &p, acc, err);
    }
    if (!rc) {
        const double alpha = (double)attr_float(c->node, "alpha", 1);
        double *y = acc->data;
        for (size_t i = 0; i < acc->n; i++) {
            y[i] = alpha * y[i] + ((double *)bias->data)[i];
        }
        elem_put_f64(c->out[0], 0, acc->n, y);
    }
    tensor_free(acc);
    tensor_free(bias);
    return rc;
}

bool gemm_is_plain(const struct op_call *c, const struct product *p)
{
    const struct tensor *bias = c->n_in > 2 ? c->in[2] : NULL;
    return !p->ta && p->k > 0 && attr_float(c->node, "alpha", 1) == 1.0F &&
           (!bias ||
            (attr_float(c->node, "beta", 1) == 1.0F && bias->dtype == DT_F32 && bias->rank >= 1 &&
             bias->rank <= 2 && bias->n == (size_t)p->n && bias->dims[bias->rank - 1] == p->n));
}

static int gemm_fast(struct op_call *c, struct err *err)
{
    struct product p;
    int rc = gemm_read(c, &p, err);
    if (!rc && c->in[0]->dtype != DT_F32) {
        return gemm_ref(c, err);
    }
    rc = rc ? rc : op_out(c, 0, DT_F32, 2, p.dims, err);
    if (!rc && c->out[0]->n > 0 && c->state && gemm_is_plain(c, &p)) {
        product_packed(c, c->n_in > 2 && c->in[2] ? c->in[2]->data : NULL, c->out[0]->data);
        return OK;
    }
    rc = rc ? rc : gemm_bias(c, &p, c->out[0], err);
    if (rc || c->out[0]->n == 0 || p.k == 0) {
        return rc;
    }
    if (product_any(c, &p, attr_float(c->node, "alpha", 1), 1, c->out[0]->data)) {
        return OK;
    }
    tensor_free(c->out[0]);
    c->out[0] = NULL;
    return gemm_ref(c, err);
}

const struct op op_matmul[] = {
    {
        .name = "MatMul",
        .since = 1,
        .min_in = 2,
        .max_in = 2,
        .ref = matmul_ref,
        .fast = matmul_fast,
        .prepare = matmul_pack,
        .release = matmul_pack_free,
        .any_address = 1u << 1,
        .spec = "ONNX MatMul-13",
    },
    {
        .name = "Gemm",
        .since = 7,
        .min_in = 2,
        .max_in = 3,
        .ref = gemm_ref,
        .fast = gemm_fast,
        .prepare = matmul_pack,
        .release = matmul_pack_free,
        .any_address = 1u << 1,
        .spec = "ONNX Gemm-13",
    },
    {0},
};
