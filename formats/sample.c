/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sample.c: one sample from its file or directory to the tensors a model takes. It decides which
 * shapes and types fit; lists of samples are dataset.c's business.
 */
#include "formats/rows.h"
#include "formats/samples.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- Shapes --------------------------------------------------------------------------------- */

static bool dims_fit(const int64_t *want, const int64_t *have, int n)
{
    for (int i = 0; i < n; i++) {
        if (want[i] >= 0 && want[i] != have[i]) {
            return false;
        }
    }
    return true;
}

static bool is_batch(int64_t dim)
{
    return dim == 1 || dim < 0;
}

struct shape {
    int rank;
    int64_t dims[MAX_RANK];
};

/* The shape under which a whole array goes into the input: its own, or with a batch axis of one
 * added or dropped. */
static bool shape_fits(const struct model_input *in, int rank, const int64_t *dims,
                       struct shape *out)
{
    bool same = in->rank < 0 || (rank == in->rank && dims_fit(in->dims, dims, rank));
    bool add = !same && rank + 1 == in->rank && is_batch(in->dims[0]) &&
               dims_fit(in->dims + 1, dims, rank);
    bool drop =
        !same && rank == in->rank + 1 && dims[0] == 1 && dims_fit(in->dims, dims + 1, in->rank);
    if (!same && !add && !drop) {
        return false;
    }
    out->rank = rank + add - drop;
    out->dims[0] = 1;
    memcpy(out->dims + add, dims + drop, (size_t)(rank - drop) * sizeof *dims);
    return true;
}

bool sample_splits(const struct model_input *in, int rank, const int64_t *dims)
{
    if (rank < 1 || dims[0] < 2 || in->rank < 0) {
        return false;
    }
    /* A vector of unknown length is data, not a batch. */
    bool batched = in->rank > (in->dims[0] == 1 ? 0 : 1) && is_batch(in->dims[0]);
    return (rank == in->rank && batched && dims_fit(in->dims + 1, dims + 1, rank - 1)) ||
           (rank == in->rank + 1 && dims_fit(in->dims, dims + 1, in->rank));
}

/* A picture may also go into an input that is flat or lacks the channel axis. */
static bool picture_fits(const struct model_input *in, const struct tensor *t, struct shape *out)
{
    if (shape_fits(in, t->rank, t->dims, out)) {
        return true;
    }
    size_t n = 1;
    out->rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        out->dims[i] = in->dims[i] < 0 ? 1 : in->dims[i];
        if (!mul_ok(n, (size_t)out->dims[i], &n)) {
            return false;
        }
    }
    return in->rank >= 1 && in->rank <= 3 && (in->rank < 3 || t->dims[1] == 1 || t->dims[3] == 1) &&
           n == t->n;
}

static int shape_error(const struct model_input *in, const struct tensor *t, const char *hint,
                       struct err *err)
{
    char have[128], want[128];
    return err_set(err, E_SHAPE, "sample is %s %s, input '%s' expects %s %s%s",
                   dtype_name(t->dtype), shape_text(have, sizeof have, t->rank, t->dims), in->name,
                   dtype_name(in->dtype), shape_text(want, sizeof want, in->rank, in->dims), hint);
}

/* Replaces *t by itself under another shape. */
static int reshape(struct tensor **t, const struct shape *s, struct err *err)
{
    struct tensor *view = NULL;
    int rc = tensor_view(*t, s->rank, s->dims, &view, err);
    if (!rc) {
        tensor_free(*t);
        *t = view;
    }
    return rc;
}

/* ---- Element types -------------------------------------------------------------------------- */

static void store_element(struct tensor *t, size_t i, double v)
{
    switch (t->dtype) {
    case DT_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case DT_F64:
        ((double *)t->data)[i] = v;
        break;
    case DT_F16:
        ((uint16_t *)t->data)[i] = f32_to_f16((float)v);
        break;
    case DT_BF16:
        ((uint16_t *)t->data)[i] = f32_to_bf16((float)v);
        break;
    default: /* uint8 or int8, in range: see picture_codes() */
        ((uint8_t *)t->data)[i] = (uint8_t)(int)v;
        break;
    }
}

