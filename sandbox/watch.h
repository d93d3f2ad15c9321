/* Change events of a path in a running sandbox, from inotify in a helper program inside it (coppice-watch: sandbox/watch/, GPL-2.0-or-later with libinotifytools; it is executed by
 * the agent from a sealed descriptor with the user's rights). Main loop only. Used by GET .../watch and by the E2B routes. */
#pragma once
#include "sandbox/box.h"
struct watch;
enum watch_type { WATCH_CREATE, WATCH_MODIFY, WATCH_CLOSE_WRITE, WATCH_DELETE, WATCH_MOVE, WATCH_ATTRIB };
enum { WATCHES_MAX = 32, WATCH_GLOBS_MAX = 64, WATCH_COALESCE_MS = 20 };      /* of a box */
struct watch_event { enum watch_type type; const char *path, *to /* MOVE: the new name; NULL: out of what is watched (then it is a DELETE) */; bool is_dir; uint64_t seq; uint64_t time_ns /* CLOCK_REALTIME */; };
struct watch_request { const char *path, *user; bool recursive; char **include, **exclude; /* globs, NULL-terminated, may be NULL */ unsigned types /* bits of watch_type, 0: all */; };
struct watch_ops {
    void (*ready)(void *arg);                                   /* everything that happens from now on is told */
    void (*event)(void *arg, const struct watch_event *e);      /* paths absolute, as bytes in UTF-8 or with the escapes of docs/http.md */
    void (*overflow)(void *arg, uint64_t lost);                 /* events were lost here (0: unknown how many): look again */
    void (*end)(void *arg, const struct fault *fault);          /* the last call: the box stopped, the path is gone, ... */
    bool (*full)(void *arg);                                    /* the client does not read: events wait in a bounded queue, then overflow */
};
/* The box is RUNNING; a watch does not hold it: it may freeze, and sleep ends the watch. NULL: fault is set. */
struct watch *watch_start(struct box *b, const struct watch_request *q, const struct watch_ops *ops, void *arg, struct fault *fault);
void watch_flow(struct watch *w);         /* not full any more */
void watch_free(struct watch *w);         /* NULL is fine; may be called from its ops */
