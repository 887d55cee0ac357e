#!/usr/bin/env python3
"""Steps the clock of both programs while they run and between two starts (libfaketime, Debian package faketime).

Promise: every answer is stored exactly once, whatever the clock says; no stream is taken for an older one.
"""

import asyncio
import glob
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402

# Today, as retention deletes what is old.
STILL = time.strftime("%Y-%m-%d 00:00:00")
LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1"


def main():
    wanted = scenes.arguments(__doc__)
    library = next((path for pattern in LIBRARIES for path in glob.glob(pattern)), None)
    if not library:
        print("clock: not possible here: libfaketime is not installed (Debian: apt-get install faketime). Nothing was tested.")
        sys.exit(2)
    scenes.play(wanted, [
        ("an hour forward while it runs", scene(wanted, library, stepping, ["+0", "+3600"])),
        ("an hour back while it runs", scene(wanted, library, stepping, ["+0", "-3600"])),
        ("to and fro by days while it runs", scene(wanted, library, stepping, ["+0", "-86400", "+172800", "-60", "+0"])),
        ("by half a second to and fro", scene(wanted, library, stepping, ["+0.5", "-0.5", "+0", "-1", "+1"])),
        ("two hours back between two starts", scene(wanted, library, restarting, ["+0", "-7200"])),
        ("back by a day between two deaths", scene(wanted, library, dying, ["+0", "-86400", "+0"])),
        ("20 days back between two deaths", scene(wanted, library, dying, ["+0", "-1728000", "+0"])),
        ("1970 between two deaths", scene(wanted, library, dying, ["+0", "@1970-01-02 00:00:00", "+0"])),
        ("the same moment at two starts", scene(wanted, library, restarting, ["@" + STILL, "@" + STILL])),
        ("a clock that stands still, two deaths: both runs are born in the same millisecond",
         scene(wanted, library, dying, [STILL, STILL])),
    ])


def scene(wanted, library, how, times):
    def act(folder, verdict):
        stage = stages.Stage(wanted.tollgate, folder, "separate")
        clock = os.path.join(folder, "clock")
        stage.proxy_environment = stage.service_environment = {
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_CACHE_DURATION": "0",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }
        scenes.Scene(stage, verdict, wanted.seed).play(lambda one: how(one, clock, times))

    return act


def set_clock(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.rename(path + ".new", path)


async def stepping(scene, clock, times):
    set_clock(clock, times[0])
    if not await scene.start():
        return
    before = scene.pids()
    for text in times:
        set_clock(clock, text)
        await scene.load(1.5)
    scene.promise_alive(before, "when the clock was set")
    scene.promise_served("in all")
    await scene.settle(0, losses_allowed=False)


async def restarting(scene, clock, times):
    await again(scene, clock, times, scene.stage.stop)


async def dying(scene, clock, times):
    await again(scene, clock, times, lambda: scene.stage.kill("both"))


async def again(scene, clock, times, end):
    for turn, text in enumerate(times):
        set_clock(clock, text)
        if turn:
            await asyncio.to_thread(end)
        if not await scene.start():
            return
        await scene.load(1.5)
    scene.promise_served("in all")
    await scene.settle(0, losses_allowed=False)


if __name__ == "__main__":
    main()
