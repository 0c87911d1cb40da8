/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize_run.c: calibrating and quantizing, as the one job that may go on in the background. The
 * job observes, tries and writes; the front then loads what was written.
 */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/edits.h"
#include "tui/load.h"
#include "tui/quantize_run.h"

/* What the model may become: a method, with the biases corrected or not. */
struct candidate {
    struct quantize_options o;
    struct graph *made; /* QDQ */
    struct quantize_report r;
    double sqnr; /* of the outputs; NAN: not measured */
};
struct quantizing {
    struct observing *o;
    struct quantize_asked a;
    size_t n, chosen;
    struct candidate c[2 * N_RANGE_METHODS];
    bool written;
};

void quantize_asked_fini(struct quantize_asked *a)
{
    free((void *)a->o.choices);
    free(a->file);
    free(a->images);
    free(a->label);
    *a = (struct quantize_asked){0};
}

/* ---- Candidates ----------------------------------------------------------------------------- */

static void add_candidate(struct quantizing *q, const struct range_method *m, bool correct)
{
    struct candidate *c = &q->c[q->n++];
    *c = (struct candidate){.o = q->a.o, .sqnr = NAN};
    c->o.method = m;
    c->o.correct_bias = correct;
}

/* Of two that are as good the first is taken. Information that is lost says little of what the
 * outputs lose, so entropy stands against the whole ranges. */
static void list_candidates(struct quantizing *q)
{
    const struct quantize_options *o = &q->a.o;
    const struct range_method *minmax = range_method_find("minmax");
    if (!q->a.best) {
        add_candidate(q, o->method, o->correct_bias);
        if (q->a.file && o->method == range_method_find("entropy")) {
            add_candidate(q, minmax, o->correct_bias);
        }
        return;
    }
    for (const struct range_method *m = range_methods; m->name; m++) {
        for (int correct = o->correct_bias; correct < 2; correct++) {
            add_candidate(q, m, correct);
        }
    }
}

/* What calibration is to keep for them. */
static void want(struct quantizing *q)
{
    for (size_t i = 0; i < q->n; i++) {
        q->o->keep |= q->c[i].o.method->keep;
        q->o->channels |= q->c[i].o.correct_bias;
    }
}

static int make_all(struct quantizing *q, struct err *err)
{
    int rc = OK;
    for (size_t i = 0; i < q->n && !rc; i++) {
        struct candidate *c = &q->c[i];
        rc = quantize_graph(q->o->g, q->o->seen, &c->o, &c->made, &c->r, err);
    }
    return rc;
}

static int choose_best(struct quantizing *q, struct err *err)
{
    struct graph *made[COUNT(q->c)];
    double sqnr[COUNT(q->c)];
    for (size_t i = 0; i < q->n; i++) {
        made[i] = q->c[i].made;
        sqnr[i] = NAN;
    }
    int rc = q->n > 1 ? quantize_try(q->o, q->n, made, sqnr, err) : OK;
    for (size_t i = 0; i < q->n; i++) {
        q->c[i].sqnr = sqnr[i];
        q->chosen = sqnr[i] > sqnr[q->chosen] ? i : q->chosen;
    }
    return rc;
}

/* ---- The job -------------------------------------------------------------------------------- */

static int write_file(struct quantizing *q, struct err *err)
{
    struct graph *made = q->c[q->chosen].made, *integers = NULL;
    int rc = q->a.integers ? graph_to_integers(made, &integers, err) : OK;
    if (!rc && cancelled(&q->o->s->job.cancel)) {
        rc = err_set(err, E_STOP, "cancelled");
    }
    rc = rc ? rc : onnx_save(integers ? integers : made, q->a.file, err);
    q->written = !rc;
    graph_free(integers);
    return rc;
}

static int body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    struct quantizing *q = ctx;
    int rc = observing_run(q->o, err);
    if (rc || !q->a.file) {
        return rc;
    }
    rc = make_all(q, err);
    rc = rc ? rc : choose_best(q, err);
    return rc ? rc : write_file(q, err);
}

/* Loads what was written. In the place of another INT8 model it is a step for undo, pins stay. */
static int load_quantized(struct session *s, const struct quantize_asked *a, struct err *err)
{
    struct version v;
    if (!s->pair || s->cache || s->int8->dialect != DIALECT_ONNX) {
        return session_load_side(s, SIDE_INT8, a->file, NULL, err);
    }
    int rc = session_other(s, a->file, &v, err);
    return rc ? rc : session_edit(s, v, a->label, err);
}

