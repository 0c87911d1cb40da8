/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd.c: the command language: finds the command of a line, checks options and arguments against
 * its row, runs it. Words are words.c's; what commands do is in cmd_*.c, each ending in its table.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tui/expr.h"
#include "tui/own_metric.h"
#include "tui/results.h"
#include "tui/shell.h"

static const struct cmd *const families[] = {
    cmd_model,   cmd_data,   cmd_run,      cmd_rank,    cmd_layer,       cmd_fused, cmd_sums,
    cmd_judge,   cmd_image,  cmd_graph,    cmd_pin,     cmd_sensitivity, cmd_sweep, cmd_metric,
    cmd_culprit, cmd_whatif, cmd_quantize, cmd_file,    cmd_setting,     cmd_copy,  cmd_shell,
    cmd_record,  cmd_custom, cmd_report,   cmd_session, cmd_doctor,      cmd_help,  cmd_ui,
    cmd_choice,  cmd_jump,   cmd_plot,     cmd_screen,  cmd_cost,        cmd_cache,
};

void cmd_each(void (*fn)(void *ctx, const struct cmd *c), void *ctx)
{
    for (size_t f = 0; f < COUNT(families); f++) {
        for (const struct cmd *c = families[f]; c->name; c++) {
            fn(ctx, c);
        }
    }
}

/* ---- Finding a command ---------------------------------------------------------------------- */

struct lookup {
    const char *word;
    const struct cmd *exact, *prefix, *near;
    int n_prefix, distance;
};

/* Commands are one or two words ("load pair"): a name matches when its first word does. */
static void consider(void *ctx, const struct cmd *c)
{
    struct lookup *q = ctx;
    size_t n = strlen(q->word);
    if (strcmp(c->name, q->word) == 0 || (c->alias && strcmp(c->alias, q->word) == 0)) {
        q->exact = c;
    }
    if (strncmp(c->name, q->word, n) == 0) {
        q->n_prefix++;
        q->prefix = c;
    }
    char first[32]; /* "lod" is near "load pair" */
    snprintf(first, sizeof first, "%.*s", (int)strcspn(c->name, " "), c->name);
    int d = MIN(text_distance(c->name, q->word, 3), text_distance(first, q->word, 3));
    if (d < q->distance) {
        q->distance = d;
        q->near = c;
    }
}

int cmd_find(const struct session *s, const char *word, const struct cmd **out, struct err *err)
{
    struct lookup q = {.word = word, .distance = 3};
    cmd_each(consider, &q);
    if (q.exact || (!s->batch && q.n_prefix == 1)) {
        *out = q.exact ? q.exact : q.prefix;
        return OK;
    }
    if (!s->batch && q.n_prefix > 1) {
        return err_set(err, E_USAGE, "'%s' stands for several commands, '%s' among them", word,
                       q.prefix->name);
    }
    if (q.near) {
        return err_set(err, E_USAGE, "no command '%s'; did you mean '%s'?", word, q.near->name);
    }
    return err_set(err, E_USAGE, "no command '%s'; 'help' lists them", word);
}

static void usage_opts(const struct cmd *c, FILE *f)
{
    for (const struct opt_spec *o = c->opts; o && o->name; o++) {
        fprintf(f, o->kind == ARG_FLAG ? " [%s]" : " [%s %s]", o->name, o->value ? o->value : "");
    }
}

char *cmd_usage(const struct cmd *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    fputs(c->name, f);
    for (const struct arg_spec *a = c->args; a->name; a++) {
        const char *what = a->kind == ARG_CHOICE ? a->choices : a->name;
        fprintf(f, a->optional ? " [%s%s]" : " %s%s", what, a->repeat ? "..." : "");
    }
    usage_opts(c, f);
    fclose(f);
    return text;
}

/* ---- Options and arguments ------------------------------------------------------------------ */

char *call_words(const struct call *c)
{
    char *text = mem_dup("");
    for (size_t i = 0; i < c->n_args; i++) {
        char *longer = mem_printf("%s%s%s", text, i ? " " : "", c->args[i]);
        free(text);
        text = longer;
    }
    return text;
}

const char *call_opt(const struct call *c, const char *name)
{
    for (size_t i = c->n_opts; i > 0; i--) { /* the last one said counts */
        if (strcmp(c->opts[i - 1].spec->name, name) == 0) {
            return c->opts[i - 1].value ? c->opts[i - 1].value : "";
        }
    }
    return NULL;
}

