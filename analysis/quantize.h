/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize.h: a part of analysis.h, which includes it: quantized models made of FP32 ones,
 * from a calibration cache or from what activations were seen to hold.
 */
#ifndef ANALYSIS_QUANTIZE_H
#define ANALYSIS_QUANTIZE_H

#include "analysis/analysis.h"

/* ---- Implicit quantization (implicit.c) ----------------------------------------------------- */
/* What a calibration cache says: real = code * scale, symmetric, per tensor. */
struct calibrated {
    const char *tensor;
    float scale; /* 0: nothing was seen there */
};
struct calibration {
    struct arena arena;
    size_t n, cap;
    struct calibrated *scales;
    struct strmap by_name; /* tensor -> index */
};
void calibration_fini(struct calibration *c);
struct implicit {
    size_t layers;  /* convolutions and matrix products that run in INT8 */
    size_t left;    /* those that stay float: input or result has no scale */
    size_t tensors; /* activations that got quantizers */
};
/* The INT8 side that TensorRT's implicit quantization makes of an FP32 model, as a QDQ model: int8
 * codes with zero point 0, weights by max|w| / 127 per output channel, halves to even. It borrows
 * the model's weights as clones do. E_UNSUPPORTED for a model that is quantized already or not
 * ONNX, E_SHAPE when no layer has its scales in c. */
int graph_quantize(const struct graph *fp32, const struct calibration *c, struct graph **out,
                   struct implicit *report, struct err *err);

/* ---- Ranges of activations (observe.c, tail.c, calibrate.c) --------------------------------- */
/* The greatest magnitudes of many values (tail.c), exact whatever the order they come in. */
enum { TAIL_KEPT = 2048 };
struct tail {
    float least; /* magnitude of all values; INFINITY when there are none */
    float cut;   /* what is not above it is none of the greatest */
    size_t n;
    float x[2 * TAIL_KEPT];
};
struct tail *tail_new(void);
/* An empty tail that is to be merged into `into` is spared what cannot count there. */
void tail_spare(struct tail *t, const struct tail *into);
/* Values that are not finite are left out. */
void tail_add(struct tail *t, size_t n, const float *x);
void tail_merge(struct tail *into, const struct tail *from);
/* The rank-th greatest magnitude, from 1; NAN when it is not known. */
double tail_rank(const struct tail *t, uint64_t rank);

/* What is kept of one float tensor over calibration images: memory does not grow with their number.
 * lo > hi: nothing was seen. */
struct observation {
    uint64_t images, n, nonfinite,
        zeros;             /* n: finite values; zeros and xx: with a histogram only */
    double lo, hi;         /* of all finite values */
    double lo_sum, hi_sum; /* of the images' own least and greatest values */
    double xx;             /* sum of squares */
    struct hist *hist;     /* NULL: none is kept */
    struct tail *tail;     /* the same */
    size_t n_channels;     /* 0: no sums by channel were asked for */
    double *channel_sum;   /* by channel */
    uint64_t per_channel;  /* values in each sum */
};
/* What is kept beside extremes and sums, which is what a method needs. */
enum { KEEP_HIST = 1, KEEP_TAIL = 2 };
void observation_init(struct observation *o, unsigned keep);
void observation_fini(struct observation *o);
/* Adds a tensor of one image to what is a fresh struct for it. */
void observation_add(struct observation *o, size_t n, const float *x);
/* Adds its sums by index of an axis (< 0: of dims from the end). E_SHAPE when the tensor has
 * another number of channels than those before. */
int observation_add_channels(struct observation *o, const struct tensor *t, int axis,
                             struct err *err);
/* Images merged in the same order give the same bits, whoever observed them. */
void observation_merge(struct observation *into, const struct observation *image);

/* How codes are to lie over a range of reals. */
struct code_choice {
    enum dtype dtype;  /* U8 S8 U16 S16 U4 S4 */
    bool symmetric;    /* zero point in the middle: 0 for signed types, which leave out the lowest
                          code; S4 keeps it, as onnxruntime's tool does */
    bool reduced;      /* 7 bits of 8, for x86 without VNNI */
    bool power_of_two; /* the scale is rounded up to a power of two */
};
/* Scale and zero point for reals from lo to hi, which are extended to hold 0:
 * scale = (hi - lo) / (codes - 1) in double, then rounded to float; zero = rne(lowest code - lo /
 * scale). Where nothing but 0 is to be held, 1 and 0. */
