#include "sandbox/e2b/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/files.h"

enum { FRESH_S = 5, FILE_MAX = 256 * 1024 };
/* Parsed once: a listing asks for each of its entries, and the files are the workload's. */
struct names { GHashTable *users, *homes, *groups; uint64_t read_ns; };        /* id -> name; name or id -> home; id -> name */
static GHashTable *all;                   /* id of the box -> names */

static void names_free(gpointer p)
{
    struct names *n = p;

    g_hash_table_unref(n->users);
    g_hash_table_unref(n->homes);
    g_hash_table_unref(n->groups);
    g_free(n);
}

static struct names *names_new(uint64_t now)
{
    struct names *n = g_new(struct names, 1);

    n->users = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    n->homes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    n->groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    n->read_ns = now;
    return n;
}

/* The first line of an id or name counts, as for the C library. */
static void keep(GHashTable *h, const char *key, const char *value)
{
    if (*key && *value && g_utf8_validate(value, -1, NULL) && !g_hash_table_contains(h, key))
        g_hash_table_insert(h, g_strdup(key), g_strdup(value));
}

/* "name:x:id:..." */
static void parse(struct names *n, const char *text, bool groups)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++) {
        g_auto(GStrv) f = g_strsplit(*l, ":", 8);
        unsigned count = g_strv_length(f);
        if (count > 2)
            keep(groups ? n->groups : n->users, f[2], f[0]);
        if (count > 5 && !groups && f[5][0] == '/') {
            keep(n->homes, f[0], f[5]);
            keep(n->homes, f[2], f[5]);
        }
    }
}

static gboolean stale(gpointer key, gpointer value, gpointer now) { return *(uint64_t *)now - ((struct names *)value)->read_ns > FRESH_S * 1000000000ull; }

static const struct names *names_of(const struct box *b) { return all ? g_hash_table_lookup(all, b->id) : NULL; }

/* --- reading both files, one after the other --- */
struct ask { struct e2b_call *k; void (*then)(void *self); struct file_call *f; GString *text; struct names *n; bool groups; };

static void ask_next(struct ask *a);

static void ask_end(struct ask *a)
{
    struct e2b_call *k = a->k;
    void (*then)(void *self) = a->then;

    if (k->x.b)
        g_hash_table_replace(all, g_strdup(k->x.b->id), a->n);
    else
        names_free(a->n);
    file_free(a->f);
    g_string_free(a->text, true);
    g_free(a);
    if (k->x.c)
        then(k);
    boxed_unref(k);
}

static void file_over(struct ask *a)
{
    parse(a->n, a->text->str, a->groups);
    g_string_truncate(a->text, 0);
    if (a->groups) {
        ask_end(a);
        return;
    }
    a->groups = true;
    ask_next(a);
}

static void on_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    if (status)
        file_over(arg);
}

static bool on_data(void *arg, const uint8_t *p, size_t n)
{
    struct ask *a = arg;

    if (a->text->len + n <= FILE_MAX)
        g_string_append_len(a->text, (const char *)p, (gssize)n);
    return true;
}

static void on_end(void *arg, int status) { file_over(arg); }

static const struct file_ops ops = { .head = on_head, .data = on_data, .end = on_end };

static void ask_next(struct ask *a)
{
    struct file_request *q = g_new0(struct file_request, 1);
    struct fault f;

    q->op = FILE_READ;
    q->len = FILE_MAX;
    g_strlcpy(q->path, a->groups ? "/etc/group" : "/etc/passwd", sizeof(q->path));
    file_free(a->f);
    a->f = file_start(a->k->x.b, NULL, q, &ops, a, &f);
    g_free(q);
    if (!a->f)
        file_over(a);
}

void e2b_names_need(void *self, void (*then)(void *self))
{
    struct e2b_call *k = self;
    uint64_t now = clock_mono_ns();
    struct ask *a;

    if (!all)
        all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, names_free);
    g_hash_table_foreach_remove(all, stale, &now);
    if (names_of(k->x.b)) {
        then(k);
        return;
    }
    a = g_new0(struct ask, 1);
    a->k = boxed_ref(k);
    a->then = then;
    a->text = g_string_new(NULL);
    a->n = names_new(now);
    ask_next(a);
}

/* --- looking up --- */
static char *id_name(GHashTable *h, uint32_t id)
{
    g_autofree char *number = g_strdup_printf("%u", id);
    const char *name = h ? g_hash_table_lookup(h, number) : NULL;

    return g_strdup(name ? name : number);
}

char *e2b_owner(const struct box *b, uint32_t uid)
{
    const struct names *n = names_of(b);

    return id_name(n ? n->users : NULL, uid);
}

char *e2b_group(const struct box *b, uint32_t gid)
{
    const struct names *n = names_of(b);

    return id_name(n ? n->groups : NULL, gid);
}

static char *home_of(const struct box *b, const char *user)
{
    const struct names *n = names_of(b);
    const char *home = n ? g_hash_table_lookup(n->homes, user) : NULL;

    if (home)
        return g_strdup(home);
    return !strcmp(user, "root") ? g_strdup("/root") : g_strdup_printf("/home/%s", user);
}

char *e2b_path(const struct box *b, const char *user, const char *path)
{
    g_autofree char *home = NULL;

    if (path[0] == '/')
        return g_canonicalize_filename(path, "/");
    if (path[0] == '~' && (!path[1] || path[1] == '/'))
        path += 1 + strspn(path + 1, "/");
    home = home_of(b, user ? user : box_default_user(b));
    return g_canonicalize_filename(path, home);
}
