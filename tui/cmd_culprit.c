/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_culprit.c: the explorer of bad images: culprits, coverage, flips.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/lab.h"
#include "tui/sweep_run.h"

enum { WORST = 8, SHOWN = 3 };

static const char *file_of(const struct session *s, size_t image)
{
    return image < s->data.n ? s->data.samples[image].name : "(no input)";
}

static void print_name(FILE *out, const char *name, int width)
{
    char fit[256], safe[256];
    int w = text_fit(fit, sizeof fit, text_safe(safe, sizeof safe, name), width, TEXT_TAIL);
    fprintf(out, "%s%*s", fit, width - w, "");
}

/* ---- The sweep ------------------------------------------------------------------------------ */

struct culprit_job {
    struct sweep *w;
    struct lab *lab;
};

static int culprit_body(struct session *s, void *ctx, struct err *err)
{
    (void)s;
    struct culprit_job *j = ctx;
    int rc = lab_base(j->lab, j->w, err);
    return rc ? rc : lab_measure_all(j->lab, j->w, j->w->n_images, err);
}

static int culprit_finish(struct session *s, void *ctx, struct err *err)
{
    (void)s, (void)err;
    struct culprit_job *j = ctx;
    lab_free(j->lab);
    free(j);
    return OK;
}

static void culprit_summary(const struct session *s, char *dst, size_t size)
{
    const size_t n = s->sweep->base.n;
    snprintf(dst, size, "%zu image%s", n, n == 1 ? "" : "s");
}

static const struct job_kind culprit_kind = {
    .what = "culprits",
    .unit = "runs",
    .short_unit = "runs",
    .body = culprit_body,
    .finish = culprit_finish,
    .summary = culprit_summary,
};

static const struct outcome *judge_by(const struct session *s)
{
    bool labelled = false;
    for (size_t i = 0; i < s->data.n && !labelled; i++) {
        labelled = s->data.samples[i].label >= 0;
    }
    return outcome_find(!s->classify ? "cosine" : labelled ? "top1" : "agreement");
}

/* Takes over images, which are of the data set. */
static int start(struct call *c, size_t n_images, size_t *images, bool background, struct err *err)
{
    struct session *s = c->s;
    size_t n_layers = s->match.n_layers, n, n_rows = 0;
    job_replace(s);
    bool *can = sweep_pinnable(s, &n), *base = session_pins(s);
    size_t *rows = mem_alloc((n_layers + 1) * sizeof *rows);
    for (size_t k = 0; k < n_layers; k++) {
        if (can[k] && !base[k]) {
            rows[n_rows++] = k;
        }
    }
    session_forget_sweep(s);
    s->sweep =
        sweep_new(SWEEP_LOO, judge_by(s), n_layers, n_rows, rows, can, base, n_images, images);
    sweep_pins_in_force(s, s->sweep, PREC_FP32);
    struct culprit_job *j = mem_alloc(sizeof *j);
    const struct lab_options o = {.jobs = s->set.jobs};
    *j = (struct culprit_job){.w = s->sweep, .lab = lab_new(s, s->sweep, &o)};
    free(rows);
    free(base);
    free(can);
    return job_start(s, &culprit_kind, j, 0, background, s->json ? NULL : c->note, err);
}

/* The images asked for: by name, else the worst ones of the run. */
static int choose_images(struct call *c, size_t *n, size_t **list, struct err *err)
{
    struct session *s = c->s;
    int64_t worst;
    int rc = call_int(c, "--worst", WORST, &worst, err);
    if (rc || c->n_args) {
        return rc ? rc : image_lists(s, c->n_args, c->args, n, list, err);
    }
    if (worst < 1 || !s->study || !s->study->n_images) {
        return worst < 1 ? err_set(err, E_USAGE, "--worst is at least 1")
                         : err_set(err, E_STATE, "nothing was run yet: 'run', or name images");
    }
    size_t *order = mem_alloc((s->study->n_images + 1) * sizeof *order);
    study_rank_images(s->study, &image_keys[0], SORT_WORST, order);
    *n = MIN((size_t)worst, s->study->n_images);
    for (size_t i = 0; i < *n; i++) {
        order[i] = s->study->images[order[i]].image;
    }
    *list = order;
    return OK;
}

/* ---- Reports -------------------------------------------------------------------------------- */

static json_t *suspect_json(const struct session *s, size_t trial, size_t image)
{
    const struct trial *t = &s->sweep->trials[trial];
    return json_pack("{s:o,s:o,s:b}", "layer", json_text(s->match.layers[t->layer].name),
                     "recovers", json_num(100 * culprit_share(s->sweep, t, image)), "fixes",
                     culprit_fixes(s->sweep, t, image));
}

