/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * executed.c: where a layer is found in the graphs that are really executed, and by what it is
 * computed there.
 */
#include "tui/executed.h"

int session_executed(const struct session *s, size_t layer, enum side side)
{
    const struct layer *l = &s->match.layers[layer];
    const struct plan *p = side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
    const struct graph *g = side == SIDE_FP32 ? s->fp32 : session_int8(s);
    int v = !p ? -1 : side == SIDE_FP32 ? l->fp32 : s->int8_values[layer];
    int at = v >= 0 ? graph_find(plan_graph(p), g->values[v].name) : -1;
    if (at < 0 && v >= 0 && side == SIDE_INT8 && v == l->int8 && l->int8_float >= 0) {
        /* The codes are gone from what the runtime executes: their float reading stands in. */
        at = graph_find(plan_graph(p), g->values[l->int8_float].name);
    }
    return at;
}

bool node_is_integer(const struct node *n)
{
    static const char *const domains[] = {"tensorrt", "onnx.exact", "x86.pairs"};
    for (size_t i = 0; i < COUNT(domains); i++) {
        if (strcmp(n->domain, domains[i]) == 0) {
            return true;
        }
    }
    return strncmp(n->op, "QLinear", 7) == 0 || strcmp(n->op, "QGemm") == 0 ||
           strstr(n->op, "Integer") != NULL;
}

int session_computing(const struct session *s, size_t layer)
{
    int v = session_executed(s, layer, SIDE_INT8);
    if (v < 0) {
        return -1;
    }
    const struct graph *x = plan_graph(s->plan_int8);
    int node = x->values[v].producer;
    static const char *const steps[] = {"DequantizeLinear", "QuantizeLinear"};
    for (size_t i = 0; i < COUNT(steps) && node >= 0; i++) {
        const struct node *n = &x->nodes[node];
        if (strcmp(n->op, steps[i]) == 0 && n->n_in > 0 && n->in[0] >= 0) {
            node = x->values[n->in[0]].producer;
        }
    }
    if (node >= 0 &&
        (strcmp(x->nodes[node].op, "Relu") == 0 || strcmp(x->nodes[node].op, "Clip") == 0)) {
        int in = x->nodes[node].in[0];
        int before = in >= 0 ? x->values[in].producer : -1;
        node = before >= 0 && fused_reason(x, before) ? before : node;
    }
    return node;
}

const char *session_runs_as(const struct session *s, size_t layer)
{
    static char text[1200];
    char safe[1024];
    int node = s->int8 ? session_computing(s, layer) : -1;
    text[0] = 0;
    if (node < 0) {
        return text;
    }
    const struct graph *x = plan_graph(s->plan_int8);
    const struct node *n = &x->nodes[node];
    const char *why = fused_reason(x, node);
    int in = n->n_in > 0 && n->in[0] >= 0 ? x->values[n->in[0]].producer : -1;
    if (why) {
        snprintf(text, sizeof text, "runs in float: %s", text_safe(safe, sizeof safe, why));
    } else if (in >= 0 && strcmp(x->nodes[in].op, "DequantizeLinear") == 0) {
        snprintf(text, sizeof text, "runs in float, as %s", text_safe(safe, sizeof safe, n->op));
    } else {
        snprintf(text, sizeof text, "runs as %s", text_safe(safe, sizeof safe, n->op));
    }
    return text;
}

/* Per node of the INT8 model the node of `x`, what is executed, that computes it; -1: none. */
static int *computing_nodes(const struct graph *g, const struct graph *x)
{
    int *by = mem_alloc((g->n_nodes + 1) * sizeof *by);
    for (size_t i = 0; i < g->n_nodes; i++) {
        by[i] = -1;
    }
    for (size_t i = 0; i < x->n_nodes; i++) {
        int list[FUSED_NODES];
        const size_t n = x->nodes[i].op ? fused_nodes(g, x, (int)i, list) : 0;
        for (size_t k = 0; k < n; k++) {
            by[list[k]] = by[list[k]] < 0 ? (int)i : by[list[k]];
        }
    }
    return by;
}

void session_note_absent(struct session *s)
{
    const struct graph *g = session_int8(s), *x = s->pair ? plan_graph(s->plan_int8) : NULL;
    int *by = NULL;
    for (size_t i = 0; x && i < s->match.n_layers; i++) {
        const int at = session_executed(s, i, SIDE_INT8);
        if (at >= 0 &&
            (x->values[at].producer >= 0 || x->values[at].constant || x->values[at].is_input)) {
            continue;
        }
        by = by ? by : computing_nodes(g, x);
        const int v = s->int8_values[i], from = v >= 0 ? g->values[v].producer : -1;
        const int node = from >= 0 ? by[from] : -1;
        s->study->layer_errors[i] = node >= 0 ? mem_printf("INT8 computes it inside '%s' (%s)",
                                                           x->nodes[node].name, x->nodes[node].op)
                                              : mem_dup("INT8 does not compute it by itself");
    }
    free(by);
}

int session_int8_sample(const struct session *s, size_t image, struct tensor **in, struct err *err)
{
    size_t n = session_inputs(s, NULL, 0);
    int rc = session_sample(s, image, in, err);
    for (size_t i = 0; i < n && !rc; i++) {
        struct tensor *own = NULL;
        rc = feed_input(plan_graph(s->plan_int8), i, in[i], NULL, &own, err);
        if (!rc) {
            tensor_free(in[i]);
            in[i] = own;
        }
    }
    return rc;
}
