/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * profile.c: where the time of forward passes goes, by operator or by node: of each node the
 * fastest run, since others may be using the machine.
 */
#include "tests/bench/forward.h"

#include <stdlib.h>
#include <time.h>

struct row {
    const char *op, *name; /* name: of the node, NULL for a sum over nodes */
    size_t nodes;
    double ms;
};
struct profile {
    const struct graph *g;
    double last;
    double *run; /* per node, of this run */
    double *ms;  /* per node, of its fastest run */
};

/* CPU time: others may be using the machine. */
static double thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int clock_value(void *ctx, int value, const struct tensor *t, struct err *err)
{
    (void)t;
    (void)err;
    struct profile *p = ctx;
    int node = p->g->values[value].producer;
    double now = thread_ms();
    if (node >= 0) {
        p->run[node] += now - p->last;
    }
    p->last = now;
    return OK;
}

static int slowest_first(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->ms < y->ms) - (x->ms > y->ms);
}

static void print_rows(struct row *rows, size_t n, size_t most)
{
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        total += rows[i].ms;
    }
    qsort(rows, n, sizeof *rows, slowest_first);
    printf("%8s %6s %6s  %s\n", "ms", "%", "nodes", rows[0].name ? "node" : "operator");
    for (size_t i = 0; i < MIN(n, most); i++) {
        printf("%8.3f %6.1f %6zu  %s%s%s\n", rows[i].ms, 100 * rows[i].ms / total, rows[i].nodes,
               rows[i].op, rows[i].name ? " " : "", rows[i].name ? rows[i].name : "");
    }
    printf("%8.3f\n", total);
}

/* One row per node, or per operator. */
static void print_profile(const struct profile *p, const struct options *o)
{
    struct row *rows = mem_alloc((p->g->n_nodes + 1) * sizeof *rows);
    size_t n = 0;
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const struct node *node = &p->g->nodes[i];
        size_t at = n;
        for (size_t k = 0; k < n && !o->profile_nodes; k++) {
            at = strcmp(rows[k].op, node->op) == 0 ? k : at;
        }
        if (at == n) {
            rows[n++] = (struct row){.op = node->op, .name = o->profile_nodes ? node->name : NULL};
        }
        rows[at].nodes++;
        rows[at].ms += p->ms[i];
    }
    if (n) {
        print_rows(rows, n, o->profile_nodes ? 60 : n);
    }
    free(rows);
}

int profile_runs(const struct bench *b, struct err *err)
{
    const struct graph *g = plan_graph(b->plan);
    struct profile p = {.g = g,
                        .run = mem_alloc((g->n_nodes + 1) * sizeof *p.run),
                        .ms = mem_alloc((g->n_nodes + 1) * sizeof *p.ms)};
    int rc = OK;
    for (int r = 0; r < b->o.warm && !rc; r++) {
        rc = bench_run(b, (size_t)r, NULL, NULL, err);
    }
    for (int r = 0; r < b->o.runs && !rc; r++) {
        memset(p.run, 0, g->n_nodes * sizeof *p.run);
        p.last = thread_ms();
        rc = bench_run(b, (size_t)r, clock_value, &p, err);
        for (size_t i = 0; i < g->n_nodes; i++) {
            p.ms[i] = r == 0 ? p.run[i] : MIN(p.ms[i], p.run[i]);
        }
    }
    if (!rc) {
        print_profile(&p, &b->o);
    }
    free(p.ms);
    free(p.run);
    return rc;
}
