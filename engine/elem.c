/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * elem.c: the type switch of the float and general operators, once for all of them, and the
 * odometer under broadcasting, transposing and slicing. No operator lives here.
 */
#include "engine/elem.h"

bool elem_is_int(enum dtype d)
{
    return dtype_size(d) > 0 && !dtype_is_float(d);
}

int64_t elem_trunc(double v)
{
    if (!(v > -9223372036854775808.0)) { /* also NaN */
        return v <= -9223372036854775808.0 ? INT64_MIN : 0;
    }
    return v >= 9223372036854775808.0 ? INT64_MAX : (int64_t)v;
}

/* One loop per stored type. Data goes through memcpy, because constants in a mapped file need not
 * be aligned; compilers turn it into plain, vectorized loads and stores. */
#define GET(type, expr)                                                                            \
    for (size_t i = 0; i < n; i++) {                                                               \
        type v;                                                                                    \
        memcpy(&v, p + i * sizeof(v), sizeof(v));                                                  \
        dst[i] = (expr);                                                                           \
    }                                                                                              \
    break
#define PUT(type, expr)                                                                            \
    for (size_t i = 0; i < n; i++) {                                                               \
        type v = (expr);                                                                           \
        memcpy(p + i * sizeof(v), &v, sizeof(v));                                                  \
    }                                                                                              \
    break

void elem_get_f64(const struct tensor *t, size_t at, size_t n, double *dst)
{
    const uint8_t *p = (const uint8_t *)t->data + at * dtype_size(t->dtype);
    switch (t->dtype) {
    case DT_F32:
        GET(float, (double)v);
    case DT_F64:
        GET(double, v);
    case DT_F16:
        GET(uint16_t, (double)f16_to_f32(v));
    case DT_BF16:
        GET(uint16_t, (double)bf16_to_f32(v));
    case DT_BOOL:
    case DT_U4:
    case DT_U8:
        GET(uint8_t, v);
    case DT_S4:
    case DT_S8:
        GET(int8_t, v);
    case DT_U16:
        GET(uint16_t, v);
    case DT_S16:
        GET(int16_t, v);
    case DT_U32:
        GET(uint32_t, v);
    case DT_S32:
        GET(int32_t, v);
    case DT_U64:
        GET(uint64_t, (double)v);
    case DT_S64:
        GET(int64_t, (double)v);
    case DT_NONE:
    case DT_STRING:
        memset(dst, 0, n * sizeof(*dst));
        break;
    }
}

void elem_get_s64(const struct tensor *t, size_t at, size_t n, int64_t *dst)
{
    const uint8_t *p = (const uint8_t *)t->data + at * dtype_size(t->dtype);
    switch (t->dtype) {
    case DT_F32:
        GET(float, elem_trunc((double)v));
    case DT_F64:
        GET(double, elem_trunc(v));
    case DT_F16:
        GET(uint16_t, elem_trunc((double)f16_to_f32(v)));
    case DT_BF16:
        GET(uint16_t, elem_trunc((double)bf16_to_f32(v)));
    case DT_BOOL:
    case DT_U4:
    case DT_U8:
        GET(uint8_t, v);
    case DT_S4:
    case DT_S8:
        GET(int8_t, v);
    case DT_U16:
        GET(uint16_t, v);
    case DT_S16:
        GET(int16_t, v);
    case DT_U32:
        GET(uint32_t, v);
    case DT_S32:
        GET(int32_t, v);
    case DT_U64:
        GET(uint64_t, (int64_t)v);
    case DT_S64:
        GET(int64_t, v);
    case DT_NONE:
    case DT_STRING:
        memset(dst, 0, n * sizeof(*dst));
        break;
    }
}

