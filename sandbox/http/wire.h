/* The stream between a client's socket and libsoup: a GIOStream of ours under SoupServer and SoupWebsocketConnection. It frames nothing; it sees the bytes pass, and so can
 * do what SoupServer cannot: notice at any time that the client left, stop reading, count what really went out, and end a connection. Main loop only (but for the end of a chunked
 * body: wire.c says how). */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

struct wire_hooks {
    void (*in)(void *arg, size_t n);          /* libsoup read n bytes */
    void (*data_out)(void *arg, size_t n);    /* in WebSocket mode: n payload bytes of data frames went to the socket */
    void (*left)(void *arg, bool hung_up);    /* the client hung up; or, on TCP, stopped sending */
    void (*closed)(void *arg);                /* libsoup closed the stream: no further hook comes */
    /* May be NULL. A whole head, before libsoup has any of it. True: it is not for libsoup; taken() is next, and then libsoup finds the end of the stream. */
    bool (*head)(void *arg, const char *p, size_t n);
    void (*taken)(void *arg, int fd, const void *p, size_t n);     /* fd is given away, with what was read of it */
};
typedef struct Wire Wire;
/* Takes fd (non-blocking). half_close: a client that only stops sending has not left (Unix sockets). */
Wire *wire_new(int fd, bool half_close, const struct wire_hooks *hooks, void *arg);
void wire_watch(Wire *w, bool on);            /* left() is wanted: while a request is being answered */
void wire_idle(Wire *w, bool on);             /* no request has begun: the next bytes are a head */
void wire_preload(Wire *w, const void *p, size_t n);      /* bytes of the client that were read before; they come first */
void wire_pause(Wire *w, bool on);            /* nothing is read while it is on */
/* From now on frames are counted: data_out comes, and while the client does not read, at most WIRE_BLOCKED_MAX further bytes of it are read (it could ask for endless pongs). */
void wire_websocket(Wire *w);
/* Ends it: libsoup finds the end of the stream. reset: the client sees that, too. */
void wire_cut(Wire *w, bool reset);
/* Closes it now, whatever libsoup does with it: closed() runs within. */
void wire_end(Wire *w);
enum { WIRE_BLOCKED_MAX = 64 * 1024 };
