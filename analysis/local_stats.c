/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * local_stats.c: measures one layer alone, and what its own output codes take of it: the noise of
 * clipping and that of rounding. Sums are doubles in lanes, so that their order does not depend on
 * the width of a register.
 */
#include "analysis/judge.h"
#include "analysis/stats.h"

#include <math.h>
#include <stdlib.h>

/* ---- Noise of a quantizer -------------------------------------------------------------------- */

/* Values looked at in one go, by loops simple enough for the compiler's vectors. Their squares are
 * added in lanes: the order does not depend on the width of a register. */
enum { BLOCK = 256 };

struct noise_lanes {
    double clip[LANES], round[LANES];
    uint64_t rest; /* in steps: exact */
};

/* Parameters of a row of codes, and the real values of their ends. */
struct row_quant {
    float s, lo, hi;
    int32_t z;
};

/* e = x - Q(x) of n <= BLOCK values and d2 = (Q(x) - y)^2 in steps; returns how many x are beyond
 * the ends of the codes, or not finite. e is taken in float: that is exact where codes round, and
 * good to 24 bits where they clip. */
#define DIFFER(name, type)                                                                         \
    VECTOR_CLONES static int name(const float *restrict x, const type *restrict q,                 \
                                  const type *restrict y, size_t n, struct row_quant p,            \
                                  float *restrict e, uint64_t *rest)                               \
    {                                                                                              \
        int beyond = 0;                                                                            \
        for (size_t i = 0; i < n; i++) {                                                           \
            e[i] = x[i] - (float)((int32_t)q[i] - p.z) * p.s;                                      \
        }                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            beyond += !((x[i] >= p.lo) & (x[i] <= p.hi));                                          \
        }                                                                                          \
        if (sizeof *q == 1) {                                                                      \
            int32_t sum = 0; /* at most 256 * 255^2 */                                             \
            for (size_t i = 0; i < n; i++) {                                                       \
                int32_t d = (int32_t)q[i] - (int32_t)y[i];                                         \
                sum += d * d;                                                                      \
            }                                                                                      \
            *rest += (uint64_t)sum;                                                                \
        }                                                                                          \
        for (size_t i = 0; sizeof *q > 1 && i < n; i++) {                                          \
            int64_t d = (int64_t)q[i] - (int64_t)y[i];                                             \
            *rest += (uint64_t)(d * d);                                                            \
        }                                                                                          \
        return beyond;                                                                             \
    }
DIFFER(differ_u8, uint8_t)
DIFFER(differ_s8, int8_t)
DIFFER(differ_u16, uint16_t)
DIFFER(differ_s16, int16_t)

static int differ(enum dtype d, const float *x, const void *q, const void *y, size_t n,
                  struct row_quant p, float *e, uint64_t *rest)
{
    bool is_signed = d == DT_S8 || d == DT_S4 || d == DT_S16;
    return dtype_size(d) == 1
               ? is_signed ? differ_s8(x, q, y, n, p, e, rest) : differ_u8(x, q, y, n, p, e, rest)
           : is_signed ? differ_s16(x, q, y, n, p, e, rest)
                       : differ_u16(x, q, y, n, p, e, rest);
}

/* The inner loop is one wide operation or two, whose sums stay in registers. */
VECTOR_CLONES static void add_squares(const float *restrict e, size_t n, double *restrict lane)
{
    double sum[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            sum[j] += (double)e[i + j] * (double)e[i + j];
        }
    }
    for (size_t j = 0; i + j < n; j++) {
        sum[j] += (double)e[i + j] * (double)e[i + j];
    }
    for (size_t j = 0; j < LANES; j++) {
        lane[j] += sum[j];
    }
}

/* Splits e in two, each with zeros where the other has values; what is not finite is in neither. */
static void split(const float *x, size_t n, struct row_quant p, float *e, float *clip)
{
    for (size_t i = 0; i < n; i++) {
        bool within = x[i] >= p.lo && x[i] <= p.hi;
        clip[i] = within || !isfinite(x[i]) ? 0 : e[i];
        e[i] = within ? e[i] : 0;
    }
}

