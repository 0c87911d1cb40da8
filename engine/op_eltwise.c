/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_eltwise.c: operators of two or more inputs that broadcast: arithmetic, comparisons, logic,
 * Where. One loop runs them all; an operator is a row with its formula in double, in int64 and,
 * where the sign matters at 64 bits, in uint64. Functions of one input live in op_activation.c.
 */
#include "engine/chain.h"
#include "engine/par.h"

#include <math.h>

/* y[i] = f(a[i], b[i]) for one block. `mode`: attribute of the operator (fmod of Mod). */
typedef void f64_fn(size_t n, const double *a, const double *b, double *y);
typedef void s64_fn(size_t n, const int64_t *a, const int64_t *b, int64_t *y);

#define BINARY(name, type, expr)                                                                   \
    static void name(size_t n, const type *a, const type *b, type *y)                              \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            const type p = a[i], q = b[i];                                                         \
            y[i] = (expr);                                                                         \
        }                                                                                          \
    }

/* Integers wrap: computed unsigned, where that is defined. */
#define WRAP(p, op, q) (int64_t)((uint64_t)(p)op(uint64_t)(q))

BINARY(add_f64, double, p + q)
BINARY(add_s64, int64_t, WRAP(p, +, q))
BINARY(sub_f64, double, p - q)
BINARY(sub_s64, int64_t, WRAP(p, -, q))
BINARY(mul_f64, double, p *q)
BINARY(mul_s64, int64_t, WRAP(p, *, q))
BINARY(div_f64, double, p / q)
/* Integer division truncates; a zero divisor gives 0 instead of a trap. */
BINARY(div_s64, int64_t, q == 0 ? 0 : q == -1 ? WRAP(0, -, p) : p / q)
BINARY(div_u64, int64_t, q == 0 ? 0 : (int64_t)((uint64_t)p / (uint64_t)q))

/* Mod without fmod has the sign of the divisor (Python), with fmod that of the dividend (C). */
static int64_t rem_s64(int64_t p, int64_t q)
{
    return q == 0 || q == -1 ? 0 : p % q;
}
static double floor_mod(double p, double q)
{
    const double r = fmod(p, q);
    return r != 0 && (r < 0) != (q < 0) ? r + q : r;
}
static int64_t floor_mod_s64(int64_t p, int64_t q)
{
    const int64_t r = rem_s64(p, q);
    return r != 0 && (r < 0) != (q < 0) ? r + q : r;
}
BINARY(mod_f64, double, floor_mod(p, q))
BINARY(mod_s64, int64_t, floor_mod_s64(p, q))
BINARY(mod_u64, int64_t, q == 0 ? 0 : (int64_t)((uint64_t)p % (uint64_t)q))
BINARY(fmod_f64, double, fmod(p, q))
BINARY(fmod_s64, int64_t, rem_s64(p, q))

/* NaN in either operand wins. */
BINARY(max_f64, double, p > q || isnan(p) ? p : q)
BINARY(max_s64, int64_t, MAX(p, q))
BINARY(max_u64, int64_t, (uint64_t)p > (uint64_t)q ? p : q)
BINARY(min_f64, double, p < q || isnan(p) ? p : q)
BINARY(min_s64, int64_t, MIN(p, q))
BINARY(min_u64, int64_t, (uint64_t)p < (uint64_t)q ? p : q)

/* Square and multiply, modulo 2^64; a negative exponent leaves what truncation leaves of 1/p^|q|.
 */
static int64_t power_s64(int64_t p, int64_t q)
{
    uint64_t y = 1, base = (uint64_t)p;
    if (q < 0) {
        return p == 1 ? 1 : p == -1 ? (q % 2 ? -1 : 1) : 0;
    }
    for (; q > 0; q >>= 1, base *= base) {
        y = q & 1 ? y * base : y;
    }
    return (int64_t)y;
}
BINARY(pow_f64, double, pow(p, q))
BINARY(pow_s64, int64_t, power_s64(p, q))
BINARY(prelu_f64, double, p < 0 ? p * q : p)
BINARY(prelu_s64, int64_t, p < 0 ? WRAP(p, *, q) : p)

