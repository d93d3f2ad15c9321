/* Runs a fuzz target on files and on directories of files, as an ordinary test: `fuzz_X PATH...`. Also on each file with one byte changed and
 * cut at each of some places, from a fixed seed, so that it is a little more than what is stored. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "tests/model/rng.h"

enum { CHANGES = 200, BYTES_MAX = 1 << 22 };
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static unsigned long files, runs;

/* A copy of just this size, so that a read behind its end is seen by a sanitizer. */
static void run(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) abort();
    if (n) memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    runs++;
}

static int replay_file(const char *path) {
    static uint8_t b[BYTES_MAX];
    FILE *f = fopen(path, "re");
    if (!f) return perror(path), 1;
    size_t n = fread(b, 1, sizeof b, f);
    fclose(f);
    struct rng r = { n };
    run(b, n);
    for (int i = 0; i < CHANGES && n; i++) {
        size_t at = (size_t)rng_below(&r, n);
        uint8_t old = b[at];
        b[at] = i % 3 ? (uint8_t)rng_next(&r) : (uint8_t)(old ^ 1u << i % 8);
        run(b, i % 4 ? n : at);
        b[at] = old;
    }
    files++;
    return 0;
}

static int replay(const char *path) {
    struct stat st;
    if (stat(path, &st)) return perror(path), 1;
    if (!S_ISDIR(st.st_mode)) return replay_file(path);
    DIR *d = opendir(path);
    int bad = !d;
    for (struct dirent *e; d && (e = readdir(d));) {
        char sub[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
        bad |= replay(sub);
    }
    if (d) closedir(d);
    return bad;
}

int main(int argc, char **argv) {
    int bad = 0;
    for (int i = 1; i < argc; i++) bad |= replay(argv[i]);
    printf("%s: %lu files, %lu inputs\n", argv[0], files, runs);
    return bad || !files;
}
