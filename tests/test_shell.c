/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_shell.c: what the language keeps for itself: recordings, aliases, bound keys, data sent to
 * files, and the forms of data.
 */
#include "tests/scratch.h"

#include "tui/front.h"
#include "tui/shell.h"

/* Runs a line; what it printed must be `want` (NULL: anything). Returns its code. */
static int run(struct session *s, const char *line, const char *want)
{
    struct err err = {0};
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size), *null = fopen("/dev/null", "we");
    pthread_mutex_lock(&s->lock);
    const int rc = cmd_line(s, line, f, null, &err);
    pthread_mutex_unlock(&s->lock);
    fclose(f);
    fclose(null);
    if (want)
        assert_string_equal(out, want);
    free(out);
    return rc;
}

static void assert_file(const char *path, const char *want)
{
    size_t size = 0;
    uint8_t *data = scratch_read(path, &size);
    char *text = mem_printf("%.*s", (int)size, (const char *)data);
    assert_string_equal(text, want);
    free(text);
    free(data);
}

/* ---- Aliases --------------------------------------------------------------------------------- */

static void aliases(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_int_equal(run(s, "alias hi echo hello", ""), OK);
    assert_int_equal(run(s, "hi 'you all' there", "hello you all there\n"), OK);
    assert_int_equal(run(s, "alias two 'hi ; echo b'", ""), OK);
    assert_int_equal(run(s, "two c ; echo d", "hello\nb c\nd\n"), OK);
    assert_int_equal(run(s, "alias hi", "hi           echo hello\n"), OK);
    assert_int_equal(run(s, "'hi'", ""), E_USAGE); /* a quoted word is no name */
    assert_int_equal(run(s, "alias loop loop", ""), OK);
    assert_int_equal(run(s, "loop", ""), E_LIMIT);
    assert_int_equal(run(s, "alias echo quit", ""), E_USAGE);
    assert_int_equal(run(s, "alias load quit", ""), E_USAGE); /* first of two words */
    assert_int_equal(run(s, "alias ls quit", ""), E_USAGE);   /* short for another one */
    assert_int_equal(run(s, "alias 'a b' quit", ""), E_USAGE);
    assert_int_equal(run(s, "unalias hi", ""), OK);
    assert_int_equal(run(s, "hi", ""), E_USAGE);
    assert_int_equal(run(s, "unalias hi", ""), E_USAGE);
    session_free(s);
}

