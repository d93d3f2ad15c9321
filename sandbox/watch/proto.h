/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
 * What coppice-watch and sandboxd say to each other over the channel (EXEC_CHANNEL, frame.h) of its execution. Both are separate programs; this file, numbers only, is all they share.
 *
 * A message: u32 bytes of what follows (1..WATCH_MESSAGE_MAX), u8 kind, its body. Little-endian; a string is u16 bytes and the bytes, without NUL. */
#pragma once
enum { WATCH_MESSAGE_MAX = 160 * 1024, WATCH_STRING_MAX = 65535 };
enum watch_order {
    WATCH_REQUEST = 1,    /* first, once. u8 recursive, u32 bits of types (0: all), u32 coalesce_ms, path string ("": the working directory), u16 n includes, u16 n excludes: strings */
    WATCH_AGAIN           /* reason string: the tree was changed in a way that inotify does not show: look at it again, and say WATCH_LOST with this reason when that is done */
};
enum watch_word {
    WATCH_READY = 1,      /* path string: absolute */
    WATCH_EVENT,          /* u8 type, u8 is_dir, u64 time_ns (CLOCK_REALTIME), path string, to string ("": none): absolute */
    WATCH_LOST,           /* u64 how many (0: unknown), reason string. The stream goes on from here without a gap */
    WATCH_END             /* code string (of docs/http.md), text string. The last one */
};
/* Types, as `enum watch_type` of sandbox/watch.h numbers them. */
enum { WATCHED_CREATE, WATCHED_MODIFY, WATCHED_CLOSE_WRITE, WATCHED_DELETE, WATCHED_MOVE, WATCHED_ATTRIB };
