/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_sweep.c: search, pareto, outcomes: which layers to pin, and what models are judged by.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/own_metric.h"
#include "tui/sweep_run.h"

/* ---- What is asked for ---------------------------------------------------------------------- */

/* What changes are judged by: the SQNR changes with every bit; a drop is one of accuracy. */
static const struct outcome *choose_outcome(const struct call *c)
{
    const char *name = call_opt(c, "--metric");
    const struct session *s = c->s;
    bool labelled = false;
    for (size_t i = 0; i < s->data.n && !labelled; i++) {
        labelled = s->data.samples[i].label >= 0;
    }
    if (name || !call_opt(c, "--max-drop")) {
        return session_outcome(s, name ? name : "sqnr");
    }
    return outcome_find(!s->classify ? "cosine" : labelled ? "top1" : "agreement");
}

static int read_limit(const struct call *c, struct goal *g, bool *has, struct err *err)
{
    const char *drop = call_opt(c, "--max-drop"), *reach = call_opt(c, "--reach");
    if (drop && reach) {
        return err_set(err, E_USAGE, "--max-drop or --reach, not both");
    }
    *has = drop || reach;
    g->is_drop = drop != NULL;
    g->limit = *has ? strtod(drop ? drop : reach, NULL) : NAN;
    bool noise = strcmp(g->outcome->name, "sqnr") == 0 || strcmp(g->outcome->name, "psnr") == 0;
    if (drop && noise) {
        return err_set(err, E_USAGE,
                       "FP32 has no error, so every drop of its %s is infinite: say --reach DB",
                       g->outcome->title);
    }
    return drop && !(g->limit >= 0)
               ? err_set(err, E_USAGE, "--max-drop is at least 0, found '%s'", drop)
               : OK;
}

static int read_count(const struct call *c, const char *name, size_t dflt, size_t *out,
                      struct err *err)
{
    int64_t v;
    int rc = call_int(c, name, (int64_t)dflt, &v, err);
    if (!rc && v < 1 && call_opt(c, name)) {
        rc = err_set(err, E_USAGE, "%s is at least 1, found %lld", name, (long long)v);
    }
    *out = rc ? 0 : (size_t)v;
    return rc;
}

int sweep_read_rows(struct call *c, size_t first, bool **rows, struct err *err)
{
    struct session *s = c->s;
    size_t n, *list;
    *rows = NULL;
    if (c->n_args <= first) {
        return OK;
    }
    int rc = layer_lists(s, c->n_args - first, c->args + first, &n, &list, err);
    if (rc) {
        return rc;
    }
    *rows = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < n; i++) {
        (*rows)[list[i]] = true;
    }
    free(list);
    return OK;
}

int sweep_read_choice(struct call *c, enum sweep_kind kind, struct sweep_choice *x, struct err *err)
{
    struct session *s = c->s;
    size_t images = MAX(s->data.n, (size_t)1), jobs = 1;
    *x = (struct sweep_choice){.kind = kind, .goal.outcome = choose_outcome(c)};
    x->brute = call_opt(c, "--brute") != NULL;
    int rc = own_allowed(s, x->goal.outcome, err);
    const char *as = call_opt(c, "--as");
    x->cheapest = as && strcmp(as, CHEAPEST) == 0;
    x->as = as && !x->cheapest ? (enum precision)precision_find(as) : PREC_FP32;
    rc = rc ? rc : read_limit(c, &x->goal, &x->has_limit, err);
    rc = rc ? rc : read_count(c, "--images", images, &x->n_images, err);
    rc = rc ? rc : read_count(c, "--top", 8, &x->top, err);
    rc = rc ? rc : read_count(c, "--jobs", (size_t)s->set.jobs, &jobs, err);
    rc = rc ? rc : read_count(c, "--max-pins", 0, &x->max_pins, err);
    if (!rc && jobs > 256) {
        rc = err_set(err, E_USAGE, "--jobs is 1 to 256, found %zu", jobs);
    }
    if (!rc && gaps_block_output(s)) {
        rc = err_set(err, E_UNSUPPORTED, "the outputs cannot be computed: 'info' says why");
    }
    if (!rc && !s->match.n_outputs) {
        rc = err_set(err, E_UNSUPPORTED, "the models have no outputs to compare");
    }
    x->n_images = MIN(x->n_images, images);
    x->jobs = (int)jobs;
    return rc;
}

/* ---- Commands ------------------------------------------------------------------------------- */

static int exec_search(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool *rows = NULL, background = s->screen || c->background;
    int rc = sweep_read_choice(c, SWEEP_SEARCH, &x, err);
    const char *method = call_opt(c, "--method"), *seconds = call_opt(c, "--time-limit");
    static const char *const methods[] = {"auto", "pareto", "greedy", "bisect"};
    for (x.method = SEARCH_AUTO; method && strcmp(methods[x.method], method) != 0; x.method++) {
    }
    x.seconds = seconds ? strtod(seconds, NULL) : 0;
    if (!rc && seconds && !(x.seconds > 0)) {
        rc = err_set(err, E_USAGE, "--time-limit is above 0 seconds, found '%s'", seconds);
    }
    if (!rc && x.method == SEARCH_BISECT && (!x.has_limit || x.max_pins)) {
        rc = err_set(err, E_USAGE, "--method bisect wants a limit, and has no use for --max-pins");
    }
    if (!rc && !x.has_limit && !x.max_pins) {
        rc =
            err_set(err, E_USAGE, "'search' wants an end: --max-drop X, --reach X or --max-pins N");
    }
    x.cost = call_opt(c, "--cost") ? cost_model_find(call_opt(c, "--cost")) : NULL;
    if (!rc && x.cost && !x.has_limit) {
        rc = err_set(err, E_USAGE,
                     "--cost chooses between sets that keep a limit: say --max-drop X "
                     "or --reach X");
    }
    if (!rc && x.cheapest && !x.has_limit) {
        rc = err_set(err, E_USAGE, "--as " CHEAPEST " wants a limit: --max-drop X or --reach X");
    }
    rc = rc ? rc : sweep_read_rows(c, 0, &rows, err);
    x.rows = rows;
    rc = rc ? rc : search_start(s, &x, background, s->json ? NULL : c->note, err);
    free(rows);
    if (!rc && background) {
        fprintf(c->note, "search #%d started on %zu images\n", s->job.id, x.n_images);
    } else if (!background && (!rc || rc == E_STOP || rc == E_CHECK)) {
        sweep_report(c, NULL);
    }
    return rc;
}

