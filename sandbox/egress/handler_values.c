/* Records into Lua's tables, and back. */
#include "sandbox/egress/handler_values.h"
#include <ctype.h>
#include <lauxlib.h>
#include <string.h>
#include "base/wire.h"

static const char *secret_names[RULE_SECRETS_MAX];
static unsigned secret_count;

bool handler_may_use(const char *secret)
{
    for (unsigned i = 0; i < secret_count; i++)
        if (!strcmp(secret_names[i], secret))
            return true;
    return false;
}

/* ---- the request ---- */
static void set_text(lua_State *L, int table, const char *name, const struct record *r)
{
    lua_pushlstring(L, (const char *)r->p, r->n);
    lua_setfield(L, table, name);
}

/* headers[lower case name] = value; a second one of the name is put behind a comma. */
static void set_header(lua_State *L, int headers, const struct record *name, const struct record *value)
{
    char low[HTTP1_TARGET_MAX];
    size_t n = name->n < sizeof low ? name->n : sizeof low;

    for (size_t i = 0; i < n; i++)
        low[i] = (char)tolower(name->p[i]);
    lua_pushlstring(L, low, n);
    lua_pushvalue(L, -1);
    if (lua_gettable(L, headers) == LUA_TSTRING) {
        lua_pushlstring(L, ", ", 2);
        lua_pushlstring(L, (const char *)value->p, value->n);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        lua_pushlstring(L, (const char *)value->p, value->n);
    }
    lua_settable(L, headers);
}

enum { REQUEST = HANDLER_REQUEST, CONTEXT = HANDLER_CONTEXT, HEADERS, LABELS };

static void take(lua_State *L, struct record *r, struct record *name)
{
    switch (r->tag) {
    case 'm': set_text(L, REQUEST, "method", r); break;
    case 'u': set_text(L, REQUEST, "scheme", r); break;
    case 'o': set_text(L, REQUEST, "host", r); break;
    case 'P': lua_pushinteger(L, r->n == 2 ? r->p[0] | r->p[1] << 8 : 0); lua_setfield(L, REQUEST, "port"); break;
    case 'p': set_text(L, REQUEST, "path", r); break;
    case 'q': set_text(L, REQUEST, "query", r); break;
    case 'i': set_text(L, CONTEXT, "sandbox", r); break;
    case 'n': set_text(L, CONTEXT, "name", r); break;
    case 'r': set_text(L, CONTEXT, "rule", r); break;
    case 'w': lua_pushinteger(L, r->n == 8 ? (lua_Integer)le64(r->p) : 0); lua_setfield(L, CONTEXT, "time"); break;
    case 'h': case 'k': *name = *r; break;
    case 't': set_header(L, HEADERS, name, r); break;
    case 'v':
        lua_pushlstring(L, (const char *)name->p, name->n);
        lua_pushlstring(L, (const char *)r->p, r->n);
        lua_settable(L, LABELS);
        break;
    case 's':
        if (secret_count < RULE_SECRETS_MAX)
            secret_names[secret_count++] = strndup((const char *)r->p, r->n);
        break;
    }
}

struct record handler_build(lua_State *L, struct records all)
{
    struct record r, name = { 0 }, source = { 0 };

    lua_settop(L, 0);
    for (unsigned i = 0; i < 4; i++)
        lua_newtable(L);
    while (record_next(&all, &r))
        if (r.tag == 'l')
            source = r;
        else
            take(L, &r, &name);
    lua_setfield(L, CONTEXT, "labels");
    lua_setfield(L, REQUEST, "headers");
    return source;
}

/* ---- what it returned ---- */
static void put_field(lua_State *L, struct buf *b, int table, const char *name, char tag, bool needed)
{
    size_t n;
    int type = lua_getfield(L, table, name);

    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        const char *text = lua_tolstring(L, -1, &n);
        record_put(b, tag, text, n);
    } else if (type != LUA_TNIL || needed)
        luaL_error(L, "%s must be a string, not %s", name, handler_secret_at(L, -1, &n) ? "a secret" : luaL_typename(L, -1));
    lua_pop(L, 1);
}

static void put_header(lua_State *L, struct buf *b, bool may_be_secret)
{
    size_t n;
    const uint8_t *opaque = handler_secret_at(L, -1, &n);
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL, *text;

    if (!name)
        luaL_error(L, "the names of headers are strings");
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        return;
    if (opaque && !may_be_secret)
        luaL_error(L, "a secret cannot be in an answer");
    if (!opaque && lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "the header %s must be a string, not %s", name, luaL_typename(L, -1));
    record_put(b, 'h', name, strlen(name));
    if (opaque)
        buf_put(b, opaque, n);
    else {
        lua_pushvalue(L, -1);
        text = lua_tolstring(L, -1, &n);
        record_put(b, 't', text, n);
        lua_pop(L, 1);
    }
}

/* Names in lower case first: what the handler wrote in another case comes later and wins. */
static void put_headers(lua_State *L, struct buf *b, int table, bool may_be_secret)
{
    int type = lua_getfield(L, table, "headers");

    if (type != LUA_TTABLE && type != LUA_TNIL)
        luaL_error(L, "headers must be a table");
    for (unsigned upper = 0; type == LUA_TTABLE && upper < 2; upper++)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
            bool has_upper = false;
            for (const char *p = name; *p; p++)
                has_upper |= *p >= 'A' && *p <= 'Z';
            if (has_upper == (upper == 1))
                put_header(L, b, may_be_secret);
        }
    lua_pop(L, 1);
}

static void same(lua_State *L, const char *name)
{
    lua_getfield(L, 4, name);
    lua_getfield(L, REQUEST + 2, name);
    if (!lua_isnil(L, -2) && !lua_rawequal(L, -1, -2))
        luaL_error(L, "a handler does not change %s: use the rule's \"upstream\"", name);
    lua_pop(L, 2);
}

int handler_read_result(lua_State *L)
{
    struct buf *b = lua_touserdata(L, 5);

    lua_settop(L, 4);
    if (lua_isnil(L, 4)) {
        lua_pushvalue(L, REQUEST);
        lua_replace(L, 4);
    }
    if (lua_type(L, 4) != LUA_TTABLE)
        return luaL_error(L, "a handler returns a request, an answer or nothing, not %s", luaL_typename(L, 4));
    bool answers = lua_getfield(L, 4, "status") != LUA_TNIL;
    lua_pop(L, 1);
    record_put(b, answers ? 'A' : 'S', NULL, 0);
    if (answers)
        put_field(L, b, 4, "status", 'c', true);
    else {
        same(L, "scheme");
        same(L, "host");
        same(L, "port");
        put_field(L, b, 4, "method", 'm', true);
        put_field(L, b, 4, "path", 'p', true);
        put_field(L, b, 4, "query", 'q', false);
    }
    put_headers(L, b, 4, !answers);
    if (answers)
        put_field(L, b, 4, "body", 'b', false);
    return 0;
}
