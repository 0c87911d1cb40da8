/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * op_vision.c: GridSample and NonMaxSuppression: what detection and warping networks add to
 * convolutions.
 */
#include "engine/elem.h"
#include "engine/op.h"

#include <math.h>
#include <stdlib.h>

/* ---- GridSample ----------------------------------------------------------------------------- */

enum { GRID_MAX = 3, TAPS_MAX = 4 }; /* spatial dimensions, taps of a cubic */
enum grid_mode { GRID_NEAREST, GRID_LINEAR, GRID_CUBIC };
enum grid_padding { GRID_ZEROS, GRID_BORDER, GRID_REFLECTION };

struct grid {
    enum grid_mode mode;
    enum grid_padding padding;
    bool align; /* -1 and 1 are the centers of the corner pixels, else their outer edges */
    int rank;   /* spatial dimensions */
};

/* Taps along one dimension: input index (-1: zero) and weight. */
struct grid_taps {
    int n;
    int64_t index[TAPS_MAX];
    double weight[TAPS_MAX];
};

static int read_grid(const struct op_call *c, struct grid *g, struct err *err)
{
    const char *mode = attr_string(c->node, "mode", "linear");
    const char *padding = attr_string(c->node, "padding_mode", "zeros");
    const bool linear = strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0;
    const bool cubic = strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0;
    if (!linear && !cubic && strcmp(mode, "nearest") != 0) {
        return err_set(err, E_FORMAT, "mode is '%.40s', expected nearest, linear or cubic", mode);
    }
    const bool border = strcmp(padding, "border") == 0;
    const bool reflection = strcmp(padding, "reflection") == 0;
    if (!border && !reflection && strcmp(padding, "zeros") != 0) {
        return err_set(err, E_FORMAT,
                       "padding_mode is '%.40s', expected zeros, border or reflection", padding);
    }
    g->mode = linear ? GRID_LINEAR : cubic ? GRID_CUBIC : GRID_NEAREST;
    g->padding = border ? GRID_BORDER : reflection ? GRID_REFLECTION : GRID_ZEROS;
    g->align = attr_int(c->node, "align_corners", 0) != 0;
    return OK;
}

/* Folds x back into [lo, hi] as mirrors at both ends would. */
static double reflect(double x, double lo, double hi)
{
    const double range = hi - lo;
    if (!(range > 0)) {
        return lo;
    }
    const double folded = fmod(fabs(x - lo), 2 * range);
    return lo + (folded <= range ? folded : 2 * range - folded);
}

static double grid_place(const struct grid *g, double x, int64_t n)
{
    const double last = (double)(n - 1);
    if (g->padding == GRID_BORDER) {
        return x < 0 ? 0 : x > last ? last : x;
    }
    if (g->padding == GRID_REFLECTION) {
        return g->align ? reflect(x, 0, last) : reflect(x, -0.5, last + 0.5);
    }
    return x;
}

/* Keys' cubic with a = -0.75. */
static double cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    return x <= 1  ? ((a + 2) * x - (a + 3)) * x * x + 1
           : x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
                   : 0;
}

/* Taps for normalized coordinate v in a dimension of n. */
static void grid_taps(const struct grid *g, double v, int64_t n, struct grid_taps *t)
{
    const double last = (double)(n - 1);
    double x = g->align ? (v + 1) / 2 * last : ((v + 1) * (double)n - 1) / 2;
    x = isfinite(x) ? x : -1e9; /* nowhere; what a NaN points to is not defined */
    x = fmax(fmin(x, 1e9), -1e9);
    if (g->mode != GRID_CUBIC) { /* a cubic folds each of its taps instead */
        x = grid_place(g, x, n);
    }
    const double base = g->mode == GRID_NEAREST ? nearbyint(x) : floor(x);
    const int first = g->mode == GRID_CUBIC ? -1 : 0;
    t->n = g->mode == GRID_NEAREST ? 1 : g->mode == GRID_LINEAR ? 2 : 4;
    for (int i = 0; i < t->n; i++) {
        double at = base + first + i;
        const double distance = fabs(x - at);
        t->weight[i] = g->mode == GRID_NEAREST  ? 1
                       : g->mode == GRID_LINEAR ? 1 - distance
                                                : cubic(distance);
        at = at < 0 || at > last ? nearbyint(grid_place(g, at, n)) : at;
        t->index[i] = at < 0 || at > last ? -1 : (int64_t)at;
    }
}

