/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rank.h: private to tui/: how metrics and layers are printed, for listings of layers and images.
 */
#ifndef TUI_RANK_H
#define TUI_RANK_H

#include "tui/tui.h"

/* " 12.34", " exact" or " n/a" in a column of `width`. */
void rank_print_metric(FILE *out, const struct metric *m, double v, int width);
/* One object of the listing `layers`; st NULL: not measured. */
json_t *rank_layer_json(const struct session *s, size_t layer, const struct layer_stats *st);

#endif
