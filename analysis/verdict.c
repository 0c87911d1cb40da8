/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * verdict.c: what is wrong with each layer, in words, and the figures behind it. The noise that a
 * layer makes alone is split: clipping and rounding of its own codes are measured, the rest is
 * shared out by what the noise of its inputs, weights and bias would cost. verdict_cause.c names
 * the cause of the largest part.
 */
#include "analysis/verdict.h"

#include <math.h>
#include <stdlib.h>

const struct verdict_row verdicts[N_VERDICTS] = {
    [VERDICT_NONE] = {"NOT MEASURED", "there is no figure to judge by"},
    [VERDICT_OK] = {"OK", "cumulative and local SQNR are above the limit"},
    [VERDICT_NOT_QUANTIZED] = {"NOT QUANTIZED", "computed in float"},
    [VERDICT_INHERITED] = {"INHERITED", "the error arrives from layers before it"},
    [VERDICT_RESOLUTION] = {"RESOLUTION", "rounding to the step of the scale dominates"},
    [VERDICT_SPREAD] = {"CHANNEL SPREAD", "one scale serves channels of very different size"},
    [VERDICT_RANGE] = {"RANGE", "clipping at the ends of the range dominates"},
    [VERDICT_WEIGHTS] = {"WEIGHTS", "quantized weights differ from those of FP32"},
    [VERDICT_BIAS] = {"BIAS", "the integer bias differs from that of FP32"},
    [VERDICT_ACCUMULATOR] = {"ACCUMULATOR", "sums saturate at 16 bits or wrap at 32"},
    [VERDICT_ZERO_POINT] = {"BAD ZERO POINT", "the scale fits, the zero point does not"},
    [VERDICT_SCALE] = {"BAD SCALE", "the scale does not fit the values, or is none"},
    [VERDICT_DEAD_CHANNEL] = {"DEAD CHANNEL", "a channel is constant in INT8 and not in FP32"},
    [VERDICT_NONFINITE] = {"NONFINITE", "NaN or infinity on either side"},
};

const struct limit_row verdict_limits[N_LIMITS] = {
    [LIMIT_OK] = {"ok", "dB", "SQNR, cumulative and local, from which a layer is OK", 40},
    [LIMIT_INHERITED] = {"inherited", "dB",
                         "how far cumulative SQNR is below local SQNR when most error is inherited",
                         3},
    [LIMIT_OUTLIER] = {"outlier", "dB",
                       "how far a local SQNR is below the median (or it is the lowest) when its "
                       "own cause is named",
                       6},
    [LIMIT_COVER] = {"cover", "times",
                     "range of the codes against that of the values when the scale is bad", 4},
    [LIMIT_UNUSED] = {"unused", "times", "the same when the audit lists unused codes", 2},
    [LIMIT_SPREAD] = {"spread", "times", "largest against median channel", 8},
    [LIMIT_WEIGHT_STEP] = {"weight_step", "steps",
                           "RMS error of a channel's weights beyond what rounding explains", 0.6},
    [LIMIT_BIAS_STEP] = {"bias_step", "steps", "error of a bias beyond what rounding explains", 1},
    [LIMIT_GAIN] = {"gain", "times", "common factor of weights or biases that is a bad scale",
                    1.15},
    [LIMIT_CLIPPED] = {"clipped", "%", "values beyond the ends of the codes that the audit lists",
                       0.1},
    [LIMIT_MISMATCH] = {"mismatch", "times", "scales of the inputs of Add and Concat", 4},
    [LIMIT_FLOOR] = {"floor", "", "a scale that small is none", 1e-9},
    [LIMIT_UNEXPLAINED] = {"unexplained", "times",
                           "noise against what inputs, weights and bias explain", 10},
};

/* ---- Figures --------------------------------------------------------------------------------- */

static double local_db(const struct judge_input *j, size_t k)
{
    const struct local_stats *s = local_of(j, k);
    return s ? sqnr_db(s->pair.all.xx, s->pair.all.ee) : NAN;
}

