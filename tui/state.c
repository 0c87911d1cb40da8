/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * state.c: writes a session.
 */
#include <stdlib.h>
#include <unistd.h>

#include "tui/cmd_ui.h"
#include "tui/edits.h"
#include "tui/own_metric.h"
#include "tui/state.h"

/* ---- Models ---------------------------------------------------------------------------------- */

struct digest graph_digest(const struct graph *g)
{
    struct digest d = {0, 0};
    const struct span file = g->source ? g->source->model : (struct span){0};
    digest_bulk(&d, file.p, file.n);
    for (size_t i = 0; i < g->n_values; i++) {
        const struct tensor *t = g->values[i].constant;
        if (t && !t->borrowed) {
            const struct digest own = tensor_digest(t);
            digest_add(&d, &own, sizeof(own));
        }
    }
    return d;
}

void digest_hex(struct digest d, char dst[33])
{
    snprintf(dst, 33, "%016llx%016llx", (unsigned long long)d.hi, (unsigned long long)d.lo);
}

/* A name as it is: keys of a file must come back as they went. */
static json_t *exact(const char *text)
{
    return text ? json_string_nocheck(text) : json_null();
}

static json_t *model_json(const struct graph *g, const char *cache)
{
    if (!g)
        return json_null();
    char hex[33];
    digest_hex(graph_digest(g), hex);
    return json_pack("{s:o,s:s,s:o}", "file", exact(g->path), "digest", hex, "cache", exact(cache));
}

static json_t *hand_json(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_hand; i++)
        json_array_append_new(list, json_pack("{s:o,s:o}", "fp32", exact(s->hand[i].fp32), "int8",
                                              exact(s->hand[i].int8)));
    return list;
}

/* ---- Choices --------------------------------------------------------------------------------- */

static json_t *settings_json(const struct session *s)
{
    json_t *o = json_object();
    char text[512];
    for (size_t i = 0; setting_name(i); i++)
        if (setting_kept(i)) {
            setting_show(s, i, text, sizeof(text));
            json_object_set_new(o, setting_name(i), json_string(text));
        }
    return o;
}

static json_t *images_json(const struct dataset *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n; i++) {
        const struct sample *x = &d->samples[i];
        json_array_append_new(list, json_pack("{s:o,s:o,s:I,s:i,s:b}", "path", exact(x->path),
                                              "name", exact(x->name), "row", (json_int_t)x->row,
                                              "label", x->label, "marked", x->marked));
    }
    return list;
}

static json_t *names_json(size_t n, char *const *names)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, exact(names[i]));
    return list;
}

static json_t *marked_json(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; s->marked && i < s->match.n_layers; i++)
        if (s->marked[i])
            json_array_append_new(list, exact(s->match.layers[i].name));
    return list;
}

static json_t *precisions_json(const struct pin_state *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(list, json_string(precisions[p->as[i]].name));
    return list;
}

static json_t *history_json(const struct session *s)
{
    json_t *steps = json_array();
    for (size_t i = 1; i < s->n_undo; i++) {
        const struct version *v = session_step_edit(s, i);
        json_t *step = json_pack("{s:o,s:o,s:o}", "line", exact(s->undo[i].label), "pins",
                                 names_json(s->undo[i].n, s->undo[i].names), "precisions",
                                 precisions_json(&s->undo[i]));
        if (v && v->made.n)
            json_object_set_new(step, "edits", edits_json(&v->made));
        else if (v)
            json_object_set_new(step, "int8", model_json(v->int8, NULL));
        json_array_append_new(steps, step);
    }
    return json_pack("{s:I,s:o}", "at", (json_int_t)s->at_undo, "steps", steps);
}

static json_t *order_json(const char *name, enum sort_dir dir)
{
    static const char *const dirs[] = {
        [SORT_WORST] = "", [SORT_ASC] = ":asc", [SORT_DESC] = ":desc"};
    char *word = mem_printf("%s%s", name, dirs[dir]);
    json_t *o = json_string(word);
    free(word);
    return o;
}

