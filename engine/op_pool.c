/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_pool.c: MaxPool, AveragePool, LpPool and their global forms, in 1, 2 and 3 dimensions, for
 * float types and, MaxPool, for 8-bit codes. Everything is computed in double, which holds 8-bit
 * codes exactly, and rounded once. The fast forms work with channels last and give the same bits.
 */
#include "engine/elem.h"
#include "engine/kernel_f32.h"
#include "engine/par.h"
#include "engine/rows.h"
#include "engine/taps.h"

#include <math.h>
#include <stdlib.h>

/* A pool folds the elements of its window into one number. */
struct pool_kind {
    const char *name;
    double start;
    /* y[i] = fold(y[i], x[i * step]) for n outputs of a row; p: the exponent of LpPool. */
    void (*fold)(size_t n, double *y, const double *x, int64_t step, double p);
    /* Value of a window from its fold and the number of elements it counts. */
    double (*finish)(double y, double count, double p);
};

/* A NaN wins, so that it is seen further down. */
static void fold_max(size_t n, double *y, const double *x, int64_t step, double p)
{
    (void)p;
    for (size_t i = 0; i < n; i++) {
        const double v = x[(int64_t)i * step];
        y[i] = v > y[i] || isnan(v) ? v : y[i];
    }
}

static void fold_sum(size_t n, double *y, const double *x, int64_t step, double p)
{
    (void)p;
    for (size_t i = 0; i < n; i++) {
        y[i] += x[(int64_t)i * step];
    }
}

static void fold_power(size_t n, double *y, const double *x, int64_t step, double p)
{
    for (size_t i = 0; i < n; i++) {
        y[i] += pow(fabs(x[(int64_t)i * step]), p);
    }
}

static double finish_max(double y, double count, double p)
{
    (void)count, (void)p;
    return y;
}

static double finish_mean(double y, double count, double p)
{
    (void)p;
    return y / count;
}

static double finish_root(double y, double count, double p)
{
    (void)count;
    return pow(y, 1 / p);
}

/* Found by the node's name without "Global". */
static const struct pool_kind kinds[] = {
    {"MaxPool", -HUGE_VAL, fold_max, finish_max},
    {"AveragePool", 0, fold_sum, finish_mean},
    {"LpPool", 0, fold_power, finish_root},
};

static const struct pool_kind *kind_find(const char *name)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* One pool over one tensor. */
struct pool {
    const struct pool_kind *kind;
    struct window w;
    double p;
    bool count_pad;             /* padding counts in the mean */
    bool col_major;             /* how indices count */
    struct tensor *plane, *row; /* double: one input plane, one output row */
};

static int check_input(const struct tensor *x, const struct pool_kind *k, struct err *err)
{
    const bool codes = k->fold == fold_max && (x->dtype == DT_U8 || x->dtype == DT_S8);
    if (!dtype_is_float(x->dtype) && !codes) {
        return err_set(err, E_UNSUPPORTED, "input is %s, expected a float type%s",
                       dtype_name(x->dtype), k->fold == fold_max ? ", uint8 or int8" : "");
    }
    return OK;
}

static int read_exponent(const struct op_call *c, double *p, struct err *err)
{
    *p = (double)attr_int(c->node, "p", 2);
    return *p >= 1 ? OK : err_set(err, E_SHAPE, "p is %g, expected 1 or more", *p);
}

/* Elements that output position o counts along dimension a. */
static double axis_count(const struct pool *p, int a, int64_t o)
{
    const struct window *w = &p->w;
    int64_t k0, k1;
    if (!p->count_pad) {
        window_clip(w, a, o, &k0, &k1);
        return (double)(k1 - k0);
    }
    /* With ceil_mode the last window may stick out of the padding, too; that part never counts. */
    const int64_t room = w->in[a] + w->lo[a] + w->hi[a] - o * w->s[a];
    return (double)MIN(w->k[a], (room + w->d[a] - 1) / w->d[a]);
}

