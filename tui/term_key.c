/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * term_key.c: bytes of a terminal to names of keys. Pure, so that any bytes can be tried on it. It
 * knows the sequences that xterm, tmux, screen, the Linux console and VT terminals agree on.
 */
#include <ctype.h>

#include "tui/front.h"

/* What follows ESC [ or ESC O. `arg` is the number before '~'. */
static const struct {
    char final;
    int arg;
    const char *name;
} sequences[] = {
    {'A', 0, "Up"},   {'B', 0, "Down"},  {'C', 0, "Right"}, {'D', 0, "Left"},   {'H', 0, "Home"},
    {'F', 0, "End"},  {'Z', 0, "S-Tab"}, {'M', 0, "Enter"}, {'P', 0, "F1"},     {'Q', 0, "F2"},
    {'R', 0, "F3"},   {'S', 0, "F4"},    {'~', 1, "Home"},  {'~', 2, "Insert"}, {'~', 3, "Delete"},
    {'~', 4, "End"},  {'~', 5, "PgUp"},  {'~', 6, "PgDn"},  {'~', 7, "Home"},   {'~', 8, "End"},
    {'~', 11, "F1"},  {'~', 12, "F2"},   {'~', 13, "F3"},   {'~', 14, "F4"},    {'~', 15, "F5"},
    {'~', 17, "F6"},  {'~', 18, "F7"},   {'~', 19, "F8"},   {'~', 20, "F9"},    {'~', 21, "F10"},
    {'~', 23, "F11"}, {'~', 24, "F12"},
};

static void name_set(char name[KEY_NAME_MAX], const char *text)
{
    snprintf(name, KEY_NAME_MAX, "%s", text);
}

static void name_sequence(char name[KEY_NAME_MAX], char final, int arg)
{
    for (size_t i = 0; i < COUNT(sequences); i++) {
        const int want = sequences[i].final == '~' ? arg : 0;
        if (sequences[i].final == final && sequences[i].arg == want) {
            name_set(name, sequences[i].name);
            return;
        }
    }
}

/* ESC [ < button ; column ; row M, or m when it is let go: "Click 12 7", counted from 1, or the
 * wheel. Other buttons, releases and cells that no terminal has name no key. */
static size_t decode_mouse(const char *b, size_t n, char name[KEY_NAME_MAX])
{
    enum { CELL_MAX = 9999 };
    int field[3] = {0}, at = 0;
    size_t i = 3;
    for (; i < n && (isdigit((unsigned char)b[i]) || b[i] == ';'); i++) {
        if (b[i] == ';')
            at = MIN(at + 1, 3);
        else if (at < 3 && field[at] <= CELL_MAX)
            field[at] = field[at] * 10 + (b[i] - '0');
    }
    if (i == n)
        return 0;
    const bool cell =
        at == 2 && field[1] >= 1 && field[2] >= 1 && MAX(field[1], field[2]) <= CELL_MAX;
    if (b[i] == 'M' && cell && field[0] == 0)
        snprintf(name, KEY_NAME_MAX, "Click %d %d", field[1] % (CELL_MAX + 1),
                 field[2] % (CELL_MAX + 1));
    else if (b[i] == 'M' && cell && (field[0] == 64 || field[0] == 65))
        name_set(name, field[0] == 64 ? "WheelUp" : "WheelDown");
    return i + 1;
}

/* ESC [ parameters final, and the Linux console's ESC [ [ A. */
static size_t decode_csi(const char *b, size_t n, char name[KEY_NAME_MAX])
{
    size_t i = 2;
    int arg = 0;
    bool first = true;
    if (n > 2 && b[2] == '[')
        return n > 3 ? 4 : 0;
    if (n > 2 && b[2] == '<')
        return decode_mouse(b, n, name);
    for (; i < n && (unsigned char)b[i] >= 0x20 && (unsigned char)b[i] < 0x40; i++) {
        if (b[i] < '0' || b[i] > '9')
            first = false;
        else if (first && arg < 1000)
            arg = arg * 10 + (b[i] - '0');
    }
    if (i == n)
        return 0;
    name_sequence(name, b[i], arg);
    return i + 1;
}

static size_t decode_escape(const char *b, size_t n, bool last, char name[KEY_NAME_MAX])
{
    size_t used = 0;
    if (n >= 2 && b[1] == '[')
        used = decode_csi(b, n, name);
    else if (n >= 3 && b[1] == 'O') {
        name_sequence(name, b[2], 0);
        used = 3;
    } else if (n >= 2 && b[1] != 'O') {
        name_set(name, "Esc"); /* Esc, then another key: not a sequence */
        used = 1;
    }
    if (used == 0 && last) {
        if (n == 1)
            name_set(name, "Esc");
        used = n; /* a sequence that was broken off */
    }
    return used;
}

/* A stray or broken byte names no key and is dropped alone. */
static size_t decode_utf8(const char *b, size_t n, bool last, char name[KEY_NAME_MAX])
{
    const unsigned char c = (unsigned char)b[0];
    const size_t want = c > 0xf4 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    char raw[8] = "";
    for (size_t i = 1; i < want; i++) {
        if (i == n)
            return last ? n : 0;
        if (((unsigned char)b[i] & 0xc0) != 0x80)
            return 1;
    }
    if (want > 1) {
        memcpy(raw, b, want);
        text_safe(name, KEY_NAME_MAX, raw);
    }
    return want;
}

size_t term_key(const char *bytes, size_t n, bool last, char name[KEY_NAME_MAX])
{
    name[0] = '\0';
    if (n == 0)
        return 0;
    const unsigned char c = (unsigned char)bytes[0];
    if (c == 0x1b)
        return decode_escape(bytes, n, last, name);
    if (c >= 0x80)
        return decode_utf8(bytes, n, last, name);
    if (c == '\r' || c == '\n')
        name_set(name, "Enter");
    else if (c == '\t')
        name_set(name, "Tab");
    else if (c == ' ')
        name_set(name, "Space");
    else if (c == 0x7f || c == 0x08)
        name_set(name, "Backspace");
    else if (c < 0x20)
        snprintf(name, KEY_NAME_MAX, "^%c", c + '@');
    else
        snprintf(name, KEY_NAME_MAX, "%c", c);
    return 1;
}

bool term_key_known(const char *name)
{
    static const char *const words[] = {"Enter",     "Tab",     "Space",    "Esc",
                                        "Backspace", "WheelUp", "WheelDown"};
    char decoded[KEY_NAME_MAX];
    for (size_t i = 0; i < COUNT(words); i++)
        if (strcmp(words[i], name) == 0)
            return true;
    for (size_t i = 0; i < COUNT(sequences); i++)
        if (strcmp(sequences[i].name, name) == 0)
            return true;
    if (name[0] == '^' && name[1] && !name[2])
        return name[1] >= 'A' && name[1] <= '_';
    /* A character is its own name. */
    const size_t n = strlen(name);
    return n > 0 && term_key(name, n, true, decoded) == n && strcmp(decoded, name) == 0;
}
