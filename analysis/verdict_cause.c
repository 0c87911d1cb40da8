/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * verdict_cause.c: the cause of the largest part of a layer's own noise: a quantizer that clips or
 * is too coarse (its own or that of an input), weights, bias, or sums.
 */
#include "analysis/verdict.h"

#include <math.h>
#include <stdlib.h>

/* ---- Quantizers ------------------------------------------------------------------------------ */

/* A quantizer and what went through it. */
struct quantized {
    const char *prefix, *name; /* "" or "input '...': " */
    const struct quant *q;
    double lo, hi, rms;
    const struct quant_noise *noise;
    const struct layer_stats *stats; /* NULL: an input of the network */
};

static char *clipped_text(const struct quantized *x)
{
    char *share = mem_dup("");
    if (x->stats && x->stats->all.n) {
        uint64_t out = x->stats->all.sat_low + x->stats->all.sat_high;
        free(share);
        share =
            mem_printf(", %.2f%% of them are clipped", 100 * (double)out / (double)x->stats->all.n);
    }
    return share;
}

static enum verdict_id judge_clip(const struct quantized *x, const struct range_use *u, bool known,
                                  char **cause)
{
    char *share = clipped_text(x);
    enum verdict_id v = VERDICT_RANGE;
    if (known && u->shift != 0) {
        v = VERDICT_ZERO_POINT;
        *cause = mem_printf("%s%szero point %d is off by about %.0f steps: the codes hold [%.4g, "
                            "%.4g], the values are in [%.4g, %.4g]%s",
                            x->prefix, x->name, x->q->zero[0], -u->shift, u->lo, u->hi, x->lo,
                            x->hi, share);
    } else if (known && u->cover < 1 / verdict_limits[LIMIT_COVER].value) {
        v = VERDICT_SCALE;
        *cause = mem_printf("%s%sscale %.4g holds 1/%.1f of the range of the values (RANGE)%s",
                            x->prefix, x->name, (double)x->q->scale[0], 1 / u->cover, share);
    } else {
        *cause =
            mem_printf("%s%svalues are in [%.4g, %.4g], the codes hold [%.4g, %.4g]%s", x->prefix,
                       x->name, x->lo, x->hi, known ? u->lo : NAN, known ? u->hi : NAN, share);
    }
    free(share);
    return v;
}

static enum verdict_id judge_round(const struct quantized *x, const struct range_use *u, bool known,
                                   char **cause)
{
    double spread = x->stats ? channel_spread(x->stats) : NAN;
    if (known && u->cover >= verdict_limits[LIMIT_COVER].value) {
        *cause = mem_printf("%s%sscale %.4g holds %.1f times the range of the values (RESOLUTION)",
                            x->prefix, x->name, (double)x->q->scale[0], u->cover);
        return VERDICT_SCALE;
    }
    if (x->q->n == 1 && spread >= verdict_limits[LIMIT_SPREAD].value) {
        *cause = mem_printf("%s%sone scale for channels of which the largest reaches %.1f times "
                            "as far as the median",
                            x->prefix, x->name, spread);
        return VERDICT_SPREAD;
    }
    *cause = mem_printf("%s%sthe step %.4g is coarse for values of RMS %.4g", x->prefix, x->name,
                        x->q->n ? (double)x->q->scale[0] : NAN, x->rms);
    return VERDICT_RESOLUTION;
}

static enum verdict_id judge_quantizer(const struct quantized *x, char **cause)
{
    struct range_use u;
    bool known = range_use(x->q, x->lo, x->hi, &u);
    if (x->q->n && scale_is_bad((double)x->q->scale[0])) {
        *cause = mem_printf("%s%sscale is %g", x->prefix, x->name, (double)x->q->scale[0]);
        return VERDICT_SCALE;
    }
    return x->noise->clip > x->noise->round ? judge_clip(x, &u, known, cause)
                                            : judge_round(x, &u, known, cause);
}

