/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_qsoftmax.c: QLinearSoftmax as onnxruntime computes it: e^x from a table, sums of floats one
 * element after the other, quotients in double. Codes of either sign are looked up by how far they
 * lie below the largest of their row.
 */
#include "engine/elem.h"
#include "engine/op_quant.h"
#include "engine/par.h"

#include <float.h>
#include <math.h>

enum { CODES = 256, ABREAST = 4 };

struct softmax {
    float table[CODES]; /* e^x of the code 255 - k below the largest, times a factor */
    struct q1 qy;
    uint8_t flip; /* makes codes unsigned */
    size_t n, inner;
    const uint8_t *x;
    uint8_t *y;
};

/* The factor keeps the sum of n of them within float. */
static void fill_table(struct softmax *s, float scale)
{
    double room = (double)logf(FLT_MAX / (float)s->n) - 5;
    double shift = (room > 0 ? room : 0) / (double)scale;
    for (int i = 0; i < CODES; i++) {
        s->table[i] = (float)exp((i - (CODES - 1) + shift) * (double)scale);
    }
}

VECTOR_CLONES static uint8_t largest(const uint8_t *x, size_t n, uint8_t flip)
{
    uint8_t max = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t u = x[i] ^ flip;
        max = u > max ? u : max;
    }
    return max;
}

/* y = rne(t * floor(1 / sy) / sum t) + zy, cut to the highest code. A NaN of 0 / 0 becomes 512
 * before that. */
VECTOR_CLONES static void quotients(const float *t, size_t n, double factor, double sum,
                                    int32_t zero, int32_t most, int32_t shift, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        const double v = rint((double)t[i] * factor / sum);
        const int32_t code = (int32_t)(v < 512.0 ? v : 512.0) + zero;
        y[i] = (uint8_t)(MIN(code, most) - shift);
    }
}

/* Long rows look up what the codes become, short ones have it computed for each element. */
static void finish_row(const struct softmax *s, const float *table, const uint8_t *x, float sum,
                       uint8_t *y)
{
    const struct q1 *q = &s->qy;
    const double factor = (double)floorf(1.0F / q->s);
    float t[CODES];
    uint8_t codes[CODES];
    if (s->n < CODES) {
        for (size_t i = 0; i < s->n; i++) {
            t[i] = table[x[i] ^ s->flip];
        }
        quotients(t, s->n, factor, (double)sum, q->z, q->qmax, q->shift, y);
        return;
    }
    quotients(s->table, CODES, factor, (double)sum, q->z, q->qmax, q->shift, codes);
    const uint8_t *from = codes + (table - s->table);
    for (size_t i = 0; i < s->n; i++) {
        y[i] = from[x[i] ^ s->flip];
    }
}

/* `rows` neighbours, at most ABREAST, whose sums do not wait for each other. */
static void softmax_rows(const struct softmax *s, size_t rows, const uint8_t *x, uint8_t *y)
{
    const float *table[ABREAST];
    const uint8_t *row[ABREAST];
    float sum[ABREAST] = {0};
    for (size_t k = 0; k < ABREAST; k++) {
        row[k] = x + MIN(k, rows - 1) * s->n;
        table[k] = s->table + (CODES - 1) - largest(row[k], s->n, s->flip);
    }
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < ABREAST; k++) {
            sum[k] += table[k][row[k][i] ^ s->flip];
        }
    }
    for (size_t k = 0; k < rows; k++) {
        finish_row(s, table[k], row[k], sum[k], y + k * s->n);
    }
}

static void run_rows(void *ctx, size_t from, size_t to)
{
    const struct softmax *s = ctx;
    for (size_t i = from; i < to; i += ABREAST) {
        softmax_rows(s, MIN(to - i, (size_t)ABREAST), s->x + i * s->n, s->y + i * s->n);
    }
}

/* Rows whose elements lie apart; room: for two of them. */
static void run_strided(const struct softmax *s, size_t rows, uint8_t *room)
{
    for (size_t i = 0; i < rows; i++) {
        const size_t at = i / s->inner * s->n * s->inner + i % s->inner;
        for (size_t k = 0; k < s->n; k++) {
            room[k] = s->x[at + k * s->inner];
        }
        softmax_rows(s, 1, room, room + s->n);
        for (size_t k = 0; k < s->n; k++) {
            s->y[at + k * s->inner] = room[s->n + k];
        }
    }
}

/* Attribute `opset` tells which Softmax this was: below 13 all dimensions from axis on count as
 * one. */
static int op_qlinear_softmax(struct op_call *c, struct err *err)
{
    enum { EACH = 1 << 14 }; /* elements that a thread takes at a time */
    struct softmax s = {.n = 1, .inner = 1};
    struct q1 qx;
    int axis = 0;
    int rc = q1_read_unary(c, &qx, &s.qy, err);
    const struct tensor *x = c->in[0];
    const bool flat = attr_int(c->node, "opset", 13) < 13;
    rc = rc ? rc : op_axis(attr_int(c->node, "axis", flat ? 1 : -1), x->rank, &axis, err);
    rc = rc ? rc : op_out(c, 0, s.qy.dtype, x->rank, x->dims, err);
    if (rc || x->n == 0) {
        return rc;
    }
    for (int d = axis; d < x->rank; d++) {
        *(flat || d == axis ? &s.n : &s.inner) *= (size_t)x->dims[d];
    }
    s.x = x->data;
    s.y = c->out[0]->data;
    s.flip = x->dtype == DT_S8 ? 0x80 : 0;
    fill_table(&s, qx.s);
    q1_shift(c, &s.qy);
    if (s.inner == 1) {
        par_pieces(c->par, x->n / s.n, MAX((size_t)ABREAST, EACH / s.n), run_rows, &s);
        return OK;
    }
    uint8_t *room = NULL;
    rc = scratch_new(2 * s.n, 1, (void **)&room, err);
    if (!rc) {
        run_strided(&s, x->n / s.n, room);
    }
    scratch_free(room);
    return rc;
}

const struct op op_qsoftmax[] = {
    {.name = "QLinearSoftmax",
     .domain = "com.microsoft",
     .since = 1,
     .min_in = 4,
     .max_in = 5,
     .ref = op_qlinear_softmax,
     .spec = "ORT QLinearSoftmax-1"},
    {0},
};
