/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuzz_onnx.c: libFuzzer target for the ONNX reader and writer. Any bytes give an error or a graph;
 * a graph can be cloned and written, and what was written is read as the same graph.
 */
#include "formats/onnx.h"

#include <stdlib.h>

extern const struct format format_onnx;

/* External data is looked for in a directory that does not exist. */
static struct graph *load(const uint8_t *p, size_t n)
{
    struct graph *g = NULL;
    struct err err = {0};
    uint8_t *copy = malloc(n ? n : 1);
    if (n) {
        memcpy(copy, p, n);
    }
    struct file f = {.path = mem_dup("/nonexistent/fuzz.onnx"), .data = copy, .size = n};
    if (format_onnx.load_model(&f, &g, &err) && !err.text[0]) {
        abort();
    }
    return g;
}

/* The nodes in order, by name and operator; edges by the names of their tensors. */
static bool same_edges(const struct graph *a, int n, const int *va, const struct graph *b,
                       const int *vb)
{
    for (int i = 0; i < n; i++) {
        if ((va[i] < 0) != (vb[i] < 0) ||
            (va[i] >= 0 && strcmp(a->values[va[i]].name, b->values[vb[i]].name) != 0)) {
            return false;
        }
    }
    return true;
}

static bool same_graph(const struct graph *a, const struct graph *b)
{
    if (a->n_nodes != b->n_nodes || a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs ||
        a->opset != b->opset) {
        return false;
    }
    for (size_t i = 0; i < a->n_nodes; i++) {
        const struct node *x = &a->nodes[i], *y = &b->nodes[i];
        if (strcmp(x->op, y->op) != 0 || strcmp(x->domain, y->domain) != 0 || x->n_in != y->n_in ||
            x->n_out != y->n_out || x->n_attrs != y->n_attrs ||
            !same_edges(a, x->n_in, x->in, b, y->in) ||
            !same_edges(a, x->n_out, x->out, b, y->out)) {
            return false;
        }
    }
    return true;
}

/* Writes g, reads that and compares. */
static void round_trip(const struct graph *g)
{
    struct wire_buf b = {0};
    struct err err = {0};
    if (onnx_write(g, &b, &err) == OK) {
        struct graph *again = load(b.p, b.n);
        if (!again || !same_graph(g, again)) {
            abort();
        }
        graph_free(again);
    }
    wire_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct graph *g = load(p, n);
    if (!g) {
        return 0;
    }
    struct graph *c = graph_clone(g);
    graph_free(g);
    round_trip(c);
    /* Once more with every node written anew, as after an edit. */
    for (size_t i = 0; i < c->n_nodes; i++) {
        c->nodes[i].raw = (struct span){0};
    }
    round_trip(c);
    graph_free(c);
    return 0;
}
