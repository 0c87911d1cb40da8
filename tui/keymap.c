/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * keymap.c: which key is which command line. Strings only: what a key does can be typed, written
 * into a script and tested. The help overlay and the footer are drawn from this table.
 */
#include <stdlib.h>

#include "tui/front.h"
#include "tui/shell.h"
#include "tui/view.h"

/* clang-format off */
/* Rows of one view come before those of "*", which they replace. An empty help makes the row an
 * alternative of the one above it. */
const struct key keymap[] = {
    {"layers", "Enter", "open",                  "open the layer", 2, "open"},
    {"layers", "Right", "open",                  NULL, 0, NULL},
    {"layers", "l",     "open",                  NULL, 0, NULL},
    {"layers", "Left",  "back",                  "back", 0, NULL},
    {"layers", "h",     "back",                  NULL, 0, NULL},
    {"layers", "p",     "%pin %layers",          "pin marked layers, else this; or unpin", 3, "pin"},
    {"layers", "Space", "%mark %layer ; cursor down", "mark, or unmark", 9, "mark"},
    {"layers", "a",     "mark --all --shown",    "mark all that the filter leaves", 0, NULL},
    {"layers", "i",     "mark --invert --shown", "invert the marks of these", 0, NULL},
    {"layers", "s",     ":sort ",                "sort by a metric", 4, "sort"},
    {"layers", ">",     "sort --next",           "sort by the next column", 9, "next column"},
    {"layers", "<",     "sort --previous",       "sort by the column before", 0, NULL},
    {"layers", "r",     "sort --reverse",        "reverse the order", 0, NULL},
    {"layers", "&",     ":filter ",              "show only what fulfils an expression", 9, "filter"},
    {"layers", "e",     ":dump %layers --out ",  "write the tensors of these to files", 9, "dump"},
    {"layers", "m",     ":match ",               "match tensors by hand", 9, "match"},

    {"layer",  "Down",  "cursor down",           "next layer of the list", 0, NULL},
    {"layer",  "j",     "cursor down",           NULL, 0, NULL},
    {"layer",  "]",     "cursor down",           NULL, 0, NULL},
    {"layer",  "Up",    "cursor up",             "layer before", 0, NULL},
    {"layer",  "k",     "cursor up",             NULL, 0, NULL},
    {"layer",  "[",     "cursor up",             NULL, 0, NULL},
    {"layer",  "Right", "select channel next",   "next channel", 2, "channel"},
    {"layer",  "l",     "select channel next",   NULL, 0, NULL},
    {"layer",  "Left",  "select channel previous", "channel before", 0, NULL},
    {"layer",  "h",     "select channel previous", NULL, 0, NULL},
    {"layer",  "i",     "select image next",     "next image", 3, "image"},
    {"layer",  "I",     "select image previous", "image before", 0, NULL},
    {"layer",  "L",     "toggle counts",         "histogram: logarithmic counts, or not", 4, "log"},
    {"layer",  "d",     "toggle diff",           "histogram: difference, or both", 9, "difference"},
    {"layer",  "p",     "%pin %layer",           "pin to FP32, or unpin", 5, "pin"},
    {"layer",  "v",     "zoom",                  "the feature maps on the whole screen", 9, "whole screen"},
    {"layer",  "Space", "%mark %layer",          "mark, or unmark", 0, NULL},
    {"layer",  "e",     ":dump %layer --image %image --out ", "write its tensors", 9, "dump"},

    {"images", "Enter", "open",                  "open the layer worst for this image", 2, "open"},
    {"images", "Right", "open",                  NULL, 0, NULL},
    {"images", "l",     "open",                  NULL, 0, NULL},
    {"images", "Left",  "back",                  "back", 0, NULL},
    {"images", "h",     "back",                  NULL, 0, NULL},
    {"images", "Space", "%mark --images %image ; cursor down", "mark, or unmark", 3, "mark"},
    {"images", "a",     "mark --images --all --shown", "mark all that the filter leaves", 0, NULL},
    {"images", "i",     "mark --images --invert --shown", "invert the marks of these", 0, NULL},
    {"images", "f",     "toggle flips",          "only images whose answer changed", 4, "flips"},
    {"images", "t",     "toggle classes",        "the first classes of both sides", 4, "top 5"},
    {"images", "T",     "toggle values",         "these as probabilities, or as values of the output", 0, NULL},
    {"images", "s",     ":sort images ",         "sort by a score", 5, "sort"},
    {"images", ">",     "sort images --next",    "sort by the next score", 0, NULL},
    {"images", "<",     "sort images --previous", "sort by the score before", 0, NULL},
    {"images", "r",     "sort images --reverse", "reverse the order", 0, NULL},
    {"images", "&",     ":filter --images ",      "show only what fulfils an expression", 9, "filter"},
    {"images", "m",     ":run @marked",          "run on the marked images", 9, "run marked"},
    {"images", "v",     "zoom",                  "the image on the whole screen", 9, "whole screen"},
    {"images", "Y",     "copy %image",           "copy its name, with set clipboard on", 0, NULL},
    {"images", "D",     ":dataset remove %images", "take marked images, else this, out of the set", 0, NULL},

    {"graph",  "Enter", "open",                  "open the layer, or unfold", 2, "open"},
    {"graph",  "Right", "select branch next",    "branch to the right", 3, "branch"},
    {"graph",  "l",     "select branch next",    NULL, 0, NULL},
    {"graph",  "Left",  "select branch previous", "branch to the left", 0, NULL},
    {"graph",  "h",     "select branch previous", NULL, 0, NULL},
    {"graph",  "]",     "select edge next",      "what reads this node", 0, NULL},
    {"graph",  "[",     "select edge previous",  "what this node reads", 0, NULL},
    {"graph",  "Tab",   "select worst next",     "next worst layer", 4, "next worst"},
    {"graph",  "S-Tab", "select worst previous", "the layer ranked before", 0, NULL},
    {"graph",  "H",     "select worst first",    "the worst layer", 9, "worst"},
    {"graph",  "o",     "toggle around",         "whole net, or around the cursor", 4, "whole"},
    {"graph",  "+",     "select depth next",     "show more around it", 9, "more"},
    {"graph",  "-",     "select depth previous", "show less", 0, NULL},
    {"graph",  "c",     "select color next",     "grade by the next metric", 5, "color"},
    {"graph",  "C",     "select color previous", "by the metric before", 0, NULL},
    {"graph",  "t",     "cost --measure",        "time the layers; c then shows it", 0, NULL},
    {"graph",  "x",     "toggle quantizers",     "show Q, DQ and integer helpers, or fold them", 6, "Q/DQ"},
    {"graph",  "X",     "toggle one-sided",      "list what only one model has, or the graph", 9, "one-sided"},
    {"graph",  "p",     "%pin %layers",          "pin marked layers, else this; or unpin", 3, "pin"},
    {"graph",  "Space", "%mark %layer ; cursor down", "mark, or unmark", 0, NULL},
    {"graph",  "e",     ":graph --dot ",         "write it for Graphviz", 9, "Graphviz"},

    {"pins",   "Enter", "open",                  "open the layer", 0, NULL},
    {"pins",   "Right", "open",                  NULL, 0, NULL},
    {"pins",   "l",     "open",                  NULL, 0, NULL},
    {"pins",   "Left",  "back",                  "back", 0, NULL},
    {"pins",   "h",     "back",                  NULL, 0, NULL},
    {"pins",   "p",     "%pin %layer",           "pin to FP32, or unpin", 2, "pin"},
    {"pins",   "b",     "pin %layer --as %precision", "bits: the next precision", 9, "fewer bits"},
    {"pins",   "w",     "sensitivity --exact --ways loo", "what if: each layer alone back in FP32", 4, "what-if"},
    {"pins",   "a",     ":search --max-drop 1",  "search for pins that keep a limit", 5, "search"},
    {"pins",   "c",     "toggle macs",           "cost: products in FP32, or number of pins", 9, "by cost"},
    {"pins",   "Space", "%pin %layer",           NULL, 0, NULL},
    {"pins",   "e",     ":export-pins ",         "list for another tool", 3, "export list"},

    {"log",    "Enter", "repl",                  "type commands, one after the other", 2, "type"},
    {"log",    "i",     "repl",                  NULL, 0, NULL},
    {"log",    "Right", "scroll right",          "more of wide tables", 3, "wide tables"},
    {"log",    "l",     "scroll right",          NULL, 0, NULL},
    {"log",    "Left",  "scroll left",           "back to their first columns", 0, NULL},
    {"log",    "h",     "scroll left",           NULL, 0, NULL},

    {"*",      "Down",  "cursor down",           "down", 0, NULL},
    {"*",      "j",     "cursor down",           NULL, 0, NULL},
    {"*",      "Up",    "cursor up",             "up", 0, NULL},
    {"*",      "k",     "cursor up",             NULL, 0, NULL},
    {"*",      "PgDn",  "cursor pagedown",       "page down", 0, NULL},
    {"*",      "^F",    "cursor pagedown",       NULL, 0, NULL},
    {"*",      "PgUp",  "cursor pageup",         "page up", 0, NULL},
    {"*",      "^B",    "cursor pageup",         NULL, 0, NULL},
    {"*",      "^D",    "cursor halfdown",       "half a page down", 0, NULL},
    {"*",      "^U",    "cursor halfup",         "half a page up", 0, NULL},
    {"*",      "WheelDown", "cursor down ; cursor down ; cursor down", "three rows down, with set mouse on", 0, NULL},
    {"*",      "WheelUp", "cursor up ; cursor up ; cursor up", "three rows up", 0, NULL},
    {"*",      "g",     "cursor top",            "first row", 0, NULL},
    {"*",      "Home",  "cursor top",            NULL, 0, NULL},
    {"*",      "G",     "cursor bottom",         "last row", 0, NULL},
    {"*",      "End",   "cursor bottom",         NULL, 0, NULL},
    {"*",      "1",     "view layers",           "layers, ranked", 0, NULL},
    {"*",      "2",     "view layer",            "one layer", 0, NULL},
    {"*",      "3",     "view images",           "images, ranked", 0, NULL},
    {"*",      "4",     "view graph",            "both models as one graph", 0, NULL},
    {"*",      "5",     "view pins",             "pins and their history", 0, NULL},
    {"*",      "6",     "view log",              "commands, answers, prompt", 0, NULL},
    {"*",      "Tab",   "view next",             "next view", 0, NULL},
    {"*",      "S-Tab", "view previous",         "view before", 0, NULL},
    {"*",      "/",     ":find ",                "find by name", 8, "find"},
    {"*",      "n",     "find --next",           "next find", 0, NULL},
    {"*",      "N",     "find --previous",       "find before", 0, NULL},
    {"*",      "^P",    ":jump ",                "jump to a layer, image or command", 9, "jump"},
    {"*",      "R",     "run",                   "run both models on the images", 6, "run"},
    {"*",      "^C",    "cancel",                "cancel the run, keep its results", 0, NULL},
    {"*",      "u",     "undo",                  "undo the last pin change", 5, "undo"},
    {"*",      "U",     "redo",                  "redo it", 0, NULL},
    {"*",      "^R",    "redo",                  NULL, 0, NULL},
    {"*",      "E",     ":export ",              "write the mixed model", 7, "export"},
    {"*",      ":",     ":",                     "type a command", 20, "command"},
    {"*",      "F2",    "%record",               "record the session as a script, or stop", 9, "record"},
    {"*",      "y",     "%record",               NULL, 0, NULL},
    {"*",      "Y",     "copy %layer",           "copy its name, with set clipboard on", 0, NULL},
    {"*",      "?",     "keys",                  "keys and commands", 21, "help"},
    {"*",      "F1",    "keys",                  NULL, 0, NULL},
    {"*",      "q",     "back --quit",           "back; leaves from the first view", 22, "back"},
    {"*",      "Esc",   "back --unmark",         "forget find, filter or marks; back", 0, NULL},
    {"*",      "^O",    "back",                  "back", 0, NULL},
    {"*",      "Backspace", "back",                  NULL, 0, NULL},
    {"*",      "Q",     "quit",                  "leave", 0, NULL},
    {"*",      "^L",    "redraw",                "paint the screen again", 0, NULL},
    {"*",      "^Z",    "suspend",               "back to the shell for now; fg returns", 0, NULL},
    {NULL, NULL, NULL, NULL, 0, NULL},
};
/* clang-format on */

