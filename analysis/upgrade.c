/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * upgrade.c: writes a node of an older operator set in a newer one. Quantizers raise the opset of
 * the models they write, so nodes of the FP32 model seldom fit as they are. One row per change of
 * spelling in the ONNX operator changelog; a change of meaning is refused.
 */
#include "analysis/upgrade.h"

#include <stdlib.h>

enum change {
    ATTRS_TO_INPUTS, /* Clip-11: min and max became inputs 1 and 2 */
    INTS_TO_INPUT,   /* axes or split became input 1 */
    OUTPUTS_COUNTED, /* Split-18: without a list of sizes it says how many parts there are */
    MODE_RENAMED,    /* GridSample-20: of any number of dimensions, so not "bi" */
    SOFTMAX_AXIS,    /* Softmax-13: one axis instead of all from the axis on */
    SIZES_ALONE,     /* Resize-13: scales and roi are left out where sizes are given, not empty */
    ATTRS_REFUSED, /* an attribute is gone, or means something else: without any nothing changed */
    REFUSED,       /* the meaning changed in a way that is not rewritten here */
};

struct upgrade {
    const char *op;
    int since; /* the opset that changed it */
    enum change change;
    const char *attr[2];
};

static const struct upgrade upgrades[] = {
    {"Clip", 11, ATTRS_TO_INPUTS, {"min", "max"}},
    {"Squeeze", 13, INTS_TO_INPUT, {"axes", NULL}},
    {"Unsqueeze", 13, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceSum", 13, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceMean", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceMax", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceMin", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceProd", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceL1", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceL2", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceSumSquare", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceLogSum", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"ReduceLogSumExp", 18, INTS_TO_INPUT, {"axes", NULL}},
    {"Split", 13, INTS_TO_INPUT, {"split", NULL}},
    {"Split", 18, OUTPUTS_COUNTED, {"num_outputs", NULL}},
    {"Softmax", 13, SOFTMAX_AXIS, {NULL, NULL}},
    {"LogSoftmax", 13, SOFTMAX_AXIS, {NULL, NULL}},
    {"Hardmax", 13, SOFTMAX_AXIS, {NULL, NULL}},
    {"Slice", 10, REFUSED, {NULL, NULL}},
    {"Pad", 11, REFUSED, {NULL, NULL}},
    {"Resize", 11, REFUSED, {NULL, NULL}},
    {"Resize", 13, SIZES_ALONE, {NULL, NULL}},
    {"GridSample", 20, MODE_RENAMED, {"mode", NULL}},
    {"GroupNormalization", 21, REFUSED, {NULL, NULL}}, /* scales are per channel since */
    {"Upsample", 10, REFUSED, {NULL, NULL}},
    {"TopK", 10, REFUSED, {NULL, NULL}},
    {"Reshape", 5, REFUSED, {NULL, NULL}},
    {"Dropout", 12, ATTRS_REFUSED, {NULL, NULL}},
    {"BatchNormalization", 7, ATTRS_REFUSED, {NULL, NULL}},
    {"Add", 7, ATTRS_REFUSED, {NULL, NULL}},
    {"Sub", 7, ATTRS_REFUSED, {NULL, NULL}},
    {"Mul", 7, ATTRS_REFUSED, {NULL, NULL}},
    {"Div", 7, ATTRS_REFUSED, {NULL, NULL}},
};

/* The row is about nodes n that come from one opset to another. */
static bool applies(const struct upgrade *u, const struct node *n, int from, int to)
{
    return !n->domain[0] && strcmp(n->op, u->op) == 0 && from < u->since && to >= u->since;
}

static bool refuses(const struct upgrade *u, const struct node *n)
{
    return u->change == REFUSED || (u->change == ATTRS_REFUSED && n->n_attrs);
}

static int new_constant(struct graph *g, const char *stem, struct tensor *t)
{
    int v = graph_value(g, graph_fresh(g, stem));
    g->values[v].constant = t;
    g->values[v].dtype = t->dtype;
    return v;
}

static void drop_attr(struct node *n, const char *name)
{
    int kept = 0;
    for (int i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, name) == 0) {
            tensor_free((struct tensor *)n->attrs[i].t);
        } else {
            n->attrs[kept++] = n->attrs[i];
        }
    }
    n->n_attrs = kept;
}

/* Gives node `at` a longer list of inputs. */
static void set_inputs(struct graph *g, size_t at, int n_in, const int *in)
{
    struct node *n = &g->nodes[at];
    n->in = arena_alloc(&g->arena, (size_t)n_in * sizeof *n->in);
    memcpy(n->in, in, (size_t)n_in * sizeof *n->in);
    n->n_in = n_in;
}

static int attrs_to_inputs(struct graph *g, size_t at, const struct upgrade *u, struct err *err)
{
    int in[3] = {g->nodes[at].in[0], -1, -1};
    for (int k = 0; k < 2; k++) {
        const struct attr *a = attr_find(&g->nodes[at], u->attr[k]);
        struct tensor *t = NULL;
        if (!a) {
            continue;
        }
        int rc = tensor_new(DT_F32, 0, NULL, NULL, &t, err);
        if (rc) {
            return rc;
        }
        *(float *)t->data = a->f;
        drop_attr(&g->nodes[at], u->attr[k]);
        char *stem = mem_printf("%s_%s", g->nodes[at].name, u->attr[k]);
        in[1 + k] = new_constant(g, stem, t);
        free(stem);
    }
    set_inputs(g, at, in[2] >= 0 ? 3 : in[1] >= 0 ? 2 : 1, in);
    return OK;
}

