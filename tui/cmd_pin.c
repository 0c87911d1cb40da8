/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_pin.c: pin, unpin, precisions, pins, undo, redo, history: which layers compute in what.
 */
#include <stdlib.h>

#include "tui/edits.h"
#include "tui/pins.h"
#include "tui/tui.h"

/* ---- State of pins (shared with export) ----------------------------------------------------- */

void pins_report_new(const struct session *s, const struct plan *plan, struct pin_report **out,
                     size_t *n)
{
    struct pin_report *list = mem_alloc((s->match.n_layers + 1) * sizeof *list);
    *n = 0;
    for (size_t i = 0; i < s->match.n_layers; i++) {
        if (session_pinned(s, i)) {
            struct pin_report *r = &list[(*n)++];
            r->layer = i;
            r->in_effect =
                pin_in_effect(plan_graph(plan), session_int8(s)->values[s->int8_values[i]].name,
                              s->fp32, s->match.layers[i].fp32, session_precision(s, i), &r->why);
        }
    }
    *out = list;
}

json_t *pins_report_json(const struct session *s, const struct pin_report *r, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct precision_row *as = &precisions[session_precision(s, r[i].layer)];
        json_t *o = json_pack("{s:o,s:s,s:b,s:b}", "layer",
                              json_text(s->match.layers[r[i].layer].name), "precision", as->name,
                              "simulated", as->simulated, "in_effect", r[i].in_effect);
        if (r[i].why) {
            json_object_set_new(o, "why", json_string(r[i].why));
        }
        json_array_append_new(list, o);
    }
    return list;
}

void pins_report_text(const struct session *s, const struct pin_report *r, size_t n, FILE *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct precision_row *as = &precisions[session_precision(s, r[i].layer)];
        fprintf(out, "%c %-44s %-5s %s%s%s%s\n", as->mark, session_layer_label(s, r[i].layer),
                as->name, r[i].in_effect ? "in effect" : "NOT in effect",
                r[i].in_effect && as->simulated ? " (simulated)" : "", r[i].why ? ": " : "",
                r[i].why ? r[i].why : "");
    }
}

/* ---- pin, unpin ----------------------------------------------------------------------------- */

static bool *current_pins(const struct session *s)
{
    bool *pinned = mem_alloc(s->match.n_layers + 1);
    for (size_t i = 0; i < s->match.n_layers; i++) {
        pinned[i] = session_pinned(s, i);
    }
    return pinned;
}

static void report_pins(struct call *c, const char *what, size_t changed, const char *unit)
{
    const struct session *s = c->s;
    size_t total = s->undo[s->at_undo].n;
    if (s->json) {
        emit_json(
            c, json_pack("{s:I,s:I}", "changed", (json_int_t)changed, "pins", (json_int_t)total));
    } else {
        fprintf(c->out, "%s %zu %s%s, %zu pinned now%s\n", what, changed, unit,
                changed == 1 ? "" : "s", total, s->study ? " (run again to measure)" : "");
    }
}

/* Whether the layer changes when it is (not) to be pinned in that precision. */
static bool changes(const struct session *s, size_t layer, bool to, enum precision as)
{
    bool pinned = session_pinned(s, layer);
    return pinned != to || (to && session_precision(s, layer) != as);
}