static double cumulative_db(const struct judge_input *j, size_t k)
{
    const struct layer_stats *s = &j->study->layers[k];
    return s->images ? sqnr_db(s->all.xx, s->all.ee) : NAN;
}

const struct local_stats *local_of(const struct judge_input *j, size_t k)
{
    const struct local_study *l = j->study ? j->study->local : NULL;
    return l && l->layers[k].pair.images ? &l->layers[k] : NULL;
}

const struct quant_noise *source_codes(const struct judge_input *j, size_t k, int source)
{
    const struct local_study *l = j->study->local;
    size_t n = j->match->n_layers;
    if ((size_t)source >= n) {
        return &l->inputs[(size_t)source - n].noise;
    }
    bool inner = j->map->inner_of[k] == source && l->layers[k].inner.n;
    return inner ? &l->layers[k].inner : &l->layers[source].out;
}

double source_noise(const struct judge_input *j, size_t k, int source)
{
    const struct quant_noise *q = source_codes(j, k, source);
    return q->n ? (q->clip + q->round) / (double)q->n : 0;
}

/* The same of codes of 8 bits whose scale follows the range: of that over all images. */
static double dynamic_noise(const struct judge_input *j, int source)
{
    size_t n = j->match->n_layers;
    const struct local_study *l = j->study->local;
    bool layer = (size_t)source < n;
    double lo = layer ? j->study->layers[source].all.xmin : l->inputs[(size_t)source - n].lo;
    double hi = layer ? j->study->layers[source].all.xmax : l->inputs[(size_t)source - n].hi;
    double step = (fmax(hi, 0) - fmin(lo, 0)) / 255;
    return isfinite(step) ? step * step / 12 : 0;
}

/* Mean square of what output channel c of a layer multiplies, of a source. */
static double source_energy(const struct judge_input *j, int source, const struct weight_error *w,
                            size_t c)
{
    size_t n = j->match->n_layers;
    if ((size_t)source >= n) {
        const struct input_stats *in = &j->study->local->inputs[(size_t)source - n];
        return in->noise.n ? in->xx / (double)in->noise.n : 0;
    }
    const struct layer_stats *s = &j->study->layers[source];
    size_t per = w->inputs, group = c / MAX(w->n_channels / w->groups, (size_t)1);
    if (s->n_channels != per * w->groups) {
        return s->all.n ? s->all.xx / (double)s->all.n : 0;
    }
    double xx = 0, count = 0;
    for (size_t i = group * per; i < (group + 1) * per; i++) {
        xx += s->channel[i].xx;
        count += (double)s->channel[i].n;
    }
    return count > 0 ? xx / count : 0;
}

/* What inputs, weights and bias would cost, as sums of squares at the output. Activations behind a
 * product hide some of that, so the noise that a channel really has is shared out among the three;
 * *plain is the sum before that. */
static void estimate(const struct judge_input *j, size_t k, const struct local_stats *s,
                     struct noise_parts *p, double *plain)
{
    const struct weight_error *w = &j->weights[k];
    int from = j->map->start[k], to = j->map->start[k + 1];
    double noise = 0, n = (double)s->pair.all.n / (double)MAX(w->n_channels, (size_t)1);
    for (int i = from; i < to; i++) {
        int source = j->map->source[i];
        noise += j->map->dynamic[k] ? dynamic_noise(j, source) : source_noise(j, k, source);
    }
    p->inputs = w->n_channels ? 0 : noise > 0 ? 1 : 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        const struct weight_channel *ch = &w->channel[c];
        double d = ch->bias - ch->bias_int8;
        double energy = from < to ? source_energy(j, j->map->source[from], w, c) : 0;
        double inputs = n * ch->signal * noise, weights = n * ch->noise * energy, bias = n * d * d;
        double all = inputs + weights + bias, share = 1;
        if (s->pair.n_channels == w->n_channels && all > 0) {
            share = s->pair.channel[c].ee / all;
        }
        p->inputs += share * inputs;
        p->weights += share * weights;
        p->bias += share * bias;
        *plain += all;
    }
}

