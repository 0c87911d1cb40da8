/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * own_run.c: one call of a command of the user's own. It runs without a shell, in a process group
 * that ends with it, on files that nobody else can read; what it prints is not believed.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tui/own_metric.h"
#include "tui/scratch.h"

enum {
    OUT_MOST = 4096,   /* bytes that a number may take */
    TAIL = 2048,       /* bytes of standard error of which the last line is told */
    LAST_LINE = 240,   /* of that, at most */
    LOOK_MS = 50,      /* how often it is looked whether the user gives up */
    END_MS = 2,        /* likewise, when it prints no more but has not ended */
    OUTPUTS_MOST = 64, /* files of a side */
};

/* ---- Files ---------------------------------------------------------------------------------- */

struct files {
    const char *dir;
    size_t n;
    char **names[2]; /* by side */
};

static void files_fini(struct files *f)
{
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; f->names[side] && i < f->n; i++) {
            if (f->names[side][i]) {
                unlink(f->names[side][i]);
            }
            free(f->names[side][i]);
        }
        free(f->names[side]);
    }
    if (f->dir) {
        scratch_close();
    }
}

static int files_write(struct files *f, size_t n, struct tensor *const *const t[2], struct err *err)
{
    static _Atomic unsigned calls;
    static const char *const sides[] = {"fp32", "int8"};
    const unsigned call = atomic_fetch_add(&calls, 1);
    int rc = n <= OUTPUTS_MOST
                 ? OK
                 : err_set(err, E_LIMIT, "%zu outputs are more than %d files", n, OUTPUTS_MOST);
    rc = rc ? rc : scratch_open(&f->dir, err);
    f->dir = rc ? NULL : f->dir;
    f->n = n;
    for (int side = 0; side < 2; side++) {
        f->names[side] = mem_alloc((n + 1) * sizeof *f->names[side]);
        for (size_t i = 0; i < n && !rc; i++) {
            f->names[side][i] = mem_printf("%s/%u-%s-%zu.npy", f->dir, call, sides[side], i);
            rc = npy_save(t[side][i], f->names[side][i], err);
        }
    }
    return rc;
}

/* ---- The program ---------------------------------------------------------------------------- */

/* Its words, with the names of files in place of {fp32} and {int8}, or behind them. free() it. */
static char **make_argv(const struct own_metric *m, const struct files *f)
{
    char **argv = mem_alloc((m->n_words * (f->n + 1) + 2 * f->n + 1) * sizeof *argv);
    size_t n = 0;
    bool placed = false;
    for (size_t i = 0; i < m->n_words; i++) {
        const int side = strcmp(m->words[i], "{fp32}") == 0   ? 0
                         : strcmp(m->words[i], "{int8}") == 0 ? 1
                                                              : -1;
        for (size_t k = 0; side >= 0 && k < f->n; k++) {
            argv[n++] = f->names[side][k];
        }
        if (side < 0) {
            argv[n++] = m->words[i];
        }
        placed |= side >= 0;
    }
    for (size_t k = 0; k < 2 * f->n && !placed; k++) {
        argv[n++] = f->names[k / f->n][k % f->n];
    }
    return argv;
}

struct program {
    pid_t pid;
    int fd[2]; /* its standard output and error; -1: ended */
    char out[OUT_MOST + 1], tail[2 * TAIL];
    size_t n_out, n_tail;
    struct timespec began;
};

/* posix_spawn, since fork() in a process of many threads may leave locks taken. Standard input is
 * empty, no other file of ours stays open, and signals are as a program expects them. */
