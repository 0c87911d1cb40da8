/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_resize.c: Resize and Upsample. Interpolation is separable: for each dimension that changes,
 * every output index has a short list of taps (input index, weight), made once; then the tensor is
 * resized one dimension after the other, in double; bilinear float32 with channels last in float32.
 *
 * Coordinates are computed in float32, as ONNX Runtime does: where they fall on a boundary, nearest
 * neighbours would otherwise differ from what is deployed.
 */
#include "engine/elem.h"
#include "engine/op.h"
#include "engine/par.h"

#include <math.h>

enum mode { MODE_NEAREST, MODE_LINEAR, MODE_CUBIC };
enum coordinate {
    COORD_HALF_PIXEL,
    COORD_SYMMETRIC,
    COORD_PYTORCH,
    COORD_ALIGN,
    COORD_ASYMMETRIC,
    COORD_TF_NN,
    COORD_CROP
};
enum nearest { NEAR_PREFER_FLOOR, NEAR_PREFER_CEIL, NEAR_FLOOR, NEAR_CEIL, NEAR_SIMPLE };

static const char *const mode_names[] = {"nearest", "linear", "cubic", NULL};
static const char *const coordinate_names[] = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
    "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
static const char *const nearest_names[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil", NULL};

/* One dimension: sizes, scale and region, and the taps of each output index. */
struct axis {
    int64_t in, out;
    float scale, roi[2];
    int64_t n_taps;                /* per output index */
    struct tensor *index, *weight; /* [out, n_taps]; NULL: the dimension stays as it is */
    struct tensor *outside;        /* [out] flags: takes extrapolation_value; or NULL */
};

struct resize {
    enum mode mode;
    enum coordinate coordinate;
    enum nearest nearest;
    bool antialias, exclude_outside;
    double cubic_a;
    double extrapolation;
    int rank;
    struct axis axes[MAX_RANK];
};

static void resize_fini(struct resize *r)
{
    for (int d = 0; d < r->rank; d++) {
        tensor_free(r->axes[d].index);
        tensor_free(r->axes[d].weight);
        tensor_free(r->axes[d].outside);
    }
}

/* ---- Attributes and sizes ------------------------------------------------------------------- */

static int read_name(const struct node *n, const char *attr, const char *const *names,
                     const char *dflt, int *out, struct err *err)
{
    const char *s = attr_string(n, attr, dflt);
    for (int i = 0; names[i]; i++) {
        if (strcmp(s, names[i]) == 0) {
            *out = i;
            return OK;
        }
    }
    return err_set(err, E_UNSUPPORTED, "%s is '%.40s', which is not known", attr, s);
}

/* Upsample and Resize-10 know neither coordinates nor rounding modes. */
static int read_attributes(const struct op_call *c, struct resize *r, struct err *err)
{
    const bool modern = c->opset >= 11 && strcmp(c->node->op, "Resize") == 0;
    int mode = 0, coordinate = COORD_ASYMMETRIC, nearest = NEAR_SIMPLE;
    int rc = OK;
    if (strcmp(attr_string(c->node, "mode", "nearest"), "bilinear") == 0) {
        mode = MODE_LINEAR; /* Upsample's first spelling */
    } else {
        rc = read_name(c->node, "mode", mode_names, "nearest", &mode, err);
    }
    if (!rc && modern) {
        rc = read_name(c->node, "coordinate_transformation_mode", coordinate_names, "half_pixel",
                       &coordinate, err);
        rc = rc ? rc
                : read_name(c->node, "nearest_mode", nearest_names, "round_prefer_floor", &nearest,
                            err);
    }
    r->mode = (enum mode)mode;
    r->coordinate = (enum coordinate)coordinate;
    r->nearest = (enum nearest)nearest;
    r->antialias = attr_int(c->node, "antialias", 0) != 0 && mode != MODE_NEAREST;
    r->exclude_outside = attr_int(c->node, "exclude_outside", 0) != 0;
    r->cubic_a = (double)attr_float(c->node, "cubic_coeff_a", -0.75F);
    r->extrapolation = (double)attr_float(c->node, "extrapolation_value", 0);
    return rc;
}

/* Input i if given and not empty: older exporters write an empty tensor for "none". */
static const struct tensor *given(const struct op_call *c, int i)
{
    return i < c->n_in && c->in[i] && c->in[i]->n > 0 ? c->in[i] : NULL;
}

/* The dimensions that scales, sizes and roi speak of: all, or the attribute `axes`. */
static int read_axes(const struct op_call *c, int rank, int *axes, int *n, struct err *err)
{
    size_t count;
    bool seen[MAX_RANK] = {false};
    const int64_t *list = attr_ints(c->node, "axes", &count);
    *n = list ? (int)MIN(count, (size_t)MAX_RANK + 1) : rank;
    if (*n > rank) {
        return err_set(err, E_SHAPE, "axes has %zu entries, the input has rank %d", count, rank);
    }
    for (int i = 0; i < *n; i++) {
        axes[i] = i;
        int rc = list ? op_axis(list[i], rank, &axes[i], err) : OK;
        if (!rc && seen[axes[i]]) {
            rc = err_set(err, E_SHAPE, "axis %d is given twice", axes[i]);
        }
        if (rc) {
            return rc;
        }
        seen[axes[i]] = true;
    }
    return OK;
}

static int want_list(const struct tensor *t, int n, const char *name, struct err *err)
{
    if (t->n != (size_t)n || t->rank != 1) {
        return err_set(err, E_SHAPE, "%s has %zu values, expected %d", name, t->n, n);
    }
    return OK;
}

static int size_from_scale(struct axis *a, float scale, struct err *err)
{
    const double size = floor((double)((float)a->in * scale));
    if (!(scale > 0) || size >= 1e12) {
        return err_set(err, E_SHAPE, "scale is %g for a dimension of %lld", (double)scale,
                       (long long)a->in);
    }
    a->scale = scale;
    a->out = (int64_t)size;
    return OK;
}

/* Output sizes as given, or the same scale for all axes, which keeps within or beyond them. */
static int sizes_from_list(const struct op_call *c, struct resize *r, const struct tensor *sizes,
                           const int *axes, int n, struct err *err)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    int policy = 0;
    float common = 0;
    int rc = read_name(c->node, "keep_aspect_ratio_policy", policies, "stretch", &policy, err);
    for (int i = 0; i < n && !rc; i++) {
        struct axis *a = &r->axes[axes[i]];
        a->out = tensor_s64(sizes, (size_t)i);
        if (a->out < 0 || a->out > (int64_t)1 << 40 || a->in == 0) {
            return err_set(err, E_SHAPE, "size of %lld for a dimension of %lld", (long long)a->out,
                           (long long)a->in);
        }
        a->scale = (float)a->out / (float)a->in;
        const bool tighter = policy == 1 ? a->scale < common : a->scale > common;
        common = i == 0 || tighter ? a->scale : common;
    }
    for (int i = 0; i < n && !rc && policy; i++) {
        struct axis *a = &r->axes[axes[i]];
        a->scale = common;
        a->out = (int64_t)floor((double)common * (double)a->in + 0.5);
    }
    return rc;
}

