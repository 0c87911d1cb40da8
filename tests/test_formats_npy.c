/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_formats_npy.c: .npy files, good, odd and hostile.
 */
#include "tests/scratch.h"

#include "formats/rows.h"

/* An .npy file of this version with this header text; the data follows. */
static const char *write_npy(const char *name, int version, const char *header, const void *data,
                             size_t size)
{
    uint8_t bytes[1024] = "\x93NUMPY";
    size_t n = strlen(header), head = version == 1 ? 10 : 12;
    assert_true(head + n + size <= sizeof bytes);
    bytes[6] = (uint8_t)version;
    bytes[8] = (uint8_t)n;
    bytes[9] = (uint8_t)(n >> 8);
    memcpy(bytes + head, header, n);
    if (size) {
        memcpy(bytes + head + n, data, size);
    }
    return scratch_bytes(name, bytes, head + n + size);
}

static void npy_round_trip(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DT_BOOL, DT_U8,  DT_S8,  DT_U16, DT_S16, DT_F16,
                                        DT_U32,  DT_S32, DT_F32, DT_U64, DT_S64, DT_F64};
    static const int64_t dims[MAX_RANK] = {2, 3, 1, 2, 1, 1, 1, 2};
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        for (int rank = 0; rank <= MAX_RANK; rank++) {
            struct tensor *t = scratch_tensor(dtypes[i], rank, dims), *back = NULL;
            assert_int_equal(npy_save(t, scratch("t.npy"), NULL), OK);
            assert_int_equal(tensor_load(scratch("t.npy"), &back, NULL), OK);
            assert_true(tensor_equal(t, back));
            tensor_free(t);
            tensor_free(back);
        }
    }
    struct tensor *none = scratch_tensor(DT_F32, 2, (const int64_t[]){0, 7}), *back = NULL;
    assert_int_equal(npy_save(none, scratch("none.npy"), NULL), OK);
    assert_int_equal(tensor_load(scratch("none.npy"), &back, NULL), OK);
    assert_true(tensor_equal(none, back));
    tensor_free(none);
    tensor_free(back);
}

static void npy_types_numpy_lacks(void **state)
{
    (void)state;
    struct tensor *t = scratch_tensor(DT_BF16, 1, (const int64_t[]){1}), *back = NULL;
    *(uint16_t *)t->data = 0x3FC0; /* 1.5 */
    assert_int_equal(npy_save(t, scratch("bf16.npy"), NULL), OK);
    assert_int_equal(tensor_load(scratch("bf16.npy"), &back, NULL), OK);
    assert_int_equal(back->dtype, DT_F32);
    assert_true(tensor_f64(back, 0) == 1.5);
    tensor_free(t);
    tensor_free(back);
    t = scratch_tensor(DT_S4, 1, (const int64_t[]){2});
    assert_int_equal(npy_save(t, scratch("s4.npy"), NULL), OK);
    assert_int_equal(tensor_load(scratch("s4.npy"), &back, NULL), OK);
    assert_int_equal(back->dtype, DT_S8);
    tensor_free(t);
    tensor_free(back);
}

static void npy_orders(void **state)
{
    (void)state;
    static const uint8_t columns[] = {1, 4, 2, 5, 3, 6}; /* [[1 2 3] [4 5 6]] */
    struct tensor *t = NULL;
    const char *path =
        write_npy("f.npy", 2, "{'fortran_order':True,\"descr\":\"|u1\",'shape':(2,3)}", columns, 6);
    assert_int_equal(tensor_load(path, &t, NULL), OK);
    assert_memory_equal(t->data, ((const uint8_t[]){1, 2, 3, 4, 5, 6}), 6);
    tensor_free(t);
    path = write_npy("b.npy", 3, "{'descr': '>i2', 'fortran_order': False, 'shape': (2L,), }\n",
                     "\x01\x02\xFF\xFE", 4);
    assert_int_equal(tensor_load(path, &t, NULL), OK);
    assert_int_equal(tensor_s64(t, 0), 0x102);
    assert_int_equal(tensor_s64(t, 1), -2);
    tensor_free(t);
    path = write_npy("bool.npy", 1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}",
                     "\x00\x07", 2);
    assert_int_equal(tensor_load(path, &t, NULL), OK);
    assert_memory_equal(t->data, "\x00\x01", 2);
    tensor_free(t);
}

