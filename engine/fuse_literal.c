/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_literal.c: graphs that are executed node by node as they stand, with other kernels for some
 * of them: the specification taken literally, and the 16-bit hazard of older x86. Nothing is fused
 * here.
 */
#include "engine/fuse.h"

/* ---- The specification ---------------------------------------------------------------------- */

/* Quantized operators of com.microsoft have no specification to the last bit. They are taken as
 * what their description says: DQ, the operator, Q. Parts of three inputs (codes, scale, zero
 * point) from `first` on, scale and zero point of the result at `result`. */
struct unfold {
    const char *op, *to;
    int first, parts; /* parts 0: all the rest */
    int result;
};

static const struct unfold unfolds[] = {
    {"QLinearAdd", "Add", 0, 2, 6},
    {"QLinearMul", "Mul", 0, 2, 6},
    {"QLinearAveragePool", "AveragePool", 0, 1, 3},
    {"QLinearGlobalAveragePool", "GlobalAveragePool", 0, 1, 3},
    {"QLinearLeakyRelu", "LeakyRelu", 0, 1, 3},
    {"QLinearSigmoid", "Sigmoid", 0, 1, 3},
    {"QLinearSoftmax", "Softmax", 0, 1, 3},
    {"QLinearConcat", "Concat", 2, 0, 0},
    {"QLinearWhere", "Where", 1, 2, 7},
};

/* Input `at` of a node, -1 when it is not given. */
static int input_of(const struct node *n, int at)
{
    return at < n->n_in ? n->in[at] : -1;
}

static int add_quantizer(struct fuser *f, const char *op, int data, int scale, int zero, int out)
{
    return fuser_add(f, op, zero >= 0 ? 3 : 2, (const int[]){data, scale, zero}, out);
}

static void unfold_node(struct fuser *f, int node, const struct unfold *u)
{
    const struct node *n = &f->g->nodes[node];
    int parts = u->parts ? u->parts : (n->n_in - u->first) / 3, out = n->out[0];
    int scale = input_of(n, u->result), zero = input_of(n, u->result + 1);
    int *in = arena_alloc(&f->g->arena, ((size_t)parts + 1) * sizeof *in), n_in = 0;
    if (u->first == 1) {
        in[n_in++] = input_of(n, 0); /* the condition of Where */
    }
    for (int k = 0; k < parts; k++) {
        const struct node *at = &f->g->nodes[node]; /* nodes move when one is added */
        int codes = input_of(at, u->first + 3 * k), s = input_of(at, u->first + 3 * k + 1);
        int z = input_of(at, u->first + 3 * k + 2);
        if (codes < 0 || s < 0) {
            return; /* its kernel will say what is missing */
        }
        in[n_in] = fuser_value(f, codes, "_dequantized");
        add_quantizer(f, "DequantizeLinear", codes, s, z, in[n_in++]);
    }
    if (scale < 0) {
        return;
    }
    int real = fuser_value(f, out, "_real");
    fuser_become(f, node, u->to, "", n_in, in, 1, &real);
    add_quantizer(f, "QuantizeLinear", real, scale, zero, out);
}

static bool is_product(const struct node *n)
{
    static const char *const ops[] = {"QLinearConv", "QLinearMatMul", "QGemm"};
    for (size_t i = 0; i < COUNT(ops); i++) {
        if (strcmp(n->op, ops[i]) == 0) {
            return strcmp(n->domain, strcmp(n->op, "QGemm") == 0 ? "com.microsoft" : "") == 0;
        }
    }
    return false;
}

int fuse_literal(struct fuser *f, struct err *err)
{
    (void)err;
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        struct node *n = &f->g->nodes[i];
        if (is_product(n)) {
            n->domain = fuse_exact_domain;
        }
        for (size_t k = 0; k < COUNT(unfolds) && n->n_out == 1; k++) {
            if (strcmp(n->domain, "com.microsoft") == 0 && strcmp(n->op, unfolds[k].op) == 0) {
                unfold_node(f, (int)i, &unfolds[k]);
                break;
            }
        }
    }
    return OK;
}

/* ---- The hazard ----------------------------------------------------------------------------- */

/* Operators whose kernels without VNNI multiply u8 by s8 in pairs, and their input of weights. */
static const struct {
    const char *op;
    int weight;
} paired[] = {
    {"QLinearConv", 3},   {"QLinearMatMul", 3}, {"QGemm", 3},
    {"MatMulInteger", 1}, {"ConvInteger", 1},   {"MatMulIntegerToFloat", 1},
};

void fuse_pairs(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        struct node *n = &f->g->nodes[i];
        for (size_t k = 0; n->op && k < COUNT(paired); k++) {
            int w = input_of(n, paired[k].weight);
            const struct tensor *t = w >= 0 ? f->g->values[w].constant : NULL;
            /* Depthwise kernels widen to 16 bits before they multiply. */
            bool depthwise = t && t->rank > 2 && t->dims[1] == 1 && attr_int(n, "group", 1) > 1;
            if (strcmp(n->op, paired[k].op) == 0 && strcmp(n->domain, fuse_nhwc_domain) && t &&
                t->dtype == DT_S8 && !depthwise) {
                n->domain = fuse_pairs_domain;
            }
        }
    }
}
