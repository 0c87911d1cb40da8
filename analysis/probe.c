/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * probe.c: what one run on zeros tells: element types and shapes that a file does not declare, and
 * nodes that their kernels refuse.
 */
#include "analysis/analysis.h"

#include <stdlib.h>

struct probe {
    struct graph *g;
    const struct graph *executed;
    bool exact; /* sizes seen are those of real samples, not made up */
    struct refusal {
        int node;
        char *why;
    } * refused;
    size_t n_refused, cap_refused;
};

static void probe_refused(void *ctx, int node, const char *why)
{
    struct probe *p = ctx;
    p->refused = mem_push(p->refused, p->n_refused, &p->cap_refused, sizeof *p->refused);
    p->refused[p->n_refused++] = (struct refusal){.node = node, .why = mem_dup(why)};
}

/* Made-up sizes may be refused where real ones are not: then it is seen when it happens. */
static int leave_out(struct probe *p, struct plan *plan, struct err *err)
{
    int rc = OK;
    for (size_t i = 0; i < p->n_refused; i++) {
        rc =
            p->exact && !rc ? plan_leave_out(plan, p->refused[i].node, p->refused[i].why, err) : rc;
        free(p->refused[i].why);
    }
    free(p->refused);
    return rc;
}

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

int graph_probe(struct graph *g, struct plan *p, struct err *err)
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
        struct run_options o = {.tap = probe_tap, .refused = probe_refused, .tap_ctx = &probe};
        rc = plan_run(p, (const struct tensor *const *)in, NULL, &o, err);
        rc = rc == E_UNSUPPORTED && !probe.exact ? OK : rc;
        int left = leave_out(&probe, p, err);
        rc = rc ? rc : left;
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}
