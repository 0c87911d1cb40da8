/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qmatmul.c: products of integer matrices: QLinearMatMul, MatMulInteger, and onnxruntime's QGemm
 * and MatMulIntegerToFloat. All are one product with different ways in and out.
 */
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

static struct finish product_finish(const struct product *p)
{
    return (struct finish){
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
    struct finish f = product_finish(p);
    for (size_t i = 0; i < p->y->n; i++) {
        size_t at_a, at_b, row = i % each / p->n, col = i % p->n;
        batch_at(p, i / each, &at_a, &at_b);
        int32_t zb = zero_at(p->zb, col);
        uint32_t sum = 0; /* wraps like the 32-bit sums of the fast kernels */
        for (size_t k = 0; k < p->k; k++) {
            size_t ia = p->ta ? k * p->m + row : row * p->k + k;
            size_t ib = p->tb ? col * p->k + k : k * p->n + col;
            sum += (uint32_t)((code_at(p->a, at_a + ia) - p->za) * (code_at(p->b, at_b + ib) - zb));
        }
        f.add = bias ? bias[bias_at(p, row, col)] : 0;
        f.scale = column_scale(p, col);
        int32_t acc = (int32_t)sum;
        finish_row(&kernel_int8_plain, p->y->dtype, &acc, 1, &f, (char *)p->y->data + i * size);
    }
    return OK;
}

/* ---- Packed operands ------------------------------------------------------------------------ */

/* The right matrix as u8, [k/4][width][4], and the sums of its columns. */
struct pack {
    size_t k, n, taps, width;
    uint8_t *x;
    int32_t *sum;
};

static void pack_free(void *state)
{
    struct pack *p = state;
    if (p) {
        free(p->x);
        free(p->sum);
        free(p);
    }
}

static void pack_fill(struct pack *p, const struct tensor *b, size_t at, bool tb)
{
    const uint8_t *src = (const uint8_t *)b->data + at;
    uint8_t flip = b->dtype == DT_S8 ? 0x80 : 0;
    memset(p->x, 0, p->taps * p->width * QUAD);
    memset(p->sum, 0, p->width * sizeof *p->sum);
    for (size_t k = 0; k < p->k; k++) {
        uint8_t *dst = p->x + k / QUAD * p->width * QUAD + k % QUAD;
        for (size_t j = 0; j < p->n; j++) {
            uint8_t v = src[tb ? j * p->k + k : k * p->n + j] ^ flip;
            dst[j * QUAD] = v;
            p->sum[j] = (int32_t)((uint32_t)p->sum[j] + v);
        }
    }
}

static int pack_new(size_t k, size_t n, struct pack **out, struct err *err)
{
    struct pack *p = mem_alloc(sizeof *p);
    size_t count = 0;
    *p = (struct pack){.k = k, .n = n, .taps = (k + QUAD - 1) / QUAD, .width = (n + 15) / 16 * 16};
    int rc = OK;
    if (!mul_ok(p->taps, p->width, &count)) {
        rc = err_set(err, E_LIMIT, "matrix too large to pack");
    }
    rc = rc ? rc : scratch_new(count, QUAD, (void **)&p->x, err);
    rc = rc ? rc : scratch_new(p->width, sizeof *p->sum, (void **)&p->sum, err);
    if (rc) {
        pack_free(p);
        return rc;
    }
    *out = p;
    return OK;
}

/* Working room of one call. */
struct job {
    const struct product *p;
    const struct int8_kernels *k;
    size_t *off;      /* of the taps in the packed right matrix */
    int8_t *panel;    /* TILE_ROWS rows of the left matrix as s8: [taps][8][4] */
    int32_t *col_add; /* per column, see job_columns() */
    int32_t *col_mul;
    int32_t *line; /* col_add of one row, when the bias differs from row to row */
    float *scale;
};

static int job_init(struct job *j, const struct pack *b, struct err *err)
{
    size_t w = b->width;
    int rc = scratch_new(b->taps, sizeof *j->off, (void **)&j->off, err);
    rc = rc ? rc : scratch_new(b->taps, TILE_ROWS * QUAD, (void **)&j->panel, err);
    rc = rc ? rc : scratch_new(w, sizeof *j->col_add, (void **)&j->col_add, err);
    rc = rc ? rc : scratch_new(w, sizeof *j->col_mul, (void **)&j->col_mul, err);
    rc = rc ? rc : scratch_new(w, sizeof *j->line, (void **)&j->line, err);
    rc = rc ? rc : scratch_new(w, sizeof *j->scale, (void **)&j->scale, err);
    for (size_t t = 0; !rc && t < b->taps; t++) {
        j->off[t] = t * w * QUAD;
    }
    for (size_t i = 0; !rc && i < b->n; i++) {
        j->scale[i] = column_scale(j->p, i);
    }
    return rc;
}

static void job_fini(struct job *j)
{
    free(j->off);
    free(j->panel);
    free(j->col_add);
    free(j->col_mul);
    free(j->line);
    free(j->scale);
}

/* With a' = a - ca in s8, b' = b + cb in u8 and their zero points shifted alike,
 *   sum (a - za)(b - zb) = sum a' b' - za' sum b' - zb' sum a' + K za' zb'   (mod 2^32):
 * col_add takes the second and the last term, col_mul * (-sum a') the third. */
static void job_columns(struct job *j, const struct pack *b)
{
    const struct product *p = j->p;
    uint32_t za = (uint32_t)(p->za - (p->a->dtype == DT_U8 ? 128 : 0));
    int32_t cb = p->b->dtype == DT_S8 ? 128 : 0;
    for (size_t i = 0; i < b->n; i++) {
        uint32_t zb = (uint32_t)(zero_at(p->zb, i) + cb);
        j->col_mul[i] = (int32_t)zb;
        j->col_add[i] = (int32_t)((uint32_t)p->k * za * zb - za * (uint32_t)b->sum[i]);
        if (p->bias && !p->bias_m) {
            uint32_t c = (uint32_t)((const int32_t *)p->bias->data)[bias_at(p, 0, i)];
            j->col_add[i] = (int32_t)((uint32_t)j->col_add[i] + c);
        }
    }
}

/* Packs rows [m0, m0 + rows) of the left matrix; minus[i] gets minus the sum of row i. */
static void pack_rows(const struct job *j, const uint8_t *a, size_t m0, size_t rows, int32_t *minus)
{
    const struct product *p = j->p;
    size_t taps = (p->k + QUAD - 1) / QUAD;
    uint8_t flip = p->a->dtype == DT_U8 ? 0x80 : 0;
    memset(j->panel, 0, taps * TILE_ROWS * QUAD);
    for (size_t i = 0; i < rows; i++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < p->k; k++) {
            size_t at = p->ta ? k * p->m + m0 + i : (m0 + i) * p->k + k;
            int8_t v = (int8_t)(a[at] ^ flip);
            j->panel[k / QUAD * TILE_ROWS * QUAD + i * QUAD + k % QUAD] = v;
            sum += (uint32_t)v;
        }
        minus[i] = (int32_t)-sum;
    }
}

