#!/usr/bin/env python3
"""The sink `loki` sends to a server that answers as Loki's documentation says (no package has Loki): 204 for what it takes, 400
for a line that is too old, 429 now and then; it is away for a while in the middle.

    loki.py --tollgate PROGRAM"""

import json
import sys
import time

from shipping import Receiver, number_of, through_a_restart
from stage import Proxy, Stage, count, one_sink

EACH = 200


def main():
    with Stage(__doc__) as stage:
        prove(stage)
        return stage.end()


def prove(stage):
    entries, seen = [], {"requests": 0}

    def take(path, headers, body):
        seen["requests"] += 1
        if seen["requests"] % 5 == 0:
            return 429, {"retry-after": 0}, b"Ingestion rate limit exceeded"
        if path != "/loki/api/v1/push" or headers["x-scope-orgid"] != "shop" or headers["content-type"] != "application/json":
            return 404, {}, b"page not found"
        pushed = [(stream["stream"], *value) for stream in json.loads(body)["streams"] for value in stream["values"]]
        problem = next(filter(None, map(fault, pushed)), None)
        if problem:
            return 400, {}, problem.encode()
        if any(json.loads(line).get("path") == "/n/13" for _, _, line, *_ in pushed):
            return 400, {}, b"entry with timestamp 2020-01-01 ignored, reason: 'entry too far behind'"
        entries.extend(pushed)
        return 204, {}, b""

    receiver = Receiver(take).start()
    sink = one_sink("loki", f"http://127.0.0.1:{receiver.port}", linger="100ms")
    proxy = Proxy(stage, sink + 'headers = { "X-Scope-OrgID" = "shop" }\nlabels = { env = "test" }\n', workers=True).start()
    number = lambda entry: number_of(json.loads(entry[2]).get("path"))
    through_a_restart(proxy, receiver, lambda: set(map(number, entries)) | {13}, EACH)
    proxy.stop()
    found, _ = count(entries, number)
    _, twice = count(entries, lambda entry: (entry[1], entry[2]))
    stage.check("all but the refused one arrive over a restart", found == set(range(3 * EACH)) - {13},
                f"{len(found)} of {3 * EACH}, {twice} same lines at the same time, which Loki keeps once")
    letters = [(letter["record"].get("path"), letter["status"]) for letter in proxy.letters()]
    stage.check("the line that is too old is a dead letter", letters == [("/n/13", 400)], letters)
    labels = {json.dumps(stream, sort_keys=True) for stream, *_ in entries}
    stage.check("one stream with few labels", len(labels) == 1 and set(json.loads(labels.pop())) == {"job", "env", "proxy"})
    _, _, line, metadata = next(entry for entry in entries if number(entry) == 7)
    stage.check("what is worth filtering by is metadata", metadata["id"] == json.loads(line)["id"] and metadata["status"] == "200", metadata)


def fault(entry):
    """What Loki would not read (HTTP API, "Ingest logs")."""
    labels, moment, line, *metadata = entry
    if not all(isinstance(value, str) for value in [*labels.values(), moment, line, *(metadata[0] if metadata else {}).values()]):
        return "loghttp.PushRequest: not a string"
    if not moment.isdigit() or abs(int(moment) / 1e9 - time.time()) > 3600:
        return f"timestamp out of range: {moment}"
    return None


if __name__ == "__main__":
    sys.exit(main())
