/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl.h: private to engine/: what the operators of TensorFlow Lite share (op_tfl_*.c): fixed-point
 * requantization in the roundings of its three back ends, parameters, activation ranges.
 *
 * Names: codes are integers of a tensor, `real` a scale that turns a sum of products into output
 * codes. Formulas follow the kernels of LiteRT 2.3 and XNNPACK on x86, checked against both.
 */
#ifndef ENGINE_TFL_H
#define ENGINE_TFL_H

#include "engine/elem.h"
#include "engine/kernel_int8.h"
#include "engine/op.h"

/* How a sum becomes codes. */
enum tfl_rounding {
    TFL_TWICE, /* rounding doubling high multiply, then a shift that rounds half away from 0 */
    TFL_UP,    /* the same, the shift rounding half up: ruy's matrix products */
    TFL_ONCE,  /* one shift of the 64-bit product, half away from 0 */
    TFL_WIDE,  /* 64-bit sums of int16 activations, the multiplier cut to 16 bits */
    TFL_FLOAT, /* float product, half to even: XNNPACK */
};
struct tfl_scale {
    enum tfl_rounding how;
    int32_t multiplier;
    int shift;
    float factor;
};
/* real = multiplier * 2^(shift - 31), multiplier of 31 bits. */
void tfl_multiplier(double real, int32_t *multiplier, int *shift);
void tfl_scale_init(struct tfl_scale *s, enum tfl_rounding how, double real);
/* Doubling high multiply of 32-bit numbers, rounded, saturated. */
static inline int32_t tfl_high(int32_t a, int32_t b)
{
    int64_t p = (int64_t)a * b;
    int64_t nudge = p >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30);
    return a == b && a == INT32_MIN ? INT32_MAX : (int32_t)((p + nudge) / (INT64_C(1) << 31));
}
/* x / 2^n rounded half away from zero; n >= 0. */
static inline int32_t tfl_divide(int32_t x, int n)
{
    if (n > 31) {
        return 0;
    }
    int32_t mask = (int32_t)((INT64_C(1) << n) - 1), rest = x & mask;
    return (x >> n) + (rest > (mask >> 1) + (x < 0));
}
static inline int32_t tfl_twice(int32_t x, int32_t multiplier, int shift)
{
    int32_t up = (int32_t)((uint32_t)x << (shift > 0 ? shift : 0));
    return tfl_divide(tfl_high(up, multiplier), shift > 0 ? 0 : -shift);
}
int32_t tfl_apply(int64_t acc, const struct tfl_scale *s);

/* ---- Parameters ----------------------------------------------------------------------------- */

/* One scale and zero point; of floats and plain integers: 1 and 0. */
struct tfl_quant {
    bool codes;
    float s;
    int32_t z;
    int32_t lo, hi; /* range of the type */
};
/* Parameters of input i (output i) of type d. E_UNSUPPORTED for scales per channel. */
int tfl_input(const struct op_call *c, int i, struct tfl_quant *q, struct err *err);
int tfl_output(const struct op_call *c, int i, enum dtype d, struct tfl_quant *q, struct err *err);
/* Type that output 0 has: integer when the file gives parameters of such, else that of `like`. */
enum dtype tfl_out_dtype(const struct op_call *c, enum dtype like);
/* Input i is given. */
static inline bool tfl_has(const struct op_call *c, int i)
{
    return i < c->n_in && c->in[i];
}
static inline bool tfl_xnnpack(const struct op_call *c)
{
    return c->numerics == NUM_TFLITE_XNNPACK;
}
/* Fused activation of a node on codes: narrows q->lo and q->hi; on floats: lo and hi. */
int tfl_activation(const struct op_call *c, struct tfl_quant *q, struct err *err);
int tfl_activation_float(const struct op_call *c, float *lo, float *hi, struct err *err);
static inline int32_t tfl_clamp(int64_t v, const struct tfl_quant *q)
{
    return (int32_t)(v < q->lo ? q->lo : v > q->hi ? q->hi : v);
}
/* Half away from zero, as their round(); saturates, a NaN to the lowest. */
static inline int32_t tfl_round(double v)
{
    double r = v < 0 ? ceil(v - 0.5) : floor(v + 0.5);
    return r > INT32_MIN ? (r < INT32_MAX ? (int32_t)r : INT32_MAX) : INT32_MIN;
}
/* Codes of a tensor as int32, one reference. */
int tfl_codes(const struct op_call *c, int i, struct tensor **out, struct err *err);

/* ---- Windows -------------------------------------------------------------------------------- */

/* A filter sliding over rows and columns of [n,h,w,c]. */
struct tfl_window {
    int64_t n, h, w, c;
    int64_t kh, kw, sh, sw, dh, dw, pt, pl, oh, ow;
};
/* kh and kw are set before; reads strides, dilations and padding of the node. */
int tfl_window_read(const struct op_call *c, const struct tensor *x, struct tfl_window *w,
                    struct err *err);
/* Filter positions along one axis that lie inside the input: [*k0, *k1). */
static inline void tfl_window_clip(int64_t start, int64_t in, int64_t k, int64_t d, int64_t *k0,
                                   int64_t *k1)
{
    *k0 = start < 0 ? MIN(k, (-start + d - 1) / d) : 0;
    *k1 = in <= start ? *k0 : MAX(*k0, MIN(k, (in - start + d - 1) / d));
}

/* Copies what the filter sees for one output pixel: [kh,kw,c] elements of `size` bytes; those
 * outside of the image are bytes `fill`. x: the image. */
void tfl_gather(const struct tfl_window *w, const uint8_t *x, int64_t oy, int64_t ox, size_t size,
                uint8_t fill, uint8_t *dst);

#endif
