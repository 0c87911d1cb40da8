/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * options.c: the options of the program. Parsing, --help, the man page and the completions of
 * shells are all made from one table.
 */
#include <getopt.h>
#include <stdlib.h>

#include "tui/options.h"

static bool take_execute(struct options *o, const char *v)
{
    o->items[o->n_items++] = (struct item){.file = true, .text = v};
    return true;
}

static bool take_command(struct options *o, const char *v)
{
    o->items[o->n_items++] = (struct item){.file = false, .text = v};
    return true;
}

static bool take_batch(struct options *o, const char *v)
{
    (void)v;
    return o->batch = true;
}

static bool take_keep_going(struct options *o, const char *v)
{
    (void)v;
    return o->keep_going = true;
}

static bool take_json(struct options *o, const char *v)
{
    (void)v;
    return o->json = true;
}

static bool take_define(struct options *o, const char *v)
{
    o->defines[o->n_defines++] = v;
    if (v[0] && v[0] != '=' && strchr(v, '='))
        return true;
    fprintf(stderr, "qscope: error: --define wants NAME=TEXT, found '%s' [E_USAGE]\n", v);
    return false;
}

static bool take_jobs(struct options *o, const char *v)
{
    o->jobs = v;
    return true;
}

static bool take_no_config(struct options *o, const char *v)
{
    (void)v;
    return o->no_config = true;
}

static bool take_no_cache(struct options *o, const char *v)
{
    (void)v;
    return o->no_cache = true;
}

