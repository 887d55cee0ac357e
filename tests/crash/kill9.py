#!/usr/bin/env python3
"""Kills -9 the proxy, the log service or both, again and again at random moments under load, and counts every record.

Promise: every answer that a client saw whole is stored exactly once; whatever is missing is declared with a reason.
Exit 0 when every promise held, 1 when not. Standard library only.
"""

import argparse
import asyncio
import collections
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import load  # noqa: E402
import stage as stages  # noqa: E402
import stored  # noqa: E402

DRAIN_SECONDS = 120
QUIET_LOOKS = 4
# A service bounds its answers; the directory is read whole at the end.
NEWEST = 2000
# Every so many kills the files and their chain are compared.
LOOK_EVERY = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tollgate", default=stages.built(), help="the program (release build of this package)")
    parser.add_argument("--rounds", type=int, default=1000, help="kills, split over the layouts")
    parser.add_argument("--who", choices=("proxy", "service", "both", "mixed"), default="mixed", help="whom to kill")
    parser.add_argument("--layout", choices=("embedded", "separate", "each"), default="each", help="how the service runs")
    parser.add_argument("--busy", action="store_true", help="the separate service makes files, merges them and adds up minutes all the time")
    parser.add_argument("--rate", type=int, default=150, help="requests a second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep the folder with config, data and stderr")
    wanted = parser.parse_args()
    if not os.access(wanted.tollgate, os.X_OK):
        sys.exit(f"kill9: absent: {wanted.tollgate}")
    verdict = stored.Verdict()
    layouts = ("embedded", "separate") if wanted.layout == "each" else (wanted.layout,)
    for layout in layouts:
        with stages.Folder(wanted.keep) as folder:
            stage = stages.Stage(wanted.tollgate, folder, layout)
            stage.service_words = ["--flush-secs", "0", "--compact-secs", "0"] if wanted.busy else []
            try:
                asyncio.run(run(stage, wanted, wanted.rounds // len(layouts), verdict))
            finally:
                stage.end_everything()
    sys.exit(verdict.end(wanted.seed, f"kill9.py --seed {wanted.seed} --rounds {wanted.rounds} --who {wanted.who} --layout {wanted.layout}{' --busy' if wanted.busy else ''}"))


async def run(stage, wanted, rounds, verdict):
    chance = random.Random(wanted.seed)
    origin = load.Origin(wanted.seed)
    stage.write_config(await origin.open())
    stage.start()
    if not await asyncio.to_thread(stage.until_ready):
        sys.exit(f"kill9: tollgate does not start: {stage.said()[-2000:]}")
    print(f"\n== {stage.layout}: {rounds} kills of {wanted.who}, {'with' if stage.has_spool else 'without'} a spool")
    ledger = load.Ledger()
    clients = load.Load(stage.http, ledger, wanted.rate, seed=wanted.seed)
    began = time.monotonic()
    done, soiled = await kill_again_and_again(stage, ledger, wanted.who, rounds, chance)
    verdict.promise(await clients.stop(), "every client ended")
    seconds = time.monotonic() - began
    verdict.note(f"{dict(done)} in {seconds:.0f} s; {len(ledger.finished)} answers {dict(ledger.statuses)}")
    verdict.promise(not soiled, f"the running service was asked {done['looks']} times whether its files are whole {soiled[:3] or ''}")
    verdict.promise(ledger.failed() == 0, f"{ledger.failed()} answers of 5xx")
    # Without a good number of answers between the deaths nothing would be proven.
    verdict.promise(len(ledger.finished) >= rounds * 5, f"{len(ledger.finished) / max(1, rounds):.0f} answers per round")
    await asyncio.to_thread(settle_and_judge, stage, ledger, verdict)
    origin.server.close()


async def kill_again_and_again(stage, ledger, who, rounds, chance):
    done, soiled = collections.Counter(), []
    for turn in range(rounds):
        await rest(stage, ledger, chance)
        if turn % LOOK_EVERY == LOOK_EVERY - 1:
            found = await asyncio.to_thread(stored.soiled, stage)
            done["looks"] += found is not None
            soiled += found or []
        whom = chance.choice(("proxy", "service", "both")) if who == "mixed" else who
        killed = stage.kill(whom)
        done[f"kills of {whom}" if killed else "nobody there"] += 1
        if whom in ("service", "both"):
            stage.start_service()
        if whom in ("proxy", "both"):
            stage.start_proxy()
        if turn % 100 == 99:
            print(f"     {turn + 1} kills, {len(ledger.finished)} answers", flush=True)
    return done, soiled


async def rest(stage, ledger, chance):
    """Mostly until some answers have come, and a random moment more; now and then it strikes during the start."""
    if chance.random() < 0.15:
        await asyncio.sleep(chance.uniform(0, 0.3))
        return
    before, deadline = len(ledger.finished), time.monotonic() + 20
    while len(ledger.finished) < before + 5 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    if stage.layout == "embedded":
        # The proxy starts the service again after a pause that grows with each quick death.
        while stage.service_pid() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
    await asyncio.sleep(chance.uniform(0, 0.8))


def settle_and_judge(stage, ledger, verdict):
    verdict.promise(stage.until_ready(), "both run at the end")
    wait_until_drained(stage, ledger, verdict)
    counted = counted_at_rest(stage)
    files = stage.files()
    codes = stage.stop()
    verdict.promise(not any(codes), f"both end in order after SIGTERM (exit {codes})")
    result = stored.read(stage)
    stored.judge(verdict, stage, ledger, result, where="the data directory")
    stored.audit(verdict, stage)
    stored.verify(verdict, stage)
    verdict.note(f"files at the end: {files}")
    countable = sum(result.kinds[kind] for kind in stored.FINAL)
    verdict.promise(counted == countable, f"rollups count {counted} of {countable} records")


def counted_at_rest(stage):
    """Records of requests that nobody saw the end of come a moment after the others: until nothing more comes."""
    last, same, deadline = stored.counted(stage), 0, time.monotonic() + DRAIN_SECONDS
    while same < QUIET_LOOKS and time.monotonic() < deadline:
        time.sleep(0.4)
        now = stored.counted(stage)
        last, same = now, same + 1 if now == last else 0
    return last


def wait_until_drained(stage, ledger, verdict):
    """Until every answer has its record, or nothing more comes."""
    newest = [ledger.finished[number] for number in sorted(ledger.finished)[-NEWEST:]]
    deadline, last, quiet, left = time.monotonic() + DRAIN_SECONDS, None, 0, 0
    while time.monotonic() < deadline and quiet < QUIET_LOOKS:
        found = stored.read(stage, over_service=True)
        left = sum(1 for one in newest if not found.by_id.get(one))
        if not left and found.code == 0:
            return verdict.promise(True, f"the running service knows the newest {len(newest)} answers")
        # A service that is just being started again does not answer: that is no silence.
        quiet = quiet + 1 if found.code == 0 and (left, found.rows) == last else 0
        last = (left, found.rows)
        time.sleep(1)
    return verdict.promise(False, f"the running service knows the newest {len(newest)} answers: {left} are missing")


if __name__ == "__main__":
    main()
