#!/usr/bin/env python3
"""Lumberjack. The input with real senders: PyPI's pylogbeat (version 2, compressed windows), npm's lumberjack-protocol (version 1,
over TLS), the service killed in the middle. The sink: a receiver that acknowledges in parts, keeps it waiting, resets and hangs up;
tollgate itself.

Promise: what was acknowledged is in the log as it was sent; what a sink has sent arrives, in a tollgate once.
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
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import door as doors  # noqa: E402

WINDOWS, EVENTS = 40, 50
COUNT = 1000

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
    wanted = doors.arguments(__doc__)
    if importlib.util.find_spec("pylogbeat") is None:
        doors.absent("PyPI pylogbeat is not there")
    verdict = doors.Verdict()
    with doors.Door(wanted.tollgate, "lumberjack") as door:
        version_2(door, verdict)
    with tempfile.TemporaryDirectory(prefix="tollgate-peer-") as folder:
        version_1(folder, wanted, verdict)
    to_a_moody_receiver(wanted, verdict)
    to_tollgate(wanted, verdict)
    verdict.end()


def beat(m):
    return {"@timestamp": "2026-01-02T03:04:05.678Z", "@metadata": {"beat": "py", "version": "1"}, "message": f"line {m}", "m": m}


def version_2(door, verdict):
    """Windows one after the other; what is not acknowledged is sent again, as Beats do."""
    import pylogbeat

    acked, tries = set(), 0
    for window in range(WINDOWS):
        events = [beat(window * EVENTS + index) for index in range(EVENTS)]
        while True:
            tries += 1
            try:
                with pylogbeat.PyLogBeatClient("127.0.0.1", door.port, timeout=10) as client:
                    if window == WINDOWS // 2 and tries == window + 1:
                        # Killed while the window is under way.
                        original = client._send_payload
                        client._send_payload = lambda payload: (original(payload), door.kill())
                    client.send(events)
                acked.update(event["m"] for event in events)
                break
            except (OSError, pylogbeat.ConnectionException, TypeError, IndexError, Exception) as error:  # noqa: BLE001
                if door.process.poll() is None or tries > WINDOWS + 20:
                    raise
                print(f"       killed under a window: {type(error).__name__}")
                door.start()
    rows = door.rows()
    stored = [row["m"] for row in rows]
    verdict.check("pylogbeat: nothing acknowledged is lost over a kill -9", acked <= set(stored) and len(acked) == WINDOWS * EVENTS,
                  f"{len(acked)} acknowledged, {len(acked - set(stored))} missing, {len(stored) - len(set(stored))} twice, "
                  f"{tries} windows sent")
    is_whole = all(row["@metadata"] == {"beat": "py", "version": "1"} and row["message"] == f'line {row["m"]}' for row in rows)
    verdict.check("members are as they were sent", is_whole)


def version_1(folder, wanted, verdict):
    """It speaks TLS only."""
    doors.installed(folder, "lumberjack-protocol@1.0.7")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    sender = os.path.join(folder, "sender.js")
    with open(sender, "w", encoding="utf-8") as file:
        file.write(SENDER)
    with doors.Door(wanted.tollgate, "lumberjack", cert=cert, key=key) as door:
        done = subprocess.run(["node", sender, str(door.port), cert, str(COUNT)], capture_output=True, text=True, timeout=60,
                              check=False)
        with contextlib.suppress(TimeoutError):
            doors.until(lambda: door.status()["accepted"] >= COUNT, "all are stored")
        stored = {row["line"] for row in door.rows()}
        verdict.check("lumberjack-protocol (version 1, TLS): all are acknowledged and stored",
                      done.returncode == 0 and stored == {f"line {m}" for m in range(COUNT)},
                      f"{len(stored)} stored, acknowledged up to {done.stdout.strip() or 'nothing'}{done.stderr[-300:]}")


def paths():
    return [f"/r/{number}" for number in range(COUNT)]


def exactly(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise ConnectionError("it has gone")
        data += part
    return data


def to_a_moody_receiver(wanted, verdict):
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
    doors.shipped(verdict, "a receiver that takes a part, its time, resets, hangs up and is silent: all arrive", wanted.tollgate,
                  "lumberjack", listener.getsockname()[1], paths(), lambda: list(seen), batch_records=50, timeout="300ms")
    listener.close()
    verdict.check("each window is as Beats send it", not problems and len(windows) > 10, f"{len(windows)} windows {problems[:3] or ''}")


def to_tollgate(wanted, verdict):
    with doors.Door(wanted.tollgate, "lumberjack") as door:
        def restart():
            doors.until(lambda: door.status()["accepted"] > 10, "something arrives")
            door.kill()
            door.start()

        arrived = doors.shipped(verdict, "tollgate to tollgate: all arrive, over a kill -9", wanted.tollgate, "lumberjack", door.port,
                                paths(), lambda: [row.get("path", "/begin") for row in door.rows()], during=restart)
        verdict.check("each record once", len(arrived) == len(set(arrived)))


if __name__ == "__main__":
    main()
