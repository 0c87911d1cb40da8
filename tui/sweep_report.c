/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sweep_report.c: what sweeps and searches have found, as text and as JSON.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/sweep_run.h"

/* ---- Text ----------------------------------------------------------------------------------- */

/* A value in a column: "12.34", "exact", "n/a", "1.2e-07" of what has no unit of its own, of which
 * small ones may be all that there is. */
const char *sweep_value_text(char dst[32], const struct outcome *o, double v, bool sign)
{
    if (isnan(v)) {
        snprintf(dst, 32, "n/a");
    } else if (isinf(v)) {
        snprintf(dst, 32, v > 0 ? "exact" : "-inf");
    } else if (!*o->unit && v != 0 && fabs(v) < 0.5 * pow(10, -o->digits)) {
        snprintf(dst, 32, sign ? "%+.1e" : "%.1e", v);
    } else {
        snprintf(dst, 32, sign ? "%+.*f" : "%.*f", o->digits, v);
    }
    return dst;
}

const char *const sweep_kind_names[] = {
    [SWEEP_LOO] = "loo",       [SWEEP_ONLY] = "only",     [SWEEP_PREFIX] = "prefix",
    [SWEEP_SUFFIX] = "suffix", [SWEEP_BISECT] = "bisect", [SWEEP_SEARCH] = "search",
};

/* Those that the sweep has sums of: the table, and the one of the user's own that it is judged by.
 */
const struct outcome *sweep_outcome(const struct sweep *w, size_t i)
{
    return i < N_OUTCOMES                                  ? &outcomes[i]
           : i == N_OUTCOMES && outcome_is_own(w->outcome) ? w->outcome
                                                           : NULL;
}

const struct precision_row *sweep_tries(const struct sweep *w)
{
    size_t layer = w->n_trials ? w->trials[w->n_trials - 1].layer : SIZE_MAX;
    return &precisions[layer < w->n_layers ? w->as[layer] : PREC_FP32];
}

/* Columns beside the chosen outcome: those that say something here. */
bool sweep_shows(const struct sweep *w, const struct outcome *o)
{
    bool usual = strcmp(o->name, "top1") == 0 || strcmp(o->name, "agreement") == 0 ||
                 strcmp(o->name, "sqnr") == 0;
    return o == w->outcome || (usual && w->base.sums[outcome_place(o)][1] > 0);
}

void sweep_print_model(FILE *out, const struct sweep *w, const char *name, const struct trial *t)
{
    char text[32];
    fprintf(out, "%s:", name);
    const struct outcome *o;
    for (size_t i = 0; (o = sweep_outcome(w, i)); i++) {
        if (sweep_shows(w, o)) {
            double v = t ? trial_value(t, o) : sweep_fp32(w, o);
            const char *unit = isfinite(v) ? o->unit : "";
            fprintf(out, "  %s %s%s%s", o->name, sweep_value_text(text, o, v, false),
                    *unit ? " " : "", unit);
        }
    }
    fputc('\n', out);
}

/* Position, pin, name and operator of a layer. */
void sweep_print_layer(const struct session *s, FILE *out, size_t row, size_t layer)
{
    char label[64];
    int w = session_layer_short(s, layer, label, sizeof label, 34);
    fprintf(out, "%4zu %c %s%*s %-10.10s", row, session_pin_mark(s, layer), label, 34 - w, "",
            s->match.layers[layer].op);
}

/* Whether its sums are of those images alone that say most, so that they are no values. */
static bool is_partial(const struct sweep *w, const struct trial *t)
{
    return sweep_is_partial(w, t) || (w->kind == SWEEP_SEARCH && t->n < w->base.n);
}

void sweep_print_values(FILE *out, const struct sweep *w, const struct trial *t)
{
    char text[32];
    const struct outcome *o;
    for (size_t i = 0; (o = sweep_outcome(w, i)); i++) {
        if (sweep_shows(w, o)) {
            double v = t && !is_partial(w, t) ? trial_value(t, o) : NAN;
            fprintf(out, " %9s", t ? sweep_value_text(text, o, v, false) : o->title);
        }
    }
}

/* The trial of the other way of the same layer, NULL when it is not measured. */
static const struct trial *only_trial(const struct session *s, size_t layer)
{
    for (size_t i = 0; s->only && i < s->only->n_trials; i++) {
        const struct trial *t = &s->only->trials[i];
        if (t->layer == layer && t->n && !t->error) {
            return t;
        }
    }
    return NULL;
}

