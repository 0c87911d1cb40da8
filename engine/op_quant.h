/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_quant.h: private to engine/: what the quantized operators (op_quant.c, op_qlinear.c,
 * op_qconv.c, op_qmatmul.c) share when they read scales and zero points from their inputs.
 */
#ifndef ENGINE_OP_QUANT_H
#define ENGINE_OP_QUANT_H

#include "engine/kernel_int8.h"
#include "engine/op.h"

/* One scale and zero point of a whole u8 or s8 tensor. */
struct q1 {
    enum dtype dtype;
    float s;
    int32_t z;
    int32_t qmin, qmax;
    int32_t shift; /* added to every code when computing; see q1_shift() */
};

/* Reads inputs `scale` and `zero` of the call; an omitted zero point is 0 of type dflt. E_SHAPE
 * unless both hold one element, E_UNSUPPORTED unless the type is uint8 or int8. */
int q1_read(const struct op_call *c, int scale, int zero, enum dtype dflt, struct q1 *out,
            struct err *err);
/* The same with the tensor they belong to: the types must agree. */
int q1_read_for(const struct op_call *c, int data, int scale, int zero, struct q1 *out,
                struct err *err);

/* Inputs (x, sx, zx, sy, zy) of operators that take one tensor and give one of the same type. */
int q1_read_unary(const struct op_call *c, struct q1 *qx, struct q1 *qy, struct err *err);

/* onnxruntime on x86 stores s8 tensors between fused operators as u8, zero point and codes 128
 * higher. That changes no real value, but it does change float roundings in which the zero point
 * takes part. fuse.c keeps the model's type and marks the node with this attribute. */
static const char q1_as_u8[] = "as_uint8";
/* Moves s8 parameters up by 128 if the node of c bears the mark. */
void q1_shift(const struct op_call *c, struct q1 *q);

static inline bool is_code(const struct tensor *t)
{
    return t && (t->dtype == DT_U8 || t->dtype == DT_S8);
}
/* Whether t may hold scales; what is computed with them is float32. */
static inline bool is_scale(const struct tensor *t)
{
    return t->dtype == DT_F32 || t->dtype == DT_F16 || t->dtype == DT_BF16;
}
/* Element i of a u8 or s8 tensor. */
static inline int32_t code_at(const struct tensor *t, size_t i)
{
    const uint8_t *p = t->data;
    return t->dtype == DT_S8 ? (int8_t)p[i] : p[i];
}

/* Scale (or zero point) j of an input that holds one value or one per channel. */
static inline float scale_at(const struct tensor *t, size_t j)
{
    float v;
    if (t->dtype != DT_F32) {
        return (float)tensor_f64(t, t->n == 1 ? 0 : j);
    }
    memcpy(&v, (const uint8_t *)t->data + (t->n == 1 ? 0 : j) * sizeof v, sizeof v);
    return v;
}
static inline int32_t zero_at(const struct tensor *t, size_t j)
{
    return !t           ? 0
           : is_code(t) ? code_at(t, t->n == 1 ? 0 : j)
                        : (int32_t)tensor_s64(t, t->n == 1 ? 0 : j);
}
/* E_SHAPE unless t (may be NULL) holds 1 or n values. */
int per_channel_check(const struct tensor *t, size_t n, const char *what, struct err *err);

/* Rational approximation of 1 / (1 + exp(-v)) that onnxruntime's FMA kernel evaluates; its last
 * bits decide the rounding of codes. */
float logistic_mlas(float v);

/* Uninitialized scratch of n times size bytes, 64-byte aligned with 256 readable bytes behind it;
 * scratch_free() it. E_LIMIT when there is not so much memory. */
int scratch_new(size_t n, size_t size, void **out, struct err *err);
void scratch_free(void *p); /* p NULL: does nothing */

#endif
