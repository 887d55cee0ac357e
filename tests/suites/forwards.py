#!/usr/bin/env python3
"""The forwarding oracle: thousands of malformed and awkward requests, judged by the bytes that reach an origin.

Usage: forwards.py [--http11probe CHECKOUT] [--smuggler CHECKOUT] [--llhttp CHECKOUT] [--tls]

Our own mutations always run. Dirty is what real origins read in different ways (the rules are in ground.py), and
every request there that does not carry an id made by tollgate. Passes with 0 dirty and at least 100 forwarded.
"""

import argparse
import collections
import sys

sys.dont_write_bytecode = True
import ground
import payloads

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for source in ("http11probe", "smuggler", "llhttp"):
    parser.add_argument(f"--{source}")
parser.add_argument("--tls", action="store_true")
options = parser.parse_args()


def requests():
    yield from payloads.mutations()
    yield from payloads.combinations()
    if options.http11probe:
        yield from ((name, raw) for name, _, raw in payloads.http11probe_data(options.http11probe) if raw)
        yield from payloads.http11probe_source(options.http11probe)
    if options.smuggler:
        yield from payloads.smuggler(options.smuggler)
    if options.llhttp:
        yield from payloads.llhttp(options.llhttp)


def new_bytes(origin, seen):
    """What each upstream connection got since the last look; `seen` keeps how far it was read."""
    for index, raw in enumerate(list(origin.connections)):
        before, after = seen.get(index, 0), len(raw)
        if after > before:
            seen[index] = after
            yield index, bytes(raw[before:after])


count, statuses, dirty, odd = collections.Counter(), collections.Counter(), [], []
seen = {}
origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
    port = tollgate.https if options.tls else tollgate.http
    for name, raw in requests():
        reply = ground.send_raw(port, raw, options.tls, quiet=0.25, settle=0.01)
        got = list(new_bytes(origin, seen))
        family = name.partition("/")[0] if "/" in name else "http11probe"
        count[family, "sent"] += 1
        statuses[reply.status] += 1
        try:
            for _, part in got:
                ground.judge(part)
            count[family, "forwarded" if got else "held"] += 1
        except ground.Dirty as why:
            count[family, "dirty"] += 1
            dirty.append((name, str(why), raw))
        if reply.status and reply.status >= 500 and reply.status not in (501, 505):
            odd.append((name, f"answered {reply.status}", raw))

for name, why, raw in dirty:
    print(f"DIRTY {name}: {why}: {raw!r}")
for name, why, raw in odd[:60]:
    print(f"odd {name}: {why}: {raw[-160:]!r}")
for (family, what), number in sorted(count.items()):
    print(f"{family:12} {what:10} {number}")
print("statuses:", dict(statuses.most_common()))
forwarded = sum(number for (_, what), number in count.items() if what == "forwarded")
print(f"forwards: {len(dirty)} dirty, {forwarded} forwarded of {sum(statuses.values())}, {len(odd)} odd")
sys.exit(bool(dirty) or forwarded < 100)
