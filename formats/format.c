/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * format.c: the format table and what chooses from it. A new format is a new file with one row and
 * its name in this list.
 */
#include "formats/formats.h"

#include <strings.h>

extern const struct format format_onnx, format_png, format_jpeg, format_pnm, format_npy, format_pb,
    format_tflite;

const struct format *const formats[] = {
    &format_onnx, &format_tflite, &format_png, &format_jpeg,
    &format_pnm,  &format_npy,    &format_pb,  NULL,
};

/* True when the last extension of path is one of the words in `list`; case does not matter. */
static bool has_extension(const char *path, const char *list)
{
    const char *dot = strrchr(path, '.');
    if (!dot || strchr(dot, '/')) {
        return false;
    }
    size_t n = strlen(dot);
    for (const char *p = list; *p; p += strspn(p, " ")) {
        size_t k = strcspn(p, " ");
        if (k == n && strncasecmp(p, dot, n) == 0) {
            return true;
        }
        p += k;
    }
    return false;
}

const struct format *format_of(const char *path, const uint8_t *head, size_t n)
{
    for (size_t i = 0; formats[i]; i++) {
        if (n && formats[i]->probe && formats[i]->probe(head, n)) {
            return formats[i];
        }
    }
    for (size_t i = 0; formats[i]; i++) {
        if (has_extension(path, formats[i]->extensions)) {
            return formats[i];
        }
    }
    return NULL;
}

int format_of_file(const char *path, const struct format **out, struct err *err)
{
    uint8_t head[64]; /* more than any probe looks at */
    struct file_part f;
    int rc = file_open(path, 0, &f, err);
    if (rc) {
        return rc;
    }
    const size_t n = MIN(f.size, sizeof head);
    rc = file_read_part(&f, 0, n, head, err);
    file_close(&f);
    if (!rc) {
        *out = format_of(path, head, n);
    }
    return rc;
}

int model_load(const char *path, struct graph **out, struct err *err)
{
    struct file f = {0};
    int rc = file_map(path, 0, &f, err);
    if (rc) {
        return rc;
    }
    const struct format *format = format_of(path, f.data, f.size);
    if (format && format->load_model) {
        rc = format->load_model(&f, out, err);
    } else if (format) {
        rc = err_set(err, E_UNSUPPORTED, "found a file of format %s, expected a model",
                     format->name);
    } else {
        rc = err_set(err, E_UNSUPPORTED, "not a model in a known format, expected onnx or tflite");
    }
    file_unmap(&f);
    return rc ? err_in(err, "%s", path) : OK;
}
