"""The origin and the proxies before it: one set of promises, three config languages.

Everywhere: two workers, keep-alive on both sides without a cap on requests, one JSON line per request, a request id
to the origin and to the client, X-Forwarded-For and X-Forwarded-Proto, TLS 1.2 and 1.3, gzip at the speed that the
program's users would choose, no cache.
"""

import http.client
import os
import shutil
import ssl
import subprocess

import process

SMALL = "/small"
LARGE = "/1m.bin"
JSON = "/gzip/data.json"
# The same where tollgate packs at nginx's level instead of its own default.
JSON_4 = "/gzip4/data.json"
# The `[log]` table of each way to run tollgate; `tollgate` is the one that meets the others.
TOLLGATE_LOGS = {
    "tollgate": 'service = "none"\nfile = "{folder}/access.log"',
    "tollgate no log": 'service = "none"',
    "tollgate log service": 'service = "embedded"\ndata = "{folder}/logs"',
}


class Proxy:
    """A running server under test. `name` is what the table shows, `kind` the program."""

    def __init__(self, name, kind, argv_of, config_of, bench):
        self.name, self.kind = name, kind
        self.http, self.https = process.free_port(), process.free_port()
        self.folder = os.path.join(bench.folder, name.replace(" ", "-"))
        os.makedirs(self.folder, exist_ok=True)
        config_path = os.path.join(self.folder, f"{kind}.conf")
        with open(config_path, "w", encoding="utf-8") as config:
            config.write(config_of(self, bench))
        self.process = process.Process(kind, argv_of(self, config_path), self.folder)
        bench.started.append(self.process)
        self.process.wait_until(lambda: self.get(SMALL, tls=False) == 200 and self.get(SMALL, tls=True) == 200)

    def get(self, path, tls):
        """Status of one request on a new connection; None when there is no answer."""
        connection = self.connect(tls)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def connect(self, tls):
        if not tls:
            return http.client.HTTPConnection("localhost", self.http, timeout=10)
        return http.client.HTTPSConnection("localhost", self.https, timeout=10, context=unverified())

    def url(self, path, tls):
        return f"https://localhost:{self.https}{path}" if tls else f"http://localhost:{self.http}{path}"

    def forget_log(self):
        """Empties the log of a program that does not rotate it: ten minutes of records are many gigabytes."""
        for path in (os.path.join(self.folder, "access.log"), self.process.stdout_path):
            if self.kind != "tollgate" and os.path.exists(path):
                os.truncate(path, 0)

    def stop(self):
        self.process.stop()


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def present(bench):
    """How to start each contender that this machine has, by name."""
    contenders = {}
    if shutil.which("nginx"):
        contenders["nginx"] = lambda: Proxy("nginx", "nginx", nginx_argv, nginx, bench)
    if shutil.which("haproxy"):
        contenders["haproxy"] = lambda: Proxy("haproxy", "haproxy", haproxy_argv, haproxy, bench)
    if bench.tollgate:
        for name, log in TOLLGATE_LOGS.items():
            contenders[name] = lambda name=name, log=log: tollgate_with(name, log, bench)
    return contenders


def tollgate_with(name, log, bench):
    argv = lambda proxy, path: [bench.tollgate, "run", "-c", path]
    return Proxy(name, "tollgate", argv, lambda proxy, bench: tollgate(proxy, bench, log), bench)


def tollgate(proxy, bench, log):
    return f"""
[server]
http  = "127.0.0.1:{proxy.http}"
https = "127.0.0.1:{proxy.https}"
admin = "unix:{proxy.folder}/control.sock"
cores = {bench.cores}
max_connections_per_ip = 20000          # all of them come from this machine

[log]
{log.format(folder=proxy.folder)}

[upstream.origin]
servers = ["127.0.0.1:{bench.origin_port}"]

[site."localhost"]
tls           = {{ cert = "{bench.folder}/cert.pem", key = "{bench.folder}/key.pem" }}
redirect_http = false
routes = [
  {{ path = "/files/*", files = "{bench.folder}/files" }},
  {{ path = "/gzip/*",  proxy = "origin", compress = ["gzip"] }},
  {{ path = "/gzip4/*", proxy = "origin", compress = {{ codecs = ["gzip"], level = 4 }} }},
  {{ path = "/*",       proxy = "origin" }},
]
"""


def nginx_argv(proxy, path):
    return ["nginx", "-e", os.path.join(proxy.folder, "error.log"), "-p", proxy.folder, "-c", path]


