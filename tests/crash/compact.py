#!/usr/bin/env python3
"""Kills -9 the log service again and again while it merges the files of closed hours, and counts every row.

It has two ways to make many hours due. `hour files`: files of an earlier version with their own times of receipt are put
into the data directory, and the service takes them over. `clock`: each start is an hour after the one before
(libfaketime, Debian package faketime). Meanwhile numbered rows are posted. A kill comes a random moment after a merged
file is seen in the making.

Promise: every row is stored exactly once and as it was; nothing that a death has left is there after the next start, and
no file at the end that the manifest does not list; `logs audit --verify` finds the chain whole.
"""

import collections
import glob
import http.client
import json
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import scene as scenes  # noqa: E402
import stage as stages  # noqa: E402
import stored  # noqa: E402
from clock import LIBRARIES  # noqa: E402

# One kill in so many finds a closed hour that is done already.
HOURS_PER_KILL = 1.2
PARTS, ROWS = 3, 600
# Files appear while the service looks for work all the time.
WORDS = ["--flush-secs", "0", "--compact-secs", "0"]
# It strikes at most so much later than a merged file is begun, or than the last one has its name. Most of the time goes by
# while a file is written; the steps after that are few and short.
WHILE_WRITTEN, WHEN_NAMED = 0.06, 0.005
# A machine that merges before it is seen gets up to so many times the kills.
MOST = 3
PATIENCE = 30
POSTED = 20
# Behind the ten minutes in which an hour that has ended is still open.
MINUTE = 20
OLD = "(earlier)"
# Digits before the object in a line of the manifest.
CHECKSUM = 8
MERGED = re.compile(r"\.(l1|err)\.parquet")


def main():
    wanted = scenes.arguments(__doc__, kills=(100, "kills, split over the two ways"))
    library = next((path for pattern in LIBRARIES for path in glob.glob(pattern)), None)
    scenes.play(wanted, [
        ("hour files", lambda folder, verdict: Run(wanted, folder, verdict, OldHours()).play()),
        ("clock", lambda folder, verdict: Run(wanted, folder, verdict, Clock(library)).play() if library
         else verdict.skip("libfaketime is not installed (Debian: apt-get install faketime)")),
    ])


class OldHours:
    """Hours of an earlier version, which are closed already."""

    # Any of its hours may be the next.
    merges_within = 2

    def prepare(self, run):
        self.hours = int(run.kills * HOURS_PER_KILL) + 2
        now = int(time.time()) // 3600
        for number in range(self.hours):
            hour = now - 2 - self.hours + number
            for part in range(PARTS):
                self._write(run, hour, part, number * PARTS + part)

    def _write(self, run, hour, part, file):
        begin = time.strftime("%Y-%m-%dT%H", time.gmtime(hour * 3600))
        day, name = begin[:10], begin[11:] + (f".{part}" if part else "") + ".jsonl"
        folder = os.path.join(run.stage.data, day)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
            for row in range(ROWS):
                second = row * PARTS + part
                moment = f"{begin}:{second // 60 % 60:02}:{second % 60:02}.{row:06}Z"
                # Each file is a stream of its own: their order among each other is nobody's.
                text = row_text(f"{OLD} {file}", row + 1, moment)
                out.write(f'{{"recv":"{moment}","from":"unix:7",{text[1:]}\n')
        run.expect(f"{OLD} {file}", ROWS)

    def before_start(self, run, turn):
        pass

    def is_over(self, run):
        return not any(name.endswith(".jsonl") for name in names_under(run.stage.data, but="old"))


class Clock:
    """Each start is an hour later than the last, so the hour before is closed."""

    # Only a start has something to merge.
    merges_within = 0

    def __init__(self, library):
        self.library, self.base = library, None

    def prepare(self, run):
        self.base = MINUTE * 60 - time.time() % 3600
        run.stage.service_environment = {
            "LD_PRELOAD": self.library, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }

    def before_start(self, run, turn):
        run.stage.service_environment["FAKETIME"] = f"{self.base + (turn - MOST * run.kills - 2) * 3600:+.0f}"

    def is_over(self, run):
        return True


