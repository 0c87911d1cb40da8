/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * executed.h: private to tui/: layers in the executed graph (executed.c), and the arguments that
 * the commands about them share (cmd_fused.c).
 */
#ifndef TUI_EXECUTED_H
#define TUI_EXECUTED_H

#include "tui/tui.h"

/* Whether a node of an executed graph multiplies or adds codes. */
bool node_is_integer(const struct node *n);
/* The node that computes a layer on the INT8 side: behind Q, and behind the Relu or Clip in front
 * of that. -1 when the layer is no result of any. */
int session_computing(const struct session *s, size_t layer);
/* How the layers of a pair hang together in what runs (local_run.c). */
struct local_map *local_map_of(const struct session *s);
/* Layers of a pair that what is executed on the INT8 side has no value of, since it computes them
 * inside others, get that as the reason why they are not compared, in a new study. */
void session_note_absent(struct session *s);
/* session_sample() as the INT8 model takes it. */
int session_int8_sample(const struct session *s, size_t image, struct tensor **in, struct err *err);
/* The one layer of the arguments, and the image of --image: the first by default. */
int choose_one(struct call *c, size_t *layer, size_t *image, struct err *err);

#endif
