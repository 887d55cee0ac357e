#!/usr/bin/env python3
"""Lets the disk of the log service, of the spool, or of both run full (a tmpfs of 16 MiB), then makes room again.

Promise: neither process ends, no request fails, every loss is declared, and all later records are stored.
Mounting needs root; without it the test says so and exits 2.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402

PIECE = 64 * 1024


def main():
    wanted = scenes.arguments(__doc__, mib=(16, "size of the disk"), seconds=(6, "how long the disk is full"))
    if os.geteuid() != 0:
        print("disk: not possible here: mounting a tmpfs needs root. Nothing was tested.")
        sys.exit(2)
    play = []
    for layout in ("embedded", "separate"):
        play.append((f"{layout}: the service's disk is full", scene(wanted, layout, "data")))
        play.append((f"{layout}: the spool's disk is full", scene(wanted, layout, "spool")))
        play.append((f"{layout}: one disk for both is full", scene(wanted, layout, "both")))
    for layout in ("embedded", "separate"):
        play.append((f"{layout}: data and stderr are on the full disk", scene(wanted, layout, "both", with_stderr=True)))
    play.append(("separate: the disk is full before the start", scene(wanted, "separate", "both", full_first=True)))
    play.append(("separate: the service is away until the spool's disk is full", scene(wanted, "separate", "spool", away=True)))
    scenes.play(wanted, play)


def scene(wanted, layout, what, full_first=False, away=False, with_stderr=False):
    def act(folder, verdict):
        disk = os.path.join(folder, "disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={wanted.mib}m", "tollgate-test", disk])
        if mounted.returncode != 0:
            return verdict.skip("a tmpfs cannot be mounted here")
        places = {name: os.path.join(disk, name) for name in ("data", "spool") if what in (name, "both")}
        stage = stages.Stage(wanted.tollgate, folder, layout, spool_size="1GiB", **places)
        if with_stderr:
            stage.errors = os.path.join(disk, "stderr.txt")
        play = scenes.Scene(stage, verdict, wanted.seed, rate=300)
        try:
            play.play(lambda one: filled(one, disk, wanted.seconds, what, full_first, away))
        finally:
            subprocess.run(["umount", "-l", disk])

    return act


async def filled(scene, disk, seconds, what, full_first, away):
    if what == "spool" and not scene.stage.has_spool:
        return scene.verdict.skip("this build has no spool")
    if full_first:
        fill(disk)
    if away:
        scene.stage.start_proxy()
        if not await scene.ready():
            return
    elif not await scene.start():
        return
    await scene.load(1.5)
    before = scene.pids()
    if scene.stage.errors.startswith(disk):
        fill_page(scene.stage.errors)
    scene.verdict.note(f"filled: {fill(disk) // 1024} KiB beside what tollgate has")
    await scene.load(seconds)
    fill(disk)
    await scene.load(1)
    scene.verdict.note(f"room now: {room(disk) // 1024} KiB; stderr: {scene.stage.said()[-300:]!r}")
    scene.promise_alive(before, "while the disk was full")
    empty(disk)
    if away:
        scene.stage.start_service()
        before = (before[0], scene.pids()[1])
    await scene.load(4)
    certain = scene.ledger.sent + 1
    await scene.load(2)
    scene.promise_alive(before, "afterwards")
    scene.promise_served("in all")
    await scene.settle(certain)


def fill(disk):
    """Takes all the room that is left; how much that was."""
    taken = 0
    with open(os.path.join(disk, f"filler-{os.urandom(4).hex()}"), "wb", buffering=0) as file:
        for size in (PIECE, 4096, 1):
            try:
                while True:
                    taken += file.write(b"\0" * size)
            except OSError:
                continue
    return taken


def fill_page(path):
    """What is left of the last page of a file would take the next lines though the disk is full."""
    with open(path, "ab") as file:
        file.write(b" " * (-os.path.getsize(path) % 4096 - 1) + b"\n")


def empty(disk):
    for name in os.listdir(disk):
        if name.startswith("filler-"):
            os.unlink(os.path.join(disk, name))


def room(disk):
    now = os.statvfs(disk)
    return now.f_bavail * now.f_frsize


if __name__ == "__main__":
    main()
