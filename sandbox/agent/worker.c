/* Workers for file operations, from the agent's side: a bounded number of processes, and a bounded queue. What they do: file_main.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sandbox/agent/agent.h"
#include "sandbox/agent/tree.h"

enum { QUEUE_BYTES_MAX = 4 << 20 };
struct queued { struct queued *next; uint32_t id; int fd; size_t n; uint8_t body[]; };
static pid_t pids[WORKERS_MAX];
static unsigned running, queued;
static size_t queued_bytes;
static struct queued *head, **tail = &head;

bool worker_is(pid_t pid)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

/* takes fd */
static void run(uint32_t id, int fd, const uint8_t *p, size_t n)
{
    unsigned slot = 0;

    while (pids[slot])
        slot++;
    pid_t pid = fork();
    if (pid == 0) {
        int keep[2] = { fd, agent.lock_fd };
        keep_fds(keep, 2);
        halt_forget();
        worker_main(fd, agent.lock_fd, p, n);
    }
    if (pid < 0) {
        out_failed(id, -errno, "fork");
    } else {
        pids[slot] = pid;
        running++;
    }
    close(fd);
}

void worker_start(struct frame *f)
{
    if (f->fd_count != 1) {
        out_failed(f->id, -EBADMSG, "descriptor");
        return;
    }
    int fd = f->fds[0];
    f->fds[0] = -1;
    if (running < WORKERS_MAX) {
        run(f->id, fd, f->body, f->n);
        return;
    }
    struct queued *q = queued < WORKERS_QUEUED_MAX && queued_bytes + f->n <= QUEUE_BYTES_MAX ? mem_alloc(sizeof *q + f->n) : NULL;
    if (!q) {
        close(fd);
        out_failed(f->id, -EAGAIN, "busy");
        return;
    }
    *q = (struct queued){ .id = f->id, .fd = fd, .n = f->n };
    memcpy(q->body, f->body, f->n);
    *tail = q;
    tail = &q->next;
    queued++;
    queued_bytes += f->n;
}

bool worker_reaped(pid_t pid)
{
    unsigned slot = 0;

    while (slot < WORKERS_MAX && pids[slot] != pid)
        slot++;
    if (slot == WORKERS_MAX)
        return false;
    pids[slot] = 0;
    running--;
    while (head && running < WORKERS_MAX) {
        struct queued *q = head;
        head = q->next;
        if (!head)
            tail = &head;
        queued--;
        queued_bytes -= q->n;
        run(q->id, q->fd, q->body, q->n);
        free(q);
    }
    return true;
}
