/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * lab_image.c: one image in a lab. It is opened once: loaded, run through the FP32 model for its
 * outputs and through the base for its activations; then each trial computes only what its pins
 * change.
 */
#include "tui/lab_inside.h"

#include <math.h>
#include <stdlib.h>

enum { SMALL = 1 << 20 }; /* bytes of outputs that may stay for what is not likely */

static void tensors_free(struct tensor **t, size_t n)
{
    for (size_t i = 0; t && i < n; i++) {
        tensor_free(t[i]);
    }
    free(t);
}

void shelf_clear(const struct lab *l, struct shelf *x)
{
    tensors_free(x->in, l->n_inputs);
    tensors_free(x->ref, l->match->n_outputs);
    activations_free(x->known);
    *x = (struct shelf){0};
}

/* What the user's own metric says of outputs on this image. */
static int run_own(const struct lab *l, const struct shelf *x, struct tensor *const *out,
                   double *value, struct err *err)
{
    int rc = own_run(l->own, l->match->n_outputs, x->ref, out, &l->s->job.cancel, value, err);
    return rc && rc != E_STOP ? err_in(err, "%s", l->samples[x - l->shelves].name) : rc;
}

/* FP32 or the base has no value on an image: nothing can be judged. What memory is too short for is
 * tried again. */
static void note_own(struct lab *l, int rc)
{
    if (l->own && rc && rc != E_STOP && rc != E_LIMIT) {
        atomic_store(&l->own_failed, true);
    }
}

static int score_model(const struct lab *l, const struct plan *p, const struct shelf *x,
                       struct tensor **out, int label, struct image_score *s, struct err *err)
{
    size_t n = l->match->n_outputs;
    int rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        struct tensor *real = NULL;
        rc = feed_output(plan_graph(p), i, out[i], NULL, &real, err);
        if (!rc) {
            tensor_free(out[i]);
            out[i] = real;
            rc = feed_like(x->ref[i], &out[i], err);
        }
    }
    if (!rc) {
        score_outputs(n, (const struct tensor *const *)x->ref, (const struct tensor *const *)out,
                      l->classify, label, s);
        s->own[SIDE_FP32] = x->own;
        rc = l->own ? run_own(l, x, out, &s->own[SIDE_INT8], err) : OK;
    }
    return rc;
}

/* FP32's outputs in real numbers: those that an earlier run has left, or the model runs. */
static int run_fp32(struct lab *l, struct shelf *x, struct tensor *const *in, struct err *err)
{
    struct memo *m = l->q ? results_memo(l->s->results) : NULL;
    const struct digest image =
        m ? question_sample(l->q, (size_t)(x - l->shelves)) : (struct digest){0};
    const size_t n = l->match->n_outputs;
    if (m && memo_recall_outputs(m, l->plan_fp32, image, n, x->ref)) {
        return OK;
    }
    struct run_options o = {.cancel = &l->s->job.cancel};
    int rc = plan_run(l->plan_fp32, (const struct tensor *const *)in, x->ref, &o, err);
    atomic_fetch_add(&l->runs, 1);
    for (size_t i = 0; i < n && !rc; i++) {
        struct tensor *real = NULL;
        rc = x->ref[i] ? feed_output(plan_graph(l->plan_fp32), i, x->ref[i], NULL, &real, err)
                       : err_set(err, E_UNSUPPORTED, "output %zu cannot be computed", i);
        if (!rc) {
            tensor_free(x->ref[i]);
            x->ref[i] = real;
        }
    }
    if (m && !rc) {
        memo_hold_outputs(m, l->plan_fp32, image, n, x->ref,
                          memo_room(l->s->budget.limit, l->s->batch));
    }
    return rc;
}

