/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * report.c: the results of a run as one document. All forms of a report are written from it, and a
 * baseline is the document itself.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/pins.h"
#include "tui/report.h"
#include "tui/state.h"

enum { BINS = 64 };

/* ---- Reading a document ---------------------------------------------------------------------- */

static const char *in_ring(const char *text)
{
    static char ring[8][512];
    static unsigned at;
    char *dst = ring[at++ % COUNT(ring)];
    return text_safe(dst, sizeof(ring[0]), text ? text : "");
}

const char *report_text(const json_t *o, const char *key)
{
    return in_ring(json_string_value(json_object_get(o, key)));
}

const char *report_class(const json_t *o, const char *name, const char *number)
{
    const json_t *known = json_object_get(o, name), *class = json_object_get(o, number);
    char text[32] = "";
    if (json_is_integer(class))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(class));
    return json_is_string(known) ? in_ring(json_string_value(known)) : in_ring(text);
}

double report_number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

double report_metric(const json_t *row, const struct metric *m)
{
    const double v = report_number(row, m->name);
    const bool exact = json_is_true(json_object_get(row, "exact"));
    return isnan(v) && exact && strcmp(m->name, "sqnr") == 0 ? INFINITY : v;
}

const json_t *report_worst(const json_t *doc, size_t rank)
{
    const json_t *at = json_array_get(json_object_get(doc, "worst"), rank);
    const json_int_t i = json_is_integer(at) ? json_integer_value(at) : -1;
    return i < 0 ? NULL : json_array_get(json_object_get(doc, "layers"), (size_t)i);
}

const json_t *report_layer(const json_t *doc, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(doc, "layers"), i, row)
    {
        const char *own = json_string_value(json_object_get(row, "name"));
        if (own && name && strcmp(own, name) == 0)
            return row;
    }
    return NULL;
}

/* ---- Making one ------------------------------------------------------------------------------ */

static json_t *summary(const struct session *s)
{
    const struct study *t = s->study;
    const double a = study_accuracy(t, SIDE_FP32), b = study_accuracy(t, SIDE_INT8);
    json_t *o =
        json_pack("{s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "images",
                  (json_int_t)(t->n_images - t->failed), "failed", (json_int_t)t->failed,
                  "labelled", (json_int_t)t->labelled, "fp32_accuracy", json_num(a),
                  "int8_accuracy", json_num(b), "top1_drop", json_num(a - b), "agreement",
                  json_num(study_agreement(t)), "lost", (json_int_t)t->lost, "gained",
                  (json_int_t)t->gained, "layers", (json_int_t)s->match.n_layers, "unmatched",
                  (json_int_t)s->match.n_unmatched, "pins", (json_int_t)s->undo[s->at_undo].n);
    return o;
}

static json_t *model(const struct graph *g)
{
    char hex[33];
    digest_hex(graph_digest(g), hex);
    return json_pack("{s:o,s:I,s:I,s:s}", "file", json_text(g->path), "nodes",
                     (json_int_t)g->n_nodes, "opset", (json_int_t)g->opset, "digest", hex);
}

static json_t *layers(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->match.n_layers; i++)
        json_array_append_new(list, rank_layer_json(s, i, &s->study->layers[i]));
    return list;
}

/* Places in "layers" of those that were measured, worst first; and histograms of the first. */
static void worst(const struct session *s, size_t hists, json_t *doc)
{
    json_t *ranks = json_array(), *list = json_array();
    size_t *order = mem_alloc((s->match.n_layers + 1) * sizeof(*order));
    study_rank_layers(s->study, metric_find("sqnr"), SORT_WORST, order);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        const struct layer_stats *st = &s->study->layers[order[i]];
        if (!st->images)
            continue;
        json_array_append_new(ranks, json_integer((json_int_t)order[i]));
        if (json_array_size(list) < hists && st->fp32.n)
            json_array_append_new(list, rank_hist_json(s, order[i], st, BINS));
    }
    free(order);
    json_object_set_new(doc, "worst", ranks);
    json_object_set_new(doc, "histograms", list);
}

static json_t *images(const struct session *s)
{
    json_t *list = json_array();
    const size_t n = s->study->n_images;
    size_t *order = mem_alloc((n + 1) * sizeof(*order));
    study_rank_images(s->study, &image_keys[0], SORT_WORST, order);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, rank_image_json(s, &s->study->images[order[i]]));
    free(order);
    return list;
}

static json_t *pins(const struct session *s)
{
    struct pin_report *r = NULL;
    size_t n = 0;
    if (s->mixed)
        pins_report_new(s, s->plan_int8, &r, &n);
    json_t *list = pins_report_json(s, r, n);
    free(r);
    return list;
}

static json_t *history(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 1; i <= s->at_undo; i++)
        json_array_append_new(list, json_text(s->undo[i].label));
    return list;
}

json_t *report_new(const struct session *s, size_t hists)
{
    json_t *doc = json_object();
    char text[512];
    json_object_set_new(doc, "kind", json_string(REPORT_KIND));
    json_object_set_new(doc, "schema", json_integer(1));
    json_object_set_new(doc, "created", json_time());
    json_object_set_new(doc, "qscope", json_string(QSCOPE_VERSION));
    json_object_set_new(doc, "cpu", json_string(engine_cpu()));
    json_numerics(doc, s);
    json_object_set_new(doc, "numerics_help", json_string(numerics_help(s->set.numerics)));
    json_object_set_new(doc, "models",
                        json_pack("{s:o,s:o}", "fp32", model(s->fp32), "int8", model(s->int8)));
    json_object_set_new(doc, "calibration", json_text(s->cache));
    preprocess_text(&s->pp, text, sizeof(text));
    json_object_set_new(doc, "preprocess", json_string(text));
    json_object_set_new(doc, "summary", summary(s));
    json_object_set_new(doc, "layers", layers(s));
    worst(s, hists, doc);
    json_object_set_new(doc, "images", images(s));
    json_object_set_new(doc, "unmatched", rank_unmatched_json(s));
    json_object_set_new(doc, "pins", pins(s));
    json_object_set_new(doc, "history", history(s));
    return doc;
}
