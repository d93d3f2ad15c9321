/* The table of services of boxes that run, and the life of each (service.h). What a service is is in the box's configuration (`services`: an object by name); what it does is here, and goes when
 * the box stops. `exec` in its configuration names the execution that runs it, so a new sandboxd finds it. */
#include "sandbox/service.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/exec.h"

enum state { STOPPED, STARTING, RUNNING, BACKING_OFF, FAILED };
static const char *const state_names[] = { "stopped", "starting", "running", "backing-off", "failed" };
struct piece { uint64_t seq; unsigned stream; size_t n; uint8_t bytes[]; };
struct follower { void (*fn)(void *arg, bool over); void *arg; };
struct run;
struct service {
    unsigned refs;                         /* the table, each run, a call */
    struct box *b;                         /* NULL: out of the table */
    char *name;
    enum state state;
    struct run *run;                       /* the current one; its execution may still be on its way */
    bool ending, again;                    /* it was told to end; start it when it has */
    unsigned restarts, fails;              /* in all; since it last settled */
    guint timer;                           /* back-off, or SIGKILL */
    uint64_t started_ns;
    gint64 since_us;
    struct exit_info exit;
    bool has_exit;
    char error[300];
    GQueue log;                            /* struct piece */
    size_t log_bytes;
    uint64_t log_next;
    GArray *followers;
};
/* One execution of it; it may outlive the next one's start with the end of its output. */
struct run { unsigned refs /* its start, its reader */; struct service *s; struct exec *e; struct exec_reader *r; bool exited, over; };
struct table { struct box *b; GHashTable *by_name; guint save; };
static GHashTable *tables;                 /* box -> struct table: of boxes that run */

unsigned service_back_off_ms(unsigned n)
{
    unsigned ms = SERVICE_BACK_OFF_MS;

    while (n-- > 1 && ms < SERVICE_BACK_OFF_MAX_MS)
        ms *= 2;
    return MIN(ms, (unsigned)SERVICE_BACK_OFF_MAX_MS);
}

static void service_unref(struct service *s)
{
    if (--s->refs)
        return;
    g_queue_clear_full(&s->log, g_free);
    g_array_unref(s->followers);
    g_free(s->name);
    g_free(s);
}

static struct table *table_of(const struct box *b) { return tables ? g_hash_table_lookup(tables, b) : NULL; }

static struct service *find(const struct box *b, const char *name)
{
    struct table *t = table_of(b);

    return t ? g_hash_table_lookup(t->by_name, name) : NULL;
}

static json_t *config_of(const struct box *b, const char *name) { return json_object_get(b->config.services, name); }

/* Looked up each time: the configuration may be replaced by one that is the same. NULL: it is out of the table. */
static json_t *config(const struct service *s) { return s->b ? config_of(s->b, s->name) : NULL; }
static const char *text_of(const struct service *s, const char *key) { return json_string_value(json_object_get(config(s), key)); }
static bool wanted(const struct service *s) { return !json_is_false(json_object_get(config(s), "enabled")); }

static void set_state(struct service *s, enum state state)
{
    s->state = state;
    s->since_us = g_get_real_time();
}

/* --- the configuration is written: several changes of one moment at once --- */
static gboolean on_save(gpointer arg)
{
    struct table *t = arg;
    int r = box_config_save(t->b);

    t->save = 0;
    if (r)
        log_warn("box=%s step=save-services err=%s", t->b->id, errno_name(r));
    return G_SOURCE_REMOVE;
}

static void save_soon(struct service *s)
{
    struct table *t = s->b ? table_of(s->b) : NULL;

    if (t && !t->save)
        t->save = g_idle_add(on_save, t);
}

/* --- the log --- */
static void followers_call(struct service *s, bool over)
{
    s->refs++;
    for (unsigned i = s->followers->len; i-- > 0;)
        if (i < s->followers->len) {
            struct follower f = g_array_index(s->followers, struct follower, i);
            f.fn(f.arg, over);
        }
    service_unref(s);
}

