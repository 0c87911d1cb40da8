/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_judge.c: which layer is to blame: weights, saturation, audit, verdicts.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/executed.h"
#include "tui/rank.h"

/* ---- weights --------------------------------------------------------------------------------- */

static double bias_db(const struct weight_error *w)
{
    return w->bias_signal > 0 || w->bias_noise > 0 ? sqnr_db(w->bias_signal, w->bias_noise) : NAN;
}

/* The channel with the lowest SQNR; n_channels: none has one. */
static size_t worst_channel(const struct weight_error *w)
{
    size_t worst = w->n_channels;
    double least = INFINITY;
    for (size_t c = 0; c < w->n_channels; c++) {
        double v = sqnr_db(w->channel[c].signal, w->channel[c].noise);
        if (v < least) {
            least = v;
            worst = c;
        }
    }
    return worst;
}

static json_t *weight_json(const struct session *s, size_t layer)
{
    const struct weight_error *w = &s->judged->weights[layer];
    size_t worst = worst_channel(w);
    bool some = w->n_channels > 0, bad = worst < w->n_channels;
    json_t *o =
        json_pack("{s:o,s:o,s:o,s:I}", "name", json_text(s->match.layers[layer].name),
                  "weight_sqnr", json_num(some ? sqnr_db(w->signal, w->noise) : NAN), "bias_sqnr",
                  json_num(some ? bias_db(w) : NAN), "channels", (json_int_t)w->n_channels);
    json_object_set_new(o, "exact", json_boolean(some && w->noise == 0));
    json_object_set_new(o, "worst_channel", bad ? json_integer((json_int_t)worst) : json_null());
    json_object_set_new(
        o, "worst_sqnr",
        json_num(bad ? sqnr_db(w->channel[worst].signal, w->channel[worst].noise) : NAN));
    json_object_set_new(o, "per_channel", json_boolean(some && !w->per_tensor));
    json_object_set_new(o, "bits", json_integer(w->bits));
    json_object_set_new(o, "reason", json_text(w->why));
    return o;
}

static json_t *channel_json(const struct weight_channel *ch, size_t c)
{
    return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "channel", (json_int_t)c,
                     "weight_sqnr", json_num(sqnr_db(ch->signal, ch->noise)), "max",
                     json_num(ch->top), "step", json_num(ch->step), "gain", json_num(ch->gain),
                     "shift", json_num(ch->shift), "bias", json_num(ch->bias), "bias_int8",
                     json_num(ch->bias_int8), "bias_step", json_num(ch->bias_step), "dead",
                     ch->dead);
}

static void weight_line(FILE *out, const struct session *s, size_t layer)
{
    const struct weight_error *w = &s->judged->weights[layer];
    const struct metric *m = metric_find("weight_sqnr");
    char label[64];
    int n = session_layer_short(s, layer, label, sizeof label, 34);
    fprintf(out, "%s%*s", label, 34 - n, "");
    if (!w->n_channels) {
        fprintf(out, "  %s\n", w->why ? w->why : "no weights");
        return;
    }
    size_t worst = worst_channel(w);
    rank_print_metric(out, m, sqnr_db(w->signal, w->noise), 9);
    rank_print_metric(out, m, bias_db(w), 9);
    fprintf(out, " %8zu", w->n_channels);
    if (worst < w->n_channels) {
        fprintf(out, " %8zu", worst);
        rank_print_metric(out, m, sqnr_db(w->channel[worst].signal, w->channel[worst].noise), 9);
    }
    fputc('\n', out);
}

static void weights_all(struct call *c)
{
    struct session *s = c->s;
    size_t *order = mem_alloc((s->match.n_layers + 1) * sizeof *order);
    size_t n = session_layer_order(s, metric_find("weight_sqnr"), SORT_WORST, order);
    json_t *list = json_array();
    if (!s->json) {
        fprintf(c->out, "%-34s %9s %9s %8s %8s %9s\n", "LAYER", "WEIGHT", "BIAS", "CHANNELS",
                "WORST", "IT HAS");
    }
    for (size_t i = 0; i < n; i++) {
        const struct weight_error *w = &s->judged->weights[order[i]];
        if (!w->n_channels && !w->why) {
            continue;
        }
        if (s->json) {
            json_array_append_new(list, weight_json(s, order[i]));
        } else {
            weight_line(c->out, s, order[i]);
        }
    }
    if (s->json) {
        emit_json(c, json_pack("{s:O}", "layers", list));
    }
    json_decref(list);
    free(order);
}

