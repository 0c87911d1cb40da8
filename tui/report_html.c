/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * report_html.c: a report as one HTML file without scripts, fonts or pictures from elsewhere. Its
 * colours follow the reader's light or dark theme; nothing is said by colour alone.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/report.h"

static const char style[] =
    ":root{color-scheme:light dark;--a:#1f5fa8;--b:#b85c00;--line:#8888;--soft:#8882}"
    "@media(prefers-color-scheme:dark){:root{--a:#7db4f0;--b:#f0a050}}"
    "body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem}h3{font-size:1rem}"
    "table{border-collapse:collapse;margin:.6rem 0}"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;"
    "white-space:nowrap}th:first-child,td:first-child,.t{text-align:left}"
    "th{position:sticky;top:0;background:Canvas}.wide{overflow-x:auto}"
    "tr.bad td{background:var(--soft)}"
    "svg{width:100%;max-width:60rem;height:auto}svg text{font-size:12px;fill:currentColor}"
    ".grid{stroke:var(--line);stroke-width:.5}.line{fill:none;stroke:var(--a);stroke-width:1.5}"
    "circle{fill:var(--a)}circle.pin{fill:Canvas;stroke:var(--a);stroke-width:2}"
    ".fp32{fill:var(--a);fill-opacity:.25;stroke:var(--a)}"
    ".int8{fill:none;stroke:var(--b);stroke-width:1.5;stroke-dasharray:4 2}"
    ".k{color:var(--a)}.q{color:var(--b)}code{font-size:.92em}";

static void cell(FILE *out, const char *class, const char *text)
{
    fprintf(out, "<td%s>", class);
    html_text(out, text);
    fputs("</td>", out);
}

#define TEXT " class=\"t\""

static void row2(FILE *out, const char *name, const char *value)
{
    fputs("<tr>", out);
    cell(out, "", name);
    cell(out, TEXT, value);
    fputs("</tr>\n", out);
}

static void number_row(FILE *out, const char *name, double v, const char *format)
{
    char text[48];
    if (isnan(v))
        return;
    snprintf(text, sizeof(text), "%.4g", v);
    if (format[0])
        snprintf(text, sizeof(text), "%.2f %s", v, format);
    row2(out, name, text);
}

static void head(const json_t *doc, FILE *out)
{
    const json_t *models = json_object_get(doc, "models");
    const char *a = report_text(json_object_get(models, "fp32"), "file");
    const char *b = report_text(json_object_get(models, "int8"), "file");
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
          out);
    html_text(out, b);
    fprintf(out, " against ");
    html_text(out, a);
    fprintf(out, "</title>\n<style>%s</style></head><body>\n<h1>", style);
    html_text(out, a);
    fputs(" &lt;&gt; ", out);
    html_text(out, b);
    fputs("</h1>\n<p>Numerics <b>", out);
    html_text(out, report_text(doc, "numerics"));
    fputs(json_is_true(json_object_get(doc, "verified")) ? "</b>: " : "</b> (unverified): ", out);
    html_text(out, report_text(doc, "numerics_help"));
    fputs(".</p>\n", out);
}

static void summary(const json_t *doc, FILE *out)
{
    const json_t *s = json_object_get(doc, "summary");
    static const struct {
        const char *key, *name, *unit;
    } rows[] = {
        {"images", "images", ""},
        {"failed", "failed", ""},
        {"labelled", "labelled", ""},
        {"fp32_accuracy", "top-1 FP32", "%"},
        {"int8_accuracy", "top-1 INT8", "%"},
        {"top1_drop", "drop", "points"},
        {"agreement", "same top-1", "%"},
        {"lost", "lost", ""},
        {"gained", "gained", ""},
        {"layers", "layers compared", ""},
        {"unmatched", "not comparable", ""},
        {"pins", "pinned", ""},
    };
    fputs("<h2>Summary</h2>\n<table>\n", out);
    for (size_t i = 0; i < COUNT(rows); i++)
        number_row(out, rows[i].name, report_number(s, rows[i].key), rows[i].unit);
    fputs("</table>\n", out);
}

static void layer_row(size_t rank, const json_t *row, FILE *out)
{
    char text[64];
    const bool pinned = json_is_true(json_object_get(row, "pinned"));
    fprintf(out, "<tr%s>", report_metric(row, metric_find("sqnr")) < 15 ? " class=\"bad\"" : "");
    snprintf(text, sizeof(text), "%zu%s", rank, pinned ? " *" : "");
    cell(out, "", text);
    cell(out, TEXT, report_text(row, "name"));
    cell(out, TEXT, report_text(row, "op"));
    for (const struct metric *m = metrics; m->name; m++) {
        if (m->of == METRIC_VERDICT) {
            cell(out, TEXT, report_text(row, m->name));
            continue;
        }
        rank_metric(text, sizeof(text), m, report_metric(row, m));
        cell(out, "", text);
    }
    fputs("</tr>\n", out);
}

