/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_text.c: the sanitizer and the string helpers: tables of hostile names, and random bytes
 * against what may reach a terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/base.h"

static void test_safe(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"conv1/weight:0", "conv1/weight:0"},
        {"gr\xc3\xbc\xc3\x9f \xe5\xb1\x82", "gr\xc3\xbc\xc3\x9f \xe5\xb1\x82"},
        {"a\tb\nc\r\b\x7f", "a^Ib^Jc^M^H^?"},
        {"\x1b[31mred", "^[[31mred"},
        {"\x1b]0;title\x07", "^[]0;title^G"},
        {"\xc2\x9b"
         "31m",
         "\\x9b31m"},
        {"\xc2\x80\xc2\x9f", "\\x80\\x9f"},
        {"\x9b"
         "31m",
         "\xef\xbf\xbd"
         "31m"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* > 10FFFF */
        {"evil\xe2\x80\xaegnp.exe", "evil<U+202E>gnp.exe"},
        {"\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9", "<U+202A><U+2066><U+2069>"},
        {"a\xe2\x80\x8b"
         "b\xe2\x80\x8d\xef\xbb\xbf",
         "a<U+200B>b<U+200D><U+FEFF>"},
        {"\xe2\x80\xa8\xe2\x80\xa9", "<U+2028><U+2029>"},
        {"\xc2\xad", "<U+00AD>"},
        {"\xf3\xa0\x80\x81", "<U+E0001>"},
        {"x\xef\xb8\x8f", "x<U+FE0F>"},
        {"\xe3\x85\xa4", "<U+3164>"},
        {"\xee\x80\x80", "<U+E000>"},
        {"e\xcc\x81", "e\xcc\x81"},
        {"\xcc\x81", "<U+0301>"},
        {"\x1b\xcc\x81", "^[<U+0301>"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[128];
        assert_string_equal(text_safe(out, sizeof out, cases[i].in), cases[i].out);
    }
}

static void test_safe_marks(void **state)
{
    (void)state;
    char out[64], *in = mem_alloc(2 + 2 * 10000), *p = in;
    *p++ = 'a';
    for (int i = 0; i < 10000; i++) {
        memcpy(p, "\xcc\x81", 2);
        p += 2;
    }
    assert_int_equal(strlen(text_safe(out, sizeof out, in)), 1 + 8 * 2);
    free(in);
}

static void test_safe_size(void **state)
{
    (void)state;
    char out[8] = "keep";
    text_safe(out, 0, "x");
    assert_string_equal(out, "keep");
    assert_string_equal(text_safe(out, 1, "x"), "");
    /* Never half a character, never half of what stands for one. */
    assert_string_equal(text_safe(out, 4, "ab\xc3\xbc"), "ab");
    assert_string_equal(text_safe(out, 5, "ab\xc3\xbc"), "ab\xc3\xbc");
    assert_string_equal(text_safe(out, 8, "\xe2\x80\xae"), "");
    assert_string_equal(text_safe(out, 8, "\x01\x02\x03\x04"), "^A^B^C");
    /* What did not fit ends the text, even if something shorter follows. */
    assert_string_equal(text_safe(out, 8,
                                  "ab\xe2\x80\xae"
                                  "c"),
                        "ab");
}

/* Whatever goes in, only printable UTF-8 comes out, and it is stable under another pass. */
static void test_safe_random(void **state)
{
    (void)state;
    static const char *const pieces[] = {"\x1b[",    "\xc2\x9b", "\xe2\x80\xae", "\xf0\x9f\x98\x80",
                                         "\xcc\x81", "a",        "\xef\xbb\xbf", "\x9b",
                                         "]0;",      "\x07"};
    uint32_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        char in[64];
        size_t n = 0;
        while (n < 40) {
            seed = seed * 1664525 + 1013904223;
            if (seed >> 31) {
                const char *piece = pieces[(seed >> 8) % COUNT(pieces)];
                n += (size_t)snprintf(in + n, sizeof in - n, "%s", piece);
            } else {
                in[n++] = (char)((seed >> 16) % 255 + 1);
            }
        }
        in[n] = '\0';
        char out[1024], again[sizeof out]; /* a byte becomes no more than 9 */
        text_safe(out, sizeof out, in);
        for (const unsigned char *p = (const unsigned char *)out; *p; p++) {
            assert_true(*p >= 0x20 && *p != 0x7f);
            assert_false(p[0] == 0xc2 && p[1] < 0xa0); /* C1 */
            assert_false(p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae);
        }
        assert_string_equal(text_safe(again, sizeof again, out), out);
    }
}

