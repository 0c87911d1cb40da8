/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_pass.c: walks a pair of tensors once, in pieces that stay in the cache while their sums,
 * codes and histograms are taken.
 *
 * Lanes are channels, wherever these stand in memory: rows of planes are turned first, so that both
 * orders give the same bits. Of few channels, each has LANES lanes that take its values in turn.
 */
#include "analysis/stats.h"

#include <stdlib.h>

enum {
    ROWS_MIN = 8,      /* of a piece: fewer spend their time on loading and storing sums */
    PIECE = 32 * 1024, /* values of a piece where rows are short */
    TILE_ROWS = 256,   /* values of each channel that are turned at a time */
};

/* A pass under way. */
struct walk {
    const struct pass *p;
    const struct stats_kernels *k;
    struct lanes *lanes;
    struct tally tally;   /* of x */
    struct reach x_reach; /* of the piece */
    bool nonfinite;       /* in the piece */
    /* aligned, or each register would come from two lines of the cache */
    _Alignas(64) float real[ROWS_MAX * PANEL]; /* decoded y of a panel */
    _Alignas(64) float x_tile[TILE_ROWS * LANES], y_tile[TILE_ROWS * LANES];
    _Alignas(64) uint8_t code_tile[TILE_ROWS * LANES];
};

/* ---- One piece ------------------------------------------------------------------------------ */

/* A block with NaN or infinity in it: these are counted and left out, the rest is added as the
 * kernels do. */
static void add_carefully(struct lanes *g, const struct block *b, struct range r)
{
    for (size_t i = 0; i < b->rows; i++) {
        const float *x = b->x + i * b->x_step, *y = b->y + i * b->y_step;
        for (size_t j = 0; j < b->n; j++) {
            double p = (double)x[j], q = (double)y[j], e = p - q, a = fabs(e);
            if (!isfinite(p) || !isfinite(q)) {
                g->nonfinite[j]++;
                continue;
            }
            g->xx[j] += p * p;
            g->yy[j] += q * q;
            g->xy[j] += p * q;
            g->ee[j] += e * e;
            g->ae[j] += a;
            g->top[j] = a > g->top[j] ? a : g->top[j];
            g->xlo[j] = x[j] < g->xlo[j] ? x[j] : g->xlo[j];
            g->xhi[j] = x[j] > g->xhi[j] ? x[j] : g->xhi[j];
            g->ylo[j] = y[j] < g->ylo[j] ? y[j] : g->ylo[j];
            g->yhi[j] = y[j] > g->yhi[j] ? y[j] : g->yhi[j];
            g->low[j] += x[j] < r.lo;
            g->high[j] += x[j] > r.hi;
            g->zeros[j] += y[j] == 0;
        }
    }
}

/* Rows of n <= PANEL lanes; codes NULL when y is float. */
static void add_panel(struct walk *w, struct lanes *g, const struct block *b,
                      const struct codes *codes)
{
    bool good[PANEL / LANES], all = true;
    const struct range r = w->p->range;
    for (size_t at = 0; at < b->n; at += LANES) {
        struct lanes *s = &g[at / LANES];
        struct block part = *b;
        part.x += at;
        part.y += at;
        part.n = MIN(b->n - at, (size_t)LANES);
        unsigned seen = w->k->pairs(s, &part, r, &w->x_reach, &w->tally.left);
        good[at / LANES] = !(seen & PAIRS_NONFINITE);
        all = all && good[at / LANES];
        if (seen & PAIRS_NONFINITE) {
            add_carefully(s, &part, r);
        } else if (!codes) {
            w->k->reals(s, &part);
        }
        if (seen & PAIRS_BEYOND) {
            w->k->beyond(s, &part, r);
        }
    }
    if (codes && all) {
        w->k->codes(g, codes, b->rows, b->n);
    }
    for (size_t at = 0; codes && !all && at < b->n; at += LANES) {
        if (good[at / LANES]) {
            struct codes part = *codes;
            part.p += at;
            w->k->codes(&g[at / LANES], &part, b->rows, MIN(b->n - at, (size_t)LANES));
        }
    }
    w->nonfinite = w->nonfinite || !all;
}

static void piece_start(struct walk *w)
{
    for (int j = 0; j < LANES; j++) {
        w->x_reach.lo[j] = INFINITY;
        w->x_reach.hi[j] = -INFINITY;
    }
    w->nonfinite = false;
}

/* n values of the piece, from element `at` on. */
static void piece_hist(struct walk *w, size_t at, size_t n)
{
    if (w->nonfinite) {
        tally_flush(&w->tally);
        hist_add(w->p->fp32, n, w->p->x + at);
        return;
    }
    struct reach *r = &w->x_reach;
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            r->lo[j] = r->lo[j + half] < r->lo[j] ? r->lo[j + half] : r->lo[j];
            r->hi[j] = r->hi[j + half] > r->hi[j] ? r->hi[j + half] : r->hi[j];
        }
    }
    tally_add(&w->tally, w->p->x + at, n, r->lo[0], r->hi[0]);
}

/* ---- Values that lie as their lanes do ------------------------------------------------------ */

