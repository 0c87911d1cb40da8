/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * prep_tool.c: preprocesses images for oracle/check_preprocess.py, which compares with Pillow.
 *
 *   prep_tool OUT_DIR "KEY=VALUE ..." IMAGE...     writes OUT_DIR/0.npy, 1.npy, ...
 *
 * An image that is refused prints its error and leaves no file.
 */
#include "formats/formats.h"

#include <stdlib.h>

static int read_settings(struct preprocess *p, const char *text, struct err *err)
{
    char word[128];
    int rc = OK;
    while (!rc && *text) {
        size_t n = strcspn(text, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        rc = preprocess_set(p, word, err);
        text += n + strspn(text + n, " ");
    }
    return rc;
}

static int convert(const struct preprocess *p, const char *image, const char *out, struct err *err)
{
    struct image im = {0};
    struct tensor *t = NULL;
    int rc = image_load(image, &im, err);
    if (!rc) {
        rc = preprocess_apply(p, &im, &t, err);
    }
    if (!rc) {
        rc = npy_save(t, out, err);
    }
    tensor_free(t);
    image_fini(&im);
    return rc;
}

int main(int argc, char **argv)
{
    struct preprocess p;
    struct err err = {0};
    if (argc < 4) {
        fprintf(stderr, "usage: prep_tool OUT_DIR \"KEY=VALUE ...\" IMAGE...\n");
        return 2;
    }
    preprocess_default(&p, 0, NULL);
    if (read_settings(&p, argv[2], &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        char *out = mem_printf("%s/%d.npy", argv[1], i - 3);
        if (convert(&p, argv[i], out, &err)) {
            printf("%s\n", err.text);
        }
        free(out);
    }
    return 0;
}
