/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_tfl_quant.c: operators of TensorFlow Lite that change the type or the size of a picture:
 * QUANTIZE, DEQUANTIZE, CAST, RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR.
 */
#include "engine/tfl.h"

#include <inttypes.h>

/* ---- QUANTIZE ------------------------------------------------------------------------------- */

/* Elements from 0 on that go through vectors: of XNNPACK, which takes 8-bit codes, all; of the
 * optimised kernel those that come by eight. */
static size_t quantize_vectors(const struct op_call *c, enum dtype d)
{
    size_t n = c->in[0]->n;
    return c->numerics == NUM_TFLITE_REF ? 0 : tfl_xnnpack(c) && dtype_size(d) == 1 ? n : n / 8 * 8;
}

/* Vectors: x * (1 / s), halves to even. Else x / s, halves away from 0; the optimised kernel
 * divides in double. */
static int32_t quantize_float(const struct op_call *c, float x, const struct tfl_quant *y,
                              bool vector)
{
    bool ref = c->numerics == NUM_TFLITE_REF;
    float v = vector ? rintf(x * (1.0F / y->s))
              : ref  ? roundf(x / y->s)
                     : (float)round((double)x / (double)y->s);
    v = v > -0x1p30F ? (v < 0x1p30F ? v : 0x1p30F) : -0x1p30F; /* a NaN becomes the lowest code */
    return tfl_clamp((int64_t)v + y->z, y);
}

/* XNNPACK changes parameters with multipliers of 8 bits, for types that it keeps. */
static bool requantizes_in_xnnpack(const struct op_call *c, float ratio)
{
    return tfl_xnnpack(c) && c->in_q[0]->dtype == c->out_q[0]->dtype &&
           dtype_size(c->in_q[0]->dtype) == 1 && ratio >= 0x1p-8F && ratio <= 0x1p7F;
}

/* Elements from 0 on that the optimised kernel takes by sixteen, between 8-bit types; the rest goes
 * through the rounding of the reference. */
static size_t requantize_vectors(const struct op_call *c)
{
    bool bytes = dtype_size(c->in[0]->dtype) == 1 && dtype_size(c->out[0]->dtype) == 1;
    return bytes && c->numerics != NUM_TFLITE_REF ? c->in[0]->n / 16 * 16 : 0;
}

static int requantize(struct op_call *c, const struct tfl_quant *y, struct err *err)
{
    struct tfl_quant x;
    struct tensor *codes = NULL;
    int rc = tfl_input(c, 0, &x, err);
    if (!rc && !x.codes) {
        rc = err_set(err, E_UNSUPPORTED, "input is %s without parameters",
                     dtype_name(c->in[0]->dtype));
    }
    rc = rc ? rc : tfl_codes(c, 0, &codes, err);
    if (rc) {
        return rc;
    }
    struct tfl_scale s;
    float ratio = x.s / y->s;
    bool xnnpack = requantizes_in_xnnpack(c, ratio);
    int64_t m = xnnpack ? (int64_t)lrintf(ratio * 256.0F) : 0;
    int32_t *v = codes->data;
    size_t vectors = requantize_vectors(c);
    tfl_scale_init(&s, TFL_UP, (double)x.s / (double)y->s);
    for (size_t i = 0; i < codes->n; i++) {
        s.how = i < vectors ? TFL_UP : TFL_TWICE;
        int64_t d = (int64_t)v[i] - x.z;
        int64_t q = xnnpack ? (d * m + 128) >> 8 : tfl_apply(d, &s);
        v[i] = tfl_clamp(q + y->z, y);
    }
    codes_put(c->out[0], 0, codes->n, v);
    tensor_free(codes);
    return OK;
}

static int run_quantize(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct tfl_quant y;
    if (!c->out_q[0]) {
        return err_set(err, E_FORMAT, "the output has no scale");
    }
    enum dtype d = c->out_q[0]->dtype;
    int rc = tfl_output(c, 0, d, &y, err);
    rc = rc ? rc : op_out(c, 0, d, x->rank, x->dims, err);
    if (rc || x->dtype != DT_F32) {
        return rc ? rc : requantize(c, &y, err);
    }
    size_t vectors = quantize_vectors(c, d);
    for (size_t i = 0; i < x->n; i++) {
        int32_t code = quantize_float(c, ((const float *)x->data)[i], &y, i < vectors);
        codes_put(c->out[0], i, 1, &code);
    }
    return OK;
}