BINARY(equal_f64, double, p == q)
BINARY(equal_s64, int64_t, p == q)
BINARY(less_f64, double, p < q)
BINARY(less_s64, int64_t, p < q)
BINARY(less_u64, int64_t, (uint64_t)p < (uint64_t)q)
BINARY(less_equal_f64, double, p <= q)
BINARY(less_equal_s64, int64_t, p <= q)
BINARY(less_equal_u64, int64_t, (uint64_t)p <= (uint64_t)q)
BINARY(greater_f64, double, p > q)
BINARY(greater_s64, int64_t, p > q)
BINARY(greater_u64, int64_t, (uint64_t)p > (uint64_t)q)
BINARY(greater_equal_f64, double, p >= q)
BINARY(greater_equal_s64, int64_t, p >= q)
BINARY(greater_equal_u64, int64_t, (uint64_t)p >= (uint64_t)q)

BINARY(and_s64, int64_t, p &q)
BINARY(or_s64, int64_t, p | q)
BINARY(xor_s64, int64_t, p ^ q)
BINARY(shl_s64, int64_t, q >= 0 && q < 64 ? (int64_t)((uint64_t)p << q) : 0)
BINARY(shr_s64, int64_t, q >= 0 && q < 64 ? (int64_t)((uint64_t)p >> q) : 0)

/* Which types an operator takes. */
enum takes { TAKES_NUMBERS, TAKES_ALL, TAKES_BOOL, TAKES_INT };
struct binary {
    const char *name;
    enum takes takes;
    bool to_bool; /* the result is bool, else of the first input's type */
    f64_fn *f64;
    s64_fn *s64;
    s64_fn *u64;      /* NULL: as s64 */
    f32_pair_fn *f32; /* both inputs and the output float32; NULL: through f64 */
};

static const struct binary binaries[] = {
    {"Add", TAKES_NUMBERS, false, add_f64, add_s64, NULL, elem_add_f32},
    {"Sub", TAKES_NUMBERS, false, sub_f64, sub_s64, NULL, elem_sub_f32},
    {"Mul", TAKES_NUMBERS, false, mul_f64, mul_s64, NULL, elem_mul_f32},
    {"Div", TAKES_NUMBERS, false, div_f64, div_s64, div_u64, elem_div_f32},
    {"Mod", TAKES_NUMBERS, false, mod_f64, mod_s64, mod_u64, NULL},
    {"fmod", TAKES_NUMBERS, false, fmod_f64, fmod_s64, mod_u64, NULL},
    {"Max", TAKES_NUMBERS, false, max_f64, max_s64, max_u64, NULL},
    {"Min", TAKES_NUMBERS, false, min_f64, min_s64, min_u64, NULL},
    {"Sum", TAKES_NUMBERS, false, add_f64, add_s64, NULL, elem_add_f32},
    {"Mean", TAKES_NUMBERS, false, add_f64, add_s64, NULL, elem_add_f32},
    {"Pow", TAKES_NUMBERS, false, pow_f64, pow_s64, NULL, NULL},
    {"PRelu", TAKES_NUMBERS, false, prelu_f64, prelu_s64, mul_s64, NULL},
    {"Equal", TAKES_ALL, true, equal_f64, equal_s64, NULL, NULL},
    {"Less", TAKES_NUMBERS, true, less_f64, less_s64, less_u64, NULL},
    {"LessOrEqual", TAKES_NUMBERS, true, less_equal_f64, less_equal_s64, less_equal_u64, NULL},
    {"Greater", TAKES_NUMBERS, true, greater_f64, greater_s64, greater_u64, NULL},
    {"GreaterOrEqual", TAKES_NUMBERS, true, greater_equal_f64, greater_equal_s64, greater_equal_u64,
     NULL},
    {"And", TAKES_BOOL, true, NULL, and_s64, NULL, NULL},
    {"Or", TAKES_BOOL, true, NULL, or_s64, NULL, NULL},
    {"Xor", TAKES_BOOL, true, NULL, xor_s64, NULL, NULL},
    {"BitwiseAnd", TAKES_INT, false, NULL, and_s64, NULL, NULL},
    {"BitwiseOr", TAKES_INT, false, NULL, or_s64, NULL, NULL},
    {"BitwiseXor", TAKES_INT, false, NULL, xor_s64, NULL, NULL},
    {"LEFT", TAKES_INT, false, NULL, shl_s64, NULL, NULL},
    {"RIGHT", TAKES_INT, false, NULL, shr_s64, NULL, NULL},
};

