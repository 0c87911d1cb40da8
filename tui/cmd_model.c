/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_model.c: load, unload, match, info, check, ops: what the models are.
 */
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/rank.h"
#include "tui/tui.h"

/* ---- load ----------------------------------------------------------------------------------- */

static size_t count_unmatched(const struct session *s, enum side side)
{
    size_t n = 0;
    for (size_t i = 0; i < s->match.n_unmatched; i++) {
        n += s->match.unmatched[i].side == side;
    }
    return n;
}

static json_t *graph_json(const struct graph *g)
{
    json_t *o = json_object();
    json_object_set_new(o, "file", json_text(g->path));
    json_object_set_new(o, "nodes", json_integer((json_int_t)g->n_nodes));
    json_object_set_new(o, "opset", json_integer(g->opset));
    const size_t counts[] = {g->n_inputs, g->n_outputs};
    for (int k = 0; k < 2; k++) {
        json_t *list = json_array();
        for (size_t i = 0; i < counts[k]; i++) {
            const struct value *v = &g->values[(k ? g->outputs : g->inputs)[i]];
            json_t *dims = json_array();
            for (int d = 0; d < v->rank; d++) {
                json_array_append_new(dims, json_integer(v->dims[d]));
            }
            json_array_append_new(list, json_pack("{s:o,s:s,s:o}", "name", json_text(v->name),
                                                  "dtype", dtype_name(v->dtype), "shape", dims));
        }
        json_object_set_new(o, k ? "outputs" : "inputs", list);
    }
    return o;
}

static json_t *session_json(const struct session *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "fp32", s->fp32 ? graph_json(s->fp32) : json_null());
    json_object_set_new(o, "int8", s->int8 ? graph_json(s->int8) : json_null());
    json_numerics(o, s);
    json_object_set_new(o, "unsupported", gaps_json(s));
    json_object_set_new(o, "layers", json_integer((json_int_t)s->match.n_layers));
    json_object_set_new(o, "unmatched", json_integer((json_int_t)s->match.n_unmatched));
    if (s->implicit.layers) {
        json_object_set_new(o, "implicit",
                            json_pack("{s:I,s:I,s:I}", "layers", (json_int_t)s->implicit.layers,
                                      "left", (json_int_t)s->implicit.left, "tensors",
                                      (json_int_t)s->implicit.tensors));
    }
    return o;
}

static void implicit_text(const struct session *s, FILE *out)
{
    if (s->implicit.layers) {
        fprintf(out,
                "implicit INT8 from a calibration cache: %zu layers, %zu stay float, %zu tensors "
                "quantized; numerics %s\n",
                s->implicit.layers, s->implicit.left, s->implicit.tensors, session_numerics(s));
    }
}

/* Models in each other's place load and run, and say nothing that makes sense. */
static void tell_sides(const struct session *s, FILE *note)
{
    const bool fp32 = graph_quantized(s->fp32), int8 = graph_quantized(s->int8);
    if (fp32 && !int8) {
        fprintf(note, "the FP32 model is quantized and the INT8 one is not: they seem to be in "
                      "each other's place\n");
    } else if (!int8) {
        fprintf(note, "nothing in the INT8 model is quantized: it computes in float\n");
    } else if (fp32) {
        fprintf(note, "the FP32 model is quantized itself: errors are those against it\n");
    }
}

static int report_load(struct call *c)
{
    const struct session *s = c->s;
    if (s->pair) {
        tell_sides(s, c->note);
    }
    if (s->json) {
        emit_one(c, session_json(s));
        return OK;
    }
    if (s->pair) {
        fprintf(c->out,
                "loaded %zu and %zu nodes; %zu layers matched, %zu unmatched in FP32, %zu "
                "in INT8%s\n",
                s->fp32->n_nodes, s->int8->n_nodes, s->match.n_layers,
                count_unmatched(s, SIDE_FP32), count_unmatched(s, SIDE_INT8),
                s->match.n_unmatched ? " (match --unmatched)" : "");
    } else {
        fprintf(c->out, "loaded %zu nodes, %zu activations\n",
                (s->fp32 ? s->fp32 : s->int8)->n_nodes, s->match.n_layers);
    }
    implicit_text(s, c->out);
    gaps_text(s, c->out);
    return OK;
}