static int read_sizes(const struct op_call *c, struct resize *r, struct err *err)
{
    const struct tensor *x = c->in[0];
    const bool modern = c->opset >= 11 && strcmp(c->node->op, "Resize") == 0;
    const struct tensor *scales = given(c, modern ? 2 : 1), *sizes = modern ? given(c, 3) : NULL;
    const struct tensor *roi = modern && r->coordinate == COORD_CROP ? given(c, 1) : NULL;
    size_t n_attr = 0;
    const float *attr_scales = c->opset < 9 ? attr_floats(c->node, "scales", &n_attr) : NULL;
    int axes[MAX_RANK], n;
    r->rank = x->rank;
    for (int d = 0; d < x->rank; d++) {
        r->axes[d] = (struct axis){.in = x->dims[d], .out = x->dims[d], .scale = 1, .roi = {0, 1}};
    }
    int rc = read_axes(c, x->rank, axes, &n, err);
    if (!rc && roi) {
        rc = want_list(roi, 2 * n, "roi", err);
        for (int i = 0; i < n && !rc; i++) {
            r->axes[axes[i]].roi[0] = (float)tensor_f64(roi, (size_t)i);
            r->axes[axes[i]].roi[1] = (float)tensor_f64(roi, (size_t)(n + i));
        }
    }
    if (!rc && !scales && sizes) {
        rc = want_list(sizes, n, "sizes", err);
        return rc ? rc : sizes_from_list(c, r, sizes, axes, n, err);
    }
    if (!rc && !scales && n_attr != (size_t)n) {
        rc = err_set(err, E_SHAPE, "neither scales nor sizes for %d dimensions", n);
    } else if (!rc && scales) {
        rc = want_list(scales, n, "scales", err);
    }
    for (int i = 0; i < n && !rc; i++) {
        const float s = scales ? (float)tensor_f64(scales, (size_t)i) : attr_scales[i];
        rc = size_from_scale(&r->axes[axes[i]], s, err);
    }
    return rc;
}