static bool key_is(const struct key *k, const char *view, const char *key)
{
    return strcmp(k->key, key) == 0 && strcmp(k->view, view) == 0;
}

const struct key *key_find(const struct session *s, const char *view, const char *key)
{
    const struct shell *sh = s->shell;
    for (int all = 0; all < 2; all++)
        for (size_t i = 0; i < sh->n_bound; i++)
            if (key_is(&sh->bound[i], all ? "*" : view, key))
                return &sh->bound[i];
    for (const struct key *k = keymap; k->view; k++)
        if (key_is(k, view, key) || key_is(k, "*", key))
            return k;
    return NULL;
}

void key_fini(struct key *k)
{
    free((char *)(uintptr_t)k->view);
    free((char *)(uintptr_t)k->key);
    free((char *)(uintptr_t)k->line);
}

int key_bind(struct session *s, const char *view, const char *key, const char *line,
             struct err *err)
{
    struct shell *sh = s->shell;
    size_t i = 0;
    if (!term_key_known(key))
        return err_set(err, E_USAGE,
                       "'%s' is no key: a character, ^A, Enter, Tab, S-Tab, Space, Esc, Backspace, "
                       "Insert, Delete, Home, End, PgUp, PgDn, Up, Down, Left, Right, F1 to F12, "
                       "WheelUp, WheelDown",
                       key);
    while (i < sh->n_bound && !key_is(&sh->bound[i], view, key))
        i++;
    const bool found = i < sh->n_bound;
    if (!line && !found)
        return err_set(err, E_USAGE, "key '%s' is not bound by you in '%s'", key, view);
    if (found)
        key_fini(&sh->bound[i]);
    if (!line) {
        sh->n_bound--;
        memmove(&sh->bound[i], &sh->bound[i + 1], (sh->n_bound - i) * sizeof(*sh->bound));
        return OK;
    }
    if (!found)
        sh->bound = mem_push(sh->bound, sh->n_bound++, &sh->cap_bound, sizeof(*sh->bound));
    sh->bound[i] =
        (struct key){mem_dup(view), mem_dup(key), mem_dup(line), "bound by you", 0, NULL};
    return OK;
}

