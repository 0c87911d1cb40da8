/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_complete.c: what may follow in a line that is being typed. It knows no command: it walks the
 * tables of commands, options, choices, metrics and views, and the names in the session.
 */
#include <dirent.h>
#include <stdlib.h>

#include "tui/own_metric.h"
#include "tui/shell.h"

struct found {
    const struct session *s;
    char *prefix; /* what was typed of the word, unquoted */
    bool quoted;  /* it began with a quote: all candidates do */
    size_t n, cap;
    char **list;
};

/* ---- The line so far ------------------------------------------------------------------------ */

struct typed {
    size_t n, cap;
    char **words; /* of the command being typed, the unfinished last word left out */
    size_t start; /* of the unfinished word in the line */
    char *last;   /* the unfinished word, unquoted */
    bool quoted;
};

static void typed_clear(struct typed *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->words[i]);
    t->n = 0;
}

static void typed_fini(struct typed *t)
{
    typed_clear(t);
    free(t->words);
    free(t->last);
}

static void typed_push(struct typed *t, char *word)
{
    if (strcmp(word, ";") == 0) { /* the next command begins */
        free(word);
        typed_clear(t);
        return;
    }
    t->words = mem_push(t->words, t->n, &t->cap, sizeof(*t->words));
    t->words[t->n++] = word;
}

/* Splits line[0..pos) as cmd.c does, but forgives what is unfinished. */
static void typed_read(struct typed *t, const char *line, size_t pos)
{
    size_t i = 0;
    for (;;) {
        while (i < pos && strchr(" \t", line[i]))
            i++;
        char *word = mem_alloc(pos - i + 1);
        size_t n = 0;
        char quote = '\0';
        t->start = i;
        t->quoted = i < pos && (line[i] == '\'' || line[i] == '"');
        for (; i < pos && (quote || !strchr(" \t", line[i])); i++) {
            if (line[i] == quote)
                quote = '\0';
            else if (!quote && (line[i] == '\'' || line[i] == '"'))
                quote = line[i];
            else if (line[i] == '\\' && quote != '\'' && i + 1 < pos)
                word[n++] = line[++i];
            else
                word[n++] = line[i];
        }
        if (i >= pos) {
            t->last = word;
            return;
        }
        typed_push(t, word);
    }
}

/* ---- Candidates ----------------------------------------------------------------------------- */

static bool fits(const struct found *f, const char *word)
{
    return strncmp(word, f->prefix, strlen(f->prefix)) == 0;
}

static void push_text(struct found *f, char *text)
{
    f->list = mem_push(f->list, f->n, &f->cap, sizeof(*f->list));
    f->list[f->n++] = text;
}

static void add(struct found *f, const char *word)
{
    if (!fits(f, word))
        return;
    char *text = cmd_quote(word);
    if (f->quoted && text[0] != '\'') {
        free(text);
        text = mem_printf("'%s'", word);
    }
    push_text(f, text);
}

/* An option in quotes would be none. */
static void add_option(struct found *f, const char *name)
{
    if (!f->quoted && fits(f, name))
        push_text(f, mem_dup(name));
}

/* "a|b|c" or "a|b[:asc|:desc]|c": the plain words of it. */
static void add_choices(struct found *f, const char *choices)
{
    size_t whole;
    for (const char *p; (p = text_next(&choices, &whole));) {
        const size_t n = MIN(strcspn(p, "["), whole);
        char *word = strndup(p, n);
        if (n > 0 && word[0] != ':')
            (word[0] == '-' ? add_option : add)(f, word);
        free(word);
    }
}

static void add_layers(struct found *f)
{
    const struct session *s = f->s;
    for (size_t i = 0; (s->fp32 || s->int8) && i < s->match.n_layers; i++)
        add(f, s->match.layers[i].name);
    add(f, "@marked");
    add(f, "@pinned");
}

static void add_aliases(struct found *f)
{
    const char *name;
    json_t *line;
    json_object_foreach(f->s->shell->aliases, name, line) add(f, name);
}

static void add_keys(struct found *f)
{
    for (const struct key *k = keymap; k->view; k++)
        add(f, k->key);
    for (size_t i = 0; i < f->s->shell->n_bound; i++)
        add(f, f->s->shell->bound[i].key);
}

static void add_settings(struct found *f)
{
    const char *name;
    json_t *value;
    for (size_t i = 0; setting_name(i); i++)
        add(f, setting_name(i));
    json_object_foreach(f->s->vars, name, value) add(f, name);
}

static void add_images(struct found *f)
{
    for (size_t i = 0; i < f->s->data.n; i++)
        add(f, f->s->data.samples[i].name);
    add(f, "@marked");
}

static void add_outcomes(struct found *f)
{
    const struct outcome *o;
    for (size_t i = 0; (o = session_outcome_at(f->s, i)); i++)
        add(f, o->name);
}

