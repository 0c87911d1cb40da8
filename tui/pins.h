/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pins.h: private to tui/: what `pins`, `export` and `export-pins` say about pinned layers.
 */
#ifndef TUI_PINS_H
#define TUI_PINS_H

#include "tui/tui.h"

struct pin_report {
    size_t layer;
    bool in_effect;
    const char *why; /* static text when not in effect */
};
/* State of every pin of the session in a plan made from the mixed model, or from a file of it. *out
 * is the caller's to free. */
void pins_report_new(const struct session *s, const struct plan *plan, struct pin_report **out,
                     size_t *n);
json_t *pins_report_json(const struct session *s, const struct pin_report *r, size_t n);
void pins_report_text(const struct session *s, const struct pin_report *r, size_t n, FILE *out);
/* Writes the pin list in one of the dialects. *use (NULL: not wanted): how that tool reads it, to
 * be freed; NULL for qscope's own. E_UNSUPPORTED when a name cannot be said in it. (export_pins.c)
 */
#define PIN_DIALECTS "json|ort|nncf|tflite|trt|ppq"
int pins_write(const struct session *s, const char *path, const char *dialect, char **use,
               struct err *err);

#endif
