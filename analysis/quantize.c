/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize.c: an FP32 graph with QuantizeLinear and DequantizeLinear put in, as onnxruntime's
 * quantizer puts them: in front of and behind each operator that has a rule (quantize_mark.c).
 * Operators that only move values give codes on as they are; a Relu or Clip that the codes' range
 * expresses goes. Where nodes want different types, a tensor has that of the node that makes it,
 * and others get it quantized once more. The bias of a weighted operator is int32 with the scale of
 * its sums.
 */
#include "analysis/qedit.h"
#include "analysis/quantizer.h"

#include <math.h>
#include <stdlib.h>

/* ---- Activations ---------------------------------------------------------------------------- */

static int scalar(enum dtype d, struct tensor **out, struct err *err)
{
    return tensor_zeros(d, 0, NULL, NULL, out, err);
}

static int make_params(struct quantizer *q, int v, enum dtype type, struct params *p,
                       struct err *err)
{
    struct tensor_plan *t = &q->v[v];
    struct range_goal goal = q->o->goal;
    double r[2] = {t->range[0], t->range[1]};
    int32_t zero;
    goal.codes.dtype = type;
    if (!t->ranged) {
        q->o->method->choose(&q->seen[v], &goal, r);
    }
    *p = (struct params){.type = type};
    codes_params(&goal.codes, r[0], r[1], &p->scale, &zero);
    struct tensor *s = NULL, *z = NULL;
    int rc = scalar(DT_F32, &s, err);
    rc = rc ? rc : scalar(type, &z, err);
    if (rc) {
        tensor_free(s);
        return rc;
    }
    *(float *)s->data = p->scale;
    coded_put(z, 0, zero);
    const char *name = q->g->values[v].name;
    p->s = edit_constant(q->g, name, t->n_params ? "_scale_convert" : "_scale", s);
    p->z = edit_constant(q->g, name, t->n_params ? "_zero_point_convert" : "_zero_point", z);
    return OK;
}

/* Scale and zero point of an activation as codes of a type. */
static int params_of(struct quantizer *q, int v, enum dtype type, struct params *out,
                     struct err *err)
{
    int root = q->v[v].same;
    struct tensor_plan *t = &q->v[root];
    for (size_t i = 0; i < t->n_params; i++) {
        if (t->params[i].type == type) {
            *out = t->params[i];
            return OK;
        }
    }
    int rc = make_params(q, root, type, out, err);
    if (!rc) {
        t->params[t->n_params++] = *out;
    }
    return rc;
}

/* Float `from` through codes of a type to the float value `to`. */
static int add_pair(struct quantizer *q, int v, enum dtype type, int from, int to, bool again,
                    struct err *err)
{
    struct params p;
    int rc = params_of(q, v, type, &p, err);
    if (rc) {
        return rc;
    }
    char *stem = mem_printf("%s%s", q->g->values[v].name, again ? "_convert" : "");
    const char *domain = edit_codes_domain(q->g, type);
    int codes = edit_value(q->g, stem, "_QuantizeLinear_Output");
    edit_node(q->g, "QuantizeLinear", domain, stem, (const int[]){from, p.s, p.z}, codes);
    edit_node(q->g, "DequantizeLinear", domain, stem, (const int[]){codes, p.s, p.z}, to);
    free(stem);
    q->v[v].readings[q->v[v].n_readings++] = (struct reading){type, to};
    return OK;
}

/* The float value that stands for v in a type; made where v has not been read so before. */
static int read_as(struct quantizer *q, int v, enum dtype type, int *real, struct err *err)
{
    struct tensor_plan *t = &q->v[v];
    for (size_t i = 0; i < t->n_readings; i++) {
        if (t->readings[i].type == type) {
            *real = t->readings[i].real;
            return OK;
        }
    }
    *real = edit_value(q->g, q->g->values[v].name, "_convert_DequantizeLinear_Output");
    return add_pair(q, v, type, t->readings[0].real, *real, true, err);
}

static bool is_mover(const struct quantizer *q, const struct node *n)
{
    return quantize_rule(q, n) == RULE_MOVE;
}

