/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * weights.c: the weights that INT8 layers multiply by against those of the FP32 model, per output
 * channel, without a run.
 */
#include "analysis/judge.h"
#include "analysis/qmodel.h"
#include "analysis/weight_rows.h"

#include <math.h>
#include <stdlib.h>

/* ---- Where weights stand --------------------------------------------------------------------- */

/* Inputs of operators that multiply codes; -1: none. */
struct place {
    const char *op;
    int w, scale, zero, bias, x_scale;
};
static const struct place places[] = {
    {"QLinearConv", 3, 4, 5, 8, 1},
    {"QLinearMatMul", 3, 4, 5, -1, 1},
    {"QGemm", 3, 4, 5, 6, 1},
    {"MatMulIntegerToFloat", 1, 3, 5, 6, -1},
    {"DynamicQuantizeMatMul", 1, 2, 3, 4, -1},
    {"ConvInteger", 1, -1, 3, -1, -1},
    {"MatMulInteger", 1, -1, 3, -1, -1},
};
static const struct place place_tensorrt = {NULL, 3, 4, 5, 8, 1};
static const struct place place_plain = {NULL, 1, -1, -1, 2, -1};

static const struct place *place_of(const struct node *n)
{
    for (size_t i = 0; i < COUNT(places); i++) {
        if (node_is(n, places[i].op)) {
            return &places[i];
        }
    }
    return strcmp(n->domain, "tensorrt") == 0 ? &place_tensorrt : &place_plain;
}

/* ---- FP32 side ------------------------------------------------------------------------------- */

/* What becomes of a product on its way out of an FP32 layer: gain * product + bias. */
struct affine {
    double *gain, *bias; /* per output channel */
};

/* The weighted node of every FP32 layer, and the nodes behind it. */
struct fp32_layer {
    int node; /* -1 */
    size_t n;
    int nodes[LAYER_NODES];
};

struct comparing {
    const struct graph *f;
    const struct plan *plan_f, *plan_i;
    const struct match *m;
    const struct local_map *map;
    struct fp32_layer *layers;
    struct weight_error *found;
    atomic_size_t next; /* layer that no thread has taken */
};

/* A constant of the FP32 model, also one that only its plan knows. */
static const struct tensor *fp32_constant(const struct comparing *c, int v)
{
    const struct tensor *t = v >= 0 ? c->f->values[v].constant : NULL;
    int at =
        t || v < 0 || !c->plan_f ? -1 : graph_find(plan_graph(c->plan_f), c->f->values[v].name);
    return at >= 0 ? plan_constant(c->plan_f, at) : t;
}

static bool is_weighted(const char *family)
{
    return strcmp(family, "Conv") == 0 || strcmp(family, "MatMul") == 0;
}

static void find_fp32(void *ctx, size_t layer, size_t n, const int *nodes)
{
    struct comparing *c = ctx;
    struct fp32_layer *l = &c->layers[layer];
    *l = (struct fp32_layer){.node = -1, .n = n};
    memcpy(l->nodes, nodes, n * sizeof *nodes);
    for (size_t i = 0; i < n; i++) {
        const struct node *x = &c->f->nodes[nodes[i]];
        if (is_weighted(node_family(x)) && x->n_in > 1 && fp32_constant(c, x->in[1])) {
            l->node = l->node < 0 ? nodes[i] : -2;
        }
    }
}

/* t as float32, dequantized where the model keeps it as codes; one reference or NULL. */
static struct tensor *real_values(const struct tensor *t, const struct quant *q)
{
    struct tensor *out = NULL, *aligned = t ? tensor_aligned(t) : NULL;
    if (aligned && !(q && !dtype_is_float(t->dtype) ? quant_dequantize(aligned, q, NULL, &out, NULL)
                                                    : tensor_to_f32(aligned, NULL, &out, NULL))) {
        tensor_free(aligned);
        return out;
    }
    tensor_free(aligned);
    return NULL;
}

/* Element c of a constant that has one value or one per channel; NAN: it has neither. */
static double per_channel(const struct tensor *t, size_t n, size_t c)
{
    return t->n == n ? tensor_f64(t, c) : t->n == 1 ? tensor_f64(t, 0) : NAN;
}

static void fold_norm(const struct comparing *c, const struct node *n, size_t o, struct affine *a)
{
    const struct tensor *p[4];
    for (int k = 0; k < 4; k++) {
        p[k] = n->n_in > 4 ? fp32_constant(c, n->in[k + 1]) : NULL;
        if (!p[k] || p[k]->n != o) {
            return;
        }
    }
    double epsilon = (double)attr_float(n, "epsilon", 1e-5F);
    for (size_t i = 0; i < o; i++) {
        double gain = tensor_f64(p[0], i) / sqrt(tensor_f64(p[3], i) + epsilon);
        a->gain[i] *= gain;
        a->bias[i] = (a->bias[i] - tensor_f64(p[2], i)) * gain + tensor_f64(p[1], i);
    }
}