static void npy_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int code;
        const char *part;
    } cases[] = {
        {"", E_FORMAT, "dictionary"},
        {"{", E_FORMAT, "broken header"},
        {"{}", E_FORMAT, "lacks"},
        {"__import__('os')", E_FORMAT, "dictionary"},
        {"{'descr': '|u1', 'shape': (4,)}", E_FORMAT, "lacks"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (4,)} x", E_FORMAT, "goes on"},
        {"{'descr': '|u1', 'fortran_order': 0, 'shape': (4,)}", E_FORMAT, "fortran_order"},
        {"{'descr': '|u1', 'descr': '|u1', 'shape': (4,)}", E_FORMAT, "twice"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (4,), 'x': 1}", E_FORMAT, "unknown"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (-4,)}", E_FORMAT, "tuple"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': [4]}", E_FORMAT, "tuple"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (4 4)}", E_FORMAT, "tuple"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (4", E_FORMAT, "tuple"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}", E_FORMAT, "expected 5 for"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}", E_FORMAT, "expected 3 for"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999,9999999999,9)}", E_FORMAT,
         "expected over"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}", E_FORMAT,
         "tuple"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4)}", E_UNSUPPORTED,
         "more than 8"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (4,)}", E_UNSUPPORTED, "'|O'"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (4,)}", E_UNSUPPORTED, "'<c8'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", E_UNSUPPORTED,
         "plain"},
        {"{'descr': '|u1', 'fortran_order': True, 'shape': (999999999999999999,0)}", E_FORMAT,
         "expected 0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tensor *t = NULL;
        struct err err = {0};
        int rc = tensor_load(write_npy("bad.npy", 1, cases[i].header, "abcd", 4), &t, &err);
        assert_error(rc, err, cases[i].code, cases[i].part);
        assert_null(t);
    }
    struct err err = {0};
    int rc = tensor_load(write_npy("v9.npy", 9, "{}", "", 0), &(struct tensor *){NULL}, &err);
    assert_error(rc, err, E_UNSUPPORTED, "version 9");
}

static void npy_torture(void **state)
{
    (void)state;
    size_t size = 0;
    struct tensor *t = scratch_tensor(DT_F32, 2, (const int64_t[]){3, 5});
    assert_int_equal(npy_save(t, scratch("victim.npy"), NULL), OK);
    tensor_free(t);
    uint8_t *data = scratch_read(scratch("victim.npy"), &size);
    for (size_t n = 0; n < size; n++) {
        assert_true(tensor_load(scratch_bytes("cut.npy", data, n), &t, NULL) < 0);
        assert_true(tensor_load(scratch("cut.npy"), &t, NULL) < 0);
    }
    for (size_t i = 0; i < size * 8; i++) {
        data[i / 8] = (uint8_t)(data[i / 8] ^ 1 << i % 8);
        t = NULL;
        tensor_load(scratch_bytes("flip.npy", data, size), &t, NULL);
        tensor_free(t);
        t = NULL;
        npy_load_row(scratch("flip.npy"), 1, &t, NULL);
        tensor_free(t);
        data[i / 8] = (uint8_t)(data[i / 8] ^ 1 << i % 8);
    }
    free(data);
}

/* Of arrays that are too large as a whole, rows can be read. The file has holes for zeros. */
static void npy_rows(void **state)
{
    (void)state;
    const char header[] =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1100, 4, 1024, 256), }";
    const size_t row = (size_t)4 * 1024 * 256 * 4, start = 10 + strlen(header);
    const float last = 7;
    struct tensor *t = NULL;
    const char *path = write_npy("rows.npy", 1, header, NULL, 0);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseeko(f, (off_t)(start + 1100 * row - sizeof last), SEEK_SET), 0);
    assert_int_equal(fwrite(&last, sizeof last, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(tensor_load(path, &t, NULL), E_FORMAT);
    assert_int_equal(npy_load_row(path, 1100, &t, NULL), E_SHAPE);
    assert_int_equal(npy_load_row(path, 1099, &t, NULL), OK);
    assert_int_equal(t->rank, 3);
    assert_int_equal(t->size, row);
    assert_true(tensor_f64(t, 0) == 0 && tensor_f64(t, t->n - 1) == 7);
    tensor_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_round_trip), cmocka_unit_test(npy_types_numpy_lacks),
        cmocka_unit_test(npy_orders),     cmocka_unit_test(npy_hostile),
        cmocka_unit_test(npy_torture),    cmocka_unit_test(npy_rows),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
