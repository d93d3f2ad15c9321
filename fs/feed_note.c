/* What the operations of the live tree tell the journal. All with ws.lock held, after their last check. */
#include <dirent.h>
#include <string.h>

#include "base/clock.h"
#include "fs/feed_internal.h"
#include "fs/ws_internal.h"

static struct feed_event event_of(enum feed_op op, uint64_t ino, const struct inode *in, struct itime now)
{
    return (struct feed_event){ .op = op, .kind = (uint8_t)IFTODT(in->mode), .time = now, .ino = ino, .size = in->size, .mode = in->mode, .uid = in->uid, .gid = in->gid, .rdev = in->rdev,
                                .links = in->nlink, .mtime = in->mtime };
}

/* DIR/NAME behind what is in f->line already; its length, 0: it is too long. */
static size_t line_add(struct workspace *w, uint64_t dir, const char *name, size_t n)
{
    struct feed *f = w->feed;
    const char *above;
    size_t len;
    bool cut;

    if (!feed_path_of(w, dir, NULL, &above, &len, &cut) || len + n + 1 > FEED_PATH_MAX)
        return 0;
    buf_put(&f->line, above, len);
    if (len)
        buf_put_u8(&f->line, '/');
    buf_put(&f->line, name, n);
    return buf_err(&f->line) ? 0 : len + (len != 0) + n;
}

static void stage(struct feed *f, struct feed_event *e, bool cut)
{
    if (cut) {
        e->what |= FEED_PATH_CUT;
        e->path_len = e->aux_len = 0;
    }
    feed_stage(f, e);
}

void feed_named(struct workspace *w, enum feed_op op, uint64_t dir, const char *name, size_t n, uint64_t ino, const struct inode *in, const char *target, struct itime now)
{
    struct feed *f = w->feed;

    if (!f)
        return;
    struct feed_event e = event_of(op, ino, in, now);
    buf_clear(&f->line);
    size_t len = line_add(w, dir, name, n);
    e.path = (char *)f->line.data;
    e.path_len = (uint16_t)len;
    if (target) {
        e.aux = target;
        e.aux_len = (uint16_t)strlen(target);
    }
    if (op == FEED_UNLINK) {
        feed_path_forget(f, ino);
        feed_close_events(f, ino);
    } else if (op == FEED_CREATE && len) {
        feed_path_learn(f, ino, e.path, len);
    }
    stage(f, &e, !len);
}

void feed_renamed(struct workspace *w, bool exchange, uint64_t dir, const char *name, size_t n, uint64_t to_dir, const char *to, size_t to_n, uint64_t ino, const struct inode *in,
                  uint64_t other, struct itime now)
{
    struct feed *f = w->feed;

    if (!f)
        return;
    struct feed_event e = event_of(exchange ? FEED_EXCHANGE : FEED_RENAME, ino, in, now);
    buf_clear(&f->line);
    size_t len = line_add(w, dir, name, n), to_len = line_add(w, to_dir, to, to_n);
    e.other = other;
    e.path = (char *)f->line.data;
    e.path_len = (uint16_t)len;
    e.aux = e.path + len;
    e.aux_len = (uint16_t)to_len;
    if (exchange || inode_is_dir(in)) {
        feed_path_forget(f, 0);
        feed_close_events(f, 0);
    } else {
        feed_path_forget(f, ino);
        feed_close_events(f, ino);
        if (other) {
            feed_path_forget(f, other);
            feed_close_events(f, other);
        }
    }
    stage(f, &e, !len || !to_len);
}

/* An inode by its first name. One without names is nobody's. */
static void stage_inode(struct workspace *w, struct feed_event *e, const struct inode *in)
{
    size_t len;
    bool cut;

    if (!in->nlink)
        return;
    bool found = feed_path_of(w, e->ino, in, &e->path, &len, &cut);
    e->path_len = found ? (uint16_t)len : 0;
    stage(w->feed, e, !found);
}

void feed_content(struct workspace *w, enum feed_op op, uint64_t ino, const struct inode *in, uint64_t from, uint64_t to, unsigned what, uint64_t other, struct itime now)
{
    if (!w->feed)
        return;
    struct feed_event e = event_of(op, ino, in, now);
    e.from = from;
    e.to = to;
    e.what = what;
    e.other = other;
    stage_inode(w, &e, in);
}

void feed_attr(struct workspace *w, uint64_t ino, const struct inode *in, unsigned what, struct itime now)
{
    if (!w->feed || !what)
        return;
    struct feed_event e = event_of(FEED_ATTR, ino, in, now);
    e.what = what;
    stage_inode(w, &e, in);
}

void feed_xattr(struct workspace *w, uint64_t ino, const struct inode *in, const char *name, unsigned what, struct itime now)
{
    if (!w->feed)
        return;
    struct feed_event e = event_of(FEED_XATTR, ino, in, now);
    e.what = what;
    e.aux = name;
    e.aux_len = (uint16_t)strlen(name);
    stage_inode(w, &e, in);
}

void feed_replaced(struct workspace *w, const char *path)
{
    struct feed *f = w->feed;

    if (!f)
        return;
    struct feed_event e = { .op = FEED_REPLACE, .time = itime_now() };
    buf_clear(&f->line);
    for (size_t n; *(path += strspn(path, "/")); path += n) {
        n = strcspn(path, "/");
        if (f->line.len)
            buf_put_u8(&f->line, '/');
        buf_put(&f->line, path, n);
    }
    bool cut = buf_err(&f->line) || f->line.len > FEED_PATH_MAX;
    e.path = (char *)f->line.data;
    e.path_len = cut ? 0 : (uint16_t)f->line.len;
    feed_path_forget(f, 0);
    feed_close_events(f, 0);
    stage(f, &e, cut);
}

void feed_mark(struct workspace *w, enum feed_op op, const char *snap_id, const char *name, uint32_t count)
{
    struct feed *f = w->feed;

    if (!f)
        return;
    struct feed_event e = { .op = op, .time = itime_now(), .count = count, .path = name, .path_len = (uint16_t)strlen(name), .aux = snap_id, .aux_len = (uint16_t)strlen(snap_id) };
    feed_close_events(f, 0);
    feed_stage(f, &e);
    w->rec_dirty = true;                  /* the next commit takes it along, also if nothing else changes */
    ws_changed(w, true);
}
