/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * analysis.h: judges: pairs the layers of two graphs, measures, ranks, and rewrites graphs for
 * pins. Opens no file, loops over no data set: it is fed (study_add) and answers questions.
 */
#ifndef ANALYSIS_ANALYSIS_H
#define ANALYSIS_ANALYSIS_H

#include "engine/engine.h"

/* ---- Layouts and inputs (feed.c) ------------------------------------------------------------ */

/* How the second of two shapes follows from the first; unknown dimensions fit anything. */
enum channels {
    CHANNELS_SAME,
    CHANNELS_TO_LAST,   /* [n,c,h,w] -> [n,h,w,c] */
    CHANNELS_TO_SECOND, /* [n,h,w,c] -> [n,c,h,w] */
    CHANNELS_RESHAPED,  /* the same but for dimensions of 1 */
    CHANNELS_OTHER,     /* none of these */
};
/* How INT8 value b becomes the shape of FP32 value a. Models of two formats have their channels in
 * two places: where the shape alone does not tell, they are taken to. */
enum channels channels_of_pair(const struct graph *f, const struct graph *i, const struct value *a,
                               const struct value *b);
/* t with its channels moved (any type), or under the shape given when only reshaped; one reference,
 * t itself where nothing moves. */
int channels_move(const struct tensor *t, enum channels to, int rank, const int64_t *dims,
                  struct budget *b, struct tensor **out, struct err *err);
/* Input i of g from a preprocessed sample: laid out as g wants it, and where g takes codes,
 * quantized with their parameters, halves to even. One reference. */
int feed_input(const struct graph *g, size_t i, const struct tensor *t, struct budget *b,
               struct tensor **out, struct err *err);
/* Output i of g as the floats that its codes stand for; others as they are. One reference. */
int feed_output(const struct graph *g, size_t i, const struct tensor *t, struct budget *b,
                struct tensor **out, struct err *err);
/* Lays out an INT8 output, in place of the pointer, as the FP32 one is, so that their values stand
 * side by side. */
int feed_like(const struct tensor *x, struct tensor **y, struct err *err);

/* ---- Matching (match.c) --------------------------------------------------------------------- */
enum match_by { MATCH_NAME, MATCH_QDQ, MATCH_TOPOLOGY, MATCH_HAND };
const char *match_by_name(enum match_by by); /* "name", "qdq", "topology", "hand" */

enum { CHANNEL_NONE = -1, CHANNEL_LAST = -2 };

/* One comparable activation. Indices are into fp32->values / int8->values; names are borrowed
 * from the graphs. */
struct layer {
    const char *name; /* FP32 node that makes the tensor (the operator in front of an absorbed
                         Relu or Clip); the name users pin */
    const char *op;   /* operator of the INT8 side without QLinear prefix, e.g. "Conv" */
    int fp32;         /* value in the FP32 graph */
    int int8;         /* value in the INT8 graph: codes when quantized, else the float tensor */
    int int8_float;   /* the float value in the INT8 graph that stands for it (DQ output, or
                         int8 itself when float); -1 when nothing dequantizes the codes */
    bool quantized;   /* int8 holds codes with parameters `q` */
    struct quant q;   /* n 0 when not quantized */
    enum match_by by;
    int channel_axis;    /* CHANNEL_NONE, CHANNEL_LAST or an axis number */
    bool pinnable;       /* an operator stands behind it (not a graph input) */
    enum channels moved; /* how the INT8 tensor becomes the shape of the FP32 one */
};

enum side { SIDE_FP32, SIDE_INT8 };
struct unmatched {
    const char *tensor, *op;
    enum side side;
    const char *reason; /* "fused into 'x' in INT8", "integer tensor", "no counterpart", ... */
};

struct match {
    struct arena arena;
    size_t n_layers;
    struct layer *layers; /* network order of the FP32 graph */
    size_t n_unmatched;
    struct unmatched *unmatched;
    size_t n_inputs, n_outputs;
    int (*outputs)[2]; /* pairs of output values: [FP32, INT8] by order */
};
/* Hand-made pairs win over everything: tensor or node names. */
struct match_pair {
    const char *fp32, *int8;
};
/* E_SHAPE when the models do not belong together (input or output count or declared shapes). */
int match_graphs(const struct graph *fp32, const struct graph *int8, size_t n_hand,
                 const struct match_pair *hand, struct match *out, struct err *err);
