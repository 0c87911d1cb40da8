/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_op.c: the float operators' fast kernels against their plain twins on random shapes, threads
 * that share a plan, and nodes that must be refused. Values as such are checked by test_nodes.c,
 * integer kernels by test_int8.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first. */
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/engine.h"

/* ---- One operator as a graph ---------------------------------------------------------------- */

enum { MAX_IN = 8 };

struct fixture {
    struct graph *g;
    struct node *node;
    size_t n_in;               /* fed at run time */
    struct tensor *in[MAX_IN]; /* in graph order */
};

static struct fixture fixture_new(const char *op, int opset)
{
    struct fixture f = {.g = graph_new()};
    const int y = graph_value(f.g, "y");
    f.g->opset = opset;
    f.g->inputs = mem_alloc(MAX_IN * sizeof *f.g->inputs);
    f.g->outputs = mem_alloc(sizeof *f.g->outputs);
    f.g->outputs[f.g->n_outputs++] = y;
    f.g->values[y].is_output = true;
    f.g->values[y].rank = -1;
    f.node = graph_add(f.g, op, "", "node", 0, NULL, 1, &y);
    f.node->in = arena_alloc(&f.g->arena, MAX_IN * sizeof *f.node->in);
    return f;
}

/* Appends an input: a constant, or fed at run time; NULL is an omitted one. Takes t over. */
static void fixture_input(struct fixture *f, struct tensor *t, bool constant)
{
    assert_true(f->node->n_in < MAX_IN);
    if (!t) {
        f->node->in[f->node->n_in++] = -1;
        return;
    }
    const int v = graph_value(f->g, graph_fresh(f->g, "x"));
    f->node->in[f->node->n_in++] = v;
    f->g->values[v].rank = -1;
    if (constant) {
        f->g->values[v].constant = t;
    } else {
        f->g->values[v].is_input = true;
        f->g->inputs[f->g->n_inputs++] = v;
        f->in[f->n_in++] = t;
    }
}

static void fixture_free(struct fixture *f)
{
    for (size_t i = 0; i < f->n_in; i++) {
        tensor_free(f->in[i]);
    }
    graph_free(f->g);
}

static int fixture_run(struct fixture *f, enum kernels kernels, struct tensor **out,
                       struct err *err)
{
    struct plan *p = NULL;
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = kernels};
    int rc = graph_finish(f->g, err);
    rc = rc ? rc : plan_new(f->g, &o, &p, err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)f->in, out, NULL, err);
    plan_free(p);
    return rc;
}

/* ---- Random material ------------------------------------------------------------------------ */

static uint64_t seed = 88172645463325252U;

static uint64_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* In [lo, hi]. */
static int64_t random_int(int64_t lo, int64_t hi)
{
    return lo + (int64_t)(random_bits() % (uint64_t)(hi - lo + 1));
}

static struct tensor *random_tensor(int rank, const int64_t *dims, double lo, double hi)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        const double unit = (double)(random_bits() >> 11) * 0x1p-53;
        ((float *)t->data)[i] = (float)(lo + (hi - lo) * unit);
    }
    return t;
}

static int random_shape(int64_t *dims)
{
    const int rank = (int)random_int(0, 4);
    for (int d = 0; d < rank; d++) {
        dims[d] = random_int(1, 19);
    }
    return rank;
}

/* ---- Makers: a random case of an operator --------------------------------------------------- */

static void make_unary(struct fixture *f)
{
    int64_t dims[MAX_RANK];
    const bool positive = strcmp(f->node->op, "Sqrt") == 0;
    const int rank = random_shape(dims);
    fixture_input(f, random_tensor(rank, dims, positive ? 0 : -20, 20), false);
}

static void make_clip(struct fixture *f)
{
    const bool attributes = f->g->opset < 11;
    make_unary(f);
    if (attributes) {
        graph_attr_float(f->g, f->node, "min", -3);
        graph_attr_float(f->g, f->node, "max", 5.5F);
    } else {
        fixture_input(f, random_int(0, 1) ? random_tensor(0, NULL, -9, -1) : NULL, true);
        fixture_input(f, random_tensor(0, NULL, 0, 9), true);
    }
}

