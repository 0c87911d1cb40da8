/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_int8.c: integers that are right by inspection: rounding, saturation, sums at their ends,
 * codes there and back. Twins on random shapes are in test_twins.c, agreement with onnxruntime in
 * oracle/check_int8.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first */
#include <cmocka.h>

#include "engine/fuse.h"
#include "engine/op_quant.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Random numbers: the same on every machine ---------------------------------------------- */

static uint64_t state = 1;

static uint32_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

/* ---- Tensors and nodes ---------------------------------------------------------------------- */

static struct tensor *tensor_of(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(d, rank, dims, NULL, &t, NULL), OK);
    return t;
}

static struct tensor *random_codes(enum dtype d, int rank, const int64_t *dims)
{
    struct tensor *t = tensor_of(d, rank, dims);
    for (size_t i = 0; i < t->n; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)next();
    }
    return t;
}

enum { MAX_IN = 12 };

/* One operator with its inputs. */
struct fixture {
    struct graph *g;
    struct node *node;
    const struct op *op;
    int n_in;
    const struct tensor *in[MAX_IN];
};

static const struct op *find_row(const struct op *table, const char *name)
{
    while (table->name && strcmp(table->name, name) != 0) {
        table++;
    }
    assert_non_null(table->name);
    return table;
}

static void fixture_init(struct fixture *f, const struct op *table, const char *name, int n_in)
{
    int in[MAX_IN], out = 0;
    *f = (struct fixture){.g = graph_new(), .op = find_row(table, name), .n_in = n_in};
    out = graph_value(f->g, "y");
    for (int i = 0; i < n_in; i++) {
        char label[16];
        snprintf(label, sizeof label, "x%d", i);
        in[i] = graph_value(f->g, label);
    }
    f->node = graph_add(f->g, name, "", name, n_in, in, 1, &out);
}

static void fixture_fini(struct fixture *f)
{
    for (int i = 0; i < f->n_in; i++) {
        tensor_free((struct tensor *)f->in[i]);
    }
    graph_free(f->g);
}

/* Runs one kernel. `packed`: through prepare, as with constant weights. */
static int run_kernel(const struct fixture *f, bool fast, bool packed, struct tensor **out,
                      struct err *err)
{
    void *packing = NULL;
    struct op_prep prep = {
        .node = f->node, .opset = 13, .n_in = f->n_in, .constants = (const struct tensor **)f->in};
    if (packed && f->op->prepare) {
        assert_int_equal(f->op->prepare(&prep, &packing, err), OK);
    }
    *out = NULL;
    struct op_call c = {.node = f->node,
                        .opset = 13,
                        .n_in = f->n_in,
                        .n_out = 1,
                        .in = (const struct tensor **)f->in,
                        .out = out,
                        .state = packing};
    int rc = fast && f->op->fast ? f->op->fast(&c, err) : f->op->ref(&c, err);
    if (packing) {
        f->op->release(packing);
    }
    return rc;
}

static const char *const isas[] = {"plain", "avx2", "vnni", "amx"};

/* ref == fast for every instruction set, packed before or during the call. */
static void compare(const struct fixture *f, const char *what)
{
    struct err err = {0};
    struct tensor *want = NULL, *got = NULL;
    int rc = run_kernel(f, false, false, &want, &err);
    for (size_t i = 0; i < COUNT(isas) * 2; i++) {
        const struct int8_kernels *k = kernel_int8_isa(isas[i / 2]);
        if (!k) {
            continue;
        }
        kernel_int8_force(k);
        int rc_fast = run_kernel(f, true, i % 2 != 0, &got, &err);
        kernel_int8_force(NULL);
        if (rc_fast != rc) {
            fail_msg("%s (%s): ref gives %s, fast %s: %s", what, k->name, err_name(rc),
                     err_name(rc_fast), err.text);
        }
        if (!rc && !tensor_equal(want, got)) {
            fail_msg("%s (%s): ref and fast differ", what, k->name);
        }
        tensor_free(got);
        got = NULL;
    }
    tensor_free(want);
}

/* ---- Convolutions --------------------------------------------------------------------------- */

/* Large sums, where a 16-bit step in between would saturate and 32 bits wrap. */
static void test_conv_extremes(void **unused)
{
    (void)unused;
    const enum dtype types[] = {DT_U8, DT_S8};
    for (int i = 0; i < 4; i++) {
        enum dtype dx = types[i & 1], dw = types[i >> 1];
        struct fixture f;
        fixture_init(&f, op_qconv, "ConvInteger", 2);
        f.in[0] = random_codes(dx, 4, (int64_t[]){1, 64, 3, 50});
        f.in[1] = random_codes(dw, 4, (int64_t[]){9, 64, 3, 3});
        memset(f.in[0]->data, dx == DT_U8 ? 0xff : 0x80, f.in[0]->size);
        memset(f.in[1]->data, dw == DT_U8 ? 0xff : 0x7f, f.in[1]->size);
        compare(&f, "ConvInteger at the ends of the range");
        fixture_fini(&f);
    }
}

