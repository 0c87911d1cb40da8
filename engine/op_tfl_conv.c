/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_conv.c: what multiplies by weights in TensorFlow Lite models: CONV_2D, DEPTHWISE_CONV_2D,
 * FULLY_CONNECTED; float, integer and hybrid (float activations, int8 weights).
 *
 * Everything is a product of rows: CONV_2D gathers the patches of some output pixels and multiplies
 * them with the filters, FULLY_CONNECTED multiplies its rows. Integers are widened to int16 with
 * their zero point taken off, so that one multiply-add loop serves u8, s8 and s16.
 */
#include "engine/accel.h"
#include "engine/tfl.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PATCHES = 64, SUM_BLOCK = 256 };

/* Weights as kernels want them. */
struct weights {
    int64_t rows, cols; /* filters, elements of each */
    int16_t *codes;     /* codes minus zero point; NULL for float weights */
};

/* ---- Products ------------------------------------------------------------------------------- */

/* Blocks are small enough for 32-bit sums of any codes: 256 * 32768 * 128 < 2^31. */
static int64_t dot(const int16_t *a, const int16_t *b, int64_t n)
{
    int64_t sum = 0;
    for (int64_t at = 0; at < n; at += SUM_BLOCK) {
        int64_t end = MIN(n, at + SUM_BLOCK);
        int32_t part = 0;
        for (int64_t i = at; i < end; i++) {
            part += (int32_t)a[i] * b[i];
        }
        sum += part;
    }
    return sum;
}

/* y [m,n] = a [m,k] * b [n,k]^T. */
static void float_product(const float *a, const float *b, int64_t m, int64_t n, int64_t k, float *y)
{
    const struct accel_gemm g = {.tb = true,
                                 .m = m,
                                 .n = n,
                                 .k = k,
                                 .a = a,
                                 .b = b,
                                 .c = y,
                                 .lda = k,
                                 .ldb = k,
                                 .ldc = n,
                                 .alpha = 1.0F};
    if (m && n && k && accel_gemm_run(&g)) {
        return;
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float sum = 0.0F;
            for (int64_t t = 0; t < k; t++) {
                sum += a[i * k + t] * b[j * k + t];
            }
            y[i * n + j] = sum;
        }
    }
}

/* ---- Weights -------------------------------------------------------------------------------- */

/* Widens codes [n] and takes off the zero point; values fit int16: codes have at most 16 bits, and
 * 16-bit ones have zero point 0. */
static int widen(const struct tensor *t, size_t at, size_t n, int32_t z, int16_t *dst)
{
    int32_t codes[CODE_BLOCK];
    for (size_t done = 0; done < n; done += CODE_BLOCK) {
        size_t m = MIN(n - done, (size_t)CODE_BLOCK);
        codes_get(t, at + done, m, codes);
        for (size_t i = 0; i < m; i++) {
            dst[done + i] = (int16_t)(codes[i] - z);
        }
    }
    return OK;
}

static bool is_codes(enum dtype d)
{
    return d == DT_S8 || d == DT_U8 || d == DT_S16 || d == DT_S4;
}

static int weights_prepare(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *t = p->n_in > 1 ? p->constants[1] : NULL;
    const struct quant *q = p->n_in > 1 ? p->in_q[1] : NULL;
    if (!t || !is_codes(t->dtype) || t->dtype == DT_S16 || t->rank < 1) {
        return OK;
    }
    for (size_t i = 1; q && i < q->n; i++) {
        if (q->zero[i]) {
            return err_set(err, E_UNSUPPORTED, "weights with scales per channel have zero point %d",
                           q->zero[i]);
        }
    }
    struct weights *w = mem_alloc(sizeof *w);
    w->codes = malloc(MAX(t->n, (size_t)1) * sizeof *w->codes);
    if (!w->codes) {
        free(w);
        return err_set(err, E_LIMIT, "out of memory for %zu weights", t->n);
    }
    widen(t, 0, t->n, q && q->n == 1 ? q->zero[0] : 0, w->codes);
    *state = w;
    return OK;
}

static void weights_release(void *state)
{
    struct weights *w = state;
    free(w->codes);
    free(w);
}

/* ---- One product of rows -------------------------------------------------------------------- */

