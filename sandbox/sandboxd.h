/* sandboxd: the unprivileged daemon that serves the HTTP API. One GLib main loop, one thread; only calls to snapshotd run in helper threads (stock.h).
 * It holds nothing that it cannot find again: sandboxes and executions live in the launcher and the agents, workspaces in snapshotd, configuration in its directory. */
#pragma once
#include <glib.h>
#include <stdint.h>

struct stock; struct keeper; struct launcher; struct egress_client; struct boxes; struct http; struct sandboxd {
    GMainLoop *loop;
    struct stock *stock;          /* snapshotd */
    struct keeper *keeper;        /* its death; NULL: nobody looks (tests) */
    struct launcher *launcher;    /* the launcher's control pair */
    struct egress_client *egress; /* the egress proxy; NULL: none (tests) */
    struct boxes *boxes;
    struct http *http;
    struct previews *previews;    /* preview.h; once http serves */
    int dir_fd;                   /* its own directory: box/ID.json */
    uint64_t start_ns;
};
/* An error on its way to a client: a code of the closed list in http/codes.h, and a text for people that says what, which, why, what to do. */
struct fault { const char *code; char text[512]; };
void fault_set(struct fault *f, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
