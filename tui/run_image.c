/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * run_image.c: runs both sides on one image. They go side by side, so that activations live only
 * until they have been compared.
 */
#include "tui/run_image.h"

#include <math.h>
#include <stdlib.h>

/* ---- What is run ----------------------------------------------------------------------------- */

static int *map_layers(const struct session *s, enum side side)
{
    const struct plan *p = side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
    if (!p) {
        return NULL;
    }
    const struct graph *x = plan_graph(p);
    int *map = mem_alloc((x->n_values + 1) * sizeof *map);
    memset(map, 0xff, x->n_values * sizeof *map);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        int at = session_executed(s, k, side);
        if (at >= 0) {
            map[at] = (int)k;
        }
    }
    return map;
}

static bool *list_wanted(const struct plan *p, const int *layer_at)
{
    size_t n = p ? plan_graph(p)->n_values : 0;
    bool *wanted = mem_alloc(n + 1);
    for (size_t v = 0; v < n; v++) {
        wanted[v] = layer_at[v] >= 0;
    }
    return wanted;
}

void run_setup_init(struct run_setup *u, const struct session *s)
{
    *u = (struct run_setup){
        .match = &s->match,
        .fp32 = s->fp32,
        .plan = {s->plan_fp32, s->plan_int8},
        .pp = &s->pp,
        .classify = s->classify,
        .hist = true,
    };
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        u->layer_at[side] = map_layers(s, side);
        u->wanted[side] = list_wanted(u->plan[side], u->layer_at[side]);
    }
    u->n_inputs = session_inputs(s, NULL, 0);
    u->inputs = mem_alloc((u->n_inputs + 1) * sizeof *u->inputs);
    session_inputs(s, u->inputs, u->n_inputs);
}

void run_setup_fini(struct run_setup *u)
{
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        free(u->layer_at[side]);
        free(u->wanted[side]);
    }
    local_setup_free(u->local);
    free(u->inputs);
}

/* ---- Pairs of activations ------------------------------------------------------------------- */

/* One image under way: both sides go side by side, so that a pair of activations is compared as
 * soon as both exist and need not be kept. */
struct pass {
    const struct run_setup *u;
    struct tensor **waiting[2]; /* by side and layer: not compared yet */
    size_t n_waiting;           /* on the FP32 side */
    struct image_result *r;
    const struct run_hooks *hooks;
    const struct run_with *with;
    bool *wanted[2];          /* values to compare, of layers that are not known */
    struct local_lane *local; /* NULL: not wanted */
};

/* What a tap of one side gets. */
struct pass_side {
    struct pass *p;
    enum side side;
};

static int call_keep(const struct pass *p, size_t layer, enum side side, const struct tensor *t,
                     struct err *err)
{
    bool wants = p->hooks && p->hooks->keep;
    return wants ? p->hooks->keep(p->hooks->ctx, layer, side, t, err) : OK;
}

static void compare(const struct pass *p, size_t layer, const struct tensor *x,
                    const struct tensor *y)
{
    const struct layer *l = &p->u->match->layers[layer];
    struct err why = {0};
    bool codes = !dtype_is_float(y->dtype);
    if (p->r->layers[layer].images) {
        return;
    }
    int rc = codes && !l->quantized
                 ? err_set(&why, E_STATE, "its scale is not a constant of the model")
                 : layer_stats_add(&p->r->layers[layer], x, y, codes ? &l->q : NULL,
                                   l->channel_axis, p->u->hist, &why);
    if (rc && !p->r->layer_errors[layer]) {
        p->r->layer_errors[layer] = mem_dup(why.text);
    }
}

/* Of one model alone, in a run. */
static void measure_alone(const struct pass *p, size_t layer, enum side side,
                          const struct tensor *t)
{
    const struct layer *l = &p->u->match->layers[layer];
    const bool codes = l->quantized && !dtype_is_float(t->dtype);
    struct err why = {0};
    if (p->u->hist && !p->r->layers[layer].images &&
        layer_stats_alone(&p->r->layers[layer], side, t, codes ? &l->q : NULL, l->channel_axis,
                          &why) &&
        !p->r->layer_errors[layer]) {
        p->r->layer_errors[layer] = mem_dup(why.text);
    }
}

/* The INT8 tensor as the FP32 side has it: models of two formats differ in their layout. */
static int int8_as_fp32(const struct pass *p, size_t layer, const struct tensor *x,
                        const struct tensor *t, struct tensor **out, struct err *err)
{
    enum channels moved = p->u->match->layers[layer].moved;
    if (moved == CHANNELS_SAME) {
        *out = tensor_ref(t);
        return OK;
    }
    struct tensor *rows = NULL;
    int rc = tensor_as(t, false, NULL, &rows, err);
    rc = rc ? rc
            : channels_move(rows, moved, x ? x->rank : t->rank, x ? x->dims : t->dims, NULL, out,
                            err);
    tensor_free(rows);
    return rc;
}

