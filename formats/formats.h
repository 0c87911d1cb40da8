/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * formats.h: what carries models, tensors, images and lists in and out. Every parse is bounds
 * checked and budgeted, every file is written through file_write(). Functions that read a file
 * put its path in front of their error text.
 */
#ifndef FORMATS_FORMATS_H
#define FORMATS_FORMATS_H

#include "engine/engine.h"

/* ---- Files (file.c): the only ways to touch one --------------------------------------------- */
struct file {
    char *path;
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    int64_t mtime_ns;
};
/* Maps a regular file read-only. E_IO: missing, not regular (fifo, device, directory), no
 * permission; E_LIMIT above `limit` bytes (0 = 4 GiB). */
int file_map(const char *path, size_t limit, struct file *out, struct err *err);
void file_unmap(struct file *f);
/* A file of which only parts are read. path stays the caller's. */
struct file_part {
    int fd;
    const char *path;
    size_t size;
    int64_t mtime_ns;
};
/* As file_map(), without reading. */
int file_open(const char *path, size_t limit, struct file_part *out, struct err *err);
/* E_IO also when the file has no such part any more. */
int file_read_part(const struct file_part *f, size_t offset, size_t size, void *dst,
                   struct err *err);
void file_close(struct file_part *f);
/* Opens a file strictly below the directory of `model_path` (no "..", no absolute path, no
 * symbolic links, regular files only) and reads [offset, offset+size) into dst. */
int file_read_below(const char *model_path, const char *name, uint64_t offset, size_t size,
                    void *dst, struct err *err);
/* Size of such a file. */
int file_size_below(const char *model_path, const char *name, uint64_t *size, struct err *err);
/* Atomic write: a temporary file beside the target, rename. The target is either the old or the
 * whole new file. FILE_DURABLE syncs file and directory, so that this holds for a power failure
 * too; FILE_SCRATCH does not wait for the disk: for many files that can be made again. */
enum file_sync { FILE_DURABLE, FILE_SCRATCH };
int file_write(const char *path, const void *data, size_t size, enum file_sync sync,
               struct err *err);
/* mkdir -p. */
int file_mkdir(const char *path, struct err *err);
bool file_exists(const char *path);
bool file_is_dir(const char *path);

/* ---- The format table (format.c) ------------------------------------------------------------ */
struct image;
struct format {
    const char *name;                             /* "onnx", "png", ... */
    const char *extensions;                       /* ".png .apng" */
    const char *help;                             /* one line */
    bool (*probe)(const uint8_t *head, size_t n); /* by first bytes; NULL = extension only */
    /* Each may be NULL: this format cannot do that. */
    int (*load_model)(struct file *f, struct graph **out, struct err *err); /* takes f over */
    int (*save_model)(const struct graph *g, const char *path, struct err *err);
    int (*load_image)(const struct file *f, struct image *out, struct err *err);
    int (*load_tensor)(const struct file *f, struct tensor **out, struct err *err);
};
/* NULL-terminated. */
extern const struct format *const formats[];
/* By first bytes, else by extension; NULL when nothing fits. */
const struct format *format_of(const char *path, const uint8_t *head, size_t n);
/* The same of a file, of which nothing else is read. Fails as file_open(). */
int format_of_file(const char *path, const struct format **out, struct err *err);

/* Loads a model of any known format. E_FORMAT says the byte offset, what was found and expected. */
int model_load(const char *path, struct graph **out, struct err *err);
/* Writes ONNX: everything not changed since reading goes out byte for byte. */
int onnx_save(const struct graph *g, const char *path, struct err *err);
/* The ONNX reader's cursor on a single TensorProto (.pb test data). */
int onnx_load_tensor(const struct file *f, struct tensor **out, struct err *err);

/* ---- Tensors as files ----------------------------------------------------------------------- */
/* .npy version 1-3, C or Fortran order, little endian, bool/ints/floats; no objects. */
int npy_save(const struct tensor *t, const char *path, struct err *err);
/* .npy or .pb by extension or magic. */
int tensor_load(const char *path, struct tensor **out, struct err *err);

