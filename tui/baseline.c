/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * baseline.c: what changed between two reports: layers by name, images by file.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/report.h"

/* ---- Reading --------------------------------------------------------------------------------- */

static bool objects(const json_t *list)
{
    size_t i;
    json_t *x;
    json_array_foreach(list, i, x)
    {
        if (!json_is_object(x))
            return false;
    }
    return json_is_array(list);
}

int baseline_read(const char *path, json_t **out, struct err *err)
{
    json_t *o = NULL;
    const int rc = json_load_kind(path, REPORT_KIND, &o, err);
    if (rc)
        return rc;
    if (!objects(json_object_get(o, "layers")) || !objects(json_object_get(o, "images"))) {
        json_decref(o);
        return err_set(err, E_FORMAT, "%s: no list of layers and images", path);
    }
    *out = o;
    return OK;
}

/* ---- Comparing ------------------------------------------------------------------------------- */

/* Rows by a key, so that they are found. Borrowed. */
static struct strmap by_key(const json_t *list, const char *key)
{
    struct strmap m = {0};
    size_t i;
    json_t *x;
    json_array_foreach(list, i, x)
    {
        const char *name = json_string_value(json_object_get(x, key));
        if (name)
            strmap_put(&m, name, (int)i);
    }
    return m;
}

static const json_t *find_row(const json_t *list, const struct strmap *m, const json_t *like,
                              const char *key)
{
    const char *name = json_string_value(json_object_get(like, key));
    const int at = name ? strmap_get(m, name, -1) : -1;
    return at < 0 ? NULL : json_array_get(list, (size_t)at);
}

/* How much better (> 0) or worse it is now; two exact values differ by nothing. */
static double gain(double before, double now, bool higher_is_better)
{
    const double d = before == now ? 0 : now - before;
    return higher_is_better ? d : -d;
}

struct change {
    json_t *row;
    double gain;
    size_t place;
};

/* Worst change first, unknown ones last; equal ones in their order. */
static int worst_first(const void *pa, const void *pb)
{
    const struct change *a = pa, *b = pb;
    const int nan = isnan(a->gain) - isnan(b->gain);
    const int by = nan ? nan : (a->gain > b->gain) - (a->gain < b->gain);
    return by ? by : (a->place > b->place) - (a->place < b->place);
}

struct changes {
    size_t n, cap;
    struct change *v;
};

static void add_change(struct changes *c, json_t *row, double better)
{
    c->v = mem_push(c->v, c->n, &c->cap, sizeof(*c->v));
    c->v[c->n] = (struct change){row, better, c->n};
    c->n++;
}

/* Takes the rows over into a list. */
static json_t *sorted(struct changes *c)
{
    json_t *list = json_array();
    qsort(c->v, c->n, sizeof(*c->v), worst_first);
    for (size_t i = 0; i < c->n; i++)
        json_array_append_new(list, c->v[i].row);
    free(c->v);
    return list;
}

static json_t *compare_layers(const json_t *before, const json_t *now, const struct metric *m,
                              json_t *summary)
{
    const json_t *old = json_object_get(before, "layers"), *new = json_object_get(now, "layers");
    struct strmap map = by_key(old, "name");
    struct changes c = {0};
    size_t i, common = 0, worse = 0;
    double worst = NAN, sum = 0;
    json_t *row;
    json_array_foreach(new, i, row)
    {
        const json_t *was = find_row(old, &map, row, "name");
        if (!was)
            continue;
        const double a = report_metric(was, m), b = report_metric(row, m);
        const double g = gain(a, b, m->higher_is_better);
        common++;
        worse += g < 0;
        worst = isnan(worst) || g < worst ? g : worst;
        sum += isfinite(g) ? g : 0;
        json_t *o = json_pack("{s:O,s:O?,s:o,s:o,s:o}", "name", json_object_get(row, "name"), "op",
                              json_object_get(row, "op"), "before", json_num(a), "now", json_num(b),
                              "gain", json_num(g));
        if (isinf(a))
            json_object_set_new(o, "exact_before", json_true());
        if (isinf(b))
            json_object_set_new(o, "exact_now", json_true());
        add_change(&c, o, g);
    }
    json_object_set_new(summary, "common_layers", json_integer((json_int_t)common));
    json_object_set_new(summary, "worse_layers", json_integer((json_int_t)worse));
    json_object_set_new(summary, "worst_gain", json_num(worst));
    json_object_set_new(summary, "mean_gain", json_num(common ? sum / (double)common : NAN));
    strmap_fini(&map);
    return sorted(&c);
}

