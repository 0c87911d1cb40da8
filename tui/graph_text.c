/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graph_text.c: what a node of the map is, in words and figures: its operator, what is fused into
 * it, which conversions pins add around it, and its grade.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/graph.h"

/* ---- Names and neighbours ----------------------------------------------------------------------
 */

static const struct map_node *node_of(const struct session *s, int node)
{
    return &s->map->nodes[node];
}

/* The model that a node is described by, and its value there. */
static const struct graph *graph_of(const struct session *s, const struct map_node *n, int *value)
{
    const bool fp32 = n->fp32 >= 0;
    *value = fp32 ? n->fp32 : n->int8;
    return fp32 ? s->fp32 : s->int8;
}

static const struct node *made_by(const struct graph *g, int value)
{
    const int made = value >= 0 ? g->values[value].producer : -1;
    return made >= 0 ? &g->nodes[made] : NULL;
}

const char *graph_name(const struct session *s, int node)
{
    static char ring[4][256];
    static unsigned at;
    const struct map_node *n = node_of(s, node);
    if (n->layer >= 0)
        return session_layer_label(s, (size_t)n->layer);
    int value;
    const struct graph *g = graph_of(s, n, &value);
    char *dst = ring[at++ % COUNT(ring)];
    return text_safe(dst, sizeof(ring[0]), value >= 0 ? g->values[value].name : "");
}

/* Nodes that are parts of `node`, reached from one of them or itself against the edges. Parts may
 * lie behind quantizers. */
