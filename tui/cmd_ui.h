/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_ui.h: private to the commands of the screen.
 */
#ifndef TUI_CMD_UI_H
#define TUI_CMD_UI_H

#include "tui/view.h"

#define UI_VIEW_WORDS "layers|layer|images|pins|log"

/* The one layer or image that a word of the language stands for; E_USAGE when it is not one. */
int ui_one_layer(struct session *s, const char *word, size_t *layer, struct err *err);
int ui_one_image(struct session *s, char *word, size_t *image, struct err *err);
/* Goes to a view; the layer view takes over what was under the cursor. */
void ui_view_choose(struct session *s, enum view_id view);

#endif
