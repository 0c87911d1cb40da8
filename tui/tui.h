/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tui.h: private to tui/: the session, the command language (language.h), and how views draw.
 *
 * There is one language: a line of text. A key expands to a line, the REPL reads a line, a script
 * is lines; all go through cmd_line(). Only commands change the session; views draw a const one.
 * Commands print data to call->out (stdout, or the log of the screen), notes to call->note.
 */
#ifndef TUI_TUI_H
#define TUI_TUI_H

#include <jansson.h>
#include <pthread.h>
#include <time.h>

#include "analysis/analysis.h"
#include "engine/engine.h"
#include "formats/formats.h"
#include "tui/grid.h"

#define QSCOPE_VERSION "0.1.0"

/* ---- Session -------------------------------------------------------------------------------- */
/* THE list of views, in the order of their tabs. X(ID, name): VIEW_ID draws with view_name; name is
 * also the word for it in the language. */
#define VIEWS(X, between)                                                                          \
    X(LAYERS, layers)                                                                              \
    between X(LAYER, layer)                                                                        \
    between X(IMAGES, images)                                                                      \
    between X(GRAPH, graph)                                                                        \
    between X(PINS, pins)                                                                          \
    between X(LOG, log)
#define VIEW_ID(ID, name) VIEW_##ID,
enum view_id { VIEWS(VIEW_ID, ) N_VIEWS };

/* Pins after one change; the undo stack is a list of these. */
struct pin_state {
    size_t n; /* pinned layer names, sorted by network order */
    char **names;
    uint8_t *as; /* enum precision of each */
    char *label; /* the command that led here: "pin 'conv1'" */
    size_t edit; /* the models under the pins: of session.edits */
};

/* Both sides of one layer on one image, for drill-down. */
struct capture {
    size_t layer, image;
    struct tensor *fp32;      /* f32 */
    struct tensor *int8;      /* f32, dequantized */
    struct tensor *codes;     /* NULL when the layer is not quantized */
    struct layer_stats stats; /* of this image alone, with histograms */
};

/* Luminance of an image for the images view, reduced to what a screen can show. */
struct picture {
    size_t image;
    size_t w, h;
    int full_w, full_h; /* of the file */
    float *luma;        /* h rows of w, 0..255; NULL: none */
};

/* What layers take, in ms of one thread: what was computed since the layer before, in the order of
 * execution. */
struct layer_times {
    size_t n; /* layers; 0: not measured */
    double
        *ms[2]; /* by side, n + 1: the last one is the whole pass; NULL: that side is not loaded */
};

struct session;
enum job_state { JOB_IDLE, JOB_RUNNING, JOB_DONE, JOB_CANCELLED, JOB_FAILED };
/* Work that may go on in the background: a run, a sweep, a search. */
struct job_kind {
    const char *what;              /* "run" */
    const char *unit, *short_unit; /* what it counts: "images", "img" */
    bool uses_plans;               /* those of the session that pins replace */
    bool whole;                    /* what is cancelled leaves nothing */
    bool open;                     /* how much there is to do is found out on the way */
    /* Does it, on a thread of its own and without the lock. */
    int (*body)(struct session *s, void *ctx, struct err *err);
    /* Called once by the front when it has ended, however it did; frees ctx. NULL: a command waits
     * for it, and goes on with ctx. */
    int (*finish)(struct session *s, void *ctx, struct err *err);
    /* What it has found, or while it is open has found so far, in a few words. */
    void (*summary)(const struct session *s, char *dst, size_t size);
};
/* Guarded by session.lock. */
struct job {
    enum job_state state;
    int id; /* 1, 2, ... */
    const struct job_kind *kind;
    void *ctx;          /* until it is finished */
    size_t done, total; /* in kind->unit */
    size_t known;       /* of these, taken from an earlier job */
    char found[160];    /* by its summary, made when it ended */
    bool told;          /* the front has said how it ended, or a command does */
    bool gone;          /* what it has found was dropped since */
    struct timespec started, ended;
    struct cancel cancel;
    struct err err;
    FILE *note; /* progress for people, or NULL */
    double noted;
    bool threaded; /* pthread is to be joined */
    pthread_t thread;
    struct graph *old_graphs[8]; /* replaced by pins while this job still runs on them */
    struct plan *old_plans[8];
    size_t n_old;
};

struct log_line {
    char *text; /* text_safe */
    char kind;  /* '>' command, ' ' output, 'n' note, 'e' error */
};

