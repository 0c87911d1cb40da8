/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_report.c: report and baseline: the results of a run as a file, and against an earlier one.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/report.h"

static int write_text(const char *path, char *text, struct err *err)
{
    const int rc = file_write(path, text, strlen(text), FILE_DURABLE, err);
    free(text);
    return rc;
}

static char *pretty(const json_t *doc)
{
    return json_dumps(doc, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
}

/* ---- report ---------------------------------------------------------------------------------- */

static void print_json(const json_t *doc, size_t images, FILE *out)
{
    char *text = pretty(doc);
    (void)images;
    fprintf(out, "%s\n", text);
    free(text);
}

static void print_csv(const json_t *doc, size_t images, FILE *out)
{
    (void)images;
    csv_rows(json_object_get(doc, "layers"), out);
}

static const struct {
    const char *name, *ends;
    void (*print)(const json_t *doc, size_t images, FILE *out);
} writers[] = {
    {"html", ".html", report_html},
    {"md", ".md", report_markdown},
    {"json", ".json", print_json},
    {"csv", ".csv", print_csv},
};
#define WRITERS "html|md|json|csv"

/* Which one: as said, else by the name of the file; -1 unknown. */
static int writer_of(const struct call *c)
{
    const char *word = call_opt(c, "--format"), *dot = strrchr(c->args[0], '.');
    for (int i = 0; i < (int)COUNT(writers); i++)
        if (word ? strcmp(word, writers[i].name) == 0 : dot && strcmp(dot, writers[i].ends) == 0)
            return i;
    return -1;
}

/* What makes the two hard to compare. */
static void tell_different(const json_t *before, const json_t *now, FILE *note)
{
    static const char *const keys[] = {"numerics", "preprocess"};
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(report_text(before, keys[i]), report_text(now, keys[i])) != 0)
            fprintf(note, "%s differs: %s, now %s\n", keys[i], report_text(before, keys[i]),
                    report_text(now, keys[i]));
    const json_t *a = json_object_get(json_object_get(before, "models"), "fp32");
    const json_t *b = json_object_get(json_object_get(now, "models"), "fp32");
    if (strcmp(report_text(a, "digest"), report_text(b, "digest")) != 0)
        fprintf(note, "the FP32 model differs\n");
}

static int exec_report(struct call *c, struct err *err)
{
    struct session *s = c->s;
    int64_t top, images;
    const int w = writer_of(c);
    const char *baseline = call_opt(c, "--baseline");
    json_t *before = NULL;
    char *text = NULL, safe[512];
    size_t size = 0;
    if (w < 0)
        return err_set(err, E_USAGE, "%s: --format says which of " WRITERS, c->args[0]);
    int rc = call_int(c, "--top", 5, &top, err);
    rc = rc ? rc : call_int(c, "--images", 50, &images, err);
    rc = rc ? rc : call_may_write(c, c->args[0], err);
    rc = rc || !baseline ? rc : baseline_read(baseline, &before, err);
    if (rc)
        return rc;
    session_judge(s);
    json_t *doc = report_new(s, (size_t)top);
    if (before) {
        tell_different(before, doc, c->note);
        json_object_set_new(doc, "baseline", baseline_compare(before, doc, metric_find("sqnr")));
        json_decref(before);
    }
    FILE *f = open_memstream(&text, &size);
    writers[w].print(doc, (size_t)images, f);
    fclose(f);
    json_decref(doc);
    rc = write_text(c->args[0], text, err);
    if (rc == OK && s->json)
        emit_json(c,
                  json_pack("{s:o,s:s}", "file", json_text(c->args[0]), "format", writers[w].name));
    else if (rc == OK)
        fprintf(c->out, "report on %zu layers and %zu images in %s\n", s->match.n_layers,
                s->study->n_images, text_safe(safe, sizeof(safe), c->args[0]));
    return rc;
}

/* ---- baseline -------------------------------------------------------------------------------- */

static int exec_save(struct call *c, struct err *err)
{
    char safe[512];
    int rc = call_may_write(c, c->args[0], err);
    if (rc)
        return rc;
    session_judge(c->s);
    json_t *doc = report_new(c->s, 0);
    rc = write_text(c->args[0], pretty(doc), err);
    if (rc == OK && c->s->json)
        emit_json(c, json_pack("{s:o,s:O}", "file", json_text(c->args[0]), "summary",
                               json_object_get(doc, "summary")));
    else if (rc == OK)
        fprintf(c->out, "baseline of %zu layers and %zu images in %s\n", c->s->match.n_layers,
                c->s->study->n_images, text_safe(safe, sizeof(safe), c->args[0]));
    json_decref(doc);
    return rc;
}

static void layer_line(const json_t *row, const struct metric *m, FILE *out)
{
    char a[32], b[32], name[128];
    const char *label = report_text(row, "name");
    const double gain = report_number(row, "gain");
    const bool was = json_is_true(json_object_get(row, "exact_before"));
    const bool is = json_is_true(json_object_get(row, "exact_now"));
    rank_metric(a, sizeof(a), m, was ? INFINITY : report_number(row, "before"));
    rank_metric(b, sizeof(b), m, is ? INFINITY : report_number(row, "now"));
    const int w = text_fit(name, sizeof(name), label, 40, TEXT_TAIL);
    fprintf(out, "%s%*s %-10.10s %9s %9s ", name, 40 - w, "", report_text(row, "op"), a, b);
    if (isnan(gain))
        fprintf(out, "%9s\n", "n/a");
    else
        fprintf(out, "%+9.*f\n", m->digits, gain);
}

