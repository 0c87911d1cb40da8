/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_name.c: how to cut layer names to a column. Some models tell layers apart by the end of the
 * name, some by what follows a common beginning, some by what stands in front of an ending that
 * many have: the cut is chosen that leaves most of them different.
 */
#include <stdlib.h>

#include "tui/view.h"

enum {
    MAX_COMPARED = 2000, /* with more layers the choice would cost more than it gives */
    MAX_ENDING = 3,      /* parts of a name behind '/' that may be left out at its end */
};

void name_fit(char *dst, size_t size, const char *label, struct name_cut cut, int width)
{
    const char *text = label + MIN(cut.skip, strlen(label));
    const size_t n = strlen(text), ending = cut.ending ? strlen(cut.ending) : 0;
    if (!ending || n <= ending || strcmp(text + n - ending, cut.ending) != 0 || width < 2 ||
        text_width(text) <= width) {
        text_fit(dst, size, text, width, cut.mode);
        return;
    }
    char *front = mem_printf("%.*s", (int)(n - ending), text), fit[256];
    text_fit(fit, sizeof(fit), front, width - 1, cut.mode);
    snprintf(dst, size, "%s~", fit);
    free(front);
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

/* The last `parts` parts of a name with their '/'; NULL when it has no more than them. */
static const char *ending_of(const char *name, int parts)
{
    const char *end = name + strlen(name);
    for (; parts > 0 && end > name; parts -= *end == '/')
        end--;
    return parts == 0 && end > name ? end : NULL;
}

/* The ending of so many parts that most names have; NULL when no two have the same. It stays with
 * the names of the layers. */
static const char *common_ending(const struct session *s, int parts)
{
    const struct match *m = &s->match;
    const char **list = mem_alloc((m->n_layers + 1) * sizeof(*list)), *best = NULL;
    size_t n = 0, most = 1;
    for (size_t i = 0; i < m->n_layers; i++)
        if ((list[n] = ending_of(m->layers[i].name, parts)))
            n++;
    qsort(list, n, sizeof(*list), by_text);
    for (size_t i = 0, from = 0; i < n; i++) {
        from = strcmp(list[i], list[from]) == 0 ? from : i;
        if (i - from + 1 > most) {
            most = i - from + 1;
            best = list[i];
        }
    }
    free(list);
    return best;
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
    struct name_cut best = {.skip = 0, .mode = TEXT_TAIL}, cut = best;
    const size_t n = s->match.n_layers, skip = common_beginning(s);
    if (n == 0 || n > MAX_COMPARED)
        return best;
    size_t most = count_different(s, best, width);
    for (int parts = 0; parts <= MAX_ENDING && most < n; parts++) {
        cut.ending = parts ? common_ending(s, parts) : NULL;
        for (int head = !parts; head < 2 && (cut.ending || !parts) && most < n; head++) {
            cut.skip = head ? skip : 0;
            cut.mode = head ? TEXT_HEAD : TEXT_TAIL;
            const size_t different = count_different(s, cut, width);
            if (different > most) {
                most = different;
                best = cut;
            }
        }
    }
    return best;
}
