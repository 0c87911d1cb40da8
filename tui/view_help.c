/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_help.c: the help overlay and the footer, both made from the key table and the command table,
 * so that they cannot say what is not so.
 */
#include <stdlib.h>

#include "tui/shell.h"
#include "tui/view.h"

enum { FOOTER_ALWAYS = 3 }; /* the last keys of the footer's order */

/* Two rows name the same key when a view replaces what holds everywhere. */
static bool key_holds(const struct session *s, const struct key *k, const char *view)
{
    return key_find(s, view, k->key) == k;
}

/* All keys of a row with its alternatives that hold in the view: "j Down". */
static void key_names(const struct session *s, char *dst, size_t size, const struct key *k,
                      const char *view)
{
    size_t n = 0;
    dst[0] = '\0';
    for (const struct key *a = k; a->view && (a == k || !a->help); a++) {
        if (!key_holds(s, a, view))
            continue;
        const int got = snprintf(dst + n, size - n, "%s%s", n ? " " : "", a->key);
        n = MIN(n + (size_t)MAX(got, 0), size - 1);
    }
}

static void print_keys(FILE *out, const struct session *s, const char *table, const char *view)
{
    for (const struct key *k = keymap; k->view; k++) {
        char names[128];
        if (!k->help || strcmp(k->view, table) != 0)
            continue;
        key_names(s, names, sizeof(names), k, view);
        if (names[0])
            fprintf(out, "  %-16s %-38s %s\n", names, k->help, k->line);
    }
}

/* What the user bound, in this view or everywhere. */
static void print_bound(FILE *out, const struct session *s, const char *view)
{
    const char *title = "bound by you\n";
    for (size_t i = 0; i < s->shell->n_bound; i++) {
        const struct key *k = &s->shell->bound[i];
        char line[512];
        if (!key_holds(s, k, view))
            continue;
        fprintf(out, "%s  %-16s %s\n", title, k->key, text_safe(line, sizeof(line), k->line));
        title = "";
    }
}

static void print_command(void *ctx, const struct cmd *c)
{
    char *usage = cmd_usage(c);
    fprintf(ctx, "  %s\n      %s\n", usage, c->help);
    free(usage);
}

void help_print(FILE *out, const struct session *s, const char *view)
{
    for (int i = 0; i < N_VIEWS; i++)
        if (strcmp(views[i]->name, view) == 0)
            fprintf(out, "%s: %s\n", views[i]->title, views[i]->help);
    print_keys(out, s, view, view);
    print_bound(out, s, view);
    fprintf(out, "everywhere\n");
    print_keys(out, s, "*", view);
    fprintf(out, "commands (a key does what is written behind it; help COMMAND says more)\n");
    cmd_each(print_command, out);
}

static char *help_text(const struct session *s, const char *view)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    help_print(f, s, view);
    fclose(f);
    return text;
}

int help_lines(const struct session *s, const char *view)
{
    char *text = help_text(s, view);
    int n = 0;
    for (const char *p = text; *p; p++)
        n += *p == '\n';
    free(text);
    return n;
}

int help_find(const struct session *s, const char *view, const char *text, int from, int step,
              bool (*has)(const char *text, const char *what))
{
    const int n = help_lines(s, view);
    char *all = help_text(s, view);
    const char **line = mem_alloc((size_t)(n + 1) * sizeof(*line));
    int count = 0, found = -1;
    for (char *p = all, *end; (end = strchr(p, '\n')) && count < n; p = end + 1) {
        *end = '\0';
        line[count++] = p;
    }
    for (int i = 0; i < count && found < 0; i++) {
        const int at = ((from + i * step) % count + count) % count;
        found = has(line[at], text) ? at : -1;
    }
    free(line);
    free(all);
    return found;
}

void draw_help(const struct session *s, struct grid *g)
{
    char *text = help_text(s, views[s->ui.view]->name);
    const int top = 2, end_row = g->rows - 2;
    int line = 0, row = top;
    for (int r = top; r < end_row; r++)
        for (int c = 0; c < g->cols; c++)
            grid_text(g, r, c, 1, ST_NORMAL, " ");
    draw_rule(g, row++, 0, g->cols, "keys and commands   j/k scroll   / finds   q closes");
    for (char *p = text, *end; *p && row < end_row; p = end + 1, line++) {
        end = strchr(p, '\n');
        *end = '\0';
        if (line >= s->ui.help_row)
            grid_text(g, row++, 1, g->cols - 2, p[0] == ' ' ? ST_NORMAL : ST_HEAD, p);
    }
    free(text);
}

/* The footer's rows of the key table in their order; returns how many. */
static size_t footer_keys(const struct session *s, const char *view, const struct key **list,
                          size_t max)
{
    size_t n = 0;
    for (const struct key *k = keymap; k->view && n < max; k++) {
        if (k->footer == 0 || !key_holds(s, k, view))
            continue;
        size_t at = n++;
        for (; at > 0 && list[at - 1]->footer > k->footer; at--)
            list[at] = list[at - 1];
        list[at] = k;
    }
    return n;
}

/* The hint says so where a key acts on what is marked. */
static const char *key_hint(const struct session *s, const struct key *k, char *dst, size_t size)
{
    const bool marks = view_marked(s) && (strstr(k->line, "%layers") || strstr(k->line, "%images"));
    snprintf(dst, size, "%s%s", k->hint, marks ? " marked" : "");
    return dst;
}

static int key_width(const struct session *s, const struct key *k)
{
    char hint[64];
    return text_width(k->key) + 1 + text_width(key_hint(s, k, hint, sizeof(hint))) + 2;
}

void draw_footer(const struct session *s, struct grid *g, int row)
{
    const struct key *list[24];
    char hint[64];
    size_t n = footer_keys(s, views[s->ui.view]->name, list, COUNT(list));
    int width = 1 - 2, at = 1;
    for (size_t i = 0; i < n; i++)
        width += key_width(s, list[i]);
    /* When they do not all fit, the way to the command line, the help and back stays. */
    while (width > g->cols && n > FOOTER_ALWAYS) {
        width -= key_width(s, list[n - 1 - FOOTER_ALWAYS]);
        memmove(&list[n - 1 - FOOTER_ALWAYS], &list[n - FOOTER_ALWAYS],
                FOOTER_ALWAYS * sizeof(list[0]));
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        const int used = grid_text(g, row, at, -1, ST_KEY, list[i]->key);
        grid_text(g, row, at + used + 1, -1, ST_NORMAL, key_hint(s, list[i], hint, sizeof(hint)));
        at += key_width(s, list[i]);
    }
}
