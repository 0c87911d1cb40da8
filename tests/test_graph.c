/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_graph.c: the map of both models on graphs built by hand, and the rows and rails made of it
 * on random ones. What the graph view looks like is tested in tests/screens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tui/graph.h"

/* ---- Models by hand ----------------------------------------------------------------------------
 */

static int constant(struct graph *g, const char *name, enum dtype d, double v)
{
    const int at = graph_value(g, name);
    struct tensor *t = NULL;
    assert_int_equal(tensor_zeros(d, 0, NULL, NULL, &t, NULL), OK);
    if (d == DT_F32)
        *(float *)t->data = (float)v;
    g->values[at].constant = t;
    g->values[at].dtype = d;
    return at;
}

static void op(struct graph *g, const char *name, const char *type, const char *a, const char *b)
{
    const int in[] = {graph_value(g, a), b ? graph_value(g, b) : -1};
    const int out = graph_value(g, name);
    graph_add(g, type, "", name, b ? 2 : 1, in, 1, &out);
}

static void ends(struct graph *g, const char *in, const char *out)
{
    g->inputs = mem_alloc(sizeof(*g->inputs));
    g->outputs = mem_alloc(sizeof(*g->outputs));
    g->n_inputs = g->n_outputs = 1;
    g->inputs[0] = graph_value(g, in);
    g->outputs[0] = graph_value(g, out);
    g->values[g->inputs[0]].is_input = true;
    g->values[g->outputs[0]].is_output = true;
    for (size_t i = 0; i < g->n_values; i++)
        g->values[i].rank = -1;
    g->path = "test.onnx";
    struct err err = {0};
    if (graph_finish(g, &err) != OK)
        fail_msg("%s", err.text);
}

/* x, Conv a, Clip b; Conv c behind it; Add d of both; a shape beside that the Reshape takes. */
static struct graph *fp32_model(void)
{
    struct graph *g = graph_new();
    constant(g, "w", DT_F32, 2);
    op(g, "a", "Conv", "x", "w");
    op(g, "b", "Clip", "a", NULL);
    op(g, "c", "Conv", "b", "w");
    op(g, "d", "Add", "b", "c");
    op(g, "shape", "Shape", "b", NULL);
    g->values[graph_find(g, "shape")].dtype = DT_S64;
    op(g, "y", "Reshape", "d", "shape");
    ends(g, "x", "y");
    return g;
}

static void quantizer(struct graph *g, const char *from, const char *codes, const char *real)
{
    const int q_in[] = {graph_value(g, from), graph_value(g, "s"), graph_value(g, "z")};
    const int q = graph_value(g, codes), f = graph_value(g, real);
    const int dq_in[] = {q, q_in[1], q_in[2]};
    graph_add(g, "QuantizeLinear", "", codes, 3, q_in, 1, &q);
    graph_add(g, "DequantizeLinear", "", real, 3, dq_in, 1, &f);
}

static struct graph *int8_model(void)
{
    struct graph *g = graph_new();
    constant(g, "w", DT_F32, 2);
    constant(g, "s", DT_F32, 0.5);
    constant(g, "z", DT_S8, 0);
    quantizer(g, "x", "xq", "xd");
    op(g, "a", "Conv", "xd", "w"); /* clips by itself */
    quantizer(g, "a", "aq", "ad");
    op(g, "c", "Conv", "ad", "w");
    quantizer(g, "c", "cq", "cd");
    op(g, "d", "Add", "ad", "cd");
    quantizer(g, "d", "dq", "dd");
    op(g, "shape", "Shape", "ad", NULL);
    g->values[graph_find(g, "shape")].dtype = DT_S64;
    op(g, "extra", "Identity", "dd", NULL);
    op(g, "y", "Reshape", "extra", "shape");
    ends(g, "x", "y");
    return g;
}

struct pair {
    struct graph *fp32, *int8;
    struct match match;
    struct graphmap *map;
};

static struct pair pair_new(void)
{
    struct pair p = {.fp32 = fp32_model(), .int8 = int8_model()};
    struct err err = {0};
    if (match_graphs(p.fp32, p.int8, 0, NULL, &p.match, &err) != OK)
        fail_msg("%s", err.text);
    p.map = graphmap_new(p.fp32, p.int8, &p.match);
    return p;
}

static void pair_fini(struct pair *p)
{
    graphmap_free(p->map);
    match_fini(&p->match);
    graph_free(p->fp32);
    graph_free(p->int8);
}

