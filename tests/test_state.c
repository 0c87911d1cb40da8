/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_state.c: sessions and baselines as files: what was saved comes back, damaged files do no
 * harm.
 */
#include "tests/scratch.h"

#include "tui/edits.h"
#include "tui/report.h"
#include "tui/shell.h"
#include "tui/state.h"

static void run(struct session *s, const char *line)
{
    struct err err = {0};
    FILE *null = fopen("/dev/null", "we");
    pthread_mutex_lock(&s->lock);
    const int rc = cmd_line(s, line, null, null, &err);
    pthread_mutex_unlock(&s->lock);
    if (rc)
        fail_msg("%s: %s", line, err.text);
    fclose(null);
}

static char *text_of(const char *path)
{
    size_t size = 0;
    uint8_t *data = scratch_read(path, &size);
    char *text = mem_printf("%.*s", (int)size, (const char *)data);
    free(data);
    return text;
}

/* A session with something in every member. */
static struct session *full(void)
{
    struct session *s = session_new();
    run(s, "load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx");
    run(s, "dataset add samples/images --limit 5 --task classify");
    run(s, "preprocess samples/preprocess.json");
    run(s, "match /block4/pw/Conv=/block4/pw/Clip_output_0_QuantizeLinear_Output");
    run(s, "set top 7 ; set word 'a b' ; set on_error continue ; set kernels plain");
    run(s, "run --limit 2 ; whatif --equalize --apply ; whatif /stem/Conv --weights s4 --apply");
    run(s, "run --limit 2 ; whatif /head/Gemm --method mse --codes s16 --apply");
    run(s, "run --limit 2 ; whatif /head/Gemm --correct-bias --apply");
    run(s, "run --limit 2 ; mark --images bar_1* ; mark /head/Gemm /stem/Conv");
    run(s, "pin /block4/dw/Conv --as bf16 ; pin /head/Gemm ; unpin @pinned ; undo 2");
    run(s, "sort cosine:desc ; sort images kl:asc ; toggle flips ; toggle counts");
    run(s, "filter 'sqnr < 90 && op == Conv' ; filter --images 'label < 9'");
    run(s, "view graph ; toggle quantizers ; select color cosine ; select depth 3");
    run(s, "select worst next ; select edge next ; toggle classes ; toggle macs");
    return s;
}

/* The graphs that edits have made, to the bit. */
static void same_models(const struct session *a, const struct session *b)
{
    for (int side = 0; side < 2; side++) {
        const struct graph *x = side ? a->int8 : a->fp32, *y = side ? b->int8 : b->fp32;
        assert_int_equal(x->n_nodes, y->n_nodes);
        assert_int_equal(x->n_values, y->n_values);
        for (size_t v = 0; v < x->n_values; v++) {
            const struct tensor *t = x->values[v].constant, *u = y->values[v].constant;
            assert_string_equal(x->values[v].name, y->values[v].name);
            assert_true(!t == !u && (!t || tensor_equal(t, u)));
        }
    }
}

