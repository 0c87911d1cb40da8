/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_tui.c: the front end without a terminal: cells, keys, views; scripts are in test_script.c.
 * Screens of real runs are tested in tests/screens and, through a pseudo-terminal, in
 * tests/walk.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tui/canvas.h"
#include "tui/front.h"
#include "tui/view.h"

/* ---- Grid ----------------------------------------------------------------------------------- */

static char *printed(const struct grid *g)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    grid_print(g, f);
    fclose(f);
    return text;
}

static void assert_grid(const struct grid *g, const char *want)
{
    char *text = printed(g);
    assert_string_equal(text, want);
    free(text);
}

static void grid_clips(void **state)
{
    (void)state;
    struct grid *g = grid_new(2, 5, false);
    assert_int_equal(grid_text(g, 0, 3, -1, ST_NORMAL, "abc"), 2);
    assert_int_equal(grid_text(g, 1, 0, 2, ST_NORMAL, "xyz"), 2);
    assert_int_equal(grid_text(g, 2, 0, -1, ST_NORMAL, "below"), 0);
    assert_int_equal(grid_text(g, -1, 0, -1, ST_NORMAL, "above"), 0);
    assert_int_equal(grid_text(g, 0, 5, -1, ST_NORMAL, "beside"), 0);
    assert_int_equal(grid_text(g, 0, -1, -1, ST_NORMAL, "beside"), 0);
    assert_grid(g, "   ab\nxy\n");
    grid_free(g);
}

static void grid_wide_characters(void **state)
{
    (void)state;
    struct grid *g = grid_new(1, 6, false);
    assert_int_equal(grid_text(g, 0, 0, -1, ST_NORMAL, "a\u4e2d\u6587b"), 6);
    assert_grid(g, "a\u4e2d\u6587b\n");
    /* Half of a wide character is never left: overwriting its right half blanks the left one. */
    grid_text(g, 0, 2, -1, ST_NORMAL, "x");
    assert_grid(g, "a x\u6587b\n");
    grid_text(g, 0, 3, -1, ST_NORMAL, "y");
    assert_grid(g, "a xy b\n");
    /* A wide character that does not fit is left out. */
    assert_int_equal(grid_text(g, 0, 5, -1, ST_NORMAL, "\u4e2d"), 0);
    grid_free(g);
}

static void grid_marks_and_controls(void **state)
{
    (void)state;
    struct grid *g = grid_new(1, 8, false);
    assert_int_equal(grid_text(g, 0, 0, -1, ST_NORMAL, "e\u0301x"), 2);
    assert_grid(g, "e\u0301x\n");
    grid_clear(g);
    assert_int_equal(grid_text(g, 0, 0, -1, ST_NORMAL, "a\x1b\xff\u202e\n"), 5);
    assert_grid(g, "a????\n");
    grid_clear(g);
    char zalgo[200] = "z";
    for (int i = 0; i < 50; i++)
        memcpy(zalgo + 1 + 2 * i, "\u0301", 3);
    assert_int_equal(grid_text(g, 0, 0, -1, ST_NORMAL, zalgo), 1);
    assert_true(strlen(g->cells[0].ch) < sizeof(g->cells[0].ch));
    grid_free(g);
}

static void grid_ascii(void **state)
{
    (void)state;
    struct grid *g = grid_new(1, 8, true);
    grid_text(g, 0, 0, -1, ST_NORMAL, "a\u00e9\u4e2de\u0301");
    assert_grid(g, "a??e\n");
    grid_free(g);
}

static void grid_odd_sizes(void **state)
{
    (void)state;
    for (int rows = -1; rows <= 2; rows++)
        for (int cols = -1; cols <= 2; cols++) {
            struct grid *g = grid_new(rows, cols, false);
            grid_text(g, 0, 0, -1, ST_NORMAL, "\u4e2dab");
            grid_half(g, 0, 0, 31, 0);
            grid_style(g, 0, -5, 500, ST_BAD);
            grid_free(g);
        }
}

