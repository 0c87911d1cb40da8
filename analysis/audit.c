/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * audit.c: the range audit: what is wrong or wasteful about the ranges of a whole model, whether it
 * costs anything today or not, worst first.
 */
#include "analysis/qmodel.h"
#include "analysis/verdict.h"

#include <math.h>
#include <stdlib.h>

const struct audit_kind audit_kinds[] = {
    {"bad_scale", "", "a scale that is 0, negative, not finite or at the floor", 70},
    {"misread", "times", "codes read with other parameters than they were written with", 65},
    {"wrong_weights", "steps", "weights further from FP32 than rounding explains", 60},
    {"dead_channel", "channels", "channels whose weights are all 0 in INT8 alone", 55},
    {"wrong_bias", "steps", "biases further from FP32 than rounding explains", 50},
    {"bias_overflow", "times", "a bias that does not fit int32, or sums that may leave it", 45},
    {"accumulator", "%", "outputs whose sums wrap, or saturate in pairs on x86 without VNNI", 40},
    {"zero_point", "steps", "the scale fits the values, the zero point does not", 35},
    {"clipped", "%", "values beyond the ends of the codes", 30},
    {"unused_codes", "times", "the codes hold more than the values need", 20},
    {"mismatched_scales", "times", "inputs of an Add or Concat with very different scales", 15},
    {"channel_spread", "times", "one scale for channels of very different size", 10},
    {NULL, NULL, NULL, 0},
};

struct auditing {
    struct audit *a;
    const struct judge_input *j;
};

static double weight_of_kind(const char *kind)
{
    for (const struct audit_kind *k = audit_kinds; k->name; k++) {
        if (strcmp(k->name, kind) == 0) {
            return k->weight;
        }
    }
    return 0;
}

/* Takes over text. value is in the unit of the kind, limit where it begins to count. */
static void add(struct auditing *x, const char *kind, long layer, const char *tensor, double value,
                double limit, char *text)
{
    struct audit *a = x->a;
    double over = value > 0 && limit > 0 ? log2(value / limit) : 0;
    a->list = mem_push(a->list, a->n, &a->cap, sizeof *a->list);
    a->list[a->n++] = (struct finding){.kind = kind,
                                       .layer = layer,
                                       .tensor = tensor,
                                       .severity = weight_of_kind(kind) + fmin(fmax(over, 0), 9),
                                       .value = value,
                                       .text = text};
}

static const char *tensor_of(const struct auditing *x, size_t k)
{
    return x->j->int8->values[x->j->match->layers[k].int8].name;
}

/* ---- Activations ----------------------------------------------------------------------------- */

static void audit_scales(struct auditing *x, size_t k)
{
    const struct layer *l = &x->j->match->layers[k];
    for (size_t i = 0; l->quantized && i < l->q.n; i++) {
        double s = (double)l->q.scale[i];
        if (scale_is_bad(s)) {
            add(x, "bad_scale", (long)k, tensor_of(x, k), s, 0,
                mem_printf("its scale is %g, zero point %d", s, l->q.zero[i]));
            return;
        }
    }
    const struct misread *m = &x->j->misread[k];
    if (m->tensor) {
        double ratio = fmax(m->written / m->read, m->read / m->written);
        add(x, "misread", (long)k, m->tensor, ratio, 1,
            mem_printf("node '%s' reads '%s' with scale %g and zero point %d, it was written with "
                       "%g and %d",
                       m->node, m->tensor, m->read, m->zero_read, m->written, m->zero_written));
    }
}

static void audit_range(struct auditing *x, size_t k, const char *tensor, const struct quant *q,
                        double lo, double hi, double clipped)
{
    struct range_use u;
    if (!range_use(q, lo, hi, &u) || scale_is_bad((double)q->scale[0])) {
        return;
    }
    bool layer = k < x->j->match->n_layers;
    if (u.shift != 0) {
        add(x, "zero_point", layer ? (long)k : -1, tensor, fabs(u.shift), 1,
            mem_printf("codes hold [%.4g, %.4g], values are in [%.4g, %.4g]: zero point %d is off "
                       "by %.0f steps",
                       u.lo, u.hi, lo, hi, q->zero[0], -u.shift));
    } else if (clipped > verdict_limits[LIMIT_CLIPPED].value) {
        add(x, "clipped", layer ? (long)k : -1, tensor, clipped,
            verdict_limits[LIMIT_CLIPPED].value,
            mem_printf("%.2f%% of the values are beyond [%.4g, %.4g]; they are in [%.4g, %.4g]",
                       clipped, u.lo, u.hi, lo, hi));
    }
    if (u.cover >= verdict_limits[LIMIT_UNUSED].value) {
        add(x, "unused_codes", layer ? (long)k : -1, tensor, u.cover,
            verdict_limits[LIMIT_UNUSED].value,
            mem_printf("codes hold [%.4g, %.4g], values are in [%.4g, %.4g]: %.1f bits are unused",
                       u.lo, u.hi, lo, hi, log2(u.cover)));
    }
}

