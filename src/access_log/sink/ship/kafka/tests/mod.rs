//! Against brokers that answer as told; with real ones it is tried by `tests/logs/kafka.py`.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request as _;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_rustls::TlsAcceptor;

use self::fake::{Batch, Fake, Step};
use super::*;
use crate::access_log::settings::Token;
use crate::access_log::shipping::{Credentials, Target};
use crate::access_log::sink::ship::tests;
use crate::tls::client::Roots;

const PRODUCE: i16 = ProduceRequest::KEY;
const METADATA: i16 = MetadataRequest::KEY;
/// MESSAGE_TOO_LARGE.
const TOO_LARGE: i16 = 10;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("logs"))
}

fn settings(ports: &[u16]) -> ShippingSettings {
    let remote =
        |port: &u16| Remote { host: "127.0.0.1".into(), port: *port, is_tls: false, path: String::new() };
    ShippingSettings {
        target: Target::Kafka { topic: "logs".into() },
        to: ports.iter().map(remote).collect(),
        timeout: Duration::from_secs(20),
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        ..tests::settings(0)
    }
}

/// The sink of a machine named `edge`: streams, and so partitions, are the same everywhere.
fn sink(settings: &ShippingSettings) -> Kafka {
    let mut sink = Kafka::new(settings, "logs").unwrap();
    sink.stream = "edge".to_owned();
    sink
}

struct Stage {
    fake: Fake,
    sink: Kafka,
}

impl Stage {
    async fn new(brokers: i32, leaders: &[i32]) -> Self {
        let fake = Fake::start(brokers, leaders).await;
        let sink = sink(&settings(&fake.state().ports));
        Self { fake, sink }
    }

    async fn send(&mut self, records: &[(Option<u16>, &str)]) -> Verdict {
        send(&mut self.sink, records).await
    }

    /// What each partition has, in order.
    fn stored(&self) -> BTreeMap<i32, Vec<String>> {
        let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for batch in self.fake.taken() {
            stored.entry(batch.partition).or_default().extend(batch.values);
        }
        stored
    }
}

/// Sends lines, each of a core or of none.
async fn send(sink: &mut Kafka, records: &[(Option<u16>, &str)]) -> Verdict {
    let (mut text, mut all) = (String::new(), Vec::new());
    for (number, (core, line)) in (1..).zip(records) {
        let place = text.len()..text.len() + line.len();
        text.push_str(line);
        text.push('\n');
        let seq = core.map(|core| (core, number));
        all.push(Item {
            place,
            id: Default::default(),
            is_open: false,
            ts_us: 1_700_000_000_123_456,
            status: 0,
            seq,
        });
    }
    let chosen: Vec<u32> = (0..all.len() as u32).collect();
    sink.send(Load { text: text.as_bytes(), all: &all, chosen: &chosen }).await
}

/// The places that wait, with the reason of the first.
fn waiting(verdict: Verdict) -> (Vec<usize>, String) {
    let Verdict::Items(failed) = verdict else { panic!("{verdict:?}") };
    let mut places = Vec::new();
    let mut reason = String::new();
    for (place, failed) in failed {
        let Failed::Later { why } = failed else { panic!("{place} {failed:?}") };
        places.push(place);
        if reason.is_empty() {
            reason = why;
        }
    }
    (places, reason)
}

/// So many partitions from 0, all led by the same broker.
const ONE: [i32; 4] = [1; 4];

/// A record of each: the partitions of `edge/N` by the algorithm, worked out elsewhere.
const PARTITIONS: [(Option<u16>, i32); 11] = [
    (Some(0), 3),
    (Some(1), 3),
    (Some(2), 2),
    (Some(3), 3),
    (Some(4), 2),
    (Some(5), 0),
    (Some(6), 0),
    (Some(7), 0),
    (Some(8), 1),
    (Some(9), 3),
    (None, 1),
];

#[tokio::test]
async fn a_record_goes_to_the_partition_of_its_core_in_its_order_with_what_tells_it_apart() {
    for compress in [false, true] {
        let mut stage = Stage::new(2, &[1, 2, 1, 2]).await;
        stage.sink.settings.compress = compress;
        let lines: Vec<String> = (0..33).map(|number| format!("{{\"n\":{number}}}")).collect();
        let core = |place: usize| PARTITIONS[place % PARTITIONS.len()];
        let records: Vec<_> =
            lines.iter().enumerate().map(|(place, line)| (core(place).0, &**line)).collect();
        assert_eq!(stage.send(&records).await, Verdict::Taken);
        let mut wanted: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (place, line) in lines.iter().enumerate() {
            wanted.entry(core(place).1).or_default().push(line.clone());
        }
        assert_eq!(stage.stored(), wanted);
        for Batch { broker, partition, keys, values, times, headers } in stage.fake.taken() {
            assert_eq!(broker, partition % 2 + 1, "the leader gets it");
            for ((key, value), (time, headers)) in keys.iter().zip(values).zip(times.iter().zip(headers)) {
                let place = lines.iter().position(|line| *line == value).unwrap();
                assert_eq!(*time, 1_700_000_000_123);
                let seq = ("seq".to_owned(), Bytes::from((place + 1).to_string()));
                assert_eq!((&*headers[0].0, headers[0].1.len()), ("id", 36));
                match core(place).0 {
                    Some(core) => assert_eq!((key, &headers[1..]), (&format!("edge/{core}"), &[seq][..])),
                    None => assert_eq!((&**key, headers.len()), ("edge", 1)),
                }
            }
        }
    }
}

