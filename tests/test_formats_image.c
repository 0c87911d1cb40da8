/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_formats_image.c: decoders on good, odd and hostile files. Equality with Pillow is checked by
 * oracle/check_preprocess.py.
 */
#include "tests/scratch.h"

#include <png.h>
#include <turbojpeg.h>

/* ---- Fixtures ------------------------------------------------------------------------------- */

/* Rows of colours that differ everywhere; the caller frees px. */
static struct image drawn(int w, int h, int channels)
{
    struct image im = {w, h, channels, mem_alloc((size_t)w * (size_t)h * (size_t)channels)};
    for (int i = 0; i < w * h * channels; i++) {
        im.px[i] = (uint8_t)(i * 7 + i / 13 * 3);
    }
    return im;
}

struct png_kind {
    int depth, color, interlace;
    int channels; /* in a row of the file */
    bool palette_alpha;
};

/* Writes `rows` of raw bytes as a PNG of that kind. */
static const char *write_png(const char *name, int w, int h, struct png_kind kind,
                             const uint8_t *rows)
{
    const char *path = scratch(name);
    FILE *f = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color palette[4] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {100, 110, 120}};
    png_byte alpha[2] = {0, 128};
    png_bytep pointers[64];
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, kind.depth, kind.color, kind.interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (kind.color == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 4);
    }
    if (kind.palette_alpha) {
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_write_info(png, info);
    int stride = (w * kind.channels * kind.depth + 7) / 8;
    for (int y = 0; y < h; y++) {
        pointers[y] = (png_bytep)(uintptr_t)(rows + y * stride);
    }
    png_write_image(png, pointers);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(f);
    return path;
}

static const char *write_jpeg(const char *name, const struct image *im, int format, int sampling,
                              int flags)
{
    unsigned char *data = NULL;
    unsigned long size = 0;
    tjhandle tj = tjInitCompress();
    assert_int_equal(
        tjCompress2(tj, im->px, im->w, 0, im->h, format, &data, &size, sampling, 90, flags), 0);
    const char *path = scratch_bytes(name, data, size);
    tjFree(data);
    tjDestroy(tj);
    return path;
}

static void assert_pixels(const char *path, int w, int h, int channels, const uint8_t *px)
{
    struct image im = {0};
    struct err err = {0};
    int rc = image_load(path, &im, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, OK);
    assert_int_equal(im.w, w);
    assert_int_equal(im.h, h);
    assert_int_equal(im.channels, channels);
    assert_memory_equal(im.px, px, (size_t)w * (size_t)h * (size_t)channels);
    image_fini(&im);
}

static void assert_refused(const char *path, int code, const char *part)
{
    struct image im = {0};
    struct err err = {0};
    int rc = image_load(path, &im, &err);
    assert_error(rc, err, code, part);
    assert_non_null(strstr(err.text, path));
    assert_null(im.px);
}

/* Loads what a broken file has; true when it was refused, with a text. */
static bool refused(const uint8_t *data, size_t size, const char *name)
{
    struct image im = {0};
    struct err err = {0};
    int rc = image_load(scratch_bytes(name, data, size), &im, &err);
    assert_true(rc == OK || err.text[0]);
    image_fini(&im);
    return rc != OK;
}

/* Every shorter file and every flipped bit: nothing may crash, the shorter ones are all refused.
 * Returns how many of the flips were accepted. */
static int torture(const char *path, const char *name)
{
    size_t size = 0;
    int accepted = 0;
    uint8_t *data = scratch_read(path, &size);
    for (size_t n = 0; n < size; n++) {
        assert_true(refused(data, n, name));
    }
    for (size_t i = 0; i < size; i++) {
        int bit = 1 << i % 8;
        data[i] = (uint8_t)(data[i] ^ bit);
        accepted += !refused(data, size, name);
        data[i] = (uint8_t)(data[i] ^ bit);
    }
    free(data);
    return accepted;
}

/* ---- PNG ------------------------------------------------------------------------------------ */

