/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_sweep.c: sweep, bisect, search, pareto: which layers matter, asked by trying them.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/sweep_run.h"

/* ---- What is asked for ---------------------------------------------------------------------- */

/* What changes are judged by: the SQNR changes with every bit; a drop is one of accuracy. */
static const struct outcome *choose_outcome(const struct call *c)
{
    const char *name = call_opt(c, "--metric");
    const struct session *s = c->s;
    bool labelled = false;
    for (size_t i = 0; i < s->data.n && !labelled; i++) {
        labelled = s->data.samples[i].label >= 0;
    }
    if (name || !call_opt(c, "--max-drop")) {
        return outcome_find(name ? name : "sqnr");
    }
    return outcome_find(!s->classify ? "cosine" : labelled ? "top1" : "agreement");
}

static int read_limit(const struct call *c, struct goal *g, bool *has, struct err *err)
{
    const char *drop = call_opt(c, "--max-drop"), *reach = call_opt(c, "--reach");
    if (drop && reach) {
        return err_set(err, E_USAGE, "--max-drop or --reach, not both");
    }
    *has = drop || reach;
    g->is_drop = drop != NULL;
    g->limit = *has ? strtod(drop ? drop : reach, NULL) : NAN;
    if (drop && strcmp(g->outcome->name, "sqnr") == 0) {
        return err_set(err, E_USAGE,
                       "FP32 has no error, so every drop of its SQNR is infinite: "
                       "say --reach DB");
    }
    return drop && !(g->limit >= 0)
               ? err_set(err, E_USAGE, "--max-drop is at least 0, found '%s'", drop)
               : OK;
}

static int read_count(const struct call *c, const char *name, size_t dflt, size_t *out,
                      struct err *err)
{
    int64_t v;
    int rc = call_int(c, name, (int64_t)dflt, &v, err);
    if (!rc && v < 1 && call_opt(c, name)) {
        rc = err_set(err, E_USAGE, "%s is at least 1, found %lld", name, (long long)v);
    }
    *out = rc ? 0 : (size_t)v;
    return rc;
}

/* The rows that LAYER words stand for; NULL when there are none. */
static int read_rows(struct call *c, size_t first, bool **rows, struct err *err)
{
    struct session *s = c->s;
    size_t n, *list;
    *rows = NULL;
    if (c->n_args <= first) {
        return OK;
    }
    int rc = layer_lists(s, c->n_args - first, c->args + first, &n, &list, err);
    if (rc) {
        return rc;
    }
    *rows = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < n; i++) {
        (*rows)[list[i]] = true;
    }
    free(list);
    return OK;
}

static int read_choice(struct call *c, enum sweep_kind kind, struct sweep_choice *x,
                       struct err *err)
{
    struct session *s = c->s;
    size_t images = MAX(s->data.n, (size_t)1), jobs = 1;
    *x = (struct sweep_choice){.kind = kind, .goal.outcome = choose_outcome(c)};
    x->race = call_opt(c, "--progressive") != NULL;
    x->brute = call_opt(c, "--brute") != NULL;
    int rc = read_limit(c, &x->goal, &x->has_limit, err);
    rc = rc ? rc : read_count(c, "--images", images, &x->n_images, err);
    rc = rc ? rc : read_count(c, "--top", 8, &x->top, err);
    rc = rc ? rc : read_count(c, "--jobs", (size_t)s->set.jobs, &jobs, err);
    rc = rc ? rc : read_count(c, "--max-pins", 0, &x->max_pins, err);
    if (!rc && jobs > 256) {
        rc = err_set(err, E_USAGE, "--jobs is 1 to 256, found %zu", jobs);
    }
    if (!rc && x->race && (x->brute || call_opt(c, "--exact"))) {
        rc = err_set(err, E_USAGE, "--progressive, --exact and --brute exclude each other");
    }
    if (!rc && gaps_block_output(s)) {
        rc = err_set(err, E_UNSUPPORTED, "the outputs cannot be computed: 'info' says why");
    }
    if (!rc && !s->match.n_outputs) {
        rc = err_set(err, E_UNSUPPORTED, "the models have no outputs to compare");
    }
    x->n_images = MIN(x->n_images, images);
    x->jobs = (int)jobs;
    return rc;
}

