/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_hostile.c: models made to do harm: what is wrong with each must be said, with the code and
 * words that the tables give, before it costs memory or time. See test_damage.c for found files.
 */
#include "tests/onnx_bytes.h"

/* ---- The wire ------------------------------------------------------------------------------- */

static void test_wire(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int code;
        const char *words;
    } cases[] = {
        {"", 0, E_FORMAT, "no graph"},
        {"\x08", 1, E_FORMAT, "byte 1: number is cut off"},
        {"\x08\x80", 2, E_FORMAT, "cut off"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, E_FORMAT, "64 bits"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, E_FORMAT, "64 bits"},
        {"\x00\x00", 2, E_FORMAT, "no field has number 0"},
        {"\x80\x80\x80\x80\x80\x01\x00", 7, E_FORMAT, "no field has number"},
        {"\x0b\x0c", 2, E_FORMAT, "wire type 3"},
        {"\x0e\x00", 2, E_FORMAT, "wire type 6"},
        {"\x3a\x05", 2, E_FORMAT, "length is 5, only 0 bytes are left"},
        {"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, E_FORMAT, "length is"},
        {"\x0a\x00", 2, E_FORMAT, "ModelProto.ir_version"},
        {"\x38\x00", 2, E_FORMAT, "ModelProto.graph"},
        {"\x3a\x00\x3a\x00", 4, E_FORMAT, "given twice"},
        {"\x09\x00\x00", 3, E_FORMAT, "2 of 8 bytes left"},
        {"\x3a\x00", 2, E_FORMAT, "ir_version"},
        {"\x08\x00\x3a\x00", 4, E_FORMAT, "ir_version"},
        {"\x08\x08\x3a\x00", 4, E_FORMAT, "opset_import"},
        {"\x08\x08\x42\x02\x10\x00\x3a\x00", 8, E_FORMAT, "opset version 0"},
        {"\x08\x08\x42\x06\x10\xff\xff\xff\xff\x7f\x3a\x00", 12, E_FORMAT, "opset version"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        wire_put_raw(&b, (struct span){(const uint8_t *)cases[i].bytes, cases[i].n});
        char what[32];
        snprintf(what, sizeof what, "case %zu", i);
        must_refuse(what, &b, cases[i].code, cases[i].words);
        wire_buf_fini(&b);
    }
}

/* ---- Graphs --------------------------------------------------------------------------------- */

static void put_value(struct wire_buf *b, const char *name)
{
    const float f = 0;
    put_raw_tensor(b, name, DT_F32, 0, NULL, &f, sizeof f);
}

static void put_named(struct wire_buf *b, const char *name, const char *in, const char *out)
{
    size_t n = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_INPUT, in);
    wire_put_text(b, NODE_OUTPUT, out);
    wire_put_text(b, NODE_NAME, name);
    wire_put_text(b, NODE_OP_TYPE, "Relu");
    wire_end(b, n);
}

static void cycle(struct wire_buf *b)
{
    put_named(b, "first", "b", "a");
    put_named(b, "second", "a", "b");
}

static void self_loop(struct wire_buf *b)
{
    put_named(b, "loop", "a", "a");
}

static void made_twice(struct wire_buf *b)
{
    put_info(b, GRAPH_INPUT, "x");
    put_named(b, "first", "x", "a");
    put_named(b, "second", "x", "a");
}

static void makes_input(struct wire_buf *b)
{
    put_info(b, GRAPH_INPUT, "x");
    put_named(b, "first", "x", "x");
}

static void makes_initializer(struct wire_buf *b)
{
    put_value(b, "w");
    put_named(b, "first", "w", "w");
}

static void missing_input(struct wire_buf *b)
{
    put_named(b, "first", "nobody", "a");
}

static void missing_output(struct wire_buf *b)
{
    put_info(b, GRAPH_OUTPUT, "nobody");
}

static void two_initializers(struct wire_buf *b)
{
    put_value(b, "w");
    put_value(b, "w");
}

static void two_inputs(struct wire_buf *b)
{
    put_info(b, GRAPH_INPUT, "x");
    put_info(b, GRAPH_INPUT, "x");
}

