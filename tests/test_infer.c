/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_infer.c: types and shapes that follow from the operators of whole models are those that a
 * run finds. Real models are looked for in QSCOPE_SHARED or ../shared.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples),
        cmocka_unit_test(real_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
