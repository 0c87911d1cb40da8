/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * conv_scan.c: convolutions of few channels, as the first of a network: planes of the image are
 * read as they lie. Of each row of outputs the rows that it sees are copied with their padding, so
 * that every factor lies at one distance from the output that it belongs to.
 */
#include "engine/conv_f32.h"
#include "engine/par.h"

enum {
    ROOM = 12 << 10, /* floats of the rows that a row of outputs sees; on the stack of the thread */
    CHANNELS = 4,    /* most that are taken apart where they are last */
};

/* Outputs that the kernel computes at a time, at most. */
static size_t most_rows(const struct f32_kernels *k)
{
    size_t most = 0;
    for (size_t i = 0; i < COUNT(k->scan_rows); i++) {
        most = MAX(most, (size_t)k->scan_rows[i]);
    }
    return most;
}

bool conv_scan_fits(const struct conv *v)
{
    const struct window *w = &v->w;
    const struct f32_kernels *k = kernel_f32();
    const int64_t width = w->lo[2] + w->in[2] + w->hi[2];
    return k->scan && v->groups == 1 && !v->block && w->k[0] == 1 && w->in[0] == 1 &&
           w->out[0] == 1 && w->s[2] <= 2 && w->d[1] == 1 && w->d[2] == 1 &&
           w->out[2] >= (int64_t)most_rows(k) && (!v->x->channels_last || v->ic <= CHANNELS) &&
           v->ic * w->k_n <= SCAN_FACTORS &&
           f32_product_at_once((size_t)w->k[1], (size_t)(w->k[2] * v->ic)) &&
           width <= ROOM / (v->ic * w->k[1]);
}

/* y [channels][room] = x [n][channels]. */
VECTOR_CLONES static void take_apart(const float *restrict x, size_t n, size_t channels,
                                     float *restrict y, size_t room)
{
    if (channels == 3) { /* colours */
        for (size_t i = 0; i < n; i++) {
            y[i] = x[3 * i];
            y[room + i] = x[3 * i + 1];
            y[2 * room + i] = x[3 * i + 2];
        }
        return;
    }
    for (size_t k = 0; k < channels; k++) {
        for (size_t i = 0; i < n; i++) {
            y[k * room + i] = x[i * channels + k];
        }
    }
}

/* Row h of all channels of an image, padded, to y and every `room` floats behind it. */
static void copy_row(const struct scan_job *j, int64_t image, int64_t h, float *y, size_t room)
{
    const struct window *w = &j->v->w;
    const size_t lo = (size_t)w->lo[2], hi = (size_t)w->hi[2], n = (size_t)w->in[2];
    const bool inside = h >= 0 && h < w->in[1];
    const float *x = (const float *)j->v->x->data + image * w->c * w->in_n;
    for (int64_t c = 0; c < w->c; c++) {
        float *to = y + (size_t)c * room;
        memset(to, 0, (inside ? lo : j->width) * sizeof *to);
        memset(to + lo + n, 0, hi * sizeof *to);
        if (inside && !j->v->x->channels_last) {
            memcpy(to + lo, x + c * w->in_n + h * w->in[2], n * sizeof *to);
        }
    }
    if (inside && j->v->x->channels_last) {
        take_apart(x + h * w->in[2] * w->c, n, (size_t)w->c, y + lo, room);
    }
}

/* The columns of one panel for a row of outputs, whose first is pixel `first` of all. The last
 * outputs are computed twice rather than one by one; they are the same. */
static void scan_panel(const struct scan_job *j, const float *x, size_t panel, size_t first)
{
    const struct window *w = &j->v->w;
    const struct f32_panels *p = j->panels;
    const size_t col = f32_panels_column(p, panel), end = f32_panels_column(p, panel + 1);
    const size_t rows = j->kernels->scan_rows[(end - col) / F32_LANES], n = (size_t)w->out[2];
    struct f32_scan s = {
        .at = j->at,
        .factors = p->k,
        .step = (size_t)w->s[2],
        .w = p->w + col * p->k,
        .n = MIN(end, p->n) - col,
        .bias = j->v->bias ? (const float *)j->v->bias->data + col : NULL,
        .y = j->y,
    };
    for (size_t o = 0; o < n; o += rows) {
        const size_t from = MIN(o, n - rows), to = (first + from) * j->y.pitch + col;
        s.x = x + from * s.step;
        s.y.raw = j->y.raw ? j->y.raw + to : NULL;
        s.y.act = j->y.act ? j->y.act + to : NULL;
        j->kernels->scan(&s);
    }
}

static void run_row(const struct scan_job *j, size_t i)
{
    const struct window *w = &j->v->w;
    const int64_t image = (int64_t)i / w->out[1], top = (int64_t)i % w->out[1] * w->s[1] - w->lo[1];
    _Alignas(sizeof(float) * F32_LANES) float rows[ROOM]; /* [c][kh][width] */
    for (int64_t k = 0; k < w->k[1]; k++) {
        copy_row(j, image, top + k, rows + (size_t)k * j->width, (size_t)w->k[1] * j->width);
    }
    for (size_t panel = 0; panel < j->panels->count; panel++) {
        scan_panel(j, rows, panel, i * (size_t)w->out[2]);
    }
}

void conv_scan_rows(const struct scan_job *j, size_t from, size_t end)
{
    for (size_t i = from; i < end; i++) {
        run_row(j, i);
    }
}

void conv_scan_begin(const struct conv *v, const void *form, struct f32_dest y, struct scan_job *j)
{
    const struct window *w = &v->w;
    *j = (struct scan_job){
        .v = v, .panels = conv_dense_panels(form), .kernels = kernel_f32(), .y = y};
    j->width = (size_t)(w->lo[2] + w->in[2] + w->hi[2]);
    j->y.pitch = (size_t)v->oc;
    size_t n = 0;
    for (int64_t h = 0; h < w->k[1]; h++) {
        for (int64_t q = 0; q < w->k[2]; q++) {
            for (int64_t c = 0; c < v->ic; c++) {
                j->at[n++] = (uint32_t)((size_t)(c * w->k[1] + h) * j->width + (size_t)q);
            }
        }
    }
}

static void run_item(void *ctx, size_t i)
{
    run_row(ctx, i);
}

void conv_scan_run(const struct conv *v, const void *form, struct f32_dest y, struct par *par)
{
    struct scan_job j;
    conv_scan_begin(v, form, y, &j);
    par_for(par, (size_t)(v->w.n * v->w.out[1]), run_item, &j);
}
