/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * png.c: PNG through libpng's low-level interface, as Pillow's convert("RGB") sees it: alpha
 * dropped without blending, gamma and colour profiles ignored, 16 bit cut to the high byte.
 * One known difference: Pillow clips 16-bit gray at 255, which is of no use; here it is scaled.
 */
#include "formats/rows.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

/* All state that changes after setjmp() lives here, not in locals which longjmp() may spoil. */
struct png_reader {
    png_structp png;
    png_infop info;
    const struct file *file;
    size_t pos; /* byte of the file read next */
    struct image im;
    png_bytep *rows;
    int rc;         /* code of a failure found by this file, not by libpng */
    char text[128]; /* what libpng said */
    struct err *err;
};

static void png_fail(png_structp png, png_const_charp text)
{
    struct png_reader *r = png_get_error_ptr(png);
    snprintf(r->text, sizeof r->text, "%s", text);
    png_longjmp(png, 1);
}

static void png_warn(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text; /* warnings are about ancillary chunks, which have no effect on the pixels */
}

static void png_read(png_structp png, png_bytep dst, size_t n)
{
    struct png_reader *r = png_get_io_ptr(png);
    if (n > r->file->size - r->pos) {
        png_error(png, "file ends early");
    }
    memcpy(dst, r->file->data + r->pos, n);
    r->pos += n;
}

/* Limits against bombs: memory per chunk, number of cached chunks; text chunks, profiles and the
 * like are skipped unread. libpng's limits of the sides are opened: image_check() has its own
 * before anything is allocated, with a better text. */
static void png_limit(png_structp png)
{
    enum { CHUNK_BYTES = 8 << 20, CHUNKS = 16 };
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, CHUNK_BYTES);
    png_set_chunk_cache_max(png, CHUNKS);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
}

/* Asks libpng for 8-bit gray or RGB whatever the file holds; returns the channels. */
static int png_simplify(struct png_reader *r)
{
    int color = png_get_color_type(r->png, r->info);
    int depth = png_get_bit_depth(r->png, r->info);
    if (depth == 16) {
        png_set_strip_16(r->png);
    }
    if (color == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(r->png);
    } else if (color == PNG_COLOR_TYPE_GRAY && depth < 8) {
        png_set_expand_gray_1_2_4_to_8(r->png);
    }
    png_set_strip_alpha(r->png);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    return png_get_channels(r->png, r->info);
}

/* The part that libpng may leave by longjmp(). */
static int png_decode(struct png_reader *r)
{
    if (setjmp(png_jmpbuf(r->png))) {
        return err_set(r->err, E_FORMAT, "png: %s at byte %zu of %zu", r->text, r->pos,
                       r->file->size);
    }
    png_set_read_fn(r->png, r, png_read);
    png_limit(r->png);
    png_read_info(r->png, r->info);
    int64_t w = png_get_image_width(r->png, r->info);
    int64_t h = png_get_image_height(r->png, r->info);
    r->rc = image_check(w, h, r->err);
    if (r->rc) {
        return r->rc;
    }
    int channels = png_simplify(r);
    size_t stride = (size_t)w * (size_t)channels;
    if ((channels != 1 && channels != 3) || png_get_rowbytes(r->png, r->info) != stride) {
        return err_set(r->err, E_UNSUPPORTED, "png: %d channels, expected gray or RGB", channels);
    }
    r->rc = image_new(w, h, channels, &r->im, r->err);
    if (r->rc) {
        return r->rc;
    }
    r->rows = mem_alloc((size_t)h * sizeof *r->rows);
    for (int64_t y = 0; y < h; y++) {
        r->rows[y] = r->im.px + (size_t)y * stride;
    }
    png_read_image(r->png, r->rows);
    png_read_end(r->png, NULL);
    return OK;
}

static int png_load(const struct file *f, struct image *out, struct err *err)
{
    struct png_reader r = {.file = f, .err = err};
    int rc = OK;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, png_fail, png_warn);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (!r.info) {
        rc = err_set(err, E_LIMIT, "no memory for the PNG decoder");
        goto out;
    }
    rc = png_decode(&r);
    if (rc) {
        image_fini(&r.im);
        goto out;
    }
    *out = r.im;
out:
    free(r.rows);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return rc;
}

static bool png_probe(const uint8_t *head, size_t n)
{
    return n >= 8 && !png_sig_cmp(head, 0, 8);
}

int png_save(const struct image *im, const char *path, struct err *err)
{
    png_image head = {.version = PNG_IMAGE_VERSION,
                      .width = (png_uint_32)im->w,
                      .height = (png_uint_32)im->h,
                      .format = im->channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(head);
    void *data = malloc(size);
    int rc = OK;
    if (!data) {
        rc = err_set(err, E_LIMIT, "no memory for a PNG of %zu bytes", (size_t)size);
    } else if (!png_image_write_to_memory(&head, data, &size, 0, im->px, 0, NULL)) {
        rc = err_set(err, E_IO, "png: %s", head.message);
    } else {
        rc = file_write(path, data, size, FILE_DURABLE, err);
    }
    free(data);
    return rc;
}

const struct format format_png = {
    .name = "png",
    .extensions = ".png .apng",
    .help = "PNG image, all colour types and depths",
    .probe = png_probe,
    .load_image = png_load,
};