/* ---- Text ----------------------------------------------------------------------------------- */

/* A value in a column: "12.34", "exact", "n/a". */
static const char *value_text(char dst[32], const struct outcome *o, double v, bool sign)
{
    if (isnan(v)) {
        snprintf(dst, 32, "n/a");
    } else if (isinf(v)) {
        snprintf(dst, 32, v > 0 ? "exact" : "-inf");
    } else if (v != 0 && fabs(v) < 0.5 * pow(10, -o->digits)) {
        snprintf(dst, 32, sign ? "%+.1e" : "%.1e", v);
    } else {
        snprintf(dst, 32, sign ? "%+.*f" : "%.*f", o->digits, v);
    }
    return dst;
}

static const char *const kind_names[] = {
    [SWEEP_LOO] = "loo",       [SWEEP_ONLY] = "only",     [SWEEP_PREFIX] = "prefix",
    [SWEEP_BISECT] = "bisect", [SWEEP_SEARCH] = "search",
};

/* Columns beside the chosen outcome: those that say something here. */
static bool is_shown(const struct sweep *w, const struct outcome *o)
{
    bool usual = strcmp(o->name, "top1") == 0 || strcmp(o->name, "agreement") == 0 ||
                 strcmp(o->name, "sqnr") == 0;
    return o == w->outcome || (usual && w->base.sums[o - outcomes][1] > 0);
}

static void print_model(FILE *out, const struct sweep *w, const char *name, const struct trial *t)
{
    char text[32];
    fprintf(out, "%s:", name);
    for (const struct outcome *o = outcomes; o->name; o++) {
        if (is_shown(w, o)) {
            double v = t ? trial_value(t, o) : sweep_fp32(w, o);
            const char *unit = isfinite(v) ? o->unit : "";
            fprintf(out, "  %s %s%s%s", o->name, value_text(text, o, v, false), *unit ? " " : "",
                    unit);
        }
    }
    fputc('\n', out);
}

/* Position, pin, name and operator of a layer. */
static void print_layer(const struct session *s, FILE *out, size_t row, size_t layer)
{
    char label[64];
    int w = session_layer_short(s, layer, label, sizeof label, 34);
    fprintf(out, "%4zu %c %s%*s %-10.10s", row, session_pinned(s, layer) ? '*' : '.', label, 34 - w,
            "", s->match.layers[layer].op);
}

static void print_values(FILE *out, const struct sweep *w, const struct trial *t)
{
    char text[32];
    for (const struct outcome *o = outcomes; o->name; o++) {
        if (is_shown(w, o)) {
            fprintf(out, " %9s", t ? value_text(text, o, trial_value(t, o), false) : o->title);
        }
    }
}

/* Of prefixes, which add up: what a layer does beside the row before it. */
static double prefix_step(const struct sweep *w, const struct trial *t, const struct trial *before)
{
    double x = trial_value(t, w->outcome);
    double y = before ? trial_value(before, w->outcome) : sweep_fp32(w, w->outcome);
    return x - y;
}

static void print_row(const struct session *s, FILE *out, const struct sweep *w, size_t row,
                      const struct trial *t, const struct trial *before)
{
    char text[32];
    double low, high;
    const struct outcome *o = w->outcome;
    print_layer(s, out, row, t->layer);
    if (t->error || !t->n) {
        fprintf(out, " %s\n", t->error ? t->error : "not measured");
        return;
    }
    if (sweep_is_gain(w)) {
        fprintf(out, " %9s", value_text(text, o, sweep_effect(w, t), true));
    } else if (w->kind == SWEEP_PREFIX) {
        fprintf(out, " %9s", value_text(text, o, prefix_step(w, t, before), true));
    }
    if (w->kind != SWEEP_PREFIX) {
        sweep_interval(w, t, &low, &high);
        fprintf(out, " %9s", value_text(text, o, low, sweep_is_gain(w)));
        fprintf(out, " %9s", value_text(text, o, high, sweep_is_gain(w)));
    }
    print_values(out, w, t);
    fprintf(out, " %6zu%s%s\n", t->n,
            t->in_effect ? "" : "  pin NOT in effect: ", t->in_effect || !t->why ? "" : t->why);
}

