/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * base.h: what every folder shares: errors, arenas, checked sizes, budgets, a string map.
 * It is not a framework: each piece is a few lines and stands alone.
 */
#ifndef ENGINE_BASE_H
#define ENGINE_BASE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- Errors ---------------------------------------------------------------------------------
 *
 * A function that can fail returns OK or a negative enum err_code and takes `struct err *err`
 * last. Results go through out-parameters, untouched on failure. The detector writes the text
 * with err_set(); whoever knows more on the way up puts context in front with err_in(); one
 * front door prints it. Texts are lower case, without a full stop, names in single quotes, and
 * say what was found and what was expected.
 */
enum err_code {
    OK = 0,
    E_USAGE = -1,       /* bad command, option or argument                              exit 2 */
    E_IO = -2,          /* missing file, permission, disk full                          exit 7 */
    E_FORMAT = -3,      /* malformed file                                               exit 6 */
    E_UNSUPPORTED = -4, /* well formed, but not supported: operator, dtype, dialect     exit 6 */
    E_SHAPE = -5,       /* shapes or dtypes that do not fit together                    exit 6 */
    E_LIMIT = -6,       /* over a memory, size or time limit                            exit 8 */
    E_STATE = -7,       /* not possible now: nothing loaded, nothing run            exit 1 / 3 */
    E_CHECK = -8,       /* an assert of the user's was false                            exit 4 */
    E_STOP = -9,        /* cancelled                                                  exit 130 */
};

