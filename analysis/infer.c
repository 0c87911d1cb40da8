/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * infer.c: element types and shapes that a file does not declare, from the definitions of the
 * operators. It knows what networks of convolutions and matrix products are made of, in float32 and
 * codes of 8 bits, and says so when there is more: then a run on zeros tells (probe.c).
 */
#include "analysis/analysis.h"
#include "analysis/qmodel.h"

#include <stdlib.h>

/* What is known of one value. rank -1: nothing. */
struct known {
    enum dtype dtype;
    int rank;
    int64_t dims[MAX_RANK];
};
struct infer {
    const struct graph *g;
    struct known *v; /* per value */
};

/* Input k of a node; rank -1 when it is not given. */
static struct known input(const struct infer *f, const struct node *n, int k)
{
    return k < n->n_in && n->in[k] >= 0 ? f->v[n->in[k]] : (struct known){.rank = -1};
}

/* The tensor of a Constant node; NULL for other nodes. */
static const struct tensor *held(const struct node *n)
{
    const struct attr *a = node_is(n, "Constant") ? attr_find(n, "value") : NULL;
    return a && a->kind == ATTR_TENSOR ? a->t : NULL;
}

/* Input k as a list of integers of the model; NULL when it is computed. */
static const struct tensor *list_input(const struct infer *f, const struct node *n, int k)
{
    if (k >= n->n_in || n->in[k] < 0) {
        return NULL;
    }
    const struct value *v = &f->g->values[n->in[k]];
    const struct node *from = v->producer >= 0 ? &f->g->nodes[v->producer] : NULL;
    const struct tensor *t = from ? held(from) : v->constant;
    return t && t->dtype == DT_S64 && t->rank == 1 && t->n <= MAX_RANK ? t : NULL;
}

static int64_t volume(const struct known *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++) {
        if (__builtin_mul_overflow(n, x->dims[i], &n)) {
            return -1;
        }
    }
    return n;
}

/* ---- Shapes --------------------------------------------------------------------------------- */

struct rule;
/* Sets rank and dims of *y from the rule's data inputs; false: not as these rules know it. */
typedef bool shape_rule(const struct infer *f, const struct node *n, const struct rule *r,
                        struct known *y);
struct rule {
    const char *op;
    int a, b; /* data inputs; -1: has none */
    int type; /* of the output: that of this input, or as follows */
    shape_rule *shape;
};
enum {
    OF_FLOATS = -1, /* float32 from float32 */
    TO_FLOAT = -2,  /* float32 from codes */
    OF_DATA = -3,   /* values move */
};

static bool shape_same(const struct infer *f, const struct node *n, const struct rule *r,
                       struct known *y)
{
    const struct known x = input(f, n, r->a);
    y->rank = x.rank;
    memcpy(y->dims, x.dims, sizeof y->dims);
    return !attr_int(n, "block_size", 0) && !attr_find(n, "output_dtype") &&
           !attr_int(n, "training_mode", 0);
}

static bool shape_broadcast(const struct infer *f, const struct node *n, const struct rule *r,
                            struct known *y)
{
    const struct known a = input(f, n, r->a), b = input(f, n, r->b);
    if (a.rank < 0 || b.rank < 0) {
        return false;
    }
    y->rank = MAX(a.rank, b.rank);
    for (int i = 0; i < y->rank; i++) {
        int ia = i - (y->rank - a.rank), ib = i - (y->rank - b.rank);
        int64_t da = ia < 0 ? 1 : a.dims[ia], db = ib < 0 ? 1 : b.dims[ib];
        if (da != db && da != 1 && db != 1) {
            return false;
        }
        y->dims[i] = da == 1 ? db : da;
    }
    return true;
}

/* Values of a list attribute, `dflt` where it is absent; false when it has another length. */
static bool window_attr(const struct node *n, const char *name, int count, int64_t dflt,
                        int64_t *dst)
{
    size_t found;
    const int64_t *v = attr_ints(n, name, &found);
    for (int i = 0; i < count; i++) {
        dst[i] = v && found == (size_t)count ? v[i] : dflt;
    }
    return !v || found == (size_t)count;
}

