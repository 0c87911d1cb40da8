/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse.c: the graph that a runtime really executes. A Q/DQ model says "float operators between
 * quantizers"; onnxruntime computes what it can with integers, and which nodes those are depends on
 * types and on how many consumers each tensor has. The rules reproduce onnxruntime 1.32 on x86 with
 * default options, pass by pass (fuse_level1.c, fuse_level2.c, fuse_groups.c); without that, a
 * model's numbers are not the deployed ones.
 */
#include "engine/fuse.h"

/* ---- Tidying up ----------------------------------------------------------------------------- */

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
        if (n->out[k] >= 0 &&
            (fuser_uses(f, n->out[k]) || fuser_is_output(f, n->out[k]) || f->v[n->out[k]].kept)) {
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

/* ---- Numerics: THE table -------------------------------------------------------------------- */

static int fuse_ort(struct fuser *f, struct err *err)
{
    (void)err;
    fuse_level1(f);
    fuse_level2(f);
    finish_aliases(f);
    return OK;
}

static int fuse_ort_unfused(struct fuser *f, struct err *err)
{
    (void)err;
    fuse_islands(f, false);
    return OK;
}

static int fuse_u8s8(struct fuser *f, struct err *err)
{
    int rc = fuse_ort(f, err);
    fuse_pairs(f);
    return rc;
}

/* How a graph becomes the executed one. Kernels that compute differently under some numerics are
 * chosen by the domain that the function puts nodes into. */
static const struct {
    const char *name, *help;
    bool verified;
    int (*fuse)(struct fuser *f, struct err *err);
} numerics[] = {
    [NUM_ORT] = {"ort", "onnxruntime x86, default optimisation", true, fuse_ort},
    [NUM_ORT_UNFUSED] = {"ort-unfused", "onnxruntime x86, optimisation off", true,
                         fuse_ort_unfused},
    [NUM_ONNX] = {"onnx", "ONNX specification taken literally", true, fuse_literal},
    [NUM_TENSORRT] = {"tensorrt",
                      "TensorRT symmetric INT8, explicit or from a calibration cache (unverified)",
                      false, fuse_tensorrt},
    [NUM_U8S8_SATURATE] = {"u8s8-saturate",
                           "onnxruntime x86 without VNNI, 16-bit pairs saturate (unverified)",
                           false, fuse_u8s8},
    [NUM_TFLITE_XNNPACK] = {"tflite-xnnpack", "TensorFlow Lite x86, XNNPACK delegate", true, NULL},
    [NUM_TFLITE_BUILTIN] = {"tflite-builtin", "TensorFlow Lite x86, optimised kernels", true, NULL},
    [NUM_TFLITE_REF] = {"tflite-ref", "TensorFlow Lite, reference kernels", true, NULL},
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
    return (size_t)n < COUNT(numerics) ? numerics[n].name : NULL;
}

const char *numerics_help(enum numerics n)
{
    return numerics[n].help;
}

bool numerics_verified(enum numerics n)
{
    return numerics[n].verified;
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

/* Models that onnxruntime optimised have quantized operators in two layouts under one name. */
static void name_layouts(struct graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        if (strcmp(n->domain, "com.microsoft") == 0 && strncmp(n->op, "QLinear", 7) == 0 &&
            attr_int(n, "channels_last", 0)) {
            n->domain = fuse_nhwc_domain;
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
        name_layouts(copy);
        rc = numerics[n].fuse && g->dialect == DIALECT_ONNX ? numerics[n].fuse(&f, err) : OK;
        if (!rc) {
            drop_dead(&f);
        }
        fuser_fini(&f);
        rc = rc ? rc : graph_finish(copy, err);
    }
    if (rc) {
        graph_free(copy);
        return rc;
    }
    *out = copy;
    return OK;
}

/* ---- Integer operators in a model --------------------------------------------------------------
 */

/* QGemm has no beta; where it was made of a Gemm, that was 1. */
static void drop_beta(struct node *n)
{
    int kept = 0;
    for (int k = 0; k < n->n_attrs; k++) {
        if (strcmp(n->attrs[k].name, "beta") != 0) {
            n->attrs[kept++] = n->attrs[k];
        }
    }
    n->n_attrs = kept;
}

/* Nodes are written anew, but for those with parts that only their file has. */
static void forget_source(struct graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        bool other = false;
        if (g->nodes[i].op && strcmp(g->nodes[i].op, "QGemm") == 0) {
            drop_beta(&g->nodes[i]);
        }
        for (int k = 0; k < g->nodes[i].n_attrs; k++) {
            other |= g->nodes[i].attrs[k].kind == ATTR_OTHER;
        }
        g->nodes[i].raw = other ? g->nodes[i].raw : (struct span){0};
    }
}

int graph_to_integers(const struct graph *g, struct graph **out, struct err *err)
{
    struct fuser f = {0};
    struct graph *copy = graph_clone(g);
    fuser_init(&f, copy);
    f.as_written = true;
    fuse_level1(&f);
    fuse_integers(&f);
    finish_aliases(&f);
    drop_dead(&f);
    fuser_fini(&f);
    forget_source(copy);
    copy->opset_ms = MAX(copy->opset_ms, 1);
    int rc = graph_finish(copy, err);
    if (rc) {
        graph_free(copy);
        return rc;
    }
    *out = copy;
    return OK;
}

/* ---- Looking back -------------------------------------------------------------------------------
 */

static bool is_alive(const struct graph *g, const char *name)
{
    int v = graph_find(g, name);
    return v >= 0 && (g->values[v].producer >= 0 || g->values[v].is_input);
}

size_t fused_nodes(const struct graph *source, const struct graph *executed, int node,
                   int list[FUSED_NODES])
{
    size_t n = 0;
    const struct node *x = &executed->nodes[node];
    for (int k = 0; k < x->n_out; k++) {
        int v = x->out[k] >= 0 ? graph_find(source, executed->values[x->out[k]].name) : -1;
        if (v >= 0 && source->values[v].producer >= 0 && n < FUSED_NODES) {
            list[n++] = source->values[v].producer;
        }
    }
    for (size_t at = 0; at < n; at++) { /* list grows: breadth first, each node once */
        const struct node *s = &source->nodes[list[at]];
        for (int k = 0; k < s->n_in; k++) {
            int v = s->in[k], maker = v >= 0 ? source->values[v].producer : -1;
            bool known = maker < 0 || is_alive(executed, source->values[v].name);
            for (size_t i = 0; i < n; i++) {
                known = known || list[i] == maker;
            }
            if (!known && n < FUSED_NODES) {
                list[n++] = maker;
            }
        }
    }
    return n;
}

const char *fused_reason(const struct graph *executed, int node)
{
    return attr_string(&executed->nodes[node], fuse_why_attr, NULL);
}
