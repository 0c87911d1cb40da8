/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_depthwise.c: DEPTHWISE_CONV_2D with one filter per channel: see tfl_fast.h. Of 8-bit codes
 * the image is widened to int16 once, zero point taken off and padding put around, so that a tap is
 * a fixed distance; two taps at a time are multiplied and summed by one instruction.
 */
#include "engine/tfl_fast.h"

#include "engine/op_quant.h"

#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHUNK = 16 }; /* channels of one 256-bit register */

struct tfl_taps {
    size_t channels, chunks, taps, pairs;
    int16_t *w; /* [pairs][chunks][32]: both taps of a channel beside each other, see place() */
    float *f;   /* of float weights instead: [1 + taps][channels], the bias first */
};

/* ---- Weights -------------------------------------------------------------------------------- */

void tfl_taps_free(struct tfl_taps *t)
{
    if (t) {
        free(t->w);
        free(t->f);
        free(t);
    }
}

/* Channel i of a chunk within its 32 weights: the order in which unpacking two registers of int16
 * leaves pairs, low halves of both 128-bit parts first. */
static size_t place(size_t i)
{
    return i / 4 % 2 * CHUNK + i / 8 * 8 + i % 4 * 2;
}

static int float_taps(struct tfl_taps *t, const struct tensor *w, const float *bias,
                      struct err *err)
{
    int rc = scratch_new(w->n + t->channels, sizeof *t->f, (void **)&t->f, err);
    if (!rc) {
        memset(t->f, 0, t->channels * sizeof *t->f);
        memcpy(t->f + t->channels, w->data, w->n * sizeof *t->f);
    }
    if (!rc && bias) {
        memcpy(t->f, bias, t->channels * sizeof *t->f);
    }
    return rc;
}

static int code_taps(struct tfl_taps *t, const struct tensor *w, int32_t zero, struct err *err)
{
    size_t n = 0;
    int rc = mul_ok(t->chunks * 2 * CHUNK, t->pairs, &n)
                 ? OK
                 : err_set(err, E_LIMIT, "weights too large to pack");
    rc = rc ? rc : scratch_new(n, sizeof *t->w, (void **)&t->w, err);
    if (rc) {
        return rc;
    }
    memset(t->w, 0, n * sizeof *t->w);
    for (size_t k = 0; k < t->taps; k++) {
        for (size_t c = 0; c < t->channels; c++) {
            uint8_t v = ((const uint8_t *)w->data)[k * t->channels + c];
            size_t at = (k / 2 * t->chunks + c / CHUNK) * 2 * CHUNK + place(c % CHUNK) + k % 2;
            t->w[at] = (int16_t)((w->dtype == DT_U8 ? v : (int8_t)v) - zero);
        }
    }
    return OK;
}

int tfl_taps_new(const struct tensor *w, int32_t zero, const float *bias, struct tfl_taps **out,
                 struct err *err)
{
    struct tfl_taps *t = mem_alloc(sizeof *t);
    t->channels = (size_t)w->dims[w->rank - 1];
    t->chunks = (t->channels + CHUNK - 1) / CHUNK;
    t->taps = t->channels ? w->n / t->channels : 0;
    t->pairs = (t->taps + 1) / 2;
    int rc = w->dtype == DT_F32 ? float_taps(t, w, bias, err) : code_taps(t, w, zero, err);
    if (rc) {
        tfl_taps_free(t);
        return rc;
    }
    *out = t;
    return OK;
}

/* ---- One pixel ------------------------------------------------------------------------------ */

/* acc[c] = sum over taps t of x[off[t] + c] * w; off has two entries per pair, acc whole chunks. */
typedef void taps_fn(const struct tfl_taps *t, const int16_t *x, const size_t *off, int32_t *acc);

