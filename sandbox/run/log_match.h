/* Finds a text or expression in the lines of an output. Bounded: a line is looked at up to LOG_LINE_MAX bytes, an expression may take only so many steps. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
enum { LOG_LINE_MAX = 8192, LOG_PATTERN_MAX = 1024 };
struct log_match;
/* NULL and *ret_error (static text) if the pattern is empty, too long or no expression. */
struct log_match *log_match_new(const char *pattern, bool regex, const char **ret_error);
void log_match_free(struct log_match *m);
/* Bytes of a stream (STREAM_*). True: *ret_line (until the next call) matches. lost: bytes missing before: the line so far is dropped. */
bool log_match_feed(struct log_match *m, unsigned stream, uint64_t lost, const uint8_t *p, size_t n, const char **ret_line);
