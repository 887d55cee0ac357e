#!/usr/bin/env python3
"""Lines of applications in a real log service: what loggers of several languages write comes back as it was sent, has
its time and level, is found by the same filters, and joins its request.

    lines.py --tollgate PROGRAM

Asks the service, then its directory, then a directory whose rows are in Parquet files. Needs pyarrow (PyPI)."""

import csv
import datetime
import importlib.util
import io
import json
import select
import subprocess
import sys

from stage import Service, Stage, until

ID = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
#: What the service adds to an object; a level that is written otherwise is kept as level_in.
ADDED = {"recv", "from", "level", "level_in", "rid", "trace_id", "span_id", "ts"}


def main():
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=512_000)
    sent = lines(now)
    everything = [request(now), *sent.values()]
    with Stage(__doc__) as stage:
        store, files = Store(stage), Store(stage, name="files")
        store.start()
        store.post(everything)
        part(stage, "a service", lambda: prove(stage, lambda *words, code=0: store.logs(*words, "--service", store.address, code=code), sent, now))
        part(stage, "tail", lambda: store.tail(sent))
        store.stop()
        part(stage, "its directory", lambda: prove(stage, store.logs_of_directory, sent, now))
        files.import_old(everything, now)
        part(stage, "a directory of Parquet files", lambda: prove(stage, files.logs_of_directory, sent, now))
        if importlib.util.find_spec("pyarrow"):
            part(stage, "an export read by pyarrow", files.exported)
        else:
            stage.skip("pyarrow", "PyPI's package is not here")
        return stage.end()


def part(stage, name, prove_it):
    before = stage.facts
    prove_it()
    stage.check(f"{name}: each line is as it should be", True, f"{stage.facts - before} facts")


def request(now):
    return {"v": 1, "kind": "request", "ts": text(now), "id": ID, "rid": "shop-4711", "trace_id": TRACE, "proxy": "edge", "boot": 1,
            "core": 0, "seq": 1, "conn": 7, "method": "GET", "host": "shop.example", "path": "/cart", "status": 500, "dur_us": 9000}


