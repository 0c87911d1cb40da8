/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_stats.c: the statistics of a pair on random shapes: against their definition, computed value
 * by value; the same bits from the plain loops and from those of this CPU, and from both orders of
 * the channels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "analysis/stats.h"

/* ---- Cases ---------------------------------------------------------------------------------- */

enum fill { FILL_DENSE, FILL_RELU, FILL_CONSTANT, FILL_TINY, FILL_WIDE, FILLS };

/* One pair, row-major, and what is asked about it. */
struct pair {
    struct tensor *x, *y;
    struct quant q;
    float scale[512];
    int32_t zero[512];
    bool codes; /* y holds codes with q */
    int axis;
};

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)((seed >> 33) % below);
}

static float draw_real(enum fill f)
{
    float u = ((float)draw(1 << 20) + (float)draw(1 << 20)) * 0x1p-20f - 1;
    switch (f) {
    case FILL_RELU:
        return u < 0 ? (draw(2) ? 0.0F : -0.0F) : u;
    case FILL_CONSTANT:
        return 0.25F;
    case FILL_TINY: /* denormal, too */
        return ldexpf(u, -(int)draw(60) - 95);
    case FILL_WIDE:
        return ldexpf(u, (int)draw(250) - 125);
    default:
        return u;
    }
}

static float draw_bad(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    return bad[draw(COUNT(bad))];
}

