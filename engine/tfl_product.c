/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tfl_product.c: rows of activations times filters, float, integer and hybrid (float activations,
 * int8 weights): see tfl_product.h.
 */
#include "engine/tfl_product.h"

#include "engine/op_quant.h"
#include "engine/tfl_fast.h"

#include <inttypes.h>
#include <stdlib.h>

/* Weights as kernels want them. */
struct weights {
    int16_t *codes;              /* codes minus zero point; NULL for float weights */
    struct conv8_filter *filter; /* of codes, for the fast twins; of floats one of these: */
    struct tfl_panels *panels;
    struct tfl_taps *taps;
};

/* ---- Products ------------------------------------------------------------------------------- */

/* Blocks are small enough for 32-bit sums of any codes: 256 * 32768 * 128 < 2^31. */
static int64_t dot(const int16_t *a, const int16_t *b, int64_t n)
{
    int64_t sum = 0;
    for (int64_t at = 0; at < n; at += TFL_SUM_BLOCK) {
        int64_t end = MIN(n, at + TFL_SUM_BLOCK);
        int32_t part = 0;
        for (int64_t i = at; i < end; i++) {
            part += (int32_t)a[i] * b[i];
        }
        sum += part;
    }
    return sum;
}

/* ---- Weights -------------------------------------------------------------------------------- */

/* Widens codes [n] and takes off the zero point; values fit int16: codes have at most 16 bits, and
 * 16-bit ones have zero point 0. */
void tfl_widen(const struct tensor *t, size_t at, size_t n, int32_t z, int16_t *dst)
{
    int32_t codes[CODE_BLOCK];
    for (size_t done = 0; done < n; done += CODE_BLOCK) {
        size_t m = MIN(n - done, (size_t)CODE_BLOCK);
        codes_get(t, at + done, m, codes);
        for (size_t i = 0; i < m; i++) {
            dst[done + i] = (int16_t)(codes[i] - z);
        }
    }
}

static bool is_codes(enum dtype d)
{
    return d == DT_S8 || d == DT_U8 || d == DT_S16 || d == DT_S4;
}

static bool is_connected(const struct node *n)
{
    return strcmp(n->op, "FULLY_CONNECTED") == 0;
}

static bool is_depthwise(const struct node *n)
{
    return strcmp(n->op, "DEPTHWISE_CONV_2D") == 0;
}

/* Float weights are packed only where the bias is known, too, and fits. */
static int prepare_floats(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *t = p->constants[1], *b = p->n_in > 2 ? p->constants[2] : NULL;
    int64_t filters = t->rank < 1 ? 0 : t->dims[is_depthwise(p->node) ? t->rank - 1 : 0];
    bool has_bias = p->n_in > 2 && p->node->in[2] >= 0;
    if (filters < 1 || (has_bias && (!b || b->dtype != DT_F32 || (int64_t)b->n != filters))) {
        return OK;
    }
    struct weights *w = mem_alloc(sizeof *w);
    const float *bias = b && has_bias ? b->data : NULL;
    int rc = is_depthwise(p->node) ? tfl_taps_new(t, bias, &w->taps, err)
                                   : tfl_panels_new(t, bias, &w->panels, err);
    if (rc) {
        tfl_weights_release(w);
        return rc;
    }
    *state = w;
    return OK;
}

