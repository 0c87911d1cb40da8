/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_op.c: the float operators' fast kernels against their plain twins on random shapes, one
 * against the runtime's bits, and threads that share a plan. Values as such are checked by
 * test_nodes.c, integer kernels by test_int8.c, what must be refused by test_op_bad.c.
 */
#include "tests/op_fixture.h"

#include <math.h>
#include <pthread.h>

/* Seldom 0: then there is nothing to compute, but a shape to get right. */
static int64_t some(int64_t lo, int64_t hi)
{
    return random_int(0, 19) ? random_int(lo, hi) : 0;
}

static int random_shape(int64_t *dims)
{
    const int rank = (int)random_int(0, 4);
    for (int d = 0; d < rank; d++) {
        dims[d] = some(1, 19);
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

/* An image of 0 to 3 dimensions. */
static void make_image(struct fixture *f)
{
    const int64_t dims[] = {random_int(1, 2), random_int(1, 70), random_int(1, 9), random_int(1, 9),
                            random_int(1, 5)};
    fixture_input(f, random_tensor((int)random_int(2, 5), dims, -20, 20), false);
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
    const int64_t m = some(1, 33), k = some(1, 70), n = some(1, random_int(0, 1) ? 33 : 300);
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
    const int64_t m = some(1, 40), k = some(1, 90), n = some(1, random_int(0, 1) ? 40 : 400);
    const bool ta = random_int(0, 1), tb = random_int(0, 1), plain = random_int(0, 1);
    const int64_t a[] = {ta ? k : m, ta ? m : k}, b[] = {tb ? n : k, tb ? k : n}, c[] = {m, n};
    graph_attr_int(f->g, f->node, "transA", ta);
    graph_attr_int(f->g, f->node, "transB", tb);
    graph_attr_float(f->g, f->node, "alpha", plain ? 1 : 0.75F);
    graph_attr_float(f->g, f->node, "beta", plain ? 1 : 1.5F);
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
    int64_t x[MAX_RANK] = {some(1, 3), w[1] * groups};
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
    int64_t kernel[3], x[MAX_RANK] = {some(1, 3), random_int(1, random_int(0, 3) ? 4 : 70)};
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(1, 4);
    }
    graph_attr_ints(f->g, f->node, "kernel_shape", (size_t)rank, kernel);
    graph_attr_int(f->g, f->node, "ceil_mode", random_int(0, 1));
    make_window(f, rank, kernel, x + 2);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
}

/* The same on codes. */
static void make_code_pool(struct fixture *f)
{
    struct tensor *t = NULL;
    make_pool(f);
    const enum dtype d = random_int(0, 1) ? DT_U8 : DT_S8;
    assert_int_equal(tensor_new(d, f->in[0]->rank, f->in[0]->dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)random_bits();
    }
    tensor_free(f->in[0]);
    f->in[0] = t;
}

static void make_batch_norm(struct fixture *f)
{
    const int rank = (int)random_int(2, 5);
    int64_t x[MAX_RANK];
    for (int d = 0; d < rank; d++) {
        x[d] = some(1, d == 1 ? 40 : 6);
    }
    fixture_input(f, random_tensor(rank, x, -1, 1), false);
    for (int i = 1; i <= 4; i++) { /* scale, bias, mean, variance */
        fixture_input(f, random_tensor(1, &x[1], i == 4 ? 0.1 : -1, 1), true);
    }
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
    {"Add", 13, make_binary, 0},
    {"Sub", 13, make_binary, 0},
    {"Mul", 13, make_binary, 0},
    {"Div", 13, make_binary, 0},
    {"Sum", 13, make_variadic, 0},
    {"Mean", 13, make_variadic, 0},
    {"Relu", 13, make_unary, 0},
    {"LeakyRelu", 13, make_unary, 0},
    {"Clip", 10, make_clip, 0},
    {"Clip", 13, make_clip, 0},
    {"Sqrt", 13, make_unary, 0},
    {"Exp", 13, make_unary, 2e-7},
    {"Erf", 13, make_unary, 2e-7},
    {"Gelu", 20, make_unary, 3e-7},
    {"HardSigmoid", 13, make_unary, 2e-7},
    {"Sigmoid", 13, make_unary, 3e-7},
    {"Tanh", 13, make_unary, 3e-7},
    {"BatchNormalization", 13, make_batch_norm, 2e-6},
    {"MaxPool", 13, make_pool, 0},
    {"MaxPool", 12, make_code_pool, 0},
    {"AveragePool", 13, make_pool, 0},
    {"GlobalMaxPool", 13, make_image, 0},
    {"GlobalAveragePool", 13, make_image, 0},
    {"MatMul", 13, make_matmul, 1e-5},
    {"Gemm", 13, make_gemm, 1e-5},
    {"Conv", 1, make_conv, 1e-5},
    {"Conv", 13, make_conv, 2e-5},
};

/* Equal to the bit: by several threads, and for windows image by image. */
static void compare_ways(const struct twin *t, struct fixture *f, struct par *par,
                         const struct tensor *want)
{
    struct tensor *got = NULL, *x = f->in[0];
    struct err err = {0};
    assert_int_equal(fixture_run_on(f, KERNELS_FAST, par, &got, &err), OK);
    if (!tensor_equal(got, want)) {
        fail_msg("%s: other values by three threads", t->op);
    }
    tensor_free(got);
    const bool images = t->make == make_conv || t->make == make_pool;
    for (int64_t i = 0; i < (images ? x->dims[0] : 0); i++) {
        struct tensor *part = batch_slice(want, i);
        f->in[0] = batch_slice(x, i);
        assert_int_equal(fixture_run(f, KERNELS_FAST, &got, &err), OK);
        if (!tensor_equal(got, part)) {
            fail_msg("%s: other values for one image of several", t->op);
        }
        tensor_free(f->in[0]);
        tensor_free(part);
        tensor_free(got);
    }
    f->in[0] = x;
}

static void compare_kernels(const struct twin *t, int round, struct par *par)
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
    compare_ways(t, &f, par, fast);
    tensor_free(fast);
    tensor_free(plain);
    fixture_free(&f);
}

