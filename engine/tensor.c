/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tensor.c: element types, shapes, and reference-counted tensors with a byte budget.
 */
#include "engine/engine.h"
#include "engine/pool.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Element types -------------------------------------------------------------------------- */

struct dtype_row {
    const char *name;
    uint8_t size; /* bytes in memory */
    bool is_float;
    int64_t lo, hi; /* of quantized types; lo == hi for the others */
};

static const struct dtype_row dtypes[] = {
    [DT_F32] = {"float32", 4, true, 0, 0},
    [DT_U8] = {"uint8", 1, false, 0, UINT8_MAX},
    [DT_S8] = {"int8", 1, false, INT8_MIN, INT8_MAX},
    [DT_U16] = {"uint16", 2, false, 0, UINT16_MAX},
    [DT_S16] = {"int16", 2, false, INT16_MIN, INT16_MAX},
    [DT_S32] = {"int32", 4, false, INT32_MIN, INT32_MAX},
    [DT_S64] = {"int64", 8, false, 0, 0},
    [DT_STRING] = {"string", 0, false, 0, 0},
    [DT_BOOL] = {"bool", 1, false, 0, 0},
    [DT_F16] = {"float16", 2, true, 0, 0},
    [DT_F64] = {"float64", 8, true, 0, 0},
    [DT_U32] = {"uint32", 4, false, 0, 0},
    [DT_U64] = {"uint64", 8, false, 0, 0},
    [DT_BF16] = {"bfloat16", 2, true, 0, 0},
    [DT_U4] = {"uint4", 1, false, 0, 15},
    [DT_S4] = {"int4", 1, false, -8, 7},
};

static const struct dtype_row *dtype_row(enum dtype d)
{
    static const struct dtype_row none = {"?", 0, false, 0, 0};
    return (size_t)d < COUNT(dtypes) && dtypes[d].name ? &dtypes[d] : &none;
}

size_t dtype_size(enum dtype d)
{
    return dtype_row(d)->size;
}

bool dtype_stored(enum dtype d)
{
    return dtype_size(d) || d == DT_STRING;
}

const char *dtype_name(enum dtype d)
{
    return dtype_row(d)->name;
}

bool dtype_is_float(enum dtype d)
{
    return dtype_row(d)->is_float;
}

bool dtype_range(enum dtype d, int64_t *lo, int64_t *hi)
{
    const struct dtype_row *r = dtype_row(d);
    if (r->lo == r->hi) {
        return false;
    }
    *lo = r->lo;
    *hi = r->hi;
    return true;
}

/* ---- Life ----------------------------------------------------------------------------------- */

enum { TENSOR_ALIGN = 64 }; /* one cache line, one AVX-512 register */
static const size_t tensor_max_size = (size_t)1 << 40;

/* Shape and sizes of t from rank and dims; each: bytes per element. */
static int tensor_shape(struct tensor *t, enum dtype d, size_t each, int rank, const int64_t *dims,
                        struct err *err)
{
    if (rank < 0 || rank > MAX_RANK) {
        return err_set(err, E_SHAPE, "tensor has rank %d, at most %d is supported", rank, MAX_RANK);
    }
    size_t n = 1, size = 0;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0) {
            return err_set(err, E_SHAPE, "dimension %d is %" PRId64, i, dims[i]);
        }
        t->dims[i] = dims[i];
        if (!mul_ok(n, (size_t)dims[i], &n)) {
            return err_set(err, E_LIMIT, "tensor has more than 2^64 elements");
        }
    }
    if (!each) {
        return err_set(err, E_UNSUPPORTED, "element type %d (%s) is not supported", (int)d,
                       dtype_name(d));
    }
    if (!mul_ok(n, each, &size) || size > tensor_max_size) {
        return err_set(err, E_LIMIT, "tensor of %zu elements is over the limit of 2^40 bytes", n);
    }
    t->dtype = d;
    t->rank = rank;
    t->n = n;
    t->size = size;
    return OK;
}

