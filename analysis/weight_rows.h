/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * weight_rows.h: private to analysis/: constants that layers multiply by as a matrix
 * [outputs, products], products in the order input channel, row, column, whatever the operator and
 * the format keep them as; and what two of its rows differ by.
 */
#ifndef ANALYSIS_WEIGHT_ROWS_H
#define ANALYSIS_WEIGHT_ROWS_H

#include "analysis/qmodel.h"

enum weight_order {
    ORDER_OK,
    ORDER_KO,
    ORDER_SPACE_FIRST,
    ORDER_DEPTHWISE,
    ORDER_NONE,
};
struct weight_matrix {
    const struct tensor *t;
    enum weight_order order;
    size_t o, k, space; /* space: positions of a filter */
};
enum { WEIGHT_ROWS = 16 }; /* rows that are read at a time */

/* Of the weights w of node n; false: not of an operator or shape that is known. */
bool weight_matrix_init(struct weight_matrix *m, const struct node *n, const struct tensor *w);
/* Elements of t, which has the layout of m->t, of rows [o, o + n), n <= WEIGHT_ROWS, as they are:
 * to [n, k]. */
void weight_rows_read(const struct weight_matrix *m, const struct tensor *t, size_t o, size_t n,
                      double *to);
/* v[i] *= gain, v [k]. */
void weight_row_scale(double *v, size_t k, double gain);
/* w[i] = (w[i] - zero) * factor; max |w[i] - zero|. */
double weight_row_codes(double *w, size_t k, double zero, double factor);

/* Of FP32 weights v and INT8 weights w. Sums are taken in lanes, in an order that depends on k
 * alone. */
struct row_difference {
    double vv, ee, vw; /* sum v^2, sum (v - w)^2, sum v w */
    double shift;      /* mean of w - v */
    double left;       /* sum (w - v - shift)^2 */
    double reach;      /* sum |w| */
    double top;        /* max |v| */
    bool any_v, any_w; /* some are not 0 */
};
struct row_difference weight_row_compare(const double *v, const double *w, size_t k);

#endif
