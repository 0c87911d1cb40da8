/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * npy.c: numpy's .npy files, versions 1 to 3, in and out. The header is a Python literal; it is
 * parsed here as exactly the dictionary numpy writes, never evaluated. No objects, no structured
 * types, no .npz.
 */
#include "formats/rows.h"

#include <inttypes.h>
#include <stdlib.h>

static const char magic[] = "\x93NUMPY"; /* 6 bytes */
enum { MAGIC_SIZE = 6, HEADER_MAX = 1 << 16, HEAD_MAX = HEADER_MAX + 12 };

/* A parsed header, and the data when the whole file is in memory. */
struct npy {
    enum dtype dtype;
    bool swap;    /* the other byte order */
    bool fortran; /* first axis runs fastest */
    int rank;
    int64_t dims[MAX_RANK];
    size_t offset; /* of the data in the file */
    const uint8_t *data;
};

static const struct descr {
    const char *code;
    enum dtype dtype;
} descrs[] = {
    {"b1", DT_BOOL}, {"u1", DT_U8},  {"i1", DT_S8},  {"u2", DT_U16}, {"i2", DT_S16}, {"f2", DT_F16},
    {"u4", DT_U32},  {"i4", DT_S32}, {"f4", DT_F32}, {"u8", DT_U64}, {"i8", DT_S64}, {"f8", DT_F64},
};

static bool host_is_big(void)
{
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
}

/* ---- Header --------------------------------------------------------------------------------- */

struct cursor {
    const char *p, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t')) {
        c->p++;
    }
}

/* Takes `word` if it comes next, after white space. */
static bool take(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n)) {
        return false;
    }
    c->p += n;
    return true;
}

/* A quoted string without escapes, copied to dst. */
static bool take_string(struct cursor *c, char *dst, size_t size)
{
    const char *quote = take(c, "'") ? "'" : take(c, "\"") ? "\"" : NULL;
    if (!quote) {
        return false;
    }
    const char *close = memchr(c->p, quote[0], (size_t)(c->end - c->p));
    size_t n = close ? (size_t)(close - c->p) : size;
    if (n >= size) {
        return false;
    }
    memcpy(dst, c->p, n);
    dst[n] = '\0';
    c->p = close + 1;
    return true;
}

static bool take_integer(struct cursor *c, int64_t *v)
{
    skip_space(c);
    const char *start = c->p;
    *v = 0;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9' && *v <= INT64_MAX / 10 - 1) {
        *v = *v * 10 + (*c->p++ - '0');
    }
    bool found = c->p > start;
    take(c, "L"); /* long integers of Python 2 */
    return found;
}

static int take_descr(struct cursor *c, struct npy *out, struct err *err)
{
    char text[16];
    if (!take_string(c, text, sizeof text)) {
        return err_set(err, E_UNSUPPORTED,
                       "npy: the element type is not a plain one such as '<f4'");
    }
    bool ordered = text[0] && strchr("<>|=", text[0]);
    const char *code = text + ordered;
    for (size_t i = 0; i < COUNT(descrs); i++) {
        if (!strcmp(code, descrs[i].code)) {
            out->dtype = descrs[i].dtype;
            out->swap = (text[0] == '>' && !host_is_big()) || (text[0] == '<' && host_is_big());
            return OK;
        }
    }
    return err_set(err, E_UNSUPPORTED, "npy: element type '%s', expected bool, int or float", text);
}

static int take_shape(struct cursor *c, struct npy *out, struct err *err)
{
    if (!take(c, "(")) {
        return err_set(err, E_FORMAT, "npy: the shape is not a tuple of sizes");
    }
    out->rank = 0;
    bool comma = true;
    while (!take(c, ")")) {
        int64_t dim = 0;
        if (!comma || !take_integer(c, &dim)) {
            return err_set(err, E_FORMAT, "npy: the shape is not a tuple of sizes");
        }
        if (out->rank == MAX_RANK) {
            return err_set(err, E_UNSUPPORTED, "npy: more than %d dimensions", MAX_RANK);
        }
        out->dims[out->rank++] = dim;
        comma = take(c, ",");
    }
    return OK;
}

static int take_fortran(struct cursor *c, struct npy *out, struct err *err)
{
    out->fortran = take(c, "True");
    if (!out->fortran && !take(c, "False")) {
        return err_set(err, E_FORMAT, "npy: fortran_order is neither True nor False");
    }
    return OK;
}