static void layers(const json_t *doc, FILE *out)
{
    fputs("<h2>SQNR along the network</h2>\n", out);
    svg_profile(json_object_get(doc, "layers"), out);
    fputs("<h2>Layers, worst first</h2>\n<p>* pinned; shaded: SQNR below 15 dB</p>\n"
          "<div class=\"wide\"><table>\n<tr><th>#</th><th class=\"t\">layer</th>"
          "<th class=\"t\">operator</th>",
          out);
    for (const struct metric *m = metrics; m->name; m++) {
        fputs("<th title=\"", out);
        html_text(out, m->help);
        fprintf(out, "\">%s%s%s</th>", m->name, m->unit[0] ? " " : "", m->unit);
    }
    fputs("</tr>\n", out);
    const json_t *row;
    for (size_t i = 0; (row = report_worst(doc, i)); i++)
        layer_row(i + 1, row, out);
    fputs("</table></div>\n", out);
}

static void histograms(const json_t *doc, FILE *out)
{
    size_t i;
    json_t *h;
    fputs("<h2>Values of the worst layers</h2>\n<p><span class=\"k\">filled: FP32</span>, "
          "<span class=\"q\">dashed: INT8</span>; counts are logarithmic</p>\n",
          out);
    json_array_foreach(json_object_get(doc, "histograms"), i, h)
    {
        const json_t *row = report_layer(doc, json_string_value(json_object_get(h, "name")));
        fputs("<h3>", out);
        html_text(out, report_text(h, "name"));
        fprintf(out, "</h3>\n<p>scale %.6g, zero point %g</p>\n", report_number(row, "scale"),
                report_number(row, "zero_point"));
        svg_histogram(h, out);
    }
}

static void image_row(const json_t *x, FILE *out)
{
    static const char *const texts[][2] = {
        {"label_name", "label"}, {"fp32_name", "fp32_top1"}, {"int8_name", "int8_top1"}};
    static const char *const numbers[] = {"margin", "dlogit", "kl", "sqnr"};
    char text[48];
    fputs("<tr>", out);
    cell(out, "", report_text(x, "file"));
    for (size_t i = 0; i < COUNT(texts); i++)
        cell(out, TEXT, report_class(x, texts[i][0], texts[i][1]));
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const double v = report_number(x, numbers[i]);
        snprintf(text, sizeof(text), "%.4g", v);
        cell(out, "", isnan(v) ? "" : text);
    }
    cell(out, TEXT, report_text(x, "flip"));
    cell(out, TEXT, report_text(x, "worst_layer"));
    fputs("</tr>\n", out);
}

static void images(const json_t *doc, size_t top, FILE *out)
{
    const json_t *list = json_object_get(doc, "images");
    const size_t n = MIN(json_array_size(list), top);
    fprintf(out,
            "<h2>Images, worst first</h2>\n<p>%zu of %zu</p>\n<div class=\"wide\"><table>\n"
            "<tr><th>image</th><th class=\"t\">label</th><th class=\"t\">FP32</th>"
            "<th class=\"t\">INT8</th><th>margin</th><th>dlogit</th><th>kl</th><th>sqnr dB</th>"
            "<th class=\"t\">flip</th><th class=\"t\">worst layer</th></tr>\n",
            n, json_array_size(list));
    for (size_t i = 0; i < n; i++)
        image_row(json_array_get(list, i), out);
    fputs("</table></div>\n", out);
}

