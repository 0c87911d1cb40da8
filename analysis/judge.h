/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * judge.h: the second part of analysis.h, which includes it: which layer is to blame and why. Local
 * errors, errors of weights, verdicts and the range audit.
 */
#ifndef ANALYSIS_JUDGE_H
#define ANALYSIS_JUDGE_H

#include "analysis/analysis.h"

/* ---- Local errors (local.c) ------------------------------------------------------------------ */

/* How layers hang together in the graph that is executed. A layer alone is what stands between its
 * value and the nearest values of other layers; those are what it reads. */
struct local_map {
    size_t n_layers, n_inputs;
    int *at;              /* per layer: its value in the executed graph; -1: it is not there */
    int *layer_at;        /* the other way round, per value; -1 */
    const char **why;     /* per layer: why it has no local figure; NULL: it has one */
    int *start, *source;  /* layers that layer k reads: source[start[k] .. start[k + 1]); input i of
                             the graph is n_layers + i */
    int *weighted;        /* per layer: the executed node that multiplies by constants; -1: none or
                             several */
    bool *normalizes;     /* per layer: batch normalization is still a node of its own */
    bool *dynamic;        /* per layer: it quantizes its input by the range of each image */
    double (*ends)[2];    /* per layer: where its activation function ends its values; infinite */
    int *added;           /* per layer: constant that an Add of its own adds; -1 */
    int (*scaled)[4];     /* per layer: constants that products are multiplied by; -1 */
    struct quant *inner;  /* per layer: a quantizer of its own for a float input, n 0: none */
    int *inner_of;        /* the source in front of that, -1 */
    struct quant *inputs; /* per graph input: how it is quantized, n 0 when it is not */
    struct arena arena;
};
/* at: per layer of m the value of `executed` that shows it; fp32: the FP32 model. */
struct local_map *local_map_new(const struct graph *fp32, const struct graph *executed,
                                const struct match *m, const int *at);
void local_map_free(struct local_map *l);

/* Sums of squares of one tensor x that is quantized: e = x - Q(x). */
struct quant_noise {
    uint64_t n;
    double clip;  /* sum e^2 of the x beyond the ends of the codes */
    double round; /* of all others */
};

/* A layer alone against FP32: x is the FP32 activation, y what the integer layer makes of FP32
 * activations that went through its own input quantizers. */
struct local_stats {
    struct layer_stats pair;  /* x against y; histograms stay empty */
    struct quant_noise out;   /* of x in the layer's own codes; n 0 when it is float */
    struct quant_noise inner; /* of the input that the layer quantizes itself */
    double past;   /* the part of `rest` where y is beyond an end of FP32's activation function */
    double rest;   /* sum (Q(x) - y)^2: what inputs, weights, bias and arithmetic add */
    uint64_t sums; /* accumulators looked at on the way (local_sums()); */
    uint64_t wraps, pairs; /* those that wrapped at 32 bits, that had pairs beyond 16 bits */
};
void local_stats_init(struct local_stats *s);
void local_stats_fini(struct local_stats *s);
/* Measures one layer: x as the FP32 model made it, y as the lone layer made it: codes with l->q, or
 * floats (grid: those that such codes stand for); laid out as the INT8 model has it. *instead: x in
 * the form of y, one reference, for the layers that read it; NULL when x cannot take that form.
 * ends: see local_map. */
int local_measure(const struct layer *l, const double ends[2], const struct tensor *x,
                  const struct tensor *y, bool grid, struct local_stats *s, struct tensor **instead,
                  struct err *err);
/* The layer quantizes a source of its own: x as FP32 made it. */
int local_inner(const struct tensor *x, const struct quant *q, struct local_stats *s,
                struct err *err);
/* Adds the noise of quantizing x by q. y (may be NULL): codes of the same type, order and shape;
 * rest (may be NULL) += sum (Q(x) - y)^2. */
int quant_noise_add(const struct tensor *x, const struct tensor *codes, const struct quant *q,
                    const struct tensor *y, struct quant_noise *s, double *rest, struct err *err);
