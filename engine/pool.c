/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pool.c: see pool.h. Blocks are cut from regions of large pages; neighbours that are free join. A
 * thread takes from a heap that few others use, so that it gets back what its cache still holds.
 */
#include "engine/pool.h"
#include "engine/base.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__has_feature)
#define POOL_CHECKED (__has_feature(address_sanitizer) || __has_feature(memory_sanitizer))
#else
#define POOL_CHECKED 0
#endif

#if defined(__SANITIZE_ADDRESS__) || POOL_CHECKED
#include <sanitizer/asan_interface.h>

/* The checks need every piece of memory for itself. In front of it lies a line, so that they tell
 * when something else frees it; what rounding up to lines adds behind it is nobody's. */
enum { LINE = 64 };

void *pool_take(size_t size)
{
    size_t room;
    if (!add_ok(size, 2 * LINE - 1, &room)) {
        return NULL;
    }
    room = room / LINE * LINE;
    char *p = aligned_alloc(LINE, room);
    if (!p) {
        return NULL;
    }
    ASAN_POISON_MEMORY_REGION(p + LINE + size, room - LINE - size);
    return p + LINE;
}

void pool_give(void *p)
{
    free(p ? (char *)p - LINE : NULL);
}
#else

enum {
    LINE = 64,           /* bytes of a cache line, to which sizes are rounded up */
    HUGE_PAGE = 2 << 20, /* bytes */
    REGION = 32 << 20,   /* bytes of a region, unless a block needs more */
    KEEP = 512 << 20,    /* most bytes of free regions before they go back to the system */
    HEAPS = 16,          /* more threads than these share them */
    BINS = 64,           /* free blocks by the logarithm of their size */
};

/* Stands in front of the memory of a block. */
struct block {
    size_t size, before; /* bytes of this block and the one in front of it, 0: none; with these */
    struct heap *heap;   /* NULL: from malloc, there was no room for a region */
    struct block *next, *last; /* free ones of the same bin */
    bool used;
    char fill[LINE - 2 * sizeof(size_t) - 3 * sizeof(void *) - sizeof(bool)];
};

/* A region is one block when all is free, and behind it one of no size that is always used. */
struct heap {
    _Alignas(2 * LINE) pthread_mutex_t lock; /* not in one line with what a neighbour writes */
    struct block *bins[BINS];
    uint64_t filled; /* bit b: bin b has blocks */
    size_t users;    /* under heaps_lock */
};

static struct heap heaps[HEAPS];
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t heaps_once = PTHREAD_ONCE_INIT;
static pthread_key_t leave_key;
static _Thread_local struct heap *mine;
static atomic_size_t kept; /* bytes of regions that are free as a whole */

/* ---- Heaps --------------------------------------------------------------------------------- */

static void leave(void *heap)
{
    struct heap *h = heap;
    pthread_mutex_lock(&heaps_lock);
    h->users--;
    pthread_mutex_unlock(&heaps_lock);
    mine = NULL;
}

static void heaps_init(void)
{
    for (size_t i = 0; i < HEAPS; i++) {
        pthread_mutex_init(&heaps[i].lock, NULL);
    }
    pthread_key_create(&leave_key, leave);
}

/* The first of those with the fewest users: threads that follow each other use the same memory. */
static struct heap *enter(void)
{
    pthread_once(&heaps_once, heaps_init);
    pthread_mutex_lock(&heaps_lock);
    struct heap *best = &heaps[0];
    for (size_t i = 1; i < HEAPS; i++) {
        best = heaps[i].users < best->users ? &heaps[i] : best;
    }
    best->users++;
    pthread_mutex_unlock(&heaps_lock);
    pthread_setspecific(leave_key, best);
    return best;
}

/* ---- Free blocks ---------------------------------------------------------------------------- */

static struct block *behind(struct block *b)
{
    return (struct block *)((char *)b + b->size);
}

static struct block *in_front(struct block *b)
{
    return (struct block *)((char *)b - b->before);
}

/* Bytes of the region when b is all of it, otherwise 0. */
static size_t whole_region(struct block *b)
{
    return b->before || behind(b)->size ? 0 : b->size + sizeof *b;
}

static unsigned bin_of(size_t size)
{
    return BINS - 1 - (unsigned)__builtin_clzll(size);
}

static void bin_add(struct heap *h, struct block *b)
{
    const unsigned bin = bin_of(b->size);
    b->used = false;
    b->last = NULL;
    b->next = h->bins[bin];
    if (b->next) {
        b->next->last = b;
    }
    h->bins[bin] = b;
    h->filled |= UINT64_C(1) << bin;
    const size_t whole = whole_region(b);
    if (whole) { /* else threads would hand the count to each other at every tensor */
        atomic_fetch_add(&kept, whole);
    }
}

