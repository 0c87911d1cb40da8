/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * state_load.c: reads a session. The file comes from the outside: every type is checked, every
 * number is bounded, and what does not fit the models any more is told and left out.
 */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/cmd_ui.h"
#include "tui/edits.h"
#include "tui/graph.h"
#include "tui/own_metric.h"
#include "tui/shell.h"
#include "tui/state.h"

enum { MOST_STEPS = 10000, MOST_NAMES = 1000000 };

/* ---- Reading and checking -------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static const struct {
    const char *key;
    int type; /* json_type; null is allowed everywhere */
} members[] = {
    {"folder", JSON_STRING},     {"fp32", JSON_OBJECT},     {"int8", JSON_OBJECT},
    {"hand", JSON_ARRAY},        {"settings", JSON_OBJECT}, {"variables", JSON_OBJECT},
    {"preprocess", JSON_STRING}, {"task", JSON_STRING},     {"images", JSON_ARRAY},
    {"class_names", JSON_ARRAY}, {"marked", JSON_ARRAY},    {"history", JSON_OBJECT},
    {"screen", JSON_OBJECT},     {"run", JSON_ARRAY},       {"saved", JSON_STRING},
    {"metrics", JSON_ARRAY},
};

static int check_members(const json_t *o, struct err *err)
{
    for (size_t i = 0; i < COUNT(members); i++) {
        const json_t *v = json_object_get(o, members[i].key);
        if (v && !json_is_null(v) && (int)json_typeof(v) != members[i].type)
            return err_set(err, E_FORMAT, "\"%s\" has another type than expected", members[i].key);
    }
    static const char *const sides[] = {"fp32", "int8"};
    for (size_t i = 0; i < COUNT(sides); i++) {
        const json_t *m = json_object_get(o, sides[i]);
        if (json_is_object(m) && !text_of(m, "file"))
            return err_set(err, E_FORMAT, "\"%s\" has no \"file\"", sides[i]);
    }
    if (json_array_size(json_object_get(o, "images")) > MOST_NAMES)
        return err_set(err, E_LIMIT, "more than %d images", MOST_NAMES);
    return OK;
}

int state_read(const char *path, json_t **out, struct err *err)
{
    json_t *o = NULL;
    int rc = json_load_kind(path, STATE_KIND, &o, err);
    if (rc)
        return rc;
    rc = check_members(o, err);
    if (rc) {
        json_decref(o);
        return err_in(err, "%s", path);
    }
    *out = o;
    return OK;
}

char *state_summary(json_t *state)
{
    char *names[2] = {NULL, NULL}, safe[256];
    static const char *const sides[] = {"fp32", "int8"};
    for (int i = 0; i < 2; i++) {
        const char *file = text_of(json_object_get(state, sides[i]), "file");
        const char *slash = file ? strrchr(file, '/') : NULL;
        if (file)
            names[i] = mem_dup(text_safe(safe, sizeof(safe), slash ? slash + 1 : file));
    }
    const json_t *history = json_object_get(state, "history");
    const json_t *steps = json_object_get(history, "steps");
    const json_int_t at = json_integer_value(json_object_get(history, "at"));
    const json_t *step = at > 0 ? json_array_get(steps, (size_t)at - 1) : NULL;
    const char *saved = text_of(state, "saved");
    const size_t images = json_array_size(json_object_get(state, "images"));
    const size_t pins = json_array_size(json_object_get(step, "pins"));
    char *line = mem_printf("%s%s%s, %zu image%s, %zu pin%s, saved %s", names[0] ? names[0] : "",
                            names[0] && names[1] ? " <> " : "", names[1] ? names[1] : "", images,
                            images == 1 ? "" : "s", pins, pins == 1 ? "" : "s",
                            text_safe(safe, sizeof(safe), saved ? saved : "?"));
    free(names[0]);
    free(names[1]);
    return line;
}

/* ---- Models ---------------------------------------------------------------------------------- */

/* Relative paths are those of the folder in which the session was saved. */
char *state_place(const json_t *state, const char *path)
{
    const char *folder = text_of(state, "folder");
    char *here = getcwd(NULL, 0);
    const bool same = !folder || (here && strcmp(folder, here) == 0);
    free(here);
    return !path                    ? NULL
           : same || path[0] == '/' ? mem_dup(path)
                                    : mem_printf("%s/%s", folder, path);
}

