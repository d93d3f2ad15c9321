#include "fs/key.h"

#include <xxhash.h>

uint64_t name_cookie(const void *name, size_t name_len)
{
    uint64_t h = XXH3_64bits(name, name_len) >> 17;

    return (h ? h : 1) << 16;
}

static bool name_valid(const uint8_t *name, size_t n)
{
    if (n == 0 || n > NAME_BYTES_MAX || memchr(name, '/', n) || memchr(name, 0, n))
        return false;
    return !(n == 1 && name[0] == '.') && !(n == 2 && name[0] == '.' && name[1] == '.');
}

bool key_valid(const uint8_t *b, size_t n)
{
    if (n < 9 || key_ino(b) == 0 || key_ino(b) >> 63)
        return false;
    switch (key_kind_of(b)) {
    case KEY_INODE: case KEY_BODY: case KEY_SYMLINK:
        return n == 9;
    case KEY_XATTR:
        return n > 9 && n - 9 <= XATTR_NAME_MAX_ && !memchr(b + 9, 0, n - 9);
    case KEY_LINK:
        return n == 25;
    case KEY_EXTENT:
        return n == 17 && key_number(b) <= FILE_SIZE_MAX / SLOT;
    case KEY_DIRENT:
        return n > 17 && name_valid(b + 17, n - 17) && key_number(b) >> 16 == name_cookie(b + 17, n - 17) >> 16;
    }
    return false;
}
