/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_log.c: every command that was given, by key or by hand, and what it answered, with the
 * prompt below. Beside it on wide terminals: the ranking, and the help of the command being typed.
 */
#include <stdlib.h>

#include "tui/view.h"

enum { BESIDE = 50, SCORE = 8, BAR = 8, CONTINUED = 4 /* indent of rows after the first */ };

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

/* What stands before the text of a line. */
static const char *log_head(char kind)
{
    return kind == '>' ? REPL_PROMPT : kind == 'e' ? "error: " : "";
}

static int draw_log_head(struct grid *g, int row, const struct rect *r, char kind)
{
    return grid_text(g, row, r->col, r->cols, kind == 'e' ? ST_BAD : ST_KEY, log_head(kind));
}

void draw_log_tail(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    const size_t shown = MIN(s->n_log, (size_t)MAX(r.rows, 0));
    for (size_t i = 0; i < shown; i++) {
        const struct log_line *l = &s->log[s->n_log - shown + i];
        const int row = r.row + (int)i, head = draw_log_head(g, row, &r, l->kind);
        char fit[1024];
        text_fit(fit, sizeof(fit), l->text, r.cols - head, TEXT_HEAD);
        grid_text(g, row, r.col + head, -1, log_style(l->kind), fit);
    }
}

/* Bytes of a long text for a row of that width: whole words, where there are some. */
static size_t row_bytes(const char *text, int cols)
{
    const size_t n = MAX(text_head(text, cols), (size_t)1);
    if (!text[0] || !text[n])
        return strlen(text);
    size_t blank = n;
    while (blank > 0 && text[blank] != ' ')
        blank--;
    return blank > n / 2 ? blank : n;
}

/* A row of a table, which broken in two could not be read. Its columns are set apart by two blanks
 * and more, somewhere by more than two; sentences have such gaps behind a name or two, lists of
 * figures two blanks everywhere. */
static bool is_table(const struct log_line *l)
{
    enum { GAPS = 3, GAP = 2 };
    size_t gaps = 0, widest = 0;
    const char *p = l->text + strspn(l->text, " ");
    for (size_t n; *(p += strcspn(p, " ")); p += n) {
        n = strspn(p, " ");
        gaps += n >= GAP && p[n];
        widest = MAX(widest, p[n] ? n : 0);
    }
    return l->kind == ' ' && gaps >= GAPS && widest > GAP;
}

/* Lines of the log that are one table. The names in front of its figures stay in view. */
struct table {
    size_t from, to;
    int width;
    int fixed; /* columns of names; 0: there is no gap behind them that all rows have */
};

static struct table table_at(const struct session *s, size_t line, int cols)
{
    enum { RANK = 8, MOST = 256 }; /* columns in front of names, and with them */
    struct table t = {.from = line, .to = line + 1};
    bool used[MOST] = {false};
    while (t.from > 0 && is_table(&s->log[t.from - 1]))
        t.from--;
    while (t.to < s->n_log && is_table(&s->log[t.to]))
        t.to++;
    const int most = MIN(cols / 2, MOST);
    for (size_t i = t.from; i < t.to; i++) {
        int c = 0;
        t.width = MAX(t.width, text_width(s->log[i].text));
        for (const char *p = s->log[i].text; *p && c < most; p++)
            if ((*p & 0xc0) != 0x80) /* the first byte of a character */
                used[c++] |= *p != ' ';
    }
    for (int c = RANK; c + 1 < most && !t.fixed; c++)
        t.fixed = used[c] || used[c + 1] ? 0 : c + 1;
    return t;
}

static int draw_some(struct grid *g, int row, int col, int cols, const char *text)
{
    char *part = mem_printf("%.*s", (int)text_head(text, cols), text);
    grid_text(g, row, col, cols, ST_NORMAL, part);
    free(part);
    return cols;
}

/* The part of a row that is seen, with marks where there is more of it. `t`: the table of the row
 * drawn before. */
static void draw_table_row(const struct session *s, struct grid *g, const struct rect *r,
                           size_t line, struct table *t)
{
    const char *text = s->log[line].text;
    if (line >= t->to)
        *t = table_at(s, line, r->cols);
    const int skip = MIN(s->ui.log_col, MAX(t->width - r->cols, 0));
    const int at = r->col + draw_some(g, r->row, r->col, t->fixed, text);
    draw_some(g, r->row, at, r->cols - t->fixed, text + text_head(text, t->fixed + skip));
    if (skip > 0)
        grid_text(g, r->row, at, 1, ST_KEY, "<");
    if (text_width(text) - skip > r->cols)
        grid_text(g, r->row, r->col + r->cols - 1, 1, ST_KEY, ">");
}

