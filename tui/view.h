/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * view.h: private to the views and the commands that move in them: what is under a cursor, and the
 * pieces that several views draw. Everything here reads a const session.
 */
#ifndef TUI_VIEW_H
#define TUI_VIEW_H

#include "tui/tui.h"

#define VIEW_EXTERN(ID, name) extern const struct view view_##name;
VIEWS(VIEW_EXTERN, )

enum { VIEW_WIDE = 120 }; /* columns from which there is room for panes beside a list */

/* ---- What is where (view.c) ------------------------------------------------------------------ */
/* The rows of a list view, in the order shown. Layers: comparable ones, then the unmatched. */
struct rows {
    size_t n;       /* rows in all */
    size_t n_items; /* rows that stand for a layer, an image or a log line */
    size_t *item;   /* n_items; indices into match.layers, data.samples or study->images */
    size_t cursor;  /* row of the cursor; 0 when there are none */
};
struct rows rows_of(const struct session *s, enum view_id view);
void rows_fini(struct rows *r);
/* First row to show so that the cursor is seen in `height` rows. */
size_t rows_top(const struct rows *r, int height);
/* Index into match.layers / data.samples of what commands of the current view act on, or -1. */
long view_current_layer(const struct session *s);
long view_current_image(const struct session *s);
/* How many rows of the current view are marked, which its keys then act on; 0 in views that show no
 * marks. */
size_t view_marked(const struct session *s);
/* Rows a list view has room for in a screen of this height, title and notes taken off. */
int view_page(int screen_rows);
/* Short text of what is pinned or pending for one layer: the mark of its precision where pinned and
 * in force, '~' pinned or unpinned but not run again yet, '.' INT8, 'f' float in the INT8 model. */
char view_layer_state(const struct session *s, size_t layer);

/* ---- Words (view_text.c) --------------------------------------------------------------------- */
/* A metric's value as in tables: "21.08", "exact", "n/a", "-". Returns dst. */
char *text_metric(char *dst, size_t size, const struct metric *m, const struct sums *sums,
                  double scale);
/* A number in at most `width` columns, as many digits as fit. */
char *text_number(char *dst, size_t size, double v, int width);
/* The same of a layer of the last run, also of metrics that are not of its sums. Returns dst. */
char *text_layer(char *dst, size_t size, const struct session *s, size_t layer,
                 const struct metric *m);
/* Bytes as "512 B", "15.4 kB", "1.6 MB" (powers of 1000). Returns dst. */
char *text_bytes(char *dst, size_t size, double bytes);
/* Seconds as 0:15 or 1:02:03; "?" when not finite. */
char *text_seconds(char *dst, size_t size, double seconds);
/* "1x3x224x224" as the model declares it, "?" for what it leaves open. Returns dst. */
char *text_shape(char *dst, size_t size, const struct value *v);
/* A class index with its name when known, text_safe. */
char *text_class(char *dst, size_t size, const struct dataset *d, int label);

/* "filter EXPR", text_safe, or "filter none". Returns dst. */
char *text_filter(char *dst, size_t size, const char *filter);

/* ---- Layer names in a column (view_name.c) -----------------------------------------------------
 */
struct name_cut {
    size_t skip;        /* bytes that all names begin with and that are left out */
    bool first;         /* of names joined with ';' */
    const char *ending; /* likewise at the end of the names that have it; NULL: none */
    enum text_cut mode;
};
/* The cut to `width` columns that leaves most of the layers' names different. */
struct name_cut name_cut_for(const struct session *s, int width);
void name_fit(char *dst, size_t size, const char *label, struct name_cut cut, int width);

/* ---- Pieces (view_pane.c) -------------------------------------------------------------------- */
/* The part of g inside r that exists. */
struct rect rect_clip(const struct grid *g, struct rect r);
/* Finishes a row of a list: what shows the cursor, and that a click takes it there. */
void draw_row_end(struct grid *g, int row, int cols, size_t item, bool cursor);
/* A line across with a caption: "-- caption -------". */
void draw_rule(struct grid *g, int row, int col, int width, const char *caption);
/* Name, operator, shape, state and figures of a layer; returns rows used. */
int draw_facts(const struct session *s, struct grid *g, struct rect r, size_t layer);
/* What is wrong with a layer and why: verdict, cause, and errors labelled CUMULATIVE, LOCAL and
 * OUTPUT; returns rows used. (view_evidence.c) */
int draw_evidence(const struct session *s, struct grid *g, struct rect r, size_t layer);
/* One model alone has no errors (view_alone.c): what it makes of a layer in figures, and what is
 * not there; the same of the current channel; return rows used. */
int draw_alone(const struct session *s, struct grid *g, struct rect r, size_t layer);
int draw_alone_channel(const struct session *s, struct grid *g, struct rect r, size_t layer);
/* In place of figures of errors in the table of layers, with the head. Returns dst. */
#define ALONE_HEAD "   LEAST     MOST  ZERO%   LOW%  HIGH%"
char *text_alone(char *dst, size_t size, const struct session *s, size_t layer);
/* Strip of heat letters, one a channel; returns rows used. */
int draw_channels(const struct session *s, struct grid *g, struct rect r, size_t layer);
/* ---- Pictures (view_plot.c) ------------------------------------------------------------------ */
/* Statistics to draw for a layer: those of the run, else those of the captured image, or NULL. */
const struct layer_stats *plot_stats(const struct session *s, size_t layer);
/* Range the codes can hold, over all channels; false when not quantized. */
bool plot_integer_range(const struct layer *l, double *lo, double *hi);
/* Counts of h spread over n columns from lo on, `step` wide each; a bin that lies in two columns
 * is shared out by its overlap. */
