/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_op_bad.c: nodes that must be refused, nodes that must run, and seeded nonsense made of the
 * latter, which may do either but never fault, leak or hang.
 */
#include "tests/op_fixture.h"

#include <math.h>
#include <stdlib.h>

/* ---- Nodes that must be refused ------------------------------------------------------------- */

/* "Op@opset inputs... / attributes...": an input is a shape "2x3" of float32, "s" for a scalar, a
 * list "[1,2]" of int64, or "-" for none; an attribute is name=1, a list name=1,2 (name=1, for a
 * list of one), or name:text. */
static const char *const refused[] = {
    /* windows */
    "Conv@13 1x2x5x5 3x2x3x3 / strides=0,1",
    "Conv@13 1x2x5x5 3x2x3x3 / strides=-1,1",
    "Conv@13 1x2x5x5 3x2x3x3 / strides=1,",
    "Conv@13 1x2x5x5 3x2x3x3 / dilations=0,1",
    "Conv@13 1x2x5x5 3x2x3x3 / dilations=1,9223372036854775807",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=-1,0,0,0",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=1,1",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=9223372036854775807,0,0,0",
    "Conv@13 1x2x5x5 3x2x3x3 / pads=1000000000,1000000000,1000000000,1000000000",
    "Conv@13 1x2x5x5 3x2x3x3 / group=0",
    "Conv@13 1x2x5x5 3x2x3x3 / group=-2",
    "Conv@13 1x2x5x5 3x2x3x3 / group=2",
    "Conv@13 1x4x5x5 3x2x3x3 / group=2",
    "Conv@13 1x2x5x5 3x2x3x3 / kernel_shape=5,5",
    "Conv@13 1x2x5x5 3x2x3x3 / auto_pad:SIDEWAYS",
    "Conv@13 1x2x5x5 3x2x3x3 4",
    "Conv@13 1x2x5x5 3x2x3x3 3x1",
    "Conv@13 1x2x5x5 3x2x3",
    "Conv@13 1x2x5x5 3x2x0x3",
    "Conv@13 1x2x2x2 3x2x3x3",
    "Conv@13 1x2 3x2",
    "Conv@13 1x2x2x2x2x2 3x2x1x1x1x1",
    "Conv@13 - 3x2x3x3",
    "Conv@13 1x2x5x5 -",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=0,0",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / group=0",
    "ConvTranspose@13 1x2x5x5 3x3x3x3",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / output_shape=0,5",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=1000000000,1000000000",
    "MaxPool@13 1x2x5x5",
    "MaxPool@13 1x2x5x5 / kernel_shape=3",
    "MaxPool@13 1x2x5x5 / kernel_shape=0,3",
    "MaxPool@13 1x2x5x5 / kernel_shape=1000000000,1000000000 pads=1000000000,0,1000000000,0",
    "AveragePool@13 1x2x5x5 / kernel_shape=9,9",
    "LpPool@13 1x2x5x5 / kernel_shape=2,2 p=0",
    "GlobalAveragePool@13 5",
    /* products */
    "MatMul@13 2x3 4x5",
    "MatMul@13 2x2x3 3x3x5",
    "MatMul@13 s 3",
    "MatMul@13 2x3 [1,2,3]",
    "Gemm@13 2x3 4x5",
    "Gemm@13 2x3x1 3x5",
    "Gemm@13 2x3 3x5 4x5",
    "Gemm@13 2x3 3x5 1x2x5",
    "Einsum@13 2x3 3x2 / equation:ij,jk->i1",
    "Einsum@13 2x3 4x2 / equation:ij,jk",
    "Einsum@13 2x3 / equation:ij,jk",
    "Einsum@13 2x3 / equation:ijk",
    "Einsum@13 2x3 / equation:ij->ijkk",
    "Attention@23 1x2x3x4 1x2x3x5 1x2x3x4",
    "Attention@23 1x3x8 1x3x8 1x3x8",
    "Attention@23 1x3x8 1x3x8 1x3x8 / q_num_heads=3 kv_num_heads=2",
    /* element by element */
    "Add@13 2x3 2x4",
    "Add@13 2x3 [1,2,3]",
    "And@13 2x3 2x3",
    "Where@13 2x3 2x3 2x3",
    "Clip@13 2x3 2",
    "BitShift@13 [1,2] [1,2] / direction:UP",
    "Cast@13 2x3",
    "Cast@13 2x3 / to=8",
    "Cast@13 2x3 / to=-1",
    "Cast@13 2x3 / to=99",
    "Sqrt@13 [4,9]",
    /* norms and reductions */
    "Softmax@13 2x3 / axis=2",
    "Softmax@11 2x3 / axis=-3",
    "Softmax@13 s",
    "LayerNormalization@17 2x3 4",
    "LayerNormalization@17 2x3 3 / axis=7",
    "BatchNormalization@13 1x2x3 2 2 2 3",
    "GroupNormalization@21 1x4x3 4 4 / num_groups=3",
    "GroupNormalization@21 1x4x3 4 4 / num_groups=0",
    "InstanceNormalization@13 1x4x3 4 3",
    "LRN@13 1x2x3x3 / size=0",
    "ReduceMean@13 2x3 / axes=2,",
    "ReduceSum@13 2x3 [-3]",
    "ArgMax@13 2x3 / axis=5",
    "ArgMax@13 0x3 / axis=0",
    "CumSum@14 2x3 [2]",
    "CumSum@14 2x3 []",
    /* shapes */
    "Reshape@13 2x3 [-1,-1]",
    "Reshape@13 2x3 [4]",
    "Reshape@13 2x3 [-2,3]",
    "Reshape@13 2x3 [-1,4]",
    "Reshape@13 2x3 [2,3,0]",
    "Reshape@13 2x3 [4294967296,4294967296,4294967296]",
    "Reshape@13 2x3 2",
    "Reshape@13 2x3 [1,1,1,1,1,1,1,2,3]",
    "Flatten@13 2x3 / axis=3",
    "Squeeze@13 2x3 [0]",
    "Squeeze@11 1x3 / axes=4,",
    "Unsqueeze@13 2x3 [0,0]",
    "Unsqueeze@13 2x3 [4]",
    "Unsqueeze@13 2x3 [0,1,2,3,4,5,6]",
    "Constant@13",
    "ConstantOfShape@13 [-1]",
    "ConstantOfShape@13 [1099511627776,1099511627776]",
    "Range@13 [1] [2] [0]",
    "EyeLike@13 2x3x4",
    /* moves */
    "Transpose@13 2x3 / perm=0,0",
    "Transpose@13 2x3 / perm=0,2",
    "Transpose@13 2x3 / perm=0,",
    "Concat@13 2x3 2x4 / axis=0",
    "Concat@13 2x3 2x3 / axis=2",
    "Concat@13 2x3 - / axis=0",
    "Concat@13 2x3 2x3x1 / axis=0",
    "Split@13 6 [2,3] / axis=0",
    "Split@13 6 [7] / axis=0",
    "Split@13 6 [-1] / axis=0",
    "Split@11 6 / axis=0 split=5,",
    "Split@13 6 / axis=1",
    "Slice@13 4 [0] [2] [1]",
    "Slice@13 4 [0] [2] [0] [0]",
    "Slice@13 4 [0,1] [2]",
    "Slice@13 4 [0,1] [2,3] [0,0]",
    "Slice@9 4 / starts=0, ends=1,2",
    "Expand@13 2x3 [4,3]",
    "Expand@13 2x3 [-1,3]",
    "Expand@13 1 [1099511627776,1099511627776,1099511627776]",
    "Pad@13 2x3 [1,1]",
    "Pad@13 2x3 [-3,0,0,0]",
    "Pad@13 2x3 [0,0,9223372036854775807,0]",
    "Pad@13 0x3 [1,0,1,0] / mode:edge",
    "Pad@13 2x3 [0,0,0,0] / mode:nowhere",
    "Tile@13 2x3 [2]",
    "Tile@13 2x3 [-1,1]",
    "Tile@13 2x3 [9223372036854775807,1]",
    "DepthToSpace@13 1x4x2x2 / blocksize=0",
    "DepthToSpace@13 1x4x2x2 / blocksize=3",
    "SpaceToDepth@13 1x4x3x2 / blocksize=2",
    "SpaceToDepth@13 1x4x3x2 / blocksize=9223372036854775807",
    "Trilu@14 4",
    /* indices */
    "Gather@13 3 [3]",
    "Gather@13 3 [-4]",
    "Gather@13 3 [0] / axis=1",
    "Gather@13 3 2",
    "GatherElements@13 2x3 [0]",
    "GatherND@13 2x3 [0,1,2]",
    "GatherND@13 2x3 [2]",
    "GatherND@13 2x3 [0] / batch_dims=9",
    "ScatterElements@18 3 [5] 1",
    "ScatterElements@18 3 [1] 2",
    "ScatterElements@18 3 [1] 1 / reduction:divide",
    "ScatterND@18 3 [7] s",
    "ScatterND@18 3 [1] 2",
    "OneHot@11 [1,2] [-3] 2",
    "OneHot@11 [1,2] [3] 3",
    "OneHot@11 [1,2] [1099511627776] 2",
    "TopK@11 4 [5]",
    "TopK@11 4 [-1]",
    "TopK@11 4 [1] / axis=1",
    /* resizing */
    "Resize@13 1x1x2x2",
    "Resize@13 1x1x2x2 - 4 - / mode:octic",
    "Resize@13 1x1x2x2 - 3 -",
    "Resize@13 1x1x2x2 - - [1,1,4]",
    "Resize@13 1x1x2x2 - - [1,1,-4,4]",
    "Resize@13 1x1x2x2 - - [1,1,1099511627776,1099511627776]",
    "Resize@13 1x1x0x2 - - [1,1,4,4]",
    "Resize@19 1x1x2x2 - - [4,4] / axes=2,2",
    "Resize@19 1x1x2x2 - - [4,4] / axes=2,9",
    "GridSample@16 1x1x4x4 1x2x2x3",
    "GridSample@16 1x1x4x4 1x2x2x2 / mode:octic",
    "NonMaxSuppression@11 1x6x3 1x1x6",
    "NonMaxSuppression@11 1x6x4 1x1x5",
};