int tfl_weights_prepare(const struct op_prep *p, void **state, struct err *err)
{
    const struct tensor *t = p->n_in > 1 ? p->constants[1] : NULL;
    const struct quant *q = p->n_in > 1 ? p->in_q[1] : NULL;
    if (t && t->dtype == DT_F32) {
        return prepare_floats(p, state, err);
    }
    if (!t || !is_codes(t->dtype) || t->dtype == DT_S16 || t->rank < 1) {
        return OK;
    }
    /* Only uint8 weights, and those of FULLY_CONNECTED, may have a zero point. */
    bool symmetric = q && (q->n > 1 || (t->dtype != DT_U8 && !is_connected(p->node)));
    for (size_t i = 0; symmetric && i < q->n; i++) {
        if (q->zero[i]) {
            return err_set(err, E_UNSUPPORTED, "%s weights with zero point %d, expected 0",
                           dtype_name(t->dtype), q->zero[i]);
        }
    }
    struct weights *w = mem_alloc(sizeof *w);
    w->codes = malloc(MAX(t->n, (size_t)1) * sizeof *w->codes);
    if (!w->codes) {
        free(w);
        return err_set(err, E_LIMIT, "out of memory for %zu weights", t->n);
    }
    int32_t zero = q && q->n == 1 ? q->zero[0] : 0;
    tfl_widen(t, 0, t->n, zero, w->codes);
    int rc = tfl_filter_new(t, is_depthwise(p->node), zero, &w->filter, err);
    if (rc) {
        tfl_weights_release(w);
        return rc;
    }
    *state = w;
    return OK;
}

void tfl_weights_release(void *state)
{
    struct weights *w = state;
    conv8_filter_free(w->filter);
    tfl_panels_free(w->panels);
    tfl_taps_free(w->taps);
    free(w->codes);
    free(w);
}

/* ---- One product of rows -------------------------------------------------------------------- */

void tfl_product_fini(struct tfl_product *p)
{
    free(p->requant);
}

float tfl_weight_scale(const struct tfl_product *p, int64_t o)
{
    return p->scales->scale[p->scales->n > 1 ? o : 0];
}

/* The rounding of the back end that computes this operator. */
static enum tfl_rounding rounding_of(const struct op_call *c, const struct tfl_roundings *r)
{
    if (c->in[0]->dtype == DT_S16) {
        return r->wide;
    }
    return tfl_xnnpack(c) ? TFL_FLOAT : c->numerics == NUM_TFLITE_REF ? r->ref : r->builtin;
}

/* XNNPACK multiplies and divides scales in float, the others in double; but where there is one
 * scale for all filters, FULLY_CONNECTED and the legacy layers multiply in float. */
static double real_scale(const struct tfl_product *p, float sw)
{
    enum dtype d = p->c->in[0]->dtype;
    if (tfl_xnnpack(p->c) && d != DT_S16) {
        return (double)(p->x.s * sw / p->y.s);
    }
    bool single = p->scales->n == 1 && (d == DT_U8 || is_connected(p->c->node));
    double product = single ? (double)(p->x.s * sw) : (double)p->x.s * (double)sw;
    return product / (double)p->y.s;
}

static int product_codes(struct tfl_product *p, enum tfl_rounding how, struct err *err)
{
    const struct op_call *c = p->c;
    int rc = tfl_input(c, 0, &p->x, err);
    rc = rc ? rc : tfl_output(c, 0, tfl_out_dtype(c, c->in[0]->dtype), &p->y, err);
    rc = rc ? rc : tfl_activation(c, &p->y, err);
    if (!rc && (!p->x.codes || !p->y.codes)) {
        rc = err_set(err, E_FORMAT, "integer activations without a scale");
    }
    if (!rc && c->in[0]->dtype == DT_S16 && p->x.z) {
        rc = err_set(err, E_UNSUPPORTED, "int16 activations with zero point %d", p->x.z);
    }
    if (rc) {
        return rc;
    }
    p->requant = malloc((size_t)MAX(p->filters, 1) * sizeof *p->requant);
    if (!p->requant) {
        return err_set(err, E_LIMIT, "out of memory");
    }
    for (int64_t o = 0; o < p->filters; o++) {
        tfl_scale_init(&p->requant[o], how, real_scale(p, tfl_weight_scale(p, o)));
    }
    return OK;
}

/* XNNPACK starts from the bias and uses FMA; the built-in depthwise kernel, too, but without FMA.
 */
static enum tfl_sum sum_of(const struct op_call *c)
{
    return tfl_xnnpack(c)                                               ? TFL_FUSED
           : c->numerics == NUM_TFLITE_BUILTIN && is_depthwise(c->node) ? TFL_APART
                                                                        : TFL_BIAS_LAST;
}