/* The node of an FP32 value, or of what only the INT8 model has. */
static int node_of(const struct pair *p, const char *fp32, const char *int8)
{
    const int f = fp32 ? graph_find(p->fp32, fp32) : -1;
    const int i = int8 ? graph_find(p->int8, int8) : -1;
    for (size_t k = 0; k < p->map->n; k++) {
        const struct map_node *n = &p->map->nodes[k];
        if (n->kind != MAP_OUTPUT && n->fp32 == f && (fp32 || n->int8 == i))
            return (int)k;
    }
    fail_msg("no node of %s", fp32 ? fp32 : int8);
    return -1;
}

static bool has_edge(const struct graphmap *g, int from, int to)
{
    bool in = false, out = false;
    for (int e = g->out.start[from]; e < g->out.start[from + 1]; e++)
        out |= g->out.node[e] == to;
    for (int e = g->in.start[to]; e < g->in.start[to + 1]; e++)
        in |= g->in.node[e] == from;
    assert_true(in == out);
    return in;
}

/* ---- The map -----------------------------------------------------------------------------------
 */

static void map_of_a_pair(void **state)
{
    (void)state;
    struct pair p = pair_new();
    const struct graphmap *g = p.map;
    const int a = node_of(&p, "a", NULL), b = node_of(&p, "b", NULL), c = node_of(&p, "c", NULL);
    const int d = node_of(&p, "d", NULL), shape = node_of(&p, "shape", NULL);
    const int extra = node_of(&p, NULL, "extra"), y = node_of(&p, "y", NULL);
    /* The clipped tensor is the layer, the one before the clip is fused into it. */
    assert_int_equal(g->nodes[b].kind, MAP_LAYER);
    assert_int_equal(g->nodes[b].int8, graph_find(p.int8, "aq"));
    assert_int_equal(g->nodes[a].kind, MAP_FUSED);
    assert_int_equal(g->nodes[a].part_of, b);
    /* What the INT8 model has for itself before one layer is a part of that one. */
    assert_int_equal(g->nodes[extra].kind, MAP_FUSED);
    assert_int_equal(g->nodes[extra].part_of, y);
    assert_int_equal(g->nodes[extra].fp32, -1);
    /* The shape is there once, for both, and shown with what it comes from. */
    assert_int_equal(g->nodes[shape].kind, MAP_HELPER);
    assert_int_equal(g->nodes[shape].int8, graph_find(p.int8, "shape"));
    assert_int_equal(g->nodes[shape].part_of, b);
    assert_int_equal(g->quantize, 4);
    assert_int_equal(g->dequantize, 4);
    assert_int_equal(g->fused, 1);
    assert_int_equal(g->only[SIDE_FP32], 1);
    assert_int_equal(g->only[SIDE_INT8], 1);
    assert_int_equal(g->crossed, 0);
    /* Edges of both models: directly, and by way of the quantizers. */
    const int cq = node_of(&p, NULL, "cq"), cd = node_of(&p, NULL, "cd");
    assert_int_equal(g->nodes[cq].kind, MAP_QUANTIZE);
    assert_int_equal(g->nodes[cd].kind, MAP_DEQUANTIZE);
    assert_int_equal(g->nodes[cd].part_of, c);
    assert_true(has_edge(g, c, d) && has_edge(g, c, cq) && has_edge(g, cq, cd));
    assert_true(has_edge(g, cd, d) && has_edge(g, a, b) && !has_edge(g, a, c));
    pair_fini(&p);
}

static void edges_go_forward(void **state)
{
    (void)state;
    struct pair p = pair_new();
    size_t edges = 0;
    for (size_t k = 0; k < p.map->n; k++)
        for (int e = p.map->out.start[k]; e < p.map->out.start[k + 1]; e++, edges++)
            assert_true(p.map->out.node[e] > (int)k);
    assert_int_equal(edges, p.map->in.start[p.map->n]);
    for (size_t i = 0; i < p.match.n_layers; i++)
        assert_int_equal(p.map->nodes[p.map->of_layer[i]].layer, (int)i);
    pair_fini(&p);
}

static void shortest_ways(void **state)
{
    (void)state;
    struct pair p = pair_new();
    int *way = mem_alloc(p.map->n * sizeof(*way));
    const int b = node_of(&p, "b", NULL), c = node_of(&p, "c", NULL), d = node_of(&p, "d", NULL);
    assert_int_equal(graphmap_path(p.map, b, d, way), 2); /* past c */
    assert_int_equal(way[0], b);
    assert_int_equal(way[1], d);
    assert_int_equal(graphmap_path(p.map, b, b, way), 1);
    assert_int_equal(graphmap_path(p.map, d, c, way), 0);
    free(way);
    pair_fini(&p);
}

