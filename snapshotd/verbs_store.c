/* Verbs about the daemon and the whole store: ping, shutdown, gc, stats, fsck, scrub. And the table of all verbs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <dirent.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/store.h"
#include "snapshotd/call.h"
#include "snapshotd/snap_start.h"

const struct verb verbs[] = {
    { "ping", verb_ping, 0 }, { "shutdown", verb_shutdown, 0 }, { "upgrade", verb_upgrade, 0 }, { "list", verb_list, 0 }, { "show", verb_show, 0 }, { "log", verb_log, 0 },
    { "create", verb_do_create, 1 }, { "rm", verb_do_rm, 0 }, { "rename", verb_do_rename, 0 }, { "label", verb_do_label, 0 },
    { "mount", verb_do_mount, 0 }, { "mounts", verb_mounts, 0 }, { "wait_gone", verb_wait_gone, 0 },
    { "snapshot", verb_do_snapshot, 1 }, { "fork", verb_do_fork, 1 }, { "restore", verb_do_restore, 1 }, { "auto", verb_do_auto, 0 }, { "journal", verb_do_journal, 0 }, { "merge", verb_do_merge, SNAP_FDS_MAX }, { "diff", verb_do_diff, 2 },
    { "tree", verb_do_tree, 0 }, { "read", verb_do_read, 1 },
    { "import", verb_do_import, 1 }, { "import_archive", verb_do_import_archive, 1 }, { "export", verb_do_export, 2 },
    { "gc", verb_do_gc, 0 }, { "stats", verb_do_stats, 0 }, { "fsck", verb_do_fsck, 0 }, { "scrub", verb_do_scrub, 0 },
    { NULL, NULL, 0 },
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (!strcmp(v->name, name))
            return v;
    return NULL;
}

int verb_ping(struct call *c)
{
    const struct holding *h = &c->d->holding;
    char program[PROGRAM_ID];
    int stay = 0;

    int r = call_args(c, ",s?b", "stay", &stay);
    if (!r)
        r = snap_program_id("/proc/self/exe", program);
    if (r)
        return r;
    if (stay) {
        pthread_mutex_lock(&c->d->lock);
        bool had = c->d->stay;
        c->d->stay = true;
        pthread_mutex_unlock(&c->d->lock);
        if (!had)
            holding_stay(&c->d->holding);
    }
    c->result = json_pack("{s:s,s:s,s:i,s:s,s:s,s:f,s:i,s:o,s:i,s:f}", "version", COPPICE_VERSION, "program", program, "pid", (int)getpid(), "store",
                          c->d->store_dir, "instance", c->store->instance, "uptime_s", (double)(clock_mono_ns() - c->d->started_ns) / 1e9, "mounts",
                          (int)mounts_count(&c->d->mounts), "holder", holding_is(h) ? json_integer(h->holder) : json_null(), "restarts", (int)h->restarts,
                          "pause_ms", (double)h->pause_ns / 1e6);
    return 0;
}

/* Answered before the end, but when nobody is let in any more: who asked connects again, waits in the listening queue, and is answered by the other daemon. */
int verb_upgrade(struct call *c)
{
    const char *program = NULL;

    int r = call_args(c, ",s?s", "program", &program);
    if (!r && program && program[0] != '/')
        r = call_bad(c, "program is an absolute path");
    if (!r && program && access(program, X_OK))
        r = call_fail(c, -errno, "invalid_request", "cannot run %s: %s", program, strerror(errno));
    if (!r && !holding_is(&c->d->holding))
        r = call_fail(c, -EOPNOTSUPP, "unsupported", "snapshotd runs without its holder, so its mounts would end; `coppice down` and `coppice up` start another one");
    if (r)
        return r;
    r = daemon_again(c->d, program);
    if (r)
        return call_errno(c, r, "start another daemon", NULL);
    c->sock_taken = true;                 /* it is answered; the connection ends */
    return call_send(c, json_pack("{s:{}}", "ok"), NULL, 0);
}

/* The answer comes from main() when all is closed: then the caller knows that the store is free. */
int verb_shutdown(struct call *c)
{
    int r = call_args(c, "");
    if (r)
        return r;
    int sock = dup(c->sock);
    if (sock < 0)
        return -errno;
    pthread_mutex_lock(&c->d->lock);
    bool first = c->d->down_sock < 0;
    if (first)
        c->d->down_sock = sock;
    pthread_mutex_unlock(&c->d->lock);
    if (!first) {
        close(sock);
        return call_errno(c, -ESHUTDOWN, "stop the daemon", NULL);
    }
    c->sock_taken = true;
    daemon_stop(c->d);
    return 0;
}