/* A layer: rows of activations times filters, plus bias, to output rows. */
struct layer_product {
    const struct op_call *c;
    int64_t filters, depth; /* of the product */
    const float *wf;        /* float weights, or NULL */
    const int16_t *wi;
    const float *bias_f;
    const struct tensor *bias;  /* of integer layers: s32 or s64 codes */
    const struct quant *scales; /* of the weights; NULL for float ones */
    struct tfl_quant x, y;
    struct tfl_scale *requant; /* per filter */
    float lo, hi;              /* of float outputs */
    bool hybrid;
    bool delegated; /* hybrid: XNNPACK takes this operator */
};

static void product_fini(struct layer_product *p)
{
    free(p->requant);
}

static float weight_scale(const struct layer_product *p, int64_t o)
{
    return p->scales->scale[p->scales->n > 1 ? o : 0];
}

/* What the built-in kernels use: the reference, the optimised ones, and both for int16. */
struct roundings {
    enum tfl_rounding ref, builtin, wide;
};

static const struct roundings ruy = {TFL_TWICE, TFL_UP, TFL_WIDE};
static const struct roundings twice = {TFL_TWICE, TFL_TWICE, TFL_WIDE};

/* The rounding of the back end that computes this operator. */
static enum tfl_rounding rounding_of(const struct op_call *c, const struct roundings *r)
{
    if (c->in[0]->dtype == DT_S16) {
        return r->wide;
    }
    return tfl_xnnpack(c) ? TFL_FLOAT : c->numerics == NUM_TFLITE_REF ? r->ref : r->builtin;
}

/* XNNPACK multiplies and divides scales in float, the others in double. */
static double real_scale(const struct op_call *c, float sx, float sw, float sy)
{
    return tfl_xnnpack(c) ? (double)(sx * sw / sy) : (double)sx * (double)sw / (double)sy;
}

static int product_codes(struct layer_product *p, enum tfl_rounding how, struct err *err)
{
    const struct op_call *c = p->c;
    int rc = tfl_input(c, 0, &p->x, err);
    rc = rc ? rc : tfl_output(c, 0, tfl_out_dtype(c, c->in[0]->dtype), &p->y, err);
    rc = rc ? rc : tfl_activation(c, &p->y, err);
    if (!rc && (!p->x.codes || !p->y.codes)) {
        rc = err_set(err, E_FORMAT, "integer activations without a scale");
    }
    if (!rc && c->in[0]->dtype == DT_S16 && p->x.z) {
        rc = err_set(err, E_UNSUPPORTED, "int16 activations with zero point %d", p->x.z);
    }
    if (rc) {
        return rc;
    }
    p->requant = malloc((size_t)MAX(p->filters, 1) * sizeof *p->requant);
    if (!p->requant) {
        return err_set(err, E_LIMIT, "out of memory");
    }
    for (int64_t o = 0; o < p->filters; o++) {
        tfl_scale_init(&p->requant[o], how, real_scale(c, p->x.s, weight_scale(p, o), p->y.s));
    }
    return OK;
}

/* Checks what every layer relies on; w is input 1 seen as [filters, depth] or, for depthwise,
 * [depth, filters]. */
