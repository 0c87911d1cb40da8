/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_picture.c: feature maps and input images: two pixels to a cell where the terminal has
 * colours for them, a ramp of characters elsewhere.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

static const char ramp[] = " .:-=+*#%@";

struct map map_of(const struct tensor *t, int channel_axis, int channel)
{
    struct map m = {.data = t->data, .w = 1, .h = 1};
    int axis = channel_axis == CHANNEL_LAST ? t->rank - 1 : channel_axis;
    size_t stride[MAX_RANK], step = 1;
    int spatial[2] = {-1, -1}; /* the two last axes that are no channels: x, y */
    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= (size_t)t->dims[i];
        if (i == axis || t->dims[i] <= 1)
            continue;
        if (spatial[0] < 0)
            spatial[0] = i;
        else if (spatial[1] < 0)
            spatial[1] = i;
    }
    if (spatial[0] < 0) { /* channels only: they are the picture */
        spatial[0] = axis;
        axis = -1;
    }
    if (axis >= 0 && axis < t->rank && channel >= 0 && channel < t->dims[axis])
        m.base = (size_t)channel * stride[axis];
    if (spatial[0] >= 0 && spatial[0] < t->rank) {
        m.w = (size_t)t->dims[spatial[0]];
        m.sx = stride[spatial[0]];
    }
    if (spatial[1] >= 0) {
        m.h = (size_t)t->dims[spatial[1]];
        m.sy = stride[spatial[1]];
    }
    return m;
}

/* What is drawn of two maps. */
enum what { MAP_VALUE, MAP_ERROR, MAP_SIGNED }; /* a; |b - a|; b - a */

/* Mean over the part of the map that cell (x, y) of w x h cells covers. */
static double map_mean(const struct map *a, const struct map *b, enum what what, size_t x, size_t y,
                       size_t w, size_t h)
{
    const size_t x0 = x * a->w / w, x1 = MAX((x + 1) * a->w / w, x0 + 1);
    const size_t y0 = y * a->h / h, y1 = MAX((y + 1) * a->h / h, y0 + 1);
    double sum = 0;
    for (size_t i = y0; i < y1; i++)
        for (size_t k = x0; k < x1; k++) {
            const size_t at = a->base + i * a->sy + k * a->sx;
            const double v = (double)a->data[at];
            const double d = what != MAP_VALUE ? (double)b->data[at] - v : 0;
            sum += what == MAP_VALUE ? v : what == MAP_ERROR ? fabs(d) : d;
        }
    return sum / (double)((x1 - x0) * (y1 - y0));
}

struct span_of map_span(const struct map *a, const struct map *b)
{
    struct span_of r = {INFINITY, -INFINITY};
    for (size_t y = 0; y < a->h; y++)
        for (size_t x = 0; x < a->w; x++) {
            const double v = map_mean(a, b, b ? MAP_ERROR : MAP_VALUE, x, y, a->w, a->h);
            if (isfinite(v)) {
                r.lo = MIN(r.lo, v);
                r.hi = MAX(r.hi, v);
            }
        }
    if (!(r.hi >= r.lo))
        r = (struct span_of){0, 0};
    return r;
}

/* A cell of a terminal is about twice as high as wide: two rows of the picture to a cell. */
static void draw_map(struct grid *g, struct rect r, const struct map *a, const struct map *b,
                     enum what what, struct span_of span, enum palette palette)
{
    const double fit = MIN((double)r.cols / (double)a->w, 2.0 * r.rows / (double)a->h);
    const double zoom = fit > 1 ? MIN(floor(fit), 8) : fit;
    const size_t w = (size_t)MIN(MAX(floor((double)a->w * zoom), 1), r.cols);
    size_t h = (size_t)MIN(MAX(floor((double)a->h * zoom), 1), 2.0 * r.rows);
    if (a->h == 1)
        h = 2; /* a vector is a band */
    for (size_t y = 0; y < h; y += 2)
        for (size_t x = 0; x < w; x++) {
            const int row = r.row + (int)(y / 2), col = r.col + (int)x;
            const double top = map_mean(a, b, what, x, y, w, h);
            const double low = y + 1 < h ? map_mean(a, b, what, x, y + 1, w, h) : top;
            if (g->heat && !g->ascii) {
                grid_half(g, row, col, (int)palette + heat_level(top, span.lo, span.hi),
                          (int)palette + heat_level(low, span.lo, span.hi));
            } else {
                const int level = heat_level((top + low) / 2, span.lo, span.hi);
                const char ch[2] = {ramp[level * (int)(sizeof(ramp) - 1) / 32], '\0'};
                grid_text(g, row, col, 1, ST_NORMAL, isfinite(top + low) ? ch : "!");
            }
        }
}

