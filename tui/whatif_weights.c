/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * whatif_weights.c: whatif --weights, --correct-bias, --equalize: what other codes of weights,
 * other biases and equal channels would be, and putting them in force.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/observe.h"
#include "tui/whatif.h"

/* ---- What all have in common ---------------------------------------------------------------- */

int whatif_needs_run(struct call *c, struct err *err)
{
    return c->s->study && c->s->study->n_images
               ? OK
               : err_set(err, E_STATE, "what was seen of these layers is not known: run");
}

int whatif_layers(struct call *c, size_t *n, size_t **layers, struct err *err)
{
    static char every[] = "*";
    static char *all[] = {every};
    return layer_lists(c->s, c->n_args ? c->n_args : 1, c->n_args ? c->args : all, n, layers, err);
}

/* The command as it was given. */
static char *label_of(const struct call *c)
{
    char *label = cmd_join(c->cmd->name, c->n_args, c->args);
    for (size_t i = 0; i < c->n_opts; i++) {
        char *words[] = {c->opts[i].value};
        char *more = mem_printf("%s %s", label, c->opts[i].spec->name);
        free(label);
        label = c->opts[i].value ? cmd_join(more, 1, words) : mem_dup(more);
        free(more);
    }
    return label;
}

static json_t *units_json(const char *what)
{
    static const struct {
        const char *what, *figure, *unit;
    } units[] = {
        {"ranges", "sqnr_estimated", "dB, of rounding and clipping the activation alone"},
        {"ranges", "sqnr_measured", "dB, of the activation in the last run"},
        {"ranges", "weight_sqnr", "dB, of the codes of the weights, exact"},
        {"weights", "weight_sqnr", "dB, of the codes of the weights, exact"},
        {"weights", "sqnr_measured", "dB, of the activation in the last run"},
        {"bias", "shift_largest_estimated", "real value of the sums"},
        {"bias", "shift_rms_estimated", "real value of the sums"},
        {"bias", "step", "real value of a code of the activation"},
        {"bias", "sqnr_measured", "dB, of the activation in the last run"},
        {"equalize", "spread_now", "largest by median range of a channel of the weights, exact"},
        {"equalize", "spread_then", "largest by median range of a channel of the weights, exact"},
        {"rescale", "differ_share_measured", "%"},
        {"rescale", "largest_measured", "codes"},
        {"rescale", "requantization_sqnr_measured", "dB, of codes against the real sums"},
        {"rescale", "rescale_sqnr_measured", "dB, of codes against the real sums"},
    };
    json_t *o = json_object();
    for (size_t i = 0; i < COUNT(units); i++) {
        if (strcmp(units[i].what, what) == 0) {
            json_object_set_new(o, units[i].figure, json_string(units[i].unit));
        }
    }
    return o;
}

int whatif_end(struct call *c, struct whatif_answer *a, size_t n, struct err *err)
{
    struct session *s = c->s;
    bool apply = call_opt(c, "--apply") != NULL;
    size_t images = s->study ? s->study->n_images - s->study->failed : 0;
    char *label = label_of(c), did[200];
    edits_text(&a->made, did, sizeof did);
    json_t *told = apply ? json_string(did) : json_null();
    int rc = apply ? session_apply(s, a->made, label, err) : OK;
    if (!apply) {
        edits_fini(&a->made);
    }
    free(label);
    if (!rc && s->json) {
        json_t *o = json_pack("{s:s,s:O,s:b,s:o,s:I,s:o}", "what", a->what, "layers", a->rows,
                              "applied", apply, "edits", json_incref(told), "images",
                              (json_int_t)images, "units", units_json(a->what));
        json_object_update(o, a->more);
        emit_json(c, o);
    } else if (!rc && apply) {
        fprintf(c->out, "applied to %zu layer%s: %s (run again to measure)\n", n, n == 1 ? "" : "s",
                did);
    }
    json_decref(told);
    json_decref(a->rows);
    json_decref(a->more);
    return rc;
}

static double measured(const struct session *s, size_t layer)
{
    return layer_metric(s, layer, metric_find("sqnr"));
}