/* ---- What was found ------------------------------------------------------------------------- */

static json_t *range_json(const struct graph *g, size_t v, const struct observation *seen,
                          const struct quantize_options *o)
{
    double r[2];
    float scale;
    int32_t zero;
    o->method->choose(seen, &o->goal, r);
    codes_params(&o->goal.codes, r[0], r[1], &scale, &zero);
    double noise = observation_noise(seen, o->goal.codes.dtype, scale, zero);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:i,s:o,s:I}", "tensor",
                     json_text(g->values[v].name), "min", json_num(seen->lo), "max",
                     json_num(seen->hi), "low", json_num(r[0]), "high", json_num(r[1]), "scale",
                     json_num((double)scale), "zero_point", zero, "sqnr",
                     json_num(sqnr_db(seen->xx, noise)), "nonfinite", (json_int_t)seen->nonfinite);
}

static json_t *ranges_json(const struct quantizing *q)
{
    const struct observing *o = q->o;
    json_t *list = json_array();
    for (size_t v = 0; v < o->g->n_values; v++) {
        if (o->seen[v].images) {
            json_array_append_new(list, range_json(o->g, v, &o->seen[v], &q->a.o));
        }
    }
    return json_pack("{s:o,s:s,s:s,s:b,s:I,s:I}", "ranges", list, "method", q->a.o.method->name,
                     "codes", dtype_name(q->a.o.goal.codes.dtype), "symmetric",
                     q->a.o.goal.codes.symmetric, "images", (json_int_t)(o->n - o->failed),
                     "failed", (json_int_t)o->failed);
}

static json_t *tried_json(const struct quantizing *q)
{
    json_t *list = json_array();
    for (size_t i = 0; i < q->n && q->n > 1; i++) {
        json_array_append_new(list, json_pack("{s:s,s:b,s:o}", "method", q->c[i].o.method->name,
                                              "correct_bias", q->c[i].o.correct_bias, "sqnr",
                                              json_num(q->c[i].sqnr)));
    }
    return list;
}

static json_t *made_json(const struct session *s, const struct quantizing *q)
{
    const struct observing *o = q->o;
    const struct candidate *c = &q->c[q->chosen];
    return json_pack(
        "{s:o,s:s,s:s,s:s,s:b,s:b,s:s,s:b,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "file",
        json_text(q->a.file), "format", q->a.integers ? "qop" : "qdq", "activations",
        dtype_name(c->o.goal.codes.dtype), "weights", dtype_name(c->o.weights.dtype), "per_channel",
        c->o.per_channel, "symmetric", c->o.goal.codes.symmetric, "method", c->o.method->name,
        "correct_bias", c->o.correct_bias, "tried", tried_json(q), "images",
        (json_int_t)(o->n - o->failed), "failed", (json_int_t)o->failed, "layers",
        (json_int_t)c->r.layers, "left", (json_int_t)c->r.left, "tensors", (json_int_t)c->r.tensors,
        "weight_bytes", (json_int_t)c->r.weights, "corrected", (json_int_t)c->r.corrected,
        "matched", (json_int_t)s->match.n_layers);
}

