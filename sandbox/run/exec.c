/* One execution: its start, stdin, signals, and what it looks like in JSON. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/egress_proto.h"
#include "sandbox/http/metrics.h"
#include "sandbox/run/exec_private.h"
#include "sandbox/run/term_private.h"

static const char *const default_path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* --- the environment: defaults, the box's, the session's, the request's; the later wins --- */
static void env_set(GPtrArray *env, const char *key, size_t key_n, const char *value)
{
    for (unsigned i = 0; i < env->len; i++) {
        const char *have = env->pdata[i];
        if (!strncmp(have, key, key_n) && have[key_n] == '=') {
            g_ptr_array_remove_index(env, i);
            break;
        }
    }
    if (value)
        g_ptr_array_add(env, g_strdup_printf("%.*s=%s", (int)key_n, key, value));
}

static void env_put(GPtrArray *env, const char *pair)
{
    const char *eq = strchr(pair, '=');

    if (!eq)
        env_set(env, pair, strlen(pair), NULL);
    else if (eq != pair)
        env_set(env, pair, (size_t)(eq - pair), eq + 1);
}

static void env_json(GPtrArray *env, json_t *o)
{
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
        env_set(env, key, strlen(key), json_string_value(v));
}

/* What programs call the file of certificates that they trust. */
static const char *const bundle_names[] = { "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO", "DENO_CERT", "PIP_CERT",
                                            "AWS_CA_BUNDLE" };

char **exec_environment(const struct box *b, const struct exec_request *q)
{
    GPtrArray *env = g_ptr_array_new_with_free_func(g_free);
    const char *user = q->user ? q->user : box_default_user(b);

    env_put(env, default_path);
    env_put(env, "LANG=C.UTF-8");
    if (g_ascii_isalpha(user[0])) {
        env_set(env, "USER", 4, user);
        env_set(env, "LOGNAME", 7, user);
    }
    if (q->tty)
        env_put(env, "TERM=xterm-256color");
    for (size_t i = 0; box_has_bundle(b) && i < G_N_ELEMENTS(bundle_names); i++)
        env_set(env, bundle_names[i], strlen(bundle_names[i]), EGRESS_BUNDLE_PATH);
    env_json(env, b->config.env);
    for (char **p = q->base_env; p && *p; p++)
        env_put(env, *p);
    env_json(env, q->env);
    g_ptr_array_add(env, NULL);
    return (char **)g_ptr_array_free(env, false);
}

/* --- the start --- */
struct start {
    struct exec *e;
    struct exec_spec spec;
    uint8_t flags;
    int program_fd;                        /* borrowed; 0: none */
    bool any_cwd;                          /* the default one: if it is not there, the home */
    char **env;
    char *user, *cwd;
    const struct exec_reader_ops *ops; void *ops_arg;
    exec_fn *fn; void *arg;
};

static void start_free(struct start *s)
{
    g_strfreev(s->env);
    g_free(s->user);
    g_free(s->cwd);
    exec_unref(s->e);
    g_free(s);
}

static void start_failed(struct start *s, int err, const char *step)
{
    struct fault f;

    exec_fault(&f, err, step, s->spec.argv[0], s->cwd, s->user);
    exec_reader_free(s->e->first_reader);      /* nobody has it yet */
    exec_remove(s->e, &f);
    s->fn(s->arg, NULL, &f);
    start_free(s);
}

static int start_send(struct start *s);

static void on_started(void *arg, struct frame *f)
{
    struct start *s = arg;
    struct exec *e = s->e;
    struct reader r;
    char step[64];
    int32_t err;

    if (!f || !e->b)
        return start_failed(s, -EPIPE, "agent");
    r = reader_of(f->body, f->n);
    if (f->type == FRAME_STARTED) {
        e->pid = get_u32(&r);
        e->started = true;
        terms_started(e);
        metrics_add(s->flags & EXEC_TTY ? METRIC_TERMINALS : METRIC_EXECS, 1);
        s->fn(s->arg, e, NULL);
        return start_free(s);
    }
    err = (int32_t)get_u32(&r);
    get_str(&r, step, sizeof(step));
    if (r.bad || f->type != FRAME_FAILED)
        return start_failed(s, -EBADMSG, "agent");
    if (s->any_cwd && !strcmp(step, "cwd")) {
        s->any_cwd = false;
        g_free(s->cwd);
        s->spec.cwd = s->cwd = g_strdup("");
        err = start_send(s);
        if (!err)
            return;
        g_strlcpy(step, "agent", sizeof(step));
    }
    start_failed(s, err, step);
}

