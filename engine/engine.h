/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * engine.h: the nouns of qscope and what computes them: tensors, quantization, graphs, plans.
 * engine opens no file, prints nothing and knows no user; see analysis/ for judging results.
 *
 * Ownership, one rule for the whole header: inputs are const and stay the caller's; a `new` gives
 * the caller one reference which the matching `free` takes back (free(NULL) is fine); pointers
 * returned by getters are borrowed and live as long as the thing they were asked of.
 *
 * Names of dimensions and quantization parameters, used in all kernels:
 *   activations n c h w (ONNX: [n,c,h,w] row-major)   filters o i kh kw   groups g
 *   strides sh sw   dilations dh dw   padding pt pl pb pr (top left bottom right)
 *   scale s, zero point z, suffixed by tensor: sx zx (input), sw zw (weight), sy zy (output)
 *   real value = (q - z) * s
 * Sizes in elements are `n`, in bytes `size`; both size_t. Dimensions are int64_t.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/base.h"

/* ---- Element types: the values are those of ONNX TensorProto.DataType. ---------------------- */
enum dtype {
    DT_NONE = 0,
    DT_F32 = 1,
    DT_U8 = 2,
    DT_S8 = 3,
    DT_U16 = 4,
    DT_S16 = 5,
    DT_S32 = 6,
    DT_S64 = 7,
    DT_STRING = 8,
    DT_BOOL = 9,
    DT_F16 = 10,
    DT_F64 = 11,
    DT_U32 = 12,
    DT_U64 = 13,
    DT_BF16 = 16,
    DT_U4 = 21, /* stored unpacked, one value a byte */
    DT_S4 = 22, /* stored unpacked, one value a byte */
};
/* Bytes per element as stored in memory (U4, S4: 1); 0 for types without numbers: strings, and what
 * is not known. */
size_t dtype_size(enum dtype d);
bool dtype_stored(enum dtype d); /* whether a tensor can hold it: has a size, or strings */
/* "float32", "uint8", "int8", ... numpy's names; "?" for unknown. */
const char *dtype_name(enum dtype d);
bool dtype_is_float(enum dtype d); /* F16, BF16, F32, F64 */
/* Integer range of a quantized type (U8 S8 U16 S16 U4 S4 S32); false for other types. */
bool dtype_range(enum dtype d, int64_t *lo, int64_t *hi);

/* ---- Tensors -------------------------------------------------------------------------------- */
enum { MAX_RANK = 8 };

struct span {
    const uint8_t *p;
    size_t n; /* bytes */
};

/* Contiguous, in the model's own row-major order, or with channels_last in the order n, spatial...,
 * c of dims [n,c,spatial...]. Only activations inside a run have the second: constants, inputs and
 * outputs of plan_run() are row-major, and so is what a tap gets unless it asks otherwise.
 * Reference counted, atomically: constants are shared between threads. `data` is 64-byte aligned
 * when the engine allocated it, and may be unaligned when it points into a mapped file: read such
 * constants through tensor_aligned(). */
struct tensor {
    enum dtype dtype;
    int rank;
    bool channels_last; /* rank >= 3 only */
    int64_t dims[MAX_RANK];
    size_t n;    /* elements: product of dims; a scalar has rank 0 and n 1 */
    size_t size; /* bytes */
    void *data;
    /* private: */
    atomic_int refs;
    struct tensor *base;   /* owner of data when this is a view */
    struct budget *budget; /* where `taken` bytes go back to */
    size_t taken;
    bool borrowed;                   /* data belongs to somebody else (a mapped file) */
    atomic_uint_least64_t digest[2]; /* of a constant, once asked for; [0] 0: not yet */
};

/* New tensor of numbers, contents undefined. E_UNSUPPORTED for a type without size, E_LIMIT when
 * over the budget (may be NULL) or over 2^40 bytes, E_SHAPE for a negative dimension or rank >
 * MAX_RANK. */
