/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_sensitivity.c: sensitivity, prefix, suffix, bisect, tried: what each layer costs the result,
 * and how many have to go back to FP32.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "tui/own_metric.h"
#include "tui/sweep_run.h"

/* ---- Goals ---------------------------------------------------------------------------------- */

/* A condition such as top1_drop<=1 or sqnr>=20: an outcome, or how much worse it is than FP32's,
 * and the value that is still good. E_USAGE when it is none. */
static int goal_read(const struct session *s, const char *text, struct goal *g, struct err *err)
{
    size_t n = strcspn(text, "<>=");
    const char *op = text + n, *value = op + strspn(op, "<>=");
    bool drop = n > 5 && memcmp(text + n - 5, "_drop", 5) == 0;
    char *name = mem_printf("%.*s", (int)(drop ? n - 5 : n), text), *end;
    *g = (struct goal){.outcome = session_outcome(s, name), .is_drop = drop};
    g->limit = strtod(value, &end);
    free(name);
    if (!g->outcome || value == end || *end || isnan(g->limit)) {
        return err_set(err, E_USAGE,
                       "a goal is such as top1_drop<=1 or sqnr>=20, found '%s' (outcomes lists "
                       "what there is)",
                       text);
    }
    bool less = drop || !g->outcome->higher_is_better;
    if (strncmp(op, less ? "<=" : ">=", 2) != 0 || value != op + 2) {
        return err_set(err, E_USAGE, "%s%s is good when it is %s: say '%s', found '%s'",
                       g->outcome->name, drop ? "_drop" : "", less ? "low" : "high",
                       less ? "<=" : ">=", text);
    }
    if (drop && !(g->limit >= 0)) {
        return err_set(err, E_USAGE, "a drop is at least 0, found '%s'", text);
    }
    if (drop && strcmp(g->outcome->name, "sqnr") == 0) {
        return err_set(err, E_USAGE,
                       "FP32 has no error, so every drop of its SQNR is infinite: say sqnr>=DB");
    }
    return OK;
}

static int read_until(struct call *c, struct sweep_choice *x, struct err *err)
{
    const char *until = call_opt(c, "--until");
    struct goal g;
    if (!until) {
        return OK;
    }
    int rc = goal_read(c->s, until, &g, err);
    rc = rc ? rc : own_allowed(c->s, g.outcome, err);
    if (!rc && call_opt(c, "--metric") && x->goal.outcome != g.outcome) {
        rc = err_set(err, E_USAGE, "--until judges by %s, --metric by %s: one of them is enough",
                     g.outcome->name, x->goal.outcome->name);
    }
    if (!rc) {
        x->goal = g;
        x->has_limit = true;
    }
    return rc;
}

/* ---- Commands ------------------------------------------------------------------------------- */

/* After a job was started: a note, or what it has found. */
static int started(struct call *c, bool background, size_t n_images, int rc, struct err *err)
{
    const struct session *s = c->s;
    if (background) {
        if (!rc) {
            fprintf(c->note, "%s #%d started on %zu images\n", c->cmd->name, s->job.id, n_images);
        }
        return rc;
    }
    if (!rc) {
        return sweep_report(c, err);
    }
    if (rc == E_STOP || rc == E_CHECK) { /* what is done is kept and told, also after ^C */
        sweep_report(c, NULL);
    }
    return rc;
}

static int read_within(const struct call *c, struct sweep_choice *x, struct err *err)
{
    const char *within = call_opt(c, "--within");
    x->within = within ? strtod(within, NULL) : 0;
    if (within && !x->race) {
        return err_set(err, E_USAGE, "--within ends a race early: not with --exact or --brute");
    }
    return within && !(x->within > 0)
               ? err_set(err, E_USAGE, "--within is above 0, found '%s'", within)
               : OK;
}

static int exec_sensitivity(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool *rows = NULL, background = s->screen || c->background;
    const char *ways = call_opt(c, "--ways");
    int rc = sweep_read_choice(c, SWEEP_LOO, &x, err);
    rc = rc ? rc : sweep_read_rows(c, 0, &rows, err);
    x.race = !call_opt(c, "--exact") && !x.brute;
    rc = rc ? rc : read_within(c, &x, err);
    if (!rc) {
        x.rows = rows;
        x.ways = !ways || strcmp(ways, "both") == 0 ? WAY_LOO | WAY_ONLY
                 : strcmp(ways, "loo") == 0         ? WAY_LOO
                                                    : WAY_ONLY;
        x.kind = x.ways & WAY_LOO ? SWEEP_LOO : SWEEP_ONLY;
        rc = sweep_start(s, &x, background, s->json ? NULL : c->note, err);
        rc = started(c, background, x.n_images, rc, err);
    }
    free(rows);
    return rc;
}

static int exec_raise(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct sweep_choice x;
    bool background = s->screen || c->background;
    enum sweep_kind kind = SWEEP_PREFIX;
    while (strcmp(sweep_kind_names[kind], c->cmd->name) != 0) {
        kind++;
    }
    int rc = sweep_read_choice(c, kind, &x, err);
    rc = rc ? rc : read_until(c, &x, err);
    if (!rc && kind == SWEEP_BISECT && !x.has_limit) {
        rc = err_set(err, E_USAGE, "'bisect' wants a goal: --until 'top1_drop<=1'");
    }
    if (!rc) {
        rc = raise_start(s, &x, background, s->json ? NULL : c->note, err);
        rc = started(c, background, x.n_images, rc, err);
    }
    return rc;
}