/* Forms of data: tables for people; one object a command; its rows as lines of JSON or CSV. */
enum form { FORM_NONE, FORM_TABLE, FORM_JSON, FORM_JSONL, FORM_CSV };

/* How pictures that fill the screen are shown: by sequences for pixels, or in cells. */
enum graphics { GRAPHICS_AUTO, GRAPHICS_KITTY, GRAPHICS_SIXEL, GRAPHICS_BLOCKS };

enum { LOCAL_IMAGES = 16 }; /* default of the setting `local` */
struct setting_values {
    int jobs;      /* worker threads */
    size_t memory; /* bytes for activations, 0 = 60 % of RAM */
    enum numerics numerics;
    enum kernels kernels;
    bool on_error_stop;
    bool ascii, color;
    bool cache;        /* results are kept and taken; off until a front turns it on */
    size_t cache_size; /* bytes on disk */
    enum graphics graphics;
    bool mouse;     /* clicks and the wheel come to the screen, not to the terminal */
    bool clipboard; /* `copy` may write to the terminal's */
    int top;        /* default rows of listings, 0 = all */
    int local;      /* images of a run on which local errors are measured; -1: all, 0: none */
};

/* What the screen shows; changed by commands of cmd_ui.c and cmd_choice.c only. */
struct ui {
    enum view_id view, stack[16];
    int depth;
    size_t layer_row, image_row, pin_row, log_row; /* cursor per list view */
    int log_col;  /* first column of tables in the log that is seen */
    size_t layer; /* current layer (index in match), for view layer and %layer */
    size_t image; /* current data set image, for %image */
    int channel;
    bool linear, diff; /* histogram: linear counts, difference instead of both */
    const struct metric *sort;
    enum sort_dir sort_dir;
    const struct image_key *image_sort;
    enum sort_dir image_dir;
    char find[128];
    char layer_filter[256], image_filter[256]; /* expressions; "": all rows are shown */
    char ask[64]; /* what the command line is to be opened with, from `jump` to a command */
    bool flips_only;
    bool classes, raw_classes; /* the first classes below the list; as values of the output */
    int graph_node;            /* cursor of the graph view: node of session.map */
    int graph_focus;           /* what is shown around it; see struct graph_look */
    int graph_depth; /* 0: nobody chose one, so nothing is folded if it all fits on the screen */
    bool graph_whole, graph_parts, graph_only;
    const struct metric *graph_color; /* NULL: SQNR */
    enum graph_by { GRAPH_METRIC, GRAPH_MACS, GRAPH_TIME } graph_by;
    bool pareto_macs; /* cost of a set of pins: products, not their number */
    bool zoom;        /* the picture of the view has the whole screen */
    bool help;        /* overlay */
    int help_row;     /* first line of the overlay shown */
    bool repl;        /* the prompt of the log view is to be opened */
    bool redraw;      /* the terminal is to be painted from scratch */
    int rows;         /* height of the screen, for pages; 0 = 24 */
    int cols;         /* its width, likewise; 0 = 80 */
    bool quit;
    char toast[256]; /* bottom line, text_safe */
    bool toast_error;
    time_t toast_until;
};

/* The line being typed on the screen; strings borrowed. */
struct typing {
    const char *prompt, *line;
    size_t point;   /* cursor, bytes into the line */
    char **choices; /* what can follow, NULL-terminated; NULL: not asked for */
    int row, col;   /* where the cursor was drawn */
};

/* Models as a step of the history left them. A graph may stand in several versions. */
struct version {
    struct graph *fp32, *int8;
    struct edits made; /* of the version of the step before; none: int8 is another file */
};

