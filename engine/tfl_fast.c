/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_fast.c: CONV_2D and FULLY_CONNECTED on 8-bit codes through the tiles of kernel_int8.h: see
 * tfl_fast.h. Pixels lie as rows of channels, so the filters are the vector side (u8) and eight
 * pixels the broadcast side (s8); a tile then is eight pieces of output rows.
 *
 * With x the code of an activation as s8, zx its zero point, w the code of a weight as u8, zw its
 * zero point in that form:
 *   sum (x - zx)(w - zw) = sum x w - zw sum x - zx sum (w - zw)
 * where the first term is the tile's, the second one belongs to the pixel, the third one to the
 * filter.
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

struct tfl_panels {
    size_t filters, depth, taps; /* taps: quads of depth, rounded up */
    uint8_t *w;                  /* [panels][taps][columns][4]; columns: 48, of the last 16 to 48 */
    int32_t *sum;                /* sum (w - zw) per filter */
    int32_t zero;                /* zw in the form of w */
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

int tfl_panels_new(const struct tensor *w, int32_t zero, struct tfl_panels **out, struct err *err)
{
    struct tfl_panels *p = mem_alloc(sizeof *p);
    bool is_signed = w->dtype != DT_U8;
    size_t bytes = 0;
    p->filters = (size_t)w->dims[0];
    p->depth = p->filters ? w->n / p->filters : 0;
    p->taps = (p->depth + QUAD - 1) / QUAD;
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
    fill_panels(p, w, is_signed ? 0x80 : 0);
    *out = p;
    return OK;
}

bool tfl_fast_fits(const struct tfl_product *p)
{
    const struct op_call *c = p->c;
    return p->requant && (p->panels || p->taps) && dtype_size(c->in[0]->dtype) == 1 &&
           c->in[0]->dtype != DT_S4 && dtype_size(c->out[0]->dtype) == 1 && c->out[0]->n > 0 &&
           p->depth > 0;
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
    rc = rc || !gathers ? rc : scratch_new(BLOCK, w->depth, (void **)&j->patches, err);
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
    for (size_t o = 0; o < w->filters; o++) {
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

/* n <= BLOCK pixels of `depth` codes times all filters, to output elements from `at` on. */
static void run_block(struct job *j, const uint8_t *x, size_t n, uint8_t *y)
{
    const struct tfl_panels *w = j->w;
    size_t group = w->taps * ROW_BYTES;
    for (size_t i = 0; i < n; i++) {
        int8_t *to = j->rows + i / TILE_ROWS * group + i % TILE_ROWS * QUAD;
        j->sums[i] = put_pixel(j, x + i * w->depth, to);
    }
    _Alignas(64) int32_t acc[TILE_ROWS * TILE_COLS];
    for (size_t o0 = 0; o0 < w->filters; o0 += TILE_COLS) {
        size_t cols = panel_cols(w, o0), filters = MIN(w->filters - o0, (size_t)TILE_COLS);
        const size_t *off = w->filters - o0 > TILE_COLS ? j->off : j->last;
        for (size_t i0 = 0; i0 < n; i0 += TILE_ROWS) {
            j->k->tile(w->w + o0 * w->taps * QUAD, off, w->taps, j->rows + i0 / TILE_ROWS * group,
                       (int)cols, acc);
            for (size_t i = i0; i < MIN(n, i0 + TILE_ROWS); i++) {
                int32_t add = (int32_t) - ((uint32_t)w->zero * (uint32_t)j->sums[i]);
                tfl_out_row(&j->out, j->k, acc + (i - i0) * TILE_COLS, o0, filters, add,
                            y + i * w->filters + o0);
            }
        }
    }
}

int tfl_fast_rows(const struct tfl_product *p, int64_t rows, struct err *err)
{
    struct job j;
    int rc = job_init(&j, p, false, err);
    const uint8_t *x = p->c->in[0]->data;
    uint8_t *y = p->c->out[0]->data;
    for (size_t i = 0; i < (size_t)rows && !rc; i += BLOCK) {
        run_block(&j, x + i * j.w->depth, MIN((size_t)rows - i, (size_t)BLOCK),
                  y + i * j.w->filters);
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
    const uint8_t *x = p->c->in[0]->data;
    uint8_t *y = p->c->out[0]->data;
    int64_t pixels = w->oh * w->ow;
    for (int64_t image = 0; image < w->n && !rc; image++, x += w->h * w->w * w->c) {
        for (int64_t at = 0; at < pixels; at += BLOCK) {
            int64_t n = MIN(pixels - at, (int64_t)BLOCK);
            for (int64_t i = 0; i < n; i++) {
                tfl_gather(w, x, (at + i) / w->ow, (at + i) % w->ow, 1, (uint8_t)p->x.z,
                           j.patches + (size_t)i * j.w->depth);
            }
            run_block(&j, j.patches, (size_t)n, y + (size_t)(image * pixels + at) * j.w->filters);
        }
    }
    job_fini(&j);
    return rc;
}
