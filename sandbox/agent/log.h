/* The output log of one execution: a ring of bytes numbered by `seq`, each of a stream (frame.h). Memory comes when there is something to keep and is bounded by the log's own
 * maximum and, over all logs, by LOGS_BYTES_MAX: beyond it a log stays as large as it is (LOG_LEAST at least), so it holds less, never more. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_LEAST = 4096, LOGS_BYTES_MAX = 64 << 20 };
struct log_run { uint64_t seq; uint8_t stream; };           /* from seq to the next run's: of that stream */
struct log {
    uint8_t *data;
    uint32_t cap, max;
    uint64_t first, next;                   /* kept: [first, next); byte s is at s % cap */
    struct log_run *runs;                   /* a ring, too; the first begins at or before `first` */
    unsigned run_at, run_count, run_cap;
};
void log_init(struct log *l, uint32_t max);
void log_fini(struct log *l);
/* How many bytes may be put now without touching those from `keep` on (UINT64_MAX: none are held). */
size_t log_room(const struct log *l, uint64_t keep);
/* n bytes (at most log_room()); the oldest go as far as needed. If there is no memory for the ring they count as put and lost. */
void log_put(struct log *l, uint8_t stream, const uint8_t *p, size_t n);
/* Bytes from seq on (first <= seq < next) that lie together and are of one stream. */
size_t log_peek(const struct log *l, uint64_t seq, const uint8_t **ret_p, uint8_t *ret_stream);
/* It will not grow any more: gives back what is not used. */
void log_trim(struct log *l);
size_t log_bytes(const struct log *l);      /* of memory */
size_t logs_bytes(void);
/* Pages of their own, which go back when they are freed and are not copied by a fork. */
uint8_t *pages_new(size_t n);
void pages_free(void *p, size_t n);
