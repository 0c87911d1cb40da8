/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_run.c: run and evaluate: both models over images.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/own_metric.h"
#include "tui/tui.h"

/* Which images: named ones, else all; no more than --limit says. */
static int choose_images(struct call *c, size_t *n, size_t **list, struct err *err)
{
    struct session *s = c->s;
    int64_t limit;
    int rc = call_int(c, "--limit", 0, &limit, err);
    if (rc) {
        return rc;
    }
    if (c->n_args) {
        rc = image_lists(s, c->n_args, c->args, n, list, err);
        if (rc) {
            return rc;
        }
    } else {
        *n = MAX(s->data.n, (size_t)1); /* a model without inputs runs once on nothing */
        *list = mem_alloc(*n * sizeof **list);
        for (size_t i = 0; i < *n; i++) {
            (*list)[i] = i;
        }
    }
    if (limit > 0) {
        *n = MIN(*n, (size_t)limit);
    }
    return OK;
}

static json_t *run_json(const struct session *s)
{
    const struct study *t = s->study;
    json_t *failed = json_array();
    for (size_t i = 0; i < t->n_images; i++) {
        if (!t->images[i].ok) {
            json_array_append_new(failed,
                                  json_pack("{s:o,s:o}", "file",
                                            json_text(s->data.samples[t->images[i].image].name),
                                            "error", json_text(t->images[i].error)));
        }
    }
    json_t *o =
        json_pack("{s:I,s:I,s:o,s:o,s:o,s:I,s:I}", "images", (json_int_t)(t->n_images - t->failed),
                  "labelled", (json_int_t)t->labelled, "failed", failed, "fp32_accuracy",
                  json_num(study_accuracy(t, SIDE_FP32)), "int8_accuracy",
                  json_num(study_accuracy(t, SIDE_INT8)), "lost", (json_int_t)t->lost, "gained",
                  (json_int_t)t->gained);
    json_numerics(o, s);
    return o;
}

/* Nodes that were refused only when they ran: one line, with the first reason. Returns on how many
 * images. */
static size_t tell_refused(const struct study *t, FILE *note)
{
    char why[400];
    size_t n = 0;
    const char *first = NULL;
    for (size_t i = 0; i < t->n_images; i++) {
        n += t->images[i].ok && t->images[i].error;
        first = first || !t->images[i].ok ? first : t->images[i].error;
    }
    if (n) {
        fprintf(note, "on %zu of %zu images a node did not run, nor what is behind it: %s\n", n,
                t->n_images, text_safe(why, sizeof why, first));
    }
    return n;
}

/* Labels that are one off, or images that are not what the model was trained on, make every figure
 * of accuracy nonsense. */
static void tell_labels(const struct study *t, FILE *note)
{
    size_t right;
    int shift = study_label_shift(t, &right);
    if (shift) {
        fprintf(note,
                "labels look one off: FP32 is right on %zu of %zu images, and on %zu with %d added "
                "to every label (dataset add --label-offset)\n",
                t->fp32_right, t->labelled, right, shift);
    } else if (study_by_chance(t)) {
        fprintf(
            note,
            "FP32 is right on %zu of %zu images, no more than by chance: are they prepared as in "
            "training (preprocess), are the labels those of the model?\n",
            t->fp32_right, t->labelled);
    }
}

/* Images on another scale than the calibration images were are the usual reason why a model that
 * was right elsewhere is wrong here: codes of the input that are nearly all unused, or too few. */
static void tell_scale(const struct session *s, FILE *note)
{
    enum { FAR = 16 };
    const struct study *t = s->study;
    const struct preprocess *p = &s->pp;
    double lo = INFINITY, hi = -INFINITY;
    struct range_use use;
    if (!s->int8 || !t->n_images || t->images[0].image >= s->data.n ||
        !sample_pictured(&s->data.samples[t->images[0].image])) {
        return;
    }
    for (size_t k = 0; k < COUNT(p->mean); k++) {
        lo = fmin(lo, (0 - p->mean[k]) / p->std[k]);
        hi = fmax(hi, (p->range - p->mean[k]) / p->std[k]);
    }
    if (range_of_input(s->int8, lo, hi, &use) && (use.cover > FAR || use.cover < 1.0 / FAR)) {
        fprintf(note,
                "images are %g..%g as 'preprocess' makes them, the codes of the INT8 model's "
                "input are for %.4g..%.4g: range, mean and std seem to be others\n",
                lo, hi, use.lo, use.hi);
    }
}

