/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_mlas.c: float operators in the order of summation of onnxruntime's kernels (MLAS, one thread).
 * A float operator between DQ and Q decides codes: where its result falls on the boundary of two,
 * the last bit of the sum shows. fuse.c gives such nodes the domain of this table; nothing else
 * uses it. What is not handled here is left to the ordinary operator.
 *
 * Orders found by experiment with onnxruntime 1.32 on x86 with AVX2 or AVX-512.
 */
#include "engine/conv_layout.h"
#include "engine/fuse.h"
#include "engine/op_quant.h"
#include "engine/window.h"

#include <math.h>
#include <stdlib.h>

/* Runs the ordinary operator of that name. */
static int run_ordinary(struct op_call *c, struct err *err)
{
    int opset = (int)attr_int(c->node, fuse_opset_attr, 1);
    const struct op *op = op_find("", c->node->op, opset);
    if (!op) {
        return err_set(err, E_UNSUPPORTED, "operator %s of opset %d is not supported", c->node->op,
                       opset);
    }
    struct op_call same = *c;
    same.opset = opset;
    same.state = NULL;
    return op->ref(&same, err);
}

/* ---- Conv ----------------------------------------------------------------------------------- */

/* The order in which one output's products are summed: channels in blocks, ky, kx, channels of the
 * block; in runs of `step` fused multiply-adds that start at 0 and then join the total. */
struct order {
    size_t block; /* channels */
    bool blocked; /* the layout for constant weights, see choose_order() */
};

size_t mlas_block_size(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") ? 16 : 8;
#else
    return 8;
#endif
}

/* Groups of whole blocks, depthwise in fours, else anything of less than a block or of fours. */
bool mlas_is_blocked(const struct node *n, const struct tensor *w)
{
    int64_t block = (int64_t)mlas_block_size(), g = attr_int(n, "group", 1);
    if (w->dtype != DT_F32 || w->rank != 4 || w->n == 0 || g < 1 || w->dims[0] % g) {
        return false;
    }
    int64_t cg = w->dims[1], og = w->dims[0] / g;
    if (g > 1) {
        return cg == 1 && og == 1 ? g % 4 == 0 : cg % block == 0 && og % block == 0;
    }
    return cg < block || cg % 4 == 0;
}

static struct order choose_order(const struct node *n, const struct tensor *w)
{
    size_t block = mlas_block_size();
    bool blocked = attr_int(n, fuse_blocked_attr, BLOCKED_NEVER) == BLOCKED_ALWAYS;
    return (struct order){.blocked = blocked,
                          .block = blocked && (size_t)w->dims[1] >= block ? block : 1};
}

/* from[k]: which product in the order channel, ky, kx comes k-th. */
static void list_order(const struct order *o, size_t channels, size_t taps, size_t *from)
{
    for (size_t c0 = 0; c0 < channels; c0 += o->block) {
        size_t n = MIN(o->block, channels - c0);
        for (size_t t = 0; t < taps; t++) {
            for (size_t c = 0; c < n; c++) {
                *from++ = (c0 + c) * taps + t;
            }
        }
    }
}

/* Weights as the kernels read them: [g][og/8][k][8], k in the order of `from`. */
struct pack {
    size_t og, k, blocks; /* blocks of 8 rows per group */
    struct order order;
    size_t *from;
    float *w;
};

static void pack_free(void *state)
{
    struct pack *p = state;
    if (p) {
        free(p->from);
        free(p->w);
        free(p);
    }
}

static int pack_new(const struct node *node, const struct tensor *w, int64_t groups,
                    struct pack **out, struct err *err)
{
    struct pack *p = mem_alloc(sizeof *p);
    size_t g = (size_t)groups, o = (size_t)w->dims[0], n = 0, channels = (size_t)w->dims[1];
    *p = (struct pack){.og = o / g, .k = o ? w->n / o : 0, .order = choose_order(node, w)};
    p->blocks = (p->og + TILE_ROWS - 1) / TILE_ROWS;
    int rc = OK;
    if (!mul_ok(g * p->blocks * TILE_ROWS, p->k, &n)) {
        rc = err_set(err, E_LIMIT, "weights too large to pack");
    }
    rc = rc ? rc : scratch_new(n, sizeof *p->w, (void **)&p->w, err);
    rc = rc ? rc : scratch_new(p->k, sizeof *p->from, (void **)&p->from, err);
    if (rc) {
        pack_free(p);
        return rc;
    }
    list_order(&p->order, channels, channels ? p->k / channels : 0, p->from);
    memset(p->w, 0, n * sizeof *p->w);
    for (size_t i = 0; i < o; i++) {
        size_t block = i / p->og * p->blocks + i % p->og / TILE_ROWS;
        for (size_t k = 0; k < p->k; k++) {
            p->w[(block * p->k + k) * TILE_ROWS + i % p->og % TILE_ROWS] =
                ((const float *)w->data)[i * p->k + p->from[k]];
        }
    }
    *out = p;
    return OK;
}