static void audit_activation(struct auditing *x, size_t k)
{
    const struct layer *l = &x->j->match->layers[k];
    const struct layer_stats *s = x->j->study ? &x->j->study->layers[k] : NULL;
    if (!s || !s->images || !s->all.n || !l->quantized) {
        return;
    }
    double clipped = 100 * (double)(s->all.sat_low + s->all.sat_high) / (double)s->all.n;
    double spread = channel_spread(s);
    audit_range(x, k, tensor_of(x, k), &l->q, s->all.xmin, s->all.xmax, clipped);
    if (l->q.n == 1 && spread >= verdict_limits[LIMIT_SPREAD].value) {
        add(x, "channel_spread", (long)k, tensor_of(x, k), spread,
            verdict_limits[LIMIT_SPREAD].value,
            mem_printf("activations: the largest channel reaches %.1f times as far as the median",
                       spread));
    }
}

static void audit_inputs(struct auditing *x)
{
    const struct local_study *l = x->j->study ? x->j->study->local : NULL;
    for (size_t i = 0; l && i < l->n_inputs; i++) {
        const struct input_stats *s = &l->inputs[i];
        audit_range(x, x->j->match->n_layers, x->j->fp32->values[x->j->fp32->inputs[i]].name,
                    &x->j->map->inputs[i], s->lo, s->hi, 0);
    }
}

/* ---- Weights --------------------------------------------------------------------------------- */

static void audit_bias(struct auditing *x, size_t k, const struct weight_error *w)
{
    char *text = NULL;
    double most = 0, needed = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        const struct weight_channel *ch = &w->channel[c];
        double step = ch->bias_step;
        most = step > 0 ? fmax(most, fabs(ch->bias - ch->bias_int8) / step) : most;
        needed = step > 0 ? fmax(needed, fabs(ch->bias) / step) : needed;
    }
    if (judge_bias(w, &text) != VERDICT_OK) {
        add(x, "wrong_bias", (long)k, tensor_of(x, k), most, verdict_limits[LIMIT_BIAS_STEP].value,
            text);
    }
    if (needed > 0x1p31 || w->reach >= 0x1p31) {
        double times = fmax(needed, w->reach) / 0x1p31;
        add(x, "bias_overflow", (long)k, tensor_of(x, k), times, 1,
            needed > 0x1p31
                ? mem_printf("the largest bias is %.4g steps, int32 ends at 2147483647", needed)
                : mem_printf("bias and products may add up to %.4g, int32 ends at 2147483647",
                             w->reach));
    }
}

static void audit_weights(struct auditing *x, size_t k)
{
    const struct weight_error *w = &x->j->weights[k];
    char *text = NULL;
    double most = 0, *top = mem_alloc((w->n_channels + 1) * sizeof *top);
    size_t dead = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        const struct weight_channel *ch = &w->channel[c];
        double rms = sqrt(ch->noise / (double)w->k);
        most = ch->step > 0 ? fmax(most, rms / ch->step) : most;
        dead += ch->dead;
        top[c] = ch->top;
    }
    double largest = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        largest = fmax(largest, top[c]);
    }
    double middle = median_of(top, w->n_channels), spread = middle > 0 ? largest / middle : NAN;
    free(top);
    if (dead) {
        add(x, "dead_channel", (long)k, tensor_of(x, k), (double)dead, 1,
            mem_printf("all weights of %zu of %zu channels are 0 in INT8", dead, w->n_channels));
    }
    enum verdict_id v = judge_weights(w, &text);
    if (v != VERDICT_OK && v != VERDICT_DEAD_CHANNEL) {
        add(x, "wrong_weights", (long)k, tensor_of(x, k), most,
            verdict_limits[LIMIT_WEIGHT_STEP].value, text);
    } else {
        free(text);
    }
    if (w->per_tensor && w->bits && spread >= verdict_limits[LIMIT_SPREAD].value) {
        add(x, "channel_spread", (long)k, tensor_of(x, k), spread,
            verdict_limits[LIMIT_SPREAD].value,
            mem_printf("weights: the largest channel reaches %.1f times as far as the median",
                       spread));
    }
    audit_bias(x, k, w);
}

