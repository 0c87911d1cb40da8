/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_mlas.c: float operators in the order of summation of onnxruntime's kernels (MLAS, one thread);
 * Conv is in op_mlas_conv.c. A float operator between DQ and Q decides codes: where its result
 * falls on the boundary of two, the last bit of the sum shows. fuse.c gives such nodes the domain
 * of this table; nothing else uses it. What is not handled here is left to the ordinary operator.
 *
 * Orders found by experiment with onnxruntime 1.32 on x86 with AVX2 or AVX-512.
 */
#include "engine/op_mlas.h"
#include "engine/op_quant.h"
#include "engine/window.h"

#include <math.h>
#include <stdlib.h>

int mlas_run_ordinary(struct op_call *c, struct err *err)
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

static bool pool_is_blocked(const struct node *n, const struct tensor *x)
{
    return x->rank == 4 && attr_int(n, fuse_blocked_attr, BLOCKED_NEVER) == BLOCKED_IF_WHOLE &&
           x->dims[1] % (int64_t)mlas_block_size() == 0;
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
        return mlas_run_ordinary(c, err);
    }
    for (int i = 0; i < x->rank; i++) {
        dims[i] = i < 2 ? x->dims[i] : 1;
    }
    int rc = op_out(c, 0, DT_F32, x->rank, dims, err);
    size_t each = rc ? 0 : x->n / c->out[0]->n;
    bool blocked = pool_is_blocked(c->node, x);
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
static enum pool_order pool_order(const struct window *w, const struct node *n, bool blocked)
{
    const bool ceil_mode = attr_int(n, "ceil_mode", 0) && attr_int(n, "count_include_pad", 0);
    bool steps = w->s[0] == 1 && w->s[1] == 1 && w->s[2] == 1;
    if (attr_int(n, fuse_opset_attr, 1) >= 19 || blocked || ceil_mode) {
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

/* Elements of a window that begins at y0 and x0, in the padding as well; what lies behind that does
 * not count. */
static int64_t padded_size(const struct window *w, int64_t y0, int64_t x0)
{
    const int64_t y1 = MIN(y0 + w->k[1], w->in[1] + w->hi[1]);
    const int64_t x1 = MIN(x0 + w->k[2], w->in[2] + w->hi[2]);
    return (y1 - y0) * (x1 - x0);
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
            int64_t n = with_pad ? padded_size(w, y0, x0) : (y[1] - y[0]) * (at[1] - at[0]);
            *out++ = sum_window(x, w->in[2], y, at, order) / (float)n;
        }
    }
}

static int op_average_pool(struct op_call *c, struct err *err)
{
    struct window w;
    const struct tensor *x = c->in[0];
    int64_t dims[MAX_RANK];
    if (!x || x->dtype != DT_F32 || x->rank < 3 || x->rank > 4) {
        return mlas_run_ordinary(c, err);
    }
    int rc = window_read(c, x, NULL, &w, err);
    if (rc) {
        return rc;
    }
    enum pool_order order = pool_order(&w, c->node, pool_is_blocked(c->node, x));
    if (w.d[1] != 1 || w.d[2] != 1) {
        return mlas_run_ordinary(c, err);
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
        return mlas_run_ordinary(c, err);
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
    scratch_free(x->a);
    scratch_free(x->b);
    scratch_free(x->da);
    scratch_free(x->db);
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
        return mlas_run_ordinary(c, err);
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

/* ---- BatchNormalization --------------------------------------------------------------------- */

/* y = x * a + b with a = scale / sqrt(var + epsilon), b = bias - mean * a; each step in float32. */
static int op_batch_norm(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    bool plain = x->dtype == DT_F32 && x->rank >= 2 && x->n > 0;
    for (int k = 1; k < 5 && plain; k++) {
        plain =
            c->in[k]->dtype == DT_F32 && c->in[k]->rank == 1 && c->in[k]->n == (size_t)x->dims[1];
    }
    if (!plain) {
        return mlas_run_ordinary(c, err);
    }
    int rc = op_out(c, 0, DT_F32, x->rank, x->dims, err);
    const float epsilon = attr_float(c->node, "epsilon", 1e-5F);
    const size_t channels = (size_t)x->dims[1], plane = x->n / ((size_t)x->dims[0] * channels);
    for (size_t i = 0; !rc && i < x->n / plane; i++) {
        const size_t ch = i % channels;
        const float *from = (const float *)x->data + i * plane;
        float *to = (float *)c->out[0]->data + i * plane;
        const float inverse = 1 / sqrtf((float)tensor_f64(c->in[4], ch) + epsilon);
        const float a = inverse * (float)tensor_f64(c->in[1], ch);
        const float b = (float)tensor_f64(c->in[2], ch) - (float)tensor_f64(c->in[3], ch) * a;
        for (size_t k = 0; k < plane; k++) {
            to[k] = from[k] * a + b;
        }
    }
    return rc;
}

// clang-format off
const struct op op_mlas[] = {
    {.name = "GlobalAveragePool", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_global_average_pool, .spec = "ORT GlobalAveragePool, order of sums"},
    {.name = "AveragePool", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_average_pool, .spec = "ORT AveragePool, order of sums"},
    {.name = "Sigmoid", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 1, .ref = op_sigmoid, .spec = "ORT Sigmoid, rational approximation"},
    {.name = "BatchNormalization", .domain = fuse_mlas_domain, .since = 1, .min_in = 5, .max_in = 5, .ref = op_batch_norm, .spec = "ORT BatchNormalization in float32"},
    {.name = "Resize", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 4, .ref = op_resize_linear, .spec = "ORT Resize, order of sums"},
    {0},
};
// clang-format on
