/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_record.c: what became of the lines and their answers: record, output, log.
 */
#include <stdlib.h>

#include "tui/shell.h"
#include "tui/view.h"

/* ---- record ---------------------------------------------------------------------------------- */

static int exec_record_start(struct call *c, struct err *err)
{
    int rc = call_may_write(c, c->args[0], err);
    rc = rc ? rc : record_start(c->s, c->args[0], call_opt(c, "--now") != NULL, err);
    if (rc == OK)
        fprintf(c->note, "recording to %s; 'record stop' completes it\n", c->args[0]);
    return rc;
}

static int exec_record_stop(struct call *c, struct err *err)
{
    char *path = NULL, safe[512];
    size_t lines = 0;
    const int rc = record_stop(c->s, &path, &lines, err);
    if (rc == OK && c->s->json)
        emit_json(c, json_pack("{s:o,s:I}", "file", json_text(path), "lines", (json_int_t)lines));
    else if (rc == OK)
        fprintf(c->out, "%zu line%s recorded in %s\n", lines, lines == 1 ? "" : "s",
                text_safe(safe, sizeof(safe), path));
    free(path);
    return rc;
}

/* Prints texts as lines, or as {"lines": [{"line": TEXT}, ...]}. */
static int exec_record_show(struct call *c, struct err *err)
{
    char *const *lines;
    int64_t top;
    const size_t n = record_lines(c->s, &lines);
    const int rc = call_int(c, "--top", 0, &top, err);
    if (rc)
        return rc;
    json_t *list = json_array();
    for (size_t i = top > 0 && n > (size_t)top ? n - (size_t)top : 0; i < n; i++) {
        char *safe = mem_alloc(4 * strlen(lines[i]) + 64);
        text_safe(safe, 4 * strlen(lines[i]) + 64, lines[i]);
        if (c->s->json)
            json_array_append_new(list, json_pack("{s:o}", "line", json_text(lines[i])));
        else
            fprintf(c->out, "%s\n", safe);
        free(safe);
    }
    if (c->s->json)
        emit_json(c, json_pack("{s:O}", "lines", list));
    json_decref(list);
    return OK;
}

/* ---- output ---------------------------------------------------------------------------------- */

static int exec_output(struct call *c, struct err *err)
{
    struct session *s = c->s;
    if (strcmp(c->args[0], "-") != 0) {
        const int rc = call_may_write(c, c->args[0], err);
        return rc ? rc : sink_open(s, c->args[0], err);
    }
    if (!s->shell->sinking)
        return err_set(err, E_STATE, "data goes to no file");
    return sink_close(s, err);
}

/* ---- log ------------------------------------------------------------------------------------- */

static const struct {
    char kind;
    const char *name;
} kinds[] = {{'>', "command"}, {' ', "answer"}, {'n', "note"}, {'e', "error"}};

static const char *kind_name(char kind)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "";
}

static int exec_log(struct call *c, struct err *err)
{
    const struct session *s = c->s;
    const char *only = call_opt(c, "--kind");
    int64_t top;
    const int rc = call_int(c, "--top", 0, &top, err);
    if (rc)
        return rc;
    size_t first = s->n_log, found = 0;
    while (first > 0 && (top <= 0 || found < (size_t)top)) {
        first--;
        found += !only || strcmp(kind_name(s->log[first].kind), only) == 0;
    }
    json_t *list = json_array();
    for (size_t i = first; i < s->n_log; i++) {
        const char *kind = kind_name(s->log[i].kind);
        if (only && strcmp(kind, only) != 0)
            continue;
        if (s->json)
            json_array_append_new(
                list, json_pack("{s:s,s:o}", "kind", kind, "text", json_text(s->log[i].text)));
        else
            fprintf(c->out, "%-7s %s\n", kind, s->log[i].text);
    }
    if (s->json)
        emit_json(c, json_pack("{s:O}", "lines", list));
    json_decref(list);
    return OK;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

static int exec_ranks(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct rows r = rows_of(s, VIEW_LAYERS);
    (void)err;
    free(s->listed);
    s->listed = r.item;
    s->n_listed = r.n_items;
    return OK;
}

/* ---- Table ----------------------------------------------------------------------------------- */

static const struct opt_spec start_opts[] = {
    {"--now", ARG_FLAG, NULL, "only what comes from now on", NULL},
    {"--force", ARG_FLAG, NULL, "overwrite an existing file", NULL},
    {0},
};

static const struct opt_spec show_opts[] = {
    {"--top", ARG_COUNT, "N", "only the last N lines", NULL},
    {0},
};

static const struct opt_spec log_opts[] = {
    {"--top", ARG_COUNT, "N", "only the last N lines", NULL},
    {"--kind", ARG_CHOICE, "KIND", "only lines of this kind", "command|answer|note|error"},
    {0},
};

const struct cmd cmd_record[] = {
    {
        .name = "record start",
        .group = "shell",
        .help = "write a script that does what was done in this session, and what comes",
        .detail = "All keys and lines since the program started are in it, those of the command "
                  "line too, so that it stands alone. Run in batch, it gives the same data: what "
                  "the cursor was on while a run went on is told by name, and a run that was "
                  "cancelled gets --limit. The file is complete after 'record stop' or the end of "
                  "the program.",
        .example = "record start session.qs",
        .unrecorded = true,
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .opts = start_opts,
        .exec = exec_record_start,
    },
    {
        .name = "record stop",
        .group = "shell",
        .help = "end the recording; the file is complete",
        .example = "record stop",
        .unrecorded = true,
        .exec = exec_record_stop,
    },
    {
        .name = "record show",
        .group = "shell",
        .help = "print the lines that a recording would have",
        .example = "record show --top 10",
        .unrecorded = true,
        .opts = show_opts,
        .exec = exec_record_show,
    },
    {
        .name = "output",
        .group = "shell",
        .help = "send data to a file; '-' ends that",
        .detail = "What commands print goes to FILE instead of the standard output or the log, in "
                  "the form of 'set output'. Notes and errors stay where they are. The file is "
                  "replaced, and brought up to date after each line.",
        .example = "output layers.txt",
        .args = {{"FILE", ARG_FILE, NULL, false, false}},
        .exec = exec_output,
    },
    {
        .name = "log",
        .group = "shell",
        .help = "print the log of commands, answers, notes and errors",
        .detail = "It is the transcript of the log view.",
        .example = "log --kind error",
        .unrecorded = true,
        .opts = log_opts,
        .exec = exec_log,
    },
    {
        .name = "ranks",
        .group = "shell",
        .help = "let @1, @2, ... mean the rows of the layers view",
        .detail = "The screen does this by itself before a line that is typed over that view, and "
                  "where nothing has been listed yet; elsewhere ranks are those of the last "
                  "listing.",
        .example = "ranks",
        .needs = NEED_MODEL,
        .exec = exec_ranks,
    },
    {0},
};
