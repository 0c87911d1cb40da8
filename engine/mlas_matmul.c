/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * mlas_matmul.c: MatMul and Gemm of floats in the order in which onnxruntime adds:
 *
 *   constant B      it is packed: fused multiply-adds in runs of PACKED_RUN, which join the total
 *   one row of A    B as it is: rows of B in fours, then two, then one, products rounded
 *                   transposed B: eight interleaved parts of rounded products
 *   one column      as one row of transposed B, with A in its place
 *   a vector B      every row of A by itself
 *   others          runs whose length depends on the shape
 *
 * MatMul with a factor is always one of the first kind or the last; a run is scaled before it joins
 * the total, in one rounding with that.
 *
 * A bias is there before the first product, but is added to the sum of parts.
 *
 * Found by comparing with onnxruntime; check_sums.py compares.
 */
#include "engine/matmul.h"
#include "engine/op_mlas.h"
#include "engine/op_quant.h"

#include <math.h>

enum { PACKED_RUN = 256 };

/* ---- Orders --------------------------------------------------------------------------------- */

size_t mlas_run_length(size_t n, size_t k)
{
    size_t step_n = 128, step_k = 128;
    if (k == 0) {
        return 1;
    }
    if (n >= k) {
        while (step_k / 2 >= k) {
            step_n *= 2;
            step_k /= 2;
        }
    } else {
        while (step_n > 16 && step_n / 2 >= n) {
            step_k *= 2;
            step_n /= 2;
        }
    }
    return MAX(step_k, (size_t)1);
}

enum { LANES = 8 };

/* Eight partial sums into one, in the order that depends on how many results are made at once. */
static float fold_lanes(const float *l, int at_once)
{
    if (at_once == 4) {
        return (((l[0] + l[1]) + l[2]) + l[3]) + (((l[4] + l[5]) + l[6]) + l[7]);
    }
    if (at_once == 2) {
        return ((l[2] + l[0]) + (l[6] + l[4])) + ((l[3] + l[1]) + (l[7] + l[5]));
    }
    return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]));
}

/* Results are made four at once, then two, then one. */
static int outs_with(size_t o, size_t outs)
{
    const size_t left = outs - o / 4 * 4;
    return left >= 4 ? 4 : left >= 2 && o % 4 < 2 ? 2 : 1;
}

VECTOR_CLONES static void add_lanes(const float *restrict x, const float *restrict w, size_t n,
                                    float *restrict lanes)
{
    for (size_t i = 0; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            lanes[l] += x[i + l] * w[i + l];
        }
    }
    for (size_t i = n / LANES * LANES; i < n; i++) {
        lanes[i % LANES] += x[i] * w[i];
    }
}

float mlas_sum_lanes(const float *x, const float *w, size_t n, size_t o, size_t outs)
{
    float lanes[LANES] = {0};
    add_lanes(x, w, n, lanes);
    return fold_lanes(lanes, outs_with(o, outs));
}

/* y [n] = x [k] times w [k,n]. */
VECTOR_CLONES static void sum_rows(const float *restrict x, const float *restrict w, size_t n,
                                   size_t k, const float *restrict bias, float *restrict y)
{
    for (size_t j = 0; j < n; j++) {
        y[j] = bias ? bias[j] : 0;
    }
    for (size_t q = 0, some; q < k; q += some, w += some * n) {
        some = k - q >= 4 ? 4 : k - q >= 2 ? 2 : 1;
        const float a = x[q], b = some > 1 ? x[q + 1] : 0;
        if (some == 4) {
            const float c = x[q + 2], d = x[q + 3];
            for (size_t j = 0; j < n; j++) {
                y[j] = a * w[j] + b * w[n + j] + c * w[2 * n + j] + d * w[3 * n + j] + y[j];
            }
        } else if (some == 2) {
            for (size_t j = 0; j < n; j++) {
                y[j] = a * w[j] + b * w[n + j] + y[j];
            }
        } else {
            for (size_t j = 0; j < n; j++) {
                y[j] = a * w[j] + y[j];
            }
        }
    }
}

/* ---- One product ---------------------------------------------------------------------------- */

/* Without vectors sums are the same: fmaf() is a library call then. */
static bool has_kernels(const struct op_call *c)
{
    return c->kernels == KERNELS_FAST && kernel_f32() != &kernel_f32_plain;
}