static void png_saves_what_it_loads(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        struct image im = drawn(9, 5, channels);
        const char *path = scratch("saved.png");
        assert_int_equal(png_save(&im, path, NULL), OK);
        assert_pixels(path, 9, 5, channels, im.px);
        image_fini(&im);
    }
    struct image im = drawn(2, 2, 3);
    struct err err = {0};
    assert_int_equal(png_save(&im, scratch("no/such/dir.png"), &err), E_IO);
    image_fini(&im);
}

static void png_kinds(void **state)
{
    (void)state;
    const uint8_t bits[] = {0x1B}; /* 0 1 2 3 in two bits each */
    assert_pixels(
        write_png("gray2.png", 4, 1, (struct png_kind){2, PNG_COLOR_TYPE_GRAY, 0, 1, 0}, bits), 4,
        1, 1, (const uint8_t[]){0, 85, 170, 255});
    assert_pixels(write_png("gray1.png", 4, 1, (struct png_kind){1, PNG_COLOR_TYPE_GRAY, 0, 1, 0},
                            (const uint8_t[]){0x50}),
                  4, 1, 1, (const uint8_t[]){0, 255, 0, 255});
    assert_pixels(write_png("palette.png", 4, 1,
                            (struct png_kind){2, PNG_COLOR_TYPE_PALETTE, 0, 1, true}, bits),
                  4, 1, 3, (const uint8_t[]){10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120});
    assert_pixels(write_png("gray16.png", 2, 1, (struct png_kind){16, PNG_COLOR_TYPE_GRAY, 0, 1, 0},
                            (const uint8_t[]){0x12, 0xFF, 0xFE, 0x00}),
                  2, 1, 1, (const uint8_t[]){0x12, 0xFE});
    assert_pixels(write_png("rgba16.png", 1, 1,
                            (struct png_kind){16, PNG_COLOR_TYPE_RGB_ALPHA, 0, 4, 0},
                            (const uint8_t[]){1, 0xFF, 2, 0xFF, 3, 0xFF, 0, 0}),
                  1, 1, 3, (const uint8_t[]){1, 2, 3});
    assert_pixels(write_png("la.png", 2, 1,
                            (struct png_kind){8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, 2, 0},
                            (const uint8_t[]){7, 0, 9, 255}),
                  2, 1, 1, (const uint8_t[]){7, 9});
}

static void png_interlaced(void **state)
{
    (void)state;
    struct image im = drawn(37, 23, 3);
    const char *path =
        write_png("adam7.png", 37, 23, (struct png_kind){8, PNG_COLOR_TYPE_RGB, 1, 3, 0}, im.px);
    assert_pixels(path, 37, 23, 3, im.px);
    image_fini(&im);
}

static void png_hostile(void **state)
{
    (void)state;
    struct image im = drawn(11, 7, 3);
    for (int interlace = 0; interlace < 2; interlace++) {
        const char *path = write_png(
            "victim.png", 11, 7, (struct png_kind){8, PNG_COLOR_TYPE_RGB, interlace, 3, 0}, im.px);
        /* Each byte is under the signature or a checksum. */
        assert_int_equal(torture(path, "broken.png"), 0);
    }
    image_fini(&im);
}

/* Overwrites `n` bytes at `at` and repairs the checksum of the header chunk. */
static void patch_header(uint8_t *png, size_t at, const uint8_t *bytes, size_t n)
{
    memcpy(png + at, bytes, n);
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 12; i < 29; i++) {
        crc ^= png[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
        }
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++) {
        png[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
}

static void png_limits(void **state)
{
    (void)state;
    size_t size = 0;
    struct image im = drawn(2, 2, 3);
    assert_int_equal(png_save(&im, scratch("small.png"), NULL), OK);
    image_fini(&im);
    uint8_t *png = scratch_read(scratch("small.png"), &size);
    /* Width and height stand at 16 and 20. */
    patch_header(png, 16, (const uint8_t[]){0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF}, 8);
    assert_refused(scratch_bytes("bomb.png", png, size), E_LIMIT, "65535 x 65535");
    patch_header(png, 16, (const uint8_t[]){0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1}, 8);
    assert_refused(scratch_bytes("bomb.png", png, size), E_LIMIT, "2147483647 x 1");
    patch_header(png, 16, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 1}, 8);
    assert_refused(scratch_bytes("bomb.png", png, size), E_FORMAT, "png: ");
    /* 8192 x 8192 is the largest that passes the limit; its pixels are not there. */
    patch_header(png, 16, (const uint8_t[]){0, 0, 0x20, 0, 0, 0, 0x20, 0}, 8);
    assert_refused(scratch_bytes("bomb.png", png, size), E_FORMAT, "png: ");
    free(png);
}