/* Mostly small, now and then one that overflows whatever it is multiplied with. */
static int64_t nonsense_int(void)
{
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX,        -1,      0,
                                       INT32_MAX, (int64_t)1 << 40, 1 << 20, -(1 << 20)};
    return random_int(0, 9) ? random_int(-2, 4) : extremes[random_int(0, COUNT(extremes) - 1)];
}

static struct tensor *nonsense_tensor(void)
{
    static const enum dtype types[] = {DT_F32,  DT_F32, DT_F32, DT_S64, DT_S64, DT_U8, DT_S8,
                                       DT_BOOL, DT_F16, DT_F64, DT_U64, DT_S32, DT_S4};
    int64_t dims[MAX_RANK];
    struct tensor *t = NULL;
    const int rank = (int)random_int(0, random_int(0, 2) ? 4 : 6);
    for (int d = 0; d < rank; d++) {
        dims[d] = random_int(0, 15) ? random_int(1, 4) : 0;
    }
    assert_int_equal(tensor_new(types[random_int(0, COUNT(types) - 1)], rank, dims, NULL, &t, NULL),
                     OK);
    for (size_t i = 0; i < t->size; i++) {
        ((uint8_t *)t->data)[i] = (uint8_t)random_bits();
    }
    for (size_t i = 0; t->dtype == DT_S64 && i < t->n; i++) {
        ((int64_t *)t->data)[i] = nonsense_int();
    }
    for (size_t i = 0; t->dtype == DT_F32 && i < t->n; i++) {
        ((float *)t->data)[i] = random_int(0, 20) ? (float)random_int(-3, 5) : NAN;
    }
    return t;
}

