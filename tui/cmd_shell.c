/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_shell.c: the shell of the language: set, show, source, assert, echo, time, quit.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/expr.h"
#include "tui/graphics.h"
#include "tui/pins.h"
#include "tui/results.h"
#include "tui/tui.h"

/* ---- Settings: one row each ----------------------------------------------------------------- */

struct setting {
    const char *name;
    const char *values; /* NULL: the names of the numerics */
    const char *help;
    int (*set)(struct session *s, const char *value, struct err *err);
    void (*show)(const struct session *s, char *dst, size_t size);
    bool kept; /* in a saved session */
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

static int read_size(const char *name, const char *v, size_t *out, struct err *err)
{
    char *end;
    double x = strtod(v, &end);
    double unit = *end == 'G' ? 0x1p30 : *end == 'M' ? 0x1p20 : *end == 'K' ? 0x1p10 : 0;
    if (end == v || unit == 0 || end[1] || !(x > 0) || x * unit > 0x1p46) {
        return err_set(err, E_USAGE, "%s is a size such as 512M or 4G, found '%s'", name, v);
    }
    *out = (size_t)(x * unit);
    return OK;
}

static int set_memory(struct session *s, const char *v, struct err *err)
{
    int rc = read_size("memory", v, &s->set.memory, err);
    s->budget.limit = s->set.memory;
    return rc;
}

static void show_memory(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%zuM", s->set.memory >> 20);
}

/* "ort|ort-unfused|...", or with commas for messages. */
static const char *numerics_list(const char *between)
{
    static char list[512];
    size_t at = 0;
    for (int n = 0; numerics_name((enum numerics)n) && at < sizeof list; n++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", n ? between : "",
                               numerics_name((enum numerics)n));
    }
    return list;
}

static int set_local(struct session *s, const char *v, struct err *err)
{
    bool all = strcmp(v, "all") == 0, off = strcmp(v, "off") == 0;
    if (all || off) {
        s->set.local = all ? -1 : 0;
        return OK;
    }
    return read_count("local", v, 0, 1000000, &s->set.local, err);
}

static void show_local(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, s->set.local < 0 ? "all" : s->set.local ? "%d" : "off", s->set.local);
}

static int set_numerics(struct session *s, const char *v, struct err *err)
{
    int n = numerics_find(v);
    if (n < 0) {
        return err_set(err, E_USAGE, "numerics is one of %s, found '%s'", numerics_list(", "), v);
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

static int set_rows(struct session *s, const char *v, struct err *err)
{
    return read_count("rows", v, 1, 4096, &s->ui.rows, err);
}

static void show_rows(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%d", s->ui.rows > 0 ? s->ui.rows : 24);
}

static int read_switch(const char *name, const char *v, bool *out, struct err *err)
{
    if (strcmp(v, "on") != 0 && strcmp(v, "off") != 0) {
        return err_set(err, E_USAGE, "%s is on or off, found '%s'", name, v);
    }
    *out = strcmp(v, "on") == 0;
    return OK;
}

static int set_ascii(struct session *s, const char *v, struct err *err)
{
    return read_switch("ascii", v, &s->set.ascii, err);
}

static int set_mouse(struct session *s, const char *v, struct err *err)
{
    return read_switch("mouse", v, &s->set.mouse, err);
}

static int set_graphics(struct session *s, const char *v, struct err *err)
{
    for (int g = 0; graphics_name((enum graphics)g); g++) {
        if (strcmp(graphics_name((enum graphics)g), v) == 0) {
            s->set.graphics = (enum graphics)g;
            return OK;
        }
    }
    return err_set(err, E_USAGE, "graphics is auto, kitty, sixel or blocks, found '%s'", v);
}

static void show_graphics(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", graphics_name(s->set.graphics));
}

static void show_mouse(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.mouse ? "on" : "off");
}

static void show_ascii(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.ascii ? "on" : "off");
}

