/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * base.c: errors, small allocations, arenas, budgets and the string map of base.h.
 */
#include "engine/base.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* ---- Errors --------------------------------------------------------------------------------- */

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        err->code = code;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_in(struct err *err, const char *fmt, ...)
{
    if (!err) {
        return E_FORMAT;
    }
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text) {
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", inner);
    }
    return err->code;
}

const char *err_name(int code)
{
    static const char *const names[] = {
        "OK",      "E_USAGE", "E_IO",    "E_FORMAT", "E_UNSUPPORTED",
        "E_SHAPE", "E_LIMIT", "E_STATE", "E_CHECK",  "E_STOP",
    };
    return code <= 0 && (size_t)-code < COUNT(names) ? names[-code] : "E_UNKNOWN";
}

/* ---- Small allocations ---------------------------------------------------------------------- */

static void *mem_need(void *p)
{
    if (!p) {
        fputs("qscope: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return mem_need(calloc(1, size ? size : 1));
}

void *mem_grow(void *p, size_t size)
{
    return mem_need(realloc(p, size ? size : 1));
}

char *mem_dup(const char *s)
{
    return s ? mem_need(strdup(s)) : NULL;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return mem_need(n < 0 ? NULL : s);
}

void *mem_push(void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return array;
    }
    size_t want = *cap ? *cap : 8, bytes = 0;
    while (want <= n) {
        if (!mul_ok(want, 2, &want)) {
            mem_need(NULL);
        }
    }
    if (!mul_ok(want, size, &bytes)) {
        mem_need(NULL);
    }
    array = mem_grow(array, bytes);
    memset((char *)array + *cap * size, 0, (want - *cap) * size);
    *cap = want;
    return array;
}

/* ---- Arena ---------------------------------------------------------------------------------- */

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size; /* bytes of data[] */
    _Alignas(16) unsigned char data[];
};

enum { ARENA_CHUNK = 64 << 10 };

