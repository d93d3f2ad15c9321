/* The entry stream: a directory tree in a strict framing, between programs that do not trust each other (imports into the store, tar of a sandbox). Writers and a parser.
 *
 * Frame: u32 length of what follows (at most IMPORT_FRAME_MAX), u8 type, body. All little-endian. Strings: u16 length, bytes without NUL.
 *  ENTRY  u16 path (relative, components separated by '/', none empty, "." or ".."), u32 mode, uid, gid, rdev, i64 mtime_s, u32 mtime_ns, u64 size, u16 target (symlink) ; parents that are missing are made 0755
 *         The empty path is the top directory itself. Size: regular files, else 0. rdev: devices, else 0. uid, gid: at most 65535.
 *  DATA   u64 offset, bytes (1 .. IMPORT_DATA_MAX): of the last ENTRY (regular file), within its size; holes are simply not sent
 *  XATTR  u16 name, bytes value: of the last ENTRY. Writers send them before DATA (a tar needs them in its header).
 *  LINK   u16 path, u16 existing path: hard link to an earlier file
 *  END    u64 number of ENTRY and LINK frames; the last frame */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum { IMPORT_ENTRY = 1, IMPORT_DATA, IMPORT_XATTR, IMPORT_LINK, IMPORT_END, IMPORT_FRAME_MAX = (1 << 20) + 65536 };
enum { IMPORT_DATA_MAX = 1 << 20, IMPORT_UNIT = 4096, IMPORT_ID_MAX = 65535, IMPORT_DEPTH_MAX = 4096 };

/* An ENTRY. target: of a symlink, else NULL or empty. */
struct entry { const char *path, *target; uint32_t mode, uid, gid, rdev, mtime_ns; int64_t mtime_s; uint64_t size; };
/* Writers of frames, with their length. */
void entry_put(struct buf *b, const struct entry *e);
void import_put_data(struct buf *b, uint64_t off, const void *p, uint32_t n);
void import_put_xattr(struct buf *b, const char *name, const void *val, uint32_t n);
void import_put_link(struct buf *b, const char *path, const char *existing);
void import_put_end(struct buf *b, uint64_t entries);
/* DATA frames for content of any length, without the 4 KiB units that are all zero. */
void import_put_content(struct buf *b, uint64_t off, const void *p, size_t n);

/* A frame as it came: strings and bytes point into it, and are not terminated. */
struct entry_text { const char *p; size_t n; };
struct entry_frame {
    uint8_t type;
    struct entry_text path, other;           /* ENTRY: path, target; XATTR: name in path; LINK: path, existing */
    uint32_t mode, uid, gid, rdev, mtime_ns;
    int64_t mtime_s;
    uint64_t size;                           /* ENTRY: size; DATA: offset; END: count */
    const uint8_t *bytes;                    /* DATA, XATTR */
    size_t n;
};
/* Of one frame without its length. 0, or -EBADMSG: lengths, trailing bytes, NULs, an unknown type, a path that is not as said above, a name that is empty, nanoseconds, sizes,
 * rdev or target where there may be none, kinds of file that do not exist, ids above IMPORT_ID_MAX. What the frames mean together is the reader's to check. */
int entry_frame_get(const uint8_t *p, size_t n, struct entry_frame *ret);
/* As said above, and not empty unless may_be_top. */
bool entry_path_ok(struct entry_text path, bool may_be_top);
