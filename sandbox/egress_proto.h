/* How egress is spoken to. Two protocols.
 *
 * launcher <-> egress: fixed-size packets over a SOCK_SEQPACKET pair with descriptors beside them. The launcher is the parent: it starts egress, starts it again when it dies, and
 * keeps copies of every sandbox's listeners, so that connections wait in their queues meanwhile. The listener is the identity: a request is judged by the box whose listener it came through.
 *
 * sandboxd <-> egress: over a SOCK_STREAM pair that the launcher makes (LAUNCH_EGRESS -> EGRESS_CLIENT): u32 length (little-endian, <= EGRESS_JSON_MAX), then one JSON object.
 * A request has "op" and "tag" (a number > 0); each answer has the tag and either "ok": ... or "error": {"code", "text"} with a code of sandbox/http/codes.h; of a log stream
 * several "event"s come before the "ok". egress owns the policy: rules, secrets and the CA are in its directory STORE/sandbox/egress, and hold though sandboxd is away.
 *   {op:"box", box, name, labels}            what the box is called and its labels, before it starts, when they change, and at each new connection. Labels are persisted for a box that has rules
 *   {op:"rules_get", box}                    -> {revision, rules (docs/egress.md 2), warnings}
 *   {op:"rules_put", box, doc, if_revision?} -> the same; conflict: code precondition_failed, details {revision}. Durable and in force for new requests when it answers
 *   {op:"rules_patch", box, add?, remove?, default?, if_revision?}     remove: names of rules
 *   {op:"rules_check", doc}                 -> {warnings}, or the error of rules_put; nothing is changed
 *   {op:"fork", from, to: [box...]}          what forks get (policy_for_fork)
 *   {op:"forget", box}                       it was deleted
 *   {op:"secret_put", name, value, hosts?, plain_http?}, {op:"secret_delete", name}, {op:"secret_list"}      -> {secrets: [{name, hosts?, plain_http, created, updated, usable}]}
 *   {op:"log", box?, since?, follow}         -> events {event: {...}} (docs/egress.md 5; {event: {lost: true}}: some before the next are gone), then ok {next: since} when not follow, or cancelled. {op:"cancel", of: tag}
 *   {op:"usage", box}                        -> {requests, denied, bytes_up, bytes_down, connections}
 *   {op:"status"}                            -> {boxes, known, connections, threads, ca: {subject, not_after, sha256}, secrets, key: "file" | "memory", resolver, roots}: boxes are served, known have rules; resolver, roots: how many */
#pragma once
#include <stdint.h>
#include "sandbox/launch_proto.h"

enum { EGRESS_VERSION = 1, EGRESS_JSON_MAX = 1 << 20, EGRESS_PEM_MAX = 16 * 1024 };
enum egress_op {
    EGRESS_HELLO = 1,    /* from egress, first: `zero` is EGRESS_VERSION; descriptor: memfd (sealed) with the CA certificate in PEM */
    EGRESS_ADD,          /* to egress: box; descriptors: the listeners (EGRESS_DOOR_*, in this order; the v6 listeners take v4 too; without IPv6 they are v4) */
    EGRESS_REMOVE,       /* to egress: box is gone: its connections are cut, its listeners closed. -> EGRESS_REMOVED */
    EGRESS_CLIENT,       /* to egress: descriptor: a connection of a sandboxd */
    EGRESS_REMOVED,
};
enum egress_door { EGRESS_DOOR_HTTP /* 80 */, EGRESS_DOOR_HTTPS /* 443 */, EGRESS_DOOR_PROXY /* 3128 */, EGRESS_DOOR_DNS_UDP, EGRESS_DOOR_DNS_TCP /* 53 */, EGRESS_DOORS };
struct egress_packet { uint32_t op, zero; char box[LAUNCH_NAME]; };
/* Descriptors with which egress is started: 3 the pair; 4 its directory; 5 a memfd with the 32 bytes of the key; 6 the CA bundle that upstreams are verified with (PEM); 7 resolv.conf.
 * Environment: EGRESS_KEY=file|memory (how long the key lives, for status); EGRESS_SELF="ADDR:PORT ..." (the API's own addresses: never dialled) */
enum { EGRESS_FD_CONTROL = 3, EGRESS_FD_DIR, EGRESS_FD_KEY, EGRESS_FD_ROOTS, EGRESS_FD_RESOLV };
enum { LAUNCH_EGRESS_UID = LAUNCH_SANDBOXD_UID + 1 };
/* Where the sandbox finds the CA: a bundle of the store's CA and the host's roots. It is also bound over the usual files of the tree, where they are regular files. */
#define EGRESS_BUNDLE_PATH "/dev/ca-bundle.pem"
static const uint16_t EGRESS_PORTS[] = { 53, 80, 443, 3128 };     /* reserved in every sandbox: no preview of them */
