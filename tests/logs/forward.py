#!/usr/bin/env python3
"""Fluentd's forward protocol with real peers. The input: npm's @fluent-org/logger with acknowledgements and a shared key in all four
modes, the service killed in the middle; PyPI's fluent-logger without acknowledgements. The sink: npm's FluentServer with a
shared key, killed in the middle; a receiver on PyPI's msgpack that withholds acknowledgements, resets and hangs up; tollgate itself.

Promise: what was acknowledged is in the log, with its time and tag; who does not know the key leaves nothing; what a sink has
sent arrives, twice at most where no acknowledgement came, and in a tollgate once.

    forward.py --tollgate PROGRAM [--peers FOLDER]"""

import contextlib
import gzip
import importlib.util
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading

from packages import npm
from shipping import numbered, shipped
from stage import Service, Stage, comes, free_port, one_input, one_sink, until

COUNT = 2000
KEY = "s3cret-é"
MODES = ["Message", "Forward", "PackedForward", "CompressedPackedForward"]
PEER = "@fluent-org/logger@1.0.10"

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

RECEIVER = """
const { FluentServer } = require("@fluent-org/logger");
const [port, key] = process.argv.slice(2);
const server = new FluentServer({
  security: { serverHostname: "receiver", sharedKey: key, authorize: true, userDict: { edge: "pässword" } },
  listenOptions: { host: "127.0.0.1", port: Number(port) },
});
server.on("entry", (tag, time, record) => console.log(JSON.stringify([tag, record.path || "", record.status || 0])));
server.listen().then(() => console.error("listening"));
"""


def main():
    with Stage(__doc__) as stage:
        if shutil.which("node") and npm(stage, PEER):
            from_fluent_client(stage)
            to_fluent_server(stage)
        else:
            stage.skip(PEER, "npm cannot install it")
        if importlib.util.find_spec("fluent"):
            without_acknowledgements(stage)
        else:
            stage.skip("fluent-logger", "PyPI's package is not here")
        if importlib.util.find_spec("msgpack"):
            to_a_moody_receiver(stage)
        else:
            stage.skip("msgpack", "PyPI's package is not here")
        to_tollgate(stage)
        return stage.end()


def from_fluent_client(stage):
    text, port = one_input("forward", token=KEY)
    service, acked = Service(stage, text, "keyed").start(), set()
    stage.write("sender.js", SENDER)
    for index, mode in enumerate(MODES):
        acked |= killed_in_the_middle(stage, service, port, mode, index * COUNT)
    look(stage, service, acked)
    without_the_key(stage, service, port)
    service.stop()


def send(stage, port, mode, key, first):
    argv = ["node", stage.folder / "sender.js", mode, port, key, first, COUNT]
    return stage.run("sender", argv, stdout=subprocess.PIPE, text=True)


def killed_in_the_middle(stage, service, port, mode, first):
    sender = send(stage, port, mode, KEY, first)
    end = threading.Timer(25, sender.kill)
    end.start()
    acked, is_killed = set(), False
    for line in sender.stdout:
        acked.add(int(line))
        if len(acked) > COUNT // 3 and not is_killed:
            is_killed = True
            service.kill()
            service.start()
    sender.wait()
    end.cancel()
    stage.check(f"{mode}: the sender ends with all acknowledged, over a kill -9", is_killed and len(acked) == COUNT,
                f"{len(acked)} of {COUNT}")
    return acked


def look(stage, service, acked):
    rows = service.rows()
    stored = [row["m"] for row in rows]
    missing = acked - set(stored)
    stage.check("nothing acknowledged is lost", not missing, f"{len(acked)} acknowledged, {len(missing)} missing, "
                f"{len(stored) - len(set(stored))} twice")
    row = rows[0]
    is_whole = all(row["tag"] == "app.web" and row["ts"].startswith("20") for row in rows)
    is_whole &= row["text"] == f'line {row["m"]} ¶ "quoted"' and row["nested"] == {"list": [1, 2.5, None, True]}
    stage.check("time, tag and all members are there", is_whole, json.dumps(row, ensure_ascii=False)[:200])


def without_the_key(stage, service, port):
    before = len(service.rows())
    sender = send(stage, port, "Forward", "wrong", 0)
    until("a refusal", lambda: service.status()["denied"] > 0)
    sender.kill()
    sender.wait()
    is_told = "shared key mismatch" in service.said()
    stage.check("who does not know the key is refused, counted and told", is_told and len(service.rows()) == before)
    stage.check("the key is never shown", KEY not in service.said())


