/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * words.h: private to tui/: the words of a line.
 */
#ifndef TUI_WORDS_H
#define TUI_WORDS_H

#include "tui/tui.h"

struct words {
    size_t n, cap;
    char **w;
    bool *quoted; /* an empty or operator-like word that was quoted is an ordinary word */
    size_t cap_q;
};
/* E_USAGE for an open quote or an unknown variable; what was split so far is in *out. */
int words_split(const struct session *s, const char *line, struct words *out, struct err *err);
void words_fini(struct words *w);
/* Words [from, to) as a line that is split into the same words again; free() it. */
char *words_line(const struct words *w, size_t from, size_t to);

#endif
