/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_formats_preprocess.c: settings as typed and from files, values and layouts. Equality with
 * Pillow is checked by oracle/check_preprocess.py.
 */
#include "tests/scratch.h"

#include <math.h>

/* ---- Settings ------------------------------------------------------------------------------- */

static struct preprocess defaults(int rank, const int64_t *dims)
{
    struct preprocess p;
    preprocess_default(&p, rank, dims);
    return p;
}

static void assert_text(const struct preprocess *p, const char *want)
{
    char text[256];
    assert_string_equal(preprocess_text(p, text, sizeof text), want);
}

static void default_settings(void **state)
{
    (void)state;
    static const struct {
        int rank;
        int64_t dims[4];
        const char *text; /* up to the range */
    } cases[] = {
        {4, {1, 3, 96, 128}, "size=96x128 crop=none resize=bilinear color=rgb layout=NCHW"},
        {4, {-1, 32, 24, 3}, "size=32x24 crop=none resize=bilinear color=rgb layout=NHWC"},
        {4, {1, 1, 28, 28}, "size=28x28 crop=none resize=bilinear color=gray layout=NCHW"},
        {4, {1, 49, 10, 1}, "size=49x10 crop=none resize=bilinear color=gray layout=NHWC"},
        {4, {-1, 3, -1, -1}, "size=224x224 crop=none resize=bilinear color=rgb layout=NCHW"},
        {3, {1, 28, 28, 0}, "size=28x28 crop=none resize=bilinear color=gray layout=NCHW"},
        {3, {8, 28, 20, 0}, "size=28x20 crop=none resize=bilinear color=gray layout=NCHW"},
        {2, {1, 640, 0, 0}, "size=224x224 crop=none resize=bilinear color=rgb layout=NCHW"},
        {0, {0}, "size=224x224 crop=none resize=bilinear color=rgb layout=NCHW"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct preprocess p = defaults(cases[i].rank, cases[i].dims);
        char want[128];
        snprintf(want, sizeof want, "%s range=0..1 mean=0 std=1", cases[i].text);
        assert_text(&p, want);
    }
}

static void settings_read_back(void **state)
{
    (void)state;
    static const char *const words[] = {
        "size=48x192", "crop=center:256", "resize=lanczos",        "color=BGR",
        "layout=nhwc", "range=0..255",    "mean=103.53,116.28,-1", "std=57.375,1e-3,58.395",
    };
    struct preprocess p = defaults(0, NULL), q = p;
    for (size_t i = 0; i < COUNT(words); i++) {
        assert_int_equal(preprocess_set(&p, words[i], NULL), OK);
    }
    assert_text(&p, "size=48x192 crop=center:256 resize=lanczos color=bgr layout=NHWC range=0..255 "
                    "mean=103.53,116.28,-1 std=57.375,0.001,58.395");
    char text[256];
    preprocess_text(&p, text, sizeof text);
    for (char *save = NULL, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_int_equal(preprocess_set(&q, w, NULL), OK);
    }
    assert_memory_equal(&p, &q, sizeof p);
    /* A third is not a short decimal. */
    p.mean[0] = p.mean[1] = p.mean[2] = 1.0 / 3;
    preprocess_text(&p, text, sizeof text);
    assert_non_null(strstr(text, "mean=0.3333333333333333 "));
}

static void bad_settings(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "size",
        "size=",
        "size=224",
        "size=0x224",
        "size=224x0x10",
        "size=224x",
        "size=-1x5",
        "size= 1x5",
        "size=99999x1",
        "size=65535x65535",
        "crop=middle",
        "crop=center:",
        "crop=center:0",
        "crop=center:1x",
        "resize=cubic",
        "color=rgba",
        "layout=CHW",
        "range=0..2",
        "mean=",
        "mean=1,2",
        "mean=1,2,3,",
        "mean=1,2,3,4",
        "mean=nan",
        "mean=inf",
        "mean=1;2;3",
        "mean= 1",
        "std=0",
        "std=1,0,1",
        "std=-1",
        "std=1e999",
        "speed=1",
        "=1",
        "",
    };
    struct preprocess p = defaults(0, NULL), before = p;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err err = {0};
        int rc = preprocess_set(&p, bad[i], &err);
        assert_error(rc, err, E_USAGE, "expected");
        assert_memory_equal(&p, &before, sizeof p);
    }
}

