/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * expr.h: private to tui/: the small expression language of `assert` and of {filters}.
 *
 *   or: and { '||' and }   and: not { '&&' not }   not: '!' not | sum [cmp sum]
 *   cmp: < <= > >= == !=   sum: product { (+|-) product }   product: unary { (*|/) unary }
 *   unary: '-' unary | number | "string" | name | name '(' name ')' | '(' or ')'
 *
 * Values are numbers or strings; == and != compare strings too, and a name behind them that means
 * nothing is a string itself. What is compared with an undefined value (NaN) is undefined, and so
 * is what rests on it: it does not hold, negated or not.
 */
#ifndef TUI_EXPR_H
#define TUI_EXPR_H

#include "engine/base.h"

struct expr_value {
    double number;
    const char *text; /* NULL: a number */
};
/* Value of a name, or of function(name) when `function` is given. E_USAGE for unknown ones. */
typedef int expr_lookup(void *ctx, const char *function, const char *name, struct expr_value *out,
                        struct err *err);
/* Evaluates; E_USAGE names the column of a syntax error. lookup NULL: checks the syntax only. */
int expr_eval(const char *text, expr_lookup *lookup, void *ctx, struct expr_value *out,
              struct err *err);
bool expr_true(const struct expr_value *v);

#endif
