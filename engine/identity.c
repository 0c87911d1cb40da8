/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * identity.c: names for what a plan computes, by structure alone. The identity of a value is a
 * digest of the operator that makes it, of its attributes and parameters, and of the identities of
 * its inputs, down to constants and graph inputs. Two values of equal identity have the same bits
 * on the same sample, in whichever plans they stand: pins and fusing change the identities of
 * exactly what they can change.
 */
#include "engine/fuse.h"
#include "engine/plan.h"

#include <stdlib.h>

/* Constants in a mapped file are known by their tensor, which all graphs share that were made from
 * the file; others, among them those that fusing makes anew for every plan, by their contents. */
static void add_constant(struct digest *d, const struct tensor *t)
{
    if (t->borrowed) {
        digest_int(d, (int64_t)(uintptr_t)t);
    } else {
        struct digest c = tensor_digest(t);
        digest_add(d, &c, sizeof c);
    }
}

static void add_quant(struct digest *d, const struct quant *q)
{
    digest_int(d, q ? (int64_t)q->n : -1);
    if (q) {
        digest_int(d, q->dtype);
        digest_int(d, q->axis);
        digest_add(d, q->scale, q->n * sizeof *q->scale);
        digest_add(d, q->zero, q->n * sizeof *q->zero);
    }
}

static void add_attr(struct digest *d, const struct attr *a)
{
    digest_text(d, a->name);
    digest_int(d, a->kind);
    digest_int(d, a->i);
    digest_add(d, &a->f, sizeof a->f);
    digest_add(d, a->s, a->s ? a->s_size : 0);
    digest_int(d, (int64_t)a->n);
    digest_add(d, a->ints, a->ints ? a->n * sizeof *a->ints : 0);
    digest_add(d, a->floats, a->floats ? a->n * sizeof *a->floats : 0);
    for (size_t i = 0; a->strings && i < a->n; i++) {
        digest_text(d, a->strings[i]);
    }
    if (a->t) {
        add_constant(d, a->t);
    }
}

void node_attrs_digest(const struct node *n, struct digest *d)
{
    for (int k = 0; k < n->n_attrs; k++) {
        if (strcmp(n->attrs[k].name, fuse_why_attr) != 0) { /* for people */
            add_attr(d, &n->attrs[k]);
        }
    }
}

/* What node i does to its inputs, whatever they are. */
static struct digest node_identity(const struct plan *p, size_t i)
{
    const struct node *n = &p->g->nodes[i];
    const struct quant *const *q = p->quants + p->steps[i].quants;
    struct digest d = {0};
    digest_text(&d, n->domain);
    digest_text(&d, n->op);
    digest_int(&d, plan_opset(p->g, n));
    digest_int(&d, n->n_in);
    node_attrs_digest(n, &d);
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        int v = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
        digest_int(&d, v >= 0);
        add_quant(&d, q[k]);
    }
    return d;
}

static struct digest input_identity(const struct plan *p, size_t i)
{
    const struct value *v = &p->g->values[p->g->inputs[i]];
    struct digest d = p->seed;
    digest_text(&d, "input");
    digest_int(&d, (int64_t)i);
    digest_int(&d, v->dtype);
    digest_add(&d, v->dims, (size_t)MAX(v->rank, 0) * sizeof *v->dims);
    add_quant(&d, v->quant);
    return d;
}

void node_identities(const struct plan *p, size_t i, struct digest *ids)
{
    const struct node *n = &p->g->nodes[i];
    struct digest all = p->seed;
    digest_add(&all, &p->node_ids[i], sizeof all);
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] >= 0) {
            digest_add(&all, &ids[n->in[k]], sizeof *ids);
        }
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->out[k] >= 0) {
            ids[n->out[k]] = all;
            digest_int(&ids[n->out[k]], k);
            digest_int(&ids[n->out[k]], p->wide && p->wide[n->out[k]]);
        }
    }
}

void plan_identify(struct plan *p)
{
    p->node_ids = mem_alloc((p->g->n_nodes + 1) * sizeof *p->node_ids);
    p->ids = mem_alloc((p->g->n_values + 1) * sizeof *p->ids);
    p->seed = (struct digest){0};
    digest_int(&p->seed, p->o.numerics);
    digest_int(&p->seed, p->o.kernels);
    digest_int(&p->seed, p->o.reference);
    for (size_t v = 0; v < p->g->n_values; v++) {
        if (p->g->values[v].constant) {
            digest_text(&p->ids[v], "constant");
            add_constant(&p->ids[v], p->g->values[v].constant);
        }
    }
    for (size_t i = 0; i < p->g->n_inputs; i++) {
        p->ids[p->g->inputs[i]] = input_identity(p, i);
    }
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        p->node_ids[i] = node_identity(p, i);
        node_identities(p, i, p->ids);
    }
}

struct digest plan_identity(const struct plan *p, int value)
{
    return p->ids[value];
}
