/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_whatif.c: whatif: what other ranges and types of codes would make of layers, estimated from
 * the histograms of the last run, and put in force on demand; other questions are answered in
 * whatif_weights.c and whatif_rescale.c.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/whatif.h"

/* ---- Estimates ------------------------------------------------------------------------------ */

struct question {
    struct range_goal goal;
    bool own_type;                     /* keep each layer's type of codes */
    bool own_middle;                   /* and whether its zero point stands in the middle */
    const struct range_method *method; /* NULL: all */
    bool best;
    struct graph *prepared; /* FP32, for weights */
};

/* What the last run saw of the FP32 side of a layer; borrows its histogram. Where nothing is below
 * 0, what the codes show as 0 is 0. */
static struct observation seen_in_run(const struct session *s, size_t layer)
{
    const struct layer_stats *t = &s->study->layers[layer];
    return (struct observation){.images = t->images,
                                .n = t->all.n,
                                .nonfinite = t->all.nonfinite,
                                .zeros = t->all.xmin >= 0 ? t->all.zeros : 0,
                                .lo = t->all.xmin,
                                .hi = t->all.xmax,
                                .lo_sum = t->all.xmin * (double)t->images,
                                .hi_sum = t->all.xmax * (double)t->images,
                                .xx = t->all.xx,
                                .hist = (struct hist *)&t->fp32};
}

static bool has_answer(const struct session *s, size_t layer)
{
    const struct layer *l = &s->match.layers[layer];
    const struct layer_stats *t = &s->study->layers[layer];
    return l->quantized && l->q.n == 1 && t->images && t->fp32.n && t->all.xmin <= t->all.xmax;
}

/* One way to choose the codes of a layer. */
struct choice {
    const struct range_method *method;
    struct code_choice codes;
    double range[2];
    float scale;
    int32_t zero;
    double sqnr; /* estimated: rounding and clipping alone */
};

static struct choice choose(const struct session *s, const struct question *q, size_t layer,
                            const struct range_method *m)
{
    const struct quant *now = &s->match.layers[layer].q;
    struct observation seen = seen_in_run(s, layer);
    struct range_goal goal = q->goal;
    int64_t lo, hi;
    goal.codes.dtype = q->own_type ? now->dtype : goal.codes.dtype;
    dtype_range(now->dtype, &lo, &hi);
    if (q->own_middle) {
        goal.codes.symmetric = now->zero[0] == (lo + hi + 1) / 2;
    }
    struct choice c = {.method = m, .codes = goal.codes};
    m->choose(&seen, &goal, c.range);
    codes_params(&goal.codes, c.range[0], c.range[1], &c.scale, &c.zero);
    c.sqnr = sqnr_db(seen.xx, observation_noise(&seen, goal.codes.dtype, c.scale, c.zero));
    return c;
}

/* Methods that the histogram of a run can tell of: not what each image had of its own. */
static bool is_offered(const struct question *q, const struct range_method *m)
{
    return q->method ? q->method == m : strcmp(m->name, "average") != 0;
}

static struct choice choose_best(const struct session *s, const struct question *q, size_t layer)
{
    struct choice best = {.sqnr = NAN};
    for (const struct range_method *m = range_methods; m->name; m++) {
        if (is_offered(q, m)) {
            struct choice c = choose(s, q, layer, m);
            best = !best.method || c.sqnr > best.sqnr ? c : best;
        }
    }
    return best;
}

static double estimate_now(const struct session *s, size_t layer)
{
    const struct quant *q = &s->match.layers[layer].q;
    struct observation seen = seen_in_run(s, layer);
    return sqnr_db(seen.xx, observation_noise(&seen, q->dtype, q->scale[0], q->zero[0]));
}

/* ---- Answers -------------------------------------------------------------------------------- */

static json_t *choice_json(const struct choice *c)
{
    return json_pack("{s:s,s:s,s:b,s:o,s:o,s:o,s:i,s:o}", "method", c->method->name, "codes",
                     dtype_name(c->codes.dtype), "symmetric", c->codes.symmetric, "low",
                     json_num(c->range[0]), "high", json_num(c->range[1]), "scale",
                     json_num((double)c->scale), "zero_point", c->zero, "sqnr_estimated",
                     json_num(c->sqnr));
}

