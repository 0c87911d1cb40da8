/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_groups.c: DQ - operator - Q groups that onnxruntime computes with integers, as a table of
 * rules. A group is an operator whose quantized inputs all come from DQ nodes of its own and whose
 * outputs each go to exactly one Q.
 */
#include "engine/fuse.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

/* The surroundings of one node. */
struct group {
    int node;
    int n_in;           /* inputs that are given */
    int n_dq, dq[3];    /* DQ parents; those of the first three inputs, -1 where there is none */
    int n_q, q;         /* consumers that are Q; the first of them, or -1 */
    int n_uses;         /* consumers of all outputs */
    int clip;           /* Relu or Clip between node and q that q makes redundant, or -1 */
    bool dq_owned;      /* nobody else sees the DQ parents */
    bool is_output;     /* some output is a graph output */
    enum dtype in, out; /* code types of dq[0] and q */
};

struct rule {
    const char *op;
    bool (*fits)(const struct fuser *f, const struct group *gr);
    void (*fuse)(struct fuser *f, const struct group *gr, const char *to);
    const char *to; /* what it becomes */
};

static const char ms[] = "com.microsoft";

/* ---- Conditions ----------------------------------------------------------------------------- */

static bool is_byte(enum dtype d)
{
    return d == DT_U8 || d == DT_S8;
}

/* The test all rules begin with: `n_dq` DQ parents, and exactly one Q behind every output. */
static bool is_closed(const struct fuser *f, const struct group *gr, int n_dq)
{
    return gr->n_dq == n_dq && gr->dq_owned && !gr->is_output && gr->n_q > 0 &&
           gr->n_q == gr->n_uses && gr->n_q == f->g->nodes[gr->node].n_out && is_byte(gr->out) &&
           fuse_is_scalar(f, gr->q);
}

/* A data mover: integers stay what they are, so both ends must mean the same by them. */
static bool fits_move(const struct fuser *f, const struct group *gr)
{
    return is_closed(f, gr, 1) && gr->dq[0] >= 0 && fuse_same_params(f, gr->dq[0], gr->q, true);
}

/* An order-preserving one: also needs a positive scale. */
static bool fits_order(const struct fuser *f, const struct group *gr)
{
    return fits_move(f, gr) && tensor_f64(fuse_scale(f, gr->q), 0) > 0;
}

static bool fits_max_pool(const struct fuser *f, const struct group *gr)
{
    return f->g->opset >= 12 && f->g->opset < 22 && fits_order(f, gr);
}

/* Interpolation leaves the integers. */
static bool fits_resize(const struct fuser *f, const struct group *gr)
{
    const char *mode = attr_string(&f->g->nodes[gr->node], "mode", "nearest");
    return strcmp(mode, "nearest") == 0 && fits_move(f, gr);
}

static bool fits_split(const struct fuser *f, const struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    if (!is_closed(f, gr, 1) || gr->dq[0] < 0) {
        return false;
    }
    for (int k = 0; k < n->n_out; k++) {
        int q = n->out[k] >= 0 ? fuser_sole_use(f, n->out[k]).node : -1;
        if (!fuse_is_q(f, q) || !fuse_same_params(f, gr->dq[0], q, true)) {
            return false;
        }
    }
    return true;
}

static bool fits_unary(const struct fuser *f, const struct group *gr)
{
    return is_closed(f, gr, 1) && gr->dq[0] >= 0 && gr->in == gr->out &&
           fuse_is_scalar(f, gr->dq[0]);
}

/* All given inputs are DQ of the output's type. */
static bool fits_all(const struct fuser *f, const struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    if (!is_closed(f, gr, n->n_in)) {
        return false;
    }
    for (int k = 0; k < n->n_in; k++) {
        int dq = fuser_producer(f, n->in[k]);
        if (fuse_code_type(f, dq) != gr->out || !fuse_is_scalar(f, dq)) {
            return false;
        }
    }
    return true;
}

static bool fits_binary(const struct fuser *f, const struct group *gr)
{
    return f->g->nodes[gr->node].n_in == 2 && fits_all(f, gr);
}

