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

/* Up to BLOCK_COLS channels, side by side. */
struct block {
    const uint8_t *from[BLOCK_COLS];
    uint8_t shift[BLOCK_COLS];
    size_t n;
};

/* One channel's weights, whose taps follow each other, as taps of channels that do: whole quads of
 * channels. */
static void transpose_taps(const struct conv8_weights *w, const uint8_t *from, uint8_t *to)
{
    const size_t taps = w->kh * w->kw;
    for (size_t c = 0; c < w->cg; c += QUAD, from += QUAD * taps) {
        for (size_t t = 0; t < taps; t++) {
            const uint8_t *p = from + t;
            const uint32_t four = (uint32_t)p[0] | (uint32_t)p[taps] << 8 |
                                  (uint32_t)p[2 * taps] << 16 | (uint32_t)p[3 * taps] << 24;
            memcpy(to + t * w->cg + c, &four, sizeof four);
        }
    }
}

/* Any order and number. */
static void pack_any(const struct conv8_weights *w, const struct block *b, int8_t *dst)
{
    const size_t k = w->cg * w->kh * w->kw;
    for (size_t at = 0; at < k; at++) {
        const size_t from = at % w->cg * w->by_c + at / w->cg * w->by_t;
        for (size_t i = 0; i < b->n; i++) {
            dst[(at / QUAD * BLOCK_COLS + i) * QUAD + at % QUAD] =
                (int8_t)(b->from[i][from] - b->shift[i]);
        }
    }
}

/* The products of a channel lie one after the other, in the order of the packed ones. */
static bool is_straight(const struct conv8_weights *w)
{
    return (w->cg == 1 || w->by_c == 1) && (w->kh * w->kw == 1 || w->by_t == w->cg);
}

/* The same, but taps first. */
static bool is_by_channel(const struct conv8_weights *w)
{
    const size_t taps = w->kh * w->kw;
    return (w->cg == 1 || w->by_c == taps) && (taps == 1 || w->by_t == 1);
}

static uint32_t sum_weights(const struct conv8_weights *w, size_t o)
{
    if (w->dtype == DT_S8 && (is_straight(w) || is_by_channel(w))) {
        return gemm8_sum_s8((const int8_t *)w->data + o * w->by_o, w->cg * w->kh * w->kw);
    }
    uint32_t sum = 0;
    for (size_t c = 0; c < w->cg; c++) {
        for (size_t t = 0; t < w->kh * w->kw; t++) {
            sum += (uint32_t)weight_at(w, o * w->by_o + c * w->by_c + t * w->by_t);
        }
    }
    return sum;
}

/* room: for the weights of a block. */
static void pack_block(struct conv8_filter *f, const struct conv8_weights *w, size_t set, size_t c0,
                       uint8_t *room)
{
    const size_t og = f->o / f->g, k = f->k;
    int8_t *dst = gemm8_column(&f->right, set, c0);
    struct block b = {.n = MIN(og - c0, (size_t)BLOCK_COLS)};
    for (size_t i = 0; i < b.n; i++) {
        const size_t o = set * og + c0 + i;
        const int32_t shift = choose_shift(w, o);
        b.from[i] = (const uint8_t *)w->data + o * w->by_o;
        b.shift[i] = (uint8_t)shift;
        f->zero[o] = w->zero[o] - shift;
        f->sum[o] = (int32_t)(sum_weights(w, o) - (uint32_t)shift * (uint32_t)k);
    }
    const bool in_quads = !is_straight(w) && is_by_channel(w) && w->cg % QUAD == 0;
    for (size_t i = 0; i < b.n && in_quads; i++) {
        transpose_taps(w, b.from[i], room + i * k);
        b.from[i] = room + i * k;
    }
    if (is_straight(w) || in_quads) {
        gemm8_pack_columns(dst, b.from, b.shift, b.n, k);
    } else {
        pack_any(w, &b, dst);
    }
}

