/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * picture.c: image files as the images view shows them: in grey, no larger than a screen needs.
 */
#include <stdlib.h>

#include "tui/tui.h"

void session_picture_clear(struct session *s)
{
    free(s->picture.luma);
    s->picture = (struct picture){0};
}

/* Mean luminance (ITU-R BT.601) of a square of pixels, cut at the edges of the image. */
static float mean_luma(const struct image *im, size_t x0, size_t y0, size_t side)
{
    double sum = 0;
    size_t n = 0;
    for (size_t y = y0; y < MIN(y0 + side, (size_t)im->h); y++) {
        for (size_t x = x0; x < MIN(x0 + side, (size_t)im->w); x++, n++) {
            const uint8_t *px = im->px + (y * (size_t)im->w + x) * (size_t)im->channels;
            sum += im->channels == 1 ? px[0] : 0.299 * px[0] + 0.587 * px[1] + 0.114 * px[2];
        }
    }
    return (float)(sum / (double)n);
}

int session_picture(struct session *s, size_t image, struct err *err)
{
    enum { SIDE_MOST = 320 }; /* more than a screen has cells */
    struct image im;
    session_picture_clear(s);
    int rc = image_load(s->data.samples[image].path, &im, err);
    if (rc) {
        return rc;
    }
    size_t step = ((size_t)MAX(im.w, im.h) + SIDE_MOST - 1) / SIDE_MOST;
    struct picture p = {.image = image, .full_w = im.w, .full_h = im.h};
    p.w = ((size_t)im.w + step - 1) / step;
    p.h = ((size_t)im.h + step - 1) / step;
    p.luma = mem_alloc(p.w * p.h * sizeof *p.luma);
    for (size_t y = 0; y < p.h; y++) {
        for (size_t x = 0; x < p.w; x++) {
            p.luma[y * p.w + x] = mean_luma(&im, x * step, y * step, step);
        }
    }
    image_fini(&im);
    s->picture = p;
    return OK;
}
