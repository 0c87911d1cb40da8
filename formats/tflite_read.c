/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tflite_read.c: a TensorFlow Lite model to a graph. Operators become nodes of the domain "tflite"
 * named as the builtin, options attributes, tensors values in the model's own layout. Weights are
 * borrowed from the mapped file; quantization lives on the values.
 */
#include "formats/tflite.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

struct reader {
    struct graph *g;
    struct span file;
    struct flat_table model;
    struct flat_vector opcodes, buffers, tensors, operators;
    size_t cap_inputs, cap_outputs;
};

/* The file of a graph and all its clones. */
struct tflite_source {
    struct graph_source source; /* first: what release is called with */
    struct file file;
};

static void source_release(struct graph_source *s)
{
    struct tflite_source *t = (struct tflite_source *)s;
    file_unmap(&t->file);
    free(t);
}

/* ---- Tensors -------------------------------------------------------------------------------- */

/* TensorType of the schema. */
static enum dtype dtype_of(int64_t type)
{
    static const enum dtype types[] = {
        DT_F32, DT_F16,  DT_S32, DT_U8,   DT_S64,  DT_STRING, DT_BOOL, DT_S16, DT_NONE, DT_S8,
        DT_F64, DT_NONE, DT_U64, DT_NONE, DT_NONE, DT_U32,    DT_U16,  DT_S4,  DT_BF16,
    };
    return type >= 0 && type < (int64_t)COUNT(types) ? types[type] : DT_NONE;
}

static char *text_of(struct arena *a, struct span s)
{
    return arena_dup_n(a, s.p ? (const char *)s.p : "", s.n);
}

/* Tensors need not have names, nor different ones: values are told apart by their number. */
static int add_value(struct reader *r, const struct flat_table *t, size_t i)
{
    struct graph *g = r->g;
    const char *name = text_of(&g->arena, flat_string(t, TFL_TENSOR_NAME));
    if (!*name || graph_find(g, name) >= 0) {
        name = arena_printf(&g->arena, "%s#%zu", name, i);
    }
    return graph_value(g, graph_fresh(g, name));
}

static int read_shape(const struct flat_table *t, struct value *v, struct err *err)
{
    struct flat_vector shape = flat_vector(t, TFL_TENSOR_SHAPE, 4);
    struct flat_vector open = flat_vector(t, TFL_TENSOR_SIGNATURE, 4);
    if (shape.n > MAX_RANK) {
        return err_set(err, E_UNSUPPORTED, "rank %zu, at most %d are supported", shape.n, MAX_RANK);
    }
    v->rank = (int)shape.n;
    for (size_t d = 0; d < shape.n; d++) {
        v->dims[d] = flat_signed_at(&shape, d, 4);
        if (v->dims[d] < 0) {
            return err_set(err, E_FORMAT, "dimension %zu is %" PRId64, d, v->dims[d]);
        }
        if (d && open.n == shape.n && flat_signed_at(&open, d, 4) < 0) {
            v->dims[d] = -1; /* the batch stays what it is without being resized: 1 */
        }
    }
    return OK;
}

