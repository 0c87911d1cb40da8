/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_evidence.c: what is wrong with a layer and why, each error under its label: CUMULATIVE is
 * that of the whole network at this tensor, LOCAL that of the layer alone, OUTPUT what the layer
 * costs the result.
 */
#include <math.h>

#include "tui/view.h"

struct pen {
    struct grid *g;
    struct rect r;
    int row;
};

/* A label, and words behind it over as many lines as they need. */
static void write_words(struct pen *p, const char *label, enum style st, const char *words)
{
    enum { INDENT = 12 };
    const int width = p->r.cols - INDENT;
    const char *at = words;
    if (p->row >= p->r.rows || width < 10)
        return;
    grid_text(p->g, p->r.row + p->row, p->r.col, INDENT, ST_HEAD, label);
    do {
        /* The longest start that fits and ends at a blank. */
        size_t fit = 0, end = 0;
        char line[512];
        for (size_t n = 0; n < sizeof(line) - 1; n++) {
            if (at[n] == ' ' || at[n] == '\0') {
                snprintf(line, sizeof(line), "%.*s", (int)n, at);
                if (text_width(line) > width && fit)
                    break;
                fit = n;
                end = n;
            }
            if (at[n] == '\0')
                break;
        }
        snprintf(line, sizeof(line), "%.*s", (int)end, at);
        grid_text(p->g, p->r.row + p->row++, p->r.col + INDENT, width, st, line);
        at += end;
        at += strspn(at, " ");
    } while (*at && p->row < p->r.rows);
}

static enum style verdict_style(enum verdict_id v)
{
    return v <= VERDICT_NOT_QUANTIZED ? ST_NORMAL : v <= VERDICT_INHERITED ? ST_WARN : ST_BAD;
}

static void write_output(struct pen *p, const struct session *s, size_t layer)
{
    const double gain = session_sweep_effect(s, layer, SWEEP_LOO);
    const double only = session_sweep_effect(s, layer, SWEEP_ONLY);
    const struct outcome *o = s->sweep ? s->sweep->outcome : NULL;
    char text[160];
    if (o && !isnan(gain))
        snprintf(text, sizeof(text), "%s %+.*f %s with this layer in FP32 (loo_gain)", o->title,
                 o->digits, gain, o->unit);
    else if (o && !isnan(only))
        snprintf(text, sizeof(text), "%s %.*f %s with only this layer in INT8 (only_effect)",
                 o->title, o->digits, only, o->unit);
    else
        snprintf(text, sizeof(text),
                 "not known: 'sensitivity' measures what the layer costs the result");
    write_words(p, "OUTPUT", ST_NORMAL, text);
}

int draw_evidence(const struct session *s, struct grid *g, struct rect r, size_t layer)
{
    const struct layer_verdict *v = s->judged ? s->judged->verdicts : NULL;
    char text[700], safe[1024], local[48], all[48], weight[48];
    r = rect_clip(g, r);
    if (!v || !s->study || r.rows < 3)
        return 0;
    struct pen p = {.g = g, .r = r};
    v += layer;
    draw_rule(g, r.row + p.row++, r.col, r.cols, "evidence");
    snprintf(text, sizeof(text), "%s%s%s", verdicts[v->verdict].name, v->cause ? ": " : "",
             v->cause ? v->cause : "");
    write_words(&p, "VERDICT", verdict_style(v->verdict), text_safe(safe, sizeof(safe), text));
    text_layer(all, sizeof(all), s, layer, metric_find("sqnr"));
    text_layer(local, sizeof(local), s, layer, metric_find("local_sqnr"));
    text_layer(weight, sizeof(weight), s, layer, metric_find("weight_sqnr"));
    snprintf(text, sizeof(text), "%s dB", all);
    write_words(&p, "CUMULATIVE", ST_NORMAL, text);
    const struct noise_parts *n = &v->parts;
    if (!isnan(layer_metric(s, layer, metric_find("local_sqnr"))))
        snprintf(text, sizeof(text),
                 "%s dB, weights %s dB; noise: clipping %.0f%% rounding %.0f%% inputs %.0f%% "
                 "weights %.0f%% bias %.0f%%",
                 local, weight, 100 * n->clip, 100 * n->round, 100 * n->inputs, 100 * n->weights,
                 100 * n->bias);
    else
        snprintf(text, sizeof(text), "%s",
                 s->judged->map->why[layer] ? s->judged->map->why[layer] : "not measured");
    write_words(&p, "LOCAL", ST_NORMAL, text_safe(safe, sizeof(safe), text));
    write_output(&p, s, layer);
    return p.row;
}
