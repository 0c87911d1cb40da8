/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_layer.c: one layer in depth: facts, histogram of both sides against the integer range,
 * channels, and the feature map of one channel on one image.
 */
#include "tui/view.h"

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    const long layer = view_current_layer(s);
    if (layer < 0) {
        grid_text(g, top + 1, 3, -1, ST_NORMAL,
                  "No layer is chosen: load models, then 1 and Enter.");
        return;
    }
    struct rect r = {top, 1, rows, g->cols - 2};
    r.rows = MIN(rows, g->cols >= 110 ? 6 : 7);
    int used = draw_facts(s, g, r, (size_t)layer);
    r.row += used;
    int left = rows - used;
    r.rows = left >= 14 ? MIN(6, left - 10) : 0;
    used = r.rows ? draw_evidence(s, g, r, (size_t)layer) : 0;
    r.row += used;
    left -= used;
    /* Histogram and feature map share what is left over; the strip of channels takes three lines.
     */
    const int strip = left >= 12 ? 3 : left >= 8 ? 2 : 0;
    r.rows = left >= 10 ? (left - strip) * 9 / 20 : left - strip;
    draw_histogram(s, g, r, (size_t)layer);
    r.row += r.rows;
    left -= r.rows;
    r.rows = strip;
    used = strip ? draw_channels(s, g, r, (size_t)layer) : 0;
    r.row += used;
    r.rows = left - used;
    draw_maps(s, g, r, (size_t)layer);
}

const struct view view_layer = {
    .name = "layer",
    .title = "Layer",
    .help = "one layer: figures, histogram, channels, feature map",
    .draw = draw,
};
