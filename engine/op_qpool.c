/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qpool.c: QLinearAveragePool and QLinearGlobalAveragePool of onnxruntime's com.microsoft
 * domain. Plain kernels take planes one after the other, fast ones all channels of a pixel at a
 * time. Formulas are those of onnxruntime 1.32 on x86, found by experiment.
 */
#include "engine/elem.h"
#include "engine/op_quant.h"
#include "engine/window.h"

enum { LANES = 64 }; /* channels that fast kernels take at a time */

/* ---- Means of whole planes ------------------------------------------------------------------ */

/* Means of `each` codes: acc = sum - each * zx, then as QLinearConv with m = sx / (sy * each). */
struct mean {
    const struct tensor *x;
    struct tensor *y;
    size_t each;
    uint32_t start; /* what sums of codes start with */
    float scale;
    struct finish f;
};

static void mean_init(struct mean *m, const struct tensor *x, size_t each, const struct q1 *qx,
                      const struct q1 *qy, struct tensor *y)
{
    *m = (struct mean){.x = x, .y = y, .each = each};
    m->start = 0u - (uint32_t)each * (uint32_t)qx->z;
    m->scale = qx->s / (qy->s * (float)each);
    m->f = (struct finish){.dtype = qy->dtype,
                           .scale = &m->scale,
                           .lo = (float)(qy->qmin - qy->z),
                           .hi = (float)(qy->qmax - qy->z),
                           .z = qy->z};
}

static void mean_rows(const struct mean *m)
{
    for (size_t i = 0; i < m->y->n; i++) {
        uint32_t sum = m->start;
        for (size_t k = 0; k < m->each; k++) {
            sum += (uint32_t)code_at(m->x, i * m->each + k);
        }
        finish_one(&m->f, 0, (int32_t)sum, 0, (uint8_t *)m->y->data + i);
    }
}

/* sum[c] += x[c] for n pixels, `step` apart. */
#define SUM_PIXELS(name, type)                                                                     \
    VECTOR_CLONES static void name(const type *restrict x, size_t n, size_t step, size_t channels, \
                                   uint32_t *restrict sum)                                         \
    {                                                                                              \
        for (size_t i = 0; i < n; i++, x += step) {                                                \
            for (size_t c = 0; c < channels; c++) {                                                \
                sum[c] += (uint32_t)x[c];                                                          \
            }                                                                                      \
        }                                                                                          \
    }
SUM_PIXELS(sum_u8, uint8_t)
SUM_PIXELS(sum_s8, int8_t)

static void mean_last(const struct mean *m)
{
    const size_t channels = (size_t)m->x->dims[1];
    for (size_t i = 0, n; i < m->y->n; i += n) { /* result i is channel c of an image */
        const size_t c = i % channels, at = i / channels * m->each * channels + c;
        uint32_t sum[LANES];
        n = MIN(channels - c, (size_t)LANES);
        for (size_t k = 0; k < n; k++) {
            sum[k] = m->start;
        }
        if (m->x->dtype == DT_S8) {
            sum_s8((const int8_t *)m->x->data + at, m->each, channels, n, sum);
        } else {
            sum_u8((const uint8_t *)m->x->data + at, m->each, channels, n, sum);
        }
        for (size_t k = 0; k < n; k++) {
            finish_one(&m->f, 0, (int32_t)sum[k], 0, (uint8_t *)m->y->data + i + k);
        }
    }
}

static int global_pool(struct op_call *c, bool fast, struct err *err)
{
    struct q1 qx, qy;
    int64_t dims[MAX_RANK];
    int rc = q1_read_unary(c, &qx, &qy, err);
    if (rc) {
        return rc;
    }
    const struct tensor *x = c->in[0];
    if (x->rank < 3) {
        return err_set(err, E_SHAPE, "input has rank %d, expected at least 3", x->rank);
    }
    size_t each = 1;
    for (int i = 0; i < x->rank; i++) {
        dims[i] = i < 2 ? x->dims[i] : 1;
        each *= i < 2 ? 1 : (size_t)x->dims[i];
    }
    rc = op_out(c, 0, qy.dtype, x->rank, dims, err);
    if (!rc && x->n == 0 && c->out[0]->n) {
        return err_set(err, E_SHAPE, "mean of an empty plane");
    }
    if (!rc) {
        struct mean m;
        mean_init(&m, x, each, &qx, &qy, c->out[0]);
        (fast && c->channels_last ? mean_last : mean_rows)(&m);
    }
    return rc;
}

static int op_qlinear_global_average_pool(struct op_call *c, struct err *err)
{
    return global_pool(c, false, err);
}

static int op_qlinear_global_average_pool_fast(struct op_call *c, struct err *err)
{
    return global_pool(c, true, err);
}

/* ---- Means of windows ----------------------------------------------------------------------- */

/* Means in float over what lies inside the input; y = saturate(rne(mean / sy + zy)). */
struct pool {
    struct window w;
    struct q1 qx, qy;
    bool with_pad; /* pixels outside of the input count */
    const uint8_t *x;
    uint8_t *y;
};

/* The real number of a stored byte. */
static float real_of(const struct q1 *q, uint8_t byte)
{
    int32_t code = q->dtype == DT_S8 ? (int8_t)byte : byte;
    return q->s * (float)(code - q->z);
}

/* Places of a window's elements within a plane, in their order. */
struct places {
    int64_t k0[WINDOW_RANK], k1[WINDOW_RANK], i[WINDOW_RANK];
    int64_t first[WINDOW_RANK]; /* of kernel position 0 */
    int64_t count;
};