static int set_cache(struct session *s, const char *v, struct err *err)
{
    return read_switch("cache", v, &s->set.cache, err);
}

static void show_cache(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", s->set.cache ? "on" : "off");
}

static int set_cache_size(struct session *s, const char *v, struct err *err)
{
    int rc = read_size("cache-size", v, &s->set.cache_size, err);
    if (!rc) {
        results_limit(s->results, s->set.cache_size);
    }
    return rc;
}

static void show_cache_size(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%zuM", s->set.cache_size >> 20);
}

static int set_output(struct session *s, const char *v, struct err *err)
{
    enum form f;
    if (!form_find(v, &f)) {
        return err_set(err, E_USAGE, "output is table, json, jsonl or csv, found '%s'", v);
    }
    session_form(s, f);
    return OK;
}

static void show_output(const struct session *s, char *dst, size_t size)
{
    snprintf(dst, size, "%s", form_name(s->form));
}

static const struct setting settings[] = {
    {"jobs", "N", "worker threads of runs", set_jobs, show_jobs, false},
    {"memory", "SIZE", "limit for activations, such as 4G", set_memory, show_memory, false},
    {"numerics", NULL, "whose INT8 arithmetic is computed", set_numerics, show_numerics, true},
    {"kernels", "fast|plain", "vector kernels, or the plain loops they are checked against",
     set_kernels, show_kernels, true},
    {"output", "table|json|jsonl|csv", "form of listings", set_output, show_output, false},
    {"top", "N", "rows of listings, 0 for all", set_top, show_top, true},
    {"local", "N|all|off", "images of a run on which local errors are measured, from the first on",
     set_local, show_local, true},
    {"on_error", "stop|continue", "what a script does after an error", set_on_error, show_on_error,
     true},
    {"rows", "N", "height of the screen that pages are measured by; a real one overrules it",
     set_rows, show_rows, false},
    {"ascii", "on|off", "draw with ASCII characters only", set_ascii, show_ascii, false},
    {"cache", "on|off", "take and keep results of equal questions, see cache info", set_cache,
     show_cache, false},
    {"cache-size", "SIZE", "limit of what is kept on disk, such as 512M", set_cache_size,
     show_cache_size, false},
    {"graphics", "auto|kitty|sixel|blocks",
     "how `zoom` shows a picture; all but blocks need libchafa and a terminal with that protocol",
     set_graphics, show_graphics, false},
    {"mouse", "on|off",
     "clicks choose rows, columns to sort by and views, the wheel moves; Shift leaves them to the "
     "terminal",
     set_mouse, show_mouse, false},
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

const char *setting_name(size_t i)
{
    return i < COUNT(settings) ? settings[i].name : NULL;
}

const char *setting_help(size_t i)
{
    return settings[i].help;
}

void setting_show(const struct session *s, size_t i, char *dst, size_t size)
{
    settings[i].show(s, dst, size);
}

bool setting_kept(size_t i)
{
    return settings[i].kept;
}

const char *setting_choices(const char *name)
{
    const struct setting *k = setting_find(name);
    return !k ? NULL : k->values ? k->values : numerics_list("|");
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
    const json_t *compared = function ? NULL : json_object_get(s->compared, name);
    if (compared && (json_is_number(compared) || json_is_null(compared))) {
        out->number = json_is_number(compared) ? json_number_value(compared) : NAN;
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
                           "unmatched and min(METRIC), max(METRIC), mean(METRIC) are; "
                           "'help baseline' has more",
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
    char *line = cmd_join("", c->n_args, c->args);
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
                 {"VALUE", ARG_VALUE, NULL, false, false}},
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
        .name = "quit",
        .alias = "exit",
        .group = "shell",
        .help = "leave",
        .example = "quit",
        .unrecorded = true,
        .args = {{"CODE", ARG_INT, NULL, true, false}},
        .exec = exec_quit,
    },
    {0},
};
