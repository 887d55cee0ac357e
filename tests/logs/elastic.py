#!/usr/bin/env python3
"""Elasticsearch's `_bulk`, as a sink: a tollgate ships to the `_bulk` of our own log service, which is killed in the middle, and to a
server that answers as the documentation says Elasticsearch does when it is overloaded, misunderstands a document or is given too much.

    elastic.py --tollgate PROGRAM

Needs nothing but Python: there is no Elasticsearch to be had here."""

import collections
import json
import sys

from shipping import Receiver
from stage import Proxy, Service, Stage, one_input, one_sink, until

TOTAL = 2000


def killed_in_the_middle(stage, form):
    text, port = one_input("http", token="secret", trusted=True)
    service = Service(stage, text, f"service-{form}")
    service.start()
    sink = one_sink("elasticsearch", f"http://127.0.0.1:{port}", user="shipper", password="secret", form=form, linger="50ms", retry_max="1s")
    proxy = Proxy(stage, sink, f"proxy-{form}")
    proxy.start()
    asking = proxy.asking([f"/{form}/{number}" for number in range(TOTAL)], 0.001)
    until("some records", lambda: len(service.rows()) > 100)
    service.kill()
    service.start()
    asking.result()

    name = "path" if form == "native" else "url.path"

    def paths():
        rows = [row.get(name) for row in service.rows()]
        return collections.Counter(path for path in rows if path and path.startswith(f"/{form}/"))

    until("all records", lambda: len(paths()) == TOTAL)
    found = paths()
    stage.check(f"{form}: every request is in the other log, though that was killed", len(found) == TOTAL, len(found))
    stage.check(f"{form}: no request is there twice: its id is the key", max(found.values()) == 1, max(found.values()))
    proxy.stop()
    service.stop()


class Search:
    """Takes at most 50 documents at once, turns every seventh away the first time, and never takes `/bad`."""

    def __init__(self):
        self.seen, self.taken = collections.Counter(), {}

    def take(self, path, headers, body):
        lines = [json.loads(line) for line in body.splitlines()]
        documents = list(zip(lines[::2], lines[1::2]))
        if len(documents) > 50:
            return 413, {}, b"{}"
        items = [{"create": self.one(action["create"]["_id"], document)} for action, document in documents]
        errors = any("error" in item["create"] for item in items)
        return 200, {}, json.dumps({"took": 1, "errors": errors, "items": items}).encode()

    def one(self, key, document):
        self.seen[key] += 1
        if document.get("path", "").startswith("/bad"):
            return {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "no"}}
        if self.seen[key] == 1 and len(self.seen) % 7 == 0:
            return {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue"}}
        if key in self.taken:
            return {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "there"}}
        self.taken[key] = document
        return {"status": 201}


def overloaded(stage):
    server = Search()
    receiver = Receiver(server.take).start()
    sink = one_sink("elasticsearch", f"http://127.0.0.1:{receiver.port}", linger="200ms", retry_max="1s", dead_letter=f"{stage.folder}/dead.jsonl")
    proxy = Proxy(stage, sink, "proxy-overloaded")
    proxy.start()
    bad = [f"/bad/{number}" for number in range(20)]
    proxy.ask(path for number in range(300) for path in [f"/good/{number}", *bad[number:number + 1]])
    good = {f"/good/{number}" for number in range(300)}

    def paths():
        return {document.get("path") for document in list(server.taken.values())}

    until("all good records", lambda: good <= paths())
    dead = stage.folder / "dead.jsonl"
    until("all dead letters", lambda: dead.exists() and len(dead.read_text().splitlines()) >= len(bad))
    proxy.stop()
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    stage.check("every good record is there once", good <= paths())
    stage.check("what was turned away came again", sum(count > 1 for count in server.seen.values()) > 10,
                sum(count > 1 for count in server.seen.values()))
    stage.check("every refused record is a dead letter, once", sorted(one["record"]["path"] for one in letters) == sorted(bad), len(letters))
    stage.check("with the reason", all(one["status"] == 400 and "mapper_parsing_exception" in one["why"] for one in letters))


def main():
    with Stage(__doc__) as stage:
        killed_in_the_middle(stage, "native")
        killed_in_the_middle(stage, "ecs")
        overloaded(stage)
        return stage.end()


if __name__ == "__main__":
    sys.exit(main())
