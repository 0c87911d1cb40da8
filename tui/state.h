/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * state.h: private to tui/: a session as a file: what is loaded, chosen and pinned, with the
 * history of pins. Results are not in it: they are measured, or taken from the cache, again.
 */
#ifndef TUI_STATE_H
#define TUI_STATE_H

#include "tui/tui.h"

#define STATE_KIND "qscope-session"

/* Where sessions are saved by themselves; NULL without a home. free() it. */
char *state_last(void);
/* Whether there is anything worth a file. */
bool state_any(const struct session *s);
int state_save(const struct session *s, const char *path, struct err *err);
/* Saves where `qscope` without arguments finds it, when there is anything. */
int state_autosave(const struct session *s, struct err *err);
/* Reads and checks a file; the caller releases it. E_FORMAT names what is wrong. */
int state_read(const char *path, json_t **out, struct err *err);
/* Makes the session what the file says; when a model cannot be loaded, nothing changes. What does
 * not fit any more is told to `note`. */
int state_restore(struct session *s, json_t *state, FILE *note, struct err *err);
/* Data set images that the last run was on, as far as they are there; NULL: it had none. */
size_t *state_run(const struct session *s, json_t *state, size_t *n);
/* A path of the file as it is reached from here; NULL stays NULL. free() it. */
char *state_place(const json_t *state, const char *path);
/* A line about a file: models, images, pins, when. */
char *state_summary(json_t *state);

/* Contents of a model: its file, and constants that are kept in other ones. */
struct digest graph_digest(const struct graph *g);
void digest_hex(struct digest d, char dst[33]);

#endif
