/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tfl_moves.c: TensorFlow Lite operators that put elements elsewhere, change their type or the
 * size of a picture, each as a file of its own, under every numerics. Where output elements come
 * from is said by hand.
 */
#include "tests/tfl_fixture.h"

static const enum dtype types[] = {DT_F32, DT_S8, DT_U8, DT_S16, DT_S32};

/* Elements 0, 1, 2, ... with parameters that both ends share. */
static struct lite counting(enum dtype d, int rank, const int64_t *dims)
{
    bool codes = d == DT_S8 || d == DT_U8 || d == DT_S16;
    struct lite t = lite_new(d, codes ? 0.5F : 0, codes && d != DT_S16 ? 7 : 0, rank, dims);
    for (size_t i = 0; i < t.n; i++) {
        t.v[i] = (double)i;
    }
    return t;
}

/* ---- One output, whose elements are those of one input at these places ----------------------- */

enum { FILL = -1 }; /* not of the input: a zero, which codes spell as their zero point */
struct move {
    const char *name;
    uint8_t code;
    int options;
    size_t n_fields;
    struct flat_option fields[6];
    int rank, y_rank;
    int64_t dims[FLAT_RANK], y_dims[FLAT_RANK];
    size_t n_lists; /* constant inputs behind the first */
    struct {
        size_t n;
        int32_t v[8];
        bool pairs; /* of shape [n / 2, 2] */
    } lists[3];
    int from[24]; /* as many as the output has */
};

#define NO_FIELDS                                                                                  \
    0,                                                                                             \
    {                                                                                              \
        OPTION(0, 0, 0)                                                                            \
    }
#define ONE_FIELD(ID, KIND, VALUE)                                                                 \
    1,                                                                                             \
    {                                                                                              \
        OPTION(ID, KIND, VALUE)                                                                    \
    }
#define AS_IS                                                                                      \
    {                                                                                              \
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11                                                       \
    }

