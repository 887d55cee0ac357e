#!/usr/bin/env python3
"""A real proxy with workers under a little load: what its `host` records say, against /proc read at the same time.

    host.py --tollgate PROGRAM

Kills a worker and expects its restart in a record, in the rollups and in `logs stats --host`."""

import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import sys
import time

from stage import Proxy, Stage, absent, until


def main():
    if not pathlib.Path("/proc/self/stat").exists():
        absent("/proc")
    with Stage(__doc__) as stage:
        proxy = Host(stage).start()
        for part in (proxy.against_proc, proxy.under_load, proxy.killed_worker, proxy.in_the_service):
            before = stage.facts
            part()
            stage.check(part.__name__.replace("_", " "), True, f"{stage.facts - before} facts")
        return stage.end()


class Host(Proxy):
    def text(self, *_):
        folder = self.stage.folder
        self.log = folder / "access.log"
        return f'''[server]
http = "127.0.0.1:{self.port}"
admin = "unix:{folder}/control.sock"
cores = 2
[log]
data = "{folder}/logs"
file = "{self.log}"
host = "1s"
[upstream.app]
workers = {{ command = ["{self.stage.tollgate}", "whoami"], count = 2, ready = "/healthz" }}
[site."localhost"]
routes = [{{ path = "/*", proxy = "app" }}]
'''

    def fact(self, what, holds):
        self.stage.fact(what, holds)

    def near(self, name, told, seen, by):
        self.fact(f"{name}: the record says {told}, /proc {seen}", abs(told - seen) <= seen * by + 4)

    def records(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [record for record in map(json.loads, lines) if record["kind"] == "host"]

    def next_record(self, holds=lambda record: True):
        known = len(self.records())
        until("a host record", lambda: any(holds(record) for record in self.records()[known:]))
        return next(record for record in self.records()[known:] if holds(record))

    def logs(self, *arguments, code=0):
        done = self.stage.tell("logs", *arguments, *([] if "--data" in arguments else ["--config", self.config]))
        self.fact(f"{' '.join(arguments)} ends with {done.returncode}: {done.stderr}", done.returncode == code)
        return done.stdout

    def against_proc(self):
        held = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(20)]
        pid = self.process.pid
        record = self.next_record(lambda record: record["conns"] >= 20)
        self.near("rss_b", record["rss_b"], status(pid, "VmRSS") * 1024, 0.25)
        self.near("mem_total_b", record["mem_total_b"], meminfo("MemTotal") * 1024, 0.001)
        self.near("mem_avail_b", record["mem_avail_b"], meminfo("MemAvailable") * 1024, 0.2)
        self.near("fds", record["fds"], len(os.listdir(f"/proc/{pid}/fd")), 0.2)
        self.fact("fds_limit is that of /proc/PID/limits", record["fds_limit"] == limit(pid))
        disk = os.statvfs(self.stage.folder)
        self.near("disk_total_b", record["disk_total_b"], disk.f_blocks * disk.f_frsize, 0.001)
        self.near("disk_free_b", record["disk_free_b"], disk.f_bavail * disk.f_frsize, 0.1)
        load = pathlib.Path("/proc/loadavg").read_text().split()
        for name, now in zip(("load1", "load5", "load15"), load):
            self.fact(f"{name} {record[name]} is near {now}", abs(record[name] - float(now)) <= 1 + float(now) * 0.3)
        self.fact(f"cpu_pct {record['cpu_pct']}", 0 <= record["cpu_pct"] <= 100)
        self.fact(f"{record['conns']} connections, 20 are held open", record["conns"] in range(20, 25))
        self.fact("two cores tell their lag", [core["core"] for core in record["cores"]] == [0, 1])
        self.fact(f"lag_max_us {record['lag_max_us']}", record["cores_stuck"] == 0 and record["lag_max_us"] < 5_000_000)
        for one in held:
            one.close()

    def under_load(self):
        own, at = cpu_seconds(self.process.pid), time.monotonic()
        before = self.next_record()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            deadline = time.monotonic() + 4
            answers = list(pool.map(lambda _: self.get_until(deadline), range(8)))
        sent = sum(answers)
        after = self.next_record()
        seconds = time.monotonic() - at
        used = cpu_seconds(self.process.pid) - own
        between = [record for record in self.records() if before["seq"] < record["seq"] <= after["seq"]]
        told = sum(record["own_cpu_pct"] / 100 * record["interval_us"] / 1e6 for record in between)
        self.fact(f"records say {told:.2f} s of CPU, /proc {used:.2f} s in {seconds:.1f} s", abs(told - used) < 0.5 + used * 0.3)
        self.fact(f"{sent} requests are among records_new", sum(record["records_new"] for record in between) >= sent)
        self.fact("nothing is lost and all sinks take", after["dropped"] == 0 and after["sinks_stuck"] == 0)
        seqs = [record["seq"] for record in self.records()]
        self.fact("each record has its number", seqs == sorted(set(seqs)))

    def get_until(self, deadline):
        count = 0
        while time.monotonic() < deadline:
            self.fact("requests are answered", self.ask(["/"]) == 1)
            count += 1
        return count

    def killed_worker(self):
        record = self.next_record(lambda record: all(worker["state"] == "serving" for worker in record["workers"]))
        self.fact("both workers are told", [worker["worker"] for worker in record["workers"]] == ["app-0", "app-1"])
        victim = record["workers"][1]
        self.near("rss_b of a worker", victim["rss_b"], status(victim["pid"], "VmRSS") * 1024, 0.25)
        os.kill(victim["pid"], signal.SIGKILL)
        record = self.next_record(lambda record: record["restarts_new"] > 0)
        self.fact("the restart is told once", record["restarts"] == 1 and record["restarts_new"] == 1)
        until("it serves again", lambda: self.records()[-1]["workers_down"] == 0)
        last = self.records()[-1]
        self.fact("by another process", last["workers"][1]["restarts"] == 1 and last["workers"][1]["pid"] != victim["pid"])
        self.fact("and in no other record", sum(record["restarts_new"] for record in self.records()) == 1)

    def in_the_service(self):
        # What the file has the service has a moment later.
        seq = self.records()[-1]["seq"]
        stored = lambda: [json.loads(line) for line in self.logs("search", "kind:host", "-n", "1000", "-o", "json").splitlines()]
        until("the service has them", lambda: any(row.get("seq", 0) >= seq for row in stored()))
        rows = {row["seq"]: row for row in stored() if row["kind"] == "host"}
        for record in self.records():
            if record["seq"] <= seq:
                row = rows[record["seq"]]
                row = {name: value for name, value in row.items() if name not in ("recv", "from")}
                self.fact("a row is the record that the file has", row == record)
        quiet = [json.loads(line) for line in self.logs("search", "-n", "1000", "-o", "json").splitlines()]
        self.fact("nobody sees them who has not asked", not any(row["kind"] == "host" for row in quiet))
        self.fact("nor in tail", "host" not in self.logs("tail", "-n", "500").split())
        page = self.logs("stats", "--host")
        for word in ("cpu", "memory", "load", "files", "disk", "network", "lag", "traffic", "app-0", "app-1", "sink"):
            self.fact(f"{word} stands on the page", word in page)
        self.fact("a table by time", "cpu" in self.logs("stats", "--host", "--every", "10s"))
        told = json.loads(self.logs("stats", "--host", "-o", "json").splitlines()[0])
        self.fact("JSON has the sums and the newest record", told["restarts"] == 1 and told["newest"]["kind"] == "host")
        self.logs("stats", "--host", "--by", "route", code=2)
        minutes = self.rollups()
        self.fact("rollups have the restart", sum(row["restarts"] for row in minutes) == 1)
        self.fact("and the highest CPU", max(row["cpu_pct_max"] for row in minutes) >= max(record["cpu_pct"] for record in self.records() if record["seq"] <= seq))
        self.stop()
        self.fact("a directory answers too", json.loads(self.logs("stats", "--host", "--data", "logs", "-o", "json").splitlines()[0])["restarts"] == 1)

    def rollups(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.stage.folder / "logs/ingest.sock"))
        connection.sendall(b"GET /rollups?of=host HTTP/1.1\r\nhost: logs\r\nconnection: close\r\n\r\n")
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
        head, body = answer.split(b"\r\n\r\n", 1)
        self.fact(f"rollups answer: {head[:60]}", b" 200 " in head.split(b"\r\n")[0])
        return json.loads(body)["rows"]


def status(pid, name):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


def meminfo(name):
    return int(next(line for line in open("/proc/meminfo") if line.startswith(name + ":")).split()[1])


def limit(pid):
    line = next(line for line in open(f"/proc/{pid}/limits") if line.startswith("Max open files"))
    return int(line.split()[3])


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