static void print_head(FILE *out, const struct sweep *w)
{
    static const char *const titles[] = {
        [SWEEP_LOO] = "each layer alone back in FP32: gain",
        [SWEEP_ONLY] = "each layer alone in INT8:",
        [SWEEP_PREFIX] = "layers in INT8 up to each one: step",
    };
    fprintf(out, "%s %s%s%s%s%s on %zu images\n", titles[w->kind],
            w->kind == SWEEP_ONLY ? "" : "in ", w->outcome->name, *w->outcome->unit ? " (" : "",
            w->outcome->unit, *w->outcome->unit ? ")" : "", w->base.n - w->failed);
    print_model(out, w, "FP32", NULL);
    print_model(out, w, w->kind == SWEEP_ONLY ? "nothing in INT8" : "INT8", &w->base);
    fprintf(out, "%4s %c %-34s %-10s", "#", 'P', "LAYER", "OP");
    if (w->kind != SWEEP_ONLY) {
        fprintf(out, " %9s", w->kind == SWEEP_PREFIX ? "STEP" : "GAIN");
    }
    if (w->kind != SWEEP_PREFIX) {
        fprintf(out, " %9s %9s", "95% LOW", "HIGH");
    }
    print_values(out, w, NULL);
    fprintf(out, " %6s\n", "IMAGES");
}

static void sweep_text(struct call *c, const size_t *order, size_t n, size_t top)
{
    const struct sweep *w = c->s->sweep;
    print_head(c->out, w);
    for (size_t i = 0; i < n; i++) {
        print_row(c->s, c->out, w, i + 1, &w->trials[order[i]],
                  i ? &w->trials[order[i - 1]] : NULL);
    }
    size_t doubtful = w->kind == SWEEP_PREFIX ? 0 : sweep_doubtful(w, order, top);
    if (doubtful) {
        fprintf(c->note, "%zu more may belong to the first %zu (95 %% intervals)\n", doubtful, top);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *values_json(const struct sweep *w, const struct trial *t)
{
    json_t *o = json_object();
    for (const struct outcome *x = outcomes; x->name; x++) {
        json_object_set_new(o, x->name, json_num(t ? trial_value(t, x) : sweep_fp32(w, x)));
    }
    return o;
}

static struct layer_cost pins_cost(const struct session *s, const bool *pinned, size_t *pins)
{
    struct layer_cost sum = {0};
    *pins = 0;
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (pinned[k]) {
            struct layer_cost one = layer_cost(s->fp32, &s->match, k);
            sum.weights += one.weights;
            sum.macs += one.macs;
            ++*pins;
        }
    }
    return sum;
}

/* A model that was tried: what it achieves and costs. */
static json_t *trial_json(const struct session *s, const struct sweep *w, const struct trial *t)
{
    size_t pins;
    struct layer_cost cost = pins_cost(s, t->pinned, &pins);
    json_t *o = values_json(w, t);
    json_object_set_new(o, "pins", json_integer((json_int_t)pins));
    json_object_set_new(o, "fp32_weights", json_num(cost.weights));
    json_object_set_new(o, "fp32_macs", json_num(cost.macs));
    json_object_set_new(o, "images", json_integer((json_int_t)t->n));
    if (t->nonfinite) {
        json_object_set_new(o, "nonfinite", json_integer((json_int_t)t->nonfinite));
    }
    return o;
}

static json_t *row_json(const struct session *s, const struct sweep *w, const struct trial *t)
{
    double lo, hi;
    json_t *o = trial_json(s, w, t);
    sweep_interval(w, t, &lo, &hi);
    json_object_set_new(o, "layer", json_text(s->match.layers[t->layer].name));
    json_object_set_new(o, "op", json_text(s->match.layers[t->layer].op));
    if (sweep_is_gain(w)) {
        json_object_set_new(o, "gain", json_num(sweep_effect(w, t)));
    }
    json_object_set_new(o, "low", json_num(lo));
    json_object_set_new(o, "high", json_num(hi));
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
static json_t *head_json(const struct session *s)
{
    const struct sweep *w = s->sweep;
    json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o}", "kind", kind_names[w->kind], "metric",
                          w->outcome->name, "images", (json_int_t)(w->base.n - w->failed), "failed",
                          (json_int_t)w->failed, "fp32", values_json(w, NULL), "base",
                          trial_json(s, w, &w->base));
    json_numerics(o, s);
    return o;
}

