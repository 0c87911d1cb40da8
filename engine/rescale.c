/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rescale.c: requantization with an integer multiplier and a shift, as the operator RESCALE of the
 * TOSA specification 1.0 defines it (2.3 of its arithmetic helpers), beside that of the runtime.
 */
#include "engine/int_layer.h"

#include <math.h>
#include <stdlib.h>

enum { LEAST_SHIFT = 2, MOST_SHIFT = 62 };

int rescale_params(const struct rescale *r, double factor, int32_t *multiplier, int *shift,
                   struct err *err)
{
    const int bits = r->scale16 ? 15 : 31;
    int exponent;
    if (!(factor > 0) || !isfinite(factor)) {
        return err_set(err, E_SHAPE, "no multiplier stands for a factor of %g", factor);
    }
    double m = round(frexp(factor, &exponent) * (double)(INT64_C(1) << bits));
    if (m == (double)(INT64_C(1) << bits)) {
        m /= 2;
        exponent++;
    }
    int s = bits - exponent;
    int64_t v = (int64_t)m;
    if (s > MOST_SHIFT) {
        v >>= MIN(s - MOST_SHIFT, 31);
        s = MOST_SHIFT;
    }
    if (s < LEAST_SHIFT) {
        return err_set(err, E_SHAPE, "a factor of %g needs a shift of %d, below %d", factor, s,
                       (int)LEAST_SHIFT);
    }
    *multiplier = (int32_t)v;
    *shift = s;
    return OK;
}

int32_t rescale_apply(const struct rescale *r, int64_t v, int32_t multiplier, int shift,
                      bool *beyond)
{
    const int64_t half = INT64_C(1) << (shift - 1), ends = INT64_C(1) << (r->scale16 ? 47 : 31);
    int64_t round = half;
    *beyond = true;
    if (v < -ends || v >= ends) { /* no such sum can be held */
        return v < 0 ? INT32_MIN : INT32_MAX;
    }
    if (r->double_round && !r->scale16 && shift > 31) {
        round += v >= 0 ? INT64_C(1) << 30 : -(INT64_C(1) << 30);
    }
    int64_t result = (v * multiplier + round) >> shift;
    bool fits = result >= INT32_MIN && result <= INT32_MAX;
    *beyond = !fits || (!r->scale16 && (v < -half || v >= half));
    return (int32_t)MIN(MAX(result, INT32_MIN), INT32_MAX);
}

void rescaled_merge(struct rescaled *into, const struct rescaled *from)
{
    bool first = into->n == 0;
    into->shift_min = first ? from->shift_min : MIN(into->shift_min, from->shift_min);
    into->shift_max = first ? from->shift_max : MAX(into->shift_max, from->shift_max);
    into->n += from->n;
    into->differ += from->differ;
    into->beyond += from->beyond;
    into->largest = MAX(into->largest, from->largest);
    into->signal += from->signal;
    into->noise[0] += from->noise[0];
    into->noise[1] += from->noise[1];
}

/* ---- One layer ------------------------------------------------------------------------------ */

struct rescaling {
    const struct rescale *r;
    struct rescaled out;
    double *factor; /* per channel: sx * sw / sy */
    int32_t *multiplier;
    int *shift;
};

static int rescale_open(void *ctx, const struct int_layer *l, struct err *err)
{
    struct rescaling *x = ctx;
    if (!l->requantizes) {
        return err_set(err, E_UNSUPPORTED, "its results are not codes");
    }
    x->factor = mem_alloc((l->channels + 1) * sizeof *x->factor);
    x->multiplier = mem_alloc((l->channels + 1) * sizeof *x->multiplier);
    x->shift = mem_alloc((l->channels + 1) * sizeof *x->shift);
    int rc = OK;
    for (size_t i = 0; i < l->channels && !rc; i++) {
        x->factor[i] = (double)l->sx * (double)scale_at(l->sw, i) / (double)l->y.s;
        rc = rescale_params(x->r, x->factor[i], &x->multiplier[i], &x->shift[i], err);
        x->out.shift_min = i ? MIN(x->out.shift_min, x->shift[i]) : x->shift[i];
        x->out.shift_max = i ? MAX(x->out.shift_max, x->shift[i]) : x->shift[i];
    }
    return rc;
}

static void rescale_sum(void *ctx, const struct int_layer *l, size_t channel,
                        const struct int_sum *s, const struct tensor *y, size_t at)
{
    struct rescaling *x = ctx;
    bool beyond;
    int64_t q =
        (int64_t)rescale_apply(x->r, s->acc, x->multiplier[channel], x->shift[channel], &beyond) +
        l->y.z;
    q = MIN(MAX(q, l->y.qmin), l->y.qmax);
    int now = code_at(y, at), step = abs((int)q - now);
    double real = (double)s->acc * x->factor[channel], scale = (double)l->y.s;
    x->out.n++;
    x->out.differ += step != 0;
    x->out.beyond += beyond;
    x->out.largest = MAX(x->out.largest, step);
    if (real + l->y.z <= l->y.qmax + 0.5 && real + l->y.z >= l->y.qmin - 0.5) {
        double a = (now - l->y.z - real) * scale, b = ((double)q - l->y.z - real) * scale;
        x->out.signal += real * real * scale * scale;
        x->out.noise[0] += a * a;
        x->out.noise[1] += b * b;
    }
}

int plan_rescale(const struct plan *p, int node, const struct tensor *const *in,
                 const struct rescale *r, struct rescaled *out, struct err *err)
{
    struct rescaling x = {.r = r};
    const struct sum_visitor visit = {.open = rescale_open, .sum = rescale_sum, .ctx = &x};
    int rc = plan_visit_sums(p, node, in, &visit, err);
    if (!rc) {
        rescaled_merge(out, &x.out);
    }
    free(x.factor);
    free(x.multiplier);
    free(x.shift);
    return rc;
}
