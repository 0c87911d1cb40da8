/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_help.c: help and apropos: the command table, told.
 */
#include <stdlib.h>

#include "tui/tui.h"

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
    return l.found ? OK : err_set(err, E_USAGE, "nothing is about '%s'", word ? word : "");
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

const struct cmd cmd_help[] = {
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
    {0},
};
