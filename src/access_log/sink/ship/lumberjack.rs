//! Lumberjack version 2, to Logstash's input `beats`: each group is a window, and taken as far as it is acknowledged. Events
//! have what Beats give them: `@timestamp`, and `@metadata` with the name and version of who sends.
//!
//! | what happens | consequence |
//! |---|---|
//! | all are acknowledged | taken |
//! | some are, then it hangs up | those are taken, the others go again, later, over the next address |
//! | an acknowledgement of 0, or the last one again | it is still at it: it has another `timeout` |
//! | nothing within `timeout`, a reset, another answer | again, later, over the next address |
//! | it hangs up on the same group again and again | halved; see [`super::strikes`] |

use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use super::dial::Dial;
use super::{Failed, Load, Verdict};
use crate::access_log::shipping::ShippingSettings;
use crate::access_log::sink::wire::Wire;
use crate::access_log::{Error, Form};
use crate::wire::lumberjack::{ACK_BYTES, Window, acked};

#[derive(Debug)]
pub(super) struct Lumberjack {
    dial: Dial,
    connection: Option<BufReader<Wire>>,
    /// ECS has it already.
    has_timestamp: bool,
    compress: bool,
    within: Duration,
}

/// Why not all is acknowledged.
enum Trouble {
    Away(String),
    /// So many of the first are.
    HungUp(usize, String),
    Silent(usize),
}

impl Lumberjack {
    /// # Errors
    /// Authorities or certificate cannot be used.
    pub(super) fn new(settings: &ShippingSettings) -> Result<Self, Error> {
        Ok(Self {
            dial: Dial::new(settings, &[])?,
            connection: None,
            has_timestamp: settings.form == Form::Ecs,
            compress: settings.compress,
            within: settings.timeout,
        })
    }

    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.dial.turn();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        let window = match self.window(load) {
            Ok(window) => window,
            Err(error) => return Verdict::Refused { status: 0, why: error.to_string() },
        };
        let Err(trouble) = self.exchange(&window, load.len()).await else {
            return Verdict::Taken;
        };
        self.disconnect();
        let (taken, why) = match trouble {
            Trouble::Away(why) => (0, why),
            Trouble::HungUp(0, why) => return Verdict::HungUp(why),
            Trouble::HungUp(taken, why) => (taken, why),
            Trouble::Silent(taken) => (taken, "it does not acknowledge in time".to_owned()),
        };
        if taken == 0 {
            return Verdict::Later { why, after: None };
        }
        Verdict::Items((taken..load.len()).map(|place| (place, Failed::Later { why: why.clone() })).collect())
    }

    fn window(&self, load: Load<'_>) -> std::io::Result<Vec<u8>> {
        let mut window = Window::default();
        for (item, line) in load.iter() {
            let time = Timestamp::from_microsecond(item.ts_us).ok().filter(|_| !self.has_timestamp);
            window.push(&event(line, time))?;
        }
        window.bytes(self.compress)
    }

    /// Sends a window and waits until all of it is acknowledged.
    async fn exchange(&mut self, window: &[u8], count: usize) -> Result<(), Trouble> {
        // What says something unasked, or has hung up, is of no use.
        let connection = self.connection.take();
        let connection =
            connection.and_then(|mut open| open.fill_buf().now_or_never().is_none().then_some(open));
        let silent = |taken| move |_| Trouble::Silent(taken);
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let wire = timeout(self.within, self.dial.reach()).await.map_err(silent(0))?;
                BufReader::new(wire.map_err(Trouble::Away)?)
            }
        };
        let broken = |taken: usize| {
            move |error: std::io::Error| {
                Trouble::HungUp(taken, format!("it hangs up before it acknowledges: {error}"))
            }
        };
        let written = async {
            connection.write_all(window).await?;
            connection.flush().await
        };
        timeout(self.within, written).await.map_err(silent(0))?.map_err(broken(0))?;
        let mut taken = 0;
        while taken < count {
            let mut ack = [0; ACK_BYTES];
            let read = timeout(self.within, connection.read_exact(&mut ack)).await;
            read.map_err(silent(taken))?.map_err(broken(taken))?;
            let seq = acked(ack).and_then(|seq| usize::try_from(seq).ok()).filter(|&seq| seq <= count);
            let nonsense =
                || Trouble::Away("it answers with something that is no acknowledgement".to_owned());
            taken = taken.max(seq.ok_or_else(nonsense)?);
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// A line that is an object, with what Beats put in front of theirs.
fn event(line: &[u8], time: Option<Timestamp>) -> Vec<u8> {
    const METADATA: &str =
        concat!(r#""@metadata":{"beat":"tollgate","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    let time = time.map(|time| format!(r#""@timestamp":"{time:.6}","#)).unwrap_or_default();
    let members = line.strip_prefix(b"{").unwrap_or(line);
    let comma = if members == b"}" { "" } else { "," };
    [b"{", time.as_bytes(), METADATA.as_bytes(), comma.as_bytes(), members].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_what_beats_give_theirs() {
        let time = Timestamp::from_microsecond(1_500_000).unwrap();
        for (line, time) in [("{\"a\":1}", Some(time)), ("{}", Some(time)), ("{\"@timestamp\":\"x\"}", None)]
        {
            let event: serde_json::Value = serde_json::from_slice(&event(line.as_bytes(), time)).unwrap();
            assert_eq!(event["@metadata"]["beat"], "tollgate");
            let expected = if time.is_some() { "1970-01-01T00:00:01.500000Z" } else { "x" };
            assert_eq!(event["@timestamp"], expected);
        }
    }
}
