/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_graph.c: both models as one graph, from input to output: a row for each activation, tensors
 * as rails beside it, with its figure and grade, what is fused into it, and what pins change. Only
 * rows on the screen are drawn.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/graph.h"

enum {
    FIGURE_WIDTH = 14,
    WIDE = 120, /* columns from which there is room for panes beside the graph */
};

/* ---- Rails -------------------------------------------------------------------------------------
 */

/* By the directions UP DOWN LEFT RIGHT, bit 0 to 3. */
static const char *const boxes[16] = {" ", "│", "│", "│", "─", "┘", "┐", "┤",
                                      "─", "└", "┌", "├", "─", "┴", "┬", "┼"};
static const char *const plain[16] = {" ", "|", "|", "|", "-", "'", ".", "+",
                                      "-", "'", ".", "+", "-", "+", "+", "+"};

static void draw_rails(const struct session *s, struct grid *g, int row, int col, int width,
                       const struct graph_row *gr, enum style st)
{
    const char *const *shape = g->ascii ? plain : boxes;
    const int lanes = MIN(s->rows->lanes, (width + 1) / 2);
    for (int l = 0; l < lanes; l++) {
        const int rail = gr->rail[l];
        const int way = rail & RAIL_PASS ? rail & (RAIL_UP | RAIL_DOWN) : rail & 15;
        const bool node = (rail & RAIL_NODE) != 0;
        const char *mark = gr->hidden ? ":" : "o";
        grid_text(g, row, col + 2 * l, 1, node ? st : ST_DIM, node ? mark : shape[way]);
        if (rail & RAIL_RIGHT && 2 * l + 1 < width)
            grid_text(g, row, col + 2 * l + 1, 1, ST_DIM, shape[RAIL_LEFT | RAIL_RIGHT]);
    }
    if (gr->lane >= lanes && width > 0)
        grid_text(g, row, col + width - 1, 1, st, ">");
}

/* ---- Rows --------------------------------------------------------------------------------------
 */

/* Why a node has no counterpart, as the match says it; NULL: it has one. */
static const char *reason_of(const struct session *s, const struct map_node *n)
{
    const enum side side = n->fp32 >= 0 ? SIDE_FP32 : SIDE_INT8;
    const int value = n->fp32 >= 0 ? n->fp32 : n->int8;
    if (!s->pair || n->layer >= 0 || value < 0)
        return NULL;
    const char *name = (side == SIDE_FP32 ? s->fp32 : s->int8)->values[value].name;
    for (size_t i = 0; i < s->match.n_unmatched; i++)
        if (s->match.unmatched[i].side == side && strcmp(s->match.unmatched[i].tensor, name) == 0)
            return s->match.unmatched[i].reason;
    return NULL;
}

