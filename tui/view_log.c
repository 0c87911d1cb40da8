/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_log.c: every command that was given, by key or by hand, and what it answered.
 */
#include "tui/view.h"

static enum style log_style(char kind)
{
    switch (kind) {
    case '>':
        return ST_BOLD;
    case 'e':
        return ST_BAD;
    case 'n':
        return ST_DIM;
    default:
        return ST_NORMAL;
    }
}

static void draw_line(const struct session *s, struct grid *g, int row, struct rect r, size_t line)
{
    const struct log_line *l = &s->log[line];
    int at = r.col;
    if (l->kind == '>')
        at += grid_text(g, row, at, r.cols, ST_KEY, "qscope> ");
    else if (l->kind == 'e')
        at += grid_text(g, row, at, r.cols, ST_BAD, "error: ");
    char fit[1024];
    text_fit(fit, sizeof(fit), l->text, r.cols - (at - r.col), TEXT_HEAD);
    grid_text(g, row, at, -1, log_style(l->kind), fit);
}

void draw_log_tail(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    const size_t shown = MIN(s->n_log, (size_t)MAX(r.rows, 0));
    for (size_t i = 0; i < shown; i++)
        draw_line(s, g, r.row + (int)i, r, s->n_log - shown + i);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    const int height = rows - 1;
    /* The window ends at the cursor: the log is read from its end backwards. */
    const size_t end = s->n_log - MIN(s->ui.log_row, s->n_log ? s->n_log - 1 : 0);
    const size_t first = end > (size_t)height ? end - (size_t)height : 0;
    const struct rect r = {.row = top, .col = 1, .rows = height, .cols = g->cols - 2};
    for (size_t i = first; i < end; i++)
        draw_line(s, g, top + (int)(i - first), r, i);
    if (s->n_log == 0)
        grid_text(g, top + 1, 2, -1, ST_DIM,
                  "nothing yet: every command and its answer stands here");
    grid_printf(g, top + rows - 1, 0, ST_DIM, " line %zu of %zu%s", end, s->n_log,
                s->ui.log_row ? "   G follows the end" : "");
}

const struct view view_log = {
    .name = "log",
    .title = "Log",
    .help = "every command given and what it answered",
    .draw = draw,
};