/* col_add for columns [n0, n0 + cols) of row i. */
static const int32_t *row_add(const struct job *j, size_t i, size_t n0, size_t cols)
{
    const struct product *p = j->p;
    if (!p->bias || !p->bias_m) {
        return j->col_add + n0;
    }
    const int32_t *bias = p->bias->data;
    for (size_t c = n0; c < n0 + cols; c++) {
        j->line[c] = (int32_t)((uint32_t)j->col_add[c] + (uint32_t)bias[bias_at(p, i, c)]);
    }
    return j->line + n0;
}

/* One matrix of the batch: rows of a against packed b into y. */
static void run_matrix(const struct job *j, const struct pack *b, const uint8_t *a, size_t m,
                       char *y)
{
    const struct product *p = j->p;
    size_t size = dtype_size(p->y->dtype);
    _Alignas(64) int32_t acc[TILE_ROWS * TILE_COLS];
    int32_t minus[TILE_ROWS];
    struct finish f = product_finish(p);
    for (size_t m0 = 0; m0 < m; m0 += TILE_ROWS) {
        size_t rows = MIN(m - m0, (size_t)TILE_ROWS);
        pack_rows(j, a, m0, rows, minus);
        for (size_t n0 = 0; n0 < p->n; n0 += TILE_COLS) {
            size_t cols = MIN(p->n - n0, (size_t)TILE_COLS);
            j->k->tile(b->x + n0 * QUAD, j->off, b->taps, j->panel, (int)((cols + 15) / 16 * 16),
                       acc);
            f.col_mul = j->col_mul + n0;
            f.col_scale = j->scale + n0;
            for (size_t i = 0; i < rows; i++) {
                f.mul = minus[i];
                f.col_add = row_add(j, m0 + i, n0, cols);
                finish_row(j->k, p->y->dtype, acc + i * TILE_COLS, cols, &f,
                           y + ((m0 + i) * p->n + n0) * size);
            }
        }
    }
}

