/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_mlas.c: float operators in the order of onnxruntime's sums: each order written out for a
 * small shape, with numbers that give other bits in another order. That these are the runtime's
 * orders is checked against it (oracle/); convolutions are in test_f32.c.
 */
#include "tests/op_fixture.h"

#include <math.h>

#include "engine/fuse.h"

/* Numbers of 24 bits, so that each sum is rounded and its order shows. */
static void fill(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = ldexpf((float)random_int(-(1 << 24), 1 << 24), (int)random_int(-26, -20));
    }
}

static struct fixture operator_of(const char *op, int opset, int rank, const int64_t *dims,
                                  float *v)
{
    struct fixture f = fixture_new(op, 13);
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    f.node->domain = fuse_mlas_domain;
    graph_attr_int(f.g, f.node, fuse_opset_attr, opset);
    fill(t->data, t->n);
    memcpy(v, t->data, t->size);
    fixture_input(&f, t, false);
    return f;
}

static struct tensor *run(struct fixture *f)
{
    struct tensor *y = NULL;
    struct err err = {0};
    if (fixture_run(f, KERNELS_FAST, &y, &err)) {
        fail_msg("%s: %s", f->node->op, err.text);
    }
    return y;
}

/* Runs, compares to the bit, and ends the fixture. */
static void want(struct fixture *f, const char *what, size_t n, const float *y)
{
    struct tensor *t = run(f);
    if (t->n != n || memcmp(t->data, y, n * sizeof *y) != 0) {
        fail_msg("%s, %s: element 0 of %zu is %.9g, expected %.9g", f->node->op, what, t->n,
                 (double)((const float *)t->data)[0], (double)y[0]);
    }
    tensor_free(t);
    fixture_free(f);
}

/* ---- ReduceSum, ReduceMean ------------------------------------------------------------------ */