static void run_line(const char *when, const json_t *run, FILE *out)
{
    fprintf(out, "%-7s %s, %.0f pins, %s\n", when, report_text(run, "int8"),
            report_number(run, "pins"), report_text(run, "created"));
}

static void compare_text(const json_t *o, const struct metric *m, size_t top, FILE *out)
{
    const json_t *s = json_object_get(o, "summary"), *layers = json_object_get(o, "layers");
    const json_t *images = json_object_get(o, "images");
    const double a = report_number(s, "accuracy_before"), b = report_number(s, "accuracy_now");
    run_line("before", json_object_get(o, "before_run"), out);
    run_line("now", json_object_get(o, "run"), out);
    fprintf(out, "%.0f layers and %.0f images in both\n", report_number(s, "common_layers"),
            report_number(s, "common_images"));
    if (!isnan(a) && !isnan(b))
        fprintf(out, "top-1 INT8 %.2f %%, now %.2f %% (%+.2f points)", a, b, b - a);
    fprintf(out, "%s%.0f regressions, %.0f fixed; %.0f layers worse by %s\n",
            !isnan(a) && !isnan(b) ? "; " : "", report_number(s, "regressions"),
            report_number(s, "fixed"), report_number(s, "worse_layers"), m->name);
    fprintf(out, "%-40s %-10s %9s %9s %9s\n", "LAYER", "OP", "BEFORE", "NOW", "GAIN");
    for (size_t i = 0; i < json_array_size(layers) && (!top || i < top); i++)
        layer_line(json_array_get(layers, i), m, out);
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *x = json_array_get(images, i);
        const char *change = report_text(x, "change");
        if (change[0])
            fprintf(out, "%-10s %-30s label %-12s top-1 %s, now %s\n", change,
                    report_text(x, "file"), report_class(x, "label_name", "label"),
                    report_class(x, "before_name", "before_top1"),
                    report_class(x, "now_name", "now_top1"));
    }
}

static int exec_compare(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *word = call_opt(c, "--metric");
    const struct metric *m = metric_find(word ? word : "sqnr");
    json_t *before = NULL;
    int64_t top;
    if (!m)
        return err_set(err, E_USAGE, "no metric '%s'; 'metrics' lists them", word);
    int rc = call_int(c, "--top", s->set.top, &top, err);
    rc = rc ? rc : baseline_read(c->args[0], &before, err);
    if (rc)
        return rc;
    session_judge(s);
    json_t *now = report_new(s, 0), *o = baseline_compare(before, now, m);
    tell_different(before, now, c->note);
    json_decref(s->compared);
    s->compared = json_incref(json_object_get(o, "summary"));
    if (s->json)
        emit_json(c, json_incref(o));
    else
        compare_text(o, m, (size_t)top, c->out);
    json_decref(o);
    json_decref(now);
    json_decref(before);
    return OK;
}

/* ---- Table ----------------------------------------------------------------------------------- */

static const struct opt_spec report_opts[] = {
    {"--format", ARG_CHOICE, WRITERS, "form of the file (by its name)", WRITERS},
    {"--top", ARG_COUNT, "N", "layers with a histogram (5)", NULL},
    {"--images", ARG_COUNT, "N", "images listed (50)", NULL},
    {"--baseline", ARG_FILE, "FILE", "with what changed since that baseline", NULL},
    {"--force", ARG_FLAG, NULL, "overwrite an existing file", NULL},
    {0},
};

static const struct opt_spec save_opts[] = {
    {"--force", ARG_FLAG, NULL, "overwrite an existing file", NULL},
    {0},
};

static const struct opt_spec compare_opts[] = {
    {"--metric", ARG_METRIC, "METRIC", "what layers are compared by (sqnr)", NULL},
    {"--top", ARG_COUNT, "N", "only the N layers that lost most", NULL},
    {0},
};

const struct cmd cmd_report[] = {
    {
        .name = "report",
        .group = "report",
        .help = "write the results of the run as one file: HTML, Markdown, JSON or CSV",
        .detail = "HTML stands alone, without scripts: summary, SQNR along the network, all layers "
                  "ranked, histograms of the worst ones, images ranked, pins, what could not be "
                  "compared, numerics and versions. Markdown has the same tables. JSON has "
                  "everything and is what 'baseline compare' reads; CSV has the layers.",
        .example = "report report.html",
        .needs = NEED_PAIR | NEED_RUN,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = report_opts,
        .exec = exec_report,
    },
    {
        .name = "baseline save",
        .group = "report",
        .help = "keep the results of the run for a comparison",
        .example = "baseline save before.json",
        .needs = NEED_PAIR | NEED_RUN,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = save_opts,
        .exec = exec_save,
    },
    {
        .name = "baseline compare",
        .group = "report",
        .help = "what changed since a baseline: layers, images, accuracy",
        .detail = "For the same FP32 model with other pins, settings or another INT8 version "
                  "('load int8 OTHER'). Layers are the same by name, images by file. A regression "
                  "is an image that INT8 got right before and does not now: by its label, else by "
                  "FP32's answer. Afterwards assert knows regressions, fixed, accuracy_gain, "
                  "worse_layers, worst_gain, mean_gain, common_layers and common_images; a gain "
                  "above 0 is better.",
        .example = "baseline compare before.json --top 5",
        .needs = NEED_PAIR | NEED_RUN,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = compare_opts,
        .exec = exec_compare,
    },
    {0},
};