/* What stands for each place of a line. NULL with an error when nothing is under the cursor. */
static char *place_layer(const struct session *s, struct err *err)
{
    const long layer = view_current_layer(s);
    if (layer >= 0)
        return cmd_quote(s->match.layers[layer].name);
    err_set(err, E_STATE, "%s",
            s->fp32 || s->int8 ? "no comparable layer under the cursor" : "no model is loaded");
    return NULL;
}

static char *place_image(const struct session *s, struct err *err)
{
    const long image = view_current_image(s);
    if (image >= 0)
        return cmd_quote(s->data.samples[image].name);
    err_set(err, E_STATE, "%s", s->data.n ? "no image under the cursor" : "no images are added");
    return NULL;
}

/* What is marked in a list goes before what is under its cursor. */
static char *place_layers(const struct session *s, struct err *err)
{
    return view_marked(s) ? mem_dup("@marked") : place_layer(s, err);
}

static char *place_images(const struct session *s, struct err *err)
{
    return view_marked(s) ? mem_dup("@marked") : place_image(s, err);
}

/* Marked layers are pinned together as long as one of them is not. */
static char *place_pin(const struct session *s, struct err *err)
{
    const long layer = view_current_layer(s);
    bool pinned = layer >= 0 && session_pinned(s, (size_t)layer);
    (void)err;
    if (view_marked(s)) {
        pinned = true;
        for (size_t i = 0; i < s->match.n_layers; i++)
            pinned &= !s->marked[i] || session_pinned(s, i);
    }
    return mem_dup(pinned ? "unpin" : "pin");
}

