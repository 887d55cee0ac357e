"""Raw requests: read from checkouts of other projects (never copied here), and mutations of our own."""

import json
import pathlib
import re
import sys

HOST = "localhost"


def http11probe_data(checkout):
    """(id, expectation, raw bytes) from the published results; None for those that print cannot have kept."""
    text = pathlib.Path(checkout, "docs/static/probe/data1.js").read_text(encoding="utf-8")
    data = json.loads(text[text.index("{") : text.rindex("}") + 1])
    # Any server's results hold the requests; the first one's are as good as another's.
    for result in data["servers"][0]["results"]:
        raw = result["rawRequest"] or ""
        is_kept = raw and len(raw) < 8192 and "??" not in raw
        again = LOST.get(result["id"])
        yield result["id"], result["expected"], localize(raw).encode("latin-1") if is_kept else again


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
# Those that a print of at most 8 KiB ASCII cannot keep, made after their descriptions.
LOST = {
    "MAL-LONG-URL": b"GET /" + b"A" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "MAL-LONG-HEADER-VALUE": HEAD + b"X-Big: " + b"B" * 100_000 + b"\r\n\r\n",
    "MAL-LONG-HEADER-NAME": HEAD + b"A" * 100_000 + b": val\r\n\r\n",
    "MAL-LONG-METHOD": b"A" * 100_000 + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "MAL-MANY-HEADERS": HEAD + b"".join(b"X-H-%d: value\r\n" % i for i in range(10_000)) + b"\r\n",
    "MAL-CHUNK-EXT-64K": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;ext="
    + b"a" * 65_536 + b"\r\nhello\r\n0\r\n\r\n",
    "MAL-NON-ASCII-HEADER-NAME": HEAD + b"X-T\xc3\xabst: value\r\n\r\n",
    "MAL-NON-ASCII-URL": b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "MAL-URL-OVERLONG-UTF8": b"GET /\xc0\xaf HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "MAL-BINARY-GARBAGE": bytes((i * 167 + 13) % 256 for i in range(256)),
    "MAL-EMPTY-REQUEST": b"",
}


def localize(text):
    return text.replace("localhost:8080", HOST)


LITERAL = re.compile(r'\$?"((?:[^"\\]|\\.)*)"')
BLOCK = re.compile(r"yield return new (?:Sequence)?TestCase\b(.*?)(?=yield return new|\Z)", re.S)
PAYLOAD = re.compile(r"MakeRequest\(|Encoding\.(?:ASCII|Latin1|UTF8)\.GetBytes\(")


def http11probe_source(checkout):
    """(id, raw bytes) of every request that stands in the sources as plain literals, sequences step by step."""
    for path in sorted(pathlib.Path(checkout, "src/Http11Probe/TestCases/Suites").glob("*.cs")):
        for block in BLOCK.findall(path.read_text(encoding="utf-8")):
            name = re.search(r'Id = "([^"]+)"', block)
            for number, raw in enumerate(block_requests(block)):
                yield f"{name[1]}#{number}", raw


def block_requests(block):
    for start in PAYLOAD.finditer(block):
        expression = balanced(block, start.end())
        words = LITERAL.sub("", expression)
        # Only literals joined by `+`: anything else would have to be computed.
        if re.fullmatch(r"[\s+]*", words) and LITERAL.search(expression):
            text = "".join(cs_text(part) for part in LITERAL.findall(expression))
            yield text.encode("latin-1", "replace")


def balanced(text, start):
    depth, at = 1, start
    while depth and at < len(text):
        literal = LITERAL.match(text, at)
        if literal:
            at = literal.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start : at - 1]


def cs_text(literal):
    literal = re.sub(r"\{ctx\.(HostHeader|Host)\}", HOST, literal).replace("{ctx.Port}", "80")
    plain = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "v": "\v", "f": "\f", "a": "\a", "b": "\b"}

    def one(match):
        kind = match[1]
        return chr(int(kind[1:], 16)) if kind[0] in "xu" else plain.get(kind, kind)

    return re.sub(r"\\(x[0-9a-fA-F]{1,4}|u[0-9a-fA-F]{4}|.)", one, literal).replace("{{", "{").replace("}}", "}")