/* Integers modulo 2^width: the conversion to a narrower unsigned type wraps by definition. */
void elem_put_s64(struct tensor *t, size_t at, size_t n, const int64_t *src)
{
    uint8_t *p = (uint8_t *)t->data + at * dtype_size(t->dtype);
    switch (t->dtype) {
    case DT_F32:
        PUT(float, (float)src[i]);
    case DT_F64:
        PUT(double, (double)src[i]);
    case DT_F16:
        PUT(uint16_t, f32_to_f16((float)src[i]));
    case DT_BF16:
        PUT(uint16_t, f32_to_bf16((float)src[i]));
    case DT_BOOL:
        PUT(uint8_t, src[i] != 0);
    case DT_U4:
        PUT(uint8_t, (uint8_t)(src[i] & 15));
    case DT_S4:
        PUT(uint8_t, (uint8_t)(((src[i] & 15) ^ 8) - 8));
    case DT_U8:
    case DT_S8:
        PUT(uint8_t, (uint8_t)src[i]);
    case DT_U16:
    case DT_S16:
        PUT(uint16_t, (uint16_t)src[i]);
    case DT_U32:
    case DT_S32:
        PUT(uint32_t, (uint32_t)src[i]);
    case DT_U64:
    case DT_S64:
        PUT(int64_t, src[i]);
    case DT_NONE:
    case DT_STRING:
        break;
    }
}

/* Above the int64 range a double still fits uint64. */
static int64_t trunc_u64(double v)
{
    if (v >= 18446744073709551616.0) {
        return -1;
    }
    return v >= 9223372036854775808.0 ? (int64_t)(uint64_t)v : elem_trunc(v);
}

void elem_put_f64(struct tensor *t, size_t at, size_t n, const double *src)
{
    uint8_t *p = (uint8_t *)t->data + at * dtype_size(t->dtype);
    switch (t->dtype) {
    case DT_F32:
        PUT(float, (float)src[i]);
    case DT_F64:
        PUT(double, src[i]);
    case DT_F16:
        PUT(uint16_t, f32_to_f16((float)src[i]));
    case DT_BF16:
        PUT(uint16_t, f32_to_bf16((float)src[i]));
    case DT_BOOL:
        PUT(uint8_t, src[i] != 0);
    default: /* integers, in pieces through int64 */
        for (size_t done = 0, m; done < n; done += m) {
            int64_t block[ELEM_BLOCK];
            m = MIN(n - done, (size_t)ELEM_BLOCK);
            for (size_t i = 0; i < m; i++) {
                double v = src[done + i];
                block[i] = t->dtype == DT_U64 ? trunc_u64(v) : elem_trunc(v);
            }
            elem_put_s64(t, at + done, m, block);
        }
    }
}

int elem_to_f64(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err)
{
    int rc = tensor_new(DT_F64, t->rank, t->dims, b, out, err);
    if (rc == OK) {
        elem_get_f64(t, 0, t->n, (*out)->data);
    }
    return rc;
}

int elem_to_s64(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err)
{
    int rc = tensor_new(DT_S64, t->rank, t->dims, b, out, err);
    if (rc == OK) {
        elem_get_s64(t, 0, t->n, (*out)->data);
    }
    return rc;
}

/* ---- Walks ---------------------------------------------------------------------------------- */

void walk_strides(int rank, const int64_t *dims, int64_t *stride)
{
    int64_t s = 1;
    for (int d = rank - 1; d >= 0; d--) {
        stride[d] = s;
        /* Wraps for a shape that no tensor can have; op_out() refuses it before anything is read.
         */
        s = (int64_t)((uint64_t)s * (uint64_t)MAX(dims[d], 1));
    }
}

static void drop_loop(struct walk *w, int d)
{
    for (int e = d; e + 1 < w->rank; e++) {
        w->dims[e] = w->dims[e + 1];
        for (int k = 0; k < w->n; k++) {
            w->stride[k][e] = w->stride[k][e + 1];
        }
    }
    w->rank--;
}

/* Loops d and d+1 are one when a step of d is, for every operand, all steps of d+1. */
static bool mergeable(const struct walk *w, int d)
{
    for (int k = 0; k < w->n; k++) {
        if (w->stride[k][d] != w->stride[k][d + 1] * w->dims[d + 1]) {
            return false;
        }
    }
    return true;
}

bool walk_start(struct walk *w)
{
    for (int d = w->rank - 1; d >= 0; d--) {
        if (w->dims[d] == 0) {
            return false;
        }
        if (w->dims[d] == 1) {
            drop_loop(w, d);
        } else if (d + 1 < w->rank && mergeable(w, d)) {
            w->dims[d + 1] *= w->dims[d];
            drop_loop(w, d);
        }
    }
    if (w->rank == 0) {
        w->rank = 1;
        w->dims[0] = 1;
        for (int k = 0; k < w->n; k++) {
            w->stride[k][0] = 1;
        }
    }
    memset(w->index, 0, sizeof(w->index));
    return true;
}

