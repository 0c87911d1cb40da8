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
    int job;   /* background run that has not been seen to end; 0: none */
    size_t job_line;
    char *path; /* NULL: off */
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

/* What the cursor is on, by name: rows change while a run goes on. */
static void push_cursor(struct session *s)
{
    const long layer = view_current_layer(s), image = view_current_image(s);
    const bool images = s->ui.view == VIEW_IMAGES;
    if (images ? image < 0 : layer < 0)
        return;
    char *word = cmd_quote(images ? s->data.samples[image].name : s->match.layers[layer].name);
    push(s->shell->recorder, mem_printf("select %s %s", images ? "image" : "layer", word));
    free(word);
}

/* The run of an earlier line has ended: a replay is to run as many images as it did. */
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
        r->lines[r->job_line] = j->done ? mem_printf("%s --limit %zu", line, j->done)
                                        : mem_printf("# cancelled at once: %s", line);
        free(line);
        r->written = MIN(r->written, r->job_line);
    }
    push_cursor(s);
}

struct record_before record_before(struct session *s)
{
    settle(s);
    return (struct record_before){s->ui.help, s->job.state == JOB_RUNNING};
}

static bool is(const struct cmd *c, const char *name)
{
    return strcmp(c->name, name) == 0;
}

static bool worth_it(const struct session *s, const struct cmd *c,
                     const struct record_before *before, int rc)
{
    /* These change nothing. */
    if (c->unrecorded || s->quit || rc == E_USAGE || rc == E_STATE)
        return false;
    return !(before->help && (is(c, "cursor") || is(c, "back"))); /* they move the help */
}

static int record_write(struct session *s, enum file_sync sync, struct err *err);

void record_after(struct session *s, const struct cmd *c, const char *line,
                  const struct record_before *before, int rc)
{
    struct recorder *r = s->shell->recorder;
    if (!worth_it(s, c, before, rc))
        return;
    const bool screen = strcmp(c->group, "screen") == 0;
    const bool stopped = rc == E_STOP && is(c, "run") && s->job.done > 0;
    if (screen && s->ui.rows > 0 && s->ui.rows != r->rows) {
        r->rows = s->ui.rows;
        push(r, mem_printf("set rows %d", r->rows));
    }
    if (stopped) /* in a prompt */
        push(r, mem_printf("%s --limit %zu", line, s->job.done));
    else
        push(r, mem_printf("%s%s", rc ? "-" : "", line));
    if (is(c, "run") && s->job.state == JOB_RUNNING) {
        r->job = s->job.id;
        r->job_line = r->n - 1;
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
