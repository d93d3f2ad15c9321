/* One byte range of a Range header (RFC 9110). Several ranges, and what is no range, count as none: the whole is served, as the RFC allows. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
struct http_range { bool have, suffix; uint64_t first, last; };      /* suffix: the last `last` bytes; else first..last, last UINT64_MAX: to the end */
struct http_range http_range_parse(const char *header);
/* Does a list of entity tags ("a", "b" or *) name etag (with its quotes)? Weak tags never do. */
bool http_etag_in(const char *list, const char *etag);
