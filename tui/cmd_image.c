/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_image.c: the questions about images: images, worst, image.
 */
#include <math.h>
#include <stdlib.h>

#include "tui/rank.h"
#include "tui/view.h"

static const char *class_name(const struct session *s, int label)
{
    return label >= 0 && (size_t)label < s->data.n_names ? s->data.names[label] : NULL;
}

static const char *image_name(const struct session *s, const struct image_score *x)
{
    return x->image < s->data.n ? s->data.samples[x->image].name : "(no input)";
}

static json_t *class_or_null(int c)
{
    return c >= 0 ? json_integer(c) : json_null();
}

json_t *rank_image_json(const struct session *s, const struct image_score *x)
{
    static const char *const flips[] = {NULL, "lost", "gained"};
    json_t *o = json_object();
    json_object_set_new(o, "file", json_text(image_name(s, x)));
    json_object_set_new(o, "label", class_or_null(x->label));
    json_object_set_new(o, "label_name", json_text(class_name(s, x->label)));
    json_object_set_new(o, "fp32_top1", class_or_null(x->fp32_top1));
    json_object_set_new(o, "fp32_name", json_text(class_name(s, x->fp32_top1)));
    json_object_set_new(o, "int8_top1", class_or_null(x->int8_top1));
    json_object_set_new(o, "int8_name", json_text(class_name(s, x->int8_top1)));
    json_object_set_new(o, "sqnr", json_num(x->sqnr));
    if (isinf(x->sqnr)) {
        json_object_set_new(o, "exact", json_true());
    }
    json_object_set_new(o, "cosine", json_num(x->cosine));
    json_object_set_new(o, "mse", json_num(x->mse));
    json_object_set_new(o, "margin", json_num(x->margin));
    json_object_set_new(o, "dlogit", json_num(x->dlogit));
    json_object_set_new(o, "kl", json_num(x->kl));
    json_object_set_new(o, "flip", json_text(flips[x->flip]));
    json_object_set_new(
        o, "worst_layer",
        json_text(x->worst_layer >= 0 ? s->match.layers[x->worst_layer].name : NULL));
    json_object_set_new(o, "worst_sqnr", json_num(x->worst_sqnr));
    json_object_set_new(o, "beyond", json_num(x->beyond));
    json_object_set_new(o, "beyond_layers", json_integer((json_int_t)x->beyond_layers));
    json_object_set_new(
        o, "beyond_layer",
        json_text(x->beyond_layer >= 0 ? s->match.layers[x->beyond_layer].name : NULL));
    if (!x->ok) {
        json_object_set_new(o, "error", json_text(x->error));
    }
    return o;
}

static void class_text(const struct session *s, int label, char *dst, size_t size)
{
    const char *name = class_name(s, label);
    char safe[64];
    if (label < 0) {
        snprintf(dst, size, "-");
    } else if (name) {
        text_fit(dst, size, text_safe(safe, sizeof safe, name), 12, TEXT_HEAD);
    } else {
        snprintf(dst, size, "%d", label);
    }
}

static void image_text(const struct session *s, const struct image_score *x, FILE *out)
{
    char name[64], safe[256], a[64], b[64], d[64];
    int w =
        text_fit(name, sizeof name, text_safe(safe, sizeof safe, image_name(s, x)), 26, TEXT_TAIL);
    class_text(s, x->label, a, sizeof a);
    class_text(s, x->fp32_top1, b, sizeof b);
    class_text(s, x->int8_top1, d, sizeof d);
    fprintf(out, "%s%*s %-12s %-12s %-12s", name, 26 - w, "", a, b, d);
    if (!x->ok) {
        fprintf(out, " failed: %s\n", text_safe(safe, sizeof safe, x->error));
        return;
    }
    if (isnan(x->margin)) {
        fprintf(out, " %9s %9s", "n/a", "n/a");
    } else {
        fprintf(out, " %+9.4f %+9.4f", x->margin, x->dlogit);
    }
    rank_print_metric(out, metric_find("sqnr"), x->sqnr, 8);
    fprintf(out, "  %-6s %s\n",
            x->flip == FLIP_LOST     ? "LOST"
            : x->flip == FLIP_GAINED ? "gained"
                                     : "",
            x->worst_layer >= 0 ? session_layer_label(s, (size_t)x->worst_layer) : "");
}

