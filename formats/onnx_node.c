/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_node.c: NodeProto and AttributeProto to struct node. Generic: no operator is known here, an
 * attribute stays a name and a value until a kernel asks for it. Subgraphs are not read: their
 * bytes go along in the node's raw span.
 */
#include "formats/onnx.h"

enum { MAX_ATTRIBUTES = 256 }; /* of a node; the largest operator has some 30 */

const char *onnx_name(char text[WIRE_NAME_MAX + 1], struct span name)
{
    size_t n = MIN(name.n, (size_t)WIRE_NAME_MAX);
    if (n) {
        memcpy(text, name.p, n);
    }
    text[n] = '\0';
    return text;
}

int onnx_value_of(struct graph *g, struct span name)
{
    char text[WIRE_NAME_MAX + 1];
    return name.n ? graph_value(g, onnx_name(text, name)) : -1;
}

int onnx_value_find(const struct graph *g, struct span name)
{
    char text[WIRE_NAME_MAX + 1];
    return name.n ? graph_find(g, onnx_name(text, name)) : -1;
}

/* ---- Attributes ----------------------------------------------------------------------------- */

/* An AttributeProto that was read but not decoded. */
struct attribute_proto {
    struct wire w;
    struct span name, s, t;
    uint64_t type; /* enum attribute_type, or another; 0: not given */
    uint64_t i;
    float f;
    bool has_i, has_f, has_s, has_t, has_ref;
    size_t n_ints, n_floats, n_strings;
};

static int attribute_field(struct attribute_proto *a, const struct wire_item *it, struct err *err)
{
    size_t n = 0;
    int rc = OK;
    switch (it->field) {
    case ATTRIBUTE_NAME:
        a->name = it->s;
        break;
    case ATTRIBUTE_TYPE:
        a->type = it->v;
        break;
    case ATTRIBUTE_REF_NAME:
        a->has_ref = it->s.n > 0;
        break;
    case ATTRIBUTE_I:
        a->has_i = true;
        a->i = it->v;
        break;
    case ATTRIBUTE_F:
        a->has_f = true;
        a->f = wire_f32(it->v);
        break;
    case ATTRIBUTE_S:
        a->has_s = true;
        a->s = it->s;
        break;
    case ATTRIBUTE_T:
        a->has_t = true;
        a->t = it->s;
        break;
    case ATTRIBUTE_INTS:
        rc = wire_count(&a->w, it, WIRE_VARINT, &n, err);
        a->n_ints += n;
        break;
    case ATTRIBUTE_FLOATS:
        rc = wire_count(&a->w, it, WIRE_32, &n, err);
        a->n_floats += n;
        break;
    case ATTRIBUTE_STRINGS:
        a->n_strings++;
        break;
    default:
        break;
    }
    return rc;
}

/* What the attribute is. Files of the first ONNX versions give no type: then by what is there. */
static enum attr_kind attribute_kind(const struct attribute_proto *a)
{
    if (a->has_ref) {
        return ATTR_OTHER;
    }
    switch (a->type) {
    case 0:
        return a->has_i       ? ATTR_INT
               : a->has_f     ? ATTR_FLOAT
               : a->has_s     ? ATTR_STRING
               : a->has_t     ? ATTR_TENSOR
               : a->n_ints    ? ATTR_INTS
               : a->n_floats  ? ATTR_FLOATS
               : a->n_strings ? ATTR_STRINGS
                              : ATTR_OTHER;
    case ATTRIBUTE_IS_INT:
        return ATTR_INT;
    case ATTRIBUTE_IS_FLOAT:
        return ATTR_FLOAT;
    case ATTRIBUTE_IS_STRING:
        return ATTR_STRING;
    case ATTRIBUTE_IS_TENSOR:
        return a->has_t ? ATTR_TENSOR : ATTR_OTHER;
    case ATTRIBUTE_IS_INTS:
        return ATTR_INTS;
    case ATTRIBUTE_IS_FLOATS:
        return ATTR_FLOATS;
    case ATTRIBUTE_IS_STRINGS:
        return ATTR_STRINGS;
    default:
        return ATTR_OTHER;
    }
}