/* The precision after that of the layer, FP32 for one that is not pinned. */
static char *place_precision(const struct session *s, struct err *err)
{
    const long layer = view_current_layer(s);
    const bool pinned = layer >= 0 && session_pinned(s, (size_t)layer);
    const int next = pinned ? (int)session_precision(s, (size_t)layer) + 1 : PREC_FP32;
    (void)err;
    return mem_dup(precisions[next % N_PRECISIONS].name);
}

static char *place_mark(const struct session *s, struct err *err)
{
    (void)err;
    bool marked = false;
    if (s->ui.view == VIEW_IMAGES) {
        const long image = view_current_image(s);
        marked = image >= 0 && s->data.samples[image].marked;
    } else {
        const long layer = view_current_layer(s);
        marked = layer >= 0 && s->marked && s->marked[layer];
    }
    return mem_dup(marked ? "unmark" : "mark");
}

static char *place_record(const struct session *s, struct err *err)
{
    (void)err;
    return mem_dup(record_path(s) ? "record stop" : ":record start ");
}

static const struct place {
    const char *word;
    char *(*text)(const struct session *s, struct err *err);
} places[] = {
    {"%layers", place_layers}, {"%layer", place_layer}, /* a longer word before its beginning */
    {"%images", place_images}, {"%image", place_image},   {"%pin", place_pin},
    {"%mark", place_mark},     {"%record", place_record}, {"%precision", place_precision},
};

static const struct place *place_find(const char *p)
{
    for (size_t i = 0; i < COUNT(places); i++)
        if (strncmp(p, places[i].word, strlen(places[i].word)) == 0)
            return &places[i];
    return NULL;
}

char *key_line(const struct session *s, const struct key *k, struct err *err)
{
    char *line = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&line, &size);
    bool ok = true;
    for (const char *p = k->line; *p && ok;) {
        const struct place *place = place_find(p);
        if (!place) {
            fputc(*p++, f);
            continue;
        }
        char *text = place->text(s, err);
        ok = text != NULL;
        if (ok)
            fputs(text, f);
        free(text);
        p += strlen(place->word);
    }
    fclose(f);
    if (ok)
        return line;
    free(line);
    return NULL;
}
