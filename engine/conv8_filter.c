/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv8_filter.c: packs the weights of integer convolutions, once per plan where they are constant,
 * and works out what corrects for zero points; see conv8.h.
 */
#include "engine/conv8.h"

#include "engine/op_quant.h"

#include <stdlib.h>

/* ---- Zero points ---------------------------------------------------------------------------- */

static int32_t weight_at(const struct conv8_weights *w, size_t i)
{
    return w->dtype == DT_S8 ? ((const int8_t *)w->data)[i] : ((const uint8_t *)w->data)[i];
}

/* What takes the whole type to s8. */
static int32_t type_shift(const struct conv8_weights *w)
{
    return w->dtype == DT_U8 ? -INT8_MIN : 0;
}

/* Whether all weights of channel o minus its zero point fit s8. */
static bool zero_fits(const struct conv8_weights *w, size_t o)
{
    for (size_t c = 0; c < w->cg; c++) {
        for (size_t t = 0; t < w->kh * w->kw; t++) {
            int32_t d = weight_at(w, o * w->by_o + c * w->by_c + t * w->by_t) - w->zero[o];
            if (d < INT8_MIN || d > INT8_MAX) {
                return false;
            }
        }
    }
    return true;
}

/* The zero point itself if it can be, since then no correction is left to do. */
static int32_t choose_shift(const struct conv8_weights *w, size_t o)
{
    const int32_t shift = type_shift(w);
    return w->zero[o] != shift && zero_fits(w, o) ? w->zero[o] : shift;
}

/* ---- Dense filters -------------------------------------------------------------------------- */

/* Up to BLOCK_COLS channels from o on, side by side. */
struct block {
    const uint8_t *from[BLOCK_COLS];
    uint32_t shift[BLOCK_COLS]; /* four times */
    size_t n;
};

/* Four bytes minus four others, each for itself. */
static uint32_t subtract_bytes(uint32_t a, uint32_t b)
{
    const uint32_t high = 0x80808080u;
    return ((a | high) - (b & ~high)) ^ ((a ^ ~b) & high);
}

static void put_quad(int8_t *dst, uint32_t four, uint32_t shift)
{
    four = shift ? subtract_bytes(four, shift) : four;
    memcpy(dst, &four, sizeof four);
}

/* Channels, then taps in memory; whole quads of channels. */
static void pack_strided(const struct conv8_weights *w, const struct block *b, int8_t *dst)
{
    const size_t taps = w->kh * w->kw, quads = w->cg / QUAD, by_c = w->by_c;
    for (size_t q = 0; q < quads; q++) {
        for (size_t t = 0; t < taps; t++) {
            int8_t *line = dst + (t * quads + q) * BLOCK_COLS * QUAD;
            for (size_t i = 0; i < b->n; i++) {
                const uint8_t *p = b->from[i] + q * QUAD * by_c + t * w->by_t;
                const uint8_t v[QUAD] = {p[0], p[by_c], p[2 * by_c], p[3 * by_c]};
                uint32_t four;
                memcpy(&four, v, sizeof four);
                put_quad(line + i * QUAD, four, b->shift[i]);
            }
        }
    }
}

/* Taps, then channels in memory: k as it comes. */
static void pack_straight(const struct block *b, size_t k, int8_t *dst)
{
    for (size_t q = 0; q < k / QUAD; q++) {
        for (size_t i = 0; i < b->n; i++) {
            uint32_t four;
            memcpy(&four, b->from[i] + q * QUAD, sizeof four);
            put_quad(dst + (q * BLOCK_COLS + i) * QUAD, four, b->shift[i]);
        }
    }
}

/* Any order and number, from product k0 on. */
static void pack_rest(const struct conv8_weights *w, const struct block *b, size_t k0, int8_t *dst)
{
    const size_t k = w->cg * w->kh * w->kw;
    for (size_t at = k0; at < k; at++) {
        const size_t from = at % w->cg * w->by_c + at / w->cg * w->by_t;
        for (size_t i = 0; i < b->n; i++) {
            dst[(at / QUAD * BLOCK_COLS + i) * QUAD + at % QUAD] =
                (int8_t)(b->from[i][from] - (uint8_t)b->shift[i]);
        }
    }
}

static uint32_t sum_signed(const int8_t *p, size_t n)
{
    enum { RUN = 128 }; /* of which 16 bits hold the sum */
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i += RUN) {
        const size_t end = MIN(n, i + RUN);
        int16_t part = 0;
        for (size_t k = i; k < end; k++) {
            part = (int16_t)(part + p[k]);
        }
        sum += (uint32_t)part;
    }
    return sum;
}

