/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_fast.c: CONV_2D and FULLY_CONNECTED, and codes of DEPTHWISE_CONV_2D: see tfl_fast.h. Codes
 * are convolutions of conv8.h. Floats keep the order of the runtime's sums: pixels lie as rows of
 * channels, so the filters are the vector side of chain() and eight pixels the broadcast side. Sums
 * that start from the bias have it as a tap of its own whose activation is 1.
 */
#include "engine/tfl_fast.h"

#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- Codes ---------------------------------------------------------------------------------- */

int tfl_filter_new(const struct tensor *w, bool depthwise, int32_t zero, struct conv8_filter **out,
                   struct err *err)
{
    const bool flat = w->rank == 2;
    if (w->n == 0 || (w->rank != 4 && !flat) || (depthwise && (flat || w->dims[0] != 1))) {
        return OK;
    }
    struct conv8_weights p = {
        .data = w->data,
        .dtype = w->dtype == DT_U8 ? DT_U8 : DT_S8, /* s4 is stored as s8 */
        .o = (size_t)w->dims[depthwise ? 3 : 0],
        .cg = depthwise ? 1 : (size_t)w->dims[flat ? 1 : 3],
        .kh = flat ? 1 : (size_t)w->dims[1],
        .kw = flat ? 1 : (size_t)w->dims[2],
    };
    p.g = depthwise ? p.o : 1;
    p.by_o = depthwise ? 1 : p.kh * p.kw * p.cg;
    p.by_c = 1;
    p.by_t = depthwise ? p.o : p.cg;
    int32_t *zeros = NULL;
    int rc = scratch_new(p.o, sizeof *zeros, (void **)&zeros, err);
    for (size_t o = 0; o < p.o && !rc; o++) {
        zeros[o] = zero;
    }
    p.zero = zeros;
    rc = rc ? rc : conv8_filter_new(&p, out, err);
    scratch_free(zeros);
    return rc;
}

bool tfl_fast_fits(const struct tfl_product *p)
{
    const struct op_call *c = p->c;
    if (p->depth < 1 || c->out[0]->n == 0) {
        return false;
    }
    if (p->wf) {
        return (p->panels || p->taps) && p->sum != TFL_LANES; /* of few products, and plain loops */
    }
    return p->filter && p->requant && dtype_size(c->in[0]->dtype) == 1 &&
           c->in[0]->dtype != DT_S4 && dtype_size(c->out[0]->dtype) == 1;
}

/* Roundings other than in float. */
static uint8_t code_of(const void *ctx, size_t o, int32_t v)
{
    const struct tfl_product *p = ctx;
    return (uint8_t)tfl_clamp((int64_t)tfl_apply(v, &p->requant[o]) + p->y.z, &p->y);
}

static int params_of(const struct tfl_product *p, int32_t zx, struct conv8_params *out,
                     struct err *err)
{
    int32_t *bias = NULL;
    int rc = scratch_new((size_t)p->filters, sizeof *bias, (void **)&bias, err);
    for (int64_t o = 0; o < p->filters && !rc; o++) {
        bias[o] = (int32_t)(uint32_t)(uint64_t)tfl_bias_at(p, o); /* sums wrap */
    }
    rc = rc ? rc : conv8_params_init(out, p->filter, zx, bias, err);
    for (size_t o = 0; o < (size_t)p->filters && !rc; o++) {
        conv8_params_scale(out, p->filter, o, p->requant[o].factor);
    }
    scratch_free(bias);
    return rc;
}

