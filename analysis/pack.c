/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pack.c: results as bytes and back, every bit. Small where there are many: counts by their size,
 * ends of ranges as the floats that they are, histograms from the first bin in use to the last.
 * Bytes may come from a file, so nothing is believed.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

/* ---- Bytes ---------------------------------------------------------------------------------- */

enum { UINT_MAX_BYTES = 10 };

static uint8_t *room(struct pack *b, size_t size)
{
    if (b->cap - b->n < size) {
        b->cap = MAX(2 * b->cap, b->n + size + 4096);
        b->p = mem_grow(b->p, b->cap);
    }
    return b->p + b->n;
}

static uint8_t *put_uint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        *at++ = (uint8_t)(v | 0x80);
    }
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put(uint8_t *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

void pack_uint(struct pack *b, uint64_t v)
{
    b->n = (size_t)(put_uint(room(b, UINT_MAX_BYTES), v) - b->p);
}

static void pack_bytes(struct pack *b, const void *data, size_t size)
{
    if (size) {
        memcpy(room(b, size), data, size);
        b->n += size;
    }
}

static void unpack_bytes(struct unpack *u, void *dst, size_t size)
{
    u->bad = u->bad || u->left < size;
    if (u->bad) {
        memset(dst, 0, size);
        return;
    }
    memcpy(dst, u->p, size);
    u->p += size;
    u->left -= size;
}

uint64_t unpack_uint(struct unpack *u)
{
    uint64_t v = 0;
    for (int shift = 0; !u->bad; shift += 7) {
        uint64_t part = u->left ? *u->p & 0x7f : 0;
        u->bad = !u->left || shift > 63 || (shift == 63 && part > 1);
        if (u->bad) {
            break;
        }
        v |= part << shift;
        u->left--;
        if (!(*u->p++ & 0x80)) {
            return v;
        }
    }
    return 0;
}

/* A count of things that take at least `size` bytes each. */
static size_t unpack_count(struct unpack *u, size_t size)
{
    uint64_t n = unpack_uint(u);
    u->bad = u->bad || n > u->left / size;
    return u->bad ? 0 : (size_t)n;
}

void pack_digest(struct pack *b, struct digest d)
{
    pack_bytes(b, &d, sizeof d);
}

struct digest unpack_digest(struct unpack *u)
{
    struct digest d;
    unpack_bytes(u, &d, sizeof d);
    return d;
}

static void pack_f64(struct pack *b, double v)
{
    pack_bytes(b, &v, sizeof v);
}

static double unpack_f64(struct unpack *u)
{
    double v;
    unpack_bytes(u, &v, sizeof v);
    return v;
}

/* Small numbers of either sign. */
static void pack_int(struct pack *b, int64_t v)
{
    pack_uint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static int unpack_int(struct unpack *u)
{
    uint64_t z = unpack_uint(u);
    int64_t v = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
    u->bad = u->bad || v < INT32_MIN || v > INT32_MAX;
    return u->bad ? 0 : (int)v;
}

void pack_text(struct pack *b, const char *s)
{
    pack_uint(b, s ? strlen(s) + 1 : 0);
    if (s) {
        pack_bytes(b, s, strlen(s));
    }
}

char *unpack_text(struct unpack *u)
{
    uint64_t n = unpack_uint(u);
    u->bad = u->bad || (n && n - 1 > u->left);
    if (u->bad || !n) {
        return NULL;
    }
    char *s = mem_alloc((size_t)n);
    unpack_bytes(u, s, (size_t)n - 1);
    return s;
}

/* ---- Sums ----------------------------------------------------------------------------------- */

enum { ENDS = 5, SUMS = 5, COUNTS = 5, SUMS_MAX = 1 + (ENDS + SUMS) * 8 + COUNTS * UINT_MAX_BYTES };

/* One bit for each end that a float holds. */
static uint8_t *put_ends(uint8_t *at, const double end[ENDS])
{
    uint8_t *bits = at++;
    *bits = 0;
    for (int i = 0; i < ENDS; i++) {
        float f = (float)end[i];
        double again = (double)f;
        bool small = memcmp(&again, &end[i], sizeof again) == 0;
        *bits = (uint8_t)(*bits | small << i);
        at = small ? put(at, &f, sizeof f) : put(at, &end[i], sizeof end[i]);
    }
    return at;
}

static void pack_sums(struct pack *b, const struct sums *s)
{
    const uint64_t counts[COUNTS] = {s->n, s->nonfinite, s->sat_low, s->sat_high, s->zeros};
    const double sums[SUMS] = {s->xx, s->yy, s->xy, s->ee, s->ae};
    const double ends[ENDS] = {s->max_abs, s->xmin, s->xmax, s->ymin, s->ymax};
    uint8_t *at = room(b, SUMS_MAX);
    for (int i = 0; i < COUNTS; i++) {
        at = put_uint(at, counts[i]);
    }
    at = put_ends(put(at, sums, sizeof sums), ends);
    b->n = (size_t)(at - b->p);
}

static void unpack_sums(struct unpack *u, struct sums *s)
{
    uint64_t *const counts[COUNTS] = {&s->n, &s->nonfinite, &s->sat_low, &s->sat_high, &s->zeros};
    double *const sums[SUMS] = {&s->xx, &s->yy, &s->xy, &s->ee, &s->ae};
    double *const ends[ENDS] = {&s->max_abs, &s->xmin, &s->xmax, &s->ymin, &s->ymax};
    uint8_t small;
    for (int i = 0; i < COUNTS; i++) {
        *counts[i] = unpack_uint(u);
    }
    for (int i = 0; i < SUMS; i++) {
        *sums[i] = unpack_f64(u);
    }
    unpack_bytes(u, &small, 1);
    for (int i = 0; i < ENDS; i++) {
        float f;
        if (small & 1 << i) {
            unpack_bytes(u, &f, sizeof f);
            *ends[i] = (double)f;
        } else {
            *ends[i] = unpack_f64(u);
        }
    }
}

/* ---- Layers --------------------------------------------------------------------------------- */

static void pack_hist(struct pack *b, const struct hist *h)
{
    int from = 0, to = HIST_BINS;
    pack_uint(b, h->n);
    pack_uint(b, h->nonfinite);
    if (!h->n) {
        return; /* the bins may be undefined */
    }
    while (from < to && !h->bin[from]) {
        from++;
    }
    while (to > from && !h->bin[to - 1]) {
        to--;
    }
    pack_f64(b, h->lo);
    pack_f64(b, h->width);
    pack_uint(b, (uint64_t)from);
    pack_uint(b, (uint64_t)to);
    uint8_t *at = room(b, (size_t)(to - from) * UINT_MAX_BYTES);
    for (int i = from; i < to; i++) {
        at = put_uint(at, h->bin[i]);
    }
    b->n = (size_t)(at - b->p);
}

static void unpack_hist(struct unpack *u, struct hist *h)
{
    h->n = unpack_uint(u);
    h->nonfinite = unpack_uint(u);
    if (!h->n) {
        return;
    }
    h->lo = unpack_f64(u);
    h->width = unpack_f64(u);
    uint64_t from = unpack_uint(u), to = unpack_uint(u);
    u->bad = u->bad || to > HIST_BINS || from > to;
    memset(h->bin, 0, sizeof h->bin);
    for (uint64_t i = from; i < to && !u->bad; i++) {
        h->bin[i] = unpack_uint(u);
    }
}

void pack_layer(struct pack *b, const struct layer_stats *s)
{
    pack_uint(b, s->images);
    if (!s->images) {
        return;
    }
    pack_f64(b, s->scale);
    pack_sums(b, &s->all);
    pack_hist(b, &s->fp32);
    pack_hist(b, &s->int8);
    pack_uint(b, s->n_channels);
    for (size_t c = 0; c < s->n_channels; c++) {
        pack_sums(b, &s->channel[c]);
    }
}

void unpack_layer(struct unpack *u, struct layer_stats *s)
{
    s->images = unpack_uint(u);
    if (!s->images) {
        return;
    }
    s->scale = unpack_f64(u);
    unpack_sums(u, &s->all);
    unpack_hist(u, &s->fp32);
    unpack_hist(u, &s->int8);
    size_t n = unpack_count(u, 1 + SUMS * 8 + ENDS * 4 + COUNTS);
    s->channel = n ? mem_alloc(n * sizeof *s->channel) : NULL;
    s->n_channels = n;
    for (size_t c = 0; c < n; c++) {
        unpack_sums(u, &s->channel[c]);
    }
}

/* ---- Scores and studies --------------------------------------------------------------------- */

enum { REALS = 13 };

/* Whoever adds a field packs it too. */
_Static_assert(sizeof(void *) != 8 ||
                   (sizeof(struct image_score) == 328 && sizeof(struct layer_stats) == 16600),
               "a result has fields that are not packed");
_Static_assert(sizeof(void *) != 8 ||
                   (sizeof(struct local_stats) == sizeof(struct layer_stats) + 88 &&
                    sizeof(struct input_stats) == 48 && sizeof(struct local_study) == 48),
               "a local result has fields that are not packed");

static void pack_top(struct pack *b, const struct top_classes *t)
{
    pack_uint(b, (uint64_t)t->n);
    pack_int(b, t->label_rank);
    pack_bytes(b, t->c, (size_t)t->n * sizeof t->c[0]);
}

static void unpack_top(struct unpack *u, struct top_classes *t)
{
    uint64_t n = unpack_uint(u);
    u->bad = u->bad || n > TOP_CLASSES;
    t->n = u->bad ? 0 : (int)n;
    t->label_rank = unpack_int(u);
    unpack_bytes(u, t->c, (size_t)t->n * sizeof t->c[0]);
}

void pack_score(struct pack *b, const struct image_score *s)
{
    const double reals[REALS] = {s->sqnr,   s->cosine, s->mse,   s->signal,     s->noise,
                                 s->margin, s->dlogit, s->kl,    s->worst_sqnr, s->range,
                                 s->beyond, s->own[0], s->own[1]};
    pack_uint(b, s->ok);
    pack_text(b, s->error);
    pack_int(b, s->error_code);
    pack_int(b, s->label);
    pack_int(b, s->fp32_top1);
    pack_int(b, s->int8_top1);
    pack_uint(b, s->nonfinite);
    pack_uint(b, s->flip);
    pack_int(b, s->fp32_rank);
    pack_int(b, s->int8_rank);
    pack_int(b, s->worst_layer);
    pack_int(b, s->beyond_layer);
    pack_uint(b, s->beyond_layers);
    pack_bytes(b, reals, sizeof reals);
    pack_top(b, &s->top[SIDE_FP32]);
    pack_top(b, &s->top[SIDE_INT8]);
}

void unpack_score(struct unpack *u, struct image_score *s)
{
    image_score_init(s);
    double *const reals[REALS] = {&s->sqnr,   &s->cosine, &s->mse,   &s->signal,     &s->noise,
                                  &s->margin, &s->dlogit, &s->kl,    &s->worst_sqnr, &s->range,
                                  &s->beyond, &s->own[0], &s->own[1]};
    s->ok = unpack_uint(u) != 0;
    s->error = unpack_text(u);
    s->error_code = unpack_int(u);
    s->label = unpack_int(u);
    s->fp32_top1 = unpack_int(u);
    s->int8_top1 = unpack_int(u);
    s->nonfinite = unpack_uint(u);
    uint64_t flip = unpack_uint(u);
    u->bad = u->bad || flip > FLIP_GAINED;
    s->flip = u->bad ? FLIP_NONE : (enum flip)flip;
    s->fp32_rank = unpack_int(u);
    s->int8_rank = unpack_int(u);
    s->worst_layer = unpack_int(u);
    s->beyond_layer = unpack_int(u);
    s->beyond_layers = unpack_uint(u);
    for (int i = 0; i < REALS; i++) {
        *reals[i] = unpack_f64(u);
    }
    unpack_top(u, &s->top[SIDE_FP32]);
    unpack_top(u, &s->top[SIDE_INT8]);
}

void pack_study(struct pack *b, const struct study *s)
{
    pack_uint(b, s->n_layers);
    for (size_t i = 0; i < s->n_layers; i++) {
        pack_layer(b, &s->layers[i]);
        pack_text(b, s->layer_errors[i]);
    }
    pack_uint(b, s->n_images);
    for (size_t i = 0; i < s->n_images; i++) {
        const int16_t *profile = s->images[i].layer_sqnr;
        pack_score(b, &s->images[i]);
        pack_uint(b, profile != NULL);
        pack_bytes(b, profile, profile ? s->n_layers * sizeof *profile : 0);
    }
}

struct study *unpack_study(struct unpack *u, size_t n_layers)
{
    struct study *s = study_new(n_layers);
    u->bad = u->bad || unpack_uint(u) != n_layers;
    for (size_t i = 0; i < n_layers && !u->bad; i++) {
        unpack_layer(u, &s->layers[i]);
        s->layer_errors[i] = unpack_text(u);
    }
    size_t n = unpack_count(u, REALS * 8);
    for (size_t i = 0; i < n && !u->bad; i++) {
        struct image_score sc;
        unpack_score(u, &sc);
        if (unpack_uint(u)) {
            sc.layer_sqnr = mem_alloc((n_layers + 1) * sizeof *sc.layer_sqnr);
            unpack_bytes(u, sc.layer_sqnr, n_layers * sizeof *sc.layer_sqnr);
        }
        u->bad = u->bad || sc.worst_layer < -1 || sc.worst_layer >= (int)n_layers ||
                 sc.beyond_layer < -1 || sc.beyond_layer >= (int)n_layers;
        study_add_score(s, &sc);
    }
    if (u->bad || u->left) {
        study_free(s);
        return NULL;
    }
    return s;
}

/* ---- Local errors --------------------------------------------------------------------------- */

static void pack_noise(struct pack *b, const struct quant_noise *n)
{
    pack_uint(b, n->n);
    pack_f64(b, n->clip);
    pack_f64(b, n->round);
}

static void unpack_noise(struct unpack *u, struct quant_noise *n)
{
    n->n = unpack_uint(u);
    n->clip = unpack_f64(u);
    n->round = unpack_f64(u);
}

static void pack_local_layer(struct pack *b, const struct local_stats *s)
{
    pack_layer(b, &s->pair);
    pack_noise(b, &s->out);
    pack_noise(b, &s->inner);
    pack_f64(b, s->past);
    pack_f64(b, s->rest);
    pack_uint(b, s->sums);
    pack_uint(b, s->wraps);
    pack_uint(b, s->pairs);
}

static void unpack_local_layer(struct unpack *u, struct local_stats *s)
{
    unpack_layer(u, &s->pair);
    unpack_noise(u, &s->out);
    unpack_noise(u, &s->inner);
    s->past = unpack_f64(u);
    s->rest = unpack_f64(u);
    s->sums = unpack_uint(u);
    s->wraps = unpack_uint(u);
    s->pairs = unpack_uint(u);
}

void pack_local(struct pack *b, const struct local_study *s)
{
    pack_uint(b, s->n_layers);
    pack_uint(b, s->n_inputs);
    pack_uint(b, s->images);
    for (size_t i = 0; i < s->n_layers; i++) {
        pack_local_layer(b, &s->layers[i]);
        pack_text(b, s->errors[i]);
    }
    for (size_t i = 0; i < s->n_inputs; i++) {
        pack_noise(b, &s->inputs[i].noise);
        pack_f64(b, s->inputs[i].xx);
        pack_f64(b, s->inputs[i].lo);
        pack_f64(b, s->inputs[i].hi);
    }
}

struct local_study *unpack_local(struct unpack *u, size_t n_layers)
{
    u->bad = u->bad || unpack_uint(u) != n_layers;
    size_t n_inputs = unpack_count(u, 5 * 8);
    struct local_study *s = local_study_new(n_layers, n_inputs);
    s->images = (size_t)unpack_uint(u);
    for (size_t i = 0; i < n_layers && !u->bad; i++) {
        unpack_local_layer(u, &s->layers[i]);
        s->errors[i] = unpack_text(u);
    }
    for (size_t i = 0; i < n_inputs && !u->bad; i++) {
        unpack_noise(u, &s->inputs[i].noise);
        s->inputs[i].xx = unpack_f64(u);
        s->inputs[i].lo = unpack_f64(u);
        s->inputs[i].hi = unpack_f64(u);
    }
    if (u->bad || u->left) {
        local_study_free(s);
        return NULL;
    }
    return s;
}
