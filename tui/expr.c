/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * expr.c: recursive descent over the grammar of expr.h, evaluating as it parses; depth is bounded.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "tui/expr.h"

enum { DEPTH = 64, WORD = 128 };

struct parser {
    const char *text, *at;
    expr_lookup *lookup;
    void *ctx;
    int depth;
    char strings[4][WORD * 4]; /* string literals alive at once: both sides of a comparison */
    int n_strings;
    struct err *err;
};

static int parse_or(struct parser *p, struct expr_value *v);

bool expr_true(const struct expr_value *v)
{
    return v->text ? v->text[0] != '\0' : v->number != 0 && !isnan(v->number);
}

static void skip(struct parser *p)
{
    p->at += strspn(p->at, " \t");
}

static bool take(struct parser *p, const char *token)
{
    skip(p);
    size_t n = strlen(token);
    if (strncmp(p->at, token, n) != 0) {
        return false;
    }
    p->at += n;
    return true;
}

static int wrong(struct parser *p, const char *expected)
{
    return err_set(p->err, E_USAGE, "expression '%s': column %d: expected %s", p->text,
                   (int)(p->at - p->text) + 1, expected);
}

static bool word(struct parser *p, char *dst)
{
    skip(p);
    size_t n = 0;
    while (isalnum((unsigned char)p->at[n]) || p->at[n] == '_') {
        n++;
    }
    if (!n || n >= WORD || isdigit((unsigned char)p->at[0])) {
        return false;
    }
    memcpy(dst, p->at, n);
    dst[n] = '\0';
    p->at += n;
    return true;
}

static int parse_string(struct parser *p, struct expr_value *v)
{
    char quote = *p->at++;
    size_t n = strcspn(p->at, quote == '"' ? "\"" : "'");
    if (p->at[n] != quote || n >= sizeof p->strings[0]) {
        return wrong(p, "a closing quote");
    }
    char *s = p->strings[p->n_strings++ % (int)COUNT(p->strings)];
    memcpy(s, p->at, n);
    s[n] = '\0';
    p->at += n + 1;
    *v = (struct expr_value){.text = s};
    return OK;
}

static int parse_name(struct parser *p, struct expr_value *v)
{
    char name[WORD], inner[WORD];
    *v = (struct expr_value){0};
    if (!word(p, name)) {
        return wrong(p, "a number, a name, a string or '('");
    }
    bool call = take(p, "(");
    if (call && (!word(p, inner) || !take(p, ")"))) {
        return wrong(p, "NAME)");
    }
    if (!p->lookup) {
        return OK;
    }
    return p->lookup(p->ctx, call ? name : NULL, call ? inner : name, v, p->err);
}

static int parse_unary(struct parser *p, struct expr_value *v)
{
    skip(p);
    if (++p->depth > DEPTH) {
        return wrong(p, "less nesting");
    }
    int rc;
    char *end;
    if (take(p, "-")) {
        rc = parse_unary(p, v);
        v->number = -v->number;
    } else if (take(p, "(")) {
        rc = parse_or(p, v);
        rc = rc || take(p, ")") ? rc : wrong(p, "')'");
    } else if (*p->at == '"' || *p->at == '\'') {
        rc = parse_string(p, v);
    } else if (isdigit((unsigned char)*p->at) || *p->at == '.') {
        *v = (struct expr_value){.number = strtod(p->at, &end)};
        rc = end == p->at ? wrong(p, "a number") : OK;
        p->at = end;
    } else {
        rc = parse_name(p, v);
    }
    p->depth--;
    return rc;
}

static int parse_product(struct parser *p, struct expr_value *v)
{
    int rc = parse_unary(p, v);
    while (!rc) {
        bool times = take(p, "*");
        if (!times && !take(p, "/")) {
            break;
        }
        struct expr_value r;
        rc = parse_unary(p, &r);
        v->number = times ? v->number * r.number : v->number / r.number;
    }
    return rc;
}

static int parse_sum(struct parser *p, struct expr_value *v)
{
    int rc = parse_product(p, v);
    while (!rc) {
        bool plus = take(p, "+");
        if (!plus && !take(p, "-")) {
            break;
        }
        struct expr_value r;
        rc = parse_product(p, &r);
        v->number += plus ? r.number : -r.number;
    }
    return rc;
}

