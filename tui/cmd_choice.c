/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_choice.c: commands that choose what the views show: order, marks, filters. Marks are also a
 * selection for other commands (@marked).
 */
#include <stdlib.h>

#include "tui/cmd_ui.h"

static enum sort_dir reversed(enum sort_dir d, bool higher_is_better)
{
    if (d == SORT_WORST)
        d = higher_is_better ? SORT_ASC : SORT_DESC;
    return d == SORT_ASC ? SORT_DESC : SORT_ASC;
}

/* Name and direction given, or an option instead; exactly one of them. */
static int sort_word(struct call *c, char *name, size_t size, enum sort_dir *dir, struct err *err)
{
    const bool stepping =
        call_opt(c, "--next") || call_opt(c, "--previous") || call_opt(c, "--reverse");
    *dir = SORT_WORST;
    name[0] = '\0';
    if (stepping == (c->n_args > 0))
        return err_set(err, E_USAGE, "'%s' takes either a name or one of its options",
                       c->cmd->name);
    return stepping ? OK : parse_sort(c->args[0], name, size, dir, err);
}

static int exec_sort(struct call *c, struct err *err)
{
    struct ui *ui = &c->s->ui;
    char name[64];
    enum sort_dir dir;
    int rc = sort_word(c, name, sizeof(name), &dir, err);
    if (rc != OK)
        return rc;
    if (call_opt(c, "--reverse")) {
        ui->sort_dir = reversed(ui->sort_dir, !ui->sort || ui->sort->higher_is_better);
        return OK;
    }
    if (name[0])
        ui->sort = metric_find(name); /* `none` finds nothing: the order of the network */
    else
        ui->sort = view_metric_step(ui->sort, call_opt(c, "--next") ? 1 : -1);
    ui->sort_dir = dir;
    return OK;
}

static int exec_sort_images(struct call *c, struct err *err)
{
    struct ui *ui = &c->s->ui;
    char name[64];
    enum sort_dir dir;
    size_t n = 0, at = 0;
    int rc = sort_word(c, name, sizeof(name), &dir, err);
    if (rc != OK)
        return rc;
    for (; image_keys[n].name; n++)
        if (&image_keys[n] == ui->image_sort)
            at = n;
    if (call_opt(c, "--reverse")) {
        ui->image_dir = reversed(ui->image_dir, image_keys[at].higher_is_better);
        return OK;
    }
    const struct image_key *k = &image_keys[(at + (call_opt(c, "--next") ? 1 : n - 1)) % n];
    if (name[0] && !(k = image_key_find(name)))
        return err_set(err, E_USAGE, "no image score '%s'", name);
    ui->image_sort = k;
    ui->image_dir = dir;
    session_list_images(c->s, 0, NULL);
    return OK;
}