static void noise_row(enum dtype d, const float *x, const void *q, const void *y, size_t at,
                      size_t n, struct row_quant p, struct noise_lanes *a)
{
    size_t size = dtype_size(d);
    float e[BLOCK], clip[BLOCK];
    for (size_t end = at + n; at < end; at += BLOCK) {
        size_t m = MIN(end - at, (size_t)BLOCK);
        int beyond = differ(d, x + at, (const char *)q + at * size, (const char *)y + at * size, m,
                            p, e, &a->rest);
        if (beyond) {
            split(x + at, m, p, e, clip);
            add_squares(clip, m, a->clip);
        }
        add_squares(e, m, a->round);
    }
}

static double lanes_sum(const double *v)
{
    double sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += v[i];
    }
    return sum;
}

int quant_noise_add(const struct tensor *x, const struct tensor *codes, const struct quant *q,
                    const struct tensor *y, struct quant_noise *s, double *rest, struct err *err)
{
    int64_t lo, hi;
    size_t outer = 1, inner = x->n;
    if (!dtype_range(codes->dtype, &lo, &hi) || dtype_size(codes->dtype) > 2 ||
        x->dtype != DT_F32 || codes->n != x->n ||
        (y && (y->n != x->n || y->dtype != codes->dtype))) {
        return err_set(err, E_UNSUPPORTED, "%s and %s cannot be compared value by value",
                       dtype_name(x->dtype), dtype_name(codes->dtype));
    }
    if (q->n > 1) { /* row-major: the axis is among dims */
        inner = 1;
        for (int d = 0; d < x->rank; d++) {
            *(d < q->axis ? &outer : &inner) *= d == q->axis ? 1 : (size_t)x->dims[d];
        }
    }
    for (size_t c = 0; c < q->n; c++) {
        struct noise_lanes a = {0};
        struct row_quant p = {.s = q->scale[c], .z = q->zero[c]};
        p.lo = (float)(lo - p.z) * p.s;
        p.hi = (float)(hi - p.z) * p.s;
        for (size_t o = 0; o < outer; o++) {
            noise_row(codes->dtype, x->data, codes->data, y ? y->data : codes->data,
                      (o * q->n + c) * inner, inner, p, &a);
        }
        s->clip += lanes_sum(a.clip);
        s->round += lanes_sum(a.round);
        if (rest) {
            *rest += (double)a.rest * (double)p.s * (double)p.s;
        }
    }
    s->n += x->n;
    return OK;
}

/* ---- One layer ------------------------------------------------------------------------------- */

void local_stats_init(struct local_stats *s)
{
    memset(&s->out, 0, sizeof *s - offsetof(struct local_stats, out));
    layer_stats_begin(&s->pair);
}

void local_stats_fini(struct local_stats *s)
{
    layer_stats_fini(&s->pair);
}

static void noise_merge(struct quant_noise *a, const struct quant_noise *b)
{
    a->n += b->n;
    a->clip += b->clip;
    a->round += b->round;
}

static int local_stats_merge(struct local_stats *a, const struct local_stats *b, struct err *err)
{
    int rc = layer_stats_merge(&a->pair, &b->pair, err);
    if (!rc) {
        noise_merge(&a->out, &b->out);
        noise_merge(&a->inner, &b->inner);
        a->rest += b->rest;
        a->past += b->past;
        a->sums += b->sums;
        a->wraps += b->wraps;
        a->pairs += b->pairs;
    }
    return rc;
}

double local_noise(const struct local_stats *s)
{
    return s->pair.all.ee;
}

/* Inverse of what makes an FP32 tensor of an INT8 one. */
static enum channels moved_back(enum channels c)
{
    return c == CHANNELS_TO_LAST     ? CHANNELS_TO_SECOND
           : c == CHANNELS_TO_SECOND ? CHANNELS_TO_LAST
                                     : c;
}

/* x as codes in x's own order of values. */
static int to_codes(const struct tensor *x, const struct quant *q, struct tensor **out,
                    struct err *err)
{
    int rc = quant_quantize(x, q, NULL, out, err);
    if (!rc) {
        (*out)->channels_last = x->channels_last; /* q has one scale then: any order will do */
    }
    return rc;
}