double local_noise(const struct local_stats *s); /* sum (x - y)^2 */

/* What a network's inputs are, for the layers that read them. */
struct input_stats {
    struct quant_noise noise;
    double xx, lo, hi; /* sum x^2, range */
};
void input_stats_add(struct input_stats *s, const struct tensor *x, const struct quant *q);

/* What a run keeps of it. */
struct local_study {
    size_t n_layers, n_inputs, images;
    struct local_stats *layers;
    struct input_stats *inputs;
    char **errors; /* per layer: why it could not be measured; NULL */
};
struct local_study *local_study_new(size_t n_layers, size_t n_inputs);
void local_study_free(struct local_study *s);
void local_study_merge(struct local_study *into, struct local_study *from);
/* As bytes and back (pack.c), as pack_study(). */
void pack_local(struct pack *b, const struct local_study *s);
struct local_study *unpack_local(struct unpack *u, size_t n_layers);

/* ---- Weights (weights.c) --------------------------------------------------------------------- */

/* One output channel: v are the FP32 weights, w those that the INT8 layer multiplies by. */
struct weight_channel {
    double signal, noise; /* sum v^2, sum (v - w)^2 */
    double top;           /* max |v| */
    double step;          /* scale of the codes; NAN when unknown */
    double gain;          /* least squares: w = gain * v */
    double shift;         /* mean of (w - v) / step: a wrong zero point moves all alike */
    double left;          /* sum of squares that are left of v - w once the shift is taken off */
    int code_top;         /* largest distance of a code from the zero point */
    bool dead;            /* all w are 0, not all v */
    double bias, bias_int8, bias_step; /* 0 without; step NAN without codes */
};
/* Of one layer that multiplies by constants. */
struct weight_error {
    const char *why;   /* static: there are weights, but no figure; NULL */
    size_t n_channels; /* 0: no weights */
    size_t k;          /* weights per channel */
    size_t inputs;     /* input channels per output channel */
    size_t groups;
    bool per_tensor; /* one scale for all */
    int bits;        /* of the codes; 0: float */
    double signal, noise, bias_signal, bias_noise;
    struct weight_channel *channel;
    double reach;   /* largest sum that the codes allow: max over channels */
    bool has_pairs; /* codes are s8: pairs of products may saturate without VNNI */
};
/* Runs worker(ctx) on `threads` threads, the calling one among them, and returns when all have. */
typedef void weights_spread(int threads, void *(*worker)(void *ctx), void *ctx);
/* Of all layers, without a run; weights_free() it. Batch normalization that the INT8 model has
 * folded into its weights is folded into those of FP32 as well. Figures do not depend on the number
 * of threads. */
struct weight_error *weights_compare(const struct graph *fp32, const struct plan *plan_fp32,
                                     const struct plan *plan_int8, const struct match *m,
                                     const struct local_map *map, int threads,
                                     weights_spread *spread);
void weights_free(struct weight_error *w, size_t n_layers);

/* ---- Verdicts (verdict.c) -------------------------------------------------------------------- */
enum verdict_id {
    VERDICT_NONE, /* nothing was measured */
    VERDICT_OK,
    VERDICT_NOT_QUANTIZED,
    VERDICT_INHERITED,
    VERDICT_RESOLUTION,
    VERDICT_SPREAD,
    VERDICT_RANGE,
    VERDICT_WEIGHTS,
    VERDICT_BIAS,
    VERDICT_ACCUMULATOR,
    VERDICT_ZERO_POINT,
    VERDICT_SCALE,
    VERDICT_DEAD_CHANNEL,
    VERDICT_NONFINITE,
    N_VERDICTS,
};
/* THE table of verdicts: the word, and what it means. */
extern const struct verdict_row {
    const char *name, *help;
} verdicts[N_VERDICTS];
/* THE table of thresholds that verdicts and the audit use. */
enum threshold {
    LIMIT_OK,          /* dB */
    LIMIT_INHERITED,   /* dB */
    LIMIT_OUTLIER,     /* dB */
    LIMIT_COVER,       /* times */
    LIMIT_UNUSED,      /* times */
    LIMIT_SPREAD,      /* times */
    LIMIT_WEIGHT_STEP, /* steps */
    LIMIT_BIAS_STEP,   /* steps */
    LIMIT_GAIN,        /* times */
    LIMIT_CLIPPED,     /* percent */
    LIMIT_MISMATCH,    /* times */
    LIMIT_FLOOR,       /* value of a scale */
    LIMIT_UNEXPLAINED, /* times */
    N_LIMITS,
};
extern const struct limit_row {
    const char *name, *unit, *help;
    double value;
} verdict_limits[N_LIMITS];

