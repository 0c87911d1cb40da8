/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * test_nodes.c: the official ONNX node tests: one small model each, with inputs and the outputs
 * expected. Which cases count, and how close is close, stands in cases.json: a case is run when
 * onnxruntime itself passes it.
 *
 *     test_nodes [DIRECTORY CASES.json]
 *
 * Without arguments the archive is unpacked from QSCOPE_SHARED or ../shared. Prints a line for
 * each case that fails or is refused, then counts; there must be none.
 */
#include "analysis/analysis.h"
#include "formats/formats.h"

#include <jansson.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_TENSORS = 32, EXIT_SKIP = 77 };

struct node_case {
    const char *name;
    double rtol, atol;
    bool inferred; /* types and shapes followed from the operators */
};

enum verdict { PASSED, FAILED, UNSUPPORTED };

/* ---- One case ------------------------------------------------------------------------------- */

static int load_tensors(const char *dir, const char *name, const char *kind, size_t n,
                        struct tensor **out, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s/test_data_set_0/%s_%zu.pb", dir, name, kind, i);
        int rc = tensor_load(path, &out[i], err);
        if (rc) {
            return rc;
        }
    }
    return OK;
}

static void free_tensors(struct tensor **t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tensor_free(t[i]);
        t[i] = NULL;
    }
}

static bool close_enough(double found, double expected, const struct node_case *c)
{
    if (isnan(found) || isnan(expected)) {
        return isnan(found) && isnan(expected);
    }
    return found == expected || fabs(found - expected) <= c->atol + c->rtol * fabs(expected);
}

static int compare(const struct tensor *found, const struct tensor *expected,
                   const struct node_case *c, struct err *err)
{
    char a[128], b[128];
    if (found->dtype != expected->dtype || found->rank != expected->rank ||
        (found->rank > 0 &&
         memcmp(found->dims, expected->dims, (size_t)found->rank * sizeof *found->dims) != 0)) {
        return err_set(err, E_CHECK, "found %s %s, expected %s %s", dtype_name(found->dtype),
                       shape_text(a, sizeof a, found->rank, found->dims),
                       dtype_name(expected->dtype),
                       shape_text(b, sizeof b, expected->rank, expected->dims));
    }
    if (found->dtype == DT_STRING && !tensor_equal(found, expected)) {
        return err_set(err, E_CHECK, "strings differ");
    }
    for (size_t i = 0; i < found->n; i++) {
        const bool real = dtype_is_float(found->dtype);
        const double x = tensor_f64(found, i), y = tensor_f64(expected, i);
        if (real ? !close_enough(x, y, c) : tensor_s64(found, i) != tensor_s64(expected, i)) {
            return err_set(err, E_CHECK, "element %zu is %.9g, expected %.9g", i, x, y);
        }
    }
    return OK;
}

/* Types and shapes that follow from the operators must be those of the tensors. Sizes of inputs
 * that the file leaves open are given. */
static int check_inferred(struct graph *g, struct tensor *const *in, struct tensor *const *out,
                          struct node_case *c, struct err *err)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        memcpy(g->values[g->inputs[i]].dims, in[i]->dims, sizeof in[i]->dims);
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        g->values[g->outputs[i]].dtype = DT_NONE;
        g->values[g->outputs[i]].rank = -1;
    }
    c->inferred = graph_infer(g);
    for (size_t i = 0; i < g->n_outputs && c->inferred; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        char a[128], b[128];
        if (v->dtype != out[i]->dtype || v->rank != out[i]->rank ||
            memcmp(v->dims, out[i]->dims, (size_t)v->rank * sizeof *v->dims) != 0) {
            return err_set(err, E_CHECK, "inferred %s %s, found %s %s", dtype_name(v->dtype),
                           shape_text(a, sizeof a, v->rank, v->dims), dtype_name(out[i]->dtype),
                           shape_text(b, sizeof b, out[i]->rank, out[i]->dims));
        }
    }
    return OK;
}

static int run_case(const char *dir, struct node_case *c, enum numerics numerics,
                    enum kernels kernels, struct err *err)
{
    char path[512];
    struct graph *g = NULL;
    struct plan *p = NULL;
    struct tensor *in[MAX_TENSORS] = {0}, *out[MAX_TENSORS] = {0}, *want[MAX_TENSORS] = {0};
    const struct plan_options options = {.numerics = numerics, .kernels = kernels};
    snprintf(path, sizeof path, "%s/%s/model.onnx", dir, c->name);
    int rc = model_load(path, &g, err);
    rc = rc ? rc : plan_new(g, &options, &p, err);
    if (!rc && (g->n_inputs > MAX_TENSORS || g->n_outputs > MAX_TENSORS)) {
        rc = err_set(err, E_CHECK, "more than %d inputs or outputs", MAX_TENSORS);
    }
    if (rc) {
        goto out;
    }
    rc = load_tensors(dir, c->name, "input", g->n_inputs, in, err);
    rc = rc ? rc : load_tensors(dir, c->name, "output", g->n_outputs, want, err);
    rc = rc ? rc : plan_run(p, (const struct tensor *const *)in, out, NULL, err);
    for (size_t i = 0; !rc && i < g->n_outputs; i++) {
        rc = compare(out[i], want[i], c, err);
        rc = rc ? err_in(err, "output %zu", i) : OK;
    }
    rc = rc ? rc : check_inferred(g, in, out, c, err);
out:
    free_tensors(in, MAX_TENSORS);
    free_tensors(out, MAX_TENSORS);
    free_tensors(want, MAX_TENSORS);
    plan_free(p);
    graph_free(g);
    return rc;
}