/* `rows` rows of n lanes from element `at` on, next to each other. */
static void walk_rows(struct walk *w, struct lanes *g, size_t at, size_t rows, size_t n)
{
    const struct pass *p = w->p;
    const size_t most = MIN(MAX(PIECE / n, (size_t)ROWS_MIN), (size_t)ROWS_MAX);
    for (size_t m; rows; rows -= m, at += m * n) {
        m = MIN(rows, most);
        piece_start(w);
        for (size_t lane = 0; lane < n; lane += PANEL) {
            size_t some = MIN(n - lane, (size_t)PANEL);
            struct block b = {.rows = m, .n = some, .x = p->x + at + lane, .x_step = n};
            struct codes c = p->codes;
            if (p->y) {
                b.y = p->y + at + lane;
                b.y_step = n;
            } else {
                c.p += at + lane;
                c.step = n;
                w->k->decode(&c, m, some, w->real);
                b.y = w->real;
                b.y_step = PANEL;
            }
            add_panel(w, g + lane / LANES, &b, p->y ? NULL : &c);
        }
        if (p->fp32) {
            piece_hist(w, at, m * n);
        }
    }
}

/* n values of one stretch that belong to LANES * channels lanes in turn: whole rows of them, then
 * the rest of the last one. */
static void walk_folded(struct walk *w, struct lanes *g, size_t at, size_t n, size_t lanes)
{
    size_t rows = n / lanes, rest = n % lanes;
    walk_rows(w, g, at, rows, lanes);
    for (size_t done = 0; done < rest; done += LANES) {
        walk_rows(w, g + done / LANES, at + rows * lanes + done, 1,
                  MIN(rest - done, (size_t)LANES));
    }
}

/* ---- Values that lie in planes -------------------------------------------------------------- */

/* m values each of n <= LANES channels, `step` apart. */
static void walk_tile(struct walk *w, struct lanes *g, size_t at, size_t n, size_t m, size_t step)
{
    const struct pass *p = w->p;
    struct block b = {.rows = m, .n = n, .x = w->x_tile, .x_step = LANES};
    struct codes c = p->codes;
    w->k->turn_floats(p->x + at, step, n, m, w->x_tile);
    if (p->y) {
        w->k->turn_floats(p->y + at, step, n, m, w->y_tile);
        b.y = w->y_tile;
        b.y_step = LANES;
    } else {
        w->k->turn_codes(c.p + at, step, n, m, w->code_tile);
        c.p = w->code_tile;
        c.step = LANES;
        b.y = w->real;
        b.y_step = PANEL;
    }
    piece_start(w);
    for (size_t done = 0; done < m; done += b.rows) {
        b.rows = MIN(m - done, (size_t)ROWS_MAX);
        if (!p->y) {
            w->k->decode(&c, b.rows, n, w->real);
        }
        add_panel(w, g, &b, p->y ? NULL : &c);
        b.x += b.rows * LANES;
        b.y += p->y ? b.rows * LANES : 0;
        c.p += b.rows * LANES;
    }
    const bool whole = m == step; /* planes stand next to each other */
    for (size_t j = 0; p->fp32 && j < (whole ? 1 : n); j++) {
        piece_hist(w, at + j * step, whole ? n * m : m);
    }
}

static void walk_planes(struct walk *w, size_t at)
{
    const struct pass *p = w->p;
    for (size_t c = 0; c < p->channels; c += LANES) {
        size_t n = MIN(p->channels - c, (size_t)LANES);
        for (size_t i = 0, m; i < p->inner; i += m) {
            m = MIN(p->inner - i, (size_t)TILE_ROWS);
            walk_tile(w, &w->lanes[c / LANES], at + c * p->inner + i, n, m, p->inner);
        }
    }
}

/* ---- All of it ------------------------------------------------------------------------------ */

static void lanes_init(struct lanes *g)
{
    *g = (struct lanes){.chi = {0}};
    for (int j = 0; j < LANES; j++) {
        g->xlo[j] = g->ylo[j] = INFINITY;
        g->xhi[j] = g->yhi[j] = -INFINITY;
        g->clo[j] = UINT8_MAX;
    }
}

/* What the codes seen stand for; a negative scale turns them around. */
static void code_reach(const struct codes *c, struct lanes *g)
{
    for (int j = 0; j < LANES; j++) {
        float a = (float)(g->clo[j] - c->zero) * c->scale;
        float b = (float)(g->chi[j] - c->zero) * c->scale;
        float lo = g->clo[j] <= g->chi[j] ? (a < b ? a : b) : INFINITY;
        float hi = g->clo[j] <= g->chi[j] ? (a < b ? b : a) : -INFINITY;
        g->ylo[j] = lo < g->ylo[j] ? lo : g->ylo[j];
        g->yhi[j] = hi > g->yhi[j] ? hi : g->yhi[j];
    }
}

