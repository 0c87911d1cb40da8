/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_f32.c: float kernels with channels last, and the activations that they apply on the way,
 * against the plain kernels: random shapes, every instruction set this machine has, one and several
 * threads, with and without the result in front of the activation. AVX2 and AVX-512 give the same
 * bits, and neither threads nor who looks at a result change it.
 */
#include "tests/op_fixture.h"

#include "engine/kernel_f32.h"

#include <math.h>
#include <stdlib.h>

/* ---- Cases: an operator, and an activation behind it ---------------------------------------- */

static const char *const isas[] = {"plain", "avx2", "avx512"};

/* Appends what reads the operator's result y and makes z, the output of the graph. */
static void add_tail(struct fixture *f)
{
    const int y = f->g->outputs[0], z = graph_value(f->g, "z");
    struct node *n = NULL;
    f->g->values[y].is_output = false;
    f->g->outputs[0] = z;
    f->g->values[z].is_output = true;
    f->g->values[z].rank = -1;
    if (random_int(0, 1)) {
        graph_add(f->g, "Relu", "", "tail", 1, &y, 1, &z);
        return;
    }
    int in[] = {y, -1, -1};
    for (int i = 1; i < 3; i++) {
        in[i] = graph_value(f->g, i == 1 ? "lo" : "hi");
        f->g->values[in[i]].rank = 0;
        f->g->values[in[i]].constant = random_tensor(0, NULL, i == 1 ? -1 : 0, i == 1 ? 0 : 1);
    }
    n = graph_add(f->g, "Clip", "", "tail", 3, in, 1, &z);
    assert_non_null(n);
}

/* Strides, dilations and padding of `rank` dimensions for kernels of that size. */
static void add_window(struct fixture *f, int rank, const int64_t *kernel, int64_t *in,
                       int64_t room)
{
    int64_t strides[3], dilations[3], pads[6];
    for (int a = 0; a < rank; a++) {
        strides[a] = random_int(0, 1) ? 1 : random_int(1, 3);
        dilations[a] = random_int(0, 3) ? 1 : 2;
        pads[a] = random_int(0, 1) ? kernel[a] / 2 : random_int(0, kernel[a]);
        pads[rank + a] = random_int(0, 1) ? kernel[a] / 2 : random_int(0, kernel[a]);
        in[a] = MAX((kernel[a] - 1) * dilations[a] + 1 - pads[a] - pads[rank + a], 1) +
                random_int(0, room);
    }
    graph_attr_ints(f->g, f->node, "strides", (size_t)rank, strides);
    graph_attr_ints(f->g, f->node, "dilations", (size_t)rank, dilations);
    graph_attr_ints(f->g, f->node, "pads", (size_t)(2 * rank), pads);
}

/* Weights w and, mostly, a bias. */
static void add_weights(struct fixture *f, int rank, const int64_t *w)
{
    struct tensor *t = random_tensor(rank + 2, w, -1, 1);
    const bool constant = random_int(0, 5) != 0;
    fixture_input(f, constant && random_int(0, 1) ? at_odd_address(t) : t, constant);
    if (random_int(0, 3)) {
        fixture_input(f, random_tensor(1, w, -1, 1), true);
    }
}

static void make_conv(struct fixture *f)
{
    const int rank = random_int(0, 2) ? 2 : (int)random_int(1, 3);
    const int64_t groups = random_int(0, 3) ? 1 : random_int(1, 4);
    int64_t kernel[3];
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(0, 1) ? 1 : random_int(1, 4);
    }
    int64_t w[MAX_RANK] = {groups * random_int(1, 90), random_int(1, random_int(0, 2) ? 30 : 200)};
    int64_t x[MAX_RANK] = {random_int(1, 2), w[1] * groups};
    memcpy(w + 2, kernel, sizeof kernel);
    add_window(f, rank, kernel, x + 2, rank == 3 ? 5 : 14);
    graph_attr_int(f->g, f->node, "group", groups);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
    add_weights(f, rank, w);
}

