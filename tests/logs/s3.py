#!/usr/bin/env python3
"""Files of closed hours go to object storage: a server that checks every signature and checksum by itself, answers 503 at times,
and is killed in the middle, as is the log service; then DuckDB counts the rows over the objects. Also a wrong secret, and moto (the
emulator of AWS) with boto3 as a second, independent peer.

    s3.py --tollgate PROGRAM

Needs duckdb, and for the second peer moto[server], boto3 and pyarrow (PyPI)."""

import datetime
import hashlib
import hmac
import http.server
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import sys
import threading
import time
import urllib.parse
from base64 import b64encode

import stage as staging
from stage import Stage, absent, as_toml, free_port, listens, until

KEY, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-west-1"
HOURS, ROWS = 12, 500


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--server":
        return serve(int(sys.argv[2]), pathlib.Path(sys.argv[3]), float(sys.argv[4]))
    if not has("duckdb"):
        absent("duckdb")
    with Stage(__doc__) as stage:
        own_server(stage)
        wrong_secret(stage)
        if has("moto") and has("boto3") and has("pyarrow"):
            moto(stage)
        else:
            stage.skip("moto")
        return stage.end()


def has(package):
    return importlib.util.find_spec(package) is not None


# The server: as much of S3 as a PUT needs.

def derived(secret, day, region):
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signature_of(method, target, headers, secret):
    """Of a request that carries it in its query, as AWS describes it; written after the document, not after tollgate."""
    path, _, query = target.partition("?")
    pairs = [pair.split("=", 1) for pair in query.split("&")]
    asked = {name: urllib.parse.unquote(value) for name, value in pairs}
    signed = asked["X-Amz-SignedHeaders"].split(";")
    rest = sorted("=".join(pair) for pair in pairs if pair[0] != "X-Amz-Signature")
    quoted = urllib.parse.quote(urllib.parse.unquote(path), safe="/-_.~")
    lines = [method, quoted, "&".join(rest)]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    lines += ["", ";".join(signed), "UNSIGNED-PAYLOAD"]
    scope = asked["X-Amz-Credential"].split("/", 1)[1]
    text = "\n".join(
        ["AWS4-HMAC-SHA256", asked["X-Amz-Date"], scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    day, region = scope.split("/")[:2]
    return hmac.new(derived(secret, day, region), text.encode(), hashlib.sha256).hexdigest(), asked, signed


class Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def refuse(self, status, code):
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as told</Message></Error>'.encode()
        self.answer(status, body)

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.count += 1
            count = server.count
        if server.failing and count % 4 == 0:
            return self.refuse(503, "SlowDown")
        if server.failing and count % 7 == 0:
            self.close_connection = True
            return None
        headers = {name.lower(): value for name, value in self.headers.items()}
        wanted, asked, signed = signature_of("PUT", self.path, headers, SECRET)
        when = datetime.datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        age = abs((datetime.datetime.now(datetime.timezone.utc) - when).total_seconds())
        if not asked["X-Amz-Credential"].startswith(f"{KEY}/"):
            return self.refuse(403, "InvalidAccessKeyId")
        if not hmac.compare_digest(wanted, asked["X-Amz-Signature"]):
            return self.refuse(403, "SignatureDoesNotMatch")
        if age > 900 or "host" not in signed or "x-amz-checksum-sha256" not in signed:
            return self.refuse(403, "AccessDenied")
        if b64encode(hashlib.sha256(body).digest()).decode() != headers["x-amz-checksum-sha256"]:
            return self.refuse(400, "BadDigest")
        time.sleep(server.slow)
        path = server.folder / urllib.parse.unquote(self.path.partition("?")[0]).lstrip("/")
        if not path.parts[len(server.folder.parts):][0] == "logs":
            return self.refuse(404, "NoSuchBucket")
        path.parent.mkdir(parents=True, exist_ok=True)
        with server.lock, open(server.folder / "puts.log", "a") as log:
            log.write(f"{path.relative_to(server.folder)}\n")
        part = path.with_suffix(".part")
        part.write_bytes(body)
        part.rename(path)
        return self.answer(200)

    def log_message(self, *_):
        pass


def serve(port, folder, slow):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Bucket)
    server.folder, server.slow, server.lock, server.count = folder, slow, threading.Lock(), 0
    server.failing = not (folder / "well").exists()
    folder.mkdir(parents=True, exist_ok=True)
    server.serve_forever()


# The proofs.

def some_day():
    """One whose hours are closed, and that the log still keeps."""
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)).strftime("%Y-%m-%d")


