/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * manual.c: man pages and completions of shells, printed from the tables of commands, options,
 * settings, metrics, keys and exit codes when the program is built. Only the frame is written here.
 */
#include <stdlib.h>

#include "tui/options.h"

/* ---- Text of man pages ----------------------------------------------------------------------- */

/* Prose: a backslash is escaped, a hyphen is one that can be copied, a line that would begin with a
 * control character does not. */
static void roff(FILE *out, const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        fputs("\\&", out);
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            fputs("\\e", out);
        else if (*p == '-')
            fputs("\\-", out);
        else if (*p == '\'')
            fputs("\\(aq", out);
        else if (*p == '^')
            fputs("\\(ha", out);
        else if (*p == '~')
            fputs("\\(ti", out);
        else if (*p == '`')
            fputs("\\(ga", out);
        else
            fputc(*p, out);
    }
}

static void heading(FILE *out, const char *title)
{
    fprintf(out, ".SH \"%s\"\n", title);
}

/* ".TP", a bold term with an optional plain rest, and its text. */
static void term(FILE *out, const char *bold, const char *rest, const char *text)
{
    fputs(".TP\n\\fB", out);
    roff(out, bold);
    fputs("\\fR", out);
    if (rest && rest[0]) {
        fputc(' ', out);
        roff(out, rest);
    }
    fputc('\n', out);
    roff(out, text && text[0] ? text : " ");
    fputc('\n', out);
}

static void paragraph(FILE *out, const char *text)
{
    fputs(".PP\n", out);
    roff(out, text);
    fputc('\n', out);
}

static void example(FILE *out, const char *text)
{
    fputs(".PP\n.nf\n.RS 4\n", out);
    roff(out, text);
    fputs("\n.RE\n.fi\n", out);
}

/* ---- qscope(1) ------------------------------------------------------------------------------- */

static void option_terms(FILE *out)
{
    for (const struct option_row *r = option_rows; r->name; r++) {
        char name[64], letter[8] = "";
        if (r->letter)
            snprintf(letter, sizeof(letter), "-%c, ", r->letter);
        snprintf(name, sizeof(name), "%s--%s", letter, r->name);
        term(out, name, r->value, r->help);
    }
}

static const struct {
    const char *name, *text;
} environment[] =
    {
        {"TERM", "the terminal; without cursor addressing there is a prompt instead of the screen"},
        {"NO_COLOR", "when not empty: no colours, whatever --color says"},
        {"LC_ALL, LC_CTYPE, LANG", "the character set; beyond UTF-8 only ASCII is drawn"},
        {"QSCOPE_NAME",
         "a setting by its name in capitals, such as QSCOPE_JOBS: wins over the file "
         "of the start, options and commands win over it"},
        {"XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME",
         "where the files below are instead of ~/.config, ~/.local/state and ~/.cache"},
},
  files[] = {
      {"~/.config/qscope/qscoperc",
       "commands run at the start: settings, alias, bind; see --no-config"},
      {"~/.local/state/qscope/history", "lines typed, the last 10000"},
      {"~/.local/state/qscope/session.json", "the last session, which qscope without words offers"},
};

static void page_program(FILE *out)
{
    fprintf(out, ".TH QSCOPE 1 \"\" \"qscope %s\" \"User Commands\"\n", QSCOPE_VERSION);
    heading(out, "NAME");
    fputs("qscope \\- find which layers of an INT8 network lose accuracy\n", out);
    heading(out, "SYNOPSIS");
    fputs("\\fBqscope\\fR [\\fIFP32\\fR [\\fIINT8\\fR [\\fIIMAGES\\fR...]]] [\\fIOPTION\\fR]...\n",
          out);
    heading(out, "DESCRIPTION");
    roff(out, "Runs a float network and its INT8 version on images and compares every layer. "
              "Without --batch, on a terminal, it opens a screen; else it runs -x and -e in their "
              "order, or commands from the standard input. Every key of the screen is a line of "
              "the command language, which is described in ");
    fputs("\\fBqscope\\-commands\\fR(7).\n", out);
    heading(out, "OPTIONS");
    option_terms(out);
    heading(out, "EXIT STATUS");
    for (const struct exit_row *e = exit_rows; e->code; e++)
        term(out, e->code, NULL, e->meaning);
    heading(out, "ENVIRONMENT");
    for (size_t i = 0; i < COUNT(environment); i++)
        term(out, environment[i].name, NULL, environment[i].text);
    heading(out, "FILES");
    for (size_t i = 0; i < COUNT(files); i++)
        term(out, files[i].name, NULL, files[i].text);
    heading(out, "EXAMPLES");
    paragraph(out, "Look at a pair of models on a folder of images:");
    example(out, "qscope model.onnx model_int8.onnx photos/");
    paragraph(out, "A gate in a CI job, which fails with exit code 4:");
    example(out, "qscope --batch model.onnx model_int8.onnx photos/ -e run "
                 "-e 'assert top1_drop <= 1'");
    heading(out, "SEE ALSO");
    fputs("\\fBqscope\\-commands\\fR(7)\n", out);
}

