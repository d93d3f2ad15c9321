/* Change events of a directory as envd tells them, in order; with the entry of what changed if that is wanted. Used by the stream and by the watchers that are polled. */
#pragma once
#include "sandbox/e2b/e2b.h"
#include "sandbox/watch.h"
struct e2b_watching;
struct e2b_watching_ops {
    void (*ready)(void *arg);
    void (*event)(void *arg, json_t *event);                   /* FilesystemEvent; owned by the callee */
    void (*end)(void *arg, const struct fault *fault);         /* the last call */
    bool (*full)(void *arg);                                   /* may be NULL */
};
/* q: {path, recursive, includeEntry}. The box is RUNNING and held until ready() or end(). NULL: fault. */
struct e2b_watching *e2b_watching_new(struct box *b, const char *user, const char *path, const json_t *q, const struct e2b_watching_ops *ops, void *arg, struct fault *fault);
void e2b_watching_flow(struct e2b_watching *w);
void e2b_watching_free(struct e2b_watching *w);               /* NULL is fine; may be called from its ops */
