/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * quant.c: scales and zero points, codes to float and back. The arithmetic is that of ONNX
 * Runtime's x86 kernels; operators around it are in op_quant.c.
 */
#include "engine/elem.h"
#include "engine/kernel_int8.h"

#include <inttypes.h>

/* ---- Codes ---------------------------------------------------------------------------------- */

#define GET(type)                                                                                  \
    do {                                                                                           \
        const type *s_ = (const type *)t->data + at;                                               \
        for (size_t i = 0; i < n; i++) {                                                           \
            dst[i] = (int32_t)s_[i];                                                               \
        }                                                                                          \
    } while (0)

void codes_get(const struct tensor *t, size_t at, size_t n, int32_t *dst)
{
    switch (t->dtype) {
    case DT_U8:
    case DT_U4:
        GET(uint8_t);
        break;
    case DT_S8:
    case DT_S4:
        GET(int8_t);
        break;
    case DT_U16:
        GET(uint16_t);
        break;
    case DT_S16:
        GET(int16_t);
        break;
    default:
        GET(int32_t);
        break;
    }
}

#define PUT(type)                                                                                  \
    do {                                                                                           \
        type *d_ = (type *)t->data + at;                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            d_[i] = (type)src[i];                                                                  \
        }                                                                                          \
    } while (0)

void codes_put(struct tensor *t, size_t at, size_t n, const int32_t *src)
{
    if (dtype_size(t->dtype) == 1) {
        PUT(uint8_t);
    } else if (dtype_size(t->dtype) == 2) {
        PUT(uint16_t);
    } else {
        PUT(int32_t);
    }
}

/* ---- Parameters ----------------------------------------------------------------------------- */

int quant_read(const struct tensor *scale, const struct tensor *zero, int axis, enum dtype dflt,
               struct arena *a, struct quant *out, struct err *err)
{
    int64_t lo, hi;
    enum dtype d = zero ? zero->dtype : dflt;
    if (!dtype_is_float(scale->dtype)) {
        return err_set(err, E_UNSUPPORTED, "scale is %s, expected a float type",
                       dtype_name(scale->dtype));
    }
    if (!dtype_range(d, &lo, &hi)) {
        return err_set(err, E_UNSUPPORTED, "codes of type %s are not supported", dtype_name(d));
    }
    if (scale->rank > 1 && scale->n > 1) {
        char shape[128];
        return err_set(err, E_UNSUPPORTED,
                       "blocked quantization (scale of shape %s) is not supported",
                       shape_text(shape, sizeof shape, scale->rank, scale->dims));
    }
    if (scale->n == 0 || (zero && zero->n != scale->n)) {
        return err_set(err, E_SHAPE, "%zu scales and %zu zero points", scale->n,
                       zero ? zero->n : 0);
    }
    float *s = arena_alloc(a, scale->n * sizeof *s);
    int32_t *z = arena_alloc(a, scale->n * sizeof *z);
    for (size_t i = 0; i < scale->n; i++) {
        s[i] = (float)tensor_f64(scale, i);
        z[i] = zero ? (int32_t)tensor_s64(zero, i) : 0;
    }
    *out = (struct quant){
        .dtype = d, .axis = scale->n == 1 ? -1 : axis, .n = scale->n, .scale = s, .zero = z};
    return OK;
}

/* A tensor seen as [outer, channels, inner] around the quantization axis. */
struct planes {
    size_t outer, channels, inner;
};

static int planes_of(const struct tensor *t, const struct quant *p, struct planes *out,
                     struct err *err)
{
    *out = (struct planes){1, 1, t->n};
    if (p->axis < 0) {
        return OK;
    }
    if (p->axis >= t->rank || (uint64_t)t->dims[p->axis] != p->n) {
        char shape[128];
        return err_set(err, E_SHAPE, "%zu scales along axis %d do not fit a tensor of shape %s",
                       p->n, p->axis, shape_text(shape, sizeof shape, t->rank, t->dims));
    }
    *out = (struct planes){1, p->n, 1};
    for (int i = 0; i < t->rank; i++) {
        size_t *side = i < p->axis ? &out->outer : &out->inner;
        *side *= i == p->axis ? 1 : (size_t)t->dims[i]; /* a part of t->n: cannot overflow */
    }
    return OK;
}

/* ---- Float and back ------------------------------------------------------------------------- */

/* y = (q - z) * s, one rounding of the product. */
#define DEQUANTIZE(name, type)                                                                     \
    VECTOR_CLONES static void name(const type *restrict q, size_t n, float s, int32_t z,           \
                                   float *restrict y)                                              \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            y[i] = (float)(int32_t)((uint32_t)q[i] - (uint32_t)z) * s;                             \
        }                                                                                          \
    }
