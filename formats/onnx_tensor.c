/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_tensor.c: TensorProto to tensor and back: raw data, typed lists, data in other files. Every
 * count is compared with what the file really holds before memory is taken, so a small file cannot
 * ask for much: at most 8 bytes a byte.
 */
#include "formats/onnx.h"

#include <inttypes.h>
#include <stdlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "raw data is little endian and used where it stands");

/* ---- TensorProto as it stands --------------------------------------------------------------- */

static int read_dims(struct tensor_proto *t, const struct wire_item *it, struct err *err)
{
    struct wire list = wire_list(&t->w, it);
    while (wire_more(&list)) {
        const uint8_t *at = list.p;
        uint64_t v;
        int rc = wire_scalar(&list, WIRE_VARINT, &v, err);
        if (rc) {
            return rc;
        }
        if (t->rank == MAX_RANK) {
            return wire_bad(&t->w, at, E_UNSUPPORTED, err, "rank is more than %d", MAX_RANK);
        }
        if ((int64_t)v < 0) {
            return wire_bad(&t->w, at, E_FORMAT, err, "dimension %d is %" PRId64, t->rank,
                            (int64_t)v);
        }
        t->dims[t->rank++] = (int64_t)v;
    }
    return OK;
}

/* Digits only, as a number of bytes. */
static int read_decimal(const struct wire *w, struct span s, uint64_t *v, struct err *err)
{
    uint64_t x = 0;
    bool ok = s.n > 0;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = s.p[i] >= '0' && s.p[i] <= '9' && !__builtin_mul_overflow(x, 10, &x) &&
             !__builtin_add_overflow(x, s.p[i] - '0', &x);
    }
    if (!ok) {
        return wire_bad(w, s.p, E_FORMAT, err, "external data: '%.*s' is no number of bytes",
                        (int)MIN(s.n, (size_t)40), (const char *)s.p);
    }
    *v = x;
    return OK;
}

/* One key and value of external_data; keys that are not known do not matter. */
static int read_external(struct tensor_proto *t, struct span s, struct err *err)
{
    struct wire w = wire_open(t->w.base, s);
    struct span key = {0}, value = {0};
    while (wire_more(&w)) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == ENTRY_KEY) {
            key = it.s;
        } else if (it.field == ENTRY_VALUE) {
            value = it.s;
        }
    }
    if (wire_is(key, "location")) {
        t->location = value;
    } else if (wire_is(key, "offset")) {
        return read_decimal(&w, value, &t->offset, err);
    } else if (wire_is(key, "length")) {
        t->has_length = true;
        return read_decimal(&w, value, &t->length, err);
    }
    return OK;
}

static int read_field(struct tensor_proto *t, const struct wire_item *it, struct err *err)
{
    switch (it->field) {
    case TENSOR_DIMS:
        return read_dims(t, it, err);
    case TENSOR_DATA_TYPE:
        t->dtype = it->v < INT32_MAX ? (enum dtype)it->v : DT_NONE;
        return OK;
    case TENSOR_SEGMENT:
        return wire_bad(&t->w, it->whole.p, E_UNSUPPORTED, err, "tensor in segments");
    case TENSOR_NAME:
        t->name = it->s;
        return OK;
    case TENSOR_RAW_DATA:
        t->has_raw = true;
        t->raw = it->s;
        return OK;
    case TENSOR_EXTERNAL_DATA:
        return read_external(t, it->s, err);
    case TENSOR_DATA_LOCATION:
        t->external = it->v == TENSOR_EXTERNAL;
        return OK;
    default:
        return OK;
    }
}

int tensor_proto_read(struct wire w, struct tensor_proto *out, struct err *err)
{
    struct tensor_proto t = {.w = w};
    while (wire_more(&w)) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (!rc) {
            rc = read_field(&t, &it, err);
        }
        if (rc) {
            return rc;
        }
    }
    *out = t;
    return OK;
}

/* ---- Typed lists ---------------------------------------------------------------------------- */

struct list_kind {
    uint32_t field;
    const char *name;
    enum wire_type type;
};

/* Which list holds elements of type d; narrow types share int32_data. */
static struct list_kind list_of(enum dtype d)
{
    switch (d) {
    case DT_F32:
        return (struct list_kind){TENSOR_FLOAT_DATA, "float_data", WIRE_32};
    case DT_F64:
        return (struct list_kind){TENSOR_DOUBLE_DATA, "double_data", WIRE_64};
    case DT_S64:
        return (struct list_kind){TENSOR_INT64_DATA, "int64_data", WIRE_VARINT};
    case DT_U32:
    case DT_U64:
        return (struct list_kind){TENSOR_UINT64_DATA, "uint64_data", WIRE_VARINT};
    default:
        return (struct list_kind){TENSOR_INT32_DATA, "int32_data", WIRE_VARINT};
    }
}

