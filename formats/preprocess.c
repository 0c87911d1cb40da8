/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * preprocess.c: from a picture to a model's input: settings in, tensor out. The order is fixed:
 * resize in the picture's own colours, crop, convert the colour, normalise, lay out. It decodes
 * nothing and knows no data set.
 */
#include "formats/rows.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

/* ---- Settings: names and values ------------------------------------------------------------- */

/* Lists end in NULL and stand in the order of the enum. */
static const char *const resize_names[] = {"bilinear", "nearest", "bicubic",
                                           "lanczos",  "box",     NULL};
static const char *const color_names[] = {"rgb", "bgr", "gray", "y", NULL};
static const char *const layout_names[] = {"NCHW", "NHWC", NULL};
static const char *const range_names[] = {"0..255", "0..1", "255", "1", NULL}; /* two spellings */

static int color_channels(enum pp_color c)
{
    return c == PP_GRAY || c == PP_Y ? 1 : 3;
}

static bool is_channels(int64_t dim)
{
    return dim == 1 || dim == 3;
}

/* A dimension that can be a side, else the usual 224. */
static int default_side(int64_t dim)
{
    return dim >= 1 && dim <= IMAGE_MAX_SIDE ? (int)dim : 224;
}

void preprocess_default(struct preprocess *p, int rank, const int64_t *dims)
{
    *p = (struct preprocess){.w = 224, .h = 224, .channels = 3, .range = 1};
    for (size_t c = 0; c < COUNT(p->std); c++) {
        p->std[c] = 1;
    }
    if (rank != 4 && rank != 3) {
        return;
    }
    const int64_t *d = dims + rank - 3; /* without the batch */
    if (!is_channels(d[0]) && is_channels(d[2])) {
        p->layout = PP_NHWC;
    } else if (rank == 3 && !is_channels(d[0])) {
        /* [batch, h, w]: one gray channel that the shape does not show. */
        p->color = PP_GRAY;
        p->channels = 1;
        p->h = default_side(d[1]);
        p->w = default_side(d[2]);
        return;
    }
    bool nhwc = p->layout == PP_NHWC;
    p->color = d[nhwc ? 2 : 0] == 1 ? PP_GRAY : PP_RGB;
    p->channels = color_channels(p->color);
    p->h = default_side(d[nhwc ? 0 : 1]);
    p->w = default_side(d[nhwc ? 1 : 2]);
}

/* A finite decimal number that ends in a comma or with the text. */
static bool parse_number(const char **s, double *v)
{
    if (!**s || !strchr("+-.0123456789", **s)) {
        return false; /* no white space, "nan" or "inf" */
    }
    char *end;
    double x = strtod(*s, &end);
    if (end == *s || (*end && *end != ',') || !isfinite(x)) {
        return false;
    }
    *s = end;
    *v = x;
    return true;
}

/* 1..IMAGE_MAX_SIDE in decimal digits; moves past them. */
static bool parse_side(const char **s, int *side)
{
    int v = 0;
    const char *p = *s;
    while (*p >= '0' && *p <= '9' && v <= IMAGE_MAX_SIDE) {
        v = v * 10 + (*p++ - '0');
    }
    if (v < 1 || v > IMAGE_MAX_SIDE) {
        return false;
    }
    *s = p;
    *side = v;
    return true;
}

static int set_name(int *field, const char *key, const char *value, const char *const *names,
                    struct err *err)
{
    char list[128] = "";
    size_t n = 0;
    for (int i = 0; names[i]; i++) {
        if (!strcasecmp(value, names[i])) {
            *field = i;
            return OK;
        }
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? "|" : "", names[i]);
    }
    return err_set(err, E_USAGE, "%s '%s', expected %s", key, value, list);
}

static int set_resize(struct preprocess *p, const char *value, struct err *err)
{
    int i = 0, rc = set_name(&i, "resize", value, resize_names, err);
    p->resize = rc ? p->resize : (enum pp_resize)i;
    return rc;
}

static int set_color(struct preprocess *p, const char *value, struct err *err)
{
    int i = 0, rc = set_name(&i, "color", value, color_names, err);
    if (!rc) {
        p->color = (enum pp_color)i;
        p->channels = color_channels(p->color);
    }
    return rc;
}

static int set_layout(struct preprocess *p, const char *value, struct err *err)
{
    int i = 0, rc = set_name(&i, "layout", value, layout_names, err);
    p->layout = rc ? p->layout : (enum pp_layout)i;
    return rc;
}

