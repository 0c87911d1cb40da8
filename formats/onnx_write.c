/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_write.c: graph to ModelProto. The file the graph was read from is copied field by field;
 * only what changed since is left out, replaced or added (onnx_put.c). So metadata, documentation
 * and fields that nobody here knows stay as they were.
 */
#include "formats/onnx.h"

#include <stdlib.h>

enum { IR_VERSION_MADE = 8 };      /* of graphs that were built in memory */
enum { IR_VERSION_NO_INPUTS = 4 }; /* from here on initializers need not be graph inputs */
enum { USED_BY_NODE = 1, USED_INSIDE = 2, MADE_BY_NODE = 4 }; /* INSIDE: in a subgraph */

struct writer {
    const struct graph *g;
    struct span model; /* of the source; empty when there is none */
    struct wire_buf *b;
    bool *used;            /* per value: input of a node or graph output */
    struct strmap in_file; /* name -> USED_ bits in the source */
    struct arena arena;    /* keys of in_file */
    int64_t ir_version;
    bool imports_onnx, imports_ms;
};

/* True for bytes of the file that is copied. A graph may hold parts of other files. */
static bool from_source(const struct writer *w, struct span s)
{
    uintptr_t p = (uintptr_t)s.p, from = (uintptr_t)w->model.p;
    return s.p && w->model.p && p >= from && p + s.n <= from + w->model.n;
}

/* ---- What is used --------------------------------------------------------------------------- */

static void find_used(struct writer *w)
{
    const struct graph *g = w->g;
    w->used = mem_alloc(g->n_values);
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            if (g->nodes[i].in[k] >= 0) {
                w->used[g->nodes[i].in[k]] = true;
            }
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        w->used[g->outputs[i]] = true;
    }
}

/* Notes who uses and makes a name in the source; called for its whole graph, with all subgraphs. */
static int note_use(void *ctx, const struct wire_message *m, const struct wire_item *it, int depth,
                    struct err *err)
{
    (void)err;
    struct writer *w = ctx;
    bool input = it->field == NODE_INPUT, output = it->field == NODE_OUTPUT && depth == 1;
    if (m != &onnx_node || !(input || output) || it->s.n == 0) {
        return OK;
    }
    const char *name = onnx_text(&w->arena, it->s);
    int bits = strmap_get(&w->in_file, name, 0);
    int more = bits | (output ? MADE_BY_NODE : depth == 1 ? USED_BY_NODE : USED_INSIDE);
    if (more != bits) {
        strmap_put(&w->in_file, name, more);
    }
    return OK;
}

/* ---- Initializers --------------------------------------------------------------------------- */

/* True when value v goes out as the initializer it was in the source. One that nobody ever used
 * stays, one that lost its last user goes. */
static bool keeps_initializer(const struct writer *w, const struct value *v)
{
    if (!from_source(w, v->raw)) {
        return false;
    }
    int before = strmap_get(&w->in_file, v->name, 0);
    return w->used[v - w->g->values] || before & USED_INSIDE || !(before & USED_BY_NODE);
}

/* True when value v goes out as an initializer that the source does not have. */
static bool adds_initializer(const struct writer *w, const struct value *v)
{
    return v->constant && !from_source(w, v->raw) && w->used[v - w->g->values];
}

/* An initializer whose data lies in another file, with the data inside. */
static int put_inlined(struct writer *w, struct span s, const struct value *v, struct err *err)
{
    if (!v->constant) {
        return err_set(err, E_UNSUPPORTED,
                       "initializer '%.80s' keeps its data in another file, as element type %d",
                       v->name, (int)v->dtype);
    }
    size_t begun = wire_begin(w->b, GRAPH_INITIALIZER);
    for (struct wire in = wire_open(w->model.p, s); wire_more(&in);) {
        struct wire_item it;
        int rc = wire_next(&in, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field != TENSOR_EXTERNAL_DATA && it.field != TENSOR_DATA_LOCATION) {
            wire_put_raw(w->b, it.whole);
        }
    }
    tensor_proto_write_data(w->b, v->constant);
    wire_end(w->b, begun);
    return OK;
}

static int put_initializer(struct writer *w, const struct wire_item *it, struct err *err)
{
    struct tensor_proto p;
    int rc = tensor_proto_read(wire_open(w->model.p, it->s), &p, err);
    if (rc) {
        return rc;
    }
    int i = onnx_value_find(w->g, p.name);
    const struct value *v = i >= 0 ? &w->g->values[i] : NULL;
    if (!v || v->raw.p != it->s.p || !keeps_initializer(w, v)) {
        return OK;
    }
    if (p.external) {
        return put_inlined(w, it->s, v, err);
    }
    wire_put_raw(w->b, it->whole);
    return OK;
}

