//! [`Redactor`]: hides the values of secret query parameters before a record leaves its core.

use percent_encoding::percent_decode;

/// Parameters whose value is never logged: signatures of object stores, and the usual names of secrets.
pub const DEFAULT_NAMES: [&str; 20] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "code",
    "password",
    "passwd",
    "secret",
    "key",
    "api_key",
    "apikey",
    "jwt",
    "session",
];

const MARK: &[u8] = b"REDACTED";

/// Longest parameter name that is compared; longer ones are never secret names.
const LONGEST: usize = 63;

/// The set of parameter names to hide; letters compare without case, percent-encoding is seen through.
#[derive(Clone, Debug)]
pub struct Redactor {
    /// By length.
    names: Vec<Vec<Box<[u8]>>>,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(std::iter::empty::<&str>())
    }
}

impl Redactor {
    /// Hides [`DEFAULT_NAMES`] and `more`. Names longer than 63 bytes are cut there.
    pub fn new(more: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut redactor = Self { names: vec![Vec::new(); LONGEST + 1] };
        DEFAULT_NAMES.iter().for_each(|name| redactor.add(name));
        more.into_iter().for_each(|name| redactor.add(name.as_ref()));
        redactor
    }

    /// `query` (without its `?`) with secret values replaced. Borrows `query` when there is nothing to hide, else
    /// `scratch`, which is overwritten.
    pub fn query<'a>(&self, query: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(first) = self.secret(query, 0) else { return query };
        scratch.clear();
        self.rewrite(query, first, scratch);
        scratch
    }

    /// A reference or target with secret values in its query replaced; for `Referer`.
    pub fn url<'a>(&self, url: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(mark) = memchr::memchr(b'?', url) else { return url };
        let (head, query) = url.split_at(mark + 1);
        let Some(first) = self.secret(query, 0) else { return url };
        scratch.clear();
        scratch.extend_from_slice(head);
        self.rewrite(query, first, scratch);
        scratch
    }

    fn rewrite(&self, query: &[u8], first: usize, out: &mut Vec<u8>) {
        let (mut copied, mut next) = (0, Some(first));
        while let Some(value) = next {
            out.extend_from_slice(&query[copied..value]);
            out.extend_from_slice(MARK);
            // Only `&` ends a secret: a `;` may be a part of it.
            copied = memchr::memchr(b'&', &query[value..]).map_or(query.len(), |end| value + end);
            next = self.secret(query, copied);
        }
        out.extend_from_slice(&query[copied..]);
    }

    /// Where the next non-empty secret value begins, looking at the parameters from `from` on.
    fn secret(&self, query: &[u8], from: usize) -> Option<usize> {
        let mut name = Some(from);
        for (at, byte) in query.iter().enumerate().skip(from) {
            match byte {
                // Some servers split at `;` too, so a name may begin after either.
                b'&' | b';' => {
                    name = Some(at + 1);
                    continue;
                }
                b'=' => {}
                _ => continue,
            }
            let is_empty = matches!(query.get(at + 1), None | Some(b'&'));
            if name.take().is_some_and(|name| !is_empty && self.is_secret(&query[name..at])) {
                return Some(at + 1);
            }
        }
        None
    }

    fn is_secret(&self, name: &[u8]) -> bool {
        if memchr::memchr(b'%', name).is_none() {
            return self.has(name);
        }
        let mut decoded = [0; LONGEST];
        let mut len = 0;
        for byte in percent_decode(name) {
            let Some(slot) = decoded.get_mut(len) else { return false };
            *slot = byte;
            len += 1;
        }
        self.has(&decoded[..len])
    }

    fn has(&self, name: &[u8]) -> bool {
        let same_length = self.names.get(name.len());
        same_length.is_some_and(|names| names.iter().any(|secret| secret.eq_ignore_ascii_case(name)))
    }

    fn add(&mut self, name: &str) {
        let name = &name.as_bytes()[..name.len().min(LONGEST)];
        self.names[name.len()].push(name.into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(query: &str) -> String {
        let mut scratch = Vec::new();
        String::from_utf8(Redactor::new(["PIN"]).query(query.as_bytes(), &mut scratch).to_vec()).unwrap()
    }

    #[test]
    fn hides_the_values_of_secret_names() {
        for (query, expected) in [
            ("token=abc", "token=REDACTED"),
            ("a=1&sig=x%20y&b=2", "a=1&sig=REDACTED&b=2"),
            ("TOKEN=abc&Password=hunter2", "TOKEN=REDACTED&Password=REDACTED"),
            ("pin=1234", "pin=REDACTED"),
            ("%74oken=abc", "%74oken=REDACTED"),
            ("a=1;token=x", "a=1;token=REDACTED"),
            ("sig=abc;def&x=1", "sig=REDACTED&x=1"),
            ("token=a=b==&c", "token=REDACTED&c"),
            ("&&token=x", "&&token=REDACTED"),
        ] {
            assert_eq!(redacted(query), expected, "{query}");
        }
    }

    #[test]
    fn leaves_everything_else_alone() {
        for query in [
            "",
            "a=1&b=2",
            "tokens=1",
            "q=token",
            "token",
            "token=",
            "token=&a=1",
            "q=sig=5",
            "=token",
            "&;=&",
        ] {
            assert_eq!(redacted(query), query);
        }
    }

    #[test]
    fn borrows_when_there_is_nothing_to_hide() {
        let query = b"page=2&sort=asc".as_slice();
        let mut scratch = Vec::new();
        assert!(std::ptr::eq(Redactor::default().query(query, &mut scratch), query));
    }

    #[test]
    fn hides_only_behind_the_question_mark_of_a_url() {
        let mut scratch = Vec::new();
        let url = b"https://a.example/token=x?code=abc&y=1";
        let shown = Redactor::default().url(url, &mut scratch);
        assert_eq!(shown, b"https://a.example/token=x?code=REDACTED&y=1");
    }

    proptest! {
        #[test]
        fn never_shows_a_secret_value(before in "[a-z=;%]{0,12}", value in "[^&]{1,20}", after in "[a-z=&;]{0,12}") {
            let shown = redacted(&format!("{before}&access_token={value}~~~&{after}"));
            prop_assert!(!shown.contains("~~~"), "{shown}");
        }
    }
}
