/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_plot.c: the plots of the views as PNG files.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/canvas.h"
#include "tui/cmd_ui.h"

enum {
    PLOT_W = 960,
    PLOT_H = 540,
    LEFT = 110,
    RIGHT = 30,
    TOP = 60,
    BOTTOM = 70,
    TICKS = 5,
    COLUMNS = 200, /* of a histogram */
};
static const rgb_t ink = 0x202020, faint = 0xd8d8d8, blue = 0x2166ac, orange = 0xb35806,
                   gray = 0x909090;

struct axes {
    struct image im;
    double x0, x1, y0, y1;
};

static int at_x(const struct axes *a, double v)
{
    return LEFT + (int)lround((v - a->x0) / (a->x1 - a->x0) * (PLOT_W - LEFT - RIGHT));
}

static int at_y(const struct axes *a, double v)
{
    return PLOT_H - BOTTOM - (int)lround((v - a->y0) / (a->y1 - a->y0) * (PLOT_H - TOP - BOTTOM));
}

static void text_at(struct axes *a, int x, int y, rgb_t color, const char *text)
{
    canvas_text(&a->im, x, y, 2, color, text);
}

static void axes_room(struct axes *a, double x, double y)
{
    if (!isfinite(x) || !isfinite(y))
        return;
    a->x0 = MIN(a->x0, x);
    a->x1 = MAX(a->x1, x);
    a->y0 = MIN(a->y0, y);
    a->y1 = MAX(a->y1, y);
}

static const struct axes nowhere = {
    .x0 = INFINITY, .x1 = -INFINITY, .y0 = INFINITY, .y1 = -INFINITY};

static void draw_ticks(struct axes *a)
{
    for (int i = 0; i <= TICKS; i++) {
        char text[32];
        const double x = a->x0 + (a->x1 - a->x0) * i / TICKS;
        const double y = a->y0 + (a->y1 - a->y0) * i / TICKS;
        canvas_line(&a->im, at_x(a, x), TOP, at_x(a, x), PLOT_H - BOTTOM, faint);
        canvas_line(&a->im, LEFT, at_y(a, y), PLOT_W - RIGHT, at_y(a, y), faint);
        snprintf(text, sizeof(text), "%.3g", x);
        text_at(a, at_x(a, x) - canvas_text_width(text, 2) / 2, PLOT_H - BOTTOM + 10, ink, text);
        snprintf(text, sizeof(text), "%.3g", y);
        text_at(a, LEFT - 8 - canvas_text_width(text, 2), at_y(a, y) - FONT_H, ink, text);
    }
    canvas_line(&a->im, LEFT, TOP, LEFT, PLOT_H - BOTTOM, ink);
    canvas_line(&a->im, LEFT, PLOT_H - BOTTOM, PLOT_W - RIGHT, PLOT_H - BOTTOM, ink);
}

/* Canvas, grid and words; the ranges of a are widened where they are empty. */
static int axes_draw(struct axes *a, const char *title, const char *x, const char *y,
                     struct err *err)
{
    if (!(a->x1 >= a->x0) || !(a->y1 >= a->y0))
        return err_set(err, E_STATE, "there is no finite value to plot");
    a->x1 = a->x1 > a->x0 ? a->x1 : a->x0 + 1;
    a->y1 = a->y1 > a->y0 ? a->y1 : a->y0 + 1;
    const int rc = canvas_new(PLOT_W, PLOT_H, &a->im, err);
    if (rc != OK)
        return rc;
    char fit[128], safe[512];
    text_fit(fit, sizeof(fit), text_safe(safe, sizeof(safe), title), 76, TEXT_TAIL);
    text_at(a, 12, 10, ink, fit);
    text_at(a, 12, 34, gray, y);
    text_at(a, PLOT_W - RIGHT - canvas_text_width(x, 2), PLOT_H - 30, gray, x);
    draw_ticks(a);
    return OK;
}

/* A coloured word of the legend; returns where the next one goes. */
static int legend(struct axes *a, int x, rgb_t color, const char *text)
{
    canvas_fill(&a->im, x, 36, 12, 12, color);
    text_at(a, x + 18, 35, ink, text);
    return x + 18 + canvas_text_width(text, 2) + 24;
}

/* ---- One layer ------------------------------------------------------------------------------ */

static const char *plot_title(char *dst, size_t size, const char *what, const char *name)
{
    snprintf(dst, size, "%s  %s", what, name);
    return dst;
}