/* ---- Other numerics --------------------------------------------------------------------------
 */

static struct tensor *one_float(float v)
{
    struct tensor *t = tensor_of(DT_F32, 0, NULL);
    *(float *)t->data = v;
    return t;
}

static struct tensor *filled(enum dtype d, int rank, const int64_t *dims, int v)
{
    struct tensor *t = tensor_of(d, rank, dims);
    memset(t->data, v, t->size);
    return t;
}

/* A pointwise convolution of 64 channels that are all x with weights that are all w; out 1x1x1x1.
 */
static void constant_conv(struct fixture *f, const struct op *table, int x, int w, int32_t bias)
{
    fixture_init(f, table, "QLinearConv", 9);
    f->in[0] = filled(DT_U8, 4, (const int64_t[]){1, 64, 1, 1}, x);
    f->in[1] = one_float(1);
    f->in[2] = filled(DT_U8, 0, NULL, 0);
    f->in[3] = filled(DT_S8, 4, (const int64_t[]){1, 64, 1, 1}, w);
    f->in[4] = one_float(1);
    f->in[5] = filled(DT_S8, 0, NULL, 0);
    f->in[6] = one_float(1);
    f->in[7] = filled(DT_U8, 0, NULL, 0);
    f->in[8] = tensor_of(DT_S32, 1, (const int64_t[]){1});
    *(int32_t *)f->in[8]->data = bias;
}

static int only_code(const struct fixture *f)
{
    struct tensor *y = NULL;
    assert_int_equal(run_kernel(f, true, true, &y, NULL), OK);
    int code = *(const uint8_t *)y->data;
    tensor_free(y);
    return code;
}

/* Float loses the last bit of 2^24 + 1, which decides here; exact arithmetic does not. */
static void test_exact_rounding(void **unused)
{
    (void)unused;
    static const struct {
        int32_t sum;
        float sx;
        int ort, exact;
    } rows[] = {
        {(1 << 24) + 1, 0x1p-25F, 0, 1}, {1 << 24, 0x1p-25F, 0, 0},
        {3 << 24, 0x1p-25F, 2, 2},       {5 << 24, 0x1p-25F, 2, 2},
        {(5 << 24) + 1, 0x1p-25F, 2, 3}, {-(1 << 24), 1, 0, 0},
        {INT32_MAX, 1, 255, 255},        {7, 1, 7, 7},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fixture f;
        constant_conv(&f, op_qconv, 0, 0, rows[i].sum);
        *(float *)f.in[1]->data = rows[i].sx;
        assert_int_equal(only_code(&f), rows[i].ort);
        f.op = find_row(op_exact, "QLinearConv");
        assert_int_equal(only_code(&f), rows[i].exact);
        fixture_fini(&f);
    }
}

/* 64 products of 255 and 127: 2072640, or 32 pairs cut to 32767: 1048544. */
static void test_pair_saturation(void **unused)
{
    (void)unused;
    struct fixture f;
    constant_conv(&f, op_qconv, 255, 127, 0);
    *(float *)f.in[6]->data = 8192.0F;
    assert_int_equal(only_code(&f), 253); /* 2072640 / 8192 = 253.008 */
    f.op = find_row(op_pairs, "QLinearConv");
    assert_int_equal(only_code(&f), 128); /* 1048544 / 8192 = 127.996 */
    fixture_fini(&f);
}

static void test_accumulators(void **unused)
{
    (void)unused;
    struct fixture f;
    struct plan *p = NULL;
    struct accumulators a;
    constant_conv(&f, op_qconv, 255, 127, 0);
    for (int i = 1; i < f.n_in; i++) {
        f.g->values[f.node->in[i]].constant = tensor_ref(f.in[i]);
    }
    f.g->inputs = mem_alloc(sizeof *f.g->inputs);
    f.g->inputs[f.g->n_inputs++] = f.node->in[0];
    f.g->values[f.node->in[0]].is_input = true;
    f.g->outputs = mem_alloc(sizeof *f.g->outputs);
    f.g->outputs[f.g->n_outputs++] = f.node->out[0];
    f.g->values[f.node->out[0]].is_output = true;
    f.g->opset = 13;
    struct plan_options o = {.numerics = NUM_ORT};
    assert_int_equal(plan_new(f.g, &o, &p, NULL), OK);
    const struct tensor *in[9] = {f.in[0]};
    assert_int_equal(plan_accumulators(p, 0, in, &a, NULL), OK);
    assert_int_equal(a.all.min, 2072640);
    assert_int_equal(a.all.max, 2072640);
    assert_int_equal(acc_bits(&a.all), 22);
    assert_int_equal(a.all.pairs, 32);
    assert_int_equal(a.all.pair_outputs, 1);
    assert_int_equal(a.all.wraps, 0);
    assert_int_equal(a.all.clipped, 1);
    assert_int_equal(a.n_channels, 1);
    accumulators_fini(&a);
    plan_free(p);
    fixture_fini(&f);
}