// clang-format off
static const struct move moves[] = {
    {"RESHAPE", 22, 17, NO_FIELDS, 2, 3, {3, 4}, {2, 3, 2}, 1, {{3, {2, -1, 2}, false}}, AS_IS},
    {"RESHAPE", 22, 17, 1, {{.kind = 'v', .n = 2, .list = {6, 2}}}, 2, 2, {3, 4}, {6, 2}, 0,
     {{0, {0}, false}}, AS_IS},
    {"SQUEEZE", 43, 30, 1, {{.kind = 'v', .n = 1, .list = {-2}}}, 4, 3, {1, 3, 1, 4}, {1, 3, 4}, 0,
     {{0, {0}, false}}, AS_IS},
    {"SQUEEZE", 43, 30, NO_FIELDS, 4, 2, {1, 3, 1, 4}, {3, 4}, 0, {{0, {0}, false}}, AS_IS},
    {"EXPAND_DIMS", 70, 0, NO_FIELDS, 2, 3, {3, 4}, {3, 1, 4}, 1, {{1, {1}, false}}, AS_IS},
    {"EXPAND_DIMS", 70, 0, NO_FIELDS, 2, 3, {3, 4}, {3, 4, 1}, 1, {{1, {-1}, false}}, AS_IS},
    {"TRANSPOSE", 39, 0, NO_FIELDS, 3, 3, {2, 3, 2}, {2, 2, 3}, 1, {{3, {2, 0, 1}, false}},
     {0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11}},
    {"PAD", 34, 0, NO_FIELDS, 2, 2, {2, 2}, {3, 5}, 1, {{4, {1, 0, 2, 1}, true}},
     {FILL, FILL, FILL, FILL, FILL, FILL, FILL, 0, 1, FILL, FILL, FILL, 2, 3, FILL}},
    {"SLICE", 65, 0, NO_FIELDS, 2, 2, {3, 4}, {2, 2}, 2, {{2, {1, 1}, false}, {2, {-1, 2}, false}},
     {5, 6, 9, 10}},
    {"STRIDED_SLICE", 45, 32, NO_FIELDS, 2, 2, {3, 4}, {2, 2}, 3,
     {{2, {0, -1}, false}, {2, {3, 0}, false}, {2, {2, -2}, false}}, {3, 1, 11, 9}},
    {"STRIDED_SLICE", 45, 32, 2, {OPTION(0, 'i', 1), OPTION(1, 'i', 2)}, 2, 2, {3, 4}, {2, 3}, 3,
     {{2, {9, 1}, false}, {2, {2, 9}, false}, {2, {1, 1}, false}}, {1, 2, 3, 5, 6, 7}},
    {"STRIDED_SLICE", 45, 32, ONE_FIELD(4, 'i', 1), 2, 1, {3, 4}, {4}, 3,
     {{2, {-2, 0}, false}, {2, {0, 4}, false}, {2, {1, 1}, false}}, {4, 5, 6, 7}},
    {"STRIDED_SLICE", 45, 32, NO_FIELDS, 2, 2, {3, 4}, {0, 4}, 3,
     {{2, {2, 0}, false}, {2, {1, 4}, false}, {2, {1, 1}, false}}, {0}},
    {"DEPTH_TO_SPACE", 5, 94, ONE_FIELD(0, 'i', 2), 4, 4, {1, 1, 2, 4}, {1, 2, 4, 1}, 0,
     {{0, {0}, false}}, {0, 1, 4, 5, 2, 3, 6, 7}},
    {"SPACE_TO_DEPTH", 26, 19, ONE_FIELD(0, 'i', 2), 4, 4, {1, 2, 4, 1}, {1, 1, 2, 4}, 0,
     {{0, {0}, false}}, {0, 1, 4, 5, 2, 3, 6, 7}},
    {"GATHER", 36, 23, ONE_FIELD(0, 'i', 1), 2, 2, {3, 4}, {3, 3}, 1, {{3, {3, 0, 3}, false}},
     {3, 0, 3, 7, 4, 7, 11, 8, 11}},
    {"GATHER", 36, 23, 2, {OPTION(0, 'i', -1), OPTION(1, 'i', 1)}, 2, 2, {2, 4}, {2, 2}, 1,
     {{4, {3, 1, 0, 2}, true}}, {3, 1, 4, 6}},
    {"GATHER_ND", 107, 0, NO_FIELDS, 3, 2, {2, 3, 2}, {2, 2}, 1, {{4, {1, 0, 0, 2}, true}},
     {6, 7, 4, 5}},
    {"RESIZE_NEAREST_NEIGHBOR", 97, 74, NO_FIELDS, 4, 4, {1, 2, 3, 1}, {1, 3, 5, 1}, 1,
     {{2, {3, 5}, false}}, {0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5}},
    {"RESIZE_NEAREST_NEIGHBOR", 97, 74, ONE_FIELD(0, 'b', 1), 4, 4, {1, 2, 3, 1}, {1, 2, 4, 1}, 1,
     {{2, {2, 4}, false}}, {0, 1, 1, 2, 3, 4, 4, 5}},
    {"RESIZE_NEAREST_NEIGHBOR", 97, 74, ONE_FIELD(1, 'b', 1), 4, 4, {1, 2, 3, 1}, {1, 1, 2, 1}, 1,
     {{2, {1, 2}, false}}, {3, 5}},
};
// clang-format on
static const struct move *at_move;

static double moved(const struct lite_op *o, size_t i)
{
    int from = at_move->from[i];
    return from == FILL ? 0 : lite_real(o->in[0], (size_t)from);
}

