/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * probe.c: element types and shapes that a file does not declare, from one run on zeros.
 */
#include "analysis/analysis.h"

#include <stdlib.h>

struct probe {
    struct graph *g;
    const struct graph *executed;
    bool exact; /* sizes seen are those of real samples, not made up */
};

static int probe_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    (void)err;
    struct probe *p = ctx;
    int v = graph_find(p->g, p->executed->values[value].name);
    if (v < 0) {
        return OK;
    }
    struct value *d = &p->g->values[v];
    if (d->dtype == DT_NONE) {
        d->dtype = t->dtype;
    }
    if (d->rank < 0) {
        d->rank = t->rank;
        for (int k = 0; k < t->rank; k++) {
            d->dims[k] = p->exact ? t->dims[k] : -1;
        }
    }
    return OK;
}

int graph_probe(struct graph *g, const struct plan *p, struct err *err)
{
    struct tensor **in = mem_alloc(g->n_inputs * sizeof *in);
    struct probe probe = {.g = g, .executed = plan_graph(p), .exact = true};
    int rc = OK;
    for (size_t i = 0; i < g->n_inputs && !rc; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        int64_t dims[MAX_RANK];
        for (int d = 0; d < MAX(v->rank, 0); d++) {
            dims[d] = v->dims[d] > 0 ? v->dims[d] : 1;
            probe.exact = probe.exact && (d == 0 || v->dims[d] > 0);
        }
        rc = tensor_zeros(v->dtype == DT_NONE ? DT_F32 : v->dtype, MAX(v->rank, 0), dims, NULL,
                          &in[i], err);
    }
    if (!rc) {
        struct run_options o = {.tap = probe_tap, .tap_ctx = &probe};
        rc = plan_run(p, (const struct tensor *const *)in, NULL, &o, err);
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}