static void audit_sums(struct auditing *x, size_t k, const struct acc_stats *s)
{
    if (!s->n || !(s->wraps || s->pair_outputs)) {
        return;
    }
    double share = 100 * (double)MAX(s->wraps, s->pair_outputs) / (double)s->n;
    add(x, "accumulator", (long)k, tensor_of(x, k), share, verdict_limits[LIMIT_CLIPPED].value,
        mem_printf("of %llu sums %llu wrap at 32 bits; %llu have pairs beyond 16 bits, which x86 "
                   "without VNNI cuts",
                   (unsigned long long)s->n, (unsigned long long)s->wraps,
                   (unsigned long long)s->pair_outputs));
}

/* ---- Inputs that meet ------------------------------------------------------------------------ */

static void audit_meeting(struct auditing *x, const struct qmodel *q, size_t k)
{
    const struct layer *l = &x->j->match->layers[k];
    int made = q->v[l->int8].made_from >= 0 ? q->v[l->int8].made_from : l->int8;
    int node = q->g->values[made].producer, pos[32];
    const struct node *n = node >= 0 ? &q->g->nodes[node] : NULL;
    const char *family = n ? node_family(n) : "";
    struct arena arena = {0};
    double lo = INFINITY, hi = 0;
    const char *a = NULL, *b = NULL;
    if (strcmp(family, "Add") != 0 && strcmp(family, "Concat") != 0) {
        return;
    }
    for (int i = 0, count = node_data_inputs(n, pos, 32); i < count; i++) {
        int unit = n->in[pos[i]] >= 0 ? q->v[n->in[pos[i]]].unit : -1;
        struct quant p;
        bool known = false;
        if (unit < 0 || qmodel_read(q, unit, &arena, &p, &known, NULL) || !known || p.n != 1) {
            continue;
        }
        double s = (double)p.scale[0];
        a = s < lo ? q->g->values[unit].name : a;
        b = s > hi ? q->g->values[unit].name : b;
        lo = fmin(lo, s);
        hi = fmax(hi, s);
    }
    arena_fini(&arena);
    if (lo > 0 && hi / lo >= verdict_limits[LIMIT_MISMATCH].value) {
        add(x, "mismatched_scales", (long)k, tensor_of(x, k), hi / lo,
            verdict_limits[LIMIT_MISMATCH].value,
            mem_printf("scale of '%s' is %.4g, of '%s' %.4g: %.1f times", a, lo, b, hi, hi / lo));
    }
}

/* ---- All ------------------------------------------------------------------------------------- */

static int by_severity(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    int by = (x->severity < y->severity) - (x->severity > y->severity);
    return by ? by : (x->layer > y->layer) - (x->layer < y->layer);
}

struct audit *audit_new(const struct judge_input *j, const struct accumulators *sums)
{
    struct audit *a = mem_alloc(sizeof *a);
    struct auditing x = {a, j};
    struct qmodel q;
    qmodel_init(&q, j->int8);
    for (size_t k = 0; k < j->match->n_layers; k++) {
        if (j->pinned[k]) {
            continue;
        }
        audit_scales(&x, k);
        audit_activation(&x, k);
        audit_weights(&x, k);
        audit_meeting(&x, &q, k);
        if (sums) {
            audit_sums(&x, k, &sums[k].all);
        }
    }
    audit_inputs(&x);
    qmodel_fini(&q);
    qsort(a->list, a->n, sizeof *a->list, by_severity);
    return a;
}

void audit_free(struct audit *a)
{
    for (size_t i = 0; a && i < a->n; i++) {
        free(a->list[i].text);
    }
    if (a) {
        free(a->list);
        free(a);
    }
}
