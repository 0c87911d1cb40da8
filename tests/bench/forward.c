/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * forward.c: times forward passes of one model, as a session runs them: nothing is compared, no
 * image is decoded. With several threads each runs images of its own, so that the figures are
 * those of throughput; --split threads share the work inside each layer instead, for latency.
 *
 *   forward MODEL [--threads N] [--split N] [--runs R | --for MS] [--warm R] [--tap]
 *           [--plain] [--numerics NAME] [--side fp32|int8] [--npy FILE | --zeros]
 *           [--fused] [--profile] [--profile-nodes] [--json] [--serve]
 *
 * --tap gives every activation, as it lies in memory, to a reader that touches each page of it;
 * with --fused not what an activation function alone reads, as in a comparison with a model whose
 * quantizers stand behind it.
 * The side, unless it is said, follows from the operators: a model without quantizers is computed
 * as the FP32 side is.
 * --serve measures once for every line on standard input, so that two programs can take turns.
 */
#include "tests/bench/forward.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static double timeval_ms(struct timeval t)
{
    return (double)t.tv_sec * 1e3 + (double)t.tv_usec * 1e-3;
}

/* User and system time of the process. */
static double cpu_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return timeval_ms(u.ru_utime) + timeval_ms(u.ru_stime);
}

/* ---- Options -------------------------------------------------------------------------------- */

static int count_option(const char *text, int *out, struct err *err)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*end || end == text || v < 1 || v > 1000000) {
        return err_set(err, E_USAGE, "expected a count from 1 to 1000000, found '%s'", text);
    }
    *out = (int)v;
    return OK;
}

static int word_option(struct options *o, const char *name, const char *word, struct err *err)
{
    if (strcmp(name, "--threads") == 0) {
        return count_option(word, &o->threads, err);
    }
    if (strcmp(name, "--split") == 0) {
        return count_option(word, &o->split, err);
    }
    if (strcmp(name, "--runs") == 0) {
        return count_option(word, &o->runs, err);
    }
    if (strcmp(name, "--for") == 0) {
        return count_option(word, &o->for_ms, err);
    }
    if (strcmp(name, "--warm") == 0) {
        return count_option(word, &o->warm, err);
    }
    if (strcmp(name, "--npy") == 0) {
        o->npy = word;
        return OK;
    }
    if (strcmp(name, "--side") == 0 && (strcmp(word, "fp32") == 0 || strcmp(word, "int8") == 0)) {
        o->side = word;
        return OK;
    }
    if (strcmp(name, "--numerics") == 0 && numerics_find(word) >= 0) {
        o->numerics = (enum numerics)numerics_find(word);
        return OK;
    }
    return err_set(err, E_USAGE, "'%s %s' is not understood", name, word);
}

static int read_options(int argc, char **argv, struct options *o, struct err *err)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--tap", &o->tap},         {"--plain", &o->plain},
                 {"--zeros", &o->zeros},     {"--json", &o->json},
                 {"--serve", &o->serve},     {"--fused", &o->fused},
                 {"--profile", &o->profile}, {"--profile-nodes", &o->profile_nodes}};
    for (int i = 1; i < argc; i++) {
        bool known = false;
        for (size_t k = 0; k < COUNT(flags); k++) {
            if (strcmp(argv[i], flags[k].name) == 0) {
                *flags[k].flag = known = true;
            }
        }
        if (known) {
            continue;
        }
        if (strncmp(argv[i], "--", 2) != 0 && !o->model) {
            o->model = argv[i];
            continue;
        }
        int rc = i + 1 < argc ? word_option(o, argv[i], argv[i + 1], err)
                              : err_set(err, E_USAGE, "'%s' is not understood", argv[i]);
        if (rc) {
            return rc;
        }
        i++;
    }
    return o->model ? OK : err_set(err, E_USAGE, "expected a model");
}

/* ---- The model and its samples -------------------------------------------------------------- */