def without_acknowledgements(stage):
    from fluent import sender as fluent

    text, port = one_input("forward")
    service = Service(stage, text, "open").start()
    one = fluent.FluentSender("py", host="127.0.0.1", port=port, nanosecond_precision=True)
    for m in range(COUNT):
        one.emit("app", {"m": m})
    one.close()
    comes(lambda: service.status()["accepted"] >= COUNT)
    stored = {row["m"] for row in service.rows() if row["tag"] == "py.app"}
    stage.check("fluent-logger, without acknowledgements: all are stored", stored == set(range(COUNT)), len(stored))
    service.stop()


def to_fluent_server(stage):
    """It acknowledges before it hands on what it has, so it is killed when it has handed on all; it is away for a second."""
    script, log, port = stage.write("receiver.js", RECEIVER), stage.folder / "received", free_port()
    running = []

    def start():
        with open(log, "ab") as file:
            running.append(stage.run("receiver", ["node", script, port, KEY], stdout=file))

    def restart():
        until("the first half", lambda: set(numbered(0, COUNT // 2)) <= set(taken()))
        running[-1].kill()
        running[-1].wait()
        threading.Timer(1, start).start()

    def taken():
        with open(log, encoding="utf-8") as file:
            return [json.loads(line)[1] for line in file if line.endswith("\n")]

    start()
    sink = one_sink("forward", f"tcp://127.0.0.1:{port}", token=KEY, user="edge", password="pässword")
    shipped(stage, "FluentServer with shared key, user and password: all arrive, over a kill -9", "to-server", sink, COUNT, taken, restart)
    running[-1].kill()


def to_a_moody_receiver(stage):
    """Of ten chunks one is not acknowledged, one is reset, one is hung up on, one is acknowledged wrongly."""
    import msgpack

    listener = socket.create_server(("127.0.0.1", 0))
    seen, chunks, lock = [], [], threading.Lock()

    def serve(stream):
        unpacker = msgpack.Unpacker()
        with contextlib.suppress(OSError):
            while data := stream.recv(65536):
                unpacker.feed(data)
                for tag, packed, options in unpacker:
                    if options.get("compressed") == "gzip":
                        packed = gzip.decompress(packed)
                    entries = list(msgpack.Unpacker(io.BytesIO(packed)))
                    assert tag == "tollgate" and options["size"] == len(entries)
                    assert all(time.code == 0 and len(time.data) == 8 for time, _ in entries)
                    with lock:
                        mood = len(chunks) % 10
                        chunks.append((options["chunk"], mood))
                        seen.extend(record.get("path", "/begin") for _, record in entries)
                    if mood == 3:
                        continue
                    if mood == 5:
                        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    if mood in (5, 7):
                        return stream.close()
                    stream.sendall(msgpack.packb({"ack": "other" if mood == 9 else options["chunk"]}))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sink = one_sink("forward", f"tcp://127.0.0.1:{listener.getsockname()[1]}", batch_records=50, timeout="300ms")
    arrived = shipped(stage, "a receiver that withholds, resets, hangs up and answers nonsense: all arrive", "to-moody", sink, COUNT,
                      lambda: list(seen))
    listener.close()
    ids = [chunk for chunk, _ in chunks]
    acknowledged = {chunk for chunk, mood in chunks if mood not in (3, 5, 7, 9)}
    again = [chunk for index, chunk in enumerate(ids) if chunk in ids[:index]]
    stage.check("what goes again has the chunk id that it had; nothing acknowledged goes again",
                again and len(arrived) - len(set(arrived)) <= 50 * len(again)
                and all(mood in (3, 5, 7, 9) for index, (chunk, mood) in enumerate(chunks) if chunk in ids[index + 1:]),
                f"{len(ids)} chunks, {len(acknowledged)} acknowledged, {len(again)} sent again")


def to_tollgate(stage):
    text, port = one_input("forward", token=KEY, trusted=True)
    service = Service(stage, text, "to-tollgate-service").start()
    arrived = shipped(stage, "tollgate to tollgate: all arrive, over a kill -9", "to-tollgate", one_sink("forward", f"tcp://127.0.0.1:{port}", token=KEY),
                      COUNT, lambda: [row.get("path") for row in service.rows()], lambda: service.kill_and_start(11))
    stage.check("each record once", len(arrived) == len(set(arrived)))


if __name__ == "__main__":
    sys.exit(main())
