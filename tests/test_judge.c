/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_judge.c: ranges, scales and noise of quantizers, the audit of a model that has one fault a
 * layer, and the tables behind verdicts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "analysis/analysis.h"

static struct quant quant(enum dtype d, const float *scale, const int32_t *zero)
{
    return (struct quant){.dtype = d, .axis = -1, .n = 1, .scale = scale, .zero = zero};
}

static void test_range_use(void **state)
{
    (void)state;
    float s = 0.1F;
    int32_t low = -128, shifted = -68, middle = 0;
    struct range_use u;
    struct quant q = quant(DT_S8, &s, &low);
    assert_true(range_use(&q, 0, 25.5, &u)); /* [0, 25.5] is held exactly */
    assert_float_equal(u.cover, 1, 1e-5);
    assert_true(u.shift == 0);
    assert_true(range_use(&q, 0.5, 2.55, &u)); /* 0 is always needed */
    assert_float_equal(u.cover, 10, 1e-4);
    q = quant(DT_S8, &s, &shifted);
    assert_true(range_use(&q, 0, 25, &u)); /* [-6, 19.5]: 55 steps are missing above */
    assert_float_equal(u.shift, -55, 0.01);
    assert_true(range_use(&q, 0, 50, &u)); /* no zero point helps */
    assert_true(u.shift == 0 && u.cover < 1);
    q = quant(DT_S8, &s, &middle);
    assert_true(range_use(&q, 0, 12.7, &u)); /* symmetric by design: by the largest magnitude */
    assert_float_equal(u.cover, 1, 1e-5);
    assert_true(range_use(&q, 0, 20, &u) && u.shift == 0);
    assert_false(range_use(&q, INFINITY, -INFINITY, &u)); /* nothing was seen */
    q.n = 0;
    assert_false(range_use(&q, 0, 1, &u));
}

static void test_bad_scale(void **state)
{
    (void)state;
    assert_true(scale_is_bad(0) && scale_is_bad(-1) && scale_is_bad((double)NAN));
    assert_true(scale_is_bad((double)INFINITY) && scale_is_bad(1e-12));
    assert_false(scale_is_bad(1e-6));
}

static void test_median(void **state)
{
    (void)state;
    double v[] = {4, 1, 3, 2};
    assert_true(median_of(v, 4) == 2.5);
    assert_true(median_of(v, 3) == 2);
    assert_true(median_of(v, 0) == 0);
}

/* Clipping and rounding of [-1, 300] in codes 0..255 of step 1: known exactly. */
static void test_quant_noise(void **state)
{
    (void)state;
    const int64_t dims[] = {4};
    struct tensor *x = NULL, *codes = NULL;
    float s = 1;
    int32_t z = 0;
    struct quant q = quant(DT_U8, &s, &z);
    struct quant_noise n = {0};
    double rest = 0;
    assert_int_equal(tensor_new(DT_F32, 1, dims, NULL, &x, NULL), OK);
    const float v[] = {-1, 300, 7.25F, NAN};
    memcpy(x->data, v, sizeof v);
    assert_int_equal(quant_quantize(x, &q, NULL, &codes, NULL), OK);
    assert_int_equal(quant_noise_add(x, codes, &q, codes, &n, &rest, NULL), OK);
    assert_int_equal(n.n, 4);
    assert_true(n.clip == 1 + 45.0 * 45.0);
    assert_true(n.round == 0.0625);
    assert_true(rest == 0);
    tensor_free(x);
    tensor_free(codes);
}

/* A lone layer that gives back x itself has the noise of its codes and no other. */
static void test_local_measure(void **state)
{
    (void)state;
    const int64_t dims[] = {1, 2, 3, 3};
    const double ends[] = {-INFINITY, INFINITY};
    struct tensor *x = NULL, *codes = NULL, *instead = NULL;
    float s = 0.5F;
    int32_t z = 3;
    struct layer l = {.quantized = true, .q = quant(DT_S8, &s, &z), .channel_axis = 1};
    struct local_stats st;
    local_stats_init(&st);
    assert_int_equal(tensor_new(DT_F32, 4, dims, NULL, &x, NULL), OK);
    for (size_t i = 0; i < x->n; i++) {
        ((float *)x->data)[i] = (float)i * 0.3F - 2;
    }
    assert_int_equal(quant_quantize(x, &l.q, NULL, &codes, NULL), OK);
    assert_int_equal(local_measure(&l, ends, x, codes, false, &st, &instead, NULL), OK);
    assert_true(tensor_equal(instead, codes));
    assert_true(st.rest == 0 && st.past == 0 && st.out.clip == 0);
    assert_float_equal(st.out.round, local_noise(&st), 1e-9);
    assert_int_equal(st.pair.n_channels, 2);
    tensor_free(instead);
    instead = NULL;
    l.quantized = false; /* codes of unknown scale: no figure, and nothing to put in their place */
    assert_int_equal(local_measure(&l, ends, x, codes, false, &st, &instead, NULL), E_STATE);
    assert_null(instead);
    local_stats_fini(&st);
    tensor_free(codes);
    tensor_free(x);
}

