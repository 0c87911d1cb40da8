/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * calib.c: the calibration cache of TensorRT, a text: a line "TRT-VERSION-ALGORITHM", then one
 * "NAME: HEX" per tensor, up to eight hexadecimal digits that are the float32 scale (largest
 * magnitude / 127), most significant first. Names hold spaces and colons.
 */
#include "analysis/analysis.h"
#include "formats/formats.h"

#include <math.h>
#include <stdlib.h>

enum { CALIB_MAX_FILE = 64 << 20, CALIB_MAX_NAME = 4096, CALIB_DIGITS = 8 };

struct calib_line {
    const char *p;
    size_t n;
    size_t number; /* from 1 */
};

/* Cuts the next line off, without its end; false at the end of the text. */
static bool next_line(struct span *rest, struct calib_line *l)
{
    if (!rest->n) {
        return false;
    }
    const uint8_t *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *l = (struct calib_line){.p = (const char *)rest->p, .n = n, .number = l->number + 1};
    l->n -= l->n && l->p[l->n - 1] == '\r';
    rest->p += n + (end != NULL);
    rest->n -= n + (end != NULL);
    return true;
}

/* The last ": " of a line; its length if there is none. */
static size_t find_colon(const struct calib_line *l)
{
    for (size_t i = l->n; i-- > 1;) {
        if (l->p[i] == ' ' && l->p[i - 1] == ':') {
            return i - 1;
        }
    }
    return l->n;
}

static bool parse_hex(const char *p, size_t n, uint32_t *out)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = p[i] >= '0' && p[i] <= '9'   ? p[i] - '0'
                    : p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
                    : p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return false;
        }
        v = v << 4 | (uint32_t)digit;
    }
    *out = v;
    return n > 0 && n <= CALIB_DIGITS;
}

static int read_entry(struct calibration *c, const struct calib_line *l, struct err *err)
{
    size_t colon = find_colon(l);
    uint32_t bits = 0;
    float scale;
    if (colon == l->n || colon == 0) {
        return err_set(err, E_FORMAT, "line %zu: expected 'NAME: HEX'", l->number);
    }
    if (colon > CALIB_MAX_NAME || memchr(l->p, '\0', colon)) {
        return err_set(err, E_FORMAT, "line %zu: a name of %zu bytes%s", l->number, colon,
                       colon > CALIB_MAX_NAME ? "" : " with a zero byte");
    }
    if (!parse_hex(l->p + colon + 2, l->n - colon - 2, &bits)) {
        return err_set(err, E_FORMAT, "line %zu: '%.*s', expected 1 to %d hexadecimal digits",
                       l->number, (int)MIN(l->n - colon - 2, (size_t)40), l->p + colon + 2,
                       CALIB_DIGITS);
    }
    memcpy(&scale, &bits, sizeof scale);
    if (!isfinite(scale) || scale < 0) {
        return err_set(err, E_FORMAT, "line %zu: scale %g, expected a positive number", l->number,
                       (double)scale);
    }
    char *name = arena_dup_n(&c->arena, l->p, colon);
    if (strmap_get(&c->by_name, name, -1) >= 0) {
        return err_set(err, E_FORMAT, "line %zu: tensor '%.200s' a second time", l->number, name);
    }
    c->scales = mem_push(c->scales, c->n, &c->cap, sizeof *c->scales);
    c->scales[c->n] = (struct calibrated){.tensor = name, .scale = scale};
    strmap_put(&c->by_name, name, (int)c->n++);
    return OK;
}

static int read_cache(struct span rest, struct calibration *c, struct err *err)
{
    static const char head[] = "TRT-";
    struct calib_line l = {0};
    if (!next_line(&rest, &l) || l.n < strlen(head) || memcmp(l.p, head, strlen(head)) != 0) {
        return err_set(err, E_FORMAT,
                       "line 1: '%.*s', expected 'TRT-VERSION-ALGORITHM' of a TensorRT "
                       "calibration cache",
                       (int)MIN(l.n, (size_t)40), l.p ? l.p : "");
    }
    int rc = OK;
    while (!rc && next_line(&rest, &l)) {
        rc = l.n ? read_entry(c, &l, err) : OK;
    }
    if (!rc && !c->n) {
        rc = err_set(err, E_FORMAT, "a calibration cache without tensors");
    }
    return rc;
}

int calibration_load(const char *path, struct calibration *out, struct err *err)
{
    struct file f = {0};
    struct calibration c = {0};
    int rc = file_map(path, CALIB_MAX_FILE, &f, err);
    if (rc) {
        return rc;
    }
    rc = read_cache((struct span){.p = f.data, .n = f.size}, &c, err);
    file_unmap(&f);
    if (rc) {
        calibration_fini(&c);
        return err_in(err, "%s", path);
    }
    *out = c;
    return OK;
}
