/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * question.c: what a run asks, as a digest: of the bytes of models and images and of everything
 * else that the answer depends on. A run over more images goes on from one over the first of them,
 * since results are added in image order.
 */
#include "tui/results.h"

#include <stdlib.h>

enum {
    FORMAT = 1,      /* of what is kept; another number, other keys */
    CHUNK = 4 << 20, /* bytes of a model that one thread digests at a time */
};

struct question {
    struct results *r;
    size_t limit;
    struct cache *store;
    const struct graph *g[2]; /* by side, as asked: the INT8 one with its pins */
    struct span file[2];
    struct digest base, preprocess;
    size_t n;
    const struct sample *samples;
    struct digest *images;
};

/* ---- What is asked -------------------------------------------------------------------------- */

static void add_preprocess(struct digest *d, const struct preprocess *p)
{
    const int64_t whole[] = {p->w,    p->h,           p->channels, p->resize,
                             p->crop, p->crop_resize, p->color,    p->layout};
    digest_add(d, whole, sizeof whole);
    digest_add(d, &p->range, sizeof p->range);
    digest_add(d, p->mean, sizeof p->mean);
    digest_add(d, p->std, sizeof p->std);
}

static struct span file_of(const struct graph *g)
{
    return g && g->source ? g->source->model : (struct span){0};
}

struct question *question_new(struct session *s, size_t n, const struct sample *samples, bool pins)
{
    if (!s->set.cache) {
        return NULL;
    }
    struct question *q = mem_alloc(sizeof *q);
    *q = (struct question){.r = s->results, .limit = s->set.cache_size, .n = n, .samples = samples};
    q->g[SIDE_FP32] = s->fp32;
    q->g[SIDE_INT8] = pins ? session_int8(s) : s->int8;
    q->file[SIDE_FP32] = file_of(s->fp32);
    q->file[SIDE_INT8] = file_of(s->int8);
    q->images = mem_alloc((n + 1) * sizeof *q->images);
    const struct digest code = results_code(s->results);
    digest_int(&q->base, FORMAT);
    digest_add(&q->base, &code, sizeof code);
    digest_int(&q->base, s->set.numerics);
    digest_int(&q->base, s->set.kernels);
    digest_int(&q->base, s->classify);
    add_preprocess(&q->preprocess, &s->pp);
    for (size_t i = 0; i < s->n_hand; i++) {
        digest_text(&q->base, s->hand[i].fp32);
        digest_text(&q->base, s->hand[i].int8);
    }
    return q;
}

void question_free(struct question *q)
{
    if (q) {
        free(q->images);
        free(q);
    }
}

struct question *question_own(struct question *q, const struct own_metric *m)
{
    struct digest d = {0};
    if (!q || !m) {
        return q;
    }
    if (!own_digest(m, &d)) {
        question_free(q);
        return NULL;
    }
    digest_add(&q->base, &d, sizeof d);
    return q;
}

/* ---- Models and samples --------------------------------------------------------------------- */

/* What pins, quantizers put in and files beside the model add to what its own file says. */
static void add_structure(struct digest *d, const struct graph *g)
{
    digest_int(d, g ? (int64_t)g->n_nodes : -1);
    for (size_t i = 0; g && i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        digest_text(d, n->domain);
        digest_text(d, n->op);
        digest_text(d, n->name);
        for (int k = 0; k < n->n_in + n->n_out; k++) {
            int v = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
            digest_text(d, v >= 0 ? g->values[v].name : "");
        }
    }
    for (size_t v = 0; g && v < g->n_values; v++) {
        const struct tensor *t = g->values[v].constant;
        if (t && !t->borrowed) {
            const struct digest own = tensor_digest(t);
            digest_text(d, g->values[v].name);
            digest_add(d, &own, sizeof own);
        }
    }
}

/* Pieces of model files and whole samples, taken by all threads. */
struct reading {
    struct question *q;
    const struct cancel *cancel;
    size_t pieces[2];
    struct digest *piece[2];
    atomic_size_t next;
    atomic_bool failed;
};

static void read_piece(struct reading *x, enum side side, size_t i)
{
    const struct span *f = &x->q->file[side];
    digest_bulk(&x->piece[side][i], f->p + i * CHUNK, MIN((size_t)CHUNK, f->n - i * CHUNK));
}

static void read_sample(struct reading *x, size_t i)
{
    const struct sample *s = &x->q->samples[i];
    struct digest content;
    if (results_sample(x->q->r, s, &content)) {
        atomic_store(&x->failed, true); /* the run will say why */
        return;
    }
    struct digest *d = &x->q->images[i];
    *d = x->q->preprocess;
    digest_add(d, &content, sizeof content);
    digest_int(d, s->label);
}

static void *reader(void *ctx)
{
    struct reading *x = ctx;
    size_t a = x->pieces[SIDE_FP32], b = a + x->pieces[SIDE_INT8], all = b + x->q->n;
    for (size_t i; (i = atomic_fetch_add(&x->next, 1)) < all && !atomic_load(&x->failed);) {
        if (cancelled(x->cancel)) {
            atomic_store(&x->failed, true);
        } else if (i < a) {
            read_piece(x, SIDE_FP32, i);
        } else if (i < b) {
            read_piece(x, SIDE_INT8, i - a);
        } else {
            read_sample(x, i - b);
        }
    }
    return NULL;
}

