/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * edits.c: edits of a pair of models, made one after the other; see whatif.h.
 */
#include "analysis/recode.h"

#include <math.h>
#include <stdlib.h>

const struct edit_row edit_rows[N_EDITS] = {
    [EDIT_RANGE] = {.name = "range", .codes = true, .scale = true},
    [EDIT_WEIGHTS] = {.name = "weights", .codes = true, .granularity = true, .to = true},
    [EDIT_BIAS] = {.name = "bias", .to = true, .v = true},
    [EDIT_EQUALIZE] = {.name = "equalize", .to = true, .v = true},
    [EDIT_CLIP] = {.name = "clip", .v = true},
};

void edits_add(struct edits *list, struct edit c)
{
    list->list = mem_push(list->list, list->n, &list->cap, sizeof *list->list);
    list->list[list->n++] = c;
}

void edits_fini(struct edits *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->list[i].at);
        free(list->list[i].to);
        free(list->list[i].v);
    }
    free(list->list);
    *list = (struct edits){0};
}

/* ---- Clips ---------------------------------------------------------------------------------- */

/* A bound by channel, to be spread over x[n,c,...]. */
static int bound_constant(struct graph *g, const char *stem, int rank, size_t n, const float *v,
                          int *out, struct err *err)
{
    struct tensor *t = NULL;
    int64_t dims[MAX_RANK];
    for (int d = 0; d < rank - 1; d++) {
        dims[d] = d == 0 ? (int64_t)n : 1;
    }
    int rc = tensor_new(DT_F32, rank - 1, dims, NULL, &t, err);
    if (!rc) {
        memcpy(t->data, v, n * sizeof *v);
        *out = edit_constant(g, stem, "_bounds", t);
    }
    return rc;
}

int edit_clip(struct graph *g, int clip, size_t n, const float *v, struct err *err)
{
    const struct node *old = &g->nodes[clip];
    if (old->n_in < 1 || old->in[0] < 0 || old->n_out != 1 || old->out[0] < 0) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' clips nothing", old->name);
    }
    const struct value *x = &g->values[old->in[0]], *y = &g->values[old->out[0]];
    int rank = MAX(x->rank, y->rank), bounds = -1, out = old->out[0], in = old->in[0];
    const char *name = old->name;
    if (rank < 2 || rank > MAX_RANK) {
        return err_set(err, E_UNSUPPORTED, "'%.120s' has an unknown number of dimensions", name);
    }
    int rc = bound_constant(g, name, rank, n, v, &bounds, err);
    if (rc) {
        return rc;
    }
    int cut = edit_value(g, name, "_positive");
    struct value *c = &g->values[cut];
    c->dtype = DT_F32;
    c->rank = g->values[out].rank;
    memcpy(c->dims, g->values[out].dims, sizeof c->dims);
    g->nodes[clip].op = NULL;
    char *relu = mem_printf("%s_Relu", name);
    graph_add(g, "Relu", "", graph_fresh(g, relu), 1, &in, 1, &cut);
    free(relu);
    graph_add(g, "Min", "", name, 2, (const int[]){cut, bounds}, 1, &out);
    return OK;
}

/* ---- The whole ------------------------------------------------------------------------------ */

struct editing {
    const struct graph *fp32;
    struct graph *prepared; /* NULL until it is needed */
    struct graph *g;
    bool equalized;
    bool cut; /* all weights are made anew at the end, and biases with them */
};

static int need_prepared(struct editing *x, struct err *err)
{
    return x->prepared ? OK : quantize_prepare(x->fp32, &x->prepared, err);
}

static int node_in(const struct graph *g, const char *name, const char *model, int *out,
                   struct err *err)
{
    *out = name ? graph_find_node(g, name) : -1;
    return *out >= 0 ? OK
                     : err_set(err, E_SHAPE, "the %s model has no node '%.120s'", model,
                               name ? name : "?");
}

static int make_range(struct editing *x, const struct edit *c, struct err *err)
{
    int v = graph_find(x->g, c->at);
    return v >= 0 ? graph_requantize(x->g, v, c->codes.dtype, c->scale, c->zero, x->cut, err)
                  : err_set(err, E_SHAPE, "the INT8 model has no tensor '%.120s'", c->at);
}

static int make_recoded(struct editing *x, const struct edit *c, struct err *err)
{
    int from = -1, to = -1;
    int rc = need_prepared(x, err);
    rc = rc ? rc : node_in(x->prepared, c->at, "FP32", &from, err);
    rc = rc ? rc : node_in(x->g, c->to, "INT8", &to, err);
    if (!rc && c->kind == EDIT_WEIGHTS) {
        rc = recode_weights(x->g, to, x->prepared, from, c, err);
    } else if (!rc) {
        rc = recode_bias(x->g, to, x->prepared, from, c->n, c->v, err);
    }
    return rc ? rc : graph_finish(x->g, err);
}

static int make_equal(struct editing *x, const struct edit *c, struct err *err)
{
    int a = -1, b = -1;
    int rc = need_prepared(x, err);
    rc = rc ? rc : node_in(x->prepared, c->at, "FP32", &a, err);
    rc = rc ? rc : node_in(x->prepared, c->to, "FP32", &b, err);
    x->equalized = true;
    rc = rc ? rc : graph_equalize(x->prepared, a, b, c->n, c->v, err);
    return rc ? rc : graph_finish(x->prepared, err);
}

static int make_clip(struct editing *x, const struct edit *c, struct err *err)
{
    int at = -1;
    int rc = node_in(x->g, c->at, "INT8", &at, err);
    if (!rc && !edit_is(&x->g->nodes[at], "Clip")) {
        rc = err_set(err, E_SHAPE, "'%.120s' is no Clip", c->at);
    }
    rc = rc ? rc : edit_clip(x->g, at, c->n, c->v, err);
    return rc ? rc : graph_finish(x->g, err);
}

int edits_apply(const struct edits *list, const struct graph *fp32, const struct graph *int8,
                struct graph **fp32_out, struct graph **int8_out, struct err *err)
{
    static int (*const makers[N_EDITS])(struct editing *, const struct edit *, struct err *) = {
        [EDIT_RANGE] = make_range,    [EDIT_WEIGHTS] = make_recoded, [EDIT_BIAS] = make_recoded,
        [EDIT_EQUALIZE] = make_equal, [EDIT_CLIP] = make_clip,
    };
    struct editing x = {.fp32 = fp32, .g = graph_clone(int8)};
    int rc = OK;
    for (size_t i = 0; i < list->n; i++) {
        x.cut |= list->list[i].kind == EDIT_EQUALIZE;
    }
    for (size_t i = 0; i < list->n && !rc; i++) {
        rc = makers[list->list[i].kind](&x, &list->list[i], err);
    }
    if (rc || !x.equalized) {
        graph_free(x.prepared);
        x.prepared = NULL;
    }
    if (rc) {
        graph_free(x.g);
        return rc;
    }
    *fp32_out = x.prepared;
    *int8_out = x.g;
    return OK;
}