static void log_put(struct service *s, unsigned stream, const uint8_t *p, size_t n)
{
    while (n) {
        size_t part = MIN(n, (size_t)SERVICE_LOG_BYTES / 8);
        struct piece *k = g_malloc(sizeof(*k) + part);
        *k = (struct piece){ .seq = s->log_next, .stream = stream, .n = part };
        memcpy(k->bytes, p, part);
        g_queue_push_tail(&s->log, k);
        s->log_bytes += part + sizeof(*k);
        s->log_next += part;
        p += part;
        n -= part;
        while (s->log_bytes > SERVICE_LOG_BYTES) {
            struct piece *old = g_queue_pop_head(&s->log);
            s->log_bytes -= old->n + sizeof(*old);
            g_free(old);
        }
    }
    followers_call(s, false);
}

size_t service_log(struct box *b, const char *name, uint64_t *io_seq, unsigned *ret_stream, const uint8_t **ret_p)
{
    struct service *s = find(b, name);

    for (GList *l = s ? s->log.head : NULL; l; l = l->next) {
        struct piece *k = l->data;
        if (k->seq + k->n <= *io_seq)
            continue;
        *io_seq = MAX(*io_seq, k->seq);
        *ret_stream = k->stream;
        *ret_p = k->bytes + (*io_seq - k->seq);
        return k->n - (size_t)(*io_seq - k->seq);
    }
    return 0;
}

bool service_log_follow(struct box *b, const char *name, void (*fn)(void *arg, bool over), void *arg)
{
    struct service *s = find(b, name);
    struct follower f = { fn, arg };

    if (s)
        g_array_append_val(s->followers, f);
    return s;
}

void service_log_unfollow(struct box *b, const char *name, void *arg)
{
    struct service *s = find(b, name);

    for (unsigned i = s ? s->followers->len : 0; i-- > 0;)
        if (g_array_index(s->followers, struct follower, i).arg == arg)
            g_array_remove_index(s->followers, i);
}

/* --- a run --- */
static void begin(struct service *s);

static void run_unref(struct run *r)
{
    if (--r->refs)
        return;
    if (r->e)
        exec_forget_later(r->e);
    service_unref(r->s);
    g_free(r);
}

/* It says no more. */
static void run_over(struct run *r)
{
    if (r->over)
        return;
    r->over = true;
    exec_reader_free(r->r);
    r->r = NULL;
    if (r->s->run == r)
        r->s->run = NULL;
    run_unref(r);
}

static void disarm(struct service *s)
{
    if (s->timer)
        g_source_remove(s->timer);
    s->timer = 0;
}

static gboolean on_back_off(gpointer arg)
{
    struct service *s = arg;

    s->timer = 0;
    s->restarts++;
    begin(s);
    return G_SOURCE_REMOVE;
}

/* It ended, or could not start: what now? */
static void ended(struct service *s, bool clean)
{
    const char *policy = text_of(s, "restart");
    json_int_t max = json_integer_value(json_object_get(config(s), "max_restarts"));
    bool box_runs = s->b && s->b->state != BOX_STOPPING && s->b->state != BOX_DELETING && s->b->state != BOX_ASLEEP;

    disarm(s);
    if (s->b)
        json_object_del(config(s), "exec");
    if (!s->b || !box_runs || s->ending) {
        bool again = s->again && s->b && box_runs;
        set_state(s, STOPPED);
        s->ending = s->again = false;
        if (again)
            begin(s);
        return;
    }
    if (clock_mono_ns() - s->started_ns >= SERVICE_SETTLED_MS * 1000000ull)
        s->fails = 0;
    if (!strcmp(policy, "no") || (!strcmp(policy, "on-failure") && clean)) {
        set_state(s, clean ? STOPPED : FAILED);
        return;
    }
    s->fails++;
    if (max && s->fails > max) {
        if (!s->error[0])
            g_snprintf(s->error, sizeof(s->error), "it ended %u times in a row, more than max_restarts", s->fails);
        set_state(s, FAILED);
        return;
    }
    set_state(s, BACKING_OFF);
    s->timer = g_timeout_add(service_back_off_ms(s->fails), on_back_off, s);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct run *r = arg;

    (void)seq;
    (void)lost;                            /* it wrote faster than was read: the log is the last bytes anyway */
    if (n)
        log_put(r->s, stream, p, n);
    if (r->r)
        exec_reader_taken(r->r, n);
}

