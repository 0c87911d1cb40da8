/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * grid.c: cells in memory. All drawing of the screen goes here, so that a view can be tested as
 * text and shown by any terminal. It knows characters and their widths, not what they mean.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "tui/tui.h"

enum { GRID_MAX = 4096 }; /* rows or columns; more than any terminal reports in earnest */

struct grid *grid_new(int rows, int cols, bool ascii)
{
    struct grid *g = mem_alloc(sizeof(*g));
    g->rows = MIN(MAX(rows, 1), GRID_MAX);
    g->cols = MIN(MAX(cols, 1), GRID_MAX);
    g->ascii = ascii;
    g->cells = mem_alloc((size_t)g->rows * (size_t)g->cols * sizeof(*g->cells));
    grid_clear(g);
    return g;
}

static void links_forget(struct grid *g)
{
    while (g->n_links > 0)
        free(g->links[--g->n_links].line);
}

void grid_free(struct grid *g)
{
    if (!g)
        return;
    links_forget(g);
    free(g->links);
    free(g->cells);
    free(g);
}

void grid_clear(struct grid *g)
{
    const struct cell blank = {.ch = " "};
    for (size_t i = 0; i < (size_t)g->rows * (size_t)g->cols; i++)
        g->cells[i] = blank;
    g->hole = (struct rect){0};
    links_forget(g);
}

void grid_link(struct grid *g, int row, int col, int width, const char *fmt, ...)
{
    if (!g->mouse)
        return;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const size_t size = (size_t)vsnprintf(NULL, 0, fmt, again) + 1;
    va_end(again);
    char *line = mem_alloc(size);
    vsnprintf(line, size, fmt, ap);
    va_end(ap);
    g->links = mem_push(g->links, g->n_links, &g->cap_links, sizeof(*g->links));
    g->links[g->n_links++] = (struct link){row, col, width < 0 ? g->cols - col : width, line};
}

const char *grid_line_at(const struct grid *g, int row, int col)
{
    for (size_t i = g->n_links; i > 0; i--) {
        const struct link *l = &g->links[i - 1];
        if (l->row == row && col >= l->col && col < l->col + l->width)
            return l->line;
    }
    return NULL;
}

static struct cell *cell_at(const struct grid *g, int row, int col)
{
    return &g->cells[(size_t)row * (size_t)g->cols + (size_t)col];
}

static void cell_set(struct cell *c, const char *ch, size_t size, enum style st)
{
    memcpy(c->ch, ch, size);
    c->ch[size] = '\0';
    c->style = (uint8_t)st;
    c->top = 0;
}

/* A wide character of which half is overwritten by columns [from, to) leaves a blank, never half a
 * glyph. */
static void cells_split(struct grid *g, int row, int from, int to)
{
    if (from > 0 && cell_at(g, row, from)->ch[0] == '\0')
        cell_set(cell_at(g, row, from - 1), " ", 1, cell_at(g, row, from - 1)->style);
    if (to < g->cols && cell_at(g, row, to)->ch[0] == '\0')
        cell_set(cell_at(g, row, to), " ", 1, cell_at(g, row, to)->style);
}

/* Adds a combining mark to the character left of col, as long as the cell has room. */
static void cell_combine(struct grid *g, int row, int col, const char *mark, size_t size)
{
    while (col > 0 && cell_at(g, row, col - 1)->ch[0] == '\0')
        col--;
    if (col == 0)
        return;
    struct cell *c = cell_at(g, row, col - 1);
    const size_t used = strlen(c->ch);
    if (used + size < sizeof(c->ch)) {
        memcpy(c->ch + used, mark, size);
        c->ch[used + size] = '\0';
    }
}

/* Bytes of the UTF-8 sequence at s (not at the end); 1 for a byte that starts none. */
static size_t sequence_size(const char *s)
{
    const unsigned char c = (unsigned char)s[0];
    const size_t want = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
    for (size_t i = 1; i < want; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80)
            return 1;
    return want;
}

/* One character as a cell can hold it. */
struct glyph {
    char text[8];
    int width; /* columns; 0 for a combining mark */
};

/* Reads the character at s; returns its bytes. Text from outside was made safe before; what still
 * is no printable character becomes '?', so that a cell cannot hold a control code whatever the
 * caller forgot. */
static size_t glyph_read(const struct grid *g, const char *s, struct glyph *out)
{
    const size_t n = sequence_size(s);
    char safe[32], on_letter[8] = "e";
    memcpy(out->text, s, n);
    out->text[n] = '\0';
    out->width = n == 1 ? 1 : text_width(out->text);
    bool shown = n == 1 && s[0] >= 0x20 && s[0] < 0x7f;
    if (n > 1) {
        memcpy(on_letter + 1, out->text, n + 1);
        const char *whole = out->width == 0 ? on_letter : out->text;
        shown = strcmp(text_safe(safe, sizeof(safe), whole), whole) == 0;
    }
    if (shown && g->ascii && n > 1 && out->width == 0)
        out->text[0] = '\0'; /* a mark without its letter */
    else if (!shown || (g->ascii && n > 1))
        *out = (struct glyph){"?", 1};
    return n;
}

int grid_text(struct grid *g, int row, int col, int width, enum style st, const char *text)
{
    if (row < 0 || row >= g->rows || col < 0 || col >= g->cols || width == 0)
        return 0;
    const int end = width < 0 ? g->cols : MIN(g->cols, col + MIN(width, g->cols));
    int at = col;
    while (*text) {
        struct glyph glyph;
        text += glyph_read(g, text, &glyph);
        const size_t size = strlen(glyph.text);
        const int w = glyph.width;
        if (w == 0) {
            if (size > 0 && at > col)
                cell_combine(g, row, at, glyph.text, size);
            continue;
        }
        if (at + w > end)
            break;
        cells_split(g, row, at, at + w);
        cell_set(cell_at(g, row, at), glyph.text, size, st);
        for (int i = 1; i < w; i++)
            cell_set(cell_at(g, row, at + i), "", 0, st);
        at += w;
    }
    return at - col;
}

int grid_printf(struct grid *g, int row, int col, enum style st, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return grid_text(g, row, col, -1, st, text);
}

void grid_style(struct grid *g, int row, int col, int width, enum style st)
{
    if (row < 0 || row >= g->rows)
        return;
    const int end = width < 0 ? g->cols : MIN(g->cols, col + MIN(width, g->cols));
    for (int c = MAX(col, 0); c < end; c++)
        cell_at(g, row, c)->style = (uint8_t)st;
}

void grid_half(struct grid *g, int row, int col, int top, int bottom)
{
    if (row < 0 || row >= g->rows || col < 0 || col >= g->cols)
        return;
    cells_split(g, row, col, col + 1);
    struct cell *c = cell_at(g, row, col);
    cell_set(c, "\xe2\x96\x80", 3, (enum style)(ST_HEAT0 + bottom));
    c->top = (uint8_t)(top + 1);
}

void grid_print(const struct grid *g, FILE *out)
{
    for (int r = 0; r < g->rows; r++) {
        int end = g->cols;
        while (end > 0 && strcmp(cell_at(g, r, end - 1)->ch, " ") == 0)
            end--;
        for (int c = 0; c < end; c++)
            fputs(cell_at(g, r, c)->ch, out);
        fputc('\n', out);
    }
}
