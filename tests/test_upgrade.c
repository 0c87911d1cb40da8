/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_upgrade.c: nodes of older operator sets spelled for a newer one: what became of them, that
 * they compute the same bits, and that what means something else is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/analysis.h"
#include "analysis/qedit.h"
#include "tests/graph_fixture.h"

enum { NEWER = 21 };

/* ---- One node ------------------------------------------------------------------------------- */

/* An attribute: a float, whole numbers, or a text. */
struct attribute {
    const char *name, *text;
    float f;
    size_t n; /* whole numbers; 0: it is none */
    int64_t ints[4];
};
#define FLOAT(NAME, VALUE)                                                                         \
    {                                                                                              \
        .name = NAME, .f = VALUE                                                                   \
    }
#define INTS(NAME, N, ...)                                                                         \
    {                                                                                              \
        .name = NAME, .n = N, .ints = { __VA_ARGS__ }                                              \
    }
#define TEXT(NAME, VALUE)                                                                          \
    {                                                                                              \
        .name = NAME, .text = VALUE                                                                \
    }

struct old {
    const char *op;
    int opset, rank;
    int64_t dims[4]; /* of x */
    size_t n_attrs;
    struct attribute attrs[3];
};

/* x -> operator -> y, and of a Split z; its other inputs are added by the caller. */
static struct graph *model_of(const struct old *o, int n_in, const int *in, int n_out)
{
    struct graph *g = graph_shaped(o->rank, o->dims);
    int out[] = {graph_value(g, "y"), n_out > 1 ? graph_value(g, "z") : -1};
    g->opset = o->opset;
    for (int i = 0; i < n_out; i++) {
        output(g, g->values[out[i]].name);
    }
    struct node *n = graph_add(g, o->op, "", "node", n_in, in, n_out, out);
    for (size_t i = 0; i < o->n_attrs; i++) {
        const struct attribute *a = &o->attrs[i];
        if (a->text) {
            graph_attr_string(g, n, a->name, a->text);
        } else if (a->n == 1 && strcmp(a->name, "axes") != 0) {
            graph_attr_int(g, n, a->name, a->ints[0]);
        } else if (a->n) {
            graph_attr_ints(g, n, a->name, a->n, a->ints);
        } else {
            graph_attr_float(g, n, a->name, a->f);
        }
    }
    return g;
}

/* One more input of the only node. */
static void add_input(struct graph *g, int v)
{
    struct node *n = &g->nodes[0];
    int *in = arena_alloc(&g->arena, ((size_t)n->n_in + 1) * sizeof *in);
    memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    in[n->n_in++] = v;
    n->in = in;
}

/* The graph in the newer set; NULL: refused, with err. */
static struct graph *raised(struct graph *f, struct err *err)
{
    assert_int_equal(graph_finish(f, err), OK);
    struct graph *g = graph_clone(f);
    int rc = edit_raise_opset(g, f, NEWER, err);
    if (rc) {
        assert_int_equal(rc, E_UNSUPPORTED);
        graph_free(g);
        return NULL;
    }
    assert_int_equal(g->opset, NEWER);
    return g;
}

static void run(const struct graph *g, const struct tensor *x, struct tensor **y)
{
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED, .reference = true};
    struct plan *p = NULL;
    struct err err = {0};
    if (plan_new(g, &o, &p, &err) || plan_run(p, &x, y, NULL, &err)) {
        fail_msg("%s of opset %d: %s", g->nodes[0].op ? g->nodes[0].op : "it", g->opset, err.text);
    }
    plan_free(p);
}

/* Both give the same bits. */
static void same_bits(const struct graph *f, const struct graph *g)
{
    struct tensor *x = NULL, *a[2] = {NULL}, *b[2] = {NULL};
    assert_int_equal(tensor_new(DT_F32, f->values[0].rank, f->values[0].dims, NULL, &x, NULL), OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)((int)(i * 37 % 23) - 11) / 4;
    }
    run(f, x, a);
    run(g, x, b);
    for (size_t i = 0; i < f->n_outputs; i++) {
        assert_true(tensor_equal(a[i], b[i]));
        tensor_free(a[i]);
        tensor_free(b[i]);
    }
    tensor_free(x);
}