/* Whether INT8 was right about an image: with its label, else as FP32; -1 unknown. */
static int right(const json_t *x)
{
    const json_t *label = json_object_get(x, "label"), *fp32 = json_object_get(x, "fp32_top1");
    const json_t *int8 = json_object_get(x, "int8_top1");
    const json_t *want = json_is_integer(label) ? label : fp32;
    if (!json_is_integer(want) || !json_is_integer(int8))
        return -1;
    return json_integer_value(want) == json_integer_value(int8);
}

static json_t *compare_images(const json_t *before, const json_t *now, json_t *summary)
{
    const json_t *old = json_object_get(before, "images"), *new = json_object_get(now, "images");
    struct strmap map = by_key(old, "file");
    struct changes c = {0};
    size_t i, common = 0, lost = 0, fixed = 0;
    json_t *x;
    json_array_foreach(new, i, x)
    {
        const json_t *was = find_row(old, &map, x, "file");
        if (!was)
            continue;
        const int a = right(was), b = right(x);
        const double g = report_number(x, "sqnr") - report_number(was, "sqnr");
        const bool bad = a == 1 && b == 0, good = a == 0 && b == 1;
        common++;
        lost += bad;
        fixed += good;
        add_change(&c,
                   json_pack("{s:O,s:s?,s:O?,s:O?,s:O?,s:O?,s:O?,s:O?,s:o}", "file",
                             json_object_get(x, "file"), "change",
                             bad    ? "regression"
                             : good ? "fixed"
                                    : NULL,
                             "label", json_object_get(x, "label"), "label_name",
                             json_object_get(x, "label_name"), "before_top1",
                             json_object_get(was, "int8_top1"), "before_name",
                             json_object_get(was, "int8_name"), "now_top1",
                             json_object_get(x, "int8_top1"), "now_name",
                             json_object_get(x, "int8_name"), "sqnr_gain", json_num(g)),
                   bad    ? -1e9
                   : good ? 1e9
                          : g);
    }
    json_object_set_new(summary, "common_images", json_integer((json_int_t)common));
    json_object_set_new(summary, "regressions", json_integer((json_int_t)lost));
    json_object_set_new(summary, "fixed", json_integer((json_int_t)fixed));
    strmap_fini(&map);
    return sorted(&c);
}

/* Which run a document is of. */
static json_t *run_of(const json_t *doc)
{
    const json_t *int8 = json_object_get(json_object_get(doc, "models"), "int8");
    return json_pack("{s:O?,s:O?,s:O?}", "int8", json_object_get(int8, "file"), "pins",
                     json_object_get(json_object_get(doc, "summary"), "pins"), "created",
                     json_object_get(doc, "created"));
}

static json_t *texts(const json_t *doc, const char *key)
{
    json_t *v = json_object_get(doc, key);
    return v ? json_incref(v) : json_null();
}

json_t *baseline_compare(const json_t *before, const json_t *now, const struct metric *m)
{
    const char *key = "int8_accuracy";
    const double a = report_number(json_object_get(before, "summary"), key);
    const double b = report_number(json_object_get(now, "summary"), key);
    json_t *summary =
        json_pack("{s:s,s:o,s:o,s:o}", "metric", m->name, "accuracy_before", json_num(a),
                  "accuracy_now", json_num(b), "accuracy_gain", json_num(b - a));
    json_t *layers = compare_layers(before, now, m, summary);
    json_t *images = compare_images(before, now, summary);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "layers", layers, "images", images, "summary",
                     summary, "numerics_before", texts(before, "numerics"), "numerics",
                     texts(now, "numerics"), "before_run", run_of(before), "run", run_of(now));
}
