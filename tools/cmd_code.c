/* code: runs code in a context of a sandbox and shows what it says as it comes. Text goes to our terminal without its control characters; figures and the like are saved, and named. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/box.h"

enum { SOURCE_MAX = 900 * 1024, FILES_MAX = 10000 };
struct code {
    struct api *a;
    const char *ws, *directory;
    char context[80];
    bool json, quit, failed, gone;
    unsigned interrupts;
    SoupMessage *m;
    GDataInputStream *in;
    struct out out, err;
    struct api_error error;
};

static void read_next(struct code *s);

static void written(void *arg)
{
    read_next(arg);
}

/* Control characters other than new line and tab (and, for output of programs, the return and colours) would be commands to a terminal: they are left out. */
static GString *safe_text(const char *p, bool program)
{
    GString *out = g_string_new(NULL);

    for (; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        size_t colour = program && c == 0x1b && p[1] == '[' ? 2 + strspn(p + 2, "0123456789;") : 0;
        if (colour && p[colour] == 'm') {
            g_string_append_len(out, p, (gssize)colour + 1);
            p += colour;
        } else if (c == '\n' || c == '\t' || (program && c == '\r') || !(c < 0x20 || (c >= 0x7f && c < 0xa0))) {
            g_string_append_unichar(out, c);
        }
    }
    return out;
}

/* True: written, or on its way (then reading goes on when it is). */
static bool say(struct code *s, bool err, const char *text, bool program, bool line)
{
    struct out *o = err ? &s->err : &s->out;
    bool raw = program && !isatty(o->fd);
    g_autoptr(GString) safe = raw ? g_string_new(text) : safe_text(text, program);

    if (line && safe->len && safe->str[safe->len - 1] != '\n')
        g_string_append_c(safe, '\n');
    return out_write(o, safe->str, safe->len, written, s);
}

static const struct { const char *mime, *suffix; bool base64; } saved[] = {
    { "image/png", "png", true }, { "image/jpeg", "jpg", true }, { "image/gif", "gif", true }, { "image/svg+xml", "svg", false }, { "application/pdf", "pdf", true },
};

/* A new file, never one that is there. Its name. */
static char *save(struct code *s, const char *suffix, const void *p, size_t n)
{
    for (unsigned i = 1; i < FILES_MAX; i++) {
        g_autofree char *name = g_strdup_printf("%s%s%s-%u.%s", s->directory, *s->directory ? "/" : "", s->ws, i, suffix);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0) {
            fprintf(stderr, "coppice: cannot save a result as %s: %s\n", name, strerror(errno));
            s->failed = true;
            return NULL;
        }
        bool ok = true;
        for (size_t at = 0; ok && at < n;) {
            ssize_t k = write(fd, (const char *)p + at, n - at);
            ok = k > 0 || (k < 0 && errno == EINTR);
            at += k > 0 ? (size_t)k : 0;
        }
        if (close(fd) || !ok) {
            fprintf(stderr, "coppice: cannot write %s: %s\n", name, strerror(errno));
            s->failed = true;
        }
        return g_steal_pointer(&name);
    }
    return NULL;
}

static bool on_result(struct code *s, const json_t *v)
{
    static const char *const texts[] = { "text/plain", "text/markdown", "text/latex", "text/html" };
    g_autoptr(GString) shown = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(saved); i++) {
        const char *data = json_string_value(json_object_get(v, saved[i].mime));
        gsize n = data ? strlen(data) : 0;
        if (!data)
            continue;
        g_autofree guchar *bytes = saved[i].base64 ? g_base64_decode(data, &n) : NULL;
        g_autofree char *name = save(s, saved[i].suffix, bytes ? (const void *)bytes : data, n);
        if (name)
            g_string_append_printf(shown, "%s\n", name);
    }
    for (size_t i = 0; !shown->len && i < G_N_ELEMENTS(texts); i++) {
        const char *text = json_string_value(json_object_get(v, texts[i]));
        if (text)
            g_string_append(shown, text);
    }
    return say(s, false, shown->str, false, true);
}

static bool on_error(struct code *s, const json_t *v)
{
    const char *traceback = field_str(v, "traceback");
    bool named = strstr(traceback, field_str(v, "name"));      /* an end that is not the code's own (Timeout) has the traceback of the interrupt */
    g_autofree char *ours = named ? g_strdup("") : g_strdup_printf("%s: %s", field_str(v, "name"), field_str(v, "value"));
    g_autofree char *text = g_strdup_printf("%s%s%s", traceback, *traceback && *ours && !g_str_has_suffix(traceback, "\n") ? "\n" : "", ours);

    s->failed = true;
    return say(s, true, text, false, true);
}

