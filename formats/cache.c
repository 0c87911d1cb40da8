/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cache.c: results by digest in an SQLite database that many processes share. All of it can be made
 * again, so it never stands in the way: what cannot be read is a miss, what cannot be written is
 * not kept, and the first fault turns it off for the rest of the process.
 */
#include "formats/formats.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    APPLICATION = 0x71736370, /* "qscp" */
    SCHEMA = 1,
    WAIT_MS = 250,   /* for another process that writes */
    OPEN_MS = 2000,  /* for others that make or open it at the same time */
    TOUCH_AFTER = 60 /* seconds until another use is noted */
};

struct cache {
    pthread_mutex_t lock; /* of all below */
    sqlite3 *db;          /* NULL: a fault turned it off */
    sqlite3_stmt *get, *put, *touch, *oldest, *drop;
    size_t limit;
    struct err fault;
    struct cache_info seen; /* hits and misses */
    char *path;
};

/* Of sizes of 64 bits, as SQLite has them. */
static sqlite3_int64 number(sqlite3 *db, const char *sql, int *rc)
{
    sqlite3_stmt *s = NULL;
    sqlite3_int64 n = 0;
    *rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (*rc == SQLITE_OK) {
        int step = sqlite3_step(s);
        n = step == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
        *rc = step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK : step;
    }
    sqlite3_finalize(s);
    return n;
}

/* ---- Faults --------------------------------------------------------------------------------- */

static void let_go(struct cache *c)
{
    sqlite3_stmt **all[] = {&c->get, &c->put, &c->touch, &c->oldest, &c->drop};
    for (size_t i = 0; i < COUNT(all); i++) {
        sqlite3_finalize(*all[i]);
        *all[i] = NULL;
    }
    sqlite3_close(c->db);
    c->db = NULL;
}

