/* A request about what is in a sandbox: headers -> the box -> who asks -> (the body) -> the box runs -> go(). Nothing of a body is read before it is known who sends it. */
#include <errno.h>
#include <string.h>

#include "base/wire.h"
#include "sandbox/core/box_private.h"
#include "sandbox/e2b/e2b.h"
#include "sandbox/e2b/seek.h"

enum { FRAME_PREFIX = 5, FRAME_COMPRESSED = 1, FRAME_END = 2 };

void e2b_call_fini(void *self)
{
    struct e2b_call *k = self;

    g_free(k->user);
    json_decref(k->req);
    if (k->body)
        g_byte_array_unref(k->body);
    e2b_inflate_free(k->inflate);
}

/* Basic auth names the user; its password is empty and means nothing. */
static char *basic_user(struct http_call *c)
{
    const char *h = http_header(c, "Authorization");
    g_autofree guchar *text = NULL;
    gsize n = 0;

    if (!h || g_ascii_strncasecmp(h, "Basic ", 6))
        return NULL;
    text = g_base64_decode(h + 6, &n);
    const guchar *colon = n ? memchr(text, ':', n) : NULL;
    return colon && colon != text ? g_strndup((char *)text, (gsize)(colon - text)) : NULL;
}

void *e2b_call_new(struct http_call *c, size_t size, void (*over)(void *self), void (*fini)(void *self))
{
    struct e2b_call *k = boxed_new(c, size, over, fini ? fini : e2b_call_fini);
    const char *query = http_query(c, "username");

    k->user = query && *query ? g_strdup(query) : basic_user(c);
    if (k->user && (strlen(k->user) > 63 || strpbrk(k->user, "/\n"))) {
        http_fail(c, "invalid_request", "the user's name is not one");
        return NULL;
    }
    return k;
}

/* --- who asks --- */
static bool admitted(struct e2b_call *k)
{
    struct http_call *c = k->x.c;
    const struct box *b = k->x.b;

    return http_is_local(c) || e2b_is_open(b) || e2b_token_right(b, E2B_TOKEN_ENVD, http_header(c, "X-Access-Token")) ||
           (k->traffic && e2b_token_right(b, E2B_TOKEN_TRAFFIC, http_header(c, "E2B-Traffic-Access-Token")));
}

static void gone(struct http_call *c, const char *id) { http_fail(c, "agent_lost", "the sandbox '%.80s' was not found: it was killed, or it never was", id); }

/* --- the box --- */
static void on_running(void *arg, struct box *b, const struct fault *fault)
{
    struct e2b_call *k = arg;

    k->x.held = !fault;
    if (k->x.c && fault)
        http_fault(k->x.c, fault);
    else if (k->x.c)
        k->go(k);
    boxed_unref(k);
}

static void need(struct e2b_call *k)
{
    if (k->run_asleep)
        k->go(k);
    else
        box_need(k->x.b, on_running, boxed_ref(k));
}

/* A sandbox whose time is over does not wake because somebody asks, but if it was made so (autoResume). False: answered. */
static bool awake(struct e2b_call *k)
{
    struct box *b = k->x.b;

    if (!e2b_is_paused(b))
        return true;
    if (!e2b_flag(b, "auto_resume") || k->run_asleep) {
        http_fail(k->x.c, "agent_lost", "the sandbox '%s' is paused: connect to it", e2b_id(b));
        return false;
    }
    double timeout = json_number_value(json_object_get(b->config.e2b, "timeout"));
    e2b_set(b, "paused", json_false());
    e2b_until(b, timeout > 0 ? timeout : E2B_TIMEOUT_S);
    return e2b_save(k->x.c, b);
}

void e2b_call_with(void *self, struct box *b, void (*go)(void *self))
{
    struct e2b_call *k = self;

    if (!k->x.b)
        k->x.b = box_ref(b);
    k->go = go;
    if (awake(k))
        need(k);
}

static void on_found(void *arg, struct box *b, const struct fault *fault)
{
    struct e2b_call *k = arg;

    if (b && k->x.c)
        k->x.b = box_ref(b);
    if (!k->x.c)
        ;
    else if (fault && strcmp(fault->code, "not_found"))
        http_fault(k->x.c, fault);
    else if (fault || !e2b_is(b))
        gone(k->x.c, http_header(k->x.c, "E2b-Sandbox-Id"));
    else if (!admitted(k))
        http_deny(k->x.c, "the sandbox's access token is needed: X-Access-Token");
    else if (awake(k))
        k->then(k);
    boxed_unref(k);
}

static void on_sought(struct e2b_call *k, struct box *b)
{
    if (!b) {
        gone(k->x.c, "of this token");
        return;
    }
    k->x.b = box_ref(b);
    if (awake(k))
        k->then(k);
}

static void find(struct e2b_call *k, void (*then)(struct e2b_call *k))
{
    const char *id = http_header(k->x.c, "E2b-Sandbox-Id");

    k->then = then;
    if ((!id || !*id) && http_header(k->x.c, "X-Access-Token")) {
        e2b_seek(k, NULL, on_sought);
        return;
    }
    if (!id || !*id) {
        http_fail(k->x.c, "invalid_request", "the header E2b-Sandbox-Id is missing: set E2B_SANDBOX_URL");
        return;
    }
    box_get(http_sandboxd(k->x.c), id, on_found, boxed_ref(k));
}

