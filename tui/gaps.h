/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gaps.h: private to tui/: operators without a kernel and the layers they block (gaps.c).
 */
#ifndef TUI_GAPS_H
#define TUI_GAPS_H

#include "tui/tui.h"

bool session_has_gaps(const struct session *s);
/* Moves the layers that a gap blocks from the matched ones to the unmatched, with the reason. Call
 * after matching, when both sides are planned. */
void session_block(struct session *s);
/* One line per operator: which, where, how many, what it blocks. */
void gaps_text(const struct session *s, FILE *out);
json_t *gaps_json(const struct session *s);
/* Whether an output of a model cannot be computed, so that there is nothing to score. */
bool gaps_block_output(const struct session *s);
/* E_UNSUPPORTED when gaps leave no layer. */
int gaps_check(const struct session *s, struct err *err);

#endif
