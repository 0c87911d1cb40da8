/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gaps.c: operators without a kernel, or with one that refuses the node: which layers they keep
 * from being compared, and how that is told. Everything else of the models stays usable.
 */
#include <stdlib.h>

#include "tui/gaps.h"
#include "tui/tui.h"

static const struct plan *plan_of(const struct session *s, enum side side)
{
    return side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
}

/* ---- Layers behind a gap --------------------------------------------------------------------- */

/* The gap that blocks a layer on either side; *from tells the first. NULL: it is computed. */
static const struct plan_gap *gap_of(const struct session *s, size_t layer, enum side *from)
{
    const struct plan_gap *first = NULL;
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan_gap *gaps;
        const struct plan *p = plan_of(s, side);
        int at = session_executed(s, layer, side);
        int gap = at >= 0 ? plan_blocked(p, at) : -1;
        if (gap >= 0) {
            plan_gaps(p, &gaps);
            s->gap_layers[side][gap]++;
            first = first ? first : &gaps[gap];
            *from = first == &gaps[gap] ? side : *from;
        }
    }
    return first;
}

/* Pins may have left the plan with more gaps than were there when layers were blocked. */
static size_t layers_of(const struct session *s, enum side side, size_t gap)
{
    return gap < s->n_gap_layers[side] ? s->gap_layers[side][gap] : 0;
}

/* "Foo 'x' is not supported", for the node and what is wrong with it. */
static const char *complaint(const struct plan_gap *g, struct arena *a)
{
    return g->reason ? arena_printf(a, "node '%s' (%s): %s", g->node, g->op, g->reason)
                     : arena_printf(a, "node '%s', whose %s is not supported", g->node, g->op);
}

static void add_unmatched(struct match *m, const struct session *s, size_t layer, enum side side,
                          const struct plan_gap *gap)
{
    const struct layer *l = &m->layers[layer];
    const struct graph *g = s->fp32 ? s->fp32 : s->int8;
    m->unmatched[m->n_unmatched++] = (struct unmatched){
        .tensor = g->values[s->fp32 ? l->fp32 : l->int8].name,
        .op = l->op,
        .side = s->fp32 ? SIDE_FP32 : SIDE_INT8,
        .reason = arena_printf(&m->arena, "not comparable: %s behind %s",
                               side == SIDE_FP32 ? "FP32" : "INT8", complaint(gap, &m->arena)),
    };
}

bool session_has_gaps(const struct session *s)
{
    const struct plan_gap *gaps;
    return (s->plan_fp32 && plan_gaps(s->plan_fp32, &gaps)) ||
           (s->plan_int8 && plan_gaps(s->plan_int8, &gaps));
}

void session_block(struct session *s)
{
    struct match *m = &s->match;
    s->n_blockable = m->n_layers;
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan_gap *gaps;
        const struct plan *p = plan_of(s, side);
        size_t n = p ? plan_gaps(p, &gaps) : 0;
        free(s->gap_layers[side]);
        s->gap_layers[side] = mem_alloc((n + 1) * sizeof *s->gap_layers[side]);
        s->n_gap_layers[side] = n;
    }
    if (!session_has_gaps(s)) {
        return;
    }
    size_t kept = 0;
    struct unmatched *more =
        arena_alloc(&m->arena, (m->n_unmatched + m->n_layers + 1) * sizeof *more);
    if (m->n_unmatched) {
        memcpy(more, m->unmatched, m->n_unmatched * sizeof *more);
    }
    m->unmatched = more;
    for (size_t i = 0; i < m->n_layers; i++) {
        enum side side;
        const struct plan_gap *gap = gap_of(s, i, &side);
        if (gap) {
            add_unmatched(m, s, i, side, gap);
        } else {
            s->int8_values[kept] = s->int8_values[i];
            m->layers[kept++] = m->layers[i];
        }
    }
    m->n_layers = kept;
}

/* ---- Telling ----------------------------------------------------------------------------------
 */

void gaps_text(const struct session *s, FILE *out)
{
    char op[128], node[256], why[400];
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan_gap *gaps;
        const struct plan *p = plan_of(s, side);
        for (size_t i = 0, n = p ? plan_gaps(p, &gaps) : 0; i < n; i++) {
            const struct plan_gap *g = &gaps[i];
            fprintf(out, "%s: operator %s%s%s of opset %d is not supported%s: node '%s'",
                    side == SIDE_FP32 ? "FP32" : "INT8", g->domain, g->domain[0] ? "." : "",
                    text_safe(op, sizeof op, g->op), g->opset, g->reason ? " in this form" : "",
                    text_safe(node, sizeof node, g->node));
            if (g->nodes > 1) {
                fprintf(out, " and %zu more", g->nodes - 1);
            }
            if (g->reason) {
                fprintf(out, ": %s", text_safe(why, sizeof why, g->reason));
            }
            fprintf(out, "; blocks %zu of %zu layers%s\n", layers_of(s, side, i), s->n_blockable,
                    g->output ? " and the output" : "");
        }
    }
}

json_t *gaps_json(const struct session *s)
{
    json_t *list = json_array();
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan_gap *gaps;
        const struct plan *p = plan_of(s, side);
        for (size_t i = 0, n = p ? plan_gaps(p, &gaps) : 0; i < n; i++) {
            const struct plan_gap *g = &gaps[i];
            json_array_append_new(
                list,
                json_pack("{s:s,s:o,s:o,s:i,s:o,s:o,s:I,s:I,s:b}", "side",
                          side == SIDE_FP32 ? "fp32" : "int8", "op", json_text(g->op), "domain",
                          json_text(g->domain), "opset", g->opset, "node", json_text(g->node),
                          "reason", json_text(g->reason), "nodes", (json_int_t)g->nodes, "layers",
                          (json_int_t)layers_of(s, side, i), "output", g->output));
        }
    }
    return list;
}

bool gaps_block_output(const struct session *s)
{
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan_gap *gaps;
        const struct plan *p = plan_of(s, side);
        for (size_t i = 0, n = p ? plan_gaps(p, &gaps) : 0; i < n; i++) {
            if (gaps[i].output) {
                return true;
            }
        }
    }
    return false;
}

int gaps_check(const struct session *s, struct err *err)
{
    if (s->match.n_layers || !session_has_gaps(s)) {
        return OK;
    }
    const struct plan_gap *gaps;
    const struct plan *p =
        s->plan_fp32 && plan_gaps(s->plan_fp32, &gaps) ? s->plan_fp32 : s->plan_int8;
    plan_gaps(p, &gaps);
    struct arena a = {0};
    int rc = err_set(err, E_UNSUPPORTED, "no layer can be compared: all are behind %s",
                     complaint(&gaps[0], &a));
    arena_fini(&a);
    return rc;
}