/* Two shapes that broadcast: some dimensions of either are 1 or, in front, missing. */
static void make_binary(struct fixture *f)
{
    int64_t whole[MAX_RANK], dims[MAX_RANK];
    const int rank = random_shape(whole);
    for (int k = 0; k < 2; k++) {
        const int skip = (int)random_int(0, random_int(0, rank));
        for (int d = skip; d < rank; d++) {
            dims[d - skip] = random_int(0, 3) ? whole[d] : 1;
        }
        fixture_input(f, random_tensor(rank - skip, dims, 0.5, 4), false);
    }
}

static void make_variadic(struct fixture *f)
{
    make_binary(f);
    if (random_int(0, 1)) {
        fixture_input(f, random_tensor(0, NULL, -1, 1), false);
    }
}

static void make_matmul(struct fixture *f)
{
    const int64_t m = random_int(1, 33), k = random_int(1, 70), n = random_int(1, 33);
    const int64_t a[] = {random_int(1, 3), random_int(1, 3), m, k};
    const int64_t b[] = {random_int(0, 1) ? a[0] : 1, a[1], k, n};
    const int from_a = (int)random_int(0, 2), from_b = (int)random_int(0, 3);
    fixture_input(f, random_tensor(4 - from_a, a + from_a, -1, 1), false);
    if (from_b == 3) {
        fixture_input(f, random_tensor(1, &k, -1, 1), true);
    } else {
        fixture_input(f, random_tensor(4 - from_b, b + from_b, -1, 1), random_int(0, 1));
    }
}

static void make_gemm(struct fixture *f)
{
    const int64_t m = random_int(1, 40), k = random_int(1, 90), n = random_int(1, 40);
    const bool ta = random_int(0, 1), tb = random_int(0, 1);
    const int64_t a[] = {ta ? k : m, ta ? m : k}, b[] = {tb ? n : k, tb ? k : n}, c[] = {m, n};
    graph_attr_int(f->g, f->node, "transA", ta);
    graph_attr_int(f->g, f->node, "transB", tb);
    graph_attr_float(f->g, f->node, "alpha", 0.75F);
    graph_attr_float(f->g, f->node, "beta", 1.5F);
    fixture_input(f, random_tensor(2, a, -1, 1), false);
    fixture_input(f, random_tensor(2, b, -1, 1), true);
    const int from = (int)random_int(0, 3);
    if (from < 3) {
        fixture_input(f, random_tensor(2 - from, c + from, -1, 1), true);
    }
}

/* strides, dilations and pads of `rank` spatial dimensions; *in gets sizes that the kernel fits. */
static void make_window(struct fixture *f, int rank, const int64_t *kernel, int64_t *in)
{
    int64_t strides[3], dilations[3], pads[6];
    for (int a = 0; a < rank; a++) {
        strides[a] = random_int(1, 3);
        dilations[a] = random_int(0, 3) ? 1 : 2;
        const int64_t span = (kernel[a] - 1) * dilations[a] + 1;
        pads[a] = random_int(0, kernel[a] - 1);
        pads[rank + a] = random_int(0, kernel[a] - 1);
        in[a] = span + random_int(0, 20);
    }
    graph_attr_ints(f->g, f->node, "strides", (size_t)rank, strides);
    graph_attr_ints(f->g, f->node, "dilations", (size_t)rank, dilations);
    graph_attr_ints(f->g, f->node, "pads", (size_t)(2 * rank), pads);
}

static void make_conv(struct fixture *f)
{
    const int rank = (int)random_int(1, 3);
    const int64_t groups = random_int(0, 1) ? 1 : random_int(1, 5);
    int64_t kernel[3];
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(0, 2) ? 3 : random_int(1, 5);
        kernel[a] = f->g->opset == 1 ? 1 : kernel[a]; /* opset 1 asks for pointwise ones */
    }
    int64_t w[MAX_RANK] = {groups * random_int(1, 20), random_int(0, 2) ? random_int(1, 20) : 1};
    int64_t x[MAX_RANK] = {random_int(1, 2), w[1] * groups};
    memcpy(w + 2, kernel, sizeof kernel);
    if (f->g->opset == 1) {
        for (int a = 0; a < rank; a++) {
            x[2 + a] = random_int(1, 17);
        }
    } else {
        make_window(f, rank, kernel, x + 2);
    }
    graph_attr_int(f->g, f->node, "group", groups);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
    fixture_input(f, random_tensor(rank + 2, w, -1, 1), random_int(0, 4) != 0);
    if (random_int(0, 2)) {
        fixture_input(f, random_tensor(1, w, -1, 1), true);
    }
}

