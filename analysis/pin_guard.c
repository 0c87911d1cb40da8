/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pin_guard.c: copies that keep ONNX Runtime from fusing what a pin has taken apart. A copy is a
 * single-input Max, which nothing in the runtime knows to be one.
 *
 * Where a grafted value enters INT8 again, one stands before the QuantizeLinear: without it the
 * float node would become an integer one again, and even the weights of a float Conv or Gemm
 * between DequantizeLinear and QuantizeLinear be quantized.
 */
#include "analysis/pinner.h"

#include <stdlib.h>

void pinner_barrier(struct graph *g, int in, int out)
{
    char *name = mem_printf("%s_float", g->values[out].name);
    graph_add(g, "Max", "", graph_fresh(g, name), 1, &in, 1, &out);
    free(name);
}

/* Puts a copy in front of input k. */
static void guard(struct pinner *p, int *in, int k)
{
    char *name = mem_printf("%s_float", p->g->values[in[k]].name);
    int x = pinner_value(p->g, name);
    free(name);
    pinner_barrier(p->g, in[k], x);
    in[k] = x;
}

/* Where a copy in front is needed as well: ONNX Runtime fuses two multiplied activations even
 * without a quantizer behind them, and carries a DequantizeLinear past operators that only move
 * data. */
static void guard_first(struct pinner *p, const struct node *n, int *in)
{
    bool product = (node_is(n, "MatMul") || node_is(n, "Gemm")) && n->n_in >= 2 &&
                   !p->qf.v[n->in[0]].constant && !p->qf.v[n->in[1]].constant;
    int k = 0;
    const struct node *made = in[0] >= 0 ? pinner_producer(p->g, in[0], &k) : NULL;
    if ((product || node_moves(n)) && made && node_is_dequantize(made)) {
        guard(p, in, 0);
    }
}

static bool is_product(const struct node *n)
{
    return node_is(n, "Conv") || node_is(n, "ConvTranspose") || node_is(n, "Gemm") ||
           node_is(n, "MatMul");
}

static bool scales(const struct node *n)
{
    return node_is(n, "BatchNormalization") || node_is(n, "Add") || node_is(n, "Sub") ||
           node_is(n, "Mul") || node_is(n, "Div");
}

/* ONNX Runtime makes a Gemm of MatMul and Add, with names gemm_..._token_N for what it adds. Where
 * the INT8 model has such names already, from having been optimized before, the new ones collide
 * and the file does not load (seen with 1.32): a copy between the two keeps them apart. It also
 * folds factors and sums behind a product into the weights, which then are not those that were
 * rounded. */
static void split_products(struct pinner *p, const struct node *n, int *in, enum precision as)
{
    for (int k = 0; k < n->n_in; k++) {
        int made = n->in[k] >= 0 ? p->f->values[n->in[k]].producer : -1;
        const struct node *m = made >= 0 ? &p->f->nodes[made] : NULL;
        bool collides = m && p->tokens && node_is(n, "Add") && node_is(m, "MatMul");
        bool folds =
            m && as != PREC_FP32 && scales(n) && is_product(m) && p->layer_of[n->in[k]] < 0;
        if (collides || folds) {
            guard(p, in, k);
        }
    }
}

void guard_inputs(struct pinner *p, const struct node *n, int *in, enum precision as)
{
    guard_first(p, n, in);
    split_products(p, n, in, as);
}

bool guard_tokens(const struct graph *g)
{
    for (size_t v = 0; v < g->n_values; v++) {
        if (strstr(g->values[v].name, "_token_")) {
            return true;
        }
    }
    return false;
}
