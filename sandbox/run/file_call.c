#include "sandbox/run/file_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void route_fini(void *self)
{
    struct file_route *r = self;

    file_free(r->f);
    file_request_fini(&r->q);
    g_free(r->user);
}

bool file_path(char out[4096], const char *path)
{
    const char *rest = path[0] == '~' && (!path[1] || path[1] == '/') ? path + 1 : NULL;

    if (rest) {
        while (*rest == '/')
            rest++;
        return (size_t)snprintf(out, 4096, "%s", *rest ? rest : ".") < 4096;
    }
    return (size_t)snprintf(out, 4096, "/%s", path) < 4096;
}

void *file_route_new(struct http_call *c, size_t size, uint8_t op, const char *path, void (*over)(void *self))
{
    struct file_route *r = boxed_new(c, size, over, route_fini);
    const char *user = http_query(c, "user");

    r->q.op = op;
    r->q.len = UINT64_MAX;
    r->not_found = "not_found";
    if (user && (!*user || strlen(user) > 63)) {
        http_fail(c, "invalid_request", "user: give user, root, a number or UID:GID");
        return NULL;
    }
    r->user = g_strdup(user);
    if (!file_path(r->q.path, path)) {
        http_fail(c, "invalid_request", "the path is longer than 4095 bytes");
        return NULL;
    }
    return r;
}

bool file_route_begin(void *self)
{
    struct file_route *r = self;
    struct fault f;

    file_free(r->f);
    r->f = file_start(r->x.b, r->user, &r->q, r->ops, r, &f);
    if (!r->f)
        http_fault(r->x.c, &f);
    return r->f;
}

static void begin(void *self) { file_route_begin(self); }

void file_route_go(void *self, const struct file_ops *ops)
{
    ((struct file_route *)self)->ops = ops;
    boxed_go(self, BOXED_RUN, begin);
}

void file_route_fail(void *self, int status, const char *step)
{
    struct file_route *r = self;
    struct fault f;

    if (!r->x.c)
        return;
    if (status == -ENOENT && !strcmp(step, "user"))
        fault_set(&f, "invalid_request", "%.63s: no such user in the sandbox", r->user ? r->user : box_default_user(r->x.b));
    else
        file_fault(&f, status, step, r->q.path);
    if (!strcmp(f.code, "not_found"))
        f.code = r->not_found;
    http_fault(r->x.c, &f);
}

void file_etag(char out[FILE_ADDRESS_MAX + 3], const struct file_stat *st) { snprintf(out, FILE_ADDRESS_MAX + 3, "\"%s\"", st->address); }

void json_set_bytes(json_t *o, const char *key, const char *bytes)
{
    g_autofree char *text = g_utf8_make_valid(bytes, -1);

    json_object_set_new(o, key, json_string(text));
    if (strcmp(text, bytes)) {
        g_autofree char *base64 = g_base64_encode((const guchar *)bytes, strlen(bytes)), *name = g_strdup_printf("%s_base64", key);
        json_object_set_new(o, name, json_string(base64));
    }
}

static const char *type_name(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "char_device";
    case S_IFBLK: return "block_device";
    default: return "unknown";
    }
}

json_t *file_stat_json(const char *path, const struct file_stat *st)
{
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(st->mtime_s);
    g_autofree char *when = t ? g_date_time_format(t, "%Y-%m-%dT%H:%M:%S") : NULL;
    json_t *o = json_object();

    json_set_bytes(o, "path", path);
    json_object_set_new(o, "type", json_string(type_name(st->mode)));
    json_object_set_new(o, "size", json_integer((json_int_t)st->size));
    json_object_set_new(o, "mode", json_sprintf("%04o", st->mode & 07777));
    json_object_set_new(o, "uid", json_integer(st->uid));
    json_object_set_new(o, "gid", json_integer(st->gid));
    json_object_set_new(o, "nlink", json_integer(st->nlink));
    json_object_set_new(o, "ino", json_integer((json_int_t)st->ino));
    json_object_set_new(o, "mtime", when ? json_sprintf("%s.%09uZ", when, st->mtime_ns % 1000000000) : json_null());
    if (st->address[0])
        json_object_set_new(o, "address", json_string(st->address));
    return o;
}

bool file_query_mode(struct http_call *c, uint32_t *io)
{
    const char *text = http_query(c, "mode");
    guint64 mode;

    if (!text)
        return true;
    if (!g_ascii_string_to_unsigned(text, 8, 0, 07777, &mode, NULL)) {
        http_fail(c, "invalid_request", "mode: up to four octal digits");
        return false;
    }
    *io = (uint32_t)mode;
    return true;
}
