/* What the files of services share: service.c, the life of one; service_log.c, what it wrote; services.c, the tables of boxes and what is done by hand; service_json.c, what it looks like. */
#pragma once
#include "sandbox/exec.h"
#include "sandbox/service.h"

/* What all runs of one wrote, and who follows that. */
struct service_log { GQueue pieces; size_t bytes; uint64_t next; GArray *followers; };
void service_log_init(struct service_log *log);
void service_log_fini(struct service_log *log);
struct service;
void service_log_put(struct service *s, unsigned stream, const uint8_t *p, size_t n);
void service_log_over(struct service *s);      /* the followers are told, and are none any more */

enum service_state { SERVICE_STOPPED, SERVICE_STARTING, SERVICE_RUNNING, SERVICE_BACKING_OFF, SERVICE_FAILED };
/* One execution of it; it may outlive the next one's start with the end of its output. */
struct service_run { unsigned refs /* its start, its reader */; struct service *s; struct exec *e; struct exec_reader *r; bool exited, over; };
struct service {
    unsigned refs;                         /* the table, each run, a call */
    struct box *b;                         /* NULL: out of the table */
    char *name;
    enum service_state state;
    struct service_run *run;               /* the current one; its execution may still be on its way */
    bool ending, again;                    /* it was told to end; start it when it has */
    unsigned restarts, fails;              /* in all; since it last settled */
    guint timer;                           /* back-off, or SIGKILL */
    uint64_t started_ns;
    gint64 since_us;
    struct exit_info exit;
    bool has_exit;
    char error[300];
    struct service_log log;
};
/* service.c */
struct service *service_new(struct box *b, const char *name);
void service_ref(struct service *s), service_unref(struct service *s);
void service_begin(struct service *s);                 /* a run */
void service_halt(struct service *s, bool again);      /* SIGTERM, then SIGKILL; again: and a new run, also if none ran */
bool service_adopt(struct service *s);                 /* the run of a former sandboxd. False: there is none */
/* Out of the table, which the caller does; kill: what runs of it ends too. Its reference goes. */
void service_drop(struct service *s, bool kill);
/* services.c */
struct service *service_find(const struct box *b, const char *name);       /* NULL: the box does not run, or there is none */
json_t *service_config(const struct box *b, const char *name);             /* borrowed; NULL: there is none */
void services_save_soon(struct box *b);                /* the configuration is written: several changes of one moment at once */