/* One scale or one per channel; symmetric unless zero points are given. */
static int read_quant(struct reader *r, const struct flat_table *t, struct value *v,
                      struct err *err)
{
    struct flat_table q = flat_sub(t, TFL_TENSOR_QUANT);
    struct flat_vector scale = flat_vector(&q, TFL_QUANT_SCALE, 4);
    struct flat_vector zero = flat_vector(&q, TFL_QUANT_ZERO, 8);
    int64_t axis = flat_signed(&q, TFL_QUANT_AXIS, 4, 0), lo, hi;
    if (!scale.n || dtype_is_float(v->dtype) || !dtype_range(v->dtype, &lo, &hi)) {
        return OK;
    }
    if (zero.n && zero.n != scale.n) {
        return err_set(err, E_FORMAT, "%zu scales and %zu zero points", scale.n, zero.n);
    }
    if (scale.n > 1 && (axis < 0 || axis >= v->rank || v->dims[axis] != (int64_t)scale.n)) {
        return err_set(err, E_FORMAT, "%zu scales along dimension %" PRId64 " do not fit the shape",
                       scale.n, axis);
    }
    float *s = arena_alloc(&r->g->arena, scale.n * sizeof *s);
    int32_t *z = arena_alloc(&r->g->arena, scale.n * sizeof *z);
    for (size_t i = 0; i < scale.n; i++) {
        int64_t code = flat_signed_at(&zero, i, 8);
        s[i] = flat_float_at(&scale, i);
        if (!isfinite(s[i]) || s[i] < 0 || code < lo || code > hi) {
            return err_set(err, E_FORMAT, "scale %g with zero point %" PRId64, (double)s[i], code);
        }
        z[i] = (int32_t)code;
    }
    struct quant *p = arena_alloc(&r->g->arena, sizeof *p);
    *p = (struct quant){.dtype = v->dtype,
                        .axis = scale.n > 1 ? (int)axis : -1,
                        .n = scale.n,
                        .scale = s,
                        .zero = z};
    v->quant = p;
    return OK;
}

/* The bytes of a buffer, in the buffer itself or behind the FlatBuffer (large models). */
static int buffer_bytes(const struct reader *r, size_t i, struct span *out, struct err *err)
{
    struct flat_table b = flat_table_at(&r->buffers, i);
    struct flat_vector data = flat_vector(&b, TFL_BUFFER_DATA, 1);
    uint64_t offset = flat_unsigned(&b, TFL_BUFFER_OFFSET, 8, 0);
    uint64_t size = flat_unsigned(&b, TFL_BUFFER_SIZE, 8, 0);
    *out = (struct span){.p = data.n ? data.file.p + data.at : NULL, .n = data.n};
    if (data.n || offset <= 1) {
        return OK;
    }
    if (offset > r->file.n || size > r->file.n - offset) {
        return err_set(err, E_FORMAT,
                       "buffer %zu: %" PRIu64 " bytes at %" PRIu64 " lie outside of the file", i,
                       size, offset);
    }
    *out = (struct span){.p = r->file.p + offset, .n = (size_t)size};
    return OK;
}

/* Two codes a byte, the low half first, become one a byte. */
static int unpack_s4(struct span s, struct value *v, size_t n, struct err *err)
{
    int rc = s.n == n / 2 + n % 2 ? tensor_new(DT_S4, v->rank, v->dims, NULL, &v->constant, err)
                                  : err_set(err, E_FORMAT, "%zu bytes for %zu codes", s.n, n);
    for (size_t i = 0; i < n && !rc; i++) {
        unsigned half = (unsigned)s.p[i / 2] >> (i % 2 ? 4 : 0) & 15U;
        ((int8_t *)v->constant->data)[i] = (int8_t)((int)(half ^ 8U) - 8);
    }
    return rc;
}

static int read_constant(struct span s, struct value *v, struct err *err)
{
    size_t n = 1, size;
    for (int d = 0; d < v->rank; d++) {
        if (v->dims[d] < 0 || !mul_ok(n, (size_t)v->dims[d], &n)) {
            return err_set(err, E_FORMAT, "a constant of unknown or too large shape");
        }
    }
    if (v->dtype == DT_S4) {
        return unpack_s4(s, v, n, err);
    }
    if (!dtype_size(v->dtype)) {
        return OK; /* refused when a node uses it */
    }
    if (!mul_ok(n, dtype_size(v->dtype), &size) || size != s.n) {
        char shape[128];
        return err_set(err, E_FORMAT, "%zu bytes of data do not make a %s tensor of shape %s", s.n,
                       dtype_name(v->dtype), shape_text(shape, sizeof shape, v->rank, v->dims));
    }
    return tensor_borrow(v->dtype, v->rank, v->dims, s.p, &v->constant, err);
}

