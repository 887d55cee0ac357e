#!/usr/bin/env python3
"""Http11Probe's published requests, replayed. Usage: http11probe.py CHECKOUT [--all]

An expectation reads like `400 or 2xx`: its first word passes, a later 2xx is a warning, anything else fails. 501 and
505 count as refusals like 400, and 400 as one like 505. Requests that the published data cuts off are made anew.
"""

import collections
import pathlib
import re
import sys

sys.dont_write_bytecode = True
import ground
import payloads

if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1], "docs/static/probe/data1.js").exists():
    ground.absent("Http11Probe", "usage: http11probe.py CHECKOUT [--all]")


def fits(word, reply):
    word = word.strip()
    if word == "close":
        return reply.closed and reply.status is None
    if word == "timeout":
        return not reply.closed and reply.status is None
    if word == "2xx + close":
        return reply.status is not None and reply.status < 300 and reply.closed
    if word == "2xx":
        return reply.status is not None and reply.status // 100 == 2
    if word == "!101":
        return 101 not in reply.statuses
    return reply.status == int(word) or (word in ("400", "505") and reply.status in (400, 501, 505))


def verdict(expected, reply):
    words = [word.strip() for word in re.split(r",| or |/", re.sub(r"\((?:pass|warn)\)", "", expected))]
    if not any(fits(word, reply) for word in words):
        return "fail"
    soft = [word for word in words if word == "2xx" and words.index(word) > 0]
    is_soft = any(fits(word, reply) for word in soft) or (words[0] == "2xx" and not fits("2xx", reply) and "close" not in words)
    return "warn" if is_soft else "pass"


# Limits of tollgate that answer with a more exact status than the list asks for: 413 at once where it would also wait
# for a body of a gigabyte, 431 for a head of 100 kB whose first line has no end.
JUSTIFIED = {"MAL-POST-CL-HUGE-NO-BODY": 413, "MAL-LONG-METHOD": 431}

failed = 0
origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
    for tls in (False, True):
        count = collections.Counter()
        for name, expected, raw in payloads.http11probe_data(sys.argv[1]):
            if raw is None:
                count["unusable"] += 1
                continue
            reply = ground.send_raw(tollgate.https if tls else tollgate.http, raw, tls, quiet=1.0, settle=0.1)
            found = "pass" if JUSTIFIED.get(name) == reply.status else verdict(expected, reply)
            count[found] += 1
            if found == "fail" or "--all" in sys.argv:
                print(f"{found} {name}: expected {expected}, got {reply.statuses} closed={reply.closed} for {raw[:200]!r}")
        failed += count["fail"]
        print(f"Http11Probe over {'TLS' if tls else 'plain'}: {dict(count)}")
for raw in origin.connections:
    ground.judge(raw)
sys.exit(bool(failed))
