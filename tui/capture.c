/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * capture.c: one layer of one image, kept with its values for the feature map.
 */
#include "tui/tui.h"

void session_capture_clear(struct session *s)
{
    tensor_free(s->capture.fp32);
    tensor_free(s->capture.int8);
    tensor_free(s->capture.codes);
    layer_stats_fini(&s->capture.stats);
    s->capture = (struct capture){0};
}

struct capturing {
    size_t layer;
    struct tensor *side[2];
};

static int capture_keep(void *ctx, size_t layer, enum side side, const struct tensor *t,
                        struct err *err)
{
    (void)err;
    struct capturing *c = ctx;
    if (layer == c->layer && !c->side[side]) {
        c->side[side] = tensor_ref(t);
    }
    return OK;
}

int session_capture(struct session *s, size_t layer, size_t image, struct err *err)
{
    const struct layer *l = &s->match.layers[layer];
    struct capturing c = {.layer = layer};
    struct run_hooks hooks = {.keep = capture_keep, .ctx = &c};
    struct image_result r;
    image_result_init(&r, s->match.n_layers);
    int rc = run_image(s, image, &hooks, NULL, &r, err);
    bool quantized = l->quantized && c.side[SIDE_INT8] && !dtype_is_float(c.side[SIDE_INT8]->dtype);
    struct capture cap = {.layer = layer, .image = image};
    layer_stats_init(&cap.stats);
    if (!rc && s->pair && (!c.side[SIDE_FP32] || !c.side[SIDE_INT8])) {
        rc = err_set(err, E_STATE, "layer '%s' was not computed on both sides", l->name);
    }
    if (!rc && s->pair) {
        rc = layer_stats_add(&cap.stats, c.side[SIDE_FP32], c.side[SIDE_INT8],
                             quantized ? &l->q : NULL, l->channel_axis, true, err);
    }
    for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc && !s->pair; side++) {
        if (c.side[side]) { /* whole numbers are kept as well, with nothing to count */
            layer_stats_alone(&cap.stats, side, c.side[side],
                              side == SIDE_INT8 && quantized ? &l->q : NULL, l->channel_axis, NULL);
        }
    }
    if (!rc && c.side[SIDE_FP32]) {
        rc = tensor_to_f32(c.side[SIDE_FP32], NULL, &cap.fp32, err);
    }
    if (!rc && c.side[SIDE_INT8]) {
        rc = quantized ? quant_dequantize(c.side[SIDE_INT8], &l->q, NULL, &cap.int8, err)
                       : tensor_to_f32(c.side[SIDE_INT8], NULL, &cap.int8, err);
        cap.codes = quantized ? tensor_ref(c.side[SIDE_INT8]) : NULL;
    }
    session_capture_clear(s);
    s->capture = cap;
    if (rc) {
        session_capture_clear(s);
    }
    tensor_free(c.side[0]);
    tensor_free(c.side[1]);
    image_result_fini(&r, s->match.n_layers);
    return rc;
}
