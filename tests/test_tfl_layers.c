/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tfl_layers.c: layers with weights of TensorFlow Lite, each as a file of its own, under every
 * numerics: weights by tensor and by channel, codes of 8 and 16 bits, floats, and floats that are
 * quantized on the way. What is wanted is the real convolution or product, quantized.
 */
#include "tests/tfl_fixture.h"

/* A window over x [n,h,w,c] with weights, that of CONV_2D ([o,kh,kw,c]) or DEPTHWISE_CONV_2D
 * ([1,kh,kw,o]). */
static struct lite_axis rows, cols;
static bool deep; /* depthwise */

static double conv_real(const struct lite_op *o, size_t i)
{
    const struct lite *x = o->in[0], *w = o->in[1], *y = o->out[0];
    int c = (int)x->dims[3], filters = (int)y->dims[3], f = (int)i % filters;
    int ox = (int)i / filters % cols.out, oy = (int)i / filters / cols.out % rows.out;
    int image = (int)i / filters / cols.out / rows.out;
    double sum = o->n_in > 2 ? lite_real(o->in[2], (size_t)f) : 0;
    for (int ky = 0; ky < rows.k; ky++) {
        for (int kx = 0; kx < cols.k; kx++) {
            int ay = lite_axis_at(&rows, oy, ky), ax = lite_axis_at(&cols, ox, kx),
                tap = ky * cols.k + kx;
            int from = ((image * rows.in + ay) * cols.in + ax) * c;
            for (int k = 0; k < c && ay >= 0 && ax >= 0; k++) {
                if (deep && k != f / (filters / c)) {
                    continue;
                }
                int at = deep ? tap * filters + f : (f * rows.k * cols.k + tap) * c + k;
                sum += lite_real(x, (size_t)(from + k)) * lite_real(w, (size_t)at);
            }
        }
    }
    return lite_activated(sum);
}

static double connected_real(const struct lite_op *o, size_t i)
{
    size_t depth = (size_t)o->in[1]->dims[1], filters = (size_t)o->in[1]->dims[0];
    double sum = o->n_in > 2 ? lite_real(o->in[2], i % filters) : 0;
    for (size_t k = 0; k < depth; k++) {
        sum += lite_real(o->in[0], i / filters * depth + k) *
               lite_real(o->in[1], i % filters * depth + k);
    }
    return lite_activated(sum);
}

/* Types of a weighted layer: activations, weights by tensor or by channel. */
static const struct weighted {
    enum dtype x, w, bias;
    bool by_channel;
    double slack;
} weighted[] = {
    {DT_F32, DT_F32, DT_F32, false, 1e-5},    {DT_S8, DT_S8, DT_S32, false, LITE_TWICE},
    {DT_S8, DT_S8, DT_S32, true, LITE_TWICE}, {DT_U8, DT_U8, DT_S32, false, LITE_TWICE},
    {DT_S16, DT_S8, DT_S64, true, LITE_WIDE},
};

struct layer {
    struct lite x, w, bias, y;
};

/* Fills a layer whose dims are set: parameters, and biases of scale sx * sw. */
static void layer_fill(struct layer *l, const struct weighted *t, int axis, bool constant)
{
    size_t filters = (size_t)l->y.dims[l->y.rank - 1];
    bool codes = t->w != DT_F32;
    int32_t up = t->x == DT_U8 ? 128 : 0, z = t->x == DT_S16 ? 0 : 1;
    float fine = t->x == DT_S16 ? 1.0F / 256 : 1;
    l->x.dtype = l->y.dtype = t->x;
    l->w.dtype = t->w;
    l->bias = lite_new(t->bias, 0, 0, 1, (int64_t[]){(int64_t)filters});
    l->w.constant = l->bias.constant = constant;
    if (codes) {
        l->x.scale = 0.05F * fine;
        l->x.zero = -7 * z + up;
        l->y.scale = 0.2F * fine;
        l->y.zero = -30 * z + up;
        l->w.scale = t->by_channel ? 0 : 0.02F;
        l->w.zero = t->x == DT_U8 ? 131 : 0;
        l->bias.scale = t->by_channel ? 0 : l->x.scale * l->w.scale;
        l->w.axis = axis;
        l->w.n_scales = l->bias.n_scales = t->by_channel ? filters : 0;
    }
    for (size_t k = 0; k < l->w.n_scales; k++) {
        l->w.scales[k] = 0.01F * (float)(k + 1);
        l->bias.scales[k] = l->x.scale * l->w.scales[k];
    }
    lite_fill(&l->x);
    lite_fill(&l->w);
    for (size_t k = 0; k < filters; k++) {
        l->bias.v[k] = codes ? (double)lite_pick(-2000, 2000) : (double)lite_pick(-512, 512) / 256;
    }
}

static struct lite shaped(int rank, const int64_t *dims)
{
    return lite_new(DT_F32, 0, 0, rank, dims);
}

