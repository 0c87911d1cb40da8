/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_mlas_bits.c: float operators with the bits of onnxruntime, which the oracles compare at
 * large: here a few results of onnxruntime 1.32 on x86 as they are, and matrix products on every
 * instruction set of this machine and by several threads.
 */
#include "tests/op_fixture.h"

#include "engine/fuse.h"
#include "engine/kernel_f32.h"
#include "engine/par.h"

#include <stdlib.h>

/* ---- One node of the runtime's domain ------------------------------------------------------- */

/* What the results below were made from. */
static struct tensor *ramp(int rank, const int64_t *dims, int start)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(DT_F32, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->n; i++) {
        ((float *)t->data)[i] = (float)(((int)i * 37 + start * 11) % 101 - 50) * 0.0737F;
    }
    return t;
}

static struct fixture node(const char *op)
{
    struct fixture f = fixture_new(op, 17);
    f.node->domain = fuse_mlas_domain;
    graph_attr_int(f.g, f.node, fuse_opset_attr, 17);
    return f;
}

static void feed(struct fixture *f, int start, int rank, const int64_t *dims)
{
    fixture_input(f, ramp(rank, dims, start), false);
}

static void hold(struct fixture *f, int start, int rank, const int64_t *dims)
{
    fixture_input(f, ramp(rank, dims, start), true);
}

#define DIMS(...)                                                                                  \
    (int)COUNT(((int64_t[]){__VA_ARGS__})), (const int64_t[])                                      \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static struct tensor *must_run(struct fixture *f, enum kernels kernels, struct par *par)
{
    struct tensor *y = NULL;
    struct err err = {0};
    if (fixture_run_on(f, kernels, par, &y, &err)) {
        fail_msg("%s", err.text);
    }
    return y;
}

static void want_bits(struct fixture *f, const uint32_t *want, size_t n, size_t step, size_t row)
{
    for (int k = 0; k < 2; k++) {
        struct tensor *y = must_run(f, k ? KERNELS_FAST : KERNELS_PLAIN, NULL);
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, (float *)y->data + i / row * step + i % row, sizeof bits);
            if (bits != want[i]) {
                fail_msg("%s kernels: element %zu is 0x%08x, expected 0x%08x", k ? "fast" : "plain",
                         i, bits, want[i]);
            }
        }
        tensor_free(y);
    }
    fixture_free(f);
}

#define WANT(f, ...)                                                                               \
    do {                                                                                           \
        const uint32_t want_[] = {__VA_ARGS__};                                                    \
        want_bits((f), want_, COUNT(want_), COUNT(want_), COUNT(want_));                           \
    } while (0)

/* ---- Results of onnxruntime ----------------------------------------------------------------- */

/* With a scale and a bias; start: of the input. */
static struct fixture norm(int start, int rank, const int64_t *dims)
{
    struct fixture f = node("LayerNormalization");
    feed(&f, start, rank, dims);
    hold(&f, 2, 1, dims + rank - 1);
    hold(&f, 3, 1, dims + rank - 1);
    return f;
}

static void layer_norm_of_short_rows(void **state)
{
    (void)state;
    struct fixture f = norm(1, DIMS(2, 5));
    WANT(&f, 0x3faea305, 0x3fc7917d, 0x3ff6ad20, 0x3f2a765a, 0x403ad586, 0xc08bd518, 0x3f8f074a,
         0xbf86936e, 0x3fabf69b, 0x3ff40178);
}

static void layer_norm_of_long_rows(void **state)
{
    (void)state;
    struct fixture f = norm(1, DIMS(1, 15));
    WANT(&f, 0x3fadd119, 0x3fbd417c, 0x3f8be98e, 0x3f34d774, 0x402cee72, 0xc0fc676b, 0x3f0fc7f4,
         0x408dd57a, 0x400764ff, 0x3f6c73ae, 0x40d56b23, 0x3f8dfcb2, 0x3fe56d51, 0x3ffc159b,
         0x3f1c1a07);
}