static void add_note(char *dst, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void add_note(char *dst, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t at = strlen(dst);
    if (at > 0)
        at += (size_t)snprintf(dst + at, size - at, ", ");
    va_start(ap, fmt);
    if (at < size)
        vsnprintf(dst + at, size - at, fmt, ap);
    va_end(ap);
}

static void note_side(const struct session *s, const struct map_node *n, char *dst, size_t size)
{
    char safe[256];
    const char *reason = s->rows->look.only ? reason_of(s, n) : NULL;
    if (!s->pair || n->kind == MAP_QUANTIZE || n->kind == MAP_DEQUANTIZE || n->kind == MAP_OUTPUT)
        return;
    if (n->fp32 < 0 || n->int8 < 0)
        add_note(dst, size, "only in %s", n->fp32 < 0 ? "INT8" : "FP32");
    else if (n->kind == MAP_OTHER || n->kind == MAP_HELPER)
        add_note(dst, size, "not compared");
    if (reason)
        add_note(dst, size, "%s", text_safe(safe, sizeof(safe), reason));
}

static void note_layer(const struct session *s, int node, char *dst, size_t size)
{
    const size_t layer = (size_t)s->map->nodes[node].layer;
    const struct conversions c = graph_conversions(s, node);
    char bytes[32];
    const double spread = graph_scale_spread(s, node);
    if (c.dequantize + c.quantize > 0)
        add_note(dst, size, "%s%s%s %s", c.dequantize ? "DQ>" : "",
                 precisions[session_precision(s, layer)].title, c.quantize ? ">Q" : "",
                 text_bytes(bytes, sizeof(bytes), c.bytes));
    if (s->pair && !s->match.layers[layer].quantized)
        add_note(dst, size, "float in INT8");
    const struct metric *ends[] = {metric_find("saturation_low"), metric_find("saturation_high")};
    double saturated = 0;
    for (size_t i = 0; i < COUNT(ends) && s->study && layer < s->study->n_layers; i++)
        saturated += ends[i]->value(&s->study->layers[layer].all, s->study->layers[layer].scale);
    if (saturated >= 0.5)
        add_note(dst, size, "sat %.1f%%", saturated);
    if (spread >= 2)
        add_note(dst, size, "scales %.1fx apart", spread);
}

/* Figure, unit and grade; returns the style of the grade. */
static void draw_figure(const struct session *s, struct grid *g, int row, int col,
                        const struct graph_scale *sc, int layer, char letter, enum style st)
{
    char value[32], text[48];
    graph_measure_text(s, sc, layer, value, sizeof(value));
    const char *name = graph_scale_unit(sc);
    const bool unit = name[0] && value[strlen(value) - 1] <= '9';
    snprintf(text, sizeof(text), "%s%s%s", value, unit ? " " : "", unit ? name : "");
    grid_printf(g, row, col, st, "%*s %c", FIGURE_WIDTH - 4, text, letter);
}

/* The worst layer among those folded into a row. */
static int worst_folded(const struct session *s, size_t row, const struct graph_scale *sc)
{
    int worst = -1;
    double most = -INFINITY;
    for (size_t k = (size_t)s->rows->row[row].node; k < s->map->n; k++) {
        const int layer = s->map->nodes[k].layer;
        if (s->rows->row_of[k] != (int)row || !graph_scale_known(s, sc, layer))
            continue;
        const double v = graph_measure(s, sc, layer);
        const double badness = sc->metric && sc->metric->higher_is_better ? -v : v;
        if (badness > most) {
            most = badness;
            worst = layer;
        }
    }
    return worst;
}

/* Text of a row with dots up to the figure; returns the columns used without them. */
static void draw_text(struct grid *g, int row, int col, int width, enum style st, const char *text,
                      bool dots)
{
    char fit[512];
    int used = text_fit(fit, sizeof(fit), text, width, TEXT_HEAD);
    grid_text(g, row, col, width, st, fit);
    for (used++; dots && used < width; used++)
        grid_text(g, row, col + used, 1, ST_DIM, ".");
}

static void draw_node_text(const struct session *s, struct grid *g, int row, int col, int width,
                           int node, bool dots)
{
    const struct map_node *n = &s->map->nodes[node];
    char text[512];
    graph_op_text(s, node, text, sizeof(text));
    if (s->rows->look.only)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "  %s", graph_name(s, node));
    const size_t used = strlen(text);
    const bool pinned = n->layer >= 0 && session_pinned(s, (size_t)n->layer);
    const bool pending = n->layer >= 0 && session_pin_pending(s, (size_t)n->layer);
    if (pinned)
        snprintf(text + used, sizeof(text) - used, "  *%s*%s",
                 precisions[session_precision(s, (size_t)n->layer)].title, pending ? " ~" : "");
    else if (pending)
        snprintf(text + used, sizeof(text) - used, "  INT8 again ~");
    const enum style st = pinned || pending ? ST_PIN : n->kind == MAP_LAYER ? ST_NORMAL : ST_DIM;
    draw_text(g, row, col, width, st, text, dots);
}

