/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_cache.c: the store of results: what is put comes back, or nothing does: with limits, other
 * processes, damage of every kind, and a disk that is full.
 */
#include "tests/scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MB = 1 << 20 };

static struct digest key(int i)
{
    struct digest d = {0};
    digest_int(&d, i);
    return d;
}

/* A value that its number gives: its length too. */
static uint8_t *value(int i, size_t *size)
{
    *size = (size_t)(i * 37 % 5000);
    uint8_t *p = mem_alloc(*size + 1);
    for (size_t k = 0; k < *size; k++) {
        p[k] = (uint8_t)((size_t)i * 31 + k * 7);
    }
    return p;
}

static void put(struct cache *c, int i)
{
    size_t size;
    uint8_t *p = value(i, &size);
    cache_put(c, key(i), p, size);
    free(p);
}

/* 1: there, and right; 0: not there. */
static int has(struct cache *c, int i)
{
    void *got = NULL;
    size_t size, want;
    uint8_t *p = value(i, &want);
    bool found = cache_get(c, key(i), &got, &size);
    if (found) {
        assert_int_equal(size, want);
        assert_memory_equal(got, p, size);
        free(got);
    }
    free(p);
    return found;
}

static struct cache *opened(const char *name, size_t limit)
{
    struct cache *c = NULL;
    struct err e = {0};
    if (cache_open(scratch(name), limit, &c, &e)) {
        fail_msg("%s", e.text);
    }
    return c;
}

static void filled(const char *name, int n)
{
    struct cache *c = opened(name, 64 * MB);
    for (int i = 0; i < n; i++) {
        put(c, i);
    }
    assert_false(cache_fault(c, NULL));
    cache_close(c);
}

static const char *file_in(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/" CACHE_FILE, name);
    return scratch(path);
}

/* ---- Use ------------------------------------------------------------------------------------ */