static int exec_pareto(struct call *c, struct err *err)
{
    return sweep_report_pareto(c, err);
}

static int exec_outcomes(struct call *c, struct err *err)
{
    (void)err;
    json_t *list = json_array();
    const struct outcome *o;
    for (size_t i = 0; (o = session_outcome_at(c->s, i)); i++) {
        if (c->s->json) {
            json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s,s:s}", "name", o->name, "unit",
                                                  o->unit, "higher_is_better", o->higher_is_better,
                                                  "help", o->help, "formula", o->formula));
        } else {
            fprintf(c->out, "%-16s %-4s %s\n%21s %s\n", o->name, o->unit, o->help, "", o->formula);
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "outcomes", list));
    }
    json_decref(list);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define METRIC_OPT                                                                                 \
    {                                                                                              \
        "--metric", ARG_OUTCOME, "METRIC", "what the outputs are judged by (outcomes lists them)", \
            NULL                                                                                   \
    }
#define IMAGES_OPT                                                                                 \
    {                                                                                              \
        "--images", ARG_COUNT, "N", "only the first N of the data set", NULL                       \
    }
#define JOBS_OPT                                                                                   \
    {                                                                                              \
        "--jobs", ARG_COUNT, "N", "threads", NULL                                                  \
    }

#define COST_OPT(text)                                                                             \
    {                                                                                              \
        "--cost", ARG_CHOICE, COST_MODELS, text, COST_MODELS                                       \
    }

static const struct opt_spec search_opts[] = {
    {"--max-drop", ARG_REAL, "X", "stop when at most so much worse than FP32", NULL},
    {"--reach", ARG_REAL, "X", "stop at this value", NULL},
    {"--max-pins", ARG_COUNT, "N", "pin at most N layers more", NULL},
    {"--method", ARG_CHOICE, "auto|pareto|greedy|bisect",
     "by size (the default), likewise with the best set of every size measured, one best layer "
     "after the other, or delta debugging alone",
     "auto|pareto|greedy|bisect"},
    COST_OPT("of as few pins take the cheapest that keep the limit"),
    {"--as", ARG_CHOICE, PRECISION_NAMES "|" CHEAPEST,
     "precision of the pins (fp32); cheapest: FP32, then each pin in the cheapest that keeps the "
     "limit",
     PRECISION_NAMES "|" CHEAPEST},
    {"--time-limit", ARG_REAL, "S", "end after S seconds with the best found so far", NULL},
    METRIC_OPT,
    IMAGES_OPT,
    JOBS_OPT,
    {0},
};

static const struct opt_spec pareto_opts[] = {
    COST_OPT("those that no other beats at as low a cost"),
    {0},
};

const struct cmd cmd_sweep[] = {
    {
        .name = "search",
        .group = "pins",
        .help = "find few layers to pin so that a limit is kept, and pin them",
        .detail =
            "Starts from the pins in force. Tries every layer alone, then sets of two, three and "
            "four, most promising first, each on no more images than it takes to rule it out; "
            "where none of these does, it pins the layers that do most harm alone and takes back "
            "all that are not needed. Then every set with one pin less is measured. It says how "
            "sure it is that no smaller set does: the chances of sets ruled out early, and "
            "of those not tried by what the gains of their layers add up to. Where the answer is "
            "known, smaller sets are not measured further: their points are estimates (~), unless "
            "--method pareto asks for them. With --cost the cheapest of the sets of that size is "
            "taken, among those that were tried "
            "or promise to keep the limit; ms are measured as by 'cost --measure'. The model found "
            "is run "
            "once more by itself. With --as the pins get that precision; with --as cheapest, once "
            "the set is found, each pin gets the first of int16, bf16 and fp16 that keeps the "
            "limit, those that multiply most first. Its pins are one step for undo. With LAYER "
            "words only those may "
            "be "
            "pinned. Without --metric, --max-drop is in points of accuracy, --reach in dB of the "
            "SQNR of the outputs.",
        .example = "search --max-drop 5 --images 24",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = search_opts,
        .exec = exec_search,
    },
    {
        .name = "pareto",
        .group = "pins",
        .help = "of the models tried last, those that no other beats with as few pins",
        .detail =
            "After a search or another trial of layers, of those that were measured on all "
            "images: number of pins, or what --cost says, against what was to be improved, with "
            "what they cost.",
        .example = "sensitivity --images 2 ; pareto",
        .needs = NEED_PAIR,
        .opts = pareto_opts,
        .exec = exec_pareto,
    },
    {
        .name = "outcomes",
        .group = "pins",
        .help = "what sweeps, searches and evaluate judge the outputs of a model by",
        .example = "outcomes",
        .exec = exec_outcomes,
    },
    {0},
};
