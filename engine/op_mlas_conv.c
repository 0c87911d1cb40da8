/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_mlas_conv.c: Conv in the order of summation of onnxruntime's kernels, see op_mlas.c. The plain
 * kernel sums one output after the other, as the description of each order goes; the fast one has
 * channels last and gives the same orders to the kernels of conv_f32.h.
 */
#include "engine/elem.h"
#include "engine/op_mlas.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <stdlib.h>

/* ---- Orders --------------------------------------------------------------------------------- */

size_t mlas_block_size(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") ? 16 : 8;
#else
    return 8;
#endif
}

/* Groups of whole blocks, depthwise in fours, else anything of less than a block or of fours. */
bool mlas_is_blocked(const struct node *n, const struct tensor *w)
{
    int64_t block = (int64_t)mlas_block_size(), g = attr_int(n, "group", 1);
    if (w->dtype != DT_F32 || w->rank != 4 || w->n == 0 || g < 1 || w->dims[0] % g) {
        return false;
    }
    int64_t cg = w->dims[1], og = w->dims[0] / g;
    if (g > 1) {
        return cg == 1 && og == 1 ? g % 4 == 0 : cg % block == 0 && og % block == 0;
    }
    return cg < block || cg % 4 == 0;
}

static bool order_is_blocked(const struct node *n)
{
    return attr_int(n, fuse_blocked_attr, BLOCKED_NEVER) == BLOCKED_ALWAYS;
}

static size_t block_of(const struct node *n, int64_t channels)
{
    const size_t block = mlas_block_size();
    return order_is_blocked(n) && (size_t)channels >= block ? block : 1;
}

/* Of one product of matrices, to which an image of one channel goes as it is. */
static enum mlas_sum sum_of_wide(const struct conv_shape *s)
{
    return s->o == s->g ? SUM_PLANE : s->oh == 1 && s->ow == 1 && s->w == 1 ? SUM_PIXEL : SUM_CHAIN;
}

static struct mlas_order choose_order(const struct node *n, const struct conv_shape *s)
{
    enum { POINTWISE_RUN = 128 }; /* channels that a blocked pointwise convolution sums at a time */
    const size_t taps = (size_t)(s->kh * s->kw), plane = (size_t)(s->oh * s->ow);
    const size_t k = (size_t)s->cg * taps;
    const bool padded = s->pt || s->pl || s->pb || s->pr;
    const bool wide = s->cg == 1 && taps > 1 && s->kw == s->w && !padded && s->sh == 1 &&
                      s->sw == 1 && s->dh == 1 && s->dw == 1;
    struct mlas_order o = {.blocked = order_is_blocked(n), .block = block_of(n, s->cg)};
    if (!o.blocked) {
        o.sum = wide           ? sum_of_wide(s)
                : s->o == s->g ? SUM_SINGLE
                : plane == 1   ? SUM_PIXEL
                               : SUM_CHAIN;
        o.run = o.sum == SUM_SINGLE && conv_is_pointwise(s) ? k : mlas_run_length(plane, k);
    } else {
        o.run = o.block > 1 && taps == 1 && !padded ? POINTWISE_RUN : o.block * taps;
    }
    o.run = MAX(o.run, (size_t)1);
    return o;
}

/* ---- One call ------------------------------------------------------------------------------- */

static bool is_here(const struct op_call *c)
{
    const struct tensor *x = c->n_in > 0 ? c->in[0] : NULL, *w = c->n_in > 1 ? c->in[1] : NULL;
    return x && w && x->dtype == DT_F32 && w->dtype == DT_F32 && x->rank <= 4;
}

/* All but y. */
static int job_read(const struct op_call *c, struct mlas_conv *j, struct err *err)
{
    const struct tensor *b = c->n_in > 2 ? c->in[2] : NULL;
    *j = (struct mlas_conv){.x = c->in[0], .w = c->in[1]};
    int rc = conv_shape_read(c, j->x, j->w, &j->s, err);
    if (!rc && b && (b->dtype != DT_F32 || b->n != (size_t)j->s.o)) {
        rc = err_set(err, E_SHAPE, "bias has %zu values of %s, expected %lld float32", b->n,
                     dtype_name(b->dtype), (long long)j->s.o);
    }
    if (!rc) {
        j->bias = b ? b->data : NULL;
        j->order = choose_order(c->node, &j->s);
        j->taps = (size_t)(j->s.kh * j->s.kw);
        j->k = (size_t)j->s.cg * j->taps;
    }
    return rc;
}

/* ---- Reference ------------------------------------------------------------------------------ */

