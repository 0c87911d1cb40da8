/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * words.c: a line of the command language to words and back.
 *
 * Grammar: words as in sh (quotes, backslash), no expansion but ${VAR}; a word ';' ends a command,
 * '#' at the start of a word begins a comment, a last word '&' runs in the background.
 */
#include <ctype.h>
#include <stdlib.h>

#include "tui/words.h"

void words_fini(struct words *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->w[i]);
    }
    free(w->w);
    free(w->quoted);
    *w = (struct words){0};
}

static void words_add(struct words *w, char *word, bool quoted)
{
    w->quoted = mem_push(w->quoted, w->n, &w->cap_q, sizeof *w->quoted);
    w->w = mem_push(w->w, w->n, &w->cap, sizeof *w->w);
    w->quoted[w->n] = quoted;
    w->w[w->n++] = word;
}

/* ${NAME} at *at: writes the value. */
static int expand(const struct session *s, const char **at, FILE *word, struct err *err)
{
    const char *end = strchr(*at, '}');
    if (!end) {
        return err_set(err, E_USAGE, "'${' without '}'");
    }
    char *name = mem_printf("%.*s", (int)(end - *at - 2), *at + 2);
    const json_t *v = json_object_get(s->vars, name);
    int rc = v ? OK
               : err_set(err, E_USAGE,
                         "no variable '%s' (set it with 'set %s VALUE' or "
                         "--define)",
                         name, name);
    if (v) {
        fputs(json_string_value(v), word);
    }
    free(name);
    *at = end + 1;
    return rc;
}

/* One word from *at into word. Inside {...} of a filter everything is literal. */
static int read_word(const struct session *s, const char **at, FILE *word, bool *quoted,
                     struct err *err)
{
    const char *p = *at;
    char quote = 0;
    int braces = 0, rc = OK;
    for (; *p && !rc;) {
        if (!quote && !braces && isspace((unsigned char)*p)) {
            break;
        }
        if (p[0] == '$' && p[1] == '{' && quote != '\'') {
            rc = expand(s, &p, word, err);
            continue;
        }
        if (!braces && !quote && (*p == '"' || *p == '\'')) {
            quote = *p++;
            *quoted = true;
            continue;
        }
        if (quote && *p == quote) {
            quote = 0;
            p++;
            continue;
        }
        if (*p == '\\' && quote != '\'' && !braces && p[1]) {
            p++;
            *quoted = true;
        } else if (!quote) {
            braces += *p == '{' ? 1 : *p == '}' && braces ? -1 : 0;
        }
        fputc(*p++, word);
    }
    *at = p;
    if (!rc && (quote || braces)) {
        rc = err_set(err, E_USAGE, "missing %c at the end of the line", quote ? quote : '}');
    }
    return rc;
}

int words_split(const struct session *s, const char *line, struct words *out, struct err *err)
{
    int rc = OK;
    for (const char *p = line; !rc;) {
        p += strspn(p, " \t\r\n");
        if (!*p || *p == '#') {
            break;
        }
        char *word = NULL;
        size_t size = 0;
        bool quoted = false;
        FILE *f = open_memstream(&word, &size);
        rc = read_word(s, &p, f, &quoted, err);
        fclose(f);
        words_add(out, word, quoted);
    }
    return rc;
}

/* A word with the quotes it needs. A '-' in front begins an option where a line is typed again as
   it was, but not in a name or another value that is put into one. */
static char *quoted(const char *word, bool typed)
{
    bool plain = word[0] && !strchr(typed ? "#;&" : "#;&-", word[0]);
    for (const char *p = word; *p && plain; p++) {
        plain = isalnum((unsigned char)*p) || strchr("_-./:@,%+=", *p) || (unsigned char)*p >= 128;
    }
    if (plain) {
        return mem_dup(word);
    }
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    fputc('\'', f);
    for (const char *p = word; *p; p++) {
        fputs(*p == '\'' ? "'\\''" : (char[]){*p, 0}, f);
    }
    fputc('\'', f);
    fclose(f);
    return out;
}

char *cmd_quote(const char *word)
{
    return quoted(word, false);
}

static char *join(const char *head, size_t n, char *const *words, bool typed)
{
    char *line = mem_dup(head);
    for (size_t i = 0; i < n; i++) {
        char *word = quoted(words[i], typed);
        char *longer = mem_printf("%s%s%s", line, line[0] ? " " : "", word);
        free(word);
        free(line);
        line = longer;
    }
    return line;
}

char *cmd_join(const char *head, size_t n, char *const *words)
{
    return join(head, n, words, false);
}

char *cmd_retype(size_t n, char *const *words)
{
    return join("", n, words, true);
}

char *words_line(const struct words *w, size_t from, size_t to)
{
    char *line = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&line, &size);
    for (size_t i = from; i < to; i++) {
        const bool bare = !w->quoted[i] && strcmp(w->w[i], "&") == 0;
        char *word = bare ? NULL : quoted(w->w[i], !w->quoted[i]);
        fprintf(f, "%s%s", i > from ? " " : "", word ? word : w->w[i]);
        free(word);
    }
    fclose(f);
    return line;
}
