/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_fixture.h: one operator of TensorFlow Lite as a file: its tensors, the bytes of a model of
 * them, and what comes out of it under each numerics. For test_tfl_ops.c,
 * test_tfl_layers.c and test_tfl_moves.c.
 */
#ifndef TESTS_TFL_FIXTURE_H
#define TESTS_TFL_FIXTURE_H

#include "tests/scratch.h"

#include <math.h>

#include "engine/op.h"
#include "tests/flat_bytes.h"

enum { TFL_ROOM = 512, TFL_TENSORS = 4, TFL_FIELDS = 8 };

/* A tensor and what stands in it: codes, numbers, or truth. */
struct lite {
    enum dtype dtype;
    int rank;
    int64_t dims[FLAT_RANK];
    float scale; /* 0: it has no parameters */
    int32_t zero;
    size_t n_scales; /* along `axis`, instead */
    float scales[8];
    int axis;
    bool constant;
    size_t n;
    double v[TFL_ROOM];
};

/* An operator: its number in the schema, the type of its options, and these. */
struct lite_op {
    const char *name;
    uint8_t code;
    int options;
    size_t n_fields;
    struct flat_option fields[TFL_FIELDS];
    size_t n_in, n_out;
    struct lite *in[TFL_TENSORS], *out[TFL_TENSORS];
    struct graph *g; /* read from the file */
};

#define OPTION(ID, KIND, VALUE)                                                                    \
    {                                                                                              \
        .id = ID, .kind = KIND, .value = VALUE                                                     \
    }

/* ---- Tensors -------------------------------------------------------------------------------- */

static inline int64_t lite_pick(int64_t lo, int64_t hi)
{
    static uint64_t seed = 0x2545F4914F6CDD1DU;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return lo + (int64_t)((seed >> 11) % (uint64_t)(hi - lo + 1));
}

/* Codes with these parameters, or with scale 0 plain numbers; rank -1 ends at the first 0 of dims.
 */
static inline struct lite lite_new(enum dtype d, float scale, int32_t zero, int rank,
                                   const int64_t *dims)
{
    struct lite t = {.dtype = d, .rank = rank, .scale = scale, .zero = zero, .n = 1};
    for (int i = 0; i < rank; i++) {
        t.dims[i] = dims[i];
        t.n *= (size_t)dims[i];
    }
    assert_true(t.n <= TFL_ROOM);
    return t;
}

/* Any codes of the type, or floats within +-4. */
static inline void lite_fill(struct lite *t)
{
    int64_t lo = -1000, hi = 1000;
    bool codes = t->dtype != DT_F32 && dtype_range(t->dtype, &lo, &hi);
    if (codes && t->dtype == DT_S32) {
        lo = -1000;
        hi = 1000;
    }
    for (size_t i = 0; i < t->n; i++) {
        t->v[i] = (double)lite_pick(lo, hi) / (t->dtype == DT_F32 ? 256 : 1);
    }
}

/* A constant list of int32. */
static inline struct lite lite_list(size_t n, const int32_t *v)
{
    struct lite t = lite_new(DT_S32, 0, 0, 1, (int64_t[]){(int64_t)n});
    t.constant = true;
    for (size_t i = 0; i < n; i++) {
        t.v[i] = v[i];
    }
    return t;
}

/* What element i stands for. */
static inline double lite_real(const struct lite *t, size_t i)
{
    if (t->n_scales) {
        size_t inner = 1;
        for (int d = t->axis + 1; d < t->rank; d++) {
            inner *= (size_t)t->dims[d];
        }
        return (double)t->scales[i / inner % t->n_scales] * t->v[i];
    }
    return t->scale > 0 ? (double)t->scale * (t->v[i] - t->zero) : t->v[i];
}

/* ---- Files ---------------------------------------------------------------------------------- */

/* TensorType of the schema. */
static inline int lite_type(enum dtype d)
{
    static const enum dtype types[] = {DT_F32,  DT_F16, DT_S32,  DT_U8, DT_S64, DT_STRING,
                                       DT_BOOL, DT_S16, DT_NONE, DT_S8, DT_F64};
    int type = 0;
    while (types[type] != d) {
        type++;
    }
    return type;
}

