/* Opaque values in Lua: the text around them and the names of secrets. The process that runs Lua has no value of any secret, so there is nothing in it to be found: the place where it stands
 * is filled by egress, in a header and nowhere else. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include "sandbox/egress/handler_wire.h"

#define TYPE "a secret"
struct opaque { size_t n; uint8_t records[]; };

static struct opaque *opaque_new(lua_State *L, size_t n)
{
    if (n > HANDLER_OPAQUE_MAX)
        luaL_error(L, "the text around a secret is longer than %d bytes", HANDLER_OPAQUE_MAX);
    struct opaque *o = lua_newuserdatauv(L, sizeof *o + n, 0);
    o->n = n;
    luaL_setmetatable(L, TYPE);
    return o;
}

static void header(uint8_t *p, char tag, size_t n)
{
    p[0] = (uint8_t)tag;
    for (unsigned i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(n >> (8 * i));
}

void handler_secret_push(void *lua, const char *name)
{
    struct opaque *o = opaque_new(lua, 5 + strlen(name));

    header(o->records, 's', strlen(name));
    memcpy(o->records + 5, name, strlen(name));
}

const uint8_t *handler_secret_at(void *lua, int at, size_t *ret_n)
{
    struct opaque *o = luaL_testudata(lua, at, TYPE);

    if (!o)
        return NULL;
    *ret_n = o->n;
    return o->records;
}

static size_t part(lua_State *L, int at, uint8_t *out)
{
    size_t n;
    const uint8_t *records = handler_secret_at(L, at, &n);

    if (records) {
        if (out)
            memcpy(out, records, n);
        return n;
    }
    if (lua_type(L, at) != LUA_TSTRING && lua_type(L, at) != LUA_TNUMBER)
        luaL_error(L, "attempt to concatenate a secret with a %s value", luaL_typename(L, at));
    const char *text = lua_tolstring(L, at, &n);
    if (out) {
        header(out, 't', n);
        memcpy(out + 5, text, n);
    }
    return 5 + n;
}

static int concat(lua_State *L)
{
    size_t a = part(L, 1, NULL), b = part(L, 2, NULL);
    struct opaque *o = opaque_new(L, a + b);

    part(L, 1, o->records);
    part(L, 2, o->records + a);
    return 1;
}

static int refused(lua_State *L)
{
    return luaL_error(L, "a secret has no text here: it is good only as (part of) the value of a request's header");
}

void handler_secrets_open(void *lua)
{
    static const luaL_Reg methods[] = { { "__concat", concat }, { "__tostring", refused }, { "__len", refused }, { "__index", refused }, { "__newindex", refused },
                                        { "__lt", refused }, { "__le", refused }, { "__call", refused }, { NULL, NULL } };
    lua_State *L = lua;

    luaL_newmetatable(L, TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
