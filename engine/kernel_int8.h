/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * kernel_int8.h: private to engine/: integer matrix products, depthwise taps and requantization,
 * each as plain C, AVX2, AVX-512 VNNI and AMX, chosen at run time. All give the same integers:
 * products are exact and sums wrap at 32 bits, as ONNX Runtime's do.
 *
 * The left operand (activations) is always u8, the right one (weights) s8. Codes of the other
 * signedness are shifted by 128 together with their zero point (x ^ 0x80), which changes no real
 * value.
 */
#ifndef ENGINE_KERNEL_INT8_H
#define ENGINE_KERNEL_INT8_H

#include "engine/engine.h"

#include <math.h>

enum {
    QUAD = 4,        /* bytes that one multiply-add instruction takes from each operand */
    BLOCK_COLS = 16, /* columns that are packed side by side: one AVX-512 register of sums */
    STRIP_COLS = 64, /* columns of a strip: one register of codes */
    STRIP_ROWS = 32, /* rows of a strip, at most */
    K_STEP = 64,     /* packed columns are filled up with zeros to a multiple of this */
    TILE_ROWS = 8,   /* filters that chain() takes at a time */
    TILE_COLS = 48,  /* pixels that chain() takes at a time: three AVX-512 registers */
    LANE_COLS = 64,  /* pixels that single filters of op_mlas.c take at a time */
};

/* How sums become results, per column c (output channel):
 *   v = acc + mul[c] * row                                    (mod 2^32)
 *   U8, S8: y = rne(clamp((float)v * scale[c], lo, hi)) + z, or y = code(ctx, col + c, v)
 *   S32: y = v   F32: y = (float)v * scale[c] */
struct finish {
    enum dtype dtype;
    const float *scale;
    const int32_t *mul; /* NULL: 0 */
    float lo, hi;       /* the lowest and the highest code, minus z */
    int32_t z;
    /* The code, as it is stored; NULL: as above. */
    uint8_t (*code)(const void *ctx, size_t col, int32_t v);
    const void *ctx;
    size_t col; /* first column that the arrays describe */
};

/* Whether the vector kernels know how. */
static inline bool finish_is_vector(const struct finish *f)
{
    return (f->dtype == DT_U8 || f->dtype == DT_S8) && !f->code;
}

/* The same from `by` columns further on. */
static inline struct finish finish_from(const struct finish *f, size_t by, size_t col)
{
    struct finish part = *f;
    part.scale = f->scale ? f->scale + by : NULL;
    part.mul = f->mul ? f->mul + by : NULL;
    part.col = col;
    return part;
}

/* A strip of a product: up to STRIP_ROWS rows by up to STRIP_COLS columns. Of a row, k rounded up
 * to K_STEP bytes may be read, and rows up to the next multiple of 16, also of add. */
struct strip {
    const uint8_t *a;   /* rows of the left operand */
    size_t lda;         /* bytes from row to row */
    size_t rows;        /* of them */
    const int8_t *w;    /* blocks of columns, each [k / 4][16][4] */
    size_t block;       /* bytes of a block */
    size_t blocks;      /* at most STRIP_COLS / BLOCK_COLS */
    size_t quads;       /* steps of QUAD along k */
    const int32_t *add; /* what the sums of row r start with: add[r * add_step + c] */
    size_t add_step;    /* 0: the same for all rows */
    bool first;         /* whether the weights are read for the first time */
};

/* A filter of which every channel has taps of its own. Taps have slots, in fours, some of them
 * empty: those of a column of a 3x3 filter stand in one four. */
struct depthwise_filter {
    size_t channels;
    size_t width;        /* channels rounded up to STRIP_COLS */
    size_t slots;        /* a multiple of QUAD */
    const int16_t *w;    /* w - zw: [slots][width], 0 in empty slots */
    const int8_t *quads; /* the same for vpdpbusd, see conv8_filter.c; NULL where it has no room */
    size_t quad_slots;   /* slots, or twice as many: what s8 has no room for comes a second time */
};

/* Output pixels of one row, all channels: the input of slot t of pixel i is ptr[i * step + at[t]].
 */
