/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graph.h: private to tui/: the rows of the graph view, where their rails run, and what they say.
 * Rows are made by commands, when the models or what is looked at change; views only read them.
 */
#ifndef TUI_GRAPH_H
#define TUI_GRAPH_H

#include "tui/view.h"

/* ---- Rows and rails (graph_rows.c) ----------------------------------------------------------- */
enum { MAX_LANES = 24, MAX_KEEP = 24, GRAPH_DEPTH = 6, GRAPH_DEPTH_MAX = 99 };

/* Which part of the map is shown, and how closely. */
struct graph_look {
    bool whole; /* every node; else those around the focus */
    bool parts; /* quantizers and integer helpers as nodes of their own */
    bool only;  /* instead of all that: what is on one side only, as a list */
    int room;   /* rows of the screen: nothing is folded when all fits */
    int depth;  /* steps from the focus */
    int focus;  /* map node */
    int n_keep; /* nodes shown wherever they are: the worst layers and the pinned ones */
    int keep[MAX_KEEP];
};
/* A rail's way through the cell of one row and lane. */
enum { RAIL_UP = 1, RAIL_DOWN = 2, RAIL_LEFT = 4, RAIL_RIGHT = 8, RAIL_PASS = 16, RAIL_NODE = 32 };
struct graph_row {
    int node;     /* map node, or the first of those folded */
    int hidden;   /* how many nodes are folded into this row; 0: it is one */
    uint8_t lane; /* where its node stands */
    uint8_t rail[MAX_LANES];
};
struct graph_rows {
    struct graph_look look;
    size_t n;
    struct graph_row *row;
    int *row_of; /* per map node: the row that shows it or folds it; -1: none */
    int lanes;   /* used by any row */
    bool folds;  /* some rows stand for many nodes */
    size_t lost; /* edges that had no lane */
};
struct graph_rows *graph_rows_new(const struct graphmap *g, const struct graph_look *look);
void graph_rows_free(struct graph_rows *r);

/* Makes s->rows anew if the map or what is looked at has changed. */
void graph_update(struct session *s);
/* Steps around the focus that are shown. */
int graph_depth(const struct session *s);
/* Puts the cursor on a node. After a jump, and when it is folded, it becomes the focus. */
void graph_go(struct session *s, int node, bool jump);
/* The row of the cursor; 0 when there are none. */
size_t graph_cursor(const struct session *s);
/* The next row with a node in a lane left (-1) or right (1) of the cursor, or -1. */
long graph_beside(const struct session *s, int direction);
/* The row of what reads the node under the cursor (1), or of what it reads (-1); -1: nothing. */
long graph_along(const struct session *s, int direction);

/* ---- What a node is (graph_text.c) ----------------------------------------------------------- */
enum { GRAPH_NEAR = 32 };
/* Name of a node as people know it, safe; in the ring of session_layer_label(). */
const char *graph_name(const struct session *s, int node);
/* "DWConv 3x3 s2 g32 +Clip", "input 1x3x224x224", "Q int8 s=0.0186 zp=-14". */
void graph_op_text(const struct session *s, int node, char *dst, size_t size);
/* The node that a layer is known by: the operator in front of what is fused with it. NULL: none. */
const struct node *graph_head(const struct session *s, int node);
/* Nodes that one side has for itself as parts of a layer, first to last; returns how many. */
size_t graph_fused(const struct session *s, int node, enum side side, int list[GRAPH_NEAR]);
/* Their operators: "MatMul, Add"; "" when there are none. */
void graph_fused_text(const struct session *s, int node, enum side side, char *dst, size_t size);
/* What a node reads (direction -1), or what reads it (1), quantizers and helpers left out. */
size_t graph_near(const struct session *s, int node, int direction, int list[GRAPH_NEAR]);
/* Conversions between floats and codes that pins add around a pinned node. */
struct conversions {
    size_t dequantize, quantize;
    double bytes; /* of the floats that are read or written, per image */
};
struct conversions graph_conversions(const struct session *s, int node);
/* All of them; a tensor that several pinned layers read is dequantized once. */
struct conversions graph_all_conversions(const struct session *s);
/* How far apart the scales of what a node reads are: largest / smallest; 1 when it reads one. */
double graph_scale_spread(const struct session *s, int node);
/* Weight of a convolution or matrix product, as codes or floats; NULL: none. */
const struct tensor *graph_weight(const struct graph *g, const struct node *n);

/* ---- Colours --------------------------------------------------------------------------------- */
struct graph_scale {
    const struct metric *metric; /* NULL: what layers cost */
    bool time;          /* of that: milliseconds in the INT8 model, or in the only one; else
                           products, in percent of the network's */
    double best, worst; /* over all layers; both NAN before a run */
};
bool graph_scale_known(const struct session *s, const struct graph_scale *sc, int layer);
/* What the scale measures of a layer for which it is known. */
double graph_measure(const struct session *s, const struct graph_scale *sc, int layer);
/* The same as text, without its unit. Returns dst. */
char *graph_measure_text(const struct session *s, const struct graph_scale *sc, int layer,
                         char *dst, size_t size);
const char *graph_scale_title(const struct graph_scale *sc);
const char *graph_scale_unit(const struct graph_scale *sc);
struct graph_scale graph_scale_of(const struct session *s);
/* Letter and style of a layer: grades of the SQNR, else equal steps from the best to the worst. */
char graph_grade(const struct session *s, const struct graph_scale *sc, int layer,
                 enum style *style);

/* ---- Drawing --------------------------------------------------------------------------------- */
/* One row of the graph (view_graph.c). rank: place of each layer in the ranking, from 0, or NULL.
 */
void draw_graph_row(const struct session *s, struct grid *g, struct rect r, size_t row,
                    const struct graph_scale *sc, const size_t *rank);
/* Places of all layers in the ranking of the layers view; free() it. */
size_t *graph_ranks(const struct session *s);
/* Everything known of the node under the cursor, and the map of the net (view_node.c). */
void draw_node(const struct session *s, struct grid *g, struct rect r, int node);
void draw_net(const struct session *s, struct grid *g, struct rect r);

#endif
