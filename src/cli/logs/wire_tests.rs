//! From the log of a proxy to the service and back to a reader, over TLS: real sockets, a real spool.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::access_log::{self, ServiceEndpoint, ServiceSettings, SinkSettings, SpoolSettings};
use crate::log_service::client::{Address, ClientError, Credentials, Secret, Service, get};
use crate::log_service::{Listen, LogService, Settings, Tls, Token};
use crate::record::Record;
use crate::tls::CertPair;
use crate::tls::client::Roots;

const TOKEN: &str = "a-long-and-secret-token";
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate of an authority, PEM, with its key.
#[derive(Clone)]
struct Issued {
    ca: String,
    pair: CertPair,
}

fn issue(name: &str, is_expired: bool) -> Issued {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    // Authorities of different names, as in life.
    static AUTHORITIES: AtomicU32 = AtomicU32::new(0);
    let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_expired {
        leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let chain = leaf.signed_by(&key, &issuer).unwrap().pem().into_bytes();
    let pair = CertPair { chain, key: key.serialize_pem().into_bytes(), origin: "test".into() };
    Issued { ca: ca.pem(), pair }
}

impl Issued {
    fn roots(&self) -> Roots {
        Roots::Pem { bytes: self.ca.clone().into_bytes(), origin: "test".into() }
    }
}

/// A service that wants a token, and a certificate of `clients`; its port.
async fn serve(data: &Path, server: &Issued, clients: &Issued) -> u16 {
    let mut settings = Settings::new(data.join("logs"));
    settings.http = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    settings.tokens = vec![Token::new(TOKEN)];
    settings.tls = Some(Tls {
        chain: server.pair.chain.clone(),
        key: server.pair.key.clone(),
        client_ca: Some(clients.ca.clone().into_bytes()),
    });
    let service = LogService::start(settings).await.unwrap();
    let Listen::Tcp(address) = service.http()[0] else { panic!("not tcp") };
    tokio::spawn(service.run(std::future::pending()));
    address.port()
}

fn sink(port: u16, server: &Issued, client: &Issued, token: &str) -> ServiceSettings {
    let endpoint = ServiceEndpoint::Http { host: "localhost".into(), port, is_tls: true };
    ServiceSettings {
        roots: server.roots(),
        identity: Some(Arc::new(client.pair.clone())),
        token: Some(access_log::Token(token.into())),
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        window: 4,
        ..ServiceSettings::new(endpoint)
    }
}

/// Writes so many records and waits until `holds`; then ends, with what still waits on disk.
async fn ship(
    spool: &Path,
    sink: ServiceSettings,
    count: usize,
    holds: impl Fn(&access_log::SinkMetrics) -> bool,
) -> access_log::Report {
    let spool = SpoolSettings { dir: Some(spool.into()), ..SpoolSettings::default() };
    let sinks = vec![SinkSettings::Service(sink)];
    let settings = access_log::Settings { spool, ..access_log::Settings::new("edge-1", sinks) };
    assert!(!format!("{settings:?}").contains(TOKEN));
    let (logs, collector) = access_log::open(settings, 1).unwrap();
    let running = collector.spawn().unwrap();
    for _ in 0..count {
        logs[0].write(&Record { path: Some(b"/wire"), ..Record::default() });
    }
    let metrics = running.metrics();
    let held = async {
        while !holds(&metrics.sinks[0]) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, held).await;
    assert!(waited.is_ok(), "in vain: {:?}", metrics.sinks[0]);
    let report = running.stop(Duration::from_millis(300)).await;
    assert_eq!(metrics.dropped_total(), 0);
    report
}

fn reader(port: u16, server: &Issued, client: &Issued, token: &str) -> Service {
    let address = Address::Https(format!("localhost:{port}"));
    let credentials = Credentials {
        roots: server.roots(),
        identity: Some(client.pair.clone()),
        token: Some(Secret(token.into())),
    };
    Service::new(address, &credentials).unwrap()
}

async fn lines(service: &Service, target: &str) -> Result<Vec<String>, ClientError> {
    let mut lines = Vec::new();
    let mut keep = |line: &mut [u8]| {
        lines.push(String::from_utf8_lossy(line).into_owned());
        std::ops::ControlFlow::Continue(())
    };
    get(service, target, &mut keep).await?;
    Ok(lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_ships_and_a_reader_reads_over_tls_with_token_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = (issue("localhost", false), issue("edge", false));
    let port = serve(dir.path(), &server, &client).await;
    let sink = sink(port, &server, &client, TOKEN);
    let spool = dir.path().join("spool");
    let report = ship(&spool, sink, 500, |sink| sink.written.load(Ordering::Relaxed) >= 500).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    let found = lines(&reader(port, &server, &client, TOKEN), "/logs/search?q=path:/wire").await;
    assert_eq!(found.unwrap().iter().filter(|line| line.contains("/wire")).count(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_refuses_is_told_and_held_until_it_is_taken() {
    let (server, client, stranger) = (issue("localhost", false), issue("edge", false), issue("edge", false));
    let (named, expired) = (issue("logs.test", false), issue("localhost", true));
    let good = sink(0, &server, &client, TOKEN);
    let cases = [
        (
            "wrong authority",
            &server,
            ServiceSettings { roots: stranger.roots(), ..good.clone() },
            "UnknownIssuer",
        ),
        (
            "wrong name",
            &named,
            ServiceSettings { roots: named.roots(), ..good.clone() },
            "not valid for name",
        ),
        ("expired", &expired, ServiceSettings { roots: expired.roots(), ..good.clone() }, "expired"),
        ("wrong token", &server, sink(0, &server, &client, "nonsense-token"), "401"),
        ("no certificate", &server, ServiceSettings { identity: None, ..good.clone() }, ""),
        ("certificate of a stranger", &server, sink(0, &server, &stranger, TOKEN), ""),
    ];
    for (case, shown, bad, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let port = serve(dir.path(), shown, &client).await;
        let at = |settings: ServiceSettings| ServiceSettings {
            endpoint: ServiceEndpoint::Http { host: "localhost".into(), port, is_tls: true },
            ..settings
        };
        let report = ship(&spool, at(bad), 50, |sink| {
            let trouble = sink.trouble().unwrap_or_default();
            assert!(!trouble.contains("token-") && !trouble.contains("-token"), "{trouble}");
            !trouble.is_empty() && trouble.contains(words)
        })
        .await;
        assert!(report.undelivered.is_empty() && !report.waiting.is_empty(), "{case}: {report:?}");

        // The same spool, and a service of the same name that can be trusted.
        let data = tempfile::tempdir().unwrap();
        let port = serve(data.path(), &server, &client).await;
        let endpoint = ServiceEndpoint::Http { host: "localhost".into(), port, is_tls: true };
        let right = ServiceSettings { endpoint, ..good.clone() };
        let report = ship(&spool, right, 0, |sink| sink.written.load(Ordering::Relaxed) >= 50).await;
        assert!(report.waiting.is_empty(), "{case}: {report:?}");
        let found = lines(&reader(port, &server, &client, TOKEN), "/logs/search?q=path:/wire").await;
        assert_eq!(found.unwrap().iter().filter(|line| line.contains("/wire")).count(), 50, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_told_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = (issue("localhost", false), issue("edge", false));
    let port = serve(dir.path(), &server, &client).await;
    let said = async |service: Service| lines(&service, "/status").await.unwrap_err().to_string();
    let said_to = said(reader(port, &client, &client, TOKEN)).await;
    assert!(said_to.contains("--ca"), "{said_to}");
    let said_to = said(reader(port, &server, &client, "nonsense")).await;
    assert!(said_to.contains("--token-file") && !said_to.contains("nonsense"), "{said_to}");
    let plain = Address::Http(format!("127.0.0.1:{port}"));
    let nothing = Credentials { roots: Roots::Public, identity: None, token: None };
    assert!(!said(Service::new(plain, &nothing).unwrap()).await.is_empty());

    let open = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(open.path().to_owned());
    settings.http = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    let service = LogService::start(settings).await.unwrap();
    let Listen::Tcp(address) = service.http()[0] else { panic!("not tcp") };
    tokio::spawn(service.run(std::future::pending()));
    let said_to = said(reader(address.port(), &server, &client, TOKEN)).await;
    assert!(said_to.contains("does not speak TLS"), "{said_to}");
}