static void print_row(const struct session *s, FILE *out, const struct sweep *w, size_t row,
                      const struct trial *t)
{
    char text[32];
    double low, high;
    const struct outcome *o = w->outcome;
    sweep_print_layer(s, out, row, t->layer);
    if (t->error || !t->n) {
        fprintf(out, " %s\n", t->error ? t->error : "not measured");
        return;
    }
    if (sweep_is_gain(w)) {
        fprintf(out, " %9s", sweep_value_text(text, o, sweep_effect(w, t), true));
    }
    sweep_interval(w, t, &low, &high);
    fprintf(out, " %9s", sweep_value_text(text, o, low, sweep_is_gain(w)));
    fprintf(out, " %9s", sweep_value_text(text, o, high, sweep_is_gain(w)));
    if (s->only) {
        const struct trial *x = only_trial(s, t->layer);
        fprintf(out, " %9s", x ? sweep_value_text(text, o, sweep_effect(s->only, x), false) : "");
    }
    sweep_print_values(out, w, t);
    fprintf(out, " %6zu%s%s\n", t->n,
            t->in_effect ? "" : "  pin NOT in effect: ", t->in_effect || !t->why ? "" : t->why);
}

static void print_head(const struct session *s, FILE *out, const struct sweep *w)
{
    bool gain = sweep_is_gain(w);
    fprintf(out, "each layer alone %s%s: %s%s%s%s%s on %zu images\n", gain ? "back in " : "in INT8",
            gain ? sweep_tries(w)->title : "", gain ? "gain in " : "", w->outcome->name,
            *w->outcome->unit ? " (" : "", w->outcome->unit, *w->outcome->unit ? ")" : "",
            w->base.n - w->failed);
    sweep_print_model(out, w, "FP32", NULL);
    sweep_print_model(out, w, gain ? "INT8" : "nothing in INT8", &w->base);
    fprintf(out, "%4s %c %-34s %-10s", "#", 'P', "LAYER", "OP");
    fprintf(out, "%s%10s %9s", gain ? "      GAIN" : "", "95% LOW", "HIGH");
    fprintf(out, "%s", s->only ? "      ONLY" : "");
    sweep_print_values(out, w, NULL);
    fprintf(out, " %6s\n", "IMAGES");
}

/* What a race may have missed. */
static void note_missed(const struct call *c, const struct sweep *w, const size_t *order)
{
    const double missed = sweep_missed(w);
    const size_t seen = w->n_trials ? w->trials[order[0]].n : 0;
    if (w->within > 0 && seen < w->n_images && isfinite(missed)) {
        fprintf(c->note,
                "the first %zu are by %zu of %zu images: %.2g other layers are expected to be more "
                "than %g%s%s better than the last of them\n",
                MIN(w->top, w->n_trials), seen, w->n_images, missed < 0.005 ? 0 : missed, w->within,
                *w->outcome->unit ? " " : "", w->outcome->unit);
    } else if (missed >= 0.005) {
        fprintf(c->note,
                "the first %zu are exact on these images; by what the others did on fewer, %.2g "
                "layers that belong to them are expected to be missing\n",
                MIN(w->top, w->n_trials), missed);
    }
}

