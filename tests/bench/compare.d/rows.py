"""The rows of the table: what is sent, to whom, and what was used for it."""

import dataclasses
import statistics
import typing

import loads
import process
import proxies

ALL = ("nginx", "haproxy", "tollgate")
FILE_SERVERS = ("nginx", "tollgate")
LOG_CHOICES = ("tollgate no log", "tollgate", "tollgate log service")


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    title: str
    load: typing.Callable
    contenders: tuple = ALL
    # Highest allowed ratio of tollgate's CPU per request to that of `bar_to`, or of the best other contender.
    bar: float = None
    bar_to: str = None
    # What is asked for once, to report its size on the wire.
    size_of: str = None


def over(path, connections, tls=False, headers=()):
    return lambda proxy, bench: loads.wrk(proxy.url(path, tls), connections, bench.seconds, headers)


def streams(proxy, bench):
    return loads.h2load(proxy.url(proxies.SMALL, True), 16, 16, bench.seconds, bench.folder)


def handshakes(proxy, bench):
    return loads.handshakes(proxy.url(proxies.SMALL, True), bench.seconds)


ROWS = (
    Row("h1", "HTTP/1.1, 64 keep-alive connections, small answer", over(proxies.SMALL, 64), bar=0.90),
    Row("h1_tls", "the same over TLS", over(proxies.SMALL, 64, tls=True), bar=0.85),
    Row("h2_tls", "HTTP/2 over TLS, 16 connections of 16 streams", streams, bar=0.90),
    Row("handshake", "full TLS handshake with one request", handshakes, bar=0.60),
    Row("body_1m", "1 MB bodies over TLS, 16 connections", over(proxies.LARGE, 16, tls=True), bar=0.85),
    Row(
        "gzip",
        "gzip of 112 KB JSON, 16 connections",
        over(proxies.JSON, 16, headers=("Accept-Encoding: gzip",)),
        # HAProxy packs faster and worse; what counts is the program that packs as well.
        bar=0.60,
        bar_to="nginx",
        size_of=proxies.JSON,
    ),
    Row(
        "gzip_4",
        "the same at nginx's level",
        over(proxies.JSON_4, 16, headers=("Accept-Encoding: gzip",)),
        ("nginx", "tollgate"),
        bar=0.60,
        size_of=proxies.JSON_4,
    ),
    Row("file_1k", "static file of 1 kB, 64 connections", over("/files/1k.bin", 64), FILE_SERVERS, bar=1.0),
    Row("file_100k", "static file of 100 kB, 64 connections", over("/files/100k.bin", 64), FILE_SERVERS, bar=1.0),
    Row("log", "what the log costs: HTTP/1.1, 64 connections", over(proxies.SMALL, 64), LOG_CHOICES, bar=1.03),
)


def measure(row, proxy, bench):
    """One measurement: the load, and what the process tree used in the meantime, per request."""
    before = process.cpu(proxy.process.pid)
    load = row.load(proxy, bench)
    used = process.used_between(before, process.cpu(proxy.process.pid))
    proxy.forget_log()
    if load.requests == 0:
        raise process.Failed(f"{proxy.name}: no request of `{row.title}` was answered")
    return {
        "cpu_us": used.proxy / load.requests * 1e6,
        "user_us": used.user / load.requests * 1e6,
        "system_us": used.system / load.requests * 1e6,
        "with_log_service_us": used.everything / load.requests * 1e6,
        "requests_per_s": load.requests / load.seconds,
        "p50_us": load.p50_us,
        "p99_us": load.p99_us,
        "errors": load.errors,
    }


def summed_up(row, rounds, sizes):
    """Medians of the rounds, and ratios between contenders of the same run. `rounds` is name → measurements."""
    results = {name: medians(measured) for name, measured in rounds.items()}
    others = [name for name in results if name != "tollgate"]
    best = min(others, key=lambda name: results[name]["cpu_us"], default=None)
    for name, result in results.items():
        result["size_b"] = sizes.get(name)
        result["to_nginx"] = ratio(rounds, name, "nginx")
        result["to_best_other"] = ratio(rounds, name, best) if name == "tollgate" else None
        result["spread"] = spread(rounds[name])
    base = row.bar_to or best
    ours = ratio(rounds, "tollgate", base) if "tollgate" in rounds else None
    bar = {"allowed": row.bar, "to": base, "ours": ours} if row.bar and ours else None
    return {"key": row.key, "title": row.title, "bar": bar, "best_other": best, "results": results}


def medians(measured):
    keys = measured[0].keys()
    result = {key: middle([one[key] for one in measured]) for key in keys if key != "errors"}
    return {**result, "errors": sum(one["errors"] for one in measured), "rounds": len(measured)}


def middle(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(rounds, name, base):
    if base not in rounds:
        return None
    return middle([one["cpu_us"] for one in rounds[name]]) / middle([one["cpu_us"] for one in rounds[base]])


def spread(measured):
    """Half the distance between the cheapest and the dearest round, as a part of the median."""
    costs = [one["cpu_us"] for one in measured]
    return (max(costs) - min(costs)) / 2 / statistics.median(costs)


def size_on_the_wire(proxy, path):
    connection = proxy.connect(tls=False)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        return len(answer.read()) if answer.getheader("Content-Encoding") == "gzip" else None
    finally:
        connection.close()
