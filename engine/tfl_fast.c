/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_fast.c: CONV_2D and FULLY_CONNECTED through the tiles of kernel_int8.h: see tfl_fast.h.
 * Pixels lie as rows of channels, so the filters are the vector side (u8) and eight pixels the
 * broadcast side (s8); a tile then is eight pieces of output rows.
 *
 * With x the code of an activation as s8, zx its zero point, w the code of a weight as u8, zw its
 * zero point in that form:
 *   sum (x - zx)(w - zw) = sum x w - zw sum x - zx sum (w - zw)
 * where the first term is the tile's, the second one belongs to the pixel, the third one to the
 * filter. Floats that start from the bias have it as a tap of its own whose activation is 1.
 */
#include "engine/tfl_fast.h"

#include "engine/op_quant.h"

#include <stdlib.h>

enum {
    BLOCK = 64,                     /* pixels whose patches are gathered at a time */
    GROUPS = BLOCK / TILE_ROWS,     /* of eight pixels */
    ROW_BYTES = TILE_ROWS * QUAD,   /* one tap of a group */
    PANEL_BYTES = TILE_COLS * QUAD, /* one tap of a full panel */
};

/* w: [panels][taps][columns][4 bytes]; columns: 48, of the last panel 16 to 48. A tap is four codes
 * or a float. */
struct tfl_panels {
    size_t filters, depth, taps;
    bool floats; /* of float32 weights; tap 0 is the bias */
    uint8_t *w;
    int32_t *sum; /* sum (w - zw) per filter */
    int32_t zero; /* zw in the form of w */
};

/* ---- Weights -------------------------------------------------------------------------------- */

void tfl_panels_free(struct tfl_panels *p)
{
    if (p) {
        free(p->w);
        free(p->sum);
        free(p);
    }
}

/* Columns of the panel that starts at filter o0. */
static size_t panel_cols(const struct tfl_panels *p, size_t o0)
{
    return MIN((p->filters - o0 + 15) / 16 * 16, (size_t)TILE_COLS);
}

static void fill_panels(struct tfl_panels *p, const struct tensor *t, uint8_t flip)
{
    const uint8_t *src = t->data;
    for (size_t o = 0; o < p->filters; o++, src += p->depth) {
        size_t o0 = o / TILE_COLS * TILE_COLS, cols = panel_cols(p, o0);
        uint8_t *dst = p->w + o0 * p->taps * QUAD + (o - o0) * QUAD;
        uint32_t sum = 0;
        for (size_t k = 0; k < p->depth; k++) {
            uint8_t v = src[k] ^ flip;
            dst[k / QUAD * cols * QUAD + k % QUAD] = v;
            sum += (uint32_t)(v - p->zero);
        }
        p->sum[o] = (int32_t)sum;
    }
}

static void fill_floats(struct tfl_panels *p, const struct tensor *t, const float *bias)
{
    const float *src = t->data;
    for (size_t o = 0; o < p->filters; o++, src += p->depth) {
        size_t o0 = o / TILE_COLS * TILE_COLS, cols = panel_cols(p, o0);
        float *dst = (float *)p->w + o0 * p->taps + (o - o0);
        dst[0] = bias ? bias[o] : 0.0F;
        for (size_t k = 0; k < p->depth; k++) {
            dst[(k + 1) * cols] = src[k];
        }
    }
}

int tfl_panels_new(const struct tensor *w, int32_t zero, const float *bias, struct tfl_panels **out,
                   struct err *err)
{
    struct tfl_panels *p = mem_alloc(sizeof *p);
    bool is_signed = w->dtype != DT_U8;
    size_t bytes = 0;
    p->floats = w->dtype == DT_F32;
    p->filters = (size_t)w->dims[0];
    p->depth = p->filters ? w->n / p->filters : 0;
    p->taps = p->floats ? p->depth + 1 : (p->depth + QUAD - 1) / QUAD;
    p->zero = zero + (is_signed ? 128 : 0);
    int rc = mul_ok((p->filters + 15) / 16 * 16 * QUAD, p->taps, &bytes)
                 ? OK
                 : err_set(err, E_LIMIT, "weights too large to pack");
    rc = rc ? rc : scratch_new(bytes, 1, (void **)&p->w, err);
    rc = rc ? rc : scratch_new(p->filters, sizeof *p->sum, (void **)&p->sum, err);
    if (rc) {
        tfl_panels_free(p);
        return rc;
    }
    memset(p->w, 0, bytes);
    if (p->floats) {
        fill_floats(p, w, bias);
    } else {
        fill_panels(p, w, is_signed ? 0x80 : 0);
    }
    *out = p;
    return OK;
}

