/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_quantize.c: calibrate, quantize: from an FP32 model to INT8.
 */
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tui/edits.h"
#include "tui/load.h"
#include "tui/observe.h"

/* ---- What is asked for ---------------------------------------------------------------------- */

struct asked {
    struct quantize_options o;
    size_t cap_choices;
    const char *images; /* NULL: the data set */
    size_t limit;
};

enum dtype type_word(const char *word, enum dtype none)
{
    static const struct {
        const char *word;
        enum dtype type;
    } types[] = {{"u8", DT_U8},   {"s8", DT_S8}, {"u16", DT_U16},
                 {"s16", DT_S16}, {"u4", DT_U4}, {"s4", DT_S4}};
    for (size_t i = 0; word && i < COUNT(types); i++) {
        if (strcmp(word, types[i].word) == 0) {
            return types[i].type;
        }
    }
    return none;
}

static int read_goal(const struct call *c, struct asked *a, struct err *err)
{
    const char *method = call_opt(c, "--method"), *percentile = call_opt(c, "--percentile");
    struct range_goal *g = &a->o.goal;
    int64_t limit;
    g->codes.dtype = type_word(call_opt(c, "--activations"), DT_U8);
    g->codes.symmetric = call_opt(c, "--symmetric") != NULL;
    g->codes.power_of_two = call_opt(c, "--power-of-two") != NULL;
    g->percentile = percentile ? strtod(percentile, NULL) : 99.999;
    a->o.method = range_method_find(method ? method : percentile ? "percentile" : "minmax");
    a->images = call_opt(c, "--images");
    int rc = call_int(c, "--limit", 0, &limit, err);
    a->limit = limit > 0 ? (size_t)limit : 0;
    if (!rc && !(g->percentile > 0 && g->percentile <= 100)) {
        rc = err_set(err, E_USAGE, "--percentile is above 0 and at most 100, found '%s'",
                     percentile);
    }
    return rc;
}

static void add_choice(struct asked *a, const struct node_choice *c)
{
    if (a->o.n_choices == a->cap_choices) {
        a->cap_choices = 2 * a->cap_choices + 16;
        a->o.choices = mem_grow((void *)a->o.choices, a->cap_choices * sizeof *a->o.choices);
    }
    ((struct node_choice *)a->o.choices)[a->o.n_choices++] = *c;
}

/* The nodes of the layers that a word stands for. */
static int choose_layers(struct session *s, struct asked *a, const char *word,
                         struct node_choice choice, struct err *err)
{
    size_t n, *list;
    int nodes[LAYER_NODES];
    int rc = layer_list(s, word, &n, &list, err);
    for (size_t i = 0; !rc && i < n; i++) {
        size_t count = layer_nodes(s->fp32, &s->match, list[i], nodes);
        for (size_t k = 0; k < count; k++) {
            choice.node = s->fp32->nodes[nodes[k]].name;
            add_choice(a, &choice);
        }
    }
    if (!rc) {
        free(list);
    }
    return rc;
}

static int read_choices(const struct call *c, struct asked *a, struct err *err)
{
    static const struct {
        const char *option;
        struct node_choice choice;
    } kinds[] = {
        {"--keep", {.keep = true}},
        {"--s16", {.activations = DT_S16}},
        {"--s4", {.weights = DT_S4}},
    };
    int rc = OK;
    /* A node goes by its first choice: what is kept is kept. */
    for (size_t k = 0; k < COUNT(kinds); k++) {
        for (size_t i = 0; i < c->n_opts && !rc; i++) {
            if (strcmp(c->opts[i].spec->name, kinds[k].option) == 0) {
                rc = choose_layers(c->s, a, c->opts[i].value, kinds[k].choice, err);
            }
        }
    }
    return rc;
}

