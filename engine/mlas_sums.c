/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * mlas_sums.c: ReduceSum and ReduceMean of floats in the order in which onnxruntime adds. It has a
 * way for each of a few patterns of dimensions, K kept and R reduced, neighbours of one kind taken
 * as one dimension:
 *
 *   R, KR, RKR  rows in vectors of four, as Eigen's sum() does from the first aligned element on;
 *               for RKR, whose K is more than one, the sums of rows are added in turn
 *   RK          rows are added in turn
 *   KRK         whose first K is more than one: a product with ones; rows in fours, then two, then
 *               one, which are added in turn
 *   others      element by element
 *
 * Found by comparing with onnxruntime; check_random.py compares.
 */
#include "engine/elem.h"
#include "engine/op.h"
#include "engine/op_mlas.h"

enum { LANES = 4, MAX_GROUPS = MAX_RANK };

/* Dimensions by kind: `first` tells the kind of group 0, they alternate. */
struct groups {
    bool first; /* reduced */
    int n;
    size_t size[MAX_GROUPS];
};

static struct groups find_groups(const struct tensor *x, const bool *reduced)
{
    struct groups g = {0};
    for (int d = 0; d < x->rank; d++) {
        bool same = g.n && (g.n % 2 ? g.first : !g.first) == reduced[d];
        if (g.n == 0) {
            g.first = reduced[d];
        }
        if (!same) {
            g.size[g.n++] = 1;
        }
        g.size[g.n - 1] *= (size_t)x->dims[d];
    }
    return g;
}

/* Vectors by turns into two accumulators, whose sum takes an odd last one. */
static float sum_vectors(const float *v, size_t n)
{
    float a[LANES], b[LANES];
    memcpy(a, v, sizeof a);
    if (n >= 2 * (size_t)LANES) {
        memcpy(b, v + LANES, sizeof b);
        size_t i = 2 * (size_t)LANES;
        for (; i + 2 * (size_t)LANES <= n; i += 2 * (size_t)LANES) {
            for (size_t k = 0; k < LANES; k++) {
                a[k] += v[i + k];
                b[k] += v[i + LANES + k];
            }
        }
        for (size_t k = 0; k < LANES; k++) {
            a[k] += b[k];
        }
        for (size_t k = 0; k < LANES && i < n; k++) {
            a[k] += v[i + k];
        }
    }
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* The row starts `before` elements in front of the first whose address is a multiple of 16 bytes in
 * the runtime. What stands before and behind whole vectors comes last. */
static float sum_row(const float *v, size_t n, size_t before)
{
    before = MIN(before, n);
    const size_t whole = (n - before) / LANES * LANES;
    float sum = whole ? sum_vectors(v + before, whole) : v[0];
    for (size_t i = whole ? 0 : 1; i < (whole ? before : n); i++) {
        sum += v[i];
    }
    for (size_t i = before + whole; whole && i < n; i++) {
        sum += v[i];
    }
    return sum;
}

/* x [outer,kept,n], y [kept]. Tensors of the runtime begin at multiples of 64 bytes. */
static void sum_rows(const float *x, size_t outer, size_t kept, size_t n, float *y)
{
    for (size_t o = 0; o < outer; o++) {
        for (size_t k = 0; k < kept; k++) {
            const size_t at = (o * kept + k) * n;
            const float sum = sum_row(x + at, n, (LANES - at % LANES) % LANES);
            y[k] = o ? y[k] + sum : sum;
        }
    }
}

/* x [n,kept], y [kept]: groups of `step` rows, halved for what is left, are added up first. */
static void sum_columns(const float *x, size_t n, size_t kept, size_t step, float *y)
{
    for (size_t r = 0; r < n;) {
        while (r + step > n) {
            step /= 2;
        }
        for (size_t k = 0; k < kept; k++) {
            float sum = x[r * kept + k];
            for (size_t i = 1; i < step; i++) {
                sum += x[(r + i) * kept + k];
            }
            y[k] = r ? y[k] + sum : sum;
        }
        r += step;
    }
}

static void sum_elements(const float *x, struct walk w, float *y)
{
    if (!walk_start(&w)) {
        return;
    }
    const int last = w.rank - 1;
    do {
        for (int64_t e = 0; e < w.dims[last]; e++) {
            y[w.at[0] + e * w.stride[0][last]] += x[w.at[1] + e];
        }
    } while (walk_next(&w));
}

static void sum_in_order(const struct tensor *x, const bool *reduced, const struct walk *w,
                         struct tensor *y)
{
    const struct groups g = find_groups(x, reduced);
    const size_t *s = g.size;
    const float *from = x->data;
    float *to = y->data;
    if (g.first && g.n == 1) {
        sum_rows(from, 1, 1, s[0], to);
    } else if (!g.first && g.n == 2) {
        sum_rows(from, 1, s[0], s[1], to);
    } else if (g.first && g.n == 3 && s[1] > 1) {
        sum_rows(from, s[0], s[1], s[2], to);
    } else if (g.first && g.n == 2) {
        sum_columns(from, s[0], s[1], 1, to);
    } else if (!g.first && g.n == 3 && s[0] > 1) {
        for (size_t k = 0; k < s[0]; k++) {
            sum_columns(from + k * s[1] * s[2], s[1], s[2], 4, to + k * s[2]);
        }
    } else {
        memset(to, 0, y->size);
        sum_elements(from, *w, to);
    }
}

static int op_sum(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    if (x->dtype != DT_F32 || x->n == 0) {
        return mlas_run_ordinary(c, err);
    }
    bool reduced[MAX_RANK] = {false};
    struct walk w;
    int rc = reduce_start(c, (int)attr_int(c->node, fuse_opset_attr, 1), reduced, &w, err);
    if (rc) {
        return rc;
    }
    struct tensor *y = c->out[0];
    sum_in_order(x, reduced, &w, y);
    if (strcmp(c->node->op, "ReduceMean") == 0) {
        const float n = (float)(x->n / y->n);
        for (size_t i = 0; i < y->n; i++) {
            ((float *)y->data)[i] /= n;
        }
    }
    return OK;
}

// clang-format off
const struct op op_mlas_sums[] = {
    {.name = "ReduceSum", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 2, .ref = op_sum, .spec = "ORT ReduceSum, order of sums"},
    {.name = "ReduceMean", .domain = fuse_mlas_domain, .since = 1, .min_in = 1, .max_in = 2, .ref = op_sum, .spec = "ORT ReduceMean, order of sums"},
    {0},
};
// clang-format on
