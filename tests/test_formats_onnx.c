/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_formats_onnx.c: models and tensors that are well formed: read right. Writing is in
 * test_write.c, what must be refused in test_hostile.c.
 */
#include "tests/onnx_bytes.h"

/* ---- Tensors -------------------------------------------------------------------------------- */

/* Loads the only tensor of b as a .pb file. */
static struct tensor *load_pb(const struct wire_buf *b)
{
    struct tensor *t = NULL;
    struct err err = {0};
    const struct file f = {.path = (char *)"t.pb", .data = b->p, .size = b->n};
    if (onnx_load_tensor(&f, &t, &err)) {
        fail_msg("%s", err.text);
    }
    return t;
}

static void put_head(struct wire_buf *b, enum dtype d, int64_t n)
{
    wire_put_int(b, TENSOR_DIMS, (uint64_t)n);
    wire_put_int(b, TENSOR_DATA_TYPE, (uint64_t)d);
}

/* Three numbers as one field each, or packed into one. */
static void put_numbers(struct wire_buf *b, uint32_t field, const int64_t v[3], bool packed)
{
    struct wire_buf list = {0}, numbers = {0};
    for (int i = 0; i < 3; i++) {
        wire_put_int(packed ? &list : b, field, (uint64_t)v[i]);
    }
    if (packed) {
        /* The same without their tags. */
        for (struct wire w = wire_open(list.p, (struct span){list.p, list.n}); wire_more(&w);) {
            struct wire_item it;
            assert_int_equal(wire_next(&w, &it, NULL), OK);
            struct wire one = wire_list(&w, &it);
            wire_put_raw(&numbers, (struct span){one.p, (size_t)(one.end - one.p)});
        }
        wire_put_bytes(b, field, numbers.p, numbers.n);
    }
    wire_buf_fini(&numbers);
    wire_buf_fini(&list);
}

/* Each type from its list against the numbers put in. */
static void test_typed_lists(void **state)
{
    (void)state;
    static const struct {
        enum dtype d;
        uint32_t field;
        int64_t v[3];
        double want[3];
    } cases[] = {
        {DT_S8, TENSOR_INT32_DATA, {-128, 0, 127}, {-128, 0, 127}},
        {DT_U8, TENSOR_INT32_DATA, {0, 200, 255}, {0, 200, 255}},
        {DT_S16, TENSOR_INT32_DATA, {-32768, 1, 32767}, {-32768, 1, 32767}},
        {DT_U16, TENSOR_INT32_DATA, {0, 1, 65535}, {0, 1, 65535}},
        {DT_S32, TENSOR_INT32_DATA, {INT32_MIN, -1, INT32_MAX}, {INT32_MIN, -1, INT32_MAX}},
        {DT_BOOL, TENSOR_INT32_DATA, {0, 1, 7}, {0, 1, 1}},
        {DT_F16, TENSOR_INT32_DATA, {0x3c00, 0xc000, 0}, {1, -2, 0}},
        {DT_BF16, TENSOR_INT32_DATA, {0x3f80, 0xc000, 0}, {1, -2, 0}},
        {DT_S64, TENSOR_INT64_DATA, {INT64_MIN, -1, 1LL << 40}, {-0x1p63, -1, 0x1p40}},
        {DT_U32, TENSOR_UINT64_DATA, {0, 1, UINT32_MAX}, {0, 1, UINT32_MAX}},
        {DT_U64, TENSOR_UINT64_DATA, {0, 1, -1}, {0, 1, 0x1p64}},
    };
    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        struct wire_buf b = {0};
        put_head(&b, cases[i / 2].d, 3);
        put_numbers(&b, cases[i / 2].field, cases[i / 2].v, i % 2);
        struct tensor *t = load_pb(&b);
        assert_int_equal(t->dtype, cases[i / 2].d);
        for (size_t k = 0; k < 3; k++) {
            assert_true(tensor_f64(t, k) == cases[i / 2].want[k]);
        }
        tensor_free(t);
        wire_buf_fini(&b);
    }
}

static void test_float_lists(void **state)
{
    (void)state;
    const float f[2] = {1.5f, -0.25f};
    const double d[2] = {1e300, -2};
    struct wire_buf b = {0};
    put_head(&b, DT_F32, 2);
    wire_put_f32(&b, TENSOR_FLOAT_DATA, f[0]);
    wire_put_bytes(&b, TENSOR_FLOAT_DATA, &f[1], sizeof f[1]); /* both kinds mixed */
    struct tensor *t = load_pb(&b);
    assert_memory_equal(t->data, f, sizeof f);
    tensor_free(t);
    wire_buf_fini(&b);
    put_head(&b, DT_F64, 2);
    wire_put_bytes(&b, TENSOR_DOUBLE_DATA, d, sizeof d);
    t = load_pb(&b);
    assert_memory_equal(t->data, d, sizeof d);
    tensor_free(t);
    wire_buf_fini(&b);
}

