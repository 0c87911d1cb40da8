/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * load.c: reads models, plans them and finds what their files leave open, both of a pair at once.
 */
#include <signal.h>

#include "tui/load.h"

/* Types and shapes from the operators where they tell, else from a run on zeros, which also shows
 * what kernels refuse: always with numerics whose kernels refuse some usual graphs. Shapes are only
 * for display and matching: that the run fails is no error, unless nothing at all can run. */
static int probe_side(struct graph *g, enum numerics numerics, struct plan *p, struct err *err)
{
    if (numerics != NUM_TENSORRT && graph_infer(g)) {
        return OK;
    }
    return graph_probe(g, p, err) == E_UNSUPPORTED ? E_UNSUPPORTED : OK;
}

int side_plan(struct session *s, struct graph *g, bool reference, bool probe, struct plan **out,
              struct err *err)
{
    struct plan *p = NULL;
    const struct plan_options o = {.numerics = s->set.numerics,
                                   .kernels = s->set.kernels,
                                   .budget = &s->budget,
                                   .store = s->store,
                                   .partial = true,
                                   .reference = reference};
    int rc = plan_new(g, &o, &p, err);
    rc = rc || !probe ? rc : probe_side(g, o.numerics, p, err);
    if (rc) {
        plan_free(p);
        return rc;
    }
    *out = p;
    return OK;
}

/* Replaces an FP32 model by what a calibration cache makes of it. */
static int quantize(struct loading *l)
{
    struct calibration c;
    struct graph *quantized = NULL;
    struct plan *p = NULL;
    int rc = calibration_load(l->cache, &c, &l->err);
    if (rc) {
        return rc;
    }
    /* For shapes, which an older operator set may need to be spelled anew. */
    plan_free(side_plan(l->s, l->g, true, true, &p, NULL) ? NULL : p);
    rc = graph_quantize(l->g, &c, &quantized, &l->report, &l->err);
    rc = rc ? err_in(&l->err, "%s", l->g->path) : OK;
    calibration_fini(&c);
    if (!rc) {
        graph_free(l->g);
        l->g = quantized;
    }
    return rc;
}

static void *load_one(void *arg)
{
    struct loading *l = arg;
    if (!l->path && !l->keep) {
        return NULL;
    }
    l->g = l->keep;
    l->rc = l->keep ? OK : model_load(l->path, &l->g, &l->err);
    l->rc = l->rc || !l->cache ? l->rc : quantize(l);
    l->rc = l->rc ? l->rc : side_plan(l->s, l->g, l->reference, true, &l->p, &l->err);
    return NULL;
}

int load_sides(struct loading *a, struct loading *b, struct err *err)
{
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are for the front */
    bool two = a->path && b->path && a->s->set.jobs > 1;
    bool beside = two && pthread_create(&thread, NULL, load_one, a) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!beside) {
        load_one(a);
    }
    if (beside || !a->rc) {
        load_one(b);
    }
    if (beside) {
        pthread_join(thread, NULL);
    }
    const struct loading *failed = a->rc ? a : b->rc ? b : NULL;
    return failed ? err_set(err, failed->rc, "%s", failed->err.text) : OK;
}
