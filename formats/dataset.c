/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * dataset.c: lists of samples: which of those found go in, under what names, with what class
 * names. Finding them is walk.c's business, reading them sample.c's.
 */
#include "formats/samples.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Choosing ------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Keeps `limit` samples in their order: the first ones, or with a seed an equal choice among all
 * (Knuth's selection sampling). */
static void choose(struct walk *w, size_t limit, uint64_t seed)
{
    size_t kept = 0, n = w->n;
    if (!limit || limit >= n) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct found f = w->found[i];
        if (kept < limit && (!seed || random_next(&seed) % (n - i) < limit - kept)) {
            w->found[kept++] = f;
        } else {
            free(f.path);
        }
    }
    w->n = kept;
}

/* ---- Into the data set ---------------------------------------------------------------------- */

/* Shifts labels by the offset; nothing has been added when one leaves the range. */
static int shift_labels(struct walk *w, struct err *err)
{
    for (size_t i = 0; i < w->n; i++) {
        struct found *f = &w->found[i];
        int64_t label = f->label < 0 ? -1 : (int64_t)f->label + w->o->label_offset;
        if (f->label >= 0 && (label < 0 || label >= LABEL_LIMIT)) {
            return err_set(err, E_USAGE, "%s: label %d with offset %d is outside 0..%d", f->path,
                           f->label, w->o->label_offset, LABEL_LIMIT - 1);
        }
        f->label = (int)label;
    }
    return OK;
}

/* The first name heard for a class stays. */
static void name_class(struct dataset *d, int label, const char *name)
{
    if (label < 0 || !name) {
        return;
    }
    if ((size_t)label >= d->n_names) {
        size_t n = (size_t)label + 1;
        d->names = mem_grow(d->names, n * sizeof *d->names);
        memset(d->names + d->n_names, 0, (n - d->n_names) * sizeof *d->names);
        d->n_names = n;
    }
    if (!d->names[label]) {
        d->names[label] = mem_dup(name);
    }
}

/* "path" or "path[row]": what tells samples apart. */
static char *row_text(const char *path, int64_t row)
{
    return row < 0 ? mem_dup(path) : mem_printf("%s[%" PRId64 "]", path, row);
}

/* The part below what was added, with as much of the path in front as makes it unique. */
static char *unique_name(const struct found *f, const struct strmap *taken)
{
    size_t start = f->below;
    char *name = row_text(f->path + start, f->row);
    while (strmap_get(taken, name, 0) && start) {
        for (start--; start && f->path[start - 1] != '/'; start--) {
        }
        free(name);
        name = row_text(f->path + start, f->row);
    }
    for (int i = 2; strmap_get(taken, name, 0); i++) {
        free(name);
        name = mem_printf("%s (%d)", f->path, i);
    }
    return name;
}

/* Paths (with rows) of the samples there are; keys are owned by the array. */
struct known {
    struct strmap paths, names;
    size_t n, cap;
    char **keys;
};

static bool known_add(struct known *k, const char *path, int64_t row)
{
    char *key = row_text(path, row);
    if (strmap_get(&k->paths, key, 0)) {
        free(key);
        return false;
    }
    k->keys = mem_push(k->keys, k->n, &k->cap, sizeof *k->keys);
    k->keys[k->n++] = key;
    strmap_put(&k->paths, key, 1);
    return true;
}

static void known_fini(struct known *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free(k->keys[i]);
    }
    free(k->keys);
    strmap_fini(&k->paths);
    strmap_fini(&k->names);
}

/* Adds what was found and is not there yet. */
static size_t commit(struct dataset *d, const struct walk *w)
{
    struct known known = {0};
    size_t before = d->n;
    for (size_t i = 0; i < d->n; i++) {
        known_add(&known, d->samples[i].path, d->samples[i].row);
        strmap_put(&known.names, d->samples[i].name, 1);
    }
    for (size_t i = 0; i < w->n; i++) {
        const struct found *f = &w->found[i];
        if (!known_add(&known, f->path, f->row)) {
            continue;
        }
        char *name = unique_name(f, &known.names);
        strmap_put(&known.names, name, 1);
        d->samples = mem_push(d->samples, d->n, &d->cap, sizeof *d->samples);
        d->samples[d->n++] = (struct sample){
            .path = mem_dup(f->path), .name = name, .row = f->row, .label = f->label};
        name_class(d, f->label, f->label_name);
    }
    known_fini(&known);
    return d->n - before;
}

/* Without "./" in front, double slashes and slashes at the end, so that two spellings of a path are
 * one sample. */
static char *clean_path(const char *path)
{
    char *out = mem_dup(path);
    size_t n = 0;
    while (!strncmp(path, "./", 2)) {
        path += 2 + strspn(path + 2, "/");
    }
    for (; *path; path++) {
        if (*path != '/' || n == 0 || out[n - 1] != '/') {
            out[n++] = *path;
        }
    }
    n -= n > 1 && out[n - 1] == '/';
    if (!n) {
        out[n++] = '.';
    }
    out[n] = '\0';
    return out;
}

int dataset_add(struct dataset *d, const char *path, const struct dataset_options *o, size_t *added,
                struct err *err)
{
    struct walk w = {.o = o};
    char *clean = clean_path(path);
    int rc = walk_find(&w, clean, err);
    if (!rc) {
        rc = shift_labels(&w, err);
    }
    if (!rc) {
        choose(&w, o->limit, o->seed);
        *added = commit(d, &w);
    }
    walk_fini(&w);
    free(clean);
    return rc;
}

static void sample_fini(struct sample *s)
{
    free(s->path);
    free(s->name);
}

void dataset_remove(struct dataset *d, size_t i)
{
    sample_fini(&d->samples[i]);
    memmove(&d->samples[i], &d->samples[i + 1], (d->n - i - 1) * sizeof *d->samples);
    d->n--;
}

void dataset_fini(struct dataset *d)
{
    for (size_t i = 0; i < d->n; i++) {
        sample_fini(&d->samples[i]);
    }
    for (size_t i = 0; i < d->n_names; i++) {
        free(d->names[i]);
    }
    free(d->samples);
    free(d->names);
    *d = (struct dataset){0};
}
