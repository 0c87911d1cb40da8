/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuse_gelu.c: x * 0.5 * (1 + erf(x / sqrt 2)) written out as five operators, which onnxruntime
 * computes as one: x times 1 / sqrt 2 rounds otherwise than x divided by sqrt 2 does.
 */
#include "engine/fuse.h"

#include <math.h>

/* Whether input `slot` of a plain node is that constant. */
static bool is_constant(const struct fuser *f, int node, int slot, double v)
{
    const struct tensor *t = fuse_single(f, f->g->nodes[node].in[slot]);
    return t && fabs(tensor_f64(t, 0) - v) <= 1e-8 + 1e-5 * v;
}

static int out_of(const struct fuser *f, int node)
{
    return node >= 0 ? f->g->nodes[node].out[0] : -1;
}

/* Whether a Mul has x and a constant 0.5 as its inputs. */
static bool is_half_of(const struct fuser *f, int node, int x)
{
    const struct node *n = &f->g->nodes[node];
    return fuse_is_plain(f, node, "Mul", 2) && ((n->in[0] == x && is_constant(f, node, 1, 0.5)) ||
                                                (n->in[1] == x && is_constant(f, node, 0, 0.5)));
}

bool fuse_is_product(const struct fuser *f, int value)
{
    const int mul = fuser_producer(f, value);
    for (int k = 0; fuse_is(f, mul, "Mul") && k < f->g->nodes[mul].n_in; k++) {
        const int cast = fuser_producer(f, f->g->nodes[mul].in[k]);
        if (fuse_is(f, cast, "Cast") && f->g->nodes[cast].n_in == 1 &&
            fuse_is(f, fuser_producer(f, f->g->nodes[cast].in[0]), "MatMulInteger")) {
            return true;
        }
    }
    return false;
}

/* Whether the runtime takes the product that makes x for the one with a half. Before opset 20 it
 * looks for Gelus late, when products with the scale of a MatMulInteger are no longer nodes. */
static bool is_mistaken(const struct fuser *f, int x)
{
    return fuse_is(f, fuser_producer(f, x), "Mul") && (f->g->opset >= 20 || !fuse_is_product(f, x));
}

/* The five, from the division on; false where it is something else. */
struct gelu {
    int div, erf, add, first, last; /* first, last: products */
};

static bool find_gelu(const struct fuser *f, int div, struct gelu *g)
{
    *g = (struct gelu){.div = div};
    if (!fuse_is_plain(f, div, "Div", 2) || !is_constant(f, div, 1, M_SQRT2)) {
        return false;
    }
    const int x = f->g->nodes[div].in[0];
    g->erf = fuser_sole_use(f, out_of(f, div)).node;
    if (!fuse_is_plain(f, g->erf, "Erf", 1)) {
        return false;
    }
    const struct edge to_add = fuser_sole_use(f, out_of(f, g->erf));
    g->add = to_add.node;
    if (!fuse_is_plain(f, g->add, "Add", 2) || !is_constant(f, g->add, 1 - to_add.slot, 1)) {
        return false;
    }
    const struct edge to_mul = fuser_sole_use(f, out_of(f, g->add));
    if (!fuse_is_plain(f, to_mul.node, "Mul", 2)) {
        return false;
    }
    const int other = f->g->nodes[to_mul.node].in[1 - to_mul.slot];
    const int maker = fuser_producer(f, other);
    if (other == x) { /* x * (1 + erf), then half of it */
        g->first = to_mul.node;
        g->last = fuser_sole_use(f, out_of(f, g->first)).node;
        return g->last >= 0 && is_half_of(f, g->last, out_of(f, g->first)) && !is_mistaken(f, x);
    }
    g->first = maker; /* half of x, times 1 + erf */
    g->last = to_mul.node;
    return maker >= 0 && is_half_of(f, maker, x) && fuser_sole_use(f, other).node == g->last;
}

void fuse_gelu(struct fuser *f)
{
    struct gelu g;
    const size_t n_nodes = fuse_has_codes(f) ? f->g->n_nodes : 0;
    for (size_t i = 0; i < n_nodes; i++) {
        if (!find_gelu(f, (int)i, &g)) {
            continue;
        }
        const int x = f->g->nodes[g.div].in[0], y = out_of(f, g.last);
        fuser_become(f, g.last, "Gelu", "com.microsoft", 1, &x, 1, &y);
        f->g->nodes[g.last].n_attrs = 0;
        fuser_kill(f, g.first);
        fuser_kill(f, g.add);
        fuser_kill(f, g.erf);
        fuser_kill(f, g.div);
    }
}
