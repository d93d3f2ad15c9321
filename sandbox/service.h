/* Services: commands that are registered with a box and run while it runs. They start when the box starts, wakes from sleep or is taken over by a new sandboxd (found again, not started twice),
 * and are restarted as their policy says, with back-off. Kept in the box's configuration (so a fork has them too). A service is a passive execution: it does not hold the box, what CPU it uses
 * counts as activity like any other; at sleep it gets SIGTERM, then SIGKILL, with all that runs. Main loop only.
 *
 *   STOPPED --box runs, start--> STARTING --> RUNNING --exit--> BACKING_OFF --time--> STARTING
 *      ^------ stop, end ----------------------+----------------> STOPPED (clean end, or policy no) | FAILED (max_restarts, or a failure with policy no)
 */
#pragma once
#include <jansson.h>
#include "sandbox/box.h"

enum { SERVICES_MAX = 16, SERVICE_NAME_MAX = 63, SERVICE_LOG_BYTES = 64 * 1024, SERVICE_BACK_OFF_MS = 200, SERVICE_BACK_OFF_MAX_MS = 30000, SERVICE_SETTLED_MS = 10000, SERVICE_TERM_MS = 5000 };
/* The delay before restart number n (from 1) since it last ran for SERVICE_SETTLED_MS. */
unsigned service_back_off_ms(unsigned n);
/* config: {argv, env?, cwd?, user?, restart?, port?, max_restarts?}, borrowed. Starts it if the box runs. False: fault (exists, too_many, invalid_request, or it could not be written down). */
bool service_add(struct box *b, const char *name, json_t *config, struct fault *fault);
/* It is stopped and forgotten, with its log. Any of these: false with not_found if there is none. */
bool service_remove(struct box *b, const char *name, struct fault *fault);
/* Kept over sleep: what was stopped by hand stays so. Nothing runs in a box that does not run: then only that is written down. */
bool service_start(struct box *b, const char *name, struct fault *fault);
bool service_stop(struct box *b, const char *name, struct fault *fault);
bool service_restart(struct box *b, const char *name, struct fault *fault);
json_t *service_json(struct box *b, const char *name);       /* NULL: there is none */
json_t *services_json(struct box *b);                        /* an array, by name */
/* The service that said it listens there, or NULL. Valid until it is removed. */
const char *service_for_port(const struct box *b, unsigned port);
/* The log: the last SERVICE_LOG_BYTES of what all its runs wrote, kept by sandboxd while the box runs; bytes are numbered from 0. The piece that begins at *io_seq, or at the first later one
 * that is kept (then *io_seq is moved there). 0: nothing is there yet. */
size_t service_log(struct box *b, const char *name, uint64_t *io_seq, unsigned *ret_stream, const uint8_t **ret_p);
/* fn(arg) when there is more, and (over) once when nothing will come any more: removed, or the box stopped. False: it does not run now, or there is none. */
bool service_log_follow(struct box *b, const char *name, void (*fn)(void *arg, bool over), void *arg);
void service_log_unfollow(struct box *b, const char *name, void *arg);
/* Hooks of the box. */
void services_running(struct box *b);
void services_stopping(struct box *b);