/* SQNR of the weights behind a layer, per type and granularity; empty when it has none. */
static json_t *weights_json(const struct session *s, const struct question *q, size_t layer)
{
    static const struct {
        const char *codes;
        bool per_channel;
        struct code_choice choice;
    } kinds[] = {
        {"int8", false, {.dtype = DT_S8, .symmetric = true}},
        {"int8", true, {.dtype = DT_S8, .symmetric = true}},
        {"int4", false, {.dtype = DT_S4, .symmetric = true}},
        {"int4", true, {.dtype = DT_S4, .symmetric = true}},
    };
    json_t *list = json_array();
    const char *names[LAYER_NODES];
    int nodes[LAYER_NODES];
    size_t n = layer_nodes(s->fp32, &s->match, layer, nodes);
    for (size_t i = 0; i < n; i++) {
        names[i] = s->fp32->nodes[nodes[i]].name;
    }
    for (size_t k = 0; k < COUNT(kinds) && q->prepared; k++) {
        double db = weights_sqnr(q->prepared, n, names, kinds[k].per_channel, &kinds[k].choice);
        if (!isnan(db)) {
            json_array_append_new(list,
                                  json_pack("{s:s,s:b,s:o}", "codes", kinds[k].codes, "per_channel",
                                            kinds[k].per_channel, "weight_sqnr", json_num(db)));
        }
    }
    return list;
}

static json_t *layer_json(const struct session *s, const struct question *q, size_t layer)
{
    const struct layer *l = &s->match.layers[layer];
    json_t *list = json_array();
    for (const struct range_method *m = range_methods; m->name; m++) {
        if (is_offered(q, m)) {
            struct choice c = choose(s, q, layer, m);
            json_array_append_new(list, choice_json(&c));
        }
    }
    struct choice best = choose_best(s, q, layer);
    return json_pack("{s:o,s:s,s:o,s:i,s:o,s:o,s:s,s:o,s:o}", "name", json_text(l->name), "codes",
                     dtype_name(l->q.dtype), "scale", json_num((double)l->q.scale[0]), "zero_point",
                     l->q.zero[0], "sqnr_measured",
                     json_num(layer_metric(s, layer, metric_find("sqnr"))), "sqnr_estimated",
                     json_num(estimate_now(s, layer)), "best", best.method->name, "choices", list,
                     "weights", weights_json(s, q, layer));
}

static void layer_text(const struct session *s, const struct question *q, size_t layer, FILE *out)
{
    const struct layer *l = &s->match.layers[layer];
    json_t *weights = weights_json(s, q, layer), *row;
    size_t i;
    fprintf(out,
            "%s: %s, scale %g, zero point %d; SQNR %.2f dB measured, %.2f dB estimated alone\n",
            session_layer_label(s, layer), dtype_name(l->q.dtype), (double)l->q.scale[0],
            l->q.zero[0], layer_metric(s, layer, metric_find("sqnr")), estimate_now(s, layer));
    for (const struct range_method *m = range_methods; m->name; m++) {
        if (is_offered(q, m)) {
            struct choice c = choose(s, q, layer, m);
            fprintf(out, "  %-10s %6s %12.6g .. %-12.6g scale %-12.6g zero %-6d %7.2f dB\n",
                    m->name, dtype_name(c.codes.dtype), c.range[0], c.range[1], (double)c.scale,
                    c.zero, c.sqnr);
        }
    }
    json_array_foreach(weights, i, row)
    {
        fprintf(out, "  weights %s %-11s %7.2f dB\n",
                json_string_value(json_object_get(row, "codes")),
                json_is_true(json_object_get(row, "per_channel")) ? "per channel" : "per tensor",
                json_number_value(json_object_get(row, "weight_sqnr")));
    }
    json_decref(weights);
}

/* ---- Putting it in force -------------------------------------------------------------------- */

static struct choice answer(const struct session *s, const struct question *q, size_t layer)
{
    return q->best ? choose_best(s, q, layer) : choose(s, q, layer, q->method);
}

