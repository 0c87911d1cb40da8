/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * graphics.h: private to the screen: pictures of pixels for terminals that can show them.
 */
#ifndef TUI_GRAPHICS_H
#define TUI_GRAPHICS_H

#include "tui/tui.h"

/* Version of libchafa, or NULL: it was not there when the program was built, and pictures are
 * drawn with characters. */
const char *graphics_library(void);
/* "auto", "kitty", "sixel", "blocks"; NULL behind the last. */
const char *graphics_name(enum graphics g);
/* What the setting means on this terminal, by its environment: never GRAPHICS_AUTO, and
 * GRAPHICS_BLOCKS without the library or inside a multiplexer that was not asked for more. */
enum graphics graphics_for(enum graphics wanted);
/* The bytes that show an RGB picture in cols x rows cells of cell_w x cell_h pixels, as large as it
 * fits. malloc'd; E_UNSUPPORTED without the library, E_USAGE for more than 400x200 cells. */
int graphics_encode(enum graphics g, const struct image *im, int cols, int rows, int cell_w,
                    int cell_h, char **out, size_t *size, struct err *err);
/* The picture of the current view at full size (image file, or maps of the current channel beside
 * each other); image_fini(). E_STATE when there is none. */
int graphics_image(const struct session *s, struct image *out, struct err *err);

#endif
