/* Change events of a path in a running sandbox, from inotify in a helper program inside it (coppice-watch: sandbox/watch/, GPL-2.0-or-later with libinotifytools; it is executed by
 * the agent from a sealed descriptor with the user's rights). Main loop only. Used by GET .../watch and by the E2B routes. */
#pragma once
#include "sandbox/box.h"
struct watch;
enum watch_type { WATCH_CREATE, WATCH_MODIFY, WATCH_CLOSE_WRITE, WATCH_DELETE, WATCH_MOVE, WATCH_ATTRIB };
enum { WATCHES_MAX = 32, WATCH_GLOBS_MAX = 64, WATCH_COALESCE_MS = 20 };      /* of a box */
struct watch_event { enum watch_type type; const char *path, *to /* MOVE only: the new name. Out of what is watched is a DELETE, into it a CREATE with all that is in it */; bool is_dir; uint64_t seq /* 1, 2, ... of this watch */; uint64_t time_ns /* CLOCK_REALTIME */; };
struct watch_request { const char *path /* absolute, or relative to the user's home; NULL: /workspace if it is there, else the home. A file: only that name in its directory */, *user; bool recursive; char **include, **exclude; /* globs (docs/watch.md), NULL-terminated, may be NULL */ unsigned types /* bits of watch_type, 0: all */; };
struct watch_ops {
    void (*ready)(void *arg, const char *path);                 /* path: absolute, as asked for (symlinks in it stay), begins all paths of events. Everything that happens from now on is told */
    void (*event)(void *arg, const struct watch_event *e);      /* paths absolute; bytes, perhaps no UTF-8 (json_set_bytes() for JSON) */
    /* events were lost here (0: unknown how many): look again. reason: "queue" (the kernel's was full), "slow" (the client was), "restored", "merged", "changed" (the tree, from outside), "name" */
    void (*overflow)(void *arg, uint64_t lost, const char *reason);
    void (*end)(void *arg, const struct fault *fault);          /* the last call: not_running (the box stopped or sleeps), not_found (the path is gone), too_many (a limit), ... */
    bool (*full)(void *arg);                                    /* may be NULL. The client does not read: events wait in a bounded queue, then overflow */
};
/* The box is RUNNING, and the caller's hold is needed until ready() or end(): then a watch does not hold it: it may freeze, and sleep ends the watch. NULL: fault is set. Nothing is called before it returns. */
struct watch *watch_start(struct box *b, const struct watch_request *q, const struct watch_ops *ops, void *arg, struct fault *fault);
void watch_flow(struct watch *w);         /* not full any more */
void watch_free(struct watch *w);         /* NULL is fine; may be called from its ops */
/* The tree of the box was changed by something that inotify does not see (a restore): every watch of it looks again and tells an overflow. */
void watches_changed(struct box *b, const char *reason);
/* Reads the helper program and seals it; once, at the start. */
void watch_init(void);
