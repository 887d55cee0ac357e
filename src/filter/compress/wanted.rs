//! What the client takes, read from `Accept-Encoding`.

use http::{HeaderMap, header};

use super::Codec;

/// How much the client wants each codec, in thousandths; 0 is a refusal. Small and `Copy`: it is read before the
/// request goes to the upstream and used when the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Wanted {
    zstd: u16,
    brotli: u16,
    gzip: u16,
    /// Of no encoding at all; 0 also when the header does not name it, for then any codec is preferred.
    identity: u16,
}

impl Wanted {
    /// Reads all `Accept-Encoding` fields (RFC 9110 section 12.5.3). Without any, nothing is wanted.
    /// An item that is malformed counts as not there.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut read = Read::default();
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            value.as_bytes().split(|&byte| byte == b',').for_each(|item| read.item(item));
        }
        read.finish()
    }

    /// The codec for this client: the one it likes best, in our order among equals. `None` when it takes none
    /// of them, or likes the plain form better.
    pub fn choose(self, order: &[Codec]) -> Option<Codec> {
        let mut best = None;
        let mut best_q = self.identity.max(1) - 1;
        for &codec in order {
            if self.q(codec) > best_q {
                best_q = self.q(codec);
                best = Some(codec);
            }
        }
        best
    }

    /// In thousandths; 0 means that the client refuses the codec.
    pub fn q(self, codec: Codec) -> u16 {
        match codec {
            Codec::Zstd => self.zstd,
            Codec::Brotli => self.brotli,
            Codec::Gzip => self.gzip,
        }
    }
}

#[derive(Default)]
struct Read {
    zstd: Option<u16>,
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Read {
    fn item(&mut self, item: &[u8]) {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(q) = weight(parts) else { return };
        let slot = match name {
            b"*" => &mut self.any,
            name if name.eq_ignore_ascii_case(b"zstd") => &mut self.zstd,
            name if name.eq_ignore_ascii_case(b"br") => &mut self.brotli,
            name if name.eq_ignore_ascii_case(b"gzip") => &mut self.gzip,
            // RFC 9110 section 8.4.1.3: the old name of the same coding.
            name if name.eq_ignore_ascii_case(b"x-gzip") => &mut self.gzip,
            name if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            _ => return,
        };
        *slot = Some(q);
    }

    fn finish(self) -> Wanted {
        let any = self.any.unwrap_or(0);
        Wanted {
            zstd: self.zstd.unwrap_or(any),
            brotli: self.brotli.unwrap_or(any),
            gzip: self.gzip.unwrap_or(any),
            identity: self.identity.unwrap_or(0),
        }
    }
}

/// The `q` among the parameters, 1 without one; `None` when it is malformed.
fn weight<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let mut q = 1000;
    for parameter in parameters {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            q = thousandths(value)?;
        }
    }
    Some(q)
}

/// A qvalue (RFC 9110 section 12.4.2): `0` or `1` with at most three decimals, at most one.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut q = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, scale) in decimals.iter().zip([100, 10, 1]) {
        q += scale * u16::from(char::from(*digit).to_digit(10)? as u8);
    }
    (q <= 1000).then_some(q)
}
