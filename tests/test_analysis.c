/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_analysis.c: metrics on closed forms and special values, histograms, studies, matching and
 * pins on a graph built by hand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/analysis.h"

static bool near(double a, double b, double relative)
{
    return fabs(a - b) <= relative * fmax(fabs(a), fabs(b));
}

static struct tensor *tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

static struct tensor *vector(size_t n, double (*f)(size_t i))
{
    int64_t dims[] = {(int64_t)n};
    struct tensor *t = tensor(DT_F32, 1, dims);
    for (size_t i = 0; i < n; i++) {
        ((float *)t->data)[i] = (float)f(i);
    }
    return t;
}

static double of(const struct layer_stats *s, const char *metric)
{
    return metric_find(metric)->value(&s->all, s->scale);
}

/* ---- metrics -------------------------------------------------------------------------------- */

static double sine(size_t i)
{
    return sin(2 * M_PI * (double)i / 1000);
}

static void known_sine_known_step(void **state)
{
    (void)state;
    /* A full-scale sine in N-bit codes has SQNR = 6.02 N + 1.76 dB. Frequencies are not a divisor
     * of the length, so that every phase occurs. */
    size_t n = 100003;
    struct tensor *x = vector(n, sine);
    const float s = 1 / 127.0f;
    const int32_t z = 0;
    struct quant q = {.dtype = DT_S8, .axis = -1, .n = 1, .scale = &s, .zero = &z};
    struct tensor *c = NULL;
    assert_int_equal(quant_quantize(x, &q, NULL, &c, NULL), OK);
    struct layer_stats st;
    layer_stats_init(&st);
    assert_int_equal(layer_stats_add(&st, x, c, &q, CHANNEL_NONE, true, NULL), OK);
    assert_true(fabs(of(&st, "sqnr") - (20 * log10(127.0 * sqrt(6)) - 0)) < 0.3);
    assert_true(fabs(of(&st, "rmse_scale") - 1 / sqrt(12)) < 0.02);
    assert_true(of(&st, "saturation_low") == 0 && of(&st, "saturation_high") == 0);
    layer_stats_fini(&st);
    tensor_free(x);
    tensor_free(c);
}

static double ramp(size_t i)
{
    return (double)i;
}

static void clipping_is_counted_at_each_end(void **state)
{
    (void)state;
    struct tensor *x = vector(1000, ramp); /* 0 .. 999 */
    const float s = 1;
    const int32_t z = -100; /* s8 codes reach from -28 to 227 */
    struct quant q = {.dtype = DT_S8, .axis = -1, .n = 1, .scale = &s, .zero = &z};
    struct tensor *c = NULL;
    assert_int_equal(quant_quantize(x, &q, NULL, &c, NULL), OK);
    struct layer_stats st;
    layer_stats_init(&st);
    assert_int_equal(layer_stats_add(&st, x, c, &q, CHANNEL_NONE, false, NULL), OK);
    assert_true(near(of(&st, "saturation_high"), 100.0 * (999 - 227) / 1000, 1e-12));
    assert_true(of(&st, "saturation_low") == 0);
    assert_true(near(of(&st, "max_abs"), 999 - 227, 1e-12));
    assert_true(near(of(&st, "zeros"), 0.1, 1e-12));
    layer_stats_fini(&st);
    tensor_free(x);
    tensor_free(c);
}

struct special {
    float x[4], y[4];
    double sqnr, cosine, mse;
    uint64_t nonfinite;
};