static enum verdict_id judge_output(const struct judge_input *j, size_t k, char **cause)
{
    const struct layer_stats *st = &j->study->layers[k];
    const struct local_stats *s = local_of(j, k);
    struct quantized x = {.prefix = "",
                          .name = "",
                          .q = &j->match->layers[k].q,
                          .lo = st->all.xmin,
                          .hi = st->all.xmax,
                          .rms = sqrt(st->all.xx / (double)MAX(st->all.n, (uint64_t)1)),
                          .noise = &s->out,
                          .stats = st};
    return judge_quantizer(&x, cause);
}

/* FP32 ends its values with an activation function that the INT8 side leaves to the range of its
 * codes, and that range goes on. */
static enum verdict_id judge_past(const struct judge_input *j, size_t k, char **cause)
{
    const double *ends = j->map->ends[k];
    const struct layer_stats *st = &j->study->layers[k];
    struct range_use u;
    const struct quant *q = &j->match->layers[k].q;
    range_use(q, st->all.xmin, st->all.xmax, &u); /* one scale: there would be no past else */
    /* Whatever the scale, a zero point at the lowest code begins at 0. */
    bool wide = u.lo >= ends[0] - (double)q->scale[0];
    double off = ends[0] - u.lo;
    *cause = mem_printf("the codes hold [%.4g, %.4g], FP32 ends its values at %.4g: %s", u.lo, u.hi,
                        wide ? ends[1] : ends[0], wide ? "scale" : "zero point");
    char *text = wide ? mem_printf("%s %.4g is too large", *cause, (double)q->scale[0])
                      : mem_printf("%s %d is off by about %.0f steps", *cause, q->zero[0],
                                   off / (double)q->scale[0]);
    free(*cause);
    *cause = text;
    return wide ? VERDICT_SCALE : VERDICT_ZERO_POINT;
}

/* The input whose codes carry most noise. */
static enum verdict_id judge_inputs(const struct judge_input *j, size_t k, long *source,
                                    char **cause)
{
    size_t n = j->match->n_layers;
    int worst = -1;
    for (int i = j->map->start[k]; i < j->map->start[k + 1]; i++) {
        int s = j->map->source[i];
        worst = worst < 0 || source_noise(j, k, s) > source_noise(j, k, worst) ? s : worst;
    }
    if (j->map->dynamic[k]) {
        *cause = mem_dup("its input is quantized by the range of each image: the step is coarse");
        return VERDICT_RESOLUTION;
    }
    if (worst < 0 || source_noise(j, k, worst) == 0) {
        *cause = mem_dup("arithmetic of the operator: its inputs carry no noise");
        return VERDICT_RESOLUTION;
    }
    bool layer = (size_t)worst < n;
    const struct layer_stats *st = layer ? &j->study->layers[worst] : NULL;
    const struct input_stats *in = layer ? NULL : &j->study->local->inputs[(size_t)worst - n];
    const char *name = layer ? j->match->layers[worst].name
                             : j->fp32->values[j->fp32->inputs[(size_t)worst - n]].name;
    char *prefix = mem_printf("input '%s': ", name);
    struct quantized x = {.prefix = prefix, .name = "", .stats = st};
    bool inner = j->map->inner_of[k] == worst;
    x.q = inner   ? &j->map->inner[k]
          : layer ? &j->match->layers[worst].q
                  : &j->map->inputs[(size_t)worst - n];
    x.noise = source_codes(j, k, worst);
    x.lo = layer ? st->all.xmin : in->lo;
    x.hi = layer ? st->all.xmax : in->hi;
    double count = layer ? (double)st->all.n : (double)in->noise.n;
    x.rms = sqrt((layer ? st->all.xx : in->xx) / fmax(count, 1));
    *source = layer ? worst : -1;
    enum verdict_id v = judge_quantizer(&x, cause);
    free(prefix);
    return v;
}

/* ---- Weights and bias ------------------------------------------------------------------------ */

static double weight_steps(const struct weight_error *w, const struct weight_channel *ch)
{
    double rms = sqrt(ch->noise / (double)MAX(w->k, (size_t)1));
    return ch->step > 0 ? rms / ch->step : rms > 0 ? INFINITY : 0;
}

static double top_spread(const struct weight_error *w)
{
    double *top = mem_alloc((w->n_channels + 1) * sizeof *top), most = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        top[c] = w->channel[c].top;
        most = fmax(most, top[c]);
    }
    double middle = median_of(top, w->n_channels);
    free(top);
    return middle > 0 ? most / middle : NAN;
}

