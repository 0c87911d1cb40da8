/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_shell.c: the shell of the language: set, show, source, assert, echo, help, quit.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/expr.h"
#include "tui/pins.h"
#include "tui/tui.h"

/* ---- Settings: one row each ----------------------------------------------------------------- */

struct setting {
    const char *name, *values, *help;
    int (*set)(struct session *s, const char *value, struct err *err);
    void (*show)(const struct session *s, char *dst, size_t size);
};

static int read_count(const char *name, const char *value, long lo, long hi, int *out,
                      struct err *err)
{
    char *end;
    long v = strtol(value, &end, 10);
    if (end == value || *end || v < lo || v > hi) {
        return err_set(err, E_USAGE, "%s is %ld to %ld, found '%s'", name, lo, hi, value);
    }
    *out = (int)v;
    return OK;
}

static int set_jobs(struct session *s, const char *v, struct err *err)
{
    return read_count("jobs", v, 1, 256, &s->set.jobs, err);
}

static void show_jobs(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%d", s->set.jobs);
}

static int set_top(struct session *s, const char *v, struct err *err)
{
    return read_count("top", v, 0, 1000000, &s->set.top, err);
}

static void show_top(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%d", s->set.top);
}

static int set_memory(struct session *s, const char *v, struct err *err)
{
    char *end;
    double x = strtod(v, &end);
    double unit = *end == 'G' ? 0x1p30 : *end == 'M' ? 0x1p20 : *end == 'K' ? 0x1p10 : 0;
    if (end == v || unit == 0 || end[1] || !(x > 0) || x * unit > 0x1p46) {
        return err_set(err, E_USAGE, "memory is a size such as 512M or 4G, found '%s'", v);
    }
    s->set.memory = s->budget.limit = (size_t)(x * unit);
    return OK;
}

static void show_memory(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%zuM", s->set.memory >> 20);
}

#define NUMERICS_NAMES "ort|ort-unfused|tflite-xnnpack|tflite-builtin|tflite-ref"

static int set_numerics(struct session *s, const char *v, struct err *err)
{
    int n = numerics_find(v);
    if (n < 0) {
        return err_set(err, E_USAGE, "numerics is %s, found '%s'", NUMERICS_NAMES, v);
    }
    const struct graph *g = s->int8 ? s->int8 : s->fp32;
    if (g && !numerics_fits((enum numerics)n, g->dialect)) {
        return err_set(err, E_USAGE, "numerics %s do not fit %s", v, g->path);
    }
    enum numerics before = s->set.numerics;
    s->set.numerics = (enum numerics)n;
    int rc = session_replan(s, err);
    s->set.numerics = rc ? before : s->set.numerics;
    return rc;
}

static void show_numerics(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", numerics_name(s->set.numerics));
}

static int set_kernels(struct session *s, const char *v, struct err *err)
{
    bool fast = strcmp(v, "fast") == 0;
    if (!fast && strcmp(v, "plain") != 0) {
        return err_set(err, E_USAGE, "kernels is fast or plain, found '%s'", v);
    }
    s->set.kernels = fast ? KERNELS_FAST : KERNELS_PLAIN;
    return session_replan(s, err);
}

static void show_kernels(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.kernels == KERNELS_FAST ? "fast" : "plain");
}

static int set_on_error(struct session *s, const char *v, struct err *err)
{
    if (strcmp(v, "stop") != 0 && strcmp(v, "continue") != 0) {
        return err_set(err, E_USAGE, "on_error is stop or continue, found '%s'", v);
    }
    s->set.on_error_stop = v[0] == 's';
    return OK;
}

static void show_on_error(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.on_error_stop ? "stop" : "continue");
}

static int set_ascii(struct session *s, const char *v, struct err *err)
{
    if (strcmp(v, "on") != 0 && strcmp(v, "off") != 0) {
        return err_set(err, E_USAGE, "ascii is on or off, found '%s'", v);
    }
    s->set.ascii = strcmp(v, "on") == 0;
    return OK;
}

