/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_dense.c: a convolution as a product without im2col: a table says where the channels that
 * each filter tap multiplies lie for each pixel; taps in the padding point to zeros. Where channels
 * are few, a row of taps is one run of neighbours, read from a copy with padded rows.
 */
#include "engine/conv_f32.h"
#include "engine/elem.h"
#include "engine/par.h"

#include <stdlib.h>

enum {
    TABLE = 8192,     /* pointers of a block of pixels; on the stack of the thread */
    MAX_TAPS = 512,   /* filter positions */
    BLOCK_MOST = 192, /* pixels of a block: the table is filled once for all panels */
    BLOCK_DATA =
        1 << 16,       /* floats that a block of pixels reads, about: they stay in the L2 cache */
    FEW_CHANNELS = 16, /* fewer are read as rows of taps */
    TASKS = 4,         /* pieces of work per thread */
};

struct pack {
    int64_t groups;
    size_t block, each;         /* each: panels of a group */
    struct f32_panels panels[]; /* per group */
};

void conv_dense_free(void *form)
{
    struct pack *p = form;
    for (int64_t g = 0; p && g < p->groups; g++) {
        f32_panels_fini(&p->panels[g]);
    }
    free(p);
}

const struct f32_panels *conv_dense_panels(const void *form)
{
    return ((const struct pack *)form)->panels;
}

int conv_dense_new(const struct tensor *w, int64_t groups, size_t block, void **form,
                   size_t *pieces, struct err *err)
{
    const size_t n = (size_t)groups, oc = (size_t)w->dims[0] / n;
    struct pack *p = mem_alloc(sizeof *p + n * sizeof *p->panels);
    p->groups = groups;
    p->block = block;
    for (size_t g = 0; g < n; g++) {
        int rc = f32_panels_new(&p->panels[g], w->n / MAX((size_t)w->dims[0], (size_t)1), oc, err);
        if (rc) {
            conv_dense_free(p);
            return rc;
        }
    }
    p->each = p->panels[0].count;
    *form = p;
    *pieces = n * p->each;
    return OK;
}

void conv_dense_fill(void *form, const struct tensor *w, size_t piece)
{
    const struct pack *p = form;
    const size_t ic = (size_t)w->dims[1], oc = (size_t)(w->dims[0] / p->groups);
    const size_t taps = w->n / MAX((size_t)w->dims[0] * ic, (size_t)1), g = piece / p->each;
    const struct f32_weights src = {
        .w = (const uint8_t *)w->data + g * oc * ic * taps * sizeof(float),
        .n = oc,
        .segments = taps,
        .len = ic,
        .block = p->block,
        .column = ic * taps,
        .factor = 1,
    };
    f32_panels_fill(&p->panels[g], &src, piece % p->each);
}

int conv_dense_pack(const struct tensor *w, int64_t groups, size_t block, void **form,
                    struct err *err)
{
    size_t pieces;
    int rc = conv_dense_new(w, groups, block, form, &pieces, err);
    for (size_t i = 0; i < pieces && !rc; i++) {
        conv_dense_fill(*form, w, i);
    }
    return rc;
}

/* ---- Where factors lie ---------------------------------------------------------------------- */

VECTOR_CLONES void conv_pointers(const float **table, const float *at, size_t step, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        table[i] = at + i * step;
    }
}

/* table[i] for n neighbouring outputs of a row, from output `o` on: the pixel that filter column kw
 * sees, row being pixel 0 of its row. */
static void fill_run(const struct dense_job *j, const float *row, int64_t kw, int64_t o, int64_t n,
                     const float **table)
{
    const struct window *w = &j->v->w;
    const int64_t c = w->c, step = w->s[2] * c;
    int64_t o0 = 0, o1 = w->out[2];
    const float *at = row + (o * w->s[2] + kw * w->d[2] - (j->rows ? 0 : w->lo[2])) * c;
    if (!j->rows) {
        window_row(w, kw, &o0, &o1);
    }
    const int64_t first = MIN(MAX(o0 - o, 0), n), end = MAX(MIN(o1 - o, n), first);
    for (int64_t i = 0; i < first; i++) {
        table[i] = j->zero;
    }
    conv_pointers(table + first, at + first * step, (size_t)step, (size_t)(end - first));
    for (int64_t i = end; i < n; i++) {
        table[i] = j->zero;
    }
}

/* The same for all taps of n neighbouring outputs of row r = (image, od, oh); pitch: between taps
 * in the table. */
