/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * own_metric.h: private to tui/: metrics of the user's own. A command gets the outputs of FP32 and
 * of another model on one image as .npy files and prints a number; the mean over images is an
 * outcome beside those of the table (analysis/outcome.c).
 */
#ifndef TUI_OWN_METRIC_H
#define TUI_OWN_METRIC_H

#include "tui/tui.h"

/* Whether commands of metrics may run that the user has not typed. */
enum consent {
    CONSENT_ASK, /* those typed at the prompt, given with -e or in the start-up file, and trusted */
    CONSENT_ALWAYS,
    CONSENT_NEVER, /* none at all, not even typed ones */
};

struct own_metric {
    struct outcome outcome; /* its texts are the metric's */
    char *name, *unit, *help;
    size_t n_words; /* of the command */
    char **words;
    double timeout; /* seconds that a call may take */
    bool trusted;   /* the user has typed it, or said that it may run */
    bool retired;   /* another one has its name now; sweeps may still know it */
};
/* What an evaluation has found. */
struct own_value {
    const struct own_metric *metric; /* NULL: nothing */
    double fp32, int8;
    size_t images;
};
struct own_metrics {
    size_t n, cap;
    struct own_metric **list; /* they stay until the session ends */
    enum consent consent;
    struct own_value last; /* of the last evaluation */
};
void own_metrics_fini(struct own_metrics *m);

enum { OWN_TIMEOUT = 30, OWN_TIMEOUT_MOST = 86400 }; /* seconds */
struct own_spec {
    const char *name, *unit; /* unit "" for none */
    bool higher_is_better;
    double timeout;
    bool trusted;
    size_t n_words;
    char *const *words;
};
/* Makes a metric, in place of one of that name. E_USAGE for a name that cannot be one, no words. */
int own_define(struct session *s, const struct own_spec *spec, struct err *err);
int own_forget(struct session *s, const char *name, struct err *err);
/* NULL when there is none of that name. */
struct own_metric *own_find(const struct session *s, const char *name);
/* The i-th that is in force, NULL behind the last. */
const struct own_metric *own_at(const struct session *s, size_t i);
/* The metric behind an outcome; NULL for one of the table. */
const struct own_metric *own_of(const struct outcome *o);
/* The command as a line that reads back as its words; free() it. */
char *own_command(const struct own_metric *m);
/* Whether a sweep may be judged by it: OK for those of the table; E_STATE says how to allow it. */
int own_allowed(const struct session *s, const struct outcome *o, struct err *err);
/* Adds what its answers depend on besides the outputs: the words, and the bytes of files that they
 * name, the program's as PATH finds it. false: a file cannot be read or is too large, so that no
 * answer may be kept. */
bool own_digest(const struct own_metric *m, struct digest *d);

/* The row of the table, or the metric of the user's own, with that name; NULL. */
const struct outcome *session_outcome(const struct session *s, const char *name);
/* All of them: the table first; NULL behind the last. */
const struct outcome *session_outcome_at(const struct session *s, size_t i);
/* Lines of a script that is being checked will define this metric. */
void own_expect(const struct call *c);
bool own_expected(const struct session *s, const char *name);

/* In a session file. Those that come back are not trusted: `note` says so. */
json_t *own_json(const struct session *s);
void own_restore(struct session *s, const json_t *list, FILE *note);

/* Runs the command on the n outputs of both sides (own_run.c), and waits for it. Any thread, with
 * no lock held. E_STATE when it fails, prints no number or nan, or takes too long, with the reason;
 * E_STOP when cancelled. */
int own_run(const struct own_metric *m, size_t n, struct tensor *const *fp32,
            struct tensor *const *other, const struct cancel *cancel, double *value,
            struct err *err);

/* The mean over these images, which it takes over, with the pins in force, as a job
 * (own_evaluate.c); it stands in session.own->last when that has ended. */
int own_evaluate(struct call *c, const struct own_metric *m, size_t n, size_t *images,
                 bool background, struct err *err);

#endif