static bool is_list(uint32_t field)
{
    return field == TENSOR_FLOAT_DATA || field == TENSOR_INT32_DATA ||
           field == TENSOR_STRING_DATA || field == TENSOR_INT64_DATA ||
           field == TENSOR_DOUBLE_DATA || field == TENSOR_UINT64_DATA;
}

/* Numbers in the list that fits the type; E_FORMAT when another list is there too. */
static int count_list(const struct tensor_proto *t, size_t *total, struct err *err)
{
    const struct list_kind kind = list_of(t->dtype);
    *total = 0;
    for (struct wire w = t->w; wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (!is_list(it.field) || (it.type == WIRE_LEN && it.s.n == 0)) {
            continue;
        }
        if (it.field != kind.field) {
            return wire_bad(&w, it.whole.p, E_FORMAT, err,
                            "%s data in field %u of TensorProto, expected %s (%u)",
                            dtype_name(t->dtype), it.field, kind.name, kind.field);
        }
        size_t n;
        rc = wire_count(&w, &it, kind.type, &n, err);
        if (rc) {
            return rc;
        }
        *total += n; /* at most one for each byte of the file */
    }
    return OK;
}

static bool is_nibble(enum dtype d)
{
    return d == DT_U4 || d == DT_S4;
}

/* One value of a pair in a byte: the first element is the low half. */
static uint8_t nibble(enum dtype d, uint64_t pair, size_t i)
{
    unsigned v = (unsigned)(pair >> (i % 2 ? 4 : 0)) & 0xf;
    return (uint8_t)(d == DT_S4 && v > 7 ? v - 16 : v);
}

/* Stores number i of the list; integers are cut to the width of the type as ONNX Runtime does. */
static void store(struct tensor *t, size_t i, uint64_t v)
{
    if (is_nibble(t->dtype)) {
        uint8_t *d = t->data;
        for (size_t k = 2 * i; k < 2 * i + 2 && k < t->n; k++) {
            d[k] = nibble(t->dtype, v, k);
        }
        return;
    }
    if (t->dtype == DT_BOOL) {
        v = v != 0;
    }
    size_t size = dtype_size(t->dtype);
    memcpy((uint8_t *)t->data + i * size, &v, size);
}

static int fill_from_list(const struct tensor_proto *p, struct tensor *t, struct err *err)
{
    const struct list_kind kind = list_of(p->dtype);
    size_t i = 0;
    for (struct wire w = p->w; wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field != kind.field) {
            continue;
        }
        for (struct wire list = wire_list(&w, &it); wire_more(&list); i++) {
            uint64_t v;
            rc = wire_scalar(&list, kind.type, &v, err);
            if (rc) {
                return rc;
            }
            store(t, i, v);
        }
    }
    return OK;
}

/* ---- Strings -------------------------------------------------------------------------------- */

/* Strings and their bytes, all of them in the file; E_FORMAT when a list of numbers is there too.
 */
static int count_strings(const struct tensor_proto *t, size_t *count, size_t *bytes,
                         struct err *err)
{
    *count = *bytes = 0;
    for (struct wire w = t->w; wire_more(&w);) {
        struct wire_item it;
        int rc = wire_next(&w, &it, err);
        if (rc) {
            return rc;
        }
        if (it.field == TENSOR_STRING_DATA) {
            *count += 1;
            *bytes += it.s.n;
        } else if (is_list(it.field) && !(it.type == WIRE_LEN && it.s.n == 0)) {
            return wire_bad(&w, it.whole.p, E_FORMAT, err,
                            "string data in field %u of TensorProto, expected string_data (%u)",
                            it.field, TENSOR_STRING_DATA);
        }
    }
    return OK;
}

/* Strings stand in string_data alone. `want`: what the dimensions say. */
static int decode_strings(const struct tensor_proto *p, size_t want, struct tensor **out,
                          struct err *err)
{
    size_t count, bytes, i = 0;
    int rc = count_strings(p, &count, &bytes, err);
    if (!rc && (p->has_raw || p->external)) {
        rc = wire_bad(&p->w, p->w.p, E_FORMAT, err, "strings in %s, expected string_data",
                      p->has_raw ? "raw_data" : "external data");
    }
    if (!rc && count != want) {
        char shape[96];
        rc = wire_bad(&p->w, p->w.p, E_FORMAT, err,
                      "string_data has %zu strings, expected %zu for %s", count, want,
                      shape_text(shape, sizeof shape, p->rank, p->dims));
    }
    struct tensor *t = NULL;
    rc = rc ? rc : tensor_new_strings(p->rank, p->dims, bytes, NULL, &t, err);
    for (struct wire w = p->w; !rc && wire_more(&w);) {
        struct wire_item it;
        rc = wire_next(&w, &it, err);
        if (!rc && it.field == TENSOR_STRING_DATA) {
            tensor_put_string(t, i++, it.s);
        }
    }
    if (rc) {
        tensor_free(t);
        return rc;
    }
    *out = t;
    return OK;
}

