//! Who is limited: a part of the request, made one number.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};

/// What tells clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The client's address; IPv6 by /64, for that is what one client gets.
    ClientIp,
    /// The value of a header; requests without it count by address.
    Header(HeaderName),
    /// The value of a cookie; requests without it count by address.
    Cookie(Box<str>),
    /// All requests of the site together.
    Site,
    /// All requests of the route together.
    Route,
}

/// The parts of a request that a key may be made of.
#[derive(Clone, Copy, Debug)]
pub struct KeyInput<'a> {
    pub client_ip: IpAddr,
    pub headers: &'a HeaderMap,
    pub site: &'a str,
    pub route: &'a str,
}

/// SipHash with keys drawn at start: nobody outside can choose keys that fall together.
#[derive(Default)]
pub(super) struct Hasher {
    seed: RandomState,
}

/// Keeps values of different origin apart, such as a header that spells an address.
#[derive(Hash)]
enum Part<'a> {
    V4([u8; 4]),
    V6Net(u64),
    Value(&'a [u8]),
}

impl Hasher {
    pub(super) fn hash(&self, key: &Key, input: &KeyInput<'_>) -> u64 {
        self.seed.hash_one(part(key, input))
    }
}

fn part<'a>(key: &Key, input: &KeyInput<'a>) -> Part<'a> {
    let value = match key {
        Key::ClientIp => None,
        Key::Header(name) => input.headers.get(name).map(|value| value.as_bytes()),
        Key::Cookie(name) => cookie(input.headers, name.as_bytes()),
        Key::Site => Some(input.site.as_bytes()),
        Key::Route => Some(input.route.as_bytes()),
    };
    value.map_or_else(|| address(input.client_ip), Part::Value)
}

fn address(ip: IpAddr) -> Part<'static> {
    match ip.to_canonical() {
        IpAddr::V4(v4) => Part::V4(v4.octets()),
        IpAddr::V6(v6) => Part::V6Net((v6.to_bits() >> 64) as u64),
    }
}

/// The first cookie of the name (RFC 6265 section 4.2).
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|&b| b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}