/* ---- qscope-commands(7) ---------------------------------------------------------------------- */

struct page {
    FILE *out;
    const char *group;
};

static void command_section(void *ctx, const struct cmd *c)
{
    struct page *p = ctx;
    FILE *out = p->out;
    if (!p->group || strcmp(p->group, c->group) != 0) {
        fputs(".SS \"", out);
        roff(out, c->group);
        fputs("\"\n", out);
        p->group = c->group;
    }
    char *usage = cmd_usage(c);
    const size_t name = strlen(c->name);
    term(out, c->name, usage + name + (usage[name] == ' '), c->help);
    free(usage);
    if (c->detail) {
        fputs(".IP\n", out);
        roff(out, c->detail);
        fputc('\n', out);
    }
    fputs(".RS\n", out);
    for (const struct opt_spec *o = c->opts; o && o->name; o++)
        term(out, o->name, o->value, o->help);
    fputs(".RE\n", out);
    if (c->alias) {
        fputs(".IP\nShort: \\fB", out);
        roff(out, c->alias);
        fputs("\\fR\n", out);
    }
    if (c->example) {
        fputs(".IP\nExample: \\fB", out);
        roff(out, c->example);
        fputs("\\fR\n", out);
    }
}

static void measure(FILE *out, const char *name, const char *unit, const char *help,
                    const char *formula)
{
    term(out, name, unit, help);
    fputs(".IP\n", out);
    roff(out, formula);
    fputc('\n', out);
}

static void table_sections(FILE *out)
{
    heading(out, "SETTINGS");
    for (size_t i = 0; setting_name(i); i++)
        term(out, setting_name(i), setting_choices(setting_name(i)), setting_help(i));
    heading(out, "NUMERICS");
    for (int n = 0; numerics_name((enum numerics)n); n++)
        term(out, numerics_name((enum numerics)n), NULL, numerics_help((enum numerics)n));
    heading(out, "METRICS OF LAYERS");
    for (const struct metric *m = metrics; m->name; m++)
        measure(out, m->name, m->unit, m->help, m->formula);
    heading(out, "OUTCOMES");
    for (const struct outcome *o = outcomes; o->name; o++)
        measure(out, o->name, o->unit, o->help, o->formula);
    heading(out, "SCORES OF IMAGES");
    for (const struct image_key *k = image_keys; k->name; k++)
        term(out, k->name, k->unit, k->help);
    heading(out, "KEYS OF THE SCREEN");
    for (const struct key *k = keymap; k->view; k++) {
        char what[64];
        snprintf(what, sizeof(what), "%s%s", strcmp(k->view, "*") == 0 ? "everywhere" : "in ",
                 strcmp(k->view, "*") == 0 ? "" : k->view);
        term(out, k->key, what, k->line);
    }
}

static void page_commands(FILE *out)
{
    struct page p = {.out = out};
    fprintf(out, ".TH QSCOPE-COMMANDS 7 \"\" \"qscope %s\" \"Command language\"\n", QSCOPE_VERSION);
    heading(out, "NAME");
    fputs("qscope\\-commands \\- the command language of qscope\n", out);
    heading(out, "DESCRIPTION");
    paragraph(out, "One command a line; a word ';' separates commands on a line, '#' at the start "
                   "of a word begins a comment, a backslash at the end of a line continues it. "
                   "Words are quoted as in sh; nothing is expanded but ${NAME}. A quoted word is "
                   "no option, nor is any behind a word '--'. A last word '&' "
                   "lets a run go on in the background; the end of a batch waits for it. A '-' in "
                   "front of a command passes over "
                   "its error. A script is checked whole before its first command runs.");
    paragraph(out, "LAYER is a name, a pattern with * and ?, a rank of the last listing such as "
                   "@3, @marked, @pinned, or a condition such as {sqnr<20 && op==\"Conv\"}. IMAGE "
                   "is a name, a pattern, a rank or @marked.");
    paragraph(out, "Every command that prints data takes --json for one JSON object, --jsonl for "
                   "its rows as lines of JSON, and --csv for its rows as CSV; 'set output' does so "
                   "for all that follow.");
    heading(out, "COMMANDS");
    cmd_each(command_section, &p);
    table_sections(out);
    heading(out, "SEE ALSO");
    fputs("\\fBqscope\\fR(1)\n", out);
}

