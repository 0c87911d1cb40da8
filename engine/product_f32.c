/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * product_f32.c: packs weights and walks a product in tiles. A part of a panel stays in the cache
 * while all rows pass by it.
 */
#include "engine/product_f32.h"
#include "engine/elem.h"
#include "engine/par.h"
#include "engine/pool.h"

enum {
    RUN = 128,        /* factors that are summed before they join the total, about */
    CACHE_LINE = 64,  /* bytes */
    AHEAD = 256,      /* bytes of a column that are fetched before they are read */
    ACROSS = 8 << 10, /* weights that fit the L1 cache beside rows and results */
    ACROSS_MOST = 8,  /* panels that are passed by turns */
    BLOCK = 96,       /* rows of a matrix that pass by all panels together */
};

/* ---- Panels --------------------------------------------------------------------------------- */

static size_t first_unit(const struct f32_panels *p, size_t panel)
{
    return panel * (p->units / p->count) + MIN(panel, p->units % p->count);
}

size_t f32_panels_column(const struct f32_panels *p, size_t panel)
{
    return first_unit(p, panel) * F32_LANES;
}

float *f32_panels_unit(const struct f32_panels *p, size_t unit, size_t *cols)
{
    const size_t wide = p->units / p->count + 1, wider = p->units % p->count;
    const size_t panel =
        unit < wider * wide ? unit / wide : wider + (unit - wider * wide) / (wide - 1);
    const size_t first = first_unit(p, panel);
    *cols = (first_unit(p, panel + 1) - first) * F32_LANES;
    return p->w + (first * p->k + unit - first) * F32_LANES;
}

int f32_panels_new(struct f32_panels *p, size_t k, size_t n, struct err *err)
{
    size_t size;
    *p = (struct f32_panels){.k = k, .n = n, .units = (n + F32_LANES - 1) / F32_LANES};
    p->count = (p->units + F32_COLS / F32_LANES - 1) / (F32_COLS / F32_LANES);
    if (!mul_ok(p->units * F32_LANES, k, &size) || !mul_ok(size, sizeof *p->w, &size)) {
        return err_set(err, E_LIMIT, "weights too large to pack");
    }
    p->w = pool_take(size);
    return p->w ? OK : err_set(err, E_LIMIT, "out of memory for %zu bytes of packed weights", size);
}

/* Factors [m0, m0 + n) of a unit, n <= F32_LANES, one after the other in each column. */
static void read_square(const struct f32_weights *w, size_t j0, size_t lanes, size_t m0, size_t n,
                        float rows[F32_LANES][F32_LANES])
{
    const size_t step = w->column * sizeof(float);
    const uint8_t *from = w->w + j0 * step + m0 * sizeof(float);
    for (size_t j = 0; j < lanes; j++) {
        __builtin_prefetch(from + j * step + AHEAD, 0, 2);
    }
    if (lanes == F32_LANES && n == F32_LANES) {
        kernel_f32()->transpose(from, step, rows[0]);
        return;
    }
    memset(rows, 0, n * sizeof *rows);
    for (size_t j = 0; j < lanes; j++) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&rows[i][j], from + j * step + i * sizeof(float), sizeof(float));
        }
    }
}

void f32_weights_read(const struct f32_weights *w, size_t unit, size_t m, size_t n,
                      float rows[][F32_LANES])
{
    const size_t j = unit * F32_LANES, lanes = MIN(w->n - j, (size_t)F32_LANES);
    for (size_t i = 0; i < n; i += F32_LANES) {
        read_square(w, j, lanes, m + i, MIN(n - i, (size_t)F32_LANES), rows + i);
    }
}

/* Place of a factor among the packed ones of its column. */
struct place {
    size_t s, i;        /* number i * segments + s */
    size_t first, size; /* of the block that holds i */
};

static void next_place(const struct f32_weights *w, struct place *p)
{
    if (++p->s == w->segments) {
        p->s = 0;
        if (++p->i == p->first + p->size) {
            p->first = p->i;
            p->size = MIN(p->size, w->len - p->first);
        }
    }
}

