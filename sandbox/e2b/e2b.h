/* The E2B API (docs/e2b.md): unmodified programs of the packages e2b and @e2b/code-interpreter run on coppice. What its files share. Main loop only.
 *
 *   control    /sandboxes, /v2/sandboxes, /snapshots, ...     the API's token, as X-API-KEY
 *   envd       /filesystem.Filesystem/, /process.Process/ (Connect protocol, JSON), /files, /health     header E2b-Sandbox-Id, and the sandbox's own token
 *   interpreter  /execute, /contexts                          the same */
#pragma once
#include "sandbox/http/http.h"
#include "sandbox/run/boxed.h"

#define E2B_ENVD_VERSION "0.6.4"          /* what this speaks; clients switch features by it */
enum { E2B_TIMEOUT_S = 300, E2B_TIMEOUT_MAX_S = 365 * 86400, E2B_LIST_MAX = 100, E2B_FORKS_MAX = 100, E2B_BODY_MAX = 16 << 20, E2B_TOKEN = 65 };

/* --- key.c: tokens of a sandbox. They are computed from its id and a key of the store (32 random bytes in sandboxd's directory), so nothing is kept of them. --- */
enum e2b_token { E2B_TOKEN_ENVD, E2B_TOKEN_TRAFFIC };
bool e2b_token_of(const struct box *b, enum e2b_token kind, char ret[E2B_TOKEN]);     /* false: there is no key, and none can be made */
bool e2b_token_right(const struct box *b, enum e2b_token kind, const char *token);
/* "v1_" + base64(SHA-256(path:operation:user:token[:expiration])), as clients sign URLs of files. */
bool e2b_signature_right(const struct box *b, const char *operation, const char *path, const char *user, const char *expiration, const char *signature);

/* --- state.c: config.e2b of a box --- */
/* {template, alias, started, paused, killed, taken, secure, auto_resume, metadata, allow_internet_access, network}: started is unix time. The end of its time is config.until_s. */
const char *e2b_id(const struct box *b);          /* what clients know it by */
bool e2b_is(const struct box *b);                 /* made, or taken over by connect, through this API, and not killed */
bool e2b_is_paused(const struct box *b);          /* by pause, or because its time is over */
bool e2b_flag(const struct box *b, const char *key);
bool e2b_is_open(const struct box *b);            /* whoever knows its id may use it: only if `secure` is false in so many words */
void e2b_set(struct box *b, const char *key, json_t *value);      /* steals; not yet saved */
/* A new one, or one that was none is taken over. Until its time is over it does not sleep for being idle (life.c). */
void e2b_adopt(struct box *b, const char *template, double timeout_s);
void e2b_until(struct box *b, double timeout_s);  /* from now */
bool e2b_save(struct http_call *c, struct box *b);     /* and what depends on it. False: answered */
/* Its ports are reached as PORT-ID.DOMAIN; with network.allowPublicTraffic false, or `taken` over from the native API (its name may be one that can be guessed), only with the traffic token. True: all of its configuration was written with that. */
bool e2b_public(struct box *b);
json_t *e2b_answer(const struct box *b);          /* of create, connect and fork */
json_t *e2b_detail(const struct box *b);          /* of GET /sandboxes/{id} and the list */
char *e2b_time(double unix_s);                    /* RFC 3339; g_free */

/* --- manner.c: how each kind of route says errors --- */
extern const struct http_manner e2b_control, e2b_plain, e2b_connect;
const char *e2b_connect_code(const char *code);   /* the Connect protocol's name for one of ours */

/* --- call.c: requests about what is in a sandbox --- */
struct e2b_call {
    struct boxed x;
    char *user;                           /* Basic auth or ?username=; NULL: the default */
    json_t *req;                          /* of an rpc */
    GByteArray *body;
    struct e2b_inflate *inflate;
    bool stream, run_asleep, traffic;     /* of an rpc: its body is one frame; it looks only, nothing is woken; the traffic token will do */
    void (*go)(void *self);
    void (*then)(struct e2b_call *k);     /* call.c: the box is known and may be asked */
};
/* size bytes that begin with a struct e2b_call. NULL: answered. */
void *e2b_call_new(struct http_call *c, size_t size, void (*over)(void *self), void (*fini)(void *self));
/* Finds the box of E2b-Sandbox-Id, checks its token, wakes it if need be and allowed, then go(). A sandbox that is not there, or paused, is answered 502. Packages of 2025 send the token alone:
 * then it is the sandbox whose token it is. */
void e2b_call_go(void *self, void (*go)(void *self));
/* The same with a JSON body (E2B_BODY_MAX; gzip), or stream: one frame of the Connect protocol; into req. */
void e2b_call_rpc(void *self, void (*go)(void *self));
void e2b_call_with(void *self, struct box *b, void (*go)(void *self));     /* the box is known, who asks is checked */
void e2b_call_fini(void *self);           /* for the fini of who has one of its own */
/* A JSON member under its name of the protocol in camelCase, or as it stands in the .proto. */
json_t *e2b_get(const json_t *o, const char *camel, const char *snake);
const char *e2b_str(const json_t *o, const char *key);         /* "" if it is not there */
/* base64 of either alphabet. NULL: not that. */
uint8_t *e2b_bytes(const json_t *v, size_t *ret_n);

/* --- frames of a Connect stream --- */
void e2b_stream_begin(struct http_call *c);
void e2b_stream_json(struct http_call *c, json_t *o);          /* steals */
void e2b_stream_end(struct http_call *c, const char *code, const char *text);       /* code NULL: well; else one of ours */

/* --- inflate.c: bodies with Content-Encoding: gzip --- */
typedef bool e2b_bytes_fn(void *arg, const uint8_t *p, size_t n);
struct e2b_inflate *e2b_inflate_new(void);
/* fn for each piece of at most 64 KiB. 0; -EBADMSG: not gzip; -ECANCELED: fn, which took the piece, said false: e2b_inflate_left() bytes at the end of p are to be given again, also when none. */
int e2b_inflate_feed(struct e2b_inflate *z, const uint8_t *p, size_t n, e2b_bytes_fn *fn, void *arg);
size_t e2b_inflate_left(const struct e2b_inflate *z);
bool e2b_inflate_done(const struct e2b_inflate *z);            /* its end was seen */
void e2b_inflate_free(struct e2b_inflate *z);
struct e2b_deflate *e2b_deflate_new(void);
/* n == 0: the end. What is ready goes to fn. */
void e2b_deflate_feed(struct e2b_deflate *z, const uint8_t *p, size_t n, e2b_bytes_fn *fn, void *arg);
void e2b_deflate_free(struct e2b_deflate *z);
