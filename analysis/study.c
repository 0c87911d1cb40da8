/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * study.c: the store of a run: pooled statistics per layer and one score per image; rankings.
 * It is fed in image order, so that sums do not depend on how many threads made the results.
 */
#include "analysis/stats.h"

#include <math.h>
#include <stdlib.h>

/* ---- Store ---------------------------------------------------------------------------------- */

struct study *study_new(size_t n_layers)
{
    struct study *s = mem_alloc(sizeof *s);
    s->n_layers = n_layers;
    s->layers = mem_alloc(n_layers * sizeof *s->layers);
    s->layer_errors = mem_alloc(n_layers * sizeof *s->layer_errors);
    for (size_t i = 0; i < n_layers; i++) {
        layer_stats_init(&s->layers[i]);
    }
    return s;
}

void study_free(struct study *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->n_layers; i++) {
        layer_stats_fini(&s->layers[i]);
        free(s->layer_errors[i]);
    }
    for (size_t i = 0; i < s->n_images; i++) {
        free(s->images[i].error);
        free(s->images[i].layer_sqnr);
    }
    local_study_free(s->local);
    free(s->layers);
    free(s->layer_errors);
    free(s->images);
    free(s);
}

void image_score_init(struct image_score *s)
{
    *s = (struct image_score){.label = -1,
                              .fp32_top1 = -1,
                              .int8_top1 = -1,
                              .fp32_rank = -1,
                              .int8_rank = -1,
                              .range = NAN,
                              .worst_layer = -1,
                              .beyond_layer = -1,
                              .beyond = NAN,
                              .sqnr = NAN,
                              .cosine = NAN,
                              .mse = NAN,
                              .margin = NAN,
                              .dlogit = NAN,
                              .kl = NAN,
                              .own = {NAN, NAN},
                              .worst_sqnr = NAN};
}

void image_result_init(struct image_result *r, size_t n_layers)
{
    *r = (struct image_result){
        .layers = mem_grow(NULL, n_layers * sizeof *r->layers),
        .layer_errors = mem_alloc(n_layers * sizeof *r->layer_errors),
    };
    image_score_init(&r->score);
    for (size_t i = 0; i < n_layers; i++) {
        layer_stats_begin(&r->layers[i]);
    }
}

void image_result_fini(struct image_result *r, size_t n_layers)
{
    for (size_t i = 0; r->layers && i < n_layers; i++) {
        layer_stats_fini(&r->layers[i]);
        free(r->layer_errors[i]);
    }
    free(r->layers);
    free(r->layer_errors);
    free(r->score.error);
    local_study_free(r->local);
    *r = (struct image_result){0};
}

int16_t profile_code(double db)
{
    if (isnan(db)) {
        return INT16_MIN;
    }
    return db > 327 ? INT16_MAX : (int16_t)lrint(100 * fmax(db, -327));
}

double profile_db(int16_t code)
{
    return code == INT16_MIN ? NAN : code == INT16_MAX ? INFINITY : code / 100.0;
}

/* SQNR of every layer on this image alone, and the layer that suffers most. profile: n_layers, or
 * NULL. */
static void profile_layers(struct image_result *r, size_t n_layers, int16_t *profile)
{
    const struct metric *m = metric_find("sqnr");
    for (size_t i = 0; i < n_layers; i++) {
        double v = r->layers[i].images ? m->value(&r->layers[i].all, r->layers[i].scale) : NAN;
        if (profile) {
            profile[i] = profile_code(v);
        }
        if (!isnan(v) && (r->score.worst_layer < 0 || v < r->score.worst_sqnr)) {
            r->score.worst_layer = (int)i;
            r->score.worst_sqnr = v;
        }
    }
}

/* How much of the image lies outside of the ranges that calibration chose. */
static void find_beyond(struct image_result *r, size_t n_layers)
{
    double values = 0, beyond = 0, worst = 0;
    for (size_t i = 0; i < n_layers; i++) {
        const struct sums *x = &r->layers[i].all;
        if (!r->layers[i].images || isnan(r->layers[i].scale) || !x->n) {
            continue;
        }
        double out = (double)(x->sat_low + x->sat_high);
        values += (double)x->n;
        beyond += out;
        r->score.beyond_layers += out > 0;
        if (out / (double)x->n > worst) {
            worst = out / (double)x->n;
            r->score.beyond_layer = (int)i;
        }
    }
    r->score.beyond = values > 0 ? 100 * beyond / values : NAN;
}