/* ---- JPEG ----------------------------------------------------------------------------------- */

static void jpeg_keeps_gray_and_colour(void **state)
{
    (void)state;
    struct image im = drawn(16, 8, 3), out = {0};
    memset(im.px, 200, 16 * 8 * 3);
    assert_int_equal(image_load(write_jpeg("rgb.jpg", &im, TJPF_RGB, TJSAMP_420, 0), &out, NULL),
                     OK);
    assert_int_equal(out.channels, 3);
    assert_true(out.w == 16 && out.h == 8 && abs(out.px[0] - 200) <= 1);
    image_fini(&out);
    assert_int_equal(image_load(write_jpeg("gray.jpg", &im, TJPF_RGB, TJSAMP_GRAY, 0), &out, NULL),
                     OK);
    assert_int_equal(out.channels, 1);
    assert_true(abs(out.px[0] - 200) <= 1);
    image_fini(&out);
    image_fini(&im);
}

static void jpeg_refuses_cmyk(void **state)
{
    (void)state;
    struct image im = drawn(8, 8, 4);
    assert_refused(write_jpeg("cmyk.jpg", &im, TJPF_CMYK, TJSAMP_444, 0), E_UNSUPPORTED, "CMYK");
    image_fini(&im);
}

static void jpeg_hostile(void **state)
{
    (void)state;
    struct image im = drawn(24, 16, 3);
    torture(write_jpeg("victim.jpg", &im, TJPF_RGB, TJSAMP_420, 0), "broken.jpg");
    torture(write_jpeg("victim.jpg", &im, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE), "broken.jpg");
    image_fini(&im);
}

static size_t find_marker(const uint8_t *p, size_t n, uint8_t marker, bool last)
{
    size_t found = n;
    for (size_t i = 0; i + 1 < n && (last || found == n); i++) {
        found = p[i] == 0xFF && p[i + 1] == marker ? i : found;
    }
    assert_true(found < n);
    return found;
}

static void jpeg_limits(void **state)
{
    (void)state;
    size_t size = 0;
    struct image im = drawn(24, 16, 3);
    uint8_t *jpeg = scratch_read(
        write_jpeg("progressive.jpg", &im, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE), &size);
    image_fini(&im);
    /* The last scan again and again. */
    size_t scan = find_marker(jpeg, size, 0xDA, true), length = size - 2 - scan;
    uint8_t *bomb = mem_alloc(scan + length * 120 + 2);
    memcpy(bomb, jpeg, scan);
    for (size_t i = 0; i < 120; i++) {
        memcpy(bomb + scan + i * length, jpeg + scan, length);
    }
    memcpy(bomb + scan + 120 * length, jpeg + size - 2, 2);
    assert_refused(scratch_bytes("scans.jpg", bomb, scan + length * 120 + 2), E_LIMIT, "scans");
    /* Height and width stand 5 bytes after the start of frame. */
    size_t frame = find_marker(jpeg, size, 0xC2, false);
    memcpy(jpeg + frame + 5, (const uint8_t[]){0xFF, 0xDC, 0xFF, 0xDC}, 4);
    assert_refused(scratch_bytes("huge.jpg", jpeg, size), E_LIMIT, "65500 x 65500");
    free(bomb);
    free(jpeg);
}

/* ---- PNM ------------------------------------------------------------------------------------ */