/* ---- Taps ----------------------------------------------------------------------------------- */

/* Input coordinate of output index i. */
static float source(enum coordinate mode, const struct axis *a, int64_t i)
{
    const float x = (float)i, in = (float)a->in, out = (float)a->out;
    switch (mode) {
    case COORD_HALF_PIXEL:
        return (x + 0.5F) / a->scale - 0.5F;
    case COORD_SYMMETRIC: {
        const float adjust = out / (a->scale * in);
        return in / 2.0F * (1.0F - adjust) + (x + 0.5F) / a->scale - 0.5F;
    }
    case COORD_PYTORCH:
        return out > 1.0F ? (x + 0.5F) / a->scale - 0.5F : 0.0F;
    case COORD_ALIGN:
        return out > 1.0F ? x * (in - 1.0F) / (out - 1.0F) : 0.0F;
    case COORD_ASYMMETRIC:
        return x / a->scale;
    case COORD_TF_NN:
        return (x + 0.5F) / a->scale;
    case COORD_CROP:
        break;
    }
    return out > 1.0F
               ? a->roi[0] * (in - 1.0F) + x * (a->roi[1] - a->roi[0]) * (in - 1.0F) / (out - 1.0F)
               : 0.5F * (a->roi[0] + a->roi[1]) * (in - 1.0F);
}

static double round_nearest(enum nearest mode, double x, float scale)
{
    switch (mode) {
    case NEAR_PREFER_FLOOR:
        return ceil(x - 0.5);
    case NEAR_PREFER_CEIL:
        return floor(x + 0.5);
    case NEAR_CEIL:
        return ceil(x);
    case NEAR_FLOOR:
        return floor(x);
    case NEAR_SIMPLE:
        break;
    }
    return scale < 1.0F ? ceil(x) : trunc(x);
}

/* Weight at distance x of the triangle or of Keys' cubic with parameter a. */
static double weight_at(const struct resize *r, double x)
{
    const double a = r->cubic_a;
    x = fabs(x);
    if (r->mode == MODE_LINEAR) {
        return fmax(1 - x, 0);
    }
    return x <= 1  ? ((a + 2) * x - (a + 3)) * x * x + 1
           : x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
                   : 0;
}

/* Taps around x: positions base + first + t with weights; outside the input they go to the edge,
 * or are left out and the rest renormalized. With antialias a shrinking kernel is stretched. */
static void make_taps(const struct resize *r, const struct axis *a, double x, int64_t *index,
                      double *weight)
{
    if (r->mode == MODE_NEAREST) {
        const double k = round_nearest(r->nearest, x, a->scale);
        *index = k < 0 ? 0 : k > (double)(a->in - 1) ? a->in - 1 : (int64_t)k;
        *weight = 1;
        return;
    }
    const double stretch = r->antialias ? fmin((double)a->scale, 1) : 1;
    const double base = ceil(x) - 1; /* an x on a pixel takes it as the right neighbour */
    const int64_t first = 1 - a->n_taps / 2;
    double sum = 0;
    for (int64_t t = 0; t < a->n_taps; t++) {
        const double at = base + (double)(first + t);
        const bool outside = at < 0 || at > (double)(a->in - 1);
        weight[t] = outside && r->exclude_outside ? 0 : weight_at(r, (at - x) * stretch);
        index[t] = at < 0 ? 0 : at > (double)(a->in - 1) ? a->in - 1 : (int64_t)at;
        sum += weight[t];
    }
    for (int64_t t = 0; t < a->n_taps && sum != 0; t++) {
        weight[t] /= sum;
    }
}