static void add_bias(const struct tensor *t, size_t o, struct affine *a)
{
    for (size_t i = 0; t && (t->n == o || t->n == 1) && i < o; i++) {
        a->bias[i] += per_channel(t, o, i);
    }
}

static const struct tensor *constant_input(const struct comparing *c, const struct node *n)
{
    const struct tensor *t = n->n_in == 2 ? fp32_constant(c, n->in[0]) : NULL;
    return t || n->n_in != 2 ? t : fp32_constant(c, n->in[1]);
}

/* What follows the product in FP32, from its own bias on; nodes of a layer come last first. */
static void follow(const struct comparing *c, size_t layer, size_t o, struct affine *a)
{
    const struct fp32_layer *l = &c->layers[layer];
    const struct node *n = &c->f->nodes[l->node];
    if (n->n_in > 2 && n->in[2] >= 0) {
        const struct value *v = &c->f->values[n->in[2]];
        struct tensor *b = real_values(fp32_constant(c, n->in[2]), v->quant);
        add_bias(b, o, a);
        tensor_free(b);
    }
    for (size_t i = l->n; i-- > 0;) {
        const struct node *x = &c->f->nodes[l->nodes[i]];
        if (node_is(x, "BatchNormalization") && !c->map->normalizes[layer]) {
            fold_norm(c, x, o, a);
        } else if (node_is(x, "Add") || node_is(x, "ADD")) {
            add_bias(constant_input(c, x), o, a);
        }
    }
}

/* ---- INT8 side ------------------------------------------------------------------------------- */

/* Weights and bias that the executed node multiplies by and adds. */
struct int8_side {
    const struct node *n;
    struct weight_matrix w;
    const struct tensor *scale, *zero, *bias;
    const struct tensor *bias_scale; /* of a bias that was dequantized before; NULL */
    double x_scale;                  /* NAN: none */
    const struct quant *quant;       /* parameters kept with the tensor */
};

static const struct tensor *input_of(const struct comparing *c, const struct node *n, int k)
{
    return k >= 0 && k < n->n_in && n->in[k] >= 0 ? plan_constant(c->plan_i, n->in[k]) : NULL;
}

static bool int8_open(const struct comparing *c, size_t layer, struct int8_side *s)
{
    const struct graph *x = plan_graph(c->plan_i);
    const struct node *n = &x->nodes[c->map->weighted[layer]];
    const struct place *p = place_of(n);
    const struct tensor *w = input_of(c, n, p->w), *sx = input_of(c, n, p->x_scale);
    *s = (struct int8_side){.n = n, .x_scale = NAN};
    if (!w || !weight_matrix_init(&s->w, n, w)) {
        return false;
    }
    s->scale = input_of(c, n, p->scale);
    s->zero = input_of(c, n, p->zero);
    s->bias = input_of(c, n, p->bias);
    s->quant = x->values[n->in[p->w]].quant;
    if (sx && sx->n) {
        s->x_scale = tensor_f64(sx, 0) * (double)attr_float(n, "alpha", 1.0F);
    }
    if (x->values[n->in[0]].quant && x->values[n->in[0]].quant->n) {
        s->x_scale = (double)x->values[n->in[0]].quant->scale[0];
    }
    /* Floats that were codes: the node that read them tells the step. */
    int made = x->values[n->in[p->w]].producer;
    if (!s->scale && made >= 0 && node_is_dequantize(&x->nodes[made])) {
        s->scale = input_of(c, &x->nodes[made], 1);
    }
    made = p->bias >= 0 && p->bias < n->n_in && n->in[p->bias] >= 0
               ? x->values[n->in[p->bias]].producer
               : -1;
    if (made >= 0 && node_is_dequantize(&x->nodes[made])) {
        s->bias_scale = input_of(c, &x->nodes[made], 1);
    }
    if (!s->bias && c->map->added[layer] >= 0) {
        s->bias = plan_constant(c->plan_i, c->map->added[layer]);
    }
    return true;
}

static double step_of(const struct int8_side *s, size_t c)
{
    return s->quant && s->quant->n   ? (double)s->quant->scale[s->quant->n == s->w.o ? c : 0]
           : s->scale && s->scale->n ? per_channel(s->scale, s->w.o, c)
                                     : NAN;
}

static int zero_of(const struct int8_side *s, size_t c)
{
    if (s->quant && s->quant->n) {
        return s->quant->zero[s->quant->n == s->w.o ? c : 0];
    }
    return s->zero && s->zero->n ? (int)per_channel(s->zero, s->w.o, c) : 0;
}

/* ---- One channel ----------------------------------------------------------------------------- */

