/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_file.c: dump, export, export-pins: what leaves the session as files.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "tui/pins.h"
#include "tui/tui.h"

/* ---- dump ----------------------------------------------------------------------------------- */

/* A tensor of one side that is to be written. */
struct item {
    const char *tensor;     /* name of the float or only tensor */
    const char *codes_name; /* name of the codes; NULL when not quantized */
    const char *layer;      /* NULL for a graph output that is no layer */
    const struct quant *q;
};
struct dump {
    const struct session *s;
    const char *dir;
    struct item *items[2]; /* by side and value of the executed graph; tensor NULL = not wanted */
    json_t *index;
    size_t image;
    const char *image_name;
    size_t files;
    size_t n, *images; /* to run, by index in the data set */
};

/* A file name that any system takes: NNNNN of the image, a short safe form of the tensor name. */
static char *dump_name(struct dump *d, const char *tensor, const char *side)
{
    char safe[81];
    size_t n = 0;
    for (const char *p = tensor; *p && n < sizeof safe - 1; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-.", *p);
        safe[n] = plain && (n || *p != '.') ? *p : '_';
        n++;
    }
    safe[n] = '\0';
    /* The running number keeps names apart that the short form makes equal. */
    return mem_printf("%05zu_%05zu_%s.%s.npy", d->image, d->files++, safe, side);
}

static int dump_tensor(struct dump *d, const struct item *it, const char *name, const char *side,
                       const struct tensor *t, struct err *err)
{
    char *file = dump_name(d, name, side), *path = mem_printf("%s/%s", d->dir, file);
    int rc = npy_save(t, path, err);
    const struct quant *q = it->q && it->codes_name ? it->q : NULL;
    json_t *scale = json_null(), *zero = json_null();
    if (q && q->n == 1) {
        scale = json_num((double)q->scale[0]);
        zero = json_integer(q->zero[0]);
    } else if (q) {
        scale = json_array();
        zero = json_array();
        for (size_t i = 0; i < q->n; i++) {
            json_array_append_new(scale, json_num((double)q->scale[i]));
            json_array_append_new(zero, json_integer(q->zero[i]));
        }
    }
    json_array_append_new(
        d->index, json_pack("{s:s,s:o,s:o,s:s,s:s,s:o,s:o,s:o,s:o}", "file", file, "tensor",
                            json_text(name), "layer", json_text(it->layer), "side", side, "dtype",
                            dtype_name(t->dtype), "scale", scale, "zero_point", zero, "axis",
                            q && q->axis >= 0 ? json_integer(q->axis) : json_null(), "image",
                            json_text(d->image_name)));
    free(file);
    free(path);
    return rc;
}

static int dump_keep(void *ctx, size_t value, enum side side, const struct tensor *t,
                     struct err *err)
{
    struct dump *d = ctx;
    const struct item *it = &d->items[side][value];
    if (!it->tensor) {
        return OK;
    }
    if (side == SIDE_FP32 || !it->q || dtype_is_float(t->dtype)) {
        struct item plain = *it;
        plain.codes_name = NULL;
        return dump_tensor(d, &plain, it->tensor, side == SIDE_FP32 ? "fp32" : "int8", t, err);
    }
    struct tensor *real = NULL;
    int rc = dump_tensor(d, it, it->codes_name, "int8_codes", t, err);
    rc = rc ? rc : quant_dequantize(t, it->q, NULL, &real, err);
    rc = rc ? rc : dump_tensor(d, it, it->tensor, "int8", real, err);
    tensor_free(real);
    return rc;
}

/* Marks the value of one layer on one side. */
static void want_layer(struct dump *d, size_t layer, enum side side)
{
    const struct session *s = d->s;
    const struct layer *l = &s->match.layers[layer];
    const struct graph *g = side == SIDE_FP32 ? s->fp32 : session_int8(s);
    const struct plan *p = side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
    if (!p) {
        return;
    }
    int v = side == SIDE_FP32 ? l->fp32 : s->int8_values[layer];
    int at = v >= 0 ? graph_find(plan_graph(p), g->values[v].name) : -1;
    bool codes = side == SIDE_INT8 && l->quantized && v == l->int8;
    if (at < 0 && codes && l->int8_float >= 0) {
        at = graph_find(plan_graph(p), g->values[l->int8_float].name);
    }
    if (at >= 0) {
        d->items[side][at] = (struct item){
            .tensor =
                codes && l->int8_float >= 0 ? g->values[l->int8_float].name : g->values[v].name,
            .codes_name = codes ? g->values[v].name : NULL,
            .layer = l->name,
            .q = codes ? &l->q : NULL,
        };
    }
}