/* The node that computes, in a graph whose old nodes are gone. */
static const struct node *only_node(const struct graph *g)
{
    const struct node *found = NULL;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op) {
            assert_null(found);
            found = &g->nodes[i];
        }
    }
    assert_non_null(found);
    return found;
}

static const struct tensor *input_of(const struct graph *g, const struct node *n, int i)
{
    return i < n->n_in && n->in[i] >= 0 ? g->values[n->in[i]].constant : NULL;
}

/* ---- Spellings ------------------------------------------------------------------------------ */

static void clips(void **state)
{
    (void)state;
    static const struct old cases[] = {
        {"Clip", 6, 1, {9}, 2, {FLOAT("min", -1), FLOAT("max", 1.5F)}},
        {"Clip", 6, 1, {9}, 1, {FLOAT("min", -1)}},
        {"Clip", 6, 1, {9}, 1, {FLOAT("max", 1.5F)}},
        {"Clip", 6, 1, {9}, 0, {FLOAT("", 0)}},
    };
    static const int inputs[] = {3, 2, 3, 1};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err err = {0};
        struct graph *f = model_of(&cases[i], 1, (int[]){0}, 1), *g = raised(f, &err);
        const struct node *n = only_node(g);
        assert_int_equal(n->n_in, inputs[i]);
        assert_int_equal(n->n_attrs, 0);
        const struct tensor *lo = input_of(g, n, 1), *hi = input_of(g, n, 2);
        assert_true(i == 0 || i == 1 ? lo && tensor_f64(lo, 0) == -1 : !lo);
        assert_true(i == 0 || i == 2 ? hi && tensor_f64(hi, 0) == 1.5 : !hi);
        same_bits(f, g);
        graph_free(g);
        graph_free(f);
    }
}

/* Lists of numbers become constants of int64; where there were none nothing changes. */
static void lists(void **state)
{
    (void)state;
    static const struct old cases[] = {
        {"Squeeze", 11, 4, {1, 3, 1, 2}, 1, {INTS("axes", 1, 2)}},
        {"Squeeze", 11, 4, {1, 3, 1, 2}, 0, {FLOAT("", 0)}},
        {"Unsqueeze", 11, 2, {3, 2}, 1, {INTS("axes", 2, 0, 3)}},
        {"ReduceSum", 11, 3, {2, 3, 4}, 2, {INTS("axes", 2, 0, 2), INTS("keepdims", 1, 0)}},
        {"ReduceSum", 11, 3, {2, 3, 4}, 0, {FLOAT("", 0)}},
        {"ReduceMean", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 1)}},
        {"ReduceMax", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 2)}},
        {"ReduceMin", 12, 3, {2, 3, 4}, 1, {INTS("axes", 1, 0)}},
        {"ReduceProd", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 1)}},
        {"ReduceL1", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 0)}},
        {"ReduceL2", 17, 3, {2, 3, 4}, 1, {INTS("axes", 1, -1)}},
        {"ReduceSumSquare", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 2)}},
        {"ReduceLogSum", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 2)}},
        {"ReduceLogSumExp", 13, 3, {2, 3, 4}, 1, {INTS("axes", 1, 2)}},
        {"Split", 11, 2, {4, 3}, 1, {INTS("split", 2, 1, 3)}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct old *o = &cases[i];
        struct err err = {0};
        struct graph *f = model_of(o, 1, (int[]){0}, strcmp(o->op, "Split") == 0 ? 2 : 1);
        struct graph *g = raised(f, &err);
        const struct node *n = only_node(g);
        const struct tensor *list = input_of(g, n, 1);
        assert_int_equal(n->n_in, o->n_attrs ? 2 : 1);
        assert_null(attr_find(n, "num_outputs")); /* of a Split it stands instead of the list */
        assert_int_equal(n->n_attrs, o->n_attrs ? o->n_attrs - 1 : 0);
        if (o->n_attrs) {
            assert_int_equal(list->dtype, DT_S64);
            assert_int_equal(list->n, o->attrs[0].n);
            assert_memory_equal(list->data, o->attrs[0].ints, list->size);
        }
        same_bits(f, g);
        graph_free(g);
        graph_free(f);
    }
}

