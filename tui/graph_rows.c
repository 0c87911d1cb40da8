/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graph_rows.c: the map of both models as rows from input to output, with the tensors between them
 * as rails. Made once for what is looked at; drawing a screen of it costs that screen alone.
 *
 * A tensor runs down the lane of the node that makes it to its first reader; one lane beside takes
 * it to all others. A node stands in the leftmost lane that ends in it.
 */
#include <stdlib.h>

#include "tui/graph.h"

/* ---- Which nodes are rows ---------------------------------------------------------------------
 */

struct making {
    const struct graphmap *g;
    struct graph_rows *r;
    int *line_of; /* map node -> line: what remains when parts are taken into what shows them */
    int *first;   /* line -> map node */
    size_t n_lines;
    bool *shown; /* per line */
};

static bool is_part(const struct graph_look *look, const struct map_node *n)
{
    return n->part_of >= 0 && (n->kind == MAP_FUSED || !look->parts);
}

static void make_lines(struct making *m)
{
    const struct graphmap *g = m->g;
    const struct graph_look *look = &m->r->look;
    m->line_of = mem_alloc((g->n + 1) * sizeof(*m->line_of));
    m->first = mem_alloc((g->n + 1) * sizeof(*m->first));
    for (size_t k = 0; k < g->n; k++)
        if (!is_part(look, &g->nodes[k])) {
            m->first[m->n_lines] = (int)k;
            m->line_of[k] = (int)m->n_lines++;
        }
    for (size_t k = 0; k < g->n; k++)
        if (is_part(look, &g->nodes[k]))
            m->line_of[k] = m->line_of[g->nodes[k].part_of];
}

/* Lines at most `depth` steps from the one of the focus, in either direction. */
static void show_around(struct making *m, const struct map_edges *in, const struct map_edges *out)
{
    const struct graph_look *look = &m->r->look;
    int *queue = mem_alloc((m->n_lines + 1) * sizeof(*queue));
    int *steps = mem_alloc((m->n_lines + 1) * sizeof(*steps));
    size_t tail = 0;
    queue[tail++] = m->line_of[look->focus];
    m->shown[queue[0]] = true;
    for (size_t head = 0; head < tail && steps[queue[head]] < look->depth; head++) {
        const struct map_edges *both[] = {in, out};
        const int at = queue[head];
        for (size_t k = 0; k < COUNT(both); k++)
            for (int e = both[k]->start[at]; e < both[k]->start[at + 1]; e++) {
                const int next = both[k]->node[e];
                if (m->shown[next])
                    continue;
                m->shown[next] = true;
                steps[next] = steps[at] + 1;
                queue[tail++] = next;
            }
    }
    free(queue);
    free(steps);
}

static void choose_lines(struct making *m)
{
    const struct graph_look *look = &m->r->look;
    const bool all = look->whole || m->n_lines <= (size_t)look->room;
    m->shown = mem_alloc(m->n_lines + 1);
    for (size_t i = 0; i < m->n_lines; i++) {
        const enum map_kind kind = m->g->nodes[m->first[i]].kind;
        m->shown[i] = all || kind == MAP_INPUT || kind == MAP_OUTPUT;
    }
    if (all || m->n_lines == 0)
        return;
    struct map_edges in, out;
    graphmap_group(m->g, m->line_of, m->n_lines, &in, &out);
    show_around(m, &in, &out);
    map_edges_fini(&in);
    map_edges_fini(&out);
    for (int i = 0; i < look->n_keep; i++)
        m->shown[m->line_of[look->keep[i]]] = true;
}

/* Lines become rows; a run of hidden ones becomes one, unless it is a single line. */
static void fold_lines(struct making *m)
{
    struct graph_rows *r = m->r;
    int *row_of_line = mem_alloc((m->n_lines + 1) * sizeof(*row_of_line));
    r->row = mem_alloc((m->n_lines + 1) * sizeof(*r->row));
    for (size_t i = 0, end; i < m->n_lines; i = end) {
        for (end = i + 1; !m->shown[i] && end < m->n_lines && !m->shown[end];)
            end++;
        r->row[r->n].node = m->first[i];
        r->row[r->n].hidden = end - i > 1 ? (int)(end - i) : 0;
        r->folds |= end - i > 1;
        for (size_t k = i; k < end; k++)
            row_of_line[k] = (int)r->n;
        r->n++;
    }
    for (size_t k = 0; k < m->g->n; k++)
        r->row_of[k] = row_of_line[m->line_of[k]];
    free(row_of_line);
}

/* ---- Rails ------------------------------------------------------------------------------------
 */

/* A tensor on its way down to readers at..end of the edges; at == end: the lane is free. */
struct lane {
    int at, end;
};
struct rails {
    struct graph_rows *r;
    const struct map_edges *out;
    struct lane lane[MAX_LANES];
};

static bool lane_free(const struct lane *l)
{
    return l->at == l->end;
}

/* The nearest free lane from `from` on to the right, else any; -1: none. */
static int find_free(const struct rails *x, int from, const bool *taken)
{
    for (int i = 0; i < MAX_LANES; i++) {
        const int l = (from + i) % MAX_LANES;
        if (lane_free(&x->lane[l]) && !(taken && taken[l]))
            return l;
    }
    return -1;
}