def hours(data, rows=ROWS):
    """Hours of an earlier version (JSON lines), which the service takes over: they are closed."""
    day = some_day()
    folder = data / day
    folder.mkdir(parents=True, exist_ok=True)
    for hour in range(HOURS):
        with open(folder / f"{hour:02}.jsonl", "w") as file:
            for n in range(rows):
                at = f"{day}T{hour:02}:{n // 60 % 60:02}:{n % 60:02}.000000Z"
                row = {"recv": at, "from": "unix:1", "ts": at, "kind": "request", "proxy": "edge-1", "boot": 7, "core": hour,
                       "seq": n + 1, "status": 502 if n % 50 == 0 else 200, "route": f"/r{n % 7}", "dur_us": n}
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
    return HOURS * rows


class Service(staging.Service):
    """One that looks for closed hours every second."""

    def start(self):
        argv = [self.stage.tollgate, "logs", "serve", "--config", self.config, "--http", f"unix:{self.socket}",
                "--flush-secs", "1", "--compact-secs", "1"]
        self.process = self.stage.run(self.name, argv)
        self.stage.until_up(self.name, self.process, self.answers)
        return self

    def sink(self):
        return self.status()["sinks"][0]


def sink(port, secret=SECRET, **more):
    keys = {"type": "s3", "to": f"http://127.0.0.1:{port}", "bucket": "logs", "prefix": "edge", "region": REGION,
            "user": KEY, "password": secret, "retry_max": "500ms"} | more
    return "[log.sink.archive]\n" + as_toml(keys)


def objects(folder):
    return sorted(path for path in (folder / "logs").rglob("*.parquet")) if (folder / "logs").exists() else []


def count(pattern):
    """Rows, different rows and hours, as DuckDB sees them in the partitions."""
    import duckdb

    text = f"""SELECT count(*), count(DISTINCT (proxy, boot, core, seq)), count(DISTINCT (d, h)), sum(status = 502)
        FROM read_parquet('{pattern}', union_by_name = true, hive_partitioning = true)"""
    return duckdb.sql(text).fetchall()[0]


def start_server(stage, port, folder, slow):
    server = stage.run("bucket", [sys.executable, os.path.abspath(__file__), "--server", port, folder, slow])
    until("the bucket", lambda: listens(port))
    return server


def own_server(stage):
    folder, port = stage.folder / "bucket", free_port()
    folder.mkdir()
    server = start_server(stage, port, folder, 0.15)
    service = Service(stage, sink(port), "own")
    sent = hours(service.data)
    service.start()
    until("a few objects", lambda: len(objects(folder)) >= 4)
    server.kill()
    server.wait()
    stage.check("a bucket that is away is told", until("the trouble", lambda: service.sink()["state"] == "retrying"))
    behind = service.sink()
    stage.check("how far behind it is can be asked", behind["waiting_files"] > 0 and behind["oldest"],
                f"{behind['waiting_files']} files, {behind['waiting_bytes']} bytes, since {behind['oldest']}; {behind['err']}")
    audit = stage.tell("logs", "audit", "--service", f"unix:{service.socket}")
    stage.check("`logs audit` says so, too", "archive" in audit.stdout and "wait" in audit.stdout,
                [line for line in audit.stdout.splitlines() if "archive" in line] or audit.stderr)
    service.stop(signal.SIGKILL)
    server = start_server(stage, port, folder, 0.15)
    service.start()
    until("more objects", lambda: len(objects(folder)) >= 10)
    service.stop(signal.SIGKILL)
    service.start()
    until("all objects", lambda: len(objects(folder)) == 2 * HOURS and service.sink()["waiting_files"] == 0)
    stage.check("every closed hour is in the bucket", service.sink()["state"] == "ok", f"{len(objects(folder))} objects")
    service.stop()
    audit = stage.tell("logs", "audit", "--data", service.data, "--since", "all")
    told = [line for line in audit.stdout.splitlines() if "archive" in line]
    stage.check("`logs audit` of the directory says so without a service",
                told and f"{2 * HOURS} files" in told[0] and "none waits" in told[0], told or audit.stderr)
    rows, different, partitions, errors = count(f"{folder}/logs/edge/d=*/h=*/*.parquet")
    stage.check("DuckDB counts over the objects what `logs export` does",
                rows == different == len(service.exported()) == sent and partitions == HOURS and errors == sent // 50,
                f"{rows} rows in {partitions} hours, {errors} errors")
    puts = (folder / "puts.log").read_text().splitlines()
    stage.check("each file was put once, but for those on their way at a kill", len(puts) - len(set(puts)) <= 3,
                f"{len(puts)} puts of {len(set(puts))} objects")
    kept = {json.loads(line)["object"] for line in (service.data / "sinks/archive.jsonl").read_text().splitlines()[1:]}
    stage.check("the ledger names the objects", kept == {str(path.relative_to(folder / "logs")) for path in objects(folder)})
    told = service.said()
    stage.check("neither secret nor signature is in the service's own log", SECRET not in told and "X-Amz-Sig" not in told)
    server.terminate()


