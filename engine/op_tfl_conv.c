/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_conv.c: CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED of TensorFlow Lite models: geometry
 * and order of work. The arithmetic is in tfl_product.c.
 */
#include "engine/tfl_fast.h"

#include <inttypes.h>

enum { PATCHES = 64 }; /* output pixels that CONV_2D gathers at a time */

static const struct tfl_roundings ruy = {TFL_TWICE, TFL_UP, TFL_WIDE};
static const struct tfl_roundings twice = {TFL_TWICE, TFL_TWICE, TFL_WIDE};

/* ---- CONV_2D -------------------------------------------------------------------------------- */

/* Scratch of one convolution: an image of widened codes and some patches. */
struct scratch {
    struct tensor *image, *patches;
};

static int patches_new(const struct tfl_product *p, const struct tfl_window *w, struct scratch *s,
                       struct err *err)
{
    bool wide = p->wf != NULL;
    int64_t image = w->h * w->w * w->c, patches[] = {PATCHES, p->depth};
    int rc = wide ? OK : tensor_new(DT_S16, 1, &image, p->c->budget, &s->image, err);
    return rc ? rc : tensor_new(wide ? DT_F32 : DT_S16, 2, patches, p->c->budget, &s->patches, err);
}

static void conv_image(const struct tfl_product *p, const struct tfl_window *w, struct scratch *s,
                       int64_t image, struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    size_t n = (size_t)(w->h * w->w * w->c), size = p->wf ? 4 : 2;
    const uint8_t *src = p->wf ? (const uint8_t *)x->data + (size_t)image * n * 4 : s->image->data;
    float dynamic = 0.0F;
    if (p->hybrid) {
        const float *from = (const float *)x->data + (size_t)image * n;
        dynamic = tfl_quantize_row(p, from, n, s->image->data);
    } else if (!p->wf) {
        tfl_widen(x, (size_t)image * n, n, p->x.z, s->image->data);
    }
    int64_t pixels = w->oh * w->ow;
    for (int64_t at = 0; at < pixels; at += PATCHES) {
        int64_t rows = MIN(pixels - at, (int64_t)PATCHES);
        for (int64_t r = 0; r < rows; r++) {
            tfl_gather(w, src, (at + r) / w->ow, (at + r) % w->ow, size, 0,
                       (uint8_t *)s->patches->data + (size_t)(r * p->depth) * size);
        }
        size_t to = (size_t)((image * pixels + at) * p->filters);
        if (p->wf) {
            tfl_product_float(p, s->patches->data, rows, (float *)y->data + to);
        } else if (p->hybrid) {
            tfl_product_hybrid(p, s->patches->data, rows, dynamic, (float *)y->data + to);
        } else {
            tfl_product_codes(p, s->patches->data, rows, y, to);
        }
    }
}

/* A 1x1 filter that moves by single pixels: XNNPACK multiplies its pixels as rows, except where one
 * channel makes one. */
static bool is_pointwise(const struct tfl_window *w, int64_t filters)
{
    return w->kh == 1 && w->kw == 1 && w->sh == 1 && w->sw == 1 && (w->c > 1 || filters > 1);
}

static int conv(struct op_call *c, bool fast, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct tfl_window w = {0};
    struct tfl_product p = {0};
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
    rc = rc ? rc : tfl_product_init(&p, c, f->dims[0], w.kh * w.kw * w.c, &ruy, err);
    int64_t dims[] = {w.n, w.oh, w.ow, f->dims[0]};
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, 4, dims, err);
    tfl_product_rows_are(&p, w.n * w.oh * w.ow);
    if (!rc && fast && tfl_fast_fits(&p)) {
        rc = tfl_fast_conv(&p, &w, err);
        w.n = 0;
    } else {
        rc = rc ? rc : patches_new(&p, &w, &s, err);
    }
    if (!rc && p.hybrid && p.delegated && is_pointwise(&w, p.filters)) {
        tfl_product_rows(&p, w.n * w.h * w.w, s.patches->data, c->out[0]);
        w.n = 0;
    }
    for (int64_t i = 0; i < w.n && !rc; i++) {
        conv_image(&p, &w, &s, i, c->out[0]);
    }
    tensor_free(s.image);
    tensor_free(s.patches);
    tfl_product_fini(&p);
    return rc;
}

