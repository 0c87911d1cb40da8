/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_files.c: files in and out: what is refused, that a target is old or new and nothing is left
 * behind, and that data beside a model cannot lead anywhere else.
 */
#include "tests/onnx_bytes.h"
#include "tests/scratch.h"

#include <dirent.h>

static void put_file(const char *name, const char *text)
{
    struct err err = {0};
    if (file_write(scratch(name), text, strlen(text), FILE_DURABLE, &err)) {
        fail_msg("%s", err.text);
    }
}

static size_t count_files(void)
{
    size_t n = 0;
    DIR *d = opendir(scratch_dir);
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n - 2; /* "." and ".." */
}

/* ---- Whole files ---------------------------------------------------------------------------- */

static void test_map(void **state)
{
    (void)state;
    struct file f = {0};
    struct err err = {0};
    put_file("a", "hello");
    assert_int_equal(file_map(scratch("a"), 0, &f, &err), OK);
    assert_int_equal(f.size, 5);
    assert_memory_equal(f.data, "hello", 5);
    assert_string_equal(f.path, scratch("a"));
    assert_true(f.mtime_ns > 0);
    file_unmap(&f);
    put_file("empty", "");
    assert_int_equal(file_map(scratch("empty"), 0, &f, &err), OK);
    assert_int_equal(f.size, 0);
    assert_null(f.data);
    file_unmap(&f);
    file_unmap(&f); /* twice does no harm */
    assert_int_equal(file_map(scratch("a"), 5, &f, &err), OK);
    file_unmap(&f);
    assert_int_equal(file_map(scratch("a"), 4, &f, &err), E_FORMAT);
    assert_int_equal(file_map(scratch("none"), 0, &f, &err), E_IO);
    assert_non_null(strstr(err.text, scratch("none")));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(file_map(scratch_dir, 0, &f, &err), E_IO);
    assert_non_null(strstr(err.text, "directory"));
    assert_int_equal(mkfifo(scratch("fifo"), 0600), 0);
    assert_int_equal(file_map(scratch("fifo"), 0, &f, &err), E_IO);
    assert_non_null(strstr(err.text, "fifo"));
    assert_int_equal(file_map("/dev/null", 0, &f, &err), E_IO);
}

/* Above the size from which files are mapped and not read. Sparse, so it costs no disk. */
static void test_map_large(void **state)
{
    (void)state;
    struct file f = {0};
    struct err err = {0};
    const off_t size = (64 << 20) + 3;
    put_file("large", "head");
    assert_int_equal(truncate(scratch("large"), size), 0);
    assert_int_equal(file_map(scratch("large"), 0, &f, &err), OK);
    assert_int_equal(f.size, size);
    assert_memory_equal(f.data, "head", 4);
    assert_int_equal(f.data[size - 1], 0);
    file_unmap(&f);
}

/* What a file is, is told by its first bytes, else by its name; what cannot be read is nothing. */
static void test_format(void **state)
{
    (void)state;
    const struct format *format = NULL;
    struct err err = {0};
    put_file("picture.npy", "P6\n1 1\n255\nabc");
    assert_int_equal(format_of_file(scratch("picture.npy"), &format, &err), OK);
    assert_string_equal(format->name, "pnm");
    put_file("empty.npy", "");
    assert_int_equal(format_of_file(scratch("empty.npy"), &format, &err), OK);
    assert_string_equal(format->name, "npy");
    put_file("unknown", "?");
    assert_int_equal(format_of_file(scratch("unknown"), &format, &err), OK);
    assert_null(format);
    assert_int_equal(format_of_file(scratch("none"), &format, &err), E_IO);
    assert_int_equal(format_of_file(scratch_dir, &format, &err), E_IO);
}