static int set_range(struct preprocess *p, const char *value, struct err *err)
{
    int i = 0, rc = set_name(&i, "range", value, range_names, err);
    p->range = rc ? p->range : i % 2 ? 1 : 255;
    return rc;
}

static int set_size(struct preprocess *p, const char *value, struct err *err)
{
    int h = 0, w = 0;
    const char *s = value;
    if (!parse_side(&s, &h) || *s++ != 'x' || !parse_side(&s, &w) || *s) {
        return err_set(err, E_USAGE, "size '%s', expected HxW with sides of 1..%d", value,
                       IMAGE_MAX_SIDE);
    }
    if ((int64_t)h * w > IMAGE_MAX_PIXELS) {
        return err_set(err, E_USAGE, "size '%s', expected at most %d pixels", value,
                       IMAGE_MAX_PIXELS);
    }
    p->h = h;
    p->w = w;
    return OK;
}

static int set_crop(struct preprocess *p, const char *value, struct err *err)
{
    static const char center[] = "center:";
    int side = 0;
    const char *s = value + (strncmp(value, center, strlen(center)) ? 0 : strlen(center));
    if (!strcmp(value, "none") || !strcmp(value, "center")) {
        p->crop = value[0] == 'n' ? PP_STRETCH : PP_CENTER;
        p->crop_resize = 0;
    } else if (s != value && parse_side(&s, &side) && !*s) {
        p->crop = PP_CENTER;
        p->crop_resize = side;
    } else {
        return err_set(err, E_USAGE, "crop '%s', expected none|center|center:SHORTER_SIDE", value);
    }
    return OK;
}

/* One value for all channels, or three in the order in which the model gets them. */
static int set_channels(double *field, const char *key, const char *value, bool positive,
                        struct err *err)
{
    double v[3] = {0};
    int n = 0;
    const char *s = value;
    bool good = true;
    do {
        good = parse_number(&s, &v[n]) && !(positive && v[n] <= 0);
        n++;
    } while (good && n < 3 && *s == ',' && s++);
    if (!good || *s || n == 2) {
        return err_set(err, E_USAGE, "%s '%s', expected one or three %snumbers with commas", key,
                       value, positive ? "positive " : "");
    }
    for (int c = 0; c < 3; c++) {
        field[c] = v[n == 1 ? 0 : c];
    }
    return OK;
}

static int set_mean(struct preprocess *p, const char *value, struct err *err)
{
    return set_channels(p->mean, "mean", value, false, err);
}

static int set_std(struct preprocess *p, const char *value, struct err *err)
{
    return set_channels(p->std, "std", value, true, err);
}

static const struct setting {
    const char *key;
    int (*set)(struct preprocess *p, const char *value, struct err *err);
} settings[] = {
    {"size", set_size},     {"crop", set_crop},   {"resize", set_resize}, {"color", set_color},
    {"layout", set_layout}, {"range", set_range}, {"mean", set_mean},     {"std", set_std},
};

int preprocess_set(struct preprocess *p, const char *setting, struct err *err)
{
    const char *eq = strchr(setting, '=');
    if (!eq) {
        return err_set(err, E_USAGE, "'%s' is not a setting, expected KEY=VALUE", setting);
    }
    size_t n = (size_t)(eq - setting);
    for (size_t i = 0; i < COUNT(settings); i++) {
        if (strlen(settings[i].key) == n && !memcmp(settings[i].key, setting, n)) {
            return settings[i].set(p, eq + 1, err);
        }
    }
    return err_set(err, E_USAGE,
                   "no setting '%.*s', expected size|crop|resize|color|layout|range|mean|std",
                   (int)MIN(n, 40), setting);
}

/* ---- Settings as text ----------------------------------------------------------------------- */

/* The shortest text that reads back as v. */
static void number_text(double v, char *dst, size_t size)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(dst, size, "%.*g", digits, v);
        if (strtod(dst, NULL) == v) {
            return;
        }
    }
}

/* "a" or "a,b,c". */
static void channels_text(const double *v, int channels, char *dst, size_t size)
{
    bool same = channels == 1 || (v[1] == v[0] && v[2] == v[0]);
    size_t n = 0;
    for (int c = 0; c < (same ? 1 : 3); c++) {
        char number[32];
        number_text(v[c], number, sizeof number);
        n += (size_t)snprintf(dst + n, size - n, "%s%s", c ? "," : "", number);
    }
}

