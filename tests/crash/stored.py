"""Reads the whole store as a user would (`tollgate logs search`) and counts it against what clients saw."""

import collections
import json
import re
import subprocess

import stage as stages

ALL = "999999999"
# One of these ends an exchange; `open` and `progress` rows, and lines of applications, carry the same id on purpose.
FINAL = ("request", "close", "conn")
REQUEST_NUMBER = re.compile(r"^/[rp]/(\d+)$")


class Stored:
    """Everything that the log says, read once."""

    def __init__(self):
        self.rows = 0
        self.kinds = collections.Counter()
        self.by_id = collections.Counter()
        self.number_of = {}
        self.of_number = collections.Counter()
        self.crashed = set()
        self.streams = collections.defaultdict(collections.Counter)
        self.gaps = []
        self.unreadable = 0
        self.code, self.last_line = None, ""

    def take(self, line):
        try:
            row = json.loads(line)
        except ValueError:
            self.unreadable += 1
            return
        if "kind" not in row:
            return
        self.rows += 1
        kind = row["kind"]
        self.kinds[kind] += 1
        stream = (row.get("proxy"), row.get("boot"), row.get("core"))
        if row.get("seq"):
            self.streams[stream][row["seq"]] += 1
        if kind == "gap":
            self.gaps.append((stream, row.get("first_seq"), row.get("last_seq"), row.get("missing") or 0, row.get("reason")))
        if kind in FINAL:
            self._take_final(row)

    def _take_final(self, row):
        self.by_id[row["id"]] += 1
        if row.get("reason") == "proxy_crashed":
            self.crashed.add(row["id"])
        number = REQUEST_NUMBER.match(row.get("path") or "")
        if number:
            self.number_of[row["id"]] = int(number.group(1))
            self.of_number[int(number.group(1))] += 1

    def missing_numbers(self):
        """Sequence numbers that are neither stored nor declared lost, per stream, and how many are declared."""
        declared, undeclared = 0, {}
        for stream in set(self.streams) | {gap[0] for gap in self._ranges()}:
            have = self.streams.get(stream, {})
            told = set()
            for _, first, last, _, reason in (gap for gap in self._ranges() if gap[0] == stream):
                told.update(range(first, last + 1) if reason else ())
            holes = set(range(1, max(have, default=0) + 1)) - set(have)
            declared += len(told - set(have))
            if holes - told:
                undeclared[stream] = sorted(holes - told)
        return declared, undeclared

    def _ranges(self):
        """The gaps with a first and a last number; others tell that nobody knows how many are behind the last one."""
        return [gap for gap in self.gaps if gap[1] and gap[2]]

    def doubled(self):
        ids = [one for one, count in self.by_id.items() if count > 1]
        seqs = [(stream, seq) for stream, all_of in self.streams.items() for seq, count in all_of.items() if count > 1]
        paths = [number for number, count in self.of_number.items() if count > 1]
        return ids, seqs, paths

    def declared_though_stored(self):
        return sum(
            1 for stream, first, last, _, _ in self._ranges()
            for seq in range(first, last + 1) if seq in self.streams.get(stream, {})
        )

    def reasons(self):
        told = collections.Counter()
        for _, _, _, missing, reason in self.gaps:
            told[reason] += missing
        return dict(told)


def address(stage):
    """Where the running service is asked."""
    return f"http://127.0.0.1:{stage.service_port}" if stage.layout == "separate" else f"unix:{stage.data}/ingest.sock"


def read(stage, over_service=False, seconds=300):
    """The whole store, from its directory or by asking the running service."""
    return read_into(Stored(), stage, over_service, seconds)


def read_into(stored, stage, over_service=False, seconds=300):
    """The same, each line handed to `take` of the object that is given."""
    source = ["--service", address(stage)] if over_service else ["--data", stage.data]
    # Of every kind: what the machine used is left out otherwise, and its numbers with it.
    words = [stage.program, "logs", "search", "kind:*", "-o", "json", "--since", "all", "-n", ALL, *source]
    with open(f"{stage.folder}/search-errors.txt", "w+", encoding="utf-8") as errors:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, cwd=stage.folder) as search:
            for line in search.stdout:
                stored.take(line)
            stored.code = search.wait(seconds)
        errors.seek(0)
        told = errors.read().strip().splitlines()
    stored.last_line = told[-1] if told else ""
    return stored


def counted(stage):
    """Records that the rollups have counted."""
    told = json.loads(stage.ask("/rollups?since=all&step=24h"))
    return sum(row["count"] for row in told["rows"])


