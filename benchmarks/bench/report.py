"""Tables for people out of the results."""
from .machine import summary


def number(x):
    if x >= 100:
        return "%.0f" % x
    return "%.2f" % x if x >= 1 else "%.3f" % x


def workload_table(results, peers, base="ext4"):
    """Rows are workloads: seconds of the base (median), then every peer's time divided by the base's; and coppice against zerofs."""
    others = [p for p in peers if p != base]
    lines = ["%-30s %10s" % ("workload", base + " s") + "".join("%16s" % p for p in others) + "%16s" % "coppice/zerofs"]
    for work, by_peer in results.items():
        if base not in by_peer:
            continue
        zero = summary(by_peer[base])["median"]
        row = "%-30s %10s" % (work, number(zero))
        for p in others:
            row += "%16s" % ("%.2f (%s)" % (summary(by_peer[p])["median"] / max(zero, 1e-9), number(min(by_peer[p]))) if p in by_peer else "-")
        if "coppice" in by_peer and "zerofs" in by_peer:
            row += "%16.2f" % (summary(by_peer["coppice"])["median"] / max(summary(by_peer["zerofs"])["median"], 1e-9))
        lines.append(row)
    lines.append("Ratios of medians to %s; in brackets the least seconds of that file system." % base)
    return "\n".join(lines)


def flat(prefix, value, out):
    if isinstance(value, dict) and set(value) == {"median", "min", "max", "n"}:
        out.append((prefix, "%10.3f ms median  %10.3f least  %10.3f most  of %d" % (*(value[k] * 1000 for k in ("median", "min", "max")), value["n"])))
    elif isinstance(value, dict):
        for k, v in value.items():
            flat(prefix + " · " + str(k) if prefix else str(k), v, out)
    elif isinstance(value, float):
        out.append((prefix, "%10.3f" % value))
    else:
        out.append((prefix, "%10s" % (value,)))


def list_table(value):
    out = []
    flat("", value, out)
    width = max((len(k) for k, _ in out), default=0)
    return "\n".join("%-*s  %s" % (width, k, v) for k, v in out)