/* Graph outputs that no layer stands for: they go out under their own name. */
static void want_outputs(struct dump *d, enum side side)
{
    const struct plan *p = side == SIDE_FP32 ? d->s->plan_fp32 : d->s->plan_int8;
    const struct graph *g = p ? plan_graph(p) : NULL;
    for (size_t i = 0; g && i < g->n_outputs; i++) {
        struct item *it = &d->items[side][g->outputs[i]];
        bool known = it->tensor != NULL;
        for (size_t v = 0; v < g->n_values && !known; v++) {
            known = d->items[side][v].tensor &&
                    strcmp(d->items[side][v].tensor, g->values[g->outputs[i]].name) == 0;
        }
        if (!known) {
            it->tensor = g->values[g->outputs[i]].name;
        }
    }
}

static int dump_images(struct session *s, void *ctx, struct err *err)
{
    struct dump *d = ctx;
    struct run_hooks hooks = {.keep_other = dump_keep, .ctx = d};
    for (size_t i = 0; i < d->n; i++) {
        struct image_result r;
        image_result_init(&r, s->match.n_layers);
        d->image = d->images[i];
        d->image_name = d->image < s->data.n ? s->data.samples[d->image].name : NULL;
        int rc = run_image(s, d->image, &hooks, &s->job.cancel, &r, err);
        image_result_fini(&r, s->match.n_layers);
        if (rc) {
            return d->image_name ? err_in(err, "%s", d->image_name) : rc;
        }
        pthread_mutex_lock(&s->lock);
        job_advance(s, i + 1, d->n);
        pthread_mutex_unlock(&s->lock);
    }
    return OK;
}

static void dump_summary(const struct session *s, char *dst, size_t size)
{
    (void)s;
    snprintf(dst, size, "activations written");
}

static const struct job_kind dump_kind = {
    .what = "dump",
    .unit = "images",
    .short_unit = "img",
    .uses_plans = true,
    .body = dump_images,
    .summary = dump_summary,
};

static int write_json(const char *path, json_t *o, struct err *err)
{
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    int rc = file_write(path, text, strlen(text), FILE_DURABLE, err);
    free(text);
    return rc;
}

/* Named with --image, else all of the data set, else the one sample of a model without inputs. */
static int dump_choose(struct call *c, size_t *n, size_t **images, struct err *err)
{
    const char *word = call_opt(c, "--image");
    if (word) {
        char *words[] = {(char *)word};
        return image_lists(c->s, 1, words, n, images, err);
    }
    *n = MAX(c->s->data.n, (size_t)1);
    *images = mem_alloc(*n * sizeof **images);
    for (size_t i = 0; i < *n; i++) {
        (*images)[i] = i;
    }
    return OK;
}

/* The folder named, or the first of dump-1, dump-2, ... that is not there: what an earlier dump
 * wrote stays. */
static char *dump_folder(const struct call *c)
{
    const char *named = call_opt(c, "--out");
    char *dir = mem_printf("%s", named ? named : "dump-1");
    for (size_t i = 2; !named && file_exists(dir); i++) {
        free(dir);
        dir = mem_printf("dump-%zu", i);
    }
    return dir;
}

