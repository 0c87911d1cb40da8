/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_pane.c: pieces that several views show: rules, bars, facts of a layer, the strip of channels
 * and the profile along the network. Pictures are in view_plot.c.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/graph.h"

struct rect rect_clip(const struct grid *g, struct rect r)
{
    r.rows = MAX(0, MIN(r.rows, g->rows - r.row));
    r.cols = MAX(0, MIN(r.cols, g->cols - r.col));
    return r;
}

void draw_row_end(struct grid *g, int row, int cols, size_t item, bool cursor)
{
    if (cursor) {
        grid_text(g, row, 0, 1, ST_CURSOR, ">");
        grid_style(g, row, 0, cols, ST_CURSOR);
    }
    grid_link(g, row, 0, cols, "cursor to %zu", item + 1);
}

void draw_rule(struct grid *g, int row, int col, int width, const char *caption)
{
    const char *line = g->ascii ? "-" : "\xe2\x94\x80";
    for (int c = col; c < MIN(col + width, g->cols); c++)
        grid_text(g, row, c, 1, ST_DIM, line);
    if (caption && width > 6) {
        char text[256];
        snprintf(text, sizeof(text), " %s ", caption);
        grid_text(g, row, col + 2, width - 3, ST_HEAD, text);
    }
}

char *axis_text(char *dst, size_t size, double v, double step)
{
    const double digits = step > 0 ? MAX(ceil(1 - log10(step)), 0) : 1;
    if (digits <= 4 && fabs(v) < 1e6)
        snprintf(dst, size, "%.*f", (int)digits, v);
    else
        snprintf(dst, size, "%.4g", v);
    return dst;
}

void draw_bar(struct grid *g, int row, int col, int width, double share, enum style st)
{
    const int full = isfinite(share) ? (int)lround(width * MIN(MAX(share, 0), 1)) : 0;
    for (int i = 0; i < width; i++) {
        const bool on = i < full;
        const char *ch = g->ascii ? (on ? "#" : ".") : (on ? "\xe2\x96\x88" : "\xe2\x96\x91");
        grid_text(g, row, col + i, 1, on ? st : ST_DIM, ch);
    }
}

/* Grades of SQNR: upper limits in dB, letter, style. */
static const struct {
    double below;
    char letter;
    enum style style;
} grades[] = {
    {5, '@', ST_BAD},   {10, '%', ST_BAD},   {15, '#', ST_BAD},        {20, '+', ST_WARN},
    {30, '-', ST_WARN}, {300, '.', ST_GOOD}, {INFINITY, '.', ST_GOOD},
};

char grade_letter(double db)
{
    if (isnan(db))
        return '?';
    if (db == INFINITY)
        return '=';
    for (size_t i = 0; i < COUNT(grades); i++)
        if (db < grades[i].below)
            return grades[i].letter;
    return '.';
}

enum style grade_style(double db)
{
    for (size_t i = 0; i < COUNT(grades); i++)
        if (db < grades[i].below)
            return grades[i].style;
    return isnan(db) ? ST_DIM : ST_GOOD;
}

int heat_level(double v, double lo, double hi)
{
    if (!isfinite(v) || !(hi > lo))
        return 0;
    return (int)MIN(MAX(floor(32 * (v - lo) / (hi - lo)), 0), 31);
}

static void state_text(const struct session *s, size_t layer, char *dst, size_t size)
{
    const bool pinned = session_pinned(s, layer), pending = session_pin_pending(s, layer);
    snprintf(dst, size, "%s",
             s->match.layers[layer].quantized || !s->int8 ? "" : "[float in INT8]");
    if (pinned || pending)
        snprintf(dst, size, "[%s%s%s]", pinned ? "PINNED " : "UNPINNED",
                 pinned ? precisions[session_precision(s, layer)].title : "",
                 pending ? ", not run again yet" : "");
}

/* Parameters of the codes: "int8 scale 0.0235294 zp -128", with the range they can hold. */
static void quant_text(const struct layer *l, char *dst, size_t size)
{
    const struct quant *q = &l->q;
    int64_t lo, hi;
    if (!l->quantized || q->n == 0 || !dtype_range(q->dtype, &lo, &hi))
        snprintf(dst, size, "not quantized in the INT8 model");
    else if (q->n > 1)
        snprintf(dst, size, "%s, %zu scales along axis %d", dtype_name(q->dtype), q->n, q->axis);
    else
        snprintf(dst, size, "%s scale %.6g zp %d  holds [%.4g, %.4g]", dtype_name(q->dtype),
                 (double)q->scale[0], (int)q->zero[0],
                 (double)q->scale[0] * (double)(lo - q->zero[0]),
                 (double)q->scale[0] * (double)(hi - q->zero[0]));
}

/* All metrics of a layer, as many to a line as fit. Returns rows used. */
static int draw_metrics(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    int row = 0, at = r.col;
    for (const struct metric *m = metrics; m->name && row < r.rows; m++) {
        char text[96], value[48];
        if (m->of != METRIC_CUMULATIVE)
            continue; /* in the evidence */
        text_layer(value, sizeof(value), s, layer, m);
        snprintf(text, sizeof(text), "%s %s%s%s", m->name, value, m->unit[0] ? " " : "", m->unit);
        const int width = text_width(text);
        if (at > r.col && at + width > r.col + r.cols) {
            row++;
            at = r.col;
        }
        if (row < r.rows)
            at += 3 + grid_text(g, r.row + row, at, r.cols - (at - r.col), ST_NORMAL, text);
    }
    return MIN(row + 1, r.rows);
}