def nginx(proxy, bench):
    return f"""
{nginx_main(proxy.folder, bench.cores)}
http {{
  {nginx_basics(proxy.folder)}
  log_format json escape=json '{{"ts":"$time_iso8601","id":"$request_id","client_ip":"$remote_addr",'
    '"client_port":$remote_port,"conn":$connection,"conn_req":$connection_requests,"method":"$request_method",'
    '"scheme":"$scheme","host":"$host","path":"$uri","query":"$args","proto":"$server_protocol","status":$status,'
    '"rx_b":$request_length,"tx_body_b":$body_bytes_sent,"dur_s":$request_time,"up_addr":"$upstream_addr",'
    '"up_status":"$upstream_status","conn_s":"$upstream_connect_time","wait_s":"$upstream_header_time",'
    '"resp_s":"$upstream_response_time","tls_ver":"$ssl_protocol","tls_cipher":"$ssl_cipher",'
    '"referer":"$http_referer","ua":"$http_user_agent"}}';
  access_log {proxy.folder}/access.log json buffer=64k flush=1s;
  ssl_certificate {bench.folder}/cert.pem;
  ssl_certificate_key {bench.folder}/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3;
  upstream origin {{ server 127.0.0.1:{bench.origin_port}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{proxy.http} backlog=4096;
    {nginx_tls_listen(proxy.https)}
    server_name localhost;
    proxy_http_version 1.1;
    proxy_max_temp_file_size 0;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Request-Id $request_id;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    add_header X-Request-Id $request_id;
    location /files/ {{ alias {bench.folder}/files/; }}
    location /gzip {{
      gzip on; gzip_comp_level 4; gzip_types application/json; gzip_proxied any; gzip_vary on;
      proxy_pass http://origin;
    }}
    location / {{ proxy_pass http://origin; }}
  }}
}}
"""


def nginx_main(folder, workers):
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user} daemon off; worker_processes {workers}; worker_rlimit_nofile 20000; pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}"""


def nginx_basics(folder):
    places = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{places}
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 75s; keepalive_requests 100000000;
  types {{ application/json json; }} default_type application/octet-stream;"""


def nginx_tls_listen(port):
    """`http2` moved from the listen line to a directive of its own in 1.25.1."""
    done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
    numbers = tuple(int(part) for part in done.stderr.rpartition("/")[2].split()[0].split("."))
    if numbers >= (1, 25, 1):
        return f"listen 127.0.0.1:{port} ssl backlog=4096; http2 on;"
    return f"listen 127.0.0.1:{port} ssl http2 backlog=4096;"


def haproxy_argv(_proxy, path):
    return ["haproxy", "-db", "-f", path]


def haproxy(proxy, bench):
    return f"""
global
  nbthread {bench.cores}
  maxconn 8000
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  log global
  option forwardfor
  option dontlognull
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  log-format '{haproxy_log_format()}'
frontend front
  bind 127.0.0.1:{proxy.http} backlog 4096
  bind 127.0.0.1:{proxy.https} ssl crt {bench.folder}/both.pem alpn h2,http/1.1 backlog 4096
  http-request capture req.hdr(host) len 64
  http-request capture req.hdr(user-agent) len 128
  http-request capture req.hdr(referer) len 128
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
  http-after-response set-header X-Request-Id %[unique-id]
  use_backend packed if {{ path_beg /gzip/ }}
  default_backend origin
backend origin
  server origin 127.0.0.1:{bench.origin_port} pool-max-conn 256
backend packed
  compression algo gzip
  compression type application/json
  server origin 127.0.0.1:{bench.origin_port} pool-max-conn 256
"""


def haproxy_log_format():
    return (
        '{"ts":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","id":"%ID","client_ip":"%ci","client_port":%cp,'
        '"method":"%HM","host":"%[capture.req.hdr(0),json(utf8s)]","path":"%[capture.req.uri,json(utf8s)]",'
        '"proto":"%HV","status":%ST,"tx_b":%B,"rx_b":%U,"dur_ms":%Ta,"head_ms":%TR,"queue_ms":%Tw,"conn_ms":%Tc,'
        '"wait_ms":%Tr,"resp_ms":%Td,"idle_ms":%Ti,"upstream":"%b","up_addr":"%si:%sp","end":"%ts","tries":%rc,'
        '"tls_ver":"%sslv","tls_cipher":"%sslc","ua":"%[capture.req.hdr(1),json(utf8s)]",'
        '"referer":"%[capture.req.hdr(2),json(utf8s)]","n_conn":%fc,"up_req":%sc}'
    )


class Origin:
    """The service behind the proxies: a plain nginx of its own that answers from memory and from files."""

    def __init__(self, bench):
        folder = os.path.join(bench.folder, "origin")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "nginx.conf")
        body = '{"ok":true,"items":[1,2,3],"text":"' + "small answer of a service " * 4 + '"}'
        with open(path, "w", encoding="utf-8") as config:
            config.write(f"""
{nginx_main(folder, 1)}
http {{
  {nginx_basics(folder)}
  access_log off;
  server {{
    listen 127.0.0.1:{bench.origin_port} backlog=4096;
    root {bench.folder}/files;
    location = {SMALL} {{ default_type application/json; return 200 '{body}'; }}
    location /gzip/ {{ alias {bench.folder}/files/; }}
    location /gzip4/ {{ alias {bench.folder}/files/; }}
  }}
}}
""")
        argv = ["nginx", "-e", os.path.join(folder, "error.log"), "-p", folder, "-c", path]
        self.process = process.Process("origin", argv, folder)
        bench.started.append(self.process)
        self.process.wait_until(lambda: answers(bench.origin_port))


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", SMALL)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
