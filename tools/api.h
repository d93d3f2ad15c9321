/* The runner's HTTP API, from the command's side: libsoup over the Unix socket of the store. Only the program coppice-box links it; `coppice` hands its sandbox
 * verbs over to that, so that its other verbs do not wait for libsoup's libraries. One GLib main context, one thread. */
#pragma once
#include <stdbool.h>
#include <jansson.h>
#include <libsoup/soup.h>
#include "tools/tool.h"

struct api { struct tool *t; SoupSession *session; int dir_fd; };
struct api_error { unsigned status; char code[64], text[2048]; json_t *details; };    /* status 0: no answer came */

/* Connects; the runner is started if it does not run. 0 or the exit status, after saying why. */
int api_open(struct tool *t, struct api *ret);
void api_close(struct api *a);
/* A request to PATH (beneath /v1, already encoded). body: stolen, may be NULL. accept may be NULL. Owned. */
SoupMessage *api_message(struct api *a, const char *method, const char *path, json_t *body, const char *accept);
/* Sends and collects. 0; 1: failed, *ret_err says how (api_say prints it). *ret may be NULL (owned; NULL after an answer without body). */
int api_try(struct api *a, const char *method, const char *path, json_t *body, json_t **ret, struct api_error *ret_err);
/* The same, and says why it failed. 0 or 1. */
int api_call(struct api *a, const char *method, const char *path, json_t *body, json_t **ret);
/* GET of a stream of lines of JSON: each() has every one that is not empty, until it says false (LINES_ENDED). LINES_BROKEN: the stream ended before that; LINES_REFUSED: there is none, and
 * why was said. */
enum api_lines { LINES_ENDED, LINES_BROKEN, LINES_REFUSED };
enum api_lines api_lines(struct api *a, const char *path, bool (*each)(void *arg, const char *line, size_t n), void *arg);
/* Fills *ret_err from an answer that is not 2xx (its body so far unread: read here), or from a GError. */
void api_error_of(SoupMessage *m, GInputStream *body, const GError *err, struct api_error *ret_err);
int api_say(struct tool *t, const struct api_error *e);   /* 1 */
/* One name as a segment of a path; a file's path as the rest of one. Owned (g_free). */
char *api_segment(const char *name);
char *api_path(const char *path);
/* "/sandbox/NAME/REST". Owned (g_free). */
char *api_box(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