static void sweep_json(struct call *c, const size_t *order, size_t n, size_t top)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    json_t *o = head_json(s), *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(rows, row_json(s, w, &w->trials[order[i]]));
    }
    json_object_set_new(o, "rows", rows);
    json_object_set_new(o, "doubtful", json_integer((json_int_t)sweep_doubtful(w, order, top)));
    emit_json(c, o);
}

/* ---- sweep ---------------------------------------------------------------------------------- */

/* Prints the rows, and makes them what @1, @2 stand for. */
static void report_sweep(struct call *c, size_t top)
{
    struct session *s = c->s;
    const struct sweep *w = s->sweep;
    size_t *order = mem_alloc((w->n_trials + 1) * sizeof *order), n = w->n_trials;
    sweep_rank(w, order);
    n = call_opt(c, "--top") ? MIN(n, top) : n;
    free(s->listed);
    s->listed = mem_alloc((n + 1) * sizeof *s->listed);
    s->n_listed = n;
    for (size_t i = 0; i < n; i++) {
        s->listed[i] = w->trials[order[i]].layer;
    }
    (s->json ? sweep_json : sweep_text)(c, order, n, top);
    free(order);
}

/* Whether the last sweep is of these kinds. */
static bool has_sweep(const struct session *s, enum sweep_kind first, enum sweep_kind last)
{
    return s->sweep && s->sweep->kind >= first && s->sweep->kind <= last;
}

static int exec_sweep(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool *rows = NULL, background = s->screen || c->background;
    enum sweep_kind kind = SWEEP_LOO;
    int rc = read_choice(c, kind, &x, err);
    if (rc) {
        return rc;
    }
    if (strcmp(c->args[0], "show") == 0) {
        if (!has_sweep(s, SWEEP_LOO, SWEEP_PREFIX)) {
            return err_set(err, E_STATE, "no sweep has been made yet");
        }
        report_sweep(c, x.top);
        return OK;
    }
    while (strcmp(kind_names[kind], c->args[0]) != 0) {
        kind++;
    }
    x.kind = kind;
    if (kind == SWEEP_PREFIX && x.race) {
        return err_set(err, E_USAGE, "prefixes are not ranked: --progressive has no meaning");
    }
    rc = read_rows(c, 1, &rows, err);
    x.rows = rows;
    rc = rc ? rc : sweep_start(s, &x, background, s->json ? NULL : c->note, err);
    free(rows);
    if (background) {
        if (!rc) {
            fprintf(c->note, "sweep #%d started on %zu images\n", s->job.id, x.n_images);
        }
        return rc;
    }
    /* What is done is kept and reported, also after ^C. */
    if (s->sweep && s->sweep->base.n && (!rc || rc == E_STOP)) {
        report_sweep(c, x.top);
    }
    return rc;
}

/* ---- bisect --------------------------------------------------------------------------------- */