static void fill_taps(const struct dense_job *j, int64_t r, int64_t o, int64_t n, size_t pitch,
                      const float **table)
{
    const struct window *w = &j->v->w;
    const int64_t oh = r % w->out[1], od = r / w->out[1] % w->out[0];
    const int64_t image = r / (w->out[0] * w->out[1]), columns = j->rows ? 1 : w->k[2];
    for (int64_t kd = 0; kd < w->k[0]; kd++) {
        const int64_t d = od * w->s[0] + kd * w->d[0] - w->lo[0];
        for (int64_t kh = 0; kh < w->k[1]; kh++) {
            const int64_t h = oh * w->s[1] + kh * w->d[1] - w->lo[1];
            const bool inside = d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1];
            const int64_t row = (image * w->in[0] + d) * w->in[1] + h;
            for (int64_t kw = 0; kw < columns; kw++, table += pitch) {
                if (inside) {
                    fill_run(j, j->x + row * j->width * w->c, kw, o, n, table);
                }
                for (int64_t i = 0; i < n && !inside; i++) {
                    table[i] = j->zero;
                }
            }
        }
    }
}

/* Pixels [p0, p1) of all images, in the order of the output. */
static void fill_table(const struct dense_job *j, size_t p0, size_t p1, const float **table)
{
    const int64_t ow = j->v->w.out[2];
    for (size_t p = p0; p < p1;) {
        const int64_t r = (int64_t)p / ow, o = (int64_t)p % ow;
        const int64_t n = MIN(ow - o, (int64_t)(p1 - p));
        fill_taps(j, r, o, n, p1 - p0, table + (p - p0));
        p += (size_t)n;
    }
}

/* ---- Work ----------------------------------------------------------------------------------- */

void conv_dense_pixels(const struct dense_job *j, size_t g, size_t p0, size_t p1, size_t panel,
                       size_t panel_end, struct f32_later *later)
{
    const struct conv *v = j->v;
    const struct f32_panels *panels = &j->panels[g];
    const size_t at = p0 * j->y.pitch + g * (size_t)v->oc + f32_panels_column(panels, panel);
    const float *table[TABLE];
    struct dense_job group = *j;
    group.x += g * (size_t)v->ic;
    fill_table(&group, p0, p1, table);
    const struct f32_product p = {
        .kernels = j->kernels,
        .panels = panels,
        .panel = panel,
        .panel_end = panel_end,
        .x = table,
        .rows = p1 - p0,
        .pitch = p1 - p0,
        .segments = j->segments,
        .len = j->len,
        .block = v->block,
        .bias = v->bias ? (const float *)v->bias->data + g * (size_t)v->oc : NULL,
        .y = {.raw = j->y.raw ? j->y.raw + at : NULL,
              .act = j->y.act ? j->y.act + at : NULL,
              .pitch = j->y.pitch,
              .lo = j->y.lo,
              .hi = j->y.hi},
        .later = later,
    };
    f32_product_run(&p);
}

/* Item i: a group, a block of pixels, a part of the panels. */
static void run_item(void *ctx, size_t i)
{
    const struct dense_job *j = ctx;
    const size_t g = i / (j->blocks * j->chunks), rest = i % (j->blocks * j->chunks);
    const size_t block = rest / j->chunks, chunk = rest % j->chunks, count = j->panels[g].count;
    conv_dense_pixels(j, g, block * j->pixels / j->blocks, (block + 1) * j->pixels / j->blocks,
                      chunk * count / j->chunks, (chunk + 1) * count / j->chunks, NULL);
}

/* Most pixels of a piece. */
static size_t most_pixels(const struct conv *v, size_t segments)
{
    const size_t most = BLOCK_DATA / (size_t)MAX(v->ic, 1);
    return MIN(MIN(MAX(most, (size_t)F32_LANES), (size_t)BLOCK_MOST),
               TABLE / MAX(segments, (size_t)1));
}

/* How the work is split. */
static void plan_items(struct dense_job *j, size_t threads)
{
    j->blocks = (j->pixels + j->most - 1) / j->most;
    const size_t items = j->blocks * (size_t)j->v->groups;
    j->chunks = threads < 2 ? 1 : MIN((TASKS * threads + items - 1) / items, j->panels[0].count);
}

