/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * image.c: the one way to read a picture and the one place that limits its size. Decoding is in
 * png.c, jpeg.c and pnm.c; everything here is on 8-bit gray or RGB.
 */
#include "formats/rows.h"

#include <inttypes.h>
#include <stdlib.h>

static const size_t image_max_file = (size_t)256 << 20; /* bytes */

int image_check(int64_t w, int64_t h, struct err *err)
{
    if (w < 1 || h < 1) {
        return err_set(err, E_FORMAT, "image of %" PRId64 " x %" PRId64 " pixels is empty", w, h);
    }
    if (w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE || w * h > IMAGE_MAX_PIXELS) {
        return err_set(err, E_LIMIT,
                       "image of %" PRId64 " x %" PRId64
                       " pixels is over the limit of %d a side and %d in all",
                       w, h, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
    }
    return OK;
}

int image_new(int64_t w, int64_t h, int channels, struct image *out, struct err *err)
{
    int rc = image_check(w, h, err);
    if (rc) {
        return rc;
    }
    size_t size = (size_t)w * (size_t)h * (size_t)channels; /* at most 3 * IMAGE_MAX_PIXELS */
    uint8_t *px = malloc(size);
    if (!px) {
        return err_set(err, E_LIMIT, "no memory for an image of %zu bytes", size);
    }
    *out = (struct image){.w = (int)w, .h = (int)h, .channels = channels, .px = px};
    return OK;
}

void image_fini(struct image *im)
{
    free(im->px);
    *im = (struct image){0};
}

int image_load(const char *path, struct image *out, struct err *err)
{
    struct file f = {0};
    int rc = file_map(path, image_max_file, &f, err);
    if (rc) {
        return rc; /* file_map has named the path */
    }
    const struct format *format = format_of(path, f.data, f.size);
    if (!f.size) {
        rc = err_set(err, E_FORMAT, "file is empty, expected an image");
    } else if (!format || !format->load_image) {
        rc = err_set(err, E_UNSUPPORTED, "not an image in a known format (found %s)",
                     format ? format->name : "unknown bytes");
    } else {
        rc = format->load_image(&f, out, err);
    }
    if (rc) {
        err_in(err, "%s", path);
    }
    file_unmap(&f);
    return rc;
}