static void drop(struct pass *p, size_t layer)
{
    p->n_waiting -= p->waiting[SIDE_FP32][layer] != NULL;
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        tensor_free(p->waiting[side][layer]);
        p->waiting[side][layer] = NULL;
    }
}

/* Compares a layer whose two tensors are there, or hands on the INT8 one that stays alone. */
static int pass_layer(struct pass *p, size_t layer, struct err *err)
{
    const struct tensor *x = p->waiting[SIDE_FP32][layer], *t = p->waiting[SIDE_INT8][layer];
    struct tensor *y = NULL;
    int rc = t ? int8_as_fp32(p, layer, x, t, &y, err) : OK;
    rc = rc || !y ? rc : call_keep(p, layer, SIDE_INT8, y, err);
    if (!rc && x && y) {
        compare(p, layer, x, y);
    } else if (!rc && y && !p->u->plan[SIDE_FP32]) {
        measure_alone(p, layer, SIDE_INT8, y);
    }
    tensor_free(y);
    drop(p, layer);
    return rc;
}

static int pass_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    const struct pass_side *s = ctx;
    struct pass *p = s->p;
    int layer = p->u->layer_at[s->side][value], rc = OK;
    if (p->hooks && p->hooks->keep_other) {
        rc = p->hooks->keep_other(p->hooks->ctx, (size_t)value, s->side, t, err);
    }
    if (layer < 0 || rc) {
        return rc;
    }
    if (s->side == SIDE_FP32) {
        if (p->local) {
            local_offer(p->local, (size_t)layer, t);
        }
        rc = call_keep(p, (size_t)layer, SIDE_FP32, t, err);
        if (!rc && !p->u->plan[SIDE_INT8]) {
            measure_alone(p, (size_t)layer, SIDE_FP32, t);
        }
        if (p->with->memo) {
            memo_hold(p->with->memo, p->with->keys, p->with->image, (size_t)layer,
                      (struct tensor *)(uintptr_t)t);
        }
    }
    if (!rc && !p->waiting[s->side][layer] && (s->side == SIDE_INT8 || p->u->plan[SIDE_INT8])) {
        p->waiting[s->side][layer] = tensor_ref(t);
        p->n_waiting += s->side == SIDE_FP32;
    }
    bool both = p->waiting[SIDE_FP32][layer] && p->waiting[SIDE_INT8][layer];
    return rc || !(both || !p->u->plan[SIDE_FP32]) ? rc : pass_layer(p, (size_t)layer, err);
}

/* A node that is refused only now: its side ends there, the rest is measured. */
static void pass_refused(void *ctx, int node, const char *why)
{
    (void)node;
    struct image_score *s = &((const struct pass_side *)ctx)->p->r->score;
    s->error = s->error ? s->error : mem_dup(why);
}

/* The layers that a refused node kept from being compared get its reason. */
static void blame_refused(const struct pass *p)
{
    const char *why = p->r->score.error;
    for (size_t i = 0; i < p->u->match->n_layers && why; i++) {
        if (!p->r->layers[i].images && !p->r->layer_errors[i]) {
            p->r->layer_errors[i] = mem_dup(why);
        }
    }
}

/* ---- Scores and sides ----------------------------------------------------------------------- */

/* An output that an unsupported operator blocks: there is nothing to score. */
static void score_nothing(struct image_score *s)
{
    s->ok = true;
    s->fp32_top1 = s->int8_top1 = -1;
    s->top[SIDE_FP32].n = s->top[SIDE_INT8].n = 0;
    s->sqnr = s->cosine = s->mse = s->margin = s->dlogit = s->kl = NAN;
    s->flip = FLIP_NONE;
}

/* Scores of one model alone: its top-1, nothing to compare. */
static void score_single(size_t n, struct tensor **out, bool classify, enum side side, int label,
                         struct image_score *s)
{
    score_outputs(n, (const struct tensor *const *)out, (const struct tensor *const *)out, classify,
                  label, s);
    *(side == SIDE_FP32 ? &s->int8_top1 : &s->fp32_top1) = -1;
    s->top[side == SIDE_FP32 ? SIDE_INT8 : SIDE_FP32].n = 0;
    s->sqnr = s->cosine = s->mse = s->margin = s->dlogit = s->kl = NAN;
    s->flip = FLIP_NONE;
}

/* One side of an image: its own version of the sample, and its run. */
struct lane {
    struct pass_side tap;
    struct tensor **in; /* n_inputs */
    struct run_options o;
    struct run *run; /* NULL: not loaded, or done */
};