/* Loads an image and runs it through the FP32 model, unless its outputs are there. */
static int shelf_load(struct lab *l, const struct sample *sample, struct shelf *x, struct err *err)
{
    size_t n = l->n_inputs;
    const struct graph *g[2] = {plan_graph(l->plan_fp32), plan_graph(l->base.plan)};
    struct tensor **in = mem_alloc((n + 1) * sizeof *in), **own = mem_alloc((n + 1) * sizeof *own);
    x->in = mem_alloc((n + 1) * sizeof *x->in);
    x->known = x->known ? x->known : activations_new();
    int rc = n ? sample_load(sample, l->pp, (int)n, l->inputs, in, err) : OK;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = feed_input(g[SIDE_FP32], i, in[i], NULL, &own[i], err);
        rc = rc ? rc : feed_input(g[SIDE_INT8], i, in[i], NULL, &x->in[i], err);
    }
    if (!rc && !x->ref) {
        x->ref = mem_alloc((l->match->n_outputs + 1) * sizeof *x->ref);
        rc = run_fp32(l, x, own, err);
        x->own = NAN;
        if (!rc && l->own) {
            rc = run_own(l, x, x->ref, &x->own, err);
            note_own(l, rc);
        }
    }
    tensors_free(in, n);
    tensors_free(own, n);
    return rc;
}

bool shelf_shrink(struct lab *l, struct shelf *x)
{
    int level = atomic_load(&l->level);
    if (level == KEEP_NOTHING) {
        return false;
    }
    atomic_compare_exchange_strong(&l->level, &level, level + 1);
    if (level + 1 == KEEP_NOTHING) {
        activations_free(x->known);
        x->known = activations_new();
    } else {
        activations_prune(x->known, l->base.plan, l->keep[level + 1]);
    }
    return true;
}

/* Runs the base and keeps its activations: of all values, or where memory is short of fewer. */
static int run_base(struct lab *l, struct shelf *x, struct tensor **out, struct err *err)
{
    const struct tensor *const *in = (const struct tensor *const *)x->in;
    size_t limit = l->s->budget.limit;
    for (;;) {
        int level = atomic_load(&l->level);
        const bool *keep = level < KEEP_NOTHING ? l->keep[level] : NULL;
        struct replay_options o = {.keep = keep, .cancel = &l->s->job.cancel};
        int rc = replay_run(l->base.replay, in, x->known, &o, out, err);
        if (rc != E_LIMIT || !shelf_shrink(l, x)) {
            if (!rc && keep) {
                activations_prune(x->known, l->base.plan, keep);
            }
            while (limit && activations_size(x->known) > limit / 2 && shelf_shrink(l, x)) {
            }
            return rc;
        }
    }
}

static int score_base(struct lab *l, struct shelf *x, struct tensor **out, int label,
                      struct err *err)
{
    int rc = score_model(l, l->base.plan, x, out, label, &x->score, err);
    note_own(l, rc);
    return rc;
}

/* trials: its activations will be asked for. */
static int shelf_base(struct lab *l, struct shelf *x, int label, bool trials, struct err *err)
{
    struct tensor **out = mem_alloc((l->match->n_outputs + 1) * sizeof *out);
    struct run_options o = {.cancel = &l->s->job.cancel};
    const struct tensor *const *in = (const struct tensor *const *)x->in;
    int rc = trials ? run_base(l, x, out, err) : plan_run(l->base.plan, in, out, &o, err);
    image_score_init(&x->score);
    rc = rc ? rc : score_base(l, x, out, label, err);
    x->base = rc || !trials ? x->base : l->n_bases;
    x->scored = rc ? 0 : l->n_bases;
    tensors_free(out, l->match->n_outputs);
    atomic_fetch_add(&l->runs, 1);
    return rc;
}

int shelf_open(struct lab *l, size_t at, bool trials, struct err *err)
{
    struct shelf *x = &l->shelves[at];
    int rc = OK;
    trials = trials && !l->o.brute && (!l->o.first || at < l->o.first);
    atomic_fetch_sub(&l->kept, x->kept);
    x->kept = 0;
    if (!x->in) {
        rc = shelf_load(l, &l->samples[at], x, err);
    }
    if (!rc && (x->scored != l->n_bases || (trials && x->base != l->n_bases))) {
        rc = shelf_base(l, x, l->samples[at].label, trials, err);
    }
    if (rc) {
        shelf_clear(l, x);
        return rc;
    }
    size_t size = activations_size(x->known), most = atomic_load(&l->size);
    while (size > most && !atomic_compare_exchange_weak(&l->size, &most, size)) {
    }
    return OK;
}

