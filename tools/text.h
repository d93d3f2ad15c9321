/* Text on its way to people. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>
#include "base/buf.h"

/* A file name as git prints it: as it is, or in double quotes with C escapes and \ooo if it holds control bytes, quotes, backslashes or
 * bytes above 0x7f. */
void text_quote(struct buf *out, const void *name, size_t n);
/* True if text_quote() would put quotes. */
int text_is_odd(const void *name, size_t n);
/* One line of text for a terminal: control bytes become \xNN. Returns out, always terminated, cut if needed. */
const char *text_safe(char *out, size_t size, const char *s);
/* "1.2 MiB" ; "2026-11-21 01:30:00" (local time). Return out. */
enum { TEXT_SIZE = 24, TEXT_TIME = 32 };
const char *text_bytes(char out[TEXT_SIZE], uint64_t bytes);
const char *text_time(char out[TEXT_TIME], int64_t unix_s);
/* "k=v, k2=v2", safe, owned (free). */
char *text_labels(const json_t *labels);
