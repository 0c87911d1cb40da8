/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * screen.h: private to screen*.c: the full screen while it is up.
 */
#ifndef TUI_SCREEN_H
#define TUI_SCREEN_H

#include "tui/front.h"
#include "tui/view.h"

struct screen {
    struct session *s;
    struct terminal *term;
    struct grid *grid;
    char in[4096]; /* bytes not yet decoded */
    size_t n_in;
    bool gone;        /* the terminal is no more */
    bool editing;     /* the command line is open */
    bool repl;        /* it opens again after each line, in the log view */
    struct ui before; /* what the cursor was on when it opened */
    char *searched;   /* text of the last incremental search */
    bool tried;       /* to make a picture of these */
    enum view_id tried_view;
    size_t tried_layer, tried_image;
    struct shown {         /* the picture of pixels on the screen */
        enum graphics how; /* GRAPHICS_AUTO: there is none */
        enum view_id view;
        size_t layer, image;
        int channel;
        struct rect at;
    } shown;
    bool job_seen; /* a run was going on at the last paint */
};

/* ---- Pictures (screen_picture.c) --------------------------------------------------------------
 */
/* What there is to be shown in pixels. */
struct shown pixels_wanted(const struct screen *sc);
/* Before the cells are painted: a picture that is no more wanted goes with a paint of all cells. */
void pixels_leave(struct screen *sc, const struct shown *wanted);
/* After them, since it lies above. What cannot be shown is tried, and its error said, once. */
int pixels_show(struct screen *sc, const struct shown *wanted, struct err *err);
/* Pictures cost a run of both models or the reading of a file: they are made when no key comes.
 * The command that makes what the view lacks, or NULL. */
const char *picture_wanted(const struct screen *sc);

#endif