DEQUANTIZE(dequantize_u8, uint8_t)
DEQUANTIZE(dequantize_s8, int8_t)
DEQUANTIZE(dequantize_s32, int32_t)

void codes_dequantize(const struct tensor *q, size_t at, size_t n, float s, int32_t z, float *y)
{
    int32_t codes[CODE_BLOCK];
    if (q->dtype == DT_U8) {
        dequantize_u8((const uint8_t *)q->data + at, n, s, z, y);
        return;
    }
    if (q->dtype == DT_S8) {
        dequantize_s8((const int8_t *)q->data + at, n, s, z, y);
        return;
    }
    for (size_t done = 0; done < n; done += CODE_BLOCK) {
        size_t m = MIN(n - done, (size_t)CODE_BLOCK);
        codes_get(q, at + done, m, codes);
        dequantize_s32(codes, m, s, z, y + done);
    }
}

int quant_dequantize(const struct tensor *q, const struct quant *p, struct budget *b,
                     struct tensor **out, struct err *err)
{
    struct planes pl;
    struct tensor *src = NULL, *y = NULL;
    int rc = planes_of(q, p, &pl, err);
    if (rc) {
        return rc;
    }
    if (q->dtype != p->dtype) {
        return err_set(err, E_SHAPE, "codes are %s, their zero point is %s", dtype_name(q->dtype),
                       dtype_name(p->dtype));
    }
    src = tensor_aligned(q);
    if (!src) {
        return err_set(err, E_LIMIT, "out of memory for a tensor of %zu bytes", q->size);
    }
    rc = tensor_new(DT_F32, q->rank, q->dims, b, &y, err);
    for (size_t o = 0; !rc && pl.inner && o < pl.outer; o++) {
        for (size_t c = 0; c < pl.channels; c++) {
            size_t at = (o * pl.channels + c) * pl.inner;
            codes_dequantize(src, at, pl.inner, p->scale[c], p->zero[c], (float *)y->data + at);
        }
    }
    tensor_free(src);
    if (!rc) {
        *out = y;
    }
    return rc;
}

/* q = rne(clamp(x / s, lo - z, hi - z)) + z: a true division, and z after the rounding. */
#define QUANTIZE(name, type)                                                                       \
    VECTOR_CLONES static void name(const float *restrict x, size_t n, float s, int32_t z,          \
                                   float lo, float hi, type *restrict q)                           \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            q[i] = (type)((int32_t)rne_small(clamp_x86(x[i] / s, lo, hi)) + z);                    \
        }                                                                                          \
    }
QUANTIZE(quantize_8, uint8_t)
QUANTIZE(quantize_32, int32_t)

void codes_quantize(const float *x, size_t n, float s, int32_t z, struct tensor *q, size_t at)
{
    int64_t least = 0, most = 0;
    int32_t codes[CODE_BLOCK];
    (void)dtype_range(q->dtype, &least, &most);
    const float lo = (float)(least - z), hi = (float)(most - z);
    if (dtype_size(q->dtype) == 1) {
        quantize_8(x, n, s, z, lo, hi, (uint8_t *)q->data + at);
        return;
    }
    for (size_t done = 0; done < n; done += CODE_BLOCK) {
        size_t m = MIN(n - done, (size_t)CODE_BLOCK);
        quantize_32(x + done, m, s, z, lo, hi, codes);
        codes_put(q, at + done, m, codes);
    }
}

int quant_quantize(const struct tensor *x, const struct quant *p, struct budget *b,
                   struct tensor **out, struct err *err)
{
    struct planes pl;
    struct tensor *src = NULL, *q = NULL;
    int64_t lo = 0, hi = 0;
    int rc = planes_of(x, p, &pl, err);
    if (rc) {
        return rc;
    }
    if (!dtype_is_float(x->dtype)) {
        return err_set(err, E_SHAPE, "input is %s, expected a float type", dtype_name(x->dtype));
    }
    if (p->dtype == DT_S32 || !dtype_range(p->dtype, &lo, &hi)) {
        return err_set(err, E_UNSUPPORTED, "quantizing to %s is not supported",
                       dtype_name(p->dtype));
    }
    rc = tensor_to_f32(x, b, &src, err);
    if (rc) {
        return rc;
    }
    rc = tensor_new(p->dtype, x->rank, x->dims, b, &q, err);
    for (size_t o = 0; !rc && pl.inner && o < pl.outer; o++) {
        for (size_t c = 0; c < pl.channels; c++) {
            size_t at = (o * pl.channels + c) * pl.inner;
            codes_quantize((const float *)src->data + at, pl.inner, p->scale[c], p->zero[c], q, at);
        }
    }
    tensor_free(src);
    if (!rc) {
        *out = q;
    }
    return rc;
}