static void make_depthwise(struct fixture *f)
{
    const int rank = random_int(0, 2) ? 2 : (int)random_int(1, 3);
    int64_t kernel[3];
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(0, 1) ? 3 : random_int(1, 5);
    }
    int64_t w[MAX_RANK] = {random_int(2, 90), 1};
    int64_t x[MAX_RANK] = {random_int(1, 2), w[0]};
    memcpy(w + 2, kernel, sizeof kernel);
    add_window(f, rank, kernel, x + 2, rank == 3 ? 5 : 14);
    graph_attr_int(f->g, f->node, "group", w[0]);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
    add_weights(f, rank, w);
}

/* No images, no input channels or no filters. */
static void make_empty_conv(struct fixture *f)
{
    int64_t w[] = {8, 4, 3, 3}, x[] = {1, 4, 5, 6};
    const int64_t where = random_int(0, 2);
    x[0] = where == 0 ? 0 : 1;
    x[1] = w[1] = where == 1 ? 0 : 4;
    w[0] = where == 2 ? 0 : 8;
    fixture_input(f, random_tensor(4, x, -1, 1), false);
    fixture_input(f, random_tensor(4, w, -1, 1), true);
    fixture_input(f, random_tensor(1, w, -1, 1), true);
}

/* 3x3 filters that move by single pixels, on images large enough for Winograd's tiles. */
static void make_winograd(struct fixture *f)
{
    const int64_t w[] = {random_int(32, 70), random_int(32, 140), 3, 3};
    const int64_t x[] = {random_int(1, 2), w[1], random_int(12, 19), random_int(12, 19)};
    const int64_t pads[] = {random_int(0, 2), random_int(0, 2), random_int(0, 2), random_int(0, 2)};
    graph_attr_ints(f->g, f->node, "pads", 4, pads);
    fixture_input(f, random_tensor(4, x, -1, 1), false);
    add_weights(f, 2, w);
}

/* Puts a convolution in front of input 0, whose result has its channels last. */
static void add_conv(struct fixture *f)
{
    const int x = f->node->in[0], y = graph_value(f->g, "front"), w = graph_value(f->g, "filter");
    const struct tensor *t = f->in[0];
    const int64_t dims[] = {t->dims[1], t->dims[1], 1, 1, 1};
    const int in[] = {x, w};
    f->g->values[w].constant = random_tensor(t->rank, dims, -0.2, 0.2);
    f->g->values[w].rank = f->g->values[y].rank = -1;
    f->node->in[0] = y;
    graph_add(f->g, "Conv", "", "front", 2, in, 1, &y);
    f->node = &f->g->nodes[0]; /* they have moved */
}

/* The first convolution of a network: few channels, which may be last, and rows of many pixels. */
static void make_colours(struct fixture *f)
{
    const int64_t k = random_int(2, 5), pad = random_int(1, k / 2), s = random_int(1, 2);
    const int64_t w[] = {random_int(1, 90), random_int(1, 5), k, k}, pads[] = {pad, pad, 0, pad};
    const int64_t x[] = {random_int(1, 2), w[1], random_int(5, 9), random_int(16, 50)};
    const int64_t strides[] = {random_int(1, 3), s};
    graph_attr_ints(f->g, f->node, "pads", 4, pads);
    graph_attr_ints(f->g, f->node, "strides", 2, strides);
    fixture_input(f, random_tensor(4, x, -1, 1), false);
    add_weights(f, 2, w);
    if (random_int(0, 1)) {
        add_conv(f);
    }
}

/* Two inputs that broadcast: the second is whole, or has some dimensions of 1 or none. */
static void make_binary(struct fixture *f)
{
    const int rank = (int)random_int(3, 5);
    int64_t dims[MAX_RANK] = {random_int(1, 2), random_int(1, 40)}, other[MAX_RANK];
    for (int d = 2; d < rank; d++) {
        dims[d] = random_int(1, rank == 5 ? 4 : 12);
    }
    const int kind = (int)random_int(0, 4), skip = (int)random_int(0, 1);
    for (int d = 0; d < rank; d++) {
        const bool whole = kind == 0 ? true : kind == 1 ? d == 1 : random_int(0, 1) != 0;
        other[d] = whole ? dims[d] : 1;
    }
    fixture_input(f, random_tensor(rank, dims, -1, 1), false);
    if (kind == 4) {
        fixture_input(f, random_tensor(0, NULL, -1, 1), random_int(0, 1));
    } else {
        fixture_input(f, random_tensor(rank - skip, other + skip, -1, 1), random_int(0, 1));
    }
    add_conv(f);
    if (random_int(0, 1) && strcmp(f->node->op, "PRelu") != 0) { /* the other way round */
        const int a = f->node->in[0];
        f->node->in[0] = f->node->in[1];
        f->node->in[1] = a;
    }
}

