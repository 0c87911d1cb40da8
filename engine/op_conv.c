/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_conv.c: Conv and ConvTranspose in 1, 2 and 3 dimensions for float types. The integer
 * convolutions live in op_qlinear.c.
 */
#include "engine/conv_f32.h"
#include "engine/elem.h"
#include "engine/par.h"

#include <pthread.h>
#include <stdlib.h>

static int check_types(const struct op_call *c, struct conv *v, struct err *err)
{
    v->x = c->in[0];
    v->wt = c->in[1];
    v->bias = c->n_in > 2 ? c->in[2] : NULL;
    if (!dtype_is_float(v->x->dtype)) {
        return err_set(err, E_SHAPE, "input is %s, expected a float type", dtype_name(v->x->dtype));
    }
    int rc = op_want(c, 1, v->x->dtype, v->x->rank, err);
    if (!rc && v->bias) {
        rc = op_want(c, 2, v->x->dtype, 1, err);
    }
    v->groups = attr_int(c->node, "group", 1);
    if (!rc && v->x->rank < 3) {
        rc = err_set(err, E_SHAPE, "input has rank %d, expected 3 to 5", v->x->rank);
    }
    if (!rc && v->groups < 1) {
        rc = err_set(err, E_SHAPE, "group is %lld, expected 1 or more", (long long)v->groups);
    }
    return rc;
}

/* `outs`: all output channels. */
static int check_bias(const struct conv *v, int64_t outs, struct err *err)
{
    if (v->bias && v->bias->dims[0] != outs) {
        return err_set(err, E_SHAPE, "bias has %lld values, expected %lld",
                       (long long)v->bias->dims[0], (long long)outs);
    }
    return OK;
}

static int conv_read(const struct op_call *c, struct conv *v, struct err *err)
{
    *v = (struct conv){0};
    int rc = check_types(c, v, err);
    if (rc) {
        return rc;
    }
    const int64_t channels = v->x->dims[1], outs = v->wt->dims[0];
    v->ic = v->wt->dims[1];
    if (channels % v->groups || v->ic != channels / v->groups) {
        return err_set(err, E_SHAPE,
                       "weight has %lld input channels, input has %lld in %lld groups",
                       (long long)v->ic, (long long)channels, (long long)v->groups);
    }
    if (outs % v->groups) {
        return err_set(err, E_SHAPE, "%lld output channels do not divide into %lld groups",
                       (long long)outs, (long long)v->groups);
    }
    v->oc = outs / v->groups;
    rc = check_bias(v, outs, err);
    return rc ? rc : window_read(c, v->x, v->wt->dims + 2, &v->w, err);
}

static int make_output(struct op_call *c, const struct conv *v, struct err *err)
{
    int64_t dims[MAX_RANK];
    const int rank = window_dims(&v->w, v->oc * v->groups, dims);
    return op_out(c, 0, v->x->dtype, rank, dims, err);
}

/* ---- Plain kernels: double throughout, one rounding at the end ------------------------------ */

/* What the plain kernels work on: everything as double. */
struct plain {
    struct tensor *x, *w, *b, *y;
};

static int plain_open(struct op_call *c, const struct conv *v, struct plain *p, struct err *err)
{
    int rc = make_output(c, v, err);
    rc = rc ? rc : elem_to_f64(v->x, c->budget, &p->x, err);
    rc = rc ? rc : elem_to_f64(v->wt, c->budget, &p->w, err);
    if (!rc && v->bias) {
        rc = elem_to_f64(v->bias, c->budget, &p->b, err);
    }
    return rc ? rc : tensor_new(DT_F64, c->out[0]->rank, c->out[0]->dims, c->budget, &p->y, err);
}

static void plain_close(struct plain *p)
{
    tensor_free(p->x);
    tensor_free(p->w);
    tensor_free(p->b);
    tensor_free(p->y);
}

/* sum over i, kernel of x[i, o*s - lo + k*d] * w[i, k] for one output element; x and wt stand at
 * the group's first channel and the filter. */
