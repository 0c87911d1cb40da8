/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * range.c: how quantizers fit the values they got: ranges, scales, spread of channels, and codes
 * that are read with other parameters than they were written with.
 */
#include "analysis/judge.h"
#include "analysis/qmodel.h"

#include <math.h>
#include <stdlib.h>

bool scale_is_bad(double scale)
{
    return !isfinite(scale) || scale <= verdict_limits[LIMIT_FLOOR].value;
}

static bool is_symmetric(const struct quant *q, int64_t lo, int64_t hi)
{
    return q->zero[0] == (lo + hi + 1) / 2;
}

bool range_use(const struct quant *q, double lo, double hi, struct range_use *out)
{
    int64_t qlo, qhi;
    *out = (struct range_use){.cover = NAN};
    if (q->n != 1 || !dtype_range(q->dtype, &qlo, &qhi) || !(lo <= hi)) {
        return false;
    }
    double s = (double)q->scale[0], span, need;
    out->lo = (double)(qlo - q->zero[0]) * s;
    out->hi = (double)(qhi - q->zero[0]) * s;
    lo = fmin(lo, 0);
    hi = fmax(hi, 0);
    if (is_symmetric(q, qlo, qhi)) {
        span = out->hi;
        need = fmax(-lo, hi);
        out->cover = need > 0 ? span / need : NAN;
        return true;
    }
    span = out->hi - out->lo;
    need = hi - lo;
    out->cover = need > 0 ? span / need : NAN;
    /* Beyond one end, as much room at the other: the scale is right. */
    double above = hi - out->hi, below = out->lo - lo, over = fmax(above, below);
    if (s > 0 && over > 0.02 * span && need <= 1.1 * span) {
        out->shift = above > below ? -above / s : below / s;
    }
    return true;
}

bool range_of_input(const struct graph *g, double lo, double hi, struct range_use *out)
{
    struct qmodel m;
    struct quant q;
    struct arena a = {0};
    bool known = false;
    if (!g->n_inputs) {
        return false;
    }
    qmodel_init(&m, g);
    int at = g->inputs[0], codes = m.v[at].unit;
    /* What only moves the values may stand in front of the quantizer. */
    for (size_t i = 0; i < g->n_nodes && (codes < 0 || !m.v[codes].codes); i++) {
        const struct node *n = &g->nodes[i];
        if (n->n_in && n->n_out && n->in[0] == at && node_moves(n)) {
            at = n->out[0];
            codes = m.v[at].unit;
        }
    }
    bool used = codes >= 0 && !qmodel_read(&m, codes, &a, &q, &known, NULL) && known &&
                range_use(&q, lo, hi, out);
    arena_fini(&a);
    qmodel_fini(&m);
    return used;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n == 0 ? 0 : n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double channel_spread(const struct layer_stats *s)
{
    if (s->n_channels < 4) {
        return NAN;
    }
    double *r = mem_alloc(s->n_channels * sizeof *r), top = 0;
    for (size_t c = 0; c < s->n_channels; c++) {
        const struct sums *x = &s->channel[c];
        r[c] = x->n ? fmax(fabs(x->xmin), fabs(x->xmax)) : 0;
        top = fmax(top, r[c]);
    }
    double middle = median_of(r, s->n_channels);
    free(r);
    return middle > 0 ? top / middle : NAN;
}

/* ---- Codes that are read wrongly ------------------------------------------------------------- */

struct readers {
    const struct qmodel *q;
    const int *layer_of; /* per INT8 value */
    struct misread *out;
};

static double constant_of(const struct graph *g, const struct node *n, int k, double missing)
{
    const struct tensor *t = k < n->n_in && n->in[k] >= 0 ? g->values[n->in[k]].constant : NULL;
    return t && t->n == 1 ? tensor_f64(t, 0) : missing;
}

static void blame(const struct readers *r, int v, const struct misread *m)
{
    int unit = v >= 0 ? r->q->v[v].unit : -1, layer = unit >= 0 ? r->layer_of[unit] : -1;
    if (layer >= 0 && !r->out[layer].tensor) {
        r->out[layer] = *m;
    }
}

/* Input k of a node, with its parameters behind it, against those of the node that made it. */
static void check_reader(const struct readers *r, const struct node *n, int k)
{
    const struct graph *g = r->q->g;
    const struct qvalue *v = &r->q->v[n->in[k]];
    const struct tensor *s = v->scale >= 0 ? g->values[v->scale].constant : NULL;
    const struct tensor *z = v->zero >= 0 ? g->values[v->zero].constant : NULL;
    if (!v->codes || v->constant || !s || s->n != 1 || (z && z->n != 1)) {
        return;
    }
    struct misread m = {.tensor = g->values[n->in[k]].name, .node = n->name};
    m.written = tensor_f64(s, 0);
    m.zero_written = z ? (int)tensor_f64(z, 0) : 0;
    m.read = constant_of(g, n, k + 1, m.written);
    m.zero_read = (int)constant_of(g, n, k + 2, k + 2 < n->n_in ? m.zero_written : 0);
    if (m.read == m.written && m.zero_read == m.zero_written) {
        return;
    }
    if (!node_is_dequantize(n)) {
        blame(r, n->out[0], &m);
        return;
    }
    for (int u = r->q->uses.start[n->out[0]]; u < r->q->uses.start[n->out[0] + 1]; u++) {
        blame(r, g->nodes[r->q->uses.node[u]].out[0], &m);
    }
}

struct misread *misreads(const struct graph *int8, const struct match *m)
{
    struct misread *out = mem_alloc((m->n_layers + 1) * sizeof *out);
    if (int8->dialect != DIALECT_ONNX) {
        return out; /* parameters are the tensor's own there */
    }
    struct qmodel q;
    qmodel_init(&q, int8);
    int *layer_of = mem_alloc((int8->n_values + 1) * sizeof *layer_of);
    memset(layer_of, 0xff, int8->n_values * sizeof *layer_of);
    for (size_t k = 0; k < m->n_layers; k++) {
        if (m->layers[k].int8 >= 0) {
            layer_of[m->layers[k].int8] = (int)k;
        }
    }
    struct readers r = {.q = &q, .layer_of = layer_of, .out = out};
    for (size_t i = 0; i < int8->n_nodes; i++) {
        const struct node *n = &int8->nodes[i];
        bool reads =
            node_is_dequantize(n) || strncmp(n->op, "QLinear", 7) == 0 || node_is(n, "QGemm");
        int pos[16], count = reads && n->n_out ? node_data_inputs(n, pos, 16) : 0;
        for (int k = 0; k < count; k++) {
            if (n->in[pos[k]] >= 0) {
                check_reader(&r, n, pos[k]);
            }
        }
    }
    free(layer_of);
    qmodel_fini(&q);
    return out;
}