/* Sums of rows in fours end so. */
static float folded(const float *a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* One vector of four from v[at], then single elements. */
static float four_and(const float *v, size_t at, size_t n, const size_t *others)
{
    float sum = folded(v + at);
    for (size_t i = 0; i < n; i++) {
        sum += v[others[i]];
    }
    return sum;
}

static void reduce_as(const char *what, int rank, const int64_t *dims, unsigned axes, size_t n,
                      void (*order)(const float *v, float *y))
{
    for (int mean = 0; mean < 2; mean++) {
        /* Axes are an input of ReduceSum-13, an attribute of ReduceMean-13. */
        float v[256], y[32];
        struct fixture f = operator_of(mean ? "ReduceMean" : "ReduceSum", 13, rank, dims, v);
        int64_t list[MAX_RANK], count = 0, total = 1;
        for (int d = 0; d < rank; d++) {
            total *= dims[d];
            if (axes >> d & 1) {
                list[count++] = d;
            }
        }
        if (mean) {
            graph_attr_ints(f.g, f.node, "axes", (size_t)count, list);
        } else {
            struct tensor *t = NULL;
            assert_int_equal(tensor_new(DT_S64, 1, &count, NULL, &t, NULL), OK);
            memcpy(t->data, list, t->size);
            fixture_input(&f, t, true);
        }
        graph_attr_int(f.g, f.node, "keepdims", mean);
        order(v, y);
        for (size_t i = 0; mean && i < n; i++) {
            y[i] /= (float)((size_t)total / n);
        }
        want(&f, what, n, y);
    }
}

static void three(const float *v, float *y)
{
    y[0] = (v[0] + v[1]) + v[2];
}

static void six(const float *v, float *y)
{
    y[0] = four_and(v, 0, 2, (const size_t[]){4, 5});
}

static void eleven(const float *v, float *y)
{
    float a[4];
    for (int k = 0; k < 4; k++) {
        a[k] = v[k] + v[4 + k];
    }
    y[0] = folded(a) + v[8] + v[9] + v[10];
}

/* Two accumulators take vectors by turns; an odd last one goes to their sum. */
static void twenty(const float *v, float *y)
{
    float a[4];
    for (int k = 0; k < 4; k++) {
        a[k] = ((v[k] + v[8 + k]) + (v[4 + k] + v[12 + k])) + v[16 + k];
    }
    y[0] = folded(a);
}

/* Rows of 7 begin at 0, 7 and 14: vectors begin at 0, 8 and 16, where addresses are even. */
static void rows_of_seven(const float *v, float *y)
{
    y[0] = four_and(v, 0, 3, (const size_t[]){4, 5, 6});
    y[1] = four_and(v, 8, 3, (const size_t[]){7, 12, 13});
    y[2] = four_and(v, 16, 3, (const size_t[]){14, 15, 20});
}

/* Rows of 3 have no whole vector. */
static void rows_of_three(const float *v, float *y)
{
    for (int i = 0; i < 2; i++) {
        y[i] = (v[3 * i] + v[3 * i + 1]) + v[3 * i + 2];
    }
}

/* [2,2,4]: sums of rows are added in turn. */
static void rows_outside(const float *v, float *y)
{
    for (int i = 0; i < 2; i++) {
        y[i] = folded(v + 4 * i) + folded(v + 8 + 4 * i);
    }
}

/* [5,3] */
static void columns(const float *v, float *y)
{
    for (int i = 0; i < 3; i++) {
        y[i] = (((v[i] + v[3 + i]) + v[6 + i]) + v[9 + i]) + v[12 + i];
    }
}

/* [2,7,3]: four rows, two rows, one row. */
static void products(const float *v, float *y)
{
    for (int i = 0; i < 6; i++) {
        const float *x = v + i / 3 * 21 + i % 3;
        y[i] = ((((x[0] + x[3]) + x[6]) + x[9]) + (x[12] + x[15])) + x[18];
    }
}

/* [2,3,2,2] over the second and the last: element by element. */
static void elements(const float *v, float *y)
{
    for (int i = 0; i < 4; i++) {
        const float *x = v + i / 2 * 12 + i % 2 * 2;
        y[i] = ((((x[0] + x[1]) + x[4]) + x[5]) + x[8]) + x[9];
    }
}

/* [1,5,3] over the middle: no product, since the first is one. */
static void single(const float *v, float *y)
{
    columns(v, y);
}

static void orders_of_reductions(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        reduce_as("R", 1, (int64_t[]){3}, 1, 1, three);
        reduce_as("R", 2, (int64_t[]){2, 3}, 3, 1, six);
        reduce_as("R", 1, (int64_t[]){11}, 1, 1, eleven);
        reduce_as("R", 2, (int64_t[]){4, 5}, 3, 1, twenty);
        reduce_as("KR", 2, (int64_t[]){3, 7}, 2, 3, rows_of_seven);
        reduce_as("KR", 2, (int64_t[]){2, 3}, 2, 2, rows_of_three);
        reduce_as("RKR", 3, (int64_t[]){2, 2, 4}, 5, 2, rows_outside);
        reduce_as("RK", 2, (int64_t[]){5, 3}, 1, 3, columns);
        reduce_as("KRK", 3, (int64_t[]){2, 7, 3}, 2, 6, products);
        reduce_as("KRKR", 4, (int64_t[]){2, 3, 2, 2}, 10, 4, elements);
        reduce_as("1RK", 3, (int64_t[]){1, 5, 3}, 2, 3, single);
    }
}

/* ---- Pools ---------------------------------------------------------------------------------- */

enum { MOST_CHANNELS = 16 };

/* Behind a blocked convolution the layout stays if channels are whole blocks. */
static void global_pools(void **state)
{
    (void)state;
    const int64_t block = (int64_t)mlas_block_size();
    for (int round = 0; round < 20; round++) {
        const int mark = round % 2 ? BLOCKED_IF_WHOLE : BLOCKED_NEVER;
        const int64_t channels = round % 4 < 2 ? block : 2;
        const bool blocked = mark == BLOCKED_IF_WHOLE && channels == block;
        float v[6 * MOST_CHANNELS], y[MOST_CHANNELS];
        struct fixture f =
            operator_of("GlobalAveragePool", 13, 4, (int64_t[]){1, channels, 2, 3}, v);
        graph_attr_int(f.g, f.node, fuse_blocked_attr, mark);
        for (int64_t c = 0; c < channels; c++) {
            const float *x = v + 6 * c;
            float sum = blocked ? ((x[0] + x[1]) + x[2]) + x[3] : folded(x);
            y[c] = (sum + x[4] + x[5]) / 6;
        }
        want(&f, blocked ? "blocked" : "plain", (size_t)channels, y);
    }
}

/* 2x2 over [3,3] with one row and column of padding in front, of one channel, or of a block of
 * them where that adds by rows. */
