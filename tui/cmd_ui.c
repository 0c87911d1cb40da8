/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_ui.c: commands that move in the screen: what most keys expand to. They work without a
 * terminal as well, so that a test or a script can walk through the views.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "tui/cmd_ui.h"
#include "tui/graph.h"

/* ---- Cursors -------------------------------------------------------------------------------- */

static void cursor_to(struct session *s, const struct rows *r, size_t row)
{
    struct ui *ui = &s->ui;
    if (r->n == 0)
        return;
    row = MIN(row, r->n - 1);
    const bool item = row < r->n_items;
    switch (ui->view) {
    case VIEW_LAYERS:
        ui->layer_row = row;
        ui->layer = item ? r->item[row] : ui->layer;
        break;
    case VIEW_LAYER:
        ui->layer_row = row;
        ui->layer = r->item[row];
        break;
    case VIEW_IMAGES:
        ui->image_row = row;
        ui->image = item ? r->item[row] : ui->image;
        break;
    case VIEW_GRAPH:
        ui->graph_node = (int)r->item[row];
        if (s->map->nodes[ui->graph_node].layer >= 0)
            ui->layer = (size_t)s->map->nodes[ui->graph_node].layer;
        break;
    case VIEW_PINS:
        ui->pin_row = row;
        break;
    default: {
        const size_t most = r->n - MIN(r->n, log_page(s, 0, false));
        ui->log_row = MIN(r->n - 1 - row, most);
        break;
    }
    }
}

static void help_scroll(struct session *s, int step)
{
    const int lines = help_lines(s, views[s->ui.view]->name);
    s->ui.help_row = MIN(MAX(s->ui.help_row + step, 0), MAX(lines - 1, 0));
}

static const struct {
    const char *name;
    int rows;  /* < 0: up; 0: to an end */
    bool page; /* `rows` are half pages */
    bool end;  /* the last row */
} moves[] = {
    {"down", 1, false, false},   {"up", -1, false, false},     {"pagedown", 2, true, false},
    {"pageup", -2, true, false}, {"halfdown", 1, true, false}, {"halfup", -1, true, false},
    {"top", 0, false, false},    {"bottom", 0, false, true},   {"to", 0, false, false},
};

static int exec_cursor(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const bool to = strcmp(c->args[0], "to") == 0;
    const int64_t where = c->n_args > 1 ? strtoll(c->args[1], NULL, 10) : 0;
    if (to != (c->n_args > 1) || (to && where < 1))
        return err_set(err, E_USAGE, "cursor to wants the number of a row, and only it does");
    struct rows r = rows_of(s, s->ui.view);
    for (size_t i = 0; i < COUNT(moves); i++) {
        if (strcmp(moves[i].name, c->args[0]) != 0)
            continue;
        const bool log = s->ui.view == VIEW_LOG && !s->ui.help && r.n;
        const int page =
            log ? (int)log_page(s, r.cursor, moves[i].rows < 0) : view_page(s->ui.rows);
        const int step = moves[i].rows * (moves[i].page ? MAX(page / 2, 1) : 1);
        if (to)
            cursor_to(s, &r, (size_t)(where - 1));
        else if (s->ui.help)
            help_scroll(s, step ? step : moves[i].end ? INT16_MAX : -s->ui.help_row);
        else if (step == 0)
            cursor_to(s, &r, moves[i].end ? SIZE_MAX : 0);
        else if (step < 0 && r.cursor < (size_t)-step)
            cursor_to(s, &r, 0);
        else
            cursor_to(s, &r, r.cursor + (size_t)step);
        break;
    }
    rows_fini(&r);
    return OK;
}

/* ---- Views ---------------------------------------------------------------------------------- */

/* The channel that INT8 hurts most: the one worth looking at first. */
static int worst_channel(const struct session *s, size_t layer)
{
    const struct metric *sqnr = metric_find("sqnr");
    if (!sqnr || !s->study || layer >= s->study->n_layers)
        return 0;
    const struct layer_stats *st = &s->study->layers[layer];
    double worst = INFINITY;
    int channel = 0;
    for (size_t i = 0; i < st->n_channels; i++) {
        const double v = sqnr->value(&st->channel[i], st->scale);
        if (v < worst) {
            worst = v;
            channel = (int)i;
        }
    }
    return channel;
}

