/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * flat.h: private to formats/: a cursor over FlatBuffers in hostile bytes. It copies nothing and
 * allocates nothing. What the tables mean is the caller's matter (tflite.h).
 *
 * Reading is done in two passes, as in wire.h. flat_verify() walks everything that the schema names
 * once and refuses offsets, tables, vectors and strings that do not lie in the file, and more of
 * them than the file has room for. After that the getters may be used on fields of the schema; they
 * check bounds again and read what is out of bounds as absent. All loads go through memcpy: the
 * file may stand at any address.
 */
#ifndef FORMATS_FLAT_H
#define FORMATS_FLAT_H

#include "engine/engine.h"

enum flat_kind {
    FLAT_SCALAR, /* `size` bytes in the table itself */
    FLAT_STRING, /* terminated, without other zero bytes, at most FLAT_NAME_MAX long */
    FLAT_VECTOR, /* elements of `size` bytes */
    FLAT_TABLE,  /* one table of schema `table`; NULL: a table whose fields are not looked at */
    FLAT_TABLES, /* vector of tables of schema `table` */
};
enum { FLAT_NAME_MAX = 65535, FLAT_DEPTH = 8 };

struct flat_field {
    uint16_t id;
    enum flat_kind kind;
    uint8_t size;
    const char *name; /* for error texts */
    const struct flat_schema *table;
};
struct flat_schema {
    const char *name;
    const struct flat_field *fields; /* ends with name NULL */
};

/* A table of the file; file.p NULL for one that is not there, of which every field is absent. */
struct flat_table {
    struct span file;
    size_t at;     /* byte offset of the table */
    size_t vtable; /* byte offset of its vtable */
    size_t slots;  /* fields the vtable has room for */
    size_t size;   /* bytes of the table itself */
};
struct flat_vector {
    struct span file;
    size_t at; /* byte offset of element 0 */
    size_t n;  /* elements */
};

/* Checks a whole file and opens its root table. E_FORMAT says byte offset, table and field. */
int flat_verify(struct span file, const struct flat_schema *root, struct flat_table *out,
                struct err *err);
/* Checks a table whose schema is only known later (a union). */
int flat_verify_table(const struct flat_table *t, const struct flat_schema *schema,
                      struct err *err);

bool flat_has(const struct flat_table *t, unsigned id);
/* Scalars of 1, 2, 4 or 8 bytes; `dflt` when the field is absent. */
int64_t flat_signed(const struct flat_table *t, unsigned id, size_t size, int64_t dflt);
uint64_t flat_unsigned(const struct flat_table *t, unsigned id, size_t size, uint64_t dflt);
float flat_float(const struct flat_table *t, unsigned id, float dflt);
/* The bytes of a string without its terminator; p NULL when absent. */
struct span flat_string(const struct flat_table *t, unsigned id);
struct flat_table flat_sub(const struct flat_table *t, unsigned id);
/* n 0 when absent. */
struct flat_vector flat_vector(const struct flat_table *t, unsigned id, size_t size);
struct flat_table flat_table_at(const struct flat_vector *v, size_t i);
/* Element i of a vector of integers of `size` bytes. */
int64_t flat_signed_at(const struct flat_vector *v, size_t i, size_t size);
float flat_float_at(const struct flat_vector *v, size_t i);

#endif