struct session {
    pthread_mutex_t lock;      /* held by the front while a command runs or a view draws; by workers
                                  only while they merge a result */
    struct graph *fp32, *int8; /* NULL = not loaded */
    struct graph *mixed;       /* int8 with pins applied; NULL without pins */
    size_t n_edits;
    struct version *edits; /* of the models, which are one of them; [0] as loaded. Empty until one
                              is changed */
    struct plan_store *store;           /* of all plans made for these models */
    struct results *results;            /* of earlier runs and sweeps, see results.h */
    struct plan *plan_fp32, *plan_int8; /* plan_int8 runs `mixed` when there are pins */
    int *int8_values;      /* per layer: its value in the graph that plan_int8 was made from */
    size_t *gap_layers[2]; /* by side: layers that each gap of its plan blocks */
    size_t n_gap_layers[2];
    size_t n_blockable;       /* layers before those were taken out */
    struct implicit implicit; /* what a calibration cache made of int8; no layers: there is none */
    char *cache;              /* its file, NULL: none */
    struct match match;       /* valid when fp32 or int8 is loaded */
    bool pair;                /* both sides loaded */
    struct graphmap *map;     /* both models as one graph; NULL: nothing is loaded */
    struct layer_cost *costs; /* by layer; NULL without an FP32 model */
    double macs;              /* of all layers */
    struct layer_times times; /* of the models in force */
    struct graph_rows *rows;  /* what of it the graph view shows */
    size_t n_hand, cap_hand;
    struct match_pair *hand; /* owned names */
    bool *marked;            /* by layer */

    struct dataset data;
    struct preprocess pp;
    bool pp_set;   /* by the user; else follows the model */
    bool classify; /* outputs are class values */
    char *task;    /* "classify", "raw" or NULL = from the model */

    struct study *study;   /* of the last run; NULL before */
    struct judged *judged; /* what is to blame for its errors (judge.c); NULL: not judged yet */
    size_t *ran;           /* data set indices of the run, in order */
    size_t n_ran;
    struct pin_state *run_pins; /* pins that were in force in that run; NULL = none */
    struct sweep *sweep;        /* the last one, also while it grows; NULL: none */
    struct search *search;      /* steps of the last search; NULL: the last sweep was another */
    struct sweep *only;         /* beside a sweep of SWEEP_LOO: SWEEP_ONLY of its layers; or NULL */
    const struct cost_model *cost; /* that the last search chose by; NULL: by none */
    double *cost_ms;               /* its times: see cost_model.of */
    struct raised *raised; /* what a prefix, suffix or bisection has found; NULL: it was none */
    json_t *quantized;     /* what the last `calibrate` or `quantize` found; NULL: nothing */
    json_t *compared;      /* summary of the last `baseline compare` of these results; NULL: none */
    struct own_metrics *own; /* metrics of the user's own, see own_metric.h */
    struct job job;
    struct picture picture;
    struct capture capture; /* fp32/int8 NULL = empty */

    struct pin_state *undo; /* history; current is undo[n_undo-1], [0] is the empty one */
    size_t n_undo, at_undo; /* undo[at_undo] is in force */

    size_t *listed; /* layer indices of the last `layers` listing, for @3 */
    size_t n_listed;
    size_t *listed_images; /* images of the last listing of them, likewise; NULL: there was none,
                              and they are ranked as the images view has them */
    size_t n_listed_images;

    struct setting_values set;
    json_t *vars; /* ${VAR} */
    struct budget budget;
    bool json;           /* data as objects, in the form below */
    enum form form;      /* FORM_TABLE exactly when not json */
    struct shell *shell; /* shell.h */
    bool batch;          /* no abbreviations of commands */
    bool screen;         /* the full screen is up: runs go to the background */
    bool quit;
    int exit_code;    /* of `quit N` */
    int source_depth; /* scripts being run inside one another */

    char *offer; /* the last session in a few words, while nothing is loaded; NULL: none */
    struct log_line *log;
    size_t n_log, cap_log;
    char *clip; /* what the screen still has to put into the clipboard; NULL: nothing */
    struct ui ui;
    struct typing *typing; /* NULL: the command line is closed */
};

struct session *session_new(void);
void session_free(struct session *s);
void session_log(struct session *s, char kind, const char *text); /* splits lines, sanitizes */
/* Layer name shown to people, text_safe, in a small ring of static buffers. */
const char *session_layer_label(const struct session *s, size_t layer);
/* The label cut to `columns`, keeping what tells layers apart. Returns columns used. */
int session_layer_short(const struct session *s, size_t layer, char *dst, size_t size, int columns);
bool session_pinned(const struct session *s, size_t layer);
/* The same of all layers; free() it. */
bool *session_pins(const struct session *s);
/* The precision of a pinned layer, of any other PREC_FP32. */
enum precision session_precision(const struct session *s, size_t layer);
/* Its mark in listings: of the precision of a pinned layer, '.' for others. */
char session_pin_mark(const struct session *s, size_t layer);
/* Its precision as JSON has it: null for layers that are not pinned. */
json_t *session_precision_json(const struct session *s, size_t layer);
/* The precision of each layer as trials beside the pins in force have it: those keep theirs, others
 * get `as`. n_layers, free() it. */
