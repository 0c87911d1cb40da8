/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * qmodel.c: reads the quantization of an INT8 graph: see qmodel.h.
 */
#include "analysis/qmodel.h"
#include "analysis/analysis.h"

#include <stdlib.h>

/* Where an integer operator carries its parameters. Input numbers as in the ONNX and com.microsoft
 * operator specifications; -1 = none. `data` lists the data inputs, ended by -1; step > 0: triples
 * (data, scale, zero point) from data[0] on. */
struct qop {
    const char *op, *plain;
    int y_scale, y_zero;
    int data[4];
    int step;
};

static const struct qop qops[] = {
    {"QLinearConv", "Conv", 6, 7, {0, 3, -1, -1}, 0},
    {"QLinearMatMul", "MatMul", 6, 7, {0, 3, -1, -1}, 0},
    {"QGemm", "Gemm", 7, 8, {0, 3, -1, -1}, 0},
    {"QLinearAdd", "Add", 6, 7, {0, 3, -1, -1}, 0},
    {"QLinearMul", "Mul", 6, 7, {0, 3, -1, -1}, 0},
    {"QLinearAveragePool", "AveragePool", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearGlobalAveragePool", "GlobalAveragePool", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearLeakyRelu", "LeakyRelu", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearSigmoid", "Sigmoid", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearSoftmax", "Softmax", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearReduceMean", "ReduceMean", 3, 4, {0, -1, -1, -1}, 0},
    {"QLinearWhere", "Where", 7, 8, {0, 1, 4, -1}, 0},
    {"QLinearConcat", "Concat", 0, 1, {2, -1, -1, -1}, 3},
    {"ConvInteger", "Conv", -1, -1, {0, 1, -1, -1}, 0},
    {"MatMulInteger", "MatMul", -1, -1, {0, 1, -1, -1}, 0},
    {"MatMulIntegerToFloat", "MatMul", -1, -1, {0, 1, -1, -1}, 0},
    {"DynamicQuantizeMatMul", "MatMul", -1, -1, {0, 1, -1, -1}, 0},
};

/* Operators that move codes without changing them: parameters pass from the first input. */
static const char *const movers[] = {
    "MaxPool",      "Reshape",      "Transpose", "Flatten", "Squeeze",  "Unsqueeze",
    "Identity",     "Split",        "Slice",     "Gather",  "Expand",   "Tile",
    "DepthToSpace", "SpaceToDepth", "Pad",       "Resize",  "GatherND", "GatherElements",
    "Upsample",     "Concat",       "Relu",      "Clip",
};

static const struct qop *qop_find(const struct node *n)
{
    for (size_t i = 0; i < COUNT(qops); i++) {
        if (strcmp(n->op, qops[i].op) == 0) {
            return &qops[i];
        }
    }
    return NULL;
}

bool node_moves(const struct node *n)
{
    for (size_t i = 0; i < COUNT(movers); i++) {
        if (strcmp(n->op, movers[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool node_is(const struct node *n, const char *op)
{
    return strcmp(n->op, op) == 0;
}

bool node_is_quantize(const struct node *n)
{
    return node_is(n, "QuantizeLinear") || node_is(n, "QUANTIZE");
}

bool node_is_dequantize(const struct node *n)
{
    return node_is(n, "DequantizeLinear") || node_is(n, "DEQUANTIZE");
}

const char *node_plain_op(const struct node *n)
{
    const struct qop *q = qop_find(n);
    return q ? q->plain : n->op;
}

const char *node_family(const struct node *n)
{
    static const char *const names[][2] = {
        {"CONV_2D", "Conv"},
        {"DEPTHWISE_CONV_2D", "Conv"},
        {"FULLY_CONNECTED", "MatMul"},
        {"Gemm", "MatMul"},
        {"ADD", "Add"},
        {"SUB", "Sub"},
        {"MUL", "Mul"},
        {"DIV", "Div"},
        {"MEAN", "ReduceMean"},
        {"GlobalAveragePool", "ReduceMean"},
        {"AVERAGE_POOL_2D", "ReduceMean"},
        {"AveragePool", "ReduceMean"},
        {"MAX_POOL_2D", "MaxPool"},
        {"CONCATENATION", "Concat"},
        {"SOFTMAX", "Softmax"},
        {"LOGISTIC", "Sigmoid"},
        {"RESHAPE", "Reshape"},
        {"Squeeze", "Reshape"},
        {"Flatten", "Reshape"},
        {"TRANSPOSE", "Transpose"},
        {"BATCH_MATMUL", "MatMul"},
        {"GELU", "Gelu"},
        {"TANH", "Tanh"},
        {"HARD_SWISH", "HardSwish"},
        {"LEAKY_RELU", "LeakyRelu"},
        {"RESIZE_BILINEAR", "Resize"},
        {"RESIZE_NEAREST_NEIGHBOR", "Resize"},
    };
    const char *op = node_plain_op(n);
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i][0], op) == 0) {
            return names[i][1];
        }
    }
    return op;
}

bool nodes_agree(const struct graph *f, const struct graph *i, const struct node *a,
                 const struct node *b)
{
    return f->dialect == i->dialect ? strcmp(a->op, node_plain_op(b)) == 0
                                    : strcmp(node_family(a), node_family(b)) == 0;
}

int node_data_inputs(const struct node *n, int *pos, int room)
{
    const struct qop *q = qop_find(n);
    int count = 0;
    if (!q) {
        int limit = node_is_quantize(n) || node_is_dequantize(n) ? 1 : n->n_in;
        for (; count < MIN(limit, room); count++) {
            pos[count] = count;
        }
    } else if (q->step) {
        for (int k = q->data[0]; k < n->n_in && count < room; k += q->step) {
            pos[count++] = k;
        }
    } else {
        for (int k = 0; k < 4 && q->data[k] >= 0 && count < room; k++) {
            if (q->data[k] < n->n_in) {
                pos[count++] = q->data[k];
            }
        }
    }
    return count;
}

bool node_output_params(const struct node *n, int *scale, int *zero)
{
    const struct qop *q = qop_find(n);
    *scale = node_is_quantize(n) ? 1 : q ? q->y_scale : -1;
    *zero = node_is_quantize(n) ? 2 : q ? q->y_zero : -1;
    return *scale >= 0;
}

bool node_takes_params(const struct node *n)
{
    const struct qop *q = qop_find(n);
    return node_is_dequantize(n) || (q && q->y_scale >= 0);
}

static int input_or_none(const struct node *n, int k)
{
    return k >= 0 && k < n->n_in ? n->in[k] : -1;
}

/* Output k of node n as codes with its parameters, when it is that. */
static void read_output(struct qmodel *q, int i, int k)
{
    const struct node *n = &q->g->nodes[i];
    struct qvalue *v = &q->v[n->out[k]];
    const struct qop *qop = qop_find(n);
    if (q->g->dialect == DIALECT_TFLITE) {
        /* Codes that become others are an activation of their own. */
        if (node_is_quantize(n) && n->in[0] >= 0 && !q->v[n->in[0]].codes) {
            v->made_from = n->in[0];
            v->quantizer = i;
        }
    } else if (node_is_quantize(n)) {
        v->codes = true;
        v->scale = input_or_none(n, 1);
        v->zero = input_or_none(n, 2);
        const struct tensor *s = v->scale >= 0 ? q->g->values[v->scale].constant : NULL;
        v->axis = s && s->n > 1 ? (int)attr_int(n, "axis", 1) : -1;
        v->made_from = n->in[0];
        v->quantizer = i;
    } else if (qop && qop->y_scale >= 0 && input_or_none(n, qop->y_scale) >= 0) {
        v->codes = true;
        v->scale = n->in[qop->y_scale];
        v->zero = input_or_none(n, qop->y_zero);
    } else if (node_moves(n) && n->n_in && n->in[0] >= 0 && q->v[n->in[0]].codes) {
        const struct qvalue *x = &q->v[n->in[0]];
        v->codes = true;
        v->scale = x->scale;
        v->zero = x->zero;
        v->axis = x->axis;
    }
}

/* A DequantizeLinear tells the parameters of its input where nothing else did, and names the float
 * tensor that stands for the codes. */
static void read_dequantize(struct qmodel *q, const struct node *n)
{
    if (n->out[0] < 0 || q->v[n->in[0]].constant) {
        return;
    }
    struct qvalue *x = &q->v[n->in[0]];
    if (!x->codes) {
        x->codes = true;
        x->scale = input_or_none(n, 1);
        x->zero = input_or_none(n, 2);
        x->unit = n->in[0];
    }
    if (x->read_as < 0) {
        x->read_as = n->out[0];
    }
    q->v[n->out[0]].unit = n->in[0];
}

static bool all_constant(const struct qmodel *q, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0 && !q->v[n->in[k]].constant) {
            return false;
        }
    }
    return true;
}