int tensor_new(enum dtype d, int rank, const int64_t *dims, struct budget *b, struct tensor **out,
               struct err *err);
/* The same with all elements zero, or empty strings. */
int tensor_zeros(enum dtype d, int rank, const int64_t *dims, struct budget *b, struct tensor **out,
                 struct err *err);
/* A DT_STRING tensor with room for `bytes` bytes in all, every string empty: 8 bytes per element
 * that say where each ends, then the bytes. tensor_new() refuses strings, so that only what knows
 * them makes them. */
int tensor_new_strings(int rank, const int64_t *dims, size_t bytes, struct budget *b,
                       struct tensor **out, struct err *err);
/* Sets string i. Call for every i in order; together they have at most `bytes` bytes. */
void tensor_put_string(struct tensor *t, size_t i, struct span s);
/* String i, borrowed: any bytes, not terminated, not safe to print. */
struct span tensor_string(const struct tensor *t, size_t i);
/* The same data under another shape of equal element count (E_SHAPE otherwise, and for a tensor
 * with channels last, whose order has no meaning under another shape). */
int tensor_view(struct tensor *t, int rank, const int64_t *dims, struct tensor **out,
                struct err *err);
/* The elements of t as they lie in memory, under another shape of equal element count (E_SHAPE
 * otherwise) and in an order of the caller's choice: t may be a transpose of what results. */
int tensor_view_as(struct tensor *t, int rank, const int64_t *dims, bool channels_last,
                   struct tensor **out, struct err *err);
/* Samples [from, from + n) of dimension 0, in the data of t; E_SHAPE where t has not as many. */
int tensor_samples(struct tensor *t, size_t from, size_t n, struct tensor **out, struct err *err);
/* The same values with channels last (true) or row-major (false); one reference, t itself where it
 * is so already. Tensors of rank below 3 have one order only. */
int tensor_as(const struct tensor *t, bool channels_last, struct budget *b, struct tensor **out,
              struct err *err);
/* Data that the caller keeps alive for as long as the tensor (a mapped file). */
int tensor_borrow(enum dtype d, int rank, const int64_t *dims, const void *data,
                  struct tensor **out, struct err *err);
struct tensor *tensor_ref(const struct tensor *t); /* one more reference; returns t */
void tensor_free(struct tensor *t);                /* one less */
/* t itself if its data is aligned for its type, else an aligned copy; either way one reference. */
struct tensor *tensor_aligned(const struct tensor *t);
/* Element i, as it lies in memory, as a double or an integer, for any dtype; slow, for parameters
 * and display. */
double tensor_f64(const struct tensor *t, size_t i);
int64_t tensor_s64(const struct tensor *t, size_t i);
/* Converts all elements to f32 (any numeric dtype); one reference. */
int tensor_to_f32(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err);
bool tensor_equal(const struct tensor *a,
                  const struct tensor *b); /* dtype, shape, order and bits */
/* Digest of dtype, shape and bits of a constant, which must not change afterwards: kept with it. */
struct digest tensor_digest(const struct tensor *t);
/* "1x3x224x224"; scalars "scalar". Returns dst. */
char *shape_text(char *dst, size_t size, int rank, const int64_t *dims);
/* IEEE half and bfloat16 conversions, round to nearest even, NaN kept. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

/* ---- Quantization (quant.c) ----------------------------------------------------------------- */
/* Parameters of one quantized tensor: real = (q - z) * s. Per tensor: n == 1 and axis -1; per
 * channel: n values along `axis`. */
struct quant {
    enum dtype dtype; /* of the codes */
    int axis;
    size_t n;
    const float *scale;
    const int32_t *zero; /* same count as scale */
};
/* Reads scale and zero point tensors (zero may be NULL: zero point 0, type `dflt`). Values live in
 * the arena. E_SHAPE if counts differ, E_UNSUPPORTED for a scale that is not a float type. */
int quant_read(const struct tensor *scale, const struct tensor *zero, int axis, enum dtype dflt,
               struct arena *a, struct quant *out, struct err *err);
