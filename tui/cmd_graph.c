/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_graph.c: both models as a graph: shown, listed, written for Graphviz; ways between layers;
 * and the steps that keys of the graph view take.
 */
#include <errno.h>
#include <stdlib.h>

#include "tui/cmd_ui.h"
#include "tui/graph.h"

enum { LISTING_COLUMNS = 100 };

/* ---- Listing -----------------------------------------------------------------------------------
 */

static void print_rows(struct call *c)
{
    const struct session *s = c->s;
    const struct graph_scale sc = graph_scale_of(s);
    size_t *rank = graph_ranks(s);
    struct grid *g = grid_new(1, LISTING_COLUMNS, s->set.ascii);
    for (size_t i = 0; i < s->rows->n; i++) {
        grid_clear(g);
        draw_graph_row(s, g, (struct rect){0, 0, 1, LISTING_COLUMNS}, i, &sc, rank);
        grid_print(g, c->out);
    }
    grid_free(g);
    free(rank);
}

static const char *kind_name(enum map_kind kind)
{
    static const char *const names[] = {"input",  "layer",    "other",      "fused",
                                        "helper", "quantize", "dequantize", "output"};
    return names[kind];
}

static json_t *tensor_json(const struct graph *g, int v)
{
    return v >= 0 ? json_text(g->values[v].name) : json_null();
}

static json_t *node_json(const struct session *s, int node)
{
    const struct map_node *n = &s->map->nodes[node];
    char text[512];
    int list[GRAPH_NEAR];
    json_t *reads = json_array(), *fused = json_array();
    graph_op_text(s, node, text, sizeof(text));
    const size_t near = graph_near(s, node, -1, list);
    for (size_t i = 0; i < near; i++)
        json_array_append_new(reads, json_integer(list[i]));
    const size_t parts = graph_fused(s, node, SIDE_FP32, list);
    for (size_t i = 0; i < parts; i++)
        json_array_append_new(fused, tensor_json(s->fp32, s->map->nodes[list[i]].fp32));
    json_t *o = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "id", node, "kind",
                          kind_name(n->kind), "text", text, "name", json_text(graph_name(s, node)),
                          "fp32_tensor", tensor_json(s->fp32, n->fp32), "int8_tensor",
                          tensor_json(s->int8, n->int8), "reads", reads, "fused", fused);
    if (n->layer >= 0) {
        const struct graph_scale sc = graph_scale_of(s);
        const struct conversions add = graph_conversions(s, node);
        if (sc.metric)
            json_object_set_new(o, sc.metric->name,
                                json_num(layer_metric(s, (size_t)n->layer, sc.metric)));
        else if (s->costs)
            json_object_set_new(o, "macs", json_num(s->costs[n->layer].macs));
        if (sc.time)
            json_object_set_new(o, "ms", json_num(graph_measure(s, &sc, n->layer)));
        json_object_set_new(o, "pinned", json_boolean(session_pinned(s, (size_t)n->layer)));
        json_object_set_new(o, "precision", session_precision_json(s, (size_t)n->layer));
        json_object_set_new(o, "conversions",
                            json_integer((json_int_t)(add.dequantize + add.quantize)));
    }
    return o;
}

static void emit_rows(struct call *c)
{
    const struct session *s = c->s;
    json_t *nodes = json_array();
    size_t folded = 0;
    for (size_t i = 0; i < s->rows->n; i++) {
        if (s->rows->row[i].hidden)
            folded += (size_t)s->rows->row[i].hidden;
        else
            json_array_append_new(nodes, node_json(s, s->rows->row[i].node));
    }
    const struct graphmap *m = s->map;
    emit_json(c, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "nodes", nodes, "folded",
                           (json_int_t)folded, "quantize", (json_int_t)m->quantize, "dequantize",
                           (json_int_t)m->dequantize, "fused", (json_int_t)m->fused, "only_fp32",
                           (json_int_t)m->only[SIDE_FP32], "only_int8",
                           (json_int_t)m->only[SIDE_INT8]));
}

/* ---- Graphviz ----------------------------------------------------------------------------------
 */