void qmodel_init(struct qmodel *q, const struct graph *g)
{
    *q = (struct qmodel){.g = g, .uses = graph_uses(g), .n_values = g->n_values};
    q->v = mem_alloc(g->n_values * sizeof *q->v);
    for (size_t i = 0; i < g->n_values; i++) {
        q->v[i] = (struct qvalue){.constant = g->values[i].constant != NULL,
                                  .codes = g->values[i].quant && !g->values[i].constant,
                                  .quant = g->values[i].quant,
                                  .scale = -1,
                                  .zero = -1,
                                  .axis = -1,
                                  .unit = (int)i,
                                  .made_from = -1,
                                  .read_as = -1,
                                  .quantizer = -1};
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        bool constant = all_constant(q, n);
        for (int k = 0; k < n->n_out; k++) {
            if (n->out[k] >= 0) {
                q->v[n->out[k]].constant = constant;
                if (!constant) {
                    read_output(q, (int)i, k);
                }
            }
        }
        if (!constant && node_is_dequantize(n) && n->n_in > 0 && n->n_out > 0 && n->in[0] >= 0 &&
            (n->n_in > 1 || q->v[n->in[0]].quant)) {
            read_dequantize(q, n);
        }
    }
    for (size_t i = 0; i < g->n_values; i++) {
        struct qvalue *v = &q->v[i];
        if (v->constant) {
            v->unit = -1;
        } else if (v->made_from >= 0 && !q->v[v->made_from].codes) {
            /* The float tensor in front of a QuantizeLinear is the same activation. */
            struct qvalue *x = &q->v[v->made_from];
            x->unit = x->unit == v->made_from ? (int)i : x->unit;
        }
    }
}

