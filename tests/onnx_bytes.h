/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * onnx_bytes.h: what the tests of the ONNX reader and writer share: models put together byte by
 * byte, loading from memory in a block of exactly that size (so that a sanitizer sees a read past
 * its end), and where the shared data lies.
 */
#ifndef TESTS_ONNX_BYTES_H
#define TESTS_ONNX_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "formats/onnx.h"

static inline void put_node(struct wire_buf *b, const char *op, const char *in, const char *out)
{
    size_t n = wire_begin(b, GRAPH_NODE);
    if (in) {
        wire_put_text(b, NODE_INPUT, in);
    }
    if (out) {
        wire_put_text(b, NODE_OUTPUT, out);
    }
    wire_put_text(b, NODE_OP_TYPE, op);
    wire_end(b, n);
}

/* A graph input, output or value_info entry, float32 [1, 4]. */
static inline void put_info(struct wire_buf *b, uint32_t field, const char *name)
{
    struct value v = {.name = name, .dtype = DT_F32, .rank = 2, .dims = {1, 4}};
    onnx_put_info(b, field, &v);
}

/* An initializer of any bytes. */
static inline void put_raw_tensor(struct wire_buf *b, const char *name, int dtype, int rank,
                                  const int64_t *dims, const void *raw, size_t size)
{
    size_t t = wire_begin(b, GRAPH_INITIALIZER);
    for (int i = 0; i < rank; i++) {
        wire_put_int(b, TENSOR_DIMS, (uint64_t)dims[i]);
    }
    wire_put_int(b, TENSOR_DATA_TYPE, (uint64_t)dtype);
    wire_put_text(b, TENSOR_NAME, name);
    wire_put_bytes(b, TENSOR_RAW_DATA, raw, size);
    wire_end(b, t);
}

static inline size_t model_begin(struct wire_buf *b, int ir_version, int opset)
{
    wire_put_int(b, MODEL_IR_VERSION, (uint64_t)ir_version);
    onnx_put_import(b, "", opset);
    return wire_begin(b, MODEL_GRAPH);
}

/* x -> Add(x, w) -> Relu -> y, with everything that a file may carry beside: documentation,
 * metadata, value_info, a quantization annotation, unknown fields. */
static inline void put_small_model(struct wire_buf *b)
{
    static const float w[4] = {1, -2, 3, -4};
    static const int64_t dims[2] = {1, 4};
    enum { GRAPH_DOC = 10, MODEL_DOC = 6, MODEL_METADATA = 14, UNKNOWN = 77 };
    size_t g = model_begin(b, 8, 13);
    size_t n = wire_begin(b, GRAPH_NODE);
    wire_put_text(b, NODE_INPUT, "x");
    wire_put_text(b, NODE_INPUT, "w");
    wire_put_text(b, NODE_OUTPUT, "sum");
    wire_put_text(b, NODE_NAME, "add");
    wire_put_text(b, NODE_OP_TYPE, "Add");
    wire_put_int(b, UNKNOWN, 5);
    wire_end(b, n);
    put_node(b, "Relu", "sum", "y");
    wire_put_text(b, GRAPH_NAME, "small");
    put_raw_tensor(b, "w", DT_F32, 2, dims, w, sizeof w);
    wire_put_text(b, GRAPH_DOC, "what it is");
    put_info(b, GRAPH_INPUT, "x");
    put_info(b, GRAPH_OUTPUT, "y");
    put_info(b, GRAPH_VALUE_INFO, "sum");
    size_t a = wire_begin(b, GRAPH_QUANTIZATION);
    wire_put_text(b, ANNOTATION_TENSOR_NAME, "sum");
    wire_end(b, a);
    wire_put_f32(b, UNKNOWN, 1.5f);
    wire_end(b, g);
    wire_put_text(b, MODEL_DOC, "all of it");
    size_t m = wire_begin(b, MODEL_METADATA);
    wire_put_text(b, ENTRY_KEY, "who");
    wire_put_text(b, ENTRY_VALUE, "me");
    wire_end(b, m);
}

/* Loads bytes as if they stood in the file `path`. */
static inline int load_as(const char *path, const uint8_t *p, size_t n, struct graph **out,
                          struct err *err)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (n) {
        memcpy(copy, p, n);
    }
    struct file f = {.path = mem_dup(path), .data = copy, .size = n};
    return formats[0]->load_model(&f, out, err);
}

static inline int load_bytes(const struct wire_buf *b, struct graph **out, struct err *err)
{
    assert_int_equal(b->rc, OK);
    return load_as("memory.onnx", b->p, b->n, out, err);
}

static inline struct graph *must_load(const struct wire_buf *b)
{
    struct graph *g = NULL;
    struct err err = {0};
    if (load_bytes(b, &g, &err)) {
        fail_msg("%s", err.text);
    }
    return g;
}

/* Loads and expects a refusal with this code and these words in its text. */
static inline void must_refuse(const char *what, const struct wire_buf *b, int code,
                               const char *words)
{
    struct graph *g = NULL;
    struct err err = {0};
    int rc = load_bytes(b, &g, &err);
    if (rc != code || err.code != code || !strstr(err.text, words)) {
        fail_msg("%s: got %s '%s', expected %s '%s'", what, err_name(rc), err.text, err_name(code),
                 words);
    }
    assert_null(g);
}

/* Path of something in the shared data, or NULL when that is not at hand. Static storage. */
static inline const char *shared_path(const char *name)
{
    static char path[4096];
    const char *root = getenv("QSCOPE_SHARED");
    snprintf(path, sizeof path, "%s/data/%s", root ? root : "../shared", name);
    return file_exists(path) ? path : NULL;
}

#endif