static void show_ascii(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.ascii ? "on" : "off");
}

static int set_output(struct session *s, const char *v, struct err *err)
{
    if (strcmp(v, "table") != 0 && strcmp(v, "json") != 0) {
        return err_set(err, E_USAGE, "output is table or json, found '%s'", v);
    }
    s->json = v[0] == 'j';
    return OK;
}

static void show_output(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->json ? "json" : "table");
}

static const struct setting settings[] = {
    {"jobs", "N", "worker threads of runs", set_jobs, show_jobs},
    {"memory", "SIZE", "limit for activations, such as 4G", set_memory, show_memory},
    {"numerics", NUMERICS_NAMES, "whose INT8 arithmetic is computed", set_numerics, show_numerics},
    {"kernels", "fast|plain", "vector kernels, or the plain loops they are checked against",
     set_kernels, show_kernels},
    {"output", "table|json", "form of listings", set_output, show_output},
    {"top", "N", "rows of listings, 0 for all", set_top, show_top},
    {"on_error", "stop|continue", "what a script does after an error", set_on_error, show_on_error},
    {"ascii", "on|off", "draw with ASCII characters only", set_ascii, show_ascii},
};

static const struct setting *setting_find(const char *name)
{
    for (size_t i = 0; i < COUNT(settings); i++) {
        if (strcmp(settings[i].name, name) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

static int exec_set(struct call *c, struct err *err)
{
    const struct setting *k = setting_find(c->args[0]);
    if (k) {
        return k->set(c->s, c->args[1], err);
    }
    if (json_object_set_new(c->s->vars, c->args[0], json_string(c->args[1]))) {
        return err_set(err, E_USAGE, "value of '%s' is not UTF-8", c->args[0]);
    }
    return OK;
}

static int exec_show(struct call *c, struct err *err)
{
    json_t *o = json_object(), *value;
    const char *key;
    char text[512];
    for (size_t i = 0; i < COUNT(settings); i++) {
        settings[i].show(c->s, text, sizeof text);
        if (!c->n_args || strcmp(c->args[0], settings[i].name) == 0) {
            json_object_set_new(o, settings[i].name, json_string(text));
        }
    }
    json_object_foreach(c->s->vars, key, value)
    {
        if (!c->n_args || strcmp(c->args[0], key) == 0) {
            json_object_set(o, key, value);
        }
    }
    if (c->n_args && !json_object_size(o)) {
        json_decref(o);
        return err_set(err, E_USAGE, "no setting or variable '%s'", c->args[0]);
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "settings", o));
    } else {
        json_object_foreach(o, key, value)
        {
            fprintf(c->out, "%s = %s\n", key,
                    text_safe(text, sizeof text, json_string_value(value)));
        }
    }
    json_decref(o);
    return OK;
}

/* ---- assert --------------------------------------------------------------------------------- */

static double study_number(const struct session *s, const char *name, bool *known)
{
    const struct study *t = s->study;
    double a = study_accuracy(t, SIDE_FP32), b = study_accuracy(t, SIDE_INT8);
    size_t same = 0, n = 0;
    for (size_t i = 0; i < t->n_images; i++) {
        n += t->images[i].ok && t->images[i].fp32_top1 >= 0;
        same += t->images[i].ok && t->images[i].fp32_top1 >= 0 &&
                t->images[i].fp32_top1 == t->images[i].int8_top1;
    }
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"fp32_accuracy", a},
        {"int8_accuracy", b},
        {"top1_drop", a - b},
        {"agreement", n ? 100.0 * (double)same / (double)n : NAN},
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

static int assert_lookup(void *ctx, const char *function, const char *name, struct expr_value *out,
                         struct err *err)
{
    const struct session *s = ctx;
    bool known = false;
    if (!function && strcmp(name, "pins") == 0) {
        out->number = (double)s->undo[s->at_undo].n;
        return OK;
    }
    if (!function && (strcmp(name, "layers") == 0 || strcmp(name, "unmatched") == 0)) {
        out->number = (double)(name[0] == 'l' ? s->match.n_layers : s->match.n_unmatched);
        return OK;
    }
    if (!s->study) {
        return err_set(err, E_STATE, "'%s' needs results: run", name);
    }
    if (function) {
        return over_layers(s, function, name, &out->number, err);
    }
    out->number = study_number(s, name, &known);
    return known ? OK
                 : err_set(err, E_USAGE,
                           "no value '%s'; top1_drop, fp32_accuracy, int8_accuracy, "
                           "agreement, lost, gained, images, failed, labelled, pins, layers, "
                           "unmatched and min(METRIC), max(METRIC), mean(METRIC) are",
                           name);
}

static int exec_assert(struct call *c, struct err *err)
{
    struct expr_value v;
    const char *message = call_opt(c, "--message");
    char *text = mem_dup("");
    for (size_t i = 0; i < c->n_args; i++) { /* the expression may be typed without quotes */
        char *longer = mem_printf("%s%s%s", text, i ? " " : "", c->args[i]);
        free(text);
        text = longer;
    }
    int rc = expr_eval(text, assert_lookup, c->s, &v, err);
    bool ok = !rc && expr_true(&v);
    if (!rc && c->s->json) {
        emit_json(c, json_pack("{s:o,s:b}", "expression", json_text(text), "ok", ok));
    }
    if (!rc && !ok) {
        rc = err_set(err, E_CHECK, "%s%sassert is false: %s", message ? message : "",
                     message ? ": " : "", text);
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
    char *line = mem_dup("");
    for (size_t i = 0; i < c->n_args; i++) {
        char *word = cmd_quote(c->args[i]), *longer = mem_printf("%s %s", line, word);
        free(word);
        free(line);
        line = longer;
    }
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

/* ---- help ----------------------------------------------------------------------------------- */

static json_t *cmd_json(const struct cmd *c)
{
    char *usage = cmd_usage(c);
    json_t *opts = json_array();
    for (const struct opt_spec *o = c->opts; o && o->name; o++) {
        json_array_append_new(opts, json_pack("{s:s,s:s,s:s}", "name", o->name, "value",
                                              o->value ? o->value : "", "help", o->help));
    }
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "name", c->name, "group", c->group,
                          "help", c->help, "usage", usage, "detail", c->detail ? c->detail : "",
                          "example", c->example ? c->example : "", "options", opts);
    free(usage);
    return j;
}

/* Wraps prose at 78 columns. */
static void print_wrapped(FILE *out, const char *text)
{
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column && column + 1 + n > 78) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%s%.*s", column ? " " : "  ", n, text);
        text += n + (text[n] == ' ');
    }
    fputc('\n', out);
}

