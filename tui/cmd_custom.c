/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_custom.c: names and keys of the user's own: alias, bind. They stand in the start-up file as
 * well as anywhere else.
 */
#include <stdlib.h>

#include "tui/cmd_ui.h"
#include "tui/shell.h"

/* The words of a line; one word alone is the whole line, quoted so that ';' could stand in it. */
static char *line_of(char *const *words, size_t n)
{
    return n == 1 ? mem_dup(words[0]) : cmd_retype(n, words);
}

/* ---- alias ----------------------------------------------------------------------------------- */

const char *alias_text(const struct session *s, const char *name)
{
    return json_string_value(json_object_get(s->shell->aliases, name));
}

static int exec_alias(struct call *c, struct err *err);

void alias_expect(const struct call *c)
{
    if (c->cmd->exec == exec_alias && c->n_args > 1)
        json_object_set_new_nocheck(c->s->shell->named, c->args[0], json_true());
}

static int list_aliases(struct call *c, struct err *err)
{
    json_t *list = json_array(), *line;
    const char *name, *only = c->n_args ? c->args[0] : NULL;
    char safe[512];
    json_object_foreach(c->s->shell->aliases, name, line)
    {
        if (only && strcmp(only, name) != 0)
            continue;
        json_array_append_new(list, json_pack("{s:s,s:O}", "name", name, "line", line));
        if (!c->s->json)
            fprintf(c->out, "%-12s %s\n", name,
                    text_safe(safe, sizeof(safe), json_string_value(line)));
    }
    const bool none = only && !json_array_size(list);
    if (c->s->json && !none)
        emit_json(c, json_pack("{s:O}", "aliases", list));
    json_decref(list);
    return none ? err_set(err, E_USAGE, "no alias '%s'; 'alias' lists them", only) : OK;
}

static bool plain_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", *p))
            return false;
    return name[0] != '\0' && name[0] != '-';
}

struct taken {
    const char *name;
    bool found;
};

static void note_taken(void *ctx, const struct cmd *c)
{
    struct taken *t = ctx;
    const size_t first = strcspn(c->name, " ");
    t->found |= (strlen(t->name) == first && strncmp(c->name, t->name, first) == 0) ||
                (c->alias && strcmp(c->alias, t->name) == 0);
}

static int exec_alias(struct call *c, struct err *err)
{
    if (c->n_args < 2)
        return list_aliases(c, err);
    const char *name = c->args[0];
    struct taken t = {.name = name};
    cmd_each(note_taken, &t);
    if (t.found)
        return err_set(err, E_USAGE, "'%s' is a command; an alias needs another name", name);
    if (!plain_name(name))
        return err_set(err, E_USAGE, "alias '%s': letters, digits, _ and - make a name", name);
    char *line = line_of(c->args + 1, c->n_args - 1);
    json_t *text = json_string(line);
    free(line);
    if (!text)
        return err_set(err, E_USAGE, "alias '%s' is not UTF-8", name);
    json_object_set_new(c->s->shell->aliases, name, text);
    return OK;
}

static int exec_unalias(struct call *c, struct err *err)
{
    if (json_object_del(c->s->shell->aliases, c->args[0]))
        return err_set(err, E_USAGE, "no alias '%s'; 'alias' lists them", c->args[0]);
    return OK;
}

/* ---- bind ------------------------------------------------------------------------------------ */

static int list_bound(struct call *c, struct err *err)
{
    const struct shell *sh = c->s->shell;
    const char *view = c->n_args ? c->args[0] : NULL, *key = c->n_args > 1 ? c->args[1] : NULL;
    json_t *list = json_array();
    char safe[512];
    for (size_t i = 0; i < sh->n_bound; i++) {
        const struct key *k = &sh->bound[i];
        if ((view && strcmp(view, k->view) != 0) || (key && strcmp(key, k->key) != 0))
            continue;
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "view", k->view, "key", k->key,
                                              "line", json_text(k->line)));
        if (!c->s->json)
            fprintf(c->out, "%-8s %-10s %s\n", k->view, k->key,
                    text_safe(safe, sizeof(safe), k->line));
    }
    const bool none = key && !json_array_size(list);
    if (c->s->json && !none)
        emit_json(c, json_pack("{s:O}", "keys", list));
    json_decref(list);
    return none ? err_set(err, E_USAGE, "key '%s' is not bound by you in '%s'", key, view) : OK;
}

static int exec_bind(struct call *c, struct err *err)
{
    if (c->n_args < 3)
        return list_bound(c, err);
    char *line = line_of(c->args + 2, c->n_args - 2);
    /* Places, and lines that are only begun, are known when the key is pressed. */
    int rc = line[0] == ':' || strchr(line, '%') ? OK : cmd_check(c->s, line, err);
    rc = rc ? rc : key_bind(c->s, c->args[0], c->args[1], line, err);
    free(line);
    return rc;
}

static int exec_unbind(struct call *c, struct err *err)
{
    return key_bind(c->s, c->args[0], c->args[1], NULL, err);
}

/* ---- Table ----------------------------------------------------------------------------------- */

const struct cmd cmd_custom[] = {
    {
        .name = "alias",
        .group = "shell",
        .help = "give a line a name, or list such names",
        .detail = "What follows the name when it is used is put behind the line. Several commands "
                  "are quoted as one word: alias again 'unpin * ; run'. A name of a command cannot "
                  "be taken. In ~/.config/qscope/qscoperc it holds for every session.",
        .example = "alias worst5 layers --sort sqnr --top 5",
        .args = {{"NAME", ARG_WORD, NULL, true, false}, {"COMMAND", ARG_LINE, NULL, true, true}},
        .exec = exec_alias,
    },
    {
        .name = "unalias",
        .group = "shell",
        .help = "forget an alias",
        .example = "unalias worst5",
        .args = {{"NAME", ARG_ALIAS, NULL, false, false}},
        .exec = exec_unalias,
    },
    {
        .name = "bind",
        .group = "shell",
        .help = "let a key of a view run a line, or list such keys",
        .detail =
            "VIEW '*' is every view. In the line %layer and %image stand for what is under the "
            "cursor, %pin for pin or unpin, %mark for mark or unmark; a line that begins with ':' "
            "opens the command line with the rest. Keys are named as in 'keys', which shows them. "
            "In ~/.config/qscope/qscoperc it holds for every session.",
        .example = "bind layers w layers --top 5",
        .args = {{"VIEW", ARG_CHOICE, UI_VIEW_WORDS "|*", true, false},
                 {"KEY", ARG_KEY, NULL, true, false},
                 {"COMMAND", ARG_LINE, NULL, true, true}},
        .exec = exec_bind,
    },
    {
        .name = "unbind",
        .group = "shell",
        .help = "give a key back what it did before",
        .example = "unbind layers w",
        .args = {{"VIEW", ARG_CHOICE, UI_VIEW_WORDS "|*", false, false},
                 {"KEY", ARG_KEY, NULL, false, false}},
        .exec = exec_unbind,
    },
    {0},
};
