/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * accel.c: the only file that includes oneDNN (v2 C API), for its sgemm.
 */
#include "engine/accel.h"

#if HAVE_DNNL

#include <dnnl.h>

/* From libgomp, on which oneDNN runs; its header comes with gcc only. Sets the calling thread's own
 * count, so this is not a setting of the whole process. */
void omp_set_num_threads(int n);

bool accel_gemm_run(const struct accel_gemm *g)
{
    omp_set_num_threads(1);
    return dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, g->alpha, g->a,
                      g->lda, g->b, g->ldb, g->beta, g->c, g->ldc) == dnnl_success;
}

#else /* without oneDNN */

bool accel_gemm_run(const struct accel_gemm *g)
{
    (void)g;
    return false;
}

#endif
