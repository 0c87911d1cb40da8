/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * accel.c: the only file that includes oneDNN (v2 C API). It wraps two things: sgemm, and a
 * convolution whose layouts oneDNN chooses itself (channels last or blocked), with reorders around
 * it because activations stay in the model's own layout.
 */
#include "engine/accel.h"

#if HAVE_DNNL

#include <dnnl.h>
#include <pthread.h>
#include <stdlib.h>

/* From libgomp, on which oneDNN runs; its header comes with gcc only. Sets the calling thread's own
 * count, so this is not a setting of the whole process. */
void omp_set_num_threads(int n);

const char *accel_name(void)
{
    return "oneDNN";
}

static int status(dnnl_status_t s, const char *what, struct err *err)
{
    if (s == dnnl_success) {
        return OK;
    }
    return err_set(err, s == dnnl_out_of_memory ? E_LIMIT : E_UNSUPPORTED,
                   "oneDNN: %s failed with status %d", what, (int)s);
}

bool accel_gemm_run(const struct accel_gemm *g)
{
    omp_set_num_threads(1);
    return dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, g->alpha, g->a,
                      g->lda, g->b, g->ldb, g->beta, g->c, g->ldc) == dnnl_success;
}

/* ---- Convolution ---------------------------------------------------------------------------- */

/* What oneDNN made for one geometry; shared by the threads that run it. */
struct built {
    int refs; /* under accel_conv.lock */
    struct window w;
    int64_t groups;
    bool bias;
    dnnl_engine_t engine;
    dnnl_primitive_t conv, pre, post; /* pre, post: reorders, NULL when the layout is ours */
    dnnl_memory_desc_t src, dst, user_src, user_dst, weights, bias_md, scratch;
    struct tensor *packed;
};

struct accel_conv {
    pthread_mutex_t lock;
    const struct tensor *w;
    struct built *built;
};

struct accel_conv *accel_conv_new(const struct tensor *w)
{
    struct accel_conv *a = mem_alloc(sizeof(*a));
    pthread_mutex_init(&a->lock, NULL);
    a->w = tensor_ref(w);
    return a;
}

static void built_free(struct built *b)
{
    if (!b) {
        return;
    }
    dnnl_primitive_t primitives[] = {b->conv, b->pre, b->post};
    for (size_t i = 0; i < COUNT(primitives); i++) {
        if (primitives[i]) {
            dnnl_primitive_destroy(primitives[i]);
        }
    }
    if (b->engine) {
        dnnl_engine_destroy(b->engine);
    }
    tensor_free(b->packed);
    free(b);
}

void accel_conv_free(struct accel_conv *a)
{
    if (a) {
        built_free(a->built);
        tensor_free((struct tensor *)a->w);
        pthread_mutex_destroy(&a->lock);
        free(a);
    }
}