/* A line across from one lane to another. It passes those between, but for lanes that join the same
 * node. */
static void connect(uint8_t *rail, const bool *joins, int from, int to)
{
    const int a = MIN(from, to), b = MAX(from, to);
    rail[a] |= RAIL_RIGHT;
    rail[b] |= RAIL_LEFT;
    for (int l = a + 1; l < b; l++)
        rail[l] |=
            RAIL_LEFT | RAIL_RIGHT | (rail[l] & (RAIL_UP | RAIL_DOWN) && !joins[l] ? RAIL_PASS : 0);
}

/* Where a node stands: in the leftmost lane that ends in it, else beside what it reads. */
static int place_node(const struct rails *x, const bool *joins)
{
    int beside = -1;
    for (int l = 0; l < MAX_LANES; l++) {
        if (joins[l] && x->lane[l].at + 1 == x->lane[l].end)
            return l;
        if (joins[l] && beside < 0)
            beside = l;
    }
    const int lane = find_free(x, beside + 1, NULL);
    return lane >= 0 ? lane : MAX_LANES - 1;
}

/* Leads lanes that reach this row to its node. taken: lanes that end here, not to be used again in
 * the same row, where they would look like one that goes on. */
static void lead_in(struct rails *x, struct graph_row *row, const bool *joins, bool *taken)
{
    for (int l = 0; l < MAX_LANES; l++) {
        struct lane *lane = &x->lane[l];
        const bool ends = joins[l] && lane->at + 1 == lane->end;
        if (lane_free(lane))
            continue;
        row->rail[l] |= RAIL_UP | (ends ? 0 : RAIL_DOWN);
        taken[l] = ends;
    }
    for (int l = 0; l < MAX_LANES; l++) {
        if (!joins[l])
            continue;
        if (l != row->lane)
            connect(row->rail, joins, l, row->lane);
        x->lane[l].at++;
    }
}

static void lead_out(struct rails *x, struct graph_row *row, int first, int end, const bool *joins,
                     const bool *taken)
{
    if (first == end)
        return;
    if (!lane_free(&x->lane[row->lane])) { /* no lane was left for the node itself */
        x->r->lost += (size_t)(end - first);
        return;
    }
    x->lane[row->lane] = (struct lane){first, first + 1};
    row->rail[row->lane] |= RAIL_DOWN;
    if (end - first == 1)
        return;
    const int rest = find_free(x, row->lane + 1, taken);
    if (rest < 0) {
        x->r->lost += (size_t)(end - first - 1);
        return;
    }
    connect(row->rail, joins, row->lane, rest);
    x->lane[rest] = (struct lane){first + 1, end};
    row->rail[rest] |= RAIL_DOWN;
}

static void lay_rails(struct making *m)
{
    struct graph_rows *r = m->r;
    struct map_edges in, out;
    graphmap_group(m->g, r->row_of, r->n, &in, &out);
    struct rails x = {.r = r, .out = &out};
    for (size_t i = 0; i < r->n; i++) {
        struct graph_row *row = &r->row[i];
        bool joins[MAX_LANES] = {false}, taken[MAX_LANES] = {false};
        for (int l = 0; l < MAX_LANES; l++)
            joins[l] = !lane_free(&x.lane[l]) && out.node[x.lane[l].at] == (int)i;
        row->lane = (uint8_t)place_node(&x, joins);
        lead_in(&x, row, joins, taken);
        lead_out(&x, row, out.start[i], out.start[i + 1], joins, taken);
        row->rail[row->lane] |= RAIL_NODE;
        for (int l = 0; l < MAX_LANES; l++)
            r->lanes = row->rail[l] ? MAX(r->lanes, l + 1) : r->lanes;
    }
    map_edges_fini(&in);
    map_edges_fini(&out);
}

/* ---- What is on one side only ------------------------------------------------------------------
 */

static bool one_sided(const struct map_node *n)
{
    const bool quantizer = n->kind == MAP_QUANTIZE || n->kind == MAP_DEQUANTIZE;
    return !quantizer && n->kind != MAP_OUTPUT && (n->fp32 < 0 || n->int8 < 0);
}

static void list_one_sided(struct making *m)
{
    struct graph_rows *r = m->r;
    r->row = mem_alloc((m->g->n + 1) * sizeof(*r->row));
    for (size_t k = 0; k < m->g->n; k++) {
        r->row_of[k] = -1;
        if (!one_sided(&m->g->nodes[k]))
            continue;
        r->row_of[k] = (int)r->n;
        r->row[r->n++].node = (int)k;
    }
}

struct graph_rows *graph_rows_new(const struct graphmap *g, const struct graph_look *look)
{
    struct graph_rows *r = mem_alloc(sizeof(*r));
    struct making m = {.g = g, .r = r};
    r->look = *look;
    r->row_of = mem_alloc((g->n + 1) * sizeof(*r->row_of));
    if (look->only) {
        list_one_sided(&m);
        return r;
    }
    make_lines(&m);
    choose_lines(&m);
    fold_lines(&m);
    lay_rails(&m);
    free(m.line_of);
    free(m.first);
    free(m.shown);
    return r;
}

