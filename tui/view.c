/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view.c: the screen: a view and what stands around each of them: title bar, tabs, job line,
 * footer.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum { MIN_ROWS = 10, MIN_COLS = 40 };

#define VIEW_ROW(ID, name) &view_##name,
const struct view *const views[N_VIEWS] = {VIEWS(VIEW_ROW, )};

static void draw_title(const struct session *s, struct grid *g)
{
    char models[400], title[512];
    session_title(s, models, sizeof(models));
    if (s->pair)
        snprintf(title, sizeof(title), "%s   %zu matched, %zu unmatched%s   %s", models,
                 s->match.n_layers, s->match.n_unmatched, s->match.n_unmatched ? "!" : "",
                 g->cols >= 110 ? numerics_help(s->set.numerics) : session_numerics(s));
    else
        snprintf(title, sizeof(title), "%s", models);
    grid_style(g, 0, 0, -1, ST_TITLE);
    const int at = grid_text(g, 0, 0, -1, ST_TITLE, " qscope  ");
    char fit[512];
    text_fit(fit, sizeof(fit), title, g->cols - at, TEXT_HEAD);
    grid_text(g, 0, at, -1, ST_TITLE, fit);
}

/* "top1 -2.7  pins 2~" at the right of the tabs. */
static void draw_state(const struct session *s, struct grid *g, int row, int from)
{
    char text[128];
    size_t pins = 0, pending = 0;
    const bool loaded = s->fp32 || s->int8;
    for (size_t i = 0; loaded && i < s->match.n_layers; i++) {
        pins += session_pinned(s, i);
        pending += session_pin_pending(s, i);
    }
    const double a = s->study ? study_accuracy(s->study, SIDE_FP32) : NAN;
    const double b = s->study ? study_accuracy(s->study, SIDE_INT8) : NAN;
    int n = 0;
    if (isfinite(a) && isfinite(b) && g->cols >= 100)
        n = snprintf(text, sizeof(text), "top1 %.2f>%.2f (%+.2f)  ", a, b, b - a);
    else if (isfinite(a) && isfinite(b))
        n = snprintf(text, sizeof(text), "top1 %+.2f  ", b - a);
    snprintf(text + n, sizeof(text) - (size_t)n, "pins %zu%s ", pins, pending ? "~" : "");
    const int width = text_width(text);
    if (from + width <= g->cols)
        grid_text(g, row, g->cols - width, -1, pending ? ST_WARN : ST_NORMAL, text);
}

/* Where there is no room for all titles, the one that is shown keeps its own. */
static void draw_tabs(const struct session *s, struct grid *g, int row)
{
    int at = 0, room = g->cols;
    for (int i = 0; i < N_VIEWS; i++)
        room -= (int)strlen(views[i]->title) + 4;
    for (int i = 0; i < N_VIEWS; i++) {
        const bool here = s->ui.view == (enum view_id)i;
        char tab[64];
        if (here || room >= 0)
            snprintf(tab, sizeof(tab), here ? "[%d %s]" : " %d %s ", i + 1, views[i]->title);
        else
            snprintf(tab, sizeof(tab), " %d ", i + 1);
        const int width = grid_text(g, row, at, -1, here ? ST_TAB : ST_NORMAL, tab);
        grid_link(g, row, at, width, "view %s", views[i]->name);
        at += width;
    }
    draw_state(s, g, row, at);
}

/* Nobody knows how much is left: what it has so far says whether it is worth waiting for. */
static int draw_open_job(const struct session *s, struct grid *g, int row)
{
    const struct job *j = &s->job;
    char time[32], found[160];
    const double rate = job_rate(j);
    int at = grid_printf(g, row, 0, ST_NORMAL, " %s #%d %4zu %s", j->kind->what, j->id, j->done,
                         j->kind->short_unit);
    if (isfinite(rate))
        at += grid_printf(g, row, at, ST_NORMAL, "  %.*f %s/s  %s", rate < 10 ? 1 : 0, rate,
                          j->kind->short_unit,
                          text_seconds(time, sizeof(time), (double)j->done / rate));
    j->kind->summary(s, found, sizeof(found));
    if (at + (int)strlen(found) + 27 < g->cols)
        at += grid_printf(g, row, at, ST_NORMAL, "  so far %s", found);
    return at;
}

static int draw_counted_job(const struct job *j, struct grid *g, int row)
{
    char eta[32];
    const double rate = job_rate(j);
    const double share = j->total ? (double)j->done / (double)j->total : 0;
    int at = grid_printf(g, row, 0, ST_NORMAL, " %s #%d %4zu/%zu %s ", j->kind->what, j->id,
                         j->done, j->total, j->kind->short_unit);
    const int bar = g->cols >= 100 ? 32 : g->cols >= 76 ? 20 : 0;
    if (bar) {
        draw_bar(g, row, at, bar, share, ST_BAR);
        at += bar;
    }
    at += grid_printf(g, row, at, ST_NORMAL, " %3.0f%%", floor(100 * share));
    if (isfinite(rate))
        at += grid_printf(g, row, at, ST_NORMAL, "  %.*f %s/s  ETA %s", rate < 10 ? 1 : 0, rate,
                          j->kind->short_unit, text_seconds(eta, sizeof(eta), job_eta(j)));
    return at;
}

