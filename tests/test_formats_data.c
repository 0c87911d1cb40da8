/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_formats_data.c: data sets with their labels, and samples as model inputs.
 */
#include "tests/scratch.h"

/* ---- Data sets ------------------------------------------------------------------------------ */

static const char pixel[] = "P2 1 1 255 51";

static size_t add(struct dataset *d, const char *path, struct dataset_options o)
{
    struct err err = {0};
    size_t added = 0;
    int rc = dataset_add(d, path, &o, &added, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, OK);
    return added;
}

/* "name=label name=label ...": the whole data set. */
static void assert_samples(const struct dataset *d, const char *want)
{
    char text[1024] = "";
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s=%d", i ? " " : "",
                              d->samples[i].name, d->samples[i].label);
    }
    assert_string_equal(text, want);
}

static void dataset_walks_sorted(void **state)
{
    (void)state;
    scratch_text("walk/b.pgm", pixel);
    scratch_text("walk/B.PGM", pixel);
    scratch_text("walk/a/z.ppm", pixel);
    scratch_text("walk/.hidden.pgm", pixel);
    scratch_text("walk/notes.txt", "");
    assert_int_equal(symlink("..", scratch("walk/a/circle")), 0);
    assert_int_equal(symlink("../b.pgm", scratch("walk/a/link.pgm")), 0);
    assert_int_equal(mkfifo(scratch("walk/pipe.pgm"), 0600), 0);
    struct dataset d = {0};
    assert_int_equal(add(&d, scratch("walk"), (struct dataset_options){0}), 4);
    assert_samples(&d, "B.PGM=-1 a/link.pgm=-1 a/z.ppm=-1 b.pgm=-1");
    /* Another spelling, a part, and a file: all there already. */
    assert_int_equal(add(&d, scratch("walk//"), (struct dataset_options){0}), 0);
    assert_int_equal(add(&d, scratch("walk/a"), (struct dataset_options){0}), 0);
    assert_int_equal(add(&d, scratch("walk/b.pgm"), (struct dataset_options){0}), 0);
    dataset_remove(&d, 1);
    assert_samples(&d, "B.PGM=-1 a/z.ppm=-1 b.pgm=-1");
    dataset_fini(&d);
    assert_int_equal(d.n, 0);
}

static void dataset_names_are_unique(void **state)
{
    (void)state;
    scratch_text("u/one/x.pgm", pixel);
    scratch_text("u/two/x.pgm", pixel);
    struct dataset d = {0};
    add(&d, scratch("u/one"), (struct dataset_options){0});
    add(&d, scratch("u/two"), (struct dataset_options){0});
    assert_samples(&d, "x.pgm=-1 two/x.pgm=-1");
    dataset_fini(&d);
}

static void dataset_directory_labels(void **state)
{
    (void)state;
    scratch_text("classes/dog/1.pgm", pixel);
    scratch_text("classes/dog/deep/2.pgm", pixel);
    scratch_text("classes/cat/1.pgm", pixel);
    scratch_text("classes/empty/readme", "");
    struct dataset d = {0};
    add(&d, scratch("classes"), (struct dataset_options){.label_offset = 1});
    assert_samples(&d, "cat/1.pgm=1 dog/1.pgm=2 dog/deep/2.pgm=2");
    assert_int_equal(d.n_names, 3);
    assert_null(d.names[0]);
    assert_string_equal(d.names[1], "cat");
    assert_string_equal(d.names[2], "dog");
    dataset_fini(&d);
    /* One class tells nothing apart; with a picture beside the directories there are none. */
    add(&d, scratch("classes/dog"), (struct dataset_options){0});
    assert_samples(&d, "1.pgm=-1 deep/2.pgm=-1");
    dataset_fini(&d);
    scratch_text("classes/3.pgm", pixel);
    add(&d, scratch("classes"), (struct dataset_options){0});
    assert_samples(&d, "3.pgm=-1 cat/1.pgm=-1 dog/1.pgm=-1 dog/deep/2.pgm=-1");
    dataset_fini(&d);
}

