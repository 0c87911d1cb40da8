/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * signals.c: what the program does when a signal comes. Handlers touch only the statics below and
 * async-signal-safe calls; everything else happens in the front that asks. These statics are the
 * program's only global state beside those of scratch.c and of the libraries, since a handler takes
 * no context.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "tui/front.h"
#include "tui/scratch.h"

enum { N_SIGNALS = 65, CRASH_FRAMES = 64 };

/* The sanitizer's own report of a crash says more than ours. */
#ifdef __SANITIZE_ADDRESS__
enum { CATCH_CRASHES = 0 };
#else
enum { CATCH_CRASHES = 1 };
#endif

static volatile sig_atomic_t came[N_SIGNALS];
static volatile sig_atomic_t ended;
static volatile sig_atomic_t busy_now;
static bool batch_mode;
static struct cancel *volatile stop_flag;
static int wake[2] = {-1, -1};
static struct {
    volatile sig_atomic_t armed;
    struct termios modes;
    char leave[256];
    size_t leave_size;
} tty;
static char crash_path[1024];

static void put(int fd, const char *text, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(fd, text, size);
        if (n <= 0)
            return;
        text += n;
        size -= (size_t)n;
    }
}

static void tty_restore(void)
{
    if (!tty.armed)
        return;
    tty.armed = 0;
    put(STDOUT_FILENO, tty.leave, tty.leave_size);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &tty.modes);
}

/* What must not be left behind when the program ends at once. */
static void leave(int code)
{
    tty_restore();
    scratch_abandon();
    _exit(code);
}

static void wake_up(void)
{
    const char c = 0;
    const ssize_t n = write(wake[1], &c, 1); /* full: somebody is being woken already */
    (void)n;
}

static void on_note(int sig)
{
    const int saved = errno;
    came[sig] = 1;
    if (sig == SIGINT && (busy_now || batch_mode) && stop_flag)
        atomic_store(&stop_flag->stop, true);
    if (sig == SIGINT && batch_mode) {
        if (ended)
            leave(128 + sig);
        ended = sig;
    }
    wake_up();
    errno = saved;
}

static void on_end(int sig)
{
    const int saved = errno;
    if (ended)
        leave(128 + sig);
    ended = sig;
    if (stop_flag)
        atomic_store(&stop_flag->stop, true);
    wake_up();
    errno = saved;
}

static void on_pipe(int sig)
{
    scratch_abandon();
    _exit(128 + sig);
}

/* A mapped model that shrinks under us is the outside's doing, not a fault of the program. */
static void on_bus(int sig)
{
    static const char text[] = "qscope: error: a file in use was cut short or could not be read "
                               "[E_IO]\n";
    (void)sig;
    tty_restore();
    put(STDERR_FILENO, text, sizeof(text) - 1);
    leave(7);
}

static void on_crash(int sig)
{
    static const char text[] = "qscope: internal error, this is a bug; details: ";
    void *frames[CRASH_FRAMES];
    (void)sig;
    tty_restore();
    const int n = backtrace(frames, CRASH_FRAMES);
    int fd = crash_path[0] ? open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    put(STDERR_FILENO, text, sizeof(text) - 1);
    if (fd >= 0) {
        put(STDERR_FILENO, crash_path, strlen(crash_path));
        put(fd, "qscope " QSCOPE_VERSION "\n", sizeof("qscope " QSCOPE_VERSION "\n") - 1);
    } else {
        fd = STDERR_FILENO;
    }
    put(STDERR_FILENO, "\n", 1);
    backtrace_symbols_fd(frames, n, fd);
    leave(70);
}

/* Calls go on after a handler: a worker's read must not fail because the window changed its size.
 * Who waits, polls signals_fd() as well. */
static void handle(int sig, void (*fn)(int), int flags)
{
    struct sigaction sa = {.sa_handler = fn, .sa_flags = flags | SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(sig, &sa, NULL);
}

/* nohup and friends ignore signals on purpose. */
static void handle_unless_ignored(int sig, void (*fn)(int))
{
    struct sigaction old;
    if (sigaction(sig, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        handle(sig, fn, 0);
}

static void crash_install(void)
{
    static char stack[64 << 10];
    const stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
    void *frame[1];
    backtrace(frame, 1); /* loads libgcc now, which is not safe to do in a handler */
    char *path = path_xdg("XDG_STATE_HOME", ".local/state", "");
    if (path && file_mkdir(path, NULL) == OK)
        snprintf(crash_path, sizeof(crash_path), "%scrash-%ld.txt", path, (long)getpid());
    free(path);
    sigaltstack(&alt, NULL);
    const int flags = SA_ONSTACK | (int)SA_RESETHAND;
    handle(SIGSEGV, on_crash, flags);
    handle(SIGABRT, on_crash, flags);
    handle(SIGFPE, on_crash, flags);
    handle(SIGILL, on_crash, flags);
    handle(SIGBUS, on_bus, flags);
}

void signals_install(struct cancel *job, bool batch)
{
    stop_flag = job;
    batch_mode = batch;
    if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        abort();
    handle(SIGPIPE, on_pipe, 0);
    handle_unless_ignored(SIGINT, on_note);
    handle_unless_ignored(SIGTERM, on_end);
    handle_unless_ignored(SIGHUP, on_end);
    handle_unless_ignored(SIGQUIT, on_end);
    if (!batch) {
        handle(SIGWINCH, on_note, 0);
        handle(SIGCONT, on_note, 0);
        handle_unless_ignored(SIGTSTP, on_note);
    }
    if (CATCH_CRASHES)
        crash_install();
}

void signals_forget_job(void)
{
    stop_flag = NULL;
}

bool signals_take(int sig)
{
    if (!came[sig])
        return false;
    came[sig] = 0;
    return true;
}

int signals_ended(void)
{
    return ended;
}

int signals_fd(void)
{
    return wake[0];
}

void signals_drain(void)
{
    char buf[64];
    while (read(wake[0], buf, sizeof(buf)) > 0)
        continue;
}

void signals_busy(bool busy)
{
    busy_now = busy;
}

void signals_tty(const struct termios *modes, const char *leave)
{
    tty.armed = 0;
    if (!modes)
        return;
    tty.modes = *modes;
    tty.leave_size = strnlen(leave, sizeof(tty.leave));
    memcpy(tty.leave, leave, tty.leave_size);
    tty.armed = 1;
}

void signals_stop(void)
{
    handle(SIGTSTP, SIG_DFL, 0);
    raise(SIGTSTP);
    handle(SIGTSTP, on_note, 0);
}
