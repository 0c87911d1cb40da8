/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * metric.c: every metric function and THE metric table. A metric is a function of the sums of
 * stats.c and a row; column, sort key, JSON field, completion and help follow from the row.
 * x is the FP32 activation, y the dequantized INT8 one, e = x - y, n the number of values.
 */
#include "analysis/analysis.h"

#include <math.h>

double sqnr_db(double signal, double noise)
{
    if (noise == 0) {
        return INFINITY;
    }
    return signal > 0 ? 10 * log10(signal / noise) : NAN;
}

static double metric_sqnr(const struct sums *s, double scale)
{
    (void)scale;
    return s->n ? sqnr_db(s->xx, s->ee) : NAN;
}

static double metric_nsr(const struct sums *s, double scale)
{
    (void)scale;
    return s->xx > 0 ? s->ee / s->xx : NAN;
}

static double metric_cosine(const struct sums *s, double scale)
{
    (void)scale;
    /* Two roots, since the product of the sums of squares may overflow or underflow. */
    double norm = sqrt(s->xx) * sqrt(s->yy);
    return norm > 0 ? fmax(-1, fmin(1, s->xy / norm)) : NAN;
}

static double metric_mse(const struct sums *s, double scale)
{
    (void)scale;
    return s->n ? s->ee / (double)s->n : NAN;
}

static double metric_rmse(const struct sums *s, double scale)
{
    return sqrt(metric_mse(s, scale));
}

static double metric_mae(const struct sums *s, double scale)
{
    (void)scale;
    return s->n ? s->ae / (double)s->n : NAN;
}

static double metric_max_abs(const struct sums *s, double scale)
{
    (void)scale;
    return s->n ? s->max_abs : NAN;
}

static double metric_rmse_scale(const struct sums *s, double scale)
{
    return scale > 0 ? metric_rmse(s, scale) / scale : NAN;
}

static double percent(uint64_t part, const struct sums *s)
{
    return s->n ? 100.0 * (double)part / (double)s->n : NAN;
}

/* Without integers there is no end of range to lie beyond. */
static double metric_saturation_low(const struct sums *s, double scale)
{
    return scale > 0 ? percent(s->sat_low, s) : s->n ? 0 : NAN;
}

static double metric_saturation_high(const struct sums *s, double scale)
{
    return scale > 0 ? percent(s->sat_high, s) : s->n ? 0 : NAN;
}

static double metric_zeros(const struct sums *s, double scale)
{
    (void)scale;
    return percent(s->zeros, s);
}

/* Known to sweeps and verdicts, not to the sums of a comparison. */
static double metric_elsewhere(const struct sums *s, double scale)
{
    (void)s, (void)scale;
    return NAN;
}

