/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * samples.h: what dataset.c, labels.c and sample.c share. Private to formats/.
 */
#ifndef FORMATS_SAMPLES_H
#define FORMATS_SAMPLES_H

#include "formats/formats.h"

/* ---- labels.c: one CSV file read whole ------------------------------------------------------ */
struct label_row {
    const char *file;
    const char *name; /* NULL when there is none */
    int label;        /* as written; -1 = unlabelled */
    int line;
};
struct labels {
    struct arena arena;
    size_t n, cap;
    struct label_row *rows;
    struct strmap by_file;
};
/* The error names the file and the line. */
int labels_load(const char *path, struct labels *out, struct err *err);
void labels_fini(struct labels *l);
/* The row for a file: by path + below, else by the path's last part, else by ever more of the path;
 * NULL when not listed. */
const struct label_row *labels_find(const struct labels *l, const char *path, size_t below);

enum { LABEL_LIMIT = 1 << 20 }; /* class indices are below: they size the table of names */

/* ---- sample.c: which files make a sample, which shapes fit ---------------------------------- */

/* Does this file name stand for input `k` in a sample directory? Name before input_K, 0 = no.
 * `name` may be NULL. */
int sample_input_rank(const char *file, const char *name, int k);
/* Is it a file that can be a sample, by its extension? */
bool sample_extension(const char *file);
/* Do the elements along the first axis of an array fit the input, one sample each? */
bool sample_splits(const struct model_input *in, int rank, const int64_t *dims);

/* ---- walk.c: the samples below a path ------------------------------------------------------- */

/* One sample on its way into the data set. */
struct found {
    char *path;
    size_t below; /* path + below is the part below what was added */
    int64_t row;
    int label;
    const char *label_name; /* borrowed from a list or from walk.classes; NULL unknown */
};

/* What a walk over files and directories found; all of it goes with walk_fini(). */
struct walk {
    const struct dataset_options *o;
    size_t n, cap;
    struct found *found;
    size_t n_lists, cap_lists;
    struct labels **lists;
    size_t n_classes, cap_classes;
    char **classes; /* sorted names of the top directories */
    size_t below;   /* where paths relative to what was added begin */
};
/* Finds the samples of `path` by the options in w->o, in order; at least one, else E_IO. */
int walk_find(struct walk *w, const char *path, struct err *err);
void walk_fini(struct walk *w);

#endif
