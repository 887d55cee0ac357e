#!/usr/bin/env python3
"""Lumberjack. The input with real senders: PyPI's pylogbeat (version 2, compressed windows), npm's lumberjack-protocol (version 1,
over TLS), the service killed in the middle. The sink: a receiver that acknowledges in parts, keeps it waiting, resets and hangs up;
tollgate itself.

Promise: what was acknowledged is in the log as it was sent; what a sink has sent arrives, in a tollgate once.

    lumberjack.py --tollgate PROGRAM [--peers FOLDER]"""

import contextlib
import importlib.util
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

from packages import npm
from shipping import shipped
from stage import Service, Stage, comes, one_input, one_sink

WINDOWS, EVENTS = 40, 50
COUNT = 1000
PEER = "lumberjack-protocol@1.0.7"

SENDER = """
const lumberjack = require("lumberjack-protocol");
const fs = require("fs");
const [port, ca, count] = process.argv.slice(2);
const client = lumberjack.client({ host: "127.0.0.1", port: Number(port), ca: [fs.readFileSync(ca)], servername: "localhost" },
                                 { maxQueueSize: 100000, windowSize: 50, allowDrop: () => false });
for (let m = 0; m < Number(count); m++) client.writeDataFrame({ line: `line ${m}`, m });
const wait = setInterval(() => {
  if (client._socket && client._socket.lastAck >= Number(count)) { console.log(client._socket.lastAck); process.exit(0); }
}, 20);
setTimeout(() => process.exit(1), 20000);
"""


def main():
    with Stage(__doc__) as stage:
        if importlib.util.find_spec("pylogbeat"):
            version_2(stage)
        else:
            stage.skip("pylogbeat", "PyPI's package is not here")
        if shutil.which("node") and npm(stage, PEER):
            version_1(stage)
        else:
            stage.skip(PEER, "npm cannot install it")
        to_a_moody_receiver(stage)
        to_tollgate(stage)
        return stage.end()


def beat(m):
    return {"@timestamp": "2026-01-02T03:04:05.678Z", "@metadata": {"beat": "py", "version": "1"}, "message": f"line {m}", "m": m}


def version_2(stage):
    """Windows one after the other; what is not acknowledged is sent again, as Beats do."""
    import pylogbeat

    text, port = one_input("lumberjack")
    service = Service(stage, text, "version-2").start()
    acked, tries = set(), 0
    for window in range(WINDOWS):
        events = [beat(window * EVENTS + index) for index in range(EVENTS)]
        while True:
            tries += 1
            try:
                with pylogbeat.PyLogBeatClient("127.0.0.1", port, timeout=10) as client:
                    if window == WINDOWS // 2 and tries == window + 1:
                        # Killed while the window is under way.
                        original = client._send_payload
                        client._send_payload = lambda payload: (original(payload), service.kill())
                    client.send(events)
                acked.update(event["m"] for event in events)
                break
            except Exception as error:  # noqa: BLE001
                if service.process.poll() is None or tries > WINDOWS + 20:
                    raise
                print(f"       killed under a window: {type(error).__name__}")
                service.start()
    rows = service.rows()
    stored = [row["m"] for row in rows]
    stage.check("pylogbeat: nothing acknowledged is lost over a kill -9", acked <= set(stored) and len(acked) == WINDOWS * EVENTS,
                f"{len(acked)} acknowledged, {len(acked - set(stored))} missing, {len(stored) - len(set(stored))} twice, "
                f"{tries} windows sent")
    is_whole = all(row["@metadata"] == {"beat": "py", "version": "1"} and row["message"] == f'line {row["m"]}' for row in rows)
    stage.check("members are as they were sent", is_whole)
    service.stop()


def version_1(stage):
    """It speaks TLS only."""
    ca, cert, key = stage.certificates()
    text, port = one_input("lumberjack", cert=str(cert), key=str(key))
    service = Service(stage, text, "version-1").start()
    argv = ["node", stage.write("sender.js", SENDER), str(port), ca, str(COUNT)]
    done = subprocess.run(argv, cwd=stage.folder, capture_output=True, text=True, timeout=60)
    comes(lambda: service.status()["accepted"] >= COUNT)
    stored = {row["line"] for row in service.rows()}
    stage.check("lumberjack-protocol (version 1, TLS): all are acknowledged and stored",
                done.returncode == 0 and stored == {f"line {m}" for m in range(COUNT)},
                f"{len(stored)} stored, acknowledged up to {done.stdout.strip() or 'nothing'}{done.stderr[-300:]}")
    service.stop()


def exactly(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise ConnectionError("it has gone")
        data += part
    return data


def to_a_moody_receiver(stage):
    listener = socket.create_server(("127.0.0.1", 0))
    seen, windows, problems, lock = [], [], [], threading.Lock()

    def serve(stream):
        with contextlib.suppress(OSError):
            while True:
                head, count = struct.unpack(">2sI", exactly(stream, 6))
                kind, length = struct.unpack(">2sI", exactly(stream, 6))
                frames = zlib.decompress(exactly(stream, length))
                if (head, kind) != (b"2W", b"2C"):
                    problems.append((head, kind))
                events = []
                while frames:
                    kind, seq, length = struct.unpack(">2sII", frames[:10])
                    if (kind, seq) != (b"2J", len(events) + 1):
                        problems.append((kind, seq))
                    events.append(json.loads(frames[10:10 + length]))
                    frames = frames[10 + length:]
                if len(events) != count or any(event["@metadata"]["beat"] != "tollgate" or "@timestamp" not in event for event in events):
                    problems.append("events")
                with lock:
                    mood = len(windows) % 10
                    windows.append(mood)
                    taken = count // 2 if mood == 3 else count
                    seen.extend(event.get("path", "/begin") for event in events[:taken])
                if mood == 1:
                    for _ in range(3):
                        time.sleep(0.2)
                        stream.sendall(struct.pack(">2sI", b"2A", 0))
                if mood == 5:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if mood in (5, 7):
                    return stream.close()
                if mood != 8:
                    stream.sendall(struct.pack(">2sI", b"2A", taken))
                if mood == 3:
                    return stream.close()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sink = one_sink("lumberjack", f"tcp://127.0.0.1:{listener.getsockname()[1]}", batch_records=50, timeout="300ms")
    shipped(stage, "a receiver that takes a part, its time, resets, hangs up and is silent: all arrive", "to-moody", sink, COUNT,
            lambda: list(seen))
    listener.close()
    stage.check("each window is as Beats send it", not problems and len(windows) > 10, f"{len(windows)} windows {problems[:3] or ''}")


def to_tollgate(stage):
    text, port = one_input("lumberjack", trusted=True)
    service = Service(stage, text, "to-tollgate-service").start()
    arrived = shipped(stage, "tollgate to tollgate: all arrive, over a kill -9", "to-tollgate", one_sink("lumberjack", f"tcp://127.0.0.1:{port}"),
                      COUNT, lambda: [row.get("path") for row in service.rows()], lambda: service.kill_and_start(11))
    stage.check("each record once", len(arrived) == len(set(arrived)))


if __name__ == "__main__":
    sys.exit(main())