static void run_text(const struct session *s, FILE *out, FILE *note)
{
    const struct study *t = s->study;
    char name[256], why[400];
    enum { TOLD = 10 };
    size_t told = 0;
    for (size_t i = 0; i < t->n_images && told < TOLD; i++) {
        if (!t->images[i].ok) {
            fprintf(note, "skipped %s: %s\n",
                    text_safe(name, sizeof name, s->data.samples[t->images[i].image].name),
                    text_safe(why, sizeof why, t->images[i].error));
            told++;
        }
    }
    if (t->failed > told) {
        fprintf(note, "skipped %zu more; 'images' says why\n", t->failed - told);
    }
    size_t refused = tell_refused(t, note);
    tell_labels(t, note);
    tell_scale(s, note);
    const size_t n = t->n_images - t->failed;
    fprintf(out, "%zu image%s", n, n == 1 ? "" : "s");
    if (t->failed) {
        fprintf(out, ", %zu failed", t->failed);
    }
    if (gaps_block_output(s) || (refused && refused == t->n_images - t->failed)) {
        fprintf(out, "; outputs are not computed");
    } else if (s->pair && t->labelled) {
        double a = study_accuracy(t, SIDE_FP32), b = study_accuracy(t, SIDE_INT8);
        fprintf(out, "; top-1 FP32 %.2f %%, INT8 %.2f %% (%+.2f points; %zu lost, %zu gained)", a,
                b, b - a, t->lost, t->gained);
    } else if (t->labelled) {
        double one = study_accuracy(t, s->fp32 ? SIDE_FP32 : SIDE_INT8);
        fprintf(out, "; top-1 %s %.2f %%", s->fp32 ? "FP32" : "INT8", one);
    } else if (s->pair && s->classify) {
        fprintf(out, "; top-1 differs on %zu", t->lost);
    }
    fprintf(out, "; numerics %s\n", session_numerics(s));
}

static void report_run(struct call *c)
{
    struct session *s = c->s;
    if (s->json) {
        emit_one(c, run_json(s));
        run_text(s, c->note, c->note);
    } else {
        run_text(s, c->out, c->note);
    }
}

static int exec_run(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t n, *list;
    int64_t jobs;
    int rc = call_int(c, "--jobs", s->set.jobs, &jobs, err);
    if (!rc && (jobs < 1 || jobs > 256)) {
        rc = err_set(err, E_USAGE, "--jobs is 1 to 256, found %lld", (long long)jobs);
    }
    rc = rc ? rc : gaps_check(s, err);
    rc = rc ? rc : choose_images(c, &n, &list, err);
    if (rc) {
        return rc;
    }
    int before = s->set.jobs;
    bool background = s->screen || c->background;
    s->set.jobs = (int)jobs;
    rc = run_start(s, n, list, background, s->json ? NULL : c->note, err);
    s->set.jobs = before;
    if (background) {
        if (!rc) {
            fprintf(c->note, "run #%d started on %zu images\n", s->job.id, n);
        }
        return rc;
    }
    /* What is done is kept and reported, also after ^C. */
    if (s->study->n_images) {
        report_run(c);
    }
    return rc;
}

static int exec_wait(struct call *c, struct err *err)
{
    struct job *j = &c->s->job;
    char words[512];
    int rc = job_wait(c->s, err);
    bool run = j->kind && strcmp(j->kind->what, "run") == 0;
    if (run && c->s->study && c->s->study->n_images) {
        report_run(c);
    } else if (j->kind && !j->told && !rc) {
        fprintf(c->note, "%s\n", job_words(j, words, sizeof words));
    }
    j->told = true;
    return rc;
}

static int exec_cancel(struct call *c, struct err *err)
{
    if (c->s->job.state != JOB_RUNNING) {
        return err_set(err, E_STATE, "nothing is under way");
    }
    job_cancel(c->s);
    return OK;
}

static int exec_jobs(struct call *c, struct err *err)
{
    (void)err;
    static const char *const states[] = {"idle", "running", "done", "cancelled", "failed"};
    const struct job *j = &c->s->job;
    const char *what = j->kind ? j->kind->what : "run";
    if (c->s->json) {
        emit_json(c, json_pack("{s:i,s:s,s:s,s:I,s:I,s:o,s:o}", "id", j->id, "what", what, "state",
                               states[j->state], "done", (json_int_t)j->done, "total",
                               (json_int_t)j->total, "rate", json_num(job_rate(j)), "eta",
                               json_num(job_eta(j))));
    } else if (!j->kind) {
        fprintf(c->out, "nothing has been run yet\n");
    } else {
        char count[96];
        fprintf(c->out, "%s #%d %s: %s, %.1f/s\n", what, j->id, states[j->state],
                job_count(j, count, sizeof count), job_rate(j));
    }
    return OK;
}

/* ---- evaluate ------------------------------------------------------------------------------- */

