/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_jump.c: the jump to a layer, an image or a command by some letters of its name.
 */
#include <ctype.h>
#include <stdlib.h>

#include "tui/cmd_ui.h"

enum { N_TARGETS = 12 };

struct target {
    const char *kind, *name; /* borrowed */
    size_t index;            /* of the layer or the image */
    int score;
};
/* The best targets, best first; of equals the one that was offered first. */
struct targets {
    const char *text;
    size_t n;
    struct target best[N_TARGETS];
};

static bool same_letter(char pattern, char c)
{
    /* Small letters find large ones as well; a large letter means what it says. */
    return pattern == c || pattern == (char)tolower((unsigned char)c);
}

static bool word_starts(const char *name, size_t at)
{
    return at == 0 || !isalnum((unsigned char)name[at - 1]) ||
           (isdigit((unsigned char)name[at]) && !isdigit((unsigned char)name[at - 1]));
}

/* Letters in their order from `start` on, taken as early as they come: 16 for each that follows
 * the one before, 8 for each that begins a word; less one for each that is passed over. -1: some
 * are missing. */
static int score_from(const char *text, const char *name, size_t start)
{
    int score = 1 << 12;
    size_t at = start;
    for (const char *p = text; *p; p++, at++) {
        const size_t from = at;
        while (name[at] && !same_letter(*p, name[at]))
            at++;
        if (!name[at])
            return -1;
        score += at == from && p != text ? 16 : 0;
        score += word_starts(name, at) ? 8 : 0;
        score -= (int)MIN(at - from, (size_t)64);
    }
    return MAX(score - (name[at] ? 1 : 0), 0);
}

static int score_name(const char *text, const char *name)
{
    int best = -1;
    for (size_t i = 0; name[i]; i++)
        if (same_letter(text[0], name[i]))
            best = MAX(best, score_from(text, name, i));
    return best;
}

static void offer(struct targets *t, const char *kind, const char *name, size_t index)
{
    const struct target one = {kind, name, index, score_name(t->text, name)};
    if (one.score < 0)
        return;
    size_t at = t->n;
    while (at > 0 && t->best[at - 1].score < one.score)
        at--;
    if (at == N_TARGETS)
        return;
    t->n = MIN(t->n + 1, (size_t)N_TARGETS);
    memmove(&t->best[at + 1], &t->best[at], (t->n - 1 - at) * sizeof(one));
    t->best[at] = one;
}

static void offer_command(void *ctx, const struct cmd *c)
{
    if (c->name)
        offer(ctx, "command", c->name, 0);
}

static struct targets targets_of(const struct session *s, const char *text)
{
    struct targets t = {.text = text};
    for (size_t i = 0; text[0] && i < s->match.n_layers; i++)
        offer(&t, "layer", s->match.layers[i].name, i);
    for (size_t i = 0; text[0] && i < s->data.n; i++)
        offer(&t, "image", s->data.samples[i].name, i);
    if (text[0])
        cmd_each(offer_command, &t);
    return t;
}

char **jump_choices(const struct session *s, const char *text)
{
    const struct targets t = targets_of(s, text);
    char **list = mem_alloc((N_TARGETS + 1) * sizeof(*list));
    for (size_t i = 0; i < t.n; i++)
        list[i] = mem_printf("%s %s", t.best[i].kind, t.best[i].name);
    list[t.n] = NULL;
    return list;
}

static bool shown(const struct session *s, enum view_id view, size_t item, size_t *row)
{
    struct rows r = rows_of(s, view);
    bool found = false;
    for (size_t i = 0; i < r.n_items && !found; i++) {
        found = r.item[i] == item;
        *row = i;
    }
    rows_fini(&r);
    return found;
}

/* Goes to a view so that `back` returns. */
static void enter(struct ui *ui, enum view_id view)
{
    if (ui->view != view && ui->depth < (int)COUNT(ui->stack))
        ui->stack[ui->depth++] = ui->view;
    ui->view = view;
    ui->help = false;
}

static void jump_layer(struct session *s, size_t layer)
{
    size_t row = 0;
    if (s->ui.view != VIEW_GRAPH && s->ui.view != VIEW_LAYER)
        enter(&s->ui, VIEW_LAYERS);
    if (!shown(s, VIEW_LAYERS, layer, &row))
        s->ui.layer_filter[0] = '\0'; /* what is asked for by name is not to be hidden */
    ui_layer_go(s, layer);
}

static void jump_image(struct session *s, size_t image)
{
    size_t row = 0;
    enter(&s->ui, VIEW_IMAGES);
    if (!shown(s, VIEW_IMAGES, image, &row)) {
        s->ui.image_filter[0] = '\0';
        s->ui.flips_only = false;
        shown(s, VIEW_IMAGES, image, &row);
    }
    s->ui.image = image;
    s->ui.image_row = row;
}

static int exec_jump(struct call *c, struct err *err)
{
    struct session *s = c->s;
    const struct targets t = targets_of(s, c->args[0]);
    if (t.n == 0)
        return err_set(err, E_STATE, "no layer, image or command has '%s' in its name", c->args[0]);
    const struct target *best = &t.best[0];
    if (best->kind[0] == 'l')
        jump_layer(s, best->index);
    else if (best->kind[0] == 'i')
        jump_image(s, best->index);
    else if (s->screen)
        snprintf(s->ui.ask, sizeof(s->ui.ask), "%s ", best->name);
    if (s->json) {
        emit_json(c, json_pack("{s:s,s:o}", "kind", best->kind, "name", json_text(best->name)));
    } else if (!s->screen) {
        char safe[512];
        fprintf(c->out, "%s %s\n", best->kind, text_safe(safe, sizeof(safe), best->name));
    }
    return OK;
}

const struct cmd cmd_jump[] = {
    {
        .name = "jump",
        .group = "screen",
        .help = "goes to the layer, image or command whose name has these letters in this order",
        .detail = "Letters that follow one another or begin a word count most. Small letters find "
                  "large ones too. A command is put into the command line, to be completed. While "
                  "it is typed on the screen the best targets are listed.",
        .example = "jump b4dw",
        .args = {{"TEXT", ARG_WORD, NULL, false, false}},
        .exec = exec_jump,
    },
    {0},
};
