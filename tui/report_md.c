/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * report_md.c: a report as Markdown with tables, for issues and merge requests.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/report.h"

/* What would end a cell or begin markup is escaped. */
static void plain(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++)
        fprintf(out, strchr("|\\`*_[]<>#~", *p) ? "\\%c" : "%c", *p);
}

static void cell(FILE *out, const char *text)
{
    fputc(' ', out);
    plain(out, text);
    fputs(" |", out);
}

static void number(FILE *out, double v, const char *format)
{
    char text[48] = "";
    if (!isnan(v))
        snprintf(text, sizeof(text), format[0] ? "%.2f %s" : "%.4g", v, format);
    cell(out, text);
}

static void summary(const json_t *doc, FILE *out)
{
    const json_t *s = json_object_get(doc, "summary");
    fputs("| images | top-1 FP32 | top-1 INT8 | lost | gained | layers | not comparable | pins |\n"
          "|--:|--:|--:|--:|--:|--:|--:|--:|\n|",
          out);
    number(out, report_number(s, "images"), "");
    number(out, report_number(s, "fp32_accuracy"), "%");
    number(out, report_number(s, "int8_accuracy"), "%");
    number(out, report_number(s, "lost"), "");
    number(out, report_number(s, "gained"), "");
    number(out, report_number(s, "layers"), "");
    number(out, report_number(s, "unmatched"), "");
    number(out, report_number(s, "pins"), "");
    fputs("\n\n", out);
}

static void layers(const json_t *doc, FILE *out)
{
    const json_t *row;
    fputs("## Layers, worst first\n\n| # | layer | operator |", out);
    for (const struct metric *m = metrics; m->name; m++)
        cell(out, m->name);
    fputs("\n|--:|---|---|", out);
    for (const struct metric *m = metrics; m->name; m++)
        fputs("--:|", out);
    fputc('\n', out);
    for (size_t i = 0; (row = report_worst(doc, i)); i++) {
        char text[64];
        fprintf(out, "| %zu%s |", i + 1,
                json_is_true(json_object_get(row, "pinned")) ? " (pinned)" : "");
        cell(out, report_text(row, "name"));
        cell(out, report_text(row, "op"));
        for (const struct metric *m = metrics; m->name; m++) {
            rank_metric(text, sizeof(text), m, report_metric(row, m));
            cell(out, m->of == METRIC_VERDICT ? report_text(row, m->name) : text);
        }
        fputc('\n', out);
    }
}

static void images(const json_t *doc, size_t top, FILE *out)
{
    const json_t *list = json_object_get(doc, "images");
    const size_t n = MIN(json_array_size(list), top);
    fprintf(out, "\n## Images, worst first (%zu of %zu)\n\n", n, json_array_size(list));
    fputs("| image | label | FP32 | INT8 | margin | sqnr | flip | worst layer |\n"
          "|---|---|---|---|--:|--:|---|---|\n",
          out);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        fputc('|', out);
        cell(out, report_text(x, "file"));
        cell(out, report_class(x, "label_name", "label"));
        cell(out, report_class(x, "fp32_name", "fp32_top1"));
        cell(out, report_class(x, "int8_name", "int8_top1"));
        number(out, report_number(x, "margin"), "");
        number(out, report_number(x, "sqnr"), "dB");
        cell(out, report_text(x, "flip"));
        cell(out, report_text(x, "worst_layer"));
        fputc('\n', out);
    }
}

static void changed_layers(const json_t *baseline, FILE *out)
{
    size_t i;
    json_t *x;
    fputs("| layer |", out);
    cell(out, report_text(json_object_get(baseline, "summary"), "metric"));
    fputs(" now | gain |\n|---|--:|--:|--:|\n", out);
    json_array_foreach(json_object_get(baseline, "layers"), i, x)
    {
        fputc('|', out);
        cell(out, report_text(x, "name"));
        number(out, report_number(x, "before"), "");
        number(out, report_number(x, "now"), "");
        number(out, report_number(x, "gain"), "");
        fputc('\n', out);
    }
}