static void pools(void **state)
{
    (void)state;
    /* Steps of 1 sum columns first, unless the opset is 19 or the layout blocked; so do longer
     * steps along rows. */
    static const struct {
        int opset, blocked, with_pad;
        int64_t step;
        bool rows;
    } ways[] = {
        {13, BLOCKED_NEVER, 0, 1, false}, {13, BLOCKED_NEVER, 1, 1, false},
        {19, BLOCKED_NEVER, 0, 1, true},  {13, BLOCKED_IF_WHOLE, 1, 1, true},
        {13, BLOCKED_NEVER, 0, 3, true},  {13, BLOCKED_IF_WHOLE, 0, 1, false},
    };
    for (size_t w = 0; w < COUNT(ways); w++) {
        float v[9 * MOST_CHANNELS], y[9 * MOST_CHANNELS];
        size_t n = 0;
        const int64_t step = ways[w].step, channels = ways[w].rows ? (int64_t)mlas_block_size() : 1;
        struct fixture f =
            operator_of("AveragePool", ways[w].opset, 4, (int64_t[]){1, channels, 3, 3}, v);
        graph_attr_ints(f.g, f.node, "kernel_shape", 2, (int64_t[]){2, 2});
        graph_attr_ints(f.g, f.node, "pads", 4, (int64_t[]){1, 1, 0, 0});
        graph_attr_ints(f.g, f.node, "strides", 2, (int64_t[]){step, step});
        graph_attr_int(f.g, f.node, "count_include_pad", ways[w].with_pad);
        graph_attr_int(f.g, f.node, fuse_blocked_attr, ways[w].blocked);
        for (int64_t i = 0; i < channels * 9; i++) {
            const int64_t r = i / 3 % 3, c = i % 3;
            if (r % step || c % step) {
                continue;
            }
            const float *at = v + i - 4; /* the window's first */
            float a = r && c ? at[0] : 0, b = r ? at[1] : 0, d = c ? at[3] : 0, e = at[4];
            float count = ways[w].with_pad ? 4 : (float)((1 + (r > 0)) * (1 + (c > 0)));
            y[n++] = (ways[w].rows ? ((a + b) + d) + e : (a + d) + (b + e)) / count;
        }
        want(&f, ways[w].rows ? "rows" : "columns", n, y);
    }
    float v[6], y[1];
    struct fixture f = operator_of("AveragePool", 13, 4, (int64_t[]){1, 1, 2, 3}, v);
    graph_attr_ints(f.g, f.node, "kernel_shape", 2, (int64_t[]){2, 3});
    y[0] = (folded(v) + v[4] + v[5]) / 6; /* as the global one */
    want(&f, "whole", 1, y);
}

/* What has no order of its own goes to the ordinary operator: other ranks, dilation. */
static void ordinary_operators(void **state)
{
    (void)state;
    float v[8], y[4];
    struct fixture f = operator_of("AveragePool", 13, 3, (int64_t[]){1, 1, 4}, v);
    graph_attr_ints(f.g, f.node, "kernel_shape", 1, (int64_t[]){2});
    for (int i = 0; i < 3; i++) {
        y[i] = (v[i] + v[i + 1]) / 2;
    }
    want(&f, "rank 3", 3, y);
    f = operator_of("AveragePool", 19, 4, (int64_t[]){1, 1, 1, 4}, v);
    graph_attr_ints(f.g, f.node, "kernel_shape", 2, (int64_t[]){1, 2});
    graph_attr_ints(f.g, f.node, "dilations", 2, (int64_t[]){1, 2});
    for (int i = 0; i < 2; i++) {
        y[i] = (v[i] + v[i + 2]) / 2;
    }
    want(&f, "dilated", 2, y);
    f = fixture_new("ReduceSum", 13);
    f.node->domain = fuse_mlas_domain;
    graph_attr_int(f.g, f.node, fuse_opset_attr, 13);
    struct tensor *t = NULL, *out;
    assert_int_equal(tensor_new(DT_S32, 1, (int64_t[]){3}, NULL, &t, NULL), OK);
    memcpy(t->data, (int32_t[]){1, 2, 1 << 30}, 12);
    fixture_input(&f, t, false);
    out = run(&f);
    assert_int_equal(out->dtype, DT_S32);
    assert_int_equal(*(int32_t *)out->data, (1 << 30) + 3);
    tensor_free(out);
    fixture_free(&f);
}

/* ---- Element by element --------------------------------------------------------------------- */

