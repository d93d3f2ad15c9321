/* The log of decisions (docs/egress.md 5): for each box the newest events in memory and in log/BOX.LOG, log/BOX.OLD of egress's directory, both bounded, so that no box can push out what another
 * did. Numbers (seq) grow over all boxes of the store and go on over restarts (with a jump). Thread-safe. Nothing here knows a secret: give it none (no query, no header values). */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum audit_kind { AUDIT_DNS, AUDIT_CONNECT, AUDIT_REQUEST };
enum { AUDIT_RING_BYTES = 128 * 1024, AUDIT_FILE_BYTES = 256 * 1024, AUDIT_EVENT_BYTES = 4096, AUDIT_WATCHERS_MAX = 64, AUDIT_READ_MAX = 1000 };
struct audit_event {
    const char *box, *name;            /* id; what it is called */
    enum audit_kind kind;
    const char *scheme, *host;         /* NULL: left out. Workload-made text is escaped and cut here, not by the caller */
    uint16_t port;                     /* 0: left out */
    const char *method, *target;       /* as asked, with its query: only its shape is kept */
    const char *rule;                  /* NULL: the default */
    const char *verdict;               /* "allow", "deny", "answer", "error" */
    const char *why;
    unsigned status;                   /* 0: left out */
    uint64_t bytes_up, bytes_down;
    uint64_t ms;
};
struct audit;
/* dir_fd borrowed; -1: in memory only. Reads what is there (a torn last line is dropped). */
int audit_open(int dir_fd, struct audit **ret);
void audit_free(struct audit *a);
/* Writes it down: memory and one write(2), not synced. A disk that is full or broken costs the file, not the request: said once in the program's log, and counted. */
void audit_put(struct audit *a, const struct audit_event *e);
/* The box was deleted: its events and files go. */
void audit_forget(struct audit *a, const char *box);

/* Events of the box (NULL: of all) with seq > since, oldest first, at most max (<= AUDIT_READ_MAX): a JSON array, owned; NULL: no memory. *ret_next: since for the next call. *ret_lost: some
 * after since are not there any more (a gap: tell it). */
json_t *audit_read(struct audit *a, const char *box, uint64_t since, unsigned max, uint64_t *ret_next, bool *ret_lost);
/* For followers: 1 is written to event_fd (an eventfd, borrowed, EFD_NONBLOCK) after each new event of the box (NULL: of any). Watch first, then read, then wait. -EMFILE: too many watch it. */
int audit_watch(struct audit *a, const char *box, int event_fd);
void audit_unwatch(struct audit *a, const char *box, int event_fd);

/* The path without its query; segments that look like identifiers (numbers, hex, uuid, long or random) as "{}"; at most 200 bytes; what is not printable ASCII as \xNN. Returns out. */
enum { PATH_SHAPE_MAX = 208 };
const char *path_shape(const char *target, char out[PATH_SHAPE_MAX]);
