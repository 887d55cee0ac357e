//! JSON lines on TCP and TLS: one object per line, as Logstash's `json_lines` and many loggers send them.
//!
//! There is no answer. A door with a token wants it in the first line: `{"token":"…"}`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::silent::{Intake, Reader};
use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::Token;
use crate::log_service::batch::{Bounds, Parsed};
use crate::wire::syslog::Framing;

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let needs_token = stream.needs_token() && !door.tokens.is_empty();
    let bounds = desk.bounds(door.trust);
    let lines = Lines { door: Arc::clone(&door), needs_token, count: 0, bounds };
    Intake::new(stream, from, desk, door, Framing::lines(bounds.entry_bytes), Reader::Lines(lines))
        .run()
        .await;
}

pub(super) struct Lines {
    door: Arc<Door>,
    needs_token: bool,
    count: usize,
    bounds: Bounds,
}

/// The first line of a sender that has a token; nothing else stands in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting<'a> {
    #[serde(borrow)]
    token: std::borrow::Cow<'a, str>,
}

impl Lines {
    /// See [`Reader`].
    pub(super) fn take(&mut self, line: &Bytes, parsed: &mut Parsed) -> Result<(), &'static str> {
        let line = line.slice_ref(line.trim_ascii());
        if line.is_empty() {
            return Ok(());
        }
        self.count += 1;
        if self.count > 1 {
            parsed.take(self.count, line, self.bounds);
            return Ok(());
        }
        match serde_json::from_slice::<Greeting<'_>>(&line) {
            // Of a door without a token, too: it must not be stored.
            Ok(greeting) if !self.needs_token || self.is_token(&greeting.token) => {}
            _ if self.needs_token => return Err("its first line does not show the token: {\"token\":\"…\"}"),
            _ => parsed.take(self.count, line, self.bounds),
        }
        Ok(())
    }

    pub(super) fn is_admitted(&self) -> bool {
        !self.needs_token || self.count > 0
    }

    fn is_token(&self, shown: &str) -> bool {
        self.door.knows(&Token::new(shown))
    }
}