static inline struct tensor *lite_tensor(const struct lite *t)
{
    struct tensor *out = NULL;
    assert_int_equal(tensor_new(t->dtype, t->rank, t->dims, NULL, &out, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        int64_t code = (int64_t)t->v[i];
        if (t->dtype == DT_F32) {
            ((float *)out->data)[i] = (float)t->v[i];
        } else { /* little endian, as the file */
            memcpy((uint8_t *)out->data + i * dtype_size(t->dtype), &code, dtype_size(t->dtype));
        }
    }
    return out;
}

static inline void lite_put(struct flat_bytes *b, const struct lite_op *o)
{
    static const char *const names[] = {"a", "b", "c", "d", "y0", "y1", "y2", "y3"};
    int32_t in[TFL_TENSORS], all[TFL_TENSORS], out[TFL_TENSORS];
    size_t n = o->n_in + o->n_out, n_in = 0;
    for (size_t i = 0; i < o->n_in; i++) {
        all[i] = o->in[i] ? (int32_t)i : -1;
        if (o->in[i] && !o->in[i]->constant) {
            in[n_in++] = (int32_t)i;
        }
    }
    for (size_t i = 0; i < o->n_out; i++) {
        out[i] = (int32_t)(o->n_in + i);
    }
    const struct flat_heads h = flat_model_begin(b, 1, &o->code, n + 1, n_in, in, o->n_out, out, n);
    flat_buffer_put(b, h.buffers + 4, 0, NULL);
    for (size_t i = 0; i < n; i++) {
        static const struct lite none = {.dtype = DT_F32, .rank = 1, .dims = {1}};
        const struct lite *t = i < o->n_in ? o->in[i] : o->out[i - o->n_in];
        t = t ? t : &none;
        struct flat_tensor f = {.name = names[i < o->n_in ? i : i - o->n_in + 4],
                                .type = lite_type(t->dtype),
                                .rank = t->rank,
                                .buffer = (int)i + 1,
                                .scale = t->scale,
                                .zero = t->zero,
                                .n_scales = t->n_scales,
                                .scales = t->scales,
                                .axis = t->axis};
        for (int d = 0; d < t->rank; d++) {
            f.dims[d] = (int32_t)t->dims[d];
        }
        flat_tensor_put(b, h.tensors + 4 + 4 * i, &f);
        struct tensor *data = t->constant ? lite_tensor(t) : NULL;
        flat_buffer_put(b, h.buffers + 8 + 4 * i, data ? data->size : 0, data ? data->data : NULL);
        tensor_free(data);
    }
    flat_operator_put(b, h.operators + 4, 0, o->n_in, all, o->n_out, out, o->options, o->n_fields,
                      o->fields);
}

/* Writes the model and reads it: the operator has its name and the attributes their values. */
static inline void lite_open(struct lite_op *o)
{
    struct flat_bytes b;
    struct err err = {0};
    lite_put(&b, o);
    if (model_load(scratch_bytes("op.tflite", b.p, b.n), &o->g, &err)) {
        fail_msg("%s: %s", o->name, err.text);
    }
    assert_string_equal(o->g->nodes[0].op, o->name);
}

/* ---- Running -------------------------------------------------------------------------------- */

static inline int lite_try(const struct lite_op *o, enum numerics n, enum kernels k,
                           struct err *err)
{
    const struct plan_options po = {.numerics = n, .kernels = k};
    struct plan *p = NULL;
    struct tensor *in[TFL_TENSORS] = {NULL}, *out[TFL_TENSORS] = {NULL};
    size_t n_in = 0;
    int rc = plan_new(o->g, &po, &p, err);
    for (size_t i = 0; i < o->n_in && !rc; i++) {
        if (o->in[i] && !o->in[i]->constant) {
            in[n_in++] = lite_tensor(o->in[i]);
        }
    }
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)in, out, NULL, err);
    for (size_t i = 0; i < o->n_out && !rc; i++) {
        struct lite *y = o->out[i];
        if (out[i]->dtype != y->dtype || out[i]->rank != y->rank ||
            memcmp(out[i]->dims, y->dims, (size_t)y->rank * sizeof *y->dims) != 0) {
            char s[128];
            fail_msg("%s: output %zu is %s of shape %s", o->name, i, dtype_name(out[i]->dtype),
                     shape_text(s, sizeof s, out[i]->rank, out[i]->dims));
        }
        for (size_t e = 0; e < y->n; e++) {
            y->v[e] = tensor_f64(out[i], e);
        }
    }
    for (size_t i = 0; i < TFL_TENSORS; i++) {
        tensor_free(in[i]);
        tensor_free(out[i]);
    }
    plan_free(p);
    return rc;
}

/* What the file says is what the outputs must be; their values come into out[]. */
static inline void lite_run(const struct lite_op *o, enum numerics n, enum kernels k)
{
    struct err err = {0};
    if (lite_try(o, n, k, &err)) {
        fail_msg("%s under %s: %s", o->name, numerics_name(n), err.text);
    }
}

/* ---- What is wanted ------------------------------------------------------------------------- */

