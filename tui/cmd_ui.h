/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_ui.h: private to the commands of the screen.
 */
#ifndef TUI_CMD_UI_H
#define TUI_CMD_UI_H

#include "tui/view.h"

#define UI_VIEW_WORD(ID, name) #name
#define UI_VIEW_WORDS VIEWS(UI_VIEW_WORD, "|")

/* The one layer that a word of the language stands for; E_USAGE when it is not one. */
int ui_one_layer(struct session *s, const char *word, size_t *layer, struct err *err);
/* Makes it the current layer of all views and puts their cursors on it. */
void ui_layer_go(struct session *s, size_t layer);
/* Goes to a view; the layer view takes over what was under the cursor. */
void ui_view_choose(struct session *s, enum view_id view);

/* Name of the i-th switch that `toggle` turns, NULL behind the last; its place. */
const char *ui_switch(size_t i);
bool *ui_switch_value(struct ui *ui, size_t i);

/* next and previous with wrap-around, or a number below n. */
int ui_step(const char *word, size_t at, size_t n, size_t *out, struct err *err);

/* ---- Graph view (cmd_graph.c) ---- */
/* Goes to a neighbour in the graph, or changes its metric or depth. */
int graph_select(struct session *s, const char *what, const char *word, struct err *err);
/* A switch of the graph view was changed. */
void graph_toggled(struct session *s);
/* The node whose name has the text: the one under the cursor too (step 0), the next (1) or the one
 * before (-1), going round; -1: none. */
int graph_find_text(const struct session *s, const char *text, int step,
                    bool (*has)(const char *text, const char *what));

#endif