/* The INT8 tensor in the layout of the FP32 one, and the FP32 one in f32 and in the same order. */
struct sides {
    struct tensor *x, *y;
};

static void sides_free(struct sides *s)
{
    tensor_free(s->x);
    tensor_free(s->y);
}

static int sides_open(const struct layer *l, const struct tensor *x, const struct tensor *y,
                      struct sides *s, struct err *err)
{
    struct tensor *rows = NULL, *f = NULL;
    bool plain = l->moved == CHANNELS_SAME && l->q.n <= 1;
    *s = (struct sides){0};
    int rc = tensor_as(y, plain && y->channels_last, NULL, &rows, err);
    rc = rc ? rc : channels_move(rows, l->moved, x->rank, x->dims, NULL, &s->y, err);
    rc = rc ? rc : tensor_as(x, s->y->channels_last, NULL, &f, err);
    rc = rc ? rc : tensor_to_f32(f, NULL, &s->x, err);
    if (!rc) {
        s->x->channels_last = f->channels_last;
    }
    tensor_free(rows);
    tensor_free(f);
    if (rc) {
        sides_free(s);
    }
    return rc;
}

/* Back to the layout of the INT8 side. */
static int as_int8(const struct layer *l, struct tensor *t, const struct tensor *y,
                   struct tensor **out, struct err *err)
{
    struct tensor *rows = NULL;
    if (l->moved == CHANNELS_SAME) {
        *out = tensor_ref(t);
        return OK;
    }
    int rc = tensor_as(t, false, NULL, &rows, err);
    rc = rc ? rc : channels_move(rows, moved_back(l->moved), y->rank, y->dims, NULL, out, err);
    tensor_free(rows);
    return rc;
}

/* Where FP32's activation function ends the values, and the codes reach further, y may go on. */
static double noise_past(const struct tensor *x, const struct tensor *qx, const struct tensor *y,
                         const struct quant *q, const double ends[2])
{
    int64_t lo, hi;
    double s = (double)q->scale[0], sum = 0;
    if (q->n != 1 || !dtype_range(q->dtype, &lo, &hi) ||
        ((double)(lo - q->zero[0]) * s >= ends[0] - s &&
         (double)(hi - q->zero[0]) * s <= ends[1] + s)) {
        return 0;
    }
    for (size_t i = 0; i < x->n; i++) {
        double v = (double)((const float *)x->data)[i];
        int64_t c = tensor_s64(y, i);
        double real = (double)(c - q->zero[0]) * s;
        if ((v <= ends[0] && real < ends[0]) || (v >= ends[1] && real > ends[1])) {
            double d = (double)(tensor_s64(qx, i) - c) * s;
            sum += d * d;
        }
    }
    return sum;
}

/* The noise of the layer's own codes, and x in the form of y: codes, or what they stand for. */
static int measure_codes(const struct layer *l, const double ends[2], const struct sides *p,
                         bool floats, struct local_stats *s, struct tensor **form, struct err *err)
{
    struct tensor *x = NULL, *y = NULL;
    int rc = to_codes(p->x, &l->q, &x, err);
    if (!rc && floats) { /* on the grid: this finds the codes again */
        rc = to_codes(p->y, &l->q, &y, err);
    }
    rc = rc ? rc : quant_noise_add(p->x, x, &l->q, y ? y : p->y, &s->out, &s->rest, err);
    if (!rc) {
        s->past += noise_past(p->x, x, y ? y : p->y, &l->q, ends);
    }
    if (!rc && floats) {
        rc = quant_dequantize(x, &l->q, NULL, form, err);
        if (!rc) {
            (*form)->channels_last = x->channels_last;
        }
    } else if (!rc) {
        *form = tensor_ref(x);
    }
    tensor_free(x);
    tensor_free(y);
    return rc;
}

int local_inner(const struct tensor *x, const struct quant *q, struct local_stats *s,
                struct err *err)
{
    struct tensor *f = NULL, *codes = NULL;
    int rc = tensor_to_f32(x, NULL, &f, err);
    rc = rc ? rc : to_codes(f, q, &codes, err);
    rc = rc ? rc : quant_noise_add(f, codes, q, NULL, &s->inner, NULL, err);
    tensor_free(codes);
    tensor_free(f);
    return rc;
}

