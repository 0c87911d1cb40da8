/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * memo.h: private to tui/: statistics of single images that stay in memory while a session lasts,
 * so that after a pin only the layers are measured that it changed. Known by the identities of the
 * two activations, which cover all that makes them.
 */
#ifndef TUI_MEMO_H
#define TUI_MEMO_H

#include "tui/tui.h"

enum {
    MEMO_SIZE = 64 << 20,   /* bytes of statistics */
    HELD_SIZE = 128 << 20,  /* and of activations, or less where memory is short */
    OUTPUTS_SIZE = 4 << 20, /* in a batch, where outputs alone are held */
};
struct memo;
/* Bytes that may be held beside runs: in the screen, in a batch. limit: of memory, 0: none. */
size_t memo_room(size_t limit, bool batch);
struct memo *memo_new(void);
void memo_free(struct memo *m);
/* Identities name constants by their place in memory: when models go, all goes. */
void memo_clear(struct memo *m);
/* A run begins: what no run uses from now on may go when it is full. */
void memo_begin(struct memo *m);

/* Layers of images that were found so far. */
size_t memo_found(const struct memo *m);

/* What of an image result is known, and under which keys it stands. */
struct memo_keys {
    struct digest *layers; /* per layer of the match; {0, 0}: nothing to compare */
    struct digest score;
    size_t n_layers;
    /* Pins do not change what the FP32 model computes. Activations of its last layers, which are
     * small, are held: where no other layer is to be compared, it is not run. */
    bool *hold;          /* per layer */
    struct digest *fp32; /* per layer */
    const struct plan *plan_fp32;
    size_t n_outputs;
};
struct run_setup;
/* For a run over so many images; held: bytes for all of them. */
void memo_keys_init(struct memo_keys *k, const struct run_setup *u, size_t images, size_t held);
void memo_keys_fini(struct memo_keys *k);
/* Fills in what is known of the image: known[n_layers]. Returns whether that is all. */
bool memo_take(struct memo *m, const struct memo_keys *k, struct digest image,
               struct image_result *r, bool *known);
/* Holds an activation of the FP32 model. */
void memo_hold(struct memo *m, const struct memo_keys *k, struct digest image, size_t layer,
               struct tensor *t);
/* Holds its n outputs in real numbers, which other runs with other pins, and trials, compare with;
 * those that are NULL are left out. room: bytes of all that is held. */
void memo_hold_outputs(struct memo *m, const struct plan *fp32, struct digest image, size_t n,
                       struct tensor *const *out, size_t room);
/* Those outputs, each one reference; false, and none: some are not held. */
bool memo_recall_outputs(struct memo *m, const struct plan *fp32, struct digest image, size_t n,
                         struct tensor **out);
/* The FP32 side of the layers that are not known, then its outputs: out[n_layers + n_outputs], each
 * one reference. false, and none: some are not held. */
bool memo_recall(struct memo *m, const struct memo_keys *k, struct digest image, const bool *known,
                 struct tensor **out);
/* Images of which the FP32 side was recalled so far. */
size_t memo_recalled(const struct memo *m);
/* Keeps the rest. Nothing of an image that a node refused. */
void memo_keep(struct memo *m, const struct memo_keys *k, struct digest image,
               const struct image_result *r, const bool *known);

#endif
