/* Who is meant: scheme, host and port in one canonical form, and whether a pattern or an address is allowed. Refuses rather than repairs (security.md E5, E8, E10, E49). */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include "sandbox/egress/http1.h"

enum { HOST_MAX = 254, PATH_GLOB_MAX = 1024 };
enum host_kind { HOST_NAME, HOST_V4, HOST_V6 };
struct authority { bool tls; enum host_kind kind; char host[HOST_MAX] /* lower case, no final dot; literals in their canonical text, v6 without brackets */; uint16_t port; };
/* "host", "host:port", "[v6]:port". default_port for a missing one. NULL, or why not (static text). A name is of labels of 1..63 letters, digits, hyphens (not at the ends) and
 * underscores, with at least one dot (or it is "localhost": refused by the verdict, not here); a final dot is dropped; the last label does not begin with
 * a digit and has no underscore. Only dotted-decimal v4 without leading zeros is a literal, every other way to write a number is refused; v6 has no zone. */
const char *authority_parse(struct slice text, bool tls, uint16_t default_port, struct authority *ret);
bool authority_same(const struct authority *a, const struct authority *b);
/* The target of an absolute-form request: "http://host:port/path?query" -> its authority and the origin form. */
const char *authority_from_url(struct slice url, struct authority *ret, struct slice *ret_target);
/* Is it a pattern of rules: a name, "*.name" with at least two fixed labels, a literal (v6 with or without brackets), or "*" alone? In canonical spelling only: lower case, no final
 * dot, an address in its shortest form. NULL or why not. The two below are for patterns that passed this. */
const char *pattern_check(const char *pattern);
bool pattern_matches(const char *pattern, const struct authority *a);     /* "*.x.y": strict subdomains of any depth; "*": any name, no literal */
bool pattern_covers(const char *wide, const char *narrow);                /* all that narrow matches, wide does too */

/* Addresses: what may be dialled. IPv4 inside IPv6 (mapped, compatible, 6to4, Teredo, NAT64) is judged as the IPv4 too. */
enum address_class { ADDRESS_PUBLIC, ADDRESS_PRIVATE /* RFC 1918, ULA, CGNAT, link-local but not metadata */, ADDRESS_LOOPBACK, ADDRESS_NEVER /* multicast, unspecified, broadcast, documentation, benchmarking, reserved, 169.254.169.254 and its like */ };
enum address_class address_class(const struct sockaddr_storage *sa);
/* A path that a rule with `paths` can judge: starts with "/", no dot segment, "//", ";", "\\", no %2f, %5c, %2e, %00, nothing that decodes to another canonical path: %XX (upper case)
 * only for bytes that cannot stand there plainly, never twice encoded, and UTF-8. */
bool path_is_canonical(struct slice path);
/* Globs of rules' paths: "*" within a segment, "**" anything, "/" too. The path without its query. A glob longer than PATH_GLOB_MAX matches nothing. */
bool path_matches(const char *glob, struct slice path);
