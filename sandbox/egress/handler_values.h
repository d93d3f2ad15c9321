/* What a handler is given and what it gave, inside its process. */
#pragma once
#include <lua.h>
#include "sandbox/egress/handler_wire.h"

enum { HANDLER_REQUEST = 1, HANDLER_CONTEXT };      /* where they are on Lua's stack */
/* From the records of a request: request and context at 1 and 2. The source of the handler. */
struct record handler_build(lua_State *L, struct records all);
bool handler_may_use(const char *secret);           /* among the names that came with the request */
/* At 1 the request, 2 the context, 3 a copy of scheme, host, port; 4: what came back; 5: a struct buf that gets its records. Lua errors. */
int handler_read_result(lua_State *L);
