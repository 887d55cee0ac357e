"""Memory of idle keep-alive connections, each of which has made one request."""

import time

import process
import proxies

# Requests before the base is read, so that what each proxy touches once (buffers and rings of its log, its pools) does
# not count as memory of a connection.
WARM = 5_000


def measure(proxy, tls, count, seconds):
    """KiB per connection after `seconds` of rest, and how many of a sample still answer afterwards."""
    warm(proxy, tls)
    # A proxy that gives memory back later shall not count as having it.
    time.sleep(seconds)
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


def warm(proxy, tls):
    """Requests one after the other on a few connections, which are closed again."""
    for _ in range(8):
        connection = opened(proxy, tls)
        for _ in range(WARM // 8):
            if not answers(connection):
                raise process.Failed(f"{proxy.name} ended a connection early")
        connection.close()


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
