//! [`Fake`]: brokers in this process that answer as a rule of the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{
    Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes, decode_request_header_from_buffer,
};
use kafka_protocol::records::RecordBatchDecoder;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a broker does with records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Take,
    Code(i16),
    /// Takes the request and never answers.
    Silence,
    HangUp,
    /// Only so many bytes of an answer that would be good.
    Cut(usize),
    /// A good answer, for another partition.
    Elsewhere,
    /// A good answer, to another request.
    Astray,
    /// Says that more comes than anybody reads.
    Endless,
}

/// Records of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) broker: i32,
    pub(super) partition: i32,
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<String>,
    /// In milliseconds.
    pub(super) times: Vec<i64>,
    pub(super) headers: Vec<Vec<(String, Bytes)>>,
}

type Rule = Box<dyn FnMut(&Batch) -> Step + Send>;

pub(super) struct State {
    /// Where each listens, from 1.
    pub(super) ports: Vec<u16>,
    /// Who leads each partition.
    pub(super) leaders: BTreeMap<i32, i32>,
    pub(super) rule: Rule,
    /// What the topic has in an answer to Metadata.
    pub(super) topic_code: i16,
    /// Keys of requests, with the versions that are known of each.
    pub(super) versions: BTreeMap<i16, (i16, i16)>,
    /// Of the handshake, and of what follows it.
    pub(super) sasl: (i16, i16),
    /// What was shown to it.
    pub(super) shown: Vec<Bytes>,
    /// Every request: broker and key.
    pub(super) asked: Vec<(i32, i16)>,
    /// Everything that came, and whether it was taken.
    pub(super) batches: Vec<(Batch, bool)>,
}

