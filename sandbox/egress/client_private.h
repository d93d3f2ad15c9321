/* What client.c (requests) and client_log.c (log streams) share. */
#pragma once
#include <jansson.h>
#include <pthread.h>
#include "sandbox/egress/client.h"

struct stream_of { json_int_t tag; int wake_fd; bool cancelled; };
struct client {
    struct egress *e;
    int fd;
    atomic_uint refs;                                 /* its thread and its streams */
    pthread_mutex_t write_lock;                       /* one message at a time; held across send(), which gives up after SEND_S */
    pthread_mutex_t lock;                             /* guards streams */
    struct stream_of streams[CLIENT_STREAMS_MAX];     /* tag 0: free */
};
void client_unref(struct client *c);
/* Sends one message. Takes o. 0 or -errno: the connection is shut then. */
int client_say(struct client *c, json_int_t tag, json_t *o);
int client_thread_start(void *(*run)(void *), void *arg);
/* The op `log`: starts its stream. NULL: it will answer; else the error, owned. */
json_t *client_log(struct client *c, json_t *req, json_int_t tag);
json_t *client_cancel(struct client *c, json_t *req);