/* ---- Images --------------------------------------------------------------------------------- */
struct image {
    int w, h;
    int channels; /* 1 gray, 3 RGB; alpha is dropped on reading (over black is not blended) */
    uint8_t *px;  /* h rows of w*channels bytes */
};
enum { IMAGE_MAX_PIXELS = 64 << 20 };
/* PNG (8/16 bit, palette, gray, interlaced), JPEG (no scaled decoding; CMYK refused), PNM (P2 P3
 * P5 P6, maxval <= 65535). */
int image_load(const char *path, struct image *out, struct err *err);
void image_fini(struct image *im);
int png_save(const struct image *im, const char *path, struct err *err);

/* ---- Preprocessing (preprocess.c) ----------------------------------------------------------- */
enum pp_resize { PP_BILINEAR, PP_NEAREST, PP_BICUBIC, PP_LANCZOS, PP_BOX }; /* as in Pillow */
/* Plain stretch to the size, or the shorter side to crop_resize and then the size cut out of the
 * middle, as torchvision's Resize and CenterCrop. */
enum pp_crop { PP_STRETCH, PP_CENTER };
enum pp_color { PP_RGB, PP_BGR, PP_GRAY, PP_Y };
enum pp_layout { PP_NCHW, PP_NHWC };
/* The order of steps is fixed: the picture is read as gray or RGB, resized and cropped as such in 8
 * bits, converted to the model's colours, then x = (v - mean[c]) / std[c] with v = pixel (range
 * 255) or pixel/255 (range 1), laid out. mean and std stand in the model's channel order: with
 * color=bgr the first one is blue's. A gray picture counts as RGB with three equal channels. */
struct preprocess {
    int w, h, channels;
    enum pp_resize resize;
    enum pp_crop crop;
    int crop_resize; /* pixels; 0 = the longer side of the size / 0.875, rounded */
    enum pp_color color;
    enum pp_layout layout;
    double range;           /* 255 or 1: the scale on which mean and std are given */
    double mean[3], std[3]; /* one value given: the same for all */
};
/* Default from the model's input shape: layout and channels by which dimension is 1 or 3, size
 * from the rest (224 when symbolic), RGB, stretch, bilinear, range 1, mean 0, std 1. */
void preprocess_default(struct preprocess *p, int rank, const int64_t *dims);
/* One "key=value" setting as typed in the preprocess command. E_USAGE names the key and the
 * accepted values. size=HxW crop=center|none[:SHORT] resize=... layout= mean=a,b,c std= color=
 * range=0..1|0..255 */
int preprocess_set(struct preprocess *p, const char *setting, struct err *err);
/* The settings as one line of key=value words; caller's buffer. */
char *preprocess_text(const struct preprocess *p, char *dst, size_t size);
/* Sidecar JSON: an object with the same keys; values are strings as typed, numbers or lists. p is
 * unchanged on failure. */
int preprocess_load(struct preprocess *p, const char *path, struct err *err);
/* Image -> f32 tensor [1,c,h,w] or [1,h,w,c]. Resizing is Pillow's: separable, support scaled by
 * the reduction factor, 8-bit result rounded as Pillow does between the passes. Y is
 * ITU-R 601-2 luma as Pillow's convert("YCbCr"); gray as convert("L"). */
int preprocess_apply(const struct preprocess *p, const struct image *im, struct tensor **out,
                     struct err *err);

/* ---- Calibration (calib.c) ------------------------------------------------------------------ */
struct calibration;
/* Reads a calibration cache of TensorRT; the caller frees with calibration_fini(). E_FORMAT names
 * the line: no "TRT-" in the first, no "NAME: HEX", a scale that is negative or not finite, a
 * tensor twice. */
int calibration_load(const char *path, struct calibration *out, struct err *err);

/* ---- Results that are kept (cache.c) -------------------------------------------------------- */
#define CACHE_FILE "results-1.db" /* the number is that of the schema */
/* Values of any bytes by digest, in DIR/CACHE_FILE: for any number of threads and processes. */
struct cache;
struct cache_info {
    size_t entries;
    size_t size, limit;  /* bytes of the file that hold them */
    size_t hits, misses; /* since it was opened */
};
/* Opens it, or makes it with DIR, which only its owner may enter. E_IO: damaged, or not to be
 * written; E_FORMAT: some other database is there, which is left alone. */