static void special_values(void **state)
{
    (void)state;
    const struct special cases[] = {
        {{1, 2, 3, 4}, {1, 2, 3, 4}, INFINITY, 1, 0, 0},
        {{0, 0, 0, 0}, {0, 0, 0, 0}, INFINITY, NAN, 0, 0},
        {{0, 0, 0, 0}, {1, 0, 0, 0}, NAN, NAN, 0.25, 0},
        {{1, 0, 0, 0}, {0, 0, 0, 0}, 0, NAN, 0.25, 0},
        {{1, 1, 1, 1}, {-1, -1, -1, -1}, 10 * log10(0.25), -1, 4, 0},
        {{NAN, 3, 4, 0}, {5, 3, 4, 0}, INFINITY, 1, 0, 1},
        {{1, 3, 4, 0}, {INFINITY, 3, 4, 0}, INFINITY, 1, 0, 1},
        {{NAN, NAN, NAN, NAN}, {0, 0, 0, 0}, NAN, NAN, NAN, 4},
        {{1e30f, 0, 0, 0}, {1e30f, 0, 0, 0}, INFINITY, 1, 0, 0},
        {{1e-30f, 0, 0, 0}, {2e-30f, 0, 0, 0}, 0, 1, 2.5e-61, 0},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        int64_t dims[] = {4};
        struct tensor *x = tensor(DT_F32, 1, dims), *y = tensor(DT_F32, 1, dims);
        memcpy(x->data, cases[k].x, sizeof cases[k].x);
        memcpy(y->data, cases[k].y, sizeof cases[k].y);
        struct layer_stats st;
        layer_stats_init(&st);
        assert_int_equal(layer_stats_add(&st, x, y, NULL, CHANNEL_NONE, true, NULL), OK);
        const double got[] = {of(&st, "sqnr"), of(&st, "cosine"), of(&st, "mse")};
        const double want[] = {cases[k].sqnr, cases[k].cosine, cases[k].mse};
        for (int i = 0; i < 3; i++) {
            bool same = isnan(want[i])   ? isnan(got[i])
                        : isinf(want[i]) ? got[i] == want[i]
                                         : fabs(got[i] - want[i]) <= 1e-5 * fabs(want[i]) + 1e-66;
            if (!same) {
                fail_msg("case %zu value %d: %g, expected %g", k, i, got[i], want[i]);
            }
        }
        assert_int_equal(st.all.nonfinite, cases[k].nonfinite);
        layer_stats_fini(&st);
        tensor_free(x);
        tensor_free(y);
    }
}

static double noise(size_t i)
{
    return sin((double)i * 12.9898) * 3;
}

static double noise2(size_t i)
{
    return noise(i) + 0.01 * cos((double)i * 78.233);
}

static void channels_add_up_on_either_axis(void **state)
{
    (void)state;
    struct tensor *x = vector(2 * 5 * 7 * 3, noise), *y = vector(2 * 5 * 7 * 3, noise2);
    struct tensor *xs, *ys;
    int64_t dims[] = {2, 5, 7, 3};
    assert_int_equal(tensor_view(x, 4, dims, &xs, NULL), OK);
    assert_int_equal(tensor_view(y, 4, dims, &ys, NULL), OK);
    const int axes[] = {CHANNEL_NONE, 1, CHANNEL_LAST};
    const size_t counts[] = {0, 5, 3};
    double sqnr[3];
    for (int k = 0; k < 3; k++) {
        struct layer_stats st;
        layer_stats_init(&st);
        assert_int_equal(layer_stats_add(&st, xs, ys, NULL, axes[k], false, NULL), OK);
        assert_int_equal(st.n_channels, counts[k]);
        assert_int_equal(st.all.n, 210);
        sqnr[k] = of(&st, "sqnr");
        uint64_t n = 0;
        for (size_t c = 0; c < st.n_channels; c++) {
            n += st.channel[c].n;
        }
        assert_true(!st.n_channels || n == 210);
        layer_stats_fini(&st);
    }
    assert_true(near(sqnr[0], sqnr[1], 1e-12) && near(sqnr[0], sqnr[2], 1e-12));
    tensor_free(x);
    tensor_free(y);
    tensor_free(xs);
    tensor_free(ys);
}

static void pooling_sums_powers_first(void **state)
{
    (void)state;
    /* Two images: 10 log10 of summed powers, not the mean of two decibel values. */
    struct layer_stats st;
    layer_stats_init(&st);
    const float x[2] = {3, 1}, y[2] = {2, 1.5f};
    for (int i = 0; i < 2; i++) {
        int64_t dims[] = {1};
        struct tensor *a = tensor(DT_F32, 1, dims), *b = tensor(DT_F32, 1, dims);
        ((float *)a->data)[0] = x[i];
        ((float *)b->data)[0] = y[i];
        assert_int_equal(layer_stats_add(&st, a, b, NULL, CHANNEL_NONE, false, NULL), OK);
        tensor_free(a);
        tensor_free(b);
    }
    assert_int_equal(st.images, 2);
    assert_true(near(of(&st, "sqnr"), 10 * log10(10 / 1.25), 1e-12));
    layer_stats_fini(&st);
}

static void unequal_shapes_are_refused(void **state)
{
    (void)state;
    struct tensor *x = vector(4, ramp), *y = vector(5, ramp);
    struct layer_stats st;
    struct err e = {0};
    layer_stats_init(&st);
    assert_int_equal(layer_stats_add(&st, x, y, NULL, CHANNEL_NONE, false, &e), E_SHAPE);
    assert_string_equal(e.text, "shape is 4 in FP32 and 5 in INT8");
    assert_int_equal(st.images, 0);
    layer_stats_fini(&st);
    tensor_free(x);
    tensor_free(y);
}

