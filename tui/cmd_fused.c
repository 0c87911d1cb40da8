/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_fused.c: what is executed and what is seen: fused, observer.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/executed.h"

/* ---- fused ------------------------------------------------------------------------------------
 */

static json_t *node_json(const struct session *s, int node)
{
    const struct graph *x = plan_graph(s->plan_int8), *g = session_int8(s);
    const struct node *n = &x->nodes[node];
    int list[FUSED_NODES];
    size_t count = fused_nodes(g, x, node, list);
    json_t *sources = json_array(), *inputs = json_array(), *outputs = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(sources,
                              json_pack("{s:o,s:o}", "name", json_text(g->nodes[list[i]].name),
                                        "op", json_text(g->nodes[list[i]].op)));
    }
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && !plan_constant(s->plan_int8, n->in[k])) {
            json_array_append_new(inputs, json_text(x->values[n->in[k]].name));
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0) {
            json_array_append_new(outputs, json_text(x->values[n->out[k]].name));
        }
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:o}", "name", json_text(n->name), "op",
                     json_text(n->op), "domain", json_text(n->domain), "inputs", inputs, "outputs",
                     outputs, "integer", node_is_integer(n), "sources", sources, "float_because",
                     json_text(fused_reason(x, node)));
}

/* "QLinearConv  'conv1' <- DequantizeLinear x3, Conv 'conv1', QuantizeLinear" */
static void node_text(const struct session *s, int node, FILE *out)
{
    const struct graph *x = plan_graph(s->plan_int8), *g = session_int8(s);
    const struct node *n = &x->nodes[node];
    char op[64], name[1024];
    int list[FUSED_NODES], quantizers[2] = {0};
    size_t count = fused_nodes(g, x, node, list), shown = 0;
    fprintf(out, "%-24s %s", text_safe(op, sizeof op, n->op),
            text_safe(name, sizeof name, n->name));
    for (size_t i = 0; i < count; i++) {
        const struct node *from = &g->nodes[list[i]];
        quantizers[0] += strcmp(from->op, "DequantizeLinear") == 0;
        quantizers[1] += strcmp(from->op, "QuantizeLinear") == 0;
    }
    for (size_t i = count; i-- > 0 && count > 1;) {
        const struct node *from = &g->nodes[list[i]];
        if (strcmp(from->op, "DequantizeLinear") && strcmp(from->op, "QuantizeLinear")) {
            fprintf(out, "%s %s '%s'", shown++ ? "," : " <-", text_safe(op, sizeof op, from->op),
                    text_safe(name, sizeof name, from->name));
        }
    }
    if (count > 1 && quantizers[0] + quantizers[1]) {
        fprintf(out, "%s %d DequantizeLinear, %d QuantizeLinear", shown ? " with" : " <-",
                quantizers[0], quantizers[1]);
    }
    fputc('\n', out);
    if (fused_reason(x, node)) {
        fprintf(out, "    float: %s\n", text_safe(name, sizeof name, fused_reason(x, node)));
    }
}

/* Whether a node runs at all: what depends on constants alone was computed when planning. */
static bool is_run(const struct session *s, int node)
{
    const struct node *n = &plan_graph(s->plan_int8)->nodes[node];
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0 && plan_constant(s->plan_int8, n->out[k])) {
            return false;
        }
    }
    return true;
}

/* Whether `fused` without a layer shows a node: groups, and what stayed float for a reason. */
static bool is_told(const struct session *s, int node)
{
    int list[FUSED_NODES];
    const struct graph *x = plan_graph(s->plan_int8);
    return fused_reason(x, node) || fused_nodes(session_int8(s), x, node, list) > 1;
}

/* The executed nodes to show: of the layers named, else all (JSON) or those worth telling. */
static int choose_nodes(struct call *c, bool *chosen, struct err *err)
{
    struct session *s = c->s;
    const struct graph *x = plan_graph(s->plan_int8);
    size_t n = 0, *list = NULL;
    if (!c->n_args) {
        for (size_t i = 0; i < x->n_nodes; i++) {
            chosen[i] = is_run(s, (int)i) && (s->json || is_told(s, (int)i));
        }
        return OK;
    }
    int rc = layer_lists(s, c->n_args, c->args, &n, &list, err);
    for (size_t i = 0; i < n && !rc; i++) {
        int node = session_computing(s, list[i]);
        if (node >= 0) {
            chosen[node] = true;
        }
    }
    free(list);
    return rc;
}

