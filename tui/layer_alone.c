/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * layer_alone.c: the command `layer` where one model is loaded without its other one: figures of
 * its values in place of errors, as view_alone.c shows them.
 */
#include <math.h>

#include "tui/rank.h"

struct alone alone_of(const struct session *s, size_t layer, const struct sums *x, uint64_t n)
{
    const struct layer *l = &s->match.layers[layer];
    const bool fp32 = s->fp32 != NULL, ends = l->quantized && l->q.n == 1;
    const double percent = n ? 100.0 / (double)n : 0;
    return (struct alone){
        .side = fp32 ? "FP32" : "INT8",
        .n = n,
        .lo = fp32 ? x->xmin : x->ymin,
        .hi = fp32 ? x->xmax : x->ymax,
        .zeros = percent * (double)x->zeros,
        .low = ends ? percent * (double)x->sat_low : NAN,
        .high = ends ? percent * (double)x->sat_high : NAN,
    };
}

struct alone alone_layer(const struct session *s, size_t layer, const struct layer_stats *st)
{
    return alone_of(s, layer, &st->all, s->fp32 ? st->fp32.n : st->int8.n);
}

static const struct value *value_of(const struct session *s, const struct layer *l)
{
    return s->fp32 ? &s->fp32->values[l->fp32] : &s->int8->values[l->int8];
}

static json_t *alone_json(const struct session *s, size_t layer, const struct layer_stats *st)
{
    const struct layer *l = &s->match.layers[layer];
    const struct value *v = value_of(s, l);
    const struct alone a = alone_layer(s, layer, st);
    const bool one = l->quantized && l->q.n == 1;
    json_t *shape = json_array();
    for (int d = 0; d < v->rank; d++)
        json_array_append_new(shape, json_integer(v->dims[d]));
    json_t *o = json_pack("{s:o,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I}", "name",
                          json_text(l->name), "op", l->op, "tensor", json_text(v->name), "side",
                          a.side, "shape", shape, "min", json_num(a.lo), "max", json_num(a.hi),
                          "zeros", json_num(a.zeros), "low_end", json_num(a.low), "high_end",
                          json_num(a.high), "values", (json_int_t)a.n, "nonfinite",
                          (json_int_t)st->all.nonfinite, "images", (json_int_t)st->images);
    json_object_set_new(o, "dtype", json_string(l->quantized ? dtype_name(l->q.dtype) : "float"));
    json_object_set_new(o, "scale", one ? json_num((double)l->q.scale[0]) : json_null());
    json_object_set_new(o, "zero_point", one ? json_integer(l->q.zero[0]) : json_null());
    json_object_set_new(o, "runs_as", json_text(session_runs_as(s, layer)));
    return o;
}

static void alone_text(FILE *out, const struct session *s, size_t layer,
                       const struct layer_stats *st)
{
    const struct layer *l = &s->match.layers[layer];
    const struct value *v = value_of(s, l);
    const struct alone a = alone_layer(s, layer, st);
    char shape[128], tensor[256];
    fprintf(out, "%s  %s  %s\n", session_layer_label(s, layer), l->op,
            shape_text(shape, sizeof(shape), v->rank, v->dims));
    fprintf(out, "  %s %s [%.6g, %.6g]\n", a.side, text_safe(tensor, sizeof(tensor), v->name), a.lo,
            a.hi);
    if (l->quantized && l->q.n == 1)
        fprintf(out, "  scale %.9g  zero point %d  %s\n", (double)l->q.scale[0], l->q.zero[0],
                dtype_name(l->q.dtype));
    if (session_runs_as(s, layer)[0])
        fprintf(out, "  %s\n", session_runs_as(s, layer));
    fprintf(out, "  %llu values of %llu image%s, zeros %.2f %%\n", (unsigned long long)a.n,
            (unsigned long long)st->images, st->images == 1 ? "" : "s", a.zeros);
    if (!isnan(a.low))
        fprintf(out, "  codes at the low end %.2f %%, at the high end %.2f %%\n", a.low, a.high);
    if (st->all.nonfinite)
        fprintf(out, "  NaN or infinite %llu\n", (unsigned long long)st->all.nonfinite);
}

int layer_alone(struct call *c, size_t layer, const struct layer_stats *st, struct err *err)
{
    struct session *s = c->s;
    if (!st->images)
        return err_set(err, E_STATE, "layer '%s' was not computed", s->match.layers[layer].name);
    if (s->json)
        emit_json(c, json_pack("{s:o}", "layer", alone_json(s, layer, st)));
    else
        alone_text(c->out, s, layer, st);
    fprintf(c->note, "one model alone: there is nothing to compare it with\n");
    return OK;
}
