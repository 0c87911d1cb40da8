/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * export_pins.c: the list of pins in the words of other tools. They know operators by the names in
 * the FP32 model, TensorFlow Lite by the tensors that these make.
 */
#include <stdlib.h>

#include "tui/pins.h"

/* Names of the FP32 nodes of the pinned layers, or of what they make; network order. */
static json_t *names_of(const struct session *s, bool tensors)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->match.n_layers; i++) {
        int nodes[LAYER_NODES];
        size_t n = session_pinned(s, i) ? layer_nodes(s->fp32, &s->match, i, nodes) : 0;
        for (size_t k = n; k > 0; k--) {
            const struct node *node = &s->fp32->nodes[nodes[k - 1]];
            bool one = tensors && node->n_out && node->out[0] >= 0;
            json_array_append_new(list,
                                  json_text(one ? s->fp32->values[node->out[0]].name : node->name));
        }
    }
    return list;
}

/* Formats take over the list of names; the text is the caller's to free. */
static char *as_list(const struct session *s, json_t *names, struct err *err)
{
    (void)s, (void)err;
    char *text = json_dumps(names, JSON_INDENT(1));
    json_decref(names);
    return text;
}

static char *as_own(const struct session *s, json_t *names, struct err *err)
{
    json_t *list = json_array();
    json_decref(names);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        if (!session_pinned(s, i)) {
            continue;
        }
        const struct layer *l = &s->match.layers[i];
        int nodes[LAYER_NODES];
        json_t *own = json_array();
        for (size_t k = layer_nodes(s->fp32, &s->match, i, nodes); k > 0; k--) {
            json_array_append_new(own, json_text(s->fp32->nodes[nodes[k - 1]].name));
        }
        json_array_append_new(
            list, json_pack("{s:o,s:o,s:s,s:s,s:o}", "layer", json_text(l->name), "tensor",
                            json_text(s->fp32->values[l->fp32].name), "op", l->op, "precision",
                            precisions[session_precision(s, i)].name, "nodes", own));
    }
    return as_list(s, json_pack("{s:i,s:o}", "schema", 1, "pins", list), err);
}

/* One word of a list for trtexec, which separates these by ',' and ':'. */
static int put_trtexec(FILE *f, bool first, const char *name, enum precision as, struct err *err)
{
    if (as == PREC_INT16) {
        return err_set(err, E_UNSUPPORTED,
                       "trtexec knows fp32, fp16 and bf16, '%s' is pinned as %s", name,
                       precisions[as].name);
    }
    if (strpbrk(name, ",: \t\"'\\*")) {
        return err_set(err, E_UNSUPPORTED, "trtexec has no way to name '%s'", name);
    }
    fprintf(f, "%s%s:%s", first ? "" : ",", name, precisions[as].name);
    return OK;
}

static char *as_trtexec(const struct session *s, json_t *names, struct err *err)
{
    char *list = NULL, *text = NULL;
    size_t size = 0, count = 0;
    int rc = OK;
    bool used[N_PRECISIONS] = {false};
    json_decref(names);
    FILE *f = open_memstream(&list, &size);
    for (size_t i = 0; i < s->match.n_layers && !rc; i++) {
        int nodes[LAYER_NODES];
        size_t n = session_pinned(s, i) ? layer_nodes(s->fp32, &s->match, i, nodes) : 0;
        enum precision as = session_precision(s, i);
        used[as] |= n > 0;
        for (size_t k = n; k > 0 && !rc; k--) {
            rc = put_trtexec(f, !count++, s->fp32->nodes[nodes[k - 1]].name, as, err);
        }
    }
    fclose(f);
    if (!rc) {
        text = mem_printf("%s%s--precisionConstraints=obey\n--layerPrecisions=%s\n"
                          "--layerOutputTypes=%s",
                          used[PREC_FP16] ? "--fp16\n" : "", used[PREC_BF16] ? "--bf16\n" : "",
                          list, list);
    }
    free(list);
    return text;
}

static const struct tool {
    const char *name;
    bool tensors;    /* knows tensors, not nodes */
    bool precisions; /* says which layer is pinned in which; others know layers left in FP32 */
    char *(*text)(const struct session *s, json_t *names, struct err *err);
    const char *use; /* %s: the file */
} tools[] = {
    {"json", false, true, as_own, NULL},
    {"ort", false, false, as_list, "quantize_static(..., nodes_to_exclude=json.load(open('%s')))"},
    {"nncf", false, false, as_list,
     "nncf.quantize(..., ignored_scope=nncf.IgnoredScope(names=json.load(open('%s'))))"},
    {"tflite", true, false, as_list,
     "QuantizationDebugOptions(denylisted_nodes=json.load(open('%s')))"},
    {"trt", false, true, as_trtexec, "trtexec --int8 ... $(cat '%s')"},
    {"ppq", false, false, as_list,
     "for name in json.load(open('%s')): setting.dispatching_table.append(name, "
     "TargetPlatform.FP32)"},
};

static int check_precisions(const struct session *s, const struct tool *d, struct err *err)
{
    for (size_t i = 0; i < s->match.n_layers && !d->precisions; i++) {
        enum precision as = session_precision(s, i);
        if (as != PREC_FP32) {
            return err_set(err, E_UNSUPPORTED,
                           "%s leaves layers in FP32 and knows no other precision, '%s' is pinned "
                           "as %s",
                           d->name, s->match.layers[i].name, precisions[as].name);
        }
    }
    return OK;
}

int pins_write(const struct session *s, const char *path, const char *dialect, char **use,
               struct err *err)
{
    const struct tool *d = tools;
    while (strcmp(d->name, dialect) != 0) {
        d++; /* the command table lets no other word through */
    }
    int rc = check_precisions(s, d, err);
    char *text = rc ? NULL : d->text(s, names_of(s, d->tensors), err);
    if (!text) {
        return err->code;
    }
    char *whole = mem_printf("%s\n", text);
    rc = file_write(path, whole, strlen(whole), FILE_DURABLE, err);
    const char *hole = d->use ? strstr(d->use, "%s") : NULL;
    if (!rc && use) {
        *use = hole ? mem_printf("%.*s%s%s", (int)(hole - d->use), d->use, path, hole + 2) : NULL;
    }
    free(whole);
    free(text);
    return rc;
}
