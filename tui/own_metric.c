/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * own_metric.c: metrics of the user's own: their definitions, who may run their commands, and what
 * is kept of them. It runs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tui/own_metric.h"
#include "tui/shell.h"

/* ---- Life ----------------------------------------------------------------------------------- */

static void own_free(struct own_metric *m)
{
    for (size_t i = 0; i < m->n_words; i++) {
        free(m->words[i]);
    }
    free(m->words);
    free(m->name);
    free(m->unit);
    free(m->help);
    free(m);
}

void own_metrics_fini(struct own_metrics *m)
{
    for (size_t i = 0; i < m->n; i++) {
        own_free(m->list[i]);
    }
    free(m->list);
    *m = (struct own_metrics){0};
}

const struct own_metric *own_at(const struct session *s, size_t i)
{
    for (size_t k = 0; k < s->own->n; k++) {
        if (!s->own->list[k]->retired && !i--) {
            return s->own->list[k];
        }
    }
    return NULL;
}

struct own_metric *own_find(const struct session *s, const char *name)
{
    for (size_t k = 0; k < s->own->n; k++) {
        if (!s->own->list[k]->retired && strcmp(s->own->list[k]->name, name) == 0) {
            return s->own->list[k];
        }
    }
    return NULL;
}

const struct own_metric *own_of(const struct outcome *o)
{
    return outcome_is_own(o) ? (const struct own_metric *)(const void *)o : NULL;
}
_Static_assert(offsetof(struct own_metric, outcome) == 0, "an outcome is the metric's beginning");

char *own_command(const struct own_metric *m)
{
    return cmd_retype(m->n_words, m->words);
}

/* ---- Definition ----------------------------------------------------------------------------- */

enum { NAME_MOST = 32, UNIT_MOST = 8, WORDS_MOST = 256 };

/* A field of JSON, a word of goals such as NAME_drop<=1. */
static int check_name(const char *name, struct err *err)
{
    const size_t n = strlen(name);
    bool plain = n > 0 && n <= NAME_MOST && ((name[0] | 32) >= 'a' && (name[0] | 32) <= 'z');
    for (const char *p = name; *p; p++) {
        plain = plain &&
                ((*p >= '0' && *p <= '9') || *p == '_' || ((*p | 32) >= 'a' && (*p | 32) <= 'z'));
    }
    if (!plain) {
        return err_set(err, E_USAGE,
                       "metric '%s': a letter, then letters, digits and _ make a name, %d at most",
                       name, NAME_MOST);
    }
    if (n > 5 && strcmp(name + n - 5, "_drop") == 0) {
        return err_set(err, E_USAGE, "metric '%s': names in _drop are those of goals", name);
    }
    return outcome_find(name)
               ? err_set(err, E_USAGE, "'%s' is a metric of the program; yours needs another name",
                         name)
               : OK;
}

static int check_spec(const struct own_spec *x, struct err *err)
{
    int rc = check_name(x->name, err);
    for (const char *p = x->unit; *p && !rc; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e || p - x->unit >= UNIT_MOST) {
            rc = err_set(err, E_USAGE, "--unit is at most %d characters of ASCII", UNIT_MOST);
        }
    }
    if (!rc && !(x->timeout > 0 && x->timeout <= OWN_TIMEOUT_MOST)) {
        rc = err_set(err, E_USAGE, "--timeout is above 0 and at most %d seconds", OWN_TIMEOUT_MOST);
    }
    if (!rc && (!x->n_words || x->n_words > WORDS_MOST || !x->words[0][0])) {
        rc = err_set(err, E_USAGE, "metric '%s' wants a command of 1 to %d words", x->name,
                     WORDS_MOST);
    }
    return rc;
}

