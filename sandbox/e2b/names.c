#include "sandbox/e2b/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/files.h"

enum { FRESH_S = 5, FILE_MAX = 256 * 1024 };
struct names { char *passwd, *group; uint64_t read_ns; };
static GHashTable *all;                   /* id of the box -> names */

static void names_free(gpointer p)
{
    struct names *n = p;

    g_free(n->passwd);
    g_free(n->group);
    g_free(n);
}

static gboolean stale(gpointer key, gpointer value, gpointer now) { return *(uint64_t *)now - ((struct names *)value)->read_ns > FRESH_S * 1000000000ull; }

static const struct names *names_of(const struct box *b) { return all ? g_hash_table_lookup(all, b->id) : NULL; }

/* --- reading both files, one after the other --- */
struct ask { struct e2b_call *k; void (*then)(void *self); struct file_call *f; GString *text; struct names *n; };

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
    char **to = a->n->passwd ? &a->n->group : &a->n->passwd;

    *to = g_strdup(a->text->str);
    g_string_truncate(a->text, 0);
    if (a->n->group)
        ask_end(a);
    else
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
    g_strlcpy(q->path, a->n->passwd ? "/etc/group" : "/etc/passwd", sizeof(q->path));
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
    a->n = g_new0(struct names, 1);
    a->n->read_ns = now;
    ask_next(a);
}

/* --- looking up: "name:x:id:...", field by field --- */
static char *field_of(const char *text, unsigned match, const char *want, unsigned field)
{
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **l = lines; *l; l++) {
        g_auto(GStrv) f = g_strsplit(*l, ":", 8);
        unsigned n = g_strv_length(f);
        if (n > match && n > field && !strcmp(f[match], want) && *f[field])
            return g_strdup(f[field]);
    }
    return NULL;
}

static char *id_name(const char *text, uint32_t id)
{
    g_autofree char *number = g_strdup_printf("%u", id);
    char *name = field_of(text, 2, number, 0);

    return name && g_utf8_validate(name, -1, NULL) ? name : (g_free(name), g_strdup(number));
}

char *e2b_owner(const struct box *b, uint32_t uid)
{
    const struct names *n = names_of(b);

    return id_name(n ? n->passwd : NULL, uid);
}

char *e2b_group(const struct box *b, uint32_t gid)
{
    const struct names *n = names_of(b);

    return id_name(n ? n->group : NULL, gid);
}

static char *home_of(const struct box *b, const char *user)
{
    const struct names *n = names_of(b);
    char *home = field_of(n ? n->passwd : NULL, g_ascii_isdigit(user[0]) ? 2 : 0, user, 5);

    if (home && home[0] == '/')
        return home;
    g_free(home);
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
