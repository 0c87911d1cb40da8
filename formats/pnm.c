/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pnm.c: portable gray and colour maps, text (P2 P3) and binary (P5 P6), 8 and 16 bit. Values are
 * scaled to 0..255 as Pillow does: round(v / maxval * 255), halves to even. A file that holds
 * several images gives its first.
 */
#include "formats/rows.h"

#include <inttypes.h>

struct pnm_reader {
    const uint8_t *p;
    size_t n, pos;
};

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Skips white space and "# ..." comments, then reads a decimal number. */
static int pnm_number(struct pnm_reader *r, const char *what, int *out, struct err *err)
{
    while (r->pos < r->n && (is_space(r->p[r->pos]) || r->p[r->pos] == '#')) {
        if (r->p[r->pos] == '#') {
            while (r->pos < r->n && r->p[r->pos] != '\n') {
                r->pos++;
            }
        } else {
            r->pos++;
        }
    }
    size_t start = r->pos;
    int v = 0;
    while (r->pos < r->n && r->p[r->pos] >= '0' && r->p[r->pos] <= '9' && r->pos - start < 9) {
        v = v * 10 + (r->p[r->pos++] - '0');
    }
    if (r->pos == start) {
        return err_set(err, E_FORMAT, "pnm: %s at byte %zu, expected %s",
                       start < r->n ? "no number" : "file ends", start, what);
    }
    if (r->pos < r->n && r->p[r->pos] >= '0' && r->p[r->pos] <= '9') {
        return err_set(err, E_FORMAT, "pnm: number of over 9 digits at byte %zu, expected %s",
                       start, what);
    }
    *out = v;
    return OK;
}

struct pnm_head {
    bool text;
    int w, h, channels;
    int maxval;
};

static int pnm_read_head(struct pnm_reader *r, struct pnm_head *head, struct err *err)
{
    char kind = (char)r->p[1]; /* the probe has seen two bytes */
    r->pos = 2;
    head->text = kind == '2' || kind == '3';
    head->channels = kind == '3' || kind == '6' ? 3 : 1;
    int rc = pnm_number(r, "the width", &head->w, err);
    if (!rc) {
        rc = pnm_number(r, "the height", &head->h, err);
    }
    if (!rc) {
        rc = pnm_number(r, "the maximal value", &head->maxval, err);
    }
    if (rc) {
        return rc;
    }
    if (head->maxval < 1 || head->maxval > UINT16_MAX) {
        return err_set(err, E_FORMAT, "pnm: maximal value %d, expected 1..65535", head->maxval);
    }
    if (!head->text) {
        if (r->pos >= r->n || !is_space(r->p[r->pos])) {
            return err_set(err, E_FORMAT, "pnm: no white space after the header at byte %zu",
                           r->pos);
        }
        r->pos++;
    }
    return image_check(head->w, head->h, err);
}

/* v / maxval * 255, halves to even. */
static uint8_t scale_to_8(int v, int maxval)
{
    int q = v * 255 / maxval, rest = v * 255 % maxval;
    return (uint8_t)(q + (2 * rest > maxval || (2 * rest == maxval && (q & 1))));
}

/* Checked before the pixels are allocated: text needs a digit and a separator per sample. */
static int pnm_check_size(const struct pnm_reader *r, const struct pnm_head *head, struct err *err)
{
    size_t samples = (size_t)head->w * (size_t)head->h * (size_t)head->channels;
    size_t need = head->text ? 2 * samples - 1 : samples * (head->maxval > UINT8_MAX ? 2 : 1);
    if (r->n - r->pos < need) {
        return err_set(
            err, E_FORMAT, "pnm: %zu bytes of pixels for %d x %d x %d, expected %s%zu: file is cut",
            r->n - r->pos, head->w, head->h, head->channels, head->text ? "at least " : "", need);
    }
    return OK;
}

static int pnm_sample(struct pnm_reader *r, const struct pnm_head *head, int *v, struct err *err)
{
    if (head->text) {
        return pnm_number(r, "a sample", v, err);
    }
    *v = r->p[r->pos++];
    if (head->maxval > UINT8_MAX) {
        *v = *v << 8 | r->p[r->pos++];
    }
    return OK;
}

static int pnm_read_pixels(struct pnm_reader *r, const struct pnm_head *head, struct image *im,
                           struct err *err)
{
    size_t n = (size_t)im->w * (size_t)im->h * (size_t)im->channels;
    for (size_t i = 0; i < n; i++) {
        int v = 0;
        int rc = pnm_sample(r, head, &v, err);
        if (rc) {
            return rc;
        }
        if (v > head->maxval) {
            return err_set(err, E_FORMAT, "pnm: sample %d before byte %zu is over the maximum %d",
                           v, r->pos, head->maxval);
        }
        im->px[i] = scale_to_8(v, head->maxval);
    }
    return OK;
}

static bool pnm_probe(const uint8_t *head, size_t n)
{
    return n >= 3 && head[0] == 'P' && memchr("2356", head[1], 4) && is_space(head[2]);
}

static int pnm_load(const struct file *f, struct image *out, struct err *err)
{
    struct pnm_reader r = {.p = f->data, .n = f->size};
    struct pnm_head head = {0};
    struct image im = {0};
    if (!pnm_probe(f->data, f->size)) {
        return err_set(err, E_FORMAT, "pnm: no 'P2', 'P3', 'P5' or 'P6' at byte 0");
    }
    int rc = pnm_read_head(&r, &head, err);
    if (!rc) {
        rc = pnm_check_size(&r, &head, err);
    }
    if (!rc) {
        rc = image_new(head.w, head.h, head.channels, &im, err);
    }
    if (rc) {
        return rc;
    }
    rc = pnm_read_pixels(&r, &head, &im, err);
    if (rc) {
        image_fini(&im);
        return rc;
    }
    *out = im;
    return OK;
}

const struct format format_pnm = {
    .name = "pnm",
    .extensions = ".ppm .pgm .pnm",
    .help = "portable gray map or pixel map, P2 P3 P5 P6",
    .probe = pnm_probe,
    .load_image = pnm_load,
};