static void two_node_names(struct wire_buf *b)
{
    put_info(b, GRAPH_INPUT, "x");
    put_named(b, "same", "x", "a");
    put_named(b, "same", "x", "b");
}

static void nameless_initializer(struct wire_buf *b)
{
    put_value(b, "");
}

static void nameless_input(struct wire_buf *b)
{
    put_info(b, GRAPH_INPUT, "");
}

static void nameless_output(struct wire_buf *b)
{
    put_info(b, GRAPH_OUTPUT, "");
}

static void no_operator(struct wire_buf *b)
{
    put_node(b, "", NULL, "y");
}

static void zero_in_name(struct wire_buf *b)
{
    size_t n = wire_begin(b, GRAPH_NODE);
    wire_put_bytes(b, NODE_OUTPUT, "a\0b", 3);
    wire_put_text(b, NODE_OP_TYPE, "Relu");
    wire_end(b, n);
}

static void put_long_name(struct wire_buf *b, size_t n)
{
    char *name = mem_alloc(n + 1);
    memset(name, 'n', n);
    put_info(b, GRAPH_INPUT, name);
    free(name);
}

static void long_name(struct wire_buf *b)
{
    put_long_name(b, WIRE_NAME_MAX + 1);
}

static void sparse(struct wire_buf *b)
{
    wire_put_text(b, GRAPH_SPARSE_INITIALIZER, "");
}

static void raw_strings(struct wire_buf *b)
{
    put_raw_tensor(b, "words", DT_STRING, 0, NULL, "", 0);
    put_node(b, "Relu", "words", "y");
}

static void used_float8(struct wire_buf *b)
{
    put_raw_tensor(b, "w", 17, 0, NULL, "x", 1);
    put_node(b, "Relu", "w", "y");
}

static void deep_input(struct wire_buf *b)
{
    size_t n = wire_begin(b, GRAPH_INPUT);
    wire_put_text(b, INFO_NAME, "x");
    size_t type = wire_begin(b, INFO_TYPE), tensor = wire_begin(b, TYPE_TENSOR);
    size_t shape = wire_begin(b, TENSOR_TYPE_SHAPE);
    for (int i = 0; i < 10000; i++) {
        wire_put_text(b, SHAPE_DIM, "");
    }
    wire_end(b, shape);
    wire_end(b, tensor);
    wire_end(b, type);
    wire_end(b, n);
}

static void put_attributes(struct wire_buf *b, int n, bool same)
{
    size_t node = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_OP_TYPE, "Relu");
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", same ? 0 : i);
        size_t a = wire_begin(b, NODE_ATTRIBUTE);
        wire_put_text(b, ATTRIBUTE_NAME, name);
        wire_put_int(b, ATTRIBUTE_I, 1);
        wire_end(b, a);
    }
    wire_end(b, node);
}

static void same_attribute(struct wire_buf *b)
{
    put_attributes(b, 2, true);
}

static void many_attributes(struct wire_buf *b)
{
    put_attributes(b, 100000, false);
}

static void nameless_attribute(struct wire_buf *b)
{
    size_t node = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_OP_TYPE, "Relu");
    wire_put_text(b, NODE_ATTRIBUTE, "");
    wire_end(b, node);
}