/* What one call works with. */
struct job {
    const struct int8_kernels *kernels;
    struct conv_shape s;
    struct conv_layout l;
    const struct pack *p;
    const float *w, *bias;
    struct tensor *y;
    size_t k, plane; /* products per output; outputs per channel */
    size_t k_step;   /* products that are summed before they join the total */
    size_t *off;     /* bytes from a pixel to each factor, in the order of the pack */
};

/* Length of the runs in which MLAS multiplies matrices, for n columns and k products. */
static size_t chain_length(size_t n, size_t k)
{
    size_t step_n = 128, step_k = 128;
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

/* One row of sums into output channel o of image n. */
static void put_row(const struct job *j, const float *sum, const struct conv_piece *pieces,
                    size_t n_pieces, size_t n, size_t o)
{
    float *y = (float *)j->y->data + (n * (size_t)j->s.o + o) * j->plane;
    for (size_t i = 0; i < n_pieces; i++) {
        const struct conv_piece *p = &pieces[i];
        for (size_t c = 0; c < p->n; c++) {
            y[p->to + c] = j->bias ? sum[p->from + c] + j->bias[o] : sum[p->from + c];
        }
    }
}

/* Several output channels and pixels: fused multiply-adds in runs of k_step. */
static void run_chain(const struct job *j, size_t n, size_t gi)
{
    const struct pack *p = j->p;
    struct conv_piece pieces[TILE_COLS];
    _Alignas(64) float acc[TILE_ROWS * TILE_COLS];
    for (size_t p0 = 0; p0 < j->l.pixels; p0 += TILE_COLS) {
        const float *x = j->l.data + p0;
        size_t cols = MIN(j->l.pixels - p0, (size_t)TILE_COLS);
        size_t n_pieces = conv_pieces(&j->l, p0, cols, pieces);
        for (size_t b = 0; b < p->blocks; b++) {
            const float *w = p->w + (gi * p->blocks + b) * p->k * TILE_ROWS;
            for (size_t k = 0; k < p->k; k += j->k_step) {
                j->kernels->chain(x, j->off + k, MIN(j->k_step, p->k - k), w + k * TILE_ROWS,
                                  (int)((cols + 15) / 16 * 16), k == 0, acc);
            }
            for (size_t i = 0; i < TILE_ROWS && b * TILE_ROWS + i < p->og; i++) {
                put_row(j, acc + i * TILE_COLS, pieces, n_pieces, n,
                        gi * p->og + b * TILE_ROWS + i);
            }
        }
    }
}

/* sum[c] += a sum of `n` <= 4 products, each rounded. */
static void add_products(const struct job *j, const float *x, const float *w, size_t k, size_t n,
                         float *sum)
{
    float t[LANE_COLS];
    for (size_t i = 0; i < n; i++) {
        const float *p = x + j->l.off[k + i] / sizeof *x, b = w[k + i];
        for (int c = 0; c < LANE_COLS; c++) {
            t[c] = i ? t[c] + p[c] * b : p[c] * b;
        }
    }
    for (int c = 0; c < LANE_COLS; c++) {
        sum[c] += t[c];
    }
}

/* One output channel per group: products rounded and added in fours within each run, then two, then
 * one. */
static void run_single(const struct job *j, size_t n, size_t gi)
{
    struct conv_piece pieces[LANE_COLS];
    for (size_t p0 = 0; p0 < j->l.pixels; p0 += LANE_COLS) {
        const float *x = j->l.data + p0;
        float sum[LANE_COLS] = {0};
        for (size_t k = 0; k < j->k; k += j->k_step) {
            size_t left = MIN(j->k_step, j->k - k);
            for (size_t i = 0, m; i < left; i += m) {
                m = left - i >= 4 ? 4 : left - i >= 2 ? 2 : 1;
                add_products(j, x, j->w + gi * j->k, k + i, m, sum);
            }
        }
        size_t cols = MIN(j->l.pixels - p0, (size_t)LANE_COLS);
        size_t n_pieces = conv_pieces(&j->l, p0, cols, pieces);
        put_row(j, sum, pieces, n_pieces, n, gi);
    }
}

/* Eight partial sums into one, in the order that depends on how many filters are taken at once. */
static float fold_lanes(const float *l, int filters)
{
    if (filters == 4) {
        return (((l[0] + l[1]) + l[2]) + l[3]) + (((l[4] + l[5]) + l[6]) + l[7]);
    }
    if (filters == 2) {
        return ((l[2] + l[0]) + (l[6] + l[4])) + ((l[3] + l[1]) + (l[7] + l[5]));
    }
    return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]));
}

