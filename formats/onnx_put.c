/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_put.c: the messages of parts that were made here and not read from a file: nodes,
 * attributes, graph inputs and outputs, operator set imports.
 */
#include "formats/onnx.h"

/* ---- Nodes ---------------------------------------------------------------------------------- */

static void put_list(struct wire_buf *b, const struct attr *a)
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->kind == ATTR_INTS) {
            wire_put_int(b, ATTRIBUTE_INTS, (uint64_t)a->ints[i]);
        } else if (a->kind == ATTR_FLOATS) {
            wire_put_f32(b, ATTRIBUTE_FLOATS, a->floats[i]);
        } else {
            wire_put_text(b, ATTRIBUTE_STRINGS, a->strings[i]);
        }
    }
}

static int put_attribute(struct wire_buf *b, const struct attr *a, struct err *err)
{
    static const enum attribute_type types[] = {
        [ATTR_INT] = ATTRIBUTE_IS_INT,         [ATTR_FLOAT] = ATTRIBUTE_IS_FLOAT,
        [ATTR_STRING] = ATTRIBUTE_IS_STRING,   [ATTR_TENSOR] = ATTRIBUTE_IS_TENSOR,
        [ATTR_INTS] = ATTRIBUTE_IS_INTS,       [ATTR_FLOATS] = ATTRIBUTE_IS_FLOATS,
        [ATTR_STRINGS] = ATTRIBUTE_IS_STRINGS,
    };
    if (a->kind == ATTR_OTHER) {
        return err_set(err, E_UNSUPPORTED,
                       "attribute '%.80s' is a subgraph or the like and cannot be changed",
                       a->name);
    }
    size_t begun = wire_begin(b, NODE_ATTRIBUTE);
    wire_put_text(b, ATTRIBUTE_NAME, a->name);
    switch (a->kind) {
    case ATTR_INT:
        wire_put_int(b, ATTRIBUTE_I, (uint64_t)a->i);
        break;
    case ATTR_FLOAT:
        wire_put_f32(b, ATTRIBUTE_F, a->f);
        break;
    case ATTR_STRING:
        wire_put_bytes(b, ATTRIBUTE_S, a->s, a->s_size);
        break;
    case ATTR_TENSOR:
        tensor_proto_write(b, ATTRIBUTE_T, "", a->t);
        break;
    default:
        put_list(b, a);
        break;
    }
    wire_put_int(b, ATTRIBUTE_TYPE, (uint64_t)types[a->kind]);
    wire_end(b, begun);
    return OK;
}

static void put_edges(struct wire_buf *b, uint32_t field, const struct graph *g, int n,
                      const int *values)
{
    for (int i = 0; i < n; i++) {
        wire_put_text(b, field, values[i] >= 0 ? g->values[values[i]].name : "");
    }
}

int onnx_put_node(struct wire_buf *b, const struct graph *g, const struct node *n, struct err *err)
{
    size_t begun = wire_begin(b, GRAPH_NODE);
    put_edges(b, NODE_INPUT, g, n->n_in, n->in);
    put_edges(b, NODE_OUTPUT, g, n->n_out, n->out);
    wire_put_text(b, NODE_NAME, n->name);
    wire_put_text(b, NODE_OP_TYPE, n->op);
    for (int i = 0; i < n->n_attrs; i++) {
        int rc = put_attribute(b, &n->attrs[i], err);
        if (rc) {
            return err_in(err, "node '%.80s' (%.80s)", n->name, n->op);
        }
    }
    if (*n->domain) {
        wire_put_text(b, NODE_DOMAIN, n->domain);
    }
    wire_end(b, begun);
    return OK;
}

/* ---- Declared types ------------------------------------------------------------------------- */

static void put_type(struct wire_buf *b, const struct value *v)
{
    size_t type = wire_begin(b, INFO_TYPE);
    size_t tensor = wire_begin(b, TYPE_TENSOR);
    wire_put_int(b, TENSOR_TYPE_ELEM, (uint64_t)v->dtype);
    if (v->rank >= 0) {
        size_t shape = wire_begin(b, TENSOR_TYPE_SHAPE);
        for (int i = 0; i < v->rank; i++) {
            size_t dim = wire_begin(b, SHAPE_DIM);
            if (v->dims[i] >= 0) {
                wire_put_int(b, DIM_VALUE, (uint64_t)v->dims[i]);
            }
            wire_end(b, dim);
        }
        wire_end(b, shape);
    }
    wire_end(b, tensor);
    wire_end(b, type);
}

void onnx_put_info(struct wire_buf *b, uint32_t field, const struct value *v)
{
    size_t info = wire_begin(b, field);
    wire_put_text(b, INFO_NAME, v->name);
    if (v->dtype != DT_NONE) {
        put_type(b, v);
    }
    wire_end(b, info);
}

void onnx_put_import(struct wire_buf *b, const char *domain, int version)
{
    size_t begun = wire_begin(b, MODEL_OPSET_IMPORT);
    if (*domain) {
        wire_put_text(b, OPSET_DOMAIN, domain);
    }
    wire_put_int(b, OPSET_VERSION, (uint64_t)version);
    wire_end(b, begun);
}