struct factors {
    const float *a, *b, *bias; /* b NULL: the call's state has it; bias: of each column, or NULL */
    size_t m, n, k;
    bool tb;     /* B is stored [n,k] */
    bool vector; /* B has one dimension */
    bool scaled; /* by alpha, or later */
    float alpha;
    float *y;
};

static float sum_runs(const struct factors *f, size_t i, size_t j, size_t run)
{
    const size_t step = f->tb ? 1 : f->n;
    const float *x = f->a + i * f->k, *w = f->b + (f->tb ? j * f->k : j);
    float total = 0;
    for (size_t k0 = 0; k0 < f->k; k0 += run) {
        float sum = 0;
        for (size_t k = k0; k < MIN(f->k, k0 + run); k++) {
            sum = fmaf(x[k], w[k * step], sum);
        }
        total = k0 ? sum + total : f->bias ? sum + f->bias[j] : sum;
    }
    return total;
}

static int multiply_runs(const struct op_call *c, const struct factors *f, size_t run,
                         struct err *err)
{
    for (size_t i = 0; i < f->m * f->n && !has_kernels(c); i++) {
        f->y[i] = sum_runs(f, i / f->n, i % f->n, run);
    }
    if (!has_kernels(c)) {
        return OK;
    }
    const struct f32_dest to = {.raw = f->y};
    if (c->state) {
        f32_product_matrix(c->state, f->a, f->m, run, f->bias, to, c->par);
        return OK;
    }
    const struct f32_weights w = {
        .w = (const uint8_t *)f->b,
        .n = f->n,
        .segments = 1,
        .len = f->k,
        .column = f->tb ? f->k : 1,
        .factor = f->tb ? 1 : f->n,
    };
    struct f32_panels panels;
    int rc = f32_panels_init(&panels, &w, err);
    if (!rc) {
        f32_product_matrix(&panels, f->a, f->m, run, f->bias, to, c->par);
    }
    f32_panels_fini(&panels);
    return rc;
}

/* Runs that are scaled; sum: room for n. */
IN_BOTH void scale_runs(const struct factors *f, size_t run, float *restrict sum)
{
    const size_t n = f->n;
    for (size_t i = 0; i < f->m; i++) {
        const float *x = f->a + i * f->k;
        float *restrict y = f->y + i * n;
        for (size_t k0 = 0; k0 < f->k; k0 += run) {
            memset(sum, 0, n * sizeof *sum);
            for (size_t k = k0; k < MIN(f->k, k0 + run); k++) {
                const float *restrict w = f->b + k * n;
                for (size_t j = 0; j < n; j++) {
                    sum[j] = fmaf(x[k], w[j], sum[j]);
                }
            }
            for (size_t j = 0; j < n; j++) {
                y[j] = k0 ? fmaf(sum[j], f->alpha, y[j]) : sum[j] * f->alpha;
            }
        }
    }
}

FMA_CLONE static void scale_runs_fma(const struct factors *f, size_t run, float *sum)
{
    scale_runs(f, run, sum);
}

static int multiply_scaled(const struct factors *f, size_t run, struct err *err)
{
    float *sum = NULL;
    int rc = scratch_new(f->n, sizeof *sum, (void **)&sum, err);
    if (!rc) {
        (have_fma() ? scale_runs_fma : scale_runs)(f, run, sum);
    }
    scratch_free(sum);
    return rc;
}

/* y [outs] = x times each of the rows, k elements long. */
static void multiply_lanes(const float *x, const float *rows, size_t outs, size_t k,
                           const float *bias, bool same_bias, float *y)
{
    for (size_t i = 0; i < outs; i++) {
        const float sum = mlas_sum_lanes(x, rows + i * k, k, i, outs);
        y[i] = bias ? sum + bias[same_bias ? 0 : i] : sum;
    }
}

static int multiply(const struct op_call *c, const struct factors *f, bool packed, struct err *err)
{
    const size_t run = packed ? PACKED_RUN : mlas_run_length(f->n, f->k);
    if (f->alpha != 1) {
        return multiply_scaled(f, run, err);
    }
    if (packed || f->scaled) {
        return multiply_runs(c, f, run, err);
    }
    if (f->vector || (f->m == 1 && !f->tb)) {
        for (size_t i = 0; i < f->m; i++) {
            sum_rows(f->a + i * f->k, f->b, f->n, f->k, f->bias, f->y + i);
        }
    } else if (f->m == 1) {
        multiply_lanes(f->a, f->b, f->n, f->k, f->bias, false, f->y);
    } else if (f->n == 1 && (!f->tb || f->k == 1)) {
        multiply_lanes(f->b, f->a, f->m, f->k, f->bias, true, f->y);
    } else {
        return multiply_runs(c, f, run, err);
    }
    return OK;
}

