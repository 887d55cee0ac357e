//! On a clock of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::access_log::settings::SpoolSettings;
use crate::access_log::shipping::DeadLetter;
use crate::access_log::shipping::{Credentials, Remote};
use crate::access_log::sink::tries::{End, Tries};
use crate::access_log::sink::{Sink, Stop};
use crate::access_log::spool;
use crate::tls::client::Roots;

pub(super) fn settings(port: u16) -> ShippingSettings {
    let remote = Remote { host: "127.0.0.1".into(), port, is_tls: false, path: String::new() };
    ShippingSettings {
        name: "far".into(),
        target: Target::Http,
        to: vec![remote],
        form: crate::access_log::Form::Json,
        credentials: Credentials::None,
        headers: Vec::new(),
        roots: Roots::Public,
        identity: None,
        compress: false,
        batch_bytes: 1 << 20,
        batch_records: 100,
        linger: Duration::ZERO,
        timeout: Duration::from_secs(10),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        dead_letter: None,
    }
}

type Answer = dyn FnMut(Load<'_>) -> Verdict + Send + Sync;

/// A form without a socket, which would take real time: it says what the test wants.
pub(super) struct Fake(Box<Answer>);

impl std::fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fake")
    }
}

impl Fake {
    pub(super) fn send(&mut self, load: Load<'_>) -> Verdict {
        (self.0)(load)
    }
}

/// What became of a parcel.
struct Shipped {
    metrics: Arc<SinkMetrics>,
    took: Duration,
    sink: Sink,
}

/// The numbers that are the lines.
fn numbers(load: Load<'_>) -> Vec<u32> {
    load.iter().map(|(_, line)| std::str::from_utf8(line).unwrap().parse().unwrap()).collect()
}