static void collect_fused(const struct graphmap *g, int node, int at, enum side side, int *list,
                          size_t *n)
{
    for (int e = g->in.start[at]; e < g->in.start[at + 1]; e++) {
        const int from = g->in.node[e];
        const struct map_node *x = &g->nodes[from];
        bool known = x->part_of != node || (side == SIDE_FP32 ? x->fp32 : x->int8) < 0;
        for (size_t k = 0; k < *n; k++)
            known |= list[k] == from;
        if (known || *n == GRAPH_NEAR)
            continue;
        list[(*n)++] = from;
        collect_fused(g, node, from, side, list, n);
    }
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

size_t graph_fused(const struct session *s, int node, enum side side, int list[GRAPH_NEAR])
{
    size_t n = 0, kept = 0;
    collect_fused(s->map, node, node, side, list, &n);
    for (size_t k = 0; k < n; k++)
        if (s->map->nodes[list[k]].kind == MAP_FUSED)
            list[kept++] = list[k];
    qsort(list, kept, sizeof(list[0]), by_number);
    return kept;
}

void graph_fused_text(const struct session *s, int node, enum side side, char *dst, size_t size)
{
    int list[GRAPH_NEAR], value;
    const size_t n = graph_fused(s, node, side, list);
    size_t at = 0;
    dst[0] = '\0';
    for (size_t k = 0; k < n && at < size; k++) {
        char safe[64];
        const struct graph *g = graph_of(s, node_of(s, list[k]), &value);
        const struct node *x = made_by(g, value);
        at += (size_t)snprintf(dst + at, size - at, "%s%s", k ? ", " : "",
                               x ? text_safe(safe, sizeof(safe), x->op) : "?");
    }
}

static void collect_near(const struct graphmap *g, int at, int direction, int depth, int *list,
                         size_t *n)
{
    const struct map_edges *e = direction > 0 ? &g->out : &g->in;
    for (int i = e->start[at]; i < e->start[at + 1] && depth < 16; i++) {
        const int next = e->node[i];
        bool known = false;
        if (g->nodes[next].part_of >= 0) {
            collect_near(g, next, direction, depth + 1, list, n);
            continue;
        }
        for (size_t k = 0; k < *n; k++)
            known |= list[k] == next;
        if (!known && *n < GRAPH_NEAR)
            list[(*n)++] = next;
    }
}

size_t graph_near(const struct session *s, int node, int direction, int list[GRAPH_NEAR])
{
    size_t n = 0, own = 0;
    collect_near(s->map, node, direction, 0, list, &n);
    for (size_t k = 0; k < n; k++)
        if (list[k] != node)
            list[own++] = list[k];
    return own;
}

/* ---- Operators ---------------------------------------------------------------------------------
 */

const struct tensor *graph_weight(const struct graph *g, const struct node *n)
{
    for (int k = 1; k < n->n_in; k++) {
        int v = n->in[k];
        const struct node *from = v >= 0 ? made_by(g, v) : NULL;
        /* Behind a DequantizeLinear of constants. */
        if (from && from->n_in > 0 && strstr(from->op, "equantize") && from->in[0] >= 0)
            v = from->in[0];
        const struct tensor *t = v >= 0 ? g->values[v].constant : NULL;
        if (t && t->rank >= 2)
            return t;
    }
    return NULL;
}

static void conv_text(const struct node *n, const struct tensor *w, const char *op, char *dst,
                      size_t size)
{
    const int64_t group = attr_int(n, "group", 1);
    size_t count = 0;
    const int64_t *stride = attr_ints(n, "strides", &count);
    const bool transposed = strcmp(op, "ConvTranspose") == 0;
    const int64_t in = transposed ? w->dims[0] : w->dims[1] * group;
    const int64_t out = transposed ? w->dims[1] * group : w->dims[0];
    const bool depthwise = group > 1 && group == in;
    size_t at = (size_t)snprintf(dst, size, "%s%s ", depthwise ? "DW" : "", op);
    for (int d = 2; d < w->rank && at < size; d++)
        at +=
            (size_t)snprintf(dst + at, size - at, d > 2 ? "x%lld" : "%lld", (long long)w->dims[d]);
    if (count > 0 && stride[0] > 1 && at < size)
        at += (size_t)snprintf(dst + at, size - at, " s%lld", (long long)stride[0]);
    if (group > 1 && at < size)
        at += (size_t)snprintf(dst + at, size - at, " g%lld", (long long)group);
    if (!depthwise && at < size)
        snprintf(dst + at, size - at, " %lld>%lld", (long long)in, (long long)out);
}

static void graph_node_text(const struct graph *g, const struct node *n, const char *op, char *dst,
                            size_t size)
{
    char safe[64];
    const struct tensor *w = graph_weight(g, n);
    text_safe(safe, sizeof(safe), op);
    if (w && w->rank >= 3 && strncmp(op, "Conv", 4) == 0) {
        conv_text(n, w, safe, dst, size);
        return;
    }
    size_t k = 0, st = 0, at = (size_t)snprintf(dst, size, "%s", safe);
    if (w && w->rank == 2 && (strcmp(op, "Gemm") == 0 || strcmp(op, "MatMul") == 0)) {
        const bool t = attr_int(n, "transB", 0) != 0;
        snprintf(dst + at, size - at, " %lld>%lld", (long long)w->dims[t], (long long)w->dims[!t]);
        return;
    }
    const int64_t *kernel = attr_ints(n, "kernel_shape", &k);
    const int64_t *stride = attr_ints(n, "strides", &st);
    for (size_t i = 0; i < k && at < size; i++)
        at += (size_t)snprintf(dst + at, size - at, i ? "x%lld" : " %lld", (long long)kernel[i]);
    if (st > 0 && stride[0] > 1 && at < size)
        snprintf(dst + at, size - at, " s%lld", (long long)stride[0]);
}

const struct node *graph_head(const struct session *s, int node)
{
    const struct map_node *n = node_of(s, node);
    int value, list[GRAPH_NEAR];
    const struct graph *g = graph_of(s, n, &value);
    const struct node *made = made_by(g, value);
    if (n->layer < 0 || n->fp32 < 0)
        return made;
    const char *name = s->match.layers[n->layer].name;
    const size_t fused = graph_fused(s, node, SIDE_FP32, list);
    for (size_t k = 0; k < fused; k++) {
        const struct node *x = made_by(s->fp32, node_of(s, list[k])->fp32);
        if (x && strcmp(x->name, name) == 0)
            return x;
    }
    return made;
}

/* "Conv 3x3 3>32 +BatchNormalization +Clip" */
static void layer_text(const struct session *s, int node, char *dst, size_t size)
{
    const struct map_node *n = node_of(s, node);
    int value, list[GRAPH_NEAR];
    const struct graph *g = graph_of(s, n, &value);
    const struct node *head = graph_head(s, node), *last = made_by(g, value);
    const char *op = s->match.layers[n->layer].op;
    if (head)
        graph_node_text(g, head, n->fp32 >= 0 ? head->op : op, dst, size);
    else
        snprintf(dst, size, "%s", op);
    size_t at = strlen(dst);
    const size_t fused = graph_fused(s, node, SIDE_FP32, list);
    for (size_t k = 0; k <= fused && at < size; k++) {
        const struct node *x = k < fused ? made_by(s->fp32, node_of(s, list[k])->fp32) : last;
        char safe[64];
        if (x && x != head && n->fp32 >= 0)
            at +=
                (size_t)snprintf(dst + at, size - at, " +%s", text_safe(safe, sizeof(safe), x->op));
    }
}

/* Parameters of the codes that a quantizer works with: "Q uint8 s=0.0186 zp=114". */
static void quantizer_text(const struct session *s, const struct map_node *n, char *dst,
                           size_t size)
{
    static const char *const results[] = {"codes", "scale", "zero point"};
    const struct node *x = made_by(s->int8, n->int8);
    for (int o = 0; o < MIN(x->n_out, (int)COUNT(results)) && x->n_out > 1; o++)
        if (x->out[o] == n->int8) {
            snprintf(dst, size, "[Q] dynamic %s", results[o]);
            return;
        }
    const bool quantize = n->kind == MAP_QUANTIZE;
    const int codes = quantize ? n->int8 : x->in[0];
    const struct value *v = codes >= 0 ? &s->int8->values[codes] : NULL;
    const struct tensor *scale =
        x->n_in > 1 && x->in[1] >= 0 ? s->int8->values[x->in[1]].constant : NULL;
    const struct tensor *zero =
        x->n_in > 2 && x->in[2] >= 0 ? s->int8->values[x->in[2]].constant : NULL;
    size_t at = (size_t)snprintf(dst, size, "[%s]", quantize ? "Q" : "DQ");
    if (v && v->dtype != DT_NONE)
        at += (size_t)snprintf(dst + at, size - at, " %s", dtype_name(v->dtype));
    if (scale && scale->n == 1)
        snprintf(dst + at, size - at, " s=%.4g zp=%lld", tensor_f64(scale, 0),
                 zero && zero->n == 1 ? (long long)tensor_s64(zero, 0) : 0LL);
    else if (v && v->quant && v->quant->n == 1)
        snprintf(dst + at, size - at, " s=%.4g zp=%d", (double)v->quant->scale[0],
                 (int)v->quant->zero[0]);
}

void graph_op_text(const struct session *s, int node, char *dst, size_t size)
{
    const struct map_node *n = node_of(s, node);
    char shape[96], name[128];
    int value;
    const struct graph *g = graph_of(s, n, &value);
    const struct node *x = made_by(g, value);
    switch (n->kind) {
    case MAP_LAYER:
        layer_text(s, node, dst, size);
        return;
    case MAP_QUANTIZE:
    case MAP_DEQUANTIZE:
        quantizer_text(s, n, dst, size);
        return;
    case MAP_INPUT:
    case MAP_OUTPUT:
        text_safe(name, sizeof(name), g->values[value].name);
        text_shape(shape, sizeof(shape), &g->values[value]);
        snprintf(dst, size, "%s %s %s", n->kind == MAP_INPUT ? "input" : "output", name, shape);
        return;
    default:
        if (x)
            graph_node_text(g, x, x->op, dst, size);
        else
            text_safe(dst, size, g->values[value].name);
        return;
    }
}

/* ---- Precision ---------------------------------------------------------------------------------
 */

static const struct layer *layer_at(const struct session *s, int node)
{
    const int layer = node_of(s, node)->layer;
    return layer >= 0 ? &s->match.layers[layer] : NULL;
}

/* Codes run out of this node. */
static bool is_int8(const struct session *s, int node)
{
    const struct layer *l = layer_at(s, node);
    return l && l->quantized && !session_pinned(s, (size_t)node_of(s, node)->layer);
}

static bool is_pinned(const struct session *s, int node)
{
    return layer_at(s, node) && session_pinned(s, (size_t)node_of(s, node)->layer);
}

static double float_bytes(const struct session *s, int node)
{
    int value;
    const struct graph *g = graph_of(s, node_of(s, node), &value);
    double n = (double)dtype_size(DT_F32);
    for (int d = 0; d < g->values[value].rank; d++)
        n *= g->values[value].dims[d] > 0 ? (double)g->values[value].dims[d] : 1;
    return n;
}

/* Codes are made of a pinned layer's floats when a quantized one that is not pinned reads them. */
static bool is_quantized_again(const struct session *s, int node)
{
    int list[GRAPH_NEAR];
    const size_t n = graph_near(s, node, 1, list);
    bool again = false;
    for (size_t k = 0; k < n; k++)
        again |= is_int8(s, list[k]);
    return again && layer_at(s, node)->quantized;
}

struct conversions graph_conversions(const struct session *s, int node)
{
    struct conversions c = {0};
    int list[GRAPH_NEAR];
    if (!is_pinned(s, node))
        return c;
    const size_t n = graph_near(s, node, -1, list);
    for (size_t k = 0; k < n; k++)
        if (is_int8(s, list[k])) {
            c.dequantize++;
            c.bytes += float_bytes(s, list[k]);
        }
    if (is_quantized_again(s, node)) {
        c.quantize++;
        c.bytes += float_bytes(s, node);
    }
    return c;
}

struct conversions graph_all_conversions(const struct session *s)
{
    struct conversions all = {0};
    for (size_t i = 0; i < s->match.n_layers; i++) {
        const int node = s->map->of_layer[i];
        int list[GRAPH_NEAR];
        if (is_pinned(s, node)) {
            all.quantize += is_quantized_again(s, node);
            all.bytes += is_quantized_again(s, node) ? float_bytes(s, node) : 0;
            continue;
        }
        const size_t n = is_int8(s, node) ? graph_near(s, node, 1, list) : 0;
        bool read = false;
        for (size_t k = 0; k < n; k++)
            read |= is_pinned(s, list[k]);
        all.dequantize += read;
        all.bytes += read ? float_bytes(s, node) : 0;
    }
    return all;
}

double graph_scale_spread(const struct session *s, int node)
{
    int list[GRAPH_NEAR];
    double lo = INFINITY, hi = 0;
    const size_t n = graph_near(s, node, -1, list);
    for (size_t k = 0; k < n; k++) {
        const struct layer *l = layer_at(s, list[k]);
        if (!l || !l->quantized || l->q.n != 1 || !is_int8(s, list[k]))
            continue;
        lo = MIN(lo, (double)l->q.scale[0]);
        hi = MAX(hi, (double)l->q.scale[0]);
    }
    return hi > lo && lo > 0 ? hi / lo : 1;
}

/* ---- Colours -----------------------------------------------------------------------------------
 */

bool graph_scale_known(const struct session *s, const struct graph_scale *sc, int layer)
{
    if (layer < 0)
        return false;
    return sc->metric ? s->study && (size_t)layer < s->study->n_layers
           : sc->time ? (size_t)layer < s->times.n
                      : s->costs != NULL;
}

double graph_measure(const struct session *s, const struct graph_scale *sc, int layer)
{
    if (sc->time)
        return s->times.ms[s->times.ms[SIDE_INT8] ? SIDE_INT8 : SIDE_FP32][layer];
    if (!sc->metric)
        return macs_share(s, s->costs[layer].macs);
    return layer_metric(s, (size_t)layer, sc->metric);
}

char *graph_measure_text(const struct session *s, const struct graph_scale *sc, int layer,
                         char *dst, size_t size)
{
    if (sc->metric)
        return text_layer(dst, size, s, (size_t)layer, sc->metric);
    snprintf(dst, size, "%.*f", sc->time ? 3 : 1, graph_measure(s, sc, layer));
    return dst;
}

const char *graph_scale_title(const struct graph_scale *sc)
{
    return sc->metric ? sc->metric->title : sc->time ? "TIME" : "MACS";
}

const char *graph_scale_unit(const struct graph_scale *sc)
{
    return sc->metric ? sc->metric->unit : sc->time ? "ms" : "%";
}

struct graph_scale graph_scale_of(const struct session *s)
{
    struct graph_scale sc = {.best = NAN, .worst = NAN};
    sc.time = s->ui.graph_by == GRAPH_TIME;
    if (s->ui.graph_by == GRAPH_METRIC)
        sc.metric = s->ui.graph_color ? s->ui.graph_color : metric_find("sqnr");
    const bool high = sc.metric && sc.metric->higher_is_better;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        const double v = graph_scale_known(s, &sc, (int)i) ? graph_measure(s, &sc, (int)i) : NAN;
        if (!isfinite(v))
            continue;
        if (isnan(sc.best) || (high ? v > sc.best : v < sc.best))
            sc.best = v;
        if (isnan(sc.worst) || (high ? v < sc.worst : v > sc.worst))
            sc.worst = v;
    }
    return sc;
}