static struct noise_parts parts_of(const struct judge_input *j, size_t k,
                                   const struct local_stats *s)
{
    struct noise_parts p = {0};
    double plain = 0, rest = s->out.n ? s->rest : s->pair.all.ee;
    estimate(j, k, s, &p, &plain);
    double known = p.inputs + p.weights + p.bias, most = verdict_limits[LIMIT_UNEXPLAINED].value;
    double open = fmax(rest - s->past, 0);
    bool sums = s->wraps || s->pairs || j->weights[k].reach >= 0x1p31;
    if (known <= 0) {
        p.other = 1;
    } else if (sums && open > most * plain) {
        p.other = known * (open / fmax(plain, 1e-300) - 1);
    }
    double all = s->out.clip + s->out.round + rest;
    double scale = all > 0 ? open / (known + p.other) / all : 0;
    p.inputs *= scale;
    p.weights *= scale;
    p.bias *= scale;
    p.other *= scale;
    p.past = all > 0 ? s->past / all : 0;
    p.clip = all > 0 ? s->out.clip / all : 0;
    p.round = all > 0 ? s->out.round / all : 0;
    return p;
}

/* ---- Evidence -------------------------------------------------------------------------------- */

static void add_db(FILE *out, const char *what, double db)
{
    if (isnan(db)) {
        fprintf(out, "%s n/a", what);
    } else if (isinf(db)) {
        fprintf(out, "%s exact", what);
    } else {
        fprintf(out, "%s %.2f dB", what, db);
    }
}

static void add_part(FILE *out, const char *what, double share)
{
    if (share >= 0.005) {
        fprintf(out, " %s %.0f%%", what, 100 * share);
    }
}

static char *evidence_of(const struct judge_input *j, size_t k, const struct noise_parts *p)
{
    char *text = NULL;
    size_t size = 0;
    const struct local_stats *s = local_of(j, k);
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        return NULL;
    }
    add_db(out, "CUMULATIVE", cumulative_db(j, k));
    if (s) {
        add_db(out, "; LOCAL", local_db(j, k));
        fprintf(out, " on %llu images", (unsigned long long)s->pair.images);
    } else if (j->map->why[k]) {
        fprintf(out, "; %s", j->map->why[k]);
    }
    if (s && s->pair.all.ee > 0) {
        fputs("; local noise:", out);
        add_part(out, "clipping", p->clip);
        add_part(out, "rounding", p->round);
        add_part(out, "past the ends", p->past);
        add_part(out, "inputs", p->inputs);
        add_part(out, "weights", p->weights);
        add_part(out, "bias", p->bias);
        add_part(out, "arithmetic", p->other);
    }
    const struct weight_error *w = &j->weights[k];
    if (w->n_channels) {
        add_db(out, "; WEIGHTS", sqnr_db(w->signal, w->noise));
    }
    fclose(out);
    return text;
}

/* ---- Inherited ------------------------------------------------------------------------------- */

/* Local SQNRs of all layers. */
struct locals {
    double median, lowest;
};

static bool inherits(const struct judge_input *j, size_t k, const struct locals *of)
{
    double local = local_db(j, k), all = cumulative_db(j, k);
    bool outlier = local < of->median - verdict_limits[LIMIT_OUTLIER].value || local <= of->lowest;
    return all < local - verdict_limits[LIMIT_INHERITED].value && !outlier;
}

/* Back along the worst inputs to the first layer whose error is its own. */
static long origin(const struct judge_input *j, size_t k, const struct locals *of)
{
    long at = (long)k;
    for (size_t hops = 0; hops < j->match->n_layers; hops++) {
        long worst = -1;
        for (int i = j->map->start[at]; i < j->map->start[at + 1]; i++) {
            int s = j->map->source[i];
            if ((size_t)s < j->match->n_layers && !isnan(cumulative_db(j, (size_t)s)) &&
                (worst < 0 || cumulative_db(j, (size_t)s) < cumulative_db(j, (size_t)worst))) {
                worst = s;
            }
        }
        if (worst < 0) {
            break;
        }
        at = worst;
        if (!inherits(j, (size_t)at, of)) {
            break;
        }
    }
    return at == (long)k ? -1 : at;
}