static double conv_point(const struct conv *v, const double *x, const double *wt, const int64_t *o)
{
    const struct window *w = &v->w;
    int64_t k0[WINDOW_RANK], k1[WINDOW_RANK], at[WINDOW_RANK];
    double sum = 0;
    for (int a = 0; a < WINDOW_RANK; a++) {
        window_clip(w, a, o[a], &k0[a], &k1[a]);
        at[a] = o[a] * w->s[a] - w->lo[a];
    }
    for (int64_t i = 0; i < v->ic; i++, x += w->in_n, wt += w->k_n) {
        for (int64_t kd = k0[0]; kd < k1[0]; kd++) {
            for (int64_t kh = k0[1]; kh < k1[1]; kh++) {
                for (int64_t kw = k0[2]; kw < k1[2]; kw++) {
                    const int64_t d = at[0] + kd * w->d[0];
                    const int64_t h = at[1] + kh * w->d[1];
                    const int64_t q = at[2] + kw * w->d[2];
                    sum += x[(d * w->in[1] + h) * w->in[2] + q] *
                           wt[(kd * w->k[1] + kh) * w->k[2] + kw];
                }
            }
        }
    }
    return sum;
}

static int conv_ref(struct op_call *c, struct err *err)
{
    struct conv v;
    struct plain p = {0};
    int rc = conv_read(c, &v, err);
    rc = rc ? rc : plain_open(c, &v, &p, err);
    if (rc || c->out[0]->n == 0) {
        goto out;
    }
    const struct window *w = &v.w;
    double *y = p.y->data;
    for (int64_t n = 0; n < w->n; n++) {
        for (int64_t o = 0; o < v.groups * v.oc; o++) {
            const double *x = (double *)p.x->data + (n * w->c + o / v.oc * v.ic) * w->in_n;
            const double *wt = (double *)p.w->data + o * v.ic * w->k_n;
            const double bias = p.b ? ((double *)p.b->data)[o] : 0;
            int64_t at[WINDOW_RANK];
            for (at[0] = 0; at[0] < w->out[0]; at[0]++) {
                for (at[1] = 0; at[1] < w->out[1]; at[1]++) {
                    for (at[2] = 0; at[2] < w->out[2]; at[2]++) {
                        *y++ = bias + conv_point(&v, x, wt, at);
                    }
                }
            }
        }
    }
    elem_put_f64(c->out[0], 0, c->out[0]->n, p.y->data);
out:
    plain_close(&p);
    return rc;
}

/* ---- Fast: float32 with channels last ------------------------------------------------------- */

/* Ways to compute, each with a form of the weights of its own. */
enum way { WAY_DENSE, WAY_DEPTHWISE, WAY_WINOGRAD, WAYS };

/* Weights as the kernels of one way read them, filled in pieces. */
struct form {
    void *data; /* under the lock until all is there */
    size_t pieces;
    atomic_size_t next, done; /* pieces that are taken and that are filled */
    atomic_bool there;
};

/* Forms are made when a call first asks: which way is best depends on the size of its images.
 * Shared by threads. */
struct packed {
    _Atomic(struct conv *) seen; /* the first call, as conv_read() has checked it; NULL: none yet */
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct tensor *w;
    int64_t groups;
    struct form forms[WAYS];
    struct conv_beside *beside; /* of this and the first others that were run with it; under lock */
};

static struct packed *packed_new(const struct tensor *w, int64_t groups)
{
    struct packed *p = mem_alloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->filled, NULL);
    p->w = tensor_ref(w);
    p->groups = groups;
    return p;
}

static void conv_release(void *state)
{
    struct packed *p = state;
    if (p) {
        conv_dense_free(p->forms[WAY_DENSE].data);
        conv_depth_free(p->forms[WAY_DEPTHWISE].data);
        conv_winograd_free(p->forms[WAY_WINOGRAD].data);
        conv_beside_free(p->beside);
        free(atomic_load(&p->seen));
        tensor_free(p->w);
        pthread_cond_destroy(&p->filled);
        pthread_mutex_destroy(&p->lock);
        free(p);
    }
}

static int form_new(struct packed *p, enum way way, struct err *err)
{
    struct form *f = &p->forms[way];
    return f->data                ? OK
           : way == WAY_DEPTHWISE ? conv_depth_pack(p->w, &f->data, err) /* small: at once */
           : way == WAY_WINOGRAD  ? conv_winograd_new(p->w, &f->data, &f->pieces, err)
                                  : conv_dense_new(p->w, p->groups, 0, &f->data, &f->pieces, err);
}

struct filling {
    const struct packed *p;
    enum way way;
    struct form *form;
};

/* Fills pieces until none are left. */
static void fill(void *ctx, size_t helper)
{
    const struct filling *j = ctx;
    struct form *f = j->form;
    (void)helper;
    for (size_t i; (i = atomic_fetch_add(&f->next, 1)) < f->pieces; atomic_fetch_add(&f->done, 1)) {
        if (j->way == WAY_WINOGRAD) {
            conv_winograd_fill(f->data, j->p->w, i);
        } else {
            conv_dense_fill(f->data, j->p->w, i);
        }
    }
}

