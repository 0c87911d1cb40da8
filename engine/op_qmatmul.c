/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qmatmul.c: products of integer matrices: QLinearMatMul, MatMulInteger, and onnxruntime's QGemm
 * and MatMulIntegerToFloat. All are one product with different ways in and out.
 */
#include "engine/gemm8.h"
#include "engine/op_quant.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- One call ------------------------------------------------------------------------------- */

/* y[m,n] = f(sum over k of (a[m,k] - za) (b[k,n] - zb[n]) + bias[m,n]) for each matrix of a batch
 */
struct product {
    const struct tensor *a, *b;
    size_t m, k, n;
    bool ta, tb;               /* a is stored [k,m], b is stored [n,k] */
    int32_t za;                /* of a */
    const struct tensor *zb;   /* 1 or n values, or NULL */
    const struct tensor *bias; /* int32 or NULL, at [m * bias_m + n * bias_n] */
    size_t bias_m, bias_n;
    float sa;                /* alpha included */
    const struct tensor *sb; /* 1 or n values; NULL for MatMulInteger */
    bool requantize;         /* to qy; else the result is int32, or float when sb is given */
    struct q1 qy;
    int rank; /* of the output */
    int64_t out[MAX_RANK];
    int batch_rank;                            /* leading dimensions of out that count matrices */
    size_t step_a[MAX_RANK], step_b[MAX_RANK]; /* elements per step along those; 0 = broadcast */
    struct tensor *y;
};

/* Leading dimensions of both operands, broadcast; fills out[] and the steps. */
static int batch_shape(struct product *p, int ra, int rb, struct err *err)
{
    p->batch_rank = MAX(MAX(ra, rb) - 2, 0);
    size_t sa = p->m * p->k, sb = p->k * p->n;
    for (int i = p->batch_rank - 1, da = ra - 3, db = rb - 3; i >= 0; i--, da--, db--) {
        int64_t x = da >= 0 ? p->a->dims[da] : 1, y = db >= 0 ? p->b->dims[db] : 1;
        if (x != y && x != 1 && y != 1) {
            return err_set(err, E_SHAPE, "batches of %" PRId64 " and %" PRId64 " matrices", x, y);
        }
        p->out[i] = x == 1 ? y : x;
        p->step_a[i] = x == 1 ? 0 : sa;
        p->step_b[i] = y == 1 ? 0 : sb;
        sa *= (size_t)x; /* parts of the operands' sizes: cannot overflow unless they are empty */
        sb *= (size_t)y;
    }
    return OK;
}

/* Shapes as MatMul has them; vectors count as one row (a) or one column (b). */
static int product_shape(struct product *p, struct err *err)
{
    char as[128], bs[128];
    const struct tensor *a = p->a, *b = p->b;
    int ra = a->rank, rb = b->rank;
    if (ra < 1 || rb < 1 || ((p->ta || p->tb) && (ra != 2 || rb != 2))) {
        return err_set(err, E_SHAPE, "matrices of rank %d and %d", ra, rb);
    }
    int64_t m = ra > 1 ? a->dims[ra - 2] : 1, ka = a->dims[ra - 1];
    int64_t kb = rb > 1 ? b->dims[rb - 2] : b->dims[0], n = rb > 1 ? b->dims[rb - 1] : 1;
    p->m = (size_t)(p->ta ? ka : m);
    p->k = (size_t)(p->ta ? m : ka);
    p->n = (size_t)(p->tb ? kb : n);
    if (p->k != (size_t)(p->tb ? n : kb)) {
        return err_set(err, E_SHAPE, "matrices of shape %s and %s do not fit",
                       shape_text(as, sizeof as, ra, a->dims),
                       shape_text(bs, sizeof bs, rb, b->dims));
    }
    int rc = batch_shape(p, ra, rb, err);
    p->rank = p->batch_rank;
    if (ra > 1) {
        p->out[p->rank++] = (int64_t)p->m;
    }
    if (rb > 1) {
        p->out[p->rank++] = (int64_t)p->n;
    }
    return rc;
}