static void bin_remove(struct heap *h, struct block *b)
{
    const unsigned bin = bin_of(b->size);
    const size_t whole = whole_region(b);
    if (whole) {
        atomic_fetch_sub(&kept, whole);
    }
    if (b->last) {
        b->last->next = b->next;
    } else {
        h->bins[bin] = b->next;
    }
    if (b->next) {
        b->next->last = b->last;
    }
    if (!h->bins[bin]) {
        h->filled &= ~(UINT64_C(1) << bin);
    }
}

/* The smallest free block that is large enough, of equal ones the last that was given back. */
static struct block *find(const struct heap *h, size_t size)
{
    uint64_t bins = h->filled >> bin_of(size) << bin_of(size);
    for (; bins; bins &= bins - 1) {
        struct block *best = NULL;
        for (struct block *b = h->bins[__builtin_ctzll(bins)]; b; b = b->next) {
            if (b->size >= size && (!best || b->size < best->size)) {
                best = b;
            }
        }
        if (best) {
            return best;
        }
    }
    return NULL;
}

/* ---- Regions -------------------------------------------------------------------------------- */

/* Address space of `size` bytes, a multiple of HUGE_PAGE, at one. */
static void *map_aligned(size_t size)
{
    char *p =
        mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    const size_t over = (uintptr_t)p % HUGE_PAGE, front = over ? HUGE_PAGE - over : 0;
    if (front) {
        munmap(p, front);
    }
    if (front < HUGE_PAGE) {
        munmap(p + front + size, HUGE_PAGE - front);
    }
    madvise(p + front, size, MADV_HUGEPAGE); /* a hint: either way is right */
    return p + front;
}

/* A free block of at least `size` bytes, which is the whole of a region; NULL: no memory. */
static struct block *region_new(struct heap *h, size_t size)
{
    size_t room;
    if (!add_ok(size, sizeof(struct block) + HUGE_PAGE - 1, &room)) {
        return NULL;
    }
    room = MAX(room / HUGE_PAGE * HUGE_PAGE, (size_t)REGION);
    struct block *b = map_aligned(room);
    if (!b) {
        return NULL;
    }
    *b = (struct block){.size = room - sizeof *b, .heap = h};
    *behind(b) = (struct block){.before = b->size, .heap = h, .used = true};
    bin_add(h, b);
    return b;
}

/* ---- Taking and giving ---------------------------------------------------------------------- */

/* Makes b, which is in no bin, a used block of `size` bytes; the rest is free, if it is of use. */
static void cut(struct heap *h, struct block *b, size_t size)
{
    const size_t rest = b->size - size;
    b->used = true;
    if (rest > sizeof *b) {
        b->size = size;
        struct block *r = behind(b);
        *r = (struct block){.size = rest, .before = size, .heap = h};
        behind(r)->before = rest;
        bin_add(h, r);
    }
}

static void *take_plain(size_t size)
{
    struct block *b = aligned_alloc(LINE, size);
    if (!b) {
        return NULL;
    }
    *b = (struct block){.size = size, .used = true};
    return b + 1;
}

void *pool_take(size_t size)
{
    static_assert(sizeof(struct block) == LINE, "memory begins with a cache line");
    size_t room;
    if (!add_ok(size, sizeof(struct block) + LINE - 1, &room)) {
        return NULL;
    }
    room = room / LINE * LINE;
    mine = mine ? mine : enter();
    struct heap *h = mine;
    pthread_mutex_lock(&h->lock);
    struct block *b = find(h, room);
    b = b ? b : region_new(h, room);
    if (b) {
        bin_remove(h, b);
        cut(h, b, room);
    }
    pthread_mutex_unlock(&h->lock);
    return b ? b + 1 : take_plain(room);
}

/* b, which is in no bin, with what is free on both sides of it. */
static struct block *join_neighbours(struct heap *h, struct block *b)
{
    struct block *next = behind(b);
    if (!next->used) {
        bin_remove(h, next);
        b->size += next->size;
    }
    if (b->before && !in_front(b)->used) {
        struct block *front = in_front(b);
        bin_remove(h, front);
        front->size += b->size;
        b = front;
    }
    behind(b)->before = b->size;
    return b;
}

void pool_give(void *p)
{
    struct block *b = p ? (struct block *)p - 1 : NULL;
    struct heap *h = b ? b->heap : NULL;
    if (!h) {
        free(b);
        return;
    }
    pthread_mutex_lock(&h->lock);
    b = join_neighbours(h, b);
    const size_t whole = whole_region(b);
    if (whole && atomic_load(&kept) + whole > KEEP) {
        munmap(b, whole);
    } else {
        bin_add(h, b);
    }
    pthread_mutex_unlock(&h->lock);
}
#endif