void draw_graph_row(const struct session *s, struct grid *g, struct rect r, size_t at,
                    const struct graph_scale *sc, const size_t *rank)
{
    const struct graph_row *gr = &s->rows->row[at];
    const struct map_node *n = &s->map->nodes[gr->node];
    const int layer = gr->hidden ? worst_folded(s, at, sc) : n->layer;
    const int rails = MIN(MAX(2 * s->rows->lanes - 1, 0), r.cols * 3 / 10);
    const int note = r.cols >= 100 ? 34 : r.cols >= 60 ? 20 : 0;
    const int figure = r.col + r.cols - note - FIGURE_WIDTH;
    const int ranks = MAX(7, 4 + snprintf(NULL, 0, "%zu", s->match.n_layers));
    const int text = r.col + ranks + rails + 1;
    enum style st;
    char notes[512] = "", fit[512];
    const char letter = graph_grade(s, sc, layer, &st);
    const bool figures = graph_scale_known(s, sc, layer) &&
                         (!sc->metric || (s->pair && s->study->layers[layer].images > 0));
    if (layer >= 0 && !gr->hidden && rank)
        grid_printf(g, r.row, r.col + 2, ST_NORMAL, "#%zu", rank[layer] + 1);
    if (layer >= 0 && !gr->hidden && s->marked[layer])
        grid_text(g, r.row, r.col + 1, 1, ST_WARN, "+");
    draw_rails(s, g, r.row, r.col + ranks, rails, gr, st);
    if (gr->hidden) {
        snprintf(notes, sizeof(notes), "... %d nodes folded%s", gr->hidden,
                 figures ? sc->metric ? ", the worst" : ", the most" : "");
        draw_text(g, r.row, text, figure - text, ST_DIM, notes, figures);
        notes[0] = '\0';
    } else {
        draw_node_text(s, g, r.row, text, figure - text, gr->node, figures);
        note_side(s, n, notes, sizeof(notes));
        if (n->layer >= 0)
            note_layer(s, gr->node, notes, sizeof(notes));
    }
    if (figures)
        draw_figure(s, g, r.row, figure, sc, layer, letter, st);
    /* Without a figure its columns are room for the note. */
    const int from = figures ? figure + FIGURE_WIDTH : figure + 1;
    text_fit(fit, sizeof(fit), notes, r.col + r.cols - from, TEXT_HEAD);
    grid_text(g, r.row, from, r.col + r.cols - from, n->kind == MAP_LAYER ? ST_WARN : ST_DIM, fit);
}

/* ---- Around the rows ---------------------------------------------------------------------------
 */

static void draw_head(const struct session *s, struct grid *g, int row, int cols,
                      const struct graph_scale *sc)
{
    const struct graph_look *look = &s->rows->look;
    char what[512], scale[96], fit[512], lost[64] = "";
    if (s->rows->lost)
        snprintf(lost, sizeof(lost), ", %zu edges without a rail", s->rows->lost);
    if (look->only)
        snprintf(what, sizeof(what), " on one side only: %zu", s->rows->n);
    else if (!s->rows->folds)
        snprintf(what, sizeof(what), " whole net%s", lost);
    else
        snprintf(what, sizeof(what), " around %s, depth %d%s", graph_name(s, look->focus),
                 look->depth, lost);
    if (sc->metric && strcmp(sc->metric->name, "sqnr") == 0)
        snprintf(scale, sizeof(scale), "%s  @<5 %%<10 #<15 +<20 -<30 . dB ", sc->metric->title);
    else
        snprintf(scale, sizeof(scale), "%s%s%s  . %.4g to @ %.4g ", graph_scale_title(sc),
                 sc->metric ? "" : " ", sc->metric ? "" : graph_scale_unit(sc), sc->best,
                 sc->worst);
    const int right = text_width(scale);
    grid_style(g, row, 0, cols, ST_HEAD);
    text_fit(fit, sizeof(fit), what, cols - right - 2, TEXT_HEAD);
    grid_text(g, row, 0, cols, ST_HEAD, fit);
    grid_text(g, row, cols - right, right, ST_HEAD, scale);
}