/* int32 bias of shape (n), (1,n), (m,1), (m,n) or a scalar. */
static int product_bias(struct product *p, const struct tensor *c, struct err *err)
{
    if (!c) {
        return OK;
    }
    size_t rows = c->rank > 1 ? (size_t)c->dims[c->rank - 2] : 1;
    size_t cols = c->rank > 0 ? (size_t)c->dims[c->rank - 1] : 1;
    if (c->dtype != DT_S32 || c->rank > 2 || (rows != 1 && rows != p->m) ||
        (cols != 1 && cols != p->n)) {
        char shape[128];
        return err_set(err, E_SHAPE, "bias of shape %s and type %s does not fit a %zux%zu product",
                       shape_text(shape, sizeof shape, c->rank, c->dims), dtype_name(c->dtype),
                       p->m, p->n);
    }
    p->bias = c;
    p->bias_n = cols == 1 ? 0 : 1;
    p->bias_m = rows == 1 ? 0 : cols;
    return OK;
}

/* The rest that all operators share, once a, b, zero points and scales are known. */
static int product_open(struct op_call *c, struct product *p, const struct tensor *za,
                        const struct tensor *bias, struct err *err)
{
    if (!is_code(p->a) || !is_code(p->b)) {
        return err_set(err, E_SHAPE, "both matrices should be uint8 or int8");
    }
    if (za && (za->n != 1 || za->dtype != p->a->dtype)) {
        return err_set(err, E_UNSUPPORTED, "%zu zero points of %s for the left matrix of %s", za->n,
                       dtype_name(za->dtype), dtype_name(p->a->dtype));
    }
    if (p->zb && p->zb->dtype != p->b->dtype) {
        return err_set(err, E_SHAPE, "right matrix is %s, its zero point is %s",
                       dtype_name(p->b->dtype), dtype_name(p->zb->dtype));
    }
    p->za = zero_at(za, 0);
    int rc = product_shape(p, err);
    rc = rc ? rc : per_channel_check(p->zb, p->n, "zero point", err);
    rc = rc ? rc : per_channel_check(p->sb, p->n, "scale", err);
    rc = rc ? rc : product_bias(p, bias, err);
    enum dtype d = c->sums || !p->sb ? DT_S32 : p->requantize ? p->qy.dtype : DT_F32;
    rc = rc ? rc : op_out(c, 0, d, p->rank, p->out, err);
    p->y = c->out[0];
    return rc;
}

/* Scale of column j: sa * sb[j], then divided by sy. */
static float column_scale(const struct product *p, size_t j)
{
    float m = p->sb ? p->sa * scale_at(p->sb, j) : 1.0F;
    return p->requantize ? m / p->qy.s : m;
}

static struct finish product_finish(const struct product *p, const float *scale)
{
    return (struct finish){
        .dtype = p->y->dtype,
        .scale = scale,
        .lo = (float)(p->qy.qmin - p->qy.z),
        .hi = (float)(p->qy.qmax - p->qy.z),
        .z = p->qy.z,
    };
}

/* Offsets of matrix i of the batch in a and b. */
static void batch_at(const struct product *p, size_t i, size_t *a, size_t *b)
{
    *a = *b = 0;
    for (int d = p->batch_rank - 1; d >= 0; d--) {
        size_t at = i % (size_t)p->out[d];
        i /= (size_t)p->out[d];
        *a += at * p->step_a[d];
        *b += at * p->step_b[d];
    }
}

static size_t bias_at(const struct product *p, size_t i, size_t j)
{
    return i * p->bias_m + j * p->bias_n;
}

/* ---- Reference ------------------------------------------------------------------------------ */

static int product_ref(const struct product *p)
{
    size_t each = p->m * p->n, size = dtype_size(p->y->dtype);
    const int32_t *bias = p->bias ? p->bias->data : NULL;
    float scale;
    const struct finish f = product_finish(p, &scale);
    for (size_t i = 0; i < p->y->n; i++) {
        size_t at_a, at_b, row = i % each / p->n, col = i % p->n;
        batch_at(p, i / each, &at_a, &at_b);
        int32_t zb = zero_at(p->zb, col);
        /* unsigned: wraps like the 32-bit sums of the fast kernels */
        uint32_t sum = bias ? (uint32_t)bias[bias_at(p, row, col)] : 0;
        for (size_t k = 0; k < p->k; k++) {
            size_t ia = p->ta ? k * p->m + row : row * p->k + k;
            size_t ib = p->tb ? col * p->k + k : k * p->n + col;
            sum += (uint32_t)((code_at(p->a, at_a + ia) - p->za) * (code_at(p->b, at_b + ib) - zb));
        }
        scale = column_scale(p, col);
        finish_one(&f, 0, (int32_t)sum, 0, (char *)p->y->data + i * size);
    }
    return OK;
}

