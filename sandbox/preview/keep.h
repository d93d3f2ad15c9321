/* What is kept of a box's previews, in its configuration: hashes of tokens, never tokens.
 *   {"ports": [{"port": 3000, "created": UNIX SECONDS, "tokens": [SHA-256 in hex, ...]}], "public": true, "traffic": SHA-256 or null}; each may be missing. */
#pragma once
#include <jansson.h>
#include "sandbox/preview/name.h"

enum { KEEP_PORTS_MAX = 64, KEEP_TOKENS_MAX = 8 /* of a port; a further one takes the oldest's place */ };
/* Is it of this shape? (From the file.) */
bool preview_keep_valid(const json_t *keep);
/* Adds a token to the port. False: KEEP_PORTS_MAX ports have previews. */
bool preview_keep_add(json_t *keep, unsigned port, const char *token, int64_t now_s);
bool preview_keep_remove(json_t *keep, unsigned port);      /* all tokens of the port; false: there were none */
void preview_keep_public(json_t *keep, bool on, const char *traffic_token);
bool preview_keep_is_public(const json_t *keep);
/* May this name be answered? traffic: the value of the header E2B-Traffic-Access-Token, empty if none. */
bool preview_keep_allows(const json_t *keep, const struct preview_name *name, struct slice traffic);
json_t *preview_keep_list(const json_t *keep);              /* [{port, created, tokens: how many}]. Owned */
