/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_report.c: what a search for pins has found, and the models that no other beats at their
 * cost.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/sweep_run.h"

/* ---- Parts ---------------------------------------------------------------------------------- */

static struct pins_cost cost_of(const struct session *s, const struct trial *t)
{
    return pins_cost(s->fp32, &s->match, s->costs, t->pinned, t->as);
}

static bool is_measured(const struct session *s, const struct trial *t)
{
    return !s->search || t->n >= s->sweep->n_images;
}

/* What it has, or is expected to have, on all images. */
static double value_of(const struct session *s, const struct trial *t)
{
    const struct sweep *w = s->sweep;
    return is_measured(s, t) ? trial_value(t, w->outcome) : goal_expect(&s->search->goal, w, t);
}

static void print_head(FILE *out, const struct sweep *w, const double *ms)
{
    fprintf(out, "%4s", "PINS");
    sweep_print_values(out, w, NULL);
    fprintf(out, " %6s %9s %9s %9s %9s %9s %6s", "IMAGES", "95% LOW", "HIGH", "PIN MB", "M MACS",
            "ACT. MB", "EDGES");
    fprintf(out, "%s  %s\n", ms ? "     +MS" : "", "LAYERS");
}

/* 95 % interval of the value: of an estimate on these images, else for others like them. */
static void interval_of(const struct session *s, const struct trial *t, double *low, double *high)
{
    const struct sweep *w = s->sweep;
    const double base = trial_value(&w->base, w->outcome);
    sweep_interval(w, t, low, high);
    if (!is_measured(s, t)) {
        goal_interval(&s->search->goal, w, t, low, high);
    } else if (sweep_is_gain(w)) { /* of what is gained over the base */
        const double a = w->outcome->higher_is_better ? base + *low : base - *high;
        *high = w->outcome->higher_is_better ? base + *high : base - *low;
        *low = a;
    }
    if (w->outcome->counts) { /* of what is gained it may reach past the ends */
        *low = fmax(*low, 0);
        *high = fmin(*high, 100);
    }
}

/* Values of a model; where not all images were measured, what is expected, and of how many. */
static void print_values(const struct session *s, FILE *out, const struct trial *t)
{
    const struct sweep *w = s->sweep;
    char text[32], about[40];
    if (is_measured(s, t)) {
        sweep_print_values(out, w, t);
    }
    const struct outcome *o;
    for (size_t i = 0; (o = sweep_outcome(w, i)) && !is_measured(s, t); i++) {
        bool judged = o == w->outcome;
        double v = judged ? goal_expect(&s->search->goal, w, t) : NAN;
        snprintf(about, sizeof about, "~%s", sweep_value_text(text, o, v, false));
        if (sweep_shows(w, o)) {
            fprintf(out, " %9s", judged ? about : "");
        }
    }
    double low, high;
    interval_of(s, t, &low, &high);
    fprintf(out, " %6zu %9s", t->n, sweep_value_text(text, w->outcome, low, false));
    fprintf(out, " %9s", sweep_value_text(text, w->outcome, high, false));
}

/* A model: values, cost, its layers. */
static void print_point(const struct session *s, FILE *out, const struct trial *t, const double *ms)
{
    const struct pins_cost c = cost_of(s, t);
    fprintf(out, "%4zu", c.pins);
    print_values(s, out, t);
    fprintf(out, " %9.3f %9.3f %9.3f %6d", c.weights / 1e6, c.macs / 1e6, c.activations / 1e6,
            c.boundaries);
    if (ms) {
        fprintf(out, " %+7.3f", cost_model_find("ms")->of(s, t->pinned, t->as, ms));
    }
    fputc(' ', out);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (t->pinned[k]) {
            const char *as = t->as[k] != PREC_FP32 ? precisions[t->as[k]].name : NULL;
            fprintf(out, " %s%s%s%s", session_layer_label(s, k), as ? " (" : "", as ? as : "",
                    as ? ")" : "");
        }
    }
    fputc('\n', out);
}

static json_t *names_json(const struct session *s, const bool *pinned)
{
    json_t *list = json_array();
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (pinned[k]) {
            json_array_append_new(list, json_text(s->match.layers[k].name));
        }
    }
    return list;
}