/* One output pixel: eight interleaved sums of rounded products along k. */
static void run_pixel(const struct job *j, size_t n, size_t gi)
{
    size_t og = (size_t)(j->s.o / j->s.g);
    const struct conv_piece all = {0, 1, 0};
    for (size_t o = 0; o < og; o++) {
        const float *w = j->w + (gi * og + o) * j->k;
        float lanes[8] = {0};
        for (size_t k = 0; k < j->k; k++) {
            const float *x = j->l.data + j->l.off[k] / sizeof(float);
            lanes[k % 8] += x[0] * w[k];
        }
        size_t left = og - o / 4 * 4; /* from the start of this block of four */
        int filters = left >= 4 ? 4 : left >= 2 && o % 4 < 2 ? 2 : 1;
        float sum = fold_lanes(lanes, filters);
        put_row(j, &sum, &all, 1, n, gi * og + o);
    }
}

static int conv_open(struct op_call *c, struct job *j, struct err *err)
{
    const struct tensor *x = c->in[0], *w = c->in[1], *b = c->n_in > 2 ? c->in[2] : NULL;
    int rc = conv_shape_read(c, x, w, &j->s, err);
    if (!rc && b && (b->dtype != DT_F32 || b->n != (size_t)j->s.o)) {
        rc = err_set(err, E_SHAPE, "bias has %zu values of %s, expected %lld float32", b->n,
                     dtype_name(b->dtype), (long long)j->s.o);
    }
    rc = rc ? rc : op_out(c, 0, DT_F32, j->s.rank, j->s.out, err);
    j->y = c->out[0];
    j->w = w->data;
    j->bias = b ? b->data : NULL;
    j->k = (size_t)(j->s.cg * j->s.kh * j->s.kw);
    j->plane = (size_t)(j->s.oh * j->s.ow);
    return rc;
}

enum { POINTWISE_RUN = 128 }; /* channels that a blocked pointwise convolution sums at a time */

/* Length of the runs of multiply-adds. */
static size_t run_length(const struct job *j, const struct order *o, bool single)
{
    size_t taps = (size_t)(j->s.kh * j->s.kw);
    bool padded = j->s.pt || j->s.pl || j->s.pb || j->s.pr;
    if (!o->blocked) {
        return single && conv_is_pointwise(&j->s) ? j->k : chain_length(j->plane, j->k);
    }
    return o->block > 1 && taps == 1 && !padded ? POINTWISE_RUN : o->block * taps;
}

/* Offsets of the layout in the order of the pack. */
static int order_offsets(struct job *j, struct err *err)
{
    int rc = scratch_new(j->k, sizeof *j->off, (void **)&j->off, err);
    for (size_t k = 0; !rc && k < j->k; k++) {
        j->off[k] = j->l.off[j->p->from[k]];
    }
    return rc;
}

