/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * script.c: runs lines from a file or a pipe. It knows lines, their numbers and what to do after an
 * error; what a line means is cmd.c's. A script is read and checked whole before its first command
 * runs, so that a typing error in line 40 does not come after an hour of computing.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tui/front.h"
#include "tui/shell.h"

enum { LINE_LIMIT = 1 << 20, SCRIPT_LIMIT = 64 << 20, SOURCE_DEPTH = 16, N_SHOWN = 20 };

/* One logical line: continuation lines joined; `number` is that of its first line in the file. */
struct script_line {
    char *text;
    size_t number;
};
struct script {
    const char *name;
    size_t n, cap;
    struct script_line *lines;
};

static void script_fini(struct script *sc)
{
    for (size_t i = 0; i < sc->n; i++)
        free(sc->lines[i].text);
    free(sc->lines);
}

/* The front door of errors: names in them may come from a file, so they are made safe here. All go
 * to the log; on the screen to nothing else, since stderr would scribble over the cells. */
static void complain(struct session *s, const char *where, const struct err *e, const char *tail)
{
    char place[512], text[4 * sizeof(e->text)];
    text_safe(place, sizeof(place), where);
    text_safe(text, sizeof(text), e->text);
    char *line = mem_printf("%s: error: %s [%s]%s", place, text, err_name(e->code), tail);
    session_log(s, 'e', line);
    if (!s->screen)
        fprintf(stderr, "%s\n", line);
    free(line);
}

/* Reads all there is. Waits with poll, so that a signal ends the wait. */
static int read_all(FILE *in, char **text, size_t *size, struct err *err)
{
    const int fd = fileno(in);
    size_t n = 0, cap = 0;
    char *buf = NULL;
    for (;;) {
        if (n + 4096 > cap) {
            cap = cap ? 2 * cap : 16384;
            buf = mem_grow(buf, cap);
        }
        if (fd >= 0) {
            struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                                  {.fd = signals_fd(), .events = POLLIN}};
            if (poll(p, 2, -1) < 0 && errno != EINTR)
                break;
            if (signals_ended()) {
                free(buf);
                return err_set(err, E_STOP, "interrupted");
            }
            if (p[1].revents)
                signals_drain();
            if (!p[0].revents)
                continue;
        }
        const ssize_t got =
            fd >= 0 ? read(fd, buf + n, cap - n - 1) : (ssize_t)fread(buf + n, 1, cap - n - 1, in);
        if (got == 0)
            break;
        if (got < 0) {
            const int code = errno;
            if (code == EINTR || code == EAGAIN)
                continue;
            free(buf);
            return err_set(err, E_IO, "cannot read: %s", strerror(code));
        }
        n += (size_t)got;
        if (n > SCRIPT_LIMIT) {
            free(buf);
            return err_set(err, E_LIMIT, "script is larger than %d MB", SCRIPT_LIMIT >> 20);
        }
    }
    *text = buf;
    *size = n;
    return OK;
}

/* Ends a line in a backslash that is no escaped backslash? */
static bool continues(const char *line, size_t n)
{
    size_t back = 0;
    while (back < n && line[n - 1 - back] == '\\')
        back++;
    return back % 2 == 1;
}

/* Splits into logical lines. E_LIMIT for a line over 1 MB, E_USAGE for a NUL byte. */
static int split_lines(struct script *sc, const char *text, size_t size, struct err *err)
{
    size_t at = 0, number = 0;
    while (at < size) {
        char *line = NULL;
        size_t n = 0, first = number + 1;
        bool more = true;
        while (more && at < size) {
            const char *end = memchr(text + at, '\n', size - at);
            size_t len = end ? (size_t)(end - text) - at : size - at;
            const char *part = text + at;
            at += len + (end ? 1 : 0);
            number++;
            if (len > 0 && part[len - 1] == '\r')
                len--;
            more = continues(part, len);
            if (more)
                len--;
            if (n + len > LINE_LIMIT || memchr(part, '\0', len)) {
                const bool nul = n + len <= LINE_LIMIT;
                free(line);
                return nul ? err_set(err, E_USAGE, "line %zu has a NUL byte", number)
                           : err_set(err, E_LIMIT, "line %zu is longer than 1 MB", first);
            }
            line = mem_grow(line, n + len + 1);
            memcpy(line + n, part, len);
            n += len;
            line[n] = '\0';
        }
        sc->lines = mem_push(sc->lines, sc->n, &sc->cap, sizeof(*sc->lines));
        sc->lines[sc->n++] = (struct script_line){.text = line, .number = first};
    }
    return OK;
}

