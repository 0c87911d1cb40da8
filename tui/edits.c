/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * edits.c: edits of the models as steps of the session: made, told, and as they stand in session
 * files.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/edits.h"
#include "tui/load.h"

/* ---- Making --------------------------------------------------------------------------------- */

/* Types and shapes of what is new in a graph. */
static int probe(struct session *s, struct graph *g, bool reference, struct err *err)
{
    struct plan *p = NULL;
    int rc = g ? side_plan(s, g, reference, true, &p, err) : OK;
    plan_free(p);
    return rc;
}

int session_make(struct session *s, const struct version *from, struct edits made,
                 struct version *out, struct err *err)
{
    *out = (struct version){.made = made};
    int rc = edits_apply(&made, from->fp32, from->int8, &out->fp32, &out->int8, err);
    rc = rc ? rc : probe(s, out->fp32, true, err);
    rc = rc ? rc : probe(s, out->int8, false, err);
    if (rc) {
        graph_free(out->fp32);
        graph_free(out->int8);
        edits_fini(&out->made);
        *out = (struct version){0};
    }
    return rc;
}

int session_other(struct session *s, const char *path, struct version *out, struct err *err)
{
    struct graph *g = NULL;
    int rc = model_load(path, &g, err);
    rc = rc ? rc : probe(s, g, false, err);
    if (rc) {
        graph_free(g);
        return rc;
    }
    *out = (struct version){.int8 = g};
    return OK;
}

int session_apply(struct session *s, struct edits made, const char *label, struct err *err)
{
    const struct version now = {.fp32 = s->fp32, .int8 = s->int8};
    struct version v;
    int rc = session_make(s, &now, made, &v, err);
    return rc ? rc : session_edit(s, v, label, err);
}

const struct version *session_step_edit(const struct session *s, size_t i)
{
    bool changed = i > 0 && i < s->n_undo && s->undo[i].edit != s->undo[i - 1].edit;
    return changed ? &s->edits[s->undo[i].edit] : NULL;
}

void edits_text(const struct edits *made, char *dst, size_t size)
{
    size_t count[N_EDITS] = {0}, at = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < made->n; i++) {
        count[made->list[i].kind]++;
    }
    for (int k = 0; k < N_EDITS && at < size; k++) {
        if (count[k]) {
            at += (size_t)snprintf(dst + at, size - at, "%s%zu x %s", at ? ", " : "", count[k],
                                   edit_rows[k].name);
        }
    }
    if (!made->n) {
        snprintf(dst, size, "another file");
    }
}

const char *session_step_did(const struct session *s, size_t i, char *dst, size_t size)
{
    const struct version *v = session_step_edit(s, i);
    dst[0] = '\0';
    if (v) {
        edits_text(&v->made, dst, size);
    }
    return dst;
}

size_t session_edits(const struct session *s)
{
    size_t n = 0;
    for (size_t i = 1; i <= s->at_undo && i < s->n_undo; i++) {
        n += session_step_edit(s, i) != NULL;
    }
    return n;
}

json_t *session_edits_json(const struct session *s)
{
    json_t *list = json_array();
    char did[200];
    for (size_t i = 1; i <= s->at_undo && i < s->n_undo; i++) {
        if (session_step_edit(s, i)) {
            json_array_append_new(list, json_pack("{s:o,s:s}", "line", json_text(s->undo[i].label),
                                                  "did", session_step_did(s, i, did, sizeof did)));
        }
    }
    return list;
}

/* ---- Writing -------------------------------------------------------------------------------- */

static const char *const type_words[] = {"u8", "s8", "u16", "s16", "u4", "s4"};

static const char *type_short(enum dtype d)
{
    for (size_t i = 0; i < COUNT(type_words); i++) {
        if (type_word(type_words[i], DT_NONE) == d) {
            return type_words[i];
        }
    }
    return "?";
}

