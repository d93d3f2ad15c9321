/* Verbs about mounts: mount, mounts, wait_gone. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

/* Of a workspace, set by anybody: "on" is the option snapdir for its mounts that do not say it, so for its sandbox too. */
#define LABEL_SNAPDIR "snapdir"

DEFINE_CLEANUP(struct workspace *, workspace_unref)

/* *ret_snapdir: 1, 0, or -1: it is not said. */
static int parse_options(struct call *c, const json_t *v, struct mount_opts *ret, int *ret_snapdir)
{
    int ro = 0, suid = 0, dev = 0, noexec = 0, allow_other = 1, snapdir = -1;
    const char *transport = "auto";
    json_int_t uid_base = 0;
    json_error_t e;

    memset(ret, 0, sizeof(*ret));
    if (v &&
        json_unpack_ex((json_t *)(uintptr_t)v, &e, JSON_STRICT, "{s?b,s?b,s?b,s?b,s?b,s?b,s?s,s?I}", "ro", &ro, "suid", &suid, "dev", &dev,
                       "noexec", &noexec, "allow_other", &allow_other, "snapdir", &snapdir, "transport", &transport, "uid_base", &uid_base))
        return call_bad(c, e.text);
    if (strcmp(transport, "auto") && strcmp(transport, "classic") && strcmp(transport, "uring"))
        return call_bad(c, "transport is auto, classic or uring");
    if (uid_base < 0 || uid_base > UINT32_MAX - 65536)
        return call_bad(c, "uid_base is from 0 to 4294901759");
    *ret = (struct mount_opts){
        .transport = !strcmp(transport, "uring") ? TRANSPORT_URING : TRANSPORT_AUTO,
        .ro = ro, .suid = suid, .dev = dev, .noexec = noexec, .no_allow_other = !allow_other,
        .uid_base = (uint32_t)uid_base
    };
    *ret_snapdir = snapdir;
    return 0;
}

static bool wants_snapdir(const struct ws_rec *w)
{
    for (uint32_t i = 0; i < w->labels.count; i++)
        if (!strcmp(w->labels.l[i].key, LABEL_SNAPDIR))
            return !strcmp(w->labels.l[i].val, "on");
    return false;
}

static int open_snapshot(struct store *s, const struct snap_rec *rec, struct workspace **ret)
{
    struct view *v;
    int r = view_get(s, rec->base, &v);

    if (r)
        return r;
    r = workspace_open_view(s, v, ret);
    view_unref(v);
    return r;
}

/* Is the peer in our mount namespace? If it cannot be told, it is taken to be: the path is checked by device number whenever it is used. */
static bool is_foreign(pid_t pid)
{
    char path[48];
    struct stat ours, theirs;

    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
    return !stat("/proc/self/ns/mnt", &ours) && !stat(path, &theirs) && ours.st_ino != theirs.st_ino;
}

/* Gives the mount to the client and waits for its word. 0: attached. */
static int hand_over(struct call *c, uint64_t id, int fd, const char *name)
{
    json_t *word = NULL;
    int fds[SNAP_FDS_MAX], attached = 0;
    unsigned n = 0;

    int r = call_send(c, json_pack("{s:{s:I}}", "mount", "mount", (json_int_t)id), &fd, 1);
    close(fd);
    if (!r)
        r = snap_recv(c->sock, &word, fds, &n);
    if (!r && json_unpack_ex(word, NULL, JSON_STRICT, "{s:b}", "attached", &attached))
        r = -EBADMSG;
    json_decref(word);
    while (n)
        close(fds[--n]);
    mounts_attached(&c->d->mounts, id, !r && attached);
    if (r) {
        c->broken = r;
        return r;
    }
    return attached ? 0 : call_fail(c, -ECANCELED, "not_attached", "cannot mount '%s': the client could not attach it", name);
}

static int busy_text(struct call *c, const struct object *o, const char *name)
{
    _cleanup_free_ char *dir = mounts_dir(&c->d->mounts, object_id(o));

    if (!dir)
        return call_errno(c, -EBUSY, "mount", name);
    return call_fail(c, -EBUSY, "busy",
                     "cannot mount '%s': it is mounted already, at %s; a workspace has one mount (`mount --bind` shows it elsewhere, "
                     "`coppice fork` makes another)",
                     name, dir);
}

