/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tfl_ops.c: TensorFlow Lite operators that compute, each as a file of its own, under every
 * numerics: codes are what the quantization specification makes of the real function, q = round(r /
 * scale) + zero point, as near as fixed-point arithmetic allows. What back ends round otherwise
 * than each other is checked against LiteRT (oracle/). Layers with weights are in
 * test_tfl_layers.c, what moves in test_tfl_moves.c.
 */
#include "tests/tfl_fixture.h"

/* ---- One input ------------------------------------------------------------------------------ */

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static double gelu(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static double hard_swish(double x)
{
    return x * fmin(fmax(x + 3, 0), 6) / 6;
}

static double leaky_relu(double x)
{
    return x < 0 ? x / 4 : x;
}

static double relu(double x)
{
    return fmax(x, 0);
}

static double relu6(double x)
{
    return fmin(fmax(x, 0), 6);
}

static double relu_n1_to_1(double x)
{
    return fmin(fmax(x, -1), 1);
}

static double rsqrt(double x)
{
    return x > 0 ? 1 / sqrt(x) : INFINITY;
}

static double neg(double x)
{
    return -x;
}

static double square(double x)
{
    return x * x;
}

enum {
    POSITIVE = 1,  /* defined there alone */
    CUT = 2,       /* codes are cut off, not rounded */
    ONLY_INT8 = 4, /* negates codes as they are */
    WIDE = 8,      /* of int16 too */
};
/* Parameters are those of int8; uint8 has zero points that are 128 higher. */
// clang-format off
static const struct unary {
    const char *name;
    uint8_t code;
    int options;
    struct flat_option option; /* kind 0: none */
    double (*f)(double x);
    float sx;
    int32_t zx;
    float sy;
    int32_t zy;
    double slack;
    unsigned how;
} unaries[] = {
    {"LOGISTIC", 14, 0, OPTION(0, 0, 0), logistic, 0.0625F, 2, 1.0F / 256, -128, 1e-3, 0},
    {"TANH", 28, 0, OPTION(0, 0, 0), tanh, 0.03125F, 3, 1.0F / 128, 0, 1e-3, 0},
    {"GELU", 150, 116, OPTION(0, 'b', 0), gelu, 0.04F, -10, 0.05F, -60, 1e-3, 0},
    {"GELU", 150, 116, OPTION(0, 'b', 1), gelu_tanh, 0.04F, -10, 0.05F, -60, 1e-3, 0},
    {"HARD_SWISH", 117, 0, OPTION(0, 0, 0), hard_swish, 0.05F, 12, 0.04F, -50, 0.6, 0},
    {"LEAKY_RELU", 98, 75, OPTION(0, 'f', 0.25), leaky_relu, 0.0625F, -5, 0.0625F, 7, 1e-3, WIDE},
    {"RELU", 19, 0, OPTION(0, 0, 0), relu, 0.05F, -3, 0.04F, -100, 1e-3, WIDE},
    {"RELU6", 21, 0, OPTION(0, 0, 0), relu6, 0.07F, -30, 0.03F, -100, 1e-3, WIDE},
    {"RELU_N1_TO_1", 20, 0, OPTION(0, 0, 0), relu_n1_to_1, 0.02F, 9, 0.015F, 1, 1e-3, WIDE},
    {"SQRT", 75, 0, OPTION(0, 0, 0), sqrt, 0.1F, -128, 0.04F, -128, 1e-3, POSITIVE | CUT},
    {"RSQRT", 76, 0, OPTION(0, 0, 0), rsqrt, 0.1F, -128, 0.01F, -128, 1e-2, POSITIVE},
    {"EXP", 47, 0, OPTION(0, 0, 0), exp, 0.02F, 4, 0.08F, -128, 1e-3, 0},
    {"LOG", 73, 0, OPTION(0, 0, 0), log, 0.1F, -128, 0.03F, -1, 1e-3, POSITIVE},
    {"ABS", 101, 0, OPTION(0, 0, 0), fabs, 0.05F, -3, 0.04F, -128, 1e-3, WIDE},
    {"NEG", 59, 0, OPTION(0, 0, 0), neg, 0.05F, 0, 0.05F, 0, 0, ONLY_INT8 | WIDE},
    {"SQUARE", 92, 0, OPTION(0, 0, 0), square, 0.04F, 5, 0.1F, -128, 1e-3, 0},
};
// clang-format on
static const struct unary *at_unary;

static double unary_real(const struct lite_op *o, size_t i)
{
    double v = at_unary->f(lite_real(o->in[0], i));
    return (at_unary->how & CUT) && o->out[0]->scale > 0 ? v - 0.5 * (double)o->out[0]->scale : v;
}

static void unary_case(const struct unary *u, enum dtype d)
{
    struct lite_op o = {.name = u->name, .code = u->code, .options = u->options};
    int32_t up = d == DT_U8 ? 128 : 0, z = d == DT_S16 ? 0 : 1;
    float more = d == DT_S16 ? 1.0F / 128 : 1; /* int16 has no zero point, and steps so fine */
    const int64_t dims[] = {2, 128};
    struct lite x = lite_new(d, d == DT_F32 ? 0 : u->sx * more, z * u->zx + up, 2, dims);
    struct lite y = lite_new(d, d == DT_F32 ? 0 : u->sy * more, z * u->zy + up, 2, dims);
    lite_fill(&x);
    for (size_t i = 0; i < x.n; i++) {
        x.v[i] = d == DT_S8 ? (double)i - 128 : d == DT_U8 ? (double)i : x.v[i];
        x.v[i] = d == DT_F32 && (u->how & POSITIVE) ? fabs(x.v[i]) + 0.01 : x.v[i];
        x.v[i] =
            (u->how & ONLY_INT8) && d == DT_S8 && i == 0 ? 0 : x.v[i]; /* -128 has no counterpart */
    }
    o.n_in = o.n_out = 1;
    o.in[0] = &x;
    o.out[0] = &y;
    o.fields[0] = u->option;
    o.n_fields = u->option.kind != 0;
    at_unary = u;
    lite_check(&o, unary_real, d == DT_F32 ? 0 : u->slack);
}

static void one_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(unaries); i++) {
        unary_case(&unaries[i], DT_F32);
        unary_case(&unaries[i], DT_S8);
        if (!(unaries[i].how & ONLY_INT8)) {
            unary_case(&unaries[i], DT_U8);
        }
        if (unaries[i].how & WIDE) {
            unary_case(&unaries[i], DT_S16);
        }
    }
}

