/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_batchnorm.c: BatchNormalization: in double, rounded once; in float32 with channels last.
 */
#include "engine/chain.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <math.h>
#include <stdlib.h>

/* Mean and variance of channel ch over images and planes. */
static void channel_moments(const struct tensor *x, int64_t ch, int64_t plane, double *mean,
                            double *variance)
{
    const double n = (double)(x->dims[0] * plane);
    *mean = *variance = 0;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        for (int64_t i = 0; i < x->dims[0] * plane; i++) {
            double v;
            elem_get_f64(x, (size_t)((i / plane * x->dims[1] + ch) * plane + i % plane), 1, &v);
            sum += pass == 0 ? v : (v - *mean) * (v - *mean);
        }
        *(pass == 0 ? mean : variance) = sum / n;
    }
}

/* y = x * a + b over the planes of channel ch. */
static void channel_affine(const struct tensor *x, struct tensor *y, int64_t ch, int64_t plane,
                           const double ab[2])
{
    for (int64_t n = 0; n < x->dims[0]; n++) {
        for (int64_t e = 0, m; e < plane; e += m) {
            double block[ELEM_BLOCK];
            const size_t at = (size_t)((n * x->dims[1] + ch) * plane + e);
            m = MIN(plane - e, (int64_t)ELEM_BLOCK);
            elem_get_f64(x, at, (size_t)m, block);
            for (int64_t i = 0; i < m; i++) {
                block[i] = block[i] * ab[0] + ab[1];
            }
            elem_put_f64(y, at, (size_t)m, block);
        }
    }
}

/* a and b of y = x * a + b for channel ch, whose mean and variance are m; v: scale and bias. */
static void channel_terms(const struct node *n, const struct tensor *const *v, size_t ch,
                          const double m[2], double ab[2])
{
    const double epsilon = (double)attr_float(n, "epsilon", 1e-5F);
    ab[0] = tensor_f64(v[0], ch) / sqrt(m[1] + epsilon);
    ab[1] = tensor_f64(v[1], ch) - m[0] * ab[0];
}

static bool is_training(const struct op_call *c)
{
    return c->opset >= 14 && attr_int(c->node, "training_mode", 0) != 0;
}

/* y = (x - mean) / sqrt(var + epsilon) * scale + bias per channel. In training mode the moments
 * are those of the batch, and outputs 1 and 2 the running ones: r * momentum + m * (1-momentum). */
static int batch_norm(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const double momentum = (double)attr_float(c->node, "momentum", 0.9F);
    const bool training = is_training(c);
    int rc = op_want_float(c, 2, err);
    rc = rc ? rc : op_want_vectors(c, 4, x->dims[1], err);
    rc = rc ? rc : op_out(c, 0, x->dtype, x->rank, x->dims, err);
    for (int i = 1; i <= 2 && training && !rc; i++) {
        if (i < c->n_out && c->node->out[i] >= 0) {
            rc = op_out(c, i, c->in[2 + i]->dtype, 1, c->in[2 + i]->dims, err);
        }
    }
    if (rc || x->n == 0) {
        return rc;
    }
    const int64_t plane = (int64_t)x->n / (x->dims[0] * x->dims[1]);
    for (int64_t ch = 0; ch < x->dims[1]; ch++) {
        double m[2], ab[2];
        for (int i = 0; i < 2; i++) {
            m[i] = tensor_f64(c->in[3 + i], (size_t)ch);
        }
        if (training) {
            const double old[] = {m[0], m[1]};
            channel_moments(x, ch, plane, &m[0], &m[1]);
            for (int i = 0; i < 2; i++) {
                const double running = old[i] * momentum + m[i] * (1 - momentum);
                if (i + 1 < c->n_out && c->out[i + 1]) {
                    elem_put_f64(c->out[i + 1], (size_t)ch, 1, &running);
                }
            }
        }
        channel_terms(c->node, c->in + 1, (size_t)ch, m, ab);
        channel_affine(x, c->out[0], ch, plane, ab);
    }
    return OK;
}

/* ---- The same in float32 with channels last ------------------------------------------------- */

enum {
    CHUNK = 1 << 14, /* elements that a thread takes at a time */
};

/* y = x * a + b for whole pixels: the terms of as many as make a block, all a, then all b. */
struct terms {
    size_t channels, block; /* block: elements, a multiple of the channels */
    float *ab;
};