/* The command of a line, and whether its error is to be passed over ("-dump ...", as in make). */
static const char *line_command(const char *line, bool *ignore)
{
    line += strspn(line, " \t");
    *ignore = line[0] == '-';
    return *ignore ? line + 1 : line;
}

/* Reads, splits and checks. *told: the errors were printed with their lines. */
static int script_load(struct session *s, FILE *in, struct script *sc, bool *told, struct err *err)
{
    char *text = NULL;
    size_t size = 0, bad = 0;
    int rc = read_all(in, &text, &size, err);
    if (rc == OK)
        rc = split_lines(sc, text, size, err);
    free(text);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < sc->n; i++) {
        bool ignore;
        struct err e = {0};
        if (cmd_check(s, line_command(sc->lines[i].text, &ignore), &e) == OK)
            continue;
        if (bad++ < N_SHOWN) {
            char *where = mem_printf("%s:%zu", sc->name, sc->lines[i].number);
            complain(s, where, &e, "");
            free(where);
        }
    }
    if (bad == 0)
        return OK;
    *told = true;
    return err_set(err, E_USAGE, "%zu line%s with errors, nothing was run", bad,
                   bad == 1 ? "" : "s");
}

/* Runs one line. *told: its error was printed. */
static int run_one(struct session *s, const char *where, const char *text, bool keep_going,
                   FILE *out, size_t *failed, bool *told, struct err *err)
{
    bool ignore;
    struct err e = {0};
    FILE *note = s->screen ? out : stderr;
    const char *command = line_command(text, &ignore);
    if (command[strspn(command, " \t")] && command[0] != '#')
        session_log(s, '>', text);
    /* What another command runs is part of that one's answer. */
    struct tee *tee = out == stdout ? tee_open(s, out) : NULL;
    const char *before = s->shell->where;
    s->shell->where = where;
    const int rc = cmd_line(s, command, tee ? tee_stream(tee) : out, note, &e);
    s->shell->where = before;
    if (tee)
        tee_close(tee);
    if ((fflush(out) != 0 || ferror(out)) && rc == OK)
        return err_set(err, E_IO, "cannot write the output: %s", strerror(errno));
    if (rc != OK)
        complain(s, where, &e, ignore ? " (ignored)" : "");
    if (signals_ended() || rc == E_STOP) {
        *told = rc != OK;
        return err_set(err, E_STOP, "interrupted");
    }
    if (rc == OK || ignore)
        return OK;
    if (!keep_going && s->set.on_error_stop) {
        *told = true;
        *err = e;
        return rc;
    }
    ++*failed;
    return OK;
}

static int script_exec(struct session *s, const struct script *sc, bool keep_going, FILE *out,
                       size_t *failed, bool *told, struct err *err)
{
    int rc = OK;
    for (size_t i = 0; i < sc->n && !s->quit && rc == OK; i++) {
        const struct script_line *l = &sc->lines[i];
        char *where = mem_printf("%s:%zu", sc->name, l->number);
        rc = run_one(s, where, l->text, keep_going, out, failed, told, err);
        free(where);
    }
    return rc;
}