/* ---- Two inputs that broadcast -------------------------------------------------------------- */

static double add(double a, double b)
{
    return a + b;
}

static double sub(double a, double b)
{
    return a - b;
}

static double mul(double a, double b)
{
    return a * b;
}

static double quotient(double a, double b)
{
    return a / b;
}

static double floor_div(double a, double b)
{
    return floor(a / b);
}

static double squared_difference(double a, double b)
{
    return (a - b) * (a - b);
}

enum { OF_F32 = 1, OF_CODES = 2, OF_S16 = 4, OF_S32 = 8 };
static const struct binary {
    const char *name;
    uint8_t code;
    int options;
    double (*f)(double a, double b);
    unsigned of;
    float sa, sb, sy; /* of 8-bit codes; equal ones have equal zero points */
    double slack;
    bool activates; /* has a fused activation */
} binaries[] = {
    {"ADD", 0, 11, add, OF_F32 | OF_CODES | OF_S16 | OF_S32, 0.05F, 0.03F, 0.06F, 2e-3, true},
    {"SUB", 41, 28, sub, OF_F32 | OF_CODES | OF_S16 | OF_S32, 0.05F, 0.03F, 0.06F, 2e-3, true},
    {"MUL", 18, 21, mul, OF_F32 | OF_CODES | OF_S16 | OF_S32, 0.05F, 0.03F, 0.1F, 1e-3, true},
    {"DIV", 42, 29, quotient, OF_F32, 1, 1, 1, 0, true},
    {"FLOOR_DIV", 90, 0, floor_div, OF_F32 | OF_S32, 1, 1, 1, 0, false},
    {"SQUARED_DIFFERENCE", 99, 0, squared_difference, OF_F32 | OF_CODES | OF_S32, 0.05F, 0.03F,
     0.5F, 0.1, false},
    {"MAXIMUM", 55, 0, fmax, OF_F32 | OF_CODES | OF_S16 | OF_S32, 0.05F, 0.05F, 0.05F, 0, false},
    {"MINIMUM", 57, 0, fmin, OF_F32 | OF_CODES | OF_S16 | OF_S32, 0.05F, 0.05F, 0.05F, 0, false},
};
static const struct binary *at_binary;
/* a [2,3,4] and b [3,1]. */
static double binary_real(const struct lite_op *o, size_t i)
{
    return lite_activated(at_binary->f(lite_real(o->in[0], i), lite_real(o->in[1], i / 4 % 3)));
}

