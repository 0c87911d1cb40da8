/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_rows.c: convolutions that are computed row by row, see rows.h.
 */
#include "engine/conv_f32.h"

#include <stdlib.h>

struct job {
    struct conv v;
    union {
        struct dense_job dense;
        struct depth_job depth;
        struct scan_job scan;
    } as;
};

static void dense_rows(const void *job, size_t from, size_t end, struct f32_later *later)
{
    const struct dense_job *j = &((const struct job *)job)->as.dense;
    const size_t width = (size_t)j->v->w.out[2], first = from * width, n = (end - from) * width;
    const size_t blocks = (n + j->most - 1) / j->most;
    for (size_t k = 0; k < blocks; k++) {
        conv_dense_pixels(j, 0, first + k * n / blocks, first + (k + 1) * n / blocks, 0,
                          j->panels->count, later);
    }
}

static void depth_rows(const void *job, size_t from, size_t end, struct f32_later *later)
{
    (void)later;
    conv_depth_rows(&((const struct job *)job)->as.depth, from, end);
}

static void scan_rows(const void *job, size_t from, size_t end, struct f32_later *later)
{
    (void)later;
    conv_scan_rows(&((const struct job *)job)->as.scan, from, end);
}

static void dense_free(void *job)
{
    conv_dense_end(&((struct job *)job)->as.dense);
    free(job);
}

static void depth_free(void *job)
{
    conv_depth_end(&((struct job *)job)->as.depth);
    free(job);
}

bool conv_is_pixel(const struct conv *v)
{
    const struct window *w = &v->w;
    bool is = v->groups == 1 && !v->block && w->k_n == 1;
    for (int a = 0; a < WINDOW_RANK; a++) {
        is = is && w->s[a] == 1 && !w->lo[a] && !w->hi[a];
    }
    return is;
}

static bool is_scan(const struct conv *v)
{
    return conv_dense_copies(v) && conv_scan_fits(v);
}

bool conv_rows_fit(const struct conv *v, bool depthwise)
{
    return rows_fit(&v->w) && (depthwise || conv_is_pixel(v) || is_scan(v));
}

int conv_rows_begin(const struct conv *v, bool depthwise, const void *form, struct f32_dest y,
                    struct budget *b, struct rows *r, struct err *err)
{
    struct job *j = mem_alloc(sizeof *j);
    j->v = *v;
    *r = (struct rows){.w = v->w, .y = y, .row = (size_t)(v->w.out[2] * v->oc * v->groups)};
    int rc = OK;
    if (depthwise) {
        rc = conv_depth_begin(&j->v, form, y, b, &j->as.depth, err);
        r->run = depth_rows;
        r->free = depth_free;
    } else if (is_scan(v)) {
        conv_scan_begin(&j->v, form, y, &j->as.scan);
        r->run = scan_rows;
        r->free = free;
    } else {
        rc = conv_dense_begin(&j->v, form, y, b, &j->as.dense, err);
        r->run = dense_rows;
        r->free = dense_free;
    }
    r->job = j;
    if (rc) {
        free(j);
    }
    return rc;
}
