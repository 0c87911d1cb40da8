/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_classes.c: the classes that both models see first in one image, side by side.
 */
#include <math.h>

#include "tui/view.h"

enum { FIGURE = 8, BAR_MIN = 24 };

static void draw_side(const struct session *s, struct grid *g, struct rect r,
                      const struct image_score *sc, enum side side)
{
    const struct top_classes *t = &sc->top[side];
    const int bar = r.cols >= BAR_MIN ? MIN(8, r.cols / 4) : 0;
    const int name = MAX(4, r.cols - FIGURE - bar - (bar ? 2 : 1));
    const enum style st = side == SIDE_FP32 ? ST_FP32 : ST_INT8;
    const bool loaded = side == SIDE_FP32 ? s->fp32 : s->int8;
    grid_printf(g, r.row, r.col, st, "%s%s", side == SIDE_FP32 ? "FP32" : "INT8",
                t->n     ? ""
                : loaded ? "  (not computed)"
                         : "  (not loaded)");
    for (int i = 0; i < MIN(t->n, r.rows - 1); i++) {
        const int row = r.row + 1 + i;
        const bool label = sc->label >= 0 && t->c[i].label == sc->label;
        const double shown = (double)(s->ui.raw_classes ? t->c[i].value : t->c[i].p);
        char text[256], fit[256];
        text_fit(fit, sizeof(fit), text_class(text, sizeof(text), &s->data, t->c[i].label), name,
                 TEXT_HEAD);
        grid_text(g, row, r.col, name, label ? ST_GOOD : ST_NORMAL, fit);
        grid_printf(g, row, r.col + name, ST_NORMAL, "%*s", FIGURE,
                    text_number(text, sizeof(text), shown, FIGURE - 1));
        if (bar)
            draw_bar(g, row, r.col + name + FIGURE + 1, bar, (double)t->c[i].p, st);
    }
}

int draw_classes(const struct session *s, struct grid *g, struct rect r, long image)
{
    const struct image_score *sc = image >= 0 ? session_score(s, (size_t)image) : NULL;
    const int half = r.cols / 2;
    r = rect_clip(g, r);
    if (!sc || !sc->ok || r.rows < 3 || (!sc->top[SIDE_FP32].n && !sc->top[SIDE_INT8].n))
        return 0;
    draw_rule(g, r.row, r.col, r.cols,
              s->ui.raw_classes ? "top 5, values of the output" : "top 5, probabilities");
    const int rows = MIN(r.rows - 1, TOP_CLASSES + 1);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++)
        draw_side(s, g, (struct rect){r.row + 1, r.col + half * (int)side, rows, half - 1}, sc,
                  side);
    if (r.rows < rows + 2 || sc->label < 0 || !isfinite(sc->margin))
        return rows + 1;
    char text[256];
    grid_printf(g, r.row + rows + 1, r.col, ST_DIM, "label %s: place %d > %d, margin %+.3g",
                text_class(text, sizeof(text), &s->data, sc->label), sc->top[SIDE_FP32].label_rank,
                sc->top[SIDE_INT8].label_rank, sc->margin);
    return rows + 2;
}