static struct tensor *new_tensor(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

/* Mostly four dimensions, channels on axis 1; sometimes others, or none. */
static int draw_shape(int64_t dims[4], int *axis)
{
    static const int64_t channels[] = {1, 2, 3, 7, 15, 16, 17, 24, 32, 63, 64, 65, 100, 144};
    int rank = draw(4) ? 4 : 1 + (int)draw(4);
    for (int d = 0; d < rank; d++) {
        dims[d] = d == 0   ? 1 + (int64_t)draw(2)
                  : d == 1 ? channels[draw(COUNT(channels))]
                           : 1 + (int64_t)draw(21);
    }
    static const int axes[] = {1, 1, 1, 1, CHANNEL_NONE, CHANNEL_LAST, 0, 2};
    *axis = axes[draw(COUNT(axes))];
    return rank;
}

static void draw_quant(struct pair *p, const struct tensor *x)
{
    static const enum dtype types[] = {DT_U8, DT_S8, DT_U8, DT_S8, DT_U16, DT_S16, DT_U4};
    static const float scales[] = {0.01F, 0.0078125F, 0.003F, -0.01F, 0, 0x1p-140F, 1e36F};
    int64_t lo, hi;
    p->q = (struct quant){.dtype = types[draw(COUNT(types))], .axis = -1, .n = 1};
    assert_true(dtype_range(p->q.dtype, &lo, &hi));
    if (x->rank > 1 && draw(8) == 0) {
        p->q.axis = 1;
        p->q.n = (size_t)x->dims[1];
    }
    for (size_t i = 0; i < p->q.n; i++) {
        p->scale[i] = scales[draw(draw(4) ? 3 : COUNT(scales))];
        p->zero[i] = (int32_t)(lo + (int64_t)draw((uint32_t)MIN(hi - lo + 1, 256)));
        p->zero[i] -= draw(16) == 0 ? 1000 : 0; /* beyond the codes */
    }
    p->q.scale = p->scale;
    p->q.zero = p->zero;
}

static void draw_codes(struct tensor *y)
{
    bool flat = draw(4) == 0;
    for (size_t i = 0; i < y->size; i++) {
        ((uint8_t *)y->data)[i] = (uint8_t)(y->dtype == DT_U4 ? draw(16) : flat ? 7 : draw(256));
    }
}

/* y close to x, or codes that have nothing to do with it: sums do not care. */
static void draw_pair(struct pair *p)
{
    int64_t dims[4];
    int rank = draw_shape(dims, &p->axis);
    enum fill f = (enum fill)draw(FILLS);
    p->x = new_tensor(DT_F32, rank, dims);
    float *x = p->x->data;
    bool bad = draw(3) == 0;
    for (size_t i = 0; i < p->x->n; i++) {
        x[i] = bad && draw(200) == 0 ? draw_bad() : draw_real(f);
    }
    p->codes = draw(4) != 0;
    if (p->codes) {
        draw_quant(p, p->x);
        p->y = new_tensor(p->q.dtype, rank, dims);
        draw_codes(p->y);
        return;
    }
    p->y = new_tensor(DT_F32, rank, dims);
    for (size_t i = 0; i < p->x->n; i++) {
        float near = x[i] * (1 + ((float)draw(100) - 50) * 1e-4F);
        ((float *)p->y->data)[i] = bad && draw(300) == 0 ? draw_bad() : draw(9) ? near : 0;
    }
}

static void pair_free(struct pair *p)
{
    tensor_free(p->x);
    tensor_free(p->y);
}

static void add(struct layer_stats *s, const struct pair *p, const struct tensor *x,
                const struct tensor *y)
{
    struct err e = {0};
    if (layer_stats_add(s, x, y, p->codes ? &p->q : NULL, p->axis, true, &e)) {
        fail_msg("%s", e.text);
    }
}

/* ---- By definition -------------------------------------------------------------------------- */

static size_t channel_of(const struct tensor *t, size_t i, int axis)
{
    size_t inner = 1;
    for (int d = axis + 1; d < t->rank; d++) {
        inner *= (size_t)t->dims[d];
    }
    return i / inner % (size_t)t->dims[axis];
}

static float real_y(const struct pair *p, size_t i)
{
    if (!p->codes) {
        return ((const float *)p->y->data)[i];
    }
    size_t c = p->q.n > 1 ? channel_of(p->y, i, p->q.axis) : 0;
    return (float)(tensor_s64(p->y, i) - p->zero[c]) * p->scale[c];
}

struct precise {
    long double xx, yy, xy, ee, ae;
    struct sums s;
};

static void precise_add(struct precise *p, float x, float y, float lo, float hi)
{
    if (!isfinite(x) || !isfinite(y)) {
        p->s.nonfinite++;
        return;
    }
    long double a = (long double)x, b = (long double)y, e = a - b;
    p->s.n++;
    p->xx += a * a;
    p->yy += b * b;
    p->xy += a * b;
    p->ee += e * e;
    p->ae += fabsl(e);
    p->s.max_abs = fmax(p->s.max_abs, fabs((double)x - (double)y));
    p->s.xmin = fmin(p->s.xmin, (double)x);
    p->s.xmax = fmax(p->s.xmax, (double)x);
    p->s.ymin = fmin(p->s.ymin, (double)y);
    p->s.ymax = fmax(p->s.ymax, (double)y);
    p->s.sat_low += x < lo;
    p->s.sat_high += x > hi;
    p->s.zeros += y == 0;
}

static bool near(double a, long double b, long double size)
{
    return fabsl((long double)a - b) <= 1e-12L * size;
}

static void check_sums(const struct sums *a, const struct precise *p)
{
    const struct sums *b = &p->s;
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->nonfinite, b->nonfinite);
    assert_int_equal(a->sat_low, b->sat_low);
    assert_int_equal(a->sat_high, b->sat_high);
    assert_int_equal(a->zeros, b->zeros);
    assert_true(a->max_abs == b->max_abs && a->xmin == b->xmin && a->xmax == b->xmax);
    assert_true(a->ymin == b->ymin && a->ymax == b->ymax);
    assert_true(near(a->xx, p->xx, p->xx) && near(a->yy, p->yy, p->yy));
    assert_true(near(a->xy, p->xy, sqrtl(p->xx * p->yy)));
    assert_true(near(a->ee, p->ee, p->ee) && near(a->ae, p->ae, p->ae));
}