static long long integer(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void print_ranges(const json_t *list, FILE *out)
{
    char name[256];
    size_t i;
    json_t *row;
    fprintf(out, "%-44s %12s %12s %12s %12s %12s %6s\n", "TENSOR", "MIN", "MAX", "LOW", "HIGH",
            "SCALE", "ZERO");
    json_array_foreach(list, i, row)
    {
        text_safe(name, sizeof name, json_string_value(json_object_get(row, "tensor")));
        fprintf(out, "%-44s %12.6g %12.6g %12.6g %12.6g %12.6g %6lld\n", name, number(row, "min"),
                number(row, "max"), number(row, "low"), number(row, "high"), number(row, "scale"),
                integer(row, "zero_point"));
    }
}

static void print_tried(const json_t *tried, FILE *out)
{
    size_t i;
    json_t *row;
    json_array_foreach(tried, i, row)
    {
        fprintf(out, "%-12s%s %6.2f dB of the outputs\n",
                json_string_value(json_object_get(row, "method")),
                json_is_true(json_object_get(row, "correct_bias")) ? "corrected" : "         ",
                number(row, "sqnr"));
    }
}

void quantize_print(const struct session *s, FILE *out)
{
    const json_t *o = s->quantized, *ranges = json_object_get(o, "ranges");
    char file[1024];
    if (ranges) {
        print_ranges(ranges, out);
        return;
    }
    print_tried(json_object_get(o, "tried"), out);
    text_safe(file, sizeof file, json_string_value(json_object_get(o, "file")));
    fprintf(out,
            "wrote %s: %lld weighted layers on codes, %lld in float, %lld activations quantized "
            "from %lld images (%s%s); loaded as INT8, %lld layers matched\n",
            file, integer(o, "layers"), integer(o, "left"), integer(o, "tensors"),
            integer(o, "images"), json_string_value(json_object_get(o, "method")),
            json_is_true(json_object_get(o, "correct_bias")) ? ", biases corrected" : "",
            integer(o, "matched"));
}

/* ---- End ------------------------------------------------------------------------------------ */

static void quantizing_free(struct quantizing *q)
{
    for (size_t i = 0; i < q->n; i++) {
        graph_free(q->c[i].made);
    }
    observing_free(q->o);
    quantize_asked_fini(&q->a);
    free(q);
}

/* A screen has nobody who waits for what is found: the log gets it. */
static void log_found(struct session *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f) {
        quantize_print(s, f);
        fclose(f);
        session_log(s, ' ', text);
    }
    free(text);
}

/* What is cancelled leaves nothing, also when that came after the last step. */
static int finish(struct session *s, void *ctx, struct err *err)
{
    struct quantizing *q = ctx;
    int rc = OK;
    json_decref(s->quantized);
    s->quantized = NULL;
    bool stopped = s->job.state == JOB_DONE && cancelled(&s->job.cancel);
    s->job.state = stopped ? JOB_CANCELLED : s->job.state;
    if (stopped && q->written) {
        unlink(q->a.file);
    }
    if (s->job.state == JOB_DONE) {
        rc = q->a.file ? load_quantized(s, &q->a, err) : OK;
        s->quantized = rc ? NULL : q->a.file ? made_json(s, q) : ranges_json(q);
    }
    if (s->quantized && q->o->failed) {
        char *why = mem_printf("%zu of %zu images could not be read or run: %s", q->o->failed,
                               q->o->n, q->o->err.text);
        json_object_set_new(s->quantized, "why_failed", json_text(why));
        free(why);
    }
    if (s->quantized && s->screen) {
        log_found(s);
    }
    quantizing_free(q);
    return rc;
}

static void summary(const struct session *s, char *dst, size_t size)
{
    const json_t *ranges = json_object_get(s->quantized, "ranges");
    char file[128];
    if (!s->quantized) {
        snprintf(dst, size, "nothing is written");
    } else if (ranges) {
        snprintf(dst, size, "%zu ranges in the log", json_array_size(ranges));
    } else {
        text_safe(file, sizeof file, json_string_value(json_object_get(s->quantized, "file")));
        snprintf(dst, size, "%s is the INT8 model, %lld layers matched", file,
                 integer(s->quantized, "matched"));
    }
}

static const struct job_kind kinds[] = {
    {
        .what = "calibrate",
        .unit = "images",
        .short_unit = "img",
        .whole = true,
        .body = body,
        .finish = finish,
        .summary = summary,
    },
    {
        .what = "quantize",
        .unit = "images",
        .short_unit = "img",
        .whole = true,
        .body = body,
        .finish = finish,
        .summary = summary,
    },
};

int quantize_start(struct session *s, struct quantize_asked *a, bool background, FILE *note,
                   struct err *err)
{
    job_replace(s);
    struct quantizing *q = mem_alloc(sizeof *q);
    q->a = *a;
    *a = (struct quantize_asked){0};
    int rc = observing_new(s, q->a.images, q->a.limit, &q->o, err);
    if (rc) {
        quantizing_free(q);
        return rc;
    }
    list_candidates(q);
    want(q);
    size_t total = q->o->n + (q->n > 1 ? quantize_try_steps(q->o, q->n) : 0);
    return job_start(s, &kinds[q->a.file != NULL], q, total, background, note, err);
}
