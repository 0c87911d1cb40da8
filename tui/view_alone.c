/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_alone.c: a layer of a model that is loaded without its other one: where its values lie, and
 * how often its codes are at their ends. What takes two models is named, not left blank.
 */
#include <math.h>

#include "tui/rank.h"
#include "tui/view.h"

/* "[0, 5.98]  zeros 53.1 %". */
static int print_range(char *dst, size_t size, const struct alone *a, const struct sums *x)
{
    int at = snprintf(dst, size, "[%.4g, %.4g]  zeros %.1f %%", a->lo, a->hi, a->zeros);
    if (x->nonfinite)
        at += snprintf(dst + at, size - (size_t)at, "  NaN or infinite %llu",
                       (unsigned long long)x->nonfinite);
    return at;
}

/* What the run has kept of a layer; NULL before, or when it was not computed. */
static const struct layer_stats *stats_of(const struct session *s, size_t layer)
{
    const struct layer_stats *st =
        s->study && layer < s->study->n_layers ? &s->study->layers[layer] : NULL;
    return st && st->images ? st : NULL;
}

char *text_alone(char *dst, size_t size, const struct session *s, size_t layer)
{
    const struct layer_stats *st = stats_of(s, layer);
    if (!st) {
        snprintf(dst, size, "-");
        return dst;
    }
    const struct alone a = alone_layer(s, layer, st);
    const int at = snprintf(dst, size, "%8.3g %8.3g %6.1f", a.lo, a.hi, a.zeros);
    if (!isnan(a.low))
        snprintf(dst + at, size - (size_t)at, " %6.2f %6.2f", a.low, a.high);
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
    char text[256], range[200];
    struct lines l = {.g = g, .r = rect_clip(g, r)};
    const struct layer_stats *st = stats_of(s, layer);
    const char *why = s->study && !st ? s->study->layer_errors[layer] : NULL;
    if (st) {
        const struct alone a = alone_layer(s, layer, st);
        print_range(range, sizeof(range), &a, &st->all);
        snprintf(text, sizeof(text), "%s %s  of %llu values, %llu images", a.side, range,
                 (unsigned long long)a.n, (unsigned long long)st->images);
        add_line(&l, ST_NORMAL, text);
        snprintf(text, sizeof(text), "codes at the low end %.2f %%, at the high end %.2f %%", a.low,
                 a.high);
        if (!isnan(a.low))
            add_line(&l, ST_NORMAL, text);
    }
    if (why)
        add_line(&l, ST_WARN, text_safe(text, sizeof(text), why));
    add_line(&l, ST_WARN,
             s->fp32 ? "no INT8 model, so no errors: load int8 FILE adds them"
                     : "no FP32 model, so no errors: load fp32 FILE adds them");
    return l.row;
}

int draw_alone_channel(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    char text[256];
    const struct layer_stats *st = stats_of(s, layer);
    r = rect_clip(g, r);
    if (!st || st->n_channels == 0 || r.rows < 2)
        return 0;
    const size_t here = MIN((size_t)MAX(s->ui.channel, 0), st->n_channels - 1);
    const struct sums *x = &st->channel[here];
    const uint64_t all = alone_layer(s, layer, st).n + st->all.nonfinite;
    const struct alone a = alone_of(s, layer, x, all / st->n_channels - x->nonfinite);
    snprintf(text, sizeof(text), "channels 0..%zu", st->n_channels - 1);
    draw_rule(g, r.row, r.col, r.cols, text);
    int at = snprintf(text, sizeof(text), "c%zu ", here);
    at += print_range(text + at, sizeof(text) - (size_t)at, &a, x);
    if (!isnan(a.low))
        snprintf(text + at, sizeof(text) - (size_t)at, "  ends %.2f %% low, %.2f %% high", a.low,
                 a.high);
    grid_text(g, r.row + 1, r.col, r.cols, ST_NORMAL, text);
    return 2;
}