uint8_t *session_precisions(const struct session *s, enum precision as);
/* How a line calls a pinned layer of a state: by its name where no other has it, else by its
 * tensor. The text is the session's. */
const char *session_pin_word(const struct session *s, const struct pin_state *p, size_t i);
/* The line that pins what a state pins in that precision; NULL: nothing. free() it. */
char *session_pin_line(const struct session *s, const struct pin_state *p, enum precision as);
/* True when the pins now in force differ from those of the last run for this layer. */
bool session_pin_pending(const struct session *s, size_t layer);
/* The numerics in force as reports name it: "ort", "tensorrt (unverified)". Static texts. */
const char *session_numerics(const struct session *s);
/* "fp32.onnx <> int8.onnx", match counts, numerics, accuracy: the title bar's parts. */
void session_title(const struct session *s, char *dst, size_t size);
/* Order in which the layers view and `layers` show: order[n_layers]; returns rows to show. */
size_t session_layer_order(const struct session *s, const struct metric *m, enum sort_dir d,
                           size_t *order);
size_t session_image_order(const struct session *s, const struct image_key *k, enum sort_dir d,
                           size_t *order); /* indices into study->images */
/* The score of a data set image in the last run, or NULL. */
const struct image_score *session_score(const struct session *s, size_t image);
/* The INT8 graph that runs: mixed when there are pins. NULL without one. */
const struct graph *session_int8(const struct session *s);
/* The value of the executed graph that shows a layer on that side, or -1. */
int session_executed(const struct session *s, size_t layer, enum side side);
/* The models changed: drops results, capture, marks, listing, pins. Stops a running job first. */
int session_load(struct session *s, const char *fp32, const char *int8, const char *cache,
                 struct err *err);
/* The same for one side; the other one stays as it is, and both are a pair from now on. */
int session_load_side(struct session *s, enum side side, const char *path, const char *cache,
                      struct err *err);
void session_unload(struct session *s);
/* Makes map and rows of the graph anew (graph_rows.c). */
void session_map(struct session *s);
/* Preprocessing and task that follow from the model, unless the user said otherwise. */
void session_follow(struct session *s);
/* Matches again after `match A=B`. */
int session_match(struct session *s, struct err *err);
/* Makes the pinned set be exactly these layers, each in the precision (enum precision) of `as`;
 * NULL: those that are pinned keep theirs, others get FP32. One undo step labelled `label`. */
int session_pin(struct session *s, const bool *pinned, const uint8_t *as, const char *label,
                struct err *err);
/* The same of a model that was tried. */
int session_pin_trial(struct session *s, const struct trial *t, const char *label, struct err *err);
/* Puts edited copies of the models (fp32 NULL: as it is), which it takes over with the edits that
 * made them, in their place, under the same pins; one undo step. Results are dropped. On failure
 * nothing changes and the copies are freed. */
int session_edit(struct session *s, struct version v, const char *label, struct err *err);
/* Replaces the history by these states, which it takes over, and puts the at-th of them in force
 * (0: no pins). The versions that they name are in session.edits. On failure no pin is in force. */
int session_set_history(struct session *s, size_t n, const struct pin_state *states, size_t at,
                        struct err *err);
/* Moves in the undo history by `steps` (< 0: undo). */
int session_undo(struct session *s, int steps, struct err *err);
/* Inputs that the loaded models want: the FP32 model's, or the INT8 model's. Returns how many. */
size_t session_inputs(const struct session *s, struct model_input *in, size_t room);
/* An image of the data set as those inputs, or zeros behind its end; the caller frees them. */
int session_sample(const struct session *s, size_t image, struct tensor **in, struct err *err);
/* How the INT8 side computes a layer: "runs as QLinearConv", "runs in float: reason". Static. */
const char *session_runs_as(const struct session *s, size_t layer);
/* Forgets the results of the last run. */
void session_forget_run(struct session *s);
/* The listing that @N of images is a rank of, taken over; NULL: none. */
void session_list_images(struct session *s, size_t n, size_t *images);
/* Forgets all that was measured (preprocessing or data set changed). */
void session_forget(struct session *s);
/* Forgets the last sweep or search. */
void session_forget_sweep(struct session *s);
/* Plans again after a change of numerics or kernels. */
int session_replan(struct session *s, struct err *err);
/* Reads an image file for session.picture. E_STATE when it is no picture. */
int session_picture(struct session *s, size_t image, struct err *err);
void session_picture_clear(struct session *s);
/* Runs both sides on one image and keeps the layer's tensors (both sides) in s->capture. */
int session_capture(struct session *s, size_t layer, size_t image, struct err *err);
void session_capture_clear(struct session *s);