static void on_exit_info(void *arg, const struct exit_info *info)
{
    struct run *r = arg;
    struct service *s = r->s;

    if (r->exited)
        return;
    r->exited = true;
    exec_signal(r->e, 9 /* SIGKILL */, SIGNAL_TREE, NULL, NULL);      /* what it left behind would be in the way of the next */
    s->exit = *info;
    s->has_exit = true;
    if (s->run != r)
        return;
    s->run = NULL;
    ended(s, !info->signal && info->code == 0);
}

static void on_end(void *arg, const struct fault *fault)
{
    struct run *r = arg;

    (void)fault;
    if (!r->exited && r->s->run == r) {    /* the box stopped: its end is told there */
        r->s->run = NULL;
        set_state(r->s, STOPPED);
    }
    run_over(r);
}

static const struct exec_reader_ops reader_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

static void terminate(struct service *s);

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct run *r = arg;
    struct service *s = r->s;

    if (fault) {
        bool current = s->run == r;
        s->refs++;
        g_strlcpy(s->error, fault->text, sizeof(s->error));
        run_over(r);
        run_unref(r);
        if (current)
            ended(s, false);
        service_unref(s);
        return;
    }
    r->e = exec_ref(e);
    r->r = exec_first_reader(e);
    if (s->run != r || !s->b) {            /* removed meanwhile */
        exec_signal(e, 9, SIGNAL_TREE, NULL, NULL);
        run_over(r);
        run_unref(r);
        return;
    }
    run_unref(r);
    s->error[0] = 0;
    set_state(s, RUNNING);
    json_object_set_new(config(s), "exec", json_string(exec_id(e)));
    save_soon(s);
    if (s->ending)
        terminate(s);
}

static void begin(struct service *s)
{
    json_t *argv = json_object_get(config(s), "argv");
    g_autofree char **v = g_new0(char *, json_array_size(argv) + 1);
    struct run *r = g_new0(struct run, 1);

    for (size_t i = 0; i < json_array_size(argv); i++)
        v[i] = (char *)(uintptr_t)json_string_value(json_array_get(argv, i));
    struct exec_request q = { .argv = v, .env = json_object_get(config(s), "env"), .cwd = text_of(s, "cwd"), .user = text_of(s, "user"), .ring = SERVICE_LOG_BYTES, .passive = true };
    disarm(s);
    r->s = s;
    r->refs = 2;
    s->refs++;
    s->run = r;
    s->started_ns = clock_mono_ns();
    set_state(s, STARTING);
    exec_start(s->b, &q, &reader_ops, r, on_started, r);
}

/* --- ending one by hand --- */
static gboolean on_term_over(gpointer arg)
{
    struct service *s = arg;

    s->timer = 0;
    if (s->run && s->run->e)
        exec_signal(s->run->e, 9, SIGNAL_TREE, NULL, NULL);
    return G_SOURCE_REMOVE;
}

static void terminate(struct service *s)
{
    disarm(s);
    if (!s->run || !s->run->e)
        return;                            /* it is told when it has started */
    exec_signal(s->run->e, 15 /* SIGTERM */, SIGNAL_TREE, NULL, NULL);
    s->timer = g_timeout_add(SERVICE_TERM_MS, on_term_over, s);
}

static void halt(struct service *s, bool again)
{
    s->again = again;
    if (s->run) {
        s->ending = true;
        terminate(s);
        return;
    }
    disarm(s);
    s->again = false;
    s->fails = 0;
    if (again)
        begin(s);
    else
        set_state(s, STOPPED);
}