static void make_pool(struct fixture *f)
{
    const int rank = random_int(0, 2) ? 2 : (int)random_int(1, 3);
    int64_t kernel[3], x[MAX_RANK] = {random_int(1, 2), random_int(1, 70)};
    for (int a = 0; a < rank; a++) {
        kernel[a] = random_int(1, 3);
    }
    graph_attr_ints(f->g, f->node, "kernel_shape", (size_t)rank, kernel);
    graph_attr_int(f->g, f->node, "ceil_mode", random_int(0, 1));
    graph_attr_int(f->g, f->node, "count_include_pad", random_int(0, 1));
    add_window(f, rank, kernel, x + 2, rank == 3 ? 4 : 9);
    fixture_input(f, random_tensor(rank + 2, x, -1, 1), false);
    add_conv(f);
}

static void make_global_pool(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 2), random_int(1, 70), random_int(1, 9), random_int(1, 9)};
    fixture_input(f, random_tensor(4, x, -1, 1), false);
    add_conv(f);
}

static void make_batch_norm(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 2), random_int(1, 70), random_int(1, 9), random_int(1, 9)};
    fixture_input(f, random_tensor(4, x, -1, 1), false);
    for (int i = 1; i <= 4; i++) { /* scale, bias, mean, variance */
        fixture_input(f, random_tensor(1, &x[1], i == 4 ? 0.1 : -1, 1), random_int(0, 3) != 0);
    }
    add_conv(f);
}

/* A constant list of int64. */
static void add_list(struct fixture *f, int64_t n, const int64_t *list)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_S64, 1, &n, NULL, &t, NULL), OK);
    memcpy(t->data, list, t->size);
    fixture_input(f, t, true);
}

/* An image whose channels come last. */
static void add_image(struct fixture *f, int rank, int64_t *x)
{
    x[0] = random_int(1, 2);
    x[1] = random_int(1, 40);
    for (int d = 2; d < rank; d++) {
        x[d] = random_int(1, 9);
    }
    fixture_input(f, random_tensor(rank, x, -1, 1), false);
    add_conv(f);
}

static void make_concat(struct fixture *f)
{
    const int rank = (int)random_int(3, 5);
    const int64_t axis = random_int(0, rank - 1), parts = random_int(2, 4);
    int64_t x[MAX_RANK];
    add_image(f, rank, x);
    for (int64_t k = 1; k < parts; k++) {
        x[axis] = random_int(0, 5);
        fixture_input(f, random_tensor(rank, x, -1, 1), random_int(0, 2) == 0);
    }
    graph_attr_int(f->g, f->node, "axis", axis);
}

static void make_slice(struct fixture *f)
{
    const int rank = (int)random_int(3, 5);
    int64_t x[MAX_RANK], axes[2], starts[2], ends[2], steps[2];
    add_image(f, rank, x);
    for (int k = 0; k < 2; k++) {
        axes[k] = k == 0 ? random_int(0, 1) : random_int(2, rank - 1);
        starts[k] = random_int(0, x[axes[k]]);
        ends[k] = random_int(-1, x[axes[k]]);
        steps[k] = random_int(0, 1) ? 1 : random_int(1, 2);
    }
    add_list(f, 2, starts);
    add_list(f, 2, ends);
    add_list(f, 2, axes);
    add_list(f, 2, steps);
}

/* The first of several outputs. */
static void make_split(struct fixture *f)
{
    const int rank = (int)random_int(3, 5);
    int64_t x[MAX_RANK];
    add_image(f, rank, x);
    graph_attr_int(f->g, f->node, "axis", random_int(0, rank - 1));
    const int64_t whole = x[attr_int(f->node, "axis", 0)];
    add_list(f, 1, &whole);
}