static int exec_tried(struct call *c, struct err *err)
{
    return sweep_report(c, err);
}

/* ---- Table ---------------------------------------------------------------------------------- */

#define AS_OPT                                                                                     \
    {                                                                                              \
        "--as", ARG_CHOICE, PRECISION_NAMES, "precision that layers are tried in (fp32)",          \
            PRECISION_NAMES                                                                        \
    }
#define COMMON_OPTS                                                                                \
    {"--metric", ARG_OUTCOME, "METRIC", "what the outputs are judged by (outcomes lists them)",    \
     NULL},                                                                                        \
        {"--images", ARG_COUNT, "N", "only the first N of the data set", NULL},                    \
    {                                                                                              \
        "--jobs", ARG_COUNT, "N", "threads", NULL                                                  \
    }

static const struct opt_spec sensitivity_opts[] = {
    {"--exact", ARG_FLAG, NULL, "all layers on all images", NULL},
    {"--top", ARG_COUNT, "K", "rows to show, and places that are made exact (8)", NULL},
    {"--within", ARG_REAL, "X",
     "end when no other is more than X (in the unit of METRIC) better than place K", NULL},
    {"--ways", ARG_CHOICE, "WAYS", "loo: back in FP32, only: alone in INT8 (both)",
     "both|loo|only"},
    AS_OPT,
    COMMON_OPTS,
    {"--brute", ARG_FLAG, NULL, "exact, every model whole and by itself, for comparison", NULL},
    {0},
};

static const struct opt_spec raise_opts[] = {
    {"--until", ARG_WORD, "GOAL", "stop as soon as it is met: top1_drop<=1, sqnr>=20", NULL},
    AS_OPT,
    COMMON_OPTS,
    {0},
};

static const struct opt_spec tried_opts[] = {
    {"--top", ARG_COUNT, "K", "rows to show", NULL},
    {0},
};

#define RAISE_DETAIL                                                                               \
    "Pins in force stay. The models run only what differs from one to the next. With --until the " \
    "first one that meets the goal ends it; a goal is an outcome, or how much worse than FP32 it " \
    "is (top1_drop, in points), and the value that is still good. What is cancelled goes on "      \
    "where "                                                                                       \
    "it stopped when the same is asked again. @1 is then the first row."

const struct cmd cmd_sensitivity[] = {
    {
        .name = "sensitivity",
        .group = "pins",
        .help = "what each layer costs the result: alone back in FP32, and alone in INT8",
        .detail =
            "Each layer gives a model of its own, which is run on the images and judged by its "
            "outputs: the model in force with one more layer in FP32 (gain), and FP32 with one "
            "layer in INT8 (only). Models run only what differs from the model they come from, "
            "with the same bits as when they run whole. Without --exact it is a race: all layers "
            "see 4 images, where errors are uneven those on which INT8 is furthest off, those that "
            "may still belong to the "
            "first K see more, until the K have seen all, and these are tried alone in INT8 too. "
            "Gains of the others are what their images say of all. With --within it ends as soon "
            "as the K are the first up to so small a difference, by the images seen until then. "
            "Intervals of 95 % are for other "
            "images like these. What is cancelled keeps what it has found, and goes on from there "
            "when the same is asked again. @1 is then the first row.",
        .example = "sensitivity --exact --images 4 --top 5",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .args = {{"LAYER", ARG_LAYER, NULL, true, true}},
        .opts = sensitivity_opts,
        .exec = exec_sensitivity,
    },
    {
        .name = "prefix",
        .group = "pins",
        .help = "raise layers to FP32 one by one from the input on, and see the result recover",
        .detail = RAISE_DETAIL,
        .example = "prefix --until 'top1_drop<=1' --images 8",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .opts = raise_opts,
        .exec = exec_raise,
    },
    {
        .name = "suffix",
        .group = "pins",
        .help = "raise layers to FP32 one by one from the output back",
        .detail = RAISE_DETAIL,
        .example = "suffix --until 'sqnr>=20' --images 8",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .opts = raise_opts,
        .exec = exec_raise,
    },
    {
        .name = "bisect",
        .group = "pins",
        .help = "find the shortest prefix of the network in FP32 that meets a goal",
        .detail =
            "Halves the network again and again, which takes about log2 of the number of layers "
            "runs over the images. That presumes that more layers in FP32 never make it worse: up "
            "to eight shorter and eight longer prefixes are tried as well, and when one of them "
            "says otherwise the curve is not monotone and the answer, the shortest one that was "
            "seen to meet the goal, not to be trusted.",
        .example = "bisect --until 'sqnr>=20' --images 4",
        .needs = NEED_PAIR | NEED_ONE_FORMAT | NEED_DATA,
        .opts = raise_opts,
        .exec = exec_raise,
    },
    {
        .name = "tried",
        .group = "pins",
        .help = "what the last sensitivity, prefix, suffix, bisect or search has found so far",
        .example = "sensitivity --images 2 ; tried --top 3",
        .needs = NEED_PAIR,
        .opts = tried_opts,
        .exec = exec_tried,
    },
    {0},
};