void study_add(struct study *s, struct image_result *r)
{
    for (size_t i = 0; i < s->n_layers && r->score.ok; i++) {
        struct err why = {0};
        if (layer_stats_merge(&s->layers[i], &r->layers[i], &why) && !s->layer_errors[i]) {
            s->layer_errors[i] = mem_dup(why.text);
        }
        if (r->layer_errors[i] && !s->layer_errors[i]) {
            s->layer_errors[i] = r->layer_errors[i];
            r->layer_errors[i] = NULL;
        }
    }
    if (r->score.ok && r->local) {
        s->local = s->local ? s->local : local_study_new(s->n_layers, r->local->n_inputs);
        local_study_merge(s->local, r->local);
    }
    int16_t *profile = NULL;
    if (r->score.ok && s->n_layers && s->n_images < PROFILES_MOST / s->n_layers) {
        profile = mem_alloc(s->n_layers * sizeof *profile);
    }
    profile_layers(r, s->n_layers, profile);
    find_beyond(r, s->n_layers);
    r->score.layer_sqnr = profile;
    study_add_score(s, &r->score);
    r->score.error = NULL;
    r->score.layer_sqnr = NULL;
}

void study_add_score(struct study *s, const struct image_score *score)
{
    s->images = mem_push(s->images, s->n_images, &s->cap_images, sizeof *s->images);
    struct image_score *sc = &s->images[s->n_images++];
    *sc = *score;
    s->failed += !sc->ok;
    if (sc->ok && sc->label >= 0) {
        s->labelled += sc->fp32_top1 >= 0 || sc->int8_top1 >= 0;
        s->fp32_judged += sc->fp32_top1 >= 0;
        s->int8_judged += sc->int8_top1 >= 0;
        s->fp32_right += sc->fp32_top1 == sc->label;
        s->int8_right += sc->int8_top1 == sc->label;
    }
    s->lost += sc->ok && sc->flip == FLIP_LOST;
    s->gained += sc->ok && sc->flip == FLIP_GAINED;
}

double study_accuracy(const struct study *s, enum side side)
{
    size_t right = side == SIDE_FP32 ? s->fp32_right : s->int8_right;
    size_t judged = side == SIDE_FP32 ? s->fp32_judged : s->int8_judged;
    return judged ? 100.0 * (double)right / (double)judged : NAN;
}

int study_label_shift(const struct study *s, size_t *right)
{
    int best = 0;
    *right = 0;
    for (int shift = -1; shift <= 1; shift += 2) {
        size_t n = 0;
        for (size_t i = 0; i < s->n_images; i++) {
            const struct image_score *x = &s->images[i];
            n += x->ok && x->label >= 0 && x->fp32_top1 >= 0 && x->fp32_top1 == x->label + shift;
        }
        /* More than chance, and more than twice as many as without. */
        bool better = n >= 5 && n > 2 * s->fp32_right + s->labelled / 4;
        best = better && n > *right ? shift : best;
        *right = better ? MAX(*right, n) : *right;
    }
    return best;
}

static int int_cmp(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

bool study_by_chance(const struct study *s)
{
    enum { ENOUGH = 20 };
    int *label = mem_alloc((s->n_images + 1) * sizeof *label);
    size_t n = 0, right = 0, classes = 0;
    for (size_t i = 0; i < s->n_images; i++) {
        const struct image_score *x = &s->images[i];
        if (x->ok && x->label >= 0 && x->fp32_top1 >= 0) {
            right += x->label == x->fp32_top1;
            label[n++] = x->label;
        }
    }
    qsort(label, n, sizeof *label, int_cmp);
    for (size_t i = 0; i < n; i++) {
        classes += i == 0 || label[i] != label[i - 1];
    }
    free(label);
    double p = classes ? 1 / (double)classes : 1, mean = (double)n * p;
    return n >= ENOUGH && classes > 1 && (double)right <= mean + 2 * sqrt(mean * (1 - p));
}

double study_agreement(const struct study *s)
{
    size_t same = 0, n = 0;
    for (size_t i = 0; i < s->n_images; i++) {
        const struct image_score *x = &s->images[i];
        const bool both = x->ok && x->fp32_top1 >= 0 && x->int8_top1 >= 0;
        n += both;
        same += both && x->fp32_top1 == x->int8_top1;
    }
    return n ? 100.0 * (double)same / (double)n : NAN;
}

double mcnemar(size_t lost, size_t gained)
{
    size_t n = lost + gained, most = MIN(lost, gained);
    double term = -(double)n * log(2), sum = 0; /* logarithm of the chance of no loss at all */
    for (size_t k = 0; k <= most; k++) {
        sum += exp(term);
        term += log((double)(n - k)) - log((double)(k + 1));
    }
    return fmin(1, 2 * sum);
}

/* ---- Scores --------------------------------------------------------------------------------- */

bool score_classifies(int rank, const int64_t *dims)
{
    int wide = 0;
    for (int d = 0; d < rank; d++) {
        wide += dims[d] != 1 && !(d == 0 && dims[d] < 0); /* a free batch axis */
        if (d > 0 && dims[d] < 0) {
            return false;
        }
    }
    return rank >= 1 && wide == 1;
}

static size_t top1(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) {
            best = i;
        }
    }
    return best;
}