static int lane_begin(const struct run_setup *u, struct lane *l, struct tensor *const *in,
                      struct err *err)
{
    const struct plan *plan = u->plan[l->tap.side];
    int rc = OK;
    l->in = mem_alloc((u->n_inputs + 1) * sizeof *l->in);
    for (size_t i = 0; i < u->n_inputs && !rc && plan; i++) {
        rc = feed_input(plan_graph(plan), i, in[i], NULL, &l->in[i], err);
    }
    return rc || !plan ? rc
                       : run_begin(plan, (const struct tensor *const *)l->in, &l->o, &l->run, err);
}

/* Ends the run; out (NULL: not wanted) gets the outputs in real numbers. */
static int lane_end(const struct run_setup *u, struct lane *l, struct tensor **out, struct err *err)
{
    const struct graph *g = l->run ? plan_graph(u->plan[l->tap.side]) : NULL;
    int rc = l->run ? run_end(l->run, out, err) : OK;
    for (size_t i = 0; i < u->match->n_outputs && !rc && out && g; i++) {
        struct tensor *real = NULL;
        if (!out[i]) {
            continue; /* blocked by an operator without a kernel */
        }
        rc = feed_output(g, i, out[i], NULL, &real, err);
        if (!rc) {
            tensor_free(out[i]);
            out[i] = real;
        }
    }
    for (size_t i = 0; i < u->n_inputs; i++) {
        tensor_free(l->in[i]);
    }
    free(l->in);
    return rc;
}

/* Runs both sides: the FP32 one leads, and the INT8 one follows until it has made what waits. */
static int lanes_run(struct pass *p, struct lane lane[2], struct err *err)
{
    bool more[2] = {lane[0].run != NULL, lane[1].run != NULL};
    int rc = OK;
    while (!rc && (more[SIDE_FP32] || more[SIDE_INT8])) {
        if (more[SIDE_FP32]) {
            rc = run_step(lane[SIDE_FP32].run, &more[SIDE_FP32], err);
        }
        while (!rc && more[SIDE_INT8] && (p->n_waiting || !more[SIDE_FP32])) {
            rc = run_step(lane[SIDE_INT8].run, &more[SIDE_INT8], err);
        }
        rc = rc || !p->local ? rc : local_follow(p->local, !more[SIDE_FP32], err);
    }
    for (size_t k = 0; k < p->u->match->n_layers && !rc; k++) {
        if (p->waiting[SIDE_INT8][k]) {
            rc = pass_layer(p, k, err);
        }
    }
    return rc;
}

/* What the FP32 model would have made, where it is not run. */
static void recall(struct pass *p, struct tensor **out)
{
    size_t n = p->u->match->n_layers;
    for (size_t i = 0; i < n; i++) {
        struct tensor *t = p->with->recalled[i];
        p->waiting[SIDE_FP32][i] = t ? tensor_ref(t) : NULL;
        p->n_waiting += t != NULL;
    }
    for (size_t i = 0; i < p->u->match->n_outputs; i++) {
        out[i] = tensor_ref(p->with->recalled[n + i]);
    }
}

/* Values of layers that are known need not even exist. */
static bool *still_wanted(const struct run_setup *u, enum side side, const struct image_result *r)
{
    size_t n = u->plan[side] ? plan_graph(u->plan[side])->n_values : 0;
    bool *wanted = mem_alloc(n + 1);
    for (size_t v = 0; v < n; v++) {
        wanted[v] = u->wanted[side][v] && !r->layers[u->layer_at[side][v]].images;
    }
    return wanted;
}

static int run_both(const struct run_setup *u, struct tensor *const *in,
                    const struct run_with *with, struct image_result *r, struct tensor **out,
                    struct err *err)
{
    size_t n_layers = u->match->n_layers;
    struct pass p = {.u = u, .r = r, .hooks = with->hooks, .with = with};
    struct lane lane[2] = {0};
    int rc = OK;
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        p.waiting[side] = mem_alloc((n_layers + 1) * sizeof *p.waiting[side]);
        p.wanted[side] = still_wanted(u, side, r);
        lane[side].tap = (struct pass_side){&p, side};
        lane[side].o =
            (struct run_options){.tap = pass_tap,
                                 .refused = pass_refused,
                                 .tap_ctx = &lane[side].tap,
                                 .wanted = p.hooks && p.hooks->keep_other ? NULL : p.wanted[side],
                                 .any_layout = !p.hooks,
                                 .cancel = with->cancel,
                                 .par = with->par};
    }
    if (with->recalled) {
        recall(&p, out);
    } else {
        rc = lane_begin(u, &lane[SIDE_FP32], in, err);
    }
    rc = rc ? rc : lane_begin(u, &lane[SIDE_INT8], in, err);
    if (!rc && u->local && with->local && !with->recalled) {
        r->local = local_study_new(n_layers, u->local->map->n_inputs);
        rc = local_begin(u->local, lane[SIDE_INT8].in, in, with->sums, with->par, with->cancel,
                         r->local, &p.local, err);
    }
    rc = rc ? rc : lanes_run(&p, lane, err);
    local_end(p.local);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        int end = lane[side].in
                      ? lane_end(u, &lane[side], rc ? NULL : out + u->match->n_outputs * side, err)
                      : OK;
        rc = rc ? rc : end;
    }
    if (!rc) {
        blame_refused(&p);
    }
    for (size_t i = 0; i < n_layers; i++) {
        drop(&p, i);
    }
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        free(p.waiting[side]);
        free(p.wanted[side]);
    }
    return rc;
}

