/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_hist.c: histograms: ranges that double, and counting into them by many values at a time.
 * What a histogram says depends on the values alone, not on the order in which they came.
 */
#include "analysis/stats.h"

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof *h);
}

/* Doubles the range, which lies around zero: two neighbouring bins become one. */
static void hist_double(struct hist *h)
{
    uint64_t half[HIST_BINS / 2];
    for (int i = 0; i < HIST_BINS / 2; i++) {
        half[i] = h->bin[2 * i] + h->bin[2 * i + 1];
    }
    memset(h->bin, 0, sizeof h->bin);
    memcpy(h->bin + HIST_BINS / 4, half, sizeof half);
    h->lo *= 2;
    h->width *= 2;
}

static bool hist_holds(const struct hist *h, double lo, double hi)
{
    return lo >= h->lo && hi < -h->lo;
}

/* Makes room for values from lo to hi. The first ones fix a power-of-two width, doubling widens it
 * as needed. All ranges lie on one grid, so any two histograms can be brought together exactly. */
static void hist_reach(struct hist *h, double lo, double hi)
{
    if (h->width == 0) {
        memset(h->bin, 0, sizeof h->bin); /* see layer_stats_begin() */
        int e;
        frexp(fmax(fmax(fabs(lo), fabs(hi)), 0x1p-100), &e);
        h->width = ldexp(1.0, e) / HIST_BINS;
        h->lo = -h->width * (HIST_BINS / 2.0);
    }
    while (!hist_holds(h, lo, hi)) {
        hist_double(h);
    }
}

/* floor() of what an int can hold, without a call. */
static int floor_int(double x)
{
    const int whole = (int)x;
    return whole - (whole > x);
}

/* Exact, since the width is a power of two. */
static int hist_bin(const struct hist *h, double x)
{
    return floor_int(x / h->width) + HIST_BINS / 2;
}

static void hist_count(struct hist *h, double x, uint64_t count)
{
    if (!isfinite(x)) {
        h->nonfinite += count;
        return;
    }
    hist_reach(h, x, x);
    h->bin[hist_bin(h, x)] += count;
    h->n += count;
}

void hist_merge(struct hist *a, const struct hist *b)
{
    a->nonfinite += b->nonfinite;
    if (!b->n) {
        return;
    }
    if (!a->n) {
        uint64_t nonfinite = a->nonfinite;
        *a = *b;
        a->nonfinite = nonfinite;
        return;
    }
    struct hist wider;
    if (b->width < a->width) {
        for (wider = *b; wider.width < a->width; b = &wider) {
            hist_double(&wider);
        }
    }
    while (a->width < b->width) {
        hist_double(a);
    }
    for (int i = 0; i < HIST_BINS; i++) {
        a->bin[i] += b->bin[i];
    }
    a->n += b->n;
}

/* ---- Many values at a time ------------------------------------------------------------------ */

enum {
    CODES = 256,
    BATCH = 1024,          /* values whose bins are made in one way */
    TALLY_MAX = 1 << 18,   /* values that 16 bits can count if all fall into one bin */
    PAIRS_FROM = 32 * 1024 /* codes that are worth a table of pairs */
};

void tally_init(struct tally *t, const struct stats_kernels *k, struct hist *h)
{
    t->k = k;
    t->h = h;
    t->n = 0;
    t->left = (struct backlog){.count = t->count};
}

/* Counts what is left. */
static void tally_settle(struct tally *t)
{
    struct backlog left = t->left;
    while (left.n >= LANES) {
        backlog_count_row(&left);
    }
    for (size_t k = 0; k < left.n; k++) {
        t->count[k % BIN_TABLES][left.bin[k] + HIST_BINS / 2]++;
    }
    t->left.n = 0;
}

void tally_flush(struct tally *t)
{
    if (!t->n) {
        return;
    }
    tally_settle(t);
    uint32_t sum[HIST_BINS] = {0};
    for (int k = 0; k < BIN_TABLES; k++) {
        for (int i = 0; i < HIST_BINS; i++) {
            sum[i] += t->count[k][i];
        }
    }
    for (int i = 0; i < HIST_BINS; i++) {
        t->h->bin[i] += sum[i];
    }
    t->h->bin[HIST_BINS / 2] += t->zeros;
    t->h->n += t->n;
    t->n = 0;
}

/* Every fourth of the first values, as behind a Relu. */
static bool many_zeros(const float *x, size_t n)
{
    enum { LOOK = 64 };
    size_t zeros = 0;
    for (size_t i = 0; i < MIN(n, (size_t)LOOK); i++) {
        zeros += x[i] == 0;
    }
    return zeros >= LOOK / 4;
}

/* Bins of n <= TALLY_BINS values, from the first of `bin` on; returns how many are worth counting.
 */
static size_t make_bins(struct tally *t, const float *x, size_t n, float scale)
{
    size_t made = 0;
    for (size_t m; n; n -= m, x += m) {
        m = MIN(n, (size_t)BATCH);
        made += t->k->bins(x, m, scale, many_zeros(x, m), t->bin + made);
    }
    return made;
}

