/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * session_look.c: what a session says of itself: its log, names for people, rankings, scores.
 */
#include <stdlib.h>

#include "tui/tui.h"

void session_log(struct session *s, char kind, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = mem_printf("%.*s", (int)MIN(n, (size_t)4000), text);
        size_t room = 4 * strlen(line) + 64;
        char *safe = mem_alloc(room);
        text_safe(safe, room, line);
        free(line);
        if (s->n_log == 10000) { /* the oldest lines go */
            free(s->log[0].text);
            memmove(s->log, s->log + 1, --s->n_log * sizeof *s->log);
        }
        s->log = mem_push(s->log, s->n_log, &s->cap_log, sizeof *s->log);
        s->log[s->n_log++] = (struct log_line){.text = safe, .kind = kind};
        text += n + (text[n] == '\n');
    }
}

const char *session_layer_label(const struct session *s, size_t layer)
{
    static char ring[8][1024]; /* names that converters join are long */
    static unsigned at;
    char *dst = ring[at++ % COUNT(ring)];
    return text_safe(dst, sizeof ring[0], s->match.layers[layer].name);
}

int session_layer_short(const struct session *s, size_t layer, char *dst, size_t size, int columns)
{
    char safe[1024], first[1024];
    text_safe(safe, sizeof safe, s->match.layers[layer].name);
    if (text_width(safe) > columns) {
        /* Converters join the names of what they fused with ';': the first one says enough. */
        snprintf(first, sizeof first, "%.*s", (int)strcspn(safe, ";"), safe);
        return text_fit(dst, size, first, columns, TEXT_TAIL);
    }
    return text_fit(dst, size, safe, columns, TEXT_TAIL);
}

const char *session_pin_word(const struct session *s, const struct pin_state *p, size_t i)
{
    const char *name = NULL;
    size_t same = 0;
    for (size_t k = 0; s->pair && k < s->match.n_layers && !name; k++) {
        const struct layer *l = &s->match.layers[k];
        name = strcmp(s->fp32->values[l->fp32].name, p->names[i]) == 0 ? l->name : NULL;
    }
    for (size_t k = 0; name && k < s->match.n_layers; k++) {
        same += strcmp(s->match.layers[k].name, name) == 0;
    }
    return same == 1 ? name : p->names[i];
}

char *session_pin_line(const struct session *s, const struct pin_state *p, enum precision as)
{
    char **words = mem_alloc((p->n + 1) * sizeof *words);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->as[i] == (uint8_t)as) {
            words[n++] = (char *)(uintptr_t)session_pin_word(s, p, i);
        }
    }
    char *pins = n ? cmd_join("pin", n, words) : NULL;
    free(words);
    if (!pins || as == PREC_FP32) {
        return pins;
    }
    char *line = mem_printf("%s --as %s", pins, precisions[as].name);
    free(pins);
    return line;
}

char session_pin_mark(const struct session *s, size_t layer)
{
    return session_pinned(s, layer) ? precisions[session_precision(s, layer)].mark : '.';
}

json_t *session_precision_json(const struct session *s, size_t layer)
{
    return session_pinned(s, layer) ? json_string(precisions[session_precision(s, layer)].name)
                                    : json_null();
}

const char *session_numerics(const struct session *s)
{
    static char unverified[64];
    const char *name = numerics_name(s->set.numerics);
    if (numerics_verified(s->set.numerics)) {
        return name;
    }
    snprintf(unverified, sizeof unverified, "%s (unverified)", name);
    return unverified;
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "-";
}

void session_title(const struct session *s, char *dst, size_t size)
{
    char a[80], b[80], models[200] = "no model";
    if (s->pair) {
        snprintf(models, sizeof models, "%s <> %s",
                 text_safe(a, sizeof a, base_name(s->fp32->path)),
                 text_safe(b, sizeof b, base_name(s->int8->path)));
    } else if (s->fp32 || s->int8) {
        snprintf(models, sizeof models, "%s %s", s->fp32 ? "FP32" : "INT8",
                 text_safe(a, sizeof a, base_name((s->fp32 ? s->fp32 : s->int8)->path)));
    }
    snprintf(dst, size, "%s", models);
}

/* Of what only this layer in INT8 achieves, the outcome says what is bad. */
static bool is_higher_better(const struct session *s, const struct metric *m)
{
    const struct sweep *w = m->of == METRIC_ONLY ? session_sweep(s, SWEEP_ONLY) : NULL;
    return w ? w->outcome->higher_is_better : m->higher_is_better;
}

size_t session_layer_order(const struct session *s, const struct metric *m, enum sort_dir d,
                           size_t *order)
{
    if (m && (s->study || m->of != METRIC_CUMULATIVE)) {
        double *v = mem_alloc((s->match.n_layers + 1) * sizeof *v);
        for (size_t i = 0; i < s->match.n_layers; i++) {
            v[i] = layer_metric(s, i, m);
        }
        rank_values(s->match.n_layers, v, is_higher_better(s, m), d, order);
        free(v);
    } else {
        for (size_t i = 0; i < s->match.n_layers; i++) {
            order[i] = i;
        }
    }
    return s->match.n_layers;
}

size_t session_image_order(const struct session *s, const struct image_key *k, enum sort_dir d,
                           size_t *order)
{
    if (!s->study) {
        return 0;
    }
    study_rank_images(s->study, k, d, order);
    return s->study->n_images;
}

const struct image_score *session_score(const struct session *s, size_t image)
{
    const struct study *st = s->study;
    if (st && image < st->n_images && st->images[image].image == image) {
        return &st->images[image]; /* where it is after a run over all */
    }
    for (size_t i = 0; st && i < st->n_images; i++) {
        if (st->images[i].image == image) {
            return &st->images[i];
        }
    }
    return NULL;
}

/* ---- Inputs --------------------------------------------------------------------------------- */

size_t session_inputs(const struct session *s, struct model_input *in, size_t room)
{
    const struct graph *g = s->fp32 ? s->fp32 : s->int8;
    for (size_t i = 0; g && i < MIN(g->n_inputs, room); i++) {
        const struct value *v = &g->values[g->inputs[i]];
        /* Codes are made from the same floats that the other side gets. */
        in[i] = (struct model_input){
            .name = v->name, .dtype = v->quant ? DT_F32 : v->dtype, .rank = v->rank};
        memcpy(in[i].dims, v->dims, sizeof in[i].dims);
        for (int d = 0; d < v->rank; d++) {
            in[i].dims[d] = v->dims[d] == 0 ? -1 : v->dims[d]; /* 0: a free batch, in some files */
        }
    }
    return g ? g->n_inputs : 0;
}

int session_sample(const struct session *s, size_t image, struct tensor **in, struct err *err)
{
    size_t n = session_inputs(s, NULL, 0);
    struct model_input *inputs = mem_alloc((n + 1) * sizeof *inputs);
    session_inputs(s, inputs, n);
    int rc = OK;
    if (image < s->data.n && n) {
        rc = sample_load(&s->data.samples[image], &s->pp, (int)n, inputs, in, err);
    }
    for (size_t i = 0; i < n && image >= s->data.n && !rc; i++) {
        int64_t dims[MAX_RANK];
        for (int d = 0; d < MAX(inputs[i].rank, 0); d++) {
            dims[d] = inputs[i].dims[d] > 0 ? inputs[i].dims[d] : 1;
        }
        rc = tensor_zeros(inputs[i].dtype, MAX(inputs[i].rank, 0), dims, NULL, &in[i], err);
    }
    free(inputs);
    return rc;
}