static int change_pins(struct call *c, bool to, enum precision as, struct err *err)
{
    struct session *s = c->s;
    size_t n, *list, changed = 0;
    int rc = layer_lists(s, c->n_args, c->args, &n, &list, err);
    if (rc) {
        return rc;
    }
    bool *pinned = current_pins(s);
    uint8_t *precision = session_precisions(s, as);
    for (size_t i = 0; i < n; i++) {
        if (to && !s->match.layers[list[i]].pinnable) {
            rc = err_set(err, E_UNSUPPORTED, "'%s' has no operator to pin",
                         s->match.layers[list[i]].name);
        }
        changed += changes(s, list[i], to, as);
        pinned[list[i]] = to;
        precision[list[i]] = (uint8_t)as;
    }
    if (!rc && changed) {
        char *words = cmd_join(c->cmd->name, c->n_args, c->args);
        char *label = mem_printf("%s%s%s", words, as != PREC_FP32 ? " --as " : "",
                                 as != PREC_FP32 ? precisions[as].name : "");
        rc = session_pin(s, pinned, precision, label, err);
        free(label);
        free(words);
    }
    if (!rc) {
        report_pins(c, to ? "pinned" : "unpinned", changed, "layer");
    }
    free(pinned);
    free(precision);
    free(list);
    return rc;
}

static int exec_pin(struct call *c, struct err *err)
{
    const char *as = call_opt(c, "--as");
    return change_pins(c, true, as ? (enum precision)precision_find(as) : PREC_FP32, err);
}

static int exec_unpin(struct call *c, struct err *err)
{
    return change_pins(c, false, PREC_FP32, err);
}

static int exec_precisions(struct call *c, struct err *err)
{
    (void)err;
    json_t *list = json_array();
    for (const struct precision_row *p = precisions; p->name; p++) {
        if (c->s->json) {
            json_array_append_new(list,
                                  json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:i}", "name", p->name,
                                            "help", p->help, "rewrite", p->rewrite, "needs",
                                            p->needs, "simulated", p->simulated, "weight_bits",
                                            p->weight_bits, "activation_bits", p->activation_bits));
        } else {
            fprintf(c->out, "%c %-6s %s\n", p->mark, p->name, p->help);
            fprintf(c->out, "%9s%s; %s\n", "", p->simulated ? "simulated" : "executed", p->rewrite);
            fprintf(c->out, "%9sneeds %s\n", "", p->needs);
        }
    }
    if (c->s->json) {
        emit_json(c, json_pack("{s:O}", "precisions", list));
    }
    json_decref(list);
    return OK;
}

/* ---- pins ----------------------------------------------------------------------------------- */

/* What was done to the models under the pins. */
static void list_edits(const struct session *s, FILE *out)
{
    char safe[400], did[200];
    for (size_t i = 1; out && i <= s->at_undo; i++) {
        if (session_step_edit(s, i)) {
            fprintf(out, "~ %s  (%s)\n", text_safe(safe, sizeof safe, s->undo[i].label),
                    session_step_did(s, i, did, sizeof did));
        }
    }
}

static int list_pins(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct pin_report *r = NULL;
    size_t n = 0;
    (void)err;
    if (s->mixed) {
        pins_report_new(s, s->plan_int8, &r, &n);
    }
    if (s->json) {
        emit_json(c, json_pack("{s:o,s:o}", "pins", pins_report_json(s, r, n), "edits",
                               session_edits_json(s)));
    } else if (!n) {
        fprintf(c->out, "no layer is pinned\n");
    } else {
        pins_report_text(s, r, n, c->out);
    }
    list_edits(s, s->json ? NULL : c->out);
    free(r);
    return OK;
}

/* One pin of a list; a list without precisions is of FP32. */
static int load_pin(struct session *s, const json_t *pin, bool *pinned, uint8_t *precision,
                    struct err *err)
{
    const char *name = json_string_value(json_object_get(pin, "layer"));
    const char *word = json_string_value(json_object_get(pin, "precision"));
    int as = word ? precision_find(word) : PREC_FP32;
    size_t n = 0, *list = NULL;
    if (!name || as < 0) {
        return !name ? err_set(err, E_FORMAT, "it has no \"layer\"")
                     : err_set(err, E_FORMAT, "expected precision %s, found '%.40s'",
                               PRECISION_NAMES, word);
    }
    int rc = layer_list(s, name, &n, &list, err);
    for (size_t k = 0; !rc && k < n; k++) {
        pinned[list[k]] = true;
        precision[list[k]] = (uint8_t)as;
    }
    free(list);
    return rc;
}