/* Spatial dimensions of a window that slides over x. */
static bool slide(const struct node *n, const struct known *x, const int64_t *kernel,
                  struct known *y)
{
    int r = x->rank - 2;
    int64_t stride[MAX_RANK], dilation[MAX_RANK], pad[2 * MAX_RANK];
    if (!window_attr(n, "strides", r, 1, stride) || !window_attr(n, "dilations", r, 1, dilation) ||
        !window_attr(n, "pads", 2 * r, 0, pad) || attr_int(n, "ceil_mode", 0) ||
        strcmp(attr_string(n, "auto_pad", "NOTSET"), "NOTSET") != 0) {
        return false;
    }
    for (int i = 0; i < r; i++) {
        enum { BIG = 1 << 24 }; /* sums and products of a few of them fit */
        int64_t most = MAX(MAX(x->dims[2 + i], kernel[i]), MAX(dilation[i], stride[i]));
        int64_t pads = MAX(pad[i], pad[r + i]), least = MIN(pad[i], pad[r + i]);
        if (most > BIG || pads > BIG || least < 0 || kernel[i] < 1 || dilation[i] < 1 ||
            stride[i] < 1) {
            return false;
        }
        int64_t room = x->dims[2 + i] + pad[i] + pad[r + i] - (kernel[i] - 1) * dilation[i] - 1;
        if (room < 0) {
            return false;
        }
        y->dims[2 + i] = room / stride[i] + 1;
    }
    y->rank = x->rank;
    y->dims[0] = x->dims[0];
    return true;
}

static bool shape_conv(const struct infer *f, const struct node *n, const struct rule *r,
                       struct known *y)
{
    const struct known x = input(f, n, r->a), w = input(f, n, r->b);
    int64_t groups = attr_int(n, "group", 1), channels;
    if (x.rank < 3 || x.rank > 4 || w.rank != x.rank || groups < 1 ||
        __builtin_mul_overflow(w.dims[1], groups, &channels) || channels != x.dims[1] ||
        attr_int(n, "channels_last", 0)) {
        return false;
    }
    y->dims[1] = w.dims[0];
    return slide(n, &x, w.dims + 2, y);
}

static bool shape_pool(const struct infer *f, const struct node *n, const struct rule *r,
                       struct known *y)
{
    const struct known x = input(f, n, r->a);
    int64_t kernel[MAX_RANK];
    if (x.rank < 3 || x.rank > 4 || !attr_find(n, "kernel_shape") ||
        !window_attr(n, "kernel_shape", x.rank - 2, 0, kernel) || attr_int(n, "channels_last", 0) ||
        attr_int(n, "storage_order", 0)) {
        return false;
    }
    y->dims[1] = x.dims[1];
    return slide(n, &x, kernel, y);
}

static bool shape_global(const struct infer *f, const struct node *n, const struct rule *r,
                         struct known *y)
{
    const struct known x = input(f, n, r->a);
    y->rank = x.rank;
    for (int i = 0; i < x.rank; i++) {
        y->dims[i] = i < 2 ? x.dims[i] : 1;
    }
    return x.rank >= 3 && !attr_int(n, "channels_last", 0);
}

static bool shape_gemm(const struct infer *f, const struct node *n, const struct rule *r,
                       struct known *y)
{
    const struct known a = input(f, n, r->a), b = input(f, n, r->b);
    int ta = attr_int(n, "transA", 0) != 0, tb = attr_int(n, "transB", 0) != 0;
    y->rank = 2;
    y->dims[0] = a.dims[ta];
    y->dims[1] = b.dims[!tb];
    return a.rank == 2 && b.rank == 2 && a.dims[!ta] == b.dims[tb];
}

static bool shape_matmul(const struct infer *f, const struct node *n, const struct rule *r,
                         struct known *y)
{
    const struct known a = input(f, n, r->a), b = input(f, n, r->b);
    if (a.rank < 2 || b.rank < 2 || (b.rank != 2 && b.rank != a.rank) ||
        a.dims[a.rank - 1] != b.dims[b.rank - 2]) {
        return false;
    }
    for (int i = 0; i < a.rank - 2; i++) {
        if (b.rank != 2 && b.dims[i] != a.dims[i]) {
            return false;
        }
    }
    y->rank = a.rank;
    memcpy(y->dims, a.dims, sizeof y->dims);
    y->dims[y->rank - 1] = b.dims[b.rank - 1];
    return true;
}

static bool shape_flatten(const struct infer *f, const struct node *n, const struct rule *r,
                          struct known *y)
{
    struct known x = input(f, n, r->a);
    int64_t axis = attr_int(n, "axis", 1), all = volume(&x);
    axis += axis < 0 ? x.rank : 0;
    if (x.rank < 0 || axis < 0 || axis > x.rank || all <= 0) {
        return false;
    }
    struct known head = x;
    head.rank = (int)axis;
    y->rank = 2;
    y->dims[0] = volume(&head);
    y->dims[1] = all / y->dims[0];
    return true;
}