/* An error on the caller's stack: no allocation, usable when memory is gone. */
struct err {
    int code;
    char text[480];
};

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Sets code and text; returns code, so that `return err_set(...)` is the idiom. err may be NULL. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "context: " in front of the text; returns err->code. */
int err_in(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Stable name of a code for users and scripts: "E_FORMAT". Static storage. */
const char *err_name(int code);

/* ---- Checked sizes: every size that comes from a file goes through these. ------------------- */
static inline bool mul_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* ---- Small allocations: abort when memory is gone; never for sizes that come from a file. --- */
void *mem_alloc(size_t size);         /* zeroed; free() it */
void *mem_grow(void *p, size_t size); /* realloc */
char *mem_dup(const char *s);         /* strdup; NULL stays NULL */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Makes room for one more element in a growing array of `n` elements of `size` bytes. */
void *mem_push(void *array, size_t n, size_t *cap, size_t size);

/* ---- Arena: whoever holds it owns all in it; nothing inside is freed alone. ----------------- */
struct arena {
    struct arena_chunk *head;
    size_t used; /* bytes handed out so far */
};
void arena_fini(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); /* zeroed, 16-byte aligned */
char *arena_dup(struct arena *a, const char *s);
char *arena_dup_n(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- Budget: bytes that may be taken for tensors; shared by threads. ------------------------ */
enum { BUDGET_PURSES = 16 };
struct budget {
    atomic_size_t used; /* bytes, with those in purses */
    atomic_size_t peak; /* most of these */
    size_t limit;       /* bytes; 0 = none */
    /* Bytes that threads hold for what they take next: tensors come and go faster than two
     * processors could hand `used` to each other. */
    struct budget_purse {
        char apart[120]; /* so that no two are in one cache line */
        atomic_size_t bytes;
    } purses[BUDGET_PURSES];
};
/* Takes size bytes; E_LIMIT with both numbers when over. */
int budget_take(struct budget *b, size_t size, struct err *err);
void budget_give(struct budget *b, size_t size);
/* Bytes that were taken and not given back; exact while no other thread takes or gives. */
size_t budget_used(const struct budget *b);

/* ---- Map from string to int: seeded hash, keys are borrowed and must outlive the map. ------- */
struct strmap {
    struct strmap_slot *slots;
    size_t n, cap;
};
void strmap_fini(struct strmap *m);
void strmap_put(struct strmap *m, const char *key, int value); /* replaces */
int strmap_get(const struct strmap *m, const char *key, int missing);
/* dst, which is empty, becomes the same with equal keys at other places: key() gives that of a
 * value. */
void strmap_copy(struct strmap *dst, const struct strmap *src,
                 const char *(*key)(const void *ctx, int value), const void *ctx);

/* ---- Digests (digest.c): 128 bits by which contents are known; no protection against forgery. --
 */
struct digest {
    uint64_t lo, hi;
};
/* Continues d, which starts as {0, 0}, with the next piece; where one piece ends counts. */
void digest_add(struct digest *d, const void *data, size_t size);
/* The same for many bytes, faster; another value than digest_add() gives. */
void digest_bulk(struct digest *d, const void *data, size_t size);
void digest_text(struct digest *d, const char *s); /* NULL as "" */
void digest_int(struct digest *d, int64_t v);
static inline bool digest_equal(struct digest a, struct digest b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* Map from digest to int. */
struct digest_map {
    struct digest_slot *slots;
    size_t n, cap;
};
void digest_map_fini(struct digest_map *m);
void digest_map_put(struct digest_map *m, struct digest key, int value); /* replaces */
int digest_map_get(const struct digest_map *m, struct digest key, int missing);

/* ---- Cancellation: set from any thread or a signal handler, polled between layers. ---------- */
struct cancel {
    atomic_bool stop;
};
static inline bool cancelled(const struct cancel *c)
{
    return c && atomic_load_explicit(&c->stop, memory_order_relaxed);
}

/* ---- Text (text.c): the one sanitizer for text that came from a file or the outside. -------- */
/* Copies s to dst (size bytes, always terminated) as printable UTF-8: controls become ^X or
 * \xNN, bidirectional and invisible characters <U+XXXX>, invalid bytes U+FFFD; at most 8
 * combining marks per character. Returns dst. */
char *text_safe(char *dst, size_t size, const char *s);
/* Columns s takes in a terminal; s must be text_safe already. */
int text_width(const char *s);
/* Copies at most `columns` columns of safe text s into dst; a cut ends in '~'. mode TEXT_TAIL
 * keeps the end instead (for names whose end tells them apart). Returns columns used. */
enum text_cut { TEXT_HEAD, TEXT_TAIL };
int text_fit(char *dst, size_t size, const char *s, int columns, enum text_cut mode);
/* Bytes of safe text s from its start that fit in `columns` columns. */
size_t text_head(const char *s, int columns);
/* Edit distance of a and b (a swap of neighbours counts 1), limit + 1 when above limit; for
 * did-you-mean. */
int text_distance(const char *a, const char *b, int limit);
/* Shell-style glob: * ? [a-z] [!a-z], \ takes the next as it is; no backtracking blow-up. */
bool text_glob(const char *pattern, const char *s);
/* Lists of words, "a|b|c". The next word, of *n bytes, behind which *list then is; NULL at its end,
 * where *list is NULL. */
const char *text_next(const char **list, size_t *n);
/* Whether the word, which is not empty, is one of them. */
bool text_listed(const char *list, const char *word);

/* Loops over elements compiled once per instruction set and chosen at run time. Contraction is off,
 * so all give the same bits. The choice is made before the sanitizers have started: there is none
 * under them. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define CLONES(...) __attribute__((target_clones(__VA_ARGS__)))
#else
#define CLONES(...)
#endif
#define VECTOR_CLONES CLONES("avx512f", "avx2", "default")

/* Marks a form of a function for have_fma(), in which fmaf() is an instruction. Elsewhere it is a
 * library call: slow, but the same bits. */
#if defined(__x86_64__)
#define FMA_CLONE __attribute__((target("avx2,fma")))
static inline bool have_fma(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define FMA_CLONE
static inline bool have_fma(void)
{
    return true;
}
#endif
/* What both forms consist of. */
#define IN_BOTH static inline __attribute__((always_inline))

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