/* ---- Packed operands ------------------------------------------------------------------------ */

/* The right matrix as s8: codes of u8 are 128 lower, and so is their zero point. */
struct pack {
    struct gemm8_right right;
    int32_t *sum; /* of the columns as packed */
};

static void pack_free(void *state)
{
    struct pack *p = state;
    if (p) {
        gemm8_right_fini(&p->right);
        scratch_free(p->sum);
        free(p);
    }
}

static uint32_t sum_codes(const uint8_t *src, size_t n, uint8_t flip)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (uint32_t)(int8_t)(src[i] ^ flip);
    }
    return sum;
}

/* Columns of k codes one after the other in memory. */
static void fill_columns(struct pack *p, const uint8_t *src, uint8_t flip)
{
    const size_t k = p->right.k, n = p->right.n;
    const uint8_t *from[BLOCK_COLS];
    uint8_t shift[BLOCK_COLS];
    memset(shift, flip, sizeof shift); /* taking 128 off is the same as turning the highest bit */
    for (size_t c0 = 0; c0 < n; c0 += BLOCK_COLS) {
        const size_t cols = MIN(n - c0, (size_t)BLOCK_COLS);
        for (size_t c = 0; c < cols; c++) {
            from[c] = src + (c0 + c) * k;
            p->sum[c0 + c] = (int32_t)sum_codes(from[c], k, flip);
        }
        gemm8_pack_columns(gemm8_column(&p->right, 0, c0), from, shift, cols, k);
    }
}

/* Rows of n codes one after the other. */
static void fill_rows(struct pack *p, const uint8_t *src, uint8_t flip)
{
    const size_t k = p->right.k, n = p->right.n;
    uint32_t *sum = (uint32_t *)p->sum;
    for (size_t c = 0; c < n; c++) {
        sum[c] = 0;
    }
    for (size_t i = 0; i < k; i++) {
        for (size_t c = 0; c < n; c++) {
            sum[c] += (uint32_t)(int8_t)(src[i * n + c] ^ flip);
        }
    }
    for (size_t c = 0; c < n; c += BLOCK_COLS) {
        gemm8_pack_rows(gemm8_column(&p->right, 0, c), src + c, n, flip,
                        MIN(n - c, (size_t)BLOCK_COLS), k);
    }
}

static void pack_fill(struct pack *p, const struct tensor *b, size_t at, bool tb)
{
    const uint8_t *src = (const uint8_t *)b->data + at, flip = b->dtype == DT_U8 ? 0x80 : 0;
    if (tb) {
        fill_columns(p, src, flip);
    } else {
        fill_rows(p, src, flip);
    }
}

/* sums: whether rows of the left matrix have to be summed, see job_columns(). */
static int pack_new(size_t k, size_t n, bool sums, struct pack **out, struct err *err)
{
    struct pack *p = mem_alloc(sizeof *p);
    int rc = gemm8_right_init(&p->right, 1, k, n, err);
    rc = rc || !sums ? rc : gemm8_right_sum_rows(&p->right, err);
    rc = rc ? rc : scratch_new(n, sizeof *p->sum, (void **)&p->sum, err);
    if (rc) {
        pack_free(p);
        return rc;
    }
    *out = p;
    return OK;
}

/* Zero point of column j of the packed matrix. */
static int32_t packed_zero(const struct tensor *b, const struct tensor *zb, size_t j)
{
    return zero_at(zb, j) - (b->dtype == DT_U8 ? 128 : 0);
}

static bool has_zeros(const struct tensor *b, const struct tensor *zb)
{
    for (size_t j = 0; j < (zb ? zb->n : 1); j++) {
        if (packed_zero(b, zb, j)) {
            return true;
        }
    }
    return false;
}

/* ---- Fast path ------------------------------------------------------------------------------ */

/* Working room of one call. */
struct job {
    const struct product *p;
    const uint8_t *a; /* the matrix at hand */
    size_t depth;     /* of a packed row */
    int32_t *add;     /* [width], or [m][width] where the bias differs from row to row */
    int32_t *mul;     /* [width] */
    float *scale;     /* [width] */
};