/* Edits of the history that do not make sense, or do not fit, are told and left out. */
static void bad_edits(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "3",
        "[{}]",
        "[{\"edit\":\"other\",\"at\":\"x\"}]",
        "[{\"edit\":\"weights\",\"at\":\"x\"}]",
        "[{\"edit\":\"weights\",\"at\":\"x\",\"to\":\"x\",\"codes\":\"s8\"}]",
        "[{\"edit\":\"range\",\"at\":\"x\",\"codes\":\"u8\",\"scale\":0,\"zero_point\":0}]",
        "[{\"edit\":\"range\",\"at\":\"x\",\"codes\":\"u8\",\"scale\":1,\"zero_point\":256}]",
        "[{\"edit\":\"range\",\"at\":\"x\",\"codes\":\"u8\",\"scale\":1,\"zero_point\":0}]",
        "[{\"edit\":\"clip\",\"at\":\"/stem/Conv\",\"by_channel\":[1,2]}]",
        "[{\"edit\":\"clip\",\"at\":\"x\",\"by_channel\":[\"a\"]}]",
        "[{\"edit\":\"equalize\",\"at\":\"/stem/Conv\",\"to\":\"/head/Gemm\",\"by_channel\":[1]}]",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err err = {0};
        struct session *s = session_new();
        json_t *o = NULL;
        char *text =
            mem_printf("{\"kind\":\"qscope-session\",\"schema\":1,"
                       "\"fp32\":{\"file\":\"samples/models/fp32.onnx\"},"
                       "\"int8\":{\"file\":\"samples/models/int8_qdq.onnx\"},\"images\":[],"
                       "\"history\":{\"at\":1,\"steps\":[{\"line\":\"l\",\"pins\":[],"
                       "\"edits\":%s}]}}",
                       bad[i]);
        char *told = NULL;
        size_t size = 0;
        FILE *note = open_memstream(&told, &size);
        assert_int_equal(state_read(scratch_text("x.json", text), &o, &err), OK);
        assert_int_equal(state_restore(s, o, note, &err), OK);
        fclose(note);
        if (!strstr(told, "edits of the session"))
            fail_msg("edits %zu are not told: %s", i, told);
        assert_int_equal(session_edits(s), 0);
        free(told);
        free(text);
        json_decref(o);
        session_free(s);
    }
}

static void comes_back(void **state)
{
    (void)state;
    struct err err = {0};
    struct session *a = full(), *b = session_new();
    json_t *o = NULL;
    FILE *null = fopen("/dev/null", "we");
    assert_int_equal(state_save(a, scratch("a.json"), &err), OK);
    assert_int_equal(state_read(scratch("a.json"), &o, &err), OK);
    assert_int_equal(state_restore(b, o, null, &err), OK);
    size_t n = 0, *images = state_run(b, o, &n);
    assert_int_equal(n, 2);
    assert_int_equal(run_start(b, n, images, false, NULL, &err), OK);
    assert_int_equal(state_save(b, scratch("b.json"), &err), OK);
    char *x = text_of(scratch("a.json")), *y = text_of(scratch("b.json"));
    assert_string_equal(x, y);
    assert_int_equal(b->n_undo, 8);
    assert_int_equal(b->at_undo, 5);
    assert_int_equal(session_edits(b), 4);
    assert_int_equal(b->undo[5].as[0], PREC_BF16);
    same_models(a, b);
    free(x);
    free(y);
    json_decref(o);
    fclose(null);
    session_free(a);
    session_free(b);
}

/* What cannot be loaded changes nothing. */
static void missing_models(void **state)
{
    (void)state;
    struct err err = {0};
    struct session *s = session_new();
    json_t *o = NULL;
    FILE *null = fopen("/dev/null", "we");
    run(s, "load fp32 samples/models/fp32.onnx");
    const char *path =
        scratch_text("missing.json",
                     "{\"kind\":\"qscope-session\",\"schema\":1,\"fp32\":{\"file\":\"gone.onnx\"},"
                     "\"settings\":{\"kernels\":\"plain\"},\"images\":[]}");
    assert_int_equal(state_read(path, &o, &err), OK);
    assert_int_equal(state_restore(s, o, null, &err), E_IO);
    assert_non_null(s->fp32);
    assert_int_equal(s->set.kernels, KERNELS_FAST);
    json_decref(o);
    fclose(null);
    session_free(s);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"", E_FORMAT},
        {"[]", E_FORMAT},
        {"{\"kind\":\"other\"}", E_FORMAT},
        {"{\"kind\":\"qscope-session\",\"schema\":2}", E_UNSUPPORTED},
        {"{\"kind\":\"qscope-session\",\"schema\":1,\"images\":{}}", E_FORMAT},
        {"{\"kind\":\"qscope-session\",\"schema\":1,\"fp32\":{}}", E_FORMAT},
        {"{\"kind\":\"qscope-session\",\"kind\":\"qscope-session\",\"schema\":1}", E_FORMAT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err err = {0};
        json_t *o = NULL;
        assert_int_equal(state_read(scratch_text("x.json", cases[i].text), &o, &err),
                         cases[i].code);
    }
}

