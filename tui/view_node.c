/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_node.c: beside the graph on wide terminals: everything known of the node under the cursor,
 * and the whole net as a map of one letter a layer.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/graph.h"

/* ---- The node ----------------------------------------------------------------------------------
 */

struct pane {
    struct grid *g;
    struct rect r;
    int row;
};

static void line(struct pane *p, const char *label, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void line(struct pane *p, const char *label, const char *fmt, ...)
{
    char text[512], fit[512];
    va_list ap;
    if (p->row >= p->r.row + p->r.rows)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    grid_text(p->g, p->row, p->r.col, 9, ST_DIM, label);
    text_fit(fit, sizeof(fit), text, p->r.cols - 9, label[0] == 'n' ? TEXT_TAIL : TEXT_HEAD);
    grid_text(p->g, p->row++, p->r.col + 9, p->r.cols - 9, ST_NORMAL, fit);
}

static void value_line(struct pane *p, const char *label, const struct graph *g, int v)
{
    char name[256], shape[96];
    const struct value *x = &g->values[v];
    line(p, label, "%s  %s", text_shape(shape, sizeof(shape), x),
         text_safe(name, sizeof(name), x->name));
}

static size_t elements(const struct tensor *t)
{
    return t ? t->n : 0;
}

/* Inputs that are activations, and the weights among the constants. */
static void input_lines(const struct session *s, struct pane *p, const struct graph *g,
                        const struct node *n)
{
    size_t parameters = 0;
    for (int k = 0; k < n->n_in; k++) {
        const int v = n->in[k];
        if (v >= 0 && !g->values[v].constant && (g != s->fp32 || g->values[v].producer >= 0))
            value_line(p, k ? "" : "in", g, v);
        if (v >= 0 && g->values[v].constant && dtype_is_float(g->values[v].constant->dtype))
            parameters += elements(g->values[v].constant);
    }
    const struct tensor *w = graph_weight(g, n);
    if (w) {
        char shape[96];
        line(p, "weight", "%s %s", shape_text(shape, sizeof(shape), w->rank, w->dims),
             dtype_name(w->dtype));
    }
    if (parameters)
        line(p, "params", "%zu", parameters);
}

static void quant_line(const struct layer *l, struct pane *p)
{
    if (!l->quantized || l->q.n == 0)
        line(p, "codes", "none: float in the INT8 model");
    else if (l->q.n > 1)
        line(p, "codes", "%s, %zu scales along axis %d", dtype_name(l->q.dtype), l->q.n, l->q.axis);
    else
        line(p, "codes", "%s s=%.6g zp=%d", dtype_name(l->q.dtype), (double)l->q.scale[0],
             (int)l->q.zero[0]);
}

static void fused_line(const struct session *s, struct pane *p, int node)
{
    char text[400];
    graph_fused_text(s, node, SIDE_FP32, text, sizeof(text));
    if (text[0])
        line(p, "fused", "%s: no tensor of their own in INT8", text);
    graph_fused_text(s, node, SIDE_INT8, text, sizeof(text));
    if (text[0])
        line(p, "", "%s: only in INT8", text);
}

/* Who else reads the codes that this node reads. */
static void shared_line(const struct session *s, struct pane *p, int node)
{
    int from[GRAPH_NEAR], readers[GRAPH_NEAR];
    const size_t n = graph_near(s, node, -1, from);
    for (size_t k = 0; k < n; k++) {
        const size_t others = graph_near(s, from[k], 1, readers);
        if (others > 1)
            line(p, "shared", "reads %s with %zu more", graph_name(s, from[k]), others - 1);
    }
}

static void layer_lines(const struct session *s, struct pane *p, int node)
{
    const size_t layer = (size_t)s->map->nodes[node].layer;
    const struct layer *l = &s->match.layers[layer];
    char name[256];
    quant_line(l, p);
    if (s->pair) {
        line(p, "matched", "by %s", match_by_name(l->by));
        line(p, "with", "%s", text_safe(name, sizeof(name), s->int8->values[l->int8].name));
        fused_line(s, p, node);
        shared_line(s, p, node);
        line(p, "INT8", "%s", session_runs_as(s, layer));
    }
    const struct conversions c = graph_conversions(s, node);
    char bytes[32];
    if (session_pinned(s, layer))
        line(p, "pinned", "%s; adds %zu DQ, %zu Q, %s an image",
             precisions[session_precision(s, layer)].title, c.dequantize, c.quantize,
             text_bytes(bytes, sizeof(bytes), c.bytes));
    const double *const *ms = (const double *const *)s->times.ms;
    if (layer < s->times.n && ms[SIDE_FP32] && ms[SIDE_INT8])
        line(p, "time", "%.3f ms, FP32 %.3f ms", ms[SIDE_INT8][layer], ms[SIDE_FP32][layer]);
    if (!s->study || layer >= s->study->n_layers)
        return;
    for (const struct metric *m = metrics; m->name; m++) {
        char value[48];
        if (m->of == METRIC_VERDICT)
            continue;
        if (p->row >= p->r.row + p->r.rows)
            return;
        text_layer(value, sizeof(value), s, layer, m);
        grid_printf(p->g, p->row++, p->r.col, ST_NORMAL, "%-17s%10s %s", m->name, value, m->unit);
    }
}

void draw_node(const struct session *s, struct grid *g, struct rect r, int node)
{
    r = rect_clip(g, r);
    if (r.rows < 2 || r.cols < 20)
        return;
    draw_rule(g, r.row, r.col, r.cols, "node under the cursor");
    struct pane p = {.g = g, .r = r, .row = r.row + 1};
    if (node < 0)
        return;
    const struct map_node *n = &s->map->nodes[node];
    const struct graph *from = n->fp32 >= 0 ? s->fp32 : s->int8;
    const int value = n->fp32 >= 0 ? n->fp32 : n->int8;
    const int made = from->values[value].producer;
    char text[256];
    graph_op_text(s, node, text, sizeof(text));
    line(&p, "name", "%s", graph_name(s, node));
    line(&p, "op", "%s", text);
    if (made >= 0)
        input_lines(s, &p, from, graph_head(s, node));
    value_line(&p, "out", from, value);
    if (n->layer >= 0)
        layer_lines(s, &p, node);
}

/* ---- The net -----------------------------------------------------------------------------------
 */

void draw_net(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    if (r.rows < 3 || r.cols < 10)
        return;
    const struct graph_scale sc = graph_scale_of(s);
    const size_t n = s->match.n_layers, room = (size_t)(r.rows - 2) * (size_t)r.cols;
    const size_t cells = MIN(n, room);
    const long here = view_current_layer(s);
    char text[128];
    snprintf(text, sizeof(text), "the net, %s", graph_scale_title(&sc));
    draw_rule(g, r.row, r.col, r.cols, text);
    static const char order[] = " =.-+#%@"; /* a cell of several layers shows the worst */
    for (size_t c = 0; c < cells; c++) {
        const size_t from = c * n / cells, to = MAX((c + 1) * n / cells, from + 1);
        char worst = ' ';
        enum style st = ST_DIM;
        for (size_t i = from; i < to; i++) {
            enum style one;
            const char letter = graph_grade(s, &sc, (int)i, &one);
            const char *a = strchr(order, letter), *b = strchr(order, worst);
            if (a && (!b || a > b)) {
                worst = letter;
                st = one;
            }
        }
        const bool at = here >= 0 && (size_t)here >= from && (size_t)here < to;
        const char cell[2] = {worst == ' ' ? ':' : worst, '\0'};
        grid_text(g, r.row + 1 + (int)(c / (size_t)r.cols), r.col + (int)(c % (size_t)r.cols), 1,
                  at ? ST_CURSOR : st, cell);
    }
    const int below = r.row + 1 + (int)((cells + (size_t)r.cols - 1) / (size_t)r.cols);
    if (here >= 0)
        snprintf(text, sizeof(text), "layer %ld of %zu in execution order%s", here + 1, n,
                 cells < n ? ", the worst of each group" : "");
    else
        snprintf(text, sizeof(text), "%zu layers in execution order", n);
    grid_text(g, below, r.col, r.cols, ST_DIM, text);
}
