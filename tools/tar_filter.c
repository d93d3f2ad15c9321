/* coppice-tar: a tar as an entry stream, or back; standard input to standard output. sandboxd's helper for what a client uploads and a sandbox
 * holds: it parses foreign bytes, so it gives up everything but its two descriptors before it reads the first of them. Output is a pipe or socket: it may
 * write no file, not even one that is open.
 * Exit: 0; 1 the input is bad (one line on standard error says what); 2 usage; 3 no memory, or the output is gone; 4 it could not confine itself. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tools/confine.h"
#include "tools/read_archive_child.h"
#include "tools/write_tar.h"

enum { MEMORY_MAX = 256 << 20 };

static int to_tar(void)
{
    struct read_report rep = { 0 };
    char text[sizeof(rep.error) * 4];
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);      /* reads files: write_tar() no longer can */

    if (utf8)
        uselocale(utf8);
    if (confine_reader(0, 1, MEMORY_MAX))
        return 4;
    int r = write_tar(0, 1, &rep);
    if (!r)
        return 0;
    dprintf(2, "%s\n", log_quote(text, sizeof(text), rep.error, strlen(rep.error)));
    return r == -EUCLEAN ? 1 : 3;
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: coppice-tar --to-stream | --to-tar\nA tar as coppice's entry stream, or back: from standard input to standard output.\n";
    const char *what = argc == 2 ? argv[1] : "";

    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(what, "--to-stream"))
        read_archive_child(0, 1, true);
    if (!strcmp(what, "--to-tar"))
        return to_tar();
    fputs(usage, strcmp(what, "--help") ? stderr : stdout);
    return strcmp(what, "--help") ? 2 : 0;
}
