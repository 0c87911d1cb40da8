/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qconv.c: QLinearConv and ConvInteger in one and two spatial dimensions. Dense convolutions
 * multiply four interleaved channels at a time, depthwise ones four taps; conv_layout.h tells how
 * the input lies.
 */
#include "engine/conv_layout.h"
#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- One call: tensors, parameters, what differs between the two operators ------------------ */

struct conv {
    struct conv_shape g;
    const struct tensor *x, *w, *bias;
    const struct tensor *sw, *zw; /* per tensor or output channel; sw NULL for ConvInteger */
    struct q1 qx, qy;             /* qx.s and qy are unset for ConvInteger */
    enum dtype dtype;             /* of the output */
    struct tensor *y;
};

/* Zero point of the whole input tensor of ConvInteger. */
static int read_zero(const struct tensor *z, const struct tensor *t, int32_t *out, struct err *err)
{
    if (z && (z->n != 1 || z->dtype != t->dtype)) {
        return err_set(err, E_SHAPE, "zero point has %zu values of %s, expected one %s", z->n,
                       dtype_name(z->dtype), dtype_name(t->dtype));
    }
    *out = zero_at(z, 0);
    return OK;
}

static int conv_check(const struct conv *v, struct err *err)
{
    size_t o = (size_t)v->g.o;
    int rc = per_channel_check(v->sw, o, "weight scale", err);
    rc = rc ? rc : per_channel_check(v->zw, o, "weight zero point", err);
    if (!rc && v->zw && v->zw->dtype != v->w->dtype) {
        rc = err_set(err, E_SHAPE, "weights are %s, their zero point is %s",
                     dtype_name(v->w->dtype), dtype_name(v->zw->dtype));
    }
    if (!rc && v->bias && (v->bias->dtype != DT_S32 || v->bias->n != o)) {
        rc = err_set(err, E_SHAPE, "bias has %zu values of %s, expected %zu int32", v->bias->n,
                     dtype_name(v->bias->dtype), o);
    }
    return rc;
}

/* Fills v from the inputs and allocates the output. integer: ConvInteger. */
static int conv_open(struct op_call *c, bool integer, struct conv *v, struct err *err)
{
    const struct tensor *const *in = c->in;
    *v = (struct conv){.x = in[0], .w = in[integer ? 1 : 3]};
    if (!is_code(v->x) || !is_code(v->w)) {
        return err_set(err, E_SHAPE, "input and weights should be uint8 or int8");
    }
    int rc;
    if (integer) {
        v->zw = c->n_in > 3 ? in[3] : NULL;
        v->dtype = DT_S32;
        rc = read_zero(c->n_in > 2 ? in[2] : NULL, v->x, &v->qx.z, err);
    } else {
        v->sw = in[4];
        v->zw = in[5];
        v->bias = c->n_in > 8 ? in[8] : NULL;
        rc = q1_read_for(c, 0, 1, 2, &v->qx, err);
        rc = rc ? rc : q1_read(c, 6, 7, v->x->dtype, &v->qy, err);
        v->dtype = c->sums ? DT_S32 : v->qy.dtype;
        if (!rc && (!v->sw || v->sw->dtype != DT_F32)) {
            rc = err_set(err, E_SHAPE, "input 4 should be float32 weight scales");
        }
    }
    rc = rc ? rc : conv_shape_read(c, v->x, v->w, &v->g, err);
    rc = rc ? rc : conv_check(v, err);
    rc = rc ? rc : op_out(c, 0, v->dtype, v->g.rank, v->g.out, err);
    v->y = c->out[0];
    return rc;
}

/* Scale of output channel o: a float product, then a float division. */
static float conv_scale(const struct conv *v, size_t o)
{
    return v->sw ? v->qx.s * scale_at(v->sw, o) / v->qy.s : 1.0F;
}

static struct finish conv_finish(const struct conv *v, size_t o)
{
    return (struct finish){
        .add = v->bias ? ((const int32_t *)v->bias->data)[o] : 0,
        .scale = conv_scale(v, o),
        .lo = (float)(v->qy.qmin - v->qy.z),
        .hi = (float)(v->qy.qmax - v->qy.z),
        .z = v->qy.z,
    };
}