static int read_int(const char *text, const char *what, int64_t *out, struct err *err)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || v > INT64_C(1000000000000) || v < -INT64_C(1000000000000)) {
        return err_set(err, E_USAGE, "%s wants a whole number, found '%s'", what, text);
    }
    *out = v;
    return OK;
}

int call_int(const struct call *c, const char *name, int64_t dflt, int64_t *out, struct err *err)
{
    const char *v = call_opt(c, name);
    *out = dflt;
    return v ? read_int(v, name, out, err) : OK;
}

static const struct opt_spec *find_opt(const struct cmd *c, const char *name)
{
    for (const struct opt_spec *o = c->opts; o && o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            return o;
        }
    }
    return NULL;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int call_may_write(const struct call *c, const char *path, struct err *err)
{
    const struct graph *models[] = {c->s->fp32, c->s->int8};
    const bool can_force = find_opt(c->cmd, "--force") != NULL;
    const char *how = can_force ? "; --force overwrites it" : "";
    if (call_opt(c, "--force")) {
        return OK;
    }
    for (size_t i = 0; i < COUNT(models); i++) {
        if (models[i] && same_file(path, models[i]->path)) {
            return err_set(err, E_USAGE, "%s is a loaded model%s", path, how);
        }
    }
    return can_force && file_exists(path) ? err_set(err, E_USAGE, "%s exists%s", path, how) : OK;
}

/* What can be said of a word without looking at models and data. */
static int check_word(const struct call *c, enum arg_kind kind, const char *choices,
                      const char *what, const char *word, struct err *err)
{
    char name[64];
    enum sort_dir dir;
    int64_t i = 0;
    int rc;
    char *end;
    struct expr_value v;
    switch (kind) {
    case ARG_CHOICE:
        return text_listed(choices, word)
                   ? OK
                   : err_set(err, E_USAGE, "%s is one of %s, found '%s'", what, choices, word);
    case ARG_INT:
        return read_int(word, what, &i, err);
    case ARG_COUNT:
        rc = read_int(word, what, &i, err);
        return rc || i >= 0 ? rc
                            : err_set(err, E_USAGE, "%s is at least 0, found '%s'", what, word);
    case ARG_REAL:
        return isfinite(strtod(word, &end)) && end != word && !*end
                   ? OK
                   : err_set(err, E_USAGE, "%s wants a number, found '%s'", what, word);
    case ARG_METRIC:
        if (parse_sort(word, name, sizeof name, &dir, err)) {
            return E_USAGE;
        }
        return metric_find(name) || strcmp(name, "none") == 0
                   ? OK
                   : err_set(err, E_USAGE, "no metric '%s'; 'metrics' lists them", name);
    case ARG_OUTCOME:
        return session_outcome(c->s, word) || (c->dry && own_expected(c->s, word))
                   ? OK
                   : err_set(err, E_USAGE, "no metric '%s' of outputs; 'outcomes' lists them",
                             word);
    case ARG_LAYER:
        if (word[0] == '{') {
            char *inner = mem_printf("%.*s", (int)MAX(strlen(word), 2) - 2, word + 1);
            rc = expr_eval(inner, NULL, NULL, &v, err);
            free(inner);
            return rc;
        }
        return OK;
    default:
        return OK;
    }
}

/* Words in front of the argument that is a whole line: options behind it are that line's. */
static size_t before_line(const struct cmd *c)
{
    size_t i = 0;
    while (c->args[i].name && c->args[i].kind != ARG_LINE) {
        i++;
    }
    return c->args[i].name ? i : SIZE_MAX;
}

static int take_options(struct call *c, struct words *w, size_t from, size_t to, struct err *err)
{
    c->args = mem_alloc((to - from + 1) * sizeof *c->args);
    const size_t own = before_line(c->cmd);
    bool ended = false; /* by "--": what follows are arguments */
    for (size_t i = from; i < to; i++) {
        const char *word = w->w[i];
        bool option = !ended && !w->quoted[i] && c->n_args <= own && strncmp(word, "--", 2) == 0;
        if (option && !word[2]) {
            ended = true;
            continue;
        }
        if (!option) {
            c->args[c->n_args++] = w->w[i];
            continue;
        }
        char name[64];
        const char *eq = strchr(word, '=');
        snprintf(name, sizeof name, "%.*s", (int)(eq ? (size_t)(eq - word) : strlen(word)), word);
        const struct opt_spec *o = find_opt(c->cmd, name);
        if (!o && form_find(word + 2, &c->form)) {
            continue;
        }
        if (!o || c->n_opts == COUNT(c->opts)) {
            return err_set(err, E_USAGE, "'%s' has no option '%s'; see 'help %s'", c->cmd->name,
                           name, c->cmd->name);
        }
        char *value = eq ? w->w[i] + (eq - word) + 1 : NULL;
        if (o->kind != ARG_FLAG && !value) {
            if (i + 1 >= to) {
                return err_set(err, E_USAGE, "%s wants %s", name, o->value);
            }
            value = w->w[++i];
        }
        if (o->kind == ARG_FLAG && value) {
            return err_set(err, E_USAGE, "%s takes no value", name);
        }
        int rc = value ? check_word(c, o->kind, o->choices, name, value, err) : OK;
        if (rc) {
            return rc;
        }
        c->opts[c->n_opts].spec = o;
        c->opts[c->n_opts++].value = value;
    }
    return OK;
}

