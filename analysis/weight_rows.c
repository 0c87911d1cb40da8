/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * weight_rows.c: rows of weights, read and compared; see weight_rows.h. Models have tens of
 * millions of weights, which are compared while somebody waits: the loops are written for wide
 * registers.
 */
#include "analysis/weight_rows.h"

#include <math.h>

enum { LANE = 8 }; /* sums that go side by side */
/* Vectors for the largest registers there are; gcc makes no vectors of loops with a choice. */
typedef double lanes __attribute__((vector_size(LANE * sizeof(double))));
typedef int64_t masks __attribute__((vector_size(LANE * sizeof(int64_t))));

/* ---- Where weights stand --------------------------------------------------------------------- */

static enum weight_order order_of(const struct node *n, const struct tensor *w)
{
    const char *op = node_plain_op(n);
    bool rows = attr_int(n, "transB", 0) != 0;
    return strcmp(op, "Conv") == 0                ? (w->rank >= 3 ? ORDER_OK : ORDER_NONE)
           : strcmp(op, "CONV_2D") == 0           ? (w->rank == 4 ? ORDER_SPACE_FIRST : ORDER_NONE)
           : strcmp(op, "DEPTHWISE_CONV_2D") == 0 ? (w->rank == 4 ? ORDER_DEPTHWISE : ORDER_NONE)
           : w->rank != 2                         ? ORDER_NONE
           : strcmp(op, "FULLY_CONNECTED") == 0   ? ORDER_OK
           : strcmp(op, "Gemm") == 0              ? (rows ? ORDER_OK : ORDER_KO)
           : strcmp(op, "MatMul") == 0            ? ORDER_KO
                                                  : ORDER_NONE;
}