/* ---- Canvas --------------------------------------------------------------------------------- */

static rgb_t pixel(const struct image *c, int x, int y)
{
    const uint8_t *px = c->px + ((size_t)y * (size_t)c->w + (size_t)x) * 3;
    return (rgb_t)px[0] << 16 | (rgb_t)px[1] << 8 | px[2];
}

static size_t count_pixels(const struct image *c, rgb_t color)
{
    size_t n = 0;
    for (int y = 0; y < c->h; y++)
        for (int x = 0; x < c->w; x++)
            n += pixel(c, x, y) == color;
    return n;
}

static void canvas_draws_and_clips(void **state)
{
    (void)state;
    struct image c;
    struct err err;
    assert_int_equal(canvas_new(40, 20, &c, &err), OK);
    canvas_fill(&c, -5, -5, 7, 8, 0x102030);
    assert_int_equal(count_pixels(&c, 0x102030), 2 * 3);
    canvas_line(&c, 0, 19, 39, 19, 0xff0000);
    assert_int_equal(count_pixels(&c, 0xff0000), 40);
    canvas_line(&c, 50, -10, 10, 40, 0x00ff00); /* partly outside */
    canvas_dot(&c, 20, 10, 1, 0x0000ff);
    assert_int_equal(count_pixels(&c, 0x0000ff), 5);
    canvas_text(&c, 35, 15, 3, 0, "W\xff");
    image_fini(&c);
    assert_int_not_equal(canvas_new(0, 5, &c, &err), OK);
}

static void canvas_letters(void **state)
{
    (void)state;
    struct image c;
    struct err err;
    assert_int_equal(canvas_new(12, 7, &c, &err), OK);
    canvas_text(&c, 0, 0, 1, 0, "L");
    for (int y = 0; y < 6; y++)
        assert_int_equal(pixel(&c, 0, y), 0);
    assert_int_equal(count_pixels(&c, 0), 6 + FONT_W);
    assert_int_equal(canvas_text_width("ab", 2), 2 * 2 * (FONT_W + 1));
    /* Every letter but the blank is seen, and no two look the same. */
    for (int a = 1; a < 95; a++)
        for (int b = 0; b < a; b++)
            assert_true(memcmp(font_glyphs[a], font_glyphs[b], FONT_H) != 0);
    image_fini(&c);
}