static int check_args(const struct call *c, struct err *err)
{
    size_t i = 0;
    for (const struct arg_spec *a = c->cmd->args; a->name; a++) {
        if (i >= c->n_args && !a->optional) {
            char *usage = cmd_usage(c->cmd);
            int rc = err_set(err, E_USAGE, "'%s' wants %s: %s", c->cmd->name, a->name, usage);
            free(usage);
            return rc;
        }
        while (i < c->n_args) {
            int rc = check_word(c, a->kind, a->choices, a->name, c->args[i], err);
            if (rc) {
                return rc;
            }
            i++;
            if (!a->repeat && a->kind != ARG_LINE) {
                break;
            }
        }
    }
    if (i < c->n_args) {
        return err_set(err, E_USAGE, "'%s' takes no further argument, found '%s'", c->cmd->name,
                       c->args[i]);
    }
    return OK;
}

static int check_needs(const struct session *s, const struct cmd *c, struct err *err)
{
    if ((c->needs & (NEED_MODEL | NEED_PAIR)) && !s->fp32 && !s->int8) {
        return err_set(err, E_STATE, "'%s' needs a model: load pair FP32 INT8", c->name);
    }
    if ((c->needs & NEED_PAIR) && !s->pair) {
        return err_set(err, E_STATE, "'%s' needs both models: load pair FP32 INT8", c->name);
    }
    if (c->needs & NEED_ONE_FORMAT) {
        int rc = pin_possible(s->fp32, s->int8, err);
        if (rc) {
            return rc;
        }
    }
    bool no_inputs = (s->fp32 && !s->fp32->n_inputs) || (s->int8 && !s->int8->n_inputs);
    if ((c->needs & NEED_DATA) && !s->data.n && !no_inputs) {
        return err_set(err, E_STATE, "'%s' needs images: dataset add PATH", c->name);
    }
    if ((c->needs & NEED_RUN) && !s->study) {
        return err_set(err, E_STATE, "'%s' needs results: run", c->name);
    }
    if ((c->needs & NEED_SCREEN) && !s->screen) {
        return err_set(err, E_STATE, "'%s' needs the full screen", c->name);
    }
    return OK;
}

/* ---- Running a line ------------------------------------------------------------------------- */

/* The command of words [from, to): "load pair" takes two words. */
static int resolve(const struct session *s, const struct words *w, size_t from, size_t to,
                   const struct cmd **cmd, size_t *first_arg, struct err *err)
{
    if (from + 1 < to) {
        char *two = mem_printf("%s %s", w->w[from], w->w[from + 1]);
        struct lookup q = {.word = two, .distance = 0};
        cmd_each(consider, &q);
        free(two);
        if (q.exact) {
            *cmd = q.exact;
            *first_arg = from + 2;
            return OK;
        }
    }
    *first_arg = from + 1;
    return cmd_find(s, w->w[from], cmd, err);
}

/* Runs what options and arguments were found for, and records it when a front asked for it. */
static int run_call(struct call *c, const char *line, struct err *err)
{
    struct session *s = c->s;
    const enum form before = s->form;
    int rc = check_needs(s, c->cmd, err);
    if (rc) {
        return rc;
    }
    const struct record_before was = record_before(s);
    session_form(s, c->form ? c->form : before);
    if (s->batch && !c->cmd->own_judge) {
        judged_run(s);
    }
    rc = c->cmd->exec(c, err);
    results_tell(s->results, c->note);
    if (c->form) {
        session_form(s, before);
    }
    if (s->shell->depth == 1) {
        record_after(s, c->cmd, line, &was, rc);
    }
    return rc;
}

