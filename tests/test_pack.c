/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_pack.c: results as bytes: every bit comes back, and bytes that are no result are told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "analysis/analysis.h"

static uint64_t state64 = 88172645463325252u;

static uint64_t random64(void)
{
    state64 ^= state64 << 13;
    state64 ^= state64 >> 7;
    state64 ^= state64 << 17;
    return state64;
}

/* Any bits, but often a float or one of the special values. */
static double random_real(void)
{
    static const double special[] = {0, -0.0, INFINITY, -INFINITY, NAN, 0.1, 0x1p-1074, 1e300};
    uint64_t bits = random64();
    double v;
    switch (random64() % 3) {
    case 0:
        return special[bits % COUNT(special)];
    case 1:
        return (double)(float)((double)(int64_t)bits * 1e-15);
    default:
        memcpy(&v, &bits, sizeof v);
        return v;
    }
}

static uint64_t random_count(void)
{
    return random64() >> random64() % 64;
}

static struct sums random_sums(void)
{
    return (struct sums){random_count(), random_count(), random_real(), random_real(),
                         random_real(),  random_real(),  random_real(), random_real(),
                         random_real(),  random_real(),  random_real(), random_real(),
                         random_count(), random_count(), random_count()};
}

static void random_hist(struct hist *h)
{
    hist_init(h);
    h->nonfinite = random_count();
    h->n = random64() % 4 ? random_count() : 0;
    if (h->n) {
        size_t from = random64() % HIST_BINS, to = from + random64() % (HIST_BINS - from + 1);
        h->lo = random_real();
        h->width = random_real();
        for (size_t i = from; i < to; i++) {
            h->bin[i] = random64() % 3 ? random_count() : 0;
        }
    }
}

static struct study *random_study(size_t n_layers, size_t n_images)
{
    struct study *s = study_new(n_layers);
    for (size_t i = 0; i < n_layers; i++) {
        struct layer_stats *l = &s->layers[i];
        s->layer_errors[i] = random64() % 3 ? NULL : mem_dup(random64() % 2 ? "why \xff" : "");
        l->images = random64() % 5 ? random_count() | 1 : 0;
        if (!l->images) {
            continue;
        }
        l->all = random_sums();
        l->scale = random_real();
        random_hist(&l->fp32);
        random_hist(&l->int8);
        l->n_channels = random64() % 6;
        l->channel = l->n_channels ? mem_alloc(l->n_channels * sizeof *l->channel) : NULL;
        for (size_t c = 0; c < l->n_channels; c++) {
            l->channel[c] = random_sums();
        }
    }
    for (size_t i = 0; i < n_images; i++) {
        struct image_score x;
        image_score_init(&x);
        x.ok = random64() % 4 != 0;
        x.error = random64() % 3 ? NULL : mem_dup("bad");
        x.error_code = -(int)(random64() % 9);
        x.label = (int)(random64() % 1000) - 1;
        x.fp32_top1 = (int)(random64() % 1000) - 1;
        x.int8_top1 = (int)(random64() % 1000) - 1;
        for (int side = 0; side < 2; side++) {
            x.top[side].n = (int)(random64() % (TOP_CLASSES + 1));
            x.top[side].label_rank = (int)(random64() % 1000);
            for (int k = 0; k < x.top[side].n; k++) {
                x.top[side].c[k].label = (int)(random64() % 1000);
                x.top[side].c[k].value = (float)random_real();
            }
        }
        x.sqnr = random_real();
        x.margin = random_real();
        x.kl = random_real();
        x.nonfinite = random_count();
        x.flip = (enum flip)(random64() % 3);
        x.worst_layer = (int)(random64() % (n_layers + 1)) - 1;
        x.worst_sqnr = random_real();
        x.fp32_rank = (int)(random64() % 1000) - 1;
        x.int8_rank = (int)(random64() % 1000) - 1;
        x.range = random_real();
        x.beyond = random_real();
        x.beyond_layer = (int)(random64() % (n_layers + 1)) - 1;
        x.beyond_layers = random_count();
        x.layer_sqnr = random64() % 2 ? mem_alloc((n_layers + 1) * sizeof *x.layer_sqnr) : NULL;
        for (size_t k = 0; k < n_layers && x.layer_sqnr; k++) {
            x.layer_sqnr[k] = profile_code(random_real());
        }
        study_add_score(s, &x);
    }
    return s;
}

