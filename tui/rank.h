/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rank.h: private to tui/: how metrics and layers are printed, for listings of layers and images.
 */
#ifndef TUI_RANK_H
#define TUI_RANK_H

#include "tui/tui.h"

/* "12.34", "exact" or "n/a". */
void rank_metric(char *dst, size_t size, const struct metric *m, double v);
/* The same in a column of `width`. */
void rank_print_metric(FILE *out, const struct metric *m, double v, int width);
/* Puts the metrics of cumulative sums into an object; sums NULL: null each. */
void rank_set_metrics(json_t *o, const struct sums *sums, double scale);
/* Name of a value of g; NULL where the one or the other is not there. */
const char *rank_tensor(const struct graph *g, int v);
/* Why a matched layer could not be compared in the run, which lists it among the unmatched. */
const char *rank_layer_error(const struct session *s, size_t layer);
/* One object of the listing `layers`; st NULL: not measured. */
json_t *rank_layer_json(const struct session *s, size_t layer, const struct layer_stats *st);
/* What could not be compared, and why. */
json_t *rank_unmatched_json(const struct session *s);
/* {"name", "low", "high", "fp32": [counts], "int8": [counts]} of the layer's values. */
json_t *rank_hist_json(const struct session *s, size_t layer, const struct layer_stats *st,
                       int64_t bins);
/* ---- One model alone (layer_alone.c) --------------------------------------------------------- */
struct alone {
    const char *side;        /* "FP32" or "INT8" */
    uint64_t n;              /* values */
    double lo, hi;           /* their range */
    double zeros, low, high; /* percent: zeros, codes at their two ends (NAN: they have none) */
};
/* Of sums over n values of a layer; of all of the layer. */
struct alone alone_of(const struct session *s, size_t layer, const struct sums *x, uint64_t n);
struct alone alone_layer(const struct session *s, size_t layer, const struct layer_stats *st);
/* What `layer` says of it. */
int layer_alone(struct call *c, size_t layer, const struct layer_stats *st, struct err *err);
/* One object of the listing `images` (cmd_image.c). */
json_t *rank_image_json(const struct session *s, const struct image_score *x);

#endif
