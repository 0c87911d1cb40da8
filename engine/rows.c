/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * rows.c: see rows.h. Threads take strips of the images; what reads rows of two strips comes when
 * both are there.
 */
#include "engine/rows.h"
#include "engine/par.h"

enum {
    STRIPS = 4,   /* parts of an image per thread, when there are several */
    PIXELS = 192, /* that the first node computes at a time, if a row is not more */
};

/* Rows [from, end) of a node's outputs are those of a strip; from `seam` on they read rows of the
 * next strip, too. */
struct strip {
    int64_t from, seam, end;
};

struct line {
    struct rows nodes[ROWS_MOST];
    int n;
    int64_t strips; /* of an image */
    int seam;       /* node whose seams are computed */
};

/* The first row of outputs that reads row h or a later one first. */
static int64_t first_from(const struct window *w, int64_t h)
{
    const int64_t first = h <= 0 ? 0 : (h + w->lo[1] + w->s[1] - 1) / w->s[1];
    return h >= w->in[1] ? w->out[1] : MIN(first, w->out[1]);
}

/* Rows of outputs [0, n) need no rows of the input from h on. */
static int64_t done_at(const struct window *w, int64_t h)
{
    const int64_t room = h + w->lo[1] - (w->k[1] - 1) * w->d[1] - 1; /* last start of a window */
    return h >= w->in[1] ? w->out[1] : room < 0 ? 0 : MIN(room / w->s[1] + 1, w->out[1]);
}

/* Strip i of an image, for every node up to `last`. */
static void find_strips(const struct line *l, int64_t i, int last, struct strip *s)
{
    const int64_t rows = l->nodes[0].w.out[1], end = (i + 1) * rows / l->strips;
    s[0] = (struct strip){i * rows / l->strips, end, end};
    for (int k = 1; k <= last; k++) {
        const struct window *w = &l->nodes[k].w;
        s[k].from = first_from(w, s[k - 1].from);
        s[k].end = first_from(w, s[k - 1].end);
        s[k].seam = MIN(MAX(done_at(w, s[k - 1].seam), s[k].from), s[k].end);
    }
}

/* Rows [from, end) of node k; those of the next one that come then: [next, next_end). */
static void run_rows(const struct line *l, int k, int64_t image, int64_t from, int64_t end,
                     int64_t next, int64_t next_end)
{
    const struct rows *r = &l->nodes[k], *behind = &l->nodes[k + 1];
    const int64_t first = image * r->w.out[1];
    struct f32_later later = {0};
    if (next < next_end) {
        const float *const all[] = {behind->y.raw, behind->y.act};
        const size_t at = (size_t)(image * behind->w.out[1] + next) * behind->row;
        for (size_t i = 0; i < COUNT(all); i++) {
            later.at[i] = all[i] ? all[i] + at : NULL;
            later.end[i] = all[i] ? later.at[i] + (size_t)(next_end - next) * behind->row : NULL;
        }
    }
    if (from < end) {
        r->run(r->job, (size_t)(first + from), (size_t)(first + end), &later);
    }
}

/* Item i: a strip of an image. */
static void run_strip(void *ctx, size_t i)
{
    const struct line *l = ctx;
    const int64_t image = (int64_t)i / l->strips;
    const int64_t each = MAX(PIXELS / l->nodes[0].w.out[2], 1);
    struct strip s[ROWS_MOST];
    find_strips(l, (int64_t)i % l->strips, l->n - 1, s);
    for (int64_t from = s[0].from; from < s[0].end; from += each) {
        int64_t first = from, end = MIN(from + each, s[0].end);
        for (int k = 0; k < l->n; k++) {
            int64_t next = 0, next_end = 0;
            if (k + 1 < l->n) {
                const struct window *w = &l->nodes[k + 1].w;
                next = s[k + 1].from;
                next_end = MAX(MIN(done_at(w, end), s[k + 1].seam), next);
                s[k + 1].from = next_end;
            }
            run_rows(l, k, image, first, end, next, next_end);
            first = next;
            end = next_end;
        }
    }
}

/* Item i: what strips left of node l->seam. */
static void run_seam(void *ctx, size_t i)
{
    const struct line *l = ctx;
    struct strip s[ROWS_MOST];
    find_strips(l, (int64_t)i % l->strips, l->seam, s);
    run_rows(l, l->seam, (int64_t)i / l->strips, s[l->seam].seam, s[l->seam].end, 0, 0);
}

static void run_line(struct line *l, struct par *par)
{
    const struct window *w = &l->nodes[0].w;
    const size_t threads = par_threads(par);
    const int64_t strips = threads > 1 ? STRIPS * (int64_t)threads : 1;
    l->strips = MIN(strips, w->out[1]);
    par_for(par, (size_t)(w->n * l->strips), run_strip, l);
    for (l->seam = 1; l->seam < l->n; l->seam++) {
        par_for(par, (size_t)(w->n * l->strips), run_seam, l);
    }
}

/* Readies call k; `first`: nothing is in front of it. */
static bool ready(struct line *l, struct op_call *const *calls, int k)
{
    struct op_call *c = calls[k];
    if (k) {
        const struct op_call *front = calls[k - 1];
        const struct rows *r = &l->nodes[k - 1];
        if (r->row * (size_t)r->w.out[1] < ROWS_WORTH) {
            return false;
        }
        c->in[0] = front->tail ? front->tail_out : front->out[0];
        c->channels_last = true;
    }
    return c->op->rows && c->op->rows(c, k == 0, &l->nodes[k]);
}

int rows_run(struct op_call *const *calls, int n)
{
    struct line l = {0};
    while (l.n < n && ready(&l, calls, l.n)) {
        l.n++;
    }
    const int made = l.n > 1 ? l.n : 0;
    if (made) {
        run_line(&l, calls[0]->par);
    }
    for (int k = 0; k < l.n; k++) {
        l.nodes[k].free(l.nodes[k].job);
    }
    if (!made && l.n) {
        op_drop(calls[0]);
    }
    return made;
}
