/* File operations of a box, streamed between HTTP and the agent's worker (file_proto.h) without holding more than a chunk. Main loop only. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/file_proto.h"
struct file_call;
struct file_ops {
    /* once, before data of READ, LIST, TREE_OUT; at the end of the others. status 0 (st is set) or -errno with the step. After one that is not 0, or of an operation without a
     * body from the worker, nothing more comes */
    void (*head)(void *arg, int status, const char *step, const struct file_stat *st);
    bool (*data)(void *arg, const uint8_t *p, size_t n);     /* taken; false: pause after it (file_resume) */
    void (*end)(void *arg, int status);                      /* of a body from the worker: 0, or -errno: broken off */
    void (*room)(void *arg);                                 /* an upload may go on */
};
/* Starts one; the box is RUNNING and held. NULL and *ret_fault if not. Nothing is called before it returns. */
struct file_call *file_start(struct box *b, const char *user, const struct file_request *q, const struct file_ops *ops, void *arg, struct fault *ret_fault);
void file_resume(struct file_call *f);
size_t file_write(struct file_call *f, const void *p, size_t n);   /* how much was taken; less than n: wait for room. After a head (refused early) everything is taken and dropped */
void file_write_end(struct file_call *f);
void file_free(struct file_call *f);                             /* before its end: the worker sees a broken stream and commits nothing. NULL is fine; may be called from its ops */
/* -errno of a worker (with its step) about path, for people. */
void file_fault(struct fault *ret, int err, const char *step, const char *path);
