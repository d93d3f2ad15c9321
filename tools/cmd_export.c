/* An archive is written by the daemon into our descriptor. For a tar the daemon writes an entry stream, which a child turns into a tar. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/write_tar.h"

/* The child: frames in, tar out. */
static _Noreturn void tar_child(int in, int out)
{
    struct read_report rep = { 0 };
    int r = write_tar(in, out, &rep);

    /* A stream that ends early has a cause, which the daemon tells. */
    if (r && r != -EPIPE && r != -EUCLEAN)
        tool_fail("cannot write the tar: %s", rep.error[0] ? rep.error : strerror(-r));
    else if (!r && rep.devices)
        fprintf(stderr, "coppice: %llu devices and sockets were left out: a tar cannot hold them here\n", (unsigned long long)rep.devices);
    _exit(r == -EUCLEAN ? 2 : r ? 1 : 0);
}

static int export_tar(struct tool *t, const char *name, int out, json_t **ret)
{
    int p[2], status = 0;

    if (pipe2(p, O_CLOEXEC))
        return tool_fail("cannot export: %s", strerror(errno));
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        close(p[1]);
        tar_child(p[0], out);
    }
    close(p[0]);
    json_t *req = json_pack("{s:s,s:s,s:s}", "verb", "export", "object", name, "format", "stream");
    int r = pid < 0                                             ? tool_fail("cannot export: %s", strerror(errno))
            : snap_request(t->client, req, &p[1], 1, &t->error) ? tool_error(t)
                                                                : 0;
    /* The daemon has its own now; with ours open the child would see no end. */
    close(p[1]);
    int ans = r ? 0 : snap_answer(t->client, NULL, NULL, ret, &t->error);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int child = pid <= 0 ? 0 : WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (r)
        return r;
    /* If the child gave up first, the daemon only saw its pipe break. */
    if (ans && !(child == 1 && !strcmp(t->error.code, "disconnected")))
        return tool_error(t);
    if (child == 2)
        return tool_fail("cannot write the tar: the stream from the daemon is malformed; is it another version?");
    return ans || child ? 1 : 0;
}

static int run(struct tool *t, const char *name, const char *since, bool tar, int out, json_t **ret)
{
    if (tar)
        return export_tar(t, name, out, ret);
    return tool_call_fd(t, json_pack("{s:s,s:s,s:s*}", "verb", "export", "object", name, "since", since), &out, 1, ret);
}

/* To a new file beside the wanted one, which takes its place when all of it is there. */
static int to_file(struct tool *t, const char *name, const char *file, const char *since, bool tar, json_t **ret)
{
    _cleanup_free_ char *part = NULL;
    struct stat st;

    if (!stat(file, &st) && !S_ISREG(st.st_mode)) {
        _cleanup_close_ int fd = open(file, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return fd < 0 ? tool_fail("cannot write %s: %s", file, strerror(errno)) : run(t, name, since, tar, fd, ret);
    }
    if (asprintf(&part, "%s.part-XXXXXX", file) < 0)
        return tool_fail("out of memory");
    _cleanup_close_ int fd = mkostemp(part, O_CLOEXEC);
    if (fd < 0)
        return tool_fail("cannot write %s: %s", file, strerror(errno));
    int r = run(t, name, since, tar, fd, ret);
    if (!r && (fchmod(fd, 0644) || fsync(fd) || rename(part, file)))
        r = tool_fail("cannot write %s: %s", file, strerror(errno));
    if (r)
        unlink(part);
    return r;
}

int cmd_export(struct tool *t, int argc, char **argv)
{
    const char *since = NULL, *format = "archive";
    const struct arg_option options[] = { { "since", 0, .val = &since }, { "format", 0, .val = &format }, { 0 } };
    json_t *ans = NULL;
    struct args a;

    int r = args_parse(t, "export", argc, argv, options, 2, 2, &a);
    bool tar = !strcmp(format, "tar"), to_stdout = !r && !strcmp(a.v[1], "-");
    if (!r && !tar && strcmp(format, "archive"))
        r = args_usage("export", "--format is archive or tar, not '%s'", format);
    if (!r && tar && since)
        r = args_usage("export", "--since goes with --format archive only");
    if (!r && to_stdout && isatty(1))
        r = args_usage("export", "it will not be written to a terminal");
    if (!r)
        r = tool_open(t, NEED_STORE);
    if (r)
        return r;
    r = to_stdout ? run(t, a.v[0], since, tar, 1, &ans) : to_file(t, a.v[0], a.v[1], since, tar, &ans);
    if (!r && t->json && !to_stdout)
        tool_print_json(ans);
    json_decref(ans);
    return r;
}