static int product_init(struct layer_product *p, const struct op_call *c, int64_t filters,
                        int64_t depth, const struct roundings *how, struct err *err)
{
    const struct tensor *x = c->in[0], *w = c->in[1];
    const struct weights *packed = c->state;
    *p = (struct layer_product){.c = c, .filters = filters, .depth = depth};
    p->bias = tfl_has(c, 2) ? c->in[2] : NULL;
    if (p->bias && (int64_t)p->bias->n != filters) {
        return err_set(err, E_SHAPE, "%zu biases for %" PRId64 " filters", p->bias->n, filters);
    }
    bool wf = w->dtype == DT_F32, xf = x->dtype == DT_F32;
    if (!(wf && xf) && (!packed || !(xf || is_codes(x->dtype)))) {
        return err_set(err, E_UNSUPPORTED, "%s activations with %s weights are not supported",
                       dtype_name(x->dtype), dtype_name(w->dtype));
    }
    p->scales = wf ? NULL : c->in_q[1];
    if (!wf && (!p->scales || (p->scales->n != 1 && (int64_t)p->scales->n != filters))) {
        return err_set(err, E_FORMAT, "integer weights without a scale per tensor or filter");
    }
    p->wf = wf ? w->data : NULL;
    p->wi = wf ? NULL : packed->codes;
    p->hybrid = xf && !wf;
    p->delegated = tfl_xnnpack(c) && strcmp(c->node->op, "DEPTHWISE_CONV_2D") != 0;
    if (!xf) {
        bool good = !p->bias || p->bias->dtype == DT_S32 || p->bias->dtype == DT_S64;
        return good ? product_codes(p, rounding_of(c, how), err)
                    : err_set(err, E_SHAPE, "bias is %s, expected integers",
                              dtype_name(p->bias->dtype));
    }
    if (p->bias && p->bias->dtype != DT_F32) {
        return err_set(err, E_SHAPE, "bias is %s, expected float32", dtype_name(p->bias->dtype));
    }
    p->bias_f = p->bias ? p->bias->data : NULL;
    return tfl_activation_float(c, &p->lo, &p->hi, err);
}

/* Sum and bias of filter o to codes. */
static int32_t finish_code(const struct layer_product *p, int64_t o, int64_t acc)
{
    if (p->bias) {
        int64_t b = p->bias->dtype == DT_S32 ? ((const int32_t *)p->bias->data)[o]
                                             : ((const int64_t *)p->bias->data)[o];
        acc = (int64_t)((uint64_t)acc + (uint64_t)b);
    }
    if (p->c->in[0]->dtype != DT_S16) {
        acc = (int32_t)(uint32_t)(uint64_t)acc; /* sums of 8-bit codes wrap */
    }
    return tfl_clamp((int64_t)tfl_apply(acc, &p->requant[o]) + p->y.z, &p->y);
}

static float finish_float(const struct layer_product *p, int64_t o, float v)
{
    v = p->bias_f ? v + p->bias_f[o] : v;
    return v < p->lo ? p->lo : v > p->hi ? p->hi : v;
}

/* Codes of `rows` patches times all filters into output elements [at, ...). */
static void product_run_codes(const struct layer_product *p, const int16_t *x, int64_t rows,
                              struct tensor *y, size_t at)
{
    int32_t line[CODE_BLOCK];
    for (int64_t o0 = 0; o0 < p->filters; o0 += CODE_BLOCK) {
        int64_t n = MIN(p->filters - o0, (int64_t)CODE_BLOCK);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t o = 0; o < n; o++) {
                line[o] = finish_code(p, o0 + o,
                                      dot(x + r * p->depth, p->wi + (o0 + o) * p->depth, p->depth));
            }
            codes_put(y, at + (size_t)(r * p->filters + o0), (size_t)n, line);
        }
    }
}

static void product_run_float(const struct layer_product *p, const float *x, int64_t rows, float *y)
{
    float_product(x, p->wf, rows, p->filters, p->depth, y);
    for (int64_t i = 0; i < rows * p->filters; i++) {
        y[i] = finish_float(p, i % p->filters, y[i]);
    }
}

/* ---- Hybrid: activations quantized on the way ------------------------------------------------ */