static void changed_layers(const json_t *baseline, FILE *out)
{
    static const char *const keys[] = {"before", "now", "gain"};
    size_t i;
    json_t *x;
    fputs("<div class=\"wide\"><table>\n<tr><th>layer</th><th>", out);
    html_text(out, report_text(json_object_get(baseline, "summary"), "metric"));
    fputs(" before</th><th>now</th><th>gain</th></tr>\n", out);
    json_array_foreach(json_object_get(baseline, "layers"), i, x)
    {
        fputs("<tr>", out);
        cell(out, "", report_text(x, "name"));
        for (size_t k = 0; k < COUNT(keys); k++) {
            char text[48] = "";
            const double v = report_number(x, keys[k]);
            if (!isnan(v))
                snprintf(text, sizeof(text), k == 2 ? "%+.4g" : "%.4g", v);
            cell(out, "", text);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void changed_images(const json_t *baseline, FILE *out)
{
    size_t i;
    json_t *x;
    fputs("<table>\n<tr><th>image</th><th class=\"t\">change</th><th class=\"t\">label</th>"
          "<th class=\"t\">before</th><th class=\"t\">now</th></tr>\n",
          out);
    json_array_foreach(json_object_get(baseline, "images"), i, x)
    {
        if (!report_text(x, "change")[0])
            continue;
        fputs("<tr>", out);
        cell(out, "", report_text(x, "file"));
        cell(out, TEXT, report_text(x, "change"));
        cell(out, TEXT, report_class(x, "label_name", "label"));
        cell(out, TEXT, report_class(x, "before_name", "before_top1"));
        cell(out, TEXT, report_class(x, "now_name", "now_top1"));
        fputs("</tr>\n", out);
    }
    fputs("</table>\n", out);
}

/* What changed since the baseline, if the report was asked to say so. */
static void changes(const json_t *doc, FILE *out)
{
    const json_t *b = json_object_get(doc, "baseline"), *s = json_object_get(b, "summary");
    const json_t *was = json_object_get(b, "before_run");
    if (!b)
        return;
    fputs("<h2>Since the baseline</h2>\n<p>", out);
    html_text(out, report_text(was, "int8"));
    fprintf(out, ", %.0f pins, ", report_number(was, "pins"));
    html_text(out, report_text(was, "created"));
    fputs("</p>\n<table>\n", out);
    number_row(out, "top-1 INT8 before", report_number(s, "accuracy_before"), "%");
    number_row(out, "top-1 INT8 now", report_number(s, "accuracy_now"), "%");
    number_row(out, "images right before, wrong now", report_number(s, "regressions"), "");
    number_row(out, "images wrong before, right now", report_number(s, "fixed"), "");
    number_row(out, "layers worse", report_number(s, "worse_layers"), "");
    fputs("</table>\n", out);
    changed_layers(b, out);
    changed_images(b, out);
}

static void pins(const json_t *doc, FILE *out)
{
    size_t i;
    json_t *p;
    fputs("<h2>Pins</h2>\n", out);
    if (!json_array_size(json_object_get(doc, "pins")))
        fputs("<p>No layer is pinned.</p>\n", out);
    fputs("<table>\n", out);
    json_array_foreach(json_object_get(doc, "pins"), i, p)
    {
        const bool holds = json_is_true(json_object_get(p, "in_effect"));
        char *state = mem_printf("%s, %s%s%s", report_text(p, "precision"),
                                 holds ? "in effect" : "NOT in effect", holds ? "" : ": ",
                                 holds ? "" : report_text(p, "why"));
        row2(out, report_text(p, "layer"), state);
        free(state);
    }
    fputs("</table>\n", out);
}

static void unmatched(const json_t *doc, FILE *out)
{
    size_t i;
    json_t *u;
    if (!json_array_size(json_object_get(doc, "unmatched")))
        return;
    fputs("<h2>Not comparable</h2>\n<table>\n<tr><th>tensor</th><th class=\"t\">side</th>"
          "<th class=\"t\">why</th></tr>\n",
          out);
    json_array_foreach(json_object_get(doc, "unmatched"), i, u)
    {
        fputs("<tr>", out);
        cell(out, "", report_text(u, "tensor"));
        cell(out, TEXT, report_text(u, "side"));
        cell(out, TEXT, report_text(u, "reason"));
        fputs("</tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void foot(const json_t *doc, FILE *out)
{
    static const char *const sides[] = {"fp32", "int8"};
    fputs("<h2>How this was made</h2>\n<table>\n", out);
    for (size_t i = 0; i < COUNT(sides); i++) {
        const json_t *m = json_object_get(json_object_get(doc, "models"), sides[i]);
        char *text = mem_printf("%s, %.0f nodes, opset %.0f, digest %s", report_text(m, "file"),
                                report_number(m, "nodes"), report_number(m, "opset"),
                                report_text(m, "digest"));
        row2(out, i ? "INT8 model" : "FP32 model", text);
        free(text);
    }
    row2(out, "preprocessing", report_text(doc, "preprocess"));
    row2(out, "qscope", report_text(doc, "qscope"));
    row2(out, "CPU features", report_text(doc, "cpu"));
    row2(out, "created", report_text(doc, "created"));
    fputs("</table>\n<h3>Metrics</h3>\n<table>\n", out);
    for (const struct metric *m = metrics; m->name; m++) {
        char *text = mem_printf("%s; %s", m->help, m->formula);
        row2(out, m->name, text);
        free(text);
    }
    fputs("</table>\n</body></html>\n", out);
}

void report_html(const json_t *doc, size_t top, FILE *out)
{
    head(doc, out);
    summary(doc, out);
    changes(doc, out);
    layers(doc, out);
    histograms(doc, out);
    images(doc, top, out);
    pins(doc, out);
    unmatched(doc, out);
    foot(doc, out);
}
