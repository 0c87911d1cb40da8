/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_copy.c: copying into the clipboard of the terminal, which may be that of another machine.
 * The sequence is OSC 52 of XTerm's control sequences: ESC ] 52 ; c ; BASE64 BEL.
 */
#include <stdlib.h>
#include <unistd.h>

#include "tui/front.h"

enum { COPY_LIMIT = 1 << 16 }; /* bytes; terminals drop what is longer than some 75,000 */

static char *base64(const char *text, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = mem_alloc(n / 3 * 4 + 5), *p = out;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (i + k < n ? (unsigned char)text[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *p++ = i + k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

void copy_send(const char *text)
{
    char *code = base64(text, strlen(text));
    printf("\x1b]52;c;%s\a", code);
    fflush(stdout);
    free(code);
}

static int exec_copy(struct call *c, struct err *err)
{
    struct session *s = c->s;
    char *text = call_words(c);
    /* Names come with a model: what is pasted into a shell must not bring lines or sequences. */
    const size_t size = 4 * strlen(text) + 1;
    char *safe = mem_alloc(size);
    text_safe(safe, size, text);
    free(text);
    int rc = OK;
    if (!s->set.clipboard)
        rc = err_set(err, E_STATE, "'set clipboard on' first: the terminal has to know OSC 52");
    else if (strlen(safe) > COPY_LIMIT)
        rc = err_set(err, E_LIMIT, "%zu bytes to copy, at most %d go", strlen(safe), COPY_LIMIT);
    else if (s->batch || !isatty(STDOUT_FILENO))
        rc = err_set(err, E_STATE, "a clipboard needs a terminal");
    if (rc == OK) {
        fprintf(c->note, "copied: %s\n", safe);
        if (!s->screen) {
            copy_send(safe);
        } else { /* with the next paint, so that it does not come between its bytes */
            free(s->clip);
            s->clip = mem_dup(safe);
        }
    }
    free(safe);
    return rc;
}

const struct cmd cmd_copy[] = {
    {
        .name = "copy",
        .group = "screen",
        .help = "puts words into the clipboard of the terminal",
        .detail = "By the sequence OSC 52, which works over ssh too where the terminal allows it. "
                  "`set clipboard on` comes first; what could not be pasted safely is escaped.",
        .example = "copy /block4/dw/Conv",
        .args = {{"WORD", ARG_WORD, NULL, false, true}},
        .unrecorded = true,
        .exec = exec_copy,
    },
    {0},
};