struct depthwise_row {
    const struct depthwise_filter *w;
    const uint8_t *const *ptr;
    size_t step;
    const size_t *at; /* [quad_slots]; of empty slots any valid one */
    size_t pixels;
    int stride_3x3; /* 3x3 without dilation: ptr goes column by column, step is thrice this; else 0
                     */
    const int32_t *add;     /* [width] */
    const struct finish *f; /* arrays of [width] */
    uint8_t *y;
    size_t ldy; /* bytes from pixel to pixel */
};

/* Parameters of QLinearAdd: ra = sa / sy, rb = sb / sy, f = zy - fma(ra, za, rb * zb). */
struct int8_add {
    bool is_signed; /* codes are s8 */
    int32_t shift;  /* added to codes before, taken away after; zero points include it */
    float ra, rb, f;
};

/* Parameters of QLinearMul: r = sa * sb / sy; zero points of codes as they are stored. */
struct int8_mul {
    bool is_signed;
    int32_t za, zb, shift; /* shift: as above, of y */
    float r, zy;           /* zy includes the shift */
};

struct int8_kernels {
    const char *name;
    size_t strip_rows; /* that product() likes to be given; at most STRIP_ROWS */
    /* Around a number of calls of product() on one thread; NULL: nothing to do. */
    void (*enter)(void);
    void (*leave)(void);
    /* acc[r][c] = add + sum over i of a[r][i] * w[i][c]; acc is [rows][STRIP_COLS]. */
    void (*product)(const struct strip *s, int32_t *acc);
    /* Codes of a strip of sums where finish_is_vector(f); f and row as for finish_strip(). All of
     * STRIP_ROWS rows of acc can be read. */
    void (*finish)(const struct finish *f, const int32_t *acc, const int32_t *row, size_t rows,
                   size_t cols, uint8_t *y, size_t ldy);
    void (*depthwise)(const struct depthwise_row *r);
    /* y[i] = saturate(rne(fma(a[i * step_a], ra, fma(b[i * step_b], rb, f)))) on raw codes; n > 0,
     * steps 0 or 1. */
    void (*add)(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                const struct int8_add *p, uint8_t *y);
    /* y[i] = saturate(rne((float)((a[i] - za) * (b[i] - zb)) * r + zy)), a and b in steps alike. */
    void (*mul)(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                const struct int8_mul *p, uint8_t *y);
    /* y[i] = table[x[i]] */
    void (*map)(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y);
    /* Float sums for the islands between integer layers, one rounding per step:
     *   s = 0; for t: s = fma(x[off[t]/4 + j], w[8 t + i], s); acc[i][j] = first ? s : acc[i][j] +
     * s, for 8 rows and the first `cols` (16, 32 or 48) columns; acc has TILE_ROWS * TILE_COLS
     * elements, off counts bytes. */
    void (*chain)(const float *x, const size_t *off, size_t taps, const float *w, int cols,
                  bool first, float *acc);
    /* Sum over k of sat16(x[k] w[k] + x[k+1] w[k+1]), k even: what vpmaddubsw makes of a product
     * of u8 and s8, the hazard of x86 without VNNI. An odd last element stands alone. */
    int32_t (*pairs)(const uint8_t *x, const int8_t *w, size_t n);
};

extern const struct int8_kernels kernel_int8_plain;
void kernel_mul_plain(const uint8_t *a, size_t step_a, const uint8_t *b, size_t step_b, size_t n,
                      const struct int8_mul *p, uint8_t *y);
void kernel_map_plain(const uint8_t *table, const uint8_t *x, size_t n, uint8_t *y);
#if defined(__x86_64__)
extern const struct int8_kernels kernel_int8_avx2, kernel_int8_vnni, kernel_int8_amx;
/* Shared between these. */
int32_t kernel_pairs_avx2(const uint8_t *x, const int8_t *w, size_t n);
void kernel_depthwise_avx2(const struct depthwise_row *r);
void kernel_depthwise_vnni(const struct depthwise_row *r);
void kernel_product_amx(const struct strip *s, int32_t *acc);
void kernel_enter_amx(void);
void kernel_leave_amx(void);
/* Whether the CPU has AMX-INT8 and the system lets this process use it; asks for it. */
bool kernel_has_amx(void);
#endif

/* The kernels for this CPU, or those that the environment variable QSCOPE_ISA (plain, avx2, vnni,
 * amx) names if the CPU can run them. */
