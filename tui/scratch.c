/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * scratch.c: a private folder for files that are handed to other programs. Like signals.c it has
 * statics, since a handler takes no context: what is there to be removed when a signal ends the
 * program at once.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tui/scratch.h"

enum { MOST_PROGRAMS = 256 }; /* as many as there may be threads */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static char folder[512];
static volatile sig_atomic_t there;
static _Atomic pid_t programs[MOST_PROGRAMS];
static atomic_int starting; /* programs whose numbers are not known yet */
static atomic_bool over;    /* no more are to be started */

static int make_folder(struct err *err)
{
    const char *below = getenv("TMPDIR");
    const int n = snprintf(folder, sizeof(folder), "%s/qscope-XXXXXX",
                           below && below[0] == '/' ? below : "/tmp");
    if (n < 0 || (size_t)n >= sizeof(folder))
        return err_set(err, E_IO, "$TMPDIR is too long for a path");
    if (!mkdtemp(folder))
        return err_set(err, E_IO, "%s: cannot make a folder: %s", folder, strerror(errno));
    there = 1;
    return OK;
}

int scratch_open(const char **dir, struct err *err)
{
    pthread_mutex_lock(&lock);
    const int rc = users ? OK : make_folder(err);
    users += rc == OK;
    pthread_mutex_unlock(&lock);
    *dir = folder;
    return rc;
}

void scratch_close(void)
{
    pthread_mutex_lock(&lock);
    if (--users == 0) {
        there = 0;
        rmdir(folder);
    }
    pthread_mutex_unlock(&lock);
}

bool scratch_begin(void)
{
    atomic_fetch_add(&starting, 1);
    if (!atomic_load(&over))
        return true;
    atomic_fetch_sub(&starting, 1);
    return false;
}

void scratch_program(pid_t pid)
{
    bool kept = pid <= 0;
    for (int i = 0; i < MOST_PROGRAMS && !kept; i++) {
        pid_t none = 0;
        kept = atomic_compare_exchange_strong(&programs[i], &none, pid);
    }
    atomic_fetch_sub(&starting, 1);
}

void scratch_ended(pid_t pid)
{
    for (int i = 0; i < MOST_PROGRAMS; i++) {
        pid_t it = pid;
        if (atomic_compare_exchange_strong(&programs[i], &it, 0))
            return;
    }
}

/* One entry of what the kernel says is in a folder; readdir() is not for handlers. */
struct entry {
    uint64_t inode;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

void scratch_abandon(void)
{
    enum { TRIES = 200 }; /* milliseconds: it may be a thread that starts one that this runs on */
    atomic_store(&over, true);
    for (int i = 0; i < TRIES && atomic_load(&starting) > 0; i++)
        poll(NULL, 0, 1);
    for (int i = 0; i < MOST_PROGRAMS; i++) {
        const pid_t pid = atomic_load(&programs[i]);
        if (pid > 0)
            kill(-pid, SIGKILL);
    }
    const int fd = there ? open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    _Alignas(struct entry) char buf[4096];
    for (long n; (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0;)
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(buf + at);
            unlinkat(fd, e->name, 0); /* refused for "." and ".." */
            at += e->size;
        }
    close(fd);
    rmdir(folder);
}