char *preprocess_text(const struct preprocess *p, char *dst, size_t size)
{
    char mean[96], std[96], crop[32] = "none";
    channels_text(p->mean, p->channels, mean, sizeof mean);
    channels_text(p->std, p->channels, std, sizeof std);
    if (p->crop == PP_CENTER) {
        snprintf(crop, sizeof crop, p->crop_resize ? "center:%d" : "center", p->crop_resize);
    }
    snprintf(dst, size, "size=%dx%d crop=%s resize=%s color=%s layout=%s range=%s mean=%s std=%s",
             p->h, p->w, crop, resize_names[p->resize], color_names[p->color],
             layout_names[p->layout], range_names[p->range == 255 ? 0 : 1], mean, std);
    return dst;
}

/* ---- Sidecar file --------------------------------------------------------------------------- */

/* Appends a string or a number to text; false for any other kind of value or when it is full. */
static bool append_json(const json_t *value, char *text, size_t size)
{
    size_t n = strlen(text);
    if (json_is_number(value)) {
        char number[32];
        number_text(json_number_value(value), number, sizeof number);
        return (size_t)snprintf(text + n, size - n, "%s", number) < size - n;
    }
    const char *s = json_string_value(value);
    return s && strlen(s) == json_string_length(value) &&
           (size_t)snprintf(text + n, size - n, "%s", s) < size - n;
}

/* One member of the object as the setting one would type; arrays are joined. */
static int set_json(struct preprocess *p, const char *key, const json_t *value, struct err *err)
{
    char text[256];
    bool good = (size_t)snprintf(text, sizeof text, "%s=", key) < sizeof text;
    if (json_is_array(value)) {
        const char *separator = strcmp(key, "size") ? "," : "x";
        for (size_t i = 0; good && i < json_array_size(value); i++) {
            if (i && strlen(text) + 1 < sizeof text) {
                strncat(text, separator, sizeof text - strlen(text) - 1);
            }
            good = append_json(json_array_get(value, i), text, sizeof text);
        }
    } else {
        good = good && append_json(value, text, sizeof text);
    }
    if (!good) {
        return err_set(err, E_FORMAT,
                       "the value of '%.40s' is neither a number, a short string nor a list", key);
    }
    int rc = preprocess_set(p, text, err);
    if (rc && err) {
        err->code = E_FORMAT; /* the file is wrong, not what was typed */
    }
    return rc ? E_FORMAT : OK;
}

int preprocess_load(struct preprocess *p, const char *path, struct err *err)
{
    struct file f = {0};
    json_error_t at;
    int rc = file_map(path, (size_t)1 << 20, &f, err);
    if (rc) {
        return rc;
    }
    struct preprocess read = *p;
    json_t *root = json_loadb((const char *)f.data, f.size, JSON_REJECT_DUPLICATES, &at);
    if (!root) {
        rc = err_set(err, E_FORMAT, "line %d, column %d: %s", at.line, at.column, at.text);
    } else if (!json_is_object(root)) {
        rc = err_set(err, E_FORMAT, "not a JSON object of preprocess settings");
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        rc = rc ? rc : set_json(&read, key, value, err);
    }
    if (rc) {
        err_in(err, "%s", path);
    } else {
        *p = read;
    }
    json_decref(root);
    file_unmap(&f);
    return rc;
}

/* ---- Applying ------------------------------------------------------------------------------- */

/* Sides after resizing for a center crop, and where the crop starts: as torchvision's Resize(n) and
 * CenterCrop: the longer side is cut to an integer, the start is rounded half to even. */
struct crop_plan {
    int64_t w, h;
    int64_t x, y;
};

static int64_t half_to_even(int64_t n)
{
    return n / 2 + (n % 2 && (n / 2) % 2);
}

static int plan_crop(const struct preprocess *p, const struct image *im, struct crop_plan *c,
                     struct err *err)
{
    int64_t side = p->crop_resize ? p->crop_resize : lround(MAX(p->w, p->h) / 0.875);
    c->w = im->w <= im->h ? side : side * im->w / im->h;
    c->h = im->w <= im->h ? side * im->h / im->w : side;
    if (c->w < p->w || c->h < p->h) {
        return err_set(err, E_USAGE,
                       "center crop of %dx%d does not fit into the image resized to %" PRId64
                       "x%" PRId64 " (HxW)",
                       p->h, p->w, c->h, c->w);
    }
    c->x = half_to_even(c->w - p->w);
    c->y = half_to_even(c->h - p->h);
    return OK;
}

