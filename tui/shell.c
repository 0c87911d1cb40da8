/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * shell.c: life of what the language keeps for itself, and where the data of commands goes.
 */
#include <stdlib.h>

#include "tui/shell.h"

struct shell *shell_new(void)
{
    struct shell *sh = mem_alloc(sizeof(*sh));
    sh->recorder = recorder_new();
    sh->origins = json_object();
    sh->aliases = json_object();
    sh->named = json_object();
    return sh;
}

void shell_free(struct shell *sh)
{
    recorder_free(sh->recorder);
    json_decref(sh->origins);
    json_decref(sh->aliases);
    json_decref(sh->named);
    for (size_t i = 0; i < sh->n_bound; i++)
        key_fini(&sh->bound[i]);
    free(sh->bound);
    if (sh->sink)
        fclose(sh->sink);
    free(sh->sink_text);
    free(sh->sink_path);
    free(sh);
}

int shell_finish(struct session *s, struct err *err)
{
    char *path = NULL;
    size_t lines = 0;
    const int a = record_path(s) ? record_stop(s, &path, &lines, err) : OK;
    const int b = s->shell->sinking ? sink_close(s, a ? NULL : err) : OK;
    free(path);
    return a ? a : b;
}

/* ---- output ---------------------------------------------------------------------------------- */

FILE *sink_stream(struct session *s, FILE *out)
{
    const struct shell *sh = s->shell;
    if (sh->sinking)
        return sh->sink;
    /* Handed down by a command that began while data went to a file. */
    return sh->sink && out == sh->sink ? sh->front : out;
}

static int sink_write(struct session *s, enum file_sync sync, struct err *err)
{
    struct shell *sh = s->shell;
    fflush(sh->sink);
    sh->sink_written = sh->sink_size;
    return file_write(sh->sink_path, sh->sink_text, sh->sink_size, sync, err);
}

int sink_open(struct session *s, const char *path, struct err *err)
{
    struct shell *sh = s->shell;
    int rc = sh->sinking ? sink_close(s, err) : OK;
    if (rc)
        return rc;
    if (!sh->sink)
        sh->sink = open_memstream(&sh->sink_text, &sh->sink_size);
    rewind(sh->sink);
    sh->sink_path = mem_dup(path);
    rc = sink_write(s, FILE_SCRATCH, err); /* a path that cannot be written is told at once */
    sh->sinking = rc == OK;
    if (rc) {
        free(sh->sink_path);
        sh->sink_path = NULL;
    }
    return rc;
}

int sink_close(struct session *s, struct err *err)
{
    struct shell *sh = s->shell;
    const int rc = sink_write(s, FILE_DURABLE, err);
    sh->sinking = false;
    free(sh->sink_path);
    sh->sink_path = NULL;
    return rc;
}

int sink_flush(struct session *s, struct err *err)
{
    enum { SMALL = 1 << 20 };
    struct shell *sh = s->shell;
    if (!sh->sinking)
        return OK;
    fflush(sh->sink);
    const size_t grown = sh->sink_size - sh->sink_written;
    if (grown == 0 || (sh->sink_size > SMALL && grown < sh->sink_written))
        return OK;
    return sink_write(s, FILE_SCRATCH, err);
}
