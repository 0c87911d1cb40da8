/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_setting.c: THE table of settings, and the commands set and show.
 */
#include <stddef.h>
#include <stdlib.h>

#include "tui/graphics.h"
#include "tui/results.h"
#include "tui/shell.h"

/* ---- Settings: one row each ----------------------------------------------------------------- */

struct setting {
    const char *name;
    const char *values; /* NULL: the names of the numerics */
    const char *help;
    int (*set)(struct session *s, const char *value, struct err *err);
    void (*show)(const struct session *s, char *dst, size_t size);
    bool kept;     /* in a saved session */
    size_t on_off; /* without set and show: where in a session its switch is */
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
    {"jobs", "N", "worker threads of runs", set_jobs, show_jobs, false, 0},
    {"memory", "SIZE", "limit for activations, such as 4G", set_memory, show_memory, false, 0},
    {"numerics", NULL, "whose INT8 arithmetic is computed", set_numerics, show_numerics, true, 0},
    {"kernels", "fast|plain", "vector kernels, or the plain loops they are checked against",
     set_kernels, show_kernels, true, 0},
    {"output", "table|json|jsonl|csv", "form of listings", set_output, show_output, false, 0},
    {"top", "N", "rows of listings, 0 for all", set_top, show_top, true, 0},
    {"local", "N|all|off", "images of a run on which local errors are measured, from the first on",
     set_local, show_local, true, 0},
    {"on_error", "stop|continue", "what a script does after an error", set_on_error, show_on_error,
     true, 0},
    {"rows", "N", "height of the screen that pages are measured by; a real one overrules it",
     set_rows, show_rows, false, 0},
    {"ascii", "on|off", "draw with ASCII characters only", NULL, NULL, false,
     offsetof(struct session, set.ascii)},
    {"cache", "on|off", "take and keep results of equal questions, see cache info", NULL, NULL,
     false, offsetof(struct session, set.cache)},
    {"cache-size", "SIZE", "limit of what is kept on disk, such as 512M", set_cache_size,
     show_cache_size, false, 0},
    {"graphics", "auto|kitty|sixel|blocks",
     "how `zoom` shows a picture; all but blocks need libchafa and a terminal with that protocol",
     set_graphics, show_graphics, false, 0},
    {"mouse", "on|off",
     "clicks choose rows, columns to sort by and views, the wheel moves; Shift leaves them to the "
     "terminal",
     NULL, NULL, false, offsetof(struct session, set.mouse)},
    {"clipboard", "on|off", "`copy` writes to the clipboard of the terminal, by OSC 52", NULL, NULL,
     false, offsetof(struct session, set.clipboard)},
};

static int read_switch(const char *name, const char *v, bool *out, struct err *err)
{
    if (strcmp(v, "on") != 0 && strcmp(v, "off") != 0) {
        return err_set(err, E_USAGE, "%s is on or off, found '%s'", name, v);
    }
    *out = strcmp(v, "on") == 0;
    return OK;
}

static int setting_set(struct session *s, const struct setting *k, const char *v, struct err *err)
{
    return k->set ? k->set(s, v, err)
                  : read_switch(k->name, v, (bool *)((char *)s + k->on_off), err);
}

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
    const struct setting *k = &settings[i];
    if (k->show) {
        k->show(s, dst, size);
    } else {
        snprintf(dst, size, "%s", *(const bool *)((const char *)s + k->on_off) ? "on" : "off");
    }
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
        int rc = setting_set(c->s, k, c->args[1], err);
        if (!rc) {
            origin_note(c->s, k->name, NULL);
        }
        return rc;
    }
    if (json_object_set_new(c->s->vars, c->args[0], json_string(c->args[1]))) {
        return err_set(err, E_USAGE, "value of '%s' is not UTF-8", c->args[0]);
    }
    origin_note(c->s, c->args[0], NULL);
    return OK;
}

void origin_note(struct session *s, const char *name, const char *from)
{
    from = from ? from : s->shell->where ? s->shell->where : "typed";
    json_object_set_new(s->shell->origins, name, json_text(from));
}

/* Where the value of a setting or variable comes from. */
static const char *origin_of(const struct session *s, const char *name)
{
    const json_t *from = json_object_get(s->shell->origins, name);
    return from ? json_string_value(from) : "default";
}

static void print_settings(struct call *c, json_t *o, bool origin)
{
    const char *key;
    json_t *value;
    char text[512], from[512];
    json_object_foreach(o, key, value)
    {
        text_safe(text, sizeof text, json_string_value(value));
        text_safe(from, sizeof from, origin_of(c->s, key));
        fprintf(c->out, origin ? "%s = %s  (%s)\n" : "%s = %s\n", key, text, from);
    }
}

static json_t *origins_json(const struct session *s, json_t *values)
{
    json_t *o = json_object(), *value;
    const char *key;
    json_object_foreach(values, key, value)
    {
        json_object_set_new(o, key, json_string(origin_of(s, key)));
    }
    return o;
}

static int exec_show(struct call *c, struct err *err)
{
    bool origin = call_opt(c, "--origin");
    json_t *o = json_object(), *value;
    const char *key;
    char text[512];
    for (size_t i = 0; i < COUNT(settings); i++) {
        setting_show(c->s, i, text, sizeof text);
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
    if (!c->s->json) {
        print_settings(c, o, origin);
    } else if (origin) {
        emit_json(c, json_pack("{s:O,s:o}", "settings", o, "origin", origins_json(c->s, o)));
    } else {
        emit_json(c, json_pack("{s:O}", "settings", o));
    }
    json_decref(o);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec show_opts[] = {
    {"--origin", ARG_FLAG, NULL, "where each value comes from", NULL},
    {0},
};

const struct cmd cmd_setting[] = {
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
        .detail =
            "Settings come from the defaults, then the start-up file, then QSCOPE_NAME in the "
            "environment, then options, then commands; the last one counts. --origin tells "
            "which it was: file and line, variable, option, session, or typed.",
        .example = "show --origin",
        .args = {{"NAME", ARG_SETTING, NULL, true, false}},
        .opts = show_opts,
        .exec = exec_show,
    },
    {0},
};
