//! [`ShippingSink`]: records to somebody else's log service, each with its own verdict.
//!
//! A form only says how a group of items is sent and what the answer means ([`Verdict`]). What follows from it is here,
//! once for all forms: what was taken does not go again; what is refused for ever goes into the dead-letter file; a group
//! that is refused as a whole is halved until the bad one stands alone, so that no record blocks those behind it; what may
//! be taken later is tried again by [`super::tries`], for ever, while the spool holds what comes behind. A receiver that hangs
//! up instead of refusing is judged by [`strikes`].

mod clickhouse;
mod dial;
mod distributor;
mod early;
mod elasticsearch;
mod forward;
mod http;
mod item;
#[cfg(feature = "kafka")]
mod kafka;
mod letters;
mod loki;
mod otlp;
mod line;
mod lumberjack;
mod packets;
mod post;
mod strikes;
mod syslog;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::clickhouse::ClickHouse;
use self::elasticsearch::Elasticsearch;
use self::forward::Forward;
use self::http::Http;
pub(in crate::access_log) use self::item::{Item, Todo};
#[cfg(feature = "kafka")]
use self::kafka::Kafka;
use self::letters::{Letter, Letters};
use self::loki::Loki;
use self::lumberjack::Lumberjack;
use self::otlp::Otlp;
use self::packets::Packets;
use self::strikes::Next;
use self::syslog::Syslog;
use super::{Fault, Pace, Parcel, Reason};
use crate::access_log::Error;
use crate::access_log::handle::Reopen;
use crate::access_log::metrics::SinkMetrics;
use crate::access_log::shipping::{ShippingSettings, Target};

/// An item that fails so often, while others that went with it are taken, is never taken.
const MOST_FAILURES: u16 = 8;

const SILENT: &str = "it does not answer in time";
/// What of the other side's reason is kept.
const LONGEST_REASON: usize = 1000;

#[derive(Debug)]
pub(in crate::access_log) struct ShippingSink {
    settings: Arc<ShippingSettings>,
    form: Form,
    letters: Letters,
    /// Why the last group was not taken, in words that may be shown.
    trouble: String,
}

/// How it is spoken.
#[derive(Debug)]
enum Form {
    ClickHouse(ClickHouse),
    Elasticsearch(Elasticsearch),
    Forward(Box<Forward>),
    Http(Http),
    Loki(Loki),
    Otlp(Otlp),
    Lumberjack(Box<Lumberjack>),
    Syslog(Box<Syslog>),
    Packets(Box<Packets>),
    #[cfg(feature = "kafka")]
    Kafka(Box<Kafka>),
    #[cfg(test)]
    Fake(tests::Fake),
}

/// Items on their way, with the lines that they stand for.
#[derive(Clone, Copy, Debug)]
struct Load<'a> {
    text: &'a [u8],
    all: &'a [Item],
    chosen: &'a [u32],
}

impl<'a> Load<'a> {
    /// The items with their lines, in order.
    fn iter(self) -> impl ExactSizeIterator<Item = (&'a Item, &'a [u8])> {
        self.chosen.iter().map(move |&number| {
            let item = &self.all[number as usize];
            (item, &self.text[item.place.clone()])
        })
    }

    fn len(self) -> usize {
        self.chosen.len()
    }

    /// Bytes of all lines, with a line feed each.
    fn bytes(self) -> usize {
        self.iter().map(|(_, line)| line.len() + 1).sum()
    }
}

/// What the other side says about a group.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It has all of them.
    Taken,
    /// It has those that are not named; of the others each by its place in the group.
    Items(Vec<(usize, Failed)>),
    /// It has all but so many, of which it does not say which they are: none may go again.
    Partly { refused: u64, why: String },
    /// It takes less at once.
    TooLarge,
    /// It will never take the group as it is. Maybe one record spoils it.
    Refused { status: u16, why: String },
    /// It hung up, or the connection broke, while the group was under way.
    HungUp(String),
    /// It takes nothing for the moment, or did not answer.
    Later { why: String, after: Option<Duration> },
}

/// Why one item was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// Never.
    Refused { status: u16, why: String },
    /// The other side has too much to do.
    Later { why: String },
    /// It failed there; nobody knows whether it would again.
    Broken { status: u16, why: String },
}

impl ShippingSink {
    /// # Errors
    /// Authorities, certificate or credentials cannot be used.
    pub(super) fn new(
        settings: ShippingSettings,
        reopen: &Reopen,
        metrics: Arc<SinkMetrics>,
    ) -> Result<Self, Error> {
        let form = Form::new(&settings)?;
        let letters = Letters::new(settings.dead_letter.clone(), reopen.clone(), metrics);
        Ok(Self { settings: Arc::new(settings), form, letters, trouble: String::new() })
    }