/* ---- Reference ------------------------------------------------------------------------------ */

/* acc = sum over ic, ky, kx of (x[iy, ix] - zx) * (w - zw); pixels outside the input are zx. */
static int32_t conv_sum(const struct conv *v, int64_t n, int64_t o, int64_t oy, int64_t ox)
{
    const struct conv_shape *g = &v->g;
    int64_t c0 = o / (g->o / g->g) * g->cg;
    int32_t zw = zero_at(v->zw, (size_t)o);
    uint32_t sum = 0; /* wraps like the 32-bit sums of the fast kernels */
    for (int64_t ic = 0; ic < g->cg; ic++) {
        for (int64_t ky = 0; ky < g->kh; ky++) {
            int64_t iy = oy * g->sh - g->pt + ky * g->dh;
            for (int64_t kx = 0; iy >= 0 && iy < g->h && kx < g->kw; kx++) {
                int64_t ix = ox * g->sw - g->pl + kx * g->dw;
                if (ix < 0 || ix >= g->w) {
                    continue;
                }
                size_t xi = (size_t)(((n * g->c + c0 + ic) * g->h + iy) * g->w + ix);
                size_t wi = (size_t)(((o * g->cg + ic) * g->kh + ky) * g->kw + kx);
                sum += (uint32_t)((code_at(v->x, xi) - v->qx.z) * (code_at(v->w, wi) - zw));
            }
        }
    }
    return (int32_t)sum;
}

static int conv_ref(struct op_call *c, bool integer, struct err *err)
{
    struct conv v;
    int rc = conv_open(c, integer, &v, err);
    if (rc) {
        return rc;
    }
    size_t i = 0, size = dtype_size(v.dtype);
    for (int64_t n = 0; n < v.g.n && v.y->n; n++) {
        for (int64_t o = 0; o < v.g.o; o++) {
            struct finish f = conv_finish(&v, (size_t)o);
            for (int64_t oy = 0; oy < v.g.oh; oy++) {
                for (int64_t ox = 0; ox < v.g.ow; ox++, i++) {
                    int32_t acc = conv_sum(&v, n, o, oy, ox);
                    finish_row(&kernel_int8_plain, v.dtype, &acc, 1, &f,
                               (char *)v.y->data + i * size);
                }
            }
        }
    }
    return OK;
}

/* ---- Packed weights ------------------------------------------------------------------------- */

/* Weights in the order the kernels read them, as w' = w - shift[o] in s8. */
struct pack {
    bool depthwise;
    size_t o, taps; /* taps: steps of QUAD weights per output channel */
    int8_t *w;      /* dense [g][og/8][taps][8][4], depthwise [o][taps][4] */
    int8_t *ones;   /* as w for one block of rows that sums the input; NULL if no zero is left */
    int32_t *sum;   /* sum of w' per output channel */
    int32_t *zero;  /* zw - shift per output channel */
};

static void pack_free(void *state)
{
    struct pack *p = state;
    if (p) {
        free(p->w);
        free(p->ones);
        free(p->sum);
        free(p->zero);
        free(p);
    }
}

/* The shift that makes all n codes at w + at fit s8: the zero point itself if it can, since then
 * no correction is left to do; else what maps the whole type onto s8. */
static int32_t choose_shift(const struct tensor *w, size_t at, size_t n, int32_t zw)
{
    for (size_t i = 0; i < n; i++) {
        int32_t d = code_at(w, at + i) - zw;
        if (d < INT8_MIN || d > INT8_MAX) {
            return w->dtype == DT_U8 ? 128 : 0;
        }
    }
    return zw;
}

/* Place of weight (ic, k) of output channel o within pack.w. */
static size_t pack_place(const struct pack *p, size_t og, size_t o, size_t ic, size_t k, size_t kn)
{
    if (p->depthwise) {
        return o * p->taps * QUAD + k;
    }
    size_t blocks = (og + TILE_ROWS - 1) / TILE_ROWS;
    size_t block = o / og * blocks + o % og / TILE_ROWS;
    size_t tap = ic / QUAD * kn + k;
    return ((block * p->taps + tap) * TILE_ROWS + o % og % TILE_ROWS) * QUAD + ic % QUAD;
}