static void random_noise(struct quant_noise *n)
{
    *n = (struct quant_noise){random_count(), random_real(), random_real()};
}

static struct local_study *random_local(size_t n_layers, size_t n_inputs)
{
    struct local_study *s = local_study_new(n_layers, n_inputs);
    struct study *pairs = random_study(n_layers, 0);
    s->images = (size_t)random_count();
    for (size_t i = 0; i < n_layers; i++) {
        struct local_stats *l = &s->layers[i];
        struct layer_stats of = l->pair;
        l->pair = pairs->layers[i];
        pairs->layers[i] = of;
        random_noise(&l->out);
        random_noise(&l->inner);
        l->past = random_real();
        l->rest = random_real();
        l->sums = random_count();
        l->wraps = random_count();
        l->pairs = random_count();
        s->errors[i] = random64() % 3 ? NULL : mem_dup("no figure");
    }
    for (size_t i = 0; i < n_inputs; i++) {
        random_noise(&s->inputs[i].noise);
        s->inputs[i].xx = random_real();
        s->inputs[i].lo = random_real();
        s->inputs[i].hi = random_real();
    }
    study_free(pairs);
    return s;
}

static bool same_bits(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

/* Without values the bins may be undefined. */
static void assert_same_hist(const struct hist *a, const struct hist *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->nonfinite, b->nonfinite);
    assert_true(!a->n || same_bits(a, b, sizeof *a));
}

static void assert_same_layer(const struct layer_stats *a, const struct layer_stats *b)
{
    assert_int_equal(a->images, b->images);
    assert_true(same_bits(&a->all, &b->all, sizeof a->all));
    assert_true(same_bits(&a->scale, &b->scale, sizeof a->scale));
    assert_same_hist(&a->fp32, &b->fp32);
    assert_same_hist(&a->int8, &b->int8);
    assert_int_equal(a->n_channels, b->n_channels);
    for (size_t c = 0; c < a->n_channels; c++) {
        assert_true(same_bits(&a->channel[c], &b->channel[c], sizeof *a->channel));
    }
}

static void assert_same_text(const char *a, const char *b)
{
    assert_int_equal(a != NULL, b != NULL);
    if (a) {
        assert_string_equal(a, b);
    }
}

static void assert_same_study(const struct study *a, const struct study *b)
{
    for (size_t i = 0; i < a->n_layers; i++) {
        assert_same_layer(&a->layers[i], &b->layers[i]);
        assert_same_text(a->layer_errors[i], b->layer_errors[i]);
    }
    assert_int_equal(a->n_images, b->n_images);
    for (size_t i = 0; i < a->n_images; i++) {
        struct image_score x = a->images[i], y = b->images[i];
        assert_same_text(x.error, y.error);
        x.error = y.error = NULL;
        assert_int_equal(x.layer_sqnr != NULL, y.layer_sqnr != NULL);
        assert_true(!x.layer_sqnr ||
                    same_bits(x.layer_sqnr, y.layer_sqnr, a->n_layers * sizeof *x.layer_sqnr));
        assert_int_equal(x.ok, y.ok);
        assert_int_equal(x.label, y.label);
        assert_int_equal(x.fp32_top1, y.fp32_top1);
        assert_int_equal(x.flip, y.flip);
        assert_true(
            same_bits(&x.top, &y.top, sizeof x.top) &&
            same_bits(&x.sqnr, &y.sqnr,
                      offsetof(struct image_score, flip) - offsetof(struct image_score, sqnr)));
        assert_int_equal(x.worst_layer, y.worst_layer);
        assert_true(same_bits(&x.worst_sqnr, &y.worst_sqnr, sizeof x.worst_sqnr));
        assert_true(same_bits(&x.beyond, &y.beyond, sizeof x.beyond));
        assert_int_equal(x.beyond_layer, y.beyond_layer);
        assert_int_equal(x.beyond_layers, y.beyond_layers);
    }
    assert_int_equal(a->failed, b->failed);
    assert_int_equal(a->labelled, b->labelled);
    assert_int_equal(a->int8_right, b->int8_right);
    assert_int_equal(a->lost, b->lost);
}

