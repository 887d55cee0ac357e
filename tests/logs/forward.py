#!/usr/bin/env python3
"""The input `forward` with real senders: npm's @fluent-org/logger with acknowledgements and a shared key in all four
modes, the service killed in the middle; PyPI's fluent-logger without acknowledgements.

Promise: what was acknowledged is in the log, with its time and tag; who does not know the key leaves nothing.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import door as doors  # noqa: E402

COUNT = 2000
KEY = "s3cret-é"
MODES = ["Message", "Forward", "PackedForward", "CompressedPackedForward"]

SENDER = """
const { FluentClient } = require("@fluent-org/logger");
const [mode, port, key, first, count] = process.argv.slice(2);
const client = new FluentClient("app", {
  eventMode: mode, socket: { host: "127.0.0.1", port: Number(port), timeout: 5000, reconnect: { minDelay: 50, maxDelay: 200 } },
  security: { clientHostname: "sender", sharedKey: key }, ack: { ackTimeout: 5000 },
  eventRetry: { attempts: 50, minDelay: 50, maxDelay: 200 }, flushInterval: 5,
  sendQueueIntervalFlushLimit: { size: 1 << 20, length: 50 }, disconnect: { waitForPending: false },
});
client.socketOn("error", () => {});
let next = Number(first);
const end = next + Number(count);
async function lane() {
  while (next < end) {
    const m = next++;
    try {
      await client.emit("web", { m, text: `line ${m} ¶ "quoted"`, nested: { list: [1, 2.5, null, true] } });
      console.log(m);
    } catch (error) { console.error(String(error)); }
  }
}
Promise.all(Array.from({ length: 200 }, lane)).then(() => process.exit(0));
"""


def main():
    wanted = doors.arguments(__doc__)
    verdict = doors.Verdict()
    with tempfile.TemporaryDirectory(prefix="tollgate-peer-") as folder:
        doors.installed(folder, "@fluent-org/logger@1.0.10")
        with open(os.path.join(folder, "sender.js"), "w", encoding="utf-8") as file:
            file.write(SENDER)
        with doors.Door(wanted.tollgate, "forward", token=KEY) as door:
            acked = set()
            for index, mode in enumerate(MODES):
                acked |= killed_in_the_middle(folder, door, verdict, mode, index * COUNT)
            look(door, verdict, acked)
            without_the_key(folder, door, verdict)
    without_acknowledgements(wanted, verdict)
    verdict.end()


def send(folder, door, mode, key, first):
    command = ["node", os.path.join(folder, "sender.js"), mode, str(door.port), key, str(first), str(COUNT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed_in_the_middle(folder, door, verdict, mode, first):
    sender = send(folder, door, mode, KEY, first)
    end = threading.Timer(25, sender.kill)
    end.start()
    acked, is_killed = set(), False
    for line in sender.stdout:
        acked.add(int(line))
        if len(acked) > COUNT // 3 and not is_killed:
            is_killed = True
            door.kill()
            door.start()
    sender.wait()
    end.cancel()
    verdict.check(f"{mode}: the sender ends with all acknowledged, over a kill -9", is_killed and len(acked) == COUNT,
                  f"{len(acked)} of {COUNT}")
    return acked


def look(door, verdict, acked):
    rows = door.rows()
    stored = [row["m"] for row in rows]
    missing = acked - set(stored)
    verdict.check("nothing acknowledged is lost", not missing, f"{len(acked)} acknowledged, {len(missing)} missing, "
                  f"{len(stored) - len(set(stored))} twice")
    row = rows[0]
    is_whole = all(row["tag"] == "app.web" and row["ts"].startswith("20") for row in rows)
    is_whole &= row["text"] == f'line {row["m"]} ¶ "quoted"' and row["nested"] == {"list": [1, 2.5, None, True]}
    verdict.check("time, tag and all members are there", is_whole, json.dumps(row, ensure_ascii=False)[:200])


def without_the_key(folder, door, verdict):
    before = len(door.rows())
    sender = send(folder, door, "Forward", "wrong", 0)
    try:
        doors.until(lambda: door.status()["denied"] > 0, "somebody is denied")
    finally:
        sender.kill()
        sender.wait()
    is_told = "shared key mismatch" in door.words()
    verdict.check("who does not know the key is refused, counted and told", is_told and len(door.rows()) == before)
    verdict.check("the key is never shown", KEY not in door.words())


def without_acknowledgements(wanted, verdict):
    if importlib.util.find_spec("fluent") is None:
        print("skipped: PyPI fluent-logger is not there")
        return
    from fluent import sender as fluent

    with doors.Door(wanted.tollgate, "forward") as door:
        one = fluent.FluentSender("py", host="127.0.0.1", port=door.port, nanosecond_precision=True)
        for m in range(COUNT):
            one.emit("app", {"m": m})
        one.close()
        with contextlib.suppress(TimeoutError):
            doors.until(lambda: door.status()["accepted"] >= COUNT, "all are stored")
        stored = {row["m"] for row in door.rows() if row["tag"] == "py.app"}
        verdict.check("fluent-logger, without acknowledgements: all are stored", stored == set(range(COUNT)), str(len(stored)))


if __name__ == "__main__":
    main()
