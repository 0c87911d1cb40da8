/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_images.c: images ranked by how far INT8 leads them astray; flips first of all. Before a run
 * it lists the data set, so that images can be marked.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum { FIGURE = 9, FLIP = 6, TALL = 36, CLASSES = TOP_CLASSES + 3 };

struct layout {
    int name, label, sqnr, layer; /* widths; 0: there is no such column */
    bool labels;                  /* that of the right answer */
    struct name_cut cut;          /* of layers */
};

/* Name, label, FP32, INT8, score, SQNR, worst layer, flip; the narrower, the fewer. */
static struct layout layout_for(const struct session *s, int cols)
{
    struct layout l = {.sqnr = cols < 50 ? 0 : FIGURE, .labels = cols >= 50};
    const int room = MAX(cols - 3 - FIGURE - l.sqnr - FLIP, 22);
    l.label = MAX(room * 14 / 100, 6);
    l.name = cols < 70 ? room - (2 + l.labels) * l.label : room * 32 / 100;
    l.layer = cols < 70 ? 0 : room - l.name - 3 * l.label;
    l.cut = name_cut_for(s, MAX(l.layer - 1, 1));
    return l;
}

static const struct image_key *key_of(const struct session *s)
{
    return s->ui.image_sort ? s->ui.image_sort : &image_keys[0];
}

/* The score column shows the sort key; where that is a mixture or has its own column, the change
 * of the label's output value. */
static bool shows_dlogit(const struct session *s)
{
    const char *name = key_of(s)->name;
    return strcmp(name, "drop") == 0 || strcmp(name, "sqnr") == 0 || strcmp(name, "dlogit") == 0;
}

static void score_text(const struct session *s, const struct image_score *sc, char *dst,
                       size_t size)
{
    if (!shows_dlogit(s))
        text_number(dst, size, key_of(s)->value(sc), FIGURE - 2);
    else if (isfinite(sc->dlogit))
        snprintf(dst, size, fabs(sc->dlogit) < 1000 ? "%+.3f" : "%+.1e", sc->dlogit);
    else
        snprintf(dst, size, "n/a");
}

static int draw_word(struct grid *g, int row, int col, int width, enum style st, const char *text,
                     enum text_cut cut)
{
    char fit[256];
    if (width < 1)
        return 0;
    text_fit(fit, sizeof(fit), text, width - 1, cut);
    grid_text(g, row, col, width - 1, st, fit);
    return width;
}