static size_t tensors_size(struct tensor *const *t, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; t && i < n; i++) {
        size += t[i] ? t[i]->size : 0;
    }
    return size;
}

/* What stays of an image that has no more trials for now; each keeps what those before keep. */
enum stays { STAYS_NOTHING, STAYS_OUTPUTS, STAYS_SAMPLE, STAYS_ACTIVATIONS };

static enum stays what_stays(const struct lab *l, const struct shelf *x, size_t outputs)
{
    if (!x->in || atomic_load(&l->tight)) {
        return STAYS_NOTHING;
    }
    if (!l->o.race) {
        return l->o.retain ? STAYS_ACTIVATIONS : STAYS_NOTHING;
    }
    /* Activations would cost more, in new memory, than making them again does. */
    if (l->survey) {
        return STAYS_SAMPLE;
    }
    return outputs <= SMALL ? STAYS_OUTPUTS : STAYS_NOTHING; /* for a few trials that catch up */
}

void shelf_close(struct lab *l, size_t at)
{
    struct shelf *x = &l->shelves[at];
    const size_t limit = l->s->budget.limit;
    const size_t outputs = tensors_size(x->ref, l->match->n_outputs);
    const enum stays stays = what_stays(l, x, outputs);
    if (stays == STAYS_NOTHING) {
        shelf_clear(l, x);
        return;
    }
    if (stays < STAYS_SAMPLE) {
        tensors_free(x->in, l->n_inputs);
        x->in = NULL;
    }
    if (stays < STAYS_ACTIVATIONS) {
        activations_free(x->known);
        x->known = activations_new();
        x->base = 0;
    }
    const size_t size = activations_size(x->known) + tensors_size(x->in, l->n_inputs) + outputs;
    if (limit && atomic_load(&l->kept) + size >= limit / 2) {
        shelf_clear(l, x);
        return;
    }
    x->kept = size;
    atomic_fetch_add(&l->kept, size);
}

static void score_trial(const struct lab *l, const struct bench *b, size_t at, struct task *t)
{
    const size_t n = l->match->n_outputs;
    image_score_init(t->score);
    t->rc = t->rc ? t->rc
                  : score_model(l, b->plan, &l->shelves[at], t->out, l->samples[at].label, t->score,
                                &t->err);
    tensors_free(t->out, n);
}

void shelf_trials(struct lab *l, size_t at, size_t n, struct task *tasks)
{
    const struct shelf *x = &l->shelves[at];
    const struct tensor *const *in = (const struct tensor *const *)x->in;
    const struct run_options o = {.cancel = &l->s->job.cancel};
    const struct replay_options ro = {.cancel = &l->s->job.cancel};
    struct replay_task *replays = mem_alloc((n + 1) * sizeof *replays);
    for (size_t i = 0; i < n; i++) {
        tasks[i].out = mem_alloc((l->match->n_outputs + 1) * sizeof *tasks[i].out);
        replays[i] =
            (struct replay_task){.replay = tasks[i].bench->replay, .outputs = tasks[i].out};
    }
    if (!l->o.brute) {
        replay_run_many(n, replays, in, x->known, &ro);
    }
    for (size_t i = 0; i < n; i++) {
        const struct bench *b = tasks[i].bench;
        tasks[i].rc =
            l->o.brute ? plan_run(b->plan, in, tasks[i].out, &o, &tasks[i].err) : replays[i].rc;
        if (!l->o.brute) {
            tasks[i].err = replays[i].err;
        }
        score_trial(l, b, at, &tasks[i]);
    }
    atomic_fetch_add(&l->runs, n);
    free(replays);
}
