#!/usr/bin/env python3
"""A real proxy with workers under a little load: what its `host` records say, against /proc read at the same time.

    host.py --tollgate PROGRAM

Kills a worker and expects its restart in a record, in the rollups and in `logs stats --host`. Exits 1 when a promise is
broken, 77 when there is no /proc."""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
checked = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True, type=pathlib.Path)
    program = parser.parse_args().tollgate.resolve()
    if not pathlib.Path("/proc/self/stat").exists():
        print("SKIPPED: there is no /proc here")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(program, pathlib.Path(folder))
        try:
            proxy.prove()
        finally:
            proxy.stop()
    print(f"host: {checked} facts checked, all as promised")
    return 0


class Proxy:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.port = free_port()
        config = folder / "tollgate.toml"
        config.write_text(f"""
[server]
http = "127.0.0.1:{self.port}"
https = []
admin = "unix:{folder}/control.sock"
cores = 2
[log]
data = "{folder}/logs"
file = "{folder}/access.log"
host = "1s"
[upstream.app]
workers = {{ command = ["{program}", "whoami"], count = 2, ready = "/healthz" }}
[site."*"]
routes = [{{ path = "/*", proxy = "app" }}]
""".replace("https = []\n", ""))
        self.config, self.log = config, folder / "access.log"
        self.output = open(folder / "output", "w+")
        self.process = subprocess.Popen([program, "run", "--config", config], cwd=folder, stdout=self.output, stderr=self.output)
        wait("the proxy answers", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            self.output.seek(0)
            sys.exit(f"the proxy has ended: {self.output.read()}")
        try:
            return self.get() == 200
        except OSError:
            return False

    def get(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def records(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [record for record in map(json.loads, lines) if record["kind"] == "host"]

    def next_record(self, holds=lambda record: True):
        known = len(self.records())
        wait("a host record", lambda: any(holds(record) for record in self.records()[known:]))
        return next(record for record in self.records()[known:] if holds(record))

    def logs(self, *arguments, code=0):
        command = [self.program, "logs", *arguments, *([] if "--data" in arguments else ["--config", self.config])]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE)
        check(done.returncode == code, f"{' '.join(arguments)} ends with {done.returncode}: {done.stderr}")
        return done.stdout

    def prove(self):
        self.against_proc()
        self.under_load()
        self.killed_worker()
        self.in_the_service()

    def against_proc(self):
        held = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(20)]
        pid = self.process.pid
        record = self.next_record(lambda record: record["conns"] >= 20)
        near("rss_b", record["rss_b"], status(pid, "VmRSS") * 1024, 0.25)
        near("mem_total_b", record["mem_total_b"], meminfo("MemTotal") * 1024, 0.001)
        near("mem_avail_b", record["mem_avail_b"], meminfo("MemAvailable") * 1024, 0.2)
        near("fds", record["fds"], len(os.listdir(f"/proc/{pid}/fd")), 0.2)
        check(record["fds_limit"] == limit(pid), "fds_limit is that of /proc/PID/limits")
        disk = os.statvfs(self.folder)
        near("disk_total_b", record["disk_total_b"], disk.f_blocks * disk.f_frsize, 0.001)
        near("disk_free_b", record["disk_free_b"], disk.f_bavail * disk.f_frsize, 0.1)
        load = pathlib.Path("/proc/loadavg").read_text().split()
        for name, now in zip(("load1", "load5", "load15"), load):
            check(abs(record[name] - float(now)) <= 1 + float(now) * 0.3, f"{name} {record[name]} is near {now}")
        check(0 <= record["cpu_pct"] <= 100, f"cpu_pct {record['cpu_pct']}")
        check(record["conns"] in range(20, 25), f"{record['conns']} connections, 20 are held open")
        check([core["core"] for core in record["cores"]] == [0, 1], "two cores tell their lag")
        check(record["cores_stuck"] == 0 and record["lag_max_us"] < 5_000_000, f"lag_max_us {record['lag_max_us']}")
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
        check(abs(told - used) < 0.5 + used * 0.3, f"records say {told:.2f} s of CPU, /proc {used:.2f} s in {seconds:.1f} s")
        check(sum(record["records_new"] for record in between) >= sent, f"{sent} requests are among records_new")
        check(after["dropped"] == 0 and after["sinks_stuck"] == 0, "nothing is lost and all sinks take")
        seqs = [record["seq"] for record in self.records()]
        check(seqs == sorted(set(seqs)), "each record has its number")

    def get_until(self, deadline):
        count = 0
        while time.monotonic() < deadline:
            check(self.get() == 200, "requests are answered")
            count += 1
        return count

    def killed_worker(self):
        record = self.next_record(lambda record: all(worker["state"] == "serving" for worker in record["workers"]))
        check([worker["worker"] for worker in record["workers"]] == ["app-0", "app-1"], "both workers are told")
        victim = record["workers"][1]
        near("rss_b of a worker", victim["rss_b"], status(victim["pid"], "VmRSS") * 1024, 0.25)
        os.kill(victim["pid"], signal.SIGKILL)
        record = self.next_record(lambda record: record["restarts_new"] > 0)
        check(record["restarts"] == 1 and record["restarts_new"] == 1, "the restart is told once")
        wait("it serves again", lambda: self.records()[-1]["workers_down"] == 0)
        last = self.records()[-1]
        check(last["workers"][1]["restarts"] == 1 and last["workers"][1]["pid"] != victim["pid"], "by another process")
        check(sum(record["restarts_new"] for record in self.records()) == 1, "and in no other record")

    def in_the_service(self):
        # What the file has the service has a moment later.
        seq = self.records()[-1]["seq"]
        stored = lambda: [json.loads(line) for line in self.logs("search", "kind:host", "-n", "1000", "-o", "json").splitlines()]
        wait("the service has them", lambda: any(row.get("seq", 0) >= seq for row in stored()))
        rows = {row["seq"]: row for row in stored() if row["kind"] == "host"}
        for record in self.records():
            if record["seq"] <= seq:
                row = rows[record["seq"]]
                row = {name: value for name, value in row.items() if name not in ("recv", "from")}
                check(row == record, "a row is the record that the file has")
        quiet = [json.loads(line) for line in self.logs("search", "-n", "1000", "-o", "json").splitlines()]
        check(not any(row["kind"] == "host" for row in quiet), "nobody sees them who has not asked")
        check("host" not in self.logs("tail", "-n", "500").split(), "nor in tail")
        page = self.logs("stats", "--host")
        for word in ("cpu", "memory", "load", "files", "disk", "network", "lag", "traffic", "app-0", "app-1", "sink"):
            check(word in page, f"{word} stands on the page")
        print(page)
        print(self.logs("stats", "--host", "--every", "10s"))
        told = json.loads(self.logs("stats", "--host", "-o", "json").splitlines()[0])
        check(told["restarts"] == 1 and told["newest"]["kind"] == "host", "JSON has the sums and the newest record")
        self.logs("stats", "--host", "--by", "route", code=2)
        minutes = self.rollups()
        check(sum(row["restarts"] for row in minutes) == 1, "rollups have the restart")
        check(max(row["cpu_pct_max"] for row in minutes) >= max(record["cpu_pct"] for record in self.records() if record["seq"] <= seq), "and the highest CPU")
        self.stop()
        check(json.loads(self.logs("stats", "--host", "--data", "logs", "-o", "json").splitlines()[0])["restarts"] == 1, "a directory answers too")

    def rollups(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.folder / "logs/ingest.sock"))
        connection.sendall(b"GET /rollups?of=host HTTP/1.1\r\nhost: logs\r\nconnection: close\r\n\r\n")
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
        head, body = answer.split(b"\r\n\r\n", 1)
        check(b" 200 " in head.split(b"\r\n")[0], f"rollups answer: {head[:60]}")
        return json.loads(body)["rows"]


def check(holds, what):
    global checked
    checked += 1
    if not holds:
        sys.exit(f"BROKEN: {what}")


def near(name, told, seen, by):
    check(abs(told - seen) <= seen * by + 4, f"{name}: the record says {told}, /proc {seen}")


def wait(what, holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"BROKEN: {what}: not within {PATIENCE} s")
        time.sleep(0.1)


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


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