static int job_init(struct job *j, const struct gemm8_right *b, struct err *err)
{
    const struct product *p = j->p;
    size_t n = 0;
    j->depth = b->depth;
    int rc = mul_ok(p->bias_m ? gemm8_rows(p->m) : 1, b->width, &n)
                 ? OK
                 : err_set(err, E_LIMIT, "bias too large");
    rc = rc ? rc : scratch_new(n, sizeof *j->add, (void **)&j->add, err);
    rc = rc ? rc : scratch_new(b->width, sizeof *j->mul, (void **)&j->mul, err);
    rc = rc ? rc : scratch_new(b->width, sizeof *j->scale, (void **)&j->scale, err);
    for (size_t i = 0; !rc && i < b->width; i++) {
        j->scale[i] = i < b->n ? column_scale(p, i) : 0;
    }
    return rc;
}

static void job_fini(struct job *j)
{
    scratch_free(j->add);
    scratch_free(j->mul);
    scratch_free(j->scale);
}

/* With the left codes as u8, the right ones as s8 and zero points shifted alike,
 *   sum (a - za)(b - zb) = sum a b - za sum b - zb sum a + K za zb   (mod 2^32):
 * add takes the second and the last term and the bias, mul * sum a the third. */
static void job_columns(struct job *j, const struct pack *b)
{
    const struct product *p = j->p;
    const uint32_t za = (uint32_t)(p->za + (p->a->dtype == DT_S8 ? 128 : 0));
    const size_t width = b->right.width;
    memset(j->add, 0, width * sizeof *j->add);
    memset(j->mul, 0, width * sizeof *j->mul);
    for (size_t c = 0; c < p->n; c++) {
        const uint32_t zb = (uint32_t)packed_zero(p->b, p->zb, c);
        j->add[c] = (int32_t)((uint32_t)p->k * za * zb - za * (uint32_t)b->sum[c]);
        j->mul[c] = (int32_t)-zb;
    }
    const uint32_t *bias = p->bias ? p->bias->data : NULL;
    for (size_t i = p->bias_m ? p->m : 1; bias && i-- > 0;) { /* the first row last: it is read */
        for (size_t c = 0; c < p->n; c++) {
            j->add[i * width + c] = (int32_t)((uint32_t)j->add[c] + bias[bias_at(p, i, c)]);
        }
    }
}

/* Rows of the left matrix as u8. */
static void fill_left(const void *ctx, size_t set, size_t r0, size_t n, uint8_t *dst)
{
    const struct job *j = ctx;
    const struct product *p = j->p;
    const uint8_t flip = p->a->dtype == DT_S8 ? 0x80 : 0;
    (void)set;
    for (size_t r = r0; r < r0 + n; r++, dst += j->depth) {
        if (p->ta) {
            for (size_t k = 0; k < p->k; k++) {
                dst[k] = j->a[k * p->m + r] ^ flip;
            }
        } else {
            for (size_t k = 0; k < p->k; k++) {
                dst[k] = j->a[r * p->k + k] ^ flip;
            }
        }
    }
}

/* Matrix i of the batch. */
static int run_matrix(const struct job *j, const struct pack *b, size_t at_a, size_t i,
                      struct par *par, struct err *err)
{
    const struct product *p = j->p;
    const size_t size = dtype_size(p->y->dtype);
    struct gemm8 g = {
        .kernels = kernel_int8(),
        .right = &b->right,
        .rows = p->m,
        .x = p->ta || p->a->dtype == DT_S8 ? NULL : j->a,
        .ldx = p->k,
        .readable = p->a->n - at_a,
        .fill = fill_left,
        .ctx = j,
        .add = j->add,
        .add_step = p->bias_m ? b->right.width : 0,
        .finish = product_finish(p, j->scale),
        .y = (uint8_t *)p->y->data + i * p->m * p->n * size,
        .ldy = p->n * size,
    };
    g.finish.mul = b->right.ones ? j->mul : NULL;
    return gemm8_run(&g, par, err);
}