static int make_axis(struct op_call *c, const struct resize *r, struct axis *a, struct err *err)
{
    const int64_t reach = r->mode == MODE_CUBIC ? 2 : 1;
    const bool crop = r->coordinate == COORD_CROP;
    if (a->in == a->out && a->scale == 1.0F && !(crop && (a->roi[0] != 0 || a->roi[1] != 1))) {
        return OK;
    }
    if (a->in == 0) {
        return a->out == 0 ? OK : err_set(err, E_SHAPE, "an empty dimension cannot grow");
    }
    a->n_taps = r->mode == MODE_NEAREST ? 1 : 2 * reach;
    if (r->antialias && a->scale < 1.0F) {
        /* One output element at least covers the whole input, so this stays near 4 * in. */
        a->n_taps = 2 * MIN((int64_t)ceil((double)reach / (double)a->scale), 2 * a->in + 2);
    }
    const int64_t dims[] = {a->out, a->n_taps};
    int rc = tensor_new(DT_S64, 2, dims, c->budget, &a->index, err);
    rc = rc ? rc : tensor_new(DT_F64, 2, dims, c->budget, &a->weight, err);
    if (!rc && crop) {
        rc = tensor_new(DT_U8, 1, dims, c->budget, &a->outside, err);
    }
    for (int64_t i = 0; i < a->out && !rc; i++) {
        const double x = (double)source(r->coordinate, a, i);
        if (!(fabs(x) < 1e15)) {
            return err_set(err, E_SHAPE, "roi or scale lead to coordinate %g", x);
        }
        make_taps(r, a, x, (int64_t *)a->index->data + i * a->n_taps,
                  (double *)a->weight->data + i * a->n_taps);
        if (crop) {
            ((uint8_t *)a->outside->data)[i] = x < 0 || x > (double)(a->in - 1);
        }
    }
    return rc;
}

/* ---- Resizing ------------------------------------------------------------------------------- */

/* y [outer, out, inner] from x [outer, in, inner]. */
static void resize_axis(const struct axis *a, int64_t outer, int64_t inner, const double *x,
                        double *y)
{
    for (int64_t o = 0; o < outer; o++, x += a->in * inner) {
        const int64_t *index = a->index->data;
        const double *weight = a->weight->data;
        for (int64_t k = 0; k < a->out; k++, y += inner, index += a->n_taps, weight += a->n_taps) {
            for (int64_t i = 0; i < inner; i++) {
                y[i] = weight[0] * x[index[0] * inner + i];
            }
            for (int64_t t = 1; t < a->n_taps; t++) {
                for (int64_t i = 0; i < inner; i++) {
                    y[i] += weight[t] * x[index[t] * inner + i];
                }
            }
        }
    }
}

/* The same in float32 for two taps. */
VECTOR_CLONES static void blend(size_t n, const float *restrict a, const float *restrict b,
                                float wa, float wb, float *restrict y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = wa * a[i] + wb * b[i];
    }
}

struct blend_job {
    const struct axis *a;
    size_t inner;
    const float *x;
    float *y;
};

/* Item i: an output index of one of the outer ones. */
static void blend_item(void *ctx, size_t i)
{
    const struct blend_job *j = ctx;
    const size_t out = (size_t)j->a->out, k = i % out;
    const int64_t *index = (const int64_t *)j->a->index->data + 2 * k;
    const double *weight = (const double *)j->a->weight->data + 2 * k;
    const float *x = j->x + i / out * (size_t)j->a->in * j->inner;
    blend(j->inner, x + (size_t)index[0] * j->inner, x + (size_t)index[1] * j->inner,
          (float)weight[0], (float)weight[1], j->y + i * j->inner);
}

static void fill_outside(const struct resize *r, struct tensor *y)
{
    bool some = false;
    for (int d = 0; d < r->rank; d++) {
        some = some || r->axes[d].outside;
    }
    for (size_t e = 0; e < y->n && some; e++) {
        size_t rest = e;
        for (int d = r->rank - 1; d >= 0; rest /= (size_t)r->axes[d--].out) {
            const struct tensor *flags = r->axes[d].outside;
            if (flags && ((uint8_t *)flags->data)[rest % (size_t)r->axes[d].out]) {
                elem_put_f64(y, e, 1, &r->extrapolation);
                break;
            }
        }
    }
}

/* All dimensions in turn; *work, float64 or, for two taps, float32, is replaced by the result. */
static int resize_all(struct op_call *c, const struct resize *r, struct tensor **work,
                      struct err *err)
{
    const enum dtype type = (*work)->dtype;
    int64_t dims[MAX_RANK];
    for (int d = 0; d < r->rank; d++) {
        dims[d] = r->axes[d].in;
    }
    for (int d = r->rank - 1; d >= 0; d--) {
        if (!r->axes[d].index) {
            continue;
        }
        struct tensor *next = NULL;
        int64_t outer = 1, inner = 1;
        dims[d] = r->axes[d].out;
        int rc = tensor_new(type, r->rank, dims, c->budget, &next, err);
        if (rc) {
            return rc;
        }
        for (int e = 0; e < r->rank; e++) {
            *(e < d ? &outer : &inner) *= e == d ? 1 : dims[e];
        }
        if (type == DT_F32) {
            struct blend_job j = {&r->axes[d], (size_t)inner, (*work)->data, next->data};
            par_for(c->par, (size_t)(outer * dims[d]), blend_item, &j);
        } else {
            resize_axis(&r->axes[d], outer, inner, (*work)->data, next->data);
        }
        tensor_free(*work);
        *work = next;
    }
    return OK;
}