static void test_nibbles(void **state)
{
    (void)state;
    const uint8_t packed[2] = {0x8f, 0x07};
    static const struct {
        enum dtype d;
        double want[3];
    } cases[] = {{DT_U4, {15, 8, 7}}, {DT_S4, {-1, -8, 7}}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int raw = 0; raw < 2; raw++) {
            struct wire_buf b = {0};
            put_head(&b, cases[i].d, 3);
            if (raw) {
                wire_put_bytes(&b, TENSOR_RAW_DATA, packed, sizeof packed);
            } else {
                wire_put_int(&b, TENSOR_INT32_DATA, packed[0]);
                wire_put_int(&b, TENSOR_INT32_DATA, packed[1]);
            }
            struct tensor *t = load_pb(&b);
            for (size_t k = 0; k < 3; k++) {
                assert_true(tensor_f64(t, k) == cases[i].want[k]);
            }
            /* And packed again as they were. */
            struct wire_buf out = {0};
            tensor_proto_write_data(&out, t);
            assert_int_equal(out.n, 2 + sizeof packed);
            assert_memory_equal(out.p + 2, packed, sizeof packed);
            wire_buf_fini(&out);
            tensor_free(t);
            wire_buf_fini(&b);
        }
    }
}

static void test_strings(void **state)
{
    (void)state;
    static const char *const words[3] = {"red", "", "blue"};
    struct wire_buf b = {0};
    put_head(&b, DT_STRING, 3);
    for (size_t i = 0; i < 3; i++) {
        wire_put_text(&b, TENSOR_STRING_DATA, words[i]);
    }
    struct tensor *t = load_pb(&b);
    assert_int_equal(t->dtype, DT_STRING);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tensor_string(t, i).n, strlen(words[i]));
        assert_memory_equal(tensor_string(t, i).p, words[i], strlen(words[i]));
    }
    /* And written as they were. */
    struct wire_buf again = {0};
    put_head(&again, DT_STRING, 3);
    tensor_proto_write_data(&again, t);
    assert_int_equal(again.n, b.n);
    assert_memory_equal(again.p, b.p, b.n);
    wire_buf_fini(&again);
    wire_buf_fini(&b);
    tensor_free(t);
}