bool walk_next(struct walk *w)
{
    for (int d = w->rank - 2; d >= 0; d--) {
        for (int k = 0; k < w->n; k++) {
            w->at[k] += w->stride[k][d];
        }
        if (++w->index[d] < w->dims[d]) {
            return true;
        }
        for (int k = 0; k < w->n; k++) {
            w->at[k] -= w->stride[k][d] * w->dims[d];
        }
        w->index[d] = 0;
    }
    return false;
}

void elem_strides(const struct tensor *t, int64_t *stride)
{
    if (!t->channels_last || t->rank < 3) {
        walk_strides(t->rank, t->dims, stride);
        return;
    }
    int64_t moved[MAX_RANK], own[MAX_RANK];
    memcpy(moved, t->dims, sizeof moved);
    memmove(moved + 1, t->dims + 2, (size_t)(t->rank - 2) * sizeof *moved);
    moved[t->rank - 1] = t->dims[1];
    walk_strides(t->rank, moved, own);
    memcpy(stride, own, sizeof own);
    memmove(stride + 2, own + 1, (size_t)(t->rank - 2) * sizeof *own);
    stride[1] = own[t->rank - 1];
}

void walk_channels_last(struct walk *w)
{
    const int last = w->rank - 1;
    const size_t moved = (size_t)(last - 1) * sizeof(int64_t);
    const int64_t n = w->dims[1];
    memmove(w->dims + 1, w->dims + 2, moved);
    w->dims[last] = n;
    for (int k = 0; k < w->n; k++) {
        const int64_t stride = w->stride[k][1];
        memmove(w->stride[k] + 1, w->stride[k] + 2, moved);
        w->stride[k][last] = stride;
    }
}

static int broadcast(struct walk *w, int n, const struct tensor *const *in, bool last, int *rank,
                     int64_t *dims, struct err *err)
{
    int r = 0;
    for (int k = 0; k < n; k++) {
        r = MAX(r, in[k]->rank);
    }
    *w = (struct walk){.rank = r, .n = n + 1};
    for (int d = 0; d < r; d++) {
        dims[d] = 1;
        for (int k = 0; k < n; k++) {
            int e = d - (r - in[k]->rank);
            int64_t m = e < 0 ? 1 : in[k]->dims[e];
            if (m != 1 && dims[d] != 1 && m != dims[d]) {
                return err_set(err, E_SHAPE,
                               "inputs do not broadcast: dimension %d is %lld and %lld, expected "
                               "equal ones or 1",
                               d, (long long)dims[d], (long long)m);
            }
            dims[d] = m == 1 ? dims[d] : m;
        }
        w->dims[d] = dims[d];
    }
    *rank = r;
    struct tensor result = {.rank = r, .channels_last = last};
    memcpy(result.dims, dims, (size_t)r * sizeof *dims);
    elem_strides(&result, w->stride[0]);
    for (int k = 0; k < n; k++) {
        int64_t own[MAX_RANK];
        elem_strides(in[k], own);
        for (int d = 0; d < r; d++) {
            int e = d - (r - in[k]->rank);
            w->stride[k + 1][d] = e < 0 || in[k]->dims[e] == 1 ? 0 : own[e];
        }
    }
    if (last && r >= 3) {
        walk_channels_last(w);
    }
    return OK;
}

int walk_broadcast(struct walk *w, int n, const struct tensor *const *in, int *rank, int64_t *dims,
                   struct err *err)
{
    return broadcast(w, n, in, false, rank, dims, err);
}

int walk_broadcast_last(struct walk *w, int n, const struct tensor *const *in, int *rank,
                        int64_t *dims, struct err *err)
{
    return broadcast(w, n, in, true, rank, dims, err);
}

/* Rows of elements for a copy; steps in bytes. */
struct rows {
    int64_t n, d_step, s_step;        /* rows, and from one to the next */
    int64_t each, d_stride, s_stride; /* elements of a row, and from one to the next */
};

enum { UNIT = 32 }; /* bytes */