static int run_dequantize(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (dtype_is_float(x->dtype)) {
        return tensor_to_f32(x, c->budget, &c->out[0], err);
    }
    if (!c->in_q[0]) {
        return err_set(err, E_FORMAT, "the input has no scale");
    }
    return quant_dequantize(x, c->in_q[0], c->budget, &c->out[0], err);
}

/* ---- CAST ----------------------------------------------------------------------------------- */

/* TensorType of the schema, as far as casts go. */
static enum dtype cast_type(int64_t type)
{
    static const enum dtype types[] = {DT_F32,  DT_F16, DT_S32,  DT_U8, DT_S64, DT_NONE,
                                       DT_BOOL, DT_S16, DT_NONE, DT_S8, DT_F64};
    return type >= 0 && type < (int64_t)COUNT(types) ? types[type] : DT_NONE;
}

static int run_cast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    enum dtype d = cast_type(attr_int(c->node, "out_data_type", 0));
    if (d == DT_NONE) {
        return err_set(err, E_UNSUPPORTED, "type %" PRId64 " is not supported",
                       attr_int(c->node, "out_data_type", 0));
    }
    int rc = op_out(c, 0, d, x->rank, x->dims, err);
    bool floats = dtype_is_float(d);
    for (size_t at = 0; at < x->n && !rc; at += ELEM_BLOCK) {
        size_t n = MIN(x->n - at, (size_t)ELEM_BLOCK);
        double f[ELEM_BLOCK];
        int64_t s[ELEM_BLOCK];
        if (floats) {
            elem_get_f64(x, at, n, f);
            elem_put_f64(c->out[0], at, n, f);
        } else if (d == DT_BOOL) {
            elem_get_f64(x, at, n, f);
            for (size_t i = 0; i < n; i++) {
                s[i] = f[i] != 0.0;
            }
            elem_put_s64(c->out[0], at, n, s);
        } else {
            elem_get_s64(x, at, n, s);
            elem_put_s64(c->out[0], at, n, s);
        }
    }
    return rc;
}

/* ---- Resizing ------------------------------------------------------------------------------- */

struct resize {
    int64_t n, h, w, c, oh, ow;
    bool corners, centers;
};

static int resize_read(struct op_call *c, struct resize *r, struct err *err)
{
    const struct tensor *x = c->in[0];
    int64_t size[2];
    size_t n = 0;
    int rc = op_int_list(c->in[1], 2, size, &n, err);
    if (!rc && (n != 2 || x->rank != 4)) {
        rc = err_set(err, E_SHAPE, "%zu sizes for an input of rank %d", n, x->rank);
    }
    if (!rc &&
        (size[0] < 1 || size[1] < 1 || size[0] > INT16_MAX || size[1] > INT16_MAX ||
         x->dims[1] < 1 || x->dims[2] < 1 || x->dims[1] > INT16_MAX || x->dims[2] > INT16_MAX)) {
        rc = err_set(err, E_UNSUPPORTED, "resizing to %" PRId64 "x%" PRId64, size[0], size[1]);
    }
    if (rc) {
        return rc;
    }
    *r = (struct resize){.n = x->dims[0],
                         .h = x->dims[1],
                         .w = x->dims[2],
                         .c = x->dims[3],
                         .oh = size[0],
                         .ow = size[1],
                         .corners = attr_int(c->node, "align_corners", 0),
                         .centers = attr_int(c->node, "half_pixel_centers", 0)};
    int64_t dims[] = {r->n, r->oh, r->ow, r->c};
    return op_out(c, 0, x->dtype, 4, dims, err);
}

/* Position of output o in the input: the two neighbours and how far from the first. */
struct tap {
    int64_t a, b;
    int32_t part; /* in units of 2^-10 or 2^-11 */
    float exact;
};

static float resize_ratio(const struct resize *r, int64_t in, int64_t out)
{
    return r->corners && out > 1 ? (float)(in - 1) / (float)(out - 1) : (float)in / (float)out;
}