static struct sums lane_sums(const struct lanes *g, size_t j, size_t n)
{
    return (struct sums){
        .n = n - g->nonfinite[j],
        .nonfinite = g->nonfinite[j],
        .xx = g->xx[j],
        .yy = g->yy[j],
        .xy = g->xy[j],
        .ee = g->ee[j],
        .ae = g->ae[j],
        .max_abs = g->top[j],
        .xmin = (double)g->xlo[j],
        .xmax = (double)g->xhi[j],
        .ymin = (double)g->ylo[j],
        .ymax = (double)g->yhi[j],
        .sat_low = g->low[j],
        .sat_high = g->high[j],
        .zeros = g->zeros[j],
    };
}

/* a += b, lane by lane. */
static void lanes_merge(struct lanes *a, const struct lanes *b)
{
    for (int j = 0; j < LANES; j++) {
        a->xx[j] += b->xx[j];
        a->yy[j] += b->yy[j];
        a->xy[j] += b->xy[j];
        a->ee[j] += b->ee[j];
        a->ae[j] += b->ae[j];
        a->top[j] = b->top[j] > a->top[j] ? b->top[j] : a->top[j];
        a->xlo[j] = b->xlo[j] < a->xlo[j] ? b->xlo[j] : a->xlo[j];
        a->xhi[j] = b->xhi[j] > a->xhi[j] ? b->xhi[j] : a->xhi[j];
        a->ylo[j] = b->ylo[j] < a->ylo[j] ? b->ylo[j] : a->ylo[j];
        a->yhi[j] = b->yhi[j] > a->yhi[j] ? b->yhi[j] : a->yhi[j];
        a->low[j] += b->low[j];
        a->high[j] += b->high[j];
        a->zeros[j] += b->zeros[j];
        a->nonfinite[j] += b->nonfinite[j];
    }
}

/* Each lane is a channel; those beyond the last one hold nothing. */
static void finish_lanes(const struct walk *w, struct sums *channel, struct sums *all)
{
    const struct pass *p = w->p;
    const size_t n = p->outer * p->inner;
    struct lanes sum;
    lanes_init(&sum);
    for (size_t c = 0; c < p->channels; c++) {
        channel[c] = lane_sums(&w->lanes[c / LANES], c % LANES, n);
    }
    for (size_t i = 0; i * LANES < p->channels; i++) {
        lanes_merge(&sum, &w->lanes[i]);
    }
    sums_init(all);
    for (size_t j = 0; j < LANES; j++) {
        struct sums s = lane_sums(&sum, j, sum.nonfinite[j]);
        sums_merge(all, &s);
    }
    all->n = n * p->channels - all->nonfinite;
}

/* Each channel has LANES lanes: next to each other, or one in each LANESth of the lanes. */
static void finish_folded(const struct walk *w, struct sums *channel, struct sums *all)
{
    const struct pass *p = w->p;
    sums_init(all);
    for (size_t c = 0; c < p->channels; c++) {
        sums_init(&channel[c]);
        for (size_t k = 0; k < LANES; k++) {
            size_t lane = p->last ? k * p->channels + c : c * LANES + k;
            const struct lanes *g = &w->lanes[lane / LANES];
            struct sums s = lane_sums(g, lane % LANES, g->nonfinite[lane % LANES]);
            sums_merge(&channel[c], &s);
        }
        channel[c].n = p->outer * p->inner - channel[c].nonfinite;
        sums_merge(all, &channel[c]);
    }
}

static void walk_all(struct walk *w, bool folded)
{
    const struct pass *p = w->p;
    const size_t size = p->channels * p->inner;
    for (size_t o = 0; o < p->outer; o++) {
        if (!folded && p->last) {
            walk_rows(w, w->lanes, o * size, p->inner, p->channels);
        } else if (!folded) {
            walk_planes(w, o * size);
        } else if (p->last) {
            walk_folded(w, w->lanes, o * size, size, LANES * p->channels);
        } else {
            for (size_t c = 0; c < p->channels; c++) {
                walk_folded(w, &w->lanes[c], o * size + c * p->inner, p->inner, LANES);
            }
        }
    }
}

static void take_histograms(struct walk *w)
{
    const struct pass *p = w->p;
    const size_t n = p->outer * p->inner * p->channels;
    if (p->fp32) {
        tally_flush(&w->tally);
    }
    if (p->int8 && p->y) {
        hist_add(p->int8, n, p->y);
    } else if (p->int8) {
        hist_add_codes(p->int8, w->k, &p->codes, n);
    }
}

void pass_run(const struct pass *p, struct sums *channel, struct sums *all)
{
    const bool folded = p->channels < LANES;
    const size_t groups = folded ? p->channels : (p->channels + LANES - 1) / LANES;
    struct walk w;
    w.p = p;
    w.k = stats_kernels();
    w.lanes = mem_grow(NULL, groups * sizeof *w.lanes);
    for (size_t i = 0; i < groups; i++) {
        lanes_init(&w.lanes[i]);
    }
    tally_init(&w.tally, w.k, p->fp32);
    walk_all(&w, folded);
    take_histograms(&w);
    for (size_t i = 0; i < groups && !p->y; i++) {
        code_reach(&p->codes, &w.lanes[i]);
    }
    (folded ? finish_folded : finish_lanes)(&w, channel, all);
    free(w.lanes);
}
