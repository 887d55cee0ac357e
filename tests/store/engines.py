#!/usr/bin/env python3
"""The store's Parquet files in DuckDB, pyarrow and ClickHouse: same rows, same types, same answers, and the same as
`tollgate logs export` tells. Prints bytes per row. Runs what config/README.md tells people to run.

    engines.py --tollgate PROGRAM [--rows N] [--log FILE]…

`--log` adds a log in any format that `tollgate logs --from` reads. Needs duckdb, pyarrow, pandas and chdb; exits 1 when a
promise is broken, 2 when something is missing."""

import argparse
import collections
import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import samples

try:
    import chdb
    import duckdb
    import pandas
    import pyarrow
    import pyarrow.dataset
    import pyarrow.parquet
except ImportError as missing:
    sys.exit(f"NOT TESTED: {missing}; pip install duckdb pyarrow pandas chdb")

ROOT = pathlib.Path(__file__).parents[2]
FILES = "run/logs/d=*/h=*/*.parquet"
PATIENCE = 120
MADE_VERSION = 8
BAR = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", default=ROOT / "target/release/tollgate", type=pathlib.Path)
    parser.add_argument("--rows", default=20_000, type=int)
    parser.add_argument("--log", default=[], action="append", type=pathlib.Path)
    arguments = parser.parse_args()
    program = arguments.tollgate.resolve()
    if not program.is_file():
        print(f"there is no program {program}", file=sys.stderr)
        return 2
    hour = datetime.datetime.now(datetime.UTC).replace(minute=0, second=0, microsecond=0) - datetime.timedelta(hours=3)
    logs = {log.__name__: list(log(arguments.rows, hour)) for log in (samples.website, samples.api, samples.applications)}
    logs |= {path.name: foreign(program, path) for path in arguments.log}
    with tempfile.TemporaryDirectory() as folder:
        stores = [Store(program, pathlib.Path(folder, name), name, entries, hour) for name, entries in logs.items()]
        try:
            for store in stores:
                store.fill()
            for level in ("l0", "l1"):
                for store in stores:
                    store.start()
                for store in stores:
                    store.reach(level)
                # A merge in the middle of a check would show rows twice.
                for store in stores:
                    store.stop()
                for store in stores:
                    store.check(level)
            readme(stores[1].folder)
        finally:
            for store in stores:
                store.stop()
    print("the files open everywhere")
    return 0


