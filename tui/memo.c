/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * memo.c: statistics of single images in memory.
 */
#include "tui/memo.h"

#include <stdlib.h>

#include "tui/run_image.h"

struct entry {
    struct digest key;
    struct pack bytes;
    unsigned run; /* the last that used it */
};

struct memo {
    pthread_mutex_t lock;
    struct digest_map index;
    size_t n, cap, size;
    struct entry *entries;
    unsigned run, purged; /* this run, and the last one that made room */
    size_t found;
};

struct memo *memo_new(void)
{
    struct memo *m = mem_alloc(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

/* Drops what no run since `from` has used. */
static void purge(struct memo *m, unsigned from)
{
    size_t n = 0;
    digest_map_fini(&m->index);
    for (size_t i = 0; i < m->n; i++) {
        struct entry *e = &m->entries[i];
        if (e->run < from) {
            m->size -= e->bytes.cap;
            free(e->bytes.p);
        } else {
            m->entries[n] = *e;
            digest_map_put(&m->index, e->key, (int)n++);
        }
    }
    m->n = n;
}

void memo_clear(struct memo *m)
{
    purge(m, UINT32_MAX);
}

void memo_free(struct memo *m)
{
    memo_clear(m);
    free(m->entries);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void memo_begin(struct memo *m)
{
    m->run++;
}

size_t memo_found(const struct memo *m)
{
    return m->found;
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static void add_identity(struct digest *d, const struct run_setup *u, enum side side, int value)
{
    const struct digest id = plan_identity(u->plan[side], value);
    digest_add(d, &id, sizeof id);
}

/* What is compared, and how codes are read. */
static struct digest layer_key(const struct run_setup *u, size_t layer, const int at[2])
{
    const struct layer *l = &u->match->layers[layer];
    struct digest d = {0};
    add_identity(&d, u, SIDE_FP32, at[SIDE_FP32]);
    add_identity(&d, u, SIDE_INT8, at[SIDE_INT8]);
    const int64_t how[] = {l->channel_axis, l->moved, l->quantized, l->q.axis, u->hist};
    digest_add(&d, how, sizeof how);
    digest_add(&d, l->q.scale, l->q.n * sizeof *l->q.scale);
    digest_add(&d, l->q.zero, l->q.n * sizeof *l->q.zero);
    return d;
}

static struct digest score_key(const struct run_setup *u)
{
    struct digest d = {0};
    digest_text(&d, "score");
    digest_int(&d, u->classify);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct graph *g = plan_graph(u->plan[side]);
        for (size_t i = 0; i < g->n_outputs; i++) {
            const struct quant *q = g->values[g->outputs[i]].quant;
            add_identity(&d, u, side, g->outputs[i]);
            digest_add(&d, q ? q->scale : NULL, q ? q->n * sizeof *q->scale : 0);
            digest_add(&d, q ? q->zero : NULL, q ? q->n * sizeof *q->zero : 0);
        }
    }
    return d;
}

void memo_keys_init(struct memo_keys *k, const struct run_setup *u)
{
    size_t n = u->match->n_layers;
    *k = (struct memo_keys){.n_layers = n, .score = score_key(u)};
    k->layers = mem_alloc((n + 1) * sizeof *k->layers);
    int(*at)[2] = mem_alloc((n + 1) * sizeof *at);
    memset(at, 0xff, n * sizeof *at);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        for (size_t v = 0; v < plan_graph(u->plan[side])->n_values; v++) {
            if (u->layer_at[side][v] >= 0) {
                at[u->layer_at[side][v]][side] = (int)v;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (at[i][SIDE_FP32] >= 0 && at[i][SIDE_INT8] >= 0) {
            k->layers[i] = layer_key(u, i, at[i]);
        }
    }
    free(at);
}

void memo_keys_fini(struct memo_keys *k)
{
    free(k->layers);
}

static bool is_none(struct digest d)
{
    return !d.lo && !d.hi;
}

static struct digest with_image(struct digest key, struct digest image)
{
    digest_add(&key, &image, sizeof image);
    return key;
}

/* ---- Images --------------------------------------------------------------------------------- */

/* What stands under a key, to be read while the lock is held. */
static bool find(struct memo *m, struct digest key, struct unpack *u)
{
    int at = digest_map_get(&m->index, key, -1);
    if (at >= 0) {
        struct entry *e = &m->entries[at];
        e->run = m->run;
        *u = (struct unpack){.p = e->bytes.p, .left = e->bytes.n};
    }
    return at >= 0;
}

bool memo_take(struct memo *m, const struct memo_keys *k, struct digest image,
               struct image_result *r, bool *known)
{
    struct unpack u;
    bool all = true;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < k->n_layers; i++) {
        known[i] = !is_none(k->layers[i]) && find(m, with_image(k->layers[i], image), &u);
        if (known[i]) {
            unpack_layer(&u, &r->layers[i]);
            m->found++;
        }
        all = all && (known[i] || is_none(k->layers[i]));
    }
    if (all && find(m, with_image(k->score, image), &u)) {
        size_t at = r->score.image;
        unpack_score(&u, &r->score);
        r->score.image = at;
    } else {
        all = false;
    }
    pthread_mutex_unlock(&m->lock);
    return all;
}

/* Takes over the bytes. */
static void put(struct memo *m, struct digest key, struct pack *b)
{
    b->p = mem_grow(b->p, b->n);
    b->cap = b->n;
    pthread_mutex_lock(&m->lock);
    if (m->size + b->cap > MEMO_SIZE && m->purged != m->run) {
        m->purged = m->run;
        purge(m, m->run);
    }
    bool fits = m->size + b->cap <= MEMO_SIZE && digest_map_get(&m->index, key, -1) < 0;
    if (fits) {
        m->entries = mem_push(m->entries, m->n, &m->cap, sizeof *m->entries);
        m->entries[m->n] = (struct entry){.key = key, .bytes = *b, .run = m->run};
        m->size += b->cap;
        digest_map_put(&m->index, key, (int)m->n++);
    }
    pthread_mutex_unlock(&m->lock);
    if (!fits) {
        free(b->p);
    }
}

/* Once full, nothing is packed for nothing. */
static bool has_room(struct memo *m)
{
    pthread_mutex_lock(&m->lock);
    bool room = m->size < MEMO_SIZE / 8 * 7 || m->purged != m->run;
    pthread_mutex_unlock(&m->lock);
    return room;
}

void memo_keep(struct memo *m, const struct memo_keys *k, struct digest image,
               const struct image_result *r, const bool *known)
{
    if (r->score.error || !has_room(m)) {
        return;
    }
    for (size_t i = 0; i < k->n_layers; i++) {
        if (!is_none(k->layers[i]) && !known[i] && r->layers[i].images && !r->layer_errors[i]) {
            struct pack b = {0};
            pack_layer(&b, &r->layers[i]);
            put(m, with_image(k->layers[i], image), &b);
        }
    }
    struct pack b = {0};
    pack_score(&b, &r->score);
    put(m, with_image(k->score, image), &b);
}