static int exec_fused(struct call *c, struct err *err)
{
    struct session *s = c->s;
    if (!s->int8) {
        return err_set(err, E_STATE, "'fused' needs an INT8 model: load pair or load int8");
    }
    const struct graph *x = plan_graph(s->plan_int8);
    bool *chosen = mem_alloc(x->n_nodes + 1);
    int rc = choose_nodes(c, chosen, err);
    json_t *list = json_array();
    size_t integers = 0, floats = 0, executed = 0;
    for (size_t i = 0; i < x->n_nodes && !rc; i++) {
        executed += is_run(s, (int)i);
        integers += node_is_integer(&x->nodes[i]);
        floats += fused_reason(x, (int)i) != NULL;
        if (chosen[i] && s->json) {
            json_array_append_new(list, node_json(s, (int)i));
        } else if (chosen[i]) {
            node_text(s, (int)i, c->out);
        }
    }
    if (!rc && s->json) {
        json_t *o = json_pack("{s:O,s:I,s:I,s:I,s:I}", "nodes", list, "executed",
                              (json_int_t)executed, "source", (json_int_t)session_int8(s)->n_nodes,
                              "integer", (json_int_t)integers, "float", (json_int_t)floats);
        json_numerics(o, s);
        emit_json(c, o);
    } else if (!rc) {
        fprintf(c->out,
                "%zu nodes run for %zu of the model: %zu compute with integers, %zu between "
                "quantizers stay float; numerics %s\n",
                executed, session_int8(s)->n_nodes, integers, floats, session_numerics(s));
    }
    json_decref(list);
    free(chosen);
    return rc;
}

/* ---- observer ---------------------------------------------------------------------------------
 */

/* Two runs of one image: the deployed session, and one with tensors as graph outputs. */
struct observed {
    struct plan *plan; /* the exposed one */
    size_t n;          /* layers exposed */
    size_t *layers;
    struct tensor **seen[2]; /* per layer: its tensor, deployed and exposed */
    struct tensor **out;     /* outputs of both */
    size_t n_out;
};

struct watch {
    const int *at; /* per value: index of the layer it shows plus 1, or 0 */
    struct tensor **to;
};

static int watch_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    (void)err;
    struct watch *w = ctx;
    struct tensor **to = w->at[value] ? &w->to[w->at[value] - 1] : NULL;
    if (to && !*to) {
        *to = tensor_ref(t);
    }
    return OK;
}

static const char *exposed_name(const struct session *s, const struct observed *o, size_t i)
{
    return session_int8(s)->values[s->int8_values[o->layers[i]]].name;
}

static int run_watched(const struct session *s, const struct plan *p, const struct observed *o,
                       struct tensor *const *in, struct tensor **seen, struct tensor **out,
                       struct err *err)
{
    const struct graph *x = plan_graph(p);
    int *at = mem_alloc((x->n_values + 1) * sizeof *at);
    for (size_t i = 0; i < o->n; i++) {
        int v = graph_find(x, exposed_name(s, o, i));
        if (v >= 0) {
            at[v] = (int)i + 1;
        }
    }
    struct watch w = {.at = at, .to = seen};
    struct run_options ro = {.tap = watch_tap, .tap_ctx = &w};
    int rc = plan_run(p, (const struct tensor *const *)in, out, &ro, err);
    free(at);
    return rc;
}

/* The INT8 model with more outputs, planned like the session's own. */
static int plan_exposed(struct session *s, const struct observed *o, struct plan **out,
                        struct err *err)
{
    struct graph *g = graph_clone(session_int8(s));
    g->outputs = mem_grow(g->outputs, (g->n_outputs + o->n) * sizeof *g->outputs);
    for (size_t i = 0; i < o->n; i++) {
        int value = s->int8_values[o->layers[i]];
        if (!g->values[value].is_output) {
            g->outputs[g->n_outputs++] = value;
            g->values[value].is_output = true;
        }
    }
    struct plan_options po = {.numerics = s->set.numerics,
                              .kernels = s->set.kernels,
                              .budget = &s->budget,
                              .partial = true};
    int rc = plan_new(g, &po, out, err);
    graph_free(g);
    return rc;
}

