//! What holds on one way in holds on all: HTTP/1.1 and HTTP/2, with and without TLS.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::client::Answer;
use crate::support::legal_h2::LegalH2;
use crate::support::{Findings, Http1, Origin, Setup, Tollgate, equal};

const WAYS: [&str; 4] = ["h1", "h1+tls", "h2+tls", "h2c"];

enum Client {
    One(Http1),
    Two(LegalH2, &'static str),
}

impl Client {
    fn new(tollgate: &Tollgate, way: &str) -> Self {
        match way {
            "h1" => Self::One(tollgate.plain()),
            "h1+tls" => Self::One(tollgate.tls()),
            "h2c" => Self::Two(LegalH2::plain(tollgate.http), "http"),
            _ => Self::Two(LegalH2::tls(tollgate.https(), "localhost"), "https"),
        }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        match self {
            Self::One(connection) => {
                let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
                for (name, value) in fields {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                if !body.is_empty() {
                    text.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                connection.send(text + "\r\n" + body);
                connection.reader.answer(method == "HEAD").map_err(|error| error.to_string())
            }
            Self::Two(client, scheme) => {
                let mut request =
                    Request::builder().method(method).uri(format!("{scheme}://localhost{path}"));
                for (name, value) in fields {
                    request = request.header(*name, *value);
                }
                let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
                client.ask(request.body(body).unwrap()).map_err(|error| format!("{error:?}"))
            }
        }
    }
}

fn gate() -> (Origin, Tollgate) {
    let origin = Origin::with(|talk| {
        let body = talk.read_body();
        match talk.path() {
            "/echo" => talk.answer(200, &[("Content-Type", "application/octet-stream")], &body),
            "/text" => {
                let text = "compress me, please. ".repeat(500);
                talk.answer(200, &[("Content-Type", "text/plain")], text.as_bytes());
            }
            "/chunked" => {
                talk.send(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
                );
            }
            "/half" => {
                talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                talk.close();
            }
            "/none" => talk.answer(204, &[], b""),
            "/headers" => talk.answer(
                200,
                &[
                    ("Connection", "x-hop"),
                    ("X-Hop", "1"),
                    ("X-Two", "a"),
                    ("X-Two", "b"),
                    ("Server", "secret"),
                ],
                b"ok",
            ),
            _ => talk.ok("ok"),
        }
    });
    let setup = Setup::new(format!(
        "[limit.once]\nkey = \"header.x-way\"\nrate = \"1/h\"\nburst = 1\n[upstream.app]\nservers = [\"{}\"]\n",
        origin.address
    ));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\ncompress = [\"gzip\"]\nmax_body = \"1MiB\"\nroutes = [\n\
         {{ path = \"/*\", proxy = \"app\" }}, {{ path = \"/once\", proxy = \"app\", limit = \"once\" }},\n\
         {{ path = \"/own\", respond = \"own\" }}, {{ path = \"/www/*\", files = \"DIR/www\" }},\n]\n"
    );
    std::fs::create_dir(setup.dir().join("www")).unwrap();
    std::fs::write(setup.dir().join("www/a.txt"), "0123456789").unwrap();
    (origin, setup.https().and(site).start())
}

/// Runs the promise on every way in; on each with one connection.
fn on_every_way(mut promise: impl FnMut(&str, &mut Client, &Origin, &Tollgate) -> Result<(), String>) {
    let (origin, tollgate) = gate();
    let mut findings = Findings::default();
    for way in WAYS {
        let mut client = Client::new(&tollgate, way);
        findings.check(way, promise(way, &mut client, &origin, &tollgate));
    }
    findings.check("dirt at the origin", equal(&origin.dirt(), &Vec::new()));
    findings.settle();
}

#[test]
fn passes_requests_and_answers() {
    on_every_way(|_, client, origin, _| {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
            let answer = client.ask(method, "/x?y=z", &[("x-sent", "1")], "")?;
            equal(&(answer.status, answer.text().as_str()), &(200, "ok"))?;
            let got = origin.last();
            equal(
                &(got.method.as_str(), got.target.as_str(), got.header("x-sent")),
                &(method, "/x?y=z", Some("1")),
            )?;
        }
        Ok(())
    });
}

#[test]
fn passes_bodies_of_every_size() {
    on_every_way(|_, client, _, _| {
        for size in [1, 100, 16_384, 65_535, 65_536, 300_000] {
            let body: String = (0..size).map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap())).collect();
            let answer = client.ask("POST", "/echo", &[], &body)?;
            equal(&(answer.status, answer.body == body.as_bytes()), &(200, true))?;
        }
        let chunked = client.ask("GET", "/chunked", &[], "")?;
        equal(&chunked.text().as_str(), &"abcdef")
    });
}