/* The row for a node: its operator, or what an attribute makes of it. */
static const struct binary *binary_find(const struct op_call *c, struct err *err)
{
    const char *name = c->node->op;
    if (strcmp(name, "Mod") == 0 && attr_int(c->node, "fmod", 0)) {
        name = "fmod";
    } else if (strcmp(name, "BitShift") == 0) {
        name = attr_string(c->node, "direction", "");
    }
    for (size_t i = 0; i < COUNT(binaries); i++) {
        if (strcmp(binaries[i].name, name) == 0) {
            return &binaries[i];
        }
    }
    err_set(err, E_FORMAT, "direction is '%.40s', expected LEFT or RIGHT", name);
    return NULL;
}

static int check_type(const struct binary *f, enum dtype d, struct err *err)
{
    const bool ok = f->takes == TAKES_BOOL  ? d == DT_BOOL
                    : f->takes == TAKES_INT ? elem_is_int(d) && d != DT_BOOL
                    : f->takes == TAKES_ALL ? dtype_stored(d)
                                            : dtype_size(d) > 0;
    if (!ok || (f->takes == TAKES_NUMBERS && d == DT_BOOL)) {
        return err_set(err, E_UNSUPPORTED, "inputs are %s, expected %s", dtype_name(d),
                       f->takes == TAKES_BOOL  ? "bool"
                       : f->takes == TAKES_INT ? "integers"
                                               : "numbers");
    }
    return OK;
}

/* ---- The loop ------------------------------------------------------------------------------- */

/* Block of one operand as 8-byte elements (double or int64): elements `step` apart, 0: one value
 * repeated. */
static const void *operand(const struct tensor *t, bool real, int64_t at, int64_t step, size_t n,
                           void *room)
{
    const size_t each = step == 1 ? n : 1, load = step == 0 ? 1 : n;
    uint64_t *dst = room;
    for (size_t i = 0; i < load; i += each) {
        const size_t from = (size_t)(at + (int64_t)i * step);
        if (real) {
            elem_get_f64(t, from, each, (double *)room + i);
        } else {
            elem_get_s64(t, from, each, (int64_t *)room + i);
        }
    }
    for (size_t i = load; i < n; i++) {
        dst[i] = dst[0];
    }
    return room;
}

union block {
    double f64[ELEM_BLOCK];
    int64_t s64[ELEM_BLOCK];
};

/* Equal alone takes strings: equal bytes. */
static void equal_strings(const struct tensor *a, const struct tensor *b, struct tensor *y,
                          const struct walk *w, int64_t e, size_t n)
{
    const int64_t p = w->stride[1][w->rank - 1], q = w->stride[2][w->rank - 1];
    for (int64_t i = e; i < e + (int64_t)n; i++) {
        struct span s = tensor_string(a, (size_t)(w->at[1] + i * p));
        struct span t = tensor_string(b, (size_t)(w->at[2] + i * q));
        ((uint8_t *)y->data)[w->at[0] + i] = s.n == t.n && memcmp(s.p, t.p, s.n) == 0;
    }
}

/* y[at..] = f(a, b) for n <= ELEM_BLOCK elements. y may be a. */
static void plain_block(const struct binary *f, const struct tensor *a, const struct tensor *b,
                        struct tensor *y, const struct walk *w, int64_t e, size_t n)
{
    union block p, q, r;
    const int last = w->rank - 1;
    if (a->dtype == DT_STRING) {
        equal_strings(a, b, y, w, e, n);
        return;
    }
    const bool real = f->f64 && (dtype_is_float(a->dtype) || dtype_is_float(b->dtype));
    operand(a, real, w->at[1] + e * w->stride[1][last], w->stride[1][last], n, &p);
    operand(b, real, w->at[2] + e * w->stride[2][last], w->stride[2][last], n, &q);
    const size_t at = (size_t)(w->at[0] + e);
    if (real) {
        f->f64(n, p.f64, q.f64, r.f64);
        elem_put_f64(y, at, n, r.f64);
    } else {
        (a->dtype == DT_U64 && f->u64 ? f->u64 : f->s64)(n, p.s64, q.s64, r.s64);
        elem_put_s64(y, at, n, r.s64);
    }
}

/* ---- The same for float32, with no conversion ----------------------------------------------- */

enum { CHUNK = 1 << 14 }; /* elements that a thread takes at a time */

/* n elements of y in blocks of `block`. An operand lies as it is read or in steps, or is one value
 * or a short run that repeats; those fill a block once. */
struct f32_row {
    const struct binary *f;
    size_t n, block, chunk;
    const float *at[2];
    int64_t step[2];
    bool repeats[2];
    float room[2][ELEM_BLOCK];
    float *y, *act; /* act: behind the activation. Either may be NULL */
    struct op_tail tail;
    const struct chain_run *chain; /* NULL: none */
    size_t from;                   /* elements of the result in front of the row */
};