static struct tensor *read_shape(const char *word)
{
    int64_t dims[MAX_RANK];
    int rank = 0;
    for (char *end; *word != 's' && *word; word = *end ? end + 1 : end) {
        assert_true(rank < MAX_RANK);
        dims[rank++] = strtoll(word, &end, 10);
    }
    return random_tensor(rank, dims, 0.5, 1);
}

static size_t read_list(const char *word, int64_t *list)
{
    size_t n = 0;
    for (char *end; *word && *word != ']'; word = *end == ',' ? end + 1 : end) {
        list[n++] = strtoll(word, &end, 10);
    }
    return n;
}

static struct tensor *read_input(const char *word)
{
    int64_t list[16];
    struct tensor *t = NULL;
    if (*word == '-') {
        return NULL;
    }
    if (*word != '[') {
        return read_shape(word);
    }
    const int64_t n = (int64_t)read_list(word + 1, list);
    assert_int_equal(tensor_new(DT_S64, 1, &n, NULL, &t, NULL), OK);
    memcpy(t->data, list, (size_t)n * sizeof *list);
    return t;
}

/* `chaos`: one in so many numbers becomes nonsense; 0: none. */
static bool strike(int chaos)
{
    return chaos && random_int(0, chaos - 1) == 0;
}

static void read_attribute(struct fixture *f, char *word, int chaos)
{
    const size_t name = strcspn(word, "=:");
    const bool text = word[name] == ':';
    const char *value = word + name + 1;
    word[name] = '\0';
    if (text) {
        graph_attr_int(f->g, f->node, word, 0);
        struct attr *a = &f->node->attrs[f->node->n_attrs - 1];
        a->kind = ATTR_STRING;
        a->s = arena_dup(&f->g->arena, value);
        a->s_size = strlen(value);
    } else if (strchr(value, ',')) {
        int64_t list[16];
        const size_t n = read_list(value, list);
        for (size_t i = 0; i < n; i++) {
            list[i] = strike(chaos) ? nonsense_int() : list[i];
        }
        graph_attr_ints(f->g, f->node, word, n, list);
    } else {
        graph_attr_int(f->g, f->node, word,
                       strike(chaos) ? nonsense_int() : strtoll(value, NULL, 10));
    }
}