/* Sums and zero points for the corrections, and the rows of ones if those are needed. */
static int pack_sums(struct pack *p, const struct tensor *w, const struct tensor *zw, size_t og,
                     size_t kn, struct err *err)
{
    size_t cg = (size_t)w->dims[1], each = cg * kn;
    bool zeros = false;
    for (size_t o = 0; o < p->o; o++) {
        int32_t shift = choose_shift(w, o * each, each, zero_at(zw, o));
        uint32_t sum = 0;
        for (size_t i = 0; i < each; i++) {
            int32_t v = code_at(w, o * each + i) - shift;
            p->w[pack_place(p, og, o, i / kn, i % kn, kn)] = (int8_t)v;
            sum += (uint32_t)v;
        }
        p->sum[o] = (int32_t)sum;
        p->zero[o] = zero_at(zw, o) - shift;
        zeros = zeros || p->zero[o] != 0;
    }
    if (!zeros) {
        return OK;
    }
    size_t n = p->taps * QUAD * (p->depthwise ? 1 : TILE_ROWS);
    int rc = scratch_new(n, 1, (void **)&p->ones, err);
    if (!rc) {
        memset(p->ones, 1, n);
        if (p->depthwise) {
            memset(p->ones + kn, 0, n - kn); /* the padding of the last quad */
        }
    }
    return rc;
}

