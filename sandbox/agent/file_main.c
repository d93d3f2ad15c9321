/* A file worker from its fork to its end. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/agent/agent.h"
#include "sandbox/agent/file.h"
#include "sandbox/confine/confine.h"

static int begin(struct file_job *j, const uint8_t *p, size_t n)
{
    struct reader r = reader_of(p, n);
    char name[USER_NAME_MAX + 16];
    struct rlimit l;
    int e;

    j->step = "request";
    get_str(&r, name, sizeof name);
    if ((e = file_request_get(&r, &j->q)) || (reader_left(&r) && (e = -EBADMSG)))
        return e;
    j->step = "user";
    if ((e = user_find(name, &j->user)) || (e = confine_workload(j->user.uid, j->user.gid, &j->step)))
        return e;
    if (!getrlimit(RLIMIT_NOFILE, &l)) {     /* a descriptor for each level of a tree */
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
    j->step = "path";
    if (!*j->q.path)
        return -ENOENT;
    return chdir(j->user.home) && chdir("/") ? -errno : 0;
}

static int run(struct file_job *j)
{
    switch ((enum file_op)j->q.op) {
    case FILE_STAT: return file_op_stat(j);
    case FILE_READ: return file_op_read(j);
    case FILE_WRITE: return file_op_write(j);
    case FILE_LIST: return file_op_list(j);
    case FILE_MKDIR: return file_op_mkdir(j);
    case FILE_REMOVE: return file_op_remove(j);
    case FILE_MOVE: return file_op_move(j);
    case FILE_COPY: return file_op_copy(j);
    case FILE_CHMOD: return file_op_chmod(j);
    case FILE_TREE_OUT: return file_op_tree_out(j);
    case FILE_TREE_IN: return file_op_tree_in(j);
    case FILE_ENTRY: return file_op_entry(j);
    }
    return -EBADMSG;
}

_Noreturn void worker_main(int sock, int lock_fd, const uint8_t *p, size_t n)
{
    static struct file_job j;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    setpriority(PRIO_PROCESS, 0, 0);
    j = (struct file_job){ .sock = sock, .lock_fd = lock_fd };
    int e = begin(&j, p, n);
    if (!e)
        e = run(&j);
    if (e < 0)
        e = j.headed ? file_chunk_broken(&j, e) : file_head_failed(&j, e);
    _exit(e < 0);
}
