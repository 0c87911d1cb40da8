/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * history.h: private to tui/: the steps of a session as they end (session_history.c).
 */
#ifndef TUI_HISTORY_H
#define TUI_HISTORY_H

#include "tui/tui.h"

/* Leaves an empty state. */
void pin_state_fini(struct pin_state *p);
/* Forgets the steps from the from-th on. */
void history_clear(struct session *s, size_t from);

#endif