/* One model alone: every activation of it is there, and nothing is one-sided. */
static void map_of_one_model(void **state)
{
    (void)state;
    struct graph *models[] = {fp32_model(), int8_model()};
    for (int side = 0; side < 2; side++) {
        struct match m;
        match_single(models[side], (enum side)side, &m);
        struct graphmap *g = graphmap_new(side ? NULL : models[0], side ? models[1] : NULL, &m);
        assert_int_equal(g->n, side ? 16 : 8);
        assert_int_equal(g->quantize + g->dequantize, side ? 7 : 0);
        assert_int_equal(g->only[0] + g->only[1], 0);
        graphmap_free(g);
        match_fini(&m);
        graph_free(models[side]);
    }
}

/* ---- Rows --------------------------------------------------------------------------------------
 */

static struct graph_look whole(void)
{
    return (struct graph_look){.whole = true, .room = 1};
}

static void quantizers_are_folded(void **state)
{
    (void)state;
    struct pair p = pair_new();
    struct graph_look look = whole();
    struct graph_rows *r = graph_rows_new(p.map, &look);
    assert_int_equal(r->n, 6); /* x b c d y, and the output */
    assert_int_equal(r->row_of[node_of(&p, "a", NULL)], 1);
    assert_int_equal(r->row_of[node_of(&p, NULL, "aq")], 1);
    graph_rows_free(r);
    look.parts = true;
    r = graph_rows_new(p.map, &look);
    assert_int_equal(r->n, 6 + 8 + 1);
    graph_rows_free(r);
    look.only = true;
    r = graph_rows_new(p.map, &look);
    assert_int_equal(r->n, 2);
    assert_int_equal(r->row_of[node_of(&p, "c", NULL)], -1);
    graph_rows_free(r);
    pair_fini(&p);
}

static unsigned seed;
static int below(int n)
{
    seed = seed * 1103515245u + 12345u;
    return (int)((seed >> 8) % (unsigned)n);
}

/* A net of n nodes, each reading one or two of those before it, mostly near ones. */
static struct graph *random_model(int n, int reach)
{
    struct graph *g = graph_new();
    op(g, "t0", "Conv", "x", NULL);
    for (int i = 1; i < n; i++) {
        char name[16], a[16], b[16];
        snprintf(name, sizeof(name), "t%d", i);
        const int near = below(4) ? 2 : reach;
        snprintf(a, sizeof(a), "t%d", i - 1 - below(MIN(i, near)));
        snprintf(b, sizeof(b), "t%d", i - 1 - below(MIN(i, reach)));
        op(g, name, "Add", a, below(3) ? NULL : b);
    }
    char last[16];
    snprintf(last, sizeof(last), "t%d", n - 1);
    ends(g, "x", last);
    return g;
}

static bool across(const struct graph_row *row, int from, int to)
{
    for (int l = MIN(from, to); l < MAX(from, to); l++)
        if (!(row->rail[l] & RAIL_RIGHT) || !(row->rail[l + 1] & RAIL_LEFT))
            return false;
    return true;
}

/* Whether some lane leads from the node of one row to that of another. */
static bool connected(const struct graph_rows *r, int from, int to)
{
    for (int l = 0; l < MAX_LANES; l++) {
        bool way =
            (r->row[from].rail[l] & RAIL_DOWN) && across(&r->row[from], l, r->row[from].lane);
        for (int i = from + 1; i < to && way; i++)
            way = (r->row[i].rail[l] & RAIL_UP) && (r->row[i].rail[l] & RAIL_DOWN) &&
                  !(r->row[i].rail[l] & RAIL_NODE);
        if (way && (r->row[to].rail[l] & RAIL_UP) && across(&r->row[to], l, r->row[to].lane))
            return true;
    }
    return false;
}

static void rails_end_where_they_lead(const struct graph_rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        int nodes = 0;
        for (int l = 0; l < MAX_LANES; l++) {
            const int here = r->row[i].rail[l];
            const int below_it = i + 1 < r->n ? r->row[i + 1].rail[l] : 0;
            const int right = l + 1 < MAX_LANES ? r->row[i].rail[l + 1] : 0;
            nodes += (here & RAIL_NODE) != 0;
            assert_true(!(here & RAIL_DOWN) == !(below_it & RAIL_UP));
            assert_true(!(here & RAIL_RIGHT) == !(right & RAIL_LEFT));
        }
        assert_int_equal(nodes, 1);
        assert_true(r->row[i].rail[r->row[i].lane] & RAIL_NODE);
    }
}