/// Codes of <https://kafka.apache.org/protocol#protocol_error_codes>, and some that nobody has.
#[tokio::test]
async fn only_four_codes_blame_a_record_and_after_all_others_the_leader_is_looked_up() {
    let mut stage = Stage::new(1, &ONE).await;
    assert_eq!(stage.send(&[(None, "a")]).await, Verdict::Taken);
    for code in (-1..=150).chain([1000, i16::MAX, i16::MIN]).filter(|code| *code != 0) {
        let (lookups, taken) = (stage.fake.asked(METADATA), stage.fake.taken().len());
        stage.fake.obey(move |_| Step::Code(code));
        let verdict = stage.send(&[(None, "a")]).await;
        // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD.
        let is_record = [10, 18, 32, 87].contains(&code);
        match &verdict {
            Verdict::Items(failed) => match &failed[..] {
                [(0, Failed::Refused { status, why })] if is_record => {
                    assert!(
                        i32::from(*status) == i32::from(code) && why.starts_with("partition 1: "),
                        "{verdict:?}"
                    );
                }
                [(0, Failed::Later { why })] if !is_record => {
                    assert!(why.starts_with("partition 1: "), "{code}: {why}");
                }
                _ => panic!("{code}: {verdict:?}"),
            },
            _ => panic!("{code}: {verdict:?}"),
        }
        stage.fake.obey(|_| Step::Take);
        assert_eq!(stage.send(&[(None, "a")]).await, Verdict::Taken, "{code}");
        assert_eq!(stage.fake.asked(METADATA) - lookups, usize::from(!is_record), "{code}");
        assert_eq!(stage.fake.taken().len() - taken, 1, "{code}");
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_halves_and_only_what_is_too_large_alone_is_refused() {
    for bad in [vec![], vec![0], vec![6], vec![2, 3], vec![0, 1, 2, 3, 4, 5, 6]] {
        let mut stage = Stage::new(1, &ONE).await;
        let spoilt: Vec<String> = bad.iter().map(|place| format!("record {place}")).collect();
        // At most three at a time, and none of some.
        stage.fake.obey(move |batch| {
            let is_bad = batch.values.iter().any(|value| spoilt.contains(value));
            if is_bad || batch.values.len() > 3 { Step::Code(TOO_LARGE) } else { Step::Take }
        });
        let lines: Vec<String> = (0..7).map(|place| format!("record {place}")).collect();
        let mut records: Vec<_> = lines.iter().map(|line| (Some(0), &**line)).collect();
        // Of another partition, which has nothing to do with it.
        records.push((Some(5), "of core 5"));
        let verdict = stage.send(&records).await;
        let refused: Vec<usize> = match verdict {
            Verdict::Taken => Vec::new(),
            Verdict::Items(failed) => failed
                .into_iter()
                .map(|(place, failed)| match failed {
                    Failed::Refused { status: 10, why } if why.contains("MessageTooLarge") => place,
                    failed => panic!("{place} {failed:?}"),
                })
                .collect(),
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(refused, bad);
        let good: Vec<String> = lines
            .iter()
            .enumerate()
            .filter(|(place, _)| !bad.contains(place))
            .map(|(_, line)| line.clone())
            .collect();
        let stored = stage.stored();
        assert_eq!(stored.get(&3).cloned().unwrap_or_default(), good, "each once, in order");
        assert_eq!(stored[&0], ["of core 5"]);
        assert_eq!(stage.fake.asked(METADATA), 1, "the broker is not to blame");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_leaves_its_own_records_and_the_next_connection_is_a_new_one() {
    let steps = [
        Step::HangUp,
        // The length, the header, and in the middle of the message.
        Step::Cut(0),
        Step::Cut(3),
        Step::Cut(4),
        Step::Cut(9),
        Step::Cut(20),
        Step::Elsewhere,
        Step::Astray,
        Step::Endless,
    ];
    for step in steps {
        let mut stage = Stage::new(2, &[1, 1, 1, 2]).await;
        stage.fake.obey(move |batch| if batch.broker == 2 { step } else { Step::Take });
        let records = [(Some(0), "a"), (Some(2), "b"), (Some(1), "c"), (Some(5), "d")];
        let (places, why) = waiting(stage.send(&records).await);
        assert_eq!(places, [0, 2], "{step:?}");
        // At once, and not only when the time is up.
        assert!(!why.is_empty() && why != SILENT, "{step:?}: {why}");
        assert_eq!(why.contains("the answer is too long"), matches!(step, Step::Endless), "{step:?}: {why}");
        assert_eq!(
            stage.stored(),
            BTreeMap::from([(0, vec!["d".to_owned()]), (2, vec!["b".to_owned()])]),
            "{step:?}"
        );
        stage.fake.obey(|_| Step::Take);
        assert_eq!(stage.send(&[records[0], records[2]]).await, Verdict::Taken, "{step:?}");
        assert_eq!(stage.stored()[&3], ["a", "c"], "{step:?}");
    }
}

#[tokio::test]
async fn a_silent_broker_is_waited_for_once_in_a_group_and_asked_again_in_the_next() {
    let mut stage = Stage::new(2, &[1, 2, 2, 2]).await;
    // Long enough for the other one to answer on a machine that has much to do.
    stage.sink.settings.timeout = Duration::from_secs(2);
    stage.fake.obey(|batch| if batch.broker == 2 { Step::Silence } else { Step::Take });
    let records = [(Some(0), "a"), (Some(2), "b"), (Some(5), "c"), (Some(8), "d")];
    let (places, why) = waiting(stage.send(&records).await);
    assert_eq!((places, &*why), (vec![0, 1, 3], SILENT));
    assert_eq!(stage.stored(), BTreeMap::from([(0, vec!["c".to_owned()])]), "the other has taken its own");
    let to_silent =
        |stage: &Stage| stage.fake.state().asked.iter().filter(|asked| **asked == (2, PRODUCE)).count();
    assert_eq!(to_silent(&stage), 1, "of three partitions");
    stage.fake.obey(|_| Step::Take);
    assert_eq!(stage.send(&[records[0], records[1], records[3]]).await, Verdict::Taken);
    assert_eq!(to_silent(&stage), 4);
    assert_eq!(stage.stored()[&0], ["c"], "and not again");
}

#[tokio::test]
async fn records_of_a_partition_that_moves_follow_their_leader() {
    let mut stage = Stage::new(2, &ONE).await;
    assert_eq!(stage.send(&[(Some(0), "a")]).await, Verdict::Taken);
    stage.fake.state().leaders.insert(3, 2);
    // NOT_LEADER_OR_FOLLOWER.
    stage
        .fake
        .obey(|batch| if (batch.broker, batch.partition) == (1, 3) { Step::Code(6) } else { Step::Take });
    let (places, _) = waiting(stage.send(&[(Some(0), "b"), (Some(5), "c")]).await);
    assert_eq!(places, [0]);
    assert_eq!(stage.send(&[(Some(0), "b")]).await, Verdict::Taken);
    let brokers: Vec<(i32, i32)> =
        stage.fake.taken().iter().map(|batch| (batch.partition, batch.broker)).collect();
    assert_eq!(brokers, [(3, 1), (0, 1), (3, 2)]);
}

#[tokio::test]
async fn a_partition_that_nobody_leads_or_whose_leader_is_away_holds_up_no_other() {
    let mut stage = Stage::new(2, &[1, -1, 1, 2]).await;
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    stage.fake.state().ports[1] = gone;
    let records = [(Some(8), "nobody"), (Some(5), "a"), (Some(0), "away"), (Some(2), "b")];
    let verdict = stage.send(&records).await;
    let Verdict::Items(failed) = &verdict else { panic!("{verdict:?}") };
    let [(0, Failed::Later { why: nobody }), (2, Failed::Later { why: away })] = &failed[..] else {
        panic!("{failed:?}")
    };
    assert_eq!(nobody, "no broker leads the partition");
    assert!(away.starts_with(&format!("cannot reach 127.0.0.1:{gone}: ")), "{away}");
    assert_eq!(stage.stored(), BTreeMap::from([(0, vec!["a".to_owned()]), (2, vec!["b".to_owned()])]));
}

/// The whole group waits; why.
fn held(verdict: Verdict) -> String {
    let Verdict::Later { why, after: None } = verdict else { panic!("{verdict:?}") };
    why
}

#[tokio::test]
async fn a_topic_that_is_not_there_or_not_ours_holds_everything_until_it_is() {
    let mut stage = Stage::new(1, &ONE).await;
    // UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE (it is being made), TOPIC_AUTHORIZATION_FAILED, INVALID_TOPIC_EXCEPTION.
    for (code, why) in [
        (3, "the topic: UnknownTopicOrPartition"),
        (5, "the topic: LeaderNotAvailable"),
        (29, "the topic: TopicAuthorizationFailed"),
        (17, "the topic: InvalidTopicException"),
    ] {
        stage.fake.state().topic_code = code;
        assert_eq!(held(stage.send(&[(None, "a")]).await), why);
    }
    stage.fake.state().topic_code = 0;
    stage.fake.state().leaders.clear();
    assert_eq!(held(stage.send(&[(None, "a")]).await), "the topic has no partitions yet");
    assert_eq!(stage.fake.asked(PRODUCE), 0);
    stage.fake.state().leaders = (0..4).map(|partition| (partition, 1)).collect();
    assert_eq!(stage.send(&[(None, "a")]).await, Verdict::Taken);
}

#[tokio::test]
async fn addresses_are_asked_in_turn() {
    let fake = Fake::start(1, &ONE).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sink = sink(&settings(&[gone, fake.state().ports[0]]));
    assert!(held(send(&mut sink, &[(None, "a")]).await).starts_with("cannot reach it: "));
    assert_eq!(send(&mut sink, &[(None, "a")]).await, Verdict::Taken);
}

#[tokio::test]
async fn over_tls_the_brokers_that_the_first_one_names_are_too_and_none_whose_certificate_is_not_theirs() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let of_another = rcgen::generate_simple_self_signed(["broker.example".to_owned()]).unwrap();
    for (shown, is_good) in [(&own, true), (&of_another, false)] {
        let fake = Fake::start_with(2, &[1, 1, 1, 2], Some(acceptor(shown))).await;
        let mut settings = settings(&fake.state().ports);
        settings.to.iter_mut().for_each(|remote| remote.is_tls = true);
        settings.roots = Roots::Pem { bytes: shown.cert.pem().into(), origin: "test".into() };
        let mut sink = sink(&settings);
        let verdict = send(&mut sink, &[(Some(5), "to 1"), (Some(0), "to 2")]).await;
        if is_good {
            assert_eq!(verdict, Verdict::Taken);
            let brokers: BTreeSet<i32> = fake.taken().iter().map(|batch| batch.broker).collect();
            assert_eq!(brokers, BTreeSet::from([1, 2]));
        } else {
            let why = held(verdict);
            assert!(why.starts_with("cannot reach it: ") && why.contains("certificate"), "{why}");
            assert_eq!(fake.state().asked, []);
        }
    }
}

fn acceptor(shown: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(shown.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![shown.cert.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn user_and_password_are_shown_and_what_refuses_them_is_told_without_them() {
    let mut stage = Stage::new(1, &ONE).await;
    let password = Token("open sesame".into());
    stage.sink.settings.credentials = Credentials::User { name: "edge".into(), password };
    for (sasl, why) in [
        // UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED.
        ((33, 0), "the broker does not know SASL PLAIN"),
        ((0, 58), "`user` and `password` were refused"),
    ] {
        stage.fake.state().sasl = sasl;
        let told = held(stage.send(&[(None, "a")]).await);
        assert!(told.starts_with(why) && !told.contains("sesame"), "{told}");
    }
    assert_eq!(stage.fake.asked(METADATA), 0);
    stage.fake.state().sasl = (0, 0);
    assert_eq!(stage.send(&[(None, "a")]).await, Verdict::Taken);
    // One that was refused; one to look up the leaders, one to send.
    assert_eq!(stage.fake.state().shown, [&b"\0edge\0open sesame"[..]; 3]);
}

#[tokio::test]
async fn a_broker_is_spoken_to_in_versions_that_it_knows_or_not_at_all() {
    let mut stage = Stage::new(1, &ONE).await;
    for (min, max) in [(3, 3), (3, 12), (8, 30)] {
        stage.fake.state().versions.insert(PRODUCE, (min, max));
        stage.sink.disconnect();
        assert_eq!(stage.send(&[(None, "a")]).await, Verdict::Taken, "{min} to {max}");
    }
    for (min, max) in [(0, 2), (13, 30)] {
        stage.fake.state().versions.insert(PRODUCE, (min, max));
        stage.sink.disconnect();
        let (places, why) = waiting(stage.send(&[(None, "a")]).await);
        assert_eq!((places, &*why), (vec![0], "the broker does not know request 0 in our versions"));
    }
    stage.fake.state().versions.remove(&METADATA);
    stage.sink.disconnect();
    assert_eq!(held(stage.send(&[(None, "a")]).await), "the broker does not know request 3 in our versions");
}
