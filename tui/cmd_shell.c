/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_shell.c: the shell of the language: source, assert, echo, time, quit.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/expr.h"
#include "tui/graphics.h"
#include "tui/pins.h"
#include "tui/results.h"
#include "tui/tui.h"

/* ---- assert --------------------------------------------------------------------------------- */

static double study_number(const struct session *s, const char *name, bool *known)
{
    const struct study *t = s->study;
    double a = study_accuracy(t, SIDE_FP32), b = study_accuracy(t, SIDE_INT8);
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"fp32_accuracy", a},
        {"int8_accuracy", b},
        {"top1_drop", a - b},
        {"agreement", study_agreement(t)},
        {"lost", (double)t->lost},
        {"gained", (double)t->gained},
        {"images", (double)(t->n_images - t->failed)},
        {"failed", (double)t->failed},
        {"labelled", (double)t->labelled},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *known = true;
            return rows[i].value;
        }
    }
    return NAN;
}

/* min, max or mean of a metric over the layers that have it. */
static int over_layers(const struct session *s, const char *function, const char *name, double *out,
                       struct err *err)
{
    const struct metric *m = metric_find(name);
    bool lo = strcmp(function, "min") == 0, hi = strcmp(function, "max") == 0;
    if (!m || (!lo && !hi && strcmp(function, "mean") != 0)) {
        return err_set(err, E_USAGE, "%s '%s'; min, max and mean of a metric are known",
                       m ? "no function" : "no metric", m ? function : name);
    }
    double sum = 0, best = lo ? INFINITY : -INFINITY;
    size_t n = 0;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        double v = layer_metric(s, i, m);
        if (!isnan(v)) {
            best = lo ? fmin(best, v) : fmax(best, v);
            sum += v;
            n++;
        }
    }
    *out = !n ? NAN : lo || hi ? best : sum / (double)n;
    return OK;
}

struct assertion {
    const struct session *s;
    char unknown[64]; /* first name that has no value */
};

static int value_of(const struct session *s, const char *function, const char *name, double *out,
                    struct err *err)
{
    bool known = false;
    if (!function && strcmp(name, "pins") == 0) {
        *out = (double)s->undo[s->at_undo].n;
        return OK;
    }
    if (!function && (strcmp(name, "layers") == 0 || strcmp(name, "unmatched") == 0)) {
        *out = (double)(name[0] == 'l' ? s->match.n_layers : s->match.n_unmatched);
        return OK;
    }
    const json_t *compared = function ? NULL : json_object_get(s->compared, name);
    if (compared && (json_is_number(compared) || json_is_null(compared))) {
        *out = json_is_number(compared) ? json_number_value(compared) : NAN;
        return OK;
    }
    if (!s->study) {
        return err_set(err, E_STATE, "'%s' needs results: run", name);
    }
    if (function) {
        return over_layers(s, function, name, out, err);
    }
    *out = study_number(s, name, &known);
    return known ? OK
                 : err_set(err, E_USAGE,
                           "no value '%s'; top1_drop, fp32_accuracy, int8_accuracy, "
                           "agreement, lost, gained, images, failed, labelled, pins, layers, "
                           "unmatched and min(METRIC), max(METRIC), mean(METRIC) are; "
                           "'help baseline' has more",
                           name);
}

static int assert_lookup(void *ctx, const char *function, const char *name, struct expr_value *out,
                         struct err *err)
{
    struct assertion *a = ctx;
    int rc = value_of(a->s, function, name, &out->number, err);
    if (!rc && isnan(out->number) && !a->unknown[0]) {
        snprintf(a->unknown, sizeof a->unknown, function ? "%s(%s)" : "%s%s",
                 function ? function : "", name);
    }
    return rc;
}