/* What reads v reads what its codes stand for. */
static int move_readers(struct quantizer *q, int v, struct err *err)
{
    int rc = OK;
    for (int u = q->uses.start[v]; u < q->uses.start[v + 1] && !rc; u++) {
        int node = q->uses.node[u], real = q->v[v].readings[0].real;
        const struct node *n = &q->g->nodes[node];
        if (q->on[node] && !is_mover(q, n)) {
            rc = read_as(q, v, quantize_type(q, n), &real, err);
        }
        struct node *reader = &q->g->nodes[node]; /* nodes may have been appended */
        for (int k = 0; k < reader->n_in; k++) {
            reader->in[k] = reader->in[k] == v ? real : reader->in[k];
        }
        reader->raw = (struct span){0};
    }
    return rc;
}

/* Whether v comes out of a node that is to compute in float, whatever rule its operator has; also
 * through what follows its inputs into codes or out of them. */
static bool is_kept(const struct quantizer *q, int v)
{
    int maker = q->g->values[v].producer;
    if (maker < 0 || q->on[maker]) {
        return false;
    }
    const struct node *n = &q->g->nodes[maker];
    int rule = quantize_rule(q, n);
    bool follows = rule == RULE_CLIP || rule == RULE_MOVE;
    return follows ? n->n_in && n->in[0] >= 0 && is_kept(q, n->in[0])
                   : rule < 0 && quantize_has_rule(n);
}

/* A copy of a float value: onnxruntime makes integers of a float operator between codes, weights
 * and all, unless something stands in front of the quantizer (as for pins). */
static int add_copy(struct quantizer *q, int v)
{
    const char *name = q->g->values[v].name;
    int to = edit_value(q->g, name, "_float");
    char *stem = mem_printf("%s_copy", name);
    graph_add(q->g, "Max", "", graph_fresh(q->g, stem), 1, &v, 1, &to);
    free(stem);
    return to;
}

static int quantize_activation(struct quantizer *q, int v, struct err *err)
{
    struct graph *g = q->g;
    const char *name = g->values[v].name;
    int from = v, to, maker = g->values[v].producer;
    bool kept = is_kept(q, v);
    if (g->values[v].is_output && maker >= 0) { /* the output keeps its name */
        from = edit_value(g, name, "_QuantizeLinear_Input");
        to = v;
        for (int k = 0; k < g->nodes[maker].n_out; k++) {
            int *out = &g->nodes[maker].out[k];
            *out = *out == v ? from : *out;
        }
        g->nodes[maker].raw = (struct span){0};
    } else {
        to = edit_value(g, name, "_DequantizeLinear_Output");
    }
    from = kept ? add_copy(q, from) : from;
    int rc = add_pair(q, v, q->v[v].type, from, to, false, err);
    q->report.tensors++;
    return rc ? rc : move_readers(q, v, err);
}

/* ---- Constants ------------------------------------------------------------------------------ */

/* DequantizeLinear of a coded constant named after `stem`; takes c. */
static int add_coded(struct quantizer *q, const char *stem, int axis, const struct coded *c)
{
    q->report.weights += dtype_size(c->codes->dtype) * c->codes->n;
    return coded_node(q->g, stem, axis, c);
}

static const struct coded_value *find_coded(const struct quantizer *q, int v, int axis,
                                            enum dtype type)
{
    for (size_t i = 0; i < q->n_coded; i++) {
        const struct coded_value *c = &q->coded[i];
        if (c->value == v && c->axis == axis && c->type == type) {
            return c;
        }
    }
    return NULL;
}