/* Weights per tensor, or per output channel along `axis`. */
static bool fits_weight(const struct fuser *f, int dq, int axis)
{
    const struct tensor *s = fuse_scale(f, dq);
    const struct node *n = &f->g->nodes[dq];
    if (!is_byte(fuse_code_type(f, dq)) || attr_int(n, "block_size", 0)) {
        return false;
    }
    return s && (s->n == 1 || (s->rank == 1 && attr_int(n, "axis", 1) == axis));
}

static bool fits_bias(const struct fuser *f, const struct group *gr)
{
    return gr->n_in < 3 || (gr->dq[2] >= 0 && fuse_code_type(f, gr->dq[2]) == DT_S32);
}

/* Products of s8 are spelled so, but the runtime makes none from a Q/DQ model: it has u8 by then.
 */
static bool is_factor(const struct fuser *f, const struct group *gr)
{
    return gr->in == DT_U8 ||
           (f->as_written && gr->in == DT_S8 && fuse_code_type(f, gr->dq[1]) == DT_S8);
}

static bool fits_conv(const struct fuser *f, const struct group *gr)
{
    return is_closed(f, gr, gr->n_in) && gr->dq[0] >= 0 && gr->dq[1] >= 0 && is_factor(f, gr) &&
           gr->out == gr->in && fuse_is_scalar(f, gr->dq[0]) && fits_weight(f, gr->dq[1], 0) &&
           fits_bias(f, gr);
}

static bool fits_product(const struct fuser *f, const struct group *gr)
{
    return gr->n_dq == 2 && gr->dq[0] >= 0 && gr->dq[1] >= 0 && is_factor(f, gr) &&
           fuse_is_scalar(f, gr->dq[0]) && fits_weight(f, gr->dq[1], 1);
}

static bool fits_matmul(const struct fuser *f, const struct group *gr)
{
    return is_closed(f, gr, 2) && fits_product(f, gr) && gr->out == gr->in;
}

/* Without Q the result is float. */
static bool fits_matmul_float(const struct fuser *f, const struct group *gr)
{
    return gr->n_q == 0 && gr->dq_owned && fits_product(f, gr);
}

static bool fits_gemm(const struct fuser *f, const struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    if (gr->n_dq != gr->n_in || gr->dq[0] < 0 || gr->dq[1] < 0 || !is_byte(gr->in) ||
        !fuse_is_scalar(f, gr->dq[0]) || !fits_bias(f, gr) ||
        !fits_weight(f, gr->dq[1], attr_int(n, "transB", 0) ? 0 : 1)) {
        return false;
    }
    if (gr->in == DT_S8 && fuse_code_type(f, gr->dq[1]) != DT_S8) {
        return false;
    }
    if (gr->n_in == 3 && attr_float(n, "beta", 1.0F) != 1.0F) {
        return false;
    }
    return gr->n_q ? is_closed(f, gr, gr->n_in) && gr->in == gr->out : gr->dq_owned;
}

static bool fits_where(const struct fuser *f, const struct group *gr)
{
    for (int k = 1; k < 3; k++) {
        if (gr->dq[k] < 0 || fuse_code_type(f, gr->dq[k]) != gr->out ||
            !fuse_is_scalar(f, gr->dq[k])) {
            return false;
        }
    }
    return is_closed(f, gr, 2);
}

static bool fits_arg_max(const struct fuser *f, const struct group *gr)
{
    return gr->n_dq == 1 && gr->dq[0] >= 0 && gr->dq_owned && fuse_is_scalar(f, gr->dq[0]) &&
           fuse_zero(f, gr->dq[0]) && is_byte(gr->in);
}

/* ---- Replacements --------------------------------------------------------------------------- */

/* Inputs of the node under construction. */
struct inputs {
    int *v;
    int n;
};

static void push(struct inputs *in, int value)
{
    in->v[in->n++] = value;
}

/* Scale and zero point of a Q or DQ node; an omitted zero point becomes a constant 0. */
static void push_params(struct fuser *f, struct inputs *in, int node)
{
    const struct node *n = &f->g->nodes[node];
    push(in, n->in[1]);
    if (n->n_in > 2 && n->in[2] >= 0) {
        push(in, n->in[2]);
        return;
    }
    struct tensor *zero = NULL;
    if (tensor_new(fuse_code_type(f, node), 0, NULL, NULL, &zero, NULL)) {
        push(in, -1); /* one byte: only when memory is gone, and then the kernel's default is 0 */
        return;
    }
    memset(zero->data, 0, zero->size);
    push(in, fuser_constant(f, "zero_point", zero));
}

