/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * flat_bytes.h: FlatBuffers written by hand, and TensorFlow Lite models of them: a small one, and
 * any operator alone. Parents first, children behind, so that every offset points forward.
 */
#ifndef TESTS_FLAT_BYTES_H
#define TESTS_FLAT_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FLAT_ROOM = 16384, FLAT_SLOTS = 8, FLAT_RANK = 6 };

struct flat_bytes {
    uint8_t p[FLAT_ROOM];
    size_t n;
};

static inline void flat_put(struct flat_bytes *b, size_t at, uint64_t v, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        b->p[at + i] = (uint8_t)(v >> 8 * i);
    }
}

static inline size_t flat_take(struct flat_bytes *b, size_t size)
{
    size_t at = (b->n + 7) / 8 * 8;
    b->n = at + size;
    return b->n <= FLAT_ROOM ? at : (abort(), 0);
}

/* The offset at `slot` points to `target`. */
static inline void flat_link(struct flat_bytes *b, size_t slot, size_t target)
{
    flat_put(b, slot, target - slot, 4);
}

/* A table with one field of sizes[i] bytes per slot (0: absent); at[i] gets where it stands. */
static inline size_t flat_table_put(struct flat_bytes *b, size_t n, const uint8_t *sizes,
                                    size_t *at)
{
    size_t vtable = flat_take(b, 4 + 2 * n), table = flat_take(b, 4), size = 4;
    for (size_t i = 0; i < n; i++) {
        size_t align = sizes[i] ? sizes[i] : 1;
        size = (table + size + align - 1) / align * align - table;
        flat_put(b, vtable + 4 + 2 * i, sizes[i] ? size : 0, 2);
        at[i] = table + size;
        size += sizes[i];
    }
    flat_take(b, 0);
    b->n = table + size;
    flat_put(b, vtable, 4 + 2 * n, 2);
    flat_put(b, vtable + 2, size, 2);
    flat_put(b, table, table - vtable, 4);
    return table;
}

static inline size_t flat_vector_put(struct flat_bytes *b, size_t n, const void *data, size_t size)
{
    size_t at = flat_take(b, 4 + n * size) + 4;
    if (size == 8) { /* elements of 8 bytes are aligned, the length stands in front */
        at = (at + 7) / 8 * 8;
        b->n = at + n * size;
    }
    flat_put(b, at - 4, n, 4);
    if (data) {
        memcpy(b->p + at, data, n * size);
    }
    return at - 4;
}

static inline size_t flat_string_put(struct flat_bytes *b, const char *text)
{
    size_t at = flat_vector_put(b, strlen(text), text, 1);
    b->n++; /* the zero behind it */
    return at;
}

/* ---- Tensors, operators, buffers ------------------------------------------------------------ */

struct flat_tensor {
    const char *name;
    int type, rank; /* TensorType */
    int32_t dims[FLAT_RANK];
    int buffer;
    float scale; /* of all; 0: none */
    int64_t zero;
    size_t n_scales; /* by index of `axis`, zero points 0; 0: as above */
    const float *scales;
    int axis;
};
/* One field of an options table: 1 byte, an int32, a float or a list of int32. */
struct flat_option {
    uint16_t id;
    char kind; /* 'b', 'i', 'f', 'v' */
    double value;
    size_t n;
    int32_t list[FLAT_RANK];
};

static inline void flat_tensor_put(struct flat_bytes *b, size_t slot, const struct flat_tensor *t)
{
    static const uint8_t sizes[] = {4, 1, 4, 4, 4}, quant[] = {0, 0, 4, 4, 0, 0, 4};
    size_t at[FLAT_SLOTS], q[FLAT_SLOTS];
    flat_link(b, slot, flat_table_put(b, 5, sizes, at));
    flat_put(b, at[1], (uint64_t)t->type, 1);
    flat_put(b, at[2], (uint64_t)t->buffer, 4);
    flat_link(b, at[0], flat_vector_put(b, (size_t)t->rank, t->dims, 4));
    flat_link(b, at[3], flat_string_put(b, t->name));
    flat_link(b, at[4], flat_table_put(b, 7, quant, q));
    flat_put(b, q[6], (uint64_t)t->axis, 4);
    if (t->n_scales) {
        flat_link(b, q[2], flat_vector_put(b, t->n_scales, t->scales, 4));
        flat_link(b, q[3], flat_vector_put(b, t->n_scales, NULL, 8));
        return;
    }
    flat_link(b, q[2], flat_vector_put(b, t->scale > 0, &t->scale, 4));
    flat_link(b, q[3], flat_vector_put(b, t->scale > 0, &t->zero, 8));
}

static inline size_t flat_options_put(struct flat_bytes *b, size_t n, const struct flat_option *o)
{
    uint8_t sizes[FLAT_SLOTS] = {0};
    size_t at[FLAT_SLOTS], slots = 0;
    for (size_t i = 0; i < n; i++) {
        sizes[o[i].id] = o[i].kind == 'b' ? 1 : 4;
        slots = o[i].id >= slots ? o[i].id + 1U : slots;
    }
    size_t table = flat_table_put(b, slots, sizes, at);
    for (size_t i = 0; i < n; i++) {
        float f = (float)o[i].value;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (o[i].kind == 'v') {
            flat_link(b, at[o[i].id], flat_vector_put(b, o[i].n, o[i].list, 4));
        } else {
            flat_put(b, at[o[i].id], o[i].kind == 'f' ? bits : (uint64_t)(int64_t)o[i].value,
                     sizes[o[i].id]);
        }
    }
    return table;
}