/* Short rows without gaps, of whole units: a call for each would take longer than the copy. */
VECTOR_CLONES static void copy_units(const struct rows *r, size_t units, uint8_t *restrict d,
                                     const uint8_t *restrict s)
{
    for (int64_t i = 0; i < r->n; i++, d += r->d_step, s += r->s_step) {
        for (size_t u = 0; u < units; u++) {
            memcpy(d + u * UNIT, s + u * UNIT, UNIT);
        }
    }
}

#define COPY(type)                                                                                 \
    for (int64_t i = 0; i < r->n; i++, d += r->d_step, s += r->s_step) {                           \
        for (int64_t e = 0; e < r->each; e++) {                                                    \
            memcpy(d + e * r->d_stride, s + e * r->s_stride, sizeof(type));                        \
        }                                                                                          \
    }                                                                                              \
    break

static void copy_rows(const struct rows *r, uint8_t *d, const uint8_t *s, size_t size)
{
    enum { MANY = 16 }; /* units from which on rows are not short */
    const size_t bytes = (size_t)r->each * size;
    if (r->each > 1 && (r->d_stride != (int64_t)size || r->s_stride != (int64_t)size)) {
        switch (size) {
        case 1:
            COPY(uint8_t);
        case 2:
            COPY(uint16_t);
        case 4:
            COPY(uint32_t);
        default:
            COPY(uint64_t);
        }
        return;
    }
    if (bytes % UNIT == 0 && bytes <= (size_t)MANY * UNIT) {
        copy_units(r, bytes / UNIT, d, s);
        return;
    }
    for (int64_t i = 0; i < r->n; i++, d += r->d_step, s += r->s_step) {
        memcpy(d, s, bytes);
    }
}

void walk_copy(struct walk *w, void *dst, const void *src, size_t size)
{
    const int64_t by = (int64_t)size;
    struct rows r = {.n = 1};
    if (!walk_start(w)) {
        return;
    }
    if (w->rank > 1) {
        const int d = w->rank - 2;
        r.n = w->dims[d];
        r.d_step = w->stride[0][d] * by;
        r.s_step = w->stride[1][d] * by;
        drop_loop(w, d);
    }
    const int last = w->rank - 1;
    r.each = w->dims[last];
    r.d_stride = w->stride[0][last] * by;
    r.s_stride = w->stride[1][last] * by;
    do {
        copy_rows(&r, (uint8_t *)dst + w->at[0] * by, (const uint8_t *)src + w->at[1] * by, size);
    } while (walk_next(w));
}

/* One row: the last dimension. from: offset of its first element in x, or -1: all outside. */
static void copy_row(const struct tensor *x, struct tensor *y, const struct tensor *map,
                     int64_t from, size_t to, const void *fill)
{
    const size_t size = dtype_size(x->dtype);
    const int64_t n = y->dims[y->rank - 1];
    uint8_t *d = (uint8_t *)y->data + to * size;
    const uint8_t *s = (const uint8_t *)x->data + (size_t)MAX(from, 0) * size;
    if (!map && from >= 0) {
        memcpy(d, s, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = from < 0 ? -1 : map ? ((const int64_t *)map->data)[i] : i;
        const uint8_t *p = k < 0 ? fill : s + (size_t)k * size;
        if (size == 4) { /* a constant size makes this one load and one store */
            memcpy(d + i * 4, p, 4);
        } else {
            memcpy(d + (size_t)i * size, p, size);
        }
    }
}

void elem_copy_mapped(const struct tensor *x, struct tensor *y, struct tensor *const *map,
                      const void *fill)
{
    int64_t stride[MAX_RANK];
    walk_strides(x->rank, x->dims, stride);
    if (x->rank == 0) {
        memcpy(y->data, x->data, x->size);
        return;
    }
    const int last = x->rank - 1;
    const int64_t row = y->dims[last];
    for (int64_t at = 0; at < (int64_t)y->n; at += row) {
        int64_t from = 0, rest = at / row;
        for (int d = last - 1; d >= 0; rest /= y->dims[d--]) {
            const int64_t i = rest % y->dims[d];
            const int64_t k = map[d] ? ((const int64_t *)map[d]->data)[i] : i;
            from = k < 0 || from < 0 ? -1 : from + k * stride[d];
        }
        copy_row(x, y, map[last], from, (size_t)at, fill);
    }
}