/* Parts of a layer's local noise, as shares of their sum; estimated but for the first two. */
struct noise_parts {
    double clip, round;                  /* of its own output codes, measured */
    double past;                         /* beyond the ends of the activation function, measured */
    double inputs, weights, bias, other; /* of the rest, by what each would cost */
};
struct layer_verdict {
    enum verdict_id verdict;
    char *cause;    /* what is wrong, in one sentence; NULL: nothing */
    char *evidence; /* the figures behind it */
    long source;    /* layer that is named as the source; -1 */
    struct noise_parts parts;
};
/* Codes that a node reads with other parameters than they were written with. */
struct misread {
    const char *tensor, *node;
    double written, read; /* scales */
    int zero_written, zero_read;
};
struct judge_input {
    const struct graph *fp32, *int8; /* models; int8 with pins applied */
    const struct match *match;
    const struct local_map *map;
    const struct weight_error *weights;
    const struct study *study;     /* NULL: no run */
    const bool *pinned;            /* per layer */
    const struct misread *misread; /* per layer, tensor NULL where all is well; see misreads() */
};
/* Of all layers; verdicts_free() it. */
struct layer_verdict *verdicts_new(const struct judge_input *j);
void verdicts_free(struct layer_verdict *v, size_t n_layers);
/* Per layer: what it reads wrongly; free() it. */
struct misread *misreads(const struct graph *int8, const struct match *m);

/* ---- Ranges (range.c) ------------------------------------------------------------------------ */
/* How a quantizer fits the values that it got. Codes with their zero point in the middle are meant
 * to be symmetric, and are judged by the largest magnitude. */
struct range_use {
    double lo, hi; /* ends of the codes, as real values */
    double cover;  /* (range of the codes) / (range that the values need, 0 included) */
    double shift; /* steps by which the zero point alone is off: then all would fit; 0: it is not */
};
/* false when q has not one scale, or nothing was seen (lo > hi). */
bool range_use(const struct quant *q, double lo, double hi, struct range_use *out);
/* The same for the first input of a graph, of which nothing but lo..hi comes. false: it is not
 * quantized, or by nothing that is known. */
bool range_of_input(const struct graph *g, double lo, double hi, struct range_use *out);
/* Whether a scale cannot be one: 0, negative, not finite, or at the floor that tools put in. */
bool scale_is_bad(double scale);
/* (Largest) / (median) of the magnitudes that the channels of x reach; NAN below 4 channels. */
double channel_spread(const struct layer_stats *s);
/* Median of n values; 0 for n 0. Sorts them. */
double median_of(double *v, size_t n);

/* ---- Audit (audit.c) ------------------------------------------------------------------------- */
struct finding {
    const char *kind; /* of the table in audit.c */
    long layer;       /* -1: a tensor that is no layer */
    const char *tensor;
    double severity; /* weight of its kind + log2(value / limit), at most 9 */
    double value;    /* the figure in question, in the unit of its kind */
    char *text;
};
struct audit {
    size_t n, cap;
    struct finding *list; /* worst first */
};
extern const struct audit_kind {
    const char *name, *unit, *help;
    double weight; /* worse kinds come first */
} audit_kinds[];   /* ends with name NULL */
/* All that can be told of the ranges of a model. sums: per layer, accumulators of one image (or
 * NULL: not counted). */
struct audit *audit_new(const struct judge_input *j, const struct accumulators *sums);
void audit_free(struct audit *a);

#endif