static void tell_changed(const struct graph *g, const json_t *model, FILE *note)
{
    char hex[33], safe[512];
    const char *was = text_of(model, "digest");
    if (!g || !was)
        return;
    digest_hex(graph_digest(g), hex);
    if (strcmp(hex, was) != 0)
        fprintf(note, "%s has changed since the session was saved\n",
                text_safe(safe, sizeof(safe), g->path));
}

/* Settings that say how models are planned, before they are. */
static void set_before(struct session *s, const json_t *state)
{
    const json_t *o = json_object_get(state, "settings");
    const char *numerics = text_of(o, "numerics"), *kernels = text_of(o, "kernels");
    const int n = numerics ? numerics_find(numerics) : -1;
    if (n >= 0)
        s->set.numerics = (enum numerics)n;
    if (kernels)
        s->set.kernels = strcmp(kernels, "plain") == 0 ? KERNELS_PLAIN : KERNELS_FAST;
}

static int load_models(struct session *s, const json_t *state, FILE *note, struct err *err)
{
    const json_t *a = json_object_get(state, "fp32"), *b = json_object_get(state, "int8");
    char *fp32 = state_place(state, text_of(a, "file")),
         *int8 = state_place(state, text_of(b, "file"));
    char *cache = state_place(state, text_of(b, "cache"));
    const struct setting_values before = s->set;
    int rc = OK;
    set_before(s, state);
    if (fp32 || int8)
        rc = session_load(s, fp32, int8, cache, err);
    else
        session_unload(s);
    if (rc) {
        s->set = before;
    } else {
        tell_changed(s->fp32, a, note);
        tell_changed(s->int8, b, note);
    }
    free(fp32);
    free(int8);
    free(cache);
    return rc;
}

static void restore_hand(struct session *s, const json_t *list, FILE *note)
{
    size_t i;
    json_t *pair;
    json_array_foreach(list, i, pair)
    {
        const char *a = text_of(pair, "fp32"), *b = text_of(pair, "int8");
        if (!a || !b || !s->pair)
            continue;
        s->hand = mem_push(s->hand, s->n_hand, &s->cap_hand, sizeof(*s->hand));
        s->hand[s->n_hand++] = (struct match_pair){.fp32 = mem_dup(a), .int8 = mem_dup(b)};
    }
    struct err err = {0};
    char safe[1024];
    if (s->n_hand && session_match(s, &err) != OK)
        fprintf(note, "pairs made by hand: %s\n", text_safe(safe, sizeof(safe), err.text));
}

/* ---- Choices --------------------------------------------------------------------------------- */

static int bounded(const json_t *o, const char *key, json_int_t lo, json_int_t hi, json_int_t dflt)
{
    const json_t *v = json_object_get(o, key);
    return (int)(json_is_integer(v) ? MIN(MAX(json_integer_value(v), lo), hi) : dflt);
}

static void restore_images(struct session *s, const json_t *state)
{
    struct dataset *d = &s->data;
    const json_t *names = json_object_get(state, "class_names");
    size_t i;
    json_t *x;
    dataset_fini(d);
    json_array_foreach(json_object_get(state, "images"), i, x)
    {
        const char *path = text_of(x, "path"), *name = text_of(x, "name");
        const json_t *row = json_object_get(x, "row");
        if (!path || !name)
            continue;
        d->samples = mem_push(d->samples, d->n, &d->cap, sizeof(*d->samples));
        d->samples[d->n++] = (struct sample){
            .path = state_place(state, path),
            .name = mem_dup(name),
            .row = json_is_integer(row) ? MAX(json_integer_value(row), -1) : -1,
            .label = bounded(x, "label", -1, INT_MAX / 2, -1),
            .marked = json_is_true(json_object_get(x, "marked")),
        };
    }
    d->n_names = MIN(json_array_size(names), (size_t)MOST_NAMES);
    d->names = mem_alloc((d->n_names + 1) * sizeof(*d->names));
    for (i = 0; i < d->n_names; i++)
        d->names[i] = mem_dup(json_string_value(json_array_get(names, i)));
}