static int pack_dense(struct conv8_filter *f, const struct conv8_weights *w, struct err *err)
{
    const size_t og = f->o / f->g;
    bool zeros = false;
    uint8_t *room = NULL;
    int rc = gemm8_right_init(&f->right, f->g, f->k, og, err);
    rc = rc ? rc : scratch_new(f->k, BLOCK_COLS, (void **)&room, err);
    if (rc) {
        return rc;
    }
    f->total = f->g * f->right.width;
    for (size_t set = 0; set < f->g; set++) {
        for (size_t c = 0; c < og; c += BLOCK_COLS) {
            pack_block(f, w, set, c, room);
        }
    }
    scratch_free(room);
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

/* Kernels may take two pixels of up to 32 channels at a time: behind the last channels of that few
 * come the same ones again. */
static size_t twin_of(const struct depthwise_filter *d, size_t c)
{
    enum { HALF = STRIP_COLS / 2 };
    const size_t rest = d->channels % STRIP_COLS;
    return c >= d->channels && rest <= HALF && c % STRIP_COLS >= HALF ? c - HALF : c;
}

/* For vpdpbusd: 64 channels, then four slots at a time. A register has the bytes of the four side
 * by side; which channels, see interleave() in kernel_int8_depthwise.c. Weights that s8 has no room
 * for are the sum of two. */
static void pack_quads(const struct depthwise_filter *d, int8_t *dst)
{
    for (size_t c = 0; c < d->width; c++) {
        const size_t part = c % STRIP_COLS / 16, reg = c % 16 / 4, from = twin_of(d, c);
        int8_t *block = dst + c / STRIP_COLS * STRIP_COLS * d->quad_slots;
        for (size_t t = 0; t < d->quad_slots; t++) {
            const int16_t v = d->w[t % d->slots * d->width + from];
            const int16_t first = MIN(MAX(v, INT8_MIN), INT8_MAX);
            block[(t / QUAD * 4 + reg) * 64 + (part * 4 + c % 4) * QUAD + t % QUAD] =
                (int8_t)(t < d->slots ? first : v - first);
        }
    }
}

/* Weights of channel o minus its zero point; *least and *most take note of them. */
static void widen_channel(struct conv8_filter *f, const struct conv8_weights *w, size_t o,
                          int16_t *codes, int32_t *least, int32_t *most)
{
    uint32_t sum = 0;
    for (size_t ky = 0; ky < w->kh; ky++) {
        for (size_t kx = 0; kx < w->kw; kx++) {
            const size_t from = o * w->by_o + (ky * w->kw + kx) * w->by_t;
            const int32_t v = weight_at(w, from) - w->zero[o];
            codes[conv8_slot(w->kh, w->kw, ky, kx) * f->dw.width + o] = (int16_t)v;
            *least = MIN(*least, v);
            *most = MAX(*most, v);
            sum += (uint32_t)v;
        }
    }
    f->sum[o] = (int32_t)sum;
    f->zero[o] = 0;
}

static int pack_depthwise(struct conv8_filter *f, const struct conv8_weights *w, struct err *err)
{
    struct depthwise_filter *d = &f->dw;
    int16_t *codes = NULL;
    int8_t *quads = NULL;
    size_t n = 0;
    int32_t least = 0, most = 0;
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
        widen_channel(f, w, o, codes, &least, &most);
    }
    const bool once = least >= INT8_MIN && most <= INT8_MAX;
    d->quad_slots = once ? d->slots : 2 * d->slots;
    if (least < 2 * INT8_MIN || most > 2 * INT8_MAX) {
        return OK;
    }
    rc = scratch_new(d->width, d->quad_slots, (void **)&quads, err);
    if (!rc) {
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
        scratch_free((void *)f->dw.w);
        scratch_free((void *)f->dw.quads);
        scratch_free(f->sum);
        scratch_free(f->zero);
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

/* ---- Parameters of results ------------------------------------------------------------------ */

/* Where those of output channel o stand. */
static size_t conv8_place(const struct conv8_filter *f, size_t o)
{
    const size_t og = f->o / f->g;
    return f->depthwise ? o : o / og * f->right.width + o % og;
}

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
    for (size_t c = f->o; c < f->total && f->depthwise; c++) {
        p->add[c] = p->add[twin_of(&f->dw, c)];
    }
    return OK;
}

void conv8_params_scale(struct conv8_params *p, const struct conv8_filter *f, size_t o, float s)
{
    p->scale[conv8_place(f, o)] = s;
    if (f->depthwise && o + 1 == f->o) {
        for (size_t c = f->o; c < f->total; c++) {
            p->scale[c] = p->scale[twin_of(&f->dw, c)];
        }
    }
}

void conv8_params_fini(struct conv8_params *p)
{
    scratch_free(p->add);
    scratch_free(p->mul);
    scratch_free(p->scale);
    *p = (struct conv8_params){0};
}