static void make_transpose(struct fixture *f)
{
    const int rank = (int)random_int(3, 5);
    int64_t x[MAX_RANK], perm[MAX_RANK];
    add_image(f, rank, x);
    for (int d = 0; d < rank; d++) {
        const int from = (int)random_int(0, d);
        perm[d] = perm[from];
        perm[from] = d;
    }
    graph_attr_ints(f->g, f->node, "perm", (size_t)rank, perm);
}

/* Bilinear or nearest, larger or smaller. */
static void make_resize(struct fixture *f)
{
    static const char *const coordinates[] = {"half_pixel", "align_corners", "asymmetric",
                                              "pytorch_half_pixel"};
    const int rank = (int)random_int(3, 5);
    int64_t x[MAX_RANK];
    const int64_t n = rank;
    add_image(f, rank, x);
    for (int d = 2; d < rank; d++) {
        x[d] = random_int(1, 16);
    }
    x[1] += random_int(0, 4) == 0;
    fixture_input(f, NULL, false);
    fixture_input(f, NULL, false);
    add_list(f, n, x);
    graph_attr_string(f->g, f->node, "mode", random_int(0, 2) ? "linear" : "nearest");
    graph_attr_string(f->g, f->node, "coordinate_transformation_mode",
                      coordinates[random_int(0, COUNT(coordinates) - 1)]);
}

/* Rows of all lengths, with differences that e^x makes small and those that vanish. */
static void make_softmax(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 3), random_int(1, 9), random_int(1, 70)};
    const double size = random_int(0, 1) ? 3 : 200;
    fixture_input(f, random_tensor(3, x, -size, size), false);
    graph_attr_int(f->g, f->node, "axis", random_int(0, 3) ? 2 : 1);
}

static void make_layer_norm(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 3), random_int(1, 9), random_int(2, 70)};
    const int64_t axis = random_int(1, 2);
    f->g->opset = 17;
    fixture_input(f, random_tensor(3, x, -2, 2), false);
    fixture_input(f, random_tensor((int)(3 - axis), x + axis, -1, 1), true);
    if (random_int(0, 2)) {
        fixture_input(f, random_tensor((int)(3 - axis), x + axis, -1, 1), true);
    }
    graph_attr_int(f->g, f->node, "axis", axis);
}

static void make_unary(struct fixture *f)
{
    const int64_t x[] = {random_int(1, 3), random_int(1, 300)};
    fixture_input(f, random_tensor(2, x, -6, 6), false);
}

/* How far results may be from the plain kernel's, as a multiple of 1e-6. */
enum bound {
    BOUND_SUM, /* 1 + the sum of the absolute products that make an element */
    BOUND_MAX, /* 1 + the largest such sum: tiles mix neighbours */
    BOUND_TEN, /* 10, for values of about 1 */
};

static const struct {
    const char *op;
    void (*make)(struct fixture *f);
    int rounds;
    enum bound bound;
} cases[] = {
    {"Conv", make_conv, 150, BOUND_SUM},
    {"Conv", make_depthwise, 150, BOUND_SUM},
    {"Conv", make_winograd, 30, BOUND_MAX},
    {"Conv", make_colours, 80, BOUND_MAX},
    {"Conv", make_empty_conv, 8, BOUND_SUM},
    {"Add", make_binary, 60, BOUND_TEN},
    {"Mul", make_binary, 60, BOUND_TEN},
    {"Sum", make_binary, 20, BOUND_TEN},
    {"Max", make_binary, 20, BOUND_TEN},
    {"PRelu", make_binary, 20, BOUND_TEN},
    {"BatchNormalization", make_batch_norm, 40, BOUND_TEN},
    {"Concat", make_concat, 40, BOUND_TEN},
    {"Slice", make_slice, 40, BOUND_TEN},
    {"Split", make_split, 10, BOUND_TEN},
    {"Transpose", make_transpose, 40, BOUND_TEN},
    {"Resize", make_resize, 60, BOUND_TEN},
    {"MaxPool", make_pool, 60, BOUND_TEN},
    {"AveragePool", make_pool, 60, BOUND_TEN},
    {"GlobalAveragePool", make_global_pool, 20, BOUND_TEN},
    {"GlobalMaxPool", make_global_pool, 20, BOUND_TEN},
    {"Softmax", make_softmax, 40, BOUND_TEN},
    {"LayerNormalization", make_layer_norm, 40, BOUND_TEN},
    {"Erf", make_unary, 20, BOUND_TEN},
    {"Sigmoid", make_unary, 20, BOUND_TEN},
    {"Tanh", make_unary, 20, BOUND_TEN},
};