/* n elements of operand k from e on; room: for one whose elements are not neighbours. */
static const float *row_operand(const struct f32_row *r, int k, size_t e, size_t n, float *room)
{
    if (r->repeats[k] || r->step[k] == 1) {
        return r->repeats[k] ? r->room[k] : r->at[k] + e;
    }
    for (size_t i = 0; i < n; i++) {
        room[i] = r->at[k][(int64_t)(e + i) * r->step[k]];
    }
    return room;
}

static void row_chunk(void *ctx, size_t i)
{
    const struct f32_row *r = ctx;
    float raw[ELEM_BLOCK], room[2][ELEM_BLOCK];
    const size_t end = MIN((i + 1) * r->chunk, r->n);
    for (size_t e = i * r->chunk, n; e < end; e += n) {
        n = MIN(end - e, r->block);
        const float *a = row_operand(r, 0, e, n, room[0]), *b = row_operand(r, 1, e, n, room[1]);
        float *y = r->y ? r->y + e : raw;
        r->f->f32(n, a, b, y);
        float *act = r->act ? r->act + e : NULL;
        if (act) {
            elem_clamp_f32(n, y, r->tail.lo, r->tail.hi, act);
        }
        if (r->chain) {
            chain_block(r->chain, r->from + e, n, y, act);
        }
    }
}

/* Takes a short innermost loop out of the walk, whose rows then are those of the loop around it; an
 * operand must lie as it is read or repeat itself. Returns its length, 0: left as it was. */
static int64_t take_period(struct walk *w, bool repeats[2])
{
    const int last = w->rank - 1;
    bool takes = w->rank >= 2 && w->dims[last] <= ELEM_BLOCK / 2;
    for (int k = 1; k <= 2 && takes; k++) {
        const int64_t outer = w->stride[k][last - 1];
        takes = w->stride[k][last] == 1 && (outer == 0 || outer == w->dims[last]);
    }
    if (!takes) {
        return 0;
    }
    const int64_t period = w->dims[last];
    w->rank--;
    w->dims[last - 1] *= period;
    for (int k = 1; k <= 2; k++) {
        repeats[k - 1] = w->stride[k][last - 1] == 0;
        w->stride[k][last - 1] = 1;
    }
    w->stride[0][last - 1] = 1;
    return period;
}

/* y [n] = the `period` values of x again and again. */
static void repeat(float *y, size_t n, const float *x, size_t period)
{
    size_t done = MIN(period, n);
    memcpy(y, x, done * sizeof *y);
    for (size_t more; done < n; done += more) {
        more = MIN(done, n - done);
        memcpy(y + done, y, more * sizeof *y);
    }
}

/* y = f(a, b) and act = clamp(y), where the walk's operand 0 is either. */
static void run_f32(struct op_call *c, const struct binary *f, struct walk *w,
                    const struct tensor *a, const struct tensor *b, float *y, float *act)
{
    const float *const in[] = {a->data, b->data};
    struct f32_row r = {.f = f, .block = ELEM_BLOCK, .chain = c->chain};
    bool periodic[2] = {false, false};
    if (!walk_start(w)) {
        return;
    }
    const int64_t period = take_period(w, periodic);
    const int last = w->rank - 1;
    r.n = (size_t)w->dims[last];
    r.block = period ? ELEM_BLOCK / (size_t)period * (size_t)period : ELEM_BLOCK;
    r.chunk = CHUNK / r.block * r.block;
    r.tail = c->tail ? *c->tail : r.tail;
    do {
        for (int k = 0; k < 2; k++) {
            r.step[k] = w->stride[k + 1][last];
            r.at[k] = in[k] + w->at[k + 1];
            r.repeats[k] = r.step[k] == 0 || periodic[k];
            if (r.repeats[k]) {
                repeat(r.room[k], MIN(r.block, r.n), r.at[k], r.step[k] ? (size_t)period : 1);
            }
        }
        r.from = (size_t)w->at[0];
        r.y = y ? y + w->at[0] : NULL;
        r.act = act ? act + w->at[0] : NULL;
        par_for(c->par, (r.n + r.chunk - 1) / r.chunk, row_chunk, &r);
    } while (walk_next(w));
}

/* ---- Two inputs ----------------------------------------------------------------------------- */

