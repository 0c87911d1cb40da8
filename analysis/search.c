/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search.c: which set of pins to try next on the way to a goal, and what may have been missed. Sets
 * are judged by the images they have seen; a set nobody has tried promises the sum of the gains of
 * its parts.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

struct search *search_new(size_t n_layers, const bool *candidate, const struct goal *g,
                          bool has_limit)
{
    struct search *s = mem_alloc(sizeof *s);
    *s = (struct search){.n_layers = n_layers, .goal = *g, .has_limit = has_limit};
    s->candidate = mem_alloc(n_layers + 1);
    memcpy(s->candidate, candidate, n_layers);
    s->gain = mem_alloc((n_layers + 1) * sizeof *s->gain);
    s->single = mem_alloc((n_layers + 1) * sizeof *s->single);
    for (size_t k = 0; k < n_layers; k++) {
        s->gain[k] = NAN;
        s->single[k] = SIZE_MAX;
    }
    return s;
}

void search_free(struct search *s)
{
    if (s) {
        free(s->candidate);
        free(s->gain);
        free(s->single);
        free(s->points);
        free(s);
    }
}

/* ---- Sets ----------------------------------------------------------------------------------- */

size_t search_size(const struct sweep *w, const struct trial *t)
{
    size_t n = 0;
    for (size_t k = 0; k < w->n_layers; k++) {
        n += t->pinned[k] && !w->base.pinned[k];
    }
    return n;
}