/* --- the table --- */
static struct service *service_new(struct table *t, const char *name)
{
    struct service *s = g_new0(struct service, 1);

    s->refs = 1;
    s->b = t->b;
    s->name = g_strdup(name);
    s->followers = g_array_new(false, false, sizeof(struct follower));
    g_queue_init(&s->log);
    set_state(s, STOPPED);
    g_hash_table_insert(t->by_name, s->name, s);
    return s;
}

/* Out of the table (which the caller does); kill: what runs of it ends too. */
static void service_drop(struct service *s, bool kill)
{
    struct run *r = s->run;

    followers_call(s, true);
    g_array_set_size(s->followers, 0);
    disarm(s);
    s->run = NULL;
    s->b = NULL;
    if (r && r->e && kill)
        exec_signal(r->e, 9, SIGNAL_TREE, NULL, NULL);
    service_unref(s);
}

static bool adopt(struct service *s)
{
    const char *eid = text_of(s, "exec"), *program = json_string_value(json_array_get(json_object_get(config(s), "argv"), 0));
    struct exec *e = eid ? exec_find(s->b, eid) : NULL;
    g_autofree char *argv0 = g_strndup(program, 63);       /* what an agent keeps of it */

    if (!e || exec_exit(e) || !exec_is_program(e, argv0))
        return false;
    struct run *r = g_new0(struct run, 1);
    r->s = s;
    r->refs = 1;
    r->e = exec_ref(e);
    r->r = exec_read(e, 0, 0, &reader_ops, r);
    s->refs++;
    s->run = r;
    s->started_ns = clock_mono_ns();
    exec_let_idle(e);
    set_state(s, RUNNING);
    return true;
}

static struct table *table_make(struct box *b)
{
    struct table *t = table_of(b);

    if (t)
        return t;
    if (!tables)
        tables = g_hash_table_new(g_direct_hash, g_direct_equal);
    t = g_new0(struct table, 1);
    t->b = box_ref(b);
    t->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(tables, b, t);
    return t;
}

void services_running(struct box *b)
{
    const char *name;
    json_t *one;

    if (!json_object_size(b->config.services))
        return;
    struct table *t = table_make(b);
    json_object_foreach(b->config.services, name, one) {
        if (!json_is_string(json_array_get(json_object_get(one, "argv"), 0)) || !json_is_string(json_object_get(one, "restart")))
            continue;                      /* a file that was written by hand */
        struct service *s = service_new(t, name);
        if (adopt(s))
            continue;
        json_object_del(one, "exec");
        if (wanted(s))
            begin(s);
    }
}

void services_stopping(struct box *b)
{
    struct table *t = table_of(b);
    GHashTableIter i;
    gpointer s;

    if (!t)
        return;
    g_hash_table_remove(tables, b);
    if (t->save)
        g_source_remove(t->save);
    g_hash_table_iter_init(&i, t->by_name);
    while (g_hash_table_iter_next(&i, NULL, &s))
        service_drop(s, false);
    g_hash_table_destroy(t->by_name);
    box_unref(t->b);
    g_free(t);
}

/* --- by hand --- */
static bool runs(const struct box *b) { return b->state == BOX_RUNNING && b->link; }

static bool written(struct box *b, struct fault *fault)
{
    int r = box_config_save(b);

    if (r)
        fault_set(fault, r == -ENOSPC ? "no_space" : "internal", "the services of %s could not be written down: %s", b->name, g_strerror(-r));
    return !r;
}

bool service_add(struct box *b, const char *name, json_t *given, struct fault *fault)
{
    if (config_of(b, name))
        return fault_set(fault, "exists", "sandbox %s has a service %s already: remove it first", b->name, name), false;
    if (json_object_size(b->config.services) >= SERVICES_MAX)
        return fault_set(fault, "too_many", "sandbox %s has as many services as it can (%d)", b->name, SERVICES_MAX), false;
    if (!b->config.services)
        b->config.services = json_object();
    json_t *own = json_deep_copy(given);
    json_object_set_new(b->config.services, name, own);
    if (!written(b, fault)) {
        json_object_del(b->config.services, name);
        return false;
    }
    if (runs(b))
        begin(service_new(table_make(b), name));
    return true;
}

