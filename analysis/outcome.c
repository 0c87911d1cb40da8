/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * outcome.c: THE table of outcomes: what a model achieves on a set of images, judged by its outputs
 * alone. Sweeps, the search for pins and `evaluate` all read it.
 */
#include "analysis/analysis.h"

#include <math.h>

/* A share of images: hits against images that count. */
static bool share(bool counts, bool hit, double t[2])
{
    t[0] = hit;
    t[1] = 1;
    return counts;
}

static bool mean(double v, double t[2])
{
    t[0] = v;
    t[1] = 1;
    return !isnan(v);
}

static bool terms_top1(const struct image_score *s, enum side side, double t[2])
{
    int found = side == SIDE_FP32 ? s->fp32_top1 : s->int8_top1;
    return share(s->label >= 0 && s->fp32_top1 >= 0, found == s->label, t);
}

static bool terms_top5(const struct image_score *s, enum side side, double t[2])
{
    int before = side == SIDE_FP32 ? s->fp32_rank : s->int8_rank;
    return share(s->label >= 0 && before >= 0, before < 5, t);
}

static bool terms_agreement(const struct image_score *s, enum side side, double t[2])
{
    return share(s->fp32_top1 >= 0, side == SIDE_FP32 || s->fp32_top1 == s->int8_top1, t);
}

static bool terms_sqnr(const struct image_score *s, enum side side, double t[2])
{
    t[0] = s->signal;
    t[1] = side == SIDE_FP32 ? 0 : s->noise;
    return !isnan(s->sqnr);
}

static bool terms_cosine(const struct image_score *s, enum side side, double t[2])
{
    return mean(side == SIDE_FP32 ? 1 : s->cosine, t);
}

static bool terms_mse(const struct image_score *s, enum side side, double t[2])
{
    return mean(side == SIDE_FP32 ? 0 : s->mse, t);
}

static bool terms_psnr(const struct image_score *s, enum side side, double t[2])
{
    t[0] = s->range * s->range;
    t[1] = side == SIDE_FP32 ? 0 : s->mse;
    return !isnan(s->mse) && isfinite(s->range);
}

static bool terms_kl(const struct image_score *s, enum side side, double t[2])
{
    return mean(side == SIDE_FP32 && !isnan(s->kl) ? 0 : s->kl, t);
}

static double value_percent(const double t[2])
{
    return t[1] > 0 ? 100 * t[0] / t[1] : NAN;
}

static double value_mean(const double t[2])
{
    return t[1] > 0 ? t[0] / t[1] : NAN;
}

static double value_sqnr(const double t[2])
{
    return t[0] > 0 || t[1] > 0 ? sqnr_db(t[0], t[1]) : NAN;
}

const struct outcome outcomes[N_OUTCOMES + 1] = {
    {
        .name = "top1",
        .title = "TOP-1",
        .unit = "%",
        .digits = 2,
        .higher_is_better = true,
        .counts = true,
        .terms = terms_top1,
        .value = value_percent,
        .help = "labelled images that are classified as their label says",
        .formula = "100 count(top-1 = label) / count(labelled)",
    },
    {
        .name = "top5",
        .title = "TOP-5",
        .unit = "%",
        .digits = 2,
        .higher_is_better = true,
        .counts = true,
        .terms = terms_top5,
        .value = value_percent,
        .help = "labelled images whose label is among the five largest values",
        .formula = "100 count(fewer than 5 classes above the label) / count(labelled)",
    },
    {
        .name = "agreement",
        .title = "AGREE",
        .unit = "%",
        .digits = 2,
        .higher_is_better = true,
        .counts = true,
        .terms = terms_agreement,
        .value = value_percent,
        .help = "images that get the class that FP32 gives them",
        .formula = "100 count(top-1 = top-1 of FP32) / n",
    },
    {
        .name = "sqnr",
        .title = "SQNR",
        .unit = "dB",
        .digits = 2,
        .higher_is_better = true,
        .terms = terms_sqnr,
        .value = value_sqnr,
        .help = "outputs of FP32 against their error, over all images together",
        .formula = "10 log10(sum x^2 / sum (x-y)^2)",
    },
    {
        .name = "cosine",
        .title = "COSINE",
        .unit = "",
        .digits = 6,
        .higher_is_better = true,
        .terms = terms_cosine,
        .value = value_mean,
        .help = "direction of the outputs, mean over images; 1 is ideal",
        .formula = "mean(sum x y / (|x| |y|))",
    },
    {
        .name = "mse",
        .title = "MSE",
        .unit = "",
        .digits = 6,
        .higher_is_better = false,
        .terms = terms_mse,
        .value = value_mean,
        .help = "mean squared error of the outputs, mean over images",
        .formula = "mean(sum (x-y)^2 / n)",
    },
    {
        .name = "psnr",
        .title = "PSNR",
        .unit = "dB",
        .digits = 2,
        .higher_is_better = true,
        .terms = terms_psnr,
        .value = value_sqnr,
        .help = "range of the outputs of FP32 against their mean squared error, over all images",
        .formula = "10 log10(sum (max x - min x)^2 / sum mse)",
    },
    {
        .name = "kl",
        .title = "KL",
        .unit = "nats",
        .digits = 6,
        .higher_is_better = false,
        .terms = terms_kl,
        .value = value_mean,
        .help = "divergence of the class distributions, mean over images",
        .formula = "mean(sum p log(p/q))",
    },
    {0},
};

static bool terms_own(const struct image_score *s, enum side side, double t[2])
{
    t[0] = s->own[side];
    t[1] = 1;
    return true; /* what is not known makes the mean unknown */
}

struct outcome outcome_own(const char *name, const char *unit, bool higher_is_better,
                           const char *help)
{
    return (struct outcome){
        .name = name,
        .title = name,
        .unit = unit,
        .digits = 6,
        .higher_is_better = higher_is_better,
        .terms = terms_own,
        .value = value_mean,
        .help = help,
        .formula = "mean over images of what the command prints",
    };
}

bool outcome_is_own(const struct outcome *o)
{
    return o->terms == terms_own;
}

size_t outcome_place(const struct outcome *o)
{
    return outcome_is_own(o) ? N_OUTCOMES : (size_t)(o - outcomes);
}

const struct outcome *outcome_find(const char *name)
{
    for (const struct outcome *o = outcomes; o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            return o;
        }
    }
    return NULL;
}

double outcome_value(const struct outcome *o, size_t n, const struct image_score *s, enum side side)
{
    double sum[2] = {0, 0}, t[2];
    for (size_t i = 0; i < n; i++) {
        if (s[i].ok && o->terms(&s[i], side, t)) {
            sum[0] += t[0];
            sum[1] += t[1];
        }
    }
    return o->value(sum);
}