/* y = (q - z) * s in float32, as DequantizeLinear. q: u8 s8 u16 s16 s32 s4 u4, any shape. */
int quant_dequantize(const struct tensor *q, const struct quant *p, struct budget *b,
                     struct tensor **out, struct err *err);
/* q = saturate(rne(x / s) + z): true division, round half to even, saturation, NaN -> as x86 ORT.
 * x: f32 (or f16), any shape. */
int quant_quantize(const struct tensor *x, const struct quant *p, struct budget *b,
                   struct tensor **out, struct err *err);

/* ---- Graphs --------------------------------------------------------------------------------- */
enum attr_kind {
    ATTR_INT,
    ATTR_FLOAT,
    ATTR_STRING,
    ATTR_TENSOR,
    ATTR_INTS,
    ATTR_FLOATS,
    ATTR_STRINGS,
    ATTR_OTHER
};
struct attr {
    const char *name;
    enum attr_kind kind;
    int64_t i;
    float f;
    const char *s; /* terminated copy; s_size counts bytes without the terminator */
    size_t s_size;
    const struct tensor *t; /* the graph holds one reference */
    size_t n;               /* elements of ints, floats or strings */
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
};

/* One operator. Inputs and outputs are indices into graph.values; -1 is an omitted input/output. */
struct node {
    const char *name; /* never empty: an unnamed node goes by its first output */
    const char *op;
    const char *domain; /* "" for ai.onnx */
    int n_in, n_out, n_attrs;
    int *in, *out;
    struct attr *attrs;
    struct span raw; /* NodeProto as it stood in the file; p NULL for nodes made here */
};

/* One tensor's name and what is known of it. */
struct value {
    const char *name;
    struct tensor *constant;   /* initializer, or NULL; the graph holds one reference */
    struct span raw;           /* TensorProto as it stood in the file, or NULL */
    int producer;              /* node index, -1 for inputs and constants */
    const struct quant *quant; /* parameters of codes that the file keeps with the tensor (TFLite);
                                  NULL elsewhere: there they are tensors of their own */
    bool is_input, is_output;
    enum dtype dtype;       /* declared, DT_NONE if unknown */
    int rank;               /* declared, -1 if unknown */
    int64_t dims[MAX_RANK]; /* declared; -1 = unknown or symbolic */
};

/* Whose operators and numerics a graph is made of. */
enum dialect {
    DIALECT_ONNX,   /* ai.onnx and com.microsoft */
    DIALECT_TFLITE, /* domain "tflite": builtin operators of TensorFlow Lite */
};

/* A model. Nodes are in topological order. Built by a reader (formats/), pin, fuse or calibrate. */
struct graph {
    struct arena arena;
    const char *path; /* where it came from; for messages */
    const char *name;
    enum dialect dialect;
    int opset;    /* of ai.onnx */
    int opset_ms; /* of com.microsoft; 0 = not imported */
    size_t n_nodes, cap_nodes;
    struct node *nodes;
    size_t n_values, cap_values;
    struct value *values;
    size_t n_inputs, n_outputs; /* without initializers */
    int *inputs, *outputs;
    struct strmap by_name;       /* value name -> index */
    struct graph_source *source; /* the mapped file, shared by clones; see formats.h */
};

/* Whoever keeps the bytes that spans and constants point into; reference counted. */
struct graph_source {
    atomic_int refs;
    void (*release)(struct graph_source *s); /* called when the last reference goes */
    struct span model;                       /* the whole ModelProto */
};

