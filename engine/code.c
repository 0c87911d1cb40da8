/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * code.c: what computes: the very code of this process and the CPU under it. Results that were kept
 * are those of now only if neither has changed.
 */
#include "engine/engine.h"

#include <link.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif

static size_t aligned4(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* Adds the build id out of a segment of notes; false: it has none. */
static bool add_build_id(struct digest *d, const uint8_t *p, size_t size)
{
    ElfW(Nhdr) n;
    for (size_t at = 0; at + sizeof n <= size;) {
        memcpy(&n, p + at, sizeof n);
        size_t name = at + sizeof n, desc = name + aligned4(n.n_namesz);
        at = desc + aligned4(n.n_descsz);
        if (at <= size && n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 &&
            memcmp(p + name, "GNU", 4) == 0) {
            digest_add(d, p + desc, n.n_descsz);
            return true;
        }
    }
    return false;
}

/* The program or a library: by its build id, else by its instructions. The kernel's own page is no
 * part of what computes. */
static int add_object(struct dl_phdr_info *o, size_t size, void *ctx)
{
    (void)size;
    struct digest *d = ctx;
    bool known = strncmp(o->dlpi_name, "linux-", 6) == 0;
    for (int i = 0; i < o->dlpi_phnum && !known; i++) {
        const ElfW(Phdr) *h = &o->dlpi_phdr[i];
        const uint8_t *at = (const uint8_t *)(o->dlpi_addr + h->p_vaddr);
        known = h->p_type == PT_NOTE && add_build_id(d, at, h->p_memsz);
    }
    for (int i = 0; i < o->dlpi_phnum && !known; i++) {
        const ElfW(Phdr) *h = &o->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && (h->p_flags & PF_X) && (h->p_flags & PF_R)) {
            digest_bulk(d, (const uint8_t *)(o->dlpi_addr + h->p_vaddr), h->p_filesz);
        }
    }
    return 0;
}

/* Model and features, by which kernels are chosen here and in libraries; not which core it is. */
static void add_cpu(struct digest *d)
{
#if defined(__x86_64__)
    unsigned a, b, c, e;
    if (__get_cpuid(1, &a, &b, &c, &e)) {
        digest_int(d, a);
        digest_int(d, c);
        digest_int(d, e);
    }
    for (unsigned leaf = 0; leaf < 2; leaf++) {
        if (__get_cpuid_count(7, leaf, &a, &b, &c, &e)) {
            digest_int(d, b);
            digest_int(d, c);
            digest_int(d, e);
        }
    }
#else
    digest_int(d, (int64_t)getauxval(AT_HWCAP));
    digest_int(d, (int64_t)getauxval(AT_HWCAP2));
#endif
    static const char *const chosen[] = {"QSCOPE_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"};
    for (size_t i = 0; i < COUNT(chosen); i++) {
        digest_text(d, getenv(chosen[i]));
    }
}

struct digest engine_code(void)
{
    struct digest d = {0};
    dl_iterate_phdr(add_object, &d);
    add_cpu(&d);
    return d;
}
