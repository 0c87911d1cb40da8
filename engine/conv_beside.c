/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_beside.c: convolutions of single pixels and few channels that have the same input, as the
 * heads of a detector: a kernel takes as long for one column as for a whole unit of them, so that
 * one product computes all, and its columns are then taken apart.
 */
#include "engine/conv_f32.h"
#include "engine/elem.h"
#include "engine/par.h"

#include <stdlib.h>

struct conv_beside {
    int n;
    const struct tensor *w[BESIDE_MOST], *bias[BESIDE_MOST]; /* of the convolutions; references */
    struct tensor *all_w, *all_bias;                         /* all_bias NULL: none has one */
    void *form;
};

void conv_beside_free(struct conv_beside *b)
{
    for (int k = 0; b && k < b->n; k++) {
        tensor_free((struct tensor *)b->w[k]);
        tensor_free((struct tensor *)b->bias[k]);
    }
    if (b) {
        conv_dense_free(b->form);
        tensor_free(b->all_w);
        tensor_free(b->all_bias);
    }
    free(b);
}

static int64_t count_columns(const struct conv *v, int n)
{
    int64_t sum = 0;
    for (int k = 0; k < n; k++) {
        sum += v[k].oc;
    }
    return sum;
}

/* Rows of the tensors one after the other. */
static void join_rows(const struct tensor *const *from, int n, struct tensor *to)
{
    uint8_t *at = to->data;
    for (int k = 0; k < n; k++) {
        memcpy(at, from[k]->data, from[k]->size);
        at += from[k]->size;
    }
}

int conv_beside_new(const struct conv *v, int n, struct conv_beside **out, struct err *err)
{
    struct conv_beside *b = mem_alloc(sizeof *b);
    const int64_t sum = count_columns(v, n), dims[] = {sum, v->ic, 1, 1};
    b->n = n;
    for (int k = 0; k < n; k++) {
        b->w[k] = tensor_ref(v[k].wt);
        b->bias[k] = v[k].bias ? tensor_ref(v[k].bias) : NULL;
    }
    int rc = tensor_new(DT_F32, COUNT(dims), dims, NULL, &b->all_w, err);
    rc = rc || !v->bias ? rc : tensor_new(DT_F32, 1, &sum, NULL, &b->all_bias, err);
    if (!rc) {
        join_rows(b->w, n, b->all_w);
        if (v->bias) {
            join_rows(b->bias, n, b->all_bias);
        }
        rc = conv_dense_pack(b->all_w, 1, 0, &b->form, err);
    }
    if (rc) {
        conv_beside_free(b);
        return rc;
    }
    *out = b;
    return OK;
}

bool conv_beside_fits(const struct conv *v, int n)
{
    bool fits = n <= BESIDE_MOST && count_columns(v, n) <= F32_LANES;
    for (int k = 0; k < n; k++) {
        fits = fits && conv_is_pixel(&v[k]) && v[k].x == v->x && !v[k].bias == !v->bias;
    }
    return fits;
}

bool conv_beside_is(const struct conv_beside *b, const struct conv *v, int n)
{
    bool is = b->n == n;
    for (int k = 0; is && k < n; k++) {
        is = b->w[k] == v[k].wt && b->bias[k] == v[k].bias;
    }
    return is;
}

struct job {
    const struct conv *v;
    int n;
    const float *sums; /* [pixels][columns], with a unit of room behind them */
    size_t columns;
    const struct f32_dest *y;
};

/* y [n][c] = the first c of each of n rows. A unit is copied for each; what is too much the next
 * ones overwrite. */
static void take_columns(const float *x, size_t pitch, size_t n, size_t c, float *y)
{
    size_t i = 0;
    for (; i * c + F32_LANES <= n * c; i++) {
        memcpy(y + i * c, x + i * pitch, F32_LANES * sizeof *y);
    }
    for (; i < n; i++) {
        memcpy(y + i * c, x + i * pitch, c * sizeof *y);
    }
}

/* Pixels [from, to) of all convolutions. */
static void take_apart(void *ctx, size_t from, size_t to)
{
    const struct job *j = ctx;
    const float *x = j->sums + from * j->columns;
    for (int k = 0; k < j->n; k++) {
        const size_t c = (size_t)j->v[k].oc, n = to - from;
        float *raw = j->y[k].raw ? j->y[k].raw + from * c : NULL;
        float *act = j->y[k].act ? j->y[k].act + from * c : NULL;
        take_columns(x, j->columns, n, c, raw ? raw : act);
        if (act) {
            elem_finish_f32(n * c, raw ? raw : act, NULL, j->y[k].lo, j->y[k].hi, act);
        }
        x += c;
    }
}

int conv_beside_run(const struct conv_beside *b, const struct conv *v, const struct f32_dest *y,
                    struct par *par, struct budget *budget, struct err *err)
{
    enum { PIXELS = 512 };
    const int64_t columns = count_columns(v, b->n), pixels = v->w.n * v->w.out_n;
    const int64_t room = pixels * columns + F32_LANES;
    struct tensor *sums = NULL;
    struct conv all = *v;
    all.oc = columns;
    all.wt = b->all_w;
    all.bias = b->all_bias;
    int rc = tensor_new(DT_F32, 1, &room, budget, &sums, err);
    if (!rc) {
        const struct f32_dest to = {.raw = sums->data};
        rc = conv_dense_run(&all, b->form, to, par, budget, err);
    }
    if (!rc) {
        struct job j = {v, b->n, sums->data, (size_t)columns, y};
        par_pieces(par, (size_t)pixels, PIXELS, take_apart, &j);
    }
    tensor_free(sums);
    return rc;
}