struct graph *graph_new(void);
void graph_free(struct graph *g);
/* A copy that can be edited; constants and source are shared by reference. */
struct graph *graph_clone(const struct graph *g);
int graph_find(const struct graph *g, const char *name);      /* value index or -1 */
int graph_find_node(const struct graph *g, const char *name); /* node index or -1 */
int graph_value(struct graph *g, const char *name);           /* finds or adds */
/* A name not yet used in g, made from `stem`; lives in g's arena. */
const char *graph_fresh(struct graph *g, const char *stem);
/* Appends a node; in/out are copied. Call graph_finish() when done editing. */
struct node *graph_add(struct graph *g, const char *op, const char *domain, const char *name,
                       int n_in, const int *in, int n_out, const int *out);
/* Appends a copy of a node, of this or another graph, under a new name and with new edges (as many
 * as src has). The pointer is valid until the next append. */
struct node *graph_add_copy(struct graph *g, const struct node *src, const char *name,
                            const int *in, const int *out);
void graph_attr_int(struct graph *g, struct node *n, const char *name, int64_t v);
void graph_attr_ints(struct graph *g, struct node *n, const char *name, size_t count,
                     const int64_t *v);
void graph_attr_float(struct graph *g, struct node *n, const char *name, float v);
void graph_attr_string(struct graph *g, struct node *n, const char *name, const char *v);
/* Drops nodes marked by op == NULL, sorts topologically (stable: file order where possible), sets
 * producers. E_FORMAT for cycles, a value made twice, or an input nobody makes; names the nodes. */
int graph_finish(struct graph *g, struct err *err);
/* Consumers of each value: list of node indices. start has n_values + 1 entries. */
struct uses {
    int *start, *node;
};
struct uses graph_uses(const struct graph *g);
void uses_fini(struct uses *u);

/* Attribute getters: the default when absent or of another kind. */
const struct attr *attr_find(const struct node *n, const char *name);
int64_t attr_int(const struct node *n, const char *name, int64_t dflt);
float attr_float(const struct node *n, const char *name, float dflt);
const char *attr_string(const struct node *n, const char *name, const char *dflt);
/* Borrowed list; NULL and *count 0 when absent. */
const int64_t *attr_ints(const struct node *n, const char *name, size_t *count);
const float *attr_floats(const struct node *n, const char *name, size_t *count);

/* ---- Numerics: whose arithmetic is reproduced ----------------------------------------------- */
enum numerics {
    NUM_ORT,            /* ONNX Runtime x86, default optimisation: integers where it fuses */
    NUM_ORT_UNFUSED,    /* ONNX Runtime, optimisation off: float operators between Q and DQ */
    NUM_ONNX,           /* the operator specification taken literally, integers rounded exactly */
    NUM_TENSORRT,       /* symmetric INT8 as TensorRT documents it, see analysis/implicit.c */
    NUM_U8S8_SATURATE,  /* NUM_ORT on x86 without VNNI: pairs of products saturate at 16 bits */
    NUM_TFLITE_XNNPACK, /* TensorFlow Lite as it is deployed: XNNPACK where it takes the operator */
    NUM_TFLITE_BUILTIN, /* TensorFlow Lite, optimised kernels, no delegate */
    NUM_TFLITE_REF,     /* TensorFlow Lite, reference kernels */
};
/* The table in fuse.c, row by row: NULL behind the last one. */
const char *numerics_name(enum numerics n);
/* "onnxruntime x86, default optimisation": for title bars and reports. */
const char *numerics_help(enum numerics n);
/* Whether its integers were compared with those of the runtime itself. */
bool numerics_verified(enum numerics n);
int numerics_find(const char *name); /* enum value, or -1 */
/* Whether it says how graphs of that dialect compute. */
bool numerics_fits(enum numerics n, enum dialect d);
/* n when it fits; else what models of that dialect are deployed with. */
enum numerics numerics_for(enum numerics n, enum dialect d);

/* fuse.c: the graph that the chosen runtime really executes. Value names are kept, so a tensor of
 * the source graph that survives is found under its own name. */
int graph_fuse(const struct graph *g, enum numerics n, struct graph **out, struct err *err);
/* A Q/DQ model as one of integer operators (QOperator): what onnxruntime groups becomes
 * QLinearConv, QGemm and so on, with the types of the model; what it does not stays float between
 * quantizers. */
