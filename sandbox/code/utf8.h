/* A stream of bytes as text: characters that are cut by a read wait for their rest; what is no UTF-8 becomes U+FFFD. */
#pragma once
#include <glib.h>
#include <stdbool.h>
struct utf8 { char tail[4]; unsigned tail_n; };
/* Appends what of p is complete; end: what waits too. */
void utf8_feed(struct utf8 *u, const void *p, size_t n, bool end, GString *out);