static int product_fast(const struct product *p, const struct pack *state, struct err *err)
{
    struct job j = {.p = p, .k = kernel_int8()};
    struct pack *own = NULL;
    const struct pack *b = state;
    size_t each = p->m * p->n, size = dtype_size(p->y->dtype), packed = SIZE_MAX;
    if (p->y->n == 0) {
        return OK;
    }
    int rc = OK;
    if (!b) {
        rc = pack_new(p->k, p->n, &own, err);
        b = own;
    }
    rc = rc ? rc : job_init(&j, b, err);
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
        run_matrix(&j, b, (const uint8_t *)p->a->data + at_a, p->m,
                   (char *)p->y->data + i * each * size);
    }
    job_fini(&j);
    pack_free(own);
    return rc;
}

/* Packs a constant right matrix. */
static int product_prepare(const struct op_prep *p, int b_index, bool tb, void **state,
                           struct err *err)
{
    const struct tensor *b = b_index < p->n_in ? p->constants[b_index] : NULL;
    if (!is_code(b) || b->rank != 2 || b->n == 0) {
        return OK;
    }
    size_t k = (size_t)b->dims[tb ? 1 : 0], n = (size_t)b->dims[tb ? 0 : 1];
    struct pack *pack = NULL;
    int rc = pack_new(k, n, &pack, err);
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
    rc = fast ? product_fast(&p, c->state, err) : product_ref(&p);
    if (!rc && open == open_matmul_to_float) {
        rc = add_float_bias(c, &p, err);
    }
    return rc;
}

#define OPERATOR(name, open, b_index, tb)                                                          \
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
        return product_prepare(p, b_index, tb, state, err);                                        \
    }

OPERATOR(op_qlinear_matmul, open_qlinear_matmul, 3, false)
OPERATOR(op_qgemm, open_qgemm, 3, attr_int(p->node, "transB", 0) != 0)
OPERATOR(op_matmul_integer, open_matmul_integer, 1, false)
OPERATOR(op_matmul_to_float, open_matmul_to_float, 1, false)

static const char ms[] = "com.microsoft";

// clang-format off
const struct op op_qmatmul[] = {
    {.name = "QLinearMatMul", .since = 10, .min_in = 8, .max_in = 8, .ref = op_qlinear_matmul, .fast = op_qlinear_matmul_fast, .prepare = op_qlinear_matmul_prepare, .release = pack_free, .spec = "ONNX QLinearMatMul-10"},
    {.name = "MatMulInteger", .since = 10, .min_in = 2, .max_in = 4, .ref = op_matmul_integer, .fast = op_matmul_integer_fast, .prepare = op_matmul_integer_prepare, .release = pack_free, .spec = "ONNX MatMulInteger-10"},
    {.name = "QGemm", .domain = ms, .since = 1, .min_in = 6, .max_in = 9, .ref = op_qgemm, .fast = op_qgemm_fast, .prepare = op_qgemm_prepare, .release = pack_free, .spec = "ORT QGemm-1"},
    {.name = "MatMulIntegerToFloat", .domain = ms, .since = 1, .min_in = 4, .max_in = 7, .ref = op_matmul_to_float, .fast = op_matmul_to_float_fast, .prepare = op_matmul_to_float_prepare, .release = pack_free, .spec = "ORT MatMulIntegerToFloat-1"},
    {0},
};
// clang-format on