static void test_columns(void **state)
{
    (void)state;
    assert_int_equal(text_width(""), 0);
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("e\xcc\x81"), 1);
    assert_int_equal(text_width("\xe5\xb1\x82x"), 3);
    static const struct {
        const char *in;
        int columns;
        enum text_cut mode;
        const char *out;
        int used;
    } cases[] = {
        {"layer1", 6, TEXT_HEAD, "layer1", 6},
        {"layer1", 5, TEXT_HEAD, "laye~", 5},
        {"layer1", 5, TEXT_TAIL, "~yer1", 5},
        {"layer1", 1, TEXT_HEAD, "~", 1},
        {"layer1", 1, TEXT_TAIL, "~", 1},
        {"layer1", 0, TEXT_HEAD, "", 0},
        {"layer1", -3, TEXT_TAIL, "", 0},
        {"", 0, TEXT_HEAD, "", 0},
        {"\xe5\xb1\x82\xe5\xb1\x82", 3, TEXT_HEAD, "\xe5\xb1\x82~", 3},
        {"\xe5\xb1\x82\xe5\xb1\x82", 2, TEXT_HEAD, "~", 1}, /* no half of a wide one */
        {"\xe5\xb1\x82\xe5\xb1\x82", 3, TEXT_TAIL, "~\xe5\xb1\x82", 3},
        {"ae\xcc\x81i", 3, TEXT_TAIL, "ae\xcc\x81i", 3},
        {"xxae\xcc\x81i", 2, TEXT_TAIL, "~i", 2}, /* a mark goes with its letter */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[64];
        assert_int_equal(text_fit(out, sizeof out, cases[i].in, cases[i].columns, cases[i].mode),
                         cases[i].used);
        assert_string_equal(out, cases[i].out);
    }
    char small[4];
    assert_int_equal(text_fit(small, sizeof small, "abcdefgh", 8, TEXT_HEAD), 3);
    assert_string_equal(small, "ab~");
    assert_int_equal(text_fit(small, sizeof small, "abcdefgh", 8, TEXT_TAIL), 3);
    assert_string_equal(small, "~gh");
    assert_int_equal(text_fit(small, 1, "abc", 8, TEXT_TAIL), 0);
    assert_string_equal(small, "");
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(text_distance("", "", 3), 0);
    assert_int_equal(text_distance("layers", "layers", 3), 0);
    assert_int_equal(text_distance("layres", "layers", 3), 1);
    assert_int_equal(text_distance("laers", "layers", 3), 1);
    assert_int_equal(text_distance("", "abc", 3), 3);
    assert_int_equal(text_distance("kitten", "sitting", 5), 3);
    assert_int_equal(text_distance("kitten", "sitting", 2), 3);
    assert_int_equal(text_distance("abcdef", "uvwxyz", 2), 3);
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(text_distance(longer, "x", 3), 4);
    assert_int_equal(text_distance(longer, longer, 3), 0);
}

static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *s;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"?", "", false},
        {"?", "\xc3\xbc", true},
        {"??", "\xc3\xbc", false},
        {"conv*", "conv1", true},
        {"conv*", "xconv1", false},
        {"*conv?/w*t", "net/conv1/weight", true},
        {"*a*b*c", "xaybzc", true},
        {"*a*b*c", "xaybz", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[]]", "]", true},
        {"[a-]", "-", true},
        {"[abc", "[abc", true},
        {"[abc", "a", false},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"a\\", "a\\", true},
        {"[\xc3\xa4-\xc3\xbc]", "\xc3\xb6", true},
        {"**", "x", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (text_glob(cases[i].pattern, cases[i].s) != cases[i].match) {
            fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].s);
        }
    }
    /* Where naive matchers take exponential time. */
    char s[4001];
    memset(s, 'a', sizeof s - 1);
    s[sizeof s - 1] = '\0';
    assert_false(text_glob("a*a*a*a*a*a*a*a*a*a*a*a*b", s));
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list, *word;
        bool listed;
    } cases[] = {
        {"a|bc|d", "a", true},     {"a|bc|d", "bc", true},  {"a|bc|d", "d", true},
        {"a|bc|d", "b", false},    {"a|bc|d", "c", false},  {"a|bc|d", "bcd", false},
        {"a|bc|d", "bc|d", false}, {"a|bc|d", "a|", false}, {"a||d", "", false},
        {"", "a", false},          {"", "", false},         {NULL, "a", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (text_listed(cases[i].list, cases[i].word) != cases[i].listed) {
            fail_msg("'%s' in '%s'", cases[i].word, cases[i].list);
        }
    }
    /* A list that ends in '|' has an empty word at its end. */
    static const char *const words[] = {"one", "", "three", ""};
    const char *list = "one||three|";
    size_t n = 0;
    for (size_t i = 0; i < COUNT(words); i++) {
        const char *word = text_next(&list, &n);
        assert_non_null(word);
        assert_int_equal(n, strlen(words[i]));
        assert_memory_equal(word, words[i], n);
    }
    assert_null(text_next(&list, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe),      cmocka_unit_test(test_safe_marks),
        cmocka_unit_test(test_safe_size), cmocka_unit_test(test_safe_random),
        cmocka_unit_test(test_columns),   cmocka_unit_test(test_distance),
        cmocka_unit_test(test_glob),      cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