/* Codes, scale and zero point in front of DQ. */
static void push_codes(struct fuser *f, struct inputs *in, int dq)
{
    push(in, f->g->nodes[dq].in[0]);
    push_params(f, in, dq);
}

/* Removes what stood around the node; returns the codes the group makes, or the float output. */
static int close_group(struct fuser *f, const struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    int out = n->out[0];
    if (gr->q >= 0) {
        out = f->g->nodes[gr->q].out[0];
        fuser_kill(f, gr->q);
    }
    return out;
}

static void kill_dequantizers(struct fuser *f, const int *values, int n)
{
    for (int k = 0; k < n; k++) {
        int dq = fuser_producer(f, values[k]);
        if (fuse_is_dq(f, dq)) {
            fuser_kill(f, dq);
        }
    }
}

/* Replaces the group by `to` with inputs `in` and one output. */
static void replace(struct fuser *f, const struct group *gr, const char *to,
                    const struct inputs *in)
{
    const struct node *n = &f->g->nodes[gr->node];
    kill_dequantizers(f, n->in, n->n_in);
    int out = close_group(f, gr);
    fuser_become(f, gr->node, to,
                 strcmp(to, "QLinearConv") && strcmp(to, "QLinearMatMul") ? ms : "", in->n, in->v,
                 1, &out);
    if (f->v[out].as_u8) {
        graph_attr_int(f->g, &f->g->nodes[gr->node], "as_uint8", 1);
    }
}

/* The same operator on codes. */
static void fuse_move(struct fuser *f, const struct group *gr, const char *to)
{
    (void)to;
    const struct node *n = &f->g->nodes[gr->node];
    int codes = f->g->nodes[gr->dq[0]].in[0], dq = gr->dq[0];
    for (int k = 0; k < n->n_out; k++) {
        int q = n->out[k] >= 0 ? fuser_sole_use(f, n->out[k]).node : -1;
        if (fuse_is_q(f, q)) {
            int out = f->g->nodes[q].out[0];
            fuser_kill(f, q);
            fuser_set_out(f, gr->node, k, out);
        }
    }
    fuser_set_in(f, gr->node, 0, codes);
    fuser_kill(f, dq);
    f->g->nodes[gr->node].raw = (struct span){0};
}

/* (x, sx, zx, sy, zy) */
static void fuse_unary(struct fuser *f, const struct group *gr, const char *to)
{
    int room[5];
    struct inputs in = {.v = room};
    push_codes(f, &in, gr->dq[0]);
    push_params(f, &in, gr->q);
    replace(f, gr, to, &in);
}

static void fuse_softmax(struct fuser *f, const struct group *gr, const char *to)
{
    fuse_unary(f, gr, to);
    int opset = f->g->opset;
    graph_attr_int(f->g, &f->g->nodes[gr->node], "opset", opset >= 13 ? 13 : opset >= 11 ? 11 : 1);
}

/* (a, sa, za, b, sb, zb, sy, zy) */
static void fuse_binary(struct fuser *f, const struct group *gr, const char *to)
{
    int room[8];
    struct inputs in = {.v = room};
    push_codes(f, &in, gr->dq[0]);
    push_codes(f, &in, gr->dq[1]);
    push_params(f, &in, gr->q);
    replace(f, gr, to, &in);
}

/* (sy, zy, then x, sx, zx of each) */
static void fuse_concat(struct fuser *f, const struct group *gr, const char *to)
{
    int n_in = f->g->nodes[gr->node].n_in;
    struct inputs in = {.v = mem_alloc((2 + 3 * (size_t)n_in) * sizeof(int))};
    push_params(f, &in, gr->q);
    for (int k = 0; k < n_in; k++) {
        push_codes(f, &in, fuser_producer(f, f->g->nodes[gr->node].in[k]));
    }
    replace(f, gr, to, &in);
    free(in.v);
}

