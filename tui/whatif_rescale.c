/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * whatif_rescale.c: whatif --rescale: how the codes of integer layers would differ with an integer
 * multiplier and a shift, measured on the images of the last run. Each layer gets the inputs that
 * it has in the model in force.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/executed.h"
#include "tui/whatif.h"

struct rescaling_run {
    struct rescale how;
    int *layer_of;        /* per executed node: the layer that it is weighted for, -1 */
    struct uses uses;     /* of the executed graph */
    struct rescaled *out; /* per layer */
    char **errors;        /* per layer; NULL: none */
    size_t n_images, *images;
    atomic_size_t next;
    size_t turn;
    bool stopped;
    struct err err;
    pthread_cond_t merged;
    struct session *s;
};

/* One image: layers are looked at as soon as their inputs are there. */
struct rescaling_image {
    struct rescaling_run *r;
    struct rescaled *out;
    char **errors;
};

static int rescale_tap(void *ctx, int value, const struct tensor *t, struct err *err)
{
    struct rescaling_image *x = ctx;
    struct rescaling_run *r = x->r;
    const struct plan *p = r->s->plan_int8;
    for (int u = r->uses.start[value]; u < r->uses.start[value + 1]; u++) {
        int node = r->uses.node[u], layer = r->layer_of[node];
        const struct node *n = &plan_graph(p)->nodes[node];
        if (layer < 0 || n->in[0] != value || x->out[layer].n || x->errors[layer]) {
            continue;
        }
        struct err why = {0};
        const struct tensor **in = mem_alloc(((size_t)n->n_in + 1) * sizeof *in);
        in[0] = t;
        int rc = plan_rescale(p, node, in, &r->how, &x->out[layer], &why);
        free(in);
        if (rc == E_LIMIT || rc == E_STOP) {
            return err_set(err, rc, "%s", why.text);
        }
        x->errors[layer] = rc ? mem_dup(why.text) : NULL;
    }
    return cancelled(&r->s->job.cancel) ? err_set(err, E_STOP, "cancelled") : OK;
}

static int rescale_image(struct rescaling_run *r, size_t image, struct rescaling_image *x,
                         struct err *err)
{
    struct session *s = r->s;
    size_t n_in = session_inputs(s, NULL, 0);
    struct tensor **in = mem_alloc((n_in + 1) * sizeof *in);
    struct run_options o = {.tap = rescale_tap, .tap_ctx = x, .cancel = &s->job.cancel};
    int rc = session_int8_sample(s, image, in, err);
    rc = rc ? rc : plan_run(s->plan_int8, (const struct tensor *const *)in, NULL, &o, err);
    for (size_t i = 0; i < n_in; i++) {
        tensor_free(in[i]);
    }
    free(in);
    return rc;
}