/* Symmetric codes: scale from the largest magnitude. */
static float quantize_symmetric(const float *x, size_t n, int16_t *q)
{
    float top = 0.0F;
    for (size_t i = 0; i < n; i++) {
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    float inverse = top > 0.0F ? 127.0F / top : 0.0F;
    for (size_t i = 0; i < n; i++) {
        int32_t v = tfl_round((double)(x[i] * inverse));
        q[i] = (int16_t)(v < -127 ? -127 : v > 127 ? 127 : v);
    }
    return top > 0.0F ? top / 127.0F : 1.0F;
}

/* Asymmetric codes over [min(0, x), max(0, x)], the zero point taken off again. */
static float quantize_asymmetric(const float *x, size_t n, int16_t *q)
{
    float least = 0.0F, most = 0.0F;
    for (size_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (least == most) {
        memset(q, 0, n * sizeof *q);
        return 1.0F;
    }
    double scale = ((double)most - (double)least) / 255.0;
    double from_min = -128.0 - (double)least / scale, from_max = 127.0 - (double)most / scale;
    double err_min = 128.0 + fabs((double)least / scale);
    double err_max = 127.0 + fabs((double)most / scale);
    double zero = err_min < err_max ? from_min : from_max;
    int32_t z = zero <= -128.0 ? -128 : zero >= 127.0 ? 127 : tfl_round(zero);
    float inverse = 1.0F / (float)scale;
    for (size_t i = 0; i < n; i++) {
        int32_t v = tfl_round((double)((float)z + x[i] * inverse));
        q[i] = (int16_t)((v < -128 ? -128 : v > 127 ? 127 : v) - z);
    }
    return (float)scale;
}

static void product_run_hybrid(const struct layer_product *p, const int16_t *x, int64_t rows,
                               float s, float *y)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < p->filters; o++) {
            int64_t acc = dot(x + r * p->depth, p->wi + o * p->depth, p->depth);
            y[r * p->filters + o] = finish_float(p, o, (float)acc * (s * weight_scale(p, o)));
        }
    }
}

