/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gemm8.c: see gemm8.h: packing room, division of the work, strips. What a strip computes is in
 * kernel_int8*.c.
 */
#include "engine/gemm8.h"

#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- The right operand ---------------------------------------------------------------------- */

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

int gemm8_right_init(struct gemm8_right *r, size_t sets, size_t k, size_t n, struct err *err)
{
    enum { MOST = 1 << 30 };
    *r = (struct gemm8_right){.sets = sets, .k = k, .n = n};
    size_t count = 0;
    bool ok = k <= (size_t)MOST * MOST && n <= (size_t)MOST * MOST;
    if (ok) {
        r->depth = round_up(k, K_STEP);
        r->width = round_up(n, STRIP_COLS);
        r->blocks = (n + BLOCK_COLS - 1) / BLOCK_COLS;
        ok = mul_ok(r->depth, BLOCK_COLS, &r->block) && mul_ok(r->block, r->blocks, &count) &&
             mul_ok(count, sets, &count);
    }
    if (!ok) {
        return err_set(err, E_LIMIT, "weights too large to pack");
    }
    int rc = scratch_new(count, 1, (void **)&r->w, err);
    if (!rc && (k % K_STEP || n % BLOCK_COLS)) {
        memset(r->w, 0, count);
    }
    return rc;
}

void gemm8_right_fini(struct gemm8_right *r)
{
    scratch_free(r->w);
    scratch_free(r->ones);
    r->w = r->ones = NULL;
}

int gemm8_right_sum_rows(struct gemm8_right *r, struct err *err)
{
    int rc = scratch_new(r->block, 1, (void **)&r->ones, err);
    if (!rc) {
        memset(r->ones, 0, r->block);
        for (size_t i = 0; i < r->k; i++) {
            r->ones[i / QUAD * BLOCK_COLS * QUAD + i % QUAD] = 1;
        }
    }
    return rc;
}

/* ---- Division of the work ------------------------------------------------------------------- */

/* A thread's own memory. */
struct room {
    uint8_t *left; /* gathered rows */
    int32_t *sums; /* of each row */
};

/* Items are rows [chunk] times columns [part] of a set. */
struct work {
    const struct gemm8 *g;
    size_t chunk, chunks; /* rows of one; number */
    size_t part, parts;   /* columns of one; number */
    size_t items;
    struct room *rooms;
};

enum {
    CHUNK_BYTES = 192 << 10, /* gathered rows that stay in the L2 cache beside the weights */
    ITEMS_PER_THREAD = 4,    /* so that no thread waits long for the others */
    WORTH_SHARING = 4 << 20, /* multiplications that take longer than to wake a thread */
    EPILOGUE = 256,          /* multiplications that a result costs besides */
};

static size_t parts_of(size_t n, size_t want, size_t unit, size_t *each)
{
    *each = round_up((n + want - 1) / want, unit);
    return (n + *each - 1) / *each;
}

/* Chunks that fit the cache. With several threads also small ones: of columns where the weights are
 * larger than the rows, since each thread then reads only its own. */
static void divide(struct work *w, size_t threads)
{
    const struct gemm8 *g = w->g;
    const struct gemm8_right *r = g->right;
    const size_t fits = MAX(CHUNK_BYTES / MAX(r->depth, (size_t)1), (size_t)STRIP_ROWS);
    size_t chunks = (g->rows + fits - 1) / fits, parts = 1;
    const size_t wanted = threads * ITEMS_PER_THREAD, have = chunks * r->sets;
    if (threads > 1 && have < wanted) {
        const size_t times = (wanted + have - 1) / have;
        *(r->n > g->rows ? &parts : &chunks) *= times;
    }
    w->chunks = parts_of(g->rows, chunks, g->kernels->strip_rows, &w->chunk);
    w->parts = parts_of(r->n, parts, STRIP_COLS, &w->part);
    w->items = w->chunks * w->parts * r->sets;
}

/* ---- One item ------------------------------------------------------------------------------- */

/* Rows [r0, r0 + n) of a set: where they lie, or gathered. */
static const uint8_t *left_rows(const struct gemm8 *g, const struct room *room, size_t set,
                                size_t r0, size_t n, size_t *step)
{
    const size_t last = r0 + gemm8_rows(n) - 1;
    if (g->x && set * g->x_set + last * g->ldx + g->right->depth <= g->readable) {
        *step = g->ldx;
        return g->x + set * g->x_set + r0 * g->ldx;
    }
    g->fill(g->ctx, set, r0, n, room->left);
    *step = g->right->depth;
    return room->left;
}