/* Replaces *t by its values in another type. */
static int convert(struct tensor **t, enum dtype dtype, struct err *err)
{
    struct tensor *to = NULL;
    if ((*t)->dtype == dtype) {
        return OK;
    }
    int rc = tensor_new(dtype, (*t)->rank, (*t)->dims, NULL, &to, err);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < to->n; i++) {
        store_element(to, i, tensor_f64(*t, i));
    }
    tensor_free(*t);
    *t = to;
    return OK;
}

/* ---- Pictures and arrays -------------------------------------------------------------------- */

/* Settings that give an integer input its codes: pixel - mean on the scale of pixels. */
static int picture_codes(const struct model_input *in, struct preprocess *p, struct err *err)
{
    int64_t lo = 0, hi = 0;
    bool good = (in->dtype == DT_U8 || in->dtype == DT_S8) && dtype_range(in->dtype, &lo, &hi);
    for (int c = 0; good && c < p->channels; c++) {
        p->mean[c] *= 255 / p->range;
        good = p->std[c] == 1 && p->mean[c] == floor(p->mean[c]) && -p->mean[c] >= (double)lo &&
               UINT8_MAX - p->mean[c] <= (double)hi;
    }
    p->range = 255;
    if (good) {
        return OK;
    }
    return err_set(err, E_SHAPE,
                   "input '%s' is %s: a picture fits uint8 with mean 0, int8 with mean 128 on "
                   "range 0..255, and std 1",
                   in->name, dtype_name(in->dtype));
}

static int load_picture(const char *path, const struct preprocess *p, const struct model_input *in,
                        struct tensor **out, struct err *err)
{
    struct image im = {0};
    struct preprocess settings = *p;
    struct shape shape;
    struct tensor *t = NULL;
    int rc = dtype_is_float(in->dtype) ? OK : picture_codes(in, &settings, err);
    if (rc) {
        err_in(err, "%s", path);
        return rc;
    }
    rc = image_load(path, &im, err);
    if (rc) {
        return rc; /* the path is in the text */
    }
    rc = preprocess_apply(&settings, &im, &t, err);
    if (!rc && !picture_fits(in, t, &shape)) {
        rc = shape_error(in, t, ", see preprocess size, color and layout", err);
    }
    if (!rc) {
        rc = reshape(&t, &shape, err);
    }
    if (!rc) {
        rc = convert(&t, in->dtype, err);
    }
    image_fini(&im);
    if (rc) {
        tensor_free(t);
        err_in(err, "%s", path);
        return rc;
    }
    *out = t;
    return OK;
}

static int load_array(const char *path, int64_t row, const struct model_input *in,
                      struct tensor **out, struct err *err)
{
    struct tensor *t = NULL;
    struct shape shape;
    int rc = row < 0 ? tensor_load(path, &t, err) : npy_load_row(path, row, &t, err);
    if (rc) {
        return rc; /* the path is in the text */
    }
    bool same_kind =
        t->dtype == in->dtype || (dtype_is_float(t->dtype) && dtype_is_float(in->dtype));
    if (!same_kind || !shape_fits(in, t->rank, t->dims, &shape)) {
        bool rows = same_kind && sample_splits(in, t->rank, t->dims);
        rc = shape_error(in, t,
                         rows ? ", add the file after the model to get one sample a row" : "", err);
    }
    if (!rc) {
        rc = reshape(&t, &shape, err);
    }
    if (!rc) {
        rc = convert(&t, in->dtype, err);
    }
    if (rc) {
        tensor_free(t);
        err_in(err, "%s", path);
        return rc;
    }
    *out = t;
    return OK;
}

/* ---- Sample directories --------------------------------------------------------------------- */