static void changed_images(const json_t *baseline, FILE *out)
{
    size_t i;
    json_t *x;
    fputs("\n| image | change | label | before | now |\n|---|---|---|---|---|\n", out);
    json_array_foreach(json_object_get(baseline, "images"), i, x)
    {
        if (!report_text(x, "change")[0])
            continue;
        fputc('|', out);
        cell(out, report_text(x, "file"));
        cell(out, report_text(x, "change"));
        cell(out, report_class(x, "label_name", "label"));
        cell(out, report_class(x, "before_name", "before_top1"));
        cell(out, report_class(x, "now_name", "now_top1"));
        fputc('\n', out);
    }
    fputc('\n', out);
}

/* What changed since the baseline, if the report was asked to say so. */
static void changes(const json_t *doc, FILE *out)
{
    const json_t *b = json_object_get(doc, "baseline"), *s = json_object_get(b, "summary");
    const json_t *was = json_object_get(b, "before_run");
    if (!b)
        return;
    fputs("## Since the baseline\n\nBefore: ", out);
    plain(out, report_text(was, "int8"));
    fprintf(out, ", %.0f pins, ", report_number(was, "pins"));
    plain(out, report_text(was, "created"));
    fputs(".\n\n| top-1 INT8 before | now | regressions | fixed | layers worse |\n"
          "|--:|--:|--:|--:|--:|\n|",
          out);
    number(out, report_number(s, "accuracy_before"), "%");
    number(out, report_number(s, "accuracy_now"), "%");
    number(out, report_number(s, "regressions"), "");
    number(out, report_number(s, "fixed"), "");
    number(out, report_number(s, "worse_layers"), "");
    fputs("\n\n", out);
    changed_layers(b, out);
    changed_images(b, out);
}

static void lists(const json_t *doc, FILE *out)
{
    size_t i;
    json_t *x;
    fputs("\n## Pins\n\n", out);
    if (!json_array_size(json_object_get(doc, "pins")))
        fputs("No layer is pinned.\n", out);
    else
        fputs("| layer | precision | state |\n|---|---|---|\n", out);
    json_array_foreach(json_object_get(doc, "pins"), i, x)
    {
        fputc('|', out);
        cell(out, report_text(x, "layer"));
        cell(out, report_text(x, "precision"));
        cell(out, json_is_true(json_object_get(x, "in_effect")) ? "in effect" : "NOT in effect");
        fputc('\n', out);
    }
    if (!json_array_size(json_object_get(doc, "unmatched")))
        return;
    fputs("\n## Not comparable\n\n| tensor | side | why |\n|---|---|---|\n", out);
    json_array_foreach(json_object_get(doc, "unmatched"), i, x)
    {
        fputc('|', out);
        cell(out, report_text(x, "tensor"));
        cell(out, report_text(x, "side"));
        cell(out, report_text(x, "reason"));
        fputc('\n', out);
    }
}

void report_markdown(const json_t *doc, size_t top, FILE *out)
{
    const json_t *models = json_object_get(doc, "models");
    fputs("# ", out);
    plain(out, report_text(json_object_get(models, "int8"), "file"));
    fputs(" against ", out);
    plain(out, report_text(json_object_get(models, "fp32"), "file"));
    fprintf(out, "\n\nNumerics %s%s: %s.\n", report_text(doc, "numerics"),
            json_is_true(json_object_get(doc, "verified")) ? "" : " (unverified)",
            report_text(doc, "numerics_help"));
    fprintf(out, "Preprocessing: `%s`.\n", report_text(doc, "preprocess"));
    fprintf(out, "Made by qscope %s (%s) at %s.\n\n", report_text(doc, "qscope"),
            report_text(doc, "cpu"), report_text(doc, "created"));
    summary(doc, out);
    changes(doc, out);
    layers(doc, out);
    images(doc, top, out);
    lists(doc, out);
}
