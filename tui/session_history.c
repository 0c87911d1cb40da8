/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * session_history.c: what is pinned, the versions of the models under that, and the steps between
 * which undo moves.
 */
#include <stdlib.h>

#include "tui/edits.h"
#include "tui/gaps.h"
#include "tui/history.h"
#include "tui/load.h"
#include "tui/results.h"

/* ---- Life ----------------------------------------------------------------------------------- */

void pin_state_fini(struct pin_state *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->names[i]);
    }
    free(p->names);
    free(p->as);
    free(p->label);
    *p = (struct pin_state){0};
}

void history_clear(struct session *s, size_t from)
{
    for (size_t i = from; i < s->n_undo; i++) {
        pin_state_fini(&s->undo[i]);
    }
    s->n_undo = MIN(s->n_undo, from);
}

/* A running job may still use what is replaced: then it goes with the job. */
static void retire(struct session *s, struct plan *p, struct graph *g)
{
    struct job *j = &s->job;
    bool used = j->state == JOB_RUNNING && j->kind->uses_plans;
    if (used && j->n_old < COUNT(j->old_plans)) {
        j->old_plans[j->n_old] = p;
        j->old_graphs[j->n_old++] = g;
        return;
    }
    if (used) { /* many changes during one run: it ends rather than they pile up */
        job_replace(s);
    }
    plan_free(p);
    graph_free(g);
}

/* ---- Pins ----------------------------------------------------------------------------------- */

/* The place of a layer in a state; SIZE_MAX: it does not pin it. */
static size_t state_find(const struct pin_state *p, const char *name)
{
    for (size_t i = 0; p && i < p->n; i++) {
        if (strcmp(p->names[i], name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Layers are known by the tensor they make: unique, unlike node names of several outputs. */
static const char *pin_key(const struct session *s, size_t layer)
{
    return s->fp32->values[s->match.layers[layer].fp32].name;
}

bool session_pinned(const struct session *s, size_t layer)
{
    return s->pair && state_find(&s->undo[s->at_undo], pin_key(s, layer)) != SIZE_MAX;
}

bool *session_pins(const struct session *s)
{
    bool *pinned = mem_alloc(s->match.n_layers + 1);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        pinned[k] = session_pinned(s, k);
    }
    return pinned;
}

enum precision session_precision(const struct session *s, size_t layer)
{
    const struct pin_state *p = &s->undo[s->at_undo];
    size_t at = s->pair ? state_find(p, pin_key(s, layer)) : SIZE_MAX;
    return at == SIZE_MAX ? PREC_FP32 : (enum precision)p->as[at];
}

uint8_t *session_precisions(const struct session *s, enum precision as)
{
    uint8_t *list = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        list[i] = (uint8_t)(session_pinned(s, i) ? session_precision(s, i) : as);
    }
    return list;
}

bool session_pin_pending(const struct session *s, size_t layer)
{
    if (!s->pair || !s->study) {
        return false;
    }
    size_t at = state_find(s->run_pins, pin_key(s, layer));
    return session_pinned(s, layer) != (at != SIZE_MAX) ||
           (at != SIZE_MAX && s->run_pins->as[at] != (uint8_t)session_precision(s, layer));
}

/* Builds and installs the mixed graph for a pinned set. On failure nothing changes. */
static int install_pins(struct session *s, const bool *pinned, const uint8_t *as, struct err *err)
{
    struct graph *mixed = NULL;
    struct plan *plan = NULL;
    size_t n = s->match.n_layers, count = 0;
    int *values = mem_alloc((n + 1) * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        count += pinned[i];
        values[i] = s->match.layers[i].int8;
    }
    struct pin_set set = {.n_layers = n, .pinned = (bool *)pinned, .as = as};
    int rc = count ? pin_apply(s->fp32, s->int8, &s->match, &set, &mixed, values, err) : OK;
    /* Its nodes ran in the two models; those that could not must be left out again. */
    rc = rc ? rc : side_plan(s, mixed ? mixed : s->int8, false, session_has_gaps(s), &plan, err);
    if (rc) {
        graph_free(mixed);
        free(values);
        return rc;
    }
    struct graph *old_graph = s->mixed;
    struct plan *old_plan = s->plan_int8;
    s->mixed = mixed;
    s->plan_int8 = plan;
    memcpy(s->int8_values, values, n * sizeof *values);
    free(values);
    retire(s, old_plan, old_graph);
    layer_times_fini(&s->times);
    if (!s->study) { /* else it is about the models of that run, as the figures are */
        judged_forget(s);
    }
    session_capture_clear(s);
    return OK;
}

/* One more step of the history, behind the one in force. */
static void push_state(struct session *s, const bool *pinned, const uint8_t *as, size_t edit,
                       const char *label)
{
    history_clear(s, s->at_undo + 1);
    s->undo = mem_grow(s->undo, (s->n_undo + 1) * sizeof *s->undo);
    struct pin_state *p = &s->undo[s->n_undo];
    *p = (struct pin_state){.label = mem_dup(label), .edit = edit};
    p->names = mem_alloc((s->match.n_layers + 1) * sizeof *p->names);
    p->as = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        if (pinned[i]) {
            p->as[p->n] = as[i];
            p->names[p->n++] = mem_dup(pin_key(s, i));
        }
    }
    s->at_undo = s->n_undo++;
}

int session_pin(struct session *s, const bool *pinned, const uint8_t *as, const char *label,
                struct err *err)
{
    uint8_t *kept = as ? NULL : session_precisions(s, PREC_FP32);
    as = as ? as : kept;
    int rc = install_pins(s, pinned, as, err);
    if (!rc) {
        push_state(s, pinned, as, s->undo[s->at_undo].edit, label);
    }
    free(kept);
    return rc;
}

int session_pin_trial(struct session *s, const struct trial *t, const char *label, struct err *err)
{
    return session_pin(s, t->pinned, t->as, label, err);
}

/* The layers that a state of the history pins, and their precisions. */
static bool *pins_of(const struct session *s, size_t state, uint8_t **as)
{
    const struct pin_state *p = &s->undo[state];
    bool *pinned = mem_alloc(s->match.n_layers + 1);
    *as = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        size_t at = state_find(p, pin_key(s, i));
        pinned[i] = at != SIZE_MAX;
        (*as)[i] = pinned[i] ? p->as[at] : (uint8_t)PREC_FP32;
    }
    return pinned;
}