static void make_pool(struct fixture *f)
{
    const int rank = (int)random_int(1, 3);
    int64_t kernel[3], x[MAX_RANK] = {random_int(1, 2), random_int(1, 4)};
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(1, 4);
    }
    graph_attr_ints(f->g, f->node, "kernel_shape", (size_t)rank, kernel);
    graph_attr_int(f->g, f->node, "ceil_mode", random_int(0, 1));
    make_window(f, rank, kernel, x + 2);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
}

/* ---- Fast against plain --------------------------------------------------------------------- */

/* |fast - plain| <= bound * (1 + |plain|). Plain kernels compute in double and round once: exact
 * for sums, products and the like (0 here), to 1 ulp for elementary functions; sigmoid and tanh are
 * the runtime's approximations; products of up to 2500 terms accumulate in float. */
static const struct twin {
    const char *op;
    int opset;
    void (*make)(struct fixture *f);
    double bound;
} twins[] = {
    {"Add", 13, make_binary, 0},       {"Sub", 13, make_binary, 0},
    {"Mul", 13, make_binary, 0},       {"Div", 13, make_binary, 0},
    {"Sum", 13, make_variadic, 0},     {"Mean", 13, make_variadic, 0},
    {"Relu", 13, make_unary, 0},       {"LeakyRelu", 13, make_unary, 0},
    {"Clip", 10, make_clip, 0},        {"Clip", 13, make_clip, 0},
    {"Sqrt", 13, make_unary, 0},       {"Exp", 13, make_unary, 2e-7},
    {"Erf", 13, make_unary, 2e-7},     {"HardSigmoid", 13, make_unary, 2e-7},
    {"Sigmoid", 13, make_unary, 3e-7}, {"Tanh", 13, make_unary, 3e-7},
    {"MaxPool", 13, make_pool, 0},     {"MatMul", 13, make_matmul, 1e-5},
    {"Gemm", 13, make_gemm, 1e-5},     {"Conv", 1, make_conv, 1e-5},
    {"Conv", 13, make_conv, 2e-5},
};

static void compare_kernels(const struct twin *t, int round)
{
    struct fixture f = fixture_new(t->op, t->opset);
    struct tensor *fast = NULL, *plain = NULL;
    struct err err = {0};
    t->make(&f);
    if (fixture_run(&f, KERNELS_PLAIN, &plain, &err) ||
        fixture_run(&f, KERNELS_FAST, &fast, &err)) {
        fail_msg("%s, round %d: %s", t->op, round, err.text);
    }
    assert_int_equal(fast->rank, plain->rank);
    assert_int_equal(fast->n, plain->n);
    for (size_t i = 0; i < fast->n; i++) {
        const double a = tensor_f64(fast, i), b = tensor_f64(plain, i);
        if (!(a == b || fabs(a - b) <= t->bound * (1 + fabs(b)))) {
            fail_msg("%s, round %d: element %zu is %.9g, the plain kernel has %.9g", t->op, round,
                     i, a, b);
        }
    }
    tensor_free(fast);
    tensor_free(plain);
    fixture_free(&f);
}

static void fast_equals_plain(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(twins); i++) {
        for (int round = 0; round < 150; round++) {
            compare_kernels(&twins[i], round);
        }
    }
}

/* Operators on codes have their own test. */
static bool is_integer_operator(const char *domain, const char *name)
{
    return domain[0] || strncmp(name, "QLinear", 7) == 0 || strstr(name, "Integer") ||
           strstr(name, "QuantizeLinear") || strstr(name, "quantizeLinear");
}

static void want_twin(void *ctx, const char *domain, const char *name, int since, const char *spec,
                      bool fast)
{
    (void)ctx;
    (void)since;
    assert_non_null(spec);
    bool found = !fast || is_integer_operator(domain, name);
    for (size_t i = 0; i < COUNT(twins); i++) {
        found = found || strcmp(twins[i].op, name) == 0;
    }
    if (!found) {
        fail_msg("operator '%s' has a fast kernel but no case in test_op.c", name);
    }
}

