#include "sandbox/run/program.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/frame.h"

enum { PROGRAM_BYTES_MAX = 32 << 20 };

/* sandboxd was executed from a descriptor in another root: where it is, its first argument says. */
static char *own_dir(void)
{
    g_autofree char *line = NULL;

    if (!g_file_get_contents("/proc/self/cmdline", &line, NULL, NULL) || line[0] != '/')
        return NULL;
    return g_path_get_dirname(line);
}

static int find(const char *variable, const char *build, const char *name)
{
    const char *given = g_getenv(variable);
    g_autofree char *dir = own_dir();

    if (given && *given) {
        int fd = open(given, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    if (!dir)
        return -ENOENT;
    g_autofree char *beside = g_build_filename(dir, name, NULL), *below = g_build_filename(dir, build, name, NULL);
    int fd = open(beside, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        fd = open(below, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int program_load(const char *variable, const char *build, const char *name)
{
    _cleanup_close_ int from = find(variable, build, name);
    struct stat st;

    if (from < 0)
        return from;
    if (fstat(from, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PROGRAM_BYTES_MAX)
        return -EINVAL;
    _cleanup_close_ int to = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (to < 0)
        return -errno;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)left);
        if (n <= 0 && errno != EINTR)
            return n ? -errno : -EIO;
        left -= MAX(n, 0);
    }
    if (fchmod(to, 0555) || fcntl(to, F_ADD_SEALS, PROGRAM_SEALS))
        return -errno;
    return TAKE_FD(to);
}
