/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * grid.h: part of tui.h, which includes it: cells in memory, on which all drawing is done.
 */
#ifndef TUI_GRID_H
#define TUI_GRID_H

#include <stdio.h>

#include "engine/base.h"

/* ---- Grid (grid.c): cells in memory; all drawing goes here ---------------------------------- */
enum style {
    ST_NORMAL,
    ST_DIM,
    ST_BOLD,
    ST_TITLE,
    ST_TAB,
    ST_HEAD,
    ST_CURSOR,
    ST_PIN,
    ST_GOOD,
    ST_WARN,
    ST_BAD,
    ST_KEY,
    ST_BAR,
    ST_FP32,
    ST_INT8,
    ST_HEAT0 = 64, /* ST_HEAT0 + palette + 0..31: background of that heat level */
};
/* First of the 32 levels of each palette. */
enum palette {
    PALETTE_CIVIDIS = 0, /* dark to bright, for values */
    PALETTE_SIGNED = 32, /* blue below, white at, orange above the middle: for differences */
    PALETTE_GREY = 64,   /* for images */
    N_HEAT = 96,
};
struct cell {
    char ch[12]; /* one UTF-8 character with marks; "" = right half of a wide one */
    uint8_t style;
    uint8_t top; /* heat level + 1 of the upper half of a half block; 0 = none */
};
struct rect {
    int row, col, rows, cols;
};
/* What a click on some cells of a row does. */
struct link {
    int row, col, width;
    char *line; /* command */
};
struct grid {
    int rows, cols;
    bool ascii;
    bool mouse; /* clicks are wanted: links are kept */
    size_t n_links, cap_links;
    struct link *links; /* forgotten by grid_clear */
    bool heat;   /* colours can carry a heat map; without, it is drawn as a ramp of characters */
    bool pixels; /* the terminal shows pictures: room is left for one */
    struct rect hole; /* that room; rows 0: none; forgotten by grid_clear */
    struct cell *cells;
};
struct grid *grid_new(int rows, int cols, bool ascii);
void grid_free(struct grid *g);
void grid_clear(struct grid *g);
/* Writes safe text clipped to the row and to `width` columns (-1: to the end); returns columns. */
int grid_text(struct grid *g, int row, int col, int width, enum style st, const char *text);
int grid_printf(struct grid *g, int row, int col, enum style st, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
void grid_style(struct grid *g, int row, int col, int width, enum style st);
/* Two heat levels (palette + 0..31) in one cell, one above the other. */
void grid_half(struct grid *g, int row, int col, int top, int bottom);
/* A click on these cells runs this command line; width -1: to the end of the row. */
void grid_link(struct grid *g, int row, int col, int width, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The line of the cell, the one given last, or NULL. */
const char *grid_line_at(const struct grid *g, int row, int col);
/* The grid as lines of text without trailing blanks. */
void grid_print(const struct grid *g, FILE *out);

#endif