/* What streams and how a line is run: dry only checks. */
struct way {
    bool dry;
    FILE *out, *note;
};

static int run_command(struct session *s, struct words *w, size_t from, size_t to,
                       const struct way *way, struct err *err)
{
    struct call c = {.s = s, .dry = way->dry, .note = way->note};
    size_t args = from;
    char *line = way->dry ? NULL : words_line(w, from, to);
    if (to - from > 1 && !w->quoted[to - 1] && strcmp(w->w[to - 1], "&") == 0) {
        c.background = true;
        to--;
    }
    int rc = resolve(s, w, from, to, &c.cmd, &args, err);
    rc = rc ? rc : take_options(&c, w, args, to, err);
    rc = rc ? rc : check_args(&c, err);
    if (!rc && !way->dry) {
        job_settle(s);
        c.out = sink_stream(s, way->out);
        rc = run_call(&c, line, err);
    } else if (!rc) {
        alias_expect(&c);
        own_expect(&c);
    }
    free(c.args);
    free(line);
    return rc;
}

static int run_words(struct session *s, struct words *w, const struct way *way, struct err *err);

/* The words of an alias in place of its name. */
static int run_alias(struct session *s, const char *text, const struct words *w, size_t from,
                     size_t to, const struct way *way, struct err *err)
{
    enum { DEEPEST = 16 };
    if (s->shell->alias_depth == DEEPEST) {
        return err_set(err, E_LIMIT, "alias '%s' leads to itself", w->w[from]);
    }
    char *rest = words_line(w, from + 1, to);
    char *line = mem_printf("%s %s", text, rest);
    struct words own = {0};
    s->shell->alias_depth++;
    int rc = words_split(s, line, &own, err);
    rc = rc ? rc : run_words(s, &own, way, err);
    s->shell->alias_depth--;
    words_fini(&own);
    free(line);
    free(rest);
    return rc ? err_in(err, "alias '%s'", w->w[from]) : OK;
}

/* "-CMD": its error is told and passed over, as in make. */
static bool takes_dash(const struct words *w, size_t at)
{
    char *word = w->w[at];
    if (w->quoted[at] || word[0] != '-' || !isalpha((unsigned char)word[1])) {
        return false;
    }
    memmove(word, word + 1, strlen(word));
    return true;
}

static int run_one(struct session *s, struct words *w, size_t from, size_t to,
                   const struct way *way, struct err *err)
{
    const bool ignore = takes_dash(w, from);
    const char *name = w->w[from], *alias = w->quoted[from] ? NULL : alias_text(s, name);
    int rc = OK;
    if (way->dry && json_object_get(s->shell->named, name)) {
        return OK; /* an earlier line of the script says what it is */
    }
    rc = alias ? run_alias(s, alias, w, from, to, way, err) : run_command(s, w, from, to, way, err);
    if (!rc || !ignore || way->dry || rc == E_STOP) {
        return rc;
    }
    char text[sizeof err->text];
    fprintf(way->note, "error: %s [%s] (ignored)\n", text_safe(text, sizeof text, err->text),
            err_name(rc));
    return OK;
}

static int run_words(struct session *s, struct words *w, const struct way *way, struct err *err)
{
    int rc = OK;
    for (size_t from = 0; from < w->n && !rc;) {
        size_t to = from;
        while (to < w->n && (w->quoted[to] || strcmp(w->w[to], ";") != 0)) {
            to++;
        }
        if (to > from) {
            rc = run_one(s, w, from, to, way, err);
        }
        from = to + 1;
    }
    return rc;
}

int cmd_line(struct session *s, const char *line, FILE *out, FILE *note, struct err *err)
{
    struct words w = {0};
    const struct way way = {.out = out, .note = note};
    if (!s->shell->depth++) {
        s->shell->front = out;
    }
    int rc = words_split(s, line, &w, err);
    rc = rc ? rc : run_words(s, &w, &way, err);
    words_fini(&w);
    fflush(out);
    if (!--s->shell->depth) {
        const int wrote = sink_flush(s, rc ? NULL : err);
        rc = rc ? rc : wrote;
    }
    return rc;
}

int cmd_check(struct session *s, const char *line, struct err *err)
{
    struct words w = {0};
    const struct way way = {.dry = true};
    /* A variable may be set by an earlier line of the same script: its text is not known yet. */
    if (strstr(line, "${")) {
        return OK;
    }
    int rc = words_split(s, line, &w, err);
    rc = rc ? rc : run_words(s, &w, &way, err);
    words_fini(&w);
    return rc;
}
