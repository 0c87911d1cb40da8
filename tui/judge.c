/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * judge.c: keeps what is to blame in the session: made when somebody asks, dropped when models,
 * pins or results change.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/executed.h"

void judged_forget(struct session *s)
{
    struct judged *j = s->judged;
    if (!j) {
        return;
    }
    verdicts_free(j->verdicts, s->match.n_layers);
    weights_free(j->weights, s->match.n_layers);
    local_map_free(j->map);
    free(j->misread);
    free(j->pinned);
    free(j);
    s->judged = NULL;
}

struct judge_input session_judge_input(const struct session *s)
{
    const struct judged *j = s->judged;
    return (struct judge_input){.fp32 = s->fp32,
                                .int8 = session_int8(s),
                                .match = &s->match,
                                .map = j->map,
                                .weights = j->weights,
                                .study = s->study,
                                .pinned = j->pinned,
                                .misread = j->misread};
}

void judged_renew(struct session *s)
{
    if (!s->pair) {
        return;
    }
    if (!s->judged) {
        struct judged *j = s->judged = mem_alloc(sizeof *j);
        j->map = local_map_of(s);
        j->weights = weights_compare(s->fp32, s->plan_fp32, s->plan_int8, &s->match, j->map,
                                     s->set.jobs, job_threads);
        j->misread = misreads(s->int8, &s->match);
        j->pinned = session_pins(s);
    }
    if (s->judged->verdicts && s->judged->ran == (s->study != NULL)) {
        return;
    }
    verdicts_free(s->judged->verdicts, s->match.n_layers);
    struct judge_input in = session_judge_input(s);
    s->judged->verdicts = verdicts_new(&in);
    s->judged->ran = s->study != NULL;
}

void judged_run(struct session *s)
{
    if (s->study && s->job.state != JOB_RUNNING && !s->job.ctx) {
        judged_renew(s);
    }
}

void session_judge(struct session *s)
{
    run_local(s);
    judged_renew(s);
}

const struct sweep *session_sweep(const struct session *s, enum sweep_kind kind)
{
    const struct sweep *both[] = {s->sweep, s->only}, *w = NULL;
    for (size_t i = 0; i < COUNT(both) && !w; i++) {
        w = both[i] && both[i]->kind == kind ? both[i] : NULL;
    }
    return w;
}

double session_sweep_effect(const struct session *s, size_t layer, enum sweep_kind kind)
{
    const struct sweep *w = session_sweep(s, kind);
    for (size_t i = 0; w && i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        if (t->layer == layer && !t->error && t->n > 0) {
            return sweep_effect(w, t);
        }
    }
    return NAN;
}

/* How bad a verdict is: defects, then limits of what codes can hold, then what is not the layer's
 * own; among those by local noise. */
static double gravity(const struct session *s, size_t layer)
{
    const struct layer_verdict *v = s->judged ? s->judged->verdicts : NULL;
    if (!v || v[layer].verdict == VERDICT_NONE) {
        return NAN;
    }
    enum verdict_id id = v[layer].verdict;
    double class = id >= VERDICT_ZERO_POINT ? 4 : id > VERDICT_INHERITED ? 3 : (double)id / 2;
    double local = layer_metric(s, layer, metric_find("local_sqnr"));
    return class + (isfinite(local) ? fmin(fmax((100 - local) / 400, 0), 0.4) : 0);
}

static const struct sums *sums_for(const struct session *s, size_t layer, const struct metric *m,
                                   struct sums *room)
{
    const struct local_study *l = s->study ? s->study->local : NULL;
    if (m->of == METRIC_LOCAL) {
        return l && l->layers[layer].pair.images ? &l->layers[layer].pair.all : NULL;
    }
    const struct weight_error *w = s->judged ? &s->judged->weights[layer] : NULL;
    *room = (struct sums){0};
    if (!w || !w->n_channels) {
        return NULL;
    }
    room->n = w->n_channels;
    room->xx = w->signal;
    room->ee = w->noise;
    return room;
}

double layer_metric(const struct session *s, size_t layer, const struct metric *m)
{
    const struct layer_stats *l = s->study ? &s->study->layers[layer] : NULL;
    struct sums room;
    const struct sums *sums;
    switch (m->of) {
    case METRIC_LOCAL:
    case METRIC_WEIGHTS:
        sums = sums_for(s, layer, m, &room);
        return sums ? m->value(sums, NAN) : NAN;
    case METRIC_LOO:
        return session_sweep_effect(s, layer, SWEEP_LOO);
    case METRIC_ONLY:
        return session_sweep_effect(s, layer, SWEEP_ONLY);
    case METRIC_VERDICT:
        return gravity(s, layer);
    default:
        return l && l->images ? m->value(&l->all, l->scale) : NAN;
    }
}

const char *judged_text(const struct session *s, size_t layer, const struct metric *m)
{
    const struct layer_verdict *v = s->judged ? s->judged->verdicts : NULL;
    if (!v || v[layer].verdict == VERDICT_NONE) {
        return v && strcmp(m->name, "verdict") != 0
                   ? strcmp(m->name, "cause") == 0 ? v[layer].cause : v[layer].evidence
                   : NULL;
    }
    return strcmp(m->name, "verdict") == 0 ? verdicts[v[layer].verdict].name
           : strcmp(m->name, "cause") == 0 ? v[layer].cause
                                           : v[layer].evidence;
}

void judged_json(json_t *o, const struct session *s, size_t layer)
{
    const struct local_study *l = s->study ? s->study->local : NULL;
    for (const struct metric *m = metrics; m->name; m++) {
        if (m->of == METRIC_VERDICT) {
            json_object_set_new(o, m->name, json_text(judged_text(s, layer, m)));
        } else if (m->of != METRIC_CUMULATIVE) {
            json_object_set_new(o, m->name, json_num(layer_metric(s, layer, m)));
        }
    }
    const struct local_stats *x = l && l->layers[layer].pair.images ? &l->layers[layer] : NULL;
    bool codes = x && x->out.n;
    json_object_set_new(o, "local_images", json_integer(x ? (json_int_t)x->pair.images : 0));
    json_object_set_new(o, "local_noise", json_num(x ? local_noise(x) : NAN));
    json_object_set_new(o, "output_noise", json_num(codes ? x->out.clip + x->out.round : NAN));
    json_object_set_new(o, "output_clip", json_num(codes ? x->out.clip : NAN));
    json_object_set_new(o, "output_round", json_num(codes ? x->out.round : NAN));
}
