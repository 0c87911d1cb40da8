/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_info.c: ValueInfoProto: graph inputs, graph outputs, and the types that a file declares for
 * the tensors between nodes. Nothing is inferred here.
 */
#include "formats/onnx.h"

/* ---- Declared types ------------------------------------------------------------------------- */

int onnx_find(const uint8_t *base, struct span s, uint32_t field, struct span *out, struct err *err)
{
    *out = (struct span){0};
    for (struct wire w = wire_open(base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == field) {
            *out = it.s;
        }
    }
    return OK;
}

/* -1 when the dimension is symbolic, not given, or negative as some exporters write unknown. */
static int read_dim(const uint8_t *base, struct span s, int64_t *dim, struct err *err)
{
    *dim = -1;
    for (struct wire w = wire_open(base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == DIM_VALUE) {
            *dim = MAX((int64_t)it.v, -1);
        }
    }
    return OK;
}

static int read_shape(const uint8_t *base, struct span s, struct value *v, struct err *err)
{
    v->rank = 0;
    for (struct wire w = wire_open(base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field != SHAPE_DIM) {
            continue;
        }
        if (v->rank == MAX_RANK) {
            return wire_bad(&w, it.whole.p, E_UNSUPPORTED, err, "rank is more than %d", MAX_RANK);
        }
        rc = read_dim(base, it.s, &v->dims[v->rank++], err);
        if (rc) {
            return rc;
        }
    }
    return OK;
}

/* Declared type of a ValueInfoProto; sequences and the like stay unknown. */
static int read_type(const uint8_t *base, struct span info, struct value *v, struct err *err)
{
    struct span type, tensor = {0};
    int rc = onnx_find(base, info, INFO_TYPE, &type, err);
    if (!rc) {
        rc = onnx_find(base, type, TYPE_TENSOR, &tensor, err);
    }
    if (rc) {
        return rc;
    }
    for (struct wire w = wire_open(base, tensor); wire_more(&w);) {
        struct wire_item it;
        rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == TENSOR_TYPE_ELEM) {
            v->dtype =
                it.v < INT32_MAX && dtype_stored((enum dtype)it.v) ? (enum dtype)it.v : DT_NONE;
        } else if (it.field == TENSOR_TYPE_SHAPE) {
            rc = read_shape(base, it.s, v, err);
            if (rc) {
                return rc;
            }
        }
    }
    return OK;
}

/* ---- Inputs, outputs, value_info ------------------------------------------------------------ */

static int read_input(struct onnx_reader *r, const struct wire *w, struct span s, struct span name,
                      struct err *err)
{
    struct graph *g = r->g;
    int i = onnx_value_of(g, name);
    if (i < 0) {
        return wire_bad(w, s.p, E_FORMAT, err, "graph input without a name");
    }
    struct value *v = &g->values[i];
    if (v->raw.p) {
        return OK; /* models before IR version 4 list initializers among the inputs */
    }
    if (v->is_input) {
        return wire_bad(w, s.p, E_FORMAT, err, "two graph inputs are named '%.80s'", v->name);
    }
    v->is_input = true;
    g->inputs = mem_push(g->inputs, g->n_inputs, &r->cap_inputs, sizeof *g->inputs);
    g->inputs[g->n_inputs++] = i;
    int rc = read_type(r->base, s, v, err);
    return rc ? err_in(err, "graph input '%.80s'", v->name) : OK;
}

static int read_output(struct onnx_reader *r, const struct wire *w, struct span s, struct span name,
                       struct err *err)
{
    struct graph *g = r->g;
    int i = onnx_value_of(g, name);
    if (i < 0) {
        return wire_bad(w, s.p, E_FORMAT, err, "graph output without a name");
    }
    struct value *v = &g->values[i];
    v->is_output = true;
    g->outputs = mem_push(g->outputs, g->n_outputs, &r->cap_outputs, sizeof *g->outputs);
    g->outputs[g->n_outputs++] = i;
    int rc = v->is_input || v->raw.p ? OK : read_type(r->base, s, v, err);
    return rc ? err_in(err, "graph output '%.80s'", v->name) : OK;
}

/* Types of tensors between nodes. Entries for tensors that do not exist are passed over. */
static int read_value_info(struct onnx_reader *r, struct span s, struct span name, struct err *err)
{
    struct graph *g = r->g;
    int i = onnx_value_find(g, name);
    if (i < 0 || g->values[i].is_input || g->values[i].is_output || g->values[i].raw.p) {
        return OK;
    }
    struct value *v = &g->values[i];
    int rc = read_type(r->base, s, v, err);
    return rc ? err_in(err, "tensor '%.80s'", v->name) : OK;
}

int onnx_infos_read(struct onnx_reader *r, uint32_t field, struct err *err)
{
    for (struct wire w = wire_open(r->base, r->graph); wire_more(&w);) {
        struct wire_item it;
        struct span name;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field != field) {
            continue;
        }
        rc = onnx_find(r->base, it.s, INFO_NAME, &name, err);
        if (!rc) {
            rc = field == GRAPH_INPUT    ? read_input(r, &w, it.s, name, err)
                 : field == GRAPH_OUTPUT ? read_output(r, &w, it.s, name, err)
                                         : read_value_info(r, it.s, name, err);
        }
        if (!rc) {
            rc = onnx_check_memory(r, err);
        }
        if (rc) {
            return rc;
        }
    }
    return OK;
}
