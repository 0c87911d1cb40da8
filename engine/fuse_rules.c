/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_rules.c: THE table of operators that onnxruntime computes with integers when they stand in a
 * group: what it asks of the group, and what the group becomes. fuse_groups.c finds them.
 */
#include <stdlib.h>

#include "engine/fuse_rule.h"

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
    {"Expand", fits_move, fuse_move, NULL, false},
    {"Flatten", fits_move, fuse_move, NULL, false},
    {"Gather", fits_move, fuse_move, NULL, false},
    {"GatherElements", fits_move, fuse_move, NULL, false},
    {"Reshape", fits_move, fuse_move, NULL, false},
    {"Slice", fits_move, fuse_move, NULL, false},
    {"Squeeze", fits_move, fuse_move, NULL, false},
    {"Tile", fits_move, fuse_move, NULL, false},
    {"Transpose", fits_move, fuse_move, NULL, false},
    {"Unsqueeze", fits_move, fuse_move, NULL, false},
    {"Split", fits_split, fuse_move, NULL, false},
    {"Resize", fits_resize, fuse_move, NULL, false},
    {"MaxPool", fits_max_pool, fuse_move, NULL, false},
    {"ReduceMax", fits_order, fuse_move, NULL, false},
    {"ReduceMin", fits_order, fuse_move, NULL, false},
    {"ArgMax", fits_arg_max, fuse_move, NULL, false},
    {"AveragePool", fits_unary, fuse_unary, "QLinearAveragePool", false},
    {"GlobalAveragePool", fits_unary, fuse_unary, "QLinearGlobalAveragePool", false},
    {"LeakyRelu", fits_unary, fuse_unary, "QLinearLeakyRelu", false},
    {"Sigmoid", fits_unary, fuse_unary, "QLinearSigmoid", false},
    {"Softmax", fits_unary, fuse_softmax, "QLinearSoftmax", false},
    {"Add", fits_binary, fuse_binary, "QLinearAdd", false},
    {"Mul", fits_binary, fuse_binary, "QLinearMul", false},
    {"Concat", fits_all, fuse_concat, "QLinearConcat", false},
    {"Conv", fits_conv, fuse_conv, "QLinearConv", true},
    {"MatMul", fits_matmul, fuse_conv, "QLinearMatMul", true},
    {"MatMul", fits_matmul_float, fuse_matmul_float, "MatMulIntegerToFloat", true},
    {"Gemm", fits_gemm, fuse_gemm, "QGemm", true},
    {"Where", fits_where, fuse_where, "QLinearWhere", false},
};
// clang-format on

const struct rule *fuse_rule(const struct fuser *f, const struct group *gr)
{
    const char *op = f->g->nodes[gr->node].op;
    for (size_t r = 0; r < COUNT(rules); r++) {
        if (strcmp(rules[r].op, op) == 0 && rules[r].fits(f, gr)) {
            return &rules[r];
        }
    }
    return NULL;
}

bool fuse_has_rule(const char *op)
{
    for (size_t r = 0; r < COUNT(rules); r++) {
        if (strcmp(rules[r].op, op) == 0) {
            return true;
        }
    }
    return false;
}