bool sample_extension(const char *file)
{
    const struct format *f = format_of(file, NULL, 0);
    return f && (f->load_image || f->load_tensor);
}

/* Is `file` "STEM.EXT" with a known extension? '/' in STEM stands as '_' in the file name: names
 * come from models and must not lead elsewhere. */
static bool stem_is(const char *file, const char *stem)
{
    const char *dot = strrchr(file, '.');
    size_t n = strlen(stem);
    if (!dot || (size_t)(dot - file) != n || !sample_extension(file)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (file[i] != (stem[i] == '/' ? '_' : stem[i])) {
            return false;
        }
    }
    return true;
}

int sample_input_rank(const char *file, const char *name, int k)
{
    char number[32];
    snprintf(number, sizeof number, "input_%d", k);
    if (name && *name && stem_is(file, name)) {
        return 2;
    }
    return stem_is(file, number) ? 1 : 0;
}

/* Path of the file for input k in a sample directory; the first in order when several fit. */
static int find_input(const char *dir, const char *name, int k, char **out, struct err *err)
{
    char best[NAME_MAX + 1] = "";
    int best_rank = 0;
    DIR *d = opendir(dir);
    if (!d) {
        return err_set(err, E_IO, "%s: cannot read: %s", dir, strerror(errno));
    }
    for (const struct dirent *e; (e = readdir(d));) {
        int rank = sample_input_rank(e->d_name, name, k);
        if (rank > best_rank || (rank && rank == best_rank && strcmp(e->d_name, best) < 0)) {
            best_rank = rank;
            snprintf(best, sizeof best, "%s", e->d_name);
        }
    }
    closedir(d);
    if (!best_rank) {
        return err_set(err, E_IO,
                       "%s: no file for input '%s', expected its name or input_%d with "
                       "a known extension",
                       dir, name, k);
    }
    *out = mem_printf("%s/%s", dir, best);
    return OK;
}

/* ---- Front door ----------------------------------------------------------------------------- */

/* Is the file a picture? By its extension, and only without a known one by its bytes: an unreadable
 * file counts as one, image_load() says what is wrong with it. */
static bool is_picture(const char *path)
{
    const struct format *format = format_of(path, NULL, 0);
    if (!format) {
        format_of_file(path, &format, NULL);
    }
    return !format || format->load_image;
}

bool sample_pictured(const struct sample *s)
{
    return s->row < 0 && !file_is_dir(s->path) && is_picture(s->path);
}

static int load_input(const struct sample *s, const struct preprocess *p, int k,
                      const struct model_input *in, struct tensor **out, struct err *err)
{
    char *path = NULL;
    int rc = file_is_dir(s->path) ? find_input(s->path, in->name, k, &path, err) : OK;
    if (rc) {
        return rc;
    }
    const char *file = path ? path : s->path;
    if (s->row >= 0 || !is_picture(file)) {
        rc = load_array(file, s->row, in, out, err);
    } else if (k > 0) {
        rc = err_set(err, E_UNSUPPORTED, "%s: a picture can only be the first input", file);
    } else {
        rc = load_picture(file, p, in, out, err);
    }
    free(path);
    return rc;
}

int sample_load(const struct sample *s, const struct preprocess *p, int n_inputs,
                const struct model_input *inputs, struct tensor **out, struct err *err)
{
    if (n_inputs > 1 && !file_is_dir(s->path)) {
        return err_set(err, E_SHAPE,
                       "%s: one file, the model has %d inputs: use a directory per "
                       "sample",
                       s->path, n_inputs);
    }
    int done = 0, rc = OK;
    struct tensor **t = mem_alloc((size_t)MAX(n_inputs, 1) * sizeof(struct tensor *));
    while (!rc && done < n_inputs) {
        rc = load_input(s, p, done, &inputs[done], &t[done], err);
        done += !rc;
    }
    for (int k = 0; k < done; k++) {
        if (rc) {
            tensor_free(t[k]);
        } else {
            out[k] = t[k];
        }
    }
    free(t);
    return rc;
}
