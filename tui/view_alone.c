/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_alone.c: a layer of a model that is loaded without its other one: where its values lie, and
 * how often its codes are at their ends. What takes two models is named, not left blank.
 */
#include "tui/view.h"

static enum side side_of(const struct session *s)
{
    return s->fp32 ? SIDE_FP32 : SIDE_INT8;
}

static double percent(uint64_t part, uint64_t n)
{
    return n ? 100.0 * (double)part / (double)n : 0;
}

/* "[0, 5.98]  zeros 53.1 %". n: values. */
static int print_range(char *dst, size_t size, enum side side, const struct sums *x, uint64_t n)
{
    const bool fp32 = side == SIDE_FP32;
    int at = snprintf(dst, size, "[%.4g, %.4g]  zeros %.1f %%", fp32 ? x->xmin : x->ymin,
                      fp32 ? x->xmax : x->ymax, percent(x->zeros, n));
    if (x->nonfinite)
        at += snprintf(dst + at, size - (size_t)at, "  NaN or infinite %llu",
                       (unsigned long long)x->nonfinite);
    return at;
}

/* What the run has kept of a layer; NULL before, or when it was not computed. */
static const struct layer_stats *stats_of(const struct session *s, size_t layer, uint64_t *n)
{
    const struct layer_stats *st =
        s->study && layer < s->study->n_layers ? &s->study->layers[layer] : NULL;
    if (!st || !st->images)
        return NULL;
    *n = side_of(s) == SIDE_FP32 ? st->fp32.n : st->int8.n;
    return st;
}

static bool has_ends(const struct session *s, size_t layer)
{
    const struct layer *l = &s->match.layers[layer];
    return l->quantized && l->q.n == 1;
}

char *text_alone(char *dst, size_t size, const struct session *s, size_t layer)
{
    uint64_t n;
    const struct layer_stats *st = stats_of(s, layer, &n);
    const struct sums *x = st ? &st->all : NULL;
    const bool fp32 = side_of(s) == SIDE_FP32;
    if (!st)
        snprintf(dst, size, "-");
    else if (has_ends(s, layer))
        snprintf(dst, size, "%8.3g %8.3g %6.1f %6.2f %6.2f", x->ymin, x->ymax, percent(x->zeros, n),
                 percent(x->sat_low, n), percent(x->sat_high, n));
    else
        snprintf(dst, size, "%8.3g %8.3g %6.1f", fp32 ? x->xmin : x->ymin, fp32 ? x->xmax : x->ymax,
                 percent(x->zeros, n));
    return dst;
}

/* Lines of a pane, as many as there is room for. */
struct lines {
    struct grid *g;
    struct rect r;
    int row;
};

static void add_line(struct lines *l, enum style st, const char *text)
{
    if (l->row < l->r.rows)
        grid_text(l->g, l->r.row + l->row++, l->r.col, l->r.cols, st, text);
}

int draw_alone(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    const bool fp32 = side_of(s) == SIDE_FP32;
    char text[256], range[200];
    uint64_t n;
    struct lines l = {.g = g, .r = rect_clip(g, r)};
    const struct layer_stats *st = stats_of(s, layer, &n);
    const char *why = s->study && !st ? s->study->layer_errors[layer] : NULL;
    if (st) {
        print_range(range, sizeof(range), side_of(s), &st->all, n);
        snprintf(text, sizeof(text), "%s %s  of %llu values, %llu images", fp32 ? "FP32" : "INT8",
                 range, (unsigned long long)n, (unsigned long long)st->images);
        add_line(&l, ST_NORMAL, text);
    }
    if (st && has_ends(s, layer)) {
        snprintf(text, sizeof(text), "codes at the low end %.2f %%, at the high end %.2f %%",
                 percent(st->all.sat_low, n), percent(st->all.sat_high, n));
        add_line(&l, ST_NORMAL, text);
    }
    if (why)
        add_line(&l, ST_WARN, text_safe(text, sizeof(text), why));
    add_line(&l, ST_WARN,
             fp32 ? "no INT8 model, so no errors: load int8 FILE adds them"
                  : "no FP32 model, so no errors: load fp32 FILE adds them");
    return l.row;
}

int draw_alone_channel(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    char text[256];
    uint64_t n;
    const struct layer_stats *st = stats_of(s, layer, &n);
    r = rect_clip(g, r);
    if (!st || st->n_channels == 0 || r.rows < 2)
        return 0;
    const size_t here = MIN((size_t)MAX(s->ui.channel, 0), st->n_channels - 1);
    const struct sums *x = &st->channel[here];
    snprintf(text, sizeof(text), "channels 0..%zu", st->n_channels - 1);
    draw_rule(g, r.row, r.col, r.cols, text);
    n /= st->n_channels;
    int at = snprintf(text, sizeof(text), "c%zu ", here);
    at += print_range(text + at, sizeof(text) - (size_t)at, side_of(s), x, n);
    if (has_ends(s, layer))
        snprintf(text + at, sizeof(text) - (size_t)at, "  ends %.2f %% low, %.2f %% high",
                 percent(x->sat_low, n), percent(x->sat_high, n));
    grid_text(g, r.row + 1, r.col, r.cols, ST_NORMAL, text);
    return 2;
}
