/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_layer.c: the questions about one layer, layer, hist and channels, and what metrics there are.
 * The listing of all is in cmd_rank.c.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/rank.h"
#include "tui/tui.h"

/* ---- One layer, over the run or on one image ------------------------------------------------- */

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
        if (rank_layer_error(s, *layer)) {
            rc = err_set(err, E_STATE, "layer '%s' could not be compared: %s",
                         s->match.layers[*layer].name, rank_layer_error(s, *layer));
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
    if (!s->pair) {
        return layer_alone(c, i, st, err);
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
            text_safe(tensor, sizeof tensor, rank_tensor(s->fp32, l->fp32)), st->all.xmin,
            st->all.xmax);
    fprintf(c->out, "  INT8 %s [%.6g, %.6g]\n",
            text_safe(tensor, sizeof tensor, rank_tensor(s->int8, l->int8)), st->all.ymin,
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
            rank_set_metrics(o, x, st->scale);
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

const struct cmd cmd_layer[] = {
    {
        .name = "layer",
        .group = "layers",
        .help = "all metrics and ranges of one layer",
        .detail = "Of one model alone: its range, zeros and how often its codes are at their ends.",
        .example = "layer @1",
        .needs = NEED_MODEL,
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
        .needs = NEED_MODEL,
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
