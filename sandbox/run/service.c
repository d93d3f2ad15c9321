/* The life of one service of a box that runs (service.h). What a service is is in the box's configuration (`services`: an object by name); what it does is here, and goes when the box
 * stops. `exec` in its configuration names the execution that runs it, so a new sandboxd finds it. */
#include <string.h>

#include "base/clock.h"
#include "sandbox/run/service_private.h"

unsigned service_back_off_ms(unsigned n)
{
    unsigned ms = SERVICE_BACK_OFF_MS;

    while (n-- > 1 && ms < SERVICE_BACK_OFF_MAX_MS)
        ms *= 2;
    return MIN(ms, (unsigned)SERVICE_BACK_OFF_MAX_MS);
}

void service_ref(struct service *s) { s->refs++; }

void service_unref(struct service *s)
{
    if (--s->refs)
        return;
    service_log_fini(&s->log);
    g_free(s->name);
    g_free(s);
}

/* Looked up each time: the configuration may be replaced by one that is the same. NULL: it is out of the table. */
static json_t *config(const struct service *s) { return s->b ? service_config(s->b, s->name) : NULL; }
static const char *text_of(const struct service *s, const char *key) { return json_string_value(json_object_get(config(s), key)); }

static void set_state(struct service *s, enum service_state state)
{
    s->state = state;
    s->since_us = g_get_real_time();
}

struct service *service_new(struct box *b, const char *name)
{
    struct service *s = g_new0(struct service, 1);

    s->refs = 1;
    s->b = b;
    s->name = g_strdup(name);
    service_log_init(&s->log);
    set_state(s, SERVICE_STOPPED);
    return s;
}

/* --- a run --- */
static void run_unref(struct service_run *r)
{
    if (--r->refs)
        return;
    if (r->e)
        exec_forget_later(r->e);
    service_unref(r->s);
    g_free(r);
}

/* It says no more. */
static void run_over(struct service_run *r)
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
    service_begin(s);
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
        set_state(s, SERVICE_STOPPED);
        s->ending = s->again = false;
        if (again)
            service_begin(s);
        return;
    }
    if (clock_mono_ns() - s->started_ns >= SERVICE_SETTLED_MS * 1000000ull)
        s->fails = 0;
    if (!strcmp(policy, "no") || (!strcmp(policy, "on-failure") && clean)) {
        set_state(s, clean ? SERVICE_STOPPED : SERVICE_FAILED);
        return;
    }
    s->fails++;
    if (max && s->fails > max) {
        if (!s->error[0])
            g_snprintf(s->error, sizeof(s->error), "it ended %u times in a row, more than max_restarts", s->fails);
        set_state(s, SERVICE_FAILED);
        return;
    }
    set_state(s, SERVICE_BACKING_OFF);
    s->timer = g_timeout_add(service_back_off_ms(s->fails), on_back_off, s);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct service_run *r = arg;

    (void)seq;
    (void)lost;                            /* it wrote faster than was read: the log is the last bytes anyway */
    if (n)
        service_log_put(r->s, stream, p, n);
    if (r->r)
        exec_reader_taken(r->r, n);
}

static void on_exit_info(void *arg, const struct exit_info *info)
{
    struct service_run *r = arg;
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
    struct service_run *r = arg;

    (void)fault;
    if (!r->exited && r->s->run == r) {    /* the box stopped: its end is told there */
        r->s->run = NULL;
        set_state(r->s, SERVICE_STOPPED);
    }
    run_over(r);
}

static const struct exec_reader_ops reader_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

static void terminate(struct service *s);

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct service_run *r = arg;
    struct service *s = r->s;

    if (fault) {
        bool current = s->run == r;
        service_ref(s);
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
    set_state(s, SERVICE_RUNNING);
    json_object_set_new(config(s), "exec", json_string(exec_id(e)));
    services_save_soon(s->b);
    if (s->ending)
        terminate(s);
}

void service_begin(struct service *s)
{
    json_t *argv = json_object_get(config(s), "argv");
    g_autofree char **v = g_new0(char *, json_array_size(argv) + 1);
    struct service_run *r = g_new0(struct service_run, 1);

    for (size_t i = 0; i < json_array_size(argv); i++)
        v[i] = (char *)(uintptr_t)json_string_value(json_array_get(argv, i));
    struct exec_request q = { .argv = v, .env = json_object_get(config(s), "env"), .cwd = text_of(s, "cwd"), .user = text_of(s, "user"), .ring = SERVICE_LOG_BYTES, .passive = true };
    disarm(s);
    r->s = s;
    r->refs = 2;
    service_ref(s);
    s->run = r;
    s->started_ns = clock_mono_ns();
    set_state(s, SERVICE_STARTING);
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

void service_halt(struct service *s, bool again)
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
        service_begin(s);
    else
        set_state(s, SERVICE_STOPPED);
}

/* --- of a table --- */
void service_drop(struct service *s, bool kill)
{
    struct service_run *r = s->run;

    service_log_over(s);
    disarm(s);
    s->run = NULL;
    s->b = NULL;
    if (r && r->e && kill)
        exec_signal(r->e, 9, SIGNAL_TREE, NULL, NULL);
    service_unref(s);
}

bool service_adopt(struct service *s)
{
    const char *eid = text_of(s, "exec"), *program = json_string_value(json_array_get(json_object_get(config(s), "argv"), 0));
    struct exec *e = eid ? exec_find(s->b, eid) : NULL;
    g_autofree char *argv0 = g_strndup(program, 63);       /* what an agent keeps of it */

    if (!e || exec_exit(e) || !exec_is_program(e, argv0))
        return false;
    struct service_run *r = g_new0(struct service_run, 1);
    r->s = s;
    r->refs = 1;
    r->e = exec_ref(e);
    r->r = exec_read(e, 0, 0, &reader_ops, r);
    service_ref(s);
    s->run = r;
    s->started_ns = clock_mono_ns();
    exec_let_idle(e);
    set_state(s, SERVICE_RUNNING);
    return true;
}