/* (x, sx, zx, w, sw, zw, sy, zy, bias): the bias loses its scale, which should be sx * sw. */
static void fuse_conv(struct fuser *f, const struct group *gr, const char *to)
{
    int room[9];
    struct inputs in = {.v = room};
    push_codes(f, &in, gr->dq[0]);
    push_codes(f, &in, gr->dq[1]);
    push_params(f, &in, gr->q);
    if (gr->dq[2] >= 0) {
        push(&in, f->g->nodes[gr->dq[2]].in[0]);
    }
    replace(f, gr, to, &in);
}

/* (a, sa, za, b, sb, zb, bias, sy, zy) */
static void fuse_gemm(struct fuser *f, const struct group *gr, const char *to)
{
    int room[9];
    struct inputs in = {.v = room};
    push_codes(f, &in, gr->dq[0]);
    push_codes(f, &in, gr->dq[1]);
    push(&in, gr->dq[2] >= 0 ? f->g->nodes[gr->dq[2]].in[0] : -1);
    if (gr->q >= 0) {
        push_params(f, &in, gr->q);
    }
    replace(f, gr, to, &in);
}

/* (a, b, sa, sb, za, zb) */
static void fuse_matmul_float(struct fuser *f, const struct group *gr, const char *to)
{
    int a[3], b[3];
    struct inputs ia = {.v = a}, ib = {.v = b};
    push_codes(f, &ia, gr->dq[0]);
    push_codes(f, &ib, gr->dq[1]);
    int room[] = {a[0], b[0], a[1], b[1], a[2], b[2]};
    replace(f, gr, to, &(struct inputs){.v = room, .n = 6});
}

/* (condition, x, sx, zx, y, sy, zy, sz, zz) */
static void fuse_where(struct fuser *f, const struct group *gr, const char *to)
{
    int room[9];
    struct inputs in = {.v = room};
    push(&in, f->g->nodes[gr->node].in[0]);
    push_codes(f, &in, gr->dq[1]);
    push_codes(f, &in, gr->dq[2]);
    push_params(f, &in, gr->q);
    replace(f, gr, to, &in);
}

// clang-format off
static const struct rule rules[] = {
    {"Expand", fits_move, fuse_move, NULL},
    {"Flatten", fits_move, fuse_move, NULL},
    {"Gather", fits_move, fuse_move, NULL},
    {"GatherElements", fits_move, fuse_move, NULL},
    {"Reshape", fits_move, fuse_move, NULL},
    {"Slice", fits_move, fuse_move, NULL},
    {"Squeeze", fits_move, fuse_move, NULL},
    {"Tile", fits_move, fuse_move, NULL},
    {"Transpose", fits_move, fuse_move, NULL},
    {"Unsqueeze", fits_move, fuse_move, NULL},
    {"Split", fits_split, fuse_move, NULL},
    {"Resize", fits_resize, fuse_move, NULL},
    {"MaxPool", fits_max_pool, fuse_move, NULL},
    {"ReduceMax", fits_order, fuse_move, NULL},
    {"ReduceMin", fits_order, fuse_move, NULL},
    {"ArgMax", fits_arg_max, fuse_move, NULL},
    {"AveragePool", fits_unary, fuse_unary, "QLinearAveragePool"},
    {"GlobalAveragePool", fits_unary, fuse_unary, "QLinearGlobalAveragePool"},
    {"LeakyRelu", fits_unary, fuse_unary, "QLinearLeakyRelu"},
    {"Sigmoid", fits_unary, fuse_unary, "QLinearSigmoid"},
    {"Softmax", fits_unary, fuse_softmax, "QLinearSoftmax"},
    {"Add", fits_binary, fuse_binary, "QLinearAdd"},
    {"Mul", fits_binary, fuse_binary, "QLinearMul"},
    {"Concat", fits_all, fuse_concat, "QLinearConcat"},
    {"Conv", fits_conv, fuse_conv, "QLinearConv"},
    {"MatMul", fits_matmul, fuse_conv, "QLinearMatMul"},
    {"MatMul", fits_matmul_float, fuse_matmul_float, "MatMulIntegerToFloat"},
    {"Gemm", fits_gemm, fuse_gemm, "QGemm"},
    {"Where", fits_where, fuse_where, "QLinearWhere"},
};
// clang-format on

/* ---- Finding groups ------------------------------------------------------------------------- */