static int resize_and_crop(const struct preprocess *p, const struct image *im, struct image *out,
                           struct err *err)
{
    struct crop_plan c = {0};
    struct image whole = {0};
    if (p->crop == PP_STRETCH) {
        return image_resize(im, p->w, p->h, p->resize, out, err);
    }
    int rc = plan_crop(p, im, &c, err);
    if (!rc) {
        rc = image_check(c.w, c.h, err);
    }
    if (!rc) {
        rc = image_resize(im, (int)c.w, (int)c.h, p->resize, &whole, err);
    }
    if (!rc) {
        rc = image_new(p->w, p->h, im->channels, out, err);
    }
    if (!rc) {
        size_t stride = (size_t)p->w * (size_t)im->channels;
        for (int y = 0; y < p->h; y++) {
            size_t at = (size_t)(c.y + y) * (size_t)whole.w + (size_t)c.x;
            memcpy(out->px + (size_t)y * stride, whole.px + at * (size_t)im->channels, stride);
        }
    }
    image_fini(&whole);
    return rc;
}

/* Pillow's convert("YCbCr") adds table entries in 6-bit fixed point and cuts. */
static uint8_t luma_601(const uint8_t rgb[3])
{
    static const int weights[3] = {299, 587, 114}; /* thousandths */
    int sum = 0;
    for (int c = 0; c < 3; c++) {
        sum += (rgb[c] * weights[c] * 64 + 500) / 1000;
    }
    return (uint8_t)(sum >> 6);
}

/* One pixel in the colours of the model; px has 1 or 3 channels. */
static void convert_color(enum pp_color color, const uint8_t *px, int channels, uint8_t dst[3])
{
    const uint8_t rgb[3] = {px[0], px[channels == 3 ? 1 : 0], px[channels == 3 ? 2 : 0]};
    switch (color) {
    case PP_RGB:
    case PP_BGR:
        dst[0] = rgb[color == PP_RGB ? 0 : 2];
        dst[1] = rgb[1];
        dst[2] = rgb[color == PP_RGB ? 2 : 0];
        break;
    case PP_GRAY: /* Pillow's convert("L") */
        dst[0] = (uint8_t)((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
        break;
    case PP_Y:
        dst[0] = luma_601(rgb);
        break;
    }
}

/* Writes the normalised values of im, which has the final size already. */
static void normalise(const struct preprocess *p, const struct image *im, float *dst)
{
    float table[3][UINT8_MAX + 1]; /* value of each pixel code per channel */
    size_t channels = (size_t)p->channels, n = (size_t)im->w * (size_t)im->h;
    for (size_t c = 0; c < channels; c++) {
        for (int v = 0; v <= UINT8_MAX; v++) {
            table[c][v] = (float)((v / (255 / p->range) - p->mean[c]) / p->std[c]);
        }
    }
    size_t pixel_step = p->layout == PP_NHWC ? channels : 1;
    size_t channel_step = p->layout == PP_NHWC ? 1 : n;
    for (size_t i = 0; i < n; i++) {
        uint8_t v[3] = {0};
        convert_color(p->color, im->px + i * (size_t)im->channels, im->channels, v);
        for (size_t c = 0; c < channels; c++) {
            dst[i * pixel_step + c * channel_step] = table[c][v[c]];
        }
    }
}

int preprocess_apply(const struct preprocess *p, const struct image *im, struct tensor **out,
                     struct err *err)
{
    struct image sized = {0};
    for (int c = 1; p->channels == 1 && c < 3; c++) {
        if (p->mean[c] != p->mean[0] || p->std[c] != p->std[0]) {
            return err_set(err, E_USAGE, "mean and std have three values, color=%s has one channel",
                           color_names[p->color]);
        }
    }
    int rc = resize_and_crop(p, im, &sized, err);
    if (rc) {
        return rc;
    }
    const int64_t nchw[] = {1, p->channels, p->h, p->w}, nhwc[] = {1, p->h, p->w, p->channels};
    rc = tensor_new(DT_F32, 4, p->layout == PP_NHWC ? nhwc : nchw, NULL, out, err);
    if (!rc) {
        normalise(p, &sized, (*out)->data);
    }
    image_fini(&sized);
    return rc;
}