/* One model alone: every activation is a layer whose other side is -1. */
void match_single(const struct graph *g, enum side side, struct match *out);
/* infer.c: fills in element types and shapes that the file does not declare, from the definitions
 * of the operators; a free first dimension of an input counts as 1. false, and nothing filled in,
 * when the graph has more than networks of convolutions and matrix products are made of in float32
 * and codes of 8 bits. Whatever it knows, no kernel refuses. */
bool graph_infer(struct graph *g);
/* probe.c: fills in element types and shapes that the file does not declare: from one run on zeros.
 * Symbolic dimensions of inputs count as 1. Nodes that their kernels refuse on sizes that the file
 * declares become gaps of a partial p, which nobody else may run yet; E_UNSUPPORTED when that
 * leaves nothing to run, or p is not partial. After any other failure what is unknown stays so. */
int graph_probe(struct graph *g, struct plan *p, struct err *err);
void match_fini(struct match *m);
enum { LAYER_NODES = 64 };
/* FP32 nodes that make up a layer: from its tensor back to the nearest other layers. */
size_t layer_nodes(const struct graph *fp32, const struct match *m, size_t layer,
                   int nodes[LAYER_NODES]);
/* The same for all layers one after the other. */
void layers_nodes(const struct graph *fp32, const struct match *m,
                  void (*each)(void *ctx, size_t layer, size_t n, const int *nodes), void *ctx);

/* ---- Map of both models (graphmap.c) -------------------------------------------------------- */
enum map_kind {
    MAP_INPUT,
    MAP_LAYER,      /* an activation that is compared */
    MAP_OTHER,      /* one that is not: on one side only, or not comparable */
    MAP_FUSED,      /* on one side only, part of a layer: the other side computes it inside that */
    MAP_HELPER,     /* integers, such as shapes; part of what they come from */
    MAP_QUANTIZE,   /* codes made of floats, or of other codes */
    MAP_DEQUANTIZE, /* floats made of codes */
    MAP_OUTPUT,
};
/* One activation, of both models where they have it. */
struct map_node {
    enum map_kind kind;
    int layer;      /* of the match; -1 for other kinds than MAP_LAYER */
    int fp32, int8; /* value on that side, codes where there are any; -1: it does not have it */
    int part_of;    /* the node that shows this one unless it is looked at closely; -1: itself */
};
/* Edges are lists of the form start[n + 1] and node, sorted; a quantized activation reaches its
 * readers through its MAP_QUANTIZE and MAP_DEQUANTIZE nodes. */
struct map_edges {
    int *start, *node;
};
struct graphmap {
    size_t n;
    struct map_node *nodes;   /* in the order of the network: every edge goes to a later one */
    struct map_edges in, out; /* what a node reads, and what reads it */
    int *of_layer;            /* node of each layer of the match */
    size_t crossed;           /* edges left out because the INT8 model has another order */
    size_t fused;             /* of the FP32 model */
    size_t quantize, dequantize;
    size_t only[2]; /* nodes on one side only, fused ones too, quantizers left out */
};
/* Both models as one graph, or the one that is there (the other NULL); m is their match. */
struct graphmap *graphmap_new(const struct graph *fp32, const struct graph *int8,
                              const struct match *m);
void graphmap_free(struct graphmap *g);
/* A shortest way along the edges, from one node to the other: writes its nodes to way (room for
 * g->n) and returns how many; 0: there is none. */
size_t graphmap_path(const struct graphmap *g, int from, int to, int *way);
/* The same edges between groups of nodes (group[k] < n), each once; those inside a group and those
 * that lead back are left out, and those of the FP32 model beside quantizers of the INT8 one unless
 * these are in the group of either end. map_edges_fini() both. */
void graphmap_group(const struct graphmap *g, const int *group, size_t n, struct map_edges *in,
                    struct map_edges *out);
