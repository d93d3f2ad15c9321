/* The control protocol of snapshotd, both ends: frames of JSON over a Unix stream socket, and descriptors beside them.
 *
 * Frame: u32 length (little-endian, at most SNAP_FRAME_MAX), then one JSON object of that many bytes. Descriptors travel by SCM_RIGHTS with
 * the first byte of the frame they belong to.
 *
 * A request is {"verb": NAME, ...}. The answer is any number of parts, then exactly one end:
 *   {"progress": {...}}   how far long work is (also {"problem": {"where", "what"}} of fsck and scrub)
 *   {"more": {KEY: [...]}} items of the result: they belong to the end of the arrays KEY of the result
 *   {"mount": {...}}      of verb mount: one descriptor, a detached mount; the client answers {"attached": BOOL} once and waits on
 *   {"ok": {...}}         end: it is done
 *   {"error": {"code", "message"}}  end: it failed; message is for people, code is one of the list in explain.c
 * Verb diff with "content_max": each of its "more" frames holds one entry, and behind the frame follow, unframed, its "a_bytes" and then
 * its "b_bytes" bytes of content. Verb import takes a descriptor to read import frames from (fs/import.h); import_archive, export take one
 * to read or write.
 *
 * Verbs and their fields ([] may be left out; OBJECT: name or id of a workspace, id of a snapshot, WS@NAME). Unknown fields are errors.
 *   ping [stay: no end when idle] | shutdown (answered when all is closed) | upgrade [program] (answered at once: another daemon takes over, mounts stay) | list [all: the template too] | show object [sizes] | log object [graph]
 *   create name [from kind (root, bare; root without from, and from "host": the built-in template) quota_bytes quota_inodes labels] | rm objects [with_snapshots] | rename object name | label object [set remove]
 *   mount object [dir options{ro suid dev noexec allow_other transport uid_base snapdir}] | mounts [object] | wait_gone mount [timeout_s]
 *   snapshot object [name message labels cause if_changed] | fork source name [count] | restore object to [paths], or object undo (to the state before the last whole restore or merge) | auto object policy (keep.h, or "off") | diff a b [paths times content_max]
 *     with these (and create from a workspace), descriptors of directories in the mounts concerned may come: needed if the daemon cannot see those ("unreachable")
 *   import name [at message kind] + descriptor | import_archive name + descriptor | export object [since, format archive|stream] + descriptor
 *   gc [dry_run pack] | stats | fsck | scrub [repair]
 *
 * Text from outside that is not UTF-8 (names of files are bytes) is the object {"base64": TEXT} in place of a string, in both directions.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include "base/buf.h"

enum { SNAP_FRAME_MAX = 1 << 20, SNAP_FDS_MAX = 65 /* a merge: the target and 64 sources */, SNAP_DEPTH_MAX = 16 };
#define SNAP_SOCKET "snapshotd.sock"
#define SNAP_LOG "snapshotd.log"

/* One frame at the start of foreign bytes. 0: *ret (owned) and how many bytes it took; 1: more bytes are needed; -EMSGSIZE: its length is
 * over the limit or 0; -EBADMSG: not one JSON object (or nested deeper than SNAP_DEPTH_MAX); -ENOMEM. */
int snap_frame_parse(const uint8_t *p, size_t n, json_t **ret, size_t *ret_used);
/* Appends the frame. 0; -EMSGSIZE: too long; -ENOMEM. */
int snap_frame_put(struct buf *b, const json_t *msg);

/* Blocking. 0; -EMSGSIZE, -ENOMEM (nothing sent); -errno of the socket (-EPIPE: the other side is gone). */
int snap_send(int sock, const json_t *msg, const int *fds, unsigned fd_count);
int snap_send_bytes(int sock, const void *p, size_t n, const int *fds, unsigned fd_count);
/* Blocking. 0 and an owned object, with the descriptors that came (owned, O_CLOEXEC). -ENODATA: the other side closed between frames;
 * -EPIPE: within one; -EMSGSIZE, -EBADMSG: as above (the stream cannot be used further); -E2BIG: more than SNAP_FDS_MAX descriptors. On
 * errors none are left open. */
int snap_recv(int sock, json_t **ret, int fds[SNAP_FDS_MAX], unsigned *ret_fd_count);
/* Unframed bytes. 0, -EPIPE, -errno. */
int snap_recv_raw(int sock, void *p, size_t n);

/* Bytes as JSON: a string if they are UTF-8 without NUL, else {"base64": ...}. NULL: out of memory. */
json_t *snap_bytes(const void *p, size_t n);
/* Back: an owned, NUL-terminated copy and its length; NULL with *ret_err = -EINVAL (neither form, or holds a NUL) or -ENOMEM. */
char *snap_bytes_get(const json_t *v, size_t *ret_len, int *ret_err);

/* A socket bound to or connected with STORE/snapshotd.sock, however long the path is. 0, -errno. */
int snap_socket(const char *store, int listen_backlog, int *ret_fd);
