#!/usr/bin/env python3
"""Lets reads, writes and syncs of the log's files fail (ENOSPC, EIO, short writes) in the proxy or in the log service.

A small library is compiled with cc and preloaded; see faults.c for what it cannot see.
Promise: neither process ends, no request fails, what is lost is declared, and all later records are stored.
"""

import atexit
import errno
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# Calls, errno, and how many of a thousand fail.
TROUBLE = (
    ("write", errno.ENOSPC, 1000),
    ("write,create,allocate,truncate", errno.ENOSPC, 300),
    ("write", errno.EIO, 200),
    ("fsync", errno.EIO, 1000),
    ("fsync", errno.EIO, 200),
    ("short", errno.EIO, 300),
    ("create,rename,unlink,truncate,allocate", errno.EIO, 500),
    ("read", errno.EIO, 100),
)
NTH = 6
# So that a segment of a mebibyte, the smallest, is full in a few seconds.
RATE = 1000


def main():
    wanted = scenes.arguments(__doc__, of_alike=5, seconds=(5, "how long the trouble lasts"))
    library = compiled()
    chance = random.Random(wanted.seed)
    play = []
    for who, layout in (("proxy", "separate"), ("service", "separate"), ("service", "embedded")):
        for calls, number, permille in TROUBLE:
            name = f"{who}, {layout}: {calls} fail with {errno.errorcode[number]}, {permille / 10:.0f} % of them"
            play.append((name, scene(wanted, library, who, layout, f"{calls} {number} {permille} 0")))
        for _ in range(NTH):
            calls, nth = chance.choice(("write", "fsync", "short", "rename", "create")), chance.randrange(1, 30)
            name = f"{who}, {layout}: one {calls} fails with EIO, the {nth}th"
            play.append((name, scene(wanted, library, who, layout, f"{calls} {errno.EIO} 0 {nth}")))
    scenes.play(wanted, play)


def compiled():
    place = tempfile.TemporaryDirectory(prefix="tollgate-faults-")
    atexit.register(place.cleanup)
    library = os.path.join(place.name, "faults.so")
    words = ["cc", "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "faults.c"), "-ldl"]
    if subprocess.run(words).returncode != 0:
        sys.exit("faults: needs a C compiler (cc)")
    return library


def scene(wanted, library, who, layout, trouble):
    def act(folder, verdict):
        places = {name: os.path.join(folder, "disk", name) for name in ("data", "spool")}
        # Small segments, so that files are made and removed while calls fail.
        stage = stages.Stage(wanted.tollgate, folder, layout, segment="1MiB", **places)
        os.mkdir(os.path.join(folder, "disk"))
        switch, count = os.path.join(folder, "switch"), os.path.join(folder, "faults.txt")
        environment = {
            "LD_PRELOAD": library, "FAULTS_BELOW": os.path.join(folder, "disk"), "FAULTS_SWITCH": switch, "FAULTS_COUNT": count,
            "FAULTS_WHO": "logs serve" if who == "service" else " run ",
        }
        stage.proxy_environment = environment if who == "proxy" or layout == "embedded" else {}
        stage.service_environment = environment if who == "service" else {}
        scenes.Scene(stage, verdict, wanted.seed, RATE).play(lambda one: troubled(one, switch, count, trouble, wanted.seconds))

    return act


async def troubled(scene, switch, count, trouble, seconds):
    if not await scene.start():
        return
    await scene.load(1)
    before = scene.pids()
    with open(switch + ".new", "w", encoding="utf-8") as file:
        file.write(trouble)
    os.rename(switch + ".new", switch)
    await scene.load(seconds)
    os.unlink(switch)
    scene.promise_alive(before, "while calls failed")
    scene.verdict.note(f"faults: {faults(count) or 'none: this build makes no such call then'}")
    # A sink that was refused may wait a little before it tries again.
    await scene.load(2)
    certain = scene.ledger.sent + 1
    await scene.load(1)
    scene.promise_alive(before, "afterwards")
    scene.promise_served("in all")
    await scene.settle(certain)


def faults(count):
    try:
        with open(count, encoding="utf-8") as lines:
            told = [line.split() for line in lines]
    except FileNotFoundError:
        return {}
    return {call: sum(1 for one in told if one[0] == call) for call in {one[0] for one in told}}


if __name__ == "__main__":
    main()