int graph_to_integers(const struct graph *g, struct graph **out, struct err *err);
enum { FUSED_NODES = 64 };
/* Nodes of the source graph that a node of the executed one stands for: those between the tensors
 * it makes and the nearest ones that are still there. Returns how many, at most FUSED_NODES; none
 * for what the runtime itself put in. */
size_t fused_nodes(const struct graph *source, const struct graph *executed, int node,
                   int list[FUSED_NODES]);
/* Why a node of the executed graph between quantizers is computed in float; NULL when it is not, or
 * when the runtime leaves every such node in float. */
const char *fused_reason(const struct graph *executed, int node);

/* ---- Plans: a graph made ready to run ------------------------------------------------------- */
/* What plans of nearly equal graphs share: packed weights and folded constants, each made once and
 * kept while a plan uses it. For any number of threads; it may go before the plans do. */
struct plan_store;
struct plan_store *plan_store_new(void);
void plan_store_free(struct plan_store *s);

enum kernels { KERNELS_FAST, KERNELS_PLAIN };
struct plan_options {
    enum numerics numerics; /* of another dialect than the graph's: numerics_for() chooses */
    enum kernels kernels;
    struct budget *budget;    /* activations of all runs of this plan; may be NULL */
    bool reference;           /* the FP32 side: functions as they are defined, not as the runtime
                                 approximates them */
    struct plan_store *store; /* shared with other plans; NULL: nothing is */
    bool partial; /* leave out nodes that cannot run, and what is behind them, see plan_gaps() */
};
/* A plan keeps the fused graph, folded constants and packed weights. Immutable after plan_new, so
 * many threads may run it at once. */
struct plan;
/* E_UNSUPPORTED names the first operator that has no kernel, or node that its kernel refuses, and
 * how many there are; with o->partial only if nothing that depends on an input could run. */
int plan_new(const struct graph *g, const struct plan_options *o, struct plan **out,
             struct err *err);
void plan_free(struct plan *p);
const struct graph *plan_graph(const struct plan *p); /* what is executed */
/* A constant of the executed graph, also one that was folded; NULL for other values. */
const struct tensor *plan_constant(const struct plan *p, int value);

/* Identity of what a plan computes: values of equal identity have the same bits on the same sample,
 * in whichever plans they stand, as long as the graphs of those live. */
struct digest plan_identity(const struct plan *p, int value);

/* What a partial plan cannot compute: an operator that has no kernel, or nodes that its kernel
 * refuses. Texts belong to the plan. */
struct plan_gap {
    const char *op, *domain;
    int opset;
    const char *node;   /* the first */
    const char *reason; /* what the kernel said; NULL: there is none */
    size_t nodes;       /* how many */
    size_t blocked;     /* executed nodes that cannot run for it, those included */
    bool output;        /* an output of the graph is among what they make */
};
size_t plan_gaps(const struct plan *p, const struct plan_gap **out);
/* Index of the gap for which a value is not computed, or -1. */
int plan_blocked(const struct plan *p, int value);

/* Makes a gap of a node that was refused in a first run, and of what is behind it. Only before the
 * plan is shared. E_UNSUPPORTED when nothing that depends on an input is left to run. */
int plan_leave_out(struct plan *p, int node, const char *why, struct err *err);

/* Threads that share the work inside one layer: for the latency of one image. One run at a time may
 * use a pool. NULL for fewer than two threads. */
struct par;
struct par *par_new(int threads);
void par_free(struct par *p);

/* Called as soon as a value exists, in execution order; t lives until the call returns unless the
 * callee takes a reference. Returning non-zero stops the run with that code. */
typedef int plan_tap(void *ctx, int value, const struct tensor *t, struct err *err);
/* A partial plan goes on without a node that its kernel refuses (E_UNSUPPORTED) while it runs, and
 * without what is behind it. `why` names the node and lives until the call returns. */