static void every_fast_kernel_has_a_case(void **state)
{
    (void)state;
    op_each(want_twin, NULL);
}

/* ---- A plan shared by threads --------------------------------------------------------------- */

struct shared_run {
    const struct plan *plan;
    const struct tensor *in;
    const struct tensor *want;
    bool equal;
};

static void *run_shared(void *arg)
{
    struct shared_run *r = arg;
    r->equal = true;
    for (int i = 0; i < 20; i++) {
        struct tensor *out = NULL;
        struct err err;
        r->equal = plan_run(r->plan, &r->in, &out, NULL, &err) == OK &&
                   tensor_equal(out, r->want) && r->equal;
        tensor_free(out);
    }
    return NULL;
}

/* Two sizes of input alternate, so that the packed convolution is made anew under the others. */
static void threads_share_a_plan(void **state)
{
    (void)state;
    struct fixture f = fixture_new("Conv", 13);
    const int64_t x[2][4] = {{1, 16, 12, 12}, {1, 16, 9, 14}}, w[] = {24, 16, 3, 3};
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = KERNELS_FAST};
    struct tensor *in[2], *want[2] = {NULL, NULL};
    struct plan *plan = NULL;
    struct err err;
    in[0] = random_tensor(4, x[0], -1, 1);
    in[1] = random_tensor(4, x[1], -1, 1);
    fixture_input(&f, tensor_ref(in[0]), false);
    fixture_input(&f, random_tensor(4, w, -1, 1), true);
    assert_int_equal(graph_finish(f.g, &err), OK);
    assert_int_equal(plan_new(f.g, &o, &plan, &err), OK);
    for (int i = 0; i < 2; i++) {
        const struct tensor *one = in[i];
        assert_int_equal(plan_run(plan, &one, &want[i], NULL, &err), OK);
    }
    struct shared_run runs[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        runs[i] = (struct shared_run){.plan = plan, .in = in[i % 2], .want = want[i % 2]};
        assert_int_equal(pthread_create(&threads[i], NULL, run_shared, &runs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(runs[i].equal);
    }
    for (int i = 0; i < 2; i++) {
        tensor_free(in[i]);
        tensor_free(want[i]);
    }
    plan_free(plan);
    fixture_free(&f);
}

/* ---- Nodes that must be refused ------------------------------------------------------------- */

/* "Op@opset inputs... / attributes...": an input is a shape "2x3" of float32, "s" for a scalar, a
 * list "[1,2]" of int64, or "-" for none; an attribute is name=1, a list name=1,2 (name=1, for a
 * list of one), or name:text. */
static const char *const refused[] = {
    /* windows */
    "Conv@13 1x2x5x5 3x2x3x3 / strides=0,1",
    "Conv@13 1x2x5x5 3x2x3x3 / strides=-1,1",
    "Conv@13 1x2x5x5 3x2x3x3 / strides=1,",
    "Conv@13 1x2x5x5 3x2x3x3 / dilations=0,1",
    "Conv@13 1x2x5x5 3x2x3x3 / dilations=1,9223372036854775807",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=-1,0,0,0",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=1,1",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=9223372036854775807,0,0,0",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=1000000000,1000000000,1000000000,1000000000",
    "Conv@13 1x2x5x5 3x2x3x3 / group=0",
    "Conv@13 1x2x5x5 3x2x3x3 / group=-2",
    "Conv@13 1x2x5x5 3x2x3x3 / group=2",
    "Conv@13 1x4x5x5 3x2x3x3 / group=2",
    "Conv@13 1x2x5x5 3x2x3x3 / kernel_shape=5,5",
    "Conv@13 1x2x5x5 3x2x3x3 / auto_pad:SIDEWAYS",
    "Conv@13 1x2x5x5 3x2x3x3 4",
    "Conv@13 1x2x5x5 3x2x3x3 3x1",
    "Conv@13 1x2x5x5 3x2x3",
    "Conv@13 1x2x5x5 3x2x0x3",
    "Conv@13 1x2x2x2 3x2x3x3",
    "Conv@13 1x2 3x2",
    "Conv@13 1x2x2x2x2x2 3x2x1x1x1x1",
    "Conv@13 - 3x2x3x3",
    "Conv@13 1x2x5x5 -",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=0,0",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / group=0",
    "ConvTranspose@13 1x2x5x5 3x3x3x3",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / output_shape=0,5",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=1000000000,1000000000",
    "MaxPool@13 1x2x5x5",
    "MaxPool@13 1x2x5x5 / kernel_shape=3",
    "MaxPool@13 1x2x5x5 / kernel_shape=0,3",
    "MaxPool@13 1x2x5x5 / kernel_shape=1000000000,1000000000 pads=1000000000,0,1000000000,0",
    "AveragePool@13 1x2x5x5 / kernel_shape=9,9",
    "LpPool@13 1x2x5x5 / kernel_shape=2,2 p=0",
    "GlobalAveragePool@13 5",
    /* products */
    "MatMul@13 2x3 4x5",
    "MatMul@13 2x2x3 3x3x5",
    "MatMul@13 s 3",
    "MatMul@13 2x3 [1,2,3]",
    "Gemm@13 2x3 4x5",
    "Gemm@13 2x3x1 3x5",
    "Gemm@13 2x3 3x5 4x5",
    "Gemm@13 2x3 3x5 1x2x5",
    "Einsum@13 2x3 3x2 / equation:ij,jk->i1",
    "Einsum@13 2x3 4x2 / equation:ij,jk",
    "Einsum@13 2x3 / equation:ij,jk",
    "Einsum@13 2x3 / equation:ijk",
    "Einsum@13 2x3 / equation:ij->ijkk",
    "Attention@23 1x2x3x4 1x2x3x5 1x2x3x4",
    "Attention@23 1x3x8 1x3x8 1x3x8",
    "Attention@23 1x3x8 1x3x8 1x3x8 / q_num_heads=3 kv_num_heads=2",
    /* element by element */
    "Add@13 2x3 2x4",
    "Add@13 2x3 [1,2,3]",
    "And@13 2x3 2x3",
    "Where@13 2x3 2x3 2x3",
    "Clip@13 2x3 2",
    "BitShift@13 [1,2] [1,2] / direction:UP",
    "Cast@13 2x3",
    "Cast@13 2x3 / to=8",
    "Cast@13 2x3 / to=-1",
    "Cast@13 2x3 / to=99",
    "Sqrt@13 [4,9]",
    /* norms and reductions */
    "Softmax@13 2x3 / axis=2",
    "Softmax@11 2x3 / axis=-3",
    "Softmax@13 s",
    "LayerNormalization@17 2x3 4",
    "LayerNormalization@17 2x3 3 / axis=7",
    "BatchNormalization@13 1x2x3 2 2 2 3",
    "GroupNormalization@21 1x4x3 4 4 / num_groups=3",
    "GroupNormalization@21 1x4x3 4 4 / num_groups=0",
    "InstanceNormalization@13 1x4x3 4 3",
    "LRN@13 1x2x3x3 / size=0",
    "ReduceMean@13 2x3 / axes=2,",
    "ReduceSum@13 2x3 [-3]",
    "ArgMax@13 2x3 / axis=5",
    "ArgMax@13 0x3 / axis=0",
    "CumSum@14 2x3 [2]",
    "CumSum@14 2x3 []",
    /* shapes */
    "Reshape@13 2x3 [-1,-1]",
    "Reshape@13 2x3 [4]",
    "Reshape@13 2x3 [-2,3]",
    "Reshape@13 2x3 [-1,4]",
    "Reshape@13 2x3 [2,3,0]",
    "Reshape@13 2x3 [4294967296,4294967296,4294967296]",
    "Reshape@13 2x3 2",
    "Reshape@13 2x3 [1,1,1,1,1,1,1,2,3]",
    "Flatten@13 2x3 / axis=3",
    "Squeeze@13 2x3 [0]",
    "Squeeze@11 1x3 / axes=4,",
    "Unsqueeze@13 2x3 [0,0]",
    "Unsqueeze@13 2x3 [4]",
    "Unsqueeze@13 2x3 [0,1,2,3,4,5,6]",
    "Constant@13",
    "ConstantOfShape@13 [-1]",
    "ConstantOfShape@13 [1099511627776,1099511627776]",
    "Range@13 [1] [2] [0]",
    "EyeLike@13 2x3x4",
    /* moves */
    "Transpose@13 2x3 / perm=0,0",
    "Transpose@13 2x3 / perm=0,2",
    "Transpose@13 2x3 / perm=0,",
    "Concat@13 2x3 2x4 / axis=0",
    "Concat@13 2x3 2x3 / axis=2",
    "Concat@13 2x3 - / axis=0",
    "Concat@13 2x3 2x3x1 / axis=0",
    "Split@13 6 [2,3] / axis=0",
    "Split@13 6 [7] / axis=0",
    "Split@13 6 [-1] / axis=0",
    "Split@11 6 / axis=0 split=5,",
    "Split@13 6 / axis=1",
    "Slice@13 4 [0] [2] [1]",
    "Slice@13 4 [0] [2] [0] [0]",
    "Slice@13 4 [0,1] [2]",
    "Slice@13 4 [0,1] [2,3] [0,0]",
    "Slice@9 4 / starts=0, ends=1,2",
    "Expand@13 2x3 [4,3]",
    "Expand@13 2x3 [-1,3]",
    "Expand@13 1 [1099511627776,1099511627776,1099511627776]",
    "Pad@13 2x3 [1,1]",
    "Pad@13 2x3 [-3,0,0,0]",
    "Pad@13 2x3 [0,0,9223372036854775807,0]",
    "Pad@13 0x3 [1,0,1,0] / mode:edge",
    "Pad@13 2x3 [0,0,0,0] / mode:nowhere",
    "Tile@13 2x3 [2]",
    "Tile@13 2x3 [-1,1]",
    "Tile@13 2x3 [9223372036854775807,1]",
    "DepthToSpace@13 1x4x2x2 / blocksize=0",
    "DepthToSpace@13 1x4x2x2 / blocksize=3",
    "SpaceToDepth@13 1x4x3x2 / blocksize=2",
    "SpaceToDepth@13 1x4x3x2 / blocksize=9223372036854775807",
    "Trilu@14 4",
    /* indices */
    "Gather@13 3 [3]",
    "Gather@13 3 [-4]",
    "Gather@13 3 [0] / axis=1",
    "Gather@13 3 2",
    "GatherElements@13 2x3 [0]",
    "GatherND@13 2x3 [0,1,2]",
    "GatherND@13 2x3 [2]",
    "GatherND@13 2x3 [0] / batch_dims=9",
    "ScatterElements@18 3 [5] 1",
    "ScatterElements@18 3 [1] 2",
    "ScatterElements@18 3 [1] 1 / reduction:divide",
    "ScatterND@18 3 [7] s",
    "ScatterND@18 3 [1] 2",
    "OneHot@11 [1,2] [-3] 2",
    "OneHot@11 [1,2] [3] 3",
    "OneHot@11 [1,2] [1099511627776] 2",
    "TopK@11 4 [5]",
    "TopK@11 4 [-1]",
    "TopK@11 4 [1] / axis=1",
    /* resizing */
    "Resize@13 1x1x2x2",
    "Resize@13 1x1x2x2 - 4 - / mode:octic",
    "Resize@13 1x1x2x2 - 3 -",
    "Resize@13 1x1x2x2 - - [1,1,4]",
    "Resize@13 1x1x2x2 - - [1,1,-4,4]",
    "Resize@13 1x1x2x2 - - [1,1,1099511627776,1099511627776]",
    "Resize@13 1x1x0x2 - - [1,1,4,4]",
    "Resize@19 1x1x2x2 - - [4,4] / axes=2,2",
    "Resize@19 1x1x2x2 - - [4,4] / axes=2,9",
    "GridSample@16 1x1x4x4 1x2x2x3",
    "GridSample@16 1x1x4x4 1x2x2x2 / mode:octic",
    "NonMaxSuppression@11 1x6x3 1x1x6",
    "NonMaxSuppression@11 1x6x4 1x1x5",
};

static struct tensor *read_shape(const char *word)
{
    int64_t dims[MAX_RANK];
    int rank = 0;
    for (char *end; *word != 's' && *word; word = *end ? end + 1 : end) {
        assert_true(rank < MAX_RANK);
        dims[rank++] = strtoll(word, &end, 10);
    }
    return random_tensor(rank, dims, 0.5, 1);
}

static size_t read_list(const char *word, int64_t *list)
{
    size_t n = 0;
    for (char *end; *word && *word != ']'; word = *end == ',' ? end + 1 : end) {
        list[n++] = strtoll(word, &end, 10);
    }
    return n;
}

static struct tensor *read_input(const char *word)
{
    int64_t list[16];
    struct tensor *t = NULL;
    if (*word == '-') {
        return NULL;
    }
    if (*word != '[') {
        return read_shape(word);
    }
    const int64_t n = (int64_t)read_list(word + 1, list);
    assert_int_equal(tensor_new(DT_S64, 1, &n, NULL, &t, NULL), OK);
    memcpy(t->data, list, (size_t)n * sizeof *list);
    return t;
}

static void read_attribute(struct fixture *f, char *word)
{
    const size_t name = strcspn(word, "=:");
    const bool text = word[name] == ':';
    const char *value = word + name + 1;
    word[name] = '\0';
    if (text) {
        graph_attr_int(f->g, f->node, word, 0);
        struct attr *a = &f->node->attrs[f->node->n_attrs - 1];
        a->kind = ATTR_STRING;
        a->s = arena_dup(&f->g->arena, value);
        a->s_size = strlen(value);
    } else if (strchr(value, ',')) {
        int64_t list[16];
        const size_t n = read_list(value, list);
        graph_attr_ints(f->g, f->node, word, n, list);
    } else {
        graph_attr_int(f->g, f->node, word, strtoll(value, NULL, 10));
    }
}

static struct fixture read_node(const char *line, bool constants)
{
    char text[256], *save = NULL;
    bool attributes = false;
    snprintf(text, sizeof text, "%s", line);
    char *word = strtok_r(text, " ", &save);
    char *opset = strchr(word, '@');
    assert_non_null(opset);
    *opset = '\0';
    struct fixture f = fixture_new(word, (int)strtol(opset + 1, NULL, 10));
    while ((word = strtok_r(NULL, " ", &save))) {
        if (strcmp(word, "/") == 0) {
            attributes = true;
        } else if (attributes) {
            read_attribute(&f, word);
        } else {
            fixture_input(&f, read_input(word), constants);
        }
    }
    return f;
}

static void bad_nodes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        for (int way = 0; way < 4; way++) {
            struct fixture f = read_node(refused[i], way & 1);
            struct tensor *out = NULL;
            struct err err = {0};
            const int rc = fixture_run(&f, way & 2 ? KERNELS_PLAIN : KERNELS_FAST, &out, &err);
            if (rc != E_SHAPE && rc != E_FORMAT && rc != E_UNSUPPORTED && rc != E_LIMIT) {
                fail_msg("%s gives %d %s", refused[i], rc, rc ? err.text : "");
            }
            assert_true(strlen(err.text) > 0);
            tensor_free(out);
            fixture_free(&f);
        }
    }
}