/* ---- Running -------------------------------------------------------------------------------- */

/* What one run made: the result of the operator, NULL unless it was wanted, and of the tail. */
struct made {
    int y, z;
    struct tensor *raw, *act;
};

static int keep(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct made *m = ctx;
    (void)err;
    if (value == m->y) {
        m->raw = tensor_ref(t);
    } else if (value == m->z) {
        m->act = tensor_ref(t);
    }
    return OK;
}

static void made_fini(struct made *m)
{
    tensor_free(m->raw);
    tensor_free(m->act);
}

static void run_case(struct fixture *f, enum kernels kernels, bool want_raw, struct par *par,
                     struct made *m)
{
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .kernels = kernels};
    struct plan *p = NULL;
    struct err err;
    if (plan_new(f->g, &o, &p, &err)) {
        fail_msg("%s", err.text);
    }
    const struct graph *g = plan_graph(p);
    bool *wanted = mem_alloc(g->n_values);
    *m = (struct made){.y = graph_find(g, "y"), .z = graph_find(g, "z")};
    wanted[m->y] = want_raw;
    wanted[m->z] = true;
    const struct run_options run = {.tap = keep, .tap_ctx = m, .wanted = wanted, .par = par};
    if (plan_run(p, (const struct tensor *const *)f->in, NULL, &run, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(m->raw != NULL, want_raw);
    free(wanted);
    plan_free(p);
}

/* ---- Comparing ------------------------------------------------------------------------------ */

/* Elements of a and b, which have the same shape, as far apart as `bound` allows at most; size: the
 * sums of the absolute products. */
static void assert_close(const struct tensor *a, const struct tensor *b, const struct tensor *size,
                         enum bound bound, const char *what)
{
    double most = 0;
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
    for (size_t i = 0; i < size->n; i++) {
        most = fmax(most, tensor_f64(size, i));
    }
    for (size_t i = 0; i < a->n; i++) {
        const double p = tensor_f64(a, i), q = tensor_f64(b, i);
        const double room = 1e-6 * (bound == BOUND_TEN   ? 10
                                    : bound == BOUND_MAX ? 1 + most
                                                         : 1 + tensor_f64(size, i));
        if (!(p == q || (isnan(p) && isnan(q)) || fabs(p - q) <= room)) {
            fail_msg("%s: element %zu is %.9g, expected %.9g within %.3g", what, i, p, q, room);
        }
    }
}

/* Absolute values of all inputs, so that the result is the sum of the absolute products. */
static void make_absolute(struct fixture *f)
{
    for (size_t v = 0; v < f->g->n_values; v++) {
        struct tensor *t = f->g->values[v].constant;
        for (size_t i = 0; t && t->dtype == DT_F32 && i < t->n; i++) {
            uint8_t *at = (uint8_t *)t->data + i * sizeof(float);
            float x;
            memcpy(&x, at, sizeof x);
            x = fabsf(x);
            memcpy(at, &x, sizeof x);
        }
    }
    for (size_t k = 0; k < f->n_in; k++) {
        for (size_t i = 0; i < f->in[k]->n; i++) {
            ((float *)f->in[k]->data)[i] = fabsf(((float *)f->in[k]->data)[i]);
        }
    }
}

/* The same case on one instruction set, in all ways to run it: all give the same bits. */
static void run_ways(struct fixture *f, const char *isa, struct par *const pars[3],
                     struct made *first)
{
    run_case(f, KERNELS_FAST, true, NULL, first);
    for (int way = 1; way < 6; way++) {
        struct made m;
        run_case(f, KERNELS_FAST, way % 2, pars[way / 2], &m);
        if (!tensor_equal(m.act, first->act) || (m.raw && !tensor_equal(m.raw, first->raw))) {
            fail_msg("%s: way %d differs", isa, way);
        }
        made_fini(&m);
    }
}

static void check_case(size_t which, int round, struct par *const pars[3])
{
    struct fixture f = fixture_new(cases[which].op, 13);
    struct made plain, size, fast[COUNT(isas)] = {0};
    struct err err;
    char what[64];
    cases[which].make(&f);
    add_tail(&f);
    assert_int_equal(graph_finish(f.g, &err), OK);
    run_case(&f, KERNELS_PLAIN, true, NULL, &plain);
    for (size_t i = 0; i < COUNT(isas); i++) {
        const struct f32_kernels *k = kernel_f32_isa(isas[i]);
        kernel_f32_force(k);
        if (k) {
            run_ways(&f, isas[i], pars, &fast[i]);
        }
        kernel_f32_force(NULL);
    }
    if (fast[1].raw && fast[2].raw) {
        assert_true(tensor_equal(fast[1].raw, fast[2].raw));
    }
    make_absolute(&f);
    run_case(&f, KERNELS_PLAIN, true, NULL, &size);
    for (size_t i = 0; i < COUNT(isas); i++) {
        snprintf(what, sizeof what, "%s, case %zu, round %d, %s", cases[which].op, which, round,
                 isas[i]);
        if (fast[i].raw) {
            assert_close(fast[i].raw, plain.raw, size.raw, cases[which].bound, what);
            assert_close(fast[i].act, plain.act, size.raw, cases[which].bound, what);
        }
        made_fini(&fast[i]);
    }
    made_fini(&plain);
    made_fini(&size);
    fixture_free(&f);
}

static void all_ways_agree(void **state)
{
    (void)state;
    struct par *pars[] = {NULL, par_new(2), par_new(3)};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int round = 0; round < cases[i].rounds; round++) {
            check_case(i, round, pars);
        }
    }
    par_free(pars[1]);
    par_free(pars[2]);
}

