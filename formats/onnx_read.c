/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_read.c: ModelProto to graph. The whole file is checked against its tables first; after that
 * weights are borrowed from it and everything the graph does not show is left where it stands, for
 * onnx_write.c to copy.
 */
#include "formats/onnx.h"

#include <inttypes.h>
#include <stdlib.h>

/* The file of a graph and all its clones. */
struct onnx_source {
    struct graph_source source; /* first: what release is called with */
    struct file file;
};

static void source_release(struct graph_source *s)
{
    struct onnx_source *o = (struct onnx_source *)s;
    file_unmap(&o->file);
    free(o);
}

int onnx_check_memory(const struct onnx_reader *r, struct err *err)
{
    const struct graph *g = r->g;
    enum { SLOT = 64 /* a name in the map */, BLOCK = 64 /* around a tensor */ };
    size_t used = g->arena.used + g->cap_nodes * sizeof *g->nodes +
                  g->cap_values * (sizeof *g->values + SLOT) +
                  r->n_tensors * (sizeof(struct tensor) + BLOCK);
    if (used <= r->limit) {
        return OK;
    }
    return err_set(err, E_FORMAT, "%zu nodes and %zu tensors need more than %zu MiB", g->n_nodes,
                   g->n_values, r->limit >> 20);
}

/* ---- Initializers --------------------------------------------------------------------------- */

static int decode_initializer(struct onnx_reader *r, const struct tensor_proto *p, struct span s,
                              struct value *v, struct err *err)
{
    if (v->raw.p) {
        return wire_bad(&p->w, s.p, E_FORMAT, err, "two initializers have this name");
    }
    v->raw = s;
    v->dtype = p->dtype;
    v->rank = p->rank;
    memcpy(v->dims, p->dims, sizeof v->dims);
    if (!dtype_stored(p->dtype)) {
        return OK; /* refused when a node uses it */
    }
    r->n_tensors++;
    return tensor_proto_decode(p, r->g->path, true, &v->constant, err);
}

static int read_initializer(struct onnx_reader *r, struct span s, struct err *err)
{
    struct tensor_proto p;
    struct wire w = wire_open(r->base, s);
    struct span name;
    int rc = onnx_find(r->base, s, TENSOR_NAME, &name, err);
    if (rc) {
        return rc;
    }
    int i = onnx_value_of(r->g, name);
    if (i < 0) {
        return wire_bad(&w, s.p, E_FORMAT, err, "initializer without a name");
    }
    struct value *v = &r->g->values[i];
    rc = tensor_proto_read(w, &p, err);
    if (!rc) {
        rc = decode_initializer(r, &p, s, v, err);
    }
    return rc ? err_in(err, "initializer '%.80s'", v->name) : OK;
}

static int read_initializers(struct onnx_reader *r, struct err *err)
{
    for (struct wire w = wire_open(r->base, r->graph); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == GRAPH_SPARSE_INITIALIZER) {
            return wire_bad(&w, it.whole.p, E_UNSUPPORTED, err, "sparse initializer");
        }
        if (it.field != GRAPH_INITIALIZER) {
            continue;
        }
        rc = read_initializer(r, it.s, err);
        if (!rc) {
            rc = onnx_check_memory(r, err);
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}

/* ---- Nodes ---------------------------------------------------------------------------------- */

static int read_nodes(struct onnx_reader *r, struct err *err)
{
    for (struct wire w = wire_open(r->base, r->graph); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == GRAPH_NAME) {
            r->g->name = onnx_text(&r->g->arena, it.s);
        } else if (it.field == GRAPH_NODE) {
            rc = onnx_node_read(r, it.s, err);
            if (!rc) {
                rc = onnx_check_memory(r, err);
            }
            if (rc) {
                return rc;
            }
        }
    }
    return OK;
}

