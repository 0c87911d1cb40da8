/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * value_tool.c: every tensor of many models, for the oracles that compare integers: one process
 * for thousands of runs, no files in between. The tensors are those of the graph that is executed.
 *
 * Each line on standard input is one run, its words separated by tabs:
 *
 *   NUMERICS  WANTED  MODEL  INPUT.npy...
 *
 * with WANTED `all`, or `codes` for integers and graph outputs.
 *
 * The answer on standard output is any number of tensors, each "tensor DTYPE NAME-BYTES DATA-BYTES
 * DIM..." on a line, then name and data; and a last line "done" or "error CODE TEXT".
 */
#include "formats/formats.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MAX_WORDS = 64 };

struct answer {
    const struct graph *g;
    bool all;
};

static int put_tensor(void *ctx, int value, const struct tensor *t, struct err *err)
{
    const struct answer *a = ctx;
    const struct value *v = &a->g->values[value];
    (void)err;
    if (!a->all && dtype_is_float(t->dtype) && !v->is_output) {
        return OK;
    }
    printf("tensor %s %zu %zu", dtype_name(t->dtype), strlen(v->name), t->size);
    for (int i = 0; i < t->rank; i++) {
        printf(" %" PRId64, t->dims[i]);
    }
    printf("\n%s", v->name);
    fwrite(t->data, 1, t->size, stdout);
    return OK;
}

static int run_model(const struct plan *p, bool all, size_t n, char **paths, struct err *err)
{
    struct tensor *in[MAX_WORDS] = {0};
    struct answer a = {.g = plan_graph(p), .all = all};
    const struct run_options o = {.tap = put_tensor, .tap_ctx = &a};
    int rc = n == a.g->n_inputs
                 ? OK
                 : err_set(err, E_USAGE, "%zu inputs, the model has %zu", n, a.g->n_inputs);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = tensor_load(paths[i], &in[i], err);
    }
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)in, NULL, &o, err);
    for (size_t i = 0; i < n; i++) {
        tensor_free(in[i]);
    }
    return rc;
}

/* words: NUMERICS WANTED MODEL INPUT... */
static int answer(size_t n, char **words, struct err *err)
{
    struct graph *g = NULL;
    struct plan *p = NULL;
    int numerics = n < 3 ? -1 : numerics_find(words[0]);
    if (numerics < 0) {
        return err_set(err, E_USAGE, "expected NUMERICS WANTED MODEL INPUT...");
    }
    const struct plan_options o = {.numerics = (enum numerics)numerics, .kernels = KERNELS_FAST};
    int rc = model_load(words[2], &g, err);
    rc = rc ? rc : plan_new(g, &o, &p, err);
    rc = rc ? rc : run_model(p, strcmp(words[1], "all") == 0, n - 3, words + 3, err);
    plan_free(p);
    graph_free(g);
    return rc;
}

static size_t split(char *line, char **words)
{
    size_t n = 0;
    line[strcspn(line, "\n")] = '\0';
    while (line && n < MAX_WORDS) {
        words[n++] = line;
        line = strchr(line, '\t');
        if (line) {
            *line++ = '\0';
        }
    }
    return n;
}

int main(void)
{
    char *line = NULL, *words[MAX_WORDS];
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        struct err err = {0};
        size_t n = split(line, words);
        int rc = answer(n, words, &err);
        if (rc) {
            printf("error %s %s\n", err_name(rc), err.text);
        } else {
            printf("done\n");
        }
        fflush(stdout);
    }
    free(line);
    return 0;
}