/* Fills the list of d, whose kind is ATTR_INTS, ATTR_FLOATS or ATTR_STRINGS. */
static int attribute_list(struct arena *arena, const struct attribute_proto *a, struct attr *d,
                          struct err *err)
{
    const bool ints = d->kind == ATTR_INTS, floats = d->kind == ATTR_FLOATS;
    const uint32_t field = ints ? ATTRIBUTE_INTS : floats ? ATTRIBUTE_FLOATS : ATTRIBUTE_STRINGS;
    int64_t *int_list = arena_alloc(arena, ints ? a->n_ints * sizeof *int_list : 0);
    float *float_list = arena_alloc(arena, floats ? a->n_floats * sizeof *float_list : 0);
    const char **string_list =
        arena_alloc(arena, !ints && !floats ? a->n_strings * sizeof *string_list : 0);
    for (struct wire w = a->w; wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field != field) {
            continue;
        }
        if (!ints && !floats) {
            string_list[d->n++] = onnx_text(arena, it.s);
            continue;
        }
        for (struct wire list = wire_list(&w, &it); wire_more(&list); d->n++) {
            uint64_t v;
            rc = wire_scalar(&list, ints ? WIRE_VARINT : WIRE_32, &v, err);
            if (rc) {
                return rc;
            }
            if (ints) {
                int_list[d->n] = (int64_t)v;
            } else {
                float_list[d->n] = wire_f32(v);
            }
        }
    }
    d->ints = ints ? int_list : NULL;
    d->floats = floats ? float_list : NULL;
    d->strings = !ints && !floats ? string_list : NULL;
    return OK;
}

/* Element types that no tensor holds make the attribute ATTR_OTHER: whoever needs it reports that.
 */
static int attribute_tensor(struct onnx_reader *r, const struct attribute_proto *a, struct node *n,
                            struct attr *d, struct err *err)
{
    struct tensor_proto p;
    struct tensor *t = NULL;
    int rc = tensor_proto_read(wire_open(r->base, a->t), &p, err);
    if (rc) {
        return rc;
    }
    if (!dtype_stored(p.dtype)) {
        d->kind = ATTR_OTHER;
        return OK;
    }
    rc = tensor_proto_decode(&p, r->g->path, true, &t, err);
    if (rc) {
        return rc;
    }
    d->t = t;
    r->n_tensors++;
    if (p.external) {
        n->raw = (struct span){0}; /* written anew, with the data inside */
    }
    return OK;
}

/* Reads attribute span s into d. */
static int attribute_read(struct onnx_reader *r, struct span s, struct node *n, struct attr *d,
                          struct err *err)
{
    struct attribute_proto a = {.w = wire_open(r->base, s)};
    struct arena *arena = &r->g->arena;
    for (struct wire w = a.w; wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (!rc) {
            rc = attribute_field(&a, &it, err);
        }
        if (rc) {
            return rc;
        }
    }
    if (a.name.n == 0) {
        return wire_bad(&a.w, s.p, E_FORMAT, err, "attribute without a name");
    }
    *d = (struct attr){.name = onnx_text(arena, a.name), .kind = attribute_kind(&a)};
    int rc = OK;
    switch (d->kind) {
    case ATTR_INT:
        d->i = (int64_t)a.i;
        break;
    case ATTR_FLOAT:
        d->f = a.f;
        break;
    case ATTR_STRING:
        d->s = onnx_text(arena, a.s);
        d->s_size = a.s.n;
        break;
    case ATTR_TENSOR:
        rc = attribute_tensor(r, &a, n, d, err);
        break;
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_STRINGS:
        rc = attribute_list(arena, &a, d, err);
        break;
    case ATTR_OTHER:
        break;
    }
    return rc ? err_in(err, "attribute '%.80s'", d->name) : OK;
}

