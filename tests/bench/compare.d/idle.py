"""Memory of idle keep-alive connections, each of which has made one request."""

import time

import process
import proxies


def measure(proxy, tls, count, seconds):
    """KiB per connection after `seconds` of rest, and how many of a sample still answer afterwards."""
    proxy.get(proxies.SMALL, tls)
    before = process.resident_kib(proxy.process.pid)
    held = [opened(proxy, tls) for _ in range(count)]
    busy = process.resident_kib(proxy.process.pid)
    time.sleep(seconds)
    after = process.resident_kib(proxy.process.pid)
    sample = held[:: max(1, count // 100)]
    alive = sum(answers(connection) for connection in sample)
    for connection in held:
        connection.close()
    return {
        "kib": (after - before) / count,
        "kib_at_once": (busy - before) / count,
        "alive": alive,
        "sample": len(sample),
    }


def opened(proxy, tls):
    connection = proxy.connect(tls)
    if not answers(connection):
        raise process.Failed(f"{proxy.name} refused an idle connection")
    return connection


def answers(connection):
    """One request on a connection that must not be opened anew behind our back."""
    was_open = connection.sock is not None
    connection.auto_open = 0 if was_open else 1
    try:
        connection.request("GET", proxies.SMALL)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, proxies.http.client.HTTPException):
        return False
