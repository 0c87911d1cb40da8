/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * accel.h: private to engine/: dense float convolutions and matrix products on oneDNN. Without
 * oneDNN (HAVE_DNNL 0) every call says so by its result and the caller computes itself.
 *
 * Everything runs in the calling thread alone (qscope parallelises over images) and may be called
 * by many threads at once.
 */
#ifndef ENGINE_ACCEL_H
#define ENGINE_ACCEL_H

#include "engine/window.h"

/* oneDNN's name and version, or "none". Static storage. */
const char *accel_name(void);

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

/* A convolution with constant weights, packed at the first run for the shape seen then and again
 * when the shape changes. */
struct accel_conv;
/* w [o, c/groups, k...] f32; kept by reference. NULL when not available. */
struct accel_conv *accel_conv_new(const struct tensor *w);
void accel_conv_free(struct accel_conv *a);
/* y [n,o,out...] = conv(x [n,c,in...]) + bias [o] (NULL: none), row-major NCHW. E_UNSUPPORTED when
 * oneDNN has no kernel for this geometry; y is undefined then. */
int accel_conv_run(struct accel_conv *a, const struct window *w, int64_t groups, const float *x,
                   const float *bias, float *y, struct budget *b, struct err *err);

#endif