static int ints_to_input(struct graph *g, size_t at, const struct upgrade *u, struct err *err)
{
    size_t n = 0;
    const int64_t *ints = attr_ints(&g->nodes[at], u->attr[0], &n);
    if (!ints) {
        return OK;
    }
    struct tensor *t = NULL;
    int64_t dims[1] = {(int64_t)n};
    int rc = tensor_new(DT_S64, 1, dims, NULL, &t, err);
    if (rc) {
        return rc;
    }
    memcpy(t->data, ints, n * sizeof *ints);
    drop_attr(&g->nodes[at], u->attr[0]);
    char *stem = mem_printf("%s_%s", g->nodes[at].name, u->attr[0]);
    int in[2] = {g->nodes[at].in[0], new_constant(g, stem, t)};
    free(stem);
    set_inputs(g, at, 2, in);
    return OK;
}

/* Before opset 13 Softmax runs over all axes from `axis` on; that is one axis when the others
 * are 1. */
static int softmax_axis(struct graph *g, size_t at, const struct value *x, struct err *err)
{
    int64_t axis = attr_int(&g->nodes[at], "axis", 1);
    if (x->rank < 0) {
        return err_set(err, E_UNSUPPORTED, "the shape of its input is not known");
    }
    axis += axis < 0 ? x->rank : 0;
    int found = -1;
    for (int d = (int)axis; d < x->rank; d++) {
        if (x->dims[d] != 1 && found >= 0) {
            return err_set(err, E_UNSUPPORTED, "runs over several axes, which opset 13 cannot say");
        }
        found = x->dims[d] != 1 ? d : found;
    }
    drop_attr(&g->nodes[at], "axis");
    graph_attr_int(g, &g->nodes[at], "axis", found >= 0 ? found : x->rank - 1);
    return OK;
}

static void outputs_counted(struct graph *g, size_t at, const struct upgrade *u)
{
    struct node *n = &g->nodes[at];
    if (n->n_in < 2 || n->in[1] < 0) {
        graph_attr_int(g, n, u->attr[0], n->n_out);
    }
}

static void mode_renamed(struct graph *g, size_t at, const struct upgrade *u)
{
    const char *mode = attr_string(&g->nodes[at], u->attr[0], "");
    if (strncmp(mode, "bi", 2) == 0) {
        drop_attr(&g->nodes[at], u->attr[0]);
        graph_attr_string(g, &g->nodes[at], u->attr[0], mode + 2);
    }
}

static void sizes_alone(struct graph *g, size_t at)
{
    enum { SCALES = 2, SIZES = 3 };
    const struct node *n = &g->nodes[at];
    if (n->n_in > SIZES && n->in[SIZES] >= 0) {
        const char *mode = attr_string(n, "coordinate_transformation_mode", "half_pixel");
        bool crops = strcmp(mode, "tf_crop_and_resize") == 0; /* the only one to look at roi */
        const int in[] = {n->in[0], crops ? n->in[1] : -1, -1, n->in[SIZES]};
        set_inputs(g, at, SIZES + 1, in);
    }
}

/* x: the node's first input. */
static int upgrade(struct graph *g, size_t at, const struct value *x, const struct upgrade *u,
                   struct err *err)
{
    switch (u->change) {
    case ATTRS_TO_INPUTS:
        return attrs_to_inputs(g, at, u, err);
    case INTS_TO_INPUT:
        return ints_to_input(g, at, u, err);
    case SOFTMAX_AXIS:
        return softmax_axis(g, at, x, err);
    case MODE_RENAMED:
        mode_renamed(g, at, u);
        break;
    case OUTPUTS_COUNTED:
        outputs_counted(g, at, u);
        break;
    case SIZES_ALONE:
        sizes_alone(g, at);
        break;
    case ATTRS_REFUSED:
    case REFUSED:
        break;
    }
    return OK;
}

int node_upgrade(struct graph *g, const struct graph *f, const struct node *n, const int *in,
                 const int *out, struct err *err)
{
    if (n->domain[0] && !g->opset_ms && g->dialect == DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "domain '%s' is not imported by the INT8 model",
                       n->domain);
    }
    for (size_t i = 0; i < COUNT(upgrades); i++) {
        if (applies(&upgrades[i], n, f->opset, g->opset) && refuses(&upgrades[i], n)) {
            return err_set(err, E_UNSUPPORTED,
                           "opset %d of the FP32 model means something else by it "
                           "than opset %d of the INT8 model",
                           f->opset, g->opset);
        }
    }
    size_t at = g->n_nodes;
    int rc = OK;
    graph_add_copy(g, n, n->name, in, out);
    for (size_t i = 0; i < COUNT(upgrades) && !rc; i++) {
        if (applies(&upgrades[i], n, f->opset, g->opset)) {
            rc = upgrade(g, at, &f->values[n->in[0]], &upgrades[i], err);
        }
    }
    return rc;
}
