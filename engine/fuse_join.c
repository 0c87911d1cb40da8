/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_join.c: two Q-DQ pairs in a row become one, as onnxruntime does it. Unlike the moves of
 * fuse_level1.c this changes numbers: the pair that is left has a scale of its own.
 */
#include "engine/fuse.h"
#include "engine/kernel_int8.h"

#include <math.h>

struct range {
    float s, lo, hi; /* reals */
    int32_t z;
};

static struct range range_of(const struct fuser *f, int q, int64_t qmin, int64_t qmax)
{
    const struct tensor *z = fuse_zero(f, q);
    struct range r = {.s = (float)tensor_f64(fuse_scale(f, q), 0)};
    r.z = z ? (int32_t)tensor_s64(z, 0) : 0;
    r.lo = r.s * (float)(qmin - r.z);
    r.hi = r.s * (float)(qmax - r.z);
    return r;
}

/* Constant scalars for scale and zero point; false when there is no memory. */
static bool new_params(struct fuser *f, int like, float s, int32_t z, enum dtype d, int *out)
{
    struct tensor *ts = NULL, *tz = NULL;
    if (tensor_new(DT_F32, 0, NULL, NULL, &ts, NULL) || tensor_new(d, 0, NULL, NULL, &tz, NULL)) {
        tensor_free(ts);
        return false;
    }
    *(float *)ts->data = s;
    codes_put(tz, 0, 1, &z);
    out[0] = fuser_constant(f, f->g->values[f->g->nodes[like].in[1]].name, ts);
    out[1] = fuser_constant(f, f->g->values[f->g->nodes[like].in[2]].name, tz);
    return true;
}

/* Gives Q and DQ the part of the range that both pairs can express; z rounds half away from 0. */
static bool narrow_range(struct fuser *f, int q, int dq, const struct range *a,
                         const struct range *b, enum dtype d)
{
    int64_t qmin = 0, qmax = 0;
    int params[2];
    (void)dtype_range(d, &qmin, &qmax);
    float lo = MAX(a->lo, b->lo), hi = MIN(a->hi, b->hi), s = (hi - lo) / (float)(qmax - qmin);
    float z = roundf((float)qmin - lo / s);
    if (!(s > 0) || !(z >= (float)qmin && z <= (float)qmax) || f->g->nodes[q].n_in < 3 ||
        f->g->nodes[dq].n_in < 3 || !fuse_zero(f, q) || !fuse_zero(f, dq) ||
        !new_params(f, q, s, (int32_t)z, d, params)) {
        return false;
    }
    for (int k = 0; k < 2; k++) {
        fuser_set_in(f, q, 1 + k, params[k]);
        fuser_set_in(f, dq, 1 + k, params[k]);
    }
    /* Not the codes that the model knows by that name. */
    fuser_set_out(f, q, 0, fuser_value(f, f->g->nodes[q].out[0], "_joined"));
    return true;
}

static bool join(struct fuser *f, int q1, int dq1, int q2, int dq2)
{
    int64_t qmin = 0, qmax = 0;
    enum dtype d = fuse_code_type(f, q1);
    if (!fuse_same_params(f, q1, dq1, false) || !fuse_same_params(f, q2, dq2, false) ||
        fuse_code_type(f, q2) != d || !dtype_range(d, &qmin, &qmax)) {
        return false;
    }
    struct range a = range_of(f, q1, qmin, qmax), b = range_of(f, q2, qmin, qmax);
    bool same = fabsf(a.s - b.s) < 1e-20F && a.z == b.z;
    if (!same && !narrow_range(f, q1, dq2, &a, &b, d)) {
        return false;
    }
    fuser_set_in(f, dq2, 0, f->g->nodes[q1].out[0]);
    fuser_kill(f, q2);
    fuser_kill(f, dq1);
    return true;
}

bool fuse_join_pairs(struct fuser *f)
{
    bool changed = false;
    for (size_t i = 0; i < f->g->n_nodes; i++) {
        int dq1 = (int)i;
        if (!fuse_is_dq(f, dq1)) {
            continue;
        }
        int q1 = fuser_producer(f, f->g->nodes[i].in[0]);
        int q2 = fuser_sole_use(f, f->g->nodes[i].out[0]).node;
        if (!fuse_is_q(f, q1) || !fuse_is_q(f, q2) ||
            fuser_sole_use(f, f->g->nodes[q1].out[0]).node != dq1) {
            continue;
        }
        int dq2 = fuser_sole_use(f, f->g->nodes[q2].out[0]).node;
        if (fuse_is_dq(f, dq2)) {
            changed = join(f, q1, dq1, q2, dq2) || changed;
        }
    }
    return changed;
}