static void assert_same_local(const struct local_study *a, const struct local_study *b)
{
    assert_int_equal(a->images, b->images);
    assert_int_equal(a->n_inputs, b->n_inputs);
    for (size_t i = 0; i < a->n_layers; i++) {
        const struct local_stats *x = &a->layers[i], *y = &b->layers[i];
        assert_same_layer(&x->pair, &y->pair);
        assert_true(same_bits(&x->out, &y->out, sizeof *x - offsetof(struct local_stats, out)));
        assert_same_text(a->errors[i], b->errors[i]);
    }
    assert_true(same_bits(a->inputs, b->inputs, a->n_inputs * sizeof *a->inputs));
}

static void local_errors_come_back(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        size_t n = random64() % 5;
        struct local_study *s = random_local(n, random64() % 3);
        struct pack b = {0};
        pack_local(&b, s);
        struct unpack u = {.p = b.p, .left = b.n};
        struct local_study *back = unpack_local(&u, n);
        assert_non_null(back);
        assert_same_local(s, back);
        local_study_free(back);
        for (size_t keep = 0; keep < b.n; keep += 1 + b.n / 50) {
            u = (struct unpack){.p = b.p, .left = keep};
            assert_null(unpack_local(&u, n));
        }
        for (int k = 0; k < 30; k++) {
            b.p[random64() % b.n] = (uint8_t)random64();
            u = (struct unpack){.p = b.p, .left = b.n};
            local_study_free(unpack_local(&u, n)); /* anything but a fault */
        }
        local_study_free(s);
        free(b.p);
    }
}

static void every_bit_comes_back(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        size_t n = random64() % 5;
        struct study *s = random_study(n, random64() % 6);
        struct pack b = {0};
        pack_study(&b, s);
        struct unpack u = {.p = b.p, .left = b.n};
        struct study *back = unpack_study(&u, n);
        assert_non_null(back);
        assert_same_study(s, back);
        study_free(back);
        u = (struct unpack){.p = b.p, .left = b.n};
        assert_null(unpack_study(&u, n + 1));
        study_free(s);
        free(b.p);
    }
}

static void damaged_bytes_are_told(void **state)
{
    (void)state;
    struct study *s = random_study(3, 3);
    struct pack b = {0};
    pack_study(&b, s);
    for (size_t keep = 0; keep < b.n; keep++) {
        uint8_t *part = mem_alloc(keep + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(part, b.p, keep);
        uint8_t *exact = mem_grow(part, keep ? keep : 1);
        struct unpack u = {.p = exact, .left = keep};
        assert_null(unpack_study(&u, 3));
        free(exact);
    }
    for (int round = 0; round < 3000; round++) {
        uint8_t *bytes = mem_alloc(b.n);
        memcpy(bytes, b.p, b.n);
        for (uint64_t k = random64() % 8 + 1; k; k--) {
            bytes[random64() % b.n] = (uint8_t)random64();
        }
        struct unpack u = {.p = bytes, .left = b.n};
        study_free(unpack_study(&u, 3)); /* anything but a fault */
        free(bytes);
    }
    study_free(s);
    free(b.p);
}

/* What ARCHITECTURE.md says: some 60 bytes a channel. */
static void channels_are_small(void **state)
{
    (void)state;
    struct layer_stats l;
    layer_stats_init(&l);
    l.images = 1;
    l.n_channels = 1000;
    l.channel = mem_alloc(l.n_channels * sizeof *l.channel);
    for (size_t c = 0; c < l.n_channels; c++) {
        l.channel[c] = (struct sums){.n = 3136,
                                     .xx = 1.0 / 3,
                                     .yy = 1.0 / 7,
                                     .xy = 0.1,
                                     .ee = 0.2,
                                     .ae = 0.3,
                                     .max_abs = 0.25,
                                     .xmin = -1,
                                     .xmax = 2,
                                     .ymin = -1,
                                     .ymax = 2,
                                     .sat_high = 5,
                                     .zeros = 1200};
    }
    struct pack b = {0};
    pack_layer(&b, &l);
    assert_true(b.n / l.n_channels < 70);
    free(b.p);
    layer_stats_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_comes_back),
        cmocka_unit_test(local_errors_come_back),
        cmocka_unit_test(damaged_bytes_are_told),
        cmocka_unit_test(channels_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