/* Of the layers those with weights on both sides; none is an error. */
static int keep_weighted(const struct whatif *w, size_t *n, size_t *layers, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        if (whatif_has_weights(w, layers[i])) {
            layers[kept++] = layers[i];
        }
    }
    *n = kept;
    return kept ? OK
                : err_set(err, E_STATE,
                          "none of these layers has constant weights as codes in "
                          "the INT8 model and as floats in the FP32 one");
}

/* Models and layers of a question about weights. */
struct weighted {
    struct whatif w;
    size_t n, *layers;
};

static void weighted_close(struct weighted *x)
{
    whatif_close(&x->w);
    free(x->layers);
}

static int weighted_open(struct call *c, struct weighted *x, struct err *err)
{
    struct session *s = c->s;
    *x = (struct weighted){0};
    int rc = whatif_layers(c, &x->n, &x->layers, err);
    if (rc) {
        return rc;
    }
    rc = whatif_open(s->fp32, s->int8, &s->match, &x->w, err);
    rc = rc ? rc : keep_weighted(&x->w, &x->n, x->layers, err);
    if (rc) {
        weighted_close(x);
    }
    return rc;
}

/* ---- --weights ------------------------------------------------------------------------------ */

struct wanted {
    enum dtype type; /* DT_NONE: as it is */
    bool symmetric, asymmetric, per_channel, per_tensor, least_error, power_of_two;
};

static int read_wanted(const struct call *c, struct wanted *x, struct err *err)
{
    *x = (struct wanted){.type = type_word(call_opt(c, "--weights"), DT_NONE),
                         .symmetric = call_opt(c, "--symmetric") != NULL,
                         .asymmetric = call_opt(c, "--asymmetric") != NULL,
                         .per_channel = call_opt(c, "--per-channel") != NULL,
                         .per_tensor = call_opt(c, "--per-tensor") != NULL,
                         .least_error = call_opt(c, "--least-error") != NULL,
                         .power_of_two = call_opt(c, "--power-of-two") != NULL};
    if (x->symmetric && x->asymmetric) {
        return err_set(err, E_USAGE, "--symmetric or --asymmetric, not both");
    }
    if (x->per_channel && x->per_tensor) {
        return err_set(err, E_USAGE, "--per-channel or --per-tensor, not both");
    }
    return x->per_channel && x->asymmetric
               ? err_set(err, E_USAGE, "weights per channel have their zero points in the middle")
               : OK;
}

/* What is kept of the present codes, what is another. */
static struct weights_now wanted_codes(const struct wanted *x, const struct weights_now *now)
{
    struct weights_now to = *now;
    bool other = x->type != DT_NONE && x->type != now->codes.dtype;
    bool is_signed = x->type == DT_S8 || x->type == DT_S4 || x->type == DT_S16;
    to.codes.dtype = x->type ? x->type : now->codes.dtype;
    to.codes.symmetric =
        x->symmetric || (!x->asymmetric && (other ? is_signed : to.codes.symmetric));
    to.codes.power_of_two = x->power_of_two;
    to.per_channel = x->per_channel || (!x->per_tensor && now->per_channel);
    return to;
}

static json_t *codes_json(const struct weights_now *x)
{
    return json_pack("{s:s,s:b,s:b,s:o}", "codes", dtype_name(x->codes.dtype), "per_channel",
                     x->per_channel, "symmetric", x->codes.symmetric || x->per_channel,
                     "weight_sqnr", json_num(x->sqnr));
}

static void codes_text(const struct weights_now *x, char *dst, size_t size)
{
    snprintf(dst, size, "%s per %s%s, %.2f dB", dtype_name(x->codes.dtype),
             x->per_channel ? "channel" : "tensor",
             x->codes.symmetric || x->per_channel ? "" : " asymmetric", x->sqnr);
}

