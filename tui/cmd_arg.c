/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_arg.c: what the words LAYER, IMAGE and METRIC of the command language stand for.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/expr.h"
#include "tui/tui.h"

int parse_sort(const char *word, char *name, size_t size, enum sort_dir *dir, struct err *err)
{
    const char *colon = strrchr(word, ':');
    *dir = SORT_WORST;
    if (colon && strcmp(colon, ":asc") == 0) {
        *dir = SORT_ASC;
    } else if (colon && strcmp(colon, ":desc") == 0) {
        *dir = SORT_DESC;
    } else if (colon) {
        return err_set(err, E_USAGE, "direction is :asc or :desc, found '%s'", colon);
    }
    snprintf(name, size, "%.*s", (int)(colon ? (size_t)(colon - word) : strlen(word)), word);
    return OK;
}

/* ---- Layers --------------------------------------------------------------------------------- */

struct layer_ctx {
    const struct session *s;
    size_t layer;
};

static int layer_lookup(void *ctx, const char *function, const char *name, struct expr_value *out,
                        struct err *err)
{
    const struct layer_ctx *c = ctx;
    const struct layer *l = &c->s->match.layers[c->layer];
    const struct metric *m = metric_find(name);
    if (function) {
        return err_set(err, E_USAGE, "no function '%s' here", function);
    }
    if (m && m->of == METRIC_VERDICT) {
        const char *text = judged_text(c->s, c->layer, m);
        out->text = text ? text : "";
    } else if (m) {
        out->number = layer_metric(c->s, c->layer, m);
    } else if (strcmp(name, "op") == 0) {
        out->text = l->op;
    } else if (strcmp(name, "name") == 0) {
        out->text = l->name;
    } else if (strcmp(name, "pinned") == 0) {
        out->number = session_pinned(c->s, c->layer);
    } else if (strcmp(name, "precision") == 0) {
        bool pinned = session_pinned(c->s, c->layer);
        out->text = pinned ? precisions[session_precision(c->s, c->layer)].name : "";
    } else if (strcmp(name, "marked") == 0) {
        out->number = c->s->marked[c->layer];
    } else if (strcmp(name, "quantized") == 0) {
        out->number = l->quantized;
    } else {
        return err_set(err, E_USAGE,
                       "no layer property '%s'; metrics, op, name, pinned, precision, "
                       "marked, quantized are",
                       name);
    }
    return OK;
}

int layer_where(const struct session *s, size_t layer, const char *expr, bool *yes, struct err *err)
{
    struct layer_ctx c = {.s = s, .layer = layer};
    struct expr_value v;
    int rc = expr_eval(expr, layer_lookup, &c, &v, err);
    *yes = !rc && expr_true(&v);
    return rc;
}

static const char *value_name(const struct graph *g, int v)
{
    return g && v >= 0 ? g->values[v].name : NULL;
}

/* The names a layer answers to: its node, and its tensor on either side. */
static bool layer_is(const struct session *s, size_t i, const char *word, bool glob)
{
    const struct layer *l = &s->match.layers[i];
    const char *names[] = {l->name, value_name(s->fp32, l->fp32), value_name(s->int8, l->int8),
                           value_name(s->int8, l->int8_float)};
    for (size_t k = 0; k < COUNT(names); k++) {
        if (names[k] && (glob ? text_glob(word, names[k]) : strcmp(word, names[k]) == 0)) {
            return true;
        }
    }
    return false;
}

/* A growing list of indices without duplicates. */
struct picks {
    size_t n, cap;
    size_t *v;
};

static void pick(struct picks *p, size_t i)
{
    for (size_t k = 0; k < p->n; k++) {
        if (p->v[k] == i) {
            return;
        }
    }
    p->v = mem_push(p->v, p->n, &p->cap, sizeof *p->v);
    p->v[p->n++] = i;
}

