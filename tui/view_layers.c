/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_layers.c: the first screen: layers ranked by how much INT8 hurts them, live while a run is
 * going on. Columns come from the metric table; on wide terminals the layer under the cursor, the
 * profile along the network and the log stand beside.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum {
    MAX_COLUMNS = 8,
    OP_WIDTH = 8,
    BAR_WIDTH = 8,
    NAME_MIN = 22,
    NARROW = 60,      /* below, figures are worth more than the kind of a layer */
    ROOM_JUDGED = 44, /* columns for figures from which verdicts are among them */
};

/* What is worth a column first; the others follow in the order of the metric table. */
static const char *const preferred[] = {"sqnr", "cosine", "rmse_scale", "saturation_high",
                                        "saturation_low"};
static const char *const judged[] = {"sqnr", "local_sqnr", "verdict"}; /* where there is room */

struct layout {
    int number, name, op, bar; /* widths; bar 0: none */
    struct name_cut cut;
    size_t n;
    const struct metric *metric[MAX_COLUMNS];
    int width[MAX_COLUMNS];
};

static int column_width(const struct metric *m)
{
    if (m->of == METRIC_VERDICT)
        return 2 + 14; /* "BAD ZERO POINT" */
    return MAX((int)strlen(m->title) + 2, MAX(m->digits + 4, 7));
}

static bool layout_add(struct layout *l, const struct metric *m, int *room)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->metric[i] == m)
            return true;
    const int width = column_width(m);
    if (l->n == MAX_COLUMNS || width > *room)
        return false;
    l->metric[l->n++] = m;
    *room -= width;
    return true;
}

static int by_table(const void *a, const void *b)
{
    const struct metric *x = *(const struct metric *const *)a;
    const struct metric *y = *(const struct metric *const *)b;
    return (x > y) - (x < y);
}

static struct layout layout_for(const struct session *s, const struct rows *r, int cols)
{
    struct layout l = {.op = cols < NARROW ? 0 : OP_WIDTH};
    l.number = snprintf(NULL, 0, "%zu", r->n) < 4 ? 4 : snprintf(NULL, 0, "%zu", r->n);
    int room = cols - (2 + l.number + 3) - NAME_MIN - l.op;
    if (room >= BAR_WIDTH + 2 + 3 * 7) {
        l.bar = BAR_WIDTH;
        room -= l.bar + 2;
    }
    if (s->ui.sort)
        layout_add(&l, s->ui.sort, &room);
    for (size_t i = 0; i < COUNT(judged) && room >= ROOM_JUDGED - 7 * (int)i; i++)
        layout_add(&l, metric_find(judged[i]), &room);
    for (size_t i = 0; i < COUNT(preferred); i++)
        if (metric_find(preferred[i]))
            layout_add(&l, metric_find(preferred[i]), &room);
    /* Names that tell layers apart are worth more than a fifth figure. */
    for (const struct metric *m = metrics; m->name && room > NAME_MIN; m++)
        if (m->of == METRIC_CUMULATIVE)
            layout_add(&l, m, &room);
    qsort(l.metric, l.n, sizeof(l.metric[0]), by_table);
    for (size_t i = 0; i < l.n; i++)
        l.width[i] = column_width(l.metric[i]);
    l.name = NAME_MIN + MAX(room, 0);
    l.cut = name_cut_for(s, l.name - 1);
    return l;
}

static const char *sort_arrow(const struct session *s, const struct metric *m)
{
    if (m != s->ui.sort)
        return "";
    const bool falling =
        s->ui.sort_dir == SORT_DESC || (s->ui.sort_dir == SORT_WORST && !m->higher_is_better);
    return falling ? "v" : "^";
}