class Run:
    """One way with its service, its sender, and what is expected to be stored."""

    def __init__(self, wanted, folder, verdict, way):
        self.stage = stages.Stage(wanted.tollgate, folder, "separate")
        self.stage.service_words = WORDS
        self.way, self.verdict, self.kills = way, verdict, wanted.kills // 2
        self.chance = random.Random(wanted.seed)
        self.expected, self.found = {}, collections.Counter()
        self.sender = Sender(self.stage.service_port)

    def expect(self, proxy, count):
        self.expected[proxy] = count

    def play(self):
        os.makedirs(self.stage.data, exist_ok=True)
        self.way.prepare(self)
        try:
            self._start(0)
            self._until_ready()
            self.sender.start()
            for turn in range(1, MOST * self.kills + 1):
                self._turn(turn)
                if turn >= self.kills and self.found["while merging"] >= self.kills // 2:
                    break
            self._settle()
        finally:
            self.sender.close()
            self.stage.end_everything()

    def _turn(self, turn):
        """Lets rows arrive, dies, and dies again in the merge that the next start may begin with."""
        # With nothing to send between starts there would be nothing in the hour that closes.
        if not stages.until(lambda before=self.sender.acknowledged: self.sender.acknowledged >= before + 3 * POSTED, PATIENCE):
            self.verdict.promise(False, f"turn {turn}: the service takes rows")
        left = self._kill(self._wait_for_merge(self.way.merges_within))
        self._start(turn)
        if self._wait_for_merge(2, but=left):
            left |= self._kill(True)
            self._start(turn)
        self._until_ready()
        still = [path for path, mark in left.items() if mark_of(path) == mark]
        if still:
            self.verdict.promise(False, f"turn {turn}: the next start leaves {still[:3]}")

    def _start(self, turn):
        self.way.before_start(self, turn)
        self.stage.start_service()

    def _until_ready(self):
        is_ready = stages.until(self._answers, PATIENCE, 0.01)
        self.verdict.promise(is_ready, f"the service starts {'' if is_ready else self.stage.said()[-800:]}")

    def _answers(self):
        try:
            return bool(self.stage.ask("/rollups?since=1h&step=1h"))
        except OSError:
            return False

    def _kill(self, while_merging):
        self.found["while merging" if while_merging else "while not merging"] += 1
        self.stage.kill("service")
        return self._left_over()

    def _wait_for_merge(self, seconds, but=None):
        """Until a random moment of a merge; whether there was one in time. What a death has left is none."""
        if not stages.until(lambda: self._draft(but), seconds, 0):
            return False
        longest = self.chance.choice((WHILE_WRITTEN, WHEN_NAMED))
        folder = os.path.dirname(self._draft(but) or "")
        if longest == WHEN_NAMED and folder:
            stages.until(lambda: any(name.endswith(".err.parquet") for name in os.listdir(folder)), 0.5, 0)
        time.sleep(self.chance.uniform(0, longest))
        return True

    def _draft(self, but=None):
        """A merged file that is being written."""
        drafts = (path for path in store_files(self.stage.data) if MERGED.search(path) and path.endswith(".tmp"))
        return next((path for path in drafts if not but or path not in but or mark_of(path) != but[path]), None)

    def _left_over(self):
        """Files of the store that do not count, as a death has left them, each with its mark."""
        listed = self._listed()
        left = [path for path in store_files(self.stage.data) if os.path.basename(path) not in listed]
        numbers = {int(name[:8]) for name in listed}
        self.found.update(self._what_is(path) for path in left)
        self.found["chain behind the manifest"] += self._chained() != numbers
        return {path: mark_of(path) for path in left}

    def _what_is(self, path):
        kind = "a merged file" if MERGED.search(path) else "a file of minutes"
        if path.endswith(".tmp"):
            return f"half of {kind}"
        # Since the start the manifest has only been added to.
        was_listed = any(one["number"] == int(os.path.basename(path)[:8]) for edit in self._edits() for one in edit.get("add", ()))
        return f"{kind}, no longer listed" if was_listed else f"{kind}, not yet listed"

    def _edits(self):
        return lines_of(os.path.join(self.stage.data, "MANIFEST"), CHECKSUM)

    def _listed(self):
        """Names of the files that the manifest lists."""
        files = {}
        for edit in self._edits():
            for number in edit.get("remove", ()):
                files.pop(number, None)
            files.update({one["number"]: f"{one['number']:08}.{one['kind']}.parquet" for one in edit.get("add", ())})
        return set(files.values())

    def _chained(self):
        files = set()
        for link in lines_of(os.path.join(self.stage.data, "CHAIN"), 0):
            files -= set(link["remove"])
            files |= {one["file"] for one in link["add"]}
        return files

    def _settle(self):
        verdict, stage = self.verdict, self.stage
        self.sender.close()
        verdict.promise(self.sender.acknowledged > self.kills * POSTED, f"{self.sender.acknowledged} rows were acknowledged")
        self.expect(Sender.PROXY, self.sender.acknowledged)
        is_over = stages.until(lambda: self.way.is_over(self) and self._open_hours() <= 1, PATIENCE * 4, 0.2)
        verdict.promise(is_over, f"every closed hour is merged at the end: {self._open_hours()} hours have files of minutes")
        code = stage.stop()
        verdict.promise(code == [0], f"it ends in order after SIGTERM (exit {code})")
        there = {os.path.basename(path) for path in store_files(stage.data)}
        verdict.promise(there == self._listed(), f"the files are those of the manifest {sorted(there ^ self._listed())[:3] or ''}")
        kinds = collections.Counter(name.split(".")[1] for name in there)
        verdict.note(f"faults: {dict(sorted(self.found.items()))}; {dict(kinds)} files at the end")
        needed = self.kills // 2
        verdict.promise(self.found["while merging"] >= needed, f"{self.found['while merging']} kills came while it merged, {needed} are wanted")
        self._judge()
        stored.audit(verdict, stage)
        stored.verify(verdict, stage)
        verdict.promise(not stage.panics(), f"no panic {stage.panics()[:2] or ''}")

    def _open_hours(self):
        folders = {os.path.dirname(path) for path in store_files(self.stage.data) if ".l0." in path}
        return len(folders)

    def _judge(self):
        result = Rows()
        stored.read_into(result, self.stage)
        verdict = self.verdict
        total = sum(self.expected.values())
        wrong = {proxy: count for proxy, count in self.expected.items() if len(result.of[proxy]) != count}
        verdict.promise(not wrong, f"{total} rows in all, {sum(map(len, result.of.values()))} stored; differ: {list(wrong.items())[:3] or 'none'}")
        doubled = [(proxy, seq) for proxy, seqs in result.of.items() for seq, count in seqs.items() if count > 1]
        verdict.promise(not doubled, f"{len(doubled)} rows are doubled {doubled[:3] or ''}")
        verdict.promise(not result.strange, f"{len(result.strange)} rows are not as they were {result.strange[:2] or ''}")
        told = result.last_line
        verdict.promise(result.code == 0 and "unexplained" not in told, f"completeness: {told!r} (exit {result.code})")


