/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_name.c: how to cut layer names to a column. Some models tell layers apart by the end of the
 * name, some by what follows a common beginning, some by what stands in front of an ending that
 * many have: the cut is chosen that leaves most of them different. Converters join the names of
 * what they fused with ';', and the first one may say enough.
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
    const bool fits = text_width(text) <= width;
    const size_t n = cut.first && !fits ? strcspn(text, ";") : strlen(text);
    const size_t ending = cut.ending && !fits ? strlen(cut.ending) : 0;
    const bool ends =
        ending && n > ending && width > 1 && strncmp(text + n - ending, cut.ending, ending) == 0;
    char front[1024], fit[256];
    snprintf(front, sizeof(front), "%.*s", (int)(ends ? n - ending : n), text);
    text_fit(fit, sizeof(fit), front, ends ? width - 1 : width, cut.mode);
    snprintf(dst, size, ends ? "%s~" : "%s", fit);
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

/* The labels of all layers, and room for what a cut makes of each. */
struct names {
    size_t n;
    char **label;
    uint64_t *made; /* as hashes: two that are equal by chance only make a cut look worse */
};

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t hash_text(const char *text)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211u;
    return h;
}

/* How many different texts this cut makes of all names. */
static size_t count_different(const struct names *k, struct name_cut cut, int width)
{
    for (size_t i = 0; i < k->n; i++) {
        char fit[256];
        name_fit(fit, sizeof(fit), k->label[i], cut, width);
        k->made[i] = hash_text(fit);
    }
    qsort(k->made, k->n, sizeof(*k->made), by_number);
    size_t different = k->n > 0;
    for (size_t i = 1; i < k->n; i++)
        different += k->made[i - 1] != k->made[i];
    return different;
}

/* Takes the cut if it leaves more names different. */
static void try_cut(const struct names *k, int width, struct name_cut cut, struct name_cut *best,
                    size_t *most)
{
    const size_t different = *most < k->n ? count_different(k, cut, width) : 0;
    if (different > *most) {
        *most = different;
        *best = cut;
    }
}

struct name_cut name_cut_for(const struct session *s, int width)
{
    const struct name_cut tail = {.mode = TEXT_TAIL};
    struct name_cut best = tail;
    const size_t n = s->match.n_layers, skip = common_beginning(s);
    if (n == 0 || n > MAX_COMPARED)
        return best;
    struct names k = {.n = n};
    k.label = mem_alloc(n * sizeof(*k.label));
    k.made = mem_alloc(n * sizeof(*k.made));
    for (size_t i = 0; i < n; i++)
        k.label[i] = mem_dup(session_layer_label(s, i));
    size_t most = 0;
    for (int first = 0; first < 2; first++) {
        try_cut(&k, width, (struct name_cut){.first = first, .mode = TEXT_TAIL}, &best, &most);
        try_cut(&k, width, (struct name_cut){.skip = skip, .first = first, .mode = TEXT_HEAD},
                &best, &most);
    }
    for (int parts = 1; parts <= MAX_ENDING && most < n; parts++) {
        struct name_cut cut = tail;
        cut.ending = common_ending(s, parts);
        if (cut.ending)
            try_cut(&k, width, cut, &best, &most);
    }
    for (size_t i = 0; i < n; i++)
        free(k.label[i]);
    free(k.label);
    free(k.made);
    return best;
}
