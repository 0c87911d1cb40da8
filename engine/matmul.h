/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * matmul.h: private to engine/: shapes and packed weights of MatMul and Gemm (op_matmul.c), for
 * those who compute them in another order (mlas_matmul.c).
 */
#ifndef ENGINE_MATMUL_H
#define ENGINE_MATMUL_H

#include "engine/elem.h"
#include "engine/op.h"
#include "engine/product_f32.h"

/* One product Y [m,n] = A [m,k] B [k,n] per batch entry. */
struct product {
    int64_t m, n, k;
    bool ta, tb;       /* A is stored [k,m], B is stored [n,k] */
    struct walk batch; /* offsets in elements: Y, A, B */
    int rank;          /* of the output */
    int64_t dims[MAX_RANK];
};

/* MatMul: a 1-D operand is a row (A) or a column (B). */
int matmul_read(const struct op_call *c, struct product *p, struct err *err);
/* From matrices to elements; then, when B is one matrix, the rows of all A are one tall matrix.
 * Call once the output exists: the products below are bounded by its size and the inputs'. */
void matmul_scale(const struct op_call *c, struct product *p);
int gemm_read(const struct op_call *c, struct product *p, struct err *err);
/* Whether the product is A B, or with a bias for each column. */
bool gemm_is_plain(const struct op_call *c, const struct product *p);

/* op.prepare and op.release: *state is a constant float32 matrix B as struct f32_panels, NULL for
 * any other B. */
int matmul_pack(const struct op_prep *p, void **state, struct err *err);
void matmul_pack_free(void *state);

#endif
