"""Three logs that compress as real ones do: a website, an API behind tollgate, and what applications write.

All of them are the same at every run. Each entry is a JSON object as the log service is sent it."""

import datetime
import json
import random
import uuid

AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.{build}.{patch} Safari/537.36"
    for system in ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7")
    for version, build, patch in ((128, 6613, 84), (129, 6668, 58), (130, 6723, 91), (131, 6778, 33))
] + [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
    "Chef Client/10.18.2 (ruby-1.9.3-p327; ohai-6.16.0; x86_64-linux; +http://opscode.com)",
    "curl/8.10.1",
]
WORDS = "about archive blog cart checkout css docs export feed images index js kibana login logs news order puppet search".split()


def text_of(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def id_at(time, chance):
    """A UUIDv7 (RFC 9562), as the proxy makes it: 12 more bits of time, then chance."""
    micros = int(time.timestamp() * 1_000_000)
    high = (micros // 1000) << 16 | 7 << 12 | (micros % 1000) * 4
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | chance.getrandbits(62)))


def skewed(chance, count):
    """A few are asked for all the time, most hardly ever."""
    return int(count ** chance.random()) - 1


def website(count, start):
    """Combined lines of a small site, as `logs export --from` reads them: visitors, crawlers, feed readers."""
    chance, time = random.Random(1), start
    clients = [".".join(str(chance.randrange(1, 255)) for _ in range(4)) for _ in range(1_750)]
    paths = ["/" + "/".join(chance.choices(WORDS, k=chance.randrange(1, 5))) for _ in range(1_500)]
    for _ in range(count):
        time += datetime.timedelta(microseconds=chance.randrange(150_000))
        client = skewed(chance, len(clients))
        entry = {"ts": text_of(time), "kind": "request", "proxy": "combined", "id": id_at(time, chance)}
        entry |= {"client_ip": clients[client], "method": chance.choices(("GET", "HEAD", "POST"), (98, 1, 1))[0]}
        entry |= {"path": paths[skewed(chance, len(paths))], "proto": "1.1"}
        if chance.random() < 0.1:
            entry["query"] = f"flav=rss20&page={skewed(chance, 30)}"
        entry["status"] = chance.choices((200, 304, 404, 301, 206, 500), (913, 44, 21, 17, 4, 1))[0]
        entry["tx_body_b"] = skewed(chance, 200_000)
        if chance.random() < 0.6:
            entry["referer"] = "http://www.example.org" + paths[skewed(chance, 60)]
        entry["ua"] = AGENTS[(client * 7 + skewed(chance, 3)) % len(AGENTS)]
        yield entry