static void put_quoted(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

static const char *style_color(enum style st)
{
    return st == ST_GOOD   ? "palegreen"
           : st == ST_WARN ? "khaki"
           : st == ST_BAD  ? "salmon"
                           : "white";
}

static void put_node(const struct session *s, FILE *f, size_t row, const struct graph_scale *sc)
{
    const struct graph_row *r = &s->rows->row[row];
    const struct map_node *n = &s->map->nodes[r->node];
    char text[512], label[1024];
    enum style st = ST_NORMAL;
    if (r->hidden) {
        snprintf(label, sizeof(label), "%d nodes", r->hidden);
    } else {
        graph_op_text(s, r->node, text, sizeof(text));
        const char letter = graph_grade(s, sc, n->layer, &st);
        snprintf(label, sizeof(label), "%s | %s %c", graph_name(s, r->node), text, letter);
    }
    const bool pinned = !r->hidden && n->layer >= 0 && session_pinned(s, (size_t)n->layer);
    const bool both = n->fp32 >= 0 && n->int8 >= 0;
    fprintf(f, "  n%zu [fillcolor=%s, style=\"filled%s\", peripheries=%d, label=", row,
            style_color(st), both || r->hidden ? "" : ",dashed", pinned ? 2 : 1);
    put_quoted(f, label);
    fputs("];\n", f);
}

static int write_dot(struct call *c, const char *path, struct err *err)
{
    const struct session *s = c->s;
    const struct graph_scale sc = graph_scale_of(s);
    char *text = NULL;
    size_t size = 0;
    struct map_edges in = {0}, out = {0};
    if (s->rows->look.only)
        return err_set(err, E_USAGE, "a list of what is on one side only is no graph");
    FILE *f = open_memstream(&text, &size);
    fputs("digraph qscope {\n  node [shape=box];\n", f);
    for (size_t i = 0; i < s->rows->n; i++)
        put_node(s, f, i, &sc);
    graphmap_group(s->map, s->rows->row_of, s->rows->n, &in, &out);
    for (size_t i = 0; i < s->rows->n; i++)
        for (int e = out.start[i]; e < out.start[i + 1]; e++)
            fprintf(f, "  n%zu -> n%d;\n", i, out.node[e]);
    fputs("}\n", f);
    fclose(f);
    const int rc = file_write(path, text, size, FILE_DURABLE, err);
    if (rc == OK && s->json)
        emit_json(c,
                  json_pack("{s:o,s:I}", "file", json_text(path), "nodes", (json_int_t)s->rows->n));
    else if (rc == OK)
        fprintf(c->note, "%zu nodes written to %s\n", s->rows->n, path);
    map_edges_fini(&in);
    map_edges_fini(&out);
    free(text);
    return rc;
}

/* ---- graph -------------------------------------------------------------------------------------
 */

static int set_color(struct session *s, const char *word, struct err *err)
{
    const struct metric *m = metric_find(word);
    if (!m)
        return err_set(err, E_USAGE, "no metric '%s'; 'metrics' lists them", word);
    s->ui.graph_color = m;
    s->ui.graph_by = GRAPH_METRIC;
    return OK;
}

static int choose_look(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct ui *ui = &s->ui;
    int64_t depth;
    size_t layer = 0;
    int rc = call_int(c, "--depth", MAX(ui->graph_depth, 1), &depth, err);
    if (rc == OK && (depth < 1 || depth > GRAPH_DEPTH_MAX))
        rc = err_set(err, E_USAGE, "--depth is from 1 to %d", GRAPH_DEPTH_MAX);
    if (rc == OK && c->n_args)
        rc = ui_one_layer(s, c->args[0], &layer, err);
    if (rc == OK && call_opt(c, "--color"))
        rc = set_color(s, call_opt(c, "--color"), err);
    if (rc != OK)
        return rc;
    if (call_opt(c, "--depth"))
        ui->graph_depth = (int)depth;
    ui->graph_parts = call_opt(c, "--quantizers") != NULL;
    ui->graph_only = call_opt(c, "--one-sided") != NULL;
    ui->graph_whole = c->n_args == 0 && !call_opt(c, "--depth");
    if (c->n_args)
        ui->graph_node = ui->graph_focus = s->map->of_layer[layer];
    graph_update(s);
    return OK;
}

static int exec_graph(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *dot = call_opt(c, "--dot");
    int rc = choose_look(c, err);
    rc = rc || !dot ? rc : call_may_write(c, dot, err);
    if (rc != OK)
        return rc;
    if (dot)
        return write_dot(c, dot, err);
    if (s->json)
        emit_rows(c);
    else if (s->screen)
        s->ui.view = VIEW_GRAPH;
    else
        print_rows(c);
    return OK;
}

static const struct opt_spec graph_opts[] = {
    {"--depth", ARG_COUNT, "N", "only what is at most so many steps away from the layer", NULL},
    {"--color", ARG_METRIC, "METRIC", "the metric that is shown and graded", NULL},
    {"--quantizers", ARG_FLAG, NULL, "Q, DQ and integer helpers as nodes of their own", NULL},
    {"--one-sided", ARG_FLAG, NULL, "instead, list what only one of the models has", NULL},
    {"--dot", ARG_FILE, "FILE", "write it for Graphviz", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

/* ---- path --------------------------------------------------------------------------------------
 */

/* A way between two nodes, in the order of the network whichever was named first. */
static size_t way_between(const struct graphmap *m, int a, int b, int *way)
{
    const size_t n = graphmap_path(m, MIN(a, b), MAX(a, b), way);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (m->nodes[way[i]].part_of < 0)
            way[kept++] = way[i];
    return kept;
}

static void print_way(struct call *c, const int *way, size_t n)
{
    const struct session *s = c->s;
    const struct graph_scale sc = graph_scale_of(s);
    for (size_t i = 0; i < n; i++) {
        char text[512], value[32] = "";
        const int layer = s->map->nodes[way[i]].layer;
        enum style st;
        graph_op_text(s, way[i], text, sizeof(text));
        if (graph_scale_known(s, &sc, layer))
            graph_measure_text(s, &sc, layer, value, sizeof(value));
        fprintf(c->out, "%10s %c  %-32s %s\n", value, graph_grade(s, &sc, layer, &st), text,
                graph_name(s, way[i]));
    }
}

static int exec_path(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t a, b;
    int rc = ui_one_layer(s, c->args[0], &a, err);
    rc = rc != OK ? rc : ui_one_layer(s, c->args[1], &b, err);
    if (rc != OK)
        return rc;
    int *way = mem_alloc((s->map->n + 1) * sizeof(*way));
    const size_t n = way_between(s->map, s->map->of_layer[a], s->map->of_layer[b], way);
    if (n == 0) {
        rc = err_set(err, E_STATE, "no way leads from '%s' to '%s'",
                     s->match.layers[MIN(a, b)].name, s->match.layers[MAX(a, b)].name);
    } else if (s->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, node_json(s, way[i]));
        emit_json(c, json_pack("{s:o}", "path", list));
    } else {
        print_way(c, way, n);
    }
    free(way);
    return rc;
}

/* ---- Steps -------------------------------------------------------------------------------------
 */

static int step_of(const char *word, int *step, struct err *err)
{
    *step = strcmp(word, "next") == 0 ? 1 : strcmp(word, "previous") == 0 ? -1 : 0;
    return *step ? OK : err_set(err, E_USAGE, "'%s' is neither next nor previous", word);
}

static int go_row(struct session *s, long row, const char *what, struct err *err)
{
    if (row < 0)
        return err_set(err, E_STATE, "there is no %s", what);
    graph_go(s, s->rows->row[row].node, false);
    return OK;
}

static int select_branch(struct session *s, const char *word, struct err *err)
{
    int step;
    const int rc = step_of(word, &step, err);
    return rc != OK ? rc : go_row(s, graph_beside(s, step), "branch on that side", err);
}

static int select_edge(struct session *s, const char *word, struct err *err)
{
    int step;
    const int rc = step_of(word, &step, err);
    const char *what = step > 0 ? "reader of this node" : "node that this one reads";
    return rc != OK ? rc : go_row(s, graph_along(s, step), what, err);
}

static int select_color(struct session *s, const char *word, struct err *err)
{
    int step;
    if (strcmp(word, "macs") == 0) {
        s->ui.graph_by = GRAPH_MACS;
        return OK;
    }
    if (strcmp(word, "time") == 0) {
        if (!s->times.n)
            return err_set(err, E_STATE, "not timed yet: cost --measure");
        s->ui.graph_by = GRAPH_TIME;
        return OK;
    }
    if (metric_find(word))
        return set_color(s, word, err);
    const int rc = step_of(word, &step, err);
    if (rc != OK)
        return rc;
    /* Products, and times when there are some, stand between the last metric and the first. */
    const enum graph_by by = s->ui.graph_by, last = s->times.n ? GRAPH_TIME : GRAPH_MACS;
    const struct metric *from = graph_scale_of(s).metric, *to = view_metric_step(from, step);
    if (by != GRAPH_METRIC && by + (enum graph_by)step <= last)
        s->ui.graph_by = (enum graph_by)((int)by + step);
    else if (by == GRAPH_METRIC && (step > 0 ? to == &metrics[0] : from == &metrics[0]))
        s->ui.graph_by = step > 0 ? GRAPH_MACS : last;
    else
        s->ui.graph_by = GRAPH_METRIC;
    if (by == GRAPH_METRIC || s->ui.graph_by == GRAPH_METRIC)
        s->ui.graph_color = to;
    return rc;
}

static int select_depth(struct session *s, const char *word, struct err *err)
{
    size_t depth;
    const int rc = ui_step(word, (size_t)graph_depth(s), GRAPH_DEPTH_MAX + 1, &depth, err);
    if (rc != OK)
        return err_in(err, "depth");
    s->ui.graph_depth = MAX((int)depth, 1);
    s->ui.graph_whole = s->ui.graph_only = false;
    graph_update(s);
    return OK;
}

int graph_select(struct session *s, const char *what, const char *word, struct err *err)
{
    static const struct {
        const char *what;
        int (*select)(struct session *s, const char *word, struct err *err);
    } selects[] = {
        {"branch", select_branch},
        {"edge", select_edge},
        {"color", select_color},
        {"depth", select_depth},
    };
    for (size_t i = 0; i < COUNT(selects); i++)
        if (strcmp(selects[i].what, what) == 0)
            return selects[i].select(s, word, err);
    return E_USAGE;
}

void graph_toggled(struct session *s)
{
    if (!s->rows)
        return;
    /* What is under the cursor stays in sight. */
    s->ui.graph_focus = s->ui.graph_node;
    graph_update(s);
    if (s->rows->n && s->rows->row_of[s->ui.graph_node] < 0)
        s->ui.graph_node = s->rows->row[0].node;
}

/* The next node in the order of the network whose name has the text, from the cursor on. */
int graph_find_text(const struct session *s, const char *text, int step,
                    bool (*has)(const char *text, const char *what))
{
    const int n = (int)s->map->n;
    int at = s->ui.graph_node;
    for (int i = 0; i < n; i++) {
        if (step != 0 || i > 0)
            at = (at + n + (step < 0 ? -1 : 1)) % n;
        if (s->map->nodes[at].part_of < 0 && has(graph_name(s, at), text))
            return at;
    }
    return -1;
}

/* ---- Table -------------------------------------------------------------------------------------
 */

const struct cmd cmd_graph[] = {
    {
        .name = "graph",
        .group = "graph",
        .help = "shows both models as one graph, around a layer or whole",
        .detail =
            "Activations that are compared stand once, with what is fused into them; the others "
            "say on which side they are. Quantizers are folded into the edges. On the screen it "
            "goes to the graph view, elsewhere it prints its rows.",
        .example = "graph /block4/dw/Conv --depth 2",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, true, false}},
        .opts = graph_opts,
        .exec = exec_graph,
    },
    {
        .name = "path",
        .group = "graph",
        .help = "shows a shortest way of the data from one layer to another",
        .detail = "The order of the two does not matter.",
        .example = "path /stem/Conv /block3/Add",
        .needs = NEED_MODEL,
        .args = {{"A", ARG_LAYER, NULL, false, false}, {"B", ARG_LAYER, NULL, false, false}},
        .exec = exec_path,
    },
    {0},
};