static int exec_weights(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t n = 0, *list = NULL;
    session_judge(s);
    if (!c->n_args) {
        weights_all(c);
        return OK;
    }
    int rc = layer_list(s, c->args[0], &n, &list, err);
    size_t layer = n ? list[0] : 0;
    free(list);
    if (!rc && n != 1) {
        rc =
            err_set(err, E_USAGE, "'%s' stands for %zu layers, 'weights' wants one", c->args[0], n);
    }
    if (rc) {
        return rc;
    }
    const struct weight_error *w = &s->judged->weights[layer];
    if (!w->n_channels) {
        return err_set(err, E_STATE, "layer '%s': %s", s->match.layers[layer].name,
                       w->why ? w->why : "it multiplies by no weights");
    }
    json_t *channels = json_array(), *o = weight_json(s, layer);
    if (!s->json) {
        fprintf(c->out, "%8s %9s %12s %12s %9s %9s %12s %12s\n", "CHANNEL", "WEIGHT", "MAX|W|",
                "STEP", "GAIN", "SHIFT", "BIAS", "BIAS INT8");
    }
    for (size_t k = 0; k < w->n_channels; k++) {
        const struct weight_channel *ch = &w->channel[k];
        if (s->json) {
            json_array_append_new(channels, channel_json(ch, k));
            continue;
        }
        fprintf(c->out, "%8zu", k);
        rank_print_metric(c->out, metric_find("weight_sqnr"), sqnr_db(ch->signal, ch->noise), 9);
        fprintf(c->out, " %12.5g %12.5g %9.4f %9.3f %12.5g %12.5g\n", ch->top, ch->step, ch->gain,
                ch->shift, ch->bias, ch->bias_int8);
    }
    if (s->json) {
        json_object_set(o, "weights", channels);
        emit_json(c, json_incref(o));
    }
    json_decref(channels);
    json_decref(o);
    return OK;
}

/* ---- Sums of all layers on one image --------------------------------------------------------- */

/* Counts the sums of each integer layer as soon as its inputs are there. */
struct counting {
    const struct session *s;
    const struct graph *x;
    const int *layer_of; /* per executed node: the layer it is weighted for, -1 */

    const struct uses *uses;
    struct accumulators *out; /* per layer */
};

static int counting_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct counting *c = ctx;
    for (int u = c->uses->start[value]; u < c->uses->start[value + 1]; u++) {
        int node = c->uses->node[u], layer = c->layer_of[node];
        const struct node *n = &c->x->nodes[node];
        if (layer < 0 || n->in[0] != value || c->out[layer].channel) {
            continue;
        }
        const struct tensor **in = mem_alloc(((size_t)n->n_in + 1) * sizeof *in);
        in[0] = t;
        int rc = plan_accumulators(c->s->plan_int8, node, in, &c->out[layer], err);
        free(in);
        if (rc && rc != E_UNSUPPORTED) {
            return rc;
        }
    }
    return OK;
}

/* Per layer; free with sums_free(). */
static int count_sums(struct session *s, size_t image, struct accumulators **out, struct err *err)
{
    const struct graph *x = plan_graph(s->plan_int8);
    size_t n_in = session_inputs(s, NULL, 0);
    struct tensor **in = mem_alloc((n_in + 1) * sizeof *in);
    int *layer_of = mem_alloc((x->n_nodes + 1) * sizeof *layer_of);
    struct uses uses = graph_uses(x);
    struct local_map *map = local_map_of(s); /* of what runs now */
    memset(layer_of, 0xff, x->n_nodes * sizeof *layer_of);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        int node = map->weighted[k];
        if (node >= 0 && node_is_integer(&x->nodes[node])) {
            layer_of[node] = (int)k;
        }
    }
    *out = mem_alloc((s->match.n_layers + 1) * sizeof **out);
    struct counting c = {.s = s, .x = x, .layer_of = layer_of, .uses = &uses, .out = *out};
    struct run_options o = {.tap = counting_tap, .tap_ctx = &c};
    int rc = session_int8_sample(s, image, in, err);
    rc = rc ? rc : plan_run(s->plan_int8, (const struct tensor *const *)in, NULL, &o, err);
    for (size_t i = 0; i < n_in; i++) {
        tensor_free(in[i]);
    }
    uses_fini(&uses);
    local_map_free(map);
    free(layer_of);
    free(in);
    return rc;
}