static void draw_head(const struct session *s, struct grid *g, int row, const struct layout *l,
                      int cols)
{
    grid_style(g, row, 0, cols, ST_HEAD);
    grid_printf(g, row, 2, ST_HEAD, "%*s", l->number, "#");
    int at = 2 + l->number + 1;
    grid_text(g, row, at, -1, ST_HEAD, "P LAYER");
    at += 2 + l->name;
    grid_text(g, row, at, l->op, ST_HEAD, "OP");
    at += l->op;
    if (!s->pair) {
        grid_text(g, row, at + 1, -1, ST_HEAD, ALONE_HEAD);
        return;
    }
    for (size_t i = 0; i < l->n; i++) {
        char head[32];
        snprintf(head, sizeof(head), "%s%s", l->metric[i]->title, sort_arrow(s, l->metric[i]));
        const bool text = l->metric[i]->of == METRIC_VERDICT;
        grid_printf(g, row, at, ST_HEAD, text ? "  %-*s" : "%*s", l->width[i] - 2 * text, head);
        grid_link(g, row, at, l->width[i],
                  l->metric[i] == s->ui.sort ? "sort --reverse" : "sort %s", l->metric[i]->name);
        at += l->width[i];
    }
    if (l->bar)
        grid_text(g, row, at + 2, l->bar, ST_HEAD, "ERROR");
}

static void draw_figures(const struct session *s, struct grid *g, int row, int at,
                         const struct layout *l, size_t layer)
{
    const struct study *st = s->study;
    if (!st || layer >= st->n_layers)
        return;
    const struct layer_stats *ls = &st->layers[layer];
    if (!s->pair && ls->images) {
        char alone[160];
        grid_text(g, row, at + 1, -1, ST_NORMAL, text_alone(alone, sizeof(alone), s, layer));
        return;
    }
    if (ls->all.n == 0 && st->layer_errors && st->layer_errors[layer]) {
        char why[256];
        text_safe(why, sizeof(why), st->layer_errors[layer]);
        grid_text(g, row, at + 2, -1, ST_WARN, why);
        return;
    }
    const struct metric *sqnr = metric_find("sqnr");
    const double db = sqnr && ls->all.n ? sqnr->value(&ls->all, ls->scale) : NAN;
    for (size_t i = 0; i < l->n; i++) {
        char value[32];
        text_layer(value, sizeof(value), s, layer, l->metric[i]);
        const enum style style = l->metric[i] == sqnr ? grade_style(db) : ST_NORMAL;
        const bool text = l->metric[i]->of == METRIC_VERDICT;
        grid_printf(g, row, at, style, text ? "  %-*s" : "%*s", l->width[i] - 2 * text, value);
        at += l->width[i];
    }
    if (l->bar) /* 40 dB empty, 0 dB full */
        draw_bar(g, row, at + 2, l->bar, isnan(db) ? 0 : 1 - db / 40, grade_style(db));
}

static void draw_layer_row(const struct session *s, struct grid *g, int row, const struct layout *l,
                           size_t rank, size_t layer)
{
    const char state[2] = {view_layer_state(s, layer), '\0'};
    char text[256];
    grid_text(g, row, 1, 1, ST_WARN, s->marked && s->marked[layer] ? "+" : " ");
    grid_printf(g, row, 2, ST_NORMAL, "%*zu", l->number, rank + 1);
    int at = 2 + l->number + 1;
    grid_text(g, row, at, 1, state[0] == '.' ? ST_NORMAL : ST_PIN, state);
    at += 2;
    name_fit(text, sizeof(text), session_layer_label(s, layer), l->cut, l->name - 1);
    grid_text(g, row, at, l->name - 1, ST_NORMAL, text);
    at += l->name;
    text_safe(text, sizeof(text), s->match.layers[layer].op);
    grid_text(g, row, at, MAX(l->op - 1, 0), ST_NORMAL, text);
    draw_figures(s, g, row, at + l->op, l, layer);
}