static int no_uring(struct call *c, const char *name)
{
    const char *why = fuse_uring_probe(true);

    return call_fail(c, -EOPNOTSUPP, "unsupported", "cannot mount '%s' with transport=uring: %s; transport=auto takes what there is", name,
                     why ? why : "the kernel did not agree to it");
}

int verb_do_mount(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    _cleanup_free_ char *dir = NULL;
    const char *name;
    json_t *where = NULL, *options = NULL;
    struct mount_request q = { 0 };
    struct object o;
    uint64_t id = 0;
    size_t len;
    int fd = -1, snapdir = -1;

    int r = call_args(c, ",s:s,s?o,s?o", "object", &name, "dir", &where, "options", &options);
    if (!r && where && !(dir = snap_bytes_get(where, &len, &r)))
        r = r == -ENOMEM ? r : call_bad(c, "dir is a path");
    if (!r && dir && dir[0] != '/')
        r = call_bad(c, "dir is an absolute path");
    if (!r)
        r = parse_options(c, options, &q.opts, &snapdir);
    if (!r)
        r = call_object(c, "mount", name, &o);
    if (r)
        return r;
    if (!object_is_snapshot(&o) && ws_importing(&o.ws))
        return call_fail(c, -EBUSY, "busy", "cannot mount '%s': it is being imported", name);
    r = object_is_snapshot(&o) ? open_snapshot(c->store, &o.snap, &w) : workspace_open(c->store, o.ws.id, &w);
    if (r)
        return call_errno(c, r, "mount", name);
    if (object_is_snapshot(&o) && snapdir > 0)
        return call_fail(c, -EINVAL, "invalid_request", "cannot mount '%s' with snapdir: it is a snapshot; the option is for workspaces", name);
    q.w = w;
    q.object = object_id(&o);
    q.snapshot = object_is_snapshot(&o);
    q.opts.ro |= q.snapshot;
    q.opts.snapdir = !q.snapshot && (snapdir >= 0 ? snapdir : wants_snapdir(&o.ws));
    q.dir = dir;
    q.pid = c->pid;
    q.foreign = is_foreign(c->pid);
    snprintf(q.opts.source, sizeof(q.opts.source), "%s", object_label(&o));
    r = mounts_add(&c->d->mounts, &q, &id, &fd);
    if (r == -EBUSY)
        return busy_text(c, &o, name);
    if (r == -EOPNOTSUPP && q.opts.transport == TRANSPORT_URING)
        return no_uring(c, name);
    if (r)
        return call_errno(c, r, "mount", name);
    r = hand_over(c, id, fd, name);
    if (!r)
        c->result = json_pack("{s:I,s:s,s:s,s:o,s:b}", "mount", (json_int_t)id, "id", object_id(&o), "name", object_label(&o),
                              "dir", dir ? snap_bytes(dir, strlen(dir)) : json_null(), "read_only", q.opts.ro);
    return r;
}

int verb_mounts(struct call *c)
{
    const char *name = NULL;
    struct object o;
    json_t *all, *v;
    size_t i;

    int r = call_args(c, ",s?s", "object", &name);
    if (!r && name)
        r = call_object(c, "find the mounts of", name, &o);
    if (r)
        return r;
    all = mounts_json(&c->d->mounts, name ? object_id(&o) : NULL);
    json_array_foreach(all, i, v) {
        bool known = !call_object(c, "name", json_string_value(json_object_get(v, "object")), &o);
        json_object_set_new(v, "name", known ? json_string(object_label(&o)) : json_null());
        call_more(c, "mounts", json_incref(v));
    }
    json_decref(all);
    c->result = json_pack("{s:[]}", "mounts");
    return 0;
}

int verb_wait_gone(struct call *c)
{
    json_int_t id, timeout_s = 30;

    int r = call_args(c, ",s:I,s?I", "mount", &id, "timeout_s", &timeout_s);
    if (!r && (id < 1 || timeout_s < 0 || timeout_s > 3600))
        r = call_bad(c, "mount is a number of a mount, timeout_s from 0 to 3600");
    if (r)
        return r;
    r = mounts_wait_gone(&c->d->mounts, (uint64_t)id, (unsigned)timeout_s * 1000);
    if (r == -ETIMEDOUT)
        return call_fail(c, r, "timeout",
                         "unmounted, but the kernel still holds the file system: programs use it, or another mount namespace or a bind "
                         "mount shows it; its changes are safe after `coppice snapshot`");
    return r ? call_errno(c, r, "wait for the unmount", NULL) : 0;
}