static const struct header_key {
    const char *name;
    int (*take)(struct cursor *c, struct npy *out, struct err *err);
} header_keys[] = {
    {"descr", take_descr},
    {"fortran_order", take_fortran},
    {"shape", take_shape},
};

static int parse_header(const char *text, size_t n, struct npy *out, struct err *err)
{
    struct cursor c = {text, text + n};
    bool seen[COUNT(header_keys)] = {false};
    size_t n_seen = 0;
    if (!take(&c, "{")) {
        return err_set(err, E_FORMAT, "npy: the header is not a dictionary");
    }
    while (!take(&c, "}")) {
        char key[32];
        if (!take_string(&c, key, sizeof key) || !take(&c, ":")) {
            return err_set(err, E_FORMAT, "npy: broken header at its byte %zu of %zu",
                           (size_t)(c.p - text), n);
        }
        size_t k = 0;
        while (k < COUNT(header_keys) && strcmp(key, header_keys[k].name)) {
            k++;
        }
        if (k == COUNT(header_keys) || seen[k]) {
            return err_set(err, E_FORMAT, "npy: key '%s' in the header is %s", key,
                           k == COUNT(header_keys) ? "unknown" : "there twice");
        }
        int rc = header_keys[k].take(&c, out, err);
        if (rc) {
            return rc;
        }
        seen[k] = true;
        n_seen++;
        if (!take(&c, ",") && (c.p == c.end || *c.p != '}')) {
            return err_set(err, E_FORMAT, "npy: broken header at its byte %zu of %zu",
                           (size_t)(c.p - text), n);
        }
    }
    skip_space(&c);
    if (n_seen < COUNT(header_keys) || c.p != c.end) {
        return err_set(err, E_FORMAT, "npy: the header %s",
                       c.p != c.end ? "goes on after its dictionary"
                                    : "lacks descr, fortran_order or shape");
    }
    return OK;
}

/* p: the first bytes of a file of `size` bytes: all of them, or HEAD_MAX. */
static int npy_parse(const uint8_t *p, size_t size, struct npy *out, struct err *err)
{
    if (size < MAGIC_SIZE + 6 || memcmp(p, magic, MAGIC_SIZE)) {
        return err_set(err, E_FORMAT, "npy: no numpy header at byte 0 of %zu", size);
    }
    int version = p[6];
    if (version < 1 || version > 3) {
        return err_set(err, E_UNSUPPORTED, "npy: version %d.%d, expected 1 to 3", version, p[7]);
    }
    size_t head = version == 1 ? 10 : 12;
    size_t n = (size_t)p[8] | (size_t)p[9] << 8;
    if (version > 1) {
        n |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    }
    if (n > HEADER_MAX || n > size - head) {
        return err_set(err, E_FORMAT, "npy: header of %zu bytes, file has %zu and the limit is %d",
                       n, size - head, HEADER_MAX);
    }
    int rc = parse_header((const char *)p + head, n, out, err);
    if (rc) {
        return rc;
    }
    /* The bytes present bound every allocation that follows. */
    size_t need = dtype_size(out->dtype), have = size - head - n;
    bool fits = true;
    for (int i = 0; i < out->rank; i++) {
        fits = fits && mul_ok(need, (size_t)out->dims[i], &need);
    }
    if (!fits || need != have) {
        char shape[128];
        return err_set(err, E_FORMAT, "npy: %zu bytes of data, expected %s%zu for %s %s", have,
                       fits ? "" : "over ", fits ? need : SIZE_MAX, dtype_name(out->dtype),
                       shape_text(shape, sizeof shape, out->rank, out->dims));
    }
    out->offset = head + n;
    return OK;
}

/* ---- Elements ------------------------------------------------------------------------------- */

/* Copies one element of `size` bytes in the byte order of this machine. */
static void copy_element(uint8_t *dst, const uint8_t *src, size_t size, bool swap)
{
    for (size_t i = 0; i < size; i++) {
        dst[i] = src[swap ? size - 1 - i : i];
    }
}

/* Row-major copy of an array whose axes have the given steps in bytes. */
static void copy_strided(const struct npy *npy, const uint8_t *src, const size_t *steps,
                         struct tensor *t)
{
    size_t size = dtype_size(t->dtype);
    int64_t at[MAX_RANK] = {0};
    uint8_t *dst = t->data;
    for (size_t i = 0; i < t->n; i++, dst += size) {
        copy_element(dst, src, size, npy->swap);
        for (int a = t->rank - 1; a >= 0; a--) {
            src += steps[a];
            if (++at[a] < t->dims[a]) {
                break;
            }
            src -= steps[a] * (size_t)t->dims[a];
            at[a] = 0;
        }
    }
}