/* Times the layers on an image of the data set, zeros behind its end: the median of `runs` passes,
 * as a job (layer_time.c). */
int layer_times_start(struct session *s, size_t image, int runs, bool background, FILE *note,
                      struct err *err);
void layer_times_fini(struct layer_times *t);
/* The same as a part of a job that uses plans, of a pair: begun with the lock held, NULL when that
 * fails; ended on one thread without it, with what each layer takes more in FP32 than in INT8. */
struct timing;
struct timing *layer_times_begin(struct session *s, size_t image, int runs, struct err *err);
int layer_times_end(struct session *s, struct timing *t, double *ms, struct err *err);

/* ---- Costs of sets of pins (cost_model.c) ---------------------------------------------------- */
/* THE table of what a set of pins may be said to cost. */
struct cost_model {
    const char *name, *unit, *help;
    /* as: per layer enum precision of those pinned, NULL: FP32. ms: per layer, what it takes more
     * in FP32; NULL: not measured. */
    double (*of)(const struct session *s, const bool *pinned, const uint8_t *as, const double *ms);
};
#define COST_MODELS "macs|weights|activations|boundaries|ms"
extern const struct cost_model cost_models[]; /* ends with name NULL; the first is the default */
const struct cost_model *cost_model_find(const char *name);
/* Per layer of the models in force, the ms that `cost --measure` has found more in FP32; NULL: it
 * has not. free() it. */
double *cost_times(const struct session *s);
/* The same as the last sweep knows it, whose pins may be in force since; free() it. */
double *cost_ms(const struct session *s);

/* ---- Judgements (judge.c) ------------------------------------------------------------------- */
/* Errors of weights, and verdicts of all layers, of the models and the run there are. */
struct judged {
    struct local_map *map;
    struct weight_error *weights; /* per layer */
    struct misread *misread;      /* per layer */
    bool *pinned;                 /* per layer */
    struct layer_verdict *verdicts;
    bool ran; /* the verdicts know a run */
};
/* Judges if that was not done since models and results last changed; of a run it is about the
 * models of that run. Needs a pair; else session.judged stays NULL. */
void session_judge(struct session *s);
/* The same without measuring local errors that are missing. */
void judged_renew(struct session *s);
/* The same of a run that is over, if there is one: in a batch, where no view shows what is judged
 * after a run, done by the first command that may ask. */
void judged_run(struct session *s);
/* What the analysis is to be asked with. */
struct judge_input session_judge_input(const struct session *s);
void judged_forget(struct session *s);
/* The last sweep of that kind; NULL: there is none. */
const struct sweep *session_sweep(const struct session *s, enum sweep_kind kind);
/* Gain of pinning a layer in the last sweep of that kind, or its value; NAN: there is none. */
double session_sweep_effect(const struct session *s, size_t layer, enum sweep_kind kind);
/* Puts all metrics that are not of cumulative sums, and the split of local noise, into an object of
 * a layer. */
void judged_json(json_t *o, const struct session *s, size_t layer);
/* Text of a metric that is one: "RANGE"; NULL: nothing is known. */
const char *judged_text(const struct session *s, size_t layer, const struct metric *m);

/* ---- Jobs (job.c) --------------------------------------------------------------------------- */
/* Starts a job; in the background, else waits and prints progress to `note` when it is a terminal.
 * Called with the lock held; gives it up while waiting. */
int job_start(struct session *s, const struct job_kind *kind, void *ctx, size_t total,
              bool background, FILE *note, struct err *err);
/* Waits for the job; the lock is given up meanwhile. E_STOP when it was cancelled. */
int job_wait(struct session *s, struct err *err);
void job_cancel(struct session *s);
/* Something takes the place of the job, or of what it works on: the job is cancelled; in a batch,
 * where nobody has changed his mind, it is waited for. */
void job_replace(struct session *s);
/* Lets a job of the screen that has ended put in force what it found, before a command begins that
 * what it replaces would be taken away from. */