void e2b_call_go(void *self, void (*go)(void *self))
{
    ((struct e2b_call *)self)->go = go;
    find(self, need);
}

/* --- bodies of calls --- */
static bool append(void *arg, const uint8_t *p, size_t n)
{
    struct e2b_call *k = arg;

    if (k->body->len + n > E2B_BODY_MAX)
        return false;
    g_byte_array_append(k->body, p, (guint)n);
    return true;
}

static bool inflate_all(struct e2b_call *k, const uint8_t *p, size_t n)
{
    if (!k->inflate)
        k->inflate = e2b_inflate_new();
    return !e2b_inflate_feed(k->inflate, p, n, append, k);
}

/* The one frame of a server stream's request. */
static bool unframe(struct e2b_call *k)
{
    uint8_t *d = k->body->data;
    GByteArray *all = k->body;

    if (all->len < FRAME_PREFIX || d[0] & ~FRAME_COMPRESSED)
        return false;
    uint32_t n = (uint32_t)d[1] << 24 | (uint32_t)d[2] << 16 | (uint32_t)d[3] << 8 | d[4];
    if (n != all->len - FRAME_PREFIX)
        return false;
    bool packed = d[0] & FRAME_COMPRESSED;
    k->body = g_byte_array_new();
    bool good = packed ? inflate_all(k, d + FRAME_PREFIX, n) && e2b_inflate_done(k->inflate) : append(k, d + FRAME_PREFIX, n);
    g_byte_array_unref(all);
    return good;
}

static void parse(struct e2b_call *k)
{
    struct http_call *c = k->x.c;

    if (k->stream ? !unframe(k) : k->inflate && !e2b_inflate_done(k->inflate)) {
        http_fail(c, "invalid_request", k->stream ? "the body must be one frame of application/connect+json" : "the gzip body ends too early");
        return;
    }
    k->req = k->body->len ? json_loadb((char *)k->body->data, k->body->len, 0, NULL) : json_object();
    g_byte_array_set_size(k->body, 0);
    if (json_is_object(k->req))
        need(k);
    else
        http_fail(c, "invalid_request", "the body must be a JSON object (codecs other than JSON are not spoken here)");
}

static bool on_body(void *state, const uint8_t *p, size_t n)
{
    struct e2b_call *k = state;
    bool zipped = !k->stream && http_header(k->x.c, "Content-Encoding") && !g_ascii_strcasecmp(http_header(k->x.c, "Content-Encoding"), "gzip");

    if (!n)
        parse(k);
    else if (!(zipped ? inflate_all(k, p, n) : append(k, p, n)))
        http_fail(k->x.c, "payload_too_large", "the request is larger than %d bytes, or not gzip", E2B_BODY_MAX);
    return true;
}

static void collect(struct e2b_call *k)
{
    k->body = g_byte_array_new();
    http_body(k->x.c, on_body);
}

void e2b_call_rpc(void *self, void (*go)(void *self))
{
    ((struct e2b_call *)self)->go = go;
    find(self, collect);
}

/* --- JSON of the protocol --- */
json_t *e2b_get(const json_t *o, const char *camel, const char *snake)
{
    json_t *v = json_object_get(o, camel);

    return v ? v : json_object_get(o, snake);
}

const char *e2b_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

uint8_t *e2b_bytes(const json_t *v, size_t *ret_n)
{
    const char *s = json_string_value(v);
    size_t n = s ? strlen(s) : 0, k = s ? strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_") : 0;
    g_autofree char *text = NULL;
    gsize out;

    if (!s || strspn(s + k, "=") != n - k || k % 4 == 1)
        return NULL;
    text = g_strdup_printf("%.*s%s", (int)k, s, k % 4 == 2 ? "==" : k % 4 == 3 ? "=" : "");
    g_strdelimit(text, "-", '+');
    g_strdelimit(text, "_", '/');
    uint8_t *p = g_base64_decode(text, &out);
    *ret_n = out;
    return p ? p : g_malloc0(1);
}

/* --- streams --- */
void e2b_stream_begin(struct http_call *c) { http_stream(c, 200, "application/connect+json", -1); }

static void send_frame(struct http_call *c, uint8_t flags, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    uint8_t *p = g_malloc(FRAME_PREFIX + n);

    json_decref(o);
    p[0] = flags;
    for (unsigned i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    memcpy(p + FRAME_PREFIX, text, n);
    free(text);
    http_write_take(c, p, FRAME_PREFIX + n);
}

void e2b_stream_json(struct http_call *c, json_t *o) { send_frame(c, 0, o); }

void e2b_stream_end(struct http_call *c, const char *code, const char *text)
{
    send_frame(c, FRAME_END, code ? json_pack("{s:{s:s,s:s}}", "error", "code", e2b_connect_code(code), "message", text) : json_object());
    http_end(c);
}
