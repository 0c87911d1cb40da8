/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * replay_fixture.h: the sample pair, models made of it, and how they are run.
 */
#ifndef TESTS_REPLAY_FIXTURE_H
#define TESTS_REPLAY_FIXTURE_H

#include <stdlib.h>

#include "analysis/analysis.h"
#include "engine/plan.h"
#include "formats/formats.h"

/* ---- A pair, and models made of it ---------------------------------------------------------- */

struct pair {
    struct graph *fp32, *int8;
    struct match m;
    struct plan_options o;
    struct tensor *x;
};

static inline void pair_open(struct pair *p, const char *int8, enum numerics n, enum kernels k)
{
    struct err e = {0};
    struct plan *plan;
    *p = (struct pair){.o = {.numerics = n, .kernels = k}};
    assert_int_equal(model_load("samples/models/fp32.onnx", &p->fp32, &e), OK);
    assert_int_equal(model_load(int8, &p->int8, &e), OK);
    struct graph *both[] = {p->fp32, p->int8};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plan_new(both[i], &p->o, &plan, &e), OK);
        assert_int_equal(graph_probe(both[i], plan, &e), OK);
        plan_free(plan);
    }
    assert_int_equal(match_graphs(p->fp32, p->int8, 0, NULL, &p->m, &e), OK);
    p->o.store = plan_store_new();
    const struct value *v = &p->fp32->values[p->fp32->inputs[0]];
    int64_t dims[MAX_RANK];
    for (int d = 0; d < v->rank; d++) {
        dims[d] = v->dims[d] > 0 ? v->dims[d] : 1;
    }
    assert_int_equal(tensor_new(DT_F32, v->rank, dims, NULL, &p->x, &e), OK);
    for (size_t i = 0; i < p->x->n; i++) {
        ((float *)p->x->data)[i] = (float)(i * 2654435761u % 1000) / 500 - 1;
    }
}

static inline void pair_close(struct pair *p)
{
    plan_store_free(p->o.store);
    match_fini(&p->m);
    tensor_free(p->x);
    graph_free(p->fp32);
    graph_free(p->int8);
}

/* The INT8 model with these layers in FP32; none: the INT8 model itself. */
static inline struct plan *model_with(const struct pair *p, const bool *pinned)
{
    struct err e = {0};
    struct graph *mixed = NULL;
    struct plan *plan = NULL;
    struct pin_set set = {.n_layers = p->m.n_layers, .pinned = (bool *)pinned};
    int *values = mem_alloc((set.n_layers + 1) * sizeof *values);
    size_t n = 0;
    for (size_t k = 0; k < set.n_layers; k++) {
        n += pinned[k];
    }
    if (n && pin_apply(p->fp32, p->int8, &p->m, &set, &mixed, values, &e)) {
        fail_msg("%s", e.text);
    }
    if (plan_new(mixed ? mixed : p->int8, &p->o, &plan, &e)) {
        fail_msg("%s", e.text);
    }
    graph_free(mixed);
    free(values);
    return plan;
}

static inline struct tensor *run_whole(const struct pair *p, const struct plan *plan)
{
    struct tensor *out = NULL;
    const struct tensor *in[] = {p->x};
    assert_int_equal(plan_run(plan, in, &out, NULL, NULL), OK);
    return out;
}

static inline struct tensor *run_from(const struct pair *p, const struct plan *plan,
                                      const struct plan *base, struct activations *known,
                                      bool keep_all, size_t *executed)
{
    struct err e = {0};
    struct tensor *out = NULL;
    const struct tensor *in[] = {p->x};
    struct replay *r = replay_new(plan, base);
    bool *keep = mem_alloc(plan_graph(plan)->n_values + 1);
    size_t n = 0;
    replay_makes(r, keep);
    struct replay_options o = {.keep = keep_all ? keep : NULL, .executed = &n};
    if (replay_run(r, in, known, &o, &out, &e)) {
        fail_msg("%s", e.text);
    }
    if (executed) {
        *executed = n;
    }
    free(keep);
    replay_free(r);
    return out;
}

#endif
