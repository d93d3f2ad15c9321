/* What file routes share: the request from path and query, the answer's JSON. */
#pragma once
#include "sandbox/files.h"
#include "sandbox/run/boxed.h"

/* A route's state for one file operation; begins with the box. */
struct file_route {
    struct boxed x;
    struct file_request q;             /* its path and the user are set by file_route_new */
    char *user;                        /* ?user=, NULL: the default */
    const struct file_ops *ops;
    struct file_call *f;
    const char *not_found;             /* the code for ENOENT */
};
/* size >= sizeof(struct file_route). path: as it stands in the URL: absolute without its slash; "~" and "~/..." are the user's home. NULL: answered 400. */
void *file_route_new(struct http_call *c, size_t size, uint8_t op, const char *path, void (*over)(void *self));
bool file_path(char out[4096], const char *path);
/* Starts the box, then the operation with ops (arg: the route's state). */
void file_route_go(void *self, const struct file_ops *ops);
bool file_route_begin(void *self);     /* the operation (again); false: answered */
void file_route_fail(void *self, int status, const char *step);
void file_etag(char out[FILE_ADDRESS_MAX + 3], const struct file_stat *st);
json_t *file_stat_json(const char *path, const struct file_stat *st);
/* Sets "KEY" of o to text if it is UTF-8, else to a readable form, and "KEY_base64" to its bytes. */
void json_set_bytes(json_t *o, const char *key, const char *bytes);
/* ?mode= in octal. False: answered 400. */
bool file_query_mode(struct http_call *c, uint32_t *io);