static int no_layer(const struct session *s, const char *word, struct err *err)
{
    const char *near = NULL;
    int best = 3;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        int d = text_distance(word, s->match.layers[i].name, best);
        if (d < best) {
            best = d;
            near = s->match.layers[i].name;
        }
    }
    for (size_t i = 0; i < s->match.n_unmatched; i++) {
        if (strcmp(s->match.unmatched[i].tensor, word) == 0) {
            return err_set(err, E_USAGE, "tensor '%s' is not comparable: %s", word,
                           s->match.unmatched[i].reason);
        }
    }
    if (near) {
        return err_set(err, E_USAGE, "no layer '%s'; did you mean '%s'?", word, near);
    }
    return err_set(err, E_USAGE,
                   "no layer '%s' ('layers' lists them; @N is a rank, * and ? make "
                   "patterns)",
                   word);
}

static int pick_at(struct session *s, const char *word, struct picks *p, struct err *err)
{
    bool found = false;
    if (strcmp(word, "@marked") == 0 || strcmp(word, "@pinned") == 0) {
        for (size_t i = 0; i < s->match.n_layers; i++) {
            if (word[1] == 'm' ? s->marked[i] : session_pinned(s, i)) {
                pick(p, i);
                found = true;
            }
        }
        return found ? OK : err_set(err, E_STATE, "no layer is %s", word + 1);
    }
    char *end;
    unsigned long rank = strtoul(word + 1, &end, 10);
    if (!*end && rank >= 1) {
        if (!s->n_listed) {
            return err_set(err, E_STATE, "'%s' is a rank of the last listing: run 'layers' first",
                           word);
        }
        if (rank > s->n_listed) {
            return err_set(err, E_USAGE, "'%s': the last listing has %zu rows", word, s->n_listed);
        }
        pick(p, s->listed[rank - 1]);
        return OK;
    }
    return no_layer(s, word, err);
}

static int pick_layers(struct session *s, const char *word, struct picks *p, struct err *err)
{
    bool found = false;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        if (layer_is(s, i, word, false)) { /* a literal name wins over a pattern */
            pick(p, i);
            found = true;
        }
    }
    if (found) {
        return OK;
    }
    if (word[0] == '@') {
        return pick_at(s, word, p, err);
    }
    if (word[0] == '{') {
        char *expr = mem_printf("%.*s", (int)MAX(strlen(word), 2) - 2, word + 1);
        int rc = OK;
        for (size_t i = 0; i < s->match.n_layers && !rc; i++) {
            bool yes;
            rc = layer_where(s, i, expr, &yes, err);
            if (yes) {
                pick(p, i);
            }
        }
        free(expr);
        return rc;
    }
    for (size_t i = 0; strpbrk(word, "*?[") && i < s->match.n_layers; i++) {
        if (layer_is(s, i, word, true)) {
            pick(p, i);
            found = true;
        }
    }
    return found ? OK : no_layer(s, word, err);
}

int layer_lists(struct session *s, size_t n_words, char **words, size_t *n, size_t **list,
                struct err *err)
{
    struct picks p = {0};
    for (size_t i = 0; i < n_words; i++) {
        int rc = pick_layers(s, words[i], &p, err);
        if (rc) {
            free(p.v);
            return rc;
        }
    }
    *n = p.n;
    *list = p.v;
    return OK;
}

int layer_list(struct session *s, const char *word, size_t *n, size_t **list, struct err *err)
{
    char *words[] = {(char *)word};
    return layer_lists(s, 1, words, n, list, err);
}

/* ---- Images --------------------------------------------------------------------------------- */

static bool image_is(const struct sample *x, const char *word, bool glob)
{
    const char *slash = strrchr(x->name, '/');
    const char *names[] = {x->name, x->path, slash ? slash + 1 : NULL};
    for (size_t k = 0; k < COUNT(names); k++) {
        if (names[k] && (glob ? text_glob(word, names[k]) : strcmp(word, names[k]) == 0)) {
            return true;
        }
    }
    return false;
}

static const char *const flip_names[] = {
    [FLIP_NONE] = "none", [FLIP_LOST] = "lost", [FLIP_GAINED] = "gained"};

struct image_ctx {
    const struct session *s;
    const struct sample *sample;
    const struct image_score *score; /* NULL: not in the last run */
};