static int spec_memfd(const struct buf *b)
{
    int fd = memfd_create("exec", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : io_write_full(fd, b->data, b->len);

    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

static int start_send(struct start *s)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    _cleanup_close_ int fd = -1;

    exec_spec_put(&b, &s->spec);
    if (buf_err(&b))
        return -E2BIG;
    if (b.len > EXEC_SPEC_MAX || (s->program_fd && b.len > FRAME_BODY_MAX))
        return -E2BIG;
    if (b.len > FRAME_BODY_MAX) {
        fd = spec_memfd(&b);
        if (fd < 0)
            return fd;
        buf_clear(&b);
    }
    return agent_link_ask(s->e->b->link, FRAME_EXEC, s->flags, s->e->id, 0, b.data, b.len, s->program_fd ? s->program_fd : fd, on_started, s);
}

static uint64_t boot_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct exec *exec_for(struct box *b, const struct exec_request *q, const struct exec_reader_ops *ops, void *ops_arg)
{
    struct exec *e = exec_new(execs_of(b), agent_link_id(b->link));

    e->argv = g_strdupv(q->argv);
    e->tty = q->tty;
    e->cols = q->cols;
    e->rows = q->rows;
    e->stdin_open = q->stdin_open || q->tty || q->channel;
    e->start_ns = boot_ns();
    if (!q->passive) {
        box_hold(b);
        e->holds = true;
    }
    if (ops)
        e->first_reader = reader_new(e, 0, q->hold ? READ_HOLD : 0, q->credit, ops, ops_arg);
    else
        e->reader_high = 1;
    return e;
}

void exec_start(struct box *b, const struct exec_request *q, const struct exec_reader_ops *ops, void *ops_arg, exec_fn *fn, void *arg)
{
    struct start *s;
    int r;

    if (!b->link || g_hash_table_size(execs_of(b)->by_id) >= EXECS_MAX + EXECS_KEPT) {
        struct fault f;
        fault_set(&f, b->link ? "too_many" : "not_running", b->link ? "%s runs as many commands as it can (%d): wait for some to end" : "%s is not running (%d)", b->name, EXECS_MAX);
        fn(arg, NULL, &f);
        return;
    }
    if (q->tty && terms_count(b) >= TERMS_MAX) {
        struct fault f;
        fault_set(&f, "too_many", "%s has as many terminals as it can (%d): end some with DELETE .../exec/ID", b->name, TERMS_MAX);
        fn(arg, NULL, &f);
        return;
    }
    s = g_new0(struct start, 1);
    s->e = exec_ref(exec_for(b, q, ops, ops_arg));
    s->env = q->program_fd > 0 ? g_new0(char *, 1) : exec_environment(b, q);
    s->program_fd = MAX(q->program_fd, 0);
    s->user = g_strdup(q->user ? q->user : box_default_user(b));
    s->any_cwd = !q->cwd;
    s->cwd = g_strdup(q->cwd ? q->cwd : "/workspace");
    s->flags = (uint8_t)((q->tty ? EXEC_TTY : 0) | (q->channel ? EXEC_CHANNEL : s->e->stdin_open ? EXEC_STDIN : 0) | (ops ? EXEC_READ : 0) | (s->program_fd ? EXEC_PROGRAM : 0));
    s->spec = (struct exec_spec){ .ring = q->ring ? MIN(q->ring, (uint32_t)RING_MAX) : RING_DEFAULT, .credit = q->credit ? q->credit : CREDIT_DEFAULT, .timeout_ms = q->timeout_ms,
                                  .cols = q->cols, .rows = q->rows, .user = s->user, .cwd = s->cwd, .argv = s->e->argv, .env = s->env };
    s->ops = ops;
    s->ops_arg = ops_arg;
    s->fn = fn;
    s->arg = arg;
    r = start_send(s);
    if (r < 0)
        start_failed(s, r, "agent");
}

void exec_fault(struct fault *ret, int err, const char *step, const char *program, const char *cwd, const char *user)
{
    if (!strcmp(step, "exec") && (err == -ENOENT || err == -ENOTDIR))
        fault_set(ret, "program_not_found", "cannot run %.200s: there is no such program in the sandbox (or its interpreter is missing): check its name and PATH", program);
    else if (!strcmp(step, "exec"))
        fault_set(ret, "program_not_executable", "cannot run %.200s: %s: check that it is an executable file of this architecture", program, g_strerror(-err));
    else if (!strcmp(step, "cwd"))
        fault_set(ret, "invalid_request", "cannot run %.200s in the directory %.200s: %s: make it first, or give another cwd", program, cwd, g_strerror(-err));
    else if (!strcmp(step, "user"))
        fault_set(ret, "invalid_request", "cannot run %.200s as %.100s: no such user in the sandbox: give user, root, a number or UID:GID", program, user);
    else if (err == -E2BIG)
        fault_set(ret, "invalid_request", "cannot run %.200s: arguments and environment are more than %d bytes together", program, EXEC_SPEC_MAX);
    else if (err == -EAGAIN || err == -ENOMEM || err == -EMFILE || err == -ENFILE || !strcmp(step, "limit"))
        fault_set(ret, "too_many", "cannot run %.200s: the sandbox has no room for another command (%s): end some, or raise its limits of processes and memory", program, g_strerror(-err));
    else if (err == -EPIPE || err == -ENOBUFS || err == -EBADMSG)
        fault_set(ret, "agent_lost", "cannot run %.200s: the sandbox went away while it was started: try again", program);
    else
        fault_set(ret, "internal", "cannot run %.200s: step %.60s failed: %s", program, step, g_strerror(-err));
}

/* --- stdin --- */
size_t exec_stdin_room(const struct exec *e)
{
    return e->b && e->started && e->stdin_open && !e->exited ? STDIN_WINDOW - (size_t)(e->in_sent - e->in_acked) : 0;
}

bool exec_stdin_is_open(const struct exec *e) { return e->b && e->stdin_open && !e->exited; }

int exec_stdin(struct exec *e, const void *p, size_t n)
{
    const uint8_t *at = p;

    if (!exec_stdin_is_open(e))
        return -EPIPE;
    if (n > exec_stdin_room(e))
        return -EAGAIN;
    metrics_add(METRIC_STDIN_BYTES, n);
    while (n) {
        size_t part = MIN(n, (size_t)FRAME_BODY_MAX);
        int r = agent_link_send(e->b->link, FRAME_STDIN, 0, e->id, 0, at, part, -1);

        if (r < 0)
            return -EPIPE;
        e->in_sent += part;
        at += part;
        n -= part;
    }
    return 0;
}

int exec_stdin_close(struct exec *e)
{
    if (!exec_stdin_is_open(e))
        return -EPIPE;
    if (!e->tty)                             /* a terminal's end-of-file is typed; it stays open */
        e->stdin_open = false;
    return agent_link_send(e->b->link, FRAME_STDIN_CLOSE, 0, e->id, 0, NULL, 0, -1) < 0 ? -EPIPE : 0;
}

/* --- who waits for room or for the end --- */
static void wait_add(GArray *waits, void (*fn)(void *arg), void *arg)
{
    struct wait w = { fn, arg };

    g_array_append_val(waits, w);
}

static void wait_remove(GArray *waits, const void *arg)
{
    for (unsigned i = waits->len; i-- > 0;)
        if (g_array_index(waits, struct wait, i).arg == arg)
            g_array_remove_index(waits, i);
}

void exec_on_stdin_room(struct exec *e, void (*fn)(void *arg), void *arg) { wait_add(e->room, fn, arg); }
void exec_off_stdin_room(struct exec *e, void *arg) { wait_remove(e->room, arg); }
void exec_on_exit(struct exec *e, void (*fn)(void *arg), void *arg) { wait_add(e->exit_waits, fn, arg); }
void exec_off_exit(struct exec *e, void *arg) { wait_remove(e->exit_waits, arg); }

void exec_waits_call(struct exec *e, GArray *waits)
{
    unsigned n = waits->len;

    exec_ref(e);
    while (n-- && waits->len) {               /* those that wait again come at the end */
        struct wait w = g_array_index(waits, struct wait, 0);
        g_array_remove_index(waits, 0);
        w.fn(w.arg);
    }
    exec_unref(e);
}

/* --- signals, size, forgetting --- */
struct signalling { struct exec *e; int signal; done_fn *fn; void *arg; };

static void on_signalled(void *arg, struct frame *f)
{
    struct signalling *s = arg;
    struct fault fault;
    struct reader r = f ? reader_of(f->body, f->n) : reader_of("", 0);
    int32_t err = (int32_t)get_u32(&r);

    if (r.bad)
        fault_set(&fault, "agent_lost", "%s was not signalled: the sandbox has gone", s->e->eid);
    else if (err == -ESRCH)
        fault_set(&fault, "not_running", "%s has ended: nothing to signal", s->e->eid);
    else if (err == -ETIMEDOUT)
        fault_set(&fault, "timeout", "all that %s has started was sent SIGKILL, but is not gone yet (no processor to die on, or waiting for storage): ask again, or stop the sandbox", s->e->eid);
    else if (err < 0)
        fault_set(&fault, "internal", "%s could not be given %s: %s", s->e->eid, signal_name(s->signal), g_strerror(-err));
    if (s->fn)
        s->fn(s->arg, r.bad || err < 0 ? &fault : NULL);
    exec_unref(s->e);
    g_free(s);
}

void exec_signal(struct exec *e, int signal, unsigned flags, done_fn *fn, void *arg)
{
    struct signalling *s = g_new0(struct signalling, 1);

    *s = (struct signalling){ exec_ref(e), signal, fn, arg };
    if (!e->b || agent_link_ask(e->b->link, FRAME_SIGNAL, (uint8_t)flags, e->id, (uint64_t)signal, NULL, 0, -1, on_signalled, s) < 0)
        on_signalled(s, NULL);
}

void exec_resize(struct exec *e, unsigned cols, unsigned rows)
{
    uint8_t body[4];

    if (!e->b || !e->started || e->exited)
        return;
    put_le16(body, (uint16_t)cols);
    put_le16(body + 2, (uint16_t)rows);
    agent_link_send(e->b->link, FRAME_RESIZE, 0, e->id, 0, body, sizeof(body), -1);
}

void exec_forget(struct exec *e)
{
    struct fault why;

    if (!e->b)
        return;
    fault_set(&why, "not_found", "%s was deleted", e->eid);
    agent_link_send(e->b->link, FRAME_FORGET, 0, e->id, 0, NULL, 0, -1);
    exec_remove(e, &why);
}

/* --- what it looks like --- */
const char *exec_id(const struct exec *e) { return e->eid; }
uint64_t exec_start_ns(const struct exec *e) { return e->start_ns; }
struct box *exec_box(const struct exec *e) { return e->b; }
bool exec_is_tty(const struct exec *e) { return e->tty; }
const struct exit_info *exec_exit(const struct exec *e) { return e->exited ? &e->exit : NULL; }

void exec_exit_json(const struct exit_info *i, json_t *into)
{
    if (i->signal) {
        json_object_set_new(into, "exit_code", json_integer(128 + i->signal));
        json_object_set_new(into, "signal", json_string(signal_name(i->signal)));
    } else {
        json_object_set_new(into, "exit_code", i->code == EXIT_UNKNOWN ? json_null() : json_integer(i->code));
    }
    json_object_set_new(into, "cpu_ms", json_real((double)(i->user_us + i->sys_us) / 1000));
    json_object_set_new(into, "wall_ms", json_real((double)i->wall_us / 1000));
    json_object_set_new(into, "peak_kb", json_integer((json_int_t)i->peak_kb));
    if (i->timed_out)
        json_object_set_new(into, "timed_out", json_true());
    if (i->oom)
        json_object_set_new(into, "oom", json_true());
    if (i->core)
        json_object_set_new(into, "core", json_true());
}

static json_t *text_json(const char *s) { return json_string(g_utf8_validate(s, -1, NULL) ? s : "(not UTF-8)"); }

bool exec_holds(const struct exec *e) { return e->holds; }

json_t *exec_json(const struct exec *e)
{
    json_t *o = json_object(), *argv = json_array();
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) then = g_date_time_add(now, -(gint64)((boot_ns() - MIN(e->start_ns, boot_ns())) / 1000));
    g_autofree char *text = g_date_time_format(then, "%Y-%m-%dT%H:%M:%S");

    for (char **p = e->argv; p && *p; p++)
        json_array_append_new(argv, text_json(*p));
    json_object_set_new(o, "exec_id", json_string(e->eid));
    json_object_set_new(o, "argv", argv);
    json_object_set_new(o, "state", json_string(e->exited ? "exited" : "running"));
    json_object_set_new(o, "pid", json_integer(e->pid));
    json_object_set_new(o, "started", json_sprintf("%s.%03dZ", text, g_date_time_get_microsecond(then) / 1000));
    json_object_set_new(o, "tty", json_boolean(e->tty));
    json_object_set_new(o, "stdin", json_boolean(exec_stdin_is_open(e)));
    json_object_set_new(o, "seq", json_pack("{s:I, s:I}", "first", (json_int_t)e->first, "next", (json_int_t)e->next));
    if (e->exited)
        exec_exit_json(&e->exit, o);
    return o;
}

static int by_number(gconstpointer a, gconstpointer b)
{
    const struct exec *x = *(struct exec *const *)a, *y = *(struct exec *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

json_t *execs_json(struct box *b)
{
    json_t *list = json_array();
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    GHashTableIter i;
    gpointer e;

    if (!b->execs)
        return list;
    g_hash_table_iter_init(&i, b->execs->by_id);
    while (g_hash_table_iter_next(&i, NULL, &e))
        if (((struct exec *)e)->started)
            g_ptr_array_add(all, e);
    g_ptr_array_sort(all, by_number);
    for (unsigned k = 0; k < all->len; k++)
        json_array_append_new(list, exec_json(all->pdata[k]));
    return list;
}