static int stream(struct session *s, FILE *in, const char *name, bool keep_going, FILE *out,
                  size_t *failed, bool *told, struct err *err)
{
    struct script sc = {.name = name};
    if (s->source_depth >= SOURCE_DEPTH)
        return err_set(err, E_LIMIT, "scripts run each other more than %d deep", SOURCE_DEPTH);
    int rc = script_load(s, in, &sc, told, err);
    if (rc == OK) {
        s->source_depth++;
        rc = script_exec(s, &sc, keep_going, out, failed, told, err);
        s->source_depth--;
    }
    script_fini(&sc);
    return rc;
}

int script_stream(struct session *s, FILE *in, const char *name, bool keep_going, FILE *out,
                  size_t *failed, struct err *err)
{
    bool told = false;
    return stream(s, in, name, keep_going, out, failed, &told, err);
}

/* Pipes are welcome here: a script comes from the user, not with a model. */
static FILE *script_open(const char *path, struct err *err)
{
    FILE *in = fopen(path, "re");
    if (!in)
        err_set(err, E_IO, "cannot open: %s", strerror(errno));
    return in;
}

int script_run(struct session *s, const char *path, bool keep_going, FILE *out, size_t *failed,
               struct err *err)
{
    FILE *in = script_open(path, err);
    if (!in)
        return err_in(err, "%s", path);
    const int rc = script_stream(s, in, path, keep_going, out, failed, err);
    fclose(in);
    return rc;
}

int script_top(struct session *s, const char *path, bool keep_going, size_t *failed,
               struct err *err)
{
    const bool std = strcmp(path, "-") == 0;
    const char *name = std ? "stdin" : path;
    bool told = false;
    FILE *in = std ? stdin : script_open(path, err);
    int rc = in ? stream(s, in, name, keep_going, stdout, failed, &told, err) : err->code;
    if (rc != OK && !told)
        complain(s, name, err, "");
    if (in && !std)
        fclose(in);
    return rc;
}

int script_check(struct session *s, const char *path, struct err *err)
{
    struct script sc = {.name = path};
    bool told = false;
    struct stat st;
    FILE *in = script_open(path, err);
    int rc = in ? OK : err->code;
    /* A pipe can be read once only: its turn comes when it is run. */
    if (in && fstat(fileno(in), &st) == 0 && S_ISREG(st.st_mode))
        rc = script_load(s, in, &sc, &told, err);
    if (rc != OK && !told)
        complain(s, path, err, "");
    script_fini(&sc);
    if (in)
        fclose(in);
    return rc;
}

int script_line(struct session *s, const char *where, const char *line, bool dry, bool keep_going,
                size_t *failed, struct err *err)
{
    bool told = false, ignore;
    const int rc = dry ? cmd_check(s, line_command(line, &ignore), err)
                       : run_one(s, where, line, keep_going, stdout, failed, &told, err);
    if (rc != OK && !told)
        complain(s, where, err, "");
    return rc;
}

int script_jobs(struct session *s, bool keep_going, size_t *failed, struct err *err)
{
    static const char where[] = "end of the batch";
    const struct err *unheard = &s->shell->unheard;
    struct err e = {0};
    char words[512];
    int rc = OK;
    if (s->job.kind && !s->job.told) {
        /* What the script itself has cancelled is no failure. */
        if (job_wait(s, &e) == E_STOP && !signals_ended())
            fprintf(stderr, "%s\n", job_words(&s->job, words, sizeof(words)));
        else
            rc = script_line(s, where, "wait", false, keep_going, failed, err);
    }
    if (unheard->code == OK)
        return rc;
    complain(s, where, unheard, "");
    if (keep_going || !s->set.on_error_stop)
        ++*failed;
    else if (rc == OK)
        rc = err_set(err, unheard->code, "%s", unheard->text);
    return rc;
}

int exit_code(int err_code, bool from_script)
{
    switch (err_code) {
    case OK:
        return 0;
    case E_USAGE:
        return 2;
    case E_IO:
        return 7;
    case E_FORMAT:
    case E_UNSUPPORTED:
    case E_SHAPE:
        return 6;
    case E_LIMIT:
        return 8;
    case E_CHECK:
        return 4;
    case E_STOP:
        return 130;
    default:
        return from_script ? 3 : 1;
    }
}