static void report_bisect(struct call *c)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    if (s->json) {
        json_t *o = head_json(s), *tried = json_array();
        for (size_t i = 0; i < w->n_trials; i++) {
            json_array_append_new(tried, trial_json(s, w, &w->trials[i]));
        }
        json_object_set_new(o, "layer",
                            s->bisected == SIZE_MAX ? json_null()
                                                    : json_text(s->match.layers[s->bisected].name));
        json_object_set_new(o, "tried", tried);
        emit_json(c, o);
        return;
    }
    for (size_t i = 0; i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        char *name = t->layer == SIZE_MAX
                         ? mem_dup("nothing in INT8")
                         : mem_printf("in INT8 up to %s", session_layer_label(s, t->layer));
        print_model(c->out, w, name, t);
        free(name);
    }
    if (s->bisected == SIZE_MAX) {
        fprintf(c->out, "the limit is kept with every layer in INT8\n");
    } else {
        fprintf(c->out, "%s is the layer at which the limit breaks\n",
                session_layer_label(s, s->bisected));
    }
}

static int exec_bisect(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool background = s->screen || c->background;
    int rc = read_choice(c, SWEEP_BISECT, &x, err);
    if (!rc && !x.has_limit) {
        rc = err_set(err, E_USAGE, "'bisect' wants a limit: --max-drop X or --reach X");
    }
    rc = rc ? rc : sweep_start(s, &x, background, s->json ? NULL : c->note, err);
    if (!rc && background) {
        fprintf(c->note, "bisect #%d started on %zu images\n", s->job.id, x.n_images);
    } else if (!rc) {
        report_bisect(c);
    }
    return rc;
}

/* ---- search, pareto ------------------------------------------------------------------------- */

static void print_step(const struct session *s, FILE *out, size_t i)
{
    const struct search_step *x = &s->search->steps[i];
    char text[32];
    fprintf(out, "%4zu %4zu %c%-34.34s", i, x->pins,
            x->layer == SIZE_MAX ? ' '
            : x->pinned          ? '+'
                                 : '-',
            x->layer == SIZE_MAX ? "start" : session_layer_label(s, x->layer));
    for (const struct outcome *o = outcomes; o->name; o++) {
        if (is_shown(s->sweep, o)) {
            fprintf(out, " %9s", value_text(text, o, x->value[o - outcomes], false));
        }
    }
    fprintf(out, " %9.3f %9.3f\n", x->cost.weights / 1e6, x->cost.macs / 1e6);
}

static json_t *step_json(const struct session *s, const struct search_step *x)
{
    json_t *o = json_object();
    for (size_t k = 0; k < N_OUTCOMES; k++) {
        json_object_set_new(o, outcomes[k].name, json_num(x->value[k]));
    }
    json_object_set_new(
        o, "layer", x->layer == SIZE_MAX ? json_null() : json_text(s->match.layers[x->layer].name));
    json_object_set_new(o, "pinned", json_boolean(x->pinned));
    json_object_set_new(o, "pins", json_integer((json_int_t)x->pins));
    json_object_set_new(o, "fp32_weights", json_num(x->cost.weights));
    json_object_set_new(o, "fp32_macs", json_num(x->cost.macs));
    return o;
}

static void report_search(struct call *c)
{
    const struct session *s = c->s;
    const struct search *q = s->search;
    if (s->json) {
        json_t *o = head_json(s), *steps = json_array(), *layers = json_array();
        for (size_t i = 0; i < q->n_steps; i++) {
            json_array_append_new(steps, step_json(s, &q->steps[i]));
        }
        for (size_t k = 0; k < s->match.n_layers; k++) {
            if (s->sweep->base.pinned[k]) {
                json_array_append_new(layers, json_text(s->match.layers[k].name));
            }
        }
        json_object_set_new(o, "layers", layers);
        json_object_set_new(o, "steps", steps);
        emit_json(c, o);
        return;
    }
    fprintf(c->out, "%4s %4s  %-34s", "STEP", "PINS", "LAYER");
    print_values(c->out, s->sweep, NULL);
    fprintf(c->out, " %9s %9s\n", "FP32 MB", "M MACS");
    for (size_t i = 0; i < q->n_steps; i++) {
        print_step(s, c->out, i);
    }
}

