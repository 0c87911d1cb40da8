/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_edit.c: the line being typed, and what can follow in it. The log view shows it below its
 * transcript, every other view in its last row.
 */
#include <stdlib.h>

#include "tui/view.h"

enum { WORD_MOST = 40 };

static void blank(struct grid *g, struct rect r)
{
    for (int row = r.row; row < r.row + r.rows; row++)
        for (int c = r.col; c < r.col + r.cols; c++)
            grid_text(g, row, c, 1, ST_NORMAL, " ");
}

static int widest(char *const *list)
{
    int most = 8;
    for (char *const *p = list; *p; p++)
        most = MAX(most, MIN(text_width(*p), WORD_MOST));
    return most;
}

static int count(char *const *list)
{
    int n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* Whether each word has a line of its own, with what it means. */
static bool told(const struct session *s, char *const *list, int most)
{
    const struct typing *t = s->typing;
    bool all = count(list) <= most;
    for (char *const *p = list; *p && all; p++)
        all = cmd_choice_help(s, t->line, t->point, *p) != NULL;
    return all;
}

int choices_rows(const struct session *s, int cols, int most)
{
    char *const *list = s->typing->choices;
    const int n = count(list);
    if (n == 0)
        return 0;
    const int across = MAX(1, (cols - 2) / (widest(list) + 2));
    return told(s, list, most) ? n : MIN((n + across - 1) / across, MAX(most, 1));
}

void draw_choices(const struct session *s, struct grid *g, struct rect r)
{
    const struct typing *t = s->typing;
    char *const *list = t->choices;
    if (r.rows <= 0 || count(list) == 0)
        return;
    const bool lines = told(s, list, r.rows);
    const int width = widest(list);
    const int across = lines ? 1 : MAX(1, (r.cols - 2) / (width + 2));
    blank(g, r);
    for (int i = 0; i < MIN(count(list), r.rows * across); i++) {
        const int row = r.row + i / across, col = r.col + 1 + i % across * (width + 2);
        const bool more = i + 1 == r.rows * across && list[i + 1];
        char safe[256], fit[256];
        text_fit(fit, sizeof(fit), text_safe(safe, sizeof(safe), more ? "..." : list[i]), width,
                 TEXT_TAIL);
        grid_text(g, row, col, width, ST_KEY, fit);
        if (lines)
            grid_text(g, row, col + width + 2, r.col + r.cols - col - width - 2, ST_DIM,
                      cmd_choice_help(s, t->line, t->point, list[i]));
    }
}

void draw_typed(const struct session *s, struct grid *g, struct rect r)
{
    struct typing *t = s->typing;
    char prompt[256];
    const size_t room = 4 * strlen(t->line) + 64; /* what stands for a control is longer */
    char *safe = mem_alloc(room), *head = mem_alloc(room);
    char *before = mem_printf("%.*s", (int)t->point, t->line);
    text_safe(prompt, sizeof(prompt), t->prompt);
    text_safe(safe, room, t->line);
    text_safe(head, room, before);
    blank(g, (struct rect){r.row, r.col, 1, r.cols});
    const int at = r.col + grid_text(g, r.row, r.col, r.cols, ST_KEY, prompt);
    /* A line longer than the room shows the part around its cursor. */
    int cursor = text_width(head);
    const char *shown = safe;
    while (cursor > MAX(r.col + r.cols - at - 2, 1) && *shown) {
        char one[8] = {*shown++, '\0'};
        for (size_t i = 1; ((unsigned char)*shown & 0xc0) == 0x80; shown++)
            if (i + 1 < sizeof(one))
                one[i++] = *shown;
        cursor -= text_width(one);
    }
    grid_text(g, r.row, at, MAX(r.col + r.cols - at, 0), ST_NORMAL, shown);
    t->row = r.row;
    t->col = at + cursor;
    free(safe);
    free(head);
    free(before);
}

void draw_edit(const struct session *s, struct grid *g)
{
    const int most = MAX(1, g->rows / 3), rows = choices_rows(s, g->cols, most);
    draw_choices(s, g, (struct rect){g->rows - 1 - rows, 0, rows, g->cols});
    draw_typed(s, g, (struct rect){g->rows - 1, 0, 1, g->cols});
}
