#!/usr/bin/env python3
"""A log service that is not there: not started, a port that swallows everything, one that refuses or talks nonsense.

Promise: no request notices (no 5xx, hardly a change of the 99th percentile), what waits is bounded on disk and in memory,
and when the service comes everything is delivered once, or declared lost where the bound was reached.
"""

import asyncio
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import load  # noqa: E402
import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402

# The machine may be busy: only a change that a user would feel counts.
SLOWER_ALLOWED, SLOWER_FLOOR = 3.0, 0.05
SPOOL = 4
# A double is cancelled when the real service comes.
GONE = (OSError, asyncio.CancelledError)


def main():
    wanted = scenes.arguments(__doc__, seconds=(8, "how long the service is away"), rate=(300, "requests a second"))
    scenes.play(wanted, [
        ("never there until the end", scene(wanted, None)),
        ("a port that swallows everything", scene(wanted, swallow)),
        ("a port that closes at once", scene(wanted, close_at_once)),
        ("a service that answers 503 to everything", scene(wanted, refuse)),
        ("a service that answers nonsense", scene(wanted, nonsense)),
        ("a service that answers 200 and keeps nothing, one byte a second", scene(wanted, trickle)),
        ("goes away and comes back, again and again", scene(wanted, "flapping")),
        ("away until the bound is reached", scene(wanted, None, is_small=True)),
        ("away, and the proxy is killed and started again meanwhile", scene(wanted, None, is_killed=True)),
        ("away, and the proxy is stopped in order and started again meanwhile", scene(wanted, None, is_killed="stop")),
    ])


def scene(wanted, double, is_small=False, is_killed=False):
    def act(folder, verdict):
        stage = stages.Stage(wanted.tollgate, folder, "separate", spool_size=f"{SPOOL}MiB" if is_small else "256MiB",
                             buffer=f"{SPOOL}MiB" if is_small else None)
        rate = wanted.rate * (4 if is_small else 1)
        one = scenes.Scene(stage, verdict, wanted.seed, rate)
        one.play(lambda one: away(one, double, wanted.seconds, is_small, is_killed))

    return act


async def away(scene, double, seconds, is_small, is_killed):
    if not await scene.start():
        return
    await scene.load(3)
    usual = load.percentile(scene.ledger.durations, 0.99)
    await asyncio.to_thread(leave, scene.stage)
    scene.ledger.durations.clear()
    before = scene.pids()[0]
    if double == "flapping":
        await flap(scene, seconds)
    else:
        await without_service(scene, double, seconds, is_killed)
    if not is_killed:
        scene.verdict.promise(scene.pids()[0] == before, "the proxy runs on")
    judge_latency(scene, usual)
    bound = (SPOOL if is_small else 256) * 1024 * 1024
    held = stages.size_of(scene.stage.spool) if os.path.isdir(scene.stage.spool) else 0
    scene.verdict.promise(held <= bound * 1.5 + (64 << 20), f"the spool holds {held >> 10} KiB, bound {bound >> 10} KiB")
    scene.verdict.note(f"resident memory of the proxy: {resident(scene.stage.proxy.pid)} KiB")
    scene.stage.start_service() if scene.stage.service_pid() is None else None
    await asyncio.sleep(1)
    certain = scene.ledger.sent + 1
    await scene.load(1)
    if is_killed:
        scene.verdict.promise(not scene.ledger.failed(), f"{len(scene.ledger.finished)} answers in all; {scene.ledger.failed()} of 5xx")
    else:
        scene.promise_served("in all")
    if is_small:
        await scene.settle(certain, losses_allowed=True)
    else:
        await scene.settle(0, losses_allowed=False)


def leave(stage):
    stage.service.terminate()
    stage.service.wait(30)


async def without_service(scene, double, seconds, is_killed):
    server = await asyncio.start_server(double, "127.0.0.1", scene.stage.service_port, reuse_address=True) if double else None
    await scene.load(seconds / 2)
    if is_killed == "stop":
        code = await asyncio.to_thread(lambda: stages.stopped(scene.stage.proxy, 30))
        scene.verdict.promise(code == 0, f"it ends in order though its service is away (exit {code})")
    elif is_killed:
        scene.stage.kill("proxy")
    if is_killed:
        scene.stage.start_proxy()
        await scene.ready()
    await scene.load(seconds / 2)
    if server:
        server.close()
        for task in asyncio.all_tasks():
            if task.get_coro().__qualname__ == getattr(double, "__qualname__", None):
                task.cancel()
        await asyncio.sleep(0.3)


async def flap(scene, seconds):
    until = time.monotonic() + seconds
    work = asyncio.create_task(scene.load(seconds))
    while time.monotonic() < until:
        scene.stage.start_service()
        await asyncio.sleep(0.7)
        scene.stage.kill("service")
        await asyncio.sleep(0.4)
    await work


def judge_latency(scene, usual):
    now = load.percentile(scene.ledger.durations, 0.99)
    slow = now > usual * SLOWER_ALLOWED and now > SLOWER_FLOOR + usual
    scene.verdict.promise(not slow, f"99 % of the answers within {now * 1000:.1f} ms, {usual * 1000:.1f} ms with the service")


def resident(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))
    except (FileNotFoundError, AttributeError):
        return None


async def swallow(reader, writer):
    try:
        while await reader.read(65536):
            pass
    except GONE:
        pass
    finally:
        writer.close()


async def close_at_once(_reader, writer):
    writer.close()


async def refuse(reader, writer):
    await said(reader, writer, b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def nonsense(reader, writer):
    await said(reader, writer, b"\x00\xff\x16\x03 what do you want of me\r\n\r\n" * 50)


async def trickle(_reader, writer):
    try:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)
    except GONE:
        pass
    finally:
        writer.close()


async def said(reader, writer, answer):
    try:
        await reader.read(4096)
        writer.write(answer)
        await writer.drain()
    except GONE:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    main()
