/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_pareto.c: what the last sweep or search has tried: the plot of value against cost, the
 * models that no other beats, and what pinning one layer more would gain.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/view.h"

enum { FP32_WORD = 5 }; /* its columns stand beside the plot, where no point can */

double *whatif_gains(const struct session *s)
{
    const struct sweep *w = s->sweep;
    if (!w || w->n_layers != s->match.n_layers || !sweep_is_gain(w))
        return NULL;
    double *gain = mem_alloc((w->n_layers + 1) * sizeof(*gain));
    for (size_t k = 0; k < w->n_layers; k++)
        gain[k] = s->search ? s->search->gain[k] : NAN;
    for (size_t i = 0; !s->search && i < w->n_trials; i++) {
        const struct trial *t = &w->trials[i];
        if (t->layer < w->n_layers && !t->error && t->n > 0)
            gain[t->layer] = sweep_effect(w, t);
    }
    return gain;
}

static double trial_cost(const struct session *s, const struct trial *t, size_t *pins)
{
    double macs = 0;
    *pins = 0;
    for (size_t k = 0; k < s->match.n_layers; k++)
        if (t->pinned[k]) {
            macs += s->costs ? s->costs[k].macs : 0;
            ++*pins;
        }
    return macs;
}

double macs_share(const struct session *s, double macs)
{
    return s->macs > 0 ? 100 * macs / s->macs : 0;
}

bool trial_in_force(const struct session *s, const struct trial *t)
{
    for (size_t k = 0; k < s->match.n_layers; k++)
        if (t->pinned[k] != session_pinned(s, k) ||
            (t->pinned[k] && t->as[k] != (uint8_t)session_precision(s, k)))
            return false;
    return true;
}

size_t pareto_points(const struct session *s, struct pareto_point **out)
{
    const struct sweep *w = s->sweep;
    *out = NULL;
    if (!w || w->n_layers != s->match.n_layers || !w->base.n)
        return 0;
    const struct trial **best = mem_alloc((w->n_trials + 2) * sizeof(struct trial *));
    const size_t n_best = sweep_pareto(w, NULL, best);
    struct pareto_point *p = mem_alloc((w->n_trials + 2) * sizeof(*p));
    size_t n = 0;
    for (size_t i = 0; i <= w->n_trials; i++) {
        const struct trial *t = i < w->n_trials ? &w->trials[i] : &w->base;
        const double y = trial_value(t, w->outcome);
        if (t->error || t->n < w->n_images || !isfinite(y))
            continue;
        struct pareto_point *x = &p[n++];
        *x = (struct pareto_point){.trial = t, .y = y};
        const double macs = trial_cost(s, t, &x->pins);
        x->x = s->ui.pareto_macs ? macs_share(s, macs) : (double)x->pins;
        for (size_t k = 0; k < n_best; k++)
            x->best |= best[k] == t;
        x->now = trial_in_force(s, t);
    }
    free(best);
    *out = p;
    return n;
}

struct frame {
    double x0, x1, y0, y1;
};

static struct frame frame_of(const struct pareto_point *p, size_t n, double fp32)
{
    struct frame f = {INFINITY, -INFINITY, isfinite(fp32) ? fp32 : INFINITY,
                      isfinite(fp32) ? fp32 : -INFINITY};
    for (size_t i = 0; i < n; i++) {
        f.x0 = MIN(f.x0, p[i].x);
        f.x1 = MAX(f.x1, p[i].x);
        f.y0 = MIN(f.y0, p[i].y);
        f.y1 = MAX(f.y1, p[i].y);
    }
    if (!(f.x1 > f.x0))
        f.x1 = f.x0 + 1;
    if (!(f.y1 > f.y0))
        f.y1 = f.y0 + 1;
    return f;
}

static void draw_frame(const struct session *s, struct grid *g, struct rect r,
                       const struct frame *f)
{
    char text[32];
    const double step = (f->y1 - f->y0) / MAX(r.rows - 1, 1);
    for (int y = 0; y < r.rows; y++) {
        if (y % 2 == 0)
            grid_printf(g, r.row + y, r.col - 10, ST_DIM, "%8s",
                        axis_text(text, sizeof(text), f->y1 - step * y, 2 * step));
        grid_text(g, r.row + y, r.col - 1, 1, ST_DIM, "|");
    }
    grid_text(g, r.row + r.rows, r.col - 1, 1, ST_DIM, "+");
    for (int x = 0; x < r.cols; x++)
        grid_text(g, r.row + r.rows, r.col + x, 1, ST_DIM, "-");
    const char *unit = s->ui.pareto_macs ? "% MACs" : "pins";
    grid_printf(g, r.row + r.rows, r.col, ST_NORMAL, "%.3g", f->x0);
    const int n = snprintf(text, sizeof(text), "%.3g %s", f->x1, unit);
    grid_text(g, r.row + r.rows, r.col + MAX(r.cols - n, 0), -1, ST_NORMAL, text);
}