static bool shape_reshape(const struct infer *f, const struct node *n, const struct rule *r,
                          struct known *y)
{
    struct known x = input(f, n, r->a);
    const struct tensor *to = list_input(f, n, r->b);
    int64_t all = volume(&x);
    if (x.rank < 0 || !to || all <= 0 || attr_int(n, "allowzero", 0)) {
        return false;
    }
    int open = -1;
    y->rank = (int)to->n;
    for (int i = 0; i < y->rank; i++) {
        int64_t d = tensor_s64(to, (size_t)i);
        if (d < -1 || (d == 0 && i >= x.rank) || (d == -1 && open >= 0)) {
            return false;
        }
        open = d == -1 ? i : open;
        y->dims[i] = d == -1 ? 1 : d == 0 ? x.dims[i] : d;
    }
    int64_t rest = volume(y);
    if (rest <= 0 || all % rest || (open < 0 && all != rest)) {
        return false;
    }
    if (open >= 0) {
        y->dims[open] = all / rest;
    }
    return true;
}

static bool shape_transpose(const struct infer *f, const struct node *n, const struct rule *r,
                            struct known *y)
{
    const struct known x = input(f, n, r->a);
    size_t count;
    const int64_t *perm = attr_ints(n, "perm", &count);
    if (x.rank < 0 || (perm && count != (size_t)x.rank)) {
        return false;
    }
    y->rank = x.rank;
    for (int i = 0; i < x.rank; i++) {
        int64_t from = perm ? perm[i] : x.rank - 1 - i;
        if (from < 0 || from >= x.rank) {
            return false;
        }
        y->dims[i] = x.dims[from];
    }
    return true;
}

/* Data inputs stand at a, a + b, a + 2b ... */
static bool shape_concat(const struct infer *f, const struct node *n, const struct rule *r,
                         struct known *y)
{
    struct known x = input(f, n, r->a);
    int64_t axis = attr_int(n, "axis", MAX_RANK);
    axis += axis < 0 ? x.rank : 0;
    if (x.rank < 1 || axis < 0 || axis >= x.rank) {
        return false;
    }
    y->rank = x.rank;
    memcpy(y->dims, x.dims, sizeof y->dims);
    for (int k = r->a + r->b; k < n->n_in; k += r->b) {
        x = input(f, n, k);
        for (int i = 0; i < y->rank; i++) {
            if (x.rank != y->rank || (i != axis && x.dims[i] != y->dims[i])) {
                return false;
            }
        }
        if (__builtin_add_overflow(y->dims[axis], x.dims[axis], &y->dims[axis])) {
            return false;
        }
    }
    return true;
}

/* ---- Rules ---------------------------------------------------------------------------------- */

static const struct rule rules[] = {
    {"Add", 0, 1, OF_FLOATS, shape_broadcast},
    {"AveragePool", 0, -1, OF_FLOATS, shape_pool},
    {"BatchNormalization", 0, -1, OF_FLOATS, shape_same},
    {"Clip", 0, -1, OF_FLOATS, shape_same},
    {"Concat", 0, 1, OF_DATA, shape_concat},
    {"Conv", 0, 1, OF_FLOATS, shape_conv},
    {"DequantizeLinear", 0, -1, TO_FLOAT, shape_same},
    {"Div", 0, 1, OF_FLOATS, shape_broadcast},
    {"Flatten", 0, -1, OF_DATA, shape_flatten},
    {"Gemm", 0, 1, OF_FLOATS, shape_gemm},
    {"GlobalAveragePool", 0, -1, OF_FLOATS, shape_global},
    {"HardSigmoid", 0, -1, OF_FLOATS, shape_same},
    {"HardSwish", 0, -1, OF_FLOATS, shape_same},
    {"Identity", 0, -1, OF_DATA, shape_same},
    {"LeakyRelu", 0, -1, OF_FLOATS, shape_same},
    {"MatMul", 0, 1, OF_FLOATS, shape_matmul},
    {"MaxPool", 0, -1, OF_DATA, shape_pool},
    {"Mul", 0, 1, OF_FLOATS, shape_broadcast},
    {"QGemm", 0, 3, 8, shape_gemm},
    {"QLinearAdd", 0, 3, 7, shape_broadcast},
    {"QLinearAveragePool", 0, -1, 4, shape_pool},
    {"QLinearConcat", 2, 3, 1, shape_concat},
    {"QLinearConv", 0, 3, 7, shape_conv},
    {"QLinearGlobalAveragePool", 0, -1, 4, shape_global},
    {"QLinearLeakyRelu", 0, -1, 4, shape_same},
    {"QLinearMatMul", 0, 3, 7, shape_matmul},
    {"QLinearMul", 0, 3, 7, shape_broadcast},
    {"QLinearSigmoid", 0, -1, 4, shape_same},
    {"QLinearSoftmax", 0, -1, 4, shape_same},
    {"QuantizeLinear", 0, -1, 2, shape_same},
    {"Relu", 0, -1, OF_FLOATS, shape_same},
    {"Reshape", 0, 1, OF_DATA, shape_reshape},
    {"Sigmoid", 0, -1, OF_FLOATS, shape_same},
    {"Softmax", 0, -1, OF_FLOATS, shape_same},
    {"Sub", 0, 1, OF_FLOATS, shape_broadcast},
    {"Tanh", 0, -1, OF_FLOATS, shape_same},
    {"Transpose", 0, -1, OF_DATA, shape_transpose},
};