static void check_rails(const struct graphmap *g, const struct graph_look *look)
{
    struct graph_rows *r = graph_rows_new(g, look);
    rails_end_where_they_lead(r);
    size_t hidden = 0, missing = 0;
    for (size_t k = 0; k < g->n; k++)
        for (int e = g->out.start[k]; e < g->out.start[k + 1]; e++) {
            const int from = r->row_of[k], to = r->row_of[g->out.node[e]];
            assert_true(from <= to);
            missing += from < to && !connected(r, from, to);
        }
    assert_true(r->lost ? missing > 0 : missing == 0);
    for (size_t i = 0; i < r->n; i++)
        hidden += r->row[i].hidden ? (size_t)r->row[i].hidden : 1;
    assert_int_equal(hidden, g->n);
    graph_rows_free(r);
}

static void rails_of_random_nets(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        seed = (unsigned)round;
        struct graph *f = random_model(2 + below(60), 1 + below(round < 200 ? 8 : 60));
        struct match m;
        match_single(f, SIDE_FP32, &m);
        struct graphmap *g = graphmap_new(f, NULL, &m);
        struct graph_look look = whole();
        check_rails(g, &look);
        look.whole = false;
        look.depth = below(4);
        look.focus = below((int)g->n);
        look.n_keep = 1;
        look.keep[0] = below((int)g->n);
        check_rails(g, &look);
        graphmap_free(g);
        match_fini(&m);
        graph_free(f);
    }
}

static void far_nodes_are_folded(void **state)
{
    (void)state;
    struct graph *f = graph_new();
    op(f, "t0", "Relu", "x", NULL);
    for (int i = 1; i < 40; i++) {
        char a[16], b[16];
        snprintf(a, sizeof(a), "t%d", i - 1);
        snprintf(b, sizeof(b), "t%d", i);
        op(f, b, "Relu", a, NULL);
    }
    ends(f, "x", "t39");
    struct match m;
    match_single(f, SIDE_FP32, &m);
    struct graphmap *g = graphmap_new(f, NULL, &m);
    struct graph_look look = {.room = 10, .depth = 2, .focus = 20, .n_keep = 1, .keep = {30}};
    struct graph_rows *r = graph_rows_new(g, &look);
    /* input, 17 folded, 5 around the focus, 7 folded, the kept one, 9 folded, output: the map's
     * node 20 is t19. */
    assert_int_equal(r->n, 11);
    const int want[] = {0, 17, 0, 0, 0, 0, 0, 7, 0, 10, 0};
    for (size_t i = 0; i < r->n; i++)
        assert_int_equal(r->row[i].hidden, want[i]);
    assert_int_equal(r->row[r->row_of[20]].node, 20);
    assert_true(r->folds);
    assert_int_equal(r->lanes, 1);
    graph_rows_free(r);
    look.room = 42; /* all of them fit */
    r = graph_rows_new(g, &look);
    assert_int_equal(r->n, 42);
    assert_false(r->folds);
    graph_rows_free(r);
    graphmap_free(g);
    match_fini(&m);
    graph_free(f);
}

/* Two branches from one node to another: the keys that go along and beside them. */
static void steps_in_the_graph(void **state)
{
    (void)state;
    struct session *s = session_new();
    s->fp32 = graph_new();
    op(s->fp32, "a", "Relu", "x", NULL);
    op(s->fp32, "left", "Conv", "a", NULL);
    op(s->fp32, "right", "Conv", "a", NULL);
    op(s->fp32, "b", "Concat", "left", "right");
    ends(s->fp32, "x", "b");
    match_single(s->fp32, SIDE_FP32, &s->match);
    session_map(s);
    enum { X, A, LEFT, RIGHT, B, OUT };
    assert_int_equal(s->rows->n, OUT + 1);
    s->ui.view = VIEW_GRAPH;
    graph_go(s, LEFT, false);
    assert_int_equal(graph_beside(s, 1), RIGHT);
    assert_int_equal(graph_beside(s, -1), -1);
    assert_int_equal(graph_along(s, 1), B);
    assert_int_equal(graph_along(s, -1), A);
    graph_go(s, RIGHT, false);
    assert_int_equal(graph_beside(s, -1), B);
    assert_int_equal(graph_along(s, -1), A);
    graph_go(s, A, false);
    assert_int_equal(graph_along(s, 1), LEFT);
    assert_int_equal(graph_along(s, -1), X);
    graph_go(s, OUT, false);
    assert_int_equal(graph_along(s, 1), -1);
    assert_int_equal(graph_cursor(s), OUT);
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_of_a_pair),         cmocka_unit_test(edges_go_forward),
        cmocka_unit_test(shortest_ways),         cmocka_unit_test(map_of_one_model),
        cmocka_unit_test(quantizers_are_folded), cmocka_unit_test(rails_of_random_nets),
        cmocka_unit_test(far_nodes_are_folded),  cmocka_unit_test(steps_in_the_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
