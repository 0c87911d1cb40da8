/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * report_svg.c: the plots of a report as inline SVG: they need no script and no other file.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/report.h"

enum { WIDTH = 960, HEIGHT = 240, LEFT = 50, RIGHT = 10, TOP = 12, BOTTOM = 30 };

void html_text(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const char *as = *p == '&'    ? "&amp;"
                         : *p == '<'  ? "&lt;"
                         : *p == '>'  ? "&gt;"
                         : *p == '"'  ? "&quot;"
                         : *p == '\'' ? "&#39;"
                                      : NULL;
        if (as)
            fputs(as, out);
        else
            fputc(*p, out);
    }
}

static void begin(FILE *out, const char *label)
{
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    html_text(out, label);
    fputs("\">\n", out);
}

static void label(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    html_text(out, text);
    fputs("</text>\n", out);
}

static double across(size_t i, size_t n)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (n > 1 ? (double)i / (double)(n - 1) : 0.5);
}

static double down(double v, double lo, double hi)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (hi > lo ? (hi - v) / (hi - lo) : 0.5);
}

/* Lines across at round values. */
static void scale(FILE *out, double lo, double hi, const char *unit)
{
    const double step = pow(10, floor(log10(fmax(hi - lo, 1e-9))));
    const double by = (hi - lo) / step > 5 ? 2 * step : (hi - lo) / step > 2 ? step : step / 2;
    for (double v = ceil(lo / by) * by; v <= hi; v += by) {
        char text[32];
        const double y = down(v, lo, hi);
        snprintf(text, sizeof(text), "%g%s", fabs(v) < by / 2 ? 0 : v, unit);
        fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", LEFT,
                WIDTH - RIGHT, y, y);
        label(out, LEFT - 4, y + 4, "end", text);
    }
}

/* Lowest and highest finite SQNR, a little wider; false when there is none. */
static bool range_of(const json_t *layers, const struct metric *m, double *lo, double *hi)
{
    size_t i;
    json_t *row;
    *lo = INFINITY;
    *hi = -INFINITY;
    json_array_foreach(layers, i, row)
    {
        const double v = report_metric(row, m);
        if (isfinite(v)) {
            *lo = fmin(*lo, v);
            *hi = fmax(*hi, v);
        }
    }
    *lo -= 2;
    *hi += 2;
    return *hi > *lo;
}

static void profile_points(const json_t *layers, const struct metric *m, double lo, double hi,
                           FILE *out)
{
    size_t i;
    json_t *row;
    const size_t n = json_array_size(layers);
    json_array_foreach(layers, i, row)
    {
        const double v = report_metric(row, m);
        if (isnan(v))
            continue;
        char text[32];
        rank_metric(text, sizeof(text), m, v);
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"%s><title>", across(i, n),
                down(fmin(v, hi), lo, hi),
                json_is_true(json_object_get(row, "pinned")) ? " class=\"pin\"" : "");
        html_text(out, report_text(row, "name"));
        fprintf(out, ": %s %s</title></circle>\n", text, m->unit);
    }
}

void svg_profile(const json_t *layers, FILE *out)
{
    const struct metric *m = metric_find("sqnr");
    const size_t n = json_array_size(layers);
    double lo, hi;
    size_t i;
    json_t *row;
    if (!range_of(layers, m, &lo, &hi))
        return;
    begin(out, "SQNR of each layer in the order of the network");
    scale(out, lo, hi, " dB");
    fputs("<polyline class=\"line\" points=\"", out);
    json_array_foreach(layers, i, row)
    {
        const double v = report_metric(row, m);
        if (!isnan(v))
            fprintf(out, "%.1f,%.1f ", across(i, n), down(fmin(v, hi), lo, hi));
    }
    fputs("\"/>\n", out);
    profile_points(layers, m, lo, hi, out);
    label(out, LEFT, HEIGHT - 8, "start", "input");
    label(out, WIDTH - RIGHT, HEIGHT - 8, "end", "output");
    fputs("</svg>\n", out);
}

static double count_at(const json_t *list, size_t i)
{
    return log1p(fmax(json_number_value(json_array_get(list, i)), 0));
}

/* One side as a filled outline; counts are logarithmic, since most values are zeros. */
static void outline(const json_t *list, double top, const char *class, FILE *out)
{
    const size_t n = json_array_size(list);
    fprintf(out, "<polygon class=\"%s\" points=\"%d,%d ", class, LEFT, HEIGHT - BOTTOM);
    for (size_t i = 0; i < n; i++)
        for (size_t edge = 0; edge < 2; edge++)
            fprintf(out, "%.1f,%.1f ", across(i + edge, n + 1), down(count_at(list, i), 0, top));
    fprintf(out, "%d,%d\"/>\n", WIDTH - RIGHT, HEIGHT - BOTTOM);
}

void svg_histogram(const json_t *hist, FILE *out)
{
    const json_t *x = json_object_get(hist, "fp32"), *y = json_object_get(hist, "int8");
    char low[32], high[32];
    double top = 1;
    for (size_t i = 0; i < json_array_size(x); i++)
        top = fmax(top, fmax(count_at(x, i), count_at(y, i)));
    begin(out, "histograms of FP32 and INT8 values, logarithmic counts");
    outline(x, top, "fp32", out);
    outline(y, top, "int8", out);
    snprintf(low, sizeof(low), "%.4g", report_number(hist, "low"));
    snprintf(high, sizeof(high), "%.4g", report_number(hist, "high"));
    label(out, LEFT, HEIGHT - 8, "start", low);
    label(out, WIDTH - RIGHT, HEIGHT - 8, "end", high);
    fputs("</svg>\n", out);
}
