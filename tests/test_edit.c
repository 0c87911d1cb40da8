/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_edit.c: the line at the bottom of the screen takes any bytes, is left by any way at any time
 * and can be opened again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scratch.h"
#include "tui/front.h"

static uint64_t seed = 1;

static uint32_t next(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

/* What an editor of lines gives a meaning to: history, searches in it, counts, undo, quoting. */
static const char *const parts[] = {
    "\x12",
    "\x13",
    "\x1b[A",
    "\x1b[B",
    "\x1b[C",
    "\x1b[D",
    "\x1b<",
    "\x1b>",
    "\x1bp",
    "\x1bn",
    "\x1f",
    "\x18\x15",
    "\x1b"
    "3",
    "\x1b-",
    "\x16",
    "\x11",
    "\x1d",
    "\x1b\x1d",
    "\x17",
    "\x15",
    "\x19",
    "\x1by",
    "\x0b",
    "\x14",
    "\x1bt",
    "\x1b.",
    "\x1br",
    "\x1bu",
    "\x07",
    "\x18(",
    "\x18)",
    "\x18"
    "e",
    "\t",
    "\t\t",
    "\x7f",
    "\x04",
    "\x01",
    "\x05",
    "echo a",
    "lay",
    "pin 'x y",
    "run ; ",
    "\xc3\xa9",
    "\xe4\xb8\x96",
    "\x1b#",
    "\x1b\\",
    "\x1b*",
    "\x1b?",
    "\x0f",
    "\x1b~",
    "\x18\x18",
    "\x1b ",
    "\x00",
};

static size_t random_bytes(char *dst, size_t room)
{
    const char *part = parts[next(COUNT(parts))];
    size_t n = MIN(strlen(part), room);
    memcpy(dst, part, n);
    if (next(10) == 0) {
        dst[0] = (char)next(256);
        n = 1;
    }
    return n;
}

/* Types until the line is finished; how it ended. */
static enum edit_state type(struct session *s, const char *opened, int most)
{
    enum edit_state state = EDIT_OPEN;
    edit_open(s, ":", opened);
    for (int i = 0; state == EDIT_OPEN; i++) {
        char bytes[16];
        size_t used = 0, n = random_bytes(bytes, sizeof bytes);
        if (i >= most || next(20) == 0) {
            bytes[0] = "\r\x03\x1b\n"[next(4)];
            n = 1;
        }
        for (size_t at = 0; at < n && state == EDIT_OPEN; at += used) {
            state = edit_feed(bytes + at, n - at, &used);
            assert_true(used > 0 && used <= n - at);
            assert_true(state != EDIT_OPEN || edit_point() <= strlen(edit_line()));
        }
    }
    return state;
}

static void test_any_bytes(void **state)
{
    static const char *const opened[] = {"", "find ", "sort ", "export ", "jump "};
    (void)state;
    struct session *s = session_new();
    int done = 0, cancelled_lines = 0;
    s->screen = true;
    for (int i = 0; i < 60000; i++) {
        const bool kept = type(s, opened[next(COUNT(opened))], 30) == EDIT_DONE;
        char *line = edit_close();
        assert_true(kept == (line != NULL));
        if (kept)
            history_keep(line);
        free(line);
        done += kept;
        cancelled_lines += !kept;
    }
    assert_true(done > 1000 && cancelled_lines > 1000);
    session_free(s);
}

/* What is typed after all that is what comes out. */
static void test_plain_line(void **state)
{
    static const char text[] = "layers --top 3\r";
    (void)state;
    struct session *s = session_new();
    size_t used = 0;
    s->screen = true;
    edit_open(s, ":", "");
    assert_int_equal(edit_feed(text, sizeof(text) - 1, &used), EDIT_DONE);
    char *line = edit_close();
    assert_string_equal(line, "layers --top 3");
    free(line);
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_plain_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
