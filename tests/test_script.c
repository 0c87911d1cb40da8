/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_script.c: scripts from memory, what their errors do and which exit codes they end with, and
 * completion of the lines in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tui/front.h"

/* ---- Scripts -------------------------------------------------------------------------------- */

struct ended {
    int rc;
    size_t failed;
    char *out;
    struct err err;
};

/* Runs a script from memory; what it says on stderr goes to /dev/null. */
static struct ended run_script(struct session *s, const char *text, size_t size, bool keep_going)
{
    struct ended o = {0};
    size_t out_size = 0;
    FILE *out = open_memstream(&o.out, &out_size);
    FILE *in = fmemopen((void *)(uintptr_t)text, size, "r");
    FILE *null = fopen("/dev/null", "w");
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    dup2(fileno(null), STDERR_FILENO);
    o.rc = script_stream(s, in, "test.qs", keep_going, out, &o.failed, &o.err);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(null);
    fclose(in);
    fclose(out);
    return o;
}

static void assert_script(const char *text, bool keep_going, int rc, size_t failed, const char *out)
{
    struct session *s = session_new();
    s->batch = true;
    struct ended o = run_script(s, text, strlen(text), keep_going);
    assert_int_equal(o.rc, rc);
    assert_int_equal(o.failed, failed);
    assert_string_equal(o.out, out);
    free(o.out);
    session_free(s);
}

static void script_lines(void **state)
{
    (void)state;
    assert_script("echo one\necho two # comment\n\n   # another\necho 'a # b'\n", false, OK, 0,
                  "one\ntwo\na # b\n");
    assert_script("echo a \\\n  b\r\necho c ; echo d\n", false, OK, 0, "a b\nc\nd\n");
    assert_script("echo 'no newline at the end'", false, OK, 0, "no newline at the end\n");
    assert_script("echo one\nquit\necho two\n", false, OK, 0, "one\n");
}

static void script_errors(void **state)
{
    (void)state;
    /* `layers` needs a model: stops, goes on, or is passed over. */
    assert_script("echo a\nlayers\necho b\n", false, E_STATE, 0, "a\n");
    assert_script("echo a\nlayers\necho b\n", true, OK, 1, "a\nb\n");
    assert_script("echo a\n-layers\necho b\n", false, OK, 0, "a\nb\n");
    assert_script("set on_error continue\nlayers\necho b\n", false, OK, 1, "b\n");
    /* Wrong syntax anywhere: nothing runs. */
    assert_script("echo a\nno-such-command\n", false, E_USAGE, 0, "");
    assert_script("echo a\n-layers --no-such-option\n", true, E_USAGE, 0, "");
    assert_script("echo a\n-pin x --as 'fp32|fp16'\n", true, E_USAGE, 0, ""); /* two words in one */
    assert_script("echo a\necho 'open\n", false, E_USAGE, 0, "");
}

static void script_limits(void **state)
{
    (void)state;
    struct session *s = session_new();
    s->batch = true;
    struct ended o = run_script(s, "echo a\0b\n", 9, false);
    assert_int_equal(o.rc, E_USAGE);
    free(o.out);
    const size_t size = (1 << 20) + 100;
    char *text = mem_alloc(size + 1);
    memset(text, 'x', size);
    memcpy(text, "echo ", 5);
    o = run_script(s, text, size, false);
    assert_int_equal(o.rc, E_LIMIT);
    free(o.out);
    text[1 << 20] = '\0';
    o = run_script(s, text, 1 << 20, false);
    assert_int_equal(o.rc, OK);
    free(o.out);
    free(text);
    session_free(s);
}

static void exit_codes(void **state)
{
    (void)state;
    assert_int_equal(exit_code(OK, true), 0);
    assert_int_equal(exit_code(E_USAGE, false), 2);
    assert_int_equal(exit_code(E_STATE, false), 1);
    assert_int_equal(exit_code(E_STATE, true), 3);
    assert_int_equal(exit_code(E_CHECK, true), 4);
    assert_int_equal(exit_code(E_FORMAT, false), 6);
    assert_int_equal(exit_code(E_UNSUPPORTED, true), 6);
    assert_int_equal(exit_code(E_SHAPE, true), 6);
    assert_int_equal(exit_code(E_IO, true), 7);
    assert_int_equal(exit_code(E_LIMIT, true), 8);
    assert_int_equal(exit_code(E_STOP, true), 130);
}

/* ---- Completion ----------------------------------------------------------------------------- */

static void assert_completes(const struct session *s, const char *line, size_t start,
                             const char *want)
{
    size_t at = 0, n = 0;
    char got[1024] = "";
    char **list = cmd_complete(s, line, strlen(line), &at);
    assert_int_equal(at, start);
    for (char **p = list; p && *p; p++) {
        n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%s", n ? " " : "", *p);
        free(*p);
    }
    free(list);
    assert_string_equal(got, want);
}

static void completion(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_completes(s, "curs", 0, "cursor");
    assert_completes(s, "load ", 5, "fp32 int8 pair");
    assert_completes(s, "echo a ; vie", 9, "view");
    assert_completes(s, "view la", 5, "layer layers");
    assert_completes(s, "sort cos", 5, "cosine");
    assert_completes(s, "sort images k", 12, "kl");
    assert_completes(s, "screen --s", 7, "--size");
    assert_completes(s, "layers --js", 7, "--json --jsonl");
    assert_completes(s, "screen '--s", 7, ""); /* quoted it would be no option */
    assert_completes(s, "pin @", 4, "@marked @pinned");
    assert_completes(s, "no-such-command x", 16, "");
    assert_completes(s, "'curs", 0, "'cursor'");
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(script_lines),  cmocka_unit_test(script_errors),
        cmocka_unit_test(script_limits), cmocka_unit_test(exit_codes),
        cmocka_unit_test(completion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
