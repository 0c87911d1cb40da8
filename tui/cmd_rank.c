/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_rank.c: the questions about layers: layers, layer, hist, channels.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/rank.h"
#include "tui/tui.h"

static const char *name_of(const struct graph *g, int v)
{
    return g && v >= 0 ? g->values[v].name : NULL;
}

static void set_metrics(json_t *o, const struct sums *sums, double scale)
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

/* A matched layer that could not be compared in the run: listed among the unmatched. */
static const char *layer_error(const struct session *s, size_t i)
{
    return s->study && !s->study->layers[i].images ? s->study->layer_errors[i] : NULL;
}

json_t *rank_layer_json(const struct session *s, size_t i, const struct layer_stats *st)
{
    const struct layer *l = &s->match.layers[i];
    json_t *o = json_pack("{s:o,s:s,s:o,s:o,s:s}", "name", json_text(l->name), "op", l->op,
                          "fp32_tensor", json_text(name_of(s->fp32, l->fp32)), "int8_tensor",
                          json_text(name_of(s->int8, l->int8)), "match", match_by_name(l->by));
    set_metrics(o, st && st->images ? &st->all : NULL, st ? st->scale : NAN);
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
        if (layer_error(s, i)) {
            json_array_append_new(
                list, json_pack("{s:o,s:s,s:o}", "tensor",
                                json_text(name_of(s->fp32, s->match.layers[i].fp32)), "side",
                                "fp32", "reason", json_text(layer_error(s, i))));
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
        bool yes = !layer_error(s, rows[i]);
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

/* ---- layer, hist, channels: one layer, over the run or on one image ------------------------- */

/* The layer and the statistics to show: of the run, or of --image. */
static int choose_stats(struct call *c, size_t *layer, const struct layer_stats **st,
                        struct err *err)
{
    struct session *s = c->s;
    size_t n, *list;
    const char *image = call_opt(c, "--image");
    int rc = layer_list(s, c->args[0], &n, &list, err);
    if (rc) {
        return rc;
    }
    if (n != 1) {
        rc = err_set(err, E_USAGE, "'%s' stands for %zu layers, '%s' wants one", c->args[0], n,
                     c->cmd->name);
    }
    *layer = n ? list[0] : 0;
    free(list);
    if (!rc && image) {
        size_t at;
        rc = image_one(s, image, &at, err);
        rc = rc ? rc : session_capture(s, *layer, at, err);
        *st = &s->capture.stats;
    } else if (!rc) {
        if (!s->study) {
            return err_set(err, E_STATE, "'%s' needs results: run, or name an --image",
                           c->cmd->name);
        }
        *st = &s->study->layers[*layer];
        if (layer_error(s, *layer)) {
            rc = err_set(err, E_STATE, "layer '%s' could not be compared: %s",
                         s->match.layers[*layer].name, layer_error(s, *layer));
        }
    }
    return rc;
}

/* All metrics of a layer; what is judged of it stands last. */
static void layer_figures(struct call *c, size_t layer, const struct layer_stats *st)
{
    char safe[1024];
    for (const struct metric *m = metrics; m->name; m++) {
        if (m->of == METRIC_VERDICT) {
            const char *text = judged_text(c->s, layer, m);
            fprintf(c->out, "  %-16s %s\n", m->name,
                    text_safe(safe, sizeof safe, text ? text : "n/a"));
            continue;
        }
        double v = m->of != METRIC_CUMULATIVE ? layer_metric(c->s, layer, m)
                   : st->images               ? m->value(&st->all, st->scale)
                                              : NAN;
        fprintf(c->out, "  %-16s", m->name);
        rank_print_metric(c->out, m, v, 12);
        fprintf(c->out, " %-4s %s\n", m->unit, m->help);
    }
}

static int exec_layer(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const struct layer_stats *st;
    size_t i;
    int rc = choose_stats(c, &i, &st, err);
    if (rc) {
        return rc;
    }
    session_judge(s);
    const struct layer *l = &s->match.layers[i];
    const struct value *v = s->fp32 ? &s->fp32->values[l->fp32] : &s->int8->values[l->int8];
    if (s->json) {
        json_t *o = rank_layer_json(s, i, st), *shape = json_array();
        for (int d = 0; d < v->rank; d++) {
            json_array_append_new(shape, json_integer(v->dims[d]));
        }
        json_object_set_new(o, "shape", shape);
        json_object_set_new(o, "runs_as", json_text(session_runs_as(s, i)));
        json_object_set_new(o, "fp32_min", json_num(st->all.xmin));
        json_object_set_new(o, "fp32_max", json_num(st->all.xmax));
        json_object_set_new(o, "int8_min", json_num(st->all.ymin));
        json_object_set_new(o, "int8_max", json_num(st->all.ymax));
        emit_json(c, json_pack("{s:o}", "layer", o));
        return OK;
    }
    char shape[128], tensor[256];
    fprintf(c->out, "%s  %s  %s%s%s\n", session_layer_label(s, i), l->op,
            shape_text(shape, sizeof shape, v->rank, v->dims),
            session_pinned(s, i) ? "  PINNED " : "",
            session_pinned(s, i) ? precisions[session_precision(s, i)].title : "");
    fprintf(c->out, "  FP32 %s [%.6g, %.6g]\n",
            text_safe(tensor, sizeof tensor, name_of(s->fp32, l->fp32)), st->all.xmin,
            st->all.xmax);
    fprintf(c->out, "  INT8 %s [%.6g, %.6g]\n",
            text_safe(tensor, sizeof tensor, name_of(s->int8, l->int8)), st->all.ymin,
            st->all.ymax);
    if (l->quantized && l->q.n == 1) {
        fprintf(c->out, "  scale %.9g  zero point %d  %s\n", (double)l->q.scale[0], l->q.zero[0],
                dtype_name(l->q.dtype));
    }
    if (session_runs_as(s, i)[0]) {
        fprintf(c->out, "  %s\n", session_runs_as(s, i));
    }
    layer_figures(c, i, st);
    return OK;
}

/* Counts of a histogram brought onto `bins` bins of [lo, lo + bins*step). */
static void rebin(const struct hist *h, double lo, double step, int64_t bins, uint64_t *count)
{
    for (int i = 0; i < HIST_BINS; i++) {
        double middle = h->lo + (i + 0.5) * h->width;
        int64_t at = (int64_t)floor((middle - lo) / step);
        if (h->bin[i]) {
            count[MIN(MAX(at, 0), bins - 1)] += h->bin[i];
        }
    }
}

static json_t *counts_json(const uint64_t *count, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(list, json_integer((json_int_t)count[i]));
    }
    return list;
}

static void hist_text(FILE *out, double lo, double step, int64_t bins, const uint64_t *x,
                      const uint64_t *y, bool log)
{
    enum { WIDTH = 40 };
    uint64_t top = 1;
    for (int64_t i = 0; i < bins; i++) {
        top = MAX(top, MAX(x[i], y[i]));
    }
    double full = log ? log1p((double)top) : (double)top;
    for (int64_t i = 0; i < bins; i++) {
        double a = log ? log1p((double)x[i]) : (double)x[i];
        double b = log ? log1p((double)y[i]) : (double)y[i];
        fprintf(out, "%12.5g %10llu %10llu ", lo + (double)i * step, (unsigned long long)x[i],
                (unsigned long long)y[i]);
        for (int k = 0; k < WIDTH; k++) {
            bool f = a > full * k / WIDTH, q = b > full * k / WIDTH;
            fputc(f && q ? '#' : f ? 'f' : q ? 'q' : ' ', out);
        }
        fputc('\n', out);
    }
}

/* Both histograms on the same bins. */
struct counts {
    double lo, step;
    int64_t bins;
    uint64_t *x, *y; /* one allocation, at x */
};

static struct counts counts_new(const struct layer_stats *st, int64_t bins)
{
    double lo = fmin(st->all.xmin, st->all.ymin), hi = fmax(st->all.xmax, st->all.ymax);
    struct counts n = {.lo = lo, .step = hi > lo ? (hi - lo) / (double)bins : 1, .bins = bins};
    n.x = mem_alloc(2 * (size_t)bins * sizeof *n.x);
    n.y = n.x + bins;
    rebin(&st->fp32, n.lo, n.step, bins, n.x);
    rebin(&st->int8, n.lo, n.step, bins, n.y);
    return n;
}

json_t *rank_hist_json(const struct session *s, size_t layer, const struct layer_stats *st,
                       int64_t bins)
{
    struct counts n = counts_new(st, bins);
    json_t *o = json_pack("{s:o,s:o,s:o,s:o,s:o}", "name", json_text(s->match.layers[layer].name),
                          "low", json_num(fmin(st->all.xmin, st->all.ymin)), "high",
                          json_num(fmax(st->all.xmax, st->all.ymax)), "fp32",
                          counts_json(n.x, bins), "int8", counts_json(n.y, bins));
    free(n.x);
    return o;
}

static int exec_hist(struct call *c, struct err *err)
{
    const struct layer_stats *st;
    size_t layer;
    int64_t bins;
    int rc = choose_stats(c, &layer, &st, err);
    rc = rc ? rc : call_int(c, "--bins", 64, &bins, err);
    if (!rc && (bins < 1 || bins > HIST_BINS)) {
        rc = err_set(err, E_USAGE, "--bins is 1 to %d, found %lld", HIST_BINS, (long long)bins);
    }
    if (rc) {
        return rc;
    }
    if (c->s->json) {
        emit_json(c, rank_hist_json(c->s, layer, st, bins));
        return OK;
    }
    struct counts n = counts_new(st, bins);
    hist_text(c->out, n.lo, n.step, bins, n.x, n.y, call_opt(c, "--log") != NULL);
    free(n.x);
    return OK;
}

struct channel_row {
    size_t channel;
    double value;
    bool higher_is_better;
};

static int channel_cmp(const void *pa, const void *pb)
{
    const struct channel_row *a = pa, *b = pb;
    int nan = isnan(a->value) - isnan(b->value);
    int up = (a->value > b->value) - (a->value < b->value);
    int by = nan ? nan : a->higher_is_better ? up : -up;
    return by ? by : (a->channel > b->channel) - (a->channel < b->channel);
}

static int exec_channels(struct call *c, struct err *err)
{
    const struct layer_stats *st;
    size_t layer;
    const char *sort = call_opt(c, "--sort");
    char name[64] = "none";
    enum sort_dir dir = SORT_WORST;
    int rc = choose_stats(c, &layer, &st, err);
    rc = rc || !sort ? rc : parse_sort(sort, name, sizeof name, &dir, err);
    if (rc) {
        return rc;
    }
    const struct metric *by = metric_find(name);
    if (by && by->of != METRIC_CUMULATIVE) {
        return err_set(err, E_USAGE, "channels have no '%s'; see 'weights'", name);
    }
    struct channel_row *rows = mem_alloc((st->n_channels + 1) * sizeof *rows);
    for (size_t i = 0; i < st->n_channels; i++) {
        rows[i] = (struct channel_row){
            i, by ? by->value(&st->channel[i], st->scale) : 0,
            by && (dir == SORT_WORST ? by->higher_is_better : dir == SORT_ASC)};
    }
    if (by) {
        qsort(rows, st->n_channels, sizeof *rows, channel_cmp);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < st->n_channels; i++) {
        const struct sums *x = &st->channel[rows[i].channel];
        if (c->s->json) {
            json_t *o = json_pack("{s:I,s:o,s:o}", "channel", (json_int_t)rows[i].channel, "min",
                                  json_num(x->xmin), "max", json_num(x->xmax));
            set_metrics(o, x, st->scale);
            json_array_append_new(list, o);
        } else {
            fprintf(c->out, "channel %4zu  [%.5g, %.5g] ", rows[i].channel, x->xmin, x->xmax);
            rank_print_metric(c->out, &metrics[0], metrics[0].value(x, st->scale), 8);
            fprintf(c->out, " dB  saturated %.2f %%\n",
                    x->n ? 100.0 * (double)(x->sat_low + x->sat_high) / (double)x->n : 0);
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:o,s:O}", "name", json_text(c->s->match.layers[layer].name),
                               "channels", list));
    } else if (!st->n_channels) {
        fprintf(c->note, "the tensor has no channel axis\n");
    }
    free(rows);
    json_decref(list);
    return OK;
}