static int conv_run(struct op_call *c, const struct int8_kernels *kernels, struct err *err)
{
    struct job j = {.kernels = kernels, .p = c->state};
    struct pack *own = NULL;
    const struct tensor *x = c->in[0], *w = c->in[1];
    if (!x || !w || x->dtype != DT_F32 || w->dtype != DT_F32 || x->rank > 4) {
        return run_ordinary(c, err);
    }
    int rc = conv_open(c, &j, err);
    if (rc || j.y->n == 0) {
        return rc;
    }
    struct order order = choose_order(c->node, w);
    bool single = !order.blocked && j.s.o == j.s.g;
    bool pixel = !order.blocked && !single && j.plane == 1;
    j.k_step = MAX(run_length(&j, &order, single), (size_t)1);
    rc = conv_layout_init(&j.l, &j.s, err);
    if (!rc && !single && !pixel) {
        if (!j.p) {
            rc = pack_new(c->node, w, j.s.g, &own, err);
            j.p = own;
        }
        rc = rc ? rc : order_offsets(&j, err);
    }
    void (*run)(const struct job *, size_t, size_t) = single  ? run_single
                                                      : pixel ? run_pixel
                                                              : run_chain;
    size_t groups = (size_t)j.s.g, each = (size_t)(j.s.cg * j.s.h * j.s.w);
    for (size_t i = 0; !rc && i < (size_t)j.s.n * groups; i++) {
        conv_layout_fill(&j.l, (const float *)x->data + i * each);
        run(&j, i / groups, i % groups);
    }
    conv_layout_fini(&j.l);
    free(j.off);
    pack_free(own);
    return rc;
}

static int op_conv_ref(struct op_call *c, struct err *err)
{
    return conv_run(c, &kernel_int8_plain, err);
}

static int op_conv_fast(struct op_call *c, struct err *err)
{
    return conv_run(c, kernel_int8(), err);
}

static int op_conv_prepare(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *w = p->n_in > 1 ? p->constants[1] : NULL;
    int64_t groups = attr_int(p->node, "group", 1);
    if (!w || w->dtype != DT_F32 || w->rank < 3 || w->rank > 4 || w->n == 0 || groups < 1 ||
        w->dims[0] % groups || (w->dims[0] == groups && !choose_order(p->node, w).blocked)) {
        return OK;
    }
    struct pack *pack = NULL;
    int rc = pack_new(p->node, w, groups, &pack, err);
    *state = pack;
    return rc;
}

/* ---- Means of whole planes ------------------------------------------------------------------ */

/* Four interleaved sums, folded, then what is left one by one; all of it one by one if `blocked`.
 */
static float plane_mean(const float *x, size_t n, bool blocked)
{
    float v[4] = {0}, mean;
    size_t i = 0;
    for (; i + 4 <= n && !blocked; i += 4) {
        for (size_t k = 0; k < 4; k++) {
            v[k] += x[i + k];
        }
    }
    mean = (v[0] + v[2]) + (v[1] + v[3]);
    for (; i < n; i++) {
        mean += x[i];
    }
    return mean / (float)n;
}

static int op_global_average_pool(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK];
    if (!x || x->dtype != DT_F32 || x->rank < 3 || x->n == 0) {
        return run_ordinary(c, err);
    }
    for (int i = 0; i < x->rank; i++) {
        dims[i] = i < 2 ? x->dims[i] : 1;
    }
    int rc = op_out(c, 0, DT_F32, x->rank, dims, err);
    size_t each = rc ? 0 : x->n / c->out[0]->n;
    bool blocked = attr_int(c->node, fuse_blocked_attr, BLOCKED_NEVER) == BLOCKED_ALWAYS;
    for (size_t i = 0; !rc && i < c->out[0]->n; i++) {
        ((float *)c->out[0]->data)[i] =
            plane_mean((const float *)x->data + i * each, each, blocked);
    }
    return rc;
}

/* ---- AveragePool ---------------------------------------------------------------------------- */

enum pool_order { POOL_ROWS, POOL_COLUMNS, POOL_WHOLE };

/* In the blocked layout and since opset 19 windows are summed row by row. Before, MLAS has a kernel
 * for the whole image, and one for steps of up to 2 along rows, which sums columns first. */
static enum pool_order pool_order(const struct window *w, const struct node *n)
{
    int64_t mark = attr_int(n, fuse_blocked_attr, BLOCKED_NEVER);
    bool blocked = mark == BLOCKED_ALWAYS ||
                   (mark == BLOCKED_IF_WHOLE && w->c % (int64_t)mlas_block_size() == 0);
    bool steps = w->s[0] == 1 && w->s[1] == 1 && w->s[2] == 1;
    if (attr_int(n, fuse_opset_attr, 1) >= 19 || blocked) {
        return POOL_ROWS;
    }
    return steps && window_is_whole(w)    ? POOL_WHOLE
           : w->rank == 2 && w->s[2] <= 2 ? POOL_COLUMNS
                                          : POOL_ROWS;
}

