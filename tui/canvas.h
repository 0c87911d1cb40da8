/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * canvas.h: private to tui/: an RGB picture to draw plots on, and the palettes of heat maps.
 */
#ifndef TUI_CANVAS_H
#define TUI_CANVAS_H

#include "tui/tui.h"

enum { FONT_W = 5, FONT_H = 7 };
extern const uint8_t font_glyphs[95][FONT_H];

/* Colours as 0xRRGGBB. */
typedef uint32_t rgb_t;

/* White, w x h pixels; image_fini(). */
int canvas_new(int w, int h, struct image *out, struct err *err);
/* All are clipped to the canvas. */
void canvas_fill(struct image *c, int x, int y, int w, int h, rgb_t color);
void canvas_line(struct image *c, int x0, int y0, int x1, int y1, rgb_t color);
void canvas_dot(struct image *c, int x, int y, int radius, rgb_t color);
/* ASCII text with its upper left corner at x, y, pixels `scale` wide; what is no printable ASCII
 * becomes '?'. */
void canvas_text(struct image *c, int x, int y, int scale, rgb_t color, const char *text);
int canvas_text_width(const char *text, int scale);
/* The colour of a heat level: palette + 0..31. */
rgb_t palette_rgb(int level);

#endif
