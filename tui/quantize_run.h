/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize_run.h: private to tui/: calibration and quantization as a job (quantize_run.c), and what
 * ways of quantizing cost the outputs (quantize_try.c).
 */
#ifndef TUI_QUANTIZE_RUN_H
#define TUI_QUANTIZE_RUN_H

#include "tui/observe.h"

/* What `calibrate` and `quantize` are asked for. */
struct quantize_asked {
    struct quantize_options o; /* choices owned, their names those of the FP32 model */
    size_t cap_choices;
    bool best;           /* of all methods, with and without corrected biases: measured */
    char *file, *images; /* owned; file NULL: ranges alone; images NULL: the data set */
    size_t limit;        /* of images; 0: all */
    bool integers;       /* integer operators instead of QDQ */
    char *label;         /* owned: of the step for undo */
};
void quantize_asked_fini(struct quantize_asked *a);

/* Starts it as job_start() does; takes over what `a` owns. When it has ended session.quantized is
 * what was found, as JSON. A job that is cancelled leaves no file. */
int quantize_start(struct session *s, struct quantize_asked *a, bool background, FILE *note,
                   struct err *err);
/* session.quantized for people. */
void quantize_print(const struct session *s, FILE *out);

/* SQNR in dB of the outputs of quantized graphs against the prepared FP32 model, on the first
 * calibration images, all outputs taken together. Graphs are of one calibration and stay the
 * caller's. Advances the session's job by one for each image and graph, and for FP32. */
int quantize_try(struct observing *o, size_t n, struct graph *const *made, double *sqnr,
                 struct err *err);
/* How far the job gets by that. */
size_t quantize_try_steps(const struct observing *o, size_t n);

#endif