/* XNNPACK's own, in float, halves to even. */
static float quantize_xnnpack(const float *x, size_t n, int16_t *q)
{
    float least = 0.0F, most = 0.0F;
    for (size_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    float scale = least == most ? 1.0F : 255.0F / (most - least);
    float from_min = -128.0F - least * scale, from_max = 127.0F - most * scale;
    float zero =
        (128.0F + fabsf(least * scale)) < (127.0F + fabsf(most * scale)) ? from_min : from_max;
    int32_t z = (int32_t)rintf(clamp_x86(zero, -128.0F, 127.0F));
    for (size_t i = 0; i < n; i++) {
        float v = clamp_x86(x[i] * scale, (float)(-128 - z), (float)(127 - z));
        q[i] = (int16_t)rintf(v);
    }
    return 1.0F / scale;
}

/* Codes of n floats; returns their scale. */
static float quantize_row(const struct layer_product *p, const float *x, size_t n, int16_t *q)
{
    bool asymmetric = p->scales->n > 1 || attr_int(p->c->node, "asymmetric_quantize_inputs", 0);
    return p->delegated ? quantize_xnnpack(x, n, q)
           : asymmetric ? quantize_asymmetric(x, n, q)
                        : quantize_symmetric(x, n, q);
}

/* Rows that follow each other in the input, each with parameters of its own when hybrid. */
static void connect_rows(const struct layer_product *p, int64_t rows, int16_t *line,
                         struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    for (int64_t r = 0; r < rows; r++) {
        size_t from = (size_t)(r * p->depth), to = (size_t)(r * p->filters);
        if (p->hybrid) {
            float s = quantize_row(p, (const float *)x->data + from, (size_t)p->depth, line);
            product_run_hybrid(p, line, 1, s, (float *)y->data + to);
        } else {
            widen(x, from, (size_t)p->depth, p->x.z, line);
            product_run_codes(p, line, 1, y, to);
        }
    }
}

/* ---- CONV_2D -------------------------------------------------------------------------------- */

/* Gathers the patch of one output pixel; elements outside of the image are 0. `size` 2 or 4. */
static void gather(const struct tfl_window *w, const uint8_t *x, int64_t oy, int64_t ox,
                   size_t size, uint8_t *dst)
{
    int64_t y0 = oy * w->sh - w->pt, x0 = ox * w->sw - w->pl, a0, a1, b0, b1;
    size_t pixel = (size_t)w->c * size, line = (size_t)w->kw * pixel;
    tfl_window_clip(y0, w->h, w->kh, w->dh, &a0, &a1);
    tfl_window_clip(x0, w->w, w->kw, w->dw, &b0, &b1);
    memset(dst, 0, (size_t)w->kh * line);
    for (int64_t ky = a0; ky < a1; ky++) {
        const uint8_t *row = x + (size_t)((y0 + ky * w->dh) * w->w) * pixel;
        uint8_t *to = dst + (size_t)ky * line;
        if (w->dw == 1 && b1 > b0) {
            memcpy(to + (size_t)b0 * pixel, row + (size_t)(x0 + b0) * pixel,
                   (size_t)(b1 - b0) * pixel);
            continue;
        }
        for (int64_t kx = b0; kx < b1; kx++) {
            memcpy(to + (size_t)kx * pixel, row + (size_t)(x0 + kx * w->dw) * pixel, pixel);
        }
    }
}

/* Scratch of one convolution: an image of widened codes and some patches. */
struct scratch {
    struct tensor *image, *patches;
};

static int scratch_new(const struct layer_product *p, const struct tfl_window *w, struct scratch *s,
                       struct err *err)
{
    bool wide = p->wf != NULL;
    int64_t image = w->h * w->w * w->c, patches[] = {PATCHES, p->depth};
    int rc = wide ? OK : tensor_new(DT_S16, 1, &image, p->c->budget, &s->image, err);
    return rc ? rc : tensor_new(wide ? DT_F32 : DT_S16, 2, patches, p->c->budget, &s->patches, err);
}

static void conv_image(const struct layer_product *p, const struct tfl_window *w, struct scratch *s,
                       int64_t image, struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    size_t n = (size_t)(w->h * w->w * w->c), size = p->wf ? 4 : 2;
    const uint8_t *src = p->wf ? (const uint8_t *)x->data + (size_t)image * n * 4 : s->image->data;
    float dynamic = 0.0F;
    if (p->hybrid) {
        const float *from = (const float *)x->data + (size_t)image * n;
        dynamic = quantize_row(p, from, n, s->image->data);
    } else if (!p->wf) {
        widen(x, (size_t)image * n, n, p->x.z, s->image->data);
    }
    int64_t pixels = w->oh * w->ow;
    for (int64_t at = 0; at < pixels; at += PATCHES) {
        int64_t rows = MIN(pixels - at, (int64_t)PATCHES);
        for (int64_t r = 0; r < rows; r++) {
            gather(w, src, (at + r) / w->ow, (at + r) % w->ow, size,
                   (uint8_t *)s->patches->data + (size_t)(r * p->depth) * size);
        }
        size_t to = (size_t)((image * pixels + at) * p->filters);
        if (p->wf) {
            product_run_float(p, s->patches->data, rows, (float *)y->data + to);
        } else if (p->hybrid) {
            product_run_hybrid(p, s->patches->data, rows, dynamic, (float *)y->data + to);
        } else {
            product_run_codes(p, s->patches->data, rows, y, to);
        }
    }
}

/* A 1x1 filter that moves by single pixels: XNNPACK multiplies its pixels as rows. */
static bool is_pointwise(const struct tfl_window *w)
{
    return w->kh == 1 && w->kw == 1 && w->sh == 1 && w->sw == 1;
}

static int run_conv(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct tfl_window w = {0};
    struct layer_product p = {0};
    struct scratch s = {0};
    if (f->rank != 4) {
        return err_set(err, E_SHAPE, "filter has rank %d, expected 4", f->rank);
    }
    w.kh = f->dims[1];
    w.kw = f->dims[2];
    int rc = tfl_window_read(c, x, &w, err);
    if (!rc && f->dims[3] != w.c) {
        rc = err_set(err, E_UNSUPPORTED,
                     "filter of %" PRId64 " channels on an input of %" PRId64
                     ": grouped convolutions are not supported",
                     f->dims[3], w.c);
    }
    rc = rc ? rc : product_init(&p, c, f->dims[0], w.kh * w.kw * w.c, &ruy, err);
    int64_t dims[] = {w.n, w.oh, w.ow, f->dims[0]};
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, 4, dims, err);
    rc = rc ? rc : scratch_new(&p, &w, &s, err);
    if (!rc && p.hybrid && p.delegated && is_pointwise(&w)) {
        connect_rows(&p, w.n * w.h * w.w, s.patches->data, c->out[0]);
        w.n = 0;
    }
    for (int64_t i = 0; i < w.n && !rc; i++) {
        conv_image(&p, &w, &s, i, c->out[0]);
    }
    tensor_free(s.image);
    tensor_free(s.patches);
    product_fini(&p);
    return rc;
}

/* ---- DEPTHWISE_CONV_2D ---------------------------------------------------------------------- */

