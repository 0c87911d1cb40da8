/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_depth.c: depthwise convolutions with channels last: each channel has a filter of its own, so
 * that channels fill the vectors and neighbouring outputs share what they read.
 */
#include "engine/conv_f32.h"
#include "engine/par.h"
#include "engine/pool.h"

enum {
    TABLE = 8192,    /* pointers for a row of outputs; on the stack of the thread */
    LEAST = 4,       /* outputs at a time that repay filling it */
    STRIP = 2048,    /* floats of a row of a strip: what the next row sees stays in the L1 cache */
    STRIP_LEAST = 8, /* outputs of a row of a strip */
    ROWS = 8,        /* rows that pass strip by strip, where threads do not ask for fewer */
    TASKS = 4,       /* pieces of work per thread */
};

void conv_depth_free(void *form)
{
    pool_give(form);
}

int conv_depth_pack(const struct tensor *w, void **form, struct err *err)
{
    const size_t c = (size_t)w->dims[0], taps = w->n / MAX(c, (size_t)1);
    float *p = pool_take(w->size);
    if (!p) {
        return err_set(err, E_LIMIT, "out of memory for %zu bytes of packed weights", w->size);
    }
    for (size_t i = 0; i < c; i++) {
        for (size_t t = 0; t < taps; t++) {
            const size_t at = (i * taps + t) * sizeof *p;
            memcpy(&p[t * c + i], (const uint8_t *)w->data + at, sizeof *p);
        }
    }
    *form = p;
    return OK;
}

/* Pixels that n neighbouring outputs of a row reach. */
static size_t reach(const struct window *w, size_t n)
{
    return (n - 1) * (size_t)w->s[2] + (size_t)((w->k[2] - 1) * w->d[2]) + 1;
}

/* table[i] = pixel first + i of a row, or zeros where the row has none; row: NULL for a row of the
 * padding. */
static void fill_row(const struct depth_job *j, const float *row, int64_t first, int64_t n,
                     const float **table)
{
    const struct window *w = &j->v->w;
    const int64_t begin = row ? MIN(MAX(-first, 0), n) : n;
    const int64_t end = MAX(MIN(w->in[2] - first, n), begin);
    for (int64_t i = 0; i < begin; i++) {
        table[i] = j->zero;
    }
    if (begin < end) {
        conv_pointers(table + begin, row + (first + begin) * w->c, (size_t)w->c,
                      (size_t)(end - begin));
    }
    for (int64_t i = end; i < n; i++) {
        table[i] = j->zero;
    }
}

/* Where the pixels lie that outputs from `o` on of row r = (image, od, oh) see: [kd*kh][n]. */
static void fill_table(const struct depth_job *j, int64_t r, int64_t o, int64_t n,
                       const float **table)
{
    const struct window *w = &j->v->w;
    const int64_t oh = r % w->out[1], od = r / w->out[1] % w->out[0];
    const int64_t image = r / (w->out[0] * w->out[1]), first = o * w->s[2] - w->lo[2];
    for (int64_t kd = 0; kd < w->k[0]; kd++) {
        const int64_t d = od * w->s[0] + kd * w->d[0] - w->lo[0];
        for (int64_t kh = 0; kh < w->k[1]; kh++, table += n) {
            const int64_t h = oh * w->s[1] + kh * w->d[1] - w->lo[1];
            const bool inside = d >= 0 && d < w->in[0] && h >= 0 && h < w->in[1];
            const int64_t row = ((image * w->in[0] + d) * w->in[1] + h) * w->in[2];
            fill_row(j, inside ? (const float *)j->v->x->data + row * w->c : NULL, first, n, table);
        }
    }
}

/* Outputs [o, o + n) of row r of all images. */
static void run_strip(const struct depth_job *j, size_t r, size_t o, size_t n)
{
    const struct window *w = &j->v->w;
    const size_t wide = reach(w, n), to = (r * (size_t)w->out[2] + o) * (size_t)w->c;
    const float *table[TABLE];
    fill_table(j, (int64_t)r, (int64_t)o, (int64_t)wide, table);
    struct f32_depth d = {
        .x = table,
        .pitch = wide,
        .step = (size_t)w->s[2],
        .gap = (size_t)w->d[2],
        .kh = (size_t)(w->k[0] * w->k[1]),
        .kw = (size_t)w->k[2],
        .w = j->w,
        .c = (size_t)w->c,
        .bias = j->v->bias ? j->v->bias->data : NULL,
        .y = j->y,
    };
    d.y.raw = j->y.raw ? j->y.raw + to : NULL;
    d.y.act = j->y.act ? j->y.act + to : NULL;
    j->kernels->depth(&d, n);
}

void conv_depth_rows(const struct depth_job *j, size_t from, size_t end)
{
    const size_t n = (size_t)j->v->w.out[2];
    for (size_t i = 0; i < j->strips; i++) {
        const size_t o = i * n / j->strips, o_end = (i + 1) * n / j->strips;
        for (size_t r = from; r < end; r++) {
            run_strip(j, r, o, o_end - o);
        }
    }
}

/* Outputs whose pixels the table holds. */
static size_t part_of(const struct window *w)
{
    const size_t rows = (size_t)(w->k[0] * w->k[1]), one = reach(w, 1);
    return rows > TABLE || one > TABLE / rows ? 0 : (TABLE / rows - one) / (size_t)w->s[2] + 1;
}

bool conv_depth_fits(const struct window *w)
{
    return part_of(w) >= LEAST;
}

int conv_depth_begin(const struct conv *v, const void *form, struct f32_dest y, struct budget *b,
                     struct depth_job *j, struct err *err)
{
    const struct window *w = &v->w;
    *j = (struct depth_job){.v = v, .kernels = kernel_f32(), .w = form, .y = y};
    int rc = tensor_new(DT_F32, 1, &w->c, b, &j->zeros, err);
    if (rc) {
        return rc;
    }
    memset(j->zeros->data, 0, j->zeros->size);
    j->zero = j->zeros->data;
    j->y.pitch = (size_t)w->c;
    const size_t most = MIN(part_of(w), MAX(STRIP / (size_t)w->c, (size_t)STRIP_LEAST));
    j->strips = ((size_t)w->out[2] + most - 1) / most;
    return OK;
}

void conv_depth_end(struct depth_job *j)
{
    tensor_free(j->zeros);
}

static void run_rows(void *ctx, size_t from, size_t to)
{
    conv_depth_rows(ctx, from, to);
}

int conv_depth_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err)
{
    const struct window *w = &v->w;
    struct depth_job j;
    int rc = conv_depth_begin(v, form, y, b, &j, err);
    if (!rc) {
        const size_t rows = (size_t)(w->n * w->out[0] * w->out[1]);
        const size_t threads = par_threads(par);
        const size_t each = threads > 1 ? MIN(rows / (TASKS * threads), (size_t)ROWS) : ROWS;
        par_pieces(par, rows, MAX(each, (size_t)1), run_rows, &j);
        conv_depth_end(&j);
    }
    return rc;
}
