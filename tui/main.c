/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * main.c: picks screen, REPL or batch; the only place that decides the exit code. Words on the
 * command line become lines of the command language, so there is nothing here that cannot be typed
 * as well.
 */
#include <ctype.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/front.h"
#include "tui/options.h"
#include "tui/own_metric.h"
#include "tui/shell.h"
#include "tui/state.h"

/* Files opened later must not get the numbers of standard streams that are closed. */
static void open_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) < 0)
            _exit(7);
}

static bool utf8_locale(void)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers in files and output do not follow the country */
    const char *codeset = nl_langinfo(CODESET);
    return strcasecmp(codeset, "UTF-8") == 0 || strcasecmp(codeset, "UTF8") == 0;
}

static bool want_color(const struct options *o)
{
    const char *no = getenv("NO_COLOR");
    if (no && no[0])
        return false;
    return strcmp(o->color, "never") != 0;
}

/* What options say wins over settings from anywhere else. */
static void overrule(struct session *s, const struct options *o)
{
    if (o->json) {
        session_form(s, FORM_JSON);
        origin_note(s, "output", "--json");
    }
    if (o->ascii) {
        s->set.ascii = true;
        origin_note(s, "ascii", "--ascii");
    }
    if (o->no_cache) {
        s->set.cache = false;
        origin_note(s, "cache", "--no-cache");
    }
    s->own->consent = o->commands;
    for (size_t i = 0; i < o->n_defines; i++) {
        const char *eq = strchr(o->defines[i], '=');
        char *name = mem_printf("%.*s", (int)(eq - o->defines[i]), o->defines[i]);
        json_object_set_new_nocheck(s->vars, name, json_string_nocheck(eq + 1));
        origin_note(s, name, "--define");
        free(name);
    }
}

static void apply_options(struct session *s, const struct options *o, bool utf8)
{
    s->set.ascii = !utf8;
    s->set.color = want_color(o);
    s->set.cache = true;
    overrule(s, o);
}

static int start_file(struct session *s, struct err *err)
{
    char *path = path_xdg("XDG_CONFIG_HOME", ".config", "qscoperc");
    size_t failed = 0;
    int rc = OK;
    s->shell->own_script = true;
    if (path && file_exists(path))
        rc = script_top(s, path, false, &failed, err);
    s->shell->own_script = false;
    free(path);
    return rc;
}

/* A line of `where`, which stands in front of its error. */
static int run_and_free(struct session *s, const char *where, char *line, struct err *err)
{
    size_t failed = 0;
    const int rc = script_line(s, where, line, false, false, &failed, err);
    free(line);
    return rc;
}

/* Settings from QSCOPE_NAME, which overrule those of the start file. */
static int env_settings(struct session *s, struct err *err)
{
    int rc = OK;
    for (size_t i = 0; setting_name(i) && rc == OK; i++) {
        char *name = mem_printf("QSCOPE_%s", setting_name(i));
        for (char *p = name; *p; p++)
            *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        char *value = getenv(name);
        if (value) {
            char *head = mem_printf("set %s", setting_name(i));
            rc = run_and_free(s, name, cmd_join(head, 1, &value), err);
            free(head);
        }
        free(name);
    }
    return rc;
}

/* What the words say: models and images. */
static int load_words(struct session *s, const struct options *o, struct err *err)
{
    char *jobs[1] = {(char *)(uintptr_t)o->jobs};
    int rc = OK;
    if (o->jobs)
        rc = run_and_free(s, "--jobs", cmd_join("set jobs", 1, jobs), err);
    if (rc == OK && o->n_words >= 1)
        rc = run_and_free(s, "qscope",
                          cmd_join(o->n_words == 1 ? "load fp32" : "load pair",
                                   (size_t)MIN(o->n_words, 2), o->words),
                          err);
    if (rc == OK && o->n_words > 2)
        rc = run_and_free(s, "qscope",
                          cmd_join("dataset add", (size_t)o->n_words - 2, o->words + 2), err);
    return rc;
}