/* Parts of equal size are counted since Split-18. */
static void counted_parts(void **state)
{
    (void)state;
    static const int opsets[] = {11, 13};
    for (size_t i = 0; i < COUNT(opsets); i++) {
        const struct old o = {"Split", opsets[i], 2, {4, 3}, 0, {FLOAT("", 0)}};
        struct err err = {0};
        struct graph *f = model_of(&o, 1, (int[]){0}, 2), *g = raised(f, &err);
        assert_int_equal(only_node(g)->n_in, 1);
        assert_int_equal(attr_int(only_node(g), "num_outputs", -1), 2);
        same_bits(f, g);
        graph_free(g);
        graph_free(f);
    }
}

/* Softmax ran over all dimensions from `axis` on, 1 if nothing is said. */
static void softmaxes(void **state)
{
    (void)state;
    static const struct {
        struct old o;
        int axis; /* afterwards; -1: it cannot be said */
    } cases[] = {
        {{"Softmax", 11, 2, {2, 5}, 0, {FLOAT("", 0)}}, 1},
        {{"Softmax", 11, 4, {2, 5, 1, 1}, 1, {INTS("axis", 1, 1)}}, 1},
        {{"Softmax", 9, 4, {1, 1, 5, 1}, 1, {INTS("axis", 1, 0)}}, 2},
        {{"Hardmax", 11, 2, {2, 5}, 0, {FLOAT("", 0)}}, 1},
        {{"LogSoftmax", 11, 3, {2, 3, 5}, 1, {INTS("axis", 1, -1)}}, 2},
        {{"Softmax", 11, 3, {2, 1, 1}, 1, {INTS("axis", 1, 1)}}, 2},
        {{"Softmax", 11, 3, {2, 3, 5}, 1, {INTS("axis", 1, 1)}}, -1},
        {{"Softmax", 11, 2, {2, 5}, 1, {INTS("axis", 1, 0)}}, -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err err = {0};
        struct graph *f = model_of(&cases[i].o, 1, (int[]){0}, 1), *g = raised(f, &err);
        if (cases[i].axis < 0) {
            assert_null(g);
            assert_non_null(strstr(err.text, "several axes"));
        } else {
            assert_int_equal(attr_int(only_node(g), "axis", -9), cases[i].axis);
            same_bits(f, g);
        }
        graph_free(g);
        graph_free(f);
    }
    struct err err = {0};
    struct graph *f = model_of(&cases[0].o, 1, (int[]){0}, 1);
    f->values[0].rank = -1;
    assert_null(raised(f, &err));
    assert_non_null(strstr(err.text, "not known"));
    graph_free(f);
}

/* GridSample-20 takes volumes too. */
static void modes(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"bilinear", "linear"}, {"bicubic", "cubic"}, {"nearest", "nearest"}};
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct old o = {"GridSample", 16, 4, {1, 1, 2, 3}, 1, {TEXT("mode", names[i][0])}};
        static const float grid[] = {-0.5F, 0.25F, 0.7F, -0.9F};
        struct err err = {0};
        struct graph *f = model_of(&o, 1, (int[]){0}, 1);
        add_input(f, constant(f, "grid", DT_F32, 4, (int64_t[]){1, 1, 2, 2}, grid));
        struct graph *g = raised(f, &err);
        assert_string_equal(attr_string(only_node(g), "mode", ""), names[i][1]);
        same_bits(f, g);
        graph_free(g);
        graph_free(f);
    }
}