/* Depth of the blocks in which Eigen multiplies, of equal size as far as multiples of 8 are: what
 * fits the first-level cache with panels of 8 rows and 4 columns, taken as one of 48 KiB. */
enum { EIGEN_DEPTH = 1016 };

static int64_t eigen_block(int64_t depth)
{
    int64_t rest = depth % EIGEN_DEPTH, pieces = depth / EIGEN_DEPTH + 1;
    return depth <= EIGEN_DEPTH ? depth
           : rest == 0          ? EIGEN_DEPTH
                                : EIGEN_DEPTH - 8 * ((EIGEN_DEPTH - 1 - rest) / (8 * pieces));
}

void tfl_product_rows_are(struct tfl_product *p, int64_t rows)
{
    if (p->c->numerics == NUM_TFLITE_BUILTIN) {
        p->sum = rows == 1 || p->filters == 1 ? TFL_LANES : TFL_BIAS_LAST;
        p->block = eigen_block(p->depth);
    }
}

/* Checks what every layer relies on; w is input 1 seen as [filters, depth] or, for depthwise,
 * [depth, filters]. */
int tfl_product_init(struct tfl_product *p, const struct op_call *c, int64_t filters, int64_t depth,
                     const struct tfl_roundings *how, struct err *err)
{
    const struct tensor *x = c->in[0], *w = c->in[1];
    const struct weights *packed = c->state;
    *p = (struct tfl_product){.c = c, .filters = filters, .depth = depth};
    p->bias = tfl_has(c, 2) ? c->in[2] : NULL;
    if (p->bias && (int64_t)p->bias->n != filters) {
        return err_set(err, E_SHAPE, "%zu biases for %" PRId64 " filters", p->bias->n, filters);
    }
    bool wf = w->dtype == DT_F32, xf = x->dtype == DT_F32;
    if (!(wf && xf) && (!packed || !(xf || is_codes(x->dtype)))) {
        return err_set(err, E_UNSUPPORTED, "%s activations with %s weights are not supported",
                       dtype_name(x->dtype), dtype_name(w->dtype));
    }
    p->scales = wf ? NULL : c->in_q[1];
    if (!wf && (!p->scales || (p->scales->n != 1 && (int64_t)p->scales->n != filters))) {
        return err_set(err, E_FORMAT, "integer weights without a scale per tensor or filter");
    }
    p->wf = wf ? w->data : NULL;
    p->wi = wf ? NULL : packed->codes;
    p->filter = packed ? packed->filter : NULL;
    p->panels = packed ? packed->panels : NULL;
    p->taps = packed ? packed->taps : NULL;
    p->hybrid = xf && !wf;
    p->sum = sum_of(c);
    p->block = depth;
    p->delegated = tfl_xnnpack(c) && !is_depthwise(c->node);
    if (!xf) {
        bool good = !p->bias || p->bias->dtype == DT_S32 || p->bias->dtype == DT_S64;
        return good ? product_codes(p, rounding_of(c, how), err)
                    : err_set(err, E_SHAPE, "bias is %s, expected integers",
                              dtype_name(p->bias->dtype));
    }
    if (p->bias && p->bias->dtype != DT_F32) {
        return err_set(err, E_SHAPE, "bias is %s, expected float32", dtype_name(p->bias->dtype));
    }
    p->bias_f = p->bias ? p->bias->data : NULL;
    return tfl_activation_float(c, &p->lo, &p->hi, err);
}

int64_t tfl_bias_at(const struct tfl_product *p, int64_t o)
{
    return !p->bias                   ? 0
           : p->bias->dtype == DT_S32 ? ((const int32_t *)p->bias->data)[o]
                                      : ((const int64_t *)p->bias->data)[o];
}

