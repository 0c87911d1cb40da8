/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_zoom.c: the picture of a view on the whole screen: in cells as view_picture.c draws it, or
 * as a picture of pixels for a terminal that has them, for which room is left.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/canvas.h"
#include "tui/graphics.h"
#include "tui/view.h"

enum { GAP = 2, WIDTH_LEAST = 900 }; /* pixels; small maps are enlarged here, with sharp edges */

bool zoom_possible(const struct session *s)
{
    return s->ui.view == VIEW_LAYER || s->ui.view == VIEW_IMAGES;
}

/* Whether what the view shows has been read, or run. */
static bool ready(const struct session *s)
{
    const long layer = view_current_layer(s), image = view_current_image(s);
    if (s->ui.view == VIEW_IMAGES)
        return image >= 0 && s->picture.luma && s->picture.image == (size_t)image;
    return layer >= 0 && maps_ready(s, (size_t)layer);
}

void draw_zoom(const struct session *s, struct grid *g, struct rect r)
{
    const long layer = view_current_layer(s), image = view_current_image(s);
    char text[256], name[200] = "";
    if (!g->pixels || !ready(s)) {
        if (s->ui.view == VIEW_LAYER && layer >= 0)
            draw_maps(s, g, r, (size_t)layer);
        else if (s->ui.view == VIEW_IMAGES && image >= 0)
            draw_picture(s, g, r, (size_t)image);
        return;
    }
    if (image >= 0)
        text_safe(name, sizeof(name), s->data.samples[image].name);
    if (s->ui.view == VIEW_LAYER)
        snprintf(text, sizeof(text), "FP32 | INT8 | INT8-FP32   channel %d, %s", s->ui.channel,
                 name);
    else
        snprintf(text, sizeof(text), "%s", name);
    draw_rule(g, r.row, r.col, r.cols, text);
    r.row++;
    r.rows--;
    g->hole = rect_clip(g, r);
}

/* One map as squares of `side` pixels. */
static void put_map(struct image *im, int left, int side, const struct map *a, const struct map *b,
                    struct span_of span, enum palette palette)
{
    for (size_t y = 0; y < a->h; y++)
        for (size_t x = 0; x < a->w; x++) {
            const size_t at = a->base + y * a->sy + x * a->sx;
            const double v = (double)a->data[at];
            const double shown = b ? (double)b->data[at] - v : v;
            const rgb_t rgb = isfinite(shown)
                                  ? palette_rgb((int)palette + heat_level(shown, span.lo, span.hi))
                                  : 0xff00ff;
            canvas_fill(im, left + (int)x * side, (int)y * side, side, side, rgb);
        }
}

static int maps_image(const struct session *s, size_t layer, struct image *out, struct err *err)
{
    const struct capture *c = &s->capture;
    const int axis = s->match.layers[layer].channel_axis;
    const struct map a = map_of(c->fp32, axis, s->ui.channel);
    const struct map b = map_of(c->int8, axis, s->ui.channel);
    const struct span_of sa = map_span(&a, NULL), sb = map_span(&b, NULL), se = map_span(&a, &b);
    const struct span_of both = {MIN(sa.lo, sb.lo), MAX(sa.hi, sb.hi)};
    if (a.w * a.h > IMAGE_MAX_PIXELS / 3)
        return err_set(err, E_LIMIT, "a map of %zux%zu values is not shown", a.w, a.h);
    const int w = (int)a.w, side = MAX(1, WIDTH_LEAST / (3 * w)), step = (w + GAP) * side;
    const int rc = canvas_new(3 * step - GAP * side, (int)a.h * side, out, err);
    if (rc != OK)
        return rc;
    put_map(out, 0, side, &a, NULL, both, PALETTE_CIVIDIS);
    put_map(out, step, side, &b, NULL, both, PALETTE_CIVIDIS);
    put_map(out, 2 * step, side, &a, &b, (struct span_of){-se.hi, se.hi}, PALETTE_SIGNED);
    return OK;
}

/* An image file in colours; grey ones get three equal ones. */
static int file_image(const char *path, struct image *out, struct err *err)
{
    struct image im;
    int rc = image_load(path, &im, err);
    if (rc != OK || im.channels == 3) {
        *out = rc == OK ? im : (struct image){0};
        return rc;
    }
    rc = canvas_new(im.w, im.h, out, err);
    for (size_t i = 0; rc == OK && i < (size_t)im.w * (size_t)im.h; i++)
        memset(out->px + 3 * i, im.px[i], 3);
    image_fini(&im);
    return rc;
}

int graphics_image(const struct session *s, struct image *out, struct err *err)
{
    *out = (struct image){0};
    if (!zoom_possible(s) || !ready(s))
        return err_set(err, E_STATE, "there is no picture yet");
    if (s->ui.view == VIEW_IMAGES)
        return file_image(s->data.samples[view_current_image(s)].path, out, err);
    return maps_image(s, (size_t)view_current_layer(s), out, err);
}
