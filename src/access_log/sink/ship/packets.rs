//! `¶` packets: each record a `POST /logs` (see [`crate::wire::packet`]), to a service or to the one that a Distributor names.
//!
//! The first packet of a connection asks for an answer. Receivers that answer are asked for one for each packet, and a record
//! counts as taken when the answer says so; receivers of the old kind say nothing, and it is as with syslog (see
//! [`super::line`]).
//!
//! | answer | consequence |
//! |---|---|
//! | 0 | taken |
//! | 2 (it does not serve this), 3 (come again) | that record again, later |
//! | other | refused |
//! | none, of a receiver that answers | what has none again, later |

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Dial;
use super::distributor::Distributor;
use super::line::Line;
use super::{Failed, Load, SILENT, Verdict};
use crate::access_log::Error;
use crate::access_log::shipping::ShippingSettings;
use crate::wire::packet::{self, Answer, Frames};
use crate::wire::short::shortened;

/// What receivers of the old kind take in one piece.
const MOST: usize = 16 << 10;
/// For what stands around a record.
const FRAME: usize = 128;
/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(1);
/// How many are sent before their answers are read.
const WINDOW: usize = 128;
/// The longest answer.
const LONGEST: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Packets {
    settings: ShippingSettings,
    line: Line,
    distributor: Option<Distributor>,
    /// Of this connection, once it is known.
    answers: Option<bool>,
    frames: Frames,
    key: u64,
}

impl Packets {
    /// # Errors
    /// Authorities or certificate cannot be used.
    pub(super) fn new(settings: &ShippingSettings, is_distributor: bool) -> Result<Self, Error> {
        Ok(Self {
            line: Line::new(Dial::new(settings, &[])?, settings.timeout),
            distributor: is_distributor.then(|| Distributor::new(settings)),
            settings: settings.clone(),
            answers: None,
            frames: Frames::new(LONGEST),
            key: 0,
        })
    }

    pub(super) fn disconnect(&mut self) {
        self.line.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        if let Err(why) = self.within(async |packets| packets.reach().await).await {
            return Verdict::Later { why, after: None };
        }
        match self.exchange(load).await {
            failed if failed.is_empty() => Verdict::Taken,
            failed => Verdict::Items(failed),
        }
    }

    /// Does one step, for which there is the whole time: what was answered before it does not go again when it fails.
    async fn within<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if let Ok(done) = timeout(self.settings.timeout, step(self)).await {
            return done;
        }
        self.line.disconnect();
        Err(SILENT.to_owned())
    }

    async fn reach(&mut self) -> Result<(), String> {
        self.find().await?;
        if self.line.connect().await? {
            (self.answers, self.frames) = (None, Frames::new(LONGEST));
        }
        Ok(())
    }

    /// Those that were not taken.
    async fn exchange(&mut self, load: Load<'_>) -> Vec<(usize, Failed)> {
        let lines: Vec<&[u8]> = load.iter().map(|(_, line)| line).collect();
        let (mut failed, mut at) = (Vec::new(), 0);
        while at < lines.len() {
            let count = match self.answers {
                None => 1,
                Some(true) => WINDOW,
                Some(false) => lines.len(),
            };
            let now = &lines[at..lines.len().min(at + count)];
            match self.window(now).await {
                Ok(refused) => failed.extend(refused.into_iter().map(|(place, why)| (at + place, why))),
                Err(why) => {
                    let later = || Failed::Later { why: why.clone() };
                    failed.extend((at..lines.len()).map(|place| (place, later())));
                    break;
                }
            }
            at += now.len();
        }
        failed
    }

    /// Where `logs` lives, if somebody else knows.
    async fn find(&mut self) -> Result<(), String> {
        let Some(distributor) = &mut self.distributor else { return Ok(()) };
        if let Some(to) = distributor.moved().await? {
            tracing::info!(sink = self.settings.name, to = ?to.iter().map(|to| (&to.host, to.port)).collect::<Vec<_>>(), "the distributor has told where logs lives");
            self.line.redirect(to);
        }
        Ok(())
    }

    /// Sends some records, and reads their answers if there are any.
    async fn window(&mut self, lines: &[&[u8]]) -> Result<Vec<(usize, Failed)>, String> {
        let first = self.key + 1;
        let packets: Vec<Bytes> = lines.iter().map(|line| self.packet(line)).collect();
        self.within(async |to| to.line.send(&packets).await).await?;
        if self.answers == Some(false) {
            return Ok(Vec::new());
        }
        let answers = self.collect(first, lines.len()).await;
        if self.answers.is_none() {
            self.answers = Some(!answers.is_empty());
        }
        if self.answers == Some(false) {
            return Ok(Vec::new());
        }
        self.line.settle();
        let verdict = |place: usize| match answers.get(&(first + place as u64)) {
            Some(answer) => failure(answer),
            None => Some(Failed::Later { why: "it did not answer".to_owned() }),
        };
        Ok((0..lines.len()).filter_map(|place| Some((place, verdict(place)?))).collect())
    }

    fn packet(&mut self, line: &[u8]) -> Bytes {
        self.key += 1;
        let key = if self.answers == Some(false) { 0 } else { self.key };
        let mut out = Vec::with_capacity(line.len() + FRAME);
        packet::write("/logs", "POST", key, line, &mut out);
        if out.len() > MOST {
            // Characters that are not ASCII take up to six bytes for two.
            let short = shortened(line, MOST - FRAME).filter(|short| short.is_ascii());
            let short = short.or_else(|| shortened(line, (MOST - FRAME) / 3));
            if let Some(short) = short {
                out.clear();
                packet::write("/logs", "POST", key, &short, &mut out);
            }
        }
        out.into()
    }

    /// The answers to the packets from this key on; those that came, when they do not come in time.
    async fn collect(&mut self, first: u64, count: usize) -> BTreeMap<u64, Answer> {
        let patience = self.settings.timeout / 2;
        let patience = if self.answers.is_none() { FIRST.min(patience) } else { patience };
        let (until, mut found) = (Instant::now() + patience, BTreeMap::new());
        while found.len() < count {
            let Ok(Some(bytes)) = timeout_at(until, self.line.answer()).await else { break };
            self.frames.buffer.extend_from_slice(&bytes);
            let (packets, is_lost) = self.frames.take();
            let answers = packets.iter().filter_map(|packet| Answer::read(packet));
            found.extend(answers.filter(|answer| answer.key >= first).map(|answer| (answer.key, answer)));
            if is_lost {
                self.line.disconnect();
                break;
            }
        }
        found
    }
}

fn failure(answer: &Answer) -> Option<Failed> {
    let why = format!("errorcode {}: {}", answer.code, answer.message);
    match answer.code {
        0 => None,
        2 | 3 => Some(Failed::Later { why }),
        code => Some(Failed::Refused { status: u16::try_from(code).unwrap_or(u16::MAX), why }),
    }
}