static struct fixture read_node(const char *line, bool constants, int chaos)
{
    char text[256], *save = NULL;
    bool attributes = false;
    snprintf(text, sizeof text, "%s", line);
    char *word = strtok_r(text, " ", &save);
    char *opset = strchr(word, '@');
    assert_non_null(opset);
    *opset = '\0';
    struct fixture f = fixture_new(word, (int)strtol(opset + 1, NULL, 10));
    while ((word = strtok_r(NULL, " ", &save))) {
        if (strcmp(word, "/") == 0) {
            attributes = true;
        } else if (attributes) {
            read_attribute(&f, word, chaos);
        } else {
            fixture_input(&f, strike(chaos) ? nonsense_tensor() : read_input(word), constants);
        }
    }
    return f;
}

static void bad_nodes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        for (int way = 0; way < 4; way++) {
            struct fixture f = read_node(refused[i], way & 1, 0);
            struct tensor *out = NULL;
            struct err err = {0};
            const int rc = fixture_run(&f, way & 2 ? KERNELS_PLAIN : KERNELS_FAST, &out, &err);
            if (rc != E_SHAPE && rc != E_FORMAT && rc != E_UNSUPPORTED && rc != E_LIMIT) {
                fail_msg("%s gives %d %s", refused[i], rc, rc ? err.text : "");
            }
            assert_true(strlen(err.text) > 0);
            tensor_free(out);
            fixture_free(&f);
        }
    }
}

/* ---- Nodes that must run, and what becomes of them ------------------------------------------ */

