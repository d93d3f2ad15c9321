/* DNS, both ways. What a sandbox asks is answered here and never passed on: every name has one address (E14). What egress itself asks of the host's servers is written and
 * read here too; sockets are resolver.c's. Parsers take bytes from outside, copy nothing but names, and refuse what is not exactly as it should be. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DNS_NAME_MAX = 254 /* text, with its NUL */, DNS_ANSWER_MAX = 512, DNS_QUERY_MAX = 512, DNS_MESSAGE_MAX = 65535, DNS_ADDRESSES_MAX = 16 };
enum { DNS_A = 1, DNS_CNAME = 5, DNS_AAAA = 28, DNS_OPT = 41 };
/* The address of every name, outside of what exists anywhere (benchmarking, RFC 2544 and 5180): never dialled, in a sandbox it is local like all others. */
#define DNS_FAKE_V4 "198.18.0.1"
#define DNS_FAKE_V6 "2001:2::1"

/* The answer to query p[0..n): its length in ret, or 0: nothing is to be said. v6: AAAA has an address too. ret_name: what was asked, escaped, "" if unreadable; *ret_type its type. */
size_t dns_answer(const uint8_t *p, size_t n, bool v6, uint8_t ret[DNS_ANSWER_MAX], char ret_name[DNS_NAME_MAX], uint16_t *ret_type);

/* A query for an absolute name. Its length, or -EINVAL: not a name. */
int dns_query(uint16_t id, const char *name, uint16_t type, uint8_t ret[DNS_QUERY_MAX]);
struct dns_addresses { struct sockaddr_storage at[DNS_ADDRESSES_MAX] /* port 0 */; unsigned count; };
/* The answer to just that query. 0: addresses were added (perhaps none); -EAGAIN: not an answer to it (go on listening); -EMSGSIZE: cut off, ask over TCP; -ENOENT: no such name;
 * -EREMOTEIO: the server cannot; -EBADMSG. CNAMEs are followed within the answer only. */
int dns_read(const uint8_t *p, size_t n, const uint8_t *query, size_t query_n, struct dns_addresses *add);
