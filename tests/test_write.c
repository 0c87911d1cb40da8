/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_write.c: ONNX models that go out again: byte for byte where nothing changed, and right where
 * something did.
 */
#include "tests/onnx_bytes.h"
#include "tests/scratch.h"

#include <glob.h>

/* ---- Writing -------------------------------------------------------------------------------- */

static struct graph *rewrite(const struct graph *g, struct wire_buf *out)
{
    struct err err = {0};
    if (onnx_write(g, out, &err)) {
        fail_msg("%s", err.text);
    }
    return must_load(out);
}

static bool holds(const struct wire_buf *b, const char *text)
{
    return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void test_write_edited(void **state)
{
    (void)state;
    struct wire_buf b = {0}, out = {0};
    put_small_model(&b);
    struct graph *g = must_load(&b);
    /* y = Relu(x) now: the sum, its weight, its declared type and its annotation go. */
    struct graph *c = graph_clone(g);
    c->nodes[1].in[0] = graph_find(c, "x");
    c->nodes[1].raw = (struct span){0};
    c->nodes[0].op = NULL;
    assert_int_equal(graph_finish(c, NULL), OK);
    struct graph *d = rewrite(c, &out);
    assert_int_equal(d->n_nodes, 1);
    assert_int_equal(graph_find(d, "w"), -1);
    assert_false(holds(&out, "sum"));
    assert_true(holds(&out, "all of it"));
    assert_true(holds(&out, "what it is"));
    graph_free(d);
    graph_free(c);
    wire_buf_fini(&out);

    /* Another weight under the same name, and one more node. */
    c = graph_clone(g);
    struct tensor *zeros = NULL;
    assert_int_equal(tensor_new(DT_F32, 2, (int64_t[]){1, 4}, NULL, &zeros, NULL), OK);
    memset(zeros->data, 0, zeros->size);
    struct value *w = &c->values[graph_find(c, "w")];
    tensor_free(w->constant);
    w->constant = zeros;
    w->raw = (struct span){0};
    int x = graph_find(c, "x"), z = graph_value(c, "z");
    c->nodes[0].in[0] = z;
    c->nodes[0].raw = (struct span){0};
    struct node *n = graph_add(c, "LeakyRelu", "", "leak", 1, &x, 1, &z);
    graph_attr_float(c, n, "alpha", 0.25f);
    graph_attr_int(c, n, "count", -3);
    graph_attr_ints(c, n, "list", 2, (int64_t[]){7, -8});
    assert_int_equal(graph_finish(c, NULL), OK);
    d = rewrite(c, &out);
    assert_int_equal(d->n_nodes, 3);
    assert_string_equal(d->nodes[0].name, "leak");
    assert_true(attr_float(&d->nodes[0], "alpha", 0) == 0.25f);
    assert_int_equal(attr_int(&d->nodes[0], "count", 0), -3);
    size_t count;
    assert_int_equal(attr_ints(&d->nodes[0], "list", &count)[1], -8);
    assert_true(tensor_equal(d->values[graph_find(d, "w")].constant, zeros));
    assert_true(holds(&out, "sum"));
    graph_free(d);
    graph_free(c);
    wire_buf_fini(&out);
    graph_free(g);
    wire_buf_fini(&b);
}

/* Entries that were stale in the source stay, until a new tensor takes the name. */
static void test_write_stale(void **state)
{
    (void)state;
    struct wire_buf b = {0}, out = {0};
    const float unused = 3;
    size_t m = model_begin(&b, 8, 13);
    put_node(&b, "Relu", "x", "y");
    put_raw_tensor(&b, "idle", DT_F32, 0, NULL, &unused, 4);
    put_raw_tensor(&b, "words", 14 /* complex64 */, 0, NULL, "", 0);
    put_info(&b, GRAPH_INPUT, "x");
    put_info(&b, GRAPH_OUTPUT, "y");
    put_info(&b, GRAPH_VALUE_INFO, "ghost");
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    struct graph *d = rewrite(g, &out);
    assert_int_equal(out.n, b.n);
    assert_memory_equal(out.p, b.p, b.n);
    graph_free(d);
    wire_buf_fini(&out);
    int y = graph_find(g, "y"), ghost = graph_value(g, "ghost");
    graph_add(g, "Cast", "", "cast", 1, &y, 1, &ghost);
    assert_int_equal(graph_finish(g, NULL), OK);
    d = rewrite(g, &out);
    assert_int_equal(d->values[graph_find(d, "ghost")].dtype, DT_NONE);
    assert_non_null(d->values[graph_find(d, "idle")].constant);
    graph_free(d);
    wire_buf_fini(&out);
    graph_free(g);
    wire_buf_fini(&b);
}

/* An initializer that a subgraph uses stays although no node of the graph does any more. */
static void test_write_captured(void **state)
{
    (void)state;
    struct wire_buf b = {0}, out = {0};
    const float one = 1;
    size_t m = model_begin(&b, 8, 13);
    put_node(&b, "Relu", "w", "a");
    size_t n = wire_begin(&b, GRAPH_NODE);
    wire_put_text(&b, NODE_OUTPUT, "y");
    wire_put_text(&b, NODE_OP_TYPE, "If");
    size_t a = wire_begin(&b, NODE_ATTRIBUTE);
    wire_put_text(&b, ATTRIBUTE_NAME, "then_branch");
    size_t inner = wire_begin(&b, 6);
    put_node(&b, "Relu", "w", "z");
    wire_end(&b, inner);
    wire_end(&b, a);
    wire_end(&b, n);
    put_raw_tensor(&b, "w", DT_F32, 0, NULL, &one, 4);
    put_info(&b, GRAPH_OUTPUT, "y");
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    g->nodes[graph_find_node(g, "a")].op = NULL;
    assert_int_equal(graph_finish(g, NULL), OK);
    struct graph *d = rewrite(g, &out);
    assert_int_equal(d->n_nodes, 1);
    assert_non_null(d->values[graph_find(d, "w")].constant);
    graph_free(d);
    wire_buf_fini(&out);
    graph_free(g);
    wire_buf_fini(&b);
}

static void test_write_imports(void **state)
{
    (void)state;
    const float one = 1;
    struct wire_buf b = {0}, out = {0};
    size_t m = model_begin(&b, 3, 8);
    put_node(&b, "Relu", "x", "y");
    put_info(&b, GRAPH_INPUT, "x");
    put_info(&b, GRAPH_OUTPUT, "y");
    wire_end(&b, m);
    struct graph *g = must_load(&b);
    g->opset = 13;
    g->opset_ms = 1;
    int in[2] = {graph_find(g, "y"), graph_value(g, "k")}, z = graph_value(g, "z");
    struct value *k = &g->values[in[1]];
    assert_int_equal(tensor_new(DT_F32, 0, NULL, NULL, &k->constant, NULL), OK);
    memcpy(k->constant->data, &one, 4);
    graph_add(g, "QLinearAdd", "com.microsoft", "q", 2, in, 1, &z);
    assert_int_equal(graph_finish(g, NULL), OK);
    struct graph *d = rewrite(g, &out);
    assert_int_equal(d->opset, 13);
    assert_int_equal(d->opset_ms, 1);
    assert_int_equal(d->n_inputs, 1); /* k is listed too, as IR 3 wants, and is a constant */
    assert_non_null(d->values[graph_find(d, "k")].constant);
    graph_free(d);
    wire_buf_fini(&out);
    graph_free(g);
    wire_buf_fini(&b);
}

static void test_write_made(void **state)
{
    (void)state;
    struct graph *g = graph_new();
    g->opset = 13;
    int x = graph_value(g, "x"), y = graph_value(g, "y");
    g->values[x].is_input = true;
    g->values[x].dtype = DT_F32;
    g->values[x].rank = 2;
    g->values[x].dims[0] = -1;
    g->values[x].dims[1] = 4;
    g->values[y].is_output = true;
    g->values[y].dtype = DT_F32;
    g->inputs = mem_alloc(sizeof *g->inputs);
    g->outputs = mem_alloc(sizeof *g->outputs);
    g->inputs[g->n_inputs++] = x;
    g->outputs[g->n_outputs++] = y;
    graph_add(g, "Relu", "", "relu", 1, &x, 1, &y);
    assert_int_equal(graph_finish(g, NULL), OK);
    struct wire_buf out = {0};
    struct graph *d = rewrite(g, &out);
    assert_int_equal(d->opset, 13);
    const struct value *in = &d->values[d->inputs[0]];
    assert_int_equal(in->rank, 2);
    assert_int_equal(in->dims[0], -1);
    assert_int_equal(in->dims[1], 4);
    assert_int_equal(d->values[d->outputs[0]].rank, -1);
    graph_free(d);
    graph_free(g);
    wire_buf_fini(&out);
}

/* ---- Real models ---------------------------------------------------------------------------- */

/* Each model of the shared data: loads, and goes out byte for byte, as a clone too. */
static void test_real_models(void **state)
{
    (void)state;
    const char *pattern = shared_path("models");
    if (!pattern) {
        print_message("no shared data: skipped\n");
        skip();
    }
    const char *out = scratch("out.onnx");
    char *all = mem_printf("%s/*/*.onnx", pattern);
    glob_t found;
    assert_int_equal(glob(all, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 50);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct graph *g = NULL;
        struct err err = {0};
        if (model_load(found.gl_pathv[i], &g, &err)) {
            fail_msg("%s", err.text);
        }
        struct graph *c = graph_clone(g);
        graph_free(g);
        if (onnx_save(c, out, &err)) {
            fail_msg("%s", err.text);
        }
        graph_free(c);
        struct file a = {0}, b = {0};
        assert_int_equal(file_map(found.gl_pathv[i], 0, &a, &err), OK);
        assert_int_equal(file_map(out, 0, &b, &err), OK);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        file_unmap(&a);
        file_unmap(&b);
    }
    globfree(&found);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_edited),
        cmocka_unit_test(test_write_stale),
        cmocka_unit_test(test_write_captured),
        cmocka_unit_test(test_write_imports),
        cmocka_unit_test(test_write_made),
        cmocka_unit_test_setup_teardown(test_real_models, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
