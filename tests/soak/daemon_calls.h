/* Calls to a store's daemon that may be killed at any moment: when the connection breaks they are made again on a new one, and what the
 * first try had done already is taken for its own success. So they may be used only with names that nobody else uses. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "snapshotd/snap_client.h"

enum { CALL_AGAIN_S = 40 };               /* so long a daemon may be away, or a mount busy, before it is a failure */
struct daemon_calls {
    const char *store;
    struct snap_client *c;
    unsigned long broken;                 /* how often a connection broke */
    struct snap_error err;                /* of the last call that failed */
};
void daemon_calls_end(struct daemon_calls *d);
/* Steals req. again_ok: the code of an error that, from a second try on, says that the first one did it; NULL: none. 0 or -errno. */
int daemon_call(struct daemon_calls *d, json_t *req, int fd, const char *again_ok);
/* A detached mount: 0, its descriptor and its number. */
int daemon_mount(struct daemon_calls *d, const char *object, int *ret_fd, uint64_t *ret_id);