/* Whether it holds: 1, 0, or NaN when that is not known. */
static double truth(const struct expr_value *v)
{
    return v->text ? v->text[0] != '\0' : isnan(v->number) ? NAN : v->number != 0;
}

/* A text that is a number, such as a class without a name, is compared as one with a number. */
static bool as_number(const struct expr_value *v, double *out)
{
    char *end = NULL;
    *out = v->text ? strtod(v->text, &end) : v->number;
    return !end || (end != v->text && !*end);
}

static double compare(const char *op, const struct expr_value *a, const struct expr_value *b)
{
    double x, y;
    if ((a->text && b->text) || !as_number(a, &x) || !as_number(b, &y)) {
        bool same = a->text && b->text && strcmp(a->text, b->text) == 0;
        return op[0] == '!' ? !same : op[0] == '=' && same;
    }
    if (isnan(x) || isnan(y)) {
        return NAN;
    }
    switch (op[0]) {
    case '<':
        return op[1] ? x <= y : x < y;
    case '>':
        return op[1] ? x >= y : x > y;
    case '!':
        return x != y;
    default:
        return x == y;
    }
}

/* What a text is compared with: quotes are lost on the way through a line, so that a bare word
   that means nothing else stands for itself. */
static int parse_text(struct parser *p, struct expr_value *v)
{
    const char *start = p->at;
    char name[WORD];
    struct err unknown = {0};
    *v = (struct expr_value){0};
    if (!word(p, name) || take(p, "(")) {
        p->at = start;
        return parse_sum(p, v);
    }
    if (p->lookup && p->lookup(p->ctx, NULL, name, v, &unknown)) {
        char *s = p->strings[p->n_strings++ % (int)COUNT(p->strings)];
        snprintf(s, sizeof p->strings[0], "%s", name);
        *v = (struct expr_value){.text = s};
    }
    return OK;
}

static int parse_not(struct parser *p, struct expr_value *v)
{
    static const char *const ops[] = {"<=", ">=", "==", "!=", "<", ">"};
    skip(p);
    if (p->at[0] == '!' && p->at[1] != '=') {
        p->at++;
        if (++p->depth > DEPTH) {
            return wrong(p, "less nesting");
        }
        int rc = parse_not(p, v);
        p->depth--;
        const double holds = truth(v);
        *v = (struct expr_value){.number = isnan(holds) ? NAN : !holds};
        return rc;
    }
    int rc = parse_sum(p, v);
    for (size_t i = 0; i < COUNT(ops) && !rc; i++) {
        if (take(p, ops[i])) {
            struct expr_value r;
            const bool text = v->text && strchr("=!", ops[i][0]);
            rc = text ? parse_text(p, &r) : parse_sum(p, &r);
            *v = (struct expr_value){.number = rc ? NAN : compare(ops[i], v, &r)};
            break;
        }
    }
    return rc;
}

/* One of them decides when it has this truth; else it takes both to be known. */
static struct expr_value joined(const struct expr_value *a, const struct expr_value *b,
                                bool decides)
{
    const double x = truth(a), y = truth(b);
    if (x == decides || y == decides) {
        return (struct expr_value){.number = decides};
    }
    return (struct expr_value){.number = isnan(x) || isnan(y) ? NAN : !decides};
}

static int parse_and(struct parser *p, struct expr_value *v)
{
    int rc = parse_not(p, v);
    while (!rc && take(p, "&&")) {
        struct expr_value r;
        rc = parse_not(p, &r);
        *v = joined(v, &r, false);
    }
    return rc;
}

static int parse_or(struct parser *p, struct expr_value *v)
{
    int rc = parse_and(p, v);
    while (!rc && take(p, "||")) {
        struct expr_value r;
        rc = parse_and(p, &r);
        *v = joined(v, &r, true);
    }
    return rc;
}

int expr_eval(const char *text, expr_lookup *lookup, void *ctx, struct expr_value *out,
              struct err *err)
{
    struct parser p = {.text = text, .at = text, .lookup = lookup, .ctx = ctx, .err = err};
    int rc = parse_or(&p, out);
    skip(&p);
    if (!rc && *p.at) {
        rc = wrong(&p, "an operator or the end");
    }
    if (!rc && out->text) {
        /* A literal string lives in the parser; only its truth survives. */
        *out = (struct expr_value){.number = expr_true(out)};
    }
    return rc;
}