bool question_ready(struct question *q, int threads, const struct cancel *cancel)
{
    q->store = results_store(q->r, q->limit);
    if (!q->store) {
        return false;
    }
    struct reading x = {.q = q, .cancel = cancel};
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        bool *known;
        results_model(q->r, side, &known);
        x.pieces[side] = *known ? 0 : (q->file[side].n + CHUNK - 1) / CHUNK;
        x.piece[side] = mem_alloc((x.pieces[side] + 1) * sizeof *x.piece[side]);
    }
    job_threads(threads, reader, &x);
    bool ok = !atomic_load(&x.failed);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        bool *known;
        struct digest *model = results_model(q->r, side, &known);
        if (ok && !*known) {
            *model = (struct digest){0};
            digest_add(model, x.piece[side], x.pieces[side] * sizeof *x.piece[side]);
            *known = true;
        }
        free(x.piece[side]);
        digest_add(&q->base, model, sizeof *model);
        add_structure(&q->base, q->g[side]);
    }
    q->store = ok ? q->store : NULL;
    return ok;
}

/* ---- Answers -------------------------------------------------------------------------------- */

struct digest question_key(const struct question *q, const char *kind)
{
    struct digest d = q->base;
    digest_text(&d, kind);
    return d;
}

struct digest question_sample(const struct question *q, size_t i)
{
    return q->images[i];
}

void question_reorder(struct question *q, const size_t *order, const struct sample *samples)
{
    struct digest *images = mem_alloc((q->n + 1) * sizeof *images);
    for (size_t i = 0; i < q->n; i++) {
        images[i] = q->images[order[i]];
    }
    free(q->images);
    q->images = images;
    q->samples = samples;
}

size_t question_samples(const struct question *q)
{
    return q->n;
}

struct results *question_results(const struct question *q)
{
    return q->r;
}

bool question_get(struct question *q, struct digest key, void **data, size_t *size)
{
    return q->store && cache_get(q->store, key, data, size);
}

void question_put(struct question *q, struct digest key, const struct pack *b)
{
    if (q->store) {
        cache_put(q->store, key, b->p, b->n);
    }
}

/* Keys of the study over the first 1..n samples; behind them that of a study over all in which some
 * failed: what their errors say depends on names. */
static struct digest *study_keys(const struct question *q)
{
    struct digest *keys = mem_alloc((q->n + 2) * sizeof *keys);
    struct digest d = question_key(q, "study");
    for (size_t i = 0; i < q->n; i++) {
        digest_add(&d, &q->images[i], sizeof q->images[i]);
        keys[i] = d;
    }
    digest_text(&d, "failed");
    for (size_t i = 0; i < q->n; i++) {
        digest_text(&d, q->samples[i].path);
    }
    keys[q->n] = d;
    return keys;
}

static struct study *find_study(struct question *q, struct digest key, size_t n_layers, size_t n)
{
    struct unpack u = {0};
    void *data = NULL;
    if (!question_get(q, key, &data, &u.left)) {
        return NULL;
    }
    u.p = data;
    struct study *s = unpack_study(&u, n_layers);
    if (s && s->n_images != n) {
        study_free(s);
        s = NULL;
    }
    free(data);
    return s;
}

size_t question_study(struct question *q, size_t n_layers, struct study **out)
{
    *out = NULL;
    if (!q->store || !q->n) {
        return 0;
    }
    struct digest *keys = study_keys(q);
    size_t n = q->n;
    *out = find_study(q, keys[n - 1], n_layers, n);
    *out = *out ? *out : find_study(q, keys[n], n_layers, n);
    while (!*out && --n) {
        *out = find_study(q, keys[n - 1], n_layers, n);
    }
    free(keys);
    return *out ? n : 0;
}

/* What failed for lack of memory or of a file may not fail the next time. */
static bool lasting(const struct image_score *s)
{
    return s->ok || (s->error_code != E_LIMIT && s->error_code != E_IO);
}

void question_keep(struct question *q, const struct study *s)
{
    size_t n = s->n_images;
    bool good = q->store && n && n <= q->n && (!s->failed || n == q->n);
    for (size_t i = 0; i < n && good; i++) {
        good = lasting(&s->images[i]);
    }
    if (good) {
        struct pack b = {0};
        struct digest *keys = study_keys(q);
        pack_study(&b, s);
        question_put(q, keys[s->failed ? q->n : n - 1], &b);
        free(keys);
        free(b.p);
    }
}

static struct digest local_key(const struct question *q, size_t n)
{
    struct digest d = question_key(q, "local");
    for (size_t i = 0; i < n; i++) {
        digest_add(&d, &q->images[i], sizeof q->images[i]);
    }
    return d;
}

struct local_study *question_local(struct question *q, size_t n_layers, size_t n)
{
    struct unpack u = {0};
    void *data = NULL;
    if (!n || n > q->n || !question_get(q, local_key(q, n), &data, &u.left)) {
        return NULL;
    }
    u.p = data;
    struct local_study *l = unpack_local(&u, n_layers);
    if (l && l->images != n) {
        local_study_free(l);
        l = NULL;
    }
    free(data);
    return l;
}

void question_keep_local(struct question *q, const struct local_study *l, size_t n)
{
    if (q->store && n && n <= q->n && l->images == n) {
        struct pack b = {0};
        pack_local(&b, l);
        question_put(q, local_key(q, n), &b);
        free(b.p);
    }
}
