//! On a clock of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::watch;

use super::*;
use crate::access_log::settings::SpoolSettings;
use crate::access_log::shipping::{Credentials, Remote};
use crate::access_log::sink::tries::Tries;
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
    let tries = || Tries { metrics: Arc::clone(&metrics), blame: readers[0].blame(), pace, random: 7 };
    let mut sink = Sink::Shipping(Box::new(shipping));
    let (_tell, stop) = watch::channel(None);
    let mut stop = Stop::new(stop);
    tokio::select! {
        _ = tries().deliver(&mut sink, &mut parcel, &mut stop) => panic!("nobody is there"),
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