static void dataset_label_lists(void **state)
{
    (void)state;
    for (const char *name = "abcde"; *name; name++) {
        char file[32];
        snprintf(file, sizeof file, "list/%c.pgm", *name);
        scratch_text(file, pixel);
    }
    scratch_text("list/sub/a.pgm", pixel);
    scratch_text("list/x,\"y\".pgm", pixel);
    scratch_text("list/labels.csv", "\xEF\xBB\xBF"
                                    "file,label,name\r\na.pgm,3,three\r\n\r\nb.pgm,-1,\r\n"
                                    "./c.pgm,0\n\"x,\"\"y\"\".pgm\",7,\"a, b\",more\n"
                                    "missing.pgm,9,nine\nd.pgm,\nsub/a.pgm,4");
    struct dataset d = {0};
    add(&d, scratch("list"), (struct dataset_options){0});
    assert_samples(&d, "a.pgm=3 b.pgm=-1 c.pgm=0 d.pgm=-1 e.pgm=-1 sub/a.pgm=4 x,\"y\".pgm=7");
    assert_int_equal(d.n_names, 8);
    assert_string_equal(d.names[3], "three");
    assert_string_equal(d.names[7], "a, b");
    dataset_fini(&d);
    /* A file alone uses the list beside it; a list from elsewhere wins, its first line is data. */
    add(&d, scratch("list/a.pgm"), (struct dataset_options){.label_offset = 10});
    assert_samples(&d, "a.pgm=13");
    dataset_fini(&d);
    const char *other = scratch_text("other.csv", "a.pgm,1\nlist/b.pgm,2\nsub/a.pgm,5");
    add(&d, scratch("list"), (struct dataset_options){.labels = other});
    assert_samples(&d, "a.pgm=1 b.pgm=2 c.pgm=-1 d.pgm=-1 e.pgm=-1 sub/a.pgm=5 x,\"y\".pgm=-1");
    dataset_fini(&d);
}

static void dataset_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *part;
    } lists[] = {
        {"a.pgm,1\nb.pgm\n", "line 2: one column"},
        {"a.pgm,1\nb.pgm,cat\n", "line 2: label 'cat'"},
        {"a.pgm,1\nb.pgm,1x\n", "line 2"},
        {"a.pgm,1\nb.pgm,0x1\n", "line 2"},
        {"a.pgm,-2\n", "line 1: label -2"},
        {"a.pgm,1048576\n", "line 1: label 1048576"},
        {"a.pgm,99999999999999999999\n", "line 1: label"},
        {"a.pgm,1\na.pgm,2\n", "line 2: 'a.pgm' again, first on line 1"},
        {",1\n", "no file name"},
        {"\"a.pgm,1\n", "line 1"},
        {"\"a\"b.pgm,1\n", "quotes"},
    };
    struct dataset d = {0};
    struct err err = {0};
    size_t added = 77;
    scratch_text("r/a.pgm", pixel);
    add(&d, scratch("r"), (struct dataset_options){0});
    for (size_t i = 0; i < COUNT(lists); i++) {
        const struct dataset_options o = {.labels = scratch_text("bad.csv", lists[i].csv)};
        int rc = dataset_add(&d, scratch_dir, &o, &added, &err);
        assert_error(rc, err, E_FORMAT, lists[i].part);
        assert_non_null(strstr(err.text, "bad.csv"));
    }
    struct dataset_options o = {.labels = scratch_bytes("nul.csv", "a.pgm\0,1\n", 9)};
    int rc = dataset_add(&d, scratch_dir, &o, &added, &err);
    assert_error(rc, err, E_FORMAT, "zero byte");
    o.labels = scratch("missing.csv");
    rc = dataset_add(&d, scratch_dir, &o, &added, &err);
    assert_error(rc, err, E_IO, "missing.csv");
    o = (struct dataset_options){.labels = scratch_text("ok.csv", "a.pgm,1"), .label_offset = -2};
    rc = dataset_add(&d, scratch("r"), &o, &added, &err);
    assert_error(rc, err, E_USAGE, "offset -2");
    o = (struct dataset_options){0};
    rc = dataset_add(&d, scratch("nowhere"), &o, &added, &err);
    assert_error(rc, err, E_IO, "nowhere");
    rc = dataset_add(&d, scratch("ok.csv"), &o, &added, &err);
    assert_error(rc, err, E_UNSUPPORTED, "neither");
    o.n_inputs = 2;
    rc = dataset_add(&d, scratch("r/a.pgm"), &o, &added, &err);
    assert_error(rc, err, E_USAGE, "directory per sample");
    rc = dataset_add(&d, scratch("r"), &o, &added, &err);
    assert_error(rc, err, E_IO, "no pictures");
    assert_int_equal(added, 77);
    assert_samples(&d, "a.pgm=-1");
    dataset_fini(&d);
}