static const struct rule *rule_of(const struct node *n)
{
    for (size_t i = 0; i < COUNT(rules); i++) {
        if (strcmp(rules[i].op, n->op) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static bool is_codes(enum dtype d)
{
    return d == DT_U8 || d == DT_S8;
}

/* Activations, and what stands beside them: biases, lists of dimensions. */
static bool known_types(const struct infer *f, const struct node *n, const struct rule *r)
{
    for (int k = 0; k < n->n_in; k++) {
        enum dtype d = input(f, n, k).dtype;
        bool list = d == DT_S64 && r->shape == shape_reshape && k == r->b;
        if (n->in[k] >= 0 && d != DT_F32 && d != DT_S32 && !is_codes(d) && !list) {
            return false;
        }
    }
    return true;
}

/* Type of the output; DT_NONE when it is not one that all kernels of these operators take. */
static enum dtype output_type(const struct infer *f, const struct node *n, const struct rule *r)
{
    enum dtype data = input(f, n, r->a).dtype, zero;
    bool fits, constant = f->g->values[n->in[r->a]].constant != NULL;
    switch (r->type) {
    case OF_FLOATS:
        return data == DT_F32 ? DT_F32 : DT_NONE;
    case TO_FLOAT: /* biases are codes of 32 bits */
        return is_codes(data) || (data == DT_S32 && constant) ? DT_F32 : DT_NONE;
    case OF_DATA:
        return data == DT_F32 || is_codes(data) ? data : DT_NONE;
    default:
        zero = input(f, n, r->type).dtype;
        fits = node_is_quantize(n) ? data == DT_F32 : is_codes(data);
        return fits && is_codes(zero) ? zero : DT_NONE;
    }
}

static bool infer_node(struct infer *f, const struct node *n)
{
    const struct rule *r = rule_of(n);
    struct known y = {.rank = -1};
    if (n->n_out != 1 || n->out[0] < 0 || strcmp(n->domain, "tflite") == 0) {
        return false;
    }
    const struct tensor *t = held(n);
    if (t) {
        y = (struct known){.dtype = t->dtype, .rank = t->rank};
        memcpy(y.dims, t->dims, sizeof y.dims);
        f->v[n->out[0]] = y;
        return true;
    }
    if (!r || input(f, n, r->a).rank < 0 || !known_types(f, n, r) || !r->shape(f, n, r, &y)) {
        return false;
    }
    y.dtype = output_type(f, n, r);
    f->v[n->out[0]] = y;
    return y.dtype != DT_NONE;
}

/* Constants, and inputs at the size of one sample. */
static bool start(struct infer *f)
{
    const struct graph *g = f->g;
    for (size_t v = 0; v < g->n_values; v++) {
        const struct tensor *t = g->values[v].constant;
        f->v[v] = (struct known){.rank = -1};
        if (t) {
            f->v[v] = (struct known){.dtype = t->dtype, .rank = t->rank};
            memcpy(f->v[v].dims, t->dims, sizeof t->dims);
        }
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        const struct value *x = &g->values[g->inputs[i]];
        struct known *k = &f->v[g->inputs[i]];
        *k = (struct known){.dtype = x->dtype, .rank = x->rank};
        for (int d = 0; d < x->rank; d++) {
            k->dims[d] = d == 0 && x->dims[d] <= 0 ? 1 : x->dims[d];
            if (k->dims[d] <= 0) {
                return false;
            }
        }
        if (x->rank < 0 || (x->dtype != DT_F32 && !is_codes(x->dtype))) {
            return false;
        }
    }
    return true;
}

bool graph_infer(struct graph *g)
{
    struct infer f = {.g = g, .v = mem_alloc((g->n_values + 1) * sizeof *f.v)};
    bool all = start(&f);
    for (size_t i = 0; i < g->n_nodes && all; i++) {
        all = infer_node(&f, &g->nodes[i]);
    }
    for (size_t v = 0; v < g->n_values && all; v++) {
        struct value *d = &g->values[v];
        d->dtype = d->dtype == DT_NONE ? f.v[v].dtype : d->dtype;
        if (d->rank < 0) {
            d->rank = f.v[v].rank;
            memcpy(d->dims, f.v[v].dims, sizeof d->dims);
        }
    }
    free(f.v);
    return all;
}
