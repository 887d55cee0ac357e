#!/usr/bin/env python3
"""Damages each kind of file that the log leaves on disk, then starts again and compares every record.

A population of records is left behind by a kill -9 (rings, spool, write-ahead files) and by orderly stops (files of the
store). Promise: it starts and serves; a record is intact or gone, never changed and never doubled; damage to one file
costs no record of another file; whatever is gone is told (stderr, a gap record, or the completeness line).
"""

import asyncio
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402
import stored  # noqa: E402

# The service's own members: a record that is delivered later or again gets others.
OWN = ("recv", "from", "c")
NOT_DAMAGED = re.compile(r"(^|/)(\.?lock|.*\.lock|.*\.sock|tollgate\.toml|[a-z-]+\.txt)$")


def main():
    wanted = scenes.arguments(__doc__, of_alike=4, each=(1, "how many files of a kind are damaged in each way"))
    with stages.Folder(wanted.keep) as folder:
        home = os.path.join(folder, "home")
        scenario = asyncio.run(populate(wanted, home))
        play = [
            (f"{kind}: {name}", damaged(wanted, home, scenario, path, harm))
            for kind, paths in sorted(kinds(home).items())
            for path in random.Random(f"{wanted.seed}{kind}").sample(paths, min(wanted.each, len(paths)))
            for name, harm in HARM.items()
        ]
        print(f"left behind: { {kind: len(paths) for kind, paths in kinds(home).items()} }")
        scenes.play(wanted, play)


class Scenario:
    """What the undamaged folder tells when it is started again: the truth that all others are compared with."""

    def __init__(self, origin_port, ports, ledger):
        self.origin_port, self.ports, self.ledger = origin_port, ports, ledger
        self.truth = {}
        # What it says when nothing is damaged (it was killed, after all) tells nothing about damage.
        self.usual = set()
        # By path: the records that are gone when the whole file is.
        self.only_there = {}


async def populate(wanted, home):
    """An orderly stop (files of the store), then a dead service (the spool grows), then a death of both (rings)."""
    stage = stages.Stage(wanted.tollgate, home, "separate", spool_size="256MiB")
    verdict = stored.Verdict()
    scene = scenes.Scene(stage, verdict, wanted.seed, rate=300)
    try:
        await scene.open()
        await scene.start()
        await scene.load(3)
        stage.stop()
        await scene.start()
        await scene.load(3)
        stage.kill("service")
        # Not after it: a ring that has been drained has nothing to lose.
        burst = asyncio.create_task(scene.load(3))
        await asyncio.sleep(3 * scenes.PACE["of"] * 0.8)
        stage.kill("proxy")
        await burst
    finally:
        stage.end_everything()
    if verdict.broken:
        sys.exit("torn: the population could not be made")
    scenario = Scenario(None, (stage.http, stage.service_port), scene.ledger)
    scenario.truth = await truth_of(wanted, home, scenario)
    lost = [one for one in scene.ledger.finished.values() if one not in scenario.truth]
    print(f"{'FAIL' if lost else 'ok  '} {len(lost)} records gone after the kill -9 without any damage")
    if lost:
        sys.exit(1)
    print(f"{len(scenario.truth)} records in the undamaged folder, {len(scene.ledger.finished)} answers seen whole")
    return scenario


async def truth_of(wanted, home, scenario):
    copy = home + "-undamaged"
    stage = revived(wanted, home, copy, scenario)
    scene = scenes.Scene(stage, stored.Verdict(), wanted.seed)
    try:
        await scene.open()
        await scene.start()
        await drained(stage)
        stage.stop()
        scenario.usual = {shape(line) for line in stage.said().splitlines()}
        return records(stage)
    finally:
        stage.end_everything()
        shutil.rmtree(copy)


def revived(wanted, home, copy, scenario):
    """The same folder at another place, with the same ports in its config."""
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.sock"))
    stage = stages.Stage(wanted.tollgate, copy, "separate", spool_size="256MiB")
    # A sink is known by its address: at another one it would be a new sink, which is owed nothing.
    stage.http, stage.service_port = scenario.ports
    open(stage.errors, "w").close()
    return stage


async def drained(stage):
    """Until two looks see the same and the service has answered both."""
    last, same = None, 0
    for _ in range(60):
        found = await asyncio.to_thread(stored.read, stage, True)
        same = same + 1 if found.code == 0 and found.rows == last else 0
        last = found.rows
        if same >= 3:
            return
        await asyncio.sleep(0.4)


def records(stage):
    """Every request's record by its id, without the service's own members, and how often it is there."""
    words = [stage.program, "logs", "search", "-o", "json", "--since", "all", "-n", stored.ALL, "--data", stage.data]
    found = {}
    for line in subprocess.run(words, capture_output=True, timeout=120).stdout.splitlines():
        row = json.loads(line)
        # The test asks for `/nowhere` to see whether it runs.
        if row.get("kind") in stored.FINAL and row.get("path") != "/nowhere":
            row = {name: value for name, value in row.items() if name not in OWN}
            found.setdefault(row["id"], []).append(row)
    return found


def kinds(home):
    """The files of the log by kind: the folder and the name without numbers."""
    found = collections.defaultdict(list)
    for place, _, names in os.walk(home):
        for name in names:
            path = os.path.relpath(os.path.join(place, name), home)
            if os.path.isfile(os.path.join(home, path)) and not NOT_DAMAGED.search(path) and os.path.getsize(os.path.join(home, path)):
                found[re.sub(r"[0-9a-f]{8,}|[\d-]+", "N", path)].append(path)
    return {kind: sorted(paths) for kind, paths in found.items()}