static bool is_quantized(const struct graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const char *op = g->nodes[i].op;
        if (strstr(op, "Quantize") || strncmp(op, "QLinear", 7) == 0 || strstr(op, "Integer")) {
            return true;
        }
    }
    for (size_t v = 0; v < g->n_values; v++) {
        if (g->values[v].quant && g->values[v].producer >= 0) {
            return true;
        }
    }
    return false;
}

/* Numbers like those of an image after preprocessing, always the same. */
static void fill(struct tensor *t)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < t->n; i++) {
        x = x * 1664525u + 1013904223u;
        if (t->dtype == DT_F32) {
            ((float *)t->data)[i] = (float)(x >> 8) / (float)(1 << 23) - 1.0f;
        } else if (t->dtype == DT_U8 || t->dtype == DT_S8) {
            ((uint8_t *)t->data)[i] = (uint8_t)(x >> 24);
        }
    }
}

static int make_input(const struct value *v, bool zeros, struct tensor **out, struct err *err)
{
    int64_t dims[MAX_RANK];
    for (int d = 0; d < MAX(v->rank, 0); d++) {
        dims[d] = v->dims[d] > 0 ? v->dims[d] : 1;
    }
    enum dtype dtype = v->dtype == DT_NONE ? DT_F32 : v->dtype;
    int rc = tensor_new(dtype, MAX(v->rank, 0), dims, NULL, out, err);
    if (!rc) {
        memset((*out)->data, 0, (*out)->size);
        if (!zeros) {
            fill(*out);
        }
    }
    return rc;
}

/* Rows of the file along its first axis, one sample each. */
static int read_rows(struct bench *b, struct err *err)
{
    struct tensor *all = NULL;
    int rc = tensor_load(b->o.npy, &all, err);
    if (rc || all->rank < 1 || all->dims[0] < 1) {
        tensor_free(all);
        return rc ? rc : err_set(err, E_SHAPE, "'%s' has no rows", b->o.npy);
    }
    size_t rows = (size_t)all->dims[0], size = all->size / rows;
    int64_t dims[MAX_RANK];
    memcpy(dims, all->dims, sizeof dims);
    dims[0] = 1;
    b->rows = mem_alloc(rows * sizeof(struct tensor *));
    for (size_t i = 0; i < rows && !rc; i++) {
        rc = tensor_new(all->dtype, all->rank, dims, NULL, &b->rows[i], err);
        if (!rc) {
            memcpy(b->rows[i]->data, (const uint8_t *)all->data + i * size, size);
            b->n_rows++;
        }
    }
    tensor_free(all);
    return rc;
}

/* Values but those that an activation function alone reads. */
static bool *list_fused(const struct graph *g)
{
    bool *wanted = mem_alloc(g->n_values + 1), *read = mem_alloc(g->n_values + 1);
    memset(wanted, true, g->n_values);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        const bool function = strcmp(n->op, "Relu") == 0 || strcmp(n->op, "Clip") == 0;
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k] >= 0) {
                wanted[n->in[k]] = (read[n->in[k]] && wanted[n->in[k]]) || !function;
                read[n->in[k]] = true;
            }
        }
    }
    free(read);
    return wanted;
}

static int load(struct bench *b, struct err *err)
{
    double start = now_ms();
    int rc = model_load(b->o.model, &b->g, err);
    if (rc) {
        return rc;
    }
    b->read_ms = now_ms() - start;
    bool reference = b->o.side ? strcmp(b->o.side, "fp32") == 0 : !is_quantized(b->g);
    const struct plan_options o = {.numerics = b->o.numerics,
                                   .kernels = b->o.plain ? KERNELS_PLAIN : KERNELS_FAST,
                                   .budget = &b->budget,
                                   .reference = reference,
                                   .partial = true};
    start = now_ms();
    rc = plan_new(b->g, &o, &b->plan, err);
    b->plan_ms = now_ms() - start;
    b->wanted = b->o.fused && !rc ? list_fused(plan_graph(b->plan)) : NULL;
    b->inputs = mem_alloc((b->g->n_inputs + 1) * sizeof(struct tensor *));
    for (size_t i = 0; i < b->g->n_inputs && !rc; i++) {
        rc = make_input(&b->g->values[b->g->inputs[i]], b->o.zeros, &b->inputs[i], err);
    }
    b->par = par_new(b->o.split);
    return rc || !b->o.npy ? rc : read_rows(b, err);
}

