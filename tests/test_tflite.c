/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tflite.c: TensorFlow Lite models: what is read, what is computed under each numerics, and
 * damaged files: an error or a model that runs, and nothing else. Meant to run under sanitizers.
 */
#include "tests/scratch.h"

#include "engine/engine.h"
#include "tests/flat_bytes.h"

static int load_bytes(const struct flat_bytes *b, size_t n, struct graph **g, struct err *err)
{
    return model_load(scratch_bytes("model.tflite", b->p, n), g, err);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static void test_reads(void **state)
{
    (void)state;
    struct flat_bytes b;
    struct graph *g = NULL;
    struct err err = {0};
    flat_model_put(&b);
    if (load_bytes(&b, b.n, &g, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(g->dialect, DIALECT_TFLITE);
    assert_int_equal(g->n_nodes, 3);
    assert_string_equal(g->nodes[1].op, "FULLY_CONNECTED");
    assert_string_equal(g->nodes[1].domain, "tflite");
    assert_string_equal(g->nodes[1].name, "yq");
    const struct value *w = &g->values[graph_find(g, "w")];
    assert_non_null(w->constant);
    assert_int_equal(w->constant->n, 8);
    struct graph *c = graph_clone(g);
    graph_free(g);
    const struct quant *q = c->values[graph_find(c, "yq")].quant;
    assert_non_null(q);
    assert_int_equal(q->zero[0], -5);
    assert_true(q->scale[0] == 0.125F);
    assert_null(c->values[graph_find(c, "y")].quant);
    graph_free(c);
}

/* ---- Running -------------------------------------------------------------------------------- */

static int run_model(const struct graph *g, enum numerics n, const float x[4], float y[2],
                     struct err *err)
{
    static const int64_t dims[] = {1, 4};
    const struct plan_options o = {.numerics = n, .kernels = KERNELS_FAST};
    struct plan *p = NULL;
    struct tensor *in = NULL, *out[8] = {NULL};
    int rc = g->n_inputs == 1 && g->n_outputs <= 8 ? plan_new(g, &o, &p, err) : E_SHAPE;
    if (rc) {
        return rc;
    }
    assert_int_equal(tensor_borrow(DT_F32, 2, dims, x, &in, err), OK);
    rc = plan_run(p, (const struct tensor *const *)&in, out, NULL, err);
    if (!rc && out[0] && out[0]->dtype == DT_F32 && out[0]->n == 2) {
        memcpy(y, out[0]->data, 2 * sizeof *y);
    }
    for (size_t i = 0; i < 8; i++) {
        tensor_free(out[i]);
    }
    tensor_free(in);
    plan_free(p);
    return rc;
}

/* By hand: codes round(x / 0.5) + 3, sums minus zero point, times 0.5 * 0.01 / 0.125, plus -5. */
static void test_runs(void **state)
{
    (void)state;
    static const float x[] = {1.0F, 2.5F, -3.0F, 0.75F};
    /* Codes less 3 are 2, 5, -6 and 1.5 rounded: 2 either way. */
    static const int32_t sums[] = {10 * 2 - 20 * 5 - 30 * 6 + 40 * 2 + 100,
                                   -128 * 2 + 127 * 5 - 6 + 0 - 7};
    struct flat_bytes b;
    struct graph *g = NULL;
    struct err err = {0};
    flat_model_put(&b);
    assert_int_equal(load_bytes(&b, b.n, &g, &err), OK);
    for (enum numerics n = NUM_TFLITE_XNNPACK; n <= NUM_TFLITE_REF; n++) {
        float y[2] = {0, 0};
        assert_int_equal(run_model(g, n, x, y, &err), OK);
        for (int i = 0; i < 2; i++) {
            double code = (double)sums[i] * 0.5 * 0.01 / 0.125;
            double rounded = code < 0 ? -(double)(int)(-code + 0.5) : (double)(int)(code + 0.5);
            assert_true((double)y[i] == rounded * 0.125);
        }
    }
    graph_free(g);
}

static void test_numerics(void **state)
{
    (void)state;
    assert_true(numerics_fits(NUM_TFLITE_REF, DIALECT_TFLITE));
    assert_false(numerics_fits(NUM_TFLITE_REF, DIALECT_ONNX));
    assert_int_equal(numerics_for(NUM_ORT, DIALECT_TFLITE), NUM_TFLITE_XNNPACK);
    assert_int_equal(numerics_for(NUM_TFLITE_REF, DIALECT_TFLITE), NUM_TFLITE_REF);
    assert_int_equal(numerics_for(NUM_TFLITE_REF, DIALECT_ONNX), NUM_ORT);
    assert_int_equal(numerics_find("tflite-builtin"), NUM_TFLITE_BUILTIN);
}

/* ---- Damage --------------------------------------------------------------------------------- */

/* Loads; what loads must also plan and run, or say why not. */
static void try_bytes(const struct flat_bytes *b, size_t n, size_t *loaded)
{
    static const float x[] = {1.0F, -2.0F, 3.0F, 1e30F};
    struct graph *g = NULL;
    struct err err = {0};
    float y[2];
    int rc = load_bytes(b, n, &g, &err);
    if (rc) {
        assert_int_equal(rc, err.code);
        assert_true(err.text[0] != '\0');
        return;
    }
    ++*loaded;
    run_model(g, NUM_TFLITE_XNNPACK + (enum numerics)(n % 3), x, y, &err);
    graph_free(g);
}

static void test_cut_off(void **state)
{
    (void)state;
    struct flat_bytes b;
    size_t loaded = 0;
    flat_model_put(&b);
    for (size_t n = 0; n < b.n; n++) {
        try_bytes(&b, n, &loaded);
    }
}

static void test_bits(void **state)
{
    (void)state;
    struct flat_bytes b;
    size_t loaded = 0;
    flat_model_put(&b);
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        try_bytes(&b, b.n, &loaded);
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(loaded > 0);
}

/* Every 32-bit word replaced by offsets and lengths that lead nowhere good. */
static void test_offsets(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0,          1,          4,          0x7FFFFFFF, 0x80000000,
                                   0xFFFFFFFF, 0xFFFFFFFC, 0x10000000, 0xFFFF,     0x00FFFFFF};
    struct flat_bytes b, c;
    size_t loaded = 0;
    flat_model_put(&b);
    for (size_t at = 0; at + 4 <= b.n; at += 4) {
        for (size_t i = 0; i < COUNT(bad); i++) {
            c = b;
            flat_put(&c, at, bad[i], 4);
            try_bytes(&c, c.n, &loaded);
        }
    }
    assert_true(loaded > 0);
}

/* Tables of all kinds that point back to the root, to themselves and to each other. */
static void test_cycles(void **state)
{
    (void)state;
    struct flat_bytes b, c;
    size_t loaded = 0;
    flat_model_put(&b);
    for (size_t at = 8; at + 4 <= b.n; at += 4) {
        for (size_t to = 4; to + 4 <= b.n; to += 28) {
            c = b;
            flat_link(&c, at, to);
            try_bytes(&c, c.n, &loaded);
        }
    }
    assert_true(loaded > 0);
}

static void test_messages(void **state)
{
    (void)state;
    struct flat_bytes b, c;
    struct graph *g = NULL;
    struct err err = {0};
    flat_model_put(&b);
    int rc = load_bytes(&b, 100, &g, &err);
    assert_error(rc, err, E_FORMAT, "byte ");
    assert_non_null(strstr(err.text, "model.tflite"));
    c = b;
    flat_put(&c, 0, 0xFFFFFF00, 4);
    rc = load_bytes(&c, c.n, &g, &err);
    assert_error(rc, err, E_FORMAT, "Model is a table that does not lie in the file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),    cmocka_unit_test(test_runs),
        cmocka_unit_test(test_numerics), cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_bits),     cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_cycles),   cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