int local_measure(const struct layer *l, const double ends[2], const struct tensor *x,
                  const struct tensor *y, bool grid, struct local_stats *s, struct tensor **instead,
                  struct err *err)
{
    struct sides p;
    struct tensor *form = NULL;
    bool codes = !dtype_is_float(y->dtype);
    *instead = NULL;
    if (codes && (!l->quantized || l->q.dtype != y->dtype)) {
        return err_set(err, E_STATE, "no local figure: its scale is not a constant of the model");
    }
    int rc = sides_open(l, x, y, &p, err);
    if (rc) {
        return rc;
    }
    rc = layer_stats_add(&s->pair, p.x, p.y, codes ? &l->q : NULL, l->channel_axis, false, err);
    if (!rc && (codes || (grid && y->dtype == DT_F32))) {
        rc = measure_codes(l, ends, &p, !codes, s, &form, err);
    } else if (!rc && y->dtype == DT_F32) {
        form = tensor_ref(p.x);
    }
    rc = rc || !form ? rc : as_int8(l, form, y, instead, err);
    tensor_free(form);
    sides_free(&p);
    return rc;
}

/* ---- Inputs ---------------------------------------------------------------------------------- */

static void input_stats_init(struct input_stats *s)
{
    *s = (struct input_stats){.lo = INFINITY, .hi = -INFINITY};
}

void input_stats_add(struct input_stats *s, const struct tensor *x, const struct quant *q)
{
    struct tensor *f = NULL, *codes = NULL;
    if (!dtype_is_float(x->dtype) || tensor_to_f32(x, NULL, &f, NULL)) {
        return;
    }
    const float *v = f->data;
    for (size_t i = 0; i < f->n; i++) {
        if (isfinite(v[i])) {
            s->xx += (double)v[i] * (double)v[i];
            s->lo = fmin(s->lo, (double)v[i]);
            s->hi = fmax(s->hi, (double)v[i]);
        }
    }
    if (q->n && !to_codes(f, q, &codes, NULL)) {
        quant_noise_add(f, codes, q, NULL, &s->noise, NULL, NULL);
    } else {
        s->noise.n += f->n;
    }
    tensor_free(codes);
    tensor_free(f);
}

static void input_stats_merge(struct input_stats *a, const struct input_stats *b)
{
    noise_merge(&a->noise, &b->noise);
    a->xx += b->xx;
    a->lo = fmin(a->lo, b->lo);
    a->hi = fmax(a->hi, b->hi);
}

/* ---- What a run keeps ------------------------------------------------------------------------ */

struct local_study *local_study_new(size_t n_layers, size_t n_inputs)
{
    struct local_study *s = mem_alloc(sizeof *s);
    s->n_layers = n_layers;
    s->n_inputs = n_inputs;
    s->layers = mem_grow(NULL, (n_layers + 1) * sizeof *s->layers);
    s->inputs = mem_alloc((n_inputs + 1) * sizeof *s->inputs);
    s->errors = mem_alloc((n_layers + 1) * sizeof *s->errors);
    for (size_t k = 0; k < n_layers; k++) {
        local_stats_init(&s->layers[k]);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        input_stats_init(&s->inputs[i]);
    }
    return s;
}

void local_study_free(struct local_study *s)
{
    if (!s) {
        return;
    }
    for (size_t k = 0; k < s->n_layers; k++) {
        local_stats_fini(&s->layers[k]);
        free(s->errors[k]);
    }
    free(s->layers);
    free(s->inputs);
    free(s->errors);
    free(s);
}

void local_study_merge(struct local_study *a, struct local_study *b)
{
    for (size_t k = 0; k < a->n_layers; k++) {
        struct err why = {0};
        if (local_stats_merge(&a->layers[k], &b->layers[k], &why) && !a->errors[k]) {
            a->errors[k] = mem_dup(why.text);
        }
        if (b->errors[k] && !a->errors[k]) {
            a->errors[k] = b->errors[k];
            b->errors[k] = NULL;
        }
    }
    for (size_t i = 0; i < a->n_inputs; i++) {
        input_stats_merge(&a->inputs[i], &b->inputs[i]);
    }
    a->images++;
}
