/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_conv.c: direct float32 convolution on the model's own layout. Made for depthwise filters,
 * where reorders around oneDNN cost more than the convolution; right for all others, too. The inner
 * loop is written in vectors of the compiler and built once per instruction set.
 */
#include "engine/kernel_conv.h"

enum {
    LANES = 16,       /* outputs computed at a time: a register of AVX-512, two of AVX2 */
    DIRECT_TAPS = 512 /* largest filter plane that it takes */
};
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* The input planes of one group, rows padded and split by phase: element p of a padded row stands
 * at [p % s][p / s], so that the elements which neighbouring outputs multiply with the same weight
 * are neighbours too, whatever the stride. */
struct direct {
    const struct conv *v;
    int64_t len, row;            /* elements per phase and per row (all phases) */
    int64_t column[DIRECT_TAPS]; /* offset in a row of kernel position k for output 0 */
    float *planes;               /* [ic, d, h, row] */
};

static void load_row(int64_t n, float *restrict y, const float *restrict x, int64_t step)
{
    if (step == 1) {
        memcpy(y, x, (size_t)n * sizeof *y);
    } else if (step == 2) { /* a constant step vectorizes */
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[2 * i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[step * i];
        }
    }
}

/* Copies the planes of image n, group g. The padding is zero and stays so. */
static void load_planes(const struct direct *t, int64_t n, int64_t g)
{
    const struct window *w = &t->v->w;
    const int64_t s = w->s[2], rows = t->v->ic * w->in[0] * w->in[1];
    const float *x = (const float *)t->v->x->data + (n * w->c + g * t->v->ic) * w->in_n;
    for (int64_t phase = 0; phase < s; phase++) {
        const int64_t first = (phase - w->lo[2] % s + s) % s; /* (first + lo) % s == phase */
        const int64_t at = (first + w->lo[2]) / s, there = (w->in[2] - first + s - 1) / s;
        const int64_t count = MIN(there, t->len - at);
        float *y = t->planes + phase * t->len + at;
        for (int64_t r = 0; r < rows && count > 0; r++, y += t->row) {
            load_row(count, y, x + r * w->in[2] + first, s);
        }
    }
}

/* The positions of a filter plane that lie inside the input for one output row: index in the
 * filter plane, and offset in the input plane of the element for output 0. */
struct taps {
    int n;
    int64_t filter[DIRECT_TAPS], input[DIRECT_TAPS];
};

static void find_taps(const struct direct *t, int64_t od, int64_t oh, struct taps *taps)
{
    const struct window *w = &t->v->w;
    int64_t d0, d1, h0, h1;
    window_clip(w, 0, od, &d0, &d1);
    window_clip(w, 1, oh, &h0, &h1);
    taps->n = 0;
    for (int64_t kd = d0; kd < d1; kd++) {
        for (int64_t kh = h0; kh < h1; kh++) {
            const int64_t d = od * w->s[0] - w->lo[0] + kd * w->d[0];
            const int64_t h = oh * w->s[1] - w->lo[1] + kh * w->d[1];
            for (int64_t k = 0; k < w->k[2]; k++) {
                taps->filter[taps->n] = (kd * w->k[1] + kh) * w->k[2] + k;
                taps->input[taps->n++] = (d * w->in[1] + h) * t->row + t->column[k];
            }
        }
    }
}

/* Output row of one filter wt, 2 * LANES at a time, the last ones LANES; float accumulation in the
 * order i, kd, kh, kw after the bias. Inlined into one copy per instruction set. */
static inline __attribute__((always_inline)) void
direct_row(const struct direct *t, const struct taps *taps, const float *wt, float bias, float *y)
{
    const struct window *w = &t->v->w;
    const int64_t plane = w->in[0] * w->in[1] * t->row;
    for (int64_t o = 0; o < w->out[2]; o += 2 * LANES) {
        const int64_t left = w->out[2] - o;
        const float *x = t->planes + o, *f = wt;
        lanes sum[2] = {bias - (lanes){0}, bias - (lanes){0}}; /* bias in every lane */
        for (int64_t i = 0; i < t->v->ic; i++, x += plane, f += w->k_n) {
            for (int k = 0; k < taps->n; k++) {
                lanes v;
                memcpy(&v, x + taps->input[k], sizeof v);
                sum[0] += f[taps->filter[k]] * v;
                if (left > LANES) {
                    memcpy(&v, x + taps->input[k] + LANES, sizeof v);
                    sum[1] += f[taps->filter[k]] * v;
                }
            }
        }
        memcpy(y + o, sum, (size_t)MIN(left, (int64_t)(2 * LANES)) * sizeof *y);
    }
}

typedef void row_fn(const struct direct *t, const struct taps *taps, const float *wt, float bias,
                    float *y);

static void row_base(const struct direct *t, const struct taps *taps, const float *wt, float bias,
                     float *y)
{
    direct_row(t, taps, wt, bias, y);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
row_avx2(const struct direct *t, const struct taps *taps, const float *wt, float bias, float *y)
{
    direct_row(t, taps, wt, bias, y);
}

__attribute__((target("avx512f"))) static void
row_avx512(const struct direct *t, const struct taps *taps, const float *wt, float bias, float *y)
{
    direct_row(t, taps, wt, bias, y);
}
#endif

static row_fn *choose_row(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return row_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return row_avx2;
    }
#endif
    return row_base;
}

static void direct_run(const struct direct *t, float *y)
{
    const struct conv *v = t->v;
    const struct window *w = &v->w;
    row_fn *row = choose_row();
    for (int64_t n = 0; n < w->n; n++) {
        for (int64_t o = 0; o < v->groups * v->oc; o++) {
            const float *wt = (const float *)v->wt->data + o * v->ic * w->k_n;
            const float bias = v->bias ? ((const float *)v->bias->data)[o] : 0.0F;
            if (o % v->oc == 0) {
                load_planes(t, n, o / v->oc);
            }
            for (int64_t r = 0; r < w->out[0] * w->out[1]; r++, y += w->out[2]) {
                struct taps taps;
                find_taps(t, r / w->out[1], r % w->out[1], &taps);
                row(t, &taps, wt, bias, y);
            }
        }
    }
}

bool kernel_conv_fits(const struct window *w)
{
    const int64_t span = (w->k[2] - 1) * w->d[2] + 1;
    return w->k_n <= DIRECT_TAPS && span + w->out[2] * w->s[2] <= 8 * w->in[2] + 1024;
}

int kernel_conv_run(const struct conv *v, struct budget *b, float *y, struct err *err)
{
    const struct window *w = &v->w;
    const int64_t s = w->s[2], blocks = (w->out[2] + LANES - 1) / LANES;
    struct direct t = {.v = v};
    struct tensor *planes = NULL;
    t.len = blocks * LANES + (w->k[2] - 1) * w->d[2] / s + 1;
    t.row = t.len * s;
    for (int64_t k = 0; k < w->k[2]; k++) {
        t.column[k] = k * w->d[2] % s * t.len + k * w->d[2] / s;
    }
    const int64_t dims[] = {v->ic, w->in[0], w->in[1], t.row};
    int rc = tensor_new(DT_F32, 4, dims, b, &planes, err);
    if (!rc) {
        t.planes = planes->data;
        memset(planes->data, 0, planes->size);
        direct_run(&t, y);
    }
    tensor_free(planes);
    return rc;
}