static int exec_assert(struct call *c, struct err *err)
{
    struct assertion a = {.s = c->s};
    struct expr_value v;
    const char *message = call_opt(c, "--message");
    char *text = call_words(c); /* the expression may be typed without quotes */
    int rc = expr_eval(text, assert_lookup, &a, &v, err);
    bool ok = !rc && expr_true(&v);
    if (!rc && c->s->json) {
        emit_json(c, json_pack("{s:o,s:b}", "expression", json_text(text), "ok", ok));
    }
    if (!rc && !ok) {
        bool unknown = isnan(v.number) && a.unknown[0];
        rc = err_set(err, E_CHECK, "%s%sassert %s: %s%s%s%s", message ? message : "",
                     message ? ": " : "", unknown ? "has no answer" : "is false", text,
                     unknown ? " ('" : "", unknown ? a.unknown : "",
                     unknown ? "' has no value here)" : "");
    }
    free(text);
    return rc;
}

/* ---- source, echo, time, quit --------------------------------------------------------------- */

static int exec_source(struct call *c, struct err *err)
{
    size_t failed = 0;
    return script_run(c->s, c->args[0], !c->s->set.on_error_stop, c->out, &failed, err);
}

static int exec_echo(struct call *c, struct err *err)
{
    (void)err;
    FILE *to = c->s->json ? c->note : c->out;
    char text[1024];
    for (size_t i = 0; i < c->n_args; i++) {
        fprintf(to, "%s%s", i ? " " : "", text_safe(text, sizeof text, c->args[i]));
    }
    fputc('\n', to);
    return OK;
}

static int exec_time(struct call *c, struct err *err)
{
    struct timespec a, b;
    char *line = cmd_retype(c->n_args, c->args);
    clock_gettime(CLOCK_MONOTONIC, &a);
    int rc = cmd_line(c->s, line, c->out, c->note, err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    fprintf(c->note, "%.3f s\n",
            (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
    free(line);
    return rc;
}

static int exec_quit(struct call *c, struct err *err)
{
    long code = c->n_args ? strtol(c->args[0], NULL, 10) : 0;
    if (code < 0 || code > 255) {
        return err_set(err, E_USAGE, "an exit code is 0 to 255, found %ld", code);
    }
    c->s->quit = c->s->ui.quit = true;
    c->s->exit_code = (int)code;
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec assert_opts[] = {
    {"--message", ARG_WORD, "TEXT", "put in front of the error", NULL},
    {0},
};

const struct cmd cmd_shell[] = {
    {
        .name = "assert",
        .group = "shell",
        .help = "fail with exit code 4 when an expression is false",
        .detail = "Values: top1_drop, fp32_accuracy, int8_accuracy, agreement (percentage points), "
                  "lost, gained, images, failed, labelled, pins, layers, unmatched, and min(M), "
                  "max(M), mean(M) of a metric over the layers. Operators: || && ! == != < <= > "
                  ">= + - * / ( ). An answer that rests on what has no value, such as an accuracy "
                  "without labels, fails as well, negated or not.",
        .example = "assert 'layers > 0'",
        .args = {{"EXPR", ARG_WORD, NULL, false, true}},
        .opts = assert_opts,
        .exec = exec_assert,
    },
    {
        .name = "source",
        .group = "shell",
        .help = "run the commands of a file",
        .detail = "The whole file is checked before its first command runs.",
        .example = "source samples/scripts/tour.qs",
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .exec = exec_source,
    },
    {
        .name = "echo",
        .group = "shell",
        .help = "print words",
        .example = "echo done",
        .args = {{"WORD", ARG_WORD, NULL, true, true}},
        .exec = exec_echo,
    },
    {
        .name = "time",
        .group = "shell",
        .help = "run a command and print how long it took",
        .example = "time run",
        .own_judge = true,
        .args = {{"COMMAND", ARG_LINE, NULL, false, true}},
        .exec = exec_time,
    },
    {
        .name = "quit",
        .alias = "exit",
        .group = "shell",
        .help = "leave",
        .example = "quit",
        .unrecorded = true,
        .own_judge = true,
        .args = {{"CODE", ARG_INT, NULL, true, false}},
        .exec = exec_quit,
    },
    {0},
};