/* Adds one tap: channel i of the input feeds outputs i * m .. i * m + m - 1. */
static void tap_codes(const int16_t *x, const int16_t *f, int64_t channels, int64_t m, int32_t *acc)
{
    if (m == 1) {
        for (int64_t i = 0; i < channels; i++) {
            acc[i] += (int32_t)x[i] * f[i];
        }
        return;
    }
    for (int64_t i = 0; i < channels; i++) {
        for (int64_t j = 0; j < m; j++) {
            acc[i * m + j] += (int32_t)x[i] * f[i * m + j];
        }
    }
}

static void tap_float(const float *x, const float *f, int64_t channels, int64_t m, float *acc)
{
    for (int64_t i = 0; i < channels; i++) {
        for (int64_t j = 0; j < m; j++) {
            acc[i * m + j] += x[i] * f[i * m + j];
        }
    }
}

/* One output pixel into acc [filters], int32 or float. */
static void depthwise_pixel(const struct layer_product *p, const struct tfl_window *w,
                            const void *src, int64_t oy, int64_t ox, void *acc)
{
    int64_t y0 = oy * w->sh - w->pt, x0 = ox * w->sw - w->pl, a0, a1, b0, b1;
    tfl_window_clip(y0, w->h, w->kh, w->dh, &a0, &a1);
    tfl_window_clip(x0, w->w, w->kw, w->dw, &b0, &b1);
    memset(acc, 0, (size_t)p->filters * 4);
    for (int64_t ky = a0; ky < a1; ky++) {
        for (int64_t kx = b0; kx < b1; kx++) {
            int64_t at = ((y0 + ky * w->dh) * w->w + x0 + kx * w->dw) * w->c;
            int64_t f = (ky * w->kw + kx) * p->filters, m = p->filters / w->c;
            if (p->wf) {
                tap_float((const float *)src + at, p->wf + f, w->c, m, acc);
            } else {
                tap_codes((const int16_t *)src + at, p->wi + f, w->c, m, acc);
            }
        }
    }
}

static void depthwise_image(const struct layer_product *p, const struct tfl_window *w,
                            struct scratch *s, int64_t image, struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    size_t n = (size_t)(w->h * w->w * w->c), at = (size_t)(image * w->oh * w->ow * p->filters);
    const void *src = p->wf ? (const void *)((const float *)x->data + (size_t)image * n)
                            : (const void *)s->image->data;
    float dynamic = 0.0F;
    if (p->hybrid) {
        dynamic = quantize_row(p, (const float *)x->data + (size_t)image * n, n, s->image->data);
    } else if (!p->wf) {
        widen(x, (size_t)image * n, n, p->x.z, s->image->data);
    }
    int32_t *acc = s->patches->data;
    for (int64_t i = 0; i < w->oh * w->ow; i++, at += (size_t)p->filters) {
        depthwise_pixel(p, w, src, i / w->ow, i % w->ow, acc);
        for (int64_t o = 0; o < p->filters; o++) {
            if (p->wf) {
                ((float *)y->data)[at + (size_t)o] = finish_float(p, o, ((float *)acc)[o]);
            } else if (p->hybrid) {
                float v = (float)acc[o] * (dynamic * weight_scale(p, o));
                ((float *)y->data)[at + (size_t)o] = finish_float(p, o, v);
            } else {
                acc[o] = finish_code(p, o, acc[o]);
            }
        }
        if (p->requant) {
            codes_put(y, at, (size_t)p->filters, acc);
        }
    }
}

/* The optimised int8 kernel takes channels by eight; what is left goes through the reference's
 * rounding. */
enum { DEPTHWISE_STEP = 8 };

static void round_rest(struct layer_product *p)
{
    for (int64_t o = p->filters / DEPTHWISE_STEP * DEPTHWISE_STEP; p->requant && o < p->filters;
         o++) {
        p->requant[o].how = p->requant[o].how == TFL_UP ? TFL_TWICE : p->requant[o].how;
    }
}

