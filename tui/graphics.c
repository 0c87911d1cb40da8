/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graphics.c: the only file that knows libchafa, which makes sixels and kitty's sequences. It is
 * optional: without it pictures are half blocks or characters in the cells of the screen.
 */
#include <stdlib.h>

#include "tui/graphics.h"

static const char *const names[] = {"auto", "kitty", "sixel", "blocks"};

const char *graphics_name(enum graphics g)
{
    return (size_t)g < COUNT(names) ? names[g] : NULL;
}

enum graphics graphics_for(enum graphics wanted)
{
    const char *term = getenv("TERM");
    if (!graphics_library())
        return GRAPHICS_BLOCKS;
    if (wanted != GRAPHICS_AUTO)
        return wanted;
    if (getenv("TMUX") || getenv("STY"))
        return GRAPHICS_BLOCKS; /* what is outside of it does not get these sequences */
    if (getenv("KITTY_WINDOW_ID") || (term && strstr(term, "kitty")))
        return GRAPHICS_KITTY;
    if (term && (strstr(term, "foot") || strstr(term, "mlterm")))
        return GRAPHICS_SIXEL;
    return GRAPHICS_BLOCKS;
}

#ifdef HAVE_CHAFA
#include <chafa.h>

#define TEXT_OF(x) #x
#define VERSION_OF(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *graphics_library(void)
{
    return VERSION_OF(CHAFA_MAJOR_VERSION, CHAFA_MINOR_VERSION, CHAFA_MICRO_VERSION);
}

int graphics_encode(enum graphics g, const struct image *im, int cols, int rows, int cell_w,
                    int cell_h, char **out, size_t *size, struct err *err)
{
    /* Version 1.12 writes beyond its buffers for huge sizes and in one kind of dithering. */
    enum { COLS_MOST = 400, ROWS_MOST = 200, CELL_MOST = 64 };
    if (cols < 1 || rows < 1 || cols > COLS_MOST || rows > ROWS_MOST || cell_w < 1 || cell_h < 1 ||
        cell_w > CELL_MOST || cell_h > CELL_MOST)
        return err_set(err, E_USAGE, "a picture of %dx%d cells is not shown", cols, rows);
    chafa_calc_canvas_geometry(im->w, im->h, &cols, &rows, (gfloat)cell_w / (gfloat)cell_h, TRUE,
                               FALSE);
    ChafaCanvasConfig *config = chafa_canvas_config_new();
    chafa_canvas_config_set_geometry(config, MAX(cols, 1), MAX(rows, 1));
    chafa_canvas_config_set_cell_geometry(config, cell_w, cell_h);
    chafa_canvas_config_set_canvas_mode(config, CHAFA_CANVAS_MODE_TRUECOLOR);
    chafa_canvas_config_set_dither_mode(config, CHAFA_DITHER_MODE_NONE);
    chafa_canvas_config_set_pixel_mode(config, g == GRAPHICS_KITTY ? CHAFA_PIXEL_MODE_KITTY
                                                                   : CHAFA_PIXEL_MODE_SIXELS);
    ChafaCanvas *canvas = chafa_canvas_new(config);
    chafa_canvas_draw_all_pixels(canvas, CHAFA_PIXEL_RGB8, im->px, im->w, im->h, im->w * 3);
    ChafaTermDb *db = chafa_term_db_new();
    ChafaTermInfo *info = chafa_term_db_get_fallback_info(db);
    GString *text = chafa_canvas_print(canvas, info);
    *size = text->len;
    *out = mem_alloc(text->len + 1);
    memcpy(*out, text->str, text->len);
    g_string_free(text, TRUE);
    chafa_term_info_unref(info);
    chafa_term_db_unref(db);
    chafa_canvas_unref(canvas);
    chafa_canvas_config_unref(config);
    return OK;
}
#else
const char *graphics_library(void)
{
    return NULL;
}

int graphics_encode(enum graphics g, const struct image *im, int cols, int rows, int cell_w,
                    int cell_h, char **out, size_t *size, struct err *err)
{
    (void)g, (void)im, (void)cols, (void)rows, (void)cell_w, (void)cell_h, (void)out, (void)size;
    return err_set(err, E_UNSUPPORTED, "built without libchafa");
}
#endif
