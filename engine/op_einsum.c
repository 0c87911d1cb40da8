/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_einsum.c: Einsum: sums of products over labelled dimensions, for up to three inputs and eight
 * labels. The equation becomes one loop per label; nothing is rearranged for speed.
 */
#include "engine/elem.h"
#include "engine/op.h"

/* A label of the equation: a letter, or one dimension of "..." counted from its right. */
enum { ELLIPSIS = 128, MAX_LABELS = ELLIPSIS + MAX_RANK };

/* Labels of one term; `rank`: dimensions that "..." stands for (rank minus the letters). */
struct term {
    int n;
    int label[MAX_RANK];
};

/* Reads one term up to ',' or '-' or the end. rank < 0: the output, "..." stands for `dots`. */
static int read_term(const char **at, int rank, int dots, struct term *t, struct err *err)
{
    const char *p = *at;
    int letters = 0;
    for (const char *q = p; *q && *q != ',' && *q != '-'; q++) {
        letters += *q != '.' && *q != ' ';
    }
    dots = rank < 0 ? dots : rank - letters;
    t->n = 0;
    for (; *p && *p != ',' && *p != '-'; p++) {
        const bool ellipsis = p[0] == '.' && p[1] == '.' && p[2] == '.';
        const bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (*p == ' ') {
            continue;
        }
        if ((!ellipsis && !letter) || dots < 0 || t->n + (ellipsis ? dots : 1) > MAX_RANK) {
            return err_set(err, E_FORMAT, "equation does not fit the inputs at '%.20s'", p);
        }
        for (int i = dots; ellipsis && i > 0; i--) {
            t->label[t->n++] = ELLIPSIS + i - 1;
        }
        if (letter) {
            t->label[t->n++] = *p;
        }
        p += ellipsis ? 2 : 0;
    }
    *at = p;
    return rank >= 0 && t->n != rank
               ? err_set(err, E_SHAPE, "term has %d labels for an input of rank %d", t->n, rank)
               : OK;
}

/* Without "->": "..." first, then letters that occur once, in alphabetical order. */
static int implicit_output(const struct term *in, int n, int dots, struct term *out,
                           struct err *err)
{
    int count[ELLIPSIS] = {0};
    out->n = 0;
    for (int i = dots; i > 0; i--) {
        out->label[out->n++] = ELLIPSIS + i - 1;
    }
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < in[k].n; i++) {
            count[in[k].label[i] % ELLIPSIS] += in[k].label[i] < ELLIPSIS;
        }
    }
    for (int label = 0; label < ELLIPSIS; label++) {
        if (count[label] == 1) {
            if (out->n == MAX_RANK) {
                return err_set(err, E_SHAPE, "output has more than %d dimensions", MAX_RANK);
            }
            out->label[out->n++] = label;
        }
    }
    return OK;
}

/* Terms of all inputs and of the output (last), from the attribute. */
static int read_equation(const struct op_call *c, struct term *terms, struct err *err)
{
    const char *p = attr_string(c->node, "equation", "");
    int dots = 0;
    for (int k = 0; k < c->n_in; k++) {
        int rc = read_term(&p, c->in[k]->rank, 0, &terms[k], err);
        if (rc) {
            return rc;
        }
        for (int i = 0; i < terms[k].n; i++) {
            dots = MAX(dots, terms[k].label[i] - ELLIPSIS + 1);
        }
        if (k + 1 < c->n_in && *p++ != ',') {
            return err_set(err, E_FORMAT, "equation has fewer terms than %d inputs", c->n_in);
        }
    }
    if (*p == '\0') {
        return implicit_output(terms, c->n_in, dots, &terms[c->n_in], err);
    }
    if (p[0] != '-' || p[1] != '>') {
        return err_set(err, E_FORMAT, "equation does not end after %d inputs", c->n_in);
    }
    p += 2;
    int rc = read_term(&p, -1, dots, &terms[c->n_in], err);
    return rc || *p == '\0' ? rc : err_set(err, E_FORMAT, "equation goes on with '%.20s'", p);
}

