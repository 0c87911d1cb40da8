/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_attention.c: Attention: scaled dot products with masks, caches, grouped heads and windows.
 * Plain loops in double: networks of the kind qscope serves mostly bring their attention as single
 * MatMul and Softmax nodes.
 */
#include "engine/elem.h"
#include "engine/op.h"

#include <math.h>

/* A checked call. Keys and values: `past` cached ones, then the new ones, `total` together. */
struct attention {
    bool flat; /* inputs are [batch, sequence, heads * size] */
    int64_t batch, heads, kv_heads, queries, past, total, size, v_size;
    double scale, softcap;
    bool causal;
    int64_t left, right;               /* window, -1: open */
    int64_t mode;                      /* what output 3 shows */
    const struct tensor *mask, *valid; /* valid: keys that count, per batch entry */
    struct tensor *q, *k, *v, *bias;   /* f64; k and v hold all `total` of them */
};

static const struct tensor *input(const struct op_call *c, int i)
{
    return i < c->n_in ? c->in[i] : NULL;
}

/* Heads, sequence length and head size of Q, K or V. */
static int read_heads(const struct op_call *c, int i, const char *attr, int64_t *heads, int64_t *n,
                      int64_t *size, struct err *err)
{
    const struct tensor *t = c->in[i];
    if (t->rank == 4) {
        *heads = t->dims[1];
        *n = t->dims[2];
        *size = t->dims[3];
    } else {
        *heads = attr_int(c->node, attr, 0);
        *n = t->dims[1];
        if (*heads < 1 || t->dims[2] % *heads) {
            return err_set(err, E_SHAPE, "%s is %lld for a hidden size of %lld", attr,
                           (long long)*heads, (long long)t->dims[2]);
        }
        *size = t->dims[2] / *heads;
    }
    return OK;
}

static int read_shapes(const struct op_call *c, struct attention *a, struct err *err)
{
    const struct tensor *q = c->in[0];
    int64_t v_heads = 0, k_n = 0, v_n = 0, k_size = 0;
    a->flat = q->rank == 3;
    if (!dtype_is_float(q->dtype) || (q->rank != 3 && q->rank != 4)) {
        return err_set(err, E_SHAPE, "query is %s of rank %d, expected floats of rank 3 or 4",
                       dtype_name(q->dtype), q->rank);
    }
    for (int i = 1; i <= 2; i++) {
        int rc = op_want(c, i, DT_NONE, q->rank, err);
        if (!rc && (!dtype_is_float(c->in[i]->dtype) || c->in[i]->dims[0] != q->dims[0])) {
            rc = err_set(err, E_SHAPE, "input %d does not fit the query", i);
        }
        if (rc) {
            return rc;
        }
    }
    a->batch = q->dims[0];
    int rc = read_heads(c, 0, "q_num_heads", &a->heads, &a->queries, &a->size, err);
    rc = rc ? rc : read_heads(c, 1, "kv_num_heads", &a->kv_heads, &k_n, &k_size, err);
    rc = rc ? rc : read_heads(c, 2, "kv_num_heads", &v_heads, &v_n, &a->v_size, err);
    if (!rc && (k_n != v_n || a->kv_heads != v_heads || k_size != a->size || a->kv_heads < 1 ||
                a->heads % a->kv_heads)) {
        rc = err_set(err, E_SHAPE, "query, key and value do not fit together");
    }
    a->total = k_n;
    return rc;
}

/* past_key and past_value: [batch, kv_heads, past, size]. */
static int read_past(const struct op_call *c, struct attention *a, struct err *err)
{
    const struct tensor *key = input(c, 4), *value = input(c, 5);
    if (!key && !value) {
        return OK;
    }
    int rc = op_want(c, 4, DT_NONE, 4, err);
    rc = rc ? rc : op_want(c, 5, DT_NONE, 4, err);
    if (rc) {
        return rc;
    }
    const int64_t want[] = {a->batch, a->kv_heads, key->dims[2], a->size};
    if (memcmp(key->dims, want, sizeof want) != 0 || memcmp(value->dims, want, 3 * sizeof *want) ||
        value->dims[3] != a->v_size || !dtype_is_float(key->dtype) ||
        !dtype_is_float(value->dtype)) {
        return err_set(err, E_SHAPE, "past key and value do not fit key and value");
    }
    a->past = key->dims[2];
    return __builtin_add_overflow(a->total, a->past, &a->total)
               ? err_set(err, E_LIMIT, "sequence length is over 2^63")
               : OK;
}