static int read_asked(const struct call *c, struct asked *a, struct err *err)
{
    *a = (struct asked){.o.per_channel = call_opt(c, "--per-channel") != NULL};
    enum dtype w = type_word(call_opt(c, "--weights"), DT_S8);
    a->o.weights = (struct code_choice){.dtype = w,
                                        .symmetric = w == DT_S8 || w == DT_S4,
                                        .reduced = call_opt(c, "--reduce-range") != NULL,
                                        .power_of_two = call_opt(c, "--power-of-two") != NULL};
    a->o.ops = call_opt(c, "--ops");
    a->o.correct_bias = call_opt(c, "--correct-bias") != NULL;
    int rc = read_goal(c, a, err);
    return rc ? rc : read_choices(c, a, err);
}

static void asked_fini(struct asked *a)
{
    free((void *)a->o.choices);
}

/* ---- The job -------------------------------------------------------------------------------- */

struct quantizing {
    struct observing *o;
    bool done; /* all images seen */
};

static int observe_body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    return observing_run(ctx, err);
}

static int observe_finish(struct session *s, void *ctx, struct err *err)
{
    (void)s, (void)ctx, (void)err;
    return OK; /* the command that waits goes on with it */
}

static void observe_summary(const struct session *s, char *dst, size_t size)
{
    (void)s;
    snprintf(dst, size, "calibrated");
}

static const struct job_kind observe_kind = {
    .what = "calibrate",
    .unit = "images",
    .short_unit = "img",
    .body = observe_body,
    .finish = observe_finish,
    .summary = observe_summary,
};

/* Runs the calibration images; both commands wait for it. */
static int observe(struct call *c, const struct asked *a, struct observing **out, struct err *err)
{
    struct session *s = c->s;
    job_cancel(s);
    job_wait(s, NULL);
    int rc = observing_new(s, a->images, a->limit, out, err);
    if (rc) {
        return rc;
    }
    (*out)->hist = a->o.method->hist;
    (*out)->channels = a->o.correct_bias;
    rc = job_start(s, &observe_kind, *out, (*out)->n, false, s->json ? NULL : c->note, err);
    if (!rc && (*out)->failed) {
        fprintf(c->note, "%zu of %zu images could not be read or run: %s\n", (*out)->failed,
                (*out)->n, (*out)->err.text);
    }
    if (rc) {
        observing_free(*out);
    }
    return rc;
}

/* ---- calibrate ------------------------------------------------------------------------------ */

static json_t *range_json(const struct graph *g, size_t v, const struct observation *seen,
                          const struct asked *a)
{
    double r[2];
    float scale;
    int32_t zero;
    a->o.method->choose(seen, &a->o.goal, r);
    codes_params(&a->o.goal.codes, r[0], r[1], &scale, &zero);
    double noise = observation_noise(seen, a->o.goal.codes.dtype, scale, zero);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:i,s:o,s:I}", "tensor",
                     json_text(g->values[v].name), "min", json_num(seen->lo), "max",
                     json_num(seen->hi), "low", json_num(r[0]), "high", json_num(r[1]), "scale",
                     json_num((double)scale), "zero_point", zero, "sqnr",
                     json_num(sqnr_db(seen->xx, noise)), "nonfinite", (json_int_t)seen->nonfinite);
}

static void ranges_text(json_t *list, FILE *out)
{
    char name[256];
    size_t i;
    json_t *row;
    fprintf(out, "%-44s %12s %12s %12s %12s %12s %6s\n", "TENSOR", "MIN", "MAX", "LOW", "HIGH",
            "SCALE", "ZERO");
    json_array_foreach(list, i, row)
    {
        text_safe(name, sizeof name, json_string_value(json_object_get(row, "tensor")));
        fprintf(out, "%-44s %12.6g %12.6g %12.6g %12.6g %12.6g %6lld\n", name,
                json_number_value(json_object_get(row, "min")),
                json_number_value(json_object_get(row, "max")),
                json_number_value(json_object_get(row, "low")),
                json_number_value(json_object_get(row, "high")),
                json_number_value(json_object_get(row, "scale")),
                (long long)json_integer_value(json_object_get(row, "zero_point")));
    }
}

