/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_level2.c: onnxruntime's steps just before and after grouping: clips that quantization makes
 * redundant, the s8 tensors it keeps as u8 on x86, and DQ-Q pairs that cancel.
 */
#include "engine/fuse.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- Clip and Relu in front of Q ------------------------------------------------------------ */

/* Bound `slot` of a Clip, from its constant input or its attribute; false if it is computed. */
static bool clip_bound(const struct fuser *f, const struct node *n, int slot, const char *attr,
                       float none, float *out)
{
    *out = attr_float(n, attr, none);
    if (slot >= n->n_in || n->in[slot] < 0) {
        return true;
    }
    const struct tensor *t = f->g->values[n->in[slot]].constant;
    if (!t || t->n != 1) {
        return false;
    }
    *out = (float)tensor_f64(t, 0);
    return true;
}

/* Whether Q saturates at least as early as the clip in front of it. */
static bool clip_is_redundant(const struct fuser *f, int clip, int q)
{
    const struct node *n = &f->g->nodes[clip];
    float lo, hi, min, max;
    if (!fuse_code_range(f, q, &lo, &hi)) {
        return false;
    }
    if (fuse_is(f, clip, "Relu")) {
        return lo == 0; /* the zero point is the lowest code */
    }
    return clip_bound(f, n, 1, "min", -FLT_MAX, &min) &&
           clip_bound(f, n, 2, "max", FLT_MAX, &max) && min - lo <= FLT_EPSILON &&
           hi - max <= FLT_EPSILON;
}

static void drop_clips(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!fuse_is(f, (int)i, "Clip") && !fuse_is(f, (int)i, "Relu")) {
            continue;
        }
        const struct node *n = &f->g->nodes[i];
        struct edge use = fuser_sole_use(f, n->n_out ? n->out[0] : -1);
        if (n->n_in && n->in[0] >= 0 && use.slot == 0 && fuse_is_q(f, use.node) &&
            clip_is_redundant(f, (int)i, use.node)) {
            int in = n->in[0];
            fuser_kill(f, (int)i);
            fuser_set_in(f, use.node, 0, in);
        }
    }
}

/* ---- s8 kept as u8 -------------------------------------------------------------------------- */

/* A Q whose only consumer is a DQ of equal zero point gives u8 instead of s8, all codes 128 higher.
 * A tensor with more consumers stays s8, which keeps its neighbours from being grouped. */
static void mark_u8(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!fuse_is_q(f, (int)i)) {
            continue;
        }
        int codes = f->g->nodes[i].out[0];
        struct edge use = fuser_sole_use(f, codes);
        if (!fuse_is_dq(f, use.node) || use.slot != 0) {
            continue;
        }
        const struct tensor *zq = fuse_zero(f, (int)i), *zd = fuse_zero(f, use.node);
        bool same = zq && zq->n == 1 && (!zd || zd->n == 1) &&
                    tensor_s64(zq, 0) == (zd ? tensor_s64(zd, 0) : 0);
        f->v[codes].as_u8 = same && zq->dtype == DT_S8 && (!zd || zd->dtype == DT_S8);
    }
}

/* ---- DQ followed by Q ----------------------------------------------------------------------- */

/* DQ-Q with equal parameters gives the codes back: both go. */
static void drop_pairs(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (!fuse_is_dq(f, (int)i)) {
            continue;
        }
        const struct node *n = &f->g->nodes[i];
        struct edge use = fuser_sole_use(f, n->out[0]);
        if (!fuse_is_q(f, use.node) || use.slot != 0 ||
            !fuse_same_params(f, (int)i, use.node, true) ||
            fuse_is_kept_as_u8(f, (int)i) != fuse_is_kept_as_u8(f, use.node)) {
            continue;
        }
        int codes = n->in[0], out = f->g->nodes[use.node].out[0];
        if (fuser_is_output(f, out)) {
            continue;
        }
        fuser_kill(f, use.node);
        fuser_kill(f, (int)i);
        fuser_move_uses(f, out, codes);
    }
}

/* ---- Float islands -------------------------------------------------------------------------- */