static void help_one(const struct cmd *c, FILE *out)
{
    char *usage = cmd_usage(c);
    fprintf(out, "%s\n", usage);
    print_wrapped(out, c->help);
    if (c->detail) {
        fputc('\n', out);
        print_wrapped(out, c->detail);
    }
    for (const struct opt_spec *o = c->opts; o && o->name; o++) {
        fprintf(out, "  %s %s\n      %s\n", o->name, o->value ? o->value : "", o->help);
    }
    if (c->alias) {
        fprintf(out, "  short: %s\n", c->alias);
    }
    if (c->example) {
        fprintf(out, "  example: %s\n", c->example);
    }
    free(usage);
}

struct listing {
    struct call *c;
    const char *word; /* apropos: must occur; NULL: all */
    const char *group;
    json_t *list;
    size_t found;
    const char *prefix; /* first word of two-word commands */
};

static void help_row(void *ctx, const struct cmd *c)
{
    struct listing *l = ctx;
    if (l->word && !strcasestr(c->name, l->word) && !strcasestr(c->help, l->word) &&
        !(c->detail && strcasestr(c->detail, l->word))) {
        return;
    }
    l->found++;
    if (l->list) {
        json_array_append_new(l->list, cmd_json(c));
        return;
    }
    if (!l->group || strcmp(l->group, c->group) != 0) {
        l->group = c->group;
        fprintf(l->c->out, "%s\n", c->group);
    }
    fprintf(l->c->out, "  %-15s %s\n", c->name, c->help);
}