static void add_metrics(struct found *f)
{
    for (const struct metric *m = metrics; m->name; m++)
        add(f, m->name);
    add(f, "none");
}

static void add_files(struct found *f)
{
    const char *slash = strrchr(f->prefix, '/');
    const size_t dir_size = slash ? (size_t)(slash - f->prefix) + 1 : 0;
    const char *base = f->prefix + dir_size;
    char *dir = mem_printf("%.*s", (int)dir_size, f->prefix);
    DIR *d = opendir(dir_size ? dir : ".");
    for (const struct dirent *e; d && (e = readdir(d));) {
        if ((e->d_name[0] == '.' && base[0] != '.') || strncmp(e->d_name, base, strlen(base)) != 0)
            continue;
        char *path = mem_printf("%s%s", dir, e->d_name);
        char *shown = mem_printf("%s%s", path, file_is_dir(path) ? "/" : "");
        add(f, shown);
        free(shown);
        free(path);
    }
    if (d)
        closedir(d);
    free(dir);
}

struct command_walk {
    struct found *f;
    const char *first; /* first word of two-word commands wanted; NULL: first words */
};

static void add_command(void *ctx, const struct cmd *c)
{
    struct command_walk *w = ctx;
    const size_t n = strcspn(c->name, " ");
    if (!w->first) {
        char *word = strndup(c->name, n);
        add(w->f, word);
        free(word);
        if (c->alias)
            add(w->f, c->alias);
    } else if (c->name[n] == ' ' && strlen(w->first) == n && strncmp(c->name, w->first, n) == 0) {
        add(w->f, c->name + n + 1);
    }
}

static void add_commands(struct found *f, const char *first)
{
    struct command_walk w = {.f = f, .first = first};
    cmd_each(add_command, &w);
    if (!first)
        add_aliases(f);
}

static void add_kind(struct found *f, enum arg_kind kind, const char *choices, const char *value)
{
    switch (kind) {
    case ARG_CHOICE:
        add_choices(f, choices);
        break;
    case ARG_FILE:
        add_files(f);
        break;
    case ARG_LAYER:
        add_layers(f);
        break;
    case ARG_IMAGE:
        add_images(f);
        break;
    case ARG_METRIC:
        add_metrics(f);
        break;
    case ARG_SCORE:
        for (const struct image_key *k = image_keys; k->name; k++)
            add(f, k->name);
        break;
    case ARG_OUTCOME:
        add_outcomes(f);
        break;
    case ARG_COMMAND:
        add_commands(f, NULL);
        break;
    case ARG_SETTING:
        add_settings(f);
        break;
    case ARG_ITEM:
        add_layers(f);
        add_images(f);
        add_choices(f, choices ? choices : "");
        break;
    case ARG_KEY:
        add_keys(f);
        break;
    case ARG_ALIAS:
        add_aliases(f);
        break;
    case ARG_LINE:
        add_commands(f, NULL);
        break;
    case ARG_VIEW:
        for (int i = 0; i < N_VIEWS; i++)
            add(f, views[i]->name);
        break;
    default:
        if (choices || (value && strchr(value, '|')))
            add_choices(f, choices ? choices : value);
        break;
    }
}

/* ---- One command ---------------------------------------------------------------------------- */

struct by_name {
    const char *name;
    const struct cmd *cmd;
};

static void match_name(void *ctx, const struct cmd *c)
{
    struct by_name *b = ctx;
    if (strcmp(c->name, b->name) == 0)
        b->cmd = c;
}

/* The command of the words typed so far; *first: its first argument. */
static const struct cmd *command_of(const struct session *s, const struct typed *t, size_t *first)
{
    const struct cmd *c = NULL;
    if (t->n >= 2) {
        char *two = mem_printf("%s %s", t->words[0], t->words[1]);
        struct by_name b = {.name = two};
        cmd_each(match_name, &b);
        free(two);
        *first = 2;
        if (b.cmd)
            return b.cmd;
    }
    *first = 1;
    return cmd_find(s, t->words[0], &c, NULL) == OK ? c : NULL;
}

static const struct opt_spec *option_of(const struct cmd *c, const char *word)
{
    for (const struct opt_spec *o = c->opts; o && o->name; o++)
        if (strcmp(o->name, word) == 0)
            return o;
    return NULL;
}

/* The argument whose turn it is after the words typed; NULL when there is none. */
static const struct arg_spec *argument_of(const struct cmd *c, const struct typed *t, size_t first)
{
    size_t at = 0;
    for (size_t i = first; i < t->n; i++) {
        const struct opt_spec *o = option_of(c, t->words[i]);
        if (o && o->kind != ARG_FLAG)
            i++; /* its value */
        else if (!o && c->args[at].name && !c->args[at].repeat)
            at++;
    }
    return c->args[at].name ? &c->args[at] : NULL;
}