static void taps_plain(const struct tfl_taps *t, const int16_t *x, const size_t *off, int32_t *acc)
{
    memset(acc, 0, t->chunks * CHUNK * sizeof *acc);
    for (size_t p = 0; p < t->pairs; p++) {
        const int16_t *a = x + off[2 * p], *b = x + off[2 * p + 1];
        for (size_t c = 0; c < t->channels; c++) {
            const int16_t *w = t->w + (p * t->chunks + c / CHUNK) * 2 * CHUNK + place(c % CHUNK);
            acc[c] += a[c] * w[0] + b[c] * w[1];
        }
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i load(const int16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

AVX2 static void taps_avx2(const struct tfl_taps *t, const int16_t *x, const size_t *off,
                           int32_t *acc)
{
    for (size_t c = 0; c < t->chunks; c++, acc += CHUNK) {
        __m256i low = _mm256_setzero_si256(), high = low;
        const int16_t *w = t->w + c * 2 * CHUNK;
        for (size_t p = 0; p < t->pairs; p++, w += t->chunks * 2 * CHUNK) {
            __m256i a = load(x + off[2 * p] + c * CHUNK), b = load(x + off[2 * p + 1] + c * CHUNK);
            __m256i l = _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), load(w));
            __m256i h = _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), load(w + CHUNK));
            low = _mm256_add_epi32(low, l);
            high = _mm256_add_epi32(high, h);
        }
        _mm256_storeu_si256((__m256i *)acc, _mm256_permute2x128_si256(low, high, 0x20));
        _mm256_storeu_si256((__m256i *)(acc + 8), _mm256_permute2x128_si256(low, high, 0x31));
    }
}
#endif

static taps_fn *taps_for(const struct int8_kernels *k)
{
#if defined(__x86_64__)
    return k == &kernel_int8_plain ? taps_plain : taps_avx2; /* the others all have AVX2 */
#else
    (void)k;
    return taps_plain;
#endif
}

/* ---- One image ------------------------------------------------------------------------------ */

struct job {
    const struct tfl_product *p;
    const struct tfl_window *w;
    const struct tfl_taps *t;
    const struct int8_kernels *k;
    struct tfl_out out;
    size_t height, width, pixel; /* of the padded image; pixel: elements of one, whole chunks */
    int16_t *image;
    size_t *off;
    int32_t *acc;
};

static void job_fini(struct job *j)
{
    tfl_out_fini(&j->out);
    free(j->image);
    free(j->off);
    free(j->acc);
}

static int job_init(struct job *j, const struct tfl_product *p, const struct tfl_window *w,
                    struct err *err)
{
    const struct tfl_taps *t = p->taps;
    *j = (struct job){.p = p, .w = w, .t = t, .k = kernel_int8()};
    j->height = (size_t)((w->oh - 1) * w->sh + (w->kh - 1) * w->dh + 1);
    j->width = (size_t)((w->ow - 1) * w->sw + (w->kw - 1) * w->dw + 1);
    j->pixel = t->chunks * CHUNK;
    size_t n = 0;
    bool ok = mul_ok(j->height, j->width, &n) && mul_ok(n, j->pixel, &n);
    int rc = ok ? tfl_out_init(&j->out, p, err) : err_set(err, E_LIMIT, "padded input too large");
    rc = rc ? rc : scratch_new(n, sizeof *j->image, (void **)&j->image, err);
    rc = rc ? rc : scratch_new(2 * t->pairs, sizeof *j->off, (void **)&j->off, err);
    rc = rc ? rc : scratch_new(j->pixel, sizeof *j->acc, (void **)&j->acc, err);
    if (rc) {
        return rc;
    }
    memset(j->image, 0, n * sizeof *j->image);
    j->off[2 * t->pairs - 1] = 0; /* of a tap that is not there: its weights are 0 */
    for (size_t k = 0; k < t->taps; k++) {
        size_t y = k / (size_t)w->kw * (size_t)w->dh, x = k % (size_t)w->kw * (size_t)w->dw;
        j->off[k] = (y * j->width + x) * j->pixel;
    }
    return OK;
}