char graph_grade(const struct session *s, const struct graph_scale *sc, int layer,
                 enum style *style)
{
    static const char letters[] = ".-+#%@";
    static const enum style styles[] = {ST_GOOD, ST_WARN, ST_WARN, ST_BAD, ST_BAD, ST_BAD};
    *style = ST_DIM;
    if (!graph_scale_known(s, sc, layer))
        return ' ';
    const double v = graph_measure(s, sc, layer);
    if (sc->metric && strcmp(sc->metric->name, "sqnr") == 0) {
        *style = grade_style(v);
        return grade_letter(v);
    }
    if (isnan(v))
        return '?';
    const double share =
        isfinite(v) && sc->worst != sc->best ? (v - sc->best) / (sc->worst - sc->best) : 0;
    const int step = MIN((int)(share * (double)(COUNT(styles))), (int)COUNT(styles) - 1);
    *style = styles[MAX(step, 0)];
    return letters[MAX(step, 0)];
}

size_t *graph_ranks(const struct session *s)
{
    const size_t n = s->match.n_layers;
    size_t *order = mem_alloc((n + 1) * sizeof(*order));
    size_t *rank = mem_alloc((n + 1) * sizeof(*rank));
    session_layer_order(s, s->ui.sort, s->ui.sort_dir, order);
    for (size_t i = 0; i < n; i++)
        rank[order[i]] = i;
    free(order);
    return rank;
}
