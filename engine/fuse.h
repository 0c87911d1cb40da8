/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse.h: private to the fuse*.c files: a graph under edit with its edges in both directions, and
 * the passes over it. fuse.c explains the whole.
 */
#ifndef ENGINE_FUSE_H
#define ENGINE_FUSE_H

#include "engine/engine.h"

/* Domain of float nodes that are to be computed in the runtime's order, see op_mlas.c, and the
 * attribute that keeps the opset of their operator. */
static const char fuse_mlas_domain[] = "onnxruntime.mlas";
static const char fuse_opset_attr[] = "opset";
/* Tells which of them run in another layout, and with it in another order: float convolutions whose
 * weights are constant, and pools around them if their channels are whole blocks, which shows when
 * they run. */
static const char fuse_blocked_attr[] = "blocked";
enum { BLOCKED_NEVER, BLOCKED_ALWAYS, BLOCKED_IF_WHOLE };
/* Tells of MatMul and Gemm that the runtime has their second factor when it loads the model. */
static const char fuse_packed_attr[] = "packed";
/* Tells of MatMul that a constant factor is part of it, or of what follows; `alpha` is its own. */
static const char fuse_scaled_attr[] = "scaled";
/* Channels that this layout keeps together on this CPU (op_mlas_conv.c). */
size_t mlas_block_size(void);
/* Whether a convolution with constant weights w has the channel counts for it (op_mlas_conv.c). */
bool mlas_is_blocked(const struct node *n, const struct tensor *w);

/* Domains of op_exact.c, op_pairs.c and op_tensorrt.c. */
static const char fuse_exact_domain[] = "onnx.exact";
static const char fuse_pairs_domain[] = "x86.pairs";
static const char fuse_tensorrt_domain[] = "tensorrt";
/* Of quantized operators with the attribute channels_last, as optimised models have them. */
static const char fuse_nhwc_domain[] = "onnxruntime.nhwc";

/* Why a node between quantizers is computed in float: "x feeds ...". */
static const char fuse_why_attr[] = "runs_in_float_because";

struct edge {
    int node, slot; /* input `slot` of node */
};

/* What is known of a value while editing. */
struct fuse_value {
    struct edge *edges; /* its consumers */
    int n, cap;
    int alias;    /* value that holds the same numbers and should carry the name, or -1 */
    bool blocked; /* floats that stay in the blocked layout */
    bool kept;    /* wanted although no node reads it */
    bool as_u8;   /* codes that the runtime keeps as u8 although the model says s8 */
};

struct fuser {
    struct graph *g; /* producers are kept up to date; dead nodes have op NULL */
    struct fuse_value *v;
    size_t cap;
    bool as_written; /* integer operators have the types that the model says, and no reasons */
};

/* ---- Editing (fuse_edit.c) ------------------------------------------------------------------ */
void fuser_init(struct fuser *f, struct graph *g);
void fuser_fini(struct fuser *f);
/* A new value with a name made from that of `like`. */
int fuser_value(struct fuser *f, int like, const char *suffix);
/* A new constant; takes the reference. */
int fuser_constant(struct fuser *f, const char *stem, struct tensor *t);
/* A new node without attributes that makes `out`. Returns its index. */
int fuser_add(struct fuser *f, const char *op, int n_in, const int *in, int out);
/* A copy of a one-output node, attributes included, that makes `out`. */
int fuser_copy(struct fuser *f, int node, int out);
/* Turns a node into another one in place, with its attributes; old edges go. */
void fuser_become(struct fuser *f, int node, const char *op, const char *domain, int n_in,
                  const int *in, int n_out, const int *out);
void fuser_set_in(struct fuser *f, int node, int slot, int value);
void fuser_set_out(struct fuser *f, int node, int slot, int value);
/* Moves all consumers of `from` to `to`. */
void fuser_move_uses(struct fuser *f, int from, int to);
void fuser_kill(struct fuser *f, int node);
/* Number of consuming edges; a graph output is none of them. */
static inline int fuser_uses(const struct fuser *f, int value)
{
    return f->v[value].n;
}
/* The node that makes a value, -1 for constants and graph inputs. */
static inline int fuser_producer(const struct fuser *f, int value)
{
    return value >= 0 ? f->g->values[value].producer : -1;
}
static inline bool fuser_is_output(const struct fuser *f, int value)
{
    return f->g->values[value].is_output;
}
/* Consumer of a value that has exactly one and is no graph output; node -1 otherwise. */
struct edge fuser_sole_use(const struct fuser *f, int value);