static void put_new_initializers(struct writer *w)
{
    for (size_t i = 0; i < w->g->n_values; i++) {
        const struct value *v = &w->g->values[i];
        if (!adds_initializer(w, v)) {
            continue;
        }
        tensor_proto_write(w->b, GRAPH_INITIALIZER, v->name, v->constant);
        if (w->ir_version < IR_VERSION_NO_INPUTS) {
            struct value info = *v;
            info.dtype = v->constant->dtype;
            info.rank = v->constant->rank;
            memcpy(info.dims, v->constant->dims, sizeof info.dims);
            onnx_put_info(w->b, GRAPH_INPUT, &info);
        }
    }
}

/* ---- Nodes ---------------------------------------------------------------------------------- */

static int find_external(void *ctx, const struct wire_message *m, const struct wire_item *it,
                         int depth, struct err *err)
{
    (void)depth;
    (void)err;
    bool *found = ctx;
    *found |= m == &onnx_tensor && it->field == TENSOR_DATA_LOCATION && it->v == TENSOR_EXTERNAL;
    return OK;
}

/* A copied node must not point to files beside the old model. Tensors of its own were taken in by
 * the reader; what is left are those in subgraphs. */
static int check_external(const struct writer *w, const struct node *n, struct err *err)
{
    bool other = false, found = false;
    for (int i = 0; i < n->n_attrs; i++) {
        other |= n->attrs[i].kind == ATTR_OTHER;
    }
    int rc = other ? wire_check(w->model.p, n->raw, &onnx_node, find_external, &found, err) : OK;
    if (!rc && found) {
        rc = err_set(err, E_UNSUPPORTED,
                     "node '%.80s' (%.80s) keeps data of a subgraph in another file", n->name,
                     n->op);
    }
    return rc;
}

