//! Both sides show that they know the shared key, without showing it: `HELO`, `PING`, `PONG` (specification, "Handshake
//! Messages"). Digests are SHA-512 in lower hex.

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{Context, SHA512};
use aws_lc_rs::rand;

use crate::record::escape::hex_text;
use crate::wire::msgpack::{self, Token};

/// Largest message of a handshake, bytes.
pub const MAX_MESSAGE: usize = 4096;

/// Sixteen bytes that nobody has seen before.
pub type Nonce = [u8; 16];

/// From the system.
///
/// # Errors
/// It has none to give.
pub fn nonce() -> std::io::Result<Nonce> {
    let mut nonce = Nonce::default();
    rand::fill(&mut nonce).map_err(|_| std::io::Error::other("no random bytes"))?;
    Ok(nonce)
}

/// Why the other side was not let in, or why this side was not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error("it is no message of the handshake")]
    Form,
    #[error("shared key mismatch")]
    Key,
    /// What the receiver says.
    #[error("{0}")]
    Told(String),
}

/// The receiver's first message. It asks for no user and password.
pub fn helo(nonce: &Nonce) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::array(&mut out, 2);
    msgpack::string(&mut out, "HELO");
    msgpack::map(&mut out, 3);
    msgpack::string(&mut out, "nonce");
    msgpack::binary(&mut out, nonce);
    msgpack::string(&mut out, "auth");
    msgpack::string(&mut out, "");
    msgpack::string(&mut out, "keepalive");
    out.push(rmp::Marker::True.to_u8());
    out
}

/// Whether a receiver begins a handshake with this.
pub fn is_helo(mut message: &[u8]) -> bool {
    begins(&mut message, 2, "HELO")
}

/// The receiver's answer to `PING`, and whether the sender knows the key. `name` must not be the sender's: clients take
/// that for a loop.
pub fn pong(ping: &[u8], nonce: &Nonce, key: &str, name: &str) -> (Vec<u8>, Result<(), Denied>) {
    let checked = check_ping(ping, nonce, key);
    let (why, name, digest) = match &checked {
        Ok(salt) => (String::new(), name, digest(&[salt, name.as_bytes(), nonce, key.as_bytes()])),
        Err(denied) => (denied.to_string(), "", String::new()),
    };
    let mut out = Vec::new();
    msgpack::array(&mut out, 5);
    msgpack::string(&mut out, "PONG");
    out.push(if checked.is_ok() { rmp::Marker::True } else { rmp::Marker::False }.to_u8());
    for text in [&*why, name, &*digest] {
        msgpack::string(&mut out, text);
    }
    (out, checked.map(drop))
}

/// The salt of a good `["PING", host, salt, digest, user, digest]`.
fn check_ping<'p>(mut ping: &'p [u8], nonce: &Nonce, key: &str) -> Result<&'p [u8], Denied> {
    let is_ping = begins(&mut ping, 6, "PING");
    let [host, salt, shown] = texts(&mut ping).filter(|_| is_ping).ok_or(Denied::Form)?;
    is_same(shown, &digest(&[salt, host, nonce, key.as_bytes()])).then_some(salt).ok_or(Denied::Key)
}

/// What a sender shows.
#[derive(Clone)]
pub struct Credentials<'a> {
    /// How it calls itself.
    pub host: &'a str,
    pub key: &'a str,
    /// Name and password, for receivers that ask for them.
    pub user: Option<(&'a str, &'a str)>,
}

/// A sender's part, after `HELO`.
#[derive(Debug)]
pub struct Pinged {
    nonce: Vec<u8>,
    salt: Nonce,
}

/// The sender's answer to `HELO`.
///
/// # Errors
/// It is no `HELO`, or the system has no random bytes.
pub fn ping(helo: &[u8], shown: &Credentials<'_>) -> Result<(Vec<u8>, Pinged), Denied> {
    let mut input = helo;
    let is_helo = begins(&mut input, 2, "HELO");
    let members = msgpack::members(input).filter(|_| is_helo).ok_or(Denied::Form)?;
    let member = |wanted: &[u8]| {
        let found = members.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| msgpack::as_text(value)).unwrap_or_default()
    };
    let (asked_nonce, auth) = (member(b"nonce"), member(b"auth"));
    let salt = nonce().map_err(|error| Denied::Told(error.to_string()))?;
    let digested = digest(&[&salt, shown.host.as_bytes(), asked_nonce, shown.key.as_bytes()]);
    let (user, password) = match shown.user.filter(|_| !auth.is_empty()) {
        Some((user, password)) => (user, digest(&[auth, user.as_bytes(), password.as_bytes()])),
        None => ("", String::new()),
    };
    let mut out = Vec::new();
    msgpack::array(&mut out, 6);
    msgpack::string(&mut out, "PING");
    msgpack::string(&mut out, shown.host);
    msgpack::binary(&mut out, &salt);
    for text in [&*digested, user, &*password] {
        msgpack::string(&mut out, text);
    }
    Ok((out, Pinged { nonce: asked_nonce.to_vec(), salt }))
}