static void move_case(const struct move *m, enum dtype d)
{
    struct lite x = counting(d, m->rank, m->dims), y = counting(d, m->y_rank, m->y_dims);
    struct lite lists[3];
    struct lite_op o = {.name = m->name,
                        .code = m->code,
                        .options = m->options,
                        .n_fields = m->n_fields,
                        .n_in = 1 + m->n_lists,
                        .n_out = 1,
                        .in = {&x},
                        .out = {&y}};
    memcpy(o.fields, m->fields, sizeof m->fields);
    o.n_fields = m->n_fields;
    for (size_t i = 0; i < m->n_lists; i++) {
        lists[i] = lite_list(m->lists[i].n, m->lists[i].v);
        if (m->lists[i].pairs) {
            lists[i].rank = 2;
            lists[i].dims[0] = (int64_t)m->lists[i].n / 2;
            lists[i].dims[1] = 2;
        }
        o.in[1 + i] = &lists[i];
    }
    at_move = m;
    lite_check(&o, moved, LITE_EXACT);
}

static void one_output(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(moves); i++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            move_case(&moves[i], types[k]);
        }
    }
}

/* PADV2 says what pads: a code as it is. */
static double padded(const struct lite_op *o, size_t i)
{
    return i == 0 ? lite_real(o->in[2], 0) : lite_real(o->in[0], i - 1);
}

static void padding_by_a_value(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(types); k++) {
        struct lite x = counting(types[k], 1, (int64_t[]){3}),
                    y = counting(types[k], 1, (int64_t[]){4});
        struct lite pads = lite_list(2, (int32_t[]){1, 0}), value = counting(types[k], 0, NULL);
        struct lite_op o = {"PADV2", 60, 0, NO_FIELDS, 3, 1, {&x, &pads, &value}, {&y}, NULL};
        pads.rank = 2;
        pads.dims[0] = 1;
        pads.dims[1] = 2;
        value.v[0] = 42;
        value.constant = true;
        lite_check(&o, padded, LITE_EXACT);
    }
}

/* ---- Several inputs or outputs --------------------------------------------------------------- */

static double shape_of(const struct lite_op *o, size_t i)
{
    return (double)o->in[0]->dims[i];
}

/* [2,3] and [2,2] along the last axis. */
static double joined(const struct lite_op *o, size_t i)
{
    size_t col = i % 5, row = i / 5;
    return col < 3 ? lite_real(o->in[0], row * 3 + col) : lite_real(o->in[1], row * 2 + col - 3);
}

static double packed(const struct lite_op *o, size_t i)
{
    return lite_real(o->in[i % 2], i / 2);
}

static void joins(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(types); k++) {
        enum dtype d = types[k];
        struct lite a = counting(d, 2, (int64_t[]){2, 3}), b = counting(d, 2, (int64_t[]){2, 2});
        struct lite c = counting(d, 2, (int64_t[]){2, 3}), y = counting(d, 2, (int64_t[]){2, 5});
        struct lite z = counting(d, 3, (int64_t[]){2, 3, 2});
        struct lite s32 = lite_new(DT_S32, 0, 0, 1, (int64_t[]){2});
        struct lite s64 = lite_new(DT_S64, 0, 0, 1, (int64_t[]){2});
        lite_fill(&b);
        lite_fill(&c);
        struct lite_op join = {"CONCATENATION", 2,    10,  ONE_FIELD(0, 'i', k % 2 ? 1 : -1), 2, 1,
                               {&a, &b},        {&y}, NULL};
        lite_check(&join, joined, LITE_EXACT);
        struct lite_op pack = {"PACK", 83, 59,       2,    {OPTION(0, 'i', 2), OPTION(1, 'i', 2)},
                               2,      1,  {&a, &c}, {&z}, NULL};
        lite_check(&pack, packed, LITE_EXACT);
        struct lite_op shape = {"SHAPE", 77, 55,   ONE_FIELD(0, 'b', k % 2 ? 2 : 4),
                                1,       1,  {&a}, {k % 2 ? &s32 : &s64},
                                NULL};
        lite_check(&shape, shape_of, LITE_EXACT);
    }
    /* Inputs of legacy uint8 have parameters of their own. */
    struct lite a = lite_new(DT_U8, 0.25F, 100, 2, (int64_t[]){2, 3});
    struct lite b = lite_new(DT_U8, 0.5F, 3, 2, (int64_t[]){2, 2});
    struct lite y = lite_new(DT_U8, 0.375F, 90, 2, (int64_t[]){2, 5});
    struct lite_op join = {"CONCATENATION", 2,    10,  ONE_FIELD(0, 'i', 1), 2, 1,
                           {&a, &b},        {&y}, NULL};
    lite_fill(&a);
    lite_fill(&b);
    lite_check(&join, joined, 1e-3);
}