static void sums_free(struct accumulators *a, size_t n)
{
    for (size_t k = 0; a && k < n; k++) {
        accumulators_fini(&a[k]);
    }
    free(a);
}

/* The image of --image; default the first one, or zeros. */
static int choose_image(struct call *c, size_t *image, struct err *err)
{
    const char *word = call_opt(c, "--image");
    *image = 0;
    return word ? image_one(c->s, word, image, err) : OK;
}

/* ---- saturation ------------------------------------------------------------------------------ */

struct saturated {
    size_t layer;
    double low, high, pairs, wraps; /* percent of values, and of sums; NAN: none of that kind */
};

static int by_share(const void *a, const void *b)
{
    const struct saturated *x = a, *y = b;
    double u = fmax(fmax(x->low + x->high, 0), fmax(x->pairs, x->wraps));
    double v = fmax(fmax(y->low + y->high, 0), fmax(y->pairs, y->wraps));
    int by = (u < v) - (u > v);
    return by ? by : (x->layer > y->layer) - (x->layer < y->layer);
}

static struct saturated saturation_of(const struct session *s, size_t k,
                                      const struct accumulators *a)
{
    bool codes = s->match.layers[k].quantized && !session_pinned(s, k);
    struct saturated r = {.layer = k, .low = NAN, .high = NAN, .pairs = NAN, .wraps = NAN};
    if (codes) {
        r.low = layer_metric(s, k, metric_find("saturation_low"));
        r.high = layer_metric(s, k, metric_find("saturation_high"));
    }
    if (a && a->all.n) {
        r.wraps = 100 * (double)a->all.wraps / (double)a->all.n;
        r.pairs = a->has_pairs ? 100 * (double)a->all.pair_outputs / (double)a->all.n : NAN;
    }
    return r;
}

static void saturation_text(struct call *c, const struct saturated *r, const struct accumulators *a)
{
    char label[64];
    const struct metric *m = metric_find("saturation_low");
    int n = session_layer_short(c->s, r->layer, label, sizeof label, 34);
    fprintf(c->out, "%s%*s", label, 34 - n, "");
    rank_print_metric(c->out, m, r->low, 9);
    rank_print_metric(c->out, m, r->high, 9);
    rank_print_metric(c->out, m, r->pairs, 9);
    rank_print_metric(c->out, m, r->wraps, 9);
    if (a && a->all.n) {
        fprintf(c->out, " %5d", acc_bits(&a->all));
    }
    fputc('\n', c->out);
}

static json_t *saturation_json(const struct session *s, const struct saturated *r,
                               const struct accumulators *a)
{
    bool some = a && a->all.n;
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "name", json_text(s->match.layers[r->layer].name),
                     "saturation_low", json_num(r->low), "saturation_high", json_num(r->high),
                     "pairs_saturating", json_num(r->pairs), "wraps", json_num(r->wraps), "bits",
                     some ? json_integer(acc_bits(&a->all)) : json_null());
}

