/* A trial server (lib/http_routes.c) in its own process, and a raw client. Failures are cmocka's. */
#pragma once
#include <glib-unix.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
struct http_server { char dir[64], path[96]; unsigned port; pid_t pid; };
extern struct http_server server;
struct http;
extern void (*http_trial_more)(struct http *h);                         /* done to the server before it serves; NULL */
int http_trial_start(void **state), http_trial_stop(void **state);      /* stop: not 0 if the server ended badly (a sanitizer's report) */
int http_unix(void), http_tcp(void);                                    /* connected */
bool http_put(int fd, const void *p, size_t n);                         /* false: it was closed */
size_t http_get(int fd, void *p, size_t n);                             /* 0: the end, or a reset */
char *http_rest(int fd);                                                /* all until the end; closes fd. Owned, by g_free */
char *http_ask(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));   /* sends, then http_rest: the request should say Connection: close */
unsigned http_status(const char *answer);
const char *http_content(const char *answer);
long http_value(const char *name);                                      /* of GET /t/trial */
void http_await(const char *name, long at_least);
double http_metric(const char *line);                                   /* of GET /metrics: name with labels; -1: not there */
