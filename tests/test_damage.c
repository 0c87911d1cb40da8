/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_damage.c: models cut off and changed at random: an error or a graph, and nothing else; and
 * broken files found elsewhere, each with its code and words. Meant to run under sanitizers.
 */
#include "tests/onnx_bytes.h"

/* ---- Damage --------------------------------------------------------------------------------- */

/* Loads; what loads must also go out and come back. */
static void try_bytes(const uint8_t *p, size_t n, size_t *loaded)
{
    struct graph *g = NULL, *again = NULL;
    struct err err = {0};
    int rc = load_as("damaged.onnx", p, n, &g, &err);
    if (rc) {
        assert_int_equal(rc, err.code);
        assert_true(err.text[0] != '\0');
        return;
    }
    ++*loaded;
    struct wire_buf b = {0};
    if (onnx_write(g, &b, &err) == OK) {
        if (load_bytes(&b, &again, &err)) {
            fail_msg("what was written does not load: %s", err.text);
        }
        assert_int_equal(again->n_nodes, g->n_nodes);
        graph_free(again);
    }
    wire_buf_fini(&b);
    graph_free(g);
}

static void test_small_damage(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    size_t loaded = 0;
    put_small_model(&b);
    for (size_t n = 0; n < b.n; n++) {
        try_bytes(b.p, n, &loaded);
    }
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        try_bytes(b.p, b.n, &loaded);
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* Every byte replaced by every value. */
    for (size_t i = 0; i < b.n; i++) {
        uint8_t kept = b.p[i];
        for (int v = 0; v < 256; v++) {
            b.p[i] = (uint8_t)v;
            try_bytes(b.p, b.n, &loaded);
        }
        b.p[i] = kept;
    }
    assert_true(loaded > 0);
    wire_buf_fini(&b);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* One real model: cut off at many places, and with random bits turned. */
static void damage(const char *path, size_t rounds, uint64_t *seed)
{
    struct file f = {0};
    struct err err = {0};
    size_t loaded = 0;
    if (file_map(path, 0, &f, &err)) {
        fail_msg("%s", err.text);
    }
    uint8_t *copy = malloc(f.size);
    memcpy(copy, f.data, f.size);
    size_t cuts = MIN(f.size, rounds);
    for (size_t i = 0; i < cuts; i++) {
        try_bytes(copy, f.size <= rounds ? i : next_random(seed) % f.size, &loaded);
    }
    for (size_t i = 0; i < rounds; i++) {
        /* Half of the bits in what is not weights: the first and last kilobytes. */
        size_t place[8];
        size_t n = 1 + next_random(seed) % COUNT(place);
        for (size_t k = 0; k < n; k++) {
            size_t near = next_random(seed) % MIN(f.size, (size_t)4096);
            uint64_t r = next_random(seed);
            place[k] = r & 1 ? r / 4 % f.size : r & 2 ? near : f.size - 1 - near;
            copy[place[k]] ^= (uint8_t)(1 << (r >> 60) % 8);
        }
        try_bytes(copy, f.size, &loaded);
        for (size_t k = 0; k < n; k++) {
            copy[place[k]] = f.data[place[k]];
        }
    }
    free(copy);
    file_unmap(&f);
}

static void test_real_damage(void **state)
{
    (void)state;
    static const char *const names[] = {
        "mnist8_cntk/fp32.onnx",
        "mnist8_cntk/int8_qop_u8u8.onnx",
        "mnist8_cntk/int8_qdq_pt_sym.onnx",
        "super_resolution/int8_qdq_pc.onnx",
        "resnet8_cifar10/int8_qop_u8s8.onnx",
        "tinynet_se_cifar10/int8_dynamic_wild.onnx",
        "vit_mnist/int8_qdq_pc.onnx",
        "ppocr_cls_mbv3/fp32.onnx",
    };
    const char *models = shared_path("models");
    if (!models) {
        print_message("no shared data: skipped\n");
        skip();
    }
    char *root = mem_dup(models);
    uint64_t seed = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < COUNT(names); i++) {
        char *path = mem_printf("%s/%s", root, names[i]);
        damage(path, 1000, &seed);
        free(path);
    }
    free(root);
}

/* ---- Found files ---------------------------------------------------------------------------- */

static void test_negative_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int code;
        const char *words;
    } cases[] = {
        {"empty.onnx", E_FORMAT, "no graph"},
        {"missing_external_data.onnx", E_IO, "No such file"},
        {"pg_bad_graph_conditionally_invalid.onnx", OK, ""},
        {"pg_bad_graph_with_dup_value_info.onnx", E_FORMAT, "two graph inputs"},
        {"pg_bad_graph_with_duplicate_node_names.onnx", E_FORMAT, "two nodes"},
        {"pg_bad_graph_with_no_import_domains.onnx", E_FORMAT, "opset_import"},
        {"pg_bad_graph_with_no_name.onnx", OK, ""},
        {"pg_custom_op_node.onnx", OK, ""}, /* refused when it is to run */
        {"pg_dim_param.onnx", OK, ""},
        {"pg_unsorted.onnx", OK, ""},
        {"random.onnx", E_FORMAT, "byte 96"},
        {"truncated.onnx", E_FORMAT, "byte 28"},
        {"text.tflite", E_FORMAT, "does not lie in the file"},
        {"truncated.tflite", E_FORMAT, "outside of the file"},
        {"model_invoking_error.tflite", OK, ""}, /* refused when it is to run */
        {"README.md", E_UNSUPPORTED, "not a model"},
        {"no such file", E_IO, "No such file"},
        {"", E_IO, "directory"},
    };
    const char *found = shared_path("negative");
    if (!found) {
        print_message("no shared data: skipped\n");
        skip();
    }
    char *root = mem_dup(found);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *path = mem_printf("%s/%s", root, cases[i].name);
        struct graph *g = NULL;
        struct err err = {0};
        int rc = model_load(path, &g, &err);
        if (rc != cases[i].code || !strstr(err.text, cases[i].words)) {
            fail_msg("%s: %s %s", cases[i].name, err_name(rc), err.text);
        }
        if (rc) {
            assert_true(strncmp(err.text, path, strlen(path)) == 0);
            assert_null(strchr(err.text, '\n'));
        }
        graph_free(g);
        free(path);
    }
    free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_damage),
        cmocka_unit_test(test_real_damage),
        cmocka_unit_test(test_negative_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