/* Relu, or Clip with constant bounds, that changes no code which q can give. */
static bool is_redundant(const struct fuser *f, int clip, int q)
{
    const struct tensor *z = fuse_zero(f, q);
    int64_t qmin, qmax;
    if (!fuse_is_scalar(f, q) || !dtype_range(z ? z->dtype : DT_U8, &qmin, &qmax)) {
        return false;
    }
    double s = tensor_f64(fuse_scale(f, q), 0), zero = z ? (double)tensor_s64(z, 0) : 0;
    if (fuse_is(f, clip, "Relu")) {
        return zero == (double)qmin;
    }
    const struct node *n = &f->g->nodes[clip];
    double bound[2] = {(double)attr_float(n, "min", -INFINITY),
                       (double)attr_float(n, "max", INFINITY)};
    for (int k = 1; k < n->n_in && k < 3; k++) {
        const struct tensor *t = n->in[k] >= 0 ? f->g->values[n->in[k]].constant : NULL;
        if (n->in[k] >= 0 && (!t || t->n != 1)) {
            return false;
        }
        bound[k - 1] = t ? tensor_f64(t, 0) : bound[k - 1];
    }
    return rint(bound[0] / s) + zero <= (double)qmin && rint(bound[1] / s) + zero >= (double)qmax;
}

/* Follows the only output through a Relu or Clip. False if that stands in the way of any group. */
static bool look_through_clip(const struct fuser *f, struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    struct edge use = n->n_out == 1 ? fuser_sole_use(f, n->out[0]) : (struct edge){-1, -1};
    if (!fuse_is(f, use.node, "Relu") && !fuse_is(f, use.node, "Clip")) {
        return true;
    }
    struct edge next = fuser_sole_use(f, f->g->nodes[use.node].out[0]);
    if (next.node < 0) {
        return true; /* not looked through; no Q, then */
    }
    if (!fuse_is_q(f, next.node) || !is_redundant(f, use.node, next.node)) {
        return false;
    }
    gr->clip = use.node;
    gr->q = next.node;
    gr->n_q = 1;
    return true;
}

