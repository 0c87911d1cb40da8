/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_session.c: session save, open and info.
 */
#include <stdlib.h>

#include "tui/state.h"

/* The file named, or where sessions are saved by themselves; free() it. */
static int file_of(const struct call *c, char **path, struct err *err)
{
    *path = c->n_args ? mem_dup(c->args[0]) : state_last();
    return *path ? OK : err_set(err, E_STATE, "there is no home to keep sessions in; name a file");
}

static int exec_save(struct call *c, struct err *err)
{
    char *path, safe[512];
    int rc = file_of(c, &path, err);
    rc = rc ? rc : call_may_write(c, path, err);
    if (rc == OK)
        rc = c->n_args ? state_save(c->s, path, err) : state_autosave(c->s, err);
    if (rc == OK && c->s->json)
        emit_json(c, json_pack("{s:o}", "file", json_text(path)));
    else if (rc == OK)
        fprintf(c->out, "session saved in %s\n", text_safe(safe, sizeof(safe), path));
    free(path);
    return rc;
}

static int exec_open(struct call *c, struct err *err)
{
    struct session *s = c->s;
    json_t *state = NULL;
    char *path = NULL;
    size_t n = 0;
    int rc = file_of(c, &path, err);
    rc = rc ? rc : state_read(path, &state, err);
    rc = rc ? rc : state_restore(s, state, c->note, err);
    size_t *images = rc ? NULL : state_run(s, state, &n);
    if (rc == OK && s->json) {
        emit_json(c, json_pack("{s:o,s:I,s:I,s:I,s:b}", "file", json_text(path), "images",
                               (json_int_t)s->data.n, "pins", (json_int_t)s->undo[s->at_undo].n,
                               "steps", (json_int_t)s->n_undo - 1, "had_results", images != NULL));
    } else if (rc == OK) {
        char *line = state_summary(state);
        fprintf(c->out, "%s\n", line);
        free(line);
    }
    if (images && call_opt(c, "--run")) {
        rc = run_start(s, n, images, s->screen, s->json ? NULL : c->note, err);
        images = NULL;
    } else if (images) {
        fprintf(c->note, "results are not kept: 'run' measures again\n");
    }
    free(images);
    json_decref(state);
    free(path);
    return rc;
}

/* "there", "changed" or why it cannot be read. */
static json_t *model_state(const json_t *state, const char *side)
{
    const json_t *model = json_object_get(state, side);
    char *file = state_place(state, json_string_value(json_object_get(model, "file")));
    const char *digest = json_string_value(json_object_get(model, "digest"));
    struct err err = {0};
    struct graph *g = NULL;
    char hex[33];
    if (!file)
        return json_null();
    const char *how = "there";
    if (model_load(file, &g, &err) != OK) {
        how = err.text;
    } else {
        digest_hex(graph_digest(g), hex);
        how = digest && strcmp(hex, digest) != 0 ? "changed since" : how;
    }
    json_t *o = json_pack("{s:o,s:o}", "file", json_text(file), "state", json_text(how));
    graph_free(g);
    free(file);
    return o;
}

static int exec_info(struct call *c, struct err *err)
{
    static const char *const sides[] = {"fp32", "int8"};
    json_t *state = NULL;
    char *path = NULL, safe[1024];
    int rc = file_of(c, &path, err);
    rc = rc ? rc : state_read(path, &state, err);
    if (rc) {
        free(path);
        return rc;
    }
    char *line = state_summary(state);
    json_t *o = json_pack("{s:o,s:o}", "file", json_text(path), "summary", json_text(line));
    if (!c->s->json)
        fprintf(c->out, "%s\n%s\n", text_safe(safe, sizeof(safe), path), line);
    for (int i = 0; i < 2; i++) {
        json_t *m = model_state(state, sides[i]);
        if (!c->s->json && !json_is_null(m)) {
            fprintf(c->out, "  %s  %s", i ? "INT8" : "FP32",
                    text_safe(safe, sizeof(safe), json_string_value(json_object_get(m, "file"))));
            fprintf(c->out, "  %s\n",
                    text_safe(safe, sizeof(safe), json_string_value(json_object_get(m, "state"))));
        }
        json_object_set_new(o, sides[i], m);
    }
    if (c->s->json)
        emit_json(c, json_incref(o));
    json_decref(o);
    json_decref(state);
    free(line);
    free(path);
    return OK;
}

/* ---- Table ----------------------------------------------------------------------------------- */

static const struct opt_spec open_opts[] = {
    {"--run", ARG_FLAG, NULL, "run again on the images that there were results for", NULL},
    {0},
};

const struct cmd cmd_session[] = {
    {
        .name = "session save",
        .group = "session",
        .help = "write what is loaded, chosen and pinned to a file",
        .detail = "Models with a digest of their contents, pairs made by hand, images, labels and "
                  "marks, preprocessing, settings, variables, the pins with their whole history, "
                  "and what the screen shows. Results are not in it. Without FILE it is where the "
                  "screen and the prompt save by themselves when they end, also by SIGHUP or "
                  "SIGTERM, and where 'session open' looks.",
        .example = "session save work.json",
        .args = {{"FILE", ARG_FILE, NULL, true, false}},
        .exec = exec_save,
    },
    {
        .name = "session open",
        .group = "session",
        .help = "take up a saved session again; the last one without FILE",
        .detail = "Relative paths are those of the folder where it was saved. It is told when a "
                  "model has changed since. When a model cannot be loaded, all stays as it is.",
        .example = "session open --run",
        .args = {{"FILE", ARG_FILE, NULL, true, false}},
        .opts = open_opts,
        .exec = exec_open,
    },
    {
        .name = "session info",
        .group = "session",
        .help = "what a saved session holds, and whether its models have changed since",
        .example = "session info",
        .args = {{"FILE", ARG_FILE, NULL, true, false}},
        .exec = exec_info,
    },
    {0},
};
