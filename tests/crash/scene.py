"""What the tests other than kill9 have in common: arguments, a stage with load on it, and the end of every scene."""

import argparse
import asyncio
import os
import random
import sys
import time
import traceback

import load
import stage as stages
import stored

SETTLE_SECONDS = 60
# With --short every load lasts this part of its time.
SHORT = 0.4
PACE = {"of": 1.0}


def arguments(doc, of_alike=1, **more):
    """`of_alike`: with --short one scene of so many is played, another with another seed."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--tollgate", default=stages.built(), help="the program (release build of this package)")
    parser.add_argument("--only", default="", help="only the scenes with this text in their name")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep the folders with config, data and stderr")
    parser.add_argument("--verbose", action="store_true", help="tell every promise, not only the broken ones")
    parser.add_argument("--short", action="store_true", help="shorter, and where many scenes are alike only some of them")
    for name, (default, told) in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=told)
    wanted = parser.parse_args()
    if not os.access(wanted.tollgate, os.X_OK):
        sys.exit(f"absent: {wanted.tollgate}")
    PACE["of"] = SHORT if wanted.short else 1.0
    wanted.of_alike = of_alike if wanted.short else 1
    return wanted


def play(wanted, scenes):
    """Runs each `(name, function(folder, verdict))`, each in a folder of its own, and exits."""
    verdict = stored.Verdict()
    named = [(name, act) for name, act in scenes if wanted.only in name]
    for name, act in named[wanted.seed % wanted.of_alike::wanted.of_alike]:
        verdict.begin(name)
        with stages.Folder(wanted.keep) as folder:
            try:
                act(folder, verdict)
            except Exception as error:  # a scene that breaks must not hide what the others find
                traceback.print_exc()
                verdict.promise(False, f"the test itself failed: {error!r}")
        verdict.end_scene(wanted.verbose)
    script = os.path.basename(sys.argv[0])
    only = f" --only {wanted.only!r}" if wanted.only else ""
    sys.exit(verdict.end(wanted.seed, f"{script} --seed {wanted.seed}{only}{' --short' if wanted.short else ''}"))


class Scene:
    """A stage with its origin, its clients and what they saw."""

    def __init__(self, stage, verdict, seed, rate=150):
        self.stage, self.verdict, self.seed, self.rate = stage, verdict, seed, rate
        self.ledger = load.Ledger()
        self.origin = load.Origin(seed)

    def play(self, act):
        """Runs the coroutine function `act(scene)` from start to the death of every process."""
        async def whole():
            await self.open()
            await act(self)

        try:
            asyncio.run(whole())
        finally:
            self.stage.end_everything()

    async def open(self, more=""):
        self.stage.write_config(await self.origin.open(), more)

    async def start(self):
        self.stage.start()
        return await self.ready()

    async def ready(self):
        is_ready = await asyncio.to_thread(self.stage.until_ready)
        return self.verdict.promise(is_ready, "it starts" if is_ready else f"it starts: {self.stage.said()[-800:]}")

    async def load(self, seconds):
        clients = load.Load(self.stage.http, self.ledger, self.rate, seed=self.seed + self.ledger.sent)
        await asyncio.sleep(seconds * PACE["of"])
        if not await clients.stop():
            self.verdict.promise(False, "every client ended")

    def pids(self):
        proxy = self.stage.proxy.pid if self.stage.proxy and self.stage.proxy.poll() is None else None
        return proxy, self.stage.service_pid()

    def promise_alive(self, before, when):
        now = self.pids()
        self.verdict.promise(now == before, f"neither process ended {when} (proxy, service: {before} → {now})")

    def promise_served(self, when):
        failed, broken = self.ledger.failed(), self.ledger.broken_off
        total = len(self.ledger.finished)
        self.verdict.promise(total and not failed and not broken, f"{total} answers {when}; {failed} of 5xx, {broken} broken off")

    async def settle(self, certain_from=0, losses_allowed=True):
        """Waits until every answer from number `certain_from` on is stored, stops both, reads the store, judges."""
        left = await asyncio.to_thread(self._wait, certain_from)
        when = "every later record is stored" if certain_from else "every answer is stored"
        self.verdict.promise(not left, f"{when}: {left} are missing after {SETTLE_SECONDS} s" if left else when)
        codes = await asyncio.to_thread(self.stage.stop)
        self.verdict.promise(not any(codes), f"both end in order after SIGTERM (exit {codes})")
        result = await asyncio.to_thread(stored.read, self.stage)
        stored.judge(self.verdict, self.stage, self.ledger, result, losses_allowed, "the data directory")
        stored.audit(self.verdict, self.stage)
        return result

    def _wait(self, certain_from):
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found = stored.read(self.stage, over_service=True)
            wanted = [one for number, one in self.ledger.finished.items() if number >= certain_from]
            left = sum(1 for one in wanted if not found.by_id.get(one))
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)
