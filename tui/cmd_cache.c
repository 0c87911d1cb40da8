/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_cache.c: looks at the results that are kept between runs, and clears them.
 */
#include <stdlib.h>

#include "tui/results.h"

static int exec_info(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct cache_info i = {.limit = s->set.cache_size};
    char *dir = results_dir(), safe[512];
    (void)err;
    struct cache *store = dir && s->set.cache ? results_store(s->results, i.limit) : NULL;
    if (store) {
        cache_look(store, &i);
    }
    const char *state = !s->set.cache                        ? "off"
                        : store && !cache_fault(store, NULL) ? "on"
                                                             : "broken";
    if (s->json) {
        emit_json(c, json_pack("{s:s,s:o,s:I,s:I,s:I,s:I,s:I}", "state", state, "folder",
                               json_text(dir), "entries", (json_int_t)i.entries, "size",
                               (json_int_t)i.size, "limit", (json_int_t)i.limit, "hits",
                               (json_int_t)i.hits, "misses", (json_int_t)i.misses));
    } else {
        fprintf(c->out, "cache %s: %s\n", state, dir ? text_safe(safe, sizeof safe, dir) : "-");
        fprintf(c->out, "%zu results, %.1f of %zu MB; found %zu times, missed %zu times\n",
                i.entries, (double)i.size / 0x1p20, i.limit >> 20, i.hits, i.misses);
    }
    free(dir);
    return OK;
}

static int exec_clear(struct call *c, struct err *err)
{
    if (c->s->job.state == JOB_RUNNING) {
        return err_set(err, E_STATE, "a %s is under way: wait or cancel", c->s->job.kind->what);
    }
    char *dir = results_dir();
    results_close(c->s->results);
    int rc = dir ? cache_clear(dir, err) : OK;
    if (!rc && c->s->json) {
        emit_json(c, json_pack("{s:o}", "cleared", json_text(dir)));
    } else if (!rc) {
        fprintf(c->out, "nothing is kept any more\n");
    }
    free(dir);
    return rc;
}

#define DETAIL                                                                                     \
    "A run over the same images of the same models, or a sweep or search that tries the same "     \
    "pins, gives what was found before instead of computing it again: to the bit, as what is "     \
    "kept is found by the bytes of models and images, labels, preprocessing, numerics, the "       \
    "program and its libraries. It lies in $XDG_CACHE_HOME/qscope, ~/.cache/qscope without that; " \
    "what was not used for longest goes when 'set cache-size' is reached. A store that is "        \
    "damaged "                                                                                     \
    "or cannot be written is told once and left alone; results are the same without it."

const struct cmd cmd_cache[] = {
    {
        .name = "cache info",
        .group = "session",
        .help = "where results are kept, how many, and how often they were of use",
        .detail = DETAIL,
        .example = "cache info",
        .exec = exec_info,
    },
    {
        .name = "cache clear",
        .group = "session",
        .help = "remove all results that are kept, also of other processes",
        .detail = "It also removes a store that is damaged.",
        .example = "cache clear",
        .exec = exec_clear,
    },
    {0},
};
