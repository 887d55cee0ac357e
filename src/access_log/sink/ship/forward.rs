//! Fluentd's forward protocol: each group is a chunk in PackedForward mode, and taken when the receiver acknowledges it. A
//! group that goes again has the same chunk id, so that a receiver that remembers them takes it once.
//!
//! | what happens | consequence |
//! |---|---|
//! | `{"ack": chunk}` | taken |
//! | another answer, a reset, no answer within `timeout` | again, later, over the next address |
//! | it hangs up on the same group again and again | halved; see [`super::strikes`] |
//! | the shared key is wrong, or one is asked for | held: somebody has to mend it |

use std::io;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncWriteExt as _, BufReader};

use super::dial::Dial;
use super::{Failed, Load, Verdict};
use crate::access_log::shipping::{Credentials, ShippingSettings};
use crate::access_log::sink::wire::Wire;
use crate::access_log::{Error, Token};
use crate::process::machine::host_name;
use crate::wire::Broken;
use crate::wire::forward::handshake::{self, Denied};
use crate::wire::forward::{Chunk, Reader, acked};

/// The longest answer that is read, bytes.
const ANSWER: usize = handshake::MAX_MESSAGE;

#[derive(Debug)]
pub(super) struct Forward {
    dial: Dial,
    connection: Option<Reader<BufReader<Wire>>>,
    tag: String,
    key: Option<Token>,
    credentials: Credentials,
    host: String,
    compress: bool,
}

/// Why there is no acknowledgement.
enum Trouble {
    /// There is no connection, or nobody is let in.
    Away(String),
    /// The chunk was on its way.
    HungUp(String),
}

impl Forward {
    /// # Errors
    /// Authorities or certificate cannot be used.
    pub(super) fn new(settings: &ShippingSettings, tag: &str, key: Option<&Token>) -> Result<Self, Error> {
        Ok(Self {
            dial: Dial::new(settings, &[])?,
            connection: None,
            tag: tag.to_owned(),
            key: key.cloned(),
            credentials: settings.credentials.clone(),
            host: host_name(),
            compress: settings.compress,
        })
    }

    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.dial.turn();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        let (chunk, failed) = chunk(load);
        let id = chunk_id(load);
        let sent = match chunk.message(&self.tag, &id, self.compress) {
            Ok(message) => self.exchange(&message, id.as_bytes()).await,
            Err(error) => Err(Trouble::Away(error.to_string())),
        };
        let Err(trouble) = sent else {
            return if failed.is_empty() { Verdict::Taken } else { Verdict::Items(failed) };
        };
        self.disconnect();
        match trouble {
            Trouble::Away(why) => Verdict::Later { why, after: None },
            Trouble::HungUp(why) => Verdict::HungUp(why),
        }
    }

    /// Sends a message and waits until its chunk is acknowledged.
    async fn exchange(&mut self, message: &[u8], id: &[u8]) -> Result<(), Trouble> {
        // What says something unasked, or has hung up, is of no use.
        let connection = self.connection.take();
        let connection =
            connection.and_then(|mut open| open.ready().now_or_never().is_none().then_some(open));
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await.map_err(Trouble::Away)?,
        };
        let broken = |error: Broken| Trouble::HungUp(format!("it hangs up before it acknowledges: {error}"));
        write(&mut connection, message).await.map_err(|error| broken(error.into()))?;
        let answer = connection.value(ANSWER).await.map_err(broken)?;
        match acked(&answer) {
            Some(acked) if acked == id => {
                self.connection = Some(connection);
                Ok(())
            }
            _ if handshake::is_helo(&answer) => {
                Err(Trouble::Away("it asks for a shared key: `token`".to_owned()))
            }
            _ => Err(Trouble::Away(
                "it answers with something that is no acknowledgement of the chunk".to_owned(),
            )),
        }
    }

    async fn connect(&self) -> Result<Reader<BufReader<Wire>>, String> {
        let mut connection = Reader::new(BufReader::new(self.dial.reach().await?), ANSWER);
        if let Some(key) = &self.key {
            let let_in = self.greet(&mut connection, &key.0).await;
            let_in.map_err(|why| format!("it does not let us in: {why}"))?;
        }
        Ok(connection)
    }

    async fn greet(&self, connection: &mut Reader<BufReader<Wire>>, key: &str) -> Result<(), String> {
        let words = |error: Broken| error.to_string();
        let helo = connection.value(ANSWER).await.map_err(words)?;
        let user = match &self.credentials {
            Credentials::User { name, password } => Some((&**name, &*password.0)),
            Credentials::None | Credentials::Token(_) => None,
        };
        let shown = handshake::Credentials { host: &self.host, key, user };
        let denied = |denied: Denied| denied.to_string();
        let (ping, pinged) = handshake::ping(&helo, &shown).map_err(denied)?;
        write(connection, &ping).await.map_err(|error| error.to_string())?;
        let pong = connection.value(ANSWER).await.map_err(words)?;
        pinged.check(&pong, key).map_err(denied)
    }
}

async fn write(connection: &mut Reader<BufReader<Wire>>, bytes: &[u8]) -> io::Result<()> {
    let wire = connection.whole().ok_or(io::ErrorKind::NotConnected)?;
    wire.write_all(bytes).await?;
    wire.flush().await
}

/// The entries; and those that are none, by their places.
fn chunk(load: Load<'_>) -> (Chunk, Vec<(usize, Failed)>) {
    let (mut chunk, mut failed) = (Chunk::default(), Vec::new());
    for (place, (item, line)) in load.iter().enumerate() {
        let time = Timestamp::from_microsecond(item.ts_us).unwrap_or_default();
        match serde_json::from_slice(line) {
            Ok(record) => chunk.push(time, &record),
            Err(error) => failed.push((place, Failed::Refused { status: 0, why: error.to_string() })),
        }
    }
    (chunk, failed)
}

/// Of the records in it, in 16 bytes, as Base64: what Fluentd has there.
fn chunk_id(load: Load<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for (item, _) in load.iter() {
        context.update(&item.id);
        context.update(&[u8::from(item.is_open)]);
    }
    BASE64_STANDARD.encode(&context.finish().as_ref()[..16])
}