static void restore_preprocess(struct session *s, const json_t *state, FILE *note)
{
    const char *text = text_of(state, "preprocess"), *task = text_of(state, "task");
    struct preprocess pp = s->pp;
    struct err err = {0};
    int rc = OK;
    free(s->task);
    s->task = mem_dup(task);
    s->pp_set = text != NULL;
    for (const char *p = text; p && *p && rc == OK;) {
        const size_t n = strcspn(p, " ");
        char *word = strndup(p, n);
        rc = n ? preprocess_set(&pp, word, &err) : OK;
        free(word);
        p += n + (p[n] == ' ');
    }
    char safe[1024];
    if (rc)
        fprintf(note, "preprocessing: %s\n", text_safe(safe, sizeof(safe), err.text));
    else
        s->pp = pp;
}

/* The session's own business, not a line of the user's. */
static void quietly(struct session *s, const char *head, const char *word)
{
    struct err err = {0};
    char *words[] = {(char *)(uintptr_t)word};
    FILE *null = word ? fopen("/dev/null", "we") : NULL;
    if (!null)
        return;
    char *line = cmd_join(head, 1, words);
    const char *before = s->shell->where;
    s->shell->where = "session";
    s->shell->depth++;
    cmd_line(s, line, null, null, &err);
    s->shell->depth--;
    s->shell->where = before;
    free(line);
    fclose(null);
}

static void restore_settings(struct session *s, const json_t *state)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(state, "settings"), name, value)
    {
        const bool planned = strcmp(name, "numerics") == 0 || strcmp(name, "kernels") == 0;
        char *head = mem_printf("set %s", name);
        if (!planned && setting_choices(name))
            quietly(s, head, json_string_value(value));
        free(head);
    }
    json_object_foreach(json_object_get(state, "variables"), name, value)
    {
        if (json_is_string(value))
            json_object_set(s->vars, name, value);
        origin_note(s, name, "session");
    }
}

static void restore_graph(struct session *s, const json_t *o)
{
    struct ui *ui = &s->ui;
    const int last = s->map ? (int)s->map->n - 1 : -1;
    quietly(s, "select color", text_of(o, "color"));
    ui->graph_depth = bounded(o, "depth", 0, GRAPH_DEPTH_MAX, 0);
    if (last < 0)
        return;
    ui->graph_node = bounded(o, "node", 0, last, ui->graph_node);
    ui->graph_focus = bounded(o, "focus", 0, last, ui->graph_focus);
    graph_update(s);
}

static void restore_screen(struct session *s, const json_t *o)
{
    struct ui *ui = &s->ui;
    for (size_t i = 0; ui_switch(i); i++)
        *ui_switch_value(ui, i) = json_is_true(json_object_get(o, ui_switch(i)));
    ui->layer_filter[0] = ui->image_filter[0] = '\0'; /* those before may hide what is chosen */
    quietly(s, "sort", text_of(o, "sort"));
    quietly(s, "sort images", text_of(o, "sort_images"));
    quietly(s, "select image", text_of(o, "image"));
    quietly(s, "select layer", text_of(o, "layer"));
    quietly(s, "filter", text_of(o, "filter"));
    quietly(s, "filter --images", text_of(o, "filter_images"));
    quietly(s, "view", text_of(o, "view"));
    ui->channel = bounded(o, "channel", 0, INT_MAX / 2, 0);
    restore_graph(s, json_object_get(o, "graph"));
}

static void restore_marked(struct session *s, const json_t *list)
{
    size_t i;
    json_t *name;
    json_array_foreach(list, i, name)
    {
        for (size_t k = 0; s->marked && json_is_string(name) && k < s->match.n_layers; k++)
            s->marked[k] |= strcmp(s->match.layers[k].name, json_string_value(name)) == 0;
    }
}

/* ---- History of pins ------------------------------------------------------------------------- */

/* A precision that this version does not know is FP32; *strange is then its name. */
static struct pin_state step_of(const json_t *step, const char **strange)
{
    const json_t *pins = json_object_get(step, "pins"), *as = json_object_get(step, "precisions");
    const char *line = text_of(step, "line");
    struct pin_state p = {.label = mem_dup(line ? line : "?")};
    const size_t n = MIN(json_array_size(pins), (size_t)MOST_NAMES);
    p.names = mem_alloc((n + 1) * sizeof(*p.names));
    p.as = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(pins, i));
        const char *word = json_string_value(json_array_get(as, i));
        const int as_named = word ? precision_find(word) : PREC_FP32;
        *strange = as_named < 0 ? word : *strange;
        if (name) {
            p.as[p.n] = (uint8_t)MAX(as_named, PREC_FP32);
            p.names[p.n++] = mem_dup(name);
        }
    }
    return p;
}

