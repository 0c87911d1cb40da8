/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * walk.c: from a path to the samples below it and their labels, from lists or directory names. It
 * decodes nothing: of .npy files it reads the header, to tell one sample from many.
 */
#include "formats/rows.h"
#include "formats/samples.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DEPTH_LIMIT = 64 };

/* ---- Finding files -------------------------------------------------------------------------- */

/* The lists in force in a directory: its own, or those of a directory above. */
struct scope {
    const struct labels *labels; /* NULL: none */
    size_t below;                /* where paths relative to the list begin */
};

void walk_fini(struct walk *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->found[i].path);
    }
    for (size_t i = 0; i < w->n_lists; i++) {
        labels_fini(w->lists[i]);
        free(w->lists[i]);
    }
    for (size_t i = 0; i < w->n_classes; i++) {
        free(w->classes[i]);
    }
    free(w->found);
    free(w->lists);
    free(w->classes);
}

static int walk_labels(struct walk *w, const char *path, size_t below, struct scope *scope,
                       struct err *err)
{
    struct labels *l = mem_alloc(sizeof *l);
    int rc = labels_load(path, l, err);
    if (rc) {
        free(l);
        return rc;
    }
    w->lists = mem_push(w->lists, w->n_lists, &w->cap_lists, sizeof *w->lists);
    w->lists[w->n_lists++] = l;
    *scope = (struct scope){l, below};
    return OK;
}

static void push(struct walk *w, const char *path, int64_t row, const struct scope *scope)
{
    const struct label_row *label =
        scope->labels ? labels_find(scope->labels, path, scope->below) : NULL;
    w->found = mem_push(w->found, w->n, &w->cap, sizeof *w->found);
    w->found[w->n++] = (struct found){
        .path = mem_dup(path),
        .below = w->below,
        .row = row,
        .label = label ? label->label : -1,
        .label_name = label ? label->name : NULL,
    };
}

/* One sample, or one per row of an array that holds many. Arrays that cannot be read stay one
 * sample, so that loading them reports it. */
static void push_file(struct walk *w, const char *path, const struct scope *scope)
{
    int rank = 0;
    int64_t dims[MAX_RANK] = {0};
    const struct format *format = format_of(path, NULL, 0);
    bool splits = w->o->n_inputs == 1 && w->o->inputs && format == &format_npy &&
                  !npy_shape(path, &rank, dims, NULL) && sample_splits(w->o->inputs, rank, dims);
    if (!splits) {
        push(w, path, -1, scope);
        return;
    }
    for (int64_t row = 0; row < dims[0]; row++) {
        push(w, path, row, scope);
    }
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Do these files make one sample together? */
static bool is_sample_dir(const struct walk *w, struct dirent *const *entries, int n)
{
    int n_inputs = MAX(w->o->n_inputs, 1);
    bool first = false, second = false, any = false;
    for (int i = 0; i < n; i++) {
        const char *file = entries[i]->d_name;
        first = first || sample_input_rank(file, NULL, 0);
        second = second || sample_input_rank(file, NULL, 1);
        for (int k = 0; k < n_inputs && n_inputs > 1 && !any; k++) {
            any = sample_input_rank(file, w->o->inputs ? w->o->inputs[k].name : NULL, k);
        }
    }
    return n_inputs > 1 ? any : first && !second;
}

static int walk_dir(struct walk *w, const char *path, struct scope scope, int depth,
                    struct err *err);

/* An entry of a directory: links to files count as files, links to directories are not followed,
 * because they may lead in circles. */
static int walk_entry(struct walk *w, const char *path, const struct scope *scope, int depth,
                      struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return walk_dir(w, path, *scope, depth, err);
    }
    if (w->o->n_inputs <= 1 && sample_extension(path) && stat(path, &st) == 0 &&
        S_ISREG(st.st_mode)) {
        push_file(w, path, scope);
    }
    return OK;
}

static bool has_labels(struct dirent *const *entries, int n)
{
    for (int i = 0; i < n; i++) {
        if (!strcmp(entries[i]->d_name, "labels.csv")) {
            return true;
        }
    }
    return false;
}