def api(count, start):
    """What the proxy writes before an API: all phases, two cores, a few failures."""
    chance, time, seq = random.Random(2), start, [0, 0]
    for _ in range(count):
        time += datetime.timedelta(microseconds=chance.randrange(10_000))
        core = chance.randrange(2)
        seq[core] += 1
        failed = chance.random() < 0.01
        route = chance.choices(("/api/cart/*", "/api/search", "/api/login", "/*"), (5, 3, 1, 4))[0]
        wait, resp = int(chance.lognormvariate(7.5, 1)), int(chance.lognormvariate(5, 0.5))
        idle, head, policy = chance.randrange(5_000_000), chance.randrange(15, 60), chance.randrange(10, 40)
        conn = skewed(chance, 400) + 1
        worker = chance.randrange(4)
        entry = {"v": 1, "kind": "request", "ts": text_of(time), "id": id_at(time, chance), "proxy": "edge-1"}
        entry |= {"boot": 1_795_327_929_712, "core": core, "seq": seq[core], "cfg": "389f5f02da9f31da", "conn": conn}
        entry |= {"conn_req": skewed(chance, 90) + 1, "listener": "https", "client_ip": f"203.0.113.{conn % 250}"}
        entry |= {"client_port": 32_768 + conn * 61 % 28_000, "method": "POST" if route == "/api/login" else "GET"}
        entry |= {"scheme": "https", "host": "shop.example", "site": "shop.example", "route": route}
        entry["path"] = route.replace("*", str(skewed(chance, 5_000)))
        entry |= {"proto": "2", "h2_stream": chance.randrange(1, 99, 2), "ua": AGENTS[conn % len(AGENTS)]}
        entry |= {"status": 504 if failed else 200, "resp_type": "application/json", "rx_head_b": 90 + conn % 60}
        entry |= {"rx_body_b": 0, "tx_head_b": 161, "tx_body_b": skewed(chance, 9_000), "up_tx_b": 323}
        entry |= {"up_rx_b": skewed(chance, 9_000) + 72, "dur_us": head + policy + wait + resp, "t_idle_us": idle}
        entry |= {"t_head_us": head, "t_policy_us": policy, "t_queue_us": 0, "t_conn_us": 0, "t_send_us": 0}
        entry |= {"t_wait_us": wait, "t_resp_us": resp, "t_self_us": chance.randrange(14, 60), "upstream": "app"}
        entry |= {"up_addr": f"127.0.0.1:{20_000 + worker}", "worker": f"app-{worker}", "up_reused": True, "pick": "rr"}
        entry |= {"tries": 1, "end_by": "proxy" if failed else "none", "end_at": "wait" if failed else "done"}
        if failed:
            entry |= {"reason": "upstream:http_response_timeout", "cause": "timeouts.upstream=2s @tollgate.toml:6"}
            entry["try_log"] = [{"addr": entry["up_addr"], "wait_us": wait, "reason": "upstream:http_response_timeout"}]
        else:
            entry["up_status"] = 200
        entry |= {"n_conn": conn, "n_req": conn * 3, "up_req": seq[core], "tls_ver": "1.3", "tls_sni": "shop.example"}
        entry |= {"tls_cipher": "TLS13_AES_128_GCM_SHA256", "tls_group": "X25519MLKEM768", "tls_alpn": "h2"}
        entry["tls_resumed"] = conn % 3 == 0
        yield entry


def applications(count, start):
    """Lines of workers and entries of applications: members without a column, odd texts, types that do not fit."""
    chance, time = random.Random(3), start
    odd = ["tab\there", "line\nbreak", "\u001b[31mred", "naïve \u20ac \U0001f600", "\u0000", '{"no":"json', "x" * 3_000]
    for number in range(count):
        time += datetime.timedelta(microseconds=chance.randrange(20_000))
        entry = {"ts": text_of(time), "level": chance.choices(("info", "warn", "error"), (8, 1, 1))[0]}
        match number % 4:
            case 0:
                entry |= {"kind": "app", "id": id_at(time, chance), "worker": f"app-{number % 3}", "stream": "stderr"}
                entry["line"] = f"order {skewed(chance, 9_000)} sent to {chance.choice(WORDS)} in {skewed(chance, 900)} ms"
            case 1:
                entry |= {"msg": f"cache miss for {chance.choice(WORDS)}", "user": {"id": skewed(chance, 900), "n": 1.50}}
            case 2:
                entry |= {"trace_id": f"{chance.getrandbits(128):032x}", "span_id": f"{chance.getrandbits(64):016x}"}
                entry |= {"msg": "span ended", "trace_flags": 1, "dur_us": skewed(chance, 90_000)}
            case _:
                entry |= {"msg": chance.choice(odd), "status": chance.choice(("200", 200, -1, 70_000, 2.5, None))}
                entry |= {"big": 18_446_744_073_709_551_616, "core": chance.choice((1, "one", [1]))}
        yield entry


def stored_line(entry, recv):
    """As the service of the first version kept it; the store takes such files over when it starts."""
    rest = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))[1:]
    return f'{{"recv":"{text_of(recv)}","from":"sample",{rest}\n'