/* Unnamed nodes go by their first output, or their operator; numbered when that is taken. */
static void name_nodes(struct onnx_reader *r)
{
    struct graph *g = r->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (*n->name) {
            continue;
        }
        const char *stem = n->op;
        for (int k = n->n_out - 1; k >= 0; k--) {
            stem = n->out[k] >= 0 ? g->values[n->out[k]].name : stem;
        }
        n->name = stem;
        for (size_t k = i; strmap_get(&r->node_names, n->name, -1) >= 0; k += g->n_nodes) {
            n->name = arena_printf(&g->arena, "%s#%zu", stem, k);
        }
        strmap_put(&r->node_names, n->name, 0);
    }
}

/* What a node needs beyond well-formed edges: a known operator set, inputs that can be held. */
static int check_node(struct onnx_reader *r, const struct node *n, struct err *err)
{
    struct graph *g = r->g;
    char *function = mem_printf("%s::%s", n->domain, n->op);
    bool local = strmap_get(&r->functions, function, -1) >= 0;
    free(function);
    if (local) {
        return err_set(err, E_UNSUPPORTED, "node '%.80s' calls '%.80s', a function of the model",
                       n->name, n->op);
    }
    if (!*n->domain && !g->opset) {
        return err_set(err, E_FORMAT,
                       "node '%.80s' (%.80s) belongs to ai.onnx, which opset_import does not list",
                       n->name, n->op);
    }
    if (!g->opset_ms && strcmp(n->domain, "com.microsoft") == 0) {
        g->opset_ms = 1; /* the only version there is; old quantizers forgot to import it */
    }
    for (int k = 0; k < n->n_in; k++) {
        const struct value *v = n->in[k] >= 0 ? &g->values[n->in[k]] : NULL;
        if (v && v->raw.p && !v->constant) {
            return err_set(err, E_UNSUPPORTED,
                           "initializer '%.80s' of node '%.80s' (%.80s) has element type %d (%s)",
                           v->name, n->name, n->op, (int)v->dtype, dtype_name(v->dtype));
        }
    }
    return OK;
}

static int read_graph(struct onnx_reader *r, struct err *err)
{
    int rc = read_initializers(r, err);
    if (!rc) {
        rc = onnx_infos_read(r, GRAPH_INPUT, err);
    }
    if (!rc) {
        rc = read_nodes(r, err);
    }
    if (!rc) {
        rc = onnx_infos_read(r, GRAPH_OUTPUT, err);
    }
    if (!rc) {
        rc = onnx_infos_read(r, GRAPH_VALUE_INFO, err);
    }
    if (rc) {
        return rc;
    }
    name_nodes(r);
    for (size_t i = 0; i < r->g->n_nodes; i++) {
        rc = check_node(r, &r->g->nodes[i], err);
        if (rc) {
            return rc;
        }
    }
    return graph_finish(r->g, err);
}

/* ---- Model ---------------------------------------------------------------------------------- */

int onnx_import_read(const uint8_t *base, struct span s, struct onnx_import *out, struct err *err)
{
    struct onnx_import import = {0};
    for (struct wire w = wire_open(base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == OPSET_DOMAIN) {
            import.domain = it.s;
        } else if (it.field == OPSET_VERSION) {
            import.version = (int64_t)it.v;
        }
    }
    if (wire_is(import.domain, "ai.onnx")) {
        import.domain.n = 0;
    }
    *out = import;
    return OK;
}

static int read_import(struct onnx_reader *r, struct span s, struct err *err)
{
    struct onnx_import import;
    int rc = onnx_import_read(r->base, s, &import, err);
    if (rc) {
        return rc;
    }
    r->has_import = true;
    bool onnx = import.domain.n == 0;
    if (!onnx && !wire_is(import.domain, "com.microsoft")) {
        return OK;
    }
    if (import.version < 1 || import.version > INT32_MAX) {
        struct wire w = wire_open(r->base, s);
        return wire_bad(&w, s.p, E_FORMAT, err, "opset version %" PRId64 " of domain '%s'",
                        import.version, onnx ? "ai.onnx" : "com.microsoft");
    }
    *(onnx ? &r->g->opset : &r->g->opset_ms) = (int)import.version;
    return OK;
}

