/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * own_evaluate.c: what the model in force achieves by a metric of the user's own, as a job: a sweep
 * that tries nothing.
 */
#include <stdlib.h>

#include "tui/lab.h"
#include "tui/sweep_run.h"
#include "tui/own_metric.h"

struct evaluation {
    struct sweep *w;
    struct lab *lab;
};

static int evaluate_body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    struct evaluation *e = ctx;
    lab_expect(e->lab, e->w->n_images);
    int rc = lab_base(e->lab, e->w, err);
    return rc ? rc : lab_measure(e->lab, e->w, 0, NULL, e->w->n_images, err);
}

static int evaluate_finish(struct session *s, void *ctx, struct err *err)
{
    (void)err;
    struct evaluation *e = ctx;
    const struct outcome *o = e->w->outcome;
    s->own->last = (struct own_value){.metric = s->job.state == JOB_DONE ? own_of(o) : NULL,
                                      .fp32 = sweep_fp32(e->w, o),
                                      .int8 = trial_value(&e->w->base, o),
                                      .images = e->w->base.n - e->w->failed};
    lab_free(e->lab);
    sweep_free(e->w);
    free(e);
    return OK;
}

static void evaluate_summary(const struct session *s, char *dst, size_t size)
{
    const struct own_value *v = &s->own->last;
    snprintf(dst, size, "nothing measured");
    if (v->metric) {
        snprintf(dst, size, "%s FP32 %.6g, INT8 %.6g %s", v->metric->name, v->fp32, v->int8,
                 v->metric->unit);
    }
}

static const struct job_kind evaluate_kind = {
    .what = "evaluate",
    .unit = "runs",
    .short_unit = "runs",
    .body = evaluate_body,
    .finish = evaluate_finish,
    .summary = evaluate_summary,
};

int own_evaluate(struct call *c, const struct own_metric *m, size_t n, size_t *images,
                 bool background, struct err *err)
{
    struct session *s = c->s;
    struct evaluation *e = mem_alloc(sizeof *e);
    job_replace(s);
    s->own->last = (struct own_value){0};
    bool *pinned = session_pins(s);
    e->w = sweep_new(SWEEP_LOO, &m->outcome, s->match.n_layers, 0, NULL, NULL, pinned, n, images);
    sweep_pins_in_force(s, e->w, PREC_FP32);
    const struct lab_options o = {.jobs = s->set.jobs};
    e->lab = lab_new(s, e->w, &o);
    free(pinned);
    return job_start(s, &evaluate_kind, e, 0, background, s->json ? NULL : c->note, err);
}
