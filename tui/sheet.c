/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sheet.c: what is known of one mixed model, whichever sweep or search tried it: its scores by
 * sample. Which layers it computes in FP32 says what it is, so that it need not be built to look.
 */
#include "tui/results.h"

#include <stdlib.h>

enum { EFFECT_KNOWN = 1, IN_EFFECT = 2, FLAGS = 3 };
enum { ENTRIES_MAX = 1 << 16 };

struct sheet {
    struct question *q;
    struct digest key;
    unsigned flags;
    char *why; /* why the pin is not in effect */
    struct digest_map index;
    size_t n, cap;
    struct digest *samples;
    struct image_score *scores;
    bool changed;
};

static void add(struct sheet *s, struct digest sample, const struct image_score *score)
{
    size_t cap = s->cap;
    s->samples = mem_push(s->samples, s->n, &cap, sizeof *s->samples);
    s->scores = mem_push(s->scores, s->n, &s->cap, sizeof *s->scores);
    s->samples[s->n] = sample;
    s->scores[s->n] = *score;
    digest_map_put(&s->index, sample, (int)s->n++);
}

static void clear(struct sheet *s)
{
    free(s->why);
    free(s->samples);
    free(s->scores);
    digest_map_fini(&s->index);
    *s = (struct sheet){.q = s->q, .key = s->key};
}

/* ---- On disk -------------------------------------------------------------------------------- */

static void read_sheet(struct sheet *s)
{
    void *data = NULL;
    struct unpack u = {0};
    if (!question_get(s->q, s->key, &data, &u.left)) {
        return;
    }
    u.p = data;
    s->flags = (unsigned)unpack_uint(&u) & FLAGS;
    s->why = unpack_text(&u);
    uint64_t n = unpack_uint(&u);
    for (uint64_t i = 0; i < n && !u.bad; i++) {
        struct image_score score;
        struct digest sample = unpack_digest(&u);
        unpack_score(&u, &score);
        u.bad = u.bad || score.error || s->n == ENTRIES_MAX;
        free(score.error);
        if (!u.bad) {
            score.error = NULL;
            add(s, sample, &score);
        }
    }
    if (u.bad || u.left) {
        clear(s);
    }
    free(data);
}

static void write_sheet(const struct sheet *s)
{
    struct pack b = {0};
    pack_uint(&b, s->flags);
    pack_text(&b, s->why);
    pack_uint(&b, s->n);
    for (size_t i = 0; i < s->n; i++) {
        pack_digest(&b, s->samples[i]);
        pack_score(&b, &s->scores[i]);
    }
    question_put(s->q, s->key, &b);
    free(b.p);
}

/* ---- Use ------------------------------------------------------------------------------------ */

struct sheet *sheet_open(struct question *q, const struct trial *t, const char *const *names)
{
    struct sheet *s = mem_alloc(sizeof *s);
    s->q = q;
    s->key = question_key(q, "sheet");
    for (size_t k = 0; names[k]; k++) {
        digest_text(&s->key, names[k]);
        digest_int(&s->key, t->pinned[k] ? 1 + t->as[k] : 0);
        digest_int(&s->key, t->layer == k); /* whose effect is told */
    }
    read_sheet(s);
    return s;
}

void sheet_keep(struct sheet *s)
{
    if (s && s->changed) {
        write_sheet(s);
        s->changed = false;
    }
}

void sheet_close(struct sheet *s)
{
    if (s) {
        clear(s);
        free(s);
    }
}

bool sheet_get(const struct sheet *s, size_t i, struct image_score *out)
{
    int at = s ? digest_map_get(&s->index, question_sample(s->q, i), -1) : -1;
    if (at >= 0) {
        *out = s->scores[at];
    }
    return at >= 0;
}

void sheet_put(struct sheet *s, size_t i, const struct image_score *score)
{
    struct image_score known;
    if (s && score->ok && !score->error && s->n < ENTRIES_MAX && !sheet_get(s, i, &known)) {
        add(s, question_sample(s->q, i), score);
        s->changed = true;
    }
}

bool sheet_effect_known(const struct sheet *s)
{
    return s && s->flags & EFFECT_KNOWN;
}

void sheet_effect(const struct sheet *s, struct trial *t)
{
    if (sheet_effect_known(s)) {
        t->in_effect = (s->flags & IN_EFFECT) != 0;
        t->why = s->why ? results_text(question_results(s->q), s->why) : NULL;
    }
}

void sheet_keep_effect(struct sheet *s, const struct trial *t)
{
    if (s && !(s->flags & EFFECT_KNOWN)) {
        s->flags |= EFFECT_KNOWN | (t->in_effect ? IN_EFFECT : 0);
        s->why = mem_dup(t->why);
        s->changed = true;
    }
}

/* Of all samples together. */
static struct digest verified_key(const struct sheet *s)
{
    struct digest d = s->key;
    digest_text(&d, "verified");
    for (size_t i = 0; i < question_samples(s->q); i++) {
        struct digest sample = question_sample(s->q, i);
        digest_add(&d, &sample, sizeof sample);
    }
    return d;
}

bool sheet_verified(const struct sheet *s)
{
    void *data = NULL;
    size_t size;
    bool yes = s && question_get(s->q, verified_key(s), &data, &size);
    free(data);
    return yes;
}

void sheet_keep_verified(const struct sheet *s)
{
    if (s) {
        struct pack b = {0};
        pack_uint(&b, 1);
        question_put(s->q, verified_key(s), &b);
        free(b.p);
    }
}
