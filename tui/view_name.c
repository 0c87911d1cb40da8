/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_name.c: how to cut layer names to a column. Some models tell layers apart by the end of the
 * name, some by what follows a common beginning: the cut is chosen that leaves most of them
 * different.
 */
#include <stdlib.h>

#include "tui/view.h"

enum { MAX_COMPARED = 2000 }; /* with more layers the choice would cost more than it gives */

void name_fit(char *dst, size_t size, const char *label, struct name_cut cut, int width)
{
    const size_t n = strlen(label);
    text_fit(dst, size, label + MIN(cut.skip, n), width, cut.mode);
}

/* Length of the part that all names begin with, up to and with a '/'. */
static size_t common_beginning(const struct session *s)
{
    const struct match *m = &s->match;
    size_t common = m->n_layers ? strlen(m->layers[0].name) : 0;
    for (size_t i = 1; i < m->n_layers; i++) {
        size_t k = 0;
        while (k < common && m->layers[i].name[k] == m->layers[0].name[k])
            k++;
        common = k;
    }
    while (common > 0 && m->layers[0].name[common - 1] != '/')
        common--;
    /* What is skipped is counted in the name as shown: only plain characters are the same there. */
    for (size_t i = 0; i < common; i++)
        if (m->layers[0].name[i] < 0x20 || m->layers[0].name[i] > 0x7e)
            return 0;
    return common;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* How many different texts this cut makes of all names. */
static size_t count_different(const struct session *s, struct name_cut cut, int width)
{
    const size_t n = s->match.n_layers;
    char **list = mem_alloc(n * sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        char fit[256];
        name_fit(fit, sizeof(fit), session_layer_label(s, i), cut, width);
        list[i] = mem_dup(fit);
    }
    qsort(list, n, sizeof(*list), by_text);
    size_t different = n > 0;
    for (size_t i = 1; i < n; i++)
        different += strcmp(list[i - 1], list[i]) != 0;
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return different;
}

struct name_cut name_cut_for(const struct session *s, int width)
{
    const struct name_cut tail = {.skip = 0, .mode = TEXT_TAIL};
    const struct name_cut head = {.skip = common_beginning(s), .mode = TEXT_HEAD};
    const size_t n = s->match.n_layers;
    if (n == 0 || n > MAX_COMPARED)
        return tail;
    const size_t by_tail = count_different(s, tail, width);
    return by_tail < n && count_different(s, head, width) > by_tail ? head : tail;
}