/* Memory for structure is bounded by the size of the file: tables may be pointed at many times. */
static int check_memory(const struct reader *r, struct err *err)
{
    const struct graph *g = r->g;
    size_t limit = 8 * r->file.n + ((size_t)64 << 20);
    size_t used = g->arena.used + g->cap_nodes * sizeof *g->nodes +
                  g->cap_values * (sizeof *g->values + sizeof(struct tensor));
    return used <= limit ? OK
                         : err_set(err, E_FORMAT,
                                   "%zu operators and %zu tensors need more than "
                                   "%zu MiB",
                                   g->n_nodes, g->n_values, limit >> 20);
}

static int read_tensor(struct reader *r, size_t i, struct err *err)
{
    struct flat_table t = flat_table_at(&r->tensors, i);
    int made = add_value(r, &t, i); /* may move the values */
    struct value *v = &r->g->values[made];
    size_t buffer = (size_t)flat_unsigned(&t, TFL_TENSOR_BUFFER, 4, 0);
    struct span data = {0};
    v->dtype = dtype_of(flat_signed(&t, TFL_TENSOR_TYPE, 1, 0));
    int rc = read_shape(&t, v, err);
    rc = rc ? rc : read_quant(r, &t, v, err);
    if (!rc && buffer >= r->buffers.n && buffer) {
        rc = err_set(err, E_FORMAT, "buffer %zu, the file has %zu", buffer, r->buffers.n);
    }
    rc = rc || !buffer ? rc : buffer_bytes(r, buffer, &data, err);
    if (!rc && data.n && flat_has(&t, TFL_TENSOR_SPARSITY)) {
        rc = err_set(err, E_UNSUPPORTED, "sparse tensors are not supported");
    }
    rc = rc || !data.n ? rc : read_constant(data, v, err);
    return rc ? err_in(err, "tensor %zu '%.80s'", i, v->name) : OK;
}

/* ---- Operators ------------------------------------------------------------------------------ */

static int read_edges(const struct reader *r, const struct flat_table *op, unsigned field,
                      int **out, int *n, struct err *err)
{
    struct flat_vector v = flat_vector(op, field, 4);
    if (v.n > INT_MAX) {
        return err_set(err, E_FORMAT, "%zu edges", v.n);
    }
    int *list = mem_alloc((v.n + 1) * sizeof *list);
    for (size_t k = 0; k < v.n; k++) {
        int64_t i = flat_signed_at(&v, k, 4);
        if (i < -1 || i >= (int64_t)r->tensors.n) {
            free(list);
            return err_set(err, E_FORMAT, "refers to tensor %" PRId64 ", the file has %zu", i,
                           r->tensors.n);
        }
        list[k] = (int)i;
    }
    *out = list;
    *n = (int)v.n;
    return OK;
}

/* Name of an operator; custom ones go by their own. */
static int read_opcode(const struct reader *r, const struct flat_table *op, const char **name,
                       struct err *err)
{
    uint64_t index = flat_unsigned(op, TFL_OP_OPCODE, 4, 0);
    struct flat_table c = flat_table_at(&r->opcodes, (size_t)index);
    if (index >= r->opcodes.n) {
        return err_set(err, E_FORMAT, "operator code %" PRIu64 ", the file has %zu", index,
                       r->opcodes.n);
    }
    int64_t old = flat_signed(&c, TFL_OPCODE_OLD, 1, 0);
    int64_t code = flat_signed(&c, TFL_OPCODE_BUILTIN, 4, 0);
    code = MAX(code, old);
    *name = code == TFL_CUSTOM
                ? arena_printf(&r->g->arena, "CUSTOM:%s",
                               text_of(&r->g->arena, flat_string(&c, TFL_OPCODE_CUSTOM)))
                : tflite_op_name(code);
    return *name ? OK
                 : err_set(err, E_UNSUPPORTED, "builtin operator %" PRId64 " is unknown", code);
}