/* All outputs; out[k] element i is x at from[k][i]. */
static void want_parts(struct lite_op *o, const struct lite *x, const int from[2][12])
{
    lite_open(o);
    lite_seen[o->code] = o->name;
    for (enum numerics n = NUM_TFLITE_XNNPACK; n <= NUM_TFLITE_REF; n++) {
        lite_run(o, n, KERNELS_FAST);
        for (size_t k = 0; k < o->n_out; k++) {
            for (size_t i = 0; i < o->out[k]->n; i++) {
                assert_true(o->out[k]->v[i] == x->v[from[k][i]]);
            }
        }
    }
    graph_free(o->g);
}

static void parts(void **state)
{
    (void)state;
    static const int halves[2][12] = {{0, 1, 4, 5, 8, 9}, {2, 3, 6, 7, 10, 11}};
    static const int uneven[2][12] = {{0, 4, 8}, {1, 2, 3, 5, 6, 7, 9, 10, 11}};
    static const int rest[2][12] = {{0, 1, 2, 4, 5, 6, 8, 9, 10}, {3, 7, 11}};
    static const int lines[2][12] = {{0, 2, 4, 6, 8, 10}, {1, 3, 5, 7, 9, 11}};
    for (size_t k = 0; k < COUNT(types); k++) {
        enum dtype d = types[k];
        struct lite x = counting(d, 2, (int64_t[]){3, 4}), t = counting(d, 2, (int64_t[]){6, 2});
        struct lite a = counting(d, 2, (int64_t[]){3, 2}), b = a;
        struct lite one = counting(d, 2, (int64_t[]){3, 1}),
                    three = counting(d, 2, (int64_t[]){3, 3});
        struct lite line = counting(d, 1, (int64_t[]){6}), other = line;
        struct lite axis = lite_list(1, (int32_t[]){1}), last = lite_list(1, (int32_t[]){-1});
        struct lite sizes = lite_list(2, (int32_t[]){1, 3}),
                    open = lite_list(2, (int32_t[]){-1, 1});
        struct lite_op split = {"SPLIT",     49,       35,  ONE_FIELD(0, 'i', 2), 2, 2,
                                {&axis, &x}, {&a, &b}, NULL};
        want_parts(&split, &x, halves);
        struct lite_op by = {
            "SPLIT_V",      102, 79, ONE_FIELD(0, 'i', 2), 3, 2, {&x, &sizes, &last},
            {&one, &three}, NULL};
        want_parts(&by, &x, uneven);
        by.in[1] = &open;
        by.out[0] = &three;
        by.out[1] = &one;
        want_parts(&by, &x, rest);
        struct lite_op unpack = {
            "UNPACK",        88,  64, 2, {OPTION(0, 'i', 2), OPTION(1, 'i', 1)}, 1, 2, {&t},
            {&line, &other}, NULL};
        want_parts(&unpack, &t, lines);
    }
}

/* ---- Types ----------------------------------------------------------------------------------- */

static double same_real(const struct lite_op *o, size_t i)
{
    return lite_real(o->in[0], i);
}