static void widen(const uint8_t *src, size_t n, bool is_signed, int32_t z, int16_t *dst)
{
    if (is_signed) {
        for (size_t i = 0; i < n; i++) {
            dst[i] = (int16_t)((int8_t)src[i] - z);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            dst[i] = (int16_t)(src[i] - z);
        }
    }
}

/* Pixels that some filter sees go into the padded image; around them it stays 0. */
static void fill_image(const struct job *j, const uint8_t *src)
{
    const struct tfl_window *w = j->w;
    bool is_signed = j->p->c->in[0]->dtype == DT_S8;
    int64_t rows = MIN(w->h, (int64_t)j->height - w->pt),
            cols = MIN(w->w, (int64_t)j->width - w->pl);
    size_t c = (size_t)w->c;
    for (int64_t y = 0; y < rows; y++) {
        int16_t *dst = j->image + ((size_t)(y + w->pt) * j->width + (size_t)w->pl) * j->pixel;
        const uint8_t *row = src + (size_t)(y * w->w) * c;
        if (c == j->pixel && cols > 0) {
            widen(row, (size_t)cols * c, is_signed, j->p->x.z, dst);
            continue;
        }
        for (int64_t x = 0; x < cols; x++, row += c, dst += j->pixel) {
            widen(row, c, is_signed, j->p->x.z, dst);
        }
    }
}

static void run_image(struct job *j, uint8_t *y)
{
    const struct tfl_window *w = j->w;
    taps_fn *taps = taps_for(j->k);
    size_t c = (size_t)w->c;
    for (int64_t oy = 0; oy < w->oh; oy++) {
        const int16_t *row = j->image + (size_t)(oy * w->sh) * j->width * j->pixel;
        for (int64_t ox = 0; ox < w->ow; ox++, y += c) {
            taps(j->t, row + (size_t)(ox * w->sw) * j->pixel, j->off, j->acc);
            for (size_t o = 0; o < c; o += FINISH_MAX) {
                tfl_out_row(&j->out, j->k, j->acc + o, o, MIN(c - o, (size_t)FINISH_MAX), 0, y + o);
            }
        }
    }
}

/* ---- Floats --------------------------------------------------------------------------------- */

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

static int depthwise_floats(const struct tfl_product *p, const struct tfl_window *w)
{
    size_t at[TFL_SUM_BLOCK], tap[TFL_SUM_BLOCK], c = (size_t)w->c;
    float_fn *run = floats_for(kernel_int8());
    const float *bias = p->taps->f, *x = p->c->in[0]->data;
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

/* Codes need a padded image, which far dilations and strides make much larger than what is there.
 */
static bool padding_is_small(const struct tfl_window *w)
{
    enum { TIMES = 8, MORE = 1 << 16 };
    size_t height = (size_t)((w->oh - 1) * w->sh + (w->kh - 1) * w->dh + 1), n = 0;
    size_t width = (size_t)((w->ow - 1) * w->sw + (w->kw - 1) * w->dw + 1);
    return mul_ok(height, width, &n) && n <= (size_t)(w->h * w->w) * TIMES + MORE;
}

bool tfl_fast_depthwise_fits(const struct tfl_product *p, const struct tfl_window *w)
{
    return tfl_fast_fits(p) && p->filters == w->c && (p->wf || padding_is_small(w));
}

int tfl_fast_depthwise(const struct tfl_product *p, const struct tfl_window *w, struct err *err)
{
    if (p->wf) {
        return depthwise_floats(p, w);
    }
    struct job j;
    int rc = job_init(&j, p, w, err);
    size_t in = (size_t)(w->h * w->w * w->c), out = (size_t)(w->oh * w->ow * w->c);
    for (size_t i = 0; i < (size_t)w->n && !rc; i++) {
        fill_image(&j, (const uint8_t *)p->c->in[0]->data + i * in);
        run_image(&j, (uint8_t *)p->c->out[0]->data + i * out);
    }
    job_fini(&j);
    return rc;
}