/* Input `slot` of a node, a constant, as codes. bias: what the scales are to fit, with sx. */
static int quantize_constant(struct quantizer *q, size_t node, int slot, int axis,
                             const struct code_choice *choice, const struct tensor *bias, float sx,
                             struct coded *coded, struct err *err)
{
    int v = q->g->nodes[node].in[slot];
    const struct coded_value *known = find_coded(q, v, axis, choice->dtype);
    if (!known) {
        struct coded c = {0};
        const struct tensor *w = edit_float(q->g, v);
        int rc = coded_params(w, axis, choice, &c, err);
        if (!rc && bias) {
            coded_fit_bias(&c, bias, sx);
        }
        rc = rc ? rc : coded_values(w, axis, &c, err);
        if (rc) {
            coded_fini(&c);
            return rc;
        }
        if (q->n_coded == q->cap_coded) {
            q->cap_coded = 2 * q->cap_coded + 16;
            q->coded = mem_grow(q->coded, q->cap_coded * sizeof *q->coded);
        }
        struct coded_value *to = &q->coded[q->n_coded++];
        *to = (struct coded_value){v, axis, choice->dtype, -1, c};
        to->real = add_coded(q, q->g->values[v].name, axis, &c);
        known = to;
    }
    struct node *n = &q->g->nodes[node];
    n->in[slot] = known->real;
    n->raw = (struct span){0};
    *coded = known->c;
    return OK;
}

static int quantize_bias(struct quantizer *q, size_t node, float sx, const struct tensor *sw,
                         struct err *err)
{
    const struct tensor *b = edit_float(q->g, q->g->nodes[node].in[2]);
    struct coded c = {0};
    int rc = coded_bias(b, sx, sw, &c, err);
    if (rc) {
        return rc;
    }
    int axis = sw->n > 1 ? b->rank - 1 : -1;
    const char *name = q->g->values[q->g->nodes[node].in[2]].name;
    int real = add_coded(q, name, axis, &c);
    q->g->nodes[node].in[2] = real;
    return OK;
}

/* Channels of the weights that get a scale of their own: an axis, or -1. */
static int scale_axis(const struct quantizer *q, const struct node *n, const struct tensor *w)
{
    if (!q->o->per_channel) {
        return -1;
    }
    if (edit_is(n, "ConvTranspose")) {
        return attr_int(n, "group", 1) == 1 && w->rank > 1 ? 1 : -1;
    }
    return edit_weight_axis(q->g, n);
}

/* Whether a bias can be codes with these scales: one each, or one for all. */
static bool fits_bias(const struct tensor *b, size_t scales)
{
    bool last = b->rank >= 1 && b->dims[b->rank - 1] == (int64_t)b->n;
    return scales == 1 || (last && b->n == scales);
}

/* Whether the bias of a node can take what rounding its weights does to the means of its outputs.
 */
static bool is_corrected(const struct quantizer *q, const struct node *n)
{
    const struct observation *x = &q->seen[n->in[0]];
    return q->o->correct_bias && !edit_is(n, "MatMul") && edit_weight_axis(q->g, n) >= 0 &&
           x->n_channels && !x->nonfinite &&
           (n->n_in < 3 || n->in[2] < 0 || quantize_constant_of(q, n->in[2]));
}

/* Gives a node a bias that makes up for the rounding of its weights. */
static int correct_bias(struct quantizer *q, size_t i, const struct tensor *w, int axis,
                        const struct coded *c, struct err *err)
{
    const struct node *n = &q->g->nodes[i];
    const struct observation *x = &q->seen[n->in[0]];
    const struct inputs_mean mean = {x->n_channels, x->channel_sum, x->per_channel};
    const struct tensor *b = n->n_in > 2 ? quantize_constant_of(q, n->in[2]) : NULL;
    int channel = edit_is(n, "Conv") || attr_int(n, "transB", 0) ? 0 : 1;
    size_t group = edit_is(n, "Conv") ? (size_t)attr_int(n, "group", 1) : 1;
    struct tensor *corrected = NULL;
    int rc = coded_correction(w, channel, c, axis, group, &mean, b, &corrected, err);
    if (rc) {
        return err_in(err, "node '%.120s'", n->name);
    }
    int in[3] = {n->in[0], n->in[1], edit_constant(q->g, n->name, "_corrected_bias", corrected)};
    struct node *edited = &q->g->nodes[i];
    edited->in = arena_alloc(&q->g->arena, sizeof in);
    memcpy(edited->in, in, sizeof in);
    edited->n_in = 3;
    q->report.corrected++;
    return OK;
}