static int run_codes(const struct tfl_product *p, const struct conv_shape *s, struct err *err)
{
    struct conv8_params params = {0};
    const struct tensor *x = p->c->in[0], *y = p->c->out[0];
    const uint8_t flip = x->dtype == DT_S8 ? 0x80 : 0;
    int rc = params_of(p, p->x.z + flip, &params, err);
    if (!rc) {
        const struct conv8 job = {
            .kernels = kernel_int8(),
            .s = *s,
            .filter = p->filter,
            .params = &params,
            .x = x->data,
            .flip = flip,
            .zero = (uint8_t)(p->x.z + flip),
            .finish = {.dtype = y->dtype,
                       .lo = (float)(p->y.lo - p->y.z),
                       .hi = (float)(p->y.hi - p->y.z),
                       .z = p->y.z,
                       .code = p->requant->how == TFL_FLOAT ? NULL : code_of,
                       .ctx = p},
            .y = y->data,
        };
        rc = conv8_run(&job, p->c->par, err);
    }
    conv8_params_fini(&params);
    return rc;
}

static struct conv_shape shape_of(const struct tfl_product *p, const struct tfl_window *w)
{
    struct conv_shape s = {.n = w->n, .c = w->c, .h = w->h, .w = w->w, .o = p->filters};
    s.g = p->filter->depthwise ? w->c : 1;
    s.cg = p->filter->depthwise ? 1 : w->c;
    s.kh = w->kh, s.sh = w->sh, s.dh = w->dh, s.pt = w->pt, s.oh = w->oh;
    s.kw = w->kw, s.sw = w->sw, s.dw = w->dw, s.pl = w->pl, s.ow = w->ow;
    return s;
}

/* Rows are the pixels of one long row. */
static struct conv_shape shape_of_rows(const struct tfl_product *p, int64_t rows)
{
    return (struct conv_shape){.n = 1,
                               .c = p->depth,
                               .h = 1,
                               .w = rows,
                               .o = p->filters,
                               .cg = p->depth,
                               .kh = 1,
                               .kw = 1,
                               .g = 1,
                               .sh = 1,
                               .sw = 1,
                               .dh = 1,
                               .dw = 1,
                               .oh = 1,
                               .ow = rows};
}

/* ---- Floats --------------------------------------------------------------------------------- */

enum {
    BLOCK = 64,                     /* pixels whose patches are gathered at a time */
    GROUPS = BLOCK / TILE_ROWS,     /* of eight pixels */
    SIZE = sizeof(float),           /* of an element */
    ROW_BYTES = TILE_ROWS * SIZE,   /* one tap of a group */
    PANEL_BYTES = TILE_COLS * SIZE, /* one tap of a full panel */
};

/* w: [panels][taps][columns]; columns: 48, of the last panel 16 to 48. Tap 0 is the bias. */
struct tfl_panels {
    size_t filters, depth, taps;
    float *w;
};

void tfl_panels_free(struct tfl_panels *p)
{
    if (p) {
        scratch_free(p->w);
        free(p);
    }
}

/* Columns of the panel that starts at filter o0. */
static size_t panel_cols(const struct tfl_panels *p, size_t o0)
{
    return MIN((p->filters - o0 + 15) / 16 * 16, (size_t)TILE_COLS);
}

int tfl_panels_new(const struct tensor *w, const float *bias, struct tfl_panels **out,
                   struct err *err)
{
    struct tfl_panels *p = mem_alloc(sizeof *p);
    size_t n = 0;
    p->filters = (size_t)w->dims[0];
    p->depth = p->filters ? w->n / p->filters : 0;
    p->taps = p->depth + 1;
    int rc = mul_ok((p->filters + 15) / 16 * 16, p->taps, &n)
                 ? OK
                 : err_set(err, E_LIMIT, "weights too large to pack");
    rc = rc ? rc : scratch_new(n, sizeof *p->w, (void **)&p->w, err);
    if (rc) {
        tfl_panels_free(p);
        return rc;
    }
    memset(p->w, 0, n * sizeof *p->w);
    const float *src = w->data;
    for (size_t o = 0; o < p->filters; o++, src += p->depth) {
        size_t o0 = o / TILE_COLS * TILE_COLS, cols = panel_cols(p, o0);
        float *dst = p->w + o0 * p->taps + (o - o0);
        dst[0] = bias ? bias[o] : 0.0F;
        for (size_t k = 0; k < p->depth; k++) {
            dst[(k + 1) * cols] = src[k];
        }
    }
    *out = p;
    return OK;
}