static bool sums_as_mlas(const struct fuser *f, const struct node *n)
{
    if (strcmp(n->op, "Conv") == 0) {
        return n->n_in > 1 && n->in[1] >= 0;
    }
    if (strcmp(n->op, "Resize") == 0) {
        const char *mode = attr_string(n, "coordinate_transformation_mode", "half_pixel");
        return f->g->opset >= 11 && strcmp(attr_string(n, "mode", "nearest"), "linear") == 0 &&
               (strcmp(mode, "half_pixel") == 0 || strcmp(mode, "asymmetric") == 0 ||
                strcmp(mode, "pytorch_half_pixel") == 0 || strcmp(mode, "align_corners") == 0) &&
               !attr_int(n, "antialias", 0) && !attr_int(n, "exclude_outside", 0) &&
               !attr_find(n, "axes");
    }
    if (strcmp(n->op, "BatchNormalization") == 0) {
        return n->n_in == 5 && n->n_out == 1 && attr_int(n, "spatial", 1) &&
               !attr_int(n, "training_mode", 0);
    }
    static const char *const others[] = {
        "AveragePool", "GlobalAveragePool",  "Sigmoid", "ReduceMean", "ReduceSum", "Softmax",
        "LogSoftmax",  "LayerNormalization", "MatMul",  "Gemm"};
    for (size_t i = 0; i < COUNT(others); i++) {
        if (strcmp(n->op, others[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* MaxPool and AveragePool of whole blocks of channels, as far as the model declares those. */
static bool starts_blocked(const struct fuser *f, const struct node *n)
{
    const struct value *x = &f->g->values[n->in[0]];
    return (strcmp(n->op, "MaxPool") == 0 || strcmp(n->op, "AveragePool") == 0) && x->rank == 4 &&
           x->dims[1] > 0 && x->dims[1] % (int64_t)mlas_block_size() == 0;
}

/* Whether a Clip or LeakyRelu becomes part of the convolution in front of it, which nothing else
 * reads. A Relu in front of a Clip is one with it. */
static bool joins_conv(const struct fuser *f, const struct node *n)
{
    const bool clip = strcmp(n->op, "Clip") == 0;
    int in = n->in[0], maker = fuser_producer(f, in);
    if (clip && fuse_is(f, maker, "Relu") && fuser_sole_use(f, in).node >= 0) {
        in = f->g->nodes[maker].in[0];
        maker = fuser_producer(f, in);
    }
    return (clip || strcmp(n->op, "LeakyRelu") == 0) && fuse_is(f, maker, "Conv") &&
           fuser_sole_use(f, in).node >= 0;
}

/* Whether the node runs in the blocked layout: convolutions begin it, these operators keep it. */
static bool runs_blocked(const struct fuser *f, const struct node *n)
{
    static const char *const keep[] = {
        "Relu", "Sigmoid", "Tanh", "HardSigmoid", "MaxPool", "AveragePool", "GlobalAveragePool"};
    if (strcmp(n->op, "Conv") == 0) {
        const struct tensor *w =
            n->n_in > 1 && n->in[1] >= 0 ? f->g->values[n->in[1]].constant : NULL;
        return w && mlas_is_blocked(n, w);
    }
    bool keeps = joins_conv(f, n);
    for (size_t i = 0; i < COUNT(keep); i++) {
        keeps = keeps || strcmp(n->op, keep[i]) == 0;
    }
    return keeps && (f->v[n->in[0]].blocked || starts_blocked(f, n));
}

bool fuse_has_codes(const struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        if (fuse_is_q(f, (int)i) || fuse_is_dq(f, (int)i) ||
            fuse_is(f, (int)i, "DynamicQuantizeLinear")) {
            return true;
        }
    }
    return false;
}

/* Per value whether the runtime has it when it loads the model. folds: it computes what is made of
 * constants alone, other than the reals of codes. The caller frees the list. */
static bool *find_known(const struct fuser *f, bool folds)
{
    enum { TURNS = 4 }; /* nodes that were added stand behind those that they feed */
    const struct graph *g = f->g;
    bool *known = mem_alloc(g->n_values + 1), news = true;
    for (size_t v = 0; v < g->n_values; v++) {
        known[v] = g->values[v].constant || fuse_is(f, fuser_producer(f, (int)v), "Constant");
    }
    for (int turn = 0; turn < TURNS && news && folds; turn++) {
        news = false;
        for (size_t i = 0; i < g->n_nodes; i++) {
            const struct node *n = &g->nodes[i];
            bool all = n->op && n->n_in > 0 && !fuse_is_dq(f, (int)i);
            for (int k = 0; all && k < n->n_in; k++) {
                all = n->in[k] < 0 || known[n->in[k]];
            }
            for (int k = 0; all && k < n->n_out; k++) {
                news = news || (n->out[k] >= 0 && !known[n->out[k]]);
                known[n->out[k] >= 0 ? (size_t)n->out[k] : g->n_values] = true;
            }
        }
    }
    return known;
}

/* An Add whose only reader is the node that asks, and that is left to be computed. */
static const struct node *sole_add(const struct fuser *f, const bool *known, int value)
{
    const int maker = fuser_producer(f, value);
    if (!fuse_is(f, maker, "Add") || fuser_sole_use(f, value).node < 0 || known[value]) {
        return NULL;
    }
    const struct node *n = &f->g->nodes[maker];
    return n->n_in == 2 && n->in[0] >= 0 && n->in[1] >= 0 ? n : NULL;
}

/* Whether an Add's second input is a constant for each element of a row of `scale`. */
static bool adds_row(const struct fuser *f, const struct node *add, int scale)
{
    const struct tensor *row =
        add && !fuse_is_product(f, add->in[0]) ? f->g->values[add->in[1]].constant : NULL;
    const struct tensor *like = f->g->values[scale].constant;
    return row && row->rank == 1 && (!like || like->n == row->n);
}

/* LayerNormalization behind an Add that nothing else reads is one kernel with it (SkipLayer-
 * Normalization), and with an Add of a constant row in front of that, which then comes last. Here
 * the node reads what they read, too; shapes decide when it runs. */
static void read_skips(struct fuser *f, const bool *known)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        if (!fuse_is(f, (int)i, "LayerNormalization") || n->n_in < 2 || n->in[1] < 0) {
            continue;
        }
        const struct node *add = sole_add(f, known, n->in[0]);
        if (!add) {
            continue;
        }
        int in[] = {n->in[0], n->in[1], n->n_in > 2 ? n->in[2] : -1, add->in[0], add->in[1], -1};
        for (int k = 0; k < 2 && in[5] < 0; k++) {
            const struct node *inner = sole_add(f, known, add->in[k]);
            if (adds_row(f, inner, n->in[1])) {
                in[3 + k] = inner->in[0];
                in[5] = inner->in[1];
            }
        }
        fuser_become(f, (int)i, n->op, n->domain, in[5] < 0 ? 5 : 6, in, n->n_out, n->out);
    }
}

/* The factor with which a Mul or Div by one constant scales its other input, number *slot. */
static bool scale_of(const struct fuser *f, int node, float *factor, int *slot)
{
    const bool div = fuse_is(f, node, "Div");
    if (!div && !fuse_is(f, node, "Mul")) {
        return false;
    }
    const struct node *n = &f->g->nodes[node];
    for (int k = div; k < 2 && n->n_in == 2; k++) {
        const struct tensor *t = fuse_single(f, n->in[k]);
        if (t && t->rank <= 1 && n->in[1 - k] >= 0) {
            const float v = (float)tensor_f64(t, 0);
            *factor = div ? 1 / v : v;
            *slot = 1 - k;
            return true;
        }
    }
    return false;
}

/* MatMul with a factor in front or behind is one kernel with it, which scales sums instead of
 * inputs. Here the node reads what was to be scaled, unless no bit depends on it; the scaled values
 * are still made for those who want to see them. */
static void read_scales(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        struct node *n = &f->g->nodes[i];
        if (!fuse_is(f, (int)i, "MatMul") || n->n_in != 2 || n->in[0] < 0 || n->in[1] < 0 ||
            n->n_out != 1) {
            continue;
        }
        int in[] = {n->in[0], n->in[1], n->in[0], n->in[1]}, slot, exponent;
        float alpha = 1, factor;
        bool scaled = scale_of(f, fuser_sole_use(f, n->out[0]).node, &factor, &slot);
        for (int k = 0; k < 2; k++) {
            const int maker = fuser_producer(f, in[k]);
            if (scale_of(f, maker, &factor, &slot)) {
                alpha *= factor;
                in[k] = f->g->nodes[maker].in[slot];
                scaled = true;
            }
        }
        graph_attr_int(f->g, n, fuse_scaled_attr, scaled);
        if (fabsf(frexpf(alpha, &exponent)) != 0.5F) {
            graph_attr_float(f->g, n, "alpha", alpha);
            fuser_become(f, (int)i, n->op, n->domain, 4, in, n->n_out, n->out);
        }
    }
}

/* In a graph with codes, float sums are made in the runtime's order: they become codes again. */
void fuse_islands(struct fuser *f, bool optimized)
{
    size_t n_nodes = fuse_has_codes(f) ? f->g->n_nodes : 0;
    bool *known = n_nodes ? find_known(f, optimized) : NULL;
    if (n_nodes && optimized) {
        read_skips(f, known);
        read_scales(f);
    }
    for (size_t i = 0; i < n_nodes; i++) {
        struct node *n = &f->g->nodes[i];
        if (!n->op || n->domain[0] || n->n_in < 1 || n->in[0] < 0 || n->n_out < 1 ||
            n->out[0] < 0) {
            continue;
        }
        bool blocked = optimized && runs_blocked(f, n);
        f->v[n->out[0]].blocked = blocked;
        if (sums_as_mlas(f, n)) {
            n->domain = fuse_mlas_domain;
            const int64_t since = strcmp(n->op, "LayerNormalization") == 0 ? 17 : 1;
            graph_attr_int(f->g, n, fuse_opset_attr, MAX(f->g->opset, since));
            if (strcmp(n->op, "MatMul") == 0 || strcmp(n->op, "Gemm") == 0) {
                const bool packed = n->n_in > 1 && (n->in[1] < 0 || known[n->in[1]]);
                graph_attr_int(f->g, n, fuse_packed_attr, packed);
            }
            const bool conv = strcmp(n->op, "Conv") == 0;
            const bool starts = optimized && strcmp(n->op, "AveragePool") == 0;
            graph_attr_int(f->g, n, fuse_blocked_attr,
                           blocked && conv     ? BLOCKED_ALWAYS
                           : blocked || starts ? BLOCKED_IF_WHOLE
                                               : BLOCKED_NEVER);
        }
    }
    free(known);
}

/* ---- Functions ----------------------------------------------------------------------------------
 */

/* HardSwish has no kernel: between the levels it becomes its definition, HardSigmoid and a product,
 * and its input gets a second consumer. */
static void expand_hard_swish(struct fuser *f)
{
    size_t n_nodes = f->g->n_nodes;
    for (size_t i = 0; i < n_nodes; i++) {
        const struct node *n = &f->g->nodes[i];
        if (!fuse_is(f, (int)i, "HardSwish") || n->n_in != 1 || n->n_out != 1 || n->in[0] < 0 ||
            n->out[0] < 0) {
            continue;
        }
        const int out = n->out[0], in[] = {n->in[0], fuser_value(f, out, "_gate")};
        int gate = fuser_add(f, "HardSigmoid", 1, in, in[1]);
        graph_attr_float(f->g, &f->g->nodes[gate], "alpha", 1.0F / 6.0F);
        graph_attr_float(f->g, &f->g->nodes[gate], "beta", 0.5F);
        fuser_become(f, (int)i, "Mul", "", 2, in, 1, &out);
    }
}

void fuse_level2(struct fuser *f)
{
    expand_hard_swish(f);
    drop_clips(f);
    mark_u8(f);
    fuse_groups(f);
    drop_pairs(f);
    fuse_norm(f);
    fuse_gelu(f);
    fuse_islands(f, true);
}

void fuse_integers(struct fuser *f)
{
    drop_clips(f);
    fuse_groups(f);
    drop_pairs(f);
}