bool tfl_fast_fits(const struct tfl_product *p)
{
    const struct op_call *c = p->c;
    if ((!p->panels && !p->taps) || p->depth < 1 || c->out[0]->n == 0) {
        return false;
    }
    if (p->wf) {
        return p->sum != TFL_LANES; /* of few products, and plain loops */
    }
    return p->requant && dtype_size(c->in[0]->dtype) == 1 && c->in[0]->dtype != DT_S4 &&
           dtype_size(c->out[0]->dtype) == 1;
}

/* ---- One product ---------------------------------------------------------------------------- */

struct job {
    const struct tfl_product *p;
    const struct tfl_panels *w;
    const struct int8_kernels *k;
    uint8_t flip;        /* makes activations s8 */
    struct tfl_out out;  /* how sums become codes */
    int8_t *rows;        /* [GROUPS][taps][8][4] */
    uint8_t *patches;    /* [BLOCK][depth]; convolutions that must gather */
    size_t *off, *last;  /* places of taps in full panels and in the last one */
    int32_t sums[BLOCK]; /* sum x per pixel */
};

static void job_fini(struct job *j)
{
    tfl_out_fini(&j->out);
    free(j->rows);
    free(j->patches);
    free(j->off);
}

static int job_init(struct job *j, const struct tfl_product *p, bool gathers, struct err *err)
{
    const struct tfl_panels *w = p->panels;
    *j = (struct job){.p = p, .w = w, .k = kernel_int8()};
    j->flip = p->c->in[0]->dtype == DT_U8 ? 0x80 : 0;
    int32_t zx = p->x.z - (j->flip ? 128 : 0);
    int rc = tfl_out_init(&j->out, p, err);
    rc = rc ? rc : scratch_new(GROUPS * ROW_BYTES, w->taps, (void **)&j->rows, err);
    size_t row = w->depth * dtype_size(p->c->in[0]->dtype); /* as the weights have in memory */
    rc = rc || !gathers ? rc : scratch_new(BLOCK, row, (void **)&j->patches, err);
    rc = rc ? rc : scratch_new(2 * w->taps, sizeof *j->off, (void **)&j->off, err);
    if (rc) {
        return rc;
    }
    j->last = j->off + w->taps;
    size_t cols = panel_cols(w, (w->filters - 1) / TILE_COLS * TILE_COLS);
    for (size_t t = 0; t < w->taps; t++) {
        j->off[t] = t * PANEL_BYTES;
        j->last[t] = t * cols * QUAD;
    }
    for (size_t o = 0; o < w->filters && !w->floats; o++) {
        j->out.add[o] = (int32_t)((uint32_t)j->out.add[o] - (uint32_t)zx * (uint32_t)w->sum[o]);
    }
    return OK;
}

/* Codes of one pixel into its place among the eight of a group; returns their sum. */
static int32_t put_pixel(const struct job *j, const uint8_t *src, int8_t *dst)
{
    size_t full = j->w->depth / QUAD, rest = j->w->depth % QUAD;
    const uint32_t flip = j->flip * 0x01010101U;
    int32_t sum = 0;
    for (size_t i = 0; i < j->w->depth; i++) {
        sum += (int8_t)(src[i] ^ j->flip);
    }
    for (size_t t = 0; t < full; t++) {
        uint32_t quad;
        memcpy(&quad, src + t * QUAD, QUAD);
        quad ^= flip;
        memcpy(dst + t * ROW_BYTES, &quad, QUAD);
    }
    if (rest) {
        int8_t *to = dst + full * ROW_BYTES;
        memset(to, 0, QUAD);
        for (size_t i = 0; i < rest; i++) {
            to[i] = (int8_t)(src[full * QUAD + i] ^ j->flip);
        }
    }
    return sum;
}

static void put_floats(const struct job *j, const float *src, float *dst)
{
    dst[0] = 1.0F;
    for (size_t k = 0; k < j->w->depth; k++) {
        dst[(k + 1) * TILE_ROWS] = src[k];
    }
}

