/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_plot.c: histograms of a layer and the profile of a metric along the network, made of
 * characters that say the same without colour. Feature maps and images are in view_picture.c.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

/* Statistics to draw for a layer: those of the run, else those of the captured image. */
const struct layer_stats *plot_stats(const struct session *s, size_t layer)
{
    const struct layer_stats *st =
        s->study && layer < s->study->n_layers ? &s->study->layers[layer] : NULL;
    if (st && st->fp32.n + st->int8.n > 0)
        return st;
    if ((s->capture.fp32 || s->capture.int8) && s->capture.layer == layer)
        return &s->capture.stats;
    return NULL;
}

/* Range the codes can hold, over all channels; false when not quantized. */
bool plot_integer_range(const struct layer *l, double *lo, double *hi)
{
    int64_t qlo, qhi;
    const struct quant *q = &l->q;
    if (!l->quantized || q->n == 0 || !dtype_range(q->dtype, &qlo, &qhi))
        return false;
    *lo = INFINITY;
    *hi = -INFINITY;
    for (size_t i = 0; i < q->n; i++) {
        const double s = (double)q->scale[i];
        *lo = MIN(*lo, s * (double)(qlo - q->zero[i]));
        *hi = MAX(*hi, s * (double)(qhi - q->zero[i]));
    }
    return true;
}

/* Counts of h spread over n columns from lo on, `step` wide each; a bin that lies in two columns
 * is shared out by its overlap. */
void plot_spread(const struct hist *h, double lo, double step, size_t n, double *count)
{
    for (size_t c = 0; c < n; c++)
        count[c] = 0;
    for (size_t i = 0; i < HIST_BINS && h->n > 0; i++) {
        if (h->bin[i] == 0)
            continue;
        const double from = (h->lo + (double)i * h->width - lo) / step;
        const double to = from + h->width / step;
        const long first = (long)MAX(floor(from), 0), last = (long)MIN(ceil(to), (double)n);
        for (long c = first; c < last; c++) {
            const double part = MIN(to, (double)c + 1) - MAX(from, (double)c);
            if (part > 0)
                count[c] += (double)h->bin[i] * part / (to - from);
        }
    }
}

static double bar_height(double count, double most, int rows, bool logarithmic)
{
    if (!(count > 0) || !(most > 0))
        return 0;
    const double share = logarithmic ? log1p(count) / log1p(most) : count / most;
    return MAX(share * rows, 0.5); /* a single value is still seen */
}

/* "-2.1 ----- 0 ------ 6.0|~~~~ 14.8": ends of the integer range as |, beyond them ~. */
static void draw_axis(struct grid *g, int row, int col, int cols, double lo, double hi,
                      const struct layer *l)
{
    double qlo = 0, qhi = 0;
    char text[32];
    const double step = (hi - lo) / cols;
    const bool limits = plot_integer_range(l, &qlo, &qhi);
    for (int c = 0; c < cols; c++) {
        const double at = lo + (c + 0.5) * step;
        const bool out = limits && (at < qlo || at > qhi);
        const bool end = limits && (fabs(at - qlo) <= step / 2 || fabs(at - qhi) <= step / 2);
        grid_text(g, row, col + c, 1, end || out ? ST_WARN : ST_DIM, end ? "|" : out ? "~" : "-");
    }
    if (lo < 0 && hi > 0)
        grid_text(g, row, col + (int)(-lo / step), 1, ST_BOLD, "0");
    grid_printf(g, row, col, ST_NORMAL, "%.3g", lo);
    snprintf(text, sizeof(text), "%.3g", hi);
    grid_text(g, row, col + cols - (int)strlen(text), -1, ST_NORMAL, text);
}

struct bars {
    int n;      /* columns */
    bool alone; /* there is one side only */
    double *fp32, *int8;
    double most;
};