static uint32_t sum_weights(const struct conv8_weights *w, size_t o)
{
    const size_t taps = w->kh * w->kw, k = w->cg * taps;
    const bool together = w->cg == 1 || taps == 1 || w->by_c * w->by_t == MAX(w->cg, taps);
    const bool unit = MIN(w->cg == 1 ? SIZE_MAX : w->by_c, taps == 1 ? SIZE_MAX : w->by_t) == 1;
    if (w->dtype == DT_S8 && together && unit) {
        return sum_signed((const int8_t *)w->data + o * w->by_o, k);
    }
    uint32_t sum = 0;
    for (size_t c = 0; c < w->cg; c++) {
        for (size_t t = 0; t < taps; t++) {
            sum += (uint32_t)weight_at(w, o * w->by_o + c * w->by_c + t * w->by_t);
        }
    }
    return sum;
}

static void pack_block(struct conv8_filter *f, const struct conv8_weights *w, size_t set, size_t c0)
{
    const size_t og = f->o / f->g, k = f->k;
    int8_t *dst = gemm8_column(&f->right, set, c0);
    struct block b = {.n = MIN(og - c0, (size_t)BLOCK_COLS)};
    for (size_t i = 0; i < b.n; i++) {
        const size_t o = set * og + c0 + i;
        const int32_t shift = choose_shift(w, o);
        b.from[i] = (const uint8_t *)w->data + o * w->by_o;
        b.shift[i] = (uint32_t)(uint8_t)shift * 0x01010101u;
        f->zero[o] = w->zero[o] - shift;
        f->sum[o] = (int32_t)(sum_weights(w, o) - (uint32_t)shift * (uint32_t)k);
    }
    size_t done = 0;
    if (w->kh * w->kw == 1 ? w->by_c == 1 : w->by_c == 1 && w->by_t == w->cg) {
        pack_straight(&b, k, dst);
        done = k / QUAD * QUAD;
    } else if (w->cg % QUAD == 0) {
        pack_strided(w, &b, dst);
        done = k;
    }
    pack_rest(w, &b, done, dst);
}

static int pack_dense(struct conv8_filter *f, const struct conv8_weights *w, struct err *err)
{
    const size_t og = f->o / f->g;
    bool zeros = false;
    int rc = gemm8_right_init(&f->right, f->g, f->k, og, err);
    if (rc) {
        return rc;
    }
    f->total = f->g * f->right.width;
    for (size_t set = 0; set < f->g; set++) {
        for (size_t c = 0; c < og; c += BLOCK_COLS) {
            pack_block(f, w, set, c);
        }
    }
    for (size_t o = 0; o < f->o; o++) {
        zeros = zeros || f->zero[o];
    }
    return zeros ? gemm8_right_sum_rows(&f->right, err) : OK;
}

/* ---- Depthwise filters ---------------------------------------------------------------------- */

size_t conv8_slot(size_t kh, size_t kw, size_t ky, size_t kx)
{
    return kh == 3 && kw == 3 ? kx * QUAD + ky : kx * kh + ky;
}

/* For vpdpbusd: 64 channels, then four slots at a time. A register has the bytes of the four side
 * by side; which channels, see interleave() in kernel_int8_vnni.c. */
static void pack_quads(const struct depthwise_filter *d, int8_t *dst)
{
    for (size_t c = 0; c < d->width; c++) {
        const size_t part = c % STRIP_COLS / 16, reg = c % 16 / 4;
        int8_t *block = dst + c / STRIP_COLS * STRIP_COLS * d->slots;
        for (size_t t = 0; t < d->slots; t++) {
            block[(t / QUAD * 4 + reg) * 64 + (part * 4 + c % 4) * QUAD + t % QUAD] =
                (int8_t)d->w[t * d->width + c];
        }
    }
}

/* Weights of channel o minus its zero point; whether they fit s8. */
static bool widen_channel(struct conv8_filter *f, const struct conv8_weights *w, size_t o,
                          int16_t *codes)
{
    uint32_t sum = 0;
    bool fits = true;
    for (size_t ky = 0; ky < w->kh; ky++) {
        for (size_t kx = 0; kx < w->kw; kx++) {
            const size_t from = o * w->by_o + (ky * w->kw + kx) * w->by_t;
            const int32_t v = weight_at(w, from) - w->zero[o];
            codes[conv8_slot(w->kh, w->kw, ky, kx) * f->dw.width + o] = (int16_t)v;
            fits = fits && v >= INT8_MIN && v <= INT8_MAX;
            sum += (uint32_t)v;
        }
    }
    f->sum[o] = (int32_t)sum;
    f->zero[o] = 0;
    return fits;
}