/* list[i]: which product in the order channel, ky, kx comes i-th. */
static void list_order(const struct mlas_conv *j, size_t *list)
{
    const size_t channels = (size_t)j->s.cg;
    for (size_t c0 = 0; c0 < channels; c0 += j->order.block) {
        const size_t n = MIN(j->order.block, channels - c0);
        for (size_t t = 0; t < j->taps; t++) {
            for (size_t c = 0; c < n; c++) {
                *list++ = (c0 + c) * j->taps + t;
            }
        }
    }
}

static float sum_chain(const struct mlas_conv *j, const size_t *list, const float *x,
                       const float *w)
{
    float total = 0;
    for (size_t k0 = 0; k0 < j->k; k0 += j->order.run) {
        float s = 0;
        for (size_t i = k0; i < MIN(j->k, k0 + j->order.run); i++) {
            s = fmaf(x[list[i]], w[list[i]], s);
        }
        total = k0 ? total + s : s;
    }
    return total;
}

static float sum_single(const struct mlas_conv *j, const float *x, const float *w)
{
    float total = 0;
    for (size_t k0 = 0; k0 < j->k; k0 += j->order.run) {
        const size_t end = MIN(j->k, k0 + j->order.run);
        for (size_t i = k0, n; i < end; i += n) {
            n = end - i >= 4 ? 4 : end - i >= 2 ? 2 : 1;
            float s = x[i] * w[i];
            for (size_t m = 1; m < n; m++) {
                s += x[i + m] * w[i + m];
            }
            total += s;
        }
    }
    return total;
}

/* The inputs of an output pixel of group g, in the order channel, ky, kx; by: elements of x from
 * channel to channel, and from pixel to pixel. */
static void gather(const struct mlas_conv *j, size_t image, size_t g, int64_t oy, int64_t ox,
                   const size_t by[2], float *dst)
{
    const struct conv_shape *s = &j->s;
    const float *x = (const float *)j->x->data + image * (size_t)(s->c * s->h * s->w);
    for (int64_t c = (int64_t)g * s->cg; c < (int64_t)(g + 1) * s->cg; c++) {
        for (int64_t ky = 0; ky < s->kh; ky++) {
            const int64_t y = oy * s->sh - s->pt + ky * s->dh;
            for (int64_t kx = 0; kx < s->kw; kx++) {
                const int64_t at = ox * s->sw - s->pl + kx * s->dw;
                const bool inside = y >= 0 && y < s->h && at >= 0 && at < s->w;
                *dst++ = inside ? x[(size_t)c * by[0] + (size_t)(y * s->w + at) * by[1]] : 0.0F;
            }
        }
    }
}

/* Output o of a pixel from its inputs. */
static float sum_of(const struct mlas_conv *j, const size_t *list, size_t o, size_t pixel,
                    const float *x)
{
    const size_t og = (size_t)(j->s.o / j->s.g), plane = (size_t)(j->s.oh * j->s.ow);
    const float *w = (const float *)j->w->data + o * j->k;
    const float sum = j->order.sum == SUM_CHAIN    ? sum_chain(j, list, x, w)
                      : j->order.sum == SUM_SINGLE ? sum_single(j, x, w)
                      : j->order.sum == SUM_PIXEL  ? mlas_sum_lanes(x, w, j->k, o % og, og)
                                                   : mlas_sum_lanes(x, w, j->k, pixel, plane);
    return j->bias ? sum + j->bias[o] : sum;
}

/* All outputs; last: with channels last, in and out. */
static void sum_all(const struct mlas_conv *j, bool last, const size_t *list, float *x)
{
    const struct conv_shape *s = &j->s;
    const size_t og = (size_t)(s->o / s->g), plane = (size_t)(s->oh * s->ow);
    const size_t by_in[] = {last ? 1 : (size_t)(s->h * s->w), last ? (size_t)s->c : 1};
    const size_t by_out[] = {last ? 1 : plane, last ? (size_t)s->o : 1};
    for (size_t i = 0; i < (size_t)s->n * plane; i++) {
        const size_t image = i / plane, pixel = i % plane;
        float *y = (float *)j->y->data + image * plane * (size_t)s->o + pixel * by_out[1];
        for (size_t g = 0; g < (size_t)s->g; g++) {
            gather(j, image, g, (int64_t)pixel / s->ow, (int64_t)pixel % s->ow, by_in, x);
            for (size_t o = g * og; o < (g + 1) * og; o++) {
                y[o * by_out[0]] = sum_of(j, list, o, pixel, x);
            }
        }
    }
}

static int run_plain(const struct mlas_conv *j, bool last, struct err *err)
{
    struct tensor *w = tensor_aligned(j->w);
    struct mlas_conv aligned = *j;
    size_t *list = NULL;
    float *x = NULL;
    int rc = w ? OK : err_set(err, E_LIMIT, "out of memory for %zu bytes of weights", j->w->size);
    rc = rc ? rc : scratch_new(j->k, sizeof *list, (void **)&list, err);
    rc = rc ? rc : scratch_new(j->k, sizeof *x, (void **)&x, err);
    if (!rc) {
        aligned.w = w;
        list_order(j, list);
        sum_all(&aligned, last, list, x);
    }
    scratch_free(list);
    scratch_free(x);
    tensor_free(w);
    return rc;
}