static struct tap tap_float(const struct resize *r, int64_t o, int64_t in, int64_t out)
{
    float ratio = resize_ratio(r, in, out);
    float v = r->centers ? ((float)o + 0.5F) * ratio - 0.5F : (float)o * ratio;
    struct tap t = {.a = MAX((int64_t)floorf(v), 0), .b = MIN((int64_t)ceilf(v), in - 1)};
    t.a = MIN(t.a, in - 1);
    t.b = MAX(t.b, 0);
    t.exact = v - (float)t.a;
    return t;
}

/* The built-in integer kernel: positions in units of 2^-10. */
static struct tap tap_builtin(const struct resize *r, int64_t o, int64_t in, int64_t out)
{
    bool corners = r->corners && out > 1;
    int64_t ratio =
        corners ? (1024 * (in - 1) + (out - 1) / 2) / (out - 1) : (1024 * in + out / 2) / out;
    int64_t v = r->centers ? o * ratio + ratio / 2 - 512 : o * ratio;
    struct tap t = {.a = MAX(v / 1024, 0), .b = MIN((v + 1023) / 1024, in - 1)};
    t.a = MIN(t.a, in - 1);
    t.b = MAX(t.b, 0);
    t.part = (int32_t)(v - 1024 * t.a);
    return t;
}

/* XNNPACK: weights of 11 bits, positions clamped to the picture. */
static struct tap tap_xnnpack(const struct resize *r, int64_t o, int64_t in, int64_t out)
{
    float ratio = resize_ratio(r, in, out), last = (float)(in - 1);
    float v = r->centers ? (float)o * ratio + (0.5F * ratio - 0.5F) : (float)o * ratio;
    v = v < 0.0F ? 0.0F : v > last ? last : v;
    struct tap t = {.a = (int64_t)v};
    t.b = MIN(t.a + 1, in - 1);
    t.exact = v - (float)t.a;
    t.part = (int32_t)lrintf(t.exact * 2048.0F);
    return t;
}

static float blend_floats(const float v[4], const struct tap *y, const struct tap *x)
{
    float fy = y->exact, fx = x->exact;
    return v[0] * (1.0F - fy) * (1.0F - fx) + v[2] * fy * (1.0F - fx) + v[1] * (1.0F - fy) * fx +
           v[3] * fy * fx;
}

/* The optimised kernel multiplies the weights first. */
static float blend_weighted(const float v[4], const struct tap *y, const struct tap *x)
{
    float fy = y->exact, fx = x->exact;
    return v[0] * ((1.0F - fy) * (1.0F - fx)) + v[1] * ((1.0F - fy) * fx) +
           v[2] * (fy * (1.0F - fx)) + v[3] * (fy * fx);
}