static int run_sides(const struct run_setup *u, struct tensor *const *in,
                     const struct run_with *with, int label, struct image_result *r,
                     struct err *err)
{
    size_t n_out = u->match->n_outputs;
    struct tensor **out = mem_alloc((2 * n_out + 1) * sizeof *out);
    int rc = run_both(u, in, with, r, out, err);
    bool complete = true;
    if (!rc && with->outputs) {
        memo_hold_outputs(with->outputs, u->plan[SIDE_FP32], with->image, n_out, out, with->room);
    }
    for (size_t i = 0; i < 2 * n_out; i++) {
        complete = complete && (out[i] || !u->plan[i / n_out]);
    }
    for (size_t i = 0; i < n_out && !rc && complete && u->plan[0] && u->plan[1]; i++) {
        rc = feed_like(out[i], &out[n_out + i], err);
    }
    if (!rc && !complete) {
        score_nothing(&r->score);
    } else if (!rc && u->plan[0] && u->plan[1]) {
        score_outputs(n_out, (const struct tensor *const *)out,
                      (const struct tensor *const *)out + n_out, u->classify, label, &r->score);
    } else if (!rc) {
        enum side side = u->plan[SIDE_FP32] ? SIDE_FP32 : SIDE_INT8;
        score_single(n_out, out + n_out * side, u->classify, side, label, &r->score);
    }
    for (size_t i = 0; i < 2 * n_out; i++) {
        tensor_free(out[i]);
    }
    free(out);
    return rc;
}

static int load_and_run(const struct run_setup *u, const struct sample *sample,
                        const struct run_with *with, struct image_result *r, struct err *err)
{
    struct tensor **in = mem_alloc((u->n_inputs + 1) * sizeof *in);
    int rc = u->n_inputs ? sample_load(sample, u->pp, (int)u->n_inputs, u->inputs, in, err) : OK;
    if (!rc) {
        rc = run_sides(u, in, with, sample->label, r, err);
        for (size_t i = 0; i < u->n_inputs; i++) {
            tensor_free(in[i]);
        }
    }
    free(in);
    return rc;
}

int run_one(const struct run_setup *u, const struct sample *sample, const struct run_with *with,
            struct image_result *r, struct err *err)
{
    if (!with->memo) {
        return load_and_run(u, sample, with, r, err);
    }
    bool *known = mem_alloc(u->match->n_layers + 1);
    size_t n = with->keys->n_layers + with->keys->n_outputs;
    struct tensor **held = mem_alloc((n + 1) * sizeof *held);
    struct run_with own = *with;
    bool all = memo_take(with->memo, with->keys, with->image, r, known);
    if (!all && memo_recall(with->memo, with->keys, with->image, known, held)) {
        own.recalled = held;
    }
    for (size_t k = 0; k < u->match->n_layers; k++) {
        own.local = own.local && !known[k]; /* it needs all FP32 activations */
    }
    int rc = all ? OK : load_and_run(u, sample, &own, r, err);
    if (!rc && !all) {
        memo_keep(with->memo, with->keys, with->image, r, known);
    }
    for (size_t i = 0; i < n; i++) {
        tensor_free(held[i]);
    }
    free(held);
    free(known);
    return rc;
}

int run_image(const struct session *s, size_t image, const struct run_hooks *hooks,
              const struct cancel *cancel, struct image_result *r, struct err *err)
{
    struct run_setup u;
    run_setup_init(&u, s);
    u.hist = false;
    r->score.image = image;
    const struct sample nothing = {.label = -1}; /* for a model without inputs */
    const struct sample *sample = image < s->data.n ? &s->data.samples[image] : &nothing;
    struct run_with with = {.hooks = hooks, .cancel = cancel, .par = par_new(s->set.jobs)};
    int rc = run_one(&u, sample, &with, r, err);
    par_free(with.par);
    run_setup_fini(&u);
    return rc;
}