static void draw_bars(const struct session *s, struct grid *g, struct rect r, const struct bars *b)
{
    const bool lg = !s->ui.linear;
    const char *both = g->ascii ? "#" : "\xe2\x96\x88";
    for (int c = 0; c < b->n; c++) {
        double f = b->fp32[c], q = b->int8[c];
        if (s->ui.diff) {
            const double d = f - q;
            f = MAX(d, 0);
            q = MAX(-d, 0);
        }
        const double hf = bar_height(f, b->most, r.rows, lg);
        const double hq = bar_height(q, b->most, r.rows, lg);
        for (int y = 0; y < r.rows; y++) {
            const bool in_f = hf > y + 0.25, in_q = hq > y + 0.25;
            const int row = r.row + r.rows - 1 - y;
            if (b->alone && (in_f || in_q))
                grid_text(g, row, r.col + c, 1, in_f ? ST_FP32 : ST_INT8, both);
            else if (in_f && in_q)
                grid_text(g, row, r.col + c, 1, ST_BAR, both);
            else if (in_f || in_q)
                grid_text(g, row, r.col + c, 1, in_f ? ST_FP32 : ST_INT8, in_f ? "f" : "q");
        }
    }
}

void draw_histogram(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    r = rect_clip(g, r);
    if (r.rows < 3 || r.cols < 20)
        return;
    const struct layer_stats *st = plot_stats(s, layer);
    char caption[128];
    const char *only = r.cols >= 66 ? " only" : "";
    if (s->pair)
        snprintf(caption, sizeof(caption), "histogram, %s%s   # both  f FP32%s  q INT8%s",
                 s->ui.linear ? "count" : "log count", s->ui.diff ? ", difference" : "", only,
                 only);
    else
        snprintf(caption, sizeof(caption), "histogram of %s, %s", s->fp32 ? "FP32" : "INT8",
                 s->ui.linear ? "count" : "log count");
    draw_rule(g, r.row, r.col, r.cols, caption);
    if (!st || st->fp32.n + st->int8.n == 0) {
        grid_text(g, r.row + 1, r.col + 1, -1, ST_DIM, "nothing measured yet: R runs");
        return;
    }
    double lo = MIN(st->all.xmin, st->all.ymin), hi = MAX(st->all.xmax, st->all.ymax);
    if (!(hi > lo)) {
        lo -= 0.5;
        hi += 0.5;
    }
    const double step = (hi - lo) / r.cols;
    struct bars b = {.n = r.cols, .alone = !s->pair};
    b.fp32 = mem_alloc((size_t)b.n * sizeof(*b.fp32));
    b.int8 = mem_alloc((size_t)b.n * sizeof(*b.int8));
    plot_spread(&st->fp32, lo, step, (size_t)b.n, b.fp32);
    plot_spread(&st->int8, lo, step, (size_t)b.n, b.int8);
    for (int c = 0; c < b.n; c++)
        b.most = MAX(b.most, s->ui.diff ? fabs(b.fp32[c] - b.int8[c]) : MAX(b.fp32[c], b.int8[c]));
    draw_bars(s, g, (struct rect){r.row + 1, r.col, r.rows - 2, r.cols}, &b);
    draw_axis(g, r.row + r.rows - 1, r.col, r.cols, lo, hi, &s->match.layers[layer]);
    free(b.fp32);
    free(b.int8);
}

/* ---- Along the network ------------------------------------------------------------------------
 */

/* What a curve shows of a layer, and its mark. */
struct curve {
    double (*of)(const struct session *s, size_t layer, const void *ctx);
    const void *ctx;
    bool higher_is_better;
    char mark;
    enum style style;
    double *v; /* per column */
};

enum { CURVE_LEFT = 10 }; /* columns for the figures of the axis */

/* The worst value in each column's stretch of the network. */
static void curve_columns(const struct session *s, struct curve *k, int n)
{
    const size_t layers = s->study->n_layers;
    k->v = mem_alloc((size_t)MAX(n, 1) * sizeof(*k->v));
    for (int c = 0; c < n; c++) {
        const size_t from = (size_t)c * layers / (size_t)n;
        const size_t to = MAX(((size_t)c + 1) * layers / (size_t)n, from + 1);
        k->v[c] = NAN;
        for (size_t i = from; i < to && i < layers; i++) {
            const double x = k->of(s, i, k->ctx);
            if (isfinite(x) &&
                (isnan(k->v[c]) || (k->higher_is_better ? x < k->v[c] : x > k->v[c])))
                k->v[c] = x;
        }
    }
}