static void dataset_limits(void **state)
{
    (void)state;
    struct dataset d = {0}, again = {0};
    for (int i = 0; i < 20; i++) {
        char file[32];
        snprintf(file, sizeof file, "many/%02d.pgm", i);
        scratch_text(file, pixel);
    }
    add(&d, scratch("many"), (struct dataset_options){.limit = 3});
    assert_samples(&d, "00.pgm=-1 01.pgm=-1 02.pgm=-1");
    dataset_fini(&d);
    add(&d, scratch("many"), (struct dataset_options){.limit = 5, .seed = 42});
    add(&again, scratch("many"), (struct dataset_options){.limit = 5, .seed = 42});
    assert_int_equal(d.n, 5);
    for (size_t i = 0; i < d.n; i++) {
        assert_string_equal(d.samples[i].name, again.samples[i].name);
        assert_true(i == 0 || strcmp(d.samples[i - 1].name, d.samples[i].name) < 0);
    }
    assert_true(strcmp(d.samples[4].name, "04.pgm") != 0);
    dataset_fini(&d);
    dataset_fini(&again);
}

/* ---- Samples -------------------------------------------------------------------------------- */

static const struct model_input flat = {"x", DT_F32, 2, {1, 6}};

static const char *save(const char *name, enum dtype dtype, int rank, const int64_t *dims)
{
    struct tensor *t = scratch_tensor(dtype, rank, dims);
    const char *path = scratch(name);
    struct err err = {0};
    npy_save(t, path, &err);
    assert_string_equal(err.text, "");
    tensor_free(t);
    return path;
}

static int load(const char *path, int64_t row, const struct model_input *in, struct tensor **out,
                struct err *err)
{
    struct preprocess p;
    struct sample s = {.path = mem_dup(path), .row = row};
    preprocess_default(&p, in->rank, in->dims);
    int rc = sample_load(&s, &p, 1, in, out, err);
    free(s.path);
    return rc;
}

static void assert_loads(const char *path, const struct model_input *in, const char *want)
{
    struct tensor *t = NULL;
    struct err err = {0};
    char shape[64], text[96];
    int rc = load(path, -1, in, &t, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, OK);
    snprintf(text, sizeof text, "%s %s", dtype_name(t->dtype),
             shape_text(shape, sizeof shape, t->rank, t->dims));
    assert_string_equal(text, want);
    tensor_free(t);
}