static void fast_equals_plain(void **state)
{
    (void)state;
    struct par *par = par_new(3);
    for (size_t i = 0; i < COUNT(twins); i++) {
        for (int round = 0; round < 150; round++) {
            compare_kernels(&twins[i], round, par);
        }
    }
    par_free(par);
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

enum { SHARERS = 4 };

struct shared_run {
    const struct plan *plan;
    const struct tensor *in;
    const struct tensor *want;
    pthread_barrier_t *start;
    bool equal;
};

static void *run_shared(void *arg)
{
    struct shared_run *r = arg;
    r->equal = true;
    pthread_barrier_wait(r->start);
    for (int i = 0; i < 2; i++) {
        struct tensor *out = NULL;
        struct err err;
        r->equal = plan_run(r->plan, &r->in, &out, NULL, &err) == OK &&
                   tensor_equal(out, r->want) && r->equal;
        tensor_free(out);
    }
    return NULL;
}

/* Threads that begin at once pack the weights of a new plan together. */
static void start_together(const struct graph *g, struct tensor *const in[2],
                           struct tensor *const want[2])
{
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = KERNELS_FAST};
    struct shared_run runs[SHARERS];
    pthread_t threads[SHARERS];
    pthread_barrier_t start;
    struct plan *plan = NULL;
    struct err err;
    pthread_barrier_init(&start, NULL, SHARERS);
    assert_int_equal(plan_new(g, &o, &plan, &err), OK);
    for (int i = 0; i < SHARERS; i++) {
        runs[i] = (struct shared_run){plan, in[i / 2], want[i / 2], &start, false};
        assert_int_equal(pthread_create(&threads[i], NULL, run_shared, &runs[i]), 0);
    }
    for (int i = 0; i < SHARERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(runs[i].equal);
    }
    pthread_barrier_destroy(&start);
    plan_free(plan);
}

/* Two sizes of input: the larger one is computed by Winograd's way, whose weights are packed in
 * another form. */
static void threads_share_a_plan(void **state)
{
    (void)state;
    struct fixture f = fixture_new("Conv", 13);
    const int64_t x[2][4] = {{1, 64, 14, 14}, {1, 64, 4, 5}}, w[] = {2000, 64, 3, 3};
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
    plan_free(plan);
    for (int round = 0; round < 10; round++) {
        start_together(f.g, in, want);
    }
    for (int i = 0; i < 2; i++) {
        tensor_free(in[i]);
        tensor_free(want[i]);
    }
    fixture_free(&f);
}

/* Bits that onnxruntime 1.32 gives and the C library does not. */
static void erf_is_that_of_the_runtime(void **state)
{
    (void)state;
    static const float pairs[][2] = {
        {-0x1.3f8db0p-1F, -0x1.3ec21cp-1F},
        {0x1.5c635ep-1F, 0x1.5404c2p-1F},
        {-0x1.8a738ap-2F, -0x1.a805b2p-2F},
        {0x1.137140p+1F, 0x1.fecd3cp-1F},
        {0x1.1ef70ep+0F, 0x1.c63166p-1F},
        {-0x1.3bc968p+1F, -0x1.ffc074p-1F},
        {0.0F, 0.0F},
        {-0.0F, -0.0F},
        {INFINITY, 1.0F},
        {-5.0F, -1.0F},
    };
    const int64_t n = COUNT(pairs) + 1;
    struct fixture f = fixture_new("Erf", 13);
    struct tensor *x = random_tensor(1, &n, 0, 1), *y = NULL;
    struct err err;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        ((float *)x->data)[i] = pairs[i][0];
    }
    ((float *)x->data)[n - 1] = NAN;
    fixture_input(&f, x, false);
    assert_int_equal(fixture_run(&f, KERNELS_FAST, &y, &err), OK);
    for (size_t i = 0; i < COUNT(pairs); i++) {
        assert_memory_equal((float *)y->data + i, &pairs[i][1], sizeof(float));
    }
    assert_true(isnan(((float *)y->data)[n - 1]));
    tensor_free(y);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fast_kernel_has_a_case),
        cmocka_unit_test(fast_equals_plain),
        cmocka_unit_test(threads_share_a_plan),
        cmocka_unit_test(erf_is_that_of_the_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