static void unload(struct bench *b)
{
    for (size_t i = 0; b->inputs && i < b->g->n_inputs; i++) {
        tensor_free(b->inputs[i]);
    }
    for (size_t i = 0; i < b->n_rows; i++) {
        tensor_free(b->rows[i]);
    }
    free(b->inputs);
    free(b->rows);
    free(b->wanted);
    par_free(b->par);
    plan_free(b->plan);
    graph_free(b->g);
}

/* ---- Runs ----------------------------------------------------------------------------------- */

struct worker {
    const struct bench *b;
    pthread_t thread;
    int index, runs;
    double *ms; /* one per run */
    unsigned seen;
    int rc;
    struct err err;
};

static int touch(void *ctx, int value, const struct tensor *t, struct err *err)
{
    enum { PAGE = 4096 };
    struct worker *w = ctx;
    (void)value;
    (void)err;
    for (size_t i = 0; i < t->size; i += PAGE) {
        w->seen += ((const uint8_t *)t->data)[i];
    }
    return OK;
}

int bench_run(const struct bench *b, size_t image, plan_tap *tap, void *ctx, struct err *err)
{
    const struct tensor *in[MAX_INPUTS] = {0};
    size_t n = b->g->n_inputs;
    const struct run_options o = {
        .tap = tap, .tap_ctx = ctx, .any_layout = true, .wanted = b->wanted, .par = b->par};
    if (n > MAX_INPUTS) {
        return err_set(err, E_LIMIT, "%zu inputs, at most %d", n, MAX_INPUTS);
    }
    memcpy(in, b->inputs, n * sizeof *in);
    if (b->n_rows) {
        in[0] = b->rows[image % b->n_rows];
    }
    struct tensor **out = mem_alloc((b->g->n_outputs + 1) * sizeof *out);
    int rc = plan_run(b->plan, in, out, &o, err);
    for (size_t i = 0; i < b->g->n_outputs; i++) {
        tensor_free(out[i]);
    }
    free(out);
    return rc;
}

/* Enough runs: as many as were asked for, or for as long, but a few. */
static bool enough(const struct options *o, int runs, double ms)
{
    enum { AT_LEAST = 3 };
    return o->for_ms ? runs >= AT_LEAST && ms >= o->for_ms : runs >= o->runs;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    const struct options *o = &w->b->o;
    size_t cap = 0;
    double start = now_ms(), last = start;
    while (!w->rc && !enough(o, w->runs, last - start)) {
        size_t image = (size_t)w->runs * (size_t)o->threads + (size_t)w->index;
        w->rc = bench_run(w->b, image, o->tap ? touch : NULL, w, &w->err);
        w->ms = mem_push(w->ms, (size_t)w->runs, &cap, sizeof *w->ms);
        double end = now_ms();
        w->ms[w->runs++] = end - last;
        last = end;
    }
    return NULL;
}

static int compare_ms(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const struct bench *b, size_t n, double *ms, double wall, double cpu)
{
    double threads = b->o.threads, images = (double)n;
    qsort(ms, n, sizeof *ms, compare_ms);
    double median = (ms[(n - 1) / 2] + ms[n / 2]) / 2 / threads;
    if (b->o.json) {
        printf("{\"median_ms\": %.4f, \"min_ms\": %.4f, \"wall_ms\": %.4f, \"cpu_ms\": %.4f, "
               "\"images\": %zu, \"threads\": %d, \"read_ms\": %.3f, \"plan_ms\": %.3f, "
               "\"activations_peak\": %zu}\n",
               median, ms[0] / threads, wall / images, cpu / images, n, b->o.threads, b->read_ms,
               b->plan_ms, (size_t)b->budget.peak);
    } else {
        printf("ms per image: median %.3f  min %.3f  wall %.3f  CPU %.3f  (%zu images, %d "
               "threads)\nonce: read %.2f ms, plan %.2f ms; activations at most %.1f MiB\n",
               median, ms[0] / threads, wall / images, cpu / images, n, b->o.threads, b->read_ms,
               b->plan_ms, (double)b->budget.peak / (1 << 20));
    }
    fflush(stdout);
}