/* Sum and bias of filter o to codes. */
int32_t tfl_finish_code(const struct tfl_product *p, int64_t o, int64_t acc)
{
    acc = (int64_t)((uint64_t)acc + (uint64_t)tfl_bias_at(p, o));
    if (p->c->in[0]->dtype != DT_S16) {
        acc = (int32_t)(uint32_t)(uint64_t)acc; /* sums of 8-bit codes wrap */
    }
    return tfl_clamp((int64_t)tfl_apply(acc, &p->requant[o]) + p->y.z, &p->y);
}

void tfl_out_floats(const struct tfl_product *p, const float *sum, size_t o0, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = tfl_sum_end(p, (int64_t)(o0 + i), sum[i]);
    }
}

static float clamp_float(const struct tfl_product *p, float v)
{
    return v < p->lo ? p->lo : v > p->hi ? p->hi : v;
}

float tfl_finish_float(const struct tfl_product *p, int64_t o, float v)
{
    return clamp_float(p, p->bias_f ? v + p->bias_f[o] : v);
}

static bool bias_first(const struct tfl_product *p)
{
    return p->sum == TFL_FUSED || p->sum == TFL_APART;
}

float tfl_sum_start(const struct tfl_product *p, int64_t o)
{
    return p->bias_f && bias_first(p) ? p->bias_f[o] : 0.0F;
}

float tfl_sum_end(const struct tfl_product *p, int64_t o, float v)
{
    return bias_first(p) ? clamp_float(p, v) : tfl_finish_float(p, o, v);
}

/* Codes of `rows` patches times all filters into output elements [at, ...). */
void tfl_product_codes(const struct tfl_product *p, const int16_t *x, int64_t rows,
                       struct tensor *y, size_t at)
{
    int32_t line[CODE_BLOCK];
    for (int64_t o0 = 0; o0 < p->filters; o0 += CODE_BLOCK) {
        int64_t n = MIN(p->filters - o0, (int64_t)CODE_BLOCK);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t o = 0; o < n; o++) {
                line[o] = tfl_finish_code(
                    p, o0 + o, dot(x + r * p->depth, p->wi + (o0 + o) * p->depth, p->depth));
            }
            codes_put(y, at + (size_t)(r * p->filters + o0), (size_t)n, line);
        }
    }
}

static float sum_in_blocks(const struct tfl_product *p, int64_t o, const float *x, const float *w)
{
    float all = 0.0F;
    for (int64_t at = 0; at < p->depth; at += p->block) {
        float sum = tfl_sum_start(p, o);
        for (int64_t k = at; k < MIN(p->depth, at + p->block); k++) {
            sum = tfl_sum_add(p, sum, x[k], w[k]);
        }
        all = at ? all + sum : sum;
    }
    return all;
}

static float sum_in_lanes(const float *x, const float *w, int64_t n)
{
    float s[4] = {0.0F};
    int64_t k = 0;
    for (; k + 4 <= n; k += 4) {
        for (int64_t i = 0; i < 4; i++) {
            s[i] += x[k + i] * w[k + i];
        }
    }
    float sum = (s[0] + s[2]) + (s[1] + s[3]);
    for (; k < n; k++) {
        sum += x[k] * w[k];
    }
    return sum;
}

void tfl_product_float(const struct tfl_product *p, const float *x, int64_t rows, float *y)
{
    for (int64_t i = 0; i < rows; i++, x += p->depth) {
        for (int64_t o = 0; o < p->filters; o++) {
            const float *w = p->wf + o * p->depth;
            float sum =
                p->sum == TFL_LANES ? sum_in_lanes(x, w, p->depth) : sum_in_blocks(p, o, x, w);
            *y++ = tfl_sum_end(p, o, sum);
        }
    }
}

/* ---- Hybrid: activations quantized on the way ------------------------------------------------ */

/* Half away from zero in float: 0.5 is added first, which itself rounds. */
static int32_t round_cut(float v)
{
    return (int32_t)clamp_x86(v < 0.0F ? v - 0.5F : v + 0.5F, -0x1p20F, 0x1p20F);
}

