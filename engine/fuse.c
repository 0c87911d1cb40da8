/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse.c: the graph that a runtime really executes. A Q/DQ model says "float operators between
 * quantizers"; onnxruntime computes what it can with integers, and which nodes those are depends on
 * types and on how many consumers each tensor has. The rules reproduce onnxruntime 1.32 on x86 with
 * default options, pass by pass (fuse_level1.c, fuse_level2.c, fuse_groups.c); without that, a
 * model's numbers are not the deployed ones.
 */
#include "engine/fuse.h"

/* ---- Tidying up ---------------------------------------------------------------------------------
 */

static bool is_made(const struct fuser *f, int value)
{
    const struct value *v = &f->g->values[value];
    return v->producer >= 0 || v->constant || v->is_input;
}

static bool same_inputs(const struct node *a, const struct node *b)
{
    bool same = strcmp(a->op, b->op) == 0 && a->n_in == b->n_in;
    for (int k = 0; same && k < a->n_in; k++) {
        same = a->in[k] == b->in[k];
    }
    return same;
}

/* Gives copies their model's name back: a copy whose original is gone takes its place, one whose
 * original lives and computes the same is dropped for it. */
static void finish_aliases(struct fuser *f)
{
    for (size_t i = 0; i < f->g->n_values; i++) {
        int v = (int)i, to = f->v[i].alias;
        while (to >= 0 && f->v[to].alias >= 0) {
            to = f->v[to].alias;
        }
        if (to < 0) {
            continue;
        }
        int maker = fuser_producer(f, v), other = fuser_producer(f, to);
        if (maker < 0) {
            fuser_move_uses(f, v, to); /* a shape that was looked at through a value of its own */
        } else if (!is_made(f, to)) {
            fuser_set_out(f, maker, 0, to);
            fuser_move_uses(f, v, to);
        } else if (other >= 0 && same_inputs(&f->g->nodes[maker], &f->g->nodes[other])) {
            fuser_kill(f, maker);
            fuser_move_uses(f, v, to);
        }
    }
}

static bool is_dead(const struct fuser *f, const struct node *n)
{
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0 && (fuser_uses(f, n->out[k]) || fuser_is_output(f, n->out[k]))) {
            return false;
        }
    }
    return true;
}

/* Nodes nobody uses, with what only they used: backwards, so that consumers come first. */
static void drop_dead(struct fuser *f)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = f->g->n_nodes; i-- > 0;) {
            if (f->g->nodes[i].op && is_dead(f, &f->g->nodes[i])) {
                fuser_kill(f, (int)i);
                again = true;
            }
        }
    }
}

int graph_fuse(const struct graph *g, enum numerics n, struct graph **out, struct err *err)
{
    struct fuser f = {0};
    struct graph *copy = graph_clone(g);
    int rc = graph_finish(copy, err);
    if (!rc) {
        fuser_init(&f, copy);
        if (n == NUM_ORT && g->dialect == DIALECT_ONNX) {
            fuse_level1(&f);
            fuse_level2(&f);
            finish_aliases(&f);
        }
        drop_dead(&f);
        fuser_fini(&f);
        rc = graph_finish(copy, err);
    }
    if (rc) {
        graph_free(copy);
        return rc;
    }
    *out = copy;
    return OK;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static const struct {
    const char *name, *help;
} numerics[] = {
    [NUM_ORT] = {"ort", "onnxruntime x86, default optimisation"},
    [NUM_ORT_UNFUSED] = {"ort-unfused", "onnxruntime x86, optimisation off"},
    [NUM_TFLITE_XNNPACK] = {"tflite-xnnpack", "TensorFlow Lite x86, XNNPACK delegate"},
    [NUM_TFLITE_BUILTIN] = {"tflite-builtin", "TensorFlow Lite x86, optimised kernels"},
    [NUM_TFLITE_REF] = {"tflite-ref", "TensorFlow Lite, reference kernels"},
};

bool numerics_fits(enum numerics n, enum dialect d)
{
    return (n >= NUM_TFLITE_XNNPACK) == (d == DIALECT_TFLITE);
}

enum numerics numerics_for(enum numerics n, enum dialect d)
{
    return numerics_fits(n, d) ? n : d == DIALECT_TFLITE ? NUM_TFLITE_XNNPACK : NUM_ORT;
}

const char *numerics_name(enum numerics n)
{
    return numerics[n].name;
}

const char *numerics_help(enum numerics n)
{
    return numerics[n].help;
}

int numerics_find(const char *name)
{
    for (size_t i = 0; i < COUNT(numerics); i++) {
        if (strcmp(numerics[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}