static int pack_new(const struct tensor *w, const struct tensor *zw, int64_t groups,
                    struct pack **out, struct err *err)
{
    struct pack *p = mem_alloc(sizeof *p);
    size_t g = (size_t)groups, o = (size_t)w->dims[0], og = o / g, cg = (size_t)w->dims[1];
    size_t kn = 1, rows = o, bytes = 0;
    for (int i = 2; i < w->rank; i++) {
        kn *= (size_t)w->dims[i]; /* part of w->n: cannot overflow */
    }
    p->o = o;
    p->depthwise = cg == 1 && g > 1;
    p->taps = p->depthwise ? (kn + QUAD - 1) / QUAD : (cg + QUAD - 1) / QUAD * kn;
    if (!p->depthwise) {
        rows = g * ((og + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS);
    }
    int rc = OK;
    if (!mul_ok(rows, p->taps, &bytes)) {
        rc = err_set(err, E_LIMIT, "weights too large to pack");
    }
    rc = rc ? rc : scratch_new(bytes, QUAD, (void **)&p->w, err);
    rc = rc ? rc : scratch_new(o, sizeof *p->sum, (void **)&p->sum, err);
    rc = rc ? rc : scratch_new(o, sizeof *p->zero, (void **)&p->zero, err);
    if (!rc) {
        memset(p->w, 0, bytes * QUAD);
        rc = pack_sums(p, w, zw, og, kn, err);
    }
    if (rc) {
        pack_free(p);
        return rc;
    }
    *out = p;
    return OK;
}

/* ---- Fast path ------------------------------------------------------------------------------ */

/* What a tile needs to know about where its rows go. */
struct target {
    const struct int8_kernels *k;
    enum dtype dtype;
    size_t size; /* bytes per element */
    size_t cols, n_pieces;
    struct conv_piece pieces[LANE_COLS];
};

/* One row of accumulators into one output plane. */
static void put_row(const struct target *t, const int32_t *acc, const struct finish *f, char *plane)
{
    if (t->n_pieces == 1 && t->pieces[0].from == 0) {
        finish_row(t->k, t->dtype, acc, t->pieces[0].n, f, plane + t->pieces[0].to * t->size);
        return;
    }
    _Alignas(16) char row[LANE_COLS * sizeof(int32_t)];
    finish_row(t->k, t->dtype, acc, t->cols, f, row);
    for (size_t i = 0; i < t->n_pieces; i++) {
        const struct conv_piece *p = &t->pieces[i];
        memcpy(plane + p->to * t->size, row + p->from * t->size, p->n * t->size);
    }
}

/* Everything one call of the fast path works with. */
struct job {
    const struct conv *v;
    const struct pack *p;
    struct conv_layout l;
    struct finish *rows; /* per output channel */
    const struct int8_kernels *k;
};

/* sum (x - zx)(w - zw) = sum x w - zx sum w - zw sum x + K zx zw, all mod 2^32. The first and the
 * last two terms that do not depend on the pixel go to `add`, the other one to `mul`. */
static int job_rows(struct job *j, struct err *err)
{
    const struct conv *v = j->v;
    int rc = scratch_new((size_t)v->g.o, sizeof *j->rows, (void **)&j->rows, err);
    uint32_t zx = j->l.zero, n = (uint32_t)(v->g.cg * v->g.kh * v->g.kw);
    for (size_t o = 0; !rc && o < (size_t)v->g.o; o++) {
        struct finish *f = &j->rows[o];
        uint32_t zw = (uint32_t)j->p->zero[o];
        *f = conv_finish(v, o);
        f->add = (int32_t)((uint32_t)f->add - zx * (uint32_t)j->p->sum[o] + n * zx * zw);
        f->mul = (int32_t)-zw;
    }
    return rc;
}

/* Output planes of group gi of image n; the layout holds its input. */
static void run_dense(const struct job *j, size_t n, size_t gi, struct target *t)
{
    const struct pack *p = j->p;
    size_t o = p->o, og = o / (size_t)j->v->g.g, plane = (size_t)(j->v->g.oh * j->v->g.ow);
    size_t blocks = (og + TILE_ROWS - 1) / TILE_ROWS, step = p->taps * TILE_ROWS * QUAD;
    _Alignas(64) int32_t acc[TILE_ROWS * TILE_COLS], sums[TILE_ROWS * TILE_COLS];
    for (size_t p0 = 0; p0 < j->l.pixels; p0 += TILE_COLS) {
        const uint8_t *x = j->l.data + p0 * QUAD;
        t->cols = MIN(j->l.pixels - p0, (size_t)TILE_COLS);
        t->n_pieces = conv_pieces(&j->l, p0, t->cols, t->pieces);
        int cols = (int)((t->cols + 15) / 16 * 16);
        if (p->ones) {
            j->k->tile(x, j->l.off, p->taps, p->ones, cols, sums);
        }
        for (size_t b = 0; b < blocks; b++) {
            j->k->tile(x, j->l.off, p->taps, p->w + (gi * blocks + b) * step, cols, acc);
            for (size_t i = 0; i < TILE_ROWS && b * TILE_ROWS + i < og; i++) {
                size_t c = gi * og + b * TILE_ROWS + i;
                struct finish f = j->rows[c];
                f.col_mul = f.mul ? sums : NULL;
                char *y = (char *)j->v->y->data + (n * o + c) * plane * t->size;
                put_row(t, acc + i * TILE_COLS, &f, y);
            }
        }
    }
}

static void run_depthwise(const struct job *j, size_t n, size_t gi, struct target *t)
{
    const struct pack *p = j->p;
    size_t o = p->o, og = o / (size_t)j->v->g.g, plane = (size_t)(j->v->g.oh * j->v->g.ow);
    _Alignas(64) int32_t acc[LANE_COLS], sums[LANE_COLS];
    for (size_t p0 = 0; p0 < j->l.pixels; p0 += LANE_COLS) {
        const uint8_t *x = j->l.data + p0;
        t->cols = MIN(j->l.pixels - p0, (size_t)LANE_COLS);
        t->n_pieces = conv_pieces(&j->l, p0, t->cols, t->pieces);
        if (p->ones) {
            j->k->lanes(x, j->l.off, p->taps, p->ones, sums);
        }
        for (size_t c = gi * og; c < (gi + 1) * og; c++) {
            struct finish f = j->rows[c];
            f.col_mul = f.mul ? sums : NULL;
            j->k->lanes(x, j->l.off, p->taps, p->w + c * p->taps * QUAD, acc);
            put_row(t, acc, &f, (char *)j->v->y->data + (n * o + c) * plane * t->size);
        }
    }
}

static int conv_fast(struct op_call *c, bool integer, struct err *err)
{
    struct conv v;
    struct pack *own = NULL;
    struct job j = {.v = &v, .p = c->state, .k = kernel_int8()};
    int rc = conv_open(c, integer, &v, err);
    if (rc || v.y->n == 0) {
        return rc;
    }
    if (!j.p) {
        rc = pack_new(v.w, v.zw, v.g.g, &own, err);
        j.p = own;
    }
    if (!rc) {
        bool dw = j.p->depthwise;
        rc = conv_layout_init(&j.l, &v.g, 1, dw ? 1 : QUAD, j.p->taps * (dw ? QUAD : 1), err);
    }
    j.l.flip = v.x->dtype == DT_S8 ? 0x80 : 0;
    j.l.zero = (uint8_t)v.qx.z ^ j.l.flip;
    rc = rc ? rc : job_rows(&j, err);
    struct target t = {.k = j.k, .dtype = v.dtype, .size = dtype_size(v.dtype)};
    size_t each = (size_t)(v.g.cg * v.g.h * v.g.w), groups = (size_t)v.g.g;
    for (size_t i = 0; !rc && i < (size_t)v.g.n * groups; i++) {
        conv_layout_fill(&j.l, (const uint8_t *)v.x->data + i * each);
        if (j.p->depthwise) {
            run_depthwise(&j, i / groups, i % groups, &t);
        } else {
            run_dense(&j, i / groups, i % groups, &t);
        }
    }
    conv_layout_fini(&j.l);
    free(j.rows);
    pack_free(own);
    return rc;
}

/* Packs constant weights whose shape makes sense; anything else is left to the call, which tells
 * what is wrong with it. */
static int conv_prepare(const struct op_prep *p, int weight, int zero, void **state,
                        struct err *err)
{
    const struct tensor *w = weight < p->n_in ? p->constants[weight] : NULL;
    const struct tensor *zw = zero < p->n_in ? p->constants[zero] : NULL;
    int64_t groups = attr_int(p->node, "group", 1);
    bool zero_varies = zero < p->n_in && p->node->in[zero] >= 0 && !zw;
    if (!is_code(w) || zero_varies || w->rank < 3 || w->rank > 4 || w->n == 0 || groups < 1 ||
        w->dims[0] % groups || (zw && zw->n != 1 && zw->n != (size_t)w->dims[0])) {
        return OK;
    }
    struct pack *pack = NULL;
    int rc = pack_new(w, zw, groups, &pack, err);
    *state = pack;
    return rc;
}

/* ---- Operators ------------------------------------------------------------------------------ */

static int op_qlinear_conv(struct op_call *c, struct err *err)
{
    return conv_ref(c, false, err);
}

static int op_qlinear_conv_fast(struct op_call *c, struct err *err)
{
    return conv_fast(c, false, err);
}

static int op_qlinear_conv_prepare(const struct op_prep *p, void **state, struct err *err)
{
    return conv_prepare(p, 3, 5, state, err);
}

static int op_conv_integer(struct op_call *c, struct err *err)
{
    return conv_ref(c, true, err);
}

static int op_conv_integer_fast(struct op_call *c, struct err *err)
{
    return conv_fast(c, true, err);
}

static int op_conv_integer_prepare(const struct op_prep *p, void **state, struct err *err)
{
    return conv_prepare(p, 1, 3, state, err);
}

// clang-format off
const struct op op_qconv[] = {
    {.name = "QLinearConv", .since = 10, .min_in = 8, .max_in = 9, .ref = op_qlinear_conv, .fast = op_qlinear_conv_fast, .prepare = op_qlinear_conv_prepare, .release = pack_free, .spec = "ONNX QLinearConv-10"},
    {.name = "ConvInteger", .since = 10, .min_in = 2, .max_in = 4, .ref = op_conv_integer, .fast = op_conv_integer_fast, .prepare = op_conv_integer_prepare, .release = pack_free, .spec = "ONNX ConvInteger-10"},
    {0},
};
// clang-format on