static int run_conv(struct op_call *c, struct err *err)
{
    return conv(c, false, err);
}

static int run_conv_fast(struct op_call *c, struct err *err)
{
    return conv(c, true, err);
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

/* One output pixel into acc [filters]. */
static void pixel_codes(const struct tfl_product *p, const struct tfl_window *w, const int16_t *src,
                        int64_t oy, int64_t ox, int32_t *acc)
{
    int64_t y0 = oy * w->sh - w->pt, x0 = ox * w->sw - w->pl, a0, a1, b0, b1;
    tfl_window_clip(y0, w->h, w->kh, w->dh, &a0, &a1);
    tfl_window_clip(x0, w->w, w->kw, w->dw, &b0, &b1);
    memset(acc, 0, (size_t)p->filters * sizeof *acc);
    for (int64_t ky = a0; ky < a1; ky++) {
        for (int64_t kx = b0; kx < b1; kx++) {
            int64_t at = ((y0 + ky * w->dh) * w->w + x0 + kx * w->dw) * w->c;
            int64_t f = (ky * w->kw + kx) * p->filters, m = p->filters / w->c;
            tap_codes(src + at, p->wi + f, w->c, m, acc);
        }
    }
}

static void pixel_floats(const struct tfl_product *p, const struct tfl_window *w, const float *src,
                         int64_t oy, int64_t ox, float *y)
{
    size_t at[TFL_SUM_BLOCK], tap[TFL_SUM_BLOCK], n = tfl_float_taps(p, w, oy, ox, at, tap);
    int64_t m = p->filters / w->c;
    for (int64_t o = 0; o < p->filters; o++) {
        float sum = tfl_sum_start(p, o);
        for (size_t i = 0; i < n; i++) {
            sum = tfl_sum_add(p, sum, src[at[i] + (size_t)(o / m)],
                              p->wf[tap[i] * (size_t)p->filters + (size_t)o]);
        }
        y[o] = tfl_sum_end(p, o, sum);
    }
}

static void depthwise_image(const struct tfl_product *p, const struct tfl_window *w,
                            struct scratch *s, int64_t image, struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    size_t n = (size_t)(w->h * w->w * w->c), at = (size_t)(image * w->oh * w->ow * p->filters);
    const float *from = (const float *)x->data + (p->requant ? 0 : (size_t)image * n);
    float *to = (float *)y->data + (p->requant ? 0 : at), dynamic = 0.0F;
    if (p->hybrid) {
        dynamic = tfl_quantize_row(p, from, n, s->image->data);
    } else if (!p->wf) {
        tfl_widen(x, (size_t)image * n, n, p->x.z, s->image->data);
    }
    int32_t *acc = s->patches->data;
    for (int64_t i = 0; i < w->oh * w->ow; i++, at += (size_t)p->filters, to += p->filters) {
        if (p->wf) {
            pixel_floats(p, w, from, i / w->ow, i % w->ow, to);
            continue;
        }
        pixel_codes(p, w, s->image->data, i / w->ow, i % w->ow, acc);
        for (int64_t o = 0; o < p->filters; o++) {
            if (p->hybrid) {
                float v = (float)acc[o] * (dynamic * tfl_weight_scale(p, o));
                to[o] = tfl_finish_float(p, o, v);
            } else {
                acc[o] = tfl_finish_code(p, o, acc[o]);
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

static void round_rest(struct tfl_product *p)
{
    for (int64_t o = p->filters / DEPTHWISE_STEP * DEPTHWISE_STEP; p->requant && o < p->filters;
         o++) {
        p->requant[o].how = p->requant[o].how == TFL_UP ? TFL_TWICE : p->requant[o].how;
    }
}

static int depthwise(struct op_call *c, bool fast, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct tfl_window w = {0};
    struct tfl_product p = {0};
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
    if (!rc && w.kh * w.kw > TFL_SUM_BLOCK) {
        rc = err_set(err, E_UNSUPPORTED, "filter of %" PRId64 "x%" PRId64 " is too large", w.kh,
                     w.kw);
    }
    rc = rc ? rc
            : tfl_product_init(&p, c, f->dims[3], w.kh * w.kw, x->dtype == DT_U8 ? &twice : &ruy,
                               err);
    round_rest(&p);
    int64_t dims[] = {w.n, w.oh, w.ow, f->dims[3]}, image = w.h * w.w * w.c;
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, 4, dims, err);
    if (!rc && fast && tfl_fast_depthwise_fits(&p, &w)) {
        rc = tfl_fast_depthwise(&p, &w, err);
        w.n = 0;
    } else {
        rc = rc || p.wf ? rc : tensor_new(DT_S16, 1, &image, c->budget, &s.image, err);
        rc = rc ? rc : tensor_new(DT_S32, 1, &f->dims[3], c->budget, &s.patches, err);
    }
    for (int64_t i = 0; i < w.n && !rc; i++) {
        depthwise_image(&p, &w, &s, i, c->out[0]);
    }
    tensor_free(s.image);
    tensor_free(s.patches);
    tfl_product_fini(&p);
    return rc;
}

static int run_depthwise(struct op_call *c, struct err *err)
{
    return depthwise(c, false, err);
}

static int run_depthwise_fast(struct op_call *c, struct err *err)
{
    return depthwise(c, true, err);
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

static int connected(struct op_call *c, bool fast, struct err *err)
{
    const struct tensor *x = c->in[0], *f = c->in[1];
    struct tfl_product p = {0};
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
    /* Without biases the optimised kernel multiplies int16 activations with ruy, too. */
    bool wide_ruy = c->numerics != NUM_TFLITE_REF && !tfl_has(c, 2);
    const struct tfl_roundings how = {TFL_ONCE, TFL_UP, wide_ruy ? TFL_UP : TFL_ONCE};
    int rc = tfl_product_init(&p, c, f->dims[0], f->dims[1], &how, err);
    int rank = connected_dims(c, rows, f->dims[0], f->dims[1], dims);
    rc = rc ? rc : op_out(c, 0, p.requant ? tfl_out_dtype(c, x->dtype) : DT_F32, rank, dims, err);
    rc = rc || p.wf ? rc : tensor_new(DT_S16, 1, &f->dims[1], c->budget, &line, err);
    tfl_product_rows_are(&p, rows);
    if (!rc && fast && tfl_fast_fits(&p)) {
        rc = tfl_fast_rows(&p, rows, err);
    } else if (!rc && p.wf) {
        tfl_product_float(&p, x->data, rows, c->out[0]->data);
    } else if (!rc) {
        tfl_product_rows(&p, rows, line->data, c->out[0]);
    }
    tensor_free(line);
    tfl_product_fini(&p);
    return rc;
}

static int run_connected(struct op_call *c, struct err *err)
{
    return connected(c, false, err);
}

static int run_connected_fast(struct op_call *c, struct err *err)
{
    return connected(c, true, err);
}

const struct op op_tfl_conv[] = {
    {.name = "CONV_2D",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_conv,
     .fast = run_conv_fast,
     .prepare = tfl_weights_prepare,
     .release = tfl_weights_release,
     .spec = "LiteRT conv.cc, XNNPACK convolution"},
    {.name = "DEPTHWISE_CONV_2D",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_depthwise,
     .fast = run_depthwise_fast,
     .prepare = tfl_weights_prepare,
     .release = tfl_weights_release,
     .spec = "LiteRT depthwise_conv.cc, XNNPACK convolution"},
    {.name = "FULLY_CONNECTED",
     .domain = "tflite",
     .since = 1,
     .min_in = 2,
     .max_in = 3,
     .ref = run_connected,
     .fast = run_connected_fast,
     .prepare = tfl_weights_prepare,
     .release = tfl_weights_release,
     .spec = "LiteRT fully_connected.cc, XNNPACK fully connected"},
    {0},
};