    pub(super) fn trouble(&self) -> &str {
        &self.trouble
    }

    pub(super) fn pace(&self) -> Pace {
        let settings = &self.settings;
        Pace {
            // In the spool they take a third of their lines, or less.
            batch_bytes: settings.batch_bytes / 3,
            linger: settings.linger,
            // Each group has its own time.
            timeout: Duration::MAX,
            backoff: settings.backoff,
            backoff_max: settings.backoff_max,
        }
    }

    /// A delivery was given up in its middle.
    pub(super) fn disconnect(&mut self) {
        self.form.disconnect();
        self.trouble = SILENT.to_owned();
    }

    /// Sends what is left of the parcel, until all of it has its verdict or the other side takes nothing.
    pub(super) async fn ship(&mut self, parcel: &mut Parcel) -> Result<(), Fault> {
        let Parcel { chunks, items, todo, .. } = parcel;
        let text = chunks.first().map_or(&[][..], |text| text);
        todo.begin(items, self.settings.batch_bytes, self.settings.batch_records);
        while let Some(group) = todo.next() {
            let load = Load { text, all: items, chosen: &group.items };
            let verdict = match timeout(self.form.within(self.settings.timeout), self.form.send(load)).await {
                Ok(verdict) => verdict,
                Err(_) => {
                    self.form.disconnect();
                    if self.form.is_http() {
                        todo.ease();
                    }
                    Verdict::Later { why: SILENT.to_owned(), after: None }
                }
            };
            self.judge(verdict, text, items, todo)?;
        }
        // The cursor passes nothing that is nowhere else.
        self.letters.sync().await;
        Ok(())
    }

    /// Draws the consequences; an error when it is to be tried again later.
    fn judge(&mut self, verdict: Verdict, text: &[u8], items: &[Item], todo: &mut Todo) -> Result<(), Fault> {
        let (status, why) = match verdict {
            Verdict::Taken => {
                todo.taken();
                todo.done(Vec::new(), 0);
                return Ok(());
            }
            Verdict::Partly { refused, why } => {
                self.refuse(todo, 0, 200, &format!("{refused} of those sent with it: {why}"), (text, items));
                self.letters.count(refused.saturating_sub(1));
                todo.refused += refused.saturating_sub(1);
                todo.taken();
                todo.done(Vec::new(), 0);
                return Ok(());
            }
            Verdict::Later { why, after } => {
                todo.absolve();
                return Err(self.later(&why, after));
            }
            Verdict::Items(failed) => return self.judge_items(failed, text, items, todo),
            Verdict::HungUp(why) if self.form.is_http() => {
                todo.broke_off();
                return Err(self.later(&why, None));
            }
            Verdict::HungUp(why) => match todo.hung_up() {
                Next::Halve => {
                    todo.halve();
                    return Ok(());
                }
                Next::Refuse => (0, why),
                next => {
                    if next == Next::Behind {
                        todo.put_behind();
                    }
                    return Err(self.later(&why, None));
                }
            },
            Verdict::TooLarge => (413, "it is too large for the other side, even alone".to_owned()),
            Verdict::Refused { status, why } => (status, why),
        };
        if !todo.halve() {
            self.refuse(todo, 0, status, &why, (text, items));
            todo.done(Vec::new(), 0);
        }
        Ok(())
    }

    fn judge_items(
        &mut self,
        failed: Vec<(usize, Failed)>,
        text: &[u8],
        items: &[Item],
        todo: &mut Todo,
    ) -> Result<(), Fault> {
        let (count, failures) = todo.next().map_or((0, 0), |group| (group.items.len(), group.failures));
        // Nothing is learnt about one of them where none was taken, now or the first time.
        let failures = if failed.len() < count || failures > 0 { failures + 1 } else { 0 };
        if failed.len() < count {
            todo.taken();
        }
        let (mut left, mut trouble) = (Vec::new(), None);
        for (place, failed) in failed {
            match failed {
                Failed::Refused { status, why } => self.refuse(todo, place, status, &why, (text, items)),
                Failed::Broken { status, why } if failures >= MOST_FAILURES => {
                    self.refuse(todo, place, status, &why, (text, items));
                }
                Failed::Later { why } | Failed::Broken { why, .. } => {
                    left.extend(todo.next().and_then(|group| group.items.get(place)));
                    trouble = Some(why);
                }
            }
        }
        todo.done(left, failures);
        trouble.map_or(Ok(()), |why| Err(self.later(&why, None)))
    }

