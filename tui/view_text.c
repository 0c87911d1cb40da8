/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view_text.c: figures and names as the views write them: short, and never a bare "nan".
 */
#include <math.h>

#include "tui/view.h"

char *text_number(char *dst, size_t size, double v, int width)
{
    if (isnan(v)) {
        snprintf(dst, size, "n/a");
        return dst;
    }
    if (isinf(v)) {
        snprintf(dst, size, v > 0 ? "inf" : "-inf");
        return dst;
    }
    for (int digits = 4; digits >= 0; digits--) {
        const int n = snprintf(dst, size, "%.*f", digits, v);
        const bool lost = v != 0 && fabs(v) < 0.5 * pow(10, -digits);
        if (n <= width && !lost && (digits <= 2 || fabs(v) < 100))
            return dst;
    }
    snprintf(dst, size, "%.*e", MAX(0, MIN(3, width - 7)), v);
    return dst;
}

/* A level near 0 dB is no small quantity. */
static bool metric_is_level(const struct metric *m)
{
    return strcmp(m->unit, "dB") == 0;
}

char *text_metric(char *dst, size_t size, const struct metric *m, const struct sums *sums,
                  double scale)
{
    const double v = m->value(sums, scale);
    if (sums->n == 0)
        snprintf(dst, size, sums->nonfinite ? "NaN" : "-");
    else if (isnan(v))
        snprintf(dst, size, "n/a");
    else if (isinf(v))
        snprintf(dst, size, v > 0 && m->higher_is_better ? "exact" : v > 0 ? "inf" : "-inf");
    else if (v != 0 &&
             ((fabs(v) < 0.5 * pow(10, -m->digits) && !metric_is_level(m)) || fabs(v) >= 1e6))
        snprintf(dst, size, "%.*e", m->digits > 2, v);
    else
        snprintf(dst, size, "%.*f", m->digits, v);
    return dst;
}

char *text_layer(char *dst, size_t size, const struct session *s, size_t layer,
                 const struct metric *m)
{
    const struct layer_stats *st = &s->study->layers[layer];
    if (m->of == METRIC_CUMULATIVE)
        return text_metric(dst, size, m, &st->all, st->scale);
    if (m->of == METRIC_VERDICT) {
        const char *text = judged_text(s, layer, m);
        return text_safe(dst, size, text ? text : "-");
    }
    const double v = layer_metric(s, layer, m);
    if (isnan(v))
        snprintf(dst, size, "-");
    else if (isinf(v))
        snprintf(dst, size, "exact");
    else
        snprintf(dst, size, "%.*f", m->digits, v);
    return dst;
}

char *text_bytes(char *dst, size_t size, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    for (; bytes >= 999.5 && u + 1 < COUNT(units); u++)
        bytes /= 1000;
    snprintf(dst, size, "%.*f %s", u > 0 && bytes < 99.95, bytes, units[u]);
    return dst;
}

char *text_seconds(char *dst, size_t size, double seconds)
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e8) {
        snprintf(dst, size, "?");
        return dst;
    }
    const long t = lround(seconds);
    if (t >= 3600)
        snprintf(dst, size, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(dst, size, "%ld:%02ld", t / 60, t % 60);
    return dst;
}

char *text_shape(char *dst, size_t size, const struct value *v)
{
    size_t at = 0;
    dst[0] = '\0';
    for (int i = 0; i < v->rank && at < size; i++) {
        char dim[24] = "?";
        if (v->dims[i] >= 0)
            snprintf(dim, sizeof(dim), "%lld", (long long)v->dims[i]);
        at += (size_t)snprintf(dst + at, size - at, "%s%s", i ? "x" : "", dim);
    }
    return dst;
}

char *text_class(char *dst, size_t size, const struct dataset *d, int label)
{
    if (label < 0)
        snprintf(dst, size, "-");
    else if ((size_t)label < d->n_names && d->names[label])
        text_safe(dst, size, d->names[label]);
    else
        snprintf(dst, size, "%d", label);
    return dst;
}

char *text_filter(char *dst, size_t size, const char *filter)
{
    char safe[300];
    snprintf(dst, size, "filter %s", filter[0] ? text_safe(safe, sizeof(safe), filter) : "none");
    return dst;
}