/* x + z + c, of which input 0, made in another order, is not to be used. */
static void layer_norm_behind_an_add(void **state)
{
    (void)state;
    struct fixture f = norm(6, DIMS(1, 2, 9));
    feed(&f, 1, DIMS(1, 2, 9));
    feed(&f, 4, DIMS(1, 2, 9));
    hold(&f, 5, DIMS(9));
    WANT(&f, 0x3e416288, 0x40331364, 0xc07dc6ee, 0xbf0e25c7, 0x4025ebb7, 0xc086dd9a, 0xbe673d30,
         0xbe1d7c70, 0x3fac9bb8, 0xc001ce8d, 0x3ff05ef9, 0xc105f7b6, 0xbff8a1af, 0x3f3ec09a,
         0x3e4534b0, 0xbf534de2, 0x400d2d6a, 0xbfbcc341);
}

static void softmax_of_rows(void **state)
{
    (void)state;
    struct fixture f = node("Softmax");
    feed(&f, 1, DIMS(2, 7));
    WANT(&f, 0x3aa8c8d2, 0x3ca13f1b, 0x3e9a0b8e, 0x3b3059d4, 0x3d287996, 0x3f20f365, 0x3bb841a6,
         0x3e01842c, 0x3a944530, 0x3c8da5ff, 0x3e875284, 0x3b1aeac1, 0x3d13ff92, 0x3f0d637d);
}

static void matmul_of_a_constant(void **state)
{
    (void)state;
    struct fixture f = node("MatMul");
    graph_attr_int(f.g, f.node, fuse_packed_attr, 1);
    feed(&f, 1, DIMS(2, 600));
    hold(&f, 2, DIMS(600, 3));
    WANT(&f, 0x439ffd8c, 0xc260a20f, 0xc3d5f44e, 0xc3ff4277, 0x4375a1c5, 0xc1c53126);
}

static void matmul_of_one_row(void **state)
{
    (void)state;
    struct fixture f = node("MatMul");
    feed(&f, 1, DIMS(1, 31));
    feed(&f, 2, DIMS(31, 5));
    WANT(&f, 0xc0146fec, 0x41d150cd, 0xc196ea02, 0xc0b7b8b0, 0x403f8b06);
}

static void matmul_of_one_column(void **state)
{
    (void)state;
    struct fixture f = node("MatMul");
    feed(&f, 1, DIMS(7, 31));
    feed(&f, 2, DIMS(31, 1));
    WANT(&f, 0x428bb3fd, 0xc11a58ce, 0xc2843514, 0x42e9422e, 0xc23b3832, 0xc250f7cf, 0x42e75b81);
}

/* The first four of 90 columns. */
static void matmul_in_runs(void **state)
{
    (void)state;
    static const uint32_t want[] = {0x4297ce0c, 0xc1a4627c, 0xc28858a6, 0x415abeb4,
                                    0x4305c2c4, 0xc203aa03, 0xc2d4a958, 0x42840e24};
    struct fixture f = node("MatMul");
    feed(&f, 1, DIMS(2, 300));
    feed(&f, 2, DIMS(300, 90));
    want_bits(&f, want, COUNT(want), 90, 4);
}

static void gemm_with_a_bias(void **state)
{
    (void)state;
    struct fixture f = node("Gemm");
    graph_attr_int(f.g, f.node, "transB", 1);
    feed(&f, 1, DIMS(1, 31));
    feed(&f, 2, DIMS(7, 31));
    hold(&f, 3, DIMS(7));
    WANT(&f, 0x42893281, 0xc28889ae, 0xc0ece941, 0x41d723a8, 0xc28ac1e2, 0x4248bf84, 0xc0e444e0);
    f = node("Gemm");
    graph_attr_int(f.g, f.node, fuse_packed_attr, 1);
    feed(&f, 1, DIMS(2, 300));
    hold(&f, 2, DIMS(300, 3));
    hold(&f, 3, DIMS(3));
    WANT(&f, 0x4326edb2, 0xc1b666e2, 0xc359c740, 0x41c1357d, 0xc339e19f, 0x4355d17f);
}