static void draw_limits(struct axes *a, const struct layer *l)
{
    double lo, hi;
    if (!plot_integer_range(l, &lo, &hi))
        return;
    const double ends[] = {lo, hi};
    for (size_t i = 0; i < COUNT(ends); i++)
        if (ends[i] >= a->x0 && ends[i] <= a->x1)
            canvas_fill(&a->im, at_x(a, ends[i]), TOP, 2, PLOT_H - BOTTOM - TOP, ink);
}

static int plot_hist(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    const struct layer_stats *st = plot_stats(s, layer);
    char title[600];
    double count[2][COLUMNS];
    if (!st || st->fp32.n + st->int8.n == 0)
        return err_set(err, E_STATE, "nothing was measured of this layer yet: run");
    *a =
        (struct axes){.x0 = MIN(st->all.xmin, st->all.ymin), .x1 = MAX(st->all.xmax, st->all.ymax)};
    if (!(a->x1 > a->x0))
        a->x1 = a->x0 + 1;
    const double step = (a->x1 - a->x0) / COLUMNS;
    plot_spread(&st->fp32, a->x0, step, COLUMNS, count[0]);
    plot_spread(&st->int8, a->x0, step, COLUMNS, count[1]);
    for (int c = 0; c < COLUMNS; c++)
        a->y1 = MAX(a->y1, log10(1 + MAX(count[0][c], count[1][c])));
    const int rc =
        axes_draw(a, plot_title(title, sizeof(title), "histogram", s->match.layers[layer].name),
                  "value", "log10(1 + count)", err);
    if (rc != OK)
        return rc;
    for (int side = 0; side < 2; side++)
        for (int c = 0; c < COLUMNS && (side ? &st->int8 : &st->fp32)->n; c++) {
            const int x = at_x(a, a->x0 + c * step), next = at_x(a, a->x0 + (c + 1) * step);
            const int y = at_y(a, log10(1 + count[side][c]));
            if (side == 0)
                canvas_fill(&a->im, x, y, next - x, PLOT_H - BOTTOM - y, blue);
            else
                canvas_fill(&a->im, x, y - 1, next - x, 3, orange);
        }
    draw_limits(a, &s->match.layers[layer]);
    int x = legend(a, 420, blue, "FP32");
    x = legend(a, x, orange, "INT8");
    legend(a, x, ink, "integer range");
    return OK;
}

static int plot_channels(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    const struct metric *m = metric_find("sqnr");
    const struct layer_stats *st = plot_stats(s, layer);
    char title[600];
    if (!st || st->n_channels == 0 || !s->pair)
        return err_set(err, E_STATE, "no channels of this layer were compared");
    const size_t n = st->n_channels;
    *a = (struct axes){.x1 = (double)n};
    for (size_t i = 0; i < n; i++)
        axes_room(a, (double)i, m->value(&st->channel[i], st->scale));
    const int rc =
        axes_draw(a, plot_title(title, sizeof(title), "channels", s->match.layers[layer].name),
                  "channel", "SQNR, dB (no bar: exact or undefined)", err);
    for (size_t i = 0; i < n && rc == OK; i++) {
        const double v = m->value(&st->channel[i], st->scale);
        const int x = at_x(a, (double)i), w = MAX(at_x(a, (double)i + 1) - x - 1, 1);
        const int y = at_y(a, MAX(v, 0)), zero = at_y(a, MIN(v, 0));
        if (isfinite(v))
            canvas_fill(&a->im, x, y, w, MAX(zero - y, 1), v < 15 ? orange : blue);
    }
    return rc;
}

static void draw_map_px(struct axes *a, int col, const struct map *m, const struct map *b,
                        double lo, double hi, const char *caption)
{
    enum { BOX = 290 };
    const int x0 = 20 + col * (BOX + 20);
    const double zoom = (double)BOX / (double)MAX(m->w, m->h);
    const int w = MAX((int)((double)m->w * zoom), 1), h = MAX((int)((double)m->h * zoom), 1);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const size_t at = m->base + MIN((size_t)(y / zoom), m->h - 1) * m->sy +
                              MIN((size_t)(x / zoom), m->w - 1) * m->sx;
            const double v = (double)m->data[at], d = b ? (double)b->data[at] - v : v;
            const int level = (b ? PALETTE_SIGNED : PALETTE_CIVIDIS) + heat_level(d, lo, hi);
            canvas_fill(&a->im, x0 + x, TOP + y, 1, 1, palette_rgb(level));
        }
    text_at(a, x0, TOP + BOX + 14, ink, caption);
}

