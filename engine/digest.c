/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * digest.c: MurmurHash3_x64_128 of Austin Appleby (public domain), with the whole state as seed so
 * that pieces can be chained. It tells contents apart by chance alone; it keeps no secrets.
 */
#include "engine/base.h"

#include <stdlib.h>

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t mix(uint64_t k)
{
    k = (k ^ k >> 33) * 0xff51afd7ed558ccdu;
    k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53u;
    return k ^ k >> 33;
}

static const uint64_t c1 = 0x87c37b91114253d5u, c2 = 0x4cf5ad432745937fu;

static uint64_t scramble_lo(uint64_t k)
{
    return rotate(k * c1, 31) * c2;
}

static uint64_t scramble_hi(uint64_t k)
{
    return rotate(k * c2, 33) * c1;
}

static void mix_block(uint64_t *h1, uint64_t *h2, const uint64_t k[2])
{
    *h1 ^= scramble_lo(k[0]);
    *h1 = (rotate(*h1, 27) + *h2) * 5 + 0x52dce729;
    *h2 ^= scramble_hi(k[1]);
    *h2 = (rotate(*h2, 31) + *h1) * 5 + 0x38495ab5;
}

void digest_add(struct digest *d, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h1 = d->lo, h2 = d->hi, k[2];
    for (size_t left = size / 16; left; left--, p += 16) {
        memcpy(k, p, sizeof k);
        mix_block(&h1, &h2, k);
    }
    if (size % 16) {
        k[0] = k[1] = 0;
        memcpy(k, p, size % 16);
        h2 ^= scramble_hi(k[1]);
        h1 ^= scramble_lo(k[0]);
    }
    h1 ^= size;
    h2 ^= size;
    h1 += h2;
    h2 += h1;
    h1 = mix(h1);
    h2 = mix(h2);
    h1 += h2;
    *d = (struct digest){h1, h2 + h1};
}

/* Chains of their own that wait for nobody, each over every eighth block of 16 bytes: several times
 * as fast as one chain. */
enum { CHAINS = 8 };

void digest_bulk(struct digest *d, const void *data, size_t size)
{
    const uint8_t *p = data;
    struct digest own[CHAINS] = {0};
    size_t whole = size / (16 * CHAINS) * 16 * CHAINS;
    for (const uint8_t *end = p + whole; p != end; p += 16 * (size_t)CHAINS) {
        uint64_t k[2 * CHAINS];
        memcpy(k, p, sizeof k);
#pragma GCC unroll 8
        for (int i = 0; i < CHAINS; i++) {
            mix_block(&own[i].lo, &own[i].hi, k + 2 * (ptrdiff_t)i);
        }
    }
    digest_add(d, own, sizeof own);
    digest_add(d, p, size - whole);
}

void digest_text(struct digest *d, const char *s)
{
    digest_add(d, s, s ? strlen(s) : 0);
}

void digest_int(struct digest *d, int64_t v)
{
    digest_add(d, &v, sizeof v);
}

/* ---- Map ------------------------------------------------------------------------------------ */

struct digest_slot {
    struct digest key;
    int value;
    bool used;
};

static struct digest_slot *map_slot(const struct digest_map *m, struct digest key)
{
    for (size_t i = key.lo & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        if (!m->slots[i].used || digest_equal(m->slots[i].key, key)) {
            return &m->slots[i];
        }
    }
}

void digest_map_fini(struct digest_map *m)
{
    free(m->slots);
    *m = (struct digest_map){0};
}

void digest_map_put(struct digest_map *m, struct digest key, int value)
{
    if (2 * (m->n + 1) > m->cap) {
        struct digest_map old = *m;
        m->cap = old.cap ? old.cap * 2 : 64;
        m->slots = mem_alloc(m->cap * sizeof *m->slots);
        for (size_t i = 0; i < old.cap; i++) {
            if (old.slots[i].used) {
                *map_slot(m, old.slots[i].key) = old.slots[i];
            }
        }
        free(old.slots);
    }
    struct digest_slot *s = map_slot(m, key);
    m->n += !s->used;
    *s = (struct digest_slot){.key = key, .value = value, .used = true};
}

int digest_map_get(const struct digest_map *m, struct digest key, int missing)
{
    const struct digest_slot *s = m->n ? map_slot(m, key) : NULL;
    return s && s->used ? s->value : missing;
}