/* Sum over rows [y0, y1) and columns [x0, x1) of a plane that is `width` wide. */
static float sum_window(const float *x, int64_t width, const int64_t y[2], const int64_t at[2],
                        enum pool_order order)
{
    float sum = 0;
    if (order == POOL_ROWS) {
        for (int64_t i = y[0]; i < y[1]; i++) {
            for (int64_t k = at[0]; k < at[1]; k++) {
                sum += x[i * width + k];
            }
        }
        return sum;
    }
    for (int64_t k = at[0]; k < at[1]; k++) {
        float column = 0;
        for (int64_t i = y[0]; i < y[1]; i++) {
            column += x[i * width + k];
        }
        sum += column;
    }
    return sum;
}

/* One plane in two dimensions without dilation. */
static void pool_plane(const struct window *w, const float *x, enum pool_order order, bool with_pad,
                       float *out)
{
    for (int64_t oy = 0; oy < w->out[1]; oy++) {
        int64_t y[2], y0 = oy * w->s[1] - w->lo[1];
        y[0] = MAX(y0, 0);
        y[1] = MIN(y0 + w->k[1], w->in[1]);
        for (int64_t ox = 0; ox < w->out[2]; ox++) {
            int64_t at[2], x0 = ox * w->s[2] - w->lo[2];
            at[0] = MAX(x0, 0);
            at[1] = MIN(x0 + w->k[2], w->in[2]);
            int64_t n = with_pad ? w->k_n : (y[1] - y[0]) * (at[1] - at[0]);
            *out++ = sum_window(x, w->in[2], y, at, order) / (float)n;
        }
    }
}

static int op_average_pool(struct op_call *c, struct err *err)
{
    struct window w;
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK];
    if (!x || x->dtype != DT_F32 || x->rank != 4 || attr_int(c->node, "ceil_mode", 0)) {
        return run_ordinary(c, err);
    }
    int rc = window_read(c, x, NULL, &w, err);
    if (rc) {
        return rc;
    }
    enum pool_order order = pool_order(&w, c->node);
    if (w.d[1] != 1 || w.d[2] != 1) {
        return run_ordinary(c, err);
    }
    if (order == POOL_WHOLE) {
        return op_global_average_pool(c, err);
    }
    rc = op_out(c, 0, DT_F32, window_dims(&w, w.c, dims), dims, err);
    for (int64_t i = 0; !rc && c->out[0]->n && i < w.n * w.c; i++) {
        pool_plane(&w, (const float *)x->data + i * w.in_n, order,
                   attr_int(c->node, "count_include_pad", 0) != 0,
                   (float *)c->out[0]->data + i * w.out_n);
    }
    return rc;
}

/* ---- Sigmoid -------------------------------------------------------------------------------- */

static int op_sigmoid(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (!x || x->dtype != DT_F32) {
        return run_ordinary(c, err);
    }
    int rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    for (size_t i = 0; !rc && i < x->n; i++) {
        ((float *)c->out[0]->data)[i] = logistic_mlas(((const float *)x->data)[i]);
    }
    return rc;
}

/* ---- Resize, linear in two dimensions ------------------------------------------------------- */

/* Neighbours and weights of every output index along one dimension. */
struct axis {
    int64_t in, out;
    float scale;
    int64_t *a, *b; /* [out] neighbours */
    float *da, *db; /* [out] distances to them: da weighs b and the other way round */
};

static float source_of(const char *mode, const struct axis *x, int64_t i)
{
    if (strcmp(mode, "asymmetric") == 0) {
        return (float)i / x->scale;
    }
    if (strcmp(mode, "align_corners") == 0) {
        return x->out > 1 ? (float)i * (float)(x->in - 1) / (float)(x->out - 1) : 0.0F;
    }
    if (strcmp(mode, "pytorch_half_pixel") == 0 && x->out <= 1) {
        return 0;
    }
    return ((float)i + 0.5F) / x->scale - 0.5F;
}

static int axis_fill(struct axis *x, const char *mode, struct err *err)
{
    size_t n = (size_t)x->out;
    int rc = scratch_new(n, sizeof *x->a, (void **)&x->a, err);
    rc = rc ? rc : scratch_new(n, sizeof *x->b, (void **)&x->b, err);
    rc = rc ? rc : scratch_new(n, sizeof *x->da, (void **)&x->da, err);
    rc = rc ? rc : scratch_new(n, sizeof *x->db, (void **)&x->db, err);
    for (int64_t i = 0; !rc && i < x->out; i++) {
        float at = clamp_x86(source_of(mode, x, i), 0.0F, (float)(x->in - 1));
        x->a[i] = MIN((int64_t)at, x->in - 1);
        x->b[i] = MIN(x->a[i] + 1, x->in - 1);
        x->da[i] = x->a[i] == x->b[i] ? 0.5F : fabsf(at - (float)x->a[i]);
        x->db[i] = x->a[i] == x->b[i] ? 0.5F : fabsf(at - (float)x->b[i]);
    }
    return rc;
}

