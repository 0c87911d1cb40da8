/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_pins.c: what is pinned in which precision and whether the last run knows of it, what more
 * pins would gain, how the set came about, and the same as lines for a script.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/edits.h"
#include "tui/view.h"

enum { GAIN = 10, MACS = 8, STATE = 26, NAME_MIN = 20, LEFT = 80, LEFT_MOST = 110 };

struct layout {
    int name, gain, macs, state; /* first columns; -1: there is no such column */
    struct name_cut cut;
};

/* In narrow terminals the mark before the name says what the state would, in brief. */
static struct layout layout_for(const struct session *s, int cols)
{
    struct layout l = {.name = 4, .macs = -1, .state = -1};
    int room = cols - l.name - GAIN - NAME_MIN;
    const bool state = room >= STATE, macs = room - (state ? STATE : 0) >= MACS;
    l.gain = cols - (state ? STATE : 0) - (macs ? MACS : 0) - GAIN;
    if (macs)
        l.macs = l.gain + GAIN;
    if (state)
        l.state = cols - STATE;
    l.cut = name_cut_for(s, l.gain - l.name - 1);
    return l;
}

static const char *state_words(const struct session *s, size_t layer)
{
    const bool pinned = session_pinned(s, layer);
    if (session_pin_pending(s, layer))
        return pinned ? "pinned, R runs again" : "unpinned, R runs again";
    /* Gains are those beside the pins that were in force when they were measured. */
    if (!pinned)
        return trial_in_force(s, &s->sweep->base) ? "what if: p pins it" : "what if, of older pins";
    return s->study ? "in force in the last run" : "pinned, not run yet";
}

/* The state of a row, behind its precision where that is not FP32. */
static void draw_state(const struct session *s, struct grid *g, int row, int col, size_t layer)
{
    const enum precision as = session_precision(s, layer);
    const enum style st = session_pin_pending(s, layer) ? ST_WARN : ST_DIM;
    const char *words = state_words(s, layer);
    if (session_pinned(s, layer) && as != PREC_FP32) {
        const bool prefix = strncmp(words, "pinned, ", 8) == 0; /* the precision says that too */
        grid_printf(g, row, col, st, "%s, %s", precisions[as].name,
                    prefix     ? words + 8
                    : s->study ? "in the last run"
                               : words);
        return;
    }
    grid_text(g, row, col, STATE, st, words);
}

static void draw_pin_row(const struct session *s, struct grid *g, int row, const struct layout *l,
                         size_t layer, const double *gain)
{
    const int width = l->gain - l->name - 1;
    const char mark[2] = {view_layer_state(s, layer), '\0'};
    char text[256];
    grid_text(g, row, 2, 1, ST_PIN, mark);
    name_fit(text, sizeof(text), session_layer_label(s, layer), l->cut, width);
    grid_text(g, row, l->name, width, ST_NORMAL, text);
    if (gain && !isnan(gain[layer]) && !session_pinned(s, layer)) {
        const struct outcome *o = s->sweep->outcome;
        const bool plain = isfinite(gain[layer]) && fabs(gain[layer]) < 1e5;
        snprintf(text, sizeof(text), plain ? "%+.*f" : "%+.*g", o->digits, gain[layer]);
        grid_printf(g, row, l->gain, gain[layer] > 0 ? ST_GOOD : ST_BAD, "%*s", GAIN - 1, text);
    }
    if (s->costs && l->macs >= 0)
        grid_printf(g, row, l->macs, ST_NORMAL, "%*.1f", MACS - 2,
                    macs_share(s, s->costs[layer].macs));
    if (l->state >= 0)
        draw_state(s, g, row, l->state, layer);
}

static void draw_head(const struct session *s, struct grid *g, int row, int cols,
                      const struct layout *l, size_t pinned, bool gain)
{
    char text[96], unit[32];
    grid_style(g, row, 0, cols, ST_HEAD);
    const size_t edits = session_edits(s);
    if (edits)
        snprintf(text, sizeof(text), "P LAYER (%zu pinned, %zu edit%s of the models)", pinned,
                 edits, edits == 1 ? "" : "s");
    else
        snprintf(text, sizeof(text), "P LAYER (%zu pinned)", pinned);
    const int end = gain || l->macs < 0 ? l->gain + 2 : l->macs;
    grid_text(g, row, 2, end - 3, ST_HEAD, text);
    if (gain) {
        snprintf(unit, sizeof(unit), "GAIN %s", s->sweep->outcome->unit);
        grid_printf(g, row, l->gain, ST_HEAD, "%*.*s", GAIN - 1, GAIN - 1, unit);
    }
    if (l->macs >= 0)
        grid_printf(g, row, l->macs, ST_HEAD, "%*s", MACS - 2, "MACS%");
    if (l->state >= 0)
        grid_text(g, row, l->state, STATE, ST_HEAD, "STATE");
}

