/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * term.c: the only file that knows curses. Copies a grid to the terminal and gives the terminal
 * back as it was. Keys are read as bytes and decoded in term_key.c.
 *
 * Chrome uses the 16 colours of the user's theme; only heat maps use fixed colours, and only on
 * terminals with 256 of them or more.
 */
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "tui/canvas.h"
#include "tui/front.h"

/* After our headers: curses makes macros of words such as OK, columns and lines. */
#include <curses.h>
#include <term.h>

enum {
    N_STYLES = ST_INT8 + 1,
    FIRST_HEAT_PAIR = 1 + N_STYLES,
    MOST_PAIRS = 2048,
    LEAST_PAIRS = 64
};

#define MOUSE_ON "\x1b[?1000h\x1b[?1006h"
#define MOUSE_OFF "\x1b[?1006l\x1b[?1000l"

/* A colour pair lent to two heat levels until others need it. */
struct lent {
    uint8_t top, bottom;
    unsigned used; /* frame that showed it last */
};

struct terminal {
    SCREEN *screen;
    struct termios before;
    bool color, heat;
    bool mouse;
    int heat_color[N_HEAT];            /* as the terminal counts its colours */
    uint16_t pair_of[N_HEAT * N_HEAT]; /* index in lent + 1; 0: none */
    int n_lent, most_lent;
    unsigned frame;
    struct lent lent[MOST_PAIRS];
};

/* Foreground of each style in theme colours (-1 = the terminal's own) and attributes, chosen so
 * that nothing is said by colour alone. */
static const struct {
    short fg;
    attr_t attr;
} looks[N_STYLES] = {
    [ST_NORMAL] = {-1, A_NORMAL},
    [ST_DIM] = {-1, A_DIM},
    [ST_BOLD] = {-1, A_BOLD},
    [ST_TITLE] = {-1, A_REVERSE},
    [ST_TAB] = {-1, A_BOLD},
    [ST_HEAD] = {COLOR_CYAN, A_BOLD},
    [ST_CURSOR] = {-1, A_REVERSE},
    [ST_PIN] = {COLOR_MAGENTA, A_BOLD},
    [ST_GOOD] = {COLOR_GREEN, A_NORMAL},
    [ST_WARN] = {COLOR_YELLOW, A_NORMAL},
    [ST_BAD] = {COLOR_RED, A_BOLD},
    [ST_KEY] = {COLOR_CYAN, A_BOLD},
    [ST_BAR] = {COLOR_BLUE, A_NORMAL},
    [ST_FP32] = {COLOR_CYAN, A_NORMAL},
    [ST_INT8] = {COLOR_YELLOW, A_NORMAL},
};

/* The colour itself where the terminal takes any, else its 24 greys or the nearest entry of the
 * 6x6x6 cube. */
static int heat_color(int level, bool direct)
{
    const rgb_t rgb = palette_rgb(level);
    int index = 16;
    for (int shift = 16, weight = 36; shift >= 0; shift -= 8, weight /= 6) {
        const int v = (int)(rgb >> shift & 0xff);
        index += weight * (v < 48 ? 0 : v < 115 ? 1 : (v - 35) / 40);
    }
    return direct ? (int)rgb : level >= PALETTE_GREY ? 232 + level % 32 * 23 / 31 : index;
}

static void start_colors(struct terminal *t, bool wanted)
{
    if (!wanted || !has_colors() || start_color() == ERR)
        return;
    use_default_colors();
    t->color = true;
    for (int i = 0; i < N_STYLES; i++)
        init_pair((short)(i + 1), looks[i].fg, -1);
    t->most_lent = MIN(COLOR_PAIRS - FIRST_HEAT_PAIR, MOST_PAIRS);
    t->heat = COLORS >= 256 && t->most_lent >= LEAST_PAIRS;
    const bool direct = COLORS >= 1 << 24 && tigetflag("RGB") > 0;
    for (int i = 0; i < N_HEAT; i++)
        t->heat_color[i] = heat_color(i, direct);
}