static void ui_layer_choose(struct session *s, size_t layer)
{
    s->ui.layer = layer;
    s->ui.channel = worst_channel(s, layer);
}

void ui_view_choose(struct session *s, enum view_id view)
{
    if (view == VIEW_LAYER && s->ui.view != VIEW_LAYER) {
        const long layer = view_current_layer(s);
        if (layer >= 0)
            ui_layer_choose(s, (size_t)layer);
    }
    const long layer = view_current_layer(s);
    const bool enters = view == VIEW_GRAPH && s->ui.view != VIEW_GRAPH && s->map;
    s->ui.view = view;
    s->ui.log_col = 0;
    if (enters && layer >= 0)
        graph_go(s, s->map->of_layer[layer], true);
    s->ui.help = false;
}

/* Goes to a view that `back` leaves for the one shown now. */
static void view_over(struct session *s, enum view_id view)
{
    struct ui *ui = &s->ui;
    if (view != ui->view && ui->depth < (int)COUNT(ui->stack))
        ui->stack[ui->depth++] = ui->view;
    ui_view_choose(s, view);
}

static int exec_repl(struct call *c, struct err *err)
{
    (void)err;
    view_over(c->s, VIEW_LOG);
    c->s->ui.repl = c->s->screen;
    return OK;
}

static int exec_view(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const int here = (int)s->ui.view;
    (void)err;
    int to = here;
    if (strcmp(c->args[0], "next") == 0)
        to = (here + 1) % N_VIEWS;
    else if (strcmp(c->args[0], "previous") == 0)
        to = (here + N_VIEWS - 1) % N_VIEWS;
    for (int i = 0; i < N_VIEWS; i++)
        if (strcmp(views[i]->name, c->args[0]) == 0)
            to = i;
    if (call_opt(c, "--over")) {
        view_over(s, (enum view_id)to);
        return OK;
    }
    ui_view_choose(s, (enum view_id)to);
    s->ui.depth = 0;
    return OK;
}

static int exec_scroll(struct call *c, struct err *err)
{
    if (c->s->ui.view != VIEW_LOG || !log_scroll(c->s, strcmp(c->args[0], "left") == 0 ? -1 : 1))
        return err_set(err, E_STATE, "no table here is wider than the screen");
    return OK;
}