/// Delivers so many lines, numbered; nothing comes behind them.
async fn ship(
    count: u32,
    settings: ShippingSettings,
    answer: impl FnMut(Load<'_>) -> Verdict + Send + Sync + 'static,
) -> Shipped {
    let metrics = Arc::new(SinkMetrics::default());
    let (_writer, readers) = spool::open(SpoolSettings::default(), vec![Arc::clone(&metrics)]);
    let mut shipping = ShippingSink::new(settings, &Reopen::default(), Arc::clone(&metrics)).unwrap();
    shipping.form = Form::Fake(Fake(Box::new(answer)));
    let mut tries = Tries::new(Arc::clone(&metrics), readers[0].blame(), shipping.pace(), 7);
    let (mut text, mut items) = (String::new(), Vec::new());
    for number in 0..count {
        let begin = text.len();
        text.push_str(&number.to_string());
        let place = begin..text.len();
        items.push(Item { place, id: [number as u8; 16], is_open: false, ts_us: 0, status: 0, seq: None });
        text.push('\n');
    }
    let chunks = vec![Bytes::from(text)];
    let mut parcel = Parcel { chunks, has_lines: true, items, ..Parcel::default() };
    let mut sink = Sink::Shipping(Box::new(shipping));
    let (_tell, stop) = watch::channel(None);
    let (mut stop, begun) = (Stop::new(stop), Instant::now());
    loop {
        match tries.deliver(&mut sink, &mut parcel, &mut stop).await {
            Ok(()) => return Shipped { metrics, took: begun.elapsed(), sink },
            Err(End::Stuck(pause)) => tokio::time::sleep(pause).await,
            Err(end) => panic!("{end:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_part_each_time_is_not_asked_ever_more_slowly() {
    let one_of_them = |load: Load<'_>| match load.len() {
        1 => Verdict::Taken,
        count => {
            Verdict::Items((1..count).map(|place| (place, Failed::Later { why: "busy".into() })).collect())
        }
    };
    let shipped = ship(40, settings(1), one_of_them).await;
    assert_eq!(shipped.metrics.retries.load(Ordering::Relaxed), 39);
    assert!(shipped.took <= Duration::from_millis(39 * 100), "{:?}", shipped.took);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_hung_up_on_is_found_within_a_minute_wherever_it_stands() {
    for poison in [vec![0], vec![57], vec![99], vec![0, 99], vec![3, 4, 98]] {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (keeping, bad) = (Arc::clone(&taken), poison.clone());
        let shipped = ship(100, settings(1), move |load| {
            let numbers = numbers(load);
            if numbers.iter().any(|number| bad.contains(number)) {
                return Verdict::HungUp("it hangs up".into());
            }
            keeping.lock().unwrap().extend(numbers);
            Verdict::Taken
        })
        .await;
        let mut taken = taken.lock().unwrap().clone();
        taken.sort_unstable();
        let others: Vec<u32> = (0..100).filter(|number| !poison.contains(number)).collect();
        assert_eq!((taken, shipped.metrics.refused.load(Ordering::Relaxed)), (others, poison.len() as u64));
        let patience = Duration::from_secs(75) * poison.len() as u32;
        assert!(shipped.took <= patience, "{poison:?} {:?}", shipped.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_up_on_everything_for_a_day_gets_all_of_it_when_it_is_back() {
    const DAY: Duration = Duration::from_secs(86_400);
    for count in [1, 10] {
        let back = Instant::now() + DAY;
        let is_away = move |_: Load<'_>| match Instant::now() < back {
            true => Verdict::HungUp("it hangs up".into()),
            false => Verdict::Taken,
        };
        let shipped = ship(count, settings(1), is_away).await;
        assert_eq!(shipped.metrics.refused.load(Ordering::Relaxed), 0);
        assert!(shipped.took <= DAY + Duration::from_secs(31), "{:?}", shipped.took);
        assert!(shipped.metrics.retries.load(Ordering::Relaxed) <= 2 * 86_400 / 15);
    }
}

#[tokio::test]
async fn dead_letters_are_on_the_disk_before_the_parcel_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.jsonl");
    // Each file is begun anew: none of them may be left out.
    let dead_letter = Some(DeadLetter { path: path.clone(), rotate_bytes: 1, keep: 9 });
    let refused = |_: Load<'_>| Verdict::Refused { status: 400, why: "no".into() };
    let shipped = ship(3, ShippingSettings { dead_letter, ..settings(1) }, refused).await;
    let Sink::Shipping(shipping) = &shipped.sink else { unreachable!() };
    assert_eq!(shipping.letters.synced(), 3);
    assert!(path.exists() && path.with_extension("jsonl.2").exists());
}

/// Takes one request and answers 204; returns its last line.
fn serve_once(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut asked, mut part) = (Vec::new(), [0; 4096]);
    while !asked.ends_with(b"}\n") {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0);
        asked.extend_from_slice(&part[..read]);
    }
    stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").unwrap();
    String::from_utf8(asked).unwrap().lines().last().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_for_an_hour_is_asked_patiently_and_gets_everything_after() {
    const HOUR: Duration = Duration::from_secs(3600);
    let place = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let metrics = Arc::new(SinkMetrics::default());
    let (_writer, readers) = spool::open(SpoolSettings::default(), vec![Arc::clone(&metrics)]);
    let shipping =
        ShippingSink::new(settings(address.port()), &Reopen::default(), Arc::clone(&metrics)).unwrap();
    let pace = shipping.pace();
    let text = "{\"a\":1}\n{\"a\":2}\n";
    let item = |place| Item { place, id: Default::default(), is_open: false, ts_us: 0, status: 0, seq: None };
    let mut parcel = Parcel {
        chunks: vec![Bytes::from_static(text.as_bytes())],
        has_lines: true,
        items: vec![item(0..7), item(8..15)],
        ..Parcel::default()
    };
    let tries = || Tries::new(Arc::clone(&metrics), readers[0].blame(), pace, 7);
    let mut sink = Sink::Shipping(Box::new(shipping));
    let (_tell, stop) = watch::channel(None);
    let mut stop = Stop::new(stop);
    let mut patient = tries();
    tokio::select! {
        _ = patient.deliver(&mut sink, &mut parcel, &mut stop) => panic!("nobody is there"),
        () = tokio::time::sleep(HOUR) => {}
    }
    let asked = metrics.retries.load(Ordering::Relaxed);
    // Pauses of 15 to 30 s, after the first few that double.
    assert!((120..=250).contains(&asked), "{asked}");
    assert!(metrics.trouble().is_some_and(|why| why.contains("cannot reach it")));
    // What comes from a socket takes real time. The delivery was cut off in its middle, and goes on.
    tokio::time::resume();
    let listener = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || serve_once(&listener));
    assert!(tries().deliver(&mut sink, &mut parcel, &mut stop).await.is_ok());
    assert_eq!(server.join().unwrap(), "{\"a\":2}");
    assert_eq!(metrics.trouble(), None);
}