/* Exchanges a few bytes; the caller frees. */
static char *damage(const char *good, uint32_t *seed, int n)
{
    static const char with[] = "0-9\"[]{},:nt\\x";
    char *bad = mem_dup(good);
    const size_t size = strlen(good);
    for (int k = 0; k < n; k++) {
        *seed = *seed * 1664525u + 1013904223u;
        bad[(*seed >> 8) % size] = with[(*seed >> 4) % (sizeof(with) - 1)];
    }
    return bad;
}

/* Types exchanged one after the other, numbers out of range, bytes damaged: never a fault. */
static void damaged(void **state)
{
    (void)state;
    struct err err = {0};
    struct session *a = full(), *s = session_new();
    FILE *null = fopen("/dev/null", "we");
    assert_int_equal(state_save(a, scratch("a.json"), &err), OK);
    char *good = text_of(scratch("a.json"));
    uint32_t seed = 1;
    int restored = 0;
    for (int i = 0; i < 400; i++) {
        char *bad = damage(good, &seed, 1 + i % 3);
        json_t *o = NULL;
        if (state_read(scratch_text("bad.json", bad), &o, &err) == OK) {
            restored += state_restore(s, o, null, &err) == OK;
            size_t n = 0;
            free(state_run(s, o, &n));
            free(state_summary(o));
        }
        json_decref(o);
        free(bad);
    }
    assert_true(restored > 20);
    free(good);
    fclose(null);
    session_free(a);
    session_free(s);
}

static void damaged_baselines(void **state)
{
    (void)state;
    struct err err = {0};
    struct session *s = full();
    json_t *now = report_new(s, 2);
    char *good = json_dumps(now, JSON_INDENT(1));
    uint32_t seed = 2;
    int compared = 0;
    for (int i = 0; i < 400; i++) {
        char *bad = damage(good, &seed, 1 + i % 3);
        json_t *o = NULL;
        if (baseline_read(scratch_text("bad.json", bad), &o, &err) == OK) {
            json_decref(baseline_compare(o, now, metric_find("sqnr")));
            compared++;
        }
        json_decref(o);
        free(bad);
    }
    assert_true(compared > 20);
    free(good);
    json_decref(now);
    session_free(s);
}

/* The digest is of the contents: another file with the same bytes has the same one. */
static void digests(void **state)
{
    (void)state;
    struct err err = {0};
    struct graph *a = NULL, *b = NULL, *c = NULL;
    size_t size = 0;
    uint8_t *data = scratch_read("samples/models/fp32.onnx", &size);
    uint8_t *longer = mem_alloc(size + 5);
    memcpy(longer, data, size);
    memcpy(longer + size,
           "\x72\x03"
           "abc",
           5); /* a doc_string */
    assert_int_equal(model_load("samples/models/fp32.onnx", &a, &err), OK);
    assert_int_equal(model_load(scratch_bytes("same.onnx", data, size), &b, &err), OK);
    assert_int_equal(model_load(scratch_bytes("other.onnx", longer, size + 5), &c, &err), OK);
    assert_true(digest_equal(graph_digest(a), graph_digest(b)));
    assert_false(digest_equal(graph_digest(a), graph_digest(c)));
    free(data);
    free(longer);
    graph_free(a);
    graph_free(b);
    graph_free(c);
}

int main(void)
{
    setenv("SOURCE_DATE_EPOCH", "0", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),        cmocka_unit_test(missing_models),
        cmocka_unit_test(refused),           cmocka_unit_test(damaged),
        cmocka_unit_test(damaged_baselines), cmocka_unit_test(digests),
        cmocka_unit_test(bad_edits),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
