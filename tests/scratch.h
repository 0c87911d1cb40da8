/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * scratch.h: a temporary directory for tests of formats/, and the loads that must fail.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first. */
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats.h"

static char scratch_dir[64];

static inline int scratch_setup(void **state)
{
    (void)state;
    snprintf(scratch_dir, sizeof scratch_dir, P_tmpdir "/qscope_test_%ld", (long)getpid());
    return mkdir(scratch_dir, 0700);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int scratch_teardown(void **state)
{
    (void)state;
    return nftw(scratch_dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Path below the scratch directory, in a ring of static buffers. */
static inline const char *scratch(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_dir, name);
    return path;
}

/* Writes a file below the scratch directory, with the directories in between. */
static inline const char *scratch_bytes(const char *name, const void *data, size_t size)
{
    const char *path = scratch(name);
    char dir[256];
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(file_mkdir(dir, NULL), OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
    return path;
}

static inline const char *scratch_text(const char *name, const char *text)
{
    return scratch_bytes(name, text, strlen(text));
}

/* A whole file in memory that the caller frees. */
static inline uint8_t *scratch_read(const char *path, size_t *size)
{
    struct file f = {0};
    assert_int_equal(file_map(path, 0, &f, NULL), OK);
    uint8_t *data = mem_alloc(f.size + 1);
    if (f.size) {
        memcpy(data, f.data, f.size);
    }
    *size = f.size;
    file_unmap(&f);
    return data;
}

/* A tensor with bytes that differ from one to the next. */
static inline struct tensor *scratch_tensor(enum dtype dtype, int rank, const int64_t *dims)
{
    struct tensor *t = NULL;
    assert_int_equal(tensor_new(dtype, rank, dims, NULL, &t, NULL), OK);
    for (size_t i = 0; i < t->size; i++) {
        ((uint8_t *)t->data)[i] = dtype == DT_BOOL ? i % 2 : (uint8_t)(i * 5 + 1);
    }
    return t;
}

/* The error has this code and its text contains `part`. */
#define assert_error(rc, err, want, part)                                                          \
    do {                                                                                           \
        const int rc_ = (rc);                                                                      \
        if (rc_ != (want) || !strstr((err).text, part)) {                                          \
            print_error("code %d, text '%s'\n", rc_, (err).text);                                  \
        }                                                                                          \
        assert_int_equal(rc_, want);                                                               \
        assert_non_null(strstr((err).text, part));                                                 \
    } while (0)

#endif