int own_define(struct session *s, const struct own_spec *x, struct err *err)
{
    int rc = check_spec(x, err);
    if (rc) {
        return rc;
    }
    struct own_metric *m = mem_alloc(sizeof *m), *old = own_find(s, x->name);
    m->name = mem_dup(x->name);
    m->unit = mem_dup(x->unit);
    m->timeout = x->timeout;
    m->trusted = x->trusted;
    m->n_words = x->n_words;
    m->words = mem_alloc((x->n_words + 1) * sizeof *m->words);
    for (size_t i = 0; i < x->n_words; i++) {
        m->words[i] = mem_dup(x->words[i]);
    }
    char *line = own_command(m), safe[256];
    m->help = mem_printf("your own: %s", text_safe(safe, sizeof safe, line));
    free(line);
    m->outcome = outcome_own(m->name, m->unit, x->higher_is_better, m->help);
    if (old) {
        old->retired = true;
    }
    s->own->list = mem_push(s->own->list, s->own->n, &s->own->cap, sizeof *s->own->list);
    s->own->list[s->own->n++] = m;
    return OK;
}

int own_forget(struct session *s, const char *name, struct err *err)
{
    struct own_metric *m = own_find(s, name);
    if (!m) {
        return err_set(err, E_USAGE, "no metric '%s' of your own; 'metric' lists them", name);
    }
    m->retired = true;
    return OK;
}

/* ---- Consent -------------------------------------------------------------------------------- */

int own_allowed(const struct session *s, const struct outcome *o, struct err *err)
{
    const struct own_metric *m = own_of(o);
    if (!m || s->own->consent == CONSENT_ALWAYS) {
        return OK;
    }
    if (s->own->consent == CONSENT_NEVER) {
        return err_set(err, E_STATE, "metric '%s' runs a command, and --commands never forbids it",
                       m->name);
    }
    return m->trusted ? OK
                      : err_set(err, E_STATE,
                                "metric '%s' came with a file and may not run its command yet: "
                                "'metric %s' shows it, 'metric %s --trust' allows it, "
                                "--commands always all of them",
                                m->name, m->name, m->name);
}

/* ---- What answers depend on ----------------------------------------------------------------- */

enum { FILE_MOST = 64 << 20 };

static bool digest_content(const char *path, struct digest *d)
{
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode)) {
        return true; /* no file: a word */
    }
    const int fd = st.st_size <= FILE_MOST ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0) {
        return access(path, R_OK) != 0 && st.st_size <= FILE_MOST; /* nobody can read it */
    }
    struct digest content = {0};
    size_t size = 0, room = (size_t)st.st_size + 1;
    uint8_t *data = mem_alloc(room);
    ssize_t n = 1;
    while (size < room && (n = read(fd, data + size, room - size)) > 0) {
        size += (size_t)n;
    }
    close(fd);
    digest_bulk(&content, data, size);
    digest_add(d, &content, sizeof content);
    free(data);
    return n >= 0 && size < room;
}

/* The program as it is found: by its path, or in the folders of PATH. free() it. */
static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/') || !path) {
        return mem_dup(name);
    }
    for (const char *p = path; *p;) {
        const size_t n = strcspn(p, ":");
        char *at = mem_printf("%.*s/%s", n ? (int)n : 1, n ? p : ".", name);
        if (access(at, X_OK) == 0 && file_exists(at) && !file_is_dir(at)) {
            return at;
        }
        free(at);
        p += n + (p[n] == ':');
    }
    return mem_dup(name);
}

bool own_digest(const struct own_metric *m, struct digest *d)
{
    char *program = find_program(m->words[0]);
    bool ok = true;
    digest_text(d, "metric of one's own");
    digest_int(d, (int64_t)m->n_words);
    for (size_t i = 0; i < m->n_words; i++) {
        digest_text(d, m->words[i]);
        ok = ok && digest_content(i ? m->words[i] : program, d);
    }
    digest_text(d, program);
    free(program);
    return ok;
}

/* ---- All outcomes --------------------------------------------------------------------------- */

const struct outcome *session_outcome(const struct session *s, const char *name)
{
    const struct own_metric *m = own_find(s, name);
    return m ? &m->outcome : outcome_find(name);
}