/* Classes with a larger value than this one. */
static int rank_of(const float *x, size_t n, size_t label)
{
    int above = 0;
    for (size_t i = 0; i < n; i++) {
        above += x[i] > x[label];
    }
    return above;
}

static double best_other(const float *x, size_t n, size_t not )
{
    double best = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (i != not ) {
            best = fmax(best, (double)x[i]);
        }
    }
    return best;
}

/* Class values as a distribution: as they are when they already sum to one, else their softmax. */
static void to_distribution(const float *x, size_t n, double *p)
{
    double sum = 0, top = -INFINITY;
    bool positive = true;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
        top = fmax(top, (double)x[i]);
        positive = positive && x[i] >= 0;
    }
    bool already = positive && fabs(sum - 1) < 0.05;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        p[i] = already ? (double)x[i] : exp((double)x[i] - top);
        norm += p[i];
    }
    for (size_t i = 0; i < n; i++) {
        p[i] /= norm;
    }
}

/* KL(P || Q) = sum p log(p/q) in nats; q is kept above 1e-12 so that a class that INT8 rounds to
 * zero costs much, not infinity, which may bring equal ones below zero. */
static double divergence(const double *p, const double *q, size_t n)
{
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        kl += p[i] > 0 ? p[i] * log(p[i] / fmax(q[i], 1e-12)) : 0;
    }
    return kl < 0 ? 0 : kl; /* NaN stays */
}

/* Whether class i stands before class j: by value, NaN last, then by index. */
static bool class_before(const float *x, size_t i, size_t j)
{
    if (isnan(x[i]) || isnan(x[j])) {
        return isnan(x[i]) == isnan(x[j]) ? i < j : !isnan(x[i]);
    }
    return x[i] > x[j] || (x[i] == x[j] && i < j);
}

/* The first classes of values x with distribution p. */
static void top_find(const float *x, const double *p, size_t n, int label, struct top_classes *t)
{
    *t = (struct top_classes){.label_rank = label >= 0 && (size_t)label < n};
    for (size_t i = 0; i < n; i++) {
        t->label_rank += t->label_rank && class_before(x, i, (size_t)label);
        int at = MIN(t->n, TOP_CLASSES - 1);
        if (t->n == TOP_CLASSES && !class_before(x, i, (size_t)t->c[at].label)) {
            continue;
        }
        for (; at > 0 && class_before(x, i, (size_t)t->c[at - 1].label); at--) {
            t->c[at] = t->c[at - 1];
        }
        t->c[at].label = (int)i;
        t->c[at].value = x[i];
        t->c[at].p = (float)p[i];
        t->n = MIN(t->n + 1, TOP_CLASSES);
    }
}

static enum flip flip_of(const struct image_score *s)
{
    if (s->label < 0) {
        return s->fp32_top1 != s->int8_top1 ? FLIP_LOST : FLIP_NONE;
    }
    bool a = s->fp32_top1 == s->label, b = s->int8_top1 == s->label;
    return a == b ? FLIP_NONE : a ? FLIP_LOST : FLIP_GAINED;
}

static void score_classes(const struct tensor *tx, const struct tensor *ty, struct image_score *s)
{
    const float *x = tx->data, *y = ty->data;
    size_t n = tx->n;
    if (n < 2 || ty->n != n) {
        return;
    }
    s->fp32_top1 = (int)top1(x, n);
    s->int8_top1 = (int)top1(y, n);
    if (s->label >= 0 && (size_t)s->label < n) {
        s->fp32_rank = rank_of(x, n, (size_t)s->label);
        s->int8_rank = rank_of(y, n, (size_t)s->label);
    }
    size_t ref = s->label >= 0 && (size_t)s->label < n ? (size_t)s->label : (size_t)s->fp32_top1;
    s->dlogit = (double)y[ref] - (double)x[ref];
    s->margin = ((double)y[ref] - best_other(y, n, ref)) - ((double)x[ref] - best_other(x, n, ref));
    double *p = mem_alloc(2 * n * sizeof *p), *q = p + n;
    to_distribution(x, n, p);
    to_distribution(y, n, q);
    s->kl = divergence(p, q, n);
    top_find(x, p, n, s->label, &s->top[SIDE_FP32]);
    top_find(y, q, n, s->label, &s->top[SIDE_INT8]);
    free(p);
    s->flip = flip_of(s);
}