static int load_pins(struct call *c, const char *path, struct err *err)
{
    struct session *s = c->s;
    struct file f;
    json_error_t je;
    int rc = file_map(path, 64u << 20, &f, err);
    if (rc) {
        return rc;
    }
    json_t *o = json_loadb((const char *)f.data, f.size, JSON_REJECT_DUPLICATES, &je), *pin;
    file_unmap(&f);
    if (!o || !json_is_array(json_object_get(o, "pins"))) {
        json_decref(o);
        return err_set(err, E_FORMAT, "%s: expected {\"pins\": [{\"layer\": NAME}, ...]}%s%s", path,
                       o ? "" : ", found ", o ? "" : je.text);
    }
    bool *pinned = mem_alloc(s->match.n_layers + 1);
    uint8_t *as = mem_alloc(s->match.n_layers + 1);
    size_t i;
    json_array_foreach(json_object_get(o, "pins"), i, pin)
    {
        rc = rc ? rc : load_pin(s, pin, pinned, as, err);
        rc = rc ? err_in(err, "%s: pin %zu", path, i) : OK;
    }
    char *label = cmd_join(c->cmd->name, c->n_args, c->args);
    rc = rc ? rc : session_pin(s, pinned, as, label, err);
    free(label);
    free(as);
    if (!rc) {
        report_pins(c, "loaded", s->undo[s->at_undo].n, "layer");
    }
    free(pinned);
    json_decref(o);
    return rc;
}

static int clear_pins(struct call *c, struct err *err)
{
    struct session *s = c->s;
    size_t n = s->undo[s->at_undo].n;
    bool *none = mem_alloc(s->match.n_layers + 1);
    int rc = n ? session_pin(s, none, NULL, "pins clear", err) : OK;
    free(none);
    if (!rc) {
        report_pins(c, "unpinned", n, "layer");
    }
    return rc;
}

static int save_pins(struct call *c, const char *path, struct err *err)
{
    const size_t n = c->s->undo[c->s->at_undo].n;
    char safe[1024];
    int rc = call_may_write(c, path, err);
    rc = rc ? rc : pins_write(c->s, path, "json", NULL, err);
    if (!rc && c->s->json) {
        emit_json(c, json_pack("{s:o,s:I}", "file", json_text(path), "pins", (json_int_t)n));
    } else if (!rc) {
        fprintf(c->out, "%zu pin%s written to %s\n", n, n == 1 ? "" : "s",
                text_safe(safe, sizeof safe, path));
    }
    return rc;
}

static int exec_pins(struct call *c, struct err *err)
{
    const char *verb = c->n_args ? c->args[0] : NULL;
    bool file = verb && (strcmp(verb, "save") == 0 || strcmp(verb, "load") == 0);
    if (file && c->n_args < 2) {
        return err_set(err, E_USAGE, "'pins %s' wants FILE", verb);
    }
    if (!verb) {
        return list_pins(c, err);
    }
    if (strcmp(verb, "clear") == 0) {
        return clear_pins(c, err);
    }
    return strcmp(verb, "save") == 0 ? save_pins(c, c->args[1], err)
                                     : load_pins(c, c->args[1], err);
}

/* ---- undo, redo, history -------------------------------------------------------------------- */

static int move_undo(struct call *c, int sign, struct err *err)
{
    long steps = c->n_args ? strtol(c->args[0], NULL, 10) : 1;
    if (steps < 1 || steps > 1000000) {
        return err_set(err, E_USAGE, "%s wants a count of at least 1, found %ld", c->cmd->name,
                       steps);
    }
    int rc = session_undo(c->s, sign * (int)steps, err);
    if (!rc) {
        report_pins(c, sign < 0 ? "undone" : "redone", (size_t)steps, "step");
    }
    return rc;
}

static int exec_undo(struct call *c, struct err *err)
{
    return move_undo(c, -1, err);
}