static int check_attribute(const struct node *n, const struct attr *d, const struct wire *w,
                           const uint8_t *at, struct err *err)
{
    for (const struct attr *a = n->attrs; a < d; a++) {
        if (strcmp(a->name, d->name) == 0) {
            return wire_bad(w, at, E_FORMAT, err, "attribute '%.80s' is given twice", d->name);
        }
    }
    return OK;
}

/* ---- Nodes ---------------------------------------------------------------------------------- */

/* Counts and strings of a NodeProto. */
static int node_strings(struct onnx_reader *r, struct span s, struct node *n, int *n_attrs,
                        struct err *err)
{
    struct arena *a = &r->g->arena;
    n->name = n->op = n->domain = "";
    for (struct wire w = wire_open(r->base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        switch (it.field) {
        case NODE_INPUT:
            n->n_in++;
            break;
        case NODE_OUTPUT:
            n->n_out++;
            break;
        case NODE_NAME:
            n->name = onnx_text(a, it.s);
            break;
        case NODE_OP_TYPE:
            n->op = onnx_text(a, it.s);
            break;
        case NODE_DOMAIN:
            n->domain = onnx_text(a, it.s);
            break;
        case NODE_ATTRIBUTE:
            ++*n_attrs;
            break;
        default:
            break;
        }
    }
    if (strcmp(n->domain, "ai.onnx") == 0) {
        n->domain = ""; /* two spellings of the same */
    }
    return OK;
}

/* Edges and attributes of a NodeProto into arrays that have room for them. n stays where it is:
 * nodes are not appended meanwhile. */
static int node_lists(struct onnx_reader *r, struct span s, struct node *n, struct err *err)
{
    int n_in = 0, n_out = 0;
    for (struct wire w = wire_open(r->base, s); wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == NODE_INPUT) {
            n->in[n_in++] = onnx_value_of(r->g, it.s);
        } else if (it.field == NODE_OUTPUT) {
            n->out[n_out++] = onnx_value_of(r->g, it.s);
        } else if (it.field == NODE_ATTRIBUTE) {
            struct attr *d = &n->attrs[n->n_attrs];
            rc = attribute_read(r, it.s, n, d, err);
            if (rc) {
                return rc;
            }
            n->n_attrs++; /* from here on the graph frees what it holds */
            rc = check_attribute(n, d, &w, it.whole.p, err);
            if (rc) {
                return rc;
            }
        }
    }
    return OK;
}

static int node_fill(struct onnx_reader *r, struct span s, struct node *n, struct err *err)
{
    struct arena *a = &r->g->arena;
    struct wire w = wire_open(r->base, s);
    int n_attrs = 0;
    int rc = node_strings(r, s, n, &n_attrs, err);
    if (rc) {
        return rc;
    }
    if (!*n->op) {
        return wire_bad(&w, s.p, E_FORMAT, err, "no op_type");
    }
    if (n_attrs > MAX_ATTRIBUTES) {
        return wire_bad(&w, s.p, E_FORMAT, err, "%d attributes, the limit is %d", n_attrs,
                        MAX_ATTRIBUTES);
    }
    n->in = arena_alloc(a, (size_t)n->n_in * sizeof *n->in);
    n->out = arena_alloc(a, (size_t)n->n_out * sizeof *n->out);
    n->attrs = arena_alloc(a, (size_t)n_attrs * sizeof *n->attrs);
    rc = node_lists(r, s, n, err);
    if (!rc && *n->name) {
        if (strmap_get(&r->node_names, n->name, -1) >= 0) {
            return wire_bad(&w, s.p, E_FORMAT, err, "two nodes have this name");
        }
        strmap_put(&r->node_names, n->name, 0);
    }
    return rc;
}

int onnx_node_read(struct onnx_reader *r, struct span s, struct err *err)
{
    struct graph *g = r->g;
    g->nodes = mem_push(g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes);
    struct node *n = &g->nodes[g->n_nodes++];
    *n = (struct node){.raw = s};
    int rc = node_fill(r, s, n, err);
    if (rc && *n->name) {
        return err_in(err, "node '%.80s'", n->name);
    }
    return rc ? err_in(err, "node %zu (%.80s)", g->n_nodes - 1, n->op) : OK;
}
