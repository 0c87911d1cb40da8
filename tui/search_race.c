/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * search_race.c: sets of pins in a search, raced over images: most are out after a few, those first
 * on which INT8 goes wrong.
 */
#include <stdlib.h>
#include <time.h>

#include "tui/search_job.h"

bool search_late(struct search_job *j)
{
    j->s->out_of_time |= j->c.seconds > 0 && seconds_since(&j->began) >= j->c.seconds;
    return j->s->out_of_time;
}

/* The set as a trial, the one there is if it was tried before. */
size_t sets_try(struct session *s, struct search_job *j, const bool *pinned)
{
    size_t at = search_find(j->w, pinned), layer = SIZE_MAX;
    for (size_t k = 0; k < j->w->n_layers; k++) {
        layer = pinned[k] && !j->before[k] ? k : layer;
    }
    if (at == SIZE_MAX) {
        pthread_mutex_lock(&s->lock);
        at = sweep_try(j->w, layer, pinned);
        pthread_mutex_unlock(&s->lock);
    }
    return at;
}

size_t sets_with(struct session *s, struct search_job *j, size_t parent, size_t layer, bool pin)
{
    bool *set = mem_alloc(j->w->n_layers + 1);
    memcpy(set, j->w->trials[parent].pinned, j->w->n_layers);
    set[layer] = pin;
    size_t at = sets_try(s, j, set);
    free(set);
    return at;
}

/* Best first. A list of sets is short or sorted nearly. */
void sets_sort(const struct search_job *j, size_t n, size_t *list)
{
    for (size_t i = 1; i < n; i++) {
        size_t x = list[i], k = i;
        for (; k > 0 && search_better(j->s, j->w, x, list[k - 1]); k--) {
            list[k] = list[k - 1];
        }
        list[k] = x;
    }
}

/* Leaves the sets that need more images. */
static size_t survivors(const struct search_job *j, size_t n, size_t *list, double doubt)
{
    size_t kept = 0, seen = n ? j->w->trials[list[0]].n : 0;
    size_t most = n && doubt > 0 && search_size(j->w, &j->w->trials[list[0]]) > 1 ? SETS_FINALISTS
                                                                                  : SETS_CROWD;
    for (size_t i = 0; i < n; i++) {
        const struct trial *t = &j->w->trials[list[i]];
        bool in = !t->error && (!j->c.has_limit || goal_chance(&j->s->goal, j->w, t) > doubt);
        list[kept] = list[i];
        kept += in;
    }
    const size_t enough = MIN((size_t)4 * SETS_LOOK, (j->w->n_images + 1) / 2);
    if (!j->c.has_limit || (kept > most && seen >= enough)) {
        sets_sort(j, kept, list);
        kept = MIN(kept, MAX(j->c.has_limit ? 0 : kept / 2, most));
    }
    return kept;
}

/* Measures sets as far as it takes to decide. They have seen equally many images. */
static int race_from(struct session *s, struct search_job *j, size_t n, size_t *list, double doubt,
                     struct err *err)
{
    struct sweep *w = j->w;
    int rc = OK;
    for (size_t seen = n ? w->trials[list[0]].n : 0; n && seen < w->n_images && !rc;) {
        size_t upto = MIN(seen + MAX(seen / 2, (size_t)SETS_LOOK), w->n_images);
        if (search_late(j)) {
            return OK;
        }
        j->s->runs += n * (upto - seen);
        rc = lab_measure(j->lab, w, n, list, upto, err);
        seen = upto;
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < n && !rc; i++) {
            search_point(j->s, w, list[i]);
        }
        goal_pool(w);
        pthread_mutex_unlock(&s->lock);
        n = rc ? n : survivors(j, n, list, doubt);
    }
    return rc;
}

/* The same of sets that may have seen some images. */
int sets_race(struct session *s, struct search_job *j, size_t n, const size_t *sets, double doubt,
              struct err *err)
{
    size_t *list = mem_alloc((n + 1) * sizeof *list);
    int rc = OK;
    for (size_t seen = 0; seen < j->w->n_images && !rc;) {
        size_t m = 0, next = j->w->n_images;
        for (size_t i = 0; i < n; i++) {
            const struct trial *t = &j->w->trials[sets[i]];
            next = t->n > seen ? MIN(next, t->n) : next;
            bool in = t->n == seen && !t->error;
            in = in && (!j->c.has_limit || !seen || goal_chance(&j->s->goal, j->w, t) > doubt);
            list[m] = sets[i];
            m += in;
        }
        rc = race_from(s, j, m, list, doubt, err);
        seen = next;
    }
    for (size_t i = 0; i < n; i++) {
        lab_close(j->lab, sets[i]);
    }
    free(list);
    return rc;
}