static dnnl_format_tag_t plain_tag(int rank)
{
    static const dnnl_format_tag_t tags[] = {dnnl_a,    dnnl_ab,    dnnl_abc,
                                             dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    return tags[rank - 1];
}

static int describe(dnnl_memory_desc_t *md, int rank, const dnnl_dims_t dims, bool any,
                    struct err *err)
{
    return status(dnnl_memory_desc_init_by_tag(md, rank, dims, dnnl_f32,
                                               any ? dnnl_format_tag_any : plain_tag(rank)),
                  "memory descriptor", err);
}

/* A reorder between two layouts; NULL when they are the same. */
static int reorder_new(struct built *b, const dnnl_memory_desc_t *from,
                       const dnnl_memory_desc_t *to, dnnl_primitive_t *out, struct err *err)
{
    if (dnnl_memory_desc_equal(from, to)) {
        *out = NULL;
        return OK;
    }
    dnnl_primitive_desc_t pd = NULL;
    int rc = status(dnnl_reorder_primitive_desc_create(&pd, from, b->engine, to, b->engine, NULL),
                    "reorder descriptor", err);
    if (!rc) {
        rc = status(dnnl_primitive_create(out, pd), "reorder", err);
        dnnl_primitive_desc_destroy(pd);
    }
    return rc;
}

/* One argument of a primitive. */
struct argument {
    int what; /* DNNL_ARG_* */
    const dnnl_memory_desc_t *md;
    void *data;
};

static int execute(const struct built *b, dnnl_primitive_t primitive, int n,
                   const struct argument *in, struct err *err)
{
    dnnl_exec_arg_t args[5] = {0};
    dnnl_stream_t stream = NULL;
    int rc =
        status(dnnl_stream_create(&stream, b->engine, dnnl_stream_default_flags), "stream", err);
    for (int i = 0; i < n && !rc; i++) {
        args[i].arg = in[i].what;
        rc = status(dnnl_memory_create(&args[i].memory, in[i].md, b->engine, in[i].data), "memory",
                    err);
    }
    if (!rc) {
        rc = status(dnnl_primitive_execute(primitive, stream, n, args), "execution", err);
    }
    if (!rc) {
        rc = status(dnnl_stream_wait(stream), "wait", err);
    }
    for (int i = 0; i < n; i++) {
        if (args[i].memory) {
            dnnl_memory_destroy(args[i].memory);
        }
    }
    if (stream) {
        dnnl_stream_destroy(stream);
    }
    return rc;
}

/* Lets oneDNN choose layouts and kernel. */
static int choose_kernel(struct built *b, const dnnl_memory_desc_t *any_weights, struct err *err)
{
    const struct window *w = &b->w;
    const int r = w->rank, first = WINDOW_RANK - r;
    dnnl_dims_t stride, dilation, lo, hi;
    for (int a = 0; a < r; a++) {
        stride[a] = w->s[first + a];
        dilation[a] = w->d[first + a] - 1; /* oneDNN counts the elements skipped */
        lo[a] = w->lo[first + a];
        hi[a] = w->hi[first + a];
    }
    dnnl_memory_desc_t any_src = b->src, any_dst = b->dst;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int rc =
        status(dnnl_dilated_convolution_forward_desc_init(
                   &desc, dnnl_forward_inference, dnnl_convolution_direct, &any_src, any_weights,
                   b->bias ? &b->bias_md : NULL, &any_dst, stride, dilation, lo, hi),
               "convolution descriptor", err);
    rc = rc ? rc : status(dnnl_primitive_attr_create(&attr), "attributes", err);
    rc = rc ? rc
            : status(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
                     "scratchpad mode", err);
    rc = rc ? rc
            : status(dnnl_primitive_desc_create(&pd, &desc, attr, b->engine, NULL),
                     "choice of a convolution kernel", err);
    if (!rc) {
        b->src = *dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
        b->dst = *dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
        b->weights = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        b->scratch = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        rc = status(dnnl_primitive_create(&b->conv, pd), "convolution", err);
    }
    if (pd) {
        dnnl_primitive_desc_destroy(pd);
    }
    if (attr) {
        dnnl_primitive_attr_destroy(attr);
    }
    return rc;
}

/* Weights from [o, c/g, k...] into the layout of the kernel. */
static int pack_weights(struct built *b, const dnnl_memory_desc_t *plain, const struct tensor *w,
                        struct err *err)
{
    dnnl_primitive_t reorder = NULL;
    int rc = reorder_new(b, plain, &b->weights, &reorder, err);
    if (rc || !reorder) {
        b->packed = rc ? NULL : tensor_ref(w);
        return rc;
    }
    const int64_t size = (int64_t)dnnl_memory_desc_get_size(&b->weights);
    rc = tensor_new(DT_U8, 1, &size, NULL, &b->packed, err);
    if (!rc) {
        const struct argument args[] = {{DNNL_ARG_FROM, plain, w->data},
                                        {DNNL_ARG_TO, &b->weights, b->packed->data}};
        rc = execute(b, reorder, 2, args, err);
    }
    dnnl_primitive_destroy(reorder);
    return rc;
}

static int build(struct built *b, const struct tensor *w, struct err *err)
{
    dnnl_dims_t src = {b->w.n, b->w.c}, dst, wd, bias = {w->dims[0]};
    const int rank = window_dims(&b->w, w->dims[0], dst);
    const int64_t o = w->dims[0];
    int wr = 0;
    if (b->groups > 1) {
        wd[wr++] = b->groups;
    }
    wd[wr++] = o / b->groups;
    wd[wr++] = w->dims[1];
    for (int a = WINDOW_RANK - b->w.rank; a < WINDOW_RANK; a++) {
        src[2 + a - (WINDOW_RANK - b->w.rank)] = b->w.in[a];
        wd[wr++] = b->w.k[a];
    }
    dnnl_memory_desc_t any_weights, plain_weights;
    int rc = status(dnnl_engine_create(&b->engine, dnnl_cpu, 0), "engine", err);
    rc = rc ? rc : describe(&b->user_src, rank, src, false, err);
    rc = rc ? rc : describe(&b->user_dst, rank, dst, false, err);
    rc = rc ? rc : describe(&b->src, rank, src, true, err);
    rc = rc ? rc : describe(&b->dst, rank, dst, true, err);
    rc = rc ? rc : describe(&any_weights, wr, wd, true, err);
    rc = rc ? rc : describe(&plain_weights, wr, wd, false, err);
    rc = rc ? rc : describe(&b->bias_md, 1, bias, false, err);
    rc = rc ? rc : choose_kernel(b, &any_weights, err);
    rc = rc ? rc : reorder_new(b, &b->user_src, &b->src, &b->pre, err);
    rc = rc ? rc : reorder_new(b, &b->dst, &b->user_dst, &b->post, err);
    rc = rc ? rc : pack_weights(b, &plain_weights, w, err);
    return rc;
}

/* All members but the first are int64_t, so there is no padding among them. */
static bool same_window(const struct window *a, const struct window *b)
{
    return a->rank == b->rank && memcmp(&a->n, &b->n, sizeof(*a) - offsetof(struct window, n)) == 0;
}

/* The kernel for this geometry with one more user, made now if it is not the last one seen. */
static int acquire(struct accel_conv *a, const struct window *w, int64_t groups, bool bias,
                   struct built **out, struct err *err)
{
    int rc = OK;
    pthread_mutex_lock(&a->lock);
    struct built *b = a->built;
    if (!b || !same_window(&b->w, w) || b->groups != groups || b->bias != bias) {
        b = mem_alloc(sizeof(*b));
        b->w = *w;
        b->groups = groups;
        b->bias = bias;
        rc = build(b, a->w, err);
        if (rc) {
            built_free(b);
        } else {
            if (a->built && --a->built->refs == 0) {
                built_free(a->built);
            }
            b->refs = 1; /* the cache's own */
            a->built = b;
        }
    }
    if (!rc) {
        b->refs++;
        *out = b;
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static void release(struct accel_conv *a, struct built *b)
{
    pthread_mutex_lock(&a->lock);
    if (--b->refs == 0) {
        built_free(b);
    }
    pthread_mutex_unlock(&a->lock);
}

static size_t padded(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

int accel_conv_run(struct accel_conv *a, const struct window *w, int64_t groups, const float *x,
                   const float *bias, float *y, struct budget *budget, struct err *err)
{
    struct built *b;
    struct tensor *room = NULL;
    omp_set_num_threads(1); /* for the choice of a kernel as well as for running it */
    int rc = acquire(a, w, groups, bias != NULL, &b, err);
    if (rc) {
        return rc;
    }
    /* One block for all temporaries: source, destination, scratchpad. */
    const size_t n_src = b->pre ? padded(dnnl_memory_desc_get_size(&b->src)) : 0;
    const size_t n_dst = b->post ? padded(dnnl_memory_desc_get_size(&b->dst)) : 0;
    const int64_t size = (int64_t)(n_src + n_dst + dnnl_memory_desc_get_size(&b->scratch));
    rc = tensor_new(DT_U8, 1, &size, budget, &room, err);
    if (rc) {
        goto out;
    }
    uint8_t *p = room->data;
    void *src = b->pre ? (void *)p : (void *)(uintptr_t)x;
    void *dst = b->post ? (void *)(p + n_src) : (void *)y;
    if (b->pre) {
        const struct argument args[] = {{DNNL_ARG_FROM, &b->user_src, (void *)(uintptr_t)x},
                                        {DNNL_ARG_TO, &b->src, src}};
        rc = execute(b, b->pre, 2, args, err);
    }
    const struct argument args[] = {
        {DNNL_ARG_SRC, &b->src, src},
        {DNNL_ARG_WEIGHTS, &b->weights, b->packed->data},
        {DNNL_ARG_DST, &b->dst, dst},
        {DNNL_ARG_SCRATCHPAD, &b->scratch, p + n_src + n_dst},
        {DNNL_ARG_BIAS, &b->bias_md, (void *)(uintptr_t)bias},
    };
    rc = rc ? rc : execute(b, b->conv, bias ? 5 : 4, args, err);
    if (!rc && b->post) {
        const struct argument back[] = {{DNNL_ARG_FROM, &b->dst, dst},
                                        {DNNL_ARG_TO, &b->user_dst, y}};
        rc = execute(b, b->post, 2, back, err);
    }
out:
    tensor_free(room);
    release(a, b);
    return rc;
}

#else /* without oneDNN */

const char *accel_name(void)
{
    return "none";
}

bool accel_gemm_run(const struct accel_gemm *g)
{
    (void)g;
    return false;
}

struct accel_conv *accel_conv_new(const struct tensor *w)
{
    (void)w;
    return NULL;
}

void accel_conv_free(struct accel_conv *a)
{
    (void)a;
}

int accel_conv_run(struct accel_conv *a, const struct window *w, int64_t groups, const float *x,
                   const float *bias, float *y, struct budget *b, struct err *err)
{
    (void)a, (void)w, (void)groups, (void)x, (void)bias, (void)y, (void)b;
    return err_set(err, E_UNSUPPORTED, "built without oneDNN");
}

#endif
