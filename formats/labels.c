/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * labels.c: the label list, a CSV of file,label[,name]. It reads one file; which samples the lines
 * belong to is dataset.c's business.
 */
#include "formats/samples.h"

#include <limits.h>
#include <stdlib.h>

/* One line of the file; fields are cut out of it from left to right. */
struct line {
    const char *p, *end;
    int number; /* from 1 */
};

/* Cuts the next field into *out, unquoted ("a ""b""" -> a "b"); false at the end of the line. A
 * quote that is not closed, or followed by more text, sets *broken. */
static bool next_field(struct line *l, struct arena *a, char **out, bool *broken)
{
    if (!l->p) {
        return false;
    }
    char *dst = arena_alloc(a, (size_t)(l->end - l->p) + 1);
    size_t n = 0;
    *out = dst;
    bool quoted = l->p < l->end && *l->p == '"';
    l->p += quoted;
    for (; l->p < l->end; l->p++) {
        if (quoted && *l->p == '"') {
            if (l->p + 1 == l->end || l->p[1] != '"') {
                quoted = false;
                *broken = l->p + 1 < l->end && l->p[1] != ',';
                continue;
            }
            l->p++;
        } else if (!quoted && *l->p == ',') {
            break;
        }
        dst[n++] = *l->p;
    }
    *broken = *broken || quoted;
    l->p = l->p < l->end ? l->p + 1 : NULL;
    return true;
}

/* A decimal integer and nothing else; empty counts as unlabelled. */
static bool parse_label(const char *s, long *v)
{
    char *end;
    *v = -1;
    if (!*s) {
        return true;
    }
    if (*s != '-' && (*s < '0' || *s > '9')) {
        return false;
    }
    *v = strtol(s, &end, 10);
    return end != s && !*end;
}

static int add_row(struct labels *l, struct line *line, struct err *err)
{
    char *file = NULL, *label = NULL, *name = NULL;
    bool broken = false;
    long v = 0;
    next_field(line, &l->arena, &file, &broken);
    if (!next_field(line, &l->arena, &label, &broken)) {
        return err_set(err, E_FORMAT, "line %d: one column, expected file,label[,name]",
                       line->number);
    }
    next_field(line, &l->arena, &name, &broken);
    if (broken) {
        return err_set(err, E_FORMAT, "line %d: quotes that do not enclose a column", line->number);
    }
    if (!parse_label(label, &v)) {
        if (line->number == 1) {
            return OK; /* a header */
        }
        return err_set(err, E_FORMAT, "line %d: label '%s', expected an integer", line->number,
                       label);
    }
    if (v < -1 || v >= LABEL_LIMIT) {
        return err_set(err, E_FORMAT, "line %d: label %s, expected -1..%d", line->number, label,
                       LABEL_LIMIT - 1);
    }
    file += strncmp(file, "./", 2) ? 0 : 2;
    int first = strmap_get(&l->by_file, file, -1);
    if (!*file || first >= 0) {
        return *file ? err_set(err, E_FORMAT, "line %d: '%s' again, first on line %d", line->number,
                               file, l->rows[first].line)
                     : err_set(err, E_FORMAT, "line %d: no file name", line->number);
    }
    l->rows = mem_push(l->rows, l->n, &l->cap, sizeof *l->rows);
    l->rows[l->n] = (struct label_row){file, name && *name ? name : NULL, (int)v, line->number};
    strmap_put(&l->by_file, file, (int)l->n++);
    return OK;
}

static int parse_lines(struct labels *l, const char *p, size_t n, struct err *err)
{
    static const char bom[] = "\xEF\xBB\xBF";
    const char *end = p + n;
    if (memchr(p, '\0', n)) {
        return err_set(err, E_FORMAT, "a zero byte, expected text");
    }
    if (n >= 3 && !memcmp(p, bom, 3)) {
        p += 3;
    }
    for (int number = 1; p < end; number++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const char *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        stop -= stop > p && stop[-1] == '\r';
        struct line line = {p, stop, number};
        int rc = stop > p ? add_row(l, &line, err) : OK;
        if (rc) {
            return rc;
        }
        p = next;
    }
    return OK;
}

int labels_load(const char *path, struct labels *out, struct err *err)
{
    struct file f = {0};
    struct labels l = {0};
    int rc = file_map(path, (size_t)256 << 20, &f, err);
    if (rc) {
        return rc;
    }
    rc = f.size ? parse_lines(&l, (const char *)f.data, f.size, err) : OK;
    file_unmap(&f);
    if (rc) {
        labels_fini(&l);
        err_in(err, "%s", path);
        return rc;
    }
    *out = l;
    return OK;
}

void labels_fini(struct labels *l)
{
    strmap_fini(&l->by_file);
    arena_fini(&l->arena);
    free(l->rows);
    *l = (struct labels){0};
}

const struct label_row *labels_find(const struct labels *l, const char *path, size_t below)
{
    const char *slash = strrchr(path, '/');
    int i = strmap_get(&l->by_file, path + below, -1);
    if (i < 0) {
        i = strmap_get(&l->by_file, slash ? slash + 1 : path, -1);
    }
    while (i < 0 && below) {
        for (below--; below && path[below - 1] != '/'; below--) {
        }
        i = strmap_get(&l->by_file, path + below, -1);
    }
    return i < 0 ? NULL : &l->rows[i];
}
