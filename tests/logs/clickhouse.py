#!/usr/bin/env python3
"""The sink `clickhouse` against ClickHouse: Debian's server of 2018 over its own HTTP, killed in the middle; and what it sends
read by today's engine (`chdb`) into the table of `tollgate logs template clickhouse`.

    clickhouse.py --tollgate PROGRAM

Exits 1 when a promise is broken, 77 when neither is there."""

import argparse
import contextlib
import importlib.util
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import serving
from serving import require, wait_for

EACH = 200


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True)
    arguments = parser.parse_args()
    has_server, has_engine = bool(shutil.which("clickhouse-server")), importlib.util.find_spec("chdb") is not None
    if has_server:
        old_server(arguments.tollgate)
    if has_engine:
        new_engine(arguments.tollgate)
    if not has_server and not has_engine:
        serving.absent("neither clickhouse-server nor chdb is there")


SERVER = """<yandex>
  <logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>
  <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>{folder}/users.xml</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <mark_cache_size>5368709</mark_cache_size>
</yandex>"""
USERS = """<yandex>
  <profiles><default></default></profiles><quotas><default></default></quotas>
  <users><default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
</yandex>"""
# What a server of 2018 knows of the table of `logs template clickhouse`.
TABLE = """CREATE TABLE tollgate (ts DateTime, id UUID, kind String, proxy String, path String, method String, status UInt16, dur_us UInt64)
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY (ts, id)"""


class Server:
    def __init__(self, folder):
        self.folder, self.http, self.process = folder, serving.free_port(), None
        pathlib.Path(folder, "config.xml").write_text(SERVER.format(folder=folder, http=self.http, tcp=serving.free_port()))
        pathlib.Path(folder, "users.xml").write_text(USERS)

    def start(self):
        out = open(f"{self.folder}/out", "ab")
        self.process = subprocess.Popen(["clickhouse-server", f"--config-file={self.folder}/config.xml"], stdout=out, stderr=out, cwd=self.folder)
        wait_for("clickhouse-server", lambda: self.process.poll() is not None or serving.answers(self.http))
        if self.process.poll() is not None:
            sys.exit(f"clickhouse-server ended: {pathlib.Path(self.folder, 'out').read_text()[-1000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, query):
        url = f"http://127.0.0.1:{self.http}/"
        with urllib.request.urlopen(url, query.encode(), timeout=20) as answer:
            return answer.read().decode()

    def numbers(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            return {serving.number_of(path) for path in self.ask("SELECT path FROM tollgate WHERE path LIKE '/n/%'").split()}
        return set()


def old_server(program):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        server.start()
        try:
            sink = f'type = "clickhouse"\nto = "http://127.0.0.1:{server.http}/?database=default"'
            with serving.proxy(program, sink) as proxy:
                proxy.ask(0, 5)
                time.sleep(1)
                require("without the table nothing is refused: it waits", not proxy.letters())
                server.ask(TABLE)
                serving.through_a_restart(proxy, server, server.numbers, EACH)
                proxy.stop()
                rows = int(server.ask("SELECT count() FROM tollgate FINAL WHERE path LIKE '/n/%'"))
                plain = int(server.ask("SELECT count() FROM tollgate WHERE path LIKE '/n/%'"))
                require("everything arrives over a kill, once", rows == 3 * EACH + 5, rows, f"{plain - rows} replaced")
                status = server.ask("SELECT min(status), max(status), uniq(proxy) FROM tollgate WHERE path LIKE '/n/%'").split()
                require("values have their types", status == ["200", "200", "1"], status)
                require("nothing was refused", not proxy.letters())
        finally:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def new_engine(program):
    from chdb import session
    posted = []

    def take(path, headers, body):
        posted.append((urllib.parse.parse_qs(urllib.parse.urlsplit(path).query), body))
        return 200, {}, b""

    receiver = serving.Receiver(take)
    receiver.start()
    with serving.proxy(program, f'type = "clickhouse"\nto = "http://127.0.0.1:{receiver.port}"') as proxy:
        proxy.ask(0, EACH)
        wait_for("the records", lambda: b"/n/%d\"" % (EACH - 1) in b"".join(body for _, body in posted))
        proxy.stop()
    template = subprocess.run([program, "logs", "template", "clickhouse"], capture_output=True, text=True, check=True).stdout
    engine = session.Session()
    engine.query(template.split(";")[0])
    for parameters, body in posted:
        settings = {name: value[0] for name, value in parameters.items() if name not in ("query", "insert_deduplication_token")}
        text = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        insert = parameters["query"][0].replace(" FORMAT", f" SETTINGS {text} FORMAT")
        engine.query(insert + "\n" + body.decode())
    rows = str(engine.query("SELECT count(), uniq(path), min(status), min(ts) > now() - 600 FROM tollgate WHERE path LIKE '/n/%' FORMAT TSV")).split()
    require("today's engine reads what is sent into the table of the template", rows == [str(EACH), str(EACH), "200", "1"], rows)
    tokens = [parameters["insert_deduplication_token"][0] for parameters, _ in posted]
    require("each insert has a token of its own", len(set(tokens)) == len(tokens), len(tokens))


if __name__ == "__main__":
    sys.exit(main())
