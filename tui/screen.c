/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * screen.c: the event loop of the full screen. It waits for keys, signals and the running job,
 * turns keys into command lines, and paints. It holds the session's lock except while it waits; it
 * neither draws (view.c) nor knows the terminal (term.c). Pictures are in screen_picture.c.
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tui/graphics.h"
#include "tui/screen.h"
#include "tui/shell.h"

enum {
    TOAST_SECONDS = 5,
    TICK_JOB = 200,        /* ms between paints while a job runs */
    TICK_FIRST = 10,       /* ms between looks whether its first image is done */
    TICK_TOAST = 500,      /* ms, so that it goes in time */
    TICK_ESCAPE = 50,      /* ms that the rest of an escape sequence may take */
    TICK_CAPTURE = 150,    /* ms without a key before the feature map is made */
    TICK_CAPTURE_JOB = 600 /* the same while a run needs the processors */
};

/* ---- Answers -------------------------------------------------------------------------------- */

static void toast(struct session *s, bool error, const char *text)
{
    char line[sizeof(s->ui.toast)];
    snprintf(line, sizeof(line), "%.*s", (int)MIN(strcspn(text, "\n"), sizeof(line) - 1), text);
    text_safe(s->ui.toast, sizeof(s->ui.toast), line);
    s->ui.toast_error = error;
    s->ui.toast_until = time(NULL) + TOAST_SECONDS;
}