static int exec_dump(struct call *c, struct err *err)
{
    struct session *s = c->s;
    char *path = NULL, *dir = dump_folder(c);
    struct dump d = {.s = s, .dir = dir, .index = json_array()};
    size_t n_layers = 0, *layers = NULL;
    bool all = c->n_args == 1 && strcmp(c->args[0], "*") == 0;
    job_replace(s);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct plan *p = side == SIDE_FP32 ? s->plan_fp32 : s->plan_int8;
        d.items[side] = mem_alloc((p ? plan_graph(p)->n_values + 1 : 1) * sizeof *d.items[side]);
    }
    /* A graph may have outputs and no layer. */
    int rc = all && !s->match.n_layers
                 ? OK
                 : layer_lists(s, c->n_args, c->args, &n_layers, &layers, err);
    rc = rc ? rc : dump_choose(c, &d.n, &d.images, err);
    for (enum side side = SIDE_FP32; side <= SIDE_INT8 && !rc; side++) {
        for (size_t i = 0; i < n_layers; i++) {
            want_layer(&d, layers[i], side);
        }
        if (all) {
            want_outputs(&d, side);
        }
    }
    rc = rc ? rc : file_mkdir(d.dir, err);
    rc = rc ? rc : job_start(s, &dump_kind, &d, d.n, false, s->json ? NULL : c->note, err);
    if (!rc) {
        json_t *o = json_pack("{s:i,s:O}", "schema", 1, "tensors", d.index);
        json_numerics(o, s);
        path = mem_printf("%s/index.json", d.dir);
        rc = write_json(path, o, err);
        json_decref(o);
    }
    if (!rc && s->json) {
        emit_json(c, json_pack("{s:o,s:I,s:I}", "out", json_text(d.dir), "files",
                               (json_int_t)d.files, "images", (json_int_t)d.n));
    } else if (!rc) {
        fprintf(c->out, "%zu tensors of %zu image%s written, listed in %s\n", d.files, d.n,
                d.n == 1 ? "" : "s", path);
    }
    json_decref(d.index);
    free(d.items[0]);
    free(d.items[1]);
    free(layers);
    free(d.images);
    free(path);
    free(dir);
    return rc;
}

/* ---- export --------------------------------------------------------------------------------- */

static int check_exportable(const struct call *c, const char *path, struct err *err)
{
    const struct session *s = c->s;
    if (s->int8->dialect != DIALECT_ONNX || s->fp32->dialect != DIALECT_ONNX) {
        return err_set(err, E_UNSUPPORTED, "%s: only ONNX pairs can be exported",
                       (s->int8->dialect != DIALECT_ONNX ? s->int8 : s->fp32)->path);
    }
    for (size_t i = 0; i < s->int8->n_nodes; i++) {
        if (strcmp(s->int8->nodes[i].op, "DynamicQuantizeLinear") == 0) {
            return err_set(err, E_UNSUPPORTED,
                           "%s: a dynamically quantized model cannot be "
                           "exported: node '%s' (DynamicQuantizeLinear)",
                           s->int8->path, s->int8->nodes[i].name);
        }
    }
    return call_may_write(c, path, err);
}

/* Runs the session's own INT8 plan and the written file's on one sample; equal to the bit? */
static int same_outputs(const struct session *s, const struct plan *written, size_t image,
                        bool *equal, struct err *err)
{
    size_t n_in = s->int8->n_inputs, n_out = s->int8->n_outputs;
    struct tensor **t = mem_alloc((n_in + 2 * n_out + 1) * sizeof *t);
    struct tensor **a = t + n_in, **b = a + n_out;
    int rc = session_sample(s, image, t, err);
    rc = rc ? rc : plan_run(s->plan_int8, (const struct tensor *const *)t, a, NULL, err);
    rc = rc ? rc : plan_run(written, (const struct tensor *const *)t, b, NULL, err);
    for (size_t i = 0; i < n_out && !rc; i++) {
        *equal = *equal && tensor_equal(a[i], b[i]);
    }
    for (size_t i = 0; i < n_in + 2 * n_out; i++) {
        tensor_free(t[i]);
    }
    free(t);
    return rc;
}

/* Reopens the file, plans it, runs it and looks at every pin in what runs. */
static int verify_export(struct call *c, const char *path, size_t images, struct err *err)
{
    struct session *s = c->s;
    struct graph *g = NULL;
    struct plan *p = NULL;
    struct plan_options o = {
        .numerics = s->set.numerics, .kernels = s->set.kernels, .budget = &s->budget};
    struct pin_report *r = NULL;
    size_t n = 0, done = 0;
    bool equal = true;
    int rc = model_load(path, &g, err);
    rc = rc ? rc : plan_new(g, &o, &p, err);
    if (!rc) {
        pins_report_new(s, p, &r, &n);
    }
    do {
        rc = rc ? rc : same_outputs(s, p, done, &equal, err);
    } while (!rc && ++done < MIN(images, s->data.n));
    if (!rc && s->json) {
        emit_one(c, json_pack("{s:o,s:o,s:I,s:b}", "file", json_text(path), "pins",
                              pins_report_json(s, r, n), "verified_images",
                              (json_int_t)(s->data.n ? done : 0), "equal", equal));
    } else if (!rc) {
        fprintf(c->out, "wrote %s: reopened and run on %zu %s, outputs %s the session's\n", path,
                done,
                !s->data.n  ? "sample of zeros"
                : done == 1 ? "image"
                            : "images",
                equal ? "equal" : "DIFFER from");
        pins_report_text(s, r, n, c->out);
    }
    if (!rc && !equal) {
        rc = err_set(err, E_CHECK, "%s: the written file computes other outputs", path);
    }
    free(r);
    plan_free(p);
    graph_free(g);
    return rc;
}