static void draw_curve(struct grid *g, struct rect r, const struct curve *k, double lo, double hi)
{
    const int rows = r.rows - 2;
    for (int c = 0; c < r.cols - CURVE_LEFT; c++) {
        if (isnan(k->v[c]))
            continue;
        const double share = hi > lo ? (hi - k->v[c]) / (hi - lo) : 0;
        const int y = (int)lround(share * (rows - 1));
        const char mark[2] = {k->mark, '\0'};
        grid_text(g, r.row + 1 + y, r.col + CURVE_LEFT + c, 1, k->style, mark);
    }
}

/* Later curves are drawn over earlier ones. */
static void draw_curves(const struct session *s, struct grid *g, struct rect r, const char *caption,
                        struct curve *curves, size_t n_curves)
{
    r = rect_clip(g, r);
    if (r.rows < 5 || r.cols < 24)
        return;
    draw_rule(g, r.row, r.col, r.cols, caption);
    if (!s->study || s->study->n_layers == 0)
        return;
    const int n = r.cols - CURVE_LEFT, rows = r.rows - 2;
    double lo = INFINITY, hi = -INFINITY;
    for (size_t k = 0; k < n_curves; k++) {
        curve_columns(s, &curves[k], n);
        for (int c = 0; c < n; c++)
            if (!isnan(curves[k].v[c])) {
                lo = MIN(lo, curves[k].v[c]);
                hi = MAX(hi, curves[k].v[c]);
            }
    }
    const double step = (hi - lo) / MAX(rows - 1, 1);
    for (int y = 0; y < rows && hi >= lo; y++) {
        char text[32];
        if (y % 2 == 0)
            grid_printf(g, r.row + 1 + y, r.col, ST_DIM, "%*s", CURVE_LEFT - 1,
                        axis_text(text, sizeof(text), hi - step * y, 2 * step));
        grid_text(g, r.row + 1 + y, r.col + CURVE_LEFT - 1, 1, ST_DIM, "|");
    }
    for (size_t k = 0; k < n_curves; k++) {
        if (hi >= lo)
            draw_curve(g, r, &curves[k], lo, hi);
        free(curves[k].v);
    }
    grid_text(g, r.row + r.rows - 1, r.col + CURVE_LEFT, n, ST_DIM, "input  depth ->");
}

static double pooled(const struct session *s, size_t layer, const void *ctx)
{
    const struct layer_stats *st = &s->study->layers[layer];
    return ((const struct metric *)ctx)->value(&st->all, st->scale);
}

static double on_image(const struct session *s, size_t layer, const void *ctx)
{
    (void)s;
    return profile_db(((const int16_t *)ctx)[layer]);
}

void draw_profile(const struct session *s, struct grid *g, struct rect r)
{
    const struct metric *m = s->ui.sort ? s->ui.sort : metric_find("sqnr");
    char caption[96];
    if (!s->pair)
        return;
    struct curve one = {.of = pooled,
                        .ctx = m,
                        .higher_is_better = m->higher_is_better,
                        .mark = '*',
                        .style = ST_BAR};
    snprintf(caption, sizeof(caption), "%s along the network", m->title);
    draw_curves(s, g, r, caption, &one, 1);
}

bool draw_image_profile(const struct session *s, struct grid *g, struct rect r, long image)
{
    const struct image_score *sc = image >= 0 ? session_score(s, (size_t)image) : NULL;
    if (!sc || !sc->layer_sqnr)
        return false;
    struct curve both[] = {{.of = pooled,
                            .ctx = metric_find("sqnr"),
                            .higher_is_better = true,
                            .mark = '-',
                            .style = ST_DIM},
                           {.of = on_image,
                            .ctx = sc->layer_sqnr,
                            .higher_is_better = true,
                            .mark = '*',
                            .style = ST_BAR}};
    draw_curves(s, g, r, "SQNR of layers   * this image   - all images", both, COUNT(both));
    return true;
}
