/* How a preview is named: PORT-ID-TOKEN or PORT-ID, as the first label of a host name or the second segment of a path. No state. */
#pragma once
#include <stdbool.h>
#include "sandbox/egress/http1.h"
#include "sandbox/launch_proto.h"

enum { NAME_TOKEN = 26 /* characters: 128 bits in base32 */, NAME_LABEL_MAX = 63 };
struct preview_name {
    unsigned port;
    char id[LAUNCH_NAME];
    char token[NAME_TOKEN + 1];           /* "": the form without */
    char label[NAME_LABEL_MAX + 1];       /* as it was given, in lower case */
};
/* False: it is no name of a preview. */
bool preview_name_parse(struct slice label, struct preview_name *ret);
/* Host (with or without a port) under one of the domains. *ret_domain: which. */
bool preview_name_of_host(struct slice host, const char *const *domains, struct preview_name *ret, unsigned *ret_domain);
/* "/p/NAME/rest" or "/p/NAME"; *ret_rest: "/rest", or "" where a final slash is missing (then there may be a query still: "?..."). */
bool preview_name_of_path(struct slice target, struct preview_name *ret, struct slice *ret_rest);
/* Ports that are egress's in every sandbox: never a preview of them (A11). */
bool preview_reserved(unsigned port);
/* Ports of E2B's hosts that the API itself serves. */
bool preview_is_api_port(unsigned port);
/* 16 random bytes as text. */
void preview_token_make(char ret[NAME_TOKEN + 1]);
/* SHA-256 of a token in hex, which is what is kept. */
enum { TOKEN_HASH = 64 };
void preview_token_hash(const char *token, char ret[TOKEN_HASH + 1]);
/* In a time that does not depend on where they differ. Both of n bytes. */
bool preview_same(const char *a, const char *b, size_t n);