static int product_fast(const struct product *p, const struct pack *state, struct par *par,
                        struct err *err)
{
    struct job j = {.p = p};
    struct pack *own = NULL;
    const struct pack *b = state;
    size_t each = p->m * p->n, packed = SIZE_MAX;
    if (p->y->n == 0) {
        return OK;
    }
    int rc = OK;
    if (!b || (!b->right.ones && has_zeros(p->b, p->zb))) {
        rc = pack_new(p->k, p->n, has_zeros(p->b, p->zb), &own, err);
        b = own;
    }
    rc = rc ? rc : job_init(&j, &b->right, err);
    for (size_t i = 0; !rc && i < p->y->n / each; i++) {
        size_t at_a, at_b;
        batch_at(p, i, &at_a, &at_b);
        if (own && at_b != packed) {
            pack_fill(own, p->b, at_b, p->tb);
            packed = at_b;
        }
        if (i == 0 || own) {
            job_columns(&j, b);
        }
        j.a = (const uint8_t *)p->a->data + at_a;
        rc = run_matrix(&j, b, at_a, i, par, err);
    }
    job_fini(&j);
    pack_free(own);
    return rc;
}

/* Packs a constant right matrix. */
static int product_prepare(const struct op_prep *p, int b_index, int z_index, bool tb, void **state,
                           struct err *err)
{
    const struct tensor *b = b_index < p->n_in ? p->constants[b_index] : NULL;
    const struct tensor *zb = z_index < p->n_in ? p->constants[z_index] : NULL;
    if (!is_code(b) || b->rank != 2 || b->n == 0) {
        return OK;
    }
    size_t k = (size_t)b->dims[tb ? 1 : 0], n = (size_t)b->dims[tb ? 0 : 1];
    bool varies = z_index < p->n_in && p->node->in[z_index] >= 0 && !zb;
    struct pack *pack = NULL;
    int rc = pack_new(k, n, varies || has_zeros(b, zb), &pack, err);
    if (!rc) {
        pack_fill(pack, b, 0, tb);
        *state = pack;
    }
    return rc;
}

/* ---- Operators ------------------------------------------------------------------------------ */

static const struct tensor *input(const struct op_call *c, int i)
{
    return i < c->n_in ? c->in[i] : NULL;
}

static int want_scales(const struct tensor *t, struct err *err)
{
    return t && is_scale(t)
               ? OK
               : err_set(err, E_SHAPE, "scales of the right matrix should have 16 or 32 bits");
}

/* (a, sa, za, b, sb, zb, sy, zy) */
static int open_qlinear_matmul(struct op_call *c, struct product *p, struct err *err)
{
    struct q1 qa;
    *p = (struct product){
        .a = c->in[0], .b = c->in[3], .sb = c->in[4], .zb = c->in[5], .requantize = true};
    int rc = q1_read_for(c, 0, 1, 2, &qa, err);
    rc = rc ? rc : q1_read(c, 6, 7, qa.dtype, &p->qy, err);
    rc = rc ? rc : want_scales(p->sb, err);
    if (rc) {
        return rc;
    }
    p->sa = qa.s;
    return product_open(c, p, c->in[2], NULL, err);
}

/* (a, sa, za, b, sb, zb, bias?, sy?, zy?): without sy the result is float. */
static int open_qgemm(struct op_call *c, struct product *p, struct err *err)
{
    struct q1 qa;
    *p = (struct product){.a = c->in[0],
                          .b = c->in[3],
                          .sb = c->in[4],
                          .zb = c->in[5],
                          .ta = attr_int(c->node, "transA", 0) != 0,
                          .tb = attr_int(c->node, "transB", 0) != 0,
                          .requantize = input(c, 7) != NULL};
    int rc = q1_read_for(c, 0, 1, 2, &qa, err);
    if (!rc && p->requantize) {
        rc = q1_read(c, 7, 8, qa.dtype, &p->qy, err);
    }
    rc = rc ? rc : want_scales(p->sb, err);
    if (rc) {
        return rc;
    }
    p->sa = attr_float(c->node, "alpha", 1.0F) * qa.s;
    return product_open(c, p, c->in[2], input(c, 6), err);
}

/* (a, b, za?, zb?): the sums themselves. */
static int open_matmul_integer(struct op_call *c, struct product *p, struct err *err)
{
    *p = (struct product){.a = c->in[0], .b = c->in[1], .zb = input(c, 3)};
    return product_open(c, p, input(c, 2), NULL, err);
}

