/* Bodies of type multipart/form-data, read as they come: libsoup's own reader wants all of a body in memory, and files have no bound. Pure: it knows nothing of files. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { MULTIPART_HEAD_MAX = 16 * 1024, MULTIPART_BOUNDARY_MAX = 70 };
struct multipart_ops {
    /* A part begins. name, filename: decoded, "" if not said. False: stop here; go on with multipart_pump() */
    bool (*begin)(void *arg, const char *name, const char *filename);
    size_t (*data)(void *arg, const uint8_t *p, size_t n);     /* how much was taken; less than n: stop here */
    bool (*end)(void *arg);                                    /* of the part. False: stop here */
};
struct multipart;
/* NULL: content_type is not multipart/form-data with a usable boundary. */
struct multipart *multipart_new(const char *content_type, const struct multipart_ops *ops, void *arg);
/* A body that is one part without any framing (application/octet-stream). */
struct multipart *multipart_whole(const struct multipart_ops *ops, void *arg);
void multipart_add(struct multipart *m, const uint8_t *p, size_t n);     /* more of the body is there (copied) */
void multipart_finish(struct multipart *m);                               /* and that was all */
/* Goes on as far as it can. 1: all of the body is through; 0: it waits, for more or because it was told to stop; -EBADMSG: not what it should be. */
int multipart_pump(struct multipart *m);
size_t multipart_waiting(const struct multipart *m);                      /* bytes that were added and not yet given on */
void multipart_free(struct multipart *m);