struct job {
    const struct tfl_product *p;
    const struct tfl_panels *w;
    const struct int8_kernels *k;
    float *rows;        /* [GROUPS][taps][8] */
    float *patches;     /* [BLOCK][depth]; convolutions that must gather */
    size_t *off, *last; /* places of taps in full panels and in the last one */
};

static void job_fini(struct job *j)
{
    scratch_free(j->rows);
    scratch_free(j->patches);
    scratch_free(j->off);
}

static int job_init(struct job *j, const struct tfl_product *p, bool gathers, struct err *err)
{
    const struct tfl_panels *w = p->panels;
    *j = (struct job){.p = p, .w = w, .k = kernel_int8()};
    int rc = scratch_new(GROUPS * ROW_BYTES, w->taps, (void **)&j->rows, err);
    rc = rc || !gathers ? rc : scratch_new(BLOCK * SIZE, w->depth, (void **)&j->patches, err);
    rc = rc ? rc : scratch_new(2 * w->taps, sizeof *j->off, (void **)&j->off, err);
    if (rc) {
        return rc;
    }
    j->last = j->off + w->taps;
    size_t cols = panel_cols(w, (w->filters - 1) / TILE_COLS * TILE_COLS);
    for (size_t t = 0; t < w->taps; t++) {
        j->off[t] = t * PANEL_BYTES;
        j->last[t] = t * cols * SIZE;
    }
    return OK;
}

/* n <= BLOCK pixels into their groups. */
static void put_block(const struct job *j, const float *x, size_t n)
{
    const struct tfl_panels *w = j->w;
    for (size_t i = 0; i < n; i++, x += w->depth) {
        float *to = j->rows + i / TILE_ROWS * w->taps * TILE_ROWS + i % TILE_ROWS;
        to[0] = 1.0F;
        for (size_t k = 0; k < w->depth; k++) {
            to[(k + 1) * TILE_ROWS] = x[k];
        }
    }
}

/* Products and sums rounded by themselves, in blocks; the bias, tap 0, comes with tfl_sum_end(). */
static inline __attribute__((always_inline)) void apart(const float *panel, const size_t *off,
                                                        size_t taps, size_t block,
                                                        const float *rows, size_t cols, float *all)
{
    float sum[TILE_ROWS * TILE_COLS];
    for (size_t at = 1; at < taps; at += block) {
        memset(sum, 0, sizeof sum);
        for (size_t t = at; t < MIN(taps, at + block); t++) {
            const float *w = panel + off[t] / sizeof *w;
            for (size_t i = 0; i < TILE_ROWS; i++) {
                for (size_t j = 0; j < cols; j++) {
                    sum[i * TILE_COLS + j] += rows[t * TILE_ROWS + i] * w[j];
                }
            }
        }
        for (size_t i = 0; i < TILE_ROWS * TILE_COLS; i++) {
            all[i] = at > 1 ? all[i] + sum[i] : sum[i];
        }
    }
}

static void apart_plain(const float *panel, const size_t *off, size_t taps, size_t block,
                        const float *rows, size_t cols, float *all)
{
    apart(panel, off, taps, block, rows, cols, all);
}

#if defined(__x86_64__)
/* The same loops in wider registers; products and sums stay apart (-ffp-contract=off). */
__attribute__((target("avx2"))) static void apart_avx2(const float *panel, const size_t *off,
                                                       size_t taps, size_t block, const float *rows,
                                                       size_t cols, float *all)
{
    apart(panel, off, taps, block, rows, cols, all);
}
#else
#define apart_avx2 apart_plain
#endif

