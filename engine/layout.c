/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * layout.c: moves channels between second and last place, and chooses the order of a call's inputs.
 */
#include "engine/layout.h"
#include "engine/elem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
TRANSPOSE(transpose_16, uint16_t)
TRANSPOSE(transpose_32, uint32_t)
TRANSPOSE(transpose_64, uint64_t)

#if defined(__x86_64__)
enum { SIDE = 8 };

/* The same for squares of 8 x 8 in registers. */
__attribute__((target("avx2"))) static void square_32(const float *src, float *dst, size_t rows,
                                                      size_t cols)
{
    __m256 a[SIDE], b[SIDE];
    for (int i = 0; i < SIDE; i++) {
        a[i] = _mm256_loadu_ps(src + (size_t)i * cols);
    }
    for (int i = 0; i < SIDE; i += 2) { /* pairs of rows */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) { /* fours of rows */
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < SIDE / 2; i++) { /* halves of columns */
        _mm256_storeu_ps(dst + (size_t)i * rows, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(dst + (size_t)(i + 4) * rows,
                         _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

/* What is left over at the ends. */
static void rest_32(const float *src, float *dst, size_t rows, size_t cols, size_t r0, size_t r1,
                    size_t c0, size_t c1)
{
    for (size_t c = c0; c < c1; c++) {
        for (size_t r = r0; r < r1; r++) {
            dst[c * rows + r] = src[r * cols + c];
        }
    }
}

/* Along the shorter side first, so that few lines are written to at a time. */
__attribute__((target("avx2"))) static void squares_32(const float *src, float *dst, size_t rows,
                                                       size_t cols)
{
    const size_t whole_r = rows / SIDE * SIDE, whole_c = cols / SIDE * SIDE;
    const bool tall = rows > cols;
    for (size_t i = 0; i < (tall ? whole_r : whole_c); i += SIDE) {
        for (size_t k = 0; k < (tall ? whole_c : whole_r); k += SIDE) {
            const size_t r = tall ? i : k, c = tall ? k : i;
            square_32(src + r * cols + c, dst + c * rows + r, rows, cols);
        }
    }
    rest_32(src, dst, rows, cols, 0, whole_r, whole_c, cols);
    rest_32(src, dst, rows, cols, whole_r, rows, 0, cols);
}
#endif

/* The channels of a colour image, put together. */
#define JOIN_3(name, type)                                                                         \
    VECTOR_CLONES static void name(const type *restrict src, type *restrict dst, size_t n)         \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            dst[3 * i] = src[i];                                                                   \
            dst[3 * i + 1] = src[n + i];                                                           \
            dst[3 * i + 2] = src[2 * n + i];                                                       \
        }                                                                                          \
    }
JOIN_3(join_3, float)
JOIN_3(join_3_bytes, uint8_t)

static void transpose_floats(const float *src, float *dst, size_t rows, size_t cols)
{
    if (rows == 3) {
        join_3(src, dst, cols);
        return;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        squares_32(src, dst, rows, cols);
        return;
    }
#endif
    transpose_32((const uint32_t *)(const void *)src, (uint32_t *)(void *)dst, rows, cols);
}

typedef uint8_t bytes16 __attribute__((vector_size(BLOCK)));

#define LOW(a, b)                                                                                  \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

/* A square of 16 x 16 bytes in registers: four times rows i and i + 8 are put together byte by
 * byte. */
static void square_8(const uint8_t *src, uint8_t *dst, size_t rows, size_t cols)
{
    bytes16 a[BLOCK], b[BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        memcpy(&a[i], src + i * cols, sizeof a[i]);
    }
    for (int times = 0; times < 2; times++) {
        for (int i = 0; i < BLOCK / 2; i++) {
            b[2 * i] = LOW(a[i], a[i + BLOCK / 2]);
            b[2 * i + 1] = HIGH(a[i], a[i + BLOCK / 2]);
        }
        for (int i = 0; i < BLOCK / 2; i++) {
            a[2 * i] = LOW(b[i], b[i + BLOCK / 2]);
            a[2 * i + 1] = HIGH(b[i], b[i + BLOCK / 2]);
        }
    }
    for (size_t i = 0; i < BLOCK; i++) {
        memcpy(dst + i * rows, &a[i], sizeof a[i]);
    }
}

/* Along the shorter side first, so that few lines are written to at a time. */
static void transpose_bytes(const uint8_t *src, uint8_t *dst, size_t rows, size_t cols)
{
    const size_t whole_r = rows / BLOCK * BLOCK, whole_c = cols / BLOCK * BLOCK;
    const bool tall = rows > cols;
    if (rows == 3) {
        join_3_bytes(src, dst, cols);
        return;
    }
    for (size_t i = 0; i < (tall ? whole_r : whole_c); i += BLOCK) {
        for (size_t k = 0; k < (tall ? whole_c : whole_r); k += BLOCK) {
            const size_t r = tall ? i : k, c = tall ? k : i;
            square_8(src + r * cols + c, dst + c * rows + r, rows, cols);
        }
    }
    for (size_t c = 0; c < cols; c++) {
        for (size_t r = c < whole_c ? whole_r : 0; r < rows; r++) {
            dst[c * rows + r] = src[r * cols + c];
        }
    }
}

void layout_transpose(const void *src, void *dst, size_t size, size_t rows, size_t cols)
{
    switch (size) {
    case 1:
        transpose_bytes(src, dst, rows, cols);
        break;
    case 2:
        transpose_16(src, dst, rows, cols);
        break;
    case 4:
        transpose_floats(src, dst, rows, cols);
        break;
    default:
        transpose_64(src, dst, rows, cols);
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
        layout_transpose((const char *)t->data + n * plane, (char *)(*out)->data + n * plane, size,
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

static bool some_is_last(const struct op_call *c)
{
    bool last = false;
    for (int i = 0; i < c->n_in; i++) {
        last = last || (c->in[i] && c->in[i]->channels_last);
    }
    return last;
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
           : layout == LAYOUT_TO_LAST   ? i == 0 && c->in[0]->channels_last
           : layout == LAYOUT_KEEP      ? true
           : layout == LAYOUT_BROADCAST ? c->in[i]->rank == largest_rank(c)
                                        : c->in[i]->n != 1;
}

static bool choose_last(const struct op_call *c, enum op_layout layout)
{
    switch (layout) {
    case LAYOUT_LAST:
    case LAYOUT_TO_LAST:
        return c->n_in > 0 && c->in[0] && c->in[0]->rank >= 3;
    case LAYOUT_ANY:
        return agree_on_last(c);
    case LAYOUT_KEEP:
        return some_is_last(c);
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

enum op_layout layout_keep(const struct op_call *c)
{
    (void)c;
    return LAYOUT_KEEP;
}

enum op_layout layout_broadcast(const struct op_call *c)
{
    (void)c;
    return LAYOUT_BROADCAST;
}
