/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * file.c: the only ways to touch a file: whole files in, atomic whole files out, and data that a
 * model keeps in files beside it. It knows no format.
 */
#include "formats/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t default_limit = (size_t)4 << 30;
/* Smaller files are copied to memory: a file that somebody truncates while it is mapped raises
 * SIGBUS. Above, the copy would cost more than the risk is worth. */
static const size_t map_above = (size_t)64 << 20;

static int io_error(struct err *err, const char *path, const char *what)
{
    return err_set(err, E_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Reads exactly size bytes at offset. Returns false with errno set; errno 0 when the file ends. */
static bool read_fully(int fd, uint8_t *dst, size_t size, off_t offset)
{
    while (size) {
        ssize_t n = pread(fd, dst, MIN(size, (size_t)1 << 30), offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? 0 : errno;
            return false;
        }
        dst += n;
        size -= (size_t)n;
        offset += n;
    }
    return true;
}

/* Memory for a whole file. Large ones ask for huge pages: to touch a file's worth of small pages
 * for the first time takes several times as long as to copy it. */
static void *file_buffer(size_t size)
{
    static const size_t huge = (size_t)2 << 20;
    if (size < huge) {
        return malloc(size);
    }
    size_t whole = (size + huge - 1) / huge * huge;
    void *p = aligned_alloc(huge, whole);
    if (p) {
        madvise(p, whole, MADV_HUGEPAGE); /* where there are none, small ones do */
    }
    return p;
}

/* What an open file is, when it is not the regular file it should be. */
static int check_regular(const struct stat *st, const char *path, struct err *err)
{
    if (S_ISREG(st->st_mode)) {
        return OK;
    }
    return err_set(err, E_IO, "%s: is %s, expected a regular file", path,
                   S_ISDIR(st->st_mode)    ? "a directory"
                   : S_ISFIFO(st->st_mode) ? "a fifo"
                                           : "a device or socket");
}

int file_open(const char *path, size_t limit, struct file_part *out, struct err *err)
{
    struct stat st;
    /* O_NONBLOCK: opening a fifo must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return io_error(err, path, "open");
    }
    int rc = fstat(fd, &st) ? io_error(err, path, "read") : check_regular(&st, path, err);
    limit = limit ? limit : default_limit;
    if (!rc && (uintmax_t)st.st_size > limit) {
        rc = err_set(err, E_FORMAT, "%s: file of %jd bytes is over the limit of %zu", path,
                     (intmax_t)st.st_size, limit);
    }
    if (rc) {
        close(fd);
        return rc;
    }
    *out = (struct file_part){
        .fd = fd,
        .path = path,
        .size = (size_t)st.st_size,
        .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
    };
    return OK;
}

int file_read_part(const struct file_part *f, size_t offset, size_t size, void *dst,
                   struct err *err)
{
    if (read_fully(f->fd, dst, size, (off_t)offset)) {
        return OK;
    }
    return errno ? io_error(err, f->path, "read")
                 : err_set(err, E_IO, "%s: file became shorter while it was read", f->path);
}

void file_close(struct file_part *f)
{
    close(f->fd);
    f->fd = -1;
}

static int copy_in(const struct file_part *from, struct file *f, struct err *err)
{
    uint8_t *p = file_buffer(f->size);
    if (!p) {
        return err_set(err, E_LIMIT, "%s: out of memory for %zu bytes", f->path, f->size);
    }
    int rc = file_read_part(from, 0, f->size, p, err);
    if (rc) {
        free(p);
        return rc;
    }
    f->data = p;
    return OK;
}

static int map_in(const struct file_part *from, struct file *f, struct err *err)
{
    void *p = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, from->fd, 0);
    if (p == MAP_FAILED) {
        return io_error(err, f->path, "map");
    }
    f->data = p;
    return OK;
}

int file_map(const char *path, size_t limit, struct file *out, struct err *err)
{
    struct file_part from;
    int rc = file_open(path, limit, &from, err);
    if (rc) {
        return rc;
    }
    struct file f = {.path = mem_dup(path), .size = from.size, .mtime_ns = from.mtime_ns};
    if (f.size) {
        rc = f.size > map_above ? map_in(&from, &f, err) : copy_in(&from, &f, err);
    }
    file_close(&from);
    if (rc) {
        free(f.path);
        return rc;
    }
    *out = f;
    return OK;
}

void file_unmap(struct file *f)
{
    if (f->size > map_above) {
        munmap((void *)f->data, f->size);
    } else {
        free((void *)f->data);
    }
    free(f->path);
    *f = (struct file){0};
}

/* ---- Data beside a model -------------------------------------------------------------------- */

/* Opens the directory that holds `path`; *base is its last component. */
static int open_parent(const char *path, const char **base, struct err *err)
{
    const char *slash = strrchr(path, '/');
    *base = slash ? slash + 1 : path;
    char *dir = !slash          ? mem_dup(".")
                : slash == path ? mem_dup("/")
                                : mem_printf("%.*s", (int)(slash - path), path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        io_error(err, dir, "open");
    }
    free(dir);
    return fd;
}

static int refuse_below(struct err *err, const char *name, const char *why)
{
    return err_set(err, E_FORMAT, "external data '%.200s' %s", name, why);
}

/* Opens name below the directory `dir` (an fd, closed here), one component at a time: never "..",
 * never through a symbolic link. The steps are relative to open directories, so that nobody can
 * swap one underneath; this is openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) for every kernel. */
static int open_below(int dir, const char *name, int *out, struct err *err)
{
    int rc = OK, at = dir;
    char part[NAME_MAX + 1];
    while (!rc && *name) {
        size_t n = strcspn(name, "/");
        const char *rest = name + n + strspn(name + n, "/");
        if (n > NAME_MAX || n == 0 || (n == 2 && memcmp(name, "..", 2) == 0)) {
            rc = refuse_below(err, name, "leaves the directory of the model");
            break;
        }
        memcpy(part, name, n);
        part[n] = '\0';
        /* O_NONBLOCK for a fifo; a directory is told from a file by what follows. */
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        int fd = openat(at, part, *rest ? flags | O_DIRECTORY : flags);
        if (fd < 0) {
            bool link = errno == ELOOP || (errno == ENOTDIR && *rest);
            rc = link ? refuse_below(err, part, "is a symbolic link or not a directory")
                      : err_set(err, E_IO, "external data '%.200s': cannot open: %s", part,
                                strerror(errno));
            break;
        }
        close(at);
        at = fd;
        name = rest;
    }
    if (rc) {
        close(at);
        return rc;
    }
    *out = at;
    return OK;
}

/* Opens a regular file below the model's directory and tells its size. */
static int open_data(const char *model_path, const char *name, int *out, uint64_t *size,
                     struct err *err)
{
    const char *base;
    struct stat st;
    if (!*name || *name == '/') {
        return refuse_below(err, name, "is not a path relative to the model");
    }
    int fd = open_parent(model_path, &base, err);
    if (fd < 0) {
        return E_IO;
    }
    int rc = open_below(fd, name, &fd, err);
    if (rc) {
        return rc;
    }
    rc = fstat(fd, &st) ? io_error(err, name, "read") : check_regular(&st, name, err);
    if (rc) {
        close(fd);
        return err_in(err, "external data");
    }
    *out = fd;
    *size = (uint64_t)st.st_size;
    return OK;
}

int file_size_below(const char *model_path, const char *name, uint64_t *size, struct err *err)
{
    int fd;
    int rc = open_data(model_path, name, &fd, size, err);
    if (!rc) {
        close(fd);
    }
    return rc;
}

int file_read_below(const char *model_path, const char *name, uint64_t offset, size_t size,
                    void *dst, struct err *err)
{
    int fd;
    uint64_t have;
    int rc = open_data(model_path, name, &fd, &have, err);
    if (rc) {
        return rc;
    }
    if (offset > have || size > have - offset) {
        rc = err_set(err, E_FORMAT,
                     "external data '%.200s' has %ju bytes, expected %zu from offset %ju", name,
                     (uintmax_t)have, size, (uintmax_t)offset);
    } else if (!read_fully(fd, dst, size, (off_t)offset)) {
        rc = err_set(err, E_IO, "external data '%.200s': cannot read: %s", name,
                     errno ? strerror(errno) : "file became shorter");
    }
    close(fd);
    return rc;
}

/* ---- Writing -------------------------------------------------------------------------------- */

static bool write_fully(int fd, const uint8_t *p, size_t size)
{
    while (size) {
        ssize_t n = write(fd, p, MIN(size, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* Creates a new file of an unused name in `dir`; permissions are those of the umask. */
static int create_temp(int dir, char *name, size_t size)
{
    for (int tries = 0; tries < 100; tries++) {
        uint64_t r;
        if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r) {
            return -1;
        }
        snprintf(name, size, ".qscope-%016jx", (uintmax_t)r);
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

/* Renaming onto a device or a fifo would replace it: /dev/null must survive. */
static int check_target(int dir, const char *base, const char *path, struct err *err)
{
    struct stat st;
    if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) || S_ISLNK(st.st_mode)) {
        return OK;
    }
    return check_regular(&st, path, err);
}

/* Writes, syncs and closes fd; the close is checked, since a network file system may report a full
 * disk only there. */
static bool fill_temp(int fd, const void *data, size_t size, enum file_sync sync)
{
    bool ok = write_fully(fd, data, size) && (sync == FILE_SCRATCH || fsync(fd) == 0);
    int saved = errno;
    if (close(fd) != 0) {
        return false;
    }
    errno = saved;
    return ok;
}

int file_write(const char *path, const void *data, size_t size, enum file_sync sync,
               struct err *err)
{
    const char *base;
    char temp[40];
    int dir = open_parent(path, &base, err);
    if (dir < 0) {
        return E_IO;
    }
    int rc = check_target(dir, base, path, err);
    if (rc) {
        goto out;
    }
    int fd = create_temp(dir, temp, sizeof temp);
    if (fd < 0) {
        rc = io_error(err, path, "create");
        goto out;
    }
    if (!fill_temp(fd, data, size, sync)) {
        rc = err_set(err, E_IO, "%s: cannot write %zu bytes: %s", path, size, strerror(errno));
    } else if (renameat(dir, temp, dir, base)) {
        rc = io_error(err, path, "replace");
    }
    if (rc) {
        unlinkat(dir, temp, 0);
    } else if (sync == FILE_DURABLE && fsync(dir) && errno != EINVAL && errno != ENOTSUP) {
        /* Some file systems cannot sync a directory; that is no failure to write. */
        rc = io_error(err, path, "sync the directory");
    }
out:
    close(dir);
    return rc;
}

/* ---- Directories ---------------------------------------------------------------------------- */

int file_mkdir(const char *path, struct err *err)
{
    char *p = mem_dup(path);
    int rc = OK;
    for (char *end = p; !rc && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = '\0';
        if (mkdir(p, 0777) && !(errno == EEXIST && file_is_dir(p))) {
            rc = io_error(err, p, "create directory");
        }
        *end = kept;
    }
    free(p);
    return rc;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