/* Every bin counted anew; the range must be the narrowest that holds all values. */
static void check_hist(const struct hist *h, size_t n, const float *v)
{
    uint64_t bin[HIST_BINS] = {0}, bad = 0;
    double top = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            bad++;
            continue;
        }
        double at = floor((double)v[i] / h->width) + HIST_BINS / 2.0;
        assert_true(at >= 0 && at < HIST_BINS);
        bin[(int)at]++;
        top = fmax(top, fabs((double)v[i]));
    }
    assert_int_equal(h->nonfinite, bad);
    assert_int_equal(h->n, n - bad);
    assert_memory_equal(h->bin, bin, sizeof bin);
    assert_true(h->n == 0 || (h->lo == -h->width * HIST_BINS / 2 && -h->lo >= top &&
                              (-h->lo / 2 <= top || -h->lo <= 0x1p-99)));
}

static void check_pair(const struct pair *p, const struct layer_stats *st)
{
    int axis = p->axis == CHANNEL_LAST ? p->x->rank - 1 : p->axis;
    bool split = axis >= 0 && axis < p->x->rank && p->x->dims[axis] > 1;
    size_t n = p->x->n, channels = split ? (size_t)p->x->dims[axis] : 1;
    struct precise *want = calloc(channels + 1, sizeof *want), *all = &want[channels];
    float *y = calloc(n, sizeof *y), lo = -INFINITY, hi = INFINITY;
    int64_t least, most;
    if (p->codes && p->q.n == 1 && dtype_range(p->q.dtype, &least, &most)) {
        lo = (float)(least - p->zero[0]) * p->scale[0];
        hi = (float)(most - p->zero[0]) * p->scale[0];
    }
    for (size_t c = 0; c <= channels; c++) {
        sums_init(&want[c].s);
    }
    for (size_t i = 0; i < n; i++) {
        float x = ((const float *)p->x->data)[i];
        y[i] = real_y(p, i);
        precise_add(all, x, y[i], lo, hi);
        if (split) {
            precise_add(&want[channel_of(p->x, i, axis)], x, y[i], lo, hi);
        }
    }
    check_sums(&st->all, all);
    assert_int_equal(st->n_channels, split ? channels : 0);
    for (size_t c = 0; c < st->n_channels; c++) {
        check_sums(&st->channel[c], &want[c]);
    }
    check_hist(&st->fp32, n, p->x->data);
    check_hist(&st->int8, n, y);
    free(want);
    free(y);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void same_bits(const struct layer_stats *a, const struct layer_stats *b)
{
    assert_memory_equal(&a->all, &b->all, sizeof a->all);
    assert_int_equal(a->n_channels, b->n_channels);
    if (a->n_channels) {
        assert_memory_equal(a->channel, b->channel, a->n_channels * sizeof *a->channel);
    }
    assert_memory_equal(&a->fp32, &b->fp32, sizeof a->fp32);
    assert_memory_equal(&a->int8, &b->int8, sizeof a->int8);
}

/* Without channels, values are added in the order in which they lie, so that the last digits
 * differ between orders; otherwise nothing does. */
static void check_orders(const struct pair *p, const struct layer_stats *rows)
{
    struct tensor *x = NULL, *y = NULL;
    assert_int_equal(tensor_as(p->x, true, NULL, &x, NULL), OK);
    assert_int_equal(tensor_as(p->y, true, NULL, &y, NULL), OK);
    const struct tensor *pairs[][2] = {{x, y}, {p->x, y}, {x, p->y}};
    for (size_t k = 0; k < COUNT(pairs); k++) {
        struct layer_stats last;
        layer_stats_init(&last);
        add(&last, p, pairs[k][0], pairs[k][1]);
        if (rows->n_channels) {
            same_bits(rows, &last);
        } else {
            check_pair(p, &last);
        }
        layer_stats_fini(&last);
    }
    tensor_free(x);
    tensor_free(y);
}

static void check_all(const struct pair *p)
{
    struct layer_stats plain, fast;
    layer_stats_init(&plain);
    layer_stats_init(&fast);
    stats_force(&stats_plain);
    add(&plain, p, p->x, p->y);
    check_pair(p, &plain);
    stats_force(NULL);
    add(&fast, p, p->x, p->y);
    same_bits(&plain, &fast);
    check_orders(p, &fast);
    layer_stats_fini(&plain);
    layer_stats_fini(&fast);
}

static void random_pairs(void **state)
{
    (void)state;
    for (uint64_t k = 1; k < 400; k++) {
        struct pair p;
        seed = k;
        draw_pair(&p);
        check_all(&p);
        pair_free(&p);
    }
}

/* Large enough for several pieces and for the tables that count many values; the last one has more
 * equal values than these can hold. */
static void large_pairs(void **state)
{
    (void)state;
    static const struct {
        int64_t dims[4];
        enum fill fill;
    } cases[] = {
        {{1, 64, 61, 47}, FILL_DENSE},      {{1, 64, 61, 47}, FILL_RELU},
        {{1, 2048, 7, 7}, FILL_DENSE},      {{1, 2048, 7, 7}, FILL_RELU},
        {{2, 24, 40, 41}, FILL_DENSE},      {{2, 24, 40, 41}, FILL_RELU},
        {{1, 1, 300, 301}, FILL_DENSE},     {{1, 3, 151, 149}, FILL_RELU},
        {{1, 32, 130, 131}, FILL_CONSTANT},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        bool relu = cases[k].fill == FILL_RELU;
        struct pair p = {.codes = true, .axis = 1};
        seed = 77 + k;
        p.x = new_tensor(DT_F32, 4, cases[k].dims);
        for (size_t i = 0; i < p.x->n; i++) {
            ((float *)p.x->data)[i] = draw_real(cases[k].fill);
        }
        p.scale[0] = relu ? 0.9F / 255 : 1.9F / 255; /* some x lie beyond */
        p.zero[0] = relu ? 0 : -3;
        p.q = (struct quant){relu ? DT_U8 : DT_S8, -1, 1, p.scale, p.zero};
        assert_int_equal(quant_quantize(p.x, &p.q, NULL, &p.y, NULL), OK);
        check_all(&p);
        pair_free(&p);
    }
}

static void images_add_up(void **state)
{
    (void)state;
    struct layer_stats both, one, two;
    struct pair p;
    seed = 5;
    draw_pair(&p);
    layer_stats_init(&both);
    layer_stats_init(&one);
    layer_stats_init(&two);
    add(&both, &p, p.x, p.y);
    add(&both, &p, p.x, p.y);
    add(&one, &p, p.x, p.y);
    add(&two, &p, p.x, p.y);
    assert_int_equal(layer_stats_merge(&one, &two, NULL), OK);
    assert_int_equal(both.images, 2);
    assert_int_equal(one.images, 2);
    assert_int_equal(both.all.n + both.all.nonfinite, 2 * p.x->n);
    same_bits(&both, &one);
    layer_stats_fini(&both);
    layer_stats_fini(&one);
    layer_stats_fini(&two);
    pair_free(&p);
}

static void half_floats(void **state)
{
    (void)state;
    struct pair p = {.axis = 1};
    int64_t dims[] = {1, 20, 5, 7};
    struct tensor *h = new_tensor(DT_F16, 4, dims);
    p.x = new_tensor(DT_F32, 4, dims);
    p.y = tensor_ref(p.x);
    seed = 9;
    for (size_t i = 0; i < h->n; i++) {
        ((uint16_t *)h->data)[i] = f32_to_f16(draw_real(FILL_DENSE));
        ((float *)p.x->data)[i] = f16_to_f32(((uint16_t *)h->data)[i]);
    }
    struct layer_stats st;
    layer_stats_init(&st);
    add(&st, &p, h, p.y);
    check_pair(&p, &st);
    assert_true(st.all.ee == 0 && st.all.xx == st.all.yy && st.all.xx == st.all.xy);
    layer_stats_fini(&st);
    tensor_free(h);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_pairs),
        cmocka_unit_test(large_pairs),
        cmocka_unit_test(images_add_up),
        cmocka_unit_test(half_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