/* Nearest neighbours are copied: exact for every type, and quick. */
static void resize_nearest(struct op_call *c, struct resize *r)
{
    uint64_t room = 0;
    struct tensor fill = {.dtype = c->in[0]->dtype, .n = 1, .data = &room};
    struct tensor *map[MAX_RANK];
    elem_put_f64(&fill, 0, 1, &r->extrapolation);
    for (int d = 0; d < r->rank; d++) {
        const struct axis *a = &r->axes[d];
        map[d] = a->index;
        for (int64_t i = 0; a->outside && i < a->out; i++) {
            if (((uint8_t *)a->outside->data)[i]) {
                ((int64_t *)a->index->data)[i] = -1;
            }
        }
    }
    struct tensor x = {.dtype = fill.dtype, .rank = r->rank, .data = c->in[0]->data};
    struct tensor y = x;
    for (int d = 0; d < r->rank; d++) { /* in the order of the elements */
        x.dims[d] = r->axes[d].in;
        y.dims[d] = r->axes[d].out;
    }
    x.size = c->in[0]->size;
    y.n = c->out[0]->n;
    y.data = c->out[0]->data;
    elem_copy_mapped(&x, &y, map, &room);
}

/* From here on dimensions count in the order of the elements. */
static void move_channels(struct resize *r)
{
    const struct axis channels = r->axes[1];
    memmove(r->axes + 1, r->axes + 2, (size_t)(r->rank - 2) * sizeof channels);
    r->axes[r->rank - 1] = channels;
}

/* Bilinear float32 whose channels fill vectors is computed as such. */
static bool blends(const struct op_call *c, const struct resize *r)
{
    return c->kernels == KERNELS_FAST && c->channels_last && c->in[0]->dtype == DT_F32 &&
           r->mode == MODE_LINEAR && !r->antialias && r->coordinate != COORD_CROP;
}

/* From float64 or float32 in the order of the elements. */
static void put_result(const struct resize *r, const struct tensor *work, struct tensor *y)
{
    if (work->dtype == y->dtype) {
        memcpy(y->data, work->data, y->size);
    } else {
        elem_put_f64(y, 0, work->n, work->data);
    }
    fill_outside(r, y);
}

static int resize(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0];
    struct resize r = {.rank = 0};
    struct tensor *work = NULL;
    int64_t dims[MAX_RANK];
    int rc = read_attributes(c, &r, err);
    rc = rc ? rc : read_sizes(c, &r, err);
    for (int d = 0; d < r.rank && !rc; d++) {
        dims[d] = r.axes[d].out;
    }
    rc = rc ? rc : op_out(c, 0, x->dtype, r.rank, dims, err);
    if (rc || c->out[0]->n == 0) {
        goto out;
    }
    if (c->channels_last && r.rank >= 3) {
        move_channels(&r);
    }
    for (int d = 0; d < r.rank && !rc; d++) {
        rc = make_axis(c, &r, &r.axes[d], err);
    }
    if (rc || r.mode == MODE_NEAREST) {
        if (!rc) {
            resize_nearest(c, &r);
        }
        goto out;
    }
    rc = blends(c, &r) ? (work = tensor_ref(x), OK) : elem_to_f64(x, c->budget, &work, err);
    rc = rc ? rc : resize_all(c, &r, &work, err);
    if (!rc) {
        put_result(&r, work, c->out[0]);
    }
out:
    tensor_free(work);
    resize_fini(&r);
    return rc;
}

#define ROW(op_name, first, most, spec_text)                                                       \
    {                                                                                              \
        .name = (op_name), .since = (first), .min_in = 1, .max_in = (most), .ref = resize,         \
        .spec = (spec_text), .layout = layout_keep                                                 \
    }

const struct op op_resize[] = {
    ROW("Upsample", 7, 2, "ONNX Upsample-9"),
    ROW("Resize", 10, 4, "ONNX Resize-19"),
    {0},
};