void job_settle(struct session *s);
/* "31 of 4160 runs", or "533 runs" where the total is not known. */
char *job_count(const struct job *j, char *dst, size_t size);
/* "run #1 done: 96 of 96 images, 0 failed": how a job that has ended went. */
char *job_words(const struct job *j, char *dst, size_t size);
/* How far it is; called with the lock held. */
void job_advance(struct session *s, size_t done, size_t total);
/* worker(ctx) on n threads, this one among them; returns when all have ended. */
void job_threads(int n, void *(*worker)(void *ctx), void *ctx);
double seconds_since(const struct timespec *from); /* of CLOCK_MONOTONIC */
double job_rate(const struct job *j);              /* units/s, NAN before 3 */
double job_eta(const struct job *j);               /* seconds, NAN when unknown */

/* ---- Runs (run.c) --------------------------------------------------------------------------- */
/* Starts a run over the given data set indices, as job_start() does. Takes over `images`. */
int run_start(struct session *s, size_t n, size_t *images, bool background, FILE *note,
              struct err *err);
/* Measures the local errors of the last run where its figures were taken from an earlier one. */
void run_local(struct session *s);
/* One image through both sides, without locks. image_result_init'ed by the caller. `keep`: when not
 * NULL, called with each activation that the dump or a capture wants, both sides. */
typedef int run_keep(void *ctx, size_t layer, enum side side, const struct tensor *t,
                     struct err *err);
struct run_hooks {
    run_keep *keep; /* each matched activation */
    run_keep
        *keep_other; /* `layer` is then a value index of the executed graph: every activation */
    void *ctx;
};
int run_image(const struct session *s, size_t image, const struct run_hooks *hooks,
              const struct cancel *cancel, struct image_result *r, struct err *err);

#include "tui/language.h"

/* ---- Fronts --------------------------------------------------------------------------------- */
/* Reads and runs a script; the whole script is parsed before its first command runs. Stops at the
 * first error unless keep_going. *failed counts errors that were passed over. Errors are printed
 * to stderr as FILE:LINE: error: text [E_CODE]. */
int script_run(struct session *s, const char *path, bool keep_going, FILE *out, size_t *failed,
               struct err *err);
int script_stream(struct session *s, FILE *in, const char *name, bool keep_going, FILE *out,
                  size_t *failed, struct err *err);
/* prompt.c; `first`: a line to run before the first prompt, ":LINE" to be offered for the first
 * one, or NULL. Returns the exit code. */
int repl_run(struct session *s, const char *first);
/* screen.c; E_UNSUPPORTED when the terminal cannot. `first` as above. */
int screen_run(struct session *s, const char *first, struct err *err);
/* Exit code of an error that ended a batch: from_script says 3 instead of 1 for plain failures. */
int exit_code(int err_code, bool from_script);
/* paths.c: $env/qscope/file, or $HOME/below/qscope/file; NULL without a home. free() it. */
char *path_xdg(const char *env, const char *below, const char *file);

/* ---- Views (view*.c) ------------------------------------------------------------------------ */
struct view {
    const char *name, *title;
    const char *help;
    void (*draw)(const struct session *s, struct grid *g, int top, int rows);
};
extern const struct view *const views[N_VIEWS];
/* A whole screen: title bar, tabs, the view, job line, footer, overlay, toast. Any size >= 1x1. */
void view_draw(const struct session *s, struct grid *g);

/* ---- Keys (keymap.c): strings only ---------------------------------------------------------- */
struct key {
    const char *view; /* view name or "*" */
    const char *key;  /* "j", "Down", "^R", "Enter", "Space", "PgUp", "F2", "S-Tab" */
    const char *line; /* command line; %layer %image stand for what is under the cursor, %pin and
                         %mark for the verb that changes it ("pin" or "unpin"); a line starting
                         with ':' opens the command line with the text after it */
    const char *help; /* NULL: an alternative of the row above */
    int footer;       /* > 0: shown in the footer, in this order */
    const char *hint; /* one or two words for the footer */
};
extern const struct key keymap[]; /* ends with view NULL */
/* The user's own first. */
const struct key *key_find(const struct session *s, const char *view, const char *key);
/* Makes a key do a line, or what it did before when line is NULL. E_USAGE when it is no key, or
 * when nothing is there to be given up. */
int key_bind(struct session *s, const char *view, const char *key, const char *line,
             struct err *err);
void key_fini(struct key *k); /* of one bound by the user */
/* Expands the places of a line; NULL when nothing is under the cursor. free() it. */
char *key_line(const struct session *s, const struct key *k, struct err *err);

#endif
