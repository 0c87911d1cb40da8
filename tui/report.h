/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * report.h: private to tui/: the results of a run as one document, its forms, and its comparison
 * with an earlier one.
 */
#ifndef TUI_REPORT_H
#define TUI_REPORT_H

#include "tui/rank.h"

#define REPORT_KIND "qscope-report"

/* All of the last run: "summary", "models", "layers" in the order of the network, "worst" (their
 * places there, worst first by SQNR), "histograms" of the first `hists` of these, "images" worst
 * first, "unmatched", "pins", "history". Needs a pair and results. */
json_t *report_new(const struct session *s, size_t hists);
/* Writers of a document. images: how many of them are listed. */
void report_html(const json_t *doc, size_t images, FILE *out);
void report_markdown(const json_t *doc, size_t images, FILE *out);

/* A metric of a row of "layers": NAN when it is undefined, INFINITY when the tensors are equal. */
double report_metric(const json_t *row, const struct metric *m);
/* A text of an object made safe for people, "" when there is none; a ring of static buffers. */
const char *report_text(const json_t *o, const char *key);
double report_number(const json_t *o, const char *key); /* NAN when there is none */
/* A class of an object: the name under the first key, else the number under the second, "" without
 * one; in the ring of report_text(). */
const char *report_class(const json_t *o, const char *name, const char *number);
const json_t *report_layer(const json_t *doc, const char *name);
const json_t *report_worst(const json_t *doc, size_t rank); /* NULL behind the last */

/* ---- Inline SVG (report_svg.c) --------------------------------------------------------------- */
void svg_profile(const json_t *layers, FILE *out);
void svg_histogram(const json_t *hist, FILE *out);
/* Text between tags or in an attribute. */
void html_text(FILE *out, const char *text);

/* ---- Comparison (baseline.c) ----------------------------------------------------------------- */
int baseline_read(const char *path, json_t **out, struct err *err);
/* {"summary", "layers", "images", "before_run", "run"}: what changed from one document to another,
 * worst first; values by the metric. */
json_t *baseline_compare(const json_t *before, const json_t *now, const struct metric *m);

#endif