bool graph_quantized(const struct graph *g)
{
    bool found = false;
    for (size_t i = 0; i < g->n_nodes && !found; i++) {
        const struct node *n = &g->nodes[i];
        found = node_is_quantize(n) || node_is_dequantize(n) || node_takes_params(n) ||
                strncmp(n->op, "DynamicQuantize", 15) == 0;
    }
    for (size_t v = 0; v < g->n_values && !found; v++) {
        found = g->values[v].quant != NULL;
    }
    return found;
}

int qmodel_read(const struct qmodel *q, int v, struct arena *a, struct quant *out, bool *known,
                struct err *err)
{
    const struct qvalue *x = &q->v[v];
    const struct tensor *s = x->scale >= 0 ? q->g->values[x->scale].constant : NULL;
    const struct tensor *z = x->zero >= 0 ? q->g->values[x->zero].constant : NULL;
    enum dtype d = q->g->values[v].dtype;
    *known = x->codes && (x->quant || s);
    if (!*known) {
        return OK;
    }
    if (!x->quant) {
        int rc = quant_read(s, z, x->axis, d == DT_NONE ? DT_U8 : d, a, out, err);
        return rc ? err_in(err, "parameters of tensor '%s'", q->g->values[v].name) : OK;
    }
    float *scale = arena_alloc(a, x->quant->n * sizeof *scale);
    int32_t *zero = arena_alloc(a, x->quant->n * sizeof *zero);
    memcpy(scale, x->quant->scale, x->quant->n * sizeof *scale);
    memcpy(zero, x->quant->zero, x->quant->n * sizeof *zero);
    *out = *x->quant;
    out->scale = scale;
    out->zero = zero;
    return OK;
}

void qmodel_fini(struct qmodel *q)
{
    uses_fini(&q->uses);
    free(q->v);
    *q = (struct qmodel){0};
}