/* A script is checked before it runs: what an earlier line makes known must pass. */
static void aliases_in_scripts(void **state)
{
    (void)state;
    struct session *s = session_new();
    struct err err = {0};
    assert_int_equal(cmd_check(s, "later x", &err), E_USAGE);
    assert_int_equal(cmd_check(s, "alias later echo", &err), OK);
    assert_int_equal(cmd_check(s, "later x", &err), OK);
    assert_int_equal(run(s, "later x", ""), E_USAGE); /* the check made nothing */
    session_free(s);
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static void bound_keys(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_int_equal(run(s, "bind layers w echo w", ""), OK);
    assert_int_equal(run(s, "bind '*' ^T 'echo a ; echo b'", ""), OK);
    assert_int_equal(run(s, "key w ^T", "w\na\nb\n"), OK);
    assert_int_equal(run(s, "view images ; key w", ""), E_USAGE);
    assert_int_equal(run(s, "key ^T", "a\nb\n"), OK);
    /* One's own key comes before that of the table, and gives it back. */
    assert_int_equal(run(s, "bind images a echo mine", ""), OK);
    assert_int_equal(run(s, "key a", "mine\n"), OK);
    assert_int_equal(run(s, "unbind images a", ""), OK);
    assert_string_equal(key_find(s, "images", "a")->line, "mark --images --all --shown");
    assert_int_equal(run(s, "unbind images a", ""), E_USAGE);
    assert_int_equal(run(s, "bind layers w", "layers   w          echo w\n"), OK);
    assert_int_equal(run(s, "bind layers nokey echo", ""), E_USAGE);
    assert_int_equal(run(s, "bind nowhere w echo", ""), E_USAGE);
    assert_int_equal(run(s, "bind layers w nosuchcommand", ""), E_USAGE);
    assert_int_equal(run(s, "bind layers w '%pin %layer'", ""), OK);
    assert_int_equal(run(s, "bind layers w ':sort '", ""), OK);
    assert_int_equal(s->shell->n_bound, 2);
    session_free(s);
}

static void key_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a",   "Z",  "?",  "\u00e9", "Enter",
                                       "F12", "^A", "Up", "S-Tab"};
    static const char *const bad[] = {"", "ab", "^AB", "F13", "enter", "\x1b", "\x01"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(term_key_known(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(term_key_known(bad[i]));
    for (const struct key *k = keymap; k->view; k++)
        assert_true(term_key_known(k->key));
}

/* ---- Data to files --------------------------------------------------------------------------- */

static void output_to_file(void **state)
{
    (void)state;
    const char *path = scratch("out");
    struct session *s = session_new();
    char *line = mem_printf("output %s", path);
    assert_int_equal(run(s, line, ""), OK);
    assert_file(path, "");
    assert_int_equal(run(s, "echo a ; echo b", ""), OK);
    assert_file(path, "a\nb\n");
    assert_int_equal(run(s, "echo c ; output - ; echo d", "d\n"), OK);
    assert_file(path, "a\nb\nc\n");
    assert_int_equal(run(s, "output -", ""), E_STATE);
    assert_int_equal(run(s, "output /no/such/folder/x", ""), E_IO);
    assert_int_equal(run(s, "echo e", "e\n"), OK);
    /* The second file begins empty. */
    assert_int_equal(run(s, line, ""), OK);
    assert_int_equal(run(s, "echo f", ""), OK);
    struct err err = {0};
    assert_int_equal(shell_finish(s, &err), OK);
    assert_file(path, "f\n");
    session_free(s);
    free(line);
}

/* A command that began while data went to a file must not write there when that has ended. */
static void output_inside_script(void **state)
{
    (void)state;
    const char *path = scratch("out");
    char *line = mem_printf("output %s", path);
    struct session *s = session_new();
    const char *script = scratch_text("x.qs", "echo in\noutput -\necho out\n");
    assert_int_equal(run(s, line, ""), OK);
    free(line);
    line = mem_printf("source %s", script);
    assert_int_equal(run(s, line, "out\n"), OK);
    assert_file(path, "in\n");
    session_free(s);
    free(line);
}

/* ---- Forms ----------------------------------------------------------------------------------- */

static void forms(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_int_equal(run(s, "alias a 'echo \"x\", y'", ""), OK);
    assert_int_equal(run(s, "alias a --csv", NULL), OK); /* an option of the line, not of alias */
    assert_int_equal(run(s, "alias a 'echo \"x\", y'", ""), OK);
    assert_int_equal(run(s, "set output csv ; alias", "name,line\na,\"echo \"\"x\"\", y\"\n"), OK);
    assert_int_equal(
        run(s, "set output jsonl ; alias", "{\"name\":\"a\",\"line\":\"echo \\\"x\\\", y\"}\n"),
        OK);
    assert_int_equal(run(s, "set output json ; alias",
                         "{\"command\":\"alias\",\"schema\":1,\"aliases\":[{\"name\":\"a\","
                         "\"line\":\"echo \\\"x\\\", y\"}]}\n"),
                     OK);
    assert_int_equal(run(s, "set output table", ""), OK);
    /* For one call; the session's form is kept. */
    assert_int_equal(run(s, "jobs --csv", "id,what,state,done,total,rate,eta\n0,run,idle,0,0,,\n"),
                     OK);
    assert_int_equal(run(s, "show --jsonl top", "{\"settings\":{\"top\":\"0\"}}\n"), OK);
    assert_false(s->json);
    assert_int_equal(run(s, "set output xml", ""), E_USAGE);
    session_free(s);
}

static void csv_columns(void **state)
{
    (void)state;
    json_t *rows = json_pack("[{s:i,s:s},{s:n,s:o,s:b}]", "a", 1, "b", "x\ny", "a", "c",
                             json_pack("[i]", 7), "d", 1);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    csv_rows(rows, f);
    fclose(f);
    assert_string_equal(text, "a,b,c,d\n1,\"x\ny\",,\n,,[7],true\n");
    free(text);
    json_decref(rows);
}

/* ---- Recording ------------------------------------------------------------------------------- */

static void records_lines(void **state)
{
    (void)state;
    const char *path = scratch("r.qs");
    struct session *s = session_new();
    struct err err = {0};
    assert_int_equal(run(s, "set x 1", ""), OK);
    assert_int_equal(run(s, "echo ${x} 'a;b' '--not' #c", "1 a;b --not\n"), OK);
    assert_int_equal(run(s, "alias two 'echo a ; echo b'", ""), OK);
    assert_int_equal(run(s, "two", "a\nb\n"), OK);
    run(s, "nonsense", "");
    run(s, "back ; keys", NULL);
    run(s, "assert 1==2", "");
    char *line = mem_printf("record start %s", path);
    assert_int_equal(run(s, line, ""), OK);
    assert_int_equal(run(s, line, ""), E_USAGE); /* the file is there */
    assert_int_equal(run(s, "time echo x", "x\n"), OK);
    assert_int_equal(run(s, "record stop", NULL), OK);
    assert_int_equal(run(s, "record stop", ""), E_STATE);
    assert_file(path, "# Recorded by qscope " QSCOPE_VERSION ".\n"
                      "set x 1\necho 1 'a;b' '--not'\nalias two 'echo a ; echo b'\necho a\n"
                      "echo b\nback\n-assert 1==2\ntime echo x\n");
    /* From now on only. */
    free(line);
    line = mem_printf("record start %s --now --force", path);
    assert_int_equal(run(s, line, ""), OK);
    run(s, "quit 3", "");
    assert_int_equal(shell_finish(s, &err), OK);
    assert_file(path, "# Recorded by qscope " QSCOPE_VERSION ".\n");
    session_free(s);
    free(line);
}

/* What a replay cannot know is told: the height of pages; moves inside the help are left out. */
static void records_screen(void **state)
{
    (void)state;
    struct session *s = session_new();
    char *const *lines;
    s->ui.rows = 30;
    run(s, "cursor pagedown", "");
    s->ui.help = true;
    run(s, "cursor down", "");
    run(s, "back", "");
    run(s, "cursor up", "");
    s->ui.rows = 40;
    run(s, "view log", "");
    assert_int_equal(record_lines(s, &lines), 5);
    static const char *const want[] = {"set rows 30", "cursor pagedown", "cursor up", "set rows 40",
                                       "view log"};
    for (size_t i = 0; i < COUNT(want); i++)
        assert_string_equal(lines[i], want[i]);
    session_free(s);
}

/* Runs in the background that ended early are told with the number of images that were done. */
static void records_cancelled_runs(void **state)
{
    (void)state;
    struct session *s = session_new();
    char *const *lines;
    const struct cmd run_cmd = {.name = "run", .group = "run"};
    const struct record_before before = {false, false};
    s->job.id = 1;
    s->job.state = JOB_RUNNING;
    record_after(s, &run_cmd, "run '@marked'", &before, OK);
    s->job.state = JOB_CANCELLED;
    s->job.done = 7;
    assert_int_equal(record_lines(s, &lines), 1);
    assert_string_equal(lines[0], "run '@marked' --limit 7");
    s->job.id = 2;
    s->job.state = JOB_RUNNING;
    record_after(s, &run_cmd, "run", &before, OK);
    s->job.state = JOB_CANCELLED;
    s->job.done = 0;
    assert_int_equal(record_lines(s, &lines), 2);
    assert_string_equal(lines[1], "# cancelled at once: run");
    /* What is waited for was in the background; the images of a sweep are those seen whole. */
    static const struct job_kind kind = {.what = "sensitivity", .unit = "runs"};
    const struct cmd sweep_cmd = {.name = "sensitivity", .group = "pins"};
    const bool none[1] = {false};
    s->sweep = sweep_new(SWEEP_LOO, &outcomes[0], 1, 0, NULL, none, NULL, 3, mem_alloc(24));
    s->sweep->base.n = 2;
    s->job.id = 3;
    s->job.kind = &kind;
    s->job.state = JOB_RUNNING;
    record_after(s, &sweep_cmd, "sensitivity --exact &", &before, OK);
    s->job.state = JOB_CANCELLED;
    s->job.done = 31;
    s->job.total = 45;
    assert_int_equal(record_lines(s, &lines), 3);
    assert_string_equal(lines[2], "sensitivity --exact --images 2");
    s->sweep->top = 3; /* a race has not shown every trial the same images */
    s->job.id = 4;
    s->job.state = JOB_RUNNING;
    record_after(s, &sweep_cmd, "sensitivity", &before, OK);
    s->job.state = JOB_CANCELLED;
    assert_int_equal(record_lines(s, &lines), 4);
    assert_string_equal(lines[3], "# cancelled after 31 of 45 runs: sensitivity");
    s->job = (struct job){0}; /* there was none */
    session_free(s);
}

/* "-CMD" anywhere in a line: told, passed over. */
static void ignored_errors(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_int_equal(run(s, "echo a ; -layers ; echo b", "a\nb\n"), OK);
    assert_int_equal(run(s, "-nonsense", ""), OK);
    assert_int_equal(run(s, "layers ; echo b", ""), E_STATE);
    struct err err = {0};
    assert_int_equal(cmd_check(s, "-nonsense", &err),
                     E_USAGE); /* a script is checked all the same */
    session_free(s);
}

/* ---- Pins for other tools -------------------------------------------------------------------- */

static void pins_in_other_words(void **state)
{
    (void)state;
    struct session *s = session_new();
    assert_int_equal(
        run(s, "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx", NULL), OK);
    assert_int_equal(run(s, "pin /block4/dw/Conv /head/Gemm", NULL), OK);
    static const char nodes[] = "[\n \"/block4/dw/Conv\",\n \"/block4/dw/Clip\",\n "
                                "\"/head/Gemm\"\n]\n";
    static const struct {
        const char *as, *want;
    } cases[] = {
        {"ort", nodes},
        {"nncf", nodes},
        {"ppq", nodes},
        {"tflite", "[\n \"/block4/dw/Conv_output_0\",\n \"/block4/dw/Clip_output_0\",\n "
                   "\"/head/Gemm_output_0\"\n]\n"},
        {"trt", "--precisionConstraints=obey\n"
                "--layerPrecisions=/block4/dw/Conv:fp32,/block4/dw/Clip:fp32,/head/Gemm:fp32\n"
                "--layerOutputTypes=/block4/dw/Conv:fp32,/block4/dw/Clip:fp32,/head/Gemm:fp32\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *line = mem_printf("export-pins %s --as %s", scratch("pins"), cases[i].as);
        assert_int_equal(run(s, line, NULL), OK);
        assert_file(scratch("pins"), cases[i].want);
        free(line);
    }
    const char *name = s->fp32->nodes[0].name;
    s->fp32->nodes[0].name = "a,b"; /* nothing that the list of options can say */
    assert_int_equal(run(s, "pin @pinned /stem/Conv", NULL), OK);
    char *line = mem_printf("export-pins %s --as trt", scratch("pins"));
    assert_int_equal(run(s, line, NULL), E_UNSUPPORTED);
    free(line);
    s->fp32->nodes[0].name = name;
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aliases),
        cmocka_unit_test(aliases_in_scripts),
        cmocka_unit_test(bound_keys),
        cmocka_unit_test(key_names),
        cmocka_unit_test(output_to_file),
        cmocka_unit_test(output_inside_script),
        cmocka_unit_test(forms),
        cmocka_unit_test(csv_columns),
        cmocka_unit_test(records_lines),
        cmocka_unit_test(records_screen),
        cmocka_unit_test(records_cancelled_runs),
        cmocka_unit_test(ignored_errors),
        cmocka_unit_test(pins_in_other_words),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