static void pnm_kinds(void **state)
{
    (void)state;
    assert_pixels(scratch_text("a.pgm", "P2 # text\n3 1\n# maximum\n3 0 1 3"), 3, 1, 1,
                  (const uint8_t[]){0, 85, 255});
    assert_pixels(scratch_text("b.ppm", "P3\n1 1 255\n1 2 3\n"), 1, 1, 3,
                  (const uint8_t[]){1, 2, 3});
    assert_pixels(scratch_text("c.pgm", "P5 3 1 255\nA#C"), 3, 1, 1, (const uint8_t *)"A#C");
    assert_pixels(scratch_text("d.ppm", "P6 1 1 255 abc"), 1, 1, 3, (const uint8_t *)"abc");
    /* 0x7FFF and 0x8000 of 65535 are just below and above 127.5. */
    assert_pixels(scratch_bytes("e.pgm", "P5 2 1 65535\n\x7F\xFF\x80\x00", 17), 2, 1, 1,
                  (const uint8_t[]){127, 128});
    /* 127.5 and 42.5 go to the even neighbour. */
    assert_pixels(scratch_text("f.pgm", "P2 1 1 2 1"), 1, 1, 1, (const uint8_t[]){128});
    assert_pixels(scratch_text("g.pgm", "P2 1 1 6 1"), 1, 1, 1, (const uint8_t[]){42});
}

static void pnm_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *part;
    } cases[] = {
        {"P5", E_FORMAT, "P2"},
        {"P5 ", E_FORMAT, "width"},
        {"P5 3 x", E_FORMAT, "height"},
        {"P5 3 3 # no end", E_FORMAT, "maximal value"},
        {"P5 0 3 255 ", E_FORMAT, "empty"},
        {"P5 3 3 0 ", E_FORMAT, "1..65535"},
        {"P5 3 3 65536 ", E_FORMAT, "1..65535"},
        {"P5 3 3 255", E_FORMAT, "white space"},
        {"P5 3 3 255 12345678", E_FORMAT, "cut"},
        {"P6 65535 65535 255 ", E_LIMIT, "limit"},
        {"P6 99999 1 255 ", E_LIMIT, "limit"},
        {"P6 9999999999 1 255 ", E_FORMAT, "9 digits"},
        {"P2 8000 8000 255 1", E_FORMAT, "cut"},
        {"P2 2 1 255 1 256", E_FORMAT, "over the maximum"},
        {"P2 2 1 255 1 -1 ", E_FORMAT, "sample"},
        {"P5 1 1 100 z", E_FORMAT, "over the maximum"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_refused(scratch_text("bad.pgm", cases[i].text), cases[i].code, cases[i].part);
    }
    torture(scratch_text("victim.ppm", "P6 3 2 255\nabcdefghijklmnopqr"), "broken.ppm");
}

static void other_files(void **state)
{
    (void)state;
    assert_refused(scratch_text("empty.png", ""), E_FORMAT, "empty");
    assert_refused(scratch_text("text.png", "not a picture at all"), E_FORMAT, "png: ");
    assert_refused(scratch_text("text.txt", "not a picture at all"), E_UNSUPPORTED, "known format");
    assert_refused(scratch("missing.png"), E_IO, "missing.png");
    assert_refused(scratch_dir, E_IO, "directory");
    /* Bytes count more than names. */
    assert_pixels(scratch_text("really_pgm.png", "P2 1 1 255 9"), 1, 1, 1, (const uint8_t[]){9});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_saves_what_it_loads),
        cmocka_unit_test(png_kinds),
        cmocka_unit_test(png_interlaced),
        cmocka_unit_test(png_hostile),
        cmocka_unit_test(png_limits),
        cmocka_unit_test(jpeg_keeps_gray_and_colour),
        cmocka_unit_test(jpeg_refuses_cmyk),
        cmocka_unit_test(jpeg_hostile),
        cmocka_unit_test(jpeg_limits),
        cmocka_unit_test(pnm_kinds),
        cmocka_unit_test(pnm_hostile),
        cmocka_unit_test(other_files),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