static bool has_string(const char *name)
{
    const char *text = tigetstr(name);
    return text && text != (char *)-1;
}

void term_look(struct term_facts *out, bool open)
{
    struct winsize w = {0};
    int found = 0;
    *out = (struct term_facts){0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0) {
        out->rows = w.ws_row;
        out->cols = w.ws_col;
    }
    if (!open && setupterm(NULL, STDOUT_FILENO, &found) == ERR)
        return;
    out->known = true;
    out->places = has_string("cup") && has_string("clear");
    out->colors = tigetnum("colors");
    if (!open)
        del_curterm(cur_term);
}

/* Asked before curses starts, which would accept a terminal that cannot place the cursor and exits
 * or leaks on one that it does not know. */
static bool can_place(void)
{
    struct term_facts f;
    term_look(&f, false);
    return f.places;
}

const char *term_library(void)
{
    return curses_version();
}

/* Bytes that leave the full screen, for the handler of a crash. */
static void leave_bytes(char *dst, size_t size)
{
    static const char *const caps[] = {"sgr0", "cnorm", "rmkx", "rmcup"};
    size_t at = 0;
    dst[0] = '\0';
    if (has_string("kmous"))
        at = (size_t)snprintf(dst, size, "%s", MOUSE_OFF);
    for (size_t i = 0; i < COUNT(caps); i++) {
        const char *text = tigetstr(caps[i]);
        if (text && text != (char *)-1 && at + strlen(text) < size)
            at += (size_t)snprintf(dst + at, size - at, "%s", text);
    }
}

/* Every key as it is typed, ^C among them: as a signal it would overtake the keys before it. */
static void raw_keys(const struct terminal *t)
{
    struct termios raw = t->before;
    raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR | ISTRIP);
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    def_prog_mode();
}

int term_open(bool color, struct terminal **out, struct err *err)
{
    const char *name = getenv("TERM");
    struct terminal *t = mem_alloc(sizeof(*t));
    char leave[256];
    if (tcgetattr(STDIN_FILENO, &t->before) != 0 || !isatty(STDOUT_FILENO)) {
        free(t);
        return err_set(err, E_UNSUPPORTED, "standard input and output are no terminal");
    }
    t->screen = can_place() ? newterm(NULL, stdout, stdin) : NULL;
    if (!t->screen) {
        free(t);
        return err_set(err, E_UNSUPPORTED, "terminal '%s' is unknown or cannot place the cursor",
                       name ? name : "");
    }
    set_term(t->screen);
    noecho();
    nonl();
    raw_keys(t);
    keypad(stdscr, TRUE);
    typeahead(-1);
    curs_set(0);
    start_colors(t, color);
    leave_bytes(leave, sizeof(leave));
    signals_tty(&t->before, leave);
    *out = t;
    return OK;
}

/* Presses alone, with cells beyond 223: xterm's modes 1000 and 1006, which all that have a mouse
 * know. */
void term_mouse(struct terminal *t, bool on)
{
    if (t->mouse == on || !has_string("kmous"))
        return;
    t->mouse = on;
    putp(on ? MOUSE_ON : MOUSE_OFF);
    fflush(stdout);
}

void term_close(struct terminal *t)
{
    if (!t)
        return;
    term_mouse(t, false);
    signals_tty(NULL, NULL);
    curs_set(1);
    endwin();
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
    delscreen(t->screen);
    free(t);
}

void term_signals(const struct terminal *t, bool on)
{
    struct termios now;
    (void)t;
    if (tcgetattr(STDIN_FILENO, &now) != 0)
        return;
    now.c_lflag = on ? now.c_lflag | ISIG : now.c_lflag & ~(tcflag_t)ISIG;
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

bool term_heat(const struct terminal *t)
{
    return t->heat;
}

void term_size(struct terminal *t, int *rows, int *cols)
{
    struct winsize w;
    (void)t;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 && w.ws_col > 0 &&
        (w.ws_row != LINES || w.ws_col != COLS))
        resize_term(w.ws_row, w.ws_col);
    *rows = MAX(LINES, 1);
    *cols = MAX(COLS, 1);
}