static json_t *precisions_json(const struct session *s, const struct trial *t)
{
    json_t *list = json_array();
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (t->pinned[k]) {
            json_array_append_new(list, json_string(precisions[t->as[k]].name));
        }
    }
    return list;
}

static json_t *cost_json(const struct session *s, const struct trial *t, const double *ms)
{
    const struct pins_cost cost = cost_of(s, t), *c = &cost;
    return json_pack("{s:o,s:o,s:o,s:o,s:i,s:o}", "macs", json_num(c->macs), "macs_percent",
                     json_num(s->macs > 0 ? 100 * c->macs / s->macs : NAN), "weight_bytes",
                     json_num(c->weights), "activation_bytes", json_num(c->activations),
                     "boundaries", c->boundaries, "ms",
                     json_num(cost_model_find("ms")->of(s, t->pinned, t->as, ms)));
}

/* A model on the way: what it achieves, whether all images were measured, an interval of its value,
 * of an estimate on these images, else for others like them, and what it costs. */
static json_t *point_json(const struct session *s, const struct trial *t,
                          const struct cost_model *m, const double *ms)
{
    const struct sweep *w = s->sweep;
    double low, high;
    json_t *o = sweep_trial_json(s, w, t);
    interval_of(s, t, &low, &high);
    json_object_set_new(o, "metric", json_num(value_of(s, t)));
    json_object_set_new(o, "low", json_num(low));
    json_object_set_new(o, "high", json_num(high));
    json_object_set_new(o, "measured", json_boolean(is_measured(s, t)));
    json_object_set_new(o, "cost", json_num(m->of(s, t->pinned, t->as, ms)));
    json_object_set_new(o, "costs", cost_json(s, t, ms));
    json_object_set_new(o, "layers", names_json(s, t->pinned));
    json_object_set_new(o, "precisions", precisions_json(s, t));
    return o;
}

/* An answer in cheaper precisions is none: others of its size are as good or better. */
static bool is_point(const struct search *q, size_t trial)
{
    for (size_t i = 0; i < q->n_points; i++) {
        if (q->points[i] == trial) {
            return true;
        }
    }
    return false;
}

/* ---- search --------------------------------------------------------------------------------- */

/* How sure it is that nothing smaller would do. */
static json_t *confidence_json(const struct search *q, const struct sweep *w)
{
    size_t size = search_size(w, &w->trials[q->found]);
    json_t *sizes = json_array();
    for (size_t k = 1; k <= SEARCH_SIZES && k <= size; k++) {
        json_array_append_new(sizes, json_pack("{s:I,s:I,s:o}", "pins", (json_int_t)k, "tried",
                                               (json_int_t)q->tried[k], "missed",
                                               k < size ? json_num(q->missed[k]) : json_null()));
    }
    return json_pack("{s:o,s:o}", "no_smaller_set",
                     q->reached ? json_num(search_confidence(q, w)) : json_null(), "sizes", sizes);
}

static void cost_model_json(json_t *o, const struct cost_model *m)
{
    json_object_set_new(o, "cost_model", json_string(m->name));
    json_object_set_new(o, "cost_unit", json_string(m->unit));
}

static void search_json(struct call *c)
{
    const struct session *s = c->s;
    const struct search *q = s->search;
    const struct sweep *w = s->sweep;
    const struct trial *found = &w->trials[q->found];
    const struct cost_model *m = s->cost ? s->cost : cost_models;
    double *ms = cost_ms(s);
    json_t *o = sweep_head_json(s), *points = json_array();
    for (size_t i = 0; i < q->n_points; i++) {
        json_array_append_new(points, point_json(s, &w->trials[q->points[i]], m, ms));
    }
    free(ms);
    cost_model_json(o, m);
    json_object_set_new(o, "points", points); /* the first list: the rows */
    json_object_set_new(o, "fp32", json_num(sweep_fp32(w, w->outcome)));
    json_object_set_new(o, "int8", json_num(trial_value(&w->base, w->outcome)));
    json_object_set_new(o, "target",
                        q->has_limit ? json_num(goal_value(&q->goal, w)) : json_null());
    json_object_set_new(o, "reached", json_num(value_of(s, found)));
    json_object_set_new(o, "met", q->has_limit ? json_boolean(q->reached) : json_null());
    json_object_set_new(o, "minimal", json_boolean(q->minimal && is_point(q, q->found)));
    json_object_set_new(o, "measured_images", json_integer((json_int_t)(w->base.n - w->failed)));
    json_object_set_new(o, "pins", names_json(s, found->pinned));
    json_object_set_new(o, "precisions", precisions_json(s, found));
    json_object_set_new(o, "confidence", confidence_json(q, w));
    json_object_set_new(o, "out_of_time", json_boolean(q->out_of_time));
    json_object_set_new(o, "runs", json_integer((json_int_t)q->runs));
    json_object_set_new(o, "seconds", json_num(q->seconds));
    emit_json(c, o);
}