static void values_come_back(void **state)
{
    (void)state;
    struct cache *c = opened("use/deep", 64 * MB);
    struct stat st;
    assert_int_equal(stat(scratch("use/deep"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_false(has(c, 1));
    for (int i = 0; i < 300; i++) {
        put(c, i);
        assert_true(has(c, i));
    }
    cache_put(c, key(1), "other", 5); /* replaces */
    void *got;
    size_t size;
    assert_true(cache_get(c, key(1), &got, &size));
    assert_int_equal(size, 5);
    assert_memory_equal(got, "other", 5);
    free(got);
    put(c, 1);
    cache_close(c);
    c = opened("use/deep", 64 * MB);
    for (int i = 0; i < 300; i++) {
        assert_true(has(c, i));
    }
    assert_false(has(c, 300));
    struct cache_info info;
    cache_look(c, &info);
    assert_int_equal(info.entries, 300);
    assert_int_equal(info.hits, 300);
    assert_int_equal(info.misses, 1);
    cache_close(c);
    assert_int_equal(cache_clear(scratch("use/deep"), NULL), OK);
    assert_int_equal(cache_clear(scratch("use/deep"), NULL), OK);
    c = opened("use/deep", 64 * MB);
    assert_false(has(c, 1));
    cache_close(c);
}

static void it_stays_within_its_limit(void **state)
{
    (void)state;
    struct cache *c = opened("limit", 2 * MB);
    uint8_t *big = mem_alloc(MB);
    for (int i = 0; i < 100; i++) {
        big[0] = (uint8_t)i;
        cache_put(c, key(i), big, 200 << 10);
    }
    cache_put(c, key(1000), big, MB); /* over a quarter */
    void *got;
    size_t size;
    struct cache_info info;
    cache_look(c, &info);
    assert_true(info.size <= 2 * MB);
    assert_in_range(info.entries, 4, 10);
    for (int i = 0; i < 100; i++) {
        bool found = cache_get(c, key(i), &got, &size);
        assert_int_equal(found, i >= 100 - (int)info.entries); /* the first ones went */
        if (found) {
            assert_int_equal(((uint8_t *)got)[0], i);
            free(got);
        }
    }
    assert_false(cache_get(c, key(1000), &got, &size));
    cache_limit(c, 600 << 10);
    cache_look(c, &info);
    assert_in_range(info.entries, 1, 3);
    cache_close(c);
    struct stat st;
    assert_int_equal(stat(file_in("limit"), &st), 0);
    assert_true(st.st_size <= MB);
    free(big);
}

/* Four processes open it at once and write and read the same keys and their own. */
static void processes_share_it(void **state)
{
    (void)state;
    enum { WRITERS = 4, EACH = 150 };
    pid_t pid[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        pid[w] = fork();
        assert_true(pid[w] >= 0);
        if (pid[w] == 0) {
            struct cache *c = NULL;
            int rc = cache_open(scratch("shared"), 64 * MB, &c, NULL);
            for (int i = 0; i < EACH && !rc; i++) {
                put(c, i);
                put(c, 1000 * (w + 1) + i);
                has(c, i);
            }
            rc = rc || cache_fault(c, NULL);
            cache_close(c);
            _exit(rc ? 1 : 0);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        int status = -1;
        assert_int_equal(waitpid(pid[w], &status, 0), pid[w]);
        assert_int_equal(status, 0);
    }
    struct cache *c = opened("shared", 64 * MB);
    int found = 0;
    for (int i = 0; i < EACH; i++) {
        found += has(c, i);
        for (int w = 0; w < WRITERS; w++) {
            found += has(c, 1000 * (w + 1) + i);
        }
    }
    assert_true(found > EACH * (WRITERS + 1) / 2); /* who waits too long gives up a value */
    cache_close(c);
}

/* ---- Damage --------------------------------------------------------------------------------- */

/* Opens and uses it: no value that was not put, no fault but a told one. */
static void use_damaged(const char *name, int n)
{
    struct cache *c = NULL;
    struct err e = {0};
    int rc = cache_open(scratch(name), 64 * MB, &c, &e);
    if (rc) {
        assert_true(rc == E_IO || rc == E_FORMAT);
        assert_non_null(strstr(e.text, CACHE_FILE));
        return;
    }
    for (int i = 0; i < n; i++) {
        has(c, i);
        put(c, i + n);
    }
    if (cache_fault(c, &e)) {
        assert_non_null(strstr(e.text, CACHE_FILE));
    }
    cache_close(c);
}

static void damage_is_survived(void **state)
{
    (void)state;
    enum { N = 60 };
    filled("whole", N);
    size_t size;
    uint8_t *whole = scratch_read(file_in("whole"), &size);
    char name[32], file[64];
    unsigned seed = 1;
    for (int round = 0; round < 60; round++) {
        snprintf(name, sizeof name, "bad%d", round);
        snprintf(file, sizeof file, "%s/" CACHE_FILE, name);
        uint8_t *bytes = mem_alloc(size);
        memcpy(bytes, whole, size);
        size_t keep = round % 3 == 0 ? size * (size_t)round / 60 : size;
        for (int k = 0; k < 1 << (round / 4) && round % 3; k++) {
            seed = seed * 1103515245 + 12345;
            bytes[seed / 7 % (round % 3 == 1 ? size : 4096)] = (uint8_t)(seed >> 16);
        }
        scratch_bytes(file, bytes, keep);
        free(bytes);
        use_damaged(name, N);
        assert_int_equal(cache_clear(scratch(name), NULL), OK);
        filled(name, 3); /* and it can be made anew */
    }
    free(whole);
}

static void refused(const char *name, int want)
{
    struct cache *c = NULL;
    struct err e = {0};
    int rc = cache_open(scratch(name), MB, &c, &e);
    assert_error(rc, e, want, "");
    assert_true(e.text[0]);
    assert_null(c);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void others_are_left_alone(void **state)
{
    (void)state;
    size_t before, after;
    scratch_text("text/" CACHE_FILE, "no database, but long enough to look like something\n");
    refused("text", E_IO);
    filled("newer", 3);
    run_sql(file_in("newer"), "PRAGMA user_version = 99");
    uint8_t *a = scratch_read(file_in("newer"), &before);
    refused("newer", E_FORMAT);
    uint8_t *b = scratch_read(file_in("newer"), &after);
    assert_int_equal(before, after);
    assert_memory_equal(a, b, before);
    free(a);
    free(b);
    assert_int_equal(mkdir(scratch("foreign"), 0700), 0);
    run_sql(file_in("foreign"), "CREATE TABLE mine(x); INSERT INTO mine VALUES(1)");
    refused("foreign", E_FORMAT);
    filled("dropped", 3);
    run_sql(file_in("dropped"), "DROP TABLE result; CREATE TABLE other(x)");
    refused("dropped", E_IO);
}

static void places_that_cannot_be_written(void **state)
{
    (void)state;
    scratch_text("plain", "a file");
    refused("plain/below", E_IO);
    refused("plain", E_IO);
    assert_int_equal(mkdir(scratch("taken"), 0700), 0);
    assert_int_equal(mkdir(file_in("taken"), 0700), 0);
    refused("taken", E_IO);
    if (geteuid() != 0) {
        assert_int_equal(mkdir(scratch("locked"), 0500), 0);
        refused("locked", E_IO);
    }
}

/* In a process of its own, which may write no file beyond a size. */
static void a_full_disk_ends_it_and_nothing_else(void **state)
{
    (void)state;
    filled("full", 20);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cache *c = NULL;
        const struct rlimit small = {512 << 10, 512 << 10};
        signal(SIGXFSZ, SIG_IGN);
        int rc = cache_open(scratch("full"), 64 * MB, &c, NULL);
        rc = rc || setrlimit(RLIMIT_FSIZE, &small);
        uint8_t *big = mem_alloc(4 * MB);
        cache_put(c, key(5000), big, 4 * MB);
        free(big);
        rc = rc || !cache_fault(c, NULL) || has(c, 5000) || has(c, 1);
        put(c, 5001);
        cache_close(c);
        _exit(rc ? 1 : 0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct cache *c = opened("full", 64 * MB); /* what was there is there */
    for (int i = 0; i < 20; i++) {
        assert_true(has(c, i));
    }
    cache_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(it_stays_within_its_limit),
        cmocka_unit_test(processes_share_it),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(others_are_left_alone),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(a_full_disk_ends_it_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