static int put_nodes(struct writer *w, struct err *err)
{
    for (size_t i = 0; i < w->g->n_nodes; i++) {
        const struct node *n = &w->g->nodes[i];
        int rc;
        if (from_source(w, n->raw)) {
            rc = check_external(w, n, err);
            wire_put_bytes(w->b, GRAPH_NODE, n->raw.p, n->raw.n);
        } else {
            rc = onnx_put_node(w->b, w->g, n, err);
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}

/* ---- Graph ---------------------------------------------------------------------------------- */

/* True when an entry of the source about a tensor of this name still holds. Entries for tensors
 * that were not there even then stay, unless a new tensor has come to that name. */
static bool keeps_entry(const struct writer *w, uint32_t field, struct span name)
{
    int i = onnx_value_find(w->g, name);
    const struct value *v = i >= 0 ? &w->g->values[i] : NULL;
    if (v && (v->is_input || keeps_initializer(w, v))) {
        return true;
    }
    if (field == GRAPH_INPUT || (v && v->constant)) {
        return false;
    }
    char text[WIRE_NAME_MAX + 1];
    bool was = strmap_get(&w->in_file, onnx_name(text, name), 0) & (MADE_BY_NODE | USED_BY_NODE);
    return was == (v && v->producer >= 0);
}

/* One field of the source's GraphProto; *nodes_done once the nodes are out, all together where the
 * first one stood. */
static int put_graph_field(struct writer *w, const struct wire_item *it, bool *nodes_done,
                           struct err *err)
{
    struct span name;
    int rc = OK;
    switch (it->field) {
    case GRAPH_NODE:
        rc = *nodes_done ? OK : put_nodes(w, err);
        *nodes_done = true;
        return rc;
    case GRAPH_INITIALIZER:
        return put_initializer(w, it, err);
    case GRAPH_INPUT:
    case GRAPH_VALUE_INFO:
        rc = onnx_find(w->model.p, it->s, INFO_NAME, &name, err);
        break;
    case GRAPH_QUANTIZATION:
        rc = onnx_find(w->model.p, it->s, ANNOTATION_TENSOR_NAME, &name, err);
        break;
    default:
        wire_put_raw(w->b, it->whole);
        return OK;
    }
    if (!rc && keeps_entry(w, it->field, name)) {
        wire_put_raw(w->b, it->whole);
    }
    return rc;
}

static int put_graph_copy(struct writer *w, struct span graph, struct err *err)
{
    bool nodes_done = false;
    int rc = wire_check(w->model.p, graph, &onnx_graph, note_use, w, err);
    if (rc) {
        return rc;
    }
    size_t begun = wire_begin(w->b, MODEL_GRAPH);
    for (struct wire in = wire_open(w->model.p, graph); wire_more(&in);) {
        struct wire_item it;
        rc = wire_next(&in, &it, err);
        if (!rc) {
            rc = put_graph_field(w, &it, &nodes_done, err);
        }
        if (rc) {
            return rc;
        }
    }
    if (!nodes_done) {
        rc = put_nodes(w, err);
    }
    put_new_initializers(w);
    wire_end(w->b, begun);
    return rc;
}

/* ---- Model ---------------------------------------------------------------------------------- */

/* True when a node that was made here belongs to the domain. */
static bool adds_domain(const struct writer *w, const char *domain)
{
    for (size_t i = 0; i < w->g->n_nodes; i++) {
        const struct node *n = &w->g->nodes[i];
        if (!from_source(w, n->raw) && strcmp(n->domain, domain) == 0) {
            return true;
        }
    }
    return false;
}

/* What must be known before the first field is copied: fields stand in any order. */
static int scan_model(struct writer *w, struct err *err)
{
    for (struct wire in = wire_open(w->model.p, w->model); wire_more(&in);) {
        struct wire_item it;
        struct onnx_import import;
        int rc = wire_next(&in, &it, err);
        if (!rc && it.field == MODEL_OPSET_IMPORT) {
            rc = onnx_import_read(w->model.p, it.s, &import, err);
            w->imports_onnx |= !rc && import.domain.n == 0;
            w->imports_ms |= !rc && wire_is(import.domain, "com.microsoft");
        } else if (!rc && it.field == MODEL_IR_VERSION) {
            w->ir_version = (int64_t)it.v;
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}

/* An import of the source; ai.onnx with the version of the graph, should that have been raised. */
static int put_import(struct writer *w, const struct wire_item *it, struct err *err)
{
    struct onnx_import import;
    int rc = onnx_import_read(w->model.p, it->s, &import, err);
    if (rc) {
        return rc;
    }
    if (import.domain.n == 0 && import.version < w->g->opset) {
        onnx_put_import(w->b, "", w->g->opset);
    } else {
        wire_put_raw(w->b, it->whole);
    }
    return OK;
}

static int put_model_copy(struct writer *w, struct err *err)
{
    int rc = scan_model(w, err);
    for (struct wire in = wire_open(w->model.p, w->model); !rc && wire_more(&in);) {
        struct wire_item it;
        rc = wire_next(&in, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == MODEL_GRAPH) {
            rc = put_graph_copy(w, it.s, err);
        } else if (it.field == MODEL_OPSET_IMPORT) {
            rc = put_import(w, &it, err);
        } else {
            wire_put_raw(w->b, it.whole);
        }
    }
    if (!w->imports_onnx && w->g->opset && adds_domain(w, "")) {
        onnx_put_import(w->b, "", w->g->opset);
    }
    if (!w->imports_ms && w->g->opset_ms && adds_domain(w, "com.microsoft")) {
        onnx_put_import(w->b, "com.microsoft", w->g->opset_ms);
    }
    return rc;
}

static int put_model_made(struct writer *w, struct err *err)
{
    const struct graph *g = w->g;
    wire_put_int(w->b, MODEL_IR_VERSION, (uint64_t)w->ir_version);
    wire_put_text(w->b, MODEL_PRODUCER_NAME, "qscope");
    size_t begun = wire_begin(w->b, MODEL_GRAPH);
    int rc = put_nodes(w, err);
    wire_put_text(w->b, GRAPH_NAME, g->name && *g->name ? g->name : "graph");
    put_new_initializers(w);
    for (size_t i = 0; i < g->n_inputs; i++) {
        onnx_put_info(w->b, GRAPH_INPUT, &g->values[g->inputs[i]]);
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        onnx_put_info(w->b, GRAPH_OUTPUT, &g->values[g->outputs[i]]);
    }
    wire_end(w->b, begun);
    onnx_put_import(w->b, "", g->opset);
    if (g->opset_ms) {
        onnx_put_import(w->b, "com.microsoft", g->opset_ms);
    }
    return rc;
}

int onnx_write(const struct graph *g, struct wire_buf *b, struct err *err)
{
    struct writer w = {.g = g, .b = b, .ir_version = IR_VERSION_MADE};
    find_used(&w);
    if (g->source) {
        w.model = g->source->model;
    }
    int rc = g->source ? put_model_copy(&w, err) : put_model_made(&w, err);
    if (!rc) {
        rc = wire_buf_check(b, err);
    }
    free(w.used);
    strmap_fini(&w.in_file);
    arena_fini(&w.arena);
    return rc;
}

int onnx_save(const struct graph *g, const char *path, struct err *err)
{
    struct wire_buf b = {0};
    int rc = onnx_write(g, &b, err);
    rc = rc ? err_in(err, "%s", path) : file_write(path, b.p, b.n, FILE_DURABLE, err);
    wire_buf_fini(&b);
    return rc;
}