static void add_arguments(struct found *f, const struct cmd *c, const struct typed *t, size_t first)
{
    const struct opt_spec *before = t->n > first ? option_of(c, t->words[t->n - 1]) : NULL;
    if (before && before->kind != ARG_FLAG) {
        add_kind(f, before->kind, before->choices, before->value);
        return;
    }
    if (f->prefix[0] != '-') {
        const struct arg_spec *a = argument_of(c, t, first);
        if (a)
            add_kind(f, a->kind, a->choices,
                     a->kind == ARG_VALUE ? setting_choices(t->words[t->n - 1]) : NULL);
        if (a || f->prefix[0])
            return;
    }
    for (const struct opt_spec *o = c->opts; o && o->name; o++)
        add_option(f, o->name);
    if (f->prefix[0] == '-')
        add_choices(f, FORM_OPTIONS);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once, NULL at the end; NULL when nothing was found. */
static char **finish(struct found *f)
{
    if (f->n == 0)
        return NULL;
    size_t n = 1;
    qsort(f->list, f->n, sizeof(*f->list), by_text);
    for (size_t i = 1; i < f->n; i++) {
        if (strcmp(f->list[i], f->list[n - 1]) == 0)
            free(f->list[i]);
        else
            f->list[n++] = f->list[i];
    }
    f->list = mem_grow(f->list, (n + 1) * sizeof(*f->list));
    f->list[n] = NULL;
    return f->list;
}

const struct cmd *cmd_typed(const struct session *s, const char *line, size_t pos)
{
    struct typed t = {0};
    size_t first;
    typed_read(&t, line, pos);
    /* The last word may be the command itself, or its second word. */
    struct by_name b = {0};
    char *two = t.n == 1 ? mem_printf("%s %s", t.words[0], t.last) : NULL;
    b.name = t.n == 0 ? t.last : two ? two : "";
    cmd_each(match_name, &b);
    const struct cmd *c = b.cmd ? b.cmd : t.n ? command_of(s, &t, &first) : NULL;
    free(two);
    typed_fini(&t);
    return c;
}

/* The help of the row that one of the tables has for a word. */
static const char *table_help(const struct session *s, enum arg_kind kind, const char *word)
{
    switch (kind) {
    case ARG_METRIC: {
        const struct metric *m = metric_find(word);
        return m ? m->help : NULL;
    }
    case ARG_SCORE: {
        const struct image_key *k = image_key_find(word);
        return k ? k->help : NULL;
    }
    case ARG_OUTCOME: {
        const struct outcome *o = session_outcome(s, word);
        return o ? o->help : NULL;
    }
    case ARG_SETTING:
        for (size_t i = 0; setting_name(i); i++)
            if (strcmp(setting_name(i), word) == 0)
                return setting_help(i);
        return NULL;
    case ARG_VIEW:
        for (int i = 0; i < N_VIEWS; i++)
            if (strcmp(views[i]->name, word) == 0)
                return views[i]->help;
        return NULL;
    default:
        return NULL;
    }
}

const char *cmd_choice_help(const struct session *s, const char *line, size_t pos,
                            const char *choice)
{
    struct typed t = {0};
    const char *help = NULL;
    size_t first;
    typed_read(&t, line, pos);
    char *name = t.n ? mem_printf("%s %s", t.words[0], choice) : mem_dup(choice);
    struct by_name b = {.name = name};
    const struct cmd *c = t.n ? command_of(s, &t, &first) : NULL;
    if (t.n < 2)
        cmd_each(match_name, &b);
    if (b.cmd) {
        help = b.cmd->help;
    } else if (c && choice[0] == '-') {
        const struct opt_spec *o = option_of(c, choice);
        help = o ? o->help : NULL;
    } else if (c) {
        const struct opt_spec *o = t.n > first ? option_of(c, t.words[t.n - 1]) : NULL;
        const struct arg_spec *a = argument_of(c, &t, first);
        help = table_help(s, o ? o->kind : a ? a->kind : ARG_NONE, choice);
    }
    free(name);
    typed_fini(&t);
    return help;
}

char **cmd_complete(const struct session *s, const char *line, size_t pos, size_t *word_start)
{
    struct typed t = {0};
    typed_read(&t, line, pos);
    struct found f = {.s = s, .prefix = t.last, .quoted = t.quoted};
    *word_start = t.start;
    if (t.n == 0) {
        add_commands(&f, NULL);
    } else {
        size_t first;
        const struct cmd *c = command_of(s, &t, &first);
        if (t.n == 1)
            add_commands(&f, t.words[0]);
        if (c)
            add_arguments(&f, c, &t, first);
    }
    typed_fini(&t);
    return finish(&f);
}