void map_edges_fini(struct map_edges *e);

/* What a layer costs in FP32 on one sample (cost.c). Convolutions, matrix products and fully
 * connected layers multiply; unknown dimensions count as 1. */
struct layer_cost {
    double weights;     /* bytes of constants */
    double macs;        /* products that are added up */
    double activations; /* bytes of its output in FP32, four times those of codes */
};
/* Of all layers, in one pass; free() it. */
struct layer_cost *layer_costs(const struct graph *fp32, const struct match *m);
/* What a set of pins costs: sums over its layers, bytes in the precisions of the pins, and how many
 * activations more than in the INT8 model are read in another precision than the one they are made
 * in. */
struct pins_cost {
    size_t pins;
    double weights, macs, activations;
    int boundaries;
};
struct pins_cost pins_cost(const struct graph *fp32, const struct match *m,
                           const struct layer_cost *costs, const bool *pinned, const uint8_t *as);

/* ---- Statistics of one comparison, streamed (stats.c) --------------------------------------- */
/* Sums over n values of x (FP32) against y (INT8 dequantized); double accumulation in an order that
 * the shape gives (stats.h). */
struct sums {
    uint64_t n;         /* finite pairs counted below */
    uint64_t nonfinite; /* pairs with NaN or infinity on either side, not counted below */
    double xx, yy, xy;  /* sum x^2, y^2, x*y */
    double ee, ae;      /* sum (x-y)^2, |x-y| */
    double max_abs;     /* max |x-y| */
    double xmin, xmax, ymin, ymax;
    uint64_t sat_low, sat_high; /* x beyond the low / high end of the integer range */
    uint64_t zeros;             /* y == 0 */
};
void sums_init(struct sums *s);
void sums_merge(struct sums *into, const struct sums *from);

enum { HIST_BINS = 1024 };
/* Histogram over a range around zero that doubles when a value falls outside: the width stays a
 * power of two, so merging two of them is exact and the order of adding does not matter. Bin i
 * covers [lo + i*width, lo + (i+1)*width), lo = -width * HIST_BINS / 2. */
struct hist {
    double lo, width;
    uint64_t n, nonfinite;
    uint64_t bin[HIST_BINS];
};
void hist_init(struct hist *h);
void hist_add(struct hist *h, size_t n, const float *x);
void hist_merge(struct hist *into, const struct hist *from);

/* Everything kept about one layer. */
struct layer_stats {
    struct sums all;
    size_t n_channels;    /* 0 when there is no channel axis */
    struct sums *channel; /* n_channels */
    struct hist fp32, int8;
    double scale; /* mean scale used for rmse_scale; NAN when not quantized */
    uint64_t images;
};
void layer_stats_init(struct layer_stats *s);
void layer_stats_fini(struct layer_stats *s);
int layer_stats_merge(struct layer_stats *into, const struct layer_stats *from, struct err *err);
/* Adds one tensor pair. x: FP32 activation (any float dtype). y: codes with q, or a float tensor
 * with q NULL. Shapes must be equal (E_SHAPE with both shapes). with_hist: histograms too. Either
 * may have its channels last; axes count dims whatever the order. The same order on both sides is
 * fastest, and where channel_axis is 1 both orders give the same bits. */
int layer_stats_add(struct layer_stats *s, const struct tensor *x, const struct tensor *y,
                    const struct quant *q, int channel_axis, bool with_hist, struct err *err);
/* The only tensor of one image that a model alone has: into stats that are new. Its sums count no
 * pairs (n is 0, so that every metric is undefined), but the range of its side, its zeros, and in
 * sat_low and sat_high values at the ends of codes with one scale; the histogram of its side counts
 * all values. t: floats, or codes with q. (alone.c) */
int layer_stats_alone(struct layer_stats *s, enum side side, const struct tensor *t,
                      const struct quant *q, int channel_axis, struct err *err);

