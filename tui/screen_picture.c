/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * screen_picture.c: pictures of the full screen: those in pixels, which lie above the cells, and
 * when one is to be made.
 */
#include <stdlib.h>

#include "tui/graphics.h"
#include "tui/screen.h"

struct shown pixels_wanted(const struct screen *sc)
{
    const struct session *s = sc->s;
    if (sc->grid->hole.rows == 0)
        return (struct shown){0};
    return (struct shown){
        graphics_for(s->set.graphics),         s->ui.view,    (size_t)MAX(view_current_layer(s), 0),
        (size_t)MAX(view_current_image(s), 0), s->ui.channel, sc->grid->hole};
}

static bool shown_same(const struct shown *a, const struct shown *b)
{
    return a->how == b->how && a->view == b->view && a->layer == b->layer && a->image == b->image &&
           a->channel == b->channel && a->at.row == b->at.row && a->at.col == b->at.col &&
           a->at.rows == b->at.rows && a->at.cols == b->at.cols;
}

void pixels_leave(struct screen *sc, const struct shown *wanted)
{
    if (sc->shown.how == GRAPHICS_AUTO || (shown_same(&sc->shown, wanted) && !sc->s->ui.redraw))
        return;
    if (sc->shown.how == GRAPHICS_KITTY)
        term_picture_forget(sc->term);
    sc->shown = (struct shown){0};
    sc->s->ui.redraw = true;
}

int pixels_show(struct screen *sc, const struct shown *wanted, struct err *err)
{
    struct image im = {0};
    char *bytes = NULL;
    size_t size = 0;
    int w, h;
    if (wanted->how == GRAPHICS_AUTO || shown_same(&sc->shown, wanted))
        return OK;
    sc->shown = *wanted;
    term_cell(&w, &h);
    int rc = graphics_image(sc->s, &im, err);
    if (rc == OK)
        rc = graphics_encode(wanted->how, &im, wanted->at.cols, wanted->at.rows, w, h, &bytes,
                             &size, err);
    if (rc == OK)
        term_picture(sc->term, wanted->at.row, wanted->at.col, bytes, size);
    image_fini(&im);
    free(bytes);
    return rc;
}

const char *picture_wanted(const struct screen *sc)
{
    const struct session *s = sc->s;
    const bool map = s->ui.view == VIEW_LAYER;
    const bool image_file =
        s->ui.view == VIEW_IMAGES && sc->grid && (sc->grid->cols >= VIEW_WIDE || s->ui.zoom);
    if ((!map && !image_file) || sc->editing || s->ui.help)
        return NULL;
    const long layer = map ? view_current_layer(s) : 0, image = view_current_image(s);
    if (layer < 0 || image < 0)
        return NULL;
    const struct capture *c = &s->capture;
    const bool have =
        map ? (c->fp32 || c->int8) && c->layer == (size_t)layer && c->image == (size_t)image
            : s->picture.luma && s->picture.image == (size_t)image;
    const bool tried = sc->tried && sc->tried_view == s->ui.view &&
                       sc->tried_layer == (size_t)layer && sc->tried_image == (size_t)image;
    return have || tried ? NULL : map ? "capture" : "picture";
}
