#!/usr/bin/env python3
"""Alarms end to end: a proxy with its log service, an upstream that begins to fail, and a server that takes what Slack takes.

    alerts.py --tollgate PROGRAM

The upstream answers 503: the firing message arrives although the server first answers 500 and 429, with three ids that `logs show`
finds. The log service is killed while the alarm fires: nothing is told anew. The upstream recovers: the resolved message
arrives. Everything is in the log, and the webhook's address is in no answer, log or file."""

import json
import os
import pathlib
import signal
import socket
import sys
import time

from shipping import Receiver
from stage import Proxy, Stage, comes, until

SECRET = "T0XYZ-B0XYZ-s3cr3t"
CONFIG = """
[server]
http = "127.0.0.1:{proxy}"
admin = "unix:{folder}/control.sock"
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


class Slack:
    def __init__(self):
        self.seen, self.refusals = [], [(500, {}), (429, {"retry-after": "1"})]

    def take(self, path, headers, body):
        if path != f"/services/{SECRET}":
            return 404, {}, b"no_service"
        if self.refusals:
            return *self.refusals.pop(0), b"not now"
        self.seen.append(json.loads(body))
        return 200, {}, b"ok"

    def sent(self, kind):
        return [one for one in self.seen if f":{kind}:" in one["text"]]


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


class Scene(Proxy):
    def __init__(self, stage):
        self.app_status, self.slack = 200, Slack()
        self.app = Receiver(lambda *_: (self.app_status, {}, b"app")).start()
        receiver = Receiver(self.slack.take).start()
        self.environment = {"SLACK_URL": f"http://127.0.0.1:{receiver.port}/services/{SECRET}"}
        super().__init__(stage)

    def text(self, *_):
        return CONFIG.format(proxy=self.port, app=self.app.port, folder=self.stage.folder)

    def promise(self, text, holds, seen=""):
        self.stage.check(text, holds, "" if holds else seen)

    def logs(self, *words):
        return self.stage.tell("-c", self.config, "logs", *words, environment=self.environment)

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
        self.promise("without errors everything is ok", "firing" not in "".join(row for row in told.stdout.splitlines() if "errors" in row), told)
        self.slack.refusals, refusals = [], self.slack.refusals
        tested = self.logs("alerts", "test", "errors")
        self.promise("a test is sent to both", tested.returncode == 0 and tested.stdout.count("sent") == 2, tested)
        self.promise("a test arrives", len(self.slack.sent("information_source")) == 1)
        self.slack.refusals = refusals

        machine = until("told of a machine", lambda: self.rows("kind:alert alert:machine state:firing"))[0]
        self.promise("a host record makes an alarm that names its proxy", machine["proxy"] == socket.gethostname(), machine)

        self.app_status = 503
        self.ask(["/api/pay"] * 12)
        self.ask(["/other"] * 20)
        fired = until("told", lambda: self.slack.sent("rotating_light"))[0]
        text = json.dumps(fired, ensure_ascii=False)
        self.promise("the firing message names alarm, route and value", all(word in text for word in ("errors", "/api/*", "100%")), text)
        self.promise("it has the text and the button", "The shop fails." in text and "https://wiki.example/shop" in text, text)
        attachment = fired["attachments"][0]["text"]
        ids = [line.split("`")[1] for line in attachment.splitlines() if line.startswith("`")]
        self.promise("it has three samples", len(set(ids)) == 3, attachment)
        for one in ids:
            shown = self.logs("show", one)
            self.promise(f"logs show {one[:8]}… finds it", shown.returncode == 0 and "503" in shown.stdout, shown)
        tries = until("recorded", lambda: self.rows("kind:alert to:slack delivery:sent state:firing"))
        self.promise("it came with the third try, as is recorded", tries[0]["try"] == 3, tries)
        failed = [row["err"] for row in self.rows("kind:alert to:slack delivery:failed")]
        self.promise("the failed tries are recorded", sorted(why[:14] for why in failed) == ["it answers 429", "it answers 500"], failed)

        old = service_of(self.process.pid)
        os.kill(old, signal.SIGKILL)
        until("started again", lambda: service_of(self.process.pid) not in (None, old))
        standing = until("listed again", lambda: [one for one in self.alarms() if one["state"] == "firing" and one["alert"] == "errors"])
        self.promise("after kill -9 of the log service the alarm fires still", standing[0]["key"] == "/api/*", standing)

        self.app_status = 200
        comes(self.told_while_asked, 60)
        resolved = self.slack.sent("white_check_mark")
        self.promise("the resolved message arrives", len(resolved) == 1, self.slack.seen)
        self.promise("the firing message came once", len(self.slack.sent("rotating_light")) == 1, self.slack.seen)
        states = [row["state"] for row in sorted(self.rows("kind:alert alert:errors -delivery:*"), key=lambda row: row["ts"])]
        self.promise("each change is recorded once", states == ["firing", "resolved"], states)
        program = [json.loads(line)["state"] for line in (self.stage.folder / "told.json").read_text().splitlines()]
        self.promise("the program was told the same", program == ["test", "firing", "resolved"], program)
        told = self.logs("alerts")
        self.promise("it does not fire any more", "/api/*" not in told.stdout, told)

        silent = self.logs("alerts", "silence", "slow", "--for", "1h")
        self.promise("an alarm can be silenced", silent.returncode == 0 and any(one["silent"] for one in self.alarms()), silent)

        self.reload()

    def told_while_asked(self):
        self.ask(["/api/pay"] * 20)
        time.sleep(1)
        return self.slack.sent("white_check_mark")

    def reload(self):
        def with_text(text):
            self.config.write_text(text)
            told = self.stage.tell("-c", self.config, "reload", environment=self.environment)
            self.promise("a reload is taken", told.returncode == 0 and "restart" not in told.stdout + told.stderr, told)

        service = service_of(self.process.pid)
        with_text("# Another line.\n" + self.config.read_text())
        with_text(self.config.read_text() + '[alert.later]\nwhen = "requests > 100/s"\n')
        until("reloaded", lambda: any(one["alert"] == "later" for one in self.alarms()))
        self.promise("a new alarm needs no restart of the proxy", service_of(self.process.pid) != service)
        service = service_of(self.process.pid)
        with_text("# And another.\n" + self.config.read_text())
        time.sleep(1)
        self.promise("a line more does not start the log service again", service_of(self.process.pid) == service)
        self.promise("a silence outlives that", any(one["silent"] for one in self.alarms() if one["alert"] == "slow"), self.alarms())

    def end(self):
        self.stop()
        files = [path for path in self.stage.folder.rglob("*") if path.is_file()]
        hidden = [path for path in files if SECRET.encode() in path.read_bytes()]
        self.promise("the webhook's address is in no file", len(files) > 3 and not hidden, hidden)


def main():
    with Stage(__doc__) as stage:
        scene = Scene(stage).start()
        scene.run()
        scene.end()
        return stage.end()


if __name__ == "__main__":
    sys.exit(main())