size_t search_find(const struct sweep *w, const bool *pinned)
{
    for (size_t i = 0; i < w->n_trials; i++) {
        if (memcmp(w->trials[i].pinned, pinned, w->n_layers) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* A number for a layer, so that the sum over a set tells it from others (SplitMix64). */
static uint64_t layer_key(size_t layer)
{
    uint64_t z = ((uint64_t)layer + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t set_key(const struct sweep *w, const struct trial *t)
{
    uint64_t key = 0;
    for (size_t k = 0; k < w->n_layers; k++) {
        key += t->pinned[k] && !w->base.pinned[k] ? layer_key(k) : 0;
    }
    return key;
}

static int key_cmp(const void *pa, const void *pb)
{
    const uint64_t *a = pa, *b = pb;
    return (*a > *b) - (*a < *b);
}

/* Keys of the sets of that size that were tried, sorted; free() them. */
static uint64_t *tried_keys(const struct sweep *w, size_t size, size_t *n)
{
    uint64_t *keys = mem_alloc((w->n_trials + 1) * sizeof *keys);
    *n = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        if (search_size(w, &w->trials[i]) == size) {
            keys[(*n)++] = set_key(w, &w->trials[i]);
        }
    }
    qsort(keys, *n, sizeof *keys, key_cmp);
    return keys;
}

/* ---- Judging -------------------------------------------------------------------------------- */

/* What is expected of a trial on all images beside the base; larger is better, NAN counts as
 * nothing gained at all. */
static double expected_gain(const struct search *s, const struct sweep *w, const struct trial *t)
{
    double v = goal_expect(&s->goal, w, t), b = trial_value(&w->base, s->goal.outcome);
    double gain = t->error || isnan(v) ? -INFINITY : v == b ? 0 : v - b;
    return s->goal.outcome->higher_is_better || t->error || isnan(v) ? gain : -gain;
}

/* Of the likeness that the base lacks on the images that the trial has seen, the share that it
 * gains, however many it has seen: those come first that lack most. */
static double likeness_gain(const struct sweep *w, const struct trial *t)
{
    double gain = 0, loss = 0;
    for (size_t i = 0; i < MIN(t->n, w->base.n); i++) {
        gain += t->likeness[i] - w->base.likeness[i];
        loss += 1 - w->base.likeness[i];
    }
    return loss > 0 ? gain / loss : 0;
}

/* Hits are few numbers, so that likeness counts as much; else it only tells equals apart. */
static double score_of(const struct search *s, double gain, double likeness)
{
    return gain + (s->goal.outcome->counts ? 50 : 1e-6) * likeness;
}

bool search_better(const struct search *s, const struct sweep *w, size_t a, size_t b)
{
    const struct trial *x = &w->trials[a], *y = &w->trials[b];
    double i = expected_gain(s, w, x), k = expected_gain(s, w, y);
    if (x->n >= w->n_images && y->n >= w->n_images && i != k) {
        return i > k;
    }
    return score_of(s, i, likeness_gain(w, x)) > score_of(s, k, likeness_gain(w, y));
}

size_t search_best(const struct search *s, const struct sweep *w, size_t size)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        if (t->n && !t->error && search_size(w, t) == size &&
            (best == SIZE_MAX || search_better(s, w, i, best))) {
            best = i;
        }
    }
    return best;
}

double search_cost(const struct search *s, const struct sweep *w, size_t trial)
{
    return s->cost ? s->cost(s->cost_ctx, w->trials[trial].pinned) : 0;
}

bool search_prefers(const struct search *s, const struct sweep *w, size_t a, size_t b)
{
    bool x = s->has_limit && goal_met(&s->goal, w, &w->trials[a]);
    bool y = s->has_limit && goal_met(&s->goal, w, &w->trials[b]);
    double p = x && y ? search_cost(s, w, a) : 0, q = x && y ? search_cost(s, w, b) : 0;
    return x != y ? x : p != q ? p < q : search_better(s, w, a, b);
}

static void add_point(struct search *s, const struct sweep *w, size_t trial)
{
    size_t size = search_size(w, &w->trials[trial]), at = 0;
    while (at < s->n_points && search_size(w, &w->trials[s->points[at]]) < size) {
        at++;
    }
    if (at < s->n_points && search_size(w, &w->trials[s->points[at]]) == size) {
        s->points[at] = search_prefers(s, w, trial, s->points[at]) ? trial : s->points[at];
        return;
    }
    s->points = mem_push(s->points, s->n_points, &s->cap_points, sizeof *s->points);
    memmove(s->points + at + 1, s->points + at, (s->n_points++ - at) * sizeof *s->points);
    s->points[at] = trial;
}

void search_point(struct search *s, const struct sweep *w, size_t trial)
{
    if (!w->trials[trial].error && w->trials[trial].n >= w->n_images) {
        add_point(s, w, trial);
    }
}

void search_estimate(struct search *s, const struct sweep *w, size_t size)
{
    size_t best = search_best(s, w, size);
    for (size_t i = 0; i < s->n_points; i++) {
        best = search_size(w, &w->trials[s->points[i]]) == size ? SIZE_MAX : best;
    }
    if (best != SIZE_MAX) {
        add_point(s, w, best);
    }
}

/* ---- Prospects ------------------------------------------------------------------------------ */

struct judged {
    size_t trial;
    double gain, likeness, score;
};

static int judged_cmp(const void *pa, const void *pb)
{
    const struct judged *a = pa, *b = pb;
    return a->score != b->score ? (a->score < b->score) - (a->score > b->score)
                                : (a->trial > b->trial) - (a->trial < b->trial);
}

static struct judged judge(const struct search *s, const struct sweep *w, size_t i)
{
    struct judged j = {.trial = i};
    j.gain = expected_gain(s, w, &w->trials[i]);
    j.likeness = likeness_gain(w, &w->trials[i]);
    j.score = score_of(s, j.gain, j.likeness);
    return j;
}

static int prospect_cmp(const void *pa, const void *pb)
{
    const struct prospect *a = pa, *b = pb;
    return a->score != b->score     ? (a->score < b->score) - (a->score > b->score)
           : a->parent != b->parent ? (a->parent > b->parent) - (a->parent < b->parent)
                                    : (a->layer > b->layer) - (a->layer < b->layer);
}

/* The best trials of that size, best first; free() them. */
static struct judged *best_parents(const struct search *s, const struct sweep *w, size_t size,
                                   size_t *n)
{
    struct judged *list = mem_alloc((w->n_trials + 1) * sizeof *list);
    *n = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        if (!w->trials[i].error && w->trials[i].n && search_size(w, &w->trials[i]) == size) {
            list[(*n)++] = judge(s, w, i);
        }
    }
    qsort(list, *n, sizeof *list, judged_cmp);
    return list;
}

/* Leaves one of each set, and none that is in `tried`. */
static size_t drop_known(const struct sweep *w, size_t size, struct prospect *list, size_t n)
{
    size_t n_tried, kept = 0, n_slots = 4 * n + 1;
    uint64_t *tried = tried_keys(w, size, &n_tried);
    uint64_t *seen = mem_alloc(n_slots * sizeof *seen); /* 0: free */
    for (size_t i = 0; i < n; i++) {
        uint64_t key = set_key(w, &w->trials[list[i].parent]) + layer_key(list[i].layer);
        size_t at = (size_t)(key % n_slots);
        while (seen[at] && seen[at] != key) {
            at = (at + 1) % n_slots;
        }
        if (!seen[at] && !bsearch(&key, tried, n_tried, sizeof *tried, key_cmp)) {
            list[kept++] = list[i];
        }
        seen[at] = key;
    }
    free(seen);
    free(tried);
    return kept;
}

size_t search_prospects(const struct search *s, const struct sweep *w, size_t size, size_t width,
                        struct prospect **out)
{
    size_t n_parents, n = 0;
    struct judged *parents = best_parents(s, w, size - 1, &n_parents);
    double base = trial_value(&w->base, s->goal.outcome);
    double sign = s->goal.outcome->higher_is_better ? 1 : -1;
    n_parents = MIN(n_parents, width);
    struct judged *single = mem_alloc((s->n_layers + 1) * sizeof *single);
    for (size_t k = 0; k < s->n_layers; k++) {
        bool tried = s->single[k] != SIZE_MAX && !w->trials[s->single[k]].error;
        single[k] = tried ? judge(s, w, s->single[k]) : (struct judged){0};
    }
    *out = mem_alloc((n_parents * s->n_layers + 1) * sizeof **out);
    for (size_t i = 0; i < n_parents; i++) {
        const struct trial *p = &w->trials[parents[i].trial];
        for (size_t k = 0; k < s->n_layers; k++) {
            bool fails = s->single[k] != SIZE_MAX && w->trials[s->single[k]].error;
            if (s->candidate[k] && !p->pinned[k] && !fails) {
                double gain = parents[i].gain + single[k].gain;
                (*out)[n++] = (struct prospect){
                    .parent = parents[i].trial,
                    .layer = k,
                    .expect = base + sign * gain,
                    .score = score_of(s, gain, parents[i].likeness + single[k].likeness),
                };
            }
        }
    }
    free(single);
    free(parents);
    n = drop_known(w, size, *out, n);
    qsort(*out, n, sizeof **out, prospect_cmp);
    return n;
}

/* ---- Doubt ---------------------------------------------------------------------------------- */

/* Sets of layers that nobody has tried, and how sums of gains foretell what they do. */
struct untried {
    const double *gain; /* per candidate */
    const uint64_t *key, *tried;
    size_t n, n_tried;
    double bias, spread, need; /* in gains over the base */
    double missed;
};

static double chance_of(const struct untried *u, double sum)
{
    return 0.5 * erfc((u->need - sum - u->bias) / u->spread / sqrt(2));
}

static void add_untried(struct untried *u, size_t first, size_t size, double sum, uint64_t key)
{
    if (!size) {
        bool known = bsearch(&key, u->tried, u->n_tried, sizeof key, key_cmp) != NULL;
        u->missed += known ? 0 : chance_of(u, sum);
        return;
    }
    for (size_t i = first; i + size <= u->n; i++) {
        add_untried(u, i + 1, size - 1, sum + u->gain[i], key + u->key[i]);
    }
}

/* How far sums of gains are off for sets that were tried; false: too few to say. */
static bool fit_sums(const struct search *s, const struct sweep *w, size_t size, struct untried *u)
{
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        if (t->error || !t->n || search_size(w, t) != size) {
            continue;
        }
        double off = expected_gain(s, w, t);
        for (size_t k = 0; k < s->n_layers; k++) {
            off -= t->pinned[k] && !w->base.pinned[k] ? s->gain[k] : 0;
        }
        if (isfinite(off)) {
            sum += off;
            squares += off * off;
            n++;
        }
    }
    u->bias = n > 0 ? sum / n : 0;
    u->spread = n > 3 ? sqrt(fmax(0, squares / n - u->bias * u->bias) * n / (n - 1)) : 0;
    return n > 3 && u->spread > 0;
}