/* One row [od, oh] of outputs from one plane, into p->row. */
static void pool_row(const struct pool *p, int64_t od, int64_t oh)
{
    const struct window *w = &p->w;
    double *y = p->row->data;
    int64_t d0, d1, h0, h1;
    window_clip(w, 0, od, &d0, &d1);
    window_clip(w, 1, oh, &h0, &h1);
    for (int64_t o = 0; o < w->out[2]; o++) {
        y[o] = p->kind->start;
    }
    for (int64_t kd = d0; kd < d1; kd++) {
        for (int64_t kh = h0; kh < h1; kh++) {
            const int64_t d = od * w->s[0] - w->lo[0] + kd * w->d[0];
            const int64_t h = oh * w->s[1] - w->lo[1] + kh * w->d[1];
            const double *x = (const double *)p->plane->data + (d * w->in[1] + h) * w->in[2];
            for (int64_t k = 0; k < w->k[2]; k++) {
                int64_t o0, o1;
                window_row(w, k, &o0, &o1);
                if (o0 < o1) {
                    p->kind->fold((size_t)(o1 - o0), y + o0,
                                  x + o0 * w->s[2] + k * w->d[2] - w->lo[2], w->s[2], p->p);
                }
            }
        }
    }
    const double count = axis_count(p, 0, od) * axis_count(p, 1, oh);
    for (int64_t o = 0; o < w->out[2]; o++) {
        y[o] = p->kind->finish(y[o], count * axis_count(p, 2, o), p->p);
    }
}

/* Where in its plane the maximum y of output o came from: the first one in row-major order. */
static int64_t find_max(const struct pool *p, const int64_t *o, double y)
{
    const struct window *w = &p->w;
    int64_t k0[WINDOW_RANK], k1[WINDOW_RANK];
    for (int a = 0; a < WINDOW_RANK; a++) {
        window_clip(w, a, o[a], &k0[a], &k1[a]);
    }
    for (int64_t kd = k0[0]; kd < k1[0]; kd++) {
        for (int64_t kh = k0[1]; kh < k1[1]; kh++) {
            for (int64_t kw = k0[2]; kw < k1[2]; kw++) {
                const int64_t d = o[0] * w->s[0] - w->lo[0] + kd * w->d[0];
                const int64_t h = o[1] * w->s[1] - w->lo[1] + kh * w->d[1];
                const int64_t q = o[2] * w->s[2] - w->lo[2] + kw * w->d[2];
                const double x = ((double *)p->plane->data)[(d * w->in[1] + h) * w->in[2] + q];
                if (x == y || isnan(x)) {
                    return p->col_major ? d + w->in[0] * (h + w->in[1] * q)
                                        : (d * w->in[1] + h) * w->in[2] + q;
                }
            }
        }
    }
    return 0;
}

static void pool_planes(const struct pool *p, const struct tensor *x, struct tensor *y,
                        struct tensor *indices)
{
    const struct window *w = &p->w;
    size_t at = 0;
    for (int64_t c = 0; c < w->n * w->c; c++) {
        elem_get_f64(x, (size_t)(c * w->in_n), (size_t)w->in_n, p->plane->data);
        for (int64_t od = 0; od < w->out[0]; od++) {
            for (int64_t oh = 0; oh < w->out[1]; oh++, at += (size_t)w->out[2]) {
                pool_row(p, od, oh);
                elem_put_f64(y, at, (size_t)w->out[2], p->row->data);
                for (int64_t ow = 0; indices && ow < w->out[2]; ow++) {
                    const int64_t o[] = {od, oh, ow};
                    ((int64_t *)indices->data)[at + (size_t)ow] =
                        c * w->in_n + find_max(p, o, ((double *)p->row->data)[ow]);
                }
            }
        }
    }
}

static int pool_read(const struct op_call *c, struct pool *p, struct err *err)
{
    *p = (struct pool){.kind = kind_find(c->node->op),
                       .count_pad = attr_int(c->node, "count_include_pad", 0) != 0,
                       .col_major = attr_int(c->node, "storage_order", 0) != 0};
    int rc = check_input(c->in[0], p->kind, err);
    rc = rc ? rc : read_exponent(c, &p->p, err);
    return rc ? rc : window_read(c, c->in[0], NULL, &p->w, err);
}