impl Pinged {
    /// Looks at the receiver's `["PONG", ok, why, host, digest]`.
    ///
    /// # Errors
    /// It does not let this side in, or does not know the key itself.
    pub fn check(&self, mut pong: &[u8], key: &str) -> Result<(), Denied> {
        let is_pong = begins(&mut pong, 5, "PONG");
        let is_let_in = match msgpack::token(&mut pong) {
            Some(Token::Bool(is_let_in)) if is_pong => is_let_in,
            _ => return Err(Denied::Form),
        };
        let [why, host, shown] = texts(&mut pong).ok_or(Denied::Form)?;
        if !is_let_in {
            return Err(Denied::Told(String::from_utf8_lossy(why).escape_debug().to_string()));
        }
        let wanted = digest(&[&self.salt, host, &self.nonce, key.as_bytes()]);
        is_same(shown, &wanted).then_some(()).ok_or(Denied::Key)
    }
}

/// Takes the head of a message of so many fields and its name off the front.
fn begins(input: &mut &[u8], count: u32, name: &str) -> bool {
    msgpack::token(input) == Some(Token::Array(count))
        && msgpack::token(input) == Some(Token::Text(name.as_bytes()))
}

/// The three texts that come next.
fn texts<'a>(input: &mut &'a [u8]) -> Option<[&'a [u8]; 3]> {
    let mut found = [&[][..]; 3];
    for text in &mut found {
        let Token::Text(value) = msgpack::token(input)? else { return None };
        *text = value;
    }
    Some(found)
}

fn is_same(shown: &[u8], wanted: &str) -> bool {
    constant_time::verify_slices_are_equal(shown, wanted.as_bytes()).is_ok()
}

fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    hex_text(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Credentials<'_> = Credentials { host: "web-1", key: "s3cret", user: None };

    #[test]
    fn both_sides_learn_whether_the_other_knows_the_key() {
        let nonce = nonce().unwrap();
        let (ping, pinged) = ping(&helo(&nonce), &SENDER).unwrap();
        let (answer, let_in) = pong(&ping, &nonce, "s3cret", "logs");
        assert_eq!((let_in, pinged.check(&answer, "s3cret")), (Ok(()), Ok(())));
        assert_eq!(pinged.check(&answer, "other"), Err(Denied::Key));
        let (answer, let_in) = pong(&ping, &nonce, "other", "logs");
        assert_eq!(let_in, Err(Denied::Key));
        assert_eq!(pinged.check(&answer, "s3cret"), Err(Denied::Told("shared key mismatch".to_owned())));
    }

    #[test]
    fn a_digest_holds_for_one_connection() {
        let first = nonce().unwrap();
        let (ping, _) = ping(&helo(&first), &SENDER).unwrap();
        assert_eq!(pong(&ping, &nonce().unwrap(), "s3cret", "logs").1, Err(Denied::Key));
    }

    #[test]
    fn what_is_no_handshake_is_told_so() {
        for bad in
            [&b""[..], b"\xc0", b"\x96\xa4PING", b"\x92\xa4PONG\x80", b"\x96\xa4PING\x01\x02\x03\x04\x05"]
        {
            assert_eq!(pong(bad, &[0; 16], "k", "n").1, Err(Denied::Form));
            assert!(ping(bad, &SENDER).is_err());
        }
    }

    #[test]
    fn a_password_is_shown_only_where_it_is_asked_for() {
        let shown = Credentials { user: Some(("u", "hidden")), ..SENDER };
        let asking = b"\x92\xa4HELO\x82\xa5nonce\xa2ab\xa4auth\xa2cd";
        let (asked, _) = ping(asking, &shown).unwrap();
        let wanted = digest(&[b"cd", b"u", b"hidden"]);
        assert!(asked.ends_with(wanted.as_bytes()));
        let (quiet, _) = ping(&helo(&[0; 16]), &shown).unwrap();
        assert!(quiet.ends_with(&[0xa0, 0xa0]));
    }
}