/* ---- Q and DQ nodes ------------------------------------------------------------------------- */
bool fuse_is(const struct fuser *f, int node, const char *op); /* false for node -1 */
/* The same of ai.onnx with that many inputs, the first of them given, and one output. */
bool fuse_is_plain(const struct fuser *f, int node, const char *op, int n_in);
/* A constant that is a single float32; NULL for other values and -1. */
const struct tensor *fuse_single(const struct fuser *f, int value);
bool fuse_is_q(const struct fuser *f, int node);
bool fuse_is_dq(const struct fuser *f, int node);
/* Constant scale of a Q or DQ node; NULL if it is computed. Zero point likewise, also NULL when
 * omitted. */
const struct tensor *fuse_scale(const struct fuser *f, int node);
const struct tensor *fuse_zero(const struct fuser *f, int node);
/* Constant scale and (if given) zero point of one element. */
bool fuse_is_scalar(const struct fuser *f, int node);
/* Whether the runtime stores the s8 codes of a Q or DQ node as u8. */
bool fuse_is_kept_as_u8(const struct fuser *f, int node);
/* Type of the codes of a Q or DQ node as the runtime stores them. */
enum dtype fuse_code_type(const struct fuser *f, int node);
/* Both have constant scalars that are equal, types included. with_zero: both must spell it. */
bool fuse_same_params(const struct fuser *f, int a, int b, bool with_zero);
/* Range of reals [lo, hi] that the codes of a Q node with constant scalar parameters can express.
 */
bool fuse_code_range(const struct fuser *f, int q, float *lo, float *hi);

/* ---- Passes, in the order of the runtime (fuse_level1.c, fuse_level2.c, fuse_groups.c) ------ */
/* fuse_join.c; whether anything changed. */
bool fuse_join_pairs(struct fuser *f);
/* fuse_twins.c; once every reader has a DQ of its own, since what reads two is no twin. */
void fuse_twins(struct fuser *f);
/* fuse_weights.c; whether anything changed. */
bool fuse_quantize_weights(struct fuser *f);
void fuse_level1(struct fuser *f);
void fuse_level2(struct fuser *f);
void fuse_groups(struct fuser *f);
/* fuse_rank.c: ranks of all values, -1 where they are not known; the caller frees them. */
int *fuse_ranks(const struct fuser *f);
/* fuse_gelu.c, fuse_written.c: what is written out in graphs with codes; after the groups, which
 * quantized operators belong to. */
void fuse_gelu(struct fuser *f);
void fuse_norm(struct fuser *f);
/* Whether a value is what MatMulInteger gives, made float and scaled: one operator later on
 * (fuse_gelu.c). */
bool fuse_is_product(const struct fuser *f, int value);
/* fuse_level2.c: the groups alone, as a model would spell them. */
void fuse_integers(struct fuser *f);
/* fuse_literal.c: exact domains of their own for products of integers; the operators of
 * com.microsoft become DequantizeLinear, the operator, QuantizeLinear. */
int fuse_literal(struct fuser *f, struct err *err);
/* Products of u8 and s8 get the kernels of op_pairs.c. */
void fuse_pairs(struct fuser *f);
/* fuse_tensorrt.c: weighted operators between DQ and Q; E_UNSUPPORTED for what TensorRT refuses. */
int fuse_tensorrt(struct fuser *f, struct err *err);
/* fuse_why.c: notes the reason at a node next to quantizers that was not grouped. known: the
 * runtime has rules for its operator. */
void fuse_explain(struct fuser *f, int node, bool known);
/* fuse_norms.c. */
void fuse_norms(struct fuser *f);
bool fuse_has_codes(const struct fuser *f);
/* Marks float nodes of a graph with codes; optimized: with the blocked layout. */
void fuse_islands(struct fuser *f, bool optimized);

#endif