static int pool(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct pool p;
    int64_t dims[MAX_RANK];
    int rc = pool_read(c, &p, err);
    if (rc) {
        return rc;
    }
    const bool indices = c->n_out > 1 && c->node->out[1] >= 0 && p.kind->fold == fold_max;
    const int rank = window_dims(&p.w, p.w.c, dims);
    rc = op_out(c, 0, x->dtype, rank, dims, err);
    if (!rc && indices) {
        rc = op_out(c, 1, DT_S64, rank, dims, err);
    }
    rc = rc ? rc : tensor_new(DT_F64, 1, &p.w.in_n, c->budget, &p.plane, err);
    rc = rc ? rc : tensor_new(DT_F64, 1, &p.w.out[2], c->budget, &p.row, err);
    if (!rc && c->out[0]->n > 0) {
        pool_planes(&p, x, c->out[0], indices ? c->out[1] : NULL);
    }
    tensor_free(p.plane);
    tensor_free(p.row);
    return rc;
}

/* ---- Channels last: the elements of a window are runs of channels --------------------------- */

/* NULL: not one that works with channels last. */
static taps_fn *last_find(const struct op_call *c)
{
    const char *name = c->node->op;
    name += strncmp(name, "Global", 6) == 0 ? 6 : 0;
    const bool indices = c->n_out > 1 && c->node->out[1] >= 0;
    const enum dtype d = c->in[0]->dtype;
    if (strcmp(name, "MaxPool") == 0 && !indices) {
        return d == DT_F32  ? taps_max_f32
               : d == DT_U8 ? taps_max_u8
               : d == DT_S8 ? taps_max_s8
                            : NULL;
    }
    return strcmp(name, "AveragePool") == 0 && d == DT_F32 ? taps_mean_f32 : NULL;
}

struct last_job {
    const struct pool *p;
    taps_fn *fold;
    size_t size; /* bytes of an element */
    const uint8_t *x;
    uint8_t *y;
};

/* Of a call whose output is there. */
static struct last_job last_new(const struct op_call *c, const struct pool *p)
{
    return (struct last_job){.p = p,
                             .fold = last_find(c),
                             .size = dtype_size(c->in[0]->dtype),
                             .x = c->in[0]->data,
                             .y = c->out[0]->data};
}

/* The pixels of one window in row-major order of the kernel; returns how many there are. */
static size_t find_taps(const struct last_job *j, int64_t image, const int64_t *o,
                        const uint8_t **taps)
{
    const struct window *w = &j->p->w;
    int64_t k0[WINDOW_RANK], k1[WINDOW_RANK];
    size_t n = 0;
    for (int a = 0; a < WINDOW_RANK; a++) {
        window_clip(w, a, o[a], &k0[a], &k1[a]);
    }
    for (int64_t kd = k0[0]; kd < k1[0]; kd++) {
        const int64_t d = image * w->in[0] + o[0] * w->s[0] - w->lo[0] + kd * w->d[0];
        for (int64_t kh = k0[1]; kh < k1[1]; kh++) {
            const int64_t h = d * w->in[1] + o[1] * w->s[1] - w->lo[1] + kh * w->d[1];
            const int64_t first = h * w->in[2] + o[2] * w->s[2] - w->lo[2];
            for (int64_t kw = k0[2]; kw < k1[2]; kw++) {
                taps[n++] = j->x + (size_t)((first + kw * w->d[2]) * w->c) * j->size;
            }
        }
    }
    return n;
}

/* How many windows from output o of a row on see the same pixels, each some further: those within
 * the input. */
static int64_t count_alike(const struct window *w, int64_t o)
{
    const int64_t first = o * w->s[2] - w->lo[2], end = w->in[2] - (w->k[2] - 1) * w->d[2];
    return first < 0 || first >= end ? 1 : MIN((end - 1 - first) / w->s[2] + 1, w->out[2] - o);
}

