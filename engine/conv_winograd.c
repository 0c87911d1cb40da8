/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_winograd.c: 3x3 convolutions that move by single pixels, by Winograd's F(2x2, 3x3): tiles of
 * 2x2 outputs cost 16 products per pair of channels instead of 36. A. Lavin, S. Gray, "Fast
 * Algorithms for Convolutional Neural Networks", 2015:
 *   y = A' [(G w G') * (B' x B)] A   with x the 4x4 pixels that a tile sees
 * The transforms add and subtract neighbours, so that an infinity or NaN would spread over its
 * tile: the caller is told and computes such a layer directly.
 */
#include "engine/conv_f32.h"
#include "engine/elem.h"
#include "engine/par.h"
#include "engine/product_f32.h"

#include <stdlib.h>

enum {
    IN = 4,              /* rows and columns of a transformed tile */
    OUT = 2,             /* and of its outputs */
    TAPS = 9,            /* of a filter */
    POINTS = 16,         /* IN * IN products */
    TILES = 64,          /* most tiles of a block */
    DATA = 208 << 10,    /* floats of a block's transformed input: they stay in the L2 cache */
    WORTH_TILES = 36,    /* fewer do not repay the larger weights */
    WORTH_BLOCK = 24,    /* the same within a block */
    WORTH_CHANNELS = 32, /* fewer do not repay the transforms */
};

/* ---- Weights -------------------------------------------------------------------------------- */

/* u [POINTS] = G w G' of F32_LANES filter planes side by side; points are `step` apart. */
VECTOR_CLONES static void transform_filters(float w[TAPS][F32_LANES], float *u, size_t step)
{
#pragma GCC ivdep
    for (int j = 0; j < F32_LANES; j++) {
        float rows[IN][3];
        for (int k = 0; k < 3; k++) {
            const float a = w[k][j], b = w[3 + k][j], c = w[6 + k][j];
            rows[0][k] = a;
            rows[1][k] = 0.5F * (a + b + c);
            rows[2][k] = 0.5F * (a - b + c);
            rows[3][k] = c;
        }
        for (int i = 0; i < IN; i++) {
            const float a = rows[i][0], b = rows[i][1], c = rows[i][2];
            float *to = u + (size_t)(i * IN) * step + j;
            to[0] = a;
            to[step] = 0.5F * (a + b + c);
            to[2 * step] = 0.5F * (a - b + c);
            to[3 * step] = c;
        }
    }
}

void conv_winograd_free(void *form)
{
    struct f32_panels *p = form;
    if (p) {
        f32_panels_fini(p);
        free(p);
    }
}

int conv_winograd_new(const struct tensor *w, void **form, size_t *pieces, struct err *err)
{
    struct f32_panels *p = mem_alloc(sizeof *p);
    int rc = f32_panels_new(p, POINTS * (size_t)w->dims[1], (size_t)w->dims[0], err);
    if (rc) {
        conv_winograd_free(p);
        return rc;
    }
    *form = p;
    *pieces = p->units;
    return OK;
}

void conv_winograd_fill(void *form, const struct tensor *w, size_t piece)
{
    const struct f32_panels *p = form;
    const size_t oc = (size_t)w->dims[0], ic = (size_t)w->dims[1];
    const struct f32_weights src = {
        .w = w->data, .n = oc, .segments = 1, .len = ic * TAPS, .column = ic * TAPS, .factor = 1};
    size_t cols;
    float *u = f32_panels_unit(p, piece, &cols);
    for (size_t i = 0; i < ic; i += F32_LANES) {
        float filters[F32_LANES * TAPS][F32_LANES];
        const size_t n = MIN(ic - i, (size_t)F32_LANES);
        f32_weights_read(&src, piece, i * TAPS, n * TAPS, filters);
        for (size_t k = 0; k < n; k++, u += cols) {
            transform_filters(filters + k * TAPS, u, ic * cols);
        }
    }
}

/* ---- One block of tiles --------------------------------------------------------------------- */

struct job {
    const struct conv *v;
    const struct f32_panels *panels;
    const struct f32_kernels *kernels;
    struct f32_dest y;
    size_t across, down, tiles; /* tiles of a row, of a column, of all images */
    size_t blocks, most;        /* most: tiles of a block */
    const float *zeros;
    float *rooms; /* per thread: input [POINTS][most][ic], then products [POINTS][most][F32_COLS] */
    size_t room;  /* floats of one */
    size_t n_rooms;
    atomic_bool *taken; /* per room */
    atomic_bool spread; /* some result is not finite */
};

/* B' x B of a tile whose pixels begin at x, for c channels; point p goes to v + p * step. */
VECTOR_CLONES static void transform_input(const float *const *x, size_t c, float *restrict v,
                                          size_t step)
{
#pragma GCC ivdep
    for (size_t j = 0; j < c; j++) {
        float t[IN][IN];
        for (int k = 0; k < IN; k++) {
            const float a = x[k][j], b = x[IN + k][j];
            const float d = x[2 * IN + k][j], e = x[3 * IN + k][j];
            t[0][k] = a - d;
            t[1][k] = b + d;
            t[2][k] = d - b;
            t[3][k] = b - e;
        }
        for (int i = 0; i < IN; i++) {
            float *to = v + (size_t)(i * IN) * step + j;
            to[0] = t[i][0] - t[i][2];
            to[step] = t[i][1] + t[i][2];
            to[2 * step] = t[i][2] - t[i][1];
            to[3 * step] = t[i][1] - t[i][3];
        }
    }
}

/* y [OUT * OUT][F32_COLS] = A' m A + bias for n columns; m: point p at p * step. Returns whether
 * all is finite: v - v is 0 then. */
VECTOR_CLONES static bool transform_output(const float *restrict m, size_t step,
                                           const float *restrict bias, size_t n,
                                           float y[OUT * OUT][F32_COLS])
{
    float odd[F32_COLS];
#pragma GCC ivdep
    for (size_t j = 0; j < n; j++) {
        float t[OUT][IN];
        for (int k = 0; k < IN; k++) {
            const float *at = m + (size_t)k * step + j;
            const float a = at[0], b = at[IN * step], c = at[2 * IN * step], d = at[3 * IN * step];
            t[0][k] = a + b + c;
            t[1][k] = b - c - d;
        }
        odd[j] = 0;
        for (int i = 0; i < OUT; i++) {
            y[i * OUT][j] = bias[j] + (t[i][0] + t[i][1] + t[i][2]);
            y[i * OUT + 1][j] = bias[j] + (t[i][1] - t[i][2] - t[i][3]);
            odd[j] += y[i * OUT][j] - y[i * OUT][j];
            odd[j] += y[i * OUT + 1][j] - y[i * OUT + 1][j];
        }
    }
    bool finite = true;
    for (size_t j = 0; j < n; j++) {
        finite = finite && odd[j] == 0;
    }
    return finite;
}

/* Transforms tiles [t0, t1) into room. */
static void load_tiles(const struct job *j, size_t t0, size_t t1, float *room)
{
    const struct window *w = &j->v->w;
    const size_t c = (size_t)w->c;
    for (size_t t = t0; t < t1; t++) {
        const int64_t image = (int64_t)(t / (j->across * j->down));
        const int64_t top = (int64_t)(t / j->across % j->down) * OUT - w->lo[1];
        const int64_t left = (int64_t)(t % j->across) * OUT - w->lo[2];
        const float *x[POINTS];
        for (int p = 0; p < POINTS; p++) {
            const int64_t h = top + p / IN, q = left + p % IN;
            const bool inside = h >= 0 && h < w->in[1] && q >= 0 && q < w->in[2];
            const int64_t at = (image * w->in[1] + h) * w->in[2] + q;
            x[p] = inside ? (const float *)j->v->x->data + at * w->c : j->zeros;
        }
        transform_input(x, c, room + (t - t0) * c, j->most * c);
    }
}

VECTOR_CLONES static void put_row(const struct f32_dest *y, size_t at, const float *restrict v,
                                  size_t n)
{
    if (y->raw) {
        memcpy(y->raw + at, v, n * sizeof *v);
    }
    for (size_t i = 0; i < n && y->act; i++) {
        const float low = v[i] < y->lo ? y->lo : v[i];
        y->act[at + i] = low > y->hi ? y->hi : low;
    }
}

/* Results of tiles [t0, t1) for the columns of one panel, from their products m. */
static bool store_tiles(const struct job *j, size_t t0, size_t t1, size_t panel, const float *m)
{
    const struct window *w = &j->v->w;
    const size_t col = f32_panels_column(j->panels, panel);
    const size_t n = MIN(f32_panels_column(j->panels, panel + 1), j->panels->n) - col;
    float bias[F32_COLS] = {0}, y[OUT * OUT][F32_COLS];
    bool finite = true;
    if (j->v->bias) {
        memcpy(bias, (const float *)j->v->bias->data + col, n * sizeof *bias);
    }
    for (size_t t = t0; t < t1; t++) {
        const size_t image = t / (j->across * j->down);
        const size_t h = t / j->across % j->down * OUT, q = t % j->across * OUT;
        finite &= transform_output(m + (t - t0) * F32_COLS, j->most * F32_COLS, bias, n, y);
        for (size_t p = 0; p < OUT * OUT; p++) {
            const size_t oh = h + p / OUT, ow = q + p % OUT;
            if (oh < (size_t)w->out[1] && ow < (size_t)w->out[2]) {
                const size_t pixel = (image * (size_t)w->out[1] + oh) * (size_t)w->out[2] + ow;
                put_row(&j->y, pixel * j->y.pitch + col, y[p], n);
            }
        }
    }
    return finite;
}

static size_t take_room(const struct job *j)
{
    for (size_t i = 0;; i = (i + 1) % j->n_rooms) {
        bool no = false;
        if (atomic_compare_exchange_strong(&j->taken[i], &no, true)) {
            return i;
        }
    }
}

/* Item i: a block of tiles. */
static void run_block(void *ctx, size_t i)
{
    struct job *j = ctx;
    const size_t t0 = i * j->tiles / j->blocks, t1 = (i + 1) * j->tiles / j->blocks;
    const size_t c = (size_t)j->v->w.c, slot = take_room(j);
    float *in = j->rooms + slot * j->room, *out = in + POINTS * j->most * c;
    load_tiles(j, t0, t1, in);
    for (size_t panel = 0; panel < j->panels->count; panel++) {
        for (size_t p = 0; p < POINTS; p++) {
            const float *rows[TILES];
            for (size_t t = 0; t < t1 - t0; t++) {
                rows[t] = in + (p * j->most + t) * c;
            }
            const struct f32_product product = {
                .kernels = j->kernels,
                .panels = j->panels,
                .panel = panel,
                .panel_end = panel + 1,
                .from = p * c,
                .x = rows,
                .rows = t1 - t0,
                .pitch = t1 - t0,
                .segments = 1,
                .len = c,
                .y = {.raw = out + p * j->most * F32_COLS, .pitch = F32_COLS},
            };
            f32_product_run(&product);
        }
        if (!store_tiles(j, t0, t1, panel, out)) {
            atomic_store(&j->spread, true);
        }
    }
    atomic_store(&j->taken[slot], false);
}

/* ---- The convolution ------------------------------------------------------------------------ */

bool conv_winograd_fits(const struct conv *v)
{
    const struct window *w = &v->w;
    bool fits = w->k[0] == 1 && w->in[0] == 1 && w->out[0] == 1 && v->groups == 1 &&
                v->ic >= WORTH_CHANNELS && v->oc >= WORTH_CHANNELS;
    for (int a = 1; a < WINDOW_RANK; a++) {
        fits = fits && w->k[a] == 3 && w->s[a] == 1 && w->d[a] == 1;
    }
    const int64_t across = (w->out[2] + 1) / OUT, down = (w->out[1] + 1) / OUT;
    return fits && v->ic <= DATA / (POINTS * WORTH_BLOCK) && w->n * across * down >= WORTH_TILES;
}

/* How the work is split and what room it takes. */
static void plan_blocks(struct job *j, size_t threads)
{
    const struct window *w = &j->v->w;
    const size_t c = (size_t)w->c;
    j->across = ((size_t)w->out[2] + 1) / OUT;
    j->down = ((size_t)w->out[1] + 1) / OUT;
    j->tiles = (size_t)w->n * j->across * j->down;
    j->most = MIN(DATA / (POINTS * c), (size_t)TILES);
    j->blocks = (j->tiles + j->most - 1) / j->most;
    if (threads > 1) {
        j->blocks = MAX(j->blocks, MIN(2 * threads, j->tiles / WORTH_BLOCK + 1));
    }
    j->most = (j->tiles + j->blocks - 1) / j->blocks;
    j->n_rooms = MIN(threads, j->blocks);
    j->room = POINTS * j->most * (c + F32_COLS);
}

int conv_winograd_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                      struct budget *b, bool *finite, struct err *err)
{
    struct job j = {.v = v, .panels = form, .kernels = kernel_f32(), .y = y};
    struct tensor *zeros = NULL, *rooms = NULL;
    j.y.pitch = (size_t)v->oc;
    plan_blocks(&j, par_threads(par));
    const int64_t dims[] = {(int64_t)j.n_rooms, (int64_t)j.room};
    int rc = tensor_new(DT_F32, 1, &v->w.c, b, &zeros, err);
    rc = rc ? rc : tensor_new(DT_F32, 2, dims, b, &rooms, err);
    if (!rc) {
        memset(zeros->data, 0, zeros->size);
        j.zeros = zeros->data;
        j.rooms = rooms->data;
        j.taken = mem_alloc(j.n_rooms * sizeof *j.taken);
        par_for(par, j.blocks, run_block, &j);
        *finite = !atomic_load(&j.spread);
        free(j.taken);
    }
    tensor_free(zeros);
    tensor_free(rooms);
    return rc;
}
