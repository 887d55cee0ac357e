//! Kafka: each record to the partition of its stream (`HOST/CORE`), acknowledged by all replicas that are in sync.
//!
//! Value is the line, key the stream, headers `id` and `seq`: with them a reader tells what came twice, as a batch may whose
//! answer was lost.
//!
//! | answer for a partition | consequence |
//! |---|---|
//! | none | taken |
//! | MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP | halved, down to the record that is refused |
//! | all others, retriable by the protocol or not (rights, a topic that is not there, too few replicas) | those records again, later, after a look who leads the partition: somebody has to mend it |
//! | a broker does not answer within `timeout` | the same; what others have taken is taken |

mod broker;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{MetadataRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::timeout;

use self::broker::Broker;
use super::dial::Dial;
use super::item::Item;
use super::{Failed, Load, SILENT, Verdict};
use crate::access_log::Error;
use crate::access_log::handle::now_us;
use crate::access_log::shipping::{Remote, ShippingSettings};
use crate::process::machine::host_name;
use crate::record::id;
use crate::wire::kafka::{self, Entry};

/// All replicas that are in sync.
const ACKS_ALL: i16 = -1;
/// No broker leads the partition.
const NOBODY: i32 = -1;

#[derive(Debug)]
pub(super) struct Kafka {
    settings: ShippingSettings,
    topic: TopicName,
    /// In front of the number of the core.
    stream: String,
    dial: Dial,
    brokers: BTreeMap<i32, Broker>,
    /// Those that did not answer in time, of this group: the rest of it does not wait for each of their partitions.
    silent: BTreeSet<i32>,
    map: Map,
}

/// Who leads what.
#[derive(Debug, Default)]
struct Map {
    addresses: BTreeMap<i32, Remote>,
    /// The leaders of the partitions, by number.
    leaders: BTreeMap<i32, i32>,
    /// It has shown to be wrong.
    is_old: bool,
}

/// Items for one partition, by their places in the load.
#[derive(Debug)]
struct Share {
    partition: i32,
    places: Vec<usize>,
}

impl Kafka {
    /// # Errors
    /// Authorities or certificate cannot be used.
    pub(super) fn new(settings: &ShippingSettings, topic: &str) -> Result<Self, Error> {
        Ok(Self {
            dial: Dial::new(settings, &[])?,
            settings: settings.clone(),
            topic: TopicName(StrBytes::from_string(topic.to_owned())),
            stream: host_name(),
            brokers: BTreeMap::new(),
            silent: BTreeSet::new(),
            map: Map::default(),
        })
    }

    /// Connections are made anew, and who leads what is asked again.
    pub(super) fn disconnect(&mut self) {
        self.brokers.clear();
        self.map = Map::default();
        self.dial.turn();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        if self.map.is_old || self.map.leaders.is_empty() {
            let learnt = timeout(self.settings.timeout, self.learn()).await;
            if let Err(why) = learnt.unwrap_or_else(|_| Err(SILENT.to_owned())) {
                self.disconnect();
                return Verdict::Later { why, after: None };
            }
        }
        self.silent.clear();
        let items: Vec<(&Item, &[u8])> = load.iter().collect();
        let mut failed = BTreeMap::new();
        let mut shares: VecDeque<Share> = self.shares(&items).into();
        while let Some(share) = shares.pop_front() {
            self.deliver(share, &items, &mut shares, &mut failed).await;
        }
        match failed.is_empty() {
            true => Verdict::Taken,
            false => Verdict::Items(failed.into_iter().collect()),
        }
    }

    /// Asks a broker for the partitions of the topic, their leaders, and where these are.
    async fn learn(&mut self) -> Result<(), String> {
        let remote = self.dial.remote().cloned().ok_or("there is no address")?;
        let wire = self.dial.connect().await.map_err(|error| format!("cannot reach it: {error}"))?;
        let mut broker = Broker::greet(wire, &self.settings.credentials).await?;
        let topic = MetadataRequestTopic::default().with_name(Some(self.topic.clone()));
        let asked =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
        self.map = Map::read(broker.call(&asked).await?, &remote)?;
        Ok(())
    }

    fn shares(&self, items: &[(&Item, &[u8])]) -> Vec<Share> {
        let partitions: Vec<i32> = self.map.leaders.keys().copied().collect();
        let mut shares: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (place, (item, _)) in items.iter().enumerate() {
            let partition = kafka::partition(self.key(item).as_bytes(), partitions.len());
            let partition = partitions.get(partition).copied().unwrap_or_default();
            shares.entry(partition).or_default().push(place);
        }
        shares.into_iter().map(|(partition, places)| Share { partition, places }).collect()
    }

    fn key(&self, item: &Item) -> String {
        match item.seq {
            Some((core, _)) => format!("{}/{core}", self.stream),
            None => self.stream.clone(),
        }
    }