/* Symmetric codes: scale from the largest magnitude. */
static float quantize_symmetric(const float *x, size_t n, int16_t *q)
{
    float top = 0.0F;
    for (size_t i = 0; i < n; i++) {
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    }
    float inverse = top > 0.0F ? 127.0F / top : 0.0F;
    for (size_t i = 0; i < n; i++) {
        int32_t v = round_cut(x[i] * inverse);
        q[i] = (int16_t)(v < -127 ? -127 : v > 127 ? 127 : v);
    }
    return top > 0.0F ? top / 127.0F : 1.0F;
}

/* Asymmetric codes over [min(0, x), max(0, x)], the zero point taken off again. */
static float quantize_asymmetric(const float *x, size_t n, int16_t *q)
{
    float least = 0.0F, most = 0.0F;
    for (size_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (least == most) {
        memset(q, 0, n * sizeof *q);
        return 1.0F;
    }
    float scale = (most - least) / 255.0F, inverse = 1.0F / scale;
    double from_min = -128.0 - (double)least / (double)scale;
    double from_max = 127.0 - (double)most / (double)scale;
    double err_min = 128.0 + fabs((double)least / (double)scale);
    double err_max = 127.0 + fabs((double)most / (double)scale);
    double zero = err_min < err_max ? from_min : from_max;
    int32_t z = zero <= -128.0 ? -128 : zero >= 127.0 ? 127 : tfl_round(zero);
    for (size_t i = 0; i < n; i++) {
        int32_t v = z + round_cut(x[i] * inverse);
        q[i] = (int16_t)((v < -128 ? -128 : v > 127 ? 127 : v) - z);
    }
    return scale;
}

void tfl_product_hybrid(const struct tfl_product *p, const int16_t *x, int64_t rows, float s,
                        float *y)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < p->filters; o++) {
            int64_t acc = dot(x + r * p->depth, p->wi + o * p->depth, p->depth);
            y[r * p->filters + o] =
                tfl_finish_float(p, o, (float)acc * (s * tfl_weight_scale(p, o)));
        }
    }
}

/* XNNPACK's own, in float, halves to even. */
static float quantize_xnnpack(const float *x, size_t n, int16_t *q)
{
    float least = 0.0F, most = 0.0F;
    for (size_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    float scale = least == most ? 1.0F : 255.0F / (most - least);
    float from_min = -128.0F - least * scale, from_max = 127.0F - most * scale;
    float zero =
        (128.0F + fabsf(least * scale)) < (127.0F + fabsf(most * scale)) ? from_min : from_max;
    int32_t z = (int32_t)rintf(clamp_x86(zero, -128.0F, 127.0F));
    for (size_t i = 0; i < n; i++) {
        float v = clamp_x86(x[i] * scale, (float)(-128 - z), (float)(127 - z));
        q[i] = (int16_t)rintf(v);
    }
    return 1.0F / scale;
}

/* Codes of n floats; returns their scale. */
float tfl_quantize_row(const struct tfl_product *p, const float *x, size_t n, int16_t *q)
{
    const struct node *node = p->c->node;
    bool asymmetric = is_depthwise(node) || (p->scales->n > 1 && !is_connected(node)) ||
                      attr_int(node, "asymmetric_quantize_inputs", 0);
    return p->delegated ? quantize_xnnpack(x, n, q)
           : asymmetric ? quantize_asymmetric(x, n, q)
                        : quantize_symmetric(x, n, q);
}

/* Rows that follow each other in the input, each with parameters of its own when hybrid. */
void tfl_product_rows(const struct tfl_product *p, int64_t rows, int16_t *line, struct tensor *y)
{
    const struct tensor *x = p->c->in[0];
    for (int64_t r = 0; r < rows; r++) {
        size_t from = (size_t)(r * p->depth), to = (size_t)(r * p->filters);
        if (p->hybrid) {
            float s = tfl_quantize_row(p, (const float *)x->data + from, (size_t)p->depth, line);
            tfl_product_hybrid(p, line, 1, s, (float *)y->data + to);
        } else {
            tfl_widen(x, from, (size_t)p->depth, p->x.z, line);
            tfl_product_codes(p, line, 1, y, to);
        }
    }
}