/* y [width][c] = a row of each of c planes, which are `plane` elements apart. */
VECTOR_CLONES static void join_planes(const float *restrict x, size_t plane, size_t c, size_t width,
                                      float *restrict y)
{
    if (c == 3) { /* colours */
        for (size_t i = 0; i < width; i++) {
            y[3 * i] = x[i];
            y[3 * i + 1] = x[plane + i];
            y[3 * i + 2] = x[2 * plane + i];
        }
        return;
    }
    for (size_t k = 0; k < c; k++) {
        for (size_t i = 0; i < width; i++) {
            y[i * c + k] = x[k * plane + i];
        }
    }
}

/* x with channels last and lo[2] and hi[2] zero pixels at the ends of every row. */
static int pad_rows(const struct conv *v, struct budget *b, struct tensor **out, struct err *err)
{
    const struct window *w = &v->w;
    const int64_t per = w->in[0] * w->in[1], rows = w->n * per,
                  width = w->lo[2] + w->in[2] + w->hi[2];
    const int64_t dims[] = {rows, width, w->c};
    int rc = tensor_new(DT_F32, 3, dims, b, out, err);
    const size_t lo = (size_t)(w->lo[2] * w->c), n = (size_t)(w->in[2] * w->c),
                 hi = (size_t)(w->hi[2] * w->c);
    for (int64_t r = 0; r < rows && !rc; r++) {
        float *y = (float *)(*out)->data + r * width * w->c;
        memset(y, 0, lo * sizeof *y);
        if (v->x->channels_last) {
            memcpy(y + lo, (const float *)v->x->data + (size_t)r * n, n * sizeof *y);
        } else {
            const int64_t image = r / per, row = image * per * w->c + r % per; /* of plane 0 */
            join_planes((const float *)v->x->data + row * w->in[2], (size_t)w->in_n, (size_t)w->c,
                        (size_t)w->in[2], y + lo);
        }
        memset(y + lo + n, 0, hi * sizeof *y);
    }
    return rc;
}

bool conv_dense_fits(const struct window *w)
{
    return w->k_n <= MAX_TAPS;
}

/* A row of taps is one run of neighbours when nothing lies between them: no dilation, and no
 * channels of other groups. */
static bool reads_rows(const struct conv *v)
{
    const struct window *w = &v->w;
    const bool padded = w->lo[2] || w->hi[2];
    return v->groups == 1 && w->k[2] > 1 && w->d[2] == 1 &&
           (!padded || (v->ic < FEW_CHANNELS && w->lo[2] + w->hi[2] <= w->in[2]));
}

bool conv_dense_copies(const struct conv *v)
{
    return !v->block && reads_rows(v) && (v->w.lo[2] || v->w.hi[2]);
}

int conv_dense_begin(const struct conv *v, const void *form, struct f32_dest y, struct budget *b,
                     struct dense_job *j, struct err *err)
{
    const struct window *w = &v->w;
    const struct pack *pack = form;
    *j = (struct dense_job){
        .v = v, .panels = pack->panels, .kernels = kernel_f32(), .x = v->x->data, .y = y};
    j->rows = !v->block && reads_rows(v);
    j->width = w->in[2];
    j->len = (size_t)(j->rows ? v->ic * w->k[2] : v->ic);
    j->segments = (size_t)(j->rows ? w->k[0] * w->k[1] : w->k_n);
    j->pixels = (size_t)(w->n * w->out_n);
    j->most = most_pixels(v, j->segments);
    j->y.pitch = (size_t)(v->groups * v->oc);
    const int64_t n_zeros = (int64_t)j->len;
    int rc = tensor_new(DT_F32, 1, &n_zeros, b, &j->zeros, err);
    if (!rc && conv_dense_copies(v)) {
        rc = pad_rows(v, b, &j->padded, err);
        j->x = rc ? NULL : j->padded->data;
        j->width = w->lo[2] + w->in[2] + w->hi[2];
    }
    if (rc) {
        conv_dense_end(j);
        return rc;
    }
    memset(j->zeros->data, 0, j->zeros->size);
    j->zero = j->zeros->data;
    return OK;
}

void conv_dense_end(struct dense_job *j)
{
    tensor_free(j->zeros);
    tensor_free(j->padded);
}

int conv_dense_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err)
{
    struct dense_job j;
    if (conv_dense_copies(v) && conv_scan_fits(v)) {
        conv_scan_run(v, form, y, par);
        return OK;
    }
    int rc = conv_dense_begin(v, form, y, b, &j, err);
    if (!rc) {
        plan_items(&j, par_threads(par));
        par_for(par, (size_t)v->groups * j.blocks * j.chunks, run_item, &j);
        conv_dense_end(&j);
    }
    return rc;
}