static int exec_export(struct call *c, struct err *err)
{
    struct session *s = c->s;
    int64_t images;
    int rc = call_int(c, "--verify-images", call_opt(c, "--verify") ? 16 : 1, &images, err);
    rc = rc ? rc : check_exportable(c, c->args[0], err);
    rc = rc ? rc : onnx_save(session_int8(s), c->args[0], err);
    return rc ? rc : verify_export(c, c->args[0], (size_t)MAX(images, 1), err);
}

/* ---- export-pins ---------------------------------------------------------------------------- */

static int exec_export_pins(struct call *c, struct err *err)
{
    const char *as = call_opt(c, "--as");
    char *use = NULL, safe[1024];
    int rc = call_may_write(c, c->args[0], err);
    rc = rc ? rc : pins_write(c->s, c->args[0], as ? as : "json", &use, err);
    size_t n = c->s->undo[c->s->at_undo].n;
    if (!rc && c->s->json) {
        emit_json(c, json_pack("{s:o,s:s,s:I}", "file", json_text(c->args[0]), "as",
                               as ? as : "json", "pins", (json_int_t)n));
    } else if (!rc) {
        fprintf(c->out, "%zu pin%s written to %s\n", n, n == 1 ? "" : "s",
                text_safe(safe, sizeof safe, c->args[0]));
    }
    if (use) {
        fprintf(c->note, "use: %s\n", text_safe(safe, sizeof safe, use));
    }
    free(use);
    return rc;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec dump_opts[] = {
    {"--out", ARG_FILE, "DIR",
     "folder to write to, made when it is not there; else the first of dump-1, dump-2, ... that is "
     "not",
     NULL},
    {"--image", ARG_IMAGE, "IMAGE", "only this image (or glob, @marked); default: all", NULL},
    {"--format", ARG_CHOICE, "npy", "file format", "npy"},
    {0},
};

static const struct opt_spec export_opts[] = {
    {"--verify", ARG_FLAG, NULL, "compare on 16 images instead of one", NULL},
    {"--verify-images", ARG_COUNT, "N", "compare on N images", NULL},
    {"--force", ARG_FLAG, NULL, "overwrite an existing file", NULL},
    {0},
};

static const struct opt_spec export_pins_opts[] = {
    {"--as", ARG_CHOICE, PIN_DIALECTS, "whose words; json, without, is what 'pins load' reads",
     PIN_DIALECTS},
    {0},
};

const struct cmd cmd_file[] = {
    {
        .name = "dump",
        .group = "files",
        .help = "write activations of layers and images as .npy files",
        .detail = "FP32, INT8 codes and INT8 dequantized, listed in DIR/index.json with tensor, "
                  "side, dtype, scale, zero point and image. '*' takes every layer and every "
                  "graph output.",
        .example = "dump @1 --image @1 --out dumps",
        .needs = NEED_MODEL | NEED_DATA,
        .args = {{"LAYER", ARG_LAYER, NULL, false, true}},
        .opts = dump_opts,
        .exec = exec_dump,
    },
    {
        .name = "export",
        .group = "files",
        .help = "write the mixed-precision model and verify what was written",
        .detail = "The file appears under its name only when it is complete. It is reopened and "
                  "run; for every pin it is stated whether it is in effect in the graph that "
                  "runs. Everything that no pin touched is kept byte for byte.",
        .example = "export mixed.onnx --verify",
        .needs = NEED_PAIR,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = export_opts,
        .exec = exec_export,
    },
    {
        .name = "export-pins",
        .group = "files",
        .help = "write the list of pins for another tool",
        .detail = "ort, nncf and ppq get the names of the operators in the FP32 model as a JSON "
                  "array, tflite the tensors that these make, trt the options of trtexec that keep "
                  "them in FP32. How the file is used is told.",
        .example = "export-pins pins.json --as ort",
        .needs = NEED_PAIR,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = export_pins_opts,
        .exec = exec_export_pins,
    },
    {0},
};