def text(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def lines(now):
    """One line of each logger, by its name."""
    epoch = now.timestamp()
    return {
        "pino": {"level": 50, "time": int(epoch * 1e3), "pid": 7, "hostname": "web-1", "name": "cart", "req_id": "shop-4711", "msg": "card declined",
                 "user": {"id": 42, "name": "Zoë"}, "amount": 250.75},
        "winston": {"level": "warn", "message": "slow query", "timestamp": text(now), "requestId": "shop-4711", "order_id": 7, "amount": 50},
        "zap": {"level": "error", "ts": epoch, "logger": "cart.db", "caller": "db/x.go:7", "msg": "no rows", "traceId": TRACE},
        "logrus": {"level": "warning", "time": text(now), "msg": "retry", "attempt": 3},
        "slog": {"time": now.isoformat(), "level": "INFO", "msg": "started", "source": {"function": "main", "line": 12}},
        "ecs flat": {"@timestamp": text(now), "log.level": "ERROR", "message": "boom", "ecs.version": "1.6.0", "service.name": "payments", "trace.id": TRACE,
                     "http.request.id": "shop-4711", "error": {"stack_trace": "a\n  b"}},
        "ecs nested": {"@timestamp": text(now), "log": {"level": "debug", "logger": "a.b.C"}, "message": "deep", "service": {"name": "payments"},
                       "trace": {"id": TRACE}, "user": {"id": 43}, "host": {"name": "web-2"}},
        "python": {"asctime": "2026-11-21 09:14:03,512", "levelname": "CRITICAL", "name": "app", "message": "out of stock", "x-request-id": ID},
        "otel": {"timestamp": int(epoch * 1e9), "severity_text": "Error", "severity_number": 17, "body": "failed", "trace_id": TRACE, "span_id": "00f067aa0ba902b7",
                 "attributes": {"order.id": 7}},
        "docker": {"log": "GET /cart took 9ms\n", "stream": "stdout", "time": text(now)},
        "stackdriver": {"severity": "NOTICE", "message": "scaled", "timestamp": {"seconds": int(epoch), "nanos": 0}, "labels": {"k8s/pod": "a-1"}},
        "odd": {"a": [1, 2.50, None, {"b": "\u0000\u202e"}], "": 1, "with \"quotes\"": True, "big": 12345678901234567890123, "level": {"not": "a level"}, "amount": 1e3},
    }


LEVELS = {"pino": "error", "winston": "warn", "zap": "error", "logrus": "warn", "slog": "info", "ecs flat": "error", "ecs nested": "debug",
          "python": "critical", "otel": "error", "stackdriver": "notice"}
#: What only that line says.
MARKS = {"pino": "card declined", "winston": "slow query", "ecs flat": "boom", "python": "out of stock"}
TIMED = {"pino", "winston", "zap", "logrus", "slog", "ecs flat", "ecs nested", "otel", "docker"}


class Store(Service):
    def __init__(self, stage, name="service"):
        super().__init__(stage, name=name)
        self.address = f"unix:{self.socket}"

    def import_old(self, entries, now):
        """Rows become files at once only when a start takes over the lines of an earlier version."""
        day = self.data / now.strftime("%Y-%m-%d")
        day.mkdir(parents=True)
        lines = [f'{{"recv":"{text(now + datetime.timedelta(seconds=1))}","from":"sample",{json.dumps(entry)[1:]}\n' for entry in entries]
        (day / now.strftime("%H.jsonl")).write_text("".join(lines))
        self.start()
        until("rows in files", lambda: list(self.data.glob("d=*/h=*/*.parquet")) and not list(day.glob("*.jsonl")))
        self.stop()

    def exported(self):
        """A Parquet file of an export is a part of a store like any other: the rows come out of it as they were sent."""
        import pyarrow.parquet

        path = self.stage.folder / "export.parquet"
        self.logs_of_directory("export", "-kind:request", "--since", "1h", "-o", path)
        rows = pyarrow.parquet.read_table(path).to_pylist()
        said = lambda row: f"{row['msg']} {row['body']}"
        levels = {name: next(row["level"] for row in rows if mark in said(row)) for name, mark in MARKS.items()}
        self.stage.fact(f"the level is a column: {levels}", levels == {name: LEVELS[name] for name in MARKS})
        self.stage.fact("a large number keeps its digits", any("12345678901234567890123" in (row["body"] or "") for row in rows))

    def post(self, entries):
        body = "\n".join(json.dumps(entry) for entry in entries).encode()
        told = json.loads(self.call("POST", "/logs", body, {"content-type": "application/x-ndjson"}))
        self.stage.fact(f"all are taken: {told}", not told.get("rejected"))

    def logs(self, *words, code=0):
        done = self.stage.tell("logs", *words)
        self.stage.fact(f"{words} ends with {done.returncode}: {done.stderr}", done.returncode == code)
        return done.stdout

    def logs_of_directory(self, *words, code=0):
        return self.logs(*words, "--data", self.data, code=code)

    def tail(self, sent):
        argv = [self.stage.tollgate, "logs", "tail", "-f", "-n", "0", "level:error", "--service", self.address, "-o", "json"]
        tail = self.stage.run("tail", argv, stdout=subprocess.PIPE, text=True)
        # What is posted before it listens it does not see: post until it does.
        until("a line in the tail", lambda: self.post([sent["pino"], sent["winston"]]) or readable(tail.stdout))
        row = json.loads(tail.stdout.readline())
        tail.terminate()
        tail.wait(30)
        self.stage.fact("tail follows with a filter by level", row["msg"] == "card declined")


def prove(stage, logs, sent, now):
    fact = stage.fact
    rows = lambda *filter: [row for row in map(json.loads, logs("search", *filter, "--since", "1h", "-n", "1000", "-o", "json").splitlines()) if row.get("kind") != "report"]
    found = {}
    for row in rows("-kind:request"):
        name = next((name for name, line in sent.items() if all(same(row, key, value) for key, value in line.items())), None)
        fact(f"a row is what was sent: {row}", name)
        fact(f"{name}: only known names are added: {set(row) - set(sent[name])}", set(row) - set(sent[name]) <= ADDED)
        found.setdefault(name, row)
    fact(f"all come back: {set(sent) - set(found)}", set(found) == set(sent))
    for name, level in LEVELS.items():
        fact(f"{name} is of level {level}: {found[name].get('level')}", found[name]["level"] == level)
    for name in TIMED:
        told = found[name]["ts"]
        moment = told if isinstance(told, float) else datetime.datetime.fromisoformat(told).timestamp()
        fact(f"{name}: ts {told}", abs(moment - now.timestamp()) < 0.01)

    def finds(filter, *names):
        told = {name for row in rows(filter) for name in sent if all(same(row, key, value) for key, value in sent[name].items())}
        fact(f"{filter} finds {sorted(told)}, not {sorted(names)}", told == set(names))

    finds("user.id:42", "pino")
    finds("user.id>42", "ecs nested")
    finds("user.name:zoë", "pino")
    finds("order_id:7", "winston")
    finds("amount>100", "pino", "odd")
    finds("amount>100 amount<1000", "pino")
    finds("level:(error critical)", "pino", "zap", "ecs flat", "python", "otel")
    finds("level:warn", "winston", "logrus")
    finds("-level:debug level:* -level:(info notice error critical)", "winston", "logrus", "odd")
    finds("msg:\"slow query\"", "winston")
    finds("message~declined", "pino")
    finds("\"out of stock\"", "python")
    finds("took", "docker")
    finds("service:payments", "ecs flat", "ecs nested")
    finds("logger:a.b.C", "ecs nested")
    finds("hostname:web-2", "ecs nested")
    finds("rid:shop-4711 -kind:request", "pino", "winston", "ecs flat")
    finds("request_id:shop-4711 -kind:request", "pino", "winston", "ecs flat")
    finds(f"trace_id:{TRACE} -kind:request", "zap", "ecs flat", "ecs nested", "otel")
    finds("span_id:00f067aa0ba902b7", "otel")
    finds("error.stack_trace:*", "ecs flat")
    finds("attributes.order.id:7", "otel")
    finds("level_in:50", "pino")

    def joined(asked):
        told = [row for row in map(json.loads, logs("show", asked, "-o", "json").splitlines())]
        text = json.dumps(told)
        for message in ("card declined", "slow query", "no rows", "boom", "deep", "out of stock", "failed"):
            fact(f"show {asked} has the line {message!r}", message in text)
        fact(f"show {asked} has no line of others", "started" not in text and "retry" not in text)

    for asked in (ID, "shop-4711", TRACE):
        joined(asked)

    fact("top is a table for people, too", "error" in logs("top", "level", "-kind:request", "--since", "1h"))
    top = {row.get("level"): row["count"] for row in map(json.loads, logs("top", "level", "-kind:request", "--since", "1h", "--json").splitlines()) if "count" in row}
    fact(f"top counts lines by level: {top}", top.get("error", 0) >= 4 and top.get("warn", 0) >= 2)
    page = logs("search", "-kind:request", "--since", "1h", "-n", "100")
    for part in ("error card declined", "payments error boom", "warn slow query"):
        fact(f"{part!r} stands in the form for people: {page}", part in page)
    exported = [json.loads(row) for row in logs("export", "-kind:request", "--since", "1h", "--as", "ndjson").splitlines()]
    for name, line in sent.items():
        fact(f"{name} is exported as it was sent", any(all(same(row, key, value) for key, value in line.items()) for row in exported))
    table = list(csv.DictReader(io.StringIO(logs("export", "-kind:request", "--since", "1h", "--as", "csv", "--columns", "ts,level,msg,user.id,order_id"))))
    fact(f"CSV has fields of applications: {table[:3]}", any(row["level"] == "error" and row["user.id"] == "42" and row["msg"] == "card declined" for row in table))


def same(row, key, value):
    """A level that is written otherwise is the one member that is kept under another name."""
    return row.get(key) == value or key == "level" and row.get("level_in") == value


def readable(pipe):
    return bool(select.select([pipe], [], [], 0.2)[0])


if __name__ == "__main__":
    sys.exit(main())
