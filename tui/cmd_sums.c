/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_sums.c: accumulators: the integer sums of one layer on one image.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/executed.h"

/* Inputs of one executed node, kept during a run. */
struct inputs {
    const struct node *node;
    struct tensor **t;
};

static int inputs_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    (void)err;
    struct inputs *in = ctx;
    for (int k = 0; k < in->node->n_in; k++) {
        if (in->node->in[k] == value && !in->t[k]) {
            in->t[k] = tensor_ref(t);
        }
    }
    return OK;
}

static int accumulate(struct session *s, int node, size_t image, struct accumulators *out,
                      struct err *err)
{
    const struct node *n = &plan_graph(s->plan_int8)->nodes[node];
    size_t n_in = session_inputs(s, NULL, 0), n_taken = (size_t)n->n_in;
    struct tensor **in = mem_alloc((n_in + n_taken + 1) * sizeof *in);
    struct inputs taken = {.node = n, .t = in + n_in};
    struct run_options o = {.tap = inputs_tap, .tap_ctx = &taken};
    int rc = session_int8_sample(s, image, in, err);
    rc = rc ? rc : plan_run(s->plan_int8, (const struct tensor *const *)in, NULL, &o, err);
    rc =
        rc ? rc
           : plan_accumulators(s->plan_int8, node, (const struct tensor *const *)taken.t, out, err);
    for (size_t i = 0; i < n_in + n_taken; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}

static double headroom(const struct acc_stats *a)
{
    double top = fmax((double)a->max, -(double)a->min);
    return top > 0 ? log2(0x1p31 / top) : INFINITY;
}

static json_t *acc_json(const struct accumulators *a, const struct acc_stats *s)
{
    return json_pack(
        "{s:I,s:I,s:I,s:i,s:o,s:I,s:o,s:o,s:o,s:o,s:o}", "outputs", (json_int_t)s->n, "min",
        (json_int_t)s->min, "max", (json_int_t)s->max, "bits", acc_bits(s), "headroom_bits",
        json_num(headroom(s)), "wraps", (json_int_t)s->wraps, "pairs_saturating",
        a->has_pairs ? json_integer((json_int_t)s->pairs) : json_null(), "outputs_with_pairs",
        a->has_pairs ? json_integer((json_int_t)s->pair_outputs) : json_null(), "clipped",
        a->requantizes ? json_integer((json_int_t)s->clipped) : json_null(), "error_mean",
        json_num(s->rounded ? s->error_sum / (double)s->rounded : NAN), "error_max",
        json_num(s->rounded ? s->error_max : NAN));
}

static void acc_text(const struct accumulators *a, FILE *out)
{
    const struct acc_stats *s = &a->all;
    fprintf(out,
            "  %llu sums of %zu products each, from %lld to %lld: %d bits of 32, headroom %.1f\n",
            (unsigned long long)s->n, a->k, (long long)s->min, (long long)s->max, acc_bits(s),
            headroom(s));
    fprintf(out, "  %llu wrap at 32 bits\n", (unsigned long long)s->wraps);
    if (a->has_pairs) {
        fprintf(out, "  %llu pairs in %llu outputs would saturate at 16 bits (u8s8-saturate)\n",
                (unsigned long long)s->pairs, (unsigned long long)s->pair_outputs);
    }
    if (s->rounded + s->clipped) {
        fprintf(out,
                "  requantized: %llu clipped; the others are off by %.4f steps, at most %.4f\n",
                (unsigned long long)s->clipped,
                s->rounded ? s->error_sum / (double)s->rounded : 0.0, s->error_max);
    }
}

static void acc_channels(const struct accumulators *a, FILE *out)
{
    fprintf(out, "%8s %12s %12s %5s %9s %9s %9s %9s %9s\n", "CHANNEL", "MIN", "MAX", "BITS",
            "WRAPS", "PAIRS", "CLIPPED", "ERR MEAN", "ERR MAX");
    for (size_t i = 0; i < a->n_channels; i++) {
        const struct acc_stats *s = &a->channel[i];
        fprintf(out, "%8zu %12lld %12lld %5d %9llu %9llu %9llu %9.4f %9.4f\n", i, (long long)s->min,
                (long long)s->max, acc_bits(s), (unsigned long long)s->wraps,
                (unsigned long long)s->pairs, (unsigned long long)s->clipped,
                s->rounded ? s->error_sum / (double)s->rounded : 0.0, s->error_max);
    }
}

static void acc_report(struct call *c, size_t layer, const struct node *n,
                       const struct accumulators *a)
{
    const struct session *s = c->s;
    char op[64];
    if (!s->json) {
        fprintf(c->out, "%s  runs as %s\n", session_layer_label(s, layer),
                text_safe(op, sizeof op, n->op));
        acc_text(a, c->out);
        if (call_opt(c, "--channels")) {
            acc_channels(a, c->out);
        }
        return;
    }
    json_t *channels = json_array();
    for (size_t i = 0; i < a->n_channels; i++) {
        json_array_append_new(channels, acc_json(a, &a->channel[i]));
    }
    json_t *o = json_pack("{s:o,s:o,s:I,s:o,s:o}", "layer", json_text(s->match.layers[layer].name),
                          "op", json_text(n->op), "products", (json_int_t)a->k, "all",
                          acc_json(a, &a->all), "channels", channels);
    json_numerics(o, s);
    emit_json(c, o);
}

static int exec_accumulators(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t layer, image;
    struct accumulators a = {0};
    int rc = choose_one(c, &layer, &image, err);
    int node = rc ? -1 : session_computing(s, layer);
    const struct graph *x = node >= 0 ? plan_graph(s->plan_int8) : NULL;
    if (!rc && (!x || fused_reason(x, node))) {
        rc = err_set(err, E_STATE, "layer '%s' keeps no integer sums: %s",
                     s->match.layers[layer].name,
                     x ? session_runs_as(s, layer) : "nothing computes it");
    }
    rc = rc ? rc : accumulate(s, node, image, &a, err);
    if (!rc) {
        acc_report(c, layer, &x->nodes[node], &a);
    }
    accumulators_fini(&a);
    return rc;
}

/* ---- Table ------------------------------------------------------------------------------------
 */

static const struct opt_spec accumulator_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "image to run; default: the first, or zeros", NULL},
    {"--channels", ARG_FLAG, NULL, "one line per output channel too", NULL},
    {0},
};

const struct cmd cmd_sums[] = {
    {
        .name = "accumulators",
        .group = "layers",
        .help = "the integer sums of a layer on one image",
        .detail = "Computes an integer convolution or matrix product again in 64 bits from the "
                  "inputs it gets: range of the sums, those that wrap at 32 bits, neighbouring "
                  "products that 16-bit pairs would cut on x86 without VNNI, and how far the codes "
                  "are from the real results, which is what requantization alone costs.",
        .example = "accumulators /stem/Conv",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, false, false}},
        .opts = accumulator_opts,
        .exec = exec_accumulators,
    },
    {0},
};