static int pack_depthwise(struct conv8_filter *f, const struct conv8_weights *w, struct err *err)
{
    struct depthwise_filter *d = &f->dw;
    int16_t *codes = NULL;
    int8_t *quads = NULL;
    size_t n = 0;
    bool fits = true;
    d->channels = f->o;
    f->total = d->width = (f->o + STRIP_COLS - 1) / STRIP_COLS * STRIP_COLS;
    d->slots = conv8_slot(w->kh, w->kw, w->kh - 1, w->kw - 1) / QUAD * QUAD + QUAD;
    int rc = mul_ok(d->width, d->slots, &n) ? OK : err_set(err, E_LIMIT, "filter too large");
    rc = rc ? rc : scratch_new(n, sizeof *codes, (void **)&codes, err);
    if (rc) {
        return rc;
    }
    d->w = codes;
    memset(codes, 0, n * sizeof *codes);
    for (size_t o = 0; o < f->o; o++) {
        fits = widen_channel(f, w, o, codes) && fits;
    }
    rc = fits ? scratch_new(n, 1, (void **)&quads, err) : OK;
    if (!rc && fits) {
        pack_quads(d, quads);
        d->quads = quads;
    }
    return rc;
}

/* ---- Life ----------------------------------------------------------------------------------- */

void conv8_filter_free(struct conv8_filter *f)
{
    if (f) {
        gemm8_right_fini(&f->right);
        free((void *)f->dw.w);
        free((void *)f->dw.quads);
        free(f->sum);
        free(f->zero);
        free(f);
    }
}

int conv8_filter_new(const struct conv8_weights *w, struct conv8_filter **out, struct err *err)
{
    struct conv8_filter *f = mem_alloc(sizeof *f);
    *f = (struct conv8_filter){.g = w->g, .o = w->o, .k = w->cg * w->kh * w->kw};
    f->depthwise = w->cg == 1 && w->g > 1;
    int rc = scratch_new(w->o, sizeof *f->sum, (void **)&f->sum, err);
    rc = rc ? rc : scratch_new(w->o, sizeof *f->zero, (void **)&f->zero, err);
    if (!rc) {
        rc = f->depthwise ? pack_depthwise(f, w, err) : pack_dense(f, w, err);
    }
    if (rc) {
        conv8_filter_free(f);
        return rc;
    }
    *out = f;
    return OK;
}

size_t conv8_place(const struct conv8_filter *f, size_t o)
{
    const size_t og = f->o / f->g;
    return f->depthwise ? o : o / og * f->right.width + o % og;
}

/* ---- Parameters of results ------------------------------------------------------------------ */

int conv8_params_init(struct conv8_params *p, const struct conv8_filter *f, int32_t zx,
                      const int32_t *bias, struct err *err)
{
    *p = (struct conv8_params){0};
    int rc = scratch_new(f->total, sizeof *p->add, (void **)&p->add, err);
    rc = rc ? rc : scratch_new(f->total, sizeof *p->scale, (void **)&p->scale, err);
    if (!rc && f->right.ones) {
        rc = scratch_new(f->total, sizeof *p->mul, (void **)&p->mul, err);
    }
    if (rc) {
        conv8_params_fini(p);
        return rc;
    }
    memset(p->add, 0, f->total * sizeof *p->add);
    memset(p->scale, 0, f->total * sizeof *p->scale);
    if (p->mul) {
        memset(p->mul, 0, f->total * sizeof *p->mul);
    }
    const uint32_t z = (uint32_t)zx;
    for (size_t o = 0; o < f->o; o++) {
        const size_t at = conv8_place(f, o);
        const uint32_t zw = (uint32_t)f->zero[o], b = bias ? (uint32_t)bias[o] : 0;
        p->add[at] = (int32_t)(b - z * (uint32_t)f->sum[o] + (uint32_t)f->k * z * zw);
        if (p->mul) {
            p->mul[at] = (int32_t)-zw;
        }
    }
    return OK;
}

void conv8_params_fini(struct conv8_params *p)
{
    free(p->add);
    free(p->mul);
    free(p->scale);
    *p = (struct conv8_params){0};
}
