/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_names.c: names of layers in narrow columns: what tells them apart must be left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tui/view.h"

enum { MOST = 8 };

/* What these names become in a column of that width. */
static void fit_all(size_t n, const char *const *names, int width, char fit[][64])
{
    struct layer layers[MOST] = {0};
    struct session s = {.match = {.layers = layers, .n_layers = n}};
    for (size_t i = 0; i < n; i++)
        layers[i].name = (char *)(uintptr_t)names[i];
    const struct name_cut cut = name_cut_for(&s, width);
    for (size_t i = 0; i < n; i++) {
        name_fit(fit[i], sizeof(fit[i]), session_layer_label(&s, i), cut, width);
        assert_true(text_width(fit[i]) <= width);
    }
}

static void ends_are_kept(void **state)
{
    static const char *const names[] = {"/model/block1/conv", "/model/block2/conv", "/model/pool"};
    char fit[MOST][64];
    (void)state;
    fit_all(COUNT(names), names, 13, fit);
    assert_string_equal(fit[0], "~/block1/conv");
    assert_string_equal(fit[1], "~/block2/conv");
    assert_string_equal(fit[2], "/model/pool");
}

static void beginnings_are_kept(void **state)
{
    static const char *const names[] = {"model/a1/very/long/way/to/BiasAdd",
                                        "model/a2/very/long/way/to/BiasAdd",
                                        "model/a3/other/long/way/to/BiasAdd"};
    char fit[MOST][64];
    (void)state;
    fit_all(COUNT(names), names, 9, fit);
    assert_string_equal(fit[0], "a1/very/~");
    assert_string_equal(fit[1], "a2/very/~");
    assert_string_equal(fit[2], "a3/other~");
}

/* Neither end tells these apart: what is in front of the ending that many have does. */
static void middles_are_kept(void **state)
{
    static const char *const names[] = {
        "net/alpha_1/normalization_2_1/batchnorm/sub1",
        "net/alpha_1/normalization_20_1/batchnorm/sub1",
        "net/alpha_1/normalization_11_1/batchnorm/sub1",
        "net/alpha_1/add_3/Add",
        "Relu6__90",
    };
    char fit[MOST][64];
    (void)state;
    fit_all(COUNT(names), names, 14, fit);
    assert_string_equal(fit[0], "~lization_2_1~");
    assert_string_equal(fit[1], "~ization_20_1~");
    assert_string_equal(fit[2], "~ization_11_1~");
    assert_string_equal(fit[3], "~a_1/add_3/Add");
    assert_string_equal(fit[4], "Relu6__90");
    fit_all(COUNT(names), names, 60, fit);
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(fit[i], names[i]);
}

/* Of names joined by a converter, which end in the same one, the first. */
static void first_names_are_kept(void **state)
{
    static const char *const names[] = {
        "long_name/relu_1/Relu6;long_name/bn/Fused;a/conv2d_9/Conv2D",
        "long_name/relu_2/Relu6;long_name/bn/Fused;a/conv2d_9/Conv2D",
        "long_name/relu_3/Relu6;a/conv2d_9/Conv2D", "pool"};
    char fit[MOST][64];
    (void)state;
    fit_all(COUNT(names), names, 14, fit);
    assert_string_equal(fit[0], "~/relu_1/Relu6");
    assert_string_equal(fit[1], "~/relu_2/Relu6");
    assert_string_equal(fit[2], "~/relu_3/Relu6");
    assert_string_equal(fit[3], "pool");
}

/* Any width, also with names that are the same, or nothing but an ending. */
static void all_widths(void **state)
{
    static const char *const names[] = {"/a/b/c", "/a/b/c", "/", "", "b/c", "\u4e2d\u6587/b/c"};
    char fit[MOST][64];
    (void)state;
    for (int width = 0; width < 12; width++)
        fit_all(COUNT(names), names, width, fit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_are_kept),    cmocka_unit_test(beginnings_are_kept),
        cmocka_unit_test(middles_are_kept), cmocka_unit_test(first_names_are_kept),
        cmocka_unit_test(all_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