/* ---- Metrics: THE table (metric.c) ---------------------------------------------------------- */
/* What a metric is taken from. */
enum metric_of {
    METRIC_CUMULATIVE, /* the sums of a comparison: of a layer in the whole network, of an image or
                          a channel of it */
    METRIC_LOCAL,      /* those of the layer alone */
    METRIC_WEIGHTS,    /* its weights */
    METRIC_LOO,        /* the last sweep of that kind */
    METRIC_ONLY,
    METRIC_VERDICT, /* a text */
};
struct metric {
    const char *name;  /* the word used as column, sort key and JSON field */
    const char *unit;  /* "dB", "%", "" */
    const char *title; /* column head */
    int digits;        /* decimals in tables */
    bool higher_is_better;
    /* Of those sums; NAN = undefined (always for METRIC_LOO and later), INFINITY = exact. */
    double (*value)(const struct sums *s, double scale);
    enum metric_of of;
    const char *help; /* one line: meaning and ideal value */
    const char *formula;
};
extern const struct metric metrics[]; /* ends with name NULL */
const struct metric *metric_find(const char *name);
/* 10 log10(signal / noise) in dB. noise 0: INFINITY (the tensors are equal). signal 0 with noise:
 * NAN (undefined). */
double sqnr_db(double signal, double noise);

/* ---- Study (study.c): layers x pooled statistics, images x scores --------------------------- */
enum flip { FLIP_NONE, FLIP_LOST, FLIP_GAINED };
enum { TOP_CLASSES = 5 };
/* The classes of one side with the highest output values, highest first, NaN last. */
struct top_classes {
    int n;          /* 0 when the model does not classify */
    int label_rank; /* place of the label among all classes, 1 the highest; 0 without one */
    struct {
        int label;
        float value; /* of the output */
        float p;     /* the same as a share: outputs that sum to about 1 over their sum, others by
                        softmax */
    } c[TOP_CLASSES];
};
struct image_score {
    size_t image;   /* index in the data set */
    bool ok;        /* false: could not be read or run; `error` says why */
    char *error;    /* with ok: a node refused this image, so that what is behind it is missing */
    int error_code; /* enum err_code of it */
    int label;      /* -1 unlabelled */
    int fp32_top1, int8_top1;  /* class index, -1 when the model does not classify */
    struct top_classes top[2]; /* by side */
    double sqnr, cosine, mse;  /* over all outputs concatenated */
    double signal, noise;      /* sum x^2 and sum (x-y)^2 over them */
    uint64_t nonfinite;        /* pairs of them with NaN or infinity, not counted above */
    int fp32_rank, int8_rank;  /* classes with a larger value than the label, -1 without one */
    double range;              /* largest less smallest value of the FP32 outputs */
    double own[2];   /* by side: metric of the user's own, of FP32's outputs against themselves and
                        against INT8's; NAN: not asked */
    double margin;   /* change INT8 - FP32 of (value of reference class - best other); reference =
                        label, else FP32's top-1; NAN when not classifying */
    double dlogit;   /* change of the reference class's output value */
    double kl;       /* KL divergence FP32 || INT8 of the class distribution, nats; NAN otherwise */
    enum flip flip;  /* with a label: right -> wrong lost, wrong -> right gained; without: a change
                        of top-1 counts as lost */
    int worst_layer; /* layer index with the lowest SQNR for this image, -1 */
    double worst_sqnr;   /* dB */
    int16_t *layer_sqnr; /* of each layer on this image, see profile_db(); NULL: not kept, see
                            study. Two bytes, since a run over 10,000 images keeps them all */
    double beyond;       /* of the values of quantized layers, those outside of the range that codes
                            have, so that calibration saw nothing like it; percent, NAN unknown */
    int beyond_layer;    /* the layer with the largest share of them, -1 */
    size_t beyond_layers; /* layers with any */
};