static void compare_channel(struct weight_channel *ch, const struct row_difference *d)
{
    ch->signal = d->vv;
    ch->noise = d->ee;
    ch->top = d->top;
    ch->gain = d->vv > 0 ? d->vw / d->vv : NAN;
    ch->left = d->left;
    ch->shift = ch->step > 0 ? d->shift / ch->step : NAN;
    ch->dead = d->any_v && !d->any_w;
}

/* Makes elements w [k] of channel c the values that it multiplies by: codes without their zero
 * point, times `factor`. Returns the largest code. */
static int int8_row(const struct int8_side *s, size_t c, double factor, double *w)
{
    if (!dtype_is_float(s->w.t->dtype)) {
        return (int)weight_row_codes(w, s->w.k, zero_of(s, c), factor);
    }
    double step = step_of(s, c), top = weight_row_codes(w, s->w.k, 0, 1);
    return step > 0 ? (int)lround(fmin(top / step, 1e6)) : 0;
}

/* Operators whose sums are scaled by a product behind them: the constant there that fits best.
 * q, room [k]: codes of the channel, and space. */
static double scale_behind(const struct comparing *c, size_t layer, const struct int8_side *s,
                           size_t ch, const double *v, const double *q, double *room)
{
    double best = NAN, least = INFINITY;
    for (int i = 0; i < 4 && c->map->scaled[layer][i] >= 0; i++) {
        const struct tensor *t = plan_constant(c->plan_i, c->map->scaled[layer][i]);
        double f = t && dtype_is_float(t->dtype) ? per_channel(t, s->w.o, ch) : NAN;
        if (isnan(f)) {
            continue;
        }
        memcpy(room, q, s->w.k * sizeof *room);
        int8_row(s, ch, f, room);
        double noise = weight_row_compare(v, room, s->w.k).ee;
        best = noise < least ? f : best;
        least = fmin(least, noise);
    }
    return best;
}

/* ---- One layer ------------------------------------------------------------------------------- */

static void finish_layer(struct weight_error *e)
{
    for (size_t c = 0; c < e->n_channels; c++) {
        const struct weight_channel *ch = &e->channel[c];
        double d = ch->bias - ch->bias_int8;
        e->signal += ch->signal;
        e->noise += ch->noise;
        e->bias_signal += ch->bias * ch->bias;
        e->bias_noise += d * d;
    }
}

static void compare_bias(const struct int8_side *s, size_t c, const struct affine *a,
                         struct weight_channel *ch)
{
    bool codes = s->bias && !dtype_is_float(s->bias->dtype);
    double b = s->bias && s->bias->n ? per_channel(s->bias, s->w.o, c) : 0;
    ch->bias = a->bias[c];
    ch->bias_step = codes           ? s->x_scale * ch->step
                    : s->bias_scale ? per_channel(s->bias_scale, s->w.o, c)
                                    : NAN;
    ch->bias_int8 = isnan(b) ? ch->bias : codes ? b * ch->bias_step : b;
}

/* |bias| + sum of |codes| times the largest input code: no sum can be larger. */
static double reach_of(const struct row_difference *d, const struct weight_channel *ch)
{
    double bias = ch->bias_step > 0 ? fabs(ch->bias_int8) / ch->bias_step : 0;
    return ch->step > 0 ? 255 * d->reach / ch->step + bias : 0;
}

static void compare_rows(const struct comparing *c, size_t layer, const struct int8_side *s,
                         const struct weight_matrix *f, const struct tensor *fv,
                         const struct affine *a, struct weight_error *e)
{
    /* Where rows lie as they are wanted, one at a time stays in the nearest cache. */
    const bool as_wanted = f->order == ORDER_OK && s->w.order == ORDER_OK;
    size_t block = as_wanted ? 1 : MIN(f->o, (size_t)WEIGHT_ROWS);
    double *all_v = mem_alloc((2 * block + 1) * f->k * sizeof *all_v),
           *all_w = all_v + block * f->k;
    for (size_t o = 0; o < f->o; o++) {
        size_t in = o % block;
        if (in == 0) {
            weight_rows_read(f, fv, o, MIN(block, f->o - o), all_v);
            weight_rows_read(&s->w, s->w.t, o, MIN(block, f->o - o), all_w);
        }
        struct weight_channel *ch = &e->channel[o];
        double *v = all_v + in * f->k, *w = all_w + in * f->k;
        if (a->gain[o] != 1) {
            weight_row_scale(v, f->k, a->gain[o]);
        }
        ch->step = step_of(s, o);
        if (isnan(ch->step) && !dtype_is_float(s->w.t->dtype)) {
            ch->step = scale_behind(c, layer, s, o, v, w, all_w + block * f->k);
        }
        ch->code_top = int8_row(s, o, ch->step, w);
        struct row_difference d = weight_row_compare(v, w, f->k);
        compare_channel(ch, &d);
        compare_bias(s, o, a, ch);
        e->reach = fmax(e->reach, reach_of(&d, ch));
    }
    free(all_v);
}