static void draw_head(const struct session *s, struct grid *g, int row, const struct layout *l,
                      int cols)
{
    const struct image_key *k = key_of(s);
    char head[64];
    int at = 3;
    grid_style(g, row, 0, cols, ST_HEAD);
    at += draw_word(g, row, at, l->name, ST_HEAD, "IMAGE", TEXT_HEAD);
    at += draw_word(g, row, at, l->labels ? l->label : 0, ST_HEAD, "LABEL", TEXT_HEAD);
    at += draw_word(g, row, at, l->label, ST_HEAD, "FP32", TEXT_HEAD);
    at += draw_word(g, row, at, l->label, ST_HEAD, "INT8", TEXT_HEAD);
    const bool own = shows_dlogit(s) && strcmp(k->name, "dlogit") != 0;
    const char *arrow = s->ui.image_dir == SORT_ASC    ? "^"
                        : s->ui.image_dir == SORT_DESC ? "v"
                                                       : "!";
    snprintf(head, sizeof(head), "%.8s%s", own ? "dlogit" : k->name, own ? "" : arrow);
    for (char *p = head; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    grid_printf(g, row, at, ST_HEAD, "%*s", FIGURE - 1, head);
    grid_link(g, row, at, FIGURE - 1,
              own || s->ui.image_sort != k ? "sort images %s" : "sort images --reverse",
              own ? "dlogit" : k->name);
    at += FIGURE;
    const bool by_sqnr = strcmp(k->name, "sqnr") == 0;
    if (l->sqnr) {
        grid_printf(g, row, at, ST_HEAD, "%*s%s", l->sqnr - 2, "SQNR", by_sqnr ? arrow : "");
        grid_link(g, row, at, l->sqnr - 1, by_sqnr ? "sort images --reverse" : "sort images sqnr");
    }
    at += l->sqnr;
    at += draw_word(g, row, at, l->layer, ST_HEAD, "WORST LAYER", TEXT_HEAD);
    grid_text(g, row, at, -1, ST_HEAD, "FLIP");
}

static void draw_score(const struct session *s, struct grid *g, int row, int at,
                       const struct layout *l, const struct image_score *sc)
{
    char text[256];
    if (!sc->ok) {
        grid_text(g, row, at, -1, ST_BAD,
                  text_safe(text, sizeof(text), sc->error ? sc->error : "failed"));
        return;
    }
    const bool wrong = sc->int8_top1 != sc->fp32_top1;
    at += draw_word(g, row, at, l->label, ST_NORMAL,
                    text_class(text, sizeof(text), &s->data, sc->fp32_top1), TEXT_HEAD);
    at += draw_word(g, row, at, l->label, wrong ? ST_WARN : ST_NORMAL,
                    text_class(text, sizeof(text), &s->data, sc->int8_top1), TEXT_HEAD);
    score_text(s, sc, text, sizeof(text));
    grid_printf(g, row, at, ST_NORMAL, "%*s", FIGURE - 1, text);
    at += FIGURE;
    if (isfinite(sc->sqnr))
        snprintf(text, sizeof(text), "%.2f", sc->sqnr);
    else
        snprintf(text, sizeof(text), sc->sqnr > 0 ? "exact" : "n/a");
    if (l->sqnr)
        grid_printf(g, row, at, grade_style(sc->sqnr), "%*s", l->sqnr - 2, text);
    at += l->sqnr;
    if (l->layer && sc->worst_layer >= 0 && (size_t)sc->worst_layer < s->match.n_layers) {
        name_fit(text, sizeof(text), session_layer_label(s, (size_t)sc->worst_layer), l->cut,
                 l->layer - 1);
        grid_text(g, row, at, l->layer - 1, ST_NORMAL, text);
    }
    at += l->layer;
    if (sc->flip != FLIP_NONE)
        grid_text(g, row, at, -1, sc->flip == FLIP_LOST ? ST_BAD : ST_GOOD,
                  sc->flip == FLIP_LOST ? "LOST" : "gained");
}

static void draw_image_row(const struct session *s, struct grid *g, int row, const struct layout *l,
                           size_t image)
{
    const struct sample *sm = &s->data.samples[image];
    char text[256];
    int at = 3;
    grid_text(g, row, 1, 1, ST_WARN, sm->marked ? "+" : " ");
    text_safe(text, sizeof(text), sm->name);
    at += draw_word(g, row, at, l->name, ST_NORMAL, text, TEXT_TAIL);
    at += draw_word(g, row, at, l->labels ? l->label : 0, ST_NORMAL,
                    text_class(text, sizeof(text), &s->data, sm->label), TEXT_HEAD);
    const struct image_score *sc = session_score(s, image);
    if (sc)
        draw_score(s, g, row, at, l, sc);
}

static void draw_summary(const struct session *s, struct grid *g, int row, int cols,
                         const struct rows *r)
{
    const struct study *st = s->study;
    char filter[300];
    const size_t marked = view_marked(s);
    draw_rule(g, row, 0, cols, NULL);
    if (!st || st->n_images == 0) {
        grid_printf(g, row + 1, 1, ST_DIM,
                    "%zu images, %zu marked; not run yet: R runs all of them", s->data.n, marked);
        return;
    }
    if (!s->pair && st->labelled)
        grid_printf(g, row + 1, 1, ST_NORMAL, "one model alone | right: %s %zu of %zu labelled",
                    s->fp32 ? "FP32" : "INT8", s->fp32 ? st->fp32_right : st->int8_right,
                    st->labelled);
    else if (!s->pair)
        grid_text(g, row + 1, 1, -1, ST_NORMAL, "one model alone, no labels: nothing to compare");
    else if (st->labelled)
        grid_printf(g, row + 1, 1, ST_NORMAL,
                    "flips: lost %zu  gained %zu | right: FP32 %zu  INT8 %zu  of %zu labelled",
                    st->lost, st->gained, st->fp32_right, st->int8_right, st->labelled);
    else
        grid_printf(g, row + 1, 1, ST_NORMAL, "no labels: %zu of %zu images changed their answer",
                    st->lost, st->n_images);
    char text[1024], fit[1024];
    snprintf(text, sizeof(text), "%zu rows%s  %zu marked  %zu failed | %s | %s: %s", r->n,
             s->ui.flips_only ? " (flips only, f shows all)" : "", marked, st->failed,
             text_filter(filter, sizeof(filter), s->ui.image_filter), key_of(s)->name,
             key_of(s)->help);
    text_fit(fit, sizeof(fit), text, cols - 2, TEXT_HEAD);
    grid_text(g, row + 2, 1, cols - 2, ST_DIM, fit);
}

/* The image under the cursor in words and figures; returns the next free row. */
static int draw_words(const struct session *s, struct grid *g, struct rect r, long image)
{
    char text[256];
    draw_rule(g, r.row, r.col, r.cols, "image under the cursor");
    int row = r.row + 1;
    const struct image_score *sc = image >= 0 ? session_score(s, (size_t)image) : NULL;
    if (image >= 0) {
        text_safe(text, sizeof(text), s->data.samples[image].name);
        draw_word(g, row++, r.col, r.cols, ST_BOLD, text, TEXT_TAIL);
        grid_printf(g, row++, r.col, ST_NORMAL, "label  %s",
                    text_class(text, sizeof(text), &s->data, s->data.samples[image].label));
    }
    if (!sc || !sc->ok)
        return row;
    /* The first key is a mixture, of which flip and margin tell more. */
    for (const struct image_key *k = image_keys + 1; k->name && row < r.row + r.rows; k++) {
        text_number(text, sizeof(text), k->value(sc), 10);
        grid_printf(g, row++, r.col, ST_NORMAL, "%-10s %10s %-3s", k->name, text, k->unit);
        grid_text(g, row - 1, r.col + 27, r.cols - 27, ST_DIM, k->help);
    }
    if (sc->worst_layer >= 0 && (size_t)sc->worst_layer < s->match.n_layers &&
        row + 2 < r.row + r.rows) {
        const int at =
            grid_printf(g, row, r.col, ST_NORMAL, "worst layer %.1f dB  ", sc->worst_sqnr);
        draw_word(g, row++, r.col + at, r.cols - at + 1, ST_NORMAL,
                  session_layer_label(s, (size_t)sc->worst_layer), TEXT_TAIL);
    }
    return row + draw_classes(s, g, (struct rect){row, r.col, r.row + r.rows - row, r.cols}, image);
}

/* Beside the list on wide terminals. */
static void draw_beside(const struct session *s, struct grid *g, struct rect r, long image)
{
    const char *bar = g->ascii ? "|" : "\xe2\x94\x82";
    for (int i = 0; i < r.rows; i++)
        grid_text(g, r.row + i, r.col, 1, ST_DIM, bar);
    r.col += 2;
    r.cols -= 2;
    const int row = draw_words(s, g, r, image) + 1;
    const int low = r.rows / 4;
    if (r.rows >= TALL &&
        draw_image_profile(s, g, (struct rect){r.row + r.rows - low, r.col, low, r.cols}, image))
        r.rows -= low + 1;
    if (image >= 0)
        draw_picture(s, g, (struct rect){row, r.col, r.row + r.rows - row, r.cols}, (size_t)image);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    if (s->data.n == 0) {
        grid_text(g, top + 1, 3, -1, ST_NORMAL, "No images. Press : and type");
        grid_text(g, top + 3, 3, -1, ST_NORMAL, "   dataset add DIR [--labels FILE.csv]");
        return;
    }
    int cols = g->cols;
    struct rows r = rows_of(s, VIEW_IMAGES);
    if (s->ui.classes && cols < VIEW_WIDE && r.n && rows > 2 * CLASSES)
        rows -= draw_classes(s, g, (struct rect){top + rows - CLASSES, 1, CLASSES, cols - 2},
                             (long)r.item[r.cursor])
                    ? CLASSES
                    : 0;
    if (cols >= VIEW_WIDE) {
        cols = MAX(90, cols * 6 / 10);
        const long image = r.n ? (long)r.item[r.cursor] : -1;
        draw_beside(s, g, (struct rect){top, cols, rows, g->cols - cols}, image);
        if (rows >= TALL) {
            const int low = rows / 3, half = cols / 2;
            rows -= low;
            draw_dlogit(s, g, (struct rect){top + rows, 1, low, half - 2});
            draw_scatter(s, g, (struct rect){top + rows, half, low, cols - half - 1}, image);
        }
    }
    const struct layout l = layout_for(s, cols);
    const int height = rows - 4;
    draw_head(s, g, top, &l, cols);
    const size_t first = rows_top(&r, height);
    for (size_t i = first; i < r.n && (int)(i - first) < height; i++) {
        const int row = top + 1 + (int)(i - first);
        draw_image_row(s, g, row, &l, r.item[i]);
        draw_row_end(g, row, cols, i, i == r.cursor);
    }
    draw_summary(s, g, top + rows - 3, cols, &r);
    rows_fini(&r);
}

const struct view view_images = {
    .name = "images",
    .title = "Images",
    .help = "images ranked by what INT8 does to their answer, worst first",
    .draw = draw,
};