static int read_attributes(const struct op_call *c, struct attention *a, struct err *err)
{
    a->scale = (double)attr_float(c->node, "scale", 0);
    a->scale = a->scale != 0 ? a->scale : 1 / sqrt((double)a->size);
    a->softcap = (double)attr_float(c->node, "softcap", 0);
    a->causal = attr_int(c->node, "is_causal", 0) != 0;
    a->left = MIN(attr_int(c->node, "left_window_size", -1), a->total);
    a->right = MIN(attr_int(c->node, "right_window_size", -1), a->total);
    a->mode = attr_int(c->node, "qk_matmul_output_mode", 0);
    a->mask = input(c, 3);
    a->valid = input(c, 6);
    if (a->mode < 0 || a->mode > 3) {
        return err_set(err, E_FORMAT, "qk_matmul_output_mode is %lld, expected 0 to 3",
                       (long long)a->mode);
    }
    if (a->valid && (a->valid->n != (size_t)a->batch || !elem_is_int(a->valid->dtype))) {
        return err_set(err, E_SHAPE, "input 6 has %zu values, expected %lld integers", a->valid->n,
                       (long long)a->batch);
    }
    return OK;
}

/* Mask broadcasting to [batch, heads, queries, total]; its last dimension may be shorter. */
static int check_mask(const struct attention *a, struct err *err)
{
    const struct tensor *m = a->mask;
    const int64_t want[] = {a->batch, a->heads, a->queries};
    if (!m) {
        return OK;
    }
    bool ok = m->rank >= 1 && m->rank <= 4 && m->dims[m->rank - 1] <= a->total &&
              (m->dtype == DT_BOOL || dtype_is_float(m->dtype));
    for (int d = 0; ok && d < m->rank - 1; d++) {
        ok = m->dims[d] == 1 || m->dims[d] == want[d + 4 - m->rank];
    }
    return ok ? OK : err_set(err, E_SHAPE, "mask does not broadcast to the scores");
}

/* t as [batch, heads, n, size] f64, after `past` of the same shape but for n. */
static int gather_heads(struct op_call *c, const struct attention *a, const struct tensor *t,
                        const struct tensor *past, const int64_t dims[4], struct tensor **out,
                        struct err *err)
{
    const int64_t before = past ? a->past : 0, n = dims[2] - before;
    int rc = tensor_new(DT_F64, 4, dims, c->budget, out, err);
    if (rc || (*out)->n == 0) {
        return rc;
    }
    for (int64_t r = 0; r < dims[0] * dims[1]; r++) {
        double *to = (double *)(*out)->data + r * dims[2] * dims[3];
        if (past) {
            elem_get_f64(past, (size_t)(r * before * dims[3]), (size_t)(before * dims[3]), to);
        }
        for (int64_t s = 0; s < n; s++) {
            const int64_t b = r / dims[1], h = r % dims[1];
            const int64_t at = a->flat ? (b * n + s) * dims[1] + h : r * n + s;
            elem_get_f64(t, (size_t)(at * dims[3]), (size_t)dims[3], to + (before + s) * dims[3]);
        }
    }
    return OK;
}

/* What is added to the score of key j for query i: 0, the mask's value, or -inf. */
static double score_bias(const struct attention *a, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t given = a->valid ? tensor_s64(a->valid, (size_t)b) : a->total;
    const int64_t valid = MAX(MIN(given, a->total), 0);
    const int64_t place = i + (a->valid ? valid - a->queries : a->past);
    if (j >= valid || (a->causal && j > place) || (a->left >= 0 && j < place - a->left) ||
        (a->right >= 0 && j > place + a->right)) {
        return -HUGE_VAL;
    }
    if (!a->mask) {
        return 0;
    }
    const struct tensor *m = a->mask;
    const int64_t index[] = {b, h, i, j};
    int64_t at = 0;
    for (int d = 0; d < m->rank; d++) {
        const bool last = d == m->rank - 1;
        const int64_t k = m->dims[d] == 1 && !last ? 0 : index[d + 4 - m->rank];
        if (k >= m->dims[d]) {
            return -HUGE_VAL; /* beyond a shorter last dimension */
        }
        at = at * m->dims[d] + k;
    }
    const double v = tensor_f64(m, (size_t)at);
    return m->dtype == DT_BOOL ? (v != 0 ? 0 : -HUGE_VAL) : v;
}

/* Scores of one query: raw product, softcap, bias, softmax; `shown` gets the stage that output 3
 * asks for. A row with no key left is all 0. */