/* A NaN reaches what it is multiplied with and nothing else, and stays behind an activation. */
static void check_nan(int64_t side, int64_t kernel, bool depthwise, bool middle)
{
    struct fixture f = fixture_new("Conv", 13);
    const int64_t c = 40, x[] = {1, c, side, side}, w[] = {c, depthwise ? 1 : c, kernel, kernel};
    const int64_t pad = kernel / 2, pads[] = {pad, pad, pad, pad}, at = middle ? side / 2 : 0;
    struct tensor *in = random_tensor(4, x, -1, 1);
    struct made m;
    struct err err;
    ((float *)in->data)[at * side + at] = NAN; /* of channel 0 */
    graph_attr_int(f.g, f.node, "group", depthwise ? c : 1);
    graph_attr_ints(f.g, f.node, "pads", 4, pads);
    fixture_input(&f, in, false);
    fixture_input(&f, random_tensor(4, w, -1, 1), true);
    add_tail(&f);
    assert_int_equal(graph_finish(f.g, &err), OK);
    run_case(&f, KERNELS_FAST, false, NULL, &m);
    for (int64_t e = 0; e < (int64_t)m.act->n; e++) {
        const int64_t o = e / (side * side), h = e / side % side - at, q = e % side - at;
        const bool sees = h >= -pad && h <= pad && q >= -pad && q <= pad && (!depthwise || o == 0);
        assert_int_equal(isnan(((float *)m.act->data)[e]) != 0, sees);
    }
    made_fini(&m);
    fixture_free(&f);
}

static void nan_stays_in_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(isas); i++) {
        const struct f32_kernels *k = kernel_f32_isa(isas[i]);
        kernel_f32_force(k);
        for (int way = 0; k && way < 8; way++) {
            check_nan(way & 1 ? 16 : 5, way & 2 ? 3 : 1, way & 4, way != 3);
        }
        kernel_f32_force(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ways_agree),
        cmocka_unit_test(nan_stays_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
