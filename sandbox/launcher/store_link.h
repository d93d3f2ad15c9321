/* LAUNCH_STORE: a socket connected to snapshotd, which is started if it does not run. Both can take their time, so a child does it. */
#pragma once
#include "sandbox/launcher/loop.h"
#include "sandbox/launcher/slot.h"

enum { STORE_LINKS_MAX = 16 };            /* at once; more are refused with -EBUSY */
struct store_link { struct launch *l; struct ask ask; int sock, pidfd; struct loop_source on_sock; };
struct store_links { struct store_link one[STORE_LINKS_MAX]; };
void store_links_init(struct launch *l);
void store_link_ask(struct launch *l, struct ask ask);
void store_links_end(struct launch *l);   /* kills those that still try */