/* A tensor that has no counterpart is a row too, with the reason: nothing is dropped silently. */
static void draw_unmatched_row(const struct session *s, struct grid *g, int row,
                               const struct layout *l, size_t i, int cols)
{
    const struct unmatched *u = &s->match.unmatched[i];
    char name[256], why[256];
    int at = 2 + l->number + 1;
    grid_printf(g, row, 2, ST_DIM, "%*s", l->number, "-");
    grid_text(g, row, at, 1, ST_WARN, "!");
    at += 2;
    char safe[256];
    text_fit(name, sizeof(name), text_safe(safe, sizeof(safe), u->tensor), l->name - 1, TEXT_TAIL);
    grid_text(g, row, at, l->name - 1, ST_NORMAL, name);
    at += l->name;
    text_safe(safe, sizeof(safe), u->op ? u->op : "");
    grid_text(g, row, at, MAX(l->op - 1, 0), ST_NORMAL, safe);
    at += l->op + 2;
    snprintf(why, sizeof(why), "%s: %s", u->side == SIDE_FP32 ? "FP32" : "INT8", u->reason);
    text_fit(name, sizeof(name), text_safe(safe, sizeof(safe), why), cols - at, TEXT_HEAD);
    grid_text(g, row, at, -1, ST_DIM, name);
}

static void draw_empty(const struct session *s, struct grid *g, int top)
{
    static const char *const words[] = {
        "Nothing is loaded. Press : and type, for example",
        "",
        "   load pair model.onnx model_int8.onnx",
        "   dataset add images/",
        "   run",
        "",
        "or leave with Q and start as",
        "",
        "   qscope model.onnx model_int8.onnx images/",
        "",
        "? shows all keys and commands.",
    };
    const int last = top + 1 + (int)COUNT(words);
    for (size_t i = 0; i < COUNT(words); i++)
        grid_text(g, top + 1 + (int)i, 3, -1, ST_NORMAL, words[i]);
    if (s->offer) {
        grid_text(g, last + 1, 3, -1, ST_HEAD, "The last session; Enter opens it, Esc does not:");
        grid_text(g, last + 2, 6, -1, ST_NORMAL, s->offer);
    }
}

static bool pins_as(const struct session *s, enum precision as)
{
    const struct pin_state *p = &s->undo[s->at_undo];
    return p->n && memchr(p->as, (int)as, p->n) != NULL;
}

/* Two lines under the table: how much is shown, and the name under the cursor when the table has
 * cut it, else what the sort column means. */
static void draw_notes(const struct session *s, struct grid *g, int row, const struct rows *r,
                       const struct layout *l, size_t last, int cols)
{
    char text[1024], fit[1024], filter[300];
    const size_t marked = view_marked(s);
    int n = snprintf(text, sizeof(text), " %zu of %zu rows", last, r->n);
    if (r->n > r->n_items)
        n += snprintf(text + n, sizeof(text) - (size_t)n, ", %zu not comparable at the end",
                      r->n - r->n_items);
    n += snprintf(text + n, sizeof(text) - (size_t)n, " | %s",
                  text_filter(filter, sizeof(filter), s->ui.layer_filter));
    if (marked)
        n += snprintf(text + n, sizeof(text) - (size_t)n, " | + marked %zu", marked);
    n += snprintf(text + n, sizeof(text) - (size_t)n, " | * pinned");
    for (int as = PREC_FP32 + 1; as < N_PRECISIONS; as++)
        if (pins_as(s, (enum precision)as))
            n += snprintf(text + n, sizeof(text) - (size_t)n, " %c %s", precisions[as].mark,
                          precisions[as].name);
    snprintf(text + n, sizeof(text) - (size_t)n, " ~ run again . INT8 f float");
    text_fit(fit, sizeof(fit), text, cols - 1, TEXT_HEAD);
    grid_text(g, row, 0, cols - 1, ST_DIM, fit);
    const char *name = r->cursor < r->n_items ? session_layer_label(s, r->item[r->cursor]) : "";
    enum text_cut cut = TEXT_HEAD;
    if (text_width(name) >= l->name || l->cut.skip) {
        snprintf(text, sizeof(text), " %s", name);
        cut = TEXT_TAIL;
    } else if (!s->pair) {
        snprintf(text, sizeof(text),
                 " one model alone has no errors: range, zeros, codes at their low and high end");
    } else if (s->ui.sort) {
        snprintf(text, sizeof(text), " %s: %s", s->ui.sort->title, s->ui.sort->help);
    } else {
        snprintf(text, sizeof(text), " order of the network; s sorts by a metric");
    }
    text_fit(fit, sizeof(fit), text, cols - 1, cut);
    grid_text(g, row + 1, 0, cols - 1, ST_DIM, fit);
}

