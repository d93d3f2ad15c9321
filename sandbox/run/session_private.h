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
/* STATE/KIND/ID.json of sandboxd's directory: what is to be known of a box by the next sandboxd. Replaced as a whole; failures are logged. get: NULL if there is none. */
void box_file_put(struct box *b, const char *kind, const json_t *all);
json_t *box_file_get(struct box *b, const char *kind);
void box_file_remove(struct box *b, const char *kind);
