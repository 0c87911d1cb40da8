/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * main.c: options; picks screen, REPL or batch; the only place that decides the exit code. Words on
 * the command line become lines of the command language, so there is nothing here that cannot be
 * typed as well.
 */
#include <fcntl.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/front.h"

/* -x and -e in the order given. */
struct item {
    bool file;
    const char *text;
};
struct options {
    bool batch, keep_going, json, ascii, no_config;
    const char *color;
    const char *jobs;
    size_t n_items;
    struct item *items;
    size_t n_defines;
    const char **defines;
    int n_words;
    char **words; /* FP32 INT8 IMAGES... */
};

static const char usage[] =
    "usage: qscope [FP32 [INT8 [IMAGES...]]] [OPTION]...\n"
    "\n"
    "Finds which layer of an INT8 network loses accuracy. Opens a screen; in batch (--batch, or\n"
    "standard input or output is no terminal) it runs -x and -e, or else commands from standard\n"
    "input.\n"
    "\n"
    "  -x, --execute FILE     run the commands in FILE (- is standard input)\n"
    "  -e, --command CMD      run one command line; -x and -e run in the order given\n"
    "      --batch            no screen: leave after -x and -e\n"
    "      --continue-on-error  go on after an error; the exit code is then 5\n"
    "      --json             listings as one JSON object a line\n"
    "      --define NAME=TEXT sets ${NAME} for commands\n"
    "      --jobs N           worker threads\n"
    "      --no-config        do not run the start-up file ~/.config/qscope/qscoperc\n"
    "      --color WHEN       auto, always or never\n"
    "      --ascii            nothing beyond ASCII on the screen\n"
    "      --version          versions and CPU features\n"
    "      --help             this text; `qscope -e help` lists the commands\n"
    "\n"
    "exit: 0 done, 1 a command of -e failed, 2 usage, 3 a script stopped, 4 an assert was false,\n"
    "5 errors under --continue-on-error, 6 input refused, 7 input/output, 8 memory or time limit,\n"
    "70 internal error, 128+n signal n\n";

/* Files opened later must not get the numbers of standard streams that are closed. */
static void open_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) < 0)
            _exit(7);
}

static bool utf8_locale(void)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers in files and output do not follow the country */
    const char *codeset = nl_langinfo(CODESET);
    return strcasecmp(codeset, "UTF-8") == 0 || strcasecmp(codeset, "UTF8") == 0;
}

enum {
    OPT_BATCH = 256,
    OPT_KEEP,
    OPT_JSON,
    OPT_DEFINE,
    OPT_JOBS,
    OPT_NO_CONFIG,
    OPT_COLOR,
    OPT_ASCII,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"execute", required_argument, NULL, 'x'},
    {"command", required_argument, NULL, 'e'},
    {"batch", no_argument, NULL, OPT_BATCH},
    {"continue-on-error", no_argument, NULL, OPT_KEEP},
    {"json", no_argument, NULL, OPT_JSON},
    {"define", required_argument, NULL, OPT_DEFINE},
    {"jobs", required_argument, NULL, OPT_JOBS},
    {"no-config", no_argument, NULL, OPT_NO_CONFIG},
    {"color", required_argument, NULL, OPT_COLOR},
    {"ascii", no_argument, NULL, OPT_ASCII},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void add_item(struct options *o, bool file, const char *text)
{
    o->items[o->n_items++] = (struct item){.file = file, .text = text};
}

/* Takes one option; returns false when it is wrong. */
static bool take_option(struct options *o, int c)
{
    switch (c) {
    case 'x':
    case 'e':
        add_item(o, c == 'x', optarg);
        return true;
    case OPT_BATCH:
        return o->batch = true;
    case OPT_KEEP:
        return o->keep_going = true;
    case OPT_JSON:
        return o->json = true;
    case OPT_NO_CONFIG:
        return o->no_config = true;
    case OPT_ASCII:
        return o->ascii = true;
    case OPT_JOBS:
        o->jobs = optarg;
        return true;
    case OPT_DEFINE:
        o->defines[o->n_defines++] = optarg;
        if (optarg[0] && optarg[0] != '=' && strchr(optarg, '='))
            return true;
        fprintf(stderr, "qscope: error: --define wants NAME=TEXT, found '%s' [E_USAGE]\n", optarg);
        return false;
    case OPT_COLOR:
        o->color = optarg;
        if (strcmp(optarg, "auto") == 0 || strcmp(optarg, "always") == 0 ||
            strcmp(optarg, "never") == 0)
            return true;
        fprintf(stderr,
                "qscope: error: --color is one of auto, always, never, found '%s' [E_USAGE]\n",
                optarg);
        return false;
    default:
        return false; /* getopt has said why */
    }
}

/* -1: go on; otherwise the exit code. */
static int read_options(int argc, char **argv, struct options *o)
{
    o->items = mem_alloc((size_t)argc * sizeof(*o->items));
    o->defines = mem_alloc((size_t)argc * sizeof(*o->defines));
    o->color = "auto";
    for (int c; (c = getopt_long(argc, argv, "x:e:", long_options, NULL)) != -1;) {
        if (c == OPT_HELP) {
            fputs(usage, stdout);
            return 0;
        }
        if (c == OPT_VERSION) {
            printf("qscope %s\ncpu: %s\njansson %s\n", QSCOPE_VERSION, engine_cpu(),
                   JANSSON_VERSION);
            return 0;
        }
        if (!take_option(o, c)) {
            fputs("try 'qscope --help'\n", stderr);
            return 2;
        }
    }
    o->n_words = argc - optind;
    o->words = argv + optind;
    return -1;
}