enum { PROFILES_MOST = 1 << 24 }; /* values of layer_sqnr that a study keeps, of its first images */
struct local_study;               /* judge.h */
struct study {
    size_t n_layers;
    struct layer_stats *layers;
    char **layer_errors; /* why a layer could not be compared, NULL when it could */
    size_t n_images, cap_images;
    struct image_score *images; /* in the order they were added */
    size_t labelled;            /* images with a label for which a model has an answer */
    size_t fp32_judged, fp32_right, int8_judged, int8_right; /* of those, by model */
    size_t lost, gained, failed;
    struct local_study *local; /* local errors, of the first images; NULL: none were asked for */
};
struct study *study_new(size_t n_layers);
void study_free(struct study *s);
/* dB as a profile keeps it: to the nearest hundredth within +-327 dB, INFINITY and NAN. */
int16_t profile_code(double db);
double profile_db(int16_t code);
/* Result of one image, made by a worker without locks, then added in image order. Bins of a
 * histogram in it are undefined while its n is 0. */
struct image_result {
    struct layer_stats *layers; /* n_layers */
    char **layer_errors;        /* n_layers; NULL entries where all went well */
    struct local_study *local;  /* of this image; NULL: not asked for */
    struct image_score score;
};
void image_score_init(struct image_score *s); /* nothing known */
void image_result_init(struct image_result *r, size_t n_layers);
void image_result_fini(struct image_result *r, size_t n_layers);
/* Merges; takes over score.error and layer errors. */
void study_add(struct study *s, struct image_result *r);
/* Adds the score of an image whose layers are merged already; takes over its error. */
void study_add_score(struct study *s, const struct image_score *score);
/* Scores the outputs of one image: pairs of output tensors, converted to f32. classify: treat the
 * first output as class values. Fills top-1, divergence, margin, flip. */
void score_outputs(size_t n, const struct tensor *const *fp32, const struct tensor *const *int8,
                   bool classify, int label, struct image_score *out);
/* Whether an output of this shape looks like class values: one axis > 1, the others 1. */
bool score_classifies(int rank, const int64_t *dims);
/* Percent; NAN without labels, or when there are no answers of that model. */
double study_accuracy(const struct study *s, enum side side);
/* -1 or 1 where labels with that added are those that FP32 finds, and the labels themselves are
 * not: some models count a class for the background, some label files do not. *right: images of
 * s->labelled that FP32 would then get right. Else 0. */
int study_label_shift(const struct study *s, size_t *right);
/* Whether FP32 is right no more often than an answer by chance among the classes of the labels
 * would be, on enough images to tell: then they are prepared otherwise than in training, or the
 * labels are those of another model. */
bool study_by_chance(const struct study *s);
/* Images on which INT8's top-1 is FP32's, percent; NAN when the model does not classify. */
double study_agreement(const struct study *s);
/* McNemar's exact test on flips: the probability of numbers as unequal as these or more so when
 * INT8 loses and gains images with equal chance, two-sided (binomial); 1 without flips. */
double mcnemar(size_t lost, size_t gained);
/* Ranks: order[i] = index of the i-th worst. dir: 0 worst first, 1 ascending, 2 descending. */
enum sort_dir { SORT_WORST, SORT_ASC, SORT_DESC };
void study_rank_layers(const struct study *s, const struct metric *m, enum sort_dir d,
                       size_t *order);
/* The same of n values; NAN last whatever the direction. */
void rank_values(size_t n, const double *value, bool higher_is_better, enum sort_dir d,
                 size_t *order);
/* Image sort keys: THE table of image columns that can be ranked. */
struct image_key {
    const char *name, *unit, *help;
    double (*value)(const struct image_score *s); /* larger = worse unless higher_is_better */
    bool higher_is_better;
};
extern const struct image_key image_keys[]; /* ends with name NULL; the first is the default */
const struct image_key *image_key_find(const char *name);
void study_rank_images(const struct study *s, const struct image_key *k, enum sort_dir d,
                       size_t *order);

