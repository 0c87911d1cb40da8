/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * content.c: what a sample is, whatever it is called and wherever it lies: a digest of its files.
 */
#include "formats/rows.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Calls each(ctx, path) for the files of a sample in the order of their names; stops at a failure.
 */
static int each_file(const char *path, int (*each)(struct digest *d, const char *path),
                     struct digest *d)
{
    struct dirent **list = NULL;
    if (!file_is_dir(path)) {
        return each(d, path);
    }
    int n = scandir(path, &list, NULL, alphasort), rc = n < 0 ? E_IO : OK;
    for (int i = 0; i < n; i++) {
        char *file = mem_printf("%s/%s", path, list[i]->d_name);
        if (!rc && list[i]->d_name[0] != '.' && !file_is_dir(file)) {
            digest_text(d, list[i]->d_name);
            rc = each(d, file);
        }
        free(file);
        free(list[i]);
    }
    free(list);
    return rc;
}

/* The extension says how bytes are read that say nothing about themselves. */
static int add_content(struct digest *d, const char *path)
{
    struct file f = {0};
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    int rc = file_map(path, 0, &f, NULL);
    if (rc) {
        return rc;
    }
    digest_text(d, dot && (!slash || dot > slash) ? dot : "");
    digest_int(d, (int64_t)f.size);
    digest_bulk(d, f.data, f.size);
    file_unmap(&f);
    return OK;
}

static int add_stamp(struct digest *d, const char *path)
{
    struct stat s;
    if (stat(path, &s)) {
        return E_IO;
    }
    const int64_t what[] = {(int64_t)s.st_dev,          (int64_t)s.st_ino,
                            (int64_t)s.st_size,         (int64_t)s.st_mtim.tv_sec,
                            (int64_t)s.st_mtim.tv_nsec, (int64_t)s.st_ctim.tv_sec,
                            (int64_t)s.st_ctim.tv_nsec};
    digest_text(d, path);
    digest_add(d, what, sizeof what);
    return OK;
}

/* One of many in a file: the others are not read. */
static int add_row(struct digest *d, const struct sample *s)
{
    struct tensor *t = NULL;
    int rc = npy_load_row(s->path, s->row, &t, NULL);
    if (!rc) {
        *d = tensor_digest(t);
        tensor_free(t);
    }
    return rc;
}

int sample_content(const struct sample *s, struct digest *out)
{
    struct digest d = {0};
    int rc = !s->path ? OK : s->row >= 0 ? add_row(&d, s) : each_file(s->path, add_content, &d);
    if (!rc) {
        *out = d;
    }
    return rc;
}

int sample_stamp(const struct sample *s, struct digest *out)
{
    struct digest d = {0};
    int rc = s->path ? each_file(s->path, add_stamp, &d) : OK;
    digest_int(&d, s->row);
    if (!rc) {
        *out = d;
    }
    return rc;
}