int cache_open(const char *dir, size_t limit, struct cache **out, struct err *err);
void cache_close(struct cache *c);
/* true: *data is a copy for the caller to free. false: not there, or not as it was put. */
bool cache_get(struct cache *c, struct digest key, void **data, size_t *size);
/* Keeps a value, in place of an older one of that key; those that were not used for longest go when
 * the limit is reached. Not when it is larger than a quarter of the limit, when another process
 * writes for longer than a moment, or after a fault. */
void cache_put(struct cache *c, struct digest key, const void *data, size_t size);
/* Whether a fault has turned it off, and which (err may be NULL). */
bool cache_fault(struct cache *c, struct err *err);
void cache_limit(struct cache *c, size_t limit);
void cache_look(struct cache *c, struct cache_info *out);
/* Removes what is in DIR, even where it cannot be opened. Nobody of this process may have it open.
 * OK when there is nothing. */
int cache_clear(const char *dir, struct err *err);

/* ---- Data sets (dataset.c): lists of samples, nothing decoded until asked ------------------- */

/* What a model wants at one input; dims -1 accept anything. */
struct model_input {
    const char *name;
    enum dtype dtype;
    int rank; /* -1 unknown: accepts anything */
    int64_t dims[MAX_RANK];
};
struct sample {
    char *path;  /* file, or a directory with one file per input */
    char *name;  /* unique short name: path below what was added, "[row]" when it is a row */
    int64_t row; /* element along the file's first axis; -1 = the whole file */
    int label;   /* class index after the offset, -1 = unlabelled */
    bool marked;
};
struct dataset {
    size_t n, cap;
    struct sample *samples;
    size_t n_names;
    char **names; /* class names by index, NULL where unknown */
};
struct dataset_options {
    const char *labels; /* CSV: file,label[,name]; NULL: labels.csv beside the images if there,
                           else the sorted names of the top directories, when every sample sits in
                           one of at least two */
    int label_offset;   /* added to labels >= 0 */
    size_t limit;       /* 0 = all */
    uint64_t seed;      /* with limit: seeded choice when non-zero, else the first ones in order */
    int n_inputs;       /* > 1: directories are samples, one file per input */
    const struct model_input *inputs; /* NULL: no model yet, so no .npy is split into rows */
};
/* Adds a file, a directory (recursive, sorted by name; hidden files and linked directories are
 * skipped) or a sample directory: one that holds NAME.npy or input_K.npy (or .pb) per input; for
 * one input, input_0 without an input_1. An .npy whose first axis counts N > 1 samples for a model
 * of one input (batch 1 or symbolic) becomes N samples; inside a sample directory it stays whole.
 * A CSV line names a file by its path below the list's directory (for `labels`: below `path`), by
 * its last part or by a longer part of the path; a first line whose label is no integer is a
 * header; names may be empty. Samples already there are skipped; *added counts the new ones; d is
 * unchanged on failure. E_IO when the path is missing, E_FORMAT for a CSV line that does not parse
 * (names the line). */
int dataset_add(struct dataset *d, const char *path, const struct dataset_options *o, size_t *added,
                struct err *err);
void dataset_remove(struct dataset *d, size_t i);
void dataset_fini(struct dataset *d);
/* Reads one sample: n_inputs tensors, shaped for the model inputs (batch axis added or not). Images
 * go through the preprocessing (first input only); .npy/.pb are converted to the input's dtype
 * only between float widths, else E_SHAPE. Models whose input is uint8 or int8 get an image's
 * pixels minus mean, which needs std 1 and whole means; range 0..1 then means pixels too. */
int sample_load(const struct sample *s, const struct preprocess *p, int n_inputs,
                const struct model_input *inputs, struct tensor **out, struct err *err);
/* Whether it goes through preprocess: a picture of its own, and no array. */
bool sample_pictured(const struct sample *s);
/* content.c: digest of what a sample is: its files, or its row of one. Fails without a text. */
int sample_content(const struct sample *s, struct digest *out);
/* Digest of where that lies and of sizes and times: while it stays, so does the content. */
int sample_stamp(const struct sample *s, struct digest *out);

#endif