/* ---- Results as bytes (pack.c) -------------------------------------------------------------- */
/* A growing buffer; free(p) ends it. */
struct pack {
    uint8_t *p;
    size_t n, cap;
};
/* What is left to read; `bad` once something did not make sense. */
struct unpack {
    const uint8_t *p;
    size_t left;
    bool bad;
};
void pack_uint(struct pack *b, uint64_t v); /* 7 bits a byte, lowest first */
uint64_t unpack_uint(struct unpack *u);
void pack_digest(struct pack *b, struct digest d);
struct digest unpack_digest(struct unpack *u);
void pack_text(struct pack *b, const char *s); /* NULL stays NULL */
char *unpack_text(struct unpack *u);           /* free() it */
/* All bits come back. A channel takes 60 to 70 bytes, a histogram about one a bin that is used. */
void pack_layer(struct pack *b, const struct layer_stats *s);
/* Into one that layer_stats_init() or an image result has made; layer_stats_fini() it. */
void unpack_layer(struct unpack *u, struct layer_stats *s);
void pack_score(struct pack *b, const struct image_score *s); /* without its image and its layers */
void unpack_score(struct unpack *u, struct image_score *s);
void pack_study(struct pack *b, const struct study *s);
/* NULL when the bytes are no study of so many layers. */
struct study *unpack_study(struct unpack *u, size_t n_layers);

/* ---- Pins (pin.c): a graph rewrite, not an executor mode ------------------------------------ */
enum precision { PREC_FP32, PREC_FP16, PREC_BF16, PREC_INT16 };
enum { N_PRECISIONS = 4 };
/* THE table of what a pin computes a layer in (precision.c), by enum precision. */
struct precision_row {
    const char *name, *title, *help;  /* title: where people read it */
    char mark;                        /* of pinned layers in listings */
    const char *rewrite;              /* what is put around the FP32 nodes of the layer */
    const char *needs;                /* of the operator set of the exported file */
    bool simulated;                   /* the runtime computes it in FP32 from rounded values */
    int weight_bits, activation_bits; /* of what a layer reads and makes */
    int cost;                         /* rank among precisions, cheapest first: 0 ... */
};
extern const struct precision_row precisions[N_PRECISIONS + 1]; /* ends with name NULL */
#define PRECISION_NAMES "fp32|fp16|bf16|int16"
int precision_find(const char *name); /* enum precision, or -1 */
/* The constant in input `slot` of an FP32 node as a layer of that precision has it: floats rounded
 * to float16 or bfloat16, weights to 8 bits per output channel for PREC_INT16, nothing else. NULL
 * in *out: as it is. */
int precision_constant(const struct graph *fp32, const struct node *n, int slot,
                       const struct tensor *t, enum precision as, struct tensor **out,
                       struct err *err);

struct pin_set {
    size_t n_layers;
    bool *pinned;      /* by layer index of the match */
    const uint8_t *as; /* likewise, enum precision of those pinned; NULL: all FP32 */
};
/* Whether anything in the graph is codes with parameters. */
bool graph_quantized(const struct graph *g);
/* E_UNSUPPORTED for models of which no layer can be pinned. */
int pin_possible(const struct graph *fp32, const struct graph *int8, struct err *err);
/* Builds the mixed graph: pinned layers compute with the FP32 model's nodes and weights, between
 * adjacent pinned layers no Q/DQ remains. Everything else is shared with int8 unchanged.
 * Other precisions than FP32: what the layer reads and makes, and its constants, are rounded as
 * precisions[] says; what it computes in between is FP32.
 * values[m->n_layers] gets, per layer, the value in the mixed graph to compare: the float tensor of
 * a pinned layer, m's own value otherwise (value numbers of int8 stay valid in the mixed graph).
 * *mixed borrows the FP32 model's weights, so it must go before fp32 does.
 * E_UNSUPPORTED when a layer cannot be pinned (names it and says why). */
int pin_apply(const struct graph *fp32, const struct graph *int8, const struct match *m,
              const struct pin_set *pins, struct graph **mixed, int *values, struct err *err);
/* Whether the activation `fp32_value`, called `name` in the mixed model, is really computed in that
 * precision in `executed`, the graph that runs (after fusing): what it is made from and it itself
 * are rounded, the node has float inputs, and its constants are the FP32 model's own, rounded, not
 * dequantized codes. *why is a static text when not. (pin_check.c) */
bool pin_in_effect(const struct graph *executed, const char *name, const struct graph *fp32,
                   int fp32_value, enum precision as, const char **why);

#include "analysis/judge.h"
#include "analysis/quantize.h"
#include "analysis/trial.h"
#include "analysis/whatif.h"

#endif