static inline void flat_operator_put(struct flat_bytes *b, size_t slot, uint32_t code, size_t n_in,
                                     const int32_t *in, size_t n_out, const int32_t *out,
                                     int options, size_t n, const struct flat_option *o)
{
    static const uint8_t sizes[] = {4, 4, 4, 1, 4};
    size_t at[FLAT_SLOTS];
    flat_link(b, slot, flat_table_put(b, 5, sizes, at));
    flat_put(b, at[0], code, 4);
    flat_link(b, at[1], flat_vector_put(b, n_in, in, 4));
    flat_link(b, at[2], flat_vector_put(b, n_out, out, 4));
    flat_put(b, at[3], (uint64_t)options, 1);
    flat_link(b, at[4], flat_options_put(b, n, o));
}

static inline void flat_buffer_put(struct flat_bytes *b, size_t slot, size_t n, const void *data)
{
    static const uint8_t sizes[] = {4};
    size_t at[FLAT_SLOTS];
    flat_link(b, slot, flat_table_put(b, 1, sizes, at));
    flat_link(b, at[0], flat_vector_put(b, n, data, 1));
}

/* ---- Models --------------------------------------------------------------------------------- */

/* What a model is made of: tables whose entries are put at v[...] + 4 + 4 * i. */
struct flat_heads {
    size_t buffers, tensors, operators;
};

static inline struct flat_heads flat_model_begin(struct flat_bytes *b, size_t n_codes,
                                                 const uint8_t *codes, size_t n_buffers,
                                                 size_t n_in, const int32_t *in, size_t n_out,
                                                 const int32_t *out, size_t n_tensors)
{
    static const uint8_t model[] = {4, 4, 4, 0, 4}, graph[] = {4, 4, 4, 4}, opcode[] = {1, 0, 4, 4};
    struct flat_heads h;
    size_t at[FLAT_SLOTS], g[FLAT_SLOTS], c[FLAT_SLOTS], v;
    memset(b, 0, sizeof *b);
    b->n = 8;
    memcpy(b->p + 4, "TFL3", 4);
    flat_link(b, 0, flat_table_put(b, 5, model, at));
    flat_put(b, at[0], 3, 4);
    flat_link(b, at[1], v = flat_vector_put(b, n_codes, NULL, 4));
    for (size_t i = 0; i < n_codes; i++) {
        flat_link(b, v + 4 + 4 * i, flat_table_put(b, 4, opcode, c));
        flat_put(b, c[0], codes[i] < 127 ? codes[i] : 127, 1); /* more do not fit the old field */
        flat_put(b, c[3], codes[i], 4);
    }
    flat_link(b, at[4], h.buffers = flat_vector_put(b, n_buffers, NULL, 4));
    flat_link(b, at[2], v = flat_vector_put(b, 1, NULL, 4));
    flat_link(b, v + 4, flat_table_put(b, 4, graph, g));
    flat_link(b, g[1], flat_vector_put(b, n_in, in, 4));
    flat_link(b, g[2], flat_vector_put(b, n_out, out, 4));
    flat_link(b, g[0], h.tensors = flat_vector_put(b, n_tensors, NULL, 4));
    flat_link(b, g[3], h.operators = flat_vector_put(b, n_codes, NULL, 4));
    return h;
}

/* x float [1,4] -> QUANTIZE -> FULLY_CONNECTED (bias) -> DEQUANTIZE -> y [1,2]. */
static inline void flat_model_put(struct flat_bytes *b)
{
    static const int8_t weights[] = {10, -20, 30, 40, -128, 127, 1, 0};
    static const int32_t bias[] = {100, -7}, in_quantize[] = {0}, in_connect[] = {1, 2, 3},
                         in_dequantize[] = {4}, made[] = {1, 4, 5};
    static const struct flat_tensor tensors[] = {
        {.name = "x", .type = 0, .rank = 2, .dims = {1, 4}},
        {.name = "xq", .type = 9, .rank = 2, .dims = {1, 4}, .scale = 0.5F, .zero = 3},
        {.name = "w", .type = 9, .rank = 2, .dims = {2, 4}, .buffer = 1, .scale = 0.01F},
        {.name = "b", .type = 2, .rank = 1, .dims = {2}, .buffer = 2, .scale = 0.005F},
        {.name = "yq", .type = 9, .rank = 2, .dims = {1, 2}, .scale = 0.125F, .zero = -5},
        {.name = "y", .type = 0, .rank = 2, .dims = {1, 2}},
    };
    static const uint8_t codes[] = {114, 9, 6}; /* QUANTIZE, FULLY_CONNECTED, DEQUANTIZE */
    static const struct flat_option connected[] = {
        {0, 'b', 0, 0, {0}}, {1, 'b', 0, 0, {0}}, {2, 'b', 0, 0, {0}}, {3, 'b', 0, 0, {0}}};
    const struct flat_heads h =
        flat_model_begin(b, 3, codes, 3, 1, &in_quantize[0], 1, &made[2], 6);
    flat_buffer_put(b, h.buffers + 4, 0, NULL);
    flat_buffer_put(b, h.buffers + 8, sizeof weights, weights);
    flat_buffer_put(b, h.buffers + 12, sizeof bias, bias);
    for (size_t i = 0; i < 6; i++) {
        flat_tensor_put(b, h.tensors + 4 + 4 * i, &tensors[i]);
    }
    flat_operator_put(b, h.operators + 4, 0, 1, in_quantize, 1, &made[0], 0, 0, NULL);
    flat_operator_put(b, h.operators + 8, 1, 3, in_connect, 1, &made[1], 8, 4, connected);
    flat_operator_put(b, h.operators + 12, 2, 1, in_dequantize, 1, &made[2], 0, 0, NULL);
}

#endif