/* All -x and -e. from_script: the one that failed was a script. */
static int run_items(struct session *s, const struct options *o, size_t *failed, bool *from_script,
                     struct err *err)
{
    int rc = OK;
    /* All of them are parsed before the first is run. */
    for (size_t i = 0; i < o->n_items && rc == OK; i++)
        if (!o->items[i].file)
            rc = script_line(s, "-e", o->items[i].text, true, false, failed, err);
        else if (strcmp(o->items[i].text, "-") != 0)
            rc = script_check(s, o->items[i].text, err);
    for (size_t i = 0; i < o->n_items && rc == OK && !s->quit; i++) {
        const struct item *it = &o->items[i];
        *from_script = s->shell->own_script = it->file;
        rc = it->file ? script_top(s, it->text, o->keep_going, failed, err)
                      : script_line(s, "-e", it->text, false, o->keep_going, failed, err);
    }
    s->shell->own_script = false;
    return rc;
}

/* Everything before the interactive front. Returns the exit code so far. */
static int run_batch(struct session *s, const struct options *o, bool batch)
{
    struct err err = {0};
    size_t failed = 0;
    bool from_script = false;
    pthread_mutex_lock(&s->lock);
    s->batch = true;
    signals_busy(true);
    int rc = o->no_config ? OK : start_file(s, &err);
    if (rc == OK)
        rc = env_settings(s, &err);
    if (rc == OK) {
        overrule(s, o);
        rc = load_words(s, o, &err);
    }
    if (rc == OK && !s->quit)
        rc = run_items(s, o, &failed, &from_script, &err);
    if (rc == OK && batch && o->n_items == 0 && !s->quit) {
        from_script = s->shell->own_script = true;
        rc = script_top(s, "-", o->keep_going, &failed, &err);
        s->shell->own_script = false;
    }
    if (rc == OK && batch && !s->quit)
        rc = script_jobs(s, o->keep_going, &failed, &err);
    signals_busy(false);
    if (!batch) {
        judged_run(s); /* the screen shows it */
    }
    s->batch = batch;
    pthread_mutex_unlock(&s->lock);
    if (signals_ended())
        return 128 + signals_ended();
    if (rc != OK)
        return exit_code(rc, from_script);
    if (s->quit && s->exit_code)
        return s->exit_code;
    return failed ? 5 : 0;
}

static void complain(const struct err *err, const char *what)
{
    char text[4 * sizeof(err->text)];
    fprintf(stderr, "qscope: error: %s%s [%s]\n", what, text_safe(text, sizeof(text), err->text),
            err_name(err->code));
}

/* Says which session was the last; true when there is one. */
static bool offer_last(struct session *s)
{
    struct err err = {0};
    json_t *state = NULL;
    char *path = state_last();
    const bool there = path && file_exists(path) && state_read(path, &state, &err) == OK;
    if (there)
        s->offer = state_summary(state);
    json_decref(state);
    free(path);
    return there;
}

static int run_interactive(struct session *s, const struct options *o)
{
    struct err err = {0};
    const bool nothing = o->n_words == 0 && o->n_items == 0 && !state_any(s);
    const char *first = o->n_words > 2 ? "run" : NULL;
    int code = 0;
    if (nothing && offer_last(s))
        first = ":session open --run";
    if (screen_run(s, first, &err) != OK) {
        fprintf(stderr, "%s: lines instead of the screen; 'help' lists commands\n", err.text);
        code = repl_run(s, first);
    } else if (s->quit) {
        code = s->exit_code;
    }
    if (state_autosave(s, &err) != OK)
        complain(&err, "the session is not saved: ");
    return signals_ended() ? 128 + signals_ended() : code;
}

/* Recordings and data in files are completed however the program ends. */
static int finish(struct session *s, int code)
{
    struct err err = {0};
    const int rc = shell_finish(s, &err);
    if (rc == OK)
        return code;
    complain(&err, "");
    return code ? code : exit_code(rc, false);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    /* Activations come and go with every image: kept by the heap instead of being mapped and
     * unmapped each time, which costs a page fault for every 4 KiB. */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    open_streams();
    const bool utf8 = utf8_locale();
    int code = options_read(argc, argv, &o);
    if (code < 0) {
        const bool batch = o.batch || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
        struct session *s = session_new();
        signals_install(&s->job.cancel, batch);
        apply_options(s, &o, utf8);
        code = run_batch(s, &o, batch);
        if (code == 0 && !batch && !s->quit)
            code = run_interactive(s, &o);
        code = finish(s, code);
        signals_forget_job();
        session_free(s);
    }
    options_fini(&o);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        fputs("qscope: error: cannot write the output [E_IO]\n", stderr);
        code = 7;
    }
    return code;
}
