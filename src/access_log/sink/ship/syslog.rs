//! Syslog (RFC 5424) with octet counts over TCP or TLS (RFC 6587, RFC 5425).
//!
//! | what happens | consequence |
//! |---|---|
//! | the socket takes it | taken; see [`super::line`] for what a receiver that dies gets again |
//! | it breaks, or takes nothing within `timeout` | again, later, over the next address |
//! | a message would be longer than 8 KiB | its long texts are cut, `cut` names them: many receivers cut blindly |

use bytes::Bytes;

use super::dial::Dial;
use super::item::Item;
use super::line::Line;
use super::{Load, Verdict};
use crate::access_log::shipping::{Credentials, ShippingSettings};
use crate::access_log::{Error, Form};
use crate::process::machine::host_name;
use crate::record::id;
use crate::wire::short::shortened;
use crate::wire::syslog::{Header, sd_id, write};

/// What rsyslog takes without being told to take more.
const MOST: usize = 8 << 10;
/// For what stands in front of the text.
const FRONT: usize = 512;
/// Names of elements need the number of an enterprise behind them (RFC 5424 section 7.2.2); this one is for examples (RFC 5612).
const ENTERPRISE: &str = "@32473";

const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

#[derive(Debug)]
pub(super) struct Syslog {
    line: Line,
    facility: u8,
    app_name: String,
    hostname: String,
    procid: String,
    /// The name of an element that shows who we are, as Loggly wants it.
    token: Option<String>,
    is_json: bool,
}

impl Syslog {
    /// # Errors
    /// Authorities or certificate cannot be used, or the token cannot be the name of an element.
    pub(super) fn new(settings: &ShippingSettings, facility: u8, app_name: &str) -> Result<Self, Error> {
        let token = match &settings.credentials {
            Credentials::Token(token) => Some(element_name(&token.0).ok_or(Error::Token)?),
            Credentials::None | Credentials::User { .. } => None,
        };
        Ok(Self {
            line: Line::new(Dial::new(settings, &[])?, settings.timeout),
            facility,
            app_name: app_name.to_owned(),
            hostname: host_name(),
            procid: std::process::id().to_string(),
            token,
            is_json: matches!(settings.form, Form::Json | Form::Ecs | Form::Otel),
        })
    }

    pub(super) fn disconnect(&mut self) {
        self.line.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        let mut messages = Vec::with_capacity(load.bytes() + load.len() * 256);
        for (item, line) in load.iter() {
            self.message(item, line, &mut messages);
        }
        match self.line.send(&[Bytes::from(messages)]).await {
            Ok(()) => Verdict::Taken,
            Err(why) => Verdict::Later { why, after: None },
        }
    }

    fn message(&self, item: &Item, line: &[u8], out: &mut Vec<u8>) {
        let header = Header {
            facility: self.facility,
            severity: match item.status {
                500.. => ERROR,
                400..=499 => WARNING,
                _ => INFORMATIONAL,
            },
            ts_us: item.ts_us,
            hostname: &self.hostname,
            app: &self.app_name,
            procid: &self.procid,
            msgid: if item.status == 0 { "event" } else { "access" },
        };
        let (text, is_cut) = self.fit(line);
        let (id, status) = (id::text(&item.id), item.status.to_string());
        let mut params = vec![("id", std::str::from_utf8(&id).unwrap_or_default())];
        params.extend((item.status != 0).then_some(("status", &*status)));
        params.extend(is_cut.then_some(("cut", "1")));
        let mut elements: Vec<(&str, &[(&str, &str)])> = Vec::with_capacity(2);
        elements.extend(self.token.as_deref().map(|token| (token, &[][..])));
        elements.push(("tollgate@32473", &params));
        write(&header, &elements, &text, out);
    }

    /// The line in no more bytes than a receiver takes, and whether something was cut.
    fn fit<'a>(&self, line: &'a [u8]) -> (std::borrow::Cow<'a, [u8]>, bool) {
        const ROOM: usize = MOST - FRONT;
        if line.len() <= ROOM {
            return (line.into(), false);
        }
        let short = if self.is_json { shortened(line, ROOM) } else { None };
        (short.map_or_else(|| line[..whole(line, ROOM)].into(), Into::into), true)
    }
}

/// So many bytes, or a few less: characters stay whole.
fn whole(text: &[u8], most: usize) -> usize {
    (0..=most).rev().find(|&at| text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80)).unwrap_or(0)
}

fn element_name(token: &str) -> Option<String> {
    let name = if token.contains('@') { token.to_owned() } else { format!("{token}{ENTERPRISE}") };
    sd_id(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_name_of_an_element() {
        assert_eq!(element_name("abc").as_deref(), Some("abc@32473"));
        assert_eq!(element_name("abc@41058").as_deref(), Some("abc@41058"));
        assert_eq!((element_name("a b"), element_name("")), (None, Some("@32473".to_owned())));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!((whole("aé".as_bytes(), 2), whole("aé".as_bytes(), 3), whole(b"abc", 2)), (1, 3, 2));
    }
}