/* ---- Decoding ------------------------------------------------------------------------------- */

/* Elements, and bytes as raw data has them. */
static int raw_size(const struct tensor_proto *p, size_t *n, size_t *size, struct err *err)
{
    size_t count = 1, bytes = 0;
    bool ok = true;
    for (int i = 0; i < p->rank; i++) {
        ok = ok && mul_ok(count, (size_t)p->dims[i], &count);
    }
    if (!ok || !mul_ok(count, dtype_size(p->dtype), &bytes)) {
        return wire_bad(&p->w, p->w.p, E_FORMAT, err, "tensor has more than 2^64 bytes");
    }
    *n = count;
    *size = is_nibble(p->dtype) ? count / 2 + count % 2 : bytes;
    return OK;
}

static void fill_from_raw(struct tensor *t, const uint8_t *raw, size_t size)
{
    if (!is_nibble(t->dtype)) {
        if (size) {
            memcpy(t->data, raw, size);
        }
        return;
    }
    for (size_t i = 0; i < t->n; i++) {
        ((uint8_t *)t->data)[i] = nibble(t->dtype, raw[i / 2], i);
    }
}

static int decode_raw(const struct tensor_proto *p, size_t size, bool borrow, struct tensor **out,
                      struct err *err)
{
    if (p->raw.n != size) {
        char shape[96];
        return wire_bad(&p->w, p->raw.p, E_FORMAT, err,
                        "raw_data has %zu bytes, expected %zu for %s %s", p->raw.n, size,
                        dtype_name(p->dtype), shape_text(shape, sizeof shape, p->rank, p->dims));
    }
    if (borrow && !is_nibble(p->dtype)) {
        return tensor_borrow(p->dtype, p->rank, p->dims, p->raw.p, out, err);
    }
    int rc = tensor_new(p->dtype, p->rank, p->dims, NULL, out, err);
    if (!rc) {
        fill_from_raw(*out, p->raw.p, size);
    }
    return rc;
}

static int decode_list(const struct tensor_proto *p, size_t n, size_t found, struct tensor **out,
                       struct err *err)
{
    size_t want = is_nibble(p->dtype) ? n / 2 + n % 2 : n;
    if (found != want) {
        char shape[96];
        return wire_bad(&p->w, p->w.p, E_FORMAT, err, "%s has %zu numbers, expected %zu for %s %s",
                        list_of(p->dtype).name, found, want, dtype_name(p->dtype),
                        shape_text(shape, sizeof shape, p->rank, p->dims));
    }
    struct tensor *t = NULL;
    int rc = tensor_new(p->dtype, p->rank, p->dims, NULL, &t, err);
    if (!rc) {
        rc = fill_from_list(p, t, err);
    }
    if (rc) {
        tensor_free(t);
        return rc;
    }
    *out = t;
    return OK;
}

/* Reads size bytes of another file into t; nibbles go through a buffer. */
static int fill_from_file(const struct tensor_proto *p, const char *model_path, const char *name,
                          size_t size, struct tensor *t, struct err *err)
{
    if (!is_nibble(p->dtype)) {
        return file_read_below(model_path, name, p->offset, size, t->data, err);
    }
    uint8_t *packed = malloc(size ? size : 1);
    if (!packed) {
        return err_set(err, E_LIMIT, "out of memory for %zu bytes", size);
    }
    int rc = file_read_below(model_path, name, p->offset, size, packed, err);
    if (!rc) {
        fill_from_raw(t, packed, size);
    }
    free(packed);
    return rc;
}