static int report_evaluate(struct call *c, const struct outcome *o)
{
    const struct session *s = c->s;
    const struct study *t = s->study;
    const struct own_value *own = &s->own->last;
    const struct pin_state *p = &s->undo[s->at_undo];
    size_t images = t->n_images - t->failed;
    o = o ? o : outcome_find(t->labelled ? "top1" : s->classify ? "agreement" : "sqnr");
    double fp32, int8;
    if (own_of(o)) {
        fp32 = own->fp32;
        int8 = own->int8;
        images = own->images;
    } else {
        fp32 = outcome_value(o, t->n_images, t->images, SIDE_FP32);
        int8 = outcome_value(o, t->n_images, t->images, SIDE_INT8);
    }
    double drop = o->higher_is_better ? fp32 - int8 : int8 - fp32;
    if (s->json) {
        emit_json(c, json_pack("{s:s,s:o,s:o,s:o,s:I,s:I}", "metric", o->name, "fp32",
                               json_num(fp32), "int8", json_num(int8), "drop", json_num(drop),
                               "images", (json_int_t)images, "pins", (json_int_t)p->n));
        return OK;
    }
    fprintf(c->out, "%s on %zu images with %zu pinned: ", o->name, images, p->n);
    if (o->counts) {
        fprintf(c->out, "FP32 %.2f, INT8 %.2f, drop %.2f\n", fp32, int8, drop);
    } else if (own_of(o)) {
        fprintf(c->out, "FP32 %.6g, INT8 %.6g%s%s\n", fp32, int8, *o->unit ? " " : "", o->unit);
    } else {
        fprintf(c->out, "%.6g against FP32\n", int8);
    }
    return OK;
}

static int exec_evaluate(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *metric = call_opt(c, "--metric");
    size_t n, *list;
    if (s->n_ran && !c->n_args && !call_opt(c, "--limit")) {
        n = s->n_ran; /* the same images as the run before */
        list = mem_alloc(n * sizeof *list);
        memcpy(list, s->ran, n * sizeof *list);
    } else {
        int rc = choose_images(c, &n, &list, err);
        if (rc) {
            return rc;
        }
    }
    const struct outcome *o = metric ? session_outcome(s, metric) : NULL;
    const struct own_metric *own = o ? own_of(o) : NULL;
    const bool background = own && s->screen; /* a command may take its time */
    int rc = o ? own_allowed(s, o, err) : OK;
    size_t *again = mem_alloc((n + 1) * sizeof *again);
    memcpy(again, list, n * sizeof *again);
    if (rc) {
        free(list);
    }
    rc = rc ? rc : run_start(s, n, list, false, s->json ? NULL : c->note, err);
    if (rc || !own) {
        free(again);
    } else {
        rc = own_evaluate(c, own, n, again, background, err);
    }
    if (!rc && background) {
        fprintf(c->note, "evaluate #%d started on %zu images\n", s->job.id, n);
    }
    return rc || background ? rc : report_evaluate(c, o);
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec run_opts[] = {
    {"--all", ARG_FLAG, NULL, "every image of the data set (the default)", NULL},
    {"--limit", ARG_COUNT, "N", "only the first N", NULL},
    {"--jobs", ARG_COUNT, "N", "worker threads", NULL},
    {0},
};

static const struct opt_spec evaluate_opts[] = {
    {"--metric", ARG_OUTCOME, "METRIC",
     "default: top1 with labels, agreement without, sqnr when outputs are not classes", NULL},
    {"--limit", ARG_COUNT, "N", "only the first N images", NULL},
    {0},
};

const struct cmd cmd_run[] = {
    {
        .name = "run",
        .group = "run",
        .help = "run both models on images and compare every layer",
        .detail = "Without names all images of the data set run. In the screen, or with a last "
                  "word '&', the run goes on in the background and listings show what is done so "
                  "far; the end of a batch waits for it. An image that cannot be read is reported "
                  "and the run goes on.",
        .example = "run --all",
        .needs = NEED_MODEL | NEED_DATA,
        .args = {{"IMAGE", ARG_IMAGE, NULL, true, true}},
        .opts = run_opts,
        .exec = exec_run,
    },
    {
        .name = "evaluate",
        .alias = "eval",
        .group = "run",
        .help = "run again with the pins in force and state the accuracy",
        .detail = "Uses the images of the last run unless others are named.",
        .example = "evaluate --metric top1",
        .needs = NEED_PAIR | NEED_DATA,
        .args = {{"IMAGE", ARG_IMAGE, NULL, true, true}},
        .opts = evaluate_opts,
        .exec = exec_evaluate,
    },
    {
        .name = "jobs",
        .group = "run",
        .help = "state, rate and remaining time of the run",
        .example = "jobs",
        .exec = exec_jobs,
    },
    {
        .name = "wait",
        .group = "run",
        .help = "wait for what runs in the background",
        .detail = "Its failure is that of this command. A batch does so at its end and before a "
                  "command takes the place of what runs, so that its exit code tells of every "
                  "job; only 'cancel' and 'quit' end one early.",
        .example = "wait",
        .exec = exec_wait,
    },
    {
        .name = "cancel",
        .group = "run",
        .help = "stop the run after the images under way; results so far are kept",
        .example = "cancel",
        .unrecorded = true,
        .exec = exec_cancel,
    },
    {0},
};