/* Strings in other places than string_data, or another number of them than the shape says. */
static void test_bad_strings(void **state)
{
    (void)state;
    static const struct {
        uint32_t field;
        const char *text;
        int64_t n;
        const char *words;
    } cases[] = {
        {TENSOR_STRING_DATA, "a", 2, "string_data has 1 strings, expected 2 for 2"},
        {TENSOR_STRING_DATA, "a", INT64_MAX, "string_data has 1 strings"},
        {TENSOR_STRING_DATA, "a", 0, "string_data has 1 strings, expected 0"},
        {TENSOR_RAW_DATA, "a", 1, "strings in raw_data"},
        {TENSOR_FLOAT_DATA, "abcd", 1, "string data in field 4"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        size_t g = model_begin(&b, 8, 13);
        size_t t = wire_begin(&b, GRAPH_INITIALIZER);
        put_head(&b, DT_STRING, cases[i].n);
        wire_put_text(&b, TENSOR_NAME, "words");
        wire_put_text(&b, cases[i].field, cases[i].text);
        wire_end(&b, t);
        wire_end(&b, g);
        must_refuse("strings", &b, E_FORMAT, cases[i].words);
        wire_buf_fini(&b);
    }
}

static void test_empty_and_scalar(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    put_head(&b, DT_F32, 0);
    struct tensor *t = load_pb(&b);
    assert_int_equal(t->n, 0);
    tensor_free(t);
    wire_buf_fini(&b);
    wire_put_int(&b, TENSOR_DATA_TYPE, DT_S64);
    wire_put_int(&b, TENSOR_INT64_DATA, 42);
    t = load_pb(&b);
    assert_int_equal(t->rank, 0);
    assert_int_equal(tensor_s64(t, 0), 42);
    tensor_free(t);
    wire_buf_fini(&b);
}

/* ---- Graphs --------------------------------------------------------------------------------- */

static void test_small_model(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    put_small_model(&b);
    struct graph *g = must_load(&b);
    assert_string_equal(g->name, "small");
    assert_int_equal(g->opset, 13);
    assert_int_equal(g->opset_ms, 0);
    assert_int_equal(g->n_nodes, 2);
    assert_int_equal(g->n_inputs, 1);
    assert_int_equal(g->n_outputs, 1);
    assert_string_equal(g->nodes[0].name, "add");
    assert_string_equal(g->nodes[1].name, "y"); /* unnamed: its first output */
    const struct value *w = &g->values[graph_find(g, "w")];
    assert_non_null(w->constant);
    assert_true(w->constant->borrowed);
    assert_true(tensor_f64(w->constant, 3) == -4);
    const struct value *sum = &g->values[graph_find(g, "sum")];
    assert_int_equal(sum->dtype, DT_F32);
    assert_int_equal(sum->rank, 2);
    assert_int_equal(sum->dims[1], 4);
    graph_free(g);
    wire_buf_fini(&b);
}

/* The value of one attribute by the kind that its name tells. */
static void put_attribute_value(struct wire_buf *b, const char *name)
{
    enum { ATTRIBUTE_G = 6 };
    const float three = 3;
    size_t begun;
    if (strcmp(name, "i") == 0) {
        wire_put_int(b, ATTRIBUTE_I, (uint64_t)-5);
    } else if (strcmp(name, "f") == 0) {
        wire_put_f32(b, ATTRIBUTE_F, 0.5f);
    } else if (strcmp(name, "s") == 0) {
        wire_put_bytes(b, ATTRIBUTE_S, "a\0b", 3);
    } else if (strcmp(name, "ints") == 0) {
        wire_put_bytes(b, ATTRIBUTE_INTS, "\x01\x02", 2); /* packed */
        wire_put_int(b, ATTRIBUTE_INTS, 300);             /* and not */
    } else if (strcmp(name, "floats") == 0) {
        wire_put_f32(b, ATTRIBUTE_FLOATS, 1);
        wire_put_f32(b, ATTRIBUTE_FLOATS, 2);
        wire_put_bytes(b, ATTRIBUTE_FLOATS, &three, sizeof three);
    } else if (strcmp(name, "strings") == 0) {
        wire_put_text(b, ATTRIBUTE_STRINGS, "one");
        wire_put_text(b, ATTRIBUTE_STRINGS, "two");
    } else if (strcmp(name, "t") == 0) {
        begun = wire_begin(b, ATTRIBUTE_T);
        put_head(b, DT_F32, 1);
        wire_put_f32(b, TENSOR_FLOAT_DATA, 7);
        wire_end(b, begun);
    } else {
        begun = wire_begin(b, ATTRIBUTE_G);
        put_node(b, "Inner", "outer", "z");
        wire_end(b, begun);
    }
}

/* A node with an attribute of each kind, with and without the field that says which. */
static void put_all_attributes(struct wire_buf *b, bool typed)
{
    static const struct {
        const char *name;
        int type;
    } all[] = {{"i", 2},      {"f", 1},       {"s", 3}, {"ints", 7},
               {"floats", 6}, {"strings", 8}, {"t", 4}, {"g", 5}};
    size_t m = model_begin(b, 8, 13);
    size_t n = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_OUTPUT, "y");
    wire_put_text(b, NODE_OP_TYPE, "Any");
    wire_put_text(b, NODE_DOMAIN, "custom");
    for (size_t i = 0; i < COUNT(all); i++) {
        size_t a = wire_begin(b, NODE_ATTRIBUTE);
        wire_put_text(b, ATTRIBUTE_NAME, all[i].name);
        put_attribute_value(b, all[i].name);
        if (typed) {
            wire_put_int(b, ATTRIBUTE_TYPE, (uint64_t)all[i].type);
        }
        wire_end(b, a);
    }
    wire_end(b, n);
    put_info(b, GRAPH_OUTPUT, "y");
    wire_end(b, m);
}

static void check_all_attributes(const struct graph *g)
{
    const struct node *n = &g->nodes[0];
    size_t count;
    assert_int_equal(n->n_attrs, 8);
    assert_int_equal(attr_int(n, "i", 0), -5);
    assert_true(attr_float(n, "f", 0) == 0.5f);
    assert_int_equal(attr_find(n, "s")->s_size, 3);
    assert_memory_equal(attr_find(n, "s")->s, "a\0b", 4);
    const int64_t *ints = attr_ints(n, "ints", &count);
    assert_int_equal(count, 3);
    assert_int_equal(ints[2], 300);
    const float *floats = attr_floats(n, "floats", &count);
    assert_int_equal(count, 3);
    assert_true(floats[2] == 3);
    assert_int_equal(attr_find(n, "strings")->n, 2);
    assert_string_equal(attr_find(n, "strings")->strings[1], "two");
    assert_true(tensor_f64(attr_find(n, "t")->t, 0) == 7);
    assert_int_equal(attr_find(n, "g")->kind, ATTR_OTHER);
    assert_int_equal(graph_find(g, "outer"), -1);
}