void plot_spread(const struct hist *h, double lo, double step, size_t n, double *count);
/* One channel of a tensor as a picture: value (y, x) is data[base + y*sy + x*sx]. */
struct map {
    const float *data;
    size_t base, w, h, sx, sy;
};

struct map map_of(const struct tensor *t, int channel_axis, int channel);
/* Least and largest finite value; of b given, of |b - a|. */
struct span_of {
    double lo, hi;
};
struct span_of map_span(const struct map *a, const struct map *b);
/* FP32, INT8 and their difference of the current channel, side by side. (view_picture.c) */
void draw_maps(const struct session *s, struct grid *g, struct rect r, size_t layer);
bool maps_ready(const struct session *s, size_t layer); /* both sides were captured */
/* The image of session.picture. (view_picture.c) */
void draw_picture(const struct session *s, struct grid *g, struct rect r, size_t image);
/* The picture of the current view in all of r: an image file, or the three maps. (view_zoom.c) */
void draw_zoom(const struct session *s, struct grid *g, struct rect r);
bool zoom_possible(const struct session *s); /* the view has a picture */
/* Counts of values of both sides, with the ends of the integer range. */
void draw_histogram(const struct session *s, struct grid *g, struct rect r, size_t layer);
/* The sort metric along the network. */
void draw_profile(const struct session *s, struct grid *g, struct rect r);
/* The SQNR of layers on one image, against that over all images; false when it is not known. */
bool draw_image_profile(const struct session *s, struct grid *g, struct rect r, long image);
/* How many lines of the log fill its view, from that one on or back. */
size_t log_page(const struct session *s, size_t from, bool up);
/* Shows other columns of the tables on the page, `step` quarters of its width further on; false
 * when none is wider than it. */
bool log_scroll(struct session *s, int step);
void draw_log_tail(const struct session *s, struct grid *g, struct rect r);
/* Bar of `width` columns filled to share (0..1). */
/* A figure of an axis whose neighbours are `step` away: all have the same decimals. */
char *axis_text(char *dst, size_t size, double v, double step);
void draw_bar(struct grid *g, int row, int col, int width, double share, enum style st);
/* Grade letter of an SQNR: '@' under 5 dB ... '.' at 30 and more, '=' exact, '?' undefined. */
char grade_letter(double db);
enum style grade_style(double db);
/* Level 0..31 of a value between lo and hi. */
int heat_level(double v, double lo, double hi);

/* ---- All images at once (view_scatter.c) ----------------------------------------------------- */
/* How often the label's output value changes how far. */
void draw_dlogit(const struct session *s, struct grid *g, struct rect r);
/* That change against the SQNR of the outputs; current: image of the cursor, or -1. */
void draw_scatter(const struct session *s, struct grid *g, struct rect r, long current);

/* ---- Sets of pins that were tried (view_pareto.c) ---------------------------------------------
 */
/* By layer: what pinning it would gain according to the last sweep or search, NAN unknown; free()
 * it. NULL when neither has asked for gains. */
double *whatif_gains(const struct session *s);
/* Products as percent of those of the whole network. */
double macs_share(const struct session *s, double macs);
/* Whether its pins are those now in force. */
bool trial_in_force(const struct session *s, const struct trial *t);
struct pareto_point {
    const struct trial *trial;
    size_t pins;
    double x, y;    /* cost as the view shows it; value */
    bool best, now; /* no other beats it; it is in force */
};
/* Models that have seen all images of the last sweep or search; returns how many, free() *out. */
size_t pareto_points(const struct session *s, struct pareto_point **out);
void draw_pareto(const struct session *s, struct grid *g, struct rect r);
/* Table of those that no other beats. */
void draw_front(const struct session *s, struct grid *g, struct rect r);

/* The first classes of both sides for a data set image; returns rows used, 0 when it has none.
 * (view_classes.c) */
int draw_classes(const struct session *s, struct grid *g, struct rect r, long image);

/* ---- The line being typed (view_edit.c): session.typing ---------------------------------------
 */
/* Rows that the candidates take, `most` at most. */
int choices_rows(const struct session *s, int cols, int most);
void draw_choices(const struct session *s, struct grid *g, struct rect r);
/* Prompt and line in one row; notes where the cursor is. */
void draw_typed(const struct session *s, struct grid *g, struct rect r);
/* The line in the last row, what can follow above it. */
void draw_edit(const struct session *s, struct grid *g);

/* ---- Help overlay (view_help.c) ---------------------------------------------------------------
 */
void draw_help(const struct session *s, struct grid *g);
/* The keys that hold in a view, as text, one a line. */
void help_print(FILE *out, const struct session *s, const char *view);
int help_lines(const struct session *s, const char *view);
/* The first line from `from` on, going round in steps of 1 or -1, that has the text; -1: none. */
int help_find(const struct session *s, const char *view, const char *text, int from, int step,
              bool (*has)(const char *text, const char *what));
/* Keys of the footer, most important first, as many as fit. */
void draw_footer(const struct session *s, struct grid *g, int row);

/* Columns of the layers table, for `sort +1`: metrics in the order shown. */
const struct metric *view_metric_step(const struct metric *m, int step);

#endif