/* n windows that are alike, the first of which sees these. */
static void run_alike(const struct last_job *j, const struct taps *taps, const uint8_t **list,
                      size_t n, uint8_t *y)
{
    const struct window *w = &j->p->w;
    const size_t c = (size_t)w->c, step = (size_t)w->s[2] * c;
    if (j->fold == taps_max_f32) {
        kernel_f32()->largest((const float *const *)list, taps->n, c, step, n, (float *)y);
        return;
    }
    for (size_t i = 0; i < n; i++, y += c * j->size) {
        j->fold(taps, c, y);
        for (size_t t = 0; t < taps->n; t++) {
            list[t] += step * j->size;
        }
    }
}

/* Item i: a row of outputs. */
static void last_row(void *ctx, size_t i)
{
    const struct last_job *j = ctx;
    const struct window *w = &j->p->w;
    const size_t bytes = (size_t)w->c * j->size;
    const int64_t r = (int64_t)i;
    int64_t o[] = {r / w->out[1] % w->out[0], r % w->out[1], 0};
    uint8_t *y = j->y + i * (size_t)w->out[2] * bytes;
    const double count = axis_count(j->p, 0, o[0]) * axis_count(j->p, 1, o[1]);
    const uint8_t *list[TAPS_MOST];
    struct taps taps = {.list = list};
    for (int64_t n; o[2] < w->out[2]; o[2] += n, y += (size_t)n * bytes) {
        n = count_alike(w, o[2]);
        taps.n = find_taps(j, r / (w->out[0] * w->out[1]), o, list);
        taps.count = count * axis_count(j->p, 2, o[2]);
        run_alike(j, &taps, list, (size_t)n, y);
    }
}

/* Whether no window lies in the padding alone. */
static bool windows_have_taps(const struct window *w)
{
    for (int a = 0; a < WINDOW_RANK; a++) {
        for (int64_t o = 0; o < w->out[a]; o++) {
            int64_t k0, k1;
            window_clip(w, a, o, &k0, &k1);
            if (k0 == k1) {
                return false;
            }
        }
    }
    return true;
}

static enum op_layout pool_layout(const struct op_call *c)
{
    struct window w;
    const bool takes = last_find(c) && window_read(c, c->in[0], NULL, &w, NULL) == OK &&
                       w.k_n <= TAPS_MOST && windows_have_taps(&w);
    return takes ? LAYOUT_LAST : LAYOUT_ROWS;
}

struct rows_job {
    struct pool p;
    struct last_job last;
};

static void run_rows(const void *job, size_t from, size_t end, struct f32_later *later)
{
    const struct rows_job *j = job;
    (void)later;
    for (size_t i = from; i < end; i++) {
        last_row((void *)&j->last, i); /* it is not written */
    }
}

/* Row by row, of floats. */
static bool pool_rows(struct op_call *c, bool first, struct rows *r)
{
    const struct tensor *x = c->in[0];
    struct pool p;
    int64_t dims[MAX_RANK];
    if (first || !c->channels_last || x->dtype != DT_F32 || pool_layout(c) != LAYOUT_LAST ||
        pool_read(c, &p, NULL) || !rows_fit(&p.w)) {
        return false;
    }
    if (op_out(c, 0, DT_F32, window_dims(&p.w, p.w.c, dims), dims, NULL)) {
        return false;
    }
    struct rows_job *j = mem_alloc(sizeof *j);
    *j = (struct rows_job){p, last_new(c, &j->p)};
    *r = (struct rows){.w = p.w,
                       .y = {.raw = c->out[0]->data},
                       .row = (size_t)(p.w.out[2] * p.w.c),
                       .run = run_rows,
                       .free = free,
                       .job = j};
    return true;
}

static int pool_fast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct pool p;
    int64_t dims[MAX_RANK];
    if (!c->channels_last) {
        return pool(c, err);
    }
    int rc = pool_read(c, &p, err);
    rc = rc ? rc : op_out(c, 0, x->dtype, window_dims(&p.w, p.w.c, dims), dims, err);
    if (!rc && c->out[0]->n > 0) {
        struct last_job j = last_new(c, &p);
        par_for(c->par, (size_t)(p.w.n * p.w.out[0] * p.w.out[1]), last_row, &j);
    }
    return rc;
}

/* ---- Whole images --------------------------------------------------------------------------- */