static int plot_maps(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    const struct capture *c = &s->capture;
    const long image = c->layer == layer && c->fp32 ? (long)c->image : view_current_image(s);
    int rc = image < 0 ? err_set(err, E_STATE, "there is no image to run") : OK;
    if (rc == OK && (c->layer != layer || !c->fp32 || c->image != (size_t)image))
        rc = session_capture(s, layer, (size_t)image, err);
    if (rc == OK && (!c->fp32 || !c->int8 || c->fp32->n != c->int8->n || c->fp32->n == 0))
        rc = err_set(err, E_STATE, "the two sides of this layer cannot be compared");
    rc = rc ? rc : canvas_new(PLOT_W, 420, &a->im, err);
    if (rc != OK)
        return rc;
    const int axis = s->match.layers[layer].channel_axis;
    const struct map f = map_of(c->fp32, axis, s->ui.channel);
    const struct map q = map_of(c->int8, axis, s->ui.channel);
    const struct span_of sf = map_span(&f, NULL), sq = map_span(&q, NULL), se = map_span(&f, &q);
    const double lo = MIN(sf.lo, sq.lo), hi = MAX(sf.hi, sq.hi);
    char text[600];
    snprintf(text, sizeof(text), "channel %d on image %s  %s", s->ui.channel,
             (size_t)image < s->data.n ? s->data.samples[image].name : "-",
             s->match.layers[layer].name);
    char fit[128], safe[600];
    text_fit(fit, sizeof(fit), text_safe(safe, sizeof(safe), text), 76, TEXT_TAIL);
    text_at(a, 20, 20, ink, fit);
    snprintf(text, sizeof(text), "FP32 %.3g..%.3g", sf.lo, sf.hi);
    draw_map_px(a, 0, &f, NULL, lo, hi, text);
    snprintf(text, sizeof(text), "INT8 %.3g..%.3g", sq.lo, sq.hi);
    draw_map_px(a, 1, &q, NULL, lo, hi, text);
    snprintf(text, sizeof(text), "INT8-FP32 +-%.3g", se.hi);
    draw_map_px(a, 2, &f, &q, -se.hi, se.hi, text);
    return OK;
}

/* ---- Whole runs ----------------------------------------------------------------------------- */

static int plot_profile(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    const struct metric *m = s->ui.sort ? s->ui.sort : metric_find("sqnr");
    char title[200];
    (void)layer;
    if (!s->study)
        return err_set(err, E_STATE, "there are no results to plot: run");
    *a = nowhere;
    for (size_t i = 0; i < s->study->n_layers; i++)
        axes_room(a, (double)i, layer_metric(s, i, m));
    snprintf(title, sizeof(title), "%s along the network", m->title);
    const int rc =
        axes_draw(a, title, "layer, input to output", m->unit[0] ? m->unit : m->name, err);
    int last_x = -1, last_y = 0;
    for (size_t i = 0; i < s->study->n_layers && rc == OK; i++) {
        const double v = layer_metric(s, i, m);
        if (!isfinite(v))
            continue;
        const int x = at_x(a, (double)i), y = at_y(a, v);
        if (last_x >= 0)
            canvas_line(&a->im, last_x, last_y, x, y, blue);
        canvas_dot(&a->im, x, y, 4, blue);
        last_x = x;
        last_y = y;
    }
    return rc;
}

static int plot_scatter(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    const struct study *st = s->study;
    (void)layer;
    if (!st)
        return err_set(err, E_STATE, "there are no results to plot: run");
    *a = nowhere;
    for (size_t i = 0; i < st->n_images; i++)
        if (st->images[i].ok)
            axes_room(a, st->images[i].sqnr, st->images[i].dlogit);
    const int rc = axes_draw(a, "images: change of the label's output against SQNR",
                             "SQNR of the outputs, dB", "dlogit, INT8 - FP32", err);
    if (rc != OK)
        return rc;
    for (int pass = 0; pass < 2; pass++) /* flips on top */
        for (size_t i = 0; i < st->n_images; i++) {
            const struct image_score *x = &st->images[i];
            if (!x->ok || !isfinite(x->sqnr) || !isfinite(x->dlogit) ||
                (x->flip != FLIP_NONE) != pass)
                continue;
            canvas_dot(&a->im, at_x(a, x->sqnr), at_y(a, x->dlogit), pass ? 5 : 3,
                       x->flip == FLIP_LOST     ? orange
                       : x->flip == FLIP_GAINED ? blue
                                                : gray);
        }
    int x = legend(a, 420, orange, "lost");
    x = legend(a, x, blue, "gained");
    legend(a, x, gray, "same");
    return OK;
}