const struct outcome *session_outcome_at(const struct session *s, size_t i)
{
    const struct own_metric *m = i < N_OUTCOMES ? NULL : own_at(s, i - N_OUTCOMES);
    return i < N_OUTCOMES ? &outcomes[i] : m ? &m->outcome : NULL;
}

/* Beside the aliases that a script will make, whose names have no space. */
static char *expected_word(const char *name)
{
    return mem_printf("metric %s", name);
}

static const char any_name[] = "*"; /* whatever a file defines */

void own_expect(const struct call *c)
{
    const char *name = c->cmd->name;
    const bool file = strcmp(name, "session open") == 0 || strcmp(name, "source") == 0;
    if (file || (strcmp(name, "metric") == 0 && c->n_args > 1)) {
        char *word = expected_word(file ? any_name : c->args[0]);
        json_object_set_new_nocheck(c->s->shell->named, word, json_true());
        free(word);
    }
}

bool own_expected(const struct session *s, const char *name)
{
    char *word = expected_word(name), *any = expected_word(any_name);
    const bool yes =
        json_object_get(s->shell->named, word) || json_object_get(s->shell->named, any);
    free(word);
    free(any);
    return yes;
}

/* ---- In a session file ---------------------------------------------------------------------- */

json_t *own_json(const struct session *s)
{
    json_t *list = json_array();
    const struct own_metric *m;
    for (size_t i = 0; (m = own_at(s, i)); i++) {
        json_t *words = json_array();
        for (size_t k = 0; k < m->n_words; k++) {
            json_array_append_new(words, json_string_nocheck(m->words[k]));
        }
        json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:f,s:o}", "name", m->name, "unit",
                                              m->unit, "higher", m->outcome.higher_is_better,
                                              "timeout", m->timeout, "words", words));
    }
    return list;
}

static bool same(const struct own_metric *m, const struct own_spec *x)
{
    bool yes = m && m->n_words == x->n_words;
    for (size_t i = 0; yes && i < x->n_words; i++) {
        yes = strcmp(m->words[i], x->words[i]) == 0;
    }
    return yes;
}

static int restore_one(struct session *s, const json_t *o, struct err *err)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *unit = json_string_value(json_object_get(o, "unit"));
    const json_t *list = json_object_get(o, "words"), *higher = json_object_get(o, "higher");
    const json_t *timeout = json_object_get(o, "timeout");
    const size_t n = json_array_size(list);
    const char **words = mem_alloc((n + 1) * sizeof *words);
    bool good = name && unit && json_is_boolean(higher) && json_is_number(timeout);
    for (size_t i = 0; i < n; i++) {
        words[i] = json_string_value(json_array_get(list, i));
        good = good && words[i];
    }
    int rc =
        good ? OK : err_set(err, E_FORMAT, "a metric of one's own is not written as it should");
    if (!rc) {
        struct own_spec x = {.name = name,
                             .unit = unit,
                             .higher_is_better = json_is_true(higher),
                             .timeout = json_number_value(timeout),
                             .n_words = n,
                             .words = (char *const *)(uintptr_t)words};
        const struct own_metric *here = own_find(s, name);
        x.trusted = same(here, &x) && here->trusted; /* the user typed just that command here */
        rc = own_define(s, &x, err);
    }
    free(words);
    return rc;
}

void own_restore(struct session *s, const json_t *list, FILE *note)
{
    size_t i;
    json_t *o;
    char safe[1024];
    json_array_foreach(list, i, o)
    {
        struct err err = {0};
        if (restore_one(s, o, &err)) {
            fprintf(note, "%s\n", text_safe(safe, sizeof safe, err.text));
            continue;
        }
        const struct own_metric *m = s->own->list[s->own->n - 1];
        if (!m->trusted && s->own->consent == CONSENT_ASK) {
            char *line = own_command(m);
            fprintf(note,
                    "metric '%s' of the session runs a command: %s; it may once you say "
                    "'metric %s --trust'\n",
                    m->name, text_safe(safe, sizeof safe, line), m->name);
            free(line);
        }
    }
}