static void binary_case(const struct binary *t, enum dtype d, int activation)
{
    struct lite_op o = {.name = t->name, .code = t->code, .options = t->options};
    bool codes = d == DT_S8 || d == DT_U8 || d == DT_S16, equal = t->sa == t->sb;
    int32_t up = d == DT_U8 ? 128 : 0, z = d == DT_S16 || d == DT_S32 ? 0 : 1;
    float fine = !codes ? 0 : d == DT_S16 ? 1.0F / 256 : 1;
    const int64_t da[] = {2, 3, 4}, db[] = {3, 1};
    struct lite a = lite_new(d, t->sa * fine, -3 * z + up, 3, da);
    struct lite b = lite_new(d, t->sb * fine, (equal ? -3 : 10) * z + up, 2, db);
    struct lite y = lite_new(d, t->sy * fine * (t->f == mul && d == DT_S16 ? 64 : 1),
                             (equal ? -3 : -20) * z + up, 3, da);
    lite_fill(&a);
    lite_fill(&b);
    for (size_t i = 0; i < b.n; i++) {
        b.v[i] = b.v[i] == 0 ? 1 : b.v[i]; /* for quotients */
    }
    b.constant = activation == 1;
    o.n_in = 2;
    o.n_out = 1;
    o.in[0] = &a;
    o.in[1] = &b;
    o.out[0] = &y;
    o.n_fields = t->activates;
    o.fields[0] = (struct flat_option)OPTION(0, 'b', activation);
    at_binary = t;
    lite_activation = activation;
    lite_check(&o, binary_real, codes ? t->slack : 0);
}

static void two_inputs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(binaries); i++) {
        const struct binary *t = &binaries[i];
        for (int act = 0; act < (t->activates ? 4 : 1); act++) {
            if (t->of & OF_F32) {
                binary_case(t, DT_F32, act);
            }
            if (t->of & OF_CODES) {
                binary_case(t, DT_S8, act);
                binary_case(t, DT_U8, act);
            }
            if (t->of & OF_S16) {
                binary_case(t, DT_S16, act);
            }
        }
        if (t->of & OF_S32) {
            binary_case(t, DT_S32, 0);
        }
    }
}

/* ---- Products ------------------------------------------------------------------------------- */

/* a [2,3,5] times b [1,5,4], either of them transposed; b is the same for both. */
static double matmul_real(const struct lite_op *o, size_t i)
{
    bool ta = o->fields[0].value != 0, tb = o->fields[1].value != 0;
    size_t m = i / 4 % 3, n = i % 4, at = i / 12 * 15;
    double sum = 0;
    for (size_t k = 0; k < 5; k++) {
        sum += lite_real(o->in[0], at + (ta ? k * 3 + m : m * 5 + k)) *
               lite_real(o->in[1], tb ? n * 5 + k : k * 4 + n);
    }
    return sum;
}

static void batch_matmul(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_S8, DT_S8, DT_S16};
    for (int i = 0; i < 16; i++) {
        bool ta = i & 1, tb = i & 2;
        enum dtype d = types[i / 4];
        float s = d == DT_F32 ? 0 : d == DT_S16 ? 0.01F / 256 : 0.01F;
        int32_t z = d == DT_S16 ? 0 : i / 4; /* XNNPACK has none on the right */
        struct lite a = lite_new(d, 3 * s, 5 * z, 3, (int64_t[]){2, ta ? 5 : 3, ta ? 3 : 5});
        struct lite b =
            lite_new(d, 2 * s, z - (i / 4 == 1), 3, (int64_t[]){1, tb ? 4 : 5, tb ? 5 : 4});
        struct lite y = lite_new(d, 8 * s, -9 * z, 3, (int64_t[]){2, 3, 4});
        struct lite_op o = {
            "BATCH_MATMUL", 126,  101, 2, {OPTION(0, 'b', ta), OPTION(1, 'b', tb)}, 2, 1,
            {&a, &b},       {&y}, NULL};
        lite_fill(&a);
        lite_fill(&b);
        lite_check(&o, matmul_real, d == DT_F32 ? 1e-5 : d == DT_S16 ? LITE_WIDE : LITE_TWICE);
    }
}