/* ---- metrics -------------------------------------------------------------------------------- */

static int exec_metrics(struct call *c, struct err *err)
{
    (void)err;
    json_t *list = json_array();
    for (const struct metric *m = metrics; m->name; m++) {
        if (c->s->json) {
            json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s,s:s}", "name", m->name, "unit",
                                                  m->unit, "higher_is_better", m->higher_is_better,
                                                  "help", m->help, "formula", m->formula));
        } else {
            fprintf(c->out, "%-16s %-4s %s\n%21s %s\n", m->name, m->unit, m->help, "", m->formula);
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "metrics", list));
    }
    json_decref(list);
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

static const struct opt_spec one_layer_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "on this image alone instead of the whole run", NULL},
    {0},
};

static const struct opt_spec hist_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "on this image alone instead of the whole run", NULL},
    {"--bins", ARG_COUNT, "N", "bins (64)", NULL},
    {"--log", ARG_FLAG, NULL, "logarithmic counts", NULL},
    {0},
};

static const struct opt_spec channels_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "on this image alone instead of the whole run", NULL},
    {"--sort", ARG_METRIC, "METRIC[:asc|:desc]", "worst first", NULL},
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
    {
        .name = "layer",
        .group = "layers",
        .help = "all metrics and ranges of one layer",
        .example = "layer @1",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, false, false}},
        .opts = one_layer_opts,
        .exec = exec_layer,
    },
    {
        .name = "hist",
        .group = "layers",
        .help = "histogram of a layer, FP32 against INT8",
        .detail = "f: only FP32 reaches this high, q: only INT8, #: both.",
        .example = "hist @1 --bins 24 --log",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, false, false}},
        .opts = hist_opts,
        .exec = exec_hist,
    },
    {
        .name = "channels",
        .group = "layers",
        .help = "metrics per channel of a layer",
        .example = "channels @1 --sort sqnr",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, false, false}},
        .opts = channels_opts,
        .exec = exec_channels,
    },
    {
        .name = "metrics",
        .group = "layers",
        .help = "list the metrics with their formulas and ideal values",
        .example = "metrics",
        .exec = exec_metrics,
    },
    {0},
};