static void test_write(void **state)
{
    (void)state;
    struct err err = {0};
    struct stat st;
    mode_t mask = umask(027);
    put_file("a", "one");
    put_file("a", "another");
    umask(mask);
    assert_int_equal(stat(scratch("a"), &st), 0);
    assert_int_equal(st.st_size, 7);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(count_files(), 1);

    /* A symbolic link is replaced, what it points to stays. */
    assert_int_equal(symlink("a", scratch("link")), 0);
    put_file("link", "mine");
    assert_int_equal(stat(scratch("a"), &st), 0);
    assert_int_equal(st.st_size, 7);
    assert_int_equal(lstat(scratch("link"), &st), 0);
    assert_true(S_ISREG(st.st_mode));

    /* Failures leave nothing behind. */
    size_t before = count_files();
    assert_int_equal(file_write(scratch("no/such/place"), "x", 1, FILE_DURABLE, &err), E_IO);
    assert_int_equal(file_write(scratch_dir, "x", 1, FILE_DURABLE, &err), E_IO);
    assert_int_equal(file_write(scratch(""), "x", 1, FILE_DURABLE, &err), E_IO);
    assert_int_equal(file_write("/dev/full", "x", 1, FILE_DURABLE, &err), E_IO);
    assert_true(file_exists("/dev/full"));
    assert_int_equal(count_files(), before);
}

static void test_directories(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(file_mkdir(scratch("a/b//c/"), &err), OK);
    assert_true(file_is_dir(scratch("a/b/c")));
    assert_int_equal(file_mkdir(scratch("a/b"), &err), OK);
    assert_int_equal(file_mkdir("/", &err), OK);
    put_file("f", "x");
    assert_int_equal(file_mkdir(scratch("f/d"), &err), E_IO);
    assert_false(file_is_dir(scratch("f")));
    assert_true(file_exists(scratch("f")));
    assert_false(file_exists(scratch("g")));
}

/* ---- Data beside a model -------------------------------------------------------------------- */

static void test_below(void **state)
{
    (void)state;
    struct err err = {0};
    char got[8] = {0};
    uint64_t size = 0;
    char *model = mem_dup(scratch("m.onnx"));
    put_file("w.bin", "0123456789");
    put_file("outside", "secret");
    assert_int_equal(file_mkdir(scratch("sub/deep"), &err), OK);
    put_file("sub/deep/w.bin", "abc");
    assert_int_equal(symlink("w.bin", scratch("link")), 0);
    assert_int_equal(symlink("sub", scratch("linkdir")), 0);
    assert_int_equal(mkfifo(scratch("fifo"), 0600), 0);

    assert_int_equal(file_read_below(model, "w.bin", 3, 4, got, &err), OK);
    assert_memory_equal(got, "3456", 4);
    assert_int_equal(file_read_below(model, "./sub//deep/w.bin", 0, 3, got, &err), OK);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(file_size_below(model, "w.bin", &size, &err), OK);
    assert_int_equal(size, 10);
    assert_int_equal(file_read_below(model, "w.bin", 10, 0, got, &err), OK);

    char *sub = mem_dup(scratch("sub/m.onnx")), *absolute = mem_dup(scratch("outside"));
    static const struct {
        const char *name;
        int code;
    } refused[] = {
        {"../outside", E_FORMAT},
        {"deep/../../outside", E_FORMAT},
        {"..", E_FORMAT},
        {"", E_FORMAT},
        {"/etc/passwd", E_FORMAT},
        {"deep", E_IO},
        {".", E_IO},
        {"none", E_IO},
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        assert_int_equal(file_read_below(sub, refused[i].name, 0, 1, got, &err), refused[i].code);
    }
    assert_int_equal(file_read_below(sub, absolute, 0, 1, got, &err), E_FORMAT);
    free(absolute);
    free(sub);
    assert_int_equal(file_read_below(model, "link", 0, 1, got, &err), E_FORMAT);
    assert_int_equal(file_read_below(model, "linkdir/deep/w.bin", 0, 1, got, &err), E_FORMAT);
    assert_int_equal(file_read_below(model, "w.bin/x", 0, 1, got, &err), E_FORMAT);
    assert_int_equal(file_read_below(model, "fifo", 0, 1, got, &err), E_IO);
    assert_int_equal(file_read_below(model, "w.bin", 8, 4, got, &err), E_FORMAT);
    assert_int_equal(file_read_below(model, "w.bin", UINT64_MAX, 4, got, &err), E_FORMAT);
    assert_int_equal(file_read_below(model, "w.bin", 11, 0, got, &err), E_FORMAT);
    free(model);
}