static void terms_free(void *terms)
{
    struct terms *t = terms;
    if (t) {
        scratch_free(t->ab);
        free(t);
    }
}

/* v: scale, bias, mean and variance, of the length of the first. */
static int terms_new(const struct node *n, const struct tensor *const *v, struct terms **out,
                     struct err *err)
{
    struct terms *t = mem_alloc(sizeof *t);
    t->channels = v[0]->n;
    t->block = t->channels * MAX((size_t)ELEM_BLOCK / t->channels, (size_t)1);
    int rc = scratch_new(t->block, 2 * sizeof *t->ab, (void **)&t->ab, err);
    for (size_t ch = 0; ch < t->channels && !rc; ch++) {
        double ab[2];
        const double m[] = {tensor_f64(v[2], ch), tensor_f64(v[3], ch)};
        channel_terms(n, v, ch, m, ab);
        for (size_t i = ch; i < t->block; i += t->channels) {
            t->ab[i] = (float)ab[0];
            t->ab[t->block + i] = (float)ab[1];
        }
    }
    if (rc) {
        terms_free(t);
        return rc;
    }
    *out = t;
    return OK;
}

/* Constant terms are made once. What does not fit together the first call says. */
static int batch_norm_prepare(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *const *v = p->constants + 1;
    struct terms *t = NULL;
    for (int i = 0; i < 4; i++) {
        if (!v[i] || !dtype_is_float(v[i]->dtype) || v[i]->rank != 1 || v[i]->n != v[0]->n) {
            return OK;
        }
    }
    int rc = v[0]->n ? terms_new(p->node, v, &t, err) : OK;
    *state = t;
    return rc;
}

struct affine_job {
    const float *x;
    const struct terms *terms;
    float *y, *act; /* act: behind the activation. Either may be NULL */
    size_t n, chunk;
    struct op_tail tail;
    const struct chain_run *chain; /* NULL: none */
};

VECTOR_CLONES static void affine(size_t n, const float *restrict x, const float *restrict a,
                                 const float *restrict b, float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * a[i] + b[i];
    }
}

static void affine_chunk(void *ctx, size_t i)
{
    const struct affine_job *j = ctx;
    const size_t block = j->terms->block, end = MIN((i + 1) * j->chunk, j->n);
    float raw[ELEM_BLOCK];
    for (size_t e = i * j->chunk, in = 0, n; e < end; e += n, in = (in + n) % block) {
        n = MIN(MIN(end - e, block - in), (size_t)ELEM_BLOCK);
        float *y = j->y ? j->y + e : raw, *act = j->act ? j->act + e : NULL;
        affine(n, j->x + e, j->terms->ab + in, j->terms->ab + block + in, y);
        if (act) {
            elem_clamp_f32(n, y, j->tail.lo, j->tail.hi, act);
        }
        if (j->chain) {
            chain_block(j->chain, e, n, y, act);
        }
    }
}

static enum op_layout batch_norm_layout(const struct op_call *c)
{
    return c->in[0]->dtype == DT_F32 && !is_training(c) ? LAYOUT_LAST : LAYOUT_ROWS;
}

static int batch_norm_fast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct terms *own = NULL;
    struct affine_job j = {.x = x->data, .terms = c->state, .n = x->n};
    if (!c->channels_last) {
        return batch_norm(c, err);
    }
    int rc = op_want_vectors(c, 4, x->dims[1], err);
    rc = rc ? rc : op_out_tail(c, x->rank, x->dims, &j.y, &j.act, err);
    if (!rc && x->n > 0 && !j.terms) {
        rc = terms_new(c->node, c->in + 1, &own, err);
        j.terms = own;
    }
    if (!rc && x->n > 0) {
        j.chunk = MAX(CHUNK / j.terms->block, (size_t)1) * j.terms->block;
        j.tail = c->tail ? *c->tail : j.tail;
        j.chain = c->chain;
        par_for(c->par, (j.n + j.chunk - 1) / j.chunk, affine_chunk, &j);
    }
    terms_free(own);
    return rc;
}

const struct op op_batchnorm[] = {
    {
        .name = "BatchNormalization",
        .since = 7,
        .min_in = 5,
        .max_in = 5,
        .ref = batch_norm,
        .fast = batch_norm_fast,
        .prepare = batch_norm_prepare,
        .release = terms_free,
        .spec = "ONNX BatchNormalization-15",
        .layout = batch_norm_layout,
        .tails = true,
        .chains = true,
    },
    {0},
};