static int read_function(struct onnx_reader *r, struct span s, struct err *err)
{
    struct span name, domain;
    int rc = onnx_find(r->base, s, FUNCTION_NAME, &name, err);
    if (!rc) {
        rc = onnx_find(r->base, s, FUNCTION_DOMAIN, &domain, err);
    }
    if (!rc) {
        struct arena *a = &r->g->arena;
        const char *key = arena_printf(a, "%s::%s", onnx_text(a, domain), onnx_text(a, name));
        strmap_put(&r->functions, key, 0);
    }
    return rc;
}

static int read_model_field(struct onnx_reader *r, const struct wire_item *it, struct err *err)
{
    switch (it->field) {
    case MODEL_IR_VERSION:
        r->ir_version = (int64_t)it->v;
        return OK;
    case MODEL_OPSET_IMPORT:
        return read_import(r, it->s, err);
    case MODEL_FUNCTIONS:
        return read_function(r, it->s, err);
    case MODEL_GRAPH:
        r->graph = it->s;
        return OK;
    default:
        return OK;
    }
}

static int read_model(struct onnx_reader *r, struct span model, struct err *err)
{
    struct wire w = wire_open(r->base, model);
    while (wire_more(&w)) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (!rc) {
            rc = read_model_field(r, &it, err);
        }
        if (rc) {
            return rc;
        }
    }
    if (!r->graph.p) {
        return wire_bad(&w, w.end, E_FORMAT, err, "no graph in the file, expected one");
    }
    if (r->ir_version < 1) {
        return wire_bad(&w, w.end, E_FORMAT, err, "ir_version is %" PRId64 ", expected at least 1",
                        r->ir_version);
    }
    if (!r->has_import && r->ir_version >= 3) {
        return wire_bad(&w, w.end, E_FORMAT, err,
                        "no opset_import, expected one since ir_version is %" PRId64,
                        r->ir_version);
    }
    if (!r->has_import) {
        r->g->opset = 1; /* what models meant before they could say it */
    }
    return read_graph(r, err);
}

static int onnx_load(struct file *f, struct graph **out, struct err *err)
{
    struct onnx_source *source = mem_alloc(sizeof *source);
    source->file = *f;
    *f = (struct file){0};
    source->source.model = (struct span){.p = source->file.data, .n = source->file.size};
    source->source.release = source_release;
    atomic_init(&source->source.refs, 1);

    struct onnx_reader r = {.g = graph_new(), .base = source->file.data};
    r.g->source = &source->source;
    r.g->path = arena_dup(&r.g->arena, source->file.path);
    r.limit = 8 * source->file.size + ((size_t)64 << 20);
    const struct span model = source->source.model;
    int rc = wire_check(r.base, model, &onnx_model, NULL, NULL, err);
    if (!rc) {
        rc = read_model(&r, model, err);
    }
    strmap_fini(&r.functions);
    strmap_fini(&r.node_names);
    if (rc) {
        graph_free(r.g);
        return rc;
    }
    *out = r.g;
    return OK;
}

/* Most writers put ir_version first, but nothing says so: a file that starts otherwise is known by
 * its extension. The second field tells a model from a single tensor. */
static bool onnx_probe(const uint8_t *head, size_t n)
{
    static const uint8_t second[] = {0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72};
    return n > 3 && head[0] == 0x08 && head[1] > 0 && head[1] < 0x40 &&
           memchr(second, head[2], sizeof second);
}

const struct format format_onnx = {
    .name = "onnx",
    .extensions = ".onnx",
    .help = "ONNX model, any IR version; external data below its directory",
    .probe = onnx_probe,
    .load_model = onnx_load,
    .save_model = onnx_save,
};
