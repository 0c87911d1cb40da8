/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_rank.c: the listing of layers, and how metrics are printed; one layer is in cmd_layer.c.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/rank.h"
#include "tui/tui.h"

const char *rank_tensor(const struct graph *g, int v)
{
    return g && v >= 0 ? g->values[v].name : NULL;
}

void rank_set_metrics(json_t *o, const struct sums *sums, double scale)
{
    for (const struct metric *m = metrics; m->name; m++) {
        if (m->of == METRIC_CUMULATIVE) {
            json_object_set_new(o, m->name, sums ? json_num(m->value(sums, scale)) : json_null());
        }
    }
    if (sums && sums->n && sums->ee == 0 && !sums->nonfinite) {
        json_object_set_new(o, "exact", json_true());
    }
    if (sums && sums->nonfinite) {
        json_object_set_new(o, "nonfinite", json_integer((json_int_t)sums->nonfinite));
    }
}

void rank_metric(char *dst, size_t size, const struct metric *m, double v)
{
    if (isnan(v)) {
        snprintf(dst, size, "n/a");
    } else if (isinf(v)) {
        snprintf(dst, size, "exact");
    } else if (v != 0 && (fabs(v) >= 1e6 || fabs(v) < 0.5 * pow(10, -m->digits))) {
        snprintf(dst, size, "%.2e", v);
    } else {
        snprintf(dst, size, "%.*f", m->digits, v);
    }
}

void rank_print_metric(FILE *out, const struct metric *m, double v, int width)
{
    char text[32];
    rank_metric(text, sizeof text, m, v);
    fprintf(out, " %*s", width, text);
}

/* ---- layers --------------------------------------------------------------------------------- */

const char *rank_layer_error(const struct session *s, size_t i)
{
    return s->study && !s->study->layers[i].images ? s->study->layer_errors[i] : NULL;
}

json_t *rank_layer_json(const struct session *s, size_t i, const struct layer_stats *st)
{
    const struct layer *l = &s->match.layers[i];
    json_t *o = json_pack("{s:o,s:s,s:o,s:o,s:s}", "name", json_text(l->name), "op", l->op,
                          "fp32_tensor", json_text(rank_tensor(s->fp32, l->fp32)), "int8_tensor",
                          json_text(rank_tensor(s->int8, l->int8)), "match", match_by_name(l->by));
    rank_set_metrics(o, st && st->images ? &st->all : NULL, st ? st->scale : NAN);
    json_object_set_new(
        o, "scale", l->quantized && l->q.n == 1 ? json_num((double)l->q.scale[0]) : json_null());
    json_object_set_new(o, "zero_point",
                        l->quantized && l->q.n == 1 ? json_integer(l->q.zero[0]) : json_null());
    judged_json(o, s, i);
    json_object_set_new(o, "pinned", json_boolean(session_pinned(s, i)));
    json_object_set_new(o, "precision", session_precision_json(s, i));
    json_object_set_new(o, "images", json_integer(st ? (json_int_t)st->images : 0));
    return o;
}

json_t *rank_unmatched_json(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->match.n_unmatched; i++) {
        const struct unmatched *u = &s->match.unmatched[i];
        json_array_append_new(list, json_pack("{s:o,s:s,s:o}", "tensor", json_text(u->tensor),
                                              "side", u->side == SIDE_FP32 ? "fp32" : "int8",
                                              "reason", json_text(u->reason)));
    }
    for (size_t i = 0; i < s->match.n_layers; i++) {
        if (rank_layer_error(s, i)) {
            json_array_append_new(
                list, json_pack("{s:o,s:s,s:o}", "tensor",
                                json_text(rank_tensor(s->fp32, s->match.layers[i].fp32)), "side",
                                "fp32", "reason", json_text(rank_layer_error(s, i))));
        }
    }
    return list;
}

/* Columns of the text table: the five that fit 80 columns, or those asked for. */
struct columns {
    const struct metric *m[16];
    int n;
};

static int choose_columns(const char *words, struct columns *out, struct err *err)
{
    char name[64];
    const char *p = words ? words : "sqnr,cosine,rmse_scale,saturation_low,saturation_high";
    while (*p) {
        size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        const struct metric *m = metric_find(name);
        if (!m || out->n == (int)COUNT(out->m)) {
            return err_set(err, E_USAGE, "no metric '%s'; 'metrics' lists them", name);
        }
        out->m[out->n++] = m;
        p += n + (p[n] == ',');
    }
    return OK;
}

static void print_bar(FILE *out, double sqnr)
{
    /* 40 dB: empty, 0 dB: full. */
    int n = isnan(sqnr) ? 0 : (int)lround(8 * fmin(1, fmax(0, (40 - sqnr) / 40)));
    fputs("  ", out);
    for (int i = 0; i < 8; i++) {
        fputc(i < n ? '#' : '.', out);
    }
}

static void print_column(FILE *out, const struct session *s, size_t layer, const struct metric *m,
                         bool last)
{
    char safe[512];
    const char *text = m->of == METRIC_VERDICT ? judged_text(s, layer, m) : NULL;
    if (m->of == METRIC_VERDICT) {
        fprintf(out, "  %-*s", last ? 0 : 14, text_safe(safe, sizeof safe, text ? text : "-"));
    } else {
        rank_print_metric(out, m, layer_metric(s, layer, m), 9);
    }
}

