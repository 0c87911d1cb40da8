/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * resize.c: Image.resize() of Pillow for 8-bit images, equal to the last bit: separable filters
 * whose support grows with the reduction factor, coefficients in 22-bit fixed point, rounded to 8
 * bits after each of the two passes. It knows no model and no preprocessing.
 */
#include "formats/rows.h"

#include <math.h>
#include <stdlib.h>

enum { PRECISION = 22 }; /* fraction bits: 8 bits of pixel and 2 of headroom stay in an int32 */

/* ---- Filters: weight by distance from the center, zero beyond the support. ------------------ */

static double filter_box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double filter_bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double filter_bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    }
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

static double sinc(double x)
{
    x *= M_PI;
    return x == 0.0 ? 1.0 : sin(x) / x;
}

static double filter_lanczos(double x)
{
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

struct filter {
    double (*weight)(double x);
    double support; /* pixels each side at scale 1 */
};

static const struct filter filters[] = {
    [PP_BILINEAR] = {filter_bilinear, 1.0},
    [PP_BICUBIC] = {filter_bicubic, 2.0},
    [PP_LANCZOS] = {filter_lanczos, 3.0},
    [PP_BOX] = {filter_box, 0.5},
};

/* ---- Coefficients: which input pixels make one output pixel, and with what weight. ---------- */

struct window {
    int first, n; /* input pixels */
};

struct coefficients {
    int width;              /* weights kept per output pixel */
    struct window *windows; /* one per output pixel */
    int32_t *weights;       /* out * width, fixed point */
};

static void coefficients_fini(struct coefficients *c)
{
    free(c->windows);
    free(c->weights);
}

/* Weights of the output pixel whose center lies at `center` in the input. */
static struct window window_weights(const struct filter *f, double center, double stretch, int in,
                                    double *w)
{
    double support = f->support * stretch, sum = 0.0;
    int first = MAX((int)(center - support + 0.5), 0);
    int n = MIN((int)(center + support + 0.5), in) - first;
    /* Multiplied, not divided, because Pillow does so. */
    double shrink = 1.0 / stretch;
    for (int i = 0; i < n; i++) {
        w[i] = f->weight((i + first - center + 0.5) * shrink);
        sum += w[i];
    }
    for (int i = 0; i < n && sum != 0.0; i++) {
        w[i] /= sum;
    }
    return (struct window){first, n};
}

static int32_t to_fixed(double w)
{
    return (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << PRECISION));
}

static int coefficients_new(const struct filter *f, int in, int out, struct coefficients *c,
                            struct err *err)
{
    double scale = (double)in / out;
    double stretch = MAX(scale, 1.0);
    /* in, out <= IMAGE_MAX_SIDE and support <= 3: width * out stays below 2^20. */
    c->width = (int)ceil(f->support * stretch) * 2 + 1;
    c->windows = calloc((size_t)out, sizeof *c->windows);
    c->weights = calloc((size_t)out * (size_t)c->width, sizeof *c->weights);
    double *w = calloc((size_t)c->width, sizeof *w);
    if (!c->windows || !c->weights || !w) {
        free(w);
        return err_set(err, E_LIMIT, "no memory to resize from %d to %d pixels", in, out);
    }
    for (int i = 0; i < out; i++) {
        c->windows[i] = window_weights(f, (i + 0.5) * scale, stretch, in, w);
        for (int k = 0; k < c->windows[i].n; k++) {
            c->weights[(size_t)i * (size_t)c->width + (size_t)k] = to_fixed(w[k]);
        }
    }
    free(w);
    return OK;
}

/* ---- Passes --------------------------------------------------------------------------------- */

/* Sum of n pixels `step` bytes apart, weighted, rounded and clipped to 8 bits. */
static uint8_t weighted(const uint8_t *px, size_t step, const int32_t *weights, int n)
{
    int32_t sum = 1 << (PRECISION - 1);
    for (int k = 0; k < n; k++) {
        sum += px[(size_t)k * step] * weights[k];
    }
    /* Arithmetic shift, as every compiler we build with does it. */
    return (uint8_t)MAX(0, MIN(sum >> PRECISION, UINT8_MAX));
}