static int exec_load_pair(struct call *c, struct err *err)
{
    int rc = session_load(c->s, c->args[0], c->args[1], call_opt(c, "--cache"), err);
    return rc ? rc : report_load(c);
}

static int exec_load_fp32(struct call *c, struct err *err)
{
    int rc = session_load_side(c->s, SIDE_FP32, c->args[0], NULL, err);
    return rc ? rc : report_load(c);
}

static int exec_load_int8(struct call *c, struct err *err)
{
    int rc = session_load_side(c->s, SIDE_INT8, c->args[0], call_opt(c, "--cache"), err);
    return rc ? rc : report_load(c);
}

static int exec_unload(struct call *c, struct err *err)
{
    (void)err;
    session_unload(c->s);
    return OK;
}

/* ---- match ---------------------------------------------------------------------------------- */

static json_t *match_json(const struct session *s)
{
    json_t *pairs = json_array(), *left = json_array();
    for (size_t i = 0; i < s->match.n_layers && s->pair; i++) {
        const struct layer *l = &s->match.layers[i];
        json_array_append_new(
            pairs, json_pack("{s:o,s:o,s:o,s:s}", "name", json_text(l->name), "fp32_tensor",
                             json_text(s->fp32->values[l->fp32].name), "int8_tensor",
                             json_text(s->int8->values[l->int8].name), "by", match_by_name(l->by)));
    }
    for (size_t i = 0; i < s->match.n_unmatched; i++) {
        const struct unmatched *u = &s->match.unmatched[i];
        json_array_append_new(left, json_pack("{s:o,s:s,s:s,s:o}", "tensor", json_text(u->tensor),
                                              "side", u->side == SIDE_FP32 ? "fp32" : "int8", "op",
                                              u->op, "reason", json_text(u->reason)));
    }
    return json_pack("{s:o,s:o}", "matched", pairs, "unmatched", left);
}

static void match_text(const struct session *s, FILE *out, bool unmatched_only)
{
    char a[256], b[256];
    for (size_t i = 0; i < s->match.n_layers && s->pair && !unmatched_only; i++) {
        const struct layer *l = &s->match.layers[i];
        fprintf(out, "%-9s %s = %s\n", match_by_name(l->by),
                text_safe(a, sizeof a, s->fp32->values[l->fp32].name),
                text_safe(b, sizeof b, s->int8->values[l->int8].name));
    }
    for (size_t i = 0; i < s->match.n_unmatched; i++) {
        const struct unmatched *u = &s->match.unmatched[i];
        fprintf(out, "unmatched %s %-18s %s: %s\n", u->side == SIDE_FP32 ? "FP32" : "INT8", u->op,
                text_safe(a, sizeof a, u->tensor), text_safe(b, sizeof b, u->reason));
    }
    for (size_t i = 0; i < s->match.n_layers && s->pair; i++) {
        const char *why = rank_layer_error(s, i);
        if (why) {
            fprintf(out, "not compared   %-18s %s: %s\n", s->match.layers[i].op,
                    text_safe(a, sizeof a, s->match.layers[i].name), text_safe(b, sizeof b, why));
        }
    }
}

static void hand_clear(struct session *s, size_t from)
{
    for (size_t i = from; i < s->n_hand; i++) {
        free((char *)s->hand[i].fp32);
        free((char *)s->hand[i].int8);
    }
    s->n_hand = MIN(s->n_hand, from);
}