/* Sums of products are rounded twice, first to a unit that is no more than a hundredth of a code
 * here; those of int16 have a multiplier of 15 bits, and up to 2^15 codes. */
#define LITE_TWICE 0.01
#define LITE_WIDE 1.0
/* To the bit, as what only moves. */
#define LITE_EXACT (-0.5)

/* Element i of y is the code nearest to `real`, or a float near it; `slack`: how far off, in codes,
 * arithmetic in integers may be before it rounds. */
static inline void lite_want(const struct lite_op *o, enum numerics n, const struct lite *y,
                             size_t i, double real, double slack)
{
    if (y->dtype == DT_F32) {
        double near = slack == LITE_EXACT ? 0 : 2e-6 * (1 + fabs(real)) + slack;
        if (!(fabs(y->v[i] - real) <= near)) {
            fail_msg("%s under %s: element %zu is %.9g, expected %.9g", o->name, numerics_name(n),
                     i, y->v[i], real);
        }
        return;
    }
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    dtype_range(y->dtype, &lo, &hi);
    double q = y->scale > 0 ? real / (double)y->scale + y->zero : real;
    q = fmin(fmax(q, (double)lo), (double)hi);
    if (!(fabs(y->v[i] - q) <= 0.5 + slack)) {
        fail_msg("%s under %s: element %zu is code %g, expected %.4f", o->name, numerics_name(n), i,
                 y->v[i], q);
    }
}

/* ---- Checks --------------------------------------------------------------------------------- */

static const char *lite_seen[160]; /* names by number in the schema */

/* What output element i is to stand for. */
typedef double lite_fn(const struct lite_op *o, size_t i);

/* more: slack of the optimised kernels, where it is another. */
static inline void lite_check_more(struct lite_op *o, lite_fn *real, double slack, double more)
{
    lite_open(o);
    lite_seen[o->code] = o->name;
    for (enum numerics n = NUM_TFLITE_XNNPACK; n <= NUM_TFLITE_REF; n++) {
        for (int k = KERNELS_FAST; k <= KERNELS_PLAIN; k++) {
            lite_run(o, n, (enum kernels)k);
            for (size_t i = 0; i < o->out[0]->n; i++) {
                lite_want(o, n, o->out[0], i, real(o, i), n == NUM_TFLITE_BUILTIN ? more : slack);
            }
        }
    }
    graph_free(o->g);
}

static inline void lite_check(struct lite_op *o, lite_fn *real, double slack)
{
    lite_check_more(o, real, slack, slack);
}

/* Fused activation of the operator, of enum ActivationFunctionType: what stands behind it. */
static int lite_activation;

static inline double lite_activated(double v)
{
    static const double lo[] = {-INFINITY, 0, -1, 0}, hi[] = {INFINITY, INFINITY, 1, 6};
    return fmin(fmax(v, lo[lite_activation]), hi[lite_activation]);
}

/* Where a window begins, and how many there are, along one axis. */
struct lite_axis {
    int in, k, stride, dilation, out, before;
};

static inline struct lite_axis lite_axis_of(int in, int k, int stride, int dilation, bool same)
{
    int reach = (k - 1) * dilation + 1;
    struct lite_axis a = {
        in, k, stride, dilation, same ? (in + stride - 1) / stride : (in - reach) / stride + 1, 0};
    int pad = (a.out - 1) * stride + reach - in;
    a.before = same && pad > 0 ? pad / 2 : 0;
    return a;
}

/* The input position under filter position k; -1: outside. */
static inline int lite_axis_at(const struct lite_axis *a, int out, int k)
{
    int at = out * a->stride - a->before + k * a->dilation;
    return at >= 0 && at < a->in ? at : -1;
}

/* What the runtime has no kernel for is refused with a reason, by every back end. */
static inline void lite_refuses(struct lite_op *o, int code, const char *text)
{
    lite_open(o);
    for (enum numerics n = NUM_TFLITE_XNNPACK; n <= NUM_TFLITE_REF; n++) {
        struct err err = {0};
        int rc = lite_try(o, n, KERNELS_FAST, &err);
        if (rc != code || !strstr(err.text, text)) {
            fail_msg("%s: '%s' [%d], expected '%s' [%d]", o->name, err.text, rc, text, code);
        }
    }
    graph_free(o->g);
}

/* Each operator of the family was checked. */
static inline void lite_every(const struct op *family)
{
    for (const struct op *op = family; op->name; op++) {
        bool found = false;
        for (size_t i = 0; i < COUNT(lite_seen); i++) {
            found = found || (lite_seen[i] && strcmp(lite_seen[i], op->name) == 0);
        }
        if (!found) {
            fail_msg("%s has no case", op->name);
        }
    }
}

#endif