static bool find_group(const struct fuser *f, int node, struct group *gr)
{
    const struct node *n = &f->g->nodes[node];
    *gr = (struct group){.node = node, .dq = {-1, -1, -1}, .q = -1, .clip = -1, .dq_owned = true};
    for (int k = 0; k < n->n_in; k++) {
        int dq = fuser_producer(f, n->in[k]);
        gr->n_in += n->in[k] >= 0;
        if (!fuse_is_dq(f, dq)) {
            continue;
        }
        gr->n_dq++;
        gr->dq_owned = gr->dq_owned && fuser_sole_use(f, n->in[k]).node == node;
        if (k < 3) {
            gr->dq[k] = dq;
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        int out = n->out[k];
        gr->is_output = gr->is_output || (out >= 0 && fuser_is_output(f, out));
        for (int i = 0; out >= 0 && i < f->v[out].n; i++) {
            struct edge e = f->v[out].edges[i];
            bool is_q = fuse_is_q(f, e.node) && e.slot == 0;
            gr->n_uses++;
            gr->n_q += is_q;
            gr->q = is_q && gr->q < 0 ? e.node : gr->q;
        }
    }
    if (gr->n_dq == 0 || n->n_out < 1 || n->out[0] < 0 || !look_through_clip(f, gr)) {
        return false;
    }
    gr->in = gr->dq[0] >= 0 ? fuse_code_type(f, gr->dq[0]) : DT_NONE;
    gr->out = gr->q >= 0 ? fuse_code_type(f, gr->q) : DT_NONE;
    return true;
}

/* ---- Groups of both types ------------------------------------------------------------------- */

/* A tensor that the model has as s8 and the runtime keeps as u8 may meet one that is u8 in the
 * model. Kernels want one type, so such a tensor is turned into u8 in front of the group, and what
 * the group makes back into s8. `n_data`: leading inputs that share the type of the output. */
static bool mixes_types(const struct fuser *f, const struct group *gr, int n_data)
{
    const struct node *n = &f->g->nodes[gr->node];
    bool kept = false, plain = false;
    for (int k = 0; k < n->n_out; k++) {
        int q = n->out[k] >= 0 ? fuser_sole_use(f, n->out[k]).node : -1;
        kept = kept || (fuse_is_q(f, q) && fuse_is_kept_as_u8(f, q));
        plain = plain || (fuse_is_q(f, q) && !fuse_is_kept_as_u8(f, q));
    }
    for (int k = 0; k < n->n_in && k < n_data; k++) {
        int dq = fuser_producer(f, n->in[k]);
        if (fuse_is_dq(f, dq)) {
            bool is_kept = fuse_is_kept_as_u8(f, dq);
            kept = kept || is_kept;
            plain = plain || !is_kept;
        }
    }
    return kept && plain;
}

/* Gives a Q or DQ node the zero point of its codes as u8; false when there is no memory. */
static bool raise_zero(struct fuser *f, int node)
{
    const struct tensor *z = fuse_zero(f, node);
    struct tensor *raised = NULL;
    if (f->g->nodes[node].n_in < 3 || tensor_new(DT_U8, 0, NULL, NULL, &raised, NULL)) {
        return false;
    }
    *(uint8_t *)raised->data = (uint8_t)((z ? tensor_s64(z, 0) : 0) + 128);
    fuser_set_in(f, node, 2, fuser_constant(f, "zero_point", raised));
    return true;
}

static void flip(struct fuser *f, int from, int to)
{
    int node = fuser_add(f, "FlipSign", 1, &from, to);
    f->g->nodes[node].domain = fuse_mlas_domain;
}

static void raise_input(struct fuser *f, int dq)
{
    int codes = f->g->nodes[dq].in[0];
    if (f->v[codes].as_u8 && raise_zero(f, dq)) {
        int raised = fuser_value(f, codes, "_uint8");
        flip(f, codes, raised);
        fuser_set_in(f, dq, 0, raised);
    }
}

static void raise_output(struct fuser *f, int q)
{
    int codes = f->g->nodes[q].out[0];
    if (f->v[codes].as_u8 && raise_zero(f, q)) {
        int raised = fuser_value(f, codes, "_uint8");
        fuser_set_out(f, q, 0, raised);
        flip(f, raised, codes);
    }
}

static void raise_types(struct fuser *f, const struct group *gr, int n_data)
{
    for (int k = 0; k < f->g->nodes[gr->node].n_in && k < n_data; k++) {
        int dq = fuser_producer(f, f->g->nodes[gr->node].in[k]);
        if (fuse_is_dq(f, dq)) {
            raise_input(f, dq);
        }
    }
    for (int k = 0; k < f->g->nodes[gr->node].n_out; k++) {
        int out = f->g->nodes[gr->node].out[k];
        int q = out >= 0 ? fuser_sole_use(f, out).node : -1;
        if (fuse_is_q(f, q)) {
            raise_output(f, q);
        }
    }
}

static void fuse_group(struct fuser *f, const struct group *gr)
{
    const struct node *n = &f->g->nodes[gr->node];
    for (size_t r = 0; r < COUNT(rules); r++) {
        if (strcmp(rules[r].op, n->op) != 0 || !rules[r].fits(f, gr)) {
            continue;
        }
        if (gr->clip >= 0) {
            fuser_kill(f, gr->clip);
            fuser_set_in(f, gr->q, 0, n->out[0]);
        }
        int n_data = rules[r].fuse == fuse_conv || rules[r].fuse == fuse_gemm ||
                             rules[r].fuse == fuse_matmul_float
                         ? 1
                         : INT_MAX;
        if (mixes_types(f, gr, n_data)) {
            raise_types(f, gr, n_data);
        }
        rules[r].fuse(f, gr, rules[r].to);
        return;
    }
}

static bool has_rule(const char *op)
{
    for (size_t r = 0; r < COUNT(rules); r++) {
        if (strcmp(rules[r].op, op) == 0) {
            return true;
        }
    }
    return false;
}

void fuse_groups(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        struct group gr;
        const struct node *n = &f->g->nodes[i];
        if (!n->op || n->domain[0]) {
            continue;
        }
        bool known = has_rule(n->op);
        if (find_group(f, (int)i, &gr)) {
            fuse_group(f, &gr);
        }
        if (!f->as_written) {
            fuse_explain(f, (int)i, known);
        }
    }
}