static void pass_rows(const struct image *im, const struct coefficients *c, struct image *out)
{
    size_t ch = (size_t)im->channels;
    for (int y = 0; y < out->h; y++) {
        const uint8_t *row = im->px + (size_t)y * (size_t)im->w * ch;
        uint8_t *dst = out->px + (size_t)y * (size_t)out->w * ch;
        for (int x = 0; x < out->w; x++) {
            struct window v = c->windows[x];
            const int32_t *weights = c->weights + (size_t)x * (size_t)c->width;
            for (size_t b = 0; b < ch; b++) {
                *dst++ = weighted(row + (size_t)v.first * ch + b, ch, weights, v.n);
            }
        }
    }
}

static void pass_columns(const struct image *im, const struct coefficients *c, struct image *out)
{
    size_t stride = (size_t)im->w * (size_t)im->channels;
    for (int y = 0; y < out->h; y++) {
        struct window v = c->windows[y];
        const int32_t *weights = c->weights + (size_t)y * (size_t)c->width;
        const uint8_t *top = im->px + (size_t)v.first * stride;
        uint8_t *dst = out->px + (size_t)y * stride;
        for (size_t i = 0; i < stride; i++) {
            dst[i] = weighted(top + i, stride, weights, v.n);
        }
    }
}

typedef void resize_pass(const struct image *im, const struct coefficients *c, struct image *out);

/* One pass from `in` to `out` pixels along one axis; the result is w x h. */
static int resize_axis(const struct image *im, int w, int h, const struct filter *f, int in,
                       int out, resize_pass *pass, struct image *dst, struct err *err)
{
    struct coefficients c = {0};
    int rc = image_new(w, h, im->channels, dst, err);
    if (!rc) {
        rc = coefficients_new(f, in, out, &c, err);
        if (rc) {
            image_fini(dst);
        } else {
            pass(im, &c, dst);
        }
    }
    coefficients_fini(&c);
    return rc;
}

/* Source pixel of each output pixel. Pillow adds up positions instead of multiplying, and the
 * rounding errors of that decide which pixel is taken. */
static void nearest_sources(int in, int out, int *src)
{
    double step = (double)in / out, pos = step * 0.5;
    for (int i = 0; i < out; i++) {
        src[i] = MIN((int)pos, in - 1);
        pos += step;
    }
}

static int resize_nearest(const struct image *im, int w, int h, struct image *out, struct err *err)
{
    int rc = image_new(w, h, im->channels, out, err);
    if (rc) {
        return rc;
    }
    size_t ch = (size_t)im->channels;
    int *src = mem_alloc(((size_t)w + (size_t)h) * sizeof *src);
    int *xs = src, *ys = src + w;
    nearest_sources(im->w, w, xs);
    nearest_sources(im->h, h, ys);
    uint8_t *dst = out->px;
    for (int y = 0; y < h; y++) {
        const uint8_t *row = im->px + (size_t)ys[y] * (size_t)im->w * ch;
        for (int x = 0; x < w; x++, dst += ch) {
            memcpy(dst, row + (size_t)xs[x] * ch, ch);
        }
    }
    free(src);
    return OK;
}

/* Pillow 13 shrinks the height first when it loses more than twice the pixels the width does; older
 * ones never did, which is at most 1/255 away with the bilinear filter. */
static bool columns_first(const struct image *im, int w, int h)
{
    return im->h > h && im->h - h > 2 * (im->w - w);
}

int image_resize(const struct image *im, int w, int h, enum pp_resize filter, struct image *out,
                 struct err *err)
{
    const struct filter *f = &filters[filter];
    struct image half = {0};
    int rc;
    if (filter == PP_NEAREST || (w == im->w && h == im->h)) {
        return resize_nearest(im, w, h, out, err);
    }
    /* A pass whose axis keeps its length is left out, as in Pillow. */
    if (h == im->h) {
        return resize_axis(im, w, h, f, im->w, w, pass_rows, out, err);
    }
    if (w == im->w) {
        return resize_axis(im, w, h, f, im->h, h, pass_columns, out, err);
    }
    if (columns_first(im, w, h)) {
        rc = resize_axis(im, im->w, h, f, im->h, h, pass_columns, &half, err);
        if (!rc) {
            rc = resize_axis(&half, w, h, f, im->w, w, pass_rows, out, err);
        }
    } else {
        rc = resize_axis(im, w, im->h, f, im->w, w, pass_rows, &half, err);
        if (!rc) {
            rc = resize_axis(&half, w, h, f, im->h, h, pass_columns, out, err);
        }
    }
    image_fini(&half);
    return rc;
}