/* The models as a step left them, from those of the step before; false: it changed pins alone. */
static int step_version(struct session *s, const json_t *state, const json_t *step,
                        const struct version *before, struct version *out, bool *changed,
                        FILE *note, struct err *err)
{
    const json_t *list = json_object_get(step, "edits"), *file = json_object_get(step, "int8");
    struct edits made;
    *out = (struct version){0};
    *changed = list || file;
    int rc = list ? edits_read(list, &made, err) : OK;
    rc = rc || !list ? rc : session_make(s, before, made, out, err);
    char *path = rc || list ? NULL : state_place(state, text_of(file, "file"));
    if (path)
        rc = session_other(s, path, out, err);
    else if (!rc && file)
        rc = err_set(err, E_FORMAT, "\"int8\" has no \"file\"");
    if (!rc && path)
        tell_changed(out->int8, file, note);
    free(path);
    out->fp32 = out->fp32 ? out->fp32 : before->fp32;
    return rc;
}

/* Adds the version that a step brought, if it did; else the step has that of the one before. */
static int restore_version(struct session *s, const json_t *state, const json_t *step, size_t *edit,
                           FILE *note, struct err *err)
{
    struct version v;
    bool changed;
    if (!s->n_edits)
        session_version(s, (struct version){.fp32 = s->fp32, .int8 = s->int8});
    const struct version before = s->edits[*edit];
    const int rc = step_version(s, state, step, &before, &v, &changed, note, err);
    if (!rc && changed)
        *edit = session_version(s, v);
    return rc;
}

static void restore_history(struct session *s, const json_t *state, FILE *note)
{
    const json_t *o = json_object_get(state, "history"), *steps = json_object_get(o, "steps");
    const size_t all = json_array_size(steps), n = MIN(all, (size_t)MOST_STEPS), skip = all - n;
    struct pin_state *states = mem_alloc((n + 1) * sizeof(*states));
    struct err why = {0};
    char safe[1024];
    const char *strange = NULL;
    size_t edit = 0;
    for (size_t i = 0; i < n; i++) {
        states[i] = step_of(json_array_get(steps, skip + i), &strange);
        if (!why.code)
            restore_version(s, state, json_array_get(steps, skip + i), &edit, note, &why);
        states[i].edit = edit;
    }
    if (strange)
        fprintf(note, "there is no precision '%s': pins of the session in it are in FP32\n",
                text_safe(safe, sizeof(safe), strange));
    if (why.code)
        fprintf(note, "edits of the session from one step on are not in force: %s\n",
                text_safe(safe, sizeof(safe), why.text));
    const json_int_t at = json_integer_value(json_object_get(o, "at")) - (json_int_t)skip;
    struct err err = {0};
    if (session_set_history(s, n, states, (size_t)MIN(MAX(at, 0), (json_int_t)n), &err) != OK)
        fprintf(note, "pins of the session are not in force: %s\n",
                text_safe(safe, sizeof(safe), err.text));
    free(states);
}

int state_restore(struct session *s, json_t *state, FILE *note, struct err *err)
{
    int rc = load_models(s, state, note, err);
    if (rc)
        return rc;
    session_forget(s);
    restore_images(s, state);
    restore_preprocess(s, state, note);
    session_follow(s);
    restore_hand(s, json_object_get(state, "hand"), note);
    restore_settings(s, state);
    own_restore(s, json_object_get(state, "metrics"), note);
    if (s->pair)
        restore_history(s, state, note); /* edits match the layers anew */
    restore_marked(s, json_object_get(state, "marked"));
    restore_screen(s, json_object_get(state, "screen"));
    return OK;
}

size_t *state_run(const struct session *s, json_t *state, size_t *n)
{
    const json_t *list = json_object_get(state, "run");
    const size_t all = json_array_size(list);
    size_t *images = mem_alloc((all + 1) * sizeof(*images));
    *n = 0;
    for (size_t i = 0; i < all; i++) {
        const json_t *v = json_array_get(list, i);
        const json_int_t at = json_is_integer(v) ? json_integer_value(v) : -1;
        if (at >= 0 && (size_t)at < MAX(s->data.n, (size_t)1))
            images[(*n)++] = (size_t)at;
    }
    if (*n)
        return images;
    free(images);
    return NULL;
}