void score_outputs(size_t n, const struct tensor *const *fp32, const struct tensor *const *int8,
                   bool classify, int label, struct image_score *out)
{
    struct sums s;
    sums_init(&s);
    out->label = label;
    for (size_t i = 0; i < n; i++) {
        struct tensor *x = NULL, *y = NULL;
        if (dtype_is_float(fp32[i]->dtype) && fp32[i]->n == int8[i]->n &&
            !tensor_to_f32(fp32[i], NULL, &x, NULL) && !tensor_to_f32(int8[i], NULL, &y, NULL)) {
            struct layer_stats one;
            layer_stats_init(&one);
            if (!layer_stats_add(&one, x, y, NULL, CHANNEL_NONE, false, NULL)) {
                sums_merge(&s, &one.all);
            }
            layer_stats_fini(&one);
            if (i == 0 && classify) {
                score_classes(x, y, out);
            }
        }
        tensor_free(x);
        tensor_free(y);
    }
    out->range = s.n ? s.xmax - s.xmin : NAN;
    out->signal = s.xx;
    out->noise = s.ee;
    out->nonfinite = s.nonfinite;
    out->sqnr = metric_find("sqnr")->value(&s, NAN);
    out->cosine = metric_find("cosine")->value(&s, NAN);
    out->mse = metric_find("mse")->value(&s, NAN);
    out->ok = true;
}

/* ---- Rankings ------------------------------------------------------------------------------- */

struct ranked {
    size_t index;
    double value;
    enum sort_dir dir;
    bool higher_is_better;
};

/* NaN last whatever the direction; equal values keep their order. */
static int rank_cmp(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    int by_index = (a->index > b->index) - (a->index < b->index);
    if (isnan(a->value) || isnan(b->value)) {
        int nan = isnan(a->value) - isnan(b->value);
        return nan ? nan : by_index;
    }
    int up = (a->value > b->value) - (a->value < b->value);
    bool rising = a->dir == SORT_ASC || (a->dir == SORT_WORST && a->higher_is_better);
    return up ? (rising ? up : -up) : by_index;
}

void rank_values(size_t n, const double *value, bool higher_is_better, enum sort_dir d,
                 size_t *order)
{
    struct ranked *r = mem_alloc((n + 1) * sizeof *r);
    for (size_t i = 0; i < n; i++) {
        r[i] = (struct ranked){
            .index = i, .value = value[i], .dir = d, .higher_is_better = higher_is_better};
    }
    qsort(r, n, sizeof *r, rank_cmp);
    for (size_t i = 0; i < n; i++) {
        order[i] = r[i].index;
    }
    free(r);
}

void study_rank_layers(const struct study *s, const struct metric *m, enum sort_dir d,
                       size_t *order)
{
    double *v = mem_alloc((s->n_layers + 1) * sizeof *v);
    for (size_t i = 0; i < s->n_layers; i++) {
        v[i] = s->layers[i].images ? m->value(&s->layers[i].all, s->layers[i].scale) : NAN;
    }
    rank_values(s->n_layers, v, m->higher_is_better, d, order);
    free(v);
}

static double key_drop(const struct image_score *s)
{
    if (isnan(s->margin)) {
        return isinf(s->sqnr) ? -1e12 : -s->sqnr;
    }
    double flip = s->flip == FLIP_LOST ? 1e9 : s->flip == FLIP_GAINED ? -1e9 : 0;
    return flip - s->margin;
}

static double key_dlogit(const struct image_score *s)
{
    return fabs(s->dlogit);
}

static double key_kl(const struct image_score *s)
{
    return s->kl;
}

static double key_sqnr(const struct image_score *s)
{
    return s->sqnr;
}

static double key_cosine(const struct image_score *s)
{
    return s->cosine;
}

static double key_margin(const struct image_score *s)
{
    return s->margin;
}

static double key_beyond(const struct image_score *s)
{
    return s->beyond;
}

const struct image_key image_keys[] = {
    {"drop", "", "lost images first, then by margin lost (without classes: lowest SQNR first)",
     key_drop, false},
    {"dlogit", "", "size of the change of the label's output value", key_dlogit, false},
    {"kl", "nats", "divergence of the class distributions", key_kl, false},
    {"sqnr", "dB", "SQNR of the outputs", key_sqnr, true},
    {"cosine", "", "cosine of the outputs", key_cosine, true},
    {"margin", "", "change of the margin over the best other class", key_margin, true},
    {"beyond", "%", "values outside of the ranges that calibration chose", key_beyond, false},
    {0},
};

const struct image_key *image_key_find(const char *name)
{
    for (const struct image_key *k = image_keys; k->name; k++) {
        if (strcmp(k->name, name) == 0) {
            return k;
        }
    }
    return NULL;
}

void study_rank_images(const struct study *s, const struct image_key *k, enum sort_dir d,
                       size_t *order)
{
    double *v = mem_alloc((s->n_images + 1) * sizeof *v);
    for (size_t i = 0; i < s->n_images; i++) {
        v[i] = s->images[i].ok ? k->value(&s->images[i]) : NAN;
    }
    rank_values(s->n_images, v, k->higher_is_better, d, order);
    free(v);
}
