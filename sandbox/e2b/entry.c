#include "sandbox/e2b/entry.h"

#include <string.h>
#include <sys/stat.h>

#include "sandbox/e2b/names.h"

/* As Go's os.FileMode prints it. */
static void permissions(uint32_t mode, char out[16])
{
    char *p = out;

    if (S_ISDIR(mode)) *p++ = 'd';
    if (S_ISLNK(mode)) *p++ = 'L';
    if (S_ISBLK(mode) || S_ISCHR(mode)) *p++ = 'D';
    if (S_ISFIFO(mode)) *p++ = 'p';
    if (S_ISSOCK(mode)) *p++ = 'S';
    if (mode & S_ISUID) *p++ = 'u';
    if (mode & S_ISGID) *p++ = 'g';
    if (S_ISCHR(mode)) *p++ = 'c';
    if (mode & S_ISVTX) *p++ = 't';
    if (p == out) *p++ = '-';
    for (int i = 8; i >= 0; i--)
        *p++ = mode >> i & 1 ? "xwr"[i % 3] : '-';
    *p = 0;
}

static const char *type_name(uint32_t mode)
{
    return S_ISREG(mode) ? "FILE_TYPE_FILE" : S_ISDIR(mode) ? "FILE_TYPE_DIRECTORY" : S_ISLNK(mode) ? "FILE_TYPE_SYMLINK" : "FILE_TYPE_UNSPECIFIED";
}

static json_t *text(const char *bytes)
{
    g_autofree char *valid = g_utf8_make_valid(bytes, -1);

    return json_string(valid);
}

static json_t *target_json(const char *path, const char *target)
{
    g_autofree char *dir = g_path_get_dirname(path), *full = g_canonicalize_filename(target, dir);

    return text(full);
}

json_t *e2b_entry(const struct box *b, const char *path, const struct file_stat *st, const char *target, json_t *metadata)
{
    g_autofree char *name = g_path_get_basename(path), *owner = e2b_owner(b, st->uid), *group = e2b_group(b, st->gid);
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(st->mtime_s);
    g_autofree char *when = t ? g_date_time_format(t, "%Y-%m-%dT%H:%M:%S") : NULL;
    char mode[16];
    json_t *o = json_object();

    permissions(st->mode, mode);
    json_object_set_new(o, "name", text(name));
    json_object_set_new(o, "type", json_string(type_name(st->mode)));
    json_object_set_new(o, "path", text(path));
    json_object_set_new(o, "size", json_sprintf("%" G_GUINT64_FORMAT, (guint64)st->size));
    json_object_set_new(o, "mode", json_integer(st->mode & 0777));
    json_object_set_new(o, "permissions", json_string(mode));
    json_object_set_new(o, "owner", json_string(owner));
    json_object_set_new(o, "group", json_string(group));
    if (when)
        json_object_set_new(o, "modifiedTime", json_sprintf("%s.%09uZ", when, st->mtime_ns % 1000000000));
    if (S_ISLNK(st->mode) && *target)
        json_object_set_new(o, "symlinkTarget", target_json(path, target));
    if (json_object_size(metadata))
        json_object_set(o, "metadata", metadata);
    json_decref(metadata);
    return o;
}