static int read_option(struct reader *r, struct node *n, const struct flat_table *t,
                       const struct tfl_option *o, const char *table, struct err *err)
{
    const struct flat_field field = {o->id, o->kind == TFL_I32S ? FLAT_VECTOR : FLAT_SCALAR,
                                     o->kind == TFL_I8 ? 1 : 4, o->name, NULL};
    const struct flat_field fields[] = {field, {0}};
    const struct flat_schema schema = {table, fields};
    int rc = flat_verify_table(t, &schema, err);
    if (rc) {
        return rc;
    }
    if (o->kind == TFL_F32) {
        graph_attr_float(r->g, n, o->name, flat_float(t, o->id, (float)o->dflt));
    } else if (o->kind == TFL_I32S) {
        struct flat_vector v = flat_vector(t, o->id, 4);
        int64_t list[MAX_RANK];
        for (size_t i = 0; i < MIN(v.n, (size_t)MAX_RANK); i++) {
            list[i] = flat_signed_at(&v, i, 4);
        }
        graph_attr_ints(r->g, n, o->name, MIN(v.n, (size_t)MAX_RANK), list);
    } else {
        graph_attr_int(r->g, n, o->name, flat_signed(t, o->id, field.size, o->dflt));
    }
    return OK;
}

static int read_options(struct reader *r, struct node *n, const struct flat_table *op,
                        struct err *err)
{
    const struct tfl_options *o =
        tflite_options((int64_t)flat_unsigned(op, TFL_OP_OPTIONS_TYPE, 1, 0));
    struct flat_table t = flat_sub(op, TFL_OP_OPTIONS);
    int rc = OK;
    for (const struct tfl_option *k = o ? o->options : NULL; k && k->name && !rc; k++) {
        rc = read_option(r, n, &t, k, o->table, err);
    }
    return rc;
}

static int read_operator(struct reader *r, size_t i, struct err *err)
{
    struct flat_table op = flat_table_at(&r->operators, i);
    const char *name = "operator";
    int *in = NULL, *out = NULL, n_in = 0, n_out = 0;
    int rc = read_opcode(r, &op, &name, err);
    rc = rc ? rc : read_edges(r, &op, TFL_OP_INPUTS, &in, &n_in, err);
    rc = rc ? rc : read_edges(r, &op, TFL_OP_OUTPUTS, &out, &n_out, err);
    if (!rc) {
        /* A node goes by its first output; tensors have different names, so do nodes. */
        const char *label = n_out && out[0] >= 0 ? r->g->values[out[0]].name
                                                 : arena_printf(&r->g->arena, "%s#%zu", name, i);
        struct node *n = graph_add(r->g, name, "tflite", label, n_in, in, n_out, out);
        rc = read_options(r, n, &op, err);
    }
    free(in);
    free(out);
    return rc ? err_in(err, "operator %zu (%.80s)", i, name) : OK;
}

/* ---- Model ---------------------------------------------------------------------------------- */

static int add_end(struct reader *r, int64_t i, bool input, struct err *err)
{
    struct graph *g = r->g;
    if (i < 0 || i >= (int64_t)r->tensors.n) {
        return err_set(err, E_FORMAT, "graph %s refers to tensor %" PRId64 ", the file has %zu",
                       input ? "input" : "output", i, r->tensors.n);
    }
    struct value *v = &g->values[i];
    if (input && (v->constant || v->is_input)) {
        return err_set(err, E_FORMAT, "graph input '%.80s' is a constant or listed twice", v->name);
    }
    if (input) {
        v->is_input = true;
        g->inputs = mem_push(g->inputs, g->n_inputs, &r->cap_inputs, sizeof *g->inputs);
        g->inputs[g->n_inputs++] = (int)i;
    } else {
        v->is_output = true;
        g->outputs = mem_push(g->outputs, g->n_outputs, &r->cap_outputs, sizeof *g->outputs);
        g->outputs[g->n_outputs++] = (int)i;
    }
    return OK;
}

static int read_ends(struct reader *r, const struct flat_table *sub, struct err *err)
{
    int rc = OK;
    for (int input = 1; input >= 0; input--) {
        struct flat_vector v = flat_vector(sub, input ? TFL_GRAPH_INPUTS : TFL_GRAPH_OUTPUTS, 4);
        for (size_t k = 0; k < v.n && !rc; k++) {
            rc = add_end(r, flat_signed_at(&v, k, 4), input, err);
        }
    }
    return rc;
}

