/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * cmd_doctor.c: what the program found around it: for a report of a fault, and for the question why
 * there are no colours.
 */
#include <langinfo.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tui/front.h"
#include "tui/graphics.h"

struct facts {
    json_t *list;
};

/* Adds a row; takes over value. */
static void fact(struct facts *f, const char *name, char *value)
{
    json_array_append_new(f->list, json_pack("{s:s,s:o}", "name", name, "value", json_text(value)));
    free(value);
}

static void fact_env(struct facts *f, const char *name)
{
    const char *value = getenv(name);
    fact(f, name, mem_dup(value && value[0] ? value : "not set"));
}

static void terminal_facts(struct facts *f, const struct session *s)
{
    struct term_facts t;
    term_look(&t, s->screen);
    const bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    fact_env(f, "TERM");
    fact(f, "terminal",
         mem_dup(!tty        ? "standard input or output is none"
                 : !t.known  ? "unknown type: lines instead of the screen"
                 : !t.places ? "cannot place the cursor: lines instead of the screen"
                             : "full screen"));
    if (t.rows > 0)
        fact(f, "size", mem_printf("%dx%d", t.cols, t.rows));
    fact(f, "colours", mem_printf("%d%s", MAX(t.colors, 0), s->set.color ? "" : ", switched off"));
    fact_env(f, "COLORTERM");
    fact_env(f, "NO_COLOR");
    fact(f, "libchafa", mem_dup(graphics_library() ? graphics_library() : "not built in"));
    fact(f, "graphics",
         mem_printf("%s (set graphics %s)", graphics_name(graphics_for(s->set.graphics)),
                    graphics_name(s->set.graphics)));
    fact(f, "multiplexer", mem_dup(getenv("TMUX") ? "tmux" : getenv("STY") ? "screen" : "none"));
    fact(f, "over ssh", mem_dup(getenv("SSH_CONNECTION") ? "yes" : "no"));
    fact(f, "character set", mem_dup(nl_langinfo(CODESET)));
    fact(f, "drawing", mem_dup(s->set.ascii ? "ASCII" : "Unicode"));
}

static char *limit_text(int which)
{
    struct rlimit l;
    if (getrlimit(which, &l) != 0)
        return mem_dup("unknown");
    return l.rlim_cur == RLIM_INFINITY ? mem_dup("none")
                                       : mem_printf("%llu", (unsigned long long)l.rlim_cur);
}

static void machine_facts(struct facts *f, const struct session *s)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    fact(f, "processors", mem_printf("%ld, %d used", sysconf(_SC_NPROCESSORS_ONLN), s->set.jobs));
    if (pages > 0 && page > 0)
        fact(f, "memory",
             mem_printf("%lld MB, %zu MB for activations", (long long)pages * page / (1 << 20),
                        s->set.memory >> 20));
    fact(f, "limit of address space", limit_text(RLIMIT_AS));
    fact(f, "limit of open files", limit_text(RLIMIT_NOFILE));
}

static void place_fact(struct facts *f, const char *name, char *path, bool wanted)
{
    const char *state = !path ? "no home"
                        : file_exists(path)
                            ? access(path, wanted ? W_OK : R_OK) ? "no permission" : "there"
                            : "not there";
    fact(f, name, mem_printf("%s (%s)", path ? path : "-", state));
    free(path);
}

static int exec_doctor(struct call *c, struct err *err)
{
    struct session *s = c->s;
    struct facts f = {.list = json_array()};
    char text[512];
    size_t i;
    json_t *row;
    (void)err;
    fact(&f, "qscope", mem_dup(QSCOPE_VERSION));
    fact(&f, "cpu", mem_dup(engine_cpu()));
    fact(
        &f, "libraries",
        mem_printf("jansson %s, %s, readline %s", JANSSON_VERSION, term_library(), edit_library()));
    machine_facts(&f, s);
    terminal_facts(&f, s);
    place_fact(&f, "start-up file", path_xdg("XDG_CONFIG_HOME", ".config", "qscoperc"), false);
    place_fact(&f, "state", path_xdg("XDG_STATE_HOME", ".local/state", ""), true);
    place_fact(&f, "cache", path_xdg("XDG_CACHE_HOME", ".cache", ""), true);
    json_array_foreach(f.list, i, row)
    {
        if (!s->json)
            fprintf(
                c->out, "%-22s  %s\n", json_string_value(json_object_get(row, "name")),
                text_safe(text, sizeof(text), json_string_value(json_object_get(row, "value"))));
    }
    if (s->json)
        emit_json(c, json_pack("{s:O}", "facts", f.list));
    json_decref(f.list);
    return OK;
}

/* ---- Table ----------------------------------------------------------------------------------- */

const struct cmd cmd_doctor[] = {
    {
        .name = "doctor",
        .group = "shell",
        .help = "what was found of terminal, locale, colours, memory, limits and files",
        .detail = "To be put into a report of a fault.",
        .example = "doctor",
        .unrecorded = true,
        .exec = exec_doctor,
    },
    {0},
};