static void judge_inherited(const struct judge_input *j, size_t k, const struct locals *of,
                            struct layer_verdict *v)
{
    v->verdict = VERDICT_INHERITED;
    v->source = origin(j, k, of);
    v->cause = v->source >= 0
                   ? mem_printf("error arrives from '%s'", j->match->layers[v->source].name)
                   : mem_printf("error arrives from its inputs");
}

/* ---- One layer ------------------------------------------------------------------------------- */

static bool computes_in_float(const struct judge_input *j, size_t k)
{
    return j->pinned[k] || (!j->match->layers[k].quantized && !j->weights[k].bits);
}

/* What needs no figures: false when there is nothing of that kind. */
static bool judge_static(const struct judge_input *j, size_t k, struct layer_verdict *v)
{
    const struct layer *l = &j->match->layers[k];
    const struct misread *m = &j->misread[k];
    for (size_t i = 0; i < l->q.n && l->quantized && !j->pinned[k]; i++) {
        if (scale_is_bad((double)l->q.scale[i])) {
            v->verdict = VERDICT_SCALE;
            v->cause = mem_printf("its scale is %g", (double)l->q.scale[i]);
            return true;
        }
    }
    if (m->tensor && !j->pinned[k]) {
        bool zero = m->written == m->read;
        v->verdict = zero ? VERDICT_ZERO_POINT : VERDICT_SCALE;
        v->cause = zero ? mem_printf("reads '%s' with zero point %d, it was written with %d",
                                     m->tensor, m->zero_read, m->zero_written)
                        : mem_printf("reads '%s' with scale %g, it was written with %g", m->tensor,
                                     m->read, m->written);
        return true;
    }
    return false;
}

static void judge_layer(const struct judge_input *j, size_t k, const struct locals *of,
                        struct layer_verdict *v)
{
    const struct layer_stats *st =
        j->study && j->study->layers[k].images ? &j->study->layers[k] : NULL;
    const struct local_stats *s = local_of(j, k);
    *v = (struct layer_verdict){.source = -1};
    if (s) {
        v->parts = parts_of(j, k, s);
    }
    v->evidence = st ? evidence_of(j, k, &v->parts) : NULL;
    if (judge_static(j, k, v) || !st) {
        return;
    }
    double ok = verdict_limits[LIMIT_OK].value, local = local_db(j, k), all = cumulative_db(j, k);
    uint64_t odd = st->all.nonfinite + (s ? s->pair.all.nonfinite : 0);
    if (odd) {
        v->verdict = VERDICT_NONFINITE;
        v->cause = mem_printf("%llu values are NaN or infinite", (unsigned long long)odd);
    } else if (all >= ok && !(local < ok)) {
        v->verdict = computes_in_float(j, k) ? VERDICT_NOT_QUANTIZED : VERDICT_OK;
    } else if (s && !inherits(j, k, of) && s->pair.all.ee > 0) {
        name_cause(j, k, v);
    } else if (s) {
        judge_inherited(j, k, of, v);
    } else {
        v->cause = j->map->why[k] ? mem_dup(j->map->why[k]) : NULL;
    }
}

struct layer_verdict *verdicts_new(const struct judge_input *j)
{
    size_t n = j->match->n_layers, known = 0;
    struct layer_verdict *v = mem_alloc((n + 1) * sizeof *v);
    double *db = mem_alloc((n + 1) * sizeof *db);
    for (size_t k = 0; k < n; k++) {
        double d = local_db(j, k);
        if (isfinite(d)) {
            db[known++] = d;
        }
    }
    struct locals of = {.median = median_of(db, known), .lowest = known ? db[0] : -INFINITY};
    free(db);
    for (size_t k = 0; k < n; k++) {
        judge_layer(j, k, &of, &v[k]);
    }
    return v;
}

void verdicts_free(struct layer_verdict *v, size_t n_layers)
{
    for (size_t k = 0; v && k < n_layers; k++) {
        free(v[k].cause);
        free(v[k].evidence);
    }
    free(v);
}
