#pragma once
#include "sandbox/http/http.h"
struct http_trial { uint64_t gone, freed, waiting, sunk, wrong, most_queued, messages, closed, strayed /* hooks beside the loop */; };
extern struct http_trial trial;
extern const struct http_route trial_routes[];