const struct metric metrics[] = {
    {
        .name = "sqnr",
        .unit = "dB",
        .title = "SQNR",
        .digits = 2,
        .higher_is_better = true,
        .value = metric_sqnr,
        .help = "signal to quantization noise; 6 dB a bit, above 30 dB rarely matters",
        .formula = "10 log10(sum x^2 / sum (x-y)^2), sums pooled over values and images",
    },
    {
        .name = "cosine",
        .unit = "",
        .title = "COSINE",
        .digits = 5,
        .higher_is_better = true,
        .value = metric_cosine,
        .help = "direction of the whole tensor; 1 is ideal, blind to a common factor",
        .formula = "sum x y / (|x| |y|)",
    },
    {
        .name = "mse",
        .unit = "",
        .title = "MSE",
        .digits = 6,
        .higher_is_better = false,
        .value = metric_mse,
        .help = "mean squared error in the activation's own units; 0 is ideal",
        .formula = "sum (x-y)^2 / n",
    },
    {
        .name = "max_abs",
        .unit = "",
        .title = "MAX|E|",
        .digits = 4,
        .higher_is_better = false,
        .value = metric_max_abs,
        .help = "largest absolute error of one value; half a scale is ideal",
        .formula = "max |x-y|",
    },
    {
        .name = "rmse_scale",
        .unit = "LSB",
        .title = "R/S",
        .digits = 2,
        .higher_is_better = false,
        .value = metric_rmse_scale,
        .help = "RMSE in steps of the scale; 0.29 = 1/sqrt(12) is perfect rounding",
        .formula = "sqrt(sum (x-y)^2 / n) / scale",
    },
    {
        .name = "saturation_low",
        .unit = "%",
        .title = "SATLO%",
        .digits = 2,
        .higher_is_better = false,
        .value = metric_saturation_low,
        .help = "FP32 values below the low end of the integer range; 0 is ideal",
        .formula = "100 count(x < (qmin - z) s) / n",
    },
    {
        .name = "saturation_high",
        .unit = "%",
        .title = "SATHI%",
        .digits = 2,
        .higher_is_better = false,
        .value = metric_saturation_high,
        .help = "FP32 values above the high end of the integer range; 0 is ideal",
        .formula = "100 count(x > (qmax - z) s) / n",
    },
    {
        .name = "zeros",
        .unit = "%",
        .title = "ZERO%",
        .digits = 1,
        .higher_is_better = false,
        .value = metric_zeros,
        .help = "INT8 values that are exactly zero; far more than in FP32 means a coarse scale",
        .formula = "100 count(y = 0) / n",
    },
    {
        .name = "nsr",
        .unit = "",
        .title = "NSR",
        .digits = 5,
        .higher_is_better = false,
        .value = metric_nsr,
        .help = "noise to signal power; 0.1 is bad for classification, 0.001 for images",
        .formula = "sum (x-y)^2 / sum x^2",
    },
    {
        .name = "rmse",
        .unit = "",
        .title = "RMSE",
        .digits = 5,
        .higher_is_better = false,
        .value = metric_rmse,
        .help = "root of the mean squared error, in the activation's units",
        .formula = "sqrt(sum (x-y)^2 / n)",
    },
    {
        .name = "mae",
        .unit = "",
        .title = "MAE",
        .digits = 5,
        .higher_is_better = false,
        .value = metric_mae,
        .help = "mean absolute error, in the activation's units",
        .formula = "sum |x-y| / n",
    },
    {
        .name = "local_sqnr",
        .unit = "dB",
        .title = "LOCAL",
        .digits = 2,
        .higher_is_better = true,
        .value = metric_sqnr,
        .of = METRIC_LOCAL,
        .help = "SQNR of the layer alone, on FP32 activations through its own input quantizers",
        .formula = "10 log10(sum x^2 / sum (x-y)^2), y of the lone INT8 layer",
    },
    {
        .name = "weight_sqnr",
        .unit = "dB",
        .title = "WEIGHT",
        .digits = 2,
        .higher_is_better = true,
        .value = metric_sqnr,
        .of = METRIC_WEIGHTS,
        .help = "SQNR of the weights that INT8 multiplies by; needs no run",
        .formula = "10 log10(sum w^2 / sum (w-v)^2), v the dequantized weights",
    },
    {
        .name = "only_effect",
        .unit = "",
        .title = "ONLY",
        .digits = 3,
        .higher_is_better = true,
        .value = metric_elsewhere,
        .of = METRIC_ONLY,
        .help = "outcome with only this layer in INT8; of the last sweep of that kind",
        .formula = "outcome(all FP32 but this layer)",
    },
    {
        .name = "loo_gain",
        .unit = "",
        .title = "LOO",
        .digits = 3,
        .higher_is_better = false,
        .value = metric_elsewhere,
        .of = METRIC_LOO,
        .help = "what this layer in FP32 gains the outcome; of the last sweep of that kind",
        .formula = "outcome(pins and this layer) - outcome(pins), better is positive",
    },
    {
        .name = "verdict",
        .unit = "",
        .title = "VERDICT",
        .digits = 0,
        .higher_is_better = false,
        .value = metric_elsewhere,
        .of = METRIC_VERDICT,
        .help = "what is wrong with the layer in a word; 'verdicts' lists the words",
        .formula = "cause of the largest part of its noise",
    },
    {
        .name = "cause",
        .unit = "",
        .title = "CAUSE",
        .digits = 0,
        .higher_is_better = false,
        .value = metric_elsewhere,
        .of = METRIC_VERDICT,
        .help = "the verdict in a sentence; sorts as the verdict does",
        .formula = "as verdict",
    },
    {
        .name = "evidence",
        .unit = "",
        .title = "EVIDENCE",
        .digits = 0,
        .higher_is_better = false,
        .value = metric_elsewhere,
        .of = METRIC_VERDICT,
        .help = "the figures behind the verdict; sorts as the verdict does",
        .formula = "shares of the local noise: clip + round + rest = 100 %",
    },
    {0},
};

const struct metric *metric_find(const char *name)
{
    for (const struct metric *m = metrics; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}