static void palettes_have_ends(void **state)
{
    (void)state;
    assert_int_equal(palette_rgb(PALETTE_CIVIDIS), 0x00224e);
    assert_int_equal(palette_rgb(PALETTE_CIVIDIS + 31), 0xfee838);
    assert_int_equal(palette_rgb(PALETTE_SIGNED), 0x2166ac);
    assert_int_equal(palette_rgb(PALETTE_SIGNED + 31), 0xb35806);
    for (int i = 1; i < 32; i++)
        assert_true(palette_rgb(PALETTE_GREY + i) > palette_rgb(PALETTE_GREY + i - 1));
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static void assert_key(const char *bytes, size_t n, bool last, size_t used, const char *name)
{
    char got[KEY_NAME_MAX];
    assert_int_equal(term_key(bytes, n, last, got), used);
    assert_string_equal(got, name);
}

static void keys_decode(void **state)
{
    (void)state;
    assert_key("j", 1, false, 1, "j");
    assert_key("\r", 1, false, 1, "Enter");
    assert_key(" ", 1, false, 1, "Space");
    assert_key("\t", 1, false, 1, "Tab");
    assert_key("\x12", 1, false, 1, "^R");
    assert_key("\x7f", 1, false, 1, "Backspace");
    assert_key("\x1b[A", 3, false, 3, "Up");
    assert_key("\x1bOB", 3, false, 3, "Down");
    assert_key("\x1b[1;5C", 6, false, 6, "Right");
    assert_key("\x1b[5~x", 5, false, 4, "PgUp");
    assert_key("\x1b[Z", 3, false, 3, "S-Tab");
    assert_key("\x1b[[A", 4, false, 4, "");
    assert_key("\x1b[999;3q", 8, false, 8, "");
    assert_key("\u00e9", 2, false, 2, "\u00e9");
    assert_key("", 0, true, 0, "");
}

static void keys_of_the_mouse(void **state)
{
    (void)state;
    assert_key("\x1b[<0;12;7M", 10, false, 10, "Click 12 7");
    assert_key("\x1b[<0;12;7mx", 11, false, 10, ""); /* let go */
    assert_key("\x1b[<2;12;7M", 10, false, 10, "");  /* another button */
    assert_key("\x1b[<64;1;1M", 10, false, 10, "WheelUp");
    assert_key("\x1b[<65;1;1M", 10, false, 10, "WheelDown");
    assert_key("\x1b[<0;9999;9999M", 15, false, 15, "Click 9999 9999");
    assert_key("\x1b[<0;10000;1M", 13, false, 13, "");
    assert_key("\x1b[<0;0;1M", 9, false, 9, "");
    assert_key("\x1b[<0;5M", 7, false, 7, "");
    assert_key("\x1b[<0;5;5;5M", 11, false, 11, "");
    assert_key("\x1b[<99999999999;5;5M", 19, false, 19, "");
    assert_key("\x1b[<0;5;", 7, false, 0, "");
    assert_key("\x1b[<0;5;", 7, true, 7, "");
}

static void keys_unfinished(void **state)
{
    (void)state;
    assert_key("\x1b", 1, false, 0, "");
    assert_key("\x1b", 1, true, 1, "Esc");
    assert_key("\x1bx", 2, false, 1, "Esc");
    assert_key("\x1b[", 2, false, 0, "");
    assert_key("\x1b[12", 4, true, 4, "");
    assert_key("\xc3", 1, false, 0, "");
    assert_key("\xc3", 1, true, 1, "");
    assert_key("\xff", 1, false, 1, "");
}

/* Any bytes are used up, and no name overflows or holds a control character. */
static void keys_random(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char bytes[16], name[KEY_NAME_MAX];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1103515245u + 12345u;
            bytes[i] = (seed >> 28) < 5 ? "\x1b[<;1"[seed >> 28] : (char)(seed >> 16);
        }
        for (size_t at = 0; at < sizeof(bytes);) {
            const size_t used = term_key(bytes + at, sizeof(bytes) - at, true, name);
            assert_in_range(used, 1, sizeof(bytes) - at);
            assert_true(strlen(name) < sizeof(name));
            for (const char *p = name; *p; p++)
                assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
            at += used;
        }
    }
}

/* ---- Key table ------------------------------------------------------------------------------ */

static void note_command(void *ctx, const struct cmd *c)
{
    assert_non_null(c->help);
    assert_non_null(c->group);
    assert_non_null(c->exec);
    assert_non_null(c->example);
    ++*(size_t *)ctx;
}

static void commands_are_documented(void **state)
{
    (void)state;
    size_t n = 0;
    cmd_each(note_command, &n);
    assert_true(n > 30);
}

/* Every key is a line of the language: with names in its places it passes the check. */
static void keymap_is_language(void **state)
{
    (void)state;
    struct session *s = session_new();
    s->batch = true;
    for (const struct key *k = keymap; k->view; k++) {
        if (k->line[0] == ':' || strcmp(k->line, "%record") == 0)
            continue;
        struct err err = {0};
        char line[256];
        size_t n = 0;
        for (const char *p = k->line; *p; p++) {
            if (strncmp(p, "%pin", 4) == 0 || strncmp(p, "%mark", 5) == 0) {
                continue; /* the word after '%' is the verb itself */
            }
            if (strncmp(p, "%precision", 10) == 0) { /* one of its words */
                n += (size_t)snprintf(line + n, sizeof line - n, "%s", precisions[0].name);
                p += 9;
                continue;
            }
            line[n++] = *p == '%' ? 'x' : *p;
        }
        line[n] = '\0';
        if (cmd_check(s, line, &err) != OK)
            fail_msg("key %s of %s: %s", k->key, k->view, err.text);
    }
    session_free(s);
}