static bool want_color(const struct options *o)
{
    const char *no = getenv("NO_COLOR");
    if (no && no[0])
        return false;
    return strcmp(o->color, "never") != 0;
}

static void apply_options(struct session *s, const struct options *o, bool utf8)
{
    session_form(s, o->json ? FORM_JSON : FORM_TABLE);
    s->set.ascii = o->ascii || !utf8;
    s->set.color = want_color(o);
    for (size_t i = 0; i < o->n_defines; i++) {
        const char *eq = strchr(o->defines[i], '=');
        char *name = mem_printf("%.*s", (int)(eq - o->defines[i]), o->defines[i]);
        json_object_set_new_nocheck(s->vars, name, json_string_nocheck(eq + 1));
        free(name);
    }
}

static int start_file(struct session *s, struct err *err)
{
    char *path = path_xdg("XDG_CONFIG_HOME", ".config", "qscoperc");
    size_t failed = 0;
    int rc = OK;
    if (path && file_exists(path))
        rc = script_top(s, path, false, &failed, err);
    free(path);
    return rc;
}

static int run_and_free(struct session *s, char *line, struct err *err)
{
    size_t failed = 0;
    const int rc = script_line(s, "qscope", line, false, false, &failed, err);
    free(line);
    return rc;
}

/* What the words say: models and images. */
static int load_words(struct session *s, const struct options *o, struct err *err)
{
    char *jobs[1] = {(char *)(uintptr_t)o->jobs};
    int rc = OK;
    if (o->jobs)
        rc = run_and_free(s, cmd_join("set jobs", 1, jobs), err);
    if (rc == OK && o->n_words >= 1)
        rc = run_and_free(s,
                          cmd_join(o->n_words == 1 ? "load fp32" : "load pair",
                                   (size_t)MIN(o->n_words, 2), o->words),
                          err);
    if (rc == OK && o->n_words > 2)
        rc = run_and_free(s, cmd_join("dataset add", (size_t)o->n_words - 2, o->words + 2), err);
    return rc;
}

/* All -x and -e. from_script: the one that failed was a script. */
static int run_items(struct session *s, const struct options *o, size_t *failed, bool *from_script,
                     struct err *err)
{
    int rc = OK;
    /* All of them are parsed before the first is run. */
    for (size_t i = 0; i < o->n_items && rc == OK; i++)
        if (!o->items[i].file)
            rc = script_line(s, "-e", o->items[i].text, true, false, failed, err);
        else if (strcmp(o->items[i].text, "-") != 0)
            rc = script_check(s, o->items[i].text, err);
    for (size_t i = 0; i < o->n_items && rc == OK && !s->quit; i++) {
        const struct item *it = &o->items[i];
        *from_script = it->file;
        rc = it->file ? script_top(s, it->text, o->keep_going, failed, err)
                      : script_line(s, "-e", it->text, false, o->keep_going, failed, err);
    }
    return rc;
}

/* Everything before the interactive front. Returns the exit code so far. */
static int run_batch(struct session *s, const struct options *o, bool batch)
{
    struct err err = {0};
    size_t failed = 0;
    bool from_script = false;
    pthread_mutex_lock(&s->lock);
    s->batch = true;
    signals_busy(true);
    int rc = o->no_config ? OK : start_file(s, &err);
    if (rc == OK)
        rc = load_words(s, o, &err);
    if (rc == OK && !s->quit)
        rc = run_items(s, o, &failed, &from_script, &err);
    if (rc == OK && batch && o->n_items == 0 && !s->quit) {
        from_script = true;
        rc = script_top(s, "-", o->keep_going, &failed, &err);
    }
    signals_busy(false);
    s->batch = batch;
    pthread_mutex_unlock(&s->lock);
    if (signals_ended())
        return 128 + signals_ended();
    if (rc != OK)
        return exit_code(rc, from_script);
    if (s->quit && s->exit_code)
        return s->exit_code;
    return failed ? 5 : 0;
}

static int run_interactive(struct session *s, const struct options *o)
{
    struct err err = {0};
    const char *first = o->n_words > 2 ? "run" : NULL;
    int code = 0;
    if (screen_run(s, first, &err) != OK) {
        fprintf(stderr, "%s: lines instead of the screen; 'help' lists commands\n", err.text);
        code = repl_run(s, first);
    } else if (s->quit) {
        code = s->exit_code;
    }
    return signals_ended() ? 128 + signals_ended() : code;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    /* Activations come and go with every image: kept by the heap instead of being mapped and
     * unmapped each time, which costs a page fault for every 4 KiB. */
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    open_streams();
    const bool utf8 = utf8_locale();
    int code = read_options(argc, argv, &o);
    if (code < 0) {
        const bool batch = o.batch || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
        struct session *s = session_new();
        signals_install(&s->job.cancel, batch);
        apply_options(s, &o, utf8);
        code = run_batch(s, &o, batch);
        if (code == 0 && !batch && !s->quit)
            code = run_interactive(s, &o);
        session_free(s);
    }
    free(o.items);
    free(o.defines);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        fputs("qscope: error: cannot write the output [E_IO]\n", stderr);
        code = 7;
    }
    return code;
}
