/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_screen.c: commands that show: a view as text, the feature map of an image, keys and what they
 * do. They make the screen testable without a terminal.
 */
#include <signal.h>
#include <stdlib.h>

#include "tui/cmd_ui.h"
#include "tui/graph.h"

static int exec_capture(struct call *c, struct err *err)
{
    struct session *s = c->s;
    long layer = view_current_layer(s), image = view_current_image(s);
    size_t chosen;
    int rc;
    if (c->n_args > 0) {
        if ((rc = ui_one_layer(s, c->args[0], &chosen, err)) != OK)
            return rc;
        layer = (long)chosen;
    }
    char *name = (char *)(uintptr_t)call_opt(c, "--image");
    if (name) {
        if ((rc = image_one(s, name, &chosen, err)) != OK)
            return rc;
        image = (long)chosen;
    }
    if (layer < 0 || image < 0)
        return err_set(err, E_STATE, "there is no %s to capture", layer < 0 ? "layer" : "image");
    const struct capture *have = &s->capture;
    if ((have->fp32 || have->int8) && have->layer == (size_t)layer && have->image == (size_t)image)
        return OK;
    return session_capture(s, (size_t)layer, (size_t)image, err);
}

static const struct opt_spec capture_opts[] = {
    {"--image", ARG_IMAGE, "IMAGE", "the image to run; the current one without", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

static int exec_picture(struct call *c, struct err *err)
{
    long image = view_current_image(c->s);
    size_t chosen;
    if (c->n_args > 0) {
        const int rc = image_one(c->s, c->args[0], &chosen, err);
        if (rc != OK)
            return rc;
        image = (long)chosen;
    }
    if (image < 0)
        return err_set(err, E_STATE, "there is no image to show");
    if (c->s->picture.luma && c->s->picture.image == (size_t)image)
        return OK;
    return session_picture(c->s, (size_t)image, err);
}

static int parse_size(const char *text, int *cols, int *rows, struct err *err)
{
    char *end;
    const long w = strtol(text, &end, 10);
    const long h = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
    if (*end || w < 1 || h < 1 || w > 4096 || h > 4096)
        return err_set(err, E_USAGE, "size '%s' is not COLSxROWS, such as 80x24", text);
    *cols = (int)w;
    *rows = (int)h;
    return OK;
}

static void emit_lines(struct call *c, char *text)
{
    json_t *lines = json_array();
    for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
        *end = '\0';
        json_array_append_new(lines, json_string(p));
    }
    emit_json(c, json_pack("{s:o}", "lines", lines));
}

static void print_grid(struct call *c, const struct grid *g)
{
    if (!c->s->json) {
        grid_print(g, c->out);
        return;
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    grid_print(g, f);
    fclose(f);
    emit_lines(c, text);
    free(text);
}

static int exec_screen(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const struct ui before = s->ui;
    int cols = 80, rows = 24;
    if (call_opt(c, "--size")) {
        const int rc = parse_size(call_opt(c, "--size"), &cols, &rows, err);
        if (rc != OK)
            return rc;
    }
    for (int i = 0; c->n_args && i < N_VIEWS; i++)
        if (strcmp(views[i]->name, c->args[0]) == 0)
            ui_view_choose(s, (enum view_id)i);
    s->ui.rows = rows;
    s->ui.cols = cols;
    graph_update(s);
    if (s->ui.view == VIEW_LAYER && view_current_layer(s) >= 0 && view_current_image(s) >= 0) {
        /* A picture that cannot be made is said in the view, it does not keep the rest away. */
        struct err why = {0};
        cmd_line(s, "capture", c->out, c->note, &why);
    }
    if (s->ui.view == VIEW_IMAGES && (cols >= VIEW_WIDE || s->ui.zoom) &&
        view_current_image(s) >= 0) {
        struct err why = {0};
        cmd_line(s, "picture", c->out, c->note, &why);
    }
    struct grid *g = grid_new(rows, cols, s->set.ascii || call_opt(c, "--ascii"));
    view_draw(s, g);
    print_grid(c, g);
    grid_free(g);
    s->ui = before;
    graph_update(s);
    return OK;
}

static int exec_zoom(struct call *c, struct err *err)
{
    struct session *s = c->s;
    if (!zoom_possible(s))
        return err_set(err, E_STATE, "this view has no picture; the layer and images views do");
    s->ui.zoom = !s->ui.zoom;
    return OK;
}

static const struct opt_spec screen_opts[] = {
    {"--size", ARG_WORD, "COLSxROWS", "80x24 without", NULL},
    {"--ascii", ARG_FLAG, NULL, "no characters beyond ASCII", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

static int exec_key(struct call *c, struct err *err)
{
    struct session *s = c->s;
    int rc = OK;
    for (size_t i = 0; i < c->n_args && rc == OK; i++) {
        const char *view = views[s->ui.view]->name;
        const struct key *k = key_find(s, view, c->args[i]);
        if (!k)
            return err_set(err, E_USAGE, "view '%s' has no key '%s'", view, c->args[i]);
        if (k->line[0] == ':')
            return err_set(err, E_STATE, "key '%s' opens the command line of the screen", k->key);
        char *line = key_line(s, k, err);
        rc = line ? cmd_line(s, line, c->out, c->note, err) : err->code;
        free(line);
    }
    return rc;
}

static int exec_keys(struct call *c, struct err *err)
{
    struct session *s = c->s;
    (void)err;
    if (s->json) {
        json_t *list = json_array();
        for (const struct key *k = keymap; k->view; k++)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s?}", "view", k->view, "key",
                                                  k->key, "line", k->line, "help", k->help));
        emit_json(c, json_pack("{s:o}", "keys", list));
    } else if (s->screen) {
        s->ui.help = !s->ui.help;
        s->ui.help_row = 0;
    } else {
        help_print(c->out, s, views[s->ui.view]->name);
    }
    return OK;
}

static int exec_suspend(struct call *c, struct err *err)
{
    (void)c;
    (void)err;
    raise(SIGTSTP); /* the screen gives the terminal back first */
    return OK;
}

static int exec_redraw(struct call *c, struct err *err)
{
    (void)err;
    c->s->ui.redraw = true;
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

const struct cmd cmd_screen[] = {
    {
        .name = "screen",
        .group = "screen",
        .help = "prints a view as text, as the screen shows it",
        .detail = "Without VIEW it is the current one. This is how tests and bug reports show a "
                  "screen.",
        .example = "screen layers --size 100x30 --ascii",
        .args = {{"VIEW", ARG_CHOICE, UI_VIEW_WORDS, true, false}},
        .opts = screen_opts,
        .exec = exec_screen,
    },
    {
        .name = "key",
        .group = "screen",
        .help = "does what keys would do on the screen",
        .detail = "Keys are named as in `keys`: j, Down, PgUp, Enter, Space, ^D, S-Tab.",
        .example = "key j Enter q",
        .args = {{"KEY", ARG_KEY, NULL, false, true}},
        .exec = exec_key,
    },
    {
        .name = "keys",
        .group = "screen",
        .help = "shows keys and commands",
        .detail = "On the screen it opens or closes the help; elsewhere it prints the same.",
        .example = "keys",
        .unrecorded = true,
        .exec = exec_keys,
    },
    {
        .name = "capture",
        .group = "screen",
        .help = "runs one image and keeps a layer's values for the feature map",
        .detail = "The screen does this by itself when the layer view is left in peace for a "
                  "moment.",
        .example = "capture @1",
        .needs = NEED_MODEL | NEED_DATA,
        .args = {{"LAYER", ARG_LAYER, NULL, true, false}},
        .opts = capture_opts,
        .exec = exec_capture,
    },
    {
        .name = "picture",
        .group = "screen",
        .help = "reads an image file for the images view",
        .detail = "The screen does this by itself when a wide images view is left in peace for a "
                  "moment.",
        .example = "picture @1",
        .needs = NEED_DATA,
        .args = {{"IMAGE", ARG_IMAGE, NULL, true, false}},
        .exec = exec_picture,
    },
    {
        .name = "zoom",
        .group = "screen",
        .help = "gives the picture of the view the whole screen, or takes it back",
        .detail = "In the layer view these are the feature maps of the channel, in the images view "
                  "it is the image. `set graphics` says how it is shown: by the sequences of kitty "
                  "or sixel where program and terminal have them, else in cells.",
        .example = "zoom",
        .exec = exec_zoom,
    },
    {
        .name = "redraw",
        .group = "screen",
        .help = "paints the whole screen again",
        .detail = "For terminals that another program has written on.",
        .example = "redraw",
        .unrecorded = true,
        .exec = exec_redraw,
    },
    {
        .name = "suspend",
        .group = "screen",
        .help = "goes back to the shell for now; its `fg` returns",
        .detail = "A run that is under way stops with it.",
        .example = "suspend",
        .unrecorded = true,
        .needs = NEED_SCREEN,
        .exec = exec_suspend,
    },
    {0},
};