/* A pair may have '=' in its names: the split that names two known tensors or nodes is meant. */
static int hand_add(struct session *s, const char *word, struct err *err)
{
    for (const char *eq = strchr(word, '='); eq; eq = strchr(eq + 1, '=')) {
        char *a = mem_printf("%.*s", (int)(eq - word), word);
        bool known = graph_find(s->fp32, a) >= 0 || graph_find_node(s->fp32, a) >= 0;
        if (known) {
            s->hand = mem_push(s->hand, s->n_hand, &s->cap_hand, sizeof *s->hand);
            s->hand[s->n_hand++] = (struct match_pair){.fp32 = a, .int8 = mem_dup(eq + 1)};
            return OK;
        }
        free(a);
    }
    return err_set(err, E_USAGE, "'%s' is not A=B with A a tensor or node of the FP32 model", word);
}

static int exec_match(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t before = s->n_hand;
    bool clear = call_opt(c, "--clear") != NULL;
    int rc = OK;
    if (clear) {
        hand_clear(s, 0);
        before = 0;
    }
    for (size_t i = 0; i < c->n_args && !rc; i++) {
        rc = hand_add(s, c->args[i], err);
    }
    if (!rc && (clear || c->n_args)) {
        rc = session_match(s, err);
    }
    if (rc) {
        hand_clear(s, before);
        return rc;
    }
    if (s->json) {
        emit_json(c, match_json(s));
    } else {
        match_text(s, c->out, call_opt(c, "--unmatched") != NULL);
        fprintf(c->out, "%zu layers matched, %zu unmatched\n", s->match.n_layers,
                s->match.n_unmatched);
    }
    return OK;
}

/* ---- info, check ---------------------------------------------------------------------------- */

static void graph_text(const struct graph *g, const char *title, FILE *out)
{
    char name[256], shape[128];
    fprintf(out, "%s  %s\n  %zu nodes, opset %d\n", title, text_safe(name, sizeof name, g->path),
            g->n_nodes, g->opset);
    for (size_t i = 0; i < g->n_inputs + g->n_outputs; i++) {
        bool in = i < g->n_inputs;
        const struct value *v = &g->values[in ? g->inputs[i] : g->outputs[i - g->n_inputs]];
        fprintf(out, "  %-6s %s  %s  %s\n", in ? "input" : "output",
                text_safe(name, sizeof name, v->name),
                shape_text(shape, sizeof shape, v->rank, v->dims), dtype_name(v->dtype));
    }
}

/* What stands behind a layer on both sides: tensors, parameters, FP32 nodes. */
static json_t *layer_info(const struct session *s, size_t layer)
{
    const struct layer *l = &s->match.layers[layer];
    json_t *nodes = json_array();
    int list[LAYER_NODES];
    for (size_t k = s->fp32 ? layer_nodes(s->fp32, &s->match, layer, list) : 0; k > 0; k--) {
        const struct node *n = &s->fp32->nodes[list[k - 1]];
        json_array_append_new(nodes,
                              json_pack("{s:o,s:s}", "name", json_text(n->name), "op", n->op));
    }
    const char *x = s->fp32 ? s->fp32->values[l->fp32].name : NULL;
    const char *y = s->int8 ? s->int8->values[l->int8].name : NULL;
    return json_pack("{s:o,s:s,s:o,s:o,s:s,s:b,s:o,s:o,s:o,s:b,s:o}", "name", json_text(l->name),
                     "op", l->op, "fp32_tensor", json_text(x), "int8_tensor", json_text(y),
                     "matched_by", match_by_name(l->by), "quantized", l->quantized, "scale",
                     l->quantized ? json_num((double)l->q.scale[0]) : json_null(), "zero_point",
                     l->quantized ? json_integer(l->q.zero[0]) : json_null(), "fp32_nodes", nodes,
                     "pinned", session_pinned(s, layer), "precision",
                     session_precision_json(s, layer));
}