static int exec_calibrate(struct call *c, struct err *err)
{
    struct asked a = {0};
    struct observing *o = NULL;
    int rc = read_goal(c, &a, err);
    rc = rc ? rc : observe(c, &a, &o, err);
    if (rc) {
        return rc;
    }
    json_t *list = json_array();
    for (size_t v = 0; v < o->g->n_values; v++) {
        if (o->seen[v].images) {
            json_array_append_new(list, range_json(o->g, v, &o->seen[v], &a));
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O,s:s,s:s,s:b,s:I,s:I}", "ranges", list, "method",
                               a.o.method->name, "codes", dtype_name(a.o.goal.codes.dtype),
                               "symmetric", a.o.goal.codes.symmetric, "images",
                               (json_int_t)(o->n - o->failed), "failed", (json_int_t)o->failed));
    } else {
        ranges_text(list, c->out);
    }
    json_decref(list);
    observing_free(o);
    return OK;
}

/* ---- quantize ------------------------------------------------------------------------------- */

static int check_target(const struct call *c, const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !call_opt(c, "--force")) {
        return err_set(err, E_IO, "%s exists: --force overwrites it", path);
    }
    return OK;
}

static void report_quantized(struct call *c, const struct asked *a, const struct observing *o,
                             const struct quantize_report *r)
{
    const struct session *s = c->s;
    const char *format = call_opt(c, "--format");
    if (s->json) {
        emit_json(c, json_pack("{s:o,s:s,s:s,s:s,s:b,s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
                               "file", json_text(c->args[0]), "format", format ? format : "qdq",
                               "activations", dtype_name(a->o.goal.codes.dtype), "weights",
                               dtype_name(a->o.weights.dtype), "per_channel", a->o.per_channel,
                               "symmetric", a->o.goal.codes.symmetric, "method", a->o.method->name,
                               "images", (json_int_t)(o->n - o->failed), "failed",
                               (json_int_t)o->failed, "layers", (json_int_t)r->layers, "left",
                               (json_int_t)r->left, "tensors", (json_int_t)r->tensors,
                               "weight_bytes", (json_int_t)r->weights, "corrected",
                               (json_int_t)r->corrected, "matched", (json_int_t)s->match.n_layers));
    } else {
        fprintf(c->out,
                "wrote %s: %zu weighted layers on codes, %zu in float, %zu activations quantized "
                "from %zu images (%s); loaded as INT8, %zu layers matched\n",
                c->args[0], r->layers, r->left, r->tensors, o->n - o->failed, a->o.method->name,
                s->match.n_layers);
    }
}

/* Loads what was written. In the place of another INT8 model it is a step for undo, pins stay. */
static int load_quantized(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct version v;
    if (!s->pair || s->cache || s->int8->dialect != DIALECT_ONNX) {
        return session_load_side(s, SIDE_INT8, c->args[0], NULL, err);
    }
    int rc = session_other(s, c->args[0], &v, err);
    if (rc) {
        return rc;
    }
    char *label = cmd_join(c->cmd->name, 1, c->args);
    rc = session_edit(s, v, label, err);
    free(label);
    return rc;
}

static int write_quantized(struct call *c, const struct asked *a, const struct observing *o,
                           struct quantize_report *r, struct err *err)
{
    struct graph *g = NULL, *integers = NULL;
    const char *format = call_opt(c, "--format");
    int rc = quantize_graph(o->g, o->seen, &a->o, &g, r, err);
    if (!rc && format && strcmp(format, "qop") == 0) {
        rc = graph_to_integers(g, &integers, err);
    }
    rc = rc ? rc : onnx_save(integers ? integers : g, c->args[0], err);
    graph_free(integers);
    graph_free(g);
    return rc ? rc : load_quantized(c, err);
}

