/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * scratch.h: private to tui/: a private folder for files that are handed to other programs, and
 * those programs, so that both go however this one ends.
 */
#ifndef TUI_SCRATCH_H
#define TUI_SCRATCH_H

#include <sys/types.h>

#include "engine/engine.h"

/* The folder, made when it is not there: readable for this user alone, below $TMPDIR or /tmp. Many
 * threads may use it at once; each closes it once. The text stays until then. */
int scratch_open(const char **dir, struct err *err);
/* The last to close it removes it; files in it have to be gone. */
void scratch_close(void);
/* A program is about to be started; false: no more are, since this one ends. */
bool scratch_begin(void);
/* It leads its own process group (0: it could not be started); and it has ended. */
void scratch_program(pid_t pid);
void scratch_ended(pid_t pid);
/* Ends the programs, and removes the folder and what is in it. For handlers of signals. */
void scratch_abandon(void);

#endif