/* One convolution of both kinds; the i-th way of geometry. */
static void conv_case(const struct weighted *t, int i)
{
    int stride = 1 + i % 2, dilation = i % 4 == 2 ? 2 : 1, act = i % 4, c = 3, m = 1 + i / 4 % 2;
    bool same = i / 2 % 2 == 0, bias = i != 3;
    rows = lite_axis_of(6, 3, stride, dilation, same);
    cols = lite_axis_of(7, 2, stride, dilation, same);
    lite_activation = act;
    for (int k = 0; k < 2; k++) {
        deep = k;
        int64_t filters = deep ? c * m : 5;
        struct layer l = {
            .x = shaped(4, (int64_t[]){2, 6, 7, c}),
            .w = shaped(4, deep ? (int64_t[]){1, 3, 2, filters} : (int64_t[]){filters, 3, 2, c}),
            .y = shaped(4, (int64_t[]){2, rows.out, cols.out, filters})};
        layer_fill(&l, t, deep ? 3 : 0, true);
        struct lite_op o = {
            .n_in = bias ? 3 : 2, .n_out = 1, .in = {&l.x, &l.w, &l.bias}, .out = {&l.y}};
        const struct flat_option fields[] = {OPTION(0, 'b', !same),
                                             OPTION(1, 'i', stride),
                                             OPTION(2, 'i', stride),
                                             OPTION(3, 'i', m),
                                             OPTION((uint16_t)(3 + k), 'b', act),
                                             OPTION((uint16_t)(4 + k), 'i', dilation),
                                             OPTION((uint16_t)(5 + k), 'i', dilation)};
        o.name = deep ? "DEPTHWISE_CONV_2D" : "CONV_2D";
        o.code = deep ? 4 : 3;
        o.options = deep ? 2 : 1;
        for (size_t f = 0; f < COUNT(fields); f++) {
            if (f != 3 || deep) { /* depth_multiplier */
                o.fields[o.n_fields++] = fields[f];
            }
        }
        lite_check(&o, conv_real, t->slack);
    }
}

static void convolutions(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(weighted); k++) {
        for (int i = 0; i < 8; i++) {
            conv_case(&weighted[k], i);
        }
    }
}

static void fully_connected(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(weighted); k++) {
        for (int i = 0; i < 8; i++) {
            bool keep = i / 4, bias = i % 4 != 3;
            struct layer l = {.x = shaped(3, (int64_t[]){2, 3, 20}),
                              .w = shaped(2, (int64_t[]){7, 20}),
                              .y = keep ? shaped(3, (int64_t[]){2, 3, 7})
                                        : shaped(2, (int64_t[]){6, 7})};
            lite_activation = i % 4;
            layer_fill(&l, &weighted[k], 0, true);
            struct lite_op o = {"FULLY_CONNECTED",
                                9,
                                8,
                                2,
                                {OPTION(0, 'b', i % 4), OPTION(2, 'b', keep)},
                                bias ? 3 : 2,
                                1,
                                {&l.x, &l.w, &l.bias},
                                {&l.y},
                                NULL};
            lite_check(&o, connected_real, weighted[k].slack);
        }
    }
}

/* Float activations with int8 weights: what a row holds is quantized to 8 bits on the way, so that
 * a result is off by half a step of the activations for each weight. */
static void hybrid_layers(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const struct weighted t = {DT_F32, DT_S8, DT_F32, i % 2, 0};
        bool conv = i / 2;
        struct layer l = {
            .x = conv ? shaped(4, (int64_t[]){1, 4, 4, 5}) : shaped(2, (int64_t[]){3, 20}),
            .w = conv ? shaped(4, (int64_t[]){6, 1, 1, 5}) : shaped(2, (int64_t[]){6, 20}),
            .y = conv ? shaped(4, (int64_t[]){1, 4, 4, 6}) : shaped(2, (int64_t[]){3, 6})};
        layer_fill(&l, &t, 0, true);
        l.x.scale = l.y.scale = l.bias.scale = 0;
        l.bias.n_scales = 0;
        lite_fill(&l.x);
        lite_fill(&l.bias);
        struct lite_op o = {.n_in = 3,
                            .n_out = 1,
                            .in = {&l.x, &l.w, &l.bias},
                            .out = {&l.y},
                            .name = conv ? "CONV_2D" : "FULLY_CONNECTED",
                            .code = conv ? 3 : 9,
                            .options = conv ? 1 : 8,
                            .n_fields = conv ? 2 : 0,
                            .fields = {OPTION(1, 'i', 1), OPTION(2, 'i', 1)}};
        rows = lite_axis_of(4, 1, 1, 1, true);
        cols = rows;
        deep = false;
        lite_activation = 0;
        double weight = 0, most = 0;
        for (size_t k = 0; k < l.w.n; k++) {
            weight = fmax(weight, fabs(lite_real(&l.w, k)));
        }
        for (size_t k = 0; k < l.x.n; k++) {
            most = fmax(most, fabs(l.x.v[k]));
        }
        double depth = conv ? 5 : 20;
        lite_check(&o, conv ? conv_real : connected_real, depth * weight * most / 127);
    }
}

static void every_layer_has_a_case(void **state)
{
    (void)state;
    lite_every(op_tfl_conv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(fully_connected),
        cmocka_unit_test(hybrid_layers),
        cmocka_unit_test(every_layer_has_a_case),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