static void sigmoids(void **state)
{
    (void)state;
    float v[64];
    struct fixture f = operator_of("Sigmoid", 13, 1, (int64_t[]){64}, v);
    float *x = f.in[0]->data;
    for (int i = 0; i < 64; i++) {
        x[i] = v[i] = i == 0 ? -1e30F : i == 1 ? 1e30F : (float)(i - 32) * 0.6F;
    }
    struct tensor *y = run(&f);
    for (int i = 0; i < 64; i++) {
        double real = 1 / (1 + exp(-(double)v[i])), got = (double)((float *)y->data)[i];
        assert_true(fabs(got - real) < 3e-7 && got >= 0 && got <= 1);
    }
    tensor_free(y);
    fixture_free(&f);
}

/* y = x * a + b in float32 with a = scale / sqrt(variance + epsilon), b = bias - mean * a. */
static void batch_norms(void **state)
{
    (void)state;
    float v[12], y[12], p[4][2] = {{0.7F, -1.3F}, {0.1F, 5}, {0.3F, -7}, {2.5F, 0.11F}};
    struct fixture f = operator_of("BatchNormalization", 9, 3, (int64_t[]){2, 2, 3}, v);
    for (int k = 0; k < 4; k++) {
        struct tensor *t = NULL;
        assert_int_equal(tensor_new(DT_F32, 1, (int64_t[]){2}, NULL, &t, NULL), OK);
        memcpy(t->data, p[k], sizeof p[k]);
        fixture_input(&f, t, true);
    }
    for (int i = 0; i < 12; i++) {
        int c = i / 3 % 2;
        float a = 1 / sqrtf(p[3][c] + 1e-5F) * p[0][c], b = p[1][c] - p[2][c] * a;
        y[i] = v[i] * a + b;
    }
    want(&f, "channels", 12, y);
}

/* ---- Resize, linear ------------------------------------------------------------------------- */

/* Where output i of `out` looks in `in`, by the definition of the mode. */
static double source(const char *mode, int i, int in, int out)
{
    double scale = (double)out / in;
    if (strcmp(mode, "asymmetric") == 0) {
        return i / scale;
    }
    if (strcmp(mode, "align_corners") == 0) {
        return (double)i * (in - 1) / (out - 1);
    }
    return (i + 0.5) / scale - 0.5;
}

/* [1,1,3,2] to [6,4] or with corners [5,3], where all weights are multiples of 1/4: small whole
 * numbers come out exact. */
static void resizes(void **state)
{
    (void)state;
    static const char *const modes[] = {"half_pixel", "asymmetric", "align_corners",
                                        "pytorch_half_pixel"};
    for (int w = 0; w < 8; w++) {
        const char *mode = modes[w / 2];
        bool corners = w / 2 == 2, by_size = w % 2 || corners;
        float v[6], y[24];
        int64_t dims[] = {1, 1, 3, 2}, four = 4, h = corners ? 5 : 6, wide = corners ? 3 : 4;
        struct fixture f = operator_of("Resize", 13, 4, dims, v);
        struct tensor *t = NULL;
        graph_attr_string(f.g, f.node, "mode", "linear");
        graph_attr_string(f.g, f.node, "coordinate_transformation_mode", mode);
        assert_int_equal(tensor_new(by_size ? DT_S64 : DT_F32, 1, &four, NULL, &t, NULL), OK);
        if (by_size) {
            memcpy(t->data, (int64_t[]){1, 1, h, wide}, t->size);
        } else {
            memcpy(t->data, (float[]){1, 1, 2, 2}, t->size);
        }
        fixture_input(&f, NULL, true);
        if (by_size) {
            fixture_input(&f, NULL, true);
        }
        fixture_input(&f, t, true);
        for (int i = 0; i < 6; i++) {
            v[i] = ((float *)f.in[0]->data)[i] = (float)random_int(-100, 100);
        }
        for (int i = 0; i < h * wide; i++) {
            double at[2], sum = 0;
            at[0] = fmin(fmax(source(mode, i / (int)wide, 3, (int)h), 0), 2);
            at[1] = fmin(fmax(source(mode, i % (int)wide, 2, (int)wide), 0), 1);
            for (int k = 0; k < 6; k++) {
                double near = fmax(1 - fabs(at[0] - k / 2), 0) * fmax(1 - fabs(at[1] - k % 2), 0);
                sum += near * (double)v[k];
            }
            y[i] = (float)sum;
        }
        want(&f, mode, (size_t)(h * wide), y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_of_reductions),
        cmocka_unit_test(global_pools),
        cmocka_unit_test(pools),
        cmocka_unit_test(ordinary_operators),
        cmocka_unit_test(sigmoids),
        cmocka_unit_test(batch_norms),
        cmocka_unit_test(resizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