class Rows:
    """What is stored: by sender, how often each number."""

    def __init__(self):
        self.of = collections.defaultdict(collections.Counter)
        self.strange = []
        self.code, self.last_line = None, ""

    def take(self, line):
        row = json.loads(line)
        if "proxy" not in row or row.get("kind") == "gap":
            return
        proxy, seq = row["proxy"], row["seq"]
        self.of[proxy][seq] += 1
        if row.get("path") != path_of(proxy, seq) or row.get("status") != status_of(seq):
            self.strange.append(line)


class Sender(threading.Thread):
    """Posts numbered rows, a few at a time, each until it is acknowledged."""

    PROXY = "live"

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.acknowledged, self.is_over = port, 0, False

    def run(self):
        while not self.is_over:
            first = self.acknowledged + 1
            text = "\n".join(row_text(self.PROXY, seq) for seq in range(first, first + POSTED))
            # The same rows again until the service has said that it has them: it must not take them twice.
            while not self._post(text):
                if self.is_over:
                    # Whether these are stored nobody was told.
                    return self._post_at_last(text)
                time.sleep(0.01)
            self.acknowledged += POSTED
            time.sleep(0.02)
        return None

    def _post_at_last(self, text):
        if stages.until(lambda: self._post(text), PATIENCE):
            self.acknowledged += POSTED

    def _post(self, text):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("POST", "/logs", text.encode())
            answer = connection.getresponse()
            answer.read()
            return 200 <= answer.status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self):
        self.is_over = True
        if self.ident:
            self.join(PATIENCE * 2)


def row_text(proxy, seq, moment=None):
    moment = moment or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # Ids that rise in no order, as a merge sorts by them.
    spread = seq * 2654435761 % 2**32
    name = sum(proxy.encode()) % 2**16
    return json.dumps({
        "ts": moment, "kind": "request", "id": f"01a1fd62-{spread >> 16:04x}-7{spread & 0xfff:03x}-9c2e-{name:04x}{seq:08x}",
        "proxy": proxy, "boot": 1, "core": 0, "seq": seq, "path": path_of(proxy, seq), "status": status_of(seq), "dur_us": 7,
        "end_by": "upstream", "end_at": "done",
    })


def path_of(proxy, seq):
    return f"/{proxy}/{seq}"


def status_of(seq):
    return 502 if seq % 10 == 0 else 200


def lines_of(path, skipped):
    """The whole JSON lines of a file, without their first characters."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line[skipped:]) for line in lines if line.endswith(b"\n")]


def store_files(data):
    for pattern in ("*.parquet", "*.parquet.*"):
        yield from glob.glob(os.path.join(data, "d=*", "h=*", pattern))


def names_under(folder, but=""):
    return [name for place, _, names in os.walk(folder) for name in names if not but or f"/{but}" not in place]


def mark_of(path):
    """What tells a file from another of its name."""
    try:
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns, found.st_size
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
