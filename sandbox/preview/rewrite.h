/* What a request and its answer look like on the other side. Heads are written anew from what was understood; no state.
 * Toward the sandbox: the Host as it came, X-Forwarded-Host, -Proto and -Prefix of ours; never a credential of the API, hop-by-hop headers or what the client says of forwarding.
 * Toward the client: no Domain on cookies, Referrer-Policy; in the path form, which shares the API's origin, a CSP sandbox, no cookies, and nothing that would change that origin. */
#pragma once
#include "sandbox/preview/name.h"

struct buf;
struct rewrite {
    bool path;                            /* the path form */
    const struct preview_name *name;
    bool https;                           /* how the client sees it */
    bool (*is_api_token)(void *arg, const char *authorization);
    void *arg;
};
/* target: what to ask for (of the path form: the rest). */
void rewrite_request(const struct rewrite *w, const struct http1_head *h, struct slice target, struct buf *out);
/* client_minor: the version that the client speaks; close: the connection ends after this answer. Framing: as h says, but a chunked body for HTTP/1.0 is as long as the connection. */
void rewrite_response(const struct rewrite *w, const struct http1_head *h, unsigned client_minor, bool head_only, bool close, struct buf *out);
