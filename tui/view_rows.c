/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_rows.c: what stands in which row of a list view and where its cursor is. A cursor in the
 * first row stays there while a run changes the ranking; in any other row it stays with its layer
 * or image.
 */
#include <stdlib.h>

#include "tui/graph.h"

enum { CHROME_ROWS = 10, SCREEN_ROWS = 24 }; /* rows a list view does not have for its list */

/* Keeps the items that fulfil the filter; returns how many. What cannot be judged does not. */
static size_t rows_keep(const struct session *s, struct rows *r, const char *filter,
                        int (*where)(const struct session *s, size_t item, const char *expr,
                                     bool *yes, struct err *err))
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n_items; i++) {
        struct err err = {0};
        bool yes;
        if (where(s, r->item[i], filter, &yes, &err) == OK && yes)
            r->item[kept++] = r->item[i];
    }
    return kept;
}

static void rows_layers(const struct session *s, struct rows *r)
{
    const struct ui *ui = &s->ui;
    r->item = mem_alloc((s->match.n_layers + 1) * sizeof(*r->item));
    if (s->fp32 || s->int8)
        r->n_items = session_layer_order(s, ui->sort, ui->sort_dir, r->item);
    if (ui->layer_filter[0]) {
        r->n = r->n_items = rows_keep(s, r, ui->layer_filter, layer_where);
        return;
    }
    r->n = r->n_items + (s->fp32 || s->int8 ? s->match.n_unmatched : 0);
}

static void rows_all_images(const struct session *s, struct rows *r)
{
    const struct study *st = s->study;
    const size_t n = st ? st->n_images : s->data.n;
    r->item = mem_alloc((n + 1) * sizeof(*r->item));
    if (!st || n == 0) {
        for (r->n_items = 0; r->n_items < s->data.n && r->n_items < n; r->n_items++)
            r->item[r->n_items] = r->n_items;
        return;
    }
    size_t *order = mem_alloc(n * sizeof(*order));
    const size_t shown = session_image_order(s, s->ui.image_sort, s->ui.image_dir, order);
    for (size_t i = 0; i < shown; i++) {
        const struct image_score *sc = &st->images[order[i]];
        if (sc->image < s->data.n && (!s->ui.flips_only || sc->flip != FLIP_NONE))
            r->item[r->n_items++] = sc->image;
    }
    free(order);
}

static void rows_images(const struct session *s, struct rows *r)
{
    rows_all_images(s, r);
    if (s->ui.image_filter[0])
        r->n_items = rows_keep(s, r, s->ui.image_filter, image_where);
    r->n = r->n_items;
}

/* Layers that would gain something, most first. */
static void rows_whatif(const struct session *s, struct rows *r)
{
    double *gain = whatif_gains(s);
    const size_t from = r->n_items;
    for (size_t i = 0; gain && i < s->match.n_layers; i++) {
        if (!(gain[i] > 0) || session_pinned(s, i) || session_pin_pending(s, i))
            continue;
        size_t at = r->n_items++;
        for (; at > from && gain[r->item[at - 1]] < gain[i]; at--)
            r->item[at] = r->item[at - 1];
        r->item[at] = i;
    }
    free(gain);
}

static void rows_pins(const struct session *s, struct rows *r)
{
    r->item = mem_alloc((s->match.n_layers + 1) * sizeof(*r->item));
    if (!s->fp32 && !s->int8)
        return;
    for (size_t i = 0; i < s->match.n_layers; i++)
        if (session_pinned(s, i) || session_pin_pending(s, i))
            r->item[r->n_items++] = i;
    rows_whatif(s, r);
    r->n = r->n_items;
}

/* Where the item with the cursor stands now; `row` is where the cursor was put. */
static size_t cursor_row(const struct rows *r, size_t row, size_t item)
{
    if (r->n == 0 || row == 0)
        return 0;
    if (row >= r->n_items)
        return MIN(row, r->n - 1);
    for (size_t i = 0; i < r->n_items; i++)
        if (r->item[i] == item)
            return i;
    return MIN(row, r->n - 1);
}