static void pack_unit(const struct f32_panels *p, const struct f32_weights *w, size_t unit)
{
    struct place to = {.size = w->block ? MIN(w->block, w->len) : w->len};
    size_t cols;
    float *dst = f32_panels_unit(p, unit, &cols);
    for (size_t m = 0; m < p->k; m += F32_LANES) {
        _Alignas(CACHE_LINE) float rows[F32_LANES][F32_LANES];
        const size_t n = MIN(p->k - m, (size_t)F32_LANES);
        f32_weights_read(w, unit, m, n, rows);
        for (size_t i = 0; i < n; i++) {
            const size_t at = to.first * w->segments + to.s * to.size + to.i - to.first;
            memcpy(dst + at * cols, rows[i], sizeof rows[i]);
            next_place(w, &to);
        }
    }
}

/* Columns that stand side by side: rows of a whole panel are copied. */
static void pack_rows(const struct f32_panels *p, const struct f32_weights *w, size_t panel)
{
    const size_t col = f32_panels_column(p, panel), cols = f32_panels_column(p, panel + 1) - col;
    const size_t n = MIN(cols, w->n - col);
    float *dst = p->w + col * p->k;
    for (size_t m = 0; m < p->k; m++, dst += cols) {
        memcpy(dst, w->w + (m * w->factor + col) * sizeof *dst, n * sizeof *dst);
        memset(dst + n, 0, (cols - n) * sizeof *dst);
    }
}

void f32_panels_fill(const struct f32_panels *p, const struct f32_weights *w, size_t panel)
{
    if (w->column == 1 && w->segments == 1) {
        pack_rows(p, w, panel);
        return;
    }
    for (size_t u = first_unit(p, panel); u < first_unit(p, panel + 1); u++) {
        pack_unit(p, w, u);
    }
}

int f32_panels_init(struct f32_panels *p, const struct f32_weights *w, struct err *err)
{
    size_t k;
    if (!mul_ok(w->segments, w->len, &k)) {
        return err_set(err, E_LIMIT, "weights too large to pack");
    }
    int rc = f32_panels_new(p, k, w->n, err);
    for (size_t i = 0; i < p->count && !rc; i++) {
        f32_panels_fill(p, w, i);
    }
    return rc;
}

void f32_panels_fini(struct f32_panels *p)
{
    pool_give(p->w);
}

/* ---- Products ------------------------------------------------------------------------------- */

/* `n` floats to fetch, or NULL. */
static const float *take_later(struct f32_later *later, size_t n)
{
    for (int i = 0; later && i < 2; i++) {
        if (later->at[i] < later->end[i]) {
            const float *at = later->at[i];
            later->at[i] += MIN(n, (size_t)(later->end[i] - at));
            return at;
        }
    }
    return NULL;
}

/* All rows of a tile's columns and factors, spread evenly over tiles. Each fetches the rows of the
 * next one, which mostly are neighbours, and the first ones the weights that come next, as long as
 * there are some: `left` floats behind those of the tile. The others fetch p->later. */
static void run_rows(const struct f32_product *p, struct f32_tile *t, size_t cols, size_t left)
{
    const size_t most = p->kernels->rows[cols / F32_LANES];
    const size_t tiles = (p->rows + most - 1) / most;
    const size_t each = p->rows / MAX(tiles, (size_t)1), more = p->rows - each * tiles;
    const size_t factors = t->segments * t->len, size = factors * cols;
    const size_t fetched = factors * (CACHE_LINE / sizeof *t->w); /* by one tile */
    const float *const *x = t->x;
    const struct f32_dest y = t->y;
    for (size_t i = 0, r0 = 0, r1; i < tiles; i++, r0 = r1) {
        r1 = r0 + each + (i < more);
        t->x = x + r0;
        t->ahead = t->segments == 1 && i + 1 < tiles ? x[r1] + t->off : NULL;
        t->next = (i + 1) * fetched <= MIN(size, left) ? t->w + size + i * fetched : NULL;
        t->next = t->next ? t->next : take_later(p->later, fetched);
        t->y.raw = y.raw ? y.raw + r0 * y.pitch : NULL;
        t->y.act = y.act ? y.act + r0 * y.pitch : NULL;
        p->kernels->tile(t, r1 - r0);
    }
    t->y = y;
}