static int exec_saturation(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct accumulators *a = NULL;
    size_t image, n = s->match.n_layers;
    int64_t top = 0;
    session_judge(s);
    int rc = choose_image(c, &image, err);
    rc = rc ? rc : call_int(c, "--top", s->set.top, &top, err);
    rc = rc ? rc : count_sums(s, image, &a, err);
    if (rc) {
        sums_free(a, n);
        return rc;
    }
    struct saturated *rows = mem_alloc((n + 1) * sizeof *rows);
    for (size_t k = 0; k < n; k++) {
        rows[k] = saturation_of(s, k, &a[k]);
    }
    qsort(rows, n, sizeof *rows, by_share);
    n = top > 0 ? MIN(n, (size_t)top) : n;
    json_t *list = json_array();
    if (!s->json) {
        fprintf(c->out, "%-34s %9s %9s %9s %9s %5s\n", "LAYER", "SATLO%", "SATHI%", "PAIRS%",
                "WRAPS%", "BITS");
    }
    for (size_t i = 0; i < n; i++) {
        if (s->json) {
            json_array_append_new(list, saturation_json(s, &rows[i], &a[rows[i].layer]));
        } else {
            saturation_text(c, &rows[i], &a[rows[i].layer]);
        }
    }
    if (s->json) {
        json_t *o = json_pack("{s:O,s:I,s:b}", "layers", list, "images",
                              (json_int_t)(s->study ? s->study->n_images - s->study->failed : 0),
                              "pairs_apply", s->set.numerics == NUM_U8S8_SATURATE);
        json_numerics(o, s);
        emit_json(c, o);
    }
    json_decref(list);
    free(rows);
    sums_free(a, s->match.n_layers);
    return OK;
}

/* ---- audit ----------------------------------------------------------------------------------- */

static const char *audit_unit(const char *kind)
{
    for (const struct audit_kind *k = audit_kinds; k->name; k++) {
        if (strcmp(k->name, kind) == 0) {
            return k->unit;
        }
    }
    return "";
}

static void audit_text(struct call *c, size_t rank, const struct finding *f)
{
    char name[300], text[600];
    const struct session *s = c->s;
    text_safe(name, sizeof name, f->layer >= 0 ? s->match.layers[f->layer].name : f->tensor);
    fprintf(c->out, "%4zu %-17s %s: %s\n", rank + 1, f->kind, name,
            text_safe(text, sizeof text, f->text));
}

static json_t *audit_json(const struct session *s, const struct finding *f)
{
    return json_pack("{s:s,s:o,s:o,s:o,s:o,s:s,s:o}", "kind", f->kind, "layer",
                     f->layer >= 0 ? json_text(s->match.layers[f->layer].name) : json_null(),
                     "tensor", json_text(f->tensor), "severity", json_num(f->severity), "value",
                     json_num(f->value), "unit", audit_unit(f->kind), "text", json_text(f->text));
}

static int exec_audit(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct accumulators *sums = NULL;
    size_t image, n = s->match.n_layers;
    int64_t top = 0;
    session_judge(s);
    int rc = choose_image(c, &image, err);
    rc = rc ? rc : call_int(c, "--top", s->set.top, &top, err);
    bool counted = call_opt(c, "--sums") || call_opt(c, "--image");
    rc = rc || !counted ? rc : count_sums(s, image, &sums, err);
    if (rc) {
        sums_free(sums, n);
        return rc;
    }
    struct judge_input in = session_judge_input(s);
    struct audit *a = audit_new(&in, sums);
    size_t shown = top > 0 ? MIN(a->n, (size_t)top) : a->n;
    json_t *list = json_array();
    for (size_t i = 0; i < shown; i++) {
        if (s->json) {
            json_array_append_new(list, audit_json(s, &a->list[i]));
        } else {
            audit_text(c, i, &a->list[i]);
        }
    }
    if (s->json) {
        json_t *o = json_pack("{s:O,s:I,s:b,s:b}", "findings", list, "count", (json_int_t)a->n,
                              "ran", s->study != NULL, "sums", counted);
        json_numerics(o, s);
        emit_json(c, o);
    } else {
        fprintf(c->note, "%zu findings%s%s\n", a->n,
                s->study ? "" : "; ranges of activations need a run",
                counted ? "" : "; --sums counts accumulators too");
    }
    json_decref(list);
    audit_free(a);
    sums_free(sums, n);
    return OK;
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static int exec_verdicts(struct call *c, struct err *err)
{
    (void)err;
    json_t *words = json_array(), *thresholds = json_array(), *kinds = json_array();
    for (int i = 0; i < N_VERDICTS; i++) {
        json_array_append_new(
            words, json_pack("{s:s,s:s}", "name", verdicts[i].name, "help", verdicts[i].help));
    }
    for (int i = 0; i < N_LIMITS; i++) {
        json_array_append_new(thresholds,
                              json_pack("{s:s,s:f,s:s,s:s}", "name", verdict_limits[i].name,
                                        "value", verdict_limits[i].value, "unit",
                                        verdict_limits[i].unit, "help", verdict_limits[i].help));
    }
    for (const struct audit_kind *k = audit_kinds; k->name; k++) {
        json_array_append_new(
            kinds, json_pack("{s:s,s:s,s:s}", "name", k->name, "unit", k->unit, "help", k->help));
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O,s:O,s:O}", "verdicts", words, "limits", thresholds, "findings",
                               kinds));
    } else {
        for (int i = 0; i < N_VERDICTS; i++) {
            fprintf(c->out, "%-15s %s\n", verdicts[i].name, verdicts[i].help);
        }
        fputs("\nlimits\n", c->out);
        for (int i = 0; i < N_LIMITS; i++) {
            fprintf(c->out, "%-15s %8g %-6s %s\n", verdict_limits[i].name, verdict_limits[i].value,
                    verdict_limits[i].unit, verdict_limits[i].help);
        }
        fputs("\nfindings of the audit, worst first\n", c->out);
        for (const struct audit_kind *k = audit_kinds; k->name; k++) {
            fprintf(c->out, "%-17s %s\n", k->name, k->help);
        }
    }
    json_decref(words);
    json_decref(thresholds);
    json_decref(kinds);
    return OK;
}