static void test_graphs(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        void (*put)(struct wire_buf *b);
        int code;
        const char *words;
    } cases[] = {
        {"cycle", cycle, E_FORMAT, "cycle"},
        {"self loop", self_loop, E_FORMAT, "'loop'"},
        {"made twice", made_twice, E_FORMAT, "'first' and by node 'second'"},
        {"makes input", makes_input, E_FORMAT, "graph input"},
        {"makes initializer", makes_initializer, E_FORMAT, "initializer"},
        {"missing input", missing_input, E_FORMAT, "'nobody'"},
        {"missing output", missing_output, E_FORMAT, "'nobody'"},
        {"two initializers", two_initializers, E_FORMAT, "two initializers"},
        {"two inputs", two_inputs, E_FORMAT, "two graph inputs"},
        {"two node names", two_node_names, E_FORMAT, "two nodes"},
        {"nameless initializer", nameless_initializer, E_FORMAT, "without a name"},
        {"nameless input", nameless_input, E_FORMAT, "without a name"},
        {"nameless output", nameless_output, E_FORMAT, "without a name"},
        {"no operator", no_operator, E_FORMAT, "op_type"},
        {"zero in name", zero_in_name, E_FORMAT, "zero byte"},
        {"long name", long_name, E_FORMAT, "name of 4097 bytes"},
        {"sparse", sparse, E_UNSUPPORTED, "sparse"},
        {"raw strings", raw_strings, E_FORMAT, "strings in raw_data"},
        {"float8 used", used_float8, E_UNSUPPORTED, "element type 17"},
        {"rank 10000", deep_input, E_UNSUPPORTED, "rank"},
        {"same attribute", same_attribute, E_FORMAT, "given twice"},
        {"many attributes", many_attributes, E_FORMAT, "100000 attributes"},
        {"nameless attribute", nameless_attribute, E_FORMAT, "without a name"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        size_t m = model_begin(&b, 8, 13);
        cases[i].put(&b);
        wire_end(&b, m);
        must_refuse(cases[i].what, &b, cases[i].code, cases[i].words);
        wire_buf_fini(&b);
    }
}

static void test_borders(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    size_t m = model_begin(&b, 8, 13);
    put_long_name(&b, WIRE_NAME_MAX);
    put_attributes(&b, 256, false);
    put_raw_tensor(&b, "unused float8", 17, 0, NULL, "", 0);
    put_raw_tensor(&b, "unused of no type", 12345, 0, NULL, "", 0);
    wire_end(&b, m);
    graph_free(must_load(&b));
    wire_buf_fini(&b);
}

static void put_function_model(struct wire_buf *b, const char *op)
{
    wire_put_int(b, MODEL_IR_VERSION, 8);
    onnx_put_import(b, "", 13);
    size_t f = wire_begin(b, MODEL_FUNCTIONS);
    wire_put_text(b, FUNCTION_NAME, "Mine");
    wire_put_text(b, FUNCTION_DOMAIN, "local");
    wire_end(b, f);
    size_t m = wire_begin(b, MODEL_GRAPH), n = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_OUTPUT, "y");
    wire_put_text(b, NODE_OP_TYPE, op);
    wire_put_text(b, NODE_DOMAIN, "local");
    wire_end(b, n);
    wire_end(b, m);
}

static void test_functions(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    put_function_model(&b, "Mine");
    must_refuse("function", &b, E_UNSUPPORTED, "a function of the model");
    wire_buf_fini(&b);
    put_function_model(&b, "Other");
    graph_free(must_load(&b));
    wire_buf_fini(&b);
    /* An operator of a domain that is not imported. */
    wire_put_int(&b, MODEL_IR_VERSION, 8);
    onnx_put_import(&b, "com.microsoft", 1);
    size_t m = wire_begin(&b, MODEL_GRAPH);
    put_node(&b, "Relu", NULL, "y");
    wire_end(&b, m);
    must_refuse("no ai.onnx", &b, E_FORMAT, "opset_import does not list");
    wire_buf_fini(&b);
}

/* ---- Tensors -------------------------------------------------------------------------------- */

