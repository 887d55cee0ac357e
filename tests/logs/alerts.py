#!/usr/bin/env python3
"""Alarms end to end: a proxy with its log service, an upstream that begins to fail, and a server that takes what Slack takes.

    alerts.py --tollgate PROGRAM

The upstream answers 503: the firing message arrives although the server first answers 500 and 429, with three ids that `logs show`
finds. The log service is killed while the alarm fires: nothing is told anew. The upstream recovers: the resolved message
arrives. Everything is in the log, and the webhook's address is in no answer, log or file. Exits 1 when a promise is broken."""

import argparse
import http.client
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SECRET = "T0XYZ-B0XYZ-s3cr3t"
PATIENCE = 90
CONFIG = """
[server]
http = "127.0.0.1:{proxy}"
admin = "unix:{folder}/admin.sock"
[log]
data = "{folder}/logs"
host = "1s"
[upstream.app]
servers = ["127.0.0.1:{app}"]
[site."localhost"]
routes = [{{ path = "/api/*", proxy = "app" }}, {{ path = "/*", respond = "hi" }}]
[alert.errors]
when = "error_share > 50%"
until = "error_share < 20%"
for = "0s"
by = "route"
at_least = 5
notify = ["slack", "program"]
text = "The shop fails."
link = "https://wiki.example/shop"
[alert.slow]
when = "p99 > 30s"
notify = "slack"
[alert.machine]
when = "memory > 0%"
for = "0s"
by = "proxy"
[notify.slack]
slack = "${{SLACK_URL}}"
[notify.program]
command = ["/bin/sh", "-c", "cat >> {folder}/told.json"]
"""

checked = []


def promise(text, holds, detail=""):
    checked.append(text)
    if not holds:
        sys.exit(f"BROKEN: {text} {detail}")
    print(f"ok: {text}", flush=True)


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class App(Answers):
    status = 200

    def do_GET(self):
        self.answer(App.status, b"app")


class Slack(Answers):
    seen = []
    refusals = [(500, ()), (429, [("retry-after", "1")])]

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != f"/services/{SECRET}":
            return self.answer(404, b"no_service")
        if Slack.refusals:
            status, fields = Slack.refusals.pop(0)
            return self.answer(status, b"not now", fields)
        Slack.seen.append(json.loads(body))
        return self.answer(200, b"ok")


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, look, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"BROKEN: never {what}")


def ask(port, path, count):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(count):
        connection.request("GET", path, headers={"host": "localhost"})
        connection.getresponse().read()
    connection.close()