/* Prints the images of `rows`. */
static void list_images(struct call *c, const size_t *rows, size_t n)
{
    const struct session *s = c->s;
    json_t *list = json_array();
    if (!s->json) {
        fprintf(c->out, "%-26s %-12s %-12s %-12s %9s %9s %8s  %-6s %s\n", "IMAGE", "LABEL", "FP32",
                "INT8", "MARGIN", "DLOGIT", "SQNR", "FLIP", "WORST LAYER");
    }
    for (size_t i = 0; i < n; i++) {
        const struct image_score *x = &s->study->images[rows[i]];
        if (s->json) {
            json_array_append_new(list, rank_image_json(s, x));
        } else {
            image_text(s, x, c->out);
        }
    }
    if (s->json) {
        emit_json(c, json_pack("{s:O,s:o,s:o,s:I,s:I}", "images", list, "fp32_accuracy",
                               json_num(study_accuracy(s->study, SIDE_FP32)), "int8_accuracy",
                               json_num(study_accuracy(s->study, SIDE_INT8)), "lost",
                               (json_int_t)s->study->lost, "gained", (json_int_t)s->study->gained));
    }
    json_decref(list);
}

static int rank_images(struct call *c, const char *sort, int64_t top, struct err *err)
{
    struct session *s = c->s;
    char name[64];
    enum sort_dir dir;
    const char *flips = call_opt(c, "--flips"), *where = call_opt(c, "--where");
    int rc = parse_sort(sort ? sort : image_keys[0].name, name, sizeof name, &dir, err);
    const struct image_key *k = image_key_find(name);
    if (!rc && !k && strcmp(name, "none") != 0) {
        rc = err_set(err, E_USAGE,
                     "no image score '%s'; drop, dlogit, kl, sqnr, cosine, margin, beyond are",
                     name);
    }
    if (rc) {
        return rc;
    }
    size_t n = s->study->n_images, kept = 0;
    size_t *rows = mem_alloc((n + 1) * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        rows[i] = i;
    }
    if (k) {
        session_image_order(s, k, dir, rows);
        s->ui.image_sort = k; /* the view follows */
        s->ui.image_dir = dir;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        const struct image_score *x = &s->study->images[rows[i]];
        bool yes = !flips || (x->flip == FLIP_LOST && strcmp(flips, "lost") == 0) ||
                   (x->flip == FLIP_GAINED && strcmp(flips, "gained") == 0);
        if (yes && where) {
            rc = x->image < s->data.n ? image_where(s, x->image, where, &yes, err) : OK;
        }
        if (yes) {
            rows[kept++] = rows[i];
        }
    }
    if (!rc) {
        kept = top > 0 ? MIN(kept, (size_t)top) : kept;
        list_images(c, rows, kept);
        for (size_t i = 0; i < kept; i++) {
            rows[i] = s->study->images[rows[i]].image;
        }
        session_list_images(s, kept, rows);
        return OK;
    }
    free(rows);
    return rc;
}

static int exec_images(struct call *c, struct err *err)
{
    int64_t top;
    int rc = call_int(c, "--top", c->s->set.top, &top, err);
    return rc ? rc : rank_images(c, call_opt(c, "--sort"), top, err);
}

static int exec_worst(struct call *c, struct err *err)
{
    int64_t n = c->n_args ? strtoll(c->args[0], NULL, 10) : 10;
    if (n < 1) {
        return err_set(err, E_USAGE, "worst wants a count of at least 1, found %lld", (long long)n);
    }
    return rank_images(c, call_opt(c, "--metric"), n, err);
}

static void print_classes(const struct session *s, const struct image_score *x, FILE *out)
{
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct top_classes *t = &x->top[side];
        if (t->n) {
            fprintf(out, "  %-32s %9s %8s\n", side == SIDE_FP32 ? "FP32" : "INT8", "VALUE", "P");
        }
        for (int i = 0; i < t->n; i++) {
            char safe[256], name[256], value[32], p[32];
            const char *known = class_name(s, t->c[i].label);
            int n = snprintf(name, sizeof name, "%d ", t->c[i].label);
            if (known) {
                text_fit(name + n, sizeof name - (size_t)n, text_safe(safe, sizeof safe, known),
                         32 - n, TEXT_HEAD);
            }
            fprintf(out, "  %-32s %9s %8s\n", name,
                    text_number(value, sizeof value, (double)t->c[i].value, 9),
                    text_number(p, sizeof p, (double)t->c[i].p, 8));
        }
    }
}