static void sidecar(void **state)
{
    (void)state;
    struct preprocess p = defaults(0, NULL);
    const char *good = "{\"size\": [32, 48], \"mean\": [0.5, 0.25, 0], \"std\": 0.5, \"range\": 1,"
                       " \"color\": \"bgr\", \"crop\": \"center:64\"}";
    assert_int_equal(preprocess_load(&p, scratch_text("pp.json", good), NULL), OK);
    assert_text(&p, "size=32x48 crop=center:64 resize=bilinear color=bgr layout=NCHW range=0..1 "
                    "mean=0.5,0.25,0 std=0.5");
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "line"},
        {"{\"size\": \"8x8\"", "line 1"},
        {"[1]", "not a JSON object"},
        {"{\"std\": 1, \"std\": 2}", "duplicate"},
        {"{\"std\": null}", "std"},
        {"{\"std\": [1, [2], 3]}", "std"},
        {"{\"std\": [1, 2]}", "expected one or three"},
        {"{\"speed\": 2}", "speed"},
        {"{\"mean\": 0, \"std\": -1}", "positive"},
        {"{\"size\": [8, 8, 8]}", "HxW"},
        {"{\"crop\": \"center:\\u0000\"}", ""},
    };
    struct preprocess before = p;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err err = {0};
        int rc = preprocess_load(&p, scratch_text("bad.json", bad[i].text), &err);
        assert_error(rc, err, E_FORMAT, bad[i].part);
        assert_non_null(strstr(err.text, "bad.json"));
        assert_memory_equal(&p, &before, sizeof p);
    }
    char *deep = mem_alloc(1 << 16);
    memset(deep, '[', (1 << 16) - 1);
    assert_int_equal(preprocess_load(&p, scratch_text("deep.json", deep), NULL), E_FORMAT);
    free(deep);
}

/* ---- Applying ------------------------------------------------------------------------------- */

/* A gray picture that differs from pixel to pixel. */
static struct image drawn(int w, int h)
{
    struct image im = {w, h, 1, mem_alloc((size_t)w * (size_t)h)};
    for (int i = 0; i < w * h; i++) {
        im.px[i] = (uint8_t)(i * 7);
    }
    return im;
}

static struct tensor *apply(const char *settings, const struct image *im, struct err *err)
{
    struct preprocess p = defaults(0, NULL);
    struct tensor *t = NULL;
    char text[256];
    snprintf(text, sizeof text, "%s", settings);
    for (char *save = NULL, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_int_equal(preprocess_set(&p, w, NULL), OK);
    }
    preprocess_apply(&p, im, &t, err);
    return t;
}

static void assert_values(struct tensor *t, const int64_t dims[4], const float *want)
{
    assert_non_null(t);
    assert_int_equal(t->dtype, DT_F32);
    assert_int_equal(t->rank, 4);
    assert_memory_equal(t->dims, dims, 4 * sizeof *dims);
    for (size_t i = 0; i < t->n; i++) {
        assert_true(fabsf(((const float *)t->data)[i] - want[i]) < 1e-6F);
    }
    tensor_free(t);
}

static void values_and_layouts(void **state)
{
    (void)state;
    struct image im = {2, 1, 3, (uint8_t[]){0, 51, 255, 102, 0, 0}};
    struct image gray = {1, 1, 1, (uint8_t[]){51}};
    assert_values(apply("size=1x2", &im, NULL), (const int64_t[]){1, 3, 1, 2},
                  (const float[]){0, 0.4F, 0.2F, 0, 1, 0});
    assert_values(apply("size=1x2 layout=NHWC color=bgr range=0..255 mean=1,2,3", &im, NULL),
                  (const int64_t[]){1, 1, 2, 3}, (const float[]){254, 49, -3, -1, -2, 99});
    /* (0 + 51 * 38470 + 255 * 7471 + 32768) >> 16 and 102 * 19595 + 32768 >> 16 */
    assert_values(apply("size=1x2 color=gray range=0..255", &im, NULL),
                  (const int64_t[]){1, 1, 1, 2}, (const float[]){59, 30});
    assert_values(apply("size=1x1 std=0.1", &gray, NULL), (const int64_t[]){1, 3, 1, 1},
                  (const float[]){2, 2, 2});
    assert_values(apply("size=1x2 mean=0.2 resize=nearest color=y", &gray, NULL),
                  (const int64_t[]){1, 1, 1, 2}, (const float[]){0, 0});
}

static void crops_and_limits(void **state)
{
    (void)state;
    struct image im = drawn(6, 4);
    struct err err = {0};
    /* No scaling: the middle of the picture. */
    assert_values(apply("size=2x2 crop=center:4 color=gray range=0..255", &im, NULL),
                  (const int64_t[]){1, 1, 2, 2},
                  (const float[]){im.px[8], im.px[9], im.px[14], im.px[15]});
    assert_null(apply("size=8x8 crop=center:4", &im, &err));
    assert_error(err.code, err, E_USAGE, "does not fit");
    assert_null(apply("size=4x4 color=gray mean=1,2,3", &im, &err));
    assert_error(err.code, err, E_USAGE, "one channel");
    image_fini(&im);
    /* A narrow picture would become 1000 x 65535000 before the crop. */
    struct image tall = drawn(1, 65535);
    assert_null(apply("size=8x8 crop=center:1000", &tall, &err));
    assert_error(err.code, err, E_LIMIT, "limit");
    image_fini(&tall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_settings),   cmocka_unit_test(settings_read_back),
        cmocka_unit_test(bad_settings),       cmocka_unit_test(sidecar),
        cmocka_unit_test(values_and_layouts), cmocka_unit_test(crops_and_limits),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