static void draw_table(const struct session *s, struct grid *g, struct rect box)
{
    struct rows r = rows_of(s, VIEW_LAYERS);
    const struct layout l = layout_for(s, &r, box.cols);
    const int height = box.rows - 3;
    draw_head(s, g, box.row, &l, box.cols);
    const size_t first = rows_top(&r, height);
    size_t i = first;
    for (int line = 0; line < height && i < r.n; line++, i++) {
        const int row = box.row + 1 + line;
        if (i < r.n_items)
            draw_layer_row(s, g, row, &l, i, r.item[i]);
        else
            draw_unmatched_row(s, g, row, &l, i - r.n_items, box.cols);
        draw_row_end(g, row, box.cols, i, i == r.cursor);
    }
    draw_notes(s, g, box.row + box.rows - 2, &r, &l, i, box.cols);
    rows_fini(&r);
}

static void draw_panes(const struct session *s, struct grid *g, struct rect box)
{
    const long layer = view_current_layer(s);
    const int third = box.rows / 3;
    const char *bar = g->ascii ? "|" : "\xe2\x94\x82";
    for (int r = 0; r < box.rows; r++)
        grid_text(g, box.row + r, box.col, 1, ST_DIM, bar);
    box.col += 2;
    box.cols -= 2;
    draw_rule(g, box.row, box.col, box.cols, "layer under the cursor");
    if (layer >= 0) {
        struct rect r = {box.row + 1, box.col, third, box.cols};
        const int used = draw_facts(s, g, r, (size_t)layer);
        const int left = 2 * third - used - 1, channels = left >= 7 ? 4 : 0;
        r.row += used;
        r.rows = left - channels;
        draw_histogram(s, g, r, (size_t)layer);
        r.row += r.rows;
        r.rows = channels - 1;
        draw_channels(s, g, r, (size_t)layer);
    }
    const struct rect low = {box.row + 2 * third, box.col, box.rows - 2 * third, box.cols};
    draw_profile(s, g, low);
}

static void draw(const struct session *s, struct grid *g, int top, int rows)
{
    struct rect table = {top, 0, rows, g->cols};
    if (!s->fp32 && !s->int8) {
        draw_empty(s, g, top);
        return;
    }
    if (g->cols >= VIEW_WIDE) {
        const int beside = MIN(60, g->cols - 90);
        const int log = rows >= 30 ? 7 : 0;
        table.cols = g->cols - beside;
        table.rows -= log;
        draw_panes(s, g, (struct rect){top, table.cols, table.rows, beside});
        if (log) {
            draw_rule(g, top + table.rows, 0, g->cols, "log");
            draw_log_tail(s, g, (struct rect){top + table.rows + 1, 1, log - 1, g->cols - 2});
        }
    }
    draw_table(s, g, table);
}

const struct metric *view_metric_step(const struct metric *m, int step)
{
    size_t n = 0, at = 0;
    for (; metrics[n].name; n++)
        if (&metrics[n] == m)
            at = n;
    if (!m)
        return step > 0 ? &metrics[0] : &metrics[n - 1];
    return &metrics[(at + n + (size_t)(step % (int)n + (int)n)) % n];
}

const struct view view_layers = {
    .name = "layers",
    .title = "Layers",
    .help = "layers ranked by what INT8 does to them, worst first",
    .draw = draw,
};
