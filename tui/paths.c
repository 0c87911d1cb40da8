/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * paths.c: where qscope keeps what is not the user's data: history, crash notes, start-up file.
 */
#include <stdlib.h>

#include "tui/front.h"

char *path_xdg(const char *env, const char *below, const char *file)
{
    const char *base = getenv(env);
    if (base && base[0] == '/') /* the standard says to ignore relative ones */
        return mem_printf("%s/qscope/%s", base, file);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/')
        return NULL;
    return mem_printf("%s/%s/qscope/%s", home, below, file);
}