static void print_suspects(const struct session *s, FILE *out, size_t image, size_t n,
                           const size_t *trials)
{
    print_name(out, file_of(s, s->sweep->images[image]), 26);
    fprintf(out, " %7.1f ", 100 * (1 - s->sweep->base.likeness[image]));
    for (size_t i = 0; i < MIN(n, (size_t)SHOWN); i++) {
        const struct trial *t = &s->sweep->trials[trials[i]];
        fprintf(out, "%s%s %.0f %%%s", i ? ", " : "", session_layer_label(s, t->layer),
                100 * culprit_share(s->sweep, t, image),
                culprit_fixes(s->sweep, t, image) ? " FIXES" : "");
    }
    fprintf(out, "%s\n", n ? "" : "no single layer");
}

/* Images by the layer that ruins them most: owner[image] is a trial, SIZE_MAX none. */
static void report_clusters(struct call *c, const size_t *owner, json_t *out)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    for (size_t t = 0; t < w->n_trials; t++) {
        size_t n = 0, fixed = 0;
        json_t *files = json_array();
        for (size_t i = 0; i < w->base.n; i++) {
            if (owner[i] == t) {
                n++;
                json_array_append_new(files, json_text(file_of(s, w->images[i])));
            }
            fixed += culprit_fixes(w, &w->trials[t], i);
        }
        if (n && !s->json) {
            fprintf(c->out, "%s ruins %zu of %zu images most, and is enough to mend %zu:",
                    session_layer_label(s, w->trials[t].layer), n, w->base.n, fixed);
            for (size_t i = 0; i < n; i++) {
                char safe[256];
                fprintf(c->out, " %s",
                        text_safe(safe, sizeof safe, json_string_value(json_array_get(files, i))));
            }
            fputc('\n', c->out);
        }
        if (n) {
            json_array_append_new(out,
                                  json_pack("{s:o,s:O,s:I}", "layer",
                                            json_text(s->match.layers[w->trials[t].layer].name),
                                            "images", files, "fixes", (json_int_t)fixed));
        }
        json_decref(files);
    }
}

static int report(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    const struct sweep *w = s->sweep;
    if (!w || !sweep_is_gain(w) || !w->base.n) {
        return err_set(err, E_STATE, "no layer was put back to FP32 alone yet: 'culprits'");
    }
    size_t *trials = mem_alloc((w->n_trials + 1) * sizeof *trials);
    size_t *owner = mem_alloc((w->base.n + 1) * sizeof *owner);
    json_t *images = json_array(), *clusters = json_array();
    if (!s->json) {
        fprintf(c->out, "%-26s %7s %s\n", "IMAGE", "LOST %", "WHAT ONE LAYER IN FP32 BRINGS BACK");
    }
    for (size_t i = 0; i < w->base.n; i++) {
        size_t n = culprits_of_image(w, i, trials);
        json_t *list = json_array();
        owner[i] = n ? trials[0] : SIZE_MAX;
        for (size_t k = 0; k < n; k++) {
            json_array_append_new(list, suspect_json(s, trials[k], i));
        }
        json_array_append_new(
            images, json_pack("{s:o,s:o,s:o}", "file", json_text(file_of(s, w->images[i])), "lost",
                              json_num(100 * (1 - w->base.likeness[i])), "culprits", list));
        if (!s->json) {
            print_suspects(s, c->out, i, n, trials);
        }
    }
    report_clusters(c, owner, clusters);
    if (s->json) {
        emit_json(c, json_pack("{s:s,s:O,s:O}", "metric", w->outcome->name, "images", images,
                               "clusters", clusters));
    }
    json_decref(images);
    json_decref(clusters);
    free(owner);
    free(trials);
    return OK;
}

/* ---- Commands ------------------------------------------------------------------------------- */

static int exec_culprits(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t n = 0, *images = NULL;
    bool background = s->screen || c->background;
    if (call_opt(c, "--show")) {
        return report(c, err);
    }
    int rc = gaps_block_output(s)
                 ? err_set(err, E_UNSUPPORTED, "the outputs cannot be computed: 'info' says why")
                 : choose_images(c, &n, &images, err);
    rc = rc ? rc : start(c, n, images, background, err);
    if (!rc && background) {
        fprintf(c->note, "culprits #%d started on %zu images\n", s->job.id, n);
        return OK;
    }
    return rc ? rc : report(c, err);
}