/* Channels whose weights are off by more than rounding, and the one with most noise among them. */
static size_t wrong_weights(const struct weight_error *w, size_t *worst)
{
    size_t bad = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        const struct weight_channel *ch = &w->channel[c];
        if (w->bits && weight_steps(w, ch) > verdict_limits[LIMIT_WEIGHT_STEP].value) {
            *worst = !bad || ch->noise > w->channel[*worst].noise ? c : *worst;
            bad++;
        }
    }
    return bad;
}

static bool is_gain(double gain)
{
    double limit = verdict_limits[LIMIT_GAIN].value;
    return gain > limit || gain < 1 / limit;
}

static enum verdict_id judge_wrong(const struct weight_error *w, size_t c, size_t bad, char **cause)
{
    const struct weight_channel *ch = &w->channel[c];
    double k = (double)w->k, limit = verdict_limits[LIMIT_WEIGHT_STEP].value;
    double fitted = sqrt(fmax(ch->noise - (1 - ch->gain) * (1 - ch->gain) * ch->signal, 0) / k);
    double unshifted = sqrt(ch->left / k);
    bool filled = ch->code_top >= (int)(0.9 * (1 << (w->bits - 1)));
    if (ch->dead) {
        *cause = mem_printf("WEIGHTS: all weights of channel %zu are 0", c);
        return VERDICT_DEAD_CHANNEL;
    }
    if (w->k > 1 && fabs(ch->shift) > limit && unshifted <= limit * ch->step) {
        *cause = mem_printf("weights of channel %zu (and %zu others) are shifted by %.1f steps", c,
                            bad - 1, ch->shift);
        return VERDICT_ZERO_POINT;
    }
    if (ch->gain > 0 && is_gain(ch->gain) && fitted <= limit * ch->step &&
        (filled || 2 * bad > w->n_channels)) {
        *cause = mem_printf("weights of channel %zu (and %zu others) are %.3g times those of FP32: "
                            "their scale is wrong",
                            c, bad - 1, ch->gain);
        return VERDICT_SCALE;
    }
    *cause = mem_printf("weights of channel %zu (and %zu others) are off by %.1f steps RMS", c,
                        bad - 1, weight_steps(w, ch));
    return VERDICT_WEIGHTS;
}

enum verdict_id judge_weights(const struct weight_error *w, char **cause)
{
    size_t worst = 0, bad = wrong_weights(w, &worst);
    return bad ? judge_wrong(w, worst, bad, cause) : VERDICT_OK;
}

static enum verdict_id judge_fine_weights(const struct weight_error *w, char **cause)
{
    double spread = top_spread(w);
    if (w->per_tensor && spread >= verdict_limits[LIMIT_SPREAD].value) {
        *cause = mem_printf("weights: one scale for channels of which the largest reaches %.1f "
                            "times as far as the median",
                            spread);
        return VERDICT_SPREAD;
    }
    *cause = mem_printf("rounding of the weights: they have %.1f dB", sqnr_db(w->signal, w->noise));
    return VERDICT_WEIGHTS;
}

static double bias_steps(const struct weight_channel *ch)
{
    double d = fabs(ch->bias - ch->bias_int8);
    return ch->bias_step > 0 ? d / ch->bias_step : 0;
}

enum verdict_id judge_bias(const struct weight_error *w, char **cause)
{
    size_t bad = 0, worst = 0;
    double bb = 0, bq = 0, qq = 0;
    for (size_t c = 0; c < w->n_channels; c++) {
        const struct weight_channel *ch = &w->channel[c];
        bb += ch->bias * ch->bias;
        bq += ch->bias * ch->bias_int8;
        qq += ch->bias_int8 * ch->bias_int8;
        if (bias_steps(ch) > verdict_limits[LIMIT_BIAS_STEP].value) {
            worst = !bad || bias_steps(ch) > bias_steps(&w->channel[worst]) ? c : worst;
            bad++;
        }
    }
    if (!bad) {
        return VERDICT_OK;
    }
    double gain = bb > 0 ? bq / bb : NAN, left = qq - 2 * gain * bq + gain * gain * bb;
    if (w->n_channels > 2 && bad > 2 && is_gain(gain) && left < 0.01 * qq) {
        *cause = mem_printf("all biases are %.3g times those of FP32: the scale of its input or "
                            "its weights does not fit them",
                            gain);
        return VERDICT_SCALE;
    }
    const struct weight_channel *ch = &w->channel[worst];
    *cause = mem_printf("bias of channel %zu (and %zu others) is %.4g, in FP32 %.4g: %.0f steps",
                        worst, bad - 1, ch->bias_int8, ch->bias, bias_steps(ch));
    return VERDICT_BIAS;
}