/* The pair of two levels: the one they have, a new one, or the one not seen for longest. */
static int heat_pair(struct terminal *t, int top, int bottom)
{
    uint16_t *mine = &t->pair_of[top * N_HEAT + bottom];
    if (!*mine) {
        int at = t->n_lent;
        if (t->n_lent < t->most_lent)
            t->n_lent++;
        else
            for (int i = at = 0; i < t->n_lent; i++)
                at = t->lent[i].used < t->lent[at].used ? i : at;
        struct lent *l = &t->lent[at];
        t->pair_of[l->top * N_HEAT + l->bottom] = 0;
        *l = (struct lent){.top = (uint8_t)top, .bottom = (uint8_t)bottom};
        *mine = (uint16_t)(at + 1);
        init_extended_pair(FIRST_HEAT_PAIR + at, t->heat_color[top], t->heat_color[bottom]);
    }
    t->lent[*mine - 1].used = t->frame;
    return FIRST_HEAT_PAIR + *mine - 1;
}

static void put_cell(struct terminal *t, int row, int col, const struct cell *c)
{
    wchar_t wide[12];
    cchar_t cc;
    const bool heat = c->style >= ST_HEAT0;
    const int style = heat || c->style >= N_STYLES ? ST_NORMAL : c->style;
    int pair = t->color ? style + 1 : 0;
    if (heat && t->heat)
        pair = heat_pair(t, c->top ? c->top - 1 : c->style - ST_HEAT0, c->style - ST_HEAT0);
    const size_t n = mbstowcs(wide, c->ch, COUNT(wide) - 1);
    if (n == (size_t)-1 || n == 0)
        wcscpy(wide, L"?");
    else
        wide[MIN(n, (size_t)CCHARW_MAX)] = L'\0';
    if (setcchar(&cc, wide, looks[style].attr, 0, &pair) == OK)
        mvadd_wch(row, col, &cc);
}

void term_paint(struct terminal *t, const struct grid *g, int row, int col, bool again)
{
    if (again)
        clearok(curscr, TRUE);
    t->frame++;
    erase();
    for (int r = 0; r < MIN(g->rows, LINES); r++)
        for (int c = 0; c < MIN(g->cols, COLS); c++) {
            const struct cell *cell = &g->cells[(size_t)r * (size_t)g->cols + (size_t)c];
            if (cell->ch[0] != '\0' && (cell->ch[0] != ' ' || cell->style != ST_NORMAL))
                put_cell(t, r, c, cell);
        }
    curs_set(row >= 0);
    if (row >= 0)
        move(MIN(row, LINES - 1), MIN(col, COLS - 1));
    refresh();
}

void term_picture(struct terminal *t, int row, int col, const char *bytes, size_t size)
{
    (void)t;
    printf("\x1b"
           "7\x1b[%d;%dH",
           row + 1, col + 1);
    fwrite(bytes, 1, size, stdout);
    fputs("\x1b"
          "8",
          stdout);
    fflush(stdout);
}

void term_picture_forget(struct terminal *t)
{
    (void)t;
    fputs("\x1b_Ga=d\x1b\\", stdout);
    fflush(stdout);
}

void term_cell(int *w, int *h)
{
    struct winsize s;
    *w = 8;
    *h = 16;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &s) == 0 && s.ws_col > 0 && s.ws_row > 0 &&
        s.ws_xpixel / s.ws_col > 0 && s.ws_ypixel / s.ws_row > 0) {
        *w = s.ws_xpixel / s.ws_col;
        *h = s.ws_ypixel / s.ws_row;
    }
}

void term_suspend(struct terminal *t)
{
    term_mouse(t, false); /* the next paint asks for it again */
    def_prog_mode();
    endwin();
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
    signals_stop();
    term_resume(t);
}

/* Whoever had the terminal meanwhile may have left it in modes of their own. */
void term_resume(struct terminal *t)
{
    t->mouse = false;
    reset_prog_mode();
    clearok(curscr, TRUE);
}
