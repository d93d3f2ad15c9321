#pragma once
struct http;
void box_metrics(struct http *h);        /* adds the gauges of sandboxes to /metrics */
