/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * jpeg.c: JPEG through TurboJPEG with the settings Pillow uses: accurate DCT, smooth chroma
 * upsampling, no scaled decoding, orientation tags ignored. Gray stays one channel.
 */
#include "formats/rows.h"

#include <inttypes.h>
#include <turbojpeg.h>

/* A progressive file may make the decoder go over all pixels once per scan. */
enum { MAX_SCANS = 100 };
static const int64_t max_scanned_pixels = (int64_t)1 << 30;

/* Counts the scans by walking the markers, without decoding; 0 when no scan starts. Broken segment
 * lengths end the walk: the decoder then says what is wrong. */
static int jpeg_scans(const uint8_t *p, size_t n)
{
    enum { SOS = 0xDA, EOI = 0xD9, RST0 = 0xD0, SOI = 0xD8, TEM = 0x01 };
    int scans = 0;
    size_t i = 0;
    while (i + 3 < n && scans <= MAX_SCANS) {
        uint8_t marker = p[i + 1];
        if (p[i] != 0xFF || marker == 0x00 || marker == 0xFF || marker == TEM ||
            (marker >= RST0 && marker <= SOI)) {
            i++; /* compressed data, fill bytes, or a marker without a length */
            continue;
        }
        if (marker == EOI) {
            break;
        }
        scans += marker == SOS;
        i += 2 + ((size_t)p[i + 2] << 8 | p[i + 3]);
    }
    return scans;
}

/* What TurboJPEG reports after the pixels were written. Padding between segments is harmless and
 * common; every other warning means that pixels were guessed. */
static int jpeg_failure(tjhandle tj, struct err *err)
{
    const char *text = tjGetErrorStr2(tj);
    if (tjGetErrorCode(tj) == TJERR_WARNING && strstr(text, "extraneous bytes before marker")) {
        return OK;
    }
    return err_set(err, E_FORMAT, "jpeg: %s", text);
}

static int jpeg_decode(tjhandle tj, const struct file *f, struct image *im, struct err *err)
{
    int w = 0, h = 0, sampling = 0, space = 0;
    if (tjDecompressHeader3(tj, f->data, f->size, &w, &h, &sampling, &space)) {
        return err_set(err, E_FORMAT, "jpeg: %s", tjGetErrorStr2(tj));
    }
    if (space == TJCS_CMYK || space == TJCS_YCCK) {
        return err_set(err, E_UNSUPPORTED, "jpeg: CMYK image, expected gray or RGB");
    }
    int rc = image_check(w, h, err);
    if (rc) {
        return rc;
    }
    int scans = jpeg_scans(f->data, f->size);
    if (scans > MAX_SCANS || (int64_t)w * h * scans > max_scanned_pixels) {
        return err_set(err, E_LIMIT,
                       "jpeg: %d or more scans of %d x %d pixels, at most %d scans and %" PRId64
                       " pixels in all scans",
                       scans, w, h, MAX_SCANS, max_scanned_pixels);
    }
    bool gray = space == TJCS_GRAY;
    rc = image_new(w, h, gray ? 1 : 3, im, err);
    if (!rc && tjDecompress2(tj, f->data, f->size, im->px, w, 0, h, gray ? TJPF_GRAY : TJPF_RGB,
                             TJFLAG_ACCURATEDCT)) {
        rc = jpeg_failure(tj, err);
    }
    return rc;
}

static int jpeg_load(const struct file *f, struct image *out, struct err *err)
{
    struct image im = {0};
    tjhandle tj = tjInitDecompress();
    if (!tj) {
        return err_set(err, E_LIMIT, "no memory for the JPEG decoder");
    }
    int rc = jpeg_decode(tj, f, &im, err);
    if (rc) {
        image_fini(&im);
    } else {
        *out = im;
    }
    tjDestroy(tj);
    return rc;
}

static bool jpeg_probe(const uint8_t *head, size_t n)
{
    return n >= 3 && head[0] == 0xFF && head[1] == 0xD8 && head[2] == 0xFF;
}

const struct format format_jpeg = {
    .name = "jpeg",
    .extensions = ".jpg .jpeg .jpe .jfif",
    .help = "JPEG image, gray or colour, baseline and progressive",
    .probe = jpeg_probe,
    .load_image = jpeg_load,
};