def wrong_secret(stage):
    folder, port = stage.folder / "bucket-2", free_port()
    folder.mkdir()
    (folder / "well").touch()
    server = start_server(stage, port, folder, 0)
    service = Service(stage, sink(port, secret="not this one") + '[log.keep]\nage = "1h"\nerrors = "1h"\n', "wrong")
    sent = hours(service.data, 100)
    service.start()
    told = until("the refusal", lambda: service.sink()["state"] == "held" and service.sink())
    stage.check("a wrong secret is told", "SignatureDoesNotMatch" in told["err"], told["err"])
    until("all hours", lambda: service.sink()["waiting_files"] == 2 * HOURS)
    time.sleep(2)
    stage.check("nothing is dropped by age before it is taken", service.sink()["waiting_files"] == 2 * HOURS and not objects(folder))
    service.stop()
    service.config.write_text(service.config.read_text().replace("not this one", SECRET))
    service.start()
    until("all objects", lambda: len(objects(folder)) == 2 * HOURS)
    rows, different, *_ = count(f"{folder}/logs/edge/d=*/h=*/*.parquet")
    stage.check("with the right one everything arrives", rows == different == sent, f"{rows} rows")
    until("retention", lambda: not list(service.data.glob("d=*/h=*/*.parquet")))
    stage.check("then what is past its age goes, and none of it is counted as lost", service.sink()["lost_files"] == 0)
    service.stop()
    server.terminate()


def moto(stage):
    import boto3
    import pyarrow.dataset
    import pyarrow.fs

    port, folder = free_port(), stage.folder / "moto"
    program = shutil.which("moto_server") or pathlib.Path(sys.executable).with_name("moto_server")
    server = stage.run("moto", [program, "-H", "127.0.0.1", "-p", port])
    until("moto", lambda: listens(port))
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION, aws_access_key_id=KEY,
                          aws_secret_access_key=SECRET)
    service = Service(stage, sink(port), "moto")
    sent = hours(service.data)
    service.start()
    told = until("the refusal", lambda: service.sink()["state"] == "held" and service.sink())
    stage.check("moto: a bucket that is not there is told", "NoSuchBucket" in told["err"], told["err"])
    client.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    until("all objects", lambda: service.sink()["taken_files"] == 2 * HOURS)
    service.stop()
    found = client.list_objects_v2(Bucket="logs").get("Contents", [])
    for item in found:
        path = folder / item["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file("logs", item["Key"], str(path))
    rows, different, partitions, _ = count(f"{folder}/edge/d=*/h=*/*.parquet")
    stage.check("moto: the objects hold every row", rows == different == sent and partitions == HOURS, f"{rows} rows in {len(found)} objects")
    bucket = pyarrow.fs.S3FileSystem(access_key=KEY, secret_key=SECRET, region=REGION, scheme="http",
                                     endpoint_override=f"127.0.0.1:{port}")
    log = pyarrow.dataset.dataset("logs/edge", filesystem=bucket, partitioning="hive")
    of_hour = log.count_rows(filter=pyarrow.dataset.field("h") == 7)
    stage.check("moto: pyarrow reads the bucket by its partitions", log.count_rows() == sent and of_hour == ROWS, f"{of_hour} rows at 7")
    kept = [json.loads(line) for line in (service.data / "sinks/archive.jsonl").read_text().splitlines()[1:]]
    same = all(hashlib.sha256((folder / one["object"]).read_bytes()).hexdigest() == one["sha256"] for one in kept)
    stage.check("moto: what came back has the hash of the ledger", same and len(kept) == len(found))
    server.terminate()


if __name__ == "__main__":
    sys.exit(main())