/* ---- Fewer numbers of many ------------------------------------------------------------------ */

static struct lite_axis rows, cols;

static double pool_real(const struct lite_op *o, size_t i)
{
    int c = (int)o->in[0]->dims[3], ox = (int)i / c % cols.out, oy = (int)i / c / cols.out;
    double sum = 0, top = -INFINITY;
    int n = 0;
    for (int k = 0; k < rows.k * cols.k; k++) {
        int ay = lite_axis_at(&rows, oy, k / cols.k), ax = lite_axis_at(&cols, ox, k % cols.k);
        if (ay >= 0 && ax >= 0) {
            double v = lite_real(o->in[0], (size_t)((ay * cols.in + ax) * c + (int)i % c));
            sum += v;
            top = fmax(top, v);
            n++;
        }
    }
    return lite_activated(o->code == 17 ? top : sum / n);
}

static void pools(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_S8, DT_U8, DT_S16};
    for (int i = 0; i < 64; i++) {
        enum dtype d = types[i % 4];
        bool max = i / 4 % 2, same = i / 8 % 2;
        lite_activation = i / 16;
        rows = lite_axis_of(5, 3, 2, 1, same);
        cols = lite_axis_of(6, 2, 1, 1, same);
        float s = d == DT_F32 ? 0 : d == DT_S16 ? 0.05F / 256 : 0.05F;
        int32_t z = d == DT_U8 ? 120 : d == DT_S16 ? 0 : -11;
        struct lite x = lite_new(d, s, z, 4, (int64_t[]){1, 5, 6, 3});
        struct lite y = lite_new(d, s, z, 4, (int64_t[]){1, rows.out, cols.out, 3});
        struct lite_op o = {max ? "MAX_POOL_2D" : "AVERAGE_POOL_2D",
                            max ? 17 : 1,
                            5,
                            6,
                            {OPTION(0, 'b', !same), OPTION(1, 'i', 1), OPTION(2, 'i', 2),
                             OPTION(3, 'i', 2), OPTION(4, 'i', 3), OPTION(5, 'b', lite_activation)},
                            1,
                            1,
                            {&x},
                            {&y},
                            NULL};
        lite_fill(&x);
        lite_check(&o, pool_real, 0);
    }
}

/* x [2,3,4,5]; which axes go is a set of bits. */
static unsigned axes_gone;

static double reduced_real(const struct lite_op *o, size_t i)
{
    static const size_t dims[] = {2, 3, 4, 5};
    double sum = 0;
    size_t n = 0;
    for (size_t k = 0; k < o->in[0]->n; k++) {
        size_t rest = k, at = 0, step = 1;
        for (int d = 3; d >= 0; d--) {
            if (!(axes_gone >> d & 1)) {
                at += rest % dims[d] * step;
                step *= dims[d];
            }
            rest /= dims[d];
        }
        sum += at == i ? lite_real(o->in[0], k) : 0;
        n += at == i;
    }
    return o->code == 74 ? sum : sum / (double)n;
}