/* y = f(a, b), y contiguous and of the broadcast shape. y may be a. */
static void run_plain(const struct binary *f, struct walk *w, const struct tensor *a,
                      const struct tensor *b, struct tensor *y)
{
    if (!walk_start(w)) {
        return;
    }
    do {
        const int64_t n = w->dims[w->rank - 1];
        for (int64_t e = 0; e < n; e += ELEM_BLOCK) {
            plain_block(f, a, b, y, w, e, (size_t)MIN(n - e, ELEM_BLOCK));
        }
    } while (walk_next(w));
}

static int broadcast(const struct op_call *c, int n, const struct tensor *const *in, struct walk *w,
                     int *rank, int64_t *dims, struct err *err)
{
    return c->channels_last ? walk_broadcast_last(w, n, in, rank, dims, err)
                            : walk_broadcast(w, n, in, rank, dims, err);
}

static int binary(struct op_call *c, bool fast, struct err *err)
{
    const struct binary *f = binary_find(c, err);
    const struct tensor *a = c->in[0], *b = c->in[1];
    if (!f) {
        return E_FORMAT;
    }
    int rc = check_type(f, a->dtype, err);
    if (!rc && f->f64 == pow_f64) { /* the exponent may have a type of its own */
        rc = check_type(f, b->dtype, err);
    } else if (!rc) {
        rc = op_want(c, 1, a->dtype, -1, err);
    }
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    rc = rc ? rc : broadcast(c, 2, c->in, &w, &rank, dims, err);
    if (!rc && fast && f->f32 && a->dtype == DT_F32) {
        float *y, *act;
        rc = op_out_tail(c, rank, dims, &y, &act, err);
        if (!rc) {
            run_f32(c, f, &w, a, b, y, act);
        }
        return rc;
    }
    rc = rc ? rc : op_out(c, 0, f->to_bool ? DT_BOOL : a->dtype, rank, dims, err);
    if (!rc) {
        run_plain(f, &w, a, b, c->out[0]);
    }
    return rc;
}

static int binary_ref(struct op_call *c, struct err *err)
{
    return binary(c, false, err);
}

static int binary_fast(struct op_call *c, struct err *err)
{
    return binary(c, true, err);
}

/* ---- Any number of inputs: folded from the left --------------------------------------------- */

/* Shape of all inputs broadcast together. */
static int broadcast_all(const struct op_call *c, int *rank, int64_t *dims, struct err *err)
{
    struct tensor so_far = {.rank = 0};
    for (int k = 0; k < c->n_in; k++) {
        struct walk w;
        int rc = op_want(c, k, c->in[0]->dtype, -1, err);
        if (rc) {
            return rc;
        }
        const struct tensor *both[] = {&so_far, c->in[k]};
        rc = walk_broadcast(&w, 2, both, rank, dims, err);
        if (rc) {
            return err_in(err, "input %d", k);
        }
        so_far.rank = *rank;
        memcpy(so_far.dims, dims, (size_t)*rank * sizeof *dims);
    }
    return OK;
}

static int variadic(struct op_call *c, bool fast, struct err *err)
{
    const struct binary *f = binary_find(c, err);
    const enum dtype d = c->in[0]->dtype;
    int rank;
    int64_t dims[MAX_RANK];
    struct walk w;
    int rc = check_type(f, d, err);
    rc = rc ? rc : broadcast_all(c, &rank, dims, err);
    if (!rc && c->n_in == 1) {
        return op_out_view(c, 0, c->in[0], rank, dims, err);
    }
    rc = rc ? rc : op_out(c, 0, d, rank, dims, err);
    for (int k = 1; k < c->n_in && !rc; k++) {
        /* The output takes part with its full shape, so that each step fills all of it. */
        const struct tensor *a = k == 1 ? c->in[0] : c->out[0];
        const struct tensor *three[] = {a, c->in[k], c->out[0]};
        rc = broadcast(c, 3, three, &w, &rank, dims, err);
        if (!rc && fast && k == 1 && f->f32 && d == DT_F32) {
            run_f32(c, f, &w, a, c->in[k], c->out[0]->data, NULL);
        } else if (!rc) {
            run_plain(f, &w, a, c->in[k], c->out[0]);
        }
    }
    if (!rc && strcmp(c->node->op, "Mean") == 0) {
        const double n = c->n_in;
        double block[ELEM_BLOCK];
        for (size_t at = 0, m; at < c->out[0]->n; at += m) {
            m = MIN(c->out[0]->n - at, (size_t)ELEM_BLOCK);
            elem_get_f64(c->out[0], at, m, block);
            for (size_t i = 0; i < m; i++) {
                block[i] /= n;
            }
            elem_put_f64(c->out[0], at, m, block);
        }
    }
    return rc;
}