static int plot_pareto(struct session *s, size_t layer, struct axes *a, struct err *err)
{
    struct pareto_point *p;
    const size_t n = pareto_points(s, &p);
    (void)layer;
    if (n == 0) {
        free(p);
        return err_set(err, E_STATE, "nothing was tried on all images yet: sensitivity or search");
    }
    *a = nowhere;
    for (size_t i = 0; i < n; i++)
        axes_room(a, p[i].x, p[i].y);
    const struct outcome *o = s->sweep->outcome;
    char y[64];
    snprintf(y, sizeof(y), "%s%s%s", o->title, o->unit[0] ? ", " : "", o->unit);
    const int rc = axes_draw(a, "models tried: value against cost",
                             s->ui.pareto_macs ? "products in FP32, %" : "layers in FP32", y, err);
    for (int pass = 0; pass < 3 && rc == OK; pass++)
        for (size_t i = 0; i < n; i++)
            if ((p[i].now ? 2 : p[i].best ? 1 : 0) == pass)
                canvas_dot(&a->im, at_x(a, p[i].x), at_y(a, p[i].y), 3 + pass,
                           pass == 2   ? orange
                           : pass == 1 ? blue
                                       : gray);
    free(p);
    if (rc == OK) {
        int x = legend(a, 420, blue, "best");
        x = legend(a, x, gray, "tried");
        legend(a, x, orange, "now");
    }
    return rc;
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool of_layer;
    int (*draw)(struct session *s, size_t layer, struct axes *a, struct err *err);
} plots[] = {
    {"hist", true, plot_hist},        {"channels", true, plot_channels},
    {"maps", true, plot_maps},        {"profile", false, plot_profile},
    {"scatter", false, plot_scatter}, {"pareto", false, plot_pareto},
};

static int exec_plot(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *path = c->args[c->n_args - 1];
    size_t k = 0, layer = 0;
    while (strcmp(plots[k].name, c->args[0]) != 0)
        k++;
    int rc = OK;
    if (c->n_args == 3 && !plots[k].of_layer)
        rc = err_set(err, E_USAGE, "plot %s is not about one layer", plots[k].name);
    else if (c->n_args == 3)
        rc = ui_one_layer(s, c->args[1], &layer, err);
    else if (plots[k].of_layer && view_current_layer(s) < 0)
        rc = err_set(err, E_USAGE, "plot %s wants a layer: plot %s LAYER OUT.png", plots[k].name,
                     plots[k].name);
    else if (plots[k].of_layer)
        layer = (size_t)view_current_layer(s);
    rc = rc ? rc : call_may_write(c, path, err);
    struct axes a = {0};
    rc = rc ? rc : plots[k].draw(s, layer, &a, err);
    rc = rc ? rc : png_save(&a.im, path, err);
    if (rc == OK && s->json)
        emit_json(c, json_pack("{s:s,s:o,s:i,s:i}", "plot", plots[k].name, "file", json_text(path),
                               "width", a.im.w, "height", a.im.h));
    else if (rc == OK)
        fprintf(c->note, "wrote a plot of %dx%d pixels\n", a.im.w, a.im.h);
    image_fini(&a.im);
    return rc;
}

static const struct opt_spec plot_opts[] = {
    {"--force", ARG_FLAG, NULL, "overwrite the file", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

const struct cmd cmd_plot[] = {
    {
        .name = "plot",
        .group = "report",
        .help = "writes a plot of the views as a PNG file",
        .detail = "hist, channels and maps are of one layer, the current one without LAYER: counts "
                  "of values, SQNR of each channel, a feature map of both sides with the signed "
                  "error. profile is the sort metric along the network, scatter the images, pareto "
                  "what a sensitivity or a search has tried.",
        .example = "plot profile profile.png",
        .needs = NEED_MODEL,
        .args = {{"PLOT", ARG_CHOICE, "hist|channels|maps|profile|scatter|pareto", false, false},
                 {"LAYER|FILE", ARG_WORD, NULL, false, false},
                 {"FILE", ARG_FILE, NULL, true, false}},
        .opts = plot_opts,
        .exec = exec_plot,
    },
    {0},
};