    /// Sends the items of one partition; what is too large goes back in halves.
    async fn deliver(
        &mut self,
        share: Share,
        items: &[(&Item, &[u8])],
        shares: &mut VecDeque<Share>,
        failed: &mut BTreeMap<usize, Failed>,
    ) {
        let (code, why) = match self.produce_in_time(&share, items).await {
            Ok(None) => return,
            Ok(Some((error, why))) => (Some(error), why),
            Err(why) => (None, why),
        };
        let is_spoilt = code.is_some_and(spoils);
        if is_spoilt && share.places.len() > 1 {
            let (first, second) = share.places.split_at(share.places.len() / 2);
            for places in [second, first] {
                shares.push_front(Share { partition: share.partition, places: places.to_vec() });
            }
            return;
        }
        if !is_spoilt {
            // The leader may be another one now.
            self.map.is_old = true;
        }
        let status = code.and_then(|error| u16::try_from(error.code()).ok()).unwrap_or_default();
        for place in share.places {
            let why = why.clone();
            let verdict = if is_spoilt { Failed::Refused { status, why } } else { Failed::Later { why } };
            failed.insert(place, verdict);
        }
    }

    fn entry(&self, (item, line): (&Item, &[u8])) -> Entry {
        let mut headers = vec![("id", Bytes::copy_from_slice(&id::text(&item.id)))];
        headers.extend(item.seq.map(|(_, seq)| ("seq", Bytes::from(seq.to_string()))));
        let ts_us = if item.ts_us > 0 { item.ts_us } else { now_us() };
        Entry {
            key: self.key(item).into(),
            value: Bytes::copy_from_slice(line),
            ts_ms: ts_us / 1000,
            headers,
        }
    }

    /// Each broker has its own time: what others have taken meanwhile does not go again because of one that is silent.
    async fn produce_in_time(
        &mut self,
        share: &Share,
        items: &[(&Item, &[u8])],
    ) -> Result<Option<(ResponseError, String)>, String> {
        let leader = self.leader(share.partition);
        if self.silent.contains(&leader) {
            return Err(SILENT.to_owned());
        }
        let entries = share.places.iter().map(|&place| self.entry(items[place])).collect();
        match timeout(self.settings.timeout, self.produce(share.partition, entries)).await {
            Ok(produced) => produced,
            Err(_) => {
                self.silent.insert(leader);
                Err(SILENT.to_owned())
            }
        }
    }

    fn leader(&self, partition: i32) -> i32 {
        self.map.leaders.get(&partition).copied().unwrap_or(NOBODY)
    }

    /// The error that the partition has with it, if any.
    ///
    /// # Errors
    /// Its leader cannot be reached or understood.
    async fn produce(
        &mut self,
        partition: i32,
        entries: Vec<Entry>,
    ) -> Result<Option<(ResponseError, String)>, String> {
        let records = kafka::batch(entries, self.settings.compress).map_err(|error| error.to_string())?;
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let topic = TopicProduceData::default().with_name(self.topic.clone()).with_partition_data(vec![data]);
        let timeout = i32::try_from(self.settings.timeout.as_millis() / 2).unwrap_or(i32::MAX);
        let asked = ProduceRequest::default()
            .with_acks(ACKS_ALL)
            .with_timeout_ms(timeout)
            .with_topic_data(vec![topic]);
        let leader = self.leader(partition);
        // Back in its place only when it has answered.
        let mut broker = match self.brokers.remove(&leader) {
            Some(broker) => broker,
            None => self.connect(leader).await?,
        };
        let told = broker.call(&asked).await?;
        self.brokers.insert(leader, broker);
        let told = told.responses.into_iter().flat_map(|topic| topic.partition_responses);
        let told = told.into_iter().find(|told| told.index == partition);
        let told = told.ok_or("it does not answer for the partition")?;
        let Some(error) = ResponseError::try_from_code(told.error_code) else { return Ok(None) };
        let words = told.error_message.map_or_else(String::new, |words| format!(" ({words})"));
        Ok(Some((error, format!("partition {partition}: {error:?}{words}"))))
    }

    async fn connect(&self, leader: i32) -> Result<Broker, String> {
        let remote = self.map.addresses.get(&leader).ok_or("no broker leads the partition")?;
        let dial = self.dial.toward(vec![remote.clone()]);
        let failed = |error| format!("cannot reach {}:{}: {error}", remote.host, remote.port);
        Broker::greet(dial.connect().await.map_err(failed)?, &self.settings.credentials).await
    }
}

/// Whether it is a record that is at fault, and not the broker or the settings.
fn spoils(error: ResponseError) -> bool {
    use ResponseError::{InvalidRecord, InvalidTimestamp, MessageTooLarge, RecordListTooLarge};
    matches!(error, MessageTooLarge | RecordListTooLarge | InvalidRecord | InvalidTimestamp)
}

impl Map {
    fn read(told: MetadataResponse, asked: &Remote) -> Result<Self, String> {
        let addresses = told.brokers.into_iter().filter_map(|broker| {
            let (host, port) = (broker.host.to_string(), u16::try_from(broker.port).ok()?);
            Some((broker.node_id.0, Remote { host, port, is_tls: asked.is_tls, path: String::new() }))
        });
        let topic = told.topics.into_iter().next().ok_or("it knows nothing about the topic")?;
        if let Some(error) = ResponseError::try_from_code(topic.error_code) {
            return Err(format!("the topic: {error:?}"));
        }
        let leaders: BTreeMap<i32, i32> =
            topic.partitions.iter().map(|one| (one.partition_index, one.leader_id.0)).collect();
        if leaders.is_empty() {
            return Err("the topic has no partitions yet".to_owned());
        }
        Ok(Self { addresses: addresses.collect(), leaders, is_old: false })
    }
}