/* A line of the log over as many rows as it takes; nothing is cut, since it stands nowhere else.
 * Draws those from `skip` on where g is there, and returns how many it takes: one of a table. */
static int log_rows(const struct log_line *l, struct grid *g, struct rect r, int skip)
{
    const char *text = l->text;
    int rows = 0;
    if (is_table(l))
        return 1; /* drawn with the rest of it */
    do {
        const int indent = rows ? CONTINUED : text_width(log_head(l->kind));
        const size_t n = row_bytes(text, MAX(r.cols - indent, 1));
        const int row = r.row + rows - skip;
        if (g && rows >= skip && row < r.row + r.rows) {
            char *part = mem_printf("%.*s", (int)n, text);
            if (!rows)
                draw_log_head(g, row, &r, l->kind);
            grid_text(g, row, r.col + indent, r.cols - indent, log_style(l->kind), part);
            free(part);
        }
        text += n;
        text += strspn(text, " ");
        rows++;
    } while (*text);
    return rows;
}

static struct rect transcript_rect(int cols)
{
    return (struct rect){.col = 1, .cols = (cols >= VIEW_WIDE ? cols - BESIDE : cols) - 2};
}

/* Rows for the transcript above the prompt. */
static int log_height(const struct session *s)
{
    return MAX(1, (s->ui.rows > 0 ? s->ui.rows : 24) - 5);
}

size_t log_page(const struct session *s, size_t from, bool up)
{
    const int height = log_height(s);
    const struct rect r = transcript_rect(s->ui.cols > 0 ? s->ui.cols : 80);
    size_t n = 0;
    for (int rows = 0; up ? n <= from : from + n < s->n_log; n++) {
        rows += log_rows(&s->log[up ? from - n : from + n], NULL, r, 0);
        if (rows > height)
            break;
    }
    return MAX(n, (size_t)1);
}

/* The window ends at the cursor: the log is read from its end backwards. */
static size_t log_end(const struct session *s)
{
    return s->n_log - MIN(s->ui.log_row, s->n_log ? s->n_log - 1 : 0);
}

/* The first line of what fills so many rows up to `end`; *used: rows that they take. */
static size_t log_first(const struct session *s, struct rect r, size_t end, int height, int *used)
{
    size_t first = end;
    for (*used = 0; first > 0 && *used < height;)
        *used += log_rows(&s->log[--first], NULL, r, 0);
    return first;
}

bool log_scroll(struct session *s, int step)
{
    const struct rect r = transcript_rect(s->ui.cols > 0 ? s->ui.cols : 80);
    const size_t end = log_end(s);
    int used, most = 0;
    size_t i = log_first(s, r, end, log_height(s), &used);
    for (; i < end; i++)
        if (is_table(&s->log[i]))
            most = MAX(most, text_width(s->log[i].text) - r.cols);
    s->ui.log_col = MAX(MIN(s->ui.log_col + step * MAX(r.cols / 4, 1), most), 0);
    return most > 0;
}

/* The transcript, the prompt under its last line, and under that what can follow. */
static void draw_transcript(const struct session *s, struct grid *g, struct rect r)
{
    const size_t end = log_end(s);
    int all, used;
    log_first(s, r, end, r.rows, &all);
    const int most = MAX(MAX(1, r.rows / 3), r.rows - 1 - all);
    const int choices = s->typing ? choices_rows(s, r.cols, most) : 0;
    const int height = MAX(1, r.rows - 1 - choices);
    const size_t first = log_first(s, r, end, height, &used);
    struct table table = {0};
    int row = r.row;
    for (size_t i = first; i < end; i++) {
        const int skip = i == first ? MAX(used - height, 0) : 0;
        const struct rect left = {row, r.col, r.row + height - row, r.cols};
        row += log_rows(&s->log[i], g, left, skip) - skip;
        if (left.rows > 0 && is_table(&s->log[i]))
            draw_table_row(s, g, &left, i, &table);
    }
    if (s->typing) {
        draw_typed(s, g, (struct rect){row, r.col, 1, r.cols});
        draw_choices(s, g, (struct rect){row + 1, r.col, MIN(choices, r.rows - 1), r.cols});
    } else if (s->ui.log_row) {
        grid_printf(g, row, r.col, ST_DIM, "line %zu of %zu; G follows the end", end, s->n_log);
    } else {
        const int at = r.col + grid_text(g, row, r.col, r.cols, ST_KEY, REPL_PROMPT);
        grid_text(g, row, at, r.col + r.cols - at, ST_DIM,
                  s->n_log ? "Enter types here" : "Enter types here; what is done stands above");
    }
}