#[test]
fn answers_head_and_204_without_body() {
    on_every_way(|_, client, _, _| {
        let head = client.ask("HEAD", "/text", &[], "")?;
        equal(&(head.status, head.body.len(), head.header("content-length")), &(200, 0, Some("10500")))?;
        let none = client.ask("GET", "/none", &[], "")?;
        equal(&(none.status, none.body.len()), &(204, 0))?;
        equal(&client.ask("GET", "/", &[], "")?.status, &200)
    });
}

#[test]
fn cleans_headers_in_both_directions() {
    on_every_way(|way, client, origin, _| {
        let spoofed = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
        ];
        let answer = client.ask("GET", "/headers", &spoofed, "")?;
        equal(&(answer.header("x-hop"), answer.header("server")), &(None, None))?;
        equal(&answer.all("x-two"), &vec!["a", "b"])?;
        let got = origin.last();
        let proto = if way.contains("tls") { "https" } else { "http" };
        equal(
            &(got.all("x-forwarded-for"), got.all("x-forwarded-proto")),
            &(vec!["127.0.0.1"], vec![proto]),
        )?;
        equal(&got.headers.iter().any(|(_, value)| value.contains("6.6.6.6")), &false)?;
        equal(&got.all("host"), &vec!["localhost"])
    });
}

#[test]
fn gives_ids_to_everyone() {
    on_every_way(|way, client, origin, tollgate| {
        let marker = format!("m=id-{way}").replace('+', "-");
        let answer = client.ask("GET", &format!("/?{marker}"), &[], "")?;
        let id = answer.header("x-request-id").ok_or("no id to the client")?.to_owned();
        equal(&origin.last().header("x-request-id"), &Some(id.as_str()))?;
        let record = tollgate.records().wait(&marker);
        equal(&record["id"].as_str(), &Some(id.as_str()))?;
        let proto = if way.starts_with("h2") { "2" } else { "1.1" };
        equal(
            &(record["proto"].as_str(), record["scheme"].as_str()),
            &(Some(proto), Some(if way.contains("tls") { "https" } else { "http" })),
        )
    });
}

#[test]
fn compresses() {
    on_every_way(|_, client, _, _| {
        let answer = client.ask("GET", "/text", &[("accept-encoding", "gzip")], "")?;
        equal(
            &(answer.status, answer.header("content-encoding"), answer.body.len() < 1_000),
            &(200, Some("gzip"), true),
        )
    });
}

#[test]
fn limits() {
    on_every_way(|way, client, _, _| {
        let first = client.ask("GET", "/once", &[("x-way", way)], "")?;
        let second = client.ask("GET", "/once", &[("x-way", way)], "")?;
        equal(&(first.status, second.status), &(200, 429))?;
        equal(&second.header("retry-after").is_some(), &true)?;
        equal(&client.ask("GET", "/", &[], "")?.status, &200)
    });
}

#[test]
fn refuses_what_is_too_large_and_goes_on() {
    on_every_way(|way, client, _, tollgate| {
        let large = "x".repeat((1 << 20) + 1);
        if let Ok(answer) = client.ask("POST", "/echo", &[], &large) {
            equal(&answer.status, &413)?;
        } else if way.starts_with("h1") {
            return Err("the refusal never arrived".to_owned());
        }
        equal(&tollgate.get("/own").status, &200)
    });
}

#[test]
fn answers_by_itself_and_from_files() {
    on_every_way(|_, client, _, _| {
        equal(&client.ask("GET", "/own", &[], "")?.text().as_str(), &"own")?;
        equal(&client.ask("GET", "/www/a.txt", &[], "")?.text().as_str(), &"0123456789")?;
        let part = client.ask("GET", "/www/a.txt", &[("range", "bytes=2-4")], "")?;
        equal(&(part.status, part.text().as_str()), &(206, "234"))?;
        equal(&client.ask("GET", "/www/../../etc/passwd", &[], "").map_or(400, |answer| answer.status), &400)
    });
}

#[test]
fn a_half_answer_is_never_taken_for_a_whole_one() {
    on_every_way(|_, client, _, _| match client.ask("GET", "/half", &[], "") {
        Ok(answer) if answer.complete => Err(format!("{:?}", answer.text())),
        _ => Ok(()),
    });
}