static void on_line(struct code *s, const char *line, size_t n)
{
    json_t *v = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    const char *name = field_str(v, "event");
    bool go = true, done = !strcmp(name, "done");

    if (!strcmp(name, "error"))
        s->failed = true;
    if (s->json) {
        g_autofree char *text = g_strdup_printf("%.*s\n", (int)n, line);
        go = out_write(&s->out, text, n + 1, written, s);
    } else if (!strcmp(name, "stdout") || !strcmp(name, "stderr")) {
        go = say(s, name[3] == 'e', field_str(v, "text"), true, false);
    } else if (!strcmp(name, "start")) {
        if (field_bool(v, "fresh") && isatty(2))
            fprintf(stderr, "coppice: the context %s is fresh: nothing is defined in it yet\n", field_str(v, "context"));
    } else if (!strcmp(name, "result")) {
        go = on_result(s, v);
    } else if (!strcmp(name, "error")) {
        go = on_error(s, v);
    }
    s->gone |= s->out.dead;
    s->quit |= done || s->gone;
    json_decref(v);
    if (go)
        read_next(s);
}

static void on_read(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct code *s = arg;
    g_autoptr(GError) err = NULL;
    gsize n;
    g_autofree char *line = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(src), res, &n, &err);

    if (line) {
        on_line(s, line, n);
        return;
    }
    snprintf(s->error.text, sizeof(s->error.text), "the runner ended the answer before the code's end was told");
    s->failed = s->quit = true;
}

static void read_next(struct code *s)
{
    if (!s->quit)
        g_data_input_stream_read_line_async(s->in, G_PRIORITY_DEFAULT, NULL, on_read, s);
}

static void on_answer(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct code *s = arg;
    g_autoptr(GError) err = NULL;
    g_autoptr(GInputStream) in = soup_session_send_finish(SOUP_SESSION(src), res, &err);

    if (!in || !SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(s->m))) {
        api_error_of(s->m, in, err, &s->error);
        s->failed = s->quit = true;
        return;
    }
    s->in = g_data_input_stream_new(in);
    read_next(s);
}

static void on_told(GObject *src, GAsyncResult *res, gpointer arg)
{
    GInputStream *in = soup_session_send_finish(SOUP_SESSION(src), res, NULL);

    g_clear_object(&in);
    g_object_unref(arg);
}

/* The first interrupt goes to the code; a second one leaves it running. */
static gboolean on_sigint(gpointer arg)
{
    struct code *s = arg;
    g_autofree char *path = api_box(s->ws, "context/%s/interrupt", s->context);

    if (s->interrupts++) {
        s->quit = true;
        return G_SOURCE_CONTINUE;
    }
    SoupMessage *m = api_message(s->a, "POST", path, json_object(), NULL);
    soup_session_send_async(s->a->session, m, G_PRIORITY_DEFAULT, NULL, on_told, m);
    return G_SOURCE_CONTINUE;
}

/* The exit status. */
static int code_send(struct code *s, const char *text, size_t n, int64_t timeout_ms)
{
    g_autofree char *path = api_box(s->ws, "context/%s/run", s->context);

    s->m = api_message(s->a, "POST", path, json_pack("{s:s%, s:I}", "code", text, n, "timeout_ms", (json_int_t)timeout_ms), "application/x-ndjson");
    s->out.fd = 1;
    s->err.fd = 2;
    fflush(stdout);
    guint watch = g_unix_signal_add(SIGINT, on_sigint, s);
    soup_session_send_async(s->a->session, s->m, G_PRIORITY_DEFAULT, NULL, on_answer, s);
    while (!s->quit || s->out.watch || s->err.watch)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(watch);
    out_fini(&s->out);
    out_fini(&s->err);
    g_clear_object(&s->in);
    g_clear_object(&s->m);
    if (s->error.text[0])
        api_say(s->a->t, &s->error);
    return s->interrupts > 1 ? 130 : s->failed;
}

