/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * flat.c: verifies and reads FlatBuffers: see flat.h. It knows no schema of its own.
 */
#include "formats/flat.h"

/* ---- Loads ---------------------------------------------------------------------------------- */

static bool inside(struct span f, size_t at, size_t n)
{
    return at <= f.n && n <= f.n - at;
}

/* A little-endian number of size 1, 2, 4 or 8 bytes; 0 outside of the file. */
static uint64_t load(struct span f, size_t at, size_t size)
{
    uint8_t b[8] = {0};
    uint64_t v = 0;
    if (size > sizeof b || !inside(f, at, size)) {
        return 0;
    }
    memcpy(b, f.p + at, size);
    for (size_t i = size; i-- > 0;) {
        v = v << 8 | b[i];
    }
    return v;
}

static int64_t sign_extend(uint64_t v, size_t size)
{
    switch (size) {
    case 1:
        return (int8_t)v;
    case 2:
        return (int16_t)v;
    case 4:
        return (int32_t)v;
    default:
        return (int64_t)v;
    }
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Opens the table at `at`; false when it or its vtable does not lie in the file. */
static bool table_open(struct span f, size_t at, struct flat_table *out)
{
    if (!inside(f, at, 4)) {
        return false;
    }
    int64_t vtable = (int64_t)at - sign_extend(load(f, at, 4), 4);
    if (vtable < 0 || !inside(f, (size_t)vtable, 4)) {
        return false;
    }
    size_t bytes = (size_t)load(f, (size_t)vtable, 2),
           size = (size_t)load(f, (size_t)vtable + 2, 2);
    if (bytes < 4 || bytes % 2 || size < 4 || !inside(f, (size_t)vtable, bytes) ||
        !inside(f, at, size)) {
        return false;
    }
    *out = (struct flat_table){
        .file = f, .at = at, .vtable = (size_t)vtable, .slots = bytes / 2 - 2, .size = size};
    return true;
}

/* Offset of a field's bytes in the file; 0 when absent or when `size` bytes do not fit the table.
 */
static size_t field_at(const struct flat_table *t, unsigned id, size_t size)
{
    if (!t->file.p || id >= t->slots) {
        return 0;
    }
    size_t off = (size_t)load(t->file, t->vtable + 4 + 2 * (size_t)id, 2);
    return off >= 4 && off + size <= t->size ? t->at + off : 0;
}

/* Where the offset field `id` points to; 0 when absent or outside. */
static size_t target_of(const struct flat_table *t, unsigned id)
{
    size_t at = field_at(t, id, 4);
    size_t to = at ? at + (size_t)load(t->file, at, 4) : 0;
    return to != at && inside(t->file, to, 4) ? to : 0;
}

/* Opens a vector at `at`; false when its elements do not lie in the file. */
static bool vector_open(struct span f, size_t at, size_t size, struct flat_vector *out)
{
    size_t n = (size_t)load(f, at, 4), bytes;
    if (!inside(f, at, 4) || !mul_ok(n, size, &bytes) || !inside(f, at + 4, bytes)) {
        return false;
    }
    *out = (struct flat_vector){.file = f, .at = at + 4, .n = n};
    return true;
}

/* ---- Verifying ------------------------------------------------------------------------------ */

/* Tables and strings may be pointed at many times: what they cost together is bounded. */
struct verifier {
    struct span file;
    size_t left; /* bytes that may still be visited */
};
enum { TABLE_COST = 8 };

static bool spend(struct verifier *v, size_t cost)
{
    bool enough = v->left >= cost;
    v->left -= enough ? cost : 0;
    return enough;
}

static int bad(size_t at, const char *table, const char *field, const char *what, struct err *err)
{
    return err_set(err, E_FORMAT, "byte %zu: %s%s%s %s", at, table, field ? "." : "",
                   field ? field : "", what);
}

static int verify_table(struct verifier *v, const struct flat_table *t, const struct flat_schema *s,
                        int depth, struct err *err);

static int verify_string(struct verifier *v, const struct flat_table *t,
                         const struct flat_schema *s, const struct flat_field *f, size_t at,
                         struct err *err)
{
    struct flat_vector vec;
    if (!vector_open(t->file, at, 1, &vec) || !inside(t->file, vec.at, vec.n + 1)) {
        return bad(at, s->name, f->name, "is a string that does not lie in the file", err);
    }
    if (vec.n > FLAT_NAME_MAX || !spend(v, vec.n)) {
        return bad(at, s->name, f->name, "is too long, or stands too often", err);
    }
    if (memchr(t->file.p + vec.at, 0, vec.n) || t->file.p[vec.at + vec.n]) {
        return bad(at, s->name, f->name, "is a string that its zero byte does not end", err);
    }
    return OK;
}

static int verify_sub(struct verifier *v, struct span file, size_t at, const struct flat_schema *s,
                      const struct flat_field *f, int depth, struct err *err)
{
    struct flat_table sub;
    if (!table_open(file, at, &sub)) {
        return bad(at, s->name, f->name, "is a table that does not lie in the file", err);
    }
    if (depth == FLAT_DEPTH || !spend(v, TABLE_COST)) {
        return bad(at, s->name, f->name, "has more tables than the file has room for", err);
    }
    return f->table ? verify_table(v, &sub, f->table, depth + 1, err) : OK;
}

static int verify_tables(struct verifier *v, const struct flat_table *t,
                         const struct flat_schema *s, const struct flat_field *f, size_t at,
                         int depth, struct err *err)
{
    struct flat_vector vec;
    if (!vector_open(t->file, at, 4, &vec)) {
        return bad(at, s->name, f->name, "is a vector that does not lie in the file", err);
    }
    int rc = OK;
    for (size_t i = 0; i < vec.n && !rc; i++) {
        size_t slot = vec.at + 4 * i;
        rc = verify_sub(v, t->file, slot + (size_t)load(t->file, slot, 4), s, f, depth, err);
    }
    return rc;
}

static int verify_field(struct verifier *v, const struct flat_table *t, const struct flat_schema *s,
                        const struct flat_field *f, int depth, struct err *err)
{
    if (!flat_has(t, f->id)) {
        return OK;
    }
    size_t size = f->kind == FLAT_SCALAR ? f->size : 4;
    if (!field_at(t, f->id, size)) {
        return bad(t->at, s->name, f->name, "does not lie in its table", err);
    }
    if (f->kind == FLAT_SCALAR) {
        return OK;
    }
    struct flat_vector vec;
    size_t at = target_of(t, f->id);
    if (!at) {
        return bad(t->at, s->name, f->name, "points outside of the file", err);
    }
    switch (f->kind) {
    case FLAT_STRING:
        return verify_string(v, t, s, f, at, err);
    case FLAT_TABLE:
        return verify_sub(v, t->file, at, s, f, depth, err);
    case FLAT_TABLES:
        return verify_tables(v, t, s, f, at, depth, err);
    default:
        return vector_open(t->file, at, f->size, &vec)
                   ? OK
                   : bad(at, s->name, f->name, "is a vector that does not lie in the file", err);
    }
}

static int verify_table(struct verifier *v, const struct flat_table *t, const struct flat_schema *s,
                        int depth, struct err *err)
{
    int rc = OK;
    for (const struct flat_field *f = s->fields; f->name && !rc; f++) {
        rc = verify_field(v, t, s, f, depth, err);
    }
    return rc;
}

int flat_verify(struct span file, const struct flat_schema *root, struct flat_table *out,
                struct err *err)
{
    struct verifier v = {.file = file, .left = 8 * file.n};
    struct flat_table t;
    if (!inside(file, 0, 8) || !table_open(file, (size_t)load(file, 0, 4), &t)) {
        return bad(0, root->name, NULL, "is a table that does not lie in the file", err);
    }
    int rc = verify_table(&v, &t, root, 0, err);
    if (!rc) {
        *out = t;
    }
    return rc;
}

int flat_verify_table(const struct flat_table *t, const struct flat_schema *schema, struct err *err)
{
    struct verifier v = {.file = t->file};
    return t->file.p ? verify_table(&v, t, schema, 0, err) : OK;
}

/* ---- Getters -------------------------------------------------------------------------------- */

bool flat_has(const struct flat_table *t, unsigned id)
{
    return t->file.p && id < t->slots && load(t->file, t->vtable + 4 + 2 * (size_t)id, 2) != 0;
}

uint64_t flat_unsigned(const struct flat_table *t, unsigned id, size_t size, uint64_t dflt)
{
    size_t at = field_at(t, id, size);
    return at ? load(t->file, at, size) : dflt;
}

int64_t flat_signed(const struct flat_table *t, unsigned id, size_t size, int64_t dflt)
{
    size_t at = field_at(t, id, size);
    return at ? sign_extend(load(t->file, at, size), size) : dflt;
}

static float float_load(struct span f, size_t at)
{
    uint32_t bits = (uint32_t)load(f, at, 4);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

float flat_float(const struct flat_table *t, unsigned id, float dflt)
{
    size_t at = field_at(t, id, 4);
    return at ? float_load(t->file, at) : dflt;
}

struct flat_vector flat_vector(const struct flat_table *t, unsigned id, size_t size)
{
    struct flat_vector v = {0};
    size_t at = target_of(t, id);
    return at && vector_open(t->file, at, size, &v) ? v : (struct flat_vector){0};
}

struct span flat_string(const struct flat_table *t, unsigned id)
{
    struct flat_vector v = flat_vector(t, id, 1);
    return (struct span){.p = v.file.p ? v.file.p + v.at : NULL, .n = v.n};
}

struct flat_table flat_sub(const struct flat_table *t, unsigned id)
{
    struct flat_table sub;
    size_t at = target_of(t, id);
    return at && table_open(t->file, at, &sub) ? sub : (struct flat_table){0};
}

struct flat_table flat_table_at(const struct flat_vector *v, size_t i)
{
    struct flat_table t;
    size_t slot = v->at + 4 * i;
    bool ok = i < v->n && table_open(v->file, slot + (size_t)load(v->file, slot, 4), &t);
    return ok ? t : (struct flat_table){0};
}

int64_t flat_signed_at(const struct flat_vector *v, size_t i, size_t size)
{
    return i < v->n ? sign_extend(load(v->file, v->at + size * i, size), size) : 0;
}

float flat_float_at(const struct flat_vector *v, size_t i)
{
    return i < v->n ? float_load(v->file, v->at + 4 * i) : 0;
}