static void average_of_windows_that_stick_out(void **state)
{
    (void)state;
    static const int64_t three[] = {3, 3}, two[] = {2, 2}, ones[] = {1, 1, 1, 1};
    struct fixture f = node("AveragePool");
    graph_attr_ints(f.g, f.node, "kernel_shape", COUNT(three), three);
    graph_attr_ints(f.g, f.node, "strides", COUNT(two), two);
    graph_attr_ints(f.g, f.node, "pads", COUNT(ones), ones);
    graph_attr_int(f.g, f.node, "ceil_mode", 1);
    graph_attr_int(f.g, f.node, "count_include_pad", 1);
    feed(&f, 1, DIMS(1, 1, 6, 6));
    WANT(&f, 0xbeb01807, 0xbe8a5c05, 0x3d6acab9, 0x3de2680b, 0x3e062ab0, 0xbe862ab1, 0x3e6acab5,
         0xbf16f007, 0xbec50eb4, 0xbf1f52b2, 0xbe062aae, 0x3f62680b, 0xbf073707, 0x3c493fd5,
         0x3e841206, 0x3f4f8a0a);
}

/* ---- Instruction sets ----------------------------------------------------------------------- */

/* MatMul or Gemm of any shape; constant factors are packed or not. */
static struct fixture random_product(void)
{
    static const int64_t sizes[] = {1, 1, 2, 5, 17, 33, 130, 300};
    const int64_t m = sizes[random_int(0, 7)], k = sizes[random_int(0, 7)];
    const int64_t n = sizes[random_int(0, 7)];
    const bool gemm = random_int(0, 1), flip = gemm && random_int(0, 1), held = random_int(0, 1);
    struct fixture f = node(gemm ? "Gemm" : "MatMul");
    graph_attr_int(f.g, f.node, "transB", flip);
    graph_attr_int(f.g, f.node, fuse_packed_attr, held && random_int(0, 1));
    const int64_t a[] = {3, m, k}, b[] = {3, flip ? n : k, flip ? k : n};
    const int stack = gemm ? 1 : (int)random_int(0, 1), stacked = !stack && random_int(0, 1);
    fixture_input(&f, random_tensor(3 - stack, a + stack, -2, 2), false);
    fixture_input(&f, random_tensor(2 + stacked, b + !stacked, -2, 2), held);
    if (gemm && random_int(0, 1)) {
        fixture_input(&f, random_tensor(1, &n, -2, 2), true);
    }
    return f;
}

static void want_equal(const struct tensor *a, const struct tensor *b, const char *how)
{
    if (!tensor_equal(a, b)) {
        fail_msg("a product differs from that of the plain kernels %s", how);
    }
}

static void products_agree(void **state)
{
    (void)state;
    static const char *const isas[] = {"plain", "avx2", "avx512"};
    struct par *par = par_new(3);
    for (int i = 0; i < 200; i++) {
        struct fixture f = random_product();
        struct tensor *want = must_run(&f, KERNELS_PLAIN, NULL), *got;
        for (size_t k = 0; k < COUNT(isas); k++) {
            if (kernel_f32_isa(isas[k])) {
                kernel_f32_force(kernel_f32_isa(isas[k]));
                got = must_run(&f, KERNELS_FAST, NULL);
                want_equal(got, want, isas[k]);
                tensor_free(got);
            }
        }
        kernel_f32_force(NULL);
        got = must_run(&f, KERNELS_FAST, par);
        want_equal(got, want, "by three threads");
        tensor_free(got);
        tensor_free(want);
        fixture_free(&f);
    }
    par_free(par);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm_of_short_rows),
        cmocka_unit_test(layer_norm_of_long_rows),
        cmocka_unit_test(layer_norm_behind_an_add),
        cmocka_unit_test(softmax_of_rows),
        cmocka_unit_test(matmul_of_a_constant),
        cmocka_unit_test(matmul_of_one_row),
        cmocka_unit_test(matmul_of_one_column),
        cmocka_unit_test(matmul_in_runs),
        cmocka_unit_test(gemm_with_a_bias),
        cmocka_unit_test(average_of_windows_that_stick_out),
        cmocka_unit_test(products_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
