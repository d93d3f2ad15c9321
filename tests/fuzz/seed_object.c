/* Writes the corpus of fuzz_object: `seed_object DIR`. Run when a record's format changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fs/inode.h"
#include "fs/object.h"
#include "fs/view.h"

static void put(const char *dir, const char *name, uint8_t which, const void *p, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f || fwrite(&which, 1, 1, f) != 1 || fwrite(p, 1, n, f) != n || fclose(f))
        exit(1);
}

int main(int argc, char **argv)
{
    static struct ws_rec ws = { .id = "ws-abcdefghij", .name = "name", .kind = WS_BARE, .base = 7, .live = 8, .next_ino = 99, .inodes = 5, .units = 3,
        .quota_bytes = 1 << 30, .created = 1700000000, .seq = 4, .parent_snap = "snap-abcdefghij",
        .labels = { 2, { { "a", "1" }, { "b", "" } } } };
    static struct snap_rec snap = { .id = "snap-abcdefghij", .name = "s", .ws_id = "ws-abcdefghij", .ws_name = "name", .base = 9, .seq = 2, .created = 1,
        .cause = SNAP_USER, .message = "why", .labels = { 1, { { "k", "v" } } } };
    struct base_rec folded = { .id = 1, .root = addr_of("x", 1), .next_ino = 2, .inodes = 1 }, layered = { .id = 2, .parent = 1, .layer = 3, .next_ino = 5 };
    struct inode in = { .mode = S_IFREG | 0644, .nlink = 1, .size = 5, .units = 1, .mtime = { 1, 2 }, .parent = 1, .cookie = 1 << 20 };
    struct slot s = { 4, { { .kind = RUN_ZERO, .start = 0, .count = 3 }, { .kind = RUN_SEG, .start = 3, .count = 10, .unit = 77, .shared = true },
        { .kind = RUN_BELOW, .start = 13, .count = 4 }, { .kind = RUN_CHUNK, .start = 17, .count = 15, .unit = 2, .chunk = addr_of("y", 1) } } };
    struct buf b = BUF_INIT;
    uint8_t bytes[INODE_BYTES];

    if (argc < 2)
        return 2;
    base_encode(&folded, &b), put(argv[1], "base-folded", 0, b.data, b.len), buf_clear(&b);
    base_encode(&layered, &b), put(argv[1], "base-layered", 0, b.data, b.len), buf_clear(&b);
    ws_rec_encode(&ws, &b), put(argv[1], "workspace", 1, b.data, b.len), buf_clear(&b);
    snap_rec_encode(&snap, &b), put(argv[1], "snapshot", 2, b.data, b.len), buf_clear(&b);
    slot_encode(&s, &b), put(argv[1], "slot", 3, b.data, b.len), buf_clear(&b);
    inode_encode(&in, bytes), put(argv[1], "inode", 4, bytes, sizeof bytes);
    buf_fini(&b);
    return 0;
}
