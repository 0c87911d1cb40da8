/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_f32.h: private to engine/: float32 convolutions with channels last, in 1, 2 and 3 spatial
 * dimensions.
 */
#ifndef ENGINE_CONV_F32_H
#define ENGINE_CONV_F32_H

#include "engine/kernel_f32.h"
#include "engine/rows.h"

/* A checked call. Channels: group g reads ic inputs and writes oc outputs. */
struct conv {
    struct window w;
    int64_t groups, ic, oc;
    const struct tensor *x, *wt, *bias; /* bias may be NULL */
    size_t block;                       /* see struct f32_product; 0 for all but conv_dense */
};

/* table[i] = at + i * step for i < n: where neighbours lie. */
void conv_pointers(const float **table, const float *at, size_t step, size_t n);

/* Three ways, each with the weights [groups*oc, ic, k...], at any address, in a form of its own.
 * All compute y [n, out..., groups*oc] = conv(x [n, in..., groups*ic]) + bias in float32, x with
 * channels last unless conv_dense_copies(); y.pitch need not be set. They take some room from the
 * budget.
 */

/* Any convolution whose filter is of moderate size. */
bool conv_dense_fits(const struct window *w);
/* Room for the form, and how many pieces of it there are to fill, by any threads and in any order.
 * block: as in the calls to come; any where the filter is one pixel. */
int conv_dense_new(const struct tensor *w, int64_t groups, size_t block, void **form,
                   size_t *pieces, struct err *err);
void conv_dense_fill(void *form, const struct tensor *w, size_t piece);
/* Both. */
int conv_dense_pack(const struct tensor *w, int64_t groups, size_t block, void **form,
                    struct err *err);
void conv_dense_free(void *form);
const struct f32_panels *conv_dense_panels(const void *form); /* of each group */
/* Whether it reads x in either order: it makes a copy with padded rows anyway. */
bool conv_dense_copies(const struct conv *v);
int conv_dense_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err);
/* conv_dense_run() in pieces: what the threads share that compute them, between begin and end. */
struct dense_job {
    const struct conv *v;
    const struct f32_panels *panels; /* per group */
    const struct f32_kernels *kernels;
    const float *x, *zero;
    bool rows;             /* a segment is a row of taps of x with padded rows, else one tap */
    int64_t width;         /* of a row of x in pixels */
    size_t segments, len;  /* of a product */
    size_t pixels, most;   /* most: pixels of a piece */
    size_t blocks, chunks; /* chunks: parts that the panels are split into */
    struct f32_dest y;
    struct tensor *padded, *zeros;
};
int conv_dense_begin(const struct conv *v, const void *form, struct f32_dest y, struct budget *b,
                     struct dense_job *j, struct err *err);
/* Pixels [p0, p1), j->most at most, of all images in the order of the output, for panels
 * [panel, panel_end) of group g; later: as in struct f32_product. */
void conv_dense_pixels(const struct dense_job *j, size_t g, size_t p0, size_t p1, size_t panel,
                       size_t panel_end, struct f32_later *later);
void conv_dense_end(struct dense_job *j);

/* The same for few channels and x in either order, which conv_dense_run() does where
 * conv_dense_copies(). */
bool conv_scan_fits(const struct conv *v);
void conv_scan_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par);
/* The same in pieces. */
enum { SCAN_FACTORS = 192 }; /* of a sum, at most */
struct scan_job {
    const struct conv *v;
    const struct f32_panels *panels;
    const struct f32_kernels *kernels;
    struct f32_dest y;
    size_t width; /* of a copied row */
    uint32_t at[SCAN_FACTORS];
};
void conv_scan_begin(const struct conv *v, const void *form, struct f32_dest y, struct scan_job *j);
/* Rows [from, end) of the outputs of all images. */
void conv_scan_rows(const struct scan_job *j, size_t from, size_t end);

/* 3x3 filters that move by single pixels, where this is faster. *finite false: some result is not,
 * and those around it may be wrong: use conv_dense_run(). */
bool conv_winograd_fits(const struct conv *v);
int conv_winograd_new(const struct tensor *w, void **form, size_t *pieces, struct err *err);
void conv_winograd_fill(void *form, const struct tensor *w, size_t piece);
void conv_winograd_free(void *form);
int conv_winograd_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                      struct budget *b, bool *finite, struct err *err);

/* Depthwise: ic and oc are 1. */
bool conv_depth_fits(const struct window *w);
int conv_depth_pack(const struct tensor *w, void **form, struct err *err);
void conv_depth_free(void *form);
int conv_depth_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par,
                   struct budget *b, struct err *err);
/* The same in pieces. */
struct depth_job {
    const struct conv *v;
    const struct f32_kernels *kernels;
    const float *w, *zero;
    size_t strips; /* parts of a row of outputs, computed for some rows before the next part */
    struct f32_dest y;
    struct tensor *zeros;
};
int conv_depth_begin(const struct conv *v, const void *form, struct f32_dest y, struct budget *b,
                     struct depth_job *j, struct err *err);
/* Rows [from, end) of the outputs of all images. */
void conv_depth_rows(const struct depth_job *j, size_t from, size_t end);
void conv_depth_end(struct depth_job *j);

/* Several convolutions of single pixels that have the same x, and together at most F32_LANES output
 * channels, as one; each gives the bits that it gives alone. */
struct conv_beside; /* their weights */
bool conv_is_pixel(const struct conv *v);
bool conv_beside_fits(const struct conv *v, int n);
int conv_beside_new(const struct conv *v, int n, struct conv_beside **out, struct err *err);
void conv_beside_free(struct conv_beside *b);
/* Whether b was made of these. */
bool conv_beside_is(const struct conv_beside *b, const struct conv *v, int n);
/* y: of each. */
int conv_beside_run(const struct conv_beside *b, const struct conv *v, const struct f32_dest *y,
                    struct par *par, struct budget *budget, struct err *err);

/* Row by row: depthwise ones, those whose filter is one pixel, and those that scan takes. */
bool conv_rows_fit(const struct conv *v, bool depthwise);
int conv_rows_begin(const struct conv *v, bool depthwise, const void *form, struct f32_dest y,
                    struct budget *b, struct rows *r, struct err *err);

#endif