int verb_do_gc(struct call *c)
{
    struct gc_report g = { 0 };
    int dry_run = 0, pack = 0;

    int r = call_args(c, ",s?b,s?b", "dry_run", &dry_run, "pack", &pack);
    if (r)
        return r;
    r = verb_gc(c->store, dry_run, pack, &g);
    if (r)
        return call_errno(c, r, "collect garbage", NULL);
    c->result = json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "dry_run", dry_run, "nodes", (json_int_t)g.nodes,
                          "node_bytes", (json_int_t)g.node_bytes, "chunks", (json_int_t)g.chunks, "chunk_bytes", (json_int_t)g.chunk_bytes,
                          "bases", (json_int_t)g.bases, "layers", (json_int_t)g.layers, "packed_chunks", (json_int_t)g.packed_chunks,
                          "packed_in", (json_int_t)g.packed_in, "packed_out", (json_int_t)g.packed_out);
    return 0;
}

static json_t *usage_json(const struct usage *u)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "id", u->id, "kind", u->is_snapshot ? "snapshot" : "workspace", "files",
                     (json_int_t)u->files, "dirs", (json_int_t)u->dirs, "logical_bytes", (json_int_t)u->logical_bytes, "shared_bytes",
                     (json_int_t)u->shared_bytes, "private_bytes", (json_int_t)u->private_bytes, "meta_private_bytes",
                     (json_int_t)u->meta_private_bytes);
}

static int stats_one(void *arg, const struct usage *u)
{
    struct call *c = arg;
    char name[2 * OBJECT_NAME_MAX + 4] = "";
    struct object o;

    if (!object_find(c->store, u->id, &o))
        strcpy(name, object_label(&o));
    json_t *j = usage_json(u);
    json_object_set_new(j, "name", name[0] ? json_string(name) : json_null());
    return call_more(c, "objects", j);
}

/* What the files of one directory of the store take on disk. */
static uint64_t disk_bytes(int store_fd, const char *name)
{
    uint64_t sum = 0;
    int fd = openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_blocks * 512;
    }
    if (d)
        closedir(d);
    else
        close_p(&fd);
    return sum;
}

int verb_do_stats(struct call *c)
{
    struct statvfs v = { 0 };

    int r = call_args(c, "");
    if (r)
        return r;
    r = verb_usage(c->store, stats_one, c);
    if (r)
        return call_errno(c, r, "measure the store", NULL);
    if (fstatvfs(c->store->dirfd, &v))
        return call_errno(c, -errno, "measure the store's disk", NULL);
    c->result = json_pack("{s:s,s:I,s:I,s:I,s:I}", "store", c->d->store_dir, "data_bytes", (json_int_t)disk_bytes(c->store->dirfd, "data"),
                          "meta_bytes", (json_int_t)disk_bytes(c->store->dirfd, "meta"), "disk_bytes",
                          (json_int_t)(v.f_blocks * v.f_frsize), "disk_free_bytes", (json_int_t)(v.f_bavail * v.f_frsize));
    return 0;
}

struct found { struct call *c; uint64_t count; };

static int tell_problem(void *arg, const struct problem *p)
{
    struct found *f = arg;

    f->count++;
    return call_more(f->c, "problems",
                     json_pack("{s:o,s:o}", "where", snap_bytes(p->where, strlen(p->where)), "what", snap_bytes(p->what, strlen(p->what))));
}

static int found_done(struct call *c, int r, const char *doing, const struct found *f, uint64_t checked)
{
    /* The verbs answer -EUCLEAN when all they did was to find problems: that is their result, not a failure. */
    if (r && !(r == -EUCLEAN && f->count))
        return call_errno(c, r, doing, NULL);
    c->result = json_pack("{s:I,s:I}", "checked", (json_int_t)checked, "problem_count", (json_int_t)f->count);
    return 0;
}

int verb_do_fsck(struct call *c)
{
    struct found f = { c, 0 };
    uint64_t checked = 0;

    int r = call_args(c, "");
    if (r)
        return r;
    r = verb_fsck(c->store, tell_problem, &f, &checked);
    return found_done(c, r, "check the store", &f, checked);
}

int verb_do_scrub(struct call *c)
{
    struct found f = { c, 0 };
    uint64_t checked = 0;
    int repair = 0;

    int r = call_args(c, ",s?b", "repair", &repair);
    if (r)
        return r;
    r = verb_scrub(c->store, repair, tell_problem, &f, &checked);
    return found_done(c, r, "scrub the store", &f, checked);
}
