/* Previews: servers inside a sandbox, reached from outside. Main loop only.
 *   PORT-ID-TOKEN.DOMAIN  (localhost, and what `coppice up --domain` names), and  /p/PORT-ID-TOKEN/...  on the API's own host (with a CSP sandbox, as it shares the origin)
 * A preview is known by a request's head, before libsoup sees a byte of it; then the connection is ours: strict HTTP/1 both ways (egress/http1.h), WebSocket as opaque bytes. */
#pragma once
#include "sandbox/box.h"
enum { PREVIEWS_MAX = 64, PREVIEW_TOKEN_BYTES = 16, PREVIEW_WAIT_S = 30 };      /* ports of a box; waits for the port to accept */
struct previews;
/* After http_serve(). domain: [http://|https://]NAME[:PORT] besides localhost, or NULL; without a scheme it is https (a proxy in front ends TLS). NULL: not such a text. */
struct previews *previews_new(struct sandboxd *sd, const char *domain);
void previews_free(struct previews *p);
/* A new token for the preview of a port; only its hash is kept. Earlier ones go on (KEEP_TOKENS_MAX of a port). ret_url may be NULL and becomes NULL if there is no TCP listener.
 * token, url: owned by the caller. False: fault (reserved port, too many ports). */
bool preview_open(struct box *b, unsigned port, char **ret_token, char **ret_url, struct fault *fault);
/* All tokens of the port; what is open through them is cut. False: there was none, or it could not be written down (fault). */
bool preview_close(struct box *b, unsigned port, struct fault *fault);
/* E2B's getHost: every port that is not reserved is reached as PORT-ID.DOMAIN, without a token (the id is the secret) or, with traffic_token, with the header E2B-Traffic-Access-Token.
 * Ports 49983, 49999 and 50005 of such hosts are not previews: they go to the API's routes with http_header "E2b-Sandbox-Id" and "E2b-Sandbox-Port" as if the client had set them.
 * Kept in the box's configuration. */
void preview_public(struct box *b, bool on, const char *traffic_token);
/* The domain for answers: "localhost:8421" or what --domain says. */
const char *preview_domain(const struct sandboxd *sd);