static int op_conv_ref(struct op_call *c, struct err *err)
{
    struct mlas_conv j;
    if (!is_here(c)) {
        return mlas_run_ordinary(c, err);
    }
    int rc = job_read(c, &j, err);
    rc = rc ? rc : op_out(c, 0, DT_F32, j.s.rank, j.s.out, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    j.y = c->out[0];
    return run_plain(&j, false, err);
}

/* ---- Fast ----------------------------------------------------------------------------------- */

enum way {
    WAY_PLAIN,
    WAY_DENSE, /* chains of several filters */
    WAY_PATCH, /* the same in the order channel, ky, kx: the products are brought into it first */
    WAY_DEPTH, /* chains of one filter per channel */
    WAY_FOURS, /* SUM_SINGLE of one filter per channel */
    WAY_PIXEL, /* SUM_PIXEL */
};

struct packed {
    enum way way; /* see form_of() */
    void *form;
};

static void packed_free(void *state)
{
    struct packed *p = state;
    if (p) {
        (p->way == WAY_DEPTH ? conv_depth_free : conv_dense_free)(p->form);
        free(p);
    }
}

static int packed_new(const struct node *n, const struct tensor *w, int64_t groups, enum way way,
                      struct packed **out, struct err *err)
{
    struct packed *p = mem_alloc(sizeof *p);
    p->way = way;
    struct tensor flat = op_alias(w); /* filters of one pixel, with all products as its channels */
    flat.rank = 2;
    flat.dims[1] = w->dims[0] ? (int64_t)w->n / w->dims[0] : 0;
    int rc = way == WAY_DEPTH ? conv_depth_pack(w, &p->form, err)
             : way == WAY_PATCH
                 ? conv_dense_pack(&flat, groups, 0, &p->form, err)
                 : conv_dense_pack(w, groups, block_of(n, w->dims[1]), &p->form, err);
    if (rc) {
        free(p);
        return rc;
    }
    *out = p;
    return OK;
}

/* Which of the forms constant weights are packed in; WAY_PLAIN: none. */
static enum way form_of(enum way way)
{
    return way == WAY_FOURS ? WAY_DEPTH : way == WAY_PIXEL ? WAY_PLAIN : way;
}

static enum way choose_way(const struct op_call *c, const struct mlas_conv *j, struct conv *v)
{
    const bool depthwise = j->s.g > 1 && j->s.cg == 1 && j->s.o == j->s.g;
    *v = (struct conv){.groups = j->s.g,
                       .ic = j->s.cg,
                       .oc = j->s.o / j->s.g,
                       .x = j->x,
                       .wt = j->w,
                       .bias = c->n_in > 2 ? c->in[2] : NULL,
                       .block = j->taps == 1 ? j->order.run : j->order.block};
    if (kernel_f32() == &kernel_f32_plain || j->k == 0 ||
        window_read(c, j->x, j->w->dims + 2, &v->w, NULL)) {
        return WAY_PLAIN;
    }
    switch (j->order.sum) {
    case SUM_SINGLE:
        return depthwise && j->k <= MLAS_FOURS ? WAY_FOURS : WAY_PLAIN;
    case SUM_PIXEL:
        return WAY_PIXEL;
    case SUM_PLANE:
        return WAY_PLAIN;
    default:
        return depthwise && j->order.run >= j->k && conv_depth_fits(&v->w) ? WAY_DEPTH
               : !j->order.blocked && j->taps > 1 && j->taps <= MLAS_FOURS ? WAY_PATCH
               : conv_dense_fits(&v->w)                                    ? WAY_DENSE
                                                                           : WAY_PLAIN;
    }
}

static enum op_layout conv_order(const struct op_call *c)
{
    struct mlas_conv j;
    struct conv v;
    const bool ours = is_here(c) && job_read(c, &j, NULL) == OK;
    return ours && choose_way(c, &j, &v) != WAY_PLAIN ? LAYOUT_LAST : LAYOUT_ROWS;
}

/* What comes behind the sums, see f32_finish_rows(). */
struct finishing {
    struct f32_dest y;
    const float *bias; /* NULL: it is in the sums */
    struct depth_job depth;
};

static void finish_rows(void *ctx, size_t from, size_t to)
{
    const struct finishing *f = ctx;
    f32_finish_rows(&f->y, from, to, f->y.pitch, f->bias);
}

static void finish_all(struct finishing *f, size_t rows, struct par *par)
{
    enum { ROWS = 64 };
    if (f->bias || f->y.act) {
        par_pieces(par, rows, ROWS, finish_rows, f);
    }
}

/* Row i of all images, and what comes behind while it is in the cache. */
static void run_depth(void *ctx, size_t i)
{
    struct finishing *f = ctx;
    const size_t width = (size_t)f->depth.v->w.out[2];
    conv_depth_rows(&f->depth, i, i + 1);
    finish_rows(f, i * width, (i + 1) * width);
}

static int depth_all(const struct op_call *c, const struct conv *v, const void *form,
                     struct finishing *f, struct err *err)
{
    const struct f32_dest sums = {.raw = f->y.raw ? f->y.raw : f->y.act};
    int rc = conv_depth_begin(v, form, sums, c->budget, &f->depth, err);
    if (!rc) {
        par_for(c->par, (size_t)(v->w.n * v->w.out[0] * v->w.out[1]), run_depth, f);
        conv_depth_end(&f->depth);
    }
    return rc;
}

static int run_form(const struct op_call *c, const struct mlas_conv *j, struct conv *v,
                    enum way way, const void *form, struct f32_dest y, struct err *err)
{
    if (way == WAY_DENSE) {
        return conv_dense_run(v, form, y, c->par, c->budget, err);
    }
    if (way == WAY_PATCH) {
        return mlas_run_patches(c, j, v, form, y, err);
    }
    struct finishing f = {.y = y, .bias = j->bias};
    v->bias = NULL; /* those kernels begin with it */
    v->block = 0;
    if (way == WAY_DEPTH) {
        return depth_all(c, v, form, &f, err);
    }
    int rc = mlas_run_fours(j, form, c->par, err);
    if (!rc) {
        finish_all(&f, j->y->n / y.pitch, c->par);
    }
    return rc;
}

static int op_conv_fast(struct op_call *c, struct err *err)
{
    struct mlas_conv j;
    struct conv v;
    struct packed *own = NULL;
    const struct packed *p = c->state;
    if (!is_here(c)) {
        return mlas_run_ordinary(c, err);
    }
    int rc = job_read(c, &j, err);
    const enum way way = rc ? WAY_PLAIN : choose_way(c, &j, &v);
    if (rc || way == WAY_PLAIN || !c->channels_last) {
        return rc ? rc : op_conv_ref(c, err);
    }
    struct f32_dest y = {.pitch = (size_t)j.s.o};
    rc = op_out_tail(c, j.s.rank, j.s.out, &y.raw, &y.act, err);
    j.y = c->out[0] ? c->out[0] : c->tail_out;
    if (rc || j.y->n == 0) {
        return rc;
    }
    y.lo = c->tail ? c->tail->lo : 0;
    y.hi = c->tail ? c->tail->hi : 0;
    if (way == WAY_PIXEL) {
        struct finishing f = {.y = y};
        rc = run_plain(&j, true, err);
        finish_all(&f, rc ? 0 : j.y->n / y.pitch, c->par);
        return rc;
    }
    if (!p || p->way != form_of(way)) {
        rc = packed_new(c->node, j.w, j.s.g, form_of(way), &own, err);
        p = own;
    }
    rc = rc ? rc : run_form(c, &j, &v, way, p->form, y, err);
    packed_free(own);
    return rc;
}

/* Packs constant weights in the form that is likely. */
static int op_conv_prepare(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *w = p->n_in > 1 ? p->constants[1] : NULL;
    const int64_t groups = attr_int(p->node, "group", 1);
    if (!w || w->dtype != DT_F32 || w->rank < 3 || w->rank > 4 || w->n == 0 || groups < 1 ||
        w->dims[0] % groups || kernel_f32() == &kernel_f32_plain) {
        return OK;
    }
    const bool depthwise = groups > 1 && w->dims[1] == 1 && w->dims[0] == groups;
    const bool pointwise = w->n == (size_t)(w->dims[0] * w->dims[1]);
    const enum way way = depthwise                                  ? WAY_DEPTH
                         : !pointwise && !order_is_blocked(p->node) ? WAY_PATCH
                                                                    : WAY_DENSE;
    struct packed *packed = NULL;
    int rc = packed_new(p->node, w, groups, way, &packed, err);
    *state = packed;
    return rc;
}

// clang-format off
const struct op op_mlas_conv[] = {
    {.name = "Conv", .domain = fuse_mlas_domain, .since = 1, .min_in = 2, .max_in = 3, .ref = op_conv_ref, .fast = op_conv_fast, .prepare = op_conv_prepare, .release = packed_free, .layout = conv_order, .tails = true, .any_address = 1u << 1, .spec = "ORT Conv, order of sums"},
    {0},
};
// clang-format on
