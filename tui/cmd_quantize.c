/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_quantize.c: calibrate, quantize: from an FP32 model to INT8.
 */
#include <stdlib.h>

#include "tui/quantize_run.h"

/* ---- What is asked for ---------------------------------------------------------------------- */

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

static int read_goal(const struct call *c, struct quantize_asked *a, struct err *err)
{
    const char *method = call_opt(c, "--method"), *percentile = call_opt(c, "--percentile");
    struct range_goal *g = &a->o.goal;
    int64_t limit;
    g->codes.dtype = type_word(call_opt(c, "--activations"), DT_U8);
    g->codes.symmetric = call_opt(c, "--symmetric") != NULL;
    g->codes.power_of_two = call_opt(c, "--power-of-two") != NULL;
    g->percentile = percentile ? strtod(percentile, NULL) : 99.999;
    method = method ? method : percentile ? "percentile" : "minmax";
    a->best = strcmp(method, "best") == 0;
    a->o.method = a->best ? NULL : range_method_find(method);
    a->images = call_opt(c, "--images") ? mem_dup(call_opt(c, "--images")) : NULL;
    int rc = call_int(c, "--limit", 0, &limit, err);
    a->limit = limit > 0 ? (size_t)limit : 0;
    if (!rc && !(g->percentile > 0 && g->percentile <= 100)) {
        rc = err_set(err, E_USAGE, "--percentile is above 0 and at most 100, found '%s'",
                     percentile);
    }
    return rc;
}

static void add_choice(struct quantize_asked *a, const struct node_choice *c)
{
    if (a->o.n_choices == a->cap_choices) {
        a->cap_choices = 2 * a->cap_choices + 16;
        a->o.choices = mem_grow((void *)a->o.choices, a->cap_choices * sizeof *a->o.choices);
    }
    ((struct node_choice *)a->o.choices)[a->o.n_choices++] = *c;
}

/* The nodes of the layers that a word stands for. */
static int choose_layers(struct session *s, struct quantize_asked *a, const char *word,
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

static int read_choices(const struct call *c, struct quantize_asked *a, struct err *err)
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

/* Each operator that is named must be in the model. */
static int check_ops(const struct graph *g, const char *ops, struct err *err)
{
    size_t n;
    for (const char *op; (op = text_next(&ops, &n));) {
        char text[4 * 64];
        bool found = false;
        for (size_t i = 0; i < g->n_nodes && !found; i++) {
            found = strlen(g->nodes[i].op) == n && memcmp(g->nodes[i].op, op, n) == 0;
        }
        if (!found) {
            char *name = mem_printf("%.*s", (int)MIN(n, (size_t)64), op);
            text_safe(text, sizeof text, name);
            free(name);
            return err_set(err, E_USAGE, "--ops: the model has no operator '%s'", text);
        }
    }
    return OK;
}

static int read_asked(const struct call *c, struct quantize_asked *a, struct err *err)
{
    const char *format = call_opt(c, "--format");
    a->o.per_channel = call_opt(c, "--per-channel") != NULL;
    enum dtype w = type_word(call_opt(c, "--weights"), DT_S8);
    a->o.weights = (struct code_choice){.dtype = w,
                                        .symmetric = w == DT_S8 || w == DT_S4,
                                        .reduced = call_opt(c, "--reduce-range") != NULL,
                                        .power_of_two = call_opt(c, "--power-of-two") != NULL};
    a->o.ops = call_opt(c, "--ops");
    a->o.correct_bias = call_opt(c, "--correct-bias") != NULL;
    a->file = mem_dup(c->args[0]);
    a->label = cmd_join(c->cmd->name, 1, c->args);
    a->integers = format && strcmp(format, "qop") == 0;
    int rc = check_ops(c->s->fp32, a->o.ops, err);
    rc = rc ? rc : read_goal(c, a, err);
    enum dtype x = a->o.goal.codes.dtype;
    if (!rc && a->integers && x != DT_U8 && x != DT_S8) {
        rc = err_set(err, E_USAGE,
                     "integer operators have activations of 8 bits, found --activations %s: "
                     "--format qdq, or --s16 for layers, which then stay QDQ",
                     call_opt(c, "--activations"));
    }
    return rc ? rc : read_choices(c, a, err);
}

/* ---- Commands ------------------------------------------------------------------------------- */

/* Both run as a job; on the screen in the background, and the log gets what is found. */
static int start(struct call *c, struct quantize_asked *a, struct err *err)
{
    struct session *s = c->s;
    int rc = quantize_start(s, a, s->screen, s->json ? NULL : c->note, err);
    if (rc || s->screen) {
        if (!rc) {
            fprintf(c->note, "%s #%d started\n", s->job.kind->what, s->job.id);
        }
        return rc;
    }
    const char *why = json_string_value(json_object_get(s->quantized, "why_failed"));
    if (why) {
        fprintf(c->note, "%s\n", why);
    }
    if (s->json) {
        emit_one(c, json_copy(s->quantized));
    } else {
        quantize_print(s, c->out);
    }
    return OK;
}

static int exec_calibrate(struct call *c, struct err *err)
{
    struct quantize_asked a = {0};
    int rc = read_goal(c, &a, err);
    rc = rc ? rc : start(c, &a, err);
    quantize_asked_fini(&a);
    return rc;
}

static int exec_quantize(struct call *c, struct err *err)
{
    struct quantize_asked a = {0};
    int rc = call_may_write(c, c->args[0], err);
    rc = rc ? rc : read_asked(c, &a, err);
    rc = rc ? rc : start(c, &a, err);
    quantize_asked_fini(&a);
    return rc;
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define METHODS "minmax|average|percentile|entropy|mse|aciq"
#define CALIBRATION_OPTS(methods)                                                                  \
    {"--images", ARG_FILE, "DIR", "calibration images; default: the data set", NULL},              \
        {"--limit", ARG_COUNT, "N", "only the first N images", NULL},                              \
        {"--method", ARG_CHOICE, methods, "how ranges follow from activations (minmax)", methods}, \
        {"--percentile", ARG_REAL, "P", "of |x|, for that method (99.999)", NULL},                 \
        {"--activations", ARG_CHOICE, "u8|s8|u16|s16", "codes of activations (u8)",                \
         "u8|s8|u16|s16"},                                                                         \
        {"--symmetric", ARG_FLAG, NULL, "activations with the zero point in the middle", NULL},    \
    {                                                                                              \
        "--power-of-two", ARG_FLAG, NULL, "scales are rounded up to powers of two", NULL           \
    }

static const struct opt_spec calibrate_opts[] = {
    CALIBRATION_OPTS(METHODS),
    {0},
};

static const struct opt_spec quantize_opts[] = {
    CALIBRATION_OPTS(METHODS "|best"),
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
            "model that is a step for undo. --keep, --s16 and --s4 say otherwise for layers, by "
            "name, glob, @marked or @pinned; in --format qop those stay QDQ. Codes of 16 and 4 "
            "bits below opset 21 take the operators of com.microsoft. --method best runs what "
            "every "
            "method makes, with biases corrected and not, on up to 32 of the images and takes what "
            "leaves the outputs nearest to FP32's; entropy stands so against minmax. In the screen "
            "it runs in the background, and when cancelled leaves no file.",
        .example = "quantize int8.onnx --images samples/images --limit 8 --per-channel",
        .needs = NEED_MODEL,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = quantize_opts,
        .exec = exec_quantize,
    },
    {0},
};