/* Codes of other parameters too; those of XNNPACK have a ratio of 8 bits, so it is a 256th here. */
static void quantizers(void **state)
{
    (void)state;
    const int64_t dims[] = {3, 41}; /* no multiple of what goes through vectors */
    static const enum dtype codes[] = {DT_S8, DT_U8, DT_S16};
    for (size_t k = 0; k < COUNT(codes); k++) {
        enum dtype d = codes[k];
        int32_t z = d == DT_S16 ? 0 : d == DT_U8 ? 131 : 3;
        float s = d == DT_S16 ? 1.0F / 4096 : 0.03F;
        struct lite x = lite_new(DT_F32, 0, 0, 2, dims), q = lite_new(d, s, z, 2, dims);
        struct lite_op to = {"QUANTIZE", 114, 0, NO_FIELDS, 1, 1, {&x}, {&q}, NULL};
        lite_fill(&x);
        x.v[0] = 1e9;
        x.v[1] = -1e9;
        lite_check(&to, same_real, 1e-3);
        struct lite_op back = {"DEQUANTIZE", 6, 0, NO_FIELDS, 1, 1, {&q}, {&x}, NULL};
        lite_fill(&q);
        lite_check(&back, same_real, 0);
        for (size_t j = 0; j < COUNT(codes); j++) {
            bool wide = d == DT_S16 || codes[j] == DT_S16;
            struct lite y = lite_new(codes[j], wide ? 0.01F : s * (256.0F / 200),
                                     codes[j] == DT_S16  ? 0
                                     : codes[j] == DT_U8 ? 90
                                                         : -38,
                                     2, dims);
            struct lite_op other = {"QUANTIZE", 114, 0, NO_FIELDS, 1, 1, {&q}, {&y}, NULL};
            lite_check(&other, same_real, 2 * LITE_TWICE);
        }
    }
}

static double cast_real(const struct lite_op *o, size_t i)
{
    double v = o->in[0]->v[i];
    enum dtype d = o->out[0]->dtype;
    return d == DT_BOOL ? v != 0 : d == DT_F32 ? (double)(float)v : trunc(v);
}

static void casts(void **state)
{
    (void)state;
    static const enum dtype from[] = {DT_F32, DT_S32, DT_S64, DT_S8, DT_U8, DT_S16};
    static const enum dtype into[] = {DT_F32, DT_S32, DT_S64, DT_BOOL, DT_S16};
    for (size_t i = 0; i < COUNT(from); i++) {
        for (size_t k = 0; k < COUNT(into); k++) {
            struct lite x = lite_new(from[i], 0, 0, 1, (int64_t[]){300});
            struct lite y = lite_new(into[k], 0, 0, 1, (int64_t[]){300});
            struct lite_op o = {
                "CAST",
                53,
                37,
                2,
                {OPTION(0, 'b', lite_type(from[i])), OPTION(1, 'b', lite_type(into[k]))},
                1,
                1,
                {&x},
                {&y},
                NULL};
            lite_fill(&x);
            x.v[7] = 0;
            lite_check(&o, cast_real, LITE_EXACT);
        }
    }
}

/* ---- Pictures -------------------------------------------------------------------------------- */

/* Twice as large, or with corners where they were: positions are multiples of 1/4. */
static double resized(const struct lite_op *o, size_t i)
{
    bool corners = o->fields[0].value != 0, centers = o->fields[1].value != 0;
    const struct lite *x = o->in[0], *y = o->out[0];
    size_t at[2] = {i / 2 / (size_t)y->dims[2], i / 2 % (size_t)y->dims[2]}, lo[2], hi[2];
    double part[2], v = 0;
    for (int d = 0; d < 2; d++) {
        double in = (double)x->dims[1 + d], out = (double)y->dims[1 + d];
        double ratio = corners ? (in - 1) / (out - 1) : in / out;
        double p = centers ? ((double)at[d] + 0.5) * ratio - 0.5 : (double)at[d] * ratio;
        p = fmin(fmax(p, 0), in - 1);
        lo[d] = (size_t)p;
        hi[d] = (size_t)fmin((double)lo[d] + 1, in - 1);
        part[d] = p - (double)lo[d];
    }
    for (int k = 0; k < 4; k++) {
        size_t row = k / 2 ? hi[0] : lo[0], col = k % 2 ? hi[1] : lo[1];
        v += (k / 2 ? part[0] : 1 - part[0]) * (k % 2 ? part[1] : 1 - part[1]) *
             lite_real(x, (row * (size_t)x->dims[2] + col) * 2 + i % 2);
    }
    return v;
}