/* What is not seen in the rows, and what pins cost; then the name under the cursor. */
static void draw_notes(const struct session *s, struct grid *g, int row, int cols)
{
    const struct graphmap *m = s->map;
    const struct conversions c = graph_all_conversions(s);
    char text[512] = "", fit[512], bytes[32];
    size_t at = 0;
    if (s->pair && c.dequantize + c.quantize > 0)
        at = (size_t)snprintf(text, sizeof(text), " pins add %zu DQ, %zu Q, %s an image |",
                              c.dequantize, c.quantize, text_bytes(bytes, sizeof(bytes), c.bytes));
    if (s->pair)
        snprintf(text + at, sizeof(text) - at,
                 " only INT8: %zu Q, %zu DQ, %zu others | only FP32: %zu, %zu fused | X lists",
                 m->quantize, m->dequantize, m->only[SIDE_INT8], m->only[SIDE_FP32], m->fused);
    else
        snprintf(text, sizeof(text), " %zu nodes, %zu Q and %zu DQ among them", m->n, m->quantize,
                 m->dequantize);
    text_fit(fit, sizeof(fit), text, cols - 1, TEXT_HEAD);
    grid_text(g, row, 0, cols - 1, ST_DIM, fit);
    if (s->rows->n == 0)
        return;
    const struct graph_row *r = &s->rows->row[graph_cursor(s)];
    snprintf(text, sizeof(text), " %s", r->hidden ? "Enter or o unfolds" : graph_name(s, r->node));
    text_fit(fit, sizeof(fit), text, cols - 1, TEXT_TAIL);
    grid_text(g, row + 1, 0, cols - 1, ST_DIM, fit);
}

static void draw_rows(const struct session *s, struct grid *g, struct rect box)
{
    const struct graph_scale sc = graph_scale_of(s);
    size_t *rank = graph_ranks(s);
    const int height = box.rows - 3;
    const struct rows place = {.n = s->rows->n, .cursor = graph_cursor(s)};
    const size_t first = rows_top(&place, height);
    draw_head(s, g, box.row, box.cols, &sc);
    for (size_t i = first; i < s->rows->n && i - first < (size_t)MAX(height, 0); i++) {
        const int row = box.row + 1 + (int)(i - first);
        draw_graph_row(s, g, (struct rect){row, box.col, 1, box.cols}, i, &sc, rank);
        draw_row_end(g, row, box.cols, i, i == place.cursor);
    }
    draw_notes(s, g, box.row + box.rows - 2, box.cols);
    free(rank);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    struct rect box = {top, 0, rows, g->cols};
    if (!s->rows) {
        grid_text(g, top + 1, 3, -1, ST_NORMAL, "No model is loaded. Press : and type");
        grid_text(g, top + 3, 3, -1, ST_NORMAL, "   load pair model.onnx model_int8.onnx");
        return;
    }
    if (g->cols >= WIDE) {
        const int beside = MIN(56, g->cols - 96), net = rows / 3;
        const char *bar = g->ascii ? "|" : "\xe2\x94\x82";
        box.cols = g->cols - beside;
        for (int r = 0; r < rows; r++)
            grid_text(g, top + r, box.cols, 1, ST_DIM, bar);
        const struct rect node = {top, box.cols + 2, rows - net, beside - 2};
        const struct rect low = {top + node.rows, node.col, net, node.cols};
        const struct graph_row *at = s->rows->n ? &s->rows->row[graph_cursor(s)] : NULL;
        draw_node(s, g, node, at && !at->hidden ? at->node : -1);
        draw_net(s, g, low);
    }
    draw_rows(s, g, box);
}

const struct view view_graph = {
    .name = "graph",
    .title = "Graph",
    .help = "both models as one graph: what is matched, fused, on one side only, and pinned",
    .draw = draw,
};
