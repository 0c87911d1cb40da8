/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_metric.c: metric: outcomes of the user's own.
 */
#include <stdlib.h>

#include "tui/own_metric.h"
#include "tui/shell.h"

/* Whether the line is the user's own words: typed, or run from the command line or the start-up
 * file. What 'source' runs while the program is used, aliases and keys may come from somebody else,
 * as sessions do. */
static bool is_typed(const struct session *s)
{
    const struct shell *sh = s->shell;
    return sh->own_script || (!s->source_depth && sh->depth == 1 && !sh->alias_depth && !sh->keyed);
}

static json_t *metric_json(const struct own_metric *m)
{
    char *line = own_command(m);
    json_t *o = json_pack("{s:s,s:o,s:s,s:b,s:f,s:b}", "name", m->name, "line", json_text(line),
                          "unit", m->unit, "higher_is_better", m->outcome.higher_is_better,
                          "timeout", m->timeout, "trusted", m->trusted);
    free(line);
    return o;
}

static void print_metric(FILE *out, const struct own_metric *m)
{
    char *line = own_command(m), safe[1024];
    fprintf(out, "%-16s %-4s %s is better, %g s%s: %s\n", m->name, m->unit,
            m->outcome.higher_is_better ? "higher" : "lower", m->timeout,
            m->trusted ? "" : ", NOT trusted", text_safe(safe, sizeof safe, line));
    free(line);
}

static int list_metrics(struct call *c, struct err *err)
{
    const char *only = c->n_args ? c->args[0] : NULL;
    const struct own_metric *m;
    json_t *list = json_array();
    bool any = !only;
    for (size_t i = 0; (m = own_at(c->s, i)); i++) {
        if (only && strcmp(only, m->name) != 0) {
            continue;
        }
        any = true;
        if (c->s->json) {
            json_array_append_new(list, metric_json(m));
        } else {
            print_metric(c->out, m);
        }
    }
    if (c->s->json && any) {
        emit_json(c, json_pack("{s:O}", "metrics", list));
    }
    json_decref(list);
    return any ? OK
               : err_set(err, E_USAGE, "no metric '%s' of your own; 'metric' lists them", only);
}

static int trust(struct call *c, struct err *err)
{
    struct own_metric *m = own_find(c->s, c->args[0]);
    if (!m) {
        return err_set(err, E_USAGE, "no metric '%s' of your own; 'metric' lists them", c->args[0]);
    }
    if (!is_typed(c->s)) {
        return err_set(err, E_STATE,
                       "a script cannot trust: type 'metric %s --trust', or start with "
                       "--commands always",
                       c->args[0]);
    }
    m->trusted = true;
    return OK;
}

static int define(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const char *timeout = call_opt(c, "--timeout"), *unit = call_opt(c, "--unit");
    struct own_spec x = {.name = c->args[0],
                         .unit = unit ? unit : "",
                         .higher_is_better = !call_opt(c, "--lower"),
                         .timeout = timeout ? strtod(timeout, NULL) : OWN_TIMEOUT,
                         .trusted = is_typed(s),
                         .n_words = c->n_args - 1,
                         .words = c->args + 1};
    if (call_opt(c, "--lower") && call_opt(c, "--higher")) {
        return err_set(err, E_USAGE, "--higher or --lower, not both");
    }
    int rc = own_define(s, &x, err);
    if (!rc && !x.trusted && s->own->consent == CONSENT_ASK) {
        fprintf(c->note, "metric '%s' may not run its command before you say 'metric %s --trust'\n",
                x.name, x.name);
    }
    return rc;
}

static int exec_metric(struct call *c, struct err *err)
{
    const bool trusts = call_opt(c, "--trust"), forgets = call_opt(c, "--forget");
    if (c->n_args > 1 && !trusts && !forgets) {
        return define(c, err);
    }
    if (c->n_args != 1 && (trusts || forgets)) {
        return err_set(err, E_USAGE, "%s wants one NAME and no command",
                       trusts ? "--trust" : "--forget");
    }
    return trusts    ? trust(c, err)
           : forgets ? own_forget(c->s, c->args[0], err)
                     : list_metrics(c, err);
}

static const struct opt_spec metric_opts[] = {
    {"--higher", ARG_FLAG, NULL, "larger numbers are better (the default)", NULL},
    {"--lower", ARG_FLAG, NULL, "smaller numbers are better", NULL},
    {"--unit", ARG_WORD, "UNIT", "of the numbers, for tables", NULL},
    {"--timeout", ARG_REAL, "S", "seconds that a call may take (30)", NULL},
    {"--trust", ARG_FLAG, NULL, "let the command run although it came with a file", NULL},
    {"--forget", ARG_FLAG, NULL, "the metric goes", NULL},
    {0},
};

const struct cmd cmd_metric[] = {
    {
        .name = "metric",
        .group = "pins",
        .help = "judge outputs by a command of your own, or list such metrics",
        .detail =
            "The command gets the outputs of FP32 and of the model under test on one image as .npy "
            "files and prints one number; the mean over images is then a METRIC as any other, for "
            "sensitivity, prefix, suffix, bisect, search and evaluate. The words {fp32} and {int8} "
            "stand for the file names, else they are put behind the words; of a model with several "
            "outputs there are as many of each, in their order. Once an image the command gets "
            "FP32's outputs twice: what it says then is FP32's own value. There is no shell. The "
            "command runs in the folder and with the environment of qscope, on as many threads as "
            "there are jobs, with an empty standard input. When it fails, prints anything but a "
            "number or takes longer than --timeout, what is measured ends with that image's name, "
            "or the layer that was tried has that error: no image is left out of a mean. Options "
            "stand in front of the command. Metrics of session files, and of scripts and "
            "recordings "
            "that 'source' runs, may not run their commands before you type --trust; a script that "
            "the command line names is as if typed. The option --commands of the program allows "
            "all or none. Results are kept by the words and the bytes of the files that "
            "they name; 'set cache off' where the command depends on more.",
        .example = "metric mae --lower python3 tests/mae.py",
        .args = {{"NAME", ARG_WORD, NULL, true, false}, {"COMMAND", ARG_LINE, NULL, true, true}},
        .opts = metric_opts,
        .exec = exec_metric,
    },
    {0},
};
