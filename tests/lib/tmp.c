#include "tests/lib/tmp.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int tmp_make(const char *stem, char *ret, size_t size) {
    const char *base = getenv("COPPICE_TEST_TMP");
    if (!base) base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    snprintf(ret, size, "%s/coppice-%s-XXXXXX", base, stem);
    if (mkdtemp(ret)) return 0;
    int e = -errno;
    perror(ret);
    return e;
}

static int gone(const char *path, const struct stat *st, int type, struct FTW *f) {
    return type == FTW_DP || type == FTW_D ? rmdir(path) : unlink(path);
}

void tmp_remove(const char *dir) {
    nftw(dir, gone, 32, FTW_DEPTH | FTW_PHYS);
}

int tmp_open(const char *stem, char *ret, size_t size)
{
    int r = tmp_make(stem, ret, size);
    int fd = r ? r : open(ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return !r && fd < 0 ? -errno : fd;
}

void tmp_close(const char *dir, int fd)
{
    close(fd);
    tmp_remove(dir);
}