int draw_facts(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    r = rect_clip(g, r);
    if (r.rows < 1)
        return 0;
    const struct layer *l = &s->match.layers[layer];
    char fit[256], op[96], shape[96], quant[128];
    int row = 0;
    text_fit(fit, sizeof(fit), session_layer_label(s, layer), r.cols, TEXT_TAIL);
    grid_text(g, r.row + row++, r.col, r.cols, ST_BOLD, fit);
    graph_op_text(s, s->map->of_layer[layer], op, sizeof(op));
    text_shape(shape, sizeof(shape),
               l->fp32 >= 0 ? &s->fp32->values[l->fp32] : &s->int8->values[l->int8]);
    if (row < r.rows) {
        char line[512];
        char state[64];
        state_text(s, layer, state, sizeof(state));
        snprintf(line, sizeof(line), "%s  %s  %s%s%s", op, shape, state, state[0] ? "  " : "",
                 session_runs_as(s, layer));
        text_fit(fit, sizeof(fit), line, r.cols, TEXT_HEAD);
        grid_text(g, r.row + row++, r.col, r.cols, ST_NORMAL, fit);
    }
    quant_text(l, quant, sizeof(quant));
    if (row < r.rows && s->int8)
        grid_text(g, r.row + row++, r.col, r.cols, ST_NORMAL, quant);
    if (!s->pair)
        return row +
               draw_alone(s, g, (struct rect){r.row + row, r.col, r.rows - row, r.cols}, layer);
    if (!s->study || layer >= s->study->n_layers)
        return row;
    const struct sums *sums = &s->study->layers[layer].all;
    if (row < r.rows && sums->n > 0) {
        char line[160];
        snprintf(line, sizeof(line), "FP32 [%.4g, %.4g]  INT8 [%.4g, %.4g]  %llu images",
                 sums->xmin, sums->xmax, sums->ymin, sums->ymax,
                 (unsigned long long)s->study->layers[layer].images);
        grid_text(g, r.row + row++, r.col, r.cols, ST_NORMAL, line);
    }
    const struct rect rest = {r.row + row, r.col, r.rows - row, r.cols};
    return row + (rest.rows > 0 ? draw_metrics(s, g, rest, layer) : 0);
}

/* Worst channels in words: "worst c7 2.1 dB  c19 6.8 dB". */
static void worst_channels(const double *db, size_t n, char *dst, size_t size)
{
    size_t used[3], n_used = 0, at = 0;
    dst[0] = '\0';
    while (n_used < COUNT(used) && n_used < n) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            bool taken = isnan(db[i]);
            for (size_t k = 0; k < n_used; k++)
                taken |= used[k] == i;
            if (!taken && (best == n || db[i] < db[best]))
                best = i;
        }
        if (best == n || at >= size)
            return;
        used[n_used++] = best;
        at += (size_t)snprintf(dst + at, size - at, "%sc%zu %.1f dB", at ? "  " : "worst ", best,
                               db[best]);
    }
}

int draw_channels(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    r = rect_clip(g, r);
    const struct metric *sqnr = metric_find("sqnr");
    const struct layer_stats *st =
        s->study && layer < s->study->n_layers ? &s->study->layers[layer] : NULL;
    if (r.rows < 2 || !sqnr || r.cols < 10)
        return 0;
    const size_t n = st ? st->n_channels : 0;
    char text[200];
    if (!s->pair && n > 0)
        return draw_alone_channel(s, g, r, layer);
    if (n == 0) {
        draw_rule(g, r.row, r.col, r.cols, st ? "no channel axis" : "channels: not run yet");
        return 1;
    }
    double *db = mem_alloc(n * sizeof(*db));
    for (size_t i = 0; i < n; i++)
        db[i] = sqnr->value(&st->channel[i], st->scale);
    const size_t here = MIN((size_t)MAX(s->ui.channel, 0), n - 1);
    snprintf(text, sizeof(text), "channels 0..%zu  SQNR @<5 %%<10 #<15 +<20 -<30 . dB", n - 1);
    draw_rule(g, r.row, r.col, r.cols, text);
    /* One cell a channel; when there are more, a cell shows the worst of its group. */
    const size_t cells = MIN(n, (size_t)r.cols);
    for (size_t c = 0; c < cells; c++) {
        const size_t from = c * n / cells, to = MAX((c + 1) * n / cells, from + 1);
        double worst = NAN;
        for (size_t i = from; i < to; i++)
            if (isnan(worst) || db[i] < worst)
                worst = db[i];
        const char letter[2] = {grade_letter(worst), '\0'};
        const bool at = here >= from && here < to;
        grid_text(g, r.row + 1, r.col + (int)c, 1, at ? ST_CURSOR : grade_style(worst), letter);
    }
    if (r.rows > 2) {
        char worst[128];
        worst_channels(db, n, worst, sizeof(worst));
        snprintf(text, sizeof(text), "c%zu %.1f dB   %s%s", here, db[here], worst,
                 cells < n ? "   (a cell shows the worst of its group)" : "");
        grid_text(g, r.row + 2, r.col, r.cols, ST_NORMAL, text);
    }
    free(db);
    return MIN(r.rows, 3);
}
