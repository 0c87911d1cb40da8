/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * session.c: what is loaded, chosen and measured, and the few ways to change it; what is pinned is
 * in session_history.c. Commands (cmd_*.c) are the only callers of the functions that change
 * something.
 */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/edits.h"
#include "tui/gaps.h"
#include "tui/graph.h"
#include "tui/history.h"
#include "tui/load.h"
#include "tui/own_metric.h"
#include "tui/results.h"
#include "tui/shell.h"

/* ---- Life ----------------------------------------------------------------------------------- */

struct session *session_new(void)
{
    struct session *s = mem_alloc(sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    s->set.local = LOCAL_IMAGES;
    s->set.jobs = cores > 0 ? (int)MIN(cores, 256) : 1;
    s->set.memory = pages > 0 && page > 0 ? (size_t)pages / 10 * 6 * (size_t)page : 0;
    s->set.on_error_stop = true;
    s->set.color = true;
    s->budget.limit = s->set.memory;
    s->vars = json_object();
    s->store = plan_store_new();
    s->results = results_new();
    s->set.cache_size = CACHE_SIZE;
    s->form = FORM_TABLE;
    s->shell = shell_new();
    s->own = mem_alloc(sizeof *s->own);
    s->ui.sort = metric_find("sqnr");
    s->ui.image_sort = &image_keys[0];
    s->undo = mem_alloc(sizeof *s->undo);
    s->undo[0].label = mem_dup("start");
    s->n_undo = 1;
    return s;
}

void session_list_images(struct session *s, size_t n, size_t *images)
{
    free(s->listed_images);
    s->listed_images = images;
    s->n_listed_images = n;
}

void session_forget(struct session *s)
{
    session_list_images(s, 0, NULL);
    session_picture_clear(s);
    session_forget_run(s);
    layer_times_fini(&s->times);
    session_forget_sweep(s);
}

void session_forget_run(struct session *s)
{
    job_replace(s);
    s->job.gone = true;
    session_capture_clear(s);
    judged_forget(s);
    study_free(s->study);
    s->study = NULL;
    json_decref(s->compared);
    s->compared = NULL;
    free(s->ran);
    s->ran = NULL;
    s->n_ran = 0;
    if (s->run_pins) {
        pin_state_fini(s->run_pins);
        free(s->run_pins);
        s->run_pins = NULL;
    }
}

static bool stands_before(const struct session *s, size_t edit, const struct graph *fp32)
{
    for (size_t i = 0; i < edit; i++) {
        if (s->edits[i].fp32 == fp32) {
            return true;
        }
    }
    return false;
}

/* Versions of the models that are neither in force nor these two. */
static void edits_clear(struct session *s, const struct graph *fp32, const struct graph *int8)
{
    for (size_t i = s->n_edits; i-- > 0;) {
        struct version *v = &s->edits[i];
        bool kept = v->fp32 == s->fp32 || v->fp32 == fp32 || stands_before(s, i, v->fp32);
        graph_free(kept ? NULL : v->fp32);
        graph_free(v->int8 != s->int8 && v->int8 != int8 ? v->int8 : NULL);
        edits_fini(&v->made);
    }
    free(s->edits);
    s->edits = NULL;
    s->n_edits = 0;
}

void session_unload(struct session *s)
{
    session_forget(s);
    plan_free(s->plan_fp32);
    plan_free(s->plan_int8);
    graph_free(s->mixed);
    edits_clear(s, NULL, NULL);
    graph_free(s->fp32);
    graph_free(s->int8);
    s->plan_fp32 = s->plan_int8 = NULL;
    s->mixed = s->fp32 = s->int8 = NULL;
    match_fini(&s->match);
    results_unload(s->results);
    s->pair = false;
    s->implicit = (struct implicit){0};
    free(s->cache);
    s->cache = NULL;
    for (size_t i = 0; i < s->n_hand; i++) {
        free((char *)s->hand[i].fp32);
        free((char *)s->hand[i].int8);
    }
    s->n_hand = 0;
    free(s->marked);
    free(s->int8_values);
    free(s->gap_layers[0]);
    free(s->gap_layers[1]);
    s->gap_layers[0] = s->gap_layers[1] = NULL;
    free(s->listed);
    s->marked = NULL;
    s->int8_values = NULL;
    s->listed = NULL;
    s->n_listed = 0;
    history_clear(s, 1);
    s->at_undo = 0;
    s->ui.layer = s->ui.layer_row = s->ui.pin_row = 0;
    session_map(s);
}

void session_free(struct session *s)
{
    if (!s) {
        return;
    }
    job_cancel(s);
    session_unload(s);
    history_clear(s, 0);
    free(s->undo);
    free(s->hand);
    free(s->task);
    dataset_fini(&s->data);
    plan_store_free(s->store);
    results_free(s->results);
    json_decref(s->vars);
    json_decref(s->quantized);
    shell_free(s->shell);
    own_metrics_fini(s->own);
    free(s->own);
    for (size_t i = 0; i < s->n_log; i++) {
        free(s->log[i].text);
    }
    free(s->log);
    free(s->offer);
    free(s->clip);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- Loading -------------------------------------------------------------------------------- */

const struct graph *session_int8(const struct session *s)
{
    return s->mixed ? s->mixed : s->int8;
}

static void reset_layers(struct session *s)
{
    s->marked = mem_grow(s->marked, (s->match.n_layers + 1) * sizeof *s->marked);
    memset(s->marked, 0, s->match.n_layers * sizeof *s->marked);
    s->int8_values = mem_grow(s->int8_values, (s->match.n_layers + 1) * sizeof *s->int8_values);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        s->int8_values[i] = s->match.layers[i].int8;
    }
    session_block(s);
    free(s->listed);
    s->listed = NULL;
    s->n_listed = 0;
    s->ui.layer = s->ui.layer_row = 0;
}

/* Pairs of two models, or the layers of the only one. */
static int match_any(const struct graph *fp32, const struct graph *int8, size_t n_hand,
                     const struct match_pair *hand, struct match *out, struct err *err)
{
    if (fp32 && int8) {
        return match_graphs(fp32, int8, n_hand, hand, out, err);
    }
    match_single(fp32 ? fp32 : int8, fp32 ? SIDE_FP32 : SIDE_INT8, out);
    return OK;
}

/* Takes over what was matched. */
static void use_match(struct session *s, struct match m)
{
    session_forget(s);
    match_fini(&s->match);
    s->match = m;
    reset_layers(s);
    session_map(s);
}

int session_match(struct session *s, struct err *err)
{
    struct match m;
    int rc = match_any(s->fp32, s->int8, s->n_hand, s->hand, &m, err);
    if (!rc) {
        use_match(s, m);
    }
    return rc;
}

/* Preprocessing and task that follow from the model, unless the user said otherwise. */
void session_follow(struct session *s)
{
    const struct graph *g = s->fp32 ? s->fp32 : s->int8;
    if (!g) {
        return;
    }
    if (!s->pp_set && g->n_inputs) {
        const struct value *v = &g->values[g->inputs[0]];
        preprocess_default(&s->pp, MAX(v->rank, 0), v->dims);
    }
    const struct value *out = g->n_outputs ? &g->values[g->outputs[0]] : NULL;
    s->classify = s->task ? strcmp(s->task, "classify") == 0
                          : out && g->n_outputs == 1 && score_classifies(out->rank, out->dims);
}

static void loading_drop(struct loading *l)
{
    plan_free(l->p);
    graph_free(l->keep ? NULL : l->g);
}

/* Gives up all but the models that are kept. */
static void let_go(struct session *s, const struct loading *fp32, const struct loading *int8)
{
    session_forget(s);
    plan_free(s->plan_fp32);
    plan_free(s->plan_int8);
    s->plan_fp32 = s->plan_int8 = NULL;
    graph_free(s->mixed); /* borrows from the FP32 model */
    s->mixed = NULL;
    edits_clear(s, fp32->keep, int8->keep);
    s->fp32 = fp32->keep == s->fp32 ? NULL : s->fp32;
    s->int8 = int8->keep == s->int8 ? NULL : s->int8;
    session_unload(s);
}

static int load_both(struct session *s, struct loading *a, struct loading *b, struct err *err)
{
    struct match m;
    enum numerics before = s->set.numerics;
    /* A cache says nothing to any other runtime. */
    s->set.numerics = b->cache ? NUM_TENSORRT : before;
    int rc = load_sides(a, b, err);
    /* Whether they belong together is known before anything of the session is given up. */
    rc = rc ? rc : match_any(a->g, b->g, 0, NULL, &m, err);
    if (rc) {
        s->set.numerics = before;
        loading_drop(a);
        loading_drop(b);
        return rc;
    }
    char *cache = mem_dup(b->keep ? s->cache : b->cache);
    let_go(s, a, b);
    s->implicit = b->report;
    s->fp32 = a->g;
    s->int8 = b->g;
    s->plan_fp32 = a->p;
    s->plan_int8 = b->p;
    s->pair = a->g && b->g;
    s->cache = cache;
    s->set.numerics = numerics_for(s->set.numerics, (b->g ? b->g : a->g)->dialect);
    session_follow(s);
    use_match(s, m);
    return OK;
}

int session_load(struct session *s, const char *fp32, const char *int8, const char *cache,
                 struct err *err)
{
    struct loading a = {.s = s, .path = fp32, .reference = true};
    struct loading b = {.s = s, .path = int8, .cache = cache};
    return load_both(s, &a, &b, err);
}

/* The INT8 model in force as it was read, before edits. */
static struct graph *read_int8(const struct session *s)
{
    size_t at = s->at_undo;
    while (at > 0 && s->n_edits && s->edits[s->undo[at].edit].made.n) {
        at--;
    }
    return s->n_edits ? s->edits[s->undo[at].edit].int8 : s->int8;
}

int session_load_side(struct session *s, enum side side, const char *path, const char *cache,
                      struct err *err)
{
    bool fp32 = side == SIDE_FP32;
    if (fp32 ? s->int8 : s->fp32) { /* it is planned again, and a run may be using it */
        job_replace(s);
    }
    struct loading a = {.s = s, .path = fp32 ? path : NULL, .reference = true};
    struct loading b = {.s = s, .path = fp32 ? NULL : path, .cache = cache};
    /* Edits belong to the pair that goes. */
    a.keep = fp32 ? NULL : s->n_edits ? s->edits[0].fp32 : s->fp32;
    b.keep = fp32 ? read_int8(s) : NULL;
    b.report = b.keep ? s->implicit : b.report;
    int rc = load_both(s, &a, &b, err);
    if (rc == E_SHAPE && (a.keep || b.keep)) {
        return err_in(err, "not one network ('unload' gives up the other model)");
    }
    return rc;
}

int session_replan(struct session *s, struct err *err)
{
    struct plan *pa = NULL, *pb = NULL;
    bool gaps = session_has_gaps(s);
    job_replace(s);
    /* Plain kernels take their time and refuse what the fast ones do. */
    bool probe = gaps || s->set.kernels == KERNELS_FAST;
    int rc = s->fp32 ? side_plan(s, s->fp32, true, probe, &pa, err) : OK;
    rc = rc || !s->int8 ? rc : side_plan(s, s->mixed ? s->mixed : s->int8, false, probe, &pb, err);
    if (rc) {
        plan_free(pa);
        plan_free(pb);
        return rc;
    }
    plan_free(s->plan_fp32);
    plan_free(s->plan_int8);
    s->plan_fp32 = pa;
    s->plan_int8 = pb;
    session_forget(s);
    return gaps || session_has_gaps(s) ? session_match(s, err) : OK;
}