def smuggler(checkout, lists=("default.py", "exhaustive.py", "doubles.py")):
    """(id, raw bytes): each mutation as both of the tool's attacks."""
    sys.path.insert(0, str(checkout))
    from lib.Payload import Chunked, EndChunk, Payload

    for name in lists:
        names = {"Payload": Payload, "Chunked": Chunked, "EndChunk": EndChunk, "mutations": {}}
        exec(pathlib.Path(checkout, "configs", name).read_text(encoding="utf-8"), names)
        for key, payload in names["mutations"].items():
            payload.host, payload.method, payload.endpoint = HOST, "POST", "/"
            for attack, length, body in (("tecl", 6, EndChunk + "X"), ("clte", 4, Chunked("Z") + EndChunk)):
                payload.cl, payload.body = length, body
                yield f"smuggler/{name}/{key}/{attack}", str(payload).encode("latin-1", "replace")


FENCE = re.compile(r"```http\n(.*?)```", re.S)


def llhttp(checkout):
    """(id, raw bytes) of the request examples: line ends of the text are CRLF, escapes mean what they say."""
    for path in sorted(pathlib.Path(checkout, "test/request").glob("*.md")):
        for number, text in enumerate(FENCE.findall(path.read_text(encoding="utf-8"))):
            # A backslash at the end of a line joins it with the next; written line ends are CRLF.
            text = re.sub(r"\\\n", "", text.removesuffix("\n")).replace("\n", "\r\n")
            yield f"llhttp/{path.stem}#{number}", cs_text(text).encode("latin-1", "replace")


GET = b"GET /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nX-One: value\r\nAccept: */*\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX-One: value\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n"
    b"5\r\nhello\r\n3;ext=1\r\nabc\r\n0\r\nX-End: 1\r\n\r\n"
)
INSERTS = [bytes([code]) for code in (0, 1, 7, 9, 10, 11, 12, 13, 27, 32, 34, 35, 40, 44, 47, 58, 59, 92, 127, 128, 160, 255)]
INSERTS += [b"\r\n", b"\r\n\r\n", b"\r\r\n", b" \r\n", b"\r\n ", b"\r\n\t", b"\xc0\xaf", b"%00", b"%0d%0a", b"%2f", b"..;/"]


def mutations():
    """Each of the three requests with each of the inserts at each place, and with each byte left out."""
    for name, base in (("get", GET), ("post", POST), ("chunked", CHUNKED)):
        yield f"own/{name}", base
        for at in range(len(base)):
            yield f"own/{name}/cut{at}", base[:at] + base[at + 1 :]
        for at in sorted(places(base)):
            for number, insert in enumerate(INSERTS):
                yield f"own/{name}/{at}+{number}", base[:at] + insert + base[at:]


def places(base):
    """Where one part of a message meets another, and one place within each part."""
    edges = {0, len(base)}
    for match in re.finditer(rb"[ :;=?/]|\r\n|\r|\n|[a-zA-Z0-9-]+", base):
        edges |= {match.start(), match.end(), match.start() + 1}
    return {at for at in edges if at <= len(base)}