static void score_row(const struct attention *a, int64_t b, int64_t h, int64_t i, double *row,
                      double *shown)
{
    const int64_t kv = b * a->kv_heads + h / (a->heads / a->kv_heads);
    const double *q = (double *)a->q->data + ((b * a->heads + h) * a->queries + i) * a->size;
    const double *k = (double *)a->k->data + kv * a->total * a->size;
    double max = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < a->total; j++) {
        double raw = 0;
        for (int64_t d = 0; d < a->size; d++) {
            raw += q[d] * k[j * a->size + d];
        }
        raw *= a->scale;
        const double capped = a->softcap > 0 ? a->softcap * tanh(raw / a->softcap) : raw;
        const double bias = score_bias(a, b, h, i, j);
        row[j] = isinf(bias) && bias < 0 ? bias : capped + bias;
        shown[j] = a->mode == 0 ? raw : a->mode == 1 ? capped : row[j];
        max = fmax(max, row[j]);
    }
    for (int64_t j = 0; j < a->total; j++) {
        row[j] = isinf(max) && max < 0 ? 0 : exp(row[j] - max);
        sum += row[j];
    }
    for (int64_t j = 0; j < a->total; j++) {
        row[j] = sum != 0 ? row[j] / sum : 0;
        shown[j] = a->mode == 3 ? row[j] : shown[j];
    }
}

/* All queries; row holds 2 * total + v_size doubles. */
static void attend(struct op_call *c, const struct attention *a, struct tensor *scores, double *row)
{
    double *shown = row + a->total, *y = shown + a->total;
    for (int64_t r = 0; r < a->batch * a->heads * a->queries; r++) {
        const int64_t i = r % a->queries, h = r / a->queries % a->heads,
                      b = r / a->queries / a->heads;
        const int64_t kv = b * a->kv_heads + h / (a->heads / a->kv_heads);
        const double *v = (double *)a->v->data + kv * a->total * a->v_size;
        score_row(a, b, h, i, row, shown);
        for (int64_t d = 0; d < a->v_size; d++) {
            y[d] = 0;
            for (int64_t j = 0; j < a->total; j++) {
                y[d] += row[j] != 0 ? row[j] * v[j * a->v_size + d] : 0;
            }
        }
        const int64_t to = a->flat ? (b * a->queries + i) * a->heads + h : r;
        elem_put_f64(c->out[0], (size_t)(to * a->v_size), (size_t)a->v_size, y);
        if (scores) {
            elem_put_f64(scores, (size_t)(r * a->total), (size_t)a->total, shown);
        }
    }
}

static bool wanted(const struct op_call *c, int i)
{
    return i < c->n_out && c->node->out[i] >= 0;
}

static int make_outputs(struct op_call *c, const struct attention *a, struct err *err)
{
    const enum dtype d = c->in[0]->dtype;
    int64_t hidden;
    if (__builtin_mul_overflow(a->heads, a->v_size, &hidden)) {
        return err_set(err, E_LIMIT, "hidden size is over 2^63");
    }
    const int64_t flat[] = {a->batch, a->queries, hidden},
                  y[] = {a->batch, a->heads, a->queries, a->v_size},
                  scores[] = {a->batch, a->heads, a->queries, a->total};
    int rc = op_out(c, 0, d, a->flat ? 3 : 4, a->flat ? flat : y, err);
    for (int i = 1; i <= 2 && !rc; i++) {
        const struct tensor *all = i == 1 ? a->k : a->v;
        if (wanted(c, i)) {
            rc = op_out(c, i, c->in[i]->dtype, 4, all->dims, err);
            if (!rc) {
                elem_put_f64(c->out[i], 0, all->n, all->data);
            }
        }
    }
    return rc || !wanted(c, 3) ? rc : op_out(c, 3, d, 4, scores, err);
}

static int attention(struct op_call *c, struct err *err)
{
    struct attention a = {0};
    struct tensor *row = NULL;
    int rc = read_shapes(c, &a, err);
    rc = rc ? rc : read_past(c, &a, err);
    rc = rc ? rc : read_attributes(c, &a, err);
    rc = rc ? rc : check_mask(&a, err);
    const int64_t q[] = {a.batch, a.heads, a.queries, a.size},
                  k[] = {a.batch, a.kv_heads, a.total, a.size},
                  v[] = {a.batch, a.kv_heads, a.total, a.v_size};
    rc = rc ? rc : gather_heads(c, &a, c->in[0], NULL, q, &a.q, err);
    rc = rc ? rc : gather_heads(c, &a, c->in[1], input(c, 4), k, &a.k, err);
    rc = rc ? rc : gather_heads(c, &a, c->in[2], input(c, 5), v, &a.v, err);
    rc = rc ? rc : make_outputs(c, &a, err);
    const int64_t room[] = {3, MAX(a.total, a.v_size)};
    rc = rc ? rc : tensor_new(DT_F64, 2, room, c->budget, &row, err);
    if (!rc && c->out[0]->n > 0) {
        attend(c, &a, wanted(c, 3) ? c->out[3] : NULL, row->data);
    }
    tensor_free(row);
    tensor_free(a.q);
    tensor_free(a.k);
    tensor_free(a.v);
    return rc;
}

const struct op op_attention[] = {
    {
        .name = "Attention",
        .since = 23,
        .min_in = 3,
        .max_in = 7,
        .ref = attention,
        .spec = "ONNX Attention-25",
    },
    {0},
};