/* Adds a loop for each label of t that has none yet; loop[label] is its index. */
static int add_loops(const struct term *t, int *loop, struct walk *w, struct err *err)
{
    for (int i = 0; i < t->n; i++) {
        if (loop[t->label[i]] < 0) {
            if (w->rank == MAX_RANK) {
                return err_set(err, E_UNSUPPORTED, "equation has more than %d labels", MAX_RANK);
            }
            w->dims[w->rank] = 1;
            loop[t->label[i]] = w->rank++;
        }
    }
    return OK;
}

/* Loop sizes from input k and its strides; sizes of 1 broadcast. */
static int bind_input(const struct tensor *x, const struct term *t, const int *loop, int k,
                      struct walk *w, struct err *err)
{
    int64_t own[MAX_RANK];
    walk_strides(x->rank, x->dims, own);
    for (int d = 0; d < t->n; d++) {
        const int l = loop[t->label[d]];
        if (x->dims[d] != 1) {
            if (w->dims[l] != 1 && w->dims[l] != x->dims[d]) {
                return err_set(err, E_SHAPE, "a label stands for %lld and %lld elements",
                               (long long)w->dims[l], (long long)x->dims[d]);
            }
            w->dims[l] = x->dims[d];
            w->stride[k][l] += own[d]; /* a label given twice runs along the diagonal */
        }
    }
    return OK;
}

/* y[output labels] = sum over the other labels of the product of the inputs. */
static int einsum(struct op_call *c, struct err *err)
{
    struct term terms[WALK_MAX];
    struct walk w = {.n = c->n_in + 1};
    struct tensor *in[WALK_MAX] = {NULL}, *acc = NULL;
    int loop[MAX_LABELS], rc = OK;
    int64_t dims[MAX_RANK], own[MAX_RANK];
    for (int k = 0; k < c->n_in && !rc; k++) {
        rc = op_want(c, k, c->in[0]->dtype, -1, err);
    }
    memset(loop, -1, sizeof loop);
    rc = rc ? rc : read_equation(c, terms, err);
    rc = rc ? rc : add_loops(&terms[c->n_in], loop, &w, err);
    const int rank = w.rank;
    if (!rc && rank != terms[c->n_in].n) {
        rc = err_set(err, E_FORMAT, "output has a label twice");
    }
    for (int k = 0; k < c->n_in && !rc; k++) {
        rc = add_loops(&terms[k], loop, &w, err);
        rc = rc ? rc : bind_input(c->in[k], &terms[k], loop, k + 1, &w, err);
        rc = rc ? rc : elem_to_f64(c->in[k], c->budget, &in[k], err);
    }
    memcpy(dims, w.dims, sizeof dims);
    rc = rc ? rc : op_out(c, 0, c->in[0]->dtype, rank, dims, err);
    rc = rc ? rc : tensor_new(DT_F64, rank, dims, c->budget, &acc, err);
    if (!rc) {
        walk_strides(rank, dims, own);
        memcpy(w.stride[0], own, (size_t)rank * sizeof *own);
        memset(acc->data, 0, acc->size);
    }
    if (!rc && walk_start(&w)) {
        do {
            const int last = w.rank - 1;
            for (int64_t e = 0; e < w.dims[last]; e++) {
                double v = 1;
                for (int k = 0; k < c->n_in; k++) {
                    v *= ((double *)in[k]->data)[w.at[k + 1] + e * w.stride[k + 1][last]];
                }
                ((double *)acc->data)[w.at[0] + e * w.stride[0][last]] += v;
            }
        } while (walk_next(&w));
    }
    if (!rc) {
        elem_put_f64(c->out[0], 0, acc->n, acc->data);
    }
    for (int k = 0; k < c->n_in; k++) {
        tensor_free(in[k]);
    }
    tensor_free(acc);
    return rc;
}

const struct op op_einsum[] = {
    {
        .name = "Einsum",
        .since = 12,
        .min_in = 1,
        .max_in = WALK_MAX - 1,
        .ref = einsum,
        .spec = "ONNX Einsum-28",
    },
    {0},
};