/* Rank, state, name, figure and bar of the first layers, as the layers view ranks them. */
static void draw_ranking(const struct session *s, struct grid *g, struct rect r)
{
    struct rows rows = rows_of(s, VIEW_LAYERS);
    const struct metric *m = s->ui.sort;
    char caption[128];
    snprintf(caption, sizeof(caption), "layers by %s", m ? m->name : "order of the network");
    draw_rule(g, r.row, r.col, r.cols, caption);
    const int name = r.cols - 6 - SCORE - 1 - BAR;
    const struct name_cut cut = name_cut_for(s, name);
    for (int i = 0; i < MIN((int)rows.n_items, r.rows - 1); i++) {
        const size_t layer = rows.item[i];
        const int row = r.row + 1 + i;
        char text[256];
        const struct layer_stats *st = s->study ? &s->study->layers[layer] : NULL;
        grid_printf(g, row, r.col, ST_NORMAL, "%3d %c", i + 1, view_layer_state(s, layer));
        name_fit(text, sizeof(text), session_layer_label(s, layer), cut, name);
        grid_text(g, row, r.col + 6, name, ST_NORMAL, text);
        if (!st || !m || !s->pair)
            continue;
        grid_printf(g, row, r.col + 6 + name, ST_NORMAL, "%*s", SCORE,
                    text_metric(text, sizeof(text), m, &st->all, st->scale));
        const double db = metric_find("sqnr")->value(&st->all, st->scale);
        draw_bar(g, row, r.col + r.cols - BAR, BAR, (40 - db) / 40, grade_style(db));
    }
    if (rows.n_items == 0)
        grid_text(g, r.row + 1, r.col, r.cols, ST_DIM, "no layers");
    rows_fini(&rows);
}

/* Text with its lines broken at blanks; returns rows used. */
static int draw_wrapped(struct grid *g, struct rect r, enum style st, const char *text)
{
    int row = 0, col = 0;
    for (const char *p = text; *p && row < r.rows;) {
        const int n = (int)strcspn(p, " ");
        char *word = mem_printf("%.*s", n, p);
        const int width = text_width(word);
        if (col && col + 1 + width > r.cols) {
            row++;
            col = 0;
        }
        if (row < r.rows)
            grid_text(g, r.row + row, r.col + col + (col > 0), r.cols - col - (col > 0), st, word);
        col += width + (col > 0);
        free(word);
        p += n + (p[n] == ' ');
    }
    return row + 1;
}

static void draw_command_help(const struct session *s, struct grid *g, struct rect r)
{
    const struct typing *t = s->typing;
    const struct cmd *c = t ? cmd_typed(s, t->line, t->point) : NULL;
    char caption[64];
    snprintf(caption, sizeof(caption), "help%s%s", c ? " " : "", c ? c->name : "");
    draw_rule(g, r.row, r.col, r.cols, caption);
    int row = r.row + 1;
    const int end = r.row + r.rows;
    if (!c) {
        draw_wrapped(g, (struct rect){row, r.col, end - row, r.cols}, ST_DIM,
                     "The command being typed is explained here. Tab lists what can follow, "
                     "`apropos WORD` finds commands.");
        return;
    }
    char *usage = cmd_usage(c);
    row += draw_wrapped(g, (struct rect){row, r.col, end - row, r.cols}, ST_HEAD, usage);
    row += draw_wrapped(g, (struct rect){row, r.col, end - row, r.cols}, ST_NORMAL, c->help);
    for (const struct opt_spec *o = c->opts; o && o->name && row < end; o++) {
        const int at = grid_printf(g, row, r.col, ST_KEY, "%-15s", o->name);
        row += draw_wrapped(g, (struct rect){row, r.col + at + 1, end - row, r.cols - at - 1},
                            ST_NORMAL, o->help);
    }
    if (c->detail && row + 1 < end)
        draw_wrapped(g, (struct rect){row + 1, r.col, end - row - 1, r.cols}, ST_DIM, c->detail);
    free(usage);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    struct rect r = transcript_rect(g->cols);
    r.row = top;
    r.rows = rows;
    if (g->cols >= VIEW_WIDE) {
        const int col = g->cols - BESIDE, half = rows / 2;
        const char *bar = g->ascii ? "|" : "\xe2\x94\x82";
        for (int i = 0; i < rows; i++)
            grid_text(g, top + i, col, 1, ST_DIM, bar);
        draw_ranking(s, g, (struct rect){top, col + 2, half, BESIDE - 2});
        draw_command_help(s, g, (struct rect){top + half, col + 2, rows - half, BESIDE - 2});
    }
    draw_transcript(s, g, r);
}

const struct view view_log = {
    .name = "log",
    .title = "REPL",
    .help = "every command given and what it answered; Enter types the next one",
    .draw = draw,
};
