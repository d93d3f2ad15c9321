/* What the files of sessions share. */
#pragma once
#include "sandbox/run/session.h"

struct session {
    char *id, *cwd;                    /* cwd NULL: the default */
    GHashTable *env;                   /* name -> value, or NULL: taken away */
    struct turn *now;                  /* has the turn */
    GQueue waiting;                    /* of struct turn */
    bool removed;
};
struct sessions {
    struct box *b;
    GHashTable *by_id;                 /* id -> struct session */
    bool loaded;
};
/* session_store.c: in session/ID.json of sandboxd's directory. */
void sessions_load(struct sessions *t);
void sessions_save(struct sessions *t);
struct session *session_new(struct sessions *t, const char *id);
/* Applies: nothing if it would be too large. */
void session_apply(struct session *s, const char *cwd, GHashTable *env);
size_t session_bytes(const char *cwd, GHashTable *env);
