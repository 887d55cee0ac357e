#!/usr/bin/env python3
"""The sink `clickhouse` against ClickHouse: Debian's server of 2018 over its own HTTP, killed in the middle; and what it sends
read by today's engine (PyPI's chdb) into the table of `tollgate logs template clickhouse`.

    clickhouse.py --tollgate PROGRAM"""

import contextlib
import importlib.util
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request

from shipping import Receiver, number_of, numbered, through_a_restart
from stage import Proxy, Stage, comes, free_port, listens, one_sink, until

EACH = 200


def main():
    with Stage(__doc__) as stage:
        if shutil.which("clickhouse-server"):
            old_server(stage)
        else:
            stage.skip("clickhouse-server")
        if importlib.util.find_spec("chdb"):
            new_engine(stage)
        else:
            stage.skip("chdb", "PyPI's package is not here")
        return stage.end()


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
    def __init__(self, stage):
        self.stage, self.http, self.process = stage, free_port(), None
        stage.write("config.xml", SERVER.format(folder=stage.folder, http=self.http, tcp=free_port()))
        stage.write("users.xml", USERS)

    def start(self):
        self.process = self.stage.run("clickhouse", ["clickhouse-server", f"--config-file={self.stage.folder}/config.xml"])
        self.stage.until_up("clickhouse", self.process, lambda: listens(self.http))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, query):
        url = f"http://127.0.0.1:{self.http}/"
        with urllib.request.urlopen(url, query.encode(), timeout=20) as answer:
            return answer.read().decode()

    def numbers(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            return {number_of(path) for path in self.ask("SELECT path FROM tollgate WHERE path LIKE '/n/%'").split()}
        return set()


def old_server(stage):
    server = Server(stage)
    server.start()
    proxy = Proxy(stage, one_sink("clickhouse", f"http://127.0.0.1:{server.http}/?database=default", linger="100ms"), "old", workers=True).start()
    proxy.ask(numbered(0, 5))
    is_refused = comes(lambda: proxy.letters(), 1)
    stage.check("without the table nothing is refused: it waits", not is_refused)
    server.ask(TABLE)
    through_a_restart(proxy, server, server.numbers, EACH)
    proxy.stop()
    rows = int(server.ask("SELECT count() FROM tollgate FINAL WHERE path LIKE '/n/%'"))
    plain = int(server.ask("SELECT count() FROM tollgate WHERE path LIKE '/n/%'"))
    stage.check("everything arrives over a kill, once", rows == 3 * EACH + 5, f"{rows}, {plain - rows} replaced")
    status = server.ask("SELECT min(status), max(status), uniq(proxy) FROM tollgate WHERE path LIKE '/n/%'").split()
    stage.check("values have their types", status == ["200", "200", "1"], status)
    stage.check("nothing was refused", not proxy.letters())


def new_engine(stage):
    from chdb import session
    posted = []

    def take(path, headers, body):
        posted.append((urllib.parse.parse_qs(urllib.parse.urlsplit(path).query), body))
        return 200, {}, b""

    receiver = Receiver(take).start()
    proxy = Proxy(stage, one_sink("clickhouse", f"http://127.0.0.1:{receiver.port}", linger="100ms"), "new", workers=True).start()
    proxy.ask(numbered(0, EACH))
    until("the records", lambda: b"/n/%d\"" % (EACH - 1) in b"".join(body for _, body in posted))
    proxy.stop()
    template = stage.tell("logs", "template", "clickhouse").stdout
    engine = session.Session()
    engine.query(template.split(";")[0])
    for parameters, body in posted:
        settings = {name: value[0] for name, value in parameters.items() if name not in ("query", "insert_deduplication_token")}
        text = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        insert = parameters["query"][0].replace(" FORMAT", f" SETTINGS {text} FORMAT")
        engine.query(insert + "\n" + body.decode())
    rows = str(engine.query("SELECT count(), uniq(path), min(status), min(ts) > now() - 600 FROM tollgate WHERE path LIKE '/n/%' FORMAT TSV")).split()
    stage.check("today's engine reads what is sent into the table of the template", rows == [str(EACH), str(EACH), "200", "1"], rows)
    tokens = [parameters["insert_deduplication_token"][0] for parameters, _ in posted]
    stage.check("each insert has a token of its own", len(set(tokens)) == len(tokens), len(tokens))


if __name__ == "__main__":
    sys.exit(main())