/* Adds image i when its turn comes, so that sums do not depend on the number of threads. */
static bool merge(struct rescaling_run *r, size_t i, int rc, struct rescaling_image *x,
                  const struct err *err)
{
    struct session *s = r->s;
    pthread_mutex_lock(&s->lock);
    while (r->turn != i && !r->stopped) {
        pthread_cond_wait(&r->merged, &s->lock);
    }
    if (rc && !r->stopped) {
        r->stopped = true;
        r->err = *err;
    }
    bool ok = !r->stopped;
    for (size_t k = 0; ok && k < s->match.n_layers; k++) {
        if (x->out[k].n) {
            rescaled_merge(&r->out[k], &x->out[k]);
        }
        if (x->errors[k] && !r->errors[k]) {
            r->errors[k] = x->errors[k];
            x->errors[k] = NULL;
        }
    }
    if (ok) {
        job_advance(s, ++r->turn, r->n_images);
    }
    pthread_cond_broadcast(&r->merged);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static void *worker(void *arg)
{
    struct rescaling_run *r = arg;
    size_t n = r->s->match.n_layers;
    bool go_on = true;
    for (size_t i; go_on && (i = atomic_fetch_add(&r->next, 1)) < r->n_images;) {
        struct err err = {0};
        struct rescaling_image x = {.r = r,
                                    .out = mem_alloc((n + 1) * sizeof *x.out),
                                    .errors = mem_alloc((n + 1) * sizeof *x.errors)};
        int rc = rescale_image(r, r->images[i], &x, &err);
        go_on = merge(r, i, rc, &x, &err);
        for (size_t k = 0; k < n; k++) {
            free(x.errors[k]);
        }
        free(x.errors);
        free(x.out);
    }
    return NULL;
}

static int rescale_body(struct session *s, void *ctx, struct err *err)
{
    struct rescaling_run *r = ctx;
    job_threads((int)MIN((size_t)MAX(s->set.jobs, 1), MAX(r->n_images, (size_t)1)), worker, r);
    return r->stopped ? err_set(err, r->err.code, "%s", r->err.text) : OK;
}

static void rescale_summary(const struct session *s, char *dst, size_t size)
{
    (void)s;
    snprintf(dst, size, "requantizations compared");
}

static const struct job_kind rescale_kind = {
    .what = "whatif",
    .unit = "images",
    .short_unit = "img",
    .uses_plans = true,
    .body = rescale_body,
    .summary = rescale_summary,
};

/* ---- Answers -------------------------------------------------------------------------------- */

static double sqnr_after(const struct rescaled *x, int which)
{
    return sqnr_db(x->signal, x->noise[which]);
}

static json_t *rescaled_json(const char *name, const struct rescaled *x)
{
    return json_pack(
        "{s:o,s:I,s:I,s:o,s:i,s:I,s:i,s:i,s:o,s:o}", "name", json_text(name), "codes",
        (json_int_t)x->n, "differ_measured", (json_int_t)x->differ, "differ_share_measured",
        json_num(x->n ? 100 * (double)x->differ / (double)x->n : NAN), "largest_measured",
        x->largest, "beyond_measured", (json_int_t)x->beyond, "shift_min", x->shift_min,
        "shift_max", x->shift_max, "requantization_sqnr_measured", json_num(sqnr_after(x, 0)),
        "rescale_sqnr_measured", json_num(sqnr_after(x, 1)));
}

static void rescaled_text(const char *name, const struct rescaled *x, FILE *out)
{
    fprintf(out,
            "%s: %llu of %llu codes differ (%.4f %%), by %d at most; requantization %.2f dB, would "
            "be %.2f dB; shifts %d to %d",
            name, (unsigned long long)x->differ, (unsigned long long)x->n,
            x->n ? 100 * (double)x->differ / (double)x->n : 0.0, x->largest, sqnr_after(x, 0),
            sqnr_after(x, 1), x->shift_min, x->shift_max);
    if (x->beyond) {
        fprintf(out, "; %llu sums beyond what RESCALE allows", (unsigned long long)x->beyond);
    }
    fputc('\n', out);
}

/* Layers that multiply codes, of those asked for; *left: those that multiply in float. */
static size_t choose_nodes(struct session *s, struct rescaling_run *r, size_t n,
                           const size_t *layers, size_t *left)
{
    const struct graph *x = plan_graph(s->plan_int8);
    struct local_map *map = local_map_of(s);
    size_t found = 0;
    r->layer_of = mem_alloc((x->n_nodes + 1) * sizeof *r->layer_of);
    memset(r->layer_of, 0xff, x->n_nodes * sizeof *r->layer_of);
    for (size_t i = 0; i < n; i++) {
        int node = map->weighted[layers[i]];
        if (node >= 0 && node_is_integer(&x->nodes[node])) {
            r->layer_of[node] = (int)layers[i];
            found++;
        } else {
            *left += node >= 0;
        }
    }
    local_map_free(map);
    return found;
}

static size_t answer(struct call *c, const struct rescaling_run *r, size_t n, const size_t *layers,
                     struct whatif_answer *a)
{
    struct session *s = c->s;
    struct rescaled all = {0};
    size_t told = 0;
    for (size_t i = 0; i < n; i++) {
        const struct rescaled *x = &r->out[layers[i]];
        const char *name = s->match.layers[layers[i]].name;
        if (r->errors[layers[i]]) {
            char safe[400];
            fprintf(c->note, "%s\n", text_safe(safe, sizeof safe, r->errors[layers[i]]));
        } else if (x->n) {
            rescaled_merge(&all, x);
            told++;
            if (s->json) {
                json_array_append_new(a->rows, rescaled_json(name, x));
            } else {
                rescaled_text(session_layer_label(s, layers[i]), x, c->out);
            }
        }
    }
    if (told && s->json) {
        a->more = json_pack("{s:i,s:b,s:o}", "scale", r->how.scale16 ? 16 : 32, "double_round",
                            r->how.double_round, "all", rescaled_json("all", &all));
    } else if (told > 1) {
        rescaled_text("all", &all, c->out);
    }
    return told;
}

/* Over the images of the last run. */
static int rescale_layers(struct call *c, size_t n, const size_t *layers, struct err *err)
{
    struct session *s = c->s;
    const char *bits = call_opt(c, "--rescale");
    struct rescaling_run r = {.s = s, .n_images = s->n_ran, .images = s->ran};
    struct whatif_answer a = {.what = "rescale"};
    size_t left = 0;
    r.how = (struct rescale){.scale16 = strcmp(bits, "16") == 0,
                             .double_round = call_opt(c, "--double-round") != NULL};
    if (!choose_nodes(s, &r, n, layers, &left)) {
        free(r.layer_of);
        return err_set(err, E_STATE, "none of these layers is an integer convolution or product");
    }
    if (left) {
        fprintf(c->note, "%zu layer%s in float: no sums of codes to look at\n", left,
                left == 1 ? " runs" : "s run");
    }
    r.uses = graph_uses(plan_graph(s->plan_int8));
    r.out = mem_alloc((s->match.n_layers + 1) * sizeof *r.out);
    r.errors = mem_alloc((s->match.n_layers + 1) * sizeof *r.errors);
    pthread_cond_init(&r.merged, NULL);
    int rc = job_start(s, &rescale_kind, &r, r.n_images, false, s->json ? NULL : c->note, err);
    a.rows = json_array();
    size_t told = rc ? 0 : answer(c, &r, n, layers, &a);
    if (!rc && !told) {
        rc = err_set(err, E_STATE, "none of these layers requantizes its sums");
    }
    rc = rc ? rc : whatif_end(c, &a, told, err);
    if (!told) {
        json_decref(a.rows);
    }
    pthread_cond_destroy(&r.merged);
    for (size_t k = 0; k < s->match.n_layers; k++) {
        free(r.errors[k]);
    }
    free(r.errors);
    free(r.out);
    free(r.layer_of);
    uses_fini(&r.uses);
    return rc;
}

int whatif_rescaled(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t n, *layers;
    if (call_opt(c, "--apply")) {
        return err_set(err, E_USAGE,
                       "--rescale is what another runtime would compute: there is nothing to "
                       "apply");
    }
    job_replace(s);
    if (!s->n_ran) {
        return err_set(err, E_STATE, "the last run had no images");
    }
    int rc = whatif_layers(c, &n, &layers, err);
    if (rc) {
        return rc;
    }
    rc = rescale_layers(c, n, layers, err);
    free(layers);
    return rc;
}