static void toast_error(struct session *s, const struct err *e)
{
    char *text = mem_printf("error: %s [%s]", e->text, err_name(e->code));
    toast(s, true, text);
    session_log(s, 'e', text + strlen("error: "));
    free(text);
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The bottom line shows the first line of an answer, the log all of it. */
static void show_answer(struct session *s, const char *out, const char *note, bool typed)
{
    const size_t lines = count_lines(out);
    session_log(s, ' ', out);
    session_log(s, 'n', note);
    if (note[0])
        toast(s, false, note);
    else if (lines == 1)
        toast(s, false, out);
    if (typed && lines > 1 && s->ui.view != VIEW_LOG) {
        struct err err = {0};
        cmd_line(s, "view log --over", stderr, stderr, &err);
        s->ui.log_row = 0;
    }
}

/* Keys that only move would fill the log; all other commands are echoed there. */
static bool worth_logging(const struct session *s, const char *line)
{
    char word[32];
    struct err err;
    const struct cmd *c = NULL;
    snprintf(word, sizeof(word), "%.*s", (int)MIN(strcspn(line, " "), sizeof(word) - 1), line);
    return cmd_find(s, word, &c, &err) != OK || !c->group || strcmp(c->group, "screen") != 0;
}

/* The job ended since the last paint: says how, once. */
static void notice_job(struct screen *sc)
{
    struct session *s = sc->s;
    const bool running = s->job.state == JOB_RUNNING;
    if (sc->job_seen && !running && !s->job.told) {
        struct err err = {0};
        sc->tried = false;
        if (job_wait(s, &err) != OK && err.code != E_STOP) {
            toast_error(s, &err);
        } else {
            char text[512];
            job_words(&s->job, text, sizeof(text));
            session_log(s, 'n', text);
            toast(s, false, text);
        }
        s->job.told = true;
    }
    sc->job_seen = running;
}

/* One that the line has stopped is named behind its answer. */
static void name_stopped(struct session *s, const struct job_kind *kind, int id)
{
    const size_t n = strlen(s->ui.toast);
    if (kind && s->job.id != id)
        snprintf(s->ui.toast + n, sizeof(s->ui.toast) - n, "; %s #%d is stopped", kind->what, id);
}

static void run_line(struct screen *sc, const char *line, bool typed)
{
    struct session *s = sc->s;
    struct err err = {0};
    const struct job_kind *before = s->job.state == JOB_RUNNING ? s->job.kind : NULL;
    const int id = s->job.id;
    char *out = NULL, *note = NULL;
    size_t out_size = 0, note_size = 0;
    FILE *fo = open_memstream(&out, &out_size), *fn = open_memstream(&note, &note_size);
    const bool logged = typed || worth_logging(s, line);
    if (logged) {
        session_log(s, '>', line);
        sc->tried = false; /* what failed may be possible now */
    }
    s->ui.toast[0] = '\0';
    signals_busy(true);
    term_signals(sc->term, true);
    s->shell->keyed = !typed;
    const int rc = cmd_line(s, line, fo, fn, &err);
    s->shell->keyed = false;
    term_signals(sc->term, false);
    signals_busy(false);
    signals_take(SIGINT); /* it was for this command */
    fclose(fo);
    fclose(fn);
    notice_job(sc);
    if (logged || rc == OK)
        show_answer(s, out, note, typed);
    if (rc != OK)
        toast_error(s, &err);
    else
        name_stopped(s, before, id);
    free(out);
    free(note);
}

/* ---- The command line ----------------------------------------------------------------------- */

static void edit_begin(struct screen *sc, bool repl, const char *text)
{
    sc->editing = true;
    sc->before = sc->s->ui;
    free(sc->searched);
    sc->searched = NULL;
    sc->s->ui.toast[0] = '\0';
    sc->repl = repl;
    edit_open(sc->s, sc->repl ? REPL_PROMPT : ":", text);
}

/* The command `repl` was run. */
static void repl_wanted(struct screen *sc)
{
    if (sc->s->ui.repl && !sc->editing && !sc->s->quit)
        edit_begin(sc, true, "");
    sc->s->ui.repl = false;
}

/* Typing goes on in the log view: one line after the other, as in a shell. */
static bool in_repl(const struct screen *sc)
{
    return sc->repl && sc->s->ui.view == VIEW_LOG && !sc->s->quit;
}

/* `pin @3` means the third row of what is on the screen; elsewhere of the last listing, or if there
 * was none, of the layers view. */
static void remember_rows(struct session *s, const char *line)
{
    struct err err = {0};
    const bool rows = s->ui.view == VIEW_LAYERS || !s->n_listed;
    for (const char *at = line; rows && (at = strchr(at, '@')); at++)
        if (isdigit((unsigned char)at[1])) {
            cmd_line(s, "ranks", stderr, stderr, &err); /* refused: there are no rows */
            return;
        }
}

/* Takes the cursor back to where an incremental search began. */
static void search_back(struct screen *sc)
{
    struct ui *ui = &sc->s->ui;
    if (!sc->searched)
        return;
    ui->layer_row = sc->before.layer_row;
    ui->layer = sc->before.layer;
    ui->image_row = sc->before.image_row;
    ui->image = sc->before.image;
    ui->pin_row = sc->before.pin_row;
    ui->log_row = sc->before.log_row;
    ui->help_row = sc->before.help_row;
}

static void edit_cancelled(struct screen *sc)
{
    sc->editing = false;
    free(edit_close());
    search_back(sc);
}

static void edit_done(struct screen *sc)
{
    sc->editing = false;
    char *line = edit_close();
    history_keep(line);
    search_back(sc);
    if (line[strspn(line, " \t")]) {
        remember_rows(sc->s, line);
        run_line(sc, line, true);
    }
    free(line);
    const bool again = in_repl(sc);
    if (sc->s->ui.ask[0]) {
        edit_begin(sc, false, sc->s->ui.ask);
        sc->s->ui.ask[0] = '\0';
    } else if (again) {
        sc->s->ui.log_row = 0;
        edit_begin(sc, true, "");
    }
    repl_wanted(sc);
}

/* While `find` is typed the cursor goes along, by the same command. What is typed is quoted: it is
 * a text to look for, not yet a line to be run. */
static void edit_search(struct screen *sc)
{
    const char *line = edit_line();
    if (strncmp(line, "find ", 5) != 0 || strchr("-'\"", line[5]) ||
        (sc->searched && strcmp(sc->searched, line) == 0))
        return;
    free(sc->searched);
    sc->searched = mem_dup(line);
    struct err err = {0};
    char *word = cmd_quote(line + 5);
    char *command = mem_printf("find %s", word);
    search_back(sc);
    sc->s->shell->depth++; /* only what is typed in the end is recorded */
    cmd_line(sc->s, command, stderr, stderr, &err);
    sc->s->shell->depth--;
    free(command);
    free(word);
}

static void edit_bytes(struct screen *sc, const char *bytes, size_t n)
{
    size_t used = 0;
    switch (edit_feed(bytes, n, &used)) {
    case EDIT_DONE:
        edit_done(sc);
        break;
    case EDIT_CANCELLED:
        edit_cancelled(sc);
        break;
    case EDIT_OPEN:
        edit_search(sc);
        break;
    }
}

/* ^C clears the line; in the log view only where there is none it ends the typing. */
static void edit_interrupted(struct screen *sc)
{
    const bool again = in_repl(sc) && edit_line()[0];
    edit_bytes(sc, "\x03", 1);
    if (again)
        edit_begin(sc, true, "");
}

/* What is being typed, for the views; what can follow is to be released by the caller. */
static struct typing typing_now(const struct session *s, char ***owned)
{
    const bool jumps = !edit_choices() && strncmp(edit_line(), "jump ", 5) == 0;
    *owned = jumps ? jump_choices(s, edit_line() + 5) : NULL;
    return (struct typing){.prompt = edit_prompt(),
                           .line = edit_line(),
                           .point = edit_point(),
                           .choices = jumps ? *owned : edit_choices(),
                           .row = -1};
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static void press(struct screen *sc, const char *name)
{
    struct session *s = sc->s;
    struct err err = {0};
    /* What the help lies on must not change unseen. */
    const struct key *k = key_find(s, s->ui.help ? "*" : views[s->ui.view]->name, name);
    if (!k) {
        char *text = mem_printf("key %s does nothing here; %s", name,
                                s->ui.help ? "q closes the help" : "? shows the keys");
        toast(s, false, text);
        free(text);
        return;
    }
    char *line = key_line(s, k, &err);
    if (!line)
        toast_error(s, &err);
    else if (line[0] == ':')
        edit_begin(sc, false, line + 1);
    else
        run_line(sc, line, false);
    free(line);
    repl_wanted(sc);
}

/* Keys that the log view keeps while a line is typed; false: it is for the line. */
static bool repl_key(struct screen *sc, const char *name)
{
    const bool leaves = strcmp(name, "^O") == 0;
    const bool sideways = strcmp(name, "Left") == 0 || strcmp(name, "Right") == 0;
    const bool scrolls = strcmp(name, "PgUp") == 0 || strcmp(name, "PgDn") == 0 ||
                         (sideways && !edit_line()[0]); /* in an empty line they lead nowhere */
    if (!leaves && !scrolls)
        return false;
    if (leaves)
        edit_cancelled(sc);
    press(sc, name);
    return true;
}

/* What is drawn in that cell says what a click on it does. */
static void click(struct screen *sc, const char *name)
{
    int col = 0, row = 0;
    if (!sc->s->set.mouse || !sc->grid || sc->s->ui.help ||
        sscanf(name, "Click %d %d", &col, &row) != 2)
        return;
    const char *line = grid_line_at(sc->grid, row - 1, col - 1);
    if (line)
        run_line(sc, line, false);
    repl_wanted(sc);
}

static bool of_mouse(const char *name)
{
    return strncmp(name, "Click ", 6) == 0 || strncmp(name, "Wheel", 5) == 0;
}

/* Decodes and handles what was read; `last`: the rest of a sequence did not come in time. */
static void take_keys(struct screen *sc, bool last)
{
    size_t at = 0;
    char name[KEY_NAME_MAX];
    while (at < sc->n_in && !sc->s->quit) {
        size_t used = term_key(sc->in + at, sc->n_in - at, last, name);
        if (used == 0)
            break;
        if (sc->editing && strcmp(name, "^Z") == 0) {
            raise(SIGTSTP);
        } else if (sc->editing && strcmp(name, "^C") == 0) {
            edit_interrupted(sc);
        } else if (sc->editing && in_repl(sc) && repl_key(sc, name)) {
            ;
        } else if (sc->editing && of_mouse(name)) {
            ; /* the list behind the command line stays where it is */
        } else if (sc->editing) {
            if (used == 1 && sc->in[at] == 0x1b && at + 1 < sc->n_in)
                used = 2; /* Alt and a key, for readline */
            edit_bytes(sc, sc->in + at, used);
        } else if (strncmp(name, "Click ", 6) == 0) {
            click(sc, name);
        } else if (name[0]) {
            press(sc, name);
        }
        at += used;
    }
    memmove(sc->in, sc->in + at, sc->n_in - at);
    sc->n_in -= at;
}

static void read_keys(struct screen *sc)
{
    const ssize_t n = read(STDIN_FILENO, sc->in + sc->n_in, sizeof(sc->in) - sc->n_in);
    if (n > 0)
        sc->n_in += (size_t)n;
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        sc->gone = true;
    take_keys(sc, sc->n_in == sizeof(sc->in));
}

static void take_signals(struct screen *sc)
{
    signals_drain();
    if (signals_take(SIGINT)) {
        if (sc->editing)
            edit_interrupted(sc);
        else
            press(sc, "^C");
    }
    if (signals_take(SIGTSTP)) {
        term_suspend(sc->term);
        sc->s->ui.redraw = true;
    }
    if (signals_take(SIGCONT)) {
        term_resume(sc->term);
        sc->s->ui.redraw = true;
    }
    signals_take(SIGWINCH); /* each paint asks for the size */
}

/* ---- Painting and waiting ------------------------------------------------------------------- */

static void paint(struct screen *sc)
{
    struct session *s = sc->s;
    struct err err = {0};
    int rows, cols;
    term_size(sc->term, &rows, &cols);
    if (!sc->grid || sc->grid->rows != rows || sc->grid->cols != cols ||
        sc->grid->ascii != s->set.ascii) {
        grid_free(sc->grid);
        sc->grid = grid_new(rows, cols, s->set.ascii);
        sc->grid->heat = term_heat(sc->term);
        s->ui.redraw = true; /* a terminal may move what it shows when its size changes */
    }
    s->ui.rows = rows;
    s->ui.cols = cols;
    sc->grid->mouse = s->set.mouse;
    sc->grid->pixels =
        s->set.color && graphics_for(s->set.graphics) != GRAPHICS_BLOCKS && !sc->editing;
    term_mouse(sc->term, s->set.mouse);
    if (s->ui.toast[0] && time(NULL) >= s->ui.toast_until)
        s->ui.toast[0] = '\0';
    char **owned = NULL;
    struct typing t = {.row = -1};
    if (sc->editing) {
        t = typing_now(s, &owned);
        s->typing = &t;
    }
    view_draw(s, sc->grid);
    s->typing = NULL;
    for (char **p = owned; p && *p; p++)
        free(*p);
    free(owned);
    const struct shown wanted = pixels_wanted(sc);
    pixels_leave(sc, &wanted);
    term_paint(sc->term, sc->grid, t.row, t.col, s->ui.redraw);
    s->ui.redraw = false;
    if (pixels_show(sc, &wanted, &err) != OK)
        toast_error(s, &err);
    if (s->clip)
        copy_send(s->clip);
    free(s->clip);
    s->clip = NULL;
}

static void picture_now(struct screen *sc, const char *command)
{
    sc->tried = true;
    sc->tried_view = sc->s->ui.view;
    sc->tried_layer = sc->tried_view == VIEW_LAYER ? (size_t)view_current_layer(sc->s) : 0;
    sc->tried_image = (size_t)view_current_image(sc->s);
    run_line(sc, command, false);
}

static int wait_time(const struct screen *sc)
{
    if (sc->n_in > 0)
        return TICK_ESCAPE;
    const bool running = sc->s->job.state == JOB_RUNNING;
    if (picture_wanted(sc))
        return running ? TICK_CAPTURE_JOB : TICK_CAPTURE;
    if (running)
        return TICK_JOB;
    return sc->s->ui.toast[0] ? TICK_TOAST : -1;
}

/* Waits for keys and signals; the first results of a job are shown at once. */
static int wait_event(struct session *s, struct pollfd p[2], int timeout)
{
    bool waiting = s->job.state == JOB_RUNNING && s->job.done == 0 && timeout == TICK_JOB;
    int n = 0, left = timeout;
    do {
        const int slice = waiting && left > TICK_FIRST ? TICK_FIRST : left;
        pthread_mutex_unlock(&s->lock);
        n = poll(p, 2, slice);
        pthread_mutex_lock(&s->lock);
        waiting = waiting && s->job.state == JOB_RUNNING && s->job.done == 0;
        left -= slice;
    } while (n == 0 && waiting && left > 0);
    return n;
}

static void step(struct screen *sc)
{
    struct session *s = sc->s;
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                          {.fd = signals_fd(), .events = POLLIN}};
    notice_job(sc);
    paint(sc);
    const int n = wait_event(s, p, wait_time(sc));
    if (n < 0 && errno != EINTR)
        sc->gone = true;
    if (n > 0 && p[1].revents)
        take_signals(sc);
    if (n > 0 && p[0].revents)
        read_keys(sc);
    if (n == 0 && sc->n_in > 0)
        take_keys(sc, true);
    else if (n == 0 && picture_wanted(sc))
        picture_now(sc, picture_wanted(sc));
}

/* What is pinned is worth more than one session: the lines that bring it back. */
static void print_pins(const struct session *s)
{
    const struct pin_state *p = s->n_undo ? &s->undo[s->at_undo] : NULL;
    if (!p || p->n == 0)
        return;
    printf("pinned when qscope ended; these lines bring it back:\n");
    for (int as = 0; as < N_PRECISIONS; as++) {
        char *line = session_pin_line(s, p, (enum precision)as);
        const size_t room = line ? 4 * strlen(line) + 8 : 0;
        char *safe = mem_alloc(room + 1);
        if (line)
            printf("%s\n", text_safe(safe, room, line));
        free(safe);
        free(line);
    }
}

int screen_run(struct session *s, const char *first, struct err *err)
{
    struct screen sc = {.s = s};
    const int rc = term_open(s->set.color, &sc.term, err);
    if (rc != OK)
        return rc;
    pthread_mutex_lock(&s->lock);
    s->screen = true;
    if (first && first[0] == ':')
        edit_begin(&sc, false, first + 1);
    else if (first)
        run_line(&sc, first, false);
    while (!s->quit && !sc.gone && !signals_ended())
        step(&sc);
    if (sc.editing)
        edit_cancelled(&sc);
    if (sc.shown.how == GRAPHICS_KITTY)
        term_picture_forget(sc.term);
    job_cancel(s);
    job_wait(s, NULL);
    s->screen = false;
    term_close(sc.term);
    if (!signals_ended() && !sc.gone)
        print_pins(s);
    pthread_mutex_unlock(&s->lock);
    grid_free(sc.grid);
    free(sc.searched);
    return OK;
}