static int exec_search(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool *rows = NULL, background = s->screen || c->background;
    int rc = read_choice(c, SWEEP_SEARCH, &x, err);
    if (!rc && !x.has_limit && !x.max_pins) {
        rc =
            err_set(err, E_USAGE, "'search' wants an end: --max-drop X, --reach X or --max-pins N");
    }
    rc = rc ? rc : read_rows(c, 0, &rows, err);
    x.rows = rows;
    rc = rc ? rc : search_start(s, &x, background, s->json ? NULL : c->note, err);
    free(rows);
    if (!rc && background) {
        fprintf(c->note, "search #%d started on %zu images\n", s->job.id, x.n_images);
    } else if (!background && s->search && s->search->n_steps &&
               (!rc || rc == E_STOP || rc == E_CHECK)) {
        report_search(c);
    }
    return rc;
}

static void print_point(const struct session *s, FILE *out, const struct trial *t)
{
    size_t pins;
    struct layer_cost cost = pins_cost(s, t->pinned, &pins);
    fprintf(out, "%4zu", pins);
    print_values(out, s->sweep, t);
    fprintf(out, " %9.3f %9.3f ", cost.weights / 1e6, cost.macs / 1e6);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (t->pinned[k]) {
            fprintf(out, " %s", session_layer_label(s, k));
        }
    }
    fputc('\n', out);
}

static int exec_pareto(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    if (!w) {
        return err_set(err, E_STATE, "nothing has been tried yet: search or sweep");
    }
    const struct trial **points = mem_alloc((w->n_trials + 2) * sizeof(struct trial *));
    size_t n = sweep_pareto(w, points);
    if (s->json) {
        json_t *o = head_json(s), *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_t *x = trial_json(s, w, points[i]), *layers = json_array();
            for (size_t k = 0; k < s->match.n_layers; k++) {
                if (points[i]->pinned[k]) {
                    json_array_append_new(layers, json_text(s->match.layers[k].name));
                }
            }
            json_object_set_new(x, "layers", layers);
            json_array_append_new(list, x);
        }
        json_object_set_new(o, "points", list);
        emit_json(c, o);
    } else {
        fprintf(c->out, "%4s", "PINS");
        print_values(c->out, w, NULL);
        fprintf(c->out, " %9s %9s  %s\n", "FP32 MB", "M MACS", "LAYERS");
        for (size_t i = 0; i < n; i++) {
            print_point(s, c->out, points[i]);
        }
    }
    free(points);
    return OK;
}

static int exec_outcomes(struct call *c, struct err *err)
{
    (void)err;
    json_t *list = json_array();
    for (const struct outcome *o = outcomes; o->name; o++) {
        if (c->s->json) {
            json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s,s:s}", "name", o->name, "unit",
                                                  o->unit, "higher_is_better", o->higher_is_better,
                                                  "help", o->help, "formula", o->formula));
        } else {
            fprintf(c->out, "%-16s %-4s %s\n%21s %s\n", o->name, o->unit, o->help, "", o->formula);
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "outcomes", list));
    }
    json_decref(list);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define METRIC_OPT                                                                                 \
    {                                                                                              \
        "--metric", ARG_OUTCOME, "METRIC", "what the outputs are judged by (outcomes lists them)", \
            NULL                                                                                   \
    }
#define IMAGES_OPT                                                                                 \
    {                                                                                              \
        "--images", ARG_INT, "N", "only the first N of the data set", NULL                         \
    }
#define JOBS_OPT                                                                                   \
    {                                                                                              \
        "--jobs", ARG_INT, "N", "threads", NULL                                                    \
    }

