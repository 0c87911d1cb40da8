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
        json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:s,s:o}", "layer", json_text(l->name),
                                              "tensor", json_text(s->fp32->values[l->fp32].name),
                                              "op", l->op, "precision", "fp32", "nodes", own));
    }
    return as_list(s, json_pack("{s:i,s:o}", "schema", 1, "pins", list), err);
}

/* Options for trtexec, whose lists are separated by ',' and ':'. */
static char *as_trtexec(const struct session *s, json_t *names, struct err *err)
{
    char *list = NULL, *text = NULL;
    size_t i, size = 0;
    json_t *name;
    int rc = OK;
    (void)s;
    FILE *f = open_memstream(&list, &size);
    json_array_foreach(names, i, name)
    {
        const char *word = json_string_value(name);
        fprintf(f, "%s%s:fp32", i ? "," : "", word);
        if (strpbrk(word, ",: \t\"'\\*")) {
            rc = err_set(err, E_UNSUPPORTED, "trtexec has no way to name '%s'", word);
        }
    }
    fclose(f);
    if (!rc) {
        text = mem_printf("--precisionConstraints=obey\n--layerPrecisions=%s\n"
                          "--layerOutputTypes=%s",
                          list, list);
    }
    free(list);
    json_decref(names);
    return text;
}

static const struct tool {
    const char *name;
    bool tensors; /* knows tensors, not nodes */
    char *(*text)(const struct session *s, json_t *names, struct err *err);
    const char *use; /* %s: the file */
} tools[] = {
    {"json", false, as_own, NULL},
    {"ort", false, as_list, "quantize_static(..., nodes_to_exclude=json.load(open('%s')))"},
    {"nncf", false, as_list,
     "nncf.quantize(..., ignored_scope=nncf.IgnoredScope(names=json.load(open('%s'))))"},
    {"tflite", true, as_list, "QuantizationDebugOptions(denylisted_nodes=json.load(open('%s')))"},
    {"trt", false, as_trtexec, "trtexec --int8 ... $(cat '%s')"},
    {"ppq", false, as_list,
     "for name in json.load(open('%s')): setting.dispatching_table.append(name, "
     "TargetPlatform.FP32)"},
};

int pins_write(const struct session *s, const char *path, const char *dialect, char **use,
               struct err *err)
{
    const struct tool *d = tools;
    while (strcmp(d->name, dialect) != 0) {
        d++; /* the command table lets no other word through */
    }
    char *text = d->text(s, names_of(s, d->tensors), err);
    if (!text) {
        return err->code;
    }
    char *whole = mem_printf("%s\n", text);
    int rc = file_write(path, whole, strlen(whole), FILE_DURABLE, err);
    const char *hole = d->use ? strstr(d->use, "%s") : NULL;
    if (!rc && use) {
        *use = hole ? mem_printf("%.*s%s%s", (int)(hole - d->use), d->use, path, hole + 2) : NULL;
    }
    free(whole);
    free(text);
    return rc;
}