/* --- what to run, and where --- */
static char *read_source(const char *file, size_t *ret_n)
{
    bool in = !file || !strcmp(file, "-");
    FILE *f = in ? stdin : fopen(file, "re");
    g_autoptr(GString) text = g_string_new(NULL);
    char piece[16384];
    size_t n;

    if (!f) {
        tool_fail("cannot read %s: %s", file, strerror(errno));
        return NULL;
    }
    while (text->len <= SOURCE_MAX && (n = fread(piece, 1, sizeof(piece), f)) > 0)
        g_string_append_len(text, piece, (gssize)n);
    bool bad = ferror(f);
    if (!in)
        fclose(f);
    if (bad || text->len > SOURCE_MAX || !g_utf8_validate_len(text->str, text->len, NULL)) {
        tool_fail(bad ? "cannot read %s" : text->len > SOURCE_MAX ? "%s is too large: at most %d KiB of code in one run" : "%s is not UTF-8 text", in ? "standard input" : file, SOURCE_MAX / 1024);
        return NULL;
    }
    *ret_n = text->len;
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* NULL: its name does not tell. */
static const char *language_of_file(const char *file)
{
    const char *dot = file ? strrchr(file, '.') : NULL;

    if (!dot)
        return NULL;
    return !strcmp(dot, ".ts") || !strcmp(dot, ".mts") || !strcmp(dot, ".cts") ? "typescript" : !strcmp(dot, ".js") || !strcmp(dot, ".mjs") || !strcmp(dot, ".cjs") ? "javascript" : !strcmp(dot, ".py") ? "python" : NULL;
}

/* A context that was there: is it of the language that the code is in? 0; 1 after saying that it is not. */
static int context_check(struct api *a, const char *ws, const char *id, const char *language)
{
    g_autofree char *path = api_box(ws, "context/%s", id);
    json_t *ans = NULL;

    int r = api_call(a, "GET", path, NULL, &ans);
    if (!r && strcmp(field_str(ans, "language"), language))
        r = tool_fail("the context '%s' of '%s' is %s, and this is %s: take another context", id, ws, field_str(ans, "language"), language);
    json_decref(ans);
    return r;
}

/* A context by that id (NULL: one is made up), which is fine if it is there and of the language, if one was named (else Python is made). 0 or 1; *ret: its id. */
static int context_make(struct api *a, const char *ws, const char *id, const char *language, char *ret, size_t size)
{
    g_autofree char *path = api_box(ws, "context");
    json_t *body = json_pack("{s:s}", "language", language ? language : "python"), *ans = NULL;
    struct api_error e;

    if (id)
        json_object_set_new(body, "id", json_string(id));
    if (api_try(a, "POST", path, body, &ans, &e)) {
        if (!id || strcmp(e.code, "exists"))
            return api_say(a->t, &e);
        if (language && context_check(a, ws, id, language))
            return 1;
        snprintf(ret, size, "%s", id);
    } else {
        snprintf(ret, size, "%s", field_str(ans, "id"));
    }
    json_decref(ans);
    return 0;
}

/* The default context of the language, or the named one, which is made if it is not there. */
static int context_find(struct code *s, const char *context, const char *language, bool make)
{
    static const char *const full[][2] = { { "py", "python" }, { "python3", "python" }, { "js", "javascript" }, { "node", "javascript" }, { "ts", "typescript" } };

    for (size_t i = 0; language && i < G_N_ELEMENTS(full); i++)
        if (!strcmp(language, full[i][0]))
            language = full[i][1];
    if (make || context)
        return context_make(s->a, s->ws, context, language, s->context, sizeof(s->context));
    language = language ? language : "python";
    if (strcmp(language, "python") && strcmp(language, "javascript") && strcmp(language, "typescript"))
        return tool_fail("no language '%s': python, javascript or typescript", language);
    snprintf(s->context, sizeof(s->context), "%s", language);
    return 0;
}

int box_code(struct tool *t, int argc, char **argv)
{
    const char *language = NULL, *context = NULL, *text = NULL, *timeout = NULL, *output = "";
    bool make = false;
    const struct arg_option options[] = { { "language", 'l', .val = &language }, { "context", 'c', .val = &context }, { "eval", 'e', .val = &text }, { "new", 0, .flag = &make },
                                          { "timeout", 0, .val = &timeout }, { "output", 'o', .val = &output }, { 0 } };
    g_autofree char *source = NULL;
    struct args args;
    struct api a;
    size_t n = 0;
    char *end;

    int r = args_parse(t, "code", argc, argv, options, 1, 2, &args);
    if (r)
        return r;
    double seconds = timeout ? strtod(timeout, &end) : 0;
    if (timeout && (*end || end == timeout || !(seconds > 0 && seconds <= 86400)))
        return args_usage("code", "--timeout %s: give seconds, up to 86400", timeout);
    if ((make && (context || text || args.n > 1)) || (text && args.n > 1))
        return args_usage("code", make ? "--new only makes a context; run code in it with --context" : "give code as --eval or as a FILE, not both");
    const char *file = args.n > 1 ? args.v[1] : NULL;
    if (!make && !(source = text ? g_strdup(text) : read_source(file, &n)))
        return 1;
    n = text ? strlen(text) : n;
    if (!make && text && !g_utf8_validate(text, -1, NULL))
        return tool_fail("--eval: not UTF-8 text");
    if ((r = api_open(t, &a)))
        return r;
    struct code s = { .a = &a, .ws = args.v[0], .directory = output, .json = t->json };
    r = context_find(&s, context, language ? language : language_of_file(file), make);
    if (!r && make)
        puts(s.context);
    else if (!r)
        r = code_send(&s, source, n, (int64_t)(seconds * 1000));
    api_close(&a);
    return r;
}