typedef void plan_refused(void *ctx, int node, const char *why);
/* Called after the tap with a value that it got: *instead (one reference, of the same type and
 * dimensions) takes its place for all nodes that read it; NULL: it stays. Outputs too. */
typedef int plan_swap(void *ctx, int value, const struct tensor *t, struct tensor **instead,
                      struct err *err);
struct run_options {
    plan_tap *tap;         /* may be NULL */
    plan_refused *refused; /* may be NULL */
    plan_swap *swap;       /* may be NULL */
    void *tap_ctx;         /* of all three */
    bool any_layout;       /* the tap takes tensors with channels last as they are */
    const bool *wanted;    /* per value of plan_graph(): what the tap is to get; NULL: everything.
                              What nobody wants need not exist: an activation may be applied at once */
    const struct cancel *cancel; /* may be NULL; polled between nodes -> E_STOP */
    struct par *par;             /* threads inside each layer; NULL: the calling one */
};
/* Runs one sample. inputs: n_inputs tensors in graph order. outputs: n_outputs references for the
 * caller to free (array may be NULL: not wanted); NULL where a partial plan has a gap or met one. A
 * dtype or shape that does not fit -> E_SHAPE. */
int plan_run(const struct plan *p, const struct tensor *const *inputs, struct tensor **outputs,
             const struct run_options *o, struct err *err);
/* The same node by node, so that two plans can run side by side. inputs and o are used until
 * run_end(), which is to be called after every run_begin() that succeeded. */
struct run;
int run_begin(const struct plan *p, const struct tensor *const *inputs, const struct run_options *o,
              struct run **out, struct err *err);
/* Executes the next node; *more false: there was none. */
int run_step(struct run *r, bool *more, struct err *err);
/* The node that the next step executes, or -1. */
int run_next(struct run *r);
/* Frees r; outputs as plan_run() gives them, NULL: not wanted. */
int run_end(struct run *r, struct tensor **outputs, struct err *err);

/* ---- Replay: running only what differs (replay.c) ------------------------------------------- */
/* Tensors of one sample, known by what they are: the identity that the structure of a plan gives to
 * each of its values. Values of two plans with equal identity have the same bits, so what one has
 * computed the other takes. One thread at a time may add. */
struct activations;
struct activations *activations_new(void);
void activations_free(struct activations *a);
size_t activations_size(const struct activations *a); /* bytes held */

/* How a plan follows from another one; made once, used for all samples. */
struct replay;
/* base NULL: p stands alone. Both plans must live as long as it, and be made with the same budget,
 * numerics and kernels. */
struct replay *replay_new(const struct plan *p, const struct plan *base);
void replay_free(struct replay *r);
/* Marks the values that a run of p makes: all that it may leave behind. keep: per value. */
void replay_makes(const struct replay *r, bool *keep);
/* Marks the values of the base that p takes from it, if all are there; per value of the base. */
void replay_takes(const struct replay *r, bool *keep);
struct replay_options {
    const bool *keep; /* per value: added to the activations; NULL: nothing is */
    const struct cancel *cancel;
    size_t *executed; /* += nodes executed; may be NULL */
    size_t *together; /* += those whose result came from a call for several replays; may be NULL */
};
/* Runs what the outputs need and `known` does not have. Where a result has the bits of the base's
 * value of the same name, it counts as that value, so that what the base made of it is taken as
 * well. Same result, bit by bit, as plan_run(). */
int replay_run(const struct replay *r, const struct tensor *const *inputs,
               struct activations *known, const struct replay_options *o, struct tensor **outputs,
               struct err *err);
/* Several at once, of plans that follow from one base, each with the same result as by itself:
 * layers that they have in common are computed together where that saves time. One thread; o->keep
 * NULL.
 */
struct replay_task {
    const struct replay *replay;
    struct tensor **outputs;
    int rc;         /* what replay_run() returns */
    struct err err; /* and says */
};
void replay_run_many(size_t n, struct replay_task *tasks, const struct tensor *const *inputs,
                     struct activations *known, const struct replay_options *o);
