/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * layout.c: moves channels between second and last place, and chooses the order of a call's inputs.
 */
#include "engine/layout.h"

#include "engine/elem.h"

/* ---- Moving --------------------------------------------------------------------------------- */

enum { BLOCK = 16 }; /* elements of a side of the squares that are transposed at a time */

/* dst [cols][rows] = src [rows][cols] in squares, so that both sides stay in the cache. */
#define TRANSPOSE(name, type)                                                                      \
    static void name(const type *restrict src, type *restrict dst, size_t rows, size_t cols)       \
    {                                                                                              \
        for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {                                              \
            const size_t r1 = MIN(r0 + BLOCK, rows);                                               \
            for (size_t c0 = 0; c0 < cols; c0 += BLOCK) {                                          \
                const size_t c1 = MIN(c0 + BLOCK, cols);                                           \
                for (size_t c = c0; c < c1; c++) {                                                 \
                    for (size_t r = r0; r < r1; r++) {                                             \
                        dst[c * rows + r] = src[r * cols + c];                                     \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
TRANSPOSE(transpose_8, uint8_t)
TRANSPOSE(transpose_16, uint16_t)
TRANSPOSE(transpose_32, uint32_t)
TRANSPOSE(transpose_64, uint64_t)

/* Planes of a picture. */
VECTOR_CLONES static void interleave_3(const uint8_t *restrict src, uint8_t *restrict dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[3 * i] = src[i];
        dst[3 * i + 1] = src[n + i];
        dst[3 * i + 2] = src[2 * n + i];
    }
}

static void transpose(const char *src, char *dst, size_t size, size_t rows, size_t cols)
{
    if (size == 1 && rows == 3) {
        interleave_3((const uint8_t *)src, (uint8_t *)dst, cols);
        return;
    }
    switch (size) {
    case 1:
        transpose_8((const uint8_t *)src, (uint8_t *)dst, rows, cols);
        break;
    case 2:
        transpose_16((const uint16_t *)(const void *)src, (uint16_t *)(void *)dst, rows, cols);
        break;
    case 4:
        transpose_32((const uint32_t *)(const void *)src, (uint32_t *)(void *)dst, rows, cols);
        break;
    default:
        transpose_64((const uint64_t *)(const void *)src, (uint64_t *)(void *)dst, rows, cols);
        break;
    }
}

int tensor_as(const struct tensor *t, bool channels_last, struct budget *b, struct tensor **out,
              struct err *err)
{
    if (t->channels_last == channels_last || t->rank < 3) {
        *out = tensor_ref(t);
        return OK;
    }
    size_t batch = (size_t)t->dims[0], c = (size_t)t->dims[1];
    size_t planes = batch * c, inner = planes ? t->n / planes : 0;
    bool same = c <= 1 || inner <= 1; /* both orders are one */
    int rc = same ? tensor_view((struct tensor *)t, t->rank, t->dims, out, err)
                  : tensor_new(t->dtype, t->rank, t->dims, b, out, err);
    if (rc) {
        return rc;
    }
    (*out)->channels_last = channels_last;
    size_t size = dtype_size(t->dtype), plane = c * inner * size;
    for (size_t n = 0; !same && n < batch; n++) {
        transpose((const char *)t->data + n * plane, (char *)(*out)->data + n * plane, size,
                  channels_last ? c : inner, channels_last ? inner : c);
    }
    return OK;
}

/* ---- Choosing ------------------------------------------------------------------------------- */

static bool same_dims(const struct tensor *a, const struct tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

/* Element by element, any order will do as long as it is one: true when some input has its
 * channels last and the others are equal in shape or single values. */
static bool agree_on_last(const struct op_call *c)
{
    const struct tensor *last = NULL;
    for (int i = 0; i < c->n_in; i++) {
        last = c->in[i] && c->in[i]->channels_last ? c->in[i] : last;
    }
    for (int i = 0; i < c->n_in && last; i++) {
        if (c->in[i] && c->in[i]->n != 1 && !same_dims(c->in[i], last)) {
            return false;
        }
    }
    return last != NULL;
}

/* Rank of the result of broadcasting. */
static int largest_rank(const struct op_call *c)
{
    int rank = 0;
    for (int i = 0; i < c->n_in; i++) {
        rank = c->in[i] ? MAX(rank, c->in[i]->rank) : rank;
    }
    return rank;
}

/* Broadcasting, the small follow the large: true when the largest input has its channels last and
 * the rank of the result. */
static bool largest_is_last(const struct op_call *c)
{
    const struct tensor *largest = NULL;
    for (int i = 0; i < c->n_in; i++) {
        const struct tensor *t = c->in[i];
        const size_t most = largest ? largest->n : 0;
        if (t && (!largest || t->n > most || (t->n == most && t->channels_last))) {
            largest = t;
        }
    }
    return largest && largest->channels_last && largest->rank == largest_rank(c);
}

/* Whether input i is to have its channels last. */
static bool wants_last(const struct op_call *c, enum op_layout layout, int i)
{
    if (!c->channels_last || !c->in[i] || c->in[i]->rank < 3) {
        return false;
    }
    return layout == LAYOUT_LAST        ? i == 0
           : layout == LAYOUT_BROADCAST ? c->in[i]->rank == largest_rank(c)
                                        : c->in[i]->n != 1;
}

static bool choose_last(const struct op_call *c, enum op_layout layout)
{
    switch (layout) {
    case LAYOUT_LAST:
        return c->n_in > 0 && c->in[0] && c->in[0]->rank >= 3;
    case LAYOUT_ANY:
        return agree_on_last(c);
    case LAYOUT_BROADCAST:
        return largest_is_last(c);
    default:
        return false;
    }
}

int layout_inputs(struct op_call *c, const struct op *op, layout_as *as, void *ctx, struct err *err)
{
    enum op_layout layout = op->layout && c->kernels == KERNELS_FAST ? op->layout(c) : LAYOUT_ROWS;
    c->channels_last = choose_last(c, layout);
    for (int i = 0; i < c->n_in; i++) {
        bool last = wants_last(c, layout, i);
        if (c->in[i] && c->in[i]->channels_last != last) {
            int rc = as(ctx, i, last, &c->in[i], err);
            if (rc) {
                return rc;
            }
        }
    }
    return OK;
}

enum op_layout layout_any(const struct op_call *c)
{
    (void)c;
    return LAYOUT_ANY;
}

enum op_layout layout_broadcast(const struct op_call *c)
{
    (void)c;
    return LAYOUT_BROADCAST;
}
