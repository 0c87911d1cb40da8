/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * product_f32.h: private to engine/: float32 matrix products with weights packed once: what
 * convolutions with channels last, Gemm and MatMul are made of.
 */
#ifndef ENGINE_PRODUCT_F32_H
#define ENGINE_PRODUCT_F32_H

#include "engine/kernel_f32.h"

/* Weights [k][n] in panels of up to F32_COLS columns, [k][columns of the panel] each; columns are
 * filled up with zeros to units of F32_LANES. */
struct f32_panels {
    size_t k, n, units, count; /* count: panels, of which the first are a unit wider */
    float *w;
};

/* Room for panels, to be filled panel by panel or unit by unit. E_LIMIT when they do not fit
 * memory. */
int f32_panels_new(struct f32_panels *p, size_t k, size_t n, struct err *err);
/* Where columns [unit * F32_LANES, ...) of factor 0 lie; those of factor k are k * *cols further.
 * All F32_LANES are to be written. */
float *f32_panels_unit(const struct f32_panels *p, size_t unit, size_t *cols);

/* Weights to pack: column j, factor m at j * column + m * factor, with a
 * factor of 1, or a column of 1 and one segment. They are
 * packed in the order s, i with m = i * segments + s, i < len; with a block, first for all s the i
 * below it, and so on. */
struct f32_weights {
    const uint8_t *w; /* floats at any address */
    size_t n, segments, len;
    size_t block; /* 0: all */
    size_t column, factor;
};
void f32_panels_fill(const struct f32_panels *p, const struct f32_weights *w, size_t panel);
/* Room, and all panels filled. */
int f32_panels_init(struct f32_panels *p, const struct f32_weights *w, struct err *err);
/* Factors [m, m + n) of a unit of columns as they are numbered in w, a row each; columns that are
 * not there are 0. w->factor is 1. */
void f32_weights_read(const struct f32_weights *w, size_t unit, size_t m, size_t n,
                      float rows[][F32_LANES]);
void f32_panels_fini(struct f32_panels *p);
/* First column of a panel, a multiple of F32_LANES; of panel `count`: behind the last. */
size_t f32_panels_column(const struct f32_panels *p, size_t panel);

/* Places that will be written to soon. Products fetch them into the L2 cache, line by line, while
 * they are busy with multiplying. */
struct f32_later {
    const float *at[2], *end[2];
};

/* Rows [0, rows) of activations times the panels [panel, panel_end): row r is x[s * pitch + r] for
 * each of the segments, `len` elements long. They meet segments * len factors of the weights,
 * beginning with number `from`. */
struct f32_product {
    const struct f32_kernels *kernels;
    const struct f32_panels *panels;
    size_t panel, panel_end, from;
    const float *const *x;
    size_t rows, pitch, segments, len;
    /* 0: parts of sums as it is fast. Else a part is `block` elements of all segments, parts are
     * added in this order, and the bias comes last; then only y.raw is written. */
    size_t block;
    /* 0, or with one segment: elements of a part, the last one has what is left; the bias comes
     * first. */
    size_t run;
    const float *bias;       /* panels->n values; NULL: 0 */
    struct f32_dest y;       /* of row 0 and the first column of the first panel */
    struct f32_later *later; /* what has been fetched is taken off; NULL: nothing */
};
void f32_product_run(const struct f32_product *p);
/* What comes behind sums of rows [from, to), n columns, where no kernel does it: the bias (NULL: it
 * is in them), then the activation into y->act. The sums are in y->raw, or in y->act where there is
 * no raw. */
void f32_finish_rows(const struct f32_dest *y, size_t from, size_t to, size_t n, const float *bias);
/* Whether sums of so many factors are one part, without a block. */
bool f32_product_at_once(size_t segments, size_t len);
/* y [rows, n] = x [rows, k] times all panels, plus bias; y.pitch need not be set. run: as in struct
 * f32_product. */
void f32_product_matrix(const struct f32_panels *w, const float *x, size_t rows, size_t run,
                        const float *bias, struct f32_dest y, struct par *par);

#endif