/* Sum over the taps of all dimensions of one channel. */
static double grid_sum(const struct grid *g, const struct grid_taps *taps, const int64_t *dims,
                       const double *plane)
{
    int combinations = 1;
    double sum = 0;
    for (int d = 0; d < g->rank; d++) {
        combinations *= taps[d].n;
    }
    for (int k = 0; k < combinations; k++) {
        double weight = 1;
        int64_t at = 0;
        int rest = k;
        for (int d = 0; d < g->rank; rest /= taps[d++].n) {
            const int i = rest % taps[d].n;
            weight *= taps[d].weight[i];
            at = taps[d].index[i] < 0 || at < 0 ? -1 : at * dims[d] + taps[d].index[i];
        }
        sum += at < 0 ? 0 : weight * plane[at];
    }
    return sum;
}

static int check_grid(const struct op_call *c, const struct grid *g, struct err *err)
{
    const struct tensor *x = c->in[0], *grid = c->in[1];
    if (g->rank < 1 || g->rank > GRID_MAX || grid->rank != x->rank ||
        !dtype_is_float(grid->dtype) || grid->dims[0] != x->dims[0] ||
        grid->dims[x->rank - 1] != g->rank) {
        return err_set(err, E_SHAPE, "grid does not fit an input of rank %d", x->rank);
    }
    return OK;
}

/* y [n,c,out...] = x [n,c,in...] at grid [n,out...,rank], whose coordinates run x, y, z. */
static int grid_sample(struct op_call *c, struct err *err)
{
    const struct tensor *x = c->in[0], *grid = c->in[1];
    struct grid g = {.rank = x->rank - 2};
    struct tensor *source = NULL;
    int64_t dims[MAX_RANK];
    int rc = read_grid(c, &g, err);
    rc = rc ? rc : check_grid(c, &g, err);
    if (rc) {
        return rc;
    }
    memcpy(dims, x->dims, 2 * sizeof *dims);
    memcpy(dims + 2, grid->dims + 1, (size_t)g.rank * sizeof *dims);
    rc = op_out(c, 0, x->dtype, x->rank, dims, err);
    if (rc || c->out[0]->n == 0) {
        return rc;
    }
    if (x->n == 0) {
        return err_set(err, E_SHAPE, "input has no elements to sample");
    }
    rc = elem_to_f64(x, c->budget, &source, err);
    const int64_t planes = x->dims[0] * x->dims[1], in_n = (int64_t)x->n / planes,
                  out_n = (int64_t)c->out[0]->n / planes;
    for (int64_t i = 0; !rc && i < x->dims[0] * out_n; i++) {
        struct grid_taps taps[GRID_MAX];
        double at[GRID_MAX];
        elem_get_f64(grid, (size_t)(i * g.rank), (size_t)g.rank, at);
        for (int d = 0; d < g.rank; d++) {
            grid_taps(&g, at[g.rank - 1 - d], x->dims[2 + d], &taps[d]);
        }
        for (int64_t ch = 0; ch < x->dims[1]; ch++) {
            const int64_t plane = i / out_n * x->dims[1] + ch;
            const double v = grid_sum(&g, taps, x->dims + 2, (double *)source->data + plane * in_n);
            elem_put_f64(c->out[0], (size_t)(plane * out_n + i % out_n), 1, &v);
        }
    }
    tensor_free(source);
    return rc;
}

/* ---- NonMaxSuppression ---------------------------------------------------------------------- */

struct suppression {
    int64_t most; /* boxes per class */
    double overlap, score;
    bool centers; /* boxes are [xc, yc, w, h], else two corners [y1, x1, y2, x2] */
};

struct box {
    double score, lo[2], hi[2];
    int64_t index;
};

static int compare_boxes(const void *a, const void *b)
{
    const struct box *p = a, *q = b;
    return p->score > q->score   ? -1
           : p->score < q->score ? 1
                                 : (p->index > q->index) - (p->index < q->index);
}

static void read_box(const struct tensor *boxes, size_t at, bool centers, struct box *b)
{
    double v[4];
    elem_get_f64(boxes, at * 4, 4, v);
    for (int i = 0; i < 2; i++) {
        b->lo[i] = centers ? v[i] - v[i + 2] / 2 : fmin(v[i], v[i + 2]);
        b->hi[i] = centers ? v[i] + v[i + 2] / 2 : fmax(v[i], v[i + 2]);
    }
}