static void test_tensors(void **state)
{
    (void)state;
    static const uint8_t raw[64];
    static const struct {
        int dtype, rank;
        int64_t dims[MAX_RANK + 1];
        size_t size;
        int code;
        const char *words;
    } cases[] = {
        {DT_F32, 1, {4}, 15, E_FORMAT, "raw_data has 15 bytes, expected 16 for float32 4"},
        {DT_F32, 1, {4}, 17, E_FORMAT, "expected 16"},
        {DT_F32, 1, {4}, 0, E_FORMAT, "expected 16"},
        {DT_F32, 2, {0, 4}, 4, E_FORMAT, "expected 0"},
        {DT_F32, 0, {0}, 3, E_FORMAT, "expected 4 for float32 scalar"},
        {DT_F16, 1, {3}, 5, E_FORMAT, "expected 6"},
        {DT_F64, 1, {1}, 4, E_FORMAT, "expected 8"},
        {DT_S4, 1, {3}, 3, E_FORMAT, "expected 2"},
        {DT_U4, 1, {4}, 3, E_FORMAT, "expected 2"},
        {DT_F32, 1, {-1}, 4, E_FORMAT, "dimension 0 is -1"},
        {DT_F32, 2, {1, INT64_MIN}, 4, E_FORMAT, "dimension 1 is -9223372036854775808"},
        {DT_F32, 1, {INT64_MAX}, 4, E_FORMAT, "2^64"},
        {DT_U8, 1, {INT64_MAX}, 4, E_FORMAT, "expected 9223372036854775807"},
        {DT_S4, 1, {INT64_MAX}, 4, E_FORMAT, "expected 4611686018427387904"},
        {DT_U8, 2, {INT64_MAX, 3}, 4, E_FORMAT, "2^64"},
        {DT_U8, 2, {1LL << 32, 1LL << 32}, 0, E_FORMAT, "2^64"},
        {DT_F64, 2, {1LL << 31, 1LL << 30}, 0, E_FORMAT, "2^64"},
        {DT_U8, 3, {1LL << 62, 4, 0}, 0, E_FORMAT, "2^64"},
        {DT_U8, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 1, E_UNSUPPORTED, "rank is more than 8"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        size_t m = model_begin(&b, 8, 13);
        put_raw_tensor(&b, "w", cases[i].dtype, cases[i].rank, cases[i].dims, raw, cases[i].size);
        wire_end(&b, m);
        char what[32];
        snprintf(what, sizeof what, "tensor %zu", i);
        must_refuse(what, &b, cases[i].code, cases[i].words);
        wire_buf_fini(&b);
    }
}

/* Data in the wrong list, in two places, in too small a number. */
static void test_tensor_lists(void **state)
{
    (void)state;
    static const struct {
        enum dtype d;
        bool raw;
        uint32_t field;
        int numbers;
        const char *words;
    } cases[] = {
        {DT_S32, false, TENSOR_INT32_DATA, 3, "int32_data has 3 numbers, expected 2"},
        {DT_S32, false, TENSOR_INT32_DATA, 1, "expected 2"},
        {DT_S32, false, TENSOR_INT32_DATA, 0, "expected 2"},
        {DT_S4, false, TENSOR_INT32_DATA, 2, "expected 1"},
        {DT_S32, false, TENSOR_INT64_DATA, 2, "expected int32_data"},
        {DT_S64, false, TENSOR_INT32_DATA, 2, "expected int64_data"},
        {DT_F32, false, TENSOR_INT32_DATA, 2, "expected float_data"},
        {DT_U64, false, TENSOR_INT64_DATA, 2, "expected uint64_data"},
        {DT_S32, true, TENSOR_INT32_DATA, 2, "more than one place"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_buf b = {0};
        size_t m = model_begin(&b, 8, 13), t = wire_begin(&b, GRAPH_INITIALIZER);
        wire_put_int(&b, TENSOR_DIMS, 2);
        wire_put_int(&b, TENSOR_DATA_TYPE, (uint64_t)cases[i].d);
        wire_put_text(&b, TENSOR_NAME, "w");
        for (int k = 0; k < cases[i].numbers; k++) {
            wire_put_int(&b, cases[i].field, 1);
        }
        if (cases[i].raw) {
            wire_put_bytes(&b, TENSOR_RAW_DATA, "12345678", 8);
        }
        wire_end(&b, t);
        wire_end(&b, m);
        must_refuse(cases[i].words, &b, E_FORMAT, cases[i].words);
        wire_buf_fini(&b);
    }
}

/* A list whose last number is cut off must not be read past its end. */
static void test_tensor_list_cut(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    size_t m = model_begin(&b, 8, 13), t = wire_begin(&b, GRAPH_INITIALIZER);
    wire_put_int(&b, TENSOR_DIMS, 2);
    wire_put_int(&b, TENSOR_DATA_TYPE, DT_S64);
    wire_put_text(&b, TENSOR_NAME, "w");
    wire_put_bytes(&b, TENSOR_INT64_DATA, "\x01\x02\x80", 3);
    wire_end(&b, t);
    wire_end(&b, m);
    must_refuse("cut list", &b, E_FORMAT, "cut off");
    wire_buf_fini(&b);
}

/* ---- Bombs ---------------------------------------------------------------------------------- */

/* Subgraphs in subgraphs: depth counts messages, three to a level. */
static void put_nested(struct wire_buf *b, int levels)
{
    enum { ATTRIBUTE_G = 6 };
    size_t *begun = mem_alloc((size_t)levels * 3 * sizeof *begun);
    size_t m = model_begin(b, 8, 13);
    for (int i = 0; i < levels; i++) {
        begun[3 * i] = wire_begin(b, GRAPH_NODE);
        wire_put_text(b, NODE_OP_TYPE, "If");
        begun[3 * i + 1] = wire_begin(b, NODE_ATTRIBUTE);
        wire_put_text(b, ATTRIBUTE_NAME, "then_branch");
        begun[3 * i + 2] = wire_begin(b, ATTRIBUTE_G);
    }
    for (int i = 3 * levels - 1; i >= 0; i--) {
        wire_end(b, begun[i]);
    }
    wire_end(b, m);
    free(begun);
}

static void test_nesting(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    put_nested(&b, 20);
    graph_free(must_load(&b));
    wire_buf_fini(&b);
    static const int levels[] = {21, 22, 100, 3000, 20000};
    for (size_t i = 0; i < COUNT(levels); i++) {
        put_nested(&b, levels[i]);
        must_refuse("nested subgraphs", &b, E_FORMAT, "deeper than 64");
        wire_buf_fini(&b);
    }
    /* Types in types. */
    size_t begun[400];
    size_t m = model_begin(&b, 8, 13), n = wire_begin(&b, GRAPH_INPUT);
    wire_put_text(&b, INFO_NAME, "x");
    size_t type = wire_begin(&b, INFO_TYPE);
    for (size_t i = 0; i < COUNT(begun); i++) {
        begun[i] = wire_begin(&b, i % 2 ? 1 : 4); /* Sequence, its elem_type */
    }
    for (size_t i = COUNT(begun); i-- > 0;) {
        wire_end(&b, begun[i]);
    }
    wire_end(&b, type);
    wire_end(&b, n);
    wire_end(&b, m);
    must_refuse("nested types", &b, E_FORMAT, "deeper than 64");
    wire_buf_fini(&b);
}

/* A model whose graph is `n` times the same bytes. */
static void put_many(struct wire_buf *b, const char *bytes, size_t size, size_t n)
{
    size_t m = model_begin(b, 8, 13);
    for (size_t i = 0; i < n; i++) {
        wire_put_raw(b, (struct span){(const uint8_t *)bytes, size});
    }
    wire_end(b, m);
}

static void test_amplification(void **state)
{
    (void)state;
    struct wire_buf b = {0};
    /* Unknown fields, then nodes of five bytes each. */
    put_many(&b, "\x08\x00", 2, WIRE_ITEMS_MAX + 1);
    must_refuse("many fields", &b, E_FORMAT, "GraphProto.node");
    wire_buf_fini(&b);
    put_many(&b, "\x18\x00", 2, WIRE_ITEMS_MAX + 1);
    must_refuse("many fields", &b, E_FORMAT, "more than 4194304 fields");
    wire_buf_fini(&b);
    put_many(&b, "\x0a\x03\x22\x01N", 5, 2000000);
    must_refuse("many nodes", &b, E_FORMAT, "MiB");
    wire_buf_fini(&b);
}

/* Many nodes in a chain, backwards in the file: seconds, not hours. */
static void test_many_nodes(void **state)
{
    (void)state;
    enum { NODES = 200000 };
    struct wire_buf b = {0};
    char in[32], out[32];
    size_t m = model_begin(&b, 8, 13);
    for (int i = NODES; i > 0; i--) {
        snprintf(in, sizeof in, "tensor_number_%d", i - 1);
        snprintf(out, sizeof out, "tensor_number_%d", i);
        put_node(&b, "Relu", in, out);
    }
    put_info(&b, GRAPH_INPUT, "tensor_number_0");
    put_info(&b, GRAPH_OUTPUT, out);
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    assert_int_equal(g->n_nodes, NODES);
    assert_string_equal(g->nodes[0].name, "tensor_number_1");
    graph_free(g);
    wire_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_tensor_lists),
        cmocka_unit_test(test_tensor_list_cut),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_amplification),
        cmocka_unit_test(test_many_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