bool weight_matrix_init(struct weight_matrix *m, const struct node *n, const struct tensor *w)
{
    *m = (struct weight_matrix){.t = w, .order = order_of(n, w), .space = 1};
    int axis = m->order == ORDER_DEPTHWISE ? 3 : m->order == ORDER_KO ? 1 : 0;
    if (m->order == ORDER_NONE || w->n == 0) {
        return false;
    }
    m->o = (size_t)w->dims[axis];
    m->k = w->n / m->o;
    for (int d = 2; m->order == ORDER_OK && d < w->rank; d++) {
        m->space *= (size_t)w->dims[d];
    }
    m->space = m->order == ORDER_SPACE_FIRST ? (size_t)(w->dims[1] * w->dims[2]) : m->space;
    m->space = m->order == ORDER_DEPTHWISE ? m->k : m->space;
    return true;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* to[i] = element at + i of t, i < n. Floats may lie at any address, as in a mapped file. */
VECTOR_CLONES static void read_run(const struct tensor *t, size_t at, size_t n, double *to)
{
    if (t->dtype == DT_F32) {
        const uint8_t *x = (const uint8_t *)t->data + at * sizeof(float);
        for (size_t i = 0; i < n; i++) {
            float v;
            memcpy(&v, x + i * sizeof v, sizeof v);
            to[i] = (double)v;
        }
    } else if (t->dtype == DT_S8) {
        const int8_t *x = (const int8_t *)t->data + at;
        for (size_t i = 0; i < n; i++) {
            to[i] = x[i];
        }
    } else if (t->dtype == DT_U8) {
        const uint8_t *x = (const uint8_t *)t->data + at;
        for (size_t i = 0; i < n; i++) {
            to[i] = x[i];
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            to[i] = tensor_f64(t, at + i);
        }
    }
}

void weight_rows_read(const struct weight_matrix *m, const struct tensor *t, size_t o, size_t n,
                      double *to)
{
    size_t inputs = m->k / m->space;
    double line[WEIGHT_ROWS];
    for (size_t r = 0; r < n && m->order == ORDER_OK; r++) {
        read_run(t, (o + r) * m->k, m->k, to + r * m->k);
    }
    for (size_t r = 0; r < n && m->order == ORDER_SPACE_FIRST; r++) {
        for (size_t k = 0; k < m->k; k++) {
            size_t at = k % m->space * inputs + k / m->space;
            read_run(t, (o + r) * m->k + at, 1, to + r * m->k + k);
        }
    }
    for (size_t k = 0; k < m->k && (m->order == ORDER_KO || m->order == ORDER_DEPTHWISE); k++) {
        read_run(t, k * m->o + o, n, line);
        for (size_t r = 0; r < n; r++) {
            to[r * m->k + k] = line[r];
        }
    }
}

/* ---- One row --------------------------------------------------------------------------------- */

VECTOR_CLONES void weight_row_scale(double *v, size_t k, double gain)
{
    for (size_t i = 0; i < k; i++) {
        v[i] *= gain;
    }
}

/* *v without its signs. */
static inline void make_positive(lanes *v)
{
    *v = (lanes)((masks)*v & INT64_MAX);
}

/* The larger ones; where v is NaN, *top stays. */
static inline void raise_to(lanes *top, const lanes *v)
{
    const masks m = *v > *top;
    *top = (lanes)(((masks)*v & m) | ((masks)*top & ~m));
}

/* Counts the lanes of *v that are 0, as doubles, which stay exact. */
static inline void count_zeros(lanes *n, const lanes *v)
{
    const lanes one = {1, 1, 1, 1, 1, 1, 1, 1};
    *n += (lanes)((masks)one & (masks)(*v == 0));
}

static double lanes_sum(const lanes *v)
{
    const lanes x = *v;
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

static double lanes_top(const lanes *x)
{
    double top = 0;
    for (size_t j = 0; j < LANE; j++) {
        top = fmax(top, (*x)[j]);
    }
    return top;
}

VECTOR_CLONES double weight_row_codes(double *w, size_t k, double zero, double factor)
{
    lanes top = {0};
    size_t i = 0;
    for (; i + LANE <= k; i += LANE) {
        lanes v;
        memcpy(&v, w + i, sizeof v);
        v -= zero;
        const lanes scaled = v * factor;
        memcpy(w + i, &scaled, sizeof scaled);
        make_positive(&v);
        raise_to(&top, &v);
    }
    for (; i < k; i++) {
        top[0] = fmax(top[0], fabs(w[i] - zero));
        w[i] = (w[i] - zero) * factor;
    }
    return lanes_top(&top);
}

struct row_lanes {
    lanes vv, ee, vw, e, aw, top, v0, w0;
};

static inline void lane_add(struct row_lanes *s, size_t j, double v, double w)
{
    double e = w - v, a = fabs(v);
    s->vv[j] += v * v;
    s->ee[j] += e * e;
    s->vw[j] += v * w;
    s->e[j] += e;
    s->aw[j] += fabs(w);
    s->top[j] = a > s->top[j] ? a : s->top[j];
    s->v0[j] += v == 0 ? 1 : 0;
    s->w0[j] += w == 0 ? 1 : 0;
}

VECTOR_CLONES static void row_add(const double *restrict x, const double *restrict y, size_t k,
                                  struct row_lanes *restrict out)
{
    struct row_lanes s = {0};
    size_t i = 0;
    for (; i + LANE <= k; i += LANE) {
        lanes v, w;
        memcpy(&v, x + i, sizeof v);
        memcpy(&w, y + i, sizeof w);
        const lanes e = w - v;
        s.vv += v * v;
        s.ee += e * e;
        s.vw += v * w;
        s.e += e;
        count_zeros(&s.v0, &v);
        count_zeros(&s.w0, &w);
        make_positive(&v);
        make_positive(&w);
        s.aw += w;
        raise_to(&s.top, &v);
    }
    for (size_t j = 0; i + j < k; j++) {
        lane_add(&s, j, x[i + j], y[i + j]);
    }
    *out = s;
}

VECTOR_CLONES static double left_over(const double *restrict v, const double *restrict w, size_t k,
                                      double shift)
{
    lanes left = {0};
    size_t i = 0;
    for (; i + LANE <= k; i += LANE) {
        lanes a, b;
        memcpy(&a, v + i, sizeof a);
        memcpy(&b, w + i, sizeof b);
        const lanes e = b - a - shift;
        left += e * e;
    }
    for (size_t j = 0; i + j < k; j++) {
        const double e = w[i + j] - v[i + j] - shift;
        left[j] += e * e;
    }
    return lanes_sum(&left);
}

struct row_difference weight_row_compare(const double *v, const double *w, size_t k)
{
    struct row_lanes s;
    row_add(v, w, k, &s);
    struct row_difference d = {.vv = lanes_sum(&s.vv),
                               .ee = lanes_sum(&s.ee),
                               .vw = lanes_sum(&s.vw),
                               .shift = lanes_sum(&s.e) / (double)MAX(k, (size_t)1),
                               .reach = lanes_sum(&s.aw),
                               .top = lanes_top(&s.top),
                               .any_v = lanes_sum(&s.v0) < (double)k,
                               .any_w = lanes_sum(&s.w0) < (double)k};
    d.left = left_over(v, w, k, d.shift);
    return d;
}