static void print_confidence(struct call *c)
{
    const struct search *q = c->s->search;
    const struct sweep *w = c->s->sweep;
    size_t size = search_size(w, &w->trials[q->found]), tried = 0;
    double sure = search_confidence(q, w);
    for (size_t k = 1; k <= SEARCH_SIZES; k++) {
        tried += k < size ? q->tried[k] : 0;
    }
    if (q->reached && q->minimal) {
        fprintf(c->out, !size ? "the limit is kept without pins\n"
                        : is_point(q, q->found)
                            ? "without any one of the pins the limit is missed\n"
                            : "in FP32, without any one of the pins the limit "
                              "is missed\n");
    }
    if (q->reached && size > 1 && !isnan(sure)) {
        fprintf(c->out, "no smaller set does: %.0f %% sure (%zu smaller sets tried)\n",
                floor(100 * sure), tried);
    } else if (q->reached && size > 1) {
        fprintf(c->out, "smaller sets may do: only %zu of them were tried\n", tried);
    }
}

void search_report(struct call *c)
{
    const struct session *s = c->s;
    const struct search *q = s->search;
    if (!s->sweep->n_trials) {
        fprintf(c->note, "nothing was measured yet\n");
    } else if (s->json) {
        search_json(c);
    } else {
        double *ms = cost_ms(s);
        print_head(c->out, s->sweep, ms);
        for (size_t i = 0; i < q->n_points; i++) {
            const struct trial *t = &s->sweep->trials[q->points[i]];
            size_t size = search_size(s->sweep, t);
            if (size <= search_size(s->sweep, &s->sweep->trials[q->found])) {
                print_point(s, c->out, t, ms);
            }
        }
        if (!is_point(q, q->found)) {
            print_point(s, c->out, &s->sweep->trials[q->found], ms);
        }
        free(ms);
        print_confidence(c);
    }
}

/* ---- pareto --------------------------------------------------------------------------------- */

int sweep_report_pareto(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    if (!w) {
        return err_set(err, E_STATE, "nothing has been tried yet: sensitivity or search");
    }
    const char *name = call_opt(c, "--cost");
    const struct cost_model *m = name ? cost_model_find(name) : s->cost ? s->cost : cost_models;
    double *ms = cost_ms(s), *cost = name ? mem_alloc((w->n_trials + 2) * sizeof *cost) : NULL;
    if (name && strcmp(name, "ms") == 0 && !ms) {
        free(cost);
        return err_set(err, E_STATE,
                       "times of the layers are not known: 'search --cost ms' or "
                       "'cost --measure' finds them");
    }
    for (size_t i = 0; cost && i <= w->n_trials; i++) {
        const struct trial *t = i < w->n_trials ? &w->trials[i] : &w->base;
        cost[i] = m->of(s, t->pinned, t->as, ms);
    }
    const struct trial **points = mem_alloc((w->n_trials + 2) * sizeof(struct trial *));
    size_t n = sweep_pareto(w, cost, points);
    if (s->json) {
        json_t *o = sweep_head_json(s), *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_array_append_new(list, point_json(s, points[i], m, ms));
        }
        cost_model_json(o, m);
        json_object_set_new(o, "points", list);
        emit_json(c, o);
    } else {
        print_head(c->out, w, ms);
        for (size_t i = 0; i < n; i++) {
            print_point(s, c->out, points[i], ms);
        }
    }
    free(points);
    free(cost);
    free(ms);
    return OK;
}