/* Resize-11 gives empty lists where the newer one gives nothing; roi stays where it is looked at.
 */
static void sizes_stand_alone(void **state)
{
    (void)state;
    for (int crops = 0; crops < 2; crops++) {
        const struct old o = {
            "Resize",
            11,
            4,
            {1, 1, 4, 4},
            2,
            {TEXT("mode", "linear"),
             TEXT("coordinate_transformation_mode", crops ? "tf_crop_and_resize" : "asymmetric")}};
        static const float roi[] = {0, 0, 0.25F, 0.25F, 1, 1, 0.75F, 0.75F};
        static const int64_t sizes[] = {1, 1, 3, 6};
        struct err err = {0};
        struct graph *f = model_of(&o, 1, (int[]){0}, 1);
        int in[] = {0, constant(f, "roi", DT_F32, 1, (int64_t[]){crops ? 8 : 0}, roi),
                    constant(f, "scales", DT_F32, 1, (int64_t[]){0}, roi),
                    constant(f, "sizes", DT_S64, 1, (int64_t[]){4}, sizes)};
        for (int k = 1; k < 4; k++) {
            add_input(f, in[k]);
        }
        struct graph *g = raised(f, &err);
        const struct node *n = only_node(g);
        assert_int_equal(n->n_in, 4);
        assert_int_equal(n->in[1], crops ? in[1] : -1);
        assert_int_equal(n->in[2], -1);
        assert_int_equal(n->in[3], in[3]);
        same_bits(f, g);
        graph_free(g);
        graph_free(f);
    }
}

/* ---- Refusals ------------------------------------------------------------------------------- */

/* What means something else is refused, by what its attributes say or what its inputs are. */
static void other_meanings(void **state)
{
    (void)state;
    static const struct {
        struct old o;
        int n_in; /* the second: scales */
        bool refused;
    } cases[] = {
        {{"Slice", 9, 2, {4, 4}, 2, {INTS("starts", 2, 0, 1), INTS("ends", 2, 2, 2)}}, 1, true},
        {{"Pad", 10, 2, {4, 4}, 1, {INTS("pads", 4, 0, 1, 0, 1)}}, 1, true},
        {{"TopK", 9, 1, {4}, 1, {INTS("k", 1, 2)}}, 1, true},
        {{"Add", 6, 1, {4}, 1, {INTS("broadcast", 1, 1)}}, 2, true},
        {{"Add", 6, 1, {4}, 0, {FLOAT("", 0)}}, 2, false},
        /* Scales were input 1, which is roi since. */
        {{"Resize", 10, 1, {4}, 0, {FLOAT("", 0)}}, 2, true},
        {{"Resize", 10, 1, {4}, 1, {TEXT("mode", "linear")}}, 2, true},
        {{"Upsample", 9, 1, {4}, 0, {FLOAT("", 0)}}, 2, true},
        /* Scales were by group. */
        {{"GroupNormalization", 18, 3, {1, 2, 3}, 1, {INTS("num_groups", 1, 2)}}, 3, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err err = {0};
        struct graph *f = model_of(&cases[i].o, 1, (int[]){0}, 1);
        static const float two[] = {2};
        int b = constant(f, "b", DT_F32, 1, (int64_t[]){1}, two);
        for (int k = 1; k < cases[i].n_in; k++) {
            add_input(f, b);
        }
        struct graph *g = raised(f, &err);
        if (cases[i].refused != !g) {
            fail_msg("%s of opset %d with %zu attributes", cases[i].o.op, cases[i].o.opset,
                     cases[i].o.n_attrs);
        }
        if (g) {
            assert_int_equal(only_node(g)->n_in, cases[i].n_in);
        } else {
            assert_non_null(strstr(err.text, "means something else"));
        }
        graph_free(g);
        graph_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clips),
        cmocka_unit_test(lists),
        cmocka_unit_test(counted_parts),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(sizes_stand_alone),
        cmocka_unit_test(modes),
        cmocka_unit_test(other_meanings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