/* ---- histograms ----------------------------------------------------------------------------- */

static void histograms_merge_exactly(void **state)
{
    (void)state;
    float x[3000];
    for (size_t i = 0; i < COUNT(x); i++) {
        x[i] = (float)(noise(i) * pow(10, (double)(i % 7) - 3));
    }
    struct hist whole, a, b;
    hist_init(&whole);
    hist_init(&a);
    hist_init(&b);
    hist_add(&whole, COUNT(x), x);
    hist_add(&a, 1000, x);
    hist_add(&b, 2000, x + 1000);
    hist_merge(&a, &b);
    uint64_t n = 0;
    for (int i = 0; i < HIST_BINS; i++) {
        n += whole.bin[i];
    }
    assert_int_equal(n, COUNT(x));
    assert_int_equal(a.n, COUNT(x));
    while (a.width < whole.width) { /* the merged one may have kept a finer grid */
        struct hist copy = whole;
        memset(copy.bin, 0, sizeof copy.bin);
        copy.n = 1;
        hist_merge(&a, &copy);
        a.n--;
    }
    assert_true(a.width == whole.width && a.lo == whole.lo);
    assert_memory_equal(a.bin, whole.bin, sizeof a.bin);
}

static void values_lie_in_their_bin(void **state)
{
    (void)state;
    float x[10000];
    struct hist h;
    hist_init(&h);
    for (size_t i = 0; i < COUNT(x); i++) {
        x[i] = (float)i / (float)COUNT(x);
    }
    hist_add(&h, COUNT(x), x);
    for (int b = 0; b < HIST_BINS; b++) {
        double from = h.lo + b * h.width;
        size_t here = 0;
        for (size_t i = 0; i < COUNT(x); i++) {
            here += (double)x[i] >= from && (double)x[i] < from + h.width;
        }
        assert_int_equal(h.bin[b], here);
    }
    float bad[] = {NAN, INFINITY};
    hist_add(&h, 2, bad);
    assert_int_equal(h.nonfinite, 2);
    assert_int_equal(h.n, COUNT(x));
}

/* ---- layouts -------------------------------------------------------------------------------- */

static void channels_move_there_and_back(void **state)
{
    (void)state;
    int64_t dims[] = {2, 5, 3, 7};
    const enum dtype types[] = {DT_U8, DT_F32};
    for (size_t k = 0; k < COUNT(types); k++) {
        struct tensor *t = tensor(types[k], 4, dims), *last = NULL, *back = NULL, *fast = NULL;
        size_t size = dtype_size(types[k]);
        for (size_t i = 0; i < t->size; i++) {
            ((uint8_t *)t->data)[i] = (uint8_t)(i * 37 % 251);
        }
        assert_int_equal(channels_move(t, CHANNELS_TO_LAST, 4, dims, NULL, &last, NULL), OK);
        assert_true(!last->channels_last && last->dims[1] == 3 && last->dims[3] == 5);
        for (size_t i = 0; i < t->n; i++) { /* i counts n, h, w, c */
            size_t c = i % 5, w = i / 5 % 7, h = i / 35 % 3, n = i / 105;
            const char *from = (const char *)t->data + (((n * 5 + c) * 3 + h) * 7 + w) * size;
            assert_memory_equal((const char *)last->data + i * size, from, size);
        }
        assert_int_equal(channels_move(last, CHANNELS_TO_SECOND, 4, dims, NULL, &back, NULL), OK);
        assert_true(tensor_equal(t, back));
        tensor_free(back);
        assert_int_equal(tensor_as(t, true, NULL, &fast, NULL), OK);
        assert_int_equal(channels_move(fast, CHANNELS_TO_LAST, 4, dims, NULL, &back, NULL), OK);
        assert_true(tensor_equal(last, back) && back->data == fast->data);
        tensor_free(back);
        tensor_free(fast);
        tensor_free(last);
        tensor_free(t);
    }
}

/* ---- studies -------------------------------------------------------------------------------- */

