/* Keys of the one map: inode number (8, big-endian), kind (1), rest. See docs/architecture.md 1. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/wire.h"
#include "fs/limits.h"

enum key_kind {
    KEY_INODE = 0x00, KEY_BODY = 0x10, KEY_SYMLINK = 0x18, KEY_XATTR = 0x20, KEY_LINK = 0x30, KEY_DIRENT = 0x40, KEY_EXTENT = 0x50,
};

struct key { uint16_t len; uint8_t b[KEY_MAX]; };

static inline struct key key_simple(uint64_t ino, enum key_kind kind) {
    struct key k; k.len = 9; put_be64(k.b, ino); k.b[8] = (uint8_t)kind; return k;
}
static inline struct key key_num(uint64_t ino, enum key_kind kind, uint64_t n) {
    struct key k = key_simple(ino, kind); put_be64(k.b + 9, n); k.len = 17; return k;
}
static inline struct key key_extent(uint64_t ino, uint64_t slot) { return key_num(ino, KEY_EXTENT, slot); }
/* name at most 255 bytes; name_len 0 gives the key before all with this cookie. */
static inline struct key key_dirent(uint64_t ino, uint64_t cookie, const void *name, size_t name_len) {
    struct key k = key_num(ino, KEY_DIRENT, cookie); if (name_len) memcpy(k.b + 17, name, name_len); k.len = (uint16_t)(17 + name_len); return k;
}
static inline struct key key_xattr(uint64_t ino, const void *name, size_t name_len) {
    struct key k = key_simple(ino, KEY_XATTR); memcpy(k.b + 9, name, name_len); k.len = (uint16_t)(9 + name_len); return k;
}
static inline struct key key_link(uint64_t ino, uint64_t parent, uint64_t cookie) {
    struct key k = key_num(ino, KEY_LINK, parent); put_be64(k.b + 17, cookie); k.len = 25; return k;
}
static inline uint64_t key_ino(const uint8_t *b) { return be64(b); }
static inline enum key_kind key_kind_of(const uint8_t *b) { return (enum key_kind)b[8]; }
static inline uint64_t key_number(const uint8_t *b) { return be64(b + 9); }   /* slot, cookie, or link parent */
static inline int key_cmp(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    int c = memcmp(a, b, an < bn ? an : bn); return c ? c : (an > bn) - (an < bn);
}
/* True if the bytes are a well-formed key: known kind, right length, legal name (no '/', NUL, ".", "..", empty), cookie's hash
 * part matching the name. For foreign bytes. */
bool key_valid(const uint8_t *b, size_t n);
/* First cookie of a name: 47 bits of XXH3-64 (0 becomes 1) << 16. The next candidates are +1 .. +65535. */
uint64_t name_cookie(const void *name, size_t name_len);
