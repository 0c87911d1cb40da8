/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * culprit.c: which layer ruins an image, and which images a layer ruins: by what putting the layer
 * back to FP32 brings back on that image alone.
 */
#include "analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

static const double least_share = 0.05; /* of the loss: less is nobody's fault */

double culprit_share(const struct sweep *w, const struct trial *t, size_t image)
{
    if (t->error || image >= t->n || image >= w->base.n) {
        return NAN;
    }
    double base = w->base.likeness[image], lost = 1 - base;
    return lost > 1e-9 ? (t->likeness[image] - base) / lost : 0;
}

bool culprit_fixes(const struct sweep *w, const struct trial *t, size_t image)
{
    return w->outcome->counts && !t->error && image < t->n && image < w->base.n &&
           t->terms[image][0] > w->base.terms[image][0];
}

/* Whether a trial is about one layer more in FP32. */
static bool is_single(const struct sweep *w, const struct trial *t)
{
    size_t n = 0;
    for (size_t k = 0; k < w->n_layers; k++) {
        n += t->pinned[k] != w->base.pinned[k];
    }
    return n == 1 && t->layer < w->n_layers && t->pinned[t->layer];
}

struct suspect {
    size_t trial;
    double share;
};

static int suspect_cmp(const void *pa, const void *pb)
{
    const struct suspect *a = pa, *b = pb;
    return a->share != b->share ? (a->share < b->share) - (a->share > b->share)
                                : (a->trial > b->trial) - (a->trial < b->trial);
}

size_t culprits_of_image(const struct sweep *w, size_t image, size_t *trials)
{
    struct suspect *list = mem_alloc((w->n_trials + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < w->n_trials; i++) {
        double share = culprit_share(w, &w->trials[i], image);
        if (is_single(w, &w->trials[i]) && share >= least_share) {
            list[n++] = (struct suspect){.trial = i, .share = share};
        }
    }
    qsort(list, n, sizeof *list, suspect_cmp);
    for (size_t i = 0; i < n; i++) {
        trials[i] = list[i].trial;
    }
    free(list);
    return n;
}