static bool is_quantized(const char *ops)
{
    return strstr(ops, "Quant") || strstr(ops, "QLinear") || strstr(ops, "Integer");
}

/* With the fast and with the plain kernels; quantization also as the specification says. */
static enum verdict judge_case(const char *dir, struct node_case *c, const char *ops)
{
    static const struct {
        const char *name;
        enum numerics numerics;
        enum kernels kernels;
    } ways[] = {
        {"ort, fast kernels", NUM_ORT, KERNELS_FAST},
        {"ort, plain kernels", NUM_ORT, KERNELS_PLAIN},
        {"onnx", NUM_ONNX, KERNELS_FAST},
    };
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct err err;
        if (ways[i].numerics == NUM_ONNX && !is_quantized(ops)) {
            continue;
        }
        int rc = run_case(dir, c, ways[i].numerics, ways[i].kernels, &err);
        if (rc) {
            printf("%s %s (%s; %s): %s\n", rc == E_UNSUPPORTED ? "unsupported" : "failed", c->name,
                   ops, ways[i].name, err.text);
            return rc == E_UNSUPPORTED ? UNSUPPORTED : FAILED;
        }
    }
    return PASSED;
}

/* ---- All cases ------------------------------------------------------------------------------ */

/* Reads one entry of cases.json; the operators as "A,B" into ops. false: not a case to run. */
static bool read_case(const json_t *entry, struct node_case *c, char *ops, size_t size)
{
    const char *verdict = json_string_value(json_object_get(entry, "ort"));
    size_t i, at = 0;
    const json_t *op;
    *c = (struct node_case){
        .name = json_string_value(json_object_get(entry, "name")),
        .rtol = json_number_value(json_object_get(entry, "rtol")),
        .atol = json_number_value(json_object_get(entry, "atol")),
    };
    ops[0] = '\0';
    json_array_foreach(json_object_get(entry, "ops"), i, op)
    {
        const char *name = json_string_value(op);
        if (at < size) {
            at += (size_t)snprintf(ops + at, size - at, "%s%s", i ? "," : "", name ? name : "?");
        }
    }
    return c->name && verdict && strcmp(verdict, "pass") == 0;
}

static int run_all(const char *dir, const char *cases_path)
{
    json_error_t error;
    json_t *cases = json_load_file(cases_path, 0, &error);
    if (!json_is_array(cases)) {
        fprintf(stderr, "%s: %s\n", cases_path, cases ? "not a list" : error.text);
        return EXIT_FAILURE;
    }
    int of[3] = {0};
    size_t i, inferred = 0;
    const json_t *entry;
    json_array_foreach(cases, i, entry)
    {
        struct node_case c;
        char ops[256];
        if (read_case(entry, &c, ops, sizeof ops)) {
            of[judge_case(dir, &c, ops)]++;
            inferred += c.inferred;
        }
    }
    json_decref(cases);
    printf("node tests that onnxruntime passes: %d passed, %d failed, %d unsupported\n", of[PASSED],
           of[FAILED], of[UNSUPPORTED]);
    printf("types and shapes inferred: %zu\n", inferred);
    return of[PASSED] > 0 && inferred > 0 && of[FAILED] + of[UNSUPPORTED] == 0 ? EXIT_SUCCESS
                                                                               : EXIT_FAILURE;
}

/* Runs a program and waits; true when it ends with 0. */
static bool run_program(const char *const *argv)
{
    pid_t pid;
    int status;
    return posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        return run_all(argv[1], argv[2]);
    }
    const char *shared = getenv("QSCOPE_SHARED");
    char archive[512], cases[512], dir[64];
    shared = shared ? shared : "../shared";
    snprintf(archive, sizeof archive, "%s/data/onnx_node_tests/onnx_node_tests.tar.gz", shared);
    snprintf(cases, sizeof cases, "%s/data/onnx_node_tests/cases.json", shared);
    if (!file_exists(archive)) {
        printf("skipped: %s is missing\n", archive);
        return EXIT_SKIP;
    }
    snprintf(dir, sizeof dir, P_tmpdir "/qscope_nodes_%ld", (long)getpid());
    if (mkdir(dir, 0700)) {
        perror(dir);
        return EXIT_FAILURE;
    }
    const char *const unpack[] = {"tar", "-xzf", archive, "-C", dir, NULL};
    const char *const clean[] = {"rm", "-rf", dir, NULL};
    const int rc = run_program(unpack) ? run_all(dir, cases) : EXIT_FAILURE;
    run_program(clean);
    return rc;
}
