/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_scatter.c: all images of a run at once: how far the output of the label moves, counted, and
 * against the SQNR of the outputs.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum { LABELS = 9 };

static bool shown(const struct image_score *x)
{
    return x->ok && isfinite(x->dlogit);
}

static bool dlogit_span(const struct study *st, struct span_of *span)
{
    *span = (struct span_of){INFINITY, -INFINITY};
    for (size_t i = 0; i < st->n_images; i++)
        if (shown(&st->images[i])) {
            span->lo = MIN(span->lo, st->images[i].dlogit);
            span->hi = MAX(span->hi, st->images[i].dlogit);
        }
    if (span->hi < span->lo)
        return false;
    span->hi = span->hi > span->lo ? span->hi : span->lo + 1;
    return true;
}

static int place(double v, double lo, double hi, int cells)
{
    return MIN(MAX((int)((v - lo) / (hi - lo) * cells), 0), cells - 1);
}

static void draw_columns(struct grid *g, struct rect r, const size_t *all, const size_t *flips)
{
    size_t most = 1;
    for (int c = 0; c < r.cols; c++)
        most = MAX(most, all[c]);
    for (int c = 0; c < r.cols; c++) {
        const int high = all[c] ? MAX((int)lround((double)all[c] * r.rows / (double)most), 1) : 0;
        const int lost =
            flips[c] ? MAX((int)lround((double)flips[c] * r.rows / (double)most), 1) : 0;
        for (int y = 0; y < high; y++)
            grid_text(g, r.row + r.rows - 1 - y, r.col + c, 1, y < lost ? ST_BAD : ST_BAR,
                      y < lost   ? "x"
                      : g->ascii ? "#"
                                 : "\xe2\x96\x88");
    }
}

void draw_dlogit(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    struct span_of span;
    if (r.rows < 4 || r.cols < 20)
        return;
    draw_rule(g, r.row, r.col, r.cols, "images by dlogit (INT8 - FP32)   x flips");
    if (!s->study || !dlogit_span(s->study, &span))
        return;
    size_t *all = mem_alloc((size_t)r.cols * sizeof(*all));
    size_t *flips = mem_alloc((size_t)r.cols * sizeof(*flips));
    for (size_t i = 0; i < s->study->n_images; i++) {
        const struct image_score *x = &s->study->images[i];
        if (!shown(x))
            continue;
        const int c = place(x->dlogit, span.lo, span.hi, r.cols);
        all[c]++;
        flips[c] += x->flip != FLIP_NONE;
    }
    draw_columns(g, (struct rect){r.row + 1, r.col, r.rows - 2, r.cols}, all, flips);
    const int axis = r.row + r.rows - 1;
    char text[32];
    for (int c = 0; c < r.cols; c++)
        grid_text(g, axis, r.col + c, 1, ST_DIM, "-");
    if (span.lo < 0 && span.hi > 0)
        grid_text(g, axis, r.col + place(0, span.lo, span.hi, r.cols), 1, ST_BOLD, "0");
    grid_printf(g, axis, r.col, ST_NORMAL, "%.3g", span.lo);
    const int n = snprintf(text, sizeof(text), "%+.3g", span.hi);
    grid_text(g, axis, r.col + r.cols - n, n, ST_NORMAL, text);
    free(all);
    free(flips);
}

/* Order of drawing, and look: what matters most comes last. */
static int rank_of(const struct image_score *x, long current)
{
    return (long)x->image == current ? 3 : x->flip == FLIP_LOST ? 2 : x->flip == FLIP_GAINED;
}

void draw_scatter(const struct session *s, struct grid *g, struct rect r, long current)
{
    static const struct {
        const char *mark;
        enum style style;
    } looks[] = {{".", ST_DIM}, {"g", ST_GOOD}, {"x", ST_BAD}, {"@", ST_BOLD}};
    r = rect_clip(g, r);
    struct span_of y, x = {INFINITY, -INFINITY};
    if (r.rows < 4 || r.cols < 30)
        return;
    draw_rule(g, r.row, r.col, r.cols, "dlogit against SQNR   x lost  g gained  @ cursor");
    if (!s->study || !dlogit_span(s->study, &y))
        return;
    for (size_t i = 0; i < s->study->n_images; i++)
        if (shown(&s->study->images[i]) && isfinite(s->study->images[i].sqnr)) {
            x.lo = MIN(x.lo, s->study->images[i].sqnr);
            x.hi = MAX(x.hi, s->study->images[i].sqnr);
        }
    if (x.hi < x.lo)
        return;
    x.hi = x.hi > x.lo ? x.hi : x.lo + 1;
    const struct rect box = {r.row + 1, r.col + LABELS, r.rows - 2, r.cols - LABELS};
    for (int i = 0; i < box.rows; i++)
        grid_text(g, box.row + i, box.col - 1, 1, ST_DIM, "|");
    grid_printf(g, box.row, r.col, ST_DIM, "%*.3g", LABELS - 2, y.hi);
    grid_printf(g, box.row + box.rows - 1, r.col, ST_DIM, "%*.3g", LABELS - 2, y.lo);
    for (int c = 0; c < box.cols; c++)
        grid_text(g, box.row + box.rows, box.col + c, 1, ST_DIM, "-");
    char text[32];
    grid_printf(g, box.row + box.rows, box.col, ST_NORMAL, "%.3g", x.lo);
    const int n = snprintf(text, sizeof(text), "%.3g dB", x.hi);
    grid_text(g, box.row + box.rows, box.col + box.cols - n, n, ST_NORMAL, text);
    for (int pass = 0; pass < (int)COUNT(looks); pass++)
        for (size_t i = 0; i < s->study->n_images; i++) {
            const struct image_score *sc = &s->study->images[i];
            if (shown(sc) && isfinite(sc->sqnr) && rank_of(sc, current) == pass)
                grid_text(g, box.row + box.rows - 1 - place(sc->dlogit, y.lo, y.hi, box.rows),
                          box.col + place(sc->sqnr, x.lo, x.hi, box.cols), 1, looks[pass].style,
                          looks[pass].mark);
        }
}
