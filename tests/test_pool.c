/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_pool.c: memory of the pool: pieces of all sizes, taken and given back by several threads,
 * lie apart and keep what is written to them.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first. */
#include <cmocka.h>

#include "engine/base.h"
#include "engine/pool.h"

enum { HELD = 48, TURNS = 4000 };

struct piece {
    unsigned char *at;
    size_t size;
    unsigned char mark;
};

/* A new piece of some size, up to more than a region, marked all over; large ones at both ends. */
static void piece_take(struct piece *p, uint32_t r, unsigned char mark)
{
    const size_t most = r % 400 == 0 ? 40 << 20 : r % 16 == 0 ? 1 << 20 : 3000;
    p->size = (r >> 8) % most;
    p->at = pool_take(p->size);
    p->mark = mark;
    assert_non_null(p->at);
    assert_int_equal((uintptr_t)p->at % 64, 0);
    memset(p->at, mark, MIN(p->size, (size_t)4096));
    memset(p->at + p->size - MIN(p->size, (size_t)4096), mark, MIN(p->size, (size_t)4096));
}

/* Nobody else has written to it. */
static void piece_give(struct piece *p)
{
    for (size_t i = 0; i < MIN(p->size, (size_t)4096); i++) {
        if (p->at[i] != p->mark || p->at[p->size - 1 - i] != p->mark) {
            fail_msg("byte %zu of %zu changed", i, p->size);
        }
    }
    pool_give(p->at);
    *p = (struct piece){0};
}

static void *use_pool(void *seed)
{
    struct piece held[HELD] = {{0}};
    uint32_t r = *(uint32_t *)seed;
    for (int i = 0; i < TURNS; i++) {
        r = r * 1664525u + 1013904223u;
        struct piece *p = &held[(r >> 4) % HELD];
        if (p->at) {
            piece_give(p);
        } else {
            piece_take(p, r >> 3, (unsigned char)i);
        }
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i].at) {
            piece_give(&held[i]);
        }
    }
    return NULL;
}

static void pieces_of_the_pool_lie_apart(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    uint32_t seeds[THREADS] = {1, 2, 3};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_pool, &seeds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void *take_some(void *p)
{
    piece_take(p, 0x12345678, 7);
    return NULL;
}

static void pieces_go_back_from_any_thread(void **state)
{
    (void)state;
    struct piece p = {0};
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, take_some, &p), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    piece_give(&p);
    pool_give(NULL);
    assert_null(pool_take(SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_the_pool_lie_apart),
        cmocka_unit_test(pieces_go_back_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