AWKWARD_FIELDS = [
    *(b"Host: " + v for v in (b"", b"a b", b"a,b", b"a@b", b"a/b", b"a:b", b"a:99999", b"[::1", b"a?b", b"a#b", b"a\\b", b"\xe4", b"localhost:", b"localhost:80:80", b"localhost, localhost")),
    *(b"Content-Length: " + v for v in (b"", b"+5", b"-5", b"0x5", b"5_0", b"5 5", b"5,5", b"5, 5", b"5;", b"05", b"5.0", b"18446744073709551617", b"5\t", b"\"5\"", b"\xd9\xa5")),
    *(b"Transfer-Encoding: " + v for v in (b"", b"chunked, chunked", b"x, chunked", b"chunked, x", b"chunked;q=1", b"xchunked", b"chunked\x0b", b"\x0bchunked", b"gzip, chunked", b"identity", b"identity, chunked", b"chunked,", b",chunked", b"chunKed", b"\"chunked\"", b"gzip", b"chunked \x00")),
    *(b"Connection: " + v for v in (b"Host", b"Content-Length", b"Transfer-Encoding", b"X-Forwarded-For", b"Cookie", b"Authorization", b"close, Host", b"\"", b"a b", b"X-Request-Id", b"Forwarded", b"X_Forwarded_For")),
    *(b"Expect: " + v for v in (b"100-continue", b"200-ok", b"", b"100-continue, x")),
    b"Content_Length: 5", b"Transfer_Encoding: chunked", b"X_Forwarded_For: 6.6.6.6", b"X_Request_Id: x", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings",
    b"Upgrade: websocket\r\nConnection: upgrade", b"Trailer: Host", b"TE: chunked", b"TE: trailers", b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=5", b"Max-Forwards: 0",
]
BODIES = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"]
BROKEN_CHUNKS = [
    b"0x5\r\nhello\r\n0\r\n\r\n", b"-1\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5_0\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n", b"5\rhello\r0\r\r", b"5\r\nhello0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", b"5;\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5;a\x00b\r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n", b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n", b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", b"5\r\nhello\r\n0\r\n bad\r\n\r\n", b"5\r\nhello\r\n0\r\nX-T : a\r\n\r\n", b"5\r\nhello\r\n0\r\nX-T: a\x00\r\n\r\n", b"5\r\nhello\r\n0\r\nX-T: a\rb\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n00000\r\n\r\n", b"5\r\nhello\r\n0;x\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n\r\nGET /second HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"5\x0b\r\nhello\r\n0\r\n\r\n", b"5\xa0\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n",
]
TARGETS = [
    b"*", b"a", b"http://evil.example/", b"http://localhost/ok", b"http://u:p@localhost/", b"https://localhost/", b"localhost:80", b"//localhost/x", b"/%2e%2e/x", b"/../x", b"/a/./b", b"/a//b", b"/a%2fb", b"/a%5cb",
    b"/a\\b", b"/%00", b"/%zz", b"/%", b"/a;b", b"/..;/x", b"/a#b", b"/\xc3\xa9", b"/%c0%af", b"?x", b"/?x=%0d%0ay", b"ftp://localhost/", b"/a|b", b"/a\"b", b"/<a>", b"/a{b}", b"/a^b`c", b"http:///x", b"http://localhost:80:80/",
]
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PRI", b"get", b"G@T", b"G(T", b"PROPFIND", b"X" * 200]
VERSIONS = [b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1", b"http/1.1", b"HTTP/01.1", b"HTTP/1.1 ", b"HTTP /1.1", b"", b"HTTP/1.1\x0b"]


def combinations():
    """Awkward fields with every kind of body, broken chunks, and request lines of all kinds."""
    for number, line in enumerate(AWKWARD_FIELDS):
        host = b"" if line.startswith(b"Host:") else b"Host: localhost\r\n"
        for version in (b"HTTP/1.1", b"HTTP/1.0"):
            for framed in (b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
                for kind, body in enumerate(BODIES):
                    head = b"POST / " + version + b"\r\n" + host + framed + line + b"\r\n\r\n"
                    yield f"own/field{number}/{version.decode()}/{framed[:2].decode()}/{kind}", head + body
        yield f"own/field{number}/twice", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n" + line + b"\r\n\r\n"
    for number, body in enumerate(BROKEN_CHUNKS):
        yield f"own/chunk{number}", b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    for method in METHODS:
        for version in VERSIONS:
            for target in TARGETS if version in (b"HTTP/1.0", b"HTTP/1.1") else (b"/",):
                for host in (b"Host: localhost\r\n", b""):
                    yield f"own/line/{method[:9]}/{target}/{version}/{len(host)}", b"%s %s %s\r\n%s\r\n" % (method, target, version, host)