static void layer_info_text(json_t *o, FILE *out)
{
    static const char *const keys[] = {"name", "op", "fp32_tensor", "int8_tensor", "matched_by"};
    char safe[512];
    for (size_t k = 0; k < COUNT(keys); k++) {
        const char *v = json_string_value(json_object_get(o, keys[k]));
        fprintf(out, "%s%-12s %s\n", k ? "  " : "", keys[k],
                text_safe(safe, sizeof safe, v ? v : "-"));
    }
    if (json_is_true(json_object_get(o, "quantized"))) {
        fprintf(out, "  %-12s %.9g, zero point %lld\n", "scale",
                json_real_value(json_object_get(o, "scale")),
                (long long)json_integer_value(json_object_get(o, "zero_point")));
    }
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(o, "fp32_nodes"), i, n)
    {
        fprintf(out, "  %-12s %s (%s)\n", "FP32 node",
                text_safe(safe, sizeof safe, json_string_value(json_object_get(n, "name"))),
                json_string_value(json_object_get(n, "op")));
    }
}

static int info_layers(struct call *c, struct err *err)
{
    size_t n, *list;
    int rc = layer_list(c->s, c->args[0], &n, &list, err);
    if (rc) {
        return rc;
    }
    json_t *all = json_array(), *o;
    size_t i;
    for (i = 0; i < n; i++) {
        json_array_append_new(all, layer_info(c->s, list[i]));
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "layers", all));
    } else {
        json_array_foreach(all, i, o)
        {
            layer_info_text(o, c->out);
        }
    }
    json_decref(all);
    free(list);
    return OK;
}

static int exec_info(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    bool fp32 = c->n_args && strcmp(c->args[0], "fp32") == 0;
    bool int8 = c->n_args && strcmp(c->args[0], "int8") == 0;
    const struct graph *one = fp32 ? s->fp32 : int8 ? s->int8 : NULL;
    if (c->n_args && !fp32 && !int8) {
        return info_layers(c, err);
    }
    if (c->n_args && !one) {
        return err_set(err, E_STATE, "no %s model is loaded", c->args[0]);
    }
    if (one && s->json) {
        emit_one(c, graph_json(one));
        return OK;
    }
    if (one) {
        graph_text(one, fp32 ? "FP32" : "INT8", c->out);
        return OK;
    }
    if (s->json) {
        emit_one(c, session_json(s));
        return OK;
    }
    if (s->fp32) {
        graph_text(s->fp32, "FP32", c->out);
    }
    if (s->int8) {
        graph_text(s->int8, "INT8", c->out);
    }
    fprintf(c->out, "numerics %s: %s\n", numerics_name(s->set.numerics),
            numerics_help(s->set.numerics));
    fprintf(c->out, "%zu layers, %zu unmatched\n", s->match.n_layers, s->match.n_unmatched);
    gaps_text(s, c->out);
    return OK;
}

static int exec_check(struct call *c, struct err *err)
{
    struct graph *g = NULL;
    struct plan *p = NULL;
    int rc = model_load(c->args[0], &g, err);
    struct plan_options o = {.numerics = c->s->set.numerics};
    rc = rc ? rc : plan_new(g, &o, &p, err);
    /* What a kernel refuses makes the file no good either; other failures may be of the zeros. */
    rc = rc || graph_probe(g, p, err) != E_UNSUPPORTED ? rc : E_UNSUPPORTED;
    if (!rc && c->s->json) {
        emit_one(c, graph_json(g));
    } else if (!rc) {
        graph_text(g, "valid", c->out);
    }
    plan_free(p);
    graph_free(g);
    return rc;
}

/* ---- ops ------------------------------------------------------------------------------------- */

static void op_row(void *ctx, const char *domain, const char *name, int since, const char *spec,
                   bool fast)
{
    json_array_append_new(ctx, json_pack("{s:s,s:s,s:i,s:s,s:b}", "domain", domain, "name", name,
                                         "since", since, "spec", spec ? spec : "", "fast", fast));
}