/* Written as above. */
static const char *const accepted[] = {
    "Conv@13 1x2x5x5 3x2x3x3 3 / strides=2,1 pads=1,0,1,2 dilations=1,1",
    "Conv@13 1x4x5x5 6x2x3x3 / group=2 auto_pad:SAME_UPPER",
    "Conv@13 2x4x7 4x1x3 / group=4",
    "Conv@13 1x2x3x4x5 3x2x1x2x3 / pads=0,1,1,0,0,1",
    "Conv@13 1x8x4x4 5x8x1x1",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=2,2 output_padding=1,0 pads=0,1,1,0 group=1",
    "ConvTranspose@13 1x2x5x5 2x3x3x3 / strides=2,2 output_shape=10,9 dilations=1,1",
    "MaxPool@13 1x2x5x5 / kernel_shape=3,2 strides=2,1 pads=1,0,1,1 dilations=1,2 ceil_mode=1",
    "AveragePool@22 1x2x5x5 / kernel_shape=3,2 pads=1,0,1,1 count_include_pad=1 ceil_mode=1",
    "LpPool@22 1x2x5x5 / kernel_shape=3,2 p=3 strides=1,1",
    "GlobalAveragePool@13 1x2x3x3",
    "GlobalMaxPool@13 1x2x3x3",
    "MatMul@13 2x1x3x4 3x4x5",
    "MatMul@13 4 2x4x5",
    "Gemm@13 3x2 5x3 1x5 / transA=1 transB=1",
    "Einsum@13 2x3 3x4 / equation:ij,jk->ik",
    "Einsum@13 2x3x3 / equation:...ii->...i",
    "Attention@23 1x2x3x4 1x2x5x4 1x2x5x4 3x5 / is_causal=1",
    "Attention@24 1x3x8 1x5x4 1x5x6 - - - [4] / q_num_heads=4 kv_num_heads=2 is_causal=1",
    "Attention@25 1x2x3x4 1x2x1x4 1x2x1x4 - 1x2x4x4 1x2x4x4 / left_window_size=2",
    "Add@13 2x1x3 4x1",
    "Mod@13 [7,-7] [-3,3]",
    "Pow@13 2x3 [2,3,1]",
    "Sum@13 2x3 3 s",
    "Mean@13 2x3 3 2x1",
    "PRelu@16 2x3 3",
    "BitShift@11 [1,2] [3,64] / direction:LEFT",
    "Clip@13 2x3 s s",
    "Gelu@20 2x3 / approximate:tanh",
    "Cast@13 2x3 / to=7",
    "Softmax@13 2x3x4 / axis=1",
    "LogSoftmax@11 2x3x4 / axis=3",
    "LpNormalization@22 2x3 / axis=0 p=1",
    "LayerNormalization@17 2x3x4 3x4 4 / axis=1",
    "BatchNormalization@13 2x3x4 3 3 3 3",
    "GroupNormalization@21 1x4x3 4 4 / num_groups=2",
    "InstanceNormalization@13 1x4x3 4 4",
    "LRN@13 1x5x3x3 / size=3",
    "ReduceMean@13 2x3x4 / axes=0,-1 keepdims=0",
    "ReduceSum@13 2x3x4 [1] / keepdims=1",
    "ReduceLogSumExp@18 2x3x4 [0,2]",
    "ReduceMax@18 [1,5,3]",
    "ArgMax@13 2x3 / axis=1 select_last_index=1 keepdims=0",
    "CumSum@14 2x3 [1] / exclusive=1 reverse=1",
    "Reshape@13 2x6x1 [3,-1,0]",
    "Flatten@13 2x3x4 / axis=2",
    "Squeeze@13 1x3x1 [0,2]",
    "Unsqueeze@13 2x3 [0,-1]",
    "Shape@15 2x3x4 / start=1 end=-1",
    "ConstantOfShape@13 [2,3]",
    "Range@13 [1] [9] [2]",
    "EyeLike@13 3x4 / k=1 dtype=6",
    "Transpose@13 2x3x4 / perm=2,0,1",
    "Concat@13 2x3 2x1 2x2 / axis=-1",
    "Split@13 6x2 [6] / axis=0",
    "Slice@13 5x6 [-1,1] [-9,5] [1,0] [-2,3]",
    "Expand@13 3x1 [2,1,4]",
    "Pad@18 2x3 [1,2] s [1] / mode:reflect",
    "Pad@13 2x3 [1,-1,0,2] s",
    "Tile@13 2x3 [2,2]",
    "DepthToSpace@13 1x8x2x3 / blocksize=2 mode:CRD",
    "SpaceToDepth@13 1x2x4x6 / blocksize=2",
    "Trilu@14 2x3x4 [1] / upper=0",
    "Gather@13 2x3x4 [1,-1] / axis=1",
    "GatherElements@13 3 [2,0,1,1] / axis=0",
    "GatherND@13 2x3x4 [1,2]",
    "ScatterElements@18 5 [1,3] 2 / axis=0 reduction:add",
    "ScatterND@18 5x2 [3] 2 / reduction:max",
    "OneHot@11 [1,2,-1] [4] 2 / axis=0",
    "TopK@11 3x5 [2] / axis=1 largest=0",
    "NonZero@13 2x3",
    "Resize@13 1x2x3x4 - - [1,2,5,9] / mode:linear",
    "Resize@13 1x2x3x4 - - [1,2,5,9] / mode:cubic coordinate_transformation_mode:align_corners",
    "Resize@19 1x2x3x4 - - [2,9] / axes=2,3 antialias=1 mode:linear",
    "Resize@13 1x2x3x4 8 - [1,2,5,9] / coordinate_transformation_mode:tf_crop_and_resize",
    "GridSample@16 1x2x4x5 1x3x2x2 / padding_mode:reflection mode:bicubic",
    "NonMaxSuppression@11 1x6x4 1x2x6 [3] s s",
};

