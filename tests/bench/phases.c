/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * phases.c: what opening a pair costs, phase by phase, in one thread.
 *
 *   phases FP32 INT8 ROUNDS
 *
 * Prints JSON: the median CPU milliseconds of each phase. `plan` is everything that makes a plan
 * but fusing: operators, constants, packed weights.
 */
#include "analysis/analysis.h"
#include "formats/formats.h"

#include <malloc.h>
#include <stdlib.h>
#include <time.h>

enum phase { READ, FUSE, PLAN, PROBE, SIDES = 2, MATCH = 2 * (PROBE + 1), PHASES };

static const char *const names[PHASES] = {
    "read FP32", "fuse FP32", "plan FP32",  "probe FP32", "read INT8",
    "fuse INT8", "plan INT8", "probe INT8", "match",
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* others may want the cores meanwhile */
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Time since the last call. */
static double lap(double *last)
{
    double now = now_ms(), ms = now - *last;
    *last = now;
    return ms;
}

static int open_side(const char *path, bool reference, struct graph **g, struct plan **p,
                     double *ms, struct err *err)
{
    const struct plan_options o = {
        .numerics = NUM_ORT, .kernels = KERNELS_FAST, .reference = reference, .partial = true};
    struct graph *fused = NULL;
    double last = now_ms();
    int rc = model_load(path, g, err);
    ms[READ] = lap(&last);
    rc = rc ? rc : graph_fuse(*g, NUM_ORT, &fused, err);
    ms[FUSE] = lap(&last);
    graph_free(fused);
    last = now_ms();
    rc = rc ? rc : plan_new(*g, &o, p, err);
    ms[PLAN] = lap(&last) - ms[FUSE];
    rc = rc || graph_infer(*g) ? rc : graph_probe(*g, *p, err);
    ms[PROBE] = lap(&last);
    return rc;
}

static int open_pair(char **paths, double *ms, struct err *err)
{
    struct graph *g[SIDES] = {0};
    struct plan *p[SIDES] = {0};
    struct match m = {0};
    int rc = OK;
    for (int i = 0; i < SIDES && !rc; i++) {
        rc = open_side(paths[i], i == 0, &g[i], &p[i], ms + i * (PROBE + 1), err);
    }
    double last = now_ms();
    rc = rc ? rc : match_graphs(g[0], g[1], 0, NULL, &m, err);
    ms[MATCH] = lap(&last);
    match_fini(&m);
    for (int i = 0; i < SIDES; i++) {
        plan_free(p[i]);
        graph_free(g[i]);
    }
    return rc;
}

static int compare_ms(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *ms, size_t n)
{
    qsort(ms, n, sizeof *ms, compare_ms);
    return (ms[(n - 1) / 2] + ms[n / 2]) / 2;
}

int main(int argc, char **argv)
{
    enum { MOST = 1000 };
    static double ms[PHASES][MOST];
    long rounds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    struct err err = {0};
    int rc = OK;
    if (rounds < 1 || rounds > MOST) {
        fprintf(stderr, "usage: phases FP32 INT8 ROUNDS\n");
        return 2;
    }
    mallopt(M_MMAP_THRESHOLD, 256 << 20); /* as the program does, see tui/main.c */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    for (long r = 0; r < rounds && !rc; r++) {
        double one[PHASES];
        rc = open_pair(argv + 1, one, &err);
        for (int k = 0; k < PHASES; k++) {
            ms[k][r] = one[k];
        }
    }
    for (int k = 0; k < PHASES && !rc; k++) {
        printf("%s\"%s\": %.3f%s", k ? ", " : "{", names[k], median(ms[k], (size_t)rounds),
               k + 1 < PHASES ? "" : "}\n");
    }
    if (rc) {
        fprintf(stderr, "phases: %s\n", err.text);
    }
    return rc ? 1 : 0;
}
