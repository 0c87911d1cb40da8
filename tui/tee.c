/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tee.c: what a command prints goes where it goes, and into the log as well, so that the transcript
 * of a session is whole, also of what scripts did before the screen opened.
 */
#include <stdlib.h>

#include "tui/front.h"

enum { KEPT = 256 << 10 }; /* bytes of one answer that the log gets */

struct tee {
    struct session *s;
    FILE *to;
    FILE *out; /* what the command prints to */
    size_t n;
    bool more;
    char kept[KEPT + 1];
};

static ssize_t tee_write(void *cookie, const char *text, size_t size)
{
    struct tee *t = cookie;
    const size_t room = MIN(size, KEPT - t->n);
    memcpy(t->kept + t->n, text, room);
    t->n += room;
    t->more = t->more || room < size;
    return (ssize_t)fwrite(text, 1, size, t->to);
}

struct tee *tee_open(struct session *s, FILE *to)
{
    struct tee *t = mem_alloc(sizeof(*t));
    t->s = s;
    t->to = to;
    t->out = fopencookie(t, "w", (cookie_io_functions_t){.write = tee_write});
    if (t->out)
        setvbuf(t->out, NULL, _IOLBF, BUFSIZ); /* progress is seen while it is made */
    return t;
}

FILE *tee_stream(const struct tee *t)
{
    return t->out ? t->out : t->to;
}

void tee_close(struct tee *t)
{
    if (t->out)
        fclose(t->out);
    t->kept[t->n] = '\0';
    session_log(t->s, ' ', t->kept);
    if (t->more)
        session_log(t->s, 'n', "(the log keeps no more of this answer)");
    free(t);
}