static int exec_ops(struct call *c, struct err *err)
{
    (void)err;
    json_t *list = json_array(), *row;
    size_t i;
    op_each(op_row, list);
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "ops", list));
    } else {
        json_array_foreach(list, i, row)
        {
            fprintf(c->out, "%-14s %-28s %3lld  %s\n",
                    json_string_value(json_object_get(row, "domain")),
                    json_string_value(json_object_get(row, "name")),
                    (long long)json_integer_value(json_object_get(row, "since")),
                    json_string_value(json_object_get(row, "spec")));
        }
    }
    json_decref(list);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec cache_opts[] = {
    {"--cache", ARG_FILE, "FILE", "INT8 is made from an FP32 model by a calibration cache", NULL},
    {0},
};

static const struct opt_spec match_opts[] = {
    {"--unmatched", ARG_FLAG, NULL, "list only what has no counterpart", NULL},
    {"--clear", ARG_FLAG, NULL, "forget pairs made by hand", NULL},
    {0},
};

const struct cmd cmd_model[] = {
    {
        .name = "load pair",
        .group = "load",
        .help = "load an FP32 model and its INT8 version",
        .detail = "Both files are mapped, planned and matched. Nothing of the session is given up "
                  "when one of them is refused. With --cache INT8 is the FP32 model once more, see "
                  "'load int8'.",
        .example = "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx",
        .args = {{"FP32", ARG_FILE, NULL, false, false}, {"INT8", ARG_FILE, NULL, false, false}},
        .opts = cache_opts,
        .exec = exec_load_pair,
    },
    {
        .name = "load fp32",
        .group = "load",
        .help = "load an FP32 model, beside the INT8 one if that is loaded",
        .detail = "A model alone can be run and dumped; with the other one it is a pair, as by "
                  "'load pair'. The data set and preprocessing stay, results and pins go. 'unload' "
                  "first leaves this model alone.",
        .example = "load fp32 samples/models/fp32.onnx",
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .exec = exec_load_fp32,
    },
    {
        .name = "load int8",
        .group = "load",
        .help = "load an INT8 model, beside the FP32 one if that is loaded",
        .detail =
            "This is how one INT8 variant takes another's place: the FP32 model, the data set and "
            "preprocessing stay, results and pins go. 'unload' first leaves this model alone. "
            "With --cache the file is an FP32 ONNX model, and a calibration cache of TensorRT "
            "(text, one scale per tensor) makes the INT8 side: weights by max|w| / 127 per "
            "output channel, codes with zero point 0. Numerics become tensorrt.",
        .example = "load int8 samples/models/int8_qdq.onnx",
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = cache_opts,
        .exec = exec_load_int8,
    },
    {
        .name = "unload",
        .group = "load",
        .help = "forget the models; the data set stays",
        .example = "unload",
        .exec = exec_unload,
    },
    {
        .name = "match",
        .group = "load",
        .help = "list matched layers, or match by hand",
        .detail = "A=B compares FP32 tensor or node A with INT8 tensor or node B; pairs made by "
                  "hand win over all others. Results of the last run are dropped.",
        .example = "match --unmatched",
        .needs = NEED_MODEL,
        .args = {{"A=B", ARG_WORD, NULL, true, true}},
        .opts = match_opts,
        .exec = exec_match,
    },
    {
        .name = "info",
        .group = "load",
        .help = "files, operator sets, inputs, outputs, numerics",
        .detail =
            "Without a word: everything. fp32 or int8: that model. LAYER: its tensors on both "
            "sides, how they were matched, its parameters and FP32 nodes.",
        .example = "info fp32",
        .needs = NEED_MODEL,
        .args = {{"fp32|int8|LAYER", ARG_LAYER, NULL, true, false}},
        .exec = exec_info,
    },
    {
        .name = "check",
        .group = "load",
        .help = "read and plan a model without loading it",
        .example = "check samples/models/int8_qop.onnx",
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .exec = exec_check,
    },
    {
        .name = "ops",
        .group = "load",
        .help = "list the supported operators",
        .example = "ops",
        .exec = exec_ops,
    },
    {0},
};
