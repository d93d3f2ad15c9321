/* The doors: accepting connections, answering DNS over UDP. All in the loop's thread. */
#pragma once
#include "sandbox/egress/egress_box.h"

enum { LISTENER_TURN = 8, LISTENER_DNS_TURN = 32 };      /* so much of one door before others have theirs */
/* Looks at d->fd from now on. */
int listener_open(struct egress *e, struct door *d);
/* Not any more; with shut, its descriptor is closed. */
void listener_close(struct egress *e, struct door *d, bool shut);
/* There is something at the door. */
void listener_event(struct egress *e, struct door *d);
/* Boxes that had too many connections and have not any more. True: some still have. */
bool listener_resume(struct egress *e);
