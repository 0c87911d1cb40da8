/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * whatif.h: private to tui/: the questions that `whatif` answers (cmd_whatif.c, whatif_weights.c,
 * whatif_rescale.c).
 */
#ifndef TUI_WHATIF_H
#define TUI_WHATIF_H

#include "tui/edits.h"

/* One answer: rows for JSON, and with --apply what is to be put in force. */
struct whatif_answer {
    const char *what;
    json_t *rows;
    struct edits made;
    json_t *more; /* members beside the rows; NULL: none */
};
/* E_STATE without results of a run. */
int whatif_needs_run(struct call *c, struct err *err);
/* Layers of the call, all without words; free() them. */
int whatif_layers(struct call *c, size_t *n, size_t **layers, struct err *err);
/* Puts the changes of an answer about n layers in force, if there are any, and prints it. */
int whatif_end(struct call *c, struct whatif_answer *a, size_t n, struct err *err);

int whatif_weights_codes(struct call *c, struct err *err);
int whatif_correct_bias(struct call *c, struct err *err);
int whatif_equalized(struct call *c, struct err *err);
int whatif_rescaled(struct call *c, struct err *err);

#endif