static const char *open_both(const struct comparing *c, size_t layer, struct int8_side *s,
                             struct weight_matrix *f, struct tensor **fv)
{
    const struct fp32_layer *l = &c->layers[layer];
    if (l->node < 0) {
        return "its FP32 weights are not those of one operator";
    }
    const struct node *n = &c->f->nodes[l->node];
    const struct tensor *t = fp32_constant(c, n->in[1]);
    if (!int8_open(c, layer, s) || !weight_matrix_init(f, n, t)) {
        return "weights of this operator are not compared";
    }
    if (s->w.o != f->o || s->w.k != f->k) {
        return "weights have other shapes in FP32";
    }
    const struct quant *q = c->f->values[n->in[1]].quant;
    *fv = t->dtype == DT_F32 ? tensor_ref(t) : real_values(t, q); /* read at any address */
    return *fv ? NULL : "weights cannot be read";
}

/* Fully connected layers of two formats may flatten their input in another order. */
static bool other_order(const struct comparing *c, size_t layer, const struct weight_error *e)
{
    double vw = 0, ww = 0;
    for (size_t o = 0; o < e->n_channels; o++) {
        const struct weight_channel *ch = &e->channel[o];
        vw += ch->gain * ch->signal;
        ww += ch->noise - ch->signal + 2 * ch->gain * ch->signal;
    }
    const char *family = node_family(&c->f->nodes[c->layers[layer].node]);
    bool formats = c->f->dialect != plan_graph(c->plan_i)->dialect;
    return formats && strcmp(family, "MatMul") == 0 && vw < 0.5 * sqrt(e->signal * ww);
}

static void compare_layer(const struct comparing *c, size_t layer, struct weight_error *e)
{
    struct int8_side s;
    struct weight_matrix f;
    struct tensor *fv = NULL;
    e->why = open_both(c, layer, &s, &f, &fv);
    if (e->why) {
        return;
    }
    struct affine a = {mem_alloc(2 * f.o * sizeof *a.gain), NULL};
    a.bias = a.gain + f.o;
    for (size_t o = 0; o < f.o; o++) {
        a.gain[o] = 1;
    }
    follow(c, layer, f.o, &a);
    size_t scales = s.quant ? s.quant->n : s.scale ? s.scale->n : 0;
    e->n_channels = f.o;
    e->k = f.k;
    e->groups = (size_t)MAX(attr_int(&c->f->nodes[c->layers[layer].node], "group", 1), 1);
    e->groups = f.order == ORDER_DEPTHWISE ? f.o : e->groups;
    e->inputs = f.k / MAX(f.space, (size_t)1);
    e->per_tensor = scales == 1 && f.o > 1;
    e->bits = dtype_is_float(s.w.t->dtype) ? (scales ? 8 : 0) : 8 * (int)dtype_size(s.w.t->dtype);
    e->has_pairs =
        s.w.t->dtype == DT_S8 &&
        node_is(s.n, "QLinearConv") + node_is(s.n, "QGemm") + node_is(s.n, "QLinearMatMul") > 0;
    e->channel = mem_alloc(f.o * sizeof *e->channel);
    compare_rows(c, layer, &s, &f, fv, &a, e);
    finish_layer(e);
    if (other_order(c, layer, e)) {
        e->why = "its inputs are in another order in FP32";
        e->n_channels = 0;
    }
    free(a.gain);
    tensor_free(fv);
}

/* Compares layers that are left, whichever they are: they do not depend on each other. */
static void *compare_some(void *ctx)
{
    struct comparing *c = ctx;
    for (size_t k; (k = atomic_fetch_add(&c->next, 1)) < c->m->n_layers;) {
        if (c->map->weighted[k] >= 0) {
            compare_layer(c, k, &c->found[k]);
        }
    }
    return NULL;
}

struct weight_error *weights_compare(const struct graph *fp32, const struct plan *plan_fp32,
                                     const struct plan *plan_int8, const struct match *m,
                                     const struct local_map *map, int threads,
                                     weights_spread *spread)
{
    struct weight_error *e = mem_alloc((m->n_layers + 1) * sizeof *e);
    struct comparing c = {
        .f = fp32, .plan_f = plan_fp32, .plan_i = plan_int8, .m = m, .map = map, .found = e};
    c.layers = mem_alloc((m->n_layers + 1) * sizeof *c.layers);
    layers_nodes(fp32, m, find_fp32, &c);
    spread(threads, compare_some, &c);
    free(c.layers);
    return e;
}

void weights_free(struct weight_error *w, size_t n_layers)
{
    for (size_t k = 0; w && k < n_layers; k++) {
        free(w[k].channel);
    }
    free(w);
}