void codes_params(const struct code_choice *c, double lo, double hi, float *scale, int32_t *zero);
/* Sum of (x - code value)^2 that rounding and clipping give, from the histogram: values are taken
 * to lie evenly in a bin, exact zeros to be exact. NAN without a histogram. */
double observation_noise(const struct observation *o, enum dtype codes, float scale, int32_t zero);

/* How a range follows from what was observed: THE table of calibration methods. */
struct range_goal {
    struct code_choice codes;
    double percentile; /* 0..100, of the method of that name */
};
struct range_method {
    const char *name;
    unsigned keep; /* KEEP_HIST, KEEP_TAIL; without a tail the histogram has to do */
    void (*choose)(const struct observation *o, const struct range_goal *g, double range[2]);
    const char *help, *formula;
};
enum { N_RANGE_METHODS = 6 };
extern const struct range_method range_methods[N_RANGE_METHODS + 1]; /* ends with name NULL */
const struct range_method *range_method_find(const char *name);

/* ---- Quantization of an FP32 model (prepare.c, quantize.c) ---------------------------------- */
/* What is done otherwise for one node. */
struct node_choice {
    const char *node;
    bool keep;                       /* it stays FP32 */
    enum dtype activations, weights; /* DT_NONE: as everywhere */
};
struct quantize_options {
    struct range_goal goal; /* of activations; goal.codes.dtype is their type */
    const struct range_method *method;
    struct code_choice weights;
    bool per_channel;
    bool correct_bias; /* by what rounding the weights shifts the mean of each channel */
    size_t n_choices;
    const struct node_choice *choices;
    const char *ops; /* "Conv|Gemm": only these operators; NULL: all that have a rule */
};
struct quantize_report {
    size_t layers;    /* weighted operators that compute on codes */
    size_t left;      /* weighted operators left in float */
    size_t tensors;   /* activations that got quantizers */
    size_t weights;   /* bytes of quantized weights and biases */
    size_t corrected; /* biases that make up for the rounding of weights */
};
/* The FP32 model as it is calibrated and quantized: operator set 13 at least, constants folded,
 * BatchNormalization and constant sums taken into the weights and biases before them. Tensors that
 * remain have their names. Borrows the model's weights as clones do. */
int quantize_prepare(const struct graph *fp32, struct graph **out, struct err *err);
/* Activations of a prepared graph that are to be observed: per value. */
void quantize_wanted(const struct graph *g, bool *wanted);
/* Axis along which sums by channel are wanted of activations, for the correction of biases: per
 * value; 0: none. */
void quantize_channels(const struct graph *g, int *axis);
/* The prepared graph with quantizers (QDQ): see quantize.c for where they go. seen: per value of g.
 * What was never seen stays float. E_SHAPE when no weighted layer can be quantized. */
int quantize_graph(const struct graph *g, const struct observation *seen,
                   const struct quantize_options *o, struct graph **out,
                   struct quantize_report *report, struct err *err);

/* SQNR in dB of the weights of the first weighted node among some names in a prepared graph, as
 * codes; NAN without one. */
double weights_sqnr(const struct graph *prepared, size_t n, const char *const *names,
                    bool per_channel, const struct code_choice *c);
/* requant.c: gives codes v of an INT8 graph, per tensor, another type, scale and zero point: in
 * every quantizer and integer operator that makes or reads them, with the tensors that only move
 * them, and the int32 biases of what is computed from them. g is edited in place; it is unusable
 * after a failure. cut: a bias that does not fit is cut, as it will be made anew. Values keep their
 * numbers. E_UNSUPPORTED where the parameters are not constants, the model is not ONNX, a bias
 * would not fit, or an integer operator does not take that type. */
int graph_requantize(struct graph *g, int v, enum dtype type, float scale, int32_t zero, bool cut,
                     struct err *err);

#endif
