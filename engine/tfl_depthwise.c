/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_depthwise.c: DEPTHWISE_CONV_2D of floats with one filter per channel: see tfl_fast.h.
 */
#include "engine/tfl_fast.h"

#include "engine/op_quant.h"

#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct tfl_taps {
    size_t channels;
    float *w; /* [1 + taps][channels], the bias first */
};

void tfl_taps_free(struct tfl_taps *t)
{
    if (t) {
        scratch_free(t->w);
        free(t);
    }
}

int tfl_taps_new(const struct tensor *w, const float *bias, struct tfl_taps **out, struct err *err)
{
    struct tfl_taps *t = mem_alloc(sizeof *t);
    t->channels = (size_t)w->dims[w->rank - 1];
    int rc = scratch_new(w->n + t->channels, sizeof *t->w, (void **)&t->w, err);
    if (rc) {
        tfl_taps_free(t);
        return rc;
    }
    memset(t->w, 0, t->channels * sizeof *t->w);
    memcpy(t->w + t->channels, w->data, w->n * sizeof *t->w);
    if (bias) {
        memcpy(t->w, bias, t->channels * sizeof *t->w);
    }
    *out = t;
    return OK;
}

/* XNNPACK's depthwise kernels take filters of that many taps, and columns first; others are grouped
 * convolutions. */
enum { COLUMNS_FIRST = 25 };

size_t tfl_float_taps(const struct tfl_product *p, const struct tfl_window *w, int64_t oy,
                      int64_t ox, size_t *at, size_t *tap)
{
    int64_t y0 = oy * w->sh - w->pt, x0 = ox * w->sw - w->pl, a0, a1, b0, b1;
    bool columns = p->sum == TFL_FUSED && p->filters == w->c && w->kh * w->kw <= COLUMNS_FIRST;
    size_t n = 0;
    tfl_window_clip(y0, w->h, w->kh, w->dh, &a0, &a1);
    tfl_window_clip(x0, w->w, w->kw, w->dw, &b0, &b1);
    for (int64_t i = columns ? b0 : a0; i < (columns ? b1 : a1); i++) {
        for (int64_t j = columns ? a0 : b0; j < (columns ? a1 : b1); j++) {
            int64_t ky = columns ? j : i, kx = columns ? i : j;
            at[n] = (size_t)(((y0 + ky * w->dh) * w->w + x0 + kx * w->dw) * w->c);
            tap[n++] = (size_t)(ky * w->kw + kx);
        }
    }
    return n;
}

/* y[c] += x[at[i] + c] * w[tap[i] * channels + c] for n taps, rounded as sum tells. */
typedef void float_fn(const float *x, const float *w, const size_t *at, const size_t *tap, size_t n,
                      size_t channels, enum tfl_sum sum, float *y);

static void float_plain(const float *x, const float *w, const size_t *at, const size_t *tap,
                        size_t n, size_t channels, enum tfl_sum sum, float *y)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < channels; c++) {
            float a = x[at[i] + c], b = w[tap[i] * channels + c];
            y[c] = sum == TFL_FUSED ? fmaf(a, b, y[c]) : y[c] + a * b;
        }
    }
}

#if defined(__x86_64__)
#define FMA __attribute__((target("avx2,fma")))

FMA static void float_fma(const float *x, const float *w, const size_t *at, const size_t *tap,
                          size_t n, size_t channels, enum tfl_sum sum, float *y)
{
    size_t c = 0;
    for (; c + 8 <= channels; c += 8) {
        __m256 v = _mm256_loadu_ps(y + c);
        for (size_t i = 0; i < n; i++) {
            __m256 a = _mm256_loadu_ps(x + at[i] + c);
            __m256 b = _mm256_loadu_ps(w + tap[i] * channels + c);
            v = sum == TFL_FUSED ? _mm256_fmadd_ps(a, b, v) : _mm256_add_ps(v, _mm256_mul_ps(a, b));
        }
        _mm256_storeu_ps(y + c, v);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = c; k < channels; k++) {
            float a = x[at[i] + k], b = w[tap[i] * channels + k];
            y[k] = sum == TFL_FUSED ? fmaf(a, b, y[k]) : y[k] + a * b;
        }
    }
}
#endif

static float_fn *floats_for(const struct int8_kernels *k)
{
#if defined(__x86_64__)
    return k == &kernel_int8_plain ? float_plain : float_fma; /* the others all have FMA */
#else
    (void)k;
    return float_plain;
#endif
}

int tfl_depthwise_floats(const struct tfl_product *p, const struct tfl_window *w)
{
    size_t at[TFL_SUM_BLOCK], tap[TFL_SUM_BLOCK], c = (size_t)w->c;
    float_fn *run = floats_for(kernel_int8());
    const float *bias = p->taps->w, *x = p->c->in[0]->data;
    float *y = p->c->out[0]->data;
    for (int64_t i = 0; i < w->n * w->oh * w->ow; i++, y += c) {
        const float *image = x + (size_t)(i / (w->oh * w->ow) * w->h * w->w) * c;
        size_t n = tfl_float_taps(p, w, i / w->ow % w->oh, i % w->ow, at, tap);
        if (p->sum == TFL_BIAS_LAST) {
            memset(y, 0, c * sizeof *y);
        } else {
            memcpy(y, bias, c * sizeof *y);
        }
        run(image, bias + c, at, tap, n, c, p->sum, y);
        tfl_out_floats(p, y, 0, c, y);
    }
    return OK;
}
