/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * record.c: the lines that were run, as a script that does the same again. A screen differs from a
 * batch in three ways, and a recording evens them out: pages have the height of the terminal, runs
 * go on in the background while the cursor moves, and a run may be cancelled half way.
 */
#include <stdlib.h>

#include "tui/shell.h"
#include "tui/view.h"

enum { MOST_LINES = 200000, FLUSH_LINES = 64 };

struct recorder {
    size_t n, cap;
    char **lines;
    bool full; /* the first lines were given up */
    int rows;  /* height that the lines so far have told */
    int job;   /* in the background, not seen to end yet; 0: none */
    size_t job_line;
    const struct cmd *job_cmd; /* that began it */
    char *path;                /* NULL: off */
    size_t from, written;
};

struct recorder *recorder_new(void)
{
    return mem_alloc(sizeof(struct recorder));
}

static void drop_lines(struct recorder *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->lines[i]);
    r->n = r->from = r->written = 0;
    r->job = 0;
}

void recorder_free(struct recorder *r)
{
    drop_lines(r);
    free(r->lines);
    free(r->path);
    free(r);
}

static void push(struct recorder *r, char *line)
{
    if (r->n == MOST_LINES && !r->path) {
        drop_lines(r);
        r->full = true;
    }
    r->lines = mem_push(r->lines, r->n, &r->cap, sizeof(*r->lines));
    r->lines[r->n++] = line;
}

/* What the cursor is on, by name: rows change while a run goes on. Those of the pins view and the
 * log do not, and what is under the cursor there is not what the other views are on. */
static void push_cursor(struct session *s)
{
    if (s->ui.view == VIEW_PINS || s->ui.view == VIEW_LOG)
        return;
    const long layer = view_current_layer(s), image = view_current_image(s);
    const bool images = s->ui.view == VIEW_IMAGES;
    if (images ? image < 0 : layer < 0)
        return;
    char *word = cmd_quote(images ? s->data.samples[image].name : s->match.layers[layer].name);
    push(s->shell->recorder, mem_printf("select %s %s", images ? "image" : "layer", word));
    free(word);
}

static bool is(const struct cmd *c, const char *name)
{
    return strcmp(c->name, name) == 0;
}

/* A line that does what a cancelled job has done. A run and an exact sensitivity of one way saw the
 * first images whole; of the other jobs a comment tells. */
static char *as_done(const struct session *s, const struct cmd *c, const char *line)
{
    size_t n = strlen(line);
    while (n > 0 && strchr(" &", line[n - 1]))
        n--; /* what is to be waited for is not in the background */
    const bool sweep = is(c, "sensitivity") && s->sweep && !s->sweep->top && !s->only;
    const size_t images = is(c, "run") ? s->job.done : sweep ? s->sweep->base.n : 0;
    if (images)
        return mem_printf("%.*s %s %zu", (int)n, line, sweep ? "--images" : "--limit", images);
    return s->job.done ? mem_printf("# cancelled after %zu of %zu %s: %s", s->job.done,
                                    s->job.total, s->job.kind->unit, line)
                       : mem_printf("# cancelled at once: %s", line);
}

/* What a cancelled search has pinned, its line being a comment now. */
static void push_pins(struct session *s)
{
    size_t n = 0;
    char **words = mem_alloc((s->match.n_layers + 1) * sizeof(*words));
    for (size_t i = 0; i < s->match.n_layers; i++)
        if (session_pinned(s, i))
            words[n++] = (char *)(uintptr_t)s->match.layers[i].name;
    if (n)
        push(s->shell->recorder, cmd_join("pin", n, words));
    free(words);
}

/* The job of an earlier line has ended: a replay is to do as much as it did. */
static void settle(struct session *s)
{
    struct recorder *r = s->shell->recorder;
    const struct job *j = &s->job;
    if (!r->job || (j->id == r->job && j->state == JOB_RUNNING))
        return;
    const bool mine = j->id == r->job;
    r->job = 0;
    if (!mine)
        return;
    if (j->state == JOB_CANCELLED) {
        char *line = r->lines[r->job_line];
        r->lines[r->job_line] = as_done(s, r->job_cmd, line);
        free(line);
        r->written = MIN(r->written, r->job_line);
        if (is(r->job_cmd, "search"))
            push_pins(s);
    }
    push_cursor(s);
}