void draw_picture(const struct session *s, struct grid *g, struct rect r, size_t image)
{
    r = rect_clip(g, r);
    const struct picture *p = &s->picture;
    char text[200];
    if (r.rows < 4 || r.cols < 10)
        return;
    if (!p->luma || p->image != image) {
        draw_rule(g, r.row, r.col, r.cols, "picture");
        return;
    }
    snprintf(text, sizeof(text), "picture %dx%d", p->full_w, p->full_h);
    draw_rule(g, r.row, r.col, r.cols, text);
    const struct map m = {.data = p->luma, .w = p->w, .h = p->h, .sx = 1, .sy = p->w};
    draw_map(g, (struct rect){r.row + 1, r.col, r.rows - 1, r.cols}, &m, NULL, MAP_VALUE,
             (struct span_of){0, 256}, PALETTE_GREY);
}

static bool comparable(const struct tensor *a, const struct tensor *b)
{
    return a && b && a->dtype == DT_F32 && b->dtype == DT_F32 && a->n > 0 && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(a->dims[0])) == 0;
}

bool maps_ready(const struct session *s, size_t layer)
{
    const struct capture *c = &s->capture;
    return c->layer == layer && comparable(c->fp32, c->int8);
}

static void map_caption(const struct session *s, struct grid *g, struct rect r)
{
    char caption[160], name[96] = "";
    if (s->capture.image < s->data.n)
        text_safe(name, sizeof(name), s->data.samples[s->capture.image].name);
    snprintf(caption, sizeof(caption), "feature map c%d, %s", s->ui.channel, name);
    draw_rule(g, r.row, r.col, r.cols, caption);
}

/* That of the one model there is, with room for what another one would add. */
static void draw_map_alone(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    const struct capture *c = &s->capture;
    const struct map m =
        map_of(c->fp32 ? c->fp32 : c->int8, s->match.layers[layer].channel_axis, s->ui.channel);
    const struct span_of span = map_span(&m, NULL);
    map_caption(s, g, r);
    draw_map(g, (struct rect){r.row + 1, r.col, r.rows - 2, r.cols}, &m, NULL, MAP_VALUE, span,
             PALETTE_CIVIDIS);
    grid_printf(g, r.row + r.rows - 1, r.col, c->fp32 ? ST_FP32 : ST_INT8, "%s %.4g..%.4g",
                c->fp32 ? "FP32" : "INT8", span.lo, span.hi);
}

void draw_maps(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    r = rect_clip(g, r);
    const struct capture *c = &s->capture;
    if (r.rows < 3 || r.cols < 30)
        return;
    if (!s->pair && c->layer == layer && (c->fp32 || c->int8)) {
        draw_map_alone(s, g, r, layer);
        return;
    }
    if (!maps_ready(s, layer)) {
        draw_rule(g, r.row, r.col, r.cols, "feature map");
        grid_text(g, r.row + 1, r.col + 1, -1, ST_DIM,
                  s->data.n ? "not captured: this layer, this image" : "no images are added");
        return;
    }
    map_caption(s, g, r);
    const int axis = s->match.layers[layer].channel_axis;
    const struct map a = map_of(c->fp32, axis, s->ui.channel);
    const struct map b = map_of(c->int8, axis, s->ui.channel);
    const struct span_of sa = map_span(&a, NULL), sb = map_span(&b, NULL), se = map_span(&a, &b);
    const struct span_of both = {MIN(sa.lo, sb.lo), MAX(sa.hi, sb.hi)};
    const int width = (r.cols - 4) / 3;
    struct rect box = {r.row + 1, r.col, r.rows - 2, width};
    draw_map(g, box, &a, NULL, MAP_VALUE, both, PALETTE_CIVIDIS);
    grid_printf(g, r.row + r.rows - 1, box.col, ST_FP32, "FP32 %.4g..%.4g", sa.lo, sa.hi);
    box.col += width + 2;
    draw_map(g, box, &b, NULL, MAP_VALUE, both, PALETTE_CIVIDIS);
    grid_printf(g, r.row + r.rows - 1, box.col, ST_INT8, "INT8 %.4g..%.4g", sb.lo, sb.hi);
    box.col += width + 2;
    /* Colours show the sign as well; a ramp of characters has one direction only. */
    if (g->heat && !g->ascii)
        draw_map(g, box, &a, &b, MAP_SIGNED, (struct span_of){-se.hi, se.hi}, PALETTE_SIGNED);
    else
        draw_map(g, box, &a, &b, MAP_ERROR, (struct span_of){0, se.hi}, PALETTE_CIVIDIS);
    grid_printf(g, r.row + r.rows - 1, box.col, ST_WARN,
                g->heat && !g->ascii ? "INT8-FP32 +-%.4g" : "|error| max %.4g", se.hi);
}