static int exec_redo(struct call *c, struct err *err)
{
    return move_undo(c, 1, err);
}

static int exec_history(struct call *c, struct err *err)
{
    (void)err;
    const struct session *s = c->s;
    json_t *list = json_array();
    char safe[400], did[200];
    for (size_t i = 1; i < s->n_undo; i++) {
        const char *edit = session_step_did(s, i, did, sizeof did);
        if (s->json) {
            json_array_append_new(
                list, json_pack("{s:o,s:I,s:b,s:o}", "line", json_text(s->undo[i].label), "pins",
                                (json_int_t)s->undo[i].n, "in_force", i <= s->at_undo, "did",
                                edit[0] ? json_string(edit) : json_null()));
        } else {
            fprintf(c->out, "%c %zu  %s%s%s%s\n", i <= s->at_undo ? ' ' : '-', s->undo[i].n,
                    text_safe(safe, sizeof safe, s->undo[i].label), edit[0] ? "  (" : "", edit,
                    edit[0] ? ")" : "");
        }
    }
    if (s->json) {
        emit_json(c, json_pack("{s:O}", "steps", list));
    }
    json_decref(list);
    return OK;
}

/* ---- Table ---------------------------------------------------------------------------------- */

static const struct opt_spec pin_opts[] = {
    {"--as", ARG_CHOICE, PRECISION_NAMES, "what they compute in (fp32; precisions lists them)",
     PRECISION_NAMES},
    {0},
};

const struct cmd cmd_pin[] = {
    {
        .name = "pin",
        .group = "pins",
        .help = "compute layers in FP32, or another precision, with the FP32 model's weights",
        .detail = "Takes layer names, @N ranks of the last listing, globs, @marked or {EXPR}. "
                  "Between adjacent pinned layers no QuantizeLinear or DequantizeLinear remains. "
                  "With --as what a layer reads and makes, and its constants, are rounded to that "
                  "precision, and it computes in FP32 in between: the exported file says so, and "
                  "is what was measured. A layer pinned again gets the new precision. "
                  "Results of the last run stay on view, marked, until the next run.",
        .example = "pin @1 @2",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, false, true}},
        .opts = pin_opts,
        .exec = exec_pin,
    },
    {
        .name = "precisions",
        .group = "pins",
        .help = "what a pin may compute a layer in, and what that does to the model",
        .example = "precisions",
        .exec = exec_precisions,
    },
    {
        .name = "unpin",
        .group = "pins",
        .help = "give layers back to INT8",
        .example = "unpin @pinned",
        .needs = NEED_PAIR,
        .args = {{"LAYER", ARG_LAYER, NULL, false, true}},
        .exec = exec_unpin,
    },
    {
        .name = "pins",
        .group = "pins",
        .help = "list the pins and whether they are in effect; save, load or clear them",
        .detail = "Behind them, marked ~, what `whatif --apply` and `quantize` have made of the "
                  "models under the pins.",
        .example = "pins",
        .needs = NEED_PAIR,
        .args = {{"save|load|clear", ARG_CHOICE, "save|load|clear", true, false},
                 {"FILE", ARG_FILE, NULL, true, false}},
        .exec = exec_pins,
    },
    {
        .name = "undo",
        .group = "pins",
        .help = "take back the last changes of pins and models",
        .example = "undo",
        .needs = NEED_PAIR,
        .args = {{"N", ARG_COUNT, NULL, true, false}},
        .exec = exec_undo,
    },
    {
        .name = "redo",
        .group = "pins",
        .help = "make changes again that were undone",
        .example = "redo",
        .needs = NEED_PAIR,
        .args = {{"N", ARG_COUNT, NULL, true, false}},
        .exec = exec_redo,
    },
    {
        .name = "history",
        .group = "pins",
        .help = "list the changes of pins and models, and what they did to these",
        .example = "history",
        .needs = NEED_PAIR,
        .exec = exec_history,
    },
    {0},
};