/* What the graph shows, and around which of its nodes. */
static json_t *graph_json(const struct ui *ui)
{
    /* Times are not kept. */
    const char *color = ui->graph_by == GRAPH_MACS ? "macs"
                        : ui->graph_color          ? ui->graph_color->name
                                                   : NULL;
    return json_pack("{s:o,s:i,s:i,s:i}", "color", exact(color), "depth", ui->graph_depth, "node",
                     ui->graph_node, "focus", ui->graph_focus);
}

static json_t *screen_json(const struct session *s)
{
    struct ui ui = s->ui;
    const long layer = view_current_layer(s), image = view_current_image(s);
    json_t *o = json_pack("{s:s,s:o,s:o,s:o,s:o,s:s,s:s,s:i,s:o}", "view", views[ui.view]->name,
                          "layer", exact(layer >= 0 ? s->match.layers[layer].name : NULL), "image",
                          exact(image >= 0 ? s->data.samples[image].name : NULL), "sort",
                          order_json(ui.sort ? ui.sort->name : "none", ui.sort_dir), "sort_images",
                          order_json(ui.image_sort->name, ui.image_dir), "filter", ui.layer_filter,
                          "filter_images", ui.image_filter, "channel", ui.channel, "graph",
                          graph_json(&ui));
    for (size_t i = 0; ui_switch(i); i++)
        json_object_set_new(o, ui_switch(i), json_boolean(*ui_switch_value(&ui, i)));
    return o;
}

static json_t *ran_json(const struct session *s)
{
    if (!s->study || !s->n_ran)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_ran; i++)
        json_array_append_new(list, json_integer((json_int_t)s->ran[i]));
    return list;
}

/* ---- File ------------------------------------------------------------------------------------ */

static json_t *state_json(const struct session *s)
{
    char text[512], *folder = getcwd(NULL, 0);
    json_t *o = json_object();
    json_object_set_new(o, "kind", json_string(STATE_KIND));
    json_object_set_new(o, "schema", json_integer(1));
    json_object_set_new(o, "qscope", json_string(QSCOPE_VERSION));
    json_object_set_new(o, "saved", json_time());
    json_object_set_new(o, "folder", exact(folder));
    /* As they were read: the history has what was made of them. */
    json_object_set_new(o, "fp32", model_json(s->n_edits ? s->edits[0].fp32 : s->fp32, NULL));
    json_object_set_new(o, "int8", model_json(s->n_edits ? s->edits[0].int8 : s->int8, s->cache));
    json_object_set_new(o, "hand", hand_json(s));
    json_object_set_new(o, "settings", settings_json(s));
    json_object_set(o, "variables", s->vars);
    preprocess_text(&s->pp, text, sizeof(text));
    json_object_set_new(o, "preprocess", s->pp_set ? json_string(text) : json_null());
    json_object_set_new(o, "task", exact(s->task));
    json_object_set_new(o, "images", images_json(&s->data));
    json_object_set_new(o, "class_names", names_json(s->data.n_names, s->data.names));
    json_object_set_new(o, "marked", marked_json(s));
    json_object_set_new(o, "history", history_json(s));
    json_object_set_new(o, "screen", screen_json(s));
    json_object_set_new(o, "metrics", own_json(s));
    json_object_set_new(o, "run", ran_json(s));
    free(folder);
    return o;
}

int state_save(const struct session *s, const char *path, struct err *err)
{
    json_t *o = state_json(s);
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(o);
    /* Names that are no UTF-8 cannot stand in JSON. */
    const int rc =
        text ? file_write(path, text, strlen(text), FILE_DURABLE, err)
             : err_set(err, E_UNSUPPORTED, "%s: a name in the session is not UTF-8", path);
    free(text);
    return rc;
}

char *state_last(void)
{
    return path_xdg("XDG_STATE_HOME", ".local/state", "session.json");
}

bool state_any(const struct session *s)
{
    return s->fp32 || s->int8 || s->data.n;
}

int state_autosave(const struct session *s, struct err *err)
{
    char *path = state_last(), *folder = path_xdg("XDG_STATE_HOME", ".local/state", "");
    int rc = OK;
    if (path && state_any(s)) {
        rc = file_mkdir(folder, err);
        rc = rc ? rc : state_save(s, path, err);
    }
    free(path);
    free(folder);
    return rc;
}
