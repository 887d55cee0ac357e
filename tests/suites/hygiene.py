#!/usr/bin/env python3
"""Proxy hygiene: what 21 awkward requests look like at the origin. Usage: hygiene.py"""

import sys

sys.dont_write_bytecode = True
import ground

REFUSED = "refused"


def fields_of(raw):
    lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower().decode(), []).append(value.strip().decode())
    return lines[0].split(b" ")[1].decode(), fields


def without(*names):
    return lambda target, fields: all(name not in fields for name in names)


def exactly(name, *values):
    return lambda target, fields: fields.get(name) == list(values)


def target_is(wanted):
    return lambda target, fields: target == wanted


GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
CASES = [
    ("a field named by Connection ends here", "/", "Connection: X-Private\r\nX-Private: 1\r\n", without("x-private", "connection")),
    ("Connection may not name Host", "/", "Connection: Host\r\n", REFUSED),
    ("Connection may not name X-Forwarded-For", "/", "Connection: X-Forwarded-For\r\n", REFUSED),
    ("Connection may not name Content-Length", "/", "Connection: Content-Length\r\nContent-Length: 0\r\n", REFUSED),
    ("Keep-Alive", "/", "Keep-Alive: timeout=5\r\n", without("keep-alive")),
    ("Proxy-Connection", "/", "Proxy-Connection: keep-alive\r\n", without("proxy-connection")),
    ("TE other than trailers", "/", "TE: gzip, deflate;q=0.5\r\nConnection: TE\r\n", without("te")),
    ("h2c upgrade", "/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", without("upgrade", "http2-settings", "connection")),
    ("Proxy-Authorization", "/", "Proxy-Authorization: Basic eDp5\r\n", without("proxy-authorization")),
    ("X-Forwarded-For of a stranger", "/", "X-Forwarded-For: 6.6.6.6\r\n", exactly("x-forwarded-for", "127.0.0.1")),
    ("X-Forwarded-Proto and -Host of a stranger", "/", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n", lambda t, f: f["x-forwarded-proto"] == ["http"] and f["x-forwarded-host"] == ["localhost"]),
    ("X-Real-IP of a stranger", "/", "X-Real-IP: 6.6.6.6\r\n", lambda t, f: "6.6.6.6" not in str(f)),
    ("Forwarded of a stranger", "/", "Forwarded: for=6.6.6.6;host=evil\r\n", lambda t, f: len(f.get("forwarded", [])) < 2 and "6.6.6.6" not in str(f)),
    ("X-Forwarded-Prefix of a stranger", "/", "X-Forwarded-Prefix: /admin\r\nX-Original-URL: /admin\r\n", without("x-forwarded-prefix", "x-original-url")),
    ("underscore aliases", "/", "X_Forwarded_For: 6.6.6.6\r\nX_Request_Id: 1\r\nContent_Length: 5\r\n", lambda t, f: not any("_" in name for name in f)),
    ("absolute target against Host", "http://evil.example/", "", REFUSED),
    ("dot segments", "/a/../b/./c", "", target_is("/b/c")),
    ("escaped dot segments", "/a/%2e%2E/b", "", target_is("/b")),
    ("double slashes", "//a///b", "", target_is("/a/b")),
    ("escaped slash and backslash", "/a%2fb", "", REFUSED),
    ("dots beside a semicolon", "/a/..;/b", "", REFUSED),
]

failed = 0
for tls in (False, True):
    passed = 0
    for name, target, lines, wanted in CASES:
        origin = ground.Origin()
        with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
            port = tollgate.https if tls else tollgate.http
            reply = ground.send_raw(port, GET.format(target, lines).encode(), tls)
        got = bytes(origin.connections[0]) if origin.connections else b""
        if wanted is REFUSED:
            is_good = not got and reply.status == 400
        else:
            scheme_is_right = wanted is not None and reply.status == 200 and bool(got)
            path, fields = fields_of(got) if scheme_is_right else ("", {})
            if tls and "x-forwarded-proto" in fields:
                is_https = fields["x-forwarded-proto"] == ["https"]
                fields["x-forwarded-proto"] = ["http"] if is_https else ["wrong"]
            is_good = scheme_is_right and bool(wanted(path, fields))
        passed += is_good
        if not is_good:
            print(f"FAIL {name}: answered {reply.status}, origin got {got!r}")
    print(f"hygiene over {'TLS' if tls else 'plain'}: {passed}/{len(CASES)}")
    failed += len(CASES) - passed
sys.exit(bool(failed))