static void draw_points(struct grid *g, struct rect r, const struct frame *f,
                        const struct pareto_point *p, size_t n)
{
    /* What matters most is drawn last. */
    for (int pass = 0; pass < 3; pass++)
        for (size_t i = 0; i < n; i++) {
            if ((p[i].now ? 2 : p[i].best ? 1 : 0) != pass)
                continue;
            const int x = (int)lround((p[i].x - f->x0) / (f->x1 - f->x0) * (r.cols - 1));
            const int y = (int)lround((f->y1 - p[i].y) / (f->y1 - f->y0) * (r.rows - 1));
            grid_text(g, r.row + y, r.col + x, 1,
                      pass == 2   ? ST_PIN
                      : pass == 1 ? ST_GOOD
                                  : ST_DIM,
                      pass == 2   ? "@"
                      : pass == 1 ? "o"
                                  : ".");
        }
}

void draw_pareto(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    if (r.rows < 5 || r.cols < 24)
        return;
    const struct sweep *w = s->sweep;
    struct pareto_point *p;
    const size_t n = pareto_points(s, &p);
    char caption[128];
    snprintf(caption, sizeof(caption), "%s%s%s   o best  . tried  @ now",
             w ? w->outcome->title : "value against cost", w && *w->outcome->unit ? " " : "",
             w ? w->outcome->unit : "");
    draw_rule(g, r.row, r.col, r.cols, caption);
    if (n == 0) {
        grid_text(g, r.row + 1, r.col, r.cols, ST_DIM,
                  w ? "no model has seen all images yet"
                    : "nothing tried yet: w tries each layer, a searches");
        free(p);
        return;
    }
    const double fp32 = sweep_fp32(w, w->outcome);
    const struct frame f = frame_of(p, n, fp32);
    const struct rect box = {r.row + 1, r.col + 10, r.rows - 2, r.cols - 10 - FP32_WORD};
    draw_frame(s, g, box, &f);
    if (isfinite(fp32)) {
        const int y = (int)lround((f.y1 - fp32) / (f.y1 - f.y0) * (box.rows - 1));
        for (int x = 0; x < box.cols; x += 2)
            grid_text(g, box.row + y, box.col + x, 1, ST_FP32, "-");
        grid_text(g, box.row + y, box.col + box.cols, FP32_WORD, ST_FP32, " FP32");
    }
    draw_points(g, box, &f, p, n);
    free(p);
}

static void draw_front_row(const struct session *s, struct grid *g, struct rect r, int row,
                           const struct trial *t)
{
    char value[32], layers[512] = "", fit[512];
    size_t pins, used = 0;
    const double macs = trial_cost(s, t, &pins);
    double weights = 0;
    for (size_t k = 0; k < s->match.n_layers; k++) {
        if (!t->pinned[k])
            continue;
        weights += s->costs ? s->costs[k].weights * precisions[t->as[k]].weight_bits / 32 : 0;
        if (used < sizeof(layers))
            used += (size_t)snprintf(layers + used, sizeof(layers) - used, "%s ",
                                     session_layer_label(s, k));
    }
    const bool now = trial_in_force(s, t);
    grid_printf(g, row, r.col, now ? ST_PIN : ST_NORMAL, "%s%4zu %10s %8.3f %8.1f  ",
                now ? "@" : " ", pins,
                text_number(value, sizeof(value), trial_value(t, s->sweep->outcome), 9),
                weights / 1e6, macs_share(s, macs));
    text_fit(fit, sizeof(fit), layers, r.cols - 38, TEXT_HEAD);
    grid_text(g, row, r.col + 38, r.cols - 38, ST_DIM, fit);
}

void draw_front(const struct session *s, struct grid *g, struct rect r)
{
    r = rect_clip(g, r);
    const struct sweep *w = s->sweep;
    if (r.rows < 3 || r.cols < 50 || !w || w->n_layers != s->match.n_layers || !w->base.n)
        return;
    draw_rule(g, r.row, r.col, r.cols, "models that no other beats with as few pins");
    char head[32];
    snprintf(head, sizeof(head), "%s %s", w->outcome->title, w->outcome->unit);
    grid_printf(g, r.row + 1, r.col, ST_HEAD, " %4s %10.10s %8s %8s  %s", "PINS", head, "PIN MB",
                "MACS %", "LAYERS");
    const struct trial **best = mem_alloc((w->n_trials + 2) * sizeof(struct trial *));
    const size_t n = sweep_pareto(w, NULL, best);
    for (size_t i = 0; i < n && (int)i < r.rows - 2; i++)
        draw_front_row(s, g, r, r.row + 2 + (int)i, best[i]);
    free(best);
}