static void keymap_is_complete(void **state)
{
    (void)state;
    struct session *s = session_new();
    static const char *const everywhere[] = {
        "Up",  "Down", "j", "k",   "PgUp", "PgDn", "^D",  "^U",    "g", "G", "Home",
        "End", "q",    "Q", "Esc", "1",    "2",    "3",   "4",     "5", ":", "/",
        "n",   "N",    "?", "^L",  "^C",   "u",    "Tab", "S-Tab", "R", "E", "^R"};
    for (int v = 0; v < N_VIEWS; v++)
        for (size_t i = 0; i < COUNT(everywhere); i++)
            assert_non_null(key_find(s, views[v]->name, everywhere[i]));
    for (const struct key *a = keymap; a->view; a++) {
        bool known = strcmp(a->view, "*") == 0;
        for (int v = 0; v < N_VIEWS; v++)
            known |= strcmp(a->view, views[v]->name) == 0;
        assert_true(known);
        assert_true(!a->footer == !a->hint);
        for (const struct key *b = a + 1; b->view; b++)
            assert_false(strcmp(a->view, b->view) == 0 && strcmp(a->key, b->key) == 0);
    }
    session_free(s);
}

static void keymap_places(void **state)
{
    (void)state;
    struct session *s = session_new();
    struct err err = {0};
    assert_null(key_line(s, key_find(s, "layers", "p"), &err));
    assert_int_equal(err.code, E_STATE);
    char *line = key_line(s, key_find(s, "layers", "j"), &err);
    assert_string_equal(line, "cursor down");
    free(line);
    s->data.samples = mem_alloc(sizeof(*s->data.samples));
    s->data.samples[0] = (struct sample){
        .path = mem_dup("x"), .name = mem_dup("a b's.png"), .label = -1, .marked = true};
    s->data.n = s->data.cap = 1;
    s->ui.view = VIEW_IMAGES;
    line = key_line(s, key_find(s, "images", "Space"), &err);
    assert_string_equal(line, "unmark --images 'a b'\\''s.png' ; cursor down");
    free(line);
    session_free(s);
}

/* ---- Views without a model ------------------------------------------------------------------ */

static void views_draw_at_any_size(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1},   {1, 200}, {200, 1},  {9, 39},   {10, 40},
                                   {24, 80}, {24, 81}, {48, 160}, {100, 300}};
    struct session *s = session_new();
    for (int view = 0; view < N_VIEWS; view++)
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (int help = 0; help < 2; help++) {
                struct grid *g = grid_new(sizes[i][0], sizes[i][1], i % 2);
                s->ui.view = (enum view_id)view;
                s->ui.help = help;
                snprintf(s->ui.toast, sizeof(s->ui.toast), "%s", help ? "a toast" : "");
                view_draw(s, g);
                grid_free(g);
            }
    session_free(s);
}

/* The line being typed is seen in every view and size, with the cursor inside; in the log view the
 * help of the command stands beside it. */
