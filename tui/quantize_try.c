/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quantize_try.c: runs quantized models on calibration images beside the FP32 model that they were
 * made of. Which ranges are best for the outputs is not seen in any tensor alone, so it is
 * measured.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/quantize_run.h"

enum { TRY_IMAGES = 32, TRY_BYTES = 256 << 20 }; /* outputs of FP32 that are kept */

struct trying {
    struct observing *o;
    size_t n, n_outputs;
    const struct plan *plan;   /* that runs now */
    struct tensor **reference; /* [image][output]; NULL: it has none, or is no float */
    double *signal, *noise;    /* by image */
    bool keep;                 /* what runs is the reference */
    atomic_size_t next;
    int rc; /* E_STOP once it was cancelled; under s->lock */
};

/* What the outputs of an image are off by; they go. */
static void take(struct trying *t, size_t image, struct tensor **out)
{
    double xx = 0, ee = 0;
    for (size_t k = 0; k < t->n_outputs; k++) {
        struct tensor **ref = &t->reference[image * t->n_outputs + k];
        if (t->keep && out[k] && out[k]->dtype == DT_F32) {
            *ref = out[k];
            continue;
        }
        for (size_t i = 0; *ref && out[k] && out[k]->n == (*ref)->n && i < (*ref)->n; i++) {
            double x = tensor_f64(*ref, i), e = x - tensor_f64(out[k], i);
            xx += x * x;
            ee += e * e;
        }
        tensor_free(out[k]);
    }
    t->signal[image] = xx;
    t->noise[image] = ee;
}

static int try_image(struct trying *t, size_t image, struct err *err)
{
    const struct observing *o = t->o;
    struct tensor **in = mem_alloc((o->n_inputs + 1) * sizeof *in);
    struct tensor **out = mem_alloc((t->n_outputs + 1) * sizeof *out);
    const struct run_options ro = {.cancel = &o->s->job.cancel};
    int rc = sample_load(&o->samples[image], &o->pp, (int)o->n_inputs, o->inputs, in, err);
    rc = rc ? rc : plan_run(t->plan, (const struct tensor *const *)in, out, &ro, err);
    if (!rc) {
        take(t, image, out);
    }
    for (size_t i = 0; i < o->n_inputs; i++) {
        tensor_free(in[i]);
    }
    free(in);
    free(out);
    return rc;
}

/* An image that cannot be run was told by the calibration; here it counts for nothing. */
static void *worker(void *arg)
{
    struct trying *t = arg;
    struct session *s = t->o->s;
    for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n;) {
        struct err err = {0};
        int rc = cancelled(&s->job.cancel) ? E_STOP : try_image(t, i, &err);
        pthread_mutex_lock(&s->lock);
        t->rc = rc == E_STOP ? rc : t->rc;
        job_advance(s, s->job.done + (rc != E_STOP), s->job.total);
        pthread_mutex_unlock(&s->lock);
        if (rc == E_STOP) {
            break;
        }
    }
    return NULL;
}

static int run_all(struct trying *t, const struct plan *p, struct err *err)
{
    t->plan = p;
    atomic_store(&t->next, 0);
    memset(t->signal, 0, t->n * sizeof *t->signal);
    memset(t->noise, 0, t->n * sizeof *t->noise);
    job_threads((int)MIN((size_t)MAX(t->o->s->set.jobs, 1), t->n), worker, t);
    return t->rc ? err_set(err, E_STOP, "cancelled") : OK;
}

static int try_graph(struct trying *t, const struct graph *g, double *sqnr, struct err *err)
{
    struct session *s = t->o->s;
    const struct plan_options po = {.numerics = numerics_for(s->set.numerics, DIALECT_ONNX),
                                    .kernels = s->set.kernels,
                                    .budget = &s->budget,
                                    .partial = true};
    struct plan *p = NULL;
    double xx = 0, ee = 0;
    int rc = plan_new(g, &po, &p, err);
    rc = rc ? rc : run_all(t, p, err);
    plan_free(p);
    for (size_t i = 0; i < t->n; i++) {
        xx += t->signal[i];
        ee += t->noise[i];
    }
    *sqnr = sqnr_db(xx, ee);
    return rc;
}

/* How many images fit, by the outputs that the model declares. */
static size_t images_for(const struct observing *o)
{
    size_t bytes = sizeof(float), n = MIN(o->n, (size_t)TRY_IMAGES);
    for (size_t k = 0; k < o->g->n_outputs; k++) {
        const struct value *v = &o->g->values[o->g->outputs[k]];
        size_t size = sizeof(float);
        for (int d = 0; d < v->rank && size < TRY_BYTES; d++) {
            size *= v->dims[d] > 0 ? (size_t)MIN(v->dims[d], (int64_t)TRY_BYTES) : 1;
        }
        bytes += MIN(size, (size_t)TRY_BYTES);
    }
    return MAX(MIN(n, TRY_BYTES / bytes), (size_t)1);
}

size_t quantize_try_steps(const struct observing *o, size_t n)
{
    return (n + 1) * images_for(o);
}

int quantize_try(struct observing *o, size_t n, struct graph *const *made, double *sqnr,
                 struct err *err)
{
    struct trying t = {.o = o, .n = images_for(o), .n_outputs = o->g->n_outputs, .keep = true};
    t.reference = mem_alloc((t.n * t.n_outputs + 1) * sizeof(struct tensor *));
    t.signal = mem_alloc(t.n * sizeof(double));
    t.noise = mem_alloc(t.n * sizeof(double));
    int rc = run_all(&t, o->plan, err);
    t.keep = false;
    for (size_t k = 0; k < n && !rc; k++) {
        rc = try_graph(&t, made[k], &sqnr[k], err);
    }
    for (size_t i = 0; i < t.n * t.n_outputs; i++) {
        tensor_free(t.reference[i]);
    }
    free(t.reference);
    free(t.signal);
    free(t.noise);
    return rc;
}