/* ---- Nonsense: an error or a result, but never a fault -------------------------------------- */

struct names {
    size_t n;
    const char *name[256];
};

static void collect_name(void *ctx, const char *domain, const char *name, int since,
                         const char *spec, bool fast)
{
    struct names *all = ctx;
    (void)since;
    (void)spec;
    (void)fast;
    if (!domain[0] && all->n < COUNT(all->name)) {
        all->name[all->n++] = name;
    }
}

/* Mostly small, now and then one that overflows whatever it is multiplied with. */
static int64_t nonsense_int(void)
{
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX,        -1,      0,
                                       INT32_MAX, (int64_t)1 << 40, 1 << 20, -(1 << 20)};
    return random_int(0, 9) ? random_int(-2, 4) : extremes[random_int(0, COUNT(extremes) - 1)];
}

static struct tensor *nonsense_tensor(void)
{
    static const enum dtype types[] = {DT_F32,  DT_F32, DT_F32, DT_S64, DT_S64, DT_U8, DT_S8,
                                       DT_BOOL, DT_F16, DT_F64, DT_U64, DT_S32, DT_S4};
    int64_t dims[MAX_RANK];
    struct tensor *t = NULL;
    const int rank = (int)random_int(0, random_int(0, 2) ? 4 : 6);
    for (int d = 0; d < rank; d++) {
        dims[d] = random_int(0, 15) ? random_int(1, 4) : 0;
    }
    assert_int_equal(tensor_new(types[random_int(0, COUNT(types) - 1)], rank, dims, NULL, &t, NULL),
                     OK);
    for (size_t i = 0; i < t->size; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)random_bits();
    }
    for (size_t i = 0; t->dtype == DT_S64 && i < t->n; i++) {
        ((int64_t *)t->data)[i] = nonsense_int();
    }
    for (size_t i = 0; t->dtype == DT_F32 && i < t->n; i++) {
        ((float *)t->data)[i] = random_int(0, 20) ? (float)random_int(-3, 5) : NAN;
    }
    return t;
}