static int run_depthwise(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct tfl_window w = {0};
    struct layer_product p = {0};
    struct scratch s = {0};
    if (f->rank != 4 || f->dims[0] != 1) {
        return err_set(err, E_SHAPE, "filter is not of shape 1xhxwxc");
    }
    w.kh = f->dims[1];
    w.kw = f->dims[2];
    int rc = tfl_window_read(c, x, &w, err);
    if (!rc && (w.c < 1 || f->dims[3] % w.c)) {
        rc = err_set(err, E_SHAPE, "%" PRId64 " filters for %" PRId64 " channels", f->dims[3], w.c);
    }
    if (!rc && w.kh * w.kw > SUM_BLOCK) {
        rc = err_set(err, E_UNSUPPORTED, "filter of %" PRId64 "x%" PRId64 " is too large", w.kh,
                     w.kw);
    }
    rc = rc ? rc
            : product_init(&p, c, f->dims[3], w.kh * w.kw, x->dtype == DT_U8 ? &twice : &ruy, err);
    round_rest(&p);
    int64_t dims[] = {w.n, w.oh, w.ow, f->dims[3]}, image = w.h * w.w * w.c;
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, 4, dims, err);
    rc = rc || p.wf ? rc : tensor_new(DT_S16, 1, &image, c->budget, &s.image, err);
    rc = rc ? rc : tensor_new(DT_S32, 1, &f->dims[3], c->budget, &s.patches, err);
    for (int64_t i = 0; i < w.n && !rc; i++) {
        depthwise_image(&p, &w, &s, i, c->out[0]);
    }
    tensor_free(s.image);
    tensor_free(s.patches);
    product_fini(&p);
    return rc;
}

/* ---- FULLY_CONNECTED ------------------------------------------------------------------------ */

/* Output dims: [rows, filters], or the input's with the last one replaced. */
static int connected_dims(const struct op_call *c, int64_t rows, int64_t filters, int64_t depth,
                          int64_t *dims)
{
    const struct tensor *x = c->in[0];
    bool keep =
        attr_int(c->node, "keep_num_dims", 0) && x->rank > 0 && x->dims[x->rank - 1] == depth;
    int rank = keep ? x->rank : 2;
    dims[0] = rows;
    for (int d = 0; keep && d < rank; d++) {
        dims[d] = x->dims[d];
    }
    dims[rank - 1] = filters;
    return rank;
}

static int run_connected(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct layer_product p = {0};
    struct tensor *line = NULL;
    int64_t dims[MAX_RANK];
    if (attr_int(c->node, "weights_format", 0)) {
        return err_set(err, E_UNSUPPORTED, "shuffled weights are not supported");
    }
    if (f->rank != 2 || f->dims[1] < 1 || x->n % (size_t)f->dims[1]) {
        char a[128], b[128];
        return err_set(err, E_SHAPE, "input %s does not fit weights %s",
                       shape_text(a, sizeof a, x->rank, x->dims),
                       shape_text(b, sizeof b, f->rank, f->dims));
    }
    int64_t rows = (int64_t)(x->n / (size_t)f->dims[1]);
    int rc = product_init(&p, c, f->dims[0], f->dims[1],
                          &(struct roundings){TFL_ONCE, TFL_UP, TFL_ONCE}, err);
    int rank = connected_dims(c, rows, f->dims[0], f->dims[1], dims);
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, rank, dims, err);
    rc = rc || p.wf ? rc : tensor_new(DT_S16, 1, &f->dims[1], c->budget, &line, err);
    if (!rc && p.wf) {
        product_run_float(&p, x->data, rows, c->out[0]->data);
    } else if (!rc) {
        connect_rows(&p, rows, line->data, c->out[0]);
    }
    tensor_free(line);
    product_fini(&p);
    return rc;
}

const struct op op_tfl_conv[] = {
    {.name = "CONV_2D",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_conv,
     .prepare = weights_prepare,
     .release = weights_release,
     .spec = "LiteRT conv.cc, XNNPACK convolution"},
    {.name = "DEPTHWISE_CONV_2D",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_depthwise,
     .prepare = weights_prepare,
     .release = weights_release,
     .spec = "LiteRT depthwise_conv.cc, XNNPACK convolution"},
    {.name = "FULLY_CONNECTED",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_connected,
     .prepare = weights_prepare,
     .release = weights_release,
     .spec = "LiteRT fully_connected.cc, XNNPACK fully connected"},
    {0},
};