struct rows rows_of(const struct session *s, enum view_id view)
{
    struct rows r = {0};
    switch (view) {
    case VIEW_LAYERS:
        rows_layers(s, &r);
        r.cursor = cursor_row(&r, s->ui.layer_row, s->ui.layer);
        break;
    case VIEW_LAYER:
        rows_layers(s, &r);
        r.n = r.n_items;
        for (size_t i = 0; i < r.n_items; i++)
            if (r.item[i] == s->ui.layer)
                r.cursor = i;
        break;
    case VIEW_IMAGES:
        rows_images(s, &r);
        r.cursor = cursor_row(&r, s->ui.image_row, s->ui.image);
        break;
    case VIEW_GRAPH:
        r.n = r.n_items = s->rows ? s->rows->n : 0;
        r.item = mem_alloc((r.n + 1) * sizeof(*r.item));
        for (size_t i = 0; i < r.n; i++)
            r.item[i] = (size_t)s->rows->row[i].node;
        r.cursor = graph_cursor(s);
        break;
    case VIEW_PINS:
        rows_pins(s, &r);
        r.cursor = r.n ? MIN(s->ui.pin_row, r.n - 1) : 0;
        break;
    default: /* the log's cursor counts from the end, so that it follows new lines */
        r.n = r.n_items = s->n_log;
        r.cursor = r.n ? r.n - 1 - MIN(s->ui.log_row, r.n - 1) : 0;
        break;
    }
    return r;
}

void rows_fini(struct rows *r)
{
    free(r->item);
    *r = (struct rows){0};
}

size_t rows_top(const struct rows *r, int height)
{
    const size_t h = (size_t)MAX(height, 1);
    if (r->n <= h || r->cursor < h / 2)
        return 0;
    return MIN(r->cursor - h / 2, r->n - h);
}

static long current_item(const struct session *s, enum view_id view)
{
    struct rows r = rows_of(s, view);
    const long item = r.cursor < r.n_items ? (long)r.item[r.cursor] : -1;
    rows_fini(&r);
    return item;
}

long view_current_layer(const struct session *s)
{
    if (!s->fp32 && !s->int8)
        return -1;
    if (s->ui.view == VIEW_LAYERS || s->ui.view == VIEW_PINS)
        return current_item(s, s->ui.view);
    if (s->ui.view == VIEW_GRAPH) {
        const struct graph_row *r = s->rows->n ? &s->rows->row[graph_cursor(s)] : NULL;
        return r && !r->hidden ? s->map->nodes[r->node].layer : -1;
    }
    return s->ui.layer < s->match.n_layers ? (long)s->ui.layer : -1;
}

long view_current_image(const struct session *s)
{
    if (s->ui.view == VIEW_IMAGES)
        return current_item(s, VIEW_IMAGES);
    return s->ui.image < s->data.n ? (long)s->ui.image : -1;
}

size_t view_marked(const struct session *s)
{
    size_t n = 0;
    if (s->ui.view == VIEW_IMAGES)
        for (size_t i = 0; i < s->data.n; i++)
            n += s->data.samples[i].marked;
    else if ((s->ui.view == VIEW_LAYERS || s->ui.view == VIEW_GRAPH) && s->marked)
        for (size_t i = 0; i < s->match.n_layers; i++)
            n += s->marked[i];
    return n;
}

int view_page(int screen_rows)
{
    return MAX(1, (screen_rows > 0 ? screen_rows : SCREEN_ROWS) - CHROME_ROWS);
}

char view_layer_state(const struct session *s, size_t layer)
{
    if (session_pin_pending(s, layer))
        return '~';
    if (session_pinned(s, layer))
        return session_pin_mark(s, layer);
    return s->match.layers[layer].quantized ? '.' : 'f';
}