static int quantize_weights(struct quantizer *q, size_t i, struct err *err)
{
    const struct node *n = &q->g->nodes[i];
    const struct node_choice *own = quantize_choice(q, n);
    struct code_choice choice = q->o->weights;
    choice.dtype = own && own->weights ? own->weights : choice.dtype;
    const struct tensor *w = quantize_constant_of(q, n->in[1]);
    const struct tensor *b = w && n->n_in > 2 ? quantize_constant_of(q, n->in[2]) : NULL;
    int x = n->in[0], axis = w ? scale_axis(q, n, w) : -1;
    size_t scales = axis >= 0 ? (size_t)w->dims[axis] : 1;
    bool has_x = (size_t)x < q->n_values && q->v[x].wanted, corrected = w && is_corrected(q, n);
    struct params p = {0};
    struct coded c = {0};
    int rc = w && has_x ? params_of(q, x, quantize_type(q, n), &p, err) : OK;
    b = has_x && b && fits_bias(b, scales) ? b : NULL;
    if (!rc && quantize_constant_of(q, x)) { /* a matrix product with the constant on the left */
        rc = quantize_constant(q, i, 0, -1, &choice, NULL, 0, &c, err);
    }
    rc = rc || !w ? rc : quantize_constant(q, i, 1, axis, &choice, b, p.scale, &c, err);
    if (!rc && corrected) {
        rc = correct_bias(q, i, w, axis, &c, err);
        b = rc || !has_x ? NULL : edit_float(q->g, q->g->nodes[i].in[2]);
    }
    return rc || !b ? rc : quantize_bias(q, i, p.scale, c.scale, err);
}

/* Constants of other arithmetic are codes of the type of the activations. */
static int quantize_operands(struct quantizer *q, size_t i, struct err *err)
{
    struct code_choice choice = q->o->goal.codes;
    choice.dtype = quantize_type(q, &q->g->nodes[i]);
    choice.power_of_two = false;
    struct coded c;
    int rc = OK;
    for (int k = 0; k < q->g->nodes[i].n_in && !rc; k++) {
        if (quantize_constant_of(q, q->g->nodes[i].in[k])) {
            rc = quantize_constant(q, i, k, -1, &choice, NULL, 0, &c, err);
        }
    }
    return rc;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int put_quantizers(struct quantizer *q, struct err *err)
{
    int rc = OK;
    for (size_t i = 0; i < q->n_nodes && !rc; i++) {
        int rule = q->on[i] ? quantize_rule(q, &q->g->nodes[i]) : -1;
        rc = rule == RULE_WEIGHTED  ? quantize_weights(q, i, err)
             : rule == RULE_COMPUTE ? quantize_operands(q, i, err)
                                    : OK;
    }
    for (size_t v = 0; v < q->n_values && !rc; v++) {
        rc = q->v[v].wanted ? quantize_activation(q, (int)v, err) : OK;
    }
    return rc;
}

static int quantize_marked(struct quantizer *q, struct err *err)
{
    quantize_mark(q);
    uses_fini(&q->uses);
    q->uses = graph_uses(q->g); /* without the clips that went */
    int rc = put_quantizers(q, err);
    if (!rc && !q->report.layers) {
        rc = err_set(err, E_SHAPE, "none of its %zu weighted layers can be quantized",
                     q->report.left);
    }
    return rc ? rc : graph_finish(q->g, err);
}

int quantize_graph(const struct graph *prepared, const struct observation *seen,
                   const struct quantize_options *o, struct graph **out,
                   struct quantize_report *report, struct err *err)
{
    struct graph *g = graph_clone(prepared);
    struct quantizer q = {.g = g, .seen = seen, .o = o};
    q.n_values = g->n_values;
    q.n_nodes = g->n_nodes;
    q.uses = graph_uses(g);
    q.v = mem_alloc((q.n_values + 1) * sizeof *q.v);
    q.on = mem_alloc(q.n_nodes + 1);
    for (size_t v = 0; v < q.n_values; v++) {
        q.v[v].same = (int)v;
    }
    int rc = quantize_marked(&q, err);
    *report = q.report;
    uses_fini(&q.uses);
    free(q.v);
    free(q.on);
    free(q.coded);
    if (rc) {
        graph_free(g);
        return rc;
    }
    *out = g;
    return OK;
}