/* Intersection over union; 0 for empty boxes. */
static double box_overlap(const struct box *a, const struct box *b)
{
    double both = 1, area_a = 1, area_b = 1;
    for (int i = 0; i < 2; i++) {
        both *= fmax(fmin(a->hi[i], b->hi[i]) - fmax(a->lo[i], b->lo[i]), 0);
        area_a *= a->hi[i] - a->lo[i];
        area_b *= b->hi[i] - b->lo[i];
    }
    const double all = area_a + area_b - both;
    return area_a <= 0 || area_b <= 0 || all <= 0 ? 0 : both / all;
}

/* Keeps, best score first, what does not overlap a box kept before; the kept ones move to the
 * front. Returns their number. */
static int64_t suppress(struct box *list, int64_t n, const struct suppression *s)
{
    int64_t kept = 0;
    qsort(list, (size_t)n, sizeof *list, compare_boxes);
    for (int64_t i = 0; i < n && kept < s->most; i++) {
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++) {
            keep = box_overlap(&list[i], &list[k]) <= s->overlap;
        }
        if (keep) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static int read_suppression(const struct op_call *c, struct suppression *s, struct err *err)
{
    const struct tensor *boxes = c->in[0], *scores = c->in[1];
    double v[3] = {0, 0, -HUGE_VAL};
    int rc = op_want(c, 0, DT_F32, 3, err);
    rc = rc ? rc : op_want(c, 1, DT_F32, 3, err);
    if (!rc && (boxes->dims[2] != 4 || boxes->dims[0] != scores->dims[0] ||
                boxes->dims[1] != scores->dims[2])) {
        rc = err_set(err, E_SHAPE, "boxes and scores do not fit together");
    }
    for (int i = 2; i < 5 && !rc; i++) {
        const struct tensor *t = i < c->n_in ? c->in[i] : NULL;
        if (t && t->n != 1) {
            rc = err_set(err, E_SHAPE, "input %d has %zu values, expected one", i, t->n);
        } else if (t) {
            v[i - 2] = tensor_f64(t, 0);
        }
    }
    *s = (struct suppression){.most = elem_trunc(v[0]),
                              .overlap = v[1],
                              .score = v[2],
                              .centers = attr_int(c->node, "center_point_box", 0) != 0};
    return rc;
}

/* Rows [batch, class, box] of the boxes kept. */
static int non_max_suppression(struct op_call *c, struct err *err)
{
    struct suppression s;
    struct tensor *room = NULL, *found = NULL;
    int rc = read_suppression(c, &s, err);
    if (rc) {
        return rc;
    }
    const struct tensor *boxes = c->in[0], *scores = c->in[1];
    const int64_t n = boxes->dims[1], size[] = {n, (int64_t)sizeof(struct box)},
                  most[] = {(int64_t)scores->n, 3};
    int64_t rows[] = {0, 3};
    rc = tensor_new(DT_U8, 2, size, c->budget, &room, err);
    rc = rc ? rc : tensor_new(DT_S64, 2, most, c->budget, &found, err);
    for (int64_t r = 0; !rc && scores->n > 0 && r < scores->dims[0] * scores->dims[1]; r++) {
        struct box *list = room->data;
        const int64_t batch = r / scores->dims[1];
        int64_t candidates = 0;
        for (int64_t i = 0; i < n; i++) {
            struct box *b = &list[candidates];
            b->index = i;
            elem_get_f64(scores, (size_t)(r * n + i), 1, &b->score);
            read_box(boxes, (size_t)(batch * n + i), s.centers, b);
            candidates += b->score > s.score;
        }
        const int64_t kept = suppress(list, candidates, &s);
        for (int64_t k = 0; k < kept; k++) {
            const int64_t row[] = {batch, r % scores->dims[1], list[k].index};
            memcpy((int64_t *)found->data + 3 * rows[0]++, row, sizeof row);
        }
    }
    rc = rc ? rc : op_out(c, 0, DT_S64, 2, rows, err);
    if (!rc && rows[0] > 0) {
        memcpy(c->out[0]->data, found->data, c->out[0]->size);
    }
    tensor_free(room);
    tensor_free(found);
    return rc;
}

const struct op op_vision[] = {
    {
        .name = "GridSample",
        .since = 16,
        .min_in = 2,
        .max_in = 2,
        .ref = grid_sample,
        .spec = "ONNX GridSample-22",
    },
    {
        .name = "NonMaxSuppression",
        .since = 10,
        .min_in = 2,
        .max_in = 5,
        .ref = non_max_suppression,
        .spec = "ONNX NonMaxSuppression-11",
    },
    {0},
};