static int exec_quantize(struct call *c, struct err *err)
{
    struct asked a = {0};
    struct observing *o = NULL;
    struct quantize_report r = {0};
    int rc = check_target(c, c->args[0], err);
    rc = rc ? rc : read_asked(c, &a, err);
    rc = rc ? rc : observe(c, &a, &o, err);
    if (!rc) {
        rc = write_quantized(c, &a, o, &r, err);
        if (!rc) {
            report_quantized(c, &a, o, &r);
        }
        observing_free(o);
    }
    asked_fini(&a);
    return rc;
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define METHODS "minmax|average|percentile|entropy|mse|aciq"
#define CALIBRATION_OPTS                                                                           \
    {"--images", ARG_FILE, "DIR", "calibration images; default: the data set", NULL},              \
        {"--limit", ARG_INT, "N", "only the first N images", NULL},                                \
        {"--method", ARG_CHOICE, METHODS, "how ranges follow from activations (minmax)", METHODS}, \
        {"--percentile", ARG_REAL, "P", "of |x|, for that method (99.999)", NULL},                 \
        {"--activations", ARG_CHOICE, "u8|s8|u16|s16", "codes of activations (u8)",                \
         "u8|s8|u16|s16"},                                                                         \
        {"--symmetric", ARG_FLAG, NULL, "activations with the zero point in the middle", NULL},    \
    {                                                                                              \
        "--power-of-two", ARG_FLAG, NULL, "scales are rounded up to powers of two", NULL           \
    }

static const struct opt_spec calibrate_opts[] = {
    CALIBRATION_OPTS,
    {0},
};

static const struct opt_spec quantize_opts[] = {
    CALIBRATION_OPTS,
    {"--format", ARG_CHOICE, "qdq|qop", "float operators between quantizers, or integer operators",
     "qdq|qop"},
    {"--weights", ARG_CHOICE, "s8|u8|s4", "codes of weights (s8)", "s8|u8|s4"},
    {"--per-channel", ARG_FLAG, NULL, "a scale for each output channel of the weights", NULL},
    {"--reduce-range", ARG_FLAG, NULL, "weights of 7 bits, for x86 without VNNI", NULL},
    {"--correct-bias", ARG_FLAG, NULL,
     "biases make up for what rounding weights does to channel means", NULL},
    {"--keep", ARG_LAYER, "LAYER", "stays FP32 (repeatable; @pinned for the pins in force)", NULL},
    {"--s16", ARG_LAYER, "LAYER", "activations of 16 bits around it (repeatable)", NULL},
    {"--s4", ARG_LAYER, "LAYER", "weights of 4 bits (repeatable)", NULL},
    {"--ops", ARG_WORD, "OP|OP", "only these operators, such as 'Conv|Gemm'", NULL},
    {"--force", ARG_FLAG, NULL, "overwrite an existing file", NULL},
    {0},
};

const struct cmd cmd_quantize[] = {
    {
        .name = "calibrate",
        .group = "quantize",
        .help = "what range the FP32 model's activations have on images, and the scale for it",
        .detail =
            "The model runs as it would be quantized: BatchNormalization and constant sums taken "
            "into weights and biases. For each activation: least and greatest value, the range "
            "that the method chooses, scale and zero point, and with a method that has histograms "
            "the SQNR that such codes leave. Memory does not grow with the number of images, and "
            "no figure depends on the number of threads. Methods: minmax, average of the images' "
            "extremes, percentile of |x|, entropy (TensorRT's), mse, aciq.",
        .example = "calibrate --images samples/images --limit 8",
        .needs = NEED_MODEL,
        .opts = calibrate_opts,
        .exec = exec_calibrate,
    },
    {
        .name = "quantize",
        .group = "quantize",
        .help = "calibrate the FP32 model on images and write it as INT8",
        .detail =
            "Quantizers stand where onnxruntime's quantize_static puts them, with its arithmetic; "
            "averages of a pool have a range of their own. Images are prepared as 'preprocess' "
            "says. The file is then loaded as the INT8 side, and in the place of another INT8 "
            "model "
            "that is a step for undo. --keep, --s16 and --s4 say otherwise for layers, by name, "
            "glob, @marked or @pinned. Codes of 16 and "
            "4 bits below opset 21 take the operators of com.microsoft.",
        .example = "quantize int8.onnx --images samples/images --limit 8 --per-channel",
        .needs = NEED_MODEL,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = quantize_opts,
        .exec = exec_quantize,
    },
    {0},
};