static void sample_shapes(void **state)
{
    (void)state;
    const struct model_input any = {"x", DT_F32, -1, {0}}, open = {"x", DT_F32, 2, {-1, -1}},
                             bare = {"x", DT_F32, 1, {6}}, half = {"x", DT_F16, 2, {1, 6}};
    const char *one = save("s6.npy", DT_F32, 1, (const int64_t[]){6});
    const char *batch = save("s16.npy", DT_F32, 2, (const int64_t[]){1, 6});
    assert_loads(one, &flat, "float32 1x6");
    assert_loads(batch, &flat, "float32 1x6");
    assert_loads(batch, &bare, "float32 6");
    assert_loads(one, &any, "float32 6");
    assert_loads(one, &open, "float32 1x6");
    assert_loads(batch, &open, "float32 1x6");
    assert_loads(one, &half, "float16 1x6");
    assert_loads(save("d6.npy", DT_F64, 1, (const int64_t[]){6}), &flat, "float32 1x6");
    struct tensor *t = NULL;
    struct err err = {0};
    int rc = load(save("i6.npy", DT_S32, 1, (const int64_t[]){6}), -1, &flat, &t, &err);
    assert_error(rc, err, E_SHAPE, "sample is int32 6, input 'x' expects float32 1x6");
    rc = load(save("s7.npy", DT_F32, 1, (const int64_t[]){7}), -1, &flat, &t, &err);
    assert_error(rc, err, E_SHAPE, "float32 7");
    rc = load(save("s36.npy", DT_F32, 2, (const int64_t[]){3, 6}), -1, &flat, &t, &err);
    assert_error(rc, err, E_SHAPE, "one sample a row");
    rc = load(scratch_text("junk.npy", "junk"), -1, &flat, &t, &err);
    assert_error(rc, err, E_FORMAT, "junk.npy: npy:");
    assert_null(t);
}

static void sample_rows(void **state)
{
    (void)state;
    const struct model_input open = {"x", DT_F32, 2, {-1, 6}};
    scratch_text("rows/labels.csv", "three.npy,5");
    save("rows/one.npy", DT_F32, 2, (const int64_t[]){1, 6});
    const char *three = save("rows/three.npy", DT_F32, 2, (const int64_t[]){3, 6});
    struct dataset d = {0};
    add(&d, scratch("rows"), (struct dataset_options){.n_inputs = 1, .inputs = &flat});
    assert_samples(&d, "one.npy=-1 three.npy[0]=5 three.npy[1]=5 three.npy[2]=5");
    struct tensor *row = NULL, *all = NULL;
    assert_int_equal(tensor_load(three, &all, NULL), OK);
    assert_int_equal(load(d.samples[3].path, d.samples[3].row, &flat, &row, NULL), OK);
    assert_int_equal(row->size, 24);
    assert_memory_equal(row->data, (const uint8_t *)all->data + 48, 24);
    tensor_free(row);
    tensor_free(all);
    dataset_fini(&d);
    add(&d, scratch("rows"), (struct dataset_options){.n_inputs = 1, .inputs = &open});
    assert_int_equal(d.n, 4);
    dataset_fini(&d);
    /* Without a model nobody knows. */
    add(&d, scratch("rows"), (struct dataset_options){0});
    assert_int_equal(d.n, 2);
    dataset_fini(&d);
}

