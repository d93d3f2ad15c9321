/* Is it one Lua function? Compiled, never run here. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include "sandbox/egress/policy_private.h"

const char *handler_check(const char *source, char why[160])
{
    lua_State *L = luaL_newstate();
    const char *ret = NULL;

    if (!L)
        return snprintf(why, 160, "no memory"), why;
    lua_pushliteral(L, "return ");
    lua_pushstring(L, source);
    lua_concat(L, 2);
    const char *text = lua_tostring(L, -1);
    if (strncmp(source + strspn(source, " \t\r\n"), "function", 8))
        ret = "must be \"function(request, context) ... end\"";
    else if (luaL_loadbufferx(L, text, strlen(text), "=handler", "t"))
        ret = lua_tostring(L, -1);
    if (ret)
        snprintf(why, 160, "%s", ret);
    lua_close(L);
    return ret ? why : NULL;
}
