"""What the scripts of sinks beside this have besides: a server that takes what is sent, and requests that can be told apart."""

import contextlib
import gzip
import http.server
import socket
import threading
import time

from stage import Proxy, comes, free_port, until


class Receiver:
    """A server: `take(path, headers, body)` answers `(status, headers, body)`. Bodies come unpacked."""

    def __init__(self, take):
        self.port, self.take, self.server = free_port(), take, None

    def start(self):
        take = self.take

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status, headers, text = take(self.path, self.headers, body)
                self.send_response(status)
                for name, value in {**headers, "content-length": len(text)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address, daemon_threads = True, True
            open_ones = []

            def process_request(self, request, address):
                self.open_ones.append(request)
                super().process_request(request, address)

            def handle_error(self, *_):
                """Whoever hangs up is expected."""

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def kill(self):
        """As when its process dies: connections break off as well."""
        self.server.shutdown()
        self.server.server_close()
        for one in self.server.open_ones:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.server.open_ones.clear()


def numbered(first, total):
    """Paths that can be told apart."""
    return [f"/n/{number}" for number in range(first, first + total)]


def number_of(path):
    return int(path.removeprefix("/n/")) if isinstance(path, str) and path.startswith("/n/") else None


def through_a_restart(proxy, receiver, taken, each):
    """Three times `each` requests: to the receiver, while it is away, and when it is back. `taken()` are the numbers that it has."""
    proxy.ask(numbered(0, each))
    until("the first third", lambda: taken() >= set(range(each)))
    receiver.kill()
    proxy.ask(numbered(each, each))
    time.sleep(1)
    receiver.start()
    proxy.ask(numbered(2 * each, each))
    until("the rest", lambda: taken() >= set(range(3 * each)))


def shipped(stage, promise, name, sink, total, taken, during=None):
    """Requests to a proxy with such a sink, with something in the middle. `taken()` are the paths that came: all must."""
    proxy = Proxy(stage, sink, name).start()
    paths = numbered(0, total)
    answered = proxy.ask(paths[:total // 2])
    if during:
        during()
    answered += proxy.ask(paths[total // 2:])
    comes(lambda: set(paths) <= set(taken()))
    came, dead = [path for path in taken() if number_of(path) is not None], proxy.letters()
    proxy.stop()
    missing = set(paths) - set(came)
    stage.check(promise, answered == total and not missing and not dead,
                f"{total} records, {len(missing)} missing, {len(came) - len(set(came))} twice, {len(dead)} dead letters")
    return came
