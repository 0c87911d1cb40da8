/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * results.c: what a session has of the results that are kept: the store, and digests that are not
 * to be made twice. What is kept, and under which key, is said by question.c and sheet.c.
 */
#include "tui/results.h"

#include <stdlib.h>

struct results {
    pthread_mutex_t lock; /* of all but `model` */
    struct cache *store;
    bool failed, told;
    struct err fault;
    struct digest code;
    struct digest model[2]; /* by side, of the file; used by one job at a time */
    bool known[2];
    struct digest_map stamps; /* of samples -> index of content */
    size_t n, cap;
    struct digest *content;
    size_t n_texts, cap_texts;
    char **texts;
    struct memo *memo;
};

struct results *results_new(void)
{
    struct results *r = mem_alloc(sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    r->code = engine_code();
    r->memo = memo_new();
    return r;
}

void results_free(struct results *r)
{
    cache_close(r->store);
    memo_free(r->memo);
    digest_map_fini(&r->stamps);
    for (size_t i = 0; i < r->n_texts; i++) {
        free(r->texts[i]);
    }
    free(r->texts);
    free(r->content);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void results_unload(struct results *r)
{
    r->known[SIDE_FP32] = r->known[SIDE_INT8] = false;
    memo_clear(r->memo);
}

struct memo *results_memo(struct results *r)
{
    return r->memo;
}

/* ---- The store ------------------------------------------------------------------------------ */

char *results_dir(void)
{
    char *path = path_xdg("XDG_CACHE_HOME", ".cache", "");
    if (path) {
        path[strlen(path) - 1] = '\0'; /* the slash */
    }
    return path;
}

struct cache *results_store(struct results *r, size_t limit)
{
    pthread_mutex_lock(&r->lock);
    if (!r->store && !r->failed) {
        char *dir = results_dir();
        int rc = dir ? cache_open(dir, limit, &r->store, &r->fault)
                     : err_set(&r->fault, E_IO, "there is no home directory to keep results in");
        r->failed = rc != OK;
        free(dir);
    }
    struct cache *c = r->store;
    pthread_mutex_unlock(&r->lock);
    return c;
}

void results_limit(struct results *r, size_t limit)
{
    pthread_mutex_lock(&r->lock);
    if (r->store) {
        cache_limit(r->store, limit);
    }
    pthread_mutex_unlock(&r->lock);
}

void results_close(struct results *r)
{
    pthread_mutex_lock(&r->lock);
    cache_close(r->store);
    r->store = NULL;
    r->failed = r->told = false;
    pthread_mutex_unlock(&r->lock);
}

void results_tell(struct results *r, FILE *note)
{
    char text[4 * sizeof r->fault.text];
    pthread_mutex_lock(&r->lock);
    bool fault = r->failed || (r->store && cache_fault(r->store, &r->fault));
    if (fault && !r->told && note) {
        r->told = true;
        fprintf(note, "warning: results are not kept: %s (see 'help cache info')\n",
                text_safe(text, sizeof text, r->fault.text));
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- Digests -------------------------------------------------------------------------------- */

struct digest results_code(const struct results *r)
{
    return r->code;
}

struct digest *results_model(struct results *r, enum side side, bool **known)
{
    *known = &r->known[side];
    return &r->model[side];
}

static bool known_content(struct results *r, struct digest stamp, struct digest *out)
{
    pthread_mutex_lock(&r->lock);
    int at = digest_map_get(&r->stamps, stamp, -1);
    if (at >= 0) {
        *out = r->content[at];
    }
    pthread_mutex_unlock(&r->lock);
    return at >= 0;
}

static void keep_content(struct results *r, struct digest stamp, struct digest content)
{
    pthread_mutex_lock(&r->lock);
    if (r->n < INT32_MAX) {
        r->content = mem_push(r->content, r->n, &r->cap, sizeof *r->content);
        r->content[r->n] = content;
        digest_map_put(&r->stamps, stamp, (int)r->n++);
    }
    pthread_mutex_unlock(&r->lock);
}

int results_sample(struct results *r, const struct sample *s, struct digest *out)
{
    struct digest before = {0}, after = {0};
    int rc = sample_stamp(s, &before);
    if (rc || known_content(r, before, out)) {
        return rc;
    }
    rc = sample_content(s, out);
    rc = rc ? rc : sample_stamp(s, &after);
    if (!rc && digest_equal(before, after)) {
        keep_content(r, before, *out);
    }
    return rc;
}

const char *results_text(struct results *r, const char *text)
{
    size_t i = 0;
    pthread_mutex_lock(&r->lock);
    while (i < r->n_texts && strcmp(r->texts[i], text) != 0) {
        i++;
    }
    if (i == r->n_texts) {
        r->texts = mem_push(r->texts, r->n_texts, &r->cap_texts, sizeof *r->texts);
        r->texts[r->n_texts++] = mem_dup(text);
    }
    const char *same = r->texts[i];
    pthread_mutex_unlock(&r->lock);
    return same;
}