static int list_commands(struct call *c, const char *word, struct err *err)
{
    struct listing l = {.c = c, .word = word, .list = c->s->json ? json_array() : NULL};
    cmd_each(help_row, &l);
    if (c->s->json) {
        emit_json(c, json_pack("{s:o}", "commands", l.list));
    }
    return l.found ? OK : err_set(err, E_USAGE, "nothing is about '%s'", word);
}

static void help_prefix(void *ctx, const struct cmd *c)
{
    struct listing *l = ctx;
    size_t n = strlen(l->prefix);
    if (strncmp(c->name, l->prefix, n) == 0 && c->name[n] == ' ') {
        fprintf(l->c->out, "%s", l->found++ ? "\n" : "");
        help_one(c, l->c->out);
    }
}

static void find_exact(void *ctx, const struct cmd *c)
{
    struct listing *l = ctx;
    if (strcmp(c->name, l->word) == 0) {
        if (l->list) {
            json_array_append_new(l->list, cmd_json(c));
        } else {
            help_one(c, l->c->out);
        }
        l->found++;
    }
}

static int exec_help(struct call *c, struct err *err)
{
    if (!c->n_args) {
        return list_commands(c, NULL, err);
    }
    char *name = c->n_args > 1 ? mem_printf("%s %s", c->args[0], c->args[1]) : mem_dup(c->args[0]);
    struct listing l = {
        .c = c, .word = name, .prefix = name, .list = c->s->json ? json_array() : NULL};
    cmd_each(find_exact, &l);
    if (!l.found && !l.list) {
        cmd_each(help_prefix, &l);
    }
    int rc = OK;
    if (!l.found) {
        const struct cmd *found;
        rc = cmd_find(c->s, c->args[0], &found, err);
        if (!rc && !l.list) {
            help_one(found, c->out);
        }
    }
    if (!rc && l.list) {
        emit_json(c, json_pack("{s:O}", "commands", l.list));
    }
    json_decref(l.list);
    free(name);
    return rc;
}

static int exec_apropos(struct call *c, struct err *err)
{
    return list_commands(c, c->args[0], err);
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
                  ">= + - * / ( ).",
        .example = "assert 'layers > 0'",
        .args = {{"EXPR", ARG_WORD, NULL, false, true}},
        .opts = assert_opts,
        .exec = exec_assert,
    },
    {
        .name = "set",
        .group = "shell",
        .help = "change a setting, or set a variable for ${NAME}",
        .example = "set jobs 2",
        .args = {{"NAME", ARG_SETTING, NULL, false, false},
                 {"VALUE", ARG_WORD, NULL, false, false}},
        .exec = exec_set,
    },
    {
        .name = "show",
        .group = "shell",
        .help = "show settings and variables",
        .example = "show",
        .args = {{"NAME", ARG_SETTING, NULL, true, false}},
        .exec = exec_show,
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
        .args = {{"COMMAND", ARG_LINE, NULL, false, true}},
        .exec = exec_time,
    },
    {
        .name = "help",
        .group = "shell",
        .help = "list the commands, or explain one",
        .example = "help pin",
        .args = {{"COMMAND", ARG_COMMAND, NULL, true, true}},
        .exec = exec_help,
    },
    {
        .name = "apropos",
        .group = "shell",
        .help = "commands whose help has a word",
        .example = "apropos accuracy",
        .args = {{"WORD", ARG_WORD, NULL, false, false}},
        .exec = exec_apropos,
    },
    {
        .name = "quit",
        .alias = "exit",
        .group = "shell",
        .help = "leave",
        .example = "quit",
        .args = {{"CODE", ARG_INT, NULL, true, false}},
        .exec = exec_quit,
    },
    {0},
};
