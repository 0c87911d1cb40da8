/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * canvas.c: rectangles, lines, dots and letters on an RGB picture, without smoothing, so that the
 * same data give the same bytes everywhere.
 */
#include <stdlib.h>

#include "tui/canvas.h"

int canvas_new(int w, int h, struct image *out, struct err *err)
{
    size_t size;
    *out = (struct image){.w = w, .h = h, .channels = 3};
    if (w < 1 || h < 1 || !mul_ok((size_t)w, (size_t)h, &size) || !mul_ok(size, 3, &size))
        return err_set(err, E_USAGE, "a plot of %dx%d pixels cannot be made", w, h);
    out->px = mem_alloc(size);
    memset(out->px, 0xff, size);
    return OK;
}

static void set(struct image *c, int x, int y, rgb_t color)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h)
        return;
    uint8_t *px = c->px + ((size_t)y * (size_t)c->w + (size_t)x) * 3;
    px[0] = (uint8_t)(color >> 16);
    px[1] = (uint8_t)(color >> 8);
    px[2] = (uint8_t)color;
}

void canvas_fill(struct image *c, int x, int y, int w, int h, rgb_t color)
{
    for (int r = MAX(y, 0); r < MIN(y + h, c->h); r++)
        for (int k = MAX(x, 0); k < MIN(x + w, c->w); k++)
            set(c, k, r, color);
}

/* Bresenham's. */
void canvas_line(struct image *c, int x0, int y0, int x1, int y1, rgb_t color)
{
    const int dx = abs(x1 - x0), dy = -abs(y1 - y0);
    const int sx = x0 < x1 ? 1 : -1, sy = y0 < y1 ? 1 : -1;
    for (int e = dx + dy;;) {
        set(c, x0, y0, color);
        if (x0 == x1 && y0 == y1)
            return;
        const int twice = 2 * e;
        if (twice >= dy) {
            e += dy;
            x0 += sx;
        }
        if (twice <= dx) {
            e += dx;
            y0 += sy;
        }
    }
}

void canvas_dot(struct image *c, int x, int y, int radius, rgb_t color)
{
    for (int r = -radius; r <= radius; r++)
        for (int k = -radius; k <= radius; k++)
            if (r * r + k * k <= radius * radius)
                set(c, x + k, y + r, color);
}

void canvas_text(struct image *c, int x, int y, int scale, rgb_t color, const char *text)
{
    for (; *text; text++, x += (FONT_W + 1) * scale) {
        const bool known = *text >= ' ' && *text <= '~';
        const uint8_t *glyph = font_glyphs[(known ? *text : '?') - ' '];
        for (int r = 0; r < FONT_H; r++)
            for (int k = 0; k < FONT_W; k++)
                if (glyph[r] >> (FONT_W - 1 - k) & 1)
                    canvas_fill(c, x + k * scale, y + r * scale, scale, scale, color);
    }
}

int canvas_text_width(const char *text, int scale)
{
    return (int)strlen(text) * (FONT_W + 1) * scale;
}

/* Stops of the palettes, all of which read the same for all kinds of colour sight. */
static const uint8_t stops[][5][3] = {
    [PALETTE_CIVIDIS /
     32] = {{0, 34, 78}, {65, 77, 107}, {124, 123, 120}, {188, 175, 111}, {254, 232, 56}},
    [PALETTE_SIGNED /
        32] = {{33, 102, 172}, {146, 197, 222}, {247, 247, 247}, {253, 184, 99}, {179, 88, 6}},
    [PALETTE_GREY /
        32] = {{0, 0, 0}, {64, 64, 64}, {128, 128, 128}, {192, 192, 192}, {255, 255, 255}},
};

rgb_t palette_rgb(int level)
{
    const int at = level % 32 * 4 * 256 / 31, stop = MIN(at / 256, 3);
    rgb_t rgb = 0;
    for (int c = 0; c < 3; c++) {
        const int a = stops[level / 32][stop][c], b = stops[level / 32][stop + 1][c];
        rgb = rgb << 8 | (rgb_t)(a + (b - a) * (at - 256 * stop) / 256);
    }
    return rgb;
}