/* Steps in bytes along each axis. */
static void npy_steps(const struct npy *npy, size_t *steps)
{
    size_t step = dtype_size(npy->dtype);
    for (int i = 0; i < npy->rank; i++) {
        int axis = npy->fortran ? i : npy->rank - 1 - i;
        steps[axis] = step;
        step *= (size_t)npy->dims[axis];
    }
}

/* Any byte but 0 is true. */
static void tidy_bools(struct tensor *t)
{
    uint8_t *b = t->data;
    for (size_t i = 0; t->dtype == DT_BOOL && i < t->n; i++) {
        b[i] = b[i] != 0;
    }
}

/* A tensor for the whole array, or for one element along its first axis when row >= 0. */
static int npy_tensor(const struct npy *npy, int64_t row, struct tensor **out, struct err *err)
{
    int skip = row >= 0;
    if (skip && (npy->rank < 1 || row >= npy->dims[0])) {
        return err_set(err, E_SHAPE, "npy: no row %" PRId64, row);
    }
    return tensor_new(npy->dtype, npy->rank - skip, npy->dims + skip, NULL, out, err);
}

/* From data in memory. */
static int npy_copy(const struct npy *npy, int64_t row, struct tensor **out, struct err *err)
{
    size_t steps[MAX_RANK] = {0};
    int skip = row >= 0;
    struct tensor *t = NULL;
    int rc = npy_tensor(npy, row, &t, err);
    if (rc) {
        return rc;
    }
    npy_steps(npy, steps);
    /* Without elements there is no data to point into. */
    const uint8_t *src = npy->data + (skip && t->size ? (size_t)row * steps[0] : 0);
    if (npy->swap || npy->fortran) {
        copy_strided(npy, src, steps + skip, t);
    } else if (t->size) {
        memcpy(t->data, src, t->size);
    }
    tidy_bools(t);
    *out = t;
    return OK;
}

static int npy_load_file(const struct file *f, struct tensor **out, struct err *err)
{
    struct npy npy = {0};
    int rc = npy_parse(f->data, f->size, &npy, err);
    npy.data = rc ? NULL : f->data + npy.offset;
    return rc ? rc : npy_copy(&npy, -1, out, err);
}

/* Reads the header alone. */
static int npy_open(const char *path, size_t limit, struct file_part *f, struct npy *npy,
                    struct err *err)
{
    int rc = file_open(path, limit, f, err);
    if (rc) {
        return rc;
    }
    size_t n = MIN(f->size, (size_t)HEAD_MAX);
    uint8_t *head = mem_alloc(n + 1);
    rc = file_read_part(f, 0, n, head, err);
    if (!rc) {
        rc = npy_parse(head, f->size, npy, err);
        if (rc) {
            err_in(err, "%s", path);
        }
    }
    free(head);
    if (rc) {
        file_close(f);
    }
    return rc;
}

/* Only the bytes that are wanted, straight into the tensor. */
static int npy_read(const struct file_part *f, const struct npy *npy, int64_t row,
                    struct tensor **out, struct err *err)
{
    struct tensor *t = NULL;
    int rc = npy_tensor(npy, row, &t, err);
    if (rc) {
        err_in(err, "%s", f->path);
        return rc;
    }
    size_t skipped = row > 0 ? (size_t)row * t->size : 0;
    rc = file_read_part(f, npy->offset + skipped, t->size, t->data, err);
    if (rc) {
        tensor_free(t);
        return rc;
    }
    tidy_bools(t);
    *out = t;
    return OK;
}

/* The whole file through memory: for arrays that have to be put in order. */
static int npy_reorder(const char *path, int64_t row, struct tensor **out, struct err *err)
{
    struct file f = {0};
    struct npy npy = {0};
    int rc = file_map(path, 0, &f, err);
    if (rc) {
        return rc;
    }
    rc = npy_parse(f.data, f.size, &npy, err);
    npy.data = rc ? NULL : f.data + npy.offset;
    rc = rc ? rc : npy_copy(&npy, row, out, err);
    if (rc) {
        err_in(err, "%s", path);
    }
    file_unmap(&f);
    return rc;
}