/* (a, b, sa, sb, za?, zb?, bias?): float sums; the bias is added after the scaling. */
static int open_matmul_to_float(struct op_call *c, struct product *p, struct err *err)
{
    *p = (struct product){.a = c->in[0], .b = c->in[1], .sb = c->in[3], .zb = input(c, 5)};
    const struct tensor *sa = c->in[2];
    if (!sa || sa->dtype != DT_F32 || sa->n != 1) {
        return err_set(err, E_SHAPE, "input 2 should be one float32 scale");
    }
    int rc = want_scales(p->sb, err);
    p->sa = scale_at(sa, 0);
    return rc ? rc : product_open(c, p, input(c, 4), NULL, err);
}

static int add_float_bias(const struct op_call *c, const struct product *p, struct err *err)
{
    const struct tensor *bias = input(c, 6);
    if (!bias) {
        return OK;
    }
    if (bias->dtype != DT_F32 || bias->n != p->n) {
        return err_set(err, E_SHAPE, "bias has %zu values of %s, expected %zu float32", bias->n,
                       dtype_name(bias->dtype), p->n);
    }
    float *y = p->y->data;
    for (size_t i = 0; i < p->y->n; i++) {
        y[i] += ((const float *)bias->data)[i % p->n];
    }
    return OK;
}

/* The same operator with either kernel. */
static int run(struct op_call *c,
               int (*open)(struct op_call *c, struct product *p, struct err *err), bool fast,
               struct err *err)
{
    struct product p;
    int rc = open(c, &p, err);
    if (rc) {
        return rc;
    }
    rc = fast ? product_fast(&p, c->state, c->par, err) : product_ref(&p);
    if (!rc && open == open_matmul_to_float) {
        rc = add_float_bias(c, &p, err);
    }
    return rc;
}

#define OPERATOR(name, open, b_index, z_index, tb)                                                 \
    static int name(struct op_call *c, struct err *err)                                            \
    {                                                                                              \
        return run(c, open, false, err);                                                           \
    }                                                                                              \
    static int name##_fast(struct op_call *c, struct err *err)                                     \
    {                                                                                              \
        return run(c, open, true, err);                                                            \
    }                                                                                              \
    static int name##_prepare(const struct op_prep *p, void **state, struct err *err)              \
    {                                                                                              \
        return product_prepare(p, b_index, z_index, tb, state, err);                               \
    }

OPERATOR(op_qlinear_matmul, open_qlinear_matmul, 3, 5, false)
OPERATOR(op_qgemm, open_qgemm, 3, 5, attr_int(p->node, "transB", 0) != 0)
OPERATOR(op_matmul_integer, open_matmul_integer, 1, 3, false)
OPERATOR(op_matmul_to_float, open_matmul_to_float, 1, 5, false)

static const char ms[] = "com.microsoft";

/* Rows of the left matrix, where the bias is the same for all. */
static bool qgemm_by_sample(const struct op_call *c)
{
    const struct tensor *a = input(c, 0), *bias = input(c, 6);
    return c->state && is_code(a) && a->rank == 2 && attr_int(c->node, "transA", 0) == 0 &&
           (!bias || bias->rank < 2 || bias->dims[0] == 1);
}

// clang-format off
const struct op op_qmatmul[] = {
    {.name = "QLinearMatMul", .since = 10, .min_in = 8, .max_in = 8, .ref = op_qlinear_matmul, .fast = op_qlinear_matmul_fast, .prepare = op_qlinear_matmul_prepare, .release = pack_free, .spec = "ONNX QLinearMatMul-10"},
    {.name = "MatMulInteger", .since = 10, .min_in = 2, .max_in = 4, .ref = op_matmul_integer, .fast = op_matmul_integer_fast, .prepare = op_matmul_integer_prepare, .release = pack_free, .spec = "ONNX MatMulInteger-10"},
    {.name = "QGemm", .domain = ms, .since = 1, .min_in = 6, .max_in = 9, .ref = op_qgemm, .fast = op_qgemm_fast, .prepare = op_qgemm_prepare, .release = pack_free, .by_sample = qgemm_by_sample, .spec = "ORT QGemm-1"},
    {.name = "MatMulIntegerToFloat", .domain = ms, .since = 1, .min_in = 4, .max_in = 7, .ref = op_matmul_to_float, .fast = op_matmul_to_float_fast, .prepare = op_matmul_to_float_prepare, .release = pack_free, .spec = "ORT MatMulIntegerToFloat-1"},
    {0},
};
// clang-format on
