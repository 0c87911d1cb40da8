/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * text.c: the one sanitizer for text that came from a file or the outside, and the few string
 * helpers that must agree with it on what a character and a column are. It prints nothing.
 * Unicode properties come from utf8proc.
 */
#include "engine/base.h"

#include <utf8proc.h>

enum { MAX_MARKS = 8 }; /* combining marks per character; more is an attack on the renderer */
enum { INVALID = -1 };

/* ---- Characters ----------------------------------------------------------------------------- */

/* Decodes the character at s (not at the end) into *c, INVALID for a byte that starts none.
 * Returns the bytes it takes. */
static size_t char_read(const char *s, utf8proc_int32_t *c)
{
    /* At most four bytes are looked at and the terminator stops earlier. */
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)strnlen(s, 4), c);
    if (n <= 0) {
        *c = INVALID;
        return 1;
    }
    return (size_t)n;
}

static bool is_mark(utf8proc_int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

/* Characters that are drawn as nothing although their category is that of a letter or a mark:
 * fillers, joiners and variation selectors (Default_Ignorable_Code_Point outside category Cf). */
static bool is_ignorable(utf8proc_int32_t c)
{
    static const struct {
        utf8proc_int32_t first, last;
    } ranges[] = {
        {0x034f, 0x034f}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},
        {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xffa0, 0xffa0}, {0xe0000, 0xe0fff},
    };
    for (size_t i = 0; i < COUNT(ranges); i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* True for what must not reach a terminal as it is, although it is valid and no control: it turns
 * the direction of text, is invisible, or has no agreed width. */
static bool is_hidden(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CF: /* bidirectional controls, zero width, BOM, tags */
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CN: /* unassigned */
    case UTF8PROC_CATEGORY_CO: /* private use */
    case UTF8PROC_CATEGORY_CS:
        return true;
    default:
        return is_ignorable(c) || (utf8proc_charwidth(c) == 0 && !is_mark(c));
    }
}

/* ---- Sanitizer ------------------------------------------------------------------------------ */

enum { SHOWN_SIZE = 16 };

/* Writes what stands for the character c (`n` bytes at s) to shown; *marks counts the combining
 * marks since the last base character, MAX_MARKS + 1 when there is none to carry one. Returns
 * bytes, 0 for a mark that is dropped. */
static size_t show_char(char shown[SHOWN_SIZE], const char *s, size_t n, utf8proc_int32_t c,
                        int *marks)
{
    const int no_base = MAX_MARKS + 1;
    int last = *marks;
    *marks = no_base;
    if (c == INVALID) {
        return (size_t)snprintf(shown, SHOWN_SIZE, "\xef\xbf\xbd");
    }
    if (c < 0x20 || c == 0x7f) {
        return (size_t)snprintf(shown, SHOWN_SIZE, "^%c", (char)(c ^ 0x40));
    }
    if (c >= 0x80 && c < 0xa0) {
        return (size_t)snprintf(shown, SHOWN_SIZE, "\\x%02x", (unsigned)c);
    }
    bool mark = is_mark(c);
    if (is_hidden(c) || (mark && last == no_base)) {
        return (size_t)snprintf(shown, SHOWN_SIZE, "<U+%04X>", (unsigned)c);
    }
    *marks = mark ? MIN(last + 1, MAX_MARKS) : 0;
    if (mark && last == MAX_MARKS) {
        return 0;
    }
    memcpy(shown, s, n);
    return n;
}

char *text_safe(char *dst, size_t size, const char *s)
{
    size_t used = 0;
    int marks = MAX_MARKS + 1;
    for (size_t n; *s; s += n) {
        utf8proc_int32_t c;
        char shown[SHOWN_SIZE];
        n = char_read(s, &c);
        size_t k = show_char(shown, s, n, c, &marks);
        /* Once something does not fit, nothing behind it is written either. */
        if (k >= size - MIN(size, used)) {
            break;
        }
        memcpy(dst + used, shown, k);
        used += k;
    }
    if (size) {
        dst[used] = '\0';
    }
    return dst;
}

/* ---- Columns -------------------------------------------------------------------------------- */

/* One character of safe text: bytes, and columns through *w. */
static size_t char_step(const char *s, int *w)
{
    utf8proc_int32_t c;
    if (*s >= ' ' && *s <= '~') { /* nearly all of them */
        *w = 1;
        return 1;
    }
    size_t n = char_read(s, &c);
    *w = c == INVALID ? 1 : utf8proc_charwidth(c);
    return n;
}

int text_width(const char *s)
{
    int width = 0, w;
    for (; *s; width += w) {
        s += char_step(s, &w);
    }
    return width;
}

/* Bytes of s from its start that fit in `columns` columns and `room` bytes; *width columns. */
static size_t fit_head(const char *s, size_t room, int columns, int *width)
{
    size_t used = 0;
    *width = 0;
    while (s[used]) {
        int w;
        size_t n = char_step(s + used, &w);
        if (*width + w > columns || used + n > room) {
            break;
        }
        *width += w;
        used += n;
    }
    return used;
}

size_t text_head(const char *s, int columns)
{
    int width;
    return fit_head(s, SIZE_MAX, columns, &width);
}

int text_fit(char *dst, size_t size, const char *s, int columns, enum text_cut mode)
{
    if (size == 0) {
        return 0;
    }
    size_t n = strlen(s);
    int width = text_width(s);
    if (width <= columns && n < size) {
        memcpy(dst, s, n + 1);
        return width;
    }
    if (columns < 1 || size < 2) {
        dst[0] = '\0';
        return 0;
    }
    size_t room = size - 2; /* the '~' and the terminator */
    if (mode == TEXT_HEAD) {
        size_t k = fit_head(s, room, columns - 1, &width);
        memcpy(dst, s, k);
        memcpy(dst + k, "~", 2);
        return width + 1;
    }
    /* Drop characters in front, with the marks that belonged to them, until the rest fits. */
    while (*s) {
        int w;
        size_t k = char_step(s, &w);
        if (width <= columns - 1 && n <= room && w > 0) {
            break;
        }
        s += k;
        n -= k;
        width -= w;
    }
    dst[0] = '~';
    memcpy(dst + 1, s, n + 1);
    return width + 1;
}

/* ---- Distance ------------------------------------------------------------------------------- */

enum { DISTANCE_MAX = 255 }; /* longer words are no typing mistakes of each other */

/* Damerau-Levenshtein distance with adjacent swaps (optimal string alignment):
 * d[i][j] = min(d[i-1][j] + 1, d[i][j-1] + 1, d[i-1][j-1] + (a[i] != b[j]), d[i-2][j-2] + 1 when
 * the last two are swapped). Three rows are kept. */
int text_distance(const char *a, const char *b, int limit)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > DISTANCE_MAX || m > DISTANCE_MAX) {
        return strcmp(a, b) == 0 ? 0 : limit + 1;
    }
    int rows[3][DISTANCE_MAX + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) {
        last[j] = (int)j;
    }
    for (size_t i = 1; i <= n; i++) {
        row[0] = (int)i;
        int best = row[0];
        for (size_t j = 1; j <= m; j++) {
            int d = MIN(MIN(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d = MIN(d, before[j - 2] + 1);
            }
            row[j] = d;
            best = MIN(best, d);
        }
        if (best > limit + 1) {
            return limit + 1; /* a swap can win back one at most */
        }
        int *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return MIN(last[m], limit + 1);
}

/* ---- Glob ----------------------------------------------------------------------------------- */

/* Matches c against the set behind '[' at p. Returns what stands behind ']', or NULL for a set that
 * is not closed. */
static const char *glob_set(const char *p, utf8proc_int32_t c, bool *hit)
{
    bool negate = *p == '!' || *p == '^';
    p += negate;
    *hit = false;
    /* A ']' that stands first is a member. */
    for (const char *first = p; *p && (*p != ']' || p == first);) {
        utf8proc_int32_t lo, hi;
        p += char_read(p, &lo);
        hi = lo;
        if (p[0] == '-' && p[1] && p[1] != ']') {
            p++;
            p += char_read(p, &hi);
        }
        *hit |= c >= lo && c <= hi;
    }
    *hit ^= negate;
    return *p ? p + 1 : NULL;
}

/* Matches one character c against the pattern at p (not '*', not the end). Returns the pattern
 * behind what matched, NULL if it does not match. */
static const char *glob_one(const char *p, utf8proc_int32_t c)
{
    bool hit;
    if (*p == '?') {
        return p + 1;
    }
    if (*p == '[') {
        const char *behind = glob_set(p + 1, c, &hit);
        if (behind) {
            return hit ? behind : NULL;
        }
        /* Not closed: the bracket stands for itself. */
    }
    utf8proc_int32_t want;
    p += *p == '\\' && p[1];
    p += char_read(p, &want);
    return want == c ? p : NULL;
}

/* Only the last '*' is ever tried again, since it can take over whatever an earlier one would have
 * taken: at most strlen(pattern) * strlen(s) steps. */
bool text_glob(const char *pattern, const char *s)
{
    const char *star = NULL, *again = NULL;
    while (*s) {
        if (*pattern == '*') {
            star = ++pattern;
            again = s;
            continue;
        }
        utf8proc_int32_t c;
        size_t n = char_read(s, &c);
        const char *next = *pattern ? glob_one(pattern, c) : NULL;
        if (next) {
            pattern = next;
            s += n;
        } else if (star) {
            again += char_read(again, &c);
            s = again;
            pattern = star;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* ---- Lists of words ------------------------------------------------------------------------- */

const char *text_next(const char **list, size_t *n)
{
    const char *word = *list;
    if (word) {
        *n = strcspn(word, "|");
        *list = word[*n] ? word + *n + 1 : NULL;
    }
    return word;
}

bool text_listed(const char *list, const char *word)
{
    size_t n, size = strlen(word);
    for (const char *p; (p = text_next(&list, &n));) {
        if (size && n == size && memcmp(p, word, n) == 0) {
            return true;
        }
    }
    return false;
}
