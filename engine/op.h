/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op.h: private to engine/: the row of an operator and what a kernel may call.
 *
 * An operator is one row in its family's table (bottom of op_*.c): ONNX name, first opset the row
 * holds for, plain kernel `ref`, optional `fast` twin, optional prepare/release for weights packed
 * once. Kernels compute the output shape themselves from the inputs they are given, so shapes that
 * depend on data need no special path. A kernel checks everything it relies on: ranks, dtypes,
 * attribute values; a bad model gives E_SHAPE/E_FORMAT/E_UNSUPPORTED, never a fault.
 */
#ifndef ENGINE_OP_H
#define ENGINE_OP_H

#include "engine/engine.h"

enum { MAX_OP_IN = 64, MAX_OP_OUT = 32 }; /* inline room; larger nodes are allocated */
enum { BESIDE_MOST = 4 };                 /* calls that are made at once, see op.beside */

struct op;
struct rows;

/* An activation behind an operator: y = min(max(x, lo), hi), NaN stays NaN. */
struct op_tail {
    float lo, hi;
};

/* One execution of one node. in[i] is NULL for an omitted input. The kernel sets out[i] with
 * op_out() or op_out_view() for every i with node->out[i] >= 0. */
struct op_call {
    const struct op *op;
    const struct node *node;
    int opset;
    int n_in, n_out;
    const struct tensor **in;
    struct tensor **out;
    const struct quant *const *in_q, *const *out_q; /* parameters of values, NULL entries: none */
    const void *state;                              /* what prepare returned, or NULL */
    struct budget *budget;
    enum kernels kernels;
    enum numerics numerics;
    struct par *par;    /* see par.h; NULL: one thread */
    bool channels_last; /* order of the inputs that have rank >= 3 and more than one value, and of
                           the outputs that op_out() makes; see op.layout */
    /* Operators with op.tails only: when tail is set the kernel also makes the float32 result that
     * the activation behind it gives, in tail_out; out[0] it may leave NULL unless raw. */
    const struct op_tail *tail;
    struct tensor *tail_out;
    bool raw;
    /* Operators with op.chains only; NULL: none. op_out_tail() makes what chain_block() fills. */
    struct chain_run *chain;
    bool sums;      /* QLinearConv, QLinearMatMul, QGemm: the int32 sums instead of codes */
    bool reference; /* see plan_options */
};

/* What is known before the first run: constant inputs are non-NULL. */
struct op_prep {
    const struct node *node;
    int opset;
    int n_in;
    const struct tensor **constants;
    const struct quant *const *in_q, *const *out_q;
    enum numerics numerics;
};

/* Orders of elements that an operator takes. */
enum op_layout {
    LAYOUT_ROWS,      /* row-major */
    LAYOUT_ANY,       /* one order for all inputs, whichever it is: element by element */
    LAYOUT_LAST,      /* input 0 with channels last, if it has rank >= 3; the others row-major */
    LAYOUT_TO_LAST,   /* input 0 as it lies, the others row-major; the outputs have channels last */
    LAYOUT_KEEP,      /* one order for all inputs of rank >= 3: channels last if some have it */
    LAYOUT_BROADCAST, /* the order of the largest input for all of its rank, others row-major */
};

