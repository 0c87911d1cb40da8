/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * pool.h: private to engine/: memory for elements of tensors and packed weights. It comes from
 * large pages, where the system has them: layers walk through more memory than there are entries
 * for small pages, and what one layer gives back the next one takes again.
 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include <stddef.h>

/* `size` bytes that begin with a cache line, not cleared; NULL: no memory. To be given back, by any
 * thread. */
void *pool_take(size_t size);
/* p NULL: does nothing. */
void pool_give(void *p);

#endif