static void typed_lines_at_any_size(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {9, 39}, {10, 40}, {24, 80}, {48, 160}, {100, 300}};
    char words[][12] = {"--max-drop", "--max-pins", "--metric"};
    char *choices[] = {words[0], words[1], words[2], NULL};
    char *line = mem_alloc(1000);
    memset(line, 'x', 999);
    memcpy(line, "search --m", 10);
    struct session *s = session_new();
    for (int view = 0; view < N_VIEWS; view++)
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (int all = 0; all < 2; all++) {
                struct grid *g = grid_new(sizes[i][0], sizes[i][1], i % 2);
                struct typing t = {.prompt = ":", .line = line, .row = -1, .choices = choices};
                t.point = all ? 999 : 10;
                s->ui.view = (enum view_id)view;
                s->typing = &t;
                view_draw(s, g);
                s->typing = NULL;
                assert_true(t.row < g->rows && t.col < g->cols && t.col >= 0);
                assert_true(g->rows < 10 || t.row > 0);
                char *text = printed(g);
                if (g->rows >= 24 && !all)
                    assert_non_null(strstr(text, "stop when at most so much worse"));
                if (g->cols >= 160 && view == VIEW_LOG && !all)
                    assert_non_null(strstr(text, "find few layers to pin"));
                free(text);
                grid_free(g);
            }
    free(line);
    session_free(s);
}

static void empty_screen_says_what_to_type(void **state)
{
    (void)state;
    struct session *s = session_new();
    struct grid *g = grid_new(24, 80, true);
    view_draw(s, g);
    char *text = printed(g);
    assert_non_null(strstr(text, "load pair"));
    assert_non_null(strstr(text, "q back"));
    free(text);
    grid_free(g);
    session_free(s);
}

/* ---- Costs ----------------------------------------------------------------------------------- */

/* Layers share out the time of a pass; pins forget it. */
static void layer_times(void **state)
{
    (void)state;
    struct err err = {0};
    struct session *s = session_new();
    FILE *null = fopen("/dev/null", "we");
    const char *const lines[] = {"load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx",
                                 "select color cosine", "cost --measure --runs 3",
                                 "select color time"};
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < COUNT(lines); i++)
        assert_int_equal(cmd_line(s, lines[i], null, null, &err), OK);
    assert_int_equal(s->times.n, s->match.n_layers);
    assert_int_equal(s->ui.graph_by, GRAPH_TIME);
    for (int side = 0; side < 2; side++) {
        const double *ms = s->times.ms[side], whole = ms[s->times.n];
        double sum = 0;
        assert_true(whole > 0);
        for (size_t i = 0; i < s->times.n; i++) {
            assert_true(ms[i] > 0 && ms[i] < whole);
            sum += ms[i];
        }
        assert_true(sum > whole / 10 && sum < 3 * whole); /* medians of their own */
    }
    assert_int_equal(cmd_line(s, "select color next", null, null, &err), OK);
    assert_ptr_equal(s->ui.graph_color, &metrics[0]);
    assert_int_equal(cmd_line(s, "select color previous ; select color previous", null, null, &err),
                     OK);
    assert_int_equal(s->ui.graph_by, GRAPH_MACS);
    assert_int_equal(cmd_line(s, "pin /block4/dw/Conv", null, null, &err), OK);
    assert_int_equal(s->times.n, 0);
    assert_int_equal(cmd_line(s, "select color time", null, null, &err), E_STATE);
    pthread_mutex_unlock(&s->lock);
    fclose(null);
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grid_clips),
        cmocka_unit_test(grid_wide_characters),
        cmocka_unit_test(grid_marks_and_controls),
        cmocka_unit_test(grid_ascii),
        cmocka_unit_test(grid_odd_sizes),
        cmocka_unit_test(canvas_draws_and_clips),
        cmocka_unit_test(canvas_letters),
        cmocka_unit_test(palettes_have_ends),
        cmocka_unit_test(keys_decode),
        cmocka_unit_test(keys_of_the_mouse),
        cmocka_unit_test(keys_unfinished),
        cmocka_unit_test(keys_random),
        cmocka_unit_test(commands_are_documented),
        cmocka_unit_test(keymap_is_language),
        cmocka_unit_test(keymap_is_complete),
        cmocka_unit_test(keymap_places),
        cmocka_unit_test(views_draw_at_any_size),
        cmocka_unit_test(typed_lines_at_any_size),
        cmocka_unit_test(empty_screen_says_what_to_type),
        cmocka_unit_test(layer_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