static int recode_layer(struct call *c, const struct wanted *x, const struct whatif *w,
                        size_t layer, struct whatif_answer *a, struct err *err)
{
    struct weights_now now, to;
    int rc = whatif_weights_now(w, layer, &now, err);
    if (rc) {
        return rc;
    }
    to = wanted_codes(x, &now);
    to.sqnr = whatif_weights_sqnr(w, layer, &to.codes, to.per_channel, x->least_error);
    if (call_opt(c, "--apply")) {
        edits_add(&a->made, whatif_weights(w, layer, &to.codes, to.per_channel, x->least_error));
    }
    if (c->s->json) {
        json_array_append_new(a->rows,
                              json_pack("{s:o,s:o,s:o,s:o,s:b}", "name",
                                        json_text(c->s->match.layers[layer].name), "sqnr_measured",
                                        json_num(measured(c->s, layer)), "now", codes_json(&now),
                                        "then", codes_json(&to), "least_error", x->least_error));
        return OK;
    }
    char before[96], after[96];
    codes_text(&now, before, sizeof before);
    codes_text(&to, after, sizeof after);
    fprintf(c->out, "%s: weights %s; would be %s%s\n", session_layer_label(c->s, layer), before,
            after, x->least_error ? ", scales of least error" : "");
    return OK;
}

int whatif_weights_codes(struct call *c, struct err *err)
{
    struct weighted x;
    struct wanted want;
    struct whatif_answer a = {.what = "weights"};
    int rc = read_wanted(c, &want, err);
    rc = rc ? rc : weighted_open(c, &x, err);
    if (rc) {
        return rc;
    }
    a.rows = json_array();
    for (size_t i = 0; i < x.n && !rc; i++) {
        rc = recode_layer(c, &want, &x.w, x.layers[i], &a, err);
    }
    if (rc) {
        json_decref(a.rows);
        edits_fini(&a.made);
    } else {
        rc = whatif_end(c, &a, x.n, err);
    }
    weighted_close(&x);
    return rc;
}

/* ---- --correct-bias ------------------------------------------------------------------------- */

static int means_body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    return observing_run(ctx, err);
}

static void means_summary(const struct session *s, char *dst, size_t size)
{
    (void)s;
    snprintf(dst, size, "means of channels known");
}

static const struct job_kind means_kind = {
    .what = "whatif",
    .unit = "images",
    .short_unit = "img",
    .body = means_body,
    .summary = means_summary,
};

/* The means of all channels in FP32 over the images of the last run. What is begun is the
   caller's to free, whether it came to an end or not. */
static int observe_means(struct call *c, struct observing **out, struct err *err)
{
    struct session *s = c->s;
    job_replace(s);
    int rc = observing_new(s, NULL, 0, out, err);
    if (rc) {
        return rc;
    }
    if (s->n_ran) {
        observing_only(*out, s->n_ran, s->ran);
    }
    (*out)->channels = true;
    return job_start(s, &means_kind, *out, (*out)->n, false, s->json ? NULL : c->note, err);
}

static int correct_layer(struct call *c, const struct whatif *w, const struct observation *seen,
                         size_t layer, struct whatif_answer *a, struct err *err)
{
    struct edit change;
    struct bias_shift shift;
    int rc = whatif_bias(w, layer, seen, &change, &shift, err);
    if (rc) {
        return rc;
    }
    edits_add(&a->made, change);
    const struct quant *q = &c->s->match.layers[layer].q;
    double step = c->s->match.layers[layer].quantized && q->n == 1 ? (double)q->scale[0] : NAN;
    if (c->s->json) {
        json_array_append_new(a->rows,
                              json_pack("{s:o,s:o,s:o,s:o,s:o}", "name",
                                        json_text(c->s->match.layers[layer].name), "sqnr_measured",
                                        json_num(measured(c->s, layer)), "shift_largest_estimated",
                                        json_num(shift.largest), "shift_rms_estimated",
                                        json_num(shift.rms), "step", json_num(step)));
    } else {
        fprintf(c->out,
                "%s: rounding the weights shifts the means of its channels by %g at most, %g rms "
                "(estimated; a step of its codes is %g)\n",
                session_layer_label(c->s, layer), shift.largest, shift.rms, step);
    }
    return OK;
}