struct op {
    const char *name;
    const char *domain; /* NULL = "" (ai.onnx) */
    int since;          /* first opset this row holds for; the highest not above the model's wins */
    /* Number of inputs, checked before every call; max_in -1 = any. Inputs below min_in are there,
     * but for operators of com.microsoft, whose kernels look themselves. */
    int min_in, max_in;
    int (*ref)(struct op_call *c, struct err *err);
    int (*fast)(struct op_call *c, struct err *err); /* NULL = ref */
    /* State made of constant inputs, attributes and numerics alone. Plans share it: it may outlive
     * the node, but not the constants. */
    int (*prepare)(const struct op_prep *p, void **state, struct err *err);
    void (*release)(void *state);
    const char *spec; /* where the formula comes from: "ONNX Conv-11" */
    /* What the fast kernel (ref, where that is the only one) takes for this call, whose inputs may
     * have either order; NULL: rows. Plain kernels get rows. */
    enum op_layout (*layout)(const struct op_call *c);
    bool tails;  /* the fast kernel applies op_call.tail */
    bool chains; /* and computes op_call.chain */
    /* Makes the outputs and readies the fast kernel to compute them row by row, see rows.h;
     * `first`: others are to follow, so that it should be large. False: it cannot, nothing was
     * made. */
    bool (*rows)(struct op_call *c, bool first, struct rows *r);
    /* Makes the outputs of all of n calls, at most BESIDE_MOST, that have the same input 0. False:
     * it cannot, nothing was made. */
    bool (*beside)(struct op_call *const *calls, int n);
    /* Bit k: input k, when a float32 constant, may lie at any address, as files have them. */
    unsigned any_address;
    /* Whether the fast kernel computes every sample of this call, an index of dimension 0 of input
     * 0 and of output 0, by itself, to bits that do not depend on how many there are: then calls
     * that differ in input 0 alone may be made as one. Inputs may have either order. NULL: no. */
    bool (*by_sample)(const struct op_call *c);
};
enum op_layout layout_any(const struct op_call *c);       /* always LAYOUT_ANY */
enum op_layout layout_keep(const struct op_call *c);      /* always LAYOUT_KEEP */
enum op_layout layout_broadcast(const struct op_call *c); /* always LAYOUT_BROADCAST */

/* NULL-terminated family tables, gathered in op.c. */
extern const struct op op_conv[], op_matmul[], op_pool[], op_eltwise[], op_norm[], op_batchnorm[],
    op_reduce[], op_shape[], op_resize[], op_quant[], op_qlinear[], op_qsoftmax[], op_qpool[],
    op_qconv[], op_qmatmul[], op_unary[], op_move[], op_index[], op_attention[], op_einsum[],
    op_vision[], op_cast[], op_pad[], op_mlas[], op_mlas_conv[], op_exact[], op_tensorrt[],
    op_pairs[], op_ort[], op_tfl_conv[], op_tfl_binary[], op_tfl_unary[], op_tfl_reduce[],
    op_tfl_move[], op_tfl_gather[], op_tfl_quant[], op_mlas_sums[], op_mlas_norm[],
    op_mlas_matmul[];

const struct op *op_find(const char *domain, const char *name, int opset);

/* Allocates output i. */
int op_out(struct op_call *c, int i, enum dtype d, int rank, const int64_t *dims, struct err *err);
/* The float32 outputs of an operator that applies the activation behind it: output 0 unless only
 * the activation is wanted, tail_out if there is one, and those of the chain, which it may set to
 * NULL. *y, *act: data of the first two, NULL when not made. */
int op_out_tail(struct op_call *c, int rank, const int64_t *dims, float **y, float **act,
                struct err *err);
/* Frees all outputs that there are. */
void op_drop(struct op_call *c);
/* Output i shares the data of t under a new shape. */
int op_out_view(struct op_call *c, int i, const struct tensor *t, int rank, const int64_t *dims,
                struct err *err);
/* The elements of t, to be looked at under another shape or order. It owns nothing and is no plain
 * copy: other threads may be counting references of t meanwhile. */
struct tensor op_alias(const struct tensor *t);
/* Normalizes an axis in [-rank, rank-1]; E_SHAPE outside. */
int op_axis(int64_t axis, int rank, int *out, struct err *err);
/* Reads input i as a list of int64 (int32 or int64 tensor of rank <= 1); *list in arena-free
 * caller storage of `room`. */
int op_int_list(const struct tensor *t, size_t room, int64_t *list, size_t *n, struct err *err);
/* E_UNSUPPORTED for an input of strings, unless the operator is one of the few that take them. */
int op_check_strings(const struct op_call *c, struct err *err);
/* E_SHAPE text for an input of an unexpected dtype or rank. */
int op_want(const struct op_call *c, int i, enum dtype d, int rank,
            struct err *err); /* rank -1 any */
/* E_UNSUPPORTED or E_SHAPE unless input 0 is of a float type and has at least `least` dimensions.
 */
int op_want_float(const struct op_call *c, int least, struct err *err);
/* E_SHAPE unless inputs 1 to count are vectors of n floats. */
int op_want_vectors(const struct op_call *c, int count, int64_t n, struct err *err);

#endif