class Verdict:
    """Promises, each told in one line. Within a scene the lines wait: a scene that held is told in one line."""

    def __init__(self):
        self.broken, self.skipped = [], []
        self.scene, self.lines = None, []

    def begin(self, name):
        self.scene, self.lines = name, []

    def end_scene(self, is_verbose):
        bad = [line for line in self.lines if line.startswith("FAIL")]
        skipped = [line for line in self.lines if line.startswith("skip")]
        word = "FAIL" if bad else "skip" if skipped else "ok  "
        shown = self.lines if bad or is_verbose else skipped
        told = [line[5:160] for line in self.lines if re.match(r".{5}(\d+ answers in all|faults:|gone )", line)]
        print(f"{word} {self.scene}" + ("" if shown else f": {'; '.join(told)}"), flush=True)
        for line in shown:
            print(f"       {line}", flush=True)
        self.scene = None

    def tell(self, line):
        if self.scene:
            self.lines.append(line)
        else:
            print(line, flush=True)

    def promise(self, held, text):
        self.tell(f"{'ok  ' if held else 'FAIL'} {text}")
        if not held:
            self.broken.append(f"{self.scene or ''}: {text}")
        return held

    def skip(self, text):
        self.tell(f"skip not tested: {text}")
        self.skipped.append(text)

    def note(self, text):
        self.tell(f"     {text}")

    def end(self, seed, again):
        """One summary; the exit code."""
        print(f"\n{'BROKEN PROMISES: ' + str(len(self.broken)) if self.broken else 'every promise held'}"
              f"{f', not tested: {len(self.skipped)}' if self.skipped else ''}; again with: {again}")
        return 1 if self.broken else 0


def judge(verdict, stage, ledger, stored, losses_allowed=False, where="the store"):
    """The promises that hold for every test. With `losses_allowed` records may be missing if they are declared."""
    note_of(verdict, ledger, stored, where)
    missing = [number for number, one in ledger.finished.items() if not stored.by_id.get(one)]
    declared, undeclared = stored.missing_numbers()
    count = f"{len(ledger.finished)} answers seen whole, {len(missing)} without a record"
    if losses_allowed:
        lost = sum(gap[3] for gap in stored.gaps)
        verdict.promise(len(missing) <= lost, f"{count}, {lost} declared lost")
    else:
        verdict.promise(not missing, f"{count} (requests {missing[:5]})")
    strangers = [one for number, one in ledger.finished.items() if stored.number_of.get(one, number) != number]
    verdict.promise(not strangers, f"{len(strangers)} records with another request's path")
    ids, seqs, paths = stored.doubled()
    verdict.promise(not (ids or seqs or paths), f"doubled: {len(ids)} ids, {len(seqs)} numbers, {len(paths)} requests {(ids or seqs or paths)[:2]}")
    holes = sum(map(len, undeclared.values()))
    some = [(stream, seqs[:5]) for stream, seqs in list(undeclared.items())[:3]]
    verdict.promise(not holes, f"sequence numbers missing: {declared} declared, {holes} not declared {some or ''}")
    unreasoned = [gap for gap in stored.gaps if not gap[4]]
    verdict.promise(not unreasoned, f"{len(unreasoned)} gap records without a reason")
    verdict.promise(not stored.unreadable, f"{stored.unreadable} rows that are no JSON")
    told = stored.last_line
    verdict.promise(stored.code == 0 and "unexplained" not in told, f"completeness of {where}: {told!r} (exit {stored.code})")
    verdict.promise(not stage.panics(), f"no panic {stage.panics()[:2] or ''}")


def note_of(verdict, ledger, stored, where):
    verdict.note(f"{where}: {stored.rows} rows {dict(stored.kinds)}; declared lost: {stored.reasons() or 'none'}")
    crashed = sum(one in stored.crashed for one in ledger.finished.values())
    verdict.note(f"broken off by a death: {ledger.broken_off} requests; {len(stored.crashed)} records say proxy_crashed, {crashed} of them of answers seen whole")
    if false := stored.declared_though_stored():
        verdict.note(f"{false} numbers are declared lost though they are stored")


def audit(verdict, stage):
    """`tollgate logs audit`, where the program has it."""
    if stage.command("logs", "audit", "--help")[0] != 0:
        return verdict.note("this build has no `logs audit`")
    code, out, errors = stage.command("logs", "audit", "--since", "all", "--data", stage.data, seconds=300)
    lost = re.findall(r"([\d  ]+)\s+unexplained", out + errors)
    unexplained = sum(int(re.sub(r"\D", "", number) or 0) for number in lost)
    return verdict.promise(code in (0, 1) and not unexplained, f"logs audit: exit {code}, {unexplained} unexplained: {(out + errors).strip()[-300:]!r}")


def verify(verdict, stage):
    """`tollgate logs audit --verify` of the data directory: files, chain, numbers. It fails on anything that is not as it was."""
    code, out, errors = stage.command("logs", "audit", "--verify", "--data", stage.data, seconds=300)
    told = [line for line in (out + errors).splitlines() if re.match(r"files |head |note|verified|\s{10}", stages.plain(line))]
    return verdict.promise(code == 0, f"logs audit --verify: exit {code}: {' '.join(' '.join(told).split())[-400:]!r}")


def soiled(stage):
    """What `audit --verify` of the running service finds wrong with its files; None when the service does not answer."""
    code, out, errors = stage.command("logs", "audit", "--verify", "--json", "--service", address(stage))
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    chain = next((row for row in rows if row.get("kind") == "chain"), None)
    if chain is None:
        return None
    problems = chain["chain"]["problems"] + ([] if chain["whole"] else ["the chain is not whole"])
    damaged = [row["damaged"] for row in rows if row.get("damaged")]
    return problems + [f"{count} damaged" for count in damaged]