    fn refuse(
        &mut self,
        todo: &mut Todo,
        place: usize,
        status: u16,
        why: &str,
        (text, items): (&[u8], &[Item]),
    ) {
        let number = todo.next().and_then(|group| group.items.get(place));
        let Some(item) = number.and_then(|&number| items.get(number as usize)) else { return };
        self.letters.write(&Letter { id: item.id, line: &text[item.place.clone()], status, why });
        todo.refused += 1;
    }

    fn later(&mut self, why: &str, after: Option<Duration>) -> Fault {
        shortened(why).clone_into(&mut self.trouble);
        Fault::Is { reason: Reason::ServiceDown, is_final: false, after }
    }
}

fn shortened(why: &str) -> &str {
    &why[..why.floor_char_boundary(LONGEST_REASON)]
}

impl Form {
    fn new(settings: &ShippingSettings) -> Result<Self, Error> {
        Ok(match &settings.target {
            Target::Elasticsearch { index } => Self::Elasticsearch(Elasticsearch::new(settings, index)?),
            Target::Forward { tag, key } => {
                Self::Forward(Box::new(Forward::new(settings, tag, key.as_ref())?))
            }
            Target::Http => Self::Http(Http::new(settings)?),
            Target::ClickHouse { table } => Self::ClickHouse(ClickHouse::new(settings, table)?),
            Target::Loki { labels } => Self::Loki(Loki::new(settings, labels)?),
            Target::Otlp => Self::Otlp(Otlp::new(settings)?),
            Target::Lumberjack => Self::Lumberjack(Box::new(Lumberjack::new(settings)?)),
            Target::Syslog { facility, app_name } => {
                Self::Syslog(Box::new(Syslog::new(settings, *facility, app_name)?))
            }
            Target::Packets { is_distributor } => {
                Self::Packets(Box::new(Packets::new(settings, *is_distributor)?))
            }
            #[cfg(feature = "kafka")]
            Target::Kafka { topic } => Self::Kafka(Box::new(Kafka::new(settings, topic)?)),
            #[cfg(not(feature = "kafka"))]
            Target::Kafka { .. } => return Err(Error::NoSuchSink),
        })
    }

    async fn send(&mut self, load: Load<'_>) -> Verdict {
        match self {
            Self::ClickHouse(form) => form.send(load).await,
            Self::Elasticsearch(form) => form.send(load).await,
            Self::Forward(form) => form.send(load).await,
            Self::Http(form) => form.send(load).await,
            Self::Loki(form) => form.send(load).await,
            Self::Otlp(form) => form.send(load).await,
            Self::Lumberjack(form) => form.send(load).await,
            Self::Syslog(form) => form.send(load).await,
            Self::Packets(form) => form.send(load).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(form) => form.send(load).await,
            #[cfg(test)]
            Self::Fake(form) => form.send(load),
        }
    }

    /// How long a group may take; for ever where the form says itself how long the other side may be silent, as it knows what
    /// of the group is taken already.
    fn within(&self, timeout: Duration) -> Duration {
        match self {
            Self::Lumberjack(_) | Self::Packets(_) => Duration::MAX,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => Duration::MAX,
            _ => timeout,
        }
    }

    /// Whether the size of a group has no meaning for the other side. A chunk of `forward` is known by what is in it.
    fn is_http(&self) -> bool {
        use Form::{ClickHouse, Elasticsearch, Http, Loki, Otlp};
        matches!(self, ClickHouse(_) | Elasticsearch(_) | Http(_) | Loki(_) | Otlp(_))
    }

    /// What is under way is given up; the next group goes to the next address.
    fn disconnect(&mut self) {
        match self {
            Self::ClickHouse(form) => form.disconnect(),
            Self::Elasticsearch(form) => form.disconnect(),
            Self::Forward(form) => form.disconnect(),
            Self::Http(form) => form.disconnect(),
            Self::Loki(form) => form.disconnect(),
            Self::Otlp(form) => form.disconnect(),
            Self::Lumberjack(form) => form.disconnect(),
            Self::Syslog(form) => form.disconnect(),
            Self::Packets(form) => form.disconnect(),
            #[cfg(feature = "kafka")]
            Self::Kafka(form) => form.disconnect(),
            #[cfg(test)]
            Self::Fake(_) => {}
        }
    }
}
