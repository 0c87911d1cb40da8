/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gemm8.h: private to engine/: products of integer matrices in 8 bits, the common core of integer
 * convolutions and matrix products. The right operand (weights) is packed, once where it is
 * constant; rows of the left one are taken where they lie or gathered on the way; sums become
 * results while they are in the cache.
 */
#ifndef ENGINE_GEMM8_H
#define ENGINE_GEMM8_H

#include "engine/kernel_int8.h"
#include "engine/par.h"

/* Packed right operands of one shape, one per set (group of a convolution). */
struct gemm8_right {
    size_t sets, k, n;
    size_t depth;  /* k rounded up to K_STEP */
    size_t width;  /* n rounded up to STRIP_COLS */
    size_t blocks; /* of BLOCK_COLS columns, per set */
    size_t block;  /* bytes of each */
    int8_t *w;     /* [sets][blocks][depth / 4][16][4] */
    int8_t *ones;  /* one block whose first column sums a row; NULL: not wanted */
};
/* Allocates w, filled with zeros. E_LIMIT when it is too large. */
int gemm8_right_init(struct gemm8_right *r, size_t sets, size_t k, size_t n, struct err *err);
void gemm8_right_fini(struct gemm8_right *r);
/* Allocates ones. */
int gemm8_right_sum_rows(struct gemm8_right *r, struct err *err);

/* Column c of a set begins here; its bytes [4 q, 4 q + 4) are BLOCK_COLS * QUAD * q further on. */
static inline int8_t *gemm8_column(const struct gemm8_right *r, size_t set, size_t c)
{
    const size_t b = set * r->blocks + c / BLOCK_COLS;
    return r->w + b * r->block + c % BLOCK_COLS * QUAD;
}

/* Fills a block at its first column (gemm8_column()) with `cols` columns of k bytes that lie one
 * after the other, minus shift[c]; */
void gemm8_pack_columns(int8_t *block, const uint8_t *const *from, const uint8_t *shift,
                        size_t cols, size_t k);
/* or with columns of k rows that lie ldb bytes apart, each byte ^ flip. */
void gemm8_pack_rows(int8_t *block, const uint8_t *src, size_t ldb, uint8_t flip, size_t cols,
                     size_t k);
uint32_t gemm8_sum_s8(const int8_t *p, size_t n); /* mod 2^32 */

/* y[set][row][c] = finish(add[c] + sum over i < k of left[set][row][i] * right[set][i][c]) */
struct gemm8 {
    const struct int8_kernels *kernels;
    const struct gemm8_right *right;
    size_t rows;
    /* Row r of a set at x + set * x_set + r * ldx, `readable` bytes from x; NULL: only by fill. */
    const uint8_t *x;
    size_t ldx, x_set, readable;
    /* Writes rows [r0, r0 + n) in this order, each to the next right->depth bytes of dst: k codes;
     * what stands behind them does not matter. May write SLACK bytes behind the last row. */
    void (*fill)(const void *ctx, size_t set, size_t r0, size_t n, uint8_t *dst);
    const void *ctx;
    const int32_t *add; /* [sets][width], or [gemm8_rows(rows)][width] with add_step = width and one
                           set */
    size_t add_step;
    struct finish finish; /* arrays of [sets][width]; mul only with right->ones */
    uint8_t *y;
    size_t y_set, ldy; /* bytes */
};
enum { GEMM8_SLACK = 64 };
/* Rows that kernels may read, if not use, where there are n. */
static inline size_t gemm8_rows(size_t n)
{
    return (n + BLOCK_COLS - 1) / BLOCK_COLS * BLOCK_COLS;
}
int gemm8_run(const struct gemm8 *g, struct par *par, struct err *err);

#endif