/* A group of pixels times the panel of filters o0, o0 + 1, ... to rows of the output. */
static void run_tile(const struct job *j, size_t o0, const float *rows, size_t n, float *y)
{
    const struct tfl_panels *w = j->w;
    const size_t *off = w->filters - o0 > TILE_COLS ? j->off : j->last;
    const float *panel = w->w + o0 * w->taps;
    const size_t cols = panel_cols(w, o0);
    _Alignas(64) float sum[TILE_ROWS * TILE_COLS];
    if (j->p->sum != TFL_FUSED) {
        (j->k == &kernel_int8_plain ? apart_plain : apart_avx2)(
            panel, off, w->taps, (size_t)j->p->block, rows, cols, sum);
    } else {
        j->k->chain(panel, off, w->taps, rows, (int)cols, true, sum);
    }
    for (size_t i = 0; i < n; i++) {
        tfl_out_floats(j->p, sum + i * TILE_COLS, o0, MIN(w->filters - o0, (size_t)TILE_COLS),
                       y + i * w->filters + o0);
    }
}

/* n <= BLOCK pixels of `depth` elements times all filters. */
static void run_block(const struct job *j, const float *x, size_t n, float *y)
{
    const struct tfl_panels *w = j->w;
    put_block(j, x, n);
    for (size_t o0 = 0; o0 < w->filters; o0 += TILE_COLS) {
        for (size_t i = 0; i < n; i += TILE_ROWS) {
            run_tile(j, o0, j->rows + i * w->taps, MIN(n - i, (size_t)TILE_ROWS),
                     y + i * w->filters);
        }
    }
}

static int float_rows(const struct tfl_product *p, size_t rows, struct err *err)
{
    struct job j;
    int rc = job_init(&j, p, false, err);
    const float *x = p->c->in[0]->data;
    float *y = p->c->out[0]->data;
    for (size_t i = 0; i < rows && !rc; i += BLOCK) {
        run_block(&j, x + i * j.w->depth, MIN(rows - i, (size_t)BLOCK), y + i * j.w->filters);
    }
    job_fini(&j);
    return rc;
}

static int float_conv(const struct tfl_product *p, const struct tfl_window *w, struct err *err)
{
    struct job j;
    int rc = job_init(&j, p, true, err);
    const float *x = p->c->in[0]->data;
    float *y = p->c->out[0]->data;
    int64_t pixels = w->oh * w->ow;
    for (int64_t image = 0; image < w->n && !rc; image++, x += w->h * w->w * w->c) {
        for (int64_t at = 0; at < pixels; at += BLOCK) {
            int64_t n = MIN(pixels - at, (int64_t)BLOCK);
            for (int64_t i = 0; i < n; i++) {
                tfl_gather(w, (const uint8_t *)x, (at + i) / w->ow, (at + i) % w->ow, SIZE, 0,
                           (uint8_t *)(j.patches + (size_t)i * j.w->depth));
            }
            run_block(&j, j.patches, (size_t)n, y + (size_t)(image * pixels + at) * j.w->filters);
        }
    }
    job_fini(&j);
    return rc;
}

/* ---- Layers --------------------------------------------------------------------------------- */

int tfl_fast_rows(const struct tfl_product *p, int64_t rows, struct err *err)
{
    if (p->wf) {
        return float_rows(p, (size_t)rows, err);
    }
    const struct conv_shape s = shape_of_rows(p, rows);
    return run_codes(p, &s, err);
}

int tfl_fast_conv(const struct tfl_product *p, const struct tfl_window *w, struct err *err)
{
    if (!p->wf) {
        const struct conv_shape s = shape_of(p, w);
        return run_codes(p, &s, err);
    }
    /* A filter of one pixel that moves by one and pads nothing sees pixels as they lie. */
    const bool as_is = w->kh == 1 && w->kw == 1 && w->sh == 1 && w->sw == 1;
    return as_is ? float_rows(p, (size_t)(w->n * w->h * w->w), err) : float_conv(p, w, err);
}

bool tfl_fast_depthwise_fits(const struct tfl_product *p, const struct tfl_window *w)
{
    return tfl_fast_fits(p) && (!p->wf || p->filters == w->c);
}

int tfl_fast_depthwise(const struct tfl_product *p, const struct tfl_window *w, struct err *err)
{
    if (p->wf) {
        return tfl_depthwise_floats(p, w);
    }
    const struct conv_shape s = shape_of(p, w);
    return run_codes(p, &s, err);
}