/* Where the last part of a path begins. */
static size_t last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static int walk_dir(struct walk *w, const char *path, struct scope scope, int depth,
                    struct err *err)
{
    struct dirent **entries = NULL;
    if (depth > DEPTH_LIMIT) {
        return err_set(err, E_LIMIT, "%s: more than %d directories deep", path, DEPTH_LIMIT);
    }
    int n = scandir(path, &entries, visible, by_name);
    if (n < 0) {
        return err_set(err, E_IO, "%s: cannot read: %s", path, strerror(errno));
    }
    int rc = OK;
    if (is_sample_dir(w, entries, n)) {
        if (depth == 0) {
            w->below = scope.below =
                last_part(path); /* nothing is below: it goes by its own name */
        }
        push(w, path, -1, &scope);
        goto out;
    }
    if (!w->o->labels && has_labels(entries, n)) {
        char *csv = mem_printf("%s/labels.csv", path);
        rc = walk_labels(w, csv, strlen(path) + 1, &scope, err);
        free(csv);
    }
    for (int i = 0; i < n && !rc; i++) {
        char *entry = mem_printf("%s/%s", path, entries[i]->d_name);
        rc = walk_entry(w, entry, &scope, depth + 1, err);
        free(entry);
    }
out:
    for (int i = 0; i < n; i++) {
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* A file named by the user, with the list beside it. */
static int walk_file(struct walk *w, const char *path, struct scope scope, struct err *err)
{
    if (w->o->n_inputs > 1) {
        return err_set(err, E_USAGE,
                       "%s: one file, the model has %d inputs: add a directory per sample", path,
                       w->o->n_inputs);
    }
    const struct format *format = NULL;
    int rc = format_of_file(path, &format, err);
    if (rc) {
        return rc;
    }
    if (!format || (!format->load_image && !format->load_tensor)) {
        return err_set(err, E_UNSUPPORTED, "%s: neither a picture nor an array (found %s)", path,
                       format ? format->name : "unknown bytes");
    }
    char *csv = mem_printf("%.*slabels.csv", (int)w->below, path);
    if (!w->o->labels && file_exists(csv)) {
        rc = walk_labels(w, csv, w->below, &scope, err);
    }
    free(csv);
    if (!rc) {
        push_file(w, path, &scope);
    }
    return rc;
}

static int find_below(struct walk *w, const char *path, struct err *err)
{
    struct scope scope = {0};
    bool dir = file_is_dir(path);
    w->below = dir ? strlen(path) + 1 : last_part(path);
    int rc = OK;
    if (w->o->labels) {
        rc = walk_labels(w, w->o->labels, w->below, &scope, err);
    }
    if (!rc) {
        rc = dir ? walk_dir(w, path, scope, 0, err) : walk_file(w, path, scope, err);
    }
    return rc;
}

/* ---- Labels from directory names ------------------------------------------------------------ */

/* Length of the top directory's name in a relative path; 0 when there is none. */
static size_t class_length(const char *relative)
{
    const char *slash = strchr(relative, '/');
    return slash ? (size_t)(slash - relative) : 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Collects the distinct top directories; none when a sample sits in no directory. Samples of one
 * directory follow each other, as the walk went. */
static bool collect_classes(struct walk *w)
{
    const char *last = "";
    size_t last_length = 0;
    for (size_t i = 0; i < w->n; i++) {
        const char *name = w->found[i].path + w->below;
        size_t n = class_length(name);
        if (!n) {
            return false;
        }
        if (n != last_length || memcmp(name, last, n)) {
            w->classes = mem_push(w->classes, w->n_classes, &w->cap_classes, sizeof *w->classes);
            w->classes[w->n_classes++] = mem_printf("%.*s", (int)n, name);
            last = name;
            last_length = n;
        }
    }
    qsort(w->classes, w->n_classes, sizeof *w->classes, by_text);
    return w->n_classes >= 2 && w->n_classes < LABEL_LIMIT;
}

static void label_by_directory(struct walk *w)
{
    struct strmap index = {0};
    if (w->n_lists || !collect_classes(w)) {
        return;
    }
    for (size_t i = 0; i < w->n_classes; i++) {
        strmap_put(&index, w->classes[i], (int)i);
    }
    for (size_t i = 0; i < w->n; i++) {
        struct found *f = &w->found[i];
        char *name = f->path + f->below;
        char *end = name + class_length(name);
        *end = '\0';
        f->label = strmap_get(&index, name, -1);
        f->label_name = w->classes[f->label];
        *end = '/';
    }
    strmap_fini(&index);
}

int walk_find(struct walk *w, const char *path, struct err *err)
{
    int rc = find_below(w, path, err);
    if (!rc && !w->n) {
        rc = err_set(err, E_IO, "%s: no pictures, arrays or sample directories in it", path);
    }
    if (!rc) {
        label_by_directory(w);
    }
    return rc;
}
