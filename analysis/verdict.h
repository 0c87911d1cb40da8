/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * verdict.h: private to analysis/: what verdict.c, verdict_cause.c and audit.c share.
 */
#ifndef ANALYSIS_VERDICT_H
#define ANALYSIS_VERDICT_H

#include "analysis/judge.h"

/* The local figures of a layer, NULL when it has none. */
const struct local_stats *local_of(const struct judge_input *j, size_t k);
/* The noise of the codes as which layer k reads a source (layer, or n_layers + input). */
const struct quant_noise *source_codes(const struct judge_input *j, size_t k, int source);
/* The mean square of it. */
double source_noise(const struct judge_input *j, size_t k, int source);
/* Verdict and cause of a layer that makes noise of its own, by the largest of v->parts. */
void name_cause(const struct judge_input *j, size_t k, struct layer_verdict *v);
/* What is wrong with the weights, or the bias, whatever it costs: VERDICT_OK when rounding explains
 * all. *cause gets a text to free(). */
enum verdict_id judge_weights(const struct weight_error *w, char **cause);
enum verdict_id judge_bias(const struct weight_error *w, char **cause);

#endif