/* The times of all workers in one list. */
static double *gather(const struct worker *w, size_t threads, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < threads; i++) {
        *n += (size_t)w[i].runs;
    }
    double *ms = mem_alloc((*n + 1) * sizeof *ms), *at = ms;
    for (size_t i = 0; i < threads; i++) {
        memcpy(at, w[i].ms, (size_t)w[i].runs * sizeof *ms);
        at += w[i].runs;
    }
    return ms;
}

/* `fn` in all workers at once. */
static int run_workers(const struct bench *b, struct worker *w, void *(*fn)(void *arg),
                       struct err *err)
{
    size_t threads = (size_t)b->o.threads, started = 0;
    int rc = OK;
    for (; started < threads; started++) {
        w[started].b = b;
        w[started].index = (int)started;
        if (pthread_create(&w[started].thread, NULL, fn, &w[started])) {
            rc = err_set(err, E_LIMIT, "cannot start thread %zu", started);
            break;
        }
    }
    for (size_t i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        if (w[i].rc && !rc) {
            rc = w[i].rc;
            *err = w[i].err;
        }
    }
    return rc;
}

static int time_runs(const struct bench *b, struct err *err)
{
    size_t threads = (size_t)b->o.threads, n;
    struct worker *w = mem_alloc(threads * sizeof *w);
    double start = now_ms(), cpu = cpu_ms();
    int rc = run_workers(b, w, work, err);
    if (!rc) {
        double wall = now_ms() - start, *ms = gather(w, threads, &n);
        print_times(b, n, ms, wall, cpu_ms() - cpu);
        free(ms);
    }
    for (size_t i = 0; i < threads; i++) {
        free(w[i].ms);
    }
    free(w);
    return rc;
}

/* In threads of their own, as the runs that are timed: threads that follow each other take over the
 * memory that the first have fetched from the system. */
static void *warm_up(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < w->b->o.warm && !w->rc; i++) {
        w->rc = bench_run(w->b, (size_t)i, w->b->o.tap ? touch : NULL, w, &w->err);
    }
    return NULL;
}

static int warm_workers(const struct bench *b, struct err *err)
{
    struct worker *w = mem_alloc((size_t)b->o.threads * sizeof *w);
    int rc = run_workers(b, w, warm_up, err);
    free(w);
    return rc;
}

static int serve(const struct bench *b, struct err *err)
{
    int rc = OK;
    for (int c; !rc && (c = getchar()) != EOF;) {
        rc = c == '\n' ? time_runs(b, err) : OK;
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct bench b = {.o = {.threads = 1, .split = 1, .runs = 20, .warm = 2, .numerics = NUM_ORT}};
    struct err err = {0};
    mallopt(M_MMAP_THRESHOLD, 256 << 20); /* as the program does, see tui/main.c */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    int rc = read_options(argc, argv, &b.o, &err);
    rc = rc ? rc : load(&b, &err);
    bool profile = b.o.profile || b.o.profile_nodes;
    rc = rc || profile ? rc : warm_workers(&b, &err);
    if (!rc && b.o.split > 1 && b.o.threads > 1) {
        rc = err_set(&err, E_USAGE, "--split and --threads exclude each other");
    }
    if (!rc) {
        rc = profile ? profile_runs(&b, &err) : b.o.serve ? serve(&b, &err) : time_runs(&b, &err);
    }
    unload(&b);
    if (rc) {
        fprintf(stderr, "forward: %s\n", err.text);
    }
    return rc ? 1 : 0;
}
