/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cost_model.c: what a set of pins costs, in one number.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/tui.h"

static struct pins_cost cost_of(const struct session *s, const bool *pinned)
{
    return pins_cost(s->fp32, &s->match, s->costs, pinned);
}

static double cost_macs(const struct session *s, const bool *pinned, const double *ms)
{
    (void)ms;
    return s->macs > 0 ? 100 * cost_of(s, pinned).macs / s->macs : NAN;
}

static double cost_weights(const struct session *s, const bool *pinned, const double *ms)
{
    (void)ms;
    return cost_of(s, pinned).weights;
}

static double cost_activations(const struct session *s, const bool *pinned, const double *ms)
{
    (void)ms;
    return cost_of(s, pinned).activations;
}

static double cost_boundaries(const struct session *s, const bool *pinned, const double *ms)
{
    (void)ms;
    return cost_of(s, pinned).boundaries;
}

static double cost_time(const struct session *s, const bool *pinned, const double *ms)
{
    double sum = 0;
    for (size_t k = 0; ms && k < s->match.n_layers; k++) {
        sum += pinned[k] ? ms[k] : 0;
    }
    return ms ? sum : NAN;
}

const struct cost_model cost_models[] = {
    {"macs", "%", "products computed in FP32, of all products of the network", cost_macs},
    {"weights", "bytes", "weights kept in FP32", cost_weights},
    {"activations", "bytes", "activations made in FP32", cost_activations},
    {"boundaries", "", "activations more that are read in another precision than they are made in",
     cost_boundaries},
    {"ms", "ms", "time that the layers take more in FP32 than in INT8, on one thread here",
     cost_time},
    {0},
};

const struct cost_model *cost_model_find(const char *name)
{
    for (const struct cost_model *m = cost_models; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}

double *cost_times(const struct session *s)
{
    const struct layer_times *t = &s->times;
    const size_t n = s->match.n_layers;
    if (t->n != n || !t->ms[SIDE_FP32] || !t->ms[SIDE_INT8]) {
        return NULL;
    }
    double *ms = mem_alloc((n + 1) * sizeof *ms);
    for (size_t k = 0; k < n; k++) {
        ms[k] = t->ms[SIDE_FP32][k] - t->ms[SIDE_INT8][k];
    }
    return ms;
}

double *cost_ms(const struct session *s)
{
    const size_t n = s->match.n_layers;
    if (!s->cost_ms) {
        return cost_times(s);
    }
    double *ms = mem_alloc((n + 1) * sizeof *ms);
    memcpy(ms, s->cost_ms, n * sizeof *ms);
    return ms;
}