static void good_nodes_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(accepted); i++) {
        for (int way = 0; way < 4; way++) {
            struct fixture f = read_node(accepted[i], way & 1, 0);
            struct tensor *out = NULL;
            struct err err = {0};
            if (fixture_run(&f, way & 2 ? KERNELS_PLAIN : KERNELS_FAST, &out, &err)) {
                fail_msg("%s: %s", accepted[i], err.text);
            }
            tensor_free(out);
            fixture_free(&f);
        }
    }
}

static void nonsense_attribute(struct fixture *f)
{
    static const char *const single[] = {"axis",
                                         "group",
                                         "keepdims",
                                         "ceil_mode",
                                         "p",
                                         "to",
                                         "size",
                                         "blocksize",
                                         "k",
                                         "dtype",
                                         "num_outputs",
                                         "start",
                                         "end",
                                         "batch_dims",
                                         "num_groups",
                                         "transA",
                                         "transB",
                                         "allowzero",
                                         "exclusive",
                                         "reverse",
                                         "select_last_index",
                                         "storage_order",
                                         "count_include_pad",
                                         "q_num_heads",
                                         "kv_num_heads",
                                         "largest",
                                         "antialias",
                                         "training_mode",
                                         "align_corners"};
    static const char *const list[] = {"axes",         "perm",         "pads",          "strides",
                                       "dilations",    "split",        "starts",        "ends",
                                       "kernel_shape", "output_shape", "output_padding"};
    static const char *const text[] = {
        "auto_pad:SAME_UPPER", "auto_pad:VALID",     "mode:linear",         "mode:cubic",
        "mode:reflect",        "mode:wrap",          "mode:edge",           "reduction:add",
        "equation:ij,jk->ik",  "equation:...i->...", "padding_mode:border", "mode:CRD"};
    char word[64];
    const int kind = (int)random_int(0, 3);
    if (kind == 0) {
        graph_attr_int(f->g, f->node, single[random_int(0, COUNT(single) - 1)], nonsense_int());
    } else if (kind < 3) {
        int64_t v[8];
        const size_t n = (size_t)random_int(0, 6);
        for (size_t i = 0; i < n; i++) {
            v[i] = nonsense_int();
        }
        graph_attr_ints(f->g, f->node, list[random_int(0, COUNT(list) - 1)], n, v);
    } else {
        snprintf(word, sizeof word, "%s", text[random_int(0, COUNT(text) - 1)]);
        read_attribute(f, word, 0);
    }
}

