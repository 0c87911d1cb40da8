/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * observe.c: runs the prepared FP32 model over calibration images. Workers take whole images;
 * what they saw is merged in image order, at most one waiting per worker.
 */
#include <stdlib.h>

#include "tui/observe.h"

/* ---- One image ------------------------------------------------------------------------------ */

struct looking {
    const struct observing *o;
    struct observation *seen;
};

static int look_at(const struct looking *l, int v, const struct tensor *t, struct err *err)
{
    if (v < 0 || t->dtype != DT_F32) {
        return OK;
    }
    observation_add(&l->seen[v], t->n, t->data);
    bool channels = l->o->channels && l->o->axis[v];
    return channels ? observation_add_channels(&l->seen[v], t, l->o->axis[v], err) : OK;
}

static int look(void *ctx, int value, const struct tensor *t, struct err *err)
{
    const struct looking *l = ctx;
    return look_at(l, l->o->at[value], t, err);
}

static int observe_image(const struct observing *o, size_t image, struct observation *seen,
                         struct err *err)
{
    struct looking l = {o, seen};
    struct tensor **in = mem_alloc((o->n_inputs + 1) * sizeof *in);
    struct run_options ro = {.tap = look,
                             .tap_ctx = &l,
                             .any_layout = true,
                             .wanted = o->wanted,
                             .cancel = &o->s->job.cancel};
    int rc = sample_load(&o->samples[image], &o->pp, (int)o->n_inputs, o->inputs, in, err);
    rc = rc ? rc : plan_run(o->plan, (const struct tensor *const *)in, NULL, &ro, err);
    for (size_t i = 0; !rc && i < o->g->n_inputs; i++) {
        rc = look_at(&l, o->g->inputs[i], in[i], err);
    }
    for (size_t i = 0; i < o->n_inputs; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}

/* ---- Workers -------------------------------------------------------------------------------- */

static struct observation *seen_new(struct observing *o)
{
    struct observation *seen = mem_alloc((o->g->n_values + 1) * sizeof *seen);
    bool *wanted = mem_alloc(o->g->n_values + 1);
    quantize_wanted(o->g, wanted);
    for (size_t v = 0; v < o->g->n_values; v++) {
        observation_init(&seen[v], wanted[v] ? o->keep : 0);
    }
    free(wanted);
    pthread_mutex_lock(&o->s->lock);
    for (size_t v = 0; o->seen && v < o->g->n_values; v++) {
        if (seen[v].tail) {
            tail_spare(seen[v].tail, o->seen[v].tail);
        }
    }
    pthread_mutex_unlock(&o->s->lock);
    return seen;
}

static void seen_free(const struct observing *o, struct observation *seen)
{
    for (size_t v = 0; seen && v < o->g->n_values; v++) {
        observation_fini(&seen[v]);
    }
    free(seen);
}

/* Merges image i when its turn comes; false when the run was stopped before that. */
static bool merge(struct observing *o, size_t i, int rc, const struct observation *seen,
                  const struct err *err)
{
    pthread_mutex_lock(&o->s->lock);
    while (o->turn != i && !o->stopped) {
        pthread_cond_wait(&o->merged, &o->s->lock);
    }
    o->stopped |= rc == E_STOP;
    bool ok = !o->stopped;
    if (ok && rc) {
        o->err = o->failed++ ? o->err : *err;
    }
    for (size_t v = 0; ok && !rc && v < o->g->n_values; v++) {
        observation_merge(&o->seen[v], &seen[v]);
    }
    if (ok) {
        job_advance(o->s, ++o->turn, o->s->job.total);
    }
    pthread_cond_broadcast(&o->merged);
    pthread_mutex_unlock(&o->s->lock);
    return ok;
}

static void *worker(void *arg)
{
    struct observing *o = arg;
    bool go_on = true;
    for (size_t i; go_on && (i = atomic_fetch_add(&o->next, 1)) < o->n;) {
        struct observation *seen = seen_new(o);
        struct err err = {0};
        int rc = cancelled(&o->s->job.cancel) ? E_STOP : observe_image(o, i, seen, &err);
        go_on = merge(o, i, rc, seen, &err);
        seen_free(o, seen);
    }
    return NULL;
}

int observing_run(struct observing *o, struct err *err)
{
    int jobs = (int)MIN((size_t)MAX(o->s->set.jobs, 1), MAX(o->n, (size_t)1));
    o->seen = seen_new(o);
    job_threads(jobs, worker, o);
    if (o->turn < o->n) {
        return err_set(err, E_STOP, "cancelled");
    }
    return o->failed == o->n ? err_set(err, o->err.code, "no image could be run: %s", o->err.text)
                             : OK;
}

/* ---- Start ---------------------------------------------------------------------------------- */

static void samples_free(struct observing *o)
{
    for (size_t i = 0; i < o->n && o->samples; i++) {
        free(o->samples[i].path);
        free(o->samples[i].name);
    }
    free(o->samples);
}

static int list_samples(struct observing *o, const char *path, size_t limit, struct err *err)
{
    struct session *s = o->s;
    struct dataset own = {0};
    const struct dataset *from = &s->data;
    if (path) {
        const struct dataset_options d = {
            .limit = limit, .n_inputs = (int)MAX(o->n_inputs, (size_t)1), .inputs = o->inputs};
        int rc = dataset_add(&own, path, &d, &(size_t){0}, err);
        if (rc) {
            return rc;
        }
        from = &own;
    }
    o->n = limit ? MIN(limit, from->n) : from->n;
    o->samples = mem_alloc((o->n + 1) * sizeof *o->samples);
    for (size_t i = 0; i < o->n; i++) {
        o->samples[i] = from->samples[i];
        o->samples[i].path = mem_dup(o->samples[i].path);
        o->samples[i].name = mem_dup(o->samples[i].name);
    }
    dataset_fini(&own);
    return o->n ? OK : err_set(err, E_STATE, "no images to calibrate with");
}

/* The plan of the prepared graph as it is written, so that all its tensors are there. */
static int plan_prepared(struct observing *o, struct err *err)
{
    const struct plan_options po = {.numerics = NUM_ORT_UNFUSED,
                                    .kernels = o->s->set.kernels,
                                    .budget = &o->s->budget,
                                    .store = o->s->store,
                                    .partial = true,
                                    .reference = true};
    int rc = plan_new(o->g, &po, &o->plan, err);
    if (rc) {
        return rc;
    }
    const struct graph *x = plan_graph(o->plan);
    bool *wanted = mem_alloc(o->g->n_values + 1);
    quantize_wanted(o->g, wanted);
    o->at = mem_alloc((x->n_values + 1) * sizeof *o->at);
    o->wanted = mem_alloc(x->n_values + 1);
    o->axis = mem_alloc((o->g->n_values + 1) * sizeof *o->axis);
    quantize_channels(o->g, o->axis);
    for (size_t v = 0; v < x->n_values; v++) {
        int at = graph_find(o->g, x->values[v].name);
        o->wanted[v] = at >= 0 && wanted[at] && x->values[v].producer >= 0;
        o->at[v] = o->wanted[v] ? at : -1;
    }
    free(wanted);
    return OK;
}

int observing_new(struct session *s, const char *path, size_t limit, struct observing **out,
                  struct err *err)
{
    if (!s->fp32) {
        return err_set(err, E_STATE, "no FP32 model is loaded (load fp32 FILE)");
    }
    struct observing *o = mem_alloc(sizeof *o);
    o->s = s;
    o->pp = s->pp;
    pthread_cond_init(&o->merged, NULL);
    o->n_inputs = session_inputs(s, NULL, 0);
    o->inputs = mem_alloc((o->n_inputs + 1) * sizeof *o->inputs);
    session_inputs(s, o->inputs, o->n_inputs);
    int rc = list_samples(o, path, limit, err);
    rc = rc ? rc : quantize_prepare(s->fp32, &o->g, err);
    rc = rc ? rc : plan_prepared(o, err);
    if (rc) {
        observing_free(o);
        return rc;
    }
    *out = o;
    return OK;
}

void observing_only(struct observing *o, size_t n, const size_t *images)
{
    struct sample *chosen = mem_alloc((n + 1) * sizeof *chosen);
    for (size_t i = 0; i < n; i++) {
        chosen[i] = o->samples[images[i]];
        chosen[i].path = mem_dup(chosen[i].path);
        chosen[i].name = mem_dup(chosen[i].name);
    }
    samples_free(o);
    o->samples = chosen;
    o->n = n;
}

void observing_free(struct observing *o)
{
    if (!o) {
        return;
    }
    samples_free(o);
    seen_free(o, o->seen);
    plan_free(o->plan);
    graph_free(o->g);
    free(o->at);
    free(o->axis);
    free(o->wanted);
    free(o->inputs);
    pthread_cond_destroy(&o->merged);
    free(o);
}
