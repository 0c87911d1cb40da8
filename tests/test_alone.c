/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_alone.c: statistics of tensors without a counterpart, against counts made value by value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "analysis/analysis.h"

static uint32_t state32 = 2463534242u;

static uint32_t random32(void)
{
    state32 ^= state32 << 13;
    state32 ^= state32 >> 17;
    state32 ^= state32 << 5;
    return state32;
}

static struct tensor *new_tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

/* What is expected of channel c of `channels`, or of all (c < 0), in a tensor [1, channels, inner].
 */
struct seen {
    uint64_t n, zeros, low, high, nonfinite;
    double lo, hi;
};

static struct seen look(const double *x, size_t n, size_t inner, long c, double low, double high)
{
    struct seen s = {.lo = INFINITY, .hi = -INFINITY};
    for (size_t i = 0; i < n; i++) {
        if (c >= 0 && i / inner != (size_t)c) {
            continue;
        }
        if (!isfinite(x[i])) {
            s.nonfinite++;
            continue;
        }
        s.n++;
        s.zeros += x[i] == 0;
        s.low += x[i] == low;
        s.high += x[i] == high;
        s.lo = fmin(s.lo, x[i]);
        s.hi = fmax(s.hi, x[i]);
    }
    return s;
}

static void assert_seen(const struct sums *x, enum side side, const struct seen *want)
{
    assert_int_equal(x->n, 0); /* nothing was compared */
    assert_int_equal(x->zeros, want->zeros);
    assert_int_equal(x->sat_low, want->low);
    assert_int_equal(x->sat_high, want->high);
    assert_int_equal(x->nonfinite, want->nonfinite);
    assert_true((side == SIDE_FP32 ? x->xmin : x->ymin) == want->lo);
    assert_true((side == SIDE_FP32 ? x->xmax : x->ymax) == want->hi);
    assert_true(isinf(side == SIDE_FP32 ? x->ymin : x->xmin));
}

enum { CHANNELS = 5, INNER = 21, N = CHANNELS * INNER };

static void codes_are_counted(void **state)
{
    static const enum dtype types[] = {DT_U8, DT_S8};
    const int64_t dims[] = {1, CHANNELS, 3, 7};
    (void)state;
    for (int round = 0; round < 40; round++) {
        const enum dtype d = types[round % 2];
        float scale = 0.1f + (float)(random32() % 100) / 37.0f;
        int32_t zero = d == DT_U8 ? (int32_t)(random32() % 256) : (int32_t)(random32() % 256) - 128;
        const struct quant q = {.n = 1, .axis = -1, .dtype = d, .scale = &scale, .zero = &zero};
        struct tensor *t = new_tensor(d, 4, dims), *last = NULL;
        double real[N];
        for (size_t i = 0; i < N; i++) {
            int code = (int)(random32() % 8 ? random32() % 256 : random32() % 2 * 255);
            code -= d == DT_S8 ? 128 : 0;
            if (d == DT_U8)
                ((uint8_t *)t->data)[i] = (uint8_t)code;
            else
                ((int8_t *)t->data)[i] = (int8_t)code;
            real[i] = (double)((float)(code - zero) * scale);
        }
        const double low = (double)((float)((d == DT_S8 ? -128 : 0) - zero) * scale);
        const double high = (double)((float)((d == DT_S8 ? 127 : 255) - zero) * scale);
        assert_int_equal(tensor_as(t, round % 4 > 1, NULL, &last, NULL), OK);
        struct layer_stats st, twice;
        layer_stats_init(&st);
        layer_stats_init(&twice);
        assert_int_equal(layer_stats_alone(&st, SIDE_INT8, last, &q, 1, NULL), OK);
        struct seen want = look(real, N, INNER, -1, low, high);
        assert_seen(&st.all, SIDE_INT8, &want);
        assert_int_equal(st.int8.n, N);
        assert_int_equal(st.fp32.n, 0);
        assert_int_equal(st.n_channels, CHANNELS);
        for (long c = 0; c < CHANNELS; c++) {
            want = look(real, N, INNER, c, low, high);
            assert_seen(&st.channel[c], SIDE_INT8, &want);
        }
        for (const struct metric *m = metrics; m->name; m++)
            assert_true(isnan(m->value(&st.all, st.scale))); /* no figure looks like a comparison */
        assert_int_equal(layer_stats_merge(&twice, &st, NULL), OK);
        assert_int_equal(layer_stats_merge(&twice, &st, NULL), OK);
        assert_int_equal(twice.int8.n, 2 * N);
        assert_int_equal(twice.all.sat_high, 2 * st.all.sat_high);
        assert_int_equal(twice.images, 2);
        layer_stats_fini(&twice);
        layer_stats_fini(&st);
        tensor_free(last);
        tensor_free(t);
    }
}