static void bilinear(void **state)
{
    (void)state;
    static const enum dtype pictures[] = {DT_F32, DT_S8, DT_U8, DT_S16};
    for (int i = 0; i < 12; i++) {
        enum dtype d = pictures[i % 4];
        bool corners = i / 4 == 1, centers = i / 4 == 2;
        const int32_t size[2] = {corners ? 5 : 6, corners ? 9 : 10};
        struct lite x = counting(d, 4, (int64_t[]){1, 3, 5, 2});
        struct lite y = counting(d, 4, (int64_t[]){1, size[0], size[1], 2});
        struct lite to = lite_list(2, size);
        struct lite_op o = {"RESIZE_BILINEAR",
                            23,
                            15,
                            2,
                            {OPTION(2, 'b', corners), OPTION(3, 'b', centers)},
                            2,
                            1,
                            {&x, &to},
                            {&y},
                            NULL};
        lite_fill(&x);
        lite_check(&o, resized, d == DT_F32 ? 1e-5 : 1e-3);
    }
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void refusals(void **state)
{
    (void)state;
    struct lite x = counting(DT_F32, 2, (int64_t[]){3, 4}), y = x,
                s = counting(DT_S8, 2, (int64_t[]){3, 4});
    struct lite twice = lite_list(2, (int32_t[]){1, 1}), far = lite_list(1, (int32_t[]){9});
    struct lite zero = lite_list(2, (int32_t[]){0, 0}), past = lite_list(2, (int32_t[]){0, 5});
    struct lite three = lite_list(3, (int32_t[]){0, 1, 2}), axis = lite_list(1, (int32_t[]){1});
    struct lite other = lite_new(DT_S8, 0.25F, 7, 2, (int64_t[]){3, 4}),
                plain = lite_new(DT_S8, 0, 0, 2, (int64_t[]){3, 4});
    const struct {
        struct lite_op op;
        int code;
        const char *text;
    } cases[] = {
        {{"TRANSPOSE", 39, 0, NO_FIELDS, 2, 1, {&x, &twice}, {&y}, NULL}, E_SHAPE, "stands twice"},
        {{"TRANSPOSE", 39, 0, NO_FIELDS, 2, 1, {&x, &three}, {&y}, NULL}, E_SHAPE, "3 entries"},
        {{"EXPAND_DIMS", 70, 0, NO_FIELDS, 2, 1, {&x, &twice}, {&y}, NULL}, E_SHAPE, "2 axes"},
        {{"PAD", 34, 0, NO_FIELDS, 2, 1, {&x, &twice}, {&y}, NULL}, E_SHAPE, "paddings"},
        {{"SLICE", 65, 0, NO_FIELDS, 3, 1, {&x, &zero, &past}, {&y}, NULL}, E_SHAPE, "5 elements"},
        {{"STRIDED_SLICE", 45, 32, NO_FIELDS, 4, 1, {&x, &zero, &past, &zero}, {&y}, NULL},
         E_SHAPE,
         "stride 0"},
        {{"STRIDED_SLICE",
          45,
          32,
          ONE_FIELD(2, 'i', 1),
          4,
          1,
          {&x, &zero, &past, &twice},
          {&y},
          NULL},
         E_UNSUPPORTED,
         "ellipsis"},
        {{"STRIDED_SLICE",
          45,
          32,
          ONE_FIELD(4, 'i', 2),
          4,
          1,
          {&x, &past, &past, &twice},
          {&y},
          NULL},
         E_SHAPE,
         "index 5"},
        {{"SPLIT", 49, 35, NO_FIELDS, 2, 3, {&axis, &x}, {&y, &y, &y}, NULL},
         E_SHAPE,
         "in 3 parts"},
        {{"SPLIT_V", 102, 79, NO_FIELDS, 3, 2, {&x, &past, &axis}, {&y, &y}, NULL},
         E_SHAPE,
         "has 5 of 4"},
        {{"SPLIT_V", 102, 79, NO_FIELDS, 3, 1, {&x, &past, &axis}, {&y}, NULL}, E_SHAPE, "2 sizes"},
        {{"CONCATENATION", 2, 10, NO_FIELDS, 2, 1, {&x, &s}, {&y}, NULL}, E_SHAPE, "input 1"},
        {{"CONCATENATION", 2, 10, NO_FIELDS, 2, 1, {&s, &other}, {&s}, NULL},
         E_UNSUPPORTED,
         "other parameters"},
        {{"PACK", 83, 59, NO_FIELDS, 2, 1, {&x, &s}, {&y}, NULL}, E_SHAPE, "input 1"},
        {{"UNPACK", 88, 64, NO_FIELDS, 1, 2, {&x}, {&y, &y}, NULL}, E_SHAPE, "3 parts"},
        {{"DEPTH_TO_SPACE", 5, 94, ONE_FIELD(0, 'i', 2), 1, 1, {&x}, {&y}, NULL},
         E_SHAPE,
         "blocks"},
        {{"GATHER", 36, 23, NO_FIELDS, 2, 1, {&x, &far}, {&y}, NULL}, E_SHAPE, "index 9 of 3"},
        {{"GATHER", 36, 23, ONE_FIELD(1, 'i', 2), 2, 1, {&x, &far}, {&y}, NULL},
         E_SHAPE,
         "2 batch dimensions"},
        {{"GATHER_ND", 107, 0, NO_FIELDS, 2, 1, {&x, &past}, {&y}, NULL}, E_SHAPE, "index 5 of 4"},
        {{"GATHER_ND", 107, 0, NO_FIELDS, 2, 1, {&x, &three}, {&y}, NULL}, E_SHAPE, "rank 2"},
        {{"QUANTIZE", 114, 0, NO_FIELDS, 1, 1, {&x}, {&y}, NULL}, E_FORMAT, "no scale"},
        {{"QUANTIZE", 114, 0, NO_FIELDS, 1, 1, {&plain}, {&s}, NULL},
         E_UNSUPPORTED,
         "without parameters"},
        {{"DEQUANTIZE", 6, 0, NO_FIELDS, 1, 1, {&plain}, {&y}, NULL}, E_FORMAT, "no scale"},
        {{"CAST", 53, 37, ONE_FIELD(1, 'b', 8), 1, 1, {&x}, {&y}, NULL}, E_UNSUPPORTED, "type 8"},
        {{"RESIZE_BILINEAR", 23, 15, NO_FIELDS, 2, 1, {&x, &twice}, {&y}, NULL}, E_SHAPE, "rank 2"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct lite_op o = cases[i].op;
        lite_refuses(&o, cases[i].code, cases[i].text);
    }
}

static void every_operator_has_a_case(void **state)
{
    (void)state;
    lite_every(op_tfl_move);
    lite_every(op_tfl_gather);
    lite_every(op_tfl_quant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_output),
        cmocka_unit_test(padding_by_a_value),
        cmocka_unit_test(joins),
        cmocka_unit_test(parts),
        cmocka_unit_test(quantizers),
        cmocka_unit_test(casts),
        cmocka_unit_test(bilinear),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_operator_has_a_case),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
