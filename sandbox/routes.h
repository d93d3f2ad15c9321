/* The tables of routes, one for each file that has some; main.c adds them all. */
#pragma once
#include "sandbox/http/http.h"
