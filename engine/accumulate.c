/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * accumulate.c: the sums of one integer layer, taken again from its inputs in 64 bits: how much of
 * the 32 bits they use, what 16-bit pairs would have lost, and what requantization alone costs.
 */
#include "engine/int_layer.h"

#include <math.h>
#include <stdlib.h>

void accumulators_fini(struct accumulators *a)
{
    free(a->channel);
    *a = (struct accumulators){0};
}

int acc_bits(const struct acc_stats *s)
{
    int bits = 1;
    while (bits < 63 &&
           (s->min < -((int64_t)1 << (bits - 1)) || s->max > ((int64_t)1 << (bits - 1)) - 1)) {
        bits++;
    }
    return bits;
}

static void merge(struct acc_stats *into, const struct acc_stats *s)
{
    into->min = into->n ? MIN(into->min, s->min) : s->min;
    into->max = into->n ? MAX(into->max, s->max) : s->max;
    into->n += s->n;
    into->wraps += s->wraps;
    into->pairs += s->pairs;
    into->pair_outputs += s->pair_outputs;
    into->clipped += s->clipped;
    into->rounded += s->rounded;
    into->error_sum += s->error_sum;
    into->error_max = fmax(into->error_max, s->error_max);
}

static struct int_sum take_sum(const struct int_layer *l, const uint8_t *x, const uint8_t *w,
                               int32_t zw, int32_t bias)
{
    const bool is_signed = l->w->dtype == DT_S8;
    struct int_sum s = {.acc = bias};
    int32_t pair = 0;
    for (size_t k = 0; k < l->k; k++) {
        int32_t v = is_signed ? (int8_t)w[k] : w[k];
        s.acc += (int64_t)(x[k] - l->zx) * (v - zw);
        pair = k % 2 ? pair + x[k] * v : x[k] * v;
        s.pairs += is_signed && (k % 2 || k + 1 == l->k) && pair_saturate(pair) != pair;
    }
    return s;
}

/* Codes that the saturation of the type decided are counted, the others compared with the real
 * number acc * sx * sw / sy + zy that they should be. */
static void judge(const struct int_layer *l, size_t channel, const struct int_sum *s,
                  const struct tensor *y, size_t at, struct acc_stats *st)
{
    struct acc_stats one = {.n = 1,
                            .min = s->acc,
                            .max = s->acc,
                            .wraps = s->acc != (int32_t)s->acc,
                            .pairs = s->pairs,
                            .pair_outputs = s->pairs != 0};
    if (l->requantizes && is_code(y) && !one.wraps) {
        double m = (double)l->sx * (double)scale_at(l->sw, channel) / (double)l->y.s;
        double real = (double)s->acc * m + l->y.z, error = fabs(real - code_at(y, at));
        one.clipped = real > l->y.qmax + 0.5 || real < l->y.qmin - 0.5;
        one.rounded = !one.clipped;
        one.error_sum = one.error_max = one.clipped ? 0 : error;
    }
    merge(st, &one);
}

static int visit_all(const struct int_layer *l, const struct tensor *y,
                     const struct sum_visitor *visit, struct err *err)
{
    uint8_t *x = NULL, *w = NULL;
    size_t count = 0;
    int rc = mul_ok(l->outs, l->k, &count) ? OK : err_set(err, E_LIMIT, "weights too large");
    rc = rc ? rc : scratch_new(l->k, 1, (void **)&x, err);
    rc = rc ? rc : scratch_new(count, 1, (void **)&w, err);
    for (size_t set = 0; !rc && set < l->sets; set++) {
        for (size_t o = 0; o < l->outs; o++) {
            int_layer_right(l, set, o, w + o * l->k);
        }
        for (size_t vec = 0; vec < l->vecs; vec++) {
            int_layer_left(l, set, vec, x);
            for (size_t o = 0; o < l->outs; o++) {
                size_t channel = int_layer_channel(l, set, o);
                struct int_sum s = take_sum(l, x, w + o * l->k, zero_at(l->zw, channel),
                                            int_layer_bias(l, set, vec, o));
                visit->sum(visit->ctx, l, channel, &s, y, int_layer_at(l, set, vec, o));
            }
        }
    }
    scratch_free(x);
    scratch_free(w);
    return rc;
}

/* The layer's call, as its ordinary operator makes it. */
static int run_ordinary(struct op_call *c, struct err *err)
{
    const struct op *o = op_find(c->node->domain, c->node->op, INT16_MAX);
    return o ? (o->fast ? o->fast : o->ref)(c, err)
             : err_set(err, E_UNSUPPORTED, "operator '%s' is not supported", c->node->op);
}

int plan_visit_sums(const struct plan *p, int node, const struct tensor *const *in,
                    const struct sum_visitor *visit, struct err *err)
{
    const struct graph *g = plan_graph(p);
    const struct node *n = &g->nodes[node];
    struct tensor *y[MAX_OP_OUT] = {0};
    const struct tensor **inputs = mem_alloc(((size_t)n->n_in + 1) * sizeof *inputs);
    for (int k = 0; k < n->n_in; k++) {
        inputs[k] = in[k] || n->in[k] < 0 ? in[k] : plan_constant(p, n->in[k]);
    }
    struct op_call c = {.node = n,
                        .opset = n->domain[0] ? MAX(g->opset_ms, 1) : g->opset,
                        .n_in = n->n_in,
                        .n_out = 1,
                        .in = inputs,
                        .out = y};
    struct int_layer l;
    int rc = int_layer_is(n)
                 ? run_ordinary(&c, err)
                 : err_set(err, E_UNSUPPORTED, "%s is no integer convolution or product", n->op);
    rc = rc ? rc : int_layer_open(&c, y[0], &l, err);
    rc = rc ? rc : visit->open(visit->ctx, &l, err);
    rc = rc ? rc : visit_all(&l, y[0], visit, err);
    rc = rc ? err_in(err, "node '%s' (%s)", n->name, n->op) : OK;
    tensor_free(y[0]);
    free(inputs);
    return rc;
}

static int count_open(void *ctx, const struct int_layer *l, struct err *err)
{
    struct accumulators *out = ctx;
    (void)err;
    /* Depthwise kernels widen to 16 bits before they multiply. */
    out->has_pairs = l->w->dtype == DT_S8 && !(l->is_conv && l->g.cg == 1 && l->g.g > 1);
    out->requantizes = l->requantizes;
    out->k = l->k;
    out->n_channels = l->channels;
    out->channel = mem_alloc((l->channels + 1) * sizeof *out->channel);
    return OK;
}

static void count_sum(void *ctx, const struct int_layer *l, size_t channel, const struct int_sum *s,
                      const struct tensor *y, size_t at)
{
    struct accumulators *out = ctx;
    judge(l, channel, s, y, at, &out->channel[channel]);
}

int plan_accumulators(const struct plan *p, int node, const struct tensor *const *in,
                      struct accumulators *out, struct err *err)
{
    const struct sum_visitor visit = {.open = count_open, .sum = count_sum, .ctx = out};
    *out = (struct accumulators){0};
    int rc = plan_visit_sums(p, node, in, &visit, err);
    for (size_t i = 0; !rc && i < out->n_channels; i++) {
        merge(&out->all, &out->channel[i]);
    }
    if (rc) {
        accumulators_fini(out);
    }
    return rc;
}