/* A class by its name, or by its number when it has none; "" for none. */
static struct expr_value class_value(const struct dataset *d, int label)
{
    const bool named = label >= 0 && (size_t)label < d->n_names && d->names[label];
    return (struct expr_value){.number = label,
                               .text = named       ? d->names[label]
                                       : label < 0 ? ""
                                                   : NULL};
}

static bool image_property(const struct image_ctx *c, const char *name, struct expr_value *out)
{
    const struct dataset *d = &c->s->data;
    const struct {
        const char *name;
        struct expr_value value;
    } rows[] = {
        {"name", {.text = c->sample->name}},
        {"label", class_value(d, c->sample->label)},
        {"fp32", class_value(d, c->score ? c->score->fp32_top1 : -1)},
        {"int8", class_value(d, c->score ? c->score->int8_top1 : -1)},
        {"flip", {.text = flip_names[c->score ? c->score->flip : FLIP_NONE]}},
        {"marked", {.number = c->sample->marked}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *out = rows[i].value;
            return true;
        }
    }
    return false;
}

static int image_lookup(void *ctx, const char *function, const char *name, struct expr_value *out,
                        struct err *err)
{
    const struct image_ctx *c = ctx;
    const struct image_key *k = image_key_find(name);
    if (function) {
        return err_set(err, E_USAGE, "no function '%s' here", function);
    }
    if (k) {
        out->number = c->score && c->score->ok ? k->value(c->score) : NAN;
    } else if (!image_property(c, name, out)) {
        return err_set(err, E_USAGE,
                       "no image property '%s'; the scores (help sort images), name, label, fp32, "
                       "int8, flip, marked are",
                       name);
    }
    return OK;
}

int image_where(const struct session *s, size_t image, const char *expr, bool *yes, struct err *err)
{
    struct image_ctx c = {s, &s->data.samples[image], session_score(s, image)};
    struct expr_value v;
    int rc = expr_eval(expr, image_lookup, &c, &v, err);
    *yes = !rc && expr_true(&v);
    return rc;
}

static int pick_images(const struct session *s, const char *word, struct picks *p, struct err *err)
{
    bool found = false, marked = strcmp(word, "@marked") == 0;
    char *end;
    for (int glob = 0; glob < 2 && !found; glob++) {
        for (size_t i = 0; i < s->data.n; i++) {
            const struct sample *x = &s->data.samples[i];
            if (image_is(x, word, glob) || (marked && x->marked)) {
                pick(p, i);
                found = true;
            }
        }
    }
    unsigned long k = word[0] == '@' ? strtoul(word + 1, &end, 10) : 0;
    bool rank = !found && k >= 1 && !*end;
    if (rank && s->listed_images && k > s->n_listed_images) {
        return err_set(err, E_USAGE, "'%s': the last listing of images has %zu rows", word,
                       s->n_listed_images);
    }
    if (rank && s->listed_images) {
        pick(p, s->listed_images[k - 1]);
        found = true;
    } else if (rank && s->study && k <= s->study->n_images) {
        /* A rank among the images, worst first. */
        size_t *order = mem_alloc(s->study->n_images * sizeof *order);
        session_image_order(s, s->ui.image_sort, s->ui.image_dir, order);
        pick(p, s->study->images[order[k - 1]].image);
        free(order);
        found = true;
    }
    return found ? OK
                 : err_set(err, E_USAGE,
                           "no image '%s' among %zu ('dataset list' lists them; @N is "
                           "a rank, @marked the marked ones)",
                           word, s->data.n);
}

int image_one(struct session *s, const char *word, size_t *image, struct err *err)
{
    struct picks p = {0};
    int rc = pick_images(s, word, &p, err);
    if (!rc && p.n != 1) {
        rc = err_set(err, E_USAGE, "'%s' stands for %zu images, one is wanted", word, p.n);
    }
    *image = rc ? 0 : p.v[0];
    free(p.v);
    return rc;
}

int image_lists(struct session *s, size_t n_words, char **words, size_t *n, size_t **list,
                struct err *err)
{
    struct picks p = {0};
    for (size_t i = 0; i < n_words; i++) {
        int rc = pick_images(s, words[i], &p, err);
        if (rc) {
            free(p.v);
            return rc;
        }
    }
    *n = p.n;
    *list = p.v;
    return OK;
}
