/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_tensorrt.c: what TensorRT documents about explicit quantization: codes are int8 with zero
 * point 0, weights may have a scale per output channel, and DQ - Conv, MatMul or Gemm - bias - Add
 * - Relu - Q is one INT8 kernel whose epilogue is float. All else runs in float between Q and DQ.
 * Implicit quantization (scales from a calibration cache) is the same arithmetic once the pairs are
 * in the graph. Not compared with TensorRT itself.
 */
#include "engine/fuse.h"

#include <stdlib.h>

/* ---- What it refuses ------------------------------------------------------------------------ */

/* int32 codes are biases, which become float constants. */
static int check_quantizer(const struct fuser *f, int node, struct err *err)
{
    const struct node *n = &f->g->nodes[node];
    const struct tensor *z = fuse_zero(f, node), *s = fuse_scale(f, node);
    enum dtype d = fuse_code_type(f, node);
    bool constant = f->g->values[n->in[0]].constant != NULL;
    for (size_t i = 0; z && i < z->n; i++) {
        if (tensor_s64(z, i) != 0) {
            return err_set(err, E_UNSUPPORTED,
                           "node '%s' (%s): tensorrt wants zero point 0, found %lld of type %s",
                           n->name, n->op, (long long)tensor_s64(z, i), dtype_name(d));
        }
    }
    if (n->n_in > 2 && n->in[2] >= 0 && !z) {
        return err_set(err, E_UNSUPPORTED,
                       "node '%s' (%s): tensorrt wants zero point 0, found a computed one", n->name,
                       n->op);
    }
    if (d != DT_S8 && (d != DT_S32 || fuse_is_q(f, node))) {
        return err_set(err, E_UNSUPPORTED, "node '%s' (%s): tensorrt wants int8 codes, found %s",
                       n->name, n->op, dtype_name(d));
    }
    if (!s || (s->n != 1 && !constant && fuse_is_q(f, node))) {
        return err_set(err, E_UNSUPPORTED,
                       "node '%s' (%s): tensorrt wants one constant scale for an activation",
                       n->name, n->op);
    }
    return OK;
}

static int check_nodes(const struct fuser *f, struct err *err)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        int rc = OK;
        if (fuse_is_q(f, (int)i) || fuse_is_dq(f, (int)i)) {
            rc = check_quantizer(f, (int)i, err);
        } else if (strncmp(n->op, "QLinear", 7) == 0 || strcmp(n->op, "QGemm") == 0 ||
                   strcmp(n->op, "ConvInteger") == 0 || strcmp(n->op, "MatMulInteger") == 0 ||
                   strcmp(n->op, "DynamicQuantizeLinear") == 0) {
            rc = err_set(err, E_UNSUPPORTED,
                         "node '%s': tensorrt reads QuantizeLinear and DequantizeLinear, not %s",
                         n->name, n->op);
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}

/* ---- Groups --------------------------------------------------------------------------------- */

/* The only consumer of a value if it is of that operator, else -1. */
static int only_use(const struct fuser *f, int value, const char *op)
{
    int node = fuser_sole_use(f, value).node;
    return fuse_is(f, node, op) ? node : -1;
}

/* Weighted operators: both operands are codes, weights per tensor or output channel. */
static bool fits(const struct fuser *f, int node)
{
    const struct node *n = &f->g->nodes[node];
    bool conv = fuse_is(f, node, "Conv"), gemm = fuse_is(f, node, "Gemm");
    if (n->domain[0] || n->n_out != 1 || n->n_in < 2 ||
        (!conv && !gemm && !fuse_is(f, node, "MatMul"))) {
        return false;
    }
    int x = fuser_producer(f, n->in[0]), w = fuser_producer(f, n->in[1]);
    if (!fuse_is_dq(f, x) || !fuse_is_dq(f, w) || !fuse_is_scalar(f, x) ||
        fuse_code_type(f, x) != DT_S8 || fuse_code_type(f, w) != DT_S8 ||
        attr_int(&f->g->nodes[w], "block_size", 0)) {
        return false;
    }
    int64_t axis = conv ? 0 : gemm && attr_int(n, "transB", 0) ? 0 : 1;
    bool scaled = fuse_scale(f, w)->n == 1 || attr_int(&f->g->nodes[w], "axis", 1) == axis;
    bool plain = attr_float(n, "alpha", 1.0F) == 1.0F && attr_float(n, "beta", 1.0F) == 1.0F;
    return scaled && plain;
}

/* The operator, and what its kernel takes in behind it. */
struct group {
    int node, out; /* out: value that the kernel makes */
    int residual;  /* other operand of an Add, or -1 */
    int q;         /* or -1 */
    bool relu;
    int absorbed[3], n_absorbed;
};

static void absorb(struct fuser *f, struct group *gr, int node)
{
    gr->absorbed[gr->n_absorbed++] = node;
    gr->out = f->g->nodes[node].out[0];
}

static void find_epilogue(struct fuser *f, struct group *gr)
{
    int add = only_use(f, gr->out, "Add");
    if (add >= 0 && f->g->nodes[add].n_in == 2) {
        const struct node *n = &f->g->nodes[add];
        int other = n->in[n->in[0] == gr->out];
        if (fuse_is_dq(f, fuser_producer(f, other)) && !f->g->values[other].constant) {
            gr->residual = other;
            absorb(f, gr, add);
        }
    }
    int relu = only_use(f, gr->out, "Relu");
    if (relu >= 0) {
        gr->relu = true;
        absorb(f, gr, relu);
    }
    int q = fuser_sole_use(f, gr->out).node;
    if (fuse_is_q(f, q) && fuse_is_scalar(f, q)) {
        gr->q = q;
        absorb(f, gr, q);
    }
}

/* (x, sx, zx, w, sw, zw, sy, zy, bias, residual) */
static void fuse_weighted(struct fuser *f, int node)
{
    struct group gr = {.node = node, .out = f->g->nodes[node].out[0], .residual = -1, .q = -1};
    find_epilogue(f, &gr);
    const struct node *n = &f->g->nodes[node];
    const struct node *x = &f->g->nodes[fuser_producer(f, n->in[0])];
    const struct node *w = &f->g->nodes[fuser_producer(f, n->in[1])];
    const struct node *q = gr.q >= 0 ? &f->g->nodes[gr.q] : NULL;
    const int in[10] = {
        x->in[0],
        x->in[1],
        x->n_in > 2 ? x->in[2] : -1,
        w->in[0],
        w->in[1],
        w->n_in > 2 ? w->in[2] : -1,
        q ? q->in[1] : -1,
        q && q->n_in > 2 ? q->in[2] : -1,
        n->n_in > 2 ? n->in[2] : -1,
        gr.residual,
    };
    int out = gr.out;
    for (int i = 0; i < gr.n_absorbed; i++) {
        fuser_kill(f, gr.absorbed[i]);
    }
    fuser_become(f, node, n->op, fuse_tensorrt_domain, COUNT(in), in, 1, &out);
    if (gr.relu) {
        graph_attr_int(f->g, &f->g->nodes[node], "relu", 1);
    }
}

int fuse_tensorrt(struct fuser *f, struct err *err)
{
    int rc = check_nodes(f, err);
    for (size_t i = 0; !rc && i < f->g->n_nodes; i++) {
        if (f->g->nodes[i].op && fits(f, (int)i)) {
            fuse_weighted(f, (int)i);
        }
    }
    return rc;
}
