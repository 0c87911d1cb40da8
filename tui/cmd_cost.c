/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_cost.c: what layers cost: products, weights, and the time that they take here.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum { RUNS = 9, RUNS_MOST = 1000 };

struct row {
    size_t layer;
    double key; /* larger comes first */
};

static int by_key(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static double time_of(const struct session *s, enum side side, size_t layer)
{
    return s->times.n && s->times.ms[side] ? s->times.ms[side][layer] : NAN;
}

/* Layers by their time in the INT8 model, or in the only one; before it is known by products. */
static struct row *ranked(const struct session *s, const size_t *list, size_t n)
{
    struct row *rows = mem_alloc((n + 1) * sizeof(*rows));
    const enum side side = s->times.ms[SIDE_INT8] ? SIDE_INT8 : SIDE_FP32;
    for (size_t i = 0; i < n; i++) {
        const double ms = time_of(s, side, list[i]);
        rows[i].layer = list[i];
        rows[i].key = isfinite(ms) ? ms : s->costs ? s->costs[list[i]].macs : 0;
    }
    qsort(rows, n, sizeof(*rows), by_key);
    return rows;
}

static void number_text(char dst[16], int digits, double v)
{
    if (isfinite(v))
        snprintf(dst, 16, "%.*f", digits, v);
    else
        snprintf(dst, 16, "-");
}

static void print_row(const struct session *s, FILE *out, size_t rank, size_t layer)
{
    const struct layer_cost *c = s->costs ? &s->costs[layer] : NULL; /* those of the FP32 model */
    const double a = time_of(s, SIDE_FP32, layer), b = time_of(s, SIDE_INT8, layer);
    char name[256], fp32[16], int8[16], ratio[16] = "-", op[64], macs[16], share[16], weights[16];
    const int width = session_layer_short(s, layer, name, sizeof(name), 34);
    number_text(fp32, 3, a);
    number_text(int8, 3, b);
    number_text(macs, 3, c ? c->macs / 1e6 : NAN);
    number_text(share, 1, c ? macs_share(s, c->macs) : NAN);
    number_text(weights, 1, c ? c->weights / 1e3 : NAN);
    if (a > 0 && b > 0)
        snprintf(ratio, sizeof(ratio), "%.2f", a / b);
    text_safe(op, sizeof(op), s->match.layers[layer].op);
    fprintf(out, "%4zu %s%*s %-10.10s %9s %7s %9s %9s %9s %7s\n", rank, name, 34 - width, "", op,
            macs, share, weights, fp32, int8, ratio);
}

static void print_pass(FILE *out, double fp32, double int8)
{
    char a[16], b[16];
    number_text(a, 3, fp32);
    number_text(b, 3, int8);
    fprintf(out, "whole pass on one thread: FP32 %s ms, INT8 %s ms\n", a, b);
}

static json_t *row_json(const struct session *s, size_t layer)
{
    const struct layer *l = &s->match.layers[layer];
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "name", json_text(l->name), "op",
                     json_text(l->op), "macs", json_num(s->costs ? s->costs[layer].macs : NAN),
                     "weights", json_num(s->costs ? s->costs[layer].weights : NAN), "fp32_ms",
                     json_num(time_of(s, SIDE_FP32, layer)), "int8_ms",
                     json_num(time_of(s, SIDE_INT8, layer)));
}

static int list_costs(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    size_t n = s->match.n_layers, *list = NULL;
    int64_t top;
    int rc = call_int(c, "--top", s->set.top, &top, err);
    if (!rc && c->n_args)
        rc = layer_lists(c->s, c->n_args, c->args, &n, &list, err);
    if (rc)
        return rc;
    if (!list) {
        list = mem_alloc((n + 1) * sizeof(*list));
        for (size_t i = 0; i < n; i++)
            list[i] = i;
    }
    struct row *rows = ranked(s, list, n);
    json_t *o = json_array();
    if (!s->json)
        fprintf(c->out, "%4s %-34s %-10s %9s %7s %9s %9s %9s %7s\n", "#", "LAYER", "OP", "M MACS",
                "MACS %", "FP32 kB", "FP32 ms", "INT8 ms", "RATIO");
    for (size_t i = 0; i < (top > 0 ? MIN(n, (size_t)top) : n); i++) {
        if (s->json)
            json_array_append_new(o, row_json(s, rows[i].layer));
        else
            print_row(s, c->out, i + 1, rows[i].layer);
    }
    const double a = time_of(s, SIDE_FP32, s->match.n_layers);
    const double b = time_of(s, SIDE_INT8, s->match.n_layers);
    if (s->json)
        emit_json(c, json_pack("{s:O,s:o,s:o,s:o}", "layers", o, "macs",
                               json_num(s->costs ? s->macs : NAN), "fp32_ms", json_num(a),
                               "int8_ms", json_num(b)));
    else if (isfinite(a) || isfinite(b))
        print_pass(c->out, a, b);
    else
        fprintf(c->note, "cost --measure adds the times\n");
    json_decref(o);
    free(rows);
    free(list);
    return OK;
}

static int measure(struct call *c, bool background, struct err *err)
{
    struct session *s = c->s;
    const char *word = call_opt(c, "--image");
    const long current = view_current_image(s);
    size_t image = current >= 0 ? (size_t)current : 0;
    int64_t runs;
    int rc = call_int(c, "--runs", RUNS, &runs, err);
    if (!rc && (runs < 1 || runs > RUNS_MOST))
        rc = err_set(err, E_USAGE, "--runs is 1 to %d, found %lld", RUNS_MOST, (long long)runs);
    if (!rc && word)
        rc = image_one(s, word, &image, err);
    rc =
        rc ? rc : layer_times_start(s, image, (int)runs, background, s->json ? NULL : c->note, err);
    if (!rc && background)
        fprintf(c->note, "cost #%d started, %lld passes\n", s->job.id, (long long)runs);
    return rc;
}

static int exec_cost(struct call *c, struct err *err)
{
    const bool times = call_opt(c, "--measure") != NULL;
    const bool background = times && (c->s->screen || c->background);
    const int rc = times ? measure(c, background, err) : OK;
    return rc || background ? rc : list_costs(c, err);
}

static const struct opt_spec cost_opts[] = {
    {"--measure", ARG_FLAG, NULL, "time the layers first", NULL},
    {"--image", ARG_IMAGE, "IMAGE", "on this image (the current one)", NULL},
    {"--runs", ARG_COUNT, "N", "passes, of which the median counts (9)", NULL},
    {"--top", ARG_COUNT, "N", "only the first N rows", NULL},
    {0},
};

const struct cmd cmd_cost[] = {
    {
        .name = "cost",
        .group = "pins",
        .help = "list what layers cost: products, weights, time",
        .detail = "Times are milliseconds of the processor on one thread, both models by turns on "
                  "one image, after one pass that does not count. A layer has the time since the "
                  "layer before it in the order of execution, so what is fused or runs between "
                  "them belongs to it. A change of pins, models or data forgets them. In the graph "
                  "view `select color time` shows them.",
        .example = "cost --top 5",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = cost_opts,
        .exec = exec_cost,
    },
    {0},
};