static const struct opt_spec sort_opts[] = {
    {"--next", ARG_FLAG, NULL, "the next column", NULL},
    {"--previous", ARG_FLAG, NULL, "the column before", NULL},
    {"--reverse", ARG_FLAG, NULL, "the other direction", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

static void set_mark(struct session *s, bool images, size_t i, bool on)
{
    if (images)
        s->data.samples[i].marked = on;
    else
        s->marked[i] = on;
}

static bool get_mark(const struct session *s, bool images, size_t i)
{
    return images ? s->data.samples[i].marked : s->marked[i];
}

static int mark_words(struct call *c, bool images, bool on, struct err *err)
{
    struct session *s = c->s;
    size_t n, *list;
    const int rc = images ? image_lists(s, c->n_args, c->args, &n, &list, err)
                          : layer_lists(s, c->n_args, c->args, &n, &list, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < n; i++)
        set_mark(s, images, list[i], on);
    free(list);
    return OK;
}

/* Which of n layers or images --all is about: those whose rows a filter leaves, or all. */
static bool *rows_marked(const struct session *s, bool images, size_t n, bool shown)
{
    bool *which = mem_alloc(n + 1);
    memset(which, !shown, n);
    if (shown) {
        struct rows r = rows_of(s, images ? VIEW_IMAGES : VIEW_LAYERS);
        for (size_t i = 0; i < r.n_items; i++)
            which[r.item[i]] = true;
        rows_fini(&r);
    }
    return which;
}

static int exec_mark(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const bool on = strcmp(c->cmd->name, "mark") == 0;
    const bool images = call_opt(c, "--images") != NULL;
    const bool invert = call_opt(c, "--invert") != NULL;
    const bool all = call_opt(c, "--all") != NULL || invert;
    const size_t n = images ? s->data.n : s->marked ? s->match.n_layers : 0;
    if (all == (c->n_args > 0))
        return err_set(err, E_USAGE, "%s takes either names or --all", c->cmd->name);
    if (call_opt(c, "--shown") && !all)
        return err_set(err, E_USAGE, "--shown goes with --all or --invert");
    int rc = OK;
    if (!all)
        rc = mark_words(c, images, on, err);
    bool *which = rows_marked(s, images, n, call_opt(c, "--shown") != NULL);
    for (size_t i = 0; all && i < n; i++)
        if (which[i])
            set_mark(s, images, i, invert ? !get_mark(s, images, i) : on);
    free(which);
    size_t marked = 0;
    for (size_t i = 0; i < n; i++)
        marked += get_mark(s, images, i);
    if (rc == OK)
        fprintf(c->note, "%zu of %zu %s marked\n", marked, n, images ? "images" : "layers");
    return rc;
}

/* Words joined as they were typed; {...} around them is allowed, as in LAYER words. */
static int exec_filter(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const bool images = call_opt(c, "--images") != NULL;
    char text[sizeof(s->ui.layer_filter)] = "";
    size_t used = 0;
    for (size_t i = 0; i < c->n_args && used < sizeof(text); i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "", c->args[i]);
    if (used >= sizeof(text))
        return err_set(err, E_USAGE, "a filter has at most %zu characters", sizeof(text) - 1);
    if (used > 1 && text[0] == '{' && text[used - 1] == '}') {
        text[used - 1] = '\0';
        memmove(text, text + 1, used - 1);
    }
    /* Nothing is skipped in an evaluation, so one row says whether all names are known. */
    bool yes;
    int rc = OK;
    if (text[0] && images && s->data.n)
        rc = image_where(s, 0, text, &yes, err);
    else if (text[0] && !images && s->match.n_layers)
        rc = layer_where(s, 0, text, &yes, err);
    else if (text[0])
        rc = err_set(err, E_STATE, "there are no %s to filter yet", images ? "images" : "layers");
    if (rc != OK)
        return rc;
    snprintf(images ? s->ui.image_filter : s->ui.layer_filter, sizeof(text), "%s", text);
    struct rows r = rows_of(s, images ? VIEW_IMAGES : VIEW_LAYERS);
    if (text[0])
        fprintf(c->note, "%zu of %zu %s\n", r.n_items, images ? s->data.n : s->match.n_layers,
                images ? "images" : "layers");
    rows_fini(&r);
    return OK;
}

static const struct opt_spec filter_opts[] = {
    {"--images", ARG_FLAG, NULL, "of the images view, not of the layers view", NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

static const struct opt_spec mark_opts[] = {
    {"--images", ARG_FLAG, NULL, "names are images, not layers", NULL},
    {"--all", ARG_FLAG, NULL, "every one", NULL},
    {"--invert", ARG_FLAG, NULL, "marked ones become unmarked and the reverse", NULL},
    {"--shown", ARG_FLAG, NULL, "with these two: only what the view shows, filtered as it is",
     NULL},
    {NULL, ARG_NONE, NULL, NULL, NULL},
};

/* THE switches of the views. */
static const struct {
    const char *name;
    size_t offset; /* of a bool in struct ui */
    bool graph;    /* the rows of the graph depend on it */
} switches[] = {
    {"counts", offsetof(struct ui, linear), false},
    {"diff", offsetof(struct ui, diff), false},
    {"flips", offsetof(struct ui, flips_only), false},
    {"classes", offsetof(struct ui, classes), false},
    {"values", offsetof(struct ui, raw_classes), false},
    {"around", offsetof(struct ui, graph_whole), true},
    {"quantizers", offsetof(struct ui, graph_parts), true},
    {"one-sided", offsetof(struct ui, graph_only), true},
    {"macs", offsetof(struct ui, pareto_macs), false},
};

const char *ui_switch(size_t i)
{
    return i < COUNT(switches) ? switches[i].name : NULL;
}

bool *ui_switch_value(struct ui *ui, size_t i)
{
    return (bool *)((char *)ui + switches[i].offset);
}

static int exec_toggle(struct call *c, struct err *err)
{
    (void)err;
    for (size_t i = 0; i < COUNT(switches); i++) {
        if (strcmp(switches[i].name, c->args[0]) != 0)
            continue;
        bool *what = ui_switch_value(&c->s->ui, i);
        *what = !*what;
        if (switches[i].graph)
            graph_toggled(c->s);
    }
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

const struct cmd cmd_choice[] = {
    {
        .name = "sort",
        .group = "choice",
        .help = "chooses the order of the layers view",
        .detail = "The worst come first unless :asc or :desc is added to the name. `sort none` "
                  "shows layers in the order of the network.",
        .example = "sort cosine",
        .args = {{"METRIC", ARG_METRIC, NULL, true, false}},
        .opts = sort_opts,
        .exec = exec_sort,
    },
    {
        .name = "sort images",
        .group = "choice",
        .help = "chooses the order of the images view",
        .detail = "The worst come first unless :asc or :desc is added to the name.",
        .example = "sort images kl",
        .args = {{"SCORE", ARG_SCORE, NULL, true, false}},
        .opts = sort_opts,
        .exec = exec_sort_images,
    },
    {
        .name = "filter",
        .group = "choice",
        .help = "a list shows only rows that fulfil an expression; all without one",
        .detail = "Of layers: all metrics, op, name, pinned, precision, marked, quantized. Of "
                  "images: all "
                  "scores, name, label, fp32, int8 (classes), flip (lost, gained or none), marked. "
                  "Operators are those of assert. In the view Esc takes the filter away.",
        .example = "filter sqnr < 20 && op == Conv",
        .args = {{"EXPR", ARG_WORD, NULL, true, true}},
        .opts = filter_opts,
        .exec = exec_filter,
    },
    {
        .name = "mark",
        .group = "choice",
        .help = "marks layers or images; @marked stands for them",
        .detail = "Marks are a selection for other commands: `pin @marked`, `run @marked`.",
        .example = "mark --all",
        .args = {{"NAME", ARG_ITEM, NULL, true, true}},
        .opts = mark_opts,
        .exec = exec_mark,
    },
    {
        .name = "unmark",
        .group = "choice",
        .help = "takes marks off layers or images",
        .detail = "The options are those of mark.",
        .example = "unmark --all",
        .args = {{"NAME", ARG_ITEM, NULL, true, true}},
        .opts = mark_opts,
        .exec = exec_mark,
    },
    {
        .name = "toggle",
        .group = "choice",
        .help = "switches logarithmic counts, the difference histogram, filters, parts of a graph",
        .detail =
            "counts and diff are for the histogram of a layer; flips shows only images whose "
            "answer changed, classes the first classes of the image under the cursor below the "
            "list, values these as values of the output, not as probabilities. In the graph view, "
            "around folds what is far from the cursor, "
            "quantizers shows Q, DQ and integer helpers, one-sided lists what only one of the "
            "models has. In the pins view, macs shows the cost of pins as products in FP32, not as "
            "their "
            "number.",
        .example = "toggle counts",
        .args = {{"WHAT", ARG_CHOICE,
                  "counts|diff|flips|classes|values|around|quantizers|one-sided|macs", false,
                  false}},
        .exec = exec_toggle,
    },
    {0},
};
