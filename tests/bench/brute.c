/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * brute.c: leave-one-out without any reuse, to judge sweeps by: every layer that can be pinned is
 * pinned alone, and the mixed model runs all images from the first layer to the last.
 *
 *   brute FP32 INT8 INPUTS.npy IMAGES THREADS
 *
 * Prints JSON: seconds behind loading, and by layer the mean square error of the outputs against
 * the FP32 model, mean over images. Threads take layers.
 */
#include "analysis/analysis.h"
#include "formats/formats.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct brute {
    struct graph *fp32, *int8;
    struct match match;
    struct tensor *images; /* [n, ...] */
    size_t n;
    struct tensor **reference; /* output 0 of the FP32 model, by image */
    double *mse;               /* by layer; negative: not pinnable */
    atomic_size_t next;
    int rc;
    struct err err;
    pthread_mutex_t lock; /* of rc and err */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Image i as a tensor of batch 1 that borrows from the file. */
static int take_image(const struct brute *b, size_t i, struct tensor **out, struct err *err)
{
    int64_t dims[MAX_RANK];
    memcpy(dims, b->images->dims, sizeof dims);
    dims[0] = 1;
    size_t size = b->images->size / (size_t)b->images->dims[0];
    const uint8_t *data = (const uint8_t *)b->images->data + i * size;
    return tensor_borrow(b->images->dtype, b->images->rank, dims, data, out, err);
}

/* Output 0 of one image, in real numbers. */
static int run_image(const struct brute *b, const struct plan *p, size_t i, struct tensor **real,
                     struct err *err)
{
    const struct graph *g = plan_graph(p);
    struct tensor *image = NULL, *in = NULL;
    struct tensor **out = mem_alloc((g->n_outputs + 1) * sizeof *out);
    int rc = take_image(b, i, &image, err);
    rc = rc ? rc : feed_input(g, 0, image, NULL, &in, err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const[]){in}, out, NULL, err);
    rc = rc ? rc : feed_output(g, 0, out[0], NULL, real, err);
    for (size_t k = 0; k < g->n_outputs; k++) {
        tensor_free(out[k]);
    }
    free(out);
    tensor_free(in);
    tensor_free(image);
    return rc;
}

static double square_error(const struct tensor *x, const struct tensor *y)
{
    double sum = 0;
    for (size_t i = 0; i < x->n; i++) {
        double d = (double)((const float *)x->data)[i] - (double)((const float *)y->data)[i];
        sum += d * d;
    }
    return sum / (double)x->n;
}

static int plan_for(const struct graph *g, bool reference, struct plan **out, struct err *err)
{
    const struct plan_options o = {
        .numerics = NUM_ORT, .kernels = KERNELS_FAST, .reference = reference, .partial = true};
    return plan_new(g, &o, out, err);
}

static int try_layer(struct brute *b, size_t layer, struct err *err)
{
    size_t n = b->match.n_layers;
    bool *pinned = mem_alloc(n + 1);
    int *values = mem_alloc((n + 1) * sizeof *values);
    struct graph *mixed = NULL;
    struct plan *p = NULL;
    pinned[layer] = true;
    const struct pin_set set = {.n_layers = n, .pinned = pinned};
    int rc = pin_apply(b->fp32, b->int8, &b->match, &set, &mixed, values, err);
    rc = rc ? rc : plan_for(mixed, false, &p, err);
    double sum = 0;
    for (size_t i = 0; i < b->n && !rc; i++) {
        struct tensor *y = NULL;
        rc = run_image(b, p, i, &y, err);
        sum += rc ? 0 : square_error(b->reference[i], y);
        tensor_free(y);
    }
    b->mse[layer] = sum / (double)b->n;
    plan_free(p);
    graph_free(mixed);
    free(values);
    free(pinned);
    return rc;
}

static void *work(void *arg)
{
    struct brute *b = arg;
    for (size_t k; (k = atomic_fetch_add(&b->next, 1)) < b->match.n_layers;) {
        struct err err = {0};
        if (!b->match.layers[k].pinnable) {
            b->mse[k] = -1;
            continue;
        }
        int rc = try_layer(b, k, &err);
        if (rc) {
            pthread_mutex_lock(&b->lock);
            b->rc = rc;
            b->err = err;
            pthread_mutex_unlock(&b->lock);
        }
    }
    return NULL;
}

static int load(struct brute *b, char **paths, size_t images, struct err *err)
{
    int rc = model_load(paths[0], &b->fp32, err);
    rc = rc ? rc : model_load(paths[1], &b->int8, err);
    rc = rc ? rc : match_graphs(b->fp32, b->int8, 0, NULL, &b->match, err);
    rc = rc ? rc : npy_load(paths[2], &b->images, err);
    if (!rc && (b->images->rank < 1 || b->images->dims[0] < (int64_t)images || !images)) {
        rc = err_set(err, E_SHAPE, "'%s' has not %zu images", paths[2], images);
    }
    b->n = images;
    return rc;
}

static int run_reference(struct brute *b, struct err *err)
{
    struct plan *p = NULL;
    b->reference = mem_alloc((b->n + 1) * sizeof(struct tensor *));
    b->mse = mem_alloc((b->match.n_layers + 1) * sizeof *b->mse);
    int rc = plan_for(b->fp32, true, &p, err);
    for (size_t i = 0; i < b->n && !rc; i++) {
        rc = run_image(b, p, i, &b->reference[i], err);
    }
    plan_free(p);
    return rc;
}

static void run_layers(struct brute *b, int threads)
{
    pthread_t t[64];
    int started = 0;
    while (started < MIN(threads, 64) - 1 && !pthread_create(&t[started], NULL, work, b)) {
        started++;
    }
    work(b);
    for (int i = 0; i < started; i++) {
        pthread_join(t[i], NULL);
    }
}

static void print_result(const struct brute *b, double seconds)
{
    const char *comma = "";
    printf("{\"seconds\": %.6f, \"mse\": {", seconds);
    for (size_t k = 0; k < b->match.n_layers; k++) {
        if (b->mse[k] >= 0) {
            printf("%s\"%s\": %.17g", comma, b->match.layers[k].name, b->mse[k]);
            comma = ", ";
        }
    }
    printf("}}\n");
}

static void unload(struct brute *b)
{
    for (size_t i = 0; b->reference && i < b->n; i++) {
        tensor_free(b->reference[i]);
    }
    free(b->reference);
    free(b->mse);
    tensor_free(b->images);
    match_fini(&b->match);
    graph_free(b->int8);
    graph_free(b->fp32);
}

int main(int argc, char **argv)
{
    struct brute b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct err err = {0};
    mallopt(M_MMAP_THRESHOLD, 256 << 20); /* as the program does, see tui/main.c */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    if (argc != 6) {
        fprintf(stderr, "usage: brute FP32 INT8 INPUTS.npy IMAGES THREADS\n");
        return 2;
    }
    int rc = load(&b, argv + 1, (size_t)strtoul(argv[4], NULL, 10), &err);
    double start = now();
    rc = rc ? rc : run_reference(&b, &err);
    if (!rc) {
        run_layers(&b, (int)strtol(argv[5], NULL, 10));
        rc = b.rc;
        err = b.err;
    }
    if (!rc) {
        print_result(&b, now() - start);
    } else {
        fprintf(stderr, "brute: %s\n", err.text);
    }
    unload(&b);
    return rc ? 1 : 0;
}