static json_t *edit_json(const struct edit *c)
{
    const struct edit_row *row = &edit_rows[c->kind];
    json_t *o = json_pack("{s:s,s:o}", "edit", row->name, "at", json_string_nocheck(c->at));
    if (row->to) {
        json_object_set_new(o, "to", json_string_nocheck(c->to));
    }
    if (row->codes) {
        json_object_set_new(o, "codes", json_string(type_short(c->codes.dtype)));
    }
    if (row->scale) {
        json_object_set_new(o, "scale", json_real((double)c->scale));
        json_object_set_new(o, "zero_point", json_integer(c->zero));
    }
    if (row->granularity) {
        json_object_set_new(o, "symmetric", json_boolean(c->codes.symmetric));
        json_object_set_new(o, "power_of_two", json_boolean(c->codes.power_of_two));
        json_object_set_new(o, "per_channel", json_boolean(c->per_channel));
        json_object_set_new(o, "least_error", json_boolean(c->least_error));
    }
    json_t *v = row->v ? json_array() : NULL;
    for (size_t i = 0; v && i < c->n; i++) {
        json_array_append_new(v, json_real((double)c->v[i]));
    }
    if (v) {
        json_object_set_new(o, "by_channel", v);
    }
    return o;
}

json_t *edits_json(const struct edits *made)
{
    json_t *list = json_array();
    for (size_t i = 0; i < made->n; i++) {
        json_array_append_new(list, edit_json(&made->list[i]));
    }
    return list;
}

/* ---- Reading -------------------------------------------------------------------------------- */

enum { MOST_EDITS = 1000000, MOST_CHANNELS = 1 << 24 };

static bool read_values(const json_t *o, struct edit *c)
{
    const json_t *v = json_object_get(o, "by_channel");
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > MOST_CHANNELS) {
        return false;
    }
    c->v = mem_alloc((n + 1) * sizeof *c->v);
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        c->v[i] = (float)json_number_value(x);
        if (!json_is_number(x) || !isfinite(c->v[i])) {
            return false;
        }
    }
    return true;
}

static bool read_scale(const json_t *o, struct edit *c)
{
    const json_t *zero = json_object_get(o, "zero_point");
    int64_t lo, hi;
    c->scale = (float)json_number_value(json_object_get(o, "scale"));
    json_int_t z = json_integer_value(zero);
    bool known = dtype_range(c->codes.dtype, &lo, &hi);
    c->zero = known && z >= lo && z <= hi ? (int32_t)z : 0;
    return known && json_is_integer(zero) && z >= lo && z <= hi && c->scale > 0 &&
           isfinite(c->scale);
}

static bool read_edit(const json_t *o, struct edit *c)
{
    const char *kind = json_string_value(json_object_get(o, "edit"));
    const char *at = json_string_value(json_object_get(o, "at"));
    const char *to = json_string_value(json_object_get(o, "to"));
    const char *codes = json_string_value(json_object_get(o, "codes"));
    int k = 0;
    while (k < N_EDITS && (!kind || strcmp(edit_rows[k].name, kind) != 0)) {
        k++;
    }
    if (k == N_EDITS || !at || (edit_rows[k].to && !to)) {
        return false;
    }
    const struct edit_row *row = &edit_rows[k];
    c->kind = (enum edit_kind)k;
    c->at = mem_dup(at);
    c->to = row->to ? mem_dup(to) : NULL;
    c->codes.dtype = row->codes ? type_word(codes, DT_NONE) : DT_NONE;
    c->codes.symmetric = json_is_true(json_object_get(o, "symmetric"));
    c->codes.power_of_two = json_is_true(json_object_get(o, "power_of_two"));
    c->per_channel = json_is_true(json_object_get(o, "per_channel"));
    c->least_error = json_is_true(json_object_get(o, "least_error"));
    return (!row->codes || c->codes.dtype != DT_NONE) && (!row->scale || read_scale(o, c)) &&
           (!row->v || read_values(o, c));
}

int edits_read(const json_t *list, struct edits *out, struct err *err)
{
    size_t i;
    json_t *o;
    *out = (struct edits){0};
    if (!json_is_array(list) || json_array_size(list) > MOST_EDITS) {
        return err_set(err, E_FORMAT, "\"edits\" is no list");
    }
    json_array_foreach(list, i, o)
    {
        struct edit c = {0};
        bool good = read_edit(o, &c);
        edits_add(out, c);
        if (!good) {
            edits_fini(out);
            return err_set(err, E_FORMAT, "edit %zu does not make sense", i);
        }
    }
    return OK;
}