const struct int8_kernels *kernel_int8(void);
/* By name (NULL: the best); NULL if this CPU cannot run them. */
const struct int8_kernels *kernel_int8_isa(const char *name);
/* Makes kernel_int8() return k; NULL = the default again. For tests, not while a plan runs. */
void kernel_int8_force(const struct int8_kernels *k);

/* Round half to even. |v| < 2^22, which holds for every clamped quotient of 16-bit codes. */
static inline float rne_small(float v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

/* The float comparisons of x86 maxps/minps: a NaN gives lo. */
static inline float clamp_x86(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* Sums [rows][STRIP_COLS] of columns that f starts with, as elements of f->dtype; row[r] is what
 * mul is multiplied with, or NULL. ldy: bytes from row to row of y. */
void finish_strip(const struct int8_kernels *k, const struct finish *f, const int32_t *acc,
                  const int32_t *row, size_t rows, size_t cols, uint8_t *y, size_t ldy);

/* Sums of n <= STRIP_COLS channels from c0 of one pixel of a depthwise row. */
void finish_depthwise(const struct int8_kernels *k, const struct depthwise_row *r,
                      const int32_t *acc, size_t pixel, size_t c0, size_t n);

/* One pair of products: what its 16-bit sum keeps. */
static inline int32_t pair_saturate(int32_t sum)
{
    return MIN(MAX(sum, INT16_MIN), INT16_MAX);
}

/* Rounding and saturation as x86 does them with cvtps and packs: NaN and what does not fit 32 bits
 * become the lowest code, whatever their sign. */
static inline int32_t saturate_x86(float v, float lo, float hi)
{
    v = v < 0x1p31f ? v : lo;
    return (int32_t)rne_small(clamp_x86(v, lo, hi));
}

/* The code of one sum. */
static inline uint8_t finish_code(const struct finish *f, int32_t v, float scale)
{
    return (uint8_t)((int32_t)rne_small(clamp_x86((float)v * scale, f->lo, f->hi)) + f->z);
}

/* One sum as the element of column c. */
static inline void finish_one(const struct finish *f, size_t c, int32_t acc, int32_t row, void *y)
{
    uint32_t v = (uint32_t)acc + (f->mul ? (uint32_t)f->mul[c] * (uint32_t)row : 0);
    if (f->dtype == DT_S32) {
        *(int32_t *)y = (int32_t)v;
    } else if (f->dtype == DT_F32) {
        *(float *)y = (float)(int32_t)v * f->scale[c];
    } else if (f->code) {
        *(uint8_t *)y = f->code(f->ctx, f->col + c, (int32_t)v);
    } else {
        *(uint8_t *)y = finish_code(f, (int32_t)v, f->scale[c]);
    }
}

/* The plain form of add() for one element. */
static inline uint8_t add_one(uint8_t a, uint8_t b, const struct int8_add *p)
{
    float lo = (float)((p->is_signed ? INT8_MIN : 0) + p->shift);
    float fa = (float)((p->is_signed ? (int8_t)a : a) + p->shift);
    float fb = (float)((p->is_signed ? (int8_t)b : b) + p->shift);
    int32_t y = saturate_x86(fmaf(fa, p->ra, fmaf(fb, p->rb, p->f)), lo, lo + 255.0F);
    return (uint8_t)(y - p->shift);
}

/* The plain form of mul() for one element. */
static inline uint8_t mul_one(int32_t a, int32_t b, const struct int8_mul *p)
{
    const float lo = (float)((p->is_signed ? INT8_MIN : 0) + p->shift);
    float v = (float)((a - p->za) * (b - p->zb)) * p->r;
    v += p->zy;
    return (uint8_t)(saturate_x86(v, lo, lo + 255.0F) - p->shift);
}

/* Codes [at, at+n) of a tensor of any quantized type as int32 and back (stored low bits). */
enum { CODE_BLOCK = 256 };
void codes_get(const struct tensor *t, size_t at, size_t n, int32_t *dst);
void codes_put(struct tensor *t, size_t at, size_t n, const int32_t *src);
/* Codes [at, at+n) of q as reals, and reals as codes of q's type with one scale and zero point: the
 * arithmetic of quant_dequantize() and quant_quantize(). */
void codes_dequantize(const struct tensor *q, size_t at, size_t n, float s, int32_t z, float *y);
void codes_quantize(const float *x, size_t n, float s, int32_t z, struct tensor *q, size_t at);

#endif
