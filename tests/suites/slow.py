#!/usr/bin/env python3
"""Five kinds of slow clients, many of each at once, against the default timeouts. Usage: slow.py [CONNECTIONS]

Every kind but one has to be cut within 30 s: an idle keep-alive connection costs little (it is parked), and clients
like to find it open, so it stays for `timeouts.idle`, 75 s by default. Meanwhile an honest client is timed.
"""

import asyncio
import collections
import sys
import time

sys.dont_write_bytecode = True
import ground

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100
LIMITS = {"silent": 30, "half a head": 30, "a field every 2 s": 30, "a body byte every 2 s": 30, "idle keep-alive": 80}
WATCH = 95
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
KINDS = {
    "silent": (b"", b""),
    "half a head": (HEAD, b""),
    "a field every 2 s": (HEAD, b"X-A: b\r\n"),
    "a body byte every 2 s": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "idle keep-alive": (HEAD + b"\r\n", b""),
}


async def slow(port, tls, first, again):
    """Seconds until the connection was closed, and what was said before."""
    context = {"ssl": ground.unverified(), "server_hostname": "localhost"} if tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **context)
    start = time.monotonic()
    writer.write(first)
    said = bytearray()
    read = asyncio.ensure_future(reader.read(65536))
    try:
        while time.monotonic() - start < WATCH:
            done, _ = await asyncio.wait({read}, timeout=2)
            if done:
                part = read.result()
                if not part:
                    break
                said += part
                read = asyncio.ensure_future(reader.read(65536))
            elif again:
                writer.write(again)
    except OSError:
        pass
    writer.close()
    read.cancel()
    return time.monotonic() - start, bytes(said[9:12]).decode()


async def honest(port, until, times):
    while time.monotonic() < until:
        start = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        assert b" 200 " in await reader.read()
        writer.close()
        times.append(time.monotonic() - start)
        await asyncio.sleep(0.1)


async def main(tollgate):
    times = []
    watcher = asyncio.ensure_future(honest(tollgate.http, time.monotonic() + WATCH - 5, times))
    jobs = {}
    for tls in (False, True):
        port = tollgate.https if tls else tollgate.http
        for kind, (first, again) in KINDS.items():
            jobs[kind, tls] = [asyncio.ensure_future(slow(port, tls, first, again)) for _ in range(COUNT)]
    failed = 0
    for (kind, tls), tasks in jobs.items():
        ends = await asyncio.gather(*tasks)
        slowest = max(seconds for seconds, _ in ends)
        failed += slowest > LIMITS[kind]
        verdict = "ok" if slowest <= LIMITS[kind] else "FAIL"
        words = dict(collections.Counter(status or "closed" for _, status in ends))
        print(f"{verdict} {kind} ({'TLS' if tls else 'plain'}): all {COUNT} closed after {slowest:.1f} s, answers {words}")
    watcher.cancel()
    times.sort()
    print(f"honest client meanwhile: {len(times)} requests, p99 {times[len(times) * 99 // 100] * 1000:.1f} ms")
    return failed


origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port), ["max_connections_per_ip = 4000"]) as tollgate:
    failed = asyncio.run(main(tollgate))
sys.exit(bool(failed))