/* y [n,c,1...] over all of [n,c,...]: makes the output. */
static int global_open(struct op_call *c, double *exponent, struct err *err)
{
    const struct tensor *x = c->in[0];
    int rc = check_input(x, kind_find(c->node->op + strlen("Global")), err);
    rc = rc ? rc : read_exponent(c, exponent, err);
    if (!rc && x->rank < 2) {
        rc = err_set(err, E_SHAPE, "input has rank %d, expected at least 2", x->rank);
    }
    int64_t dims[MAX_RANK];
    for (int d = 0; d < x->rank; d++) {
        dims[d] = d < 2 ? x->dims[d] : 1;
    }
    return rc ? rc : op_out(c, 0, x->dtype, x->rank, dims, err);
}

static int global_pool(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    const struct pool_kind *k = kind_find(c->node->op + strlen("Global"));
    double exponent;
    int rc = global_open(c, &exponent, err);
    struct tensor *y = c->out[0];
    const size_t n = rc || y->n == 0 ? 0 : x->n / y->n;
    for (size_t i = 0; !rc && i < y->n; i++) {
        double fold = k->start, block[ELEM_BLOCK];
        for (size_t at = 0, m; at < n; at += m) {
            m = MIN(n - at, (size_t)ELEM_BLOCK);
            elem_get_f64(x, i * n + at, m, block);
            for (size_t e = 0; e < m; e++) {
                k->fold(1, &fold, block + e, 1, exponent);
            }
        }
        fold = k->finish(fold, (double)n, exponent);
        elem_put_f64(y, i, 1, &fold);
    }
    return rc;
}

struct global_job {
    taps_fn *fold;
    const struct tensor *x, *y;
    size_t pixels, parts; /* of an image; of its channels */
};

/* Item i: TAPS_LANES channels of an image. */
static void global_part(void *ctx, size_t i)
{
    const struct global_job *j = ctx;
    const size_t size = dtype_size(j->x->dtype), c = (size_t)j->x->dims[1];
    const size_t image = i / j->parts, from = i % j->parts * TAPS_LANES;
    const struct taps taps = {
        .n = j->pixels,
        .first = (const uint8_t *)j->x->data + (image * j->pixels * c + from) * size,
        .step = c * size,
        .count = (double)j->pixels,
    };
    j->fold(&taps, MIN(c - from, (size_t)TAPS_LANES),
            (uint8_t *)j->y->data + (image * c + from) * size);
}

static int global_fast(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    double exponent;
    if (!c->channels_last || x->n == 0) {
        return global_pool(c, err);
    }
    int rc = global_open(c, &exponent, err);
    if (!rc) {
        struct global_job j = {.fold = last_find(c),
                               .x = x,
                               .y = c->out[0],
                               .pixels = x->n / c->out[0]->n,
                               .parts = ((size_t)x->dims[1] + TAPS_LANES - 1) / TAPS_LANES};
        par_for(c->par, (size_t)x->dims[0] * j.parts, global_part, &j);
    }
    return rc;
}

static enum op_layout global_layout(const struct op_call *c)
{
    return last_find(c) ? LAYOUT_LAST : LAYOUT_ROWS;
}

#define ROW(op_name, first, ref_fn, fast_fn, layout_fn, rows_fn, spec_text)                        \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 1, .max_in = 1, .ref = (ref_fn),            \
        .fast = (fast_fn), .spec = (spec_text), .layout = (layout_fn), .rows = (rows_fn)           \
    }

const struct op op_pool[] = {
    ROW("MaxPool", 1, pool, pool_fast, pool_layout, pool_rows, "ONNX MaxPool-22"),
    ROW("AveragePool", 1, pool, pool_fast, pool_layout, pool_rows, "ONNX AveragePool-22"),
    ROW("LpPool", 2, pool, NULL, NULL, NULL, "ONNX LpPool-22"),
    ROW("GlobalMaxPool", 1, global_pool, global_fast, global_layout, NULL, "ONNX GlobalMaxPool-22"),
    ROW("GlobalAveragePool", 1, global_pool, global_fast, global_layout, NULL,
        "ONNX GlobalAveragePool-22"),
    ROW("GlobalLpPool", 2, global_pool, NULL, NULL, NULL, "ONNX GlobalLpPool-22"),
    {0},
};