static void axis_fini(struct axis *x)
{
    free(x->a);
    free(x->b);
    free(x->da);
    free(x->db);
}

/* Sizes and scales of the last two dimensions; false when this is not the case handled here. */
static bool resize_axes(const struct op_call *c, struct axis *y, struct axis *x)
{
    const struct tensor *t = c->in[0], *scales = c->n_in > 2 ? c->in[2] : NULL;
    const struct tensor *sizes = c->n_in > 3 ? c->in[3] : NULL;
    bool by_size = sizes && sizes->n == 4;
    const struct tensor *list = by_size ? sizes : scales;
    if (!t || t->dtype != DT_F32 || t->rank != 4 || t->n == 0 || !list || list->n != 4) {
        return false;
    }
    struct axis a[4];
    for (int i = 0; i < 4; i++) {
        a[i] = (struct axis){.in = t->dims[i], .scale = (float)tensor_f64(list, (size_t)i)};
        float out = by_size ? a[i].scale : floorf((float)a[i].in * a[i].scale);
        if (!(out >= 1 && out <= 0x1p24f)) {
            return false;
        }
        a[i].out = (int64_t)out;
        a[i].scale = by_size ? (float)a[i].out / (float)a[i].in : a[i].scale;
    }
    *y = a[2];
    *x = a[3];
    return a[0].in == a[0].out && a[1].in == a[1].out;
}

/* y = da da' x11 + ... with the two weights multiplied first, summed in this order. */
static void resize_plane(const struct axis *ay, const struct axis *ax, const float *src, float *dst)
{
    for (int64_t i = 0; i < ay->out; i++) {
        const float *top = src + ay->a[i] * ax->in, *bottom = src + ay->b[i] * ax->in;
        float ya = ay->da[i], yb = ay->db[i];
        for (int64_t k = 0; k < ax->out; k++) {
            float xa = ax->da[k], xb = ax->db[k], sum = xb * yb * top[ax->a[k]];
            sum += xa * yb * top[ax->b[k]];
            sum += xb * ya * bottom[ax->a[k]];
            sum += xa * ya * bottom[ax->b[k]];
            *dst++ = sum;
        }
    }
}

static int op_resize_linear(struct op_call *c, struct err *err)
{
    struct axis y = {0}, x = {0};
    const char *mode = attr_string(c->node, "coordinate_transformation_mode", "half_pixel");
    if (!resize_axes(c, &y, &x)) {
        return run_ordinary(c, err);
    }
    const int64_t *in = c->in[0]->dims, dims[] = {in[0], in[1], y.out, x.out};
    int rc = op_out(c, 0, DT_F32, 4, dims, err);
    rc = rc ? rc : axis_fill(&y, mode, err);
    rc = rc ? rc : axis_fill(&x, mode, err);
    for (int64_t i = 0; !rc && i < in[0] * in[1]; i++) {
        resize_plane(&y, &x, (const float *)c->in[0]->data + i * in[2] * in[3],
                     (float *)c->out[0]->data + i * y.out * x.out);
    }
    axis_fini(&y);
    axis_fini(&x);
    return rc;
}

// clang-format off
const struct op op_mlas[] = {
    {.name = "Conv", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 3, .ref = op_conv_ref, .fast = op_conv_fast, .prepare = op_conv_prepare, .release = pack_free, .spec = "ORT Conv, order of sums"},
    {.name = "GlobalAveragePool", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_global_average_pool, .spec = "ORT GlobalAveragePool, order of sums"},
    {.name = "AveragePool", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_average_pool, .spec = "ORT AveragePool, order of sums"},
    {.name = "Sigmoid", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_sigmoid, .spec = "ORT Sigmoid, rational approximation"},
    {.name = "Resize", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 4, .ref = op_resize_linear, .spec = "ORT Resize, order of sums"},
    {0},
};
// clang-format on