static void draw_pin_rows(const struct session *s, struct grid *g, struct rect box)
{
    struct rows r = rows_of(s, VIEW_PINS);
    const struct layout l = layout_for(s, box.cols);
    double *gain = whatif_gains(s);
    size_t pinned = 0;
    for (size_t i = 0; i < r.n; i++)
        pinned += session_pinned(s, r.item[i]);
    draw_head(s, g, box.row, box.cols, &l, pinned, gain != NULL);
    if (r.n == 0)
        grid_text(g, box.row + 2, 3, -1, ST_DIM,
                  "nothing is pinned: p on a layer pins it to FP32, b to fewer bits");
    const size_t first = rows_top(&r, box.rows - 1);
    for (size_t i = first; i < r.n && (int)(i - first) < box.rows - 1; i++) {
        const int row = box.row + 1 + (int)(i - first);
        draw_pin_row(s, g, row, &l, r.item[i], gain);
        draw_row_end(g, row, box.cols, i, i == r.cursor);
    }
    free(gain);
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
    if (!s->pair)
        grid_text(g, row, 1, -1, ST_DIM, "pins take both models: load pair FP32 INT8");
    else if (isfinite(fp32))
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
    draw_rule(g, r.row, r.col, r.cols, r.cols < 30 ? "history" : "history (u undo, U redo)");
    const size_t room = (size_t)r.rows - 1;
    /* What is in force stands in the middle, so that what can be redone is seen as well. */
    size_t first = s->at_undo > room / 2 ? s->at_undo - room / 2 : 0;
    if (first + room > s->n_undo)
        first = s->n_undo > room ? s->n_undo - room : 0;
    for (size_t i = first; i < s->n_undo && i - first < room; i++) {
        char label[400], fit[400], did[200];
        const char *text = s->undo[i].label ? s->undo[i].label : "all INT8";
        text_safe(label, sizeof(label), text);
        session_step_did(s, i, did, sizeof(did));
        if (did[0])
            snprintf(label + strlen(label), sizeof(label) - strlen(label), "  (%s)", did);
        text_fit(fit, sizeof(fit), label, r.cols - 14, TEXT_HEAD);
        const bool here = i == s->at_undo;
        grid_printf(g, r.row + 1 + (int)(i - first), r.col, here ? ST_BOLD : ST_DIM,
                    "%s %3zu pin%s  %s",
                    here             ? ">"
                    : i > s->at_undo ? "+"
                                     : " ",
                    s->undo[i].n, s->undo[i].n == 1 ? " " : "s", fit);
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
    for (size_t i = 1; i <= s->at_undo && row < pins_end; i++) {
        if (session_step_edit(s, i)) { /* it asks the last run */
            char safe[400], fit[400];
            text_safe(safe, sizeof(safe), s->undo[i].label);
            text_fit(fit, sizeof(fit), safe, r.cols - 2, TEXT_HEAD);
            grid_text(g, row++, r.col + 1, -1, ST_NORMAL, fit);
        }
    }
    for (size_t i = 0; p && i < p->n && row < pins_end; i++, row++) {
        char *word = cmd_quote(session_pin_word(s, p, i));
        char safe[256], fit[256];
        text_safe(safe, sizeof(safe), word);
        const enum precision as = (enum precision)p->as[i];
        text_fit(fit, sizeof(fit), safe, r.cols - (as ? 17 : 6), TEXT_TAIL);
        if (row + 1 == pins_end && i + 1 < p->n)
            grid_printf(g, row, r.col + 1, ST_DIM, "... %zu more", p->n - i);
        else
            grid_printf(g, row, r.col + 1, ST_NORMAL, "pin %s%s%s", fit, as ? " --as " : "",
                        as ? precisions[as].name : "");
        free(word);
    }
    static const char *const rest[] = {"run", "layers", "export mixed.onnx"};
    for (size_t i = 0; i < COUNT(rest) && row < end; i++, row++)
        grid_text(g, row, r.col + 1, -1, ST_NORMAL, rest[i]);
}

/* List, history and script at the left; what was tried at the right. */
static void draw_wide(const struct session *s, struct grid *g, int top, int rows)
{
    const int table = rows / 2, width = MAX(LEFT, MIN(LEFT_MOST, g->cols / 2));
    draw_pin_rows(s, g, (struct rect){top, 0, table, width});
    draw_scores(s, g, top + table);
    const int low = top + table + 1, left = rows - table - 1;
    draw_history(s, g, (struct rect){low, 1, left / 2, width - 2});
    draw_script(s, g, (struct rect){low + left / 2, 1, left - left / 2, width - 2});
    for (int i = 0; i < rows; i++)
        grid_text(g, top + i, width, 1, ST_DIM, g->ascii ? "|" : "\xe2\x94\x82");
    const int plot = rows * 3 / 5;
    draw_pareto(s, g, (struct rect){top, width + 2, plot, g->cols - width - 3});
    draw_front(s, g, (struct rect){top + plot, width + 2, rows - plot, g->cols - width - 3});
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    if (g->cols >= VIEW_WIDE) {
        draw_wide(s, g, top, rows);
        return;
    }
    const int table = MAX(3, rows / 2 - 1);
    draw_pin_rows(s, g, (struct rect){top, 0, table, g->cols});
    draw_scores(s, g, top + table);
    struct rect low = {top + table + 1, 1, rows - table - 1, g->cols - 2};
    if (g->cols < 80) {
        draw_history(s, g, low);
        return;
    }
    /* What was tried is worth more than what can be had from `history` and `pins`. */
    low.cols = s->sweep ? g->cols * 2 / 3 - 2 : g->cols / 2 - 2;
    if (s->sweep)
        draw_pareto(s, g, low);
    else
        draw_history(s, g, low);
    low.col += low.cols + 1;
    low.cols = g->cols - low.col - 1;
    if (s->sweep)
        draw_history(s, g, low);
    else
        draw_script(s, g, low);
}

const struct view view_pins = {
    .name = "pins",
    .title = "Pins",
    .help = "layers pinned to FP32, what others would gain, value against cost, history",
    .draw = draw,
};