/* ---- Table ----------------------------------------------------------------------------------- */

static const struct opt_spec saturation_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "image to count sums on; default: the first, or zeros", NULL},
    {"--top", ARG_COUNT, "N", "rows to list; default: setting top", NULL},
    {0},
};
static const struct opt_spec audit_opts[] = {
    {"--sums", ARG_FLAG, NULL, "count accumulators on one image too, which is slow", NULL},
    {"--image", ARG_IMAGE, "IMAGE", "that image; default: the first, or zeros", NULL},
    {"--top", ARG_COUNT, "N", "rows to list; default: setting top", NULL},
    {0},
};

const struct cmd cmd_judge[] = {
    {
        .name = "weights",
        .group = "layers",
        .help = "weights of INT8 against those of FP32, by layer or by channel",
        .detail = "Compares what the integer layers multiply by with the FP32 weights, batch "
                  "normalization folded in; no run is needed. With LAYER one line per output "
                  "channel: SQNR, largest weight, step, common factor (gain), common shift in "
                  "steps, and the bias on both sides.",
        .example = "weights /stem/Conv",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, true, false}},
        .exec = exec_weights,
    },
    {
        .name = "saturation",
        .group = "layers",
        .help = "what lies beyond the ends of codes, of 16-bit pairs and of 32-bit sums",
        .detail = "Percent of the values of the last run below and above the range of the codes, "
                  "and percent of the integer sums on one image that wrap at 32 bits or have "
                  "pairs of products beyond 16 bits, which x86 without VNNI cuts; most first.",
        .example = "saturation --top 5",
        .needs = NEED_PAIR,
        .opts = saturation_opts,
        .exec = exec_saturation,
    },
    {
        .name = "audit",
        .group = "layers",
        .help = "all that is wrong or wasteful about the ranges of the model, worst first",
        .detail = "Scales that are none, codes read with other parameters than they were written "
                  "with, wrong weights and biases, dead channels, overflow, zero points that are "
                  "off, clipping, unused codes, inputs that meet with very different scales, and "
                  "one scale for very different channels. Ranges of activations are those of the "
                  "last run. 'verdicts' lists the kinds and the limits.",
        .example = "audit --top 10",
        .needs = NEED_PAIR,
        .opts = audit_opts,
        .exec = exec_audit,
    },
    {
        .name = "verdicts",
        .group = "layers",
        .help = "list the verdicts, the kinds of findings and the limits behind them",
        .example = "verdicts",
        .exec = exec_verdicts,
    },
    {0},
};