static int variadic_ref(struct op_call *c, struct err *err)
{
    return variadic(c, false, err);
}

static int variadic_fast(struct op_call *c, struct err *err)
{
    return variadic(c, true, err);
}

/* ---- Where ---------------------------------------------------------------------------------- */

/* Copies whole elements of 1, 2, 4 or 8 bytes, so any type passes unchanged. */
static int where(struct op_call *c, struct err *err)
{
    struct walk w;
    int rank;
    int64_t dims[MAX_RANK];
    const enum dtype d = c->in[1]->dtype;
    int rc = op_want(c, 0, DT_BOOL, -1, err);
    rc = rc ? rc : op_want(c, 2, d, -1, err);
    rc = rc ? rc : walk_broadcast(&w, 3, c->in, &rank, dims, err);
    rc = rc ? rc : op_out(c, 0, d, rank, dims, err);
    if (rc || !walk_start(&w)) {
        return rc;
    }
    const uint8_t *condition = c->in[0]->data;
    const uint8_t *from[] = {c->in[1]->data, c->in[2]->data};
    const int last = w.rank - 1;
    const int64_t size = (int64_t)dtype_size(d);
    do {
        for (int64_t e = 0; e < w.dims[last]; e++) {
            const int which = condition[w.at[1] + e * w.stride[1][last]] ? 0 : 1;
            memcpy((uint8_t *)c->out[0]->data + (w.at[0] + e * w.stride[0][last]) * size,
                   from[which] + (w.at[2 + which] + e * w.stride[2 + which][last]) * size,
                   (size_t)size);
        }
    } while (walk_next(&w));
    return OK;
}

/* Rows below: one line each, all of the same form. */
#define ROW(op_name, first, spec_text)                                                             \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 2, .max_in = 2, .ref = binary_ref,          \
        .spec = (spec_text), .layout = layout_broadcast                                            \
    }
#define ROW_FAST(op_name, first, spec_text)                                                        \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 2, .max_in = 2, .ref = binary_ref,          \
        .fast = binary_fast, .spec = (spec_text), .layout = layout_broadcast, .tails = true,       \
        .chains = true                                                                             \
    }
#define ROW_MANY(op_name, fast_fn, spec_text)                                                      \
    {                                                                                              \
        .name = (op_name), .since = 8, .min_in = 1, .max_in = -1, .ref = variadic_ref,             \
        .fast = (fast_fn), .spec = (spec_text), .layout = layout_broadcast                         \
    }

const struct op op_eltwise[] = {
    ROW_FAST("Add", 7, "ONNX Add-14"),
    ROW_FAST("Sub", 7, "ONNX Sub-14"),
    ROW_FAST("Mul", 7, "ONNX Mul-14"),
    ROW_FAST("Div", 7, "ONNX Div-14"),
    ROW("Mod", 10, "ONNX Mod-13"),
    ROW("Pow", 7, "ONNX Pow-15"),
    ROW("PRelu", 7, "ONNX PRelu-16"),
    ROW("Equal", 7, "ONNX Equal-19"),
    ROW("Less", 7, "ONNX Less-13"),
    ROW("LessOrEqual", 12, "ONNX LessOrEqual-16"),
    ROW("Greater", 7, "ONNX Greater-13"),
    ROW("GreaterOrEqual", 12, "ONNX GreaterOrEqual-16"),
    ROW("And", 7, "ONNX And-7"),
    ROW("Or", 7, "ONNX Or-7"),
    ROW("Xor", 7, "ONNX Xor-7"),
    ROW("BitwiseAnd", 18, "ONNX BitwiseAnd-18"),
    ROW("BitwiseOr", 18, "ONNX BitwiseOr-18"),
    ROW("BitwiseXor", 18, "ONNX BitwiseXor-18"),
    ROW("BitShift", 11, "ONNX BitShift-11"),
    ROW_MANY("Max", NULL, "ONNX Max-13"),
    ROW_MANY("Min", NULL, "ONNX Min-13"),
    ROW_MANY("Sum", variadic_fast, "ONNX Sum-13"),
    ROW_MANY("Mean", variadic_fast, "ONNX Mean-13"),
    {.name = "Where", .since = 9, .min_in = 3, .max_in = 3, .ref = where, .spec = "ONNX Where-16"},
    {0},
};