/* All products of a call. */
static int multiply_all(const struct op_call *c, const struct product *p, const float *bias,
                        struct err *err)
{
    const bool packed = attr_int(c->node, fuse_packed_attr, 0) && c->in[1]->rank == 2;
    const bool matmul = strcmp(c->node->op, "MatMul") == 0; /* in Gemm it is what the model says */
    const float alpha = matmul ? attr_float(c->node, "alpha", 1) : 1;
    const float *a = c->in[0]->data;
    float *y = c->out[0]->data;
    const bool held = c->state && packed && alpha == 1 && has_kernels(c);
    struct tensor *b = held ? NULL : tensor_aligned(c->in[1]);
    int rc = b || held ? OK : err_set(err, E_LIMIT, "out of memory for %zu bytes", c->in[1]->size);
    struct walk w = p->batch;
    for (bool more = !rc && walk_start(&w); more && !rc; more = walk_next(&w)) {
        for (int64_t e = 0; e < w.dims[w.rank - 1] && !rc; e++) {
            const int last = w.rank - 1;
            const struct factors f = {
                .a = a + w.at[1] + e * w.stride[1][last],
                .b = b ? (const float *)b->data + w.at[2] + e * w.stride[2][last] : NULL,
                .bias = bias,
                .m = (size_t)p->m,
                .n = (size_t)p->n,
                .k = (size_t)p->k,
                .tb = p->tb,
                .vector = c->in[1]->rank == 1,
                .scaled = attr_int(c->node, fuse_scaled_attr, 0) != 0,
                .alpha = alpha,
                .y = y + w.at[0] + e * w.stride[0][last],
            };
            rc = multiply(c, &f, packed, err);
        }
    }
    tensor_free(b);
    return rc;
}

/* ---- The operators -------------------------------------------------------------------------- */

/* Floats of another type, other factors, no products at all. */
static int run_ordinary(struct op_call *c, struct err *err)
{
    const struct op *op = op_find("", c->node->op, (int)attr_int(c->node, fuse_opset_attr, 1));
    if (!op || c->kernels != KERNELS_FAST) {
        return mlas_run_ordinary(c, err);
    }
    struct op_call same = *c;
    same.opset = (int)attr_int(c->node, fuse_opset_attr, 1);
    same.state = NULL;
    return op->fast(&same, err);
}

static bool is_f32(const struct op_call *c)
{
    return c->in[0]->dtype == DT_F32 && c->in[1]->dtype == DT_F32;
}

static int op_matmul_mlas(struct op_call *c, struct err *err)
{
    struct product p;
    if (!is_f32(c)) {
        return run_ordinary(c, err);
    }
    int rc = matmul_read(c, &p, err);
    if (rc || p.k == 0) {
        return rc ? rc : run_ordinary(c, err);
    }
    rc = op_out(c, 0, DT_F32, p.rank, p.dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    matmul_scale(c, &p);
    return multiply_all(c, &p, NULL, err);
}

static int op_gemm_mlas(struct op_call *c, struct err *err)
{
    struct product p;
    if (!is_f32(c)) {
        return run_ordinary(c, err);
    }
    int rc = gemm_read(c, &p, err);
    if (rc || !gemm_is_plain(c, &p)) {
        return rc ? rc : run_ordinary(c, err);
    }
    rc = op_out(c, 0, DT_F32, 2, p.dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    return multiply_all(c, &p, c->n_in > 2 && c->in[2] ? c->in[2]->data : NULL, err);
}

// clang-format off
const struct op op_mlas_matmul[] = {
    {.name = "MatMul", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 4, .ref = op_matmul_mlas, .prepare = matmul_pack, .release = matmul_pack_free, .any_address = 1U << 1, .spec = "ORT MatMul, order of sums"},
    {.name = "Gemm", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 3, .ref = op_gemm_mlas, .prepare = matmul_pack, .release = matmul_pack_free, .any_address = 1U << 1, .spec = "ORT Gemm, order of sums"},
    {0},
};
// clang-format on