/* Drops all activations but those kept of p. */
void activations_prune(struct activations *a, const struct plan *p, const bool *keep);

/* ---- Sums of integer layers (accumulate.c) --------------------------------------------------- */
/* Of one layer or channel. Sums are those of 64 bits, bias included. */
struct acc_stats {
    uint64_t n; /* outputs */
    int64_t min, max;
    uint64_t wraps;        /* sums beyond int32, which the runtime wraps */
    uint64_t pairs;        /* neighbouring products of u8 and s8 whose sum does not fit 16 bits */
    uint64_t pair_outputs; /* outputs with such a pair */
    uint64_t clipped;      /* real results beyond the range of the codes */
    uint64_t rounded;      /* the other requantized outputs, and their distance to the real */
    double error_sum, error_max; /* result sum * sx * sw / sy + zy, in steps of the codes */
};
struct accumulators {
    bool has_pairs;   /* multiplies u8 by s8 in pairs on x86 without VNNI */
    bool requantizes; /* results are codes */
    size_t k;         /* products per sum */
    struct acc_stats all;
    size_t n_channels;
    struct acc_stats *channel;
};
/* Computes an integer convolution or matrix product of the executed graph again, from inputs taken
 * in a run (NULL where they are constants). E_UNSUPPORTED for any other operator. */
int plan_accumulators(const struct plan *p, int node, const struct tensor *const *in,
                      struct accumulators *out, struct err *err);
void accumulators_fini(struct accumulators *a);
/* Two's complement bits that hold min and max. */
int acc_bits(const struct acc_stats *s);

/* ---- Requantization by multiplier and shift (rescale.c) ------------------------------------- */
/* As the operator RESCALE of TOSA 1.0 computes it. */
struct rescale {
    bool scale16;      /* multipliers of 15 bits, for sums of 48 bits; else of 31, for 32 bits */
    bool double_round; /* of scale32: results of shifts above 31 are rounded twice */
};
/* multiplier * 2^-shift for a positive factor: rounded half away from 0, shift 2 to 62. E_SHAPE for
 * a factor that has none. */
int rescale_params(const struct rescale *r, double factor, int32_t *multiplier, int *shift,
                   struct err *err);
/* APPLY_SCALE_32 or APPLY_SCALE_16 of the specification; *beyond: v is outside of what it allows,
 * and the result what 64 bits give, cut to 32. */
int32_t rescale_apply(const struct rescale *r, int64_t v, int32_t multiplier, int shift,
                      bool *beyond);
struct rescaled {
    uint64_t n, differ; /* outputs, and those with another code than the runtime's */
    uint64_t beyond;    /* sums that the specification does not allow */
    int largest;        /* difference of two codes */
    int shift_min, shift_max;
    double signal, noise[2]; /* where the code is not cut off: sum r^2 of the real results sum * sx
                              * sw, sum (code value - r)^2 by the runtime and by RESCALE */
};
void rescaled_merge(struct rescaled *into, const struct rescaled *from);
/* Adds the outputs of an integer convolution or product, from inputs as for plan_accumulators().
 * E_UNSUPPORTED for operators that do not requantize. */
int plan_rescale(const struct plan *p, int node, const struct tensor *const *in,
                 const struct rescale *r, struct rescaled *out, struct err *err);

/* ---- Operators ------------------------------------------------------------------------------ */
/* Calls fn for each row of the op table in order: for listings and tests. */
struct op;
void op_each(void (*fn)(void *ctx, const char *domain, const char *name, int since,
                        const char *spec, bool fast),
             void *ctx);
/* One line on the CPU features the kernels use. Static storage. */
const char *engine_cpu(void);
/* The code of this process, libraries too, and the CPU that it runs on: results of equal digest are
 * equal to the bit. Call it first before anything is loaded later on. */
struct digest engine_code(void);

#endif
