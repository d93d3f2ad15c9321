/* What the files of http1 share: classes of bytes, and the one reader of a header line (heads and trailers). */
#pragma once
#include "sandbox/egress/http1.h"

/* Classes of bytes, bits of http1_class[]. */
enum {
    BYTE_TOKEN = 1,        /* tchar of RFC 9110: names, methods, options */
    BYTE_VALUE = 2,        /* space, tab, visible ASCII */
    BYTE_TARGET = 4,       /* visible ASCII but '#' */
    BYTE_METHOD = 8,       /* A-Z 0-9 - */
    BYTE_HOST = 16,        /* letters, digits, . - _ : [ ] */
    BYTE_OBS = 32,         /* 0x80.. */
};
extern const uint8_t http1_class[256];
static inline bool byte_is(char c, unsigned classes)
{
    return http1_class[(unsigned char)c] & classes;
}

/* One header line "name: value CRLF" at p[0..n). obs_text: bytes from 0x80 may be in the value. OK: *ret_used bytes; MORE; BAD: *ret_why. Does not take the empty line. */
int http1_line(const char *p, size_t n, bool obs_text, struct http1_header *ret, size_t *ret_used, const char **ret_why);
/* Is it a name that some server takes for that of a header that frames or routes: "Transfer_Encoding", "content.length-"? Not the true name itself. */
bool http1_is_lookalike(struct slice name);
/* May it be a trailer: does not frame, route, authenticate or change how the message is taken (RFC 9110 6.5.1). */
bool http1_is_trailer(struct slice name);
/* What the headers say together: body, length, keep_alive, upgrade and so on. OK or BAD. */
int http1_frame_request(struct http1_head *h);
int http1_frame_response(struct http1_head *h, const char *method);
static inline int http1_bad(struct http1_head *h, unsigned refuse, const char *why)
{
    h->refuse = refuse;
    h->why = why;
    return HTTP1_BAD;
}