static int decode_external(const struct tensor_proto *p, const char *model_path, size_t size,
                           struct tensor **out, struct err *err)
{
    char name[WIRE_NAME_MAX + 1];
    uint64_t have, end;
    if (p->location.n == 0 || p->location.n > WIRE_NAME_MAX) {
        return wire_bad(&p->w, p->w.p, E_FORMAT, err, "external data without a location");
    }
    if (p->has_length && p->length != size) {
        return wire_bad(&p->w, p->w.p, E_FORMAT, err,
                        "external data has length %" PRIu64 ", expected %zu", p->length, size);
    }
    memcpy(name, p->location.p, p->location.n);
    name[p->location.n] = '\0';
    int rc = file_size_below(model_path, name, &have, err);
    if (rc) {
        return rc;
    }
    /* Before memory is taken for it. */
    if (__builtin_add_overflow(p->offset, size, &end) || end > have) {
        return wire_bad(&p->w, p->w.p, E_FORMAT, err,
                        "external data '%.200s' has %" PRIu64 " bytes, expected %zu from offset "
                        "%" PRIu64,
                        name, have, size, p->offset);
    }
    struct tensor *t = NULL;
    rc = tensor_new(p->dtype, p->rank, p->dims, NULL, &t, err);
    if (!rc) {
        rc = fill_from_file(p, model_path, name, size, t, err);
    }
    if (rc) {
        tensor_free(t);
        return rc;
    }
    *out = t;
    return OK;
}

int tensor_proto_decode(const struct tensor_proto *p, const char *model_path, bool borrow,
                        struct tensor **out, struct err *err)
{
    size_t n = 0, size = 0, found = 0;
    if (!dtype_stored(p->dtype)) {
        return wire_bad(&p->w, p->w.p, E_UNSUPPORTED, err, "element type %d (%s) is not supported",
                        (int)p->dtype, dtype_name(p->dtype));
    }
    int rc = raw_size(p, &n, &size, err);
    if (!rc && p->dtype == DT_STRING) {
        return decode_strings(p, n, out, err);
    }
    if (!rc) {
        rc = count_list(p, &found, err);
    }
    if (rc) {
        return rc;
    }
    if ((p->has_raw != 0) + (found > 0) + p->external > 1) {
        return wire_bad(&p->w, p->w.p, E_FORMAT, err,
                        "data in more than one place: raw_data, %s, external data",
                        list_of(p->dtype).name);
    }
    if (p->external) {
        return decode_external(p, model_path, size, out, err);
    }
    return p->has_raw ? decode_raw(p, size, borrow, out, err) : decode_list(p, n, found, out, err);
}

/* ---- Writing -------------------------------------------------------------------------------- */

void tensor_proto_write_data(struct wire_buf *b, const struct tensor *t)
{
    for (size_t i = 0; i < t->n && t->dtype == DT_STRING; i++) {
        struct span s = tensor_string(t, i);
        wire_put_bytes(b, TENSOR_STRING_DATA, s.p, s.n);
    }
    if (t->dtype == DT_STRING) {
        return;
    }
    if (!is_nibble(t->dtype)) {
        wire_put_bytes(b, TENSOR_RAW_DATA, t->data, t->size);
        return;
    }
    size_t begun = wire_begin(b, TENSOR_RAW_DATA);
    const uint8_t *v = t->data;
    for (size_t i = 0; i < t->n; i += 2) {
        uint8_t high = i + 1 < t->n ? v[i + 1] : 0;
        uint8_t pair = (uint8_t)((v[i] & 0xf) | high << 4);
        wire_put_raw(b, (struct span){.p = &pair, .n = 1});
    }
    wire_end(b, begun);
}

void tensor_proto_write(struct wire_buf *b, uint32_t field, const char *name,
                        const struct tensor *t)
{
    size_t begun = wire_begin(b, field);
    for (int i = 0; i < t->rank; i++) {
        wire_put_int(b, TENSOR_DIMS, (uint64_t)t->dims[i]);
    }
    wire_put_int(b, TENSOR_DATA_TYPE, (uint64_t)t->dtype);
    if (*name) {
        wire_put_text(b, TENSOR_NAME, name);
    }
    tensor_proto_write_data(b, t);
    wire_end(b, begun);
}

/* ---- Single tensors in files ---------------------------------------------------------------- */

int onnx_load_tensor(const struct file *f, struct tensor **out, struct err *err)
{
    struct span s = {.p = f->data, .n = f->size};
    struct tensor_proto p;
    int rc = wire_check(f->data, s, &onnx_tensor, NULL, NULL, err);
    if (!rc) {
        rc = tensor_proto_read(wire_open(f->data, s), &p, err);
    }
    if (!rc) {
        rc = tensor_proto_decode(&p, f->path, false, out, err);
    }
    return rc;
}

const struct format format_pb = {
    .name = "pb",
    .extensions = ".pb",
    .help = "one tensor as ONNX TensorProto, as in the test data of ONNX models",
    .load_tensor = onnx_load_tensor,
};
