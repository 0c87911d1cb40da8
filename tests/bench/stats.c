/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats.c: times the statistics of one comparison: nanoseconds per pair of values, FP32 against
 * 8-bit codes, on shapes of common networks, in both orders of the channels.
 *
 *   stats [PASSES]
 *
 * Two kinds of values: `dense` as in front of an activation, `relu` with the negative half at zero.
 * The best of PASSES passes, in the time that the thread computed.
 */
#include "analysis/analysis.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct work {
    struct tensor *x, *y;
    struct quant q;
    bool hist;
};

static double thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* About normal: the sum of four even ones. */
static float draw(uint64_t *seed)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *seed = *seed * 6364136223846793005U + 1442695040888963407U;
        sum += (float)(*seed >> 40) * 0x1p-24f - 0.5f;
    }
    return 1.7f * sum;
}

static int make(const int64_t *dims, bool relu, bool last, struct work *w, struct err *err)
{
    int rc = tensor_new(DT_F32, 4, dims, NULL, &w->x, err);
    if (rc) {
        return rc;
    }
    uint64_t seed = 1;
    float *x = w->x->data;
    for (size_t i = 0; i < w->x->n; i++) {
        x[i] = draw(&seed);
        x[i] = relu ? fmaxf(x[i], 0) : x[i];
    }
    rc = quant_quantize(w->x, &w->q, NULL, &w->y, err);
    if (!rc) {
        w->x->channels_last = w->y->channels_last = last;
    }
    return rc;
}

/* Nanoseconds of one pass; the study's side of it, merging, is not in it. */
static double one_pass(const struct work *w, struct err *err)
{
    struct layer_stats s;
    layer_stats_init(&s);
    double start = thread_ns();
    int rc = layer_stats_add(&s, w->x, w->y, &w->q, 1, w->hist, err);
    double took = thread_ns() - start;
    layer_stats_fini(&s);
    return rc ? NAN : took;
}

static double best_pass(const struct work *w, long passes, struct err *err)
{
    double best = INFINITY;
    for (long i = 0; i < passes; i++) {
        double ns = one_pass(w, err);
        best = ns < best ? ns : best;
    }
    return best / (double)w->x->n;
}

static int bench_shape(const int64_t *dims, long passes, struct err *err)
{
    char shape[64];
    printf("%-16s", shape_text(shape, sizeof shape, 4, dims));
    for (int k = 0; k < 8; k++) {
        bool last = k < 4, relu = k / 2 % 2;
        const float scale = relu ? 3.4f / 255 : 6.8f / 255;
        const int32_t zero = relu ? 0 : 128;
        struct work w = {.q = {.dtype = DT_U8, .axis = -1, .n = 1, .scale = &scale, .zero = &zero},
                         .hist = k % 2};
        int rc = make(dims, relu, last, &w, err);
        if (rc) {
            return rc;
        }
        printf(" %9.3f", best_pass(&w, passes, err));
        tensor_free(w.x);
        tensor_free(w.y);
    }
    printf("\n");
    return OK;
}

/* What a run does once per image besides: a result for all layers, added to the study. Only the
 * making and the adding are timed. */
static int bench_images(long passes, struct err *err)
{
    enum { LAYERS = 100 };
    static const int64_t dims[] = {1, 256, 2, 2};
    const float scale = 6.8f / 255;
    const int32_t zero = 128;
    struct work w = {.q = {.dtype = DT_U8, .axis = -1, .n = 1, .scale = &scale, .zero = &zero}};
    int rc = make(dims, false, true, &w, err);
    struct study *study = study_new(LAYERS);
    double best_init = INFINITY, best_add = INFINITY;
    for (long i = 0; i < passes && !rc; i++) {
        struct image_result r;
        double start = thread_ns();
        image_result_init(&r, LAYERS);
        best_init = fmin(best_init, thread_ns() - start);
        for (int k = 0; k < LAYERS && !rc; k++) {
            rc = layer_stats_add(&r.layers[k], w.x, w.y, &w.q, 1, true, err);
        }
        r.score.ok = true;
        start = thread_ns();
        study_add(study, &r);
        image_result_fini(&r, LAYERS);
        best_add = fmin(best_add, thread_ns() - start);
    }
    printf("\n%d layers of %d channels: %.1f us to begin an image, %.1f us to add it\n", LAYERS,
           (int)dims[1], best_init / 1e3, best_add / 1e3);
    study_free(study);
    tensor_free(w.x);
    tensor_free(w.y);
    return rc;
}

int main(int argc, char **argv)
{
    static const int64_t shapes[][4] = {{1, 64, 56, 56},  {1, 1024, 14, 14}, {1, 32, 112, 112},
                                        {1, 2048, 7, 7},  {1, 144, 56, 56},  {1, 24, 56, 56},
                                        {1, 3, 224, 224}, {1, 1, 256, 256},  {1, 1000, 1, 1}};
    long passes = argc > 1 ? strtol(argv[1], NULL, 10) : 50;
    if (passes < 1) {
        fprintf(stderr, "usage: stats [PASSES]\n");
        return 2;
    }
    struct err err = {0};
    mallopt(M_MMAP_THRESHOLD, 256 << 20); /* as the program does, see tui/main.c */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    printf("ns per pair      channels last                           row-major\n"
           "                 dense     +hist      relu     +hist     dense     +hist      relu"
           "     +hist\n");
    for (size_t i = 0; i < COUNT(shapes); i++) {
        if (bench_shape(shapes[i], passes, &err)) {
            fprintf(stderr, "stats: %s\n", err.text);
            return 1;
        }
    }
    if (bench_images(passes, &err)) {
        fprintf(stderr, "stats: %s\n", err.text);
        return 1;
    }
    return 0;
}