void f32_finish_rows(const struct f32_dest *y, size_t from, size_t to, size_t n, const float *bias)
{
    for (size_t r = from; r < to; r++) {
        float *act = y->act ? y->act + r * y->pitch : NULL;
        elem_finish_f32(n, y->raw ? y->raw + r * y->pitch : act, bias, y->lo, y->hi, act);
    }
}

/* One panel in parts of p->block. */
static void run_blocks(const struct f32_product *p, struct f32_tile *t, size_t cols)
{
    const float *bias = t->bias;
    const struct f32_dest y = t->y;
    t->bias = NULL;
    if (bias) { /* it comes before the activation */
        t->y.raw = y.raw ? y.raw : y.act;
        t->y.act = NULL;
    }
    t->segments = p->segments;
    for (t->off = 0; t->off < p->len || t->first; t->off += p->block) {
        t->len = MIN(p->block, p->len - t->off);
        t->last = t->off + t->len == p->len;
        t->x = p->x;
        run_rows(p, t, cols, 0);
        t->w += t->segments * t->len * cols;
        t->first = false;
    }
    t->y = y;
    if (bias) {
        f32_finish_rows(&t->y, 0, p->rows, t->n, bias);
    }
}

/* A tile of the panel with all of its factors, before rows are chosen. *cols: of the panel, with
 * those that fill it up. */
static struct f32_tile panel_tile(const struct f32_product *p, size_t panel, size_t *cols)
{
    const struct f32_panels *w = p->panels;
    const size_t u0 = first_unit(w, panel), u1 = first_unit(w, panel + 1), col = u0 * F32_LANES;
    const size_t at = col - f32_panels_column(w, p->panel);
    *cols = (u1 - u0) * F32_LANES;
    return (struct f32_tile){
        .x = p->x,
        .pitch = p->pitch,
        .segments = p->segments,
        .len = p->len,
        .w = w->w + col * w->k + p->from * *cols,
        .n = MIN(*cols, w->n - col),
        .bias = p->bias ? p->bias + col : NULL,
        .first = true,
        .last = true,
        .y = {.raw = p->y.raw ? p->y.raw + at : NULL,
              .act = p->y.act ? p->y.act + at : NULL,
              .pitch = p->y.pitch,
              .lo = p->y.lo,
              .hi = p->y.hi},
    };
}

/* One panel: runs of factors that lie within one segment, or that are several whole ones. */
static void run_panel(const struct f32_product *p, size_t panel)
{
    const struct f32_panels *w = p->panels;
    const size_t run = p->run ? p->run : RUN, cuts = p->len > run ? (p->len + run - 1) / run : 1;
    const size_t parts = MAX((p->segments * p->len + RUN / 2) / RUN, (size_t)1);
    const size_t each = p->len > RUN ? 1 : (p->segments + parts - 1) / parts;
    size_t cols;
    struct f32_tile t = panel_tile(p, panel, &cols);
    if (p->block) {
        run_blocks(p, &t, cols);
        return;
    }
    size_t left = (w->units - first_unit(w, panel)) * F32_LANES * w->k - p->from * cols;
    for (size_t s = 0; s < p->segments || t.first; s += t.segments) { /* also without factors */
        t.segments = MIN(each, p->segments - s);
        for (size_t c = 0; c < cuts; c++) {
            t.off = p->run ? c * run : c * p->len / cuts;
            t.len = (p->run ? MIN((c + 1) * run, p->len) : (c + 1) * p->len / cuts) - t.off;
            t.x = p->x + s * p->pitch;
            t.last = s + t.segments == p->segments && c + 1 == cuts;
            left -= t.segments * t.len * cols;
            run_rows(p, &t, cols, left);
            t.w += t.segments * t.len * cols;
            t.first = false;
        }
    }
}