static const struct opt_spec view_opts[] = {
    {"--over", ARG_FLAG, NULL, "`back` returns from there to the view that was shown", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

int ui_one_layer(struct session *s, const char *word, size_t *layer, struct err *err)
{
    size_t n, *list;
    const int rc = layer_list(s, word, &n, &list, err);
    if (rc != OK)
        return rc;
    const size_t first = n ? list[0] : 0;
    free(list);
    if (n != 1)
        return err_set(err, E_USAGE, "'%s' stands for %zu layers, one is wanted", word, n);
    *layer = first;
    return OK;
}

/* What Enter leads to: a layer, or the layer that is worst for the image under the cursor. */
static int open_target(struct session *s, size_t *layer, struct err *err)
{
    if (s->ui.view == VIEW_IMAGES) {
        const long image = view_current_image(s);
        const struct image_score *sc = image >= 0 ? session_score(s, (size_t)image) : NULL;
        if (!sc || sc->worst_layer < 0)
            return err_set(err, E_STATE, "no layer is known for this image before a run");
        s->ui.image = (size_t)image;
        *layer = (size_t)sc->worst_layer;
        return OK;
    }
    const long current = s->ui.view == VIEW_LOG ? -1 : view_current_layer(s);
    if (current < 0)
        return err_set(err, E_STATE, "there is nothing to open under the cursor");
    *layer = (size_t)current;
    return OK;
}

/* A row of folded nodes: what is in it is shown. */
static bool open_fold(struct session *s)
{
    if (s->ui.view != VIEW_GRAPH || s->rows->n == 0 || !s->rows->row[graph_cursor(s)].hidden)
        return false;
    graph_go(s, s->rows->row[graph_cursor(s)].node, true);
    return true;
}

static int exec_open(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t layer = 0;
    if (c->n_args == 0 && open_fold(s))
        return OK;
    const int rc =
        c->n_args ? ui_one_layer(s, c->args[0], &layer, err) : open_target(s, &layer, err);
    if (rc != OK)
        return rc;
    if (s->ui.view != VIEW_LAYER && s->ui.depth < (int)COUNT(s->ui.stack))
        s->ui.stack[s->ui.depth++] = s->ui.view;
    s->ui.view = VIEW_LAYER;
    ui_layer_choose(s, layer);
    return OK;
}

static void unmark_all(struct session *s)
{
    for (size_t i = 0; s->ui.view == VIEW_IMAGES && i < s->data.n; i++)
        s->data.samples[i].marked = false;
    for (size_t i = 0; s->ui.view != VIEW_IMAGES && i < s->match.n_layers; i++)
        s->marked[i] = false;
}

static int exec_back(struct call *c, struct err *err)
{
    struct ui *ui = &c->s->ui;
    char *filter = ui->view == VIEW_LAYERS   ? ui->layer_filter
                   : ui->view == VIEW_IMAGES ? ui->image_filter
                                             : NULL;
    (void)err;
    if (ui->help)
        ui->help = false;
    else if (ui->zoom && zoom_possible(c->s))
        ui->zoom = false;
    else if (ui->find[0] && !call_opt(c, "--quit"))
        ui->find[0] = '\0';
    else if (filter && filter[0] && !call_opt(c, "--quit"))
        filter[0] = '\0';
    else if (view_marked(c->s) && call_opt(c, "--unmark"))
        unmark_all(c->s);
    else if (ui->depth > 0)
        ui->view = ui->stack[--ui->depth];
    else if (ui->view != VIEW_LAYERS)
        ui->view = VIEW_LAYERS;
    else if (call_opt(c, "--quit"))
        c->s->quit = true;
    return OK;
}

static const struct opt_spec back_opts[] = {
    {"--quit", ARG_FLAG, NULL, "leave the program from the first view", NULL},
    {"--unmark", ARG_FLAG, NULL, "where rows are marked, only take the marks away", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

/* ---- Choices of the layer view --------------------------------------------------------------- */

int ui_step(const char *word, size_t at, size_t n, size_t *out, struct err *err)
{
    char *end;
    if (n == 0)
        return err_set(err, E_STATE, "there is nothing to select");
    if (strcmp(word, "next") == 0)
        *out = (at + 1) % n;
    else if (strcmp(word, "previous") == 0)
        *out = (at + n - 1) % n;
    else {
        errno = 0;
        const unsigned long v = strtoul(word, &end, 10);
        if (!isdigit((unsigned char)word[0]) || *end || errno || v >= n)
            return err_set(err, E_USAGE, "'%s' is not a number from 0 to %zu, next or previous",
                           word, n - 1);
        *out = v;
    }
    return OK;
}

static int select_channel(struct session *s, const char *word, struct err *err)
{
    const long layer = view_current_layer(s);
    size_t n = 0, out = 0;
    if (layer >= 0 && s->study && (size_t)layer < s->study->n_layers)
        n = s->study->layers[layer].n_channels;
    if (n == 0 && layer >= 0 && (s->capture.fp32 || s->capture.int8) &&
        s->capture.layer == (size_t)layer)
        n = s->capture.stats.n_channels;
    const int rc = ui_step(word, (size_t)MAX(s->ui.channel, 0), n, &out, err);
    if (rc != OK)
        return err_in(err, "channel");
    s->ui.channel = (int)out;
    return OK;
}

static int select_image(struct session *s, char *word, struct err *err)
{
    const bool step = strcmp(word, "next") == 0 || strcmp(word, "previous") == 0;
    size_t image = s->ui.image;
    if (!step && image_one(s, word, &image, err) != OK)
        return err->code;
    struct rows r = rows_of(s, VIEW_IMAGES);
    size_t at = r.n, to = 0;
    for (size_t i = 0; i < r.n; i++)
        if (r.item[i] == image)
            at = i;
    int rc = OK;
    if (step && (rc = ui_step(word, at % MAX(r.n, 1), r.n, &to, err)) == OK)
        image = r.item[at = to];
    if (rc == OK) {
        s->ui.image = image;
        s->ui.image_row = at < r.n ? at : s->ui.image_row; /* a filter may keep it away */
    }
    rows_fini(&r);
    return rc;
}

/* The worst layer, or the next one or the one before in the ranking. */
static int worst_layer(struct session *s, const char *word, size_t *layer, struct err *err)
{
    const long here = view_current_layer(s);
    struct rows r = rows_of(s, VIEW_LAYERS);
    size_t at = 0, to = 0;
    for (size_t i = 0; i < r.n_items; i++)
        if ((long)r.item[i] == here)
            at = i;
    /* From nowhere the first step leads to the worst. */
    if (here < 0 && r.n_items && strcmp(word, "next") == 0)
        at = r.n_items - 1;
    const int rc = ui_step(strcmp(word, "first") == 0 ? "0" : word, at, r.n_items, &to, err);
    if (rc == OK)
        *layer = r.item[to];
    rows_fini(&r);
    return rc;
}

void ui_layer_go(struct session *s, size_t layer)
{
    ui_layer_choose(s, layer);
    if (s->ui.view == VIEW_GRAPH)
        graph_go(s, s->map->of_layer[layer], true);
    struct rows r = rows_of(s, VIEW_LAYERS);
    for (size_t i = 0; i < r.n_items; i++)
        if (r.item[i] == layer)
            s->ui.layer_row = i;
    rows_fini(&r);
}

static int exec_select(struct call *c, struct err *err)
{
    struct session *s = c->s;
    if (strcmp(c->args[0], "channel") == 0)
        return select_channel(s, c->args[1], err);
    if (strcmp(c->args[0], "image") == 0)
        return select_image(s, c->args[1], err);
    const bool worst = strcmp(c->args[0], "worst") == 0;
    if (!worst && strcmp(c->args[0], "layer") != 0)
        return graph_select(s, c->args[0], c->args[1], err);
    size_t layer;
    const int rc =
        worst ? worst_layer(s, c->args[1], &layer, err) : ui_one_layer(s, c->args[1], &layer, err);
    if (rc != OK)
        return rc;
    ui_layer_go(s, layer);
    return OK;
}

/* ---- Finding -------------------------------------------------------------------------------- */

/* Text of a row to search in. */
static const char *row_text(const struct session *s, const struct rows *r, size_t row)
{
    switch (s->ui.view) {
    case VIEW_IMAGES:
        return s->data.samples[r->item[row]].name;
    case VIEW_LOG:
        return s->log[row].text;
    default:
        return row < r->n_items ? s->match.layers[r->item[row]].name
                                : s->match.unmatched[row - r->n_items].tensor;
    }
}

/* Small letters find large ones as well; a large letter in the pattern means what it says. */
static bool text_has(const char *text, const char *what)
{
    for (const char *p = what; *p; p++)
        if (isupper((unsigned char)*p))
            return strstr(text, what) != NULL;
    return strcasestr(text, what) != NULL;
}

static int find_help(struct session *s, int step, struct err *err)
{
    const int line = help_find(s, views[s->ui.view]->name, s->ui.find, s->ui.help_row + step,
                               step < 0 ? -1 : 1, text_has);
    if (line < 0)
        return err_set(err, E_STATE, "nothing here has '%s'", s->ui.find);
    s->ui.help_row = line;
    return OK;
}

static int exec_find(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const bool next = call_opt(c, "--next"), previous = call_opt(c, "--previous");
    if (c->n_args > 0)
        snprintf(s->ui.find, sizeof(s->ui.find), "%s", c->args[0]);
    if (!s->ui.find[0])
        return err_set(err, E_STATE, "there is nothing to find yet: find TEXT");
    if (s->ui.help)
        return find_help(s, next ? 1 : previous ? -1 : 0, err);
    if (s->ui.view == VIEW_GRAPH && s->map) { /* what is folded is found as well */
        const int node = graph_find_text(s, s->ui.find, next ? 1 : previous ? -1 : 0, text_has);
        if (node < 0)
            return err_set(err, E_STATE, "no node has '%s'", s->ui.find);
        graph_go(s, node, true);
        return OK;
    }
    struct rows r = rows_of(s, s->ui.view);
    size_t step = previous ? r.n - 1 : 1, found = r.n;
    size_t at = r.n ? (next || previous ? (r.cursor + step) % r.n : r.cursor) : 0;
    for (size_t i = 0; i < r.n && found == r.n; i++, at = (at + step) % r.n)
        if (text_has(row_text(s, &r, at), s->ui.find))
            found = at;
    int rc = OK;
    if (found == r.n)
        rc = err_set(err, E_STATE, "no row has '%s'", s->ui.find);
    else
        cursor_to(s, &r, found);
    rows_fini(&r);
    return rc;
}

static const struct opt_spec find_opts[] = {
    {"--next", ARG_FLAG, NULL, "the next row that has it", NULL},
    {"--previous", ARG_FLAG, NULL, "the row before that has it", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

/* ---- Table ---------------------------------------------------------------------------------- */

const struct cmd cmd_ui[] = {
    {
        .name = "view",
        .group = "screen",
        .help = "goes to a view",
        .detail = "The views are: layers, ranked; one layer in depth; images, ranked; both models "
                  "as one graph; pins and their history; the log of commands and answers.",
        .example = "view images",
        .args = {{"VIEW", ARG_CHOICE, UI_VIEW_WORDS "|next|previous", false, false}},
        .opts = view_opts,
        .exec = exec_view,
    },
    {
        .name = "repl",
        .group = "screen",
        .help = "types commands in the log view, one after the other",
        .detail = "^C clears the line, Esc or ^O leaves. Elsewhere than on the screen it only goes "
                  "to the view.",
        .example = "repl",
        .exec = exec_repl,
    },
    {
        .name = "open",
        .group = "screen",
        .help = "opens what is under the cursor, or the layer named",
        .detail = "In the images view this is the layer that is worst for the image.",
        .example = "open @3",
        .needs = NEED_MODEL,
        .args = {{"LAYER", ARG_LAYER, NULL, true, false}},
        .exec = exec_open,
    },
    {
        .name = "back",
        .group = "screen",
        .help = "closes the help or the large picture, forgets the search or the filter, or goes "
                "back one view",
        .detail = "With --unmark, as Esc has it, marks go before the view does. With --quit it "
                  "also leaves the program when there is nothing to go back to.",
        .example = "back",
        .opts = back_opts,
        .exec = exec_back,
    },
    {
        .name = "cursor",
        .group = "screen",
        .help = "moves the cursor of the view, or the help text while it is shown",
        .detail = "In the layer view it goes to the next or previous layer of the list. `cursor to "
                  "3` goes "
                  "to the third row.",
        .example = "cursor down",
        .args = {{"MOVE", ARG_CHOICE, "down|up|pagedown|pageup|halfdown|halfup|top|bottom|to",
                  false, false},
                 {"ROW", ARG_COUNT, NULL, true, false}},
        .exec = exec_cursor,
    },
    {
        .name = "scroll",
        .group = "screen",
        .help = "shows what is left or right of the part of wide tables that the log shows",
        .detail = "Rows of tables that are too wide are not broken; < and > say where there is "
                  "more of them. Sentences go on in the next row.",
        .example = "scroll right",
        .args = {{"WHERE", ARG_CHOICE, "left|right", false, false}},
        .exec = exec_scroll,
    },
    {
        .name = "select",
        .group = "screen",
        .help = "chooses the layer, channel or image that is shown, or steps in the graph",
        .detail = "A channel is a number; next and previous go round. worst goes through the "
                  "layers in the order of their ranking; `select worst first` is the worst one. In "
                  "the graph view, branch goes to a lane beside, edge to what reads the node or "
                  "what it reads; color is the metric shown, macs, the products of each layer, or "
                  "time, once `cost --measure` knows it; "
                  "depth is how far around it shows.",
        .example = "select channel next",
        .needs = NEED_MODEL,
        .args = {{"WHAT", ARG_CHOICE, "layer|channel|image|worst|branch|edge|color|depth", false,
                  false},
                 {"WHICH", ARG_ITEM, "next|previous", false, false}},
        .exec = exec_select,
    },
    {
        .name = "find",
        .group = "screen",
        .help = "moves the cursor to the next row whose name has the text",
        .detail = "While the help is shown it searches that. Small letters find large ones too. "
                  "The search goes round at the end.",
        .example = "find conv",
        .args = {{"TEXT", ARG_WORD, NULL, true, false}},
        .opts = find_opts,
        .exec = exec_find,
    },
    {0},
};
