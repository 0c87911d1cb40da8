/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * results.h: private to tui/: results of earlier runs and sweeps, of this process or another, taken
 * where the question is the same: the same bytes of models and images, preprocessing, arithmetic
 * and code. They have the bits that computing them again would give.
 */
#ifndef TUI_RESULTS_H
#define TUI_RESULTS_H

#include "tui/memo.h"
#include "tui/own_metric.h"

/* ---- Of a session (results.c) --------------------------------------------------------------- */
enum { CACHE_SIZE = 512 << 20 }; /* bytes on disk unless the user says otherwise */
struct results *results_new(void);
void results_free(struct results *r);
/* The models go: what was known by their place in memory is forgotten. No job may run. */
void results_unload(struct results *r);
/* Statistics of single images, in memory. */
struct memo *results_memo(struct results *r);
/* Where they are kept; NULL without a home. free() it. */
char *results_dir(void);
/* The store, opened when first asked for; NULL when it cannot be. Any thread. */
struct cache *results_store(struct results *r, size_t limit);
void results_limit(struct results *r, size_t limit);
/* Closes it, so that it can be opened anew. No job may run. */
void results_close(struct results *r);
/* The one line of a store that does not work, the first time that it is asked. */
void results_tell(struct results *r, FILE *note);

/* ---- Questions (question.c) ----------------------------------------------------------------- */
struct question;
/* What is asked of the models and settings now in force, about n samples that live as long as it.
 * pins: those in force are part of it; else each sheet says which. NULL: the cache is off. Called
 * with the lock held. */
struct question *question_new(struct session *s, size_t n, const struct sample *samples, bool pins);
void question_free(struct question *q);
/* Reads and digests models and samples on so many threads, without the lock: the others below work
 * only after it. false: there is nothing to find or keep. */
bool question_ready(struct question *q, int threads, const struct cancel *cancel);
/* What a run over the samples, or over the first of them, has given: how many it covers. 0: *out
 * is NULL. The numbers of images are left out. */
size_t question_study(struct question *q, size_t n_layers, struct study **out);
/* Keeps the study of a run, complete or not. */
void question_keep(struct question *q, const struct study *s);
/* The local errors over the first n samples; NULL when they are not known. */
struct local_study *question_local(struct question *q, size_t n_layers, size_t n);
/* Keeps them, when they are of the first n samples. */
void question_keep_local(struct question *q, const struct local_study *l, size_t n);

/* ---- Scores of a mixed model (sheet.c) ------------------------------------------------------ */
struct sheet;
/* Of the model that a trial stands for; names: of all layers. */
struct sheet *sheet_open(struct question *q, const struct trial *t, const char *const *names);
void sheet_close(struct sheet *s);
/* Keeps what was added. */
void sheet_keep(struct sheet *s);
/* The score on sample i; label and classes are part of the question. */
bool sheet_get(const struct sheet *s, size_t i, struct image_score *out);
void sheet_put(struct sheet *s, size_t i, const struct image_score *score);
/* Whether the pin of the trial's layer is in effect, if that is known. */
bool sheet_effect_known(const struct sheet *s);
void sheet_effect(const struct sheet *s, struct trial *t);
void sheet_keep_effect(struct sheet *s, const struct trial *t);
/* Whether the scores on all samples were once those of the model running by itself. */
bool sheet_verified(const struct sheet *s);
void sheet_keep_verified(const struct sheet *s);

/* ---- Between the two ------------------------------------------------------------------------ */
/* The digest that a question begins with, to be continued; and that of sample i with its label and
 * preprocessing. */
struct digest question_key(const struct question *q, const char *kind);
struct digest question_sample(const struct question *q, size_t i);
size_t question_samples(const struct question *q);
/* The answers are also those of a metric of the user's own (NULL: they are not). NULL when what it
 * depends on cannot be read. Before question_ready(). */
struct question *question_own(struct question *q, const struct own_metric *m);
/* The samples stand in another order now: `order` has what each place held before. */
void question_reorder(struct question *q, const size_t *order, const struct sample *samples);
bool question_get(struct question *q, struct digest key, void **data, size_t *size);
void question_put(struct question *q, struct digest key, const struct pack *b);
/* The same text every time, kept as long as the session. */
const char *results_text(struct results *r, const char *text);
struct results *question_results(const struct question *q);
/* The content of a sample's files, digested anew only when they have changed; E_IO. */
int results_sample(struct results *r, const struct sample *s, struct digest *out);
/* What code computes, and the digest of a model file once known. */
struct digest results_code(const struct results *r);
struct digest *results_model(struct results *r, enum side side, bool **known);

#endif
