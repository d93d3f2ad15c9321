/* Writes a file by a shared mapping for ever: record i of page p is i, in order of pages. `mmap_writer FILE`; `mmap_writer --check FILE`: each page
 * must be at most one step behind the one before it, as a snapshot takes one moment for all. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 16, PAGE = 4096 };

int main(int argc, char **argv) {
    int check = argc > 2 && !strcmp(argv[1], "--check");
    int fd = open(argv[argc - 1], check ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (argc < 2 || fd < 0) return 2;
    if (check) {
        uint64_t v[PAGES] = { 0 };
        for (int p = 0; p < PAGES; p++) {
            uint64_t whole[PAGE / 8];
            if (pread(fd, whole, PAGE, (off_t)p * PAGE) != PAGE) return 0;    /* not made to its size yet */
            v[p] = whole[0];
            if (p && v[p] > v[p - 1]) return printf("page %d is ahead: %llu, before it %llu\n", p, (unsigned long long)v[p], (unsigned long long)v[p - 1]), 1;
        }
        return 0;
    }
    if (ftruncate(fd, PAGES * PAGE)) return 2;
    volatile uint64_t *m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (m == MAP_FAILED) return 2;
    for (uint64_t i = 1;; i++)
        for (int p = 0; p < PAGES; p++) m[p * PAGE / 8] = i;
}