static bool there(struct box *b, const char *name, struct fault *fault)
{
    if (config_of(b, name))
        return true;
    fault_set(fault, "not_found", "sandbox %s has no service %.63s", b->name, name);
    return false;
}

bool service_remove(struct box *b, const char *name, struct fault *fault)
{
    struct service *s = find(b, name);

    if (!there(b, name, fault))
        return false;
    if (s) {
        g_hash_table_remove(table_of(b)->by_name, name);
        service_drop(s, true);
    }
    json_object_del(b->config.services, name);
    return written(b, fault);
}

/* The table has what was configured before the box started; a service that was added while it did not run yet comes here. */
static struct service *find_or_new(struct box *b, const char *name)
{
    struct service *s = find(b, name);

    return s || !runs(b) ? s : service_new(table_make(b), name);
}

static bool enable(struct box *b, const char *name, bool on, struct fault *fault)
{
    json_t *one = config_of(b, name);

    if (json_is_false(json_object_get(one, "enabled")) == !on)
        return true;
    json_object_set_new(one, "enabled", json_boolean(on));
    return written(b, fault);
}

bool service_start(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, true, fault))
        return false;
    struct service *s = find_or_new(b, name);
    if (s && s->ending)
        s->again = true;
    else if (s && !s->run)
        halt(s, true);
    return true;
}

bool service_stop(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, false, fault))
        return false;
    struct service *s = find(b, name);
    if (s)
        halt(s, false);
    return true;
}

bool service_restart(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, true, fault))
        return false;
    struct service *s = find_or_new(b, name);
    if (s)
        halt(s, true);
    return true;
}

/* --- what it looks like --- */
static json_t *time_json(gint64 us)
{
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(us / 1000000);
    g_autofree char *text = g_date_time_format(t, "%Y-%m-%dT%H:%M:%S");

    return json_sprintf("%s.%03dZ", text, (int)(us / 1000 % 1000));
}

json_t *service_json(struct box *b, const char *name)
{
    json_t *one = config_of(b, name), *o, *pid;
    struct service *s = find(b, name);

    if (!one)
        return NULL;
    o = json_deep_copy(one);
    json_object_del(o, "exec");
    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "enabled", json_boolean(!json_is_false(json_object_get(one, "enabled"))));
    json_object_set_new(o, "state", json_string(state_names[s ? s->state : STOPPED]));
    json_object_set_new(o, "restarts", json_integer(s ? s->restarts : 0));
    if (!s)
        return o;
    json_object_set_new(o, "since", time_json(s->since_us));
    json_object_set_new(o, "log", json_pack("{s:I}", "next", (json_int_t)s->log_next));
    if (s->run && s->run->e) {
        json_t *e = exec_json(s->run->e);
        pid = json_object_get(e, "pid");
        json_object_set(o, "pid", pid);
        json_object_set_new(o, "exec_id", json_string(exec_id(s->run->e)));
        json_decref(e);
    }
    if (s->has_exit)
        exec_exit_json(&s->exit, o);
    if (s->error[0])
        json_object_set_new(o, "error", json_string(s->error));
    return o;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

json_t *services_json(struct box *b)
{
    json_t *list = json_array(), *one;
    const char *names[SERVICES_MAX], *name;
    size_t n = 0;

    json_object_foreach(b->config.services, name, one)
        if (n < SERVICES_MAX)
            names[n++] = name;
    qsort(names, n, sizeof(names[0]), by_name);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, service_json(b, names[i]));
    return list;
}

const char *service_for_port(const struct box *b, unsigned port)
{
    const char *name;
    json_t *one;

    json_object_foreach(b->config.services, name, one)
        if (json_integer_value(json_object_get(one, "port")) == (json_int_t)port)
            return name;
    return NULL;
}