/* ---- Codes ---------------------------------------------------------------------------------- */

/* Ties go to the even code, the zero point is added after rounding, the ends saturate, and what is
 * not a number becomes the lowest code. */
static void test_quantize_ties(void **unused)
{
    (void)unused;
    const float values[] = {0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 1e30F, -1e30F, NAN, 126.5F, 127.5F};
    const int32_t want_u8[] = {3, 5, 5, 3, 1, 255, 0, 0, 129, 131};
    const int32_t want_s8[] = {3, 5, 5, 3, 1, 127, -128, -128, 127, 127};
    const float one = 1.0F;
    const int32_t three = 3;
    int64_t n = COUNT(values);
    struct tensor *x = tensor_of(DT_F32, 1, &n), *q = NULL;
    memcpy(x->data, values, sizeof values);
    for (int i = 0; i < 2; i++) {
        struct quant p = {i ? DT_S8 : DT_U8, -1, 1, &one, &three};
        assert_int_equal(quant_quantize(x, &p, NULL, &q, NULL), OK);
        for (size_t k = 0; k < COUNT(values); k++) {
            assert_int_equal(code_at(q, k), i ? want_s8[k] : want_u8[k]);
        }
        tensor_free(q);
    }
    tensor_free(x);
}

/* Every code of every type survives the way to float and back, per channel. */
static void test_quant_round_trip(void **unused)
{
    (void)unused;
    const enum dtype types[] = {DT_U8, DT_S8, DT_U16, DT_S16, DT_U4, DT_S4};
    for (size_t i = 0; i < COUNT(types); i++) {
        int64_t lo = 0, hi = 0;
        assert_true(dtype_range(types[i], &lo, &hi));
        const int64_t dims[] = {2, hi - lo + 1, 2};
        const float s[] = {0.125F, 0.3F};
        const int32_t z[] = {(int32_t)lo, (int32_t)(lo + (hi - lo) / 3)};
        const struct quant p = {types[i], 2, 2, s, z};
        struct tensor *q = tensor_of(types[i], 3, dims), *x = NULL, *back = NULL;
        for (size_t k = 0; k < q->n; k++) {
            int32_t code = (int32_t)(lo + (int64_t)(k / 2) % (hi - lo + 1));
            codes_put(q, k, 1, &code);
        }
        assert_int_equal(quant_dequantize(q, &p, NULL, &x, NULL), OK);
        assert_int_equal(quant_quantize(x, &p, NULL, &back, NULL), OK);
        assert_true(tensor_equal(q, back));
        tensor_free(q);
        tensor_free(x);
        tensor_free(back);
    }
}

static void test_quant_refuses(void **unused)
{
    (void)unused;
    struct arena a = {0};
    struct err err;
    struct quant p;
    const int64_t two = 2, three = 3;
    struct tensor *s = tensor_of(DT_F32, 1, &two), *z = random_codes(DT_U8, 1, &three), *q = NULL;
    ((float *)s->data)[0] = ((float *)s->data)[1] = 0.5F;
    struct tensor *f = tensor_of(DT_F32, 1, &three);
    assert_int_equal(quant_read(s, z, 0, DT_U8, &a, &p, &err), E_SHAPE);
    assert_int_equal(quant_read(z, NULL, 0, DT_U8, &a, &p, &err), E_UNSUPPORTED);
    assert_int_equal(quant_read(s, NULL, 0, DT_S64, &a, &p, &err), E_UNSUPPORTED);
    assert_int_equal(quant_read(s, NULL, 0, DT_U8, &a, &p, &err), OK);
    assert_int_equal(quant_quantize(f, &p, NULL, &q, &err), E_SHAPE); /* 2 scales, 3 elements */
    assert_string_equal(err.text, "2 scales along axis 0 do not fit a tensor of shape 3");
    assert_null(q);
    tensor_free(s);
    tensor_free(z);
    tensor_free(f);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_extremes),    cmocka_unit_test(test_quantize_ties),
        cmocka_unit_test(test_quant_round_trip), cmocka_unit_test(test_quant_refuses),
        cmocka_unit_test(test_exact_rounding),   cmocka_unit_test(test_pair_saturation),
        cmocka_unit_test(test_accumulators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