static int start(struct program *p, char **argv, struct err *err)
{
    int out[2] = {-1, -1}, errs[2] = {-1, -1};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    if (pipe2(out, O_CLOEXEC) || pipe2(errs, O_CLOEXEC)) {
        const int code = errno;
        close(out[0]);
        close(out[1]);
        return err_set(err, E_IO, "no pipe: %s", strerror(code));
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawn_file_actions_adddup2(&files, errs[1], 2);
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
#endif
    posix_spawnattr_init(&attr);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    const bool may = scratch_begin();
    const int code = may ? posix_spawnp(&p->pid, argv[0], &files, &attr, argv, environ) : ECANCELED;
    if (may) {
        scratch_program(code ? 0 : p->pid);
    }
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    close(out[1]);
    close(errs[1]);
    p->fd[0] = out[0];
    p->fd[1] = errs[0];
    clock_gettime(CLOCK_MONOTONIC, &p->began);
    for (int i = 0; i < 2; i++) {
        fcntl(p->fd[i], F_SETFL, O_NONBLOCK);
    }
    if (code) {
        close(p->fd[0]);
        close(p->fd[1]);
        return err_set(err, E_STATE, "cannot run '%s': %s", argv[0], strerror(code));
    }
    return OK;
}

/* Of standard error the end is kept, of standard output one byte more than there may be. */
static void keep(struct program *p, int i, const char *text, size_t n)
{
    if (i == 0) {
        n = MIN(n, sizeof p->out - p->n_out);
        memcpy(p->out + p->n_out, text, n);
        p->n_out += n;
        return;
    }
    const size_t most = sizeof p->tail, m = MIN(n, most);
    if (p->n_tail + m > most) {
        const size_t left = MIN(p->n_tail, most - m);
        memmove(p->tail, p->tail + p->n_tail - left, left);
        p->n_tail = left;
    }
    memcpy(p->tail + p->n_tail, text + n - m, m);
    p->n_tail += m;
}

/* Takes what is there, but no more than a few reads of it: who prints for ever is not waited for.
 */
static void take(struct program *p, int i)
{
    enum { READS = 8 };
    char buf[4096];
    for (int k = 0; k < READS && p->fd[i] >= 0; k++) {
        const ssize_t n = read(p->fd[i], buf, sizeof buf);
        if (n > 0) {
            keep(p, i, buf, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(p->fd[i]);
            p->fd[i] = -1;
        } else {
            return;
        }
    }
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == pid;
}

/* Reads what it prints until it has ended, or is not to go on. */
static int watch(struct program *p, double timeout, const struct cancel *cancel, struct err *err)
{
    for (;;) {
        if (cancelled(cancel)) {
            return err_set(err, E_STOP, "cancelled");
        }
        if (seconds_since(&p->began) >= timeout) {
            return err_set(err, E_STATE, "took longer than %g s", timeout);
        }
        const double left = 1e3 * (timeout - seconds_since(&p->began)) + 1;
        const int look = p->fd[0] < 0 && p->fd[1] < 0 ? END_MS : LOOK_MS;
        struct pollfd poll_fd[2] = {{.fd = p->fd[0], .events = POLLIN},
                                    {.fd = p->fd[1], .events = POLLIN}};
        poll(poll_fd, 2, (int)fmin(left, look));
        const bool ended = has_ended(p->pid);
        for (int i = 0; i < (ended ? 6 : 2); i++) { /* all that a pipe holds, once it has ended */
            take(p, i % 2);
        }
        if (p->n_out > OUT_MOST) {
            return err_set(err, E_STATE, "prints more than %d bytes, not a number", OUT_MOST);
        }
        if (ended) {
            return OK;
        }
    }
}

/* Nothing of its group outlives it. */
static int finish(struct program *p)
{
    int status = 0;
    kill(-p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
    }
    scratch_ended(p->pid);
    for (int i = 0; i < 2; i++) {
        if (p->fd[i] >= 0) {
            close(p->fd[i]);
        }
    }
    return status;
}

/* ---- What it says --------------------------------------------------------------------------- */

/* ": " and the last line of standard error; empty without one. */
static void last_line(const struct program *p, char *dst, size_t size)
{
    size_t end = p->n_tail, from;
    while (end > 0 && isspace((unsigned char)p->tail[end - 1])) {
        end--;
    }
    for (from = end; from > 0 && p->tail[from - 1] != '\n'; from--) {
    }
    char *line = mem_printf("%.*s", (int)MIN(end - from, (size_t)LAST_LINE), p->tail + from);
    char safe[4 * LAST_LINE + 1];
    snprintf(dst, size, "%s%s", end ? ": " : "", text_safe(safe, sizeof safe, line));
    free(line);
}

static int read_number(struct program *p, double *value, struct err *err)
{
    char safe[128], *end;
    while (p->n_out > 0 && isspace((unsigned char)p->out[p->n_out - 1])) {
        p->n_out--;
    }
    p->out[p->n_out] = '\0';
    *value = strtod(p->out, &end);
    if (!p->n_out) {
        return err_set(err, E_STATE, "prints nothing, not a number");
    }
    if (end != p->out + p->n_out) {
        p->out[MIN(p->n_out, (size_t)60)] = '\0';
        return err_set(err, E_STATE, "prints '%s', not a number",
                       text_safe(safe, sizeof safe, p->out));
    }
    return isnan(*value) ? err_set(err, E_STATE, "prints nan") : OK;
}

static int judge(struct program *p, int status, double *value, struct err *err)
{
    char why[LAST_LINE * 4 + 3];
    last_line(p, why, sizeof why);
    if (WIFSIGNALED(status)) {
        return err_set(err, E_STATE, "was ended by signal %d%s", WTERMSIG(status), why);
    }
    if (WEXITSTATUS(status)) {
        return err_set(err, E_STATE, "ended with exit code %d%s", WEXITSTATUS(status), why);
    }
    return read_number(p, value, err);
}

int own_run(const struct own_metric *m, size_t n, struct tensor *const *fp32,
            struct tensor *const *other, const struct cancel *cancel, double *value,
            struct err *err)
{
    struct files f = {0};
    struct tensor *const *const sides[2] = {fp32, other};
    int rc = files_write(&f, n, sides, err);
    if (!rc) {
        struct program p = {.pid = 0};
        char **argv = make_argv(m, &f);
        rc = start(&p, argv, err);
        if (!rc) {
            rc = watch(&p, m->timeout, cancel, err);
            const int status = finish(&p);
            rc = rc ? rc : judge(&p, status, value, err);
        }
        free(argv);
    }
    files_fini(&f);
    return rc && rc != E_STOP ? err_in(err, "metric '%s'", m->name) : rc;
}
