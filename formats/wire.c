/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * wire.c: protobuf's wire format: a bounds-checked cursor, a check of whole messages against a
 * table with an explicit stack, and a writer. No message is known here; see onnx_schema.c.
 */
#include "formats/wire.h"

#include <limits.h>
#include <stdlib.h>

/* ---- Reading -------------------------------------------------------------------------------- */

struct wire wire_open(const uint8_t *base, struct span s)
{
    return (struct wire){.base = base, .p = s.p, .end = s.n ? s.p + s.n : s.p};
}

int wire_bad(const struct wire *w, const uint8_t *at, int code, struct err *err, const char *fmt,
             ...)
{
    char text[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(err, code, "byte %zu: %s", (size_t)(at - w->base), text);
}

static int read_varint(struct wire *w, uint64_t *v, struct err *err)
{
    uint64_t x = 0;
    const uint8_t *p = w->p;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (p == w->end) {
            return wire_bad(w, w->p, E_FORMAT, err, "number is cut off");
        }
        uint64_t bits = *p & 0x7f;
        if (shift == 63 && bits > 1) {
            break;
        }
        x |= bits << shift;
        if (!(*p++ & 0x80)) {
            w->p = p;
            *v = x;
            return OK;
        }
    }
    return wire_bad(w, w->p, E_FORMAT, err, "number of more than 64 bits");
}

/* Little endian, `n` bytes. */
static int read_fixed(struct wire *w, size_t n, uint64_t *v, struct err *err)
{
    if ((size_t)(w->end - w->p) < n) {
        return wire_bad(w, w->p, E_FORMAT, err, "%zu of %zu bytes left", (size_t)(w->end - w->p),
                        n);
    }
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        *v |= (uint64_t)w->p[i] << (8 * i);
    }
    w->p += n;
    return OK;
}

int wire_scalar(struct wire *w, enum wire_type type, uint64_t *v, struct err *err)
{
    switch (type) {
    case WIRE_64:
        return read_fixed(w, 8, v, err);
    case WIRE_32:
        return read_fixed(w, 4, v, err);
    default:
        return read_varint(w, v, err);
    }
}

static int read_payload(struct wire *w, struct span *s, struct err *err)
{
    uint64_t n = 0;
    int rc = read_varint(w, &n, err);
    if (rc) {
        return rc;
    }
    if (n > (uint64_t)(w->end - w->p)) {
        return wire_bad(w, w->p, E_FORMAT, err, "length is %ju, only %zu bytes are left",
                        (uintmax_t)n, (size_t)(w->end - w->p));
    }
    *s = (struct span){.p = w->p, .n = (size_t)n};
    w->p += n;
    return OK;
}

int wire_next(struct wire *w, struct wire_item *it, struct err *err)
{
    struct wire_item i = {.whole.p = w->p};
    uint64_t tag = 0;
    int rc = read_varint(w, &tag, err);
    if (rc) {
        return rc;
    }
    if (tag >> 3 == 0 || tag > UINT32_MAX) {
        return wire_bad(w, i.whole.p, E_FORMAT, err, "no field has number %ju",
                        (uintmax_t)(tag >> 3));
    }
    i.field = (uint32_t)(tag >> 3);
    i.type = (enum wire_type)(tag & 7);
    switch (i.type) {
    case WIRE_VARINT:
    case WIRE_64:
    case WIRE_32:
        rc = wire_scalar(w, i.type, &i.v, err);
        break;
    case WIRE_LEN:
        rc = read_payload(w, &i.s, err);
        break;
    default:
        return wire_bad(w, i.whole.p, E_FORMAT, err,
                        "field %u has wire type %d, expected 0, 1, 2 "
                        "or 5",
                        i.field, (int)i.type);
    }
    if (rc) {
        return rc;
    }
    i.whole.n = (size_t)(w->p - i.whole.p);
    *it = i;
    return OK;
}

int wire_count(const struct wire *w, const struct wire_item *it, enum wire_type type, size_t *n,
               struct err *err)
{
    if (it->type != WIRE_LEN) {
        *n = 1;
        return OK;
    }
    size_t size = type == WIRE_64 ? 8 : type == WIRE_32 ? 4 : 1;
    if (it->s.n % size) {
        return wire_bad(w, it->s.p, E_FORMAT, err, "list of %zu bytes, expected a multiple of %zu",
                        it->s.n, size);
    }
    if (type != WIRE_VARINT) {
        *n = it->s.n / size;
        return OK;
    }
    *n = 0;
    for (size_t i = 0; i < it->s.n; i++) {
        *n += !(it->s.p[i] & 0x80);
    }
    return OK;
}