int whatif_correct_bias(struct call *c, struct err *err)
{
    struct weighted x;
    struct observing *o = NULL;
    struct whatif_answer a = {.what = "bias"};
    size_t done = 0;
    int rc = weighted_open(c, &x, err);
    if (rc) {
        return rc;
    }
    rc = observe_means(c, &o, err);
    a.rows = json_array();
    for (size_t i = 0; i < x.n && !rc; i++) {
        struct err why = {0};
        if (correct_layer(c, &x.w, o->seen, x.layers[i], &a, &why) == OK) {
            done++;
        } else if (x.n == 1) {
            rc = err_set(err, why.code, "%s", why.text);
        } else {
            fprintf(c->note, "left as it is: %s\n", why.text);
        }
    }
    rc = rc || done ? rc : err_set(err, E_STATE, "no bias of these layers can be corrected");
    if (rc) {
        json_decref(a.rows);
        edits_fini(&a.made);
    } else {
        rc = whatif_end(c, &a, done, err);
    }
    observing_free(o);
    weighted_close(&x);
    return rc;
}

/* ---- --equalize ----------------------------------------------------------------------------- */

static json_t *pair_json(const struct graph *g, const struct equal_pair *p)
{
    double lo = INFINITY, hi = 0;
    for (size_t i = 0; i < p->channels; i++) {
        lo = fmin(lo, p->s[i]);
        hi = fmax(hi, p->s[i]);
    }
    return json_pack("{s:o,s:o,s:o,s:I,s:o,s:o,s:o,s:o,s:b}", "name",
                     json_text(g->nodes[p->a].name), "reader", json_text(g->nodes[p->b].name),
                     "between", p->between >= 0 ? json_text(g->nodes[p->between].op) : json_null(),
                     "channels", (json_int_t)p->channels, "factor_min", json_num(lo), "factor_max",
                     json_num(hi), "spread_now", json_num(p->spread[0]), "spread_then",
                     json_num(p->spread[1]), "absorbed", p->absorbed);
}

static void pair_text(const struct graph *g, const struct equal_pair *p, FILE *out)
{
    char a[300], b[300];
    fprintf(out, "%s -> %s: %zu channels, spread of the weights %.1f, would be %.1f%s\n",
            text_safe(a, sizeof a, g->nodes[p->a].name),
            text_safe(b, sizeof b, g->nodes[p->b].name), p->channels, p->spread[0], p->spread[1],
            p->absorbed ? "; channels that reach the clip stay" : "");
}

static int equalize_layers(struct call *c, const struct weighted *x, struct whatif_answer *a,
                           size_t *n, struct err *err)
{
    struct session *s = c->s;
    struct equalized e;
    bool *layers = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < x->n; i++) {
        layers[x->layers[i]] = true;
    }
    int rc = whatif_equalize(&x->w, s->study, layers, &e, err);
    free(layers);
    if (rc) {
        return rc;
    }
    a->rows = json_array();
    *n = e.pairs.n;
    for (size_t i = 0; i < e.pairs.n; i++) {
        if (s->json) {
            json_array_append_new(a->rows, pair_json(x->w.prepared, &e.pairs.list[i]));
        } else {
            pair_text(x->w.prepared, &e.pairs.list[i], c->out);
        }
    }
    a->made = e.edits;
    a->more =
        json_pack("{s:I,s:I}", "left", (json_int_t)e.left, "absorbed", (json_int_t)e.absorbed);
    if (e.left) {
        fprintf(c->note, "%zu pair%s left as %s: no counterpart in INT8 that can be changed\n",
                e.left, e.left == 1 ? "" : "s", e.left == 1 ? "it is" : "they are");
    }
    if (e.absorbed) {
        fprintf(c->note,
                "%zu clip%s into the ends of codes: equal to FP32 on the images of the run, not on "
                "all\n",
                e.absorbed, e.absorbed == 1 ? " went" : "s went");
    }
    e.edits = (struct edits){0};
    equalized_fini(&e);
    return OK;
}

int whatif_equalized(struct call *c, struct err *err)
{
    struct weighted x;
    struct whatif_answer a = {.what = "equalize"};
    size_t n = 0;
    int rc = whatif_needs_run(c, err);
    rc = rc ? rc : weighted_open(c, &x, err);
    if (rc) {
        return rc;
    }
    rc = equalize_layers(c, &x, &a, &n, err);
    rc = rc ? rc : whatif_end(c, &a, n, err);
    weighted_close(&x);
    return rc;
}
