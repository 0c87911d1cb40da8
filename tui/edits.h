/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * edits.h: private to tui/: steps of the history that changed the models (session_history.c,
 * edits.c).
 */
#ifndef TUI_EDITS_H
#define TUI_EDITS_H

#include "tui/tui.h"

/* Adds a version behind the others, which it takes over; the first is that of the files. Returns
 * its place. */
size_t session_version(struct session *s, struct version v);
/* Copies of a version's models with more edits, which it takes over; types and shapes are found.
 */
int session_make(struct session *s, const struct version *from, struct edits made,
                 struct version *out, struct err *err);
/* Another file as the INT8 model of a version; types and shapes are found. */
int session_other(struct session *s, const char *path, struct version *out, struct err *err);
/* Makes edits to the models in force, as session_edit(); takes them over. */
int session_apply(struct session *s, struct edits made, const char *label, struct err *err);
/* The version that step i of the history brought; NULL: it changed pins alone. */
const struct version *session_step_edit(const struct session *s, size_t i);
/* What that step did to the models, in a few words; "" when it changed pins alone. Returns dst. */
const char *session_step_did(const struct session *s, size_t i, char *dst, size_t size);
/* Steps in force that changed the models: how many; as [{"line", "did"}]. */
size_t session_edits(const struct session *s);
json_t *session_edits_json(const struct session *s);
/* "3 x range, 12 x weights": what edits there are; of none "another file". */
void edits_text(const struct edits *made, char *dst, size_t size);
json_t *edits_json(const struct edits *made);
/* From the outside: all is checked. */
int edits_read(const json_t *list, struct edits *out, struct err *err);

#endif
