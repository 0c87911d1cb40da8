/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * wire.h: private to formats/: the protobuf wire format, read from hostile bytes and written.
 * It copies nothing, recurses nowhere and allocates only while writing. What messages mean is the
 * caller's matter (onnx.h).
 *
 * Reading is done in two passes. wire_check() walks the whole message once against a table of what
 * its fields are, and refuses what is malformed, too deep or too much, with byte offset and field
 * name. After that a plain loop over wire_next() may rely on the wire types of known fields; it is
 * still bounds checked.
 */
#ifndef FORMATS_WIRE_H
#define FORMATS_WIRE_H

#include "engine/engine.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

/* ---- Reading -------------------------------------------------------------------------------- */

/* Reads [p, end); `base` is byte 0 of offsets in error texts: the start of the file. */
struct wire {
    const uint8_t *base, *p, *end;
};

struct wire_item {
    uint32_t field;
    enum wire_type type;
    uint64_t v;        /* VARINT, 64, 32 */
    struct span s;     /* LEN: the payload */
    struct span whole; /* tag, length and payload */
};

struct wire wire_open(const uint8_t *base, struct span s);
static inline bool wire_more(const struct wire *w)
{
    return w->p < w->end;
}
/* Reads the next field. E_FORMAT: the bytes end early, a group, field 0, a varint over 64 bits. */
int wire_next(struct wire *w, struct wire_item *it, struct err *err);
/* One scalar of a packed list of the given type. */
int wire_scalar(struct wire *w, enum wire_type type, uint64_t *v, struct err *err);
/* Scalars of `type` that one occurrence of a repeated field holds, packed or not. */
int wire_count(const struct wire *w, const struct wire_item *it, enum wire_type type, size_t *n,
               struct err *err);
/* Opens the scalars of one occurrence of a repeated field, packed or not. */
struct wire wire_list(const struct wire *w, const struct wire_item *it);
/* err_set() with "byte N: " in front; `at` points into the file. */
int wire_bad(const struct wire *w, const uint8_t *at, int code, struct err *err, const char *fmt,
             ...) PRINTF_LIKE(5, 6);
float wire_f32(uint64_t v);
bool wire_is(struct span s, const char *text);

/* ---- Checking ------------------------------------------------------------------------------- */

enum wire_kind {
    KIND_INT,     /* one varint */
    KIND_F32,     /* one 32-bit number */
    KIND_INTS,    /* repeated, packed or not */
    KIND_F32S,    /* repeated, packed or not */
    KIND_F64S,    /* repeated, packed or not */
    KIND_BYTES,   /* any bytes */
    KIND_NAME,    /* at most WIRE_NAME_MAX bytes, none of them zero */
    KIND_MESSAGE, /* repeated message */
    KIND_SINGLE,  /* message or bytes that may stand once only; protobuf would merge or replace */
};

struct wire_field {
    uint32_t field;
    enum wire_kind kind;
    const char *name;
    const struct wire_message *message; /* of KIND_MESSAGE and KIND_SINGLE; NULL: not walked */
};

struct wire_message {
    const char *name;
    const struct wire_field *fields; /* ends with field 0; at most 64 */
};

enum {
    WIRE_DEPTH_MAX = 64,
    WIRE_ITEMS_MAX = 4 << 20, /* fields in all messages together */
    WIRE_NAME_MAX = 4096,     /* bytes */
};

/* Called for each known field of message `m`, outermost first; `depth` 0 is a field of the root
 * message. A non-zero return ends the walk with that code. */
typedef int wire_visit(void *ctx, const struct wire_message *m, const struct wire_item *it,
                       int depth, struct err *err);
/* Walks s as message m with an explicit stack. visit may be NULL. Fields that the table does not
 * know are stepped over. */
int wire_check(const uint8_t *base, struct span s, const struct wire_message *m, wire_visit *visit,
               void *ctx, struct err *err);

/* ---- Writing -------------------------------------------------------------------------------- */

/* A growing buffer. The first failure sticks: rc is set, later puts do nothing. */
struct wire_buf {
    uint8_t *p;
    size_t n, cap;
    int rc; /* OK or E_LIMIT: over 2 GiB, which no protobuf reader takes, or out of memory */
};
void wire_buf_fini(struct wire_buf *b);
void wire_put_raw(struct wire_buf *b, struct span s);
void wire_put_int(struct wire_buf *b, uint32_t field, uint64_t v);
void wire_put_f32(struct wire_buf *b, uint32_t field, float v);
void wire_put_bytes(struct wire_buf *b, uint32_t field, const void *p, size_t n);
void wire_put_text(struct wire_buf *b, uint32_t field, const char *s);
/* What is put between begin and end becomes the payload of a message field. */
size_t wire_begin(struct wire_buf *b, uint32_t field);
void wire_end(struct wire_buf *b, size_t begun);
/* The sticky failure as an error. */
int wire_buf_check(const struct wire_buf *b, struct err *err);

#endif