static bool passes(int rc)
{
    return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

/* That others are at work is no fault. Anything else ends the use of the cache. */
static void note_fault(struct cache *c, int rc)
{
    if (c->db && !passes(rc)) {
        bool full = (rc & 0xff) == SQLITE_FULL;
        err_set(&c->fault, full ? E_LIMIT : E_IO, "%s: %s", c->path, sqlite3_errmsg(c->db));
        let_go(c);
    }
}

bool cache_fault(struct cache *c, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    bool any = c->fault.code != OK;
    if (any && err) {
        *err = c->fault;
    }
    pthread_mutex_unlock(&c->lock);
    return any;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static const char schema[] =
    "PRAGMA auto_vacuum = INCREMENTAL;"
    "PRAGMA page_size = 16384;"
    "PRAGMA journal_mode = WAL;"
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS result(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
    " used INTEGER NOT NULL, size INTEGER NOT NULL, code BLOB NOT NULL, data BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS result_used ON result(used, id);"
    "PRAGMA application_id = 1903387504;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

static int execute(struct cache *c, const char *sql)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

/* Two processes may make it at once: then one waits for the other. */
static int make_tables(struct cache *c)
{
    int rc = execute(c, schema);
    for (int tries = 0; passes(rc) && tries < OPEN_MS / 10; tries++) {
        if (!sqlite3_get_autocommit(c->db)) {
            execute(c, "ROLLBACK");
        }
        sqlite3_sleep(10);
        rc = execute(c, schema);
    }
    return rc;
}

/* An empty database is made ours; anybody else's is left alone. What tells is read at one moment,
 * as another process may be making it. */
static int check_schema(struct cache *c, struct err *err)
{
    int rc, rc2, rc3;
    execute(c, "BEGIN");
    sqlite3_int64 application = number(c->db, "PRAGMA application_id", &rc);
    sqlite3_int64 version = number(c->db, "PRAGMA user_version", &rc2);
    sqlite3_int64 tables = number(c->db, "SELECT count(*) FROM sqlite_master", &rc3);
    rc = rc ? rc : rc2 ? rc2 : rc3;
    execute(c, "COMMIT");
    if (!rc && (tables || application || version) &&
        (application != APPLICATION || version != SCHEMA)) {
        return err_set(err, E_FORMAT, "%s: is no result cache of this version", c->path);
    }
    rc = rc || tables ? rc : make_tables(c);
    return rc ? err_set(err, E_IO, "%s: %s", c->path, sqlite3_errmsg(c->db)) : OK;
}

static int prepare(struct cache *c, struct err *err)
{
    const struct {
        sqlite3_stmt **out;
        const char *sql;
    } all[] = {
        {&c->get, "SELECT data, code, used, id FROM result WHERE key = ?1"},
        {&c->put, "INSERT OR REPLACE INTO result(key, used, size, code, data)"
                  " VALUES(?1, ?2, ?3, ?4, ?5)"},
        {&c->touch, "UPDATE result SET used = ?2 WHERE id = ?1"},
        {&c->oldest, "SELECT id, size FROM result ORDER BY used, id"},
        {&c->drop, "DELETE FROM result WHERE id = ?1"},
    };
    for (size_t i = 0; i < COUNT(all); i++) {
        if (sqlite3_prepare_v2(c->db, all[i].sql, -1, all[i].out, NULL)) {
            return err_set(err, E_IO, "%s: %s", c->path, sqlite3_errmsg(c->db));
        }
    }
    return OK;
}

/* For the owner alone, as the names of models and images follow from what is kept. */
static int make_dir(const char *dir, struct err *err)
{
    char *parent = mem_dup(dir), *slash = strrchr(parent, '/');
    int rc = OK;
    if (slash && slash != parent) {
        *slash = '\0';
        rc = file_mkdir(parent, err);
    }
    free(parent);
    if (!rc && mkdir(dir, 0700) && !(errno == EEXIST && file_is_dir(dir))) {
        rc = err_set(err, E_IO, "%s: cannot create directory: %s", dir, strerror(errno));
    }
    return rc;
}

static int open_db(struct cache *c, struct err *err)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(c->path, &c->db, flags, NULL);
    if (rc) {
        return err_set(err, E_IO, "%s: %s", c->path, c->db ? sqlite3_errmsg(c->db) : "no memory");
    }
    sqlite3_busy_timeout(c->db, OPEN_MS);
    rc = check_schema(c, err);
    sqlite3_busy_timeout(c->db, WAIT_MS);
    /* A power failure may cost what is kept, so nothing waits for the disk. */
    execute(c, "PRAGMA synchronous = OFF");
    return rc ? rc : prepare(c, err);
}

int cache_open(const char *dir, size_t limit, struct cache **out, struct err *err)
{
    int rc = make_dir(dir, err);
    if (rc) {
        return rc;
    }
    struct cache *c = mem_alloc(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->limit = limit;
    c->path = mem_printf("%s/" CACHE_FILE, dir);
    rc = open_db(c, err);
    if (rc) {
        cache_close(c);
        return rc;
    }
    *out = c;
    return OK;
}

void cache_close(struct cache *c)
{
    if (c) {
        let_go(c);
        pthread_mutex_destroy(&c->lock);
        free(c->path);
        free(c);
    }
}

/* ---- Reading -------------------------------------------------------------------------------- */

static struct digest code_of(struct digest key, const void *data, size_t size)
{
    digest_bulk(&key, data, size);
    return key;
}

/* Notes that the row was of use, now and then: reading is to cost no writing. */
static void touch(struct cache *c, sqlite3_int64 id, sqlite3_int64 used)
{
    sqlite3_int64 now = (sqlite3_int64)time(NULL);
    if (now >= used && now - used < TOUCH_AFTER) {
        return;
    }
    sqlite3_bind_int64(c->touch, 1, id);
    sqlite3_bind_int64(c->touch, 2, now);
    int rc = sqlite3_step(c->touch);
    sqlite3_reset(c->touch);
    if (rc != SQLITE_DONE) {
        note_fault(c, rc);
    }
}

/* A copy of the row that the statement stands on, if it is what was put. */
static bool take(struct cache *c, struct digest key, void **data, size_t *size)
{
    const void *p = sqlite3_column_blob(c->get, 0);
    size_t n = (size_t)sqlite3_column_bytes(c->get, 0);
    struct digest code = code_of(key, p, n);
    const void *want = sqlite3_column_blob(c->get, 1);
    bool same = want && sqlite3_column_bytes(c->get, 1) == (int)sizeof code &&
                memcmp(want, &code, sizeof code) == 0;
    if (same) {
        *data = mem_alloc(n + 1);
        memcpy(*data, n ? p : "", n);
        *size = n;
    }
    return same;
}

bool cache_get(struct cache *c, struct digest key, void **data, size_t *size)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    if (c->db) {
        sqlite3_bind_blob(c->get, 1, &key, sizeof key, SQLITE_STATIC);
        int rc = sqlite3_step(c->get);
        found = rc == SQLITE_ROW && take(c, key, data, size);
        sqlite3_int64 used = found ? sqlite3_column_int64(c->get, 2) : 0;
        sqlite3_int64 id = found ? sqlite3_column_int64(c->get, 3) : 0;
        sqlite3_reset(c->get);
        if (found) {
            touch(c, id, used);
        } else if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            note_fault(c, rc);
        }
    }
    c->seen.hits += found;
    c->seen.misses += !found;
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* Bytes that rows take of the file. */
static size_t in_use(struct cache *c, int *rc)
{
    int rc2, rc3;
    sqlite3_int64 pages = number(c->db, "PRAGMA page_count", rc);
    sqlite3_int64 spare = number(c->db, "PRAGMA freelist_count", &rc2);
    sqlite3_int64 page = number(c->db, "PRAGMA page_size", &rc3);
    *rc = *rc ? *rc : rc2 ? rc2 : rc3;
    return pages > spare ? (size_t)(pages - spare) * (size_t)page : 0;
}

/* Drops what was not used for longest until `room` more bytes fit, and a tenth of the limit with
 * them, so that it is not done for every value. */
static int make_room(struct cache *c, size_t room)
{
    int rc;
    size_t used = in_use(c, &rc);
    if (rc || used + room <= c->limit) {
        return rc;
    }
    size_t excess = used + room - c->limit + c->limit / 10;
    for (size_t freed = 0; freed < excess && !rc;) {
        int step = sqlite3_step(c->oldest);
        sqlite3_int64 id = step == SQLITE_ROW ? sqlite3_column_int64(c->oldest, 0) : 0;
        size_t size = step == SQLITE_ROW ? (size_t)sqlite3_column_int64(c->oldest, 1) : 0;
        sqlite3_reset(c->oldest);
        if (step != SQLITE_ROW) {
            return step == SQLITE_DONE ? SQLITE_OK : step;
        }
        sqlite3_bind_int64(c->drop, 1, id);
        step = sqlite3_step(c->drop);
        sqlite3_reset(c->drop);
        rc = step == SQLITE_DONE ? SQLITE_OK : step;
        freed += size;
    }
    return rc;
}

static int put_row(struct cache *c, struct digest key, const void *data, size_t size)
{
    struct digest code = code_of(key, data, size);
    sqlite3_bind_blob(c->put, 1, &key, sizeof key, SQLITE_STATIC);
    sqlite3_bind_int64(c->put, 2, (sqlite3_int64)time(NULL));
    sqlite3_bind_int64(c->put, 3, (sqlite3_int64)size);
    sqlite3_bind_blob(c->put, 4, &code, sizeof code, SQLITE_STATIC);
    sqlite3_bind_blob64(c->put, 5, size ? data : "", size, SQLITE_STATIC);
    int rc = sqlite3_step(c->put);
    sqlite3_reset(c->put);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

void cache_put(struct cache *c, struct digest key, const void *data, size_t size)
{
    pthread_mutex_lock(&c->lock);
    if (c->db && size <= c->limit / 4 && size < 256 << 20) {
        int rc = execute(c, "BEGIN IMMEDIATE");
        if (!rc) {
            rc = make_room(c, size);
            rc = rc ? rc : put_row(c, key, data, size);
            rc = rc ? rc : execute(c, "COMMIT");
        }
        if (rc) {
            note_fault(c, rc);
        }
        if (c->db && !sqlite3_get_autocommit(c->db)) {
            execute(c, "ROLLBACK");
        }
    }
    pthread_mutex_unlock(&c->lock);
}

void cache_limit(struct cache *c, size_t limit)
{
    pthread_mutex_lock(&c->lock);
    c->limit = limit;
    if (c->db && !execute(c, "BEGIN IMMEDIATE")) {
        int rc = make_room(c, 0);
        execute(c, rc ? "ROLLBACK" : "COMMIT");
        execute(c, "PRAGMA incremental_vacuum");
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- Looking and clearing ------------------------------------------------------------------- */

void cache_look(struct cache *c, struct cache_info *out)
{
    pthread_mutex_lock(&c->lock);
    int rc;
    *out = c->seen;
    out->limit = c->limit;
    if (c->db) {
        out->entries = (size_t)number(c->db, "SELECT count(*) FROM result", &rc);
        out->size = in_use(c, &rc);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Also a damaged one: its files go, and whoever has them open keeps what it has. */
int cache_clear(const char *dir, struct err *err)
{
    static const char *const names[] = {CACHE_FILE, CACHE_FILE "-wal", CACHE_FILE "-shm",
                                        CACHE_FILE "-journal"};
    int rc = OK;
    for (size_t i = 0; i < COUNT(names); i++) {
        char *path = mem_printf("%s/%s", dir, names[i]);
        if (unlink(path) && errno != ENOENT && errno != ENOTDIR && !rc) {
            rc = err_set(err, E_IO, "%s: cannot remove: %s", path, strerror(errno));
        }
        free(path);
    }
    return rc;
}