void graph_rows_free(struct graph_rows *r)
{
    if (!r)
        return;
    free(r->row);
    free(r->row_of);
    free(r);
}

/* ---- What the session looks at -----------------------------------------------------------------
 */

enum { WORST_KEPT = 3, CHROME_ROWS = 7 /* of the screen around the rows */ };

int graph_depth(const struct session *s)
{
    return s->ui.graph_depth > 0 ? s->ui.graph_depth : GRAPH_DEPTH;
}

static struct graph_look look_of(const struct session *s)
{
    const struct ui *ui = &s->ui;
    const int last = (int)s->map->n - 1;
    struct graph_look look = {.whole = ui->graph_whole,
                              .parts = ui->graph_parts,
                              .only = ui->graph_only,
                              .depth = graph_depth(s),
                              .focus = MAX(0, MIN(ui->graph_focus, last))};
    if (look.whole || look.only)
        return look;
    if (ui->graph_depth == 0)
        look.room = (ui->rows > 0 ? ui->rows : 24) - CHROME_ROWS;
    size_t *order = mem_alloc((s->match.n_layers + 1) * sizeof(*order));
    const size_t n = s->study ? session_layer_order(s, ui->sort, ui->sort_dir, order) : 0;
    for (size_t i = 0; i < MIN(n, WORST_KEPT); i++)
        look.keep[look.n_keep++] = s->map->of_layer[order[i]];
    for (size_t i = 0; i < s->match.n_layers && look.n_keep < MAX_KEEP; i++)
        if (session_pinned(s, i))
            look.keep[look.n_keep++] = s->map->of_layer[i];
    free(order);
    return look;
}

static bool same_look(const struct graph_look *a, const struct graph_look *b)
{
    return a->whole == b->whole && a->parts == b->parts && a->only == b->only &&
           a->room == b->room && a->depth == b->depth && a->focus == b->focus &&
           a->n_keep == b->n_keep &&
           memcmp(a->keep, b->keep, (size_t)a->n_keep * sizeof(a->keep[0])) == 0;
}

void graph_update(struct session *s)
{
    if (!s->map)
        return;
    const struct graph_look look = look_of(s);
    if (s->rows && same_look(&s->rows->look, &look))
        return;
    graph_rows_free(s->rows);
    s->rows = graph_rows_new(s->map, &look);
}

void session_map(struct session *s)
{
    graph_rows_free(s->rows);
    graphmap_free(s->map);
    s->rows = NULL;
    s->map = NULL;
    free(s->costs);
    s->costs = s->fp32 ? layer_costs(s->fp32, &s->match) : NULL;
    s->macs = 0;
    for (size_t k = 0; s->costs && k < s->match.n_layers; k++)
        s->macs += s->costs[k].macs;
    if (!s->fp32 && !s->int8)
        return;
    s->map = graphmap_new(s->fp32, s->int8, &s->match);
    s->ui.graph_node = s->ui.graph_focus = 0;
    graph_update(s);
}

void graph_go(struct session *s, int node, bool jump)
{
    struct ui *ui = &s->ui;
    ui->graph_node = node;
    const int row = s->rows->row_of[node];
    if (jump || row < 0 || s->rows->row[row].hidden) {
        ui->graph_focus = node;
        ui->graph_only &= row >= 0;
        graph_update(s);
    }
    if (s->map->nodes[node].layer >= 0)
        ui->layer = (size_t)s->map->nodes[node].layer;
}

size_t graph_cursor(const struct session *s)
{
    const struct graph_rows *r = s->rows;
    const int row = r && s->ui.graph_node < (int)s->map->n ? r->row_of[s->ui.graph_node] : -1;
    return row >= 0 ? (size_t)row : 0;
}

long graph_beside(const struct session *s, int direction)
{
    const struct graph_rows *r = s->rows;
    if (!r || r->n == 0)
        return -1;
    const long at = (long)graph_cursor(s), n = (long)r->n;
    const int lane = r->row[at].lane;
    for (long away = 1; away < n; away++)
        for (int up = 1; up >= -1; up -= 2) {
            const long row = at + up * away;
            if (row >= 0 && row < n &&
                (direction > 0 ? r->row[row].lane > lane : r->row[row].lane < lane))
                return row;
        }
    return -1;
}

long graph_along(const struct session *s, int direction)
{
    const struct graph_rows *r = s->rows;
    const struct graphmap *g = s->map;
    if (!r || r->n == 0)
        return -1;
    const long at = (long)graph_cursor(s);
    long found = -1;
    for (size_t k = 0; k < g->n; k++) {
        const struct map_edges *e = direction > 0 ? &g->out : &g->in;
        for (int i = e->start[k]; r->row_of[k] == at && i < e->start[k + 1]; i++) {
            const long row = r->row_of[e->node[i]];
            if (row >= 0 && (row - at) * direction > 0 &&
                (found < 0 || (found - row) * direction > 0))
                found = row;
        }
    }
    return found;
}
