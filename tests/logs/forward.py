#!/usr/bin/env python3
"""Fluentd's forward protocol with real peers. The input: npm's @fluent-org/logger with acknowledgements and a shared key in all four
modes, the service killed in the middle; PyPI's fluent-logger without acknowledgements. The sink: npm's FluentServer with a
shared key, killed in the middle; a receiver on PyPI's msgpack that withholds acknowledgements, resets and hangs up; tollgate itself.

Promise: what was acknowledged is in the log, with its time and tag; who does not know the key leaves nothing; what a sink has
sent arrives, twice at most where no acknowledgement came, and in a tollgate once.
"""

import contextlib
import importlib.util
import json
import os
import socket
import struct
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
        to_fluent_server(folder, wanted, verdict)
    without_acknowledgements(wanted, verdict)
    to_a_moody_receiver(wanted, verdict)
    to_tollgate(wanted, verdict)
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


def paths(count=COUNT):
    return [f"/r/{number}" for number in range(count)]


def to_fluent_server(folder, wanted, verdict):
    """It acknowledges before it hands on what it has, so it is killed when it has handed on all; it is away for a second."""
    script, log, port = os.path.join(folder, "receiver.js"), os.path.join(folder, "received"), doors.free_port()
    with open(script, "w", encoding="utf-8") as file:
        file.write(RECEIVER)
    running = []

    def start():
        with open(log, "ab") as file:
            running.append(subprocess.Popen(["node", script, str(port), KEY], stdout=file, stderr=subprocess.DEVNULL))

    def restart():
        doors.until(lambda: set(paths()[: COUNT // 2]) <= set(seen()), "the first half arrives")
        running[-1].kill()
        running[-1].wait()
        threading.Timer(1, start).start()

    def seen():
        with open(log, encoding="utf-8") as file:
            return [json.loads(line)[1] for line in file if line.endswith("\n")]

    start()
    try:
        doors.shipped(verdict, "FluentServer with shared key, user and password: all arrive, over a kill -9", wanted.tollgate,
                      "forward", port, paths(), seen, during=restart, token=KEY, user="edge", password="pässword")
    finally:
        running[-1].kill()
        running[-1].wait()


def to_a_moody_receiver(wanted, verdict):
    """Of ten chunks one is not acknowledged, one is reset, one is hung up on, one is acknowledged wrongly."""
    if importlib.util.find_spec("msgpack") is None:
        print("skipped: PyPI msgpack is not there")
        return
    import gzip

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
                    entries = list(msgpack.Unpacker(io_of(packed)))
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
    arrived = doors.shipped(verdict, "a receiver that withholds, resets, hangs up and answers nonsense: all arrive", wanted.tollgate,
                            "forward", listener.getsockname()[1], paths(), lambda: list(seen), batch_records=50, timeout="300ms")
    listener.close()
    ids = [chunk for chunk, _ in chunks]
    acknowledged = {chunk for chunk, mood in chunks if mood not in (3, 5, 7, 9)}
    again = [chunk for index, chunk in enumerate(ids) if chunk in ids[:index]]
    verdict.check("what goes again has the chunk id that it had; nothing acknowledged goes again",
                  again and len(arrived) - len(set(arrived)) <= 50 * len(again)
                  and all(mood in (3, 5, 7, 9) for index, (chunk, mood) in enumerate(chunks) if chunk in ids[index + 1:]),
                  f"{len(ids)} chunks, {len(acknowledged)} acknowledged, {len(again)} sent again")


def io_of(packed):
    import io

    return io.BytesIO(packed)


def to_tollgate(wanted, verdict):
    with doors.Door(wanted.tollgate, "forward", token=KEY) as door:
        def restart():
            doors.until(lambda: door.status()["accepted"] > 10, "something arrives")
            door.kill()
            door.start()

        arrived = doors.shipped(verdict, "tollgate to tollgate: all arrive, over a kill -9", wanted.tollgate, "forward", door.port,
                                paths(), lambda: [row.get("path", "/begin") for row in door.rows()], during=restart, token=KEY)
        verdict.check("each record once", len(arrived) == len(set(arrived)))


if __name__ == "__main__":
    main()