static int observe(struct session *s, size_t image, struct observed *o, struct err *err)
{
    size_t n_in = session_inputs(s, NULL, 0);
    struct tensor **in = mem_alloc((n_in + 1) * sizeof *in);
    o->n_out = session_int8(s)->n_outputs;
    o->out = mem_alloc((2 * o->n_out + o->n + 1) * sizeof *o->out);
    o->seen[0] = mem_alloc((o->n + 1) * sizeof *o->seen[0]);
    o->seen[1] = mem_alloc((o->n + 1) * sizeof *o->seen[1]);
    int rc = plan_exposed(s, o, &o->plan, err);
    rc = rc ? rc : session_int8_sample(s, image, in, err);
    rc = rc ? rc : run_watched(s, s->plan_int8, o, in, o->seen[0], o->out, err);
    rc = rc ? rc : run_watched(s, o->plan, o, in, o->seen[1], o->out + o->n_out, err);
    for (size_t i = 0; i < n_in; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}

static void observed_fini(struct observed *o)
{
    plan_free(o->plan);
    for (size_t i = 0; i < 2 * o->n_out + o->n && o->out; i++) {
        tensor_free(o->out[i]);
    }
    for (size_t i = 0; i < 2 * o->n; i++) {
        tensor_free(o->seen[i % 2] ? o->seen[i % 2][i / 2] : NULL);
    }
    free(o->seen[0]);
    free(o->seen[1]);
    free(o->out);
    free(o->layers);
}

struct difference {
    bool known;
    size_t n, count;
    double max;
};

static struct difference differ(const struct tensor *a, const struct tensor *b)
{
    struct difference d = {.known = a && b && a->n == b->n};
    d.n = d.known ? a->n : 0;
    for (size_t i = 0; i < d.n; i++) {
        double v = fabs(tensor_f64(a, i) - tensor_f64(b, i));
        d.count += v != 0;
        d.max = fmax(d.max, v);
    }
    return d;
}

static json_t *difference_json(const char *tensor, const struct difference *d)
{
    return json_pack("{s:o,s:o,s:o,s:o}", "tensor", json_text(tensor), "values",
                     d->known ? json_integer((json_int_t)d->n) : json_null(), "differing",
                     d->known ? json_integer((json_int_t)d->count) : json_null(), "max",
                     d->known ? json_num(d->max) : json_null());
}

static void difference_text(const char *what, const char *tensor, const struct difference *d,
                            FILE *out)
{
    char safe[256];
    text_safe(safe, sizeof safe, tensor);
    if (!d->known) {
        fprintf(out, "%-7s %s: the deployed session does not compute it\n", what, safe);
    } else {
        fprintf(out, "%-7s %s: %zu of %zu values differ, by at most %.6g\n", what, safe, d->count,
                d->n, d->max);
    }
}

/* Nodes of the deployed graph that compute with integers and do not any more once it is exposed. */
static json_t *come_apart(const struct session *s, const struct plan *exposed)
{
    const struct graph *a = plan_graph(s->plan_int8), *b = plan_graph(exposed);
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_nodes; i++) {
        const struct node *n = &a->nodes[i];
        int other = node_is_integer(n) ? graph_find_node(b, n->name) : -1;
        if (other >= 0 && !node_is_integer(&b->nodes[other])) {
            json_array_append_new(list, json_pack("{s:o,s:o,s:o}", "name", json_text(n->name), "op",
                                                  json_text(n->op), "float_because",
                                                  json_text(fused_reason(b, other))));
        }
    }
    return list;
}

/* Tensors of many layers: those that a tool would see otherwise, and how many it would see right.
 * One layer: that one in any case. */
static json_t *tensors_report(struct call *c, const struct observed *o)
{
    const struct session *s = c->s;
    json_t *list = json_array();
    size_t alike = 0, unknown = 0;
    for (size_t i = 0; i < o->n; i++) {
        const char *name = exposed_name(s, o, i);
        struct difference d = differ(o->seen[0][i], o->seen[1][i]);
        json_t *row = difference_json(name, &d);
        json_object_set_new(row, "layer", json_text(s->match.layers[o->layers[i]].name));
        json_array_append_new(list, row);
        alike += d.known && !d.count;
        unknown += !d.known;
        if (!s->json && (o->n == 1 || (d.known && d.count))) {
            difference_text("tensor", name, &d, c->out);
        }
    }
    if (!s->json && o->n > 1) {
        fprintf(c->out, "%zu of %zu tensors are seen as deployed", alike, o->n);
        if (unknown) {
            fprintf(c->out, ", %zu are none that the deployed session computes", unknown);
        }
        fputc('\n', c->out);
    }
    return list;
}