static const struct opt_spec sweep_opts[] = {
    METRIC_OPT,
    IMAGES_OPT,
    {"--top", ARG_INT, "K", "rows to show; places that --progressive makes exact (8)", NULL},
    {"--exact", ARG_FLAG, NULL, "all layers on all images (the default)", NULL},
    {"--progressive", ARG_FLAG, NULL, "few images for all layers, all images for the first K",
     NULL},
    {"--brute", ARG_FLAG, NULL, "every model whole and by itself, for comparison", NULL},
    JOBS_OPT,
    {0},
};

static const struct opt_spec bisect_opts[] = {
    {"--max-drop", ARG_REAL, "X", "how much worse than FP32 is still good", NULL},
    {"--reach", ARG_REAL, "X", "the value that is still good", NULL},
    METRIC_OPT,
    IMAGES_OPT,
    JOBS_OPT,
    {0},
};

static const struct opt_spec search_opts[] = {
    {"--max-drop", ARG_REAL, "X", "stop when at most so much worse than FP32", NULL},
    {"--reach", ARG_REAL, "X", "stop at this value", NULL},
    {"--max-pins", ARG_INT, "N", "pin at most N layers more", NULL},
    METRIC_OPT,
    IMAGES_OPT,
    JOBS_OPT,
    {0},
};

const struct cmd cmd_sweep[] = {
    {
        .name = "sweep",
        .group = "pins",
        .help = "try every layer: loo alone in FP32, only alone in INT8, prefix up to it in INT8",
        .detail =
            "Each layer gives a model of its own, which is run on the images and judged by its "
            "outputs. loo puts one more layer of the model in force back to FP32, only quantizes "
            "one layer of an otherwise FP32 model, prefix quantizes the layers up to one. Models "
            "run only what differs from the model they come from, with the same bits as when they "
            "run whole. Gains have 95 % intervals over images like these. With --progressive all "
            "layers see 2 images, the better half 4, and so on; only those that may belong to the "
            "first K see all. show prints the last sweep again. @1 is then its first row.",
        .example = "sweep loo --images 4 --top 5",
        .needs = NEED_PAIR | NEED_DATA,
        .args = {{"loo|only|prefix|show", ARG_CHOICE, "loo|only|prefix|show", false, false},
                 {"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = sweep_opts,
        .exec = exec_sweep,
    },
    {
        .name = "bisect",
        .group = "pins",
        .help = "find the layer in network order at which quantization breaks a limit",
        .detail =
            "Halves the network again and again: layers in front in INT8, the others in FP32. "
            "Takes about log2 of the number of layers runs over the images. Where the loss "
            "does not grow layer by layer it finds one place of several.",
        .example = "bisect --reach 20 --images 4",
        .needs = NEED_PAIR | NEED_DATA,
        .opts = bisect_opts,
        .exec = exec_bisect,
    },
    {
        .name = "search",
        .group = "pins",
        .help = "find few layers to pin so that a limit is kept, and pin them",
        .detail =
            "Starts from the pins in force. Ranks all layers once, pins the one that gains most, "
            "measures the next ones again, and so on until the limit is kept; then takes back what "
            "is not needed. The model found is run once more by itself. Its pins are one step for "
            "undo. With LAYER words only those may be pinned. Without --metric, --max-drop is in "
            "points of accuracy, --reach in dB of the SQNR of the outputs.",
        .example = "search --max-drop 5 --images 24",
        .needs = NEED_PAIR | NEED_DATA,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = search_opts,
        .exec = exec_search,
    },
    {
        .name = "pareto",
        .group = "pins",
        .help = "of the models tried last, those that no other beats with as few pins",
        .detail = "After a search or a sweep: number of pins against what was to be improved, with "
                  "the FP32 weights and multiplications that they cost.",
        .example = "sweep loo --images 2 ; pareto",
        .needs = NEED_PAIR,
        .exec = exec_pareto,
    },
    {
        .name = "outcomes",
        .group = "pins",
        .help = "what sweeps, searches and evaluate judge the outputs of a model by",
        .example = "outcomes",
        .exec = exec_outcomes,
    },
    {0},
};