int npy_load_row(const char *path, int64_t row, struct tensor **out, struct err *err)
{
    struct file_part f;
    struct npy npy = {0};
    /* Of a file of any size one row can be read. */
    int rc = npy_open(path, row >= 0 ? SIZE_MAX : 0, &f, &npy, err);
    if (rc) {
        return rc;
    }
    bool plain = !npy.swap && !npy.fortran;
    rc = plain ? npy_read(&f, &npy, row, out, err) : OK;
    file_close(&f);
    return plain ? rc : npy_reorder(path, row, out, err);
}

int npy_shape(const char *path, int *rank, int64_t *dims, struct err *err)
{
    struct file_part f;
    struct npy npy = {0};
    int rc = npy_open(path, SIZE_MAX, &f, &npy, err);
    if (!rc) {
        *rank = npy.rank;
        memcpy(dims, npy.dims, sizeof npy.dims);
        file_close(&f);
    }
    return rc;
}

/* ---- Writing -------------------------------------------------------------------------------- */

static const char *descr_code(enum dtype d)
{
    for (size_t i = 0; i < COUNT(descrs); i++) {
        if (descrs[i].dtype == d) {
            return descrs[i].code;
        }
    }
    return NULL;
}

/* Preamble and dictionary, padded so that the data starts at a multiple of 64. Returns the size. */
static size_t npy_header(char *dst, size_t size, const char *code, const struct tensor *t)
{
    enum { PREAMBLE = 10, ALIGN = 64 };
    char shape[MAX_RANK * 24] = "";
    size_t n = 0;
    for (int i = 0; i < t->rank; i++) {
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%" PRId64 "%s", t->dims[i],
                              t->rank == 1      ? ","
                              : i + 1 < t->rank ? ", "
                                                : "");
    }
    char order = code[1] == '1' ? '|' : host_is_big() ? '>' : '<';
    n = PREAMBLE + (size_t)snprintf(dst + PREAMBLE, size - PREAMBLE,
                                    "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
                                    order, code, shape);
    size_t end = (n + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(dst + n, ' ', end - n);
    dst[end - 1] = '\n';
    memcpy(dst, magic, MAGIC_SIZE);
    dst[6] = 1;
    dst[7] = 0;
    dst[8] = (char)((end - PREAMBLE) & 0xFF);
    dst[9] = (char)((end - PREAMBLE) >> 8);
    return end;
}

int npy_save(const struct tensor *t, const char *path, struct err *err)
{
    struct tensor *wide = NULL;
    const char *code = descr_code(t->dtype);
    char head[512];
    int rc = OK;
    if (t->dtype == DT_BF16) {
        rc = tensor_to_f32(t, NULL, &wide, err); /* numpy has no bfloat16 */
        t = wide;
        code = "f4";
    } else if (t->dtype == DT_U4 || t->dtype == DT_S4) {
        code = t->dtype == DT_U4 ? "u1" : "i1"; /* held one to a byte already */
    }
    if (rc) {
        return rc;
    }
    if (!code) {
        return err_set(err, E_UNSUPPORTED, "%s: element type %s has no .npy form", path,
                       dtype_name(t->dtype));
    }
    size_t n = npy_header(head, sizeof head, code, t);
    uint8_t *data = malloc(n + t->size);
    if (!data) {
        rc = err_set(err, E_LIMIT, "%s: no memory for %zu bytes", path, n + t->size);
    } else {
        memcpy(data, head, n);
        if (t->size) {
            memcpy(data + n, t->data, t->size);
        }
        rc = file_write(path, data, n + t->size, FILE_SCRATCH, err);
    }
    free(data);
    tensor_free(wide);
    return rc;
}

/* ---- Tensors of any format ------------------------------------------------------------------ */

int tensor_load(const char *path, struct tensor **out, struct err *err)
{
    struct file f = {0};
    int rc = file_map(path, 0, &f, err);
    if (rc) {
        return rc;
    }
    const struct format *format = format_of(path, f.data, f.size);
    if (!format || !format->load_tensor) {
        rc = err_set(err, E_UNSUPPORTED, "not a tensor file, expected .npy or .pb (found %s)",
                     format ? format->name : "unknown bytes");
    } else {
        rc = format->load_tensor(&f, out, err);
    }
    if (rc) {
        err_in(err, "%s", path);
    }
    file_unmap(&f);
    return rc;
}

static bool npy_probe(const uint8_t *head, size_t n)
{
    return n >= MAGIC_SIZE && !memcmp(head, magic, MAGIC_SIZE);
}

const struct format format_npy = {
    .name = "npy",
    .extensions = ".npy",
    .help = "numpy array, versions 1 to 3",
    .probe = npy_probe,
    .load_tensor = npy_load_file,
};