static void flips_and_margins(void **state)
{
    (void)state;
    int64_t dims[] = {1, 3};
    struct tensor *x = tensor(DT_F32, 2, dims), *y = tensor(DT_F32, 2, dims);
    memcpy(x->data, (float[]){1, 5, 2}, 12);
    memcpy(y->data, (float[]){1, 2, 4}, 12);
    struct image_score s = {0};
    const struct tensor *a[] = {x}, *b[] = {y};
    score_outputs(1, a, b, true, 1, &s);
    assert_int_equal(s.fp32_top1, 1);
    assert_int_equal(s.int8_top1, 2);
    assert_int_equal(s.flip, FLIP_LOST);
    assert_true(near(s.margin, (2.0 - 4.0) - (5.0 - 2.0), 1e-12));
    assert_true(near(s.dlogit, -3, 1e-12));
    assert_true(s.kl > 0);
    assert_int_equal(s.top[SIDE_FP32].n, 3);
    assert_int_equal(s.top[SIDE_FP32].label_rank, 1);
    assert_int_equal(s.top[SIDE_INT8].label_rank, 2);
    const int want[2][3] = {{1, 2, 0}, {2, 1, 0}};
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < 3; i++)
            assert_int_equal(s.top[side].c[i].label, want[side][i]);
    const double e = exp(5.0 - 5), sum = e + exp(2.0 - 5) + exp(1.0 - 5);
    assert_true(near((double)s.top[SIDE_FP32].c[0].p, e / sum, 1e-6));
    assert_true(near((double)s.top[SIDE_FP32].c[1].value, 2, 0));
    score_outputs(1, b, a, true, 1, &s);
    assert_int_equal(s.flip, FLIP_GAINED);
    score_outputs(1, a, a, true, 1, &s);
    assert_int_equal(s.flip, FLIP_NONE);
    assert_true(isinf(s.sqnr) && s.kl == 0);
    memcpy(x->data, (float[]){50, 20, 20}, 12); /* probabilities below what q is kept above */
    score_outputs(1, a, a, true, 0, &s);
    assert_true(s.kl == 0);
    tensor_free(x);
    tensor_free(y);
}

/* Of many classes the first five, in order; equal ones by index, NaN behind all numbers. */
static void top_classes(void **state)
{
    (void)state;
    int64_t dims[] = {1, 9};
    struct tensor *x = tensor(DT_F32, 2, dims), *y = tensor(DT_F32, 2, dims);
    memcpy(x->data, (float[]){0.1f, 0, 0.3f, 0.1f, 0.2f, 0, 0.3f, 0, 0}, 36);
    memcpy(y->data, (float[]){NAN, 1, NAN, -1, -2, NAN, NAN, NAN, NAN}, 36);
    struct image_score s;
    image_score_init(&s);
    const struct tensor *a[] = {x}, *b[] = {y};
    score_outputs(1, a, b, true, 3, &s);
    const int want[2][TOP_CLASSES] = {{2, 6, 4, 0, 3}, {1, 3, 4, 0, 2}};
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < TOP_CLASSES; i++)
            assert_int_equal(s.top[side].c[i].label, want[side][i]);
    assert_int_equal(s.top[SIDE_FP32].label_rank, 5);
    assert_int_equal(s.top[SIDE_INT8].label_rank, 2);
    /* They sum to one, so they are the probabilities. */
    assert_true(near((double)s.top[SIDE_FP32].c[0].p, 0.3, 1e-6));
    tensor_free(x);
    tensor_free(y);
}

/* Each image keeps the SQNR of its layers; what was not computed is NAN. */
static void images_keep_profiles(void **state)
{
    (void)state;
    int64_t dims[] = {1, 4};
    struct tensor *x = tensor(DT_F32, 2, dims), *y = tensor(DT_F32, 2, dims);
    memcpy(x->data, (float[]){3, 4, 0, 0}, 16);
    memcpy(y->data, (float[]){3, 4, 0.5f, 0}, 16);
    struct study *s = study_new(2);
    for (int i = 0; i < 2; i++) {
        struct image_result r;
        image_result_init(&r, 2);
        assert_int_equal(layer_stats_add(&r.layers[i], x, y, NULL, CHANNEL_NONE, false, NULL), OK);
        r.score.ok = true;
        study_add(s, &r);
        image_result_fini(&r, 2);
    }
    const double want = 10 * log10(25 / 0.25);
    for (int i = 0; i < 2; i++) {
        assert_true(near(profile_db(s->images[i].layer_sqnr[i]), want, 0.0051 / want));
        assert_true(isnan(profile_db(s->images[i].layer_sqnr[1 - i])));
        assert_int_equal(s->images[i].worst_layer, i);
    }
    assert_true(isinf(profile_db(profile_code(INFINITY))));
    assert_true(profile_db(profile_code(-1e9)) == -327);
    struct image_result failed;
    image_result_init(&failed, 2);
    failed.score.error = strdup("no file");
    study_add(s, &failed);
    image_result_fini(&failed, 2);
    assert_null(s->images[2].layer_sqnr);
    study_free(s);
    tensor_free(x);
    tensor_free(y);
}