static void sum_rows(const struct gemm8 *g, const uint8_t *a, size_t lda, size_t n, int32_t *sums)
{
    static const int32_t zero[BLOCK_COLS];
    _Alignas(64) int32_t acc[STRIP_ROWS * STRIP_COLS];
    struct strip s = {.lda = lda, .w = g->right->ones, .blocks = 1, .add = zero};
    s.quads = (g->right->k + QUAD - 1) / QUAD;
    for (size_t r = 0; r < n; r += s.rows) {
        s.a = a + r * lda;
        s.rows = MIN(n - r, g->kernels->strip_rows);
        g->kernels->product(&s, acc);
        for (size_t i = 0; i < s.rows; i++) {
            sums[r + i] = acc[i * STRIP_COLS];
        }
    }
}

static void run_item(const struct work *w, const struct room *room, size_t item)
{
    const struct gemm8 *g = w->g;
    const struct gemm8_right *right = g->right;
    const size_t chunk = item % w->chunks, part = item / w->chunks % w->parts;
    const size_t set = item / (w->chunks * w->parts), r0 = chunk * w->chunk;
    const size_t n = MIN(g->rows - r0, w->chunk), end = MIN(right->n, (part + 1) * w->part);
    _Alignas(64) int32_t acc[STRIP_ROWS * STRIP_COLS];
    struct strip s = {.block = right->block, .quads = (right->k + QUAD - 1) / QUAD};
    const uint8_t *a = left_rows(g, room, set, r0, n, &s.lda);
    if (right->ones) {
        sum_rows(g, a, s.lda, n, room->sums);
    }
    s.add_step = g->add_step;
    for (size_t c = part * w->part; c < end; c += STRIP_COLS) {
        const size_t cols = MIN(end - c, (size_t)STRIP_COLS), at = set * right->width + c;
        const struct finish f = finish_from(&g->finish, at, set * right->n + c);
        s.w = gemm8_column(right, set, c);
        s.blocks = (cols + BLOCK_COLS - 1) / BLOCK_COLS;
        for (size_t r = 0; r < n; r += s.rows) {
            s.a = a + r * s.lda;
            s.rows = MIN(n - r, g->kernels->strip_rows);
            s.first = chunk == 0 && r == 0;
            s.add = g->add + at + (r0 + r) * s.add_step;
            g->kernels->product(&s, acc);
            finish_strip(g->kernels, &f, acc, right->ones ? room->sums + r : NULL, s.rows, cols,
                         g->y + set * g->y_set + (r0 + r) * g->ldy + c * dtype_size(f.dtype),
                         g->ldy);
        }
    }
}

static void run_on(void *ctx, size_t item, size_t thread)
{
    const struct work *w = ctx;
    const struct int8_kernels *k = w->g->kernels;
    if (k->enter) {
        k->enter();
    }
    run_item(w, &w->rooms[thread], item);
    if (k->leave) {
        k->leave();
    }
}

int gemm8_run(const struct gemm8 *g, struct par *par, struct err *err)
{
    struct work w = {.g = g};
    size_t cost = 0;
    const bool large = !mul_ok(g->rows * g->right->sets, g->right->n, &cost) ||
                       !mul_ok(cost, g->right->k + EPILOGUE, &cost) || cost >= WORTH_SHARING;
    if (!g->rows || !g->right->n || !g->right->sets) {
        return OK;
    }
    divide(&w, large ? par_threads(par) : 1);
    const size_t threads = large ? par_threads(par) : 1;
    const size_t rows = round_up(w.chunk, STRIP_ROWS);
    int rc = OK;
    w.rooms = mem_alloc(threads * sizeof *w.rooms);
    for (size_t i = 0; i < threads && !rc; i++) {
        rc = scratch_new(rows * g->right->depth + GEMM8_SLACK, 1, (void **)&w.rooms[i].left, err);
        if (!rc && g->right->ones) {
            rc = scratch_new(rows, sizeof(int32_t), (void **)&w.rooms[i].sums, err);
        }
    }
    if (!rc) {
        par_for_on(threads > 1 ? par : NULL, w.items, run_on, &w);
    }
    for (size_t i = 0; i < threads; i++) {
        scratch_free(w.rooms[i].left);
        scratch_free(w.rooms[i].sums);
    }
    free(w.rooms);
    return rc;
}
