/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuzz_tflite.c: libFuzzer target for the TensorFlow Lite reader and its operators. Any bytes give
 * an error or a graph; a graph can be cloned, planned and run on zeros, or says why not.
 */
#include "formats/formats.h"

#include <stdlib.h>

extern const struct format format_tflite;

enum { FUZZ_MEMORY = 16 << 20, FUZZ_INPUTS = 8 };

static struct graph *load(const uint8_t *p, size_t n)
{
    struct graph *g = NULL;
    struct err err = {0};
    uint8_t *copy = malloc(n ? n : 1);
    if (n) {
        memcpy(copy, p, n);
    }
    struct file f = {.path = mem_dup("/nonexistent/fuzz.tflite"), .data = copy, .size = n};
    if (format_tflite.load_model(&f, &g, &err) && !err.text[0]) {
        abort();
    }
    return g;
}

static void run(const struct graph *g, enum numerics n)
{
    struct budget budget = {.limit = FUZZ_MEMORY};
    const struct plan_options o = {.numerics = n, .budget = &budget};
    struct tensor *in[FUZZ_INPUTS] = {NULL};
    struct plan *p = NULL;
    int rc = g->n_inputs <= FUZZ_INPUTS ? plan_new(g, &o, &p, NULL) : E_LIMIT;
    for (size_t i = 0; i < g->n_inputs && !rc; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        int64_t dims[MAX_RANK];
        for (int d = 0; d < MAX(v->rank, 0); d++) {
            dims[d] = v->dims[d] < 0 ? 1 : v->dims[d];
        }
        rc = tensor_new(v->dtype, MAX(v->rank, 0), dims, &budget, &in[i], NULL);
        if (!rc) {
            memset(in[i]->data, 0, in[i]->size);
        }
    }
    if (!rc) {
        plan_run(p, (const struct tensor *const *)in, NULL, NULL, NULL);
    }
    for (size_t i = 0; i < FUZZ_INPUTS; i++) {
        tensor_free(in[i]);
    }
    plan_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct graph *g = load(p, n);
    if (!g) {
        return 0;
    }
    struct graph *c = graph_clone(g);
    graph_free(g);
    for (enum numerics k = NUM_TFLITE_XNNPACK; k <= NUM_TFLITE_REF; k++) {
        run(c, k);
    }
    graph_free(c);
    return 0;
}