/* n <= BLOCK pixels into their groups; size: of an element. */
static void put_block(struct job *j, const uint8_t *x, size_t n, size_t size)
{
    const struct tfl_panels *w = j->w;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = x + i * w->depth * size;
        int8_t *to = j->rows + i / TILE_ROWS * w->taps * ROW_BYTES + i % TILE_ROWS * QUAD;
        if (w->floats) {
            put_floats(j, (const float *)from, (float *)to);
        } else {
            j->sums[i] = put_pixel(j, from, to);
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
static void run_tile(const struct job *j, size_t o0, const int8_t *rows, const int32_t *sums,
                     size_t n, uint8_t *y)
{
    const struct tfl_panels *w = j->w;
    const size_t *off = w->filters - o0 > TILE_COLS ? j->off : j->last;
    const uint8_t *panel = w->w + o0 * w->taps * QUAD;
    size_t filters = MIN(w->filters - o0, (size_t)TILE_COLS);
    int cols = (int)panel_cols(w, o0);
    _Alignas(64) int32_t acc[TILE_ROWS * TILE_COLS];
    _Alignas(64) float sum[TILE_ROWS * TILE_COLS];
    if (w->floats && j->p->sum != TFL_FUSED) {
        (j->k == &kernel_int8_plain ? apart_plain : apart_avx2)(
            (const float *)panel, off, w->taps, (size_t)j->p->block, (const float *)rows,
            (size_t)cols, sum);
    } else if (w->floats) {
        j->k->chain((const float *)panel, off, w->taps, (const float *)rows, cols, true, sum);
    } else {
        j->k->tile(panel, off, w->taps, rows, cols, acc);
    }
    for (size_t i = 0; i < n; i++) {
        if (w->floats) {
            tfl_out_floats(j->p, sum + i * TILE_COLS, o0, filters,
                           (float *)y + i * w->filters + o0);
            continue;
        }
        int32_t add = (int32_t) - ((uint32_t)w->zero * (uint32_t)sums[i]);
        tfl_out_row(&j->out, j->k, acc + i * TILE_COLS, o0, filters, add, y + i * w->filters + o0);
    }
}

/* n <= BLOCK pixels of `depth` elements of `size` bytes times all filters. */
static void run_block(struct job *j, const uint8_t *x, size_t n, size_t size, uint8_t *y)
{
    const struct tfl_panels *w = j->w;
    put_block(j, x, n, size);
    for (size_t o0 = 0; o0 < w->filters; o0 += TILE_COLS) {
        for (size_t i = 0; i < n; i += TILE_ROWS) {
            run_tile(j, o0, j->rows + i * w->taps * QUAD, j->sums + i,
                     MIN(n - i, (size_t)TILE_ROWS), y + i * w->filters * size);
        }
    }
}

int tfl_fast_rows(const struct tfl_product *p, int64_t rows, struct err *err)
{
    struct job j;
    int rc = job_init(&j, p, false, err);
    size_t size = dtype_size(p->c->in[0]->dtype);
    const uint8_t *x = p->c->in[0]->data;
    uint8_t *y = p->c->out[0]->data;
    for (size_t i = 0; i < (size_t)rows && !rc; i += BLOCK) {
        run_block(&j, x + i * j.w->depth * size, MIN((size_t)rows - i, (size_t)BLOCK), size,
                  y + i * j.w->filters * size);
    }
    job_fini(&j);
    return rc;
}

/* A filter of one pixel that moves by one and pads nothing sees pixels as they lie. */
static bool sees_pixels(const struct tfl_window *w)
{
    return w->kh == 1 && w->kw == 1 && w->sh == 1 && w->sw == 1;
}

int tfl_fast_conv(const struct tfl_product *p, const struct tfl_window *w, struct err *err)
{
    if (sees_pixels(w)) {
        return tfl_fast_rows(p, w->n * w->h * w->w, err);
    }
    struct job j;
    int rc = job_init(&j, p, true, err);
    size_t size = dtype_size(p->c->in[0]->dtype);
    uint8_t fill = p->wf ? 0 : (uint8_t)p->x.z;
    const uint8_t *x = p->c->in[0]->data;
    uint8_t *y = p->c->out[0]->data;
    int64_t pixels = w->oh * w->ow;
    for (int64_t image = 0; image < w->n && !rc; image++) {
        for (int64_t at = 0; at < pixels; at += BLOCK) {
            int64_t n = MIN(pixels - at, (int64_t)BLOCK);
            for (int64_t i = 0; i < n; i++) {
                tfl_gather(w, x, (at + i) / w->ow, (at + i) % w->ow, size, fill,
                           j.patches + (size_t)i * j.w->depth * size);
            }
            run_block(&j, j.patches, (size_t)n, size,
                      y + (size_t)(image * pixels + at) * j.w->filters * size);
        }
        x += (size_t)(w->h * w->w * w->c) * size;
    }
    job_fini(&j);
    return rc;
}