/* Whatever a node asks for, there is a result or an error, and all memory is given back. */
static void nonsense_round(int chaos)
{
    struct budget budget = {.limit = 16 << 20};
    const struct plan_options o = {.numerics = NUM_ORT_UNFUSED,
                                   .kernels = random_int(0, 1) ? KERNELS_FAST : KERNELS_PLAIN,
                                   .budget = &budget};
    struct fixture f =
        read_node(accepted[random_int(0, COUNT(accepted) - 1)], random_int(0, 1), chaos);
    struct tensor *out = NULL;
    struct plan *p = NULL;
    struct err err;
    for (int64_t n = random_int(-2, 2); n > 0; n--) {
        nonsense_attribute(&f);
    }
    int rc = graph_finish(f.g, &err);
    rc = rc ? rc : plan_new(f.g, &o, &p, &err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)f.in, &out, NULL, &err);
    tensor_free(out);
    plan_free(p);
    fixture_free(&f);
    assert_int_equal(budget_used(&budget), 0);
}

/* QSCOPE_NONSENSE: number of rounds, for longer runs. */
static void nonsense_never_faults(void **state)
{
    (void)state;
    const char *rounds = getenv("QSCOPE_NONSENSE");
    for (long i = rounds ? strtol(rounds, NULL, 10) : 20000; i > 0; i--) {
        nonsense_round((int)random_int(3, 9));
    }
}

/* Three strings as input 0 of an operator, and for some the same as input 1. */
static int run_on_strings(const char *op, const char *second, struct tensor **out, struct err *err)
{
    struct fixture f = fixture_new(op, 19);
    const int64_t three = 3;
    for (int k = 0; k < 1 + (strcmp(second, "same") == 0); k++) {
        struct tensor *t = NULL;
        assert_int_equal(tensor_new_strings(1, &three, 4, NULL, &t, NULL), OK);
        for (size_t i = 0; i < 3; i++) { /* "", "a", "ab" or "aa" */
            const char *word = k && i == 2 ? "aa" : "ab";
            tensor_put_string(t, i, (struct span){(const uint8_t *)word, i});
        }
        fixture_input(&f, t, false);
    }
    if (second[0] == '[') {
        fixture_input(&f, read_input(second), true);
    }
    graph_attr_int(f.g, f.node, "axis", 0);
    graph_attr_int(f.g, f.node, "to", DT_F32);
    int rc = fixture_run(&f, KERNELS_FAST, out, err);
    fixture_free(&f);
    return rc;
}

static void strings_pass_or_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *op, *second;
        bool taken;
    } cases[] = {
        {"Identity", "", true},     {"Reshape", "[3,1]", true}, {"Unsqueeze", "[0]", true},
        {"Flatten", "", true},      {"Shape", "", true},        {"Size", "", true},
        {"Equal", "same", true},    {"Concat", "same", false},  {"Cast", "", false},
        {"Gather", "[0]", false},   {"Less", "same", false},    {"Transpose", "", false},
        {"IsNaN", "", false},       {"Relu", "", false},        {"ArgMax", "", false},
        {"Expand", "[2,3]", false}, {"Softmax", "", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tensor *out = NULL;
        struct err err = {0};
        int rc = run_on_strings(cases[i].op, cases[i].second, &out, &err);
        if (rc != (cases[i].taken ? OK : E_UNSUPPORTED)) {
            fail_msg("%s: %s", cases[i].op, rc ? err.text : "taken");
        }
        assert_true(cases[i].taken || strstr(err.text, "string"));
        if (out && out->dtype == DT_STRING) {
            assert_int_equal(tensor_string(out, 2).n, 2);
            assert_memory_equal(tensor_string(out, 2).p, "ab", 2);
        }
        if (strcmp(cases[i].op, "Equal") == 0) {
            assert_memory_equal(out->data, ((const uint8_t[]){1, 1, 0}), 3);
        }
        tensor_free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_nodes_are_refused),
        cmocka_unit_test(good_nodes_run),
        cmocka_unit_test(strings_pass_or_are_refused),
        cmocka_unit_test(nonsense_never_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