struct record_before record_before(struct session *s)
{
    settle(s);
    return (struct record_before){s->ui.help, s->job.state == JOB_RUNNING};
}

/* Commands that begin a job which may be cancelled half way. */
static bool begins_job(const struct cmd *c)
{
    return is(c, "run") || is(c, "sensitivity") || is(c, "prefix") || is(c, "suffix") ||
           is(c, "bisect") || is(c, "search") || is(c, "quantize") || is(c, "calibrate");
}

static bool worth_it(const struct session *s, const struct cmd *c,
                     const struct record_before *before, int rc)
{
    /* These change nothing. */
    if (c->unrecorded || s->quit || rc == E_USAGE || rc == E_STATE)
        return false;
    /* They move the help. */
    return !(before->help && (is(c, "cursor") || is(c, "back") || is(c, "find")));
}

static int record_write(struct session *s, enum file_sync sync, struct err *err);

void record_after(struct session *s, const struct cmd *c, const char *line,
                  const struct record_before *before, int rc)
{
    struct recorder *r = s->shell->recorder;
    if (!worth_it(s, c, before, rc))
        return;
    const bool screen = strcmp(c->group, "screen") == 0;
    const bool stopped = rc == E_STOP && begins_job(c);
    if (screen && s->ui.rows > 0 && s->ui.rows != r->rows) {
        r->rows = s->ui.rows;
        push(r, mem_printf("set rows %d", r->rows));
    }
    if (stopped) /* in a prompt */
        push(r, as_done(s, c, line));
    else
        push(r, mem_printf("%s%s", rc ? "-" : "", line));
    if (stopped && is(c, "search"))
        push_pins(s);
    if (begins_job(c) && s->job.state == JOB_RUNNING) {
        r->job = s->job.id;
        r->job_line = r->n - 1;
        r->job_cmd = c;
    }
    if (screen && before->running)
        push_cursor(s);
    if (r->path && r->n >= r->written + FLUSH_LINES)
        record_write(s, FILE_SCRATCH, NULL); /* what fails now fails again when it ends */
}

static int record_write(struct session *s, enum file_sync sync, struct err *err)
{
    struct recorder *r = s->shell->recorder;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "# Recorded by qscope %s.\n", QSCOPE_VERSION);
    for (size_t i = r->from; i < r->n; i++)
        fprintf(f, "%s\n", r->lines[i]);
    fclose(f);
    const int rc = file_write(r->path, text, size, sync, err);
    r->written = r->n;
    free(text);
    return rc;
}

int record_start(struct session *s, const char *path, bool now, struct err *err)
{
    struct recorder *r = s->shell->recorder;
    if (r->path)
        return err_set(err, E_STATE, "already recording to %s: record stop", r->path);
    if (r->full && !now)
        return err_set(err, E_LIMIT,
                       "the session is longer than %d lines: its first ones are gone; --now "
                       "records from here",
                       MOST_LINES);
    r->from = now ? r->n : 0;
    r->path = mem_dup(path);
    const int rc = record_write(s, FILE_SCRATCH, err);
    if (rc) {
        free(r->path);
        r->path = NULL;
    }
    return rc;
}

int record_stop(struct session *s, char **path, size_t *lines, struct err *err)
{
    struct recorder *r = s->shell->recorder;
    if (!r->path)
        return err_set(err, E_STATE, "nothing is being recorded: record start FILE");
    settle(s);
    const int rc = record_write(s, FILE_DURABLE, err);
    *path = r->path;
    *lines = r->n - r->from;
    r->path = NULL;
    return rc;
}

const char *record_path(const struct session *s)
{
    return s->shell->recorder->path;
}

size_t record_lines(struct session *s, char *const **lines)
{
    settle(s);
    *lines = s->shell->recorder->lines;
    return s->shell->recorder->n;
}
