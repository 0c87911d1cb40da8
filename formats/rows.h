/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rows.h: the rows of the format table and what the decoders share. Private to formats/; the
 * table itself stands in format.c.
 */
#ifndef FORMATS_ROWS_H
#define FORMATS_ROWS_H

#include "formats/formats.h"

extern const struct format format_png;
extern const struct format format_jpeg;
extern const struct format format_pnm;
extern const struct format format_npy;

enum { IMAGE_MAX_SIDE = 65535 };

/* An image with undefined pixels. E_LIMIT for a side over IMAGE_MAX_SIDE or an area over
 * IMAGE_MAX_PIXELS: decoders call this (or image_check) before they take any memory. */
int image_new(int64_t w, int64_t h, int channels, struct image *out, struct err *err);
int image_check(int64_t w, int64_t h, struct err *err);
/* Pillow's Image.resize for 8-bit L and RGB images; out is new. */
int image_resize(const struct image *im, int w, int h, enum pp_resize filter, struct image *out,
                 struct err *err);

/* Shape of an .npy file from its header alone; dims has room for MAX_RANK. */
int npy_shape(const char *path, int *rank, int64_t *dims, struct err *err);
/* Element `row` along the first axis; -1 = the whole array. */
int npy_load_row(const char *path, int64_t row, struct tensor **out, struct err *err);

#endif