static bool take_commands(struct options *o, const char *v)
{
    static const char *const words[] = {
        [CONSENT_ASK] = "ask", [CONSENT_ALWAYS] = "always", [CONSENT_NEVER] = "never"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (strcmp(v, words[i]) == 0) {
            o->commands = (enum consent)i;
            return true;
        }
    fprintf(stderr,
            "qscope: error: --commands is one of ask, always, never, found '%s' [E_USAGE]\n", v);
    return false;
}

static bool take_color(struct options *o, const char *v)
{
    o->color = v;
    if (strcmp(v, "auto") == 0 || strcmp(v, "always") == 0 || strcmp(v, "never") == 0)
        return true;
    fprintf(stderr, "qscope: error: --color is one of auto, always, never, found '%s' [E_USAGE]\n",
            v);
    return false;
}

static bool take_ascii(struct options *o, const char *v)
{
    (void)v;
    return o->ascii = true;
}

const struct option_row option_rows[] = {
    {"execute", 'x', "FILE", NULL, ARG_FILE, "run the commands in FILE (- is standard input)",
     take_execute},
    {"command", 'e', "CMD", NULL, ARG_COMMAND,
     "run one command line; -x and -e run in the order given", take_command},
    {"batch", 0, NULL, NULL, ARG_FLAG, "no screen: leave after -x and -e", take_batch},
    {"continue-on-error", 0, NULL, NULL, ARG_FLAG, "go on after an error; the exit code is then 5",
     take_keep_going},
    {"json", 0, NULL, NULL, ARG_FLAG, "listings as one JSON object a line", take_json},
    {"define", 0, "NAME=TEXT", NULL, ARG_WORD, "sets ${NAME} for commands", take_define},
    {"jobs", 0, "N", NULL, ARG_INT, "worker threads", take_jobs},
    {"no-config", 0, NULL, NULL, ARG_FLAG, "do not run the start-up file ~/.config/qscope/qscoperc",
     take_no_config},
    {"no-cache", 0, NULL, NULL, ARG_FLAG,
     "neither take nor keep results of earlier runs, as 'set cache off'", take_no_cache},
    {"commands", 0, "WHEN", "ask|always|never", ARG_CHOICE,
     "ask, always or never run commands of metrics that sessions and sourced scripts define",
     take_commands},
    {"color", 0, "WHEN", "auto|always|never", ARG_CHOICE, "auto, always or never", take_color},
    {"ascii", 0, NULL, NULL, ARG_FLAG, "nothing beyond ASCII on the screen", take_ascii},
    {"manual", 0, "PAGE", "qscope.1|qscope-commands.7|bash|zsh|fish", ARG_CHOICE,
     "print a man page or the completions for a shell", NULL},
    {"version", 0, NULL, NULL, ARG_FLAG, "versions and CPU features", NULL},
    {"help", 0, NULL, NULL, ARG_FLAG, "this text; 'qscope -e help' lists the commands", NULL},
    {NULL, 0, NULL, NULL, ARG_NONE, NULL, NULL},
};

const struct exit_row exit_rows[] = {
    {"0", "done"},
    {"1", "a command of -e failed"},
    {"2", "usage: unknown command, bad option or argument; nothing was run"},
    {"3", "a script stopped at a command that failed"},
    {"4", "an assert was false, or the goal of a search or sweep was not met"},
    {"5", "errors under --continue-on-error"},
    {"6", "input refused: malformed, unsupported, or not fitting together"},
    {"7", "input or output: missing, permission, disk full"},
    {"8", "memory, size or time limit"},
    {"70", "internal error"},
    {"128+n", "ended by signal n"},
    {NULL, NULL},
};

static void print_usage(void)
{
    printf(
        "usage: qscope [FP32 [INT8 [IMAGES...]]] [OPTION]...\n"
        "\n"
        "Finds which layer of an INT8 network loses accuracy. Opens a screen; in batch (--batch,\n"
        "or standard input or output is no terminal) it runs -x and -e, or else commands from\n"
        "standard input.\n\n");
    for (const struct option_row *r = option_rows; r->name; r++) {
        char left[64], letter[8] = "    ";
        if (r->letter)
            snprintf(letter, sizeof(letter), "-%c, ", r->letter);
        snprintf(left, sizeof(left), "%s--%s %s", letter, r->name, r->value ? r->value : "");
        printf("  %-24s %s\n", left, r->help);
    }
    printf("\nexit codes:\n");
    for (const struct exit_row *e = exit_rows; e->code; e++)
        printf("  %-6s %s\n", e->code, e->meaning);
}

static int answer(const struct option_row *r, const char *value)
{
    if (strcmp(r->name, "manual") == 0 && !manual_print(value, stdout)) {
        fprintf(stderr, "qscope: error: --manual is one of %s, found '%s' [E_USAGE]\n", r->choices,
                value);
        return 2;
    }
    if (strcmp(r->name, "help") == 0)
        print_usage();
    if (strcmp(r->name, "version") == 0)
        printf("qscope %s\ncpu: %s\njansson %s\n", QSCOPE_VERSION, engine_cpu(), JANSSON_VERSION);
    return 0;
}

enum { FIRST_LONG = 256, N_ROWS = COUNT(option_rows) - 1 };

/* The row of what getopt found; NULL for '?'. */
static const struct option_row *row_of(int c)
{
    for (int i = 0; i < N_ROWS; i++)
        if (c == FIRST_LONG + i || (option_rows[i].letter && c == option_rows[i].letter))
            return &option_rows[i];
    return NULL;
}

int options_read(int argc, char **argv, struct options *out)
{
    struct option longs[N_ROWS + 1] = {0};
    char shorts[2 * N_ROWS + 1] = "";
    size_t n = 0;
    for (int i = 0; i < N_ROWS; i++) {
        const struct option_row *r = &option_rows[i];
        longs[i] = (struct option){r->name, r->value ? required_argument : no_argument, NULL,
                                   FIRST_LONG + i};
        if (r->letter)
            n += (size_t)snprintf(shorts + n, sizeof(shorts) - n, "%c%s", r->letter,
                                  r->value ? ":" : "");
    }
    out->items = mem_alloc((size_t)argc * sizeof(*out->items));
    out->defines = mem_alloc((size_t)argc * sizeof(*out->defines));
    out->color = "auto";
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const struct option_row *r = row_of(c);
        if (r && !r->take)
            return answer(r, optarg);
        if (!r || !r->take(out, optarg)) {
            fputs("try 'qscope --help'\n", stderr);
            return 2;
        }
    }
    out->n_words = argc - optind;
    out->words = argv + optind;
    return -1;
}

void options_fini(struct options *o)
{
    free(o->items);
    free(o->defines);
}