def foreign(program, path):
    """A log of another proxy as the records that it becomes."""
    out = subprocess.run([program, "logs", "export", "--from", path], capture_output=True, check=True, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def same(what, *values):
    if any(value != values[0] for value in values):
        sys.exit(f"{what}: " + " ≠ ".join(repr(value)[:600] for value in values))


class Store:
    """A log service over a directory of its own, filled with one log."""

    def __init__(self, program, folder, name, entries, hour):
        self.program, self.folder, self.name, self.entries = program, folder, name, entries
        self.data, self.hour, self.process = folder / "run/logs", hour, None

    def fill(self):
        day = self.data / self.hour.strftime("%Y-%m-%d")
        day.mkdir(parents=True)
        with open(day / self.hour.strftime("%H.jsonl"), "w", encoding="utf-8") as file:
            for number, entry in enumerate(self.entries):
                recv = self.hour + datetime.timedelta(microseconds=number // 50 * 20_000 + 123)
                file.write(samples.stored_line(entry, recv))

    def start(self):
        command = [self.program, "--quiet", "logs", "serve", "--data", self.data, "--http", f"unix:{self.folder}/socket"]
        self.process = subprocess.Popen(command)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def reach(self, level):
        """Waits until all rows are in files of this level."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_at(level):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"{self.name}: no files of level {level}: {sorted(map(str, self.data.rglob('*')))}")
            time.sleep(0.05)

    def check(self, level):
        files = self.files()
        engines(self, files)
        each = sum(file.stat().st_size for file in files) / len(self.entries)
        verdict = "" if level == "l0" else f" (aim {BAR}{'' if each <= BAR else ', missed'})"
        print(f"{self.name:24} {level}  {len(files)} files  {len(self.entries):7} rows  {each:6.1f} bytes per row{verdict}", flush=True)

    def files(self):
        return sorted(self.data.glob("d=*/h=*/*.parquet"))

    def is_at(self, level):
        names = [file.name for file in self.files()]
        is_imported = not list(self.data.glob("????-??-??/*.jsonl"))
        return is_imported and names and (level == "l0" or not any(".l0." in name for name in names))

    def exported(self):
        command = [self.program, "logs", "export", "--data", self.data, "--since", "all"]
        out = subprocess.run(command, capture_output=True, check=True, text=True)
        return [json.loads(line) for line in out.stdout.split("\n") if line]


def engines(store, files):
    table = pyarrow.concat_tables([pyarrow.parquet.read_table(file, partitioning=None) for file in files])
    duck, click = DuckDb(store.folder), ClickHouse(store.folder)
    for engine in (duck, click):
        same(f"{store.name}: rows in {engine.name}", engine.one("SELECT count(*) FROM access"), len(store.entries), len(table))
        types(store, engine, table.schema)
        contents(store, engine, table)
        lookup(store, engine, table)
    groups(store, duck, click, table)
    rows = collections.Counter(canonical(row_of(row)) for row in table.to_pylist())
    told = collections.Counter(canonical(row) for row in store.exported())
    if rows != told:
        sys.exit(f"{store.name}: only in the files {list((rows - told))[:2]}, only in the export {list((told - rows))[:2]}")


def types(store, engine, schema):
    told = engine.types()
    for field in schema:
        same(f"{store.name}: type of {field.name} in {engine.name}", told[field.name], engine.type_of(plain(field.type)))


def plain(kind):
    return str(kind.value_type if pyarrow.types.is_dictionary(kind) else kind)


def contents(store, engine, table):
    """Every column, by what can be said of all its values at once."""
    questions, wanted = [], []
    for name in table.column_names:
        column, quoted = table[name], f'"{name}"'
        values = [value for value in column.to_pylist() if value is not None]
        match plain(column.type):
            case "string":
                question, answer = f"sum(octet_length(encode({quoted})))", sum(len(value.encode()) for value in values)
            case kind if kind.startswith("fixed"):
                question, answer = f"count(DISTINCT {quoted})", len(set(values))
            case kind if kind.startswith("timestamp"):
                question, answer = f"sum(epoch_us({quoted}))", sum(micros(value) for value in values)
            case "bool":
                question, answer = f"sum({quoted}::INT)", sum(values)
            case _:
                question, answer = f"sum({quoted}::HUGEINT)", sum(values)
        questions += [f"count({quoted})", engine.dialect(question)]
        wanted += [(name, len(values)), (name, answer)]
    told = engine.one(f"SELECT {', '.join(questions)} FROM access")
    for value, (name, answer) in zip(told, wanted, strict=True):
        same(f"{store.name}: {name} in {engine.name}", int(value or 0), answer)


def micros(value):
    return round((value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) / datetime.timedelta(microseconds=1))


def lookup(store, engine, table):
    """One row by its id, from the ends and from the middle."""
    ids, times = table["id"].to_pylist(), table["ts"].to_pylist()
    for place in (0, len(ids) // 2, len(ids) - 1):
        found = engine.one(engine.dialect(f"SELECT count(*), min(epoch_us(ts)) FROM access WHERE id = from_hex('{ids[place].hex()}')"))
        same(f"{store.name}: lookup in {engine.name}", found, (ids.count(ids[place]), micros(times[place])))


def groups(store, duck, click, table):
    wanted = sorted(collections.Counter(zip(table["kind"].to_pylist(), table["status"].to_pylist())).items(), key=repr)
    for engine in (duck, click):
        told = [((kind, status), count) for kind, status, count in engine.all("SELECT kind, status, count(*) FROM access GROUP BY kind, status")]
        same(f"{store.name}: group by in {engine.name}", sorted(told, key=repr), wanted)


def row_of(row):
    """A row as the JSON object that it came from; what is hidden then is what no sender had written."""
    members = json.loads(row["body"] or "{}", object_pairs_hook=list)
    made, named = row["id"][6] >> 4 == MADE_VERSION, {name for name, _ in members}
    others = [row["trace_id"]] + [as_id(value) for name, value in members if name in ("trace_id", "x-request-id")]
    hidden = {name for name in ("id", "ts", "kind") if name in named}
    hidden |= {"id"} if made or row["id"] in others else set()
    hidden |= {"ts"} if row["ts"] == row["recv"] else set()
    hidden |= {"kind"} if row["kind"] == "" else set()
    shown = {name: value for name, value in row.items() if value is not None and name not in hidden | {"body"}}
    return {name: member(name, value) for name, value in shown.items()} | json.loads(row["body"] or "{}")


def as_id(value):
    text = str(value).replace("-", "")
    return bytes.fromhex(text) if re.fullmatch("[0-9a-f]{32}", text) else None


def member(name, value):
    match value:
        case bytes() if name == "id":
            return str(samples.uuid.UUID(bytes=value))
        case bytes():
            return value.hex()
        case datetime.datetime():
            return samples.text_of(value)
        case _ if name in ("try_log", "last_seqs", "cut"):
            return json.loads(value)
    return value


def canonical(row):
    return json.dumps(row, sort_keys=True)


class DuckDb:
    name = "DuckDB"
    TYPES = {"uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT", "bool": "BOOLEAN"}
    TYPES |= {"string": "VARCHAR", "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE"}

    def __init__(self, folder):
        self.base = duckdb.connect()
        self.base.execute(f"CREATE VIEW access AS FROM read_parquet('{folder}/{FILES}')")

    def all(self, statement):
        return self.base.execute(statement).fetchall()

    def one(self, statement):
        row = self.all(statement)[0]
        return row if len(row) > 1 else row[0]

    def types(self):
        return {row[0]: row[1] for row in self.all("DESCRIBE access")}

    def type_of(self, kind):
        return "BLOB" if kind.startswith("fixed") else self.TYPES[kind]

    def dialect(self, text):
        return text


class ClickHouse:
    name = "ClickHouse"
    TYPES = {"uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "bool": "Bool"}
    TYPES |= {"string": "String", "timestamp[us, tz=UTC]": "DateTime64(6, 'UTC')"}

    def __init__(self, folder):
        self.source = f"file('{folder}/{FILES}', Parquet)"

    def all(self, statement):
        told = chdb.query(statement.replace("access", self.source), "JSONCompactEachRow")
        return [tuple(json.loads(line)) for line in str(told).splitlines()]

    def one(self, statement):
        row = tuple(int(value or 0) for value in self.all(statement)[0])
        return row if len(row) > 1 else row[0]

    def types(self):
        named = self.all("DESCRIBE access")
        return {row[0]: re.sub(r"(Nullable|LowCardinality)\((.*)\)", r"\2", re.sub(r"LowCardinality\((.*)\)", r"\1", row[1])) for row in named}

    def type_of(self, kind):
        fixed = re.fullmatch(r"fixed_size_binary\[(\d+)\]", kind)
        return f"FixedString({fixed[1]})" if fixed else self.TYPES[kind]

    def dialect(self, text):
        text = re.sub(r'sum\(octet_length\(encode\(([\w"]+)\)\)\)', r"sum(length(\1))", text)
        text = re.sub(r'epoch_us\(([\w"]+)\)', r"toInt128(toUnixTimestamp64Micro(\1))", text)
        return re.sub(r'([\w"]+)::\w*INT\)', r"toInt128(\1))", text).replace("from_hex(", "unhex(")


def readme(folder):
    """Every block of config/README.md behind `<!-- run: ENGINE -->` does what it says, where people would run it."""
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- run: (\w+) -->\n+```\w+\n(.*?)```", text, re.DOTALL)
    same("engines in config/README.md", {engine for engine, _ in blocks}, {"duckdb", "python", "clickhouse"})
    for engine, block in blocks:
        told = run_block(engine, block, folder)
        if not told.strip():
            sys.exit(f"this block of config/README.md answers nothing:\n{block}")


def run_block(engine, block, folder):
    runner = {
        "python": block,
        "duckdb": f"import duckdb\nfor s in {block!r}.split(';'):\n    s.strip() and print(duckdb.sql(s) or '')",
        "clickhouse": f"import chdb.session\nsession = chdb.session.Session()\nfor s in {block!r}.split(';'):\n    s.strip() and print(session.query(s))",
    }[engine]
    ended = subprocess.run([sys.executable, "-c", runner], cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"this block of config/README.md fails in {engine}:\n{block}\n{ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