static void ranking_puts_undefined_last(void **state)
{
    (void)state;
    struct study *s = study_new(4);
    const double ee[] = {1, 0, 100, 1};
    for (size_t i = 0; i < 4; i++) {
        s->layers[i].images = i != 3;
        s->layers[i].all.n = 1;
        s->layers[i].all.xx = 1000;
        s->layers[i].all.ee = ee[i];
    }
    size_t order[4];
    study_rank_layers(s, metric_find("sqnr"), SORT_WORST, order);
    const size_t worst[] = {2, 0, 1, 3};
    assert_memory_equal(order, worst, sizeof order);
    study_rank_layers(s, metric_find("sqnr"), SORT_DESC, order);
    const size_t best[] = {1, 0, 2, 3};
    assert_memory_equal(order, best, sizeof order);
    study_rank_layers(s, metric_find("mse"), SORT_WORST, order);
    assert_memory_equal(order, worst, sizeof order);
    study_free(s);
}

/* n images of which every `miss`th is wrong; labels are `off` less than what FP32 finds. */
static int shift_of(int n, int miss, int off, size_t *right)
{
    struct study *t = study_new(0);
    for (int i = 0; i < n; i++) {
        struct image_score x;
        image_score_init(&x);
        x.ok = true;
        x.fp32_top1 = x.int8_top1 = 10 + i * 7 % 50;
        x.label = i % miss ? x.fp32_top1 - off : 900;
        study_add_score(t, &x);
    }
    int shift = study_label_shift(t, right);
    study_free(t);
    return shift;
}

static void labels_that_are_one_off_are_told(void **state)
{
    (void)state;
    size_t right;
    assert_int_equal(shift_of(100, 4, 1, &right), 1);
    assert_int_equal(right, 75);
    assert_int_equal(shift_of(100, 4, -1, &right), -1);
    assert_int_equal(right, 75);
    assert_int_equal(shift_of(100, 4, 0, &right), 0);
    assert_int_equal(shift_of(100, 4, 2, &right), 0);
    assert_int_equal(shift_of(4, 9, 1, &right), 0);
    assert_int_equal(shift_of(0, 1, 1, &right), 0);
}

/* n images of that many classes of which FP32 gets `right`. */
static bool by_chance(int n, int classes, int right)
{
    struct study *t = study_new(1);
    for (int i = 0; i < n; i++) {
        struct image_score x = {.ok = true, .label = i % classes};
        x.fp32_top1 = x.int8_top1 = i < right ? x.label : classes + 1;
        study_add_score(t, &x);
    }
    bool chance = study_by_chance(t);
    study_free(t);
    return chance;
}

static void answers_by_chance_are_told(void **state)
{
    (void)state;
    assert_true(by_chance(200, 10, 20));
    assert_true(by_chance(200, 10, 28)); /* 20 and two deviations of 4.2 */
    assert_false(by_chance(200, 10, 29));
    assert_true(by_chance(125, 125, 1));
    assert_false(by_chance(125, 125, 10));
    assert_true(by_chance(100, 2, 60));
    assert_false(by_chance(100, 2, 61));
    assert_false(by_chance(19, 10, 0)); /* too few to tell */
    assert_false(by_chance(100, 1, 0)); /* nothing to guess among */
    assert_false(by_chance(0, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_by_chance_are_told),
        cmocka_unit_test(known_sine_known_step),
        cmocka_unit_test(clipping_is_counted_at_each_end),
        cmocka_unit_test(special_values),
        cmocka_unit_test(labels_that_are_one_off_are_told),
        cmocka_unit_test(channels_add_up_on_either_axis),
        cmocka_unit_test(pooling_sums_powers_first),
        cmocka_unit_test(unequal_shapes_are_refused),
        cmocka_unit_test(histograms_merge_exactly),
        cmocka_unit_test(values_lie_in_their_bin),
        cmocka_unit_test(channels_move_there_and_back),
        cmocka_unit_test(flips_and_margins),
        cmocka_unit_test(top_classes),
        cmocka_unit_test(images_keep_profiles),
        cmocka_unit_test(ranking_puts_undefined_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