static void layers_text(struct call *c, const size_t *rows, size_t n, const struct columns *cols)
{
    const struct session *s = c->s;
    char label[64];
    fprintf(c->out, "%4s %c %-34s %-10s", "#", 'P', "LAYER", "OP");
    for (int k = 0; k < cols->n; k++) {
        bool text = cols->m[k]->of == METRIC_VERDICT, last = k + 1 == cols->n;
        fprintf(c->out, text ? "  %-*s" : " %*s", text ? (last ? 0 : 14) : 9, cols->m[k]->title);
    }
    fputc('\n', c->out);
    for (size_t i = 0; i < n; i++) {
        const struct layer *l = &s->match.layers[rows[i]];
        int w = session_layer_short(s, rows[i], label, sizeof label, 34);
        fprintf(c->out, "%4zu %c %s%*s %-10.10s", i + 1, session_pin_mark(s, rows[i]), label,
                34 - w, "", l->op);
        for (int k = 0; k < cols->n; k++) {
            bool last = k + 1 == cols->n && !call_opt(c, "--bars");
            print_column(c->out, s, rows[i], cols->m[k], last);
        }
        if (call_opt(c, "--bars")) {
            print_bar(c->out, layer_metric(s, rows[i], metric_find("sqnr")));
        }
        fputc('\n', c->out);
    }
    if (!s->pair) {
        fprintf(c->note, "one model alone: there is nothing to compare it with\n");
    } else if (!s->study) {
        fprintf(c->note, "no results yet: run\n");
    }
    if (s->match.n_unmatched) {
        fprintf(c->note, "%zu %s no counterpart (match --unmatched)\n", s->match.n_unmatched,
                s->match.n_unmatched == 1 ? "tensor has" : "tensors have");
    }
    size_t left = 0;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        left += rank_layer_error(s, i) != NULL;
    }
    if (left) {
        fprintf(c->note, "%zu %s not compared (match --unmatched)\n", left,
                left == 1 ? "layer is" : "layers are");
    }
}

/* Filters and cuts the ranked layers in place. */
static int filter_layers(struct call *c, size_t *rows, size_t *n, struct err *err)
{
    struct session *s = c->s;
    const char *where = call_opt(c, "--where");
    int64_t top;
    size_t kept = 0;
    int rc = call_int(c, "--top", s->set.top, &top, err);
    for (size_t i = 0; i < *n && !rc; i++) {
        bool yes = !rank_layer_error(s, rows[i]);
        if (yes && where) {
            rc = layer_where(s, rows[i], where, &yes, err);
        }
        if (yes) {
            rows[kept++] = rows[i];
        }
    }
    *n = top > 0 ? MIN(kept, (size_t)top) : kept;
    return rc;
}

/* Does the listing show, sort or filter by what a run alone does not tell? */
static bool layers_judged(const struct call *c, const struct columns *cols, const char *sort)
{
    const struct metric *by = metric_find(sort);
    bool judged = c->s->json || call_opt(c, "--where") || (by && by->of != METRIC_CUMULATIVE);
    for (int k = 0; k < cols->n; k++) {
        judged = judged || cols->m[k]->of != METRIC_CUMULATIVE;
    }
    return judged;
}

static int exec_layers(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *sort = call_opt(c, "--sort");
    char name[64];
    enum sort_dir dir = SORT_WORST;
    struct columns cols = {0};
    int rc = parse_sort(sort ? sort : "sqnr", name, sizeof name, &dir, err);
    rc = rc ? rc : choose_columns(call_opt(c, "--columns"), &cols, err);
    if (rc) {
        return rc;
    }
    run_local(s);
    if (layers_judged(c, &cols, name)) {
        judged_renew(s);
    }
    size_t *rows = mem_alloc((s->match.n_layers + 1) * sizeof *rows);
    size_t n = session_layer_order(s, metric_find(name), dir, rows);
    rc = filter_layers(c, rows, &n, err);
    if (rc) {
        free(rows);
        return rc;
    }
    free(s->listed);
    s->listed = rows;
    s->n_listed = n;
    if (s->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_array_append_new(
                list, rank_layer_json(s, rows[i], s->study ? &s->study->layers[rows[i]] : NULL));
        }
        json_t *o = json_pack("{s:o,s:o}", "layers", list, "unmatched", rank_unmatched_json(s));
        json_numerics(o, s);
        emit_json(c, o);
    } else {
        layers_text(c, rows, n, &cols);
    }
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec layers_opts[] = {
    {"--sort", ARG_METRIC, "METRIC[:asc|:desc]|none",
     "worst first unless a direction is given; "
     "none keeps network order",
     NULL},
    {"--top", ARG_COUNT, "N", "only the first N rows", NULL},
    {"--where", ARG_WORD, "EXPR", "only layers that fulfil it: 'sqnr<20 && op==\"Conv\"'", NULL},
    {"--columns", ARG_WORD, "A,B", "metrics to show", NULL},
    {"--bars", ARG_FLAG, NULL, "a bar per row, to paste into a report", NULL},
    {0},
};

const struct cmd cmd_rank[] = {
    {
        .name = "layers",
        .alias = "ls",
        .group = "layers",
        .help = "rank the layers by a metric",
        .detail = "The rows become the ranks @1, @2, ... of later commands. Layers that could not "
                  "be compared are listed by 'match --unmatched', never dropped silently.",
        .example = "layers --sort sqnr --top 5",
        .needs = NEED_MODEL,
        .own_judge = true,
        .opts = layers_opts,
        .exec = exec_layers,
    },
    {0},
};
