/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * precision.c: the table of precisions that a pinned layer may have, and constants in them.
 */
#include "analysis/analysis.h"
#include "analysis/qedit.h"
#include "analysis/qweight.h"

/* Costs: 8-bit weights are the least traffic; of the halves, bfloat16 needs the smaller multiplier
 * (8 bits against 11). */
const struct precision_row precisions[N_PRECISIONS + 1] = {
    [PREC_FP32] = {"fp32", "FP32", "float32, with the FP32 model's weights", '*', "nothing", "any",
                   false, 32, 32, 3},
    [PREC_FP16] = {"fp16", "FP16", "float16: 11 bits of precision, from 6e-8 to 65504", 'h',
                   "Cast to float16 and back at what the layer reads and makes; its constants are "
                   "rounded to float16",
                   "any", true, 16, 16, 2},
    [PREC_BF16] = {"bf16", "BF16", "bfloat16: 8 bits of precision, the range of float32", 'b',
                   "Cast to bfloat16 and back at what the layer reads and makes; its constants are "
                   "rounded to bfloat16",
                   "opset 13", true, 16, 16, 1},
    [PREC_INT16] = {"int16", "INT16",
                    "16x8: activations in 16 bits, weights in 8 per output channel", 'i',
                    "QuantizeLinear to int16 and back at what the layer reads and makes, symmetric "
                    "over the range of the INT8 codes; weights are rounded to int8 per output "
                    "channel, biases stay",
                    "opset 21, or com.microsoft", true, 8, 16, 0},
    {0},
};

int precision_find(const char *name)
{
    for (int i = 0; i < N_PRECISIONS; i++) {
        if (strcmp(precisions[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- Constants ------------------------------------------------------------------------------ */

/* Sizes and scales of shapes are not part of the arithmetic. Means and variances of a
 * BatchNormalization beside activations of 16 bits stay float32 in libraries (ONNX has types of
 * their own for them), or are folded into the weights; a variance may be far beyond 65504. */
static bool is_parameter(const struct node *n, int slot)
{
    static const char *const keep[] = {"Resize", "Upsample", "Range", "BatchNormalization"};
    bool kept = false;
    for (size_t i = 0; i < COUNT(keep); i++) {
        kept |= strcmp(n->op, keep[i]) == 0;
    }
    return !kept || slot == 0;
}

static float round_half(float x, enum precision as)
{
    return as == PREC_FP16 ? f16_to_f32(f32_to_f16(x)) : bf16_to_f32(f32_to_bf16(x));
}

static int to_half(const struct tensor *t, enum precision as, struct tensor **out, struct err *err)
{
    int rc = tensor_new(DT_F32, t->rank, t->dims, NULL, out, err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        ((float *)(*out)->data)[i] = round_half((float)tensor_f64(t, i), as);
    }
    return rc;
}

/* Symmetric codes of 8 bits per output channel as the reals that they stand for. A scale per
 * channel gives the same codes whether a BatchNormalization behind was folded in or not. */
static int to_codes(const struct tensor *t, int axis, struct tensor **out, struct err *err)
{
    const struct code_choice s8 = {.dtype = DT_S8, .symmetric = true};
    struct coded c = {0};
    int rc = coded_params(t, axis, &s8, &c, err);
    rc = rc ? rc : coded_values(t, axis, &c, err);
    rc = rc ? rc : tensor_new(DT_F32, t->rank, t->dims, NULL, out, err);
    size_t inner = 1;
    for (int d = axis + 1; d < t->rank; d++) {
        inner *= (size_t)t->dims[d];
    }
    for (size_t i = 0; !rc && i < t->n; i++) {
        size_t at = i / inner % c.scale->n;
        ((float *)(*out)->data)[i] =
            (float)tensor_s64(c.codes, i) * ((const float *)c.scale->data)[at];
    }
    coded_fini(&c);
    return rc;
}

int precision_constant(const struct graph *fp32, const struct node *n, int slot,
                       const struct tensor *t, enum precision as, struct tensor **out,
                       struct err *err)
{
    enum { WEIGHTS = 1 };
    *out = NULL;
    if (t->dtype != DT_F32 || as == PREC_FP32 || !is_parameter(n, slot)) {
        return OK;
    }
    if (as != PREC_INT16) {
        return to_half(t, as, out, err);
    }
    int axis = slot == WEIGHTS ? edit_weight_axis(fp32, n) : -1;
    return axis >= 0 ? to_codes(t, axis, out, err) : OK;
}