static struct edits ranges_changed(const struct session *s, const struct question *q, size_t n,
                                   const size_t *layers)
{
    struct edits made = {0};
    for (size_t i = 0; i < n; i++) {
        struct choice x = answer(s, q, layers[i]);
        const char *codes = s->int8->values[s->match.layers[layers[i]].int8].name;
        edits_add(&made, (struct edit){.kind = EDIT_RANGE,
                                       .at = mem_dup(codes),
                                       .codes = x.codes,
                                       .scale = x.scale,
                                       .zero = x.zero});
    }
    return made;
}

/* ---- Command -------------------------------------------------------------------------------- */

static int read_question(const struct call *c, struct question *q, struct err *err)
{
    const char *method = call_opt(c, "--method"), *codes = call_opt(c, "--codes");
    const char *percentile = call_opt(c, "--percentile");
    bool symmetric = call_opt(c, "--symmetric") != NULL;
    bool asymmetric = call_opt(c, "--asymmetric") != NULL;
    *q = (struct question){.own_type = !codes, .own_middle = !symmetric && !asymmetric};
    q->best = method && strcmp(method, "best") == 0;
    q->method = method && !q->best ? range_method_find(method) : NULL;
    q->goal.codes.dtype = type_word(codes, DT_U8);
    q->goal.codes.symmetric = symmetric;
    q->goal.codes.power_of_two = call_opt(c, "--power-of-two") != NULL;
    q->goal.percentile = percentile ? strtod(percentile, NULL) : 99.999;
    if (symmetric && asymmetric) {
        return err_set(err, E_USAGE, "--symmetric or --asymmetric, not both");
    }
    if (!(q->goal.percentile > 0 && q->goal.percentile <= 100)) {
        return err_set(err, E_USAGE, "--percentile is above 0 and at most 100, found '%s'",
                       percentile);
    }
    return OK;
}

static size_t keep_answered(struct call *c, size_t n, size_t *layers)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (has_answer(c->s, layers[i])) {
            layers[kept++] = layers[i];
        } else if (n == 1) {
            fprintf(c->note, "%s has no codes with one constant scale\n",
                    session_layer_label(c->s, layers[i]));
        }
    }
    return kept;
}

/* Ranges and types of activations. */
static int whatif_ranges(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct question q;
    struct whatif_answer a = {.what = "ranges"};
    size_t n, *layers;
    int rc = whatif_needs_run(c, err);
    rc = rc ? rc : read_question(c, &q, err);
    rc = rc ? rc : whatif_layers(c, &n, &layers, err);
    if (rc) {
        return rc;
    }
    n = keep_answered(c, n, layers);
    if (!n) {
        rc = err_set(err, E_STATE, "none of these layers has codes that the last run measured");
    } else if (call_opt(c, "--apply") && !q.best && !q.method) {
        rc = err_set(err, E_USAGE, "--apply wants --method: one of them, or best");
    }
    if (rc) {
        free(layers);
        return rc;
    }
    if (quantize_prepare(s->fp32, &q.prepared, NULL)) {
        q.prepared = NULL; /* then nothing is said about weights */
    }
    if (call_opt(c, "--apply")) {
        a.made = ranges_changed(s, &q, n, layers);
    }
    a.rows = json_array();
    for (size_t i = 0; i < n; i++) {
        if (s->json) {
            json_array_append_new(a.rows, layer_json(s, &q, layers[i]));
        } else {
            layer_text(s, &q, layers[i], c->out);
        }
    }
    rc = whatif_end(c, &a, n, err);
    graph_free(q.prepared);
    free(layers);
    return rc;
}