static json_t *outputs_report(struct call *c, const struct observed *o)
{
    const struct graph *g = session_int8(c->s);
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_out; i++) {
        const char *name = g->values[g->outputs[i]].name;
        struct difference d = differ(o->out[i], o->out[o->n_out + i]);
        json_array_append_new(list, difference_json(name, &d));
        if (!c->s->json) {
            difference_text("output", name, &d, c->out);
        }
    }
    return list;
}

static void observer_report(struct call *c, const struct observed *o)
{
    const struct session *s = c->s;
    json_t *apart = come_apart(s, o->plan), *row;
    size_t at;
    char safe[400];
    json_array_foreach(apart, at, row)
    {
        const char *why = json_string_value(json_object_get(row, "float_because"));
        if (!s->json) {
            fprintf(c->out, "apart   %s '%s': %s\n", json_string_value(json_object_get(row, "op")),
                    json_string_value(json_object_get(row, "name")),
                    why ? text_safe(safe, sizeof safe, why) : "runs in float");
        }
    }
    json_t *tensors = tensors_report(c, o), *outputs = outputs_report(c, o);
    if (s->json) {
        json_t *j =
            json_pack("{s:O,s:O,s:O}", "observed", tensors, "outputs", outputs, "apart", apart);
        json_numerics(j, s);
        emit_json(c, j);
    }
    json_decref(tensors);
    json_decref(outputs);
    json_decref(apart);
}

static int need_int8(const struct call *c, struct err *err)
{
    return c->s->int8 ? OK
                      : err_set(err, E_STATE, "'%s' needs an INT8 model: load pair or load int8",
                                c->cmd->name);
}

/* The image named, else the first. */
static int choose_image(struct call *c, size_t *image, struct err *err)
{
    const char *word = call_opt(c, "--image");
    *image = 0;
    return word ? image_one(c->s, word, image, err) : OK;
}

int choose_one(struct call *c, size_t *layer, size_t *image, struct err *err)
{
    size_t n = 0, *list = NULL;
    int rc = need_int8(c, err);
    if (rc) {
        return rc;
    }
    rc = layer_list(c->s, c->args[0], &n, &list, err);
    if (!rc && n != 1) {
        rc = err_set(err, E_USAGE, "'%s' stands for %zu layers, '%s' wants one", c->args[0], n,
                     c->cmd->name);
    }
    *layer = rc ? 0 : list[0];
    free(list);
    return rc ? rc : choose_image(c, image, err);
}

static int exec_observer(struct call *c, struct err *err)
{
    size_t image = 0;
    struct observed o = {0};
    int rc = need_int8(c, err);
    if (!rc && c->n_args) {
        rc = layer_lists(c->s, c->n_args, c->args, &o.n, &o.layers, err);
    } else if (!rc) {
        o.n = c->s->match.n_layers;
        o.layers = mem_alloc((o.n + 1) * sizeof *o.layers);
        for (size_t i = 0; i < o.n; i++) {
            o.layers[i] = i;
        }
    }
    rc = rc ? rc : choose_image(c, &image, err);
    rc = rc ? rc : observe(c->s, image, &o, err);
    if (!rc) {
        observer_report(c, &o);
    }
    observed_fini(&o);
    return rc;
}

/* ---- Table ------------------------------------------------------------------------------------
 */

static const struct opt_spec image_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "image to run; default: the first, or zeros", NULL},
    {0},
};

const struct cmd cmd_fused[] = {
    {
        .name = "fused",
        .group = "layers",
        .help = "what the runtime fuses, and what stays float and why",
        .detail = "Lists the nodes that run in place of several of the model, each with those it "
                  "stands for, and the nodes between quantizers that stay float, each with the "
                  "reason. With LAYER only what computes that layer. JSON lists every node that "
                  "runs.",
        .example = "fused /stem/Conv",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .exec = exec_fused,
    },
    {
        .name = "observer",
        .group = "layers",
        .help = "what a tool that exposes tensors as outputs would see instead",
        .detail = "Making a tensor a graph output changes what the runtime may fuse, and with it "
                  "the numbers. Runs the INT8 model as deployed and with the tensors of the layers "
                  "exposed, all of them when none is named, on one image, and counts the values "
                  "that differ, in each tensor and in the outputs.",
        .example = "observer /head/Gemm --image bar_0.png",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = image_opts,
        .exec = exec_observer,
    },
    {0},
};