static void reductions(void **state)
{
    (void)state;
    static const struct {
        int32_t axes[2];
        size_t n;
        unsigned gone;
        bool keep;
        int rank;
        int64_t dims[4];
    } ways[] = {{{1, 2}, 2, 6, true, 4, {2, 1, 1, 5}},
                {{1, 2}, 2, 6, false, 2, {2, 5}},
                {{-1, 0}, 2, 9, false, 2, {3, 4}},
                {{3}, 1, 8, true, 4, {2, 3, 4, 1}}};
    static const enum dtype types[] = {DT_F32, DT_F32, DT_S8, DT_U8, DT_S16};
    for (size_t w = 0; w < COUNT(ways); w++) {
        for (size_t k = 0; k < COUNT(types); k++) {
            enum dtype d = types[k];
            float s = d == DT_F32 ? 0 : d == DT_S16 ? 0.05F / 256 : 0.05F;
            int32_t z = d == DT_U8 ? 120 : d == DT_S16 ? 0 : -11;
            struct lite x = lite_new(d, s, z, 4, (int64_t[]){2, 3, 4, 5});
            struct lite y = lite_new(d, s / 2, 2 * z, ways[w].rank, ways[w].dims);
            struct lite axes = lite_list(ways[w].n, ways[w].axes);
            struct lite_op o = {
                k ? "MEAN" : "SUM", k ? 40 : 74, 27,  1, {OPTION(0, 'b', ways[w].keep)}, 2, 1,
                {&x, &axes},        {&y},        NULL};
            y.zero = d == DT_U8 ? 110 : z;
            lite_fill(&x);
            axes_gone = ways[w].gone;
            /* Rounded twice, first to a fourth of a code at least, and by the optimised kernel the
             * zero points by themselves. */
            bool floats = d == DT_F32;
            lite_check_more(&o, reduced_real, floats ? 1e-5 : 0.25, floats ? 1e-5 : 0.5 + 0.25);
        }
    }
}

static double softmax_real(const struct lite_op *o, size_t i)
{
    double sum = 0;
    for (size_t k = i / 7 * 7; k < i / 7 * 7 + 7; k++) {
        sum += exp(o->fields[0].value * (lite_real(o->in[0], k) - lite_real(o->in[0], i)));
    }
    return 1 / sum;
}

static void softmaxes(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_S8, DT_U8};
    for (int i = 0; i < 6; i++) {
        enum dtype d = types[i % 3];
        struct lite x =
            lite_new(d, d == DT_F32 ? 0 : 0.05F, d == DT_U8 ? 120 : 3, 2, (int64_t[]){3, 7});
        struct lite y =
            lite_new(d, d == DT_F32 ? 0 : 1.0F / 256, d == DT_U8 ? 0 : -128, 2, (int64_t[]){3, 7});
        struct lite_op o = {"SOFTMAX", 25, 9,    1,    {OPTION(0, 'f', i < 3 ? 1 : 0.5)},
                            1,         1,  {&x}, {&y}, NULL};
        lite_fill(&x);
        lite_check(&o, softmax_real, d == DT_F32 ? 0 : 1e-3);
    }
}

/* x [2,4,3] along the middle: the first of equal ones. */
static double extreme_real(const struct lite_op *o, size_t i)
{
    int best = 0;
    for (int k = 1; k < 4; k++) {
        double a = o->in[0]->v[i / 3 * 12 + (size_t)k * 3 + i % 3];
        double b = o->in[0]->v[i / 3 * 12 + (size_t)best * 3 + i % 3];
        best = (o->code == 56 ? a > b : a < b) ? k : best;
    }
    return best;
}

static void extremes(void **state)
{
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_S8, DT_U8, DT_S32};
    for (int i = 0; i < 16; i++) {
        bool min = i & 1, wide = i & 2;
        struct lite x = lite_new(types[i / 4], 0, 0, 3, (int64_t[]){2, 4, 3});
        struct lite y = lite_new(wide ? DT_S64 : DT_S32, 0, 0, 2, (int64_t[]){2, 3});
        struct lite axis = lite_list(1, (int32_t[]){i < 8 ? 1 : -2});
        struct lite_op o = {min ? "ARG_MIN" : "ARG_MAX",
                            min ? 79 : 56,
                            min ? 57 : 40,
                            1,
                            {OPTION(0, 'b', wide ? 4 : 2)},
                            2,
                            1,
                            {&x, &axis},
                            {&y},
                            NULL};
        for (size_t k = 0; k < x.n; k++) {
            x.v[k] = (double)lite_pick(0, 3);
        }
        lite_check(&o, extreme_real, LITE_EXACT);
    }
}

/* ---- Refusals ------------------------------------------------------------------------------- */

