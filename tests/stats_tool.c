/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * stats_tool.c: the statistics of pairs of tensors that come on stdin, for an oracle in numpy: a
 * line "DTYPE AXIS SCALE ZERO RANK DIM...", then the float32 values of FP32 and the values of INT8
 * (float32, or codes of DTYPE). Prints a line "NAME VALUE" per figure and "done".
 */
#include <stdio.h>
#include <stdlib.h>

#include "analysis/analysis.h"

static void print(const char *prefix, const struct sums *s, double scale)
{
    printf("%sn %llu\n%snonfinite %llu\n", prefix, (unsigned long long)s->n, prefix,
           (unsigned long long)s->nonfinite);
    for (const struct metric *m = metrics; m->name; m++) {
        if (m->of == METRIC_CUMULATIVE) {
            printf("%s%s %.17g\n", prefix, m->name, m->value(s, scale));
        }
    }
}

static bool read_tensor(enum dtype d, int rank, const int64_t *dims, struct tensor **out)
{
    return !tensor_new(d, rank, dims, NULL, out, NULL) &&
           fread((*out)->data, 1, (*out)->size, stdin) == (*out)->size;
}

/* Bins that are not empty by their number. */
static void print_hist(const struct hist *h)
{
    printf("hist %llu\nhist_nonfinite %llu\nlow %.17g\nwidth %.17g\n", (unsigned long long)h->n,
           (unsigned long long)h->nonfinite, h->lo, h->width);
    for (int i = 0; i < HIST_BINS; i++) {
        if (h->bin[i]) {
            printf("bin%d %llu\n", i, (unsigned long long)h->bin[i]);
        }
    }
}

/* Twice the same pair as two images must count twice. */
static int measure(const struct tensor *x, const struct tensor *y, const struct quant *q, int axis)
{
    struct layer_stats s, twice;
    struct quant_noise noise = {0};
    struct err err = {0};
    double rest = 0;
    layer_stats_init(&s);
    layer_stats_init(&twice);
    int rc = layer_stats_add(&s, x, y, q, axis, true, &err);
    rc = rc ? rc : layer_stats_merge(&twice, &s, &err);
    rc = rc ? rc : layer_stats_merge(&twice, &s, &err);
    if (rc) {
        printf("error %s\n", err.text);
    } else {
        print("", &s.all, s.scale);
        print("twice_", &twice.all, twice.scale);
        for (size_t c = 0; c < s.n_channels; c++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "c%zu_", c);
            print(prefix, &s.channel[c], s.scale);
        }
        print_hist(&s.fp32);
    }
    if (!rc && q && !quant_noise_add(x, y, q, y, &noise, &rest, &err)) {
        printf("clip %.17g\nround %.17g\nrest %.17g\n", noise.clip, noise.round, rest);
    }
    layer_stats_fini(&s);
    layer_stats_fini(&twice);
    return rc;
}

int main(void)
{
    int dtype, axis, rank;
    float scale;
    int32_t zero;
    while (scanf("%d %d %f %d %d", &dtype, &axis, &scale, &zero, &rank) == 5 && rank <= MAX_RANK) {
        int64_t dims[MAX_RANK];
        struct tensor *x = NULL, *y = NULL;
        struct quant q = {
            .dtype = (enum dtype)dtype, .axis = -1, .n = 1, .scale = &scale, .zero = &zero};
        for (int d = 0; d < rank; d++) {
            long long v = 0;
            if (scanf("%lld", &v) != 1) {
                return 1;
            }
            dims[d] = v;
        }
        if (getchar() != '\n' || !read_tensor(DT_F32, rank, dims, &x) ||
            !read_tensor((enum dtype)dtype, rank, dims, &y)) {
            return 1;
        }
        measure(x, y, dtype_is_float((enum dtype)dtype) ? NULL : &q, axis);
        puts("done");
        fflush(stdout);
        tensor_free(x);
        tensor_free(y);
    }
    return 0;
}
