/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_infer.c: types and shapes that follow from the operators of whole models are those that a
 * run finds. Real models are looked for in QSCOPE_SHARED or ../shared.
 */
#include "tests/op_fixture.h"

#include <glob.h>
#include <stdlib.h>

#include "analysis/analysis.h"
#include "formats/formats.h"

/* Both ways on one model; true when the operators alone tell. */
static bool compare_ways(const char *path)
{
    struct graph *inferred = NULL, *probed = NULL;
    struct plan *p = NULL;
    struct err err = {0};
    const struct plan_options o = {.numerics = NUM_ORT, .kernels = KERNELS_FAST, .partial = true};
    assert_int_equal(model_load(path, &inferred, &err), OK);
    bool known = graph_infer(inferred);
    if (known) {
        assert_int_equal(model_load(path, &probed, &err), OK);
        assert_int_equal(plan_new(probed, &o, &p, &err), OK);
        assert_int_equal(graph_probe(probed, p, &err), OK);
        const struct plan_gap *gaps;
        assert_int_equal(plan_gaps(p, &gaps), 0);
    }
    for (size_t v = 0; known && v < probed->n_values; v++) {
        const struct value *a = &inferred->values[v], *b = &probed->values[v];
        /* What fusing removes no run shows: nothing is known of it there. */
        bool seen = b->dtype != DT_NONE && b->rank >= 0;
        if (seen && (a->dtype != b->dtype || a->rank != b->rank ||
                     memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) != 0)) {
            fail_msg("%s: tensor '%s': inferred %s of rank %d, a run finds %s of rank %d", path,
                     a->name, dtype_name(a->dtype), a->rank, dtype_name(b->dtype), b->rank);
        }
    }
    plan_free(p);
    graph_free(probed);
    graph_free(inferred);
    return known;
}

static void samples(void **state)
{
    (void)state;
    assert_true(compare_ways("samples/models/fp32.onnx"));
    assert_true(compare_ways("samples/models/int8_qdq.onnx"));
    assert_true(compare_ways("samples/models/int8_qop.onnx"));
}

static void real_models(void **state)
{
    (void)state;
    const char *shared = getenv("QSCOPE_SHARED");
    char *pattern = mem_printf("%s/data/models/*/*.onnx", shared ? shared : "../shared");
    glob_t found;
    size_t known = 0, all = glob(pattern, 0, NULL, &found) ? 0 : found.gl_pathc;
    free(pattern);
    for (size_t i = 0; i < all; i++) {
        known += compare_ways(found.gl_pathv[i]);
    }
    globfree(&found);
    if (!all) {
        skip();
    }
    print_message("%zu of %zu models inferred\n", known, all);
    assert_true(known > all / 2);
}

/* A float input of shape [1, n, n, n] to a node that has not been finished. */
static void cube_input(struct fixture *f, int64_t n)
{
    const int v = graph_value(f->g, graph_fresh(f->g, "x"));
    struct value *x = &f->g->values[v];
    x->is_input = true;
    x->dtype = DT_F32;
    x->rank = 4;
    x->dims[0] = 1;
    x->dims[1] = x->dims[2] = x->dims[3] = n;
    f->g->inputs[f->g->n_inputs++] = v;
    f->node->in[f->node->n_in++] = v;
}

/* What a file says may be any number: a shape that does not fit one is no shape. */
static void numbers_past_the_ends(void **state)
{
    (void)state;
    static const int64_t ends[] = {INT64_MIN, INT64_MIN + 1, -1, INT64_MAX - 1, INT64_MAX};
    static const struct {
        const char *name;
        size_t n;
        int64_t usual[4];
    } attrs[] = {
        {"kernel_shape", 2, {3, 3}},
        {"strides", 2, {1, 1}},
        {"dilations", 2, {1, 1}},
        {"pads", 4, {1, 1, 1, 1}},
    };
    /* The last round leaves all as usual: then the shape is known. */
    for (size_t i = 0; i <= COUNT(attrs) * COUNT(ends); i++) {
        struct fixture f = fixture_new("MaxPool", 12);
        cube_input(&f, 8);
        for (size_t a = 0; a < COUNT(attrs); a++) {
            int64_t v[4];
            memcpy(v, attrs[a].usual, sizeof v);
            v[0] = a == i / COUNT(ends) ? ends[i % COUNT(ends)] : v[0];
            graph_attr_ints(f.g, f.node, attrs[a].name, attrs[a].n, v);
        }
        assert_int_equal(graph_finish(f.g, NULL), OK);
        assert_int_equal(graph_infer(f.g), i == COUNT(attrs) * COUNT(ends));
        fixture_free(&f);
    }
    for (int64_t n = 1; n > 0; n = n < INT64_MAX ? INT64_MAX : -1) {
        struct fixture f = fixture_new("Concat", 13);
        cube_input(&f, n);
        cube_input(&f, n);
        graph_attr_int(f.g, f.node, "axis", 1);
        assert_int_equal(graph_finish(f.g, NULL), OK);
        assert_int_equal(graph_infer(f.g), n == 1);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_past_the_ends),
        cmocka_unit_test(samples),
        cmocka_unit_test(real_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