static void test_attributes(void **state)
{
    (void)state;
    for (int typed = 0; typed < 2; typed++) {
        struct wire_buf b = {0}, out = {0};
        struct err err = {0};
        put_all_attributes(&b, typed);
        struct graph *g = must_load(&b);
        check_all_attributes(g);

        /* A subgraph goes out as long as its node is untouched, and not after that. */
        assert_int_equal(onnx_write(g, &out, &err), OK);
        assert_int_equal(out.n, b.n);
        assert_memory_equal(out.p, b.p, b.n);
        wire_buf_fini(&out);
        g->nodes[0].raw = (struct span){0};
        assert_int_equal(onnx_write(g, &out, &err), E_UNSUPPORTED);
        assert_non_null(strstr(err.text, "'g'"));
        wire_buf_fini(&out);
        graph_free(g);
        wire_buf_fini(&b);
    }
}

/* Names for nodes that have none never clash with names that are there. */
static void test_unnamed(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    size_t m = model_begin(&b, 8, 13);
    put_node(&b, "Relu", "x", "y"); /* would be "y" */
    size_t n = wire_begin(&b, GRAPH_NODE);
    wire_put_text(&b, NODE_INPUT, "y");
    wire_put_text(&b, NODE_OUTPUT, "");
    wire_put_text(&b, NODE_OUTPUT, "z");
    wire_put_text(&b, NODE_NAME, "y");
    wire_put_text(&b, NODE_OP_TYPE, "Relu");
    wire_end(&b, n);
    put_node(&b, "Print", "y", NULL);
    put_node(&b, "Print", "y", NULL);
    put_info(&b, GRAPH_INPUT, "x");
    put_info(&b, GRAPH_OUTPUT, "z");
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    assert_string_equal(g->nodes[0].name, "y#0");
    assert_string_equal(g->nodes[1].name, "y");
    assert_int_equal(g->nodes[1].out[0], -1);
    assert_string_equal(g->nodes[2].name, "Print");
    assert_string_equal(g->nodes[3].name, "Print#3");
    graph_free(g);
    wire_buf_fini(&b);
}

static void test_versions(void **state)
{
    (void)state;
    const float one = 1;
    const int64_t dim = 1;
    struct wire_buf b = {0};
    /* IR 3: the initializer stands among the inputs and is none. */
    size_t m = model_begin(&b, 3, 8);
    put_node(&b, "Relu", "w", "y");
    put_raw_tensor(&b, "w", DT_F32, 1, &dim, &one, 4);
    put_info(&b, GRAPH_INPUT, "w");
    put_info(&b, GRAPH_OUTPUT, "y");
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    assert_int_equal(g->n_inputs, 0);
    assert_int_equal(g->values[graph_find(g, "w")].rank, 1); /* as it is, not as declared */
    graph_free(g);
    wire_buf_fini(&b);
    /* IR 1 had no imports. */
    wire_put_int(&b, MODEL_IR_VERSION, 1);
    m = wire_begin(&b, MODEL_GRAPH);
    put_node(&b, "Relu", "x", "y");
    put_info(&b, GRAPH_INPUT, "x");
    put_info(&b, GRAPH_OUTPUT, "y");
    wire_end(&b, m);
    g = must_load(&b);
    assert_int_equal(g->opset, 1);
    graph_free(g);
    wire_buf_fini(&b);
    /* com.microsoft used but not imported; "ai.onnx" is the domain "". */
    wire_put_int(&b, MODEL_IR_VERSION, 8);
    onnx_put_import(&b, "ai.onnx", 15);
    m = wire_begin(&b, MODEL_GRAPH);
    size_t n = wire_begin(&b, GRAPH_NODE);
    wire_put_text(&b, NODE_OUTPUT, "y");
    wire_put_text(&b, NODE_OP_TYPE, "QLinearAdd");
    wire_put_text(&b, NODE_DOMAIN, "com.microsoft");
    wire_end(&b, n);
    n = wire_begin(&b, GRAPH_NODE);
    wire_put_text(&b, NODE_INPUT, "y");
    wire_put_text(&b, NODE_OUTPUT, "z");
    wire_put_text(&b, NODE_OP_TYPE, "Relu");
    wire_put_text(&b, NODE_DOMAIN, "ai.onnx");
    wire_end(&b, n);
    put_info(&b, GRAPH_OUTPUT, "z");
    wire_end(&b, m);
    g = must_load(&b);
    assert_int_equal(g->opset, 15);
    assert_int_equal(g->opset_ms, 1);
    assert_string_equal(g->nodes[1].domain, "");
    graph_free(g);
    wire_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typed_lists), cmocka_unit_test(test_float_lists),
        cmocka_unit_test(test_nibbles),     cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bad_strings), cmocka_unit_test(test_empty_and_scalar),
        cmocka_unit_test(test_small_model), cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_unnamed),     cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