def is_up(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def service_of(pid):
    """The process of the log service, a child of the proxy."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and b"logs" in words and b"serve" in words:
            return int(entry.name)
    return None


def sent(kind):
    return [one for one in Slack.seen if f":{kind}:" in one["text"]]


class Scene:
    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        self.port, app, slack = free_port(), serve(App), serve(Slack)
        self.config = self.folder / "tollgate.toml"
        self.config.write_text(CONFIG.format(proxy=self.port, app=app, folder=folder))
        self.env = dict(os.environ, SLACK_URL=f"http://127.0.0.1:{slack}/services/{SECRET}")
        self.said = open(self.folder / "said", "wb")
        self.proxy = subprocess.Popen([program, "-c", self.config, "run"], env=self.env, stdout=self.said, stderr=self.said)
        until("up", lambda: is_up(self.port))

    def logs(self, *words):
        return subprocess.run([self.program, "-c", self.config, "logs", *words], env=self.env, capture_output=True, text=True)

    def rows(self, query):
        found = [json.loads(line) for line in self.logs("search", query, "-o", "json", "-n", "1000").stdout.splitlines()]
        # The last line is the report.
        return [row for row in found if "recv" in row]

    def alarms(self):
        told = self.logs("alerts", "--json")
        return json.loads(told.stdout)["alerts"] if told.stdout else []

    def run(self):
        until("listed", self.alarms)
        told = self.logs("alerts")
        promise("without errors everything is ok", "firing" not in "".join(row for row in told.stdout.splitlines() if "errors" in row), told)
        Slack.refusals, refusals = [], Slack.refusals
        tested = self.logs("alerts", "test", "errors")
        promise("a test is sent to both", tested.returncode == 0 and tested.stdout.count("sent") == 2, tested)
        promise("a test arrives", len(sent("information_source")) == 1)
        Slack.refusals = refusals

        machine = until("told of a machine", lambda: self.rows("kind:alert alert:machine state:firing"))[0]
        promise("a host record makes an alarm that names its proxy", machine["proxy"] == socket.gethostname(), machine)

        App.status = 503
        ask(self.port, "/api/pay", 12)
        ask(self.port, "/other", 20)
        fired = until("told", lambda: sent("rotating_light"))[0]
        text = json.dumps(fired, ensure_ascii=False)
        promise("the firing message names alarm, route and value", all(word in text for word in ("errors", "/api/*", "100%")), text)
        promise("it has the text and the button", "The shop fails." in text and "https://wiki.example/shop" in text, text)
        attachment = fired["attachments"][0]["text"]
        ids = [line.split("`")[1] for line in attachment.splitlines() if line.startswith("`")]
        promise("it has three samples", len(set(ids)) == 3, attachment)
        for one in ids:
            shown = self.logs("show", one)
            promise(f"logs show {one[:8]}… finds it", shown.returncode == 0 and "503" in shown.stdout, shown)
        tries = until("recorded", lambda: self.rows("kind:alert to:slack delivery:sent state:firing"))
        promise("it came with the third try, as is recorded", tries[0]["try"] == 3, tries)
        failed = [row["err"] for row in self.rows("kind:alert to:slack delivery:failed")]
        promise("the failed tries are recorded", sorted(why[:14] for why in failed) == ["it answers 429", "it answers 500"], failed)

        old = service_of(self.proxy.pid)
        os.kill(old, signal.SIGKILL)
        until("started again", lambda: service_of(self.proxy.pid) not in (None, old))
        standing = until("listed again", lambda: [one for one in self.alarms() if one["state"] == "firing" and one["alert"] == "errors"])
        promise("after kill -9 of the log service the alarm fires still", standing[0]["key"] == "/api/*", standing)

        App.status = 200
        end = time.monotonic() + PATIENCE
        while not sent("white_check_mark") and time.monotonic() < end:
            ask(self.port, "/api/pay", 20)
            time.sleep(1)
        resolved = sent("white_check_mark")
        promise("the resolved message arrives", len(resolved) == 1, Slack.seen)
        promise("the firing message came once", len(sent("rotating_light")) == 1, Slack.seen)
        states = [row["state"] for row in sorted(self.rows("kind:alert alert:errors -delivery:*"), key=lambda row: row["ts"])]
        promise("each change is recorded once", states == ["firing", "resolved"], states)
        program = [json.loads(line)["state"] for line in (self.folder / "told.json").read_text().splitlines()]
        promise("the program was told the same", program == ["test", "firing", "resolved"], program)
        told = self.logs("alerts")
        promise("it does not fire any more", "/api/*" not in told.stdout, told)

        silent = self.logs("alerts", "silence", "slow", "--for", "1h")
        promise("an alarm can be silenced", silent.returncode == 0 and any(one["silent"] for one in self.alarms()), silent)

        self.reload()

    def reload(self):
        def with_text(text):
            self.config.write_text(text)
            told = subprocess.run([self.program, "-c", self.config, "reload"], env=self.env, capture_output=True, text=True)
            promise("a reload is taken", told.returncode == 0 and "restart" not in told.stdout + told.stderr, told)

        service = service_of(self.proxy.pid)
        with_text("# Another line.\n" + self.config.read_text())
        with_text(self.config.read_text() + '[alert.later]\nwhen = "requests > 100/s"\n')
        until("reloaded", lambda: any(one["alert"] == "later" for one in self.alarms()))
        promise("a new alarm needs no restart of the proxy", service_of(self.proxy.pid) != service)
        service = service_of(self.proxy.pid)
        with_text("# And another.\n" + self.config.read_text())
        time.sleep(1)
        promise("a line more does not start the log service again", service_of(self.proxy.pid) == service)
        promise("a silence outlives that", any(one["silent"] for one in self.alarms() if one["alert"] == "slow"), self.alarms())

    def end(self):
        self.proxy.terminate()
        self.proxy.wait(30)
        self.said.close()
        hidden = [path for path in self.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        promise("the webhook's address is in no file", not hidden, hidden)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True, type=pathlib.Path)
    program = parser.parse_args().tollgate.resolve()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(program, folder)
        try:
            scene.run()
            scene.end()
        except BaseException:
            sys.stderr.write((pathlib.Path(folder) / "said").read_text(errors="replace")[-4000:])
            raise
        finally:
            if scene.proxy.poll() is None:
                scene.proxy.kill()
                scene.proxy.wait()
    print(f"{len(checked)} promises kept")


if __name__ == "__main__":
    main()
