/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * raise_report.c: what raising layers one by one, or a bisection of that, has found, as text and as
 * JSON.
 */
#include <stdlib.h>

#include "tui/sweep_run.h"

/* Trials that have seen an image, in the order of layers raised; the caller frees. */
static size_t measured(const struct session *s, const struct trial ***out)
{
    const struct sweep *w = s->sweep;
    size_t n = 0;
    *out = mem_alloc((w->n_trials + 1) * sizeof **out);
    for (size_t k = 0; k <= s->raised->n_layers; k++) {
        for (size_t i = 0; i < w->n_trials; i++) {
            const struct trial *t = &w->trials[i];
            if ((t->n || t->error) && raised_by(s->raised, t) == k) {
                (*out)[n++] = t;
                break;
            }
        }
    }
    return n;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *row_json(const struct session *s, const struct trial *t)
{
    json_t *o = json_object(), *values = sweep_trial_json(s, s->sweep, t);
    const char *name = t->layer == SIZE_MAX ? NULL : s->match.layers[t->layer].name;
    json_object_set_new(o, "name", name ? json_text(name) : json_null());
    json_object_set_new(o, "raised", json_integer((json_int_t)raised_by(s->raised, t)));
    json_object_set_new(o, "value", json_num(trial_value(t, s->sweep->outcome)));
    json_object_update(o, values);
    json_decref(values);
    if (t->error) {
        json_object_set_new(o, "error", json_text(t->error));
    }
    return o;
}

static void goal_json(json_t *o, const struct session *s)
{
    const struct raised *r = s->raised;
    if (!r->has_goal) {
        return;
    }
    char *until = mem_printf(
        "%s%s%s%g", r->goal.outcome->name, r->goal.is_drop ? "_drop" : "",
        r->goal.is_drop || !r->goal.outcome->higher_is_better ? "<=" : ">=", r->goal.limit);
    bool met = r->reached != SIZE_MAX;
    json_object_set_new(o, "until", json_string(until));
    json_object_set_new(o, "reached", json_boolean(met));
    json_object_set_new(o, "raised", met ? json_integer((json_int_t)r->reached) : json_null());
    json_object_set_new(o, "layer",
                        met && r->reached
                            ? json_text(s->match.layers[r->layers[r->reached - 1]].name)
                            : json_null());
    if (s->sweep->kind == SWEEP_BISECT) {
        json_object_set_new(o, "monotone", json_boolean(r->monotone));
    }
    free(until);
}

static void raise_json(struct call *c, size_t n, const struct trial *const *t)
{
    const struct session *s = c->s;
    json_t *o = sweep_head_json(s), *rows = json_array();
    json_object_del(o, "base"); /* which models runs go on from is of no interest here */
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(rows, row_json(s, t[i]));
    }
    goal_json(o, s);
    json_object_set_new(o, "layers", rows);
    json_object_set_new(o, "runs", json_integer((json_int_t)s->sweep->runs));
    json_object_set_new(o, "seconds", json_num(s->sweep->seconds));
    emit_json(c, o);
}

/* ---- Text ----------------------------------------------------------------------------------- */

static void print_answer(const struct session *s, FILE *out)
{
    const struct raised *r = s->raised;
    bool bisect = s->sweep->kind == SWEEP_BISECT;
    if (!r->has_goal) {
        return;
    }
    if (r->reached == SIZE_MAX) {
        fprintf(out, "the goal is not met\n");
    } else if (!r->reached) {
        fprintf(out, "the goal is met with nothing raised\n");
    } else {
        fprintf(out, "the goal is met with %zu of %zu layers in %s, the last is %s\n", r->reached,
                r->n_layers, sweep_tries(s->sweep)->title,
                session_layer_label(s, r->layers[r->reached - 1]));
    }
    if (bisect && !r->monotone) {
        fprintf(out, "the curve is not monotone: longer prefixes miss the goal or shorter ones met "
                     "it, so the answer is not to be trusted\n");
    }
}

static void raise_text(struct call *c, size_t n, const struct trial *const *t)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    fprintf(c->out, "layers raised to %s from the %s, on %zu images\n", sweep_tries(w)->title,
            w->kind == SWEEP_SUFFIX ? "output back" : "input on", w->base.n - w->failed);
    sweep_print_model(c->out, w, "FP32", NULL);
    fprintf(c->out, "%4s %c %-34s %-10s", "#", 'P', "LAYER", "OP");
    sweep_print_values(c->out, w, NULL);
    fprintf(c->out, " %6s\n", "IMAGES");
    for (size_t i = 0; i < n; i++) {
        if (t[i]->layer == SIZE_MAX) {
            fprintf(c->out, "%4d   %-45s", 0, "nothing");
        } else {
            sweep_print_layer(s, c->out, raised_by(s->raised, t[i]), t[i]->layer);
        }
        if (t[i]->error) {
            fprintf(c->out, " %s\n", t[i]->error);
            continue;
        }
        sweep_print_values(c->out, w, t[i]);
        fprintf(c->out, " %6zu\n", t[i]->n);
    }
    print_answer(s, c->out);
}

void raise_report(struct call *c)
{
    struct session *s = c->s;
    const struct trial **t;
    size_t n = measured(s, &t);
    free(s->listed);
    s->listed = mem_alloc((n + 1) * sizeof *s->listed);
    s->n_listed = 0;
    for (size_t i = 0; i < n; i++) {
        if (t[i]->layer != SIZE_MAX) {
            s->listed[s->n_listed++] = t[i]->layer;
        }
    }
    (s->json ? raise_json : raise_text)(c, n, t);
    free(t);
}