static void places_init(struct places *p, const struct window *w, size_t at)
{
    p->count = 1;
    for (int a = WINDOW_RANK - 1; a >= 0; a--) {
        const int64_t o = (int64_t)(at % (size_t)w->out[a]);
        at /= (size_t)w->out[a];
        window_clip(w, a, o, &p->k0[a], &p->k1[a]);
        p->first[a] = o * w->s[a] - w->lo[a];
        p->i[a] = p->k0[a];
        p->count *= p->k1[a] - p->k0[a];
    }
}

static size_t places_at(const struct places *p, const struct window *w)
{
    int64_t at = 0;
    for (int a = 0; a < WINDOW_RANK; a++) {
        at = at * w->in[a] + p->first[a] + p->i[a] * w->d[a];
    }
    return (size_t)at;
}

static void places_next(struct places *p)
{
    for (int a = WINDOW_RANK - 1; a >= 0 && ++p->i[a] == p->k1[a]; a--) {
        p->i[a] = p->k0[a];
    }
}

static float divisor(const struct pool *p, int64_t count)
{
    return (float)(p->with_pad ? p->w.k_n : count);
}

static uint8_t mean_code(const struct q1 *q, float mean)
{
    const float v = mean / q->s + (float)q->z;
    return (uint8_t)(saturate_x86(v, (float)q->qmin, (float)q->qmax) - q->shift);
}

static void pool_rows(const struct pool *p)
{
    const struct window *w = &p->w;
    const size_t out_n = (size_t)w->out_n, n = (size_t)(w->n * w->c) * out_n;
    float real[256];
    for (int i = 0; i < 256; i++) {
        real[i] = real_of(&p->qx, (uint8_t)i);
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *plane = p->x + i / out_n * (size_t)w->in_n;
        struct places at;
        float sum = 0;
        places_init(&at, w, i % out_n);
        for (int64_t k = 0; k < at.count; k++, places_next(&at)) {
            sum += real[plane[places_at(&at, w)]];
        }
        p->y[i] = mean_code(&p->qy, sum / divisor(p, at.count));
    }
}

VECTOR_CLONES static void add_reals(const uint8_t *restrict x, size_t n,
                                    const struct q1 *restrict q, float *restrict sum)
{
    const bool is_signed = q->dtype == DT_S8;
    for (size_t c = 0; c < n; c++) {
        const int32_t code = is_signed ? (int8_t)x[c] : x[c];
        sum[c] += q->s * (float)(code - q->z);
    }
}

VECTOR_CLONES static void put_means(const float *restrict sum, size_t n, float divide,
                                    const struct q1 *restrict q, uint8_t *restrict y)
{
    for (size_t c = 0; c < n; c++) {
        y[c] = mean_code(q, sum[c] / divide);
    }
}

static void pool_last(const struct pool *p)
{
    const struct window *w = &p->w;
    const size_t out_n = (size_t)w->out_n, channels = (size_t)w->c;
    for (size_t i = 0; i < (size_t)w->n * out_n; i++) {
        const uint8_t *image = p->x + i / out_n * (size_t)w->in_n * channels;
        for (size_t c = 0; c < channels; c += LANES) {
            const size_t n = MIN(channels - c, (size_t)LANES);
            struct places at;
            float sum[LANES] = {0};
            places_init(&at, w, i % out_n);
            for (int64_t k = 0; k < at.count; k++, places_next(&at)) {
                add_reals(image + places_at(&at, w) * channels + c, n, &p->qx, sum);
            }
            put_means(sum, n, divisor(p, at.count), &p->qy, p->y + i * channels + c);
        }
    }
}

static int average_pool(struct op_call *c, bool fast, struct err *err)
{
    struct pool p;
    int64_t dims[MAX_RANK];
    int rc = q1_read_unary(c, &p.qx, &p.qy, err);
    rc = rc ? rc : window_read(c, c->in[0], NULL, &p.w, err);
    int rank = rc ? 0 : window_dims(&p.w, p.w.c, dims);
    rc = rc ? rc : op_out(c, 0, p.qy.dtype, rank, dims, err);
    if (rc) {
        return rc;
    }
    const bool last = fast && c->channels_last;
    if (window_is_whole(&p.w)) { /* onnxruntime then takes the integer mean */
        struct mean m;
        mean_init(&m, c->in[0], (size_t)p.w.in_n, &p.qx, &p.qy, c->out[0]);
        (last ? mean_last : mean_rows)(&m);
        return OK;
    }
    p.with_pad = attr_int(c->node, "count_include_pad", 0) != 0;
    p.x = c->in[0]->data;
    p.y = c->out[0]->data;
    q1_shift(c, &p.qy);
    (last ? pool_last : pool_rows)(&p);
    return OK;
}

static int op_qlinear_average_pool(struct op_call *c, struct err *err)
{
    return average_pool(c, false, err);
}

static int op_qlinear_average_pool_fast(struct op_call *c, struct err *err)
{
    return average_pool(c, true, err);
}

static enum op_layout pool_order(const struct op_call *c)
{
    (void)c;
    return LAYOUT_LAST;
}

static const char ms[] = "com.microsoft";

// clang-format off
const struct op op_qpool[] = {
    {.name = "QLinearAveragePool", .domain = ms, .since = 1, .min_in = 4, .max_in = 5, .ref = op_qlinear_average_pool, .fast = op_qlinear_average_pool_fast, .layout = pool_order, .spec = "ORT QLinearAveragePool-1"},
    {.name = "QLinearGlobalAveragePool", .domain = ms, .since = 1, .min_in = 5, .max_in = 5, .ref = op_qlinear_global_average_pool, .fast = op_qlinear_global_average_pool_fast, .layout = pool_order, .spec = "ORT QLinearGlobalAveragePool-1"},
    {0},
};
// clang-format on