static void sweep_text(struct call *c, const size_t *order, size_t n)
{
    const struct sweep *w = c->s->sweep;
    print_head(c->s, c->out, w);
    for (size_t i = 0; i < n; i++) {
        print_row(c->s, c->out, w, i + 1, &w->trials[order[i]]);
    }
    note_missed(c, w, order);
    size_t doubtful = sweep_doubtful(w, order);
    if (doubtful) {
        fprintf(c->note, "on other images, %zu more may be among the first %zu (95 %% intervals)\n",
                doubtful, w->top);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* t NULL: FP32's. */
static json_t *values_json(const struct sweep *w, const struct trial *t)
{
    json_t *o = json_object();
    const struct outcome *x;
    for (size_t i = 0; (x = sweep_outcome(w, i)); i++) {
        double v = !t ? sweep_fp32(w, x) : is_partial(w, t) ? NAN : trial_value(t, x);
        json_object_set_new(o, x->name, json_num(v));
    }
    return o;
}

/* A model that was tried: what it achieves and costs. */
json_t *sweep_trial_json(const struct session *s, const struct sweep *w, const struct trial *t)
{
    const struct pins_cost cost = pins_cost(s->fp32, &s->match, s->costs, t->pinned, t->as);
    json_t *o = values_json(w, t);
    json_object_set_new(o, "pins", json_integer((json_int_t)cost.pins));
    json_object_set_new(o, "pin_weights", json_num(cost.weights));
    json_object_set_new(o, "pin_macs", json_num(cost.macs));
    json_object_set_new(o, "images", json_integer((json_int_t)t->n));
    if (t->nonfinite) {
        json_object_set_new(o, "nonfinite", json_integer((json_int_t)t->nonfinite));
    }
    return o;
}

static json_t *row_json(const struct session *s, const struct sweep *w, const struct trial *t)
{
    double lo, hi;
    bool gain = sweep_is_gain(w);
    const struct trial *only = gain ? only_trial(s, t->layer) : t;
    json_t *o = json_object(), *values = sweep_trial_json(s, w, t);
    sweep_interval(w, t, &lo, &hi);
    json_object_set_new(o, "name", json_text(s->match.layers[t->layer].name));
    json_object_set_new(o, "op", json_text(s->match.layers[t->layer].op));
    json_object_set_new(o, "loo_gain", json_num(gain ? sweep_effect(w, t) : NAN));
    json_object_set_new(o, "only_effect",
                        json_num(only ? sweep_effect(gain ? s->only : w, only) : NAN));
    json_object_set_new(o, "low", json_num(lo));
    json_object_set_new(o, "high", json_num(hi));
    json_object_update(o, values);
    json_decref(values);
    json_object_set_new(o, "in_effect", json_boolean(t->in_effect));
    if (t->why) {
        json_object_set_new(o, "why", json_string(t->why));
    }
    if (t->error) {
        json_object_set_new(o, "error", json_text(t->error));
    }
    return o;
}

/* What all reports begin with. */
json_t *sweep_head_json(const struct session *s)
{
    const struct sweep *w = s->sweep;
    json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o}", "kind", sweep_kind_names[w->kind], "metric",
                          w->outcome->name, "images", (json_int_t)(w->base.n - w->failed), "failed",
                          (json_int_t)w->failed, "fp32", values_json(w, NULL), "base",
                          sweep_trial_json(s, w, &w->base));
    json_object_set_new(o, "precision", json_string(sweep_tries(w)->name));
    json_numerics(o, s);
    return o;
}

static void sweep_json(struct call *c, const size_t *order, size_t n)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep, *only = s->only;
    json_t *o = sweep_head_json(s), *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(rows, row_json(s, w, &w->trials[order[i]]));
    }
    json_object_set_new(o, "exact", json_boolean(!w->top));
    json_object_set_new(o, "layers", rows);
    json_object_set_new(o, "within", w->within > 0 ? json_num(w->within) : json_null());
    json_object_set_new(o, "missed", json_num(sweep_missed(w)));
    json_object_set_new(o, "doubtful", json_integer((json_int_t)sweep_doubtful(w, order)));
    json_object_set_new(o, "runs", json_integer((json_int_t)(w->runs + (only ? only->runs : 0))));
    json_object_set_new(o, "seconds", json_num(w->seconds + (only ? only->seconds : 0)));
    emit_json(c, o);
}

/* ---- sweep ---------------------------------------------------------------------------------- */

static void report_sweep(struct call *c)
{
    struct session *s = c->s;
    const struct sweep *w = s->sweep;
    size_t *order = mem_alloc((w->n_trials + 1) * sizeof *order), n = w->n_trials;
    int64_t top = 0;
    sweep_rank(w, order);
    call_int(c, "--top", 0, &top, NULL);
    n = top > 0 ? MIN(n, (size_t)top) : n;
    free(s->listed);
    s->listed = mem_alloc((n + 1) * sizeof *s->listed);
    s->n_listed = n;
    for (size_t i = 0; i < n; i++) {
        s->listed[i] = w->trials[order[i]].layer;
    }
    (s->json ? sweep_json : sweep_text)(c, order, n);
    free(order);
}

int sweep_report(struct call *c, struct err *err)
{
    struct session *s = c->s;
    if (!s->sweep || !s->sweep->base.n) {
        return err_set(err, E_STATE, "nothing has been tried yet: sensitivity, bisect or search");
    }
    if (s->raised) {
        raise_report(c);
    } else if (s->sweep->kind == SWEEP_SEARCH) {
        search_report(c);
    } else {
        report_sweep(c);
    }
    return OK;
}