struct wire wire_list(const struct wire *w, const struct wire_item *it)
{
    if (it->type == WIRE_LEN) {
        return wire_open(w->base, it->s);
    }
    /* A single scalar: what stands behind its tag. */
    struct wire list = wire_open(w->base, it->whole);
    uint64_t tag;
    read_varint(&list, &tag, NULL);
    return list;
}

float wire_f32(uint64_t v)
{
    uint32_t bits = (uint32_t)v;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

bool wire_is(struct span s, const char *text)
{
    return s.n == strlen(text) && (s.n == 0 || memcmp(s.p, text, s.n) == 0);
}

/* ---- Checking ------------------------------------------------------------------------------- */

struct frame {
    const struct wire_message *message;
    const uint8_t *end;
    uint64_t seen; /* bit i: fields[i] has occurred */
};

struct walk {
    struct wire w;
    struct frame stack[WIRE_DEPTH_MAX];
    int depth; /* index of the innermost frame */
    size_t items;
};

static const struct wire_field *field_find(const struct wire_message *m, uint32_t field)
{
    for (const struct wire_field *f = m->fields; f->field; f++) {
        if (f->field == field) {
            return f;
        }
    }
    return NULL;
}

static bool type_fits(enum wire_kind kind, enum wire_type type)
{
    switch (kind) {
    case KIND_INT:
        return type == WIRE_VARINT;
    case KIND_F32:
        return type == WIRE_32;
    case KIND_INTS:
        return type == WIRE_VARINT || type == WIRE_LEN;
    case KIND_F32S:
        return type == WIRE_32 || type == WIRE_LEN;
    case KIND_F64S:
        return type == WIRE_64 || type == WIRE_LEN;
    default:
        return type == WIRE_LEN;
    }
}

static int check_name(const struct walk *k, const struct wire_item *it, struct err *err)
{
    if (it->s.n > WIRE_NAME_MAX) {
        return wire_bad(&k->w, it->s.p, E_FORMAT, err, "name of %zu bytes, the limit is %d",
                        it->s.n, WIRE_NAME_MAX);
    }
    const uint8_t *zero = it->s.n ? memchr(it->s.p, 0, it->s.n) : NULL;
    if (zero) {
        return wire_bad(&k->w, zero, E_FORMAT, err, "zero byte in a name");
    }
    return OK;
}

/* Enters the message of field f; its end is the new limit. */
static int walk_enter(struct walk *k, const struct wire_field *f, const struct wire_item *it,
                      struct err *err)
{
    if (k->depth + 1 == WIRE_DEPTH_MAX) {
        return wire_bad(&k->w, it->whole.p, E_FORMAT, err, "messages are nested deeper than %d",
                        WIRE_DEPTH_MAX);
    }
    k->stack[++k->depth] = (struct frame){.message = f->message, .end = k->w.p};
    k->w.p = it->s.p;
    k->w.end = k->stack[k->depth].end;
    return OK;
}

static int walk_field(struct walk *k, const struct wire_field *f, const struct wire_item *it,
                      struct err *err)
{
    struct frame *top = &k->stack[k->depth];
    if (!type_fits(f->kind, it->type)) {
        return wire_bad(&k->w, it->whole.p, E_FORMAT, err, "wire type %d does not fit",
                        (int)it->type);
    }
    uint64_t bit = UINT64_C(1) << (f - top->message->fields);
    if (f->kind == KIND_SINGLE && top->seen & bit) {
        return wire_bad(&k->w, it->whole.p, E_FORMAT, err, "given twice");
    }
    top->seen |= bit;
    if (f->kind == KIND_NAME) {
        return check_name(k, it, err);
    }
    return f->message ? walk_enter(k, f, it, err) : OK;
}

/* One field of the innermost message. */
static int walk_step(struct walk *k, wire_visit *visit, void *ctx, struct err *err)
{
    const struct wire_message *m = k->stack[k->depth].message;
    struct wire_item it;
    int rc = wire_next(&k->w, &it, err);
    if (rc) {
        return err_in(err, "%s", m->name);
    }
    if (++k->items > WIRE_ITEMS_MAX) {
        return wire_bad(&k->w, it.whole.p, E_FORMAT, err, "more than %d fields", WIRE_ITEMS_MAX);
    }
    const struct wire_field *f = field_find(m, it.field);
    if (!f) {
        return OK;
    }
    int depth = k->depth;
    rc = walk_field(k, f, &it, err);
    if (rc) {
        return err_in(err, "%s.%s", m->name, f->name);
    }
    return visit ? visit(ctx, m, &it, depth, err) : OK;
}

int wire_check(const uint8_t *base, struct span s, const struct wire_message *m, wire_visit *visit,
               void *ctx, struct err *err)
{
    struct walk k = {.w = wire_open(base, s)};
    k.stack[0] = (struct frame){.message = m, .end = k.w.end};
    for (;;) {
        while (!wire_more(&k.w)) {
            if (k.depth == 0) {
                return OK;
            }
            k.w.end = k.stack[--k.depth].end;
        }
        int rc = walk_step(&k, visit, ctx, err);
        if (rc) {
            return rc;
        }
    }
}

/* ---- Writing -------------------------------------------------------------------------------- */

void wire_buf_fini(struct wire_buf *b)
{
    free(b->p);
    *b = (struct wire_buf){0};
}

/* Makes room for n more bytes; NULL when that is not possible. */
static uint8_t *buf_room(struct wire_buf *b, size_t n)
{
    if (b->rc || n > INT32_MAX - b->n) {
        b->rc = E_LIMIT;
        return NULL;
    }
    if (b->n + n > b->cap) {
        size_t cap = MAX(b->n + n, b->cap + b->cap / 2 + 256);
        uint8_t *p = realloc(b->p, cap);
        if (!p) {
            b->rc = E_LIMIT;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

void wire_put_raw(struct wire_buf *b, struct span s)
{
    uint8_t *d = s.n ? buf_room(b, s.n) : NULL;
    if (d) {
        memcpy(d, s.p, s.n);
        b->n += s.n;
    }
}

enum { VARINT_MAX = 10 };

static size_t make_varint(uint8_t out[VARINT_MAX], uint64_t v)
{
    size_t n = 0;
    for (; v > 0x7f; v >>= 7) {
        out[n++] = (uint8_t)(v | 0x80);
    }
    out[n++] = (uint8_t)v;
    return n;
}

static void put_varint(struct wire_buf *b, uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    size_t n = make_varint(bytes, v);
    wire_put_raw(b, (struct span){.p = bytes, .n = n});
}

static void put_tag(struct wire_buf *b, uint32_t field, enum wire_type type)
{
    put_varint(b, (uint64_t)field << 3 | (uint64_t)type);
}

void wire_put_int(struct wire_buf *b, uint32_t field, uint64_t v)
{
    put_tag(b, field, WIRE_VARINT);
    put_varint(b, v);
}

void wire_put_f32(struct wire_buf *b, uint32_t field, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                              (uint8_t)(bits >> 24)};
    put_tag(b, field, WIRE_32);
    wire_put_raw(b, (struct span){.p = bytes, .n = sizeof bytes});
}

void wire_put_bytes(struct wire_buf *b, uint32_t field, const void *p, size_t n)
{
    put_tag(b, field, WIRE_LEN);
    put_varint(b, n);
    wire_put_raw(b, (struct span){.p = p, .n = n});
}

void wire_put_text(struct wire_buf *b, uint32_t field, const char *s)
{
    wire_put_bytes(b, field, s, strlen(s));
}

size_t wire_begin(struct wire_buf *b, uint32_t field)
{
    put_tag(b, field, WIRE_LEN);
    return b->n;
}

void wire_end(struct wire_buf *b, size_t begun)
{
    uint8_t bytes[VARINT_MAX];
    size_t size = b->n - begun;
    size_t n = make_varint(bytes, size);
    if (!b->rc && buf_room(b, n)) {
        /* The length is known only now: make room for it in front of the payload. */
        memmove(b->p + begun + n, b->p + begun, size);
        memcpy(b->p + begun, bytes, n);
        b->n += n;
    }
}

int wire_buf_check(const struct wire_buf *b, struct err *err)
{
    return b->rc
               ? err_set(err, b->rc, "model would pass 2 GiB or memory is gone, at byte %zu", b->n)
               : OK;
}
