//! Trailers pass when they are harmless, and never smuggle a field that belongs in a head.

use crate::support::{Origin, Setup, get_with};

const FORBIDDEN: &str = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil.example\r\nAuthorization: x\r\n\
    Cookie: a=b\r\nSet-Cookie: a=b\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nConnection: close\r\n";

#[test]
fn request_trailers_keep_the_harmless_and_lose_the_rest() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n";
    connection.send(format!("{head}3\r\nabc\r\n0\r\ngrpc-status: 0\r\n{FORBIDDEN}\r\n"));
    let answer = connection.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, None), "{answer:?}");
    assert_eq!(origin.dirt(), Vec::<String>::new());
    let got = origin.last();
    assert_eq!(got.body, b"abc");
    assert!(
        got.trailers.iter().all(|(name, _)| name.eq_ignore_ascii_case("grpc-status")),
        "{:?}",
        got.trailers
    );
    assert_eq!(got.all("host").len(), 1);
    assert_eq!(connection.ask(get_with("/next", "")).status, 200);
}

#[test]
fn answer_trailers_reach_a_client_that_wants_them() {
    let origin = Origin::with(|talk| {
        let declared = if talk.path() == "/declared" {
            "Trailer: grpc-status, set-cookie, x-forwarded-for\r\n"
        } else {
            ""
        };
        talk.send(format!(
            "HTTP/1.1 200 OK\r\n{declared}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 7\r\n{FORBIDDEN}\r\n"
        ));
    });
    let tollgate = Setup::proxy(origin.address).start();
    let wanted = [("grpc-status".to_owned(), "7".to_owned())];
    let mut connection = tollgate.plain();
    // HTTP/1.1 declares trailers in its head; what the origin did not declare may be lost on the way, but nothing else.
    for (path, may_be_lost) in [("/declared", false), ("/undeclared", true), ("/declared", false)] {
        let answer = connection.ask(get_with(path, "TE: trailers\r\nConnection: TE\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let trailers: Vec<_> =
            answer.trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        assert!(trailers == wanted || (may_be_lost && trailers.is_empty()), "{path}: {trailers:?}");
    }
    let mut h2 = crate::support::legal_h2::LegalH2::plain(tollgate.http);
    let answer = h2.ask(crate::support::legal_h2::get("http", "/undeclared")).unwrap();
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "7".to_owned())]);
}

#[test]
fn a_broken_trailer_of_an_origin_breaks_the_answer_off() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nbad name: x\r\n\r\n");
        talk.close();
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(get_with("/", ""));
    // Hanging up without a word is honest too.
    if let Ok(answer) = connection.reader.answer(false) {
        let broken = !answer.complete || answer.status == 502;
        assert!(broken, "a broken answer was passed on as a whole one: {answer:?}");
    }
}