/* A tensor with data of its own, which stands behind it in the same memory: tensors come and go
 * by the microsecond. more: bytes behind the elements. */
static int tensor_make(enum dtype d, size_t each, int rank, const int64_t *dims, size_t more,
                       struct budget *b, struct tensor **out, struct err *err)
{
    enum { HEAD = (sizeof(struct tensor) + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN };
    struct tensor made = {.budget = b};
    int rc = tensor_shape(&made, d, each, rank, dims, err);
    if (!rc && (!add_ok(made.size, more, &made.size) || made.size > tensor_max_size)) {
        rc = err_set(err, E_LIMIT, "tensor of %zu bytes is over the limit of 2^40 bytes", more);
    }
    if (rc) {
        return rc;
    }
    /* Rounded up, so that vector kernels may read whole registers at the end. */
    made.taken = (made.size + 2 * TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    rc = budget_take(b, made.taken, err);
    if (rc) {
        return rc;
    }
    struct tensor *t = pool_take(HEAD + made.taken);
    if (!t) {
        budget_give(b, made.taken);
        return err_set(err, E_LIMIT, "out of memory for a tensor of %zu bytes", made.size);
    }
    *t = made;
    t->data = (char *)t + HEAD;
    atomic_init(&t->refs, 1);
    *out = t;
    return OK;
}

int tensor_new(enum dtype d, int rank, const int64_t *dims, struct budget *b, struct tensor **out,
               struct err *err)
{
    return tensor_make(d, dtype_size(d), rank, dims, 0, b, out, err);
}

int tensor_new_strings(int rank, const int64_t *dims, size_t bytes, struct budget *b,
                       struct tensor **out, struct err *err)
{
    int rc = tensor_make(DT_STRING, sizeof(uint64_t), rank, dims, bytes, b, out, err);
    if (!rc) {
        memset((*out)->data, 0, (*out)->size);
    }
    return rc;
}

int tensor_zeros(enum dtype d, int rank, const int64_t *dims, struct budget *b, struct tensor **out,
                 struct err *err)
{
    if (d == DT_STRING) {
        return tensor_new_strings(rank, dims, 0, b, out, err);
    }
    int rc = tensor_new(d, rank, dims, b, out, err);
    if (!rc) {
        memset((*out)->data, 0, (*out)->size);
    }
    return rc;
}

int tensor_view_as(struct tensor *t, int rank, const int64_t *dims, bool channels_last,
                   struct tensor **out, struct err *err)
{
    struct tensor *v = mem_alloc(sizeof *v);
    size_t each = t->dtype == DT_STRING ? sizeof(uint64_t) : dtype_size(t->dtype);
    int rc = tensor_shape(v, t->dtype, each, rank, dims, err);
    if (!rc && v->n != t->n) {
        rc = err_set(err, E_SHAPE, "cannot view %zu elements as %zu", t->n, v->n);
    }
    if (rc) {
        free(v);
        return rc;
    }
    v->channels_last = channels_last;
    v->base = tensor_ref(t->base ? t->base : t);
    v->data = t->data;
    v->size = t->size;
    atomic_init(&v->refs, 1);
    *out = v;
    return OK;
}

int tensor_view(struct tensor *t, int rank, const int64_t *dims, struct tensor **out,
                struct err *err)
{
    bool same = rank == t->rank && memcmp(dims, t->dims, (size_t)rank * sizeof *dims) == 0;
    if (t->channels_last && !same) {
        return err_set(err, E_SHAPE, "channels are last: no view under another shape");
    }
    return tensor_view_as(t, rank, dims, t->channels_last, out, err);
}

int tensor_samples(struct tensor *t, size_t from, size_t n, struct tensor **out, struct err *err)
{
    size_t end, have = t->rank ? (size_t)t->dims[0] : 0;
    if (t->dtype == DT_STRING || !have || !add_ok(from, n, &end) || end > have) {
        return err_set(err, E_SHAPE, "no samples %zu and %zu more among %zu", from, n, have);
    }
    struct tensor *v = mem_alloc(sizeof *v);
    *v = (struct tensor){.dtype = t->dtype, .rank = t->rank, .channels_last = t->channels_last};
    memcpy(v->dims, t->dims, sizeof v->dims);
    v->dims[0] = (int64_t)n;
    v->n = t->n / have * n;
    v->size = t->size / have * n;
    v->data = (char *)t->data + t->size / have * from;
    v->base = tensor_ref(t->base ? t->base : t);
    atomic_init(&v->refs, 1);
    *out = v;
    return OK;
}

int tensor_borrow(enum dtype d, int rank, const int64_t *dims, const void *data,
                  struct tensor **out, struct err *err)
{
    struct tensor *t = mem_alloc(sizeof *t);
    int rc = tensor_shape(t, d, dtype_size(d), rank, dims, err);
    if (rc) {
        free(t);
        return rc;
    }
    t->data = (void *)data; /* never written: `borrowed` tensors are constants */
    t->borrowed = true;
    atomic_init(&t->refs, 1);
    *out = t;
    return OK;
}

struct tensor *tensor_ref(const struct tensor *t)
{
    struct tensor *m = (struct tensor *)t; /* the count is not part of the value */
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void tensor_free(struct tensor *t)
{
    /* Most have one owner, which need not tell others. */
    if (!t || (atomic_load_explicit(&t->refs, memory_order_acquire) != 1 &&
               atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)) {
        return;
    }
    if (!t->base && !t->borrowed) {
        budget_give(t->budget, t->taken);
        pool_give(t);
        return;
    }
    tensor_free(t->base);
    free(t);
}

struct tensor *tensor_aligned(const struct tensor *t)
{
    if ((uintptr_t)t->data % MAX(dtype_size(t->dtype), (size_t)1) == 0) {
        return tensor_ref(t);
    }
    struct tensor *copy = NULL;
    if (tensor_new(t->dtype, t->rank, t->dims, NULL, &copy, NULL)) {
        return NULL;
    }
    memcpy(copy->data, t->data, t->size);
    return copy;
}

/* ---- Strings -------------------------------------------------------------------------------- */

/* Where string i begins behind the list of ends: there string i - 1 ends. */
static size_t string_start(const struct tensor *t, size_t i)
{
    return i ? (size_t)((const uint64_t *)t->data)[i - 1] : 0;
}

void tensor_put_string(struct tensor *t, size_t i, struct span s)
{
    uint64_t *ends = t->data;
    size_t start = string_start(t, i);
    if (s.n) {
        memcpy((uint8_t *)(ends + t->n) + start, s.p, s.n);
    }
    ends[i] = start + s.n;
}

struct span tensor_string(const struct tensor *t, size_t i)
{
    const uint64_t *ends = t->data;
    size_t start = string_start(t, i);
    return (struct span){.p = (const uint8_t *)(ends + t->n) + start, .n = (size_t)ends[i] - start};
}

/* ---- Elements ------------------------------------------------------------------------------- */

/* Unaligned-safe loads: constants may point into a mapped file. */
#define LOAD(type, t, i)                                                                           \
    __extension__({                                                                                \
        type v_;                                                                                   \
        memcpy(&v_, (const char *)(t)->data + (i) * sizeof v_, sizeof v_);                         \
        v_;                                                                                        \
    })

int64_t tensor_s64(const struct tensor *t, size_t i)
{
    switch (t->dtype) {
    case DT_U8:
    case DT_U4:
    case DT_BOOL:
        return LOAD(uint8_t, t, i);
    case DT_S8:
    case DT_S4:
        return LOAD(int8_t, t, i);
    case DT_U16:
        return LOAD(uint16_t, t, i);
    case DT_S16:
        return LOAD(int16_t, t, i);
    case DT_S32:
        return LOAD(int32_t, t, i);
    case DT_U32:
        return LOAD(uint32_t, t, i);
    case DT_S64:
        return LOAD(int64_t, t, i);
    case DT_U64:
        return (int64_t)LOAD(uint64_t, t, i);
    default: {
        double v = tensor_f64(t, i);
        return v >= -9.2e18 && v <= 9.2e18 ? (int64_t)v : 0;
    }
    }
}

double tensor_f64(const struct tensor *t, size_t i)
{
    switch (t->dtype) {
    case DT_F32:
        return (double)LOAD(float, t, i);
    case DT_F64:
        return LOAD(double, t, i);
    case DT_F16:
        return (double)f16_to_f32(LOAD(uint16_t, t, i));
    case DT_BF16:
        return (double)bf16_to_f32(LOAD(uint16_t, t, i));
    case DT_U64:
        return (double)LOAD(uint64_t, t, i);
    case DT_NONE:
    case DT_STRING:
        return 0;
    default:
        return (double)tensor_s64(t, i);
    }
}

int tensor_to_f32(const struct tensor *t, struct budget *b, struct tensor **out, struct err *err)
{
    if (t->dtype == DT_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
        *out = tensor_ref(t);
        return OK;
    }
    struct tensor *y = NULL;
    int rc = tensor_new(DT_F32, t->rank, t->dims, b, &y, err);
    if (rc) {
        return rc;
    }
    y->channels_last = t->channels_last;
    float *dst = y->data;
    for (size_t i = 0; i < t->n; i++) {
        dst[i] = (float)tensor_f64(t, i);
    }
    *out = y;
    return OK;
}

bool tensor_equal(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->size == b->size &&
           a->channels_last == b->channels_last &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0 &&
           (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

struct digest tensor_digest(const struct tensor *t)
{
    struct tensor *m = (struct tensor *)t; /* what is kept is not part of the value */
    struct digest d = {atomic_load_explicit(&m->digest[0], memory_order_acquire),
                       atomic_load_explicit(&m->digest[1], memory_order_relaxed)};
    if (!d.lo) {
        d.hi = 0;
        digest_int(&d, t->dtype);
        digest_add(&d, t->dims, (size_t)t->rank * sizeof *t->dims);
        digest_bulk(&d, t->data, t->size);
        atomic_store_explicit(&m->digest[1], d.hi, memory_order_relaxed);
        atomic_store_explicit(&m->digest[0], d.lo, memory_order_release);
    }
    return d;
}

char *shape_text(char *dst, size_t size, int rank, const int64_t *dims)
{
    if (rank == 0) {
        snprintf(dst, size, "scalar");
        return dst;
    }
    if (rank < 0) {
        snprintf(dst, size, "unknown");
        return dst;
    }
    size_t at = 0;
    for (int i = 0; i < rank && at < size; i++) {
        const char *sep = i ? "x" : "";
        int n = dims[i] < 0 ? snprintf(dst + at, size - at, "%s?", sep)
                            : snprintf(dst + at, size - at, "%s%" PRId64, sep, dims[i]);
        at += n > 0 ? (size_t)n : 0;
    }
    return dst;
}

/* ---- Small floats --------------------------------------------------------------------------- */

static uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 31) {
        return bits_f32(sign | 0x7f800000u | man << 13);
    }
    if (exp == 0) {
        /* Subnormal: man * 2^-24, exact in f32. */
        float f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    return bits_f32(sign | (exp + 112) << 23 | man << 13);
}

uint16_t f32_to_f16(float f)
{
    uint32_t u = f32_bits(f), sign = (u >> 16) & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | ((mag >> 13) & 0x3ffu));
    }
    if (mag >= 0x477ff000u) {
        return (uint16_t)(sign | 0x7c00u); /* rounds beyond 65504 */
    }
    if (mag < 0x38800000u) {
        /* Subnormal result: adding 0.5 lets the FPU round the mantissa at 2^-24, ties to even. */
        uint32_t m = f32_bits(bits_f32(mag) + 0.5f) - f32_bits(0.5f);
        return (uint16_t)(sign | m);
    }
    uint32_t odd = (mag >> 13) & 1;
    return (uint16_t)(sign | ((mag - 0x38000000u + 0xfffu + odd) >> 13));
}

float bf16_to_f32(uint16_t h)
{
    return bits_f32((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