static void floats_are_counted(void **state)
{
    const int64_t dims[] = {INNER, CHANNELS};
    struct tensor *t = new_tensor(DT_F32, 2, dims);
    double by_channel[N];
    struct layer_stats st;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        float v = (float)((int)(random32() % 9) - 4);
        v = i == 3 ? NAN : i == 11 ? INFINITY : v;
        ((float *)t->data)[i] = v;
        by_channel[i % CHANNELS * INNER + i / CHANNELS] = (double)v;
    }
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_FP32, t, NULL, CHANNEL_LAST, NULL), OK);
    struct seen want = look(by_channel, N, INNER, -1, NAN, NAN);
    assert_seen(&st.all, SIDE_FP32, &want);
    assert_int_equal(st.fp32.n, N - 2);
    assert_int_equal(st.fp32.nonfinite, 2);
    for (long c = 0; c < CHANNELS; c++) {
        want = look(by_channel, N, INNER, c, NAN, NAN);
        assert_seen(&st.channel[c], SIDE_FP32, &want);
    }
    layer_stats_fini(&st);
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_FP32, t, NULL, CHANNEL_NONE, NULL), OK);
    assert_int_equal(st.n_channels, 0);
    layer_stats_fini(&st);
    tensor_free(t);
}

/* Long rows go in pieces, of which one has a NaN. */
static void long_rows(void **state)
{
    enum { LONG = 50003 };
    const int64_t dims[] = {1, 2, LONG};
    struct tensor *t = new_tensor(DT_F32, 3, dims);
    double *real = mem_alloc(2 * LONG * sizeof *real);
    struct layer_stats st;
    struct hist h;
    (void)state;
    for (size_t i = 0; i < 2 * LONG; i++) {
        float v = (float)((int)(random32() % 2001) - 1000) / 8.0f;
        v = i == 20000 ? -INFINITY : i == 70001 ? 5000.0f : v;
        ((float *)t->data)[i] = v;
        real[i] = (double)v;
    }
    hist_init(&h);
    for (size_t i = 0; i < 2 * LONG; i++) {
        hist_add(&h, 1, (const float *)t->data + i);
    }
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_FP32, t, NULL, 1, NULL), OK);
    assert_memory_equal(&st.fp32, &h, sizeof h);
    for (long c = 0; c < 2; c++) {
        const struct seen want = look(real, 2 * LONG, LONG, c, NAN, NAN);
        assert_seen(&st.channel[c], SIDE_FP32, &want);
    }
    layer_stats_fini(&st);
    free(real);
    tensor_free(t);
}

/* Codes of 16 bits have ends as well. */
static void wide_codes(void **state)
{
    const int64_t dims[] = {4};
    float scale = 0.25f;
    int32_t zero = 3;
    const struct quant q = {.n = 1, .axis = -1, .dtype = DT_S16, .scale = &scale, .zero = &zero};
    struct tensor *t = new_tensor(DT_S16, 1, dims);
    struct layer_stats st;
    (void)state;
    memcpy(t->data, (const int16_t[]){-32768, 3, 32767, 32767}, 8);
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_INT8, t, &q, CHANNEL_NONE, NULL), OK);
    assert_int_equal(st.all.sat_low, 1);
    assert_int_equal(st.all.sat_high, 2);
    assert_int_equal(st.all.zeros, 1);
    assert_true(st.all.ymin == -32771 * 0.25 && st.all.ymax == 32764 * 0.25);
    layer_stats_fini(&st);
    tensor_free(t);
}

/* Scales by channel have no two ends that a value could be told by; integers without a scale are no
 * values at all. */
static void other_codes(void **state)
{
    const int64_t dims[] = {1, 2, 2};
    float scale[] = {1, 2};
    int32_t zero[] = {0, 0};
    const struct quant q = {.n = 2, .axis = 1, .dtype = DT_S8, .scale = scale, .zero = zero};
    struct tensor *t = new_tensor(DT_S8, 3, dims);
    struct layer_stats st;
    struct err err = {0};
    (void)state;
    memcpy(t->data, (const int8_t[]){127, -128, 127, 0}, 4);
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_INT8, t, &q, 1, NULL), OK);
    assert_true(st.all.ymin == -128 && st.all.ymax == 254);
    assert_int_equal(st.all.sat_low + st.all.sat_high, 0);
    assert_int_equal(st.all.zeros, 1);
    assert_true(isnan(st.scale));
    layer_stats_fini(&st);
    layer_stats_init(&st);
    assert_int_equal(layer_stats_alone(&st, SIDE_INT8, t, NULL, 1, &err), E_SHAPE);
    assert_int_equal(st.images, 0);
    tensor_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_counted), cmocka_unit_test(floats_are_counted),
        cmocka_unit_test(long_rows),         cmocka_unit_test(wide_codes),
        cmocka_unit_test(other_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