/* ---- Completions of shells ------------------------------------------------------------------- */

/* "a|b|c" as "a b c". */
static void spaced(FILE *out, const char *choices)
{
    for (const char *p = choices; *p; p++)
        fputc(*p == '|' ? ' ' : *p, out);
}

struct first_words {
    FILE *out;
    char last[32];
};

/* Commands of two words stand together in the tables: their first word once. */
static void command_word(void *ctx, const struct cmd *c)
{
    struct first_words *w = ctx;
    char word[sizeof(w->last)];
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(c->name, " "), c->name);
    if (strcmp(word, w->last) != 0)
        fprintf(w->out, "%s%s", w->last[0] ? " " : "", word);
    memcpy(w->last, word, sizeof(word));
}

static void command_words(FILE *out)
{
    struct first_words w = {.out = out};
    cmd_each(command_word, &w);
}

static void bash_completion(FILE *out)
{
    fputs("# bash completion for qscope; made from its tables\n"
          "_qscope()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    case $prev in\n",
          out);
    for (const struct option_row *r = option_rows; r->name; r++) {
        if (!r->value || r->kind == ARG_FILE)
            continue;
        fprintf(out, "    --%s", r->name);
        if (r->letter)
            fprintf(out, " | -%c", r->letter);
        fputs(")\n        COMPREPLY=($(compgen -W \"", out);
        if (r->choices)
            spaced(out, r->choices);
        else if (r->kind == ARG_COMMAND)
            command_words(out);
        fputs("\" -- \"$cur\"))\n        return ;;\n", out);
    }
    fputs("    esac\n    case $cur in\n    -*)\n        COMPREPLY=($(compgen -W \"", out);
    for (const struct option_row *r = option_rows; r->name; r++) {
        if (r->letter)
            fprintf(out, "-%c ", r->letter);
        fprintf(out, "--%s ", r->name);
    }
    fputs("\" -- \"$cur\")) ;;\n    *)\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "        compopt -o filenames 2>/dev/null ;;\n    esac\n}\n"
          "complete -F _qscope qscope\n",
          out);
}

/* A text between single quotes; ':' and '[' mean something to zsh and are taken out of the way. */
static void quoted(FILE *out, const char *text, const char *escape)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            fputs("'\\''", out);
        else if (strchr(escape, *p))
            fprintf(out, "\\%c", *p);
        else
            fputc(*p, out);
    }
}

static void zsh_completion(FILE *out)
{
    fputs("#compdef qscope\n# made from the tables of qscope\n_arguments -s \\\n", out);
    for (const struct option_row *r = option_rows; r->name; r++) {
        fputs("  ", out);
        if (r->letter)
            fprintf(out, "'*'{-%c,--%s}'[", r->letter, r->name);
        else
            fprintf(out, "'--%s%s[", r->name, r->value ? "=" : "");
        quoted(out, r->help, "[]:");
        fputc(']', out);
        if (r->value)
            fprintf(out, ":%s:", r->value);
        if (r->choices || r->kind == ARG_COMMAND) {
            fputc('(', out);
            r->choices ? spaced(out, r->choices) : command_words(out);
            fputc(')', out);
        } else if (r->kind == ARG_FILE) {
            fputs("_files", out);
        }
        fputs("' \\\n", out);
    }
    fputs("  '*:model or images:_files'\n", out);
}

static void fish_completion(FILE *out)
{
    fputs("# fish completion for qscope; made from its tables\n", out);
    for (const struct option_row *r = option_rows; r->name; r++) {
        fprintf(out, "complete -c qscope -l %s", r->name);
        if (r->letter)
            fprintf(out, " -s %c", r->letter);
        if (r->value)
            fprintf(out, " -r%s", r->kind == ARG_FILE ? "F" : "f");
        if (r->choices || r->kind == ARG_COMMAND) {
            fputs(" -a '", out);
            r->choices ? spaced(out, r->choices) : command_words(out);
            fputc('\'', out);
        }
        fputs(" -d '", out);
        for (const char *p = r->help; *p; p++)
            fprintf(out, *p == '\'' ? "\\%c" : "%c", *p);
        fputs("'\n", out);
    }
}

static const struct {
    const char *name;
    void (*print)(FILE *out);
} pages[] = {
    {"qscope.1", page_program}, {"qscope-commands.7", page_commands},
    {"bash", bash_completion},  {"zsh", zsh_completion},
    {"fish", fish_completion},
};

bool manual_print(const char *what, FILE *out)
{
    for (size_t i = 0; i < COUNT(pages); i++)
        if (strcmp(pages[i].name, what) == 0) {
            pages[i].print(out);
            return true;
        }
    return false;
}