void tally_add(struct tally *t, const float *x, size_t n, float lo, float hi)
{
    struct hist *h = t->h;
    if (h->width == 0 || !hist_holds(h, (double)lo, (double)hi)) {
        tally_flush(t);
        hist_reach(h, (double)lo, (double)hi);
    }
    const float scale = (float)(1 / h->width);
    for (size_t m; n; n -= m, x += m) {
        m = MIN(n, (size_t)TALLY_BINS);
        tally_settle(t);
        if (t->n + m > TALLY_MAX) {
            tally_flush(t);
        }
        if (!t->n) {
            memset(t->count, 0, sizeof t->count);
            t->zeros = 0;
        }
        size_t made = make_bins(t, x, m, scale);
        t->left.bin = t->bin;
        t->left.n = made;
        t->zeros += m - made;
        t->n += m;
    }
}

static void add_singly(struct hist *h, size_t n, const float *x)
{
    for (size_t i = 0; i < n; i++) {
        hist_count(h, (double)x[i], 1);
    }
}

/* Least and greatest value; false when there is a NaN or infinity. */
static bool all_finite(const float *x, size_t n, float *lo, float *hi)
{
    bool bad = false;
    for (size_t i = 0; i < n; i++) {
        bad |= !isfinite(x[i]);
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
    return !bad;
}

void hist_add(struct hist *h, size_t n, const float *x)
{
    if (n < BATCH) { /* not worth a set of tables */
        add_singly(h, n, x);
        return;
    }
    struct tally t;
    tally_init(&t, stats_kernels(), h);
    for (size_t m; n; n -= m, x += m) {
        float lo = INFINITY, hi = -INFINITY;
        m = MIN(n, (size_t)BATCH);
        if (all_finite(x, m, &lo, &hi)) {
            tally_add(&t, x, m, lo, hi);
        } else {
            tally_flush(&t);
            add_singly(h, m, x);
        }
    }
    tally_flush(&t);
}

static void count_singly(uint64_t total[CODES], const uint8_t *p, size_t n)
{
    enum { SET = 4 };
    uint32_t count[SET][CODES] = {0};
    size_t i = 0;
    for (; i + SET <= n; i += SET) {
#pragma GCC unroll 4
        for (size_t k = 0; k < SET; k++) {
            count[k][p[i + k]]++;
        }
    }
    for (; i < n; i++) {
        count[0][p[i]]++;
    }
    for (int c = 0; c < CODES; c++) {
        total[c] += (uint64_t)count[0][c] + count[1][c] + count[2][c] + count[3][c];
    }
}

/* Two codes at a time, in a table that mostly fits the cache; what a byte cannot count goes to the
 * total at once. */
static void count_pairs(uint64_t total[CODES], uint8_t pairs[CODES * CODES], const uint8_t *p,
                        size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, p + i, sizeof eight);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++, eight >>= 16) {
            size_t two = eight & 0xffff;
            if (++pairs[two] == 0) {
                total[two % CODES] += CODES;
                total[two / CODES] += CODES;
            }
        }
    }
    for (; i < n; i++) {
        total[p[i]]++;
    }
}

AVX2_CLONE static void add_pairs(uint64_t total[CODES], const uint8_t pairs[CODES * CODES])
{
    uint16_t column[CODES] = {0};
    for (size_t i = 0; i < CODES; i++) {
        const uint8_t *row = pairs + i * CODES;
        uint32_t sum = 0;
        for (int k = 0; k < CODES; k++) {
            sum += row[k];
            column[k] = (uint16_t)(column[k] + row[k]);
        }
        total[i] += sum;
    }
    for (int k = 0; k < CODES; k++) {
        total[k] += column[k];
    }
}

static void count_many(uint64_t total[CODES], const struct stats_kernels *k, const struct codes *c,
                       size_t n)
{
    enum { PIECE = 8 * 1024, LOOK = 64 };
    uint8_t pairs[CODES * CODES] = {0}, rest[PIECE + 64];
    const uint8_t zero = c->zero ^ c->flip, *p = c->p;
    for (size_t m, left; n; n -= m, p += m) {
        m = MIN(n, (size_t)PIECE);
        size_t zeros = 0;
        for (size_t i = 0; i < MIN(m, (size_t)LOOK); i++) {
            zeros += p[i] == zero;
        }
        if (k->squeeze && zeros >= LOOK / 4) {
            left = k->squeeze(p, m, zero, rest);
            count_pairs(total, pairs, rest, left);
            total[zero] += m - left;
        } else {
            count_pairs(total, pairs, p, m);
        }
    }
    add_pairs(total, pairs);
}

void hist_add_codes(struct hist *h, const struct stats_kernels *k, const struct codes *c, size_t n)
{
    uint64_t total[CODES] = {0};
    if (n < PAIRS_FROM) {
        count_singly(total, c->p, n);
    } else {
        count_many(total, k, c, n);
    }
    double real[CODES], lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < CODES; i++) {
        real[i] = (double)((float)((i ^ c->flip) - c->zero) * c->scale);
        if (total[i] && isfinite(real[i])) {
            lo = real[i] < lo ? real[i] : lo;
            hi = real[i] > hi ? real[i] : hi;
        }
    }
    if (lo <= hi) {
        hist_reach(h, lo, hi); /* once: 0 alone would ask for the narrowest of ranges first */
    }
    const double per_width = lo <= hi ? 1 / h->width : 0; /* exact */
    for (int i = 0; i < CODES; i++) {
        if (total[i] && isfinite(real[i])) {
            h->bin[HIST_BINS / 2 + floor_int(real[i] * per_width)] += total[i];
            h->n += total[i];
        } else {
            h->nonfinite += total[i];
        }
    }
}