#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// So many brokers, numbered from 1, with the leaders of partitions from 0.
    pub(super) async fn start(brokers: i32, leaders: &[i32]) -> Self {
        Self::start_with(brokers, leaders, None).await
    }

    /// The same over TLS.
    pub(super) async fn start_with(brokers: i32, leaders: &[i32], tls: Option<TlsAcceptor>) -> Self {
        let versions = [(ProduceRequest::KEY, (3, 9)), (MetadataRequest::KEY, (1, 12))].into_iter().chain([
            (ApiVersionsRequest::KEY, (0, 3)),
            (SaslHandshakeRequest::KEY, (1, 1)),
            (SaslAuthenticateRequest::KEY, (0, 2)),
        ]);
        let fake = Self(Arc::new(Mutex::new(State {
            ports: Vec::new(),
            leaders: (0..).zip(leaders.iter().copied()).collect(),
            rule: Box::new(|_| Step::Take),
            topic_code: 0,
            versions: versions.collect(),
            sasl: (0, 0),
            shown: Vec::new(),
            asked: Vec::new(),
            batches: Vec::new(),
        })));
        for broker in 1..=brokers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            fake.state().ports.push(listener.local_addr().unwrap().port());
            let (own, tls) = (fake.clone(), tls.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (own, tls) = (own.clone(), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            Some(tls) => own.serve(broker, tls.accept(stream).await.ok()?).await,
                            None => own.serve(broker, stream).await,
                        }
                    });
                }
            });
        }
        fake
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn obey(&self, rule: impl FnMut(&Batch) -> Step + Send + 'static) {
        self.state().rule = Box::new(rule);
    }

    /// What was taken, in order.
    pub(super) fn taken(&self) -> Vec<Batch> {
        let state = self.state();
        state.batches.iter().filter(|(_, is_taken)| *is_taken).map(|(batch, _)| batch.clone()).collect()
    }

    /// How often this was asked for.
    pub(super) fn asked(&self, key: i16) -> usize {
        self.state().asked.iter().filter(|(_, asked)| *asked == key).count()
    }

    async fn serve(&self, broker: i32, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        loop {
            let length = stream.read_u32().await.ok()?;
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).await.ok()?;
            let mut frame = Bytes::from(frame);
            let header = decode_request_header_from_buffer(&mut frame).unwrap();
            self.state().asked.push((broker, header.request_api_key));
            let answer = match header.request_api_key {
                ProduceRequest::KEY => {
                    let (answer, step) = self.produced(broker, &header, frame);
                    match step {
                        Step::Silence => std::future::pending().await,
                        Step::HangUp => return None,
                        Step::Cut(length) => {
                            return stream.write_all(&answer[..length]).await.ok();
                        }
                        _ => answer,
                    }
                }
                MetadataRequest::KEY => answer::<MetadataRequest>(&header, &self.metadata()),
                ApiVersionsRequest::KEY => answer::<ApiVersionsRequest>(&header, &self.versions()),
                SaslHandshakeRequest::KEY => {
                    let code = self.state().sasl.0;
                    answer::<SaslHandshakeRequest>(
                        &header,
                        &SaslHandshakeResponse::default().with_error_code(code),
                    )
                }
                _ => {
                    let asked =
                        SaslAuthenticateRequest::decode(&mut frame, header.request_api_version).unwrap();
                    self.state().shown.push(asked.auth_bytes);
                    let told = SaslAuthenticateResponse::default().with_error_code(self.state().sasl.1);
                    answer::<SaslAuthenticateRequest>(&header, &told)
                }
            };
            stream.write_all(&answer).await.ok()?;
        }
    }

    fn versions(&self) -> ApiVersionsResponse {
        let one = |(key, (min, max)): (&i16, &(i16, i16))| {
            ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
        };
        ApiVersionsResponse::default().with_api_keys(self.state().versions.iter().map(one).collect())
    }

    fn metadata(&self) -> MetadataResponse {
        let state = self.state();
        let brokers = (1..).zip(&state.ports).map(|(number, port)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(number))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(*port))
        });
        let partitions = state.leaders.iter().map(|(partition, leader)| {
            MetadataResponsePartition::default()
                .with_partition_index(*partition)
                .with_leader_id(BrokerId(*leader))
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(super::topic()))
            .with_error_code(state.topic_code)
            .with_partitions(partitions.collect());
        MetadataResponse::default().with_brokers(brokers.collect()).with_topics(vec![topic])
    }

    /// The answer, and what is done with it.
    fn produced(&self, broker: i32, header: &RequestHeader, mut frame: Bytes) -> (Vec<u8>, Step) {
        let asked = ProduceRequest::decode(&mut frame, header.request_api_version).unwrap();
        assert_eq!((asked.acks, asked.topic_data.len()), (-1, 1));
        let [data] = &asked.topic_data[0].partition_data[..] else { panic!("not one partition: {asked:?}") };
        let batch = read(broker, data.index, data.records.clone().unwrap());
        let mut state = self.state();
        let step = (state.rule)(&batch);
        let (code, partition) = match step {
            Step::Code(code) => (code, data.index),
            Step::Elsewhere => (0, data.index + 1),
            _ => (0, data.index),
        };
        state.batches.push((batch, matches!(step, Step::Take)));
        let partition = PartitionProduceResponse::default().with_index(partition).with_error_code(code);
        let topic = TopicProduceResponse::default()
            .with_name(super::topic())
            .with_partition_responses(vec![partition]);
        let told = ProduceResponse::default().with_responses(vec![topic]);
        let mut header = header.clone();
        header.correlation_id += i32::from(matches!(step, Step::Astray));
        let mut answer = answer::<ProduceRequest>(&header, &told);
        if matches!(step, Step::Endless) {
            answer[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        }
        (answer, step)
    }
}

fn answer<R: Request>(header: &RequestHeader, told: &R::Response) -> Vec<u8> {
    let version = header.request_api_version;
    let mut out = BytesMut::new();
    out.put_u32(0);
    let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
    head.encode(&mut out, R::Response::header_version(version)).unwrap();
    told.encode(&mut out, version).unwrap();
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.to_vec()
}

fn read(broker: i32, partition: i32, mut records: Bytes) -> Batch {
    let mut batch = Batch { broker, partition, ..Batch::default() };
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    for record in
        RecordBatchDecoder::decode_all(&mut records).unwrap().into_iter().flat_map(|set| set.records)
    {
        batch.keys.push(text(record.key));
        batch.values.push(text(record.value));
        batch.times.push(record.timestamp);
        let headers = record.headers.into_iter().map(|(name, value)| (name.to_string(), value.unwrap()));
        batch.headers.push(headers.collect());
    }
    batch
}
