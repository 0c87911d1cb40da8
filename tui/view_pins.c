/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_pins.c: what is pinned to FP32 and whether the last run knows of it, how it came about, and
 * the same as lines for a script.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

static void draw_pin_rows(const struct session *s, struct grid *g, struct rect box)
{
    struct rows r = rows_of(s, VIEW_PINS);
    char text[256];
    grid_style(g, box.row, 0, box.cols, ST_HEAD);
    grid_printf(g, box.row, 2, ST_HEAD, "P LAYER (%zu)", r.n);
    grid_text(g, box.row, box.cols - 34, -1, ST_HEAD, "STATE");
    if (r.n == 0)
        grid_text(g, box.row + 2, 3, -1, ST_DIM, "nothing is pinned: p on a layer pins it to FP32");
    const size_t first = rows_top(&r, box.rows - 1);
    for (size_t i = first; i < r.n && (int)(i - first) < box.rows - 1; i++) {
        const int row = box.row + 1 + (int)(i - first);
        const size_t layer = r.item[i];
        const bool pinned = session_pinned(s, layer), pending = session_pin_pending(s, layer);
        const char *state = !pinned    ? "unpinned, R runs again"
                            : pending  ? "pinned, R runs again"
                            : s->study ? "in force in the last run"
                                       : "pinned, not run yet";
        const char mark[2] = {view_layer_state(s, layer), '\0'};
        grid_text(g, row, 2, 1, ST_PIN, mark);
        text_fit(text, sizeof(text), session_layer_label(s, layer), box.cols - 40, TEXT_TAIL);
        grid_text(g, row, 4, box.cols - 40, ST_NORMAL, text);
        grid_text(g, row, box.cols - 34, -1, pending ? ST_WARN : ST_GOOD, state);
        if (i == r.cursor) {
            grid_text(g, row, 0, 1, ST_CURSOR, ">");
            grid_style(g, row, 0, box.cols, ST_CURSOR);
        }
    }
    rows_fini(&r);
}

/* Accuracy or, without labels, what the last run says of the outputs. */
static void draw_scores(const struct session *s, struct grid *g, int row)
{
    const struct study *st = s->study;
    if (!st || st->n_images == 0) {
        grid_text(g, row, 1, -1, ST_DIM, "not run yet");
        return;
    }
    const double fp32 = study_accuracy(st, SIDE_FP32), int8 = study_accuracy(st, SIDE_INT8);
    const size_t pins = s->run_pins ? s->run_pins->n : 0;
    if (isfinite(fp32))
        grid_printf(g, row, 1, ST_BOLD,
                    "last run, %zu pins: top1 FP32 %.2f %%  INT8 %.2f %%  (%+.2f)  %zu images",
                    pins, fp32, int8, int8 - fp32, st->labelled);
    else
        grid_printf(g, row, 1, ST_BOLD, "last run, %zu pins: %zu images, %zu changed their answer",
                    pins, st->n_images, st->lost);
}

static void draw_history(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    if (r.rows < 2)
        return;
    draw_rule(g, r.row, r.col, r.cols, "history (u undo, U redo)");
    const size_t room = (size_t)r.rows - 1;
    /* What is in force stands in the middle, so that what can be redone is seen as well. */
    size_t first = s->at_undo > room / 2 ? s->at_undo - room / 2 : 0;
    if (first + room > s->n_undo)
        first = s->n_undo > room ? s->n_undo - room : 0;
    for (size_t i = first; i < s->n_undo && i - first < room; i++) {
        char label[200], fit[200];
        const char *text = s->undo[i].label ? s->undo[i].label : "all INT8";
        text_safe(label, sizeof(label), text);
        text_fit(fit, sizeof(fit), label, r.cols - 14, TEXT_HEAD);
        const bool here = i == s->at_undo;
        grid_printf(g, r.row + 1 + (int)(i - first), r.col, here ? ST_BOLD : ST_DIM,
                    "%s %3zu pins  %s",
                    here             ? ">"
                    : i > s->at_undo ? "+"
                                     : " ",
                    s->undo[i].n, fit);
    }
}

static void draw_script(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    if (r.rows < 2)
        return;
    draw_rule(g, r.row, r.col, r.cols, "the same as a script");
    int row = r.row + 1;
    const int end = r.row + r.rows;
    const struct pin_state *p = s->n_undo ? &s->undo[s->at_undo] : NULL;
    const int pins_end = MAX(row, end - 3);
    for (size_t i = 0; p && i < p->n && row < pins_end; i++, row++) {
        char *word = cmd_quote(p->names[i]);
        char safe[256], fit[256];
        text_safe(safe, sizeof(safe), word);
        text_fit(fit, sizeof(fit), safe, r.cols - 6, TEXT_TAIL);
        if (row + 1 == pins_end && i + 1 < p->n)
            grid_printf(g, row, r.col + 1, ST_DIM, "... %zu more", p->n - i);
        else
            grid_printf(g, row, r.col + 1, ST_NORMAL, "pin %s", fit);
        free(word);
    }
    static const char *const rest[] = {"run", "layers", "export mixed.onnx"};
    for (size_t i = 0; i < COUNT(rest) && row < end; i++, row++)
        grid_text(g, row, r.col + 1, -1, ST_NORMAL, rest[i]);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    const int table = MAX(3, rows / 2 - 1);
    draw_pin_rows(s, g, (struct rect){top, 0, table, g->cols});
    draw_scores(s, g, top + table);
    struct rect low = {top + table + 1, 1, rows - table - 1, g->cols - 2};
    if (g->cols >= 80) {
        low.cols = g->cols / 2 - 2;
        draw_history(s, g, low);
        low.col = g->cols / 2;
        low.cols = g->cols - low.col - 1;
        draw_script(s, g, low);
    } else {
        draw_history(s, g, low);
    }
}

const struct view view_pins = {
    .name = "pins",
    .title = "Pins",
    .help = "layers pinned to FP32, their history, the same as a script",
    .draw = draw,
};
