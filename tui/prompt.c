/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * prompt.c: readline, for the REPL and for the line at the bottom of the screen: editing, history,
 * completion by the command tables. Both use its callback interface, so that a signal or a running
 * job never waits for a key. No other file includes readline.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "tui/front.h"

enum { HISTORY_LINES = 10000 };

/* Readline calls back without a context and exists once: so does what it is to work on. */
static struct {
    struct session *s;
    bool ready;
    char *history; /* file, NULL = keeps none */
    char *line;    /* finished line, owned; NULL while editing or at the end of input */
    bool finished;
    /* for the screen: */
    const char *bytes;
    size_t n_bytes;
    FILE *null;
    char **choices;
    char *shown_for; /* text the choices were made for */
} edit;

/* ---- History -------------------------------------------------------------------------------- */

static void history_open(void)
{
    char *dir = path_xdg("XDG_STATE_HOME", ".local/state", "");
    using_history();
    stifle_history(HISTORY_LINES);
    if (dir && file_mkdir(dir, NULL) == OK) {
        edit.history = mem_printf("%shistory", dir);
        const int fd = open(edit.history, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
        read_history(edit.history);
        if (history_length >= HISTORY_LINES)
            history_truncate_file(edit.history, HISTORY_LINES / 2);
    }
    free(dir);
}

void history_keep(const char *line)
{
    if (line[0] == ' ' || line[strspn(line, " \t")] == '\0')
        return;
    using_history();
    const HIST_ENTRY *last = previous_history();
    const bool again = last && strcmp(last->line, line) == 0;
    using_history();
    if (again)
        return;
    add_history(line);
    if (edit.history)
        append_history(1, edit.history); /* one write at the end: several programs may do it */
}

/* ---- Completion ----------------------------------------------------------------------------- */

static void choices_free(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}

static size_t common_prefix(char **list)
{
    size_t n = strlen(list[0]);
    for (char **p = list + 1; *p; p++) {
        size_t i = 0;
        while (i < n && (*p)[i] == list[0][i])
            i++;
        n = i;
    }
    while (n > 0 && ((unsigned char)list[0][n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    return n;
}

static void replace_word(size_t start, const char *text, size_t n)
{
    char *word = mem_printf("%.*s", (int)n, text);
    rl_begin_undo_group();
    rl_delete_text((int)start, rl_point);
    rl_point = (int)start;
    rl_insert_text(word);
    rl_end_undo_group();
    free(word);
}

static void show_choices(char **list)
{
    choices_free(edit.choices);
    edit.choices = NULL;
    if (edit.s->screen) {
        edit.choices = list;
        free(edit.shown_for);
        edit.shown_for = mem_dup(rl_line_buffer);
        return;
    }
    size_t n = 0, longest = 0;
    while (list[n]) {
        longest = MAX(longest, strlen(list[n]));
        n++;
    }
    /* readline wants the common part in front of the matches */
    char **matches = mem_alloc((n + 2) * sizeof(*matches));
    matches[0] = list[0];
    memcpy(matches + 1, list, n * sizeof(*list));
    rl_crlf();
    rl_display_match_list(matches, (int)n, (int)longest);
    rl_forced_update_display();
    free(matches);
    choices_free(list);
}

/* Tab: completes as far as it is certain, shows the rest. */
static int complete_key(int count, int key)
{
    size_t start = 0;
    (void)count;
    (void)key;
    char **list = cmd_complete(edit.s, rl_line_buffer, (size_t)rl_point, &start);
    if (!list || !list[0]) {
        choices_free(list);
        return 0;
    }
    const size_t n = common_prefix(list), typed = (size_t)rl_point - start;
    const bool one = !list[1];
    if (n > typed || one)
        replace_word(start, list[0], n);
    if (one) {
        if (n == 0 || list[0][n - 1] != '/')
            rl_insert_text(" ");
        choices_free(list);
    } else {
        show_choices(list);
    }
    return 0;
}

/* ---- Common to both ------------------------------------------------------------------------- */

static void line_done(char *line)
{
    edit.finished = true;
    edit.line = line;
    rl_callback_handler_remove();
}

static int hook_nothing(void)
{
    return 0;
}

/* Not for one line at the bottom of a screen: readline's own completions know files and users, not
 * commands, and ask back; macros, counts and searches for one character leave it, when a line is
 * given up in the middle of them, in states that the next line falls into; words yanked out of the
 * history are read past the end of a line whose quotes are left open. */
static bool wanted(const char *function)
{
    static const char *const others[] = {"complet",   "kbd-macro",        "argument",
                                         "search-",   "character-search", "quoted-insert",
                                         "init-file", "editing-mode",     "operate-and-get-next",
                                         "yank-last", "yank-nth"};
    if (strncmp(function, "reverse-search", 14) == 0 ||
        strncmp(function, "forward-search", 14) == 0)
        return true;
    for (size_t i = 0; i < COUNT(others); i++)
        if (strstr(function, others[i]))
            return false;
    return true;
}

static void unbind_unwanted(void)
{
    const char **names = rl_funmap_names();
    for (size_t i = 0; names && names[i]; i++)
        if (!wanted(names[i])) {
            rl_unbind_command_in_map(names[i], emacs_standard_keymap);
            rl_unbind_command_in_map(names[i], emacs_meta_keymap);
            rl_unbind_command_in_map(names[i], emacs_ctlx_keymap);
        }
    rl_free(names);
}

static void edit_init(struct session *s)
{
    edit.s = s;
    if (edit.ready)
        return;
    edit.ready = true;
    rl_readline_name = "qscope";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0; /* LINES and COLUMNS would keep curses from following the size */
    rl_initialize();
    /* Esc, then Enter in haste, would silently change to the vi keys. */
    rl_unbind_key_in_map('\n', emacs_meta_keymap);
    rl_unbind_key_in_map('\r', emacs_meta_keymap);
    unbind_unwanted();
    rl_bind_key('\t', complete_key);
    rl_variable_bind("bell-style", "none");
    rl_variable_bind("enable-bracketed-paste", "off");
    rl_completion_entry_function = NULL;
    history_open();
}

/* ---- The line in the screen ----------------------------------------------------------------- */

static int edit_getc(FILE *in)
{
    (void)in;
    if (edit.n_bytes == 0)
        return EOF;
    edit.n_bytes--;
    return (unsigned char)*edit.bytes++;
}

static int edit_available(void)
{
    return edit.n_bytes > 0;
}

static void edit_no_terminal(int meta)
{
    (void)meta;
}

static void edit_no_terminal_back(void)
{
}

static void edit_no_display(void)
{
}

void edit_open(struct session *s, const char *prompt, const char *text)
{
    edit_init(s);
    if (!edit.null)
        edit.null = fopen("/dev/null", "we");
    rl_outstream = edit.null;
    rl_getc_function = edit_getc;
    rl_input_available_hook = edit_available;
    rl_prep_term_function = edit_no_terminal;
    rl_deprep_term_function = edit_no_terminal_back;
    rl_redisplay_function = edit_no_display;
    edit.finished = false;
    edit.line = NULL;
    edit.n_bytes = 0;
    rl_callback_handler_install(prompt, line_done);
    rl_insert_text(text);
    /* A line that a key began shows what can follow at once. */
    if (text[0])
        complete_key(1, '\t');
}

/* A search, a count or half a key sequence may be under way, and lines of the history may be put
 * aside: readline gets out of all that by its own keys alone, ^G and Enter. A line that is emptied
 * behind its back leaves it with lists that it frees again later. */
static enum edit_state edit_cancel(void)
{
    static const char out[] = "\x07\x07\r\r";
    for (int again = 0; again < 3 && !edit.finished; again++) {
        edit.bytes = out;
        edit.n_bytes = sizeof(out) - 1;
        while (edit.n_bytes > 0 && !edit.finished)
            rl_callback_read_char();
    }
    if (!edit.finished)
        rl_callback_handler_remove();
    edit.n_bytes = 0;
    free(edit.line);
    edit.line = NULL;
    edit.finished = true;
    return EDIT_CANCELLED;
}

/* A search in the history ends at a key that is not for it, which then does what it always does.
 * Readline would follow sequences of keys from within the search, and stumbles there. */
static void leave_search(char key)
{
    static const char for_search[] = "\x12\x13\x07\x08\x7f\r\n";
    if (RL_ISSTATE(RL_STATE_ISEARCH) && (unsigned char)key < 0x20 &&
        !memchr(for_search, key, sizeof(for_search) - 1))
        rl_callback_sigcleanup();
}

enum edit_state edit_feed(const char *bytes, size_t n, size_t *used)
{
    edit.bytes = bytes;
    edit.n_bytes = n;
    while (edit.n_bytes > 0 && !edit.finished) {
        const char c = *edit.bytes;
        const bool lone = c == 0x1b && edit.n_bytes == 1 && rl_editing_mode == 1;
        const bool emptied = (c == 0x7f || c == 0x08) && rl_end == 0;
        if (lone || c == 0x03 || emptied) {
            *used = n - edit.n_bytes + 1;
            return edit_cancel();
        }
        leave_search(c);
        rl_callback_read_char();
    }
    *used = n - edit.n_bytes;
    if (edit.choices && (edit.finished || strcmp(edit.shown_for, rl_line_buffer) != 0)) {
        choices_free(edit.choices);
        edit.choices = NULL;
    }
    if (!edit.finished)
        return EDIT_OPEN;
    return edit.line ? EDIT_DONE : EDIT_CANCELLED; /* ^D on an empty line */
}

const char *edit_prompt(void)
{
    return rl_display_prompt ? rl_display_prompt : ":";
}

const char *edit_line(void)
{
    return rl_line_buffer ? rl_line_buffer : "";
}

size_t edit_point(void)
{
    return (size_t)rl_point;
}

char **edit_choices(void)
{
    return edit.choices;
}

char *edit_close(void)
{
    char *line = edit.line;
    edit.line = NULL;
    choices_free(edit.choices);
    edit.choices = NULL;
    return line;
}

/* ---- REPL ----------------------------------------------------------------------------------- */

static void repl_terminal(void)
{
    rl_instream = stdin;
    rl_outstream = stdout;
    rl_getc_function = rl_getc;
    rl_input_available_hook = NULL;
    rl_prep_term_function = rl_prep_terminal;
    rl_deprep_term_function = rl_deprep_terminal;
    rl_redisplay_function = rl_redisplay;
    rl_startup_hook = hook_nothing;
}

static void repl_signals(void)
{
    signals_drain();
    if (signals_take(SIGWINCH))
        rl_resize_terminal();
    if (signals_take(SIGINT)) {
        fputs("^C\n", rl_outstream);
        rl_callback_sigcleanup();
        rl_replace_line("", 1);
        rl_point = rl_end = rl_mark = 0;
        rl_on_new_line();
        rl_redisplay();
    }
    if (signals_take(SIGTSTP)) {
        rl_deprep_terminal();
        signals_stop();
        rl_prep_terminal(1);
        rl_forced_update_display();
    }
}

/* Reads one line, beginning with what is offered; false at the end of input or when the program is
 * to end. */
static bool repl_read(char **line, const char *offered)
{
    edit.finished = false;
    edit.line = NULL;
    rl_callback_handler_install(REPL_PROMPT, line_done);
    if (offered) {
        rl_insert_text(offered);
        rl_redisplay();
    }
    while (!edit.finished && !signals_ended()) {
        struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = signals_fd(), .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        repl_signals();
        if (p[0].revents && !signals_ended())
            rl_callback_read_char();
    }
    if (!edit.finished) {
        rl_replace_line("", 1);
        rl_callback_handler_remove();
    }
    *line = edit.line;
    edit.line = NULL;
    return *line != NULL;
}

static void repl_line(struct session *s, const char *line)
{
    struct err err = {0};
    signals_take(SIGINT);
    signals_busy(true);
    session_log(s, '>', line);
    struct tee *tee = tee_open(s, stdout);
    const int rc = cmd_line(s, line, tee_stream(tee), stderr, &err);
    tee_close(tee);
    signals_busy(false);
    fflush(stdout);
    if (rc != OK) {
        char text[4 * sizeof(err.text)];
        text_safe(text, sizeof(text), err.text);
        session_log(s, 'e', text);
        fprintf(stderr, "error: %s [%s]\n", text, err_name(rc));
    }
}

int repl_run(struct session *s, const char *first)
{
    char *line = NULL;
    edit_init(s);
    repl_terminal();
    pthread_mutex_lock(&s->lock);
    const char *offered = first && first[0] == ':' ? first + 1 : NULL;
    if (offered && s->offer)
        printf("the last session: %s; Enter opens it\n", s->offer);
    else if (first)
        repl_line(s, first);
    while (!s->quit && !signals_ended()) {
        pthread_mutex_unlock(&s->lock);
        const bool more = repl_read(&line, offered);
        offered = NULL;
        pthread_mutex_lock(&s->lock);
        if (!more) {
            fputc('\n', stdout);
            break;
        }
        history_keep(line);
        repl_line(s, line);
        free(line);
    }
    pthread_mutex_unlock(&s->lock);
    return s->quit ? s->exit_code : 0;
}

const char *edit_library(void)
{
    return rl_library_version;
}