static void sample_directories(void **state)
{
    (void)state;
    const struct model_input in[] = {{"a/b", DT_F32, 1, {6}}, {"mask", DT_S64, 1, {2}}};
    struct tensor *t[2] = {NULL, NULL};
    struct preprocess p;
    struct err err = {0};
    preprocess_default(&p, 0, NULL);
    file_mkdir(scratch("multi/s1"), NULL);
    file_mkdir(scratch("multi/s2"), NULL);
    save("multi/s1/a_b.npy", DT_F32, 1, (const int64_t[]){6});
    save("multi/s1/mask.npy", DT_S64, 1, (const int64_t[]){2});
    save("multi/s1/output_0.npy", DT_S64, 1, (const int64_t[]){2});
    save("multi/s2/input_0.npy", DT_F32, 1, (const int64_t[]){6});
    struct dataset d = {0};
    add(&d, scratch("multi"), (struct dataset_options){.n_inputs = 2, .inputs = in});
    assert_samples(&d, "s1=-1 s2=-1");
    assert_int_equal(sample_load(&d.samples[0], &p, 2, in, t, NULL), OK);
    assert_int_equal(t[0]->n, 6);
    assert_int_equal(t[1]->n, 2);
    tensor_free(t[0]);
    tensor_free(t[1]);
    t[0] = NULL;
    int rc = sample_load(&d.samples[1], &p, 2, in, t, &err);
    assert_error(rc, err, E_IO, "no file for input 'mask', expected its name or input_1");
    assert_null(t[0]);
    scratch_text("multi/s2/input_1.pgm", pixel);
    rc = sample_load(&d.samples[1], &p, 2, in, t, &err);
    assert_error(rc, err, E_UNSUPPORTED, "only be the first input");
    dataset_fini(&d);
    /* One input: a directory with input_0 alone is a sample, its outputs are none. */
    add(&d, scratch("multi/s2"), (struct dataset_options){.n_inputs = 1, .inputs = in});
    assert_samples(&d, "input_0.npy=-1 input_1.pgm=-1");
    dataset_fini(&d);
    assert_int_equal(remove(scratch("multi/s2/input_1.pgm")), 0);
    add(&d, scratch("multi/s2"), (struct dataset_options){.n_inputs = 1, .inputs = in});
    assert_samples(&d, "s2=-1");
    assert_int_equal(sample_load(&d.samples[0], &p, 1, in, t, NULL), OK);
    tensor_free(t[0]);
    dataset_fini(&d);
}

static void sample_pictures(void **state)
{
    (void)state;
    const struct model_input nchw = {"x", DT_F32, 4, {1, 3, 1, 1}},
                             nhw = {"x", DT_F32, 3, {1, 2, 2}},
                             codes = {"x", DT_U8, 4, {1, 1, 1, 3}},
                             f64 = {"x", DT_F64, 4, {-1, 1, 1, 1}},
                             wide = {"x", DT_S32, 4, {1, 1, 1, 3}};
    const char *path = scratch_text("p.pgm", pixel);
    assert_loads(path, &nchw, "float32 1x3x1x1");
    assert_loads(path, &nhw, "float32 1x2x2");
    assert_loads(path, &f64, "float64 1x1x1x1");
    assert_loads(path, &codes, "uint8 1x1x1x3");
    struct tensor *t = NULL;
    struct err err = {0};
    assert_int_equal(load(path, -1, &codes, &t, NULL), OK);
    assert_memory_equal(t->data, "\x33\x33\x33", 3);
    tensor_free(t);
    int rc = load(path, -1, &wide, &t, &err);
    assert_error(rc, err, E_SHAPE, "is int32");
    /* int8 codes: 51 - 128. */
    struct sample s = {.path = mem_dup(path), .row = -1};
    struct model_input s8 = codes;
    struct preprocess p;
    s8.dtype = DT_S8;
    preprocess_default(&p, 4, s8.dims);
    rc = sample_load(&s, &p, 1, &s8, &t, &err);
    assert_error(rc, err, E_SHAPE, "mean 128");
    assert_int_equal(preprocess_set(&p, "range=0..255", NULL), OK);
    assert_int_equal(preprocess_set(&p, "mean=128", NULL), OK);
    assert_int_equal(sample_load(&s, &p, 1, &s8, &t, NULL), OK);
    assert_int_equal(tensor_s64(t, 0), 51 - 128);
    tensor_free(t);
    assert_int_equal(preprocess_set(&p, "layout=nhwc", NULL), OK);
    rc = sample_load(&s, &p, 1, &s8, &t, &err);
    assert_error(rc, err, E_SHAPE, "layout");
    free(s.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dataset_walks_sorted),
        cmocka_unit_test(dataset_names_are_unique),
        cmocka_unit_test(dataset_directory_labels),
        cmocka_unit_test(dataset_label_lists),
        cmocka_unit_test(dataset_refuses),
        cmocka_unit_test(dataset_limits),
        cmocka_unit_test(sample_shapes),
        cmocka_unit_test(sample_rows),
        cmocka_unit_test(sample_directories),
        cmocka_unit_test(sample_pictures),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