/* The thread whose pieces are done last wakes the others. */
static void finish(struct packed *p, struct form *f)
{
    pthread_mutex_lock(&p->lock);
    if (atomic_load(&f->done) == f->pieces) {
        atomic_store(&f->there, true);
        pthread_cond_broadcast(&p->filled);
    }
    while (!atomic_load(&f->there)) {
        pthread_cond_wait(&p->filled, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

/* Threads that need a form at the same time, as those of the first images do, fill it together. */
static int packed_get(struct packed *p, enum way way, struct par *par, const void **form,
                      struct err *err)
{
    struct form *f = &p->forms[way];
    int rc = OK;
    if (!atomic_load(&f->there)) {
        struct filling j = {p, way, f};
        pthread_mutex_lock(&p->lock);
        rc = form_new(p, way, err);
        pthread_mutex_unlock(&p->lock);
        if (!rc) {
            par_for(par, par_threads(par), fill, &j);
            finish(p, f);
        }
    }
    *form = rc ? NULL : f->data;
    return rc;
}

/* Constant weights are packed once. What does not fit together the first call says. */
static int conv_prepare(const struct op_prep *p, void **state, struct err *err)
{
    (void)err;
    const struct tensor *w = p->n_in > 1 ? p->constants[1] : NULL;
    if (w && w->dtype == DT_F32 && w->rank >= 3 && w->rank <= 2 + WINDOW_RANK && w->n > 0) {
        *state = packed_new(w, attr_int(p->node, "group", 1));
    }
    return OK;
}

/* Whether the call is like the first one, whose attributes need not be looked up again. */
static bool read_seen(const struct op_call *c, const struct packed *p, struct conv *v)
{
    const struct conv *seen = p ? atomic_load(&p->seen) : NULL;
    const struct tensor *x = c->in[0], *bias = c->n_in > 2 ? c->in[2] : NULL;
    if (!seen || c->in[1] != p->w || x->dtype != DT_F32 || x->rank != seen->w.rank + 2 ||
        x->dims[0] != seen->w.n || x->dims[1] != seen->w.c) {
        return false;
    }
    for (int a = 2; a < x->rank; a++) {
        if (x->dims[a] != seen->w.in[WINDOW_RANK - x->rank + a]) {
            return false;
        }
    }
    if (bias &&
        (bias->dtype != DT_F32 || bias->rank != 1 || bias->dims[0] != seen->oc * seen->groups)) {
        return false;
    }
    *v = *seen;
    v->x = x;
    v->wt = c->in[1];
    v->bias = bias;
    return true;
}

/* conv_read() of a call that the fast kernel may take. */
static int read_fast(const struct op_call *c, struct conv *v, struct err *err)
{
    struct packed *p = (struct packed *)c->state; /* `seen` is atomic */
    if (read_seen(c, p, v)) {
        return OK;
    }
    int rc = conv_read(c, v, err);
    if (!rc && p && v->x->dtype == DT_F32 && !atomic_load(&p->seen)) {
        struct conv *first = mem_alloc(sizeof *first), *none = NULL;
        *first = *v;
        if (!atomic_compare_exchange_strong(&p->seen, &none, first)) {
            free(first);
        }
    }
    return rc;
}

static bool is_depthwise(const struct conv *v)
{
    return v->groups > 1 && v->ic == 1 && v->oc == 1 && conv_depth_fits(&v->w);
}

/* Whether the kernels take it. */
static bool is_fast(const struct conv *v)
{
    return v->x->dtype == DT_F32 && v->wt->dtype == DT_F32 &&
           (is_depthwise(v) || conv_dense_fits(&v->w));
}

static enum way find_way(const struct conv *v)
{
    return is_depthwise(v) ? WAY_DEPTHWISE : conv_winograd_fits(v) ? WAY_WINOGRAD : WAY_DENSE;
}

static enum op_layout conv_layout(const struct op_call *c)
{
    struct conv v;
    if (read_fast(c, &v, NULL) || !is_fast(&v)) {
        return LAYOUT_ROWS;
    }
    return find_way(&v) == WAY_DENSE && conv_dense_copies(&v) ? LAYOUT_TO_LAST : LAYOUT_LAST;
}

/* The outputs that are wanted, with channels last. */
static int make_outputs(struct op_call *c, const struct conv *v, struct f32_dest *y,
                        struct err *err)
{
    int64_t dims[MAX_RANK];
    const int rank = window_dims(&v->w, v->oc * v->groups, dims);
    int rc = op_out_tail(c, rank, dims, &y->raw, &y->act, err);
    if (!rc && c->tail) {
        y->lo = c->tail->lo;
        y->hi = c->tail->hi;
    }
    return rc;
}

static int run_way(const struct op_call *c, const struct conv *v, struct packed *p, enum way way,
                   struct f32_dest y, bool *finite, struct err *err)
{
    const void *form;
    int rc = packed_get(p, way, c->par, &form, err);
    if (rc) {
        return rc;
    }
    return way == WAY_DEPTHWISE  ? conv_depth_run(v, form, y, c->par, c->budget, err)
           : way == WAY_WINOGRAD ? conv_winograd_run(v, form, y, c->par, c->budget, finite, err)
                                 : conv_dense_run(v, form, y, c->par, c->budget, err);
}

static int run_packed(struct op_call *c, const struct conv *v, struct packed *p, struct err *err)
{
    struct f32_dest y = {0};
    bool finite = true;
    int rc = make_outputs(c, v, &y, err);
    if (rc || v->w.n * v->w.out_n == 0 || v->wt->dims[0] == 0) {
        return rc;
    }
    const enum way way = find_way(v);
    rc = run_way(c, v, p, way, y, &finite, err);
    return rc || finite ? rc : run_way(c, v, p, WAY_DENSE, y, &finite, err);
}

/* What others are to follow must be large: see op.rows. */
static bool conv_rows(struct op_call *c, bool first, struct rows *r)
{
    struct packed *p = (struct packed *)c->state;
    struct conv v;
    struct f32_dest y = {0};
    const void *form;
    if (!p || !c->channels_last || read_fast(c, &v, NULL) || !is_fast(&v) ||
        (first && !rows_worth(&v.w, v.oc * v.groups))) {
        return false;
    }
    const enum way way = find_way(&v);
    const bool depthwise = way == WAY_DEPTHWISE;
    if (way == WAY_WINOGRAD || !conv_rows_fit(&v, depthwise)) {
        return false;
    }
    if (make_outputs(c, &v, &y, NULL) || packed_get(p, way, c->par, &form, NULL) ||
        conv_rows_begin(&v, depthwise, form, y, c->budget, r, NULL)) {
        op_drop(c);
        return false;
    }
    return true;
}

/* The weights of all, NULL: those there are belong to others. */
static const struct conv_beside *beside_get(struct packed *p, const struct conv *v, int n)
{
    pthread_mutex_lock(&p->lock);
    if (!p->beside && conv_beside_new(v, n, &p->beside, NULL)) {
        p->beside = NULL;
    }
    const struct conv_beside *b = p->beside;
    pthread_mutex_unlock(&p->lock);
    return b && conv_beside_is(b, v, n) ? b : NULL;
}

static bool conv_beside(struct op_call *const *calls, int n)
{
    struct packed *p = (struct packed *)calls[0]->state;
    struct conv v[BESIDE_MOST];
    struct f32_dest y[BESIDE_MOST] = {0};
    bool fits = p && calls[0]->channels_last;
    for (int k = 0; fits && k < n; k++) {
        fits = !read_fast(calls[k], &v[k], NULL) && is_fast(&v[k]) &&
               find_way(&v[k]) == WAY_DENSE && v[k].w.n * v[k].w.out_n > 0;
    }
    const struct conv_beside *b = fits && conv_beside_fits(v, n) ? beside_get(p, v, n) : NULL;
    bool made = b;
    for (int k = 0; made && k < n; k++) {
        made = !make_outputs(calls[k], &v[k], &y[k], NULL);
    }
    made = made && !conv_beside_run(b, v, y, calls[0]->par, calls[0]->budget, NULL);
    for (int k = 0; !made && k < n; k++) {
        op_drop(calls[k]);
    }
    return made;
}

static int to_rows(const struct op_call *c, struct tensor **t, struct err *err)
{
    struct tensor *last = *t;
    int rc = last ? tensor_as(last, false, c->budget, t, err) : OK;
    tensor_free(last);
    *t = rc ? NULL : *t;
    return rc;
}

/* The same on row-major tensors, for callers that do not look at op.layout. */
static int run_rows(struct op_call *c, struct conv *v, struct packed *p, struct err *err)
{
    struct tensor *x = NULL;
    int rc = tensor_as(v->x, true, c->budget, &x, err);
    v->x = x;
    c->channels_last = true;
    rc = rc ? rc : run_packed(c, v, p, err);
    c->channels_last = false;
    rc = rc ? rc : to_rows(c, &c->out[0], err);
    rc = rc ? rc : to_rows(c, &c->tail_out, err);
    tensor_free(x);
    return rc;
}

static int conv_fast(struct op_call *c, struct err *err)
{
    struct conv v;
    struct packed *own = NULL, *p = (struct packed *)c->state; /* it has a lock */
    int rc = read_fast(c, &v, err);
    if (rc || !is_fast(&v)) {
        return rc ? rc : conv_ref(c, err);
    }
    if (!p) {
        p = own = packed_new(v.wt, v.groups);
    }
    rc = c->channels_last ? run_packed(c, &v, p, err) : run_rows(c, &v, p, err);
    conv_release(own);
    return rc;
}

/* ---- ConvTranspose -------------------------------------------------------------------------- */

static int transpose_read(const struct op_call *c, struct conv *v, struct err *err)
{
    int rc = check_types(c, v, err);
    if (rc) {
        return rc;
    }
    const int64_t channels = v->x->dims[1];
    if (v->wt->dims[0] != channels || channels % v->groups) {
        return err_set(err, E_SHAPE,
                       "weight has %lld input channels, input has %lld in %lld groups",
                       (long long)v->wt->dims[0], (long long)channels, (long long)v->groups);
    }
    v->ic = channels / v->groups;
    v->oc = v->wt->dims[1];
    int64_t outs;
    if (__builtin_mul_overflow(v->oc, v->groups, &outs)) {
        return err_set(err, E_LIMIT, "more than 2^63 output channels");
    }
    rc = check_bias(v, outs, err);
    return rc ? rc : window_read_transposed(c, v->x, v->wt->dims + 2, &v->w, err);
}

/* y[o, i*s + k*d - lo] += x[i] * w[k] for one input plane and one output plane. */
static void scatter_plane(const struct window *w, const double *x, const double *wt, double *y)
{
    for (int64_t i = 0; i < w->in_n; i++) {
        const int64_t at[WINDOW_RANK] = {i / (w->in[1] * w->in[2]), i / w->in[2] % w->in[1],
                                         i % w->in[2]};
        for (int64_t k = 0; k < w->k_n; k++) {
            const int64_t kk[WINDOW_RANK] = {k / (w->k[1] * w->k[2]), k / w->k[2] % w->k[1],
                                             k % w->k[2]};
            int64_t o = 0;
            bool inside = true;
            for (int a = 0; a < WINDOW_RANK; a++) {
                const int64_t q = at[a] * w->s[a] + kk[a] * w->d[a] - w->lo[a];
                inside = inside && q >= 0 && q < w->out[a];
                o = inside ? o * w->out[a] + q : 0;
            }
            if (inside) {
                y[o] += x[i] * wt[k];
            }
        }
    }
}

static int conv_transpose(struct op_call *c, struct err *err)
{
    struct conv v;
    struct plain p = {0};
    int rc = transpose_read(c, &v, err);
    rc = rc ? rc : plain_open(c, &v, &p, err);
    if (rc || c->out[0]->n == 0) {
        goto out;
    }
    const struct window *w = &v.w;
    for (int64_t n = 0; n < w->n; n++) {
        for (int64_t o = 0; o < v.groups * v.oc; o++) {
            double *y = (double *)p.y->data + (n * v.groups * v.oc + o) * w->out_n;
            for (int64_t i = 0; i < w->out_n; i++) {
                y[i] = p.b ? ((double *)p.b->data)[o] : 0;
            }
            const int64_t first = o / v.oc * v.ic;
            for (int64_t i = first; i < first + v.ic; i++) {
                scatter_plane(w, (double *)p.x->data + (n * w->c + i) * w->in_n,
                              (double *)p.w->data + (i * v.oc + o % v.oc) * w->k_n, y);
            }
        }
    }
    elem_put_f64(c->out[0], 0, c->out[0]->n, p.y->data);
out:
    plain_close(&p);
    return rc;
}

const struct op op_conv[] = {
    {
        .name = "Conv",
        .since = 1,
        .min_in = 2,
        .max_in = 3,
        .ref = conv_ref,
        .fast = conv_fast,
        .prepare = conv_prepare,
        .release = conv_release,
        .spec = "ONNX Conv-22",
        .layout = conv_layout,
        .tails = true,
        .rows = conv_rows,
        .beside = conv_beside,
        .any_address = 1u << 1,
    },
    {
        .name = "ConvTranspose",
        .since = 1,
        .min_in = 2,
        .max_in = 3,
        .ref = conv_transpose,
        .spec = "ONNX ConvTranspose-22",
    },
    {0},
};