static int exec_coverage(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const struct study *t = s->study;
    int64_t top;
    int rc = call_int(c, "--top", s->set.top, &top, err);
    size_t *order = mem_alloc((t->n_images + 1) * sizeof *order), outside = 0;
    size_t *layer = mem_alloc((t->n_layers + 1) * sizeof *layer);
    json_t *images = json_array(), *layers = json_array();
    study_rank_images(t, image_key_find("beyond"), SORT_WORST, order);
    for (size_t i = 0; i < t->n_images; i++) {
        const struct image_score *x = &t->images[order[i]];
        outside += x->beyond > 0;
        if (x->beyond > 0) {
            layer[x->beyond_layer]++;
            json_array_append_new(
                images,
                json_pack("{s:o,s:o,s:I,s:o}", "file", json_text(file_of(s, x->image)), "beyond",
                          json_num(x->beyond), "layers", (json_int_t)x->beyond_layers,
                          "worst_layer", json_text(s->match.layers[x->beyond_layer].name)));
        }
        if (!s->json && x->beyond > 0 && (top <= 0 || i < (size_t)top)) {
            print_name(c->out, file_of(s, x->image), 26);
            char label[64];
            session_layer_short(s, (size_t)x->beyond_layer, label, sizeof label, 34);
            fprintf(c->out, " %8.4f %% beyond in %3zu layer%s, most in %s\n", x->beyond,
                    x->beyond_layers, x->beyond_layers == 1 ? "" : "s", label);
        }
    }
    for (size_t k = 0; k < t->n_layers; k++) {
        if (layer[k]) {
            json_array_append_new(layers, json_pack("{s:o,s:I}", "layer",
                                                    json_text(s->match.layers[k].name), "images",
                                                    (json_int_t)layer[k]));
        }
    }
    if (s->json && !rc) {
        emit_json(c, json_pack("{s:I,s:I,s:O,s:O}", "measured_images", (json_int_t)t->n_images,
                               "outside", (json_int_t)outside, "images", images, "layers", layers));
    } else if (!rc) {
        fprintf(c->out, "%zu of %zu images have values outside of the calibrated ranges\n", outside,
                t->n_images);
    }
    json_decref(images);
    json_decref(layers);
    free(layer);
    free(order);
    return rc;
}

static int exec_flips(struct call *c, struct err *err)
{
    (void)err;
    const struct study *t = c->s->study;
    double p = mcnemar(t->lost, t->gained);
    if (c->s->json) {
        emit_json(c, json_pack("{s:I,s:I,s:I,s:o,s:o}", "measured_images",
                               (json_int_t)(t->n_images - t->failed), "lost", (json_int_t)t->lost,
                               "gained", (json_int_t)t->gained, "mcnemar_p", json_num(p),
                               "significant", json_boolean(p < 0.05)));
    } else {
        fprintf(c->out,
                "%zu lost, %zu gained of %zu images: McNemar p = %.4g, %s on images like these\n",
                t->lost, t->gained, t->n_images - t->failed, p,
                p < 0.05 ? "INT8 is another model" : "INT8 need not be worse or better");
    }
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec culprits_opts[] = {
    {"--worst", ARG_COUNT, "N", "the N worst images of the run (8)", NULL},
    {"--show", ARG_FLAG, NULL, "what the last one, sensitivity or search has found", NULL},
    {0},
};

static const struct opt_spec coverage_opts[] = {
    {"--top", ARG_COUNT, "N", "only the first N rows", NULL},
    {0},
};

const struct cmd cmd_culprit[] = {
    {
        .name = "culprits",
        .group = "images",
        .help = "which layers ruin an image, and which images a layer ruins",
        .detail =
            "Puts every layer back to FP32 alone on these images. A layer is to blame for the "
            "share of the loss that comes back on that image: of the likeness of the class "
            "distributions, exp(-KL), or of the cosine of the outputs. Images are grouped by the "
            "layer that is to blame most.",
        .example = "culprits @1 @2",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .args = {{"IMAGE", ARG_IMAGE, NULL, true, true}},
        .opts = culprits_opts,
        .exec = exec_culprits,
    },
    {
        .name = "coverage",
        .group = "images",
        .help = "images with values outside of the ranges that calibration chose",
        .detail = "Of the activations of quantized layers, the share beyond the lowest or highest "
                  "code: calibration has seen nothing like it, or has cut it off.",
        .example = "coverage --top 5",
        .needs = NEED_PAIR | NEED_RUN,
        .opts = coverage_opts,
        .exec = exec_coverage,
    },
    {
        .name = "flips",
        .group = "images",
        .help = "images lost and gained, and whether that can be chance (McNemar's test)",
        .example = "flips",
        .needs = NEED_PAIR | NEED_RUN,
        .exec = exec_flips,
    },
    {0},
};