/* Wrong weights and biases of one channel go together where their scale is wrong. */
static enum verdict_id judge_constants(const struct weight_error *w, bool bias, char **cause)
{
    char *other = NULL;
    enum verdict_id v = bias ? judge_bias(w, cause) : judge_weights(w, cause);
    enum verdict_id o = bias ? judge_weights(w, &other) : VERDICT_OK;
    if (o == VERDICT_SCALE) {
        free(*cause);
        *cause = other;
        return o;
    }
    free(other);
    if (v != VERDICT_OK) {
        return v;
    }
    if (!bias) {
        return judge_fine_weights(w, cause);
    }
    *cause = mem_dup("rounding of the bias");
    return VERDICT_BIAS;
}

/* ---- The largest part ------------------------------------------------------------------------ */

/* Channels that are constant in INT8 alone: the worst of them, and their share of the noise. */
static double dead_share(const struct layer_stats *s, double step, size_t *worst)
{
    double dead = 0, most = 0;
    for (size_t c = 0; c < s->n_channels; c++) {
        const struct sums *x = &s->channel[c];
        if (x->n && x->ymin == x->ymax && x->xmax - x->xmin > 2 * step) {
            dead += x->ee;
            *worst = x->ee > most ? c : *worst;
            most = fmax(most, x->ee);
        }
    }
    return s->all.ee > 0 ? dead / s->all.ee : 0;
}

static enum verdict_id judge_arithmetic(const struct local_stats *s, const struct weight_error *w,
                                        char **cause)
{
    if (!s->wraps && !s->pairs && w->reach >= 0x1p31) {
        *cause =
            mem_printf("bias and products may add up to %.4g, int32 ends at 2147483647", w->reach);
        return VERDICT_ACCUMULATOR;
    }
    if (s->wraps || s->pairs) {
        *cause = mem_printf("of %llu sums %llu wrap at 32 bits, %llu have pairs beyond 16 bits",
                            (unsigned long long)s->sums, (unsigned long long)s->wraps,
                            (unsigned long long)s->pairs);
        return VERDICT_ACCUMULATOR;
    }
    *cause = mem_dup("arithmetic of the operator");
    return VERDICT_RESOLUTION;
}

void name_cause(const struct judge_input *j, size_t k, struct layer_verdict *v)
{
    const struct noise_parts *p = &v->parts;
    const struct local_stats *s = local_of(j, k);
    double most =
        fmax(fmax(p->clip + p->round, p->inputs), fmax(fmax(p->weights, p->bias), p->other));
    size_t dead = 0;
    const struct quant *q = &j->match->layers[k].q;
    double share = dead_share(&s->pair, q->n ? (double)q->scale[0] : 0, &dead);
    if (p->past > most || (p->past > 0 && p->past + p->clip > most)) {
        v->verdict = judge_past(j, k, &v->cause);
    } else if (most == p->clip + p->round) {
        v->verdict = judge_output(j, k, &v->cause);
    } else if (most == p->weights || most == p->bias) {
        v->verdict = judge_constants(&j->weights[k], most == p->bias, &v->cause);
    } else if (share > 0.5) {
        v->verdict = VERDICT_DEAD_CHANNEL;
        v->cause = mem_printf("channel %zu is constant in INT8; such channels make %.0f%% of the "
                              "noise",
                              dead, 100 * share);
    } else if (most == p->inputs) {
        v->verdict = judge_inputs(j, k, &v->source, &v->cause);
    } else {
        v->verdict = judge_arithmetic(s, &j->weights[k], &v->cause);
    }
}