/* Few factors: weights of all panels stay in the cache, and rows are written from end to end, as
 * memory is fastest. */
static void run_across(const struct f32_product *p)
{
    const size_t count = p->panel_end - p->panel;
    struct f32_tile panels[ACROSS_MOST];
    size_t cols = 0;
    for (size_t i = count; i-- > 0;) { /* the first is the widest */
        panels[i] = panel_tile(p, p->panel + i, &cols);
    }
    const size_t most = p->kernels->rows[cols / F32_LANES], tiles = (p->rows + most - 1) / most;
    const size_t each = p->rows / MAX(tiles, (size_t)1), more = p->rows - each * tiles;
    for (size_t i = 0, rows; i < tiles; i++) {
        rows = each + (i < more);
        for (size_t k = 0; k < count; k++) {
            struct f32_tile *t = &panels[k];
            p->kernels->tile(t, rows);
            t->x += rows;
            t->y.raw = t->y.raw ? t->y.raw + rows * t->y.pitch : NULL;
            t->y.act = t->y.act ? t->y.act + rows * t->y.pitch : NULL;
        }
    }
}

bool f32_product_at_once(size_t segments, size_t len)
{
    return len <= RUN && segments * len < RUN + RUN / 2;
}

/* Whether a product is to be run across its panels; the sums are the same. */
static bool goes_across(const struct f32_product *p)
{
    const size_t factors = p->segments * p->len;
    return !p->block && (!p->run || p->run >= p->len) && f32_product_at_once(p->segments, p->len) &&
           p->panel + 1 < p->panel_end && p->panel_end - p->panel <= ACROSS_MOST &&
           factors * p->panels->n <= ACROSS;
}

void f32_product_run(const struct f32_product *p)
{
    if (goes_across(p)) {
        run_across(p);
        return;
    }
    for (size_t i = p->panel; i < p->panel_end; i++) {
        run_panel(p, i);
    }
}

/* ---- Whole matrices ------------------------------------------------------------------------- */

struct matrix_job {
    const struct f32_panels *w;
    const float *x, *bias;
    size_t rows, blocks, run;
    struct f32_dest y;
};

/* Item i: a block of rows and a panel; panels are large where rows are few. */
static void matrix_item(void *ctx, size_t i)
{
    const struct matrix_job *j = ctx;
    const size_t block = i / j->w->count, panel = i % j->w->count;
    const size_t r0 = block * j->rows / j->blocks, r1 = (block + 1) * j->rows / j->blocks;
    const size_t col = f32_panels_column(j->w, panel), at = r0 * j->w->n + col;
    const float *table[BLOCK];
    for (size_t r = r0; r < r1; r++) {
        table[r - r0] = j->x + r * j->w->k;
    }
    const struct f32_product p = {
        .kernels = kernel_f32(),
        .panels = j->w,
        .panel = panel,
        .panel_end = panel + 1,
        .x = table,
        .rows = r1 - r0,
        .pitch = r1 - r0,
        .segments = 1,
        .len = j->w->k,
        .run = j->run,
        .bias = j->bias,
        .y = {.raw = j->y.raw ? j->y.raw + at : NULL,
              .act = j->y.act ? j->y.act + at : NULL,
              .pitch = j->w->n,
              .lo = j->y.lo,
              .hi = j->y.hi},
    };
    f32_product_run(&p);
}

void f32_product_matrix(const struct f32_panels *w, const float *x, size_t rows, size_t run,
                        const float *bias, struct f32_dest y, struct par *par)
{
    struct matrix_job j = {.w = w, .x = x, .bias = bias, .rows = rows, .run = run, .y = y};
    j.blocks = (rows + BLOCK - 1) / BLOCK;
    par_for(par, j.blocks * w->count, matrix_item, &j);
}