def damaged(wanted, home, scenario, path, harm):
    def act(folder, verdict):
        chance = random.Random(f"{wanted.seed}{path}{harm.__name__}")
        copy = os.path.join(folder, "copy")
        stage = revived(wanted, home, copy, scenario)
        verdict.note(f"{path}: {harm(os.path.join(copy, path), chance)}")
        scenes.Scene(stage, verdict, wanted.seed).play(lambda scene: after_damage(scene, scenario, path))

    return act


async def after_damage(scene, scenario, path):
    if not await scene.start():
        return
    await scene.load(1)
    before = scene.pids()
    await drained(scene.stage)
    scene.promise_alive(before, "after the start")
    scene.promise_served("in all")
    codes = await asyncio.to_thread(scene.stage.stop)
    scene.verdict.promise(not any(codes), f"both end in order after SIGTERM (exit {codes})")
    result = await asyncio.to_thread(stored.read, scene.stage)
    found = await asyncio.to_thread(records, scene.stage)
    compare(scene, scenario, found, result, path)


def compare(scene, scenario, found, result, path):
    promise, truth = scene.verdict.promise, scenario.truth
    changed = [one for one in truth if one in found and found[one][0] != truth[one][0]]
    promise(not changed, f"{len(changed)} records changed {[(truth[one][0], found[one][0]) for one in changed[:1]] or ''}")
    twice = [one for one, rows in found.items() if len(rows) > 1]
    promise(not twice, f"{len(twice)} records twice {twice[:2] or ''}")
    late = [one for one in scene.ledger.finished.values() if one not in found]
    promise(not late, f"{len(late)} of {len(scene.ledger.finished)} later records are missing")
    # Connections of its own load that end without a request.
    boots = {rows[0]["boot"] for rows in truth.values()}
    own = {one for one, rows in found.items() if rows[0]["kind"] == "conn" and rows[0]["boot"] not in boots}
    strangers = [one for one in found if one not in truth and one not in own and one not in scene.ledger.finished.values()]
    promise(not strangers, f"{len(strangers)} records from nowhere {[found[one][0] for one in strangers[:1]] or ''}")
    gone = [one for one in truth if one not in found]
    within = scenario.only_there.setdefault(path, set(gone))
    beyond = [one for one in gone if one not in within]
    promise(not beyond, f"{len(beyond)} records gone that stay when the whole file is removed")
    told = [line for line in scene.stage.said().splitlines() if shape(line) not in scenario.usual and re.search("WARN|ERROR", line)]
    is_incomplete = not re.search(r"rows?, complete", result.last_line)
    promise(not gone or told or is_incomplete, f"{len(gone)} of {len(truth)} records gone, and it is told on stderr or by the last line")
    promise(not gone or is_incomplete, f"{len(gone)} records gone, and the last line says that something is missing")
    is_known = any("records that were still in it are lost" in line for line in told)
    promise(not is_known or is_incomplete, "what the program knows to be lost the last line says, whether that was anything or nothing")
    scene.verdict.note(f"gone {len(gone)}; gaps {result.reasons()}; last line {result.last_line!r}; stderr {told[:2]}")
    _, undeclared = result.missing_numbers()
    holes = sum(map(len, undeclared.values()))
    # A file of the store that is damaged at rest: nobody has these records any more, so `unexplained` is the truth.
    promise(holes <= len(gone), f"{holes} numbers missing and not declared, {len(gone)} records gone")
    promise(not scene.stage.panics(), f"no panic {scene.stage.panics()[:2] or ''}")


def shape(line):
    """A line of stderr without times, numbers and paths."""
    return re.sub(r"\S*[/\d]\S*", "", stages.plain(line))


def bit(path, chance):
    """Flips one bit."""
    with open(path, "r+b") as file:
        at = chance.randrange(os.path.getsize(path))
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ (1 << chance.randrange(8))]))
    return f"bit flipped at {at} of {os.path.getsize(path)}"


def first_bytes(path, chance):
    """Flips a bit in the first 64 bytes: the header."""
    with open(path, "r+b") as file:
        at = chance.randrange(min(64, os.path.getsize(path)))
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 0x10]))
    return f"header changed at {at}"


def cut(path, chance):
    size = chance.randrange(os.path.getsize(path))
    os.truncate(path, size)
    return f"cut at {size}"


def emptied(path, chance):
    os.truncate(path, 0)
    return "emptied"


def page(path, chance):
    size = os.path.getsize(path)
    at = chance.randrange(max(1, size // 4096)) * 4096
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes(min(4096, size - at)))
    return f"4 KiB of zeros at {at} of {size}"


def tail(path, chance):
    with open(path, "ab") as file:
        file.write(chance.randbytes(777))
    return "777 random bytes behind its end"


def removed(path, chance):
    os.unlink(path)
    return "removed"


# `removed` comes first: no other damage may cost more.
HARM = {
    "removed": removed, "one bit flipped": bit, "its header changed": first_bytes, "cut": cut, "emptied": emptied, "a page of zeros": page,
    "a random tail": tail,
}

if __name__ == "__main__":
    main()
