/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats.h: private to analysis/: the loops under the statistics, as plain C and for AVX-512, chosen
 * at run time. Both give the same bits.
 *
 * A tensor is seen as rows of lanes that lie side by side; each lane has sums of its own, added row
 * by row. A lane is a channel, or every sixteenth value of one. The order of additions is therefore
 * given by the shape alone, not by the width of a register.
 */
#ifndef ANALYSIS_STATS_H
#define ANALYSIS_STATS_H

#include "analysis/analysis.h"

#include <math.h>

/* Compiled once more for AVX2. Contraction is off, so both give the same bits. */
#define AVX2_CLONE CLONES("avx2", "default")

enum {
    LANES = 16,             /* lanes of a group: one register of floats, two of doubles */
    PANEL = 4 * LANES,      /* lanes of codes that are read at a time: one register of bytes */
    ROWS_MAX = 128,         /* rows of codes that are read at a time: a byte counts them */
    BIN_TABLES = 8,         /* neighbouring values count in different tables */
    TALLY_BINS = 32 * 1024, /* bins that wait at most */
};

/* Sums of LANES lanes; the fields are those of struct sums. Codes are kept shifted to u8. */
struct lanes {
    double xx[LANES], yy[LANES], xy[LANES], ee[LANES], ae[LANES], top[LANES];
    float xlo[LANES], xhi[LANES], ylo[LANES], yhi[LANES];
    uint8_t clo[LANES], chi[LANES]; /* lowest and highest code seen; clo > chi: none */
    uint64_t zeros[LANES], low[LANES], high[LANES], nonfinite[LANES];
};

/* Least and greatest x seen in each lane. */
struct reach {
    float lo[LANES], hi[LANES];
};

/* Bins of values that wait to be counted, each by its distance from the middle one. */
struct backlog {
    const int16_t *bin;
    size_t n;
    uint16_t (*count)[HIST_BINS]; /* [BIN_TABLES] */
};

/* Ends of the integer range as real values; no range for float tensors. */
struct range {
    float lo, hi;
};

/* `rows` rows of `n` values, `step` apart. */
struct block {
    size_t rows, n;
    const float *x, *y;
    size_t x_step, y_step;
};

/* 8-bit codes as u8: code ^ flip (0x80 for s8), and the zero point that goes with it. */
struct codes {
    const uint8_t *p;
    size_t step;
    uint8_t flip, zero;
    float scale;
};

enum { PAIRS_NONFINITE = 1, PAIRS_BEYOND = 2 };

struct stats_kernels {
    const char *name;
    /* Adds a block of n <= LANES to xx yy xy ee ae top xlo xhi, and widens `reach`. Returns
     * PAIRS_BEYOND when some x lies outside r; PAIRS_NONFINITE, having changed nothing of these,
     * when there is a NaN or infinity. With every row LANES bins are taken from the backlog and
     * counted: sums need the vector units, counting the others, so one hides the other. */
    unsigned (*pairs)(struct lanes *g, const struct block *b, struct range r, struct reach *reach,
                      struct backlog *left);
    /* Adds to low and high. */
    void (*beyond)(struct lanes *g, const struct block *b, struct range r);
    /* Adds the y of a block to ylo yhi zeros. */
    void (*reals)(struct lanes *g, const struct block *b);
    /* Adds at most ROWS_MAX rows of n <= PANEL codes to clo chi zeros of as many groups as they
     * fill. */
    void (*codes)(struct lanes *g, const struct codes *c, size_t rows, size_t n);
    /* y [rows][PANEL] = (code - zero) * scale for n <= PANEL codes a row; the rest is anything
     * finite. */
    void (*decode)(const struct codes *c, size_t rows, size_t n, float *y);
    /* dst [cols][LANES] = src [n <= LANES][cols], rows of src `step` apart; the rest is 0. */
    void (*turn_floats)(const float *src, size_t step, size_t n, size_t cols, float *dst);
    void (*turn_codes)(const uint8_t *src, size_t step, size_t n, size_t cols, uint8_t *dst);
    /* bin = floor(x[i] * scale), within -HIST_BINS / 2 .. HIST_BINS / 2 - 1, of n finite values in
     * any order; without those of 0 when `squeeze`. scale is a power of two; bin has room for n +
     * LANES. Returns how many it wrote. */
    size_t (*bins)(const float *x, size_t n, float scale, bool squeeze, int16_t *bin);
    /* to = the bytes of p that are not `code`; to has room for n + 64. Returns how many. NULL: not
     * worth it on this CPU. */
    size_t (*squeeze)(const uint8_t *p, size_t n, uint8_t code, uint8_t *to);
};

extern const struct stats_kernels stats_plain;
#if defined(__x86_64__)
extern const struct stats_kernels stats_avx512;
#endif
/* The kernels for this CPU; the plain ones when the environment variable QSCOPE_ISA names a lesser
 * instruction set than vnni. */
const struct stats_kernels *stats_kernels(void);
/* Makes stats_kernels() return k; NULL = the default again. For tests, not while others run. */
void stats_force(const struct stats_kernels *k);

/* layer_stats_init() but for the bins of the histograms, which are undefined until something is
 * counted: clearing those of all layers for each image would cost more than filling them. */
void layer_stats_begin(struct layer_stats *s);

/* ---- Histograms on the way (stats_hist.c) --------------------------------------------------- */

/* Counts that wait to be added to a histogram. */
struct tally {
    const struct stats_kernels *k;
    struct hist *h;
    size_t n;            /* values counted in `count` and `zeros`, with those in `left` */
    uint64_t zeros;      /* left out of `count` */
    struct backlog left; /* in `bin` */
    uint16_t count[BIN_TABLES][HIST_BINS];
    _Alignas(64) int16_t bin[TALLY_BINS + LANES];
};
void tally_init(struct tally *t, const struct stats_kernels *k, struct hist *h);
/* Counts LANES bins. Neighbours often are equal: counting them in different tables spares waiting
 * for each other. */
static inline void backlog_count_row(struct backlog *left)
{
    uint16_t *middle = left->count[0] + HIST_BINS / 2;
#pragma GCC unroll 16
    for (size_t k = 0; k < LANES; k++) {
        middle[(ptrdiff_t)(k % BIN_TABLES * HIST_BINS) + left->bin[k]]++;
    }
    left->bin += LANES;
    left->n -= LANES;
}
/* n values that lie in [lo, hi], all finite. */
void tally_add(struct tally *t, const float *x, size_t n, float lo, float hi);
void tally_flush(struct tally *t);
/* Adds the real values of n 8-bit codes. */
void hist_add_codes(struct hist *h, const struct stats_kernels *k, const struct codes *c, size_t n);

/* ---- Walking a pair (stats_pass.c) ---------------------------------------------------------- */

/* Two tensors of the same order in memory, seen as [outer, channels, inner], or with `last` as
 * [outer, inner, channels]. */
struct pass {
    size_t outer, channels, inner;
    bool last;
    const float *x;
    const float *y;     /* NULL: codes */
    struct codes codes; /* contiguous */
    struct range range;
    struct hist *fp32, *int8; /* added to; NULL: none wanted */
};
/* channel[channels] = the sums of each channel, *all = those of all of them. */
void pass_run(const struct pass *p, struct sums *channel, struct sums *all);

#endif