static void refusals(void **state)
{
    (void)state;
    struct lite s8 = lite_new(DT_S8, 0.1F, 3, 2, (int64_t[]){2, 3});
    struct lite none = lite_new(DT_S8, 0, 0, 2, (int64_t[]){2, 3});
    struct lite f32 = lite_new(DT_F32, 0, 0, 2, (int64_t[]){2, 3});
    struct lite s16 = lite_new(DT_S16, 0.1F, 0, 2, (int64_t[]){2, 3});
    struct lite axis = lite_list(1, (int32_t[]){1}), far = lite_list(1, (int32_t[]){2});
    struct lite line = lite_new(DT_S8, 0.1F, 3, 1, (int64_t[]){2});
    const struct {
        struct lite_op op;
        int code;
        const char *text;
    } cases[] = {
        {{"DIV", 42, 29, 0, {OPTION(0, 0, 0)}, 2, 1, {&s8, &s8}, {&s8}, NULL},
         E_UNSUPPORTED,
         "division of codes"},
        {{"ADD", 0, 11, 0, {OPTION(0, 0, 0)}, 2, 1, {&s8, &f32}, {&s8}, NULL},
         E_SHAPE,
         "int8 and float32"},
        {{"ADD", 0, 11, 1, {OPTION(0, 'b', 4)}, 2, 1, {&f32, &f32}, {&f32}, NULL},
         E_UNSUPPORTED,
         "fused activation 4"},
        {{"LOGISTIC", 14, 0, 0, {OPTION(0, 0, 0)}, 1, 1, {&none}, {&s8}, NULL},
         E_UNSUPPORTED,
         "without parameters"},
        {{"TANH", 28, 0, 0, {OPTION(0, 0, 0)}, 1, 1, {&s16}, {&s16}, NULL}, E_UNSUPPORTED, "int16"},
        {{"SUM", 74, 27, 0, {OPTION(0, 0, 0)}, 2, 1, {&s8, &axis}, {&line}, NULL},
         E_UNSUPPORTED,
         "sums of int8"},
        {{"MEAN", 40, 27, 0, {OPTION(0, 0, 0)}, 2, 1, {&f32, &far}, {&f32}, NULL}, E_SHAPE, "axis"},
        {{"MEAN", 40, 27, 0, {OPTION(0, 0, 0)}, 2, 1, {&none, &axis}, {&line}, NULL},
         E_UNSUPPORTED,
         "without parameters"},
        {{"SOFTMAX", 25, 9, 0, {OPTION(0, 0, 0)}, 1, 1, {&s16}, {&s16}, NULL},
         E_UNSUPPORTED,
         "int16 to int16"},
        {{"MAX_POOL_2D", 17, 5, 0, {OPTION(0, 0, 0)}, 1, 1, {&f32}, {&f32}, NULL},
         E_SHAPE,
         "rank 2"},
        {{"BATCH_MATMUL", 126, 101, 0, {OPTION(0, 0, 0)}, 2, 1, {&f32, &f32}, {&f32}, NULL},
         E_SHAPE,
         "rows of"},
        {{"BATCH_MATMUL", 126, 101, 0, {OPTION(0, 0, 0)}, 2, 1, {&line, &line}, {&line}, NULL},
         E_SHAPE,
         "rank 1 and 1"},
        {{"CONV_2D", 3, 1, 0, {OPTION(0, 0, 0)}, 2, 1, {&f32, &f32}, {&f32}, NULL},
         E_SHAPE,
         "rank 2"},
        {{"FULLY_CONNECTED", 9, 8, 1, {OPTION(1, 'b', 1)}, 2, 1, {&f32, &f32}, {&f32}, NULL},
         E_UNSUPPORTED,
         "shuffled"},
        {{"ARG_MAX", 56, 40, 0, {OPTION(0, 0, 0)}, 2, 1, {&f32, &far}, {&line}, NULL},
         E_SHAPE,
         "axis"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct lite_op o = cases[i].op;
        lite_refuses(&o, cases[i].code, cases[i].text);
    }
}

static void every_operator_has_a_case(void **state)
{
    (void)state;
    lite_every(op_tfl_unary);
    lite_every(op_tfl_binary);
    lite_every(op_tfl_reduce);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_input),
        cmocka_unit_test(two_inputs),
        cmocka_unit_test(batch_matmul),
        cmocka_unit_test(pools),
        cmocka_unit_test(reductions),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(extremes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_operator_has_a_case),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
