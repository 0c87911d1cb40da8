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
    struct tensor *t; /* or an activation */
    unsigned run;     /* the last that used it */
};

struct memo {
    pthread_mutex_t lock;
    struct digest_map index;
    size_t n, cap, size, held;
    struct entry *entries;
    unsigned run, purged; /* this run, and the last one that made room */
    size_t found, recalled;
};

size_t memo_room(size_t limit, bool batch)
{
    const size_t most = batch ? OUTPUTS_SIZE : HELD_SIZE;
    return limit ? MIN(limit / 8, most) : most;
}

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
            m->held -= e->t ? e->t->size : 0;
            free(e->bytes.p);
            tensor_free(e->t);
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

static void add_identity(struct digest *d, const struct plan *p, int value)
{
    const struct digest id = plan_identity(p, value);
    digest_add(d, &id, sizeof id);
}

/* What is compared, and how codes are read. */
static struct digest layer_key(const struct run_setup *u, size_t layer, const int at[2])
{
    const struct layer *l = &u->match->layers[layer];
    struct digest d = {0};
    add_identity(&d, u->plan[SIDE_FP32], at[SIDE_FP32]);
    add_identity(&d, u->plan[SIDE_INT8], at[SIDE_INT8]);
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
            add_identity(&d, u->plan[side], g->outputs[i]);
            digest_add(&d, q ? q->scale : NULL, q ? q->n * sizeof *q->scale : 0);
            digest_add(&d, q ? q->zero : NULL, q ? q->n * sizeof *q->zero : 0);
        }
    }
    return d;
}

static bool is_none(struct digest d)
{
    return !d.lo && !d.hi;
}

/* Bytes of an activation of one sample; SIZE_MAX unknown. */
static size_t size_of(const struct value *v)
{
    size_t size = 4;
    for (int d = 0; d < v->rank; d++) {
        int64_t dim = v->dims[d] <= 0 && d == 0 ? 1 : v->dims[d]; /* a free batch */
        if (dim <= 0 || !mul_ok(size, (size_t)dim, &size)) {
            return SIZE_MAX;
        }
    }
    return v->rank < 0 ? SIZE_MAX : size;
}

/* Layers from the last one back for as long as they fit. */
static void choose_held(struct memo_keys *k, const struct run_setup *u, size_t room)
{
    for (size_t i = k->n_layers; i--;) {
        size_t size =
            is_none(k->layers[i]) ? 0 : size_of(&u->fp32->values[u->match->layers[i].fp32]);
        if (size > room) {
            break;
        }
        room -= size;
        k->hold[i] = size > 0;
    }
}

static struct digest fp32_key(const struct plan *fp32, const char *kind, int value)
{
    struct digest d = {0};
    digest_text(&d, kind);
    add_identity(&d, fp32, value);
    return d;
}

void memo_keys_init(struct memo_keys *k, const struct run_setup *u, size_t images, size_t held)
{
    size_t n = u->match->n_layers;
    *k = (struct memo_keys){.n_layers = n, .score = score_key(u), .n_outputs = u->match->n_outputs};
    k->hold = mem_alloc(n + 1);
    k->plan_fp32 = u->plan[SIDE_FP32];
    k->fp32 = mem_alloc((n + 1) * sizeof *k->fp32);
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
            k->fp32[i] = fp32_key(k->plan_fp32, "activation", at[i][SIDE_FP32]);
        }
    }
    choose_held(k, u, held / MAX(images, (size_t)1));
    free(at);
}

void memo_keys_fini(struct memo_keys *k)
{
    free(k->layers);
    free(k->hold);
    free(k->fp32);
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

/* Adds bytes or a tensor, if they fit and are not there. Called with the lock held. */
static bool add(struct memo *m, struct digest key, const struct pack *b, struct tensor *t)
{
    size_t bytes = b ? b->cap : 0, held = t ? t->size : 0;
    int at = digest_map_get(&m->index, key, -1);
    if (at >= 0) {
        m->entries[at].run = m->run;
        return false;
    }
    if ((m->size + bytes > MEMO_SIZE || m->held + held > HELD_SIZE) && m->purged != m->run) {
        m->purged = m->run;
        purge(m, m->run);
    }
    if (m->size + bytes > MEMO_SIZE || m->held + held > HELD_SIZE) {
        return false;
    }
    m->entries = mem_push(m->entries, m->n, &m->cap, sizeof *m->entries);
    m->entries[m->n] =
        (struct entry){.key = key, .bytes = b ? *b : (struct pack){0}, .t = t, .run = m->run};
    m->size += bytes;
    m->held += held;
    digest_map_put(&m->index, key, (int)m->n++);
    return true;
}

/* Takes over the bytes. */
static void put(struct memo *m, struct digest key, struct pack *b)
{
    b->p = mem_grow(b->p, b->n);
    b->cap = b->n;
    pthread_mutex_lock(&m->lock);
    bool added = add(m, key, b, NULL);
    pthread_mutex_unlock(&m->lock);
    if (!added) {
        free(b->p);
    }
}

void memo_hold(struct memo *m, const struct memo_keys *k, struct digest image, size_t layer,
               struct tensor *t)
{
    if (k->hold[layer]) {
        pthread_mutex_lock(&m->lock);
        if (add(m, with_image(k->fp32[layer], image), NULL, t)) {
            tensor_ref(t);
        }
        pthread_mutex_unlock(&m->lock);
    }
}

static struct digest output_key(const struct plan *fp32, size_t i, struct digest image)
{
    return with_image(fp32_key(fp32, "output", plan_graph(fp32)->outputs[i]), image);
}

void memo_hold_outputs(struct memo *m, const struct plan *fp32, struct digest image, size_t n,
                       struct tensor *const *out, size_t room)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n; i++) {
        if (out[i] && m->held + out[i]->size <= room &&
            add(m, output_key(fp32, i, image), NULL, out[i])) {
            tensor_ref(out[i]);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

/* Called with the lock held. */
static bool recall(struct memo *m, struct digest key, struct tensor **out)
{
    int at = digest_map_get(&m->index, key, -1);
    if (at >= 0) {
        m->entries[at].run = m->run;
        *out = tensor_ref(m->entries[at].t);
    }
    return at >= 0;
}

static void forget(size_t n, struct tensor **out)
{
    for (size_t i = 0; i < n; i++) {
        tensor_free(out[i]);
        out[i] = NULL;
    }
}

bool memo_recall_outputs(struct memo *m, const struct plan *fp32, struct digest image, size_t n,
                         struct tensor **out)
{
    bool all = true;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n && all; i++) {
        all = recall(m, output_key(fp32, i, image), &out[i]);
    }
    pthread_mutex_unlock(&m->lock);
    if (!all) {
        forget(n, out);
    }
    return all;
}

bool memo_recall(struct memo *m, const struct memo_keys *k, struct digest image, const bool *known,
                 struct tensor **out)
{
    bool all = memo_recall_outputs(m, k->plan_fp32, image, k->n_outputs, out + k->n_layers);
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < k->n_layers && all; i++) {
        all =
            known[i] || is_none(k->layers[i]) || recall(m, with_image(k->fp32[i], image), &out[i]);
    }
    m->recalled += all;
    pthread_mutex_unlock(&m->lock);
    if (!all) {
        forget(k->n_layers + k->n_outputs, out);
    }
    return all;
}

size_t memo_recalled(const struct memo *m)
{
    return m->recalled;
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
