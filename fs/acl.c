/* POSIX ACLs as the kernel passes them (linux/posix_acl_xattr.h): version 2 (4 bytes), then entries of tag (2), permissions (2), id (4), little-endian.
 * The rules are those of posix_acl_create_masq(), __posix_acl_chmod_masq() and posix_acl_equiv_mode() in fs/posix_acl.c of the kernel, and of acl(5). */
#include "fs/ws_internal.h"

#include <errno.h>

enum { VERSION = 2, HEADER = 4, ENTRY = 8 };
enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static unsigned tag_of(const uint8_t *e)
{
    return le16(e);
}

static unsigned perm_of(const uint8_t *e)
{
    return le16(e + 2);
}

static void set_perm(uint8_t *e, unsigned perm)
{
    put_le16(e + 2, (uint16_t)perm);
}

int acl_check(const uint8_t *p, size_t n)
{
    unsigned seen = 0, last = 0;

    if (n < HEADER || (n - HEADER) % ENTRY || n > ACL_BYTES_MAX || le32(p) != VERSION)
        return -EINVAL;
    for (const uint8_t *e = p + HEADER; e < p + n; e += ENTRY) {
        unsigned tag = tag_of(e);
        bool many = tag == USER || tag == GROUP;
        if (tag & (tag - 1) || tag == 0 || tag > OTHER || perm_of(e) > 7 || tag < last || (!many && seen & tag))
            return -EINVAL;
        seen |= tag;
        last = tag;
    }
    if (n == HEADER)
        return 0;
    if ((seen & (USER_OBJ | GROUP_OBJ | OTHER)) != (USER_OBJ | GROUP_OBJ | OTHER))
        return -EINVAL;
    return seen & (USER | GROUP) && !(seen & MASK) ? -EINVAL : 0;
}

uint32_t acl_to_mode(const uint8_t *p, size_t n, uint32_t mode, bool *ret_minimal)
{
    unsigned group = 0, mask = 8;

    *ret_minimal = n <= HEADER + 3 * ENTRY;
    if (n <= HEADER)
        return mode;
    mode &= ~0777u;
    for (const uint8_t *e = p + HEADER; e < p + n; e += ENTRY) {
        switch (tag_of(e)) {
        case USER_OBJ:
            mode |= perm_of(e) << 6;
            break;
        case GROUP_OBJ:
            group = perm_of(e);
            break;
        case MASK:
            mask = perm_of(e);
            *ret_minimal = false;
            break;
        case OTHER:
            mode |= perm_of(e);
            break;
        default:
            *ret_minimal = false;
        }
    }
    return mode | (mask < 8 ? mask : group) << 3;
}

static uint8_t *find_tag(uint8_t *p, size_t n, unsigned tag)
{
    for (uint8_t *e = p + HEADER; e < p + n; e += ENTRY)
        if (tag_of(e) == tag)
            return e;
    return NULL;
}

void acl_chmod(uint8_t *p, size_t n, uint32_t mode)
{
    uint8_t *group = find_tag(p, n, MASK), *e;

    if (!group)
        group = find_tag(p, n, GROUP_OBJ);
    if (group)
        set_perm(group, mode >> 3 & 7);
    if ((e = find_tag(p, n, USER_OBJ)))
        set_perm(e, mode >> 6 & 7);
    if ((e = find_tag(p, n, OTHER)))
        set_perm(e, mode & 7);
}

uint32_t acl_create(uint8_t *p, size_t n, uint32_t mode, bool *ret_minimal)
{
    uint8_t *group = find_tag(p, n, MASK), *user = find_tag(p, n, USER_OBJ), *other = find_tag(p, n, OTHER);

    if (!group)
        group = find_tag(p, n, GROUP_OBJ);
    if (!group || !user || !other) {
        *ret_minimal = true;
        return mode;
    }
    set_perm(user, perm_of(user) & (mode >> 6 & 7));
    set_perm(group, perm_of(group) & (mode >> 3 & 7));
    set_perm(other, perm_of(other) & (mode & 7));
    return acl_to_mode(p, n, mode, ret_minimal);
}