static void nonsense_attribute(struct fixture *f)
{
    static const char *const single[] = {"axis",
                                         "group",
                                         "keepdims",
                                         "ceil_mode",
                                         "p",
                                         "to",
                                         "size",
                                         "blocksize",
                                         "k",
                                         "dtype",
                                         "num_outputs",
                                         "start",
                                         "end",
                                         "batch_dims",
                                         "num_groups",
                                         "transA",
                                         "transB",
                                         "allowzero",
                                         "exclusive",
                                         "reverse",
                                         "select_last_index",
                                         "storage_order",
                                         "count_include_pad",
                                         "q_num_heads",
                                         "kv_num_heads",
                                         "largest",
                                         "antialias",
                                         "training_mode",
                                         "align_corners"};
    static const char *const list[] = {"axes",         "perm",         "pads",          "strides",
                                       "dilations",    "split",        "starts",        "ends",
                                       "kernel_shape", "output_shape", "output_padding"};
    static const char *const text[] = {
        "auto_pad:SAME_UPPER", "auto_pad:VALID",     "mode:linear",         "mode:cubic",
        "mode:reflect",        "mode:wrap",          "mode:edge",           "reduction:add",
        "equation:ij,jk->ik",  "equation:...i->...", "padding_mode:border", "mode:CRD"};
    char word[64];
    const int kind = (int)random_int(0, 3);
    if (kind == 0) {
        graph_attr_int(f->g, f->node, single[random_int(0, COUNT(single) - 1)], nonsense_int());
    } else if (kind < 3) {
        int64_t v[8];
        const size_t n = (size_t)random_int(0, 6);
        for (size_t i = 0; i < n; i++) {
            v[i] = nonsense_int();
        }
        graph_attr_ints(f->g, f->node, list[random_int(0, COUNT(list) - 1)], n, v);
    } else {
        snprintf(word, sizeof word, "%s", text[random_int(0, COUNT(text) - 1)]);
        read_attribute(f, word);
    }
}