static int exec_whatif(struct call *c, struct err *err)
{
    static const struct {
        const char *option;
        int (*answer)(struct call *, struct err *);
    } kinds[] = {
        {"--weights", whatif_weights_codes},
        {"--correct-bias", whatif_correct_bias},
        {"--equalize", whatif_equalized},
        {"--rescale", whatif_rescaled},
    };
    int (*chosen)(struct call *, struct err *) = NULL;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (call_opt(c, kinds[i].option) && chosen) {
            return err_set(err, E_USAGE, "one question at a time: %s is another one",
                           kinds[i].option);
        }
        chosen = call_opt(c, kinds[i].option) ? kinds[i].answer : chosen;
    }
    /* What cannot be put in force is refused with one line, not with answers before it. */
    FILE *to = c->out;
    char *text = NULL;
    size_t size = 0;
    FILE *held = open_memstream(&text, &size);
    c->out = held ? held : to;
    int rc = chosen ? chosen(c, err) : whatif_ranges(c, err);
    c->out = to;
    if (held) {
        fclose(held);
        fwrite(text, 1, rc ? 0 : size, to);
    }
    free(text);
    return rc;
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define METHODS "minmax|percentile|entropy|mse|aciq|best"

#define WEIGHT_TYPES "same|s8|u8|s4|u4|s16|u16"

static const struct opt_spec whatif_opts[] = {
    {"--method", ARG_CHOICE, METHODS, "only this one; best: by its estimate", METHODS},
    {"--percentile", ARG_REAL, "P", "of |x|, for that method (99.999)", NULL},
    {"--codes", ARG_CHOICE, "u8|s8|u16|s16|u4|s4", "another type of codes", "u8|s8|u16|s16|u4|s4"},
    {"--symmetric", ARG_FLAG, NULL, "zero point in the middle", NULL},
    {"--asymmetric", ARG_FLAG, NULL, "zero point where the range wants it", NULL},
    {"--power-of-two", ARG_FLAG, NULL, "scales are rounded up to powers of two", NULL},
    {"--weights", ARG_CHOICE, WEIGHT_TYPES, "the FP32 weights in other codes instead",
     WEIGHT_TYPES},
    {"--per-channel", ARG_FLAG, NULL, "with --weights: one scale an output channel", NULL},
    {"--per-tensor", ARG_FLAG, NULL, "with --weights: one scale for all", NULL},
    {"--least-error", ARG_FLAG, NULL, "with --weights: scales of least squared error", NULL},
    {"--correct-bias", ARG_FLAG, NULL, "biases that make up for the rounding of weights", NULL},
    {"--equalize", ARG_FLAG, NULL, "weights of neighbouring layers with equal channels", NULL},
    {"--rescale", ARG_CHOICE, "32|16", "requantization by multiplier and shift, as TOSA does it",
     "32|16"},
    {"--double-round", ARG_FLAG, NULL, "with --rescale 32: round twice", NULL},
    {"--apply", ARG_FLAG, NULL, "put it in force", NULL},
    {0},
};

const struct cmd cmd_whatif[] = {
    {
        .name = "whatif",
        .group = "pins",
        .help = "what other codes, ranges, weights or biases would make of layers",
        .detail =
            "From the histograms of the FP32 activations in the last run, without running: for "
            "each method the range, scale and zero point, and the SQNR that rounding and clipping "
            "to such codes leave, beside that of the codes now in force and the measured one, "
            "which has the errors of the layers before as well. "
            "--weights makes the codes of the weights anew from the FP32 model. --correct-bias "
            "runs the FP32 model on the images of the last run, or of the data set, for the mean "
            "of "
            "each channel, and "
            "adds E[(W - W^) x] to the bias (Nagel et al. 2019, 4.2). --equalize moves factors "
            "between the channels of layers that follow one another, joined by Relu, LeakyRelu, "
            "PRelu, Clip from 0 or nothing, whole chains at a time (4.1): the FP32 model computes "
            "the same with other weights, and the INT8 one gets new weights, biases and "
            "activation scales, these from the extremes by channel in the run. "
            "--rescale runs the INT8 model on the images of the last run and computes the codes of "
            "integer layers from their sums once more with a multiplier of 31 (15) bits and a "
            "shift, as the operator RESCALE of TOSA 1.0 does: codes that differ, and the SQNR of "
            "both against the real results of the sums. "
            "Without LAYER all layers are meant. --apply changes the models in force. That is one "
            "step for undo, pins stay, export writes it, session files keep it, and a run "
            "measures it.",
        .example = "whatif @1 --method mse",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = whatif_opts,
        .exec = exec_whatif,
    },
    {0},
};