static double sets_of(size_t n, size_t size)
{
    double sets = 1;
    for (size_t i = 0; i < size; i++) {
        sets = sets * (double)(n - MIN(i, n)) / (double)(i + 1);
    }
    return sets;
}

void search_doubt(struct search *s, const struct sweep *w, size_t size)
{
    enum { MOST = 2000000 }; /* sets that are looked at one by one */
    struct untried u = {0};
    double *gain = mem_alloc((s->n_layers + 1) * sizeof *gain), dropped = 0;
    uint64_t *key = mem_alloc((s->n_layers + 1) * sizeof *key);
    uint64_t *tried = tried_keys(w, size, &u.n_tried);
    for (size_t k = 0; k < s->n_layers; k++) {
        if (s->candidate[k] && isfinite(s->gain[k])) {
            gain[u.n] = s->gain[k];
            key[u.n++] = layer_key(k);
        }
    }
    for (size_t i = 0; i < w->n_trials; i++) {
        if (search_size(w, &w->trials[i]) == size) {
            dropped += goal_chance(&s->goal, w, &w->trials[i]);
        }
    }
    u.gain = gain;
    u.key = key;
    u.tried = tried;
    u.need = goal_value(&s->goal, w) - trial_value(&w->base, s->goal.outcome);
    u.need = s->goal.outcome->higher_is_better ? u.need : -u.need;
    double sets = sets_of(u.n, size);
    bool all = (double)u.n_tried >= sets; /* also of one layer, where all are */
    bool known = !all && sets < MOST && fit_sums(s, w, size, &u);
    if (known) {
        add_untried(&u, 0, size, 0, 0);
    }
    s->tried[size] = u.n_tried;
    s->missed[size] = all || known ? dropped + u.missed : NAN;
    free(tried);
    free(key);
    free(gain);
}

double search_confidence(const struct search *s, const struct sweep *w)
{
    size_t size = search_size(w, &w->trials[s->found]);
    double missed = 0;
    for (size_t k = 1; k < size && k <= SEARCH_SIZES; k++) {
        missed += s->missed[k];
    }
    return size > SEARCH_SIZES + 1 ? NAN : exp(-missed);
}