/* A tensor without data that nobody makes is state kept from run to run, or an empty constant. */
static int settle_loose(struct reader *r, struct err *err)
{
    struct graph *g = r->g;
    bool *made = mem_alloc(g->n_values + 1);
    int rc = OK;
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (int k = 0; k < g->nodes[i].n_out; k++) {
            if (g->nodes[i].out[k] >= 0) {
                made[g->nodes[i].out[k]] = true;
            }
        }
    }
    for (size_t i = 0; i < g->n_nodes && !rc; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in && !rc; k++) {
            struct value *v = n->in[k] >= 0 ? &g->values[n->in[k]] : NULL;
            if (!v || made[n->in[k]] || v->constant || v->is_input) {
                continue;
            }
            struct flat_table t = flat_table_at(&r->tensors, (size_t)n->in[k]);
            rc = flat_unsigned(&t, TFL_TENSOR_VARIABLE, 1, 0)
                     ? err_set(err, E_UNSUPPORTED,
                               "node '%.80s': operator %s keeps state in '%.80s', which is not "
                               "supported",
                               n->name, n->op, v->name)
                     : read_constant((struct span){0}, v, err);
        }
    }
    free(made);
    return rc;
}

static int read_model(struct reader *r, struct err *err)
{
    int rc = flat_verify(r->file, &tflite_model, &r->model, err);
    if (rc) {
        return rc;
    }
    int64_t version = flat_signed(&r->model, TFL_MODEL_VERSION, 4, 0);
    struct flat_vector subgraphs = flat_vector(&r->model, TFL_MODEL_SUBGRAPHS, 4);
    struct flat_table sub = flat_table_at(&subgraphs, 0);
    if (version != 3) {
        return err_set(err, E_UNSUPPORTED, "schema version %" PRId64 ", expected 3", version);
    }
    if (!subgraphs.n) {
        return err_set(err, E_FORMAT, "no graph in the file, expected one");
    }
    r->opcodes = flat_vector(&r->model, TFL_MODEL_OPCODES, 4);
    r->buffers = flat_vector(&r->model, TFL_MODEL_BUFFERS, 4);
    r->tensors = flat_vector(&sub, TFL_GRAPH_TENSORS, 4);
    r->operators = flat_vector(&sub, TFL_GRAPH_OPERATORS, 4);
    r->g->name = text_of(&r->g->arena, flat_string(&sub, TFL_GRAPH_NAME));
    r->g->dialect = DIALECT_TFLITE;
    for (size_t i = 0; i < r->tensors.n && !rc; i++) {
        rc = read_tensor(r, i, err);
        rc = rc ? rc : check_memory(r, err);
    }
    rc = rc ? rc : read_ends(r, &sub, err);
    for (size_t i = 0; i < r->operators.n && !rc; i++) {
        rc = read_operator(r, i, err);
        rc = rc ? rc : check_memory(r, err);
    }
    rc = rc ? rc : settle_loose(r, err);
    return rc ? rc : graph_finish(r->g, err);
}

static int tflite_load(struct file *f, struct graph **out, struct err *err)
{
    struct tflite_source *source = mem_alloc(sizeof *source);
    source->file = *f;
    *f = (struct file){0};
    source->source.model = (struct span){.p = source->file.data, .n = source->file.size};
    source->source.release = source_release;
    atomic_init(&source->source.refs, 1);

    struct reader r = {.g = graph_new(), .file = source->source.model};
    r.g->source = &source->source;
    r.g->path = arena_dup(&r.g->arena, source->file.path);
    int rc = read_model(&r, err);
    if (rc) {
        graph_free(r.g);
        return rc;
    }
    *out = r.g;
    return OK;
}

static bool tflite_probe(const uint8_t *head, size_t n)
{
    return n >= 8 && memcmp(head + 4, "TFL3", 4) == 0;
}

const struct format format_tflite = {
    .name = "tflite",
    .extensions = ".tflite .lite",
    .help = "TensorFlow Lite model, schema version 3, first subgraph",
    .probe = tflite_probe,
    .load_model = tflite_load,
};
