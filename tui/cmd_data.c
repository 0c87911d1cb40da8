/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_data.c: the data set and how images become model inputs.
 */
#include <limits.h>
#include <stdlib.h>

#include "tui/tui.h"

/* ---- dataset -------------------------------------------------------------------------------- */

static int set_task(struct session *s, const char *task)
{
    free(s->task);
    s->task = mem_dup(task);
    s->classify = strcmp(task, "classify") == 0;
    return OK;
}

static int exec_dataset_add(struct call *c, struct err *err)
{
    struct session *s = c->s;
    int64_t limit, seed, offset;
    int rc = call_int(c, "--limit", 0, &limit, err);
    rc = rc ? rc : call_int(c, "--seed", 0, &seed, err);
    rc = rc ? rc : call_int(c, "--label-offset", 0, &offset, err);
    if (rc) {
        return rc;
    }
    if (offset < INT_MIN || offset > INT_MAX) {
        return err_set(err, E_USAGE, "--label-offset %lld leads out of all labels",
                       (long long)offset);
    }
    size_t n_inputs = session_inputs(s, NULL, 0), total = 0;
    struct model_input *inputs = mem_alloc((n_inputs + 1) * sizeof *inputs);
    session_inputs(s, inputs, n_inputs);
    struct dataset_options o = {
        .labels = call_opt(c, "--labels"),
        .label_offset = (int)offset,
        .limit = (size_t)limit,
        .seed = (uint64_t)seed,
        .n_inputs = (int)MAX(n_inputs, (size_t)1),
        .inputs = n_inputs ? inputs : NULL,
    };
    for (size_t i = 0; i < c->n_args && !rc; i++) {
        size_t added = 0;
        rc = dataset_add(&s->data, c->args[i], &o, &added, err);
        total += added;
    }
    free(inputs);
    if (!rc && call_opt(c, "--task")) {
        rc = set_task(s, call_opt(c, "--task"));
    }
    size_t labelled = 0;
    for (size_t i = 0; i < s->data.n; i++) {
        labelled += s->data.samples[i].label >= 0;
    }
    if (!rc && s->json) {
        emit_json(c, json_pack("{s:I,s:I,s:I}", "added", (json_int_t)total, "images",
                               (json_int_t)s->data.n, "labelled", (json_int_t)labelled));
    } else if (!rc) {
        fprintf(c->out, "%zu image%s added, %zu in all, %zu labelled\n", total,
                total == 1 ? "" : "s", s->data.n, labelled);
    }
    return rc;
}

static int exec_dataset_list(struct call *c, struct err *err)
{
    (void)err;
    const struct dataset *d = &c->s->data;
    json_t *list = json_array();
    char name[256], text[256];
    for (size_t i = 0; i < d->n; i++) {
        const struct sample *x = &d->samples[i];
        const char *class =
            x->label >= 0 && (size_t)x->label < d->n_names ? d->names[x->label] : NULL;
        if (c->s->json) {
            json_array_append_new(list,
                                  json_pack("{s:o,s:o,s:o,s:o,s:b}", "file", json_text(x->name),
                                            "path", json_text(x->path), "label",
                                            x->label >= 0 ? json_integer(x->label) : json_null(),
                                            "label_name", json_text(class), "marked", x->marked));
        } else {
            fprintf(c->out, "%c %-40s %4d  %s\n", x->marked ? '+' : ' ',
                    text_safe(name, sizeof name, x->name), x->label,
                    text_safe(text, sizeof text, class ? class : ""));
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "images", list));
    }
    json_decref(list);
    return OK;
}

static int exec_dataset_clear(struct call *c, struct err *err)
{
    (void)err;
    session_forget(c->s);
    dataset_fini(&c->s->data);
    return OK;
}

static int larger_first(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (y > x) - (y < x);
}