static int32_t blend_codes(const struct op_call *c, const int32_t v[4], const struct tap *y,
                           const struct tap *x)
{
    if (!tfl_xnnpack(c) && c->in[0]->dtype == DT_U8) {
        const float f[] = {(float)v[0], (float)v[1], (float)v[2], (float)v[3]};
        return (int32_t)((c->numerics == NUM_TFLITE_REF ? blend_floats(f, y, x)
                                                        : blend_weighted(f, y, x)) +
                         0.5F);
    }
    if (tfl_xnnpack(c) && c->in[0]->dtype != DT_S16) {
        int32_t top = v[0] * 2048 + (v[1] - v[0]) * x->part;
        int32_t low = v[2] * 2048 + (v[3] - v[2]) * x->part;
        int64_t all = (int64_t)top * 2048 + (int64_t)(low - top) * y->part;
        return (int32_t)((all + (1 << 21)) >> 22);
    }
    int64_t all = (int64_t)v[0] * (1024 - y->part) * (1024 - x->part) +
                  (int64_t)v[2] * y->part * (1024 - x->part) +
                  (int64_t)v[1] * (1024 - y->part) * x->part + (int64_t)v[3] * y->part * x->part;
    return (int32_t)((all + (all > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
}

static struct tap tap_of(const struct op_call *c, const struct resize *r, int64_t o, int64_t in,
                         int64_t out)
{
    enum dtype d = c->in[0]->dtype;
    return tfl_xnnpack(c) && d != DT_S16 ? tap_xnnpack(r, o, in, out)
           : d == DT_S8 || d == DT_S16   ? tap_builtin(r, o, in, out)
                                         : tap_float(r, o, in, out);
}

/* Channels of one output pixel; in[]: first elements of the four neighbours. */
static void blend_pixel(struct op_call *c, const size_t in[4], size_t out, size_t channels,
                        const struct tap *y, const struct tap *x)
{
    const struct tensor *t = c->in[0];
    for (size_t k = 0; k < channels; k++) {
        if (t->dtype == DT_F32) {
            float v[4];
            for (int i = 0; i < 4; i++) {
                v[i] = ((const float *)t->data)[in[i] + k];
            }
            ((float *)c->out[0]->data)[out + k] = blend_floats(v, y, x);
        } else {
            int32_t v[4], code;
            for (int i = 0; i < 4; i++) {
                codes_get(t, in[i] + k, 1, &v[i]);
            }
            code = blend_codes(c, v, y, x);
            codes_put(c->out[0], out + k, 1, &code);
        }
    }
}

static int run_resize_bilinear(struct op_call *c, struct err *err)
{
    struct resize r;
    enum dtype d = c->in[0]->dtype;
    if (d != DT_F32 && d != DT_S8 && d != DT_U8 && d != DT_S16) {
        return err_set(err, E_UNSUPPORTED, "input is %s", dtype_name(d));
    }
    int rc = resize_read(c, &r, err);
    for (int64_t i = 0; !rc && i < r.n * r.oh * r.ow; i++) {
        int64_t image = i / (r.oh * r.ow), oy = i / r.ow % r.oh, ox = i % r.ow;
        struct tap y = tap_of(c, &r, oy, r.h, r.oh), x = tap_of(c, &r, ox, r.w, r.ow);
        size_t in[4];
        for (int k = 0; k < 4; k++) {
            int64_t row = k < 2 ? y.a : y.b, col = k % 2 ? x.b : x.a;
            in[k] = (size_t)(((image * r.h + row) * r.w + col) * r.c);
        }
        blend_pixel(c, in, (size_t)(i * r.c), (size_t)r.c, &y, &x);
    }
    return rc;
}

static int64_t nearest(const struct resize *r, int64_t o, int64_t in, int64_t out)
{
    float ratio = resize_ratio(r, in, out), offset = r->centers ? 0.5F : 0.0F;
    float v = ((float)o + offset) * ratio;
    int64_t at = (int64_t)(r->corners ? roundf(v) : floorf(v));
    return MAX(0, MIN(at, in - 1));
}

static int run_resize_nearest(struct op_call *c, struct err *err)
{
    struct resize r;
    int rc = resize_read(c, &r, err);
    size_t pixel = rc ? 0 : (size_t)r.c * dtype_size(c->in[0]->dtype);
    for (int64_t i = 0; !rc && i < r.n * r.oh * r.ow; i++) {
        int64_t image = i / (r.oh * r.ow), y = nearest(&r, i / r.ow % r.oh, r.h, r.oh);
        int64_t from = (image * r.h + y) * r.w + nearest(&r, i % r.ow, r.w, r.ow);
        memcpy((uint8_t *)c->out[0]->data + (size_t)i * pixel,
               (const uint8_t *)c->in[0]->data + (size_t)from * pixel, pixel);
    }
    return rc;
}

#define ROW(title, fn, inputs, source)                                                             \
    {                                                                                              \
        .name = title, .domain = "tflite", .since = 1, .min_in = inputs, .max_in = inputs,         \
        .ref = fn, .spec = source                                                                  \
    }

const struct op op_tfl_quant[] = {
    ROW("QUANTIZE", run_quantize, 1, "LiteRT quantize.cc, XNNPACK convert"),
    ROW("DEQUANTIZE", run_dequantize, 1, "LiteRT dequantize.h"),
    ROW("CAST", run_cast, 1, "LiteRT cast.cc"),
    ROW("RESIZE_BILINEAR", run_resize_bilinear, 2, "LiteRT resize_bilinear.h, XNNPACK ibilinear"),
    ROW("RESIZE_NEAREST_NEIGHBOR", run_resize_nearest, 2, "LiteRT resize_nearest_neighbor.h"),
    {0},
};