/* A model with one initializer whose data lies elsewhere; NULL leaves a key out. */
static void put_external_model(struct wire_buf *b, enum dtype d, int64_t n, const char *location,
                               const char *offset, const char *length)
{
    const char *const entries[][2] = {
        {"location", location}, {"offset", offset}, {"length", length}, {"checksum", "whatever"}};
    size_t m = model_begin(b, 8, 13);
    put_node(b, "Relu", "w", "y");
    size_t t = wire_begin(b, GRAPH_INITIALIZER);
    wire_put_int(b, TENSOR_DIMS, (uint64_t)n);
    wire_put_int(b, TENSOR_DATA_TYPE, (uint64_t)d);
    wire_put_text(b, TENSOR_NAME, "w");
    wire_put_int(b, TENSOR_DATA_LOCATION, TENSOR_EXTERNAL);
    for (size_t i = 0; i < COUNT(entries); i++) {
        if (entries[i][1]) {
            size_t e = wire_begin(b, TENSOR_EXTERNAL_DATA);
            wire_put_text(b, ENTRY_KEY, entries[i][0]);
            wire_put_text(b, ENTRY_VALUE, entries[i][1]);
            wire_end(b, e);
        }
    }
    wire_end(b, t);
    put_info(b, GRAPH_OUTPUT, "y");
    wire_end(b, m);
}

static void test_external(void **state)
{
    (void)state;
    put_file("w.bin", "0123456789");
    static const struct {
        enum dtype d;
        int64_t n;
        const char *location, *offset, *length;
        int code;
    } cases[] = {
        {DT_U8, 10, "w.bin", NULL, NULL, OK},
        {DT_U8, 4, "w.bin", "6", "4", OK},
        {DT_S4, 3, "w.bin", "1", NULL, OK},
        {DT_U8, 0, "w.bin", "10", "0", OK},
        {DT_U8, 10, "w.bin", "1", NULL, E_FORMAT},
        {DT_F32, 3, "w.bin", NULL, NULL, E_FORMAT},
        {DT_U8, 4, "w.bin", NULL, "5", E_FORMAT},
        {DT_U8, 4, "w.bin", "18446744073709551615", NULL, E_FORMAT},
        {DT_U8, 4, "w.bin", "18446744073709551616", NULL, E_FORMAT},
        {DT_U8, 4, "w.bin", "-1", NULL, E_FORMAT},
        {DT_U8, 4, "w.bin", "0x1", NULL, E_FORMAT},
        {DT_U8, 4, "w.bin", "", NULL, E_FORMAT},
        {DT_U8, (int64_t)1 << 40, "w.bin", NULL, NULL, E_FORMAT},
        {DT_U8, 4, NULL, NULL, NULL, E_FORMAT},
        {DT_U8, 4, "../w.bin", NULL, NULL, E_FORMAT},
        {DT_U8, 4, "none", NULL, NULL, E_IO},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        struct graph *g = NULL;
        struct err err = {0};
        put_external_model(&b, cases[i].d, cases[i].n, cases[i].location, cases[i].offset,
                           cases[i].length);
        int rc = load_as(scratch("m.onnx"), b.p, b.n, &g, &err);
        if (rc != cases[i].code) {
            fail_msg("case %zu: %s %s", i, err_name(rc), err.text);
        }
        graph_free(g);
        wire_buf_fini(&b);
    }
}

/* A saved model needs no other file. */
static void test_external_inlined(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    struct graph *g = NULL;
    struct err err = {0};
    put_file("w.bin", "0123456789");
    put_external_model(&b, DT_U8, 4, "w.bin", "6", NULL);
    assert_int_equal(load_as(scratch("m.onnx"), b.p, b.n, &g, &err), OK);
    wire_buf_fini(&b);
    assert_int_equal(file_mkdir(scratch("else"), &err), OK);
    assert_int_equal(onnx_save(g, scratch("else/m.onnx"), &err), OK);
    graph_free(g);
    g = NULL;
    if (model_load(scratch("else/m.onnx"), &g, &err)) {
        fail_msg("%s", err.text);
    }
    const struct tensor *w = g->values[graph_find(g, "w")].constant;
    assert_int_equal(w->n, 4);
    assert_memory_equal(w->data, "6789", 4);
    graph_free(g);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(test_map),      IN_DIR(test_map_large),        IN_DIR(test_format),
        IN_DIR(test_write),    IN_DIR(test_directories),      IN_DIR(test_below),
        IN_DIR(test_external), IN_DIR(test_external_inlined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