static void nonsense_round(const struct names *all)
{
    struct budget budget = {.limit = 16 << 20};
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED,
                                   .kernels = random_int(0, 1) ? KERNELS_FAST : KERNELS_PLAIN,
                                   .budget = &budget};
    struct fixture f =
        fixture_new(all->name[random_int(0, (int64_t)all->n - 1)], (int)random_int(7, 25));
    struct tensor *out = NULL;
    struct plan *p = NULL;
    struct err err;
    for (int64_t n = random_int(0, 4); n > 0; n--) {
        fixture_input(&f, random_int(0, 9) ? nonsense_tensor() : NULL, random_int(0, 1));
    }
    for (int64_t n = random_int(0, 4); n > 0; n--) {
        nonsense_attribute(&f);
    }
    int rc = graph_finish(f.g, &err);
    rc = rc ? rc : plan_new(f.g, &o, &p, &err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)f.in, &out, NULL, &err);
    tensor_free(out);
    plan_free(p);
    fixture_free(&f);
    assert_int_equal(atomic_load(&budget.used), 0);
}

static void nonsense_never_faults(void **state)
{
    (void)state;
    const char *rounds = getenv("QSCOPE_NONSENSE");
    struct names all = {.n = 0};
    op_each(collect_name, &all);
    for (long i = rounds ? strtol(rounds, NULL, 10) : 20000; i > 0; i--) {
        nonsense_round(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fast_kernel_has_a_case), cmocka_unit_test(fast_equals_plain),
        cmocka_unit_test(threads_share_a_plan),         cmocka_unit_test(bad_nodes_are_refused),
        cmocka_unit_test(nonsense_never_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