static void draw_job_running(const struct session *s, struct grid *g, int row)
{
    const struct job *j = &s->job;
    const int at = j->kind->open ? draw_open_job(s, g, row) : draw_counted_job(j, g, row);
    if (cancelled(&j->cancel))
        grid_text(g, row, at, -1, ST_WARN, "  stopping");
    else
        grid_text(g, row, at, -1, ST_KEY, "  ^C cancel");
}

static void draw_job_idle(const struct session *s, struct grid *g, int row)
{
    const struct job *j = &s->job;
    if (j->state == JOB_IDLE || j->gone) {
        const char *hint = "nothing loaded: type :load pair FP32.onnx INT8.onnx";
        if (s->fp32 || s->int8)
            hint = s->data.n ? "not run yet: R runs" : "no images: type :dataset add DIR";
        grid_printf(g, row, 0, ST_DIM, " idle   %s", hint);
        return;
    }
    const char *how = j->state != JOB_CANCELLED ? "last"
                      : j->kind->whole          ? "cancelled"
                                                : "cancelled, kept";
    char count[96];
    int at = grid_printf(g, row, 0, ST_NORMAL, " idle   %s: %s #%d, %s", how, j->kind->what, j->id,
                         job_count(j, count, sizeof(count)));
    /* A printed screen is compared with another one: time has no place in it. */
    if (s->screen && j->known && j->known == j->done)
        at += grid_text(g, row, at, -1, ST_NORMAL, ", known from an earlier run");
    else if (s->screen && isfinite(job_rate(j)))
        at += grid_printf(g, row, at, ST_NORMAL, ", %.1f s (%.0f %s/s)",
                          (double)j->done / job_rate(j), job_rate(j), j->kind->short_unit);
    const size_t failed = s->study ? s->study->failed : 0;
    if (j->state == JOB_FAILED) {
        char why[sizeof(j->err.text)];
        grid_printf(g, row, at, ST_BAD, "  failed: %s", text_safe(why, sizeof(why), j->err.text));
    } else if (failed) {
        grid_printf(g, row, at, ST_BAD, "  %zu failed", failed);
    }
}

static void draw_toast(const struct session *s, struct grid *g, int row)
{
    char fit[512];
    const enum style st = s->ui.toast_error ? ST_BAD : ST_NORMAL;
    text_fit(fit, sizeof(fit), s->ui.toast, g->cols - 2, TEXT_HEAD);
    grid_text(g, row, 1, -1, st, fit);
}

/* Views that `back` returns to, at the right of the job line: "Images > Layer". */
static void draw_trail(const struct session *s, struct grid *g, int row)
{
    char text[256] = "";
    size_t used = 0;
    if (s->ui.depth == 0 || s->job.state == JOB_RUNNING)
        return;
    for (int i = 0; i < s->ui.depth && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s > ",
                                 views[s->ui.stack[i]]->title);
    if (used < sizeof(text))
        snprintf(text + used, sizeof(text) - used, "%s", views[s->ui.view]->title);
    const int room = MIN(text_width(text), g->cols / 2);
    char fit[256];
    text_fit(fit, sizeof(fit), text, room, TEXT_TAIL);
    grid_text(g, row, g->cols - room - 1, room, ST_KEY, fit);
}

/* Below the floor there is still one line that says what is wrong, and q works. */
static void draw_small(struct grid *g)
{
    char text[64];
    snprintf(text, sizeof(text), "too small (%dx%d), q quits", g->cols, g->rows);
    grid_text(g, 0, 0, -1, ST_NORMAL, text);
}

void view_draw(const struct session *s, struct grid *g)
{
    grid_clear(g);
    if (g->rows < MIN_ROWS || g->cols < MIN_COLS) {
        draw_small(g);
        return;
    }
    draw_title(s, g);
    draw_tabs(s, g, 1);
    if (s->ui.zoom && zoom_possible(s))
        draw_zoom(s, g, (struct rect){2, 1, g->rows - 4, g->cols - 2});
    else
        views[s->ui.view]->draw(s, g, 2, g->rows - 4);
    if (s->job.state == JOB_RUNNING)
        draw_job_running(s, g, g->rows - 2);
    else
        draw_job_idle(s, g, g->rows - 2);
    draw_trail(s, g, g->rows - 2);
    if (s->ui.help)
        draw_help(s, g);
    if (s->ui.help)
        g->hole = (struct rect){0}; /* a picture would cover it */
    if (s->typing && s->ui.view != VIEW_LOG)
        draw_edit(s, g);
    else if (s->typing)
        grid_text(g, g->rows - 1, 1, -1, ST_KEY,
                  "Tab complete  Up/^R history  ^C clear  PgUp/Right scroll  ^O back to the view");
    else if (s->ui.toast[0])
        draw_toast(s, g, g->rows - 1);
    else if (s->ui.help)
        grid_text(g, g->rows - 1, 1, -1, ST_KEY, "j/k scroll  / find  n next  : command  q close");
    else
        draw_footer(s, g, g->rows - 1);
}
