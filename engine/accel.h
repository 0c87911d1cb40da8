/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * accel.h: private to engine/: matrix products of float activations on oneDNN. Without
 * oneDNN (HAVE_DNNL 0) every call says so by its result and the caller computes itself.
 *
 * Everything runs in the calling thread alone (qscope parallelises over images) and may be called
 * by many threads at once.
 */
#ifndef ENGINE_ACCEL_H
#define ENGINE_ACCEL_H

#include "engine/op.h"

/* C [m,n] = alpha A [m,k] B [k,n] + beta C, row-major float32 with leading dimensions; `ta`/`tb`: A
 * is stored [k,m], B is stored [n,k]. false: not available, C untouched. */
struct accel_gemm {
    bool ta, tb;
    int64_t m, n, k;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
    float alpha, beta;
};
bool accel_gemm_run(const struct accel_gemm *g);

#endif