/* {"label_rank": {"fp32", "int8"}, "fp32": [{"class", "name", "value", "p"}], "int8": [...]} */
static json_t *classes_json(const struct session *s, const struct image_score *x)
{
    static const char *const sides[] = {"fp32", "int8"};
    json_t *o = json_object(), *ranks = json_object();
    for (enum side side = SIDE_FP32; side <= SIDE_INT8; side++) {
        const struct top_classes *t = &x->top[side];
        json_t *list = json_array();
        for (int i = 0; i < t->n; i++) {
            json_array_append_new(list, json_pack("{s:i,s:o,s:o,s:o}", "class", t->c[i].label,
                                                  "name", json_text(class_name(s, t->c[i].label)),
                                                  "value", json_num((double)t->c[i].value), "p",
                                                  json_num((double)t->c[i].p)));
        }
        json_object_set_new(o, sides[side], list);
        json_object_set_new(ranks, sides[side],
                            t->n && t->label_rank ? json_integer(t->label_rank) : json_null());
    }
    json_object_set_new(o, "label_rank", ranks);
    return o;
}

/* One image: its score, and with --layers every layer on it, which takes one more run of it. */
static int exec_image(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t image;
    int rc = image_one(s, c->args[0], &image, err);
    if (rc) {
        return rc;
    }
    struct image_result r;
    image_result_init(&r, s->match.n_layers);
    rc = run_image(s, image, NULL, NULL, &r, err);
    if (rc) {
        image_result_fini(&r, s->match.n_layers);
        return rc;
    }
    struct study *one = study_new(s->match.n_layers);
    study_add(one, &r);
    const struct image_score *x = &one->images[0];
    json_t *profile = json_array();
    if (!s->json) {
        image_text(s, x, c->out);
        print_classes(s, x, c->out);
    }
    for (size_t i = 0; i < s->match.n_layers && call_opt(c, "--layers"); i++) {
        if (s->json) {
            json_array_append_new(profile, rank_layer_json(s, i, &one->layers[i]));
        } else {
            fprintf(c->out, "  %-40s", session_layer_label(s, i));
            rank_print_metric(c->out, &metrics[0],
                              one->layers[i].images
                                  ? metrics[0].value(&one->layers[i].all, one->layers[i].scale)
                                  : NAN,
                              9);
            fputc('\n', c->out);
        }
    }
    if (s->json) {
        json_t *o = json_pack("{s:o,s:o,s:O}", "image", rank_image_json(s, x), "top",
                              classes_json(s, x), "layers", profile);
        (call_opt(c, "--layers") ? emit_json : emit_one)(c, o);
    }
    json_decref(profile);
    study_free(one);
    image_result_fini(&r, s->match.n_layers);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec images_opts[] = {
    {"--sort", ARG_SCORE, "drop|dlogit|kl|sqnr|cosine|margin|beyond[:asc|:desc]|none",
     "worst first", NULL},
    {"--top", ARG_COUNT, "N", "only the first N rows", NULL},
    {"--flips", ARG_CHOICE, "lost|gained", "only images whose answer changed", "lost|gained"},
    {"--where", ARG_WORD, "EXPR", "only images that fulfil it: 'sqnr < 20 && label == star'", NULL},
    {0},
};

static const struct opt_spec worst_opts[] = {
    {"--metric", ARG_SCORE, "drop|dlogit|kl|sqnr|cosine|margin|beyond", "what worst means (drop)",
     NULL},
    {0},
};

static const struct opt_spec image_opts[] = {
    {"--layers", ARG_FLAG, NULL, "every layer's SQNR on this image", NULL},
    {0},
};

const struct cmd cmd_image[] = {
    {
        .name = "images",
        .group = "images",
        .help = "rank the images by what INT8 does to them",
        .detail = "The rows become the ranks @1, @2, ... of images in later commands. Without a "
                  "listing, and after 'sort images', these are as the images view has them.",
        .example = "images --top 5",
        .needs = NEED_RUN,
        .opts = images_opts,
        .exec = exec_images,
    },
    {
        .name = "worst",
        .group = "images",
        .help = "the N images that INT8 hurts most (10)",
        .example = "worst 5",
        .needs = NEED_RUN,
        .args = {{"N", ARG_COUNT, NULL, true, false}},
        .opts = worst_opts,
        .exec = exec_worst,
    },
    {
        .name = "image",
        .group = "images",
        .help = "one image: its score, its first classes, and its profile over the layers",
        .detail = "The five classes with the highest output values of each side, with these values "
                  "and as probabilities: outputs that sum to about 1 are divided by their sum, "
                  "others go through softmax.",
        .example = "image @1 --layers",
        .needs = NEED_PAIR | NEED_DATA,
        .args = {{"IMAGE", ARG_IMAGE, NULL, false, false}},
        .opts = image_opts,
        .exec = exec_image,
    },
    {0},
};
