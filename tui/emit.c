/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * emit.c: how the data of a command leaves it for programs: one JSON object, its rows as JSON
 * lines, or its rows as CSV. Commands only make the object.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/tui.h"

json_t *json_num(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *json_text(const char *text)
{
    json_t *j = text ? json_string(text) : json_null();
    if (!j) {
        char safe[1024];
        j = json_string(text_safe(safe, sizeof safe, text));
    }
    return j;
}

json_t *json_time(void)
{
    char text[32] = "";
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    const time_t now = fixed ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    return json_string(text);
}

void json_numerics(json_t *o, const struct session *s)
{
    json_object_set_new(o, "numerics", json_string(numerics_name(s->set.numerics)));
    json_object_set_new(o, "verified", json_boolean(numerics_verified(s->set.numerics)));
}

int json_load_kind(const char *path, const char *kind, json_t **out, struct err *err)
{
    struct file f;
    json_error_t je;
    int rc = file_map(path, 512u << 20, &f, err);
    if (rc) {
        return rc;
    }
    json_t *o = json_loadb((const char *)f.data, f.size, JSON_REJECT_DUPLICATES, &je);
    file_unmap(&f);
    const char *found = json_string_value(json_object_get(o, "kind"));
    const json_t *schema = json_object_get(o, "schema");
    if (!o) {
        rc = err_set(err, E_FORMAT, "line %d: %s", je.line, je.text);
    } else if (!found || strcmp(found, kind) != 0) {
        rc = err_set(err, E_FORMAT, "expected \"kind\": \"%s\", found '%s'", kind,
                     found ? found : "none");
    } else if (!json_is_integer(schema) || json_integer_value(schema) != 1) {
        rc = err_set(err, E_UNSUPPORTED, "%s of another version of qscope", kind);
    }
    if (rc) {
        json_decref(o);
        return err_in(err, "%s", path);
    }
    *out = o;
    return OK;
}

/* ---- Forms ----------------------------------------------------------------------------------- */

static const struct {
    enum form form;
    const char *name;
} forms[] = {{FORM_TABLE, "table"}, {FORM_JSON, "json"}, {FORM_JSONL, "jsonl"}, {FORM_CSV, "csv"}};

bool form_find(const char *name, enum form *out)
{
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (strcmp(forms[i].name, name) == 0) {
            *out = forms[i].form;
            return true;
        }
    }
    return false;
}

const char *form_name(enum form f)
{
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (forms[i].form == f) {
            return forms[i].name;
        }
    }
    return "";
}

void session_form(struct session *s, enum form f)
{
    s->form = f;
    s->json = f != FORM_TABLE;
}

enum { FLAGS = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17) };

/* The rows of an object: its first list that holds objects, or is empty; NULL when it has none. */
static json_t *rows_in(json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        if (json_is_array(v) && (!json_array_size(v) || json_is_object(json_array_get(v, 0)))) {
            return v;
        }
    }
    return NULL;
}

static void emit_lines(json_t *rows, FILE *out)
{
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        json_dumpf(row, out, FLAGS);
        fputc('\n', out);
    }
}

/* A field as RFC 4180 has it: quoted when it must be, quotes doubled; nothing for null. */
static void csv_text(const char *text, bool first, FILE *out)
{
    const bool quote = strpbrk(text, ",\"\r\n") != NULL;
    fprintf(out, "%s%s", first ? "" : ",", quote ? "\"" : "");
    for (const char *p = text; *p; p++) {
        fputs(*p == '"' ? "\"\"" : (char[]){*p, '\0'}, out);
    }
    fputs(quote ? "\"" : "", out);
}

static void csv_value(const json_t *v, bool first, FILE *out)
{
    char *text = NULL;
    if (v && !json_is_null(v) && !json_is_string(v)) {
        text = json_dumps(v, FLAGS);
    }
    csv_text(text ? text : json_is_string(v) ? json_string_value(v) : "", first, out);
    free(text);
}

/* All keys of the rows, in the order in which they first come. */
static json_t *csv_columns(json_t *rows)
{
    json_t *columns = json_object(), *row, *v;
    const char *key;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        json_object_foreach(row, key, v)
        {
            json_object_set_new(columns, key, json_null());
        }
    }
    return columns;
}

/* Members of objects inside as columns of their own, "fp32.file". */
static void spread(json_t *flat, const char *inside, json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        char *name = mem_printf("%s%s%s", inside, inside[0] ? "." : "", key);
        if (json_is_object(v)) {
            spread(flat, name, v);
        } else {
            json_object_set_nocheck(flat, name, v);
        }
        free(name);
    }
}

void csv_rows(json_t *rows, FILE *out)
{
    json_t *flat = json_array(), *columns, *row, *v;
    const char *key;
    size_t i;
    bool first = true;
    json_array_foreach(rows, i, row)
    {
        json_t *one = json_object();
        spread(one, "", row);
        json_array_append_new(flat, one);
    }
    columns = csv_columns(flat);
    json_object_foreach(columns, key, v)
    {
        csv_text(key, first, out);
        first = false;
    }
    fputs(first ? "" : "\n", out);
    json_array_foreach(flat, i, row)
    {
        first = true;
        json_object_foreach(columns, key, v)
        {
            csv_value(json_object_get(row, key), first, out);
            first = false;
        }
        fputc('\n', out);
    }
    json_decref(columns);
    json_decref(flat);
}

/* Takes the reference. The rows are of the object, or NULL: it is the one row. */
static void emit(struct call *c, json_t *object, json_t *rows)
{
    json_t *o = json_object(), *one = json_array();
    json_array_append(one, object);
    switch (c->s->form) {
    case FORM_JSONL:
        emit_lines(rows ? rows : one, c->out);
        break;
    case FORM_CSV:
        csv_rows(rows ? rows : one, c->out);
        break;
    default:
        json_object_set_new(o, "command", json_string(c->cmd->name));
        json_object_set_new(o, "schema", json_integer(1));
        json_object_update(o, object);
        json_dumpf(o, c->out, FLAGS);
        fputc('\n', c->out);
        break;
    }
    json_decref(one);
    json_decref(o);
    json_decref(object);
}

void emit_json(struct call *c, json_t *object)
{
    emit(c, object, rows_in(object));
}

void emit_one(struct call *c, json_t *object)
{
    emit(c, object, NULL);
}