static int exec_dataset_remove(struct call *c, struct err *err)
{
    size_t n, *list;
    int rc = image_lists(c->s, c->n_args, c->args, &n, &list, err);
    if (rc) {
        return rc;
    }
    session_forget(c->s); /* scores refer to images by number */
    qsort(list, n, sizeof *list, larger_first);
    for (size_t i = 0; i < n; i++) {
        dataset_remove(&c->s->data, list[i]);
    }
    free(list);
    fprintf(c->note, "%zu removed, %zu left\n", n, c->s->data.n);
    return OK;
}

/* ---- preprocess ----------------------------------------------------------------------------- */

static int exec_preprocess(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct preprocess pp = s->pp;
    char text[512];
    bool show = c->n_args == 0 || (c->n_args == 1 && strcmp(c->args[0], "show") == 0);
    for (size_t i = 0; i < c->n_args && !show; i++) {
        const char *word = c->args[i];
        /* A word without '=' is a sidecar file. */
        int rc =
            strchr(word, '=') ? preprocess_set(&pp, word, err) : preprocess_load(&pp, word, err);
        if (rc) {
            return rc;
        }
    }
    if (!show) {
        session_forget(s);
        s->pp = pp;
        s->pp_set = true;
    }
    preprocess_text(&s->pp, text, sizeof text);
    if (s->json) {
        emit_json(c, json_pack("{s:s}", "settings", text));
    } else if (show) {
        fprintf(c->out, "%s\n", text);
    }
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec add_opts[] = {
    {"--labels", ARG_FILE, "FILE",
     "CSV of file,label[,name]; default: labels.csv beside the "
     "images, else class directories",
     NULL},
    {"--label-offset", ARG_INT, "N", "added to every label", NULL},
    {"--limit", ARG_COUNT, "N", "at most N images of each path", NULL},
    {"--seed", ARG_COUNT, "S", "with --limit: a seeded choice instead of the first ones", NULL},
    {"--task", ARG_CHOICE, "classify|raw",
     "whether outputs are class values (default: by the "
     "output's shape)",
     "classify|raw"},
    {0},
};

const struct cmd cmd_data[] = {
    {
        .name = "dataset add",
        .group = "data",
        .help = "add images or tensors: files, directories",
        .detail = "PNG, JPEG, PPM, PGM and .npy/.pb samples with or without the batch axis. For "
                  "models with several inputs a directory is one sample, with one file per input: "
                  "NAME.npy or input_K.npy in graph order.",
        .example = "dataset add samples/images",
        .args = {{"PATH", ARG_FILE, NULL, false, true}},
        .opts = add_opts,
        .exec = exec_dataset_add,
    },
    {
        .name = "dataset list",
        .group = "data",
        .help = "list the images with labels and marks",
        .example = "dataset list",
        .exec = exec_dataset_list,
    },
    {
        .name = "dataset clear",
        .group = "data",
        .help = "forget all images and the results on them",
        .example = "dataset clear",
        .exec = exec_dataset_clear,
    },
    {
        .name = "dataset remove",
        .group = "data",
        .help = "remove images from the set",
        .example = "dataset remove @marked",
        .args = {{"IMAGE", ARG_IMAGE, NULL, false, true}},
        .exec = exec_dataset_remove,
    },
    {
        .name = "preprocess",
        .group = "data",
        .help = "show or set how images become model inputs",
        .detail = "KEY=VALUE settings: size=HxW crop=center|none resize=bilinear|nearest|bicubic|"
                  "lanczos|box color=rgb|bgr|gray|y layout=NCHW|NHWC range=0..1|0..255 mean=A,B,C "
                  "std=A,B,C. x = (v - mean) / std, v being the pixel on the range's scale. "
                  "size without crop stretches. A word without '=' is a JSON file with the same "
                  "keys. Without words, or with 'show': the settings in force.",
        .example = "preprocess samples/preprocess.json",
        .args = {{"KEY=VALUE|FILE", ARG_FILE, NULL, true, true}},
        .exec = exec_preprocess,
    },
    {0},
};
