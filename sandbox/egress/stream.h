/* One connection's bytes, plain or TLS, never blocking by itself: reads and writes give -EAGAIN, waiting is done by poll with a deadline. What came and was not asked for yet is in `in`.
 *
 * Whatever a thread waits for, it also looks at the client's socket: when that has hung up, or was shut down by conn_cut(), all waiting ends with -ECANCELED. So one shutdown() ends
 * a connection with all that belongs to it, and no thread has to be told otherwise. */
#pragma once
#include <openssl/ssl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STREAM_IN_FIRST = 8 * 1024 };
struct stream {
    int fd, cut_fd;               /* cut_fd: the client's socket (for the client itself -1) */
    SSL *ssl;                     /* NULL: plain */
    sem_t *gate;                  /* of the box: who computes takes a place in it (fairness between boxes), never while waiting */
    char *in;
    size_t in_off, in_n, in_cap;  /* what was read and not taken: in[in_off .. in_off + in_n) */
    short want, want_in, want_out;/* poll events that the last -EAGAIN is waiting for: of all, of the reads, of the writes */
    size_t written;               /* bytes that are records already, but not all sent */
    bool end;                     /* the other side has ended properly */
};
#define STREAM_INIT ((struct stream){ .fd = -1, .cut_fd = -1 })
/* Frees everything; a TLS session that is whole is told that it ends (close_notify), unless `abort`: then the other side sees that something is missing. */
void stream_close(struct stream *s, bool abort);
/* Up to n bytes. > 0; 0: the end (plain: FIN; TLS: close_notify); -EAGAIN; -ECONNRESET: broken off, also a FIN within TLS without close_notify; -EPROTO. */
long stream_read(struct stream *s, void *p, size_t n);
/* After -EAGAIN it is to be called with the same bytes again. */
long stream_write(struct stream *s, const void *p, size_t n);
/* Nothing more will be written: FIN, or close_notify and FIN. */
void stream_shut(struct stream *s);
/* Reads more into `in` (room for at most max bytes there). 1: there is more; 0: the end; -EMSGSIZE: max bytes are there; -EAGAIN, other errors as stream_read. */
int stream_more(struct stream *s, size_t max);
void stream_take(struct stream *s, size_t n);                /* n bytes of `in` are used */
/* Until an event, or what the last -EAGAIN waits for. 0, -ETIMEDOUT, -ECANCELED. */
int stream_wait(struct stream *s, uint64_t deadline_ns);
int stream_write_all(struct stream *s, const void *p, size_t n, uint64_t deadline_ns);
int wait_fd(int fd, short events, int cut_fd, uint64_t deadline_ns);
/* Makes a plain stream a TLS one: what is in `in` is the beginning of its records. Owns ssl. -ENOMEM: ssl is not taken. */
int stream_set_tls(struct stream *s, SSL *ssl);
/* The handshake, as the SSL was set up (accept or connect). 0, -ETIMEDOUT, -ECANCELED, -ECONNRESET, -EPROTO. */
int stream_handshake(struct stream *s, uint64_t deadline_ns);
/* What came is acknowledged at once: a client that waits for that before it goes on (Nagle) does so after a handshake, where we have nothing to say. */
void stream_acknowledge(struct stream *s);
/* Once, before threads. */
int stream_init(void);