/* ---- Audit ---------------------------------------------------------------------------------- */

enum { SOUND, BAD_SCALE, MISREAD, DEAD, WRAPS, CLIPPED, UNUSED_CODES, PINNED, N_AUDITED };

/* Codes hold [-12.8, 12.7]; the values reach so far. */
static void seen(struct layer_stats *s, double reach)
{
    s->images = 1;
    s->all.n = 1000;
    s->all.xmin = -reach;
    s->all.xmax = reach;
}

static void test_audit(void **state)
{
    (void)state;
    static const float step = 0.1F, none = 0;
    static const int32_t zero = 0;
    struct graph *g = graph_new();
    struct layer layers[N_AUDITED] = {0};
    struct weight_error weights[N_AUDITED] = {0};
    struct accumulators sums[N_AUDITED] = {0};
    struct misread misread[N_AUDITED] = {0};
    struct weight_channel channel[2] = {{.dead = true}};
    const bool pinned[N_AUDITED] = {[PINNED] = true};
    struct study *study = study_new(N_AUDITED);
    for (int k = 0; k < N_AUDITED; k++) {
        const bool bad = k == BAD_SCALE || k == PINNED;
        layers[k].int8 = graph_value(g, graph_fresh(g, "y"));
        layers[k].quantized = true;
        layers[k].q = quant(DT_S8, bad ? &none : &step, &zero);
        seen(&study->layers[k], 12.5);
    }
    misread[MISREAD] = (struct misread){.node = "n", .tensor = "t", .written = 0.4, .read = 0.1};
    weights[DEAD] = (struct weight_error){.n_channels = 2, .k = 1, .channel = channel};
    sums[WRAPS].all = (struct acc_stats){.n = 200, .wraps = 50, .pair_outputs = 20};
    study->layers[CLIPPED].all.sat_high = 250;
    seen(&study->layers[UNUSED_CODES], 1.6);
    struct match match = {.n_layers = N_AUDITED, .layers = layers};
    const struct judge_input j = {.int8 = g,
                                  .match = &match,
                                  .weights = weights,
                                  .study = study,
                                  .pinned = pinned,
                                  .misread = misread};
    struct audit *a = audit_new(&j, sums);
    /* Worst kinds first; what is sound, or computed in float, is not told. */
    static const struct {
        const char *kind;
        long layer;
        double value;
    } want[] = {
        {"bad_scale", BAD_SCALE, 0}, {"misread", MISREAD, 4},  {"dead_channel", DEAD, 1},
        {"accumulator", WRAPS, 25},  {"clipped", CLIPPED, 25}, {"unused_codes", UNUSED_CODES, 8},
    };
    assert_int_equal(a->n, COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_string_equal(a->list[i].kind, want[i].kind);
        assert_int_equal(a->list[i].layer, want[i].layer);
        assert_true(fabs(a->list[i].value - want[i].value) < 0.1);
        assert_non_null(a->list[i].text);
        assert_true(i == 0 || a->list[i].severity <= a->list[i - 1].severity);
    }
    audit_free(a);
    /* Without sums and without a run only what the files say is told. */
    struct judge_input files = j;
    files.study = NULL;
    a = audit_new(&files, NULL);
    assert_int_equal(a->n, DEAD - SOUND);
    audit_free(a);
    study_free(study);
    graph_free(g);
}

static void test_tables(void **state)
{
    (void)state;
    for (int i = 0; i < N_VERDICTS; i++) {
        assert_non_null(verdicts[i].name);
        assert_non_null(verdicts[i].help);
    }
    for (int i = 0; i < N_LIMITS; i++) {
        assert_non_null(verdict_limits[i].name);
        assert_true(verdict_limits[i].value > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_use),     cmocka_unit_test(test_bad_scale),
        cmocka_unit_test(test_median),        cmocka_unit_test(test_quant_noise),
        cmocka_unit_test(test_local_measure), cmocka_unit_test(test_audit),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