void arena_fini(struct arena *a)
{
    for (struct arena_chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){0};
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (!add_ok(size, 15, &size)) {
        mem_need(NULL);
    }
    size &= ~(size_t)15;
    if (!a->head || a->head->size - a->head->used < size) {
        /* Chunks double with use, so that a large model needs few of them. */
        size_t room = MAX(MAX(size, (size_t)ARENA_CHUNK), MIN(a->used, (size_t)8 << 20));
        struct arena_chunk *c = mem_alloc(sizeof *c + room);
        c->size = room;
        c->next = a->head;
        a->head = c;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += size;
    a->used += size;
    return p;
}

char *arena_dup_n(struct arena *a, const char *s, size_t n)
{
    char *d = arena_alloc(a, n + 1);
    if (n) {
        memcpy(d, s, n);
    }
    return d;
}

char *arena_dup(struct arena *a, const char *s)
{
    return arena_dup_n(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    mem_need(n < 0 ? NULL : s);
    char *d = arena_dup(a, s);
    free(s);
    return d;
}

/* ---- Budget --------------------------------------------------------------------------------- */

enum { PURSE = 1 << 18 }; /* bytes that a thread takes at a time, and keeps at least */

/* The purse of this thread; more threads than there are share them. */
static atomic_size_t *purse_of(struct budget *b)
{
    static atomic_uint threads;
    static _Thread_local unsigned mine; /* plus 1 */
    mine = mine ? mine : 1 + atomic_fetch_add(&threads, 1) % BUDGET_PURSES;
    return &b->purses[mine - 1].bytes;
}

/* Adds to what is used, unless that is too much. */
static bool use(struct budget *b, size_t size)
{
    size_t used = atomic_load(&b->used), sum;
    do {
        if (!add_ok(used, size, &sum) || (b->limit && sum > b->limit)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&b->used, &used, sum));
    size_t peak = atomic_load(&b->peak);
    while (sum > peak && !atomic_compare_exchange_weak(&b->peak, &peak, sum)) {
    }
    return true;
}

static void empty_purses(struct budget *b)
{
    for (size_t i = 0; i < BUDGET_PURSES; i++) {
        atomic_fetch_sub(&b->used, atomic_exchange(&b->purses[i].bytes, 0));
    }
}

int budget_take(struct budget *b, size_t size, struct err *err)
{
    if (!b) {
        return OK;
    }
    if (size <= PURSE && (!b->limit || atomic_load(&b->used) <= b->limit)) {
        atomic_size_t *purse = purse_of(b);
        size_t have = atomic_load(purse);
        while (have >= size) {
            if (atomic_compare_exchange_weak(purse, &have, have - size)) {
                return OK;
            }
        }
        if (use(b, size + PURSE)) {
            atomic_fetch_add(purse, PURSE);
            return OK;
        }
    }
    if (use(b, size)) {
        return OK;
    }
    empty_purses(b);
    if (use(b, size)) {
        return OK;
    }
    const bool small = b->limit >> 20 < 16;
    const int shift = small ? 10 : 20;
    return err_set(err, E_LIMIT, "needs %zu %s more while %zu of %zu are in use",
                   (size >> shift) + 1, small ? "KiB" : "MiB", atomic_load(&b->used) >> shift,
                   b->limit >> shift);
}

void budget_give(struct budget *b, size_t size)
{
    if (!b) {
        return;
    }
    if (size > PURSE) {
        atomic_fetch_sub(&b->used, size);
        return;
    }
    atomic_size_t *purse = purse_of(b);
    size_t have = atomic_fetch_add(purse, size) + size;
    while (have > (size_t)2 * PURSE) {
        if (atomic_compare_exchange_weak(purse, &have, PURSE)) {
            atomic_fetch_sub(&b->used, have - PURSE);
            return;
        }
    }
}

size_t budget_used(const struct budget *b)
{
    size_t used = atomic_load(&b->used);
    for (size_t i = 0; i < BUDGET_PURSES; i++) {
        used -= atomic_load(&b->purses[i].bytes);
    }
    return used;
}

/* ---- String map ----------------------------------------------------------------------------- */

struct strmap_slot {
    const char *key; /* NULL = empty */
    uint64_t hash;
    int value;
};

/* Seeded once per process, so that names chosen by a file cannot be made to collide. */
static uint64_t strmap_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t s = atomic_load(&seed);
    if (!s) {
        if (getrandom(&s, sizeof s, GRND_NONBLOCK) != (ssize_t)sizeof s) {
            s = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u;
        }
        s |= 1;
        uint64_t first = 0; /* of two threads that get here at once, both take what one stored */
        s = atomic_compare_exchange_strong(&seed, &first, s) ? s : first;
    }
    return s;
}

static uint64_t strmap_hash(const char *key)
{
    uint64_t h = strmap_seed();
    for (const unsigned char *p = (const unsigned char *)key; *p; p++) {
        h = (h ^ *p) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

static struct strmap_slot *strmap_slot(const struct strmap *m, const char *key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct strmap_slot *s = &m->slots[i];
        if (!s->key || (s->hash == hash && strcmp(s->key, key) == 0)) {
            return s;
        }
    }
}

static void strmap_grow(struct strmap *m)
{
    struct strmap old = *m;
    m->cap = old.cap ? old.cap * 2 : 64;
    m->slots = mem_alloc(m->cap * sizeof *m->slots);
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].key) {
            *strmap_slot(m, old.slots[i].key, old.slots[i].hash) = old.slots[i];
        }
    }
    free(old.slots);
}

void strmap_fini(struct strmap *m)
{
    free(m->slots);
    *m = (struct strmap){0};
}

void strmap_put(struct strmap *m, const char *key, int value)
{
    if (2 * (m->n + 1) > m->cap) {
        strmap_grow(m);
    }
    uint64_t hash = strmap_hash(key);
    struct strmap_slot *s = strmap_slot(m, key, hash);
    m->n += s->key == NULL;
    *s = (struct strmap_slot){.key = key, .hash = hash, .value = value};
}

int strmap_get(const struct strmap *m, const char *key, int missing)
{
    if (!m->n) {
        return missing;
    }
    const struct strmap_slot *s = strmap_slot(m, key, strmap_hash(key));
    return s->key ? s->value : missing;
}

void strmap_copy(struct strmap *dst, const struct strmap *src,
                 const char *(*key)(const void *ctx, int value), const void *ctx)
{
    *dst = *src;
    dst->slots = mem_alloc(src->cap * sizeof *dst->slots);
    for (size_t i = 0; i < src->cap; i++) {
        dst->slots[i] = src->slots[i];
        dst->slots[i].key = src->slots[i].key ? key(ctx, src->slots[i].value) : NULL;
    }
}