/* Puts models and, planned anew where it is another one, the FP32 plan in force. */
static void use_models(struct session *s, const struct version *v, struct plan *fp32)
{
    s->fp32 = v->fp32;
    s->int8 = v->int8;
    s->plan_fp32 = fp32;
}

/* Puts the pins of a state in force, over another version of the models (NULL: the same). */
static int use_state(struct session *s, const struct version *to, size_t state, struct err *err)
{
    const struct version before = {.fp32 = s->fp32, .int8 = s->int8};
    struct plan *plan = s->plan_fp32, *was = plan;
    int rc = OK;
    if (to) {
        job_replace(s); /* before its plan goes */
        rc = to->fp32 != s->fp32 ? side_plan(s, to->fp32, true, true, &plan, err) : OK;
    }
    if (!rc && to) {
        use_models(s, to, plan);
        rc = session_match(s, err); /* drops results */
        results_unload(s->results); /* it may be of another file */
    }
    uint8_t *as = NULL;
    bool *pinned = rc ? NULL : pins_of(s, state, &as);
    rc = rc ? rc : install_pins(s, pinned, as, err);
    free(pinned);
    free(as);
    if (rc && s->int8 != before.int8) {
        use_models(s, &before, was);
        session_match(s, NULL);
        results_unload(s->results);
    }
    if (plan != was) {
        plan_free(rc ? plan : was);
    }
    return rc;
}

size_t session_version(struct session *s, struct version v)
{
    s->edits = mem_grow(s->edits, (s->n_edits + 1) * sizeof *s->edits);
    s->edits[s->n_edits] = v;
    return s->n_edits++;
}

int session_edit(struct session *s, struct version v, const char *label, struct err *err)
{
    struct graph *own = v.fp32;
    v.fp32 = own ? own : s->fp32;
    if (!s->n_edits) {
        s->edits = mem_alloc(sizeof *s->edits);
        s->edits[s->n_edits++] = (struct version){.fp32 = s->fp32, .int8 = s->int8};
    }
    int rc = use_state(s, &v, s->at_undo, err);
    if (rc) {
        graph_free(own);
        graph_free(v.int8);
        edits_fini(&v.made);
        return rc;
    }
    uint8_t *as;
    bool *pinned = pins_of(s, s->at_undo, &as);
    push_state(s, pinned, as, session_version(s, v), label);
    free(pinned);
    free(as);
    return OK;
}

int session_set_history(struct session *s, size_t n, const struct pin_state *states, size_t at,
                        struct err *err)
{
    history_clear(s, 1);
    s->at_undo = 0;
    s->undo = mem_grow(s->undo, (n + 1) * sizeof *s->undo);
    memcpy(s->undo + 1, states, n * sizeof *states);
    s->n_undo = n + 1;
    return session_undo(s, (int)at, err);
}

int session_undo(struct session *s, int steps, struct err *err)
{
    long to = (long)s->at_undo + steps;
    if (to < 0 || to >= (long)s->n_undo) {
        const size_t most = steps < 0 ? s->at_undo : s->n_undo - 1 - s->at_undo;
        const char *what = steps < 0 ? "undo" : "redo";
        return most ? err_set(err, E_STATE, "cannot %s %d steps, there %s", what, abs(steps),
                              most == 1 ? "is one" : "are fewer")
                    : err_set(err, E_STATE, "nothing to %s", what);
    }
    size_t edit = s->undo[to].edit;
    bool other = edit != s->undo[s->at_undo].edit;
    int rc = use_state(s, other ? &s->edits[edit] : NULL, (size_t)to, err);
    if (!rc) {
        s->at_undo = (size_t)to;
    }
    return rc;
}
